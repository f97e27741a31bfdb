use helve::prelude::*;

#[interface]
pub trait Store {
    async fn put<T: Wire>(&self, value: T);
    async fn put_any(&self, value: impl Wire);
    async fn put_many<const N: usize>(&self, values: Vec<u8>);
    async fn borrow<'a>(&self, text: &'a str);
    async fn filtered(&self) -> u8
    where
        Self: Sized;
}

fn main() {}
