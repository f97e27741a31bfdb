//! How much a session holds, for statistics and for tests that look for leaks.

use super::{Object, Session};

impl<O: Object> Session<O> {
    /// Sizes of every table. All zero at rest, when nothing is held across the link.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            exports: self.exports.by_name.len(),
            imports: self.imports.len(),
            opened: self.opened.len(),
            calls: self.calls.len(),
            waiting: self.waiting.len() + self.waited.len(),
            incoming: self.incoming.len() + self.tells.len(),
            streams: self.producers.len() + self.consumers.len(),
            follows: self.subscribers.len() + self.follows.len() + self.holds.len(),
            charged: self
                .charged
                .iter()
                .map(|c| u64::from(c.calls) + c.bytes)
                .sum(),
            our_charges: self
                .lines
                .iter()
                .map(|l| u64::from(l.charged.calls) + l.charged.bytes)
                .sum(),
            transfers: self.flow.transfers.len() + self.assembly.len(),
            unacked: self.flow.unacked(),
        }
    }
}

/// Table sizes of a session, for statistics and for tests that look for leaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Our objects that the peer has a name for, besides the root.
    pub exports: usize,
    /// The peer's objects that we hold, besides its root.
    pub imports: usize,
    /// OPENs of the peer that are not released.
    pub opened: usize,
    /// Calls of ours that are numbered and not taken.
    pub calls: usize,
    /// Calls of ours that wait for a permit.
    pub waiting: usize,
    /// Calls of the peer's that are not answered, one-way ones included.
    pub incoming: usize,
    /// Our streams that the peer has not released, and its own that something came of.
    pub streams: usize,
    /// The peer's subscriptions to shared values, ours, and results that wait for replicas.
    pub follows: usize,
    /// Calls and bytes that the peer is charged.
    pub charged: u64,
    /// Calls and bytes that we are charged.
    pub our_charges: u64,
    /// Payloads that are under way in parts, in both directions, and calls that wait for one.
    pub transfers: usize,
    /// Frames of ours that are not acknowledged.
    pub unacked: usize,
}

impl Sizes {
    /// Whether nothing is held, called or owed across the link. (Unacknowledged frames do not count.)
    pub fn is_empty(&self) -> bool {
        Sizes {
            unacked: 0,
            ..*self
        } == Sizes::default()
    }
}
