//! A call that arrived, on its way through a method: decoded and polled once, in place; only a method that waits
//! becomes a task. Its answer goes into the turn's replies, or, from a task, straight to the session.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable};
use helve_handles::lease::Lease;
use helve_handles::wire::{Typed, Wire};
use helve_protocol::frame::CallKind;
use helve_protocol::limits::PAYLOAD_MAX;
use helve_protocol::rope::Rope;
use helve_protocol::session::{IncomingId, Invocation, Received, Reply};
use helve_protocol::{Code, Fault, frame};
use tokio::time::Instant;

use crate::args::Args;
use crate::call::panicked;
use crate::caps::{self, InCaps, OutCaps};
use crate::codec::Scratch;
use crate::connection::Conn;
use crate::context::Cx;
use crate::error::{CallFailure, RpcError};
use crate::node::ObjectRef;
use crate::observe;
use crate::running::Method;
use crate::shared::{note_changes, take_changes};
use crate::spent;

/// The largest future whose memory is kept.
const KEEP_MAX: usize = 4 << 10;

/// A call that arrived, in the hands of the connection task. Generated code takes its [`method`](Self::method) and
/// [`serve`](Self::serve)s it.
pub struct Incoming<'a> {
    /// Borrowed: most calls are done in place, and a count would cost each of them two atomic operations.
    conn: &'a Arc<Conn>,
    replies: &'a mut Replies,
    invocation: Invocation<ObjectRef>,
}

/// Replies of calls that were done in place: written without the lock, handed to the session at once after the batch.
#[derive(Default)]
pub(crate) struct Replies {
    pub(crate) frames: Vec<u8>,
    pub(crate) done: Vec<(IncomingId, u32)>,
    /// One-way calls that ended without an error.
    pub(crate) told: Vec<IncomingId>,
    /// Long arguments, to be freed when the replies are out: it may take milliseconds.
    pub(crate) spent: Vec<Bytes>,
    /// The context of the last call that was done in place. The next one takes it over, and the peer with it.
    cx: Option<Cx>,
}

/// A value that does not go among the replies of a turn.
type Apart = (Bytes, Option<Box<OutCaps>>);

/// How the result of a method is written.
pub(crate) trait Written {
    /// The result.
    type T: Send + 'static;

    /// Appends it to `bytes`, its references to `caps`.
    fn encode(
        conn: &Arc<Conn>,
        value: &Self::T,
        bytes: &mut Vec<u8>,
        caps: &mut Option<Box<OutCaps>>,
    ) -> Result<(), RpcError>;

    /// It, where it is nothing but long bytes.
    #[inline]
    fn bulk(_: &Self::T) -> Option<&Bytes> {
        None
    }
}

impl<M: Typed> Written for M {
    type T = M::T;

    #[inline]
    fn encode(
        conn: &Arc<Conn>,
        value: &M::T,
        bytes: &mut Vec<u8>,
        caps: &mut Option<Box<OutCaps>>,
    ) -> Result<(), RpcError> {
        caps::encode_wire(conn, value, bytes, caps)
    }

    #[inline]
    fn bulk(value: &M::T) -> Option<&Bytes> {
        value.__bulk()
    }
}

/// What answers a call.
struct Answering<'a> {
    conn: &'a Arc<Conn>,
    id: IncomingId,
    kind: CallKind,
    lease: Option<Lease>,
}

