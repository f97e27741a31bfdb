use helve::prelude::*;

pub struct Secret(u8);

#[interface]
pub trait Vault {
    async fn put(&self, secret: Secret) -> u64;
}

fn main() {}
