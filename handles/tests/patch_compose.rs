//! Several patches as one: the law, what merges with what, and bytes that are no patch.

#[path = "support/model.rs"]
mod model;

use helve_handles::Reference;
use helve_handles::patch::compose;
use helve_handles::put::{put_array, put_cap, put_str, put_uint};
use model::{Rng, Ty, apply, change, list, map, random, seed, zoo};

type Patch = (Vec<u8>, Vec<Reference>);

fn composed(patches: &[Patch]) -> Option<Patch> {
    let patches: Vec<_> = patches.iter().map(|(p, r)| (&p[..], &r[..])).collect();
    compose(&patches)
}

/// Of patches without references.
fn of(patches: &[&[u8]]) -> Option<Vec<u8>> {
    let patches: Vec<(&[u8], &[Reference])> = patches.iter().map(|p| (*p, &[][..])).collect();
    compose(&patches).map(|(patch, _)| patch)
}

/// Composes random sequences of patches and holds the result against their sequence.
fn hold(ty: &Ty, rounds: u64) {
    for round in 0..rounds {
        let seed = seed() + round;
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let old = random(ty, &mut rng);
        let mut new = old.clone();
        let len = 2 + rng.below(4);
        let patches: Vec<Patch> = (0..len).map(|_| change(ty, &mut new, &mut rng)).collect();
        let (all, refs) = composed(&patches).expect("well formed");
        let mut value = old.clone();
        let applied = apply(ty, &mut value, &all, &refs);
        assert_eq!(applied, Ok(()), "seed {seed}: {patches:x?} gave {all:x?}");
        assert_eq!(value, new, "seed {seed}: {patches:x?} gave {all:x?}");
        let most: usize = patches.iter().map(|(patch, _)| 4 + patch.len()).sum();
        assert!(all.len() <= most, "seed {seed}: longer than its parts");
        // In any grouping.
        let (front, back) = patches.split_at(1 + rng.below(len - 1));
        let halves = [composed(front), composed(back)].map(|half| half.expect("well formed"));
        let (all, refs) = composed(&halves).expect("well formed");
        let mut value = old;
        assert_eq!(apply(ty, &mut value, &all, &refs), Ok(()), "seed {seed}");
        assert_eq!(value, new, "seed {seed}");
    }
}

#[test]
fn a_composition_does_what_the_sequence_does() {
    hold(&zoo(), 15_000);
}

#[test]
fn a_composition_of_lists_and_maps_does_what_the_sequence_does() {
    hold(&list(list(Ty::Counter)), 20_000);
    hold(&map(map(Ty::Str)), 20_000);
}

#[test]
fn writes_to_the_same_places_cost_what_the_places_cost() {
    let write = |key: u64, text: &str| {
        let mut patch = vec![0x93, 1, 2, 0x93, 2];
        put_uint(&mut patch, key);
        patch.extend([0x93, 1, 0, 0x92, 0]);
        put_str(&mut patch, text);
        patch
    };
    let many = |keys: u64| -> Vec<Vec<u8>> {
        (0..600)
            .map(|n| write(n % keys, &format!("row {n:03}")))
            .collect()
    };
    let sixty = many(60);
    let borrowed: Vec<&[u8]> = sixty.iter().map(|patch| &patch[..]).collect();
    let length: usize = sixty.iter().map(Vec::len).sum();
    let all = of(&borrowed).expect("well formed");
    assert!(
        length > 10_000 && all.len() < 910,
        "{length} to {}",
        all.len()
    );

    let one = many(1);
    let borrowed: Vec<&[u8]> = one.iter().map(|patch| &patch[..]).collect();
    assert_eq!(of(&borrowed), Some(write(0, "row 599")));
}

#[test]
fn edits_of_rows_in_turn_merge_row_by_row() {
    let edit = |n: u64| {
        let mut patch = vec![0x92, 4, 0x93, 0];
        put_uint(&mut patch, n % 60);
        patch.extend([0x93, 1, 1, 0x92, 0]);
        put_uint(&mut patch, n);
        patch
    };
    let rows: Vec<Vec<u8>> = (0..600).map(edit).collect();
    let borrowed: Vec<&[u8]> = rows.iter().map(|patch| &patch[..]).collect();
    let length: usize = rows.iter().map(Vec::len).sum();
    let all = of(&borrowed).expect("well formed");
    assert!(
        length > 6_000 && all.len() < 700,
        "{length} to {}",
        all.len()
    );
}

