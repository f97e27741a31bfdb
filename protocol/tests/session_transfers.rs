//! Payloads above 65,536 bytes: heads in their place, PARTs behind the frames that are ready, held calls, aborts (R18).

mod harness;

use std::task::Poll;

use bytes::Bytes;
use harness::*;
use helve_handles::Target;
use helve_protocol::frame::{CallExtOut, CallKind, Frame, put_transfer, write_call, write_part};
use helve_protocol::session::{CallKey, Cap, EndCause, ImportKey, Outgoing, Received, Reply};
use helve_protocol::{Code, Limits};

const MIB: usize = 1 << 20;

/// One array of one bin, `len` bytes in all.
fn args(len: usize) -> Bytes {
    let mut bytes = vec![0x91, 0xc6];
    bytes.extend(((len - 6) as u32).to_be_bytes());
    let period: Vec<u8> = (0..251).collect();
    bytes.extend(period.repeat(len.div_ceil(251)));
    bytes.truncate(len);
    bytes.into()
}

/// One bin, `len` bytes in all.
fn value(len: usize) -> Bytes {
    args(len + 1).slice(1..)
}

fn raised(frame: usize) -> Pair {
    Pair::with(&Setup {
        limits: Limits::default()
            .with_frame(frame as u64)
            .with_bytes(2 * frame as u64),
        ..Setup::default()
    })
}

fn call_with(pair: &mut Pair, to: ImportKey, args: &Bytes, caps: &[Cap<TestObject>]) -> CallKey {
    let out = Outgoing {
        args: args.into(),
        ..Pair::out(to, caps, 0)
    };
    let key = pair.session(A).call(&out, None).expect("taken");
    pair.end(A).calls.push((key, key));
    key
}

/// What each frame is that A sent since `mark`: its kind.
fn kinds(pair: &mut Pair, mark: usize) -> Vec<u8> {
    pair.frames(A, mark).iter().map(Read::kind).collect()
}

#[test]
fn arguments_and_results_of_any_size_arrive_whole() {
    // R18.1, R18.2, R18.3, R18.6
    for len in [65_537, 131_072, 131_073, 3 * MIB + 5] {
        let mut pair = Pair::new();
        let (root, sent) = (pair.root(A), args(len));
        let mark = pair.mark(A);
        let call = call_with(&mut pair, root, &sent, &[]);
        pair.run();
        let running = pair.started(B);
        assert_eq!(*running.inv.args, *sent);
        let parts = kinds(&mut pair, mark).iter().filter(|k| **k == 15).count();
        assert_eq!(parts, len.div_ceil(65_536));
        let back = value(len);
        pair.respond(B, running, Reply::Shared(&back, &[]));
        pair.run();
        let Ok((bytes, _)) = pair.answer(A, call) else {
            panic!("it has a result");
        };
        assert_eq!(*bytes, *back);
        pair.finish();
    }
}

#[test]
fn a_payload_of_65536_bytes_goes_in_its_frame() {
    // R18.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let mark = pair.mark(A);
    call_with(&mut pair, root, &args(65_536), &[]);
    pair.run();
    assert_eq!(kinds(&mut pair, mark), [1]);
    pair.finish();
}

#[test]
fn a_small_call_goes_out_after_at_most_four_more_parts() {
    // E1.7, R18.4
    let mut pair = raised(64 * MIB);
    let root = pair.root(A);
    let sent = args(64 * MIB);
    let large = call_with(&mut pair, root, &sent, &[]);
    // In the middle of the transfer, whatever is on its way by then.
    for _ in 0..40 {
        pair.transmit(A);
        pair.deliver(B, usize::MAX);
        pair.transmit(B);
        pair.deliver(A, usize::MAX);
    }
    // All that may be unacknowledged is handed out; then the small one comes.
    pair.transmit(A);
    let mark = pair.mark(A);
    let on_the_way = pair.end(B).inbox.len();
    assert!(on_the_way <= 4, "{on_the_way} PARTs are not acknowledged");
    let small = pair.call(A, root, &[]);
    pair.transmit(A);
    assert_eq!(kinds(&mut pair, mark), [1], "it waits for no PART");
    pair.deliver(B, usize::MAX);
    pair.run();
    let first = pair.started(B);
    // It is on the same target, so it is held; the reply of another target's would be there already.
    assert_eq!(*first.inv.args, *sent);
    pair.ret(B, first);
    let second = pair.started(B);
    pair.ret(B, second);
    pair.run();
    pair.ok(A, large);
    pair.ok(A, small);
    pair.finish();
}

