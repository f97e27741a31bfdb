use helve::prelude::*;

#[derive(Wire, Debug, thiserror::Error)]
#[error("no")]
pub struct CartError;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

#[interface]
pub trait Cart {
    async fn add(&mut self, viewer: &ViewerHandle) -> Result<u32, CartError>;
}

struct MemCart;

impl Cart for MemCart {
    async fn add(&mut self, viewer: &ViewerHandle) -> Result<u32, CartError> {
        viewer.changed(3).await?;
        Ok(1)
    }
}

fn main() {}
