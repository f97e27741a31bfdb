//! Writing patches. Used by every [`Track`](crate::track::Track) implementation.

use serde::Serialize;

use super::raw::{self, Raw};
use super::{EncodeError, Op, Tag, VALUE_NESTING_MAX};
use crate::codec;
use crate::put::{put_array, put_bin, put_cap, put_int, put_nil, put_str, put_uint};
use crate::references::{self, Reference};
use crate::wire::Wire;

/// A patch being written, or a part of one: bytes, and the references that the values in it hold, in order of
/// appearance. A container makes one for its own log; it becomes a part of the whole with [`Entries::splice`].
#[derive(Debug, Default)]
pub struct Patcher {
    bytes: Vec<u8>,
    refs: Vec<Reference>,
    /// How many levels of the value are around what is written next, counted from where this patcher began.
    depth: u32,
    /// The deepest that any value in it reaches.
    deepest: u32,
}

/// The entries, operations or edits of a node being written. Made by [`Patcher::node`].
#[derive(Debug)]
pub struct Entries<'a> {
    patcher: &'a mut Patcher,
    /// What stands behind the tag, in MessagePack values.
    items: usize,
    /// The part of `items` that every such node has.
    fixed: usize,
}

/// Where a patcher was, to go back to.
pub(crate) struct Mark {
    bytes: usize,
    refs: usize,
    deepest: u32,
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Patcher {
    /// An empty one.
    pub fn new() -> Patcher {
        Patcher::default()
    }

    /// What was written, and the references in it.
    ///
    /// # Errors
    /// The value would nest deeper than 64, or hold too many handles.
    pub fn finish(self) -> Result<(Vec<u8>, Vec<Reference>), EncodeError> {
        if self.deepest > VALUE_NESTING_MAX {
            return Err(EncodeError::TooDeep);
        }
        if self.refs.len() > references::REFERENCES_MAX {
            return Err(EncodeError::TooManyReferences);
        }
        Ok((self.bytes, self.refs))
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            refs: self.refs.len(),
            deepest: self.deepest,
        }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.bytes.truncate(mark.bytes);
        self.refs.truncate(mark.refs);
        self.deepest = mark.deepest;
    }

    /// One value, as it stands in a Set, a Splice or as a key.
    ///
    /// # Errors
    /// Its own.
    pub fn value<T: Wire>(&mut self, value: &T) -> Result<(), EncodeError> {
        if value.__put(&mut self.bytes) {
            self.deepest = self.deepest.max(self.depth);
            return Ok(());
        }
        self.encode(value, T::PLAIN)
    }

