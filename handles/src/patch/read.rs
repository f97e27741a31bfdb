//! Applying patches to values of known types: total, whatever the bytes say. Used by every
//! [`Track`](crate::track::Track) implementation.

use serde::de::DeserializeOwned;

use super::raw::Raw;
use super::{NODE_NESTING_MAX, Op, Pair, PatchError, Translation, VALUE_NESTING_MAX};
use crate::wire::Wire;

/// A patch being applied.
///
/// Handles in its values are found by their own `Deserialize`, as in any value that came over a connection.
#[derive(Debug)]
pub struct PatchReader<'a> {
    raw: Raw<'a>,
    depth: u32,
    /// Operations, entries and edits that may still come.
    left: u64,
    translation: Option<(&'a Translation, u32)>,
    skipped: u64,
}

/// A node, its tag read and its length checked. What stands in it is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Node {
    /// A value: [`PatchReader::value`].
    Set,
    /// That many pairs: [`PatchReader::fields`].
    Fields(usize),
    /// That many pairs of a key and a node.
    Map(usize),
    /// An int: [`PatchReader::int`].
    Add,
    /// That many operations: [`PatchReader::ops`].
    Seq(usize),
    /// That many edits, each of two unsigned ints and a str.
    Text(usize),
    /// A variant and that many pairs: [`PatchReader::variant`], then [`PatchReader::fields`].
    Enum(usize),
}

/// What becomes of a place that may be empty: a field that may be left out, an entry of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Nothing is there from now on.
    Unset,
    /// A value, which is next: [`PatchReader::value`].
    Set,
    /// A node, which is next, for what is there.
    Change,
}

