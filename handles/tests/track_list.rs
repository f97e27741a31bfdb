//! `List`: what each change is written as, what can be taken back, and what the user's code can break.

mod support;

use helve_handles::patch::{PatchError, Patcher};
use helve_handles::track::{Counter, List, Track, apply};
use helve_handles::wire::Wire;
use support::rows::{Row, row};
use support::{change, flush};

/// The patch for an edit, of which it is known that it changes something.
fn patch<T: Track + std::fmt::Debug>(value: &T, edit: impl Fn(&mut T)) -> Vec<u8> {
    change(value, edit).expect("changed")
}

/// A `List<u8>` is bytes, so its like is made of these.
fn numbers(n: std::ops::Range<u16>) -> List<u16> {
    n.collect()
}

#[test]
fn each_operation_is_written_as_the_protocol_has_it() {
    let list = numbers(0..8);
    let seq = |op: &[u8]| [&[0x92, 4], op].concat();
    assert_eq!(patch(&list, |l| l.push(9)), seq(&[0x92, 2, 9]));
    assert_eq!(patch(&list, |l| l[3] = 9), seq(&[0x93, 0, 3, 0x92, 0, 9]));
    assert_eq!(patch(&list, |l| l.insert(1, 9)), seq(&[0x94, 1, 1, 0, 9]));
    assert_eq!(patch(&list, |l| _ = l.remove(1)), seq(&[0x93, 1, 1, 1]));
    assert_eq!(patch(&list, |l| l.swap(1, 5)), seq(&[0x93, 4, 1, 5]));
    assert_eq!(patch(&list, |l| l.move_item(5, 2)), seq(&[0x93, 3, 5, 2]));
    assert_eq!(patch(&list, |l| l.truncate(6)), seq(&[0x92, 7, 6]));
    assert_eq!(patch(&list, |l| _ = l.pop()), seq(&[0x92, 7, 7]));
    let permute = [0x94, 5, 4, 3, 0xc4, 3, 2, 0, 1];
    let turned: List<u16> = [0, 1, 2, 3, 5, 6, 4].into();
    let patch_of = |list: &List<u16>, edit: fn(&mut List<u16>)| patch(list, edit);
    assert_eq!(patch_of(&turned, |l| l.sort()), seq(&[0x93, 3, 6, 4]));
    let turned: List<u16> = [0, 1, 2, 3, 5, 7, 6, 4].into();
    assert_eq!(patch_of(&turned, |l| l.swap(4, 7)).len(), 6);
    let shuffled: List<u16> = [0, 1, 2, 3, 5, 6, 4, 7, 9, 8].into();
    let sorted = patch_of(&shuffled, |l| l.sort());
    assert_eq!(sorted, seq(&[0x94, 5, 4, 6, 0xc4, 6, 2, 0, 1, 3, 5, 4]));
    let mut list: List<u16> = [0, 1, 2, 3, 4, 5, 6].into();
    apply(&mut list, &seq(&permute)).expect("fits");
    assert_eq!(list, [0, 1, 2, 3, 6, 4, 5]);
}

#[test]
fn items_that_are_pushed_and_then_edited_are_one_append() {
    let edit = |l: &mut List<u16>| {
        l.push(1);
        l.push(7);
        l[4] = 2;
        l.insert(4, 5);
        l.push(3);
        l[4..].sort();
        _ = l.pop();
    };
    let patch = patch(&numbers(0..4), edit);
    assert_eq!(patch, [0x92, 4, 0x94, 2, 2, 3, 5]);
    let nothing = change(&numbers(0..4), |l| {
        l.push(1);
        l.push(2);
        l.truncate(4);
    });
    assert_eq!(nothing, None);
}

#[test]
fn removals_beside_each_other_are_one_splice() {
    let by_hand = patch(&numbers(0..30), |l| {
        l.remove(5);
        l.remove(5);
        l.remove(4);
    });
    assert_eq!(by_hand, [0x92, 4, 0x93, 1, 4, 3]);
    let retained = patch(&numbers(0..30), |l| l.retain(|n| !(3..9).contains(n)));
    assert_eq!(retained, [0x92, 4, 0x93, 1, 3, 6]);
    let replaced = patch(&numbers(0..30), |l| {
        let n = l.remove(3);
        l.insert(3, n + 70);
    });
    assert_eq!(replaced, [0x92, 4, 0x94, 1, 3, 1, 73]);
    let runs = patch(&numbers(0..30), |l| l.retain(|n| *n != 2 && *n < 28));
    assert_eq!(runs, [0x93, 4, 0x93, 1, 2, 1, 0x92, 7, 27]);
}