#[test]
fn a_call_on_another_target_overtakes_the_transfer() {
    // R18.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let object = pair.object();
    let other = pair.give(&object);
    let large = call_with(&mut pair, root, &args(MIB), &[]);
    let small = pair.call(A, other, &[]);
    pair.transmit(A);
    pair.deliver(B, 2);
    let running = pair.started(B);
    assert_eq!(running.object.id(), object.id());
    pair.ret(B, running);
    pair.transmit(B);
    pair.deliver(A, usize::MAX);
    pair.ok(A, small);
    assert!(pair.poll(A, large).is_pending());
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    drop(object);
    pair.finish();
}

#[test]
fn later_calls_on_the_same_target_are_held_in_order() {
    // R18.5
    let mut pair = Pair::new();
    let object = pair.object();
    let to = pair.give(&object);
    let sent = args(200_000);
    let out = Outgoing {
        method: 1,
        args: (&sent).into(),
        ..Pair::out(to, &[], 0)
    };
    let key = pair.session(A).call(&out, None).unwrap();
    pair.end(A).calls.push((key, key));
    pair.numbered(A, CallKind::Tell, to, 2);
    pair.numbered(A, CallKind::Call, to, 3);
    pair.transmit(A);
    // The heads and all PARTs but the last.
    let n = pair.end(B).inbox.len();
    pair.deliver(B, n - 1);
    assert!(pair.nothing_runs(B));
    pair.run();
    assert_eq!(pair.methods(B), [1, 2, 3]);
    drop(object);
    pair.finish();
}

#[test]
fn a_held_call_keeps_its_target_after_the_release() {
    // R18.5, R1.8
    let mut pair = Pair::new();
    let object = pair.object();
    let to = pair.give(&object);
    let id = object.id();
    drop(object);
    let large = call_with(&mut pair, to, &args(200_000), &[]);
    pair.drop_handle(A, to);
    pair.transmit(A);
    let n = pair.end(B).inbox.len();
    pair.deliver(B, n - 1);
    assert_eq!(pair.nursery.drops(id), 0, "the held call keeps it");
    pair.run();
    let running = pair.started(B);
    assert_eq!(running.object.id(), id);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, large);
    assert_eq!(pair.nursery.drops(id), 1);
    pair.finish();
}

#[test]
fn calls_on_an_open_in_transfer_wait_with_it() {
    // R18.2, R18.5, R2.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let sent = args(200_000);
    let out = Outgoing {
        args: (&sent).into(),
        ..Pair::out(root, &[], 0)
    };
    let opened = pair.session(A).open(&out).unwrap();
    pair.end(A).held.push(opened);
    let then = pair.call(A, opened, &[]);
    pair.run();
    let running = pair.started(B);
    assert!(pair.nothing_runs(B), "the handle is not there yet");
    let object = pair.object();
    pair.ret_handle(B, running, Cap::Given(object));
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, then);
    pair.finish();
}

#[test]
fn a_large_call_pipelined_on_an_open_starts_in_order() {
    // R18.5, R2.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let opened = pair.open(A, root, &[]);
    pair.numbered(A, CallKind::Call, opened, 1);
    let sent = args(70_000);
    let out = Outgoing {
        method: 2,
        args: (&sent).into(),
        ..Pair::out(opened, &[], 0)
    };
    let key = pair.session(A).call(&out, None).unwrap();
    pair.end(A).calls.push((key, key));
    pair.numbered(A, CallKind::Call, opened, 3);
    pair.run();
    let running = pair.started(B);
    let object = pair.object();
    pair.ret_handle(B, running, Cap::Given(object));
    assert_eq!(pair.methods(B), [1, 2, 3]);
    pair.finish();
}

