//! How a stream begins: named, limited, introduced by frames and in them (R19.1, R14.4, R15.1, R10.6).

use super::*;

#[test]
fn a_stream_is_counted_and_its_data_come_behind_the_frame_that_names_it() {
    // R19.1, R10.6: as an argument of each kind of call, and as a result.
    let mut pair = Pair::new();
    let root = pair.root(A);
    for kind in [CallKind::Call, CallKind::Open, CallKind::Tell] {
        let caps = [Cap::Given(pair.nursery.stream())];
        let out = Pair::out(root, &caps, 0);
        let end = pair.end(A);
        match kind {
            CallKind::Call => {
                let key = end.session.call(&out, None).unwrap();
                end.calls.push((key, key));
            }
            CallKind::Open => end.held.push(end.session.open(&out).unwrap()),
            CallKind::Tell => end.receipts.push(end.session.tell(&out).unwrap()),
        }
        let key = running(&mut pair, A);
        send(&mut pair, A, key, SMALL);
        pair.run();
        let mut call = pair.started(B);
        assert_eq!(call.inv.kind, kind);
        let caps = pair.keep(B, &mut call);
        assert_eq!(read(&mut pair, B, import(&caps[0])).0, SMALL);
        pair.session(A).end_stream(key, None);
        pair.run();
        assert_eq!(end_of(&mut pair, B, &caps), None);
        let reply = Fault::new(Code::App, "no");
        pair.respond(B, call, Reply::Fault(reply));
    }
    let (key, import) = stream(&mut pair);
    send(&mut pair, B, key, SMALL);
    pair.run();
    assert_eq!(read(&mut pair, A, import).0, SMALL);
    assert_eq!(targets(&mut pair, B), [Target::host(1)]);
    pair.finish();
}

#[test]
fn a_stream_that_an_open_leads_to_goes_by_the_name_of_the_open() {
    // R19.1, I2.3, R10.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let import = pair.open(A, root, &[]);
    assert!(pull(&mut pair, A, import).is_pending(), "not answered yet");
    let flag = Flag::new();
    let pending = pair.session(A).poll_items(import, &flag.waker());
    assert!(pending.is_pending());
    pair.run();
    let call = pair.started(B);
    let object = pair.nursery.stream();
    pair.ret_handle(B, call, Cap::Given(object));
    let key = running(&mut pair, B);
    send(&mut pair, B, key, SMALL);
    pair.run();
    assert!(flag.take());
    assert_eq!(targets(&mut pair, B), [Target::open(1)]);
    assert_eq!(read(&mut pair, A, import).0, SMALL);
    // R19.5
    pair.drop_handle(A, import);
    pair.run();
    assert!(matches!(ready(&mut pair, B, key), Poll::Ready(Err(_))));
    pair.finish();
}

#[test]
fn a_stream_that_an_open_leads_to_does_not_begin_when_it_was_released() {
    // R2.5, R19.5
    let mut pair = Pair::new();
    let root = pair.root(A);
    let import = pair.open(A, root, &[]);
    pair.run();
    pair.drop_handle(A, import);
    pair.run();
    let call = pair.started(B);
    let object = pair.nursery.stream();
    pair.ret_handle(B, call, Cap::Given(object));
    pair.collect(B);
    assert!(pair.end(B).streams.is_empty());
    pair.finish();
}

#[test]
fn what_comes_before_the_application_looks_is_kept() {
    // R19.2, I3.3: the answer of the call was not taken yet.
    let mut pair = Pair::new();
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    let running_call = pair.started(B);
    let object = pair.nursery.stream();
    pair.ret_caps(B, running_call, &[Cap::Given(object)]);
    let key = running(&mut pair, B);
    send(&mut pair, B, key, SMALL);
    pair.session(B).end_stream(key, None);
    pair.run();
    let caps = pair.ok(A, call);
    assert_eq!(read(&mut pair, A, import(&caps[0])).0, SMALL);
    assert_eq!(end_of(&mut pair, A, &caps), None);
    pair.finish();
}

