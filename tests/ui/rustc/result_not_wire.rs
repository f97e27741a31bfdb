use helve::prelude::*;

pub struct Secret(u8);
pub type Outcome<T> = Result<T, std::fmt::Error>;

#[interface]
pub trait Vault {
    async fn get(&self) -> Secret;
    async fn all(&self) -> Result<Vec<Secret>, RpcError>;
    // `Result` under another name is no result, and no value either.
    async fn renamed(&self) -> Outcome<u8>;
}

fn main() {}
