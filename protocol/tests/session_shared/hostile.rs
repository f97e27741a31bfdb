//! Peers that do as they like with shared values.

use super::*;

/// The frames that a peer sends to `side` without having been asked, and the rule that they break the 65th time.
#[track_caller]
fn strikes(pair: &mut Pair, side: Side, frame: Writer<'_>) {
    for n in 1..=65 {
        let (sent, got) = (
            pair.session(side.other()).sent(),
            pair.session(side.other()).received(),
        );
        let taken = pair.inject(side, message(sent + n, got, &[frame]));
        match taken {
            Ok(()) => assert!(n < 65),
            Err(violation) => assert_eq!((n, violation.rule), (65, "R11.3")),
        }
    }
}

#[test]
fn a_sync_of_nothing_counts_as_what_names_nothing() {
    // R20.5, R11.3
    for mode in 0..=2 {
        for target in [Target::host(9), Target::open(9)] {
            let mut pair = Pair::new();
            let sync = |buf: &mut Vec<u8>| write_sync(buf, target, mode, 10, None);
            strikes(&mut pair, B, &sync);
            assert_eq!(pair.session(B).sizes().follows, 0);
            pair.finish_broken();
        }
    }
}

#[test]
fn a_sync_that_may_cross_an_end_is_none() {
    // R20.8
    let mut pair = Pair::new();
    let (_, key) = live(&mut pair);
    pair.session(B)
        .end_subscription(key, Fault::new(Code::Exhausted, "slow"));
    for n in 1..=200_u64 {
        let mode = if n % 2 == 0 { 0 } else { 2 };
        let sync = |buf: &mut Vec<u8>| write_sync(buf, Target::host(1), mode, 10, None);
        let (sent, got) = (pair.session(A).sent(), pair.session(A).received());
        pair.inject(B, message(sent + n, got, &[&sync])).unwrap();
    }
    pair.finish_broken();
}

#[test]
fn an_update_of_what_is_not_followed_counts_as_what_names_nothing() {
    // R11.3, R11.11: of a handle that is not followed, of the root, of a name that was never given.
    for target in [
        Target::host(1),
        Target::ROOT,
        Target::host(5),
        Target::open(9),
    ] {
        let mut pair = Pair::new();
        shared(&mut pair);
        let update = |buf: &mut Vec<u8>| write_delta(buf, target, 1, 2, &[1], &[], None);
        strikes(&mut pair, A, &update);
        pair.finish_broken();
    }
    // Of one that was released it is dropped.
    let mut pair = Pair::new();
    let (follow, _) = live(&mut pair);
    pair.drop_handle(A, follow.import());
    pair.settle();
    for n in 1..=200_u64 {
        let cap = [Descriptor::new(Tag::Mine, 50 + n)];
        let update =
            |buf: &mut Vec<u8>| write_delta(buf, Target::host(1), 1, 2, ARGS[1], &cap, None);
        let (sent, got) = (pair.session(B).sent(), pair.session(B).received());
        pair.inject(A, message(sent + n, got, &[&update])).unwrap();
    }
    assert_eq!(pair.session(A).sizes().imports, 0);
    pair.finish_broken();
}

#[test]
fn an_update_without_credit_is_a_violation() {
    // R19.7, R19.8: references cost too, so that nothing makes a reader keep what it did not allow.
    let many = [Descriptor::new(Tag::Yours, 0); 255];
    let cases: [(usize, &[Descriptor], usize); 3] = [
        (5, &[], (WINDOW as usize - 65).div_ceil(5 + 64)),
        (5, &many, 1),
        (PAYLOAD_MAX, &[], 1),
    ];
    for (len, caps, most) in cases {
        let mut pair = Pair::new();
        live(&mut pair);
        let node = bytes(len);
        let update = |buf: &mut Vec<u8>| write_delta(buf, Target::host(1), 1, 2, &node, caps, None);
        let (first, got) = (pair.session(B).sent() + 1, pair.session(B).received());
        for n in 0..=most {
            let taken = pair.inject(A, message(first + n as u64, got, &[&update]));
            match taken {
                Ok(()) => assert!(n < most, "DELTA {n} of {most}"),
                Err(violation) => assert_eq!((n, violation.rule), (most, "R19.7")),
            }
        }
        pair.finish_broken();
    }
}

