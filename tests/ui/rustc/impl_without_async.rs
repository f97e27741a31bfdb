use helve::prelude::*;

#[interface]
pub trait Sum {
    async fn total(&self) -> u64;
}

struct Mem;

impl Sum for Mem {
    fn total(&self) -> u64 {
        3
    }
}

fn main() {}
