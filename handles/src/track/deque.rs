//! [`Deque`]: a `VecDeque` whose changes are told as they happen.

use std::cmp::Ordering;
use std::collections::{VecDeque, vec_deque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Index, IndexMut, RangeBounds};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Track;
use super::sequence::{Drain, Items, IterMut, Sequence, indices, traits};
use crate::lease::Lease;
use crate::patch::{EncodeError, PatchError, PatchReader, Patcher};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A `VecDeque` whose changes travel as what was done, as those of a [`List`](super::List) do. It reads as a `VecDeque`,
/// and has its methods, but for `make_contiguous`, which hands out a `&mut` to everything: use
/// [`with_deque`](Self::with_deque) to sort.
pub struct Deque<T: Track> {
    seq: Sequence<T, VecDeque<T>>,
}

traits! {
    Deque over VecDeque, reads as VecDeque<T>, equals [VecDeque<T>, Vec<T>],
    vec_deque::Iter<'a, T>, vec_deque::IterMut<'a, T>, vec_deque::IntoIter<T>
}

impl<T: Track> Deque<T> {
    /// How many there are; bytes, of a text. Here and not by `Deref` alone, so that it has a path.
    pub fn len(&self) -> usize {
        (**self).len()
    }

    /// Whether there are none: what `#[serde(skip_serializing_if = "..::is_empty")]` may name.
    pub fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    /// An empty one, without memory.
    pub const fn new() -> Deque<T> {
        Deque {
            seq: Sequence::new(VecDeque::new()),
        }
    }

    /// An empty one with room for so many items.
    pub fn with_capacity(capacity: usize) -> Deque<T> {
        VecDeque::with_capacity(capacity).into()
    }

    /// The `VecDeque`.
    pub fn into_deque(self) -> VecDeque<T> {
        self.seq.items
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, additional: usize) {
        self.seq.items.reserve(additional);
    }

    /// Gives room back.
    pub fn shrink_to_fit(&mut self) {
        self.seq.items.shrink_to_fit();
    }

    /// Appends an item.
    #[inline]
    pub fn push_back(&mut self, item: T) {
        self.seq.tell_append();
        self.seq.items.push_back(item);
    }

    /// Puts an item before all others.
    pub fn push_front(&mut self, item: T) {
        match self.seq.is_recording() {
            true => self.seq.insert(0, item),
            false => self.seq.items.push_front(item),
        }
    }

    /// Removes the last item. One that was there when the edit began is kept for a rollback; this is its clone.
    pub fn pop_back(&mut self) -> Option<T> {
        self.seq.pop()
    }

    /// Removes the first item.
    pub fn pop_front(&mut self) -> Option<T> {
        self.remove(0)
    }

    /// Puts an item at `index`.
    ///
    /// # Panics
    /// `index` is above the length.
    #[track_caller]
    pub fn insert(&mut self, index: usize, item: T) {
        assert!(index <= self.len(), "index out of bounds");
        match self.seq.is_recording() {
            true => self.seq.insert(index, item),
            false => self.seq.items.insert(index, item),
        }
    }

