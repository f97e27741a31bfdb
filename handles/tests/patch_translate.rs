//! Two versions of a type: those that go together read each other's values and patches alike, the others are told apart
//! before anything goes over.

#[path = "support/model.rs"]
mod model;

use helve_handles::descriptor::Descriptor;
use helve_handles::patch::{PatchError, PatchReader, Translation};
use helve_handles::put::put_array;
use model::{
    Field, Rng, Shape, Ty, Val, apply_with, change, decode, describe, encode, field, list, map,
    opt, random, seed, skipped, zoo,
};

fn descriptor(ty: &Ty) -> Descriptor {
    Descriptor::parse(&describe(ty)).expect("well formed")
}

fn between(theirs: &Ty, ours: &Ty) -> Result<Translation, String> {
    let between = Translation::between(&descriptor(theirs), &descriptor(ours));
    between.map_err(|error| error.to_string())
}

/// Another version of a type, that reads this one and (if not `host`) is read by whoever has the same `ty`.
fn evolve(ty: &Ty, host: bool, rng: &mut Rng) -> Ty {
    let fields = |fields: &[Field], rng: &mut Rng| {
        let mut all: Vec<Field> = Vec::new();
        for old in fields {
            let may_miss = old.skip || matches!(old.ty, Ty::Opt(_));
            if !(may_miss && rng.one_in(4)) {
                let ty = evolve(&old.ty, host, rng);
                all.insert(rng.below(all.len() + 1), Field { ty, ..old.clone() });
            }
        }
        if rng.one_in(3) {
            let new = match (host, rng.below(3)) {
                (true, 0) => field("count", Ty::Int),
                (true, 1) => field("parts", list(map(Ty::Str))),
                (false, 0) => skipped("remark"),
                _ => field("extra", opt(Ty::Tuple(vec![Ty::Int, Ty::Str]))),
            };
            all.insert(rng.below(all.len() + 1), new);
        }
        all
    };
    match ty {
        Ty::Struct(of) => Ty::Struct(fields(of, rng)),
        Ty::Tuple(items) => Ty::Tuple(items.iter().map(|ty| evolve(ty, host, rng)).collect()),
        Ty::Map(value) => map(evolve(value, host, rng)),
        Ty::List(item) => list(evolve(item, host, rng)),
        Ty::Opt(inner) => opt(evolve(inner, host, rng)),
        Ty::Enum(variants) => {
            let mut all: Vec<(&'static str, Shape)> = Vec::new();
            for (name, shape) in variants {
                let shape = match shape {
                    Shape::Unit => Shape::Unit,
                    Shape::Newtype(ty) => Shape::Newtype(evolve(ty, host, rng)),
                    Shape::Tuple(items) => {
                        Shape::Tuple(items.iter().map(|ty| evolve(ty, host, rng)).collect())
                    }
                    Shape::Struct(of) => Shape::Struct(fields(of, rng)),
                };
                all.insert(rng.below(all.len() + 1), (*name, shape));
            }
            if rng.one_in(6) {
                let name = if host { "theirs" } else { "ours" };
                all.insert(rng.below(all.len() + 1), (name, Shape::Newtype(Ty::Int)));
            }
            Ty::Enum(all)
        }
        other => other.clone(),
    }
}

/// What we make of a value of theirs.
fn read(theirs: &Ty, ours: &Ty, value: &Val) -> Result<Val, PatchError> {
    let (mut bytes, mut refs) = (Vec::new(), Vec::new());
    encode(theirs, value, &mut bytes, &mut refs);
    decode(ours, &bytes, &refs)
}

#[test]
fn versions_that_go_together_read_patches_as_they_read_values() {
    let (mut applied, mut unread) = (0, 0);
    for round in 0..2_000 {
        let seed = seed() + round;
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (theirs, ours) = (
            evolve(&zoo(), true, &mut rng),
            evolve(&zoo(), false, &mut rng),
        );
        let table = between(&theirs, &ours).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let mut value = random(&theirs, &mut rng);
        let Ok(mut copy) = read(&theirs, &ours, &value) else {
            assert!(!table.unknown_variants().is_empty(), "seed {seed}");
            continue;
        };
        for _ in 0..10 {
            let (patch, refs) = change(&theirs, &mut value, &mut rng);
            let reader = PatchReader::new(&patch).with_translation(&table);
            let result = apply_with(reader, &ours, &mut copy, &refs);
            let Ok(expected) = read(&theirs, &ours, &value) else {
                // A variant that we do not have, told by the first value that uses it.
                assert!(!table.unknown_variants().is_empty(), "seed {seed}");
                unread += 1;
                break;
            };
            if result.is_err() && !table.unknown_variants().is_empty() {
                // It came and went in one patch.
                break;
            }
            assert_eq!(result, Ok(()), "seed {seed}: {patch:x?}");
            assert_eq!(copy, expected, "seed {seed}: {patch:x?}");
            applied += 1;
        }
    }
    assert!(applied > 5_000 && unread > 50, "{applied} {unread}");
}

#[test]
fn a_type_beside_itself_needs_no_translation() {
    let table = between(&zoo(), &zoo()).expect("the same");
    assert!(table.is_same());
    let reordered = Ty::Struct(vec![field("b", Ty::Int), field("a", Ty::Int)]);
    let table = between(
        &Ty::Struct(vec![field("a", Ty::Int), field("b", Ty::Int)]),
        &reordered,
    );
    assert!(!table.expect("go together").is_same());
}

#[test]
fn what_does_not_go_together_is_told_with_its_place() {
    let s = |name, ty| Ty::Struct(vec![field(name, ty)]);
    let variant = |shape| s("e", Ty::Enum(vec![("V", shape)]));
    let cases = [
        (
            s("cells", map(s("score", Ty::Int))),
            s("cells", map(s("score", Ty::Str))),
            "S.cells[].score: i64 there, str here",
        ),
        (
            s("pair", Ty::Tuple(vec![Ty::Int, opt(list(Ty::Int))])),
            s("pair", Ty::Tuple(vec![Ty::Int, opt(Ty::Bytes)])),
            "S.pair.1: [i64] there, bytes here",
        ),
        (
            s("pair", Ty::Tuple(vec![Ty::Int])),
            s("pair", Ty::Tuple(vec![Ty::Int, Ty::Int])),
            "S.pair: a tuple of 1 there, a tuple of 2 here",
        ),
        (
            s("a", opt(Ty::Int)),
            s("a", Ty::Int),
            "S.a: an option of i64 there, i64 here",
        ),
        (
            s("a", Ty::Counter),
            s("a", Ty::Int),
            "S.a: Counter there, i64 here",
        ),
        (
            s("a", Ty::Int),
            Ty::Struct(vec![field("a", Ty::Int), field("b", Ty::Int)]),
            "S.b: not there, and without a default here",
        ),
        (
            Ty::Struct(vec![skipped("a")]),
            s("a", Ty::Str),
            "S.a: may be left out there, not here: add `skip_serializing_if` and a default",
        ),
        (
            variant(Shape::Unit),
            variant(Shape::Newtype(Ty::Int)),
            "S.e::V: a unit there, one value here",
        ),
        (
            variant(Shape::Tuple(vec![Ty::Int, Ty::Int])),
            variant(Shape::Tuple(vec![Ty::Int])),
            "S.e::V: 2 values there, 1 values here",
        ),
        (
            variant(Shape::Struct(vec![field("x", Ty::Int)])),
            variant(Shape::Struct(vec![field("x", Ty::Str)])),
            "S.e::V.x: i64 there, str here",
        ),
    ];
    for (theirs, ours, why) in cases {
        assert_eq!(between(&theirs, &ours), Err(why.to_owned()));
    }
    let hidden = Ty::Struct(vec![Field {
        view: Some("admin"),
        ..field("a", Ty::Int)
    }]);
    let why = "S.a: may be hidden there, and has no default here";
    assert_eq!(between(&hidden, &s("a", Ty::Int)), Err(why.to_owned()));
}

/// A descriptor whose root is the first of these types.
fn table(types: &[&[u8]]) -> Descriptor {
    let mut bytes = Vec::new();
    put_array(&mut bytes, 1 + types.len());
    bytes.push(0);
    types.iter().for_each(|ty| bytes.extend(*ty));
    Descriptor::parse(&bytes).expect("well formed")
}

fn tables(theirs: &[&[u8]], ours: &[&[u8]]) -> Result<bool, String> {
    let between = Translation::between(&table(theirs), &table(ours));
    between
        .map(|table| table.is_same())
        .map_err(|why| why.to_string())
}

#[test]
fn the_key_of_a_map_may_not_change() {
    let by = |key: u8| [0x94, 5, key, 0xff, 0xc3];
    assert_eq!(tables(&[&by(0xfc)], &[&by(0xfc)]), Ok(true));
    let why = "value[key]: u32 there, str here".to_owned();
    assert_eq!(tables(&[&by(0xfc)], &[&by(0xf4)]), Err(why));
    // Sorted or not is all the same to the wire.
    assert_eq!(
        tables(
            &[&[0x94, 5, 0xfc, 0xff, 0xc3]],
            &[&[0x94, 5, 0xfc, 0xff, 0xc2]]
        ),
        Ok(true)
    );
    // A set of an enum: the same variants in the same order.
    let a_b: &[u8] = b"\x94\x07\xa1E\x90\x92\x93\xa1a\x00\x90\x93\xa1b\x00\x90";
    let b_a: &[u8] = b"\x94\x07\xa1E\x90\x92\x93\xa1b\x00\x90\x93\xa1a\x00\x90";
    let set: &[u8] = &[0x92, 4, 1];
    assert_eq!(tables(&[set, a_b], &[set, a_b]), Ok(true));
    let why = "value[key]: the type of a key differs".to_owned();
    assert_eq!(tables(&[set, a_b], &[set, b_a]), Err(why));
}

#[test]
fn how_an_enum_is_tagged_and_whom_a_handle_names_may_not_change() {
    let tagged = |repr: &[u8]| [b"\x94\x07\xa1E", repr, b"\x91\x93\xa1a\x00\x90"].concat();
    let (external, internal) = (tagged(b"\x90"), tagged(b"\x91\xa1t"));
    assert_eq!(tables(&[&internal], &[&internal]), Ok(true));
    let why = "E: tagged otherwise there than here".to_owned();
    assert_eq!(tables(&[&external], &[&internal]), Err(why));
    assert_eq!(tables(&[b"\x92\x08\xa1A"], &[b"\x92\x08\xa1A"]), Ok(true));
    let why = "value: a handle of A there, a handle of B here".to_owned();
    assert_eq!(tables(&[b"\x92\x08\xa1A"], &[b"\x92\x08\xa1B"]), Err(why));
}

#[test]
fn what_is_flattened_has_to_lie_in_the_same_place() {
    // S { a, #[flatten] b: B { c } }, the B with more fields, and all of it in S itself.
    let flat: &[u8] = b"\x93\x00\xa1S\x92\x93\xa1a\xff\x00\x93\xa1b\x01\x08";
    let b: &[u8] = b"\x93\x00\xa1B\x91\x93\xa1c\xff\x01";
    let longer: &[u8] = b"\x93\x00\xa1B\x92\x93\xa1d\xff\x01\x93\xa1c\xff\x01";
    let plain: &[u8] = b"\x93\x00\xa1S\x92\x93\xa1a\xff\x00\x93\xa1c\xff\x01";
    let only: &[u8] = b"\x93\x00\xa1S\x91\x93\xa1a\xff\x00";
    assert_eq!(tables(&[flat, b], &[flat, b]), Ok(true));
    assert_eq!(tables(&[flat, longer], &[flat, b]), Ok(false));
    assert_eq!(tables(&[flat, b], &[flat, longer]), Ok(false));
    let why = Err("S.c: flattened otherwise there than here".to_owned());
    assert_eq!(tables(&[flat, b], &[plain]), why);
    assert_eq!(tables(&[plain], &[flat, b]), why);
    // With a default for all of it, it may be missing; without, not.
    assert_eq!(tables(&[only], &[flat, b]), Ok(true));
    assert_eq!(tables(&[flat, b], &[only]), Ok(false));
    let required: &[u8] = b"\x93\x00\xa1B\x91\x93\xa1c\xff\x00";
    let why = "S.b: not there, and without a default here".to_owned();
    assert_eq!(tables(&[only], &[flat, required]), Err(why));
    let nested: &[u8] = b"\x93\x00\xa1S\x92\x93\xa1a\xff\x00\x93\xa1b\x01\x00";
    assert_eq!(
        tables(&[flat, b], &[nested, b]),
        Err("S.b: flattened there, not here".to_owned())
    );
}

#[test]
fn types_that_contain_themselves_come_to_an_end() {
    // Node { value, next: Option<Node> } beside Node { next, value, note: Option<..> }, and beside one of 4,000 types.
    let node: &[u8] = b"\x93\x00\xa4Node\x92\x93\xa5value\xf7\x00\x93\xa4next\x01\x00";
    let option: &[u8] = b"\x92\x06\x00";
    let other: &[u8] =
        b"\x93\x00\xa4Node\x93\x93\xa4next\x01\x00\x93\xa5value\xf7\x00\x93\xa4note\x01\x00";
    assert_eq!(tables(&[node, option], &[node, option]), Ok(true));
    assert_eq!(tables(&[node, option], &[other, option]), Ok(false));
    assert_eq!(tables(&[other, option], &[node, option]), Ok(false));
    let mut unrolled: Vec<Vec<u8>> = Vec::new();
    for at in (0..4_000_u16).step_by(2) {
        let [next, after] = [at + 1, (at + 2) % 4_000].map(u16::to_be_bytes);
        let name: &[u8] = b"\x93\x00\xa4Node\x92\x93\xa5value\xf7\x00\x93\xa4next\xcd";
        unrolled.push([name, &next, b"\x00"].concat());
        unrolled.push([b"\x92\x06\xcd", &after[..]].concat());
    }
    let unrolled: Vec<&[u8]> = unrolled.iter().map(|ty| &ty[..]).collect();
    assert_eq!(tables(&unrolled, &[node, option]), Ok(true));
    // The path to what differs far down is cut short.
    let mut broken = unrolled.clone();
    broken[2_001] = &[0x92, 6, 0xff];
    let why = tables(&broken, &[node, option]).expect_err("differs");
    let path = format!("..{}: bool there, struct Node here", ".next".repeat(8));
    assert!(why.ends_with(&path), "{why}");
}

#[test]
fn corrupted_descriptions_are_translated_or_refused() {
    let whole = describe(&zoo());
    let ours = descriptor(&zoo());
    let mut rng = Rng(seed() | 1);
    let (mut refused, mut agreed) = (0, 0);
    for _ in 0..6_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] = match rng.below(2) {
                0 => rng.next() as u8,
                _ => rng.below(20) as u8,
            };
        }
        let Ok(theirs) = Descriptor::parse(&bytes) else {
            continue;
        };
        match Translation::between(&theirs, &ours) {
            Err(_) => refused += 1,
            Ok(table) => {
                agreed += 1;
                let mut value = random(&zoo(), &mut rng);
                let mut copy = value.clone();
                let (patch, refs) = change(&zoo(), &mut value, &mut rng);
                let reader = PatchReader::new(&patch).with_translation(&table);
                _ = apply_with(reader, &zoo(), &mut copy, &refs);
            }
        }
    }
    assert!(refused > 300 && agreed > 30, "{refused} {agreed}");
}
