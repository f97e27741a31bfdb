//! The standard library's maps and sets in tracked values: what differs is told key by key, and taken back exactly.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, DefaultHasher};

use helve_handles::patch::PatchError;
use helve_handles::track::{Map, Track, apply};
use support::cells::{Cell, cell, poke};
use support::sticky::Sticky;
use support::{Rng, change, flush, follow};

type Hashed = BuildHasherDefault<DefaultHasher>;

/// Random edits of one value with so many maps and sets in it, two transactions a seed: told and applied, or taken back.
fn transactions<T: Track + Debug>(
    containers: usize,
    seeds: u64,
    start: impl Fn(&mut Rng) -> T,
    edit: impl Fn(&mut T, &mut Rng),
) {
    let (mut told, mut quiet) = (0, 0);
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let mut ours = start(rng);
        let mut replica = ours.clone();
        for _ in 0..2 {
            let before = ours.clone();
            let shadow = ours.shadow();
            for _ in 0..rng.below(6) {
                edit(&mut ours, rng);
            }
            if rng.one_in(4) {
                assert!(ours.undo(shadow), "seed {seed}");
                assert!(ours.same(&before), "seed {seed}");
                continue;
            }
            let whole = rmp_serde::to_vec_named(&ours).expect("encodes").len();
            match flush(&mut ours, &shadow) {
                Some((patch, _)) => {
                    // Each prefers single changes to a Set that would be a little shorter.
                    assert!(patch.len() <= 2 + whole + 16 * containers, "seed {seed}");
                    follow(&mut replica, &patch, rng);
                    told += 1;
                }
                None => {
                    assert!(ours.same(&before), "seed {seed}");
                    quiet += 1;
                }
            }
            assert!(replica.same(&ours), "seed {seed}: {replica:?} not {ours:?}");
        }
    }
    assert!(told > seeds / 2 && quiet > seeds / 20, "{told} {quiet}");
}

macro_rules! edit_map {
    ($map:ident, $rng:ident) => {{
        let key = $rng.below(10) as u16;
        match $rng.below(6) {
            0 | 1 => _ = $map.insert(key, cell($rng)),
            2 => _ = $map.remove(&key),
            3 if $rng.one_in(4) => $map.clear(),
            4 => {
                let what = $rng.next();
                $map.values_mut().for_each(|cell| poke(cell, what));
            }
            _ => {
                let what = $rng.next();
                $map.get_mut(&key)
                    .into_iter()
                    .for_each(|cell| poke(cell, what));
            }
        }
    }};
}

#[test]
fn random_edits_of_a_btree_map_are_told_and_taken_back() {
    let start = |rng: &mut Rng| {
        (0..rng.below(8))
            .map(|key| (key as u16, cell(rng)))
            .collect()
    };
    let edit = |map: &mut BTreeMap<u16, Cell>, rng: &mut Rng| edit_map!(map, rng);
    transactions(1, 6_000, start, edit);
}

#[test]
fn random_edits_of_a_hash_map_are_told_and_taken_back() {
    let start = |rng: &mut Rng| {
        (0..rng.below(8))
            .map(|key| (key as u16, cell(rng)))
            .collect()
    };
    let edit = |map: &mut HashMap<u16, Cell, Hashed>, rng: &mut Rng| edit_map!(map, rng);
    transactions(1, 6_000, start, edit);
}

macro_rules! edit_set {
    ($set:ident, $rng:ident) => {{
        let item = ($rng.below(10) as u8, 'x');
        match $rng.below(5) {
            0..=2 => _ = $set.insert(item),
            3 if $rng.one_in(4) => $set.clear(),
            _ => _ = $set.remove(&item),
        }
    }};
}

#[test]
fn random_edits_of_sets_are_told_and_taken_back() {
    type Sets = (BTreeSet<(u8, char)>, HashSet<(u8, char), Hashed>);
    let start = |rng: &mut Rng| {
        let mut sets = Sets::default();
        for n in 0..rng.below(8) as u8 {
            sets.0.insert((n, 'x'));
            sets.1.insert((n, 'x'));
        }
        sets
    };
    let edit = |(ordered, hashed): &mut Sets, rng: &mut Rng| match rng.one_in(2) {
        true => edit_set!(ordered, rng),
        false => edit_set!(hashed, rng),
    };
    transactions(2, 6_000, start, edit);
}

#[test]
fn each_key_is_one_entry_with_what_changed_inside() {
    let map = BTreeMap::from([(1_u8, (1_u8, "stays".to_owned())), (2, (2, String::new()))]);
    let patch = change(&map, |map| {
        map.get_mut(&1).expect("is there").0 = 9;
        map.remove(&2);
        map.insert(3, (3, String::new()));
    });
    let expected = [
        0x97, 2, 1, 0x93, 1, 0, 0x92, 0, 9, 2, 0xc0, 3, 0x92, 0, 0x92, 3, 0xa0,
    ];
    assert_eq!(patch, Some(expected.to_vec()));
    // The same of a map without an order.
    let hashed: HashMap<u8, (u8, String)> = map.into_iter().collect();
    let patch = change(&hashed, |map| {
        map.get_mut(&1).expect("is there").0 = 9;
        map.remove(&2);
        map.insert(3, (3, String::new()));
    });
    assert_eq!(patch, Some(expected.to_vec()));
}

