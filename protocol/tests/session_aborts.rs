//! Payloads above 65,536 bytes that do not arrive: cancelled, aborted, wrong, lost (R18).

mod harness;

use std::task::Waker;

use bytes::Bytes;
use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{CallKind, Frame, put_transfer, write_part};
use helve_protocol::session::{CallKey, Cap, EndCause, Reply};
use helve_protocol::{Code, Limits};

#[test]
fn a_call_cancelled_in_transfer_is_aborted_and_answered() {
    // R18.11, R11.5
    let mut pair = Pair::new();
    let (root, given) = (pair.root(A), pair.object());
    let mut sent = args(MIB).to_vec();
    // One more argument: the handle.
    sent[0] = 0x92;
    sent.extend([0xd4, 1, 0]);
    let call = call_with(&mut pair, root, &sent.into(), &[Cap::Given(given.clone())]);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    let mark = pair.mark(A);
    pair.cancel(A, call);
    pair.run();
    assert_eq!(kinds(&mut pair, mark)[..2], [6, 15]);
    assert!(pair.nothing_runs(B));
    assert!(pair.session(B).sizes().is_empty(), "nothing is kept of it");
    let id = given.id();
    drop(given);
    pair.settle();
    assert_eq!(pair.nursery.drops(id), 1, "the handle was given back");
    pair.finish();
}

#[test]
fn a_cancelled_call_in_front_lets_the_held_ones_go_on() {
    // R18.5, R18.11
    let mut pair = Pair::new();
    let object = pair.object();
    let to = pair.give(&object);
    let first = call_with(&mut pair, to, &args(MIB), &[]);
    let second = pair.call(A, to, &[]);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    assert!(pair.nothing_runs(B));
    pair.cancel(A, first);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, second);
    drop(object);
    pair.finish();
}

#[test]
fn a_held_call_that_is_cancelled_never_starts() {
    // R21.1, R18.5
    let mut pair = Pair::new();
    let object = pair.object();
    let to = pair.give(&object);
    let first = call_with(&mut pair, to, &args(MIB), &[]);
    let second = pair.call(A, to, &[]);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    pair.cancel(A, second);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    assert!(pair.nothing_runs(B));
    drop(object);
    pair.finish();
}

#[test]
fn a_call_that_is_refused_at_once_stops_sending() {
    // R18.10
    let mut pair = Pair::new();
    let object = pair.object();
    let to = pair.give(&object);
    pair.revoke(B, &object);
    // The caller has not heard of it.
    let call = call_with(&mut pair, to, &args(4 * MIB), &[]);
    let mark = pair.mark(A);
    pair.run();
    // Held first, as any other; it is refused when it would start.
    assert_eq!(pair.fault(A, call).code, Code::Broken);
    assert!(kinds(&mut pair, mark).len() > 2);
    drop(object);
    pair.finish();

    let mut pair = Pair::new();
    let frame = head_frame(CallKind::Call, 1, Target::host(99), 200_000);
    // GONE comes before the first PART, and what comes all the same is taken.
    let data = vec![0; 65_536];
    let first = message(1, 0, &[&|buf| buf.extend_from_slice(&frame)]);
    pair.inject(B, first).unwrap();
    let part = message(2, 0, &[&|buf| write_part(buf, 1, Some(&data))]);
    pair.inject(B, part).unwrap();
    let abort = message(3, 0, &[&|buf| write_part(buf, 1, None)]);
    pair.inject(B, abort).unwrap();
    pair.transmit(B);
    assert_eq!(pair.frames(B, 0)[0].kind(), 5);
    assert!(pair.session(B).sizes().is_empty());
    pair.finish_broken();
}

