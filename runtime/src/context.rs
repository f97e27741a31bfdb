//! [`Cx`], the context of a call: for whom, until when, at which depth, on behalf of which chain.
//!
//! It is current while a handler is polled, and only then: the runtime puts it in place around every poll and takes
//! it out again. So it flows into every call made inside the handler, and into no task spawned there.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use helve_handles::id::ID_LIMIT;
use tokio::time::Instant;

use crate::peer::Peer;
use crate::trace::{Trace, TraceParent};

/// Longest deadline (R21).
const MAX_DEADLINE: Duration = Duration::from_secs(3600);

/// Deepest call that may be made (R13).
pub(crate) use helve_protocol::limits::DEPTH_MAX as MAX_DEPTH;

/// What a call carries of the context in which it is made: `d`, `h` and `c` of its `ext`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CallCx {
    /// When its caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    /// 0 outside a handler; above [`MAX_DEPTH`] the call is EXHAUSTED.
    pub(crate) depth: u8,
    /// `None` outside a handler.
    pub(crate) chain: Option<u64>,
    /// There is a trace: [`Cx::current_trace`].
    pub(crate) traced: bool,
}

/// The context of a call. Cheap to clone: one count.
///
/// A handler gets it as a `cx: &Cx` parameter, or with [`Cx::current`].
#[derive(Clone)]
pub struct Cx {
    /// Behind it also the trace, which few calls have: a context is copied and moved several times a call.
    peer: Option<Peer>,
    deadline: Option<Instant>,
    /// 0: not inside a handler.
    chain: u64,
    /// Below 256. A whole word, so that what stands behind it in a future is aligned.
    depth: u64,
}

thread_local! {
    static HERE: RefCell<Option<Cx>> = const { RefCell::new(None) };
}

impl Cx {
    /// Outside any handler: no peer, no deadline, depth 0. What is called from here starts a chain of its own.
    pub fn background() -> Cx {
        Cx {
            peer: None,
            deadline: None,
            chain: 0,
            depth: 0,
        }
    }

    /// The context of the handler that runs now, or [`Cx::background`].
    pub fn current() -> Cx {
        Cx::try_current().unwrap_or_else(Cx::background)
    }

    /// The context of the handler that runs now. `None` outside, and in a task that a handler spawned.
    pub fn try_current() -> Option<Cx> {
        HERE.try_with(|here| here.borrow().clone()).ok().flatten()
    }

    /// What a call made now carries, without touching a count.
    #[inline]
    pub(crate) fn of_call() -> CallCx {
        let seen = HERE.try_with(|here| here.borrow().as_ref().map(Cx::call));
        // While the thread ends there is no context any more.
        seen.ok().flatten().unwrap_or_default()
    }

    /// The trace of what is called now.
    #[cold]
    pub(crate) fn current_trace() -> Option<Arc<Trace>> {
        Cx::try_current().and_then(|cx| cx.trace().cloned())
    }

    /// What a call made in this context carries.
    pub(crate) fn call(&self) -> CallCx {
        CallCx {
            deadline: self.deadline,
            depth: self.call_depth(),
            chain: self.call_chain(),
            traced: self.trace().is_some(),
        }
    }

    /// The context of a handler for a call that came in: `depth` and `chain` are what its `ext` says, a chain is drawn
    /// where it says none (R23).
    ///
    /// The chain is drawn here and not at the first nested call: it shows nowhere before that call, and so the gate
    /// of an object knows it from the start.
    #[inline]
    pub(crate) fn incoming(
        peer: Option<Peer>,
        deadline: Option<Instant>,
        depth: u8,
        chain: Option<u64>,
    ) -> Cx {
        Cx {
            peer,
            deadline,
            depth: u64::from(depth),
            chain: chain.filter(|c| *c != 0).unwrap_or_else(draw_chain),
        }
    }

    /// The same context for the next call of the same peer: as [`incoming`](Self::incoming) makes it, without touching
    /// the count of the peer.
    #[inline]
    pub(crate) fn renewed(self, deadline: Option<Instant>, depth: u8, chain: Option<u64>) -> Cx {
        Cx::incoming(self.peer, deadline, depth, chain)
    }

    /// What generated code enters an object with where its method does not ask for the context: nobody sees the peer.
    #[doc(hidden)]
    pub fn unseen(&self) -> Cx {
        Cx {
            peer: None,
            ..*self
        }
    }

    /// The context of the handler of a local call that is made in this context.
    pub(crate) fn nested(&self) -> Cx {
        let CallCx {
            deadline,
            depth,
            chain,
            traced: _,
        } = self.call();
        Cx::incoming(self.peer.clone(), deadline, depth, chain)
    }

    /// The same as part of this trace.
    #[cold]
    pub(crate) fn traced(mut self, trace: Arc<Trace>) -> Cx {
        self.peer = Some(Peer::traced(trace, self.peer()));
        self
    }

    #[inline]
    fn trace(&self) -> Option<&Arc<Trace>> {
        self.peer.as_ref().and_then(Peer::trace)
    }

    /// The same until `after` from now, or until the deadline that stands, whichever comes first. At most one hour.
    #[must_use]
    pub fn with_deadline(mut self, after: Duration) -> Cx {
        let at = Instant::now() + after.min(MAX_DEADLINE);
        self.deadline = Some(self.deadline.map_or(at, |old| old.min(at)));
        self
    }

