use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

#[interface]
pub trait Cart {
    async fn watch(&self, viewer: ViewerHandle);
}

struct Badge;

impl Viewer for Badge {
    async fn changed(&self, _: u64) {}
}

struct Plain;

async fn calls(viewer: ViewerHandle, cart: CartHandle, lent: &ViewerHandle) {
    viewer.changed("three").await.unwrap();
    // An object where its handle goes.
    cart.watch(Badge).await.unwrap();
    // A lent handle where one is given.
    cart.watch(lent).await.unwrap();
}

fn no_viewer() -> ViewerHandle {
    ViewerHandle::new(Plain)
}

fn main() {}
