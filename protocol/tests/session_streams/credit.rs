//! What may go, and who waits (R19.2-R19.4, R19.8, S5.3).

use super::*;

#[test]
fn data_goes_while_there_is_credit_and_overdraws_it_once() {
    // R19.2, R19.3, R19.8
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    // 64 bytes for itself: one byte of credit is left.
    send(&mut pair, B, key, &items(STREAM_CREDIT as usize - 64 - 1));
    send(&mut pair, B, key, &items(PAYLOAD_MAX));
    let flag = Flag::new();
    assert!(pair.session(B).poll_data(key, &flag.waker()).is_pending());
    let refused = pair.session(B).poll_send(key, SMALL, &[], &flag.waker());
    assert!(refused.is_pending());
    pair.run();
    assert!(!flag.take());
    for len in [STREAM_CREDIT as usize - 65, PAYLOAD_MAX] {
        assert_eq!(read(&mut pair, A, import).0.len(), len);
    }
    pair.run();
    assert!(flag.take(), "credit came back");
    assert!(ready(&mut pair, B, key).is_ready());
    // All that was used is granted again: 65,536 as at the beginning.
    let used = STREAM_CREDIT - 1 + PAYLOAD_MAX as i64 + 64;
    let granted: u64 = credits(&mut pair, A).iter().sum();
    assert_eq!(granted, used as u64);
    pair.finish();
}

#[test]
fn small_items_do_not_cost_a_credit_each() {
    // R19.2: credit goes back by half of the window.
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    for _ in 0..2_000 {
        send(&mut pair, B, key, SMALL);
        pair.run();
        read(&mut pair, A, import);
    }
    let credits = credits(&mut pair, A);
    assert_eq!(credits.len(), 2_000 * 66 / (STREAM_CREDIT as usize / 2));
    assert!(credits.iter().all(|n| *n >= STREAM_CREDIT as u64 / 2));
    pair.finish();
}

#[test]
fn data_without_credit_is_a_violation() {
    // R19.3, R19.8: nothing that costs no credit makes a reader keep it, nor empty DATA, nor references.
    let many = [Descriptor::new(Tag::Yours, 0); 255];
    let cases: [(usize, &[Descriptor], usize); 3] = [
        (1, &[], 65_536 / 65 + 1),
        (1, &many, 65_536 / (1 + 64 * 256) + 1),
        (PAYLOAD_MAX, &[], 1),
    ];
    for (len, caps, most) in cases {
        let mut pair = Pair::new();
        let (_, import) = stream(&mut pair);
        let body = if len == 1 { vec![0x90] } else { items(len) };
        let data = |buf: &mut Vec<u8>| write_data(buf, Target::host(1), &body, caps);
        let first = pair.session(B).sent() + 1;
        for n in 0..=most {
            let injected = pair.inject(A, message(first + n as u64, 0, &[&data]));
            match injected {
                Ok(()) => assert!(n < most, "DATA {n} of {most}"),
                Err(violation) => {
                    assert_eq!((n, violation.rule), (most, "R19.3"));
                }
            }
        }
        assert!(matches!(
            pull(&mut pair, A, import),
            Poll::Ready(Pulled::Items(..))
        ));
        pair.finish_broken();
    }
}

#[test]
fn credit_above_two_gibibytes_is_a_violation() {
    // R19.4
    for (n, good) in [
        (i32::MAX as u64 - 65_536, true),
        (i32::MAX as u64 - 65_535, false),
        ((1 << 53) - 1, false),
    ] {
        let mut pair = Pair::new();
        stream(&mut pair);
        let credit = |buf: &mut Vec<u8>| write_credit(buf, Target::host(1), n, 0);
        let injected = inject(&mut pair, B, &[&credit]);
        assert_eq!(
            injected.map_err(|v| v.rule),
            if good { Ok(()) } else { Err("R19.4") }
        );
        pair.finish_broken();
    }
}

#[test]
fn credit_adds_up() {
    // R19.2, R19.4
    let mut pair = Pair::new();
    let (key, _) = stream(&mut pair);
    send(&mut pair, B, key, &items(65_500));
    assert!(ready(&mut pair, B, key).is_pending());
    let flag = Flag::new();
    assert!(pair.session(B).poll_data(key, &flag.waker()).is_pending());
    let credit = |buf: &mut Vec<u8>| write_credit(buf, Target::host(1), 28, 0);
    inject(&mut pair, B, &[&credit]).unwrap();
    assert!(ready(&mut pair, B, key).is_pending(), "at 0");
    let first = pair.session(B).received() + 1;
    let credit = |buf: &mut Vec<u8>| write_credit(buf, Target::host(1), 1, 0);
    pair.inject(B, message(first, 0, &[&credit])).unwrap();
    assert!(flag.take());
    assert!(ready(&mut pair, B, key).is_ready());
    pair.finish_broken();
}

