//! The limit: what a careful hand makes of tokio-tungstenite when calls are all it must do. One small binary message a
//! call, an 8 KiB read buffer, everything that is ready written before one flush. No handles, no types, no acks, no errors.
//!
//! A request is 12 bytes: an id and two u32, as the arguments of `add`. A reply is the sum, 4 bytes, in the order of the
//! requests. The id's highest bit asks for no reply. Higher layers can only add to this.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes as Payload, Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use super::{Client, Measured, Peer};
use crate::cases::Work;
use crate::meter::{Bytes, Counters, Metered};

/// Asks for no reply.
pub(super) const ONEWAY: u32 = 1 << 31;

/// A sender of one-way messages flushes after so many.
const FLUSH: u64 = 1024;

/// Calls in a chain.
pub(super) const CHAIN: u64 = 8;

/// The peer's name as a type.
pub(crate) struct Limit;

impl Peer for Limit {
    type Client = LimitClient;

    async fn serve() -> Measured<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Err(error) = echo(stream).await {
                        eprintln!("limit's server: {error}");
                    }
                });
            }
        });
        Ok(address)
    }

    async fn connect(server: SocketAddr) -> Measured<LimitClient> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (stream, counters) = Metered::new(stream);
        let (socket, _) =
            client_async_with_config(format!("ws://{server}/"), stream, Some(config())).await?;
        Ok(LimitClient { socket, counters })
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(8 * 1024)
}

/// Serves one connection: every request that is there is answered before one flush.
async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async_with_config(stream, Some(config())).await?;
    while let Some(message) = ended(socket.next().await)? {
        let mut next = Some(message);
        while let Some(message) = next {
            if let Some(reply) = answer(&message) {
                socket.feed(reply).await?;
            }
            next = ready(&mut socket).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

fn answer(request: &Message) -> Option<Message> {
    let Message::Binary(bytes) = request else {
        return None;
    };
    let [id, a, b] = fields(bytes)?;
    (id & ONEWAY == 0)
        .then(|| Message::Binary(Payload::copy_from_slice(&a.wrapping_add(b).to_le_bytes())))
}

fn fields(bytes: &[u8]) -> Option<[u32; 3]> {
    let (fields, rest) = bytes.as_chunks::<4>();
    match (fields, rest) {
        ([id, a, b], []) => Some([id, a, b].map(|field| u32::from_le_bytes(*field))),
        _ => None,
    }
}

/// The next message if one is there now; does not wait.
pub(super) async fn ready<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
) -> Result<Option<Message>, Error> {
    let next = std::future::poll_fn(|cx| match Pin::new(&mut *socket).poll_next(cx) {
        Poll::Ready(next) => Poll::Ready(next),
        Poll::Pending => Poll::Ready(None),
    });
    ended(next.await)
}

/// A connection that just went away is no error: the other end of the process ended first.
fn ended(next: Option<Result<Message, Error>>) -> Result<Option<Message>, Error> {
    match next {
        None | Some(Err(Error::ConnectionClosed | Error::Protocol(_))) => Ok(None),
        Some(Ok(Message::Close(_))) => Ok(None),
        Some(other) => other.map(Some),
    }
}

/// The client's end.
pub(crate) struct LimitClient {
    pub(super) socket: WebSocketStream<Metered<TcpStream>>,
    pub(super) counters: Arc<Counters>,
}

impl Client for LimitClient {
    async fn work(&mut self, work: Work, count: u64) -> Measured<()> {
        match work {
            Work::Calls { in_flight } => self.calls(count, in_flight as u64).await,
            Work::Chains => self.calls(count * CHAIN, 1).await,
            Work::Oneway => self.oneway(count).await,
            Work::Idle => Ok(()),
        }
    }

    fn bytes(&self) -> Bytes {
        self.counters.bytes()
    }
}

impl LimitClient {
    /// Keeps `in_flight` requests out: each reply makes room for the next request, and a turn's requests share a flush.
    async fn calls(&mut self, count: u64, in_flight: u64) -> Measured<()> {
        let mut sent = 0;
        while sent < count.min(in_flight) {
            self.socket.feed(request(sent, 0)).await?;
            sent += 1;
        }
        self.socket.flush().await?;
        let mut received = 0;
        while received < count {
            let mut next = ended(self.socket.next().await)?;
            if next.is_none() {
                return Err("the server went away".into());
            }
            while let Some(reply) = next {
                check(&reply)?;
                received += 1;
                if sent < count {
                    self.socket.feed(request(sent, 0)).await?;
                    sent += 1;
                }
                next = if received < count {
                    ready(&mut self.socket).await?
                } else {
                    None
                };
            }
            self.socket.flush().await?;
        }
        Ok(())
    }

    /// Sends without replies, then makes one call: its reply says that all before it were handled.
    async fn oneway(&mut self, count: u64) -> Measured<()> {
        for sent in 0..count {
            self.socket.feed(request(sent, ONEWAY)).await?;
            if sent % FLUSH == FLUSH - 1 {
                self.socket.flush().await?;
            }
        }
        self.calls(1, 1).await
    }
}

pub(super) fn request(id: u64, flags: u32) -> Message {
    let id = (id as u32 & !ONEWAY) | flags;
    let mut bytes = [0; 12];
    for (field, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip([id, 2, 3]) {
        *field = value.to_le_bytes();
    }
    Message::Binary(Payload::copy_from_slice(&bytes))
}

pub(super) fn check(reply: &Message) -> Measured<()> {
    match reply {
        Message::Binary(sum) if **sum == 5u32.to_le_bytes() => Ok(()),
        other => Err(format!("2 + 3 came back as {other:?}").into()),
    }
}
