//! Owner and follower of a shared value: revisions, rollback, and what those who lag are served.

use helve_handles::patch::{EncodeError, PatchError};
use helve_handles::shared::{Applied, Follower, Payload, Tracked, Update, UpdateError};
use helve_handles::track::Counter;

type Doc = (u32, String, Counter, Option<Box<(u8, u8)>>);

fn doc(title: &str) -> Doc {
    (1, title.to_owned(), Counter::new(0), None)
}

/// Brings a follower to the head, and returns how many bytes that took.
fn catch_up(follower: &mut Follower<Doc>, owner: &mut Tracked<Doc>) -> usize {
    let mut bytes = 0;
    let mut steps = 0;
    loop {
        let history = owner.history().expect("encodes");
        let Some(update) = history
            .lock()
            .expect("whole")
            .next(follower.have().map(|(_, rev)| rev))
        else {
            break;
        };
        steps += 1;
        assert!(steps < 2000, "it never gets there");
        let before = follower.rev();
        let applied = match &update {
            Update::Snapshot { rev, value } => {
                bytes += value.bytes.len();
                follower.snapshot(1, *rev, &value.bytes, &value.refs)
            }
            Update::Delta { from, to, node } => {
                bytes += node.bytes.len();
                follower.delta(*from, *to, &node.bytes, &node.refs)
            }
        };
        assert!(
            matches!(applied, Applied::Now(rev) if rev > before),
            "{applied:?}"
        );
    }
    assert_eq!(follower.value(), Some(&**owner));
    assert_eq!(follower.rev(), owner.rev());
    bytes
}

#[test]
fn a_follower_gets_all_of_it_once_and_then_changes() {
    let mut owner = Tracked::new(doc(&"t".repeat(1000)));
    let mut follower = Follower::default();
    assert!(catch_up(&mut follower, &mut owner) > 1000);
    assert_eq!(catch_up(&mut follower, &mut owner), 0);
    owner.change(|doc| doc.0 = 2).expect("commits");
    assert!(catch_up(&mut follower, &mut owner) < 10);
    // What does not change does not count.
    let rev = owner.rev();
    owner.change(|doc| doc.0 = 2).expect("commits");
    assert_eq!(owner.rev(), rev);
}

