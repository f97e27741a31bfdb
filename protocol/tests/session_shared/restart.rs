//! SYNC 1 again, SYNC 0, and what crosses them (R20.3, R20.7, R11.11).

use super::*;

#[test]
fn after_a_restart_deltas_are_ignored_until_a_snapshot() {
    // R20.3, R20.1: also one that fits, where `have` was not sent.
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    let new = follow(&mut pair, old.import(), None);
    assert!(!pair.session(A).is_following(old));
    pair.run();
    let fresh = match said(&mut pair, B)[..] {
        [
            Shared::Unsubscribed(was),
            Shared::Subscribed(_, fresh, None),
        ] if was == key => fresh,
        ref other => panic!("not started over: {other:?}"),
    };
    let gone = try_publish(&mut pair, key, delta(1, 2), &[1]);
    assert!(matches!(gone, Poll::Ready(Err(fault)) if fault.code == Code::Gone));
    let object = pair.object();
    let caps = [Cap::Given(object.clone())];
    publish_caps(&mut pair, fresh, delta(1, 2), ARGS[1], &caps);
    publish(&mut pair, fresh, snap(2), &[1]);
    publish(&mut pair, fresh, delta(2, 3), &[1]);
    drop(caps);
    pair.settle();
    assert_eq!(changes(&mut pair, new), [snap(2), delta(2, 3)]);
    assert_eq!(pair.session(A).sizes().imports, 1, "its cap was released");
    drop(object);
    pair.finish();
}

#[test]
fn after_a_restart_from_what_is_there_the_delta_that_fits_is_the_first() {
    // R20.3
    let mut pair = Pair::new();
    let (old, _) = live(&mut pair);
    let new = follow(&mut pair, old.import(), Some((EPOCH, 1)));
    pair.run();
    let Some(Shared::Subscribed(_, key, Some((EPOCH, 1)))) = said(&mut pair, B).pop() else {
        panic!("not started over");
    };
    for (from, to) in [(3, 4), (0, 1), (1, 4), (4, 5)] {
        publish(&mut pair, key, delta(from, to), &[1]);
    }
    pair.run();
    assert_eq!(changes(&mut pair, new), [delta(1, 4), delta(4, 5)]);
    pair.finish();
}

#[test]
fn what_a_restart_crosses_is_dropped_and_takes_nothing_of_the_new_window() {
    // R20.3, R20.8, R19.7: the old window was used up, and so is the new one; neither is a violation.
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    let object = pair.object();
    let caps = [Cap::Given(object.clone())];
    publish_caps(&mut pair, key, delta(1, 2), ARGS[1], &caps);
    publish(&mut pair, key, delta(2, 3), &bytes(WINDOW as usize));
    drop(caps);
    pair.transmit(B);
    let new = follow(&mut pair, old.import(), Some((EPOCH, 1)));
    // They are on their way, and were sent before B read the SYNC 1.
    pair.deliver(A, usize::MAX);
    assert!(updates(&mut pair, new).is_empty());
    pair.run();
    let Some(Shared::Subscribed(_, key, _)) = said(&mut pair, B).pop() else {
        panic!("not started over");
    };
    publish(&mut pair, key, delta(1, 3), &bytes(WINDOW as usize - 65));
    publish(&mut pair, key, delta(3, 4), &bytes(PAYLOAD_MAX));
    pair.settle();
    assert_eq!(changes(&mut pair, new), [delta(1, 3), delta(3, 4)]);
    assert_eq!(pair.session(A).sizes().imports, 1);
    drop(object);
    pair.finish();
}

#[test]
fn what_stands_in_one_message_with_the_ack_of_a_restart_is_no_violation_either() {
    // R20.8, R19.7: gathered before B read the SYNC 1, sealed after.
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    publish(&mut pair, key, delta(1, 2), &bytes(WINDOW as usize - 200));
    let new = follow(&mut pair, old.import(), Some((EPOCH, 1)));
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    let Some(Shared::Subscribed(_, key, _)) = said(&mut pair, B).pop() else {
        panic!("not started over");
    };
    publish(&mut pair, key, delta(1, 3), &bytes(WINDOW as usize - 65));
    publish(&mut pair, key, delta(3, 4), &bytes(PAYLOAD_MAX));
    pair.run();
    // It fits, so it is taken: whoever keeps the replica starts over once more where what follows does not.
    assert_eq!(
        changes(&mut pair, new),
        [delta(1, 2), delta(1, 3), delta(3, 4)]
    );
    pair.finish();
}

#[test]
fn unfollow_drops_what_crosses_it_and_gives_its_references_back() {
    // R20.8, R11.11, I3.3
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    let object = pair.object();
    for rev in 1..101 {
        let caps = [Cap::Given(object.clone())];
        publish_caps(&mut pair, key, delta(rev, rev + 1), ARGS[1], &caps);
        assert!(!pair.session(B).publishable(key) || rev < 100);
        if !pair.session(B).publishable(key) {
            break;
        }
    }
    let mark = pair.mark(A);
    pair.session(A).unfollow(follow);
    // More frames that name nothing than a session may have.
    pair.settle();
    unsubscribed(&mut pair, key);
    assert!(updates(&mut pair, follow).is_empty());
    assert_eq!(syncs(&mut pair, mark), [(1, 0, 0, None)]);
    for side in [A, B] {
        assert_eq!(pair.session(side).sizes().follows, 0, "{side:?}");
    }
    assert_eq!(pair.session(A).sizes().imports, 1, "the handle lives on");
    // A second time has no effect.
    pair.session(A).unfollow(follow);
    assert!(!pair.session(A).wants_transmit());
    drop(object);
    pair.finish();
}

