//! How a stream ends: END, RELEASE, BROKEN, the session (R19.5, R19.6, R19.9, R17).

use super::*;

#[test]
fn release_stops_a_stream_whatever_it_waits_for() {
    // R19.5
    for full in [false, true] {
        let mut pair = Pair::new();
        let (key, import) = stream(&mut pair);
        let id = pair.end(B).streams[0].0.id();
        if full {
            send(&mut pair, B, key, &items(65_500));
        }
        let flag = Flag::new();
        _ = pair.session(B).poll_data(key, &flag.waker());
        pair.run();
        pair.drop_handle(A, import);
        assert!(!flag.take());
        pair.run();
        assert!(flag.take());
        match ready(&mut pair, B, key) {
            Poll::Ready(Err(fault)) => assert_eq!(fault.code, Code::Gone),
            other => panic!("{other:?}"),
        }
        // What the producer still says has no effect.
        let mark = pair.mark(B);
        pair.session(B).end_stream(key, None);
        pair.settle();
        assert!(pair.frames(B, mark).is_empty());
        pair.end(B).streams.clear();
        assert_eq!(pair.nursery.drops(id), 1);
        pair.finish();
    }
}

#[test]
fn an_end_is_good_or_carries_its_error_behind_the_items() {
    // R19.6, C1.2
    let error = Fault::app("sold out", vec![0xa3, b'f', b'o', b'o']);
    let local = Fault::new(Code::SessionLost, "the other session");
    for (fault, want) in [
        (None, None),
        (Some(error.clone()), Some(error)),
        (
            Some(local),
            Some(Fault::new(Code::Internal, "the other session")),
        ),
    ] {
        let mut pair = Pair::new();
        let (key, import) = stream(&mut pair);
        let flag = Flag::new();
        let pending = pair.session(A).poll_items(import, &flag.waker());
        assert!(pending.is_pending());
        send(&mut pair, B, key, SMALL);
        pair.session(B).end_stream(key, fault);
        pair.run();
        assert!(flag.take());
        assert_eq!(read(&mut pair, A, import).0, SMALL);
        for _ in 0..2 {
            assert_eq!(end(&mut pair, A, import), want);
        }
        // A RELEASE is owed.
        let (a, b) = (pair.session(A).sizes(), pair.session(B).sizes());
        assert_eq!((a.imports, a.streams), (1, 1));
        assert_eq!((b.exports, b.streams), (1, 1));
        assert!(matches!(ready(&mut pair, B, key), Poll::Ready(Err(_))));
        pair.finish();
    }
}

#[test]
fn nothing_comes_behind_an_end() {
    // R19.9
    let data = |buf: &mut Vec<u8>| write_data(buf, Target::host(1), SMALL, &[]);
    let end = |buf: &mut Vec<u8>| write_end(buf, Target::host(1), None, "", &[]);
    for last in [&data as Writer<'_>, &end] {
        let mut pair = Pair::new();
        stream(&mut pair);
        let violation = inject(&mut pair, A, &[&data, &end, last]).unwrap_err();
        assert_eq!(violation.rule, "R19.9");
        pair.finish_broken();
    }
}