#[test]
fn what_merges_with_what() {
    let cases: [(&[&[u8]], &[u8]); 12] = [
        // Set wins.
        (&[&[0x92, 0, 1], &[0x92, 0, 2]], &[0x92, 0, 2]),
        // Additions wrap.
        (&[&[0x92, 3, 5], &[0x92, 3, 0xfe]], &[0x92, 3, 3]),
        // A change of what was set.
        (
            &[&[0x92, 0, 5], &[0x92, 3, 0xfe]],
            &[0x93, 7, 0x92, 0, 5, 0x92, 3, 0xfe],
        ),
        (
            &[&[0x93, 7, 0x92, 0, 5, 0x92, 3, 1], &[0x92, 3, 1]],
            &[0x93, 7, 0x92, 0, 5, 0x92, 3, 2],
        ),
        (
            &[&[0x93, 7, 0x92, 0, 5, 0x92, 3, 1], &[0x92, 0, 1]],
            &[0x92, 0, 1],
        ),
        // Appends, and a removed key.
        (
            &[&[0x92, 4, 0x92, 2, 1], &[0x92, 4, 0x93, 2, 2, 3]],
            &[0x92, 4, 0x94, 2, 1, 2, 3],
        ),
        (
            &[&[0x93, 2, 1, 0x92, 0, 1], &[0x93, 2, 1, 0xc0]],
            &[0x93, 2, 1, 0xc0],
        ),
        // One variant, and two.
        (
            &[&[0x94, 6, 1, 0, 0x92, 0, 1], &[0x94, 6, 1, 1, 0x92, 0, 2]],
            &[0x96, 6, 1, 0, 0x92, 0, 1, 1, 0x92, 0, 2],
        ),
        (
            &[&[0x92, 6, 1], &[0x92, 6, 2]],
            &[0x93, 7, 0x92, 6, 1, 0x92, 6, 2],
        ),
        // A Then does not nest.
        (
            &[&[0x92, 0, 1], &[0x92, 3, 1], &[0x92, 6, 1]],
            &[0x94, 7, 0x92, 0, 1, 0x92, 3, 1, 0x92, 6, 1],
        ),
        // Nothing.
        (&[&[0x91, 1], &[0x92, 3, 1], &[0x91, 1]], &[0x92, 3, 1]),
        (&[], &[0x91, 1]),
    ];
    for (patches, all) in cases {
        assert_eq!(of(patches), Some(all.to_vec()), "{patches:x?}");
    }
}

#[test]
fn references_vanish_with_their_values_and_the_others_move_up() {
    // R15: the value holds the places alone.
    let put = |key: u64, place: u16| {
        let mut patch = vec![0x93, 2];
        put_uint(&mut patch, key);
        patch.extend([0x92, 0]);
        put_cap(&mut patch, place);
        patch
    };
    let named = |id: u64| vec![Reference::new(id)];
    let patches = [
        (put(1, 0), named(10)),
        (put(2, 0), named(20)),
        (put(3, 0), named(30)),
        (put(1, 0), named(11)),
        (vec![0x93, 2, 2, 0xc0], Vec::new()),
    ];
    let (all, refs) = composed(&patches).expect("well formed");
    let ids: Vec<u64> = refs.iter().filter_map(|r| r.get().copied()).collect();
    assert_eq!(ids, [11, 30]);
    let mut expected = vec![0x97, 2, 1, 0x92, 0];
    put_cap(&mut expected, 0);
    expected.extend([2, 0xc0, 3, 0x92, 0]);
    put_cap(&mut expected, 1);
    assert_eq!(all, expected);
    // A place that its patch has no reference for.
    assert!(composed(&[(put(1, 0), named(10)), (put(2, 1), named(20))]).is_none());
    assert!(composed(&[(put(1, 0), named(10)), (put(2, 0), Vec::new())]).is_none());
}

#[test]
fn a_composition_with_more_than_4096_references_is_not_made() {
    let append = |n: usize| {
        let mut patch = vec![0x92, 4];
        put_array(&mut patch, 1 + n);
        patch.push(2);
        (0..n).for_each(|place| put_cap(&mut patch, place as u16));
        (patch, (0..n as u64).map(Reference::new).collect::<Vec<_>>())
    };
    let (_, refs) = composed(&[append(4000), append(96)]).expect("just enough");
    assert_eq!(refs.len(), 4096);
    assert!(composed(&[append(4000), append(97)]).is_none());
}

#[test]
fn nodes_nested_deeper_than_64_are_given_up() {
    let nested = |levels: usize, inside: &[u8]| {
        let mut patch = [0x93, 1, 0].repeat(levels);
        patch.extend(inside);
        patch
    };
    assert!(of(&[&nested(63, &[0x92, 0, 1])]).is_some());
    assert!(of(&[&nested(64, &[0x92, 0, 1])]).is_none());
    // A Then is one more.
    let (set, add) = (nested(63, &[0x92, 0, 1]), nested(63, &[0x92, 3, 1]));
    assert!(of(&[&add, &set]).is_some());
    assert!(of(&[&set, &add]).is_none());
    assert!(of(&[&[0x92, 7].repeat(10_000)]).is_none());
}

#[test]
fn bytes_that_are_no_patch_are_refused() {
    for bad in [
        &[][..],
        &[0xc0],
        &[0x90],
        &[0x91, 0],
        &[0x92, 1, 0],
        &[0x91, 4, 1],
        &[0x91, 7],
        &[0x92, 7, 0xc0],
        &[0x92, 8, 1],
        &[0x92, 4, 0x92, 6, 1],
        &[0x92, 4, 0x92, 0, 1],
        &[0x94, 5, 0, 0, 1],
        &[0x92, 3, 0xa0],
        &[0x92, 0, 1, 1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff, 1],
        &[0x93, 2, 0xd4, 1, 0, 0xc0],
    ] {
        assert_eq!(of(&[bad]), None, "{bad:x?}");
        assert_eq!(of(&[&[0x91, 1], bad]), None, "{bad:x?}");
    }
}

#[test]
fn corrupted_patches_do_no_harm() {
    let (ty, mut rng) = (zoo(), Rng(seed() | 1));
    let mut value = random(&ty, &mut rng);
    let mut made = 0;
    for _ in 0..60_000 {
        let (mut patch, refs) = change(&ty, &mut value, &mut rng);
        let other = change(&ty, &mut value, &mut rng);
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(patch.len());
            match rng.below(3) {
                0 => patch[at] = rng.next() as u8,
                1 => patch[at] ^= 1 << rng.below(8),
                _ => patch.truncate(at + 1),
            }
        }
        if let Some((all, refs)) = composed(&[(patch, refs), other]) {
            made += 1;
            _ = apply(&ty, &mut value.clone(), &all, &refs);
        }
    }
    assert!(made > 1000, "only {made} were patches still");
}
