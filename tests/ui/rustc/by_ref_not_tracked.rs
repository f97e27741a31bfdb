use helve::prelude::*;

#[derive(Wire, Clone)]
pub struct Draft {
    text: String,
}

#[interface]
pub trait Cart {
    async fn tidy(&self, draft: &mut Draft) -> u32;
}

fn main() {}
