//! [`CallMut`]: a call that changes what its caller passes as `&mut`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use helve_handles::lease::Lease;
use helve_handles::patch::{raw::Raw, renumber};
use helve_handles::put::{put_array, put_nil};
use helve_handles::wire::{Typed, Wire};
use helve_protocol::Code;
use helve_protocol::blob::Blob;
use helve_protocol::limits::PAYLOAD_MAX;
use helve_protocol::session::{Answer, Cap, Object as _};
use tokio::time::Instant;

use super::form::caps_of;
use super::refarg::{Erased, RefArgs, Sent};
use super::{Back, Keeper, TOO_DEEP, is_too_deep, shared};
use crate::args::{Args, Put};
use crate::call::{Call, Local, Unsent};
use crate::caps::{self, InCaps, OutCaps};
use crate::codec::Scratch;
use crate::connection::{Conn, RemoteRef};
use crate::context::Cx;
use crate::dispatch::{Incoming, Written};
use crate::error::{CallFailure, RpcError};
use crate::generated::Fails;
use crate::handle::{Dispatch, Far, Near};
use crate::node::ObjectRef;
use crate::trace::TraceParent;

/// A call of a method that takes `&mut` arguments: a future that yields its result. The arguments have changed when it
/// does; where it fails, and where it is dropped before, they are as they were.
///
/// It borrows those arguments, `A`, and nothing else. It is sent when it is first polled, and cancelled when it is dropped
/// before it is done.
#[must_use = "a call is sent when it is awaited: `.await` it, or `.wait()` for it"]
pub struct CallMut<A, T, E = RpcError> {
    call: Call<Returned<T>, E>,
    refs: A,
    sent: Vec<(Sent, Mark)>,
    again: Option<Box<Again>>,
    erase: fn(&mut A) -> Vec<Box<dyn Erased + '_>>,
}

impl<A, T, E> Unpin for CallMut<A, T, E> {}

/// A result, and what became of each `&mut` argument (R24.2).
pub struct Returned<T> {
    result: T,
    backs: Vec<Back>,
}

impl<T> Returned<T> {
    /// All of it.
    pub fn new(result: T, backs: Vec<Back>) -> Returned<T> {
        Returned { result, backs }
    }
}

/// Where an argument stands among those of its call.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    start: usize,
    end: usize,
    first_cap: usize,
    end_cap: usize,
}

impl Mark {
    pub(super) fn around(
        put: &mut Put<'_>,
        write: impl FnOnce(&mut Put<'_>) -> Sent,
    ) -> (Sent, Mark) {
        let (start, first_cap) = (put.bytes.len(), caps_of(put));
        let sent = write(put);
        let mark = Mark {
            start,
            end: put.bytes.len(),
            first_cap,
            end_cap: caps_of(put),
        };
        (sent, mark)
    }
}

/// A call that may have to be made again with whole values, where the peer does not keep any more what was to change
/// (R24.6).
struct Again {
    remote: Arc<RemoteRef>,
    lease: Option<Lease>,
    method: u32,
    args: Bytes,
    caps: Option<Box<OutCaps>>,
}

/// A call that is about to be sent, with what has to be known when it returns.
pub struct Sending<T, E> {
    call: Call<Returned<T>, E>,
    sent: Vec<(Sent, Mark)>,
    again: Option<Box<Again>>,
}

/// Calls a remote object with `n` arguments, some of them `&mut`: `args` says where.
pub fn send_mut<M: Fails>(
    far: Far,
    method: u32,
    n: u32,
    args: impl FnOnce(&mut Put<'_>) -> Vec<(Sent, Mark)>,
) -> Sending<M::T, M::E> {
    let mut sent = Vec::new();
    let parts = far.encode(
        n,
        |put| sent = args(put),
        |far, bytes, caps| Ok((far, owned(bytes), caps)),
        Err,
    );
    let (far, args, caps) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            return Sending {
                call: Call::failed(error.into()),
                sent,
                again: None,
            };
        }
    };
    let (remote, lease) = far.into_parts();
    let again = Again {
        remote,
        lease,
        method,
        args,
        caps,
    };
    let is_change = sent.iter().any(|(sent, _)| sent.is_delta());
    Sending {
        call: again.call(again.args.clone(), again.caps.as_deref().map(OutCaps::copy)),
        sent,
        again: is_change.then(|| Box::new(again)),
    }
}

/// What was written; a long one is taken over instead of copied.
fn owned(bytes: &mut Vec<u8>) -> Bytes {
    match bytes.len() > PAYLOAD_MAX {
        true => std::mem::take(bytes).into(),
        false => Bytes::copy_from_slice(bytes),
    }
}

/// Calls an object of this process.
pub fn call_mut<M: Fails, D: ?Sized + Dispatch>(
    near: Near<D>,
    f: impl FnOnce(Arc<D>) -> Local<Returned<M::T>, M::E> + Send + 'static,
) -> Sending<M::T, M::E> {
    Sending {
        call: near.call(f),
        sent: Vec::new(),
        again: None,
    }
}

