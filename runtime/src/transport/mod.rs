//! What carries messages between two peers: the [`Link`] trait, its ends, and its close codes.
//!
//! A link is polled in place by one task, the connection task, and by nobody else: no channel, no task of its own.
//! [`websocket`] carries messages over TCP, [`memory`] inside a process. No session knows which of them it has.

pub mod endpoint;
pub mod handshake;
pub mod memory;
pub mod meter;
mod readiness;
pub mod throttle;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

pub use meter::MeterReading;

/// The subprotocol that both ends of a WebSocket must agree on.
pub const SUBPROTOCOL: &str = "helve.1";

/// A message transport, driven by one task.
///
/// The order of use: read with `poll_recv` until it is pending, write with `poll_ready`, `start_send`, `poll_flush`,
/// and end with `start_close`, `poll_close`. All methods that take a context register the same task, so a task that
/// polled several of them is woken by whichever moves first.
pub trait Link: Send + Unpin + 'static {
    /// The next whole binary message. Pings are answered and pongs are swallowed inside.
    ///
    /// The end of the link is returned again on every later call.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>>;

    /// Ready when one more message may be handed to [`start_send`](Link::start_send): what is buffered here never
    /// exceeds one message and a few control frames.
    ///
    /// After an error of a writing method the reading side may still hold the peer's Close: `poll_recv` tells why.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>>;

    /// Takes one message. To be called after `poll_ready` was ready, once for each time.
    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd>;

    /// Ready when all that was taken has been handed to the system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>>;

    /// Queues a ping; [`poll_flush`](Link::poll_flush) sends it. Its answer shows in [`take_heard`](Link::take_heard).
    fn ping(&mut self) -> Result<(), LinkEnd>;

    /// Queues the Close. The first one counts, later ones are ignored; nothing can be sent after it.
    fn start_close(&mut self, close: Close);

    /// Drives the close to its end: Close sent, the peer's answer seen, the transport shut down so that the peer can
    /// read the Close before the connection goes. The caller sets the deadline and drops the link when it has passed.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether anything at all arrived since this was last asked (R16).
    fn take_heard(&mut self) -> bool;

    /// Bytes carried so far, counted beneath the WebSocket (beneath nothing, in memory).
    fn meter(&self) -> MeterReading;

    /// The address of the other end, where it has one.
    fn peer_addr(&self) -> Option<SocketAddr>;
}

impl Link for Box<dyn Link> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        (**self).poll_recv(cx)
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        (**self).poll_ready(cx)
    }
    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        (**self).start_send(message)
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        (**self).poll_flush(cx)
    }
    fn ping(&mut self) -> Result<(), LinkEnd> {
        (**self).ping()
    }
    fn start_close(&mut self, close: Close) {
        (**self).start_close(close);
    }
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_close(cx)
    }
    fn take_heard(&mut self) -> bool {
        (**self).take_heard()
    }
    fn meter(&self) -> MeterReading {
        (**self).meter()
    }
    fn peer_addr(&self) -> Option<SocketAddr> {
        (**self).peer_addr()
    }
}

/// The last word on a link: a code and a reason of at most 123 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    code: u16,
    reason: String,
}

impl Close {
    /// Ended on purpose; ends the session (S10).
    pub const NORMAL: u16 = 1000;
    /// The bytes were not WebSocket frames.
    pub const PROTOCOL: u16 = 1002;
    /// A message of a kind that is not taken. Read only: we answer a text message with [`Close::VIOLATION`].
    pub const UNSUPPORTED: u16 = 1003;
    /// A rate was exceeded: control frames, or fragments that never become a message.
    pub const POLICY: u16 = 1008;
    /// A message above a limit. Read only: we answer one with [`Close::VIOLATION`].
    pub const TOO_LARGE: u16 = 1009;
    /// A gap in the sequence numbers: the link is dropped, the session stays (S2).
    pub const GAP: u16 = 4000;
    /// A rule of the protocol was broken; ends the session (R17).
    pub const VIOLATION: u16 = 4001;
    /// A newer link took the session (S7).
    pub const FENCED: u16 = 4002;
    /// The handshake was refused; the REFUSE before it says why.
    pub const REFUSED: u16 = 4003;
    /// The server went away after a drain; ends the session (S9).
    pub const DRAINED: u16 = 4004;

