//! A walk over values of a described type that writes them anew: without hidden fields for [`View`](super::View), in a
//! canonical form for [`canary`](super::canary). What it need not look into is copied as it stands.

use std::collections::BTreeSet;

use super::raw::Raw;
use super::{NODE_NESTING_MAX, PatchError};
use crate::descriptor::{Descriptor, Field, Ref, Repr, Type, Variant};
use crate::put::{put_array, put_map, put_nil, put_str};
use crate::schema::Shape;

/// What a walk does.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Leaves out the fields of views other than these.
    Hide(BTreeSet<String>),
    /// Sorts the entries of maps and sets by their bytes, and puts nil for handles.
    Canonical,
}

/// A type whose values cannot be walked: fields that matter lie where the bytes do not tell which they are. Its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: what is inside an untagged enum, or flattened into an enum or a map, cannot be told apart: tag it, or give it a field of its own",
            self.0
        )
    }
}

impl std::error::Error for Unsupported {}

/// What a walk of one type needs to know, worked out once.
#[derive(Debug)]
pub(super) struct Plan {
    purpose: Purpose,
    /// By type: whether there is anything to do inside.
    touched: Vec<bool>,
    /// By type, and by variant of an enum: what may stand in its map.
    names: Vec<Vec<Vec<Name>>>,
}

/// An entry of a struct's map.
#[derive(Debug)]
struct Name {
    name: String,
    ty: Ref,
    is_hidden: bool,
}

/// How deep a walk goes: a value of 64 levels, with an option and a variant on each.
const DEEPEST: u32 = 3 * NODE_NESTING_MAX;
/// How many names a struct may have with all that is flattened into it.
const NAMES_MAX: usize = 65_536;

impl Plan {
    /// # Errors
    /// There is something to do inside a type whose values cannot be walked.
    pub(super) fn new(descriptor: &Descriptor, purpose: Purpose) -> Result<Plan, Unsupported> {
        let mut plan = Plan {
            purpose,
            touched: Vec::new(),
            names: Vec::new(),
        };
        plan.touched = plan.touch(descriptor);
        for (ty, at) in descriptor.types().iter().zip(0..) {
            let mut names = Vec::new();
            if plan.touches(Ref::Type(at)) {
                let unsupported = || Unsupported(descriptor.name(Ref::Type(at)));
                plan.name(descriptor, ty, &mut names)
                    .ok_or_else(unsupported)?;
            }
            plan.names.push(names);
        }
        Ok(plan)
    }

    /// Which types have something to do inside: those that matter themselves, and whatever holds one that does.
    fn touch(&self, descriptor: &Descriptor) -> Vec<bool> {
        let types = descriptor.types();
        let mut holders = vec![Vec::new(); types.len()];
        let mut touched = vec![false; types.len()];
        let mut found = Vec::new();
        for (at, ty) in types.iter().enumerate() {
            each_part(ty, |part| {
                if let Ref::Type(part) = part
                    && let Some(holders) = holders.get_mut(part as usize)
                {
                    holders.push(at);
                }
            });
            if self.matters(ty) {
                found.push(at);
            }
        }
        while let Some(at) = found.pop() {
            if let Some(touched) = touched.get_mut(at)
                && !std::mem::replace(touched, true)
            {
                found.extend(holders.get(at).into_iter().flatten());
            }
        }
        touched
    }

    fn matters(&self, ty: &Type) -> bool {
        match (&self.purpose, ty) {
            (Purpose::Hide(_), Type::Struct { fields, .. }) => {
                fields.iter().any(|field| self.hides(field))
            }
            (Purpose::Hide(_), Type::Enum { variants, .. }) => {
                let mut fields = variants.iter().flat_map(|variant| &variant.fields);
                fields.any(|field| self.hides(field))
            }
            (Purpose::Hide(_), _) => false,
            (Purpose::Canonical, ty) => matches!(
                ty,
                Type::Map { .. }
                    | Type::Set(_)
                    | Type::Handle(_)
                    | Type::Shared(_)
                    | Type::Stream(_)
            ),
        }
    }

