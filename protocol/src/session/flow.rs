//! Numbers and the replay buffer (S2-S5): what goes out, in which order, and what is kept. Acknowledgements stand in
//! `flow/acks.rs`.

mod acks;

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;
use helve_handles::Target;

use super::permits::{DEPTHS, Grant};
use super::transfer::{Of, Transfers};
use super::{Object, Role, Session, Time};
use crate::Violation;
use crate::batch::{BatchWriter, Sealed};
use crate::frame;
use crate::limits::{FRAMES_MAX, PAYLOAD_MAX, RELEASE_PAIRS_MAX, REST_MAX_WIDE};
use crate::rope::Rope;

/// A batch is sealed here, so that both ends work at once.
const SEAL: usize = 32 * 1024;
/// S5.
const REPLAY_FRAMES: u64 = FRAMES_MAX as u64;
/// No frame that we write is longer.
const LONGEST_FRAME: usize = PAYLOAD_MAX + REST_MAX_WIDE;
/// TELL bytes are given back at once from here on, or from an eighth of their grant, else with the next ack.
const CREDIT_BYTES: u64 = 64 * 1024;
/// Above so much waiting unnumbered, no new handler of depth 0 starts (S5).
const BACKLOG_STOP: usize = 4 << 20;

/// What a peer that acknowledges nothing may make wait, besides its `bytes` (S5.6).
const WAITING_MAX: u64 = 32 << 20;
/// What a waiting frame takes besides its bytes.
pub(super) const WAITING_OVERHEAD: usize = 48;

/// One sealed batch, kept until it is acknowledged.
#[derive(Debug)]
struct Kept {
    last: u64,
    frames: Bytes,
}

/// A frame that needs no permit and waits for room.
#[derive(Debug)]
struct Posted {
    frame: Vec<u8>,
    /// It is the head of a transfer, which needs a slot too (R18.7).
    bulk: Option<Box<Bulk>>,
}

/// A large result that goes out.
#[derive(Debug)]
pub(super) struct Bulk {
    /// The peer's id of the call.
    pub call: u64,
    pub data: Rope,
    /// What the call is charged, and at which depth. It is given back with RET (R13.7), so that a peer that calls again
    /// before that goes beyond its grant: what waits here is bounded by it.
    pub depth: u8,
    pub charge: u32,
}

/// The state of both directions of one session.
#[derive(Debug)]
pub(super) struct Flow {
    out: BatchWriter,
    /// Sequence number of the next frame.
    next: u64,
    /// Number of the first frame in `out`.
    first: u64,
    sealed: VecDeque<Bytes>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    acked: u64,
    /// When that was said.
    acked_at: Time,
    /// Frames without permit that wait for room, unnumbered, in order.
    backlog: VecDeque<Posted>,
    /// So many at its front were put ahead of the others.
    ahead: usize,
    backlog_bytes: usize,
    /// Bytes of transfers whose head is in `backlog`.
    backlog_bulk: u64,
    pub(super) transfers: Transfers,
    releases: Vec<(Target, u64)>,
    /// The next batch asks for an ack.
    ask: bool,
    waiters: Vec<(u64, Waker)>,
    received: u64,
    owed_frames: usize,
    owed_bytes: usize,
    owed_since: Option<Time>,
    ack_now: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            out: BatchWriter::default(),
            next: 1,
            first: 1,
            sealed: VecDeque::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            acked: 0,
            acked_at: Time::default(),
            backlog: VecDeque::new(),
            ahead: 0,
            backlog_bytes: 0,
            backlog_bulk: 0,
            transfers: Transfers::default(),
            releases: Vec::new(),
            ask: false,
            waiters: Vec::new(),
            received: 0,
            owed_frames: 0,
            owed_bytes: 0,
            owed_since: None,
            ack_now: false,
        }
    }
}

impl Flow {
    /// The state at the start. A client sends a batch at once, even an empty one (S7 needs it).
    pub(super) fn new(role: Role) -> Flow {
        Flow {
            ack_now: role == Role::Client,
            ..Flow::default()
        }
    }

    fn used(&self) -> usize {
        self.kept_bytes + self.out.len()
    }

