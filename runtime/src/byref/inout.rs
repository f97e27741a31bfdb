//! A `&mut` argument at the side of the method: [`InOut`] before it runs, [`Opened`] while it does, [`Staged`] when it
//! has returned `Ok`. Dropped before that, whatever the reason, nothing has happened.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use helve_handles::patch::{PatchError, Patcher};
use helve_handles::schema::Schema;
use helve_handles::shared::Payload;
use helve_handles::track::Track;

use super::form::Form;
use super::kept::Copy;
use super::{Back, ByRef, NOTHING, TOO_DEEP, is_too_deep, unsendable};
use crate::args::Args;
use crate::connection::Conn;
use crate::error::RpcError;

/// One that was given, to be [opened](InOut::open).
pub struct InOut<M: ByRef>(Result<Own<M::T>, RpcError>);

/// A value that the caller owns, or a copy of it.
struct Own<T> {
    value: T,
    whence: Whence,
}

/// Where it came from, and what goes back there.
enum Whence {
    /// `&mut T` of this process: the value.
    Value,
    /// `&mut Tracked<T>` of this process: a node.
    Tracked,
    /// A peer.
    Peer {
        /// How long the value may be on the wire.
        len: usize,
        /// Both sides describe its type alike.
        alike: bool,
        keep: Option<Keep>,
    },
}

/// Where a value is kept after the call.
struct Keep {
    conn: Arc<Conn>,
    id: u64,
    rev: u64,
}

impl<M: ByRef> InOut<M> {
    /// A copy of a value of this process.
    pub(super) fn local(value: M::T, tracked: bool) -> InOut<M> {
        let whence = match tracked {
            true => Whence::Tracked,
            false => Whence::Value,
        };
        InOut(Ok(Own { value, whence }))
    }

    /// One that cannot be passed.
    pub(super) fn refused(error: RpcError) -> InOut<M> {
        InOut(Err(error))
    }

    /// Begins to watch what the method does to it.
    ///
    /// # Errors
    /// It cannot be passed.
    pub fn open(self) -> Result<Opened<M>, RpcError> {
        let mut own = self.0?;
        let shadow = match own.whence {
            Whence::Value => None,
            Whence::Tracked | Whence::Peer { .. } => Some(own.value.shadow()),
        };
        Ok(Opened { own, shadow })
    }
}

/// The value itself, for the method.
pub struct Opened<M: ByRef> {
    own: Own<M::T>,
    /// `None`: nobody asks what changed.
    shadow: Option<<M::T as Track>::Shadow>,
}

impl<M: ByRef> Deref for Opened<M> {
    type Target = M::T;

    fn deref(&self) -> &M::T {
        &self.own.value
    }
}

impl<M: ByRef> DerefMut for Opened<M> {
    fn deref_mut(&mut self) -> &mut M::T {
        &mut self.own.value
    }
}

impl<M: ByRef> Opened<M> {
    /// The method returned `Ok`: finds out what changed. All are staged before the first is
    /// [finished](Staged::finish), so that either all count or none.
    ///
    /// # Errors
    /// What the method made cannot be sent.
    pub fn stage(self) -> Result<Staged, RpcError> {
        let Own { mut value, whence } = self.own;
        let Some(shadow) = self.shadow else {
            return Ok(Staged::with(Back::Value(Box::new(value))));
        };
        let mut patcher = Patcher::new();
        let changed = value.flush(&shadow, &mut patcher).map_err(unsendable)?;
        let node = payload(patcher)?;
        let Whence::Peer { len, alike, keep } = whence else {
            return Ok(Staged::with(match changed {
                true => Back::Node(node),
                false => Back::Unchanged,
            }));
        };
        let grown = len.saturating_add(node.bytes.len());
        let back = match changed {
            false => Back::Unchanged,
            true => Back::Node(smallest(node, &value, len, alike)?),
        };
        let rev = u64::from(changed);
        let brings_handles = matches!(&back, Back::Node(node) if !node.refs.is_empty());
        let keep = keep.filter(|_| !brings_handles).map(|keep| {
            let copy = Copy {
                value: Box::new(value),
                rev: keep.rev + rev,
                len: grown,
            };
            (keep, copy)
        });
        Ok(Staged { back, keep })
    }
}

fn payload(patcher: Patcher) -> Result<Payload, RpcError> {
    let (bytes, refs) = patcher.finish().map_err(unsendable)?;
    Ok(Payload::of(bytes, refs))
}

