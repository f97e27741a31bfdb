use helve::prelude::*;

#[derive(Clone)]
pub struct Secret(u8);

#[interface]
pub trait Vault {
    async fn peek(&self, secret: &Secret);
    async fn peek_all(&self, secrets: &[Secret]);
}

fn main() {}