#[test]
fn the_answer_of_a_call_in_transfer_aborts_it() {
    // R18.10
    let mut pair = Pair::new();
    let root = pair.root(A);
    let call = call_with(&mut pair, root, &args(4 * MIB), &[]);
    pair.transmit(A);
    let gone = message(
        1,
        1,
        &[&|buf| {
            helve_protocol::frame::write_err(buf, 1, Code::Gone, "gone", &[]);
        }],
    );
    pair.inject(A, gone).unwrap();
    let mark = pair.mark(A);
    pair.transmit(A);
    assert_eq!(kinds(&mut pair, mark), [15]);
    assert!(matches!(
        pair.frames(A, mark)[0].frame,
        Frame::Part { data: None, .. }
    ));
    assert_eq!(pair.fault(A, call).code, Code::Gone);
    pair.finish_broken();
}

#[test]
fn a_result_that_nobody_wants_any_more_is_given_up() {
    // R18.11, R11.9
    let mut pair = Pair::new();
    let (root, given) = (pair.root(A), pair.object());
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let mut back = vec![0x92, 0xc6, 0, 0x40, 0, 0];
    back.resize(6 + 4 * MIB, 1);
    back.extend([0xd4, 1, 0]);
    let back = Bytes::from(back);
    pair.respond(
        B,
        running,
        Reply::Shared(&back, &[Cap::Given(given.clone())]),
    );
    pair.transmit(B);
    pair.deliver(A, usize::MAX);
    pair.cancel(A, call);
    let mark = pair.mark(B);
    pair.run();
    let last = pair.frames(B, mark).pop().unwrap();
    assert!(
        matches!(last.frame, Frame::Part { data: None, .. }),
        "{last:?}"
    );
    let id = given.id();
    drop(given);
    pair.settle();
    assert_eq!(pair.nursery.drops(id), 1, "its handle was released");
    pair.finish();
}

#[test]
fn an_aborted_result_ends_its_call_as_cancelled() {
    // R18.11
    let mut pair = Pair::new();
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.transmit(A);
    let mut announced = Vec::new();
    put_transfer(&mut announced, 100_000);
    let ret = message(
        1,
        1,
        &[&|buf| {
            helve_protocol::frame::write_ret(buf, 1, &announced, &[], &[]);
        }],
    );
    pair.inject(A, ret).unwrap();
    assert!(pair.poll(A, call).is_pending());
    let abort = message(2, 1, &[&|buf| write_part(buf, 1, None)]);
    pair.inject(A, abort).unwrap();
    assert_eq!(pair.fault(A, call).code, Code::Cancelled);
    pair.finish_broken();
}

#[test]
fn an_aborted_tell_is_dropped() {
    // R18.11
    let mut pair = Pair::new();
    let frame = head_frame(CallKind::Tell, 0, Target::ROOT, 100_000);
    let both = message(
        1,
        0,
        &[&|buf| buf.extend_from_slice(&frame), &|buf| {
            write_part(buf, 1, None)
        }],
    );
    pair.inject(B, both).unwrap();
    assert!(pair.nothing_runs(B));
    assert!(pair.session(B).sizes().is_empty());
    pair.finish_broken();
}

#[test]
fn wrong_parts_are_violations() {
    // R18.9, R18.8, R18.7
    let call = head_frame(CallKind::Call, 1, Target::ROOT, 70_000);
    let data = vec![0; 65_536];
    let broken = |frames: &[Writer<'_>], limits: Limits| {
        let mut pair = Pair::with(&Setup {
            limits,
            ..Setup::default()
        });
        let rule = pair.inject(B, message(1, 0, frames)).unwrap_err().rule;
        pair.finish_broken();
        rule
    };
    let (head, part): (Writer<'_>, Writer<'_>) = (&|buf| buf.extend_from_slice(&call), &|buf| {
        write_part(buf, 1, Some(&data));
    });
    let limits = Limits::default();
    // Of no transfer; beyond the length; after the end.
    assert_eq!(broken(&[part], limits), "R18.9");
    assert_eq!(broken(&[head, part, part], limits), "R18.9");
    assert_eq!(
        broken(&[head, &|buf| write_part(buf, 1, None), part], limits),
        "R18.9"
    );
    // Above the limits that were stated.
    assert_eq!(broken(&[head], limits.with_frame(69_999)), "R18.8");
    let next = head_frame(CallKind::Call, 2, Target::ROOT, 70_000);
    let second = |buf: &mut Vec<u8>| buf.extend_from_slice(&next);
    assert_eq!(broken(&[head, &second], limits.with_transfers(1)), "R18.7");
}

