//! Opening a WebSocket: HTTP upgrade, subprotocol, Origin. Called by the client and by the server's accept task.
//!
//! The server side reads the request itself, so that whoever comes by mistake (a browser, `curl`, another protocol)
//! gets an HTTP answer that says what this port is. The caller hands in the deadline of the whole handshake (S1).

mod origin;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{
    Request, Response, create_response, write_response,
};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::SUBPROTOCOL;
use super::endpoint::{AddressError, Endpoint};
use super::meter::Metered;
use super::readiness::Buffered;
use super::websocket::{self, WebSocketLink};
use origin::foreign_origin;

/// Longest HTTP head that either side reads.
const MAX_HEAD: usize = 16 << 10;
/// How long a refused client may take to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Longest message that we take, in bytes: the `batch` limit that HELLO states.
    pub max_message: usize,
    /// `ws://` to a host that is not on loopback is allowed.
    pub insecure: bool,
    /// When the whole handshake must be done.
    pub deadline: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address itself is wrong.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection to any address of the host.
    #[error("cannot connect to `{url}`: {source}; is the server running, and is the port right?")]
    Io {
        /// The URL as given.
        url: String,
        /// The system's words.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("`{url}` did not complete the handshake in time; is it a Helve server?")]
    Timeout {
        /// The URL as given.
        url: String,
    },
    /// An HTTP answer that is not an upgrade.
    #[error("`{url}` answered with HTTP status {status} instead of a WebSocket{}{body}", if body.is_empty() { "" } else { ": " })]
    Http {
        /// The URL as given.
        url: String,
        /// The status of the answer.
        status: u16,
        /// The beginning of its body, at most 256 bytes.
        body: String,
    },
    /// A WebSocket server that does not speak Helve.
    #[error(
        "`{url}` is a WebSocket server, but does not speak `{SUBPROTOCOL}`; is it a Helve server of this version?"
    )]
    Subprotocol {
        /// The URL as given.
        url: String,
    },
    /// The server does not speak WebSocket.
    #[error(
        "`{url}` does not speak WebSocket ({why}); is the port right, and is it a Helve server?{}",
        if url.starts_with("wss:") { "" } else { " if it speaks TLS, use wss://" }
    )]
    NotWebSocket {
        /// The URL as given.
        url: String,
        /// What came instead.
        why: String,
    },
    /// The server's certificate is not to be trusted.
    #[error("cannot trust `{url}`: {why}")]
    Untrusted {
        /// The URL as given.
        url: String,
        /// What is wrong with the server's certificate, and what to do.
        why: String,
    },
    /// The roots that this client should trust are of no use.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Roots(#[from] crate::tls::TlsError),
    /// The connection went away in the middle of the TLS handshake.
    #[error(
        "`{url}` closed the connection during the TLS handshake; is it a plain port? then use ws://; is it overloaded? then try again"
    )]
    Cut {
        /// The URL as given.
        url: String,
    },
    /// The TLS handshake failed for another reason than trust.
    #[error("no TLS with `{url}`: {why}")]
    Tls {
        /// The URL as given.
        url: String,
        /// What happened, and what to do.
        why: String,
    },
}

/// Connects to `ws://host:port/path`. `wss://` is for [`helve::connect`](crate::connect) alone.
pub async fn connect(url: &str, options: &ConnectOptions) -> Result<WebSocketLink, ConnectError> {
    connect_to(&Endpoint::parse(url)?, options).await
}

pub(crate) async fn connect_to(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<WebSocketLink, ConnectError> {
    if endpoint.is_tls() {
        let url = endpoint.url().to_owned();
        return Err(AddressError::Tls { url }.into());
    }
    let work = async {
        let (stream, address) = dial(endpoint, options.insecure).await?;
        let link = connect_over(stream, Some(address), endpoint, options.max_message).await?;
        Ok(link.over_tcp())
    };
    in_time(endpoint, options.deadline, work).await
}

/// A connection to the first address of the host that takes one.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    insecure: bool,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let failed = |source| ConnectError::Io {
        url: endpoint.url().to_owned(),
        source,
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in endpoint.resolve(insecure).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok((stream, address));
            }
            Err(e) => last = e,
        }
    }
    Err(failed(last))
}

