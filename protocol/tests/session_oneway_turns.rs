//! One-way calls that go the short way: sent plain, taken plain, ended together with others of their turn (R12, R13).

mod harness;

use harness::*;
use helve_protocol::batch::ack_only;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{EndCause, Outgoing, ReceiptKey, Reply};
use helve_protocol::{Code, Limits};

fn flush(
    pair: &mut Pair,
    to: helve_protocol::session::ImportKey,
) -> helve_protocol::session::CallKey {
    let out = Outgoing {
        method: FLUSH,
        ..Pair::out(to, &[], 0)
    };
    let key = pair.session(A).call(&out, None).unwrap();
    pair.end(A).calls.push((key, key));
    key
}

/// Ends calls that run at B, all at once.
fn end_together(pair: &mut Pair, running: Vec<Running>) {
    let ids: Vec<_> = running.iter().map(Running::id).collect();
    pair.session(B).end_tells(&ids);
    drop(running);
    pair.collect(B);
}

#[test]
fn calls_that_end_together_give_all_their_bytes_back_at_each_depth() {
    // R13.4, R13.8
    let mut pair = Pair::new();
    let root = pair.root(A);
    for depth in [0, 0, 3, 0, 3, 1] {
        let out = Pair::out(root, &[], depth);
        let key = pair.session(A).tell(&out).unwrap();
        pair.end(A).receipts.push(key);
    }
    let owed = pair.session(A).sizes().our_charges;
    pair.run();
    assert_eq!(pair.session(B).sizes().charged, owed);
    let (first, mut rest) = (pair.started(B), Vec::new());
    while !pair.nothing_runs(B) {
        rest.push(pair.started(B));
    }
    end_together(&mut pair, rest);
    // One still runs, and holds what it was charged.
    assert_eq!(pair.session(B).sizes().charged, owed / 6);
    let mark = pair.mark(B);
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, owed / 6);
    // R13.8: one CREDIT covers all of one depth.
    let credits = pair.frames(B, mark);
    assert_eq!(credits.iter().filter(|read| read.kind() == 11).count(), 3);
    // Ended twice, or no one-way call at all: nothing happens.
    let id = first.id();
    pair.session(B).end_tells(&[id, id]);
    pair.session(B).end_tells(&[id]);
    pair.session(B).respond(id, Reply::Value(&[], &[]));
    drop(first);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.session(B).end_tells(&[running.id()]);
    assert_eq!(pair.session(B).sizes().incoming, 1);
    pair.ret(B, running);
    pair.settle();
    pair.ok(A, call);
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    pair.finish();
}

#[test]
fn flush_between_calls_that_end_together_waits_for_those_before_it() {
    // R12.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..3 {
        pair.tell(A, root, &[]);
    }
    let first = flush(&mut pair, root);
    pair.tell(A, root, &[]);
    let second = flush(&mut pair, root);
    pair.run();
    let mut running: Vec<_> = (0..4).map(|_| pair.started(B)).collect();
    // The last two of them end: one of three is missing to the first flush, two of four to the second.
    let late = running.split_off(2);
    end_together(&mut pair, late);
    pair.run();
    assert!(pair.poll(A, first).is_pending() && pair.poll(A, second).is_pending());
    // One that waited ends by itself, as a method does that was spawned.
    let waited = running.remove(0);
    pair.ret(B, waited);
    pair.run();
    assert!(pair.poll(A, first).is_pending() && pair.poll(A, second).is_pending());
    end_together(&mut pair, running);
    pair.run();
    pair.ok(A, first);
    pair.ok(A, second);
    pair.finish();
}

#[test]
fn an_error_among_calls_that_end_together_is_what_flush_tells() {
    // R12.5, R12.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..3 {
        pair.tell(A, root, &[]);
    }
    let call = flush(&mut pair, root);
    pair.run();
    let mut running: Vec<_> = (0..3).map(|_| pair.started(B)).collect();
    let bad = running.remove(1);
    // The error is known at once, the good ends come later.
    pair.ret_err(B, bad, Code::App, "no");
    pair.run();
    assert!(pair.poll(A, call).is_pending());
    end_together(&mut pair, running);
    pair.run();
    assert_eq!(pair.fault(A, call).code, Code::App);
    let again = flush(&mut pair, root);
    pair.run();
    pair.ok(A, again);
    pair.finish();
}

