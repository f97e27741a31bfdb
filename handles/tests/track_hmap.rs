//! `track::HMap` against the standard library's `HashMap`: what it does, what it tells, and what it takes back.

mod support;

use std::collections::HashMap;
use std::collections::hash_map::Entry as ModelEntry;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use helve_handles::patch::Patcher;
use helve_handles::schema::TypeDesc;
use helve_handles::track::hmap::Entry;
use helve_handles::track::{Counter, HMap, Key, Map, Track, apply};
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};
use support::cells::{Cell, cell, poke};
use support::{Rng, change, flush, follow};

/// Without a seed, so that a failing run can be repeated.
type Hashed = BuildHasherDefault<DefaultHasher>;
type Cells = HMap<u16, Cell, Hashed>;
type Model = HashMap<u16, Cell, Hashed>;

fn step(rng: &mut Rng, ours: &mut Cells, model: &mut Model) -> bool {
    map_step!(rng, ours, model, Entry, ModelEntry)
}

/// What only a hashed map can do.
fn hashed_step(rng: &mut Rng, ours: &mut Cells, model: &mut Model) {
    let key = rng.below(12) as u16;
    let what = rng.next();
    match rng.below(4) {
        0 if what & 3 == 0 => {
            let (mut a, mut b): (Vec<_>, Vec<_>) =
                (ours.drain().collect(), model.drain().collect());
            a.sort_by_key(|(key, _)| *key);
            b.sort_by_key(|(key, _)| *key);
            assert_eq!(a, b);
        }
        1 => {
            let keys = [&key, &(key + 1)];
            let (a, b) = (ours.get_disjoint_mut(keys), model.get_disjoint_mut(keys));
            assert_eq!(a, b);
            a.into_iter()
                .chain(b)
                .flatten()
                .for_each(|cell| poke(cell, what));
        }
        2 => {
            ours.reserve(100);
            ours.shrink_to(20);
            ours.shrink_to_fit();
            assert!(ours.try_reserve(1).is_ok());
        }
        _ => assert!(ours.iter().all(|(key, cell)| model[key] == *cell)),
    }
}

#[test]
fn random_edits_are_told_taken_back_and_do_what_a_hash_map_does() {
    let (mut told, mut undone, mut quiet) = (0, 0, 0);
    for seed in 0..12_000 {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let start: Model = (0..rng.below(8))
            .map(|_| (rng.below(12) as u16, cell(rng)))
            .collect();
        let mut ours = Cells::from(start.clone());
        let mut replica = ours.clone();
        for _ in 0..2 {
            let before: Model = ours.clone().into_inner();
            let mut model = before.clone();
            rng.lost = false;
            let shadow = rng.below(8) > 0;
            let shadow = shadow.then(|| ours.shadow());
            for _ in 0..rng.below(7) {
                if !step(rng, &mut ours, &mut model) {
                    hashed_step(rng, &mut ours, &mut model);
                }
            }
            assert_eq!(*ours, model, "seed {seed}");
            match shadow {
                Some(shadow) if rng.one_in(3) => {
                    let exact = ours.undo(shadow);
                    assert!(
                        exact || rng.lost,
                        "seed {seed}: nothing here is beyond undo"
                    );
                    if exact {
                        assert!(ours.same(&before.into()), "seed {seed}");
                    } else {
                        ours = before.into();
                    }
                    undone += 1;
                }
                Some(shadow) => {
                    let whole = rmp_serde::to_vec_named(&model).expect("encodes").len();
                    match flush(&mut ours, &shadow) {
                        Some((patch, _)) => {
                            assert!(patch.len() <= 2 + whole + 16, "seed {seed}");
                            follow(&mut replica, &patch, rng);
                            told += 1;
                        }
                        None => quiet += 1,
                    }
                    assert!(replica.same(&ours), "seed {seed}: {replica:?} not {ours:?}");
                }
                // Not watched.
                None => replica = ours.clone(),
            }
        }
    }
    assert!(
        told > 5_000 && undone > 5_000 && quiet > 200,
        "{told} {undone} {quiet}"
    );
}

#[test]
fn patches_come_in_the_same_order_whatever_the_hasher() {
    fn patch<S>(map: HMap<String, u32, S>) -> Vec<u8>
    where
        S: std::hash::BuildHasher + Default + Clone + Send + Sync + 'static,
    {
        let mut map = map;
        map.extend((0..40).map(|n| (format!("key {n}"), 1000 + n)));
        let shadow = map.shadow();
        for n in (0..40).step_by(3) {
            map.insert(format!("key {n}"), n);
        }
        map.remove("key 7");
        flush(&mut map, &shadow).expect("changed").0
    }
    let expected = patch(HMap::<String, u32, Hashed>::default());
    for _ in 0..5 {
        // Each with a seed of its own.
        assert_eq!(patch(HMap::new()), expected);
    }
    assert_eq!(expected[..4], [0xdc, 0, 1 + 2 * 15, 2]);
    assert_eq!(expected[4..10], *b"\xa5key 0");
}

