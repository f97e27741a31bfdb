//! OPEN: tombstones, settled results, pipelining, reflection and identity (R2, R5, R6).

mod harness;

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::Frame;
use helve_protocol::session::{CallKey, Cap, Object, Settled};
use helve_protocol::{Code, Limits};

fn narrow(calls: u32) -> Pair {
    Pair::with(&Setup {
        limits: Limits::default().with_calls(calls),
        ..Setup::default()
    })
}

/// The releases that a side sent since a mark.
fn releases(pair: &mut Pair, side: Side, mark: usize) -> Vec<(Target, u64)> {
    let frames = pair.frames(side, mark);
    frames.into_iter().flat_map(|read| read.releases).collect()
}

#[test]
fn every_open_owes_one_release_whether_it_succeeds_or_fails() {
    // R2.1, R2.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let (good, bad) = (pair.open(A, root, &[]), pair.open(A, root, &[]));
    pair.run();
    let (first, second, object) = (pair.started(B), pair.started(B), pair.object());
    pair.ret_handle(B, first, Cap::Given(object));
    pair.ret_err(B, second, Code::App, "no");
    pair.run();
    assert_eq!(
        pair.session(B).sizes().opened,
        2,
        "the failed one is a tombstone"
    );
    let mark = pair.mark(A);
    pair.drop_handle(A, good);
    pair.drop_handle(A, bad);
    pair.run();
    let mut released = releases(&mut pair, A, mark);
    released.sort();
    assert_eq!(released, [(Target::open(2), 1), (Target::open(1), 1)]);
    pair.finish();
}

#[test]
fn calls_on_an_open_that_failed_get_the_cause_those_that_were_held_and_those_that_come_later() {
    // R2.3, R2.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let calls: Vec<CallKey> = (0..3).map(|_| pair.call(A, open, &[])).collect();
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Denied, "not you");
    let frame = call_frame(
        helve_protocol::frame::CallKind::Call,
        9,
        Target::open(1),
        0,
        &[],
    );
    pair.inject(B, message(5, 0, &[&|buf| buf.extend(&frame)]))
        .unwrap();
    let mark = pair.mark(B);
    pair.transmit(B);
    let codes: Vec<(u64, u64)> = pair
        .frames(B, mark)
        .iter()
        .map(|read| match read.frame {
            Frame::Err { id, code, .. } => (id, code),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [(1, 6), (2, 3), (3, 3), (4, 3), (9, 3)]);
    // What A never sent, it never gets.
    pair.end(A).inbox.clear();
    _ = calls;
    pair.finish_broken();
}

#[test]
fn the_data_of_broken_is_the_code_and_the_text_of_the_failure() {
    // R2.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let call = pair.call(A, open, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Denied, "not you");
    pair.run();
    let fault = pair.fault(A, call);
    assert_eq!(fault.code, Code::Broken);
    assert_eq!(&*fault.data, b"\x92\x06\xa7not you");
    let cause = pair.closed(A, open).unwrap();
    assert_eq!((cause.code, &*cause.message), (Code::Denied, "not you"));
    pair.finish();
}

#[test]
fn an_open_that_was_cancelled_while_it_ran_leaves_a_tombstone_too() {
    // R2.3, R11.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let call = pair.call(A, open, &[]);
    pair.run();
    pair.session(A).cancel_open(open);
    pair.run();
    assert_eq!(pair.end(B).stops.len(), 1);
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Cancelled, "stopped");
    pair.run();
    assert_eq!(pair.closed(A, open).map(|f| f.code), Some(Code::Cancelled));
    let fault = pair.fault(A, call);
    assert_eq!(fault.code, Code::Broken, "it certainly did not run");
    assert_eq!(fault.data[1], Code::Cancelled as u8);
    pair.finish();
}

#[test]
fn an_open_of_a_method_that_does_not_return_one_handle_fails_as_decode() {
    // R2.4
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    assert_eq!(pair.closed(A, open).map(|f| f.code), Some(Code::Decode));
    pair.finish();
}

#[test]
fn a_release_while_the_open_runs_drops_the_outcome_and_is_answered_all_the_same() {
    // R2.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.run();
    pair.drop_handle(A, open);
    pair.run();
    assert_eq!(pair.session(B).sizes().opened, 1);
    let (running, object) = (pair.started(B), pair.object());
    let id = object.id();
    let mark = pair.mark(B);
    pair.ret_handle(B, running, Cap::Given(object));
    assert_eq!(pair.nursery.drops(id), 1);
    pair.run();
    assert_eq!(pair.frames(B, mark)[0].kind(), 4);
    pair.finish();
}

