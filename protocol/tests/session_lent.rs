//! Lent handles: good until the answer of the call they came with, and not after (R3).

mod harness;

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::session::{Cap, Received};
use helve_protocol::{Code, Limits};

#[test]
fn a_lent_object_is_not_counted_and_is_let_go_with_the_answer() {
    // R3.2, R1.2
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let id = object.id();
    let call = pair.call(A, root, &[Cap::Lent(object)]);
    let mark = pair.mark(A);
    pair.run();
    let running = pair.started(B);
    let Received::Import { key, lent: true } = running.inv.caps[0] else {
        panic!("not lent");
    };
    assert_eq!(pair.nursery.drops(id), 0);
    let callback = pair.call_at(B, key, &[], 1);
    pair.run();
    let back = pair.started(A);
    pair.ret(A, back);
    pair.run();
    pair.ok(B, callback);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    assert_eq!(pair.nursery.drops(id), 1);
    assert!(
        pair.frames(A, mark).iter().all(|read| read.kind() != 7),
        "nothing to release"
    );
    pair.finish();
}

#[test]
fn cancel_does_not_end_what_was_lent_the_answer_does() {
    // R3.2, R21.3
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let id = object.id();
    let call = pair.call(A, root, &[Cap::Lent(object)]);
    pair.run();
    let running = pair.started(B);
    let key = import(&running.inv.caps[0]);
    pair.cancel(A, call);
    pair.run();
    // The method goes on for a while, and calls what it was lent.
    let callback = pair.call_at(B, key, &[], 1);
    pair.run();
    let back = pair.started(A);
    pair.ret(A, back);
    pair.run();
    pair.ok(B, callback);
    pair.ret(B, running);
    pair.run();
    assert_eq!(pair.nursery.drops(id), 1);
    pair.finish();
}

#[test]
fn the_reference_ends_before_the_answer_is_queued_and_what_waits_on_it_is_not_sent() {
    // R3.3, R3.5
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_nested(1),
        ..Setup::default()
    });
    let (root, theirs, object) = (pair.root(A), pair.root(B), pair.object());
    let call = pair.call(A, root, &[Cap::Lent(object)]);
    pair.run();
    let mut running = pair.started(B);
    let key = import(&pair.keep(B, &mut running)[0]);
    let first = pair.call_at(B, key, &[], 1);
    let (on, with) = (
        pair.call_at(B, key, &[], 1),
        pair.call_at(B, theirs, &[Cap::Import(key)], 1),
    );
    let behind = pair.call_at(B, theirs, &[], 1);
    let mark = pair.mark(B);
    pair.ret(B, running);
    pair.run();
    for waits in [on, with] {
        assert_eq!(pair.fault(B, waits).code, Code::Expired);
    }
    assert_eq!(pair.closed(B, key).map(|f| f.code), Some(Code::Expired));
    let out = Pair::out(key, &[], 1);
    assert_eq!(
        pair.session(B).call(&out, None).unwrap_err().code,
        Code::Expired
    );
    let caps = [Cap::Import(key)];
    let out = Pair::out(theirs, &caps, 1);
    assert_eq!(
        pair.session(B).call(&out, None).unwrap_err().code,
        Code::Expired
    );
    let kinds: Vec<u8> = pair.frames(B, mark).iter().map(Read::kind).collect();
    assert_eq!(
        kinds,
        [1, 4],
        "the call that had its permit, then the answer"
    );
    pair.ok(A, call);
    let back = pair.started(A);
    pair.ret(A, back);
    pair.run();
    pair.ok(B, first);
    let back = pair.started(A);
    pair.ret(A, back);
    pair.run();
    pair.ok(B, behind);
    pair.finish();
}

#[test]
fn a_lent_handle_goes_back_to_its_host_as_its_own_object() {
    // R3.4, R8.1
    let mut pair = Pair::new();
    let (root, theirs, object) = (pair.root(A), pair.root(B), pair.object());
    pair.call(A, root, &[Cap::Lent(object.clone())]);
    pair.run();
    let running = pair.started(B);
    let key = import(&running.inv.caps[0]);
    pair.call_at(B, theirs, &[Cap::Import(key)], 1);
    let mark = pair.mark(B);
    pair.run();
    assert_eq!(
        pair.frames(B, mark)[0].caps,
        [Descriptor::new(Tag::Yours, 1)]
    );
    let back = pair.started(A);
    assert!(matches!(&back.inv.caps[0], Received::Object(o) if *o == object));
    pair.ret(A, back);
    pair.ret(B, running);
    drop(object);
    pair.finish();
}

#[test]
fn a_lent_handle_is_not_given_away_as_the_result_of_an_open() {
    // R3.4, C1.2
    let mut pair = Pair::new();
    let (root, object) = (pair.root(A), pair.object());
    let own = pair.open(A, root, &[Cap::Lent(object.clone())]);
    let call = pair.call(A, root, &[Cap::Lent(object.clone())]);
    let other = pair.open(A, root, &[]);
    pair.run();
    let (first, second, third) = (pair.started(B), pair.started(B), pair.started(B));
    let (ended, alive) = (import(&first.inv.caps[0]), import(&second.inv.caps[0]));
    pair.ret_handle(B, first, Cap::Import(ended));
    // Lent by a call that still runs: it may not outlive that one either.
    pair.session(B).retain(alive);
    pair.end(B).held.push(alive);
    pair.ret_handle(B, third, Cap::Import(alive));
    pair.run();
    assert_eq!(pair.closed(A, own).map(|f| f.code), Some(Code::Denied));
    assert_eq!(pair.closed(A, other).map(|f| f.code), Some(Code::Denied));
    let reply = [Cap::Import(alive)];
    pair.ret_caps(B, second, &reply);
    pair.run();
    assert_eq!(
        pair.fault(A, call).code,
        Code::Internal,
        "no local code goes on the wire"
    );
    drop(object);
    pair.finish();
}

#[test]
fn lent_handles_stand_in_calls_and_opens_only() {
    // R3.1
    let lent = [Descriptor::new(Tag::Lent, 1)];
    let mut pair = Pair::new();
    let mut tell = Vec::new();
    helve_protocol::frame::write_call(
        &mut tell,
        helve_protocol::frame::CallKind::Tell,
        0,
        Target::ROOT,
        METHOD,
        ARGS[1],
        &lent,
        &Default::default(),
    );
    let violation = pair
        .inject(B, message(1, 0, &[&|buf| buf.extend(&tell)]))
        .unwrap_err();
    assert_eq!(violation.rule, "R3.1");
    pair.finish_broken();
}

#[test]
fn lent_handles_beyond_the_table_refuse_the_call() {
    // R14.1, R11.7
    let mut setup = Setup::default();
    setup.limits = setup.limits.with_table(2);
    let mut pair = Pair::with(&setup);
    let lent: Vec<Descriptor> = (1..=3).map(|k| Descriptor::new(Tag::Lent, k)).collect();
    let frame = call_frame(
        helve_protocol::frame::CallKind::Call,
        1,
        Target::ROOT,
        0,
        &lent,
    );
    pair.inject(B, message(1, 0, &[&|buf| buf.extend(&frame)]))
        .unwrap();
    assert!(pair.nothing_runs(B));
    pair.transmit(B);
    assert_eq!(pair.frames(B, 0)[0].kind(), 5);
    assert!(pair.session(B).sizes().is_empty());
    pair.end(A).inbox.clear();
    pair.finish_broken();
}
