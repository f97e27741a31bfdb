//! The description of a type as it came over the wire, parsed: a table of types, whoever wrote it. The forms are those of
//! [`schema`](crate::schema), which writes it. Used where values and patches of a described type are walked without the
//! type itself: views, focus, canaries, and other versions of one type.

use std::collections::BTreeSet;
mod part;

use std::fmt;

use crate::patch::raw::Raw;
use crate::patch::{PatchError, VALUE_NESTING_MAX};
use crate::schema::{FieldDesc, Schema, Shape};
use crate::wire::Wire;

/// How long a description may be, in bytes.
pub const DESCRIPTOR_MAX: usize = 256 << 10;
/// How many types a description may name.
pub const TYPES_MAX: usize = 4096;
/// How long a name in a description may be, in bytes.
pub const NAME_MAX: usize = 256;

/// A type, and all the types that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    root: Ref,
    types: Vec<Type>,
}

/// A type: a leaf, or a place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ref {
    /// A type without parts.
    Leaf(Leaf),
    /// The place of one with parts; it is in the table.
    Type(u32),
}

macro_rules! leaves {
    ($($leaf:ident $number:literal $name:literal;)*) => {
        /// A type without parts. The numbers are those of the encoding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "named after the types")]
        pub enum Leaf {
            $($leaf = $number,)*
        }

        impl Leaf {
            fn of(number: i64) -> Option<Leaf> {
                match number {
                    $($number => Some(Leaf::$leaf),)*
                    _ => None,
                }
            }

            /// What people call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Leaf::$leaf => $name,)*
                }
            }
        }
    };
}

leaves! {
    Bool -1 "bool"; U8 -2 "u8"; U16 -3 "u16"; U32 -4 "u32"; U64 -5 "u64"; I8 -6 "i8"; I16 -7 "i16"; I32 -8 "i32";
    I64 -9 "i64"; F32 -10 "f32"; F64 -11 "f64"; Str -12 "str"; Char -13 "char"; Bytes -14 "bytes"; Text -15 "Text";
    Counter -16 "Counter"; Uuid -17 "Uuid"; Duration -18 "Duration"; Unit -19 "unit"; Opaque -20 "a leaf";
}

/// A type with parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are those of `schema::TypeDesc`")]
pub enum Type {
    Struct {
        name: String,
        fields: Vec<Field>,
    },
    Tuple(Vec<Ref>),
    Array(Ref, u32),
    Seq(Ref),
    Set(Ref),
    Map {
        key: Ref,
        value: Ref,
        sorted: bool,
    },
    Option(Ref),
    Enum {
        name: String,
        repr: Repr,
        variants: Vec<Variant>,
    },
    /// A reference to an object of the interface with this id.
    Handle(String),
    Shared(Ref),
    Stream(Ref),
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name on the wire; empty in a tuple.
    pub name: String,
    /// Its type.
    pub ty: Ref,
    /// Flags of [`FieldDesc`].
    pub flags: u8,
    /// The view that a session needs to see it.
    pub view: Option<String>,
}

impl Field {
    /// Whether its own fields stand among those of the struct around it.
    pub fn is_flat(&self) -> bool {
        self.flags & FieldDesc::FLATTEN != 0
    }
}

/// One variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name on the wire.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// How an enum says which variant it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are those of `schema::EnumRepr`")]
pub enum Repr {
    External,
    Internal(String),
    Adjacent(String, String),
    Untagged,
}

/// A description that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the description of the type is malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<PatchError> for Malformed {
    fn from(_: PatchError) -> Self {
        Malformed("not the MessagePack that belongs there")
    }
}

impl Descriptor {
    /// The description of a type of ours.
    ///
    /// # Errors
    /// It is above the limits of [`parse`](Self::parse).
    pub fn of<T: Wire>() -> Result<Descriptor, Malformed> {
        Descriptor::parse(Schema::of::<T>().bytes())
    }