    /// As [`value`](Self::value), of a type that only serde knows.
    ///
    /// # Errors
    /// Its own.
    pub fn leaf<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.encode(value, true)
    }

    fn encode<T: Serialize + ?Sized>(&mut self, value: &T, plain: bool) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let bytes = &mut self.bytes;
        let mut write = || {
            codec::encode_into(value, bytes).map_err(|error| EncodeError::Value(error.to_string()))
        };
        let written = if plain {
            write()
        } else {
            references::collect(&mut self.refs, write)
        };
        if let Err(error) = written {
            self.bytes.truncate(start);
            return Err(error);
        }
        let nests = raw::nesting(self.bytes.get(start..).unwrap_or_default());
        let nests = nests.ok_or_else(|| EncodeError::Value("it is not one value".into()))?;
        self.deepest = self.deepest.max(self.depth.saturating_add(nests));
        Ok(())
    }

    /// `[0, value]`.
    ///
    /// # Errors
    /// The value's own.
    pub fn set<T: Wire>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.bytes.extend_from_slice(&[0x92, Tag::Set as u8]);
        self.value(value)
    }

    /// `[0, value]`, of a type that only serde knows.
    ///
    /// # Errors
    /// The value's own.
    pub fn set_leaf<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.bytes.extend_from_slice(&[0x92, Tag::Set as u8]);
        self.leaf(value)
    }

    /// Puts `[0, whole]` in place of the one node written since `mark`, if that saves more than a few bytes. A node of
    /// single changes is worth those: it leaves what others change beside them alone. Costs no more than the node did.
    pub(crate) fn shorten<T: Wire>(&mut self, mark: &Mark, whole: &T) {
        /// What single changes are worth, in bytes.
        const WORTH: usize = 16;
        let node = self.bytes.len().saturating_sub(mark.bytes);
        let Some(most) = node.checked_sub(2 + WORTH) else {
            return;
        };
        let mut bounded = Bounded {
            bytes: Vec::new(),
            most,
        };
        let mut refs = Vec::new();
        let mut write = || {
            codec::encode_to(whole, &mut bounded)
                .map_err(|error| EncodeError::Value(error.to_string()))
        };
        let written = if T::PLAIN {
            write()
        } else {
            refs.extend_from_slice(self.refs.get(..mark.refs).unwrap_or_default());
            references::collect(&mut refs, write)
        };
        // Too long, or not to be encoded: the node stays.
        let (Ok(()), Some(nests)) = (written, raw::nesting(&bounded.bytes)) else {
            return;
        };
        self.back_to(mark);
        self.bytes.extend_from_slice(&[0x92, Tag::Set as u8]);
        self.bytes.extend_from_slice(&bounded.bytes);
        if !T::PLAIN {
            self.refs = refs;
        }
        self.deepest = self.deepest.max(self.depth.saturating_add(nests));
    }

    /// `nil`: what a field or entry becomes that is no longer there.
    pub fn unset(&mut self) {
        put_nil(&mut self.bytes);
    }

    /// `[3, n]`.
    pub fn add(&mut self, n: i64) {
        self.bytes.extend_from_slice(&[0x92, Tag::Add as u8]);
        put_int(&mut self.bytes, n);
    }

    /// A node that has entries, operations or edits. Its parts lie `levels` deeper in the value than the node itself: 1
    /// for a struct, map or list; 1 for the payload of a newtype variant, 2 for those of others. Returns whether any
    /// were written; else nothing stays.
    ///
    /// # Errors
    /// Those of `parts`.
    pub fn node(
        &mut self,
        tag: Tag,
        levels: u32,
        parts: impl FnOnce(&mut Entries<'_>) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        self.open(tag, levels, None, parts)
    }

    /// `[6, variant, (field, node)*]`, as [`node`](Self::node).
    ///
    /// # Errors
    /// Those of `parts`.
    pub fn variant(
        &mut self,
        variant: u32,
        levels: u32,
        parts: impl FnOnce(&mut Entries<'_>) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        self.open(Tag::Enum, levels, Some(variant), parts)
    }

    fn open(
        &mut self,
        tag: Tag,
        levels: u32,
        variant: Option<u32>,
        parts: impl FnOnce(&mut Entries<'_>) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        let mark = self.mark();
        // The header of a short array, which most are.
        self.bytes.extend_from_slice(&[0x90, tag as u8]);
        if let Some(variant) = variant {
            put_uint(&mut self.bytes, variant.into());
        }
        self.depth += levels;
        let fixed = usize::from(variant.is_some());
        let mut entries = Entries {
            patcher: self,
            items: fixed,
            fixed,
        };
        let result = parts(&mut entries);
        let (items, is_empty) = (entries.items, entries.is_empty());
        self.depth -= levels;
        if is_empty || result.is_err() {
            self.back_to(&mark);
            return result.map(|()| false);
        }
        self.head(mark.bytes, 1 + items);
        Ok(true)
    }

    /// Puts the header of an array of `len` in place of the one byte at `at`.
    fn head(&mut self, at: usize, len: usize) {
        if let (0..=15, Some(place)) = (len, self.bytes.get_mut(at)) {
            *place = 0x90 | len as u8;
            return;
        }
        let mut header = Vec::with_capacity(5);
        put_array(&mut header, len);
        self.bytes.splice(at..=at, header);
    }
}

impl Entries<'_> {
    /// Whether none was written.
    pub fn is_empty(&self) -> bool {
        self.items == self.fixed
    }

    /// `(key, node)`. `node` says whether it wrote one; where it did not, the key is taken back.
    ///
    /// # Errors
    /// Those of `key` and `node`.
    pub fn entry(
        &mut self,
        key: impl FnOnce(&mut Patcher) -> Result<(), EncodeError>,
        node: impl FnOnce(&mut Patcher) -> Result<bool, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let mark = self.patcher.mark();
        key(self.patcher)?;
        let written = node(self.patcher)?;
        if written {
            self.items += 2;
        } else {
            self.patcher.back_to(&mark);
        }
        Ok(written)
    }

    /// `(field, node)`, as [`entry`](Self::entry).
    ///
    /// # Errors
    /// Those of `node`.
    pub fn field(
        &mut self,
        ordinal: u32,
        node: impl FnOnce(&mut Patcher) -> Result<bool, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let key = |patcher: &mut Patcher| {
            put_uint(&mut patcher.bytes, ordinal.into());
            Ok(())
        };
        self.entry(key, node)
    }

    /// As [`field`](Self::field), of a flattened one: its own fields nest no deeper than this one would.
    ///
    /// # Errors
    /// Those of `node`.
    pub fn flattened(
        &mut self,
        ordinal: u32,
        node: impl FnOnce(&mut Patcher) -> Result<bool, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let depth = self.patcher.depth;
        self.patcher.depth = depth.saturating_sub(1);
        let written = self.field(ordinal, node);
        self.patcher.depth = depth;
        written
    }

    /// `[0, i, node]`. `node` says whether it wrote one; else nothing stays.
    ///
    /// # Errors
    /// Those of `node`.
    pub fn at(
        &mut self,
        index: usize,
        node: impl FnOnce(&mut Patcher) -> Result<bool, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let mark = self.patcher.mark();
        self.begin(Op::At, 3);
        put_uint(&mut self.patcher.bytes, index as u64);
        let written = node(self.patcher)?;
        if written {
            self.items += 1;
        } else {
            self.patcher.back_to(&mark);
        }
        Ok(written)
    }

    fn begin(&mut self, op: Op, len: usize) {
        put_array(&mut self.patcher.bytes, len);
        self.patcher.bytes.push(op as u8);
    }

    fn op(&mut self, op: Op, numbers: &[usize]) {
        self.begin(op, 1 + numbers.len());
        for n in numbers {
            put_uint(&mut self.patcher.bytes, *n as u64);
        }
        self.items += 1;
    }

    /// `[1, pos, del, item*]`.
    ///
    /// # Errors
    /// Those of the items.
    pub fn splice<'a, T: Wire>(
        &mut self,
        pos: usize,
        del: usize,
        items: impl ExactSizeIterator<Item = &'a T>,
    ) -> Result<(), EncodeError> {
        self.begin(Op::Splice, 3 + items.len());
        put_uint(&mut self.patcher.bytes, pos as u64);
        put_uint(&mut self.patcher.bytes, del as u64);
        self.items(items)
    }

    /// `[2, item*]`.
    ///
    /// # Errors
    /// Those of the items.
    pub fn append<'a, T: Wire>(
        &mut self,
        items: impl ExactSizeIterator<Item = &'a T>,
    ) -> Result<(), EncodeError> {
        self.begin(Op::Append, 1 + items.len());
        self.items(items)
    }

    fn items<'a, T: Wire>(
        &mut self,
        items: impl Iterator<Item = &'a T>,
    ) -> Result<(), EncodeError> {
        self.items += 1;
        for item in items {
            self.patcher.value(item)?;
        }
        Ok(())
    }

    /// `[3, from, to]`; `to` is the place after the removal.
    pub fn move_item(&mut self, from: usize, to: usize) {
        self.op(Op::Move, &[from, to]);
    }

    /// `[4, i, j]`.
    pub fn swap(&mut self, i: usize, j: usize) {
        self.op(Op::Swap, &[i, j]);
    }

    /// `[5, start, n, bin]`: `new[start + k] = old[start + order[k]]`.
    pub fn permute(&mut self, start: usize, order: &[usize]) {
        let width = match order.len() {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let mut bin = Vec::with_capacity(order.len() * width);
        for from in order {
            let bytes = (*from as u32).to_le_bytes();
            bin.extend_from_slice(bytes.get(..width).unwrap_or_default());
        }
        self.begin(Op::Permute, 4);
        put_uint(&mut self.patcher.bytes, start as u64);
        put_uint(&mut self.patcher.bytes, order.len() as u64);
        put_bin(&mut self.patcher.bytes, &bin);
        self.items += 1;
    }

    /// `[7, len]`.
    pub fn truncate(&mut self, len: usize) {
        self.op(Op::Truncate, &[len]);
    }

    /// `[8, pos, del, bin]`.
    pub fn bytes(&mut self, pos: usize, del: usize, bytes: &[u8]) {
        self.begin(Op::Bytes, 4);
        put_uint(&mut self.patcher.bytes, pos as u64);
        put_uint(&mut self.patcher.bytes, del as u64);
        put_bin(&mut self.patcher.bytes, bytes);
        self.items += 1;
    }

    /// `pos16, del16, str` of a Text: in UTF-16 units, relative to the result of the edit before.
    pub fn text(&mut self, pos16: usize, del16: usize, inserted: &str) {
        put_uint(&mut self.patcher.bytes, pos16 as u64);
        put_uint(&mut self.patcher.bytes, del16 as u64);
        put_str(&mut self.patcher.bytes, inserted);
        self.items += 3;
    }

    /// What a container logged while it was edited: the parts of `log`, which is a patcher that wrote nothing but
    /// `count` operations with [`Patcher::log`]. Its references get their numbers here.
    ///
    /// # Errors
    /// The log is not MessagePack; nothing that wrote it here makes one.
    pub fn logged(&mut self, log: &Patcher, count: usize) -> Result<(), EncodeError> {
        let patcher = &mut *self.patcher;
        if log.refs.is_empty() {
            patcher.bytes.extend_from_slice(&log.bytes);
        } else {
            let by = patcher.refs.len();
            renumber(&log.bytes, &mut patcher.bytes, |index| index + by)
                .ok_or(EncodeError::TooManyReferences)?;
            patcher.refs.extend(log.refs.iter().cloned());
        }
        patcher.deepest = patcher.deepest.max(patcher.depth + log.deepest);
        self.items += count;
        Ok(())
    }
}

