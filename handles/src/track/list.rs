//! [`List`]: a `Vec` whose changes are told as they happen.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Index, IndexMut, RangeBounds};
use std::slice;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Track;
use super::sequence::{Drain, Items, IterMut, Places, Sequence, indices, traits};
use crate::lease::Lease;
use crate::patch::{EncodeError, PatchError, PatchReader, Patcher};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A `Vec` whose changes travel as what was done: an item that is pushed, removed or moved costs its own bytes and a
/// few more, however long the list. It reads as a slice, and has the methods of `Vec`.
///
/// - A `&mut` to an element is watched: what changes in it travels, nothing else. Methods that hand out many
///   ([`as_mut_slice`](Self::as_mut_slice), ranges, [`chunks_mut`](Self::chunks_mut)) watch them all, at a cost; `iter_mut`
///   watches those that it reaches.
/// - New items at the end are written when the edit ends, so what is done to them before costs nothing.
/// - Rolling back is cheap for changes of elements, and at the end of the list; after others the list is restored from a
///   copy.
/// - A list of `u8` travels as bytes. Those that are changed in place are compared with a copy.
///
/// [`with_vec`](Self::with_vec) gives the `Vec` itself, for what is missing here.
pub struct List<T: Track> {
    seq: Sequence<T, Vec<T>>,
}

traits! {
    List over Vec, reads as [T], equals [Vec<T>, [T], &[T]],
    slice::Iter<'a, T>, slice::IterMut<'a, T>, std::vec::IntoIter<T>
}

impl<T: Track> List<T> {
    /// How many there are; bytes, of a text. Here and not by `Deref` alone, so that it has a path.
    pub fn len(&self) -> usize {
        (**self).len()
    }

    /// Whether there are none: what `#[serde(skip_serializing_if = "..::is_empty")]` may name.
    pub fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    /// An empty one, without memory.
    pub const fn new() -> List<T> {
        List {
            seq: Sequence::new(Vec::new()),
        }
    }

    /// An empty one with room for so many items.
    pub fn with_capacity(capacity: usize) -> List<T> {
        Vec::with_capacity(capacity).into()
    }

    /// The `Vec`.
    pub fn into_vec(self) -> Vec<T> {
        self.seq.items
    }

    /// All items.
    pub fn as_slice(&self) -> &[T] {
        &self.seq.items
    }

    /// How many items there is room for.
    pub fn capacity(&self) -> usize {
        self.seq.items.capacity()
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
    pub fn push(&mut self, item: T) {
        self.seq.tell_append();
        self.seq.items.push(item);
    }

    /// Removes the last item. One that was there when the edit began is kept for a rollback; this is its clone.
    pub fn pop(&mut self) -> Option<T> {
        self.seq.pop()
    }

    /// [`pop`](Self::pop), if the last item is such.
    pub fn pop_if(&mut self, predicate: impl FnOnce(&mut T) -> bool) -> Option<T> {
        match predicate(self.last_mut()?) {
            true => self.pop(),
            false => None,
        }
    }

    /// Puts an item at `index`; those from there on move up.
    ///
    /// # Panics
    /// `index` is above the length.
    #[track_caller]
    pub fn insert(&mut self, index: usize, item: T) {
        let len = self.len();
        assert!(
            index <= len,
            "insertion index (is {index}) should be <= len (is {len})"
        );
        match self.seq.is_recording() {
            true => self.seq.insert(index, item),
            false => self.seq.items.insert(index, item),
        }
    }

    /// Removes the item at `index`; those behind it move down.
    ///
    /// # Panics
    /// `index` is not below the length.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        self.assert_there("removal", index);
        self.seq.tell_splice(index..index + 1, &Vec::new());
        self.seq.items.remove(index)
    }

    /// Removes the item at `index`; the last one takes its place.
    ///
    /// # Panics
    /// `index` is not below the length.
    #[track_caller]
    pub fn swap_remove(&mut self, index: usize) -> T {
        self.assert_there("swap_remove", index);
        let last = self.len() - 1;
        self.seq.swap(index, last);
        self.seq.tell_splice(last..last + 1, &Vec::new());
        self.seq.items.swap_remove(last)
    }

