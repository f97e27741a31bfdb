//! Errors that stay small, CANCEL in each place, deadlines (R11, R21).

mod harness;

use harness::*;
use helve_handles::Target;
use helve_protocol::frame::{CallExtOut, CallKind, Frame, write_call};
use helve_protocol::session::{CallKey, Cap, Outgoing, Received};
use helve_protocol::{Code, Fault, Limits};

fn narrow(calls: u32, running: u32) -> Pair {
    Pair::with(&Setup {
        limits: Limits::default().with_calls(calls),
        running,
        ..Setup::default()
    })
}

/// A frame as a peer writes it.
fn raw(kind: CallKind, id: u64, target: Target) -> Vec<u8> {
    call_frame(kind, id, target, 0, &[])
}

#[test]
fn a_call_on_a_target_that_is_not_there_fails_alone() {
    // R11.1, R11.2
    let mut pair = Pair::new();
    let frames: Vec<Vec<u8>> = vec![
        raw(CallKind::Call, 1, Target::host(5)),
        raw(CallKind::Open, 2, Target::open(7)),
        raw(CallKind::Tell, 0, Target::host(5)),
        raw(CallKind::Call, 3, Target::ROOT),
    ];
    for (n, frame) in frames.iter().enumerate() {
        pair.inject(B, message(n as u64 + 1, 0, &[&|buf| buf.extend(frame)]))
            .unwrap();
    }
    assert_eq!(pair.end(B).running.len(), 1, "the good one runs");
    pair.transmit(B);
    let codes: Vec<(u64, u64)> = pair
        .frames(B, 0)
        .iter()
        .filter_map(|read| match read.frame {
            Frame::Err { id, code, .. } => Some((id, code)),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [(1, 2), (2, 2)]);
    pair.end(A).inbox.clear();
    pair.finish_broken();
}

#[test]
fn unknown_and_released_targets_are_not_told_apart() {
    // R11.1, I2.2
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    drop(object);
    pair.drop_handle(A, handle);
    pair.settle();
    let mark = pair.mark(B);
    let (sent, acked) = (pair.session(A).sent(), pair.session(B).sent());
    for (n, k) in [1, 99].into_iter().enumerate() {
        let frame = raw(CallKind::Call, 10 + n as u64, Target::host(k));
        let n = n as u64;
        pair.inject(
            B,
            message(sent + 1 + n, acked, &[&|buf| buf.extend(&frame)]),
        )
        .unwrap();
        pair.transmit(B);
    }
    let mut answers: Vec<Vec<u8>> = pair.end(B).sent[mark..]
        .iter()
        .map(|m| m.to_vec())
        .collect();
    let tail = |m: &Vec<u8>| m[m.len() - 50..].to_vec();
    assert_eq!(tail(&answers.remove(0)), tail(&answers.remove(0)));
    pair.end(A).inbox.clear();
    pair.finish_broken();
}

#[test]
fn over_sixty_four_frames_that_name_nothing_end_the_session() {
    // R11.3
    let mut pair = Pair::new();
    for id in 1..=65 {
        let frame = raw(CallKind::Call, id, Target::host(5));
        let result = pair.inject(B, message(id, 0, &[&|buf| buf.extend(&frame)]));
        assert_eq!(result.err().map(|v| v.rule), (id == 65).then_some("R11.3"));
    }
    pair.finish_broken();
}

#[test]
fn none_of_the_frames_of_a_malformed_message_takes_effect() {
    // R11.4, E4.1
    let mut pair = Pair::new();
    let good = raw(CallKind::Call, 1, Target::ROOT);
    let bad = |buf: &mut Vec<u8>| buf.extend([0x92, 0x06, 0xc1]);
    assert!(
        pair.inject(B, message(1, 0, &[&|buf| buf.extend(&good), &bad]))
            .is_err()
    );
    assert!(pair.nothing_runs(B));
    assert_eq!(pair.session(B).received(), 0);
    pair.finish_broken();
}

#[test]
fn a_call_that_waits_for_its_permit_is_just_dropped() {
    // R21.2
    let mut pair = narrow(1, 256);
    let (root, argument) = (pair.root(A), pair.object());
    let first = pair.call(A, root, &[]);
    let id = argument.id();
    let second = pair.call(A, root, &[Cap::Given(argument)]);
    pair.cancel(A, second);
    pair.collect(A);
    assert_eq!(pair.nursery.drops(id), 1);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    // Nobody waits behind what was dropped.
    let third = pair.call(A, root, &[]);
    assert_eq!(third, CallKey::Sent(2));
    pair.run();
    assert_eq!(pair.end(B).running.len(), 1);
    pair.finish();
}

#[test]
fn a_call_that_was_dropped_lets_the_next_go_at_once() {
    // R13.10, R21.2
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        ..Setup::default()
    });
    let root = pair.root(A);
    let small = pair.call(A, root, &[]);
    let mut args = vec![0x91, 0xc5, 0xff, 0xfc];
    args.resize(65_536, 0);
    let out = Outgoing {
        args: args[..].into(),
        ..Pair::out(root, &[], 0)
    };
    let large = pair.session(A).call(&out, None).unwrap();
    let behind = pair.call(A, root, &[]);
    assert!(matches!(
        (small, large),
        (CallKey::Sent(1), CallKey::Waiting(_))
    ));
    assert!(pair.id(A, behind).is_none());
    pair.session(A).cancel(large);
    assert_eq!(pair.id(A, behind), Some(2));
    pair.finish();
}

