//! Descriptions of types and interfaces, their canonical encoding and its hash. Generated code states them in consts and
//! functions; the runtime compares and sends them, code generators read them.
//!
//! A type is encoded as `[ref, type*]`, the types in order of first visit (objects.md, "Descriptor"):
//! - ref: 0 and up an index into the types; -1 bool, -2..-5 u8..u64, -6..-9 i8..i64, -10 f32, -11 f64, -12 str,
//!   -13 char, -14 bytes, -15 Text, -16 Counter, -17 Uuid, -18 Duration, -19 unit, -20 a leaf of unknown form.
//! - type: `[0, name, [field*]]` struct, `[1, ref*]` tuple, `[2, ref, n]` array, `[3, ref]` sequence, `[4, ref]` set,
//!   `[5, key, ref, sorted]` map, `[6, ref]` option, `[7, name, repr, [[wire name, shape, [field*]]*]]` enum,
//!   `[8, interface id]` handle, `[9, ref]` Shared, `[10, ref]` stream.
//! - field: `[wire name, ref, flags, view?]`, the wire name empty where it has none; flags 1 default, 2 skippable, 4 js_number,
//!   8 flatten; view: the one that a session needs to see it. repr: `[]`, `[tag]`, `[tag, content]`, or `[nil]` for untagged.
//!
//! An interface is `[id, docs, [method*], [type*]]`, method `[name, docs, flags, [arg*], ref, error ref or nil]`, arg
//! `[name, kind, ref, flags]`: method flags 1 oneway, 2 exclusive, 4 detached; kinds 0 value, 1 lent, 2 by reference (`&mut`); arg flags
//! 1 default. For its hash all docs are empty.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

pub use crate::id::method_id;
use crate::put::{put_array, put_bool, put_int, put_nil, put_str};
use crate::wire::{Typed, Wire};

/// A type by name, so that a description may contain itself. Comparable, and good in consts.
#[derive(Clone, Copy)]
pub struct TypeRef {
    id: fn() -> TypeId,
    name: fn() -> &'static str,
    describe: fn() -> TypeDesc,
}

impl TypeRef {
    /// The type `T`.
    pub const fn of<T: Wire>() -> TypeRef {
        TypeRef {
            id: TypeId::of::<T>,
            name: std::any::type_name::<T>,
            describe: T::describe,
        }
    }

    /// A leaf whose form only its own code knows.
    pub const OPAQUE: TypeRef = {
        struct Opaque;
        TypeRef {
            id: TypeId::of::<Opaque>,
            name: || "(opaque)",
            describe: || TypeDesc::Opaque,
        }
    };

    /// The type behind a marker of generated code.
    #[doc(hidden)]
    pub const fn marked<M: Typed>() -> TypeRef {
        TypeRef::of::<M::T>()
    }

    /// A sequence of the type behind a marker of generated code.
    #[doc(hidden)]
    pub const fn marked_all<M: Typed>() -> TypeRef {
        TypeRef::of::<Vec<M::T>>()
    }

    /// Which type it is.
    pub fn id(self) -> TypeId {
        (self.id)()
    }

    /// Its description, one level deep.
    pub fn describe(self) -> TypeDesc {
        (self.describe)()
    }
}

impl PartialEq for TypeRef {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for TypeRef {}

impl std::fmt::Debug for TypeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str((self.name)())
    }
}

