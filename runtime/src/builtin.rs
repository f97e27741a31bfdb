//! The methods that every peer has on target 0: `helve.Peer/ping` (E5.4) and `helve.Peer/describe` (E5.5). Served by the
//! connection task, in place.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use helve_handles::id::method_id;
use helve_handles::schema::{InterfaceDesc, Schema};
use helve_protocol::{Code, Fault, frame};
use serde_bytes::ByteBuf;

use crate::args::Args;
use crate::connection::RemoteRef;
use crate::dispatch::Incoming;
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::shared::{Described, describe};

const PING: u32 = method_id("helve.Peer", "ping");
const DESCRIBE: u32 = method_id("helve.Peer", "describe");

/// Whether it is one of them.
pub(crate) fn has(method: u32) -> bool {
    matches!(method, PING | DESCRIBE)
}

/// Answers a call of one of them, made on this root.
pub(crate) fn serve(root: &ObjectRef, call: Incoming<'_>) {
    if call.method() == PING {
        return call.answer(&[0xc0]);
    }
    let wanted = match wanted(&call.args()) {
        Ok(wanted) => wanted,
        Err(fault) => return call.refuse(fault),
    };
    let roots = root.0.local.schema();
    let schema = match wanted {
        None => roots,
        // That of the root's interface, or of a shared value that the peer follows.
        Some(hash) => roots
            .filter(|schema| schema.hash() == hash)
            .or_else(|| call.conn().schema_of(hash)),
    };
    let describer = || wanted.and_then(|hash| Some((call.conn().describer_of(hash)?, hash)));
    if schema.is_none()
        && let Some((remote, hash)) = describer()
    {
        return describe_for(call, remote, hash);
    }
    let Some(schema) = schema else {
        return call.refuse(Fault::new(Code::Gone, "no such description"));
    };
    let mut value = Vec::with_capacity(schema.bytes().len() + 8);
    frame::put_bin(&mut value, schema.bytes());
    call.answer(&value);
}

/// Answers with what somebody else knows, of a value that passes through here.
fn describe_for(call: Incoming<'_>, remote: Arc<RemoteRef>, hash: [u8; 16]) {
    call.serve::<Described, RpcError, _>(move |_, _| describe(remote, hash));
}

/// The hash that is asked for. `None`: that of the root's interface, whatever it is.
fn wanted(args: &Args) -> Result<Option<[u8; 16]>, Fault> {
    let no_hash = "a hash is a bin of 16 bytes";
    let hash = args
        .optional::<Option<ByteBuf>>()
        .map_err(|_| Fault::new(Code::Decode, no_hash))?;
    let Some(hash) = hash.flatten() else {
        return Ok(None);
    };
    let hash = <[u8; 16]>::try_from(hash.into_vec());
    hash.map(Some)
        .map_err(|_| Fault::new(Code::Decode, no_hash))
}

/// The schema of the interface of the handles of type `D`, computed once.
pub(crate) fn schema(of: TypeId, interface: &'static InterfaceDesc) -> Arc<Schema> {
    static KNOWN: Mutex<Option<HashMap<TypeId, Arc<Schema>>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(schema) = known().as_ref().and_then(|known| known.get(&of)) {
        return schema.clone();
    }
    // Described outside of the lock: `describe` is code of the user's crate.
    let schema = Arc::new(Schema::of_interface(interface));
    let mut known = known();
    let known = known.get_or_insert_default();
    known.entry(of).or_insert(schema).clone()
}