#[test]
fn a_reader_that_goes_gives_back_what_it_did_not_read() {
    // R19.5, R15.1
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let (object, inner) = (pair.object(), pair.nursery.stream());
    let caps = [Cap::Given(object.clone()), Cap::Given(inner)];
    let sent = pair
        .session(B)
        .poll_send(key, ARGS[2], &caps, Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
    drop(caps);
    let inside = running(&mut pair, B);
    send(&mut pair, B, inside, SMALL);
    pair.run();
    assert_eq!(pair.session(A).sizes().streams, 2);
    pair.drop_handle(A, import);
    pair.settle();
    assert!(pair.session(A).sizes().is_empty());
    assert!(pair.session(B).sizes().is_empty());
    drop(object);
    pair.finish();
}

#[test]
fn when_the_session_ends_a_reader_gets_what_came_and_then_one_error() {
    // R17.3, R19.5, S8.3
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let (other, silent) = stream(&mut pair);
    let object = pair.object();
    let caps = [Cap::Given(object.clone())];
    let sent = pair
        .session(B)
        .poll_send(key, ARGS[1], &caps, Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
    drop((caps, object));
    pair.run();
    let (reader, runner) = (Flag::new(), Flag::new());
    let pending = pair.session(A).poll_items(silent, &reader.waker());
    assert!(pending.is_pending());
    _ = pair.session(B).poll_data(other, &runner.waker());
    pair.session(A).end(lost());
    pair.session(B).end(lost());
    for side in [A, B] {
        pair.collect(side);
    }
    assert!(reader.take() && runner.take());
    assert!(matches!(ready(&mut pair, B, other), Poll::Ready(Err(_))));
    assert_eq!(pair.session(B).sizes().streams, 0);
    read(&mut pair, A, import);
    for import in [import, silent] {
        assert_eq!(end(&mut pair, A, import).unwrap().code, Code::SessionLost);
    }
    pair.finish_broken();
}

#[test]
fn a_stream_that_breaks_ends_with_the_cause_behind_what_came() {
    // R22.3, R22.5, R19.5
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    send(&mut pair, B, key, SMALL);
    let object = pair.end(B).streams[0].0.clone();
    pair.revoke(B, &object);
    assert!(matches!(ready(&mut pair, B, key), Poll::Ready(Err(_))));
    pair.run();
    read(&mut pair, A, import);
    assert_eq!(end(&mut pair, A, import).unwrap().code, Code::Broken);
    drop(object);
    pair.finish();
}

#[test]
fn a_failure_to_open_is_all_that_a_stream_yields() {
    // R2.1, R19.6
    let mut pair = Pair::new();
    let root = pair.root(A);
    let import = pair.open(A, root, &[]);
    let flag = Flag::new();
    let pending = pair.session(A).poll_items(import, &flag.waker());
    assert!(pending.is_pending());
    pair.run();
    let run = pair.started(B);
    pair.ret_err(B, run, Code::Denied, "not you");
    pair.run();
    assert!(flag.take());
    assert_eq!(end(&mut pair, A, import).unwrap().code, Code::Denied);
    pair.finish();
}

#[test]
fn a_release_that_crosses_a_new_mention_leaves_the_stream_alone() {
    // R1.6, R19.5
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let object = pair.end(B).streams[0].0.clone();
    // It is mentioned again, and goes on under the name that it has.
    let again = pair.give(&object);
    assert_eq!((again, pair.end(B).streams.len()), (import, 1));
    let release = |buf: &mut Vec<u8>| write_release(buf, &[(Target::host(1), 1)]);
    inject(&mut pair, B, &[&release]).unwrap();
    assert!(ready(&mut pair, B, key).is_ready());
    drop(object);
    pair.finish_broken();
}

#[test]
fn a_call_that_is_dropped_unsent_drops_its_stream() {
    // R4.2, R21.2
    let limits = Limits::default().with_calls(1);
    let mut pair = Pair::with(&Setup {
        limits,
        ..Setup::default()
    });
    let root = pair.root(A);
    pair.call(A, root, &[]);
    let object = pair.nursery.stream();
    let id = object.id();
    let waits = pair.call(A, root, &[Cap::Given(object)]);
    assert!(matches!(waits, CallKey::Waiting(_)));
    pair.cancel(A, waits);
    pair.collect(A);
    assert_eq!(pair.nursery.drops(id), 1);
    assert!(pair.end(A).streams.is_empty(), "it was never named");
    pair.finish();
}

#[test]
fn the_end_of_a_session_forgets_streams_that_came_with_calls_which_never_started() {
    // R17.2
    let mut pair = Pair::with(&Setup {
        running: 1,
        ..Setup::default()
    });
    let root = pair.root(A);
    let first = pair.call(A, root, &[]);
    let second = pair.call(A, root, &[]);
    let given = pair.nursery.stream();
    let queued = pair.call(A, root, &[Cap::Given(given)]);
    pair.run();
    let key = running(&mut pair, A);
    send(&mut pair, A, key, SMALL);
    pair.run();
    assert_eq!(pair.session(B).sizes().streams, 1);
    pair.session(B).end(EndCause {
        close: 1006,
        reason: "lost".into(),
    });
    assert_eq!(pair.session(B).sizes().streams, 0);
    _ = (first, second, queued);
    pair.finish_broken();
}
