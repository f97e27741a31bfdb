//! Results that wait for replicas (R10.5).

use super::*;

/// A call of A's that B answers with `nil`, naming revisions of what it changed.
fn changed(pair: &mut Pair, revs: &[(SubscriberKey, u64)]) -> CallKey {
    let call = ask(pair);
    answer(pair, revs);
    pair.run();
    call
}

fn ask(pair: &mut Pair) -> CallKey {
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    call
}

fn answer(pair: &mut Pair, revs: &[(SubscriberKey, u64)]) {
    let running = pair.started(B);
    let id = running.id();
    pair.session(B)
        .respond_changed(id, Reply::Value(&[0xc0], &[]), revs);
    drop(running);
}

/// Whether its result may be taken; it is not.
fn waits(pair: &mut Pair, call: CallKey) -> bool {
    let flag = Flag::new();
    let mut key = call;
    let held = pair
        .session(A)
        .poll_call(&mut key, &flag.waker())
        .is_pending();
    assert!(!flag.take());
    held
}

#[test]
fn a_result_is_handed_out_once_the_replica_is_there() {
    // R10.5, R13.7
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    let call = ask(&mut pair);
    let flag = Flag::new();
    let mut polled = call;
    assert!(
        pair.session(A)
            .poll_call(&mut polled, &flag.waker())
            .is_pending()
    );
    let mark = pair.mark(B);
    answer(&mut pair, &[(key, 3)]);
    pair.run();
    let frames = pair.frames(B, mark);
    assert!(matches!(frames[0].frame, Frame::Ret { seen, .. } if !seen.is_empty()));
    // RET is there: its permit came back, and nobody is woken.
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    assert!(!flag.take());
    assert!(waits(&mut pair, call));
    assert!(
        pair.session(A)
            .poll_call(&mut polled, &flag.waker())
            .is_pending()
    );
    for (rev, there) in [(2, false), (3, true)] {
        publish(&mut pair, key, delta(rev - 1, rev), &[1]);
        pair.run();
        update(&mut pair, follow);
        assert!(!flag.take(), "it came, and is not applied");
        pair.session(A).at(follow, EPOCH, rev);
        pair.collect(A);
        assert_eq!(flag.take(), there);
    }
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn a_result_waits_for_nothing_that_is_there_or_not_followed() {
    // R10.5
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    pair.session(A).at(follow, EPOCH, 5);
    let call = changed(&mut pair, &[(key, 5)]);
    pair.ok(A, call);
    // The host names only what the caller follows.
    let (_, gone) = live(&mut pair);
    pair.session(B)
        .end_subscription(gone, Fault::new(Code::Exhausted, ""));
    let mark = pair.mark(B);
    let call = changed(&mut pair, &[(gone, 9)]);
    let frames = pair.frames(B, mark);
    let ret = frames.iter().find(|read| read.kind() == 4).expect("a RET");
    assert!(matches!(ret.frame, Frame::Ret { seen, .. } if seen.is_empty()));
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn a_wait_ends_however_the_replica_ends() {
    // R10.5: END, BROKEN, unfollowed, released, another life of the value; and by no restart.
    for how in ["end", "broken", "unfollow", "release", "epoch"] {
        let mut pair = Pair::new();
        let (object, import) = shared(&mut pair);
        let first = follow(&mut pair, import, None);
        pair.run();
        let key = subscriber(&mut pair);
        publish(&mut pair, key, snap(1), &[1]);
        pair.run();
        update(&mut pair, first);
        pair.session(A).at(first, EPOCH, 1);
        let call = changed(&mut pair, &[(key, 3)]);
        let follow = follow(&mut pair, import, None);
        assert!(waits(&mut pair, call), "{how}");
        pair.run();
        let Some(Shared::Subscribed(_, key, _)) = said(&mut pair, B).pop() else {
            panic!("not started over");
        };
        match how {
            "end" => pair
                .session(B)
                .end_subscription(key, Fault::new(Code::Exhausted, "slow")),
            "broken" => pair.revoke(B, &object),
            "unfollow" => pair.session(A).unfollow(follow),
            "release" => pair.drop_handle(A, import),
            _ => {
                publish(&mut pair, key, snap_of(EPOCH + 1, 1), &[1]);
                pair.run();
                assert!(waits(&mut pair, call), "it came, and is not applied");
                pair.session(A).at(follow, EPOCH + 1, 1);
            }
        }
        pair.run();
        pair.ok(A, call);
        drop(object);
        pair.finish();
    }
}

#[test]
fn the_end_of_the_session_hands_out_what_was_held() {
    // R10.5, R17.5
    let mut pair = Pair::new();
    let (_, key) = live(&mut pair);
    let call = changed(&mut pair, &[(key, 3)]);
    let flag = Flag::new();
    let mut polled = call;
    assert!(
        pair.session(A)
            .poll_call(&mut polled, &flag.waker())
            .is_pending()
    );
    pair.session(A).end(lost());
    pair.collect(A);
    assert!(flag.take());
    pair.ok(A, call);
    pair.finish_broken();
}

#[test]
fn a_result_waits_for_all_that_it_names_and_in_its_own_life() {
    // R10.5: a replica that is on its way to a new life is not there by a number of the old one.
    let mut pair = Pair::new();
    let (one, first) = live(&mut pair);
    let (two, second) = live(&mut pair);
    pair.session(A).at(one, EPOCH, 100);
    publish(&mut pair, first, snap_of(EPOCH + 1, 2), &[1]);
    pair.run();
    let call = changed(&mut pair, &[(first, 3), (second, 2)]);
    said(&mut pair, A);
    pair.session(A).at(two, EPOCH, 2);
    assert!(waits(&mut pair, call));
    pair.session(A).at(one, EPOCH, 101);
    assert!(waits(&mut pair, call));
    pair.session(A).at(one, EPOCH + 1, 2);
    assert!(waits(&mut pair, call));
    pair.session(A).at(one, EPOCH + 1, 3);
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn a_result_waits_for_a_replica_that_has_nothing_yet() {
    // R10.5
    let mut pair = Pair::new();
    let (follow, key) = followed(&mut pair);
    let early = changed(&mut pair, &[(key, 2)]);
    assert!(waits(&mut pair, early));
    // Whatever life a snapshot behind the result shows, it is not before it.
    publish(&mut pair, key, snap(1), &[1]);
    pair.run();
    let late = changed(&mut pair, &[(key, 2)]);
    update(&mut pair, follow);
    assert!(waits(&mut pair, early));
    pair.session(A).at(follow, EPOCH, 1);
    pair.ok(A, early);
    assert!(waits(&mut pair, late), "its snapshot came before it");
    pair.session(A).at(follow, EPOCH, 2);
    pair.ok(A, late);
    pair.finish();
}

#[test]
fn an_error_names_no_revisions_and_waits_for_none() {
    // R10.5
    let mut pair = Pair::new();
    let (_, key) = live(&mut pair);
    let call = ask(&mut pair);
    let running = pair.started(B);
    let fault = Fault::new(Code::Denied, "no");
    pair.session(B)
        .respond_changed(running.id(), Reply::Fault(fault), &[(key, 9)]);
    drop(running);
    pair.run();
    assert_eq!(pair.fault(A, call).code, Code::Denied);
    // Nor does the next result bring them.
    let call = changed(&mut pair, &[]);
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn a_held_result_that_is_cancelled_gives_its_references_back() {
    // R11.9, R10.5
    let mut pair = Pair::new();
    let (_, key) = live(&mut pair);
    let call = ask(&mut pair);
    let object = pair.object();
    let running = pair.started(B);
    let caps = [Cap::Given(object.clone())];
    pair.session(B)
        .respond_changed(running.id(), Reply::Value(ARGS[1], &caps), &[(key, 9)]);
    drop((running, caps));
    pair.run();
    assert!(waits(&mut pair, call));
    pair.cancel(A, call);
    pair.settle();
    let sizes = pair.session(A).sizes();
    assert_eq!((sizes.calls, sizes.imports, sizes.follows), (0, 1, 1));
    drop(object);
    pair.finish();
}

#[test]
fn a_long_result_waits_for_its_parts_and_for_the_replica() {
    // R10.5, R18.6
    for replica_first in [false, true] {
        let mut pair = Pair::new();
        let (follow, key) = live(&mut pair);
        let call = ask(&mut pair);
        let running = pair.started(B);
        let long = value(200_000);
        pair.session(B)
            .respond_changed(running.id(), Reply::Shared(&long, &[]), &[(key, 2)]);
        drop(running);
        pair.transmit(B);
        pair.deliver(A, 1);
        if replica_first {
            pair.session(A).at(follow, EPOCH, 2);
            assert!(waits(&mut pair, call));
            pair.run();
        } else {
            pair.run();
            assert!(waits(&mut pair, call));
            pair.session(A).at(follow, EPOCH, 2);
        }
        pair.ok(A, call);
        pair.finish();
    }
}

#[test]
fn an_open_says_that_it_is_settled_once_the_replica_is_there() {
    // R10.5, R5.1
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    let root = pair.root(A);
    let opened = pair.open(A, root, &[]);
    let flag = Flag::new();
    let settled = |pair: &mut Pair| {
        let polled = pair.session(A).poll_settled(opened, &flag.waker());
        polled.is_ready()
    };
    assert!(!settled(&mut pair));
    pair.run();
    let object = pair.object();
    let running = pair.started(B);
    let reply = Reply::Handle(Cap::Given(object.clone()));
    pair.session(B)
        .respond_changed(running.id(), reply, &[(key, 2)]);
    drop(running);
    pair.run();
    assert!(flag.take(), "woken by the answer");
    assert!(!settled(&mut pair));
    pair.session(A).at(follow, EPOCH, 2);
    pair.collect(A);
    assert!(flag.take());
    assert!(settled(&mut pair));
    drop(object);
    pair.finish();
}
