//! [`Object`]: one value, many readers or one writer, first come first served, aware of call chains (R23). Generated
//! code enters it around every method.
//!
//! No `unsafe` and no async lock: the value lies in an `Arc`. Readers hold clones of it; the writer takes the only
//! one out and, being alone, `Arc::get_mut` gives it `&mut T`. What is kept besides is one word for the chain of who
//! is inside, and one for a `Crowd`, which exists only while several are inside or somebody waits. Besides `T` a
//! gated object takes 40 bytes and the two counts of the value's `Arc`; a free one 8, where `T` has at least 32 bytes.
//!
//! Invariants, whenever the lock is free:
//! - `value` is `None` exactly while a writer is inside; then no reader is.
//! - Each reader inside holds one clone, so `strong_count - 1` readers are inside. Guards give theirs back under the
//!   lock, so nobody sees a stale count.
//! - Who waits is in `queue`, in order of tickets. Grants go strictly from its front, so a ticket that is not in the
//!   queue any more is granted. A grant counts as being inside from the moment it is given.
//! - The front of the queue, if there is one, cannot enter now: whoever made it possible granted it.
//! - No waker is called, and none is dropped, under the lock: both may run other people's code.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::context::Cx;
use crate::error::RpcError;

/// A value that is called through handles: `&self` methods overlap, `&mut self` methods run one at a time, first in
/// first out.
///
/// One object may serve several interfaces; they exclude one another as their receivers say.
pub struct Object<T> {
    kind: Kind<T>,
}

enum Kind<T> {
    /// No interface has a `&mut self` method: nothing to guard.
    Free(T),
    Gated(Mutex<State<T>>),
}

struct State<T> {
    value: Option<Arc<T>>,
    /// The chain of the writer, or of one of the readers; 0: none is known.
    chain: u64,
    crowd: Option<Box<Crowd>>,
}

/// What one word cannot hold.
#[derive(Default)]
struct Crowd {
    /// Chains of further readers, in no order.
    readers: Vec<u64>,
    queue: VecDeque<Waiter>,
    next_ticket: u64,
    /// Reader grants that were not picked up yet.
    granted_readers: u32,
    /// A writer grant that was not picked up yet; `State::chain` is that writer's.
    granted_writer: bool,
}

struct Waiter {
    ticket: u64,
    chain: u64,
    write: bool,
    waker: Waker,
}

impl<T> Object<T> {
    /// An object with its gate.
    pub fn new(value: T) -> Arc<Object<T>> {
        let state = State {
            value: Some(Arc::new(value)),
            chain: 0,
            crowd: None,
        };
        Arc::new(Object {
            kind: Kind::Gated(Mutex::new(state)),
        })
    }

    /// An object of interfaces without `&mut self` methods: no lock at all.
    pub fn free(value: T) -> Arc<Object<T>> {
        Arc::new(Object {
            kind: Kind::Free(value),
        })
    }

    /// Enters for a `&self` method.
    ///
    /// # Errors
    /// [`RpcError::Reentrant`] where the chain of `cx` is inside with `&mut self`: it would wait for itself.
    pub fn read(self: Arc<Self>, cx: &Cx) -> Read<T> {
        Read(Entry::new(self, cx))
    }

    /// Enters for a `&mut self` method.
    ///
    /// # Errors
    /// [`RpcError::Reentrant`] where the chain of `cx` is inside already.
    pub fn write(self: Arc<Self>, cx: &Cx) -> Write<T> {
        Write(Entry::new(self, cx))
    }

    /// Enters for a `&self` method if that is possible at once.
    pub fn try_read(self: &Arc<Self>, cx: &Cx) -> Option<ReadGuard<T>> {
        let value = match &self.kind {
            Kind::Free(_) => None,
            Kind::Gated(gate) => Some(lock(gate).try_enter_read(cx.chain())?),
        };
        Some(ReadGuard {
            object: self.clone(),
            value,
            chain: cx.chain(),
        })
    }

    /// Enters for a `&mut self` method if that is possible at once. Never on a free object.
    pub fn try_write(self: &Arc<Self>, cx: &Cx) -> Option<WriteGuard<T>> {
        let Kind::Gated(gate) = &self.kind else {
            return None;
        };
        let value = lock(gate).try_enter_write(cx.chain())?;
        Some(WriteGuard {
            object: self.clone(),
            value: Some(value),
        })
    }
}

