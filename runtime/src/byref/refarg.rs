//! [`RefArg`]: what may be passed where a method takes `&mut T`. For generated code it is seen without its type.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use helve_handles::shared::{ApplyError, Payload, Tracked};
use helve_handles::track::Track;

use super::call::Mark;
use super::{Back, ByRef, InOut, NOTHING, elsewhere, is_too_deep, unsendable};
use crate::args::Put;
use crate::client::random;
use crate::connection::Conn;
use crate::error::RpcError;
use crate::handle::Remote as _;
use crate::shared::Shared;

mod sealed {
    pub trait Sealed {}
}

/// What may be passed where a method takes `&mut T`: `&mut T` itself, `&mut Tracked<T>`, or `&Shared<T>`.
///
/// - `&mut T` is sent whole; what the method changed comes back.
/// - `&mut Tracked<T>` is sent whole the first time. The other side keeps it, and from then on is told what changed.
///
/// - `&Shared<T>` is a handle: the method works on the value itself, which has to live where the method does. Those who
///   follow it are told, and replicas of the caller's have changed when the call returns.
///
/// Of an `Err`, a panic, a cancelled or a late call nothing comes back, and the argument is as it was.
#[diagnostic::on_unimplemented(
    message = "expected `&mut {T}`, `&mut Tracked<{T}>` or `&Shared<{T}>`, found `{Self}`",
    label = "this method edits its argument in place",
    note = "a `&mut` that is needed afterwards is passed on with `&mut *it`"
)]
pub trait RefArg<T>: sealed::Sealed + Send + Unpin {
    /// Writes it, whole or as the change since the peer saw it last.
    #[doc(hidden)]
    fn __put(&mut self, whole: bool, put: &mut Put<'_>) -> Sent
    where
        T: Track;

    /// A copy for a method of this process.
    #[doc(hidden)]
    fn __borrow<M: ByRef<T = T>>(&self) -> InOut<M>
    where
        T: Track;

    /// Takes over what the method did, but for what [`land`](Self::__land) does.
    #[doc(hidden)]
    fn __prepare(&mut self, back: Back) -> Result<Back, RpcError>
    where
        T: Track;

    /// Takes back what [`prepare`](Self::__prepare) did.
    #[doc(hidden)]
    fn __abandon(&mut self)
    where
        T: Track;

    /// Makes it so.
    #[doc(hidden)]
    fn __land(&mut self, prepared: Back, sent: Sent) -> Result<(), RpcError>
    where
        T: Track;
}

/// What the peer has of an argument once the call returned `Ok`.
#[derive(Debug, Default)]
pub struct Sent(Option<Told>);

#[derive(Debug)]
struct Told {
    conn: Weak<Conn>,
    id: u64,
    rev: u64,
    /// Only what changed was sent.
    delta: bool,
}

impl Sent {
    pub(super) fn is_delta(&self) -> bool {
        self.0.as_ref().is_some_and(|told| told.delta)
    }
}

const LENT: &str = "a lent handle can be lent on (`&handle`), not given away";

fn copy<M: ByRef>(value: &M::T, tracked: bool) -> InOut<M> {
    use helve_handles::wire::Wire;
    match value.__lent() {
        true => InOut::refused(RpcError::Encode(LENT.into())),
        false => InOut::local(value.clone(), tracked),
    }
}

/// A change from elsewhere that does not fit is the host's fault; its method ran.
fn unfit(error: impl std::fmt::Display) -> RpcError {
    RpcError::Internal(format!(
        "it sent back a change that does not fit the argument, which stays as it was: {error}"
    ))
}

impl<T> sealed::Sealed for &mut T {}

impl<T: Track> RefArg<T> for &mut T {
    fn __put(&mut self, _: bool, put: &mut Put<'_>) -> Sent {
        put.whole(&**self, None);
        Sent(None)
    }

    fn __borrow<M: ByRef<T = T>>(&self) -> InOut<M> {
        copy::<M>(self, false)
    }

    fn __prepare(&mut self, back: Back) -> Result<Back, RpcError> {
        let Back::Node(node) = back else {
            return Ok(back);
        };
        // On a copy: a change that does not fit leaves half of itself behind.
        let mut changed = self.clone();
        node.apply(&mut changed, u64::MAX).map_err(unfit)?;
        Ok(Back::Value(Box::new(changed)))
    }

    fn __abandon(&mut self) {}

