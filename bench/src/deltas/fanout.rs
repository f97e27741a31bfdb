//! One commit and many who follow: what it costs for each of them, and how often the value is encoded.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use helve::prelude::*;
use helve::track::{Map, Text, Tracked};
use helve::transport::memory;
use helve::{Replica, Server, Shared};
use serde::{Deserialize, Serialize, Serializer};

use super::Times;
use super::sheet::{Cell, Sheet, cell_of, score_of};
use crate::peers::Measured;

/// Who follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fanout {
    /// So many places in the history of the large value.
    Cursors(usize),
    /// So many replicas in the process of the host.
    Here(usize),
    /// So many replicas, each behind a connection of its own, in memory.
    Links(usize),
}

const COMMITS: u32 = 21;

/// A number that counts how often it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Counted(u32);

static ENCODED: AtomicU64 = AtomicU64::new(0);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ENCODED.fetch_add(1, Relaxed);
        self.0.serialize(serializer)
    }
}

#[derive(Wire, Track, Clone)]
pub(crate) struct Board {
    cells: Map<u32, Cell>,
    #[track(leaf)]
    stamp: Counted,
}

#[interface(id = "bench.Boards")]
trait Boards {
    async fn board(&self) -> Shared<Board>;
}

struct One(Shared<Board>);

impl Boards for One {
    async fn board(&self) -> Shared<Board> {
        self.0.clone()
    }
}

pub(super) async fn run(fanout: Fanout) -> Measured<()> {
    match fanout {
        Fanout::Cursors(count) => cursors(count),
        Fanout::Here(count) => replicas(count, false).await,
        Fanout::Links(count) => replicas(count, true).await,
    }
}

fn cursors(count: usize) -> Measured<()> {
    let mut value = Tracked::new(Sheet::<Text>::new());
    let history = value.history()?;
    let mut cursors = vec![value.rev(); count];
    let mut times = Times::default();
    for n in 0..COMMITS {
        let (key, score) = score_of(n);
        value.change(|sheet| {
            if let Some(cell) = sheet.cells.get_mut(&key) {
                cell.score = score;
            }
        })?;
        let head = value.rev();
        let started = Instant::now();
        for cursor in &mut cursors {
            // One lock each: so it is where each has a connection.
            let update = history.lock().map_err(|_| "poisoned")?.next(Some(*cursor));
            if update.is_some() {
                *cursor = head;
            }
        }
        times.note(started);
    }
    let all = times.median();
    println!("all_ns={all} each_ns={}", all as f64 / count as f64);
    Ok(())
}

async fn replicas(count: usize, linked: bool) -> Measured<()> {
    let cells = (0..100).map(|n| (n, cell_of(n))).collect();
    let stamp = Counted(0);
    let shared = Shared::new(Board { cells, stamp });
    let root = BoardsHandle::new(One(shared.clone()));
    let host = Server::builder()
        .root(move |_| std::future::ready(Ok(root.clone())))
        .host();
    let mut all: Vec<(Replica<Board>, Option<BoardsHandle>)> = Vec::new();
    for _ in 0..count {
        if !linked {
            all.push((shared.replica().await?, None));
            continue;
        }
        let (near, far) = memory::pair();
        let host = host.clone();
        tokio::spawn(async move { host.serve_link(far).await });
        let boards: BoardsHandle = helve::connect_over(near).await?;
        all.push((boards.board().await?.replica().await?, Some(boards)));
    }
    let [mut committed, mut told] = [(); 2].map(|()| Times::default());
    let mut encoded = Vec::new();
    for n in 1..=COMMITS {
        let before = ENCODED.load(Relaxed);
        let started = Instant::now();
        shared.change(|board| board.stamp.0 += n).await?;
        committed.note(started);
        for (replica, _) in &mut all {
            replica.at_least(u64::from(n) + 1).await?;
        }
        told.note(started);
        encoded.push(ENCODED.load(Relaxed) - before);
    }
    encoded.sort_unstable();
    let told = told.median();
    println!(
        "all_ns={told} each_ns={} commit_ns={} encodes={}",
        told as f64 / count as f64,
        committed.median(),
        encoded[encoded.len() / 2]
    );
    Ok(())
}
