//! [`Call`]: a future that is a remote call. [`Receipt`], in a file of its own: what is known of a one-way call.

mod receipt;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use helve_handles::lease::Lease;
use helve_handles::wire::Wire;
use helve_protocol::Code;
use helve_protocol::blob::{Blob, Body};
use helve_protocol::limits::PAYLOAD_MAX;
use helve_protocol::session::{Answer, CallKey, Outgoing};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use crate::caps::{self, InCaps, OutCaps};
use crate::connection::{Conn, RemoteRef};
use crate::context::{CallCx, Cx, MAX_DEPTH, Scoped};
use crate::error::{CallFailure, RpcError};
use crate::handle::{Dispatch, Ref, Remote};
use crate::node::ObjectRef;
use crate::observe::Calling;
use crate::trace::{Trace, TraceParent};

pub use receipt::Receipt;

/// The future of a method on a local object.
pub type Local<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Encoded arguments that were not sent.
pub(crate) struct Unsent {
    args: Blob,
    caps: Option<Box<OutCaps>>,
}

impl Unsent {
    /// Empties `args`; a long one is taken over instead of copied.
    pub(crate) fn new(args: &mut Vec<u8>, caps: Option<Box<OutCaps>>) -> Unsent {
        let args = if args.len() > PAYLOAD_MAX {
            Blob::from(std::mem::take(args))
        } else {
            Blob::copy(args)
        };
        Unsent { args, caps }
    }

    /// The same of arguments that are held already.
    pub(crate) fn of(args: Blob, caps: Option<Box<OutCaps>>) -> Unsent {
        Unsent { args, caps }
    }

    #[inline]
    fn body(&self) -> Body<'_> {
        match self.caps.as_ref().and_then(|caps| caps.rope.as_ref()) {
            None => (&self.args).into(),
            Some(rope) => rope.into(),
        }
    }

    /// Sends them as a one-way call.
    pub(crate) fn tell(&self, remote: Arc<RemoteRef>, method: u32) -> Receipt {
        Receipt::remote(remote, method, self.body(), self.caps.as_deref())
    }

    #[inline]
    fn outgoing<'a>(
        &'a self,
        remote: &RemoteRef,
        method: u32,
        cx: &CallCx,
        deadline: Option<Instant>,
        calling: Option<&'a Calling>,
    ) -> Outgoing<'a, ObjectRef> {
        outgoing(
            self.body(),
            self.caps.as_deref(),
            remote,
            method,
            cx,
            deadline,
            calling,
        )
    }

    /// A trace of its own.
    #[inline]
    fn trace(&self) -> Option<&Arc<Trace>> {
        self.caps.as_ref()?.trace.as_ref()
    }
}

#[inline]
fn outgoing<'a>(
    args: Body<'a>,
    caps: Option<&'a OutCaps>,
    remote: &RemoteRef,
    method: u32,
    cx: &CallCx,
    deadline: Option<Instant>,
    calling: Option<&'a Calling>,
) -> Outgoing<'a, ObjectRef> {
    Outgoing {
        to: remote.key,
        method,
        args,
        caps: caps.map(|caps| &caps.caps[..]).unwrap_or_default(),
        deadline: deadline.map(|at| remote.conn.time_at(at)),
        depth: cx.depth,
        chain: cx.chain,
        trace: calling.map_or("", Calling::trace),
    }
}

/// A call of a method: a future that yields its result.
///
/// Arguments are encoded when the method is called; the call is sent when it is first polled, and cancelled when it is
/// dropped before it is done. It borrows nothing, so it can be spawned, joined and selected on.
#[must_use = "a call is sent when it is awaited: `.await` it, `.pipelined()` or `.wait()` it, or mark the method `#[oneway]`"]
pub struct Call<T, E = RpcError> {
    state: State<T, E>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

pub(crate) type Decode<T, E> = fn(&Arc<Conn>, Answer<ObjectRef>) -> Result<T, E>;

enum State<T, E> {
    /// On a local object, not polled.
    Local(Local<T, E>),
    /// On a local object, outside of any runtime.
    Inline(Scoped<Local<T, E>>),
    /// On a local object, waiting: a task of its own, so that a call held unpolled cannot hold the object's lock.
    Spawned(JoinHandle<Result<T, E>>),
    Unsent {
        remote: Arc<RemoteRef>,
        lease: Option<Lease>,
        method: u32,
        unsent: Unsent,
        decode: Decode<T, E>,
    },
    Sent {
        remote: Arc<RemoteRef>,
        key: CallKey,
        decode: Decode<T, E>,
        calling: Option<Box<Calling>>,
    },
    Failed(E),
    Done,
}

impl<T, E> Unpin for Call<T, E> {}

impl<T, E> Call<T, E> {
    fn new(state: State<T, E>) -> Self {
        Call {
            state,
            deadline: None,
            timer: None,
        }
    }