/// What `work` yields, if it does by the deadline.
pub(crate) async fn in_time<T>(
    endpoint: &Endpoint,
    deadline: Instant,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match timeout_at(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::Timeout {
            url: endpoint.url().to_owned(),
        }),
    }
}

/// The client's half over a stream that is already connected. The caller sets the deadline.
pub async fn connect_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Option<SocketAddr>,
    endpoint: &Endpoint,
    max_message: usize,
) -> Result<WebSocketLink<S>, ConnectError> {
    let failed = |error| connect_error(endpoint.url(), error);
    let mut request = endpoint.uri().into_client_request().map_err(failed)?;
    request.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let stream = Metered::new(stream, MAX_HEAD);
    let config = Some(websocket::config(max_message));
    let (ws, _) = tokio_tungstenite::client_async_with_config(request, stream, config)
        .await
        .map_err(failed)?;
    // A server has nothing to say before HELLO, so nothing came behind its answer.
    let buffered = Buffered::new(false, ws.get_ref().reading().bytes_in, false);
    Ok(WebSocketLink::new(ws, max_message, peer, buffered))
}

fn connect_error(url: &str, error: WsError) -> ConnectError {
    let url = url.to_owned();
    match error {
        WsError::Http(answer) => {
            let status = answer.status().as_u16();
            let text = answer
                .body()
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let mut body: String = text
                .trim()
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            crate::error::cut(&mut body, 256);
            ConnectError::Http { url, status, body }
        }
        WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            ConnectError::Subprotocol { url }
        }
        WsError::Protocol(ProtocolError::HandshakeIncomplete) => ConnectError::NotWebSocket {
            url,
            why: "it closed the connection without an answer".to_owned(),
        },
        WsError::Io(e) if e.get_ref().is_some_and(|e| e.is::<super::meter::Overrun>()) => {
            ConnectError::NotWebSocket {
                url,
                why: format!("its HTTP head is above {MAX_HEAD} bytes"),
            }
        }
        WsError::Io(source) => ConnectError::Io { url, source },
        other => ConnectError::NotWebSocket {
            url,
            why: other.to_string(),
        },
    }
}

/// How to accept.
#[derive(Clone, Debug)]
pub struct AcceptOptions {
    /// Longest message that we take, in bytes: the `batch` limit that WELCOME states.
    pub max_message: usize,
    /// Origins of web pages that may connect besides those of the server's own host, as browsers write them:
    /// `https://app.example.com`. `*` stands for all.
    pub origins: Vec<String>,
    /// When the whole handshake must be done.
    pub deadline: Instant,
}

/// Why a client got no connection. For the server's log; the client got an HTTP answer where it spoke HTTP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The deadline passed.
    #[error("the client did not complete the handshake in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(#[from] io::Error),
    /// The client went away before its request was whole.
    #[error("the client went away during the handshake")]
    Gone,
    /// The client did not agree to TLS: it does not trust the certificate, for example.
    #[error("no TLS with the client: {0}")]
    NoTls(String),
    /// Plain HTTP came to a TLS port.
    #[error("the client spoke plain HTTP to a wss:// port; it should use wss://, not ws://")]
    Plain,
    /// A TLS handshake came to a plain port.
    #[error("the client spoke TLS to a ws:// port; it should use ws://, not wss://")]
    Tls,
    /// The request's head is too long.
    #[error("the client's HTTP head is above {MAX_HEAD} bytes")]
    HeadTooLong,
    /// Not a WebSocket request.
    #[error("the client did not ask for a WebSocket: {0}")]
    NotWebSocket(String),
    /// The page behind the request may not connect.
    #[error("a web page of {origin} may not connect; `.allow_origin(\"{origin}\")` would let it")]
    Origin {
        /// What the browser said.
        origin: String,
    },
    /// A WebSocket request for another protocol.
    #[error("the client did not offer the subprotocol `{SUBPROTOCOL}`")]
    Subprotocol,
}

