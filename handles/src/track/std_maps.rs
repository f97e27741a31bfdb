//! The standard library's maps and sets: a clone as the shadow, compared key by key. That takes time for all of their
//! entries whenever the struct around them is edited; above a hundred or so [`Map`](super::Map), [`HMap`](super::HMap),
//! [`Set`](super::Set) and [`HSet`](super::HSet) are better. The patches are the same.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use super::map::{Table, bytes_of, difference, key_wise};
use super::{Key, Track};
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::wire::Wire;

/// What became of a key that is not as it was.
enum Change<'a, V> {
    /// It came or it went: the table tells.
    Key,
    /// It has another value now than this one.
    Other(&'a V),
}

/// Writes the changes, which come in an order that depends on their keys alone.
fn write<M: Table + Wire>(
    table: &mut M,
    changed: Vec<(M::Key, Change<'_, M::Value>)>,
    patcher: &mut Patcher,
) -> Result<bool, EncodeError> {
    if changed.is_empty() {
        return Ok(false);
    }
    if table.size() == 0 {
        patcher.set(table)?;
        return Ok(true);
    }
    key_wise(patcher, table, |table, changes| {
        for (key, change) in &changed {
            let write = |value: &mut M::Value| {
                changes.change(key, |patcher| match change {
                    Change::Other(old) => difference(M::Value::clone(old), value, patcher),
                    Change::Key => patcher.set(value).map(|()| true),
                })
            };
            match table.change(key, write) {
                Some(written) => written?,
                None => changes.gone(key)?,
            }
        }
        Ok(())
    })
}

/// What differs between two maps in the order of their keys.
fn in_step<'a, K: Key + Ord, V: Track>(
    old: &'a BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Vec<(K, Change<'a, V>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changed = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        match (was, is) {
            (Some((key, _)), None) | (None, Some((key, _))) => {
                changed.push((key.clone(), Change::Key));
            }
            (Some((key, was)), Some((_, is))) if !was.same(is) => {
                changed.push((key.clone(), Change::Other(was)));
            }
            _ => {}
        }
    }
}

/// What differs between two maps without an order, in that of the bytes of their keys.
fn by_key<'a, K: Key + Hash, V: Track, S: BuildHasher>(
    old: &'a HashMap<K, V, S>,
    new: &HashMap<K, V, S>,
) -> Vec<(K, Change<'a, V>)> {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let gone = gone.map(|key| (key.clone(), Change::Key));
    let put = new.iter().filter_map(|(key, value)| match old.get(key) {
        None => Some((key.clone(), Change::Key)),
        Some(old) => (!old.same(value)).then(|| (key.clone(), Change::Other(old))),
    });
    let mut changed: Vec<_> = gone.chain(put).collect();
    changed.sort_by_cached_key(|(key, _)| bytes_of(key));
    changed
}

/// `Track` for a map. `$changed` lists what differs between two.
macro_rules! maps {
    ($([$($generics:tt)*] $map:ty: $changed:ident;)*) => {$(
        impl<$($generics)*> Track for $map {
            type Shadow = Self;

            fn shadow(&mut self) -> Self {
                self.clone()
            }

            fn flush(&mut self, shadow: &Self, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                let changed = $changed(shadow, self);
                write(self, changed, patcher)
            }

            fn undo(&mut self, shadow: Self) -> bool {
                *self = shadow;
                true
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        *self = reader.value()?;
                        Ok(())
                    }
                    Node::Map(pairs) => (0..pairs).try_for_each(|_| {
                        let key: K = reader.value()?;
                        reader.slot(&mut |reader, slot| {
                            match slot {
                                Slot::Unset => _ = self.remove(&key),
                                Slot::Set => {
                                    let value = reader.inner(|reader| reader.value())?;
                                    self.insert(key.clone(), value);
                                }
                                Slot::Change => {
                                    let value = self.get_mut(&key).ok_or(PatchError::Missing)?;
                                    reader.inner(|reader| value.patch(reader))?;
                                }
                            }
                            Ok(())
                        })
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn adopt(&mut self, old: &mut Self) {
                for (key, value) in self {
                    if let Some(old) = old.get_mut(key) {
                        value.adopt(old);
                    }
                }
            }

            fn same(&self, other: &Self) -> bool {
                let mut entries = self.iter();
                self.len() == other.len()
                    && entries.all(|(key, value)| other.get(key).is_some_and(|other| value.same(other)))
            }
        }
    )*};
}

maps! {
    [K: Key + Ord, V: Track] BTreeMap<K, V>: in_step;
    [K: Key + Hash, V: Track, S: BuildHasher + Default + Clone + Send + Sync + 'static] HashMap<K, V, S>: by_key;
}

/// `Track` for a set. `$sort` puts what differs in order.
macro_rules! sets {
    ($([$($generics:tt)*] $set:ty, $sort:expr;)*) => {$(
        impl<$($generics)*> Track for $set {
            type Shadow = Self;

            fn shadow(&mut self) -> Self {
                self.clone()
            }

            fn flush(&mut self, shadow: &Self, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                let changed = shadow.symmetric_difference(self);
                let mut changed: Vec<_> = changed.map(|item| (item.clone(), Change::Key)).collect();
                $sort(&mut changed);
                write(self, changed, patcher)
            }

            fn undo(&mut self, shadow: Self) -> bool {
                *self = shadow;
                true
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        *self = reader.value()?;
                        Ok(())
                    }
                    Node::Map(pairs) => (0..pairs).try_for_each(|_| {
                        let item: T = reader.value()?;
                        reader.slot(&mut |reader, slot| {
                            match slot {
                                Slot::Unset => _ = self.remove(&item),
                                Slot::Set => {
                                    let () = reader.value()?;
                                    self.insert(item.clone());
                                }
                                Slot::Change => return Err(PatchError::Shape),
                            }
                            Ok(())
                        })
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn same(&self, other: &Self) -> bool {
                self == other
            }
        }
    )*};
}

sets! {
    [T: Key + Ord] BTreeSet<T>, |_: &mut Vec<(T, Change<'_, ()>)>| {};
    [T: Key + Hash, S: BuildHasher + Default + Clone + Send + Sync + 'static] HashSet<T, S>,
        |changed: &mut Vec<(T, Change<'_, ()>)>| changed.sort_by_cached_key(|(item, _)| bytes_of(item));
}