#[test]
fn an_assembled_payload_is_scanned_before_it_is_delivered() {
    // E4.11, E4.10
    let call = head_frame(CallKind::Call, 1, Target::ROOT, 65_540);
    let good = args(65_540);
    let check = |bytes: &[u8]| {
        let mut pair = Pair::new();
        let (one, two) = bytes.split_at(65_536);
        let all = message(
            1,
            0,
            &[
                &|buf| buf.extend_from_slice(&call),
                &|buf| write_part(buf, 1, Some(one)),
                &|buf| write_part(buf, 1, Some(two)),
            ],
        );
        let result = pair.inject(B, all).map_err(|violation| violation.rule);
        pair.finish_broken();
        result
    };
    assert_eq!(check(&good), Ok(()));
    // Trailing bytes, a reserved byte, a cap index beyond the table, a length beyond the end.
    let mut bad = good.to_vec();
    bad[5] -= 1;
    assert_eq!(check(&bad), Err("E4.10"));
    let mut bad = good.to_vec();
    (bad[0], bad[65_539]) = (0x92, 0xc1);
    bad[5] -= 1;
    assert_eq!(check(&bad), Err("E4.6"));
    let mut bad = good.to_vec();
    bad[0] = 0x92;
    bad[5] -= 3;
    bad[65_537..].copy_from_slice(&[0xd4, 1, 0]);
    assert_eq!(check(&bad), Err("E4.8"));
    let mut bad = good.to_vec();
    bad[2] = 1;
    assert_eq!(check(&bad), Err("E4.4"));
}

#[test]
fn a_call_of_which_not_all_was_written_did_not_run() {
    // S8.2, R17.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let whole = call_with(&mut pair, root, &args(100_000), &[]);
    let half = call_with(&mut pair, root, &args(MIB), &[]);
    pair.transmit(A);
    pair.session(A).end(EndCause {
        close: 1006,
        reason: "lost".into(),
    });
    assert_eq!(pair.fault(A, whole).code, Code::MaybeRan);
    assert_eq!(pair.fault(A, half).code, Code::NotSent);
    pair.finish_broken();
}

#[test]
fn the_end_of_a_session_forgets_transfers_in_both_directions() {
    // R17.2, R17.5
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let mut sent = args(MIB).to_vec();
    sent[0] = 0x92;
    sent.extend([0xd4, 1, 0]);
    call_with(&mut pair, root, &sent.into(), &[Cap::Given(object)]);
    pair.call(A, root, &[]);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    assert!(pair.session(B).sizes().transfers > 0);
    assert!(pair.session(A).sizes().transfers > 0);
    pair.finish_broken();
}

fn few(transfers: u32) -> Pair {
    Pair::with(&Setup {
        limits: Limits::default().with_transfers(transfers),
        ..Setup::default()
    })
}

#[test]
fn an_abort_goes_ahead_of_the_head_that_waits_for_its_slot() {
    // R18.14, R18.11: behind it, the peer would count one transfer too many (R18.7).
    let mut pair = few(1);
    let (root, theirs) = (pair.root(A), pair.root(B));
    let small = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let large = call_by(&mut pair, B, theirs, &args(4 * MIB), &[]);
    let back = value(100_000);
    pair.respond(B, running, Reply::Shared(&back, &[]));
    pair.transmit(B);
    let mark = pair.mark(B);
    pair.cancel(B, large);
    pair.run();
    assert_eq!(kinds_of(&mut pair, B, mark)[..3], [6, 15, 4]);
    let Ok((bytes, _)) = pair.answer(A, small) else {
        panic!("it has a result");
    };
    assert_eq!(*bytes, *back);
    pair.finish();
}

