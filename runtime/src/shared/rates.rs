//! [`Rates`]: how often a session may propose what is refused, or what cannot be read (objects.md, section 7). `follows`
//! keeps one for each connection, `host` asks it.

use std::time::Duration;

use tokio::time::Instant;

/// So many refusals at once.
const BURST: u32 = 20;
/// How often there may be one more: ten a second.
const EVERY: Duration = Duration::from_millis(100);
/// So many proposals that cannot be read, within this time, end the session.
const MALFORMED_MAX: u32 = 3;
const MALFORMED_IN: Duration = Duration::from_secs(60);

/// What one session has got wrong of late.
#[derive(Default)]
pub(super) struct Rates {
    /// When all refusals will be forgotten: each adds a tenth of a second.
    forgotten: Option<Instant>,
    malformed: u32,
    malformed_since: Option<Instant>,
}

impl Rates {
    /// Whether one more refusal would be within bounds. Where the session is about to end nothing is.
    pub(super) fn allow(&self, now: Instant) -> bool {
        if self.malformed >= MALFORMED_MAX {
            return false;
        }
        let owed = self.forgotten.map_or(Duration::ZERO, |at| at - now);
        owed + EVERY <= EVERY * BURST
    }

    /// A proposal was refused.
    pub(super) fn refused(&mut self, now: Instant) {
        let from = self.forgotten.map_or(now, |at| at.max(now));
        self.forgotten = Some(from + EVERY);
    }

    /// A proposal could not be read. Whether that was one too many.
    pub(super) fn malformed(&mut self, now: Instant) -> bool {
        if self
            .malformed_since
            .is_none_or(|since| now - since >= MALFORMED_IN)
        {
            (self.malformed_since, self.malformed) = (Some(now), 0);
        }
        self.malformed += 1;
        self.malformed >= MALFORMED_MAX
    }
}
