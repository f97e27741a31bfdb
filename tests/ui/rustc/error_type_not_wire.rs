use helve::prelude::*;

#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct No;

#[interface]
pub trait Vault {
    async fn open(&self) -> Result<u8, No>;
}

fn main() {}