    fn __land(&mut self, prepared: Back, _: Sent) -> Result<(), RpcError> {
        if let Back::Value(value) = prepared {
            **self = *value.downcast().map_err(|_| unfit("it has another type"))?;
        }
        Ok(())
    }
}

impl<T: Track> RefArg<T> for &mut Tracked<T> {
    fn __put(&mut self, whole: bool, put: &mut Put<'_>) -> Sent {
        if let Err(error) = self.settle() {
            put.fail(unsendable(error));
            return Sent(None);
        }
        let mut memo = Memo::of(self);
        let at = memo.at(put.conn);
        // Taken out: it is known again when the call has returned `Ok`. After anything else nobody knows what the peer has.
        let known = at.known.take();
        at.missed(whole);
        let change = known.filter(|_| at.may_send_changes());
        let rev = self.rev();
        let change = change.and_then(|known| Some((known, since(self, known.mine)?)));
        let (id, rev, delta) = match change {
            Some((known, node)) => {
                let to = known.theirs + rev.saturating_sub(known.mine);
                put.change(known.id, known.theirs, to, &node);
                (known.id, to, true)
            }
            None => {
                let id = random();
                if !put.whole(&***self, Some((id, rev))) {
                    memo.give_back(self);
                    return Sent(None);
                }
                (id, rev, false)
            }
        };
        memo.give_back(self);
        Sent(Some(Told {
            conn: Arc::downgrade(put.conn),
            id,
            rev,
            delta,
        }))
    }

    fn __borrow<M: ByRef<T = T>>(&self) -> InOut<M> {
        copy::<M>(self, true)
    }

    fn __prepare(&mut self, back: Back) -> Result<Back, RpcError> {
        let Back::Node(node) = &back else {
            return Ok(back);
        };
        self.begin().map_err(unsendable)?;
        let Err(error) = self.patch(node, u64::MAX) else {
            return Ok(back);
        };
        self.rollback();
        Err(match error {
            ApplyError::Patch(error) => unfit(error),
            ApplyError::Encode(error) => unsendable(error),
        })
    }

    fn __abandon(&mut self) {
        self.rollback();
    }

    fn __land(&mut self, prepared: Back, sent: Sent) -> Result<(), RpcError> {
        let changed = matches!(prepared, Back::Node(_));
        let brought_handles = matches!(&prepared, Back::Node(node) if !node.refs.is_empty());
        self.commit().map_err(unsendable)?;
        let Some(told) = sent.0.filter(|_| !brought_handles) else {
            return Ok(());
        };
        let mine = self.rev();
        let mut memo = Memo::of(self);
        if let Some(conn) = told.conn.upgrade() {
            let at = memo.at(&conn);
            at.misses = if told.delta { 0 } else { at.misses };
            at.known = Some(Known {
                id: told.id,
                theirs: told.rev + u64::from(changed),
                mine,
            });
        }
        memo.give_back(self);
        Ok(())
    }
}

impl<T: Track> sealed::Sealed for &Shared<T> {}

impl<T: Track> RefArg<T> for &Shared<T> {
    fn __put(&mut self, _: bool, put: &mut Put<'_>) -> Sent {
        match self.as_ref().is_reached_over(put.conn) {
            true => put.put_wire(*self),
            // The method could not have it.
            false => put.fail(elsewhere()),
        }
        Sent(None)
    }

    fn __borrow<M: ByRef<T = T>>(&self) -> InOut<M> {
        InOut::shared(self).unwrap_or_else(InOut::refused)
    }

    fn __prepare(&mut self, back: Back) -> Result<Back, RpcError> {
        match back {
            Back::Unchanged => Ok(back),
            Back::Node(_) | Back::Value(_) => Err(unfit("a shared value changes at its host")),
        }
    }

    fn __abandon(&mut self) {}

    fn __land(&mut self, _: Back, _: Sent) -> Result<(), RpcError> {
        Ok(())
    }
}

/// The change since a revision; `None` where all of the value is as good.
fn since<T: Track>(tracked: &Tracked<T>, rev: u64) -> Option<Payload> {
    if rev == tracked.rev() {
        return Some(Payload::of(NOTHING.to_vec(), Vec::new()));
    }
    let history = tracked.known_history()?;
    let mut history = history
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let node = history.between(rev)?;
    let worth = node.bytes.len() <= history.snapshot_len().max(64) && !is_too_deep(&node.bytes);
    (worth && node.refs.is_empty()).then_some(node)
}

/// What peers know of one tracked value. It lives in the value.
#[derive(Default)]
struct Memo(Vec<At>);

/// What one peer knows.
struct At {
    conn: Weak<Conn>,
    known: Option<Known>,
    /// How often in a row it had forgotten.
    misses: u32,
    /// So many calls send the value whole before a change is tried again.
    skip: u32,
}

#[derive(Clone, Copy)]
struct Known {
    id: u64,
    /// The revision that the peer has, as it counts.
    theirs: u64,
    /// The same as the value's owner counts.
    mine: u64,
}

impl Memo {
    fn of<T: Track>(tracked: &mut Tracked<T>) -> Box<Memo> {
        let memo = tracked.memo_mut().take();
        let memo = memo.and_then(|memo| (memo as Box<dyn Any>).downcast().ok());
        memo.unwrap_or_default()
    }

