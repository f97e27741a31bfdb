//! One-way calls on one object that come one right after the other: taken, queued and handed out together (R10, R12, R13).

mod harness;

use std::collections::VecDeque;

use bytes::Bytes;
use harness::*;
use helve_handles::Target;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{EndCause, Event, IncomingId};
use helve_protocol::{Code, Limits};

/// A pair whose B runs so many methods of depth 0 at once.
fn with_slots(running: u32) -> Pair {
    Pair::with(&Setup {
        running,
        ..Setup::default()
    })
}

/// `n` one-way calls on `to`, with methods from `from` on.
fn tell(pair: &mut Pair, to: helve_protocol::session::ImportKey, from: u32, n: u32) {
    for method in from..from + n {
        pair.numbered(A, CallKind::Tell, to, method);
    }
}

/// Sends what A has, and takes what B is to do as a driver does: the calls of a run at once.
fn events(pair: &mut Pair) -> Vec<Event<TestObject>> {
    pair.transmit(A);
    while let Some(message) = pair.end(B).inbox.pop_front() {
        pair.session(B).receive(&message).unwrap();
    }
    let mut events = VecDeque::new();
    pair.session(B).take_events(&mut events);
    events.into()
}

/// For each event how many calls it starts, and their methods.
fn starts(events: Vec<Event<TestObject>>) -> (Vec<usize>, Vec<u32>, Vec<IncomingId>) {
    let (mut counts, mut methods, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let mut note = |method, id| {
            methods.push(method);
            ids.push(id);
        };
        match event {
            Event::Start(_, inv) => {
                counts.push(1);
                note(inv.method, inv.id);
            }
            Event::Tells(_, mut tells) => {
                counts.push(tells.len());
                while let Some(inv) = tells.next_call::<TestObject>() {
                    assert_eq!((&*inv.args, inv.depth), (ARGS[0], 0));
                    note(inv.method, inv.id);
                }
                assert!(tells.is_empty());
            }
            other => panic!("nothing of the kind: {other:?}"),
        }
    }
    (counts, methods, ids)
}

#[test]
fn a_run_is_handed_out_as_far_as_there_are_running_slots() {
    // R13.11, R10.2
    let mut pair = with_slots(4);
    let root = pair.root(A);
    tell(&mut pair, root, 1, 10);
    let (counts, methods, first) = starts(events(&mut pair));
    assert_eq!((counts, methods), (vec![4], vec![1, 2, 3, 4]));
    // Two of them end: so many more.
    pair.session(B).end_tells(&first[..2]);
    let (counts, methods, second) = starts(events(&mut pair));
    assert_eq!((counts, methods), (vec![2], vec![5, 6]));
    pair.session(B).end_tells(&first[2..]);
    pair.session(B).end_tells(&second);
    let (counts, methods, third) = starts(events(&mut pair));
    assert_eq!((counts, methods), (vec![2, 2], vec![7, 8, 9, 10]));
    assert_eq!(pair.session(B).sizes().incoming, 4);
    pair.session(B).end_tells(&third);
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, 0, "R13.8");
    pair.finish();
}

#[test]
fn a_call_between_two_runs_starts_between_them() {
    // R10.2, R13.16
    for slots in [1, 2, 3, 100] {
        let mut pair = with_slots(slots);
        let object = pair.object();
        let other = pair.give(&object);
        let root = pair.root(A);
        tell(&mut pair, root, 1, 3);
        pair.numbered(A, CallKind::Call, root, 4);
        tell(&mut pair, root, 5, 2);
        // Another object: a run of its own.
        tell(&mut pair, other, 7, 3);
        let mut seen = Vec::new();
        pair.run();
        while !pair.nothing_runs(B) {
            seen.push(pair.methods(B)[0]);
            let running = pair.started(B);
            let on = if (7..10).contains(&running.inv.method) {
                object.id()
            } else {
                pair.end(B).root.id()
            };
            assert_eq!(running.object.id(), on);
            pair.ret(B, running);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9], "{slots} slots");
        pair.settle();
        drop(object);
        pair.finish();
    }
}

#[test]
fn one_way_calls_that_wait_for_a_slot_do_not_start_on_a_revoked_object() {
    // R12.5, R13.8
    let mut pair = with_slots(2);
    let object = pair.object();
    let handle = pair.give(&object);
    tell(&mut pair, handle, 1, 6);
    pair.run();
    assert_eq!(pair.methods(B), [1, 2]);
    pair.revoke(B, &object);
    for _ in 0..2 {
        let running = pair.started(B);
        pair.ret(B, running);
    }
    assert!(pair.nothing_runs(B), "nothing starts any more");
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    assert_eq!(
        pair.closed(A, handle).map(|fault| fault.code),
        Some(Code::Broken)
    );
    drop(object);
    pair.finish();
}

