//! How a subscription ends: END, RELEASE, BROKEN, a stall, the session (R20.7, R17, R22.3).

use super::*;

#[test]
fn an_end_is_told_and_the_value_may_be_followed_again() {
    // R20.7, C1.2
    for (fault, want) in [
        (Fault::new(Code::Incompatible, "no"), Code::Incompatible),
        (Fault::new(Code::SessionLost, "elsewhere"), Code::Internal),
    ] {
        let mut pair = Pair::new();
        let (old, key) = live(&mut pair);
        publish(&mut pair, key, delta(1, 2), &[1]);
        pair.session(B).end_subscription(key, fault.clone());
        // A second time has no effect, nor has what is published behind it.
        pair.session(B).end_subscription(key, fault);
        assert!(matches!(
            try_publish(&mut pair, key, delta(2, 3), &[1]),
            Poll::Ready(Err(_))
        ));
        pair.session(B).want(key);
        pair.run();
        let said_a = said(&mut pair, A);
        let [Shared::Update(..), Shared::Ended(ended, Some(fault))] = &said_a[..] else {
            panic!("{said_a:?}");
        };
        assert_eq!((*ended, fault.code), (old, want));
        assert!(said(&mut pair, B).is_empty());
        for side in [A, B] {
            assert_eq!(pair.session(side).sizes().follows, 0, "{side:?}");
        }
        let new = follow(&mut pair, old.import(), Some((EPOCH, 2)));
        pair.run();
        let key = subscriber(&mut pair);
        publish(&mut pair, key, delta(2, 3), &[1]);
        pair.run();
        assert_eq!(changes(&mut pair, new), [delta(2, 3)]);
        pair.finish();
    }
}

