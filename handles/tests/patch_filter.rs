//! Parts and views of a shared value: that what they show follows the whole, and that nothing hidden is in it.

#[path = "support/model.rs"]
mod model;

use std::sync::Arc;

use helve_handles::Reference;
use helve_handles::descriptor::Descriptor;
use helve_handles::patch::{FocusError, PatchError, Path, View};
use helve_handles::put::{put_array, put_str, put_uint};
use model::{
    Rng, Ty, Val, apply, change, decode, describe, encode, hide, map, opt, random, seed, zoo,
};

fn descriptor(ty: &Ty) -> Arc<Descriptor> {
    Arc::new(Descriptor::parse(&describe(ty)).expect("well formed"))
}

fn encoded(ty: &Ty, value: &Val) -> (Vec<u8>, Vec<Reference>) {
    let (mut bytes, mut refs) = (Vec::new(), Vec::new());
    encode(ty, value, &mut bytes, &mut refs);
    (bytes, refs)
}

/// Some steps into a type, as they are on the wire and as the model takes them.
fn way(ty: &Ty, rng: &mut Rng) -> (Vec<u8>, Vec<u64>, Ty) {
    let (mut steps, mut places, mut ty) = (Vec::new(), Vec::new(), ty.clone());
    loop {
        if let Ty::Opt(inner) = ty {
            ty = *inner;
        }
        let stop = rng.one_in(4);
        match &ty {
            Ty::Struct(fields) if !stop => {
                let at = rng.below(fields.len());
                put_str(&mut steps, fields[at].name);
                places.push(at as u64);
                ty = fields[at].ty.clone();
            }
            Ty::Tuple(items) if !stop => {
                let at = rng.below(items.len());
                put_uint(&mut steps, at as u64);
                places.push(at as u64);
                ty = items[at].clone();
            }
            Ty::Map(value) if !stop => {
                let key = [0, 1, 7, 200, 70_000][rng.below(5)];
                put_uint(&mut steps, key);
                places.push(key);
                ty = (**value).clone();
            }
            _ => break,
        }
    }
    let mut path = Vec::new();
    put_array(&mut path, places.len());
    path.extend(steps);
    (path, places, ty)
}

/// What is at the end of a way.
fn at(ty: &Ty, value: &Val, places: &[u64]) -> Option<Val> {
    match (ty, value, places) {
        (Ty::Opt(ty), Val::Opt(value), _) => at(ty, value.as_deref()?, places),
        (_, value, []) => Some(value.clone()),
        (Ty::Struct(fields), Val::All(values), [place, rest @ ..]) => {
            let (field, value) = (&fields[*place as usize], &values[*place as usize]);
            let left_out = field.skip && *value == Val::Str(String::new());
            (!left_out).then(|| at(&field.ty, value, rest))?
        }
        (Ty::Tuple(items), Val::All(values), [place, rest @ ..]) => {
            at(&items[*place as usize], &values[*place as usize], rest)
        }
        (Ty::Map(ty), Val::Map(entries), [key, rest @ ..]) => at(ty, entries.get(key)?, rest),
        _ => panic!("no such place"),
    }
}

#[test]
fn a_part_follows_the_patches_of_the_whole() {
    let ty = zoo();
    let descriptor = descriptor(&ty);
    let (mut followed, mut vanished) = (0, 0);
    for round in 0..8_000 {
        let seed = seed() + round;
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (steps, places, part) = way(&ty, &mut rng);
        let path = Path::resolve(&descriptor, &steps).expect("there is such a part");
        let part = opt(part);
        let of = |value: &Val| Val::Opt(at(&ty, value, &places).map(Box::new));
        let mut value = random(&ty, &mut rng);
        let (bytes, refs) = encoded(&ty, &value);
        let (bytes, refs) = path.value(&bytes, &refs).expect("it is of the type");
        let mut copy = decode(&part, &bytes, &refs).expect("it is of the part's type");
        assert_eq!(copy, of(&value), "seed {seed}");
        for _ in 0..4 {
            let (patch, refs) = change(&ty, &mut value, &mut rng);
            if let Some((node, refs)) = path.patch(&patch, &refs).expect("it is of the type") {
                let applied = apply(&part, &mut copy, &node, &refs);
                assert_eq!(applied, Ok(()), "seed {seed}: {patch:x?} at {steps:x?}");
                followed += 1;
                vanished += usize::from(copy == Val::Opt(None));
            }
            assert_eq!(copy, of(&value), "seed {seed}: {patch:x?} at {steps:x?}");
        }
    }
    assert!(followed > 3_000 && vanished > 300, "{followed} {vanished}");
}

