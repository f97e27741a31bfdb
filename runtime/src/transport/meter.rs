//! The byte meter beneath a WebSocket, and the token bucket for its control frames and for connections. Used by
//! `websocket`, `handshake` and `throttle`.
//!
//! A WebSocket message may come in any number of fragments, and no fragment shows above the WebSocket until the
//! message is whole; so what a peer sends without ever completing a message can only be bounded down here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes carried by a link, each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeterReading {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What a read fails with when a peer exceeds the bound. Found again inside the `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("over {0} bytes without a whole message")]
pub(crate) struct Overrun(pub(crate) usize);

/// A byte stream that counts what passes, and fails a read once more than `limit` bytes came since the last
/// whole message.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    reading: MeterReading,
    since_whole: usize,
    limit: usize,
}

impl<S> Metered<S> {
    pub(crate) fn new(inner: S, limit: usize) -> Metered<S> {
        Metered {
            inner,
            reading: MeterReading::default(),
            since_whole: 0,
            limit,
        }
    }

    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }

    pub(crate) fn reading(&self) -> MeterReading {
        self.reading
    }

    /// From now on this many bytes may come between two whole messages.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.since_whole = 0;
    }

    /// A message is whole. What was read ahead of it belongs to the next one and is not charged again: at most one
    /// read buffer.
    pub(crate) fn whole(&mut self) {
        self.since_whole = 0;
    }

    /// Bytes of a message that is not whole, as far as they came since the last one: what was read ahead of it is left out.
    pub(crate) fn unfinished(&self) -> usize {
        self.since_whole
    }

    /// A control frame of this length passed. It completes no message, so it gives back its own bytes alone; else
    /// pings between fragments would lift the bound, and pongs on an idle link would reach it.
    pub(crate) fn control(&mut self, payload: usize) {
        self.since_whole = self.since_whole.saturating_sub(payload + 6);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.since_whole > me.limit {
            return Poll::Ready(Err(io::Error::other(Overrun(me.limit))));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut me.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        me.since_whole = me.since_whole.saturating_add(read);
        me.reading.bytes_in += read as u64;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        let polled = Pin::new(&mut me.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            me.reading.bytes_out += *written as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How often something may happen: so many times at once, and then once each period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    period: Duration,
    burst: u32,
}

impl Rate {
    /// `times` each `span`; 0 counts as 1.
    pub(crate) fn new(times: u32, span: Duration, burst: u32) -> Rate {
        Rate {
            period: span / times.max(1),
            burst: burst.max(1),
        }
    }
}

/// A token bucket, full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When it will be full again; a token is worth a period of its rate.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token; `false` when there is none.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.period;
        if full_at - now > rate.period * rate.burst {
            return false;
        }
        self.full_at = Some(full_at);
        true
    }

    /// Whether nothing is left of what was taken.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests;
