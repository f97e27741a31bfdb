//! [`Tracked`]: a value whose owner changes it in plain Rust, and can tell afterwards what changed, or take it back.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::History;
use super::history::Payload;
use crate::patch::{EncodeError, PatchError, PatchReader, Patcher};
use crate::references;
use crate::track::Track;

/// Below this many bytes a copy of the value is made before an edit; above, an edit is taken back step by step, or from
/// the history.
const COPY_MAX: usize = 4 << 10;

/// Up to so many bytes a value that holds handles is encoded with each commit, so that one that was taken out is let go.
const REFRESH_MAX: usize = 64 << 10;

/// How large a value may be, in bytes on the wire, unless said otherwise.
pub const VALUE_MAX: usize = 16 << 20;

/// A value, its revision, and how it came to be.
///
/// Read it by `Deref`; change it with [`update`](Self::update) or [`edit`](Self::edit). Passed as `&mut` to a method of
/// another machine it sends what changed since that machine saw it last, and takes back what changed there.
///
/// # Example
/// ```
/// use helve_handles::shared::Tracked;
///
/// let mut scores = Tracked::new((0_u32, "nobody".to_owned()));
/// let rev = scores.rev();
/// scores.change(|scores| scores.0 += 1)?;
/// assert_eq!((scores.0, scores.rev()), (1, rev + 1));
///
/// // Dropped without `commit`: as if nothing had been.
/// scores.edit()?.1.push('!');
/// assert_eq!(scores.1, "nobody");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Tracked<T: Track> {
    value: T,
    rev: u64,
    limit: usize,
    /// From the first edit on.
    history: OnceLock<Arc<Mutex<History>>>,
    /// An edit is under way, or its guard was leaked.
    open: Option<Open<T>>,
    /// The value is not what the history says.
    untold: bool,
    /// Whatever its user remembers along with it.
    memo: Option<Box<dyn Any + Send + Sync>>,
}

struct Open<T: Track> {
    shadow: T::Shadow,
    copy: Option<T>,
}

impl<T: Track> Tracked<T> {
    /// At revision 1, of at most 16 MiB on the wire.
    pub fn new(value: T) -> Tracked<T> {
        Tracked {
            value,
            rev: 1,
            limit: VALUE_MAX,
            history: OnceLock::new(),
            open: None,
            untold: false,
            memo: None,
        }
    }

    /// With another bound for its size on the wire, in bytes: a commit above it fails.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How often it has changed, plus one.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// Changes the value, and commits where `change` returns `Ok`; else, and when it panics, nothing has happened.
    ///
    /// # Errors
    /// Its own, or what it made cannot be sent.
    pub fn update<R, E>(
        &mut self,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, UpdateError<E>> {
        let mut edit = self.edit()?;
        let result = change(&mut edit).map_err(UpdateError::App)?;
        edit.commit()?;
        Ok(result)
    }

    /// As [`update`](Self::update), with a change that cannot fail.
    ///
    /// # Errors
    /// What it made cannot be sent.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> Result<R, EncodeError> {
        let mut edit = self.edit()?;
        let result = change(&mut edit);
        edit.commit()?;
        Ok(result)
    }

