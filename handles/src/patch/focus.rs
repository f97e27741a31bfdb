//! A part of a shared value, followed on its own (objects.md, section 9): patches and values of the whole become those of
//! the part, by a walk that knows the names of fields and the bytes of keys.

use super::raw::Raw;
use super::tree::{Branch, Piece, Tree, Writer};
use super::{NODE_NESTING_MAX, PatchError};
use crate::descriptor::{Descriptor, Ref, Type};
use crate::put::{put_array, put_uint};
use crate::references::Reference;

/// Where a part of a value is. Options on the way, and the part itself, may be `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
    views: Vec<String>,
    ty: Ref,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A field: its place in patches, its name in values. No name: its fields stand among those around it.
    Field(u64, Option<String>),
    /// An item of a tuple or array.
    Item(u64),
    /// An entry of a map, by the bytes of its key.
    Key(Vec<u8>),
}

/// There is no such part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FocusError {
    /// Not an array of steps.
    Malformed,
    /// More than 64 steps.
    TooDeep,
    /// The step with this number leads nowhere: no field of this name, or the type there has neither fields nor keys.
    NoSuchPlace(usize),
}

impl std::fmt::Display for FocusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FocusError::Malformed => f.write_str("the path is malformed"),
            FocusError::TooDeep => f.write_str("the path has more than 64 steps"),
            FocusError::NoSuchPlace(step) => write!(
                f,
                "step {step} of the path leads nowhere: a step is the wire name of a field, or a key of a map"
            ),
        }
    }
}

impl std::error::Error for FocusError {}

/// A patch or value, and the references that it names.
pub type WithReferences = (Vec<u8>, Vec<Reference>);

/// What stands where nothing is.
const NIL: &[u8] = &[0xc0];

impl Path {
    /// Finds a part by an array of steps: a field by its wire name, an item of a tuple or array by its place, an entry
    /// of a map by its key. Items of lists and fields of variants have no lasting place.
    ///
    /// # Errors
    /// There is no such part.
    pub fn resolve(descriptor: &Descriptor, steps: &[u8]) -> Result<Path, FocusError> {
        let mut raw = Raw::new(steps);
        let len = raw.array().map_err(|_| FocusError::Malformed)?;
        if len > NODE_NESTING_MAX as usize {
            return Err(FocusError::TooDeep);
        }
        let mut path = Path {
            steps: Vec::new(),
            views: Vec::new(),
            ty: descriptor.root(),
        };
        for number in 0..len {
            let start = raw.pos();
            raw.skip(NODE_NESTING_MAX)
                .map_err(|_| FocusError::Malformed)?;
            let found = path.step(descriptor, raw.since(start));
            found.ok_or(FocusError::NoSuchPlace(number))?;
        }
        match raw.is_at_end() {
            true => Ok(path),
            false => Err(FocusError::Malformed),
        }
    }

    fn step(&mut self, descriptor: &Descriptor, step: &[u8]) -> Option<()> {
        let ty = descriptor.inside(self.ty);
        let place = Raw::new(step).uint();
        match descriptor.get(ty)? {
            Type::Struct { .. } => {
                let name = Raw::new(step).text().ok()?;
                self.field(descriptor, ty, name, &mut 0)
            }
            Type::Tuple(items) => {
                let place = place.ok()?;
                self.ty = *items.get(usize::try_from(place).ok()?)?;
                self.steps.push(Step::Item(place));
                Some(())
            }
            Type::Array(item, len) => {
                let place = place.ok().filter(|place| *place < u64::from(*len))?;
                self.ty = *item;
                self.steps.push(Step::Item(place));
                Some(())
            }
            Type::Map { value, .. } => {
                self.ty = *value;
                self.steps.push(Step::Key(step.to_vec()));
                Some(())
            }
            _ => None,
        }
    }

    /// The field of this name, here or in what is flattened here. `looked` bounds the search in a description that
    /// flattens in circles.
    fn field(
        &mut self,
        descriptor: &Descriptor,
        ty: Ref,
        name: &str,
        looked: &mut u32,
    ) -> Option<()> {
        let Some(Type::Struct { fields, .. }) = descriptor.get(descriptor.inside(ty)) else {
            return None;
        };
        *looked += 1;
        if *looked > 1024 || self.steps.len() > NODE_NESTING_MAX as usize {
            return None;
        }
        for (place, field) in (0..).zip(fields) {
            let mark = (self.steps.len(), self.views.len());
            self.views.extend(field.view.clone());
            if field.is_flat() {
                self.steps.push(Step::Field(place, None));
                if self.field(descriptor, field.ty, name, looked).is_some() {
                    return Some(());
                }
            } else if field.name == name {
                self.steps.push(Step::Field(place, Some(name.to_owned())));
                self.ty = field.ty;
                return Some(());
            }
            self.steps.truncate(mark.0);
            self.views.truncate(mark.1);
        }
        None
    }

    /// The type of the part, in the descriptor that it was found in.
    pub fn ty(&self) -> Ref {
        self.ty
    }

    /// The views that a session needs to get here.
    pub fn views(&self) -> &[String] {
        &self.views
    }

    /// The node for the part, of a patch for the whole: for an `Option` of the part, since it may vanish. `None`: the
    /// part does not change.
    ///
    /// # Errors
    /// The patch is malformed, or of another type.
    pub fn patch(
        &self,
        patch: &[u8],
        refs: &[Reference],
    ) -> Result<Option<WithReferences>, PatchError> {
        let tree = Tree::read(patch, 0)?;
        let Some(part) = part(tree, &self.steps)? else {
            return Ok(None);
        };
        let sources = [refs];
        let mut writer = Writer::new(&sources);
        writer.tree(&part, 0).ok_or(PatchError::Form)?;
        Ok(Some((writer.bytes, writer.refs)))
    }