#[test]
fn credit_above_two_gibibytes_is_a_violation() {
    // R19.4, R19.7
    let most = i32::MAX as u64;
    for (mode, n, good) in [
        (1, most, true),
        (1, most + 1, false),
        (2, most - u64::from(WINDOW), true),
        (2, most - u64::from(WINDOW) + 66, false),
        (2, (1 << 53) - 1, false),
    ] {
        let mut pair = Pair::new();
        live(&mut pair);
        let sync = |buf: &mut Vec<u8>| write_sync(buf, Target::host(1), mode, n, None);
        let taken = inject(&mut pair, B, &[&sync]).map_err(|v| v.rule);
        assert_eq!(
            taken,
            if good { Ok(()) } else { Err("R19.4") },
            "{mode} {n}"
        );
        pair.finish_broken();
    }
}

#[test]
fn a_payload_brings_up_to_4096_references() {
    // I3.5, R15.1, E4.8
    let mut pair = Pair::new();
    let (follow, key) = followed(&mut pair);
    let objects: Vec<_> = (0..=CAPS_MAX_WIDE).map(|_| pair.object()).collect();
    let caps: Vec<_> = objects.iter().cloned().map(Cap::Given).collect();
    let mut value = vec![0xdc, 0x10, 0x00];
    for i in 0..CAPS_MAX_WIDE {
        match u8::try_from(i) {
            Ok(i) => value.extend([0xd4, 1, i]),
            Err(_) => value.extend([0xd5, 1, (i >> 8) as u8, i as u8]),
        }
    }
    let refused = pair.session(B).publish(key, snap(1), &value[..], &caps);
    assert!(matches!(refused, Poll::Ready(Err(fault)) if fault.code == Code::Exhausted));
    assert_eq!(pair.session(B).sizes().exports, 1, "none was counted");
    publish_caps(&mut pair, key, snap(1), &value, &caps[1..]);
    pair.run();
    let update = update(&mut pair, follow);
    assert_eq!(update.caps.len(), CAPS_MAX_WIDE);
    drop((objects, caps));
    // A peer that sends one more.
    let many = vec![Descriptor::new(Tag::Yours, 0); CAPS_MAX_WIDE + 1];
    let wide = |buf: &mut Vec<u8>| write_snap(buf, Target::host(1), EPOCH, 1, &TYPE, &[1], &many);
    let violation = inject(&mut pair, A, &[&wide]).unwrap_err();
    assert_eq!(violation.rule, "I3.5");
    pair.finish_broken();
}

#[test]
fn references_beyond_the_table_arrive_broken() {
    // I3.7
    let mut pair = Pair::with(&Setup {
        limits: Limits::default().with_table(3),
        ..Setup::default()
    });
    let (follow, _) = followed(&mut pair);
    let caps: Vec<_> = (50..60).map(|k| Descriptor::new(Tag::Mine, k)).collect();
    let frame = |buf: &mut Vec<u8>| write_snap(buf, Target::host(1), EPOCH, 1, &TYPE, &[1], &caps);
    inject(&mut pair, A, &[&frame]).unwrap();
    let update = update(&mut pair, follow);
    let broken = |cap: &&Received<TestObject>| matches!(cap, Received::Broken(fault) if fault.code == Code::Exhausted);
    assert_eq!(update.caps.iter().filter(broken).count(), 8);
    pair.finish_broken();
}

#[test]
fn a_lent_reference_is_not_published() {
    // R3.1
    let mut pair = Pair::new();
    let (_, key) = followed(&mut pair);
    let object = pair.object();
    let caps = [Cap::Lent(object.clone())];
    let refused = pair.session(B).publish(key, snap(1), ARGS[1], &caps);
    assert!(matches!(refused, Poll::Ready(Err(fault)) if fault.code == Code::Denied));
    drop((caps, object));
    pair.finish();
}

#[test]
fn revisions_that_name_nothing_hold_no_result() {
    // R10.5
    let mut pair = Pair::new();
    let (follow, _) = live(&mut pair);
    let root = pair.root(A);
    let call = pair.call(A, root, &[]);
    pair.run();
    let id = pair.id(A, call).expect("numbered");
    let seen: Vec<_> = (2..1_000).map(|k| (Target::host(k), 9)).collect();
    let ret = |buf: &mut Vec<u8>| {
        helve_protocol::frame::write_ret(buf, id, &[0xc0], &[], &seen);
    };
    inject(&mut pair, A, &[&ret]).unwrap();
    pair.ok(A, call);
    assert!(pair.session(A).is_following(follow));
    pair.finish_broken();
}
