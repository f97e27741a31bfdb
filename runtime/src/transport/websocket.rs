//! A link over one WebSocket. Made by `handshake`, polled by the connection task.
//!
//! tungstenite reads with an 8 KiB buffer (it zero-fills that buffer on every read that finds nothing) and writes
//! through a small one. Beneath it the byte meter bounds what never becomes a message, above it a token bucket bounds
//! control frames and a timer the time that a message takes; a ping is answered by tungstenite, the newest one alone if
//! several wait.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};

use super::meter::{Bucket, Metered, Overrun, Rate};
use super::readiness::{self, Buffered, Readable};
use super::throttle::Throttle;
use super::{Close, Link, LinkEnd, MeterReading};

/// What may come beyond the message limit before a message is whole: heads of fragments, and what is read ahead.
const FRAGMENT_ALLOWANCE: usize = 64 << 10;
/// Bytes a second that a message must make at least: each KiB that came adds a second to its time.
const ASSEMBLY_RATE: usize = 1 << 10;
/// Bytes thrown away after our Close, so that the peer gets to read it before the connection is reset.
const LINGER_BYTES: usize = 4 << 20;

/// How tungstenite is set up on both sides.
pub(crate) fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(4 << 10)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
        .accept_unmasked_frames(false)
}

/// A WebSocket after its handshake.
pub struct WebSocketLink<S = TcpStream> {
    ws: WebSocketStream<Metered<S>>,
    max_message: usize,
    peer: Option<SocketAddr>,
    control: Bucket,
    control_rate: Rate,
    assembly: Assembly,
    end: Option<LinkEnd>,
    closing: Closing,
    buffered: Buffered,
    readable: Readable<S>,
    /// `bytes_in` when the connection last asked whether anything was heard.
    heard_at: u64,
}

/// Shows no buffer: a HELLO in it holds a token.
impl<S> std::fmt::Debug for WebSocketLink<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketLink")
            .field("peer", &self.peer)
            .field("end", &self.end)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// The message that has begun and is not whole.
struct Assembly {
    allowed: Duration,
    /// When it was first seen.
    since: Option<Instant>,
    /// Made when it is first needed.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    No,
    /// Our Close, or the answer to the peer's, is on its way out.
    Flush,
    /// Ours is out; the peer's is awaited.
    Answer,
    Shutdown,
    /// Both directions are done for; what still comes is thrown away until the peer is gone, up to so many bytes.
    Linger(usize),
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> WebSocketLink<S> {
    pub(crate) fn new(
        mut ws: WebSocketStream<Metered<S>>,
        max_message: usize,
        peer: Option<SocketAddr>,
        buffered: Buffered,
    ) -> WebSocketLink<S> {
        ws.get_mut()
            .set_limit(max_message.saturating_add(FRAGMENT_ALLOWANCE));
        let heard_at = ws.get_ref().reading().bytes_in;
        WebSocketLink {
            ws,
            max_message,
            peer,
            control: Bucket::default(),
            control_rate: Throttle::default().control(),
            assembly: Assembly {
                allowed: Throttle::default().assembly,
                since: None,
                timer: None,
            },
            end: None,
            closing: Closing::No,
            buffered,
            readable: readiness::always,
            heard_at,
        }
    }

    /// The same with other settings than the default ones: how often control frames may come, and how long a message may take.
    pub fn throttled(mut self, throttle: &Throttle) -> Self {
        self.control_rate = throttle.control();
        self.assembly.allowed = throttle.assembly;
        self
    }

    /// Nothing is to be read now: pending, unless a message has been under way for too long.
    fn idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        let unfinished = self.ws.get_ref().unfinished();
        if unfinished == 0 {
            self.assembly.since = None;
            return Poll::Pending;
        }
        self.poll_assembly(unfinished, cx)
    }

