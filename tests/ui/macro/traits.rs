use helve::prelude::*;

#[interface]
pub trait Handle {
    async fn total(&self) -> u64;
}

#[interface]
pub unsafe trait Unsafe<'a> {
    const LIMIT: u64;
    type Item;
    async fn total(&self) -> u64;
}

#[interface(name = "demo.Named")]
pub trait Named {}

#[interface(id = "demo Spaced")]
pub trait Spaced {}

#[interface]
pub struct NoTrait;

fn main() {}
