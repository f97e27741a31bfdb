//! Values of made-up types, patched and encoded by a plain second implementation: what the untyped operations on patches
//! are held against. For tests alone.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test file uses a part"
)]

#[path = "changes.rs"]
mod changes;
#[path = "described.rs"]
mod described;

use std::collections::BTreeMap;

use helve_handles::Reference;
use helve_handles::patch::raw::Raw;
use helve_handles::patch::{Node, Op, PatchError, PatchReader, Slot};
use helve_handles::put::{
    put_array, put_bin, put_cap, put_int, put_map, put_nil, put_str, put_uint,
};

pub use changes::{Rng, change, random, seed};
pub use described::{describe, hide};

#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    Int,
    Str,
    Counter,
    Bytes,
    Handle,
    Struct(Vec<Field>),
    Tuple(Vec<Ty>),
    Map(Box<Ty>),
    List(Box<Ty>),
    Opt(Box<Ty>),
    /// Externally tagged.
    Enum(Vec<(&'static str, Shape)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Unit,
    Newtype(Ty),
    Tuple(Vec<Ty>),
    Struct(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: &'static str,
    pub ty: Ty,
    /// Left out where it is an empty string.
    pub skip: bool,
    pub view: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Int(i64),
    Str(String),
    Bytes(Vec<u8>),
    Handle(u64),
    /// Of a struct or tuple.
    All(Vec<Val>),
    Map(BTreeMap<u64, Val>),
    List(Vec<Val>),
    Opt(Option<Box<Val>>),
    Enum(usize, Vec<Val>),
}

pub fn field(name: &'static str, ty: Ty) -> Field {
    Field {
        name,
        ty,
        skip: false,
        view: None,
    }
}

pub fn skipped(name: &'static str) -> Field {
    Field {
        skip: true,
        ..field(name, Ty::Str)
    }
}

pub fn map(ty: Ty) -> Ty {
    Ty::Map(Box::new(ty))
}

pub fn list(ty: Ty) -> Ty {
    Ty::List(Box::new(ty))
}

pub fn opt(ty: Ty) -> Ty {
    Ty::Opt(Box::new(ty))
}

/// One of everything, in everything.
pub fn zoo() -> Ty {
    let seen_by = |view, field| Field {
        view: Some(view),
        ..field
    };
    let cell = Ty::Struct(vec![
        field("text", Ty::Str),
        seen_by("staff", skipped("memo")),
        field("n", Ty::Int),
        seen_by("admin", field("to", opt(Ty::Handle))),
    ]);
    let shape = Ty::Enum(vec![
        ("none", Shape::Unit),
        ("one", Shape::Newtype(cell.clone())),
        ("two", Shape::Tuple(vec![Ty::Int, list(Ty::Int)])),
        (
            "named",
            Shape::Struct(vec![field("a", Ty::Counter), skipped("b")]),
        ),
    ]);
    Ty::Struct(vec![
        field("title", Ty::Str),
        skipped("note"),
        field("hits", Ty::Counter),
        field("cells", map(cell.clone())),
        field("rows", list(cell.clone())),
        field("shape", shape.clone()),
        field("shapes", map(list(shape))),
        field("raw", Ty::Bytes),
        field("pair", Ty::Tuple(vec![Ty::Int, opt(map(Ty::Str))])),
        field("peers", list(Ty::Handle)),
        seen_by("admin", field("maybe", opt(cell.clone()))),
        field("nearby", opt(cell)),
    ])
}

pub fn left_out(field: &Field, value: &Val) -> bool {
    field.skip && *value == Val::Str(String::new())
}

/// The named encoding, its references appended.
pub fn encode(ty: &Ty, value: &Val, out: &mut Vec<u8>, refs: &mut Vec<Reference>) {
    match (ty, value) {
        (_, Val::Int(n)) => put_int(out, *n),
        (_, Val::Str(text)) => put_str(out, text),
        (_, Val::Bytes(bytes)) => put_bin(out, bytes),
        (_, Val::Handle(id)) => {
            put_cap(out, refs.len() as u16);
            refs.push(Reference::new(*id));
        }
        (Ty::Struct(fields), Val::All(values)) => encode_struct(fields, values, out, refs),
        (Ty::Tuple(items), Val::All(values)) => encode_tuple(items, values, out, refs),
        (Ty::Map(ty), Val::Map(entries)) => {
            put_map(out, entries.len());
            for (key, value) in entries {
                put_uint(out, *key);
                encode(ty, value, out, refs);
            }
        }
        (Ty::List(ty), Val::List(items)) => {
            put_array(out, items.len());
            items.iter().for_each(|item| encode(ty, item, out, refs));
        }
        (Ty::Opt(ty), Val::Opt(value)) => match value {
            Some(value) => encode(ty, value, out, refs),
            None => put_nil(out),
        },
        (Ty::Enum(variants), Val::Enum(at, values)) => {
            let (name, shape) = &variants[*at];
            if *shape != Shape::Unit {
                put_map(out, 1);
            }
            put_str(out, name);
            match shape {
                Shape::Unit => {}
                Shape::Newtype(ty) => encode(ty, &values[0], out, refs),
                Shape::Tuple(items) => encode_tuple(items, values, out, refs),
                Shape::Struct(fields) => encode_struct(fields, values, out, refs),
            }
        }
        _ => panic!("{value:?} is no {ty:?}"),
    }
}

fn encode_tuple(items: &[Ty], values: &[Val], out: &mut Vec<u8>, refs: &mut Vec<Reference>) {
    put_array(out, items.len());
    for (ty, value) in items.iter().zip(values) {
        encode(ty, value, out, refs);
    }
}

fn encode_struct(fields: &[Field], values: &[Val], out: &mut Vec<u8>, refs: &mut Vec<Reference>) {
    let present = || (fields.iter().zip(values)).filter(|(field, value)| !left_out(field, value));
    put_map(out, present().count());
    for (field, value) in present() {
        put_str(out, field.name);
        encode(&field.ty, value, out, refs);
    }
}

fn map_len(raw: &mut Raw<'_>) -> Result<usize, PatchError> {
    match raw.take(1)? {
        [marker @ 0x80..=0x8f] => Ok(usize::from(marker & 15)),
        [0xde] => Ok(raw.take(2)?.iter().fold(0, |n, b| n << 8 | usize::from(*b))),
        _ => Err(PatchError::Form),
    }
}

/// A whole value, every reference of it in `refs`.
pub fn decode(ty: &Ty, bytes: &[u8], refs: &[Reference]) -> Result<Val, PatchError> {
    let mut raw = Raw::new(bytes);
    let value = take(ty, &mut raw, refs)?;
    match raw.is_at_end() {
        true => Ok(value),
        false => Err(PatchError::Trailing),
    }
}

fn take(ty: &Ty, raw: &mut Raw<'_>, refs: &[Reference]) -> Result<Val, PatchError> {
    Ok(match ty {
        Ty::Int | Ty::Counter => {
            let start = *raw;
            raw.skip(0)?;
            let bytes = raw.since(start.pos());
            Val::Int(PatchReader::new(bytes).int()?)
        }
        Ty::Str => Val::Str(raw.text()?.to_owned()),
        Ty::Bytes => Val::Bytes(raw.bin()?.to_vec()),
        Ty::Handle => {
            let start = raw.pos();
            raw.skip(0)?;
            let at = match raw.since(start) {
                [0xd4, 1, low] => usize::from(*low),
                [0xd5, 1, high, low] => usize::from(*high) << 8 | usize::from(*low),
                _ => return Err(PatchError::Form),
            };
            let id = refs.get(at).and_then(|reference| reference.get::<u64>());
            Val::Handle(*id.ok_or(PatchError::Range)?)
        }
        Ty::Struct(fields) => Val::All(take_struct(fields, raw, refs)?),
        Ty::Tuple(items) => Val::All(take_tuple(items, raw, refs)?),
        Ty::Map(ty) => {
            let mut entries = BTreeMap::new();
            for _ in 0..map_len(raw)? {
                entries.insert(raw.uint()?, take(ty, raw, refs)?);
            }
            Val::Map(entries)
        }
        Ty::List(ty) => {
            let len = raw.array()?;
            Val::List(
                (0..len)
                    .map(|_| take(ty, raw, refs))
                    .collect::<Result<_, _>>()?,
            )
        }
        Ty::Opt(ty) => Val::Opt(match raw.nil() {
            true => None,
            false => Some(Box::new(take(ty, raw, refs)?)),
        }),
        Ty::Enum(variants) => {
            let is_unit = raw.peek().is_some_and(|marker| marker >= 0xa0);
            if !is_unit && map_len(raw)? != 1 {
                return Err(PatchError::Form);
            }
            let name = raw.text()?;
            let at = variants.iter().position(|(other, _)| *other == name);
            let at = at.ok_or(PatchError::Value(format!("no variant {name}")))?;
            let values = match &variants[at].1 {
                Shape::Unit if is_unit => Vec::new(),
                Shape::Newtype(ty) if !is_unit => vec![take(ty, raw, refs)?],
                Shape::Tuple(items) if !is_unit => take_tuple(items, raw, refs)?,
                Shape::Struct(fields) if !is_unit => take_struct(fields, raw, refs)?,
                _ => return Err(PatchError::Form),
            };
            Val::Enum(at, values)
        }
    })
}

fn take_tuple(items: &[Ty], raw: &mut Raw<'_>, refs: &[Reference]) -> Result<Vec<Val>, PatchError> {
    if raw.array()? != items.len() {
        return Err(PatchError::Form);
    }
    items.iter().map(|ty| take(ty, raw, refs)).collect()
}

fn take_struct(
    fields: &[Field],
    raw: &mut Raw<'_>,
    refs: &[Reference],
) -> Result<Vec<Val>, PatchError> {
    let mut values = vec![None; fields.len()];
    for _ in 0..map_len(raw)? {
        let name = raw.text()?;
        match fields.iter().position(|field| field.name == name) {
            Some(at) => values[at] = Some(take(&fields[at].ty, raw, refs)?),
            None => drop(raw.skip(64)?),
        }
    }
    let or_default = |(value, field): (Option<Val>, &Field)| match value {
        Some(value) => Ok(value),
        None => absent(field).ok_or_else(|| PatchError::Value(format!("no {}", field.name))),
    };
    values.into_iter().zip(fields).map(or_default).collect()
}

/// What a field is that was left out.
pub fn absent(field: &Field) -> Option<Val> {
    match &field.ty {
        Ty::Opt(_) => Some(Val::Opt(None)),
        Ty::Str if field.skip => Some(Val::Str(String::new())),
        _ => None,
    }
}

/// Applies a whole patch.
pub fn apply(ty: &Ty, value: &mut Val, patch: &[u8], refs: &[Reference]) -> Result<(), PatchError> {
    apply_with(PatchReader::new(patch), ty, value, refs)
}

/// Applies a whole patch, as `reader` reads it.
pub fn apply_with(
    mut reader: PatchReader<'_>,
    ty: &Ty,
    value: &mut Val,
    refs: &[Reference],
) -> Result<(), PatchError> {
    apply_node(ty, value, &mut reader, refs)?;
    reader.finish()
}

fn apply_node(
    ty: &Ty,
    value: &mut Val,
    reader: &mut PatchReader<'_>,
    refs: &[Reference],
) -> Result<(), PatchError> {
    if let (Ty::Opt(inside), Val::Opt(current)) = (ty, &mut *value) {
        return reader.slot(&mut |reader, slot| match (slot, current.as_mut()) {
            (Slot::Set, _) => {
                match decode(ty, reader.raw_value()?, refs)? {
                    Val::Opt(new) => *current = new,
                    _ => return Err(PatchError::Shape),
                }
                Ok(())
            }
            (Slot::Change, Some(value)) => {
                reader.inner(|reader| apply_node(inside, value, reader, refs))
            }
            (Slot::Change, None) => Err(PatchError::Missing),
            (Slot::Unset, _) => Err(PatchError::Shape),
        });
    }
    reader.node(&mut |reader, node| {
        if node == Node::Set {
            *value = decode(ty, reader.raw_value()?, refs)?;
            return Ok(());
        }
        match (ty, &mut *value, node) {
            // `[1]` changes nothing, whatever the type.
            (_, _, Node::Fields(0)) => Ok(()),
            (Ty::Struct(fields), Val::All(values), Node::Fields(n)) => {
                apply_fields(fields, values, n, reader, refs)
            }
            (Ty::Tuple(items), Val::All(values), Node::Fields(n)) => {
                apply_items(items, values, n, reader, refs)
            }
            (Ty::Counter, Val::Int(n), Node::Add) => {
                *n = n.wrapping_add(reader.int()?);
                Ok(())
            }
            (Ty::Str, Val::Str(text), Node::Text(n)) => {
                let mut units: Vec<u16> = text.encode_utf16().collect();
                for _ in 0..n {
                    let (pos, del) = (reader.index()?, reader.index()?);
                    let end = pos.checked_add(del).filter(|end| *end <= units.len());
                    let end = end.ok_or(PatchError::Range)?;
                    units.splice(pos..end, reader.text()?.encode_utf16());
                }
                *text = String::from_utf16(&units).map_err(|_| PatchError::Range)?;
                Ok(())
            }
            (Ty::Map(ty), Val::Map(entries), Node::Map(n)) => {
                for _ in 0..n {
                    let key: u64 = reader.value()?;
                    reader.slot(&mut |reader, slot| {
                        match (slot, entries.get_mut(&key)) {
                            (Slot::Unset, _) => drop(entries.remove(&key)),
                            (Slot::Set, _) => {
                                let value = decode(ty, reader.raw_value()?, refs)?;
                                entries.insert(key, value);
                            }
                            (Slot::Change, Some(value)) => {
                                reader.inner(|reader| apply_node(ty, value, reader, refs))?;
                            }
                            (Slot::Change, None) => return Err(PatchError::Missing),
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            }
            (Ty::List(ty), Val::List(items), Node::Seq(n)) => reader.ops(n, |reader, op, len| {
                apply_op(ty, items, op, len, reader, refs)
            }),
            (Ty::Bytes, Val::Bytes(bytes), Node::Seq(n)) => reader.ops(n, |reader, op, _| {
                let Op::Bytes = op else {
                    return Err(PatchError::Shape);
                };
                let (pos, del) = (reader.index()?, reader.index()?);
                let end = pos.checked_add(del).filter(|end| *end <= bytes.len());
                let new = reader.bin()?;
                bytes.splice(pos..end.ok_or(PatchError::Range)?, new.iter().copied());
                Ok(())
            }),
            (Ty::Enum(variants), Val::Enum(at, values), Node::Enum(n)) => {
                reader.variant(|reader, variant| match variant {
                    Some(variant) if variant as usize == *at => match &variants[*at].1 {
                        Shape::Unit if n == 0 => Ok(()),
                        Shape::Unit => Err(PatchError::Field),
                        Shape::Newtype(ty) => {
                            apply_items(std::slice::from_ref(ty), values, n, reader, refs)
                        }
                        Shape::Tuple(items) => apply_items(items, values, n, reader, refs),
                        Shape::Struct(fields) => apply_fields(fields, values, n, reader, refs),
                    },
                    _ => Err(PatchError::Variant),
                })
            }
            _ => Err(PatchError::Shape),
        }
    })
}

fn apply_fields(
    fields: &[Field],
    values: &mut [Val],
    pairs: usize,
    reader: &mut PatchReader<'_>,
    refs: &[Reference],
) -> Result<(), PatchError> {
    reader.fields(pairs, |reader, at| {
        let (field, value) = match (fields.get(at as usize), values.get_mut(at as usize)) {
            (Some(field), Some(value)) => (field, value),
            _ => return Err(PatchError::Field),
        };
        if !field.skip {
            return apply_node(&field.ty, value, reader, refs);
        }
        reader.slot(&mut |reader, slot| {
            match slot {
                Slot::Unset => *value = absent(field).ok_or(PatchError::Shape)?,
                Slot::Set => *value = decode(&field.ty, reader.raw_value()?, refs)?,
                Slot::Change => apply_node(&field.ty, value, reader, refs)?,
            }
            Ok(())
        })
    })
}

fn apply_items(
    items: &[Ty],
    values: &mut [Val],
    pairs: usize,
    reader: &mut PatchReader<'_>,
    refs: &[Reference],
) -> Result<(), PatchError> {
    reader.fields(pairs, |reader, at| {
        match (items.get(at as usize), values.get_mut(at as usize)) {
            (Some(ty), Some(value)) => apply_node(ty, value, reader, refs),
            _ => Err(PatchError::Field),
        }
    })
}

fn apply_op(
    ty: &Ty,
    items: &mut Vec<Val>,
    op: Op,
    len: usize,
    reader: &mut PatchReader<'_>,
    refs: &[Reference],
) -> Result<(), PatchError> {
    let below = |at: usize, len: usize| match at < len {
        true => Ok(at),
        false => Err(PatchError::Range),
    };
    match op {
        Op::At => {
            let at = below(reader.index()?, items.len())?;
            reader.inner(|reader| apply_node(ty, &mut items[at], reader, refs))?;
        }
        Op::Append => {
            for _ in 0..len {
                items.push(decode(ty, reader.raw_value()?, refs)?);
            }
        }
        Op::Splice => {
            let (pos, del) = (reader.index()?, reader.index()?);
            let end = pos.checked_add(del).filter(|end| *end <= items.len());
            let end = end.ok_or(PatchError::Range)?;
            let new = (2..len).map(|_| decode(ty, reader.raw_value()?, refs));
            let new: Vec<_> = new.collect::<Result<_, _>>()?;
            items.splice(pos..end, new);
        }
        Op::Move => {
            let (from, to) = (below(reader.index()?, items.len())?, reader.index()?);
            below(to, items.len())?;
            let item = items.remove(from);
            items.insert(to, item);
        }
        Op::Swap => {
            let i = below(reader.index()?, items.len())?;
            let j = below(reader.index()?, items.len())?;
            items.swap(i, j);
        }
        Op::Permute => {
            let (start, order) = reader.permutation(items.len())?;
            let old = items.clone();
            for (k, from) in order.into_iter().enumerate() {
                items[start + k] = old[start + from].clone();
            }
        }
        Op::Truncate => {
            let len = reader.index()?;
            if len > items.len() {
                return Err(PatchError::Range);
            }
            items.truncate(len);
        }
        Op::Bytes => return Err(PatchError::Shape),
    }
    Ok(())
}