#[test]
fn the_slot_of_a_cancelled_call_goes_to_the_next_at_once() {
    // R18.7
    let mut pair = few(1);
    let root = pair.root(A);
    let first = call_with(&mut pair, root, &args(MIB), &[]);
    let second = call_with(&mut pair, root, &args(MIB), &[]);
    assert!(matches!(second, CallKey::Waiting(_)));
    pair.cancel(A, first);
    assert!(pair.id(A, second).is_some(), "it waits for no message");
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, second);
    pair.finish();
}

#[test]
fn a_tell_of_which_not_all_was_sent_is_not_accepted_when_the_session_ends() {
    // R12.2, S8.2: its head was acknowledged, and that is not all of it.
    for (len, code) in [(MIB, Code::NotSent), (100_000, Code::MaybeRan)] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        let mut key = tell_with(&mut pair, root, &args(len));
        let head = pair.session(A).poll_transmit().unwrap();
        pair.inject(B, head).unwrap();
        pair.wait(25);
        pair.transmit(B);
        pair.deliver(A, usize::MAX);
        assert_eq!(pair.session(A).sizes().unacked, 0);
        pair.transmit(A);
        pair.session(A).end(EndCause {
            close: 1006,
            reason: "lost".into(),
        });
        let poll = pair
            .session(A)
            .poll_receipt(&mut key, true, Waker::noop())
            .map_err(|fault| fault.code);
        assert_eq!(poll, std::task::Poll::Ready(Err(code)));
        pair.finish_broken();
    }
}

#[test]
fn a_result_that_waits_for_a_slot_keeps_its_permit() {
    // R13.7, R13.13: else a peer that acknowledges nothing would have results pile up without a bound.
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1).with_nested(2),
        ..Setup::default()
    });
    let back = value(4 * MIB);
    for id in 1..=3 {
        let call = call_frame(CallKind::Call, id, Target::ROOT, 1, &[]);
        let call = message(id, 0, &[&|buf| buf.extend_from_slice(&call)]);
        pair.inject(B, call).unwrap();
        let running = pair.started(B);
        pair.respond(B, running, Reply::Shared(&back, &[]));
    }
    // The first is on its way, two wait.
    let call = call_frame(CallKind::Call, 4, Target::ROOT, 1, &[]);
    let call = message(4, 0, &[&|buf| buf.extend_from_slice(&call)]);
    assert_eq!(pair.inject(B, call).unwrap_err().rule, "R13.13");
    pair.finish_broken();
}

#[test]
fn the_handles_of_a_malformed_result_are_not_dropped_under_the_lock() {
    // E4.11, R17.2: what is dropped is the user's, so the driver does it.
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let id = object.id();
    let call = pair.call(A, root, &[Cap::Given(object)]);
    pair.transmit(A);
    let mut announced = Vec::new();
    put_transfer(&mut announced, 65_537);
    let caps = [Descriptor::new(Tag::Yours, 1)];
    let data = vec![0xc1; 65_536];
    let all = message(
        1,
        1,
        &[
            &|buf| helve_protocol::frame::write_ret(buf, 1, &announced, &caps, &[]),
            &|buf| helve_protocol::frame::write_release(buf, &[(Target::host(1), 1)]),
            &|buf| write_part(buf, 1, Some(&data)),
        ],
    );
    pair.inject(A, all).unwrap();
    assert_eq!(pair.nursery.drops(id), 0, "the result holds it");
    let last = message(4, 1, &[&|buf| write_part(buf, 1, Some(&[0]))]);
    assert_eq!(pair.session(A).receive(&last).unwrap_err().rule, "E4.6");
    assert_eq!(pair.nursery.drops(id), 0, "it is garbage, not gone");
    pair.collect(A);
    assert_eq!(pair.nursery.drops(id), 1);
    _ = call;
    pair.finish_broken();
}