#[test]
fn calls_on_an_open_that_was_refused_keep_the_code_so_that_they_may_be_made_again() {
    // R2.7
    for code in [Code::Unavailable, Code::Exhausted] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        let open = pair.open(A, root, &[]);
        let call = pair.call(A, open, &[]);
        pair.run();
        let running = pair.started(B);
        pair.ret_err(B, running, code, "not now");
        pair.run();
        assert_eq!(pair.fault(A, call).code, code);
        pair.finish();
    }
}

#[test]
fn what_waits_on_an_open_that_is_cancelled_before_it_was_numbered_is_not_sent() {
    // R2.8, R21.2
    let mut pair = narrow(1);
    let root = pair.root(A);
    let first = pair.call(A, root, &[]);
    let open = pair.open(A, root, &[]);
    let (on, with) = (
        pair.call(A, open, &[]),
        pair.call(A, root, &[Cap::Import(open)]),
    );
    pair.session(A).cancel_open(open);
    let later = pair.session(A).call(&Pair::out(open, &[], 0), None);
    assert_eq!(later.unwrap_err().code, Code::Cancelled);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    assert_eq!(pair.fault(A, on).code, Code::Cancelled);
    assert_eq!(pair.fault(A, with).code, Code::Cancelled);
    assert!(pair.nothing_runs(B));
    assert_eq!(pair.session(B).sizes().opened, 0);
    pair.finish();
}

#[test]
fn an_open_whose_handle_is_dropped_before_it_was_numbered_never_goes() {
    // R21.2, R2.1
    let mut pair = narrow(1);
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let open = pair.open(A, root, &[]);
    pair.drop_handle(A, open);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.settle();
    assert!(pair.nothing_runs(B));
    assert_eq!(pair.session(B).sizes().opened, 0);
    assert_eq!(pair.session(A).sizes().waiting, 0);
    pair.finish();
}