    /// Whether there is something to do inside a type.
    pub(super) fn touches(&self, ty: Ref) -> bool {
        match ty {
            Ref::Leaf(_) => false,
            Ref::Type(at) => self
                .touched
                .get(at as usize)
                .is_some_and(|touched| *touched),
        }
    }

    /// Whether a field is left out.
    pub(super) fn hides(&self, field: &Field) -> bool {
        match (&self.purpose, &field.view) {
            (Purpose::Hide(held), Some(view)) => !held.contains(view),
            _ => false,
        }
    }

    /// What may stand in the maps of a struct or enum. `None`: unsupported.
    fn name(&self, descriptor: &Descriptor, ty: &Type, names: &mut Vec<Vec<Name>>) -> Option<()> {
        match ty {
            Type::Struct { fields, .. } => {
                names.push(Vec::new());
                self.expand(descriptor, fields, false, names.last_mut()?, &mut 0)
            }
            Type::Enum { repr, variants, .. } => {
                for variant in variants {
                    names.push(Vec::new());
                    self.name_variant(descriptor, repr, variant, names.last_mut()?)?;
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    fn name_variant(
        &self,
        descriptor: &Descriptor,
        repr: &Repr,
        variant: &Variant,
        names: &mut Vec<Name>,
    ) -> Option<()> {
        let is_touched =
            |field: &Field| self.hides(field) || self.touches(field.ty) || field.is_flat();
        if !variant.fields.iter().any(is_touched) {
            return Some(());
        }
        match (repr, variant.shape, &*variant.fields) {
            (Repr::Untagged, ..) => None,
            (_, Shape::Struct, fields) => self.expand(descriptor, fields, false, names, &mut 0),
            // Its one value is all there is.
            (_, Shape::Newtype, [field]) if self.hides(field) => None,
            // The fields of the payload stand beside the tag.
            (Repr::Internal(_), Shape::Newtype, [field]) => match descriptor.get(field.ty) {
                Some(Type::Struct { fields, .. }) => {
                    self.expand(descriptor, fields, false, names, &mut 0)
                }
                _ => None,
            },
            _ => Some(()),
        }
    }

    /// All that stands in the map of a struct with these fields, with what is flattened into it. `looked` bounds the
    /// search in a description that flattens in circles.
    fn expand(
        &self,
        descriptor: &Descriptor,
        fields: &[Field],
        hidden: bool,
        names: &mut Vec<Name>,
        looked: &mut usize,
    ) -> Option<()> {
        // So that it nests no deeper than a thousand.
        *looked += 64 + fields.len();
        if *looked > NAMES_MAX {
            return None;
        }
        for field in fields {
            let is_hidden = hidden || self.hides(field);
            if !field.is_flat() {
                names.push(Name {
                    name: field.name.clone(),
                    ty: field.ty,
                    is_hidden,
                });
                continue;
            }
            match descriptor.get(descriptor.inside(field.ty)) {
                Some(Type::Struct { fields, .. }) => {
                    self.expand(descriptor, fields, is_hidden, names, looked)?;
                }
                // Its names are unknown, and so are copied.
                _ if !is_hidden && !self.touches(field.ty) => {}
                _ => return None,
            }
        }
        Some(())
    }
}

/// The types whose values stand inside the values of this one.
fn each_part(ty: &Type, mut part: impl FnMut(Ref)) {
    match ty {
        Type::Struct { fields, .. } => fields.iter().for_each(|field| part(field.ty)),
        Type::Tuple(items) => items.iter().for_each(|item| part(*item)),
        Type::Array(item, _) | Type::Seq(item) | Type::Set(item) | Type::Option(item) => {
            part(*item);
        }
        Type::Map { key, value, .. } => [*key, *value].into_iter().for_each(part),
        Type::Enum { variants, .. } => {
            let fields = variants.iter().flat_map(|variant| &variant.fields);
            fields.for_each(|field| part(field.ty));
        }
        Type::Handle(_) | Type::Shared(_) | Type::Stream(_) => {}
    }
}

/// A plan with the description that it was made of.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) descriptor: &'a Descriptor,
}

impl Walk<'_> {
    fn names(&self, at: u32, variant: usize) -> &[Name] {
        let names = self.plan.names.get(at as usize);
        let names = names.and_then(|names| names.get(variant));
        names.map(Vec::as_slice).unwrap_or_default()
    }

    /// Copies the next value as it stands.
    fn copy(raw: &mut Raw<'_>, out: &mut Vec<u8>) -> Result<(), PatchError> {
        let start = raw.pos();
        raw.skip(u32::MAX)?;
        out.extend_from_slice(raw.since(start));
        Ok(())
    }

    /// Writes the next value, which is one of type `ty`.
    pub(super) fn value(
        &self,
        raw: &mut Raw<'_>,
        ty: Ref,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), PatchError> {
        let (true, Ref::Type(at), Some(desc)) =
            (self.plan.touches(ty), ty, self.descriptor.get(ty))
        else {
            return Self::copy(raw, out);
        };
        if depth > DEEPEST {
            return Err(PatchError::TooDeep);
        }
        let depth = depth + 1;
        match desc {
            Type::Option(_) if raw.nil() => put_nil(out),
            Type::Option(inner) => self.value(raw, *inner, out, depth)?,
            Type::Struct { .. } => self.entries(raw, self.names(at, 0), None, out, depth)?,
            Type::Tuple(items) => {
                if raw.array()? != items.len() {
                    return Err(PatchError::Form);
                }
                put_array(out, items.len());
                for item in items {
                    self.value(raw, *item, out, depth)?;
                }
            }
            Type::Array(item, _) | Type::Seq(item) => {
                let len = raw.array()?;
                put_array(out, len);
                for _ in 0..len {
                    self.value(raw, *item, out, depth)?;
                }
            }
            Type::Set(item) => {
                let len = raw.array()?;
                put_array(out, len);
                self.each(len, out, |out| self.value(raw, *item, out, depth))?;
            }
            Type::Map { key, value, .. } => {
                let len = raw.map()?;
                put_map(out, len);
                self.each(len, out, |out| {
                    self.value(raw, *key, out, depth)?;
                    self.value(raw, *value, out, depth)
                })?;
            }
            Type::Enum { repr, variants, .. } => {
                self.variant(raw, (at, repr, variants), out, depth)?;
            }
            Type::Handle(_) | Type::Shared(_) | Type::Stream(_) => {
                raw.skip(u32::MAX)?;
                put_nil(out);
            }
        }
        Ok(())
    }

    /// Writes the entries of a map or set, sorted where they are to be.
    fn each(
        &self,
        len: usize,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut Vec<u8>) -> Result<(), PatchError>,
    ) -> Result<(), PatchError> {
        if let Purpose::Hide(_) = self.plan.purpose {
            return (0..len).try_for_each(|_| write(out));
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..len {
            let start = bytes.len();
            write(&mut bytes)?;
            ends.push(start..bytes.len());
        }
        ends.sort_by(|a, b| bytes.get(a.clone()).cmp(&bytes.get(b.clone())));
        let entries = ends.into_iter().filter_map(|range| bytes.get(range));
        entries.for_each(|entry| out.extend_from_slice(entry));
        Ok(())
    }

    /// Writes the map of a struct: what `names` says of each name. The tag of its enum stays.
    fn entries(
        &self,
        raw: &mut Raw<'_>,
        names: &[Name],
        tag: Option<&str>,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), PatchError> {
        let (len, at) = (raw.map()?, out.len());
        put_map(out, len);
        let (mut kept, mut next) = (0, 0);
        for _ in 0..len {
            let start = raw.pos();
            let text = raw.text()?;
            // They come in order, most often.
            let is_next = names.get(next).is_some_and(|name| name.name == text);
            let found = match (tag == Some(text), is_next) {
                (true, _) => None,
                (_, true) => Some(next),
                _ => names.iter().position(|name| name.name == text),
            };
            next = found.map_or(next, |found| found + 1);
            let name = found.and_then(|found| names.get(found));
            if name.is_some_and(|name| name.is_hidden) {
                raw.skip(u32::MAX)?;
                continue;
            }
            kept += 1;
            out.extend_from_slice(raw.since(start));
            match name {
                Some(name) => self.value(raw, name.ty, out, depth)?,
                None => Self::copy(raw, out)?,
            }
        }
        if kept != len {
            let (mut old, mut new) = (Vec::new(), Vec::new());
            put_map(&mut old, len);
            put_map(&mut new, kept);
            out.splice(at..at + old.len(), new);
        }
        Ok(())
    }

    /// Writes a value of an enum.
    fn variant(
        &self,
        raw: &mut Raw<'_>,
        (at, repr, variants): (u32, &Repr, &[Variant]),
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), PatchError> {
        let by_name = |name: &str| {
            let mut variants = variants.iter().enumerate();
            let found = variants.find(|(_, variant)| variant.name == name);
            found.ok_or(PatchError::Variant)
        };
        let tagged = |mut ahead: Raw<'_>, tag: &str| {
            for _ in 0..ahead.map()? {
                if ahead.text()? == tag {
                    return by_name(ahead.text()?);
                }
                ahead.skip(u32::MAX)?;
            }
            Err(PatchError::Variant)
        };
        match repr {
            // A unit variant is its name.
            Repr::External if !matches!(raw.peek(), Some(0x80..=0x8f | 0xde | 0xdf)) => {
                Self::copy(raw, out)
            }
            Repr::External => {
                if raw.map()? != 1 {
                    return Err(PatchError::Form);
                }
                let name = raw.text()?;
                put_map(out, 1);
                put_str(out, name);
                let (place, variant) = by_name(name)?;
                self.payload(raw, self.names(at, place), variant, out, depth)
            }
            Repr::Internal(tag) => {
                let (place, _) = tagged(*raw, tag)?;
                self.entries(raw, self.names(at, place), Some(tag), out, depth)
            }
            Repr::Adjacent(tag, content) => {
                let (place, variant) = tagged(*raw, tag)?;
                let len = raw.map()?;
                put_map(out, len);
                for _ in 0..len {
                    let name = raw.text()?;
                    put_str(out, name);
                    if name == content {
                        self.payload(raw, self.names(at, place), variant, out, depth)?;
                    } else {
                        Self::copy(raw, out)?;
                    }
                }
                Ok(())
            }
            // Not planned for.
            Repr::Untagged => Err(PatchError::Shape),
        }
    }

    fn payload(
        &self,
        raw: &mut Raw<'_>,
        names: &[Name],
        variant: &Variant,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), PatchError> {
        match (variant.shape, &*variant.fields) {
            (Shape::Newtype, [field]) => self.value(raw, field.ty, out, depth),
            (Shape::Struct, _) => self.entries(raw, names, None, out, depth),
            (Shape::Tuple, fields) => {
                if raw.array()? != fields.len() {
                    return Err(PatchError::Form);
                }
                put_array(out, fields.len());
                for field in fields {
                    if self.plan.hides(field) {
                        // The others keep their places.
                        raw.skip(u32::MAX)?;
                        put_nil(out);
                    } else {
                        self.value(raw, field.ty, out, depth)?;
                    }
                }
                Ok(())
            }
            (Shape::Unit | Shape::Newtype, _) => Self::copy(raw, out),
        }
    }
}