#[test]
fn an_edit_that_fails_or_is_dropped_or_panics_never_was() {
    for long in [10, 100_000] {
        let mut owner = Tracked::new(doc(&"t".repeat(long)));
        owner.change(|doc| doc.2.set(7)).expect("commits");
        let (before, rev) = (owner.clone_value(), owner.rev());
        let mess = |doc: &mut Doc| {
            doc.0 = 99;
            doc.1.insert(3, 'X');
            doc.2.add(5);
            doc.3 = Some(Box::new((1, 2)));
        };
        let refused = owner.update(|doc| {
            mess(doc);
            Err::<(), _>("no")
        });
        assert_eq!(refused, Err(UpdateError::App("no")));
        assert_eq!((&*owner, owner.rev()), (&before, rev));

        mess(&mut owner.edit().expect("begins"));
        assert_eq!((&*owner, owner.rev()), (&before, rev));

        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            _ = owner.change(|doc| {
                mess(doc);
                panic!("in the middle");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!((&*owner, owner.rev()), (&before, rev));
        let mut follower = Follower::default();
        catch_up(&mut follower, &mut owner);
    }
}

trait CloneValue {
    fn clone_value(&self) -> Doc;
}

impl CloneValue for Tracked<Doc> {
    fn clone_value(&self) -> Doc {
        (**self).clone()
    }
}

#[test]
fn a_guard_that_was_leaked_is_told_with_the_next_edit() {
    let mut owner = Tracked::new(doc("t"));
    let mut follower = Follower::default();
    catch_up(&mut follower, &mut owner);
    let mut edit = owner.edit().expect("begins");
    edit.0 = 77;
    #[allow(clippy::mem_forget, reason = "what is tested")]
    std::mem::forget(edit);
    owner.change(|doc| doc.1.push('!')).expect("commits");
    assert_eq!((owner.0, owner.1.as_str()), (77, "t!"));
    catch_up(&mut follower, &mut owner);
}

#[test]
fn a_value_above_its_limit_is_refused_and_taken_back() {
    let mut owner = Tracked::new(doc("t")).with_limit(2000);
    let mut follower = Follower::default();
    owner.change(|doc| doc.1 = "x".repeat(1900)).expect("fits");
    let too_large = owner.change(|doc| doc.1.push_str(&"y".repeat(200)));
    assert_eq!(too_large, Err(EncodeError::TooLarge { limit: 2000 }));
    assert_eq!(owner.1.len(), 1900);
    // Many small changes of one place are no growth.
    for n in 0..1000 {
        owner.change(|doc| doc.0 = 1000 + n).expect("fits");
    }
    catch_up(&mut follower, &mut owner);
}

#[test]
fn what_others_are_served_from_stays_within_its_bounds() {
    let mut owner = Tracked::new(doc(&"t".repeat(100_000)));
    let mut early: Follower<Doc> = Follower::default();
    catch_up(&mut early, &mut owner);
    for n in 0..5_000_u32 {
        owner
            .change(|doc| {
                doc.0 = n;
                _ = doc.2.add(1);
            })
            .expect("commits");
        let size = owner
            .history()
            .expect("encodes")
            .lock()
            .expect("whole")
            .size();
        assert!(size <= 3 * 100_100, "{size} at {n}");
    }
    // Long gone: all of it, and at most a little more.
    assert!(catch_up(&mut early, &mut owner) < 102_000);
    let mut late = Follower::default();
    assert!(catch_up(&mut late, &mut owner) < 102_000);
}

#[test]
fn a_change_is_never_much_longer_than_the_value() {
    let mut owner: Tracked<[u8; 32]> = Tracked::new([0; 32]);
    owner.change(|all| all.fill(1)).expect("commits");
    let history = owner.history().expect("encodes");
    let mut history = history.lock().expect("whole");
    let whole = history.snapshot_len();
    match history.next(Some(1)) {
        Some(Update::Delta { node, .. }) => assert!(node.bytes.len() <= whole + 16),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_follower_never_applies_what_does_not_lead_on() {
    let mut owner = Tracked::new(doc("t"));
    let mut follower = Follower::default();
    assert_eq!(follower.delta(1, 2, &[0x91, 1], &[]), Applied::Gap);
    catch_up(&mut follower, &mut owner);
    assert_eq!(follower.delta(2, 3, &[0x91, 1], &[]), Applied::Gap);
    assert_eq!(follower.delta(1, 2, &[0x91, 1], &[]), Applied::Now(2));
    assert_eq!(follower.delta(1, 2, &[0x91, 1], &[]), Applied::Old);
    // A change that fails half way: torn, until all of it comes again.
    let bad = [0x95, 1, 0, 0x92, 0, 9, 9, 0xc0];
    assert_eq!(
        follower.delta(2, 3, &bad, &[]),
        Applied::Torn(PatchError::Field)
    );
    assert_eq!((follower.value(), follower.have()), (None, None));
    assert_eq!(follower.delta(2, 3, &[0x91, 1], &[]), Applied::Gap);
    for n in 0..3 {
        owner
            .change(|doc| doc.1 = n.to_string().repeat(3000))
            .expect("commits");
    }
    catch_up(&mut follower, &mut owner);
}

#[test]
fn a_change_from_elsewhere_is_made_whole_or_not_at_all() {
    // P1.7, P1.9: all or nothing, within a quota.
    let mut owner = Tracked::new(doc("t"));
    let payload = |bytes: &[u8]| Payload::of(bytes.to_vec(), Vec::new());
    let good = payload(&[0x93, 1, 0, 0x92, 0, 9]);
    assert_eq!(owner.apply(&good, 100), Ok(Some(2)));
    assert_eq!(owner.0, 9);
    let bad = payload(&[0x95, 1, 0, 0x92, 0, 10, 9, 0xc0]);
    assert!(owner.apply(&bad, 100).is_err());
    let too_many = payload(&[0x95, 1, 0, 0x92, 0, 10, 0, 0x92, 0, 11]);
    assert!(owner.apply(&too_many, 1).is_err());
    assert_eq!((owner.0, owner.rev()), (9, 2));
}

#[test]
fn a_replica_shows_no_revision_older_than_one_that_it_has_shown() {
    // R20.13: all of the value may come as it was before, and then what leads on.
    let mut owner = Tracked::new(doc("t"));
    let mut follower: Follower<Doc> = Follower::default();
    let served = owner.history().expect("encodes");
    let next = |cursor| served.lock().expect("whole").next(cursor);
    let Some(Update::Snapshot { rev, value }) = next(None) else {
        panic!("all of it");
    };
    let all = |follower: &mut Follower<Doc>, epoch| {
        follower.snapshot(epoch, rev, &value.bytes, &value.refs)
    };
    assert_eq!(all(&mut follower, 1), Applied::Now(1));
    for n in 5..7 {
        owner.change(|doc| doc.0 = n).expect("commits");
    }
    let Some(Update::Delta { from, to, node }) = next(Some(1)) else {
        panic!("a change");
    };
    let on = |follower: &mut Follower<Doc>| follower.delta(from, to, &node.bytes, &node.refs);
    assert_eq!(on(&mut follower), Applied::Now(3));
    assert_eq!(all(&mut follower, 1), Applied::Now(3));
    assert_eq!(
        (follower.value(), follower.have(), follower.rev()),
        (None, None, 3)
    );
    assert_eq!(on(&mut follower), Applied::Now(3));
    assert_eq!(follower.value(), Some(&*owner));
    // Another life begins where it begins.
    assert_eq!(all(&mut follower, 2), Applied::Now(1));
    assert_eq!((follower.have(), follower.rev()), (Some((2, 1)), 1));
}