    /// The part of a value of the whole; `nil` where it is not there.
    ///
    /// # Errors
    /// The value is malformed, or of another type.
    pub fn value(&self, value: &[u8], refs: &[Reference]) -> Result<WithReferences, PatchError> {
        let sources = [refs];
        let mut writer = Writer::new(&sources);
        let bytes = find(value, &self.steps)?.unwrap_or(NIL);
        let (count, source) = (1, 0);
        let piece = Piece {
            bytes,
            count,
            source,
        };
        writer.piece(piece).ok_or(PatchError::Form)?;
        Ok((writer.bytes, writer.refs))
    }

    /// The patch of the whole that a node for the part stands for. Setting an entry of a map to `None` removes it,
    /// unless its values are options themselves.
    pub fn whole(&self, descriptor: &Descriptor, node: &[u8]) -> Vec<u8> {
        let mut patch = Vec::new();
        for step in &self.steps {
            put_array(&mut patch, 3);
            match step {
                Step::Field(place, _) | Step::Item(place) => {
                    patch.push(1);
                    put_uint(&mut patch, *place);
                }
                Step::Key(key) => {
                    patch.push(2);
                    patch.extend_from_slice(key);
                }
            }
        }
        let is_option = matches!(descriptor.get(self.ty), Some(Type::Option(_)));
        match self.steps.last() {
            Some(Step::Key(_)) if !is_option && node == [0x92, 0, 0xc0] => {
                patch.extend_from_slice(NIL);
            }
            _ => patch.extend_from_slice(node),
        }
        patch
    }
}

/// What `tree` does at the end of `steps`.
fn part<'a>(tree: Tree<'a>, steps: &[Step]) -> Result<Option<Tree<'a>>, PatchError> {
    let gone = || {
        let (count, source) = (1, 0);
        Tree::Set(Piece {
            bytes: NIL,
            count,
            source,
        })
    };
    let Some((step, rest)) = steps.split_first() else {
        return Ok(match tree {
            Tree::Unset => Some(gone()),
            Tree::Then(nodes) => {
                let mut all = Tree::nothing();
                for node in nodes {
                    if let Some(node) = part(node, steps)? {
                        all.then(node);
                    }
                }
                (!all.is_nothing()).then_some(all)
            }
            tree if tree.is_nothing() => None,
            tree => Some(tree),
        });
    };
    match (tree, step) {
        (Tree::Unset, _) => Ok(Some(gone())),
        (Tree::Set(value), _) => {
            let bytes = find(value.bytes, steps)?.unwrap_or(NIL);
            Ok(Some(Tree::Set(Piece { bytes, ..value })))
        }
        (Tree::Fields(fields), Step::Field(place, _) | Step::Item(place)) => {
            parts(fields, |field| field == place, rest)
        }
        (Tree::Map(entries), Step::Key(key)) => parts(entries, |other| other == key, rest),
        (Tree::Then(nodes), _) => {
            let nodes = nodes.into_iter().map(|node| ((), node)).collect();
            parts(Branch::new(nodes), |()| true, steps)
        }
        (tree, _) if tree.is_nothing() => Ok(None),
        _ => Err(PatchError::Shape),
    }
}

/// What all the nodes of one place do at the end of `steps`, one after another.
fn parts<'a, K: Ord + Copy>(
    nodes: Branch<'a, K>,
    is_here: impl Fn(&K) -> bool,
    steps: &[Step],
) -> Result<Option<Tree<'a>>, PatchError> {
    let mut all: Option<Tree<'a>> = None;
    for (_, node) in nodes.list.into_iter().filter(|(key, _)| is_here(key)) {
        match (part(node, steps)?, &mut all) {
            (Some(next), Some(before)) => before.then(next),
            (Some(next), None) => all = Some(next),
            (None, _) => {}
        }
    }
    Ok(all)
}

/// The part of a value at the end of `steps`, if it is there.
fn find<'a>(value: &'a [u8], steps: &[Step]) -> Result<Option<&'a [u8]>, PatchError> {
    let mut raw = Raw::new(value);
    for step in steps {
        let found = match step {
            // It is among what is around it.
            Step::Field(_, None) => true,
            _ if raw.nil() => false,
            Step::Field(_, Some(name)) => {
                let len = raw.map()?;
                seek(&mut raw, len, |raw| Ok(raw.text()? == name))?
            }
            Step::Key(key) => {
                let len = raw.map()?;
                seek(&mut raw, len, |raw| {
                    let start = raw.pos();
                    raw.skip(u32::MAX)?;
                    Ok(raw.since(start) == key)
                })?
            }
            Step::Item(place) => {
                let (len, mut left) = (raw.array()?, *place);
                seek(&mut raw, len, |_| {
                    left = left.wrapping_sub(1);
                    Ok(left == u64::MAX)
                })?
            }
        };
        if !found {
            return Ok(None);
        }
    }
    let start = raw.pos();
    raw.skip(u32::MAX)?;
    Ok(Some(raw.since(start)))
}

/// Passes values until `is_it`, which stands before one and takes its key.
fn seek(
    raw: &mut Raw<'_>,
    len: usize,
    mut is_it: impl FnMut(&mut Raw<'_>) -> Result<bool, PatchError>,
) -> Result<bool, PatchError> {
    for _ in 0..len {
        if is_it(raw)? {
            return Ok(true);
        }
        raw.skip(u32::MAX)?;
    }
    Ok(false)
}
