//! [`Nested`]: a part of a value that is looked at only if somebody wrote to it.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Identity, Track};
use crate::lease::Lease;
use crate::patch::{EncodeError, PatchError, PatchReader, Patcher, Slot};
use crate::schema::{TypeDesc, TypeRef};
use crate::wire::Wire;

/// A boxed part with an identity of its own, as a container has: its shadow is taken at the first `&mut` to it. For wide
/// structs, plain members that are large, and recursive types. On the wire it is what it holds.
///
/// ```
/// use helve_handles::track::Nested;
///
/// let mut pair = Nested::new((1, String::from("long ..")));
/// pair.0 = 2;
/// assert_eq!(*pair, (2, "long ..".to_owned()));
/// ```
pub struct Nested<T: Track> {
    inner: Box<Inner<T>>,
    id: Identity,
}

struct Inner<T: Track> {
    value: T,
    /// Taken at the first write since it was armed.
    shadow: Option<T::Shadow>,
}

impl<T: Track> Nested<T> {
    /// Boxes a value.
    pub fn new(value: T) -> Nested<T> {
        Nested {
            inner: Box::new(Inner {
                value,
                shadow: None,
            }),
            id: Identity::NONE,
        }
    }

    /// The value, which is no longer tracked.
    pub fn into_inner(self) -> T {
        self.inner.value
    }
}

impl<T: Track> Deref for Nested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner.value
    }
}

impl<T: Track> DerefMut for Nested<T> {
    fn deref_mut(&mut self) -> &mut T {
        let Inner { value, shadow } = &mut *self.inner;
        if self.id.is_armed() && shadow.is_none() {
            *shadow = Some(value.shadow());
        }
        value
    }
}

impl<T: Track> Track for Nested<T> {
    type Shadow = u64;

    const NULLABLE: bool = T::NULLABLE;

    fn shadow(&mut self) -> u64 {
        self.inner.shadow = None;
        self.id.arm()
    }

    fn flush(&mut self, shadow: &u64, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        let is_same = self.id.is(*shadow);
        self.id.disarm();
        match self.inner.shadow.take() {
            Some(shadow) if is_same => self.inner.value.flush(&shadow, patcher),
            None if is_same => Ok(false),
            _ => {
                patcher.set(self)?;
                Ok(true)
            }
        }
    }

    fn undo(&mut self, shadow: u64) -> bool {
        let is_same = self.id.is(shadow);
        self.id.disarm();
        match self.inner.shadow.take() {
            Some(shadow) => self.inner.value.undo(shadow) && is_same,
            None => is_same,
        }
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.slot(&mut |reader, slot| match slot {
            // Another one, as the host's is that wrote it.
            Slot::Set => {
                *self = reader.value()?;
                Ok(())
            }
            Slot::Change => (**self).patch(reader),
            Slot::Unset => Err(PatchError::Shape),
        })
    }

    fn adopt(&mut self, old: &mut Self) {
        self.inner.value.adopt(&mut old.inner.value);
    }

    fn same(&self, other: &Self) -> bool {
        self.inner.value.same(&other.inner.value)
    }
}

impl<T: Track> Wire for Nested<T> {
    const PLAIN: bool = false;

    fn describe() -> TypeDesc {
        TypeDesc::Same(TypeRef::of::<T>())
    }

    fn __lend(&mut self, lease: &Lease) {
        self.inner.value.__lend(lease);
    }

    fn __lent(&self) -> bool {
        self.inner.value.__lent()
    }
}

impl<T: Track> Clone for Nested<T> {
    fn clone(&self) -> Self {
        Nested::new(self.inner.value.clone())
    }
}

impl<T: Track> From<T> for Nested<T> {
    fn from(value: T) -> Self {
        Nested::new(value)
    }
}

impl<T: Track + Default> Default for Nested<T> {
    fn default() -> Self {
        Nested::new(T::default())
    }
}

impl<T: Track + PartialEq> PartialEq for Nested<T> {
    fn eq(&self, other: &Self) -> bool {
        self.inner.value == other.inner.value
    }
}

impl<T: Track + Eq> Eq for Nested<T> {}

impl<T: Track + fmt::Debug> fmt::Debug for Nested<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.value.fmt(f)
    }
}

impl<T: Track> Serialize for Nested<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.value.serialize(serializer)
    }
}

impl<'de, T: Track> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Nested::new)
    }
}
