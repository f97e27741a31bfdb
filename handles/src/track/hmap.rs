//! [`HMap`]: a `HashMap` that tells which of its keys changed.
#![allow(
    clippy::disallowed_types,
    reason = "the default of the user's own maps is the standard library's; this crate makes none for itself"
)]

use std::borrow::Borrow;
use std::collections::{HashMap, TryReserveError, hash_map};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::iter::FusedIterator;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::map::{Drain, Log, Recorder, State, Watched, api, entries};
use super::{Key, Track};
use crate::lease::Lease;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A map without an order: the standard library's `HashMap`, by whose methods it is read and changed.
///
/// What it tells of an edit is what [`Map`](super::Map) tells. Its patches come in an order of their own, the same on
/// every machine and for every hasher.
pub struct HMap<K, V: Track, S = RandomState> {
    inner: Watched<HashMap<K, V, S>, States<K, V, S>>,
}

type States<K, V, S> = HashMap<K, State<V>, S>;

impl<K, V: Track> HMap<K, V> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        HMap::default()
    }

    /// An empty one with room for `capacity` entries.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        HMap::with_capacity_and_hasher(capacity, RandomState::default())
    }
}

impl<K, V: Track, S> HMap<K, V, S> {
    /// An empty one that hashes with what `hasher` makes.
    pub const fn with_hasher(hasher: S) -> Self {
        HMap {
            inner: Watched::new(HashMap::with_hasher(hasher)),
        }
    }

    /// An empty one with room for `capacity` entries, that hashes with what `hasher` makes.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        HashMap::with_capacity_and_hasher(capacity, hasher).into()
    }
}

api! {
    HMap<K, V, S: [BuildHasher + Default], [BuildHasher + Default + Clone + Send + Sync + 'static]>,
    HashMap, hash_map, keys: [Eq, Hash]
}

entries! { hash_map, HashMap<K, V, S: [BuildHasher + Default]>, keys: [Eq, Hash] }

impl<K: Key + Hash, V: Track, S: BuildHasher + Default> HMap<K, V, S> {
    /// As [`iter_mut`](Self::iter_mut), without the keys.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> + FusedIterator {
        self.iter_mut().map(|(_, value)| value)
    }

    /// As the standard library's.
    ///
    /// # Panics
    /// If two of the keys are the same, as the standard library's does.
    pub fn get_disjoint_mut<Q, const N: usize>(&mut self, keys: [&Q; N]) -> [Option<&mut V>; N]
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        // Notes each of them. Nothing has changed if the keys turn out to be the same.
        for key in keys {
            self.get_mut(key);
        }
        self.inner.table.get_disjoint_mut(keys)
    }

    /// As the standard library's. While the map is being edited, it returns clones of what was there before.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = (K, V)> + FusedIterator {
        let (table, recorder) = self.inner.parts();
        match recorder {
            None => Drain::Given(table.drain()),
            Some(mut recorder) => recorder.record(|log| {
                let taken = table.drain();
                let cloned: Vec<_> = taken
                    .map(|(key, old)| (key.clone(), log.note_taken(key, old)))
                    .collect();
                Drain::Cloned(cloned.into_iter())
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

impl<K: Eq + Hash, V: Track + PartialEq, S: BuildHasher> PartialEq for HMap<K, V, S> {
    fn eq(&self, other: &Self) -> bool {
        self.inner.table == other.inner.table
    }
}

impl<K: Eq + Hash, V: Track + Eq, S: BuildHasher> Eq for HMap<K, V, S> {}
