//! [`Counter`]: a number that several may add to at once.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Identity, Track};
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// An `i64` whose change travels as what was added, so that two drafts that add do not conflict. It wraps, as the only
/// way in which the order of additions does not matter.
#[derive(Default)]
pub struct Counter {
    value: i64,
    id: Identity,
    /// What was added since it was armed, unless `set` voided that.
    added: i64,
}

/// What [`Counter`] was.
#[derive(Debug)]
pub struct CounterShadow {
    id: u64,
    value: i64,
}

impl Counter {
    /// One that stands at `value`.
    pub const fn new(value: i64) -> Counter {
        Counter {
            value,
            id: Identity::NONE,
            added: 0,
        }
    }

    /// Where it stands.
    pub const fn get(&self) -> i64 {
        self.value
    }

    /// Adds, wrapping; travels as an addition. Returns where it stands now.
    pub const fn add(&mut self, n: i64) -> i64 {
        self.value = self.value.wrapping_add(n);
        self.added = self.added.wrapping_add(n);
        self.value
    }

    /// Sets; travels as the value, and wins over additions before it.
    pub fn set(&mut self, value: i64) {
        self.value = value;
        self.id.void();
    }
}

impl Clone for Counter {
    fn clone(&self) -> Self {
        Counter::new(self.value)
    }
}

impl From<i64> for Counter {
    fn from(value: i64) -> Self {
        Counter::new(value)
    }
}

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Counter {}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Counter::new)
    }
}

impl Wire for Counter {
    const PLAIN: bool = true;

    fn describe() -> TypeDesc {
        TypeDesc::Counter
    }
}

impl Track for Counter {
    type Shadow = CounterShadow;

    fn shadow(&mut self) -> CounterShadow {
        self.added = 0;
        CounterShadow {
            id: self.id.arm(),
            value: self.value,
        }
    }

    fn flush(
        &mut self,
        shadow: &CounterShadow,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError> {
        let is_same = self.id.is(shadow.id);
        self.id.disarm();
        if !is_same {
            patcher.set(self)?;
        } else if self.added != 0 {
            patcher.add(self.added);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn undo(&mut self, shadow: CounterShadow) -> bool {
        *self = Counter::new(shadow.value);
        true
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.node(&mut |reader, node| {
            match node {
                Node::Set => self.set(reader.value()?),
                Node::Add => _ = self.add(reader.int()?),
                _ => return Err(PatchError::Shape),
            }
            Ok(())
        })
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