    /// Begins an edit. The guard is the value; dropped without [`commit`](Edit::commit) it takes the edit back.
    ///
    /// # Errors
    /// The value as it is cannot be encoded.
    pub fn edit(&mut self) -> Result<Edit<'_, T>, EncodeError> {
        self.begin()?;
        Ok(Edit { tracked: self })
    }

    /// The value, which is no longer tracked.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// What others are served from: made with the first edit, or now. They may look into it while an edit is under way.
    ///
    /// # Errors
    /// The value cannot be encoded, or is too large.
    pub fn history(&self) -> Result<Arc<Mutex<History>>, EncodeError> {
        if let Some(history) = self.history.get() {
            return Ok(history.clone());
        }
        let history = Arc::new(Mutex::new(History::new(self.rev, self.encoded()?)));
        // Two may have made one of the same value.
        Ok(self.history.get_or_init(|| history).clone())
    }

    /// The same, if it was made.
    pub fn known_history(&self) -> Option<Arc<Mutex<History>>> {
        self.history.get().cloned()
    }

    /// What is to be remembered along with this value, and to go when it goes: which peer knows which revision of it.
    pub fn memo_mut(&mut self) -> &mut Option<Box<dyn Any + Send + Sync>> {
        &mut self.memo
    }

    /// Sees to it that the history tells the value as it is, where the guard of an edit was leaked.
    ///
    /// # Errors
    /// The value as it is cannot be encoded.
    pub fn settle(&mut self) -> Result<(), EncodeError> {
        // What the edit did nobody can tell, so all of the value is told.
        self.untold |= self.open.take().is_some();
        match self.untold {
            true => self.replace_all(),
            false => Ok(()),
        }
    }

    /// All of the value, as it would travel.
    fn encoded(&self) -> Result<Payload, EncodeError> {
        let mut patcher = Patcher::new();
        patcher.value(&self.value)?;
        let payload = Payload::new(patcher.finish()?);
        match payload.bytes.len() > self.limit {
            true => Err(EncodeError::TooLarge { limit: self.limit }),
            false => Ok(payload),
        }
    }

    /// Begins an edit without a guard: [`value_mut`](Self::value_mut), then [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback). For guards that own what they guard.
    ///
    /// # Errors
    /// The value as it is cannot be encoded.
    pub fn begin(&mut self) -> Result<(), EncodeError> {
        self.settle()?;
        let history = self.history()?;
        let is_small = lock(&history).snapshot_len() < COPY_MAX;
        self.open = Some(Open {
            copy: is_small.then(|| self.value.clone()),
            shadow: self.value.shadow(),
        });
        Ok(())
    }

    /// The value while an edit is under way. Without one, what is done to it is lost on those who follow.
    pub fn value_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// Ends an edit. The value's revision, if anything changed; else `None`.
    ///
    /// # Errors
    /// What it made cannot be encoded or is too large: the edit was taken back.
    pub fn commit(&mut self) -> Result<Option<u64>, EncodeError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let result = self.write(&open.shadow);
        if result.is_err() {
            _ = self.restore(open.copy);
        }
        result
    }

    fn write(&mut self, shadow: &T::Shadow) -> Result<Option<u64>, EncodeError> {
        let mut patcher = Patcher::new();
        let changed = self.value.flush(shadow, &mut patcher)?;
        // Values that were moved to where they are may hold nothing new to tell, and nest too deep all the same.
        let node = Payload::new(patcher.finish()?);
        if !changed {
            return Ok(None);
        }
        let history = self.history()?;
        let len = node.bytes.len();
        let (all_len, may_be_large, wants_snapshot) = {
            let history = lock(&history);
            let may_be = history.value_len_max() + len;
            let len_then = history.snapshot_len();
            // A handle that was taken out is not to live on in an old snapshot.
            let refresh = len_then <= REFRESH_MAX && history.holds_references();
            (len_then, may_be, refresh || history.wants_snapshot(len))
        };
        // A change as long as the value says it all at once.
        let is_long = len > 16 && len >= all_len;
        let all = match is_long || wants_snapshot || may_be_large > self.limit {
            true => Some(self.encoded()?),
            false => None,
        };
        let mut history = lock(&history);
        match all {
            Some(all) if is_long && all.bytes.len() + 2 < len => {
                history.push(set_of(&all));
                history.snapshot(all);
            }
            all => {
                history.push(node);
                if let Some(all) = all {
                    history.snapshot(all);
                }
            }
        }
        self.rev = history.head();
        Ok(Some(self.rev))
    }

    /// Takes an edit back. `false`: not all of it could be, because the type does not read what it wrote; the value is
    /// told as it is with the next edit.
    pub fn rollback(&mut self) -> bool {
        match self.open.take() {
            Some(open) => self.value.undo(open.shadow) || self.restore(open.copy),
            None => true,
        }
    }

    /// The value as it was before the edit: from the copy, or from the history. Says whether it is.
    fn restore(&mut self, copy: Option<T>) -> bool {
        match copy.map_or_else(|| self.rebuilt(), Ok) {
            Ok(mut before) => {
                before.adopt(&mut self.value);
                self.value = before;
                true
            }
            // Of a type that does not read what it wrote. It is told as it is with the next edit.
            Err(_) => {
                self.untold = true;
                false
            }
        }
    }

    fn rebuilt(&self) -> Result<T, PatchError> {
        let history = self.history.get().ok_or(PatchError::Missing)?;
        // Decoded without the lock: that is code of the user's.
        let (snap, nodes) = lock(history).replay();
        let mut value: T =
            references::provide(&snap.refs, || PatchReader::new(&snap.bytes).value())?;
        for node in nodes {
            references::provide(&node.refs, || crate::track::apply(&mut value, &node.bytes))?;
        }
        Ok(value)
    }

    /// A revision that says all of the value.
    fn replace_all(&mut self) -> Result<(), EncodeError> {
        let all = self.encoded()?;
        let history = self.history()?;
        let mut history = lock(&history);
        history.push(set_of(&all));
        history.snapshot(all);
        self.rev = history.head();
        self.untold = false;
        Ok(())
    }

    /// Applies a change that was made elsewhere, to the revision `from`, as an edit of its own.
    ///
    /// # Errors
    /// It does not fit: nothing has happened.
    pub fn apply(&mut self, node: &Payload, quota: u64) -> Result<Option<u64>, ApplyError> {
        self.begin()?;
        let edit = Edit { tracked: self };
        edit.tracked.patch(node, quota)?;
        Ok(edit.commit()?)
    }
}

