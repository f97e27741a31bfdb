//! Who may send what, and when: credit, room, one payload at a time (R20.1, R20.2, R19.7).

use super::*;

#[test]
fn a_follower_gets_a_snapshot_and_then_the_deltas_in_order() {
    // R20.4, R20.5, R15.1, R10.1
    let mut pair = Pair::new();
    let (object, import) = shared(&mut pair);
    let follow = follow(&mut pair, import, None);
    let mark = 0;
    pair.run();
    let (subscribed, key, have) = subscribed(&mut pair);
    assert_eq!((subscribed, have), (object, None));
    assert_eq!(syncs(&mut pair, mark), [(1, 1, u64::from(WINDOW), None)]);
    let inner = pair.object();
    publish_caps(
        &mut pair,
        key,
        snap(5),
        ARGS[1],
        &[Cap::Given(inner.clone())],
    );
    let hashed = Change::Delta {
        from: 5,
        to: 6,
        hash: Some(*b"12345678"),
    };
    publish(&mut pair, key, hashed, &[0x91, 1]);
    publish_caps(
        &mut pair,
        key,
        delta(6, 9),
        ARGS[1],
        &[Cap::Given(inner.clone())],
    );
    pair.run();
    let updates = updates(&mut pair, follow);
    let got: Vec<_> = updates.iter().map(|update| update.change).collect();
    assert_eq!(got, [snap(5), hashed, delta(6, 9)]);
    assert_eq!(
        (&*updates[0].payload, &*updates[1].payload),
        (ARGS[1], &[0x91, 1][..])
    );
    // One object, one reference, introduced in the frames themselves.
    assert_eq!(import_of(&updates[0]), import_of(&updates[2]));
    assert_eq!(updates[0].cost, ARGS[1].len() as u64 + 2 * OVERHEAD);
    assert_eq!(updates[1].cost, 2 + OVERHEAD);
    drop(inner);
    pair.finish();
}

fn import_of(update: &Update<TestObject>) -> ImportKey {
    harness::import(&update.caps[0])
}

#[test]
fn without_credit_nothing_goes_and_room_is_said_once_when_some_comes() {
    // R19.7, R20.2: nothing is kept for a subscriber, so what it gets next is made when it may go.
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    // All but one byte of credit, and then as much as it likes, once.
    publish(
        &mut pair,
        key,
        delta(1, 2),
        &bytes(WINDOW as usize - 64 - 1 - 65),
    );
    assert!(pair.session(B).publishable(key));
    publish(&mut pair, key, delta(2, 3), &bytes(PAYLOAD_MAX));
    assert!(!pair.session(B).publishable(key));
    assert!(try_publish(&mut pair, key, delta(3, 4), &[1]).is_pending());
    pair.session(B).want(key);
    pair.settle();
    assert!(said(&mut pair, B).is_empty(), "there is none");
    for update in updates(&mut pair, follow) {
        pair.session(A).grant(follow, update.cost);
    }
    pair.run();
    assert!(
        matches!(said(&mut pair, B)[..], [Shared::Room(room)] if room == key),
        "once"
    );
    assert!(pair.session(B).publishable(key));
    pair.session(B).want(key);
    assert!(matches!(said(&mut pair, B)[..], [Shared::Room(_)]));
    publish(&mut pair, key, delta(3, 4), &[1]);
    pair.run();
    assert_eq!(changes(&mut pair, follow), [delta(3, 4)]);
    pair.finish();
}

#[test]
fn small_updates_do_not_cost_a_sync_each() {
    // R19.7, R19.2: credit goes back by half of the window, and all of it.
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    let mark = pair.mark(A);
    for rev in 1..2_000 {
        publish(&mut pair, key, delta(rev, rev + 1), &[1]);
        pair.run();
        let update = update(&mut pair, follow);
        pair.session(A).grant(follow, update.cost);
    }
    pair.run();
    let syncs = syncs(&mut pair, mark);
    assert!(syncs.len() <= 2_000 * 65 / (WINDOW as usize / 2) + 1);
    assert!(
        syncs
            .iter()
            .all(|(_, mode, n, _)| *mode == 2 && *n >= 5_000)
    );
    pair.finish();
}

