//! A patch as a tree that borrows its bytes: read, merged and cut by [`compose`](super::compose) and
//! [`focus`](super::focus), then written again with the references that are left. It knows no type.

use std::collections::BTreeMap;

use super::raw::Raw;
use super::{NODE_NESTING_MAX, Op, PatchError, Tag, VALUE_NESTING_MAX, renumber};
use crate::put::{put_array, put_int, put_nil, put_uint};
use crate::references::{REFERENCES_MAX, Reference};
use crate::wire::Wire;

/// One node.
pub(super) enum Tree<'a> {
    Unset,
    Set(Piece<'a>),
    Fields(Branch<'a, u64>),
    Enum(u64, Branch<'a, u64>),
    Map(Branch<'a, &'a [u8]>),
    Add(i64),
    Seq(Vec<Edit<'a>>),
    /// How many edits, and their bytes.
    Text(Vec<(usize, &'a [u8])>),
    /// Two or more, none of them a Then.
    Then(Vec<Tree<'a>>),
}

/// Some values as they stand in one of the patches.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: usize,
    /// Which patch: whose references they name.
    pub(super) source: u32,
}

/// One operation of a Seq, or a run of them.
pub(super) enum Edit<'a> {
    /// Ats side by side, by index: none of them moves an item.
    At(Branch<'a, u64>),
    Append(Vec<Piece<'a>>),
    Splice(usize, usize, Piece<'a>),
    /// Any other, as it stands.
    Other(&'a [u8]),
}

/// The nodes of a Fields, Map or Enum, or of a run of Ats, in order. Those of different keys do not concern each other.
pub(super) struct Branch<'a, K> {
    pub(super) list: Vec<(K, Tree<'a>)>,
    /// Where the last one of each key is; made when it pays.
    index: Option<BTreeMap<K, usize>>,
}

/// Up to this many keys are looked through one by one.
const FEW: usize = 8;

impl<'a, K: Ord + Copy> Branch<'a, K> {
    pub(super) fn new(list: Vec<(K, Tree<'a>)>) -> Self {
        Branch { list, index: None }
    }

    /// The last node of `key`.
    fn last(&mut self, key: K) -> Option<&mut Tree<'a>> {
        let at = if self.list.len() <= FEW {
            self.list.iter().rposition(|(other, _)| *other == key)
        } else {
            let list = &self.list;
            let index = self.index.get_or_insert_with(|| {
                let places = list.iter().enumerate();
                places.map(|(at, (key, _))| (*key, at)).collect()
            });
            index.get(&key).copied()
        };
        self.list.get_mut(at?).map(|(_, node)| node)
    }

    /// `node` comes after all that is there.
    pub(super) fn merge(&mut self, key: K, node: Tree<'a>) {
        if let Some(before) = self.last(key) {
            before.then(node);
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(key, self.list.len());
        }
        self.list.push((key, node));
    }
}

impl<'a> Tree<'a> {
    /// What changes nothing.
    pub(super) fn nothing() -> Tree<'a> {
        Tree::Fields(Branch::new(Vec::new()))
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Tree::Fields(fields) if fields.list.is_empty())
    }

    /// Makes it a node that does what it did and then what `next` does. Costs no more than `next` is large.
    pub(super) fn then(&mut self, next: Tree<'a>) {
        match (&mut *self, next) {
            (_, next) if next.is_nothing() => {}
            (before, next) if before.is_nothing() => *self = next,
            (_, next @ (Tree::Unset | Tree::Set(_))) => *self = next,
            (_, Tree::Then(nodes)) => nodes.into_iter().for_each(|node| self.then(node)),
            (Tree::Fields(before), Tree::Fields(next)) => {
                (next.list.into_iter()).for_each(|(field, node)| before.merge(field, node));
            }
            (Tree::Enum(variant, before), Tree::Enum(same, next)) if *variant == same => {
                (next.list.into_iter()).for_each(|(field, node)| before.merge(field, node));
            }
            (Tree::Map(before), Tree::Map(next)) => {
                (next.list.into_iter()).for_each(|(key, node)| before.merge(key, node));
            }
            (Tree::Add(before), Tree::Add(next)) => *before = before.wrapping_add(next),
            (Tree::Seq(before), Tree::Seq(next)) => {
                next.into_iter().for_each(|edit| edit.push(before));
            }
            (Tree::Text(before), Tree::Text(next)) => before.extend(next),
            (Tree::Then(nodes), next) => {
                let Some(mut last) = nodes.pop() else { return };
                last.then(next);
                match last {
                    Tree::Then(last) => nodes.extend(last),
                    last => nodes.push(last),
                }
            }
            (_, next) => {
                let first = std::mem::replace(self, Tree::Unset);
                *self = Tree::Then(vec![first, next]);
            }
        }
    }

    /// Reads a whole patch. `source` is its number among those that are read together.
    ///
    /// # Errors
    /// It is malformed, or nested deeper than 64.
    pub(super) fn read(patch: &'a [u8], source: u32) -> Result<Tree<'a>, PatchError> {
        let raw = Raw::new(patch);
        let mut reader = Reader { raw, source };
        let tree = reader.node(0, false)?;
        match reader.raw.is_at_end() {
            true => Ok(tree),
            false => Err(PatchError::Trailing),
        }
    }
}

impl<'a> Edit<'a> {
    /// Adds itself behind `edits`.
    pub(super) fn push(self, edits: &mut Vec<Edit<'a>>) {
        match (edits.last_mut(), self) {
            (Some(Edit::At(before)), Edit::At(next)) => {
                (next.list.into_iter()).for_each(|(index, node)| before.merge(index, node));
            }
            (Some(Edit::Append(before)), Edit::Append(next)) => before.extend(next),
            (_, edit) => edits.push(edit),
        }
    }
}

/// Reads one patch. Room is made as nodes come, never for what a header claims.
struct Reader<'a> {
    raw: Raw<'a>,
    source: u32,
}

impl<'a> Reader<'a> {
    /// One node, `depth` below the root. `slot`: it stands right after a field or key, where there may be a nil.
    fn node(&mut self, depth: u32, slot: bool) -> Result<Tree<'a>, PatchError> {
        if slot && self.raw.nil() {
            return Ok(Tree::Unset);
        }
        if depth >= NODE_NESTING_MAX {
            return Err(PatchError::TooDeep);
        }
        let depth = depth + 1;
        let len = self.raw.array()?;
        Ok(match (self.raw.uint()?, len) {
            (0, 2) => Tree::Set(self.piece(1)?),
            (1, _) if len % 2 == 1 => Tree::Fields(self.fields(len / 2, depth)?),
            (2, _) if len % 2 == 1 => Tree::Map(self.entries(len / 2, depth)?),
            (3, 2) => {
                let (n, len) = i64::__take(self.raw.rest()).ok_or(PatchError::Form)?;
                self.raw.take(len)?;
                Tree::Add(n)
            }
            (4, 1..) => {
                let mut edits = Vec::new();
                for _ in 1..len {
                    self.edit(depth)?.push(&mut edits);
                }
                Tree::Seq(edits)
            }
            (5, _) if len % 3 == 1 => {
                let start = self.raw.pos();
                for _ in 0..len / 3 {
                    self.raw.index()?;
                    self.raw.index()?;
                    self.raw.text()?;
                }
                Tree::Text(vec![(len / 3, self.raw.since(start))])
            }
            (6, 2..) if len % 2 == 0 => {
                let variant = self.raw.uint()?;
                Tree::Enum(variant, self.fields((len - 2) / 2, depth)?)
            }
            (7, 2..) => {
                let mut all = self.node(depth, slot)?;
                for _ in 2..len {
                    let next = self.node(depth, slot)?;
                    all.then(next);
                }
                all
            }
            (0..=7, _) => return Err(PatchError::Form),
            _ => return Err(PatchError::Shape),
        })
    }

    fn fields(&mut self, pairs: usize, depth: u32) -> Result<Branch<'a, u64>, PatchError> {
        let mut list = Vec::new();
        for _ in 0..pairs {
            list.push((self.raw.uint()?, self.node(depth, true)?));
        }
        Ok(Branch::new(list))
    }

    fn entries(&mut self, pairs: usize, depth: u32) -> Result<Branch<'a, &'a [u8]>, PatchError> {
        let mut list = Vec::new();
        for _ in 0..pairs {
            let key = self.piece(1)?.bytes;
            // The places of references are compared as bytes nowhere.
            if holds_references(key) {
                return Err(PatchError::Form);
            }
            list.push((key, self.node(depth, true)?));
        }
        Ok(Branch::new(list))
    }

    fn edit(&mut self, depth: u32) -> Result<Edit<'a>, PatchError> {
        if depth >= NODE_NESTING_MAX {
            return Err(PatchError::TooDeep);
        }
        let start = self.raw.pos();
        let len = self.raw.array()?;
        let exact = match (self.raw.uint()?, len) {
            (0, 3) => {
                let index = self.raw.uint()?;
                let node = self.node(depth + 1, false)?;
                return Ok(Edit::At(Branch::new(vec![(index, node)])));
            }
            (1, 3..) => {
                let (pos, del) = (self.raw.index()?, self.raw.index()?);
                return Ok(Edit::Splice(pos, del, self.piece(len - 3)?));
            }
            (2, 1..) => return Ok(Edit::Append(vec![self.piece(len - 1)?])),
            (3 | 4, 3) => 2,
            (5, 4) | (8, 4) => 2,
            (7, 2) => 1,
            (0..=5 | 7 | 8, _) => return Err(PatchError::Form),
            _ => return Err(PatchError::Shape),
        };
        for _ in 0..exact {
            self.raw.index()?;
        }
        if len == 4 {
            self.raw.bin()?;
        }
        Ok(Edit::Other(self.raw.since(start)))
    }

    fn piece(&mut self, count: usize) -> Result<Piece<'a>, PatchError> {
        let start = self.raw.pos();
        for _ in 0..count {
            self.raw.skip(VALUE_NESTING_MAX)?;
        }
        Ok(Piece {
            bytes: self.raw.since(start),
            count,
            source: self.source,
        })
    }
}

/// Whether a reference stands in these values.
fn holds_references(bytes: &[u8]) -> bool {
    // Most keys are a scalar or a string.
    if !matches!(bytes.first(), Some(0x80..=0x9f | 0xd4 | 0xd5 | 0xdc..=0xdf)) {
        return false;
    }
    let mut holds = false;
    let walked = renumber(bytes, &mut Vec::new(), |place| {
        holds = true;
        place
    });
    holds || walked.is_none()
}

/// Writes a tree, and gives the references that are left their new places, in order of appearance.
pub(super) struct Writer<'s> {
    pub(super) bytes: Vec<u8>,
    pub(super) refs: Vec<Reference>,
    sources: &'s [&'s [Reference]],
    /// By source, the new place of each reference, where it has one already. Empty where no source has any.
    places: Vec<Vec<Option<u16>>>,
}

