//! Permits by depth, running slots, quotas (R13, R14).

mod harness;

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{CallKind, write_credit};
use helve_protocol::session::{CallKey, Cap, ImportKey, Outgoing, Received};
use helve_protocol::{Code, Limits};

fn with(limits: Limits) -> Pair {
    Pair::with(&Setup {
        limits,
        ..Setup::default()
    })
}

fn waits(key: CallKey) -> bool {
    matches!(key, CallKey::Waiting(_))
}

/// One array that makes a payload of `len` bytes.
fn payload(len: usize) -> Vec<u8> {
    let mut args = vec![0x91, 0xc5];
    args.extend(((len - 4) as u16).to_be_bytes());
    args.resize(len, 0);
    args
}

fn sized(root: ImportKey, args: &[u8]) -> Outgoing<'_, TestObject> {
    Outgoing {
        args: args.into(),
        ..Pair::out(root, &[], 0)
    }
}

#[test]
fn each_depth_has_a_grant_of_its_own() {
    // R13.4, R13.1
    let mut pair = with(Limits::default().with_calls(2).with_nested(1));
    let root = pair.root(A);
    let at = |pair: &mut Pair, depth| waits(pair.call_at(A, root, &[], depth));
    assert_eq!(
        [at(&mut pair, 0), at(&mut pair, 0), at(&mut pair, 0)],
        [false, false, true]
    );
    assert_eq!([at(&mut pair, 1), at(&mut pair, 1)], [false, true]);
    assert_eq!([at(&mut pair, 15), at(&mut pair, 15)], [false, true]);
    pair.run();
    let depths: Vec<u8> = pair.end(B).running.iter().map(|r| r.inv.depth).collect();
    assert_eq!(depths, [0, 0, 1, 15]);
    pair.finish();
}

#[test]
fn a_call_deeper_than_fifteen_fails_here() {
    // R13.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let fault = pair
        .session(A)
        .call(&Pair::out(root, &[], 16), None)
        .unwrap_err();
    assert_eq!(fault.code, Code::Exhausted);
    pair.finish();
}

#[test]
fn a_reflected_call_may_not_get_deeper_than_fifteen_either() {
    // R13.2, R6.3
    let mut pair = Pair::new();
    let object = pair.object();
    let given = pair.give_to(B, &object);
    let root = pair.root(A);
    let handle = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.run();
    let (deepest, above) = (
        pair.call_at(A, handle, &[], 15),
        pair.call_at(A, handle, &[], 14),
    );
    pair.run();
    assert_eq!(pair.fault(A, deepest).code, Code::Exhausted);
    let running = pair.started(A);
    assert_eq!(running.inv.depth, 15);
    pair.ret(A, running);
    pair.run();
    pair.ok(A, above);
    drop(object);
    pair.finish();
}

#[test]
fn a_depth_above_fifteen_on_the_wire_is_a_violation() {
    // R13.3
    let mut pair = Pair::new();
    let frame = call_frame(CallKind::Call, 1, Target::ROOT, 16, &[]);
    assert!(
        pair.inject(B, message(1, 0, &[&|buf| buf.extend(&frame)]))
            .is_err()
    );
    pair.finish_broken();
}

#[test]
fn bytes_are_charged_and_one_call_of_any_size_may_always_go() {
    // R13.5
    let limits = Limits::default().with_frame(65_536).with_bytes(65_536);
    let mut pair = with(limits);
    let root = pair.root(A);
    let large = payload(65_536);
    // Charged 65,600, which is above the grant, but nothing else is charged.
    let first = pair.session(A).call(&sized(root, &large), None).unwrap();
    let second = pair.session(A).call(&sized(root, &[0x90]), None).unwrap();
    assert_eq!((waits(first), waits(second)), (false, true));
    for key in [first, second] {
        pair.end(A).calls.push((key, key));
    }
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    assert_eq!(pair.end(B).running.len(), 1);
    pair.finish();
}

#[test]
fn deeper_calls_have_an_eighth_of_the_bytes() {
    // R13.4, R13.5
    let limits = Limits::default().with_frame(65_536).with_bytes(8 * 1000);
    // Never below `frame`, so an eighth is 8,192.
    assert_eq!(limits.bytes, 65_536);
    let mut pair = with(limits);
    let root = pair.root(A);
    let args = payload(4096 - 64);
    let mut call = |depth| {
        let out = Outgoing {
            args: args[..].into(),
            ..Pair::out(root, &[], depth)
        };
        let key = pair.session(A).call(&out, None).unwrap();
        pair.end(A).calls.push((key, key));
        waits(key)
    };
    assert_eq!([call(1), call(1), call(1)], [false, false, true]);
    let shallow: Vec<bool> = (0..17).map(|_| call(0)).collect();
    assert_eq!(shallow.iter().filter(|waits| !**waits).count(), 16);
    pair.finish();
}

