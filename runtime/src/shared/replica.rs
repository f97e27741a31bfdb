//! [`Replica`]: a copy that follows a shared value. What comes is applied by the connection's task, or, while somebody
//! looks at the copy, by the last one who does: nobody waits for a reader.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::BoxStream;
use helve_handles::descriptor::Descriptor;
use helve_handles::patch::{PatchError, Translation};
use helve_handles::references::Reference;
use helve_handles::schema::Schema;
use helve_handles::shared::{Applied, Follower, Life, Payload, Update as Served};
use helve_handles::track::Track;
use helve_protocol::blob::Blob;
use helve_protocol::session::{Change, FollowKey, Update};
use helve_protocol::{Code, Fault};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::draft::{Draft, Mode};
use super::forward::Forwarded;
use super::host::{Hosted, state_hash};
use super::hub::{Place, Publisher};
use super::{calls, refs};
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::transport::Close;

/// How many bytes of updates may be on their way, or wait here for a reader to leave.
pub(super) const WINDOW: u32 = 256 << 10;
/// So many updates that do not fit in a minute end the session.
const FAILURES_MAX: u32 = 3;
const FAILURES_IN: Duration = Duration::from_secs(60);

/// A copy of a [`Shared`](super::Shared) value that follows it. Clone it freely: clones look at the same copy.
///
/// When the last one is dropped nothing comes any more.
///
/// # Example
/// ```
/// use helve::prelude::*;
/// use helve::{Mode, Replica, Shared};
///
/// # async fn f(board: Shared<Vec<u32>>) -> Result<(), RpcError> {
/// let mut replica: Replica<Vec<u32>> = board.replica().await?;
/// println!("{} numbers", replica.read(|numbers| numbers.len())?);
///
/// // Whenever something changes:
/// while let Ok(rev) = replica.changed().await {
///     println!("revision {rev}: {:?}", replica.read(|numbers| numbers.first().copied())?);
/// }
///
/// // A change from here, where the host allows it.
/// let mut draft = replica.draft()?;
/// draft.push(7);
/// draft.propose(Mode::Strict).await?;
/// # Ok(())
/// # }
/// ```
pub struct Replica<T: Track> {
    core: Arc<Core<T>>,
    status: watch::Receiver<Status>,
    /// What `changed` told last.
    seen: (u64, u64),
}

/// Whether a replica follows.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ReplicaState {
    /// All of the value is on its way: the first time, or because what came did not fit.
    Waiting,
    /// It follows.
    Live,
    /// Nothing comes any more, for this reason; the value stays readable as it was last.
    Ended(RpcError),
}

#[derive(Clone, Debug)]
struct Status {
    state: ReplicaState,
    epoch: u64,
    rev: u64,
}

/// The copy, and what is to be applied to it.
struct Core<T: Track> {
    follower: RwLock<Follower<T>>,
    queue: Mutex<VecDeque<Arrived>>,
    reports: Mutex<Reports>,
    /// The host was turned away, and is to be asked when there is room.
    wants: AtomicBool,
    status: watch::Sender<Status>,
    origin: Origin<T>,
    /// Itself, for those who tell it.
    me: OnceLock<Weak<Core<T>>>,
}

enum Origin<T: Track> {
    There(Remote),
    Here(Arc<Hosted<T>>, OnceLock<Place>),
}

/// What was applied and is to be told, in the order in which it was, by one of those who applied it.
#[derive(Default)]
struct Reports {
    applied: VecDeque<Done>,
    /// Somebody is telling.
    busy: bool,
}

/// The subscription to a peer's value.
struct Remote {
    reference: Arc<RemoteRef>,
    /// For what cannot be done in place.
    runtime: Handle,
    state: Mutex<RemoteState>,
}

#[derive(Default)]
struct RemoteState {
    key: Option<FollowKey>,
    /// The description that the host's values have, when it is known to be ours or how it differs.
    ty: Option<[u8; 16]>,
    /// It is being asked for; nothing is applied meanwhile.
    asking: bool,
    /// How it differs, as far as who applies has not heard of it.
    translation: Option<Option<Translation>>,
    /// The subscription by which something came.
    began: Option<FollowKey>,
    /// The host gave us up because we were too slow: to be followed again when what has come is applied.
    behind: bool,
    /// The value is forwarded to others, too: it comes from there, and not by a subscription of its own (R20.1).
    through: Option<(Arc<Forwarded>, Place)>,
    misfits: Misfits,
}

