//! The limit with independent callers: the same server and the same messages, but each call is made by a task that only
//! knows its own call, as in a program. One task owns the socket; a caller leaves its request and sleeps until its reply.
//! What this costs above `limit` is what any library pays for letting callers be independent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::SinkExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::limit::{self, CHAIN, LimitClient, ONEWAY};
use super::{Client, Measured, Peer};
use crate::cases::Work;
use crate::meter::{Bytes, Counters, Metered};

/// One-way senders wait while so many requests are queued.
const QUEUED: usize = 4096;

/// The peer's name as a type.
pub(crate) struct Callers;

impl Peer for Callers {
    type Client = CallersClient;

    async fn serve() -> Measured<SocketAddr> {
        limit::Limit::serve().await
    }

    async fn connect(server: SocketAddr) -> Measured<CallersClient> {
        let LimitClient { socket, counters } = limit::Limit::connect(server).await?;
        let caller = Caller::default();
        tokio::spawn(own(socket, caller.clone()));
        Ok(CallersClient { caller, counters })
    }
}

/// What callers and the task that owns the socket share.
#[derive(Default)]
struct Queue {
    requests: VecDeque<Message>,
    /// In the order of the requests, which is the order of the replies.
    waiting: VecDeque<oneshot::Sender<Message>>,
    sleeper: Option<Waker>,
}

#[derive(Clone, Default)]
struct Caller(Arc<Mutex<Queue>>);

impl Caller {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, flags: u32, reply: Option<oneshot::Sender<Message>>) -> usize {
        let mut queue = self.lock();
        queue.requests.push_back(limit::request(0, flags));
        queue.waiting.extend(reply);
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
        limit::check(&receive.await?)
    }
}

/// Owns the socket: hands out every reply that is there, sends every request that is there, flushes once, sleeps.
async fn own(mut socket: WebSocketStream<Metered<TcpStream>>, caller: Caller) {
    loop {
        while let Ok(Some(reply)) = limit::ready(&mut socket).await {
            let waiting = caller.lock().waiting.pop_front();
            if let Some(waiting) = waiting {
                // A caller that has gone does not want its reply.
                let _ = waiting.send(reply);
            }
        }
        let requests = std::mem::take(&mut caller.lock().requests);
        let idle = requests.is_empty();
        for request in requests {
            if socket.feed(request).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
        if idle {
            sleep(&caller).await;
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
pub(crate) struct CallersClient {
    caller: Caller,
    counters: Arc<Counters>,
}

impl Client for CallersClient {
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
            Work::Idle => Ok(()),
        }
    }

    fn bytes(&self) -> Bytes {
        self.counters.bytes()
    }
}

impl CallersClient {
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
