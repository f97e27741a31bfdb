//! Golden patches (`tests/vectors/patches.json` and `patches-bad.json`): each good one applied to its value gives the
//! other, also where that is watched; what is marked canonical is what the edit of that name writes; each bad one is
//! refused for its reason.

use bytes::Bytes;
use helve::__rt::serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use helve::prelude::*;
use helve::track::{Counter, List, Map, Text};
use helve_handles::patch::PatchReader;
use helve_handles::track::apply;
use serde_json::Value;

use super::zoo::hex;
use crate::{edit, encode};

#[derive(Wire, Track, Clone)]
struct Doc {
    title: String,
    tags: List<String>,
    cells: Map<u32, Cell>,
    log: List<Event>,
}

#[derive(Wire, Track, Clone)]
struct Cell {
    text: String,
    color: u8,
    score: f64,
}

#[derive(Wire, Track, Clone)]
struct Event {
    n: u32,
}

#[derive(Wire, Track, Clone)]
struct Sparse {
    a: u8,
    b: u8,
    c: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<u8>,
}

#[derive(Wire, Track, Clone)]
struct SparseText {
    n: u8,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
}

#[derive(Wire, Track, Clone)]
struct Optional {
    a: u8,
    b: u8,
    c: u8,
    d: Option<u8>,
}

#[derive(Wire, Track, Clone)]
enum Choice {
    Empty,
    Some { field: Option<u8>, n: u8 },
    New(u8),
    Two(u8, u8),
}

#[derive(Wire, Track, Clone)]
struct Kinds {
    pair: (u8, String),
    three: [u8; 3],
    bytes: Vec<u8>,
    items: List<Event>,
    maybe: Option<Event>,
    choice: Choice,
    count: Counter,
    text: Text,
    names: Map<String, Event>,
}

#[derive(Wire, Track, Clone)]
struct Wide(u8, u8, u8, u8, u8, u8, u8, u8);

#[derive(Wire, Track, Clone)]
struct Board {
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    viewers: List<Cap>,
}

/// What a handle is in a value: its place in the list of references.
#[derive(Wire, Track, Clone)]
#[wire(serde, opaque)]
struct Cap(u8);

impl Serialize for Cap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("_ExtStruct", &(1_i8, Bytes::from(vec![self.0])))
    }
}

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ext;
        impl<'de> de::Visitor<'de> for Ext {
            type Value = Cap;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a handle")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, ext: D) -> Result<Cap, D::Error> {
                match <(i8, Bytes)>::deserialize(ext)? {
                    (1, index) if index.len() == 1 => Ok(Cap(index[0])),
                    _ => Err(de::Error::custom("another ext type")),
                }
            }
        }
        deserializer.deserialize_newtype_struct("_ExtStruct", Ext)
    }
}

