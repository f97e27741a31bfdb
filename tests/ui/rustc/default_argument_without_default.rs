use helve::prelude::*;

#[derive(Wire)]
pub struct Line(u8);

#[interface]
pub trait Vault {
    async fn put(&self, #[default] line: Line);
}

fn main() {}
