//! [`Lens`]: a part of a shared value, or what a session sees of it that does not hold every view. It follows the whole
//! inside of this process, and those who follow the part or the view are served from its own history: made once for all
//! who look through the same lens (objects.md, section 9).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use helve_handles::descriptor::Descriptor;
use helve_handles::patch::{PatchError, Path, View};
use helve_handles::references::Reference;
use helve_handles::schema::{InterfaceDesc, Schema, TypeDesc};
use helve_handles::shared::{History, Life, Payload, Update};
use helve_handles::wire::{Typed, Wire};
use helve_protocol::{Code, Fault};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hub::{Hub, Place, Publisher};
use super::replica::Sink;
use super::{Mode, SHARED, host};
use crate::connection::Conn;
use crate::context::Cx;
use crate::dispatch::Incoming;
use crate::error::RpcError;
use crate::handle::{Dispatch, Ref};

/// A shared value of this process, as lenses see it.
pub(crate) trait Whole: Publisher {
    fn descriptor(&self) -> Option<Arc<Descriptor>>;
    /// Those that there are.
    fn lenses(&self) -> &Lenses;
    fn propose(
        self: Arc<Self>,
        base: u64,
        mode: Mode,
        node: Payload,
        cx: Cx,
    ) -> BoxFuture<'static, Result<u64, RpcError>>;
}

/// What makes one lens another than the next: the steps of its path, and the views that its sessions hold.
type Key = (Option<Vec<u8>>, Option<Vec<String>>);

/// The lenses of one value that somebody looks through.
#[derive(Default)]
pub(crate) struct Lenses(Mutex<Vec<(Key, Weak<Lens>)>>);

/// A part of a value, or a view of it, or both.
pub(crate) struct Lens {
    whole: Arc<dyn Whole>,
    place: OnceLock<Place>,
    descriptor: Arc<Descriptor>,
    path: Option<Path>,
    view: Option<View>,
    schema: Arc<Schema>,
    hub: Hub,
    state: Mutex<State>,
    me: Weak<Lens>,
}

#[derive(Default)]
struct State {
    history: Option<Arc<Mutex<History>>>,
    /// The revision of the whole that was looked at last.
    seen: u64,
}

/// Bytes and references, as they are in lists.
type Parts = (Vec<u8>, Vec<Reference>);

/// What the holder of `views` sees of a value: `None`, all of it.
pub(crate) fn seen_by(
    whole: Arc<dyn Whole>,
    views: &[String],
) -> Result<Option<Arc<Lens>>, RpcError> {
    Lens::of(whole, None, views)
}

