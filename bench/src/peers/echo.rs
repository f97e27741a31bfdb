//! The hand-made server that `limit` and `loop` share, and their messages: what a careful hand makes of tokio-tungstenite
//! when calls are all it must do. An 8 KiB read buffer, every message that is there answered before one flush. No
//! handles, no types, no acks, no errors, no dispatch.
//!
//! A request is 14 bytes: an id of 4, flags of 2, and two u32, as the arguments of `add`. The server sends it back as it
//! is, without a copy, unless the flags ask for no reply. With WebSocket headers a call is 20 bytes up and 16 down.

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

use super::Measured;
use crate::meter::{Counters, Metered};

/// The client's end of a connection.
pub(super) type Socket = WebSocketStream<Metered<TcpStream>>;

/// Length of a message.
const LEN: usize = 14;
/// Flags of a request without a reply.
pub(super) const ONEWAY: u16 = 1;
/// Calls in a chain.
pub(super) const CHAIN: u64 = 8;

/// Listens on a free port of loopback and serves in the background.
pub(super) async fn serve() -> Measured<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("the echo server: {error}");
                }
            });
        }
    });
    Ok(address)
}

/// A socket that counts its bytes.
pub(super) async fn connect(server: SocketAddr) -> Measured<(Socket, Arc<Counters>)> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (stream, counters) = Metered::new(stream);
    let url = format!("ws://{server}/");
    let (socket, _) = client_async_with_config(url, stream, Some(config())).await?;
    Ok((socket, counters))
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .max_message_size(None)
        .max_frame_size(None)
}

/// Serves one connection: every request that is there is answered before one flush.
async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async_with_config(stream, Some(config())).await?;
    while let Some(message) = ended(socket.next().await)? {
        let mut next = Some(message);
        while let Some(message) = next {
            if !is_oneway(&message) {
                socket.feed(head(message)).await?;
            }
            next = ready(&mut socket).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

fn is_oneway(request: &Message) -> bool {
    match request {
        Message::Binary(bytes) => bytes.get(4..6) == Some(&ONEWAY.to_le_bytes()),
        _ => true,
    }
}

/// What goes back: a long request is not echoed whole.
fn head(request: Message) -> Message {
    match request {
        Message::Binary(bytes) if bytes.len() > LEN => Message::Binary(bytes.slice(..LEN)),
        short => short,
    }
}

/// A request with `len` bytes behind it.
pub(super) fn long_request(id: u32, len: usize) -> Message {
    let mut bytes = vec![7; LEN + len];
    bytes[..LEN].copy_from_slice(&request(id, 0).into_data());
    Message::Binary(bytes.into())
}

/// The same message with another id. Nobody else may hold it, or it is copied.
pub(super) fn renumbered(message: Message, id: u32) -> Message {
    match message.into_data().try_into_mut() {
        Ok(mut bytes) => {
            bytes[..4].copy_from_slice(&id.to_le_bytes());
            Message::Binary(bytes.freeze())
        }
        Err(bytes) => Message::Binary(bytes),
    }
}

/// The request for `2 + 3`.
pub(super) fn request(id: u32, flags: u16) -> Message {
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&id.to_le_bytes());
    bytes[4..6].copy_from_slice(&flags.to_le_bytes());
    bytes[6..10].copy_from_slice(&2u32.to_le_bytes());
    bytes[10..].copy_from_slice(&3u32.to_le_bytes());
    Message::Binary(Payload::copy_from_slice(&bytes))
}

/// The id of a reply.
pub(super) fn reply_to(reply: &Message) -> Measured<u32> {
    match reply {
        Message::Binary(bytes) if bytes.len() == LEN => match bytes.first_chunk() {
            Some(id) => Ok(u32::from_le_bytes(*id)),
            None => Err("an empty reply".into()),
        },
        other => Err(format!("not a reply: {other:?}").into()),
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
pub(super) fn ended(next: Option<Result<Message, Error>>) -> Result<Option<Message>, Error> {
    match next {
        None | Some(Err(Error::ConnectionClosed | Error::Protocol(_))) => Ok(None),
        Some(Ok(Message::Close(_))) => Ok(None),
        Some(other) => other.map(Some),
    }
}