/// The server's half. To be run in a task of its own, never in the loop that accepts.
pub async fn accept(
    stream: TcpStream,
    options: &AcceptOptions,
) -> Result<WebSocketLink, AcceptError> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let link = accept_over(stream, Some(peer), Some(local), options).await?;
    Ok(link.over_tcp())
}

/// The server's half over any stream. `local` is the address that the client reached, for the rule on Origin.
pub async fn accept_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    options: &AcceptOptions,
) -> Result<WebSocketLink<S>, AcceptError> {
    let place = Place { local, tls: false };
    accept_at(stream, peer, place, options).await
}

/// Where a request arrived, for the rule on Origin.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The address that the client reached, where it reached one.
    pub(crate) local: Option<SocketAddr>,
    /// The stream is TLS, and this server ends it.
    pub(crate) tls: bool,
}

/// The server's half, with or without TLS beneath.
pub(crate) async fn accept_at<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Option<SocketAddr>,
    place: Place,
    options: &AcceptOptions,
) -> Result<WebSocketLink<S>, AcceptError> {
    let mut stream = Metered::new(stream, usize::MAX);
    let work = async {
        match upgrade(&mut stream, place, &options.origins).await {
            Ok(tail) => Ok(tail),
            Err((error, None)) => Err(error),
            Err((error, Some(answer))) => {
                refuse(&mut stream, &answer).await;
                Err(error)
            }
        }
    };
    let tail = timeout_at(options.deadline, work)
        .await
        .map_err(|_| AcceptError::Timeout)??;
    Ok(served(stream, tail, peer, options.max_message).await)
}

/// The server's half over a stream whose request somebody else has read and answered; `tail` came behind it.
#[cfg(feature = "axum")]
pub(crate) async fn accept_upgraded<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    tail: Vec<u8>,
    peer: Option<SocketAddr>,
    max_message: usize,
) -> WebSocketLink<S> {
    served(Metered::new(stream, usize::MAX), tail, peer, max_message).await
}

async fn served<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Metered<S>,
    tail: Vec<u8>,
    peer: Option<SocketAddr>,
    max_message: usize,
) -> WebSocketLink<S> {
    let buffered = Buffered::new(true, stream.reading().bytes_in, !tail.is_empty());
    let config = Some(websocket::config(max_message));
    let ws = WebSocketStream::from_partially_read(stream, tail, Role::Server, config).await;
    WebSocketLink::new(ws, max_message, peer, buffered)
}

/// The error, and the HTTP answer that tells the client, where one makes sense.
type Refusal = (AcceptError, Option<String>);

/// Reads the request and answers it with 101. Returns what came behind the request.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    place: Place,
    origins: &[String],
) -> Result<Vec<u8>, Refusal> {
    let mut head = Vec::new();
    let end = read_head(stream, &mut head).await?;
    let tail = head.split_off(end);
    let said = head.len();
    let told = |(error, answer): (AcceptError, Answer)| (error, Some(answer.text(said)));
    let request = match Request::try_parse(&head) {
        Ok(Some((_, request))) => request,
        Ok(None) => {
            let refused = not_websocket("400 Bad Request", "the HTTP head is incomplete");
            return Err(told(refused));
        }
        Err(e) => return Err(told(not_websocket("400 Bad Request", &e.to_string()))),
    };
    let response = answer_request(&request, place, origins).map_err(told)?;
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response)
        .map_err(|e| not_websocket("400 Bad Request", &e.to_string()))
        .map_err(told)?;
    let io = |e| (AcceptError::Io(e), None);
    stream.write_all(&bytes).await.map_err(io)?;
    stream.flush().await.map_err(io)?;
    Ok(tail)
}

/// The answer 101 to a request for any WebSocket.
pub(crate) fn websocket_response(request: &Request) -> Result<Response, (AcceptError, Answer)> {
    create_response(request).map_err(|e| {
        let status = match &e {
            WsError::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader,
            ) => "426 Upgrade Required\r\nUpgrade: websocket",
            _ => "400 Bad Request",
        };
        not_websocket(status, &e.to_string())
    })
}