impl<'a> PatchReader<'a> {
    /// A patch as its host wrote it.
    pub fn new(bytes: &'a [u8]) -> PatchReader<'a> {
        PatchReader {
            raw: Raw::new(bytes),
            depth: 0,
            left: u64::MAX,
            translation: None,
            skipped: 0,
        }
    }

    /// With a bound for its operations, entries and edits, all counted.
    #[must_use]
    pub fn with_quota(mut self, most: u64) -> Self {
        self.left = most;
        self
    }

    /// Of a host whose type is another version of ours.
    #[must_use]
    pub fn with_translation(mut self, translation: &'a Translation) -> Self {
        self.translation = Some((translation, 0));
        self
    }

    /// How many nodes were passed over because we have no such field.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// To be asked when the root has been patched.
    ///
    /// # Errors
    /// Something follows.
    pub fn finish(&self) -> Result<(), PatchError> {
        match self.raw.is_at_end() {
            true => Ok(()),
            false => Err(PatchError::Trailing),
        }
    }

    fn spend(&mut self, n: usize) -> Result<(), PatchError> {
        self.left = self.left.checked_sub(n as u64).ok_or(PatchError::TooMany)?;
        Ok(())
    }

    /// Runs `inside` one node deeper.
    fn deeper<R>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<R, PatchError>,
    ) -> Result<R, PatchError> {
        if self.depth >= NODE_NESTING_MAX {
            return Err(PatchError::TooDeep);
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    /// One node. `apply` is given its kind and takes what stands in it; for a Then it runs once for each node inside.
    ///
    /// # Errors
    /// The node is malformed, nested too deep, or those of `apply`.
    pub fn node<F>(&mut self, apply: &mut F) -> Result<(), PatchError>
    where
        F: FnMut(&mut Self, Node) -> Result<(), PatchError>,
    {
        self.deeper(|reader| {
            let len = reader.raw.short_array()?;
            let tag = reader.raw.uint()?;
            let node = match (tag, len) {
                (0, 2) => Node::Set,
                (1, _) if len % 2 == 1 => Node::Fields(len / 2),
                (2, _) if len % 2 == 1 => Node::Map(len / 2),
                (3, 2) => Node::Add,
                (4, 1..) => Node::Seq(len - 1),
                (5, _) if len % 3 == 1 => Node::Text(len / 3),
                (6, 2..) if len % 2 == 0 => Node::Enum((len - 2) / 2),
                (7, 2..) => {
                    for _ in 1..len {
                        reader.node(apply)?;
                    }
                    return Ok(());
                }
                (0..=7, _) => return Err(PatchError::Form),
                _ => return Err(PatchError::Shape),
            };
            match node {
                Node::Fields(n) | Node::Map(n) | Node::Seq(n) | Node::Text(n) | Node::Enum(n) => {
                    reader.spend(n)?;
                }
                Node::Set | Node::Add => {}
            }
            apply(reader, node)
        })
    }

    /// What becomes of a place that may be empty. `apply` runs once for each node of a Then.
    ///
    /// # Errors
    /// The node is malformed, nested too deep, or those of `apply`.
    pub fn slot<F>(&mut self, apply: &mut F) -> Result<(), PatchError>
    where
        F: FnMut(&mut Self, Slot) -> Result<(), PatchError>,
    {
        if self.raw.nil() {
            return apply(self, Slot::Unset);
        }
        let mut ahead = self.raw;
        match (ahead.short_array()?, ahead.uint()?) {
            (2, 0) => self.deeper(|reader| {
                reader.raw = ahead;
                apply(reader, Slot::Set)
            }),
            (len @ 2.., 7) => self.deeper(|reader| {
                reader.raw = ahead;
                for _ in 1..len {
                    reader.slot(apply)?;
                }
                Ok(())
            }),
            _ => apply(self, Slot::Change),
        }
    }

    /// The pairs of a Fields, or of an Enum behind its variant. `patch` is given each field's ordinal and takes its node;
    /// a field that we do not have is passed over.
    ///
    /// # Errors
    /// Malformed, or those of `patch`.
    pub fn fields(
        &mut self,
        pairs: usize,
        mut patch: impl FnMut(&mut Self, u32) -> Result<(), PatchError>,
    ) -> Result<(), PatchError> {
        let around = self.translation;
        for _ in 0..pairs {
            let theirs = u32::try_from(self.raw.uint()?).map_err(|_| PatchError::Field)?;
            let Some((table, at)) = around else {
                patch(self, theirs)?;
                continue;
            };
            match table.pair(at) {
                Pair::Same => patch(self, theirs)?,
                Pair::Fields(fields) => match fields.get(theirs as usize) {
                    Some(Some((ours, inside))) => {
                        self.translation = Some((table, *inside));
                        let result = patch(self, *ours);
                        self.translation = around;
                        result?;
                    }
                    Some(None) => {
                        self.skipped += 1;
                        self.skip_node()?;
                    }
                    None => return Err(PatchError::Field),
                },
                // An array: all of its places are alike.
                Pair::Inner(_) => self.inner(|reader| patch(reader, theirs))?,
                Pair::Variants(_) => return Err(PatchError::Shape),
            }
        }
        Ok(())
    }

    /// The variant of an Enum, in our ordinals; `None`: we do not have it. `patch` takes its pairs with
    /// [`fields`](Self::fields), or passes over them with [`skip_fields`](Self::skip_fields).
    ///
    /// # Errors
    /// Malformed, or those of `patch`.
    pub fn variant(
        &mut self,
        patch: impl FnOnce(&mut Self, Option<u32>) -> Result<(), PatchError>,
    ) -> Result<(), PatchError> {
        let theirs = u32::try_from(self.raw.uint()?).map_err(|_| PatchError::Variant)?;
        let around = self.translation;
        let Some((table, at)) = around else {
            return patch(self, Some(theirs));
        };
        match table.pair(at) {
            Pair::Variants(variants) => match variants.get(theirs as usize) {
                Some(Some((ours, inside))) => {
                    self.translation = Some((table, *inside));
                    let result = patch(self, Some(*ours));
                    self.translation = around;
                    result
                }
                Some(None) => patch(self, None),
                None => Err(PatchError::Variant),
            },
            Pair::Same => patch(self, Some(theirs)),
            Pair::Inner(_) | Pair::Fields(_) => Err(PatchError::Shape),
        }
    }

    /// Runs `patch` for what a list, map, option or array holds: an item of a list, a value of a map.
    ///
    /// # Errors
    /// Those of `patch`.
    pub fn inner<R>(
        &mut self,
        patch: impl FnOnce(&mut Self) -> Result<R, PatchError>,
    ) -> Result<R, PatchError> {
        let around = self.translation;
        if let Some((table, at)) = around
            && let Pair::Inner(inside) = table.pair(at)
        {
            self.translation = Some((table, *inside));
        }
        let result = patch(self);
        self.translation = around;
        result
    }

    /// Passes over one node.
    ///
    /// # Errors
    /// It is malformed.
    pub fn skip_node(&mut self) -> Result<(), PatchError> {
        self.raw.skip(u32::MAX).map(drop)
    }

    /// Passes over pairs of a field and a node.
    ///
    /// # Errors
    /// They are malformed.
    pub fn skip_fields(&mut self, pairs: usize) -> Result<(), PatchError> {
        self.skipped += pairs as u64;
        (0..2 * pairs).try_for_each(|_| self.skip_node())
    }

    /// One value.
    ///
    /// # Errors
    /// It is malformed, nested deeper than 64, or not of this type.
    pub fn value<T: Wire>(&mut self) -> Result<T, PatchError> {
        if let Some((value, len)) = T::__take(self.raw.rest()) {
            self.raw.take(len)?;
            return Ok(value);
        }
        self.leaf()
    }

    /// As [`value`](Self::value), of a type that only serde knows.
    ///
    /// # Errors
    /// It is malformed, nested deeper than 64, or not of this type.
    pub fn leaf<T: DeserializeOwned>(&mut self) -> Result<T, PatchError> {
        let bytes = self.raw_value()?;
        rmp_serde::from_slice(bytes).map_err(|error| PatchError::Value(error.to_string()))
    }

    /// The bytes of one value, checked, not decoded.
    ///
    /// # Errors
    /// It is malformed or nested deeper than 64.
    pub fn raw_value(&mut self) -> Result<&'a [u8], PatchError> {
        let start = self.raw.pos();
        self.raw.skip(VALUE_NESTING_MAX)?;
        Ok(self.raw.since(start))
    }

    /// An int, of an Add.
    ///
    /// # Errors
    /// It is none, or above what an `i64` holds.
    pub fn int(&mut self) -> Result<i64, PatchError> {
        self.value()
    }

    /// An index or a length.
    ///
    /// # Errors
    /// It is none.
    pub fn index(&mut self) -> Result<usize, PatchError> {
        self.raw.index()
    }

    /// A str.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&mut self) -> Result<&'a str, PatchError> {
        self.raw.text()
    }

