//! The objects of one server or client that peers hold: a slot map with one entry an object, however many sessions
//! hold it (`helve_handles::objects`). Objects enter when a handle to them is sent, and leave when no session holds
//! them any more.

use std::any::{Any, TypeId};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use helve_handles::objects::Identity;
use helve_handles::schema::Schema;
use helve_handles::{ObjectKey, Objects};
use helve_protocol::{Code, Fault, session};

use crate::builtin;
use crate::connection::Conn;
use crate::dispatch::Incoming;
use crate::error::RpcError;
use crate::handle::Dispatch;
use crate::relay::Relay;
use crate::shared::Publisher;

/// A local object of some interface, seen without its type.
pub(crate) trait AnyObject: Send + Sync + 'static {
    fn dispatch(&self, call: Incoming<'_>);
    /// The typed handle inside, for a handle that comes home (R8).
    fn as_any(&self) -> &dyn Any;
    fn interface_id(&self) -> &'static str;
    /// The name of a method, for logs. `None` where it is not known here.
    fn method_name(&self, _id: u32) -> Option<&'static str> {
        None
    }
    fn identity(&self) -> Identity;
    fn is_revoked(&self) -> bool;
    /// Whether [`is_revoked`](Self::is_revoked) may ever be true: asked once, when it enters a node.
    fn is_revocable(&self) -> bool {
        true
    }
    /// Why, once it is so: what BROKEN says.
    fn cause(&self) -> Fault {
        Fault::new(Code::Broken, "revoked")
    }
    /// The description of its interface (E5.5), where it is known.
    fn schema(&self) -> Option<Arc<Schema>>;
    /// Its entry in a node; `None` for what has none but its own.
    fn enter(&self, node: &Arc<Node>) -> Option<ObjectRef>;
    /// Whether it is a stream (R19).
    fn is_stream(&self) -> bool {
        false
    }
    /// Set for a shared value (R20).
    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        None
    }
    /// Starts the task that runs it toward a peer. Of what is no stream this is never asked.
    fn run_stream(&self, _conn: &Arc<Conn>, _key: session::StreamKey) {}
}

/// A local object behind its interface, and who may revoke it.
pub(crate) struct Local<D: ?Sized> {
    pub(crate) object: Arc<D>,
    pub(crate) revocation: Option<Arc<Revocation>>,
}

impl<D: ?Sized> Clone for Local<D> {
    fn clone(&self) -> Self {
        Local {
            object: self.object.clone(),
            revocation: self.revocation.clone(),
        }
    }
}

impl<D: ?Sized> Local<D> {
    /// A revocable handle is an identity of its own, so that revoking it leaves other handles to the object alone.
    fn address(&self) -> usize {
        match &self.revocation {
            Some(revocation) => Arc::as_ptr(revocation).addr(),
            None => Arc::as_ptr(&self.object).addr(),
        }
    }
}

impl<D: ?Sized + Dispatch> AnyObject for Local<D> {
    fn dispatch(&self, call: Incoming<'_>) {
        self.object.clone().dispatch(call);
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn interface_id(&self) -> &'static str {
        D::interface().id
    }
    fn method_name(&self, id: u32) -> Option<&'static str> {
        D::interface().method(id).map(|method| method.name)
    }
    fn identity(&self) -> Identity {
        let mut hasher = DefaultHasher::new();
        TypeId::of::<D>().hash(&mut hasher);
        Identity {
            address: self.address(),
            interface: hasher.finish() as u32,
        }
    }
    fn is_revoked(&self) -> bool {
        self.revocation
            .as_ref()
            .is_some_and(|revocation| revocation.is_revoked())
    }
    fn is_revocable(&self) -> bool {
        self.revocation.is_some()
    }
    fn schema(&self) -> Option<Arc<Schema>> {
        Some(builtin::schema(TypeId::of::<D>(), D::interface()))
    }
    fn enter(&self, node: &Arc<Node>) -> Option<ObjectRef> {
        Some(node.intern(self))
    }
    fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        self.object.clone().publisher()
    }
}

/// One object of a node. Leaves the node when its last session drops it.
pub(crate) struct Exported<T: ?Sized + AnyObject> {
    key: ObjectKey,
    node: Weak<Node>,
    /// It is a [`Relay`]: known without asking, since every call asks.
    relay: bool,
    /// It may be revoked: the same.
    revocable: bool,
    pub(crate) local: T,
}

impl<T: ?Sized + AnyObject> Drop for Exported<T> {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            let entry = node.objects().remove(self.key, self.local.identity());
            drop(entry);
        }
    }
}

/// A counted reference to an object of a node: what the session's tables hold.
#[derive(Clone)]
pub(crate) struct ObjectRef(pub(crate) Arc<Exported<dyn AnyObject>>);

impl session::Object for ObjectRef {
    fn key(&self) -> ObjectKey {
        self.0.key
    }
    #[inline]
    fn is_revoked(&self) -> bool {
        self.0.revocable && self.0.local.is_revoked()
    }
    fn is_stream(&self) -> bool {
        self.0.local.is_stream()
    }
    fn cause(&self) -> Fault {
        self.0.local.cause()
    }
    #[inline]
    fn is_forwarded(&self) -> bool {
        self.0.relay
    }
}

