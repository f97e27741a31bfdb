//! The side that is connected to: [`serve`], [`Server`], and the handshake of each client.

mod credentials;
mod entry;
#[cfg(feature = "axum")]
mod upgraded;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use helve_protocol::Code;
use helve_protocol::hello::{Auth, Hello, Refuse, Token as SessionToken, VERSION, Welcome};
use helve_protocol::session::{Role, Session};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::client::{random, say};
use crate::connection::Conn;
use crate::driver::Driver;
use crate::error::RpcError;
use crate::handle::Remote;
use crate::limits::SessionLimits;
use crate::node::{Node, ObjectRef};
use crate::peer::Peer;
use crate::stats::State;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;
use crate::transport::endpoint::{AddressError, Endpoint};
use crate::transport::handshake;
use crate::transport::throttle::{Door, Throttle};
use crate::transport::{Close, Link, LinkEnd};

pub use credentials::{Principal, Token};
#[cfg(feature = "axum")]
pub(crate) use upgraded::Upgrading;

/// Why a server does not run.
///
/// Its `Debug` is its text: that is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is wrong or cannot be listened on.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// `wss://` without a certificate.
    #[error("`{url}` asks for TLS: give the server its certificate and key with `.tls(..)`")]
    NoCertificate {
        /// The URL as given.
        url: String,
    },
}

impl std::fmt::Debug for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

type Authenticate = dyn Fn(Token) -> BoxFuture<'static, Result<Principal, RpcError>> + Send + Sync;
type MakeRoot = dyn Fn(Peer, Arc<Node>) -> BoxFuture<'static, Result<(ObjectRef, &'static str), RpcError>>
    + Send
    + Sync;

/// Serves a root object to every client that connects: binds, then runs for ever.
///
/// `root` is called once for each client, before it is welcomed; what it fails with refuses the client.
///
/// ```no_run
/// # use helve::prelude::*;
/// # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
/// # struct Count(u64);
/// # impl Counter for Count { async fn add(&mut self, n: u64) -> u64 { self.0 += n; self.0 } }
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// helve::serve("ws://127.0.0.1:7000", |_peer| async { Ok(CounterHandle::new(Count(0))) }).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The URL is wrong, or the port is taken.
pub async fn serve<H, F>(
    url: &str,
    root: impl Fn(Peer) -> F + Send + Sync + 'static,
) -> Result<(), ServeError>
where
    H: Remote,
    F: Future<Output = Result<H, RpcError>> + Send + 'static,
{
    Server::builder().root(root).bind(url).await?.run().await;
    Ok(())
}

/// How a server is set up. [`Server::builder`] begins, [`root`](Builder::root) says what is served, [`Rooted::bind`]
/// ends.
#[derive(Default)]
pub struct Builder {
    authenticate: Option<Arc<Authenticate>>,
    limits: SessionLimits,
    origins: Vec<String>,
    insecure: bool,
    throttle: Throttle,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
}

impl Builder {
    /// Checks every client's token, before anything else runs for it.
    pub fn authenticate<F>(mut self, hook: impl Fn(Token) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Principal, RpcError>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |token| Box::pin(hook(token))));
        self
    }

    /// What a client may do to this server.
    pub fn limits(mut self, limits: impl Into<SessionLimits>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Lets web pages of this origin connect: `https://app.example.com`. Those of the server's own host always may;
    /// `*` lets all in.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Allows `ws://` on an address that is not on loopback.
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// What this server puts up with from strangers and slow links: handshakes, connections, stalls.
    pub fn throttle(mut self, throttle: Throttle) -> Self {
        self.throttle = throttle;
        self
    }

    /// The certificate to show, and its key; then [`bind`](Rooted::bind) takes `wss://` alone.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// What is served: called once for each client, before it is welcomed.
    pub fn root<H, F>(self, root: impl Fn(Peer) -> F + Send + Sync + 'static) -> Rooted
    where
        H: Remote,
        F: Future<Output = Result<H, RpcError>> + Send + 'static,
    {
        let root: Arc<MakeRoot> = Arc::new(move |peer, node| {
            let made = root(peer);
            Box::pin(async move {
                let object = made.await?.as_ref().to_root(&node)?;
                Ok((object, H::INTERFACE.id))
            })
        });
        Rooted {
            builder: self,
            root,
        }
    }
}

/// A server that knows what it serves.
pub struct Rooted {
    builder: Builder,
    root: Arc<MakeRoot>,
}

impl Rooted {
    /// See [`Builder::authenticate`].
    pub fn authenticate<F>(mut self, hook: impl Fn(Token) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Principal, RpcError>> + Send + 'static,
    {
        self.builder = self.builder.authenticate(hook);
        self
    }

    /// See [`Builder::limits`].
    pub fn limits(mut self, limits: impl Into<SessionLimits>) -> Self {
        self.builder = self.builder.limits(limits);
        self
    }

    /// See [`Builder::allow_origin`].
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.builder = self.builder.allow_origin(origin);
        self
    }

    /// See [`Builder::insecure`].
    pub fn insecure(mut self) -> Self {
        self.builder = self.builder.insecure();
        self
    }

    /// See [`Builder::throttle`].
    pub fn throttle(mut self, throttle: Throttle) -> Self {
        self.builder = self.builder.throttle(throttle);
        self
    }

    /// See [`Builder::tls`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.builder = self.builder.tls(tls);
        self
    }

    /// Listens on `wss://host:port`, or `ws://host:port` without TLS; port 0 takes a free one, which [`Server::url`]
    /// tells.
    ///
    /// # Errors
    /// The URL is wrong, the port is taken, `wss://` without `.tls(..)` or the other way round, or `ws://` on an address
    /// that is not on loopback and `.insecure()` was not said.
    pub async fn bind(self, url: &str) -> Result<Server, ServeError> {
        let endpoint = Endpoint::parse(url)?;
        entry::check_tls(&endpoint, &self.builder)?;
        let listener = endpoint.bind(self.builder.insecure).await?;
        let port = listener
            .local_addr()
            .map(|addr| addr.port())
            .unwrap_or_default();
        Ok(Server {
            listener,
            url: endpoint.with_port(port),
            shared: self.into_shared(),
        })
    }

    /// Serves without listening: each client is a link handed to [`Host::serve_link`].
    pub fn host(self) -> Host {
        Host(self.into_shared())
    }

    fn into_shared(self) -> Arc<Shared> {
        let Rooted { builder, root } = self;
        Arc::new(Shared {
            node: Node::new(),
            root,
            authenticate: builder.authenticate,
            limits: builder.limits,
            origins: builder.origins,
            throttle: builder.throttle,
            #[cfg(feature = "tls")]
            tls: builder.tls,
            incarnation: random(),
            door: Door::new(builder.throttle),
            stopped: watch::Sender::new(false),
        })
    }
}

