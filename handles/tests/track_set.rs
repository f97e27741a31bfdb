//! `track::Set` and `track::HSet` against the standard library's sets: what they do, what they tell, and what they take
//! back.

mod support;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use helve_handles::patch::PatchError;
use helve_handles::schema::TypeDesc;
use helve_handles::track::{HSet, Key, Set, Track, apply};
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};
use support::{Rng, change, flush, follow};

type Item = (u8, String);
type Hashed = BuildHasherDefault<DefaultHasher>;

fn item(rng: &mut Rng) -> Item {
    (rng.below(4) as u8, "x".repeat(rng.below(3) as usize))
}

/// One thing that both kinds of set can do, done to `ours` and to its model.
macro_rules! step {
    ($rng:ident, $ours:ident, $model:ident) => {{
        let item = item($rng);
        let what = $rng.next();
        match $rng.below(12) {
            0..=2 => assert_eq!($ours.insert(item.clone()), $model.insert(item)),
            3 | 4 => assert_eq!($ours.remove(&item), $model.remove(&item)),
            5 => assert_eq!($ours.take(&item), $model.take(&item)),
            6 => assert_eq!($ours.replace(item.clone()), $model.replace(item)),
            7 => {
                let keep = |item: &Item| what >> (item.0 * 3 + item.1.len() as u8) & 3 != 0;
                $ours.retain(keep);
                $model.retain(keep);
            }
            8 => {
                let more = [item, (what as u8 % 4, String::new())];
                $ours.extend(more.clone());
                $model.extend(more);
            }
            9 if what & 3 == 0 => {
                $ours.clear();
                $model.clear();
            }
            10 => {
                assert_eq!($ours.contains(&item), $model.contains(&item));
                assert_eq!($ours.get(&item), $model.get(&item));
                assert_eq!(
                    ($ours.len(), $ours.is_empty()),
                    ($model.len(), $model.is_empty())
                );
            }
            _ => return false,
        }
        true
    }};
}

fn ordered_common(rng: &mut Rng, ours: &mut Set<Item>, model: &mut BTreeSet<Item>) -> bool {
    step!(rng, ours, model)
}

fn ordered(rng: &mut Rng, ours: &mut Set<Item>, model: &mut BTreeSet<Item>) {
    if ordered_common(rng, ours, model) {
        return;
    }
    let item = item(rng);
    match rng.below(5) {
        0 => assert_eq!(ours.pop_first(), model.pop_first()),
        1 => assert_eq!(ours.pop_last(), model.pop_last()),
        2 => {
            let (mut a, mut b) = (ours.split_off(&item), model.split_off(&item));
            assert_eq!(*a, b);
            if rng.one_in(2) {
                ours.append(&mut a);
                model.append(&mut b);
            }
            assert_eq!(*a, b);
        }
        3 => {
            let other = Set::from([item, (2, String::new())]);
            assert_eq!(*(&*ours | &other), &*model | &other);
            assert_eq!(*(&*ours & &other), &*model & &other);
            assert_eq!(*(&*ours ^ &other), &*model ^ &other);
            assert_eq!(*(&*ours - &other), &*model - &other);
        }
        _ => {
            assert_eq!((ours.first(), ours.last()), (model.first(), model.last()));
            assert!(ours.range(item.clone()..).eq(model.range(item..)));
            assert!((&*ours).into_iter().eq(&*model));
        }
    }
}

type Ours = HSet<Item, Hashed>;
type Model = HashSet<Item, Hashed>;

fn hashed_common(rng: &mut Rng, ours: &mut Ours, model: &mut Model) -> bool {
    step!(rng, ours, model)
}

fn hashed(rng: &mut Rng, ours: &mut Ours, model: &mut Model) {
    if hashed_common(rng, ours, model) {
        return;
    }
    match rng.below(4) {
        0 => {
            let (mut a, mut b): (Vec<_>, Vec<_>) =
                (ours.drain().collect(), model.drain().collect());
            a.sort();
            b.sort();
            assert_eq!(a, b);
        }
        1 => {
            let other = Ours::from([item(rng), (2, String::new())]);
            assert_eq!(*(&*ours | &other), &*model | &other);
            assert_eq!(*(&*ours & &other), &*model & &other);
            assert_eq!(*(&*ours ^ &other), &*model ^ &other);
            assert_eq!(*(&*ours - &other), &*model - &other);
        }
        _ => {
            ours.reserve(30);
            ours.shrink_to(4);
            ours.shrink_to_fit();
            assert!(ours.try_reserve(1).is_ok());
        }
    }
}

