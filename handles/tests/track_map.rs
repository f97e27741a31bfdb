//! `track::Map` against the standard library's `BTreeMap`: what it does, what it tells, and what it takes back.

mod support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as ModelEntry;
use std::panic::{AssertUnwindSafe, catch_unwind};

use helve_handles::patch::PatchError;
use helve_handles::track::map::Entry;
use helve_handles::track::{Counter, Key, Map, Track, apply};
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};
use support::cells::{Cell, cell, poke};
use support::sticky::Sticky;
use support::{Rng, change, flush, follow};

type Cells = Map<u16, Cell>;
type Model = BTreeMap<u16, Cell>;

fn step(rng: &mut Rng, ours: &mut Cells, model: &mut Model) -> bool {
    map_step!(rng, ours, model, Entry, ModelEntry)
}

/// What only an ordered map can do.
fn ordered_step(rng: &mut Rng, ours: &mut Cells, model: &mut Model) {
    let key = rng.below(12) as u16;
    let what = rng.next();
    match rng.below(9) {
        0 => assert_eq!(ours.pop_first(), model.pop_first()),
        1 => assert_eq!(ours.pop_last(), model.pop_last()),
        2 | 3 => {
            let range = key..key + 3;
            let both = ours.range_mut(range.clone()).zip(model.range_mut(range));
            both.for_each(|((a, ours), (b, model))| {
                assert_eq!(a, b);
                poke(ours, what);
                poke(model, what);
            });
        }
        4 => {
            if let (Some(mut a), Some(mut b)) = (ours.first_entry(), model.first_entry()) {
                poke(a.get_mut(), what);
                poke(b.get_mut(), what);
            }
            if let (Some(a), Some(b)) = (ours.last_entry(), model.last_entry()) {
                assert_eq!(a.remove_entry(), b.remove_entry());
            }
        }
        5 => {
            for (cell, model) in ours
                .values_mut()
                .rev()
                .zip(model.values_mut().rev())
                .take(2)
            {
                poke(cell, what);
                poke(model, what);
            }
        }
        6 => {
            let (mut a, mut b) = (ours.split_off(&key), model.split_off(&key));
            assert_eq!(*a, b);
            if what & 1 == 0 {
                ours.append(&mut a);
                model.append(&mut b);
            }
            assert_eq!(*a, b);
        }
        7 => {
            assert_eq!(ours.first_key_value(), model.first_key_value());
            assert!(ours.range(key..).eq(model.range(key..)));
            assert!(ours.iter().eq(&*model));
        }
        _ => {
            let more: Vec<_> = (0..2).map(|n| (key + n, cell(rng))).collect();
            ours.append(&mut more.iter().cloned().collect());
            model.append(&mut more.into_iter().collect());
        }
    }
}

