//! Handles inside shared values (R15). In the bytes stands a place in a list; here is what the list holds: the handle
//! itself where the value is hosted, what a frame brought where it is followed, and what stands for that in every session
//! where it passes through.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use helve_handles::references::Reference;
use helve_protocol::Fault;
use helve_protocol::session::{Cap, Received};

use crate::caps::{InCaps, OutCaps, Taken};
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::relay;

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

/// A reference in a value that passes through, to be named to any number of peers.
struct Passes {
    conn: Arc<Conn>,
    what: Through,
}

enum Through {
    Remote(Arc<RemoteRef>),
    Object(ObjectRef),
    Broken(Fault),
}

impl Passes {
    /// What came over `conn`.
    fn of(conn: &Arc<Conn>, what: Received<ObjectRef>) -> Passes {
        let what = match what {
            Received::Object(object) => Through::Object(object),
            Received::Import { key, .. } => {
                Through::Remote(RemoteRef::new(conn.clone(), key, relay::unknown))
            }
            Received::Broken(fault) => Through::Broken(fault),
            Received::Opened(c) => {
                let led = conn.with(|session| {
                    let led = session.led_to(c);
                    session.release_opened(c);
                    led
                });
                return match led {
                    Some(led) => Passes::of(conn, led),
                    None => Passes::of(conn, Received::Broken(relay::not_yet())),
                };
            }
        };
        Passes {
            conn: conn.clone(),
            what,
        }
    }

    fn to_cap(&self, to: &Arc<Conn>, out: &mut OutCaps) -> Cap<ObjectRef> {
        let remote = match &self.what {
            Through::Remote(remote) => remote.clone(),
            Through::Object(object) => match object.relay() {
                Some(relay) => relay.remote.clone(),
                None => return Cap::Given(relay::entry(object, &to.node)),
            },
            Through::Broken(fault) => return Cap::Broken(fault.clone()),
        };
        relay::send(to, remote, false, &mut out.keep).unwrap_or_else(Cap::Broken)
    }

    /// The same as if it came for somebody here.
    fn taken(&self) -> Taken {
        let what = match &self.what {
            Through::Remote(remote) => {
                let key = remote.key;
                self.conn.with(|session| session.retain(key));
                Received::Import { key, lent: false }
            }
            Through::Object(object) => Received::Object(object.clone()),
            Through::Broken(fault) => Received::Broken(fault.clone()),
        };
        Taken {
            conn: self.conn.clone(),
            what,
            lease: None,
        }
    }
}

/// References in a value that passes through.
pub(crate) fn passing(conn: &Arc<Conn>, caps: Vec<Received<ObjectRef>>) -> Vec<Reference> {
    let passes = |what| Reference::new(Passes::of(conn, what));
    caps.into_iter().map(passes).collect()
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
    if let Some(passes) = reference.get::<Passes>() {
        return Ok(passes.to_cap(conn, out));
    }
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
    if let Some(passes) = reference.get::<Passes>() {
        return Some(Found::Taken(passes.taken()));
    }
    let Came(taken) = reference.get::<Came>()?;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    taken.map(Found::Taken)
}