/// 12,000 transactions: applied to a replica that sometimes has followers of its own, or taken back.
macro_rules! program {
    ($set:ty, $model:ty, $step:ident) => {
        let (mut told, mut undone, mut quiet) = (0, 0, 0);
        for seed in 0..12_000 {
            let mut rng = Rng::new(seed);
            let rng = &mut rng;
            let start: $model = (0..rng.below(7)).map(|_| item(rng)).collect();
            let mut ours = <$set>::from(start.clone());
            let mut replica = ours.clone();
            for _ in 0..2 {
                let before: $model = ours.clone().into_inner();
                let mut model = before.clone();
                let shadow = rng.below(8) > 0;
                let shadow = shadow.then(|| ours.shadow());
                for _ in 0..rng.below(6) {
                    $step(rng, &mut ours, &mut model);
                }
                assert_eq!(*ours, model, "seed {seed}");
                match shadow {
                    Some(shadow) if rng.one_in(3) => {
                        assert!(ours.undo(shadow), "seed {seed}");
                        assert_eq!(*ours, before, "seed {seed}");
                        undone += 1;
                    }
                    Some(shadow) => {
                        let whole = rmp_serde::to_vec(&model).expect("encodes").len();
                        match flush(&mut ours, &shadow) {
                            Some((patch, _)) => {
                                assert!(patch.len() <= 2 + whole + 16, "seed {seed}");
                                follow(&mut replica, &patch, rng);
                                told += 1;
                            }
                            // Exactly then.
                            None => {
                                assert_eq!(model, before, "seed {seed}");
                                quiet += 1;
                            }
                        }
                        assert!(replica.same(&ours), "seed {seed}");
                    }
                    None => replica = ours.clone(),
                }
            }
        }
        assert!(
            told > 4_000 && undone > 4_000 && quiet > 500,
            "{told} {undone} {quiet}"
        );
    };
}

#[test]
fn random_edits_are_told_taken_back_and_do_what_a_btree_set_does() {
    program!(Set<Item>, BTreeSet<Item>, ordered);
}

#[test]
fn random_edits_are_told_taken_back_and_do_what_a_hash_set_does() {
    program!(Ours, Model, hashed);
}

#[test]
fn an_item_that_came_is_put_as_nil_and_one_that_went_is_nil() {
    let set = Set::from([1_u32, 2, 300]);
    let edit = |set: &mut Set<u32>| {
        set.insert(4);
        set.remove(&300);
        set.insert(9);
        set.remove(&9);
        set.remove(&1);
        set.insert(1);
        set.insert(2);
    };
    let expected = vec![0x95, 2, 4, 0x92, 0, 0xc0, 0xcd, 1, 44, 0xc0];
    assert_eq!(change(&set, edit), Some(expected.clone()));
    // The same of the other kind, in the order of the bytes of its items.
    let hashed: HSet<u32> = set.iter().copied().collect();
    let patch = change(&hashed, |set| {
        set.insert(4);
        set.remove(&300);
    });
    assert_eq!(patch, Some(expected));
    assert_eq!(change(&set, Set::clear), Some(vec![0x92, 0, 0x90]));
    assert_eq!(
        change(&set, |set| *set = set.clone()),
        Some(vec![0x92, 0, 0x93, 1, 2, 0xcd, 1, 44])
    );
}

#[test]
fn a_set_of_bytes_is_an_array_of_numbers_and_told_item_by_item() {
    // The codec writes as bin only what iterates like a slice.
    let mut bytes = Vec::new();
    let set: Set<u8> = (1..=3).collect();
    helve_handles::codec::encode_into(&set, &mut bytes).expect("encodes");
    assert_eq!(bytes, [0x93, 1, 2, 3]);
    bytes.clear();
    let hashed = HSet::<u8>::from([1]);
    helve_handles::codec::encode_into(&hashed, &mut bytes).expect("encodes");
    assert_eq!(bytes, [0x91, 1]);
    assert!(matches!(Set::<u8>::describe(), TypeDesc::Set(_)));
    let patch = change(&set, |set| _ = set.insert(200));
    assert_eq!(patch, Some(vec![0x93, 2, 0xcc, 200, 0x92, 0, 0xc0]));
}

