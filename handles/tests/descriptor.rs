//! Descriptions that came over the wire, and canaries, which go by them.

#[path = "support/model.rs"]
mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use helve_handles::codec::encode_into;
use helve_handles::descriptor::{Descriptor, Leaf, NAME_MAX, Ref, TYPES_MAX, Type};
use helve_handles::patch::canary;
use helve_handles::put::{put_array, put_str};
use helve_handles::schema::Schema;
use model::{Rng, describe, encode, random, seed, zoo};

#[test]
fn what_the_schema_writes_can_be_parsed() {
    type Whole = (
        BTreeMap<u32, Vec<Option<String>>>,
        HashMap<char, BTreeSet<i8>>,
        [(f64, bool); 3],
        Vec<u8>,
    );
    let descriptor = Descriptor::of::<Whole>().expect("well formed");
    let Some(Type::Tuple(items)) = descriptor.get(descriptor.root()) else {
        panic!("{descriptor:?}");
    };
    let names: Vec<String> = items.iter().map(|item| descriptor.name(*item)).collect();
    let expected = [
        "a map of u32 to ..",
        "a map of char to ..",
        "[..; 3]",
        "bytes",
    ];
    assert_eq!(names, expected);
    let Some(Type::Map { sorted, .. }) = descriptor.get(items[1]) else {
        panic!("{descriptor:?}");
    };
    assert!(!sorted);
    let leaf = Descriptor::of::<u8>().expect("well formed");
    assert_eq!(leaf.root(), Ref::Leaf(Leaf::U8));
    assert!(leaf.types().is_empty());
}

#[test]
fn a_description_above_its_limits_is_refused() {
    let seqs = |n: usize| {
        let mut bytes = Vec::new();
        put_array(&mut bytes, 1 + n);
        bytes.push(0);
        bytes.extend([0x92, 3, 0xff].repeat(n));
        bytes
    };
    assert!(Descriptor::parse(&seqs(TYPES_MAX)).is_ok());
    assert!(Descriptor::parse(&seqs(TYPES_MAX + 1)).is_err());
    let named = |len: usize| {
        let mut bytes = vec![0x92, 0, 0x93, 0];
        put_str(&mut bytes, &"n".repeat(len));
        bytes.push(0x90);
        bytes
    };
    assert!(Descriptor::parse(&named(NAME_MAX)).is_ok());
    assert!(Descriptor::parse(&named(NAME_MAX + 1)).is_err());
}

#[test]
fn a_description_that_is_none_is_refused() {
    for bad in [
        &b""[..],
        b"\x90",
        b"\xc0",
        // A reference to nothing, to what is not there, below the leaves.
        b"\x91\x00",
        b"\x92\x01\x92\x03\xff",
        b"\x91\xeb",
        // Two fields or variants of one name; more fields than the shape has.
        b"\x92\x00\x93\x00\xa1S\x92\x93\xa1a\xff\x00\x93\xa1a\xff\x00",
        b"\x92\x00\x94\x07\xa1E\x90\x92\x93\xa1a\x00\x90\x93\xa1a\x00\x90",
        b"\x92\x00\x94\x07\xa1E\x90\x91\x93\xa1a\x00\x91\x93\xa0\xff\x00",
        // A type, shape and form of enum that is unknown.
        b"\x92\x00\x92\x0b\xff",
        b"\x92\x00\x94\x07\xa1E\x90\x91\x93\xa1a\x04\x90",
        b"\x92\x00\x94\x07\xa1E\x93\xa1a\xa1b\xa1c\x90",
        // Cut short, claiming much, trailing.
        b"\x92\x00\x92\x03",
        b"\xdd\xff\xff\xff\xff\x00",
        b"\x91\xff\xff",
    ] {
        assert!(Descriptor::parse(bad).is_err(), "{bad:x?}");
    }
}

#[test]
fn corrupted_descriptions_do_no_harm() {
    let whole = describe(&zoo());
    let mut value = Vec::new();
    let mut rng = Rng(seed() | 1);
    encode(
        &zoo(),
        &random(&zoo(), &mut rng),
        &mut value,
        &mut Vec::new(),
    );
    let mut parsed = 0;
    for _ in 0..10_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(bytes.len());
            match rng.below(8) {
                0 => bytes.truncate(at + 1),
                1..4 => bytes[at] = rng.next() as u8,
                _ => bytes[at] = rng.below(20) as u8,
            }
        }
        if let Ok(descriptor) = Descriptor::parse(&bytes) {
            parsed += 1;
            descriptor.name(descriptor.inside(descriptor.root()));
            _ = canary(&value, &descriptor);
        }
    }
    assert!(parsed > 300, "only {parsed}");
}

