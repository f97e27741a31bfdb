//! The references in a value that is being encoded or decoded. serde hands no context to `Serialize` and
//! `Deserialize`, so they find it in a thread-local scope, which lives for one value and is never held across an await.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use helve_handles::lease::Lease;
use helve_handles::patch::EncodeError;
use helve_handles::references::{self, Reference};
use helve_handles::shared::Payload;
use helve_handles::wire::Wire;
use helve_protocol::rope::Rope;
use helve_protocol::session::{Cap, Received};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::shared::refs::{self, Found};
use crate::trace::Trace;

/// The references of one frame going out, and what keeps them alive until it is numbered.
#[derive(Default)]
pub(crate) struct OutCaps {
    pub(crate) caps: Vec<Cap<ObjectRef>>,
    pub(crate) keep: Vec<Arc<RemoteRef>>,
    /// A trace of the call's own: here, because calls without one should carry no room for it.
    pub(crate) trace: Option<Arc<Trace>>,
    /// The arguments, where long bytes among them are sent as they are.
    pub(crate) rope: Option<Rope>,
    /// Why a reference could not be sent: serde's errors carry only a text.
    failed: Option<RpcError>,
}

impl OutCaps {
    /// The same references, for another frame.
    pub(crate) fn copy(&self) -> Box<OutCaps> {
        Box::new(OutCaps {
            caps: self.caps.clone(),
            keep: self.keep.clone(),
            trace: self.trace.clone(),
            rope: self.rope.clone(),
            failed: None,
        })
    }
}

/// The references of one frame that came; each is taken at most once, the rest is released with this.
pub(crate) struct InCaps {
    conn: Arc<Conn>,
    caps: Vec<Option<Received<ObjectRef>>>,
    lease: Option<Lease>,
    /// Why a reference could not be taken.
    failed: Option<RpcError>,
}

impl InCaps {
    /// References that came over `conn`. `lease` ends with the call that lent some of them.
    #[inline]
    pub(crate) fn new(
        conn: &Arc<Conn>,
        caps: Vec<Received<ObjectRef>>,
        lease: Option<Lease>,
    ) -> Option<Box<InCaps>> {
        if caps.is_empty() {
            return None;
        }
        Some(Box::new(InCaps {
            conn: conn.clone(),
            caps: caps.into_iter().map(Some).collect(),
            lease,
            failed: None,
        }))
    }
}

impl InCaps {
    /// What it holds, without the connection.
    pub(crate) fn into_received(mut self) -> (Arc<Conn>, Vec<Received<ObjectRef>>) {
        let caps = self.caps.drain(..).flatten().collect();
        (self.conn.clone(), caps)
    }
}

impl Drop for InCaps {
    fn drop(&mut self) {
        let left: Vec<_> = self.caps.drain(..).flatten().collect();
        if !left.is_empty() {
            self.conn.with(|session| session.discard(left));
        }
    }
}

/// One reference that was taken out of a frame.
pub(crate) struct Taken {
    pub(crate) conn: Arc<Conn>,
    pub(crate) what: Received<ObjectRef>,
    pub(crate) lease: Option<Lease>,
}

enum Scope {
    /// Encoding for this connection. `lend` is set inside a lent argument.
    Out {
        conn: Arc<Conn>,
        out: OutCaps,
        lend: bool,
    },
    In(Box<InCaps>),
}

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Runs `f` with `scope` current, and gives it back with what `f` did to it. Restores the outer scope on panic too.
fn within<R>(scope: Scope, f: impl FnOnce() -> R) -> (R, Option<Scope>) {
    struct Restore(Option<Scope>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            let inner = SCOPE.with(|here| std::mem::replace(&mut *here.borrow_mut(), outer));
            // Dropped outside of the borrow: releasing references may run code that encodes.
            drop(inner);
        }
    }
    let restore = Restore(SCOPE.with(|here| here.borrow_mut().replace(scope)));
    let result = f();
    let scope = SCOPE.with(|here| here.borrow_mut().take());
    drop(restore);
    (result, scope)
}

