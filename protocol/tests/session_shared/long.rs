//! Payloads above 65,536 bytes: in PARTs, in order with what is behind them, given up only when nobody wants them (R18).

use bytes::Bytes;

use super::*;

const LONG: usize = 300_000;

#[test]
fn a_long_snapshot_arrives_whole_and_nothing_is_numbered_before_its_last_part() {
    // R18.1, R18.6, R20.2
    let mut pair = Pair::new();
    let (_, import) = shared(&mut pair);
    let follow = pair.session(A).follow(import, 1 << 20, None).unwrap();
    pair.run();
    let key = subscriber(&mut pair);
    let long = Bytes::from(bytes(LONG));
    let sent = pair.session(B).publish(key, snap(1), &long, &[]);
    assert_eq!(sent, Poll::Ready(Ok(())));
    // There is credit for more, but it is not its turn.
    assert!(!pair.session(B).publishable(key));
    assert!(try_publish(&mut pair, key, delta(1, 2), &[1]).is_pending());
    pair.transmit(B);
    assert!(said(&mut pair, B).is_empty());
    pair.deliver(A, usize::MAX);
    assert!(updates(&mut pair, follow).is_empty(), "not whole");
    // The rest of it goes behind an ack.
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    pair.transmit(B);
    assert!(matches!(said(&mut pair, B)[..], [Shared::Room(room)] if room == key));
    publish(&mut pair, key, delta(1, 2), &[1]);
    pair.run();
    let updates = updates(&mut pair, follow);
    assert_eq!(*updates[0].payload, *long);
    assert_eq!(updates[1].change, delta(1, 2));
    pair.finish();
}