#[test]
fn calls_on_many_targets_in_turn_are_counted_apart() {
    // R12.6
    let mut pair = Pair::new();
    let objects = [pair.object(), pair.object(), pair.object()];
    let handles = [
        pair.give(&objects[0]),
        pair.give(&objects[1]),
        pair.give(&objects[2]),
    ];
    for _ in 0..3 {
        for handle in handles {
            pair.tell(A, handle, &[]);
        }
    }
    let flushes = handles.map(|handle| flush(&mut pair, handle));
    pair.run();
    let mut running: Vec<_> = (0..9).map(|_| pair.started(B)).collect();
    for (done, object) in objects.iter().enumerate() {
        for (at, key) in flushes.iter().enumerate().skip(done) {
            assert!(pair.poll(A, *key).is_pending(), "{at} waits for its own");
        }
        let (mine, others) = running.into_iter().partition(|run| run.object == *object);
        end_together(&mut pair, mine);
        running = others;
        pair.run();
        pair.ok(A, flushes[done]);
    }
    // A target that was idle for a while counts from nothing.
    pair.tell(A, handles[1], &[]);
    let call = flush(&mut pair, handles[1]);
    pair.run();
    assert!(pair.poll(A, call).is_pending());
    let running = pair.started(B);
    end_together(&mut pair, vec![running]);
    pair.run();
    pair.ok(A, call);
    drop(objects);
    pair.finish();
}

#[test]
fn calls_above_the_running_slots_start_in_order_when_others_end_together() {
    // R13.11, R10.2
    let mut pair = Pair::with(&Setup {
        running: 4,
        ..Setup::default()
    });
    let root = pair.root(A);
    for method in 0..10 {
        let kind = if method == 5 {
            CallKind::Call
        } else {
            CallKind::Tell
        };
        pair.numbered(A, kind, root, method);
    }
    pair.run();
    assert_eq!(pair.methods(B), [0, 1, 2, 3]);
    let running = std::mem::take(&mut pair.end(B).running);
    end_together(&mut pair, running);
    assert_eq!(pair.methods(B), [4, 5, 6, 7]);
    // Two of the four, and the CALL keeps its slot.
    let mut running = std::mem::take(&mut pair.end(B).running);
    let stay = running.split_off(2);
    let call = running.remove(1);
    pair.end(B).running = stay;
    end_together(&mut pair, running);
    assert_eq!(pair.methods(B), [6, 7, 8]);
    pair.ret(B, call);
    assert_eq!(pair.methods(B), [6, 7, 8, 9]);
    pair.finish();
}

#[test]
fn bytes_that_cannot_be_given_back_for_want_of_room_go_back_once_there_is_some() {
    // R13.8, S5.2: much and little; neither keeps the connection busy meanwhile.
    for (len, much) in [(60_000, true), (10, false)] {
        let mut pair = Pair::with(&Setup {
            limits: Limits::default().with_frame(65_536).with_bytes(262_144),
            replay: Some(1),
            ..Setup::default()
        });
        let root = pair.root(A);
        let hosted = pair.root(B);
        pair.settle();
        // One frame that is not acknowledged fills so small a buffer.
        let call = pair.call(B, hosted, &[]);
        assert_eq!(pair.transmit(B), 1);
        let receipt = tell_with(&mut pair, root, &args(len));
        pair.end(A).receipts.push(receipt);
        pair.transmit(A);
        pair.deliver(B, 1);
        let running = pair.started(B);
        end_together(&mut pair, vec![running]);
        assert!(pair.session(A).sizes().our_charges > 0);
        pair.wait(25);
        assert_eq!(pair.transmit(B), 1, "an ack, and no more");
        assert!(!pair.session(B).wants_transmit());
        pair.inject(B, ack_only(2, 1, false)).unwrap();
        assert_eq!(pair.session(B).wants_transmit(), much);
        let due = pair.session(B).timeout();
        assert!(due.is_some_and(|due| due <= pair.now().plus_ms(25)));
        pair.wait(25);
        pair.transmit(B);
        pair.deliver(A, usize::MAX);
        assert_eq!(pair.session(A).sizes().our_charges, 0);
        pair.cancel(B, call);
        pair.finish_broken();
    }
}

