//! The standard library's maps and sets, as the log sees them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::mem::take;

use super::log::{Log, State, Table};
use crate::codec;
use crate::track::{Key, Track};

macro_rules! maps {
    ($([$($generics:tt)*] $map:ty, log: $log:ty, all: |$all:ident| $taken:expr;)*) => {$(
        impl<$($generics)*> Table for $map {
            type Key = K;
            type Value = V;
            type Log = $log;

            fn size(&self) -> usize {
                self.len()
            }

            fn change<R>(&mut self, key: &K, f: impl FnOnce(&mut V) -> R) -> Option<R> {
                self.get_mut(key).map(f)
            }

            fn put(&mut self, key: K, value: V) -> Option<V> {
                self.insert(key, value)
            }

            fn take(&mut self, key: &K) -> Option<(K, V)> {
                self.remove_entry(key)
            }

            fn take_all(&mut self) -> impl Iterator<Item = (K, V)> {
                let $all = self;
                $taken
            }
        }
    )*};
}

maps! {
    [K: Key + Ord, V: Track] BTreeMap<K, V>, log: BTreeMap<K, State<V>>, all: |map| take(map).into_iter();
    [K: Key + Hash, V: Track, S: BuildHasher + Default] HashMap<K, V, S>, log: HashMap<K, State<V>, S>,
        all: |map| map.drain();
}

macro_rules! sets {
    ($([$($generics:tt)*] $set:ty, log: $log:ty, all: |$all:ident| $taken:expr;)*) => {$(
        impl<$($generics)*> Table for $set {
            type Key = T;
            type Value = ();
            type Log = $log;

            fn size(&self) -> usize {
                self.len()
            }

            fn change<R>(&mut self, item: &T, f: impl FnOnce(&mut ()) -> R) -> Option<R> {
                self.contains(item).then(|| f(&mut ()))
            }

            fn put(&mut self, item: T, (): ()) -> Option<()> {
                (!self.insert(item)).then_some(())
            }

            fn take(&mut self, item: &T) -> Option<(T, ())> {
                Some((self.take(item)?, ()))
            }

            fn take_all(&mut self) -> impl Iterator<Item = (T, ())> {
                let $all = self;
                $taken.map(|item| (item, ()))
            }
        }
    )*};
}

sets! {
    [T: Key + Ord] BTreeSet<T>, log: BTreeMap<T, State<()>>, all: |set| take(set).into_iter();
    [T: Key + Hash, S: BuildHasher + Default] HashSet<T, S>, log: HashMap<T, State<()>, S>,
        all: |set| set.drain();
}

impl<K: Key + Ord, V: Track> Log for BTreeMap<K, State<V>> {
    type Key = K;
    type Value = V;

    fn has(&self, key: &K) -> bool {
        self.contains_key(key)
    }

    fn take(&mut self, key: &K) -> Option<State<V>> {
        self.remove(key)
    }

    fn set(&mut self, key: K, state: State<V>) {
        self.insert(key, state);
    }

    fn in_order(self) -> impl ExactSizeIterator<Item = (K, State<V>)> {
        self.into_iter()
    }
}

impl<K: Key + Hash, V: Track, S: BuildHasher + Default> Log for HashMap<K, State<V>, S> {
    type Key = K;
    type Value = V;

    fn has(&self, key: &K) -> bool {
        self.contains_key(key)
    }

    fn take(&mut self, key: &K) -> Option<State<V>> {
        self.remove(key)
    }

    fn set(&mut self, key: K, state: State<V>) {
        self.insert(key, state);
    }

    fn in_order(self) -> impl ExactSizeIterator<Item = (K, State<V>)> {
        let mut states: Vec<(K, State<V>)> = self.into_iter().collect();
        states.sort_by_cached_key(|(key, _)| bytes_of(key));
        states.into_iter()
    }
}

/// What a key is sorted by where it has no other order: its encoding.
pub(crate) fn bytes_of<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !key.__put(&mut bytes) {
        // One that cannot be encoded says so when it is written.
        let _ = codec::encode_into(key, &mut bytes);
    }
    bytes
}
