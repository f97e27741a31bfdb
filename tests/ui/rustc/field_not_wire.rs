use helve::prelude::*;

pub struct Secret(u8);

#[derive(Wire)]
pub struct Envelope {
    to: String,
    secret: Secret,
}

fn main() {}