/// How often something did not fit lately.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    count: u32,
    since: Option<Instant>,
}

impl Misfits {
    /// Counts one. Whether that makes too many.
    pub(super) fn is_too_often(&mut self) -> bool {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= FAILURES_IN) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count >= FAILURES_MAX
    }
}

/// Something that came.
enum Arrived {
    Peer(FollowKey, Came),
    Here(Life, Served),
}

/// An update of a peer's. What is not applied gives its references back.
struct Came {
    change: Change,
    payload: Blob,
    refs: Vec<Reference>,
    cost: u64,
}

/// What replicas are told through in the process where the value is hosted, or forwarded.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Whether it was taken. If not, the host is asked again when there is room.
    fn take(&self, life: Life, update: &Served) -> bool;
    fn ended(&self, fault: &Fault);
}

/// What a connection passes on to the replicas that follow over it.
pub(crate) trait Following: Send + Sync + 'static {
    fn update(&self, key: FollowKey, update: Box<Update<ObjectRef>>);
    fn ended(&self, key: FollowKey, fault: Option<Fault>);
    /// The value is forwarded from now on, by what takes the place of the subscription.
    fn hand_over(&self, to: &Arc<Forwarded>);
    /// Itself, as what it is.
    fn any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Track> Replica<T> {
    fn of(core: Arc<Core<T>>) -> Replica<T> {
        Replica {
            status: core.status.subscribe(),
            core,
            seen: (0, 0),
        }
    }

    /// Of a value of this process.
    pub(super) async fn here(hosted: Arc<Hosted<T>>) -> Result<Replica<T>, RpcError> {
        hosted.history().await?;
        let core = Core::new(Origin::Here(hosted.clone(), OnceLock::new()));
        let sink: Weak<dyn Sink> = Arc::downgrade(&core) as Weak<dyn Sink>;
        let place = hosted.hub().add_here(sink, None);
        if let Origin::Here(_, kept) = &core.origin {
            _ = kept.set(place);
        }
        hosted.hub().tell(&*hosted, place);
        Replica::of(core).begun().await
    }

    /// Of a peer's.
    pub(super) async fn there(reference: Arc<RemoteRef>) -> Result<Replica<T>, RpcError> {
        let conn = reference.conn.clone();
        let import = reference.key;
        let core = conn.followed(import, || {
            let remote = Remote {
                reference,
                runtime: Handle::current(),
                state: Mutex::default(),
            };
            let core: Arc<Core<T>> = Core::new(Origin::There(remote));
            core
        });
        let core = core.any().downcast::<Core<T>>().map_err(|_| {
            let why = "the same value is followed here as another type";
            RpcError::Incompatible(why.to_owned())
        })?;
        core.follow(None)?;
        Replica::of(core).begun().await
    }

    /// Waits until the value is there.
    async fn begun(mut self) -> Result<Replica<T>, RpcError> {
        let begun = |status: &Status| status.state != ReplicaState::Waiting;
        let status = match self.status.wait_for(begun).await {
            Ok(status) => status.clone(),
            Err(_) => return Err(RpcError::SessionLost),
        };
        self.seen = (status.epoch, status.rev);
        match ended(&status) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Looks at the value. What comes meanwhile is applied afterwards: do not look for long.
    ///
    /// # Errors
    /// [`RpcError::NeedSnapshot`]: what came last did not fit, and all of the value is on its way.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, RpcError> {
        // Dropped last, also when `look` panics.
        let _drain = Drain(&self.core);
        let follower = self
            .core
            .follower
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        follower.value().map(look).ok_or(RpcError::NeedSnapshot)
    }

    /// The revision of the value here.
    pub fn rev(&self) -> u64 {
        self.status.borrow().rev
    }

    /// Whether it follows.
    pub fn state(&self) -> ReplicaState {
        self.status.borrow().state.clone()
    }

    /// Waits until the value is at another revision than this clone has seen, and returns that.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub async fn changed(&mut self) -> Result<u64, RpcError> {
        let seen = self.seen;
        let status = self
            .until(|status| (status.epoch, status.rev) != seen)
            .await?;
        self.seen = (status.epoch, status.rev);
        Ok(status.rev)
    }

    /// Waits until the value is at this revision or a later one, and returns which.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub async fn at_least(&self, rev: u64) -> Result<u64, RpcError> {
        let status = self.clone().until(|status| status.rev >= rev).await?;
        Ok(status.rev)
    }

    async fn until(&mut self, reached: impl Fn(&Status) -> bool) -> Result<Status, RpcError> {
        let enough = |status: &Status| reached(status) || ended(status).is_some();
        let status = match self.status.wait_for(enough).await {
            Ok(status) => status.clone(),
            Err(_) => return Err(RpcError::SessionLost),
        };
        match ended(&status) {
            Some(error) if !reached(&status) => Err(error),
            _ => Ok(status),
        }
    }

    /// The revisions from now on, as a stream; what passes faster than it is read is left out. Its last item says why
    /// nothing comes any more.
    pub fn revisions(&self) -> Revisions {
        let following = self.clone();
        let next = |mut following: Option<Replica<T>>| async move {
            let rev = following.as_mut()?.changed().await;
            if rev.is_err() {
                following = None;
            }
            Some((rev, following))
        };
        Revisions(Box::pin(futures::stream::unfold(Some(following), next)))
    }

    /// A copy of the value to be changed and proposed to the host.
    ///
    /// # Errors
    /// As [`read`](Self::read). [`RpcError::Incompatible`]: the host has another version of the type.
    pub fn draft(&self) -> Result<Draft<T>, RpcError> {
        let _drain = Drain(&self.core);
        let follower = self
            .core
            .follower
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if follower.is_translated() {
            let why =
                "the host has another version of the type, which a draft of this one would not fit";
            return Err(RpcError::Incompatible(why.to_owned()));
        }
        let draft = follower.value().cloned().zip(follower.have());
        drop(follower);
        let (value, base) = draft.ok_or(RpcError::NeedSnapshot)?;
        Ok(Draft::new(self.clone(), value, base))
    }

    /// Drafts, changes and proposes until it comes through: again and again where the value has changed meanwhile.
    ///
    /// # Errors
    /// Those of [`Draft::propose`] but [`RpcError::Conflict`].
    pub async fn transact(&self, mut change: impl FnMut(&mut T)) -> Result<u64, RpcError> {
        loop {
            let mut draft = self.draft()?;
            let base = draft.base();
            change(&mut draft);
            match draft.propose(Mode::Disjoint).await {
                Err(RpcError::Conflict) => _ = self.at_least(base + 1).await?,
                done => return done,
            }
        }
    }

    pub(super) async fn propose(
        &self,
        base: u64,
        mode: Mode,
        node: Payload,
    ) -> Result<u64, RpcError> {
        let rev = match &self.core.origin {
            Origin::Here(hosted, _) => {
                let cx = crate::context::Cx::current();
                hosted.clone().propose(base, mode, node, &cx).await?
            }
            Origin::There(remote) => {
                calls::propose(remote.reference.clone(), base, mode, &node).await?
            }
        };
        // Its own change is here before the caller goes on (R10).
        self.at_least(rev).await
    }
}

