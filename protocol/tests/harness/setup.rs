//! The two sides of a pair, and how they are set up.

use helve_protocol::Limits;
use helve_protocol::session::{Config, Role};

/// One end of the pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Side {
    A,
    B,
}

/// How a pair is set up; the defaults are those of the protocol.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What B may do to A, and A to B.
    pub limits: Limits,
    pub running: u32,
    pub pending: u32,
    pub replay: Option<usize>,
    pub backlog: usize,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            limits: Limits::default(),
            running: 256,
            pending: 256,
            replay: None,
            backlog: 4 << 20,
        }
    }
}

impl Setup {
    pub fn config(&self, side: Side) -> Config {
        let role = if side == Side::A {
            Role::Client
        } else {
            Role::Server
        };
        let mut config = Config::new(role, self.limits, self.limits, side as u64 + 1);
        config.running = self.running;
        config.pending = self.pending;
        config.replay = self.replay.unwrap_or(config.replay);
        config.backlog = self.backlog;
        config
    }
}
