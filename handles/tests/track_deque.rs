//! `Deque`: what its changes are written as, and that it does what a `VecDeque` does, armed or not.

mod support;

use std::collections::VecDeque;

use helve_handles::patch::PatchError;
use helve_handles::track::{Deque, Track, apply};
use helve_handles::wire::Wire;
use support::rows::{Row, poke, some_row};
use support::{Rng, change, flush, follow};

#[test]
fn each_operation_is_written_as_the_protocol_has_it() {
    let deque: Deque<u8> = (0..8).collect();
    let patch = |edit: &dyn Fn(&mut Deque<u8>)| change(&deque, edit).expect("changed");
    let seq = |op: &[u8]| [&[0x92, 4], op].concat();
    assert_eq!(patch(&|d| d.push_back(9)), seq(&[0x92, 2, 9]));
    assert_eq!(patch(&|d| d.push_front(9)), seq(&[0x94, 1, 0, 0, 9]));
    assert_eq!(patch(&|d| _ = d.pop_back()), seq(&[0x92, 7, 7]));
    assert_eq!(patch(&|d| _ = d.pop_front()), seq(&[0x93, 1, 0, 1]));
    assert_eq!(patch(&|d| d.swap(1, 5)), seq(&[0x93, 4, 1, 5]));
    assert_eq!(patch(&|d| d.rotate_left(1)), seq(&[0x93, 3, 0, 7]));
    assert_eq!(patch(&|d| d[3] = 9), seq(&[0x93, 0, 3, 0x92, 0, 9]));
    // A queue that moves on: what left is one splice, what came one append.
    let moved = patch(&|d| {
        for n in 20..23 {
            d.push_back(n);
            d.pop_front();
        }
    });
    assert_eq!(moved, [0x93, 4, 0x93, 1, 0, 3, 0x94, 2, 20, 21, 22]);
    // A `VecDeque` of u8 is no bin, and so has no splices of bytes.
    assert_eq!(Deque::<u8>::describe(), VecDeque::<u8>::describe());
    let raw = [0x92, 4, 0x94, 8, 0, 0, 0xc4, 1, 9];
    assert_eq!(apply(&mut deque.clone(), &raw), Err(PatchError::Shape));
}

#[test]
fn an_edit_at_the_end_is_taken_back_and_one_at_the_front_is_not() {
    let deque: Deque<u8> = (0..8).collect();
    let undoes = |edit: fn(&mut Deque<u8>)| {
        let mut ours = deque.clone();
        let shadow = ours.shadow();
        edit(&mut ours);
        let undone = ours.undo(shadow);
        assert!(!undone || ours == deque);
        undone
    };
    assert!(undoes(|d| {
        d.pop_back();
        d.push_back(3);
        d[0] = 5;
        d.truncate(2);
    }));
    assert!(undoes(|d| d.with_deque(|d| d.make_contiguous().reverse())));
    assert!(!undoes(|d| _ = d.pop_front()));
    assert!(!undoes(|d| d.push_front(1)));
}

#[test]
fn an_index_out_of_bounds_panics_before_anything_is_logged() {
    let wrong: [fn(&mut Deque<u8>); 6] = [
        |d| d.insert(4, 1),
        |d| d.swap(0, 3),
        |d| d[3] = 1,
        |d| _ = d.drain(2..4),
        |d| _ = d.split_off(4),
        |d| d.rotate_right(4),
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut deque: Deque<u8> = (0..3).collect();
        let shadow = deque.shadow();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wrong(&mut deque)));
        assert!(caught.is_err(), "method {n} does not panic");
        assert!(flush(&mut deque, &shadow).is_none(), "method {n} logged");
        assert_eq!(deque, [0, 1, 2].to_vec());
    }
}

