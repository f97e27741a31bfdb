//! The side that connects: [`connect`], and the [`Connection`] behind every remote handle.

use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use helve_handles::id::ID_LIMIT;
use helve_protocol::Code;
use helve_protocol::hello::{Auth, Hello, Reply, VERSION};
use helve_protocol::session::{Role, Session};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Conn, RemoteRef};
use crate::driver::Driver;
use crate::error::RpcError;
use crate::handle::{Dispatch, Ref, Remote};
use crate::limits::SessionLimits;
use crate::node::Node;
use crate::peer::Peer;
use crate::stats::{State, Stats};
use crate::transport::endpoint::Endpoint;
use crate::transport::handshake::{self, ConnectOptions};
use crate::transport::{Close, Link, LinkEnd};
#[cfg(feature = "tls")]
use crate::transport::{endpoint::AddressError, tls};

/// S1: the whole handshake, name look-up and TCP included.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// What this library calls itself in HELLO.
const AGENT: &str = concat!("helve/", env!("CARGO_PKG_VERSION"));

/// Why there is no connection.
///
/// Its `Debug` is its text: that is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no link to the server: a wrong URL, a refused port, no Helve server there, or no answer in time.
    #[error(transparent)]
    Link(#[from] handshake::ConnectError),
    /// The server refused the session.
    #[error("the server refused the session: {error}")]
    Refused {
        /// Its reason: [`RpcError::Unauthenticated`], [`RpcError::Version`], [`RpcError::Busy`] or the root factory's own.
        error: RpcError,
        /// When the server would like to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server's root object has another interface than the handle that was asked for.
    #[error(
        "the server's root is `{found}`, not `{expected}`: connect with the handle of that interface"
    )]
    WrongRoot {
        /// The interface of the handle.
        expected: &'static str,
        /// The interface that the server serves.
        found: String,
    },
    /// The server spoke something else than the protocol.
    #[error("the server does not speak this protocol: {0}")]
    Protocol(String),
    /// The link ended before the session began.
    #[error("the connection ended during the handshake: {0}")]
    Lost(LinkEnd),
    /// The server did not answer in time.
    #[error(
        "the server took the connection but sent no WELCOME within 10 s; is it a Helve server, and is it overloaded?"
    )]
    Timeout,
    /// The thread of [`helve::blocking`](crate::blocking) could not be started.
    #[error("the background thread of `helve::blocking` could not be started: {0}")]
    Runtime(std::io::Error),
}

impl std::fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl ConnectError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Refused { error, .. } => error.is_retryable(),
            ConnectError::Link(
                handshake::ConnectError::Io { .. }
                | handshake::ConnectError::Timeout { .. }
                | handshake::ConnectError::Cut { .. }
                | handshake::ConnectError::Http { status: 503, .. },
            ) => true,
            ConnectError::Lost(_) | ConnectError::Timeout => true,
            _ => false,
        }
    }
}

/// Connects to a server and yields a handle to its root object.
///
/// ```no_run
/// # use helve::prelude::*;
/// # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let counter: CounterHandle = helve::connect("ws://127.0.0.1:7000").token("t").await?;
/// # Ok(()) }
/// ```
pub fn connect<H: Remote>(url: impl Into<String>) -> Connect<H> {
    Connect {
        to: To::Url(url.into()),
        auth: None,
        limits: SessionLimits::default(),
        insecure: false,
        #[cfg(feature = "tls")]
        trust: crate::tls::Trust::default(),
        deadline: HANDSHAKE,
        handle: PhantomData,
    }
}

/// As [`connect`], over a link that exists already: one half of [`memory::pair`](crate::transport::memory::pair), for
/// example.
pub fn connect_over<H: Remote>(link: impl Link) -> Connect<H> {
    Connect {
        to: To::Link(Box::new(link)),
        ..connect("")
    }
}

/// A connection to be made: `.await` it for the root handle.
#[must_use = "nothing is connected before this is awaited"]
pub struct Connect<H> {
    to: To,
    auth: Option<Auth>,
    limits: SessionLimits,
    insecure: bool,
    #[cfg(feature = "tls")]
    trust: crate::tls::Trust,
    deadline: Duration,
    handle: PhantomData<fn() -> H>,
}

