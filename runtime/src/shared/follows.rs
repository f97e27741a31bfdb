//! What a connection knows of shared values: which of ours its peer follows, and which of the peer's are followed here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use helve_handles::schema::Schema;
use helve_protocol::session::{FollowKey, ImportKey, IncomingId, SubscriberKey, Update};
use helve_protocol::{Code, Fault};
use tokio::time::Instant;

use super::forward::Forwarded;
use super::hub::{Place, Publisher};
use super::rates::Rates;
use super::replica::Following;
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;
use crate::node::ObjectRef;
use crate::transport::Close;

/// The part of a connection that shared values need.
#[derive(Default)]
pub(crate) struct Follows {
    tables: Mutex<Tables>,
    /// `changes` is not empty.
    has_changes: AtomicBool,
    /// What the peer's proposals got wrong.
    rates: Mutex<Rates>,
}

#[derive(Default)]
struct Tables {
    /// Ours that the peer follows.
    subscriptions: HashMap<SubscriberKey, (Arc<dyn Publisher>, Place)>,
    /// The peer's that are followed here.
    following: HashMap<ImportKey, Followed>,
    /// What calls of the peer's that still run have changed that it follows.
    changes: Vec<(IncomingId, SubscriberKey, u64)>,
}

/// Who wants to hear of a peer's value: one subscription serves both (R20.1).
#[derive(Default)]
struct Followed {
    replica: Option<Weak<dyn Following>>,
    /// Passes it on, to the replica too.
    forwarded: Weak<Forwarded>,
}

impl Followed {
    fn replica(&self) -> Option<Arc<dyn Following>> {
        self.replica.as_ref()?.upgrade()
    }
}

impl Follows {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn {
    /// The peer follows this object from now on, if it can be followed.
    pub(crate) fn subscribed(
        self: &Arc<Self>,
        object: &ObjectRef,
        key: SubscriberKey,
        have: Option<(u64, u64)>,
    ) {
        let Some(publisher) = object.0.local.publisher() else {
            let fault = Fault::new(Code::Unimplemented, "the object is not a shared value");
            return self.with(|session| session.end_subscription(key, fault));
        };
        let publisher = match publisher.seen_by(self) {
            Ok(publisher) => publisher,
            Err(error) => {
                let fault = error.to_fault();
                return self.with(|session| session.end_subscription(key, fault));
            }
        };
        let place = {
            // At once: somebody may tell it something, and give it up, as soon as it is there.
            let mut tables = self.follows.lock();
            let place = publisher.hub().add_peer(self, key, have);
            let subscription = (publisher.clone(), place);
            tables.subscriptions.insert(key, subscription);
            place
        };
        match publisher.history() {
            Some(_) => publisher.hub().tell(&*publisher, place),
            None => publisher.make_history(place),
        }
    }

    /// There is room for a follower that wanted some.
    pub(crate) fn room(&self, key: SubscriberKey) {
        let found = self.follows.lock().subscriptions.get(&key).cloned();
        if let Some((publisher, place)) = found {
            publisher.hub().tell(&*publisher, place);
            publisher.hub().tidy(&*publisher);
        }
    }

    /// The peer does not follow it any more.
    pub(crate) fn unsubscribed(&self, key: SubscriberKey) {
        if let Some((publisher, place)) = self.forget_subscription(key) {
            publisher.hub().remove(place);
            // It may have been the last one to be told of a handle that was taken out.
            publisher.hub().tidy(&*publisher);
        }
    }

    pub(crate) fn forget_subscription(
        &self,
        key: SubscriberKey,
    ) -> Option<(Arc<dyn Publisher>, Place)> {
        self.follows.lock().subscriptions.remove(&key)
    }

    /// By which subscriptions the peer follows this value.
    pub(crate) fn subscriptions_to(
        &self,
        publisher: &Arc<dyn Publisher>,
    ) -> Vec<(SubscriberKey, Place)> {
        let tables = self.follows.lock();
        let same =
            |of: &Arc<dyn Publisher>| std::ptr::addr_eq(Arc::as_ptr(of), Arc::as_ptr(publisher));
        let all = tables.subscriptions.iter();
        all.filter(|(_, (of, _))| same(of))
            .map(|(key, (_, place))| (*key, *place))
            .collect()
    }

    /// By which subscriptions the peer follows a part or a view of this value.
    pub(crate) fn subscriptions_through(
        &self,
        publisher: &Arc<dyn Publisher>,
    ) -> Vec<(SubscriberKey, Arc<dyn Publisher>, Place)> {
        let tables = self.follows.lock();
        let all = tables.subscriptions.iter();
        all.filter(|(_, (of, _))| of.is_through(&**publisher))
            .map(|(key, (lens, place))| (*key, lens.clone(), *place))
            .collect()
    }

    /// The description with this hash, of a value that the peer follows.
    pub(crate) fn schema_of(&self, hash: [u8; 16]) -> Option<Arc<Schema>> {
        let mut schemas = self.publishers().into_iter().filter_map(|of| of.schema());
        schemas.find(|schema| schema.hash() == hash)
    }

    /// Who has the description with this hash, of a value that the peer follows through here.
    pub(crate) fn describer_of(&self, hash: [u8; 16]) -> Option<Arc<RemoteRef>> {
        let all = self.publishers();
        let mut describers = all.iter().filter_map(|of| of.describer());
        let found = describers.find(|(_, ty)| *ty == hash);
        found.map(|(remote, _)| remote)
    }