#[test]
fn a_list_of_which_nothing_stays_is_set() {
    let refilled = patch(&numbers(0..4), |l| {
        l.clear();
        l.extend([5, 6]);
    });
    assert_eq!(refilled, [0x92, 0, 0x92, 5, 6]);
    assert_eq!(patch(&numbers(0..4), |l| l.clear()), [0x92, 0, 0x90]);
    assert_eq!(patch(&numbers(0..2), |l| l.fill(9)), [0x92, 0, 0x92, 9, 9]);
    // New orders again and again take more than the list itself.
    let turned = patch(&numbers(0..40), |l| {
        l.reverse();
        l.rotate_left(20);
        l.reverse();
    });
    assert!(turned.len() <= 45, "{} bytes", turned.len());
    // As do many small ones.
    let many = patch(&numbers(0..5), |l| {
        (0..100).for_each(|n| {
            l.insert(1, n);
            l.swap(1, 2);
            l.remove(2);
        });
    });
    assert!(many.len() <= 8 + 16, "{} bytes", many.len());
}

#[test]
fn the_edits_of_ten_thousand_structs_are_small() {
    let list: List<Row> = (0..10_000).map(row).collect();
    let pushed = patch(&list, |l| l.push(row(1)));
    assert!(pushed.len() <= 45, "push: {}", pushed.len());
    let removed = patch(&list, |l| _ = l.remove(5_000));
    assert!(removed.len() <= 15, "remove: {}", removed.len());
    let swapped = patch(&list, |l| l.swap(300, 9_000));
    assert!(swapped.len() <= 15, "swap: {}", swapped.len());
    let changed = patch(&list, |l| l[7_000].1 = 2.5);
    assert!(changed.len() <= 25, "field: {}", changed.len());
    let inside = patch(&list, |l| l[7_000].3.push(4));
    assert!(inside.len() <= 25, "field: {}", inside.len());
}

#[test]
fn a_sort_of_an_almost_sorted_list_is_a_few_moves() {
    let list: List<Row> = (0..10_000).map(row).collect();
    let sorted = patch(&list, |l| {
        l.extend([row(77), row(5_000), row(9_000)]);
        l[300].0 = 8_000;
        l.sort_by_key(|row| row.0);
    });
    assert!(sorted.len() <= 130, "sort: {}", sorted.len());
    let rotated = patch(&numbers(0..200), |l| l.rotate_right(3));
    assert_eq!(rotated.len(), 2 + 3 * 5);
    // What is all mixed up is one permutation.
    let mixed = patch(&numbers(0..200), |l| l.sort_by_key(|n| n * 77 % 200));
    assert_eq!(mixed[..5], [0x92, 4, 0x94, 5, 1]);
    assert!(mixed.len() < 220, "{}", mixed.len());
}

