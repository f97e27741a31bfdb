//! The end of a session: every record dropped once, every handle broken once, every call one outcome (R17, S8), and
//! frames that end it (R1, R17, R18).

mod harness;

use std::task::{Poll, Waker};

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{CallKind, Frame, write_part, write_release};
use helve_protocol::session::{Cap, EndCause, Event};
use helve_protocol::{Code, Limits};

fn lost() -> EndCause {
    EndCause {
        close: 1006,
        reason: "the link is gone".into(),
    }
}

#[test]
fn every_open_call_has_one_outcome() {
    // S8.2, R17.5
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_calls(3),
        ..Setup::default()
    });
    let root = pair.root(A);
    let answered = pair.call(A, root, &[]);
    let running = pair.call(A, root, &[]);
    pair.run();
    let method = pair.started(B);
    pair.ret(B, method);
    pair.run();
    let unsealed = pair.call(A, root, &[]);
    let gathered = pair.call(A, root, &[]);
    let waits = pair.call(A, root, &[]);
    pair.session(A).end(lost());
    pair.ok(A, answered);
    assert_eq!(pair.fault(A, running).code, Code::MaybeRan);
    for call in [unsealed, gathered, waits] {
        assert_eq!(
            pair.fault(A, call).code,
            Code::NotSent,
            "never handed to the link"
        );
    }
    let fault = pair
        .session(A)
        .call(&Pair::out(root, &[], 0), None)
        .unwrap_err();
    assert_eq!(fault.code, Code::SessionLost);
    assert!(pair.session(A).open(&Pair::out(root, &[], 0)).is_err());
    pair.finish_broken();
}

#[test]
fn who_waits_for_an_answer_is_woken() {
    // R17.5, R17.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    let (call, open, closed) = (Flag::new(), Flag::new(), Flag::new());
    let out = Pair::out(root, &[], 0);
    let mut key = pair.session(A).call(&out, Some(&call.waker())).unwrap();
    let opened = pair.session(A).open(&out).unwrap();
    assert!(
        pair.session(A)
            .poll_settled(opened, &open.waker())
            .is_pending()
    );
    assert!(
        pair.session(A)
            .poll_closed(root, &closed.waker())
            .is_pending()
    );
    pair.run();
    pair.session(A).end(lost());
    pair.collect(A);
    assert!(call.take() && open.take() && closed.take());
    assert!(
        pair.session(A)
            .poll_call(&mut key, Waker::noop())
            .is_ready()
    );
    pair.finish_broken();
}

#[test]
fn every_handle_breaks_with_session_lost() {
    // S8.3, R17.3
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.run();
    pair.session(A).end(lost());
    for key in [handle, root, open] {
        let fault = pair.closed(A, key).unwrap();
        assert_eq!(
            (fault.code, &*fault.message),
            (Code::SessionLost, "the link is gone")
        );
        let settled = pair.session(A).poll_settled(key, Waker::noop());
        assert!(matches!(settled, Poll::Ready(Err(fault)) if fault.code == Code::SessionLost));
    }
    drop(object);
    pair.finish_broken();
}

#[test]
fn every_record_of_the_host_is_dropped_once() {
    // R17.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let objects: Vec<TestObject> = (0..4).map(|_| pair.object()).collect();
    let ids: Vec<usize> = objects.iter().map(TestObject::id).collect();
    pair.give(&objects[0]);
    let open = pair.open(A, root, &[]);
    let held = pair.object();
    let held_id = held.id();
    // In the queue of an OPEN, lent to a call, waiting to be sent: all of A's are let go as well.
    pair.call(A, open, &[Cap::Given(held)]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Given(objects[1].clone()));
    let theirs = pair.root(B);
    pair.call(B, theirs, &[Cap::Lent(objects[2].clone())]);
    let unsent = pair.open(B, theirs, &[]);
    pair.call(B, unsent, &[Cap::Given(objects[3].clone())]);
    drop(objects);
    pair.end(B).running.clear();
    for side in [A, B] {
        pair.session(side).end(lost());
        pair.collect(side);
        pair.end(side).running.clear();
    }
    for id in ids.into_iter().chain([held_id]) {
        assert_eq!(pair.nursery.drops(id), 1);
    }
    pair.finish_broken();
}

