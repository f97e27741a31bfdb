//! The core of every generated handle: [`Ref`], where it leads ([`Route`]), and what every handle can do ([`Remote`]).

mod lives;
mod remote;

use std::any::TypeId;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use helve_handles::ObjectKey;
use helve_handles::lease::Lease;
use helve_handles::patch::EncodeError;
use helve_handles::schema::InterfaceDesc;
use helve_handles::wire::Typed;
use helve_protocol::blob::Body;
use helve_protocol::limits::PAYLOAD_MAX;
use helve_protocol::session::{Cap, ImportKey, Received, Settled};
use serde::de::Error as _;
use serde::{Deserializer, Serializer};

use crate::args::Put;
use crate::call::{Call, Local as LocalFuture, Receipt, Unsent};
use crate::caps::{self, OutCaps, Taken};
use crate::codec::Scratch;
use crate::connection::{Conn, RemoteRef};
use crate::dispatch::Incoming;
use crate::error::{CallFailure, RpcError};
use crate::node::{Local, Node, ObjectRef, Revocation};
use crate::shared::Publisher;
use crate::shared::refs::{self, Found};
use crate::{builtin, relay};

pub(crate) use lives::Lives;
pub use remote::{Remote, Revoker, WeakHandle};

/// Implemented by generated code for the object type of an interface, `dyn __CartObj`.
pub trait Dispatch: Send + Sync + 'static {
    /// Finds the method and serves the call.
    fn dispatch(self: Arc<Self>, call: Incoming<'_>);
    /// The interface.
    fn interface() -> &'static InterfaceDesc;
    /// Set for a shared value.
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "nobody but this crate has any")]
    fn publisher(self: Arc<Self>) -> Option<Arc<dyn Publisher>> {
        None
    }
}

/// A handle that will be known later: the result of a local call, or of an OPEN of the peer's.
type Settling<D> = Shared<BoxFuture<'static, Result<Ref<D>, RpcError>>>;
type WeakSettling<D> = WeakShared<BoxFuture<'static, Result<Ref<D>, RpcError>>>;

/// A reference to an object, local or remote. Generated handles are newtypes of it.
pub struct Ref<D: ?Sized> {
    target: Target<D>,
    /// Set for a lent reference; it ends with the call.
    lease: Option<Lease>,
}

enum Target<D: ?Sized> {
    Here(Arc<D>),
    Revocable(Arc<Guarded<D>>),
    There(Arc<RemoteRef>),
    Pending(Box<Pending<D>>),
    Broken(Arc<RpcError>),
}

/// A local object with its revocation.
struct Guarded<D: ?Sized> {
    revocation: Arc<Revocation>,
    object: Arc<D>,
}

struct Pending<D: ?Sized> {
    settling: Settling<D>,
    /// Set for the outcome of an OPEN of the peer's, so that it may be named to it.
    opened: Option<Arc<OpenedRef>>,
}

/// One local reference to what an OPEN of the peer's leads to (R7).
struct OpenedRef {
    conn: Arc<Conn>,
    c: u64,
}

impl Drop for OpenedRef {
    fn drop(&mut self) {
        self.conn.with(|session| session.release_opened(self.c));
    }
}

impl<D: ?Sized> Clone for Ref<D> {
    fn clone(&self) -> Self {
        let target = match &self.target {
            Target::Here(object) => Target::Here(object.clone()),
            Target::Revocable(guarded) => Target::Revocable(guarded.clone()),
            Target::There(remote) => Target::There(remote.clone()),
            Target::Pending(pending) => Target::Pending(Box::new(Pending {
                settling: pending.settling.clone(),
                opened: pending.opened.clone(),
            })),
            Target::Broken(error) => Target::Broken(error.clone()),
        };
        Ref {
            target,
            lease: self.lease.clone(),
        }
    }
}

/// Where a call on a handle goes.
pub enum Route<D: ?Sized> {
    /// To an object of this process, or nowhere.
    Here(Near<D>),
    /// Over a connection.
    There(Far),
}

