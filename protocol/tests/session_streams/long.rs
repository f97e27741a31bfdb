//! Items above 65,536 bytes: in PARTs, in order with what is behind them, given up only when nobody reads (R18).

use helve_protocol::frame::{put_transfer, write_part};

use super::*;

const LONG: usize = 300_000;

#[test]
fn long_items_arrive_whole_and_in_order_with_what_is_behind_them() {
    // R18.1, R18.6, R19.8
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let flag = Flag::new();
    let long = items(LONG);
    send(&mut pair, B, key, &long);
    // It overdrew the credit, once.
    assert!(ready(&mut pair, B, key).is_pending());
    pair.session(B).end_stream(key, None);
    pair.transmit(B);
    // The head, END and the first PARTs: nothing can be read yet.
    let all = pair.end(A).inbox.len();
    pair.deliver(A, all - 1);
    let early = pair.session(A).poll_items(import, &flag.waker());
    assert!(early.is_pending());
    pair.run();
    assert!(flag.take(), "the reader is woken by the last PART");
    assert_eq!(read(&mut pair, A, import).0, long);
    assert!(matches!(
        pull(&mut pair, A, import),
        Poll::Ready(Pulled::End(None))
    ));
    pair.finish();
}

#[test]
fn a_stream_of_long_items_goes_on_as_it_is_read() {
    // R18.6, R19.3
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    for n in 0..5 {
        let long = items(LONG + n);
        while !matches!(ready(&mut pair, B, key), Poll::Ready(Ok(()))) {
            pair.settle();
        }
        send(&mut pair, B, key, &long);
        pair.run();
        assert_eq!(read(&mut pair, A, import).0, long);
        pair.run();
    }
    pair.session(B).end_stream(key, None);
    pair.run();
    assert!(matches!(
        pull(&mut pair, A, import),
        Poll::Ready(Pulled::End(None))
    ));
    pair.finish();
}

#[test]
fn handles_in_a_long_item_come_with_it() {
    // R15.1, R18.6
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let object = pair.object();
    let mut long = items(LONG);
    long[0] = 0x92;
    long.extend([0xd4, 1, 0]);
    let caps = [Cap::Given(object.clone())];
    let sent = pair
        .session(B)
        .poll_send(key, &long[..], &caps, Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
    drop(caps);
    pair.run();
    let (bytes, caps) = read(&mut pair, A, import);
    assert_eq!((bytes.len(), caps.len()), (LONG + 3, 1));
    drop(object);
    pair.finish();
}

#[test]
fn a_released_stream_stops_sending_what_is_under_way() {
    // R18.13, R11.10, R19.5
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let object = pair.object();
    let id = object.id();
    let mut long = items(4 << 20);
    long[0] = 0x92;
    long.extend([0xd4, 1, 0]);
    let caps = [Cap::Given(object)];
    let sent = pair
        .session(B)
        .poll_send(key, &long[..], &caps, Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
    drop(caps);
    pair.transmit(B);
    pair.deliver(A, usize::MAX);
    pair.drop_handle(A, import);
    let mark = pair.mark(B);
    pair.run();
    let parts = pair.frames(B, mark);
    assert!(matches!(
        parts.last().expect("an abort").frame,
        Frame::Part { data: None, .. }
    ));
    assert!(parts.len() < 8, "{} more frames", parts.len());
    pair.settle();
    assert_eq!(pair.nursery.drops(id), 1, "its handle was released");
    pair.finish();
}

#[test]
fn items_of_a_stream_that_is_read_are_not_given_up() {
    // R18.13
    let mut pair = Pair::new();
    let (_, import) = stream(&mut pair);
    let name = Target::host(1);
    let mut announced = Vec::new();
    put_transfer(&mut announced, 70_000);
    let next = pair.session(A).received() + 1;
    let head = message(next, 0, &[&|buf| write_data(buf, name, &announced, &[])]);
    assert_eq!(pair.inject(A, head), Ok(()));
    let abort = message(next + 1, 0, &[&|buf| write_part(buf, next, None)]);
    let rule = pair.inject(A, abort).map_err(|violation| violation.rule);
    assert_eq!(rule, Err("R18.13"));
    _ = import;
    pair.finish_broken();
}

#[test]
fn the_end_of_a_session_cuts_a_long_item_off() {
    // R17.5: what came whole is read, then the error.
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    send(&mut pair, B, key, SMALL);
    send(&mut pair, B, key, &items(LONG));
    pair.transmit(B);
    let all = pair.end(A).inbox.len();
    pair.deliver(A, all - 1);
    pair.session(A).end(EndCause {
        close: 1006,
        reason: "lost".into(),
    });
    assert_eq!(read(&mut pair, A, import).0, SMALL);
    assert!(matches!(
        pull(&mut pair, A, import),
        Poll::Ready(Pulled::End(Some(_)))
    ));
    pair.finish_broken();
}

#[test]
fn long_items_wait_for_a_slot_like_any_transfer() {
    // R18.7
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1),
        ..Setup::default()
    });
    let (first, one) = stream(&mut pair);
    let (second, two) = stream(&mut pair);
    send(&mut pair, B, first, &items(LONG));
    let flag = Flag::new();
    let long = items(LONG);
    let waits = pair
        .session(B)
        .poll_send(second, &long[..], &[], &flag.waker());
    assert!(waits.is_pending());
    pair.run();
    assert!(flag.take(), "the slot is free");
    send(&mut pair, B, second, &long);
    pair.run();
    for import in [one, two] {
        assert_eq!(read(&mut pair, A, import).0.len(), LONG);
    }
    pair.finish();
}

