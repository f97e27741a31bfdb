//! Who is at the other end of a session. Handed to the root factory, and to handlers through `Cx`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use crate::client::Connection;
use crate::connection::Conn;
use crate::error::RpcError;
use crate::server::Principal;
use crate::stats::Stats;
use crate::trace::Trace;

/// The other end of a session: where it connects from and who it proved to be. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    agent: String,
    addr: Option<SocketAddr>,
    token: Option<String>,
    principal: Option<Principal>,
    conn: OnceLock<Weak<Conn>>,
    /// Set for what stands in for a peer in the context of a call that has a trace.
    traced: Option<Traced>,
}

struct Traced {
    trace: Arc<Trace>,
    peer: Option<Peer>,
}

impl Peer {
    /// A peer as its HELLO describes it.
    pub(crate) fn new(
        agent: String,
        addr: Option<SocketAddr>,
        token: Option<String>,
        principal: Option<Principal>,
    ) -> Peer {
        Peer(Arc::new(Inner {
            agent,
            addr,
            token,
            principal,
            conn: OnceLock::new(),
            traced: None,
        }))
    }

    /// What stands in for this peer, or for none, in the context of a call that has a trace.
    pub(crate) fn traced(trace: Arc<Trace>, peer: Option<&Peer>) -> Peer {
        let peer = peer.cloned();
        Peer(Arc::new(Inner {
            traced: Some(Traced { trace, peer }),
            ..Inner::default()
        }))
    }

    #[inline]
    pub(crate) fn trace(&self) -> Option<&Arc<Trace>> {
        self.0.traced.as_ref().map(|traced| &traced.trace)
    }

    /// The peer that this stands for.
    pub(crate) fn itself(&self) -> Option<&Peer> {
        match &self.0.traced {
            None => Some(self),
            Some(traced) => traced.peer.as_ref(),
        }
    }

    /// What the peer calls itself, at most 64 bytes. Not proven by anything.
    pub fn agent(&self) -> &str {
        &self.0.agent
    }

    /// The address it connects from; `None` for a link in memory.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.0.addr
    }

    /// The token it showed.
    ///
    /// # Errors
    /// [`RpcError::Unauthenticated`] where it showed none, so that a root factory may write `peer.token()?`.
    pub fn token(&self) -> Result<&str, RpcError> {
        self.0
            .token
            .as_deref()
            .ok_or_else(|| RpcError::Unauthenticated("a token is needed".to_owned()))
    }

    pub(crate) fn set_connection(&self, conn: &Arc<Conn>) {
        // Set once, before anybody else has the peer of a session that runs.
        let _ = self.0.conn.set(Arc::downgrade(conn));
    }

    /// The views of shared values that it holds.
    pub(crate) fn views(&self) -> &[String] {
        self.0.principal.as_ref().map_or(&[], Principal::views)
    }

    /// The same, for this crate.
    pub(crate) fn connected(&self) -> Option<Arc<Conn>> {
        self.0.conn.get()?.upgrade()
    }

    /// Its connection, from the moment that it was welcomed and as long as somebody holds on to it.
    pub fn connection(&self) -> Option<Connection> {
        self.0.conn.get()?.upgrade().map(Connection::new)
    }

    /// What its connection carried so far, seen from this side. `None` before it was welcomed, and once nobody holds the
    /// connection any more.
    pub fn stats(&self) -> Option<Stats> {
        self.connection().map(|connection| connection.stats())
    }

    /// The name that the authentication hook gave it.
    pub fn principal(&self) -> Option<&str> {
        self.0.principal.as_ref().map(Principal::name)
    }
}

/// Never prints the token.
impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("agent", &self.0.agent)
            .field("addr", &self.0.addr)
            .field("principal", &self.principal())
            .finish_non_exhaustive()
    }
}