enum To {
    Url(String),
    Link(Box<dyn Link>),
}

impl<H: Remote> Connect<H> {
    /// The token to show. It goes inside the session's first message, never into the URL; at most 8 KiB.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.auth = Some(Auth::Text(token.into()));
        self
    }

    /// The same, as bytes.
    pub fn token_bytes(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.auth = Some(Auth::Bytes(token.into()));
        self
    }

    /// What the server may do to this side.
    pub fn limits(mut self, limits: impl Into<SessionLimits>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Allows `ws://` to a host that is not on loopback: everyone on the way can read and change what is said.
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Trusts the servers whose certificate one of these signed, and no others: certificates of authorities, or of a
    /// server that signed its own, in PEM. Without this a client trusts what its system trusts.
    #[cfg(feature = "tls")]
    pub fn tls_roots(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.trust = crate::tls::Trust::Roots(pem.as_ref().to_vec());
        self
    }

    /// Does TLS as this configuration says, where roots alone do not do: a certificate of the client's, an older version
    /// of TLS. Its ALPN is set where it has none, and 0-RTT is switched off.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: crate::tls::rustls::ClientConfig) -> Self {
        self.trust = crate::tls::Trust::Config(crate::tls::adapted(config));
        self
    }

    /// How long the whole handshake may take. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = timeout;
        self
    }

    async fn run(self) -> Result<H, ConnectError> {
        let deadline = Instant::now() + self.deadline;
        match self.to {
            To::Url(url) => {
                let max_message = usize::try_from(self.limits.stated.batch).unwrap_or(usize::MAX);
                let options = ConnectOptions {
                    max_message,
                    insecure: self.insecure,
                    deadline,
                };
                let endpoint = Endpoint::parse(&url).map_err(handshake::ConnectError::from)?;
                #[cfg(feature = "tls")]
                {
                    if endpoint.is_tls() {
                        let link = tls::connect(&endpoint, &options, &self.trust).await?;
                        return greet(link, self.auth, self.limits, deadline).await;
                    }
                    if let Some(setting) = self.trust.setting() {
                        let url = endpoint.url().to_owned();
                        let unused = AddressError::NotTls { url, setting };
                        return Err(handshake::ConnectError::from(unused).into());
                    }
                }
                let link = handshake::connect_to(&endpoint, &options).await?;
                greet(link, self.auth, self.limits, deadline).await
            }
            To::Link(link) => greet(link, self.auth, self.limits, deadline).await,
        }
    }
}

impl<H: Remote> IntoFuture for Connect<H> {
    type Output = Result<H, ConnectError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// HELLO, WELCOME, and the session begins.
async fn greet<H: Remote>(
    mut link: impl Link,
    auth: Option<Auth>,
    limits: SessionLimits,
    deadline: Instant,
) -> Result<H, ConnectError> {
    let hello = Hello {
        agent: AGENT.into(),
        auth,
        limits: limits.stated,
        ..Hello::default()
    };
    let talk = async {
        say(&mut link, hello.encode().into()).await?;
        poll_fn(|cx| link.poll_recv(cx)).await
    };
    let reply = match timeout_at(deadline, talk).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(end)) => return Err(ConnectError::Lost(end)),
        Err(_) => return Err(ConnectError::Timeout),
    };
    let welcome = match Reply::decode(&reply) {
        Ok(Reply::Welcome(welcome)) if welcome.version == VERSION => welcome,
        Ok(Reply::Welcome(welcome)) => {
            return Err(ConnectError::Protocol(format!(
                "it welcomes with version {}",
                welcome.version
            )));
        }
        Ok(Reply::Refuse(refuse)) => {
            let error = RpcError::from_wire(Code::from_raw(refuse.code), &refuse.message, None);
            return Err(ConnectError::Refused {
                error,
                retry_after: refuse.retry_after.map(Duration::from_millis),
            });
        }
        Err(violation) => return Err(ConnectError::Protocol(violation.to_string())),
    };
    let expected = H::INTERFACE.id;
    if let Some(found) = welcome.root.filter(|found| found != expected) {
        link.start_close(Close::normal());
        // Politeness only: the server sees the end either way.
        let _ =
            tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| link.poll_close(cx))).await;
        return Err(ConnectError::WrongRoot { expected, found });
    }
    let config = limits.config(Role::Client, welcome.limits, random());
    let peer = Peer::new("server".into(), link.peer_addr(), None, None);
    let session = Session::new(config, None);
    let root = session.root();
    let conn = Conn::new(session, Role::Client, Node::new(), peer);
    conn.kept.limit(limits.kept);
    let handle = H::from_ref(Ref::there(RemoteRef::new(
        conn.clone(),
        root,
        H::Object::interface,
    )));
    tokio::spawn(Driver::new(conn, link));
    Ok(handle)
}

