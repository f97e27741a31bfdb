//! What the macros write down of interfaces and types.

use helve::__rt::{EnumRepr, Kind, Shape, TypeDesc, TypeRef};
use helve::prelude::*;

use super::forms::{CartHandle, Line, StoreHandle};

#[test]
fn an_interface_describes_its_methods() {
    let cart = CartHandle::INTERFACE;
    assert_eq!(cart.id, "demo.Cart");
    assert_eq!(cart.docs, "What a customer fills.\n\nOne per visit.");
    let method = |name: &str| {
        cart.methods
            .iter()
            .find(|method| method.name == name)
            .expect("there")
    };

    let add = method("add");
    assert_eq!(add.docs, "Adds a line and returns how many there are.");
    assert!(add.exclusive && !add.oneway && !add.detached);
    assert_eq!(add.id, helve_handles::id::method_id("demo.Cart", "add"));
    let [line, times] = add.args else {
        panic!("{add:?}")
    };
    assert_eq!(
        (line.name, line.kind, line.ty, line.default),
        ("line", Kind::Value, TypeRef::of::<Line>(), false)
    );
    assert_eq!(
        (times.name, times.ty, times.default),
        ("times", TypeRef::of::<u32>(), true)
    );
    assert_eq!(add.ret, TypeRef::of::<u32>());
    assert_eq!(
        (add.error)(),
        Some(TypeRef::of::<super::forms::CartError>())
    );

    let find = method("find");
    let args: Vec<_> = find
        .args
        .iter()
        .map(|arg| (arg.name, arg.kind, arg.ty))
        .collect();
    let expected = [
        ("sku", Kind::Lent, TypeRef::of::<String>()),
        ("blob", Kind::Lent, TypeRef::of::<Vec<u8>>()),
        ("limits", Kind::Lent, TypeRef::of::<Vec<u32>>()),
    ];
    assert_eq!(args, expected);
    assert_eq!((find.error)(), None);

    assert!(method("note").oneway);
    assert!(method("detached").detached);
    assert_eq!(method("whoami").args.len(), 1, "`cx` is not sent");
    assert_eq!(method("fifth").args.len(), 0);
    assert_eq!(method("type").args[0].name, "match");
    assert_eq!(
        (method("checked").error)(),
        Some(TypeRef::of::<super::forms::CartError>()),
        "through the alias"
    );
    assert!(cart.methods.iter().all(|method| method.name != "not_there"));
    assert_eq!(CartHandle::describe(), TypeDesc::Handle(cart));
}

#[test]
fn the_id_of_an_interface_is_crate_and_trait() {
    assert_eq!(StoreHandle::<u8, 1>::INTERFACE.id, "macros.Store");
}

#[derive(Wire)]
#[serde(rename_all = "camelCase", rename = "TheRecord")]
#[allow(dead_code)]
struct Record {
    first_name: String,
    #[serde(rename = "n")]
    #[wire(js_number)]
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nick: Option<String>,
    #[serde(skip)]
    cache: Option<fn()>,
    #[serde(flatten)]
    rest: Rest,
    #[serde(with = "hex")]
    key: Vec<u8>,
    kids: Vec<Record>,
}

#[derive(Wire)]
#[allow(dead_code)]
struct Rest {
    a: i8,
}

mod hex {
    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(
            &bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.into_bytes())
    }
}

#[test]
fn a_struct_describes_its_fields_as_serde_writes_them() {
    let TypeDesc::Struct { name, fields } = Record::describe() else {
        panic!("a struct")
    };
    assert_eq!(name, "TheRecord");
    let fields: Vec<_> = fields
        .iter()
        .map(|field| (field.name, field.ty, field.flags))
        .collect();
    let expected = [
        ("firstName", TypeRef::of::<String>(), 0),
        ("n", TypeRef::of::<u64>(), 4),
        ("nick", TypeRef::of::<Option<String>>(), 3),
        ("rest", TypeRef::of::<Rest>(), 8),
        ("key", TypeRef::OPAQUE, 0),
        ("kids", TypeRef::of::<Vec<Record>>(), 0),
    ];
    assert_eq!(fields, expected);
}

#[derive(Wire)]
#[serde(tag = "t", content = "c", rename_all = "snake_case")]
#[allow(dead_code)]
enum Event {
    Opened,
    LineAdded(Line),
    Pair(u8, String),
    #[serde(rename_all = "UPPERCASE")]
    Moved {
        from_here: u8,
    },
    #[serde(skip)]
    Hidden(fn()),
    #[serde(other)]
    Unknown,
}

#[test]
fn an_enum_describes_its_variants() {
    let TypeDesc::Enum {
        name,
        repr,
        variants,
    } = Event::describe()
    else {
        panic!("an enum")
    };
    assert_eq!((name, repr), ("Event", EnumRepr::Adjacent("t", "c")));
    let shapes: Vec<_> = variants
        .iter()
        .map(|variant| (variant.name, variant.shape, variant.fields.len()))
        .collect();
    let expected = [
        ("opened", Shape::Unit, 0),
        ("line_added", Shape::Newtype, 1),
        ("pair", Shape::Tuple, 2),
        ("moved", Shape::Struct, 1),
        ("unknown", Shape::Unit, 0),
    ];
    assert_eq!(shapes, expected);
    assert_eq!(variants[3].fields[0].name, "FROM_HERE");
}

#[derive(Wire)]
#[allow(dead_code)]
struct OfStd {
    a: Vec<(u8, Option<String>)>,
    b: [bool; 2],
}

#[test]
fn a_type_of_nothing_but_std_is_known_to_hold_no_handle() {
    const {
        assert!(<OfStd as Wire>::PLAIN);
        assert!(<Line as Wire>::PLAIN);
        assert!(
            !<Record as Wire>::PLAIN,
            "what it holds might hold a handle"
        );
        assert!(!<CartHandle as Wire>::PLAIN);
    }
}