#[test]
fn random_edits_are_told_taken_back_and_do_what_a_btree_map_does() {
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
                    ordered_step(rng, &mut ours, &mut model);
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

fn three() -> Map<u8, u32> {
    Map::from([(1, 100_000), (2, 200_000), (3, 300_000)])
}

#[test]
fn each_key_is_one_entry_however_often_it_changes() {
    let mut map: Map<u16, Cell> = (0..600).map(|key| (key, Cell::default())).collect();
    let mut replica = map.clone();
    let shadow = map.shadow();
    for write in 0..600_u16 {
        let cell = map.get_mut(&(write % 60)).expect("is there");
        cell.0 = write as u8;
        cell.1 = f64::from(write);
    }
    let (patch, _) = flush(&mut map, &shadow).expect("changed");
    // An array of 1 + 2 * 60.
    assert_eq!(patch[..4], [0xdc, 0, 121, 2]);
    assert!(patch.len() < 60 * 22, "{}", patch.len());
    apply(&mut replica, &patch).expect("fits");
    assert!(replica.same(&map));
}

#[test]
fn what_is_put_and_removed_again_or_removed_and_put_back_is_not_told() {
    assert_eq!(
        change(&three(), |map| {
            map.insert(9, 9);
            map.remove(&9);
        }),
        None
    );
    assert_eq!(
        change(&three(), |map| {
            let was = map.remove(&2).expect("is there");
            map.insert(2, was);
            map.insert(3, 7);
            map.insert(3, 300_000);
        }),
        None
    );
    assert_eq!(
        change(&three(), |map| {
            map.get_mut(&1);
            map.values_mut().for_each(|_| {});
            map.retain(|_, _| true);
        }),
        None
    );
}

#[test]
fn a_container_that_is_removed_and_put_back_is_told_only_if_it_changed() {
    let map = Map::from([(1_u8, three()), (2, Map::new())]);
    let put_back = change(&map, |map| {
        let was = map.remove(&1).expect("is there");
        map.insert(1, was);
    });
    assert_eq!(put_back, None);
    let changed = change(&map, |map| {
        let mut was = map.remove(&1).expect("is there");
        was.insert(1, 7);
        map.insert(1, was);
    });
    assert!(changed.is_some());
}

#[test]
fn what_is_appended_is_told_by_both_maps() {
    let pair = (three(), Map::from([(4_u8, 4_u32), (3, 3)]));
    let patch = change(&pair, |(a, b)| {
        a.append(b);
        assert_eq!((a.len(), b.len()), (4, 0));
    });
    assert_eq!(
        patch.expect("changed"),
        [
            0x95, 1, 0, 0x95, 2, 3, 0x92, 0, 3, 4, 0x92, 0, 4, 1, 0x92, 0, 0x80
        ]
    );
    // Of which only one is being edited.
    let mut free = pair.1.clone();
    let (mut map, mut replica) = (three(), three());
    let shadow = map.shadow();
    free.append(&mut map);
    let (patch, _) = flush(&mut map, &shadow).expect("changed");
    apply(&mut replica, &patch).expect("fits");
    assert!(replica.is_empty());
    assert_eq!((free.len(), free[&3]), (4, 300_000));
}

#[test]
fn a_change_a_put_and_a_removal_are_an_entry_each() {
    let patch = change(&three(), |map| {
        *map.get_mut(&1).expect("is there") = 5;
        map.insert(2, 6);
        map.remove(&3);
        map.insert(4, 7);
    });
    let whole = [0x92, 0, 0x83, 1, 5, 2, 6, 4, 7];
    let node = [
        0x99, 2, 1, 0x92, 0, 5, 2, 0x92, 0, 6, 3, 0xc0, 4, 0x92, 0, 7,
    ];
    assert_eq!(patch, Some(node.to_vec()));
    assert!(whole.len() + 16 > node.len(), "not worth a whole map");
}

#[test]
fn a_value_that_replaces_another_is_told_by_what_differs() {
    let map = Map::from([(7_u8, (1_u8, "a long text that stays".to_owned()))]);
    let patch = change(&map, |map| {
        _ = map.insert(7, (2, "a long text that stays".into()))
    });
    assert_eq!(patch, Some(vec![0x93, 2, 7, 0x93, 1, 0, 0x92, 0, 2]));
}

#[test]
fn a_map_of_which_little_is_left_is_set() {
    let map: Map<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
    assert_eq!(change(&map, Map::clear), Some(vec![0x92, 0, 0x80]));
    let patch = change(&map, |map| map.retain(|key, _| *key == 5));
    assert_eq!(patch, Some(vec![0x92, 0, 0x81, 5, 5]));
    assert_eq!(change(&Map::<u8, u8>::new(), Map::clear), None);
}

#[test]
fn a_map_that_was_assigned_swapped_or_moved_is_set() {
    let mut pair = (three(), Map::from([(9_u8, 9_u32)]));
    let set = change(&pair, |pair| std::mem::swap(&mut pair.0, &mut pair.1)).expect("changed");
    assert_eq!(set[..5], [0x95, 1, 0, 0x92, 0]);
    // There and back is no change, and what was logged meanwhile counts.
    let patch = change(&pair, |pair| {
        std::mem::swap(&mut pair.0, &mut pair.1);
        pair.1.insert(4, 4);
        std::mem::swap(&mut pair.0, &mut pair.1);
    });
    assert_eq!(patch, Some(vec![0x93, 1, 0, 0x93, 2, 4, 0x92, 0, 4]));
    let shadow = pair.shadow();
    pair.0 = pair.0.clone();
    assert!(!pair.undo(shadow), "it is another map");
}

#[test]
fn floats_in_a_map_are_compared_by_their_bits() {
    let map = Map::from([(1_u8, f64::NAN), (2, 0.0)]);
    assert_eq!(change(&map, |map| _ = map.insert(1, f64::NAN)), None);
    assert!(change(&map, |map| _ = map.insert(2, -0.0)).is_some());
}

#[test]
fn a_node_for_a_key_that_is_missing_is_refused_and_its_removal_is_not() {
    // The golden bad node of the design, without the struct around it: key missing.
    let change = [
        0x93, 2, 7, 0x93, 1, 2, 0x92, 0, 0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0,
    ];
    let mut map: Map<u8, (u8, u8, f64)> = Map::new();
    assert_eq!(apply(&mut map, &change), Err(PatchError::Missing));
    apply(&mut map, &[0x93, 2, 7, 0xc0]).expect("removing is idempotent");
    // Put it first, in a Then.
    let put = [0x92, 0, 0x93, 1, 2, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0];
    let then = [&[0x93, 2, 7, 0x93, 7], &put[..], &change[3..]].concat();
    apply(&mut map, &then).expect("put, then changed");
    assert_eq!(map[&7], (1, 2, 1.0));
    for bad in [
        &[0x92, 2, 7][..],
        &[0x93, 2, 7],
        &[0x93, 2, 0xa1, b'x', 0xc0],
        &[0x92, 3, 1],
        &[0x92, 4, 0x92, 2, 1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x92, 0, 0xdf, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(apply(&mut map, bad).is_err(), "{bad:x?}");
    }
}

#[test]
fn an_option_in_a_map_is_not_the_absence_of_its_key() {
    let map = Map::from([(1_u8, Some(5_u8)), (2, None)]);
    let patch = change(&map, |map| _ = map.insert(1, None));
    assert_eq!(patch, Some(vec![0x93, 2, 1, 0x92, 0, 0xc0]));
    let patch = change(&map, |map| _ = map.remove(&2));
    assert_eq!(patch, Some(vec![0x93, 2, 2, 0xc0]));
}

#[test]
fn a_container_in_a_value_that_moved_away_is_told_where_it_went() {
    let map: Map<u8, Map<u8, u8>> = Map::from([(1, Map::from([(1, 1)])), (2, Map::new())]);
    let patch = change(&map, |map| {
        let moved = std::mem::take(map.get_mut(&1).expect("is there"));
        let place = map.get_mut(&2).expect("is there");
        *place = moved;
        place.insert(3, 3);
    });
    assert!(patch.is_some());
    // Undo of that says that it cannot.
    let mut map = map;
    let shadow = map.shadow();
    let moved = std::mem::take(map.get_mut(&1).expect("is there"));
    map.insert(2, moved);
    assert!(!map.undo(shadow));
}

/// A key that can be told to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fragile(u8);

thread_local! {
    static FAIL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Ord for Fragile {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(!FAIL.get(), "told to");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Fragile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Wire for Fragile {
    fn describe() -> helve_handles::schema::TypeDesc {
        u8::describe()
    }
}

impl Key for Fragile {}

#[test]
fn a_panic_in_the_users_code_ends_in_a_whole_map() {
    type Edit = fn(&mut Map<Fragile, u8>);
    let edits: [Edit; 5] = [
        |map| map.retain(|key, _| key.0 < 2 || panic!("told to")),
        |map| {
            FAIL.set(true);
            map.insert(Fragile(9), 9);
        },
        |map| {
            FAIL.set(true);
            map.remove(&Fragile(1));
        },
        |map| {
            FAIL.set(true);
            map.extend([(Fragile(7), 7)]);
        },
        |map| {
            FAIL.set(true);
            map.append(&mut Map::from(BTreeMap::from([(Fragile(7), 7)])));
        },
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut map: Map<Fragile, u8> = (0..4).map(|n| (Fragile(n), n)).collect();
        let mut replica = map.clone();
        let shadow = map.shadow();
        map.insert(Fragile(1), 200);
        assert!(catch_unwind(AssertUnwindSafe(|| edit(&mut map))).is_err());
        FAIL.set(false);
        // Still of use, and still told right.
        map.insert(Fragile(2), 201);
        let (patch, _) = flush(&mut map, &shadow).expect("changed");
        assert_eq!(patch[..2], [0x92, 0], "edit {n}");
        apply(&mut replica, &patch).expect("fits");
        assert_eq!(replica, map, "edit {n}");
    }
    // `entry` compares before there is anything to log: nothing is lost.
    let mut map = Map::from(BTreeMap::from([(Fragile(1), 1)]));
    let shadow = map.shadow();
    map.insert(Fragile(2), 2);
    FAIL.set(true);
    let panicked = catch_unwind(AssertUnwindSafe(|| _ = map.entry(Fragile(3)).or_insert(3)));
    FAIL.set(false);
    assert!(panicked.is_err());
    assert!(map.undo(shadow));
    assert_eq!(map, Map::from(BTreeMap::from([(Fragile(1), 1)])));
}

#[test]
fn one_float_of_ten_thousand_cells_costs_little_and_nothing_for_the_others() {
    type Row = (String, u8, f64);
    let rows = (0..10_000_u32).map(|n| (n, (format!("row {n}"), n as u8, 0.5)));
    let mut map: Map<u32, Row> = rows.collect();
    let mut patcher = helve_handles::patch::Patcher::new();
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
fn skipped_parts_of_values_come_back_with_undo_and_are_adopted() {
    // `Sticky` has a part that does not travel.
    let map = Map::from([(1_u8, Sticky::new(1, 10)), (2, Sticky::new(2, 20))]);
    let mut ours = map.clone();
    let shadow = ours.shadow();
    ours.remove(&1);
    ours.insert(2, Sticky::new(9, 0));
    assert!(ours.undo(shadow));
    assert_eq!((ours[&1].local, ours[&2].local), (10, 20));
    let bytes = rmp_serde::to_vec_named(&map).expect("encodes");
    let mut decoded: Map<u8, Sticky> = rmp_serde::from_slice(&bytes).expect("decodes");
    assert_eq!(decoded[&1].local, 0);
    decoded.adopt(&mut ours);
    assert_eq!((decoded[&1].local, decoded[&2].local), (10, 20));
}

#[test]
fn a_map_reads_and_converts_as_the_standard_librarys() {
    let map = three();
    assert_eq!(map, map.clone());
    assert!(map < Map::from([(2, 0)]));
    assert_eq!(format!("{map:?}"), "{1: 100000, 2: 200000, 3: 300000}");
    assert_eq!(map.clone().into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(map.clone().into_values().max(), Some(300_000));
    assert_eq!(map.clone().into_iter().len(), 3);
    assert_eq!((&map).into_iter().len(), 3);
    assert_eq!(BTreeMap::from(map.clone()).len(), 3);
    assert_eq!(Map::<u8, u32>::describe(), BTreeMap::<u8, u32>::describe());
    let mut more = Map::default();
    more.extend(&map);
    assert_eq!(more, map);
    let mut names: Map<String, Counter> = Map::new();
    names.entry("a".into()).or_default().add(2);
    names.get_mut("a").expect("looked up by str").add(3);
    assert_eq!(names["a"].get(), 5);
}