/// What a type looks like on the wire, one level deep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the leaves are named after their types")]
pub enum TypeDesc {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    Str,
    Char,
    Bytes,
    /// A string that is edited in place (`track::Text`).
    Text,
    /// An int that is added to (`track::Counter`).
    Counter,
    Uuid,
    Duration,
    Unit,
    /// A leaf whose form only its own code knows (`#[serde(with = ..)]`, `#[wire(serde)]`).
    Opaque,
    /// A map by wire name.
    Struct {
        name: &'static str,
        fields: Vec<FieldDesc>,
    },
    Tuple(Vec<TypeRef>),
    Array(TypeRef, u32),
    Seq(TypeRef),
    Set(TypeRef),
    /// `sorted`: a `BTreeMap`.
    Map {
        key: TypeRef,
        value: TypeRef,
        sorted: bool,
    },
    Option(TypeRef),
    Enum {
        name: &'static str,
        repr: EnumRepr,
        variants: Vec<VariantDesc>,
    },
    /// A reference to an object of this interface.
    Handle(&'static InterfaceDesc),
    /// Values of this type, one after another (`Streaming`).
    Stream(TypeRef),
    /// A shared value of this type (`Shared`).
    Shared(TypeRef),
    /// The same on the wire as another type: a `Box`, a newtype.
    Same(TypeRef),
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDesc {
    /// Its name on the wire; empty in a tuple.
    pub name: &'static str,
    /// Its type.
    pub ty: TypeRef,
    /// Some of the `FieldDesc::` flags.
    pub flags: u8,
    /// The view that a session needs to see it (`#[track(view = "..")]`).
    pub view: Option<&'static str>,
}

impl FieldDesc {
    /// A reader may find it missing.
    pub const DEFAULT: u8 = 1;
    /// A writer may leave it out.
    pub const SKIPPABLE: u8 = 2;
    /// A 64-bit int that JavaScript holds as a `number`.
    pub const JS_NUMBER: u8 = 4;
    /// Its fields stand among those of the struct around it.
    pub const FLATTEN: u8 = 8;
}

/// One variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantDesc {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Its fields, unnamed unless the shape is [`Shape::Struct`].
    pub fields: Vec<FieldDesc>,
}

/// The shape of a variant. The numbers are those of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the forms of Rust")]
pub enum Shape {
    Unit,
    Newtype,
    Tuple,
    Struct,
}

/// How an enum says which variant it is: serde's four forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnumRepr {
    /// `{"B": value}`.
    External,
    /// `{"tag": "B", ..}`.
    Internal(&'static str),
    /// `{"tag": "B", "content": value}`.
    Adjacent(&'static str, &'static str),
    /// Nothing says it; the first variant that fits.
    Untagged,
}

/// An interface: what `#[interface]` knows of a trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceDesc {
    /// Its id, by default `crate.Trait`.
    pub id: &'static str,
    /// The documentation of the trait.
    pub docs: &'static str,
    /// Its methods, in declaration order.
    pub methods: &'static [MethodDesc],
}

impl InterfaceDesc {
    /// The method with this number on the wire.
    pub fn method(&self, id: u32) -> Option<&'static MethodDesc> {
        self.methods.iter().find(|method| method.id == id)
    }
}

/// One method.
#[derive(Clone, Copy, Debug)]
pub struct MethodDesc {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its number on the wire: [`method_id`] of interface and name.
    pub id: u32,
    /// Its documentation.
    pub docs: &'static str,
    /// Its arguments, in declaration order, without `cx`.
    pub args: &'static [ArgDesc],
    /// What it returns; of a `Result` the `Ok` side.
    pub ret: TypeRef,
    /// The `Err` side of a `Result`.
    pub error: fn() -> Option<TypeRef>,
    /// `#[oneway]`: nothing comes back.
    pub oneway: bool,
    /// `&mut self`: runs alone.
    pub exclusive: bool,
    /// `#[detached]`: runs on when its session is lost.
    pub detached: bool,
}

impl PartialEq for MethodDesc {
    fn eq(&self, other: &Self) -> bool {
        let flags = |m: &Self| (m.name, m.id, m.docs, m.oneway, m.exclusive, m.detached);
        flags(self) == flags(other)
            && self.args == other.args
            && self.ret == other.ret
            && (self.error)() == (other.error)()
    }
}

impl Eq for MethodDesc {}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgDesc {
    /// Its name.
    pub name: &'static str,
    /// How it is passed.
    pub kind: Kind,
    /// Its type; of a `&T` or `&mut T` the `T`, of a `&[T]` the sequence.
    pub ty: TypeRef,
    /// `#[default]`: an older caller may leave it out.
    pub default: bool,
}

/// How an argument is passed. The numbers are those of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// For good: handles inside are given.
    Value,
    /// Borrowed: handles inside are lent for the call.
    Lent,
    /// `&mut T`: what the method changes in it changes at the caller (R24).
    Ref,
}

/// The canonical encoding of a type or an interface, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    bytes: Vec<u8>,
    hash: [u8; 16],
}

impl Schema {
    /// The schema of a type, computed at its first use.
    pub fn of<T: Wire>() -> Arc<Schema> {
        static KNOWN: Mutex<BTreeMap<TypeId, Arc<Schema>>> = Mutex::new(BTreeMap::new());
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(&TypeId::of::<T>()) {
            return schema.clone();
        }
        // Described outside of the lock: `describe` is code of the user's crate.
        let schema = Arc::new(Schema::describe(TypeRef::of::<T>()));
        known().entry(TypeId::of::<T>()).or_insert(schema).clone()
    }