    /// S5.6: what waits for acks that do not come is bounded, whatever the peer sends meanwhile.
    #[inline]
    pub(super) fn check_waiting(&self, ours: &crate::Limits) -> Result<(), Violation> {
        if self.backlog.is_empty() && self.releases.is_empty() {
            return Ok(());
        }
        let waiting = self.backlog_bytes
            + self.backlog.len() * WAITING_OVERHEAD
            + self.releases.len() * WAITING_OVERHEAD;
        if waiting as u64 > WAITING_MAX + ours.bytes {
            return Err(Violation::new(
                "S5.6",
                "frames pile up, and none is acknowledged",
            ));
        }
        Ok(())
    }

    /// Frames that are numbered and not acknowledged.
    pub(super) fn unacked(&self) -> usize {
        (self.next - 1 - self.acked) as usize
    }

    pub(super) fn room(&self, bound: usize) -> bool {
        let unacked = self.unacked() as u64;
        unacked == 0 || unacked < REPLAY_FRAMES && self.used() + LONGEST_FRAME <= bound
    }

    fn seal(&mut self) -> Bytes {
        let sealed = self.out.seal(self.first, self.received, self.ask);
        self.keep(sealed)
    }

    fn keep(&mut self, sealed: Sealed) -> Bytes {
        self.first = self.next;
        self.kept_bytes += sealed.frames.len();
        self.kept.push_back(Kept {
            last: self.next - 1,
            frames: sealed.frames,
        });
        self.acked_theirs();
        sealed.message
    }

    /// Numbers a frame and seals it at once. Nothing may wait to be sealed before it.
    pub(super) fn put_alone(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (u64, Bytes) {
        debug_assert!(self.out.is_empty(), "frames go out in order");
        let seq = self.next;
        self.next += 1;
        let sealed = crate::batch::seal_alone(seq, self.received, self.ask, room, write);
        (seq, self.keep(sealed))
    }

    #[inline]
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        self.out.frame(write);
        let seq = self.next;
        self.next += 1;
        if self.out.len() >= SEAL {
            let message = self.seal();
            self.sealed.push_back(message);
        }
        seq
    }
}