    pub(crate) fn failed(error: E) -> Self {
        Call::new(State::Failed(error))
    }

    /// Gives up after `after`: the call fails with `Deadline`, and the method is cancelled. Calls that the method makes
    /// inherit what is left. At most one hour.
    pub fn deadline(mut self, after: Duration) -> Self {
        let at = Instant::now() + after.min(Duration::from_secs(3600));
        self.deadline = Some(self.deadline.map_or(at, |old| old.min(at)));
        self
    }

    #[inline]
    pub(crate) fn cancel(&mut self, why: Code) {
        // Dropped after it was done, as nearly every call is: nothing to move.
        if !matches!(self.state, State::Spawned(_) | State::Sent { .. }) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Spawned(task) => task.abort(),
            State::Sent {
                remote,
                key,
                calling,
                ..
            } => {
                if let Some(calling) = calling {
                    calling.end(Some(why));
                }
                remote.conn.with(|session| session.cancel(key));
            }
            _ => {}
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Call<T, E> {
    /// Until when it waits, once it was polled.
    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        self.deadline
    }

    /// Gives up then.
    pub(crate) fn give_up_at(&mut self, at: Option<Instant>) {
        self.deadline = at;
    }

    /// Makes the call part of a trace: this one, not that of the context it is made in.
    ///
    /// ```
    /// # use helve::prelude::*;
    /// # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
    /// # async fn f(counter: CounterHandle) -> Result<(), RpcError> {
    /// counter.add(1).traceparent(helve::TraceParent::random()).await?;
    /// # Ok(()) }
    /// ```
    pub fn traceparent(mut self, parent: TraceParent) -> Self {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Unsent {
                remote,
                lease,
                method,
                mut unsent,
                decode,
            } => {
                unsent.caps.get_or_insert_default().trace = Some(Trace::new(parent));
                State::Unsent {
                    remote,
                    lease,
                    method,
                    unsent,
                    decode,
                }
            }
            State::Local(future) => State::Local(Box::pin(async move {
                Cx::current().with_traceparent(parent).scope(future).await
            })),
            other => other,
        };
        self
    }
}

impl<T: Send + 'static, E: CallFailure> Call<T, E> {
    pub(crate) fn local(future: Local<T, E>) -> Self {
        Call::new(State::Local(future))
    }

    /// A remote one whose result is read by `decode`.
    pub(crate) fn remote_with(
        remote: Arc<RemoteRef>,
        lease: Option<Lease>,
        method: u32,
        unsent: Unsent,
        decode: Decode<T, E>,
    ) -> Self {
        Call::new(State::Unsent {
            remote,
            lease,
            method,
            unsent,
            decode,
        })
    }
}

impl<T: Wire, E: CallFailure> Call<T, E> {
    pub(crate) fn remote(
        remote: Arc<RemoteRef>,
        lease: Option<Lease>,
        method: u32,
        unsent: Unsent,
    ) -> Self {
        Call::remote_with(remote, lease, method, unsent, decode)
    }
}

