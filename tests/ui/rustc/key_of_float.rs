use helve::prelude::*;
use helve::track::Key;

#[derive(Wire, Clone, PartialEq)]
pub struct Score(f64);

impl Eq for Score {}

#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub struct Ranked(u8, Score);

fn main() {}