    /// Removes the item at `index`, if there is one.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        if index < self.len() {
            self.seq.tell_splice(index..index + 1, &Vec::new());
        }
        self.seq.items.remove(index)
    }

    /// Removes the item at `index`, if there is one; the last one takes its place.
    pub fn swap_remove_back(&mut self, index: usize) -> Option<T> {
        let last = self.len().checked_sub(1)?;
        if index > last {
            return None;
        }
        self.seq.swap(index, last);
        self.remove(last)
    }

    /// Removes the item at `index`, if there is one; the first one takes its place.
    pub fn swap_remove_front(&mut self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        self.seq.swap(index, 0);
        self.remove(0)
    }

    /// Removes all from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.seq.truncate(len);
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.seq.truncate(0);
    }

    /// Moves the items of another deque behind those of this one.
    pub fn append(&mut self, other: &mut Deque<T>) {
        self.seq.append(&mut other.seq);
    }

    /// Makes it so long: by clones of `item`, or by cutting off.
    pub fn resize(&mut self, len: usize, item: T) {
        self.resize_with(len, || item.clone());
    }

    /// Makes it so long: by items that are made, or by cutting off.
    pub fn resize_with(&mut self, len: usize, make: impl FnMut() -> T) {
        self.seq.tell_append();
        match len >= self.len() {
            true => self.seq.items.resize_with(len, make),
            false => self.seq.truncate(len),
        }
    }

    /// Keeps those that `keep` says so of. While it runs none is gone yet.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        match self.seq.is_recording() {
            true => self.seq.retain(|item| keep(item), false),
            false => self.seq.items.retain(keep),
        }
    }

    /// As [`retain`](Self::retain), and may change them; so all are watched.
    pub fn retain_mut(&mut self, keep: impl FnMut(&mut T) -> bool) {
        match self.seq.is_recording() {
            true => self.seq.retain(keep, true),
            false => self.seq.items.retain_mut(keep),
        }
    }

    /// Removes a range, and gives out its items.
    ///
    /// # Panics
    /// The range is not within the deque.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<T, vec_deque::Drain<'_, T>> {
        let range = indices(range, self.len());
        match self.seq.is_recording() {
            true => Drain::taken(self.seq.take(range)),
            false => Drain::lazy(self.seq.items.drain(range)),
        }
    }

    /// Removes all from index `at` on, and returns them.
    ///
    /// # Panics
    /// `at` is above the length.
    #[track_caller]
    #[must_use = "use `.truncate()` if you don't need the other half"]
    pub fn split_off(&mut self, at: usize) -> Deque<T> {
        let range = indices(at.., self.len());
        VecDeque::from(self.seq.take(range)).into()
    }

    /// Exchanges two items.
    ///
    /// # Panics
    /// One of them is not there.
    #[track_caller]
    pub fn swap(&mut self, i: usize, j: usize) {
        assert!(i.max(j) < self.len(), "index out of bounds");
        self.seq.swap(i, j);
    }

    /// Moves an item: afterwards it is at `to`, and those between have moved by one.
    ///
    /// # Panics
    /// One of the two is not below the length.
    #[track_caller]
    pub fn move_item(&mut self, from: usize, to: usize) {
        assert!(from.max(to) < self.len(), "index out of bounds");
        self.seq.shift(from, to);
    }

    /// The item at `by` becomes the first; those before it come last.
    ///
    /// # Panics
    /// `by` is above the length.
    #[track_caller]
    pub fn rotate_left(&mut self, by: usize) {
        assert!(
            by <= self.len(),
            "cannot rotate {} items by {by}",
            self.len()
        );
        match self.seq.tells_order() {
            true => self.seq.rotate_left(by),
            false => self.seq.items.rotate_left(by),
        }
    }

    /// The first item comes to `by`; the last ones become the first.
    ///
    /// # Panics
    /// `by` is above the length.
    #[track_caller]
    pub fn rotate_right(&mut self, by: usize) {
        assert!(
            by <= self.len(),
            "cannot rotate {} items by {by}",
            self.len()
        );
        self.rotate_left(self.len() - by);
    }

    /// An element to be changed.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.seq.tell_touch(index);
        self.seq.items.get_mut(index)
    }

    /// The first element, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// The last element, to be changed.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len().checked_sub(1)?)
    }

    /// One after the other, to be changed. Those that it does not reach cost nothing.
    pub fn iter_mut(&mut self) -> IterMut<'_, T, vec_deque::IterMut<'_, T>> {
        self.range_mut(..)
    }

    /// As [`iter_mut`](Self::iter_mut), those of a range.
    ///
    /// # Panics
    /// The range is not within the deque.
    #[track_caller]
    pub fn range_mut(
        &mut self,
        range: impl RangeBounds<usize>,
    ) -> IterMut<'_, T, vec_deque::IterMut<'_, T>> {
        let range = indices(range, self.len());
        let (items, touched) = self.seq.touching();
        IterMut::new(items.range_mut(range.clone()), range.start, touched)
    }

    /// The `VecDeque` itself, to do anything with. It is cloned before, and compared afterwards: that costs time and
    /// memory for all of its items, and what changed travels as one splice.
    pub fn with_deque<R>(&mut self, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        self.seq.with(change)
    }
}

impl<T: Track> Index<usize> for Deque<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.seq.items.index(index)
    }
}

impl<T: Track> IndexMut<usize> for Deque<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.seq.tell_touch(index);
        self.seq.items.index_mut(index)
    }
}

impl<T: Track> From<Vec<T>> for Deque<T> {
    fn from(items: Vec<T>) -> Self {
        VecDeque::from(items).into()
    }
}
