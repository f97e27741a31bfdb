//! Forwarding between sessions (R9): an object that stands for a reference of another session. Sending such a reference
//! makes one ([`carry`], [`send`]); its calls are made in the other session as they come, by the connection task that
//! read them, so their order is the order of arrival; what becomes of them there is carried back by the connection task
//! of that session. No task of its own, no look into a payload, and never two sessions locked at once.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, ready};

use helve_handles::ObjectKey;
use helve_handles::objects::Identity;
use helve_handles::schema::{InterfaceDesc, Schema};
use helve_protocol::blob::Blob;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{
    Answer, Cap, ImportKey, IncomingId, Outgoing, Pulled, Received, Reply, Settled, StreamKey,
};
use helve_protocol::{Code, Fault};

use crate::connection::{Conn, RemoteRef};
use crate::context::MAX_DEPTH;
use crate::dispatch::Incoming;
use crate::node::{AnyObject, Exported, Node, ObjectRef};
use crate::observe::{self, Interface};
use crate::shared::{Forwarded, Publisher};

/// FNV-1a of `helve.Object/flush` (R12.6).
const FLUSH: u32 = helve_handles::id::method_id("helve.Object", "flush");

/// What is known of an interface here that only passes through: nothing.
pub(crate) fn unknown() -> &'static InterfaceDesc {
    const UNKNOWN: InterfaceDesc = InterfaceDesc {
        id: "?",
        docs: "",
        methods: &[],
    };
    &UNKNOWN
}

/// Stands in one node for a reference of a session that is not this node's own, or not this session's.
pub(crate) struct Relay {
    pub(crate) remote: Arc<RemoteRef>,
    /// Dead when the call ends that lent it: it may only be lent on (R3.4).
    lent: bool,
    /// Why it leads nowhere any more.
    broken: OnceLock<Fault>,
    /// The interface, where it is known: a server's root must describe itself.
    schema: OnceLock<Arc<Schema>>,
    /// It turned out to be a stream (R19).
    is_stream: AtomicBool,
    /// The stream has its task.
    runs: AtomicBool,
}

impl Relay {
    /// Notes the interface.
    pub(crate) fn describe(&self, schema: Arc<Schema>) {
        // The same whoever says it.
        let _ = self.schema.set(schema);
    }
}

/// The reference behind a relay, for who knows its interface.
pub(crate) fn typed(relay: &Relay, interface: Interface) -> Arc<RemoteRef> {
    let remote = &relay.remote;
    if (remote.interface)().id != unknown().id {
        return remote.clone();
    }
    let (conn, key) = (remote.conn.clone(), remote.key);
    conn.with(|session| session.retain(key));
    RemoteRef::new(conn, key, interface)
}

impl AnyObject for Relay {
    fn dispatch(&self, call: Incoming<'_>) {
        pass_on(&self.remote, call);
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn interface_id(&self) -> &'static str {
        (self.remote.interface)().id
    }
    fn method_name(&self, id: u32) -> Option<&'static str> {
        let method = (self.remote.interface)().method(id)?;
        Some(method.name)
    }
    fn identity(&self) -> Identity {
        Identity {
            address: Arc::as_ptr(&self.remote).addr(),
            interface: 0,
        }
    }
    fn is_revoked(&self) -> bool {
        self.broken.get().is_some()
    }
    fn cause(&self) -> Fault {
        let lost = || Fault::new(Code::Broken, LOST);
        self.broken.get().cloned().unwrap_or_else(lost)
    }
    fn schema(&self) -> Option<Arc<Schema>> {
        self.schema.get().cloned()
    }
    fn enter(&self, _: &Arc<Node>) -> Option<ObjectRef> {
        None
    }
    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        Some(Forwarded::of(&self.remote))
    }
    fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Acquire)
    }
    fn run_stream(&self, conn: &Arc<Conn>, key: StreamKey) {
        if !self.runs.swap(true, Ordering::AcqRel) {
            tokio::spawn(pump(self.remote.clone(), conn.clone(), key));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.remote.conn.relays.forget(self.remote.key);
    }
}