#[test]
fn a_one_way_call_takes_bytes_and_no_place_among_the_calls() {
    // R13.6, R13.8
    let mut pair = with(Limits::default().with_calls(1));
    let root = pair.root(A);
    for _ in 0..3 {
        pair.tell(A, root, &[]);
    }
    assert!(!waits(pair.call(A, root, &[])));
    assert_eq!(pair.session(A).sizes().our_charges, 4 * 65 + 1);
    pair.run();
    for _ in 0..4 {
        let running = pair.started(B);
        pair.ret(B, running);
    }
    let mark = pair.mark(B);
    pair.settle();
    let credits = pair
        .frames(B, mark)
        .iter()
        .filter(|r| r.kind() == 11)
        .count();
    assert_eq!(credits, 1, "one may cover several");
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    pair.finish();
}

#[test]
fn a_permit_returns_with_the_answer_and_not_with_cancel() {
    // R13.7
    let mut pair = with(Limits::default().with_calls(1));
    let root = pair.root(A);
    let first = pair.call(A, root, &[]);
    let second = pair.call(A, root, &[]);
    pair.run();
    pair.cancel(A, first);
    pair.run();
    assert!(pair.id(A, second).is_none());
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Cancelled, "stopped");
    pair.run();
    assert!(pair.id(A, second).is_some());
    pair.finish();
}

#[test]
fn a_one_way_call_that_was_dropped_gives_its_bytes_back_too() {
    // R13.8, R11.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.tell(A, open, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::App, "no");
    pair.settle();
    assert_eq!(pair.session(A).sizes().our_charges, 0);
    pair.finish();
}

#[test]
fn credit_is_not_forgotten_when_other_frames_go_first() {
    // R13.8, S4.1
    let limits = Limits::default().with_frame(65_536).with_bytes(65_536);
    let mut pair = with(limits);
    let (root, theirs) = (pair.root(A), pair.root(B));
    let large = payload(65_536);
    let first = pair.session(A).tell(&sized(root, &large)).unwrap();
    let second = pair.session(A).tell(&sized(root, &large)).unwrap();
    pair.end(A).receipts.extend([first, second]);
    pair.run();
    // The method ends, and the same message that says nothing of it carries something else.
    let running = pair.started(B);
    pair.tell(B, theirs, &[]);
    pair.transmit(B);
    pair.ret(B, running);
    pair.call(B, theirs, &[]);
    pair.settle();
    assert_eq!(pair.end(B).running.len(), 1, "the second one came");
    pair.finish();
}

#[test]
fn more_credit_than_one_way_calls_are_charged_is_a_violation() {
    // R13.9
    for (n, good) in [(65, true), (66, false)] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        // The call is charged as well, but no TELL.
        pair.call(A, root, &[]);
        pair.tell(A, root, &[]);
        pair.transmit(A);
        let credit = |buf: &mut Vec<u8>| write_credit(buf, Target::ROOT, n, 0);
        let result = pair.inject(A, message(1, 2, &[&credit]));
        assert_eq!(result.err().map(|v| v.rule), (!good).then_some("R13.9"));
        pair.end(B).inbox.clear();
        pair.finish_broken();
    }
}

#[test]
fn calls_wait_in_order_per_depth() {
    // R13.10
    let mut pair = with(Limits::default().with_calls(1).with_nested(1));
    let root = pair.root(A);
    let keys: Vec<CallKey> = (0..3).map(|_| pair.call(A, root, &[])).collect();
    let deeper = [pair.call_at(A, root, &[], 1), pair.call_at(A, root, &[], 1)];
    assert_eq!(keys[0], CallKey::Sent(1));
    assert_eq!(deeper[0], CallKey::Sent(2));
    pair.run();
    let _first = pair.end(B).running.remove(0);
    pair.ret(B, _first);
    pair.run();
    assert_eq!((pair.id(A, keys[1]), pair.id(A, keys[2])), (Some(3), None));
    assert_eq!(
        pair.id(A, deeper[1]),
        None,
        "the answer was of another depth"
    );
    pair.finish();
}