#[test]
fn what_is_put_and_removed_again_is_not_told_and_a_cleared_map_is_set() {
    let map = HMap::<u8, u8>::from([(1, 1), (2, 2)]);
    let nothing = change(&map, |map| {
        map.insert(9, 9);
        map.remove(&9);
        map.insert(1, 1);
        let was = map.remove(&2).expect("is there");
        map.insert(2, was);
    });
    assert_eq!(nothing, None);
    assert_eq!(change(&map, HMap::clear), Some(vec![0x92, 0, 0x80]));
}

#[test]
fn clearing_keeps_the_hasher() {
    #[derive(Clone, Default)]
    struct Seeded(u64);
    impl std::hash::BuildHasher for Seeded {
        type Hasher = DefaultHasher;
        fn build_hasher(&self) -> DefaultHasher {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.0);
            hasher
        }
    }
    let mut map = HMap::with_capacity_and_hasher(4, Seeded(7));
    map.insert(1_u8, 1_u8);
    let shadow = map.shadow();
    map.clear();
    assert_eq!(map.hasher().0, 7);
    assert!(map.undo(shadow));
    assert_eq!((map.hasher().0, map.get(&1)), (7, Some(&1)));
}

/// A key that can be told to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fragile(u8);

thread_local! {
    static FAIL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Hash for Fragile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert!(!FAIL.get(), "told to");
        self.0.hash(state);
    }
}

impl Wire for Fragile {
    fn describe() -> TypeDesc {
        u8::describe()
    }
}

impl Key for Fragile {}

#[test]
fn a_panic_in_a_hash_ends_in_a_whole_map_or_in_no_change() {
    type Edit = fn(&mut HMap<Fragile, u8>);
    let edits: [Edit; 4] = [
        |map| _ = map.insert(Fragile(9), 9),
        |map| _ = map.remove(&Fragile(1)),
        |map| _ = map.get_mut(&Fragile(2)),
        |map| map.values_mut().for_each(|value| *value += 1),
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut map: HMap<Fragile, u8> = (0..4).map(|n| (Fragile(n), n)).collect();
        let mut replica = map.clone();
        let shadow = map.shadow();
        map.insert(Fragile(1), 200);
        FAIL.set(true);
        assert!(catch_unwind(AssertUnwindSafe(|| edit(&mut map))).is_err());
        FAIL.set(false);
        map.insert(Fragile(2), 201);
        let (patch, _) = flush(&mut map, &shadow).expect("changed");
        apply(&mut replica, &patch).expect("fits");
        assert_eq!(replica, map, "edit {n}");
    }
}

#[test]
fn two_borrows_of_one_value_panic_and_change_nothing() {
    let mut map = HMap::<u8, u8>::from([(1, 1)]);
    let shadow = map.shadow();
    let twice = catch_unwind(AssertUnwindSafe(|| _ = map.get_disjoint_mut([&1, &1])));
    assert!(twice.is_err());
    assert!(flush(&mut map, &shadow).is_none());
}

#[test]
fn one_float_of_ten_thousand_cells_costs_little_and_nothing_for_the_others() {
    let rows = (0..10_000_u32).map(|n| (n, (format!("row {n}"), n as u8, 0.5)));
    let mut map: HMap<u32, (String, u8, f64)> = rows.collect();
    let mut patcher = Patcher::new();
    let cost = allocation_counter::measure(|| {
        let shadow = map.shadow();
        map.get_mut(&7_777).expect("is there").2 = 2.5;
        assert!(map.flush(&shadow, &mut patcher).expect("encodes"));
    });
    assert!(patcher.len() <= 25, "{} bytes", patcher.len());
    assert!(cost.bytes_max < 4096, "{} bytes at once", cost.bytes_max);
    assert!(cost.count_total < 20, "{} allocations", cost.count_total);
}

#[test]
fn a_hashed_map_reads_and_converts_as_the_standard_librarys() {
    let map = HMap::<u8, u32>::from([(1, 100), (2, 200)]);
    assert_eq!(map, map.clone());
    assert_eq!(map.clone().into_keys().max(), Some(2));
    assert_eq!(map.clone().into_values().max(), Some(200));
    assert_eq!(map.clone().into_iter().len(), 2);
    assert_eq!((&map).into_iter().len(), 2);
    assert_eq!(HashMap::from(map.clone()).len(), 2);
    assert!(HMap::<u8, u32>::with_capacity(7).capacity() >= 7);
    let unsorted = matches!(
        HMap::<u8, u32>::describe(),
        TypeDesc::Map { sorted: false, .. }
    );
    assert!(unsorted);
    let bytes = rmp_serde::to_vec(&map).expect("encodes");
    assert_eq!(
        rmp_serde::from_slice::<Map<u8, u32>>(&bytes).expect("decodes")[&2],
        200
    );
    let mut names: HMap<String, Counter> = HMap::new();
    names.entry("a".into()).or_default().add(2);
    names.get_mut("a").expect("looked up by str").add(3);
    assert_eq!(names["a"].get(), 5);
}