#[test]
fn no_more_goes_back_than_came() {
    // R19.4: a driver that gives back twice does not widen the window.
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    publish(&mut pair, key, delta(1, 2), &bytes(20_000));
    pair.run();
    let update = update(&mut pair, follow);
    let mark = pair.mark(A);
    for _ in 0..3 {
        pair.session(A).grant(follow, update.cost);
        pair.session(A).grant(follow, u64::MAX);
    }
    pair.run();
    let granted: u64 = syncs(&mut pair, mark).iter().map(|(_, _, n, _)| n).sum();
    assert_eq!(granted, update.cost + 65, "and the SNAP's");
    pair.finish();
}

#[test]
fn a_subscriber_waits_for_room_in_the_replay_buffer() {
    // R20.2, S5.2
    let mut pair = Pair::with(&Setup {
        replay: Some(200_000),
        ..Setup::default()
    });
    let subscribers: Vec<_> = (0..4).map(|_| live(&mut pair)).collect();
    let mut sent = 0;
    for (_, key) in &subscribers {
        let polled = try_publish(&mut pair, *key, delta(1, 2), &bytes(60_000));
        sent += usize::from(polled.is_ready());
    }
    assert_eq!(sent, 2, "two fill it");
    pair.settle();
    let rooms: Vec<_> = said(&mut pair, B)
        .into_iter()
        .filter_map(|said| match said {
            Shared::Room(key) => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(rooms, [subscribers[2].1, subscribers[3].1]);
    pair.finish();
}

#[test]
fn two_subscribers_of_one_object_do_not_wait_for_each_other() {
    // R20.1, R6.4: a target has one subscription; an object with two names has two.
    let mut pair = Pair::new();
    let (object, named) = shared(&mut pair);
    let root = pair.root(A);
    let opened = pair.open(A, root, &[]);
    pair.run();
    let running = pair.started(B);
    pair.ret_handle(B, running, Cap::Given(object.clone()));
    pair.run();
    let (by_name, by_open) = (
        follow(&mut pair, named, None),
        follow(&mut pair, opened, Some((EPOCH, 4))),
    );
    pair.run();
    let told = said(&mut pair, B);
    let [
        Shared::Subscribed(first, slow, None),
        Shared::Subscribed(second, fast, Some((EPOCH, 4))),
    ] = &told[..]
    else {
        panic!("not two subscriptions: {told:?}");
    };
    assert_eq!((first, second), (&object, &object));
    publish(&mut pair, *slow, snap(4), &bytes(WINDOW as usize));
    assert!(!pair.session(B).publishable(*slow));
    publish(&mut pair, *fast, delta(4, 5), &[1]);
    pair.run();
    let said = said(&mut pair, A);
    assert!(
        matches!(&said[..], [Shared::Update(a, _), Shared::Update(b, _)] if (*a, *b) == (by_name, by_open))
    );
    drop((object, told));
    pair.finish();
}

#[test]
fn a_subscription_to_a_pending_open_begins_when_it_is_settled() {
    // I2.3, R20.1, R10.6
    for release in [false, true] {
        let mut pair = Pair::new();
        let root = pair.root(A);
        let import = pair.open(A, root, &[]);
        let follow = follow(&mut pair, import, Some((3, 4)));
        pair.run();
        assert_eq!(kinds(&mut pair, 0)[..2], [2, 14], "in the very next frame");
        assert!(said(&mut pair, B).is_empty());
        if release {
            pair.drop_handle(A, import);
            pair.run();
        }
        let object = pair.object();
        let running = pair.started(B);
        pair.ret_handle(B, running, Cap::Given(object.clone()));
        pair.run();
        if release {
            assert!(said(&mut pair, B).is_empty());
            assert_eq!(pair.session(B).sizes().follows, 0);
        } else {
            let (subscribed, key, have) = subscribed(&mut pair);
            assert_eq!((subscribed, have), (object.clone(), Some((3, 4))));
            publish(&mut pair, key, snap(1), &[1]);
            pair.run();
            assert_eq!(changes(&mut pair, follow), [snap(1)]);
        }
        drop(object);
        pair.finish();
    }
}

#[test]
fn a_subscription_to_an_open_that_is_not_numbered_follows_it() {
    // R4.2, I2.3
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_calls(1),
        ..Setup::default()
    });
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    let import = pair.open(A, root, &[]);
    let first = follow(&mut pair, import, None);
    pair.session(A).unfollow(first);
    assert_eq!(pair.session(A).sizes().follows, 0, "nothing was said");
    follow(&mut pair, import, None);
    pair.run();
    assert_eq!(syncs(&mut pair, 0), []);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.run();
    pair.ok(A, call);
    pair.run();
    assert_eq!(
        syncs(&mut pair, 0),
        [(-2, 1, u64::from(WINDOW), None)],
        "once"
    );
    pair.finish();
}

