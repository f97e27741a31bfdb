//! What [`List`](super::List) and [`Deque`](super::Deque) share: items in a row, and while they are armed a log of what
//! happens to them. These two put the standard library's methods on top.
//!
//! `tell_..` methods are called before the change that they tell, by a caller that has checked its bounds; the change
//! itself is one of `items`, and runs no code of the user's: what is removed is dropped when all is in place again. So a
//! panic of the user's finds the log and the items agreeing. The exception is code that runs while the log is written
//! (`Serialize`, `Clone` of elements), for which time the identity is void.

mod difference;
mod items;
mod iter;
mod log;
mod moves;
mod patch;
mod places;
mod reorder;
mod traits;

use std::ops::Range;

pub(crate) use difference::{write_difference, write_seq};
pub(crate) use items::Items;
pub use iter::{Drain, IterMut};
use log::Log;
pub use places::Places;
pub(crate) use places::indices;
pub(crate) use traits::traits;

use super::{Identity, Track};
use crate::patch::{EncodeError, Patcher};

/// Items, which container they are, and what happened to them since it was armed.
pub(crate) struct Sequence<T: Track, S> {
    pub(crate) items: S,
    id: Identity,
    log: Option<Box<Log<T, S>>>,
}

impl<T: Track, S: Items<T>> From<S> for Sequence<T, S> {
    fn from(items: S) -> Self {
        Sequence::new(items)
    }
}

impl<T: Track, S> Sequence<T, S> {
    /// Not armed.
    pub(crate) const fn new(items: S) -> Self {
        Sequence {
            items,
            id: Identity::NONE,
            log: None,
        }
    }
}

impl<T: Track, S: Items<T>> Sequence<T, S> {
    fn log(&mut self) -> &mut Log<T, S> {
        let len = self.items.count();
        self.log.get_or_insert_with(|| Box::new(Log::new(len)))
    }

    /// Whether what happens must be told.
    #[inline]
    pub(crate) fn is_recording(&self) -> bool {
        self.id.is_logging() && !self.log.as_ref().is_some_and(|log| log.is_whole())
    }

    /// Runs `write`, if what happens must be told. Where it fails or panics, the container will be sent whole: then
    /// the error shows again, unless the cause is gone.
    fn record(&mut self, write: impl FnOnce(&mut Log<T, S>, &mut S) -> Result<(), EncodeError>) {
        if !self.is_recording() {
            return;
        }
        let id = self.id.suspend();
        let len = self.items.count();
        let log = self.log.get_or_insert_with(|| Box::new(Log::new(len)));
        if write(log, &mut self.items).is_ok() {
            self.id.resume(id);
        }
    }

    /// Before items are appended.
    #[inline]
    pub(crate) fn tell_append(&mut self) {
        if self.id.is_logging() {
            self.log();
        }
    }

    /// Before the items of a range are replaced by `new`.
    pub(crate) fn tell_splice(&mut self, range: Range<usize>, new: &Vec<T>) {
        self.record(|log, items| log.splice(items, range, new));
    }

    /// Before somebody gets a `&mut` to an element.
    #[inline]
    pub(crate) fn tell_touch(&mut self, index: usize) {
        if self.id.is_logging() {
            self.record(|log, items| log.touch(items, index));
        }
    }

    /// Before somebody gets a `&mut` to elements.
    pub(crate) fn tell_touch_range(&mut self, range: Range<usize>) {
        self.record(|log, items| {
            let mut range = range;
            range.try_for_each(|index| match log.is_whole() {
                true => Ok(()),
                false => log.touch(items, index),
            })
        });
    }

    /// The items and their shadows, for an iterator that touches each as it gives it out.
    pub(crate) fn touching(&mut self) -> (&mut S, Option<iter::Touched<'_, T>>) {
        if self.is_recording() && self.items.bin().is_some() {
            self.tell_touch(0);
        }
        if !self.is_recording() {
            return (&mut self.items, None);
        }
        let len = self.items.count();
        let log = self.log.get_or_insert_with(|| Box::new(Log::new(len)));
        let keep = log.keep();
        (&mut self.items, Some((log.touched(), keep)))
    }

