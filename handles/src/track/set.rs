//! [`Set`]: a `BTreeSet` that tells which items came and went.
//!
//! A set is an array on the wire, one of `u8` too. What changes in it is the node of a map from its items to `nil`:
//! `[2, (item, node)*]`, where the node `[0, nil]` puts the item and `nil` removes it. Both are idempotent, and nothing
//! else may stand there. So patches of sets are composed, filtered and rebased as those of maps are.

mod api;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{BitAnd, BitOr, BitXor, Deref, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::api::api;
use super::map::{Log, State, Watched};
use super::{Key, Track};
use crate::lease::Lease;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A set in the order of its items: the standard library's `BTreeSet`, by whose methods it is read and changed.
///
/// Each item that came or went in one edit travels once. An item that came and went is not told.
pub struct Set<T> {
    inner: Watched<BTreeSet<T>, BTreeMap<T, State<()>>>,
}

impl<T> Set<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Set {
            inner: Watched::new(BTreeSet::new()),
        }
    }
}

api! { Set<T>, BTreeSet, btree_set, items: [Ord] }

impl<T: Key + Ord> Set<T> {
    /// As the standard library's. What it returns while the set is being edited is a clone.
    pub fn pop_first(&mut self) -> Option<T> {
        self.take_with(BTreeSet::pop_first, |item| item, T::clone)
    }

    /// As the standard library's. What it returns while the set is being edited is a clone.
    pub fn pop_last(&mut self) -> Option<T> {
        self.take_with(BTreeSet::pop_last, |item| item, T::clone)
    }

    /// As the standard library's.
    pub fn append(&mut self, other: &mut Self) {
        if !self.inner.is_logging() && !other.inner.is_logging() {
            return self.inner.table.append(&mut other.inner.table);
        }
        while let Some(item) = other.pop_first() {
            self.insert(item);
        }
    }

    /// As the standard library's.
    #[must_use]
    pub fn split_off<Q>(&mut self, item: &Q) -> Self
    where
        T: Borrow<Q>,
        Q: ?Sized + Ord,
    {
        let (table, recorder) = self.inner.parts();
        match recorder {
            None => table.split_off(item).into(),
            Some(mut recorder) => recorder.record(|log| {
                let split = table.split_off(item);
                for item in &split {
                    log.note_dropped(item.clone(), ());
                }
                split.into()
            }),
        }
    }
}

/// The operators of the standard library's set, on two of these.
macro_rules! operators {
    ($($operator:ident::$method:ident;)*) => {$(
        impl<T: Key + Ord> $operator<&Set<T>> for &Set<T> {
            type Output = Set<T>;

            fn $method(self, other: &Set<T>) -> Set<T> {
                (&**self).$method(&**other).into()
            }
        }
    )*};
}

operators! { BitAnd::bitand; BitOr::bitor; BitXor::bitxor; Sub::sub; }

impl<T: PartialEq> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        self.inner.table == other.inner.table
    }
}

impl<T: Eq> Eq for Set<T> {}

impl<T: PartialOrd> PartialOrd for Set<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.inner.table.partial_cmp(&other.inner.table)
    }
}

impl<T: Ord> Ord for Set<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.inner.table.cmp(&other.inner.table)
    }
}

impl<T: Hash> Hash for Set<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.table.hash(state);
    }
}
