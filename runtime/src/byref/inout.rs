//! A `&mut` argument at the side of the method: [`InOut`] before it runs, [`Opened`] while it does, [`Staged`] when it
//! has returned `Ok`. Dropped before that, whatever the reason, nothing has happened.

use std::cell::RefCell;
use std::future::ready;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use futures::future::BoxFuture;
use helve_handles::patch::{PatchError, Patcher};
use helve_handles::schema::Schema;
use helve_handles::shared::Payload;
use helve_handles::track::Track;

use super::form::Form;
use super::kept::Copy;
use super::{Back, ByRef, NOTHING, TOO_DEEP, elsewhere, is_too_deep, unsendable};
use crate::args::Args;
use crate::connection::Conn;
use crate::error::RpcError;
use crate::handle::Remote as _;
use crate::shared::{Hosted, Shared, SharedEdit};

/// One that was given, to be [opened](open_refs).
pub struct InOut<M: ByRef>(State<M::T>);

// What is inside is seen without its type, so that a `T` without `Track` is one error, at the user's type, and no
// further ones about futures that are not `Send`.
enum State<T> {
    Given(Box<dyn Given<T>>),
    Held(Box<dyn Held<T>>),
    Gone,
}

/// What came of an argument, before its method runs.
trait Given<T>: Send {
    /// Which shared value it is.
    fn place(&self) -> Option<usize> {
        None
    }

    /// Begins to watch what the method does to it.
    fn open(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Held<T>>, RpcError>>;
}

/// The value itself.
trait Held<T>: Send {
    fn get(&self) -> &T;
    fn get_mut(&mut self) -> &mut T;
    /// See [`Opened::stage`].
    fn stage(self: Box<Self>) -> Result<Staged, RpcError>;
}

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
    fn given(given: impl Given<M::T> + 'static) -> InOut<M> {
        InOut(State::Given(Box::new(given)))
    }

    /// A copy of a value of this process.
    pub(super) fn local(value: M::T, tracked: bool) -> InOut<M> {
        let whence = match tracked {
            true => Whence::Tracked,
            false => Whence::Value,
        };
        InOut::given(Own { value, whence })
    }

    /// A shared value, which has to live here.
    pub(super) fn shared(shared: &Shared<M::T>) -> Result<InOut<M>, RpcError> {
        match shared.as_ref().to_local() {
            Ok(local) => Ok(InOut::given(local.object)),
            Err(RpcError::Encode(_)) => Err(elsewhere()),
            Err(error) => Err(error),
        }
    }

    /// One that cannot be passed.
    pub(super) fn refused(error: RpcError) -> InOut<M> {
        InOut::given(Refused(error))
    }

    /// The value itself, once it is open.
    ///
    /// # Errors
    /// It is not.
    pub fn opened(self) -> Result<Opened<M>, RpcError> {
        match self.0 {
            State::Held(held) => Ok(Opened(held)),
            State::Given(_) | State::Gone => Err(RpcError::Internal("it is not open".into())),
        }
    }
}

/// An [`InOut`], whatever its type.
pub trait Opens: Send {
    /// Which shared value it is.
    fn place(&self) -> Option<usize>;
    /// Begins to watch what the method does to it.
    fn open(&mut self) -> BoxFuture<'_, Result<(), RpcError>>;
}

impl<M: ByRef> Opens for InOut<M> {
    fn place(&self) -> Option<usize> {
        match &self.0 {
            State::Given(given) => given.place(),
            State::Held(_) | State::Gone => None,
        }
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), RpcError>> {
        Box::pin(async {
            if let State::Given(given) = std::mem::replace(&mut self.0, State::Gone) {
                self.0 = State::Held(given.open().await?);
            }
            Ok(())
        })
    }
}

/// Opens all `&mut` arguments of a call. Shared values are waited for in one order, whatever the order of arguments, lest
/// two calls hold what the other wants.
///
/// # Errors
/// One is there twice ([`RpcError::Aliased`]), or cannot be had.
pub async fn open_refs(refs: &mut [&mut dyn Opens]) -> Result<(), RpcError> {
    refs.sort_by_key(|each| each.place());
    let places = refs.iter().filter_map(|each| each.place());
    let places: Vec<_> = places.collect();
    if places.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(RpcError::Aliased);
    }
    for each in refs {
        each.open().await?;
    }
    Ok(())
}

