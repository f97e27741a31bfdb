//! A change that is made to a replica and proposed to the host.

use std::fmt;
use std::ops::{Deref, DerefMut};

use helve_handles::patch::{Patcher, conflicts};
use helve_handles::shared::{History, Payload};
use helve_handles::track::Track;

use super::encode_error;
use super::replica::Replica;
use crate::error::RpcError;

/// What becomes of a proposal whose base is not the value's newest revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It is refused.
    #[default]
    Strict,
    /// It is made where it touches nothing that changed since; additions to one counter do not exclude one another.
    Disjoint,
    /// As [`Disjoint`](Mode::Disjoint), but the last one to set, add or remove wins. What edits a list or a text that
    /// changed since is still refused: its places are no longer the same.
    Lww,
}

impl Mode {
    pub(super) fn number(self) -> u8 {
        match self {
            Mode::Strict => 0,
            Mode::Disjoint => 1,
            Mode::Lww => 2,
        }
    }

    pub(super) fn from_number(n: u8) -> Result<Mode, RpcError> {
        match n {
            0 => Ok(Mode::Strict),
            1 => Ok(Mode::Disjoint),
            2 => Ok(Mode::Lww),
            _ => Err(RpcError::Decode("an unknown mode of a proposal".into())),
        }
    }

    /// Whether a change of the value as it was at `base` may be made to it as it is.
    pub(super) fn fits(self, base: u64, node: &Payload, history: &mut History) -> bool {
        if base == history.head() {
            return true;
        }
        let lww = match self {
            Mode::Strict => return false,
            Mode::Disjoint => false,
            Mode::Lww => true,
        };
        // Older than the history, or ahead of it: nobody knows what changed.
        let Some(since) = history.between(base) else {
            return false;
        };
        !conflicts(lww, &node.bytes, &since.bytes)
    }
}

/// A copy of a replica's value to be changed: plain Rust on a real `&mut`. [`propose`](Self::propose) it, or drop it.
#[must_use = "a draft changes nothing until it is proposed"]
pub struct Draft<T: Track> {
    replica: Replica<T>,
    value: T,
    shadow: T::Shadow,
    base: (u64, u64),
}

impl<T: Track> Draft<T> {
    pub(super) fn new(replica: Replica<T>, mut value: T, base: (u64, u64)) -> Draft<T> {
        Draft {
            shadow: value.shadow(),
            replica,
            value,
            base,
        }
    }

    /// The revision that it was made of.
    pub fn base(&self) -> u64 {
        self.base.1
    }

    /// Sends what changed to the host, and waits until this replica has it. Returns the revision that it made, or that
    /// of its base where nothing changed.
    ///
    /// # Errors
    /// [`RpcError::Conflict`]: the value has changed since, in a way that `mode` does not allow; nothing happened.
    /// [`RpcError::Denied`]: the host takes no proposals, or not this one, and says why.
    pub async fn propose(self, mode: Mode) -> Result<u64, RpcError> {
        let Draft {
            replica,
            mut value,
            shadow,
            base,
        } = self;
        let mut patcher = Patcher::new();
        if !value.flush(&shadow, &mut patcher).map_err(encode_error)? {
            return Ok(base.1);
        }
        let (bytes, refs) = patcher.finish().map_err(encode_error)?;
        // The base is given up before the host hears of it: nothing holds the value twice.
        drop(value);
        replica
            .propose(base.1, mode, Payload::of(bytes, refs))
            .await
    }
}

impl<T: Track> Deref for Draft<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Track> DerefMut for Draft<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Track + fmt::Debug> fmt::Debug for Draft<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("base", &self.base.1)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}
