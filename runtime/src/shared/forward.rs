//! [`Forwarded`]: a peer's shared value on its way to other peers (R9.4). One subscription at its host, whoever follows
//! behind; what comes is kept as bytes, and everybody is served from those.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use helve_handles::schema::Schema;
use helve_handles::shared::{Gone, History, Life, Passed, Passing, Payload};
use helve_protocol::limits::PAYLOAD_MAX;
use helve_protocol::session::{Change, FollowKey, ImportKey, SubscriberKey, Update};
use helve_protocol::{Code, Fault};
use tokio::runtime::Handle;

use super::hub::{Hub, Place, Publisher};
use super::refs;
use super::replica::{Following, Misfits, WINDOW};
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::transport::Close;

/// What was taken out of a value is let go at a forwarder after so long, for each 64 KiB of it: only all of the value
/// tells, and is asked for no oftener.
const REFRESH: Duration = Duration::from_secs(1);
const REFRESH_BYTES: usize = 64 << 10;

/// A value that passes through. Lives as long as somebody follows it here.
pub(crate) struct Forwarded {
    remote: Arc<RemoteRef>,
    hub: Hub,
    runtime: Handle,
    state: Mutex<State>,
    me: Weak<Forwarded>,
}

#[derive(Default)]
struct State {
    passing: Passing,
    /// The subscription at the host.
    key: Option<FollowKey>,
    /// That by which something came.
    began: Option<FollowKey>,
    misfits: Misfits,
    /// All of the value will be asked for, for the sake of references.
    refreshes: bool,
}

/// What is to be done behind something that came.
enum Then {
    Nothing,
    Tell,
    /// All of the value is needed: it did not fit, or has been told in changes for too long.
    Follow,
    Refresh(Duration),
}

impl Forwarded {
    /// What passes this value on, to whomever.
    pub(crate) fn of(remote: &Arc<RemoteRef>) -> Arc<Forwarded> {
        let make = || {
            Arc::new_cyclic(|me| Forwarded {
                remote: remote.clone(),
                hub: Hub::new(Duration::ZERO),
                runtime: Handle::current(),
                state: Mutex::default(),
                me: me.clone(),
            })
        };
        let (forwarded, replica) = remote.conn.forwarded(remote.key, make);
        if let Some(replica) = replica {
            replica.hand_over(&forwarded);
        }
        forwarded
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody follows here: serves them, now or when something comes.
    pub(super) fn serve(&self, place: Place) {
        if self.history().is_some() {
            return self.hub.tell(self, place);
        }
        let state = self.lock();
        if state.key.is_none()
            && let Err(fault) = self.follow(state, None)
        {
            self.hub.end(place, &fault);
        }
    }

    /// The replica of this process is at that revision.
    pub(super) fn reached(&self, epoch: u64, rev: u64) {
        let key = self.lock().key;
        if let Some(key) = key {
            let conn = &self.remote.conn;
            conn.with(|session| session.at(key, epoch, rev));
        }
    }

    /// Subscribes at the host, or begins anew there.
    fn follow(
        &self,
        mut state: MutexGuard<'_, State>,
        have: Option<(u64, u64)>,
    ) -> Result<(), Fault> {
        let conn = &self.remote.conn;
        let followed = conn.with(|session| session.follow(self.remote.key, WINDOW, have));
        state.key = followed.as_ref().ok().copied();
        followed.map(drop)
    }

    /// Asks for all of the value; what is known is served until it comes.
    fn follow_anew(&self) {
        if let Err(fault) = self.follow(self.lock(), None) {
            self.end(&fault);
        }
    }

    /// Nothing comes any more: neither for those who follow here.
    fn end(&self, fault: &Fault) {
        let left = std::mem::take(&mut *self.lock());
        self.hub.end_all(fault);
        drop(left);
    }

    /// Takes what came into the history.
    fn take(&self, state: &mut State, change: Change, payload: Payload) -> (Then, Gone) {
        let passing = &mut state.passing;
        match change {
            Change::Delta { to, hash, .. } => {
                if let Some(hash) = hash {
                    self.hub.note_hash(to, u64::from_be_bytes(hash));
                }
            }
            Change::Snap { .. } => self.hub.forget_hash(),
        }
        let (passed, gone) = match change {
            Change::Snap { epoch, rev, ty } => passing.snapshot(Life { epoch, ty }, rev, payload),
            Change::Delta { from, to, .. } => {
                let epoch = passing.head().map(|(life, _)| life.epoch);
                let told = epoch.and_then(|epoch| self.hub.oldest(epoch));
                passing.delta(from, to, payload, told)
            }
        };
        let then = match passed {
            Passed::Gap => Then::Follow,
            _ if passing.is_outgrown() => Then::Follow,
            Passed::Kept => Then::Nothing,
            Passed::On => match passing.may_hold_too_much() {
                Some(len) if !std::mem::replace(&mut state.refreshes, true) => {
                    let times = len / REFRESH_BYTES + 1;
                    Then::Refresh(REFRESH * u32::try_from(times).unwrap_or(u32::MAX))
                }
                _ => Then::Tell,
            },
        };
        (then, gone)
    }

    /// Asks for all of the value in a while, so that references which only its past holds are let go.
    fn refresh_in(&self, time: Duration) {
        let me = self.me.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(time).await;
            let Some(me) = me.upgrade() else {
                return;
            };
            let mut state = me.lock();
            state.refreshes = false;
            let wanted = state.key.is_some() && state.passing.may_hold_too_much().is_some();
            drop(state);
            if wanted {
                me.follow_anew();
            }
        });
    }
}

