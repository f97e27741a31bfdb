//! Who else keeps a value and tells what changed, each in the way that its documentation shows.

use std::collections::HashMap;
use std::sync::Arc;

use remoc::codec::{Codec, Default as Encoding};
use remoc::robs::hash_map::{HashMapEvent, HashMapSubscription, ObservableHashMap};
use remoc::robs::vec::{ObservableVec, VecEvent, VecSubscription};
use serde::Serialize;
use serde_diff::{Apply, Diff};
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayRef, Doc, GetString, Map, MapPrelim, MapRef, Out, ReadTxn, StateVector, Text,
    TextRef, Transact, Update,
};

use super::Kept;
use super::sheet::{
    Cell, Edit, Event, LETTERS, MIDDLE, PlainSheet, REMOVED, ROWS, cell_of, event_of, log, notes,
    score_of, swapped,
};
use crate::peers::Measured;

/// The edit alone: nothing is told. What an edit costs at least.
pub(super) struct Plain(PlainSheet);

impl Kept for Plain {
    async fn fresh() -> Measured<Self> {
        Ok(Plain(PlainSheet::new()))
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        self.0.edit(edit, n);
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &[u8]) -> Measured<()> {
        Ok(())
    }

    fn is_equal(&self) -> bool {
        true
    }
}

/// All of the value each time, as named MessagePack by rmp-serde.
pub(super) struct Whole {
    value: PlainSheet,
    replica: PlainSheet,
}

impl Kept for Whole {
    async fn fresh() -> Measured<Self> {
        Ok(Whole {
            value: PlainSheet::new(),
            replica: PlainSheet::new(),
        })
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        self.value.edit(edit, n);
        Ok(rmp_serde::to_vec_named(&self.value)?)
    }

    fn apply(&mut self, delta: &[u8]) -> Measured<()> {
        self.replica = rmp_serde::from_slice(delta)?;
        Ok(())
    }

    fn is_equal(&self) -> bool {
        self.value == self.replica
    }
}

/// serde-diff: compares with a copy of what was, which is kept up beside the value at nobody's cost.
pub(super) struct Diffed {
    value: PlainSheet,
    before: PlainSheet,
    replica: PlainSheet,
    /// To bring `before` up with.
    last: Option<(Edit, u32)>,
}

impl Kept for Diffed {
    async fn fresh() -> Measured<Self> {
        Ok(Diffed {
            value: PlainSheet::new(),
            before: PlainSheet::new(),
            replica: PlainSheet::new(),
            last: None,
        })
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        self.value.edit(edit, n);
        self.last = Some((edit, n));
        Ok(rmp_serde::to_vec(&Diff::serializable(
            &self.before,
            &self.value,
        ))?)
    }

    fn apply(&mut self, delta: &[u8]) -> Measured<()> {
        let mut from = rmp_serde::Deserializer::new(delta);
        Ok(Apply::apply(&mut from, &mut self.replica)?)
    }

    fn settle(&mut self) -> Measured<()> {
        if let Some((edit, n)) = self.last.take() {
            self.before.edit(edit, n);
        }
        Ok(())
    }

    fn is_equal(&self) -> bool {
        self.value == self.replica
    }
}

/// remoc's observable map and vector, with a subscriber each; what travels is its events in its own encoding, without
/// what its channels add. It has no text.
pub(super) struct Remoc {
    cells: ObservableHashMap<u32, Cell>,
    log: ObservableVec<Event>,
    cell_events: HashMapSubscription<u32, Cell>,
    log_events: VecSubscription<Event>,
    /// Kept up as remoc's own mirrors are.
    replica: (HashMap<u32, Cell>, Vec<Event>),
    /// Which of the two was edited last.
    of_log: bool,
}

fn write<T: Serialize>(bytes: &mut Vec<u8>, event: &T) -> Measured<()> {
    Ok(<Encoding as Codec>::serialize(bytes, event)?)
}

impl Kept for Remoc {
    async fn fresh() -> Measured<Self> {
        let cells: HashMap<u32, Cell> = (0..ROWS).map(|n| (n, cell_of(n))).collect();
        let replica = (cells.clone(), log());
        let (cells, log) = (ObservableHashMap::from(cells), ObservableVec::from(log()));
        let (mut cell_events, mut log_events) = (cells.subscribe(16), log.subscribe(16));
        cell_events.take_initial().ok_or("no cells")?;
        log_events.take_initial().ok_or("no log")?;
        Ok(Remoc {
            cells,
            log,
            cell_events,
            log_events,
            replica,
            of_log: false,
        })
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        self.of_log = edit != Edit::Score;
        let mut events = 1;
        match edit {
            Edit::Score => {
                let (key, score) = score_of(n);
                let mut cell = self.cells.get_mut(&key).ok_or("no cell")?;
                cell.score = score;
            }
            Edit::Push => self.log.push(event_of(ROWS + n)),
            Edit::Remove => _ = self.log.remove(REMOVED),
            Edit::Swap => {
                let (i, j) = swapped(n);
                let (a, b) = (self.log[i].clone(), self.log[j].clone());
                *self.log.get_mut(i).ok_or("no event")? = b;
                *self.log.get_mut(j).ok_or("no event")? = a;
                events = 2;
            }
            Edit::Insert | Edit::InsertString => return Err("remoc has no text".into()),
        }
        let mut bytes = Vec::new();
        for _ in 0..events {
            if self.of_log {
                let event = self.log_events.recv().await?;
                write(&mut bytes, &event.ok_or("no event")?)?;
            } else {
                let event = self.cell_events.recv().await?;
                write(&mut bytes, &event.ok_or("no event")?)?;
            }
        }
        Ok(bytes)
    }