/// Appends a value to `bytes`, its references to `caps`.
pub(crate) fn encode<T: Serialize + ?Sized>(
    conn: &Arc<Conn>,
    value: &T,
    bytes: &mut Vec<u8>,
    caps: &mut Option<Box<OutCaps>>,
) -> Result<(), RpcError> {
    let scope = Scope::Out {
        conn: conn.clone(),
        out: caps.take().map(|caps| *caps).unwrap_or_default(),
        lend: false,
    };
    let (result, scope) = within(scope, || codec::encode_into(value, bytes));
    if let Some(Scope::Out { mut out, .. }) = scope {
        let failed = out.failed.take();
        *caps = (!out.caps.is_empty()).then(|| Box::new(out));
        return result.map_err(|error| failed.unwrap_or(error));
    }
    result
}

/// As [`encode`], past serde where there is a short cut, and without looking for references where none can be.
pub(crate) fn encode_wire<T: Wire>(
    conn: &Arc<Conn>,
    value: &T,
    bytes: &mut Vec<u8>,
    caps: &mut Option<Box<OutCaps>>,
) -> Result<(), RpcError> {
    if value.__put(bytes) {
        Ok(())
    } else if T::PLAIN {
        codec::encode_into(value, bytes)
    } else {
        encode(conn, value, bytes, caps)
    }
}

/// A node whose references stand in `caps`, as one that holds its own. The rest stays there.
pub(crate) fn node(bytes: Bytes, caps: &mut Option<Box<InCaps>>) -> Payload {
    let mut list = Vec::new();
    let mut numbered = Vec::new();
    if let Some(caps) = caps {
        let place = |index: usize| {
            let taken = caps.caps.get_mut(index).and_then(Option::take);
            list.push(match taken {
                Some(what) => refs::came_alone(Taken {
                    conn: caps.conn.clone(),
                    what,
                    lease: caps.lease.clone(),
                }),
                // Taken before: whoever reads it is told.
                None => Reference::new(()),
            });
            list.len() - 1
        };
        // What cannot be walked fails when it is read.
        let walked = helve_handles::patch::renumber(&bytes, &mut numbered, place);
        if walked.is_some() && !list.is_empty() {
            return Payload::of(numbered, list);
        }
    }
    Payload {
        bytes,
        refs: Arc::default(),
    }
}

/// Appends a node that holds its own references, and those to `caps`.
pub(crate) fn put_node(
    conn: &Arc<Conn>,
    node: &Payload,
    bytes: &mut Vec<u8>,
    caps: &mut Option<Box<OutCaps>>,
) -> Result<(), RpcError> {
    if node.refs.is_empty() {
        bytes.extend_from_slice(&node.bytes);
        return Ok(());
    }
    let out = caps.get_or_insert_default();
    let base = out.caps.len();
    for reference in node.refs.iter() {
        let cap = refs::to_cap(reference, conn, out)?;
        out.caps.push(cap);
    }
    let numbered = helve_handles::patch::renumber(&node.bytes, bytes, |index| base + index);
    match numbered.filter(|()| out.caps.len() <= 255) {
        Some(()) => Ok(()),
        None => Err(RpcError::Encode(TOO_MANY.into())),
    }
}

/// A value whose references stand in `caps`.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    caps: &mut Option<Box<InCaps>>,
) -> Result<T, RpcError> {
    let Some(inside) = caps.take() else {
        return codec::decode(bytes);
    };
    let (result, scope) = within(Scope::In(inside), || codec::decode(bytes));
    if let Some(Scope::In(mut inside)) = scope {
        let failed = inside.failed.take();
        *caps = Some(inside);
        return result.map_err(|error| failed.unwrap_or(error));
    }
    result
}

pub(crate) const TOO_MANY: &str = "over 255 handles in one message: send them in parts";
const OUTSIDE: &str = "a handle travels only as an argument or result of a call";

/// `&argument`: every handle inside it is lent for the call (R3).
pub(crate) struct LentValue<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for LentValue<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lend = |to: bool| {
            SCOPE.with(|here| match &mut *here.borrow_mut() {
                Some(Scope::Out { lend, .. }) => std::mem::replace(lend, to),
                _ => false,
            })
        };
        let before = lend(true);
        let result = self.0.serialize(serializer);
        lend(before);
        result
    }
}

