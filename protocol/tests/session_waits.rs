//! What a call of a smaller depth is spared: permits and slots that others hold while they wait for it (R13.15, R13.16).

mod harness;

use harness::*;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{CallKey, Cap};
use helve_protocol::{Code, Limits};

fn waits(key: CallKey) -> bool {
    matches!(key, CallKey::Waiting(_))
}

#[test]
fn a_deeper_call_on_an_open_without_an_answer_waits_and_takes_no_permit() {
    // R13.15
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_nested(1),
        ..Setup::default()
    });
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    // As deep as the OPEN: pipelined as ever.
    assert!(!waits(pair.call(A, open, &[])));
    let (first, second) = (pair.call_at(A, open, &[], 2), pair.call_at(A, open, &[], 2));
    assert!(waits(first) && waits(second));
    // The permit and the line are free for others, such as one that the method of the OPEN needs.
    let other = pair.call_at(A, root, &[], 2);
    assert!(!waits(other));
    let behind = pair.call_at(A, root, &[], 2);
    pair.run();
    assert_eq!(pair.end(B).running.len(), 2);
    pair.run();
    let (running, object) = (pair.started(B), pair.object());
    pair.ret_handle(B, running, Cap::Given(object));
    // Answered, they go in order, and in front of what came later.
    for key in [other, first, second, behind] {
        pair.run();
        assert!(pair.id(A, key).is_some(), "{key:?}");
        let at = pair.end(B).running.iter().position(|r| r.inv.depth == 2);
        let running = pair.end(B).running.remove(at.expect("it started"));
        pair.ret(B, running);
        pair.run();
        pair.ok(A, key);
    }
    pair.finish();
}

#[test]
fn what_waits_for_an_open_goes_when_that_fails_too_and_may_be_cancelled() {
    // R13.15, R2.3, R21.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let calls: Vec<CallKey> = (0..3).map(|_| pair.call_at(A, open, &[], 1)).collect();
    pair.run();
    pair.cancel(A, calls[1]);
    assert_eq!(pair.session(A).sizes().waiting, 2);
    let running = pair.started(B);
    pair.ret_err(B, running, Code::App, "no");
    pair.run();
    for key in [calls[0], calls[2]] {
        assert_eq!(pair.fault(A, key).code, Code::Broken);
    }
    pair.finish();
}

#[test]
fn an_older_call_gets_a_slot_though_younger_ones_wait_for_it_in_all_of_them() {
    // R13.16, R7.1
    for deeper in [false, true] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        let first = pair.open_at(A, root, &[], u8::from(deeper));
        let second = pair.open(A, first, &[]);
        for _ in 0..300 {
            pair.call(A, root, &[Cap::Import(second)]);
        }
        pair.run();
        let (running, object) = (pair.started(B), pair.object());
        // The deeper one holds no slot that it could give.
        assert_eq!(pair.end(B).running.len(), 255 + usize::from(deeper));
        pair.ret_handle(B, running, Cap::Given(object));
        pair.run();
        let kinds = pair.end(B).running.iter().map(|r| r.inv.kind);
        assert_eq!(kinds.filter(|kind| *kind == CallKind::Open).count(), 1);
        assert_eq!(pair.end(B).running.len(), 256 + usize::from(deeper));
        // One more than there are slots, and no second one: the next starts in a slot.
        let at = pair
            .end(B)
            .running
            .iter()
            .position(|r| r.inv.kind == CallKind::Open);
        let running = pair.end(B).running.remove(at.expect("it runs"));
        let object = pair.object();
        pair.ret_handle(B, running, Cap::Given(object));
        pair.collect(B);
        assert_eq!(pair.end(B).running.len(), 256);
        pair.finish();
    }
}