#[test]
fn methods_that_run_are_stopped_and_those_that_did_not_start_never_do() {
    // R17.4, R21.1
    let mut pair = Pair::with(&Setup {
        running: 1,
        ..Setup::default()
    });
    let root = pair.root(A);
    pair.call(A, root, &[]);
    pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let frame = call_frame(CallKind::Call, 3, Target::ROOT, 1, &[]);
    let sent = pair.session(A).sent();
    // Its start is not polled before the end.
    let unpolled = message(sent + 1, 0, &[&|buf| buf.extend(&frame)]);
    pair.session(B).receive(&unpolled).unwrap();
    pair.session(B).end(lost());
    let mut stopped = Vec::new();
    while let Some(event) = pair.session(B).poll_event() {
        match event {
            Event::Stop(id) => stopped.push(id),
            Event::Start(..)
            | Event::Tells(..)
            | Event::Stream(..)
            | Event::Subscribed(..)
            | Event::Room(_) => {
                panic!("started after the end")
            }
            Event::Unsubscribed(_) | Event::Update(..) | Event::FollowEnded(..) => {
                panic!("nothing was followed")
            }
            Event::Passed(..) | Event::Broke(..) | Event::Flows(_) => {
                panic!("nothing was passed on")
            }
        }
    }
    assert_eq!(stopped, [running.id()]);
    // A late answer has no effect.
    pair.ret(B, running);
    assert!(pair.session(B).poll_transmit().is_none());
    pair.finish_broken();
}

#[test]
fn after_the_end_nothing_is_taken_any_more() {
    // R17.1
    let mut pair = Pair::new();
    pair.session(B).end(lost());
    pair.session(B).end(EndCause {
        close: 1000,
        reason: "again".into(),
    });
    assert_eq!(pair.session(B).end_cause().map(|c| c.close), Some(1006));
    let frame = call_frame(CallKind::Call, 1, Target::ROOT, 0, &[]);
    pair.inject(B, message(1, 0, &[&|buf| buf.extend(&frame)]))
        .unwrap();
    assert!(pair.nothing_runs(B));
    pair.finish_broken();
}

#[test]
fn releasing_more_than_was_counted_is_a_violation() {
    // R1.4, R2.2
    let mut pair = Pair::new();
    let object = pair.object();
    pair.give(&object);
    let root = pair.root(A);
    pair.open(A, root, &[]);
    pair.settle();
    let (next, acked) = (pair.session(A).sent() + 1, pair.session(B).sent());
    drop(object);
    let release = |target, n| move |buf: &mut Vec<u8>| write_release(buf, &[(target, n)]);
    // Right: k 1 once, and the OPEN once. Then neither again, nor the root, nor what never was.
    let right = message(next, acked, &[&release(Target::open(2), 1)]);
    pair.inject(B, right).unwrap();
    for (target, n) in [
        (Target::host(1), 2),
        (Target::open(2), 1),
        (Target::host(9), 1),
        (Target::open(9), 1),
    ] {
        let received = pair.session(B).received();
        let result = pair.inject(B, message(received + 1, acked, &[&release(target, n)]));
        assert_eq!(result.unwrap_err().rule, "R1.4", "{target:?}");
    }
    pair.finish_broken();
}

#[test]
fn a_part_of_no_transfer_is_a_violation() {
    // R18.9
    let mut pair = Pair::new();
    let part = |buf: &mut Vec<u8>| write_part(buf, 1, Some(&[1, 2]));
    assert_eq!(
        pair.inject(B, message(1, 0, &[&part])).unwrap_err().rule,
        "R18.9"
    );
    pair.finish_broken();
}

#[test]
fn references_in_frames_of_later_versions_are_given_back() {
    // R15.1, I3.3
    let mut pair = Pair::new();
    let caps = [Descriptor::new(Tag::Mine, 4)];
    let data = |buf: &mut Vec<u8>| {
        helve_protocol::frame::write_data(buf, Target::host(3), &[0x91, 0xd4, 1, 0], &caps);
    };
    pair.inject(B, message(1, 0, &[&data])).unwrap();
    pair.transmit(B);
    let frames = pair.frames(B, 0);
    assert!(matches!(frames[0].frame, Frame::Release { .. }));
    assert_eq!(frames[0].releases, [(Target::host(4), 1)]);
    assert_eq!(pair.session(B).sizes().imports, 0);
    pair.end(A).inbox.clear();
    pair.finish_broken();
}

#[test]
fn objects_are_handed_out_to_be_dropped_and_never_dropped_inside() {
    // R17.2, R21.2
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_calls(1),
        ..Setup::default()
    });
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let object = pair.object();
    let id = object.id();
    let waits = pair.call(A, root, &[Cap::Given(object)]);
    pair.end(A).calls.retain(|(key, _)| *key != waits);
    pair.session(A).cancel(waits);
    assert_eq!(pair.nursery.drops(id), 0, "not while the session is in use");
    pair.collect(A);
    assert_eq!(pair.nursery.drops(id), 1);
    pair.run();
    let running = pair.started(B);
    let object = pair.object();
    let id = object.id();
    pair.session(B).end(lost());
    pair.session(B).respond(
        running.id(),
        helve_protocol::session::Reply::Handle(Cap::Given(object)),
    );
    assert_eq!(pair.nursery.drops(id), 0);
    pair.collect(B);
    assert_eq!(pair.nursery.drops(id), 1);
    drop(running);
    pair.finish_broken();
}
