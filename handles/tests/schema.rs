//! The canonical encoding of descriptions: golden bytes, so that two builds, and TypeScript, agree on every hash.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use helve_handles::schema::{
    ArgDesc, EnumRepr, FieldDesc, InterfaceDesc, Kind, MethodDesc, Schema, Shape, TypeDesc,
    TypeRef, VariantDesc, assert_unique, method_id,
};
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A type that exists for its description alone.
macro_rules! described {
    ($($name:ident => $describe:expr;)*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $name;
        impl Wire for $name {
            fn describe() -> TypeDesc {
                $describe
            }
        }
    )*};
}

fn field(name: &'static str, ty: TypeRef, flags: u8) -> FieldDesc {
    FieldDesc {
        name,
        ty,
        flags,
        view: None,
    }
}

fn structure(name: &'static str, fields: Vec<FieldDesc>) -> TypeDesc {
    TypeDesc::Struct { name, fields }
}

described! {
    Line => structure("Line", vec![field("sku", TypeRef::of::<String>(), 0), field("qty", TypeRef::of::<u32>(), 1)]);
    Boxed => TypeDesc::Same(TypeRef::of::<Box<Line>>());
    Tree => structure("Tree", vec![field("kids", TypeRef::of::<Vec<Tree>>(), 0), field("up", TypeRef::of::<Option<Box<Tree>>>(), 10)]);
    Loop => TypeDesc::Same(TypeRef::of::<Box<Loop>>());
    Ping => TypeDesc::Tuple(vec![TypeRef::of::<Pong>(), TypeRef::of::<Pong>()]);
    Pong => TypeDesc::Option(TypeRef::of::<Box<Ping>>());
    Leaf => TypeDesc::Opaque;
    Viewer => TypeDesc::Handle(&InterfaceDesc { id: "demo.Viewer", docs: "", methods: &[] });
}

/// `bytes`, with texts in quotes: readable golden bytes.
fn bytes(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts.iter().flat_map(|part| part.split(' ')) {
        match part.strip_prefix('\'') {
            Some(text) => {
                out.push(0xa0 | text.len() as u8);
                out.extend(text.as_bytes());
            }
            None => out.push(u8::from_str_radix(part, 16).expect("two hex digits")),
        }
    }
    out
}

#[track_caller]
fn encodes<T: Wire>(parts: &[&str]) {
    let schema = Schema::of::<T>();
    assert_eq!(schema.bytes(), bytes(parts), "{:02x?}", schema.bytes());
}

#[test]
fn leaves_are_numbers_and_have_no_entry() {
    encodes::<bool>(&["91 ff"]);
    encodes::<u8>(&["91 fe"]);
    encodes::<u64>(&["91 fb"]);
    encodes::<usize>(&["91 fb"]);
    encodes::<i8>(&["91 fa"]);
    encodes::<isize>(&["91 f7"]);
    encodes::<f64>(&["91 f5"]);
    encodes::<String>(&["91 f4"]);
    encodes::<char>(&["91 f3"]);
    encodes::<bytes::Bytes>(&["91 f2"]);
    encodes::<uuid::Uuid>(&["91 ef"]);
    encodes::<std::time::Duration>(&["91 ee"]);
    encodes::<()>(&["91 ed"]);
    encodes::<Leaf>(&["91 ec"]);
}

#[test]
fn bytes_in_a_vector_are_bytes_and_in_an_array_are_numbers() {
    encodes::<Vec<u8>>(&["91 f2"]);
    encodes::<Box<[u8]>>(&["91 f2"]);
    encodes::<[u8; 4]>(&["92 00 93 02 fe 04"]);
    encodes::<VecDeque<u16>>(&["92 00 92 03 fd"]);
}

#[test]
fn containers_name_what_they_hold() {
    encodes::<BTreeSet<i32>>(&["92 00 92 04 f8"]);
    encodes::<HashMap<String, bool>>(&["92 00 94 05 f4 ff c2"]);
    encodes::<BTreeMap<String, bool>>(&["92 00 94 05 f4 ff c3"]);
    encodes::<Option<f32>>(&["92 00 92 06 f6"]);
    encodes::<(u16, char, ())>(&["92 00 94 01 fd f3 ed"]);
    encodes::<Viewer>(&["92 00 92 08 ab", "64 65 6d 6f 2e 56 69 65 77 65 72"]);
}

#[test]
fn a_struct_lists_its_fields_with_flags() {
    encodes::<Line>(&["92 00 93 00 'Line 92 93 'sku f4 00 93 'qty fc 01"]);
}

#[test]
fn boxes_and_newtypes_leave_no_entry() {
    let line = Schema::of::<Line>();
    assert_eq!(Schema::of::<Boxed>(), line);
    assert_eq!(Schema::of::<Box<Box<Line>>>(), line);
    encodes::<(Boxed, Line, Box<Line>)>(&[
        "93 00 94 01 01 01 01 93 00 'Line 92 93 'sku f4 00 93 'qty fc 01",
    ]);
    // Nothing is left of a newtype that was visited first, and of a box of a leaf.
    encodes::<(Box<u8>, Option<Boxed>)>(&[
        "94 00 93 01 fe 01 92 06 02 93 00 'Line 92 93 'sku f4 00 93 'qty fc 01",
    ]);
}

