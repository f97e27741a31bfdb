//! What a session sees that does not hold every view (`#[track(view = "..")]`): values and patches without the fields of
//! the others (objects.md, section 9).

use std::sync::Arc;

use super::focus::WithReferences;
use super::raw::Raw;
use super::tree::{Piece, Writer};
use super::walk::{Plan, Purpose, Unsupported, Walk};
use super::{NODE_NESTING_MAX, PatchError};
use crate::descriptor::{Descriptor, Field, Ref, Type};
use crate::put::{put_array, put_uint};
use crate::references::Reference;

/// The views that a session holds, for one type. Made once, used for every snapshot and patch; sessions with the same
/// views share one, and the bytes that it makes.
#[derive(Debug)]
pub struct View {
    descriptor: Arc<Descriptor>,
    plan: Plan,
}

impl View {
    /// For the sessions that hold the views of these names, and no others.
    ///
    /// # Errors
    /// A hidden field lies where it cannot be told from others. Nothing of the type may be shown then.
    pub fn new<'a>(
        descriptor: Arc<Descriptor>,
        held: impl IntoIterator<Item = &'a str>,
    ) -> Result<View, Unsupported> {
        let held = held.into_iter().map(str::to_owned).collect();
        let plan = Plan::new(&descriptor, Purpose::Hide(held))?;
        Ok(View { descriptor, plan })
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            plan: &self.plan,
            descriptor: &self.descriptor,
        }
    }

    /// Whether it hides anything of a type of its descriptor: if not, everything may be sent as it stands.
    pub fn hides(&self, ty: Ref) -> bool {
        self.plan.touches(ty)
    }

    /// Whether it shows a part: it holds all the views on the way.
    pub fn shows(&self, views: &[String]) -> bool {
        views.iter().all(|view| {
            !self.plan.hides(&Field {
                name: String::new(),
                ty: self.descriptor.root(),
                flags: 0,
                view: Some(view.clone()),
            })
        })
    }

    /// A value of type `ty` without what is hidden.
    ///
    /// # Errors
    /// It is malformed, or of another type.
    pub fn value(
        &self,
        ty: Ref,
        value: &[u8],
        refs: &[Reference],
    ) -> Result<WithReferences, PatchError> {
        let (mut raw, mut bytes) = (Raw::new(value), Vec::new());
        self.walk().value(&mut raw, ty, &mut bytes, 0)?;
        match raw.is_at_end() {
            true => renumbered(&bytes, refs),
            false => Err(PatchError::Trailing),
        }
    }

    /// A patch for a value of type `ty`, without what is hidden. `None`: nothing of it is seen.
    ///
    /// # Errors
    /// It is malformed, or of another type.
    pub fn patch(
        &self,
        ty: Ref,
        patch: &[u8],
        refs: &[Reference],
    ) -> Result<Option<WithReferences>, PatchError> {
        let (mut raw, mut bytes) = (Raw::new(patch), Vec::new());
        let seen = self.node(&mut raw, ty, &mut bytes, 0)?;
        match (raw.is_at_end(), seen) {
            (false, _) => Err(PatchError::Trailing),
            (true, false) => Ok(None),
            (true, true) => renumbered(&bytes, refs).map(Some),
        }
    }

    /// Writes what is seen of the next node. Says whether that is anything.
    fn node(
        &self,
        raw: &mut Raw<'_>,
        ty: Ref,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<bool, PatchError> {
        // A Set may be of the option, all else passes through it.
        let (whole, ty) = (ty, self.descriptor.inside(ty));
        let start = (raw.pos(), out.len());
        if !self.plan.touches(ty) || raw.peek() == Some(0xc0) {
            raw.skip(u32::MAX)?;
            out.extend_from_slice(raw.since(start.0));
            return Ok(true);
        }
        if depth >= NODE_NESTING_MAX {
            return Err(PatchError::TooDeep);
        }
        let (len, depth) = (raw.array()?, depth + 1);
        let tag = raw.uint()?;
        // Its own bytes, behind a header that is known only then.
        let mut parts = Vec::new();
        let head = match (tag, len) {
            (0, 2) => {
                put_array(out, 2);
                out.push(0);
                self.walk().value(raw, whole, out, depth)?;
                return Ok(true);
            }
            (1, _) if len % 2 == 1 => {
                1 + self.pairs(raw, len / 2, &mut parts, depth, |place| {
                    self.field(ty, None, place)
                })?
            }
            (2, _) if len % 2 == 1 => {
                let Some(Type::Map { value, .. }) = self.descriptor.get(ty) else {
                    return Err(PatchError::Shape);
                };
                let mut seen = 0;
                for _ in 0..len / 2 {
                    let (key, mark) = (raw.pos(), parts.len());
                    raw.skip(u32::MAX)?;
                    parts.extend_from_slice(raw.since(key));
                    match self.node(raw, *value, &mut parts, depth)? {
                        true => seen += 2,
                        false => parts.truncate(mark),
                    }
                }
                1 + seen
            }
            (4, 1..) => {
                let Some(Type::Seq(item)) = self.descriptor.get(ty) else {
                    return Err(PatchError::Shape);
                };
                let mut seen = 0;
                for _ in 1..len {
                    seen += usize::from(self.op(raw, *item, &mut parts, depth)?);
                }
                1 + seen
            }
            (6, 2..) if len % 2 == 0 => {
                let variant = raw.uint()?;
                put_uint(&mut parts, variant);
                let fields = |place| self.field(ty, Some(variant), place);
                match self.pairs(raw, (len - 2) / 2, &mut parts, depth, fields)? {
                    0 => 1,
                    seen => 2 + seen,
                }
            }
            (7, 2..) => {
                let mut seen = 0;
                for _ in 1..len {
                    seen += usize::from(self.node(raw, whole, &mut parts, depth)?);
                }
                1 + seen
            }
            (0..=7, _) => return Err(PatchError::Form),
            _ => return Err(PatchError::Shape),
        };
        if head == 1 {
            return Ok(false);
        }
        put_array(out, head);
        put_uint(out, tag);
        out.append(&mut parts);
        Ok(true)
    }

    /// Writes what is seen of pairs of a field and a node. Returns how many MessagePack values that is.
    fn pairs(
        &self,
        raw: &mut Raw<'_>,
        pairs: usize,
        out: &mut Vec<u8>,
        depth: u32,
        field: impl Fn(u64) -> Result<Option<Ref>, PatchError>,
    ) -> Result<usize, PatchError> {
        let mut seen = 0;
        for _ in 0..pairs {
            let (place, mark) = (raw.uint()?, out.len());
            let Some(ty) = field(place)? else {
                raw.skip(u32::MAX)?;
                continue;
            };
            put_uint(out, place);
            match self.node(raw, ty, out, depth)? {
                true => seen += 2,
                false => out.truncate(mark),
            }
        }
        Ok(seen)
    }

    /// The type of a field; `None`: it is hidden.
    fn field(&self, ty: Ref, variant: Option<u64>, place: u64) -> Result<Option<Ref>, PatchError> {
        let place = usize::try_from(place).map_err(|_| PatchError::Field)?;
        let fields = match (self.descriptor.get(ty), variant) {
            (Some(Type::Struct { fields, .. }), None) => fields,
            (Some(Type::Enum { variants, .. }), Some(variant)) => {
                let variant = usize::try_from(variant).map_err(|_| PatchError::Variant)?;
                &variants.get(variant).ok_or(PatchError::Variant)?.fields
            }
            (Some(Type::Tuple(items)), None) => {
                return items.get(place).copied().map(Some).ok_or(PatchError::Field);
            }
            (Some(Type::Array(item, _)), None) => return Ok(Some(*item)),
            _ => return Err(PatchError::Shape),
        };
        let field = fields.get(place).ok_or(PatchError::Field)?;
        Ok((!self.plan.hides(field)).then_some(field.ty))
    }

    /// Writes what is seen of the next operation. Says whether that is anything.
    fn op(
        &self,
        raw: &mut Raw<'_>,
        item: Ref,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<bool, PatchError> {
        if depth >= NODE_NESTING_MAX {
            return Err(PatchError::TooDeep);
        }
        let (start, mark) = (raw.pos(), out.len());
        let len = raw.array()?;
        let numbers = match (raw.uint()?, len) {
            (0, 3) => {
                raw.uint()?;
                out.extend_from_slice(raw.since(start));
                let seen = self.node(raw, item, out, depth + 1)?;
                if !seen {
                    out.truncate(mark);
                }
                return Ok(seen);
            }
            (1, 3..) => 2,
            (2, 1..) => 0,
            _ => {
                // No items in it.
                (1..len).try_for_each(|_| raw.skip(0).map(drop))?;
                out.extend_from_slice(raw.since(start));
                return Ok(true);
            }
        };
        for _ in 0..numbers {
            raw.uint()?;
        }
        out.extend_from_slice(raw.since(start));
        for _ in 1 + numbers..len {
            self.walk().value(raw, item, out, depth)?;
        }
        Ok(true)
    }
}

/// The bytes with the references that are left, in their new places.
fn renumbered(bytes: &[u8], refs: &[Reference]) -> Result<WithReferences, PatchError> {
    let sources = [refs];
    let mut writer = Writer::new(&sources);
    let (count, source) = (1, 0);
    let piece = Piece {
        bytes,
        count,
        source,
    };
    writer.piece(piece).ok_or(PatchError::Form)?;
    Ok((writer.bytes, writer.refs))
}
