use helve::prelude::*;

#[derive(Wire, Debug)]
pub struct Mute(u8);

#[interface]
pub trait Vault {
    async fn open(&self) -> Result<u8, Mute>;
}

fn main() {}
