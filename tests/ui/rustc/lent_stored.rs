use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

#[interface]
pub trait Cart {
    async fn peek(&mut self, viewer: &ViewerHandle);
}

struct MemCart {
    kept: ViewerHandle,
}

impl Cart for MemCart {
    async fn peek(&mut self, viewer: &ViewerHandle) {
        self.kept = viewer;
    }
}

fn main() {}