impl Again {
    fn call<T: Wire, E: CallFailure>(
        &self,
        args: Bytes,
        caps: Option<Box<OutCaps>>,
    ) -> Call<Returned<T>, E> {
        let unsent = Unsent::of(Blob::from(args), caps);
        let (remote, lease) = (self.remote.clone(), self.lease.clone());
        Call::remote_with(remote, lease, self.method, unsent, decode::<T, E>)
    }

    /// Whether one of the arguments is a stream, which can be sent but once.
    fn holds_a_stream(&self) -> bool {
        let is_stream =
            |cap: &Cap<ObjectRef>| matches!(cap, Cap::Given(object) if object.is_stream());
        self.caps
            .as_ref()
            .is_some_and(|caps| caps.caps.iter().any(is_stream))
    }

    /// The same call, with whole values in place of what was `sent`.
    fn whole<T: Wire, E: CallFailure>(
        &self,
        sent: &mut [(Sent, Mark)],
        refs: &mut [Box<dyn Erased + '_>],
    ) -> Result<Call<Returned<T>, E>, RpcError> {
        let Scratch(bytes) = &mut Scratch::take();
        let mut put = Put {
            conn: &self.remote.conn,
            bytes,
            caps: None,
            failed: None,
            rope: None,
        };
        let mut from = (0, 0);
        for ((sent, mark), arg) in sent.iter_mut().zip(refs) {
            self.copy(from, (mark.start, mark.first_cap), &mut put);
            from = (mark.end, mark.end_cap);
            *sent = arg.put_whole(&mut put).0;
        }
        let all = self.caps.as_ref().map_or(0, |caps| caps.caps.len());
        self.copy(from, (self.args.len(), all), &mut put);
        let Put {
            mut caps, failed, ..
        } = put;
        if let Some(trace) = self.caps.as_ref().and_then(|caps| caps.trace.clone()) {
            caps.get_or_insert_default().trace = Some(trace);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(self.call(owned(bytes), caps)),
        }
    }

    /// Copies what stands between two places, each a byte and a reference.
    fn copy(&self, from: (usize, usize), to: (usize, usize), put: &mut Put<'_>) {
        let bytes = self.args.get(from.0..to.0).unwrap_or_default();
        let Some(caps) = self.caps.as_ref().filter(|caps| !caps.caps.is_empty()) else {
            put.bytes.extend_from_slice(bytes);
            return;
        };
        let base = caps_of(put);
        // In the order in which they stand there (E6.11).
        let place = |index: usize| index.wrapping_sub(from.1).wrapping_add(base);
        if renumber(bytes, put.bytes, place).is_none() {
            put.fail(RpcError::Encode(caps::TOO_MANY.into()));
        }
        if let Some(part) = caps.caps.get(from.1..to.1).filter(|part| !part.is_empty()) {
            let out = put.caps.get_or_insert_default();
            out.caps.extend_from_slice(part);
            out.keep.clone_from(&caps.keep);
        }
    }
}

impl<A, T: Wire, E: CallFailure> CallMut<A, T, E> {
    /// A call with these `&mut` arguments.
    pub fn new<M>(sending: Sending<T, E>, refs: A) -> Self
    where
        A: RefArgs<M>,
    {
        let Sending { call, sent, again } = sending;
        let mut call = CallMut {
            call,
            refs,
            sent,
            again,
            erase: A::erased,
        };
        if call
            .again
            .as_ref()
            .is_some_and(|again| again.holds_a_stream())
        {
            call.make_again();
        }
        call
    }

    /// Gives up after `after`, as [`Call::deadline`] does. The arguments are then as they were.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.call = self.call.deadline(after);
        self
    }

    /// Makes the call part of a trace, as [`Call::traceparent`] does.
    pub fn traceparent(mut self, parent: TraceParent) -> Self {
        if let Some(again) = &mut self.again {
            let trace = Some(crate::trace::Trace::new(parent));
            again.caps.get_or_insert_default().trace = trace;
        }
        self.call = self.call.traceparent(parent);
        self
    }

    /// Makes the call again, with whole values. Says whether there was a way to.
    fn make_again(&mut self) -> bool {
        let Some(again) = self.again.take() else {
            return false;
        };
        let until = self.call.gives_up_at();
        let call = again.whole(&mut self.sent, &mut (self.erase)(&mut self.refs));
        self.call = call.unwrap_or_else(|error| Call::failed(error.into()));
        self.call.give_up_at(until);
        true
    }

    /// One step. `Some` is the result.
    pub(crate) fn step(&mut self, task: &mut Context<'_>) -> Option<Result<T, E>> {
        let result = self.call.step(task)?;
        self.settle(result, |call| call.step(task))
    }