/// What all clients of a server share.
struct Shared {
    node: Arc<Node>,
    root: Arc<MakeRoot>,
    authenticate: Option<Arc<Authenticate>>,
    limits: SessionLimits,
    origins: Vec<String>,
    throttle: Throttle,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    incarnation: u64,
    /// Counts the handshakes, on every way in.
    door: Arc<Door>,
    /// No further client is taken.
    stopped: watch::Sender<bool>,
}

/// A server that listens. Dropping it, or the future of [`run`](Server::run), ends every connection.
pub struct Server {
    listener: TcpListener,
    url: String,
    shared: Arc<Shared>,
}

impl Server {
    /// Begins to set one up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens, with the port that was taken.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many local objects its clients hold, all together, their roots included.
    pub fn objects(&self) -> usize {
        self.shared.node.len()
    }

    /// As [`Host::peers`].
    pub fn peers(&self) -> Vec<Peer> {
        self.host().peers()
    }

    /// The same server without its port: it counts the objects while [`run`](Server::run) has the server, and serves
    /// links that came another way beside those of the port.
    pub fn host(&self) -> Host {
        Host(self.shared.clone())
    }

    /// Takes clients until it is dropped, or until [`Host::shutdown`]; then it ends with the last of them.
    pub async fn run(self) {
        let mut clients = JoinSet::new();
        let mut stopped = self.shared.stopped.subscribe();
        loop {
            while clients.try_join_next().is_some() {}
            let accepted = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let pending = match self.shared.door.admit(from.ip(), Instant::now()) {
                        Ok(pending) => pending,
                        Err(turned) => {
                            tracing::debug!(%from, %turned, "a client was turned away");
                            self.shared.turn_away(stream);
                            continue;
                        }
                    };
                    let shared = self.shared.clone();
                    clients.spawn(async move {
                        let served = entry::serve(shared, stream, pending).await;
                        if let Err(error) = served {
                            tracing::info!(%from, %error, "a client was not taken");
                        }
                    });
                }
                Err(error) => {
                    // Too many open files, for example: accepting again at once would spin.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // Who comes now is not let wait for nothing.
        drop(self.listener);
        while clients.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A server without a port.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

impl Host {
    /// Serves one client until its session ends.
    ///
    /// # Errors
    /// The client was refused, or did not complete the handshake.
    pub async fn serve_link(&self, link: impl Link) -> Result<(), AcceptError> {
        let deadline = Instant::now() + self.0.throttle.handshake;
        greet(&self.0, link, deadline).await?.await;
        Ok(())
    }

    /// How many local objects its clients hold, all together, their roots included.
    pub fn objects(&self) -> usize {
        self.0.node.len()
    }

    /// Who is connected, in the order of connecting. Each tells its connection and its statistics.
    pub fn peers(&self) -> Vec<Peer> {
        let sessions = self.0.node.sessions();
        let stand = sessions
            .iter()
            .filter(|conn| *conn.state.borrow() == State::Connected);
        stand.map(|conn| conn.peer.clone()).collect()
    }

    /// No further client is taken: the port is given up, and who comes over a link is refused.
    pub(crate) fn stop(&self) {
        self.0.stopped.send_replace(true);
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Conn>> {
        self.0.node.sessions()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("objects", &self.objects())
            .finish_non_exhaustive()
    }
}

/// Why a client was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It never became a link.
    #[error(transparent)]
    Link(#[from] handshake::AcceptError),
    /// It was told no.
    #[error("refused: {0}")]
    Refused(RpcError),
    /// Its HELLO was none.
    #[error("it broke the protocol: {0}")]
    Violation(#[from] helve_protocol::Violation),
    /// It went away.
    #[error("it went away: {0}")]
    Gone(LinkEnd),
    /// It took longer than [`Throttle::handshake`].
    #[error("it did not complete the handshake in time")]
    Timeout,
}

/// HELLO, the hooks, WELCOME or REFUSE.
async fn greet<L: Link>(
    shared: &Arc<Shared>,
    mut link: L,
    deadline: Instant,
) -> Result<Driver<L>, AcceptError> {
    let work = async {
        let message = poll_fn(|cx| link.poll_recv(cx))
            .await
            .map_err(AcceptError::Gone)?;
        let hello = Hello::decode(&message)?;
        let admitted = admit(shared, &hello, link.peer_addr())
            .await
            .map_err(AcceptError::Refused)?;
        Ok::<_, AcceptError>((hello, admitted))
    };
    let result = timeout_at(deadline, work)
        .await
        .unwrap_or(Err(AcceptError::Timeout));
    let (hello, (peer, root, interface)) = match result {
        Ok(admitted) => admitted,
        Err(error) => {
            dismiss(link, &error).await;
            return Err(error);
        }
    };
    let welcome = Welcome {
        limits: shared.limits.stated,
        root: Some(interface.to_owned()),
        incarnation: shared.incarnation,
        ..Welcome::fresh(uuid::Uuid::new_v4().into_bytes(), session_token())
    };
    let said = timeout_at(deadline, say(&mut link, welcome.encode().into())).await;
    said.map_err(|_| AcceptError::Timeout)?
        .map_err(AcceptError::Gone)?;
    let config = shared.limits.config(Role::Server, hello.limits, random());
    let conn = Conn::new(
        Session::new(config, Some(root)),
        Role::Server,
        shared.node.clone(),
        peer.clone(),
    );
    conn.kept.limit(shared.limits.kept);
    peer.set_connection(&conn);
    if *shared.stopped.borrow() {
        // Stopped while this one was being welcomed.
        conn.drain(Duration::ZERO);
    }
    Ok(Driver::new(conn, link).throttled(&shared.throttle))
}

/// Version, authentication, root factory, in this order (S1).
async fn admit(
    shared: &Arc<Shared>,
    hello: &Hello,
    addr: Option<SocketAddr>,
) -> Result<(Peer, ObjectRef, &'static str), RpcError> {
    if hello.version != VERSION {
        return Err(RpcError::Version(format!(
            "this server speaks version {VERSION}, the client {}",
            hello.version
        )));
    }
    if *shared.stopped.borrow() {
        return Err(RpcError::Busy("the server is shutting down".into()));
    }
    let principal = match &shared.authenticate {
        Some(hook) => Some(hook(Token(hello.auth.clone())).await?),
        None => None,
    };
    let token = match &hello.auth {
        Some(Auth::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let peer = Peer::new(hello.agent.clone(), addr, token, principal);
    let (root, interface) = (shared.root)(peer.clone(), shared.node.clone()).await?;
    Ok((peer, root, interface))
}

/// Says why not, and closes: REFUSE and 4003 where the HELLO was one, else 4001.
async fn dismiss(mut link: impl Link, error: &AcceptError) {
    let goodbye = async {
        let close = match error {
            AcceptError::Refused(error) => {
                let (code, message) = error.to_wire();
                let refuse = Refuse {
                    code: code.raw(),
                    message,
                    retry_after: (code == Code::Busy).then_some(1000),
                };
                // The client may be gone; then nobody needs to hear it.
                let _ = say(&mut link, refuse.encode().into()).await;
                Close::new(Close::REFUSED, "refused")
            }
            AcceptError::Violation(violation) => Close::new(Close::VIOLATION, violation.reason()),
            AcceptError::Gone(end) => match end.answer() {
                Some(close) => close,
                None => return,
            },
            _ => Close::new(Close::VIOLATION, "S1.11: no HELLO in time"),
        };
        link.start_close(close);
        poll_fn(|cx| link.poll_close(cx)).await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

/// 256 random bits.
fn session_token() -> SessionToken {
    let mut token = [0; 32];
    let (a, b, c) = (
        uuid::Uuid::new_v4(),
        uuid::Uuid::new_v4(),
        uuid::Uuid::new_v4(),
    );
    // Each has 122 random bits; its fixed bits are in bytes 6 and 8.
    let random = [a, b, c].map(uuid::Uuid::into_bytes);
    let bytes = random
        .iter()
        .flat_map(|bytes| bytes.iter().enumerate().filter(|(i, _)| *i != 6 && *i != 8));
    for (place, (_, byte)) in token.iter_mut().zip(bytes) {
        *place = *byte;
    }
    SessionToken(token)
}