impl<T: Track> Given<T> for Own<T> {
    fn open(mut self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Held<T>>, RpcError>> {
        let shadow = match self.whence {
            Whence::Value => None,
            Whence::Tracked | Whence::Peer { .. } => Some(self.value.shadow()),
        };
        Box::pin(ready(
            Ok(Box::new(Watched { own: *self, shadow }) as Box<_>),
        ))
    }
}

impl<T: Track> Given<T> for Arc<Hosted<T>> {
    fn place(&self) -> Option<usize> {
        Some(Arc::as_ptr(self).addr())
    }

    fn open(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Held<T>>, RpcError>> {
        Box::pin(async move { Ok(Box::new(SharedEdit::begin(*self).await?) as Box<_>) })
    }
}

struct Refused(RpcError);

impl<T: 'static> Given<T> for Refused {
    fn open(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Held<T>>, RpcError>> {
        Box::pin(ready(Err(self.0)))
    }
}

/// The value, for the method.
pub struct Opened<M: ByRef>(Box<dyn Held<M::T>>);

impl<M: ByRef> Deref for Opened<M> {
    type Target = M::T;

    fn deref(&self) -> &M::T {
        self.0.get()
    }
}

impl<M: ByRef> DerefMut for Opened<M> {
    fn deref_mut(&mut self) -> &mut M::T {
        self.0.get_mut()
    }
}

impl<M: ByRef> Opened<M> {
    /// The method returned `Ok`: finds out what changed. All are staged before the first is
    /// [finished](Staged::finish), so that either all count or none.
    ///
    /// # Errors
    /// What the method made cannot be sent.
    pub fn stage(self) -> Result<Staged, RpcError> {
        self.0.stage()
    }
}

impl<T: Track> Held<T> for SharedEdit<T> {
    fn get(&self) -> &T {
        self
    }

    fn get_mut(&mut self) -> &mut T {
        self
    }

    fn stage(self: Box<Self>) -> Result<Staged, RpcError> {
        // Those who follow are told, the caller among them: nothing to send back.
        Ok(Staged(Box::new(|| {
            self.commit()?;
            Ok(Back::Unchanged)
        })))
    }
}

/// A value that the caller owns, while its method runs.
struct Watched<T: Track> {
    own: Own<T>,
    /// `None`: nobody asks what changed.
    shadow: Option<T::Shadow>,
}

impl<T: Track> Held<T> for Watched<T> {
    fn get(&self) -> &T {
        &self.own.value
    }

    fn get_mut(&mut self) -> &mut T {
        &mut self.own.value
    }

    fn stage(self: Box<Self>) -> Result<Staged, RpcError> {
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
        let len_now = len.saturating_add(node.bytes.len());
        let back = match changed {
            false => Back::Unchanged,
            true => Back::Node(smallest(node, &value, len, alike)?),
        };
        let brings_handles = matches!(&back, Back::Node(node) if !node.refs.is_empty());
        let Some(keep) = keep.filter(|_| !brings_handles) else {
            return Ok(Staged::with(back));
        };
        let copy = Copy {
            value: Box::new(value),
            rev: keep.rev + u64::from(changed),
            len: len_now,
        };
        Ok(Staged(Box::new(move || {
            keep.conn.kept.put(keep.id, copy);
            Ok(back)
        })))
    }
}

/// What changed, not yet told to anybody.
pub struct Staged(Box<dyn FnOnce() -> Result<Back, RpcError> + Send>);

impl Staged {
    fn with(back: Back) -> Staged {
        Staged(Box::new(|| Ok(back)))
    }

    /// From now on it has happened. What goes back to the caller.
    ///
    /// # Errors
    /// A shared value cannot be what the method made of it, and is as it was.
    pub fn finish(self) -> Result<Back, RpcError> {
        self.0()
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
            Form::Handle(bytes) => return InOut::shared(&args.read::<Shared<M::T>>(bytes)?),
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
        Ok(InOut::given(own))
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
