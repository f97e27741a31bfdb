//! Numbers, acks and the replay buffer (S2, S3, S4, S5).

mod harness;

use bytes::Bytes;
use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::batch::{Parsed, ReadLimits, ack_only, parse};
use helve_protocol::frame::{CallExtOut, CallKind, write_call, write_cancel};
use helve_protocol::session::{CallKey, Outgoing, Reply};

fn read(message: &Bytes) -> Parsed {
    let mut parsed = Parsed::new();
    parse(message, &mut parsed, &ReadLimits::default()).unwrap();
    parsed
}

/// A CANCEL of what nobody knows: the smallest frame that has no effect.
fn idle(first_seq: u64, n: u64) -> Bytes {
    let frame = |buf: &mut Vec<u8>| write_cancel(buf, 1);
    let frames: Vec<Writer<'_>> = (0..n).map(|_| &frame as Writer<'_>).collect();
    message(first_seq, 0, &frames)
}

/// One array that makes a payload of `len` bytes.
fn payload(len: usize) -> Vec<u8> {
    let mut args = vec![0x91, 0xc5];
    args.extend(((len - 4) as u16).to_be_bytes());
    args.resize(len, 0);
    args
}

/// Room for one frame of any length, and little more.
const TIGHT: usize = 65_536 + 40_960 + 100;

fn tight() -> Pair {
    Pair::with(&Setup {
        replay: Some(TIGHT),
        ..Setup::default()
    })
}

#[test]
fn frames_are_numbered_from_one_and_each_is_taken_once() {
    // S2.1, S2.2, S3.1, S3.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.call(A, root, &[]);
    pair.transmit(A);
    let first = pair.end(B).inbox[0].clone();
    assert_eq!(read(&first).first_seq, 1);
    pair.deliver(B, 1);
    pair.inject(B, first).unwrap();
    assert_eq!(
        pair.end(B).running.len(),
        1,
        "the second time it is skipped"
    );
    assert_eq!(pair.session(B).received(), 1);
    // A message that overlaps what was taken: only the new part counts.
    pair.call(A, root, &[]);
    pair.transmit(A);
    let frames = [
        call_frame(CallKind::Call, 1, Target::ROOT, 0, &[]),
        call_frame(CallKind::Call, 2, Target::ROOT, 0, &[]),
    ];
    let both = message(
        1,
        0,
        &[&|b| b.extend(&frames[0]), &|b| b.extend(&frames[1])],
    );
    pair.inject(B, both).unwrap();
    pair.deliver(B, 1);
    assert_eq!(
        (pair.end(B).running.len(), pair.session(B).received()),
        (2, 2)
    );
    pair.finish();
}

#[test]
fn a_gap_ends_what_cannot_be_resumed() {
    // S2.3
    let mut pair = Pair::new();
    assert_eq!(pair.inject(B, idle(2, 1)).unwrap_err().rule, "S2.3");
    pair.finish_broken();
}

#[test]
fn an_ack_above_what_was_sent_is_a_violation_and_one_that_goes_back_is_ignored() {
    // S3.4, S3.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.call(A, root, &[]);
    pair.call(A, root, &[]);
    pair.transmit(A);
    pair.inject(A, ack_only(1, 2, false)).unwrap();
    assert_eq!(pair.session(A).sizes().unacked, 0);
    pair.inject(A, ack_only(1, 1, false)).unwrap();
    assert_eq!(pair.session(A).sizes().unacked, 0);
    // Numbered, but not handed out: not sent.
    pair.call(A, root, &[]);
    assert_eq!(
        pair.inject(A, ack_only(1, 3, false)).unwrap_err().rule,
        "S3.4"
    );
    pair.end(B).inbox.clear();
    pair.finish_broken();
}

#[test]
fn acceptance_does_not_wait_for_a_method() {
    // S3.3, S4.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.call(A, root, &[]);
    pair.run();
    pair.wait(25);
    pair.run();
    assert_eq!(pair.session(A).sizes().unacked, 0);
    assert_eq!(pair.end(B).running.len(), 1);
    pair.finish();
}

#[test]
fn an_ack_goes_alone_after_64_frames_or_64_kib_or_25_ms() {
    // S4.1
    let mut pair = Pair::new();
    pair.inject(B, idle(1, 63)).unwrap();
    assert!(!pair.session(B).wants_transmit());
    assert_eq!(pair.session(B).timeout(), Some(pair.now().plus_ms(25)));
    assert_eq!(pair.session(B).poll_transmit(), None);
    pair.inject(B, idle(64, 1)).unwrap();
    assert!(pair.session(B).wants_transmit());
    assert_eq!(
        pair.session(B).poll_transmit(),
        Some(ack_only(1, 64, false))
    );
    assert_eq!(
        (pair.session(B).timeout(), pair.session(B).poll_transmit()),
        (None, None)
    );

    pair.inject(B, idle(65, 1)).unwrap();
    pair.wait(24);
    assert_eq!(pair.session(B).poll_transmit(), None);
    pair.wait(1);
    assert_eq!(
        pair.session(B).poll_transmit(),
        Some(ack_only(1, 65, false))
    );

    let large = payload(65_000);
    for seq in 66..=67 {
        let frame = |buf: &mut Vec<u8>| {
            helve_protocol::frame::write_call(
                buf,
                CallKind::Tell,
                0,
                Target::ROOT,
                METHOD,
                &large,
                &[],
                &Default::default(),
            );
        };
        assert_eq!(pair.session(B).poll_transmit(), None);
        pair.inject(B, message(seq, 0, &[&frame])).unwrap();
    }
    assert_eq!(
        pair.session(B).poll_transmit(),
        Some(ack_only(1, 67, false))
    );
    pair.finish_broken();
}

