//! std's sequences: a clone as the shadow, and one splice of what lies between the ends that stayed. That costs time for
//! all of their items; above a hundred or so [`List`](super::List) and [`Deque`](super::Deque) are better.

use std::collections::VecDeque;

use super::Track;
use super::sequence::{Items, Sequence, write_difference, write_seq};
use crate::patch::{EncodeError, PatchError, PatchReader, Patcher};

fn flush<T: Track, S: Items<T>>(
    new: &S,
    old: &S,
    patcher: &mut Patcher,
) -> Result<bool, EncodeError> {
    let mut ops = Patcher::new();
    let count = ops.log(|ops| write_difference(ops, old, new))?;
    if count == 0 {
        return Ok(false);
    }
    write_seq(&ops, count, new, 0, patcher)
}

macro_rules! sequences {
    ($($sequence:ident)*) => {$(
        impl<T: Track> Track for $sequence<T> {
            type Shadow = Self;

            fn shadow(&mut self) -> Self {
                self.clone()
            }

            fn flush(&mut self, shadow: &Self, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                flush(self, shadow, patcher)
            }

            fn undo(&mut self, shadow: Self) -> bool {
                *self = shadow;
                true
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                let mut items = Sequence::new(std::mem::take(self));
                let result = items.patch(reader);
                *self = items.items;
                result
            }

            fn same(&self, other: &Self) -> bool {
                Items::same(self, other)
            }
        }
    )*};
}

sequences! { Vec VecDeque }

impl<T: Track> Track for Box<[T]> {
    type Shadow = Vec<T>;

    fn shadow(&mut self) -> Vec<T> {
        self.to_vec()
    }

    fn flush(&mut self, shadow: &Vec<T>, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        // To a `Vec` and back costs nothing.
        let items = std::mem::take(self).into_vec();
        let result = flush(&items, shadow, patcher);
        *self = items.into();
        result
    }

    fn undo(&mut self, shadow: Vec<T>) -> bool {
        *self = shadow.into();
        true
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        let mut items = std::mem::take(self).into_vec();
        let result = items.patch(reader);
        *self = items.into();
        result
    }

    fn same(&self, other: &Self) -> bool {
        let mut pairs = std::iter::zip(self, other);
        self.len() == other.len() && pairs.all(|(a, b)| a.same(b))
    }
}