#[test]
fn floats_are_compared_by_their_bits_in_maps_too() {
    let map = BTreeMap::from([(1_u8, f64::NAN), (2, 0.0)]);
    assert_eq!(change(&map, |map| _ = map.insert(1, f64::NAN)), None);
    let patch = change(&map, |map| _ = map.insert(2, -0.0)).expect("changed");
    assert_eq!(patch[..5], [0x93, 2, 2, 0x92, 0]);
    let hashed: HashMap<u8, f32> = HashMap::from([(1, f32::NAN)]);
    assert_eq!(change(&hashed, |map| _ = map.insert(1, f32::NAN)), None);
    assert!(change(&hashed, |map| _ = map.insert(1, -f32::NAN)).is_some());
}

#[test]
fn one_change_in_a_large_map_or_set_is_small() {
    let map: HashMap<u32, u32> = (0..1_000).map(|n| (n, n)).collect();
    let patch = change(&map, |map| *map.get_mut(&7).expect("is there") = 5);
    assert_eq!(patch, Some(vec![0x93, 2, 7, 0x92, 0, 5]));
    let set: BTreeSet<u8> = (0..200).collect();
    assert_eq!(
        change(&set, |set| _ = set.remove(&7)),
        Some(vec![0x93, 2, 7, 0xc0])
    );
    assert_eq!(change(&set, BTreeSet::clear), Some(vec![0x92, 0, 0x90]));
    // Most of it gone: what is left is shorter.
    let patch = change(&set, |set| set.retain(|item| *item < 2));
    assert_eq!(patch, Some(vec![0x92, 0, 0x92, 0, 1]));
}

#[test]
fn a_tracked_map_in_a_map_of_the_standard_library_is_told_if_it_changed() {
    let map = BTreeMap::from([(1_u8, Map::from([(1_u8, 1_u8)])), (2, Map::new())]);
    let patch = change(&map, |map| {
        _ = map.get_mut(&2).expect("is there").insert(5, 5)
    });
    assert_eq!(patch, Some(vec![0x93, 2, 2, 0x92, 0, 0x81, 5, 5]));
    let nothing = change(&map, |map| {
        let inner = map.get_mut(&2).expect("is there");
        inner.insert(5, 5);
        inner.remove(&5);
    });
    assert_eq!(nothing, None);
}

#[test]
fn bad_nodes_are_refused() {
    let mut map: BTreeMap<u8, u8> = BTreeMap::from([(1, 1)]);
    assert_eq!(
        apply(&mut map, &[0x93, 2, 9, 0x92, 3, 1]),
        Err(PatchError::Missing)
    );
    assert_eq!(
        apply(&mut map, &[0x93, 2, 1, 0x92, 3, 1]),
        Err(PatchError::Shape)
    );
    assert_eq!(apply(&mut map, &[0x92, 3, 1]), Err(PatchError::Shape));
    assert!(apply(&mut map, &[0x92, 0, 0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
    let mut set: HashSet<u8> = HashSet::from([1]);
    assert_eq!(
        apply(&mut set, &[0x93, 2, 1, 0x92, 3, 1]),
        Err(PatchError::Shape)
    );
    assert_eq!(
        apply(&mut set, &[0x92, 4, 0x92, 2, 1]),
        Err(PatchError::Shape)
    );
    apply(&mut set, &[0x95, 2, 1, 0xc0, 2, 0x92, 0, 0xc0]).expect("fits");
    assert_eq!(set, HashSet::from([2]));
}

#[test]
fn what_does_not_travel_comes_back_with_undo_and_is_adopted_under_equal_keys() {
    fn local_parts<T: Track + serde::de::DeserializeOwned>(map: &T, at: impl Fn(&T, u8) -> u8) {
        let mut ours = map.clone();
        let shadow = ours.shadow();
        let bytes = rmp_serde::to_vec_named(map).expect("encodes");
        ours = rmp_serde::from_slice(&bytes).expect("decodes");
        assert_eq!((at(&ours, 1), at(&ours, 2)), (0, 0));
        let mut decoded = ours.clone();
        assert!(ours.undo(shadow));
        assert_eq!((at(&ours, 1), at(&ours, 2)), (10, 20));
        decoded.adopt(&mut ours);
        assert_eq!((at(&decoded, 1), at(&decoded, 2)), (10, 20));
    }
    let entries = [(1, Sticky::new(1, 10)), (2, Sticky::new(2, 20))];
    local_parts(&BTreeMap::from(entries.clone()), |map, key| map[&key].local);
    local_parts(&HashMap::<u8, Sticky>::from(entries), |map, key| {
        map[&key].local
    });
}
