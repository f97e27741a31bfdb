//! A change of a sequence that is found by comparison: one splice of what lies between the ends that stayed. And the
//! choice between operations and all of it.

use std::iter::zip;

use super::items::Items;
use crate::codec;
use crate::patch::{EncodeError, Entries, Patcher, Tag};
use crate::references;
use crate::track::{Track, string};

/// Writes at most one operation, which makes `new` out of `old`.
pub(crate) fn write_difference<T: Track, S: Items<T>>(
    ops: &mut Entries<'_>,
    old: &S,
    new: &S,
) -> Result<(), EncodeError> {
    if let (Some(old), Some(new)) = (old.bin(), new.bin()) {
        bytes_difference(ops, old, new);
        return Ok(());
    }
    let same = |(a, b): &(&T, &T)| a.same(b);
    let start = zip(old.rest(0), new.rest(0)).take_while(same).count();
    let ends = zip(old.rest(start).rev(), new.rest(start).rev());
    let end = ends.take_while(same).count();
    let (gone, come) = (old.count() - start - end, new.count() - start - end);
    if gone == 0 && come == 0 {
        return Ok(());
    }
    if end == 0 && come == 0 {
        ops.truncate(start);
    } else if end == 0 && gone == 0 {
        ops.append(new.rest(start))?;
    } else {
        ops.splice(start, gone, new.rest(start).take(come))?;
    }
    Ok(())
}

fn bytes_difference(ops: &mut Entries<'_>, old: &[u8], new: &[u8]) {
    let Some(start) = string::shared_start(old, new) else {
        return;
    };
    let (old, new) = (
        old.get(start..).unwrap_or_default(),
        new.get(start..).unwrap_or_default(),
    );
    let end = string::shared_end(old, new);
    let come = new.get(..new.len() - end).unwrap_or_default();
    ops.bytes(start, old.len() - end, come);
}

/// Writes `count` operations as a node, or a Set of `items` where these would take at least `slack` bytes more.
pub(crate) fn write_seq<T: Track, S: Items<T>>(
    ops: &Patcher,
    count: usize,
    items: &S,
    slack: usize,
    patcher: &mut Patcher,
) -> Result<bool, EncodeError> {
    let most = (header(1 + count) + ops.len()).checked_sub(slack);
    if most.is_some_and(|most| is_within(items, most)) {
        patcher.set(items)?;
        return Ok(true);
    }
    patcher.node(Tag::Seq, 1, |node| node.logged(ops, count))
}

/// Whether all items are written in at most `most` bytes. Takes time for so many bytes, and not for all items.
fn is_within<T: Track, S: Items<T>>(items: &S, most: usize) -> bool {
    // None takes less than one.
    if header(items.count()) + items.count() > most {
        return false;
    }
    let within = || Ok(codec::is_within(items, most));
    // Handles do not ask where they would go.
    references::collect(&mut Vec::new(), within).unwrap_or(false)
}

/// The bytes that the header of an array of `len` takes.
fn header(len: usize) -> usize {
    match len {
        0..=0xf => 1,
        0x10..=0xffff => 3,
        _ => 5,
    }
}