#[test]
fn a_message_with_nil_is_answered_before_the_first_of_its_methods_is_polled() {
    // S4.2, S4.3, S4.4
    let mut pair = Pair::new();
    let frame = call_frame(CallKind::Call, 1, Target::ROOT, 0, &[]);
    let mut asks = message(1, 0, &[&|buf| buf.extend(&frame)]).to_vec();
    asks.push(0xc0);
    pair.session(B).receive(&asks.into()).unwrap();
    assert!(pair.session(B).must_ack_first() && pair.session(B).wants_transmit());
    assert_eq!(pair.session(B).poll_transmit(), Some(ack_only(1, 1, false)));
    assert!(!pair.session(B).must_ack_first());
    // Also one without frames.
    pair.session(B).receive(&ack_only(2, 0, true)).unwrap();
    assert_eq!(pair.session(B).poll_transmit(), Some(ack_only(1, 1, false)));
    pair.finish_broken();
}

#[test]
fn every_message_carries_the_ack() {
    // S4.1, S4.4, S3.1
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    pair.call(A, root, &[]);
    pair.transmit(A);
    pair.deliver(B, 1);
    pair.call(B, theirs, &[]);
    pair.transmit(B);
    assert_eq!(read(&pair.end(A).inbox[0]).ack, 1);
    assert_eq!(pair.session(B).timeout(), None, "none is owed any more");
    pair.finish();
}

#[test]
fn what_is_ready_goes_in_one_message_which_is_sealed_at_32_kib() {
    // E1.4, E1.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    let args = payload(1000);
    for _ in 0..80 {
        let out = Outgoing {
            args: args[..].into(),
            ..Pair::out(root, &[], 0)
        };
        let key = pair.session(A).call(&out, None).unwrap();
        pair.end(A).calls.push((key, key));
    }
    pair.transmit(A);
    let messages: Vec<Bytes> = pair.end(B).inbox.iter().cloned().collect();
    assert_eq!(messages.len(), 3);
    let mut next = 1;
    for message in &messages {
        assert!(message.len() < 32 * 1024 + 1100);
        let parsed = read(message);
        assert_eq!(parsed.first_seq, next);
        next += parsed.frames.len() as u64;
    }
    assert_eq!(next, 81);
    pair.finish();
}

#[test]
fn frames_are_kept_until_they_are_acknowledged_and_8192_at_most() {
    // S5.1, S5.2, S5.3, E1.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let keys: Vec<_> = (0..8193).map(|_| pair.tell(A, root, &[])).collect();
    pair.transmit(A);
    assert_eq!(pair.session(A).sizes().unacked, 8192);
    assert!(matches!(
        keys[8192],
        helve_protocol::session::ReceiptKey::Waiting(_)
    ));
    pair.inject(A, ack_only(1, 1, false)).unwrap();
    assert_eq!(
        pair.session(A).sizes().waiting,
        1,
        "numbered, and its receipt says so"
    );
    assert_eq!(pair.transmit(A), 1);
    while !pair.end(B).inbox.is_empty() || !pair.nothing_runs(B) {
        pair.run();
        while !pair.nothing_runs(B) {
            let running = pair.started(B);
            pair.ret(B, running);
        }
    }
    pair.finish();
}

#[test]
fn while_the_buffer_is_full_calls_wait_and_acks_still_go() {
    // S5.2, S5.3
    let mut pair = tight();
    let root = pair.root(A);
    let large = payload(60_000);
    let out = Outgoing {
        args: large[..].into(),
        ..Pair::out(root, &[], 0)
    };
    let first = pair.session(A).call(&out, None).unwrap();
    pair.end(A).calls.push((first, first));
    let waits = pair.call(A, root, &[]);
    let open = pair.open(A, root, &[]);
    let tell = pair.tell(A, root, &[]);
    assert!(matches!(
        (first, waits),
        (CallKey::Sent(1), CallKey::Waiting(_))
    ));
    assert!(matches!(
        tell,
        helve_protocol::session::ReceiptKey::Waiting(_)
    ));
    assert_eq!(pair.transmit(A), 1);
    pair.inject(A, idle(1, 64)).unwrap();
    assert_eq!(
        pair.session(A).poll_transmit(),
        Some(ack_only(2, 64, false))
    );
    let ack = ack_only(65, 1, false);
    pair.inject(A, ack).unwrap();
    assert_eq!(pair.id(A, waits), Some(2));
    pair.transmit(A);
    let kinds: Vec<u8> = pair.frames(A, 1).iter().map(Read::kind).collect();
    assert_eq!(kinds, [1, 2, 3]);
    _ = open;
    pair.end(B).inbox.clear();
    pair.finish_broken();
}

