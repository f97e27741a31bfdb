//! The peers that are measured. Each has a server and a client for the same four pieces of work.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Instant;

use crate::cases::Work;
use crate::deltas::{Change, Edit};
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
    /// The edit alone.
    Plain,
    /// All of the value, by rmp-serde.
    Whole,
    SerdeDiff,
    Remoc,
    Yrs,
    Helve,
}

impl PeerName {
    pub(crate) const ALL: &[PeerName] = &[
        PeerName::Limit,
        PeerName::Loop,
        PeerName::Plain,
        PeerName::Whole,
        PeerName::SerdeDiff,
        PeerName::Remoc,
        PeerName::Yrs,
        PeerName::Helve,
    ];

    /// Measured unless others are asked for.
    pub(crate) fn by_default() -> Vec<PeerName> {
        let all = PeerName::ALL.iter().copied();
        all.filter(|peer| *peer != PeerName::Loop).collect()
    }

    /// Whether it has this work.
    pub(crate) fn does(self, work: Work) -> bool {
        let Work::Delta(change) = work else {
            return matches!(self, PeerName::Limit | PeerName::Loop | PeerName::Helve);
        };
        let has_text = match change {
            Change::Edit(Edit::InsertString) => None,
            Change::Edit(edit) => Some(edit == Edit::Insert),
            Change::Far(_) | Change::Fanout(_) => return self == PeerName::Helve,
        };
        match self {
            PeerName::Helve | PeerName::Plain => true,
            PeerName::Whole | PeerName::SerdeDiff | PeerName::Yrs => has_text.is_some(),
            PeerName::Remoc => has_text == Some(false),
            PeerName::Limit | PeerName::Loop => false,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            PeerName::Limit => "limit",
            PeerName::Loop => "loop",
            PeerName::Plain => "plain",
            PeerName::Whole => "whole",
            PeerName::SerdeDiff => "serde-diff",
            PeerName::Remoc => "remoc",
            PeerName::Yrs => "yrs",
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

/// Makes small calls one at a time while `bulk` runs, and notes how long each took, in ns.
async fn beside<F: Future<Output = Measured<()>>>(
    bulk: impl Future<Output = Measured<()>>,
    mut small: impl FnMut() -> F,
    times: &mut Vec<u64>,
) -> Measured<()> {
    let started = Cell::new(Instant::now());
    let took = || u64::try_from(started.get().elapsed().as_nanos()).unwrap_or(u64::MAX);
    let calls = async {
        loop {
            started.set(Instant::now());
            if let Err(error) = small().await {
                break error;
            }
            times.push(took());
        }
    };
    let done = tokio::select! {
        biased;
        done = bulk => done,
        error = calls => Err(error),
    };
    // The one that is still out has taken at least so long.
    times.push(took());
    done
}

/// One connection.
pub(crate) trait Client {
    /// Does `count` calls (chains, one-way calls) and returns when the last has ended.
    async fn work(&mut self, work: Work, count: u64) -> Measured<()>;

    /// Bytes at the client's socket so far.
    fn bytes(&self) -> Bytes;

    /// How long the small calls beside [`Work::Bulk`] took, in ns, since last asked.
    fn times(&mut self) -> Vec<u64> {
        Vec::new()
    }
}