impl<O: Object> Session<O> {
    /// Whether a frame may be numbered now, in front of nothing that waits.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.flow.backlog.is_empty() && self.flow.room(self.config.replay)
    }

    /// Numbers a frame. The caller has seen [`has_room`](Self::has_room).
    #[inline]
    pub(super) fn number(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        self.flow.put(write)
    }

    /// Sends a frame that needs no permit: at once, or when there is room, in order.
    #[inline]
    pub(super) fn post(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.has_room() {
            self.flow.put(write);
        } else {
            let mut frame = Vec::new();
            write(&mut frame);
            self.flow.backlog_bytes += frame.len();
            self.flow.backlog.push_back(Posted { frame, bulk: None });
        }
    }

    /// Whether a frame may be numbered now in front of what waits, in order with others that may.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.flow.ahead == 0 && self.flow.room(self.config.replay)
    }

    /// As [`post`](Self::post), ahead of what waits: for a frame that makes room for others, and that no order binds to
    /// those. Such frames keep their own order.
    pub(super) fn post_ahead(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let flow = &mut self.flow;
        if flow.ahead == 0 && flow.room(self.config.replay) {
            flow.put(write);
            return;
        }
        let mut frame = Vec::new();
        write(&mut frame);
        flow.backlog_bytes += frame.len();
        flow.backlog
            .insert(flow.ahead, Posted { frame, bulk: None });
        flow.ahead += 1;
    }

    /// As [`post`](Self::post), for a RET that is the head of a transfer. It waits in its place for a slot (R18.7).
    pub(super) fn post_head(&mut self, bulk: Bulk, write: impl FnOnce(&mut Vec<u8>)) {
        if self.has_room() && self.has_transfer_slot() {
            let head = self.flow.put(write);
            return self.begin_result(head, bulk);
        }
        let mut frame = Vec::new();
        write(&mut frame);
        self.flow.backlog_bytes += frame.len();
        self.flow.backlog_bulk += bulk.data.len() as u64;
        let bulk = Some(Box::new(bulk));
        self.flow.backlog.push_back(Posted { frame, bulk });
    }

    fn begin_result(&mut self, head: u64, bulk: Bulk) {
        self.uncharge(bulk.depth, bulk.charge);
        let of = Of::Ret(bulk.call);
        self.flow.transfers.begin(head, of, bulk.data);
    }

    /// Numbers `count` frames that stand back to back, if there is room for all of them in this batch.
    pub(super) fn put_all(&mut self, frames: &[u8], count: usize) -> bool {
        let flow = &mut self.flow;
        let (len, fits) = (flow.used() + frames.len(), frames.len() <= SEAL);
        let room = len + LONGEST_FRAME <= self.config.replay
            && (flow.unacked() + count) as u64 <= REPLAY_FRAMES;
        if !(fits && room && flow.backlog.is_empty()) {
            return false;
        }
        if count > 0 {
            flow.out.push_raw(frames, count as u32);
            flow.next += count as u64;
            if flow.out.len() >= SEAL {
                let message = flow.seal();
                flow.sealed.push_back(message);
            }
        }
        true
    }

    /// Whether replies pile up so far that no new work should start (S5).
    pub(super) fn is_clogged(&self) -> bool {
        self.flow.backlog_bytes > BACKLOG_STOP
            || self.flow.backlog_bulk + self.flow.transfers.result_bytes() > self.config.ours.bytes
    }

    /// Queues a RELEASE; it goes behind every frame that names the id (R4).
    pub(super) fn owe_release(&mut self, target: Target, n: u64) {
        self.flow.releases.push((target, n));
    }

    /// Notes that TELL bytes of a depth go back to the peer (R13).
    pub(super) fn owe_credit(&mut self, depth: u8, bytes: u64) {
        if let Some(owed) = self.tell_credit.get_mut(usize::from(depth)) {
            *owed += bytes;
            self.credit_owed += bytes;
            self.flow.owe(self.now);
        }
    }

    /// How many frames of ours were handed out to be sent.
    pub fn sent(&self) -> u64 {
        self.flow.first - 1
    }

    /// Whether all that was said is acknowledged; until then the task is woken when it may be, and the ack is asked for.
    pub fn poll_drained(&mut self, waker: &Waker) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let last = self.flow.next - 1;
        let waits = !self.flow.releases.is_empty()
            || !self.flow.backlog.is_empty()
            || self.flow.transfers.len() > 0;
        !waits && (last <= self.flow.acked || self.poll_acked(last, waker))
    }

    /// Moves on whatever waits for room, a permit or a slot.
    pub(super) fn pump(&mut self) {
        if self.subscribers.owe_ends() {
            self.post_ends();
        }
        while let Some(front) = self.flow.backlog.front() {
            if !self.flow.room(self.config.replay)
                || front.bulk.is_some() && !self.has_transfer_slot()
            {
                break;
            }
            if let Some(Posted { frame, bulk }) = self.flow.backlog.pop_front() {
                self.flow.ahead = self.flow.ahead.saturating_sub(1);
                self.flow.backlog_bytes -= frame.len();
                let seq = self.flow.put(|buf| buf.extend_from_slice(&frame));
                if let Some(bulk) = bulk {
                    self.flow.backlog_bulk -= bulk.data.len() as u64;
                    self.begin_result(seq, *bulk);
                }
            }
        }
        self.post_syncs();
        if self.owes_drain() {
            self.post_drain();
        }
        if !self.waiting.is_empty() {
            self.pump_lines();
        }
        if !self.queued.is_empty() {
            self.start_queued();
        }
        if (self.producers_wait() || self.subscribers.wait()) && self.has_room() {
            self.wake_producers();
            self.offer_room();
        }
    }

    /// When [`set_now`](Self::set_now) and [`poll_transmit`](Self::poll_transmit) must be called even if nothing happens.
    pub fn timeout(&self) -> Option<Time> {
        let ack = self.flow.ack_until();
        match (self.slowed_until(), self.subscribers.check()) {
            (None, None) => ack,
            (slowed, stall) => ack.into_iter().chain(slowed).chain(stall).min(),
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something, apart from timers.
    pub fn wants_transmit(&self) -> bool {
        let flow = &self.flow;
        !flow.out.is_empty()
            || !flow.sealed.is_empty()
            || (!flow.releases.is_empty() || self.follows.is_due()) && self.has_room()
            || self.subscribers.owe_ends() && self.has_room_for_ends()
            || flow.ask
            || flow.ack_now
            || flow.owes_many()
            || self.owes_much_credit()
            || self.has_part()
    }

    /// Whether so many TELL bytes are owed that their sender may be waiting for them. Without room they have to wait:
    /// the ack that makes some sees to them.
    fn owes_much_credit(&self) -> bool {
        self.credit_owed > 0 && self.owes_much_at_a_depth() && self.has_room()
    }

    #[cold]
    fn owes_much_at_a_depth(&self) -> bool {
        self.tell_credit.iter().enumerate().any(|(depth, owed)| {
            let grant = Grant::of(&self.config.ours, depth).bytes;
            *owed >= CREDIT_BYTES.min(grant / 8).max(1)
        })
    }

    /// Whether a whole batch waits for the link: who goes on sending should let it go first.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        !self.flow.sealed.is_empty()
    }

    /// How many frames stand in the batch being gathered.
    pub fn gathered(&self) -> u32 {
        self.flow.out.frames()
    }

    /// The next message for the link, if there is one. Call it until it says `None`.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if let Some(message) = self.flow.sealed.pop_front() {
            return Some(message);
        }
        if self.ended.is_some() {
            return None;
        }
        if self.subscribers.owe_ends() {
            self.pump();
        }
        self.post_syncs();
        self.post_releases();
        if self.flow.owed_since.is_none() && self.credit_owed > 0 {
            self.flow.owe(self.now);
        }
        let due = self.ack_is_due();
        // Credit rides on whatever goes: the timer that would bring it back is set off by any batch.
        let part = self.has_part();
        let goes = due || part || !self.flow.out.is_empty();
        if goes || self.owes_much_credit() {
            self.post_credits();
        }
        if let Some(message) = self.flow.sealed.pop_front() {
            return Some(message);
        }
        if !self.flow.out.is_empty() {
            return Some(self.flow.seal());
        }
        if part && self.has_part() {
            return self.next_part();
        }
        if !due {
            return None;
        }
        let message = crate::batch::ack_only(self.flow.next, self.flow.received, self.flow.ask);
        self.flow.acked_theirs();
        Some(message)
    }

    fn post_releases(&mut self) {
        // R4.1: behind the SYNCs that name what is released.
        while !self.flow.releases.is_empty() && self.has_room() && !self.follows.is_due() {
            // From the end: their order among themselves does not matter.
            let pairs = self
                .flow
                .releases
                .split_off(self.flow.releases.len().saturating_sub(RELEASE_PAIRS_MAX));
            self.flow.put(|buf| frame::write_release(buf, &pairs));
        }
        if self.flow.releases.is_empty() && self.flow.releases.capacity() > RELEASE_PAIRS_MAX {
            self.flow.releases = Vec::new();
        }
    }

    fn post_credits(&mut self) {
        // It would only wait in the backlog, once for each message of the peer's.
        if !self.has_room() {
            return;
        }
        if std::mem::take(&mut self.credit_owed) == 0 {
            return;
        }
        for depth in 0..DEPTHS {
            let Some(owed) = self.tell_credit.get_mut(depth) else {
                continue;
            };
            let n = std::mem::take(owed);
            if n > 0 {
                self.post(|buf| frame::write_credit(buf, Target::ROOT, n, depth as u8));
            }
        }
    }

    /// Frames from this number on were never handed to the link.
    pub(super) fn first_unsent(&self) -> u64 {
        self.flow.first
    }

    /// Drops what would still go out, and wakes who waits for acks.
    pub(super) fn end_flow(&mut self) {
        self.wakes.extend(
            std::mem::take(&mut self.flow.waiters)
                .into_iter()
                .map(|(_, waker)| waker),
        );
        self.flow.transfers.end(&mut self.wakes);
        let transfers = std::mem::take(&mut self.flow.transfers);
        let (next, acked, received) = (self.flow.next, self.flow.acked, self.flow.received);
        self.flow = Flow {
            next,
            first: next,
            acked,
            received,
            transfers,
            ..Flow::default()
        };
    }
}