#[test]
fn syncs_wait_for_room_and_say_together_what_is_due() {
    // S5.4, R20.5
    let mut pair = Pair::with(&Setup {
        replay: Some(100_000),
        ..Setup::default()
    });
    let (_, import) = shared(&mut pair);
    let root = pair.root(A);
    let call = call_with(&mut pair, root, &args(60_000), &[]);
    let first = follow(&mut pair, import, None);
    pair.session(A).unfollow(first);
    let second = follow(&mut pair, import, Some((1, 2)));
    let mark = pair.mark(A);
    pair.transmit(A);
    assert_eq!(kinds(&mut pair, mark), [1], "the buffer is full");
    pair.settle();
    assert_eq!(syncs(&mut pair, mark).len(), 1);
    let (_, key, have) = subscribed(&mut pair);
    assert_eq!(have, Some((1, 2)));
    publish(&mut pair, key, delta(2, 3), &[1]);
    pair.run();
    assert_eq!(changes(&mut pair, second), [delta(2, 3)]);
    let running = pair.started(B);
    pair.ret(B, running);
    pair.settle();
    pair.ok(A, call);
    pair.finish();
}

#[test]
fn subscriptions_above_the_quota_end_as_exhausted() {
    // R14.5, R11.7
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_subs(2),
        ..Setup::default()
    });
    let (first, key) = live(&mut pair);
    let (second, _) = live(&mut pair);
    let (_, third) = shared(&mut pair);
    let refused = pair.session(A).follow(third, WINDOW, None).unwrap_err();
    assert_eq!(refused.code, Code::Exhausted, "known here already");
    // Starting over takes no place.
    let again = follow(&mut pair, first.import(), None);
    pair.run();
    assert!(matches!(
        said(&mut pair, B)[..],
        [Shared::Unsubscribed(old), Shared::Subscribed(..)] if old == key
    ));
    // A peer that does not know it.
    let mark = pair.mark(B);
    let sync = |buf: &mut Vec<u8>| write_sync(buf, Target::host(3), 1, 100, None);
    inject(&mut pair, B, &[&sync]).unwrap();
    pair.transmit(B);
    let frames = pair.frames(B, mark);
    assert!(matches!(
        frames[..],
        [Read { frame: Frame::End { target, code: Some(7), .. }, .. }] if target == Target::host(3)
    ));
    assert_eq!(pair.session(B).sizes().follows, 2);
    _ = (again, second);
    pair.finish_broken();
}

#[test]
fn a_thousand_idle_subscriptions_cost_under_two_hundred_bytes_each() {
    // R14.5: what the issue promises of an idle subscription.
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_subs(2_000),
        ..Setup::default()
    });
    let imports: Vec<_> = (0..1_792).map(|_| shared(&mut pair).1).collect();
    let frames: Vec<_> = (1..=imports.len() as u64)
        .map(|k| move |buf: &mut Vec<u8>| write_sync(buf, Target::host(k), 1, 100, None))
        .collect();
    let frames: Vec<Writer<'_>> = frames.iter().map(|frame| frame as Writer<'_>).collect();
    let (sent, got) = (pair.session(A).sent(), pair.session(A).received());
    let message = message(sent + 1, got, &frames);
    let mut kept = 0;
    let took = allocation_counter::measure(|| {
        pair.session(B).receive(&message).unwrap();
        // What the driver is told is its own.
        while pair.session(B).poll_event().is_some() {
            kept += 1;
        }
    });
    assert_eq!(kept, imports.len());
    // Among it the read frames and the queue of events, which do not stay.
    let queue = kept.next_power_of_two() * size_of::<helve_protocol::session::Event<TestObject>>();
    let each = (took.bytes_current as usize - queue) / kept;
    assert!(each < 200, "{each} bytes each");
    pair.finish_broken();
}
