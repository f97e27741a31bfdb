//! `loop`: one loop that owns the socket and is the only caller, so no reply has to find anyone. No RPC, but a floor: what
//! tungstenite, tokio and the kernel cost by themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};

use super::echo::{self, CHAIN, ONEWAY, Socket};
use super::{Client, Measured, Peer};
use crate::cases::Work;
use crate::meter::{Bytes, Counters};

/// A sender of one-way messages flushes after so many.
const FLUSH: u64 = 1024;

/// The peer's name as a type.
pub(crate) struct Loop;

impl Peer for Loop {
    type Client = LoopClient;

    async fn serve() -> Measured<SocketAddr> {
        echo::serve().await
    }

    async fn connect(server: SocketAddr) -> Measured<LoopClient> {
        let (socket, counters) = echo::connect(server).await?;
        Ok(LoopClient { socket, counters })
    }
}

/// The client's end.
pub(crate) struct LoopClient {
    socket: Socket,
    counters: Arc<Counters>,
}

impl Client for LoopClient {
    async fn work(&mut self, work: Work, count: u64) -> Measured<()> {
        match work {
            Work::Calls { in_flight } => self.calls(count, in_flight as u64).await,
            Work::Chains => self.calls(count * CHAIN, 1).await,
            Work::Oneway => self.oneway(count).await,
            Work::Bulk => Err("a loop of its own has nobody beside it".into()),
            Work::Idle | Work::Delta(_) => Ok(()),
        }
    }

    fn bytes(&self) -> Bytes {
        self.counters.bytes()
    }
}

impl LoopClient {
    /// Keeps `in_flight` requests out: each reply makes room for the next request, and a turn's requests share a flush.
    async fn calls(&mut self, count: u64, in_flight: u64) -> Measured<()> {
        let mut sent = 0;
        while sent < count.min(in_flight) {
            self.socket.feed(echo::request(sent as u32, 0)).await?;
            sent += 1;
        }
        self.socket.flush().await?;
        let mut received = 0;
        while received < count {
            let mut next = echo::ended(self.socket.next().await)?;
            if next.is_none() {
                return Err("the server went away".into());
            }
            while let Some(reply) = next {
                if echo::reply_to(&reply)? != received as u32 {
                    return Err("a reply out of order".into());
                }
                received += 1;
                if sent < count {
                    self.socket.feed(echo::request(sent as u32, 0)).await?;
                    sent += 1;
                }
                next = if received < count {
                    echo::ready(&mut self.socket).await?
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
            self.socket.feed(echo::request(0, ONEWAY)).await?;
            if sent % FLUSH == FLUSH - 1 {
                self.socket.flush().await?;
            }
        }
        self.calls(1, 1).await
    }
}
