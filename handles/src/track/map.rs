//! [`Map`]: a `BTreeMap` that tells which of its keys changed.

mod api;
mod drain;
mod entry;
mod log;
mod tables;
mod write;

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::FusedIterator;
use std::ops::{Deref, RangeBounds};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::api::api;
pub(crate) use self::drain::Drain;
pub(crate) use self::entry::entries;
pub(crate) use self::log::{Log, Recorder, State, Table, Watched};
pub(crate) use self::tables::bytes_of;
pub(crate) use self::write::{difference, key_wise};
use super::{Key, Track};
use crate::lease::Lease;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A map in the order of its keys: the standard library's `BTreeMap`, by whose methods it is read and changed.
///
/// Whatever is done to a key in one edit travels as one entry: how its value changed, the value, or that it is gone.
/// What is put and removed again is not told.
///
/// A value that is replaced or removed stays with the map until the edit ends, so that the edit can be taken back; the
/// method returns a clone of it.
pub struct Map<K, V: Track> {
    inner: Watched<BTreeMap<K, V>, BTreeMap<K, State<V>>>,
}

impl<K, V: Track> Map<K, V> {
    /// An empty one.
    pub const fn new() -> Self {
        Map {
            inner: Watched::new(BTreeMap::new()),
        }
    }
}

api! { Map<K, V>, BTreeMap, btree_map, keys: [Ord] }

entries! { btree_map, BTreeMap<K, V>, keys: [Ord] }

impl<K: Key + Ord, V: Track> Map<K, V> {
    /// As [`iter_mut`](Self::iter_mut), without the keys.
    pub fn values_mut(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = &mut V> + ExactSizeIterator + FusedIterator {
        self.iter_mut().map(|(_, value)| value)
    }

    /// As the standard library's. While the map is being edited it notes each value that it hands out.
    pub fn range_mut<Q>(
        &mut self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &mut V)> + FusedIterator
    where
        K: Borrow<Q>,
        Q: ?Sized + Ord,
    {
        let (table, mut recorder) = self.inner.parts();
        table.range_mut(range).map(move |(key, value)| {
            if let Some(recorder) = &mut recorder {
                recorder.touch(key, value);
            }
            (key, value)
        })
    }

    /// As the standard library's.
    pub fn first_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        let (table, recorder) = self.inner.parts();
        Some(OccupiedEntry::new(table.first_entry()?, recorder))
    }

    /// As the standard library's.
    pub fn last_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        let (table, recorder) = self.inner.parts();
        Some(OccupiedEntry::new(table.last_entry()?, recorder))
    }

    /// As the standard library's. What it returns are clones, if they were there before the edit.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        self.remove_with(BTreeMap::pop_first, K::clone)
    }

    /// As the standard library's. What it returns are clones, if they were there before the edit.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.remove_with(BTreeMap::pop_last, K::clone)
    }

    /// As the standard library's. What was in an `other` that is being edited is cloned.
    pub fn append(&mut self, other: &mut Self) {
        if !self.inner.is_logging() && !other.inner.is_logging() {
            return self.inner.table.append(&mut other.inner.table);
        }
        while let Some((key, value)) = other.pop_first() {
            self.inner.put(key, value);
        }
    }

    /// As the standard library's. While this one is being edited, it returns clones of what was there before.
    #[must_use]
    pub fn split_off<Q>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
        Q: ?Sized + Ord,
    {
        let (table, recorder) = self.inner.parts();
        let Some(mut recorder) = recorder else {
            return table.split_off(key).into();
        };
        recorder.record(|log| {
            let split = table.split_off(key).into_iter();
            split
                .map(|(key, old)| (key.clone(), log.note_taken(key, old)))
                .collect()
        })
    }
}

impl<K: Key + Ord, V: Track> DoubleEndedIterator for IterMut<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, value) = self.iter.next_back()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.touch(key, value);
        }
        Some((key, value))
    }
}

impl<K: PartialEq, V: Track + PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.inner.table == other.inner.table
    }
}

impl<K: Eq, V: Track + Eq> Eq for Map<K, V> {}

impl<K: PartialOrd, V: Track + PartialOrd> PartialOrd for Map<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.inner.table.partial_cmp(&other.inner.table)
    }
}

impl<K: Ord, V: Track + Ord> Ord for Map<K, V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.inner.table.cmp(&other.inner.table)
    }
}

impl<K: Hash, V: Track + Hash> Hash for Map<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.table.hash(state);
    }
}
