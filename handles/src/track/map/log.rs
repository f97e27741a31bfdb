//! What the tracked maps and sets have in common: a table, and while it is armed a log with one state a key. So whatever
//! is done to a key, and however often, ends as one entry of one node. Used by `map`, `hmap`, `set` and `hset`.

use super::write;
use crate::patch::{EncodeError, Patcher};
use crate::track::{Identity, Key, Track};
use crate::wire::Wire;

/// What became of a key since its container was armed. A key without a state is as it was.
#[derive(Debug)]
pub(crate) enum State<V: Track> {
    /// Somebody got a `&mut` to its value.
    Touched(V::Shadow),
    /// There is another value now.
    Put { was: Option<Was<V>> },
    /// It is not there any more.
    Gone { was: Was<V> },
}

/// The value that a key had when its container was armed: the very one, for `undo`.
#[derive(Debug)]
pub(crate) struct Was<V: Track> {
    value: V,
    /// If it was touched before it had to go.
    shadow: Option<V::Shadow>,
}

impl<V: Track> Was<V> {
    /// As it was when its container was armed, and whether that could be done.
    pub(crate) fn restore(self) -> (V, bool) {
        let Was { mut value, shadow } = self;
        let restored = shadow.is_none_or(|shadow| value.undo(shadow));
        (value, restored)
    }
}

/// One of the standard library's maps or sets. The value of an item of a set is `()`.
pub(crate) trait Table {
    type Key: Key;
    type Value: Track;
    /// The same kind of table, for states.
    type Log: Log<Key = Self::Key, Value = Self::Value>;

    fn size(&self) -> usize;
    fn change<R>(&mut self, key: &Self::Key, f: impl FnOnce(&mut Self::Value) -> R) -> Option<R>;
    fn put(&mut self, key: Self::Key, value: Self::Value) -> Option<Self::Value>;
    fn take(&mut self, key: &Self::Key) -> Option<(Self::Key, Self::Value)>;
    /// Leaves it empty, with its hasher.
    fn take_all(&mut self) -> impl Iterator<Item = (Self::Key, Self::Value)>;
}

/// The states of the keys of a [`Table`].
pub(crate) trait Log: Default {
    type Key: Key;
    type Value: Track;

    fn has(&self, key: &Self::Key) -> bool;
    fn take(&mut self, key: &Self::Key) -> Option<State<Self::Value>>;
    fn set(&mut self, key: Self::Key, state: State<Self::Value>);
    /// In an order that only depends on the keys.
    fn in_order(self) -> impl ExactSizeIterator<Item = (Self::Key, State<Self::Value>)>;

    /// Somebody gets a `&mut` to `value`.
    fn note_touched(&mut self, key: &Self::Key, value: &mut Self::Value) {
        if !self.has(key) {
            self.set(key.clone(), State::Touched(value.shadow()));
        }
    }

    /// There is another value under `key` now; `old` was there before. Returns `given(old)` if it is not needed for
    /// `undo`, else what `copy` makes of it.
    fn note_put<R>(
        &mut self,
        key: Self::Key,
        old: Option<Self::Value>,
        copy: impl FnOnce(&Self::Value) -> R,
        given: impl FnOnce(Self::Value) -> R,
    ) -> Option<R> {
        let (was, back) = match self.take(&key) {
            Some(State::Put { was }) => (was, old.map(given)),
            Some(State::Gone { was }) => (Some(was), old.map(given)),
            touched => {
                let shadow = match touched {
                    Some(State::Touched(shadow)) => Some(shadow),
                    _ => None,
                };
                let back = old.as_ref().map(copy);
                (old.map(|value| Was { value, shadow }), back)
            }
        };
        self.set(key, State::Put { was });
        back
    }

    /// [`note_put`](Self::note_put) where there certainly was one.
    fn note_replaced(&mut self, key: Self::Key, old: Self::Value) -> Self::Value {
        match self.take(&key) {
            Some(State::Put { was }) => {
                self.set(key, State::Put { was });
                old
            }
            touched => {
                let shadow = match touched {
                    Some(State::Touched(shadow)) => Some(shadow),
                    _ => None,
                };
                let back = old.clone();
                let was = Some(Was { value: old, shadow });
                self.set(key, State::Put { was });
                back
            }
        }
    }

