//! The description of a part, as its own type would be described: what a part of a shared value is followed as.

use std::collections::BTreeMap;

use super::{Descriptor, Field, Ref, Repr, Type};
use crate::put::{put_array, put_bool, put_int, put_nil, put_str, put_uint};

impl Descriptor {
    /// The canonical encoding of the description of one of its types, as an `Option` of it unless it is one.
    pub fn optional(&self, ty: Ref) -> Vec<u8> {
        let mut part = Part {
            whole: self,
            known: BTreeMap::new(),
            encoded: Vec::new(),
        };
        let root = match self.get(ty) {
            Some(Type::Option(_)) => part.reference(ty),
            _ => {
                part.encoded.push(Vec::new());
                let option = part.with(6, ty);
                part.put(0, option);
                0
            }
        };
        let mut bytes = Vec::new();
        put_array(&mut bytes, 1 + part.encoded.len());
        put_int(&mut bytes, root);
        bytes.extend(part.encoded.iter().flatten());
        bytes
    }
}

struct Part<'a> {
    whole: &'a Descriptor,
    /// Places in the whole, and here.
    known: BTreeMap<u32, i64>,
    encoded: Vec<Vec<u8>>,
}

impl Part<'_> {
    fn put(&mut self, at: usize, encoded: Vec<u8>) {
        if let Some(place) = self.encoded.get_mut(at) {
            *place = encoded;
        }
    }

    /// The types that it is made of get their places in order of first visit. As deep as the types of a program nest.
    fn reference(&mut self, ty: Ref) -> i64 {
        let at = match ty {
            Ref::Leaf(leaf) => return leaf as i64,
            Ref::Type(at) => at,
        };
        if let Some(known) = self.known.get(&at) {
            return *known;
        }
        let place = self.encoded.len();
        self.known.insert(at, place as i64);
        self.encoded.push(Vec::new());
        let encoded = self.encode(ty);
        self.put(place, encoded);
        place as i64
    }

    /// `[tag, ref]`.
    fn with(&mut self, tag: i64, ty: Ref) -> Vec<u8> {
        let mut out = Vec::new();
        put_array(&mut out, 2);
        put_int(&mut out, tag);
        put_int(&mut out, self.reference(ty));
        out
    }

    fn encode(&mut self, ty: Ref) -> Vec<u8> {
        let mut out = Vec::new();
        match self.whole.get(ty) {
            Some(Type::Struct { name, fields }) => {
                put_array(&mut out, 3);
                put_int(&mut out, 0);
                put_str(&mut out, name);
                self.fields(&mut out, fields);
            }
            Some(Type::Tuple(items)) => {
                put_array(&mut out, 1 + items.len());
                put_int(&mut out, 1);
                for item in items {
                    put_int(&mut out, self.reference(*item));
                }
            }
            Some(Type::Array(item, len)) => {
                put_array(&mut out, 3);
                put_int(&mut out, 2);
                put_int(&mut out, self.reference(*item));
                put_uint(&mut out, u64::from(*len));
            }
            Some(Type::Seq(item)) => out = self.with(3, *item),
            Some(Type::Set(item)) => out = self.with(4, *item),
            Some(Type::Map { key, value, sorted }) => {
                put_array(&mut out, 4);
                put_int(&mut out, 5);
                put_int(&mut out, self.reference(*key));
                put_int(&mut out, self.reference(*value));
                put_bool(&mut out, *sorted);
            }
            Some(Type::Option(item)) => out = self.with(6, *item),
            Some(Type::Enum {
                name,
                repr,
                variants,
            }) => {
                put_array(&mut out, 4);
                put_int(&mut out, 7);
                put_str(&mut out, name);
                put_repr(&mut out, repr);
                put_array(&mut out, variants.len());
                for variant in variants {
                    put_array(&mut out, 3);
                    put_str(&mut out, &variant.name);
                    put_int(&mut out, variant.shape as i64);
                    self.fields(&mut out, &variant.fields);
                }
            }
            Some(Type::Handle(interface)) => {
                put_array(&mut out, 2);
                put_int(&mut out, 8);
                put_str(&mut out, interface);
            }
            Some(Type::Shared(item)) => out = self.with(9, *item),
            Some(Type::Stream(item)) => out = self.with(10, *item),
            // Leaves have no entry.
            None => put_nil(&mut out),
        }
        out
    }

    fn fields(&mut self, out: &mut Vec<u8>, fields: &[Field]) {
        put_array(out, fields.len());
        for field in fields {
            put_array(out, 3 + usize::from(field.view.is_some()));
            put_str(out, &field.name);
            put_int(out, self.reference(field.ty));
            put_int(out, field.flags.into());
            if let Some(view) = &field.view {
                put_str(out, view);
            }
        }
    }
}

fn put_repr(out: &mut Vec<u8>, repr: &Repr) {
    match repr {
        Repr::External => put_array(out, 0),
        Repr::Internal(tag) => {
            put_array(out, 1);
            put_str(out, tag);
        }
        Repr::Adjacent(tag, content) => {
            put_array(out, 2);
            put_str(out, tag);
            put_str(out, content);
        }
        Repr::Untagged => {
            put_array(out, 1);
            put_nil(out);
        }
    }
}