#[test]
fn a_type_that_contains_itself_in_every_way_is_walked_to_an_end() {
    // An option of itself; a struct flattened into itself, twice.
    let option = Descriptor::parse(b"\x92\x00\x92\x06\x00").expect("well formed");
    assert_eq!(canary(&[1], &option), Some(fnv(&[1])));
    let flat = b"\x93\x00\x93\x00\xa1S\x93\x93\xa1a\x00\x08\x93\xa1b\x00\x08\x93\xa1m\x01\x00\x94\x05\xf4\xf4\xc3";
    let flat = Descriptor::parse(flat).expect("well formed");
    assert_eq!(canary(b"\x81\xa1m\x80", &flat), None);
    // A list of lists of itself, with a map on the way, as deep as bytes go.
    let list = Descriptor::parse(b"\x93\x00\x92\x03\x01\x94\x05\xff\x00\xc3").expect("well formed");
    assert_eq!(canary(&[0x91, 0x81, 0xc3].repeat(500), &list), None);
}

fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn canary_of<T: helve_handles::Wire>(value: &T) -> u64 {
    let descriptor = Descriptor::parse(Schema::of::<T>().bytes()).expect("well formed");
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes).expect("encodes");
    canary(&bytes, &descriptor).expect("a value of the type")
}

#[test]
fn a_canary_is_that_of_the_value_whatever_the_order_of_its_maps() {
    // Known answers of FNV-1a 64.
    assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(canary_of(&(1_u8, true)), fnv(&[0x92, 1, 0xc3]));
    // By bytes: 200 is cc c8, behind 7 and before "..".
    let entries = [(200_u64, vec![1_u8, 2]), (7, vec![9]), (70_000, vec![3])];
    let expected =
        fnv(b"\x83\x07\xc4\x01\x09\xcc\xc8\xc4\x02\x01\x02\xce\x00\x01\x11\x70\xc4\x01\x03");
    assert_eq!(canary_of(&HashMap::<_, _>::from(entries.clone())), expected);
    assert_eq!(canary_of(&BTreeMap::from(entries)), expected);
    // By bytes, "b" stands before "aa".
    let words = BTreeSet::from(["aa".to_owned(), "b".to_owned()]);
    assert_eq!(canary_of(&(words, 1_u8)), fnv(b"\x92\x92\xa1b\xa2aa\x01"));
}

#[test]
fn a_canary_takes_every_handle_for_nil() {
    let descriptor = Descriptor::parse(&describe(&zoo())).expect("well formed");
    let mut rng = Rng(seed() | 1);
    for _ in 0..500 {
        let value = random(&zoo(), &mut rng);
        let mut refs = Vec::new();
        let mut bytes = Vec::new();
        encode(&zoo(), &value, &mut bytes, &mut refs);
        let hash = canary(&bytes, &descriptor).expect("of the type");
        // The same value with other places.
        let mut moved = Vec::new();
        helve_handles::patch::renumber(&bytes, &mut moved, |place| place + 300)
            .expect("well formed");
        assert_eq!(canary(&moved, &descriptor), Some(hash));
        let other = random(&zoo(), &mut rng);
        let (mut bytes, mut refs) = (Vec::new(), Vec::new());
        encode(&zoo(), &other, &mut bytes, &mut refs);
        assert_ne!(
            canary(&bytes, &descriptor),
            Some(hash),
            "{value:?} {other:?}"
        );
    }
}

#[test]
fn a_part_is_described_as_its_own_type_would_be() {
    use helve_handles::descriptor::{Ref, Type};
    type Whole = (u8, Vec<(String, Option<u32>)>, Option<(bool, Vec<u8>)>);
    let whole = Descriptor::of::<Whole>().expect("small");
    let Some(Type::Tuple(items)) = whole.get(whole.root()) else {
        panic!("a tuple");
    };
    let same =
        |ty: Ref, schema: std::sync::Arc<Schema>| assert_eq!(whole.optional(ty), schema.bytes());
    same(items[0], Schema::of::<Option<u8>>());
    same(items[1], Schema::of::<Option<Vec<(String, Option<u32>)>>>());
    same(items[2], Schema::of::<Option<(bool, Vec<u8>)>>());
    same(whole.root(), Schema::of::<Option<Whole>>());
}
