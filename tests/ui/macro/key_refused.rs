use helve::prelude::*;
use helve::track::Key;

#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub struct Named {
    n: u8,
}

#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub struct Skips(u8, #[serde(skip)] u8);

#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub struct With(#[serde(with = "elsewhere")] u8);

mod elsewhere {
    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        u8::deserialize(deserializer)
    }
}

#[derive(Wire, Key, Clone, PartialEq, Eq)]
#[serde(tag = "kind")]
pub enum Tagged {
    A,
}

#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub enum Payload {
    A,
    B(u8),
    #[serde(skip)]
    C,
}

// None of these counts as "not `Key`" where it is used.
#[derive(Wire, Key, Clone, PartialEq, Eq)]
pub struct Uses(Named, Tagged, Payload);

fn main() {}