    /// Changes the items in a way that cannot be told: they are compared afterwards.
    pub(crate) fn with<R>(&mut self, change: impl FnOnce(&mut S) -> R) -> R {
        self.record(Log::begin_whole);
        change(&mut self.items)
    }

    /// Puts one in. The index is within the length.
    pub(crate) fn insert(&mut self, index: usize, item: T) {
        let item = vec![item];
        self.tell_splice(index..index, &item);
        self.items.put(index, item);
    }

    /// Removes the last one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if !self.is_recording() {
            return self.items.take_last();
        }
        let last = self.items.count().checked_sub(1)?;
        let log = self.log();
        if last >= log.keep() || !log.can_undo() {
            self.tell_splice(last..last + 1, &Vec::new());
            return self.items.take_last();
        }
        // The log keeps the original, with whatever watches it.
        let copy = self.items.at(last)?.clone();
        self.truncate(last);
        Some(copy)
    }

    /// Removes all from `len` on, if there are any.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.items.count() {
            return;
        }
        let mut gone = Vec::new();
        self.record(|log, items| {
            gone = log.truncate(items, len);
            Ok(())
        });
        // Whatever no log took.
        self.items.cut(len);
    }

    /// Moves the items of another one behind those of this one.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.tell_append();
        let all = 0..other.items.count();
        other.tell_splice(all, &Vec::new());
        self.items.join(&mut other.items);
    }

    /// Removes the items of a range, and returns them.
    pub(crate) fn take(&mut self, range: Range<usize>) -> Vec<T> {
        self.tell_splice(range.clone(), &Vec::new());
        self.items.take(range)
    }

    /// Removes what `gone` names, in ascending order.
    pub(crate) fn remove_all(&mut self, gone: &[usize]) {
        let beside = |a: &usize, b: &usize| a + 1 == *b;
        for run in gone.chunk_by(beside).rev() {
            if let Some(start) = run.first() {
                self.tell_splice(*start..start + run.len(), &Vec::new());
            }
        }
        let mut gone = gone.iter().copied().peekable();
        let Some(first) = gone.peek().copied() else {
            return;
        };
        let mut to = first;
        // Those that stay move up, those that go end up behind them.
        for from in first..self.items.count() {
            if gone.next_if_eq(&from).is_none() {
                self.items.exchange(to, from);
                to += 1;
            }
        }
        let removed = self.items.take(to..self.items.count());
        drop(removed);
    }

    /// As std's `retain_mut`, where what happens must be told.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool, may_change: bool) {
        let mut gone = Vec::new();
        for index in 0..self.items.count() {
            if may_change {
                self.tell_touch(index);
            }
            if self.items.at(index).is_some_and(|item| !keep(item)) {
                gone.push(index);
            }
        }
        self.remove_all(&gone);
    }
}

/// What `Track` asks for.
impl<T: Track, S: Items<T>> Sequence<T, S> {
    pub(crate) fn shadow(&mut self) -> u64 {
        self.log = None;
        self.id.arm()
    }

    pub(crate) fn flush(
        &mut self,
        shadow: u64,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError> {
        let is_same = self.id.is(shadow);
        self.id.disarm();
        match (self.log.take(), is_same) {
            (Some(log), true) => log.finish(&mut self.items, patcher),
            (None, true) => Ok(false),
            (log, false) => {
                if let Some(log) = log {
                    log.disarm(&mut self.items);
                }
                patcher.set(&self.items)?;
                Ok(true)
            }
        }
    }

    pub(crate) fn undo(&mut self, shadow: u64) -> bool {
        let is_same = self.id.is(shadow);
        self.id.disarm();
        match (self.log.take(), is_same) {
            (Some(log), true) => log.undo(&mut self.items),
            (None, true) => true,
            (log, false) => {
                if let Some(log) = log {
                    log.disarm(&mut self.items);
                }
                false
            }
        }
    }

    /// Replaces all of it: what is armed will be sent whole.
    fn replace(&mut self, items: S) {
        self.id.void();
        self.log = None;
        self.items = items;
    }
}