#[test]
fn credit_for_what_is_no_stream_counts_as_a_name_of_nothing() {
    // R19.10, R11.3
    for k in [1, 99] {
        let mut pair = Pair::new();
        let object = pair.object();
        pair.give(&object);
        let credit = |buf: &mut Vec<u8>| write_credit(buf, Target::host(k), 1, 0);
        let frames: Vec<Writer<'_>> = vec![&credit; 64];
        inject(&mut pair, B, &frames).unwrap();
        let first = pair.session(B).received() + 1;
        let violation = pair.inject(B, message(first, 0, &[&credit])).unwrap_err();
        assert_eq!(violation.rule, "R11.3");
        drop(object);
        pair.finish_broken();
    }
}

#[test]
fn data_for_a_name_that_was_never_given_names_nothing() {
    // R11.3, R10.6: an OPEN has no stream before its RET; host and OPEN names that nobody gave.
    for target in [
        Target::host(2),
        Target::open(2),
        Target::open(4),
        Target::ROOT,
    ] {
        let mut pair = Pair::new();
        stream(&mut pair);
        let root = pair.root(A);
        pair.open(A, root, &[]);
        pair.open(A, root, &[]);
        let data = |buf: &mut Vec<u8>| write_data(buf, target, SMALL, &[]);
        let frames: Vec<Writer<'_>> = vec![&data; 65];
        let violation = inject(&mut pair, A, &frames).unwrap_err();
        assert_eq!(violation.rule, "R11.3", "{target:?}");
        pair.forgive();
        pair.finish_broken();
    }
}

#[test]
fn streams_above_the_limit_of_the_peer_are_refused_where_they_arise() {
    // R14.4
    let limits = Limits::default().with_streams(2);
    let mut pair = Pair::with(&Setup {
        limits,
        ..Setup::default()
    });
    let root = pair.root(A);
    let given: Vec<_> = (0..3).map(|_| Cap::Given(pair.nursery.stream())).collect();
    // An argument: nothing is sent.
    let refused = pair.session(A).call(&Pair::out(root, &given, 0), None);
    let fault = refused.unwrap_err();
    assert_eq!(
        (fault.code, pair.session(A).sizes().exports),
        (Code::Exhausted, 0)
    );
    // A result: its method ran.
    let call = pair.call(A, root, &[]);
    pair.run();
    let run = pair.started(B);
    pair.ret_caps(B, run, &given);
    pair.run();
    assert_eq!(pair.fault(A, call).code, Code::Internal);
    drop(given);
    // Two are good, and an OPEN that leads to a third is not.
    let (first, import) = stream(&mut pair);
    let (second, other) = stream(&mut pair);
    pair.session(B).end_stream(second, None);
    let open = pair.open(A, root, &[]);
    pair.run();
    let run = pair.started(B);
    let third = pair.nursery.stream();
    pair.ret_handle(B, run, Cap::Given(third.clone()));
    pair.run();
    assert_eq!(end(&mut pair, A, open).unwrap().code, Code::Internal);
    // One inside an item waits.
    let caps = [Cap::Given(third)];
    let nested = pair
        .session(B)
        .poll_send(first, ARGS[1], &caps, Waker::noop());
    assert!(nested.is_pending());
    // One that ended counts until it is released.
    pair.drop_handle(A, other);
    pair.run();
    let nested = pair
        .session(B)
        .poll_send(first, ARGS[1], &caps, Waker::noop());
    assert_eq!(nested, Poll::Ready(Ok(())));
    drop(caps);
    let inner = running(&mut pair, B);
    send(&mut pair, B, inner, SMALL);
    pair.run();
    let (_, caps) = read(&mut pair, A, import);
    assert_eq!(read(&mut pair, A, harness::import(&caps[0])).0, SMALL);
    pair.finish();
}