#[test]
fn the_end_of_the_session_stops_those_of_a_run_that_were_handed_out_and_no_others() {
    // R17
    let mut pair = with_slots(3);
    let root = pair.root(A);
    tell(&mut pair, root, 1, 2);
    let (_, _, running) = starts(events(&mut pair));
    // One has a slot and is not handed out, four wait.
    tell(&mut pair, root, 3, 5);
    pair.transmit(A);
    while let Some(message) = pair.end(B).inbox.pop_front() {
        pair.session(B).receive(&message).unwrap();
    }
    let cause = EndCause {
        close: 1006,
        reason: "lost".into(),
    };
    pair.session(B).end(cause);
    let mut stopped = Vec::new();
    while let Some(event) = pair.session(B).poll_event() {
        match event {
            Event::Stop(id) => stopped.push(id),
            other => panic!("after the end: {other:?}"),
        }
    }
    assert_eq!(stopped, running);
    pair.finish_broken();
}

#[test]
fn deeper_one_way_calls_start_at_once_whatever_runs() {
    // R13.11
    let mut pair = with_slots(1);
    let root = pair.root(A);
    for depth in [0, 0, 0, 2, 2, 2] {
        let out = Pair::out(root, &[], depth);
        let key = pair.session(A).tell(&out).unwrap();
        pair.end(A).receipts.push(key);
    }
    pair.run();
    pair.collect(B);
    let depths: Vec<_> = pair.end(B).running.iter().map(|r| r.inv.depth).collect();
    assert_eq!(depths, [0, 2, 2, 2]);
    pair.finish();
}

#[test]
fn a_run_beyond_the_grant_is_a_violation() {
    // R13.13
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        ..Setup::default()
    });
    let tell = call_frame(CallKind::Tell, 0, Target::ROOT, 0, &[]);
    // An empty array and 64 bytes each.
    let fits = 65_536 / 65;
    let write = |buf: &mut Vec<u8>| buf.extend(&tell);
    let frames: Vec<Writer<'_>> = vec![&write; fits + 1];
    let violation = pair.inject(B, message(1, 0, &frames)).unwrap_err();
    assert_eq!(violation.rule, "R13.13");
    pair.finish_broken();

    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        ..Setup::default()
    });
    pair.inject(B, message(1, 0, &frames[..fits])).unwrap();
    assert_eq!(pair.session(B).sizes().incoming, fits);
    pair.finish_broken();
}

#[test]
fn a_few_one_way_calls_that_wait_hold_no_message() {
    // R13.5: what waits is bounded by what it is charged.
    let tell = call_frame(CallKind::Tell, 0, Target::ROOT, 0, &[]);
    let long = {
        let mut buf = Vec::new();
        let args = [&[0x91, 0xc5, 0xff, 0x00][..], &[7; 0xff00]].concat();
        let ext = helve_protocol::frame::CallExtOut::default();
        let (kind, root) = (CallKind::Call, Target::ROOT);
        helve_protocol::frame::write_call(&mut buf, kind, 1, root, 1, &args, &[], &ext);
        buf
    };
    let mut pair = with_slots(1);
    let write = |buf: &mut Vec<u8>| buf.extend(&tell);
    let mut frames: Vec<Writer<'_>> = vec![&write; 100];
    let alone: Bytes = message(1, 0, &frames);
    pair.inject(B, alone.clone()).unwrap();
    assert!(alone.is_unique(), "short ones are copied");
    let long = |buf: &mut Vec<u8>| buf.extend(&long);
    frames.push(&long);
    let beside = message(101, 0, &frames);
    pair.inject(B, beside.clone()).unwrap();
    // The long argument keeps it until its call starts; the short ones behind it do not.
    assert_eq!(pair.session(B).sizes().incoming, 201);
    while pair.methods(B) != [1] {
        let running = pair.started(B);
        pair.ret(B, running);
    }
    let running = pair.started(B);
    pair.respond(
        B,
        running,
        helve_protocol::session::Reply::Value(&[0xc0], &[]),
    );
    assert!(beside.is_unique());
    pair.finish_broken();
}