impl<'a> Incoming<'a> {
    #[inline]
    pub(crate) fn new(
        conn: &'a Arc<Conn>,
        replies: &'a mut Replies,
        invocation: Invocation<ObjectRef>,
    ) -> Incoming<'a> {
        Incoming {
            conn,
            replies,
            invocation,
        }
    }

    /// Opens its span, if anybody looks.
    #[inline]
    pub(crate) fn observe(&self, object: &ObjectRef) {
        observe::start(self.conn, object, &self.invocation);
    }

    /// What it is made of.
    pub(crate) fn into_parts(self) -> (&'a Arc<Conn>, Invocation<ObjectRef>) {
        (self.conn, self.invocation)
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        self.conn
    }

    /// Its arguments, of which none may hold a reference.
    pub(crate) fn args(&self) -> Args {
        Args::new(self.invocation.args.clone(), None)
    }

    pub(crate) fn id(&self) -> IncomingId {
        self.invocation.id
    }

    /// FNV-1a of `interface-id/method-name`.
    pub fn method(&self) -> u32 {
        self.invocation.method
    }

    /// Answers that there is no such method.
    pub fn unimplemented(self) {
        self.refuse(Fault::new(
            Code::Unimplemented,
            "the object has no such method",
        ));
    }

    /// Answers with an error, without running anything.
    pub(crate) fn refuse(self, fault: Fault) {
        let Incoming {
            conn, invocation, ..
        } = self;
        observe::ended(conn, invocation.id, Some(fault.code));
        conn.with(|session| {
            session.discard(invocation.caps);
            session.respond(invocation.id, Reply::Fault(fault));
        });
    }

    /// Answers with an encoded value that holds no references.
    pub(crate) fn answer(self, value: &[u8]) {
        let Incoming {
            conn, invocation, ..
        } = self;
        observe::ended(conn, invocation.id, None);
        conn.with(|session| {
            session.discard(invocation.caps);
            session.respond(invocation.id, Reply::Value(value, &[]));
        });
    }

    /// Runs a method: `make` decodes the arguments and enters the object, inside the future that it returns.
    pub fn serve<M: Typed, E: CallFailure, F>(self, make: impl FnOnce(&Cx, Args) -> F)
    where
        F: Future<Output = Result<M::T, E>> + Send + 'static,
    {
        self.run::<M, E, F>(false, make);
    }

    /// As [`serve`](Self::serve), for a method that runs on when its session is lost.
    pub fn serve_detached<M: Typed, E: CallFailure, F>(self, make: impl FnOnce(&Cx, Args) -> F)
    where
        F: Future<Output = Result<M::T, E>> + Send + 'static,
    {
        self.run::<M, E, F>(true, make);
    }

    pub(crate) fn run<M: Written, E: CallFailure, F>(
        self,
        detached: bool,
        make: impl FnOnce(&Cx, Args) -> F,
    ) where
        F: Future<Output = Result<M::T, E>> + Send + 'static,
    {
        let Incoming {
            conn,
            replies,
            invocation,
        } = self;
        let (id, kind, method) = (invocation.id, invocation.kind, invocation.method);
        let deadline = invocation.deadline().map(|at| conn.instant_of(at));
        let ours = invocation.deadline_is_ours();
        let (depth, chain) = (invocation.depth, invocation.chain());
        let mut cx = match replies.cx.take() {
            Some(cx) => cx.renewed(deadline, depth, chain),
            None => Cx::incoming(Some(conn.peer.clone()), deadline, depth, chain),
        };
        let trace = observe::trace_of(conn, &invocation);
        let traced = trace.is_some();
        if let Some(trace) = trace {
            cx = cx.traced(trace);
        }
        let lends = invocation
            .caps
            .iter()
            .any(|cap| matches!(cap, Received::Import { lent: true, .. }));
        let lease = lends.then(Lease::new);
        let plain = invocation.caps.is_empty();
        let caps = if plain {
            None
        } else {
            InCaps::new(conn, invocation.caps, lease.clone())
        };
        let long = spent::is_long(invocation.args.len()).then(|| invocation.args.to_bytes());
        let mut place = Place::<F>::kept();
        place.set(Some(make(&cx, Args::new(invocation.args, caps))));
        let mut cx = Some(cx);
        // The one poll in place; a method that waits is polled again at once by its own task.
        let task = &mut Context::from_waker(Waker::noop());
        // A result is not moved before it is known to be good: mostly it is a few bytes, and an error is many.
        match poll_caught(&mut cx, conn, id, &mut place, task) {
            Poll::Ready(Ok(value)) => {
                place.set(None);
                let answering = Answering {
                    conn,
                    id,
                    kind,
                    lease,
                };
                // What brought references is answered under the lock, which lets them go; what changed shared values
                // that the caller follows says so.
                let in_turn = plain && !conn.has_changes();
                answering.answer::<M>(value, Some(&mut *replies).filter(|_| in_turn));
            }
            Poll::Ready(Err(error)) => {
                place.set(None);
                let answering = Answering {
                    conn,
                    id,
                    kind,
                    lease,
                };
                answering.fail(error);
            }
            Poll::Pending => {
                let call = Waits {
                    conn: conn.clone(),
                    id,
                    kind,
                    lease,
                    cx,
                    method,
                    deadline,
                    ours,
                    detached,
                    long,
                };
                return spawn::<M, E, F>(call, *place);
            }
        }
        Place::keep(place);
        if !traced {
            replies.cx = cx;
        }
        // Freed once this turn's replies are out.
        replies.spent.extend(long);
    }
}

/// Memory for the future of a method.
type Place<F> = Pin<Box<Option<F>>>;

/// A call that is done in place leaves its memory to the next one on this thread, which mostly is of the same method.
trait Kept: Sized {
    fn kept() -> Box<Self>;
    fn keep(place: Box<Self>);
}

