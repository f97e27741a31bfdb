//! Acknowledgements (S2-S4): what was taken of the peer's and is owed an ack, what it took of ours, and who waits for that.
//! The session alone calls it, with each batch in and out.

use std::task::Waker;

use super::Flow;
use crate::Violation;
use crate::batch::Parsed;
use crate::limits::FRAMES_MAX;
use crate::session::{Object, Session, Time};

/// S4: an ack is due after so many frames, bytes, or so long.
const ACK_FRAMES: usize = 64;
const ACK_BYTES: usize = 64 * 1024;
const ACK_MS: u64 = 25;
/// An ack goes even before all that has come is read, after a quarter of what the peer's replay buffer holds: it can
/// send on meanwhile.
const ACK_SOON: usize = FRAMES_MAX / 4;

impl Flow {
    /// How many frames of a batch were taken before (S2). A gap cannot be healed without resume.
    pub(in crate::session) fn repeated(&self, parsed: &Parsed) -> Result<usize, Violation> {
        if parsed.frames.is_empty() {
            return Ok(0);
        }
        match (self.received + 1).checked_sub(parsed.first_seq) {
            Some(skip) => Ok(usize::try_from(skip).unwrap_or(usize::MAX)),
            None => Err(Violation {
                rule: "S2.3",
                what: "a gap in the sequence numbers",
            }),
        }
    }

    /// How many frames of the peer's were accepted.
    #[inline]
    pub(in crate::session) fn received(&self) -> u64 {
        self.received
    }

    /// One more frame is accepted into the session's state (S3).
    #[inline]
    pub(in crate::session) fn take_one(&mut self) {
        self.received += 1;
    }

    pub(in crate::session) fn took(&mut self, bytes: usize, frames: usize, asked: bool, now: Time) {
        self.ack_now |= asked;
        if frames > 0 {
            self.owed_frames += frames;
            self.owed_bytes += bytes;
            self.owe(now);
        }
    }

    pub(super) fn owe(&mut self, now: Time) {
        self.owed_since.get_or_insert(now);
    }

    pub(super) fn acked_theirs(&mut self) {
        (self.ask, self.ack_now) = (false, false);
        (self.owed_frames, self.owed_bytes, self.owed_since) = (0, 0, None);
    }

    /// Whether so much is owed that it is due without regard to time.
    pub(super) fn owes_many(&self) -> bool {
        self.owed_frames >= ACK_FRAMES || self.owed_bytes >= ACK_BYTES
    }

    /// The last of our frames that the peer acknowledged.
    pub(in crate::session) fn acked(&self) -> u64 {
        self.acked
    }

    /// When it last acknowledged something new.
    pub(in crate::session) fn acked_at(&self) -> Time {
        self.acked_at
    }

    /// When what is owed is due.
    pub(super) fn ack_until(&self) -> Option<Time> {
        self.owed_since.map(|since| since.plus_ms(ACK_MS))
    }
}

impl<O: Object> Session<O> {
    /// The peer has accepted our frames up to `ack` (S3).
    pub(in crate::session) fn acked(&mut self, ack: u64) -> Result<(), Violation> {
        let flow = &mut self.flow;
        if ack >= flow.first {
            return Err(Violation {
                rule: "S3.4",
                what: "an ack of frames that were not sent",
            });
        }
        if ack <= flow.acked {
            return Ok(());
        }
        flow.acked = ack;
        flow.acked_at = self.now;
        while flow.kept.front().is_some_and(|kept| kept.last <= ack) {
            if let Some(kept) = flow.kept.pop_front() {
                flow.kept_bytes -= kept.frames.len();
            }
        }
        flow.transfers.acked(ack);
        if self.credit_owed > 0 {
            // It may have waited for this room, past its time.
            flow.owe(self.now);
        }
        if !flow.waiters.is_empty() {
            let wakes = &mut self.wakes;
            flow.waiters.retain(|(seq, waker)| {
                let done = *seq <= ack;
                if done {
                    wakes.push(waker.clone());
                }
                !done
            });
        }
        Ok(())
    }

    /// The next message asks for an ack (S4.2).
    pub(in crate::session) fn ask_ack(&mut self) {
        self.flow.ask = true;
    }

    /// Whether the peer has accepted frame `seq`.
    pub(in crate::session) fn is_acked(&self, seq: u64) -> bool {
        seq <= self.flow.acked
    }

    /// Ready once the peer has accepted frame `seq`; until then the task is woken, and the next batch asks for an ack.
    pub(in crate::session) fn poll_acked(&mut self, seq: u64, waker: &Waker) -> bool {
        if seq <= self.flow.acked {
            return true;
        }
        if !self
            .flow
            .waiters
            .iter()
            .any(|(s, w)| *s == seq && w.will_wake(waker))
        {
            self.flow.waiters.push((seq, waker.clone()));
        }
        self.flow.ask = true;
        false
    }

    /// How many frames of the peer's were accepted.
    pub fn received(&self) -> u64 {
        self.flow.received
    }

    pub(super) fn ack_is_due(&self) -> bool {
        let flow = &self.flow;
        flow.ack_now
            || flow.ask
            || flow.owes_many()
            || flow.ack_until().is_some_and(|until| until <= self.now)
    }

    /// Whether the peer waits for an ack that must go before any handler of its batch is polled (S4).
    pub fn must_ack_first(&self) -> bool {
        self.flow.ack_now
    }

    /// Whether the peer may soon have to stop for want of an ack, because its replay buffer is full (S5).
    #[inline]
    pub fn owes_ack_soon(&self) -> bool {
        self.flow.owed_frames >= ACK_SOON
    }
}
