//! What every handle can do ([`Remote`]), a handle that keeps nothing alive ([`WeakHandle`]), and the switch that takes
//! one back ([`Revoker`]).

use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::Poll;

use helve_handles::lease::Lease;
use helve_handles::schema::InterfaceDesc;
use helve_handles::wire::{Typed, Wire};

use super::{Dispatch, Guarded, Pending, Ref, Route, Target, WeakSettling};
use crate::call::Call;
use crate::client::Connection;
use crate::connection::RemoteRef;
use crate::error::RpcError;
use crate::node::Revocation;
use helve_protocol::{Code, Fault};

/// What every handle can do besides the methods of its interface.
///
/// The prelude imports it without its name, so that a method of yours with one of these names wins;
/// `Remote::closed(&handle)` still works.
pub trait Remote: Wire + Clone + Sync {
    #[doc(hidden)]
    type Object: ?Sized + Dispatch;
    #[doc(hidden)]
    fn from_ref(reference: Ref<Self::Object>) -> Self;
    #[doc(hidden)]
    fn as_ref(&self) -> &Ref<Self::Object>;

    /// The interface: its id, its methods, their documentation and types.
    const INTERFACE: &'static InterfaceDesc;

    /// Whether the object lives in this process.
    fn is_local(&self) -> bool {
        self.as_ref().is_local()
    }

    /// A handle that is broken from the start: for tests of failure paths.
    fn broken(error: RpcError) -> Self {
        Self::from_ref(Ref::broken(error))
    }

    /// Waits for the end of the handle and says why it ended: revoked, its session lost, the call that should have
    /// given it failed, or, for a lent one, its call over. A handle to a local object ends only by being revoked.
    fn closed(&self) -> impl Future<Output = RpcError> + Send + 'static {
        let reference = self.as_ref().clone();
        async move { closed(reference).await }
    }

    /// Waits until every one-way call made through this handle so far has ended at its object.
    ///
    /// # Errors
    /// The first error of these calls since the last flush; it is cleared. Else what went wrong with the flush itself.
    fn flush(&self) -> Call<()> {
        match self.as_ref().route() {
            Route::There(far) => {
                let flush = helve_handles::id::method_id("helve.Object", "flush");
                far.send::<Unit, RpcError>(flush, 0, |_| {})
            }
            // A local one-way call has run, or is a task of its own, when it returns.
            Route::Here(near) => near.call(|_| Box::pin(async { Ok(()) })),
        }
    }

    /// The connection that the object is reached over; `None` for a local one.
    fn connection(&self) -> Option<Connection> {
        match &self.as_ref().target {
            Target::There(remote) => Some(Connection::new(remote.conn.clone())),
            Target::Pending(pending) => pending
                .opened
                .as_ref()
                .map(|opened| Connection::new(opened.conn.clone())),
            _ => None,
        }
    }

    /// A weak handle: it keeps nothing alive.
    fn downgrade(&self) -> WeakHandle<Self> {
        WeakHandle {
            target: match &self.as_ref().target {
                Target::Here(object) => WeakTarget::Here(Arc::downgrade(object)),
                Target::Revocable(guarded) => WeakTarget::Revocable(Arc::downgrade(guarded)),
                Target::There(remote) => WeakTarget::There(Arc::downgrade(remote)),
                Target::Pending(pending) => WeakTarget::Pending(pending.settling.downgrade()),
                Target::Broken(error) => WeakTarget::Broken(error.clone()),
            },
            lease: self.as_ref().lease.clone(),
        }
    }

    /// A handle to a local object and the switch that revokes it (R22). Other handles to the object stay usable.
    ///
    /// # Errors
    /// The object is not local: only its host can revoke it.
    fn revocable(&self) -> Result<(Self, Revoker), RpcError> {
        let local = self.as_ref().to_local()?;
        let (reference, revoker) = Ref::revocable(local.object);
        Ok((Self::from_ref(reference), revoker))
    }
}

/// The marker of a method without a result.
enum Unit {}

impl Typed for Unit {
    type T = ();
}

async fn closed<D: ?Sized + Dispatch>(mut reference: Ref<D>) -> RpcError {
    loop {
        if let Err(error) = reference.check() {
            return error;
        }
        let lease = reference.lease.clone();
        reference = match reference.target {
            Target::There(remote) => {
                return std::future::poll_fn(|cx| {
                    match remote
                        .conn
                        .with(|session| session.poll_closed(remote.key, cx.waker()))
                    {
                        Poll::Ready(fault) if fault.code == Code::Expired => {
                            Poll::Ready(RpcError::Expired)
                        }
                        // As its calls say it.
                        Poll::Ready(fault) => {
                            Poll::Ready(RpcError::from_fault(&Fault::broken_by(&fault)))
                        }
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await;
            }
            Target::Revocable(guarded) => return guarded.revocation.closed().await,
            Target::Here(_) => return std::future::pending().await,
            Target::Pending(pending) => match pending.settling.await {
                Ok(settled) => Ref { lease, ..settled },
                Err(error) => return error.broken(),
            },
            Target::Broken(error) => return RpcError::clone(&error).broken(),
        };
    }
}

/// A handle that keeps nothing alive. Two peers that hold each other by strong handles stay until the session ends;
/// make one of them weak.
pub struct WeakHandle<H: Remote> {
    target: WeakTarget<H::Object>,
    lease: Option<Lease>,
}

enum WeakTarget<D: ?Sized + Dispatch> {
    Here(Weak<D>),
    Revocable(Weak<Guarded<D>>),
    There(Weak<RemoteRef>),
    Pending(Option<WeakSettling<D>>),
    Broken(Arc<RpcError>),
}

impl<H: Remote> WeakHandle<H> {
    /// The handle, while somebody still holds a strong one.
    pub fn upgrade(&self) -> Option<H> {
        let target = match &self.target {
            WeakTarget::Here(object) => Target::Here(object.upgrade()?),
            WeakTarget::Revocable(guarded) => Target::Revocable(guarded.upgrade()?),
            WeakTarget::There(remote) => Target::There(remote.upgrade()?),
            WeakTarget::Pending(settling) => Target::Pending(Box::new(Pending {
                settling: settling.as_ref()?.upgrade()?,
                opened: None,
            })),
            WeakTarget::Broken(error) => Target::Broken(error.clone()),
        };
        Some(H::from_ref(Ref {
            target,
            lease: self.lease.clone(),
        }))
    }
}

impl<H: Remote> std::fmt::Debug for WeakHandle<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WeakHandle({})", H::INTERFACE.id)
    }
}

/// Revokes the handle that it was made with: no method starts any more, and every peer that holds it is told.
pub struct Revoker(pub(super) Arc<Revocation>);

impl Revoker {
    /// Once this returns, no method of the object starts through that handle; those that run go on.
    pub fn revoke(&self) {
        self.0.revoke();
    }
}

impl std::fmt::Debug for Revoker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoker")
            .field("revoked", &self.0.is_revoked())
            .finish()
    }
}