#[test]
fn an_end_waits_for_no_credit() {
    // R19.6, R13.12
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    send(&mut pair, B, key, &items(PAYLOAD_MAX));
    pair.session(B).end_stream(key, None);
    pair.run();
    read(&mut pair, A, import);
    assert_eq!(end(&mut pair, A, import), None);
    pair.run();
    assert!(
        credits(&mut pair, A).is_empty(),
        "of what is over, none goes back"
    );
    pair.finish();
}

#[test]
fn data_that_crosses_a_release_is_dropped_and_its_references_are_released() {
    // R11.10, I3.3
    let mut pair = Pair::new();
    let (key, import) = stream(&mut pair);
    let object = pair.object();
    for _ in 0..100 {
        let caps = [Cap::Given(object.clone())];
        let sent = pair
            .session(B)
            .poll_send(key, ARGS[1], &caps, Waker::noop());
        assert_eq!(sent, Poll::Ready(Ok(())));
    }
    pair.session(B).end_stream(key, None);
    pair.drop_handle(A, import);
    // No violation: 100 frames that name nothing would be one.
    pair.settle();
    assert_eq!(pair.session(A).sizes().imports, 0);
    assert_eq!(pair.session(B).sizes().exports, 0);
    drop(object);
    pair.finish();
}

#[test]
fn data_waits_for_room_in_the_replay_buffer() {
    // S5.2, S5.3
    let mut pair = Pair::with(&Setup {
        replay: Some(200_000),
        ..Setup::default()
    });
    let streams: Vec<_> = (0..4).map(|_| stream(&mut pair)).collect();
    let flags: Vec<_> = (0..4).map(|_| Flag::new()).collect();
    let mut sent = 0;
    for ((key, _), flag) in streams.iter().zip(&flags) {
        let polled = pair
            .session(B)
            .poll_send(*key, &items(60_000)[..], &[], &flag.waker());
        sent += usize::from(polled.is_ready());
    }
    assert_eq!(sent, 2, "two fill it");
    pair.settle();
    assert_eq!(
        flags.iter().map(|flag| flag.take()).collect::<Vec<_>>(),
        [false, false, true, true]
    );
    for (key, import) in &streams {
        if !matches!(pull(&mut pair, A, *import), Poll::Ready(_)) {
            send(&mut pair, B, *key, &items(60_000));
            pair.run();
            read(&mut pair, A, *import);
        }
    }
    pair.finish();
}

#[test]
fn an_item_above_the_frame_limit_is_refused_and_the_stream_goes_on() {
    // R18.8
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(70_000),
        ..Setup::default()
    });
    let (key, import) = stream(&mut pair);
    let long = items(70_001);
    let refused = pair
        .session(B)
        .poll_send(key, &long[..], &[], Waker::noop());
    assert!(matches!(refused, Poll::Ready(Err(fault)) if fault.code == Code::Exhausted));
    send(&mut pair, B, key, SMALL);
    pair.run();
    read(&mut pair, A, import);
    pair.finish();
}

#[test]
fn a_slow_reader_stalls_its_own_stream_alone() {
    // R19.3, R10.2
    let mut pair = Pair::new();
    let (slow, unread) = stream(&mut pair);
    let (fast, import) = stream(&mut pair);
    while ready(&mut pair, B, slow).is_ready() {
        send(&mut pair, B, slow, &items(10_000));
        pair.run();
    }
    for _ in 0..100 {
        send(&mut pair, B, fast, &items(10_000));
        pair.settle();
        read(&mut pair, A, import);
        let root = pair.root(A);
        let call = pair.call(A, root, &[]);
        pair.run();
        let run = pair.started(B);
        pair.ret(B, run);
        pair.run();
        pair.ok(A, call);
    }
    assert!(ready(&mut pair, B, slow).is_pending());
    // What it cost to keep: credit and one DATA.
    let mut kept = 0;
    while let Poll::Ready(Pulled::Items(items, _)) = pull(&mut pair, A, unread) {
        kept += items.len();
    }
    assert!(kept <= STREAM_CREDIT as usize + 10_000);
    pair.finish();
}
