//! What `#[derive(Track)]` does with one field of a type: for generated code alone. A [`Part`] is chosen by the field's
//! attributes and names the field's type by a marker, so that a bound that does not hold is one error, at the field.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Key, Track};
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::wire::Typed;

/// The steps of [`Track`] for one field, and the two that a field which may be left out needs.
pub trait Part {
    /// The field's type.
    type T;
    /// What it takes to see later what changed.
    type Shadow: Send + Sync + 'static;
    /// As [`Track::NULLABLE`].
    const NULLABLE: bool;

    /// As [`Track::shadow`].
    fn shadow(value: &mut Self::T) -> Self::Shadow;
    /// As [`Track::flush`].
    ///
    /// # Errors
    /// As there.
    fn flush(
        value: &mut Self::T,
        shadow: &Self::Shadow,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError>;
    /// As [`Track::undo`].
    fn undo(value: &mut Self::T, shadow: Self::Shadow) -> bool;
    /// As [`Track::patch`].
    ///
    /// # Errors
    /// As there.
    fn patch(value: &mut Self::T, reader: &mut PatchReader<'_>) -> Result<(), PatchError>;
    /// As [`Track::adopt`].
    fn adopt(value: &mut Self::T, old: &mut Self::T);
    /// As [`Track::same`].
    fn same(a: &Self::T, b: &Self::T) -> bool;
    /// Writes a Set of it.
    ///
    /// # Errors
    /// The value's own.
    fn set(value: &Self::T, patcher: &mut Patcher) -> Result<(), EncodeError>;
    /// Reads what stands in a Set.
    ///
    /// # Errors
    /// It is no value of the type.
    fn take(reader: &mut PatchReader<'_>) -> Result<Self::T, PatchError>;
}

/// The marker of a field that is tracked by itself.
pub trait Held {
    /// The type that the user wrote.
    type T: Track;
}

/// The marker of a field of a key.
pub trait Keyed {
    /// The type that the user wrote.
    type T: Key;
}

/// A field that is tracked by itself.
pub struct Own<M>(PhantomData<fn() -> M>);

impl<M: Held> Part for Own<M> {
    type T = M::T;
    type Shadow = <M::T as Track>::Shadow;
    const NULLABLE: bool = <M::T as Track>::NULLABLE;

    fn shadow(value: &mut M::T) -> Self::Shadow {
        value.shadow()
    }
    fn flush(
        value: &mut M::T,
        shadow: &Self::Shadow,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError> {
        value.flush(shadow, patcher)
    }
    fn undo(value: &mut M::T, shadow: Self::Shadow) -> bool {
        value.undo(shadow)
    }
    fn patch(value: &mut M::T, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        value.patch(reader)
    }
    fn adopt(value: &mut M::T, old: &mut M::T) {
        value.adopt(old);
    }
    fn same(a: &M::T, b: &M::T) -> bool {
        a.same(b)
    }
    fn set(value: &M::T, patcher: &mut Patcher) -> Result<(), EncodeError> {
        patcher.set(value)
    }
    fn take(reader: &mut PatchReader<'_>) -> Result<M::T, PatchError> {
        reader.value()
    }
}

/// How a leaf is written and read.
pub trait Code {
    /// The leaf's type.
    type T: Clone + Send + Sync + 'static;
    /// Writes a Set of it.
    ///
    /// # Errors
    /// The value's own.
    fn set(value: &Self::T, patcher: &mut Patcher) -> Result<(), EncodeError>;
    /// Reads what stands in a Set.
    ///
    /// # Errors
    /// It is no value of the type.
    fn take(reader: &mut PatchReader<'_>) -> Result<Self::T, PatchError>;
}

/// As any value that is sent.
pub struct Sent<M>(PhantomData<fn() -> M>);

impl<M: Typed> Code for Sent<M>
where
    M::T: Clone + Sync,
{
    type T = M::T;
    fn set(value: &M::T, patcher: &mut Patcher) -> Result<(), EncodeError> {
        patcher.set(value)
    }
    fn take(reader: &mut PatchReader<'_>) -> Result<M::T, PatchError> {
        reader.value()
    }
}

/// The marker of a leaf that serde alone knows, by its own implementation or by a module (`#[serde(with = "..")]`).
pub trait Foreign {
    /// The type that the user wrote.
    type T: Clone + Send + Sync + 'static;
    /// Writes it.
    ///
    /// # Errors
    /// The serializer's and its own.
    fn serialize<S: Serializer>(value: &Self::T, serializer: S) -> Result<S::Ok, S::Error>;
    /// Reads it.
    ///
    /// # Errors
    /// The deserializer's and its own.
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self::T, D::Error>;
}

/// By [`Foreign`].
pub struct Through<M>(PhantomData<fn() -> M>);

struct Out<'a, M: Foreign>(&'a M::T);

impl<M: Foreign> Serialize for Out<'_, M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        M::serialize(self.0, serializer)
    }
}

struct In<M: Foreign>(M::T);

impl<'de, M: Foreign> Deserialize<'de> for In<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        M::deserialize(deserializer).map(In)
    }
}

impl<M: Foreign> Code for Through<M> {
    type T = M::T;
    fn set(value: &M::T, patcher: &mut Patcher) -> Result<(), EncodeError> {
        patcher.set_leaf(&Out::<M>(value))
    }
    fn take(reader: &mut PatchReader<'_>) -> Result<M::T, PatchError> {
        fn leaf<T: DeserializeOwned>(reader: &mut PatchReader<'_>) -> Result<T, PatchError> {
            reader.leaf()
        }
        leaf::<In<M>>(reader).map(|read| read.0)
    }
}