/// Applies, when it is dropped, what came while somebody looked.
struct Drain<'a, T: Track>(&'a Core<T>);

impl<T: Track> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.0.drain();
    }
}

fn ended(status: &Status) -> Option<RpcError> {
    match &status.state {
        ReplicaState::Ended(error) => Some(error.clone()),
        _ => None,
    }
}

impl<T: Track> Clone for Replica<T> {
    fn clone(&self) -> Self {
        Replica {
            core: self.core.clone(),
            status: self.status.clone(),
            seen: self.seen,
        }
    }
}

impl<T: Track> fmt::Debug for Replica<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.borrow();
        f.debug_struct("Replica")
            .field("rev", &status.rev)
            .field("state", &status.state)
            .finish_non_exhaustive()
    }
}

/// The revisions of a replica; see [`Replica::revisions`].
#[must_use = "a stream does nothing unless it is read"]
pub struct Revisions(BoxStream<'static, Result<u64, RpcError>>);

impl Stream for Revisions {
    type Item = Result<u64, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(task)
    }
}

impl fmt::Debug for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revisions")
    }
}

impl<T: Track> Core<T> {
    fn new(origin: Origin<T>) -> Arc<Core<T>> {
        let status = Status {
            state: ReplicaState::Waiting,
            epoch: 0,
            rev: 0,
        };
        let core = Arc::new(Core {
            follower: RwLock::default(),
            queue: Mutex::default(),
            reports: Mutex::default(),
            wants: AtomicBool::new(false),
            status: watch::Sender::new(status),
            origin,
            me: OnceLock::new(),
        });
        _ = core.me.set(Arc::downgrade(&core));
        core
    }

