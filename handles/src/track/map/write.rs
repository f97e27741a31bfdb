//! How the change of a map or set is written: one node with an entry for each key that changed. Used by the log of the
//! tracked ones, and for those of the standard library.

use super::log::{Table, Was};
use crate::patch::{EncodeError, Entries, Patcher, Tag};
use crate::track::{Key, Track};
use crate::wire::Wire;

/// The entries of a node that is being written.
pub(crate) struct Changes<'a, 'p> {
    entries: &'a mut Entries<'p>,
    /// How many bytes it takes to say what is no longer there.
    gone: usize,
    others: usize,
}

impl Changes<'_, '_> {
    /// `(key, nil)`.
    pub(crate) fn gone<K: Key>(&mut self, key: &K) -> Result<(), EncodeError> {
        let gone = &mut self.gone;
        let name = |patcher: &mut Patcher| {
            let before = patcher.len();
            patcher.value(key)?;
            *gone += patcher.len() - before + 1;
            Ok(())
        };
        let unset = |patcher: &mut Patcher| {
            patcher.unset();
            Ok(true)
        };
        self.entries.entry(name, unset).map(drop)
    }

    /// `(key, node)`, if `node` writes one.
    pub(crate) fn change<K: Key>(
        &mut self,
        key: &K,
        node: impl FnOnce(&mut Patcher) -> Result<bool, EncodeError>,
    ) -> Result<(), EncodeError> {
        let written = self.entries.entry(|patcher| patcher.value(key), node)?;
        self.others += usize::from(written);
        Ok(())
    }

    /// `(key, Set)`; where there was another value, how this one differs from it.
    pub(crate) fn put<K: Key, V: Track>(
        &mut self,
        key: &K,
        was: Option<Was<V>>,
        value: &mut V,
    ) -> Result<(), EncodeError> {
        self.change(key, |patcher| {
            let was = was.map(Was::restore);
            let Some((was, true)) = was else {
                patcher.set(value)?;
                return Ok(true);
            };
            difference(was, value, patcher)
        })
    }
}

/// A node that makes `new` of `old`, as if it had been assigned to its place.
pub(crate) fn difference<V: Track>(
    mut old: V,
    new: &mut V,
    patcher: &mut Patcher,
) -> Result<bool, EncodeError> {
    if old.same(new) {
        return Ok(false);
    }
    let shadow = old.shadow();
    new.flush(&shadow, patcher)
}

/// `[2, (key, node)*]`, or all of `table` where that is much shorter: where most of it is gone.
pub(crate) fn key_wise<M: Wire + Table>(
    patcher: &mut Patcher,
    table: &mut M,
    write: impl FnOnce(&mut M, &mut Changes<'_, '_>) -> Result<(), EncodeError>,
) -> Result<bool, EncodeError> {
    let mark = patcher.mark();
    let (mut gone, mut others) = (0, 0);
    let written = patcher.node(Tag::Map, 1, |entries| {
        let mut changes = Changes {
            entries,
            gone: 0,
            others: 0,
        };
        let result = write(table, &mut changes);
        (gone, others) = (changes.gone, changes.others);
        result
    })?;
    // An entry of the node takes up to three bytes more than the same one in the whole, and what did not change takes at
    // least one there: only so can the whole be shorter.
    if gone + 3 * others > table.size().saturating_sub(others) {
        patcher.shorten(&mark, table);
    }
    Ok(written)
}
