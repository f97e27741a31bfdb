//! Handles: counts, RELEASE, names, references in arguments and results (R1, R4, R7, R8, I2, I3).

mod harness;

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::session::{CallKey, Cap, Received};
use helve_protocol::{Code, Fault};

#[test]
fn mentions_are_counted_and_the_last_drop_gives_them_all_back() {
    // R1.1, R1.2, R1.3, I2.4
    let mut pair = Pair::new();
    let object = pair.object();
    let handles: Vec<_> = (0..3).map(|_| pair.give(&object)).collect();
    assert_eq!(pair.session(A).sizes().imports, 1);
    let id = object.id();
    drop(object);
    let mark = pair.mark(A);
    for handle in handles {
        assert_eq!(pair.nursery.drops(id), 0);
        pair.drop_handle(A, handle);
        pair.run();
    }
    assert_eq!(
        pair.nursery.drops(id),
        1,
        "dropped when nobody holds it, not before"
    );
    let releases: Vec<_> = pair
        .frames(A, mark)
        .into_iter()
        .flat_map(|read| read.releases)
        .collect();
    assert_eq!(releases, [(Target::host(1), 3)]);
    pair.finish();
}

#[test]
fn a_release_that_crosses_a_new_mention_leaves_the_object_alive() {
    // R1.6
    let mut pair = Pair::new();
    let object = pair.object();
    let old = pair.give(&object);
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.drop_handle(A, old);
    pair.transmit(A);
    pair.ret_caps(B, running, &[Cap::Given(object.clone())]);
    drop(object);
    pair.run();
    let new = import(&pair.ok(A, call)[0]);
    assert_ne!(old, new);
    let call = pair.call(A, new, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn a_call_that_cannot_be_written_counts_nothing() {
    // R1.7
    let mut pair = Pair::new();
    let (object, other) = (pair.object(), pair.object());
    let handle = pair.give(&object);
    pair.drop_handle(A, handle);
    let mine = pair.object();
    let caps = [Cap::Given(mine), Cap::Lent(other), Cap::Import(handle)];
    let root = pair.root(A);
    let out = Pair::out(root, &caps, 0);
    let fault = pair.session(A).call(&out, None).unwrap_err();
    assert_eq!(fault.code, Code::Gone);
    assert_eq!(pair.session(A).sizes().exports, 0);
    drop((caps, object));
    pair.finish();
}

#[test]
fn calls_that_are_held_or_run_keep_a_released_target() {
    // R1.8, R2.5
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    drop(object);
    let running_call = pair.call(A, handle, &[]);
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    let held_call = pair.call(A, open, &[]);
    pair.drop_handle(A, handle);
    pair.drop_handle(A, open);
    pair.run();
    assert_eq!(pair.session(A).sizes().imports, 0);
    let (first, second) = (pair.started(B), pair.started(B));
    pair.ret(B, first);
    let fresh = pair.object();
    pair.ret_handle(B, second, Cap::Given(fresh));
    let third = pair.started(B);
    pair.ret(B, third);
    pair.run();
    pair.ok(A, running_call);
    pair.ok(A, held_call);
    pair.finish();
}

#[test]
fn a_release_goes_behind_every_frame_that_names_its_target() {
    // R4.1
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let root = pair.root(A);
    pair.drop_handle(A, handle);
    // Dropped, and mentioned once more by a call that was made before.
    let again = pair.give(&object);
    pair.call(A, again, &[]);
    pair.call(A, root, &[Cap::Import(again)]);
    pair.drop_handle(A, again);
    let mark = pair.mark(A);
    pair.run();
    let kinds: Vec<u8> = pair.frames(A, mark).iter().map(Read::kind).collect();
    assert_eq!(kinds, [1, 1, 7]);
    drop(object);
    pair.finish();
}

#[test]
fn a_call_that_waits_holds_its_target_and_its_arguments() {
    // R4.2
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_calls(1);
    let mut pair = Pair::with(&setup);
    let (object, argument) = (pair.object(), pair.object());
    let handle = pair.give(&object);
    let given = pair.give(&argument);
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let waits = pair.call(A, handle, &[Cap::Import(given)]);
    assert!(matches!(waits, CallKey::Waiting(_)));
    pair.drop_handle(A, handle);
    pair.drop_handle(A, given);
    pair.run();
    let first = pair.started(B);
    pair.ret(B, first);
    pair.run();
    let running = pair.started(B);
    assert_eq!(running.object, object);
    assert!(matches!(&running.inv.caps[0], Received::Object(o) if *o == argument));
    pair.ret(B, running);
    drop((object, argument));
    pair.finish();
}

#[test]
fn names_are_not_used_twice_in_a_session() {
    // I2.2
    let mut pair = Pair::new();
    for _ in 0..3 {
        let object = pair.object();
        let handle = pair.give(&object);
        pair.drop_handle(A, handle);
        pair.run();
    }
    let named: Vec<Descriptor> = pair.frames(B, 0).into_iter().flat_map(|r| r.caps).collect();
    let expected: Vec<Descriptor> = (1..=3).map(|k| Descriptor::new(Tag::Mine, k)).collect();
    assert_eq!(named, expected);
    pair.finish();
}

#[test]
fn the_roots_have_one_identity_and_are_not_counted() {
    // I2.1, I3.1
    let mut pair = Pair::new();
    let (root, theirs) = (pair.root(A), pair.root(B));
    let mine = pair.end(A).root.clone();
    let call = pair.call(A, root, &[Cap::Given(mine), Cap::Import(root)]);
    pair.run();
    let running = pair.started(B);
    assert_eq!(import(&running.inv.caps[0]), theirs);
    assert!(matches!(&running.inv.caps[1], Received::Object(o) if *o == running.object));
    let object = running.object.clone();
    pair.ret_caps(B, running, &[Cap::Given(object), Cap::Import(theirs)]);
    pair.run();
    let caps = pair.ok(A, call);
    assert_eq!(import(&caps[0]), root);
    assert!(matches!(&caps[1], Received::Object(_)));
    assert_eq!(
        pair.session(A).identity(root),
        pair.session(A).identity(import(&caps[0]))
    );
    assert!(pair.session(A).sizes().is_empty() && pair.session(B).sizes().exports == 0);
    drop(caps);
    pair.finish();
}

#[test]
fn references_are_taken_though_nobody_reads_the_payload() {
    // I3.3
    let mut pair = Pair::new();
    let mine = pair.object();
    let root = pair.root(A);
    let call = pair.call(A, root, &[Cap::Given(mine.clone())]);
    let id = mine.id();
    drop(mine);
    pair.run();
    let running = pair.started(B);
    // As a runtime does whose types do not fit.
    pair.ret_err(B, running, Code::Decode, "not these types");
    pair.run();
    assert_eq!(pair.fault(A, call).code, Code::Decode);
    assert_eq!(pair.nursery.drops(id), 1);
    pair.finish();
}

#[test]
fn a_descriptor_of_our_own_object_arrives_as_that_object() {
    // R8.1
    let mut pair = Pair::new();
    let object = pair.object();
    let handle = pair.give(&object);
    let root = pair.root(A);
    pair.call(A, root, &[Cap::Import(handle)]);
    pair.run();
    let running = pair.started(B);
    assert!(matches!(&running.inv.caps[0], Received::Object(o) if *o == object));
    pair.ret(B, running);
    drop(object);
    pair.finish();
}

#[test]
fn our_own_object_comes_home_also_where_the_way_leads_through_the_peer() {
    // R8.1, R6.3
    let mut pair = Pair::new();
    let object = pair.object();
    // B's own object, as the result of B's OPEN at A: B's handle to it goes through A.
    let at_a = pair.give(&object);
    let theirs = pair.root(B);
    let through = pair.open(B, theirs, &[]);
    pair.run();
    let running = pair.started(A);
    pair.ret_handle(A, running, Cap::Import(at_a));
    pair.run();
    // That handle is the result of an OPEN of A's, and A passes it to B.
    let root = pair.root(A);
    let opened = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Import(through));
    pair.call(A, root, &[Cap::Import(opened)]);
    pair.run();
    let running = pair.started(B);
    assert!(matches!(&running.inv.caps[0], Received::Object(o) if *o == object));
    pair.ret(B, running);
    drop(object);
    pair.finish();
}

#[test]
fn a_pending_handle_is_an_argument_and_the_call_is_delivered_at_once() {
    // R7.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let pending = pair.open(A, root, &[]);
    pair.call(A, root, &[Cap::Import(pending)]);
    pair.run();
    let (open, mut call) = (pair.started(B), pair.started(B));
    let Received::Opened(c) = pair.keep(B, &mut call)[0] else {
        panic!("not a pending handle");
    };
    let waker = std::task::Waker::noop();
    assert!(pair.session(B).poll_opened(c, waker).is_pending());
    let object = pair.object();
    pair.ret_handle(B, open, Cap::Given(object.clone()));
    let settled = pair.session(B).poll_opened(c, waker);
    assert!(matches!(settled, std::task::Poll::Ready(Ok(Received::Object(o))) if o == object));
    pair.ret(B, call);
    drop(object);
    pair.finish();
}

#[test]
fn a_descriptor_that_names_nothing_arrives_broken_and_is_counted() {
    // I3.6, R11.3
    let mut pair = Pair::new();
    let caps = [
        Descriptor::new(Tag::Yours, 77),
        Descriptor::new(Tag::YourOpen, 9),
    ];
    for id in 1..=33 {
        let frame = call_frame(
            helve_protocol::frame::CallKind::Call,
            id,
            Target::ROOT,
            0,
            &caps,
        );
        let result = pair.inject(B, message(id, 0, &[&|buf| buf.extend(&frame)]));
        if id == 33 {
            assert_eq!(result.unwrap_err().rule, "R11.3", "the 65th and 66th");
            break;
        }
        assert!(result.is_ok());
        let running = pair.started(B);
        for cap in &running.inv.caps {
            assert!(matches!(cap, Received::Broken(fault) if fault.code == Code::Gone));
        }
        pair.ret(B, running);
    }
    pair.finish_broken();
}

#[test]
fn references_in_a_result_beyond_our_own_table_are_given_back_and_arrive_broken() {
    // I3.7
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_table(2);
    let mut pair = Pair::with(&setup);
    let objects: Vec<TestObject> = (0..3).map(|_| pair.object()).collect();
    pair.give(&objects[0]);
    // A host that does not mind our limit.
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.transmit(A);
    let caps: Vec<Descriptor> = (8..10).map(|k| Descriptor::new(Tag::Mine, k)).collect();
    let ret = message(
        2,
        2,
        &[&|buf| {
            helve_protocol::frame::write_ret(buf, 2, ARGS[2], &caps, &[]);
        }],
    );
    let mark = pair.mark(A);
    pair.inject(A, ret).unwrap();
    let caps = pair.ok(A, call);
    assert!(matches!(&caps[0], Received::Import { .. }));
    assert!(matches!(&caps[1], Received::Broken(fault) if fault.code == Code::Exhausted));
    pair.transmit(A);
    let releases: Vec<_> = pair
        .frames(A, mark)
        .into_iter()
        .flat_map(|r| r.releases)
        .collect();
    assert_eq!(releases, [(Target::host(9), 1)]);
    drop(objects);
    pair.end(A).inbox.clear();
    pair.end(B).inbox.clear();
    pair.finish_broken();
}

#[test]
fn a_broken_reference_is_passed_on_as_a_broken_one() {
    // R22.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    let fault = Fault::new(Code::Broken, "its upstream is lost");
    let call = pair.call(A, root, &[Cap::Broken(fault.clone())]);
    pair.run();
    let mut running = pair.started(B);
    let key = import(&pair.keep(B, &mut running)[0]);
    assert_eq!(
        pair.closed(B, key).map(|f| f.message),
        Some("its upstream is lost".into())
    );
    pair.ret_caps(B, running, &[Cap::Broken(fault)]);
    pair.run();
    let key = import(&pair.ok(A, call)[0]);
    assert!(pair.closed(A, key).is_some());
    pair.finish();
}

#[test]
fn an_argument_that_names_a_failed_open_arrives_broken_with_its_cause() {
    // R2.3, R14.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let open = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Exhausted, "later");
    pair.call(A, root, &[Cap::Import(open)]);
    pair.run();
    // The call is not refused for it.
    let running = pair.started(B);
    assert!(matches!(&running.inv.caps[0], Received::Broken(f) if f.code == Code::Exhausted));
    pair.ret(B, running);
    pair.finish();
}

#[test]
fn a_thousand_times_open_call_drop_leaves_the_tables_as_before() {
    // R2.1, R1.3
    let mut pair = Pair::new();
    let root = pair.root(A);
    for _ in 0..1000 {
        let handle = pair.open(A, root, &[]);
        let call = pair.call(A, handle, &[]);
        pair.drop_handle(A, handle);
        pair.run();
        let (open, object) = (pair.started(B), pair.object());
        pair.ret_handle(B, open, Cap::Given(object));
        let running = pair.started(B);
        pair.ret(B, running);
        pair.run();
        pair.ok(A, call);
    }
    pair.settle();
    assert!(pair.session(A).sizes().is_empty() && pair.session(B).sizes().is_empty());
    assert_eq!(pair.nursery.alive(), [0, 1]);
    pair.finish();
}