pub(crate) async fn say(link: &mut impl Link, message: Bytes) -> Result<(), LinkEnd> {
    poll_fn(|cx| link.poll_ready(cx)).await?;
    link.start_send(message)?;
    poll_fn(|cx| link.poll_flush(cx)).await
}

/// A random number from the system, below 2^53.
pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 % ID_LIMIT
}

/// One connection, seen by who uses it. Holding it keeps a client's connection open.
pub struct Connection(Arc<Conn>);

impl Connection {
    pub(crate) fn new(conn: Arc<Conn>) -> Connection {
        conn.add_user();
        Connection(conn)
    }

    /// Whether it stands.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Each state from now on, the present one first. Ends after [`State::Lost`].
    pub fn states(&self) -> impl futures::Stream<Item = State> + Send + 'static {
        let receiver = self.0.state.subscribe();
        futures::stream::unfold(Some((receiver, true)), |next| async move {
            let (mut receiver, first) = next?;
            if !first && receiver.changed().await.is_err() {
                return None;
            }
            let state = receiver.borrow_and_update().clone();
            let more = !matches!(state, State::Lost { .. });
            Some((state, more.then_some((receiver, false))))
        })
    }

    /// What it carried so far, and how many references and calls are open on it.
    pub fn stats(&self) -> Stats {
        let (sizes, calls_made, slowed) = self.0.with(|session| {
            (
                session.sizes(),
                session.calls_made(),
                session.calls_slowed(),
            )
        });
        let (kept, kept_bytes) = self.0.kept.sizes();
        Stats {
            kept,
            kept_bytes,
            exports: sizes.exports,
            imports: sizes.imports,
            opened: sizes.opened,
            calls: sizes.calls + sizes.waiting,
            calls_made,
            slowed,
            stuck: self.0.running.stuck(),
            waiting: sizes.waiting,
            unacked: sizes.unacked,
            incoming: sizes.incoming,
            transfers: sizes.transfers,
            streams: sizes.streams,
            follows: sizes.follows,
            ..self.0.counters.read()
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.0.peer.clone()
    }

    /// Closes it: what was sent is still acknowledged, for at most 5 s. Methods that run at the peer for this side are
    /// cancelled, one-way ones too: [`flush`](crate::Remote::flush) first what has to run. Every handle of it breaks. When this returns the
    /// peer has heard of it, or could not within another 5 s: the program may end.
    pub async fn close(&self) {
        self.0.close(Close::normal());
        // Cannot fail: `self` keeps the sender.
        let _ = self.0.unlinked.subscribe().wait_for(|gone| *gone).await;
    }

    /// Waits until its link is gone too.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut unlinked = self.0.unlinked.subscribe();
        async move {
            // An error says that nobody is left to unlink.
            let _ = unlinked.wait_for(|gone| *gone).await;
        }
    }

    /// Waits for its end and says how it ended.
    pub fn closed(&self) -> impl Future<Output = State> + Send + 'static {
        let mut receiver = self.0.state.subscribe();
        async move {
            match receiver
                .wait_for(|state| matches!(state, State::Lost { .. }))
                .await
            {
                Ok(state) => state.clone(),
                Err(_) => State::Lost {
                    code: 1006,
                    reason: "the connection is gone".into(),
                },
            }
        }
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Connection::new(self.0.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.drop_user();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("state", &self.state())
            .field("peer", &self.0.peer)
            .finish_non_exhaustive()
    }
}
