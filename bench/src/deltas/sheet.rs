//! The value: 10,000 cells, 10,000 events and a text of 10 kB; 770 kB as named MessagePack.

use std::collections::BTreeMap;

use helve::prelude::*;
use helve::track::{List, Map};
use serde::{Deserialize, Serialize};
use serde_diff::SerdeDiff;

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Edit {
    /// One number of one cell.
    Score,
    /// One event at the end.
    Push,
    /// Seven letters in the middle of the text.
    Insert,
    /// The same where it is a `String`.
    InsertString,
    /// The event in the middle.
    Remove,
    /// Two events that are 6,000 apart.
    Swap,
}

pub(crate) const ROWS: u32 = 10_000;
/// Where the text is edited, in bytes, and what is put there.
pub(crate) const MIDDLE: usize = 5_000;
pub(crate) const LETTERS: &str = "so long";
/// The event that is removed.
pub(crate) const REMOVED: usize = 5_000;

/// The cell that the `n`-th edit changes, and to what.
pub(crate) fn score_of(n: u32) -> (u32, f64) {
    ((7_000 + n * 7_919) % ROWS, -f64::from(n) - 0.5)
}

/// The events that the `n`-th edit swaps.
pub(crate) fn swapped(n: u32) -> (usize, usize) {
    let n = n as usize % 1_000;
    (2_000 + n, 8_000 + n)
}

pub(crate) fn event_of(n: u32) -> Event {
    Event {
        at: 1_700_000_000 + n,
        what: format!("edited cell {n:05}"),
    }
}

/// All events, with room for more, as a list that is in use has: a full one is copied when it grows, by whoever keeps it.
pub(crate) fn log() -> Vec<Event> {
    let mut log = Vec::with_capacity(2 * ROWS as usize);
    log.extend((0..ROWS).map(event_of));
    log
}

pub(crate) fn cell_of(n: u32) -> Cell {
    Cell {
        text: format!("text {n:07}"),
        color: 7,
        score: f64::from(n) / 8.0,
    }
}

pub(crate) fn notes() -> String {
    let mut notes = "Ten letters, and so on. ".repeat(420);
    notes.reserve(10_000);
    notes
}

#[derive(Wire, Track, Clone, Debug, PartialEq, SerdeDiff)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) color: u8,
    pub(crate) score: f64,
}

#[derive(Wire, Track, Clone, Debug, PartialEq, SerdeDiff)]
pub(crate) struct Event {
    pub(crate) at: u32,
    pub(crate) what: String,
}

/// As it is tracked. `N` is `Text` or `String`.
#[derive(Wire, Track, Clone)]
pub(crate) struct Sheet<N: Track> {
    pub(crate) cells: Map<u32, Cell>,
    pub(crate) log: List<Event>,
    pub(crate) notes: N,
}

impl<N: Track + From<String>> Sheet<N> {
    pub(crate) fn new() -> Sheet<N> {
        Sheet {
            cells: (0..ROWS).map(|n| (n, cell_of(n))).collect(),
            log: log().into(),
            notes: notes().into(),
        }
    }
}

/// The same in containers of the standard library.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, SerdeDiff)]
pub(crate) struct PlainSheet {
    pub(crate) cells: BTreeMap<u32, Cell>,
    pub(crate) log: Vec<Event>,
    pub(crate) notes: String,
}

impl PlainSheet {
    pub(crate) fn new() -> PlainSheet {
        PlainSheet {
            cells: (0..ROWS).map(|n| (n, cell_of(n))).collect(),
            log: log(),
            notes: notes(),
        }
    }

    pub(crate) fn edit(&mut self, edit: Edit, n: u32) {
        match edit {
            Edit::Score => {
                let (key, score) = score_of(n);
                if let Some(cell) = self.cells.get_mut(&key) {
                    cell.score = score;
                }
            }
            Edit::Push => self.log.push(event_of(ROWS + n)),
            Edit::Insert | Edit::InsertString => self.notes.insert_str(MIDDLE, LETTERS),
            Edit::Remove => _ = self.log.remove(REMOVED),
            Edit::Swap => {
                let (i, j) = swapped(n);
                self.log.swap(i, j);
            }
        }
    }
}
