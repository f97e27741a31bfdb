//! What `#[derive(Track)]` makes: what a change is written as, that it applies, and that it can be taken back.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod track {
    mod corrupt;
    mod enums;
    mod hygiene;
    mod keys;
    mod large;
    mod play;
    mod structs;
    mod vectors;
    mod zoo;
}

use helve::Track;
use helve_handles::patch::{PatchError, Patcher};
use helve_handles::track::apply;

/// What a value looks like on the wire.
fn encode<T: Track>(value: &T) -> Vec<u8> {
    let mut patcher = Patcher::new();
    patcher.value(value).expect("encodes");
    patcher.finish().expect("within its limits").0
}

/// What an edit of `value` writes; nothing where it changed nothing.
fn edit<T: Track>(value: &mut T, edit: impl FnOnce(&mut T)) -> Option<Vec<u8>> {
    let shadow = value.shadow();
    edit(value);
    let mut patcher = Patcher::new();
    let changed = value.flush(&shadow, &mut patcher).expect("encodes");
    let (patch, _) = patcher.finish().expect("within its limits");
    assert_eq!(changed, !patch.is_empty());
    changed.then_some(patch)
}

/// What an edit is written as. Applied to a copy it gives the same value, also where that is watched, which then writes
/// the same; and it can be taken back, or says that it cannot.
fn change<T: Track>(value: &T, by: impl Fn(&mut T)) -> Option<Vec<u8>> {
    let mut ours = value.clone();
    let patch = edit(&mut ours, &by);

    let mut undone = value.clone();
    let shadow = undone.shadow();
    by(&mut undone);
    if undone.undo(shadow) {
        assert_eq!(encode(&undone), encode(value), "taken back");
    }
    let Some(patch) = patch else {
        assert!(ours.same(value), "a change was not noticed");
        return None;
    };
    let mut theirs = value.clone();
    apply(&mut theirs, &patch).expect("fits");
    assert!(theirs.same(&ours));
    assert_eq!(encode(&theirs), encode(&ours), "applied");
    let mut host = value.clone();
    let again = edit(&mut host, |host| apply(host, &patch).expect("fits"));
    assert_eq!(again.as_deref(), Some(&*patch), "written again");
    Some(patch)
}

/// Why `patch` does not fit.
fn refused<T: Track>(value: &T, patch: &[u8]) -> PatchError {
    apply(&mut value.clone(), patch).expect_err("does not fit")
}
