//! What a change of a large value costs: as bytes, to find, to apply, and to tell to many. All in memory, in one process.
//! [`run`] is called by `child`, which the driver starts.
//!
//! `sheet` is the value and the five edits, `helve` and `others` are who keeps it, `far` and `fanout` what only a host with
//! followers does.

mod fanout;
mod far;
mod helve;
mod others;
mod sheet;

use std::time::{Duration, Instant};

use crate::options::{Size, Task};
use crate::peers::{Measured, PeerName};
pub(crate) use fanout::Fanout;
pub(crate) use far::Rows;
pub(crate) use sheet::Edit;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// One edit of a large value: found, told and applied.
    Edit(Edit),
    /// A replica that was away for many edits.
    Far(Rows),
    /// One commit, and many who follow.
    Fanout(Fanout),
}

/// How many fresh values a child edits once each, and how often it edits one of them at most.
const FRESH: usize = 7;
const WARM_MAX: u32 = 500;

/// A value of one peer, and a replica of it that the deltas are applied to.
trait Kept: Sized {
    /// Both, as they are before the first edit; whatever is made once for a value is made.
    async fn fresh() -> Measured<Self>;

    /// Does the `n`-th edit of this kind, and returns what would travel.
    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>>;

    /// Applies what travelled to the replica.
    fn apply(&mut self, delta: &[u8]) -> Measured<()>;

    /// Whatever must be done before the next edit and is nobody's cost.
    fn settle(&mut self) -> Measured<()> {
        Ok(())
    }

    /// Whether the replica is what the value is.
    fn is_equal(&self) -> bool;
}

/// Runs the task and prints its outcome.
pub(crate) async fn run(task: &Task, change: Change) -> Measured<()> {
    let seconds = match task.size {
        Size::Seconds(seconds) => Duration::from_secs_f64(seconds),
        Size::Calls(_) => return Err("deltas are measured by time".into()),
    };
    match change {
        Change::Edit(edit) => edits(task.peer, edit, seconds).await,
        Change::Far(rows) => far::run(rows),
        Change::Fanout(fanout) => fanout::run(fanout).await,
    }
}

async fn edits(peer: PeerName, edit: Edit, time: Duration) -> Measured<()> {
    match (peer, edit) {
        (PeerName::Helve, Edit::InsertString) => {
            measure::<helve::Helve<String>>(Edit::Insert, time).await
        }
        (PeerName::Helve, _) => measure::<helve::Helve<::helve::track::Text>>(edit, time).await,
        (PeerName::Plain, _) => measure::<others::Plain>(edit, time).await,
        (PeerName::Whole, _) => measure::<others::Whole>(edit, time).await,
        (PeerName::SerdeDiff, _) => measure::<others::Diffed>(edit, time).await,
        (PeerName::Remoc, _) => measure::<others::Remoc>(edit, time).await,
        (PeerName::Yrs, _) => measure::<others::Yrs>(edit, time).await,
        _ => Err("this peer keeps no values".into()),
    }
}

async fn measure<K: Kept>(edit: Edit, time: Duration) -> Measured<()> {
    let (mut cold, mut warm, mut applied) = (Times::default(), Times::default(), Times::default());
    let mut len = 0;
    for _ in 0..FRESH {
        let mut kept = K::fresh().await?;
        let started = Instant::now();
        let delta = kept.edit(edit, 0).await?;
        cold.note(started);
        kept.apply(&delta)?;
        len = delta.len();
        if !kept.is_equal() {
            return Err("the replica differs".into());
        }
    }
    let mut kept = K::fresh().await?;
    let begun = Instant::now();
    for n in 0..WARM_MAX {
        let started = Instant::now();
        let delta = kept.edit(edit, n).await?;
        warm.note(started);
        let started = Instant::now();
        kept.apply(&delta)?;
        applied.note(started);
        kept.settle()?;
        if edit == Edit::Remove {
            // So that it stays as long as it is.
            let delta = kept.edit(Edit::Push, n).await?;
            kept.apply(&delta)?;
            kept.settle()?;
        }
        if begun.elapsed() > time && n > 2 {
            break;
        }
    }
    print!("cold_ns={} warm_ns={}", cold.median(), warm.median());
    if len > 0 {
        print!(" bytes={len} apply_ns={}", applied.median());
    }
    println!();
    Ok(())
}

/// How long something took, several times, in ns.
#[derive(Default)]
struct Times(Vec<u128>);

impl Times {
    fn note(&mut self, started: Instant) {
        self.0.push(started.elapsed().as_nanos());
    }

    fn median(&mut self) -> u128 {
        self.0.sort_unstable();
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }
}