#[test]
fn a_peer_with_more_streams_than_it_may_have_ends_the_session() {
    // R14.4
    let limits = Limits::default().with_streams(3);
    let mut pair = Pair::with(&Setup {
        limits,
        ..Setup::default()
    });
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    let caps: Vec<_> = (1..=4).map(|k| Descriptor::new(Tag::Mine, k)).collect();
    let ret = |buf: &mut Vec<u8>| write_ret(buf, 1, &[0xc0], &caps, &[]);
    let data = |k| move |buf: &mut Vec<u8>| write_data(buf, Target::host(k), SMALL, &[]);
    let end = |buf: &mut Vec<u8>| write_end(buf, Target::host(4), None, "", &[]);
    let (one, two, three) = (data(1), data(2), data(3));
    let frames: [Writer<'_>; 4] = [&ret, &one, &two, &three];
    inject(&mut pair, A, &frames).unwrap();
    let first = pair.session(A).received() + 1;
    let violation = pair.inject(A, message(first, 1, &[&end])).unwrap_err();
    assert_eq!(violation.rule, "R14.4");
    pair.ok(A, call);
    pair.finish_broken();
}

#[test]
fn references_in_items_are_introduced_by_their_own_frame() {
    // R15.1, R8.1
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let (theirs, mine) = (pair.object(), pair.object());
    let back = pair.give_to(B, &mine);
    let caps = [Cap::Given(theirs.clone()), Cap::Import(back)];
    let sent = pair
        .session(B)
        .poll_send(key, ARGS[2], &caps, Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
    drop(caps);
    pair.run();
    let (_, caps) = read(&mut pair, A, import);
    assert!(matches!(&caps[1], Received::Object(o) if *o == mine));
    let call = pair.call(A, harness::import(&caps[0]), &[]);
    pair.run();
    let run = pair.started(B);
    assert_eq!(run.object, theirs);
    pair.ret(B, run);
    pair.run();
    pair.ok(A, call);
    drop((theirs, mine, caps));
    pair.finish();
}

#[test]
fn a_stream_cannot_be_lent() {
    // R19.1
    let mut pair = Pair::new();
    let root = pair.root(A);
    let caps = [Cap::Lent(pair.nursery.stream())];
    let refused = pair.session(A).call(&Pair::out(root, &caps, 0), None);
    assert_eq!(refused.unwrap_err().code, Code::Denied);
    drop(caps);
    pair.finish();
}

#[test]
fn a_forwarder_makes_a_stream_of_what_the_peer_holds_already() {
    // R19.1: what it forwards turns out to be a stream with the first DATA.
    let mut pair = Pair::new();
    let object = pair.object();
    let import = pair.give(&object);
    assert!(pair.end(B).streams.is_empty());
    let key = pair.session(B).start_stream(&object).unwrap();
    assert_eq!(pair.session(B).start_stream(&object), Ok(key));
    send(&mut pair, B, key, SMALL);
    pair.run();
    assert_eq!(read(&mut pair, A, import).0, SMALL);
    pair.drop_handle(A, import);
    pair.run();
    let gone = pair.session(B).start_stream(&object);
    assert_eq!(gone.unwrap_err().code, Code::Gone);
    drop(object);
    pair.finish();
}

#[test]
fn a_stream_whose_call_waits_begins_with_it() {
    // R10.6, R13.10
    let limits = Limits::default().with_calls(1);
    let mut pair = Pair::with(&Setup {
        limits,
        ..Setup::default()
    });
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let object = pair.nursery.stream();
    pair.call(A, root, &[Cap::Given(object)]);
    pair.run();
    assert!(pair.end(A).streams.is_empty());
    let run = pair.started(B);
    pair.ret(B, run);
    pair.run();
    let key = running(&mut pair, A);
    send(&mut pair, A, key, SMALL);
    pair.run();
    pair.finish();
}

#[test]
fn a_stream_that_its_own_item_introduces_has_no_name_yet() {
    // R10.6, R11.10: it would hold itself.
    let mut pair = Pair::new();
    let root = pair.root(A);
    pair.call(A, root, &[]);
    pair.transmit(A);
    let own = [Descriptor::new(Tag::Mine, 2)];
    let data = message(
        1,
        1,
        &[&|buf| write_data(buf, Target::host(2), ARGS[1], &own)],
    );
    assert_eq!(pair.inject(A, data), Ok(()));
    assert_eq!(pair.session(A).sizes().streams, 0);
    assert_eq!(pair.session(A).sizes().imports, 0, "it was given back");
    pair.finish_broken();
}