type Edit<T> = (&'static str, fn(&mut T));

/// Types by their names in the files, with the edits that write what is canonical.
macro_rules! types {
    ($run:ident) => {
        $run! {
            "Doc" Doc: [
                ("one score", |doc: &mut Doc| doc.cells.get_mut(&7).expect("there").score = 2.5),
                ("an item is pushed", |doc| doc.tags.push("x".into())),
                ("an entry is put, one removed", |doc| {
                    let cell = Cell { text: "a".into(), color: 1, score: 0.0 };
                    doc.cells.insert(8, cell);
                    doc.cells.remove(&9);
                }),
            ];
            "Sparse" Sparse: [
                ("a field is left out from now on", |sparse: &mut Sparse| sparse.d = None),
                ("a field is there again", |sparse| sparse.d = Some(6)),
            ];
            "SparseText" SparseText: [];
            "Optional" Optional: [
                ("an Option in a field is None", |optional: &mut Optional| optional.d = None),
                ("an Option is Some", |optional| optional.d = Some(6)),
            ];
            "Choice" Choice: [
                ("the same variant", |choice: &mut Choice| {
                    if let Choice::Some { field, .. } = choice {
                        *field = None;
                    }
                }),
                ("another variant", |choice| *choice = Choice::Empty),
                ("a newtype variant", |choice| *choice = Choice::New(2)),
                ("a tuple variant", |choice| *choice = Choice::Two(1, 3)),
            ];
            "Counter" Counter: [("is added to, wrapping", |counter: &mut Counter| _ = counter.add(1))];
            "Count" u32: [("a number is set", |n: &mut u32| *n = 200)];
            "Count2" Event: [];
            "Board" Board: [
                ("two handles are appended", |board: &mut Board| board.viewers.extend([Cap(0), Cap(1)])),
            ];
            "Kinds" Kinds: [
                ("a place of a tuple", |kinds: &mut Kinds| kinds.pair.0 = 9),
                ("a place of an array", |kinds| kinds.three[2] = 9),
                ("bytes are spliced", |kinds| _ = kinds.bytes.splice(1..3, [9])),
                ("an item is inserted", |kinds| kinds.items.insert(1, Event { n: 9 })),
                ("items are replaced", |kinds| _ = kinds.items.splice(1..3, [Event { n: 9 }])),
                ("an item is moved forward", |kinds| kinds.items.move_item(0, 3)),
                ("a list is cut", |kinds| kinds.items.truncate(1)),
                ("through an Option", |kinds| kinds.maybe.as_mut().expect("there").n = 2),
                ("is added to", |kinds| _ = kinds.count.add(-3)),
                ("a text is edited behind a surrogate pair", |kinds| kinds.text.replace_range(5..6, "cd")),
                ("a surrogate pair is removed", |kinds| kinds.text.replace_range(1..5, "")),
                ("entries are changed, put and removed", |kinds| {
                    kinds.names.get_mut("a").expect("there").n = 5;
                    kinds.names.remove("b");
                    kinds.names.insert("c".into(), Event { n: 3 });
                }),
            ];
            "Wide" Wide: [
                ("more than fifteen values in a node", |wide: &mut Wide| *wide = Wide(1, 1, 1, 1, 1, 1, 1, 1)),
            ];
            "Many" List<u32>: [];
            "List" List<u32>: [];
            "Bytes" Vec<u8>: [];
            "Text" Text: [];
            "Map" Map<u32, Cell>: [];
        }
    };
}

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the file is there");
    let file: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(file["format"], 1);
    file
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn value<T: Track>(bytes: &[u8]) -> T {
    PatchReader::new(bytes)
        .value()
        .expect("a value of its type")
}

fn good<T: Track>(vector: &Value, edits: &[Edit<T>]) {
    let name = vector["name"].as_str().expect("a name");
    let [patch, before, after] = ["hex", "before", "after"].map(|key| bytes(&vector[key]));
    let origin: T = value(&before);
    assert_eq!(
        hex(&encode(&origin)),
        hex(&before),
        "{name}: is not what it is read from"
    );
    let mut copy = origin.clone();
    apply(&mut copy, &patch).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(hex(&encode(&copy)), hex(&after), "{name}");
    let mut watched = origin.clone();
    let again = edit(&mut watched, |watched| {
        apply(watched, &patch).expect("fits")
    });
    assert_eq!(hex(&encode(&watched)), hex(&after), "{name}, watched");
    let is_canonical = vector["canonical"] == true;
    let written = edits.iter().find(|(of, _)| *of == name);
    assert_eq!(
        is_canonical,
        written.is_some(),
        "{name}: has an edit if it is canonical"
    );
    if let Some((_, by)) = written {
        let mut host = origin.clone();
        let written = edit(&mut host, by).expect("changed");
        assert_eq!(hex(&written), hex(&patch), "{name}: written");
        assert_eq!(
            hex(&again.expect("changed")),
            hex(&patch),
            "{name}: written again"
        );
    }
}

fn bad<T: Track>(vector: &Value) {
    let name = vector["name"].as_str().expect("a name");
    let (patch, before) = (bytes(&vector["hex"]), bytes(&vector["before"]));
    for watched in [false, true] {
        let mut copy: T = value(&before);
        let shadow = watched.then(|| copy.shadow());
        let error = apply(&mut copy, &patch).expect_err(name);
        let kind = format!("{error:?}");
        let kind = kind.split('(').next().unwrap_or_default();
        assert_eq!(vector["error"].as_str(), Some(kind), "{name}: {error}");
        drop(shadow);
    }
}

/// That the files describe the type as we do: others read values and ordinals by that.
fn described<T: Track>(of: &str, types: &Value) {
    let schema = hex(helve::__rt::Schema::of::<T>().bytes());
    assert_eq!(
        types[of].as_str(),
        Some(&*schema),
        "the description of {of}"
    );
}

#[test]
fn good_patches_apply_and_canonical_ones_are_what_is_written() {
    let file = read("patches.json");
    for vector in file["vectors"].as_array().expect("vectors") {
        let of = vector["of"].as_str().expect("a type");
        macro_rules! run {
            ($($name:literal $ty:ty: [$($edit:expr),* $(,)?];)*) => {
                match of {
                    $($name => good::<$ty>(vector, &[$($edit),*]),)*
                    _ => panic!("no type {of}"),
                }
            };
        }
        types!(run);
    }
    macro_rules! describe {
        ($($name:literal $ty:ty: [$($edit:expr),* $(,)?];)*) => {
            $(described::<$ty>($name, &file["types"]);)*
        };
    }
    types!(describe);
}

#[test]
fn bad_patches_are_refused_for_their_reasons() {
    for vector in read("patches-bad.json")["vectors"]
        .as_array()
        .expect("vectors")
    {
        let of = vector["of"].as_str().expect("a type");
        macro_rules! run {
            ($($name:literal $ty:ty: [$($edit:expr),* $(,)?];)*) => {
                match of {
                    $($name => bad::<$ty>(vector),)*
                    _ => panic!("no type {of}"),
                }
            };
        }
        types!(run);
    }
}