/// The change, or the whole value where that is smaller, or where the caller's type is another.
fn smallest<T: Track>(
    node: Payload,
    value: &T,
    len: usize,
    alike: bool,
) -> Result<Payload, RpcError> {
    let deep = is_too_deep(&node.bytes);
    // No whole value is longer than what it was and what was added, nor worth writing if it cannot be shorter.
    if alike && !deep && node.bytes.len() <= len.max(64) {
        return Ok(node);
    }
    let mut patcher = Patcher::new();
    patcher.set(value).map_err(unsendable)?;
    let whole = payload(patcher)?;
    if alike && !deep && node.bytes.len() <= whole.bytes.len() {
        return Ok(node);
    }
    match is_too_deep(&whole.bytes) {
        true => Err(RpcError::Encode(TOO_DEEP.into())),
        false => Ok(whole),
    }
}

/// What changed, to be kept here and told to the caller.
pub struct Staged {
    back: Back,
    keep: Option<(Keep, Copy)>,
}

impl Staged {
    fn with(back: Back) -> Staged {
        Staged { back, keep: None }
    }

    /// From now on it has happened.
    ///
    /// # Errors
    /// None of a value that the caller owns.
    pub fn finish(self) -> Result<Back, RpcError> {
        if let Some((keep, copy)) = self.keep {
            keep.conn.kept.put(keep.id, copy);
        }
        Ok(self.back)
    }
}

/// Reads the `&mut` arguments of one call that came.
pub struct Keeper {
    conn: Arc<Conn>,
    /// Ids in this call.
    ids: RefCell<Vec<u64>>,
}

impl Keeper {
    pub(super) fn new(conn: Arc<Conn>) -> Keeper {
        Keeper {
            conn,
            ids: RefCell::default(),
        }
    }

    /// The next argument.
    ///
    /// # Errors
    /// It cannot be read, or is in the call twice ([`RpcError::Aliased`]), or changes what is not kept here
    /// ([`RpcError::NeedSnapshot`]).
    pub fn take<M: ByRef>(&self, args: &Args) -> Result<InOut<M>, RpcError> {
        let own = match Form::read(args.next_bytes()?)? {
            Form::Whole { ty, value, keep } => {
                let keep = keep.map(|(id, rev)| self.keep(id, rev)).transpose()?;
                // What is replaced is worth nothing any more, whatever becomes of the call.
                let old = keep.as_ref().and_then(|keep| self.conn.kept.take(keep.id));
                drop(old);
                let alike = ty == Schema::of::<M::T>().hash();
                Own {
                    value: args.read(value)?,
                    whence: Whence::Peer {
                        len: value.len(),
                        alike,
                        keep: keep.filter(|_| alike),
                    },
                }
            }
            Form::Change { id, from, to, node } => {
                let keep = self.keep(id, to)?;
                let copy = self.conn.kept.take(id).filter(|copy| copy.rev == from);
                let copy = copy.ok_or(RpcError::NeedSnapshot)?;
                let value = copy.value.downcast::<M::T>();
                let mut value = *value.map_err(|_| RpcError::NeedSnapshot)?;
                if node != NOTHING {
                    apply(&mut value, &args.node(node), copy.len)?;
                }
                Own {
                    value,
                    whence: Whence::Peer {
                        len: copy.len.saturating_add(node.len()),
                        alike: true,
                        keep: Some(keep),
                    },
                }
            }
        };
        Ok(InOut(Ok(own)))
    }

    /// A place to keep a value at.
    fn keep(&self, id: u64, rev: u64) -> Result<Keep, RpcError> {
        let mut ids = self.ids.borrow_mut();
        if ids.contains(&id) {
            return Err(RpcError::Aliased);
        }
        ids.push(id);
        Ok(Keep {
            conn: self.conn.clone(),
            id,
            rev,
        })
    }
}

/// Brings a kept value to where its owner is.
fn apply<T: Track>(value: &mut T, node: &Payload, len: usize) -> Result<(), RpcError> {
    node.apply(value, operations(len))
        .map_err(|error| match error {
            // Let it be sent whole instead.
            PatchError::TooMany => RpcError::NeedSnapshot,
            error => RpcError::Decode(error.to_string()),
        })
}

/// How many operations a peer's change of a value of `len` bytes may have: each may move all of it in memory, and the
/// connection task waits meanwhile.
fn operations(len: usize) -> u64 {
    const WORK: u64 = 1 << 32;
    (WORK / (len as u64).max(1)).clamp(1024, 65_536)
}