#[test]
fn a_delta_and_an_end_wait_behind_a_snapshot_in_parts() {
    // R18.6: another implementation may send them ahead of its PARTs.
    let mut pair = Pair::new();
    let (_, import) = shared(&mut pair);
    let follow = pair.session(A).follow(import, 1 << 20, None).unwrap();
    pair.run();
    let value = bytes(70_000);
    let head = pair.session(B).sent() + 1;
    let mut announced = Vec::new();
    put_transfer(&mut announced, value.len() as u64);
    let k = Target::host(1);
    let frames: [Writer<'_>; 3] = [
        &|buf| write_snap(buf, k, EPOCH, 1, &TYPE, &announced, &[]),
        &|buf| write_delta(buf, k, 1, 2, &[1], &[], None),
        &|buf| write_end(buf, k, None, "", &[]),
    ];
    let got = pair.session(B).received();
    pair.inject(A, message(head, got, &frames)).unwrap();
    assert!(said(&mut pair, A).is_empty());
    let (first, second) = value.split_at(65_000);
    let part = |buf: &mut Vec<u8>| write_part(buf, head, Some(first));
    pair.inject(A, message(head + 3, got, &[&part])).unwrap();
    assert!(said(&mut pair, A).is_empty());
    let part = |buf: &mut Vec<u8>| write_part(buf, head, Some(second));
    pair.inject(A, message(head + 4, got, &[&part])).unwrap();
    let said = said(&mut pair, A);
    let [
        Shared::Update(_, first),
        Shared::Update(_, second),
        Shared::Ended(key, None),
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!((first.change, &*first.payload), (snap(1), &value[..]));
    assert_eq!((second.change, *key), (delta(1, 2), follow));
    assert_eq!(pair.session(A).sizes().follows, 0);
    pair.finish_broken();
}

#[test]
fn a_node_in_parts_is_scanned_as_a_node() {
    // E4.12, E4.11
    for (depth, good) in [(128, true), (129, false)] {
        let mut pair = Pair::new();
        live(&mut pair);
        let mut node = vec![0x91; depth];
        node.push(0xc6);
        node.extend(65_600_u32.to_be_bytes());
        node.resize(node.len() + 65_600, 0);
        let mut announced = Vec::new();
        put_transfer(&mut announced, node.len() as u64);
        let k = Target::host(1);
        let head = pair.session(B).sent() + 1;
        let (first, second) = node.split_at(60_000);
        let frames: [Writer<'_>; 3] = [
            &|buf| write_delta(buf, k, 1, 2, &announced, &[], None),
            &|buf| write_part(buf, head, Some(first)),
            &|buf| write_part(buf, head, Some(second)),
        ];
        let taken = inject(&mut pair, A, &frames);
        let came = said(&mut pair, A).len();
        if good {
            assert_eq!((taken, came), (Ok(()), 1));
        } else {
            assert_eq!((taken.unwrap_err().rule, came), ("E4.2", 0));
        }
        pair.finish_broken();
    }
}

#[test]
fn a_payload_under_way_is_given_up_once_it_is_not_wanted() {
    // R18.15, R18.14: by SYNC 0, SYNC 1, RELEASE, BROKEN and END; the next one finds its slot.
    for how in ["stop", "restart", "release", "revoke", "end"] {
        let mut pair = Pair::with(&Setup {
            limits: Limits::default().with_transfers(1),
            ..Setup::default()
        });
        let (_, import) = shared(&mut pair);
        let follow = follow(&mut pair, import, None);
        pair.run();
        let (hosted, key, _) = subscribed(&mut pair);
        let (other, second) = live(&mut pair);
        let object = pair.object();
        let caps = [Cap::Given(object.clone())];
        let value = bytes(LONG);
        publish_caps(&mut pair, key, snap(1), &value, &caps);
        drop((caps, object));
        let waits = try_publish(&mut pair, second, delta(1, 2), &bytes(70_000));
        assert!(waits.is_pending(), "one slot");
        assert!(said(&mut pair, B).is_empty());
        pair.transmit(B);
        pair.deliver(A, usize::MAX);
        match how {
            "stop" => pair.session(A).unfollow(follow),
            "restart" => _ = super::follow(&mut pair, follow.import(), None),
            "release" => pair.drop_handle(A, follow.import()),
            "revoke" => pair.revoke(B, &hosted),
            _ => pair
                .session(B)
                .end_subscription(key, Fault::new(Code::Exhausted, "slow")),
        }
        pair.settle();
        assert_eq!(pair.session(B).sizes().transfers, 0, "{how}");
        assert_eq!(pair.session(A).sizes().transfers, 0, "{how}");
        let told = said(&mut pair, B);
        assert!(
            told.iter()
                .any(|said| matches!(said, Shared::Room(room) if *room == second)),
            "{how}: {told:?}"
        );
        let ends = said(&mut pair, A)
            .into_iter()
            .filter(|said| matches!(said, Shared::Ended(key, Some(_)) if *key == follow));
        assert_eq!(ends.count(), usize::from(matches!(how, "revoke" | "end")));
        publish(&mut pair, second, delta(1, 2), &bytes(70_000));
        pair.settle();
        assert_eq!(changes(&mut pair, other), [delta(1, 2)], "{how}");
        drop((hosted, told));
        pair.finish();
    }
}

#[test]
fn an_abort_of_what_is_followed_is_a_violation() {
    // R18.15
    let mut pair = Pair::new();
    live(&mut pair);
    let mut announced = Vec::new();
    put_transfer(&mut announced, 70_000);
    let k = Target::host(1);
    let head = pair.session(B).sent() + 1;
    let frames: [Writer<'_>; 2] = [
        &|buf| write_snap(buf, k, EPOCH, 1, &TYPE, &announced, &[]),
        &|buf| write_part(buf, head, None),
    ];
    let violation = inject(&mut pair, A, &frames).unwrap_err();
    assert_eq!(violation.rule, "R18.15");
    pair.finish_broken();
}

#[test]
fn a_snapshot_that_is_given_up_in_the_message_that_acks_a_restart_is_forgiven() {
    // R18.15, R20.8: its head was gathered before B read the SYNC 1.
    let mut pair = Pair::new();
    let (old, key) = live(&mut pair);
    publish(&mut pair, key, snap(2), &bytes(LONG));
    let new = follow(&mut pair, old.import(), None);
    pair.transmit(A);
    pair.deliver(B, usize::MAX);
    let Some(Shared::Subscribed(_, key, _)) = said(&mut pair, B).pop() else {
        panic!("not started over");
    };
    publish(&mut pair, key, snap(3), &bytes(LONG));
    pair.settle();
    assert_eq!(changes(&mut pair, new), [snap(3)]);
    assert_eq!(pair.session(A).sizes().transfers, 0);
    pair.finish();
}

#[test]
fn a_payload_above_the_frame_limit_is_refused_and_the_subscription_stands() {
    // R18.8
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_frame(70_000),
        ..Setup::default()
    });
    let (follow, key) = followed(&mut pair);
    let refused = try_publish(&mut pair, key, snap(1), &bytes(70_001));
    assert!(matches!(refused, Poll::Ready(Err(fault)) if fault.code == Code::Exhausted));
    publish(&mut pair, key, snap(1), &bytes(70_000));
    pair.settle();
    assert_eq!(changes(&mut pair, follow), [snap(1)]);
    pair.finish();
}

#[test]
fn the_broken_of_what_is_under_way_goes_ahead_of_what_waits_for_its_slot() {
    // R18.15, R18.14, R22.3: the abort does, and it is right only behind the BROKEN.
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_transfers(1),
        ..Setup::default()
    });
    let (_, import) = shared(&mut pair);
    let follow = follow(&mut pair, import, None);
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    let (hosted, key, _) = subscribed(&mut pair);
    publish(&mut pair, key, snap(1), &bytes(LONG));
    let running = pair.started(B);
    let long = value(100_000);
    pair.respond(B, running, Reply::Shared(&long, &[]));
    pair.transmit(B);
    pair.deliver(A, 2);
    pair.revoke(B, &hosted);
    pair.settle();
    let end = ended(&mut pair, follow).expect("a fault");
    assert_eq!(end.code, Code::Broken);
    pair.ok(A, call);
    drop(hosted);
    pair.finish();
}