    /// `old` is no longer there under `key`. Returns `given(old)` if it is not needed for `undo`, else what `copy` makes
    /// of it.
    fn note_gone<R>(
        &mut self,
        key: Self::Key,
        old: Self::Value,
        copy: impl FnOnce(&Self::Value) -> R,
        given: impl FnOnce(Self::Value) -> R,
    ) -> R {
        let shadow = match self.take(&key) {
            Some(State::Put { was }) => {
                if let Some(was) = was {
                    self.set(key, State::Gone { was });
                }
                return given(old);
            }
            Some(State::Touched(shadow)) => Some(shadow),
            Some(State::Gone { .. }) | None => None,
        };
        let back = copy(&old);
        let was = Was { value: old, shadow };
        self.set(key, State::Gone { was });
        back
    }

    /// [`note_gone`](Self::note_gone) of what the user gets.
    fn note_taken(&mut self, key: Self::Key, old: Self::Value) -> Self::Value {
        self.note_gone(key, old, Clone::clone, |old| old)
    }

    /// [`note_gone`](Self::note_gone) of what nobody gets.
    fn note_dropped(&mut self, key: Self::Key, old: Self::Value) {
        self.note_gone(key, old, |_| (), drop);
    }
}

/// A table that can be watched.
pub(crate) struct Watched<M, L> {
    pub(crate) table: M,
    id: Identity,
    /// Made when the first thing happens.
    log: Option<Box<L>>,
}

/// The log of a table that is being watched.
pub(crate) struct Recorder<'a, L> {
    id: &'a mut Identity,
    log: &'a mut L,
}

impl<L: Log> Recorder<'_, L> {
    /// Changes table and log. Meanwhile the log counts for nothing: it would lie if code of the user's, in a comparison,
    /// a clone or a drop, panicked halfway.
    pub(crate) fn record<R>(&mut self, change: impl FnOnce(&mut L) -> R) -> R {
        let id = self.id.suspend();
        let result = change(self.log);
        self.id.resume(id);
        result
    }

    /// Whether something happened to `key` already.
    pub(crate) fn knows(&self, key: &L::Key) -> bool {
        self.log.has(key)
    }

    /// As [`touch`](Self::touch), of a key that it does not [know](Self::knows).
    pub(crate) fn touch_new(&mut self, key: L::Key, value: &mut L::Value) {
        self.record(|log| log.set(key, State::Touched(value.shadow())));
    }

    /// Before a `&mut` to the value of `key` is handed out.
    pub(crate) fn touch(&mut self, key: &L::Key, value: &mut L::Value) {
        self.record(|log| log.note_touched(key, value));
    }
}

impl<M, L> Watched<M, L> {
    pub(crate) const fn new(table: M) -> Self {
        Watched {
            table,
            id: Identity::NONE,
            log: None,
        }
    }

    /// The table, and its log if it is being watched.
    pub(crate) fn parts(&mut self) -> (&mut M, Option<Recorder<'_, L>>)
    where
        L: Default,
    {
        let recorder = match self.id.is_logging() {
            true => Some(Recorder {
                id: &mut self.id,
                log: &mut **self.log.get_or_insert_default(),
            }),
            false => None,
        };
        (&mut self.table, recorder)
    }

    pub(crate) fn is_logging(&self) -> bool {
        self.id.is_logging()
    }

    /// Another table altogether.
    pub(crate) fn replace(&mut self, table: M) {
        self.id.void();
        self.log = None;
        self.table = table;
    }
}

impl<M: Table<Log = L>, L: Log<Key = M::Key, Value = M::Value>> Watched<M, L> {
    pub(crate) fn insert(&mut self, key: M::Key, value: M::Value) -> Option<M::Value> {
        let (table, recorder) = self.parts();
        match recorder {
            None => table.put(key, value),
            Some(mut recorder) => recorder.record(|log| {
                let known = key.clone();
                let old = table.put(key, value);
                log.note_put(known, old, Clone::clone, |old| old)
            }),
        }
    }