impl<'s> Writer<'s> {
    /// With the references of each source.
    pub(super) fn new(sources: &'s [&'s [Reference]]) -> Writer<'s> {
        let plain = sources.iter().all(|refs| refs.is_empty());
        Writer {
            bytes: Vec::new(),
            refs: Vec::new(),
            sources,
            places: match plain {
                true => Vec::new(),
                false => sources.iter().map(|refs| vec![None; refs.len()]).collect(),
            },
        }
    }

    /// Copies values. `None`: they name a reference that their source does not have, or there are too many.
    pub(super) fn piece(&mut self, piece: Piece<'_>) -> Option<()> {
        if self.places.is_empty() {
            self.bytes.extend_from_slice(piece.bytes);
            return Some(());
        }
        let source = piece.source as usize;
        let (places, theirs) = (self.places.get_mut(source)?, *self.sources.get(source)?);
        let refs = &mut self.refs;
        renumber(piece.bytes, &mut self.bytes, |index| {
            let mut new = || {
                let place = places.get_mut(index)?;
                if place.is_none() && refs.len() < REFERENCES_MAX {
                    *place = u16::try_from(refs.len()).ok();
                    refs.push(theirs.get(index)?.clone());
                }
                place.map(usize::from)
            };
            // No place: `renumber` gives up.
            new().unwrap_or(usize::MAX)
        })
    }

    /// One node, `depth` below the root. `None`: nested too deep, or those of [`piece`](Self::piece).
    pub(super) fn tree(&mut self, tree: &Tree<'_>, depth: u32) -> Option<()> {
        if matches!(tree, Tree::Unset) {
            put_nil(&mut self.bytes);
            return Some(());
        }
        if depth >= NODE_NESTING_MAX {
            return None;
        }
        let depth = depth + 1;
        match tree {
            Tree::Unset => {}
            Tree::Set(value) => {
                self.head(1, Tag::Set as u8);
                self.piece(*value)?;
            }
            Tree::Fields(fields) => {
                self.head(2 * fields.list.len(), Tag::Fields as u8);
                self.fields(fields, depth)?;
            }
            Tree::Enum(variant, fields) => {
                self.head(1 + 2 * fields.list.len(), Tag::Enum as u8);
                put_uint(&mut self.bytes, *variant);
                self.fields(fields, depth)?;
            }
            Tree::Map(entries) => {
                self.head(2 * entries.list.len(), Tag::Map as u8);
                for (key, node) in &entries.list {
                    self.bytes.extend_from_slice(key);
                    self.tree(node, depth)?;
                }
            }
            Tree::Add(n) => {
                self.head(1, Tag::Add as u8);
                put_int(&mut self.bytes, *n);
            }
            Tree::Seq(edits) => {
                let count = |edit: &Edit<'_>| match edit {
                    Edit::At(run) => run.list.len(),
                    _ => 1,
                };
                self.head(edits.iter().map(count).sum(), Tag::Seq as u8);
                for edit in edits {
                    self.edit(edit, depth)?;
                }
            }
            Tree::Text(edits) => {
                self.head(
                    3 * edits.iter().map(|(n, _)| n).sum::<usize>(),
                    Tag::Text as u8,
                );
                for (_, bytes) in edits {
                    self.bytes.extend_from_slice(bytes);
                }
            }
            Tree::Then(nodes) => {
                self.head(nodes.len(), Tag::Then as u8);
                for node in nodes {
                    self.tree(node, depth)?;
                }
            }
        }
        Some(())
    }

    fn fields(&mut self, fields: &Branch<'_, u64>, depth: u32) -> Option<()> {
        for (field, node) in &fields.list {
            put_uint(&mut self.bytes, *field);
            self.tree(node, depth)?;
        }
        Some(())
    }

    fn edit(&mut self, edit: &Edit<'_>, depth: u32) -> Option<()> {
        if depth >= NODE_NESTING_MAX {
            return None;
        }
        match edit {
            Edit::At(run) => {
                for (index, node) in &run.list {
                    self.head(2, Op::At as u8);
                    put_uint(&mut self.bytes, *index);
                    self.tree(node, depth + 1)?;
                }
            }
            Edit::Append(pieces) => {
                self.head(
                    pieces.iter().map(|piece| piece.count).sum(),
                    Op::Append as u8,
                );
                for piece in pieces {
                    self.piece(*piece)?;
                }
            }
            Edit::Splice(pos, del, items) => {
                self.head(2 + items.count, Op::Splice as u8);
                put_uint(&mut self.bytes, *pos as u64);
                put_uint(&mut self.bytes, *del as u64);
                self.piece(*items)?;
            }
            Edit::Other(bytes) => self.bytes.extend_from_slice(bytes),
        }
        Some(())
    }

    /// The header of a node or operation that has `items` behind its tag.
    fn head(&mut self, items: usize, tag: u8) {
        put_array(&mut self.bytes, 1 + items);
        self.bytes.push(tag);
    }
}
