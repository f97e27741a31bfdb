//! A `tracing` span for each call: of those that come in at target `helve::serve`, of those that go out at target
//! `helve::call`, both at level `DEBUG`. Opened by `dispatch` and `call`, and only where a subscriber wants them: else a
//! call costs one branch here.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use helve_handles::schema::InterfaceDesc;
use helve_protocol::session::{IncomingId, Invocation};
use helve_protocol::{Code, Fault};
use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use crate::connection::{Conn, RemoteRef};
use crate::context::{CallCx, Cx};
use crate::node::ObjectRef;
use crate::peer::Peer;
use crate::trace::Trace;

/// The interface of a handle. Asked for only when a name is needed.
pub(crate) type Interface = fn() -> &'static InterfaceDesc;

/// The span of a call that came in.
pub(crate) struct Serving {
    span: Span,
    /// What the handler's context carries: the caller's trace, with this span as its parent.
    trace: Option<Arc<Trace>>,
}

/// The spans of the calls that a connection answers. Whether there are any does not follow from the level of now: it
/// may have been another when they were opened.
#[derive(Default)]
pub(crate) struct Spans {
    any: AtomicBool,
    open: Mutex<HashMap<IncomingId, Serving>>,
}

impl Spans {
    /// One load.
    #[inline(always)]
    fn any(&self) -> bool {
        // A call is polled and ended after it was started, so what this thread sees is new enough.
        self.any.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IncomingId, Serving>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: IncomingId, serving: Serving) {
        let mut open = self.lock();
        open.insert(id, serving);
        self.any.store(true, Ordering::Relaxed);
    }

    fn remove(&self, id: IncomingId) -> Option<Serving> {
        let mut open = self.lock();
        let removed = open.remove(&id);
        self.any.store(!open.is_empty(), Ordering::Relaxed);
        removed
    }
}

/// Whether spans of level `DEBUG` may be wanted: one load.
#[inline(always)]
fn any() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
}

/// Opens the span of a call that came in, if anybody looks. It is kept beside the connection, so that calls without one
/// carry no room for it.
#[inline]
pub(crate) fn start(conn: &Conn, object: &ObjectRef, invocation: &Invocation<ObjectRef>) {
    if any() {
        open_serving(conn, object, invocation);
    }
}

#[cold]
fn open_serving(conn: &Conn, object: &ObjectRef, invocation: &Invocation<ObjectRef>) {
    if !tracing::span_enabled!(target: "helve::serve", Level::DEBUG) {
        return;
    }
    let local = &object.0.local;
    let (id, name) = (invocation.method, local.method_name(invocation.method));
    let method = MethodName {
        interface: local.interface_id(),
        name,
        id,
    };
    let trace = Trace::came(invocation.trace()).map(|came| Trace::new(came.parent.child()));
    let span = tracing::span!(
        target: "helve::serve",
        Level::DEBUG,
        "serve",
        otel.kind = "server",
        peer = %PeerName(&conn.peer),
        %method,
        id = invocation.id.as_call(),
        depth = invocation.depth,
        trace_id = Empty,
        span_id = Empty,
        outcome = Empty,
    );
    note(&span, trace.as_deref());
    conn.spans.insert(invocation.id, Serving { span, trace });
}

/// Enters the span of a call that came in, before its handler is polled. `true`: [`exit`] it afterwards. No panic gets
/// past there, so there is no guard: it would cost the calls that have no span.
#[inline]
pub(crate) fn enter(conn: &Conn, id: IncomingId) -> bool {
    #[cold]
    fn find(conn: &Conn, id: IncomingId) -> bool {
        let span = conn
            .spans
            .lock()
            .get(&id)
            .map(|serving| serving.span.clone());
        span.and_then(|span| span.with_subscriber(|(id, to)| to.enter(id)))
            .is_some()
    }
    conn.spans.any() && find(conn, id)
}

/// Leaves it.
#[cold]
pub(crate) fn exit(conn: &Conn, id: IncomingId) {
    let span = conn
        .spans
        .lock()
        .get(&id)
        .map(|serving| serving.span.clone());
    if let Some(span) = span {
        span.with_subscriber(|(id, to)| to.exit(id));
    }
}

/// The trace that the context of its handler has: the caller's, seen from the span if there is one.
#[inline]
pub(crate) fn trace_of(conn: &Conn, invocation: &Invocation<ObjectRef>) -> Option<Arc<Trace>> {
    #[cold]
    fn find(conn: &Conn, invocation: &Invocation<ObjectRef>) -> Option<Arc<Trace>> {
        let own = conn
            .spans
            .lock()
            .get(&invocation.id)
            .and_then(|span| span.trace.clone());
        own.or_else(|| Trace::came(invocation.trace()))
    }
    if invocation.trace().is_empty() {
        None
    } else {
        find(conn, invocation)
    }
}

/// Says how a call that came in was answered, and closes its span. `None`: with a value.
#[inline]
pub(crate) fn ended(conn: &Conn, id: IncomingId, code: Option<Code>) {
    #[cold]
    fn close(conn: &Conn, id: IncomingId, code: Option<Code>) {
        if let Some(serving) = conn.spans.remove(id) {
            serving.span.record("outcome", outcome(code));
        }
    }
    if conn.spans.any() {
        close(conn, id, code);
    }
}

