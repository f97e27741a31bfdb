use helve::prelude::*;

#[interface]
pub trait Odd {
    async fn new(&self);
    async fn of(&self, n: u8);
    async fn into(&self);
    async fn by_value(self);
    async fn boxed(self: Box<Self>);
    async fn free(n: u8);
    async unsafe fn dangerous(&self);
    #[oneway = 3]
    async fn options(&self);
    #[name("x")]
    async fn named(&self);
    #[name = "a/b"]
    async fn slashed(&self);
    #[default]
    async fn default(&self);
    #[name = "named_alike"]
    async fn one(&self);
    async fn named_alike(&self);
}

fn main() {}
