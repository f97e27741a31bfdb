use helve::prelude::*;

#[interface]
pub trait Names {
    async fn name(&self) -> &str;
    async fn bytes(&self) -> &[u8];
    async fn maybe(&self) -> Option<&String>;
    async fn opaque(&self) -> impl Iterator<Item = u8>;
    async fn me(&self) -> Self;
    async fn fails(&self) -> Result<u8, RpcError>;
}

fn main() {}
