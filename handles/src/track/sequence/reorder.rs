//! Items that change places among themselves: the shortest operations that tell it.

use super::moves::moves;
use super::{Items, Sequence};
use crate::track::Track;

impl<T: Track, S: Items<T>> Sequence<T, S> {
    /// Whether a new order is to be told with [`reorder`](Self::reorder); else the caller may change places as it
    /// likes. Bytes are compared afterwards.
    pub(crate) fn tells_order(&mut self) -> bool {
        if self.is_recording() && self.items.bin().is_some() {
            self.tell_touch(0);
            // New ones alone: nothing to tell.
            return false;
        }
        self.is_recording()
    }

    /// Exchanges two that are there.
    pub(crate) fn swap(&mut self, i: usize, j: usize) {
        if i == j {
            return;
        }
        let range = i.min(j)..i.max(j) + 1;
        self.record(|log, items| log.reorder(items, range, |ops| ops.swap(i, j)));
        self.items.exchange(i, j);
    }

    /// Moves one that is there to where it shall be afterwards.
    pub(crate) fn shift(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let range = from.min(to)..from.max(to) + 1;
        self.record(|log, items| log.reorder(items, range, |ops| ops.move_item(from, to)));
        self.items.shift(from, to);
    }

    /// Brings the items from `start` on into an order: `new[start + k] = old[start + order[k]]`, each once.
    pub(crate) fn permute(&mut self, start: usize, order: &[usize]) {
        let range = start..start + order.len();
        self.record(|log, items| log.reorder(items, range, |ops| ops.permute(start, order)));
        let mut target = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            if let Some(target) = target.get_mut(*old) {
                *target = new;
            }
        }
        for at in 0..target.len() {
            while let Some(to) = target.get(at).copied()
                && to != at
            {
                self.items.exchange(start + at, start + to);
                target.swap(at, to);
            }
        }
    }

    /// As [`permute`](Self::permute), of all, by whatever tells it in the fewest bytes.
    pub(crate) fn reorder(&mut self, mut order: Vec<usize>) {
        let is_at_home = |(at, from): &(usize, &usize)| at == *from;
        let start = order.iter().enumerate().take_while(is_at_home).count();
        let ends = order.iter().enumerate().skip(start).rev();
        let end = order.len() - ends.take_while(is_at_home).count();
        order.truncate(end);
        order.drain(..start);
        let rises = |order: &[usize], from: usize| {
            let mut places = (from..).zip(order);
            places.all(|(place, old)| place == *old)
        };
        let last = end.saturating_sub(1);
        match order.as_slice() {
            [] => {}
            [first, rest @ ..] if *first == last && rises(rest, start) => self.shift(last, start),
            [rest @ .., end] if *end == start && rises(rest, start + 1) => self.shift(start, last),
            [first, rest @ .., end]
                if (*first, *end) == (last, start) && rises(rest, start + 1) =>
            {
                self.swap(start, last);
            }
            _ => {
                order.iter_mut().for_each(|old| *old -= start);
                match moves(&order) {
                    Some(moves) => moves
                        .into_iter()
                        .for_each(|(from, to)| self.shift(start + from, start + to)),
                    None => self.permute(start, &order),
                }
            }
        }
    }

    /// As std's `rotate_left` by at most the length.
    pub(crate) fn rotate_left(&mut self, by: usize) {
        let len = self.items.count();
        if by == 0 || by == len {
        } else if by == 1 {
            self.shift(0, len - 1);
        } else if by == len - 1 {
            self.shift(len - 1, 0);
        } else {
            self.reorder((by..len).chain(0..by).collect());
        }
    }
}
