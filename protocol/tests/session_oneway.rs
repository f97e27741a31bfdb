//! One-way calls: receipts, errors, flush (R12).

mod harness;

use std::task::{Poll, Waker};

use harness::*;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{Cap, EndCause, Outgoing, ReceiptKey, Reply};
use helve_protocol::{Code, Fault, Limits};

fn receipt(pair: &mut Pair, key: &mut ReceiptKey, accepted: bool) -> Poll<Result<(), Fault>> {
    pair.session(A).poll_receipt(key, accepted, Waker::noop())
}

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

#[test]
fn a_one_way_call_is_never_answered() {
    // R12.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..3 {
        pair.tell(A, root, &[]);
    }
    pair.run();
    let mark = pair.mark(B);
    let (first, second, third, object) = (
        pair.started(B),
        pair.started(B),
        pair.started(B),
        pair.object(),
    );
    pair.ret(B, first);
    pair.ret_err(B, second, Code::App, "no");
    pair.ret_handle(B, third, Cap::Given(object));
    pair.settle();
    assert!(pair.frames(B, mark).iter().all(|read| read.kind() == 11));
    pair.finish();
}

#[test]
fn queued_is_when_it_is_numbered() {
    // R12.2
    let limits = Limits::default().with_frame(65_536).with_bytes(65_536);
    let mut pair = Pair::with(&Setup {
        limits,
        ..Setup::default()
    });
    let root = pair.root(A);
    let mut args = vec![0x91, 0xc5, 0xff, 0xfc];
    args.resize(65_536, 0);
    let out = Outgoing {
        args: args[..].into(),
        ..Pair::out(root, &[], 0)
    };
    let mut first = pair.session(A).tell(&out).unwrap();
    let mut second = pair.session(A).tell(&out).unwrap();
    assert_eq!(receipt(&mut pair, &mut first, false), Poll::Ready(Ok(())));
    assert!(receipt(&mut pair, &mut second, false).is_pending());
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.settle();
    assert_eq!(receipt(&mut pair, &mut second, false), Poll::Ready(Ok(())));
    pair.finish();
}

#[test]
fn accepted_is_when_the_ack_passed_it_and_who_waits_asks_for_one() {
    // R12.2, R12.3, S4.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let mut key = pair.tell(A, root, &[]);
    let flag = Flag::new();
    assert!(
        pair.session(A)
            .poll_receipt(&mut key, true, &flag.waker())
            .is_pending()
    );
    pair.transmit(A);
    assert_eq!(pair.end(B).inbox[0].last(), Some(&0xc0));
    // No time passes, and no method has run.
    pair.deliver(B, 1);
    pair.transmit(B);
    pair.deliver(A, 1);
    assert!(flag.take());
    assert_eq!(receipt(&mut pair, &mut key, true), Poll::Ready(Ok(())));
    pair.finish();
}

#[test]
fn a_batch_that_nobody_waits_for_asks_for_nothing() {
    // R12.3, S4.4
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.tell(A, root, &[]);
    pair.transmit(A);
    assert_ne!(pair.end(B).inbox[0].last(), Some(&0xc0));
    pair.finish();
}

#[test]
fn flush_returns_and_clears_the_first_error() {
    // R12.4, R12.5, R12.6, E5.6
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    for _ in 0..3 {
        pair.tell(A, handle, &[]);
    }
    let first = flush(&mut pair, handle);
    pair.run();
    let running = [pair.started(B), pair.started(B), pair.started(B)];
    assert!(pair.nothing_runs(B), "flush is no method of the object");
    let [one, two, three] = running;
    pair.ret_err(B, three, Code::Denied, "third");
    pair.ret(B, one);
    pair.run();
    assert!(pair.poll(A, first).is_pending(), "the second still runs");
    pair.ret_err(B, two, Code::App, "second");
    pair.run();
    let fault = pair.fault(A, first);
    assert_eq!(
        (fault.code, &*fault.message),
        (Code::Denied, "third"),
        "the first that came"
    );
    let again = flush(&mut pair, handle);
    pair.run();
    pair.ok(A, again);
    drop(object);
    pair.finish();
}

#[test]
fn flush_waits_for_earlier_calls_on_its_own_target_only() {
    // R12.6
    let mut pair = Pair::new();
    let object = pair.object();
    let (handle, root) = (pair.give(&object), pair.root(A));
    pair.tell(A, root, &[]);
    let call = flush(&mut pair, handle);
    pair.tell(A, handle, &[]);
    pair.run();
    pair.ok(A, call);
    drop(object);
    pair.finish();
}

#[test]
fn flush_on_an_open_waits_until_it_settles_and_a_cancelled_one_is_answered() {
    // R12.6, R21.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.tell(A, open, &[]);
    let (first, second) = (flush(&mut pair, open), flush(&mut pair, open));
    pair.run();
    let (running, object) = (pair.started(B), pair.object());
    pair.ret_handle(B, running, Cap::Given(object));
    pair.cancel(A, second);
    pair.run();
    assert!(pair.poll(A, first).is_pending());
    // The OPEN is answered, and so is the flush that was cancelled.
    assert_eq!(pair.session(A).sizes().calls, 1);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    pair.finish();
}

#[test]
fn a_one_way_call_on_a_target_that_is_not_there_is_what_flush_tells() {
    // R11.2, R12.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.tell(A, open, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::App, "no");
    pair.settle();
    assert!(pair.nothing_runs(B));
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    pair.finish();
}