    /// Removes all from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.seq.truncate(len);
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.seq.truncate(0);
    }

    /// Moves the items of another list behind those of this one.
    pub fn append(&mut self, other: &mut List<T>) {
        self.seq.append(&mut other.seq);
    }

    /// Appends clones.
    pub fn extend_from_slice(&mut self, items: &[T]) {
        self.seq.tell_append();
        self.seq.items.extend_from_slice(items);
    }

    /// Appends clones of items that are in the list.
    ///
    /// # Panics
    /// The range is not within the list.
    #[track_caller]
    pub fn extend_from_within(&mut self, range: impl RangeBounds<usize>) {
        let range = indices(range, self.len());
        self.seq.tell_append();
        self.seq.items.extend_from_within(range);
    }

    /// Makes it so long: by clones of `item`, or by cutting off.
    pub fn resize(&mut self, len: usize, item: T) {
        self.seq.tell_append();
        match len >= self.len() {
            true => self.seq.items.resize(len, item),
            false => self.seq.truncate(len),
        }
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
    /// The range is not within the list.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<T, std::vec::Drain<'_, T>> {
        let range = indices(range, self.len());
        match self.seq.is_recording() {
            true => Drain::taken(self.seq.take(range)),
            false => Drain::lazy(self.seq.items.drain(range)),
        }
    }

    /// Replaces a range by other items, and gives out what was there. All of `new` is read before anything changes.
    ///
    /// # Panics
    /// The range is not within the list.
    #[track_caller]
    pub fn splice(
        &mut self,
        range: impl RangeBounds<usize>,
        new: impl IntoIterator<Item = T>,
    ) -> std::vec::IntoIter<T> {
        let range = indices(range, self.len());
        let new = new.into_iter().collect();
        self.seq.splice(range, new).into_iter()
    }

    /// Removes all from index `at` on, and returns them.
    ///
    /// # Panics
    /// `at` is above the length.
    #[track_caller]
    #[must_use = "use `.truncate()` if you don't need the other half"]
    pub fn split_off(&mut self, at: usize) -> List<T> {
        let range = indices(at.., self.len());
        self.seq.take(range).into()
    }

    /// Removes all but the first of equal ones in a row.
    pub fn dedup(&mut self)
    where
        T: PartialEq,
    {
        if !self.seq.is_recording() {
            return self.seq.items.dedup();
        }
        let pairs = self.windows(2).zip(1..);
        let is_again = |(pair, index): (&[T], usize)| match pair {
            [a, b] if a == b => Some(index),
            _ => None,
        };
        let gone: Vec<usize> = pairs.filter_map(is_again).collect();
        self.seq.remove_all(&gone);
    }

    /// Removes all but the first of those of one key in a row. All are watched.
    pub fn dedup_by_key<K: PartialEq>(&mut self, mut key: impl FnMut(&mut T) -> K) {
        self.dedup_by(|a, b| key(a) == key(b));
    }

    /// Removes all but the first of those in a row that are the same; `same` is given an item, and the one before it that
    /// stays. All are watched.
    pub fn dedup_by(&mut self, mut same: impl FnMut(&mut T, &mut T) -> bool) {
        if !self.seq.is_recording() {
            return self.seq.items.dedup_by(same);
        }
        let (mut stays, mut gone) = (0, Vec::new());
        for index in 1..self.len() {
            if let Ok([before, item]) = self.as_touched(stays, index)
                && same(item, before)
            {
                gone.push(index);
            } else {
                stays = index;
            }
        }
        self.seq.remove_all(&gone);
    }

    fn as_touched(
        &mut self,
        i: usize,
        j: usize,
    ) -> Result<[&mut T; 2], slice::GetDisjointMutError> {
        self.seq.tell_touch(i);
        self.seq.tell_touch(j);
        self.seq.items.get_disjoint_mut([i, j])
    }

    /// Exchanges two items.
    ///
    /// # Panics
    /// One of them is not there.
    #[track_caller]
    pub fn swap(&mut self, i: usize, j: usize) {
        self.assert_there("swap", i.max(j));
        self.seq.swap(i, j);
    }

    /// Moves an item: afterwards it is at `to`, and those between have moved by one.
    ///
    /// # Panics
    /// One of the two is not below the length.
    #[track_caller]
    pub fn move_item(&mut self, from: usize, to: usize) {
        self.assert_there("move", from.max(to));
        self.seq.shift(from, to);
    }

    /// Turns the order round.
    pub fn reverse(&mut self) {
        match self.seq.tells_order() {
            true => self.seq.reorder((0..self.len()).rev().collect()),
            false => self.seq.items.reverse(),
        }
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

    /// Replaces each item by a clone of `item`.
    pub fn fill(&mut self, item: T) {
        let len = self.len();
        self.replace_all(vec![item; len]);
    }

    /// Replaces each item by one that is made.
    pub fn fill_with(&mut self, make: impl FnMut() -> T) {
        let len = self.len();
        self.replace_all(std::iter::repeat_with(make).take(len).collect());
    }

    fn replace_all(&mut self, mut new: Vec<T>) {
        self.seq.truncate(0);
        self.seq.tell_append();
        self.seq.items.append(&mut new);
    }

    /// Sorts; equal ones keep their order.
    pub fn sort(&mut self)
    where
        T: Ord,
    {
        self.sort_by(T::cmp);
    }

    /// Sorts by a comparison; equal ones keep their order.
    pub fn sort_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) {
        if !self.seq.tells_order() {
            return self.seq.items.sort_by(compare);
        }
        let mut order: Vec<(usize, &T)> = self.iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| compare(a, b));
        let order = order.into_iter().map(|(index, _)| index).collect();
        self.seq.reorder(order);
    }

    /// Sorts by a key; equal ones keep their order.
    pub fn sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.sort_by(|a, b| key(a).cmp(&key(b)));
    }

    /// Sorts by a key that is made once an item; equal ones keep their order.
    pub fn sort_by_cached_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        if !self.seq.tells_order() {
            return self.seq.items.sort_by_cached_key(key);
        }
        let keys = self.iter().map(&mut key).enumerate();
        let mut order: Vec<(usize, K)> = keys.collect();
        order.sort_by(|(_, a), (_, b)| a.cmp(b));
        let order = order.into_iter().map(|(index, _)| index).collect();
        self.seq.reorder(order);
    }

    /// Sorts, perhaps faster; equal ones may change their order. While it is watched it is [`sort`](Self::sort).
    pub fn sort_unstable(&mut self)
    where
        T: Ord,
    {
        self.sort_unstable_by(T::cmp);
    }

    /// Sorts by a comparison, as [`sort_unstable`](Self::sort_unstable).
    pub fn sort_unstable_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering) {
        match self.seq.tells_order() {
            true => self.sort_by(compare),
            false => self.seq.items.sort_unstable_by(compare),
        }
    }

    /// Sorts by a key, as [`sort_unstable`](Self::sort_unstable).
    pub fn sort_unstable_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }

    #[track_caller]
    fn assert_there(&self, what: &str, index: usize) {
        let len = self.len();
        assert!(
            index < len,
            "{what} index (is {index}) should be < len (is {len})"
        );
    }
}

