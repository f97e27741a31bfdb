use helve::prelude::*;

#[interface]
pub trait Cart {
    fn total(&self) -> u64;
    fn events(&self, since: u64) -> Streaming<u64>;
}

struct MemCart;

// The trait is still there, so that this is no second error; `CartHandle` is, too.
impl Cart for MemCart {
    fn total(&self) -> u64 {
        0
    }
    fn events(&self, _: u64) -> Streaming<u64> {
        Streaming::from(vec![0])
    }
}

fn cart() -> CartHandle {
    MemCart.into()
}

fn main() {
    cart();
}