impl<H: Remote, E: CallFailure + Into<RpcError>> Call<H, E> {
    /// The handle at once, before the answer: calls on it travel right behind this one. If this call fails, they fail
    /// with its cause.
    pub fn pipelined(mut self) -> H {
        let (cx, deadline) = self.left();
        match std::mem::replace(&mut self.state, State::Done) {
            State::Unsent {
                remote,
                lease,
                method,
                unsent,
                ..
            } => {
                if lease.is_some_and(|lease| lease.ended()) {
                    return H::broken(RpcError::Expired);
                }
                let calling = Calling::new(&remote, method, &cx, unsent.trace());
                let out = unsent.outgoing(&remote, method, &cx, deadline, calling.as_deref());
                let now = deadline.map(|_| remote.conn.now());
                let opened = remote.conn.with(|session| {
                    now.into_iter().for_each(|now| session.set_now(now));
                    session.open(&out)
                });
                if let Some(calling) = &calling {
                    calling.sent(opened.as_ref().err());
                }
                match opened {
                    Ok(key) => {
                        let interface = H::Object::interface;
                        let opened = RemoteRef::new(remote.conn.clone(), key, interface);
                        if let Some(at) = deadline {
                            watch_deadline(&opened, at);
                        }
                        H::from_ref(Ref::there(opened))
                    }
                    Err(fault) => H::broken(RpcError::from_fault(&fault)),
                }
            }
            State::Local(future) => {
                let mut call: Call<H, E> = Call {
                    state: State::Local(future),
                    deadline,
                    timer: None,
                };
                let settled = |result: Result<H, E>| {
                    result
                        .map(|handle| handle.as_ref().clone())
                        .map_err(Into::into)
                };
                // Started at once, as a remote one would be.
                match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(handle)) => handle,
                    Poll::Ready(Err(error)) => H::broken(error.into()),
                    Poll::Pending => H::from_ref(Ref::settling(call.map(settled).boxed())),
                }
            }
            State::Failed(error) => H::broken(error.into()),
            state => {
                let mut call: Call<H, E> = Call {
                    state,
                    deadline,
                    timer: self.timer.take(),
                };
                let settled = |result: Result<H, E>| {
                    result
                        .map(|handle| handle.as_ref().clone())
                        .map_err(Into::into)
                };
                if matches!(call.state, State::Done) {
                    call.state = State::Failed(RpcError::Cancelled.into());
                }
                H::from_ref(Ref::settling(call.map(settled).boxed()))
            }
        }
    }
}

impl<T, E> Call<T, E> {
    /// What the call inherits here, and when it gives up.
    fn left(&self) -> (CallCx, Option<Instant>) {
        let cx = Cx::of_call();
        let deadline = match (self.deadline, cx.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        (cx, deadline)
    }
}

impl<T: Send + 'static, E: CallFailure> Call<T, E> {
    /// One step. `Some` is the result.
    pub(crate) fn step(&mut self, task: &mut Context<'_>) -> Option<Result<T, E>> {
        match &mut self.state {
            State::Sent {
                remote,
                key,
                decode,
                calling,
            } => {
                let Poll::Ready(answer) = remote
                    .conn
                    .with(|session| session.poll_call(key, task.waker()))
                else {
                    return None;
                };
                let result = decode(&remote.conn, answer);
                if let Some(calling) = calling {
                    calling.end(result.as_ref().err().map(CallFailure::code));
                }
                self.state = State::Done;
                Some(result)
            }
            State::Spawned(handle) => {
                let Poll::Ready(result) = Pin::new(handle).poll(task) else {
                    return None;
                };
                self.state = State::Done;
                Some(result.unwrap_or_else(|error| Err(join_error(&error).into())))
            }
            State::Inline(future) => {
                let result = catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(task)));
                let result =
                    result.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic).into())));
                result.is_ready().then(|| self.state = State::Done);
                match result {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => None,
                }
            }
            State::Unsent { .. } | State::Local(_) | State::Failed(_) | State::Done => {
                self.start(task)
            }
        }
    }

    fn start(&mut self, task: &mut Context<'_>) -> Option<Result<T, E>> {
        let (cx, deadline) = self.left();
        match std::mem::replace(&mut self.state, State::Done) {
            State::Unsent {
                remote,
                lease,
                method,
                unsent,
                decode,
            } => {
                if lease.is_some_and(|lease| lease.ended()) {
                    return Some(Err(RpcError::Expired.into()));
                }
                let calling = Calling::new(&remote, method, &cx, unsent.trace());
                let out = unsent.outgoing(&remote, method, &cx, deadline, calling.as_deref());
                let now = deadline.map(|_| remote.conn.now());
                let sent = remote.conn.with(|session| {
                    now.into_iter().for_each(|now| session.set_now(now));
                    session.call(&out, Some(task.waker()))
                });
                match sent {
                    Ok(key) => {
                        self.state = State::Sent {
                            remote,
                            key,
                            decode,
                            calling,
                        }
                    }
                    Err(fault) => {
                        if let Some(calling) = calling {
                            calling.end(Some(fault.code));
                        }
                        return Some(Err(RpcError::from_fault(&fault).into()));
                    }
                }
                self.deadline = deadline;
                None
            }
            State::Local(future) => {
                if cx.depth > MAX_DEPTH {
                    return Some(Err(RpcError::Exhausted(
                        "calls made inside calls are nested over 15 deep".into(),
                    )
                    .into()));
                }
                let mut nested = Cx::current().nested();
                if let Some(deadline) = deadline {
                    nested = nested.until(deadline);
                }
                self.deadline = deadline;
                let mut scoped = Scoped::new(nested, future);
                let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut scoped).poll(task)));
                match polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic).into()))) {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => {
                        self.state = match tokio::runtime::Handle::try_current() {
                            Ok(runtime) => State::Spawned(runtime.spawn(
                                AssertUnwindSafe(scoped).catch_unwind().map(|result| {
                                    result.unwrap_or_else(|panic| Err(panicked(&*panic).into()))
                                }),
                            )),
                            Err(_) => State::Inline(scoped),
                        };
                        // The task is woken by the spawned one.
                        if let State::Spawned(_) = self.state {
                            self.step(task)
                        } else {
                            None
                        }
                    }
                }
            }
            State::Failed(error) => Some(Err(error)),
            _ => Some(Err(RpcError::Internal(
                "a call was polled after it had finished".into(),
            )
            .into())),
        }
    }
}