#[test]
fn a_session_that_ends_before_its_turn_is_over_takes_no_end_of_a_call_any_more() {
    // R17.4, S8.2: what ends after the end is nobody's
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..3 {
        pair.tell(A, root, &[]);
    }
    let call = flush(&mut pair, root);
    pair.run();
    let running: Vec<_> = (0..3).map(|_| pair.started(B)).collect();
    pair.session(B).end(EndCause {
        close: 1006,
        reason: "gone".into(),
    });
    end_together(&mut pair, running);
    assert!(pair.session(B).sizes().is_empty());
    assert_eq!(pair.session(B).poll_transmit(), None);
    assert!(pair.poll(A, call).is_pending());
    pair.finish_broken();
}

#[test]
fn a_one_way_call_overtakes_none_that_waits() {
    // R10.2, R13.10: the small one would fit
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        ..Setup::default()
    });
    let root = pair.root(A);
    let mut args = vec![0x91, 0xc5, 0x9c, 0x40];
    args.resize(4 + 40_000, 0);
    for (method, args) in [(1, &args[..]), (2, &args), (3, ARGS[0])] {
        let out = Outgoing {
            method,
            args: args.into(),
            ..Pair::out(root, &[], 0)
        };
        let key = pair.session(A).tell(&out).unwrap();
        let waits = matches!(key, ReceiptKey::Waiting(_));
        assert_eq!(waits, method > 1, "{method}");
        pair.end(A).receipts.push(key);
    }
    pair.settle();
    assert_eq!(pair.methods(B), [1]);
    let running = pair.started(B);
    end_together(&mut pair, vec![running]);
    pair.settle();
    assert_eq!(pair.methods(B), [2, 3]);
    pair.finish();
}

#[test]
fn a_one_way_call_with_a_deadline_that_passed_or_on_a_handle_that_broke_is_not_sent() {
    // R21.6, R22.4: the short way of a plain call is not taken
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    pair.wait(10);
    let out = Outgoing {
        deadline: Some(helve_protocol::session::Time(1)),
        ..Pair::out(handle, &[], 0)
    };
    let fault = pair.session(A).tell(&out).unwrap_err();
    assert_eq!(fault.code, Code::Deadline);
    pair.revoke(B, &object);
    // Sent before it is known, and refused there: an error for `flush`, on an object that is revoked itself.
    pair.tell(A, handle, &[]);
    pair.run();
    assert!(pair.nothing_runs(B));
    let fault = pair
        .session(A)
        .tell(&Pair::out(handle, &[], 0))
        .unwrap_err();
    assert_eq!(fault.code, Code::Broken);
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    drop(object);
    pair.finish();
}

#[test]
fn a_one_way_call_behind_a_long_one_on_its_target_starts_after_it() {
    // R18.5, R10.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let mut long = vec![0x91, 0xc6, 0, 3, 0, 0];
    long.resize(6 + 0x3_0000, 0);
    for (method, args) in [(1, &long[..]), (2, ARGS[0])] {
        let out = Outgoing {
            method,
            args: args.into(),
            ..Pair::out(root, &[], 0)
        };
        let key = pair.session(A).tell(&out).unwrap();
        pair.end(A).receipts.push(key);
    }
    pair.run();
    assert_eq!(pair.methods(B), [1, 2]);
    let running = std::mem::take(&mut pair.end(B).running);
    end_together(&mut pair, running);
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    pair.finish();
}