thread_local! {
    static KEPT: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

impl<F: 'static> Kept for Place<F> {
    fn kept() -> Box<Place<F>> {
        let kept = KEPT.take().and_then(|kept| kept.downcast().ok());
        kept.unwrap_or_else(|| Box::new(Box::pin(None)))
    }

    fn keep(place: Box<Place<F>>) {
        if size_of::<F>() <= KEEP_MAX {
            KEPT.with(|kept| kept.set(Some(place)));
        }
    }
}

fn poll_caught<T, E: CallFailure>(
    cx: &mut Option<Cx>,
    conn: &Conn,
    id: IncomingId,
    place: &mut Place<impl Future<Output = Result<T, E>>>,
    task: &mut Context<'_>,
) -> Poll<Result<T, E>> {
    let Some(future) = place.as_mut().as_pin_mut() else {
        return Poll::Pending;
    };
    let entered = observe::enter(conn, id);
    note_changes();
    let polled = catch_unwind(AssertUnwindSafe(|| Cx::enter(cx, || future.poll(task))));
    take_changes(conn, id);
    if entered {
        observe::exit(conn, id);
    }
    polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic).into())))
}

/// A call whose method waits.
struct Waits {
    conn: Arc<Conn>,
    id: IncomingId,
    kind: CallKind,
    lease: Option<Lease>,
    cx: Option<Cx>,
    /// Hash of its name.
    method: u32,
    deadline: Option<Instant>,
    /// The deadline is this side's own.
    ours: bool,
    detached: bool,
    long: Option<Bytes>,
}

fn spawn<M: Written, E: CallFailure, F>(call: Waits, mut future: Place<F>)
where
    F: Future<Output = Result<M::T, E>> + Send + 'static,
{
    let Waits {
        conn,
        id,
        kind,
        lease,
        mut cx,
        method: name,
        deadline,
        ours,
        detached,
        long,
    } = call;
    let (handle, registration) = AbortHandle::new_pair();
    conn.add_running(id, Method::new(handle, name, detached, deadline));
    let since = ours.then(Instant::now);
    let (of, to) = (conn.clone(), conn.clone());
    let method = std::future::poll_fn(move |task| poll_caught(&mut cx, &of, id, &mut future, task));
    let task = async move {
        let limited = async {
            match deadline {
                None => Some(method.await),
                Some(at) => tokio::time::timeout_at(at, method).await.ok(),
            }
        };
        // What an aborted or late method held is dropped here, before its call is answered.
        let result = match Abortable::new(limited, registration).await {
            Ok(Some(result)) => result,
            Ok(None) => {
                to.counters.ended_late();
                if let Some(since) = since {
                    overdue(&to, id, name, since);
                }
                Err(RpcError::Deadline.into())
            }
            Err(_) => Err(RpcError::Cancelled.into()),
        };
        to.remove_running(id);
        let answering = Answering {
            conn: &to,
            id,
            kind,
            lease,
        };
        match result {
            Ok(value) => answering.answer::<M>(value, None),
            Err(error) => answering.fail(error),
        }
        if let Some(long) = long {
            spent::free(vec![long]);
        }
    };
    tokio::spawn(
        AssertUnwindSafe(task.boxed())
            .catch_unwind()
            .map(move |done| {
                done.unwrap_or_else(|panic| answer_panic(&conn, id, &*panic));
            }),
    );
}

/// A method was dropped because this side's own deadline passed: its caller may be right, and the method wrong.
#[cold]
fn overdue(conn: &Conn, id: IncomingId, method: u32, since: Instant) {
    tracing::warn!(
        peer = %observe::PeerName(&conn.peer),
        method = %observe::method_of(conn, id, method),
        after = ?since.elapsed(),
        "a method took longer than `handler_deadline` and was dropped"
    );
}

/// What is left to user code around a method panicked: a `Drop`, or the `Display` of its error. A call that was answered
/// stays so.
pub(crate) fn answer_panic(conn: &Conn, id: IncomingId, panic: &(dyn Any + Send)) {
    let fault = panicked(panic).to_fault();
    conn.remove_running(id);
    drop(conn.take_changes(id));
    observe::ended(conn, id, Some(fault.code));
    conn.with(|session| session.respond(id, Reply::Fault(fault)));
}

