//! Drafts beside what others changed since: which of them conflict.

#[path = "support/model.rs"]
mod model;

use helve_handles::patch::conflicts;
use model::{Rng, Ty, apply, change, list, map, random, seed, zoo};

/// Drafts and changes of others, made of one value.
fn hold(ty: &Ty, rounds: u64) {
    let (mut free, mut over) = (0, 0);
    for round in 0..rounds {
        let seed = seed() + round;
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let value = random(ty, &mut rng);
        let (mut drafted, mut changed) = (value.clone(), value.clone());
        let draft = change(ty, &mut drafted, &mut rng);
        let since = change(ty, &mut changed, &mut rng);
        if conflicts(false, &draft.0, &since.0) {
            if !conflicts(true, &draft.0, &since.0) {
                over += 1;
                // It fits, or says that it does not.
                _ = apply(ty, &mut changed, &draft.0, &draft.1);
            }
            continue;
        }
        assert!(!conflicts(true, &draft.0, &since.0), "seed {seed}");
        assert!(!conflicts(false, &since.0, &draft.0), "seed {seed}");
        // A node that changes nothing conflicts with nothing, yet needs its place; nobody but a test writes one.
        let has_empty = |patch: &[u8]| {
            let mut pairs = patch.windows(2);
            pairs.any(|pair| matches!(pair, [0x91, 1 | 2 | 4 | 5] | [0x92, 6]))
        };
        if has_empty(&draft.0) || has_empty(&since.0) {
            continue;
        }
        // Then neither knows of the other: they go in either order, to the same value.
        free += 1;
        let context = || format!("seed {seed}: {:x?} since {:x?}", draft.0, since.0);
        let applied = apply(ty, &mut changed, &draft.0, &draft.1);
        assert_eq!(applied, Ok(()), "{}", context());
        let applied = apply(ty, &mut drafted, &since.0, &since.1);
        assert_eq!(applied, Ok(()), "{}", context());
        assert_eq!(changed, drafted, "{}", context());
    }
    assert!(
        free > rounds / 10 && over > rounds / 100,
        "{free} {over} of {rounds}"
    );
}

#[test]
fn a_draft_that_does_not_conflict_goes_before_or_after_the_others_alike() {
    hold(&zoo(), 15_000);
    hold(&map(map(Ty::Counter)), 10_000);
}

#[test]
fn what_conflicts_with_what() {
    let set = [0x93, 2, 7, 0x92, 0, 1];
    let removed = [0x93, 2, 7, 0xc0];
    let added = [0x93, 2, 7, 0x92, 3, 1];
    let inside = [0x93, 2, 7, 0x93, 1, 0, 0x92, 0, 1];
    let edited = [0x93, 2, 7, 0x92, 4, 0x92, 2, 1];
    let text = [0x93, 2, 7, 0x94, 5, 0, 0, 0xa1, b'x'];
    let whole = [0x92, 0, 0x80];
    let other = [0x93, 2, 8, 0x92, 0, 1];
    let set_then_edited = [0x93, 2, 7, 0x93, 7, 0x92, 0, 0x90, 0x92, 4, 0x92, 2, 1];
    let variant = [0x93, 2, 7, 0x94, 6, 1, 0, 0x92, 0, 1];
    let another = [0x93, 2, 7, 0x94, 6, 2, 0, 0x92, 0, 1];
    // Draft, what happened since, whether they conflict: disjoint, and with the last one winning.
    let cases: [(&[u8], &[u8], bool, bool); 31] = [
        (&set, &other, false, false),
        (&edited, &other, false, false),
        (&set, &set, true, false),
        (&set, &removed, true, false),
        (&removed, &set, true, false),
        (&removed, &removed, true, false),
        (&set, &added, true, false),
        (&added, &set, true, false),
        (&added, &removed, true, true),
        // Additions go together.
        (&added, &added, false, false),
        // Above and below.
        (&whole, &inside, true, false),
        (&inside, &whole, true, false),
        (&set, &inside, true, false),
        (&inside, &set, true, false),
        (&inside, &removed, true, true),
        (&inside, &inside, true, false),
        // Positions of a value that has changed.
        (&edited, &edited, true, true),
        (&edited, &set, true, true),
        (&edited, &removed, true, true),
        (&edited, &whole, true, true),
        (&text, &text, true, true),
        (&set, &edited, true, false),
        // Positions of the draft's own value.
        (&set_then_edited, &edited, true, false),
        (&edited, &set_then_edited, true, true),
        // Variants.
        (&variant, &variant, true, false),
        (&variant, &another, true, true),
        // Nothing.
        (&[0x91, 1], &whole, false, false),
        (&whole, &[0x91, 1], false, false),
        (&edited, &[0x93, 2, 7, 0x91, 4], false, false),
        // A draft that is none is told by applying it; and nobody knows what this did.
        (&[0x91], &whole, false, false),
        (&set, &[0x91], true, true),
    ];
    for (draft, since, disjoint, lww) in cases {
        assert_eq!(
            conflicts(false, draft, since),
            disjoint,
            "{draft:x?} since {since:x?}"
        );
        assert_eq!(
            conflicts(true, draft, since),
            lww,
            "{draft:x?} since {since:x?}, last wins"
        );
    }
}

#[test]
fn one_place_named_twice_is_looked_at_twice() {
    // Field 0: its field 1, then its field 2.
    let twice = [
        0x95, 1, 0, 0x93, 1, 1, 0x92, 0, 1, 0, 0x93, 1, 2, 0x92, 0, 1,
    ];
    for at in [1, 2] {
        let other = [0x93, 1, 0, 0x93, 1, at, 0x92, 0, 1];
        assert!(conflicts(false, &other, &twice) && conflicts(false, &twice, &other));
    }
    assert!(!conflicts(
        false,
        &[0x93, 1, 0, 0x93, 1, 3, 0x92, 0, 1],
        &twice
    ));
}

#[test]
fn corrupted_drafts_do_no_harm() {
    let (ty, mut rng) = (list(zoo()), Rng(seed() | 1));
    let mut value = random(&ty, &mut rng);
    for _ in 0..10_000 {
        let (mut draft, _) = change(&ty, &mut value, &mut rng);
        let (since, _) = change(&ty, &mut value, &mut rng);
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(draft.len());
            draft[at] = rng.next() as u8;
        }
        // What the one mode takes for free, the other does.
        assert!(conflicts(false, &draft, &since) || !conflicts(true, &draft, &since));
    }
}