impl Patcher {
    /// Appends operations without a node around them: the log of a container. Returns how many.
    ///
    /// # Errors
    /// Those of `ops`; nothing stays then.
    pub fn log(
        &mut self,
        ops: impl FnOnce(&mut Entries<'_>) -> Result<(), EncodeError>,
    ) -> Result<usize, EncodeError> {
        let mark = self.mark();
        let mut entries = Entries {
            patcher: self,
            items: 0,
            fixed: 0,
        };
        let result = ops(&mut entries);
        let items = entries.items;
        if result.is_err() {
            self.back_to(&mark);
        }
        result.map(|()| items)
    }
}

/// Copies MessagePack from `from` to `to`, with other places for its references. `None`: it is malformed, or a place
/// is above what two bytes hold.
pub fn renumber(
    from: &[u8],
    to: &mut Vec<u8>,
    mut place: impl FnMut(usize) -> usize,
) -> Option<()> {
    let mut raw = Raw::new(from);
    let mut copied = 0;
    while let Some(marker) = raw.peek() {
        let start = raw.pos();
        match (marker, raw.rest()) {
            (0xd4, [_, 1, index, ..]) => {
                let index = usize::from(*index);
                raw.take(3).ok()?;
                to.extend_from_slice(from.get(copied..start)?);
                put_cap(to, u16::try_from(place(index)).ok()?);
                copied = raw.pos();
            }
            (0xd5, [_, 1, high, low, ..]) => {
                let index = usize::from(u16::from_be_bytes([*high, *low]));
                raw.take(4).ok()?;
                to.extend_from_slice(from.get(copied..start)?);
                put_cap(to, u16::try_from(place(index)).ok()?);
                copied = raw.pos();
            }
            // Into containers, past everything else.
            (0x80..=0x9f, _) => _ = raw.take(1).ok()?,
            (0xdc | 0xde, _) => _ = raw.take(3).ok()?,
            (0xdd | 0xdf, _) => _ = raw.take(5).ok()?,
            _ => _ = raw.skip(u32::MAX).ok()?,
        }
    }
    to.extend_from_slice(from.get(copied..)?);
    Some(())
}