impl Answering<'_> {
    /// Encodes a result and sends it. `replies` of the turn: the call was done in place, and brought no references, so
    /// nothing has to expire. They are handed to the session after the batch.
    #[inline]
    fn answer<M: Written>(self, value: M::T, replies: Option<&mut Replies>) {
        self.expire();
        if self.kind == CallKind::Tell {
            drop(value);
            match replies {
                Some(replies) => {
                    replies.told.push(self.id);
                    observe::ended(self.conn, self.id, None);
                }
                None => self.send(Reply::Value(&[], &[])),
            }
            return;
        }
        if let Some(bulk) = M::bulk(&value).filter(|_| self.kind == CallKind::Call) {
            let mut head = Vec::with_capacity(8);
            frame::put_bin_head(&mut head, bulk.len());
            let mut rope = Rope::from(Bytes::from(head));
            rope.push(bulk.clone());
            return self.send(Reply::Rope(&rope, &[]));
        }
        if let Some(replies) = replies.filter(|_| self.kind == CallKind::Call) {
            match self.write::<M>(&value, replies) {
                Ok(None) => {}
                Ok(Some((bytes, caps))) if bytes.len() > PAYLOAD_MAX => {
                    self.send_long(&bytes, caps.as_deref());
                }
                Ok(Some((bytes, caps))) => self.send_value(&bytes, caps.as_deref()),
                Err(error) => self.fail::<RpcError>(error),
            }
            return;
        }
        let mut caps = None;
        let Scratch(bytes) = &mut Scratch::take();
        match self.encode::<M>(&value, bytes, &mut caps) {
            Ok(()) if bytes.len() > PAYLOAD_MAX => {
                self.send_long(&Bytes::from(std::mem::take(bytes)), caps.as_deref());
            }
            Ok(()) => self.send_value(bytes, caps.as_deref()),
            Err(error) => self.fail::<RpcError>(error),
        }
        // References inside are let go only after the frame that names them (R4).
        drop(value);
    }

    /// R3: lent references are dead before RET is queued.
    #[inline]
    fn expire(&self) {
        if let Some(lease) = &self.lease {
            lease.end();
        }
    }

    /// Writes a RET among the turn's replies. A value with references, or one that is too long, is given back instead.
    fn write<M: Written>(
        &self,
        value: &M::T,
        replies: &mut Replies,
    ) -> Result<Option<Apart>, RpcError> {
        let start = replies.frames.len();
        frame::write_ret(
            &mut replies.frames,
            self.id.as_call().unwrap_or_default(),
            &[],
            &[],
            &[],
        );
        let head = replies.frames.len();
        let mut caps = None;
        let result = self.encode::<M>(value, &mut replies.frames, &mut caps);
        if result.is_err() || caps.is_some() || replies.frames.len() - head > PAYLOAD_MAX {
            // A long value keeps the buffer; what stood before it is short.
            let before = replies.frames.get(..start).unwrap_or_default().to_vec();
            let whole = Bytes::from(std::mem::replace(&mut replies.frames, before));
            return result.map(|()| Some((whole.slice(head..), caps)));
        }
        replies.done.push((self.id, replies.frames.len() as u32));
        observe::ended(self.conn, self.id, None);
        Ok(None)
    }

    /// A `Serialize` that panics fails its own call, as the method would.
    fn encode<M: Written>(
        &self,
        value: &M::T,
        bytes: &mut Vec<u8>,
        caps: &mut Option<Box<OutCaps>>,
    ) -> Result<(), RpcError> {
        let encode = || M::encode(self.conn, value, bytes, caps);
        catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    fn send_value(&self, bytes: &[u8], caps: Option<&OutCaps>) {
        let caps = caps.map(|caps| &caps.caps[..]).unwrap_or_default();
        match caps {
            [cap] if bytes == [0xd4, 1, 0] && self.kind == CallKind::Open => {
                self.send(Reply::Handle(cap.clone()));
            }
            _ => self.send(Reply::Value(bytes, caps)),
        }
    }

    /// A value that goes in parts (R18).
    fn send_long(&self, bytes: &Bytes, caps: Option<&OutCaps>) {
        let caps = caps.map(|caps| &caps.caps[..]).unwrap_or_default();
        self.send(Reply::Shared(bytes, caps));
    }

    fn send(&self, reply: Reply<'_, ObjectRef>) {
        let code = match &reply {
            Reply::Fault(fault) => Some(fault.code),
            _ => None,
        };
        observe::ended(self.conn, self.id, code);
        let changed = self.conn.take_changes(self.id);
        self.conn.with(|session| match &*changed {
            [] => session.respond(self.id, reply),
            changed => session.respond_changed(self.id, reply, changed),
        });
    }

    #[cold]
    fn fail<E: CallFailure>(&self, error: E) {
        self.expire();
        let fault = match error.split() {
            Ok(failure) => Fault::app(&failure.message, failure.data),
            Err(error) => error.to_fault(),
        };
        self.send(Reply::Fault(fault));
    }
}
