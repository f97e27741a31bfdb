//! The limit: calls by independent callers over the hand-made echo, as lean as they get on tokio-tungstenite. Each caller is a task that knows
//! its own call alone, as in a program: it leaves a request with the task that owns the socket and sleeps until its reply
//! comes. That task hands out every reply that is there, writes every request that is there, and flushes once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::SinkExt;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::echo::{self, CHAIN, ONEWAY, Socket};
use super::{Client, Measured, Peer, beside};
use crate::cases::{BULK, Work};
use crate::meter::{Bytes, Counters};

/// One-way senders wait while so many requests are queued.
const QUEUED: usize = 4096;

/// The peer's name as a type.
pub(crate) struct Limit;

impl Peer for Limit {
    type Client = LimitClient;

    async fn serve() -> Measured<SocketAddr> {
        echo::serve().await
    }

    async fn connect(server: SocketAddr) -> Measured<LimitClient> {
        let (socket, counters) = echo::connect(server).await?;
        let caller = Caller::default();
        tokio::spawn(own(socket, caller.clone()));
        Ok(LimitClient {
            caller,
            counters,
            times: Vec::new(),
        })
    }
}

/// What callers and the task that owns the socket share.
#[derive(Default)]
struct Queue {
    requests: VecDeque<Message>,
    /// Who waits, in the order of the requests, which is the order of the replies.
    waiting: VecDeque<(u32, oneshot::Sender<Message>)>,
    next_id: u32,
    sleeper: Option<Waker>,
}

#[derive(Clone, Default)]
struct Caller(Arc<Mutex<Queue>>);

impl Caller {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, flags: u16, reply: Option<oneshot::Sender<Message>>) -> usize {
        self.send_with(reply, |id| echo::request(id, flags))
    }

    fn send_with(
        &self,
        reply: Option<oneshot::Sender<Message>>,
        request: impl FnOnce(u32) -> Message,
    ) -> usize {
        let mut queue = self.lock();
        let id = queue.next_id;
        queue.next_id = id.wrapping_add(1);
        queue.requests.push_back(request(id));
        queue.waiting.extend(reply.map(|reply| (id, reply)));
        let (queued, sleeper) = (queue.requests.len(), queue.sleeper.take());
        drop(queue);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        queued
    }

    async fn call(&self) -> Measured<()> {
        let (reply, receive) = oneshot::channel();
        self.send(0, Some(reply));
        receive.await?;
        Ok(())
    }

    /// One message of 64 MiB. It is made before the queue is locked.
    async fn upload(&self) -> Measured<()> {
        let (reply, receive) = oneshot::channel();
        let long = echo::long_request(0, BULK);
        self.send_with(Some(reply), |id| echo::renumbered(long, id));
        receive.await?;
        Ok(())
    }

    fn hand_out(&self, reply: Message) -> Measured<()> {
        let id = echo::reply_to(&reply)?;
        match self.lock().waiting.pop_front() {
            Some((expected, waiting)) if expected == id => {
                // A caller that has gone does not want its reply.
                let _ = waiting.send(reply);
                Ok(())
            }
            _ => Err(format!("a reply out of order: {id}").into()),
        }
    }
}

/// Owns the socket. When it ends, so do all who wait.
async fn own(mut socket: Socket, caller: Caller) {
    if let Err(error) = carry(&mut socket, &caller).await {
        eprintln!("limit's client: {error}");
        caller.lock().waiting.clear();
    }
}

/// Hands out every reply that is there, sends every request that is there, flushes once, sleeps.
async fn carry(socket: &mut Socket, caller: &Caller) -> Measured<()> {
    loop {
        while let Some(reply) = echo::ready(socket).await? {
            caller.hand_out(reply)?;
        }
        let requests = std::mem::take(&mut caller.lock().requests);
        let idle = requests.is_empty();
        for request in requests {
            socket.feed(request).await?;
        }
        socket.flush().await?;
        if idle {
            sleep(caller).await;
        }
    }
}

/// Until woken: by the socket, which the last read has asked to do so, or by a caller.
async fn sleep(caller: &Caller) {
    let mut slept = false;
    std::future::poll_fn(|cx| {
        let mut queue = caller.lock();
        if slept || !queue.requests.is_empty() {
            return Poll::Ready(());
        }
        slept = true;
        queue.sleeper = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// The client's end.
pub(crate) struct LimitClient {
    caller: Caller,
    counters: Arc<Counters>,
    times: Vec<u64>,
}

impl Client for LimitClient {
    async fn work(&mut self, work: Work, count: u64) -> Measured<()> {
        match work {
            Work::Calls { in_flight: 1 } => self.calls(count).await,
            Work::Calls { in_flight } => self.calls_of(in_flight as u64, count).await,
            Work::Chains => self.calls(count * CHAIN).await,
            Work::Oneway => {
                for _ in 0..count {
                    if self.caller.send(ONEWAY, None) > QUEUED {
                        while !self.caller.lock().requests.is_empty() {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                self.calls(1).await
            }
            Work::Bulk => {
                let caller = self.caller.clone();
                let uploads = async {
                    for _ in 0..count {
                        caller.upload().await?;
                    }
                    Ok(())
                };
                beside(uploads, || self.caller.call(), &mut self.times).await
            }
            Work::Idle | Work::Delta(_) => Ok(()),
        }
    }

    fn bytes(&self) -> Bytes {
        self.counters.bytes()
    }

    fn times(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.times)
    }
}

impl LimitClient {
    async fn calls(&self, count: u64) -> Measured<()> {
        for _ in 0..count {
            self.caller.call().await?;
        }
        Ok(())
    }

    /// As many tasks as calls in flight, each making its share one after the other.
    async fn calls_of(&self, callers: u64, count: u64) -> Measured<()> {
        let mut tasks = JoinSet::new();
        for task in 0..callers {
            let caller = self.caller.clone();
            let share = count / callers + u64::from(task < count % callers);
            tasks.spawn(async move {
                for _ in 0..share {
                    if let Err(error) = caller.call().await {
                        return Err(error.to_string());
                    }
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }
}