impl Following for Forwarded {
    fn update(&self, key: FollowKey, update: Box<Update<ObjectRef>>) {
        let Update {
            change,
            payload,
            caps,
            cost,
        } = *update;
        let conn = &self.remote.conn;
        let bytes = match payload.len() {
            // Else it would keep the message that it came in.
            ..=PAYLOAD_MAX => Bytes::copy_from_slice(&payload),
            _ => payload.to_bytes(),
        };
        let payload = Payload {
            bytes,
            refs: refs::passing(conn, caps).into(),
        };
        let mut state = self.lock();
        if state.key != Some(key) {
            // Of a subscription that is over. Dropped behind the lock.
            drop(state);
            return;
        }
        state.began = Some(key);
        // Dropped behind the lock: it may be the last reference to somebody's object.
        let (then, _gone) = self.take(&mut state, change, payload.clone());
        let head = state.passing.head();
        let too_often = matches!(then, Then::Follow)
            && !state.passing.is_outgrown()
            && state.misfits.is_too_often();
        drop(state);
        let replica = self.hub.has_here();
        conn.with(|session| {
            session.grant(key, cost);
            if let Some((life, rev)) = head.filter(|_| !replica) {
                session.at(key, life.epoch, rev);
            }
        });
        if too_often {
            let reason = "R20: updates of a shared value did not fit three times in a minute";
            return conn.close(Close::new(Close::VIOLATION, reason.to_owned()));
        }
        if let Some(me) = self.me.upgrade() {
            Hub::publish(&me);
        }
        match then {
            Then::Nothing | Then::Tell => {}
            Then::Follow => self.follow_anew(),
            Then::Refresh(time) => self.refresh_in(time),
        }
    }

    fn ended(&self, key: FollowKey, fault: Option<Fault>) {
        let mut state = self.lock();
        if state.key != Some(key) {
            return;
        }
        let fault = fault.unwrap_or_else(|| Fault::new(Code::Gone, "the host ended it"));
        state.key = None;
        // We were too slow, if it ever came to something.
        if fault.code == Code::Exhausted && state.began == Some(key) {
            let have = state.passing.have();
            if self.follow(state, have).is_ok() {
                return;
            }
        } else {
            drop(state);
        }
        self.end(&fault);
    }

    fn hand_over(&self, _: &Arc<Forwarded>) {}

    fn any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl Publisher for Forwarded {
    /// Everything that this session was told (R9).
    fn seen_by(self: Arc<Self>, _: &Conn) -> Result<Arc<dyn Publisher>, RpcError> {
        Ok(self)
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        None
    }

    fn describer(&self) -> Option<(Arc<RemoteRef>, [u8; 16])> {
        let (life, _) = self.lock().passing.head()?;
        Some((self.remote.clone(), life.ty))
    }

    fn history(&self) -> Option<Arc<Mutex<History>>> {
        self.lock().passing.served()
    }

    fn make_history(self: Arc<Self>, place: Place) {
        self.serve(place);
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let key = self.lock().key.take();
        let conn: &Arc<Conn> = &self.remote.conn;
        if let Some(key) = key {
            conn.with(|session| session.unfollow(key));
        }
        conn.forget_followed(self.remote.key);
    }
}

/// What a call that was passed on changed, as `to` follows it through here: the revisions go on at once (R9.9).
pub(crate) fn changed_through(
    at: &Arc<Conn>,
    to: &Arc<Conn>,
    changed: &[(ImportKey, u64)],
) -> Vec<(SubscriberKey, u64)> {
    let mut through = Vec::new();
    for (import, rev) in changed {
        if let Some(forwarded) = at.forwarder(*import) {
            let publisher: Arc<dyn Publisher> = forwarded;
            let subscriptions = to.subscriptions_to(&publisher).into_iter();
            through.extend(subscriptions.map(|(key, _)| (key, *rev)));
        }
    }
    through
}
