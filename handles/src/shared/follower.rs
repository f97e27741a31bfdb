//! [`Follower`]: a copy of somebody else's value, kept up by what arrives (objects.md, sections 4 and 7).

use std::fmt;

use crate::patch::{PatchError, PatchReader, Translation};
use crate::references::{self, Reference};
use crate::track::Track;

/// The value as far as it is known, and which revision that is.
pub struct Follower<T> {
    value: Option<T>,
    epoch: u64,
    /// The newest revision of this epoch that it was at.
    rev: u64,
    /// The one that it is at.
    at: u64,
    /// A change failed half way: nobody may look until all of it comes again.
    torn: bool,
    translation: Option<Translation>,
    skipped: u64,
}

/// What became of something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The value is now at this revision.
    Now(u64),
    /// It was there already.
    Old,
    /// It does not lead on from here: ask for all of the value.
    Gap,
    /// It did not fit: ask for all of the value, and show it to nobody until then.
    Torn(PatchError),
    /// It fitted, and yet the value is not what its host has: as [`Torn`](Applied::Torn).
    Astray,
}

impl<T> Default for Follower<T> {
    fn default() -> Self {
        Follower {
            value: None,
            epoch: 0,
            rev: 0,
            at: 0,
            torn: false,
            translation: None,
            skipped: 0,
        }
    }
}

impl<T: Track> Follower<T> {
    /// The value, where one is known and whole, and not older than one that was known before.
    pub fn value(&self) -> Option<&T> {
        let shown = !self.torn && self.at >= self.rev;
        self.value.as_ref().filter(|_| shown)
    }

    /// The epoch of the host, and the revision: what may be asked to go on from.
    pub fn have(&self) -> Option<(u64, u64)> {
        self.value().map(|_| (self.epoch, self.rev))
    }

    /// The newest revision that the value was at; 0: none yet. It rises as long as the epoch stays (R20.13).
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// Which incarnation of the value its revisions count in.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many changes were passed over because this side's type has no such field.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The host's type is another version of ours.
    pub fn translate(&mut self, translation: Option<Translation>) {
        self.translation = translation;
    }

    /// Whether it is read as another version than ours.
    pub fn is_translated(&self) -> bool {
        self.translation.is_some()
    }

    /// The value is not what it should be: nobody may look until all of it comes again.
    pub fn astray(&mut self) -> Applied {
        self.torn = true;
        Applied::Astray
    }

    /// All of the value.
    pub fn snapshot(&mut self, epoch: u64, rev: u64, value: &[u8], refs: &[Reference]) -> Applied {
        let read = references::provide(refs, || {
            let mut reader = PatchReader::new(value);
            let value: T = reader.value()?;
            reader.finish()?;
            Ok(value)
        });
        match read {
            Ok(mut value) => {
                if let Some(old) = &mut self.value {
                    value.adopt(old);
                }
                self.value = Some(value);
                if self.epoch != epoch {
                    self.rev = rev;
                }
                self.rev = self.rev.max(rev);
                (self.epoch, self.at, self.torn) = (epoch, rev, false);
                Applied::Now(self.rev)
            }
            Err(error) => {
                self.torn = true;
                Applied::Torn(error)
            }
        }
    }

    /// One change.
    pub fn delta(&mut self, from: u64, to: u64, node: &[u8], refs: &[Reference]) -> Applied {
        let Some(value) = self.value.as_mut().filter(|_| !self.torn) else {
            return Applied::Gap;
        };
        if to <= self.at {
            return Applied::Old;
        }
        if from != self.at {
            return Applied::Gap;
        }
        let mut reader = PatchReader::new(node);
        if let Some(translation) = &self.translation {
            reader = reader.with_translation(translation);
        }
        let patched = references::provide(refs, || {
            value.patch(&mut reader)?;
            reader.finish()
        });
        match patched {
            Ok(()) => {
                self.skipped += reader.skipped();
                self.at = to;
                self.rev = self.rev.max(to);
                Applied::Now(self.rev)
            }
            Err(error) => {
                self.torn = true;
                Applied::Torn(error)
            }
        }
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("epoch", &self.epoch)
            .field("rev", &self.rev)
            .field("torn", &self.torn)
            .finish_non_exhaustive()
    }
}