#[test]
fn what_is_sent_behind_an_end_counts_as_what_names_nothing_or_is_a_violation() {
    // R20.7, R11.3
    let k = Target::host(1);
    let end = |buf: &mut Vec<u8>| write_end(buf, k, None, "", &[]);
    let delta = |buf: &mut Vec<u8>| write_delta(buf, k, 1, 2, &[1], &[], None);
    let mut pair = Pair::new();
    live(&mut pair);
    let frames: Vec<Writer<'_>> = std::iter::once(&end as Writer<'_>)
        .chain([&delta as Writer<'_>; 65])
        .collect();
    let violation = inject(&mut pair, A, &frames).unwrap_err();
    assert_eq!(violation.rule, "R11.3");
    pair.finish_broken();
    // While a payload before the END is under way, the subscription is not over yet.
    let mut announced = Vec::new();
    put_transfer(&mut announced, 70_000);
    let long = |buf: &mut Vec<u8>| write_snap(buf, k, EPOCH, 1, &TYPE, &announced, &[]);
    for last in [&delta as Writer<'_>, &end] {
        let mut pair = Pair::new();
        live(&mut pair);
        let violation = inject(&mut pair, A, &[&long, &end, last]).unwrap_err();
        assert_eq!(violation.rule, "R20.7");
        pair.finish_broken();
    }
}

#[test]
fn a_released_name_ends_its_subscription() {
    // R20.9, R1.3
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    pair.session(B).want(key);
    assert!(matches!(said(&mut pair, B)[..], [Shared::Room(_)]));
    publish(&mut pair, key, delta(1, 2), &[1]);
    let mark = pair.mark(A);
    pair.drop_handle(A, follow.import());
    assert!(!pair.session(A).is_following(follow));
    pair.settle();
    unsubscribed(&mut pair, key);
    // R20.12, R4.1: SYNC 0, then RELEASE.
    assert_eq!(kinds(&mut pair, mark), [14, 7]);
    assert_eq!(pair.session(A).sizes().follows, 0);
    assert!(said(&mut pair, A).is_empty(), "who released it knows");
    assert_eq!(pair.session(B).sizes().exports, 0);
    // What the host still says has no effect.
    pair.session(B)
        .end_subscription(key, Fault::new(Code::Exhausted, ""));
    assert!(!pair.session(B).wants_transmit());
    pair.finish();
}

#[test]
fn a_release_that_crosses_a_new_mention_leaves_the_subscription_alone() {
    // R1.6, R20.9
    let mut pair = Pair::new();
    let (object, import) = shared(&mut pair);
    follow(&mut pair, import, None);
    pair.run();
    let key = subscriber(&mut pair);
    pair.give(&object);
    let release = |buf: &mut Vec<u8>| write_release(buf, &[(Target::host(1), 1)]);
    inject(&mut pair, B, &[&release]).unwrap();
    assert!(pair.session(B).is_subscribed(key));
    drop(object);
    pair.finish_broken();
}

#[test]
fn a_value_that_is_revoked_ends_what_follows_it() {
    // R22.3, R22.5, R20.9
    let mut pair = Pair::new();
    let (object, import) = shared(&mut pair);
    let first = follow(&mut pair, import, None);
    pair.run();
    let key = subscriber(&mut pair);
    pair.revoke(B, &object);
    unsubscribed(&mut pair, key);
    // A SYNC that crosses the BROKEN gets its END, and that one is late.
    let again = follow(&mut pair, import, None);
    pair.settle();
    let end = ended(&mut pair, again).expect("a fault");
    assert_eq!(end.code, Code::Broken);
    let refused = pair.session(A).follow(import, WINDOW, None).unwrap_err();
    assert_eq!(refused.code, Code::Broken);
    for side in [A, B] {
        assert_eq!(pair.session(side).sizes().follows, 0, "{side:?}");
    }
    _ = first;
    drop(object);
    pair.finish();
}

#[test]
fn what_cannot_be_followed_says_so() {
    // R20.6, R2.3, R3.5: a lent one, one's own, and what an OPEN failed to lead to.
    let mut pair = Pair::new();
    let root = pair.root(A);
    let failing = pair.open(A, root, &[]);
    let second = follow(&mut pair, failing, None);
    pair.run();
    let running = pair.started(B);
    pair.ret_err(B, running, Code::Denied, "not you");
    pair.settle();
    assert_eq!(ended(&mut pair, second).map(|f| f.code), Some(Code::Denied));
    // A call from B lends A something of B's.
    let root = pair.root(B);
    let mine = pair.object();
    let call = pair.call(B, root, &[Cap::Lent(mine.clone())]);
    pair.run();
    let mut running = pair.started(A);
    let lent = harness::import(&pair.keep(A, &mut running)[0]);
    let refused = pair.session(A).follow(lent, WINDOW, None).unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    pair.ret(A, running);
    pair.run();
    pair.ok(B, call);
    assert_eq!(pair.session(A).sizes().follows, 0);
    drop(mine);
    pair.finish();
}

#[test]
fn what_is_forwarded_can_be_followed_until_it_breaks() {
    // R9.4, R20.6
    let mut pair = Pair::new();
    let elsewhere = pair.nursery.forwarded();
    let import = pair.give(&elsewhere);
    let first = follow(&mut pair, import, None);
    pair.run();
    let key = subscriber(&mut pair);
    publish(&mut pair, key, delta(1, 2), &[1]);
    pair.run();
    assert!(pair.session(B).is_subscribed(key));
    pair.revoke(B, &elsewhere);
    unsubscribed(&mut pair, key);
    let again = follow(&mut pair, import, None);
    pair.settle();
    let end = ended(&mut pair, again).expect("a fault");
    assert_eq!(end.code, Code::Broken);
    _ = first;
    drop(elsewhere);
    pair.finish();
}

#[test]
fn an_opened_handle_to_ones_own_value_cannot_be_followed() {
    // R6.3, R20.6
    let mut pair = Pair::new();
    let own = pair.object();
    let root = pair.root(A);
    let reflected = pair.open(A, root, &[Cap::Given(own.clone())]);
    let follow = follow(&mut pair, reflected, None);
    pair.run();
    let mut running = pair.started(B);
    let given = harness::import(&pair.keep(B, &mut running)[0]);
    pair.ret_handle(B, running, Cap::Import(given));
    pair.settle();
    assert_eq!(
        ended(&mut pair, follow).map(|f| f.code),
        Some(Code::Unimplemented)
    );
    drop(own);
    pair.finish();
}

#[test]
fn the_end_of_a_session_ends_every_subscription_once() {
    // R17.2, R17.3, S8.3
    let mut pair = Pair::new();
    let (first, one) = live(&mut pair);
    let (second, two) = live(&mut pair);
    let (_, third) = shared(&mut pair);
    publish(&mut pair, one, delta(1, 2), &[1]);
    publish(&mut pair, two, snap(2), &bytes(300_000));
    pair.transmit(B);
    pair.deliver(A, 3);
    let unsaid = follow(&mut pair, third, None);
    pair.session(B).want(one);
    for side in [A, B] {
        pair.session(side).end(lost());
        assert_eq!(pair.session(side).sizes().follows, 0, "{side:?}");
    }
    let told = said(&mut pair, B);
    let keys = told.iter().filter_map(|said| match said {
        Shared::Unsubscribed(key) => Some(*key),
        _ => None,
    });
    assert_eq!(keys.collect::<Vec<_>>(), [one, two]);
    let mut ends = Vec::new();
    for said in said(&mut pair, A) {
        match said {
            Shared::Update(key, update) => assert_eq!((key, update.change), (first, delta(1, 2))),
            Shared::Ended(key, Some(fault)) if fault.code == Code::SessionLost => ends.push(key),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, [first, second, unsaid]);
    assert!(pair.session(A).follow(third, WINDOW, None).is_err());
    assert!(matches!(
        try_publish(&mut pair, one, delta(2, 3), &[1]),
        Poll::Ready(Err(_))
    ));
    pair.finish_broken();
}

#[test]
fn a_drain_waits_for_no_subscription_and_ends_none() {
    // S9.2
    let mut pair = Pair::new();
    let (follow, key) = live(&mut pair);
    pair.session(B).drain(1_000);
    pair.run();
    publish(&mut pair, key, delta(1, 2), &[1]);
    pair.settle();
    assert_eq!(changes(&mut pair, follow), [delta(1, 2)]);
    assert!(pair.session(B).is_drained());
    pair.finish();
}

#[test]
fn a_subscriber_that_stalls_for_thirty_seconds_is_told_that_it_ended() {
    // R20.10
    let mut pair = Pair::new();
    let (_, import) = shared(&mut pair);
    let follow = pair.session(A).follow(import, 1, None).unwrap();
    pair.run();
    let key = subscriber(&mut pair);
    publish(&mut pair, key, snap(1), &[1]);
    pair.run();
    // Idle without credit is no stall.
    pair.wait(100_000);
    pair.run();
    assert!(pair.session(B).is_subscribed(key));
    pair.session(B).want(key);
    assert!(pair.session(B).timeout().is_some());
    pair.wait(29_000);
    pair.run();
    // A grant, too small for anything to go, is a sign of life.
    pair.session(A).grant(follow, 1);
    pair.run();
    assert!(said(&mut pair, B).is_empty());
    pair.wait(29_999);
    assert!(pair.session(B).is_subscribed(key));
    pair.wait(1);
    unsubscribed(&mut pair, key);
    pair.settle();
    let said = said(&mut pair, A);
    let Some(Shared::Ended(ended, Some(fault))) = said.last() else {
        panic!("{said:?}");
    };
    assert_eq!((*ended, fault.code), (follow, Code::Exhausted));
    assert_eq!(pair.session(B).sizes().follows, 0);
    assert_eq!(pair.session(B).timeout(), None);
    pair.finish();
}

#[test]
fn acks_of_what_is_under_way_are_a_sign_of_life() {
    // R20.10: a slow link may take a minute for one snapshot.
    let mut pair = Pair::new();
    let (follow, key) = followed(&mut pair);
    publish(&mut pair, key, snap(1), &bytes(1 << 20));
    pair.session(B).want(key);
    for _ in 0..3 {
        pair.transmit(B);
        pair.wait(25_000);
        pair.deliver(A, usize::MAX);
        pair.transmit(A);
        pair.deliver(B, usize::MAX);
    }
    assert!(pair.session(B).is_subscribed(key));
    pair.settle();
    assert_eq!(changes(&mut pair, follow), [snap(1)]);
    // Nobody reads what is under way now.
    publish_long_again(&mut pair, follow, key);
    pair.transmit(B);
    pair.wait(30_000);
    unsubscribed(&mut pair, key);
    assert_eq!(pair.session(B).sizes().transfers, 0);
    pair.settle();
    assert_eq!(
        ended(&mut pair, follow).map(|f| f.code),
        Some(Code::Exhausted)
    );
    pair.finish();
}

fn publish_long_again(pair: &mut Pair, follow: FollowKey, key: SubscriberKey) {
    pair.session(A).grant(follow, u64::MAX);
    pair.run();
    said(pair, B);
    publish(pair, key, snap(2), &bytes(1 << 20));
}
