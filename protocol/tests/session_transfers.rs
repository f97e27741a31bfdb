//! Payloads above 65,536 bytes: heads in their place, PARTs behind the frames that are ready, held calls (R18).

mod harness;

use std::task::Poll;

use harness::*;
use helve_protocol::Limits;
use helve_protocol::frame::{CallKind, Frame};
use helve_protocol::session::{CallKey, Cap, Outgoing, Received, Reply};

fn raised(frame: usize) -> Pair {
    Pair::with(&Setup {
        limits: Limits::default()
            .with_frame(frame as u64)
            .with_bytes(2 * frame as u64),
        ..Setup::default()
    })
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

#[test]
fn large_results_under_way_keep_new_calls_of_depth_0_from_starting() {
    // S5.5: until they have arrived, or nobody wants them.
    for gives_up in [false, true] {
        let mut pair = Pair::with(&Setup {
            limits: Limits::default()
                .with_frame(MIB as u64)
                .with_bytes(MIB as u64),
            ..Setup::default()
        });
        let root = pair.root(A);
        let calls = [0; 2].map(|_| pair.call(A, root, &[]));
        pair.run();
        let back = value(MIB);
        for _ in &calls {
            let running = pair.started(B);
            pair.respond(B, running, Reply::Shared(&back, &[]));
        }
        let shallow = pair.call(A, root, &[]);
        let deep = pair.call_at(A, root, &[], 1);
        pair.transmit(A);
        pair.deliver(B, usize::MAX);
        let running = pair.started(B);
        assert_eq!(running.inv.depth, 1);
        pair.ret(B, running);
        assert!(pair.nothing_runs(B), "the other waits");
        if gives_up {
            for call in calls {
                pair.cancel(A, call);
            }
            pair.transmit(A);
            pair.deliver(B, usize::MAX);
        } else {
            pair.run();
        }
        let running = pair.started(B);
        pair.ret(B, running);
        pair.run();
        pair.ok(A, deep);
        pair.ok(A, shallow);
        pair.finish();
    }
}

/// Each seeded bug of transfers (`src/mutation.rs`) fails a test above, and for its own reason.
#[cfg(feature = "mutations")]
#[test]
fn every_mutation_of_transfers_fails_a_test() {
    // R18.2, R18.5, I1.2
    let cases: [(&str, fn(), &str); 4] = [
        (
            "late_parts",
            a_call_on_another_target_overtakes_the_transfer,
            "I1.2",
        ),
        (
            "late_parts_ids",
            a_held_call_keeps_its_target_after_the_release,
            "the held call keeps it",
        ),
        (
            "hold_skip",
            later_calls_on_the_same_target_are_held_in_order,
            "nothing_runs",
        ),
        (
            "hold_nopin",
            a_held_call_keeps_its_target_after_the_release,
            "the held call keeps it",
        ),
    ];
    for (name, test, why) in cases {
        helve_protocol::mutation::set(name);
        let result = std::panic::catch_unwind(test);
        helve_protocol::mutation::set("");
        let panic = result.expect_err(name);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let text = text.unwrap_or_default();
        assert!(text.contains(why), "{name}: {text}");
        test();
    }
}