#[test]
fn answers_wait_unnumbered_in_their_order_and_block_nobody() {
    // S5.4, R4.1
    let mut pair = tight();
    let (root, object) = (pair.root(A), pair.object());
    let given = pair.give_to(B, &object);
    let calls: Vec<CallKey> = (0..4).map(|_| pair.call(A, root, &[])).collect();
    pair.settle();
    let large = payload(60_000);
    for n in 0..4 {
        let running = pair.started(B);
        match n {
            0 => pair.respond(B, running, Reply::Value(&large, &[])),
            _ => pair.ret(B, running),
        }
    }
    // A RELEASE stays behind what was said before it, and a call behind all.
    pair.drop_handle(B, given);
    let theirs = pair.root(B);
    let call = pair.call(B, theirs, &[]);
    assert!(matches!(call, CallKey::Waiting(_)));
    let mark = pair.mark(B);
    pair.transmit(B);
    assert_eq!(pair.frames(B, mark).len(), 1, "the rest has no room");
    pair.settle();
    let kinds: Vec<u8> = pair.frames(B, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds[..4], [4, 4, 4, 4]);
    let mut rest = kinds[4..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, [1, 7]);
    for call in calls {
        pair.ok(A, call);
    }
    drop(object);
    pair.finish();
}

#[test]
fn above_four_mib_of_waiting_answers_no_new_method_of_depth_0_starts() {
    // S5.5
    let mut pair = tight();
    for id in 1..=80 {
        let frame = call_frame(CallKind::Call, id, Target::ROOT, 0, &[]);
        pair.inject(B, message(id, 0, &[&|buf| buf.extend(&frame)]))
            .unwrap();
    }
    let large = payload(65_536);
    for _ in 0..70 {
        let running = pair.started(B);
        pair.respond(B, running, Reply::Value(&large, &[]));
    }
    let before = pair.end(B).running.len();
    let sent = 80;
    let frames = [
        call_frame(CallKind::Call, 81, Target::ROOT, 0, &[]),
        call_frame(CallKind::Call, 82, Target::ROOT, 1, &[]),
    ];
    pair.inject(
        B,
        message(
            sent + 1,
            0,
            &[&|b| b.extend(&frames[0]), &|b| b.extend(&frames[1])],
        ),
    )
    .unwrap();
    assert_eq!(pair.end(B).running.len(), before + 1);
    assert_eq!(pair.end(B).running[before].inv.depth, 1);
    // Once they flow, it starts.
    for _ in 0..80 {
        pair.transmit(B);
        let acked = pair.session(B).sent();
        pair.inject(B, ack_only(sent + 3, acked, false)).unwrap();
    }
    pair.end(A).inbox.clear();
    assert_eq!(pair.end(B).running.len(), before + 2);
    pair.finish_broken();
}

#[test]
fn a_peer_that_acknowledges_nothing_cannot_make_answers_pile_up_without_end() {
    // S5.6: deep calls start at once, and their permits return when the answer is queued
    let mut pair = tight();
    let large = payload(65_536);
    for id in 1..=2_000 {
        let frame = call_frame(CallKind::Call, id, Target::ROOT, 1, &[]);
        if let Err(violation) = pair.inject(B, message(id, 0, &[&|buf| buf.extend(&frame)])) {
            assert_eq!(violation.rule, "S5.6");
            let waited = id as usize * large.len();
            assert!(waited < 80 << 20, "{waited} bytes waited");
            return pair.finish_broken();
        }
        let running = pair.started(B);
        pair.respond(B, running, Reply::Value(&large, &[]));
    }
    panic!("2,000 answers of 64 KiB wait for a peer that acknowledges nothing");
}

#[test]
fn releases_for_a_peer_that_acknowledges_nothing_do_not_pile_up_without_end() {
    // S5.6
    let mut pair = tight();
    for n in 1..=40_000u64 {
        let caps: Vec<_> = (0..255)
            .map(|i| Descriptor::new(Tag::Mine, n * 255 + i))
            .collect();
        let mut frame = Vec::new();
        let ext = CallExtOut::default();
        write_call(
            &mut frame,
            CallKind::Tell,
            0,
            Target::ROOT,
            1,
            &[0x90],
            &caps,
            &ext,
        );
        if let Err(violation) = pair.inject(B, message(n, 0, &[&|buf| buf.extend(&frame)])) {
            assert_eq!(violation.rule, "S5.6");
            return pair.finish_broken();
        }
        let running = pair.started(B);
        pair.ret(B, running);
    }
    panic!("ten million RELEASEs wait for a peer that acknowledges nothing");
}
