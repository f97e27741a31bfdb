//! [`Hub`]: who follows a shared value, and how far each has been told. There is no queue for anybody: each has a place
//! in the value's history, and gets what leads from there to the head when its connection can take it (R20).
//!
//! No code of the user's runs under its lock, nor is that of a session taken under it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use helve_handles::schema::Schema;
use helve_handles::shared::{History, Life, Payload, Update};
use helve_protocol::blob::Body;
use helve_protocol::session::{Change, SubscriberKey};
use helve_protocol::{Code, Fault};
use slotmap::SlotMap;
use tokio::time::Instant;

use super::refs;
use super::replica::Sink;
use crate::caps::OutCaps;
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::relay;

/// How often followers are told a hash of the value to compare (objects.md, section 4).
const HASH_REVISIONS: u64 = 64;
const HASH_EVERY: Duration = Duration::from_secs(5);

slotmap::new_key_type! {
    /// One who follows.
    pub struct Place;
}

/// A shared value without its type, of this process or passing through: what connections serve their peers from.
pub trait Publisher: Send + Sync + 'static {
    fn hub(&self) -> &Hub;
    /// The description of the value's type, where that is known here.
    fn schema(&self) -> Option<Arc<Schema>>;
    /// Who else knows it, and its hash.
    #[allow(private_interfaces, reason = "nobody but this crate has any")]
    fn describer(&self) -> Option<(Arc<RemoteRef>, [u8; 16])> {
        None
    }
    /// What the peer of this connection may see of it.
    ///
    /// # Errors
    /// Nothing.
    #[allow(private_interfaces, reason = "nobody but this crate has any")]
    fn seen_by(self: Arc<Self>, conn: &Conn) -> Result<Arc<dyn Publisher>, RpcError>;
    /// Whether it is a part or a view of that one.
    fn is_through(&self, _: &dyn Publisher) -> bool {
        false
    }
    /// What its followers are served from, if it was made already.
    fn history(&self) -> Option<Arc<Mutex<History>>>;
    /// Makes it, which may have to wait for an edit; then serves whom it waited for.
    fn make_history(self: Arc<Self>, place: Place);
}

/// Who follows one shared value.
pub struct Hub {
    min_interval: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    followers: SlotMap<Place, Follower>,
    /// When all were last told.
    told: Option<Instant>,
    /// They will be told soon.
    tick: bool,
    /// A revision, and the hash of the value at it.
    hash: Option<(u64, u64)>,
    /// The revision at which it was last to be made.
    tried: u64,
    /// When that was.
    hashed: Option<Instant>,
}

struct Follower {
    to: To,
    /// The epoch and the revision that it was told, none yet.
    cursor: Option<(u64, u64)>,
    /// Somebody is telling it something just now.
    busy: bool,
    /// There was more to tell meanwhile.
    again: bool,
}

#[derive(Clone)]
enum To {
    Peer(Weak<Conn>, SubscriberKey),
    Here(Weak<dyn Sink>),
}

/// What became of an update.
enum Told {
    /// It is on its way.
    Yes,
    /// There is no room; whoever makes some asks again.
    NotNow,
    /// It is gone, or is to be ended with this fault.
    Gone(Option<Fault>),
}