#[test]
fn an_edit_allocates_nothing_in_proportion_to_the_list() {
    let mut list: List<Row> = (0..10_000).map(row).collect();
    list.reserve(1);
    let one: List<Row> = [row(0)].into();
    let of_one = std::mem::size_of_val(&one[0]) as u64;
    let edits: [fn(&mut List<Row>); 8] = [
        |l| l.push(row(1)),
        |l| _ = l.remove(5_000),
        |l| l.insert(4_999, row(2)),
        |l| l.swap(3, 9_000),
        |l| l[7_000].1 += 1.0,
        |l| l[7_000].3.push(4),
        |l| _ = l.pop(),
        |l| l.move_item(9_000, 4),
    ];
    for (n, edit) in edits.iter().enumerate() {
        let info = allocation_counter::measure(|| {
            let shadow = list.shadow();
            edit(&mut list);
            let patch = flush(&mut list, &shadow);
            assert!(patch.is_some());
        });
        assert!(info.bytes_total < 4096 + 8 * of_one, "edit {n}: {info:?}");
    }
    // Unarmed it is a `Vec`.
    list.reserve(1);
    let info = allocation_counter::measure(|| {
        list.push((0, 0.0, String::new(), List::new()));
        list.swap(0, 1);
        list[5].0 = 1;
        list.iter_mut().for_each(|row| row.0 += 1);
        list.pop();
        list.truncate(9_000);
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn a_list_that_was_moved_or_assigned_is_set() {
    let two = (numbers(0..3), numbers(5..9));
    let swapped = patch(&two, |(a, b)| std::mem::swap(a, b));
    assert_eq!(swapped[..3], [0x95, 1, 0]);
    let assigned = patch(&two, |(a, _)| *a = [1].into());
    assert_eq!(assigned, [0x93, 1, 0, 0x92, 0, 0x91, 1]);
    // A list in an element of a list.
    let rows: List<Row> = (0..3).map(row).collect();
    let moved = patch(&rows, |rows| {
        rows[0].3.push(4);
        let inner = std::mem::take(&mut rows[0].3);
        rows[1].3 = inner;
    });
    assert!(moved.len() < 25);
}

#[test]
fn elements_touched_before_a_move_go_with_their_places() {
    let rows: List<Row> = (0..6).map(row).collect();
    patch(&rows, |rows| {
        rows[4].0 = 100;
        rows[1].3.push(1);
        rows.swap(1, 4);
        rows[4].3.push(2);
        rows.remove(0);
        rows[3].3.push(3);
        rows.sort_by_key(|row| std::cmp::Reverse(row.0));
        rows[0].2.push('x');
        for row in rows.iter_mut().rev().take(2) {
            row.1 += 1.0;
        }
        rows.insert(2, row(50));
        rows[2].1 = 0.5;
    });
}

#[test]
fn an_edit_is_taken_back_where_only_elements_and_the_end_changed() {
    let rows: List<Row> = (0..6).map(row).collect();
    let undoes = |edit: &dyn Fn(&mut List<Row>)| {
        let mut list = rows.clone();
        let shadow = list.shadow();
        edit(&mut list);
        let undone = list.undo(shadow);
        assert!(!undone || list.same(&rows));
        // Whatever it says, nothing is armed any more.
        let shadow = list.shadow();
        assert!(flush(&mut list, &shadow).is_none());
        undone
    };
    assert!(undoes(&|_| {}));
    assert!(undoes(&|l| {
        l[5].3.push(7);
        l[4].0 = 1;
        l.push(row(9));
        l.pop();
        assert_eq!(l.pop().map(|row| row.3.len()), Some(1));
        l.push(row(10));
        l[5].0 = 2;
        l.truncate(2);
        l[1].0 = 3;
        l.resize(4, row(1));
    }));
    // A new one in the place of an old one is not taken for it.
    assert!(undoes(&|l| {
        l.pop();
        l.push(row(10));
        l[5].0 = 2;
    }));
    assert!(undoes(&|l| l.clear()));
    assert!(undoes(&|l| l.with_vec(|v| v.reverse())));
    assert!(!undoes(&|l| _ = l.remove(0)));
    assert!(!undoes(&|l| l.swap(0, 1)));
    assert!(!undoes(&|l| *l = List::new()));
}

#[test]
fn bytes_are_spliced_as_bytes() {
    let bytes: List<u8> = (0..40).collect();
    assert_eq!(List::<u8>::describe(), Vec::<u8>::describe());
    let pushed = patch(&bytes, |b| b.extend([7, 8]));
    assert_eq!(pushed, [0x92, 4, 0x94, 8, 40, 0, 0xc4, 2, 7, 8]);
    let changed = patch(&bytes, |b| b[10..12].fill(0));
    assert_eq!(changed, [0x92, 4, 0x94, 8, 10, 2, 0xc4, 2, 0, 0]);
    let removed = patch(&bytes, |b| _ = b.drain(3..6));
    assert_eq!(removed, [0x92, 4, 0x94, 8, 3, 3, 0xc4, 0]);
    let sorted = patch(&bytes, |b| b.reverse());
    assert_eq!(sorted[..4], [0x92, 0, 0xc4, 40]);
    // Bytes have no elements, and other lists no bytes.
    let mut list: List<u8> = [1].into();
    let element = [0x92, 4, 0x93, 0, 0, 0x92, 0, 9];
    assert_eq!(apply(&mut list, &element), Err(PatchError::Shape));
    let raw = [0x92, 4, 0x94, 8, 0, 0, 0xc4, 1, 9];
    apply(&mut list, &raw).expect("fits");
    assert_eq!(list, [9, 1]);
    assert_eq!(apply(&mut numbers(0..1), &raw), Err(PatchError::Shape));
}

#[test]
fn places_outside_of_the_list_are_refused() {
    for op in [
        vec![0x93, 0, 3, 0x92, 0, 9],
        vec![0x93, 1, 2, 2],
        vec![0x93, 1, 1, 0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
        vec![0x93, 3, 0, 3],
        vec![0x93, 4, 3, 0],
        vec![0x94, 5, 2, 2, 0xc4, 2, 1, 0],
        vec![0x94, 5, 0, 2, 0xc4, 2, 1, 1],
        vec![0x92, 7, 4],
    ] {
        let mut list = numbers(0..3);
        let patch = [vec![0x92, 4], op].concat();
        assert_eq!(
            apply(&mut list, &patch),
            Err(PatchError::Range),
            "{patch:x?}"
        );
        assert_eq!(list, [0, 1, 2]);
    }
}

#[test]
fn an_index_out_of_bounds_panics_before_anything_is_logged() {
    let wrong: [fn(&mut List<u16>); 9] = [
        |l| _ = l.remove(3),
        |l| l.insert(4, 1),
        |l| l.swap(0, 3),
        |l| l.move_item(3, 0),
        |l| l[3] = 1,
        |l| l[2..4].fill(1),
        |l| _ = l.drain(2..4),
        |l| _ = l.split_off(4),
        |l| l.rotate_left(4),
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut list = numbers(0..3);
        let shadow = list.shadow();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wrong(&mut list)));
        assert!(caught.is_err(), "method {n} does not panic");
        assert!(flush(&mut list, &shadow).is_none(), "method {n} logged");
        assert_eq!(list, [0, 1, 2]);
    }
}

#[test]
fn a_panic_in_the_users_code_leaves_a_patch_that_tells_the_truth() {
    let panics: [fn(&mut List<u16>); 7] = [
        |l| l.sort_by(|a, b| if *b > 6 { panic!("{a}") } else { b.cmp(a) }),
        |l| l.retain(|n| if *n > 6 { panic!("{n}") } else { *n > 3 }),
        |l| {
            l.retain_mut(|n| {
                assert!(*n < 6);
                *n += 1;
                *n > 3
            })
        },
        |l| {
            l.dedup_by(|a, b| {
                assert!(*a < 6);
                *b += 1;
                *a == *b
            })
        },
        |l| l.extend((0..9).inspect(|n| assert!(*n < 6))),
        |l| _ = l.splice(2..4, (0..9).inspect(|n| assert!(*n < 6))),
        |l| {
            l.with_vec(|v| {
                v.remove(0);
                panic!("with_vec")
            })
        },
    ];
    for (n, panics) in panics.into_iter().enumerate() {
        let mut list = numbers(0..10);
        let mut theirs = list.clone();
        let shadow = list.shadow();
        list.remove(1);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics(&mut list)));
        assert!(caught.is_err(), "method {n} does not panic");
        let (patch, _) = flush(&mut list, &shadow).expect("changed");
        apply(&mut theirs, &patch).expect("fits");
        assert_eq!(list, theirs, "method {n}");
    }
}