/// Nothing panics under the lock but a foreign `Waker::clone`, and that before anything is changed: poison says
/// nothing.
fn lock<T>(gate: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> State<T> {
    /// Readers inside, without those that were granted and have not come yet.
    fn readers(&self) -> usize {
        self.value
            .as_ref()
            .map_or(0, |value| Arc::strong_count(value) - 1)
    }

    fn try_enter_read(&mut self, chain: u64) -> Option<Arc<T>> {
        if self
            .crowd
            .as_ref()
            .is_some_and(|c| c.granted_writer || !c.queue.is_empty())
        {
            return None;
        }
        let value = self.value.clone()?;
        self.note_reader(chain);
        Some(value)
    }

    fn try_enter_write(&mut self, chain: u64) -> Option<Arc<T>> {
        let taken = self
            .crowd
            .as_ref()
            .is_some_and(|c| c.granted_writer || c.granted_readers > 0 || !c.queue.is_empty());
        if taken || self.readers() > 0 {
            return None;
        }
        let value = self.value.take()?;
        self.chain = chain;
        Some(value)
    }

    fn note_reader(&mut self, chain: u64) {
        match self.chain {
            _ if chain == 0 => {}
            0 => self.chain = chain,
            _ => self.crowd.get_or_insert_default().readers.push(chain),
        }
    }

    fn forget_reader(&mut self, chain: u64) {
        if chain == 0 {
            return;
        }
        if self.chain == chain {
            self.chain = 0;
        } else if let Some(crowd) = &mut self.crowd
            && let Some(at) = crowd.readers.iter().rposition(|c| *c == chain)
        {
            crowd.readers.swap_remove(at);
        }
    }

    /// A writer is inside, or was granted.
    fn writing(&self) -> bool {
        self.value.is_none() || self.crowd.as_ref().is_some_and(|c| c.granted_writer)
    }

    /// For a chain that is not the writer's.
    fn chain_reads(&self, chain: u64) -> bool {
        self.chain == chain
            || self
                .crowd
                .as_ref()
                .is_some_and(|c| c.readers.contains(&chain))
    }

    /// Grants whoever may enter now, in order. The wakers are to be called after unlocking.
    fn advance(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        let inside = self.readers();
        while let Some(crowd) = &mut self.crowd {
            let Some(front) = crowd.queue.front() else {
                break;
            };
            let reading = inside > 0 || crowd.granted_readers > 0;
            if self.value.is_none() || crowd.granted_writer || (front.write && reading) {
                break;
            }
            let Some(waiter) = crowd.queue.pop_front() else {
                break;
            };
            wakers.push(waiter.waker);
            if waiter.write {
                crowd.granted_writer = true;
                self.chain = waiter.chain;
            } else {
                crowd.granted_readers += 1;
                self.note_reader(waiter.chain);
            }
        }
        self.tidy();
        wakers
    }

    /// Gives the crowd back once nobody needs it, so that an idle object is small.
    fn tidy(&mut self) {
        let idle = |c: &Crowd| {
            c.queue.is_empty()
                && c.readers.is_empty()
                && c.granted_readers == 0
                && !c.granted_writer
        };
        if self.crowd.as_deref().is_some_and(idle) && self.value.is_some() && self.readers() == 0 {
            self.crowd = None;
        }
    }
}

/// Wakers on their way out of the lock; usually one.
#[derive(Default)]
struct Wakers(Option<Waker>, Vec<Waker>);

impl Wakers {
    fn push(&mut self, waker: Waker) {
        if self.0.is_none() {
            self.0 = Some(waker)
        } else {
            self.1.push(waker)
        }
    }

    fn wake(self) {
        self.0.into_iter().chain(self.1).for_each(Waker::wake);
    }
}

/// One call on its way in.
struct Entry<T> {
    object: Option<Arc<Object<T>>>,
    chain: u64,
    /// `Some` while this call is in the queue, or is granted and has not come for it.
    ticket: Option<u64>,
    write: bool,
}

impl<T> Entry<T> {
    fn new(object: Arc<Object<T>>, cx: &Cx) -> Entry<T> {
        Entry {
            object: Some(object),
            chain: cx.chain(),
            ticket: None,
            write: false,
        }
    }

    /// The value, and the object for the guard.
    fn poll_enter(
        &mut self,
        task: &mut Context<'_>,
        write: bool,
    ) -> Poll<Result<Entered<T>, RpcError>> {
        self.write = write;
        let polled = match self.object.as_deref().map(|o| &o.kind) {
            None => {
                return Poll::Ready(Err(RpcError::Internal(
                    "an entry was polled after it was done".to_owned(),
                )));
            }
            Some(Kind::Free(_)) if write => Poll::Ready(Err(RpcError::Internal(
                "an object without a gate was entered for `&mut self`; make it with `Object::new`"
                    .to_owned(),
            ))),
            Some(Kind::Free(_)) => Poll::Ready(Ok(None)),
            Some(Kind::Gated(gate)) => match self.ticket {
                None => {
                    enter_or_queue(gate, self.chain, write, task, &mut self.ticket).map_ok(Some)
                }
                Some(ticket) => match pick_up(gate, ticket, write, task) {
                    Some(value) => {
                        self.ticket = None;
                        Poll::Ready(Ok(Some(value)))
                    }
                    None => Poll::Pending,
                },
            },
        };
        let value = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(value) => value,
        };
        match (value, self.object.take()) {
            (Ok(value), Some(object)) => Poll::Ready(Ok((object, value))),
            (Err(e), _) => Poll::Ready(Err(e)),
            (Ok(_), None) => Poll::Ready(Err(RpcError::Internal(
                "an entry lost its object".to_owned(),
            ))),
        }
    }
}