    /// All that the peer follows.
    fn publishers(&self) -> Vec<Arc<dyn Publisher>> {
        let tables = self.follows.lock();
        let all = tables.subscriptions.values();
        all.map(|(of, _)| of.clone()).collect()
    }

    /// Whether the peer may propose something, after all that was refused.
    pub(crate) fn may_propose(&self) -> bool {
        self.follows.rates().allow(Instant::now())
    }

    /// What became of a proposal of the peer's.
    pub(crate) fn proposed(&self, error: &RpcError) {
        let now = Instant::now();
        match error {
            RpcError::Denied(_) => self.follows.rates().refused(now),
            RpcError::Decode(_) => {
                let too_many = self.follows.rates().malformed(now);
                if too_many {
                    let reason = "P1.12: three malformed proposals in a minute";
                    self.close(Close::new(Close::VIOLATION, reason.to_owned()));
                }
            }
            _ => {}
        }
    }

    /// A call of the peer's changed something that it follows.
    pub(crate) fn note_change(&self, id: IncomingId, key: SubscriberKey, rev: u64) {
        let mut tables = self.follows.lock();
        let known = tables
            .changes
            .iter_mut()
            .find(|(of, on, _)| (*of, *on) == (id, key));
        match known {
            Some((.., known)) => *known = rev.max(*known),
            None => tables.changes.push((id, key, rev)),
        }
        self.follows.has_changes.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn has_changes(&self) -> bool {
        self.follows.has_changes.load(Ordering::Acquire)
    }

    /// What a call changed that the peer follows, and at which revisions that is now.
    #[inline]
    pub(crate) fn take_changes(&self, id: IncomingId) -> Vec<(SubscriberKey, u64)> {
        if self.has_changes() {
            self.took_changes(id)
        } else {
            Vec::new()
        }
    }

    #[cold]
    fn took_changes(&self, id: IncomingId) -> Vec<(SubscriberKey, u64)> {
        let mut tables = self.follows.lock();
        let of_call = |(of, ..): &mut (IncomingId, SubscriberKey, u64)| *of == id;
        let changed = tables.changes.extract_if(.., of_call);
        let changed = changed.map(|(_, key, rev)| (key, rev)).collect();
        let has_changes = !tables.changes.is_empty();
        self.follows
            .has_changes
            .store(has_changes, Ordering::Release);
        changed
    }

    /// The replica of a value of the peer's, the one that there is or a new one.
    pub(crate) fn followed<F: Following>(
        &self,
        import: ImportKey,
        make: impl FnOnce() -> Arc<F>,
    ) -> Arc<dyn Following> {
        let known = |tables: &Tables| tables.following.get(&import).and_then(Followed::replica);
        if let Some(known) = known(&self.follows.lock()) {
            return known;
        }
        // Outside of the lock, so that it may be dropped again where somebody else was faster.
        let made: Arc<dyn Following> = make();
        let mut tables = self.follows.lock();
        let other = known(&tables);
        if other.is_none() {
            let followed = tables.following.entry(import).or_default();
            followed.replica = Some(Arc::downgrade(&made));
        }
        drop(tables);
        other.unwrap_or(made)
    }

    /// What passes a value of the peer's on, where something does.
    pub(crate) fn forwarder(&self, import: ImportKey) -> Option<Arc<Forwarded>> {
        let tables = self.follows.lock();
        tables.following.get(&import)?.forwarded.upgrade()
    }

    /// The same, or a new one, with the replica that there may have been before it.
    pub(crate) fn forwarded(
        &self,
        import: ImportKey,
        make: impl FnOnce() -> Arc<Forwarded>,
    ) -> (Arc<Forwarded>, Option<Arc<dyn Following>>) {
        let mut tables = self.follows.lock();
        let followed = tables.following.entry(import).or_default();
        if let Some(known) = followed.forwarded.upgrade() {
            return (known, None);
        }
        let made = make();
        followed.forwarded = Arc::downgrade(&made);
        (made, followed.replica())
    }

    /// Somebody who followed this value is gone, unless there is another one by now.
    pub(crate) fn forget_followed(&self, import: ImportKey) {
        let mut tables = self.follows.lock();
        let gone = tables.following.get(&import).is_some_and(|followed| {
            let replica = followed.replica.as_ref().map_or(0, Weak::strong_count);
            replica == 0 && followed.forwarded.strong_count() == 0
        });
        if gone {
            tables.following.remove(&import);
        }
    }

    fn following(&self, key: FollowKey) -> Option<Arc<dyn Following>> {
        let tables = self.follows.lock();
        let followed = tables.following.get(&key.import())?;
        match followed.forwarded.upgrade() {
            Some(forwarded) => Some(forwarded),
            None => followed.replica(),
        }
    }

    /// Something came for a replica.
    pub(crate) fn updated(self: &Arc<Self>, key: FollowKey, update: Box<Update<ObjectRef>>) {
        match self.following(key) {
            Some(following) => following.update(key, update),
            None => self.with(|session| session.discard(update.caps)),
        }
    }

    /// Nothing comes for it any more.
    pub(crate) fn follow_ended(&self, key: FollowKey, fault: Option<Fault>) {
        if let Some(following) = self.following(key) {
            following.ended(key, fault);
        }
    }
}