/// What few calls that go out have: a trace that they carry, and a span where somebody looks.
pub(crate) struct Calling {
    trace: Option<Arc<Trace>>,
    span: Option<Span>,
}

impl Calling {
    /// What a call has that is about to be sent. `own` is a trace of its own, which counts before that of its context.
    #[inline]
    pub(crate) fn new(
        remote: &RemoteRef,
        method: u32,
        cx: &CallCx,
        own: Option<&Arc<Trace>>,
    ) -> Option<Box<Calling>> {
        if cx.traced || own.is_some() || any() {
            open_calling(remote, method, cx, own)
        } else {
            None
        }
    }

    /// As it goes with the call.
    pub(crate) fn trace(&self) -> &str {
        self.trace.as_ref().map_or("", |trace| trace.text())
    }

    /// Says how the call ended. `None`: with a value.
    #[cold]
    pub(crate) fn end(&self, code: Option<Code>) {
        self.note(outcome(code));
    }

    /// The same for a call whose end this side does not wait for: its handle or its receipt tells.
    #[cold]
    pub(crate) fn sent(&self, fault: Option<&Fault>) {
        self.note(fault.map_or("sent", |fault| outcome(Some(fault.code))));
    }

    fn note(&self, outcome: &str) {
        if let Some(span) = &self.span {
            span.record("outcome", outcome);
        }
    }
}

/// The span is below the one that is current, and the parent of the trace that the call carries.
#[cold]
fn open_calling(
    remote: &RemoteRef,
    method: u32,
    cx: &CallCx,
    own: Option<&Arc<Trace>>,
) -> Option<Box<Calling>> {
    let trace = own.cloned().or_else(Cx::current_trace);
    if !tracing::span_enabled!(target: "helve::call", Level::DEBUG) {
        return trace.map(|trace| {
            Box::new(Calling {
                trace: Some(trace),
                span: None,
            })
        });
    }
    let interface = (remote.interface)();
    let method = MethodName {
        interface: interface.id,
        name: interface.method(method).map(|method| method.name),
        id: method,
    };
    let trace = trace.map(|above| Trace::new(above.parent.child()));
    let span = tracing::span!(
        target: "helve::call",
        Level::DEBUG,
        "call",
        otel.kind = "client",
        peer = %PeerName(&remote.conn.peer),
        %method,
        depth = cx.depth,
        trace_id = Empty,
        span_id = Empty,
        outcome = Empty,
    );
    note(&span, trace.as_deref());
    Some(Box::new(Calling {
        trace,
        span: Some(span),
    }))
}

fn note(span: &Span, trace: Option<&Trace>) {
    if let Some(trace) = trace {
        let (whole, own) = (trace.parent.trace_id(), trace.parent.parent_id());
        span.record("trace_id", display(format_args!("{whole:032x}")));
        span.record("span_id", display(format_args!("{own:016x}")));
    }
}

/// A word for how a call ended: `ok`, `app_error` for the method's own error, else the name of the code.
fn outcome(code: Option<Code>) -> &'static str {
    match code {
        None => "ok",
        Some(Code::App) => "app_error",
        Some(code) => code.name(),
    }
}

/// Who the peer proved to be; else where it connects from; else what it calls itself. Never its token.
pub(crate) struct PeerName<'a>(pub(crate) &'a Peer);

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.principal(), self.0.addr()) {
            (Some(principal), _) => f.write_str(principal),
            (None, Some(addr)) => addr.fmt(f),
            (None, None) => f.write_str(self.0.agent()),
        }
    }
}

/// The name of the method that answers a call, while its object is known.
#[cold]
pub(crate) fn method_of(conn: &Conn, call: IncomingId, id: u32) -> String {
    let object = conn.with(|session| session.serving(call));
    let local = object.as_ref().map(|object| &object.0.local);
    let method = MethodName {
        interface: local.map_or("?", |local| local.interface_id()),
        name: local.and_then(|local| local.method_name(id)),
        id,
    };
    method.to_string()
}

/// `demo.Cart/add`; the wire has only a hash, which stands in for a name that is not known here.
struct MethodName<'a> {
    interface: &'a str,
    name: Option<&'a str>,
    id: u32,
}

impl fmt::Display for MethodName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BUILT_IN: [(&str, &str); 3] = [
            ("helve.Object", "flush"),
            ("helve.Peer", "ping"),
            ("helve.Peer", "describe"),
        ];
        let built_in = || {
            let mut all = BUILT_IN.iter();
            all.find(|(of, name)| helve_handles::id::method_id(of, name) == self.id)
        };
        match (self.name, built_in()) {
            (Some(name), _) => write!(f, "{}/{name}", self.interface),
            (None, Some((of, name))) => write!(f, "{of}/{name}"),
            (None, None) => write!(f, "{}/#{:08x}", self.interface, self.id),
        }
    }
}