impl Lens {
    /// The lens for a part (by the steps to it; `None`: all) and these views. `None`: it would show everything.
    fn of(
        whole: Arc<dyn Whole>,
        steps: Option<&[u8]>,
        views: &[String],
    ) -> Result<Option<Arc<Lens>>, RpcError> {
        let descriptor = whole.descriptor().ok_or_else(|| {
            RpcError::Unimplemented("the type of this value is too large to be taken apart".into())
        })?;
        let view = view(&descriptor, views)?;
        let key = (
            steps.map(<[u8]>::to_vec),
            view.is_some().then(|| views.to_vec()),
        );
        if key == (None, None) {
            return Ok(None);
        }
        let path = steps.map(|steps| Path::resolve(&descriptor, steps));
        let path = path
            .transpose()
            .map_err(|error| RpcError::Decode(error.to_string()))?;
        if let (Some(path), Some(view)) = (&path, &view)
            && !view.shows(path.views())
        {
            return Err(RpcError::Denied("this part is not in your view".into()));
        }
        let mut lenses = whole.lenses().lock();
        lenses.retain(|(_, lens)| lens.strong_count() > 0);
        let known = lenses.iter().find(|(of, _)| *of == key);
        if let Some(known) = known.and_then(|(_, lens)| lens.upgrade()) {
            return Ok(Some(known));
        }
        let schema = match &path {
            Some(path) => Some(Arc::new(Schema::encoded(descriptor.optional(path.ty())))),
            None => whole.schema(),
        };
        let schema = schema.ok_or(RpcError::Gone)?;
        let lens = Arc::new_cyclic(|me| Lens {
            whole: whole.clone(),
            place: OnceLock::new(),
            descriptor,
            path,
            view,
            schema,
            hub: Hub::new(Duration::ZERO),
            state: Mutex::default(),
            me: me.clone(),
        });
        lenses.push((key, Arc::downgrade(&lens)));
        drop(lenses);
        let sink: Weak<dyn Sink> = Arc::downgrade(&lens) as Weak<dyn Sink>;
        let place = whole.hub().add_here(sink, None);
        _ = lens.place.set(place);
        match whole.history() {
            Some(_) => whole.hub().tell(&*whole, place),
            None => whole.make_history(place),
        }
        Ok(Some(lens))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value of the whole, as it is seen.
    fn value(&self, value: &Payload) -> Result<Payload, PatchError> {
        let shown: Option<Parts> = match &self.view {
            Some(view) => Some(view.value(self.descriptor.root(), &value.bytes, &value.refs)?),
            None => None,
        };
        let (bytes, refs) = match &shown {
            Some((bytes, refs)) => (&bytes[..], &refs[..]),
            None => (&value.bytes[..], &value.refs[..]),
        };
        let seen = match &self.path {
            Some(path) => path.value(bytes, refs)?,
            None => (bytes.to_vec(), refs.to_vec()),
        };
        Ok(Payload::of(seen.0, seen.1))
    }

    /// A change of the whole, as it is seen. `None`: it is not.
    fn node(&self, node: &Payload) -> Result<Option<Payload>, PatchError> {
        let shown: Option<Parts> = match &self.view {
            Some(view) => match view.patch(self.descriptor.root(), &node.bytes, &node.refs)? {
                Some(shown) => Some(shown),
                None => return Ok(None),
            },
            None => None,
        };
        let (bytes, refs) = match &shown {
            Some((bytes, refs)) => (&bytes[..], &refs[..]),
            None => (&node.bytes[..], &node.refs[..]),
        };
        let seen = match &self.path {
            Some(path) => path.patch(bytes, refs)?,
            None => Some((bytes.to_vec(), refs.to_vec())),
        };
        Ok(seen.map(|(bytes, refs)| Payload::of(bytes, refs)))
    }

    /// Takes what the whole has become. Says whether there is something to be told.
    fn look(&self, life: Life, update: &Update) -> Result<bool, PatchError> {
        let ty = self.schema.hash();
        let life = Life { ty, ..life };
        match update {
            Update::Snapshot { rev, value } => {
                let seen = History::new(*rev, self.value(value)?).living(life);
                let mut state = self.lock();
                state.seen = *rev;
                let old = state.history.replace(Arc::new(Mutex::new(seen)));
                drop(state);
                drop(old);
                Ok(true)
            }
            Update::Delta { to, node, .. } => {
                let seen = self.node(node)?;
                let mut state = self.lock();
                state.seen = *to;
                let Some((history, seen)) = state.history.clone().zip(seen) else {
                    return Ok(false);
                };
                drop(state);
                let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
                let is_full = history.wants_snapshot(seen.bytes.len());
                history.push_to(*to, seen);
                drop(history);
                if is_full {
                    self.renew(life);
                }
                Ok(true)
            }
        }
    }

    /// A new snapshot, of what the whole has: changes alone have become longer than the part.
    fn renew(&self, life: Life) {
        let Some((whole, mine)) = self.whole.history().zip(self.lock().history.clone()) else {
            return;
        };
        let (value, nodes, rev) = {
            let whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            let (value, nodes) = whole.replay();
            (value, nodes, whole.snapshot_rev())
        };
        let Ok(value) = self.value(&value) else {
            return;
        };
        let mut history = History::new(rev, value).living(life);
        for (to, node) in (rev + 1..).zip(nodes) {
            match self.node(&node) {
                Ok(Some(seen)) => _ = history.push_to(to, seen),
                Ok(None) => {}
                Err(_) => return,
            }
        }
        // Only where it leads as far: nobody goes back.
        let head = mine.lock().unwrap_or_else(PoisonError::into_inner).head();
        if history.head() >= head {
            let old = self.lock().history.replace(Arc::new(Mutex::new(history)));
            drop(old);
        }
    }

    async fn propose(
        self: Arc<Self>,
        base: u64,
        mode: Mode,
        node: Payload,
        cx: Cx,
    ) -> Result<u64, RpcError> {
        if self.view.is_some() {
            // What it puts in place of something would take along what it does not see.
            return Err(RpcError::Denied(
                "parts of this value are not in your view, so you may not change it".into(),
            ));
        }
        let Some(path) = &self.path else {
            return self.whole.clone().propose(base, mode, node, cx).await;
        };
        let base = self.base(base);
        let whole = Payload {
            bytes: path.whole(&self.descriptor, &node.bytes).into(),
            refs: node.refs,
        };
        self.whole.clone().propose(base, mode, whole, cx).await
    }

    /// The newest revision of the whole at which this part was what it was at `base`.
    fn base(&self, base: u64) -> u64 {
        let state = self.lock();
        let head = state.history.as_ref().map(|history| {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.head()
        });
        if head == Some(base) { state.seen } else { base }
    }
}

/// What hides parts of a value from who holds these views; `None`: nothing does.
fn view(descriptor: &Arc<Descriptor>, views: &[String]) -> Result<Option<View>, RpcError> {
    let held = views.iter().map(String::as_str);
    let view = View::new(descriptor.clone(), held).map_err(|why| {
        tracing::error!(
            ?why,
            "a shared value with views cannot be shown without them"
        );
        RpcError::Denied(
            "this value can be shown only whole, and parts are not in your view".into(),
        )
    })?;
    Ok(view.hides(descriptor.root()).then_some(view))
}

impl Lenses {
    fn lock(&self) -> MutexGuard<'_, Vec<(Key, Weak<Lens>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lens {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            self.whole.hub().remove(*place);
        }
    }
}

