//! [`SessionLimits`]: everything that bounds one session, in one place. Given to a server or a client by `.limits(..)`.

use std::time::Duration;

use helve_protocol::Limits;
use helve_protocol::session::{Config, Role};

/// Everything that bounds one session: what the peer may do to this side, which it is told, and what this side keeps to
/// itself. `.limits(..)` of a server and of a client takes it, and takes [`Limits`] alone as well.
///
/// Who goes beyond what it was told breaks the protocol, and its session ends. Who meets one of the others waits, or
/// gets an error that says so: an honest peer does not know them.
///
/// ```
/// use std::time::Duration;
/// use helve::{Limits, SessionLimits};
///
/// let limits = SessionLimits::from(Limits::default().with_table(1_000))
///     .with_running(64)
///     .with_handler_deadline(Duration::from_secs(30));
/// assert_eq!(limits.stated.table, 1_000);
/// assert_eq!(limits.pending, 256);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SessionLimits {
    /// What the peer is told: open calls, bytes, handles, streams, transfers, and the length of messages.
    pub stated: Limits,
    /// Methods that run at once for calls of depth 0 (R13.11). Further calls wait their turn, deeper ones do not. Default
    /// 256, at least 1.
    pub running: u32,
    /// Pipelined calls of the peer that have no answer yet, and calls that wait on one of them (R14.2, R14.3). One more
    /// fails as `Exhausted`. Default 256.
    pub pending: u32,
    /// Bytes of one-way calls that may wait on this side for a permit. One more fails as `Exhausted` and is not sent.
    /// Default 4 MiB.
    pub backlog: usize,
    /// Bytes that are kept until the peer acknowledges them (S5.1); what is beyond waits. Default 1 MiB at a server,
    /// 4 MiB at a client.
    pub replay: Option<usize>,
    /// Calls that the peer may cancel in a second on and on (R21.7); above it, its further calls wait before they start.
    /// None fails, and [`Stats::slowed`](crate::Stats::slowed) counts them. Default 200.
    pub cancel_rate: u32,
    /// Calls that the peer may cancel at once before the rate counts. Default 400.
    pub cancel_burst: u32,
    /// Bytes of the peer's values that are kept between calls which pass them as `&mut Tracked<T>` (R24.7), each counted as
    /// it is on the wire. Beyond it the least recently used is forgotten, and sent whole again when it is passed again.
    /// Default 16 MiB.
    pub kept: usize,
    /// How long a method of this side may take. It is then dropped, its caller gets `Deadline`, and
    /// [`Stats::overdue`](crate::Stats::overdue) counts it. Default: as long as its caller waits.
    pub handler_deadline: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits::from(Limits::default())
    }
}

impl From<Limits> for SessionLimits {
    fn from(stated: Limits) -> SessionLimits {
        SessionLimits {
            stated: stated.normalized(),
            running: 256,
            pending: 256,
            backlog: 4 << 20,
            replay: None,
            cancel_rate: 200,
            cancel_burst: 400,
            kept: 16 << 20,
            handler_deadline: None,
        }
    }
}

impl SessionLimits {
    /// Methods that run at once; 0 counts as 1.
    pub fn with_running(mut self, running: u32) -> SessionLimits {
        self.running = running.max(1);
        self
    }

    /// Pipelined calls without an answer, and calls that wait on one of them.
    pub fn with_pending(mut self, pending: u32) -> SessionLimits {
        self.pending = pending;
        self
    }

    /// Bytes of one-way calls that may wait on this side.
    pub fn with_backlog(mut self, backlog: usize) -> SessionLimits {
        self.backlog = backlog;
        self
    }

    /// Bytes that are kept until the peer acknowledges them.
    pub fn with_replay(mut self, replay: usize) -> SessionLimits {
        self.replay = Some(replay);
        self
    }

    /// Calls that the peer may cancel: a second, and at once; 0 counts as 1.
    pub fn with_cancels(mut self, rate: u32, burst: u32) -> SessionLimits {
        (self.cancel_rate, self.cancel_burst) = (rate.max(1), burst.max(1));
        self
    }

    /// Bytes of values kept between calls that pass them as `&mut Tracked<T>`; 0: none is kept.
    pub fn with_kept(mut self, kept: usize) -> SessionLimits {
        self.kept = kept;
        self
    }

    /// How long a method of this side may take.
    pub fn with_handler_deadline(mut self, deadline: Duration) -> SessionLimits {
        self.handler_deadline = Some(deadline);
        self
    }

    /// What a session is set up with.
    pub(crate) fn config(&self, role: Role, theirs: Limits, seed: u64) -> Config {
        let mut config = Config::new(role, self.stated, theirs, seed);
        config.running = self.running.max(1);
        config.pending = self.pending;
        config.backlog = self.backlog;
        config.replay = self.replay.unwrap_or(config.replay);
        (config.cancel_rate, config.cancel_burst) = (self.cancel_rate, self.cancel_burst);
        config.handler_ms = self
            .handler_deadline
            .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        config
    }
}