#[test]
fn an_open_that_others_wait_for_goes_though_its_handle_was_dropped() {
    // R4.2
    let mut pair = narrow(1);
    let root = pair.root(A);
    let first = pair.call(A, root, &[]);
    let open = pair.open(A, root, &[]);
    let call = pair.call(A, open, &[]);
    pair.drop_handle(A, open);
    pair.run();
    for _ in 0..3 {
        let running = pair.started(B);
        let object = pair.object();
        pair.ret_handle(B, running, Cap::Given(object));
        pair.run();
    }
    pair.ok(A, first);
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn two_opens_that_answer_each_other_wait_until_one_is_cancelled() {
    // R2.9, R5.1
    for cancel_first in [true, false] {
        let mut pair = Pair::new();
        let (root, theirs) = (pair.root(A), pair.root(B));
        let (a, b) = (pair.open(A, root, &[]), pair.open(B, theirs, &[]));
        pair.run();
        let (at_b, at_a) = (pair.started(B), pair.started(A));
        // Cancelled while the method runs, or while it waits to settle.
        if cancel_first {
            pair.session(A).cancel_open(a);
            pair.run();
        }
        pair.ret_handle(B, at_b, Cap::Import(b));
        pair.ret_handle(A, at_a, Cap::Import(a));
        pair.settle();
        if !cancel_first {
            assert!(pair.closed(A, a).is_none() && pair.closed(B, b).is_none());
            pair.session(A).cancel_open(a);
            pair.settle();
        }
        assert_eq!(pair.closed(A, a).map(|f| f.code), Some(Code::Cancelled));
        assert_eq!(pair.closed(B, b).map(|f| f.code), Some(Code::Broken));
        pair.finish();
    }
}

#[test]
fn an_open_is_answered_only_when_its_outcome_is_settled() {
    // R5.1, I3.4, R5.2
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    let outer = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let inner = pair.open(B, theirs, &[]);
    pair.ret_handle(B, running, Cap::Import(inner));
    let mark = pair.mark(B);
    pair.run();
    assert!(pair.frames(B, mark).iter().all(|read| read.kind() != 4));
    let (running, object) = (pair.started(A), pair.object());
    pair.ret_handle(A, running, Cap::Given(object.clone()));
    pair.run();
    let answers: Vec<_> = pair
        .frames(B, mark)
        .into_iter()
        .filter(|r| r.kind() == 4)
        .collect();
    assert_eq!(answers.len(), 1);
    assert!(answers[0].caps.is_empty());
    assert_eq!(
        pair.session(A).identity(outer),
        Some(Settled::Own(object.key()))
    );
    drop(object);
    pair.finish();
}

#[test]
fn a_cancelled_open_that_waited_to_settle_leaves_nothing_behind_when_the_other_settles() {
    // R5.1, R21.1
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    let outer = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let inner = pair.open(B, theirs, &[]);
    pair.ret_handle(B, running, Cap::Import(inner));
    pair.run();
    pair.session(A).cancel_open(outer);
    pair.run();
    assert_eq!(pair.closed(A, outer).map(|f| f.code), Some(Code::Cancelled));
    let (running, object) = (pair.started(A), pair.object());
    pair.ret_handle(A, running, Cap::Given(object));
    pair.run();
    assert_eq!(pair.session(B).sizes().exports, 0);
    pair.finish();
}

#[test]
fn the_result_of_an_open_must_be_a_descriptor_without_caps() {
    // R5.2, I3.4
    let mine = Descriptor::new(Tag::Mine, 1);
    let lent = Descriptor::new(Tag::Lent, 1);
    let bad: [Writer<'_>; 3] = [
        &|buf| helve_protocol::frame::write_ret(buf, 1, &[0xc0], &[], &[]),
        &|buf| helve_protocol::frame::write_ret(buf, 1, &[4], &[mine], &[]),
        &|buf| helve_protocol::frame::write_ret_open(buf, 1, lent),
    ];
    for frame in bad {
        let mut pair = Pair::new();
        let root = pair.root(A);
        pair.open(A, root, &[]);
        pair.transmit(A);
        let violation = pair.inject(A, message(1, 1, &[frame])).unwrap_err();
        assert_eq!(violation.rule, "R5.2");
        pair.end(B).inbox.clear();
        pair.finish_broken();
    }
}

/// A opens something at B, and gets its own object.
fn reflected(pair: &mut Pair, object: &TestObject) -> harness::Reflected {
    let given = pair.give_to(B, object);
    let root = pair.root(A);
    let handle = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.run();
    harness::Reflected { handle, given }
}

#[test]
fn calls_on_ones_own_object_go_through_the_host_and_keep_their_order() {
    // R6.1, R6.3
    let mut pair = Pair::new();
    let object = pair.object();
    let given = pair.give_to(B, &object);
    let root = pair.root(A);
    let handle = pair.open(A, root, &[]);
    // Pipelined before, called after it settled: all go the same way.
    pair.numbered(A, helve_protocol::frame::CallKind::Call, handle, 1);
    pair.run();
    let running = pair.started(B);
    pair.numbered(A, helve_protocol::frame::CallKind::Tell, handle, 2);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.transmit(B);
    pair.deliver(A, 9);
    pair.numbered(A, helve_protocol::frame::CallKind::Call, handle, 3);
    assert!(
        pair.methods(A).iter().all(|m| *m == 1),
        "3 takes no short cut"
    );
    pair.run();
    assert_eq!(pair.methods(A), [1, 2, 3]);
    let running = pair.started(A);
    assert_eq!((running.object == object, running.inv.depth), (true, 1));
    pair.ret(A, running);
    drop(object);
    pair.finish();
}

#[test]
fn handles_are_equal_if_and_only_if_they_are_settled_on_the_same_object() {
    // R6.2
    let mut pair = Pair::new();
    let (mine, yours) = (pair.object(), pair.object());
    let own = reflected(&mut pair, &mine).handle;
    let k = pair.give(&yours);
    let root = pair.root(A);
    let (c, pending) = (pair.open(A, root, &[]), pair.open(A, root, &[]));
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Given(yours.clone()));
    pair.run();
    let mut id = |key| pair.session(A).identity(key);
    assert_eq!(id(own), Some(Settled::Own(mine.key())));
    assert_eq!(id(c), id(k));
    assert_ne!(id(c), id(own));
    assert_ne!(id(k), id(root));
    assert_eq!(id(pending), None);
    drop((mine, yours));
    pair.finish();
}

#[test]
fn references_in_a_reflected_call_arrive_as_what_they_are() {
    // R6.3, R8.1, R4.1
    let mut pair = Pair::new();
    let (target, mine, yours) = (pair.object(), pair.object(), pair.object());
    let handle = reflected(&mut pair, &target).handle;
    let k = pair.give(&yours);
    let call = pair.call(A, handle, &[Cap::Lent(mine.clone()), Cap::Import(k)]);
    pair.run();
    let mut running = pair.started(A);
    let caps = pair.keep(A, &mut running);
    assert!(matches!(&caps[0], helve_protocol::session::Received::Object(o) if *o == mine));
    assert_eq!(import(&caps[1]), k);
    drop(caps);
    let fresh = pair.object();
    pair.ret_caps(A, running, &[Cap::Given(fresh.clone()), Cap::Import(k)]);
    pair.run();
    let caps = pair.ok(A, call);
    assert!(matches!(&caps[0], helve_protocol::session::Received::Object(o) if *o == fresh));
    assert_eq!(import(&caps[1]), k);
    drop((caps, target, mine, yours, fresh));
    pair.finish();
}

