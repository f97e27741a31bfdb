//! A stream of this process that a peer reads: an object of the node, and the task that runs it. The task polls the
//! stream while there is credit, and packs what is ready into one DATA.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use helve_handles::objects::Identity;
use helve_handles::schema::{InterfaceDesc, Schema};
use helve_handles::wire::Wire;
use helve_protocol::session::StreamKey;
use helve_protocol::{Fault, frame};

use super::source::Source;
use super::{SENT, Streaming};
use crate::call::panicked;
use crate::caps::{self, OutCaps};
use crate::connection::Conn;
use crate::dispatch::Incoming;
use crate::error::RpcError;
use crate::node::{AnyObject, Node, ObjectRef};

/// A DATA is sent when it holds so much, even if more is ready: its reader begins while the rest is packed.
const PACK: usize = 16 << 10;

/// What a stream is called where an interface is asked for. It has no methods: a call is UNIMPLEMENTED.
pub(super) static STREAM: InterfaceDesc = InterfaceDesc {
    id: "helve.Stream",
    docs: "",
    methods: &[],
};

/// A stream as an object of a node, until it runs.
pub(crate) struct Outlet<T>(Arc<Mutex<Option<Source<T>>>>);

impl<T: Wire> Outlet<T> {
    pub(super) fn new(source: Source<T>) -> Self {
        Outlet(Arc::new(Mutex::new(Some(source))))
    }
}

impl<T: Wire> AnyObject for Outlet<T> {
    fn dispatch(&self, call: Incoming<'_>) {
        call.unimplemented();
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn interface_id(&self) -> &'static str {
        STREAM.id
    }
    fn identity(&self) -> Identity {
        Identity {
            address: Arc::as_ptr(&self.0).addr(),
            interface: 0,
        }
    }
    fn is_revoked(&self) -> bool {
        false
    }
    fn schema(&self) -> Option<Arc<Schema>> {
        Some(Schema::of::<Streaming<T>>())
    }
    fn enter(&self, node: &Arc<Node>) -> Option<ObjectRef> {
        Some(node.export(Outlet(self.0.clone())))
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn run_stream(&self, conn: &Arc<Conn>, key: StreamKey) {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(source) = source else {
            let fault = RpcError::Encode(SENT.into()).to_fault();
            return conn.with(|session| session.end_stream(key, Some(fault)));
        };
        let run = Run {
            conn: conn.clone(),
            key,
            source,
            packed: VecDeque::new(),
            end: None,
        };
        let conn = conn.clone();
        // A `Drop` of an item may panic: that ends the stream, and its reader is told.
        tokio::spawn(AssertUnwindSafe(run).catch_unwind().map(move |done| {
            if let Err(panic) = done {
                let fault = panicked(&*panic).to_fault();
                conn.with(|session| session.end_stream(key, Some(fault)));
            }
        }));
    }
}

/// The task of one stream.
struct Run<T> {
    conn: Arc<Conn>,
    key: StreamKey,
    source: Source<T>,
    /// Packed, and not sent.
    packed: VecDeque<Packed<T>>,
    /// How the stream ends once that is sent.
    end: Option<Option<Fault>>,
}

/// The items of one DATA.
struct Packed<T> {
    items: Bytes,
    caps: Option<Box<OutCaps>>,
    /// The item that the references stand in: they live until the frame that names them is written (R4).
    _kept: Option<T>,
}

impl<T> Unpin for Run<T> {}

impl<T: Wire> Future for Run<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        loop {
            let waker = task.waker();
            if let Some(packed) = me.packed.front() {
                let caps = packed.caps.as_deref();
                let caps = caps.map(|caps| &caps.caps[..]).unwrap_or_default();
                let sent = me
                    .conn
                    .with(|session| session.poll_send(me.key, &packed.items, caps, waker));
                match ready!(sent) {
                    Ok(()) => _ = me.packed.pop_front(),
                    Err(fault) => {
                        // Nothing, where the reader has gone.
                        me.conn
                            .with(|session| session.end_stream(me.key, Some(fault)));
                        return Poll::Ready(());
                    }
                }
                continue;
            }
            if let Some(end) = me.end.take() {
                me.conn.with(|session| session.end_stream(me.key, end));
                return Poll::Ready(());
            }
            if ready!(me.conn.with(|session| session.poll_data(me.key, waker))).is_err() {
                return Poll::Ready(());
            }
            ready!(me.pack(task));
        }
    }
}

impl<T: Wire> Run<T> {
    /// Takes what is ready, as far as it fits into one DATA. `Pending`: nothing is.
    fn pack(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let (mut items, mut count) = (Vec::new(), 0);
        while items.len() < PACK {
            let item = match self.source.poll(task) {
                Poll::Ready(Some(Ok(item))) => item,
                Poll::Ready(Some(Err(error))) => {
                    self.end = Some(Some(error.to_fault()));
                    break;
                }
                Poll::Ready(None) => {
                    self.end = Some(None);
                    break;
                }
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            };
            let (start, mut caps) = (items.len(), None);
            let encode = || caps::encode_wire(&self.conn, &item, &mut items, &mut caps);
            let encoded = catch_unwind(AssertUnwindSafe(encode));
            if let Err(error) = encoded.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                items.truncate(start);
                self.end = Some(Some(error.to_fault()));
                break;
            }
            // An item with references, or a large one, goes alone: it starts at index 0, and lets others by.
            if caps.is_some() || items.len() - start > PACK {
                let alone = items.split_off(start);
                self.put(count, items, None, None);
                self.put(1, alone, caps, Some(item));
                return Poll::Ready(());
            }
            count += 1;
        }
        self.put(count, items, None, None);
        Poll::Ready(())
    }

    fn put(&mut self, count: usize, items: Vec<u8>, caps: Option<Box<OutCaps>>, kept: Option<T>) {
        if count == 0 {
            return;
        }
        let mut array = Vec::with_capacity(items.len() + 5);
        frame::put_array(&mut array, count);
        array.extend_from_slice(&items);
        self.packed.push_back(Packed {
            items: array.into(),
            caps,
            _kept: kept,
        });
    }
}
