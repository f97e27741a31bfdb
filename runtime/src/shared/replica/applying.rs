//! Applying what came: by whoever is there and may write, in order, and told in that order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use helve_handles::patch::PatchError;
use helve_handles::references::Reference;
use helve_handles::schema::Schema;
use helve_handles::shared::{Applied, Follower, Life, Update as Served};
use helve_handles::track::Track;
use helve_protocol::blob::Blob;
use helve_protocol::session::{Change, FollowKey};

use crate::error::RpcError;
use crate::shared::host::state_hash;
use crate::shared::hub::Publisher;

use super::ReplicaState;
use super::copy::{Core, Origin, lock};

/// What was applied and is to be told, in the order in which it was, by one of those who applied it.
#[derive(Default)]
pub(super) struct Reports {
    pub(super) applied: VecDeque<Done>,
    /// Somebody is telling.
    pub(super) busy: bool,
}

/// Something that came.
pub(super) enum Arrived {
    Peer(FollowKey, Came),
    Here(Life, Served),
}

/// An update of a peer's. What is not applied gives its references back.
pub(super) struct Came {
    pub(super) change: Change,
    pub(super) payload: Blob,
    pub(super) refs: Vec<Reference>,
    pub(super) cost: u64,
}

pub(super) enum Next {
    Apply(Arrived),
    Empty,
    /// The host's type has to be known first.
    Asking,
}

/// What was applied, to be told without the lock.
pub(super) struct Done {
    pub(super) key: Option<FollowKey>,
    pub(super) cost: u64,
    pub(super) result: Applied,
    pub(super) epoch: u64,
    pub(super) rev: u64,
}

impl<T: Track> Core<T> {
    /// Applies what has come, unless somebody looks at the value, who will do it when they are done.
    pub(super) fn drain(&self) {
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
    pub(super) fn wants_more(&self) {
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
    pub(super) fn report(&self) {
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

    /// The next thing to apply.
    pub(super) fn next(&self) -> Next {
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

    pub(super) fn apply(&self, follower: &mut Follower<T>, next: Arrived) -> Done {
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

    pub(super) fn applied(&self, done: Done) {
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
}

impl Done {
    pub(super) fn fits(&self) -> bool {
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