#[test]
fn a_node_that_no_set_has_is_refused() {
    let mut set = Set::from([1_u8]);
    apply(&mut set, &[0x95, 2, 1, 0x92, 0, 0xc0, 7, 0xc0]).expect("both change nothing");
    apply(&mut set, &[0x93, 2, 5, 0x93, 7, 0xc0, 0x92, 0, 0xc0]).expect("a Then");
    assert_eq!(set, Set::from([1, 5]));
    // A value that is no nil, a change of an item, a Seq, an item of another type.
    let value = apply(&mut set, &[0x93, 2, 1, 0x92, 0, 5]);
    assert!(matches!(value, Err(PatchError::Value(_))));
    let inside = apply(&mut set, &[0x93, 2, 1, 0x92, 3, 5]);
    assert_eq!(inside, Err(PatchError::Shape));
    assert_eq!(
        apply(&mut set, &[0x92, 4, 0x92, 2, 7]),
        Err(PatchError::Shape)
    );
    assert!(apply(&mut set, &[0x93, 2, 0xa1, b'x', 0xc0]).is_err());
    assert!(apply(&mut set, &[0x92, 0, 0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn an_edit_of_a_large_set_costs_nothing_for_the_other_items() {
    let mut set: Set<u32> = (0..10_000).collect();
    let mut hashed: HSet<u32> = (0..10_000).collect();
    let cost = allocation_counter::measure(|| {
        let (a, b) = (set.shadow(), hashed.shadow());
        set.remove(&77);
        hashed.remove(&77);
        assert_eq!(flush(&mut set, &a).expect("changed").0, [0x93, 2, 77, 0xc0]);
        assert_eq!(
            flush(&mut hashed, &b).expect("changed").0,
            [0x93, 2, 77, 0xc0]
        );
    });
    assert!(cost.bytes_max < 4096, "{} bytes at once", cost.bytes_max);
}

/// An item that can be told to fail.
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
    fn describe() -> TypeDesc {
        u8::describe()
    }
}

impl Key for Fragile {}

#[test]
fn a_panic_in_the_users_code_ends_in_a_whole_set() {
    type Edit = fn(&mut Set<Fragile>);
    let edits: [Edit; 3] = [
        |set| set.retain(|item| item.0 < 2 && (item.0 != 1 || panic!("told to"))),
        |set| {
            FAIL.set(true);
            set.insert(Fragile(9));
        },
        |set| {
            FAIL.set(true);
            set.remove(&Fragile(1));
        },
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut set: Set<Fragile> = (0..4).map(Fragile).collect();
        let mut replica = set.clone();
        let shadow = set.shadow();
        set.insert(Fragile(11));
        assert!(catch_unwind(AssertUnwindSafe(|| edit(&mut set))).is_err());
        FAIL.set(false);
        set.insert(Fragile(12));
        let (patch, _) = flush(&mut set, &shadow).expect("changed");
        assert_eq!(patch[..2], [0x92, 0], "edit {n}");
        apply(&mut replica, &patch).expect("fits");
        assert_eq!(replica, set, "edit {n}");
    }
}

#[test]
fn sets_read_and_convert_as_the_standard_librarys() {
    let set = Set::from(["b".to_owned(), "a".to_owned()]);
    assert!(set.contains("a"), "looked up by str");
    assert_eq!(format!("{set:?}"), r#"{"a", "b"}"#);
    assert!(set < Set::from(["c".to_owned()]));
    assert_eq!(BTreeSet::from(set.clone()).len(), 2);
    assert_eq!(set.clone().into_iter().len(), 2);
    let mut numbers = HSet::<u8>::with_capacity(4);
    numbers.extend(&[1, 2]);
    assert_eq!(HashSet::from(numbers.clone()).len(), 2);
    assert_eq!(numbers.clone().into_iter().len(), 2);
    assert_eq!((&numbers).into_iter().len(), 2);
    assert_eq!(HSet::<u8>::describe(), Set::<u8>::describe());
    assert_eq!(numbers, HSet::from([2, 1]));
}
