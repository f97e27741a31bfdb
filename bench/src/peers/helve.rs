//! Helve, used as a program uses it: typed methods on handles, one task a caller.

use std::net::SocketAddr;

use helve::prelude::*;
use helve::{Connection, Remote, Server};
use tokio::task::JoinSet;

use super::echo::CHAIN;
use super::{Client, Measured, Peer};
use crate::cases::Work;
use crate::meter::Bytes;

/// What is called.
#[interface(id = "bench.Adder")]
pub(crate) trait Adder {
    /// The sum.
    async fn add(&self, a: u32, b: u32) -> u32;
    /// Another one, to make a chain of.
    async fn next(&self) -> AdderHandle;
    /// No answer.
    #[oneway]
    async fn note(&self, a: u32, b: u32);
}

struct Sums;

impl Adder for Sums {
    async fn add(&self, a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    async fn next(&self) -> AdderHandle {
        AdderHandle::new(Sums)
    }

    async fn note(&self, _: u32, _: u32) {}
}

/// The peer's name as a type.
pub(crate) struct Helve;

impl Peer for Helve {
    type Client = HelveClient;

    async fn serve() -> Measured<SocketAddr> {
        let server = Server::builder()
            .root(|_| async { Ok(AdderHandle::new(Sums)) })
            .bind("ws://127.0.0.1:0")
            .await?;
        let address = server
            .url()
            .trim_start_matches("ws://")
            .trim_end_matches('/')
            .parse()?;
        tokio::spawn(server.run());
        Ok(address)
    }

    async fn connect(server: SocketAddr) -> Measured<HelveClient> {
        let root: AdderHandle = helve::connect(format!("ws://{server}")).await?;
        let connection = Remote::connection(&root).ok_or("a remote handle has a connection")?;
        Ok(HelveClient { root, connection })
    }
}

/// The client's end.
pub(crate) struct HelveClient {
    root: AdderHandle,
    connection: Connection,
}

impl Client for HelveClient {
    async fn work(&mut self, work: Work, count: u64) -> Measured<()> {
        match work {
            Work::Calls { in_flight: 1 } => calls(&self.root, count).await,
            Work::Calls { in_flight } => self.calls_of(in_flight as u64, count).await,
            Work::Chains => self.chains(count).await,
            Work::Oneway => {
                for _ in 0..count {
                    self.root.note(2, 3).queued().await?;
                }
                // Calls on one object start in order and `note` never waits, so this one ends after all of them.
                calls(&self.root, 1).await
            }
            Work::Idle => Ok(()),
        }
    }

    fn bytes(&self) -> Bytes {
        let stats = self.connection.stats();
        Bytes {
            up: stats.bytes_out,
            down: stats.bytes_in,
        }
    }
}

impl HelveClient {
    /// As many tasks as calls in flight, each making its share one after the other.
    async fn calls_of(&self, callers: u64, count: u64) -> Measured<()> {
        let mut tasks = JoinSet::new();
        for task in 0..callers {
            let root = self.root.clone();
            let share = count / callers + u64::from(task < count % callers);
            tasks
                .spawn(async move { calls(&root, share).await.map_err(|error| error.to_string()) });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Seven objects, each got from the one before, and a sum from the last.
    async fn chains(&self, count: u64) -> Measured<()> {
        for _ in 0..count {
            let mut last = self.root.clone();
            for _ in 1..CHAIN {
                last = last.next().pipelined();
            }
            calls(&last, 1).await?;
        }
        Ok(())
    }
}

/// One call after the other.
async fn calls(root: &AdderHandle, count: u64) -> Measured<()> {
    for _ in 0..count {
        let sum = root.add(2, 3).await?;
        if sum != 5 {
            return Err(format!("2 + 3 came back as {sum}").into());
        }
    }
    Ok(())
}