/// A reference that needs no connection.
pub struct Near<D: ?Sized>(Ref<D>);

/// A reference over a connection.
pub struct Far {
    remote: Arc<RemoteRef>,
    lease: Option<Lease>,
}

const PENDING: &str = "a handle that a local call has not returned yet: await it first";
const LENT: &str = "a lent handle can be lent on (`&handle`), not given away";

impl<D: ?Sized + Dispatch> Ref<D> {
    /// To a local object.
    pub fn here(object: Arc<D>) -> Self {
        Target::Here(object).into()
    }

    /// To a local object, with the switch that revokes it.
    pub(crate) fn revocable(object: Arc<D>) -> (Self, Revoker) {
        let revocation = Arc::new(Revocation::default());
        let target = Target::Revocable(Arc::new(Guarded {
            revocation: revocation.clone(),
            object,
        }));
        (target.into(), Revoker(revocation))
    }

    pub(crate) fn there(remote: Arc<RemoteRef>) -> Self {
        Target::There(remote).into()
    }

    /// To nothing: every call fails with BROKEN and this cause.
    pub fn broken(error: RpcError) -> Self {
        Target::Broken(Arc::new(error)).into()
    }

    /// To what a local call will yield.
    pub(crate) fn settling(future: BoxFuture<'static, Result<Ref<D>, RpcError>>) -> Self {
        Target::Pending(Box::new(Pending {
            settling: future.shared(),
            opened: None,
        }))
        .into()
    }

    fn opened(conn: Arc<Conn>, c: u64) -> Self {
        let opened = Arc::new(OpenedRef { conn, c });
        let mine = opened.clone();
        let settled = async move {
            let what = std::future::poll_fn(|cx| {
                mine.conn
                    .with(|session| session.poll_opened(mine.c, cx.waker()))
            })
            .await;
            let what = what.map_err(|fault| RpcError::from_fault(&fault))?;
            Ref::from_taken(Taken {
                conn: mine.conn.clone(),
                what,
                lease: None,
            })
        };
        Target::Pending(Box::new(Pending {
            settling: settled.boxed().shared(),
            opened: Some(opened),
        }))
        .into()
    }

    /// Whether the object lives in this process.
    pub fn is_local(&self) -> bool {
        matches!(self.target, Target::Here(_) | Target::Revocable(_))
    }

    /// Makes this reference a lent one, dead when `lease` ends.
    pub fn lend(&mut self, lease: &Lease) {
        if self.lease.is_none() {
            self.lease = Some(lease.clone());
        }
    }

    /// Whether it is lent.
    pub fn lent(&self) -> bool {
        self.lease.is_some()
    }

    fn local(&self) -> Option<Local<D>> {
        match &self.target {
            Target::Here(object) => Some(Local {
                object: object.clone(),
                revocation: None,
            }),
            Target::Revocable(guarded) => Some(Local {
                object: guarded.object.clone(),
                revocation: Some(guarded.revocation.clone()),
            }),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), RpcError> {
        if self.lease.as_ref().is_some_and(Lease::ended) {
            return Err(RpcError::Expired);
        }
        match &self.target {
            Target::Broken(error) => Err(RpcError::clone(error).broken()),
            Target::Revocable(guarded) if guarded.revocation.is_revoked() => {
                Err(RpcError::Revoked.broken())
            }
            _ => Ok(()),
        }
    }

    /// Where a call goes.
    pub fn route(&self) -> Route<D> {
        match &self.target {
            Target::There(remote) => Route::There(Far {
                remote: remote.clone(),
                lease: self.lease.clone(),
            }),
            _ => Route::Here(Near(self.clone())),
        }
    }

    /// The local object.
    pub(crate) fn to_local(&self) -> Result<Local<D>, RpcError> {
        self.check()?;
        self.local().ok_or_else(|| {
            RpcError::Encode("the object lives elsewhere: only its host can do that".into())
        })
    }

    /// The object as an entry of a node: what a server serves as its root.
    pub(crate) fn to_root(&self, node: &Arc<Node>) -> Result<ObjectRef, RpcError> {
        self.check()?;
        if self.lease.is_some() {
            return Err(RpcError::Encode(LENT.into()));
        }
        match &self.target {
            Target::There(remote) => {
                let object = relay::stand_in(node, remote);
                if let Some(relay) = object.relay() {
                    relay.describe(builtin::schema(TypeId::of::<D>(), D::interface()));
                }
                Ok(object)
            }
            Target::Pending(pending) => match pending.settling.peek() {
                Some(Ok(settled)) => settled.to_root(node),
                Some(Err(error)) => Err(error.clone().broken()),
                None => Err(RpcError::Encode(PENDING.into())),
            },
            _ => match self.local() {
                Some(local) => Ok(node.intern(&local)),
                None => Err(RpcError::Gone),
            },
        }
    }

    /// Writes the reference into the frame, or the shared value, being encoded.
    pub fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keep = || match self.lent() {
            true => Err(EncodeError::Lent),
            false => Ok(refs::keep(self.clone())),
        };
        caps::put(serializer, keep, |conn, lend, out| {
            self.to_cap(conn, lend, out)
        })
    }

