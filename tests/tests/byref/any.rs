//! A value of any form: what a peer may say that was not built by this library.

use std::fmt;

use helve::Wire;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// MessagePack without a type.
#[derive(Wire, Clone, Debug, PartialEq)]
#[wire(serde, opaque)]
pub enum Any {
    /// `nil`.
    Nil,
    /// An int.
    Int(u64),
    /// A str.
    Str(String),
    /// A bin.
    Bin(Vec<u8>),
    /// An array.
    Array(Vec<Any>),
    /// A map or float came, that nobody asks for.
    Unread,
}

/// An array.
pub fn array<const N: usize>(items: [Any; N]) -> Any {
    Any::Array(items.into())
}

impl From<u64> for Any {
    fn from(n: u64) -> Any {
        Any::Int(n)
    }
}

impl From<&str> for Any {
    fn from(text: &str) -> Any {
        Any::Str(text.to_owned())
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Any::Nil | Any::Unread => serializer.serialize_unit(),
            Any::Int(n) => serializer.serialize_u64(*n),
            Any::Str(text) => serializer.serialize_str(text),
            Any::Bin(bytes) => serializer.serialize_bytes(bytes),
            Any::Array(items) => serializer.collect_seq(items),
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Any;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_f64<E>(self, _: f64) -> Result<Any, E> {
                Ok(Any::Unread)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
                while map.next_entry::<Any, Any>()?.is_some() {}
                Ok(Any::Unread)
            }
            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any::Nil)
            }
            fn visit_u64<E>(self, n: u64) -> Result<Any, E> {
                Ok(Any::Int(n))
            }
            fn visit_str<E>(self, text: &str) -> Result<Any, E> {
                Ok(Any::Str(text.to_owned()))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Any, E> {
                Ok(Any::Bin(bytes.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Any, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Any::Array(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