type Entered<T> = (Arc<Object<T>>, Option<Arc<T>>);

/// The first poll: in at once, refused, or into the queue.
fn enter_or_queue<T>(
    gate: &Mutex<State<T>>,
    chain: u64,
    write: bool,
    task: &mut Context<'_>,
    ticket: &mut Option<u64>,
) -> Poll<Result<Arc<T>, RpcError>> {
    let mut state = lock(gate);
    let entered = if write {
        state.try_enter_write(chain)
    } else {
        state.try_enter_read(chain)
    };
    if let Some(value) = entered {
        return Poll::Ready(Ok(value));
    }
    // Only who must wait pays for looking at chains.
    if chain != 0 {
        if state.writing() && state.chain == chain {
            return Poll::Ready(Err(RpcError::Reentrant));
        }
        if state.chain_reads(chain) {
            if write {
                return Poll::Ready(Err(RpcError::Reentrant));
            }
            // Behind a waiting writer it would wait for itself, so it passes the queue.
            if let Some(value) = state.value.clone() {
                state.note_reader(chain);
                return Poll::Ready(Ok(value));
            }
        }
    }
    let waker = task.waker().clone();
    let crowd = state.crowd.get_or_insert_default();
    crowd.queue.push_back(Waiter {
        ticket: crowd.next_ticket,
        chain,
        write,
        waker,
    });
    *ticket = Some(crowd.next_ticket);
    crowd.next_ticket += 1;
    Poll::Pending
}

/// A later poll: the value if the ticket was granted, else the new waker is stored.
fn pick_up<T>(
    gate: &Mutex<State<T>>,
    ticket: u64,
    write: bool,
    task: &mut Context<'_>,
) -> Option<Arc<T>> {
    let mut state = lock(gate);
    let crowd = state.crowd.as_mut()?;
    if let Ok(at) = crowd.queue.binary_search_by_key(&ticket, |w| w.ticket) {
        let waiter = crowd.queue.get_mut(at)?;
        if !waiter.waker.will_wake(task.waker()) {
            let old = std::mem::replace(&mut waiter.waker, task.waker().clone());
            drop(state);
            drop(old);
        }
        return None;
    }
    if write {
        crowd.granted_writer = false;
        state.value.take()
    } else {
        crowd.granted_readers -= 1;
        state.value.clone()
    }
}

/// A call that is given up while it waits leaves the queue; one that was granted hands the grant on.
impl<T> Drop for Entry<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.leave(ticket);
        }
    }
}

impl<T> Entry<T> {
    #[inline(never)]
    fn leave(&mut self, ticket: u64) {
        let Some(object) = &self.object else {
            return;
        };
        let Kind::Gated(gate) = &object.kind else {
            return;
        };
        let mut state = lock(gate);
        let Some(crowd) = &mut state.crowd else {
            return;
        };
        let left = match crowd.queue.binary_search_by_key(&ticket, |w| w.ticket) {
            Ok(at) => crowd.queue.remove(at),
            Err(_) if self.write => {
                crowd.granted_writer = false;
                state.chain = 0;
                None
            }
            Err(_) => {
                crowd.granted_readers -= 1;
                state.forget_reader(self.chain);
                None
            }
        };
        let wakers = state.advance();
        drop(state);
        wakers.wake();
        drop(left);
    }
}

