use helve::prelude::*;

#[derive(Wire, Track, Clone)]
pub struct Draft {
    text: String,
}

#[interface]
pub trait Cart {
    async fn tidy(&self, draft: &mut Draft) -> u32;
}

async fn tidies(cart: CartHandle, draft: Draft) {
    let _ = cart.tidy(&draft).await;
    let _ = cart.tidy(draft).await;
    let _ = cart.tidy(&mut 5_u32).await;
}

fn main() {}
