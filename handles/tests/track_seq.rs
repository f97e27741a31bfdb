//! std's sequences: one splice of what lies between the ends that stayed, or all of it.

mod support;

use std::collections::VecDeque;

use helve_handles::patch::{PatchError, Patcher};
use helve_handles::track::{List, Track, apply};
use support::{Rng, change, flush, follow};

#[test]
fn what_lies_between_the_ends_that_stayed_is_one_splice() {
    let vec: Vec<u16> = (0..20).collect();
    let patch = |edit: &dyn Fn(&mut Vec<u16>)| change(&vec, edit).expect("changed");
    let middle = patch(&|v| {
        v.remove(4);
        v[6] = 99;
        v.insert(5, 98);
    });
    assert_eq!(middle, [0x92, 4, 0x97, 1, 4, 4, 5, 98, 6, 99]);
    assert_eq!(patch(&|v| v.push(7)), [0x92, 4, 0x92, 2, 7]);
    assert_eq!(patch(&|v| v.truncate(9)), [0x92, 4, 0x92, 7, 9]);
    assert_eq!(patch(&|v| _ = v.remove(0)), [0x92, 4, 0x93, 1, 0, 1]);
    assert_eq!(patch(&|v| v.clear()), [0x92, 0, 0x90]);
    assert_eq!(change(&vec, |v| v.sort()), None);
    let boxed: Box<[u16]> = (0..20).collect();
    let patch = change(&boxed, |b| b[3] = 9).expect("changed");
    assert_eq!(patch, [0x92, 4, 0x94, 1, 3, 1, 9]);
    let deque: VecDeque<u8> = (0..20).collect();
    let patch = change(&deque, |d| d.rotate_left(1)).expect("changed");
    assert_eq!(patch[..3], [0x92, 0, 0xdc]);
}

#[test]
fn a_short_one_is_set() {
    let patch = change(&vec![1_u16, 2], |v| v[0] = 3);
    assert_eq!(patch, Some(vec![0x92, 0, 0x92, 3, 2]));
    let patch = change(&vec![1_u8, 2], |v| v.push(3));
    assert_eq!(patch, Some(vec![0x92, 0, 0xc4, 3, 1, 2, 3]));
}

#[test]
fn bytes_are_spliced_as_bytes() {
    let bytes: Vec<u8> = (0..100).collect();
    let splice = [0x92, 4, 0x94, 8, 50, 1, 0xc4, 1, 7];
    assert_eq!(change(&bytes, |b| b[50] = 7), Some(splice.to_vec()));
    let boxed: Box<[u8]> = bytes.clone().into();
    assert_eq!(change(&boxed, |b| b[50] = 7), Some(splice.to_vec()));
    assert_eq!(change(&bytes, |b| b.reverse()).map(|p| p[1]), Some(0));
    assert_eq!(change(&bytes, |b| b.rotate_left(0)), None);
    // Of another shape, or out of range.
    assert_eq!(apply(&mut vec![1_u16], &splice), Err(PatchError::Shape));
    assert_eq!(apply(&mut vec![1_u8], &splice), Err(PatchError::Range));
    let element = [0x92, 4, 0x93, 0, 0, 0x92, 0, 9];
    assert_eq!(apply(&mut vec![1_u8], &element), Err(PatchError::Shape));
    apply(&mut vec![1_u16], &element).expect("fits");
}

#[test]
fn floats_are_compared_by_their_bits() {
    let floats = vec![f64::NAN, 0.0];
    assert_eq!(change(&floats, |_| {}), None);
    let patch = change(&floats, |f| f[1] = -0.0);
    assert!(patch.is_some());
}

#[test]
fn containers_inside_are_compared_by_what_they_hold() {
    let vec: Vec<List<u16>> = vec![[1, 2].into(), [3].into(), (4..40).collect()];
    assert_eq!(change(&vec, |v| v[1] = [3].into()), None);
    let patch = change(&vec, |v| v[1].push(4)).expect("changed");
    assert_eq!(patch, [0x92, 4, 0x94, 1, 1, 1, 0x92, 3, 4]);
}

/// One edit of any of the three.
fn edit<S>(rng: &mut Rng, sequence: &mut S)
where
    S: Clone + IntoIterator<Item = u8> + FromIterator<u8>,
{
    let mut items: Vec<u8> = sequence.clone().into_iter().collect();
    let at = rng.below(items.len() as u64 + 1) as usize;
    match rng.below(6) {
        0 => items.insert(at, rng.next() as u8),
        1 => items.truncate(at),
        2 => items.extend((0..rng.below(40)).map(|n| n as u8 % 3)),
        3 if at < items.len() => items[at] ^= 1,
        4 if at < items.len() => _ = items.remove(at),
        5 if rng.one_in(4) => items.reverse(),
        _ => {}
    }
    *sequence = items.into_iter().collect();
}

fn run<S, W>(seed: u64, wrap: fn(S) -> W)
where
    S: Clone + Default + IntoIterator<Item = u8> + FromIterator<u8>,
    W: Track + std::fmt::Debug,
{
    let mut rng = Rng::new(seed);
    let mut value = S::default();
    let mut theirs = wrap(value.clone());
    for _ in 0..5_000 {
        let mut ours = wrap(value.clone());
        let shadow = ours.shadow();
        (0..1 + rng.below(3)).for_each(|_| edit(&mut rng, &mut value));
        ours = wrap(value.clone());
        if rng.one_in(5) {
            assert!(ours.undo(shadow));
            assert!(ours.same(&theirs));
            value = value.into_iter().take(60).collect();
            theirs = wrap(value.clone());
        } else if let Some((patch, _)) = flush(&mut ours, &shadow) {
            follow(&mut theirs, &patch, &mut rng);
            assert!(theirs.same(&ours), "{theirs:?} should be {ours:?}");
            let mut set = Patcher::new();
            set.set(&ours).expect("encodes");
            assert!(patch.len() <= set.len(), "{patch:x?} for {ours:?}");
        } else {
            assert!(theirs.same(&ours));
        }
    }
}

#[test]
fn patches_of_random_edits_apply_and_are_never_longer_than_all_of_it() {
    run::<Vec<u8>, _>(1, |bytes| bytes);
    run::<Vec<u8>, Box<[u8]>>(2, Into::into);
    run::<VecDeque<u8>, _>(3, |deque| deque);
    run::<Vec<u8>, Vec<u16>>(4, |v| v.into_iter().map(u16::from).collect());
    run::<Vec<u8>, Box<[u16]>>(5, |v| v.into_iter().map(u16::from).collect());
}
