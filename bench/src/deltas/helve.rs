//! Helve: a `Tracked` value, and a replica that its nodes are applied to.

use helve::track::{Text, Track, Tracked};

use super::Kept;
use super::sheet::{Edit, LETTERS, MIDDLE, REMOVED, ROWS, Sheet, event_of, score_of, swapped};
use crate::peers::Measured;

/// A text that can be inserted into.
pub(super) trait Notes: Track + From<String> + PartialEq {
    fn insert(&mut self, at: usize, text: &str);
}

impl Notes for Text {
    fn insert(&mut self, at: usize, text: &str) {
        self.insert_str(at, text);
    }
}

impl Notes for String {
    fn insert(&mut self, at: usize, text: &str) {
        self.insert_str(at, text);
    }
}

pub(super) struct Helve<N: Notes> {
    value: Tracked<Sheet<N>>,
    replica: Sheet<N>,
}

impl<N: Notes> Kept for Helve<N> {
    async fn fresh() -> Measured<Self> {
        let value = Tracked::new(Sheet::new());
        // Made with the first edit otherwise: all of the value, encoded.
        value.history()?;
        Ok(Helve {
            value,
            replica: Sheet::new(),
        })
    }

    async fn edit(&mut self, edit: Edit, n: u32) -> Measured<Vec<u8>> {
        let rev = self.value.rev();
        self.value.change(|sheet| match edit {
            Edit::Score => {
                let (key, score) = score_of(n);
                if let Some(cell) = sheet.cells.get_mut(&key) {
                    cell.score = score;
                }
            }
            Edit::Push => sheet.log.push(event_of(ROWS + n)),
            Edit::Insert | Edit::InsertString => sheet.notes.insert(MIDDLE, LETTERS),
            Edit::Remove => _ = sheet.log.remove(REMOVED),
            Edit::Swap => {
                let (i, j) = swapped(n);
                sheet.log.swap(i, j);
            }
        })?;
        let history = self.value.history()?;
        let node = history.lock().map_err(|_| "poisoned")?.between(rev);
        Ok(node.ok_or("no revision")?.bytes.to_vec())
    }

    fn apply(&mut self, delta: &[u8]) -> Measured<()> {
        Ok(helve::track::apply(&mut self.replica, delta)?)
    }

    fn is_equal(&self) -> bool {
        self.replica.same(&self.value)
    }
}