    /// Subscribes, unless it follows already; from `have` on, where the value here may be trusted.
    fn follow(&self, have: Option<(u64, u64)>) -> Result<(), RpcError> {
        let Origin::There(remote) = &self.origin else {
            return Ok(());
        };
        let mut state = lock(&remote.state);
        let conn = &remote.reference.conn;
        if state.through.is_some() {
            return Ok(());
        }
        if let Some(forwarded) = conn.forwarder(remote.reference.key) {
            let place = self.go_through(&mut state, &forwarded, have);
            self.waits_again();
            drop(state);
            forwarded.serve(place);
            return Ok(());
        }
        let followed = conn.with(|session| {
            if state.key.is_some_and(|key| session.is_following(key)) {
                return Ok(state.key);
            }
            session.follow(remote.reference.key, WINDOW, have).map(Some)
        });
        match followed {
            Ok(key) => {
                if state.key != key {
                    state.key = key;
                    // With the lock: what comes of this subscription is not to be overtaken.
                    self.waits_again();
                }
                Ok(())
            }
            Err(fault) => Err(RpcError::from_fault(&fault)),
        }
    }

    /// It follows what forwards the value, from `have` on.
    fn go_through(
        &self,
        state: &mut RemoteState,
        forwarded: &Arc<Forwarded>,
        have: Option<(u64, u64)>,
    ) -> Place {
        let me = self.me.get().cloned().unwrap_or_default();
        let place = forwarded.hub().add_here(me, have);
        state.key = None;
        state.through = Some((forwarded.clone(), place));
        place
    }

    /// It had ended, and follows again.
    fn waits_again(&self) {
        self.status.send_if_modified(|status| {
            let ended = matches!(status.state, ReplicaState::Ended(_));
            if ended {
                status.state = ReplicaState::Waiting;
            }
            ended
        });
    }

    /// Applies what has come, unless somebody looks at the value, who will do it when they are done.
    fn drain(&self) {
        loop {
            if lock(&self.queue).is_empty() {
                self.wants_more();
                return self.catch_up();
            }
            {
                let Ok(mut follower) = self.follower.try_write() else {
                    return;
                };
                if let Origin::There(remote) = &self.origin
                    && let Some(translation) = lock(&remote.state).translation.take()
                {
                    follower.translate(translation);
                }
                loop {
                    match self.next() {
                        Next::Apply(next) => {
                            let done = self.apply(&mut follower, next);
                            let fits = done.fits();
                            lock(&self.reports).applied.push_back(done);
                            // What came behind it is of a subscription that is given up.
                            if !fits {
                                break;
                            }
                        }
                        Next::Empty => break,
                        // Who asks comes back.
                        Next::Asking => {
                            drop(follower);
                            return self.report();
                        }
                    }
                }
            }
            // Without the lock: others are woken, and may look at once. What came before it was free is looked for again.
            self.report();
        }
    }

    /// A host in this process that was turned away may tell more, or what forwards the value.
    fn wants_more(&self) {
        if !self.wants.swap(false, Ordering::AcqRel) {
            return;
        }
        match &self.origin {
            Origin::Here(hosted, place) => {
                if let Some(place) = place.get() {
                    hosted.hub().tell(&**hosted, *place);
                }
            }
            Origin::There(remote) => {
                let through = lock(&remote.state).through.clone();
                if let Some((forwarded, place)) = through {
                    forwarded.hub().tell(&*forwarded, place);
                }
            }
        }
    }