#[test]
fn a_patch_of_a_part_becomes_one_of_the_whole() {
    let ty = zoo();
    let descriptor = descriptor(&ty);
    let mut rng = Rng(seed() | 1);
    let mut made = 0;
    for _ in 0..5_000 {
        let (steps, places, part) = way(&ty, &mut rng);
        let path = Path::resolve(&descriptor, &steps).expect("there is such a part");
        let mut value = random(&ty, &mut rng);
        let Some(mut copy) = at(&ty, &value, &places) else {
            continue;
        };
        let (node, refs) = change(&part, &mut copy, &mut rng);
        let whole = path.whole(&descriptor, &node);
        assert_eq!(apply(&ty, &mut value, &whole, &refs), Ok(()), "{whole:x?}");
        let there = at(&ty, &value, &places);
        // A field that is left out where it is empty.
        assert!(there.is_none() || there == Some(copy), "{whole:x?}");
        made += 1;
    }
    assert!(made > 1_000);
    // An entry is removed by setting it to nothing.
    let ty = map(Ty::Int);
    let descriptor = self::descriptor(&ty);
    let path = Path::resolve(&descriptor, &[0x91, 7]).expect("any key");
    assert_eq!(
        path.whole(&descriptor, &[0x92, 0, 0xc0]),
        [0x93, 2, 7, 0xc0]
    );
    assert_eq!(
        path.whole(&descriptor, &[0x92, 0, 1]),
        [0x93, 2, 7, 0x92, 0, 1]
    );
}

#[test]
fn golden_filtered_nodes() {
    // cells[7] of the zoo.
    let path = Path::resolve(&descriptor(&zoo()), b"\x92\xa5cells\x07").expect("there is");
    let of = |node: &[u8]| {
        path.patch(node, &[])
            .expect("well formed")
            .map(|(node, _)| node)
    };
    // A change inside.
    let patch = [0x93, 1, 3, 0x93, 2, 7, 0x93, 1, 2, 0x92, 0, 5];
    assert_eq!(of(&patch), Some(vec![0x93, 1, 2, 0x92, 0, 5]));
    // Of another entry, of another field, of nothing.
    assert_eq!(of(&[0x93, 1, 3, 0x93, 2, 8, 0xc0]), None);
    assert_eq!(of(&[0x93, 1, 2, 0x92, 3, 1]), None);
    assert_eq!(of(&[0x91, 1]), None);
    // Removed; the map replaced, without and with it.
    assert_eq!(
        of(&[0x93, 1, 3, 0x93, 2, 7, 0xc0]),
        Some(vec![0x92, 0, 0xc0])
    );
    assert_eq!(of(&[0x93, 1, 3, 0x92, 0, 0x80]), Some(vec![0x92, 0, 0xc0]));
    assert_eq!(
        of(&[0x93, 1, 3, 0x92, 0, 0x82, 1, 1, 7, 9]),
        Some(vec![0x92, 0, 9])
    );
    // Not of the type.
    let shape = path.patch(&[0x93, 1, 3, 0x92, 4, 0x92, 7, 0], &[]);
    assert_eq!(shape.map(drop), Err(PatchError::Shape));
}

#[test]
fn steps_that_lead_nowhere_are_told() {
    let descriptor = descriptor(&zoo());
    let resolve = |steps: &[u8]| Path::resolve(&descriptor, steps);
    assert_eq!(resolve(b"\x91\xa4none"), Err(FocusError::NoSuchPlace(0)));
    assert_eq!(
        resolve(b"\x92\xa4rows\x00"),
        Err(FocusError::NoSuchPlace(1))
    );
    assert_eq!(
        resolve(b"\x92\xa5title\x00"),
        Err(FocusError::NoSuchPlace(1))
    );
    assert_eq!(
        resolve(b"\x92\xa4pair\x02"),
        Err(FocusError::NoSuchPlace(1))
    );
    assert_eq!(resolve(b"\x91"), Err(FocusError::Malformed));
    assert_eq!(resolve(b"\xc0"), Err(FocusError::Malformed));
    assert_eq!(resolve(b"\x90\xc0"), Err(FocusError::Malformed));
    let mut deep = vec![0xdc, 0, 65];
    deep.extend([0; 65]);
    assert_eq!(resolve(&deep), Err(FocusError::TooDeep));
    // The views that are needed on the way.
    let path = resolve(b"\x92\xa5maybe\xa4memo").expect("there is");
    assert_eq!(path.views(), ["admin", "staff"]);
}

