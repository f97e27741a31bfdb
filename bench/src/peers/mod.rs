//! The peers that are measured. Each has a server and a client for the same four pieces of work.

use std::error::Error;
use std::net::SocketAddr;

use crate::cases::Work;
use crate::meter::Bytes;

pub(crate) mod bare;
mod echo;
pub(crate) mod helve;
pub(crate) mod limit;

/// An outcome of a measurement; an error ends the run.
pub(crate) type Measured<T> = Result<T, Box<dyn Error>>;

/// The peers by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PeerName {
    Limit,
    Loop,
    Helve,
}

impl PeerName {
    pub(crate) const ALL: &[PeerName] = &[PeerName::Limit, PeerName::Loop, PeerName::Helve];
    /// Measured unless others are asked for.
    pub(crate) const DEFAULT: &[PeerName] = &[PeerName::Limit, PeerName::Helve];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            PeerName::Limit => "limit",
            PeerName::Loop => "loop",
            PeerName::Helve => "helve",
        }
    }
}

/// A way to make calls over one connection. Everything runs on the current-thread runtime it is called on.
pub(crate) trait Peer: 'static {
    type Client: Client;

    /// Binds a free port of loopback and serves in the background, for as long as the runtime runs.
    async fn serve() -> Measured<SocketAddr>;

    /// Connects, over real TCP with a WebSocket on it.
    async fn connect(server: SocketAddr) -> Measured<Self::Client>;
}

/// One connection.
pub(crate) trait Client {
    /// Does `count` calls (chains, one-way calls) and returns when the last has ended.
    async fn work(&mut self, work: Work, count: u64) -> Measured<()>;

    /// Bytes at the client's socket so far.
    fn bytes(&self) -> Bytes;
}
