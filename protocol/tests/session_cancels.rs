//! How often the peer may cancel, and that no more than time comes of it (R21.7).

mod harness;

use harness::*;
use helve_protocol::Code;
use helve_protocol::frame::CallKind::Tell;
use helve_protocol::session::{Cap, EndCause};

/// Calls and cancels so many, one after the other, each of which had started. Time stands still.
#[track_caller]
fn cancel(pair: &mut Pair, count: usize, depth: u8) {
    let root = pair.root(A);
    for _ in 0..count {
        let call = pair.call_at(A, root, &[], depth);
        pair.run();
        let running = pair.started(B);
        pair.cancel(A, call);
        pair.run();
        assert_eq!(pair.end(B).stops.pop(), Some(running.id()));
        pair.ret_err(B, running, Code::Cancelled, "stopped");
        pair.run();
    }
}

#[test]
fn so_many_calls_may_be_cancelled_at_once_and_after_one_more_the_next_call_waits() {
    // R21.7
    for depth in [0, 1] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        cancel(&mut pair, 400, depth);
        let call = pair.call_at(A, root, &[], depth);
        pair.run();
        let running = pair.started(B);
        pair.ret(B, running);
        pair.run();
        pair.ok(A, call);
        assert_eq!(pair.session(B).calls_slowed(), 0);
        // The 401st takes what is not there: 200 come back a second, one in 5 ms.
        cancel(&mut pair, 1, depth);
        let late = [
            pair.call_at(A, root, &[], depth),
            pair.call_at(A, root, &[], depth),
        ];
        pair.run();
        assert!(pair.nothing_runs(B), "depth {depth}");
        assert_eq!(pair.session(B).calls_slowed(), 2);
        let due = pair.now().plus_ms(5);
        assert_eq!(pair.session(B).timeout(), Some(due));
        pair.wait(4);
        assert!(pair.nothing_runs(B));
        pair.wait(1);
        for call in late {
            let running = pair.started(B);
            pair.ret(B, running);
            pair.run();
            pair.ok(A, call);
        }
        pair.finish();
    }
}

#[test]
fn what_runs_when_it_is_cancelled_is_waited_for_and_what_does_not_is_not() {
    // R21.7, R11.8
    let mut pair = Pair::with(&Setup {
        running: 10,
        ..Setup::default()
    });
    let root = pair.root(A);
    cancel(&mut pair, 400, 0);
    // 10 that run and 500 that do not, dropped at once by a caller that lost interest.
    let calls: Vec<_> = (0..510).map(|_| pair.call(A, root, &[])).collect();
    pair.run();
    for call in calls {
        pair.cancel(A, call);
    }
    pair.run();
    for _ in 0..10 {
        let running = pair.started(B);
        pair.ret_err(B, running, Code::Cancelled, "stopped");
    }
    pair.run();
    let call = pair.call(A, root, &[]);
    pair.run();
    pair.wait(49);
    assert!(pair.nothing_runs(B));
    pair.wait(1);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn calls_that_wait_for_it_keep_their_order_and_can_be_cancelled() {
    // R21.7, R21.1, R10.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    cancel(&mut pair, 401, 0);
    for method in [1, 2] {
        pair.numbered(A, Tell, root, method);
    }
    let doomed = [pair.call_at(A, root, &[], 0), pair.call_at(A, root, &[], 3)];
    pair.numbered(A, Tell, root, 3);
    pair.run();
    for call in doomed {
        pair.cancel(A, call);
    }
    pair.run();
    assert_eq!(pair.session(A).sizes().calls, 0, "both were answered");
    assert!(pair.nothing_runs(B));
    pair.wait(5);
    assert_eq!(pair.methods(B), [1, 2, 3]);
    pair.finish();
}

#[test]
fn a_session_that_ends_meanwhile_forgets_what_waits() {
    // R21.7, R17.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    cancel(&mut pair, 401, 0);
    let (one, two) = (pair.object(), pair.object());
    let ids = [one.id(), two.id()];
    pair.call_at(A, root, &[Cap::Given(one)], 0);
    pair.call_at(A, root, &[Cap::Given(two)], 1);
    pair.run();
    let over = EndCause {
        close: 1000,
        reason: "over".into(),
    };
    pair.session(B).end(over);
    pair.collect(B);
    assert_eq!(ids.map(|id| pair.nursery.drops(id)), [0, 0], "A's own");
    assert_eq!(pair.session(B).timeout(), None);
    pair.wait(5);
    assert!(pair.nothing_runs(B));
    pair.finish_broken();
}

#[test]
fn a_cancelled_call_lets_its_object_go_after_the_lock() {
    // R21.1: `Drop` is user code.
    let mut pair = Pair::with(&Setup {
        running: 1,
        ..Setup::default()
    });
    let root = pair.root(A);
    let object = pair.object();
    let id = object.id();
    let handle = pair.give(&object);
    drop(object);
    let first = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let doomed = pair.call(A, handle, &[]);
    pair.drop_handle(A, handle);
    pair.run();
    pair.cancel(A, doomed);
    pair.transmit(A);
    let message = pair.end(B).inbox.pop_front().expect("CANCEL");
    pair.session(B).receive(&message).expect("it is in order");
    assert_eq!(pair.nursery.drops(id), 0, "not in the session");
    pair.collect(B);
    pair.run();
    assert_eq!(pair.nursery.drops(id), 1);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    pair.finish();
}