/// Writes a reference: ext 1 with its index in the cap table. `make` runs once at most, and not where rmp-serde only
/// tries whether the first element of a sequence is a byte.
pub(crate) fn put<S: Serializer>(
    serializer: S,
    keep: impl FnOnce() -> Result<Reference, EncodeError>,
    make: impl FnOnce(&Arc<Conn>, bool, &mut OutCaps) -> Result<Cap<ObjectRef>, RpcError>,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct("_ExtStruct", &Ext(Cell::new(Some((keep, make)))))
}

/// The inside of rmp-serde's ext: `(tag, bytes)`.
struct Ext<K, F>(Cell<Option<(K, F)>>);

impl<K, F> Serialize for Ext<K, F>
where
    K: FnOnce() -> Result<Reference, EncodeError>,
    F: FnOnce(&Arc<Conn>, bool, &mut OutCaps) -> Result<Cap<ObjectRef>, RpcError>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((keep, make)) = self.0.take() else {
            return Err(S::Error::custom("a handle is written once"));
        };
        if let Some(kept) = references::put(keep) {
            let index = kept.map_err(S::Error::custom)?.to_be_bytes();
            return match index {
                [0, low] => (1_i8, serde_bytes::ByteArray::new([low])).serialize(serializer),
                both => (1_i8, serde_bytes::ByteArray::new(both)).serialize(serializer),
            };
        }
        let index = SCOPE.with(|here| match &mut *here.borrow_mut() {
            Some(Scope::Out { conn, out, lend }) => {
                let made = match u8::try_from(out.caps.len()) {
                    Ok(index) if index < 255 => make(conn, *lend, out).map(|cap| (index, cap)),
                    _ => Err(RpcError::Encode(TOO_MANY.into())),
                };
                match made {
                    Ok((index, cap)) => {
                        out.caps.push(cap);
                        Ok(index)
                    }
                    Err(error) => {
                        out.failed.get_or_insert_with(|| error.clone());
                        Err(error)
                    }
                }
            }
            _ => Err(RpcError::Encode(OUTSIDE.into())),
        });
        let index = index.map_err(S::Error::custom)?;
        (1_i8, serde_bytes::ByteArray::new([index])).serialize(serializer)
    }
}

/// Reads a reference: a handle `H` of this process, or what came over a connection.
pub(crate) fn take<'de, H: Clone + 'static, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Found<H>, D::Error> {
    let CapIndex((tag, Index(index))) = CapIndex::deserialize(deserializer)?;
    if tag != 1 {
        return Err(D::Error::custom("not a handle"));
    }
    if let Some(reference) = references::get(index) {
        return refs::found(&reference)
            .ok_or_else(|| D::Error::custom("a handle of another interface, or taken twice"));
    }
    SCOPE.with(|here| match &mut *here.borrow_mut() {
        Some(Scope::In(inside)) => {
            let what = inside.caps.get_mut(index).and_then(Option::take);
            let what = what.ok_or_else(|| {
                D::Error::custom("no such handle in this message, or taken twice")
            })?;
            Ok(Found::Taken(Taken {
                conn: inside.conn.clone(),
                what,
                lease: inside.lease.clone(),
            }))
        }
        _ => Err(D::Error::custom(OUTSIDE)),
    })
}

/// Keeps why a reference that was taken is not of use, for the error of the call.
pub(crate) fn refuse(error: &RpcError) {
    SCOPE.with(|here| {
        if let Some(Scope::In(inside)) = &mut *here.borrow_mut() {
            inside.failed.get_or_insert_with(|| error.clone());
        }
    });
}

/// rmp-serde's name for an ext.
#[derive(Deserialize)]
#[serde(rename = "_ExtStruct")]
struct CapIndex((i8, Index));

/// A place in a cap table: a byte, or two from 256 on.
struct Index(usize);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Index;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the place of a handle")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Index, E> {
                match *bytes {
                    [low] => Ok(Index(usize::from(low))),
                    [high, low] => Ok(Index(usize::from(u16::from_be_bytes([high, low])))),
                    _ => Err(E::custom("the place of a handle has one byte or two")),
                }
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