    fn describe(ty: TypeRef) -> Schema {
        let mut types = Types::default();
        let root = types.reference(ty);
        let mut bytes = Vec::new();
        put_array(&mut bytes, 1 + types.encoded.len());
        put_int(&mut bytes, root);
        bytes.extend(types.encoded.iter().flatten());
        let hash = hash(&bytes);
        Schema { bytes, hash }
    }

    /// The schema of an interface. Its bytes carry the docs, its hash does not depend on them.
    pub fn of_interface(interface: &InterfaceDesc) -> Schema {
        let bytes = encode_interface(interface, true);
        let hash = hash(&encode_interface(interface, false));
        Schema { bytes, hash }
    }

    /// That of a type which only its encoding tells.
    pub fn encoded(bytes: Vec<u8>) -> Schema {
        let hash = hash(&bytes);
        Schema { bytes, hash }
    }

    /// The canonical encoding: MessagePack, as the head of this module has it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first 16 bytes of the SHA-256 of the canonical encoding.
    pub fn hash(&self) -> [u8; 16] {
        self.hash
    }
}

/// The built-in methods, whose ids no method may have.
const BUILT_IN: [u32; 5] = [
    method_id("helve.Peer", "ping"),
    method_id("helve.Peer", "describe"),
    method_id("helve.Object", "flush"),
    method_id("helve.Shared", "propose"),
    method_id("helve.Shared", "focus"),
];

/// Fails, at compile time in generated code, where two methods of an interface have one id, or one has that of a
/// built-in method.
#[doc(hidden)]
pub const fn assert_unique(mut ids: &[u32]) {
    while let [id, rest @ ..] = ids {
        assert!(
            !contains(rest, *id),
            "two methods of this interface have the same 32-bit id: give one another wire name, #[name = \"..\"]"
        );
        assert!(
            !contains(&BUILT_IN, *id),
            "a method has the 32-bit id of a built-in method: give it another wire name, #[name = \"..\"]"
        );
        ids = rest;
    }
}

const fn contains(mut ids: &[u32], id: u32) -> bool {
    while let [first, rest @ ..] = ids {
        if *first == id {
            return true;
        }
        ids = rest;
    }
    false
}

fn hash(bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(bytes);
    let mut hash = [0; 16];
    hash.iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    hash
}

fn encode_interface(interface: &InterfaceDesc, with_docs: bool) -> Vec<u8> {
    let docs = |docs: &'static str| if with_docs { docs } else { "" };
    let mut types = Types::default();
    let mut out = Vec::new();
    put_array(&mut out, 4);
    put_str(&mut out, interface.id);
    put_str(&mut out, docs(interface.docs));
    put_array(&mut out, interface.methods.len());
    for method in interface.methods {
        put_array(&mut out, 6);
        put_str(&mut out, method.name);
        put_str(&mut out, docs(method.docs));
        let flags = u8::from(method.oneway)
            | u8::from(method.exclusive) << 1
            | u8::from(method.detached) << 2;
        put_int(&mut out, flags.into());
        put_array(&mut out, method.args.len());
        for arg in method.args {
            put_array(&mut out, 4);
            put_str(&mut out, arg.name);
            put_int(&mut out, arg.kind as i64);
            put_int(&mut out, types.reference(arg.ty));
            put_int(&mut out, arg.default.into());
        }
        put_int(&mut out, types.reference(method.ret));
        match (method.error)() {
            Some(error) => put_int(&mut out, types.reference(error)),
            None => put_nil(&mut out),
        }
    }
    put_array(&mut out, types.encoded.len());
    out.extend(types.encoded.iter().flatten());
    out
}

/// The table of types, filled in order of first visit.
#[derive(Default)]
struct Types {
    known: BTreeMap<TypeId, i64>,
    encoded: Vec<Vec<u8>>,
}

impl Types {
    fn reference(&mut self, mut ty: TypeRef) -> i64 {
        let mut passed = BTreeSet::new();
        let desc = loop {
            match ty.describe() {
                // A newtype of nothing but itself has no values, so any form will do.
                TypeDesc::Same(_) if !passed.insert(ty.id()) => break TypeDesc::Unit,
                TypeDesc::Same(inner) => ty = inner,
                desc => break desc,
            }
        };
        if let Some(leaf) = leaf(&desc) {
            return leaf;
        }
        if let Some(known) = self.known.get(&ty.id()) {
            return *known;
        }
        let at = self.encoded.len();
        self.known.insert(ty.id(), at as i64);
        // Its place is taken before its parts are visited.
        self.encoded.push(Vec::new());
        let encoded = self.encode(&desc);
        if let Some(place) = self.encoded.get_mut(at) {
            *place = encoded;
        }
        at as i64
    }

