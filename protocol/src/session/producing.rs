//! Our streams, as their producer: credit, DATA, END (R19). Items are bytes here, and references; what they mean is
//! the business of whoever runs the stream.

use std::collections::HashMap;
use std::task::{Poll, Waker};

use helve_handles::{IdHash, Target};

use super::caps::Cap;
use super::incoming::to_send;
use super::tables::{Hosted, Outcome};
use super::transfer::{Of, announce};
use super::{Event, Object, Session};
use crate::blob::Body;
use crate::fault::Fault;
use crate::frame;
use crate::limits::{CAPS_MAX, PAYLOAD_MAX, STREAM_CREDIT};
use crate::{Code, Violation};

/// More credit than this is never outstanding (R19.4).
pub(super) const CREDIT_MAX: i64 = i32::MAX as i64;
/// What a DATA is charged besides its items, and what each of its caps is (R19.8).
const OVERHEAD: usize = 64;

/// What a DATA takes from the credit of its stream (R19.8).
pub(super) fn charge(items: usize, caps: usize) -> i64 {
    let bytes = items.saturating_add(OVERHEAD.saturating_mul(1 + caps));
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// By how much a stream is overdrawn beyond what a single frame may: all of these together are bounded (R19.11).
#[inline]
pub(super) fn excess(credit: i64) -> u64 {
    let beyond = credit.saturating_add(PAYLOAD_MAX as i64);
    beyond.min(0).unsigned_abs()
}

/// Names one of our streams toward the peer. Never used again in its session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey(Target);

/// One stream of ours that the peer has a name for.
#[derive(Debug)]
struct Producing {
    credit: i64,
    /// Whoever runs it; woken for credit, for room, and when it is stopped.
    waker: Option<Waker>,
    /// END is said; the name stays until its RELEASE.
    ended: bool,
    waits_for_room: bool,
}

impl Producing {
    fn new() -> Producing {
        Producing {
            credit: STREAM_CREDIT,
            waker: None,
            ended: false,
            waits_for_room: false,
        }
    }
}

/// Our streams, by the names that the peer has for them.
#[derive(Debug)]
pub(super) struct Producers {
    streams: HashMap<Target, Producing, IdHash>,
    /// Those that have credit and wait for something else: room, a slot for a transfer, a place for a stream.
    for_room: Vec<Target>,
    /// The [`excess`] of all.
    excess: u64,
}

impl Producers {
    pub(super) fn seeded(seed: u64) -> Producers {
        Producers {
            streams: HashMap::with_hasher(IdHash::seeded(seed)),
            for_room: Vec::new(),
            excess: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}

impl<O: Object> Session<O> {
    /// Whether the peer takes so many more streams (R14.4).
    pub(super) fn check_streams(&self, more: usize) -> Result<(), Fault> {
        if more > 0 && self.producers.len() + more > self.config.theirs.streams as usize {
            return Err(Fault::new(
                Code::Exhausted,
                "the peer takes no more streams: end some, or raise its `streams` limit",
            ));
        }
        Ok(())
    }

    /// Whether naming `o` would begin a stream.
    pub(super) fn is_new_stream(&self, o: &O) -> bool {
        o.is_stream()
            && !self
                .exports
                .name_of(&Hosted::Object(o.clone()))
                .is_some_and(|k| self.producers.streams.contains_key(&Target::host(k)))
    }

    /// The peer gets a name for a stream of ours, in the frame that is written next: whoever runs it may begin (R10.6).
    pub(super) fn begin_stream(&mut self, o: O, name: Target) {
        if name == Target::ROOT || self.producers.streams.contains_key(&name) {
            return self.garbage.push(o);
        }
        self.producers.streams.insert(name, Producing::new());
        self.events.push_back(Event::Stream(o, StreamKey(name)));
    }

    /// Makes a stream of an object that the peer holds already: for a forwarder, which learns only from the first DATA
    /// what it forwards. No [`Event::Stream`] comes of it.
    ///
    /// # Errors
    /// GONE where the peer holds no such object, EXHAUSTED above its `streams` limit (R14.4).
    pub fn start_stream(&mut self, o: &O) -> Result<StreamKey, Fault> {
        let gone = || Fault::new(Code::Gone, "the peer has released the stream");
        let k = self.exports.name_of(&Hosted::Object(o.clone()));
        let k = k.filter(|k| *k > 0).ok_or_else(gone)?;
        let counted = self.exports.by_name.get(k).is_some_and(|e| e.counted > 0);
        let bound = || {
            let mut bound = self.opened.iter().filter(|(_, opened)| {
                !opened.released && matches!(opened.outcome, Outcome::Bound(b) if b == k)
            });
            bound.next().map(|(c, _)| Target::open(c))
        };
        let name = if counted {
            Some(Target::host(k))
        } else {
            bound()
        };
        let name = name.ok_or_else(gone)?;
        if !self.producers.streams.contains_key(&name) {
            self.check_streams(1)?;
            self.producers.streams.insert(name, Producing::new());
        }
        Ok(StreamKey(name))
    }

    /// Ready when a DATA may go: there is credit, and room in the replay buffer. Either way the task is woken when the
    /// peer stops the stream.
    ///
    /// # Errors
    /// GONE: the peer has released the stream, or the session is over. Drop what produces it.
    pub fn poll_data(&mut self, key: StreamKey, waker: &Waker) -> Poll<Result<(), Fault>> {
        let room = self.has_room();
        let Some(stream) = self
            .producers
            .streams
            .get_mut(&key.0)
            .filter(|stream| !stream.ended)
        else {
            return Poll::Ready(Err(Fault::new(
                Code::Gone,
                "the peer has released the stream",
            )));
        };
        match &mut stream.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if stream.credit <= 0 {
            return Poll::Pending;
        }
        if !room {
            self.wait_for_room(key.0);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends items: one encoded array, and the references in it. Pending and nothing sent where
    /// [`poll_data`](Self::poll_data) is: DATA waits for credit and for room (R19.3, S5.3).
    ///
    /// # Errors
    /// As `poll_data`; or why these items cannot be sent: too long, too many references or streams among them, no place
    /// in the peer's table. Say it with [`end_stream`](Self::end_stream).
    pub fn poll_send<'a>(
        &mut self,
        key: StreamKey,
        items: impl Into<Body<'a>>,
        caps: &[Cap<O>],
        waker: &Waker,
    ) -> Poll<Result<(), Fault>> {
        let items = items.into();
        match self.poll_data(key, waker) {
            Poll::Ready(Ok(())) if self.must_wait(key.0, items.len(), caps) => {
                self.wait_for_room(key.0);
                Poll::Pending
            }
            Poll::Ready(Ok(())) => Poll::Ready(self.data(key.0, items, caps)),
            waits => waits,
        }
    }

    /// Whether these items have to wait although there is credit and room: for a slot (R18.7), for long items of other
    /// streams to be read (R19.11), or for streams among them until others have been read to their end (R14.4).
    fn must_wait(&self, name: Target, len: usize, caps: &[Cap<O>]) -> bool {
        if len > PAYLOAD_MAX {
            let credit = self.producers.streams.get(&name).map_or(0, |s| s.credit);
            let others = self.producers.excess;
            let mine = excess(credit.saturating_sub(charge(len, caps.len())));
            if !self.has_transfer_slot()
                || others > 0 && others.saturating_add(mine) > self.config.theirs.bytes
            {
                return true;
            }
        }
        if caps.is_empty() {
            return false;
        }
        let new =
            |cap: &&Cap<O>| matches!(cap, Cap::Given(o) | Cap::Lent(o) if self.is_new_stream(o));
        let new = caps.iter().filter(new).count();
        // As many as never fit beside the stream that brings them fail at once.
        new < self.config.theirs.streams as usize && self.check_streams(new).is_err()
    }

    /// The task is woken when there is room again, or a slot for a transfer.
    fn wait_for_room(&mut self, name: Target) {
        if let Some(stream) = self.producers.streams.get_mut(&name)
            && !std::mem::replace(&mut stream.waits_for_room, true)
        {
            self.producers.for_room.push(name);
        }
    }

    /// Numbers a DATA. There is credit and room for it.
    fn data(&mut self, name: Target, items: Body<'_>, caps: &[Cap<O>]) -> Result<(), Fault> {
        let announced;
        let written = match items.as_slice().filter(|items| items.len() <= PAYLOAD_MAX) {
            Some(items) => items,
            None => {
                self.check_frame(items.len())?;
                announced = announce(items.len());
                &announced
            }
        };
        let head = if caps.is_empty() {
            self.number(|buf| frame::write_data(buf, name, written, &[]))
        } else {
            let encoded = self.introduce(caps, CAPS_MAX)?;
            let head =
                self.number(|buf| frame::write_data(buf, name, written, &encoded.descriptors));
            self.post_mentioned(&encoded.broken);
            head
        };
        if items.len() > PAYLOAD_MAX {
            let transfers = &mut self.flow.transfers;
            transfers.begin(head, Of::Data(name), items.to_rope());
        }
        if let Some(stream) = self.producers.streams.get_mut(&name) {
            stream.credit -= charge(items.len(), caps.len());
            self.producers.excess += excess(stream.credit);
        }
        Ok(())
    }

    /// Ends a stream: well, or with the error that its reader gets as the last item (R19.6). A second end, or one of a
    /// stream that was released, does nothing.
    pub fn end_stream(&mut self, key: StreamKey, fault: Option<Fault>) {
        let Some(stream) = self
            .producers
            .streams
            .get_mut(&key.0)
            .filter(|stream| !stream.ended)
        else {
            return;
        };
        stream.ended = true;
        stream.waker = None;
        match fault.map(to_send) {
            None => self.post(|buf| frame::write_end(buf, key.0, None, "", &[])),
            Some(Fault {
                code,
                message,
                data,
            }) => self.post(|buf| frame::write_end(buf, key.0, Some(code), &message, &data)),
        }
    }

    /// CREDIT of a stream.
    pub(super) fn on_credit(&mut self, target: Target, n: u64) -> Result<(), Violation> {
        let Some(stream) = self.producers.streams.get_mut(&target) else {
            return self.strike();
        };
        let before = excess(stream.credit);
        let granted = i64::try_from(n)
            .ok()
            .and_then(|n| stream.credit.checked_add(n))
            .filter(|credit| *credit <= CREDIT_MAX);
        stream.credit = granted.ok_or(Violation::new(
            "R19.4",
            "over 2^31 - 1 bytes of credit for one stream",
        ))?;
        self.producers.excess -= before - excess(stream.credit);
        self.wakes.extend(stream.waker.clone());
        Ok(())
    }

    /// The peer gave the name back, or lost it: the stream stops (R19.5).
    pub(super) fn stop_stream(&mut self, name: Target) {
        if self.producers.streams.is_empty() {
            return;
        }
        if let Some(stream) = self.producers.streams.remove(&name) {
            self.wakes.extend(stream.waker);
            self.producers.excess -= excess(stream.credit);
            // Nobody reads what is still under way (R18.13).
            self.abort_transfer(Of::Data(name));
        }
    }

    /// There is room in the replay buffer again.
    pub(super) fn wake_producers(&mut self) {
        for name in std::mem::take(&mut self.producers.for_room) {
            if let Some(stream) = self.producers.streams.get_mut(&name) {
                stream.waits_for_room = false;
                self.wakes.extend(stream.waker.clone());
            }
        }
    }

    /// Whether a stream waits for room.
    #[inline]
    pub(super) fn producers_wait(&self) -> bool {
        !self.producers.for_room.is_empty()
    }

    /// The session is over: every stream of ours stops.
    pub(super) fn end_producers(&mut self) {
        let streams = std::mem::take(&mut self.producers.streams);
        let wakers = streams.into_values().filter_map(|stream| stream.waker);
        self.wakes.extend(wakers);
        (self.producers.for_room, self.producers.excess) = Default::default();
    }
}