#[test]
fn a_view_follows_the_patches_and_shows_nothing_else() {
    let ty = zoo();
    let descriptor = descriptor(&ty);
    for held in [&[][..], &["admin"], &["staff"], &["admin", "staff"]] {
        let view = View::new(descriptor.clone(), held.iter().copied()).expect("supported");
        let root = descriptor.root();
        assert_eq!(view.hides(root), held.len() < 2);
        let (mut seen, mut unseen) = (0, 0);
        for round in 0..2_500 {
            let seed = seed() + round;
            let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let mut value = random(&ty, &mut rng);
            let (bytes, refs) = encoded(&ty, &value);
            let (bytes, refs) = view.value(root, &bytes, &refs).expect("it is of the type");
            let mut copy = decode(&ty, &bytes, &refs).expect("it is of the type");
            assert_eq!(copy, hide(&ty, &value, held), "seed {seed}");
            for _ in 0..4 {
                let (patch, refs) = change(&ty, &mut value, &mut rng);
                let shown = view.patch(root, &patch, &refs);
                match shown.unwrap_or_else(|error| panic!("seed {seed}: {error} in {patch:x?}")) {
                    Some((node, refs)) => {
                        let applied = apply(&ty, &mut copy, &node, &refs);
                        assert_eq!(applied, Ok(()), "seed {seed}: {patch:x?} {node:x?}");
                        seen += 1;
                    }
                    None => unseen += 1,
                }
                assert_eq!(copy, hide(&ty, &value, held), "seed {seed}: {patch:x?}");
            }
            // The names of hidden fields are in no byte of it.
            let (bytes, refs) = encoded(&ty, &value);
            let (bytes, refs) = view.value(root, &bytes, &refs).expect("it is of the type");
            if !held.contains(&"staff") {
                assert!(!bytes.windows(4).any(|name| name == b"memo"), "seed {seed}");
            }
            if held.is_empty() {
                // Those of cells are hidden, those of peers are not.
                let Val::All(fields) = &value else { panic!() };
                let Val::List(peers) = &fields[9] else {
                    panic!()
                };
                assert_eq!(refs.len(), peers.len(), "seed {seed}");
            }
        }
        let expected = seen > 5_000 && (unseen > 20 || held.len() == 2);
        assert!(expected, "{held:?}: {seen} {unseen}");
    }
}

#[test]
fn a_part_is_shown_to_whoever_holds_all_views_on_the_way() {
    let descriptor = descriptor(&zoo());
    let path = Path::resolve(&descriptor, b"\x92\xa5maybe\xa4memo").expect("there is");
    let shows = |held: &[&str]| {
        let view = View::new(descriptor.clone(), held.iter().copied()).expect("supported");
        view.shows(path.views())
    };
    assert!(!shows(&[]) && !shows(&["admin"]) && !shows(&["staff"]));
    assert!(shows(&["admin", "staff"]));
}

/// A struct with fields of these names, types and flags, in a table with more types.
fn table(types: &[&[u8]]) -> Arc<Descriptor> {
    let mut bytes = Vec::new();
    put_array(&mut bytes, 1 + types.len());
    bytes.push(0);
    types.iter().for_each(|ty| bytes.extend(*ty));
    Arc::new(Descriptor::parse(&bytes).expect("well formed"))
}