    fn apply(&mut self, mut delta: &[u8]) -> Measured<()> {
        let (cells, log) = &mut self.replica;
        while !delta.is_empty() {
            if self.of_log {
                match <Encoding as Codec>::deserialize(&mut delta)? {
                    VecEvent::Push(event) => log.push(event),
                    VecEvent::Set(at, event) => log[at] = event,
                    VecEvent::Remove(at) => _ = log.remove(at),
                    _ => return Err("an event that nobody made".into()),
                }
            } else {
                match <Encoding as Codec>::deserialize(&mut delta)? {
                    HashMapEvent::Set(key, cell) => _ = cells.insert(key, cell),
                    _ => return Err("an event that nobody made".into()),
                }
            }
        }
        Ok(())
    }

    fn is_equal(&self) -> bool {
        *self.cells == self.replica.0 && *self.log == self.replica.1
    }
}

/// yrs: a map of a map for each cell, an array of plain events, a text; an update is what a transaction did.
pub(super) struct Yrs {
    value: YrsSheet,
    replica: YrsSheet,
}

struct YrsSheet {
    doc: Doc,
    cells: MapRef,
    log: ArrayRef,
    notes: TextRef,
}

impl YrsSheet {
    fn new(id: u64) -> YrsSheet {
        let doc = Doc::with_client_id(id);
        YrsSheet {
            cells: doc.get_or_insert_map("cells"),
            log: doc.get_or_insert_array("log"),
            notes: doc.get_or_insert_text("notes"),
            doc,
        }
    }
}

fn any_of(event: Event) -> Any {
    Any::Map(Arc::new(HashMap::from([
        ("at".to_owned(), Any::from(f64::from(event.at))),
        ("what".to_owned(), Any::from(event.what)),
    ])))
}

impl Kept for Yrs {
    async fn fresh() -> Measured<Self> {
        // Ids of the length that they have when they are drawn.
        let (value, replica) = (YrsSheet::new(1_234_567_890), YrsSheet::new(1_987_654_321));
        let mut txn = value.doc.transact_mut();
        for n in 0..ROWS {
            let Cell { text, color, score } = cell_of(n);
            let cell = [
                ("text", Any::from(text)),
                ("color", Any::from(f64::from(color))),
                ("score", Any::from(score)),
            ];
            value
                .cells
                .insert(&mut txn, n.to_string(), MapPrelim::from(cell));
        }
        // At once: 10,000 that are pushed are merged one by one, which takes seconds.
        let events = (0..ROWS).map(|n| any_of(event_of(n)));
        value.log.insert_range(&mut txn, 0, events);
        value.notes.insert(&mut txn, 0, &notes());
        drop(txn);
        let all = value
            .doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default());
        let mut kept = Yrs { value, replica };
        kept.apply(&all)?;
        Ok(kept)
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        let YrsSheet {
            doc,
            cells,
            log,
            notes,
        } = &self.value;
        let mut txn = doc.transact_mut();
        match edit {
            Edit::Score => {
                let (key, score) = score_of(n);
                let Some(Out::YMap(cell)) = cells.get(&txn, &key.to_string()) else {
                    return Err("no cell".into());
                };
                cell.insert(&mut txn, "score", score);
            }
            Edit::Push => _ = log.push_back(&mut txn, any_of(event_of(ROWS + n))),
            Edit::Insert | Edit::InsertString => notes.insert(&mut txn, MIDDLE as u32, LETTERS),
            Edit::Remove => log.remove(&mut txn, REMOVED as u32),
            Edit::Swap => {
                let (i, j) = swapped(n);
                let (i, j) = (i as u32, j as u32);
                let (Some(Out::Any(a)), Some(Out::Any(b))) = (log.get(&txn, i), log.get(&txn, j))
                else {
                    return Err("no event".into());
                };
                for (at, event) in [(i, b), (j, a)] {
                    log.remove(&mut txn, at);
                    log.insert(&mut txn, at, event);
                }
            }
        }
        let update = txn.encode_update_v1();
        drop(txn);
        Ok(update)
    }

    fn apply(&mut self, delta: &[u8]) -> Measured<()> {
        let update = Update::decode_v1(delta)?;
        Ok(self.replica.doc.transact_mut().apply_update(update)?)
    }

    fn is_equal(&self) -> bool {
        let all = |sheet: &YrsSheet| {
            let txn = sheet.doc.transact();
            let lists = (sheet.cells.to_json(&txn), sheet.log.to_json(&txn));
            (lists, sheet.notes.get_string(&txn))
        };
        all(&self.value) == all(&self.replica)
    }
}
