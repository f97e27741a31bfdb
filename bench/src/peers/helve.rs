//! Helve, used as a program uses it: typed methods on handles, one task a caller.

use std::net::SocketAddr;

use bytes::Bytes;

use helve::prelude::*;
use helve::{Connection, Limits, Remote, Server};
use tokio::task::JoinSet;

use super::echo::CHAIN;
use super::{Client, Measured, Peer, beside};
use crate::cases::{BULK, Work};
use crate::meter::Bytes as Carried;

/// What is called.
#[interface(id = "bench.Adder")]
pub(crate) trait Adder {
    /// The sum.
    async fn add(&self, a: u32, b: u32) -> u32;
    /// Another one, to make a chain of.
    async fn next(&self) -> AdderHandle;
    /// How long it is.
    async fn upload(&self, data: Bytes) -> u64;
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

    async fn upload(&self, data: Bytes) -> u64 {
        data.len() as u64
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
            .limits(limits())
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
        Ok(HelveClient {
            root,
            connection,
            times: Vec::new(),
        })
    }
}

/// Room for an upload, and for small calls beside it.
fn limits() -> Limits {
    Limits::default()
        .with_frame(2 * BULK as u64)
        .with_bytes(4 * BULK as u64)
}

/// The client's end.
pub(crate) struct HelveClient {
    root: AdderHandle,
    connection: Connection,
    times: Vec<u64>,
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
            Work::Bulk => {
                // An object of its own: small calls on the same one would wait their turn.
                let store = self.root.next().await?;
                let data = Bytes::from(vec![7; BULK]);
                let uploads = async {
                    for _ in 0..count {
                        let len = store.upload(data.clone()).await?;
                        if len != BULK as u64 {
                            return Err(format!("{len} bytes arrived").into());
                        }
                    }
                    Ok(())
                };
                beside(uploads, || calls(&self.root, 1), &mut self.times).await
            }
            Work::Idle | Work::Delta(_) => Ok(()),
        }
    }

    fn bytes(&self) -> Carried {
        let stats = self.connection.stats();
        Carried {
            up: stats.bytes_out,
            down: stats.bytes_in,
        }
    }

    fn times(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.times)
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