/// Elements to be changed.
impl<T: Track> List<T> {
    /// An element, or those of a range.
    #[inline]
    pub fn get_mut<P: Places<T>>(&mut self, places: P) -> Option<&mut P::Output> {
        self.touch(&places);
        self.seq.items.get_mut(places)
    }

    /// The first element.
    pub fn first_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// The last element.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len().checked_sub(1)?)
    }

    /// One after the other. Those that it does not reach cost nothing.
    pub fn iter_mut(&mut self) -> IterMut<'_, T, slice::IterMut<'_, T>> {
        let (items, touched) = self.seq.touching();
        IterMut::new(items.iter_mut(), 0, touched)
    }

    /// All elements, watched: for methods of slices that are missing here.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.touch(&..);
        &mut self.seq.items
    }

    /// All elements, in pieces.
    ///
    /// # Panics
    /// `len` is 0.
    pub fn chunks_mut(&mut self, len: usize) -> slice::ChunksMut<'_, T> {
        self.as_mut_slice().chunks_mut(len)
    }

    /// All elements, in pieces of the same length; those that are left over are in
    /// [`into_remainder`](slice::ChunksExactMut::into_remainder).
    ///
    /// # Panics
    /// `len` is 0.
    pub fn chunks_exact_mut(&mut self, len: usize) -> slice::ChunksExactMut<'_, T> {
        self.as_mut_slice().chunks_exact_mut(len)
    }

    /// All elements, in two pieces.
    ///
    /// # Panics
    /// `at` is above the length.
    #[track_caller]
    pub fn split_at_mut(&mut self, at: usize) -> (&mut [T], &mut [T]) {
        let _ = indices(at.., self.len());
        self.as_mut_slice().split_at_mut(at)
    }

    /// The `Vec` itself, to do anything with. It is cloned before, and compared afterwards: that costs time and memory
    /// for all of its items, and what changed travels as one splice.
    pub fn with_vec<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        self.seq.with(change)
    }

    #[inline]
    fn touch<P: Places<T>>(&mut self, places: &P) {
        if self.seq.is_recording()
            && let Some(range) = places.within(self.len())
        {
            self.seq.tell_touch_range(range);
        }
    }
}

impl<T: Track, P: Places<T>> Index<P> for List<T> {
    type Output = P::Output;

    fn index(&self, places: P) -> &P::Output {
        self.seq.items.index(places)
    }
}

impl<T: Track, P: Places<T>> IndexMut<P> for List<T> {
    fn index_mut(&mut self, places: P) -> &mut P::Output {
        self.touch(&places);
        self.seq.items.index_mut(places)
    }
}

impl<T: Track> AsRef<[T]> for List<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Track, const N: usize> PartialEq<[T; N]> for List<T>
where
    T: PartialEq,
{
    fn eq(&self, other: &[T; N]) -> bool {
        self.seq.items == *other
    }
}

impl<T: Track> From<&[T]> for List<T> {
    fn from(items: &[T]) -> Self {
        items.to_vec().into()
    }
}