    /// Tells what was applied, unless somebody does.
    fn report(&self) {
        let mut reports = lock(&self.reports);
        if std::mem::replace(&mut reports.busy, true) {
            return;
        }
        while let Some(done) = reports.applied.pop_front() {
            drop(reports);
            self.applied(done);
            reports = lock(&self.reports);
        }
        reports.busy = false;
    }

    /// Follows again from where it stands, if the host had given us up.
    fn catch_up(&self) {
        let Origin::There(remote) = &self.origin else {
            return;
        };
        if !std::mem::take(&mut lock(&remote.state).behind) {
            return;
        }
        let have = match self.follower.try_read() {
            Ok(follower) => follower.have(),
            Err(_) => None,
        };
        if let Err(error) = self.follow(have) {
            self.end(error);
        }
    }

    /// The next thing to apply.
    fn next(&self) -> Next {
        // Dropped after the locks: references go back over the connection.
        let mut stale = Vec::new();
        let mut queue = lock(&self.queue);
        let Origin::There(remote) = &self.origin else {
            return queue.pop_front().map_or(Next::Empty, Next::Apply);
        };
        let mut state = lock(&remote.state);
        if state.asking {
            return Next::Asking;
        }
        while let Some(front) = queue.front() {
            let ty = match front {
                // Of a subscription that is over: its host begins anew.
                Arrived::Peer(key, _) if Some(*key) != state.key => {
                    stale.extend(queue.pop_front());
                    continue;
                }
                Arrived::Peer(_, update) => match update.change {
                    Change::Snap { ty, .. } => Some(ty),
                    Change::Delta { .. } => None,
                },
                Arrived::Here(life, _) => Some(life.ty),
            };
            if let Some(ty) = ty
                && state.ty != Some(ty)
            {
                if ty == Schema::of::<T>().hash() {
                    state.ty = Some(ty);
                } else {
                    state.asking = true;
                    self.ask(remote, ty);
                    return Next::Asking;
                }
            }
            break;
        }
        queue.pop_front().map_or(Next::Empty, Next::Apply)
    }

    /// Asks the host what its type looks like, which is not ours.
    fn ask(&self, remote: &Remote, ty: [u8; 16]) {
        let (me, reference) = (
            self.me.get().cloned().unwrap_or_default(),
            remote.reference.clone(),
        );
        remote.runtime.spawn(async move {
            let described = calls::describe(reference, ty).await;
            let translation =
                described.and_then(|theirs| translation_of(&theirs, &Schema::of::<T>()));
            let Some(me) = me.upgrade() else {
                return;
            };
            let Origin::There(remote) = &me.origin else {
                return;
            };
            match translation {
                Ok(translation) => {
                    // For who applies: nothing waits here for a reader.
                    let mut state = lock(&remote.state);
                    state.translation = Some(Some(translation));
                    (state.ty, state.asking) = (Some(ty), false);
                }
                Err(error) => {
                    lock(&remote.state).asking = false;
                    me.give_up(error);
                }
            }
            me.drain();
        });
    }

    /// Ends the subscription from this side.
    fn give_up(&self, error: RpcError) {
        if let Origin::There(remote) = &self.origin {
            remote.leave();
        }
        let left = std::mem::take(&mut *lock(&self.queue));
        drop(left);
        self.end(error);
    }

    fn end(&self, error: RpcError) {
        self.status
            .send_modify(|status| status.state = ReplicaState::Ended(error));
    }

    fn apply(&self, follower: &mut Follower<T>, next: Arrived) -> Done {
        let (key, cost, result) = match next {
            Arrived::Peer(key, update) => {
                let Came {
                    change,
                    payload,
                    refs,
                    cost,
                } = update;
                let result = change_by(follower, change, &payload, &refs);
                (Some(key), cost, result)
            }
            Arrived::Here(Life { epoch, ty }, update) => {
                let (change, payload) = match update {
                    Served::Snapshot { rev, value } => (Change::Snap { epoch, rev, ty }, value),
                    Served::Delta { from, to, node } => {
                        let hash = None;
                        (Change::Delta { from, to, hash }, node)
                    }
                };
                (
                    None,
                    0,
                    change_by(follower, change, &payload.bytes, &payload.refs),
                )
            }
        };
        Done {
            key,
            cost,
            result,
            epoch: follower.epoch(),
            rev: follower.rev(),
        }
    }

