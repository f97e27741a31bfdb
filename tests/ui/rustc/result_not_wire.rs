use helve::prelude::*;

pub struct Secret(u8);

#[derive(Wire, Debug, thiserror::Error)]
#[error("no")]
pub struct No;

pub type Outcome<T> = Result<T, No>;

#[interface]
pub trait Vault {
    async fn get(&self) -> Secret;
    async fn all(&self) -> Result<Vec<Secret>, No>;
    // `Result` under another name is no result, and no value either.
    async fn renamed(&self) -> Outcome<u8>;
}

fn main() {}
