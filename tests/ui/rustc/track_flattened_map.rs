use helve::prelude::*;

#[derive(Wire, Track, Clone)]
pub struct Doc {
    title: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Wire, Track, Clone)]
#[serde(tag = "kind")]
pub enum Kind {
    Note { text: String },
}

fn main() {}