#[test]
fn one_way_calls_past_the_local_bound_are_not_sent() {
    // R13.10
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        backlog: 100_000,
        ..Setup::default()
    });
    let root = pair.root(A);
    let mut args = vec![0x91, 0xc5, 0xff, 0xfc];
    args.resize(65_536, 0);
    let out = Outgoing {
        args: args[..].into(),
        ..Pair::out(root, &[], 0)
    };
    for _ in 0..2 {
        let key = pair.session(A).tell(&out).unwrap();
        pair.end(A).receipts.push(key);
    }
    assert_eq!(
        pair.session(A).tell(&out).unwrap_err().code,
        Code::Exhausted
    );
    for _ in 0..2 {
        pair.settle();
        let running = pair.started(B);
        pair.ret(B, running);
    }
    pair.finish();
}

#[test]
fn the_end_of_the_session_tells_what_became_of_one_way_calls() {
    // S8.2, R17.5
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(65_536).with_bytes(65_536),
        ..Setup::default()
    });
    let root = pair.root(A);
    let mut args = vec![0x91, 0xc5, 0xff, 0xfc];
    args.resize(65_536, 0);
    let out = Outgoing {
        args: args[..].into(),
        ..Pair::out(root, &[], 0)
    };
    let mut sent = pair.session(A).tell(&out).unwrap();
    let mut waits = pair.session(A).tell(&out).unwrap();
    assert!(receipt(&mut pair, &mut sent, true).is_pending());
    pair.transmit(A);
    pair.session(A).end(EndCause {
        close: 1006,
        reason: "gone".into(),
    });
    let code = |poll: Poll<Result<(), Fault>>| match poll {
        Poll::Ready(Err(fault)) => fault.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(receipt(&mut pair, &mut sent, true)), Code::MaybeRan);
    assert_eq!(code(receipt(&mut pair, &mut waits, true)), Code::NotSent);
    pair.end(B).inbox.clear();
    pair.finish_broken();
}

#[test]
fn a_reflected_one_way_call_arrives_and_gives_its_bytes_back() {
    // R6.3, R13.8
    let mut pair = Pair::new();
    let object = pair.object();
    let given = pair.give_to(B, &object);
    let root = pair.root(A);
    let own = pair.open(A, root, &[]);
    pair.tell(A, own, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.run();
    let running = pair.started(A);
    assert_eq!(
        (running.inv.kind, running.object == object),
        (CallKind::Tell, true)
    );
    pair.respond(A, running, Reply::Value(&[0xc0], &[]));
    pair.settle();
    assert_eq!(
        pair.session(A).sizes().our_charges + pair.session(B).sizes().our_charges,
        0
    );
    drop(object);
    pair.finish();
}

#[test]
fn flushes_beside_many_open_one_way_calls_cost_no_look_at_each_of_them() {
    // R12.6: each flush waits for those before it on its target, and for no others
    let mut pair = Pair::new();
    let objects = [pair.object(), pair.object()];
    let (a, b) = (pair.give(&objects[0]), pair.give(&objects[1]));
    let tells: Vec<_> = (0..200).map(|_| pair.tell(A, a, &[])).collect();
    pair.run();
    let early = flush(&mut pair, a);
    let other = flush(&mut pair, b);
    pair.run();
    pair.ok(A, other);
    let _late = pair.tell(A, a, &[]);
    pair.run();
    for _ in &tells {
        assert!(pair.poll(A, early).is_pending());
        let running = pair.started(B);
        pair.ret(B, running);
        pair.run();
    }
    pair.ok(A, early);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    drop(objects);
    pair.finish();
}

#[test]
fn a_flush_that_is_held_waits_for_no_later_one_way_call() {
    // R12.6, R18.5: the flush is held behind the first, and the second comes meanwhile.
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    tell_with(&mut pair, handle, &args(200_000));
    let call = flush(&mut pair, handle);
    pair.tell(A, handle, &[]);
    pair.run();
    let first = pair.started(B);
    assert!(pair.poll(A, call).is_pending());
    pair.ret(B, first);
    pair.run();
    pair.ok(A, call);
    let second = pair.started(B);
    pair.ret(B, second);
    drop(object);
    pair.finish();
}

#[test]
fn a_held_flush_whose_one_way_calls_end_before_its_turn_is_answered() {
    // R12.6, R18.11
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    pair.tell(A, handle, &[]);
    let large = call_with(&mut pair, handle, &args(MIB), &[]);
    let (kept, cancelled) = (flush(&mut pair, handle), flush(&mut pair, handle));
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    let tell = pair.started(B);
    pair.ret(B, tell);
    pair.cancel(A, cancelled);
    assert!(pair.poll(A, kept).is_pending(), "its turn has not come");
    pair.cancel(A, large);
    pair.run();
    pair.ok(A, kept);
    drop(object);
    pair.finish();
}

#[test]
fn a_large_call_that_waits_takes_nothing_of_the_room_of_one_way_calls() {
    // R13.10: one-way calls wait behind it; only they are bounded here.
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1),
        backlog: 1_000,
        ..Setup::default()
    });
    let root = pair.root(A);
    let large = args(MIB);
    call_with(&mut pair, root, &large, &[]);
    call_with(&mut pair, root, &large, &[]);
    let receipt = pair.tell(A, root, &[]);
    assert!(matches!(receipt, ReceiptKey::Waiting(_)));
    pair.finish();
}
