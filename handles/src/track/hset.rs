//! [`HSet`]: a `HashSet` that tells which items came and went. Its patches are those of [`Set`](super::Set).
#![allow(
    clippy::disallowed_types,
    reason = "the default of the user's own sets is the standard library's; this crate makes none for itself"
)]

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, TryReserveError, hash_set};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::iter::FusedIterator;
use std::ops::{BitAnd, BitOr, BitXor, Deref, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::map::{Drain, Log, State, Watched};
use super::set::api;
use super::{Key, Track};
use crate::lease::Lease;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A set without an order: the standard library's `HashSet`, by whose methods it is read and changed.
///
/// What it tells of an edit is what [`Set`](super::Set) tells. Its patches come in an order of their own, the same on
/// every machine and for every hasher.
pub struct HSet<T, S = RandomState> {
    inner: Watched<HashSet<T, S>, HashMap<T, State<()>, S>>,
}

impl<T> HSet<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        HSet::default()
    }

    /// An empty one with room for `capacity` items.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        HSet::with_capacity_and_hasher(capacity, RandomState::default())
    }
}

impl<T, S> HSet<T, S> {
    /// An empty one that hashes with what `hasher` makes.
    pub const fn with_hasher(hasher: S) -> Self {
        HSet {
            inner: Watched::new(HashSet::with_hasher(hasher)),
        }
    }

    /// An empty one with room for `capacity` items, that hashes with what `hasher` makes.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        HashSet::with_capacity_and_hasher(capacity, hasher).into()
    }
}

api! {
    HSet<T, S: [BuildHasher + Default], [BuildHasher + Default + Clone + Send + Sync + 'static]>,
    HashSet, hash_set, items: [Eq, Hash]
}

impl<T: Key + Hash, S: BuildHasher + Default> HSet<T, S> {
    /// As the standard library's. While the set is being edited, it returns clones.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = T> + FusedIterator {
        let (table, recorder) = self.inner.parts();
        match recorder {
            None => Drain::Given(table.drain()),
            Some(mut recorder) => recorder.record(|log| {
                let taken: Vec<T> = table.drain().collect();
                for item in &taken {
                    log.note_dropped(item.clone(), ());
                }
                Drain::Cloned(taken.into_iter())
            }),
        }
    }

    /// As the standard library's.
    pub fn reserve(&mut self, additional: usize) {
        self.inner.table.reserve(additional);
    }

    /// As the standard library's.
    ///
    /// # Errors
    /// As the standard library's.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.inner.table.try_reserve(additional)
    }

    /// As the standard library's.
    pub fn shrink_to_fit(&mut self) {
        self.inner.table.shrink_to_fit();
    }

    /// As the standard library's.
    pub fn shrink_to(&mut self, capacity: usize) {
        self.inner.table.shrink_to(capacity);
    }
}

/// The operators of the standard library's set, on two of these.
macro_rules! operators {
    ($($operator:ident::$method:ident;)*) => {$(
        impl<T: Key + Hash, S: BuildHasher + Default> $operator<&HSet<T, S>> for &HSet<T, S> {
            type Output = HSet<T, S>;

            fn $method(self, other: &HSet<T, S>) -> HSet<T, S> {
                (&**self).$method(&**other).into()
            }
        }
    )*};
}

operators! { BitAnd::bitand; BitOr::bitor; BitXor::bitxor; Sub::sub; }

impl<T: Eq + Hash, S: BuildHasher> PartialEq for HSet<T, S> {
    fn eq(&self, other: &Self) -> bool {
        self.inner.table == other.inner.table
    }
}

impl<T: Eq + Hash, S: BuildHasher> Eq for HSet<T, S> {}