    /// Inserts, and makes no clone of what was there for anybody.
    pub(crate) fn put(&mut self, key: M::Key, value: M::Value) {
        let (table, recorder) = self.parts();
        match recorder {
            None => drop(table.put(key, value)),
            Some(mut recorder) => recorder.record(|log| {
                let known = key.clone();
                let old = table.put(key, value);
                log.note_put(known, old, |_| (), drop);
            }),
        }
    }

    /// Removes, and makes no clone for anybody.
    pub(crate) fn discard(&mut self, key: &M::Key) {
        let (table, recorder) = self.parts();
        match recorder {
            None => drop(table.take(key)),
            Some(mut recorder) => recorder.record(|log| {
                if let Some((key, old)) = table.take(key) {
                    log.note_dropped(key, old);
                }
            }),
        }
    }

    pub(crate) fn clear(&mut self) {
        let (table, recorder) = self.parts();
        match recorder {
            None => table.take_all().for_each(drop),
            Some(mut recorder) => recorder.record(|log| {
                for (key, old) in table.take_all() {
                    log.note_dropped(key, old);
                }
            }),
        }
    }

    pub(crate) fn arm(&mut self) -> u64 {
        self.log = None;
        self.id.arm()
    }

    /// Ends the watch. Whether the log tells all that happened since `shadow`.
    fn close(&mut self, shadow: u64) -> (bool, Option<Box<L>>) {
        let is_whole = self.id.is(shadow);
        self.id.disarm();
        (is_whole, self.log.take())
    }

    pub(crate) fn flush(&mut self, shadow: u64, patcher: &mut Patcher) -> Result<bool, EncodeError>
    where
        M: Wire,
    {
        let (is_whole, log) = self.close(shadow);
        if !is_whole {
            self.forget(log);
            patcher.set(&self.table)?;
            return Ok(true);
        }
        let Some(log) = log else {
            return Ok(false);
        };
        let table = &mut self.table;
        let states = log.in_order();
        if table.size() == 0 && states.len() > 0 {
            patcher.set(table)?;
            return Ok(true);
        }
        write::key_wise(patcher, table, |table, changes| {
            for (key, state) in states {
                match state {
                    State::Gone { .. } => changes.gone(&key)?,
                    State::Put { was } => {
                        let put = |value: &mut M::Value| changes.put(&key, was, value);
                        table.change(&key, put).transpose()?;
                    }
                    State::Touched(shadow) => {
                        let touched = |value: &mut M::Value| {
                            changes.change(&key, |patcher| value.flush(&shadow, patcher))
                        };
                        table.change(&key, touched).transpose()?;
                    }
                }
            }
            Ok(())
        })
    }

    pub(crate) fn undo(&mut self, shadow: u64) -> bool {
        let (is_whole, log) = self.close(shadow);
        if !is_whole {
            self.forget(log);
            return false;
        }
        let Some(log) = log else {
            return true;
        };
        let table = &mut self.table;
        // All of them, whatever the first ones say: each ends its watch.
        log.in_order().fold(true, |all, (key, state)| {
            let undone = match state {
                State::Touched(shadow) => {
                    table.change(&key, |value| value.undo(shadow)) == Some(true)
                }
                State::Put { was: None } => table.take(&key).is_some(),
                State::Put { was: Some(was) } | State::Gone { was } => {
                    let (value, restored) = was.restore();
                    table.put(key, value);
                    restored
                }
            };
            undone && all
        })
    }

    /// Ends the watch of what was touched; all of it is sent, or thrown away.
    fn forget(&mut self, log: Option<Box<L>>) {
        let mut nowhere = Patcher::new();
        for (key, state) in log.into_iter().flat_map(|log| log.in_order()) {
            if let State::Touched(shadow) = state {
                let flush = |value: &mut M::Value| value.flush(&shadow, &mut nowhere);
                // An error comes up again where all of it is written.
                let _ = self.table.change(&key, flush);
            }
        }
    }
}
