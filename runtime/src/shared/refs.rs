//! Handles inside shared values (R15). In the bytes stands a place in a list; here is what the list holds: the handle
//! itself where the value is hosted, and what a frame brought where it is followed.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use helve_handles::references::Reference;
use helve_protocol::session::{Cap, Received};

use crate::caps::{InCaps, OutCaps, Taken};
use crate::connection::Conn;
use crate::error::RpcError;
use crate::node::ObjectRef;

/// A handle, without its interface.
pub(crate) trait Keep: Send + Sync + 'static {
    /// Its name for one connection.
    fn to_cap(&self, conn: &Arc<Conn>, out: &mut OutCaps) -> Result<Cap<ObjectRef>, RpcError>;
    fn as_any(&self) -> &dyn Any;
}

/// A handle that a hosted value holds.
struct Kept(Box<dyn Keep>);

/// A reference that came with an update, until its handle is read; given back if nobody does.
struct Came(Mutex<Option<Taken>>);

impl Drop for Came {
    fn drop(&mut self) {
        let taken = self
            .0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Taken { conn, what, .. }) = taken {
            conn.with(|session| session.discard(vec![what]));
        }
    }
}

/// A handle as a reference of the value that is being written.
pub(crate) fn keep(handle: impl Keep) -> Reference {
    Reference::new(Kept(Box::new(handle)))
}

/// References that came with an update.
pub(crate) fn came(conn: &Arc<Conn>, caps: Vec<Received<ObjectRef>>) -> Vec<Reference> {
    let came = |what| {
        let taken = Taken {
            conn: conn.clone(),
            what,
            lease: None,
        };
        came_alone(taken)
    };
    caps.into_iter().map(came).collect()
}

/// One reference that came with a change.
pub(crate) fn came_alone(taken: Taken) -> Reference {
    Reference::new(Came(Mutex::new(Some(taken))))
}

/// References that came with a proposal.
pub(crate) fn of_call(caps: Option<Box<InCaps>>) -> Vec<Reference> {
    let received = caps.map(|caps| caps.into_received());
    received.map_or_else(Vec::new, |(conn, caps)| came(&conn, caps))
}

pub(crate) fn to_cap(
    reference: &Reference,
    conn: &Arc<Conn>,
    out: &mut OutCaps,
) -> Result<Cap<ObjectRef>, RpcError> {
    match reference.get::<Kept>() {
        Some(Kept(kept)) => kept.to_cap(conn, out),
        None => Err(RpcError::Internal(
            "a reference of a replica was to be published".into(),
        )),
    }
}

/// What a reference is for who reads a handle.
pub(crate) enum Found<H> {
    /// The handle itself.
    Handle(H),
    /// What came over a connection.
    Taken(Taken),
}

/// `None`: it is a handle of another interface, or was read already.
pub(crate) fn found<H: Clone + 'static>(reference: &Reference) -> Option<Found<H>> {
    if let Some(Kept(kept)) = reference.get::<Kept>() {
        return kept
            .as_any()
            .downcast_ref::<H>()
            .cloned()
            .map(Found::Handle);
    }
    let Came(taken) = reference.get::<Came>()?;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    taken.map(Found::Taken)
}