/// Streams overdrawn together by at most so much: two of the long items below.
const TOGETHER: u64 = 2 * LONG as u64;

fn bounded() -> Pair {
    let mut limits = Limits::default().with_frame(LONG as u64 + 1_000);
    limits.bytes = TOGETHER;
    Pair::with(&Setup {
        limits,
        ..Setup::default()
    })
}

#[test]
fn unread_long_items_of_all_streams_together_are_bounded() {
    // R19.11
    let mut pair = bounded();
    let streams = [0; 4].map(|_| stream(&mut pair));
    let long = items(LONG);
    let flag = Flag::new();
    let mut sent = 0;
    for (key, _) in &streams {
        let waker = flag.waker();
        let poll = pair.session(B).poll_send(*key, &long[..], &[], &waker);
        sent += usize::from(poll == Poll::Ready(Ok(())));
        pair.run();
    }
    // Each is overdrawn by its length but for the credit at birth and 65,536 bytes.
    assert_eq!(sent, 3);
    let _ = flag.take();
    // Small items of others go on.
    let (key, import) = streams[3];
    send(&mut pair, B, key, SMALL);
    pair.run();
    assert_eq!(read(&mut pair, A, import).0, SMALL);
    // Once one is read there is room for the next.
    read(&mut pair, A, streams[0].1);
    pair.settle();
    assert!(flag.take(), "the waiting one is woken");
    send(&mut pair, B, key, &long);
    pair.run();
    for (_, import) in &streams[1..] {
        assert_eq!(read(&mut pair, A, *import).0.len(), LONG);
    }
    pair.finish();
}

#[test]
fn released_streams_give_the_room_for_long_items_back() {
    // R19.11, R19.5
    let mut pair = bounded();
    let streams = [0; 3].map(|_| stream(&mut pair));
    for (key, _) in &streams {
        send(&mut pair, B, *key, &items(LONG));
    }
    pair.run();
    for (_, import) in streams {
        pair.drop_handle(A, import);
    }
    pair.settle();
    let streams = [0; 3].map(|_| stream(&mut pair));
    for (key, _) in &streams {
        send(&mut pair, B, *key, &items(LONG));
    }
    pair.finish();
}

#[test]
fn more_unread_long_items_than_allowed_are_a_violation() {
    // R19.11
    let mut pair = bounded();
    let _streams = [0; 4].map(|_| stream(&mut pair));
    let mut announced = Vec::new();
    put_transfer(&mut announced, LONG as u64);
    let mut rules = Vec::new();
    for k in 1..=4 {
        let next = pair.session(A).received() + 1;
        let name = Target::host(k);
        let head = message(next, 0, &[&|buf| write_data(buf, name, &announced, &[])]);
        rules.push(pair.inject(A, head).map_err(|violation| violation.rule));
    }
    assert_eq!(rules, [Ok(()), Ok(()), Ok(()), Err("R19.11")]);
    pair.finish_broken();
}

#[test]
fn a_stream_among_the_items_of_another_waits_for_a_place() {
    // R14.4
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_streams(3),
        ..Setup::default()
    });
    let (outer, import) = stream(&mut pair);
    let mut inner = Vec::new();
    let flag = Flag::new();
    for n in 0..6 {
        let object = pair.nursery.stream();
        let caps = [Cap::Given(object)];
        let waker = flag.waker();
        let mut poll = pair.session(B).poll_send(outer, ARGS[1], &caps, &waker);
        if poll.is_pending() {
            // Two are open beside the outer one. The reader is done with the older.
            assert!(n >= 2);
            pair.drop_handle(A, inner.remove(0));
            pair.settle();
            assert!(flag.take(), "there is a place");
            poll = pair.session(B).poll_send(outer, ARGS[1], &caps, &waker);
        }
        assert_eq!(poll, Poll::Ready(Ok(())));
        drop(caps);
        pair.run();
        let (_, caps) = read(&mut pair, A, import);
        inner.extend(caps.iter().map(harness::import));
    }
    pair.finish();
}

#[test]
fn a_stream_that_is_revoked_with_items_under_way_ends_and_nobody_is_blamed() {
    // R18.13, R22.3
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    send(&mut pair, B, key, SMALL);
    send(&mut pair, B, key, &items(LONG));
    pair.transmit(B);
    pair.deliver(A, 2);
    let object = pair.end(B).streams[0].0.clone();
    pair.revoke(B, &object);
    pair.settle();
    read(&mut pair, A, import);
    assert_eq!(end(&mut pair, A, import).unwrap().code, Code::Broken);
    drop(object);
    pair.finish();
}
