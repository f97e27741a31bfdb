use helve::prelude::*;

#[derive(Clone, helve::__rt::serde::Serialize, helve::__rt::serde::Deserialize)]
#[serde(crate = "helve::__rt::serde")]
pub struct Foreign {
    n: u8,
}

#[derive(Wire, Track, Clone)]
pub struct Doc {
    #[track(leaf)]
    at: Foreign,
}

fn main() {}