/// A relay that lives in some node.
#[derive(Clone)]
struct Place {
    node: Weak<Node>,
    relay: Weak<Exported<dyn AnyObject>>,
    /// The peer's object, where it stands by that name, too.
    object: Option<u64>,
}

impl Place {
    fn is_gone(&self) -> bool {
        self.relay.strong_count() == 0
    }

    fn is_in(&self, node: &Arc<Node>) -> bool {
        std::ptr::eq(self.node.as_ptr(), Arc::as_ptr(node))
    }
}

/// What one connection is to other sessions: who stands for its references there, and whose calls it makes.
#[derive(Default)]
pub(crate) struct Relays(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// By the reference that it holds.
    by_import: HashMap<ImportKey, Vec<Place>>,
    /// By the peer's object, once it is known: two references to it are one object elsewhere, too (R6.2).
    by_object: HashMap<u64, Vec<Place>>,
    /// Whose calls are under way here, by ticket.
    passed: HashMap<u64, Passed>,
}

/// A call that is under way in another session than it came in.
struct Passed {
    from: Arc<Conn>,
    id: IncomingId,
    what: What,
}

enum What {
    Plain,
    Flush,
    /// An OPEN; what it settles.
    Open(ImportKey),
}

impl Relays {
    /// Held for a look only. Under it the lock of a node may be taken, and nothing may be dropped that is more than a
    /// count.
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the relays of a reference that are gone.
    fn forget(&self, key: ImportKey) {
        let index = &mut *self.lock();
        let Some(places) = index.by_import.get_mut(&key) else {
            return;
        };
        for object in places.extract_if(.., |place| place.is_gone()) {
            let Some(object) = object.object else {
                continue;
            };
            if let Some(places) = index.by_object.get_mut(&object) {
                places.retain(|place| !place.is_gone());
                if places.is_empty() {
                    index.by_object.remove(&object);
                }
            }
        }
        if places.is_empty() {
            index.by_import.remove(&key);
        }
    }
}

/// The relay in this node among these.
fn find(places: Option<&Vec<Place>>, node: &Arc<Node>) -> Option<ObjectRef> {
    let mut here = places?.iter().filter(|place| place.is_in(node));
    here.find_map(|place| place.relay.upgrade().map(ObjectRef))
}

impl Index {
    fn note(&mut self, node: &Arc<Node>, relay: &ObjectRef, key: ImportKey, object: Option<u64>) {
        let place = Place {
            node: Arc::downgrade(node),
            relay: Arc::downgrade(&relay.0),
            object,
        };
        if let Some(object) = object {
            let places = self.by_object.entry(object).or_default();
            places.push(place.clone());
        }
        self.by_import.entry(key).or_default().push(place);
    }

    /// The relay of this reference stands for that object of the peer's from now on.
    fn name(&mut self, node: &Arc<Node>, key: ImportKey, object: u64) {
        let mut mine = self.by_import.get_mut(&key).into_iter().flatten();
        if let Some(mine) = mine.find(|place| place.is_in(node)) {
            mine.object = Some(object);
            let places = self.by_object.entry(object).or_default();
            places.push(mine.clone());
        }
    }
}

/// What stands for `remote` in this node, the same whenever it is sent (R6.2).
pub(crate) fn stand_in(node: &Arc<Node>, remote: &Arc<RemoteRef>) -> ObjectRef {
    let (conn, key) = (&remote.conn, remote.key);
    let (lent, object) = conn.with(|session| {
        let lent = session.is_lent(key);
        match session.identity(key) {
            Some(Settled::Remote(k)) if !lent => (lent, Some(k)),
            _ => (lent, None),
        }
    });
    let mut index = conn.relays.lock();
    let found = find(index.by_import.get(&key), node)
        .or_else(|| find(index.by_object.get(object.as_ref()?), node));
    if let Some(found) = found {
        return found;
    }
    let relay = Relay {
        remote: remote.clone(),
        lent,
        broken: OnceLock::new(),
        schema: OnceLock::new(),
        is_stream: AtomicBool::new(false),
        runs: AtomicBool::new(false),
    };
    let made = node.export(relay);
    index.note(node, &made, key, object);
    drop(index);
    // From here on its end is an event; it may have come before.
    if let Err(fault) = conn.with(|session| session.watch(key))
        && let Some(relay) = made.relay()
    {
        _ = relay.broken.set(outward(fault));
    }
    made
}

