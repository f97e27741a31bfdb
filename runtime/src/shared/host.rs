//! The side where a shared value lives: the value behind its gate, who follows it, and what they may propose.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use helve_handles::descriptor::{Descriptor, Type};
use helve_handles::id::{ID_LIMIT, method_id};
use helve_handles::patch::{PatchError, Patcher, canary};
use helve_handles::schema::{InterfaceDesc, Schema};
use helve_handles::shared::{ApplyError, History, Life, Payload, Tracked};
use helve_handles::track::Track;
use helve_handles::wire::Typed;
use helve_protocol::session::{IncomingId, SubscriberKey};

use super::hub::{Hub, Place, Publisher};
use super::lens::{self, Lenses, Whole};
use super::{Mode, SHARED, SharedEdit, encode_error, refs};
use crate::args::Args;
use crate::connection::Conn;
use crate::context::Cx;
use crate::dispatch::Incoming;
use crate::error::RpcError;
use crate::gate::Object;
use crate::handle::Dispatch;
use crate::peer::Peer;

/// The built-in method that changes a value from elsewhere.
pub(super) const PROPOSE: u32 = method_id("helve.Shared", "propose");

/// The built-in method that leads to a part of a value.
pub(super) const FOCUS: u32 = method_id("helve.Shared", "focus");

/// What a host allows of what others propose.
pub(super) type Validate<T> = Box<dyn Fn(&T, &Cx) -> Result<(), String> + Send + Sync>;

/// How long a proposal may be, in bytes, and how many operations it may hold (objects.md, section 7).
const PROPOSAL_BYTES: usize = 1 << 20;
const PROPOSAL_OPS: u64 = 65_536;

/// A shared value of this process.
pub struct Hosted<T: Track> {
    object: Arc<Object<Tracked<T>>>,
    /// As that of the value, which is not to be had while somebody edits it.
    history: Mutex<Option<Arc<Mutex<History>>>>,
    epoch: u64,
    hub: Hub,
    proposals: Option<Validate<T>>,
    lenses: Lenses,
}

impl<T: Track> Hosted<T> {
    pub(super) fn new(
        value: T,
        limit: usize,
        min_interval: Duration,
        proposals: Option<Validate<T>>,
    ) -> Arc<Hosted<T>> {
        let epoch = uuid::Uuid::new_v4().as_u64_pair().0 % (ID_LIMIT - 1) + 1;
        Arc::new(Hosted {
            object: Object::new(Tracked::new(value).with_limit(limit)),
            history: Mutex::new(None),
            epoch,
            hub: Hub::new(min_interval),
            proposals,
            lenses: Lenses::default(),
        })
    }

    pub(super) fn object(&self) -> Arc<Object<Tracked<T>>> {
        self.object.clone()
    }

    pub(super) fn followers(&self) -> usize {
        self.hub.len()
    }

    /// The value is at a new revision: those who follow are told, the caller on whose behalf it changed in any case.
    pub(super) fn committed(self: &Arc<Self>, rev: u64) {
        Hub::publish(self);
        let Some(conn) = Cx::try_current().and_then(|cx| cx.peer()?.connected()) else {
            return;
        };
        let this: Arc<dyn Publisher> = self.clone();
        for (key, place) in conn.subscriptions_to(&this) {
            self.hub.tell(&**self, place);
            note_change(&conn, key, rev);
        }
        for (key, lens, place) in conn.subscriptions_through(&this) {
            lens.hub().tell(&*lens, place);
            // Of a part that has not changed this is no news.
            if let Some(history) = lens.history() {
                let history = history.lock().unwrap_or_else(PoisonError::into_inner);
                note_change(&conn, key, history.head());
            }
        }
    }

    /// Hashes the value from time to time, for those who follow to compare.
    pub(super) fn note_state(&self, value: &Tracked<T>) {
        if !self.hub.wants_hash(value.rev()) {
            return;
        }
        let len = self.known().map(|history| {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.snapshot_len()
        });
        let is_long = len.is_some_and(|len| len > HASHED_MAX);
        let hash = if is_long {
            None
        } else {
            state_hash::<T>(value)
        };
        self.hub.tried_hash(value.rev(), hash);
    }

