//! What a connection says about itself: its state, and counts of what it carried.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Whether a connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum State {
    /// It carries calls.
    Connected,
    /// It carries calls; the peer has said that it is about to leave (S9). New calls of one's own get `Unavailable`, which is safe
    /// to make again elsewhere; what was called before still runs.
    Draining {
        /// The longest that the peer stays.
        grace: Duration,
    },
    /// It ended, and its session with it: every handle of it is broken.
    Lost {
        /// The WebSocket close code; 1006 where the link broke without one.
        code: u16,
        /// Why, as far as it is known.
        reason: String,
    },
}

/// Counts of one connection, seen from this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// How often this side spoke and then had to hear before it spoke again: what the distance between the peers costs.
    pub round_trips: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// WebSocket messages sent.
    pub messages_out: u64,
    /// WebSocket messages received.
    pub messages_in: u64,
    /// Bytes sent, WebSocket headers included, TCP's not.
    pub bytes_out: u64,
    /// Bytes received, likewise.
    pub bytes_in: u64,
    /// Objects of this side that the peer holds.
    pub exports: usize,
    /// Objects of the peer that this side holds.
    pub imports: usize,
    /// Pipelined calls of the peer whose handle it has not released, the failed ones too.
    pub opened: usize,
    /// Calls of this side that are open.
    pub calls: usize,
    /// Calls of the peer that are open here.
    pub incoming: usize,
    /// Methods of this side that were ended because their time was up: the caller's, or the one that
    /// [`SessionLimits::handler_deadline`](crate::SessionLimits::handler_deadline) sets.
    pub overdue: u64,
    /// Methods of this side that were to end over a second ago, by a deadline or by CANCEL, and have not: they block, and hold
    /// their slot until they come back to the runtime. Each is logged once as a warning.
    pub stuck: usize,
    /// Values of the peer that this side keeps between calls that pass them as `&mut Tracked<T>`.
    pub kept: usize,
    /// What they count for, of [`SessionLimits::kept`](crate::SessionLimits::kept) bytes.
    pub kept_bytes: usize,
    /// Calls of the peer that were started later because it cancels more than
    /// [`SessionLimits::cancel_rate`](crate::SessionLimits::cancel_rate) allows (R21.7).
    pub slowed: u64,
    /// Calls of this side that were sent since the session began, one-way ones not counted.
    pub calls_made: u64,
    /// Of the open calls, those that wait here for a permit.
    pub waiting: usize,
    /// Frames of this side that the peer has not acknowledged.
    pub unacked: usize,
    /// Payloads above 65,536 bytes that are under way, in both directions, and calls that wait for one.
    pub transfers: usize,
    /// Streams of either side that are not released; of the peer's, those that something came of.
    pub streams: usize,
    /// Subscriptions to shared values, in both directions.
    pub follows: usize,
    /// How often a replica on this side was not what its host had, though every change fitted: it was replaced by all of
    /// the value, and a warning logged. A type that does not read what it writes does that.
    pub desyncs: u64,
}

/// Written by the connection task, read by whoever asks.
#[derive(Default)]
pub(crate) struct Counters {
    round_trips: AtomicU64,
    spoke: AtomicBool,
    frames_out: AtomicU64,
    frames_in: AtomicU64,
    messages_out: AtomicU64,
    messages_in: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    /// The one that any thread writes.
    overdue: AtomicU64,
    desyncs: AtomicU64,
}

impl Counters {
    /// Only the connection task writes, so a load and a store do for an increment.
    fn add(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Relaxed) + n, Relaxed);
    }

    pub(crate) fn sent(&self, frames: u64) {
        Self::add(&self.frames_out, frames);
        Self::add(&self.messages_out, 1);
        if frames > 0 {
            self.spoke.store(true, Relaxed);
        }
    }

    pub(crate) fn received(&self, frames: u64) {
        Self::add(&self.frames_in, frames);
        Self::add(&self.messages_in, 1);
        if frames > 0 && self.spoke.load(Relaxed) {
            self.spoke.store(false, Relaxed);
            Self::add(&self.round_trips, 1);
        }
    }

    pub(crate) fn carried(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.store(bytes_in, Relaxed);
        self.bytes_out.store(bytes_out, Relaxed);
    }

    pub(crate) fn ended_late(&self) {
        self.overdue.fetch_add(1, Relaxed);
    }

    pub(crate) fn went_astray(&self) {
        self.desyncs.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            round_trips: self.round_trips.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            frames_in: self.frames_in.load(Relaxed),
            messages_out: self.messages_out.load(Relaxed),
            messages_in: self.messages_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            overdue: self.overdue.load(Relaxed),
            desyncs: self.desyncs.load(Relaxed),
            ..Stats::default()
        }
    }
}
