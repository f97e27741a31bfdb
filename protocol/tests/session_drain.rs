//! Going away well: what the peer called before it knew runs, what comes later is refused (S9).

mod harness;

use harness::*;
use helve_protocol::Code;
use helve_protocol::frame::{CallKind, Frame};
use helve_protocol::session::Cap;

fn fault_code(pair: &mut Pair, key: helve_protocol::session::CallKey) -> Code {
    pair.fault(A, key).code
}

#[test]
fn calls_behind_the_border_are_refused_and_earlier_ones_run() {
    // S9.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let before = pair.call(A, root, &[]);
    pair.session(B).drain(1000);
    pair.run();
    assert_eq!(pair.session(A).told_to_leave(), Some(1000));
    let after = pair.call(A, root, &[]);
    let opened = pair.open(A, root, &[]);
    let pipelined = pair.call(A, opened, &[]);
    pair.run();
    let running = pair.started(B);
    assert!(pair.nothing_runs(B), "only the earlier one runs");
    pair.ret(B, running);
    pair.run();
    pair.ok(A, before);
    assert_eq!(fault_code(&mut pair, after), Code::Unavailable);
    // R2.7, and on its own account.
    assert_eq!(fault_code(&mut pair, pipelined), Code::Unavailable);
    assert_eq!(
        pair.closed(A, opened).map(|fault| fault.code),
        Some(Code::Unavailable)
    );
    assert!(Code::Unavailable.is_retryable());
    pair.finish();
}

#[test]
fn a_call_that_crossed_the_drain_runs() {
    // S9.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.session(B).drain(1000);
    pair.transmit(B);
    // It was sent before the DRAIN came.
    let crossed = pair.call(A, root, &[]);
    pair.transmit(A);
    pair.run();
    let running = pair.started(B);
    assert!(!pair.session(B).is_drained(), "one is left");
    pair.ret(B, running);
    pair.run();
    pair.ok(A, crossed);
    assert!(pair.session(B).is_drained());
    pair.finish();
}

#[test]
fn deeper_calls_run_behind_the_border() {
    // S9.1
    let mut pair = Pair::new();
    let (root, own) = (pair.root(A), pair.object());
    let call = pair.call(A, root, &[Cap::Given(own.clone())]);
    pair.run();
    let mut running = pair.started(B);
    let given = pair.keep(B, &mut running);
    pair.session(B).drain(1000);
    pair.run();
    // The handler at B calls back, and that one calls B again.
    let callback = pair.call_at(B, import(&given[0]), &[], 1);
    pair.run();
    let back = pair.started(A);
    let nested = pair.call_at(A, root, &[], 2);
    pair.run();
    let inner = pair.started(B);
    pair.ret(B, inner);
    pair.run();
    pair.ok(A, nested);
    pair.ret(A, back);
    pair.run();
    pair.ok(B, callback);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    drop(own);
    pair.finish();
}

#[test]
fn it_is_over_when_the_peer_knows_and_nothing_is_left() {
    // S9.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let tell = pair.tell(A, root, &[]);
    pair.run();
    pair.session(B).drain(1000);
    assert!(!pair.session(B).is_drained(), "the peer does not know yet");
    pair.settle();
    assert!(!pair.session(B).is_drained(), "the one-way call still runs");
    let running = pair.started(B);
    pair.ret(B, running);
    pair.settle();
    assert!(pair.session(B).is_drained());
    _ = tell;
    pair.finish();
}

#[test]
fn one_way_calls_behind_the_border_are_dropped() {
    // S9.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.session(B).drain(1000);
    pair.run();
    pair.tell(A, root, &[]);
    let out = helve_protocol::session::Outgoing {
        method: FLUSH,
        ..Pair::out(root, &[], 0)
    };
    let flush = pair.session(A).call(&out, None).expect("taken");
    pair.end(A).calls.push((flush, flush));
    pair.settle();
    assert!(pair.nothing_runs(B));
    assert_eq!(fault_code(&mut pair, flush), Code::Unavailable);
    pair.finish();
}

#[test]
fn references_brought_behind_the_border_are_given_back() {
    // S9.1, R1.2
    let mut pair = Pair::new();
    let (root, own) = (pair.root(A), pair.object());
    pair.session(B).drain(1000);
    pair.run();
    let call = pair.call(A, root, &[Cap::Given(own.clone())]);
    pair.settle();
    assert_eq!(fault_code(&mut pair, call), Code::Unavailable);
    let id = own.id();
    drop(own);
    pair.settle();
    assert_eq!(pair.nursery.drops(id), 1);
    pair.finish();
}

#[test]
fn a_second_drain_changes_nothing() {
    // S9.4
    let mut pair = Pair::new();
    pair.session(B).drain(1000);
    pair.session(B).drain(5);
    pair.run();
    assert_eq!(pair.session(A).told_to_leave(), Some(1000));
    let drains = pair.frames(B, 0);
    let drains = drains
        .iter()
        .filter(|read| matches!(read.frame, Frame::Drain { .. }))
        .count();
    assert_eq!(drains, 1);
    pair.finish();
}

#[test]
fn a_drain_waits_for_room_like_any_frame() {
    // S9.1, S5.2
    let mut pair = Pair::with(&Setup {
        replay: Some(70_000),
        ..Setup::default()
    });
    let (mine, theirs) = (pair.root(A), pair.root(B));
    // Nothing more fits into B's buffer.
    pair.numbered(B, CallKind::Call, theirs, 1);
    pair.transmit(B);
    pair.session(B).drain(1000);
    assert_eq!(pair.session(A).told_to_leave(), None);
    let crossed = pair.call(A, mine, &[]);
    pair.settle();
    assert_eq!(pair.session(A).told_to_leave(), Some(1000));
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, crossed);
    pair.finish();
}