    fn applied(&self, done: Done) {
        let fits = done.fits();
        let Done {
            key,
            cost,
            result,
            epoch,
            rev,
        } = done;
        if let (Origin::There(remote), false) = (&self.origin, fits) {
            if let Some(key) = key {
                let conn = &remote.reference.conn;
                conn.with(|session| session.grant(key, cost));
            }
            return self.restart(remote, key, &result);
        }
        if let (Origin::Here(hosted, place), false) = (&self.origin, fits) {
            if let Some(place) = place.get() {
                hosted.hub().remove(*place);
            }
            let why = "the value cannot be read as it was written";
            return self.end(RpcError::Decode(why.to_owned()));
        }
        self.status.send_if_modified(|status| {
            let is_new =
                (status.epoch, status.rev) != (epoch, rev) || status.state == ReplicaState::Waiting;
            (status.epoch, status.rev) = (epoch, rev);
            if status.state == ReplicaState::Waiting {
                status.state = ReplicaState::Live;
            }
            is_new
        });
        // Last: what waits for it goes on, and finds it told.
        if let Origin::There(remote) = &self.origin {
            if let Some(key) = key {
                remote.reference.conn.with(|session| {
                    session.grant(key, cost);
                    session.at(key, epoch, rev);
                });
            } else {
                let through = lock(&remote.state).through.clone();
                if let Some((forwarded, _)) = through {
                    forwarded.reached(epoch, rev);
                }
            }
        }
    }

    /// Asks for all of the value again, because what came does not fit.
    fn restart(&self, remote: &Remote, key: Option<FollowKey>, why: &Applied) {
        {
            let state = lock(&remote.state);
            if state.key != key || key.is_none() && state.through.is_none() {
                // That was done already.
                return;
            }
        }
        let conn = &remote.reference.conn;
        tracing::warn!(peer = ?conn.peer, ?why, "a shared value's update does not fit; asking for all of it");
        if *why == Applied::Astray {
            conn.counters.went_astray();
        }
        let too_often = {
            let mut state = lock(&remote.state);
            state.key = None;
            // One that went astray is our own fault, or that of the type.
            *why != Applied::Astray && state.misfits.is_too_often()
        };
        // What comes from a forwarder names no subscription: it is taken out here.
        if remote.leave() {
            let stale: Vec<_> = lock(&self.queue)
                .drain(..)
                .filter(|arrived| matches!(arrived, Arrived::Here(..)))
                .collect();
            drop(stale);
        }
        if too_often {
            let reason = "R20: updates of a shared value did not fit three times in a minute";
            conn.close(Close::new(Close::VIOLATION, reason.to_owned()));
            return;
        }
        self.status
            .send_modify(|status| status.state = ReplicaState::Waiting);
        if let Err(error) = self.follow(None) {
            self.end(error);
        }
    }
}

enum Next {
    Apply(Arrived),
    Empty,
    /// The host's type has to be known first.
    Asking,
}

impl Remote {
    /// Follows no more. Whether it was a forwarder that it followed.
    fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        let (key, through) = (state.key.take(), state.through.take());
        drop(state);
        if let Some(key) = key {
            self.reference.conn.with(|session| session.unfollow(key));
        }
        if let Some((forwarded, place)) = &through {
            forwarded.hub().remove(*place);
        }
        through.is_some()
    }
}

/// What was applied, to be told without the lock.
struct Done {
    key: Option<FollowKey>,
    cost: u64,
    result: Applied,
    epoch: u64,
    rev: u64,
}

impl Done {
    fn fits(&self) -> bool {
        matches!(self.result, Applied::Now(_) | Applied::Old)
    }
}

