use std::collections::HashMap;

use helve::prelude::*;

#[interface]
pub trait Viewer {}

#[derive(Wire, Track, Clone)]
#[serde(rename_all(serialize = "camelCase", deserialize = "snake_case"))]
pub struct OneWay {
    #[serde(skip_serializing, default)]
    never_written: u8,
    #[serde(skip_deserializing)]
    never_read: u8,
    #[serde(skip_serializing, skip_deserializing)]
    both: u8,
    #[serde(rename(serialize = "b"))]
    two_names: u8,
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

#[derive(Wire, Track, Clone)]
pub struct LeftOut {
    #[serde(skip_serializing_if = "is_zero")]
    no_default: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    fine: Option<u8>,
    #[serde(flatten, default, skip_serializing_if = "Inner::is_empty")]
    flat: Inner,
}

#[derive(Wire, Track, Clone, Default)]
pub struct Inner {
    n: u8,
}

impl Inner {
    fn is_empty(&self) -> bool {
        self.n == 0
    }
}

#[derive(Wire, Track, Clone)]
pub struct Tuple(u8, #[serde(default, skip_serializing_if = "is_zero")] u8);

#[derive(Wire, Track, Clone)]
pub struct Skipped(#[serde(skip)] u8);

#[derive(Wire, Track, Clone)]
#[track(leaf)]
pub struct Leaf {
    #[track(leaf)]
    #[serde(flatten)]
    map: HashMap<String, u8>,
    #[track(leaf)]
    handle: ViewerHandle,
    #[track(leaf = hash)]
    hashed: u8,
    #[track(leaves)]
    unknown: u8,
}

#[derive(Wire, Track, Clone)]
#[track(bounds = "")]
pub struct Viewed {
    #[track(view = "admin")]
    no_default: u8,
    #[track(view = "admin")]
    fine: Option<u8>,
    #[track(view = "admin")]
    #[serde(flatten)]
    flat: Inner,
    pair: Pair,
    either: Either,
}

#[derive(Wire, Track, Clone)]
pub struct Pair(#[track(view = "admin")] Option<u8>, u8);

#[derive(Wire, Track, Clone)]
#[serde(untagged)]
pub enum Either {
    #[track(leaf)]
    A {
        #[track(view = "admin")]
        a: Option<u8>,
    },
}

// What `#[derive(Wire)]` refuses is said once.
#[derive(Wire, Track, Clone)]
pub struct Borrowed<'a> {
    text: &'a str,
}

#[derive(Wire, Track, Clone, Copy)]
pub union Bits {
    a: u32,
    b: f32,
}

// None of these counts as "not `Track`" where it is used.
#[derive(Wire, Track, Clone)]
pub struct Uses {
    one_way: OneWay,
    viewed: Viewed,
    skipped: Skipped,
}

fn main() {}
