//! What one message held, in arenas that are reused from message to message. Filled by [`crate::batch::parse`], read by the
//! session.

use helve_handles::{Descriptor, Target};

use crate::frame::{Frame, Span};

/// Frames for which [`Parsed`] keeps memory from one message to the next.
const KEEP: usize = 4_096;

/// What one message held. Reused from message to message: the arenas keep their memory.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Number of the first frame; with no frame, of the next one (E1.3).
    pub first_seq: u64,
    /// All up to here was accepted by the peer (S3).
    pub ack: u64,
    /// Whether the batch asks for an ack (S4).
    pub asks_ack: bool,
    /// The frames, numbered from `first_seq`.
    pub frames: Vec<Frame>,
    /// For each frame, its bytes in the message.
    pub spans: Vec<Span>,
    /// Arena of cap tables.
    pub caps: Vec<Descriptor>,
    /// Arena of the pairs of RELEASE.
    pub releases: Vec<(Target, u64)>,
}

impl Parsed {
    /// An empty one, without memory.
    pub fn new() -> Parsed {
        Parsed::default()
    }

    /// Forgets the message and keeps the memory, up to what ordinary batches need.
    pub fn clear(&mut self) {
        self.first_seq = 0;
        self.ack = 0;
        self.asks_ack = false;
        self.frames.clear();
        self.spans.clear();
        self.caps.clear();
        self.releases.clear();
        if self.frames.capacity() > KEEP {
            self.frames.shrink_to(KEEP);
            self.spans.shrink_to(KEEP);
        }
        if self.caps.capacity().max(self.releases.capacity()) > 4 * KEEP {
            self.caps.shrink_to(KEEP);
            self.releases.shrink_to(KEEP);
        }
    }

    /// A cap table.
    pub fn caps_of(&self, caps: Span) -> &[Descriptor] {
        self.caps.get(caps.range()).unwrap_or_default()
    }

    /// The pairs of a RELEASE.
    pub fn releases_of(&self, pairs: Span) -> &[(Target, u64)] {
        self.releases.get(pairs.range()).unwrap_or_default()
    }
}
