//! Where the object of a handle is, for shared values, which are followed there; and a handle as a shared value holds it.

use std::sync::Arc;

use helve_protocol::session::Cap;

use super::{Dispatch, Ref, Target};
use crate::caps::OutCaps;
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::{Local, ObjectRef};
use crate::shared::refs;

/// Where an object is.
pub(crate) enum Lives<D: ?Sized> {
    Here(Local<D>),
    There(Arc<RemoteRef>),
}

impl<D: ?Sized + Dispatch> refs::Keep for Ref<D> {
    fn to_cap(&self, conn: &Arc<Conn>, out: &mut OutCaps) -> Result<Cap<ObjectRef>, RpcError> {
        Ref::to_cap(self, conn, false, out)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl<D: ?Sized + Dispatch> Ref<D> {
    /// Where the object is, once that is known.
    pub(crate) async fn lives(&self) -> Result<Lives<D>, RpcError> {
        self.check()?;
        if let Target::Pending(pending) = &self.target {
            let settled = pending.settling.clone().await?;
            return Box::pin(settled.lives()).await;
        }
        match &self.target {
            Target::There(remote) => Ok(Lives::There(remote.clone())),
            _ => self.local().map(Lives::Here).ok_or(RpcError::Gone),
        }
    }

    /// Whether it leads to something that this connection's peer has, or knows.
    pub(crate) fn is_reached_over(&self, conn: &Arc<Conn>) -> bool {
        matches!(&self.target, Target::There(remote) if Arc::ptr_eq(&remote.conn, conn))
    }
}