impl ObjectRef {
    pub(crate) fn key(&self) -> ObjectKey {
        self.0.key
    }

    /// Set where it stands for a reference of another session.
    pub(crate) fn relay(&self) -> Option<&Relay> {
        if !self.0.relay {
            return None;
        }
        self.0.local.as_any().downcast_ref()
    }
}

impl std::fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.0.local.interface_id(), self.0.key)
    }
}

/// The object table of one server or client.
#[derive(Default)]
pub(crate) struct Node {
    objects: Mutex<Objects<Weak<Exported<dyn AnyObject>>>>,
    sessions: Mutex<Vec<Weak<Conn>>>,
}

impl Node {
    pub(crate) fn new() -> Arc<Node> {
        Arc::default()
    }

    fn objects(&self) -> MutexGuard<'_, Objects<Weak<Exported<dyn AnyObject>>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of an object, a new one if no session holds it yet.
    pub(crate) fn intern<D: ?Sized + Dispatch>(self: &Arc<Self>, local: &Local<D>) -> ObjectRef {
        let identity = local.identity();
        // Outlives the lock: the last reference to an object must not be dropped under it.
        let mut seen = [None, None];
        let mut objects = self.objects();
        for (place, entry) in seen.iter_mut().zip(objects.candidates(identity)) {
            *place = entry.upgrade();
        }
        for object in seen.iter().flatten() {
            let same = object.local.as_any().downcast_ref::<Local<D>>();
            if same.is_some_and(|same| same.address() == identity.address) {
                return ObjectRef(object.clone());
            }
        }
        let mut made = None;
        objects.insert(identity, |key| {
            let exported = Exported {
                key,
                node: Arc::downgrade(self),
                relay: false,
                revocable: local.is_revocable(),
                local: local.clone(),
            };
            let object: Arc<Exported<dyn AnyObject>> = Arc::new(exported);
            let entry = Arc::downgrade(&object);
            made = Some(object);
            entry
        });
        drop(objects);
        let object = made.expect("the closure ran");
        if let Some(revocation) = &local.revocation {
            revocation.note(self, object.key);
        }
        ObjectRef(object)
    }

    /// A new entry for a relay, of which its connection knows whether there is one already, or for a stream, which has one.
    pub(crate) fn export<T: AnyObject>(self: &Arc<Self>, object: T) -> ObjectRef {
        let identity = object.identity();
        let relay = TypeId::of::<T>() == TypeId::of::<Relay>();
        let mut made = None;
        let mut object = Some(object);
        self.objects().insert(identity, |key| {
            let exported = Exported {
                key,
                node: Arc::downgrade(self),
                relay,
                revocable: true,
                local: object.take().expect("the closure runs once"),
            };
            let object: Arc<Exported<dyn AnyObject>> = Arc::new(exported);
            let entry = Arc::downgrade(&object);
            made = Some(object);
            entry
        });
        ObjectRef(made.expect("the closure ran"))
    }

    /// The object of a key, if a session still holds it.
    pub(crate) fn object(&self, key: ObjectKey) -> Option<ObjectRef> {
        self.objects().get(key)?.upgrade().map(ObjectRef)
    }

    /// The object of a key, if a session still holds it and it has this interface.
    pub(crate) fn local<D: ?Sized + Dispatch>(&self, key: ObjectKey) -> Option<Local<D>> {
        let object = self.objects().get(key)?.upgrade()?;
        object.local.as_any().downcast_ref::<Local<D>>().cloned()
    }

    /// Whether any session holds the object of this key.
    fn holds(&self, key: ObjectKey) -> bool {
        self.objects().get(key).is_some()
    }

    /// How many local objects peers hold.
    pub(crate) fn len(&self) -> usize {
        self.objects().len()
    }

    pub(crate) fn add_session(&self, conn: &Arc<Conn>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(conn));
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Conn>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The switch behind a revocable handle (R22).
#[derive(Default)]
pub(crate) struct Revocation {
    revoked: AtomicBool,
    /// Where it has been exported.
    exported: Mutex<Vec<(Weak<Node>, ObjectKey)>>,
    /// Tasks that wait for the end of a local handle.
    closed: tokio::sync::Notify,
}

impl Revocation {
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    fn note(&self, node: &Arc<Node>, key: ObjectKey) {
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        exported.retain(|(node, key)| node.upgrade().is_some_and(|node| node.holds(*key)));
        exported.push((Arc::downgrade(node), key));
    }

    /// From here on no method starts; every peer that holds the object is told.
    pub(crate) fn revoke(&self) {
        if self.revoked.swap(true, Ordering::AcqRel) {
            return;
        }
        self.closed.notify_waiters();
        let exported =
            std::mem::take(&mut *self.exported.lock().unwrap_or_else(PoisonError::into_inner));
        for (node, key) in exported {
            for conn in node.upgrade().iter().flat_map(|node| node.sessions()) {
                conn.with(|session| session.revoke(key));
            }
        }
    }

    pub(crate) async fn closed(&self) -> RpcError {
        loop {
            let notified = self.closed.notified();
            if self.is_revoked() {
                return RpcError::Broken(Box::new(RpcError::Revoked));
            }
            notified.await;
        }
    }
}