/// The answer 101 to a request for a session, from somebody who may have one.
pub(crate) fn answer_request(
    request: &Request,
    place: Place,
    origins: &[String],
) -> Result<Response, (AcceptError, Answer)> {
    let mut response = websocket_response(request)?;
    if let Some(origin) = foreign_origin(request.headers(), place, origins) {
        let body = format!(
            "Pages of {origin} may not connect to this server. Its operator allows them with .allow_origin(\"{origin}\")."
        );
        return Err((
            AcceptError::Origin { origin },
            Answer {
                status: "403 Forbidden",
                body,
            },
        ));
    }
    if !offers_helve(request.headers()) {
        let body = format!(
            "This WebSocket speaks the subprotocol \"{SUBPROTOCOL}\" only; the request does not offer it in Sec-WebSocket-Protocol."
        );
        return Err((
            AcceptError::Subprotocol,
            Answer {
                status: "400 Bad Request",
                body,
            },
        ));
    }
    response.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Ok(response)
}

/// Reads until the empty line, and returns the offset behind it.
async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    head: &mut Vec<u8>,
) -> Result<usize, Refusal> {
    let mut space = [0u8; 2048];
    loop {
        let read = stream
            .read(&mut space)
            .await
            .map_err(|e| (AcceptError::Io(e), None))?;
        // The empty line may have begun in what was read before.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(space.get(..read).unwrap_or_default());
        if read == 0 {
            return Err((AcceptError::Gone, None));
        }
        if head.first() == Some(&0x16) {
            return Err((AcceptError::Tls, None));
        }
        let found = head
            .get(from..)
            .and_then(|new| new.windows(4).position(|w| w == b"\r\n\r\n"));
        match found.map(|at| from + at + 4) {
            Some(end) if end <= MAX_HEAD => return Ok(end),
            None if head.len() <= MAX_HEAD => {}
            _ => {
                let body = format!("The HTTP head is above {MAX_HEAD} bytes.");
                let answer = answer("431 Request Header Fields Too Large", &body);
                return Err((AcceptError::HeadTooLong, Some(answer)));
            }
        }
    }
}

fn not_websocket(status: &'static str, why: &str) -> (AcceptError, Answer) {
    let body = format!(
        "This port speaks Helve over WebSocket (subprotocol \"{SUBPROTOCOL}\"); connect with helve::connect(\"ws://...\"). {why}"
    );
    (
        AcceptError::NotWebSocket(why.to_owned()),
        Answer { status, body },
    )
}

/// What a client reads for whom there is no room.
pub(crate) const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
     Content-Type: text/plain; charset=utf-8\r\nContent-Length: 54\r\n\r\n\
     This server takes no new connection now; try it again\n";

/// An HTTP answer that is not 101.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Code and reason, and headers that belong to the code.
    pub(crate) status: &'static str,
    pub(crate) body: String,
}

impl Answer {
    /// As it goes to a stranger who said so many bytes, who gets at most four times that and 256 (invariant 29): whoever
    /// sends in another's name must not have them drowned.
    fn text(&self, said: usize) -> String {
        let over = answer(self.status, &self.body)
            .len()
            .saturating_sub(4 * said + 256);
        let most = self.body.len().saturating_sub(over);
        let end = (0..=most).rev().find(|at| self.body.is_char_boundary(*at));
        let body = end.and_then(|end| self.body.get(..end));
        answer(self.status, body.unwrap_or_default())
    }
}

pub(crate) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{body}\n",
        body.len() + 1
    )
}

/// Sends an HTTP answer and lets the client read it: a connection closed with unread bytes would be reset.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, answer: &str) {
    let send = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(64 << 10), &mut tokio::io::sink()).await
    };
    // Whatever goes wrong here, the client is refused already.
    let _ = timeout(REFUSAL_LINGER, send).await;
}

fn offers_helve(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.split(',').any(|p| p.trim() == SUBPROTOCOL))
}

#[cfg(test)]
mod tests;