    #[cold]
    fn poll_assembly(
        &mut self,
        unfinished: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, LinkEnd>> {
        let assembly = &mut self.assembly;
        loop {
            let now = Instant::now();
            let since = *assembly.since.get_or_insert(now);
            let came = Duration::from_secs((unfinished / ASSEMBLY_RATE) as u64);
            let until = since + assembly.allowed + came;
            if now >= until {
                let end = LinkEnd::Unfinished { after: now - since };
                self.end = Some(end.clone());
                return Poll::Ready(Err(end));
            }
            let timer = assembly
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            // One that is set too early wakes the task once for nothing; setting it for every read would cost more.
            if timer.is_elapsed() || timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    /// What tungstenite's error means for us.
    fn end_of(&self, error: WsError) -> LinkEnd {
        match error {
            WsError::Io(e) => match e.get_ref().and_then(|e| e.downcast_ref::<Overrun>()) {
                Some(Overrun(limit)) => LinkEnd::Overrun { limit: *limit },
                None => LinkEnd::lost(e.kind(), e.to_string()),
            },
            WsError::Capacity(_) => LinkEnd::TooLarge {
                limit: self.max_message,
            },
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkEnd::lost(
                io::ErrorKind::UnexpectedEof,
                "the peer went away without a Close",
            ),
            WsError::ConnectionClosed
            | WsError::AlreadyClosed
            | WsError::Protocol(ProtocolError::SendAfterClosing) => {
                LinkEnd::lost(io::ErrorKind::NotConnected, "the connection is closed")
            }
            WsError::Protocol(e) => LinkEnd::Malformed(e.to_string()),
            other => LinkEnd::Malformed(other.to_string()),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), LinkEnd> {
        if self.closing != Closing::No {
            return Err(LinkEnd::closing());
        }
        Pin::new(&mut self.ws)
            .start_send(message)
            .map_err(|e| self.end_of(e))
    }

    /// Reads and throws away until there is nothing now (pending) or nothing ever (ready).
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_recv(cx)).is_ok() {}
        Poll::Ready(())
    }
}

impl WebSocketLink<TcpStream> {
    /// Asks the socket before it reads.
    pub(crate) fn over_tcp(mut self) -> Self {
        self.readable = readiness::tcp;
        self
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Link for WebSocketLink<S> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        if let Some(end) = &self.end {
            return Poll::Ready(Err(end.clone()));
        }
        let end = loop {
            if self.buffered.is_empty()
                && (self.readable)(self.ws.get_ref().inner(), cx).is_pending()
            {
                return self.idle(cx);
            }
            let Poll::Ready(next) = Pin::new(&mut self.ws).poll_next(cx) else {
                self.buffered.dry();
                return self.idle(cx);
            };
            match next {
                Some(Ok(Message::Binary(message))) => {
                    self.ws.get_mut().whole();
                    self.assembly.since = None;
                    let bytes_in = self.ws.get_ref().reading().bytes_in;
                    self.buffered.message(message.len(), bytes_in);
                    return Poll::Ready(Ok(message));
                }
                Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
                    self.ws.get_mut().control(payload.len());
                    let bytes_in = self.ws.get_ref().reading().bytes_in;
                    self.buffered.control(payload.len(), bytes_in);
                    if !self.control.take(Instant::now(), self.control_rate) {
                        break LinkEnd::ControlFlood;
                    }
                }
                Some(Ok(Message::Text(_))) => break LinkEnd::NotBinary,
                Some(Ok(Message::Close(frame))) => {
                    break match frame {
                        Some(frame) => LinkEnd::Closed {
                            code: frame.code.into(),
                            reason: frame.reason.as_str().to_owned(),
                        },
                        None => LinkEnd::Closed {
                            code: 1005,
                            reason: String::new(),
                        },
                    };
                }
                // Raw frames are for writing only.
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(e)) => break self.end_of(e),
                None => break self.end_of(WsError::ConnectionClosed),
            }
        };
        self.end = Some(end.clone());
        Poll::Ready(Err(end))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        if self.closing != Closing::No {
            return Poll::Ready(Err(LinkEnd::closing()));
        }
        Pin::new(&mut self.ws)
            .poll_ready(cx)
            .map_err(|e| self.end_of(e))
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        self.send(Message::Binary(message))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        Pin::new(&mut self.ws)
            .poll_flush(cx)
            .map_err(|e| self.end_of(e))
    }

    fn ping(&mut self) -> Result<(), LinkEnd> {
        self.send(Message::Ping(Bytes::new()))
    }

    fn start_close(&mut self, close: Close) {
        if self.closing == Closing::No {
            let frame = CloseFrame {
                code: close.code().into(),
                reason: close.reason().into(),
            };
            // Fails where the peer closed first: its Close was answered already.
            let _ = Pin::new(&mut self.ws).start_send(Message::Close(Some(frame)));
            self.closing = Closing::Flush;
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.start_close(Close::normal());
        loop {
            self.closing = match self.closing {
                Closing::No | Closing::Flush => match Pin::new(&mut self.ws).poll_flush(cx) {
                    Poll::Ready(Ok(())) => Closing::Answer,
                    Poll::Ready(Err(_)) => Closing::Done,
                    Poll::Pending => {
                        // The peer may write before it reads: make room, or both sides wait.
                        let _ = self.poll_discard(cx);
                        return Poll::Pending;
                    }
                },
                Closing::Answer => {
                    ready!(self.poll_discard(cx));
                    Closing::Shutdown
                }
                Closing::Shutdown => match ready!(Pin::new(self.ws.get_mut()).poll_shutdown(cx)) {
                    Ok(()) => {
                        self.ws.get_mut().set_limit(LINGER_BYTES);
                        Closing::Linger(LINGER_BYTES)
                    }
                    Err(_) => Closing::Done,
                },
                // A connection closed with unread bytes is reset, and the reset may overtake our Close.
                Closing::Linger(left) => {
                    let mut space = [0u8; 4096];
                    let mut buf = ReadBuf::new(&mut space);
                    match ready!(Pin::new(self.ws.get_mut()).poll_read(cx, &mut buf)) {
                        Ok(()) if !buf.filled().is_empty() && left > buf.filled().len() => {
                            Closing::Linger(left - buf.filled().len())
                        }
                        _ => Closing::Done,
                    }
                }
                Closing::Done => return Poll::Ready(()),
            }
        }
    }

    fn take_heard(&mut self) -> bool {
        let now = self.ws.get_ref().reading().bytes_in;
        std::mem::replace(&mut self.heard_at, now) != now
    }

    fn meter(&self) -> MeterReading {
        self.ws.get_ref().reading()
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }
}