#[test]
fn a_drain_that_is_forgotten_loses_no_more_than_its_range() {
    let list = numbers(0..10);
    let patch = patch(&list, |l| {
        let drain = l.drain(2..4);
        // A leak, on purpose: the wrapper is never dropped.
        let _ = std::mem::ManuallyDrop::new(drain);
    });
    assert_eq!(patch, [0x92, 4, 0x93, 1, 2, 2]);
}

/// A value that can be encoded at times.
#[derive(Clone, Debug, PartialEq)]
struct Fickle(bool);

impl serde::Serialize for Fickle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => serializer.serialize_bool(true),
            false => Err(serde::ser::Error::custom("not now")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Fickle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(Fickle)
    }
}

impl Wire for Fickle {
    fn describe() -> helve_handles::schema::TypeDesc {
        bool::describe()
    }
}

impl Track for Fickle {
    type Shadow = bool;
    fn shadow(&mut self) -> bool {
        self.0
    }
    fn flush(
        &mut self,
        shadow: &bool,
        patcher: &mut Patcher,
    ) -> Result<bool, helve_handles::patch::EncodeError> {
        if self.0 == *shadow {
            return Ok(false);
        }
        patcher.set(self)?;
        Ok(true)
    }
    fn undo(&mut self, shadow: bool) -> bool {
        self.0 = shadow;
        true
    }
    fn patch(
        &mut self,
        reader: &mut helve_handles::patch::PatchReader<'_>,
    ) -> Result<(), PatchError> {
        self.0.patch(reader)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

#[test]
fn what_cannot_be_encoded_fails_the_flush_unless_it_is_gone_by_then() {
    let flushed = |edit: fn(&mut List<Fickle>)| {
        let mut list: List<Fickle> = vec![Fickle(true); 3].into();
        let mut theirs = list.clone();
        let shadow = list.shadow();
        edit(&mut list);
        let mut patcher = Patcher::new();
        list.flush(&shadow, &mut patcher)?;
        let (patch, _) = patcher.finish()?;
        apply(&mut theirs, &patch).expect("fits");
        assert_eq!(list, theirs);
        Ok::<(), helve_handles::patch::EncodeError>(())
    };
    assert!(flushed(|l| l.push(Fickle(false))).is_err());
    assert!(flushed(|l| l.insert(0, Fickle(false))).is_err());
    assert!(flushed(|l| l[0].0 = false).is_err());
    let gone = |l: &mut List<Fickle>| {
        l.insert(0, Fickle(false));
        l.swap(1, 2);
        l.remove(0);
        l.remove(0);
    };
    assert_eq!(flushed(gone), Ok(()));
}

/// What holds itself.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Tree {
    children: List<Tree>,
}

impl Wire for Tree {
    fn describe() -> helve_handles::schema::TypeDesc {
        List::<Tree>::describe()
    }
}

impl Track for Tree {
    type Shadow = u64;
    fn shadow(&mut self) -> u64 {
        self.children.shadow()
    }
    fn flush(
        &mut self,
        shadow: &u64,
        patcher: &mut Patcher,
    ) -> Result<bool, helve_handles::patch::EncodeError> {
        self.children.flush(shadow, patcher)
    }
    fn undo(&mut self, shadow: u64) -> bool {
        self.children.undo(shadow)
    }
    fn patch(
        &mut self,
        reader: &mut helve_handles::patch::PatchReader<'_>,
    ) -> Result<(), PatchError> {
        self.children.patch(reader)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

#[test]
fn a_type_may_hold_a_list_of_itself() {
    fn is_sent<T: Send + Sync>(_: &T) {}
    let leaf = || Tree {
        children: List::new(),
    };
    let mut tree = leaf();
    is_sent(&tree);
    let mut theirs = tree.clone();
    let shadow = tree.children.shadow();
    tree.children.push(leaf());
    tree.children[0].children.push(leaf());
    tree.children.push(leaf());
    let patch = flush(&mut tree.children, &shadow).expect("changed").0;
    assert_eq!(patch.len(), 4 + 22 + 11);
    apply(&mut theirs.children, &patch).expect("fits");
    assert_eq!(tree, theirs);
}

#[test]
fn counters_in_a_list_go_on_counting() {
    let list: List<Counter> = (0..4).map(Counter::new).collect();
    let patch = patch(&list, |l| {
        l[2].add(5);
        l.swap(2, 0);
        l[0].add(1);
    });
    assert_eq!(
        patch,
        [
            0x94, 4, 0x93, 0, 2, 0x92, 3, 5, 0x93, 4, 2, 0, 0x93, 0, 0, 0x92, 3, 1
        ]
    );
}
