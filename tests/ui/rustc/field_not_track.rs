use helve::prelude::*;

#[derive(Wire, Clone)]
pub struct Plain {
    n: u8,
}

#[derive(Wire, Track, Clone)]
pub struct Doc {
    title: String,
    plain: Plain,
}

fn main() {}