#[test]
fn parts_of_open_transfers_go_in_turn() {
    // E1.7
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..2 {
        call_with(&mut pair, root, &args(200_000), &[]);
    }
    let mark = pair.mark(A);
    pair.transmit(A);
    let heads: Vec<u64> = pair
        .frames(A, mark)
        .iter()
        .filter_map(|read| match read.frame {
            Frame::Part { head, .. } => Some(head),
            _ => None,
        })
        .collect();
    assert_eq!(heads, [1, 2, 1, 2]);
    pair.finish();
}

#[test]
fn sixty_four_mebibytes_pass_through_one_of_replay_buffer() {
    // R18.4, S5.1
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(64 << 20),
        replay: Some(MIB),
        ..Setup::default()
    });
    let root = pair.root(A);
    let sent = args(64 * MIB);
    let call = call_with(&mut pair, root, &sent, &[]);
    pair.run();
    let running = pair.started(B);
    assert!(*running.inv.args == *sent, "every byte is there");
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn the_head_after_the_last_slot_waits_in_its_place() {
    // R18.7
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1),
        ..Setup::default()
    });
    let root = pair.root(A);
    let first = call_with(&mut pair, root, &args(100_000), &[]);
    let second = call_with(&mut pair, root, &args(100_000), &[]);
    let small = pair.call(A, root, &[]);
    assert!(matches!(
        (first, second, small),
        (CallKey::Sent(_), CallKey::Waiting(_), CallKey::Waiting(_))
    ));
    pair.run();
    for call in [first, second, small] {
        let running = pair.started(B);
        pair.ret(B, running);
        pair.run();
        pair.ok(A, call);
    }
    // The same for results.
    let calls = [0; 3].map(|_| pair.call(A, root, &[]));
    pair.run();
    let back = value(100_000);
    for large in [true, true, false] {
        let running = pair.started(B);
        if large {
            pair.respond(B, running, Reply::Shared(&back, &[]));
        } else {
            pair.ret(B, running);
        }
    }
    let mark = pair.mark(B);
    assert!(pair.session(B).poll_transmit().is_some());
    assert_eq!(pair.mark(B), mark);
    pair.finish_broken();
    _ = calls;
}

#[test]
fn results_of_large_calls_come_in_order_when_slots_are_few() {
    // R18.7
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1),
        ..Setup::default()
    });
    let root = pair.root(A);
    let calls = [0; 3].map(|_| pair.call(A, root, &[]));
    pair.run();
    let back = value(100_000);
    for _ in &calls {
        let running = pair.started(B);
        pair.respond(B, running, Reply::Shared(&back, &[]));
    }
    pair.run();
    for call in calls {
        let Ok((bytes, _)) = pair.answer(A, call) else {
            panic!("it has a result");
        };
        assert_eq!(bytes.len(), 100_000);
    }
    pair.finish();
}

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
    let mut frame = Vec::new();
    let mut announced = Vec::new();
    put_transfer(&mut announced, 200_000);
    write_call(
        &mut frame,
        CallKind::Call,
        1,
        Target::host(99),
        METHOD,
        &announced,
        &[],
        &CallExtOut::default(),
    );
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
    let mut frame = Vec::new();
    let mut announced = Vec::new();
    put_transfer(&mut announced, 100_000);
    write_call(
        &mut frame,
        CallKind::Tell,
        0,
        Target::ROOT,
        METHOD,
        &announced,
        &[],
        &CallExtOut::default(),
    );
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
fn a_tell_is_accepted_with_its_last_part() {
    // R12.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let sent = args(600_000);
    let out = Outgoing {
        args: (&sent).into(),
        ..Pair::out(root, &[], 0)
    };
    let mut key = pair.session(A).tell(&out).unwrap();
    let flag = Flag::new();
    let poll = |pair: &mut Pair, key: &mut _| {
        let waker = flag.waker();
        pair.session(A).poll_receipt(key, true, &waker)
    };
    assert!(poll(&mut pair, &mut key).is_pending());
    // The head and the first PARTs are acknowledged.
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    pair.transmit(B);
    pair.deliver(A, usize::MAX);
    pair.collect(A);
    assert!(poll(&mut pair, &mut key).is_pending());
    while !flag.take() {
        assert!(pair.transmit(A) > 0, "it goes on");
        pair.deliver(B, usize::MAX);
        pair.transmit(B);
        pair.deliver(A, usize::MAX);
        pair.collect(A);
    }
    pair.run();
    _ = poll(&mut pair, &mut key);
    pair.settle();
    assert_eq!(poll(&mut pair, &mut key), Poll::Ready(Ok(())));
    let running = pair.started(B);
    assert_eq!(*running.inv.args, *sent);
    pair.ret(B, running);
    pair.finish();
}

