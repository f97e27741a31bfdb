use helve::prelude::*;

#[derive(Wire, Track, Clone)]
pub struct Draft {
    text: String,
}

#[interface]
pub trait Cart {
    async fn tidy(&self, draft: &mut Draft) -> u32;
    async fn merge(&self, left: &mut Draft, right: &mut Draft) -> u32;
}

async fn meanwhile(cart: CartHandle, mut draft: Draft) {
    let call = cart.tidy(&mut draft);
    draft.text.push('!');
    let _ = call.await;
}

async fn twice(cart: CartHandle, mut draft: Draft) {
    let _ = cart.merge(&mut draft, &mut draft).await;
}

async fn away(cart: CartHandle, mut draft: Draft) {
    tokio::spawn(cart.tidy(&mut draft));
}

fn main() {}