#[test]
fn a_call_in_the_queue_of_an_open_is_taken_out_and_answered() {
    // R21.1, R11.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let (open, argument) = (pair.open(A, root, &[]), pair.object());
    let id = argument.id();
    let doomed = pair.call(A, open, &[Cap::Given(argument)]);
    let other = pair.call(A, open, &[]);
    pair.run();
    pair.cancel(A, doomed);
    pair.run();
    assert_eq!(pair.nursery.drops(id), 1);
    assert_eq!(pair.session(A).sizes().calls, 2);
    let (running, object) = (pair.started(B), pair.object());
    pair.ret_handle(B, running, Cap::Given(object));
    let running = pair.started(B);
    assert!(pair.nothing_runs(B));
    pair.ret(B, running);
    pair.run();
    pair.ok(A, other);
    pair.finish();
}

#[test]
fn a_call_that_waits_for_a_running_slot_is_taken_out_and_answered() {
    // R21.1, R13.11
    let mut pair = narrow(1280, 1);
    let root = pair.root(A);
    let (first, doomed, last) = (
        pair.call(A, root, &[]),
        pair.call(A, root, &[]),
        pair.call(A, root, &[]),
    );
    pair.run();
    pair.cancel(A, doomed);
    pair.run();
    assert_eq!(pair.session(B).sizes().incoming, 2);
    for call in [first, last] {
        let running = pair.started(B);
        assert!(pair.nothing_runs(B));
        pair.ret(B, running);
        pair.run();
        pair.ok(A, call);
    }
    pair.finish();
}

#[test]
fn a_running_method_is_stopped_and_answers_once() {
    // R11.5, R21.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    pair.cancel(A, call);
    pair.run();
    let running = pair.started(B);
    let id = running.id();
    assert_eq!(pair.end(B).stops, [id]);
    assert_eq!(pair.session(A).sizes().calls, 1, "kept until the answer");
    let mark = pair.mark(B);
    pair.ret_err(B, running, Code::Cancelled, "stopped");
    let late = Fault::new(Code::Internal, "twice");
    pair.session(B)
        .respond(id, helve_protocol::session::Reply::Fault(late));
    pair.run();
    let answers = pair
        .frames(B, mark)
        .iter()
        .filter(|r| r.kind() == 5)
        .count();
    assert_eq!((answers, pair.session(A).sizes().calls), (1, 0));
    pair.finish();
}

#[test]
fn where_ret_crosses_cancel_the_value_is_dropped_and_its_references_are_given_back() {
    // R11.9, R21.3
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let id = object.id();
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_caps(B, running, &[Cap::Given(object)]);
    pair.cancel(A, call);
    pair.run();
    assert_eq!(pair.nursery.drops(id), 1);
    assert!(
        pair.end(B).stops.is_empty(),
        "a CANCEL of what is answered is ignored"
    );
    pair.finish();
}

#[test]
fn an_answer_that_nobody_takes_any_more_gives_its_references_back() {
    // R21.3
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let id = object.id();
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_caps(B, running, &[Cap::Given(object)]);
    pair.run();
    pair.cancel(A, call);
    pair.run();
    assert_eq!(pair.nursery.drops(id), 1);
    pair.finish();
}

#[test]
fn cancel_and_broken_of_what_is_not_known_are_ignored() {
    // R11.8
    let mut pair = Pair::new();
    let many = message(
        1,
        0,
        &[
            &|buf| helve_protocol::frame::write_cancel(buf, 3),
            &|buf| helve_protocol::frame::write_broken(buf, Target::host(9), Code::Broken, "x"),
            &|buf| helve_protocol::frame::write_broken(buf, Target::open(9), Code::Broken, "x"),
            &|buf| helve_protocol::frame::write_broken(buf, Target::ROOT, Code::Broken, "x"),
        ],
    );
    pair.inject(B, many).unwrap();
    let root = pair.root(B);
    assert!(pair.closed(B, root).is_none());
    pair.finish_broken();
}

#[test]
fn a_second_result_and_one_for_a_call_that_was_never_made_are_violations() {
    // R11.6
    for twice in [true, false] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        let call = pair.call(A, root, &[]);
        pair.transmit(A);
        let ret = |id| {
            move |buf: &mut Vec<u8>| helve_protocol::frame::write_ret(buf, id, &[0xc0], &[], &[])
        };
        let wrong = if twice { 1 } else { 2 };
        let result = pair.inject(A, message(1, 1, &[&ret(1), &ret(wrong)]));
        assert_eq!(result.unwrap_err().rule, "R11.6");
        pair.ok(A, call);
        pair.end(B).inbox.clear();
        pair.finish_broken();
    }
}

