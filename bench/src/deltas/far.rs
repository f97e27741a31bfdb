//! A replica that was away for 1,000 edits of 60 rows: what it is sent, beside all of them and beside all of the value.

use std::time::Instant;

use helve::track::{Text, Track, Tracked, apply};
use helve_handles::shared::Update;

use super::Times;
use super::sheet::Sheet;
use crate::peers::Measured;

/// Where the rows are that are edited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rows {
    /// In the map: a score each time.
    Map,
    /// In the list: the time of an event.
    List,
}

const EDITS: u32 = 1_000;
const ROWS: u32 = 60;
const RUNS: usize = 5;

pub(super) fn run(rows: Rows) -> Measured<()> {
    let [mut composed, mut once, mut each, mut whole] = [(); 4].map(|()| Times::default());
    let (mut len, mut all, mut snapshot) = (0, 0, 0);
    for _ in 0..RUNS {
        let mut value = Tracked::new(Sheet::<Text>::new());
        let history = value.history()?;
        let (mut far, mut near) = (Sheet::<Text>::new(), Sheet::<Text>::new());
        let begun = value.rev();
        let lock = || history.lock().map_err(|_| "poisoned");
        let mut singles = Vec::new();
        for n in 0..EDITS {
            let rev = value.rev();
            value.change(|sheet| match rows {
                Rows::Map => {
                    if let Some(cell) = sheet.cells.get_mut(&(n % ROWS)) {
                        cell.score = f64::from(n) + 0.5;
                    }
                }
                Rows::List => sheet.log[(n % ROWS) as usize].at += 1 + n,
            })?;
            singles.push(lock()?.between(rev).ok_or("no revision")?.bytes);
        }
        all = singles.iter().map(|node| node.len()).sum();
        snapshot = lock()?.snapshot_len();

        let started = Instant::now();
        let update = lock()?.next(Some(begun));
        composed.note(started);
        let Some(Update::Delta { node, .. }) = update else {
            return Err("a delta was to be had".into());
        };
        len = node.bytes.len();
        let started = Instant::now();
        apply(&mut far, &node.bytes)?;
        once.note(started);
        let started = Instant::now();
        for node in &singles {
            apply(&mut near, node)?;
        }
        each.note(started);
        if !far.same(&value) || !near.same(&value) {
            return Err("the replica differs".into());
        }
        let bytes = rmp_serde::to_vec_named(&*value)?;
        let started = Instant::now();
        let read: Sheet<Text> = rmp_serde::from_slice(&bytes)?;
        whole.note(started);
        drop(read);
    }
    println!(
        "bytes={len} singles_bytes={all} whole_bytes={snapshot} compose_ns={} apply_ns={} singles_ns={} whole_ns={}",
        composed.median(),
        once.median(),
        each.median(),
        whole.median()
    );
    Ok(())
}