impl Hub {
    pub(crate) fn new(min_interval: Duration) -> Hub {
        Hub {
            min_interval,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many follow.
    pub(crate) fn len(&self) -> usize {
        self.lock().followers.len()
    }

    /// Whether one of them is a replica in this process.
    pub(crate) fn has_here(&self) -> bool {
        let state = self.lock();
        let mut all = state.followers.values();
        all.any(|follower| matches!(follower.to, To::Here(_)))
    }

    /// The oldest revision of this epoch that one of them stands at.
    pub(crate) fn oldest(&self, epoch: u64) -> Option<u64> {
        let state = self.lock();
        let cursors = state.followers.values().filter_map(|f| f.cursor);
        let revs = cursors.filter(|(of, _)| *of == epoch).map(|(_, rev)| rev);
        revs.min()
    }

    fn add(&self, to: To, cursor: Option<(u64, u64)>) -> Place {
        self.lock().followers.insert(Follower {
            to,
            cursor,
            busy: false,
            again: false,
        })
    }

    /// A peer follows from what it has, which may be nothing.
    pub(crate) fn add_peer(
        &self,
        conn: &Arc<Conn>,
        key: SubscriberKey,
        have: Option<(u64, u64)>,
    ) -> Place {
        self.add(To::Peer(Arc::downgrade(conn), key), have)
    }

    /// A replica in this process follows from what it has.
    pub(crate) fn add_here(&self, sink: Weak<dyn Sink>, have: Option<(u64, u64)>) -> Place {
        self.add(To::Here(sink), have)
    }

    pub(crate) fn remove(&self, place: Place) {
        let removed = self.lock().followers.remove(place);
        drop(removed);
    }

    /// Whether the value at this revision is to be hashed: every 64 revisions or 5 s, if anybody follows.
    pub(crate) fn wants_hash(&self, rev: u64) -> bool {
        let state = self.lock();
        if state.followers.is_empty() {
            return false;
        }
        let revisions = rev.saturating_sub(state.tried);
        let long_ago = state.hashed.is_some_and(|at| at.elapsed() >= HASH_EVERY);
        revisions >= HASH_REVISIONS || long_ago
    }

    pub(crate) fn note_hash(&self, rev: u64, hash: u64) {
        self.tried_hash(rev, Some(hash));
    }

    /// The hash of the value at a revision, or that it has none: that is not asked at once again.
    pub(crate) fn tried_hash(&self, rev: u64, hash: Option<u64>) {
        let mut state = self.lock();
        state.hash = hash.map(|hash| (rev, hash));
        (state.tried, state.hashed) = (rev, Some(Instant::now()));
    }

    /// Nothing is known of the value's hash.
    pub(crate) fn forget_hash(&self) {
        self.lock().hash = None;
    }

    fn hash_of(&self, update: &Update) -> Option<[u8; 8]> {
        let Update::Delta { to, .. } = update else {
            return None;
        };
        let known = self.lock().hash.filter(|(rev, _)| rev == to);
        known.map(|(_, hash)| hash.to_be_bytes())
    }

    /// Ends what one of them follows, because the value cannot be told.
    pub(crate) fn end(&self, place: Place, fault: &Fault) {
        let removed = self.lock().followers.remove(place);
        if let Some(follower) = removed {
            dismiss(&follower.to, fault);
        }
    }

    /// Ends what all of them follow.
    pub(crate) fn end_all(&self, fault: &Fault) {
        let all = std::mem::take(&mut self.lock().followers);
        for follower in all.values() {
            dismiss(&follower.to, fault);
        }
    }

    /// Tells all of them what is new, or sees to it that they are told when the interval is over.
    pub(crate) fn publish(publisher: &Arc<impl Publisher + ?Sized>) {
        let hub = publisher.hub();
        let interval = hub.min_interval;
        if !interval.is_zero() {
            let now = Instant::now();
            let mut state = hub.lock();
            let due = state
                .told
                .map(|told| told + interval)
                .filter(|due| *due > now);
            if let (Some(due), Ok(runtime)) = (due, tokio::runtime::Handle::try_current()) {
                if std::mem::replace(&mut state.tick, true) {
                    return;
                }
                drop(state);
                let publisher = Arc::downgrade(publisher);
                runtime.spawn(async move {
                    tokio::time::sleep_until(due).await;
                    if let Some(publisher) = publisher.upgrade() {
                        publisher.hub().tell_all(&*publisher, Some(due));
                    }
                });
                return;
            }
            drop(state);
            return hub.tell_all(&**publisher, Some(now));
        }
        hub.tell_all(&**publisher, None);
    }

    fn tell_all(&self, publisher: &(impl Publisher + ?Sized), now: Option<Instant>) {
        let mut state = self.lock();
        if now.is_some() {
            (state.told, state.tick) = (now, false);
        }
        let places: Vec<Place> = state.followers.keys().collect();
        drop(state);
        for place in places {
            self.tell(publisher, place);
        }
        self.tidy(publisher);
    }

    /// Lets go of handles that were taken out of the value, and that nobody has to be told of any more.
    pub(crate) fn tidy(&self, publisher: &(impl Publisher + ?Sized)) {
        let Some(history) = publisher.history() else {
            return;
        };
        let holds = |history: &Mutex<History>| {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.holds_references()
        };
        if !holds(&history) {
            return;
        }
        let epoch = {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.life().epoch
        };
        let told = self.oldest(epoch).unwrap_or(u64::MAX);
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = history.forget_references(told);
        drop(history);
        // Without the lock: it may be the last reference to somebody's object.
        drop(gone);
    }

    /// Tells one of them what it does not know yet, as far as it takes it.
    pub(crate) fn tell(&self, publisher: &(impl Publisher + ?Sized), place: Place) {
        // Looked for each time: a forwarder may have another one by now.
        while let Some(history) = publisher.history() {
            let Some((to, life, update)) = self.begin(place, &history) else {
                return;
            };
            let told = match &to {
                To::Peer(conn, key) => match conn.upgrade() {
                    Some(conn) => send(&conn, *key, life, &update, self.hash_of(&update)),
                    None => Told::Gone(None),
                },
                To::Here(sink) => match sink.upgrade() {
                    Some(sink) if sink.take(life, &update) => Told::Yes,
                    Some(_) => Told::NotNow,
                    None => Told::Gone(None),
                },
            };
            if !self.finish(place, &to, life, &update, told) {
                return;
            }
        }
    }

    /// What one of them is to be told next. `None`: nothing, or somebody else is at it.
    fn begin(&self, place: Place, history: &Mutex<History>) -> Option<(To, Life, Update)> {
        let mut state = self.lock();
        let follower = state.followers.get_mut(place)?;
        if follower.busy {
            follower.again = true;
            return None;
        }
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let life = history.life();
        // What it has of another life is nothing (R20.4).
        let cursor = follower.cursor.filter(|(epoch, _)| *epoch == life.epoch);
        let update = history.next(cursor.map(|(_, rev)| rev))?;
        (follower.busy, follower.again) = (true, false);
        Some((follower.to.clone(), life, update))
    }

    /// Whether there may be more.
    fn finish(&self, place: Place, to: &To, life: Life, update: &Update, told: Told) -> bool {
        let mut state = self.lock();
        let Some(follower) = state.followers.get_mut(place) else {
            return false;
        };
        follower.busy = false;
        match told {
            Told::Yes => {
                let rev = match update {
                    Update::Snapshot { rev, .. } => *rev,
                    Update::Delta { to, .. } => *to,
                };
                follower.cursor = Some((life.epoch, rev));
                true
            }
            // Room that was made before `busy` ended was told to somebody who turned away.
            Told::NotNow => std::mem::take(&mut follower.again),
            Told::Gone(fault) => {
                let removed = state.followers.remove(place);
                drop(state);
                drop(removed);
                if let Some(fault) = fault {
                    dismiss(to, &fault);
                }
                false
            }
        }
    }
}

/// Ends what somebody follows from this side.
fn dismiss(to: &To, fault: &Fault) {
    match to {
        To::Peer(conn, key) => {
            if let Some(conn) = conn.upgrade() {
                let forgotten = conn.forget_subscription(*key);
                let fault = relay::outward(fault.clone());
                conn.with(|session| session.end_subscription(*key, fault));
                drop(forgotten);
            }
        }
        To::Here(sink) => {
            if let Some(sink) = sink.upgrade() {
                sink.ended(fault);
            }
        }
    }
}

/// `hash`: that of the value, where one is known of the revision to which a change leads.
fn send(
    conn: &Arc<Conn>,
    key: SubscriberKey,
    life: Life,
    update: &Update,
    hash: Option<[u8; 8]>,
) -> Told {
    let (change, payload) = match update {
        Update::Snapshot { rev, value } => {
            let (epoch, rev, ty) = (life.epoch, *rev, life.ty);
            (Change::Snap { epoch, rev, ty }, value)
        }
        Update::Delta { from, to, node } => {
            let (from, to) = (*from, *to);
            (Change::Delta { from, to, hash }, node)
        }
    };
    // Nothing is made of references for who cannot be told now.
    if !conn.with(|session| {
        let now = session.publishable(key);
        if !now {
            session.want(key);
        }
        now || !session.is_subscribed(key)
    }) {
        return Told::NotNow;
    }
    let caps = match caps_of(conn, payload) {
        Ok(caps) => caps,
        Err(error) => return Told::Gone(Some(error.to_fault())),
    };
    let body = Body::from(&payload.bytes);
    match conn.with(|session| session.publish(key, change, body, &caps.caps)) {
        Poll::Ready(Ok(())) => Told::Yes,
        Poll::Pending => Told::NotNow,
        Poll::Ready(Err(fault)) if fault.code == Code::Gone => Told::Gone(None),
        Poll::Ready(Err(fault)) => Told::Gone(Some(fault)),
    }
}

/// The references of a payload for one connection, and what keeps them alive until they are named there.
fn caps_of(conn: &Arc<Conn>, payload: &Payload) -> Result<OutCaps, RpcError> {
    let mut out = OutCaps::default();
    for reference in payload.refs.iter() {
        let cap = refs::to_cap(reference, conn, &mut out)?;
        out.caps.push(cap);
    }
    Ok(out)
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("followers", &self.len())
            .finish_non_exhaustive()
    }
}