    fn to_cap(
        &self,
        conn: &Arc<Conn>,
        lend: bool,
        out: &mut OutCaps,
    ) -> Result<Cap<crate::node::ObjectRef>, RpcError> {
        self.check()?;
        if self.lease.is_some() && !lend {
            return Err(RpcError::Encode(LENT.into()));
        }
        if let Some(local) = self.local() {
            let object = conn.node.intern(&local);
            return Ok(if lend {
                Cap::Lent(object)
            } else {
                Cap::Given(object)
            });
        }
        match &self.target {
            Target::There(remote) => relay::send(conn, remote.clone(), lend, &mut out.keep)
                .map_err(|_| RpcError::Encode(LENT.into())),
            Target::Pending(pending) => match &pending.opened {
                Some(opened) if Arc::ptr_eq(&opened.conn, conn) => Ok(Cap::Opened(opened.c)),
                _ => match pending.settling.peek() {
                    Some(Ok(settled)) => settled.to_cap(conn, lend, out),
                    Some(Err(error)) => Err(error.clone().broken()),
                    None => Err(RpcError::Encode(PENDING.into())),
                },
            },
            Target::Here(_) | Target::Revocable(_) | Target::Broken(_) => Err(RpcError::Gone),
        }
    }

    /// Reads a reference out of the frame being decoded.
    pub fn deserialize<'de, De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let taken = match caps::take(deserializer)? {
            Found::Handle(handle) => return Ok(handle),
            Found::Taken(taken) => taken,
        };
        Ref::from_taken(taken).map_err(|error| {
            caps::refuse(&error);
            De::Error::custom(error)
        })
    }

    fn from_taken(taken: Taken) -> Result<Self, RpcError> {
        let Taken { conn, what, lease } = taken;
        Ok(match what {
            Received::Import { key, lent } => Ref {
                target: Target::There(RemoteRef::new(conn, key, D::interface)),
                lease: if lent { lease } else { None },
            },
            Received::Opened(c) => Ref::opened(conn, c),
            Received::Broken(fault) => Ref::broken(RpcError::from_fault(&fault)),
            Received::Object(object) => {
                match (object.relay(), object.0.local.as_any().downcast_ref()) {
                    // Through another session it went out, and is again the handle that it was.
                    (Some(relay), _) => Ref::there(relay::typed(relay, D::interface)),
                    (None, Some(local)) => Ref::from_local(local),
                    (None, None) => {
                        let (got, want) = (object.0.local.interface_id(), D::interface().id);
                        return Err(RpcError::Decode(format!(
                            "a handle of `{got}` where one of `{want}` is expected"
                        )));
                    }
                }
            }
        })
    }

    /// Whether both name the same object (R6). A remote one whose call is not answered equals only its own clones.
    pub fn same(&self, other: &Self) -> bool {
        match (self.identity(), other.identity()) {
            (Identity::Pending, Identity::Pending) => match (&self.target, &other.target) {
                (Target::Pending(a), Target::Pending(b)) => a.settling.ptr_eq(&b.settling),
                _ => false,
            },
            (a, b) => a == b,
        }
    }

    /// Hashes as [`same`](Self::same) compares. The hash of a pipelined handle changes once, when its call is answered.
    pub fn hash_identity(&self, state: &mut impl Hasher) {
        self.identity().hash(state);
    }

    fn identity(&self) -> Identity {
        match &self.target {
            Target::Here(object) => Identity::Local(Arc::as_ptr(object).addr()),
            Target::Revocable(guarded) => Identity::Local(Arc::as_ptr(&guarded.revocation).addr()),
            Target::There(remote) => {
                let conn = Arc::as_ptr(&remote.conn).addr();
                match remote.conn.with(|session| session.identity(remote.key)) {
                    Some(Settled::Remote(k)) => Identity::Remote(conn, k),
                    Some(Settled::Own(key)) => match remote.conn.node.local::<D>(key) {
                        Some(local) => Ref::from_local(&local).identity(),
                        None => {
                            let object = remote.conn.node.object(key);
                            match object.as_ref().and_then(ObjectRef::relay) {
                                Some(relay) => Ref::<D>::there(relay.remote.clone()).identity(),
                                None => Identity::Own(conn, key),
                            }
                        }
                    },
                    None => Identity::Unknown(conn, remote.key),
                }
            }
            Target::Pending(pending) => match pending.settling.peek() {
                Some(Ok(settled)) => settled.identity(),
                _ => Identity::Pending,
            },
            Target::Broken(error) => Identity::Broken(Arc::as_ptr(error).addr()),
        }
    }

    fn from_local(local: &Local<D>) -> Self {
        match &local.revocation {
            None => Ref::here(local.object.clone()),
            Some(revocation) => Target::Revocable(Arc::new(Guarded {
                revocation: revocation.clone(),
                object: local.object.clone(),
            }))
            .into(),
        }
    }
}