    /// A Close. A reason above 123 bytes is cut between two characters.
    pub fn new(code: u16, reason: impl Into<String>) -> Close {
        let mut reason = reason.into();
        crate::error::cut(&mut reason, 123);
        Close { code, reason }
    }

    /// An end on purpose, without a reason.
    pub fn normal() -> Close {
        Close::new(Close::NORMAL, "")
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Why, in a few words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether this code ends the session, and not the link alone (S10).
    pub fn ends_session(code: u16) -> bool {
        matches!(code, Close::NORMAL | Close::VIOLATION | Close::DRAINED)
    }
}

/// Why a link carries nothing any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The peer closed it. Code 1005 stands for a Close without a code.
    #[error("the peer closed the connection (code {code}){}{reason}", if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// The peer's code.
        code: u16,
        /// The peer's reason.
        reason: String,
    },
    /// The transport broke without a Close: the peer died, or the network did.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// The kind of the system's error.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// A message above the limit that we stated. It was not read.
    #[error("the peer sent a message above the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A text message: Helve speaks binary only.
    #[error("the peer sent a text message; only binary ones are taken")]
    NotBinary,
    /// More pings and pongs than [`Throttle`](throttle::Throttle) allows: 10 in 10 s, with a burst of 20.
    #[error("the peer sent too many control frames")]
    ControlFlood,
    /// More bytes than a message can have, and still no whole message.
    #[error("the peer sent {limit} bytes without completing a message")]
    Overrun {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message began, and was not whole in the time that [`Throttle`](throttle::Throttle) allows.
    #[error("the peer began a message and did not complete it in {} s", after.as_secs())]
    Unfinished {
        /// How long it was waited for.
        after: Duration,
    },
    /// The bytes do not follow the WebSocket protocol.
    #[error("the peer broke the WebSocket protocol: {0}")]
    Malformed(String),
}

impl LinkEnd {
    /// The Close that answers this end; `None` where nobody would read it, or where the link answers by itself.
    ///
    /// A text message and one above the limit are violations of the protocol (4001) and not 1003 or 1009, which would
    /// only detach the session: the same batch would come again.
    pub fn answer(&self) -> Option<Close> {
        let code = match self {
            LinkEnd::Closed { .. } | LinkEnd::Lost { .. } => return None,
            LinkEnd::TooLarge { .. } | LinkEnd::NotBinary => Close::VIOLATION,
            LinkEnd::ControlFlood | LinkEnd::Overrun { .. } | LinkEnd::Unfinished { .. } => {
                Close::POLICY
            }
            LinkEnd::Malformed(_) => Close::PROTOCOL,
        };
        let reason = match self {
            LinkEnd::TooLarge { limit } => format!("E1.4: a message above {limit} bytes"),
            LinkEnd::NotBinary => "E1.6: a text message".to_owned(),
            LinkEnd::ControlFlood => "too many control frames".to_owned(),
            LinkEnd::Unfinished { .. } => "a message was not completed in time".to_owned(),
            LinkEnd::Overrun { .. } => "too many bytes without a whole message".to_owned(),
            LinkEnd::Malformed(what) => what.clone(),
            LinkEnd::Closed { .. } | LinkEnd::Lost { .. } => String::new(),
        };
        Some(Close::new(code, reason))
    }

    pub(crate) fn lost(kind: io::ErrorKind, reason: impl Into<String>) -> LinkEnd {
        LinkEnd::Lost {
            kind,
            reason: reason.into(),
        }
    }

    /// What a writing method says after [`Link::start_close`].
    pub(crate) fn closing() -> LinkEnd {
        LinkEnd::lost(io::ErrorKind::NotConnected, "closed by this side")
    }
}