    /// Parses the description of a type. Every reference in it is to a type that is there; names stand once.
    ///
    /// # Errors
    /// It is malformed, longer than 256 KiB, names more than 4,096 types, or has names longer than 256 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Descriptor, Malformed> {
        if bytes.len() > DESCRIPTOR_MAX {
            return Err(Malformed("it is longer than 256 KiB"));
        }
        let mut raw = Raw::new(bytes);
        let types = raw
            .array()?
            .checked_sub(1)
            .ok_or(Malformed("it is empty"))?;
        if types > TYPES_MAX {
            return Err(Malformed("it has more than 4,096 types"));
        }
        let mut parser = Parser { raw, types };
        let root = parser.reference()?;
        let mut table = Vec::new();
        for _ in 0..types {
            table.push(parser.ty()?);
        }
        match parser.raw.is_at_end() {
            true => Ok(Descriptor { root, types: table }),
            false => Err(Malformed("something follows it")),
        }
    }

    /// The type that is described.
    pub fn root(&self) -> Ref {
        self.root
    }

    /// The types with parts.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// What is at a place of the table; `None` for a leaf.
    pub fn get(&self, ty: Ref) -> Option<&Type> {
        match ty {
            Ref::Leaf(_) => None,
            Ref::Type(at) => self.types.get(at as usize),
        }
    }

    /// The type itself, or what the option is an option of.
    pub fn inside(&self, mut ty: Ref) -> Ref {
        // Bounded: an option of itself has no values, but can be described.
        for _ in 0..VALUE_NESTING_MAX {
            match self.get(ty) {
                Some(Type::Option(inner)) => ty = *inner,
                _ => break,
            }
        }
        ty
    }

    /// What people call a type.
    pub fn name(&self, ty: Ref) -> String {
        let of = |ty: &Ref| match self.get(*ty) {
            // One level: a type may contain itself.
            Some(Type::Struct { name, .. } | Type::Enum { name, .. }) => name.clone(),
            Some(_) => "..".into(),
            None => self.name(*ty),
        };
        match (ty, self.get(ty)) {
            (Ref::Leaf(leaf), _) => leaf.name().into(),
            (_, Some(Type::Struct { name, .. })) => format!("struct {name}"),
            (_, Some(Type::Enum { name, .. })) => format!("enum {name}"),
            (_, Some(Type::Tuple(items))) => format!("a tuple of {}", items.len()),
            (_, Some(Type::Array(item, len))) => format!("[{}; {len}]", of(item)),
            (_, Some(Type::Seq(item))) => format!("[{}]", of(item)),
            (_, Some(Type::Set(item))) => format!("a set of {}", of(item)),
            (_, Some(Type::Map { key, value, .. })) => {
                format!("a map of {} to {}", of(key), of(value))
            }
            (_, Some(Type::Option(inner))) => format!("an option of {}", of(inner)),
            (_, Some(Type::Handle(interface))) => format!("a handle of {interface}"),
            (_, Some(Type::Shared(inner))) => format!("a Shared of {}", of(inner)),
            (_, Some(Type::Stream(item))) => format!("a stream of {}", of(item)),
            (_, None) => "nothing".into(),
        }
    }
}

struct Parser<'a> {
    raw: Raw<'a>,
    types: usize,
}

