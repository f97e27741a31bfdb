//! What the tests of tracked values share: an edit and its patch, and numbers from a seed.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "a module of each test")]

pub mod cells;
pub mod rows;
pub mod sticky;

use std::fmt::Debug;

use helve_handles::Reference;
use helve_handles::patch::Patcher;
use helve_handles::track::{Track, apply};

/// Edits a value; returns its patch after having applied it to a copy, and having taken the same edit back on another.
pub fn change<T: Track + Debug>(value: &T, edit: impl Fn(&mut T)) -> Option<Vec<u8>> {
    let mut ours = value.clone();
    let shadow = ours.shadow();
    edit(&mut ours);
    let mut patcher = Patcher::new();
    let changed = ours.flush(&shadow, &mut patcher).expect("encodes");
    let (patch, _) = patcher.finish().expect("within its limits");
    assert_eq!(changed, !patch.is_empty());

    let mut undone = value.clone();
    let shadow = undone.shadow();
    edit(&mut undone);
    if undone.undo(shadow) {
        assert!(undone.same(value), "undo left {undone:?} of {value:?}");
    }
    if !changed {
        assert!(ours.same(value), "unnoticed: {ours:?} was {value:?}");
        return None;
    }
    let mut theirs = value.clone();
    apply(&mut theirs, &patch).expect("fits");
    assert!(theirs.same(&ours), "{theirs:?} should be {ours:?}");
    Some(patch)
}

/// The patch for what changed since `shadow`, and the references in it.
pub fn flush<T: Track>(value: &mut T, shadow: &T::Shadow) -> Option<(Vec<u8>, Vec<Reference>)> {
    let mut patcher = Patcher::new();
    let changed = value.flush(shadow, &mut patcher).expect("encodes");
    let patch = patcher.finish().expect("within its limits");
    assert_eq!(changed, !patch.0.is_empty());
    changed.then_some(patch)
}

/// Applies `patch`, sometimes as a host would whose own followers are to hear of it: what it tells them must do the same.
pub fn follow<T: Track + Debug>(value: &mut T, patch: &[u8], rng: &mut Rng) {
    if rng.one_in(2) {
        apply(value, patch).expect("fits");
        return;
    }
    let mut follower = value.clone();
    let shadow = value.shadow();
    apply(value, patch).expect("fits while armed");
    if let Some((patch, _)) = flush(value, &shadow) {
        apply(&mut follower, &patch).expect("fits again");
    }
    assert!(follower.same(value), "{follower:?} should be {value:?}");
}

/// Numbers that look random, the same for a seed on every machine.
pub struct Rng {
    state: u64,
    /// Set by a program that did what cannot be undone: it moved a container away.
    pub lost: bool,
}

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Rng { state, lost: false }
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