/// One thing that both can do, done to the deque and to its model.
fn step(rng: &mut Rng, ours: &mut Deque<Row>, model: &mut VecDeque<Row>) {
    let len = model.len() as u64;
    let at = |rng: &mut Rng| rng.below(len.max(1)) as usize;
    let (i, j) = (at(rng), at(rng));
    let what = rng.next();
    let (low, high) = (i.min(j).min(model.len()), i.max(j).min(model.len()));
    let key = move |row: &Row| (u64::from(row.0) * (what | 1)) % 7;
    match rng.below(27) {
        0..=2 => {
            let (a, b) = (ours.get_mut(i), model.get_mut(i));
            assert_eq!(a.is_some(), b.is_some());
            a.into_iter().chain(b).for_each(|row| poke(row, what));
        }
        3 | 4 => {
            let new = some_row(rng);
            ours.push_back(new.clone());
            model.push_back(new);
        }
        5 | 6 => {
            let new = some_row(rng);
            ours.push_front(new.clone());
            model.push_front(new);
        }
        7 => assert_eq!(ours.pop_back(), model.pop_back()),
        8 => assert_eq!(ours.pop_front(), model.pop_front()),
        9 | 10 => {
            let new = some_row(rng);
            ours.insert(i, new.clone());
            model.insert(i, new);
        }
        11 => assert_eq!(ours.remove(i), model.remove(i)),
        12 => assert_eq!(ours.swap_remove_back(i), model.swap_remove_back(i)),
        13 => assert_eq!(ours.swap_remove_front(i), model.swap_remove_front(i)),
        14 => {
            ours.truncate(i);
            model.truncate(i);
        }
        15 if what & 3 == 0 => {
            ours.clear();
            model.clear();
        }
        16 => {
            let new: VecDeque<Row> = (0..3).map(|_| some_row(rng)).collect();
            ours.append(&mut new.clone().into());
            model.extend(new);
        }
        17 => {
            let new = some_row(rng);
            ours.resize(i, new.clone());
            model.resize(i, new);
        }
        18 => {
            let keep = |row: &Row| key(row) > 1;
            ours.retain(keep);
            model.retain(keep);
        }
        19 => {
            let keep = |row: &mut Row| {
                poke(row, what);
                key(row) > 1
            };
            ours.retain_mut(keep);
            model.retain_mut(keep);
        }
        20 => {
            let (a, b) = (ours.drain(low..high), model.drain(low..high));
            assert!(a.rev().eq(b.rev()));
        }
        21 => assert_eq!(ours.split_off(low), model.split_off(low)),
        22 => {
            ours.rotate_left(i);
            model.rotate_left(i);
        }
        23 => {
            ours.rotate_right(i);
            model.rotate_right(i);
        }
        24 => {
            let touch = |row: &mut Row| poke(row, what);
            ours.range_mut(low..high).rev().for_each(touch);
            model.range_mut(low..high).rev().for_each(touch);
        }
        25 if len > 0 => {
            ours.move_item(i, j);
            let item = model.remove(i).expect("there");
            model.insert(j, item);
        }
        26 if what & 7 == 0 => {
            let sort = |d: &mut VecDeque<Row>| d.make_contiguous().sort_by_key(key);
            ours.with_deque(sort);
            sort(model);
        }
        _ => {}
    }
}

#[test]
fn a_deque_does_what_a_vec_deque_does_and_its_patches_tell_it() {
    let mut rng = Rng::new(0xdec);
    let (mut ours, mut model) = (Deque::<Row>::new(), VecDeque::<Row>::new());
    let mut theirs = ours.clone();
    let mut undone = 0;
    for _ in 0..20_000 {
        if model.len() > 30 {
            model.truncate(6);
            ours.truncate(6);
            theirs = ours.clone();
        }
        let steps = 1 + rng.below(4);
        let how = rng.below(6);
        let before = ours.clone();
        let shadow = match how {
            0 => None,
            _ => Some(ours.shadow()),
        };
        (0..steps).for_each(|_| step(&mut rng, &mut ours, &mut model));
        assert_eq!(ours, model);
        match (how, shadow) {
            (1, Some(shadow)) => {
                if ours.undo(shadow) {
                    undone += 1;
                    assert!(ours.same(&before), "{ours:?} was {before:?}");
                }
                ours = before;
                model = ours.clone().into_deque();
            }
            (_, Some(shadow)) => {
                if let Some((patch, _)) = flush(&mut ours, &shadow) {
                    follow(&mut theirs, &patch, &mut rng);
                }
                assert!(theirs.same(&ours), "{theirs:?} should be {ours:?}");
            }
            (_, None) => theirs = ours.clone(),
        }
    }
    assert!(undone > 200, "{undone}");
}
