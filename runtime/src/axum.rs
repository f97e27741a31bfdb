//! Sessions on a route of an [axum](https://docs.rs/axum) server, beside its other routes: [`Upgrade`]. In the feature
//! `axum`, off by default.
//!
//! hyper reads the request and switches protocols; from there on everything is as on a port of our own: the same
//! checks of the request, the same WebSocket, the same limits and timeouts.
//!
//! ```
//! use axum::Router;
//! use axum::extract::State;
//! use axum::response::Response;
//! use axum::routing::get;
//! use helve::prelude::*;
//! use helve::{Host, Server};
//!
//! #[interface]
//! trait Counter {
//!     async fn add(&mut self, n: u64) -> u64;
//! }
//!
//! struct Count(u64);
//!
//! impl Counter for Count {
//!     async fn add(&mut self, n: u64) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! async fn rpc(State(host): State<Host>, upgrade: helve::axum::Upgrade) -> Response {
//!     upgrade.serve(&host)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Server::builder().root(|_peer| async { Ok(CounterHandle::new(Count(40))) }).host();
//! let app = Router::new()
//!     .route("/", get(|| async { "an ordinary page" }))
//!     .route("/rpc", get(rpc))
//!     .with_state(host);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/rpc", listener.local_addr()?);
//! tokio::spawn(async move { axum::serve(listener, app).await });
//!
//! let counter: CounterHandle = helve::connect(url).await?;
//! assert_eq!(counter.add(2).await?, 42);
//! # Ok(()) }
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::server::{AcceptError, Host, Upgrading};
use crate::transport::endpoint::is_loopback;
use crate::transport::handshake::{self, Answer, Place};

/// A request for a session: the extractor of a route that serves one.
///
/// Where it stands in the arguments of a handler, a request that asks for no WebSocket is answered with 426 or 400.
/// `Result<Upgrade, NotUpgrade>` lets the handler answer it instead, with a page for example.
///
/// The address of the client is known to [`Peer`](crate::Peer) where the server was started with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Web pages of the server's own host may connect only then, or
/// where the host is loopback; all others need [`allow_origin`](crate::Builder::allow_origin). Without that address
/// nobody knows whether this server is on loopback, where a hostile page could reach it under a name of its own.
#[derive(Debug)]
pub struct Upgrade {
    request: Request<()>,
    on_upgrade: OnUpgrade,
    peer: Option<SocketAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = NotUpgrade;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Upgrade, NotUpgrade> {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers.clone();
        handshake::websocket_response(&request).map_err(|(_, answer)| NotUpgrade(answer))?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(addr)| *addr);
        match parts.extensions.remove::<OnUpgrade>() {
            Some(on_upgrade) => Ok(Upgrade {
                request,
                on_upgrade,
                peer,
            }),
            None => Err(NotUpgrade(Answer {
                status: "500 Internal Server Error",
                body: "This connection cannot be upgraded: a layer before this route took the upgrade, or it was taken twice.".into(),
            })),
        }
    }
}

impl Upgrade {
    /// The answer that switches protocols; the session then runs in a task of its own until it ends.
    ///
    /// A request from a web page that may not connect is answered with 403, one that offers another subprotocol with
    /// 400, and one that is too much by the [`Throttle`](crate::Throttle) with 503.
    pub fn serve(self, host: &Host) -> Response {
        let Upgrade {
            request,
            on_upgrade,
            peer,
        } = self;
        // Loopback, unless the client came from elsewhere: the stricter rule where the address is not known.
        let local = match peer {
            Some(peer) if !is_loopback(peer.ip()) => None,
            _ => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)),
        };
        let place = Place { local, tls: false };
        let response = match handshake::answer_request(&request, place, host.origins()) {
            Ok(response) => response,
            Err((error, answer)) => {
                tracing::info!(?peer, %error, "a client was not taken");
                return answer.into_response();
            }
        };
        let upgrading = match host.upgrade(peer) {
            Ok(upgrading) => upgrading,
            Err(turned) => {
                tracing::debug!(?peer, %turned, "a client was turned away");
                let body = "This server takes no new connection now; try it again".into();
                let status = "503 Service Unavailable";
                return Answer { status, body }.into_response();
            }
        };
        tokio::spawn(async move {
            let served = async {
                let upgraded = timeout_at(upgrading.deadline, on_upgrade)
                    .await
                    .map_err(|_| AcceptError::Timeout)?
                    .map_err(|error| handshake::AcceptError::Io(std::io::Error::other(error)))?;
                run(upgraded, peer, upgrading).await
            };
            if let Err(error) = served.await {
                tracing::info!(?peer, %error, "a client was not taken");
            }
        });
        response.map(|()| Body::empty())
    }
}

/// On the TCP stream itself where hyper gives it back, as `axum::serve` does: one layer less for each byte.
async fn run(
    upgraded: Upgraded,
    peer: Option<SocketAddr>,
    upgrading: Upgrading,
) -> Result<(), AcceptError> {
    let max_message = upgrading.max_message();
    match downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            stream
                .set_nodelay(true)
                .map_err(handshake::AcceptError::Io)?;
            let peer = peer.or_else(|| stream.peer_addr().ok());
            let tail = parts.read_buf.to_vec();
            let link = handshake::accept_upgraded(stream, tail, peer, max_message).await;
            upgrading.serve(link.over_tcp()).await
        }
        Err(upgraded) => {
            let stream = TokioIo::new(upgraded);
            let link = handshake::accept_upgraded(stream, Vec::new(), peer, max_message).await;
            upgrading.serve(link).await
        }
    }
}

/// A request that asks for no WebSocket. As a response it says what the route is.
#[derive(Debug)]
pub struct NotUpgrade(Answer);

impl IntoResponse for NotUpgrade {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl fmt::Display for NotUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.body)
    }
}

impl std::error::Error for NotUpgrade {}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = self.status.as_bytes().get(..3).unwrap_or_default();
        let status = StatusCode::from_bytes(code).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, self.body + "\n").into_response();
        let headers = response.headers_mut();
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            let upgrade = HeaderValue::from_static("websocket");
            headers.insert(header::UPGRADE, upgrade);
        }
        response
    }
}
