//! What an armed [`Sequence`](super::Sequence) remembers: the operations so far, shadows of the elements that somebody
//! got a `&mut` to, and how much of the end is new.

use std::collections::BTreeMap;
use std::ops::Range;

use super::difference::{write_difference, write_seq};
use super::items::Items;
use crate::patch::{EncodeError, Entries, Patcher};
use crate::track::Track;

/// The operations in `ops` make a sequence of `base` items of the one that was armed. What is there now has the first
/// `keep` of these; whatever follows is new, and written when it is known what becomes of it.
pub(crate) struct Log<T: Track, S> {
    ops: Patcher,
    count: usize,
    /// A removal of so many at a place that is yet to be written behind `ops`: the next one may be beside it.
    gap: Option<(usize, usize)>,
    /// By index, below `keep`. Above there may be those of elements in `popped`.
    touched: BTreeMap<usize, T::Shadow>,
    base: usize,
    keep: usize,
    /// Elements from the end of the sequence that was armed, the last one first.
    popped: Vec<T>,
    /// Elements that were there are gone, and not to `popped`.
    is_lost: bool,
    /// All that was there behind `ops`. From here on nothing is logged, but compared.
    whole: Option<S>,
}

impl<T: Track, S: Items<T>> Log<T, S> {
    /// Of a sequence of `len`.
    pub(crate) fn new(len: usize) -> Self {
        Log {
            ops: Patcher::new(),
            count: 0,
            gap: None,
            touched: BTreeMap::new(),
            base: len,
            keep: len,
            popped: Vec::new(),
            is_lost: false,
            whole: None,
        }
    }

    /// Whether changes are found by comparison, and need not be told.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// How many items at the beginning are not new. An element among them is shadowed before it is given out.
    pub(crate) fn keep(&self) -> usize {
        self.keep
    }

    /// The shadows, to be added to.
    pub(crate) fn touched(&mut self) -> &mut BTreeMap<usize, T::Shadow> {
        &mut self.touched
    }

    /// Whether what was changed so far can be taken back.
    pub(crate) fn can_undo(&self) -> bool {
        self.count == 0 && self.gap.is_none() && !self.is_lost
    }

