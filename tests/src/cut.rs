//! [`Cut`]: a link that breaks without a word when somebody says so, as when a network goes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use helve::transport::memory::MemoryLink;
use helve::transport::{Close, Link, LinkEnd, MeterReading};

/// Breaks one link.
#[derive(Clone, Default)]
pub struct Scissors(Arc<(AtomicBool, AtomicWaker)>);

impl Scissors {
    /// Now.
    pub fn cut(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.wake();
    }
}

/// A link of its own until it is cut.
pub struct Cut {
    link: Option<MemoryLink>,
    scissors: Scissors,
}

fn lost() -> LinkEnd {
    LinkEnd::Lost {
        kind: io::ErrorKind::ConnectionReset,
        reason: "it was cut".to_owned(),
    }
}

impl Cut {
    /// Until `scissors` cut it.
    pub fn new(link: MemoryLink, scissors: &Scissors) -> Cut {
        Cut {
            link: Some(link),
            scissors: scissors.clone(),
        }
    }

    fn up(&mut self) -> Result<&mut MemoryLink, LinkEnd> {
        if self.scissors.0.0.load(Ordering::SeqCst) {
            self.link = None;
        }
        self.link.as_mut().ok_or_else(lost)
    }
}

impl Link for Cut {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        self.scissors.0.1.register(cx.waker());
        self.up()?.poll_recv(cx)
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        self.up()?.poll_ready(cx)
    }
    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        self.up()?.start_send(message)
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        self.up()?.poll_flush(cx)
    }
    fn ping(&mut self) -> Result<(), LinkEnd> {
        self.up()?.ping()
    }
    fn start_close(&mut self, close: Close) {
        if let Ok(link) = self.up() {
            link.start_close(close);
        }
    }
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.scissors.0.1.register(cx.waker());
        match self.up() {
            Ok(link) => link.poll_close(cx),
            Err(_) => Poll::Ready(()),
        }
    }
    fn take_heard(&mut self) -> bool {
        self.up().is_ok_and(|link| link.take_heard())
    }
    fn meter(&self) -> MeterReading {
        self.link.as_ref().map(Link::meter).unwrap_or_default()
    }
    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }
}
