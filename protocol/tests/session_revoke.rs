//! Revocation: no method starts after it, and whoever holds the object is told (R22).

mod harness;

use harness::*;
use helve_handles::Target;
use helve_protocol::Code;
use helve_protocol::frame::Frame;
use helve_protocol::session::Cap;

#[test]
fn no_method_starts_after_revoke() {
    // R22.1, R22.5
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let before = pair.call(A, handle, &[]);
    let late = pair.call(A, handle, &[]);
    pair.transmit(A);
    pair.revoke(B, &object);
    pair.run();
    assert!(pair.nothing_runs(B));
    for call in [before, late] {
        assert_eq!(pair.fault(A, call).code, Code::Broken);
    }
    // Known here by now: nothing is sent.
    let fault = pair
        .session(A)
        .call(&Pair::out(handle, &[], 0), None)
        .unwrap_err();
    assert_eq!(fault.code, Code::Broken);
    drop(object);
    pair.finish();
}

#[test]
fn a_method_that_runs_goes_on() {
    // R22.1
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let call = pair.call(A, handle, &[]);
    pair.run();
    pair.revoke(B, &object);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    drop(object);
    pair.finish();
}

#[test]
fn calls_that_were_held_or_queued_are_checked_when_they_would_start() {
    // R22.4
    let mut pair = Pair::with(&Setup {
        running: 1,
        ..Setup::default()
    });
    let object = pair.object();
    let handle = pair.give(&object);
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let held = pair.call(A, open, &[]);
    let queued = pair.call(A, handle, &[]);
    pair.run();
    let running = pair.started(B);
    pair.revoke(B, &object);
    pair.ret_handle(B, running, Cap::Given(object.clone()));
    assert!(pair.nothing_runs(B));
    pair.run();
    assert_eq!(pair.fault(A, held).code, Code::Broken);
    assert_eq!(pair.fault(A, queued).code, Code::Broken);
    assert!(pair.closed(A, open).is_some());
    drop(object);
    pair.finish();
}

#[test]
fn broken_goes_to_every_live_name_and_the_record_stays_until_released() {
    // R22.2, R22.3, R22.5
    let mut pair = Pair::new();
    let object = pair.object();
    let root = pair.root(A);
    let k = pair.give(&object);
    let opens = [
        pair.open(A, root, &[]),
        pair.open(A, root, &[]),
        pair.open(A, root, &[]),
    ];
    for _ in 0..3 {
        pair.run();
        let running = pair.started(B);
        pair.ret_handle(B, running, Cap::Given(object.clone()));
    }
    pair.run();
    pair.drop_handle(A, opens[1]);
    pair.settle();
    let mark = pair.mark(B);
    pair.revoke(B, &object);
    pair.run();
    let named: Vec<Target> = pair
        .frames(B, mark)
        .iter()
        .filter_map(|read| match read.frame {
            Frame::Broken { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(named, [Target::open(4), Target::open(2), Target::host(1)]);
    assert_eq!(pair.session(B).sizes().exports, 1);
    for key in [k, opens[0], opens[2]] {
        assert!(pair.closed(A, key).is_some());
        pair.drop_handle(A, key);
    }
    pair.settle();
    assert_eq!(pair.session(B).sizes().exports, 0);
    drop(object);
    pair.finish();
}

#[test]
fn a_frame_that_mentions_it_again_is_followed_by_broken() {
    // R22.3, R10.6
    let mut pair = Pair::new();
    let object = pair.object();
    pair.revoke(B, &object);
    let handle = pair.give(&object);
    assert!(pair.closed(A, handle).is_some());
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let mark = pair.mark(B);
    pair.ret_handle(B, running, Cap::Given(object.clone()));
    pair.run();
    let kinds: Vec<u8> = pair.frames(B, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds, [4, 8]);
    assert!(pair.closed(A, open).is_some());
    // In arguments too.
    let theirs = pair.root(B);
    pair.call(B, theirs, &[Cap::Given(object.clone())]);
    let mark = pair.mark(B);
    pair.run();
    let kinds: Vec<u8> = pair.frames(B, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds, [1, 8]);
    drop(object);
    pair.finish();
}

#[test]
fn whoever_reaches_it_through_its_own_host_is_told_along_the_way() {
    // R22.3, R6.3
    let mut pair = Pair::new();
    let object = pair.object();
    let given = pair.give_to(B, &object);
    let root = pair.root(A);
    let own = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.run();
    pair.revoke(A, &object);
    pair.run();
    assert!(pair.closed(B, given).is_some());
    assert!(pair.closed(A, own).is_some());
    drop(object);
    pair.finish();
}

#[test]
fn watchers_are_woken_once_it_is_broken() {
    // R22.3
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let flag = Flag::new();
    assert!(
        pair.session(A)
            .poll_closed(handle, &flag.waker())
            .is_pending()
    );
    pair.revoke(B, &object);
    pair.run();
    assert!(flag.take());
    drop(object);
    pair.finish();
}
