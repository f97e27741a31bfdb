//! Streams at the session (R19): `names` (how they begin, R14.4, R15.1), `credit` (what may go), `ends` (R17, R11.10),
//! `long` (items in PARTs, R18).

mod credit;
mod ends;
#[path = "../harness/mod.rs"]
mod harness;
mod long;
mod names;

use std::task::{Poll, Waker};

use harness::*;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{
    CallKind, Frame, write_credit, write_data, write_end, write_release, write_ret,
};
use helve_protocol::limits::{PAYLOAD_MAX, STREAM_CREDIT};
use helve_protocol::session::{
    CallKey, Cap, EndCause, ImportKey, Pulled, Received, Reply, StreamKey,
};
use helve_protocol::{Code, Fault, Limits};

/// One encoded array with one string in it: `len` bytes in all, at least 7.
fn items(len: usize) -> Vec<u8> {
    let mut items = vec![0x91, 0xdb];
    items.extend_from_slice(&((len - 6) as u32).to_be_bytes());
    items.resize(len, b'x');
    items
}

/// An array of one small item.
const SMALL: &[u8] = &[0x91, 7];

/// A stream of B's in the hands of A: what B runs, and what A reads.
fn stream(pair: &mut Pair) -> (StreamKey, ImportKey) {
    let object = pair.nursery.stream();
    let import = pair.give(&object);
    (running(pair, B), import)
}

/// The stream that a side was told to run last.
#[track_caller]
fn running(pair: &mut Pair, side: Side) -> StreamKey {
    pair.collect(side);
    let (_, key) = pair.end(side).streams.last().expect("a stream to run");
    *key
}

fn ready(pair: &mut Pair, side: Side, key: StreamKey) -> Poll<Result<(), Fault>> {
    pair.session(side).poll_data(key, Waker::noop())
}

#[track_caller]
fn send(pair: &mut Pair, side: Side, key: StreamKey, items: &[u8]) {
    let sent = pair.session(side).poll_send(key, items, &[], Waker::noop());
    assert_eq!(sent, Poll::Ready(Ok(())));
}

fn pull(pair: &mut Pair, side: Side, import: ImportKey) -> Poll<Pulled<TestObject>> {
    pair.session(side).poll_items(import, Waker::noop())
}

/// What comes next, which must be items.
#[track_caller]
fn read(pair: &mut Pair, side: Side, import: ImportKey) -> (Vec<u8>, Vec<Received<TestObject>>) {
    match pull(pair, side, import) {
        Poll::Ready(Pulled::Items(items, caps)) => {
            pair.hold(side, &caps);
            (items.to_vec(), caps)
        }
        other => panic!("no items: {other:?}"),
    }
}

/// What comes next, which must be the end.
#[track_caller]
fn end(pair: &mut Pair, side: Side, import: ImportKey) -> Option<Fault> {
    match pull(pair, side, import) {
        Poll::Ready(Pulled::End(end)) => end,
        other => panic!("no end: {other:?}"),
    }
}

/// The credits that a side sent for a stream, in bytes.
fn credits(pair: &mut Pair, side: Side) -> Vec<u64> {
    let frames = pair.frames(side, 0);
    let credit = |frame: &Frame| match frame {
        Frame::Credit { target, n, .. } if *target != Target::ROOT => Some(*n),
        _ => None,
    };
    frames
        .iter()
        .filter_map(|read| credit(&read.frame))
        .collect()
}

/// The targets of the DATA and END frames that a side sent.
fn targets(pair: &mut Pair, side: Side) -> Vec<Target> {
    let frames = pair.frames(side, 0);
    let target = |frame: &Frame| match frame {
        Frame::Data { target, .. } | Frame::End { target, .. } => Some(*target),
        _ => None,
    };
    frames
        .iter()
        .filter_map(|read| target(&read.frame))
        .collect()
}

/// Delivers frames of a peer that does as it likes, behind all that the other side of the pair sent itself.
fn inject(
    pair: &mut Pair,
    side: Side,
    frames: &[Writer<'_>],
) -> Result<(), helve_protocol::Violation> {
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

#[track_caller]
fn end_of(pair: &mut Pair, side: Side, caps: &[Received<TestObject>]) -> Option<Fault> {
    end(pair, side, import(&caps[0]))
}