    /// A bin.
    ///
    /// # Errors
    /// It is none.
    pub fn bin(&mut self) -> Result<&'a [u8], PatchError> {
        self.raw.bin()
    }

    /// The operations of a Seq. `apply` is given each with how many items follow its tag, and takes them; an At is taken
    /// as an index and a node (with [`inner`](Self::inner)).
    ///
    /// # Errors
    /// Malformed, or those of `apply`.
    pub fn ops(
        &mut self,
        ops: usize,
        mut apply: impl FnMut(&mut Self, Op, usize) -> Result<(), PatchError>,
    ) -> Result<(), PatchError> {
        for _ in 0..ops {
            self.deeper(|reader| {
                let len = reader.raw.short_array()?;
                let (op, exact) = match reader.raw.uint()? {
                    0 => (Op::At, Some(3)),
                    1 if len >= 3 => (Op::Splice, None),
                    2 if len >= 1 => (Op::Append, None),
                    3 => (Op::Move, Some(3)),
                    4 => (Op::Swap, Some(3)),
                    5 => (Op::Permute, Some(4)),
                    7 => (Op::Truncate, Some(2)),
                    8 => (Op::Bytes, Some(4)),
                    1 | 2 => return Err(PatchError::Form),
                    _ => return Err(PatchError::Shape),
                };
                if exact.is_some_and(|exact| exact != len) {
                    return Err(PatchError::Form);
                }
                reader.spend(len)?;
                apply(reader, op, len - 1)
            })?;
        }
        Ok(())
    }

    /// What a Permute says behind its tag, for a sequence of `len`: where it starts, and the order.
    ///
    /// # Errors
    /// Out of range, or not a permutation.
    pub fn permutation(&mut self, len: usize) -> Result<(usize, Vec<usize>), PatchError> {
        let (start, n) = (self.index()?, self.index()?);
        let bin = self.bin()?;
        if start.checked_add(n).is_none_or(|end| end > len) {
            return Err(PatchError::Range);
        }
        let width = match n {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        if n.checked_mul(width) != Some(bin.len()) {
            return Err(PatchError::Form);
        }
        let mut seen = vec![false; n];
        let mut order = Vec::with_capacity(n);
        for entry in bin.chunks_exact(width) {
            let from = entry.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
            match seen.get_mut(from) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(PatchError::Range),
            }
            order.push(from);
        }
        Ok((start, order))
    }
}