#[test]
fn a_call_of_depth_0_waits_for_a_running_slot_and_a_deeper_one_starts_at_once() {
    // R13.11
    let mut pair = Pair::with(&Setup {
        limits: Limits::default(),
        ..Setup::default()
    });
    let root = pair.root(A);
    let calls: Vec<CallKey> = (0..258).map(|_| pair.call(A, root, &[])).collect();
    assert!(
        !calls.iter().any(|key| waits(*key)),
        "queued at the host, not here"
    );
    pair.call_at(A, root, &[], 1);
    pair.run();
    assert_eq!(pair.end(B).running.len(), 257);
    assert_eq!(pair.end(B).running[256].inv.depth, 1);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.collect(B);
    assert_eq!(pair.end(B).running.len(), 257);
    assert_eq!(pair.end(B).running[256].inv.depth, 0);
    pair.finish();
}

#[test]
fn a_ring_of_callbacks_ends_though_every_permit_is_taken() {
    // R13.4, R13.11
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_calls(1).with_nested(1),
        running: 1,
        ..Setup::default()
    });
    let mut calls = Vec::new();
    let mut side = A;
    let both = [pair.root(A), pair.root(B)];
    calls.push((A, pair.call(A, both[0], &[])));
    calls.push((B, pair.call(B, both[1], &[])));
    for depth in 1..=15 {
        for _ in 0..2 {
            pair.run();
            side = side.other();
            let caller = side;
            calls.push((
                caller,
                pair.call_at(caller, both[caller as usize], &[], depth),
            ));
        }
    }
    pair.run();
    for side in [A, B] {
        assert_eq!(pair.end(side).running.len(), 16);
        while let Some(running) = pair.end(side).running.pop() {
            pair.ret(side, running);
        }
    }
    pair.run();
    for (side, call) in calls {
        pair.ok(side, call);
    }
    pair.finish();
}

#[test]
fn going_beyond_a_grant_is_a_violation() {
    // R13.13
    let mut pair = with(Limits::default().with_calls(2));
    let frames: Vec<Vec<u8>> = (1..=3)
        .map(|id| call_frame(CallKind::Call, id, Target::ROOT, 0, &[]))
        .collect();
    for (n, frame) in frames.iter().enumerate() {
        let result = pair.inject(B, message(n as u64 + 1, 0, &[&|buf| buf.extend(frame)]));
        assert_eq!(result.err().map(|v| v.rule), (n == 2).then_some("R13.13"));
    }
    pair.finish_broken();
}

#[test]
fn what_needs_no_permit_goes_though_none_is_left() {
    // R13.12
    let mut pair = with(Limits::default().with_calls(1));
    let (root, theirs, object) = (pair.root(A), pair.root(B), pair.object());
    let handle = pair.give(&object);
    let call = pair.call(A, root, &[]);
    let back = pair.call(B, theirs, &[]);
    pair.run();
    let mark = pair.mark(A);
    let running = pair.started(A);
    pair.ret(A, running);
    pair.cancel(A, call);
    pair.drop_handle(A, handle);
    pair.run();
    let kinds: Vec<u8> = pair.frames(A, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds, [4, 6, 7]);
    pair.ok(B, back);
    drop(object);
    pair.finish();
}

#[test]
fn an_open_that_waits_goes_under_the_grant_of_a_deeper_call_that_names_it() {
    // R13.14
    for as_target in [true, false] {
        let mut pair = with(Limits::default().with_calls(1));
        let root = pair.root(A);
        pair.call(A, root, &[]);
        let first = pair.open(A, root, &[]);
        // The second needs the first.
        let second = pair.open(A, first, &[]);
        let other = pair.call(A, root, &[]);
        let deeper = if as_target {
            pair.call_at(A, second, &[], 1)
        } else {
            pair.call_at(A, root, &[Cap::Import(second)], 1)
        };
        pair.run();
        let running = pair.started(B);
        assert_eq!(pair.id(A, other), None);
        pair.run();
        let depths: Vec<u8> = pair.end(B).running.iter().map(|r| r.inv.depth).collect();
        assert_eq!(depths[0], 1, "the first OPEN");
        pair.ret(B, running);
        while !pair.nothing_runs(B) {
            let (running, object) = (pair.started(B), pair.object());
            pair.ret_handle(B, running, Cap::Given(object));
            pair.run();
        }
        pair.ok(A, deeper);
        pair.ok(A, other);
        pair.finish();
    }
}