impl<T: Track> Tracked<T> {
    /// Applies a change that was made elsewhere within an edit that is under way.
    ///
    /// # Errors
    /// It does not fit, or has more than `quota` operations: the edit is to be rolled back.
    pub fn patch(&mut self, node: &Payload, quota: u64) -> Result<(), ApplyError> {
        Ok(node.apply(&mut self.value, quota)?)
    }
}

/// Nothing panics under it but for want of memory.
fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `[0, value]`.
fn set_of(all: &Payload) -> Payload {
    let mut bytes = Vec::with_capacity(all.bytes.len() + 2);
    bytes.extend_from_slice(&[0x92, crate::patch::Tag::Set as u8]);
    bytes.extend_from_slice(&all.bytes);
    Payload {
        bytes: bytes.into(),
        refs: all.refs.clone(),
    }
}

/// An update was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateError<E> {
    /// What it returned itself.
    App(E),
    /// What it made cannot be encoded, or is too large.
    Encode(EncodeError),
}

impl<E> From<EncodeError> for UpdateError<E> {
    fn from(error: EncodeError) -> Self {
        UpdateError::Encode(error)
    }
}

impl<E: fmt::Display> fmt::Display for UpdateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::App(error) => error.fmt(f),
            UpdateError::Encode(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for UpdateError<E> {}

/// A change from elsewhere was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// It does not fit the value.
    Patch(PatchError),
    /// What it makes cannot be encoded, or is too large.
    Encode(EncodeError),
}

impl From<PatchError> for ApplyError {
    fn from(error: PatchError) -> Self {
        ApplyError::Patch(error)
    }
}

impl From<EncodeError> for ApplyError {
    fn from(error: EncodeError) -> Self {
        ApplyError::Encode(error)
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Patch(error) => error.fmt(f),
            ApplyError::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {}

impl<T: Track> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Track> From<T> for Tracked<T> {
    fn from(value: T) -> Self {
        Tracked::new(value)
    }
}

impl<T: Track + Default> Default for Tracked<T> {
    fn default() -> Self {
        Tracked::new(T::default())
    }
}

impl<T: Track + fmt::Debug> fmt::Debug for Tracked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("value", &self.value)
            .field("rev", &self.rev)
            .finish_non_exhaustive()
    }
}

/// An edit under way: the value itself. [`commit`](Self::commit) it, or drop it to take it back.
#[must_use = "an edit that is dropped without `commit` is taken back"]
pub struct Edit<'a, T: Track> {
    tracked: &'a mut Tracked<T>,
}

impl<T: Track> Edit<'_, T> {
    /// Keeps what was done. The value's new revision, if anything changed; else `None`.
    ///
    /// # Errors
    /// What was made cannot be encoded or is too large: it was taken back.
    pub fn commit(self) -> Result<Option<u64>, EncodeError> {
        self.tracked.commit()
    }
}

impl<T: Track> Drop for Edit<'_, T> {
    fn drop(&mut self) {
        self.tracked.rollback();
    }
}

impl<T: Track> Deref for Edit<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.tracked.value
    }
}

impl<T: Track> DerefMut for Edit<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.tracked.value
    }
}

impl<T: Track + fmt::Debug> fmt::Debug for Edit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Edit").field(&self.tracked.value).finish()
    }
}