    /// The history, where it was made.
    fn known(&self) -> Option<Arc<Mutex<History>>> {
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the history, when nobody edits the value.
    pub(super) async fn history(&self) -> Result<Arc<Mutex<History>>, RpcError> {
        if let Some(history) = self.known() {
            return Ok(history);
        }
        let value = self.object().read(&Cx::current()).await?;
        let history = value.history().map_err(encode_error)?;
        let life = Life {
            epoch: self.epoch,
            ty: Schema::of::<T>().hash(),
        };
        let mut of = history.lock().unwrap_or_else(PoisonError::into_inner);
        of.live(life);
        drop(of);
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = Some(history.clone());
        Ok(history)
    }

    /// Makes a change that somebody else proposes to the value as it was at `base`.
    pub(super) async fn propose(
        self: Arc<Self>,
        base: u64,
        mode: Mode,
        node: Payload,
        cx: &Cx,
    ) -> Result<u64, RpcError> {
        let Some(validate) = &self.proposals else {
            return Err(RpcError::Denied(
                "the host of this value takes no proposals: see `SharedBuilder::proposals`".into(),
            ));
        };
        if node.bytes.len() > PROPOSAL_BYTES {
            return Err(RpcError::Exhausted(format!(
                "a proposal is at most {PROPOSAL_BYTES} bytes"
            )));
        }
        let mut edit = SharedEdit::begin(self.clone()).await?;
        let history = edit.tracked().history().map_err(encode_error)?;
        let (fits, is_late) = {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = mode.fits(base, &node, &mut history);
            (fits, base != history.head())
        };
        if !fits {
            return Err(RpcError::Conflict);
        }
        edit.tracked()
            .patch(&node, PROPOSAL_OPS)
            .map_err(|error| match error {
                // It may have fitted the value that it was made of.
                ApplyError::Patch(_) if is_late => RpcError::Conflict,
                ApplyError::Patch(PatchError::TooMany) => {
                    RpcError::Exhausted(format!("a proposal has at most {PROPOSAL_OPS} operations"))
                }
                ApplyError::Patch(error) => RpcError::Decode(error.to_string()),
                ApplyError::Encode(error) => encode_error(error),
            })?;
        validate(&edit, cx).map_err(RpcError::Denied)?;
        edit.commit()
    }
}

/// The arguments of PROPOSE.
pub(super) fn proposal(args: Args) -> Result<(u64, Mode, Payload), RpcError> {
    let base = args.take_value::<u64>()?;
    let mode = Mode::from_number(args.take_value::<u8>()?)?;
    let (node, caps) = args.raw()?;
    let node = Payload {
        bytes: Bytes::copy_from_slice(node),
        refs: refs::of_call(caps).into(),
    };
    Ok((base, mode, node))
}

/// What PROPOSE answers with.
pub(super) enum Proposed {}

impl Typed for Proposed {
    type T = u64;
}

impl<T: Track> Dispatch for Hosted<T> {
    fn dispatch(self: Arc<Self>, call: Incoming<'_>) {
        match call.method() {
            FOCUS => return lens::focus(self, call),
            PROPOSE => {}
            _ => return call.unimplemented(),
        }
        let views = call.conn().peer.views().to_vec();
        call.serve::<Proposed, RpcError, _>(move |cx, args| {
            let cx = cx.clone();
            async move {
                let conn = cx.peer().and_then(Peer::connected);
                // P1.13
                if conn.as_ref().is_some_and(|conn| !conn.may_propose()) {
                    return Err(RpcError::Exhausted(
                        "too many proposals were refused: at most 10 a second".into(),
                    ));
                }
                let made = async {
                    let (base, mode, node) = proposal(args)?;
                    if lens::seen_by(self.clone(), &views)?.is_some() {
                        return Err(RpcError::Denied(
                            "parts of this value are not in your view, so you may not change it"
                                .into(),
                        ));
                    }
                    self.propose(base, mode, node, &cx).await
                };
                let made = made.await;
                if let (Err(error), Some(conn)) = (&made, conn) {
                    conn.proposed(error);
                }
                made
            }
        });
    }

    fn interface() -> &'static InterfaceDesc {
        &SHARED
    }

    fn publisher(self: Arc<Self>) -> Option<Arc<dyn Publisher>> {
        Some(self)
    }
}

impl<T: Track> Whole for Hosted<T> {
    fn descriptor(&self) -> Option<Arc<Descriptor>> {
        descriptor::<T>()
    }

    fn lenses(&self) -> &Lenses {
        &self.lenses
    }