#[test]
fn a_type_that_holds_itself_ends() {
    encodes::<Tree>(&["94 00 93 00 'Tree 92 93 'kids 01 00 93 'up 02 0a 92 03 00 92 06 00"]);
    encodes::<Ping>(&["93 00 93 01 01 01 92 06 00"]);
    encodes::<Pong>(&["93 00 92 06 01 93 01 00 00"]);
    encodes::<Loop>(&["91 ed"]);
}

#[test]
fn an_enum_has_serdes_representation_and_the_shapes_of_its_variants() {
    fn variants() -> Vec<VariantDesc> {
        let variant = |name, shape, fields| VariantDesc {
            name,
            shape,
            fields,
        };
        vec![
            variant("A", Shape::Unit, vec![]),
            variant("b", Shape::Newtype, vec![field("", TypeRef::of::<u8>(), 0)]),
            variant("C", Shape::Struct, vec![field("x", TypeRef::OPAQUE, 2)]),
        ]
    }
    fn with(repr: EnumRepr) -> TypeDesc {
        TypeDesc::Enum {
            name: "E",
            repr,
            variants: variants(),
        }
    }
    described! {
        External => with(EnumRepr::External);
        Internal => with(EnumRepr::Internal("t"));
        Adjacent => with(EnumRepr::Adjacent("t", "c"));
        Untagged => with(EnumRepr::Untagged);
    }
    let rest = "93 93 'A 00 90 93 'b 01 91 93 a0 fe 00 93 'C 03 91 93 'x ec 02";
    encodes::<External>(&["92 00 94 07 'E 90", rest]);
    encodes::<Internal>(&["92 00 94 07 'E 91 't", rest]);
    encodes::<Adjacent>(&["92 00 94 07 'E 92 't 'c", rest]);
    encodes::<Untagged>(&["92 00 94 07 'E 91 c0", rest]);
}

#[test]
fn the_hash_is_the_beginning_of_sha_256() {
    let schema = Schema::of::<Tree>();
    assert_eq!(schema.hash(), Sha256::digest(schema.bytes())[..16]);
    assert_eq!(schema, Schema::of::<Tree>());
    assert_ne!(schema.hash(), Schema::of::<Line>().hash());
}

const ADD: MethodDesc = MethodDesc {
    name: "add",
    id: method_id("demo.Cart", "add"),
    docs: "Adds.",
    args: &[
        ArgDesc {
            name: "line",
            kind: Kind::Value,
            ty: TypeRef::of::<Line>(),
            default: false,
        },
        ArgDesc {
            name: "times",
            kind: Kind::Lent,
            ty: TypeRef::of::<u32>(),
            default: true,
        },
        ArgDesc {
            name: "total",
            kind: Kind::Ref,
            ty: TypeRef::of::<u32>(),
            default: false,
        },
    ],
    ret: TypeRef::of::<Line>(),
    error: || Some(TypeRef::of::<String>()),
    oneway: false,
    exclusive: true,
    detached: true,
};

const CART: InterfaceDesc = InterfaceDesc {
    id: "demo",
    docs: "A cart.",
    methods: &[ADD],
};

#[test]
fn an_interface_lists_its_methods_over_one_table_of_types() {
    let schema = Schema::of_interface(&CART);
    let mut expected = bytes(&["94 'demo a7"]);
    expected.extend(b"A cart.");
    expected.extend(bytes(&["91 96 'add 'Adds. 06"]));
    expected.extend(bytes(&[
        "93 94 'line 00 00 00 94 'times 01 fc 01 94 'total 02 fc 00 00 f4",
    ]));
    expected.extend(bytes(&["91 93 00 'Line 92 93 'sku f4 00 93 'qty fc 01"]));
    assert_eq!(schema.bytes(), expected, "{:02x?}", schema.bytes());
}

#[test]
fn the_hash_of_an_interface_does_not_depend_on_its_documentation() {
    let with = Schema::of_interface(&CART);
    let silent = [MethodDesc { docs: "", ..ADD }];
    let without = Schema::of_interface(&InterfaceDesc {
        docs: "",
        methods: silent.to_vec().leak(),
        ..CART
    });
    assert_ne!(with.bytes(), without.bytes());
    assert_eq!(with.hash(), without.hash());
    let other = [MethodDesc {
        exclusive: false,
        ..ADD
    }];
    let other = Schema::of_interface(&InterfaceDesc {
        methods: other.to_vec().leak(),
        ..CART
    });
    assert_ne!(with.hash(), other.hash());
}

#[test]
fn ids_that_differ_are_accepted() {
    assert_unique(&[]);
    assert_unique(&[method_id("a", "x"), method_id("a", "y")]);
}

// E5.3: generated code calls it in a const, where a panic is an error of the compiler.
#[test]
#[should_panic(expected = "same 32-bit id")]
fn two_methods_with_one_id_are_refused() {
    assert_unique(&[1, 2, 1]);
}

#[test]
#[should_panic(expected = "built-in")]
fn the_id_of_a_built_in_method_is_refused() {
    assert_unique(&[1, method_id("helve.Object", "flush")]);
}