    /// Deals with an answer; `poll`s the call that is made instead, where one is.
    fn settle(
        &mut self,
        mut result: Result<Returned<T>, E>,
        poll: impl FnOnce(&mut Call<Returned<T>, E>) -> Option<Result<Returned<T>, E>>,
    ) -> Option<Result<T, E>> {
        let forgot = |result: &Result<_, E>| {
            result
                .as_ref()
                .is_err_and(|error| error.code() == Code::NeedSnapshot)
        };
        if forgot(&result) && self.make_again() {
            result = poll(&mut self.call)?;
        }
        Some(result.and_then(|returned| Ok(self.land(returned)?)))
    }

    /// Lets the arguments be what the method made of them: all, or none.
    fn land(&mut self, returned: Returned<T>) -> Result<T, RpcError> {
        let Returned { result, backs } = returned;
        let mut refs = (self.erase)(&mut self.refs);
        if backs.len() < refs.len() {
            return Err(RpcError::Internal(
                "its result does not say what became of each `&mut` argument".into(),
            ));
        }
        let mut prepared = Vec::with_capacity(backs.len());
        for (arg, back) in refs.iter_mut().zip(backs) {
            match arg.prepare(back) {
                Ok(back) => prepared.push(back),
                Err(error) => {
                    let before = prepared.len();
                    refs.iter_mut().take(before).for_each(|arg| arg.abandon());
                    return Err(error);
                }
            }
        }
        let mut sent = std::mem::take(&mut self.sent).into_iter();
        for (arg, back) in refs.iter_mut().zip(prepared) {
            let sent = sent.next().map(|(sent, _)| sent).unwrap_or_default();
            arg.land(back, sent)?;
        }
        Ok(result)
    }

    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        self.call.gives_up_at()
    }

    pub(crate) fn cancel(&mut self, why: Code) {
        self.call.cancel(why);
    }
}

impl<A, T: Wire, E: CallFailure> Future for CallMut<A, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        let mut poll = |call: &mut Call<Returned<T>, E>| match Pin::new(call).poll(task) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        let Some(result) = poll(&mut me.call) else {
            return Poll::Pending;
        };
        match me.settle(result, poll) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<A, T, E> std::fmt::Debug for CallMut<A, T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallMut")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// Reads `[result, back*]`.
fn decode<T: Wire, E: CallFailure>(
    conn: &Arc<Conn>,
    answer: Answer<ObjectRef>,
) -> Result<Returned<T>, E> {
    let (bytes, caps) = match answer {
        Ok(value) => value,
        Err(fault) if fault.code == Code::App => return Err(E::join(&fault.data)),
        Err(fault) => return Err(RpcError::from_fault(&fault).into()),
    };
    let mut caps = InCaps::new(conn, caps, None);
    let Some((result, backs)) = split(&bytes) else {
        return Err(RpcError::Decode(
            "the result does not say what became of the `&mut` arguments".into(),
        )
        .into());
    };
    let result = match T::__take(result) {
        Some((value, len)) if len == result.len() => value,
        _ => caps::decode(result, &mut caps)?,
    };
    let back = |node: &[u8]| match node {
        [0xc0] => Back::Unchanged,
        node => Back::Node(caps::node(shared(bytes.shared(), node), &mut caps)),
    };
    let backs = backs.into_iter().map(back).collect();
    Ok(Returned { result, backs })
}

/// The values of an array with one value at least.
fn split(bytes: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let mut raw = Raw::new(bytes);
    let len = raw.array().ok()?;
    let mut next = || {
        let start = raw.pos();
        raw.skip(u32::MAX).ok()?;
        Some(raw.since(start))
    };
    let result = next()?;
    let backs = (1..len).map(|_| next()).collect::<Option<_>>()?;
    Some((result, backs))
}

/// How the result of a method with `&mut` arguments is written.
enum WithBacks<M> {
    #[expect(dead_code, reason = "only the type is used")]
    Never(std::convert::Infallible, M),
}

impl<M: Typed> Written for WithBacks<M> {
    type T = Returned<M::T>;

    fn encode(
        conn: &Arc<Conn>,
        value: &Returned<M::T>,
        bytes: &mut Vec<u8>,
        caps: &mut Option<Box<OutCaps>>,
    ) -> Result<(), RpcError> {
        put_array(bytes, 1 + value.backs.len());
        let start = bytes.len();
        caps::encode_wire(conn, &value.result, bytes, caps)?;
        if is_too_deep(bytes.get(start..).unwrap_or_default()) {
            return Err(RpcError::Encode(TOO_DEEP.into()));
        }
        for back in &value.backs {
            match back {
                Back::Unchanged | Back::Value(_) => put_nil(bytes),
                Back::Node(node) => caps::put_node(conn, node, bytes, caps)?,
            }
        }
        Ok(())
    }
}

/// Serves a call with `&mut` arguments.
pub fn serve_mut<M: Fails, F>(
    call: Incoming<'_>,
    detached: bool,
    make: impl FnOnce(&Cx, Args, Keeper) -> F,
) where
    F: Future<Output = Result<Returned<M::T>, M::E>> + Send + 'static,
{
    let keeper = Keeper::new(call.conn().clone());
    call.run::<WithBacks<M>, M::E, F>(detached, |cx, args| make(cx, args, keeper));
}
