use helve::prelude::*;

#[derive(Wire, Track)]
pub struct Doc {
    title: String,
}

fn main() {}
