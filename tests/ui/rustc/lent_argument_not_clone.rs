use helve::prelude::*;

#[derive(Wire)]
pub struct Line(u8);

#[interface]
pub trait Vault {
    async fn peek(&self, line: &Line);
}

fn main() {}