/// What a reference names, as far as it is known now. Addresses are of things that the reference keeps alive.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Local(usize),
    /// The peer's object `k` of a connection.
    Remote(usize, u64),
    /// Our own object, named by a peer; nobody else holds it any more.
    Own(usize, ObjectKey),
    /// The outcome of a call that is not answered.
    Unknown(usize, ImportKey),
    /// The same of a local call, or of one of the peer's. Compared by hand.
    Pending,
    Broken(usize),
}

impl<D: ?Sized> From<Target<D>> for Ref<D> {
    fn from(target: Target<D>) -> Self {
        Ref {
            target,
            lease: None,
        }
    }
}

impl<D: ?Sized + Dispatch> Near<D> {
    /// Refuses what the wire would refuse: a lent handle inside an argument that is given.
    #[must_use]
    pub fn given(self, lent: bool) -> Self {
        if lent {
            Near(Ref {
                target: Target::Broken(Arc::new(RpcError::Encode(LENT.into()))),
                lease: None,
            })
        } else {
            self
        }
    }

    /// Calls the local object, as a remote one would be called: the future does nothing before it is polled.
    pub fn call<T: Send + 'static, E: CallFailure>(
        self,
        f: impl FnOnce(Arc<D>) -> LocalFuture<T, E> + Send + 'static,
    ) -> Call<T, E> {
        match self.object() {
            Ok(object) => Call::local(f(object)),
            Err(Ok(settling)) => Call::local(Box::pin(async move {
                let settled = settling.await?;
                match Near(settled).object() {
                    Ok(object) => f(object).await,
                    Err(Ok(_)) => Err(RpcError::Gone.into()),
                    Err(Err(error)) => Err(error.into()),
                }
            })),
            Err(Err(error)) => Call::failed(error.into()),
        }
    }

    fn object(self) -> Result<Arc<D>, Result<Settling<D>, RpcError>> {
        if let Target::Broken(error) = &self.0.target
            && let RpcError::Encode(_) = &**error
        {
            return Err(Err(RpcError::clone(error)));
        }
        self.0.check().map_err(Err)?;
        match self.0.target {
            Target::Here(object) => Ok(object),
            Target::Revocable(guarded) => Ok(guarded.object.clone()),
            Target::Pending(pending) => Err(Ok(pending.settling)),
            Target::There(_) | Target::Broken(_) => Err(Err(RpcError::Gone)),
        }
    }

    /// A one-way call of the local object.
    pub fn tell(
        self,
        f: impl FnOnce(Arc<D>) -> LocalFuture<(), RpcError> + Send + 'static,
    ) -> Receipt {
        Receipt::local(self.call(f))
    }
}