/// A reference of one session, as it is sent in another or in its own. `lend`: only until the call is answered.
pub(crate) fn send(
    to: &Arc<Conn>,
    remote: Arc<RemoteRef>,
    lend: bool,
    keep: &mut Vec<Arc<RemoteRef>>,
) -> Result<Cap<ObjectRef>, Fault> {
    if Arc::ptr_eq(&remote.conn, to) {
        // R8: it goes home as itself.
        let key = remote.key;
        keep.push(remote);
        return Ok(Cap::Import(key));
    }
    let relay = stand_in(&to.node, &remote);
    match relay.relay() {
        Some(Relay { lent: true, .. }) if !lend => Err(Fault::new(
            Code::Denied,
            "a lent handle can be lent on, not given away",
        )),
        _ if lend => Ok(Cap::Lent(relay)),
        _ => Ok(Cap::Given(relay)),
    }
}

/// A reference that came in one session, as it is sent in another (R9.2). `lends`: whether a lent one may be passed on,
/// which it is as lent.
fn carry(
    from: &Arc<Conn>,
    to: &Arc<Conn>,
    cap: Received<ObjectRef>,
    lends: bool,
    keep: &mut Vec<Arc<RemoteRef>>,
) -> Cap<ObjectRef> {
    let (remote, lent) = match cap {
        Received::Object(object) => match object.relay() {
            Some(relay) => (relay.remote.clone(), relay.lent),
            None => return Cap::Given(entry(&object, &to.node)),
        },
        Received::Import { key, lent } => (RemoteRef::new(from.clone(), key, unknown), lent),
        Received::Opened(c) => {
            let led = from.with(|session| {
                let led = session.led_to(c);
                session.release_opened(c);
                led
            });
            return match led {
                Some(led) => carry(from, to, led, lends, keep),
                None => Cap::Broken(not_yet()),
            };
        }
        Received::Broken(fault) => return Cap::Broken(fault),
    };
    send(to, remote, lent && lends, keep).unwrap_or_else(Cap::Broken)
}

/// An object of this process has an entry in each node.
pub(crate) fn entry(object: &ObjectRef, node: &Arc<Node>) -> ObjectRef {
    let entered = object.0.local.enter(node);
    entered.unwrap_or_else(|| object.clone())
}

/// Why what an OPEN leads to that has no answer cannot be named in another session.
pub(crate) fn not_yet() -> Fault {
    let text = "a handle on its way through has no object yet: await it first";
    Fault::new(Code::Unavailable, text)
}

