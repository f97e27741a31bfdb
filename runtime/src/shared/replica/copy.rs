//! The copy itself, and the subscription that keeps it up: who asks for the value, and what becomes of it when it ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use helve_handles::descriptor::Descriptor;
use helve_handles::patch::Translation;
use helve_handles::schema::Schema;
use helve_handles::shared::{Applied, Follower, Life, Update as Served};
use helve_handles::track::Track;
use helve_protocol::session::{FollowKey, Update};
use helve_protocol::{Code, Fault};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::shared::forward::Forwarded;
use crate::shared::host::Hosted;
use crate::shared::hub::{Place, Publisher};
use crate::shared::{calls, refs};
use crate::transport::Close;

use super::applying::{Arrived, Came, Reports};
use super::{ReplicaState, Status};

/// How many bytes of updates may be on their way, or wait here for a reader to leave.
pub(in crate::shared) const WINDOW: u32 = 256 << 10;
/// So many updates that do not fit in a minute end the session.
const FAILURES_MAX: u32 = 3;
const FAILURES_IN: Duration = Duration::from_secs(60);

/// The copy, and what is to be applied to it.
pub(super) struct Core<T: Track> {
    pub(super) follower: RwLock<Follower<T>>,
    pub(super) queue: Mutex<VecDeque<Arrived>>,
    pub(super) reports: Mutex<Reports>,
    /// The host was turned away, and is to be asked when there is room.
    pub(super) wants: AtomicBool,
    pub(super) status: watch::Sender<Status>,
    pub(super) origin: Origin<T>,
    /// Itself, for those who tell it.
    pub(super) me: OnceLock<Weak<Core<T>>>,
}

pub(super) enum Origin<T: Track> {
    There(Remote),
    Here(Arc<Hosted<T>>, OnceLock<Place>),
}

/// The subscription to a peer's value.
pub(super) struct Remote {
    pub(super) reference: Arc<RemoteRef>,
    /// For what cannot be done in place.
    pub(super) runtime: Handle,
    pub(super) state: Mutex<RemoteState>,
}

#[derive(Default)]
pub(super) struct RemoteState {
    pub(super) key: Option<FollowKey>,
    /// The description that the host's values have, when it is known to be ours or how it differs.
    pub(super) ty: Option<[u8; 16]>,
    /// It is being asked for; nothing is applied meanwhile.
    pub(super) asking: bool,
    /// How it differs, as far as who applies has not heard of it.
    pub(super) translation: Option<Option<Translation>>,
    /// The subscription by which something came.
    pub(super) began: Option<FollowKey>,
    /// The host gave us up because we were too slow: to be followed again when what has come is applied.
    pub(super) behind: bool,
    /// The value is forwarded to others, too: it comes from there, and not by a subscription of its own (R20.1).
    pub(super) through: Option<(Arc<Forwarded>, Place)>,
    pub(super) misfits: Misfits,
}

/// How often something did not fit lately.
#[derive(Debug, Default)]
pub(in crate::shared) struct Misfits {
    count: u32,
    since: Option<Instant>,
}

impl Misfits {
    /// Counts one. Whether that makes too many.
    pub(in crate::shared) fn is_too_often(&mut self) -> bool {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= FAILURES_IN) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count >= FAILURES_MAX
    }
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Track> Core<T> {
    pub(super) fn new(origin: Origin<T>) -> Arc<Core<T>> {
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
    pub(super) fn follow(&self, have: Option<(u64, u64)>) -> Result<(), RpcError> {
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
    pub(super) fn go_through(
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
    pub(super) fn waits_again(&self) {
        self.status.send_if_modified(|status| {
            let ended = matches!(status.state, ReplicaState::Ended(_));
            if ended {
                status.state = ReplicaState::Waiting;
            }
            ended
        });
    }

    /// Follows again from where it stands, if the host had given us up.
    pub(super) fn catch_up(&self) {
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

    /// Asks the host what its type looks like, which is not ours.
    pub(super) fn ask(&self, remote: &Remote, ty: [u8; 16]) {
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
    pub(super) fn give_up(&self, error: RpcError) {
        if let Origin::There(remote) = &self.origin {
            remote.leave();
        }
        let left = std::mem::take(&mut *lock(&self.queue));
        drop(left);
        self.end(error);
    }

    pub(super) fn end(&self, error: RpcError) {
        self.status
            .send_modify(|status| status.state = ReplicaState::Ended(error));
    }

    /// Asks for all of the value again, because what came does not fit.
    pub(super) fn restart(&self, remote: &Remote, key: Option<FollowKey>, why: &Applied) {
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

impl Remote {
    /// Follows no more. Whether it was a forwarder that it followed.
    pub(super) fn leave(&self) -> bool {
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
