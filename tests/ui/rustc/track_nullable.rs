use helve::prelude::*;

// Behind an alias and a newtype, where the macro sees neither.
type Maybe = Option<u8>;

#[derive(Wire, Track, Clone)]
pub struct Inner(Maybe);

#[derive(Wire, Track, Clone)]
pub struct Doc {
    note: Option<Inner>,
}

fn main() {}