/// Makes a call that came for a relay in the session that the relay leads to.
fn pass_on(remote: &Arc<RemoteRef>, call: Incoming<'_>) {
    let to = &remote.conn;
    let (from, mut invocation) = call.into_parts();
    let (id, kind) = (invocation.id, invocation.kind);
    if invocation.depth >= MAX_DEPTH {
        let fault = Fault::new(
            Code::Exhausted,
            "calls made inside calls are nested over 15 deep",
        );
        from.with(|session| session.discard(invocation.caps));
        return refuse(from, id, fault);
    }
    // Both hold what is named until the call is numbered or waits, which holds it itself (R4).
    let (mut caps, mut keep) = (Vec::new(), Vec::new());
    for cap in std::mem::take(&mut invocation.caps) {
        caps.push(carry(from, to, cap, kind != CallKind::Tell, &mut keep));
    }
    let trace = observe::trace_of(from, &invocation);
    let out = Outgoing {
        to: remote.key,
        method: invocation.method,
        args: (&invocation.args).into(),
        caps: &caps,
        deadline: invocation
            .deadline()
            .map(|at| to.time_at(from.instant_of(at))),
        depth: invocation.depth + 1,
        chain: invocation.chain(),
        trace: trace.as_ref().map_or("", |trace| trace.text()),
    };
    let opened = (kind == CallKind::Open).then(|| {
        let key = to.with(|session| session.reserve());
        let opened = RemoteRef::new(to.clone(), key, unknown);
        let relay = stand_in(&from.node, &opened);
        from.with(|session| session.lead(id, relay));
        key
    });
    let what = match opened {
        Some(key) => What::Open(key),
        None if invocation.method == FLUSH => What::Flush,
        None => What::Plain,
    };
    let now = to.now();
    let passed = to.with(|session| {
        session.set_now(now);
        let ticket = session.pass_on(kind, &out, invocation.others(), opened)?;
        // Noted before the answer can be seen by anybody.
        if kind != CallKind::Tell {
            from.add_passed(id, to.clone(), ticket);
        }
        let from = from.clone();
        let passed = Passed { from, id, what };
        to.relays.lock().passed.insert(ticket, passed);
        Ok(())
    });
    if let Err(fault) = passed {
        refuse(from, id, outward(fault));
    }
}

/// Answers a call that was not passed on.
fn refuse(from: &Conn, id: IncomingId, fault: Fault) {
    observe::ended(from, id, Some(fault.code));
    from.with(|session| session.respond(id, Reply::Fault(fault)));
}

/// What became of a call that was passed on into `at`.
/// `changed`: shared values of the peer there, and the revisions that they came to.
pub(crate) fn answered(
    at: &Arc<Conn>,
    ticket: u64,
    answer: Answer<ObjectRef>,
    changed: &[(ImportKey, u64)],
) {
    let passed = at.relays.lock().passed.remove(&ticket);
    let Some(Passed { from, id, what }) = passed else {
        return;
    };
    from.remove_running(id);
    observe::ended(&from, id, answer.as_ref().err().map(|fault| fault.code));
    let changed = crate::shared::changed_through(at, &from, changed);
    let mut keep = Vec::new();
    match (answer, what) {
        (Err(fault), _) => {
            from.with(|session| session.respond(id, Reply::Fault(outward(fault))));
        }
        (Ok(_), What::Flush) => from.with(|session| session.respond_flush(id)),
        (Ok(_), What::Open(key)) => {
            let identity = identity(at, &from, key, &mut keep);
            from.with(|session| session.settle_led(id, identity, &changed));
        }
        (Ok((value, caps)), What::Plain) => {
            let caps: Vec<_> = caps
                .into_iter()
                .map(|cap| carry(at, &from, cap, false, &mut keep))
                .collect();
            from.with(|session| session.respond_passed(id, &value, &caps, &changed));
        }
    }
}

/// Which object of session `to` the outcome of an OPEN in `at` is, if not just what its relay stands for.
fn identity(
    at: &Arc<Conn>,
    to: &Arc<Conn>,
    key: ImportKey,
    keep: &mut Vec<Arc<RemoteRef>>,
) -> Option<Cap<ObjectRef>> {
    match at.with(|session| session.identity(key))? {
        Settled::Remote(k) => {
            let mut index = at.relays.lock();
            if let Some(other) = find(index.by_object.get(&k), &to.node) {
                return Some(Cap::Given(other));
            }
            index.name(&to.node, key, k);
            None
        }
        Settled::Own(own) => {
            let own = Received::Object(at.node.object(own)?);
            Some(carry(at, to, own, false, keep))
        }
    }
}

