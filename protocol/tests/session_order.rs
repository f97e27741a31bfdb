//! Order: frames take effect as they were numbered, calls on one target start as they were made (R10, R2.6).

mod harness;

use harness::*;
use helve_protocol::Code;
use helve_protocol::frame::CallKind::{Call, Open, Tell};
use helve_protocol::session::{CallKey, Cap};

#[test]
fn calls_of_every_kind_on_one_target_start_in_the_order_they_were_made() {
    // R10.1, R10.2, S2.1
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    for (n, kind) in [Call, Tell, Open, Tell, Call].into_iter().enumerate() {
        pair.numbered(A, kind, handle, n as u32);
    }
    pair.run();
    assert_eq!(pair.methods(B), [0, 1, 2, 3, 4]);
    drop(object);
    pair.finish();
}

#[test]
fn results_come_in_any_order() {
    // R10.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let (first, second) = (pair.call(A, root, &[]), pair.call(A, root, &[]));
    pair.run();
    let (slow, fast) = (pair.started(B), pair.started(B));
    pair.ret(B, fast);
    pair.run();
    pair.ok(A, second);
    assert!(pair.poll(A, first).is_pending());
    pair.ret(B, slow);
    pair.run();
    pair.ok(A, first);
    pair.finish();
}

#[test]
fn a_chain_of_eight_dependent_calls_is_one_message_each_way() {
    // I2.3, R2.6, E1.2
    let mut pair = Pair::new();
    let mut at = pair.root(A);
    for _ in 0..8 {
        at = pair.open(A, at, &[]);
    }
    let last = pair.call(A, at, &[]);
    assert_eq!(pair.transmit(A), 1);
    pair.deliver(B, 1);
    let objects: Vec<TestObject> = (0..8).map(|_| pair.object()).collect();
    for object in &objects {
        let running = pair.started(B);
        pair.ret_handle(B, running, Cap::Given(object.clone()));
    }
    let running = pair.started(B);
    assert_eq!(running.object, objects[7]);
    pair.ret(B, running);
    assert_eq!(pair.transmit(B), 1);
    pair.deliver(A, 1);
    pair.ok(A, last);
    drop(objects);
    pair.finish();
}

#[test]
fn callbacks_that_a_method_queued_arrive_before_its_result() {
    // R10.4, R13.1
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    let callback = pair.call_at(B, theirs, &[], 1);
    pair.ret(B, running);
    let mark = pair.mark(B);
    pair.run();
    let kinds: Vec<u8> = pair.frames(B, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds[..2], [1, 4]);
    pair.ok(A, call);
    let running = pair.started(A);
    assert_eq!(running.inv.depth, 1);
    pair.ret(A, running);
    pair.run();
    pair.ok(B, callback);
    pair.finish();
}

#[test]
fn calls_held_on_an_open_start_in_order_when_it_settles() {
    // R2.6, R10.2
    let mut pair = Pair::new();
    let root = pair.root(A);
    let handle = pair.open(A, root, &[]);
    for n in 0..5 {
        pair.numbered(A, if n % 2 == 0 { Call } else { Tell }, handle, n);
    }
    pair.run();
    let running = pair.started(B);
    assert!(pair.nothing_runs(B));
    let object = pair.object();
    pair.ret_handle(B, running, Cap::Given(object));
    assert_eq!(pair.methods(B), [0, 1, 2, 3, 4]);
    pair.finish();
}

#[test]
fn a_held_call_that_gives_back_the_last_reference_to_its_open_does_not_unseat_the_next() {
    // R1.8, R2.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let handle = pair.open(A, root, &[]);
    // The first one is stopped before it starts: its argument, the OPEN itself, is given back.
    let doomed = pair.call(A, handle, &[Cap::Import(handle)]);
    let next = pair.call(A, handle, &[]);
    pair.drop_handle(A, handle);
    pair.run();
    let running = pair.started(B);
    let object = pair.object();
    object.set_revoked();
    pair.ret_handle(B, running, Cap::Given(object));
    pair.run();
    assert_eq!(pair.fault(A, doomed).code, Code::Broken);
    assert_eq!(pair.fault(A, next).code, Code::Broken, "not GONE");
    pair.finish();
}

#[test]
fn one_object_with_two_names_is_ordered_by_the_name_as_written() {
    // R6.4
    let mut pair = Pair::new();
    let object = pair.object();
    let k = pair.give(&object);
    let root = pair.root(A);
    let c = pair.open(A, root, &[]);
    pair.numbered(A, Call, c, 1);
    pair.numbered(A, Call, k, 2);
    pair.run();
    let running = pair.started(B);
    assert_eq!(
        pair.methods(B),
        [2],
        "the one on `-c` is held, the one on `k` is not"
    );
    pair.ret_handle(B, running, Cap::Given(object));
    assert_eq!(pair.methods(B), [2, 1]);
    pair.finish();
}

#[test]
fn ids_rise_in_the_order_of_numbers_and_a_call_takes_its_id_when_it_is_numbered() {
    // I1.4, I1.3
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_calls(1);
    let mut pair = Pair::with(&setup);
    let root = pair.root(A);
    let first = pair.call(A, root, &[]);
    let second = pair.call(A, root, &[]);
    assert!(matches!(second, CallKey::Waiting(_)));
    let deeper = pair.call_at(A, root, &[], 1);
    assert_eq!((first, deeper), (CallKey::Sent(1), CallKey::Sent(2)));
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, first);
    assert_eq!(pair.id(A, second), Some(3));
    pair.finish();
}