    fn propose(
        self: Arc<Self>,
        base: u64,
        mode: Mode,
        node: Payload,
        cx: Cx,
    ) -> BoxFuture<'static, Result<u64, RpcError>> {
        Box::pin(async move { Hosted::propose(self, base, mode, node, &cx).await })
    }
}

impl<T: Track> Publisher for Hosted<T> {
    #[allow(private_interfaces, reason = "nobody but this crate has any")]
    fn seen_by(self: Arc<Self>, conn: &Conn) -> Result<Arc<dyn Publisher>, RpcError> {
        if descriptor::<T>().is_some_and(|all| !has_views(&all)) {
            return Ok(self);
        }
        Ok(match lens::seen_by(self.clone(), conn.peer.views())? {
            Some(lens) => lens,
            None => self,
        })
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        Some(Schema::of::<T>())
    }

    fn history(&self) -> Option<Arc<Mutex<History>>> {
        self.known()
    }

    fn make_history(self: Arc<Self>, place: Place) {
        tokio::spawn(async move {
            // Who follows what cannot be encoded gets nothing, and hears so.
            match Hosted::history(&self).await {
                Ok(_) => self.hub.tell(&*self, place),
                Err(error) => self.hub.end(place, &error.to_fault()),
            }
        });
    }
}

/// Above this many bytes a value is not hashed.
const HASHED_MAX: usize = 1 << 20;

/// What a value of this type looks like, for [`canary`]; the same for all of them.
fn descriptor<T: Track>() -> Option<Arc<Descriptor>> {
    static KNOWN: Mutex<BTreeMap<TypeId, Option<Arc<Descriptor>>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known().get(&TypeId::of::<T>()) {
        return known.clone();
    }
    // Outside of the lock: it is code of the user's that describes.
    let made = Descriptor::of::<T>().ok().map(Arc::new);
    known().insert(TypeId::of::<T>(), made.clone());
    made
}

/// Whether a session may see less of a value of this type than another.
fn has_views(descriptor: &Descriptor) -> bool {
    let fields = descriptor.types().iter().flat_map(|ty| match ty {
        Type::Struct { fields, .. } => fields.iter().collect::<Vec<_>>(),
        Type::Enum { variants, .. } => variants.iter().flat_map(|v| &v.fields).collect(),
        _ => Vec::new(),
    });
    fields.into_iter().any(|field| field.view.is_some())
}

/// The canary of a value (objects.md, section 4); `None` where it cannot be had, or is not worth it.
pub(super) fn state_hash<T: Track>(value: &T) -> Option<u64> {
    let descriptor = descriptor::<T>()?;
    let mut patcher = Patcher::new();
    patcher.value(value).ok()?;
    let (bytes, _) = patcher.finish().ok()?;
    (bytes.len() <= HASHED_MAX).then(|| canary(&bytes, &descriptor))?
}

thread_local! {
    /// What the method that is being polled here changed: looked at after every poll, so it is cheap to see that it is
    /// nothing.
    static CHANGED: Cell<bool> = const { Cell::new(false) };
    static CHANGES: RefCell<Vec<(Weak<Conn>, SubscriberKey, u64)>> = const { RefCell::new(Vec::new()) };
}

fn note_change(conn: &Arc<Conn>, key: SubscriberKey, rev: u64) {
    let first = !CHANGED.replace(true);
    let before = CHANGES.with(|changes| {
        let mut changes = changes.borrow_mut();
        let before = first.then(|| std::mem::take(&mut *changes));
        // What nobody takes must not keep a connection.
        changes.push((Arc::downgrade(conn), key, rev));
        before
    });
    drop(before);
}

/// Before a method is polled: what was changed on this thread before is nobody's.
#[inline]
pub(crate) fn note_changes() {
    CHANGED.set(false);
}

/// After a method was polled: what it changed that its caller follows is to be told with its result (R10).
#[inline]
pub(crate) fn take_changes(conn: &Conn, id: IncomingId) {
    if CHANGED.replace(false) {
        took_changes(conn, id);
    }
}

#[cold]
fn took_changes(conn: &Conn, id: IncomingId) {
    let changes = CHANGES.with(|changes| std::mem::take(&mut *changes.borrow_mut()));
    for (of, key, rev) in changes {
        if std::ptr::eq(of.as_ptr(), conn) {
            conn.note_change(id, key, rev);
        }
    }
}