/// A reference of `at` that is forwarded broke: everybody who holds it elsewhere is told (R9.5, R22.3).
pub(crate) fn broke(at: &Arc<Conn>, key: ImportKey, fault: Fault) {
    let fault = outward(fault);
    let places = at.relays.lock().by_import.get(&key).cloned();
    for place in places.into_iter().flatten() {
        let Some((node, object)) = place.node.upgrade().zip(place.relay.upgrade()) else {
            continue;
        };
        let object = ObjectRef(object);
        if let Some(relay) = object.relay() {
            _ = relay.broken.set(fault.clone());
        }
        let object: ObjectKey = object.key();
        for session in node.sessions() {
            session.with(|session| session.break_object(object, &fault));
        }
    }
}

/// A reference of `at` that is forwarded turned out to be a stream: it is one for who holds it elsewhere, too. Who gets
/// a name for it only later learns so then.
pub(crate) fn flows(at: &Arc<Conn>, key: ImportKey) {
    let places = at.relays.lock().by_import.get(&key).cloned();
    for place in places.into_iter().flatten() {
        let Some((node, object)) = place.node.upgrade().zip(place.relay.upgrade()) else {
            continue;
        };
        let object = ObjectRef(object);
        let Some(relay) = object.relay() else {
            continue;
        };
        relay.is_stream.store(true, Ordering::Release);
        for session in node.sessions() {
            match session.with(|session| session.start_stream(&object)) {
                // Who reads it is one: a stream is sent once.
                Ok(stream) => relay.run_stream(&session, stream),
                Err(fault) if fault.code == Code::Exhausted => {
                    let object: ObjectKey = object.key();
                    session.with(|session| session.break_object(object, &fault));
                }
                Err(_) => {}
            }
        }
    }
}

/// One DATA, the references in it, and what keeps them until it is written (R4).
type Carried = (Blob, Vec<Cap<ObjectRef>>, Vec<Arc<RemoteRef>>);

/// Carries a stream across: reads one DATA when another may be sent, so that no more waits here than the 64 KiB that
/// its producer may send unread.
async fn pump(from: Arc<RemoteRef>, to: Arc<Conn>, stream: StreamKey) {
    let mut next: Option<Carried> = None;
    std::future::poll_fn(|task| {
        let waker = task.waker();
        loop {
            if let Some((items, caps, _)) = &next {
                let sent = to.with(|session| session.poll_send(stream, items, caps, waker));
                if let Err(fault) = ready!(sent) {
                    to.with(|session| session.end_stream(stream, Some(outward(fault))));
                    return Poll::Ready(());
                }
                next = None;
            }
            // R19.5: its reader has gone.
            if ready!(to.with(|session| session.poll_data(stream, waker))).is_err() {
                return Poll::Ready(());
            }
            match ready!(
                from.conn
                    .with(|session| session.poll_items(from.key, waker))
            ) {
                Pulled::Items(items, caps) => {
                    let mut keep = Vec::new();
                    let mut carry = |cap| carry(&from.conn, &to, cap, false, &mut keep);
                    let caps: Vec<_> = caps.into_iter().map(&mut carry).collect();
                    next = Some((items, caps, keep));
                }
                Pulled::End(fault) => {
                    to.with(|session| session.end_stream(stream, fault.map(outward)));
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

const LOST: &str = "upstream session lost";

/// A fault of one session as it is told in another: what only this process knows is put into codes that travel (C1.2).
pub(crate) fn outward(fault: Fault) -> Fault {
    match fault.code {
        Code::SessionLost | Code::NotSent => Fault::new(Code::Broken, LOST),
        Code::MaybeRan => Fault::new(Code::Internal, LOST),
        Code::Expired => Fault::new(Code::Broken, "lent, and the call it was lent for is over"),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_local_code_leaves_the_process() {
        // R9.5, C1.2: a lost session says whether the method may have run, and a broken handle that it did not.
        let told = |code| outward(Fault::new(code, "here")).code;
        assert_eq!(told(Code::NotSent), Code::Broken);
        assert_eq!(told(Code::SessionLost), Code::Broken);
        assert_eq!(told(Code::Expired), Code::Broken);
        assert_eq!(told(Code::MaybeRan), Code::Internal);
        assert_eq!(told(Code::App), Code::App);
    }
}
