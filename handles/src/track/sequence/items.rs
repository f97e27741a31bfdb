//! What a sequence keeps its items in: `Vec` or `VecDeque`, with the few methods that [`Sequence`](super::Sequence) and
//! its log need of both. None of them panics, and none runs code of the user's.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Range;

use super::super::Track;
use crate::wire::Wire;

/// A store of items in a row.
pub(crate) trait Items<T: Track>: Wire + Clone + Default + Extend<T> + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// One of them.
    fn at(&mut self, index: usize) -> Option<&mut T>;

    /// Those from `start` on.
    fn rest(&self, start: usize) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator;

    /// Removes the last one.
    fn take_last(&mut self) -> Option<T>;

    /// Removes and drops those from `len` on.
    fn cut(&mut self, len: usize);

    /// Removes those of a range.
    fn take(&mut self, range: Range<usize>) -> Vec<T>;

    /// Puts items before the one at `at`.
    fn put(&mut self, at: usize, items: Vec<T>);

    /// Moves the items of another one behind these.
    fn join(&mut self, other: &mut Self);

    /// Exchanges two that are there.
    fn exchange(&mut self, i: usize, j: usize);

    /// Moves one that is there to where it shall be afterwards.
    fn shift(&mut self, from: usize, to: usize);

    /// Whether both would be written alike.
    fn same(&self, other: &Self) -> bool {
        let mut pairs = std::iter::zip(self.rest(0), other.rest(0));
        self.count() == other.count() && pairs.all(|(a, b)| a.same(b))
    }

    /// All of them, where they travel as a bin and not as an array.
    fn bin(&self) -> Option<&[u8]> {
        None
    }

    /// New items, where they travel as a bin.
    fn as_bin(new: &Vec<T>) -> Option<&[u8]> {
        let _ = new;
        None
    }
}

/// What `items` holds, if it is a `Vec` of bytes.
fn as_bytes<A: Any>(items: &A) -> Option<&[u8]> {
    let items: &dyn Any = items;
    items.downcast_ref::<Vec<u8>>().map(Vec::as_slice)
}

/// Bytes as items, if such are items.
pub(crate) fn of_bytes<T: 'static>(bytes: &[u8]) -> Option<Vec<T>> {
    let items: Box<dyn Any> = Box::new(bytes.to_vec());
    items.downcast().ok().map(|items| *items)
}

/// A range that is certainly within `len`.
fn within(range: Range<usize>, len: usize) -> Range<usize> {
    let end = range.end.min(len);
    range.start.min(end)..end
}

impl<T: Track> Items<T> for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&mut self, index: usize) -> Option<&mut T> {
        self.get_mut(index)
    }

    fn rest(&self, start: usize) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.get(start..).unwrap_or_default().iter()
    }

    fn take_last(&mut self) -> Option<T> {
        self.pop()
    }

    fn cut(&mut self, len: usize) {
        self.truncate(len);
    }

    fn take(&mut self, range: Range<usize>) -> Vec<T> {
        let range = within(range, self.len());
        self.drain(range).collect()
    }

    fn put(&mut self, at: usize, items: Vec<T>) {
        let at = at.min(self.len());
        self.splice(at..at, items);
    }

    fn join(&mut self, other: &mut Self) {
        self.append(other);
    }

    fn exchange(&mut self, i: usize, j: usize) {
        if i.max(j) < self.len() {
            self.swap(i, j);
        }
    }

    fn shift(&mut self, from: usize, to: usize) {
        if let Some(up) = self.get_mut(from..=to.max(from)) {
            up.rotate_left(usize::from(to > from));
        }
        if let Some(down) = self.get_mut(to..=from.max(to)) {
            down.rotate_right(usize::from(from > to));
        }
    }

    fn bin(&self) -> Option<&[u8]> {
        as_bytes(self)
    }

    fn as_bin(new: &Vec<T>) -> Option<&[u8]> {
        as_bytes(new)
    }
}

impl<T: Track> Items<T> for VecDeque<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&mut self, index: usize) -> Option<&mut T> {
        self.get_mut(index)
    }

    fn rest(&self, start: usize) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.range(start.min(self.len())..)
    }

    fn take_last(&mut self) -> Option<T> {
        self.pop_back()
    }

    fn cut(&mut self, len: usize) {
        self.truncate(len);
    }

    fn take(&mut self, range: Range<usize>) -> Vec<T> {
        let range = within(range, self.len());
        self.drain(range).collect()
    }

    fn put(&mut self, at: usize, items: Vec<T>) {
        let (at, count) = (at.min(self.len()), items.len());
        if at == 0 {
            items
                .into_iter()
                .rev()
                .for_each(|item| self.push_front(item));
            return;
        }
        if count == 1 {
            items.into_iter().for_each(|item| self.insert(at, item));
            return;
        }
        let is_end = at == self.len();
        self.extend(items);
        if !is_end && let Some(moved) = self.make_contiguous().get_mut(at..) {
            moved.rotate_right(count);
        }
    }

    fn join(&mut self, other: &mut Self) {
        self.append(other);
    }

    fn exchange(&mut self, i: usize, j: usize) {
        if i.max(j) < self.len() {
            self.swap(i, j);
        }
    }

    fn shift(&mut self, from: usize, to: usize) {
        if to < self.len()
            && let Some(item) = self.remove(from)
        {
            self.insert(to, item);
        }
    }
}