#[test]
fn flattened_and_tagged_fields_are_hidden_by_their_names() {
    // struct { a: i64, #[flatten] b: { c: i64, #[view = "v"] d: Option<i64> }, #[flatten] #[view = "v"] e: { f: i64 } }
    let types: [&[u8]; 4] = [
        b"\x93\x00\xa1S\x93\x93\xa1a\xf7\x00\x93\xa1b\x01\x08\x94\xa1e\x03\x08\xa1v",
        b"\x93\x00\xa1B\x92\x93\xa1c\xf7\x00\x94\xa1d\x02\x01\xa1v",
        b"\x92\x06\xf7",
        b"\x93\x00\xa1E\x91\x93\xa1f\xf7\x00",
    ];
    let descriptor = table(&types);
    let view = View::new(descriptor.clone(), []).expect("supported");
    let of = |value: &[u8]| {
        view.value(descriptor.root(), value, &[])
            .map(|(bytes, _)| bytes)
    };
    let value = b"\x84\xa1a\x01\xa1c\x02\xa1d\x03\xa1f\x04";
    assert_eq!(of(value), Ok(b"\x82\xa1a\x01\xa1c\x02".to_vec()));
    let patch = |node: &[u8]| {
        let seen = view.patch(descriptor.root(), node, &[]);
        seen.expect("well formed").map(|(node, _)| node)
    };
    let both = [0x93, 1, 1, 0x95, 1, 0, 0x92, 0, 5, 1, 0x92, 0, 6];
    assert_eq!(patch(&both), Some(vec![0x93, 1, 1, 0x93, 1, 0, 0x92, 0, 5]));
    assert_eq!(patch(&[0x93, 1, 1, 0x93, 1, 1, 0xc0]), None);
    assert_eq!(patch(&[0x93, 1, 2, 0x93, 1, 0, 0x92, 0, 5]), None);
    // A part of what is flattened.
    let path = Path::resolve(&descriptor, b"\x91\xa1d").expect("there is");
    assert_eq!(path.views(), ["v"]);
    assert_eq!(path.value(value, &[]).map(|(bytes, _)| bytes), Ok(vec![3]));
    let node = path
        .patch(&both, &[])
        .expect("well formed")
        .map(|(node, _)| node);
    assert_eq!(node, Some(vec![0x92, 0, 6]));

    // enum { A { x: i64, #[view = "v"] y: Option<i64> }, B(S) }, tagged in each way.
    let payload: [&[u8]; 3] = [
        b"\x93\x00\xa1S\x91\x94\xa1z\x02\x01\xa1v",
        b"\x92\x06\xf7",
        b"\x92\x06\x00",
    ];
    let tagged = |repr: &[u8]| {
        let variants = b"\x92\x93\xa1A\x03\x92\x93\xa1x\xf7\x00\x94\xa1y\x02\x01\xa1v\x93\xa1B\x01\x91\x93\xa0\x01\x00";
        let ty = [b"\x94\x07\xa1E", repr, variants].concat();
        table(&[&ty, payload[0], payload[1], payload[2]])
    };
    type Values<'a> = [&'a [u8]; 2];
    let cases: [(&[u8], Values<'_>, Values<'_>); 3] = [
        (
            b"\x90",
            [
                b"\x81\xa1A\x82\xa1x\x01\xa1y\x02",
                b"\x81\xa1B\x81\xa1z\x03",
            ],
            [b"\x81\xa1A\x81\xa1x\x01", b"\x81\xa1B\x80"],
        ),
        (
            b"\x91\xa1t",
            [
                b"\x83\xa1t\xa1A\xa1x\x01\xa1y\x02",
                b"\x82\xa1t\xa1B\xa1z\x03",
            ],
            [b"\x82\xa1t\xa1A\xa1x\x01", b"\x81\xa1t\xa1B"],
        ),
        (
            b"\x92\xa1t\xa1c",
            [
                b"\x82\xa1t\xa1A\xa1c\x82\xa1x\x01\xa1y\x02",
                b"\x82\xa1t\xa1B\xa1c\x81\xa1z\x03",
            ],
            [
                b"\x82\xa1t\xa1A\xa1c\x81\xa1x\x01",
                b"\x82\xa1t\xa1B\xa1c\x80",
            ],
        ),
    ];
    for (repr, whole, seen) in cases {
        let descriptor = tagged(repr);
        let view = View::new(descriptor.clone(), []).expect("supported");
        for (whole, seen) in whole.iter().zip(seen) {
            let value = view
                .value(descriptor.root(), whole, &[])
                .map(|(bytes, _)| bytes);
            assert_eq!(value, Ok(seen.to_vec()), "{repr:x?}");
        }
        let node = view.patch(descriptor.root(), &[0x94, 6, 0, 1, 0xc0], &[]);
        assert!(matches!(node, Ok(None)), "{repr:x?}");
        let node = view.patch(descriptor.root(), &[0x94, 6, 1, 0, 0x93, 1, 0, 0xc0], &[]);
        assert!(matches!(node, Ok(None)), "{repr:x?}");
    }
    // Where nothing tells which variant it is, nothing can be hidden.
    let error = View::new(tagged(b"\x91\xc0"), []).expect_err("untagged");
    assert!(error.to_string().starts_with("enum E:"), "{error}");
    assert!(View::new(tagged(b"\x91\xc0"), ["v"]).is_ok());
}

#[test]
fn corrupted_values_patches_and_paths_do_no_harm() {
    let ty = zoo();
    let descriptor = descriptor(&ty);
    let view = View::new(descriptor.clone(), []).expect("supported");
    let mut rng = Rng(seed() | 1);
    let mut value = random(&ty, &mut rng);
    let spoil = |bytes: &mut Vec<u8>, rng: &mut Rng| {
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = rng.next() as u8,
                1 => bytes[at] ^= 1 << rng.below(8),
                _ => bytes.truncate(at + 1),
            }
        }
    };
    let mut fit = 0;
    for _ in 0..15_000 {
        let (mut steps, ..) = way(&ty, &mut rng);
        let path = Path::resolve(&descriptor, &steps).expect("there is such a part");
        let (mut patch, refs) = change(&ty, &mut value, &mut rng);
        spoil(&mut patch, &mut rng);
        _ = path.patch(&patch, &refs);
        fit += usize::from(view.patch(descriptor.root(), &patch, &refs).is_ok());
        let (mut bytes, refs) = encoded(&ty, &value);
        spoil(&mut bytes, &mut rng);
        _ = path.value(&bytes, &refs);
        fit += usize::from(view.value(descriptor.root(), &bytes, &refs).is_ok());
        spoil(&mut steps, &mut rng);
        _ = Path::resolve(&descriptor, &steps);
    }
    assert!(fit > 500, "only {fit} could be read still");
}