impl<T: Send + 'static, E: CallFailure> Future for Call<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        if let Some(result) = me.step(task) {
            return Poll::Ready(result);
        }
        if let Some(at) = me.deadline {
            let timer = me
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.as_mut().poll(task).is_ready() {
                me.cancel(Code::Deadline);
                return Poll::Ready(Err(RpcError::Deadline.into()));
            }
        }
        Poll::Pending
    }
}

impl<T, E> Drop for Call<T, E> {
    fn drop(&mut self) {
        self.cancel(Code::Cancelled);
    }
}

impl<T, E> std::fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Local(_) | State::Unsent { .. } => "not polled",
            State::Inline(_) | State::Spawned(_) | State::Sent { .. } => "open",
            State::Failed(_) => "failed",
            State::Done => "done",
        };
        f.debug_struct("Call")
            .field("state", &state)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Cancels an OPEN that has no answer by then. Nobody polls it, so it has a small task of its own.
fn watch_deadline(opened: &Arc<RemoteRef>, at: Instant) {
    // Outside of a runtime nothing watches; the host has the deadline too.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let opened = Arc::downgrade(opened);
    runtime.spawn(async move {
        let settled = std::future::poll_fn(|task| match opened.upgrade() {
            Some(opened) => opened
                .conn
                .with(|session| session.poll_settled(opened.key, task.waker()))
                .map(drop),
            None => Poll::Ready(()),
        });
        if tokio::time::timeout_at(at, settled).await.is_err()
            && let Some(opened) = opened.upgrade()
        {
            opened.conn.with(|session| session.cancel_open(opened.key));
        }
    });
}

fn decode<T: Wire, E: CallFailure>(conn: &Arc<Conn>, answer: Answer<ObjectRef>) -> Result<T, E> {
    match answer {
        Ok((bytes, caps)) if caps.is_empty() => match T::__take(&bytes) {
            Some((value, len)) if len == bytes.len() => Ok(value),
            _ => match bytes.shared().and_then(|source| T::__share(source, 0)) {
                Some((value, len)) if len == bytes.len() => Ok(value),
                _ => Ok(crate::codec::decode(&bytes)?),
            },
        },
        Ok((bytes, caps)) => Ok(caps::decode(&bytes, &mut InCaps::new(conn, caps, None))?),
        Err(fault) if fault.code == helve_protocol::Code::App => Err(E::join(&fault.data)),
        Err(fault) => Err(RpcError::from_fault(&fault).into()),
    }
}

fn join_error(error: &tokio::task::JoinError) -> RpcError {
    if error.is_cancelled() {
        RpcError::Cancelled
    } else {
        RpcError::Internal("the method panicked".into())
    }
}

/// What a caller is told of a panic: that it was one. Its text goes to the log of the host.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> RpcError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("(not a text)"), "a method panicked");
    RpcError::Internal("the method panicked".into())
}
