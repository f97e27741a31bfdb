use helve::prelude::*;

#[interface]
pub trait Log {
    #[oneway]
    async fn count(&self) -> u64;
    #[oneway]
    async fn fails(&self) -> Result<(), std::fmt::Error>;
    #[oneway]
    async fn lends(&self, text: &str, blob: &[u8], lines: &[String], log: &LogHandle);
}

fn main() {}
