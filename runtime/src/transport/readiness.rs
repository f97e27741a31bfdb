//! Whether reading can yield anything: tungstenite clears its whole read buffer before every read, also before one that
//! finds nothing, so a link asks the socket first. Used by the WebSocket link alone.

use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// Asks a stream whether a read may yield something; if not, the task is woken when it may.
pub(crate) type Readable<S> = fn(&S, &mut Context<'_>) -> Poll<()>;

/// For streams that cannot say.
pub(crate) fn always<S>(_: &S, _: &mut Context<'_>) -> Poll<()> {
    Poll::Ready(())
}

/// For TCP: an error counts as readable, and the read then tells it.
pub(crate) fn tcp(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    stream.poll_read_ready(cx).map(drop)
}

/// Whether tungstenite holds bytes that were read and not handed on. Knows only when it certainly does not.
#[derive(Debug)]
pub(crate) struct Buffered {
    /// The peer masks its frames: four bytes more in each head.
    masked: bool,
    /// Bytes that came beneath, up to the end of the last whole message.
    passed: u64,
    empty: bool,
}

impl Buffered {
    /// At the end of a handshake. `tail`: bytes came behind it already.
    pub(crate) fn new(masked: bool, bytes_in: u64, tail: bool) -> Buffered {
        // Behind a tail the counts never meet again, and every read is tried.
        let passed = if tail { u64::MAX / 2 } else { bytes_in };
        Buffered {
            masked,
            passed,
            empty: false,
        }
    }

    /// Whether nothing is buffered that could be a message.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    /// A read found nothing: what is buffered is no whole message.
    pub(crate) fn dry(&mut self) {
        self.empty = true;
    }

    /// A message of this length was handed on, `bytes_in` having come beneath. One in fragments had more heads than
    /// are counted here; then the counts never meet again, and every read is tried.
    pub(crate) fn message(&mut self, payload: usize, bytes_in: u64) {
        let head = match payload {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        self.passed += head + if self.masked { 4 } else { 0 } + payload as u64;
        self.empty = self.passed == bytes_in;
    }

    /// A control frame of this length was handed on. Its answer goes out with the next read, so that one is tried.
    pub(crate) fn control(&mut self, payload: usize, bytes_in: u64) {
        self.message(payload, bytes_in);
        self.empty = false;
    }
}