#[test]
fn wrong_parts_are_violations() {
    // R18.9, R18.8, R18.7
    let mut announced = Vec::new();
    put_transfer(&mut announced, 70_000);
    let mut call = Vec::new();
    write_call(
        &mut call,
        CallKind::Call,
        1,
        Target::ROOT,
        METHOD,
        &announced,
        &[],
        &CallExtOut::default(),
    );
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
    let second = |buf: &mut Vec<u8>| {
        let ext = CallExtOut::default();
        let on = Target::ROOT;
        write_call(buf, CallKind::Call, 2, on, METHOD, &announced, &[], &ext);
    };
    assert_eq!(broken(&[head, &second], limits.with_transfers(1)), "R18.7");
}

#[test]
fn an_assembled_payload_is_scanned_before_it_is_delivered() {
    // E4.11, E4.10
    let mut announced = Vec::new();
    put_transfer(&mut announced, 65_540);
    let mut call = Vec::new();
    write_call(
        &mut call,
        CallKind::Call,
        1,
        Target::ROOT,
        METHOD,
        &announced,
        &[],
        &CallExtOut::default(),
    );
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

#[test]
fn a_large_call_is_reflected() {
    // R6.3, R18.2
    let mut pair = Pair::new();
    let (root, own) = (pair.root(A), pair.object());
    let opened = pair.open(A, root, &[Cap::Given(own.clone())]);
    pair.run();
    let mut running = pair.started(B);
    let caps = pair.keep(B, &mut running);
    let Received::Import { key, .. } = caps[0] else {
        panic!("an import");
    };
    pair.ret_handle(B, running, Cap::Import(key));
    pair.run();
    let sent = args(300_000);
    let call = call_with(&mut pair, opened, &sent, &[]);
    pair.run();
    let running = pair.started(A);
    assert_eq!(running.object.id(), own.id());
    assert_eq!(*running.inv.args, *sent);
    let back = value(300_000);
    pair.respond(A, running, Reply::Shared(&back, &[]));
    pair.run();
    let Ok((bytes, _)) = pair.answer(A, call) else {
        panic!("it has a result");
    };
    assert_eq!(*bytes, *back);
    drop(own);
    pair.finish();
}

#[test]
fn what_was_sent_is_handed_out_to_be_freed_elsewhere() {
    // R18.4: the last PART lets go of the payload.
    let mut pair = Pair::new();
    let root = pair.root(A);
    call_with(&mut pair, root, &args(100_000), &[]);
    assert!(!pair.session(A).has_spent());
    pair.run();
    assert!(pair.session(A).has_spent());
    assert_eq!(pair.session(A).take_spent().len(), 1);
    assert!(!pair.session(A).has_spent());
    pair.finish();
}