/// A leaf that `==` compares.
pub struct Equal<C>(PhantomData<fn() -> C>);

/// A leaf that is compared by what is written.
pub struct Encoded<C>(PhantomData<fn() -> C>);

/// Whether both are written alike. Handles inside count as different: their bytes do not tell which they are.
fn alike<C: Code>(a: &C::T, b: &C::T) -> Result<bool, EncodeError> {
    let write = |value| {
        let mut patcher = Patcher::new();
        C::set(value, &mut patcher)?;
        patcher.finish()
    };
    let ((a, refs), (b, _)) = (write(a)?, write(b)?);
    Ok(refs.is_empty() && a == b)
}

macro_rules! leaf {
    ($([$($bound:tt)*] $part:ident, |$a:ident, $b:ident| $alike:expr;)*) => {$(
        impl<C: Code> Part for $part<C> where C::T: Sized $($bound)* {
            type T = C::T;
            type Shadow = C::T;
            const NULLABLE: bool = false;

            fn shadow(value: &mut C::T) -> C::T {
                value.clone()
            }
            fn flush($a: &mut C::T, $b: &C::T, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                let $a = &*$a;
                if $alike? {
                    return Ok(false);
                }
                C::set($a, patcher)?;
                Ok(true)
            }
            fn undo(value: &mut C::T, shadow: C::T) -> bool {
                *value = shadow;
                true
            }
            fn patch(value: &mut C::T, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        *value = C::take(reader)?;
                        Ok(())
                    }
                    _ => Err(PatchError::Shape),
                })
            }
            fn adopt(_: &mut C::T, _: &mut C::T) {}
            fn same($a: &C::T, $b: &C::T) -> bool {
                // What cannot be written is like nothing.
                let alike: Result<bool, EncodeError> = $alike;
                alike.unwrap_or(false)
            }
            fn set(value: &C::T, patcher: &mut Patcher) -> Result<(), EncodeError> {
                C::set(value, patcher)
            }
            fn take(reader: &mut PatchReader<'_>) -> Result<C::T, PatchError> {
                C::take(reader)
            }
        }
    )*};
}

leaf! {
    [+ PartialEq] Equal, |a, b| Ok(a == b);
    [] Encoded, |a, b| alike::<C>(a, b);
}

/// The marker of a field with `skip_serializing_if`.
pub trait Skippable {
    /// The type that the user wrote.
    type T;
    /// Whether it is left out.
    fn is_skipped(value: &Self::T) -> bool;
    /// What serde makes of it where it was left out.
    fn absent() -> Self::T;
}

/// A field with `skip_serializing_if`: left out from now on is Unset, back again is Set.
pub struct Slotted<P, M>(PhantomData<fn() -> (P, M)>);

impl<P: Part, M: Skippable<T = P::T>> Part for Slotted<P, M> {
    type T = P::T;
    /// With whether it was left out.
    type Shadow = (bool, P::Shadow);
    const NULLABLE: bool = P::NULLABLE;

    fn shadow(value: &mut P::T) -> Self::Shadow {
        (M::is_skipped(value), P::shadow(value))
    }
    fn flush(
        value: &mut P::T,
        (was_skipped, shadow): &Self::Shadow,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError> {
        let is_skipped = M::is_skipped(value);
        if !is_skipped && !was_skipped {
            return P::flush(value, shadow, patcher);
        }
        // Ends the watch; what it would write, or why it could not, is not asked for.
        let _ = P::flush(value, shadow, &mut Patcher::new());
        match (was_skipped, is_skipped) {
            (true, true) => return Ok(false),
            (_, true) => patcher.unset(),
            _ => P::set(value, patcher)?,
        }
        Ok(true)
    }
    fn undo(value: &mut P::T, (_, shadow): Self::Shadow) -> bool {
        P::undo(value, shadow)
    }
    fn patch(value: &mut P::T, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.slot(&mut |reader, slot| {
            match slot {
                Slot::Unset => *value = M::absent(),
                Slot::Set => *value = P::take(reader)?,
                Slot::Change if M::is_skipped(value) => return Err(PatchError::Missing),
                Slot::Change => P::patch(value, reader)?,
            }
            Ok(())
        })
    }
    fn adopt(value: &mut P::T, old: &mut P::T) {
        P::adopt(value, old);
    }
    fn same(a: &P::T, b: &P::T) -> bool {
        match (M::is_skipped(a), M::is_skipped(b)) {
            (true, true) => true,
            (false, false) => P::same(a, b),
            _ => false,
        }
    }
    fn set(value: &P::T, patcher: &mut Patcher) -> Result<(), EncodeError> {
        P::set(value, patcher)
    }
    fn take(reader: &mut PatchReader<'_>) -> Result<P::T, PatchError> {
        P::take(reader)
    }
}

/// Fails, at compile time in generated code, where a flattened field is no struct.
pub const fn assert_flat(is_flat: bool) {
    assert!(
        is_flat,
        "only a struct, or an `Option` of one, is tracked where it is flattened: give the map a field of its own"
    );
}

macro_rules! debug {
    ($($([$($generics:tt)*])? $name:ident),*) => {$(
        impl<A $(, $($generics)*)?> fmt::Debug for $name<A $(, $($generics)*)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug!(Own, Sent, Through, Equal, Encoded, [B] Slotted);
