//! Going away well (S9): the peer is told, what it called before it knew runs to its end, and what comes later is refused
//! in a way that it may safely call elsewhere.

use super::{Object, Session};
use crate::Code;
use crate::batch::Parsed;
use crate::fault::Fault;
use crate::frame;

/// Both directions of it.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Ours, not numbered yet: how many ms it gives.
    wanted: Option<u64>,
    /// The number of our DRAIN.
    border: Option<u64>,
    /// The message being taken was sent after the peer had our DRAIN.
    late: bool,
    /// The peer's: how many ms it gives.
    told: Option<u64>,
}

impl<O: Object> Session<O> {
    /// Tells the peer that we are about to leave, in `grace_ms` at the latest. The first one counts.
    pub fn drain(&mut self, grace_ms: u64) {
        if self.ended.is_none() && self.drain.border.is_none() {
            self.drain.wanted.get_or_insert(grace_ms);
            self.post_drain();
        }
    }

    /// Numbers our DRAIN as soon as there is room for it.
    pub(super) fn post_drain(&mut self) {
        if let Some(grace) = self.drain.wanted
            && self.has_room()
        {
            self.drain.wanted = None;
            let seq = self.number(|buf| frame::write_drain(buf, grace));
            self.drain.border = Some(seq);
            // Who leaves wants to know at once from when on nothing new comes.
            self.ask_ack();
        }
    }

    /// Whether DRAIN waits to be numbered.
    #[inline]
    pub(super) fn owes_drain(&self) -> bool {
        self.drain.wanted.is_some()
    }

    /// Looks whether a message comes from behind the border (S9.1).
    #[inline]
    pub(super) fn note_border(&mut self, parsed: &Parsed) {
        if let Some(border) = self.drain.border {
            self.drain.late = parsed.ack >= border;
        }
    }

    /// What a call of this depth gets because we are leaving. Deeper ones belong to a call that runs.
    #[inline]
    pub(super) fn too_late(&self, depth: u8) -> Option<Fault> {
        if depth > 0 || !self.drain.late {
            return None;
        }
        Some(Fault::new(
            Code::Unavailable,
            "the peer is shutting down: connect elsewhere and call again",
        ))
    }

    pub(super) fn on_drain(&mut self, grace_ms: u64) {
        self.drain.told.get_or_insert(grace_ms);
    }

    /// Whether the peer said that it leaves, and in how many ms at the latest.
    #[inline]
    pub fn told_to_leave(&self) -> Option<u64> {
        self.drain.told
    }

    /// Whether the peer knows that we leave, and all that it called before has ended: close with 4004 (S9.2).
    pub fn is_drained(&self) -> bool {
        self.drain
            .border
            .is_some_and(|border| self.is_acked(border))
            && self.incoming.is_empty()
            && self.tells.is_empty()
    }
}
