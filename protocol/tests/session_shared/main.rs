//! Shared values at the session (R20): `turns` (who may send what, and when), `restart` (SYNC 1 again, SYNC 0, and what
//! crosses them), `long` (payloads in PARTs, R18), `ends` (END, RELEASE, BROKEN, the session), `held` (results that wait
//! for replicas, R10.5), `hostile` (peers that do as they like), `storm` (all of it at random).
#![allow(unreachable_pub, reason = "a test program exports nothing")]

mod ends;
#[path = "../harness/mod.rs"]
mod harness;
mod held;
mod hostile;
mod long;
mod restart;
#[path = "../rings/rng.rs"]
mod rng;
mod storm;
mod turns;

use std::task::Poll;

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{
    Frame, put_transfer, write_delta, write_end, write_part, write_release, write_snap, write_sync,
};
use helve_protocol::limits::{CAPS_MAX_WIDE, PAYLOAD_MAX};
use helve_protocol::session::{
    CallKey, Cap, Change, EndCause, FollowKey, ImportKey, Received, Reply, SubscriberKey, Update,
};
use helve_protocol::{Code, Fault, Limits, Violation};

const EPOCH: u64 = 77;
const WINDOW: u32 = 10_000;
const TYPE: [u8; 16] = [9; 16];
/// What a payload costs besides its bytes, and each of its references (R19.8).
const OVERHEAD: u64 = 64;

fn snap(rev: u64) -> Change {
    snap_of(EPOCH, rev)
}

fn snap_of(epoch: u64, rev: u64) -> Change {
    Change::Snap {
        epoch,
        rev,
        ty: TYPE,
    }
}

fn delta(from: u64, to: u64) -> Change {
    Change::Delta {
        from,
        to,
        hash: None,
    }
}

/// One encoded bin: `len` bytes in all, at least 5.
fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0xc6];
    bytes.extend_from_slice(&((len - 5) as u32).to_be_bytes());
    bytes.resize(len, b'x');
    bytes
}

/// A shared value of B's in the hands of A, not followed yet.
fn shared(pair: &mut Pair) -> (TestObject, ImportKey) {
    let object = pair.object();
    let import = pair.give(&object);
    (object, import)
}

/// The same, followed: what A follows it by, and what B publishes to.
fn followed(pair: &mut Pair) -> (FollowKey, SubscriberKey) {
    let (_, import) = shared(pair);
    let follow = follow(pair, import, None);
    pair.run();
    (follow, subscriber(pair))
}

/// The same, with the SNAP of revision 1 at A.
fn live(pair: &mut Pair) -> (FollowKey, SubscriberKey) {
    let (follow, subscriber) = followed(pair);
    publish(pair, subscriber, snap(1), &[1]);
    pair.run();
    let update = update(pair, follow);
    assert_eq!(update.change, snap(1));
    pair.session(A).grant(follow, update.cost);
    pair.session(A).at(follow, EPOCH, 1);
    (follow, subscriber)
}

#[track_caller]
fn follow(pair: &mut Pair, import: ImportKey, have: Option<(u64, u64)>) -> FollowKey {
    pair.session(A)
        .follow(import, WINDOW, have)
        .expect("it may be followed")
}

/// The subscription that B is told of next, which must be all that it is told.
#[track_caller]
fn subscriber(pair: &mut Pair) -> SubscriberKey {
    subscribed(pair).1
}

/// The same, with its object and what the peer has.
#[track_caller]
fn subscribed(pair: &mut Pair) -> (TestObject, SubscriberKey, Option<(u64, u64)>) {
    match &said(pair, B)[..] {
        [Shared::Subscribed(object, key, have)] => (object.clone(), *key, *have),
        other => panic!("no subscription: {other:?}"),
    }
}

/// What a side was told of shared values since last asked.
fn said(pair: &mut Pair, side: Side) -> Vec<Shared> {
    pair.collect(side);
    std::mem::take(&mut pair.end(side).shared)
}

/// That A was told of one update of `follow`, and of nothing else.
#[track_caller]
fn update(pair: &mut Pair, follow: FollowKey) -> Update<TestObject> {
    let mut updates = updates(pair, follow);
    assert_eq!(updates.len(), 1, "{updates:?}");
    updates.remove(0)
}

/// The updates of `follow`, which must be all that A was told of. Their references are the test's.
#[track_caller]
fn updates(pair: &mut Pair, follow: FollowKey) -> Vec<Update<TestObject>> {
    let updates: Vec<_> = said(pair, A)
        .into_iter()
        .map(|said| match said {
            Shared::Update(key, update) if key == follow => *update,
            other => panic!("no update of {follow:?}: {other:?}"),
        })
        .collect();
    for update in &updates {
        pair.hold(A, &update.caps);
    }
    updates
}

/// The changes among them.
#[track_caller]
fn changes(pair: &mut Pair, follow: FollowKey) -> Vec<Change> {
    let updates = updates(pair, follow);
    updates.into_iter().map(|update| update.change).collect()
}

/// That A was told of the end of `follow`, and of nothing else.
#[track_caller]
fn ended(pair: &mut Pair, follow: FollowKey) -> Option<Fault> {
    match &said(pair, A)[..] {
        [Shared::Ended(key, fault)] if *key == follow => fault.clone(),
        other => panic!("no end of {follow:?}: {other:?}"),
    }
}

/// That B was told that this is over, and of nothing else.
#[track_caller]
fn unsubscribed(pair: &mut Pair, key: SubscriberKey) {
    match &said(pair, B)[..] {
        [Shared::Unsubscribed(other)] if *other == key => {}
        other => panic!("{key:?} is not over: {other:?}"),
    }
    assert!(!pair.session(B).is_subscribed(key));
}

fn try_publish(
    pair: &mut Pair,
    key: SubscriberKey,
    change: Change,
    payload: &[u8],
) -> Poll<Result<(), Fault>> {
    pair.session(B).publish(key, change, payload, &[])
}

#[track_caller]
fn publish(pair: &mut Pair, key: SubscriberKey, change: Change, payload: &[u8]) {
    let sent = try_publish(pair, key, change, payload);
    assert_eq!(sent, Poll::Ready(Ok(())));
}

#[track_caller]
fn publish_caps(
    pair: &mut Pair,
    key: SubscriberKey,
    change: Change,
    payload: &[u8],
    caps: &[Cap<TestObject>],
) {
    let sent = pair.session(B).publish(key, change, payload, caps);
    assert_eq!(sent, Poll::Ready(Ok(())));
}

/// A SYNC: target, mode, n, have.
type Sync = (i64, u64, u64, Option<(u64, u64)>);

/// The SYNCs that A sent since `mark`.
fn syncs(pair: &mut Pair, mark: usize) -> Vec<Sync> {
    let frames = pair.frames(A, mark);
    let sync = |frame: &Frame| match frame {
        Frame::Sync {
            target,
            mode,
            n,
            have,
        } => Some((target.raw(), *mode, *n, *have)),
        _ => None,
    };
    frames.iter().filter_map(|read| sync(&read.frame)).collect()
}

/// Delivers frames of a peer that does as it likes, behind all that the other side of the pair sent itself.
fn inject(pair: &mut Pair, side: Side, frames: &[Writer<'_>]) -> Result<(), Violation> {
    let (sent, got) = (
        pair.session(side.other()).sent(),
        pair.session(side.other()).received(),
    );
    pair.inject(side, message(sent + 1, got, frames))
}

fn lost() -> EndCause {
    EndCause {
        close: 1006,
        reason: "the link is gone".into(),
    }
}