#[test]
fn what_was_left_may_be_followed_again_at_once() {
    // R20.1, R20.8
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    publish(&mut pair, key, delta(1, 2), &[1]);
    pair.session(A).unfollow(old);
    let new = follow(&mut pair, old.import(), None);
    pair.run();
    let Some(Shared::Subscribed(_, key, None)) = said(&mut pair, B).pop() else {
        panic!("not subscribed");
    };
    publish(&mut pair, key, snap(2), &[1]);
    pair.settle();
    assert_eq!(changes(&mut pair, new), [snap(2)]);
    pair.finish();
}

#[test]
fn an_end_that_crosses_a_restart_does_not_end_it() {
    // R20.8
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    pair.session(B)
        .end_subscription(key, Fault::new(Code::Exhausted, "slow"));
    pair.transmit(B);
    let new = follow(&mut pair, old.import(), None);
    pair.run();
    let key = subscriber(&mut pair);
    publish(&mut pair, key, snap(2), &[1]);
    pair.run();
    assert_eq!(changes(&mut pair, new), [snap(2)]);
    pair.finish();
}

#[test]
fn an_end_that_may_have_crossed_a_restart_leaves_nothing_behind_at_the_host() {
    // R20.8: gathered before B read the SYNC 1, so A cannot tell which of the two it ends.
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    pair.session(B)
        .end_subscription(key, Fault::new(Code::Exhausted, "slow"));
    let new = follow(&mut pair, old.import(), None);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    let key = subscriber(&mut pair);
    publish(&mut pair, key, snap(2), &[1]);
    pair.run();
    assert_eq!(ended(&mut pair, new).map(|f| f.code), Some(Code::Exhausted));
    pair.settle();
    unsubscribed(&mut pair, key);
    for side in [A, B] {
        assert_eq!(pair.session(side).sizes().follows, 0, "{side:?}");
    }
    pair.finish();
}

#[test]
fn an_end_that_waits_for_room_is_not_said_behind_the_next_sync() {
    // R20.11, S5.4: its ack would say that it is of the new subscription.
    for long in [false, true] {
        let mut pair = Pair::with(&Setup {
            replay: Some(150_000),
            ..Setup::default()
        });
        let (old, key) = live(&mut pair);
        let len = if long { 300_000 } else { 60_000 };
        publish(&mut pair, key, delta(1, 2), &bytes(len));
        pair.transmit(B);
        let mark = pair.mark(B);
        let fault = Fault::new(Code::Exhausted, "slow");
        pair.session(B).end_subscription(key, fault);
        assert_eq!(pair.session(B).sizes().follows, 1, "it waits");
        let new = follow(&mut pair, old.import(), None);
        // Without an ack of what fills the buffer.
        let acked = pair.session(A).received();
        pair.transmit(A);
        pair.deliver(B, usize::MAX);
        assert_eq!(acked, pair.session(A).received());
        pair.settle();
        let key = subscriber(&mut pair);
        publish(&mut pair, key, snap(2), &[1]);
        pair.settle();
        assert_eq!(changes(&mut pair, new), [snap(2)]);
        assert!(!kinds_of(&mut pair, B, mark).contains(&10));
        pair.finish();
    }
}

#[test]
fn a_name_that_is_given_out_anew_stands_for_nothing_of_before() {
    // R20.12, R20.11, R1.6: more updates than there may be frames that name nothing, before the name comes again and behind it.
    let mut pair = Pair::new();
    let (object, import) = shared(&mut pair);
    let old = pair.session(A).follow(import, 1 << 20, None).unwrap();
    pair.run();
    let key = subscriber(&mut pair);
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    publish(&mut pair, key, snap(1), &[1]);
    let deltas = |pair: &mut Pair, from: u64| {
        for rev in from..from + 80 {
            publish(pair, key, delta(rev, rev + 1), &[1]);
        }
    };
    deltas(&mut pair, 1);
    let running = pair.started(B);
    pair.ret_caps(B, running, &[Cap::Given(object.clone())]);
    deltas(&mut pair, 81);
    pair.drop_handle(A, import);
    pair.transmit(B);
    pair.deliver(A, usize::MAX);
    let again = harness::import(&pair.ok(A, call)[0]);
    assert_ne!(again, import);
    // It is followed before the host knows that it was left.
    let new = follow(&mut pair, again, None);
    deltas(&mut pair, 161);
    pair.run();
    let Some(Shared::Subscribed(_, key, None)) = said(&mut pair, B).pop() else {
        panic!("not subscribed");
    };
    publish(&mut pair, key, snap(300), &[1]);
    pair.settle();
    assert_eq!(changes(&mut pair, new), [snap(300)]);
    assert!(!pair.session(A).is_following(old));
    drop(object);
    pair.finish();
}