/// The future of [`Object::read`]. Dropping it gives the place in the queue up.
#[must_use = "a future does nothing until it is awaited"]
pub struct Read<T>(Entry<T>);

impl<T> Future for Read<T> {
    type Output = Result<ReadGuard<T>, RpcError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let is_free = |object: &mut Arc<Object<T>>| matches!(object.kind, Kind::Free(_));
        if let Some(object) = self.0.object.take_if(is_free) {
            return Poll::Ready(Ok(ReadGuard {
                object,
                value: None,
                chain: self.0.chain,
            }));
        }
        self.poll_gated(task)
    }
}

impl<T> Read<T> {
    #[inline(never)]
    fn poll_gated(&mut self, task: &mut Context<'_>) -> Poll<Result<ReadGuard<T>, RpcError>> {
        let chain = self.0.chain;
        self.0
            .poll_enter(task, false)
            .map_ok(|(object, value)| ReadGuard {
                object,
                value,
                chain,
            })
    }
}

/// The future of [`Object::write`]. Dropping it gives the place in the queue up.
#[must_use = "a future does nothing until it is awaited"]
pub struct Write<T>(Entry<T>);

impl<T> Future for Write<T> {
    type Output = Result<WriteGuard<T>, RpcError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.0
            .poll_enter(task, true)
            .map_ok(|(object, value)| WriteGuard { object, value })
    }
}

/// Shared access for the length of a `&self` method.
//
// In this order: the first word shares its place with the parts of an error, is stored in halves therefore, and what is
// stored in halves is slow to read back at once. The object is read at once.
#[repr(C)]
pub struct ReadGuard<T> {
    chain: u64,
    object: Arc<Object<T>>,
    /// `None` of a free object.
    value: Option<Arc<T>>,
}

impl<T> Deref for ReadGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match (&self.value, &self.object.kind) {
            (Some(value), _) => value,
            (None, Kind::Free(value)) => value,
            (None, Kind::Gated(_)) => {
                unreachable!("a reader of a gated object holds the value until it is dropped")
            }
        }
    }
}

impl<T> Drop for ReadGuard<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.leave(value);
        }
    }
}

impl<T> ReadGuard<T> {
    #[inline(never)]
    fn leave(&self, value: Arc<T>) {
        let Kind::Gated(gate) = &self.object.kind else {
            return;
        };
        let mut state = lock(gate);
        // Never the last one: `State` holds one while readers are inside.
        drop(value);
        state.forget_reader(self.chain);
        if state.crowd.is_some() {
            let wakers = state.advance();
            drop(state);
            wakers.wake();
        }
    }
}

/// Exclusive access for the length of a `&mut self` method. Dropping it puts the value back, after a panic too.
pub struct WriteGuard<T> {
    object: Arc<Object<T>>,
    /// `None` in `drop` alone.
    value: Option<Arc<T>>,
}

impl<T> Deref for WriteGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
            .as_deref()
            .expect("a writer holds the value until it is dropped")
    }
}

impl<T> DerefMut for WriteGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
            .as_mut()
            .and_then(Arc::get_mut)
            .expect("a writer is alone with the value")
    }
}

impl<T> Drop for WriteGuard<T> {
    fn drop(&mut self) {
        let Kind::Gated(gate) = &self.object.kind else {
            return;
        };
        let mut state = lock(gate);
        state.value = self.value.take();
        state.chain = 0;
        if state.crowd.is_some() {
            let wakers = state.advance();
            drop(state);
            wakers.wake();
        }
    }
}

impl<T> std::fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut s = f.debug_struct("Object");
        match &self.kind {
            Kind::Free(_) => s.field("gated", &false),
            Kind::Gated(gate) => {
                let state = lock(gate);
                let waiting = state.crowd.as_ref().map_or(0, |c| c.queue.len());
                s.field("readers", &state.readers())
                    .field("writing", &state.writing())
                    .field("waiting", &waiting)
            }
        };
        s.finish()
    }
}

impl<T> std::fmt::Debug for ReadGuard<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadGuard")
    }
}

impl<T> std::fmt::Debug for WriteGuard<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteGuard")
    }
}

#[cfg(test)]
mod tests;