/// Applies one update. Code of the user's reads the values in it: its panic is an update that does not fit.
fn change_by<T: Track>(
    follower: &mut Follower<T>,
    change: Change,
    payload: &[u8],
    refs: &[Reference],
) -> Applied {
    let apply = AssertUnwindSafe(|| match change {
        Change::Snap { epoch, rev, .. } => follower.snapshot(epoch, rev, payload, refs),
        Change::Delta { from, to, hash } => {
            let applied = follower.delta(from, to, payload, refs);
            match (hash.filter(|_| applied != Applied::Old), follower.value()) {
                // A value of another version says less, or more.
                (Some(theirs), Some(value)) if !follower.is_translated() => {
                    let ours = state_hash(value).map(u64::to_be_bytes);
                    match ours.is_some_and(|ours| ours != theirs) {
                        true => follower.astray(),
                        false => applied,
                    }
                }
                _ => applied,
            }
        }
    });
    catch_unwind(apply)
        .unwrap_or_else(|_| Applied::Torn(PatchError::Value("reading it panicked".to_owned())))
}

/// How the host's type is read as ours.
fn translation_of(theirs: &[u8], ours: &Schema) -> Result<Translation, RpcError> {
    let malformed = |_| RpcError::Incompatible("its description is malformed".to_owned());
    let theirs = Descriptor::parse(theirs).map_err(malformed)?;
    let ours = Descriptor::parse(ours.bytes()).map_err(malformed)?;
    let translation = Translation::between(&theirs, &ours);
    translation.map_err(|why| RpcError::Incompatible(why.to_string()))
}

impl<T: Track> Sink for Core<T> {
    fn take(&self, life: Life, update: &Served) -> bool {
        let mut queue = lock(&self.queue);
        // One waits for a reader to leave: nobody has a queue.
        let taken = queue.is_empty();
        if taken {
            queue.push_back(Arrived::Here(life, update.clone()));
        } else {
            self.wants.store(true, Ordering::Release);
        }
        drop(queue);
        self.drain();
        taken
    }

    fn ended(&self, fault: &Fault) {
        if let Origin::There(remote) = &self.origin {
            remote.leave();
        }
        self.end(RpcError::from_fault(fault));
    }
}

impl<T: Track> Following for Core<T> {
    fn update(&self, key: FollowKey, update: Box<Update<ObjectRef>>) {
        let Origin::There(remote) = &self.origin else {
            return;
        };
        let Update {
            change,
            payload,
            caps,
            cost,
        } = *update;
        let came = Came {
            change,
            payload,
            refs: refs::came(&remote.reference.conn, caps),
            cost,
        };
        lock(&remote.state).began = Some(key);
        lock(&self.queue).push_back(Arrived::Peer(key, came));
        self.drain();
    }

    fn ended(&self, key: FollowKey, fault: Option<Fault>) {
        let Origin::There(remote) = &self.origin else {
            return;
        };
        let mut state = lock(&remote.state);
        if state.key != Some(key) {
            return;
        }
        let fault = fault.unwrap_or_else(|| Fault::new(Code::Gone, "the host ended it"));
        // We were too slow, if it ever came to something. What is still to be applied stays valid.
        if fault.code == Code::Exhausted && state.began == Some(key) {
            state.behind = true;
            drop(state);
            return self.drain();
        }
        state.key = None;
        // With the lock: whoever follows anew comes after it.
        self.end(RpcError::from_fault(&fault));
    }

    fn hand_over(&self, to: &Arc<Forwarded>) {
        let Origin::There(remote) = &self.origin else {
            return;
        };
        let have = match self.follower.try_read() {
            Ok(follower) => follower.have(),
            Err(_) => None,
        };
        let mut state = lock(&remote.state);
        // It has ended, or has gone there by itself.
        if state.key.is_none() {
            return;
        }
        let place = self.go_through(&mut state, to, have);
        drop(state);
        to.serve(place);
    }

    fn any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl<T: Track> Drop for Core<T> {
    fn drop(&mut self) {
        match &self.origin {
            Origin::Here(hosted, place) => {
                if let Some(place) = place.get() {
                    hosted.hub().remove(*place);
                    hosted.hub().tidy(&**hosted);
                }
            }
            Origin::There(remote) => {
                remote.leave();
                let conn: &Arc<Conn> = &remote.reference.conn;
                conn.forget_followed(remote.reference.key);
            }
        }
    }
}