    fn encode(&mut self, desc: &TypeDesc) -> Vec<u8> {
        let mut out = Vec::new();
        match desc {
            TypeDesc::Struct { name, fields } => {
                put_array(&mut out, 3);
                put_int(&mut out, 0);
                put_str(&mut out, name);
                self.fields(&mut out, fields);
            }
            TypeDesc::Tuple(items) => {
                put_array(&mut out, 1 + items.len());
                put_int(&mut out, 1);
                for item in items {
                    put_int(&mut out, self.reference(*item));
                }
            }
            TypeDesc::Array(item, len) => {
                put_array(&mut out, 3);
                put_int(&mut out, 2);
                put_int(&mut out, self.reference(*item));
                put_int(&mut out, i64::from(*len));
            }
            TypeDesc::Seq(item)
            | TypeDesc::Set(item)
            | TypeDesc::Option(item)
            | TypeDesc::Shared(item)
            | TypeDesc::Stream(item) => {
                put_array(&mut out, 2);
                put_int(
                    &mut out,
                    match desc {
                        TypeDesc::Seq(_) => 3,
                        TypeDesc::Set(_) => 4,
                        TypeDesc::Option(_) => 6,
                        TypeDesc::Shared(_) => 9,
                        _ => 10,
                    },
                );
                put_int(&mut out, self.reference(*item));
            }
            TypeDesc::Map { key, value, sorted } => {
                put_array(&mut out, 4);
                put_int(&mut out, 5);
                put_int(&mut out, self.reference(*key));
                put_int(&mut out, self.reference(*value));
                put_bool(&mut out, *sorted);
            }
            TypeDesc::Enum {
                name,
                repr,
                variants,
            } => {
                put_array(&mut out, 4);
                put_int(&mut out, 7);
                put_str(&mut out, name);
                put_repr(&mut out, *repr);
                put_array(&mut out, variants.len());
                for variant in variants {
                    put_array(&mut out, 3);
                    put_str(&mut out, variant.name);
                    put_int(&mut out, variant.shape as i64);
                    self.fields(&mut out, &variant.fields);
                }
            }
            TypeDesc::Handle(interface) => {
                put_array(&mut out, 2);
                put_int(&mut out, 8);
                put_str(&mut out, interface.id);
            }
            // Leaves have no entry.
            _ => put_nil(&mut out),
        }
        out
    }

    fn fields(&mut self, out: &mut Vec<u8>, fields: &[FieldDesc]) {
        put_array(out, fields.len());
        for field in fields {
            put_array(out, 3 + usize::from(field.view.is_some()));
            put_str(out, field.name);
            put_int(out, self.reference(field.ty));
            put_int(out, field.flags.into());
            if let Some(view) = field.view {
                put_str(out, view);
            }
        }
    }
}

fn leaf(desc: &TypeDesc) -> Option<i64> {
    Some(match desc {
        TypeDesc::Bool => -1,
        TypeDesc::U8 => -2,
        TypeDesc::U16 => -3,
        TypeDesc::U32 => -4,
        TypeDesc::U64 => -5,
        TypeDesc::I8 => -6,
        TypeDesc::I16 => -7,
        TypeDesc::I32 => -8,
        TypeDesc::I64 => -9,
        TypeDesc::F32 => -10,
        TypeDesc::F64 => -11,
        TypeDesc::Str => -12,
        TypeDesc::Char => -13,
        TypeDesc::Bytes => -14,
        TypeDesc::Text => -15,
        TypeDesc::Counter => -16,
        TypeDesc::Uuid => -17,
        TypeDesc::Duration => -18,
        TypeDesc::Unit => -19,
        TypeDesc::Opaque => -20,
        _ => return None,
    })
}

fn put_repr(out: &mut Vec<u8>, repr: EnumRepr) {
    match repr {
        EnumRepr::External => put_array(out, 0),
        EnumRepr::Internal(tag) => {
            put_array(out, 1);
            put_str(out, tag);
        }
        EnumRepr::Adjacent(tag, content) => {
            put_array(out, 2);
            put_str(out, tag);
            put_str(out, content);
        }
        EnumRepr::Untagged => {
            put_array(out, 1);
            put_nil(out);
        }
    }
}