    /// Appends operations on the sequence of `base`.
    fn write(
        &mut self,
        ops: impl FnOnce(&mut Entries<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if let Some((at, gone)) = self.gap.take() {
            self.count += self
                .ops
                .log(|ops| splice::<T, S>(ops, at, gone, &Vec::new()))?;
        }
        self.count += self.ops.log(ops)?;
        Ok(())
    }

    /// Writes what changed in the touched elements of a range, after which their places may change.
    fn settle(&mut self, items: &mut S, range: Range<usize>) -> Result<(), EncodeError> {
        let mut touched = self.take_touched(range).into_iter();
        // Where nothing changed, a removal that waits is not disturbed.
        let mut ahead = Patcher::new();
        let log = match self.gap {
            Some(_) => &mut ahead,
            None => &mut self.ops,
        };
        let mut count = 0;
        let result = touched.by_ref().try_for_each(|(index, shadow)| {
            let Some(item) = items.at(index) else {
                return Ok(());
            };
            count += log.log(|ops| ops.at(index, |node| item.flush(&shadow, node)).map(drop))?;
            Ok(())
        });
        disarm(items, touched);
        result?;
        if ahead.is_empty() {
            self.count += count;
            return Ok(());
        }
        self.write(|_| Ok(()))?;
        self.count += self.ops.log(|ops| ops.logged(&ahead, count))?;
        Ok(())
    }

    /// The shadows of a range. Those of `popped` go: it is too late for undo.
    fn take_touched(&mut self, range: Range<usize>) -> BTreeMap<usize, T::Shadow> {
        drop(self.touched.split_off(&self.keep));
        let mut taken = self.touched.split_off(&range.start);
        let mut above = taken.split_off(&range.end);
        self.touched.append(&mut above);
        taken
    }

    /// Writes what was cut off and appended at the end.
    fn settle_end(&mut self, items: &S) -> Result<(), EncodeError> {
        drop(self.touched.split_off(&self.keep));
        let (keep, len) = (self.keep, items.count());
        let mut gone = self.base - keep;
        if let Some((at, more)) = self.gap
            && at == keep
        {
            gone += more;
            self.gap = None;
        }
        if gone == 0 && len == keep {
            return Ok(());
        }
        self.write(|ops| match items.bin() {
            Some(bytes) => {
                ops.bytes(keep, gone, bytes.get(keep..).unwrap_or_default());
                Ok(())
            }
            None if gone == 0 => ops.append(items.rest(keep)),
            None if len == keep => {
                ops.truncate(keep);
                Ok(())
            }
            None => ops.splice(keep, gone, items.rest(keep)),
        })?;
        (self.base, self.keep) = (len, len);
        Ok(())
    }

    /// Shadows an element before somebody gets a `&mut` to it.
    pub(crate) fn touch(&mut self, items: &mut S, index: usize) -> Result<(), EncodeError> {
        if index >= self.keep {
            return Ok(());
        }
        if items.bin().is_some() {
            return self.begin_whole(items);
        }
        if !self.touched.contains_key(&index)
            && let Some(item) = items.at(index)
        {
            self.touched.insert(index, item.shadow());
        }
        Ok(())
    }

    /// Before the items of a range are replaced by `new`.
    pub(crate) fn splice(
        &mut self,
        items: &mut S,
        range: Range<usize>,
        new: &Vec<T>,
    ) -> Result<(), EncodeError> {
        if range.end >= self.keep {
            if range.start < self.keep {
                self.is_lost = true;
                disarm(items, self.take_touched(range.start..self.keep));
                self.keep = range.start;
            }
            return Ok(());
        }
        if range.is_empty() && new.is_empty() {
            return Ok(());
        }
        disarm(items, self.take_touched(range.clone()));
        self.settle(items, range.end..self.keep)?;
        let (mut at, mut gone) = (range.start, range.len());
        if let Some((gap, more)) = self.gap
            && (range.start..=range.end).contains(&gap)
        {
            (at, gone) = (range.start, gone + more);
            self.gap = None;
        }
        if new.is_empty() {
            if self.gap.is_some() {
                self.write(|_| Ok(()))?;
            }
            self.gap = Some((at, gone));
        } else {
            self.write(|ops| splice::<T, S>(ops, at, gone, new))?;
        }
        self.base = self.base - range.len() + new.len();
        self.keep = self.keep - range.len() + new.len();
        Ok(())
    }

    /// Before the items of a range change places among themselves, which `op` tells.
    pub(crate) fn reorder(
        &mut self,
        items: &mut S,
        range: Range<usize>,
        op: impl FnOnce(&mut Entries<'_>),
    ) -> Result<(), EncodeError> {
        if range.start >= self.keep {
            return Ok(());
        }
        if items.bin().is_some() {
            return self.begin_whole(items);
        }
        if range.end > self.keep {
            self.settle_end(items)?;
        }
        self.settle(items, range)?;
        self.write(|ops| {
            op(ops);
            Ok(())
        })
    }

    /// Cuts off what is behind `len`, and keeps for undo what was there when it was armed. Returns what nobody needs.
    pub(crate) fn truncate(&mut self, items: &mut S, len: usize) -> Vec<T> {
        let can_undo = self.can_undo();
        let gone = items.take(self.keep.max(len)..items.count());
        if len >= self.keep {
            return gone;
        }
        if !can_undo {
            disarm(items, self.take_touched(len..self.keep));
            self.keep = len;
            return items.take(len..items.count());
        }
        self.popped
            .extend(items.take(len..self.keep).into_iter().rev());
        self.keep = len;
        gone
    }

    /// From here on, compare: for what cannot be told as it happens.
    pub(crate) fn begin_whole(&mut self, items: &mut S) -> Result<(), EncodeError> {
        self.settle(items, 0..self.keep)?;
        self.settle_end(items)?;
        self.whole = Some(items.clone());
        Ok(())
    }

    /// Writes the node of all that happened. Says whether anything did.
    pub(crate) fn finish(
        mut self,
        items: &mut S,
        patcher: &mut Patcher,
    ) -> Result<bool, EncodeError> {
        if let Some(whole) = self.whole.take() {
            self.write(|ops| write_difference(ops, &whole, items))?;
        } else if self.keep == 0 && (self.base > 0 || !self.can_undo()) {
            // Nothing stayed.
            patcher.set(items)?;
            return Ok(true);
        } else {
            self.settle(items, 0..self.keep)?;
            self.settle_end(items)?;
            self.write(|_| Ok(()))?;
        }
        // Operations tell more about what happened: they compose, and a follower keeps what did not change.
        let slack = if items.bin().is_some() { 0 } else { 16 };
        write_seq(&self.ops, self.count, items, slack, patcher)
    }

    /// Takes everything back, if it can. Ends the watch of the elements either way.
    pub(crate) fn undo(mut self, items: &mut S) -> bool {
        let can_undo = self.can_undo();
        if let (Some(whole), true) = (self.whole.take(), can_undo) {
            *items = whole;
            return true;
        }
        let touched = if can_undo {
            items.take(self.keep..items.count());
            items.extend(self.popped.drain(..).rev());
            std::mem::take(&mut self.touched)
        } else {
            self.take_touched(0..self.keep)
        };
        let undo = |all, (index, shadow)| match items.at(index) {
            Some(item) => item.undo(shadow) && all,
            None => all,
        };
        touched.into_iter().fold(can_undo, undo)
    }

    /// Ends the watch of the elements, whatever happened.
    pub(crate) fn disarm(mut self, items: &mut S) {
        disarm(items, self.take_touched(0..self.keep));
    }
}

/// Ends the watch of elements whose changes nobody asks for.
fn disarm<T: Track, S: Items<T>>(
    items: &mut S,
    touched: impl IntoIterator<Item = (usize, T::Shadow)>,
) {
    for (index, shadow) in touched {
        if let Some(item) = items.at(index) {
            // Its error would be that of a value which is replaced or gone.
            let _ = item.flush(&shadow, &mut Patcher::new());
        }
    }
}

/// A Splice, of bytes where the items are such.
fn splice<T: Track, S: Items<T>>(
    ops: &mut Entries<'_>,
    at: usize,
    gone: usize,
    new: &Vec<T>,
) -> Result<(), EncodeError> {
    match S::as_bin(new) {
        Some(bytes) => {
            ops.bytes(at, gone, bytes);
            Ok(())
        }
        None => ops.splice(at, gone, new.iter()),
    }
}