impl Far {
    /// To this reference.
    pub(crate) fn to(remote: Arc<RemoteRef>) -> Far {
        Far {
            remote,
            lease: None,
        }
    }

    /// What it is made of.
    pub(crate) fn into_parts(self) -> (Arc<RemoteRef>, Option<Lease>) {
        (self.remote, self.lease)
    }

    /// Encodes the arguments and hands all of it to `f`, or what went wrong to `failed`.
    #[inline]
    pub(crate) fn encode<R>(
        self,
        n: u32,
        args: impl FnOnce(&mut Put<'_>),
        f: impl FnOnce(Far, &mut Vec<u8>, Option<Box<OutCaps>>) -> R,
        failed: impl FnOnce(RpcError) -> R,
    ) -> R {
        if self.lease.as_ref().is_some_and(Lease::ended) {
            return failed(RpcError::Expired);
        }
        let Scratch(bytes) = &mut Scratch::take();
        helve_protocol::frame::put_array(bytes, n as usize);
        let mut put = Put {
            conn: &self.remote.conn,
            bytes,
            caps: None,
            failed: None,
            rope: None,
        };
        args(&mut put);
        let Put {
            mut caps,
            failed: error,
            rope,
            ..
        } = put;
        if let Some(mut rope) = rope {
            rope.push(Bytes::copy_from_slice(bytes));
            caps.get_or_insert_default().rope = Some(*rope);
        }
        match error {
            Some(error) => failed(error),
            None => f(self, bytes, caps),
        }
    }

    /// A call with `n` arguments. They are encoded now; it is sent when the call is polled.
    pub fn send<M: Typed, E: CallFailure>(
        self,
        method: u32,
        n: u32,
        args: impl FnOnce(&mut Put<'_>),
    ) -> Call<M::T, E> {
        let make = |far: Far, bytes: &mut Vec<u8>, caps| {
            Call::remote(far.remote, far.lease, method, Unsent::new(bytes, caps))
        };
        self.encode(n, args, make, |error| Call::failed(error.into()))
    }

    /// A one-way call with `n` arguments. It is on its way when this returns.
    #[inline]
    pub fn send_oneway(self, method: u32, n: u32, args: impl FnOnce(&mut Put<'_>)) -> Receipt {
        // The references in it are let go with `caps`, after the frame that names them is numbered (R4).
        let tell = |far: Far, bytes: &mut Vec<u8>, caps: Option<Box<OutCaps>>| {
            let in_pieces = caps.as_ref().is_some_and(|caps| caps.rope.is_some());
            if in_pieces || bytes.len() > PAYLOAD_MAX {
                return Unsent::new(bytes, caps).tell(far.remote, method);
            }
            let args = Body::from(&bytes[..]);
            Receipt::remote(far.remote, method, args, caps.as_deref())
        };
        self.encode(n, args, tell, Receipt::failed)
    }
}

impl<D: ?Sized + Dispatch> std::fmt::Debug for Ref<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match &self.target {
            Target::Here(_) | Target::Revocable(_) => "local",
            Target::There(_) => "remote",
            Target::Pending(_) => "pending",
            Target::Broken(_) => "broken",
        };
        write!(
            f,
            "{} ({place}{})",
            D::interface().id,
            if self.lent() { ", lent" } else { "" }
        )
    }
}