#[test]
fn ids_that_go_back_or_leap_are_violations() {
    // I1.2
    for (first, second, good) in [
        (5, 5, false),
        (5, 4, false),
        (5, 5 + (1 << 20), true),
        (5, 6 + (1 << 20), false),
    ] {
        let mut pair = Pair::new();
        let (one, two) = (
            raw(CallKind::Call, first, Target::ROOT),
            raw(CallKind::Open, second, Target::ROOT),
        );
        let result = pair.inject(
            B,
            message(1, 0, &[&|b| b.extend(&one), &|b| b.extend(&two)]),
        );
        assert_eq!(result.err().map(|v| v.rule), (!good).then_some("I1.2"));
        pair.finish_broken();
    }
}

#[test]
fn a_deadline_counts_from_acceptance_and_is_cut_to_an_hour() {
    // R21.5, E3.3
    for (ms, then) in [(250, 250), (3_600_000, 3_600_000), (u64::MAX, 3_600_000)] {
        let mut pair = Pair::new();
        pair.wait(1000);
        let ext = CallExtOut {
            deadline: Some(ms),
            ..CallExtOut::default()
        };
        let frame = |buf: &mut Vec<u8>| {
            write_call(
                buf,
                CallKind::Call,
                1,
                Target::ROOT,
                METHOD,
                &[0x90],
                &[],
                &ext,
            );
        };
        pair.inject(B, message(1, 0, &[&frame])).unwrap();
        let running = pair.started(B);
        assert_eq!(running.inv.deadline(), Some(pair.now().plus_ms(then)));
        drop(running);
        pair.finish_broken();
    }
}

#[test]
fn a_call_whose_deadline_passes_before_it_is_sent_is_not_sent() {
    // R21.6, R21.2
    let mut pair = narrow(1, 256);
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let out = Outgoing {
        deadline: Some(pair.now().plus_ms(100)),
        ..Pair::out(root, &[], 0)
    };
    let key = pair.session(A).call(&out, None).unwrap();
    pair.end(A).calls.push((key, key));
    pair.run();
    pair.wait(101);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    assert_eq!(pair.fault(A, key).code, Code::Deadline);
    assert!(pair.nothing_runs(B));
    pair.finish();
}

#[test]
fn data_that_is_too_long_is_left_out_of_an_error() {
    // R18.12
    let mut pair = Pair::new();
    let root = pair.root(A);
    let (call, open) = (pair.call(A, root, &[]), pair.open(A, root, &[]));
    pair.run();
    for _ in 0..2 {
        let running = pair.started(B);
        let mut data = vec![0xc6, 0, 1, 0, 0];
        data.resize(65_541, 0);
        let fault = Fault::app("large", data);
        pair.respond(B, running, helve_protocol::session::Reply::Fault(fault));
    }
    pair.run();
    let fault = pair.fault(A, call);
    assert_eq!((fault.code, fault.data.len()), (Code::App, 0));
    assert_eq!(pair.closed(A, open).map(|f| f.code), Some(Code::App));
    pair.finish();
}

#[test]
fn payloads_above_the_frame_limit_are_refused_where_they_arise() {
    // R18.8
    let mut pair = Pair::with(&Setup {
        limits: helve_protocol::Limits::default().with_frame(70_000),
        ..Setup::default()
    });
    let root = pair.root(A);
    let long = vec![0; 70_001];
    let out = Outgoing {
        args: long[..].into(),
        ..Pair::out(root, &[], 0)
    };
    let fault = pair.session(A).call(&out, None).unwrap_err();
    assert_eq!(fault.code, Code::Exhausted);
    assert!(fault.message.contains("70001"), "{}", fault.message);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.respond(
        B,
        running,
        helve_protocol::session::Reply::Value(&long, &[]),
    );
    pair.run();
    // The method ran: EXHAUSTED would say that it did not.
    assert_eq!(pair.fault(A, call).code, Code::Internal);
    pair.finish();
}

#[test]
fn a_result_is_woken_up_for() {
    // R11.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let flag = Flag::new();
    let waker = flag.waker();
    let mut key = pair
        .session(A)
        .call(&Pair::out(root, &[], 0), Some(&waker))
        .unwrap();
    pair.run();
    assert!(!flag.take());
    let (running, object) = (pair.started(B), pair.object());
    pair.ret_caps(B, running, &[Cap::Given(object)]);
    pair.run();
    assert!(flag.take());
    let std::task::Poll::Ready(Ok((_, caps))) = pair.session(A).poll_call(&mut key, &waker) else {
        panic!("no answer");
    };
    assert!(matches!(caps[0], Received::Import { .. }));
    pair.session(A).discard(caps);
    pair.finish();
}