#[test]
fn a_table_that_is_full_refuses_opens_and_results_and_no_more() {
    // R14.1, R11.7
    let mut pair = with(Limits::default().with_table(2));
    let (root, objects) = (pair.root(A), [pair.object(), pair.object(), pair.object()]);
    let first = pair.give(&objects[0]);
    let _second = pair.give(&objects[1]);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_caps(B, running, &[Cap::Given(objects[2].clone())]);
    pair.run();
    // Its method ran: EXHAUSTED would say that it did not.
    assert_eq!(pair.fault(A, call).code, Code::Internal);
    let open = pair.open(A, root, &[]);
    pair.run();
    assert_eq!(pair.closed(A, open).map(|f| f.code), Some(Code::Exhausted));
    assert!(pair.nothing_runs(B));
    pair.drop_handle(A, open);
    pair.drop_handle(A, first);
    pair.run();
    pair.give(&objects[2]);
    drop(objects);
    pair.finish();
}

#[test]
fn arguments_beyond_the_table_refuse_the_call_and_are_given_back() {
    // R14.1, R11.7
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_table(2);
    let mut pair = Pair::with(&setup);
    let caps: Vec<Descriptor> = (1..=3).map(|k| Descriptor::new(Tag::Mine, k)).collect();
    let frame = call_frame(CallKind::Call, 1, Target::ROOT, 0, &caps);
    pair.inject(B, message(1, 0, &[&|buf| buf.extend(&frame)]))
        .unwrap();
    assert!(pair.nothing_runs(B));
    pair.transmit(B);
    let frames = pair.frames(B, 0);
    assert_eq!(frames[0].kind(), 5);
    let mut released: Vec<_> = frames.into_iter().flat_map(|r| r.releases).collect();
    released.sort();
    assert_eq!(released, [1, 2, 3].map(|k| (Target::host(k), 1)));
    pair.end(A).inbox.clear();
    pair.finish_broken();
}

#[test]
fn an_honest_caller_sees_that_the_peers_table_is_full() {
    // R14.1
    let mut pair = with(Limits::default().with_table(1));
    let (root, mine) = (pair.root(A), [pair.object(), pair.object()]);
    pair.call(A, root, &[Cap::Given(mine[0].clone())]);
    let caps = [Cap::Given(mine[1].clone())];
    let fault = pair
        .session(A)
        .call(&Pair::out(root, &caps, 0), None)
        .unwrap_err();
    assert_eq!(fault.code, Code::Exhausted);
    drop((mine, caps));
    pair.finish();
}

#[test]
fn opens_and_calls_that_wait_for_them_are_bounded() {
    // R14.2, R14.3
    let mut pair = Pair::with(&Setup {
        pending: 3,
        ..Setup::default()
    });
    let root = pair.root(A);
    let opens: Vec<_> = (0..4).map(|_| pair.open(A, root, &[])).collect();
    let calls: Vec<_> = (0..4).map(|_| pair.call(A, opens[0], &[])).collect();
    pair.run();
    assert_eq!(pair.end(B).running.len(), 3);
    assert_eq!(
        pair.closed(A, opens[3]).map(|f| f.code),
        Some(Code::Exhausted)
    );
    assert_eq!(pair.fault(A, calls[3]).code, Code::Exhausted);
    assert!(pair.poll(A, calls[2]).is_pending());
    pair.finish();
}

#[test]
fn tombstones_are_bounded_by_the_table_too() {
    // R14.1
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_table(2);
    setup.pending = 2;
    let mut pair = Pair::with(&setup);
    for id in 1..=5 {
        let frame = call_frame(CallKind::Open, id, Target::ROOT, 0, &[]);
        let result = pair.inject(B, message(id, 0, &[&|buf| buf.extend(&frame)]));
        while !pair.nothing_runs(B) {
            let running = pair.started(B);
            pair.ret_err(B, running, Code::App, "no");
        }
        assert_eq!(result.err().map(|v| v.rule), (id == 5).then_some("R14.1"));
    }
    pair.finish_broken();
}

#[test]
fn what_a_handler_was_given_it_may_use_deeper() {
    // R13.1
    let mut pair = Pair::new();
    let (root, mine) = (pair.root(A), pair.object());
    pair.call(A, root, &[Cap::Given(mine.clone())]);
    pair.run();
    let mut running = pair.started(B);
    let key = import(&pair.keep(B, &mut running)[0]);
    pair.call_at(B, key, &[], running.inv.depth + 1);
    pair.ret(B, running);
    pair.run();
    let back = pair.started(A);
    assert!(back.object == mine && back.inv.depth == 1);
    assert!(!matches!(back.inv.caps.first(), Some(Received::Broken(_))));
    pair.ret(A, back);
    drop(mine);
    pair.finish();
}