    /// The same until `at`, or until the deadline that stands, whichever comes first.
    pub(crate) fn until(mut self, at: Instant) -> Cx {
        self.deadline = Some(self.deadline.map_or(at, |old| old.min(at)));
        self
    }

    /// The same as part of a trace: calls made in this context carry it.
    #[must_use]
    pub fn with_traceparent(self, parent: TraceParent) -> Cx {
        self.traced(Trace::new(parent))
    }

    /// Runs a future with this context current: calls made inside inherit its deadline and its trace.
    ///
    /// A client begins a trace so, and a handler hands its context on to a task that it spawns:
    /// `tokio::spawn(cx.clone().scope(..))`. Such a task counts as part of the handler also when it outlives it.
    ///
    /// ```
    /// # use helve::prelude::*;
    /// use helve::TraceParent;
    /// # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
    ///
    /// # async fn f(counter: CounterHandle, header: &str) -> Result<(), RpcError> {
    /// // From an HTTP request, or a trace of its own where that brings none.
    /// let parent = header.parse().unwrap_or_else(|_| TraceParent::random());
    /// let cx = Cx::current().with_traceparent(parent);
    /// let sum = cx.scope(async { counter.add(1).await }).await?;
    /// # Ok(()) }
    /// ```
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = Some(self);
        std::future::poll_fn(|task| Cx::enter(&mut cx, || future.as_mut().poll(task))).await
    }

    /// The trace that this call belongs to, `None` where its caller named none or a malformed one. Calls made inside
    /// carry it on.
    ///
    /// Its parent id is the span of this call if the runtime opened one (target `helve::serve` at level `DEBUG`),
    /// else that of the caller.
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.trace().map(|trace| trace.parent)
    }

    /// The same without a deadline: of a stream, which outlives the call that it was made in.
    pub(crate) fn without_deadline(mut self) -> Cx {
        self.deadline = None;
        self
    }

    /// This context as that of a call: what [`of_call`](Self::of_call) would have been where the call was made.
    pub(crate) fn as_call(&self) -> CallCx {
        CallCx {
            deadline: self.deadline,
            depth: self.depth(),
            chain: self.call_chain(),
            traced: false,
        }
    }

    /// The same for what a call carries that is made in this way: calls made in it are deeper than that call (R13.17).
    pub(crate) fn below(mut self, call: CallCx) -> Cx {
        self.depth = self.depth.max(u64::from(call.depth));
        if self.chain == 0 {
            self.chain = call.chain.unwrap_or_else(draw_chain);
        }
        self
    }

    /// Whose call this is. `None` for a call inside this process that no peer caused.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref().and_then(Peer::itself)
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is left until the deadline; zero when it has passed, `None` when there is none.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// How many handlers wait for this one: 0 for a call that a client made of itself (R13).
    pub fn depth(&self) -> u8 {
        self.depth as u8
    }

    /// The chain that this handler works for; 0 outside a handler.
    pub(crate) fn chain(&self) -> u64 {
        self.chain
    }

    /// One above the handler's; 0 outside a handler (R13).
    fn call_depth(&self) -> u8 {
        if self.chain == 0 {
            0
        } else {
            self.depth().saturating_add(1)
        }
    }

    /// None outside a handler (R23).
    fn call_chain(&self) -> Option<u64> {
        (self.chain != 0).then_some(self.chain)
    }

    /// Runs `f` with this context current. The context moves in and out, no count is touched; it is put back into
    /// `slot` also when `f` panics.
    pub(crate) fn enter<R>(slot: &mut Option<Cx>, f: impl FnOnce() -> R) -> R {
        // Meanwhile `slot` holds the outer context.
        struct Back<'a>(&'a mut Option<Cx>);
        impl Drop for Back<'_> {
            #[inline]
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        #[inline]
        fn swap(cx: &mut Option<Cx>) {
            // Fails while the thread ends: then nothing is current, and `cx` stays where it is.
            let _ = HERE.try_with(|here| std::mem::swap(&mut *here.borrow_mut(), cx));
        }
        swap(slot);
        let _back = Back(slot);
        f()
    }
}

impl Default for Cx {
    fn default() -> Cx {
        Cx::background()
    }
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("peer", &self.peer())
            .field("remaining", &self.remaining())
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}

/// A future that is polled with its context current. `F: Unpin`, as a boxed one is: no second allocation.
pub(crate) struct Scoped<F> {
    cx: Option<Cx>,
    future: F,
}

impl<F> Scoped<F> {
    pub(crate) fn new(cx: Cx, future: F) -> Scoped<F> {
        Scoped {
            cx: Some(cx),
            future,
        }
    }
}

impl<F: Future + Unpin> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let me = &mut *self;
        Cx::enter(&mut me.cx, || Pin::new(&mut me.future).poll(task))
    }
}

/// A random chain id from 1 to 2^53 - 1. Not a secret: who guesses one gets `REENTRANT`, or reads beside a reader.
#[inline]
fn draw_chain() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(std::hash::RandomState::new().build_hasher().finish());
    }
    // splitmix64
    let next = |state: u64| state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = STATE.try_with(|s| {
        s.set(next(s.get()));
        s.get()
    });
    let mut z = state.unwrap_or_else(|_| std::hash::RandomState::new().build_hasher().finish());
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) & (ID_LIMIT - 1)).max(1)
}

#[cfg(test)]
mod tests;
