use helve::prelude::*;

#[interface]
pub trait Viewer {}

#[derive(Wire)]
pub struct Refused<'a> {
    big: u128,
    list: Vec<i128>,
    twice: Option<Option<u8>>,
    unit: Option<()>,
    borrowed: &'a str,
    #[wire(js_number)]
    small: u32,
    #[wire(number)]
    unknown: u64,
    #[serde(flatten)]
    viewer: ViewerHandle,
}

#[derive(Wire)]
#[serde(untagged)]
pub enum Untagged {
    Viewer(ViewerHandle),
    Number(u8),
}

#[derive(Wire)]
#[serde(tag = "kind")]
pub enum Internal {
    Viewers { all: Vec<ViewerHandle> },
}

#[derive(Wire)]
#[serde(remote = "Untagged")]
pub struct Mirrored {
    n: u8,
}

#[derive(Wire)]
#[wire(opaque)]
pub struct Opaque {
    n: u8,
}

#[derive(Wire)]
pub struct Skipped(#[serde(skip)] u8);

#[derive(Wire)]
pub union Bits {
    a: u32,
    b: f32,
}

// None of these counts as "not `Wire`" where it is used.
#[interface]
pub trait Uses {
    async fn uses(&self, untagged: Untagged, internal: Internal, mirrored: Mirrored);
}

fn main() {}

#[derive(Wire)]
#[serde(tag = "t")]
pub enum Tagged {
    Blob { bytes: Vec<u8> },
}