impl Parser<'_> {
    fn reference(&mut self) -> Result<Ref, Malformed> {
        let taken = i64::__take(self.raw.rest());
        let (number, len) = taken.ok_or(Malformed("a type is no int"))?;
        self.raw.take(len)?;
        match (Leaf::of(number), u32::try_from(number)) {
            (Some(leaf), _) => Ok(Ref::Leaf(leaf)),
            (None, Ok(at)) if (at as usize) < self.types => Ok(Ref::Type(at)),
            _ => Err(Malformed("it names a type that is not there")),
        }
    }

    fn name(&mut self) -> Result<String, Malformed> {
        let name = self.raw.text()?;
        match name.len() {
            0..=NAME_MAX => Ok(name.to_owned()),
            _ => Err(Malformed("a name is longer than 256 bytes")),
        }
    }

    fn ty(&mut self) -> Result<Type, Malformed> {
        let len = self.raw.array()?;
        Ok(match (self.raw.uint()?, len) {
            (0, 3) => Type::Struct {
                name: self.name()?,
                fields: self.fields(true)?,
            },
            (1, 1..) => {
                let mut items = Vec::new();
                for _ in 1..len {
                    items.push(self.reference()?);
                }
                Type::Tuple(items)
            }
            (2, 3) => {
                let item = self.reference()?;
                let len = u32::try_from(self.raw.uint()?);
                Type::Array(item, len.map_err(|_| Malformed("an array is too long"))?)
            }
            (3, 2) => Type::Seq(self.reference()?),
            (4, 2) => Type::Set(self.reference()?),
            (5, 4) => Type::Map {
                key: self.reference()?,
                value: self.reference()?,
                sorted: match self.raw.take(1)? {
                    [0xc2] => false,
                    [0xc3] => true,
                    _ => return Err(Malformed("whether a map is sorted is no bool")),
                },
            },
            (6, 2) => Type::Option(self.reference()?),
            (7, 4) => Type::Enum {
                name: self.name()?,
                repr: self.repr()?,
                variants: self.variants()?,
            },
            (8, 2) => Type::Handle(self.name()?),
            (9, 2) => Type::Shared(self.reference()?),
            (10, 2) => Type::Stream(self.reference()?),
            _ => return Err(Malformed("it has a type of unknown form")),
        })
    }

    fn repr(&mut self) -> Result<Repr, Malformed> {
        Ok(match self.raw.array()? {
            0 => Repr::External,
            1 if self.raw.nil() => Repr::Untagged,
            1 => Repr::Internal(self.name()?),
            2 => Repr::Adjacent(self.name()?, self.name()?),
            _ => return Err(Malformed("it has an enum of unknown form")),
        })
    }

    fn variants(&mut self) -> Result<Vec<Variant>, Malformed> {
        let (mut variants, mut names) = (Vec::new(), BTreeSet::new());
        for _ in 0..self.raw.array()? {
            if self.raw.array()? != 3 {
                return Err(Malformed("a variant is of unknown form"));
            }
            let name = self.name()?;
            if !names.insert(name.clone()) {
                return Err(Malformed("two variants have one name"));
            }
            let shape = match self.raw.uint()? {
                0 => Shape::Unit,
                1 => Shape::Newtype,
                2 => Shape::Tuple,
                3 => Shape::Struct,
                _ => return Err(Malformed("a variant is of unknown shape")),
            };
            let fields = self.fields(shape == Shape::Struct)?;
            match (shape, fields.len()) {
                (Shape::Unit, 0) | (Shape::Newtype, 1) | (Shape::Tuple | Shape::Struct, _) => {}
                _ => {
                    return Err(Malformed(
                        "a variant has more or fewer fields than its shape",
                    ));
                }
            }
            variants.push(Variant {
                name,
                shape,
                fields,
            });
        }
        Ok(variants)
    }

    fn fields(&mut self, named: bool) -> Result<Vec<Field>, Malformed> {
        let (mut fields, mut names) = (Vec::new(), BTreeSet::new());
        for _ in 0..self.raw.array()? {
            let len = self.raw.array()?;
            if !matches!(len, 3 | 4) {
                return Err(Malformed("a field is of unknown form"));
            }
            let (name, ty) = (self.name()?, self.reference()?);
            if named && !names.insert(name.clone()) {
                return Err(Malformed("two fields have one name"));
            }
            let flags = u8::try_from(self.raw.uint()?);
            fields.push(Field {
                name,
                ty,
                flags: flags.map_err(|_| Malformed("a field has unknown flags"))?,
                view: match len {
                    4 => Some(self.name()?),
                    _ => None,
                },
            });
        }
        Ok(fields)
    }
}