impl Sink for Lens {
    fn take(&self, life: Life, update: &Update) -> bool {
        match self.look(life, update) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(me) = self.me.upgrade() {
                    Hub::publish(&me);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a part of a shared value cannot be told");
                let fault = Fault::new(Code::Internal, "the part cannot be told");
                self.hub.end_all(&fault);
            }
        }
        // Its own history is where those wait who are slow.
        true
    }

    fn ended(&self, fault: &Fault) {
        self.hub.end_all(fault);
    }
}

impl Publisher for Lens {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        Some(self.schema.clone())
    }

    fn history(&self) -> Option<Arc<Mutex<History>>> {
        self.lock().history.clone()
    }

    fn seen_by(self: Arc<Self>, _: &Conn) -> Result<Arc<dyn Publisher>, RpcError> {
        Ok(self)
    }

    fn make_history(self: Arc<Self>, _: Place) {
        // It comes from the whole, and tells all who wait for it.
    }

    fn is_through(&self, publisher: &dyn Publisher) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.whole), publisher)
    }
}

/// `helve.Shared/focus`: a part of a value, for whom this call comes from.
pub(super) fn focus(whole: Arc<dyn Whole>, call: Incoming<'_>) {
    let views = call.conn().peer.views().to_vec();
    call.serve::<Focused, RpcError, _>(move |_, args| async move {
        let (steps, _) = args.raw()?;
        let lens = Lens::of(whole, Some(steps), &views)?;
        lens.map(|lens| Part(Ref::here(lens))).ok_or(RpcError::Gone)
    });
}

/// The handle of a part, without the type that it has at who asked.
#[derive(Clone)]
struct Part(Ref<Lens>);

/// What FOCUS answers with.
enum Focused {}

impl Typed for Focused {
    type T = Part;
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ref::deserialize(deserializer).map(Part)
    }
}

impl Wire for Part {
    fn describe() -> TypeDesc {
        TypeDesc::Opaque
    }
}

impl Dispatch for Lens {
    fn dispatch(self: Arc<Self>, call: Incoming<'_>) {
        if call.method() != host::PROPOSE {
            return call.unimplemented();
        }
        call.serve::<host::Proposed, RpcError, _>(move |cx, args| {
            let cx = cx.clone();
            async move {
                let (base, mode, node) = host::proposal(args)?;
                self.propose(base, mode, node, cx).await
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
