//! The built-in calls that replicas make: `helve.Shared/propose` and `helve.Peer/describe`.

use std::marker::PhantomData;
use std::sync::Arc;

use helve_handles::id::method_id;
use helve_handles::patch::raw;
use helve_handles::put::{put_bin, put_uint};
use helve_handles::schema::InterfaceDesc;
use helve_handles::shared::Payload;
use helve_handles::track::Track;
use helve_handles::wire::Typed;

use super::host::{FOCUS, Hosted, PROPOSE, Proposed};
use super::refs;
use super::{Mode, Part, Shared};
use crate::args::Put;
use crate::call::Call;
use crate::connection::RemoteRef;
use crate::error::RpcError;
use crate::handle::{Far, Ref, Route};

/// What a peer is called in logs of the methods that every one has.
static PEER: InterfaceDesc = InterfaceDesc {
    id: "helve.Peer",
    docs: "",
    methods: &[],
};

/// The bytes of a description.
pub(crate) enum Described {}

impl Typed for Described {
    type T = bytes::Bytes;
}

/// How deep the arguments of a call may nest.
const NESTING_MAX: u32 = 63;

/// Proposes a change of the value as it was at `base`.
pub(super) async fn propose(
    remote: Arc<RemoteRef>,
    base: u64,
    mode: Mode,
    node: &Payload,
) -> Result<u64, RpcError> {
    if raw::nesting(&node.bytes).is_none_or(|nests| nests > NESTING_MAX) {
        return Err(RpcError::Encode(
            "the change nests too deep to be proposed: put a whole value in its place".into(),
        ));
    }
    let args = |put: &mut Put<'_>| {
        put_uint(put.bytes, base);
        put_uint(put.bytes, mode.number().into());
        put.bytes.extend_from_slice(&node.bytes);
        for reference in node.refs.iter() {
            let out = put.caps.get_or_insert_default();
            match refs::to_cap(reference, put.conn, out) {
                Ok(cap) => out.caps.push(cap),
                Err(error) => _ = put.failed.get_or_insert(error),
            }
        }
    };
    Far::to(remote)
        .send::<Proposed, RpcError>(PROPOSE, 3, args)
        .await
}

/// The description with this hash, of a type that the peer has.
pub(crate) async fn describe(
    remote: Arc<RemoteRef>,
    hash: [u8; 16],
) -> Result<bytes::Bytes, RpcError> {
    let conn = remote.conn.clone();
    let root = conn.with(|session| session.root());
    let peer = RemoteRef::new(conn, root, || &PEER);
    let describe = method_id("helve.Peer", "describe");
    let args = |put: &mut Put<'_>| put_bin(put.bytes, &hash);
    Far::to(peer)
        .send::<Described, RpcError>(describe, 1, args)
        .await
}

/// The handle of a part.
struct Focused<U>(PhantomData<U>);

impl<U: Track> Typed for Focused<U> {
    type T = Shared<Option<U>>;
}

/// Asks the host of a value for a part of it.
pub(super) fn focus<T: Track, U: Track>(
    whole: &Ref<Hosted<T>>,
    part: &Part,
) -> Call<Shared<Option<U>>> {
    let far = match whole.route() {
        Route::There(far) => far,
        Route::Here(_) => {
            let why = "the value lives here, or is broken: look at the part with `read`";
            return Call::failed(RpcError::Unimplemented(why.to_owned()));
        }
    };
    match part.encoded() {
        Ok(steps) => far.send::<Focused<U>, RpcError>(FOCUS, 1, |put| {
            put.bytes.extend_from_slice(&steps);
        }),
        Err(error) => Call::failed(error),
    }
}
