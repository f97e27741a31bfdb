//! Tracked values: plain Rust on a real `&mut T`, and afterwards a patch of what changed (objects.md, sections 1 and 2).
//!
//! How it works: before an edit, [`Track::shadow`] copies the plain parts of the value and *arms* the containers in it,
//! each with an id of its own; that costs nothing for what is inside a container. An armed container keeps a log, and a
//! shadow of each element that somebody got a `&mut` to. After the edit, [`Track::flush`] compares the shadows with what
//! is there now and writes the difference. Whether a container is still the one that was armed tells its id: a value that
//! was moved, swapped or assigned there has another one, and is sent whole.
//!
//! One file a type. Containers have the names and the methods of the standard library's.

mod counter;
mod deque;
pub mod hmap;
mod hset;
mod key;
mod leaf;
mod list;
pub mod map;
mod nest;
mod nested;
mod seq;
pub mod sequence;
mod set;
mod std_maps;
mod string;
mod text;

#[doc(hidden)]
pub mod part;

use std::sync::atomic::{AtomicU64, Ordering};

pub use counter::{Counter, CounterShadow};
pub use deque::Deque;
pub use hmap::HMap;
pub use hset::HSet;
pub use key::Key;
pub use list::List;
pub use map::Map;
pub use nested::Nested;
pub use set::Set;
pub use text::Text;

#[doc(hidden)]
pub use leaf::replace;

use crate::patch::{EncodeError, PatchError, PatchReader, Patcher};
use crate::wire::Wire;

/// A value whose changes can be told.
///
/// Write `#[derive(Wire, Track)]`. A type of another crate becomes a leaf, compared and sent whole, with
/// `#[track(leaf)]` on the field, or on a newtype around it.
///
/// The order of things: [`shadow`](Self::shadow), then edits, then exactly one of [`flush`](Self::flush) and
/// [`undo`](Self::undo) with that shadow.
#[diagnostic::on_unimplemented(
    message = "the changes of `{Self}` are not tracked",
    label = "not `Track`",
    note = "add `#[derive(Track)]` beside `#[derive(Wire)]`",
    note = "for a type of another crate, write `#[track(leaf)]` on the field"
)]
pub trait Track: Wire + Clone + Sync {
    /// What it takes to see later what changed: the plain parts, and the ids of containers.
    type Shadow: Send + Sync + 'static;

    /// Whether a value of it may be written as `nil`, so that `Option` of it would lose something.
    const NULLABLE: bool = false;

    /// Whether it is a struct with named fields, or an `Option` of one: what can be tracked where it is flattened.
    #[doc(hidden)]
    const FLAT: bool = false;

    /// Begins to watch: copies the plain parts, arms containers. Whatever was being watched before is forgotten.
    fn shadow(&mut self) -> Self::Shadow;

    /// Writes one node for what changed since `shadow`, or nothing. Says whether it wrote one. Ends the watch.
    ///
    /// # Errors
    /// A value in it cannot be encoded. The watch may have ended in part: the edit can only be rolled back from a copy.
    fn flush(&mut self, shadow: &Self::Shadow, patcher: &mut Patcher) -> Result<bool, EncodeError>;

    /// Takes back what changed since `shadow`, and ends the watch. `false`: it could not do all of it, and the value is
    /// to be replaced by a copy. Costs no more than the changes did.
    fn undo(&mut self, shadow: Self::Shadow) -> bool;

    /// Applies one node. It never panics, and makes no more room than the bytes justify. After an error the value may be
    /// half changed.
    ///
    /// # Errors
    /// The node does not fit.
    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError>;

    /// Takes over from `old` what does not travel: fields with `#[serde(skip)]`, where a place of the one is certainly
    /// the same place of the other: along fields, in `Some`, in the same variant, under equal keys.
    fn adopt(&mut self, old: &mut Self) {
        let _ = old;
    }

    /// Whether both would be written alike. Floats are compared by their bits, so that NaN is itself and -0.0 is not 0.0.
    fn same(&self, other: &Self) -> bool;
}

/// Applies a whole patch.
///
/// # Errors
/// It does not fit; the value may be half changed.
pub fn apply<T: Track>(value: &mut T, patch: &[u8]) -> Result<(), PatchError> {
    let mut reader = PatchReader::new(patch);
    value.patch(&mut reader)?;
    reader.finish()
}

/// Which container this is, while it is armed. Two that are armed at one time never have the same.
///
/// Moves go with the value. A clone is not armed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Identity {
    /// Not armed.
    pub(crate) const NONE: Identity = Identity(0);

    /// Arms: another identity than any before. What goes into the shadow.
    pub(crate) fn arm(&mut self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.0 = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0
    }

    /// Whether changes are to be logged.
    pub(crate) fn is_armed(&self) -> bool {
        self.0 != 0
    }

    /// Whether it is the container that `shadow` was taken of, and its log is whole.
    pub(crate) fn is(&self, shadow: u64) -> bool {
        self.0 == shadow
    }

    /// Whether changes are to be logged, and the log is whole.
    pub(crate) fn is_logging(&self) -> bool {
        self.0 != 0 && self.0 != u64::MAX
    }

    /// As [`void`](Self::void), until [`resume`](Self::resume) is given what it returns.
    pub(crate) fn suspend(&mut self) -> u64 {
        let id = self.0;
        self.void();
        id
    }

    /// The user's code has returned: the log is whole again.
    pub(crate) fn resume(&mut self, id: u64) {
        self.0 = id;
    }

    /// Ends the watch.
    pub(crate) fn disarm(&mut self) {
        self.0 = 0;
    }

    /// Still armed, but its log tells nothing: it will be sent whole. For the time that code of the user's runs inside
    /// of a container's method, where a panic would leave a log that lies.
    pub(crate) fn void(&mut self) {
        if self.is_armed() {
            self.0 = u64::MAX;
        }
    }
}