#[test]
fn a_reflected_call_that_ran_says_so_though_a_reference_in_its_result_is_broken() {
    // R6.3, R11.5
    let mut pair = Pair::new();
    let target = pair.object();
    let handle = reflected(&mut pair, &target).handle;
    let root = pair.root(A);
    let failed = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Denied, "no");
    let call = pair.call(A, handle, &[]);
    pair.run();
    let running = pair.started(A);
    pair.ret_caps(A, running, &[Cap::Import(failed)]);
    pair.run();
    let caps = pair.ok(A, call);
    pair.settle();
    let told = match &caps[0] {
        helve_protocol::session::Received::Import { key, .. } => pair.closed(A, *key),
        helve_protocol::session::Received::Broken(fault) => Some(fault.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(told.map(|f| f.code), Some(Code::Broken));
    drop(target);
    pair.finish();
}

#[test]
fn a_cancel_follows_a_reflected_call_that_had_to_wait_for_its_permit() {
    // R6.3, R21.1, R11.5
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_nested(1),
        ..Setup::default()
    });
    let target = pair.object();
    let Reflected { handle, given } = reflected(&mut pair, &target);
    let busy = pair.call_at(B, given, &[], 1);
    let call = pair.call(A, handle, &[]);
    pair.run();
    let running = pair.started(A);
    assert!(pair.nothing_runs(A), "the reflected one waits at B");
    pair.ret(A, running);
    pair.run();
    pair.ok(B, busy);
    let running = pair.started(A);
    pair.cancel(A, call);
    pair.run();
    assert_eq!(pair.end(A).stops, [running.id()]);
    pair.ret_err(A, running, Code::Cancelled, "stopped");
    pair.run();
    assert_eq!(pair.session(A).sizes().calls, 0);
    drop(target);
    pair.finish();
}

#[test]
fn a_reflected_call_that_waits_is_cancelled_where_it_waits() {
    // R21.1
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_nested(1),
        ..Setup::default()
    });
    let target = pair.object();
    let Reflected { handle, given } = reflected(&mut pair, &target);
    pair.call_at(B, given, &[], 1);
    let open = pair.open(A, handle, &[]);
    pair.run();
    pair.session(A).cancel_open(open);
    pair.run();
    assert_eq!(pair.closed(A, open).map(|f| f.code), Some(Code::Cancelled));
    assert_eq!(pair.session(B).sizes().waiting, 0);
    drop(target);
    pair.finish();
}

#[test]
fn why_a_reference_broke_is_told_along_the_way_to_it() {
    // R22.3, R6.3
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    let call = pair.call(B, theirs, &[]);
    pair.run();
    let running = pair.started(A);
    let cause = helve_protocol::Fault::new(Code::Unavailable, "not yet");
    pair.ret_caps(A, running, &[Cap::Broken(cause)]);
    pair.run();
    let broken = import(&pair.ok(B, call)[0]);
    let open = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(broken));
    pair.run();
    let told = pair.closed(A, open).unwrap();
    assert_eq!((told.code, &*told.message), (Code::Unavailable, "not yet"));
    pair.finish();
}

#[test]
fn a_result_that_names_an_open_not_yet_numbered_carries_a_broken_reference() {
    // R10.2, R13.12
    let mut pair = narrow(1);
    let (root, theirs) = (pair.root(A), pair.root(B));
    pair.call(B, theirs, &[]);
    let unsent = pair.open(B, theirs, &[]);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_caps(B, running, &[Cap::Import(unsent)]);
    pair.run();
    let key = import(&pair.ok(A, call)[0]);
    assert_eq!(pair.closed(A, key).map(|f| f.code), Some(Code::Unavailable));
    pair.finish();
}

#[test]
fn a_reflected_call_with_a_pending_argument_of_the_caller_is_refused_and_may_be_made_again() {
    // R7.1, R6.3
    let mut pair = Pair::new();
    let target = pair.object();
    let handle = reflected(&mut pair, &target).handle;
    let root = pair.root(A);
    let pending = pair.open(A, root, &[]);
    let call = pair.call(A, handle, &[Cap::Import(pending)]);
    pair.run();
    let fault = pair.fault(A, call);
    assert!(fault.code == Code::Unavailable && fault.code.is_retryable());
    drop(target);
    pair.finish();
}
