//! What this side keeps of its peer's values between calls that pass them as `&mut`: the least recently used go first
//! when there are more bytes than [`SessionLimits::kept`](crate::SessionLimits::kept).

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one costs besides its bytes.
const OVERHEAD: usize = 256;

/// The values of one session.
#[derive(Default)]
pub(crate) struct Kept(Mutex<State>);

#[derive(Default)]
struct State {
    quota: usize,
    bytes: usize,
    /// Counts uses.
    clock: u64,
    by_id: HashMap<u64, Entry>,
    /// The id of each, by its last use.
    by_use: BTreeMap<u64, u64>,
}

struct Entry {
    copy: Copy,
    used: u64,
}

/// One value, and which revision of its owner's it is.
pub(super) struct Copy {
    /// A `Box` of the value's type.
    pub(super) value: Box<dyn Any + Send>,
    pub(super) rev: u64,
    /// How long it may be on the wire, at most.
    pub(super) len: usize,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps so many bytes at most, from now on. 0: nothing, and drops what there is.
    pub(crate) fn limit(&self, quota: usize) {
        let mut state = self.lock();
        state.quota = quota;
        let dropped = state.trim();
        drop(state);
        // User code, as all values are: outside of the lock.
        drop(dropped);
    }

    /// Takes a value out, to work on it. Whoever asks for it meanwhile finds nothing.
    pub(super) fn take(&self, id: u64) -> Option<Copy> {
        self.lock().remove(id)
    }

    /// Keeps a value, in place of one with the same id.
    pub(super) fn put(&self, id: u64, copy: Copy) {
        let mut state = self.lock();
        let old = state.remove(id);
        if copy.len.saturating_add(OVERHEAD) > state.quota {
            // It would push out all others, and then itself.
            drop(state);
            return drop((old, copy));
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += copy.len + OVERHEAD;
        state.by_use.insert(used, id);
        state.by_id.insert(id, Entry { copy, used });
        let dropped = state.trim();
        drop(state);
        drop((old, dropped));
    }

    /// How many there are, and how many bytes they count for.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let state = self.lock();
        (state.by_id.len(), state.bytes)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Copy> {
        let Entry { copy, used } = self.by_id.remove(&id)?;
        self.by_use.remove(&used);
        self.bytes -= copy.len + OVERHEAD;
        Some(copy)
    }

    /// Takes out what is too much.
    fn trim(&mut self) -> Vec<Copy> {
        let mut dropped = Vec::new();
        while self.bytes > self.quota
            && let Some((_, id)) = self.by_use.first_key_value()
        {
            dropped.extend(self.remove(*id));
        }
        dropped
    }
}
