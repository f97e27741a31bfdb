//! Links inside one process, with close codes and an optional one-way delay. For tests and examples.
//!
//! [`pair`] gives two ends; what one sends the other receives, in order. [`pair_delayed`] lets each message arrive a
//! fixed time after it was sent, in tokio's time: under `tokio::time::pause` a test asserts round trips exactly.
//! Dropping an end without a Close looks to the other like a peer that died.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::{Close, Link, LinkEnd, MeterReading};

/// Messages that may be under way in one direction before `poll_ready` waits.
const MAX_MESSAGES: usize = 1024;
/// Bytes that may be under way in one direction before `poll_ready` waits; a single message may be longer.
const MAX_BYTES: usize = 4 << 20;

/// Two connected ends without a delay.
pub fn pair() -> (MemoryLink, MemoryLink) {
    pair_delayed(Duration::ZERO)
}

/// Two connected ends; each message, ping and Close arrives `delay` after it was sent.
pub fn pair_delayed(delay: Duration) -> (MemoryLink, MemoryLink) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    (
        MemoryLink::new(back.clone(), there.clone(), delay),
        MemoryLink::new(there, back, delay),
    )
}

/// One direction.
#[derive(Default)]
struct Pipe(Mutex<Flow>);

#[derive(Default)]
struct Flow {
    items: VecDeque<(Option<Instant>, Item)>,
    messages: usize,
    bytes: usize,
    /// The receiver is gone: nothing sent arrives any more.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Item {
    Message(Bytes),
    Ping,
    Pong,
    Close(Close),
    Gone,
}

impl Pipe {
    /// Nothing panics under this lock, so poison says nothing.
    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, delay: Duration, item: Item) {
        let at = (!delay.is_zero()).then(|| Instant::now() + delay);
        let mut flow = self.lock();
        if flow.deaf {
            return;
        }
        if let Item::Message(m) = &item {
            flow.messages += 1;
            flow.bytes += m.len();
        }
        flow.items.push_back((at, item));
        let reader = flow.reader.take();
        drop(flow);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// One end of a pair.
pub struct MemoryLink {
    inbound: Arc<Pipe>,
    outbound: Arc<Pipe>,
    delay: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    end: Option<LinkEnd>,
    closing: bool,
    heard: bool,
    meter: MeterReading,
}

impl MemoryLink {
    fn new(inbound: Arc<Pipe>, outbound: Arc<Pipe>, delay: Duration) -> MemoryLink {
        MemoryLink {
            inbound,
            outbound,
            delay,
            timer: None,
            end: None,
            closing: false,
            heard: false,
            meter: MeterReading::default(),
        }
    }

    /// The next item whose time has come.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        loop {
            let mut flow = self.inbound.lock();
            let due = match flow.items.front() {
                None => {
                    let old = flow.reader.replace(cx.waker().clone());
                    drop((flow, old));
                    return Poll::Pending;
                }
                Some((due, _)) => *due,
            };
            if due.is_none_or(|at| at <= Instant::now()) {
                let Some((_, item)) = flow.items.pop_front() else {
                    continue;
                };
                let mut writer = None;
                if let Item::Message(m) = &item {
                    flow.messages -= 1;
                    flow.bytes -= m.len();
                    writer = flow.writer.take();
                }
                drop(flow);
                if let Some(writer) = writer {
                    writer.wake();
                }
                return Poll::Ready(item);
            }
            drop(flow);
            let Some(at) = due else { continue };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Link for MemoryLink {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        if let Some(end) = &self.end {
            return Poll::Ready(Err(end.clone()));
        }
        let end = loop {
            let item = std::task::ready!(self.poll_item(cx));
            self.heard |= !matches!(item, Item::Gone);
            match item {
                Item::Message(message) => {
                    self.meter.bytes_in += message.len() as u64;
                    return Poll::Ready(Ok(message));
                }
                Item::Ping => self.outbound.push(self.delay, Item::Pong),
                Item::Pong => {}
                Item::Close(close) => {
                    break LinkEnd::Closed {
                        code: close.code(),
                        reason: close.reason().to_owned(),
                    };
                }
                Item::Gone => {
                    break LinkEnd::lost(
                        io::ErrorKind::ConnectionReset,
                        "the other end was dropped",
                    );
                }
            }
        };
        self.end = Some(end.clone());
        Poll::Ready(Err(end))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        if self.closing {
            return Poll::Ready(Err(LinkEnd::closing()));
        }
        let mut flow = self.outbound.lock();
        if flow.deaf {
            return Poll::Ready(Err(LinkEnd::lost(
                io::ErrorKind::BrokenPipe,
                "the other end was dropped",
            )));
        }
        if flow.messages < MAX_MESSAGES && flow.bytes < MAX_BYTES {
            return Poll::Ready(Ok(()));
        }
        let old = flow.writer.replace(cx.waker().clone());
        drop((flow, old));
        Poll::Pending
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        if self.closing {
            return Err(LinkEnd::closing());
        }
        self.meter.bytes_out += message.len() as u64;
        self.outbound.push(self.delay, Item::Message(message));
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        Poll::Ready(Ok(()))
    }

    fn ping(&mut self) -> Result<(), LinkEnd> {
        if self.closing {
            return Err(LinkEnd::closing());
        }
        self.outbound.push(self.delay, Item::Ping);
        Ok(())
    }

    fn start_close(&mut self, close: Close) {
        if !std::mem::replace(&mut self.closing, true) {
            self.outbound.push(self.delay, Item::Close(close));
        }
    }

    /// Ready when the other end closed too, or is gone.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.start_close(Close::normal());
        loop {
            if self.outbound.lock().deaf || std::task::ready!(self.poll_recv(cx)).is_err() {
                return Poll::Ready(());
            }
        }
    }

    fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    fn meter(&self) -> MeterReading {
        self.meter
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        if !self.closing {
            self.outbound.push(self.delay, Item::Gone);
        }
        let mut flow = self.inbound.lock();
        flow.deaf = true;
        let left = std::mem::take(&mut flow.items);
        let (reader, writer) = (flow.reader.take(), flow.writer.take());
        drop(flow);
        drop((left, reader));
        if let Some(writer) = writer {
            writer.wake();
        }
        // Whoever waits in `poll_close` for our answer is a reader of the other direction.
        if self.closing {
            self.outbound.push(Duration::ZERO, Item::Gone);
        }
    }
}

impl std::fmt::Debug for MemoryLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLink")
            .field("delay", &self.delay)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