    fn give_back<T: Track>(self: Box<Self>, tracked: &mut Tracked<T>) {
        *tracked.memo_mut() = Some(self);
    }

    /// What is known to this peer. Forgets peers that are gone.
    fn at(&mut self, conn: &Arc<Conn>) -> &mut At {
        self.0.retain(|at| at.conn.strong_count() > 0);
        let is = |at: &At| std::ptr::eq(at.conn.as_ptr(), Arc::as_ptr(conn));
        let place = self.0.iter().position(is).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push(At {
                conn: Arc::downgrade(conn),
                known: None,
                misses: 0,
                skip: 0,
            });
        }
        &mut self.0[place]
    }
}

impl At {
    /// `missed`: the peer has just said that it forgot. A peer that forgets again and again has no room: a change would be
    /// sent for nothing.
    fn missed(&mut self, missed: bool) {
        if missed {
            self.misses = self.misses.saturating_add(1);
            self.skip = match self.misses {
                0 | 1 => 0,
                misses => 1 << misses.min(6),
            };
        }
    }

    fn may_send_changes(&mut self) -> bool {
        let may = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        may
    }
}

/// Writes one argument. Where it stands is for a second attempt.
pub fn put_ref<M: ByRef, A: RefArg<M::T>>(arg: &mut A, put: &mut Put<'_>) -> (Sent, Mark) {
    Mark::around(put, |put| arg.__put(false, put))
}

/// A copy for a method of this process.
pub fn borrow<M: ByRef, A: RefArg<M::T>>(arg: &A) -> InOut<M> {
    arg.__borrow()
}

/// A [`RefArg`], whatever its type.
pub trait Erased {
    /// Writes it whole.
    fn put_whole(&mut self, put: &mut Put<'_>) -> (Sent, Mark);
    /// See [`RefArg`].
    fn prepare(&mut self, back: Back) -> Result<Back, RpcError>;
    /// See [`RefArg`].
    fn abandon(&mut self);
    /// See [`RefArg`].
    fn land(&mut self, prepared: Back, sent: Sent) -> Result<(), RpcError>;
}

struct Typed<'a, A, M>(&'a mut A, PhantomData<fn() -> M>);

impl<M: ByRef, A: RefArg<M::T>> Erased for Typed<'_, A, M> {
    fn put_whole(&mut self, put: &mut Put<'_>) -> (Sent, Mark) {
        Mark::around(put, |put| self.0.__put(true, put))
    }

    fn prepare(&mut self, back: Back) -> Result<Back, RpcError> {
        self.0.__prepare(back)
    }

    fn abandon(&mut self) {
        self.0.__abandon();
    }

    fn land(&mut self, prepared: Back, sent: Sent) -> Result<(), RpcError> {
        self.0.__land(prepared, sent)
    }
}

/// All `&mut` arguments of a call, by their markers.
pub trait RefArgs<M>: Unpin {
    /// Each, in order.
    fn erased(&mut self) -> Vec<Box<dyn Erased + '_>>;
}

macro_rules! ref_args {
    ($($marker:ident $arg:ident $at:tt),*) => {
        impl<$($marker: ByRef, $arg: RefArg<$marker::T>),*> RefArgs<($($marker,)*)> for ($($arg,)*) {
            fn erased(&mut self) -> Vec<Box<dyn Erased + '_>> {
                vec![$(Box::new(Typed::<$arg, $marker>(&mut self.$at, PhantomData))),*]
            }
        }
    };
}

ref_args!(M0 A0 0);
ref_args!(M0 A0 0, M1 A1 1);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2, M3 A3 3);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2, M3 A3 3, M4 A4 4);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2, M3 A3 3, M4 A4 4, M5 A5 5);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2, M3 A3 3, M4 A4 4, M5 A5 5, M6 A6 6);
ref_args!(M0 A0 0, M1 A1 1, M2 A2 2, M3 A3 3, M4 A4 4, M5 A5 5, M6 A6 6, M7 A7 7);
