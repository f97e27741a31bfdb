//! Our shared values, as their host: who subscribed to them, with how much credit, and whose turn it is (R20). What is
//! published are bytes here, and references. Nothing waits here for a subscriber: whoever keeps the value is told when
//! a payload can be numbered at once, and makes it then.

use std::collections::HashMap;
use std::task::Poll;

use helve_handles::{IdHash, Target};

use super::caps::Cap;
use super::incoming::{Reply, revoked, to_send};
use super::producing::{CREDIT_MAX, charge};
use super::tables::{Hosted, Outcome};
use super::transfer::{Of, announce};
use super::{Event, IncomingId, Object, Session, Time};
use crate::blob::Body;
use crate::fault::Fault;
use crate::frame;
use crate::limits::{CAPS_MAX_WIDE, PAYLOAD_MAX};
use crate::{Code, Violation};

/// A subscriber that lets what is pending wait for so long, and neither grants nor acknowledges, is told that it ended.
const STALL_MS: u64 = 30_000;
/// Revisions that one RET names: the rest of its frame has 40,960 bytes (E2.5).
const CHANGED_MAX: usize = 1_024;

/// Names one subscription of the peer's to a shared value of ours, from its SYNC 1 to the next one or its end. Never
/// used again in its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriberKey {
    name: Target,
    serial: u64,
}

/// What a payload of a shared value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// All of it, at `rev` of `epoch`.
    Snap {
        /// Which life of the value: DELTAs after this one belong to it (R20.4).
        epoch: u64,
        /// The revision of the payload.
        rev: u64,
        /// Hash of the descriptor of its type.
        ty: [u8; 16],
    },
    /// A patch node that leads from one revision to another.
    Delta {
        /// The revision that it applies to.
        from: u64,
        /// The revision that it leads to.
        to: u64,
        /// Hash of the state after it (`x`).
        hash: Option<[u8; 8]>,
    },
}

/// One subscription of the peer's. Small: there may be a thousand of them in each of many sessions.
#[derive(Debug)]
struct Subscriber {
    serial: u64,
    credit: i64,
    /// The last SYNC, the end of the last transfer, or the time from which on something is pending.
    heard: Time,
    /// The OPEN that it names is not answered: what it `have`s, to be told then.
    opening: Option<Box<Option<(u64, u64)>>>,
    /// A SNAP or DELTA is under way in PARTs: nothing more is numbered meanwhile (R20.2).
    busy: bool,
    /// [`Event::Room`] is asked for.
    wants: bool,
    /// What is pending is long, and needs a slot (R18.7).
    long: bool,
    /// Stands in [`Subscribers::for_room`].
    listed: bool,
}

/// The peer's subscriptions, by the names that it wrote: one for each (R20.1).
#[derive(Debug)]
pub(super) struct Subscribers {
    by_name: HashMap<Target, Subscriber, IdHash>,
    serial: u64,
    /// Those that have credit and wait for room, or for a slot.
    for_room: Vec<Target>,
    /// When to look next for those that stall.
    check: Option<Time>,
    /// ENDs that wait for room, at most one for each name: nothing of a subscription is numbered once the peer's next
    /// SYNC of that name was read (R20.8).
    ends: Vec<(Target, Fault)>,
}

impl Subscribers {
    pub(super) fn seeded(seed: u64) -> Subscribers {
        Subscribers {
            by_name: HashMap::with_hasher(IdHash::seeded(seed)),
            serial: 0,
            for_room: Vec::new(),
            check: None,
            ends: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len() + self.ends.len()
    }

    /// Whether an END waits for room.
    #[inline]
    pub(super) fn owe_ends(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whether one waits for room.
    #[inline]
    pub(super) fn wait(&self) -> bool {
        !self.for_room.is_empty()
    }

    /// When time must pass even if nothing happens.
    #[inline]
    pub(super) fn check(&self) -> Option<Time> {
        self.check
    }

    fn get(&self, key: SubscriberKey) -> Option<&Subscriber> {
        let subscriber = self.by_name.get(&key.name)?;
        (subscriber.serial == key.serial && subscriber.opening.is_none()).then_some(subscriber)
    }

    fn get_mut(&mut self, key: SubscriberKey) -> Option<&mut Subscriber> {
        let subscriber = self.by_name.get_mut(&key.name)?;
        (subscriber.serial == key.serial && subscriber.opening.is_none()).then_some(subscriber)
    }

    fn watch_stall(&mut self, now: Time) {
        self.check.get_or_insert(now.plus_ms(STALL_MS));
    }
}

/// What the target of a SYNC stands for.
enum Named<O> {
    Nothing,
    /// An OPEN that is not answered.
    Opening,
    Object(O),
    /// Nothing that can be subscribed to; this is why.
    Refused(Fault),
}

impl<O: Object> Session<O> {
    /// SYNC (R20.5).
    pub(super) fn on_sync(
        &mut self,
        target: Target,
        mode: u64,
        n: u64,
        have: Option<(u64, u64)>,
    ) -> Result<(), Violation> {
        let over = Violation::new(
            "R19.4",
            "over 2^31 - 1 bytes of credit for one subscription",
        );
        let n = i64::try_from(n).ok().filter(|n| *n <= CREDIT_MAX);
        let n = n.ok_or(over)?;
        if mode == 1 {
            return self.subscribe(target, n, have);
        }
        if mode == 0 {
            if !self.subscribers.by_name.contains_key(&target)
                && matches!(self.named_by(target), Named::Nothing)
            {
                return self.strike();
            }
            self.unsubscribe(target);
            return Ok(());
        }
        let now = self.now;
        let Some(subscriber) = self.subscribers.by_name.get_mut(&target) else {
            // R20.8: it may cross the END of the subscription.
            return match self.named_by(target) {
                Named::Nothing => self.strike(),
                _ => Ok(()),
            };
        };
        let credit = subscriber.credit.saturating_add(n);
        subscriber.credit = Some(credit).filter(|c| *c <= CREDIT_MAX).ok_or(over)?;
        subscriber.heard = now;
        self.offer(target);
        Ok(())
    }

    /// SYNC of mode 1: begins the one subscription of this name, or begins it anew (R20.1).
    fn subscribe(
        &mut self,
        name: Target,
        window: i64,
        have: Option<(u64, u64)>,
    ) -> Result<(), Violation> {
        self.unsubscribe(name);
        let named = match self.named_by(name) {
            Named::Nothing => return self.strike(),
            Named::Refused(fault) => {
                self.post_ended(name, fault);
                return Ok(());
            }
            named => named,
        };
        if self.subscribers.by_name.len() >= self.config.ours.subs as usize {
            if let Named::Object(o) = named {
                self.garbage.push(o);
            }
            // R14.5
            let text = "too many subscriptions: end some, or raise the `subs` limit";
            self.post_ended(name, Fault::new(Code::Exhausted, text));
            return Ok(());
        }
        self.subscribers.serial += 1;
        let key = SubscriberKey {
            name,
            serial: self.subscribers.serial,
        };
        let opening = match named {
            Named::Object(o) => {
                self.events.push_back(Event::Subscribed(o, key, have));
                None
            }
            _ => Some(Box::new(have)),
        };
        let subscriber = Subscriber {
            serial: key.serial,
            credit: window,
            heard: self.now,
            opening,
            busy: false,
            wants: false,
            long: false,
            listed: false,
        };
        self.subscribers.by_name.insert(name, subscriber);
        Ok(())
    }

    /// What a name stands for that the peer may subscribe to: one that it holds, and has not given back.
    fn named_by(&self, name: Target) -> Named<O> {
        let k = match (name.as_open(), name.as_host()) {
            (Some(c), _) => match self.opened.get(c).filter(|opened| !opened.released) {
                None => return Named::Nothing,
                Some(opened) => match &opened.outcome {
                    Outcome::Pending(_) | Outcome::Leading(_) => return Named::Opening,
                    Outcome::Failed(fault) => return Named::Refused(Fault::broken_by(fault)),
                    Outcome::Bound(k) => *k,
                },
            },
            (None, Some(k)) if k > 0 => match self.exports.by_name.get(k) {
                Some(export) if export.counted > 0 => k,
                _ => return Named::Nothing,
            },
            (None, k) => k.unwrap_or_default(),
        };
        match self.hosted(k) {
            Some(Hosted::Object(o)) if o.is_revoked() && o.is_forwarded() => {
                Named::Refused(Fault::broken_by(&to_send(o.cause())))
            }
            Some(Hosted::Object(o)) if o.is_revoked() => Named::Refused(revoked()),
            Some(Hosted::Object(o)) => Named::Object(o),
            Some(Hosted::Forward(_)) => Named::Refused(elsewhere()),
            Some(Hosted::Broken(fault)) => Named::Refused(Fault::broken_by(&fault)),
            None => Named::Nothing,
        }
    }

    /// The peer's OPEN `c` has its answer: a subscription that waited for it begins, or is told why it does not.
    pub(super) fn subscribe_opened(&mut self, c: u64) {
        let name = Target::open(c);
        let Some(subscriber) = self.subscribers.by_name.get_mut(&name) else {
            return;
        };
        let Some(have) = subscriber.opening.take() else {
            return;
        };
        let key = SubscriberKey {
            name,
            serial: subscriber.serial,
        };
        subscriber.heard = self.now;
        match self.named_by(name) {
            Named::Object(o) => self.events.push_back(Event::Subscribed(o, key, *have)),
            Named::Refused(fault) => self.end_subscription(key, fault),
            // It was released meanwhile.
            Named::Nothing | Named::Opening => _ = self.subscribers.by_name.remove(&name),
        }
    }

    /// Whether this subscription stands. It ends by the peer's wish ([`Event::Unsubscribed`]) or by ours.
    pub fn is_subscribed(&self, key: SubscriberKey) -> bool {
        self.subscribers.get(key).is_some()
    }

    /// Whether a payload of 65,536 bytes or fewer can be numbered now: there is credit, nothing of this subscription is
    /// under way in PARTs, and the replay buffer has room (R20.2, S5.2).
    pub fn publishable(&self, key: SubscriberKey) -> bool {
        let ready = |subscriber: &Subscriber| subscriber.credit > 0 && !subscriber.busy;
        self.subscribers.get(key).is_some_and(ready) && self.has_room()
    }

    /// Something is pending for this subscriber. [`Event::Room`] says once when it is [`publishable`](Self::publishable),
    /// which may be at once.
    pub fn want(&mut self, key: SubscriberKey) {
        let now = self.now;
        let Some(subscriber) = self.subscribers.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut subscriber.wants, true) && !subscriber.busy {
            subscriber.heard = now;
        }
        self.offer(key.name);
        if self.subscribers.get(key).is_some_and(|s| s.wants) {
            self.subscribers.watch_stall(now);
        }
    }

    /// Says that there is room, where it is asked for and there is; else sees to it that this is noticed.
    fn offer(&mut self, name: Target) {
        let (room, slot) = (self.has_room(), self.has_transfer_slot());
        let Some(subscriber) = self.subscribers.by_name.get_mut(&name) else {
            return;
        };
        if !subscriber.wants || subscriber.busy || subscriber.credit <= 0 {
            return;
        }
        if room && (slot || !subscriber.long) {
            (subscriber.wants, subscriber.long) = (false, false);
            let key = SubscriberKey {
                name,
                serial: subscriber.serial,
            };
            self.events.push_back(Event::Room(key));
        } else if !std::mem::replace(&mut subscriber.listed, true) {
            self.subscribers.for_room.push(name);
        }
    }

    /// There is room in the replay buffer again, or a slot.
    pub(super) fn offer_room(&mut self) {
        for name in std::mem::take(&mut self.subscribers.for_room) {
            if let Some(subscriber) = self.subscribers.by_name.get_mut(&name) {
                subscriber.listed = false;
                self.offer(name);
            }
        }
    }

    /// Sends a payload: a value or a patch node, encoded, and the references in it. Pending and nothing sent where the
    /// subscription is not [`publishable`](Self::publishable), or where a payload above 65,536 bytes finds no slot
    /// (R18.7); [`Event::Room`] follows then as if it was [`want`](Self::want)ed. A long payload that is shared is sent
    /// from where it is.
    ///
    /// # Errors
    /// GONE: the subscription is over. Anything else is why this payload cannot be sent (too long for the peer, over
    /// 4,096 references, no place in its table): end the subscription with it.
    pub fn publish<'a>(
        &mut self,
        key: SubscriberKey,
        change: Change,
        payload: impl Into<Body<'a>>,
        caps: &[Cap<O>],
    ) -> Poll<Result<(), Fault>> {
        let payload = payload.into();
        let long = payload.len() > PAYLOAD_MAX;
        let Some(subscriber) = self.subscribers.get_mut(key) else {
            return Poll::Ready(Err(Fault::new(
                Code::Gone,
                "the peer has ended the subscription",
            )));
        };
        subscriber.long = long;
        if !self.publishable(key) || long && !self.has_transfer_slot() {
            self.want(key);
            return Poll::Pending;
        }
        Poll::Ready(self.number_change(key, change, payload, caps))
    }

    fn number_change(
        &mut self,
        key: SubscriberKey,
        change: Change,
        payload: Body<'_>,
        caps: &[Cap<O>],
    ) -> Result<(), Fault> {
        let announced;
        let written = match payload
            .as_slice()
            .filter(|bytes| bytes.len() <= PAYLOAD_MAX)
        {
            Some(bytes) => bytes,
            None if payload.len() <= PAYLOAD_MAX => {
                announced = payload.to_bytes().to_vec();
                &announced
            }
            None => {
                self.check_frame(payload.len())?;
                announced = announce(payload.len());
                &announced
            }
        };
        let encoded = self.introduce(caps, CAPS_MAX_WIDE)?;
        let (name, descriptors) = (key.name, &encoded.descriptors[..]);
        let head = self.number(|buf| match &change {
            Change::Snap { epoch, rev, ty } => {
                frame::write_snap(buf, name, *epoch, *rev, ty, written, descriptors);
            }
            Change::Delta { from, to, hash } => {
                frame::write_delta(buf, name, *from, *to, written, descriptors, *hash);
            }
        });
        self.post_mentioned(&encoded.broken);
        let busy = payload.len() > PAYLOAD_MAX;
        if busy {
            let transfers = &mut self.flow.transfers;
            transfers.begin(head, Of::Shared(name), payload.to_rope());
            self.subscribers.watch_stall(self.now);
        }
        let now = self.now;
        if let Some(subscriber) = self.subscribers.get_mut(key) {
            subscriber.credit -= charge(payload.len(), caps.len());
            (subscriber.busy, subscriber.wants, subscriber.long) = (busy, false, false);
            if busy {
                subscriber.heard = now;
            }
        }
        Ok(())
    }

    /// The last PART of a payload is numbered.
    pub(super) fn published(&mut self, name: Target) {
        let now = self.now;
        if let Some(subscriber) = self.subscribers.by_name.get_mut(&name) {
            subscriber.busy = false;
            subscriber.heard = now;
            self.offer(name);
        }
    }

    /// Ends a subscription from our side: the peer keeps what it has, is told why, and may subscribe again. The name
    /// lives on.
    pub fn end_subscription(&mut self, key: SubscriberKey, fault: Fault) {
        let stands = self.subscribers.by_name.get(&key.name);
        if stands.is_none_or(|subscriber| subscriber.serial != key.serial) {
            return;
        }
        self.subscribers.by_name.remove(&key.name);
        self.post_ended(key.name, fault);
    }

    fn post_ended(&mut self, name: Target, fault: Fault) {
        self.subscribers.ends.retain(|(other, _)| *other != name);
        self.subscribers.ends.push((name, to_send(fault)));
        let under_way = self.flow.transfers.is_under_way(Of::Shared(name));
        self.post_ends();
        if under_way {
            // It may have left a slot.
            self.pump();
        }
    }

    /// Whether [`post_ends`](Self::post_ends) gets on. One whose payload is under way goes ahead of what may wait for its
    /// slot (R18.14).
    #[cold]
    pub(super) fn has_room_for_ends(&self) -> bool {
        let transfers = &self.flow.transfers;
        let ahead = || {
            let mut ends = self.subscribers.ends.iter();
            ends.any(|(name, _)| transfers.is_under_way(Of::Shared(*name)))
        };
        self.has_room() || self.has_room_ahead() && ahead()
    }

    /// Numbers the ENDs that are due, as far as there is room, each with the abort that it allows (R18.15).
    #[cold]
    pub(super) fn post_ends(&mut self) {
        for (name, fault) in std::mem::take(&mut self.subscribers.ends) {
            let under_way = self.flow.transfers.is_under_way(Of::Shared(name));
            if !(self.has_room() || under_way && self.has_room_ahead()) {
                self.subscribers.ends.push((name, fault));
                continue;
            }
            let (code, text) = (Some(fault.code), &fault.message);
            self.number(|buf| frame::write_end(buf, name, code, text, &fault.data));
            self.abort_transfer(Of::Shared(name));
        }
    }

    /// The peer ended it, gave the name back, or lost it.
    pub(super) fn unsubscribe(&mut self, name: Target) {
        if self.subscribers.by_name.is_empty() && self.subscribers.ends.is_empty() {
            return;
        }
        let ended = self.subscribers.ends.len();
        self.subscribers.ends.retain(|(other, _)| *other != name);
        let subscriber = self.subscribers.by_name.remove(&name);
        if subscriber.is_some() || self.subscribers.ends.len() < ended {
            // R18.15
            self.abort_transfer(Of::Shared(name));
        }
        let Some(subscriber) = subscriber else {
            return;
        };
        if subscriber.opening.is_none() {
            let serial = subscriber.serial;
            let key = SubscriberKey { name, serial };
            self.events.push_back(Event::Unsubscribed(key));
        }
    }

    /// Ends subscriptions for which something is pending that they do not let through.
    pub(super) fn end_stalled(&mut self) {
        let (now, acked) = (self.now, self.flow.acked_at());
        let (mut stalled, mut next) = (Vec::new(), None::<Time>);
        for (name, subscriber) in &self.subscribers.by_name {
            if !subscriber.wants && !subscriber.busy {
                continue;
            }
            // Without credit an ack is no sign of life: it says only that the link is there.
            let acks = subscriber.busy || subscriber.credit > 0;
            let heard = if acks {
                subscriber.heard.max(acked)
            } else {
                subscriber.heard
            };
            let ends = heard.plus_ms(STALL_MS);
            if ends <= now {
                stalled.push((subscriber.serial, *name));
            } else {
                next = Some(next.map_or(ends, |next| next.min(ends)));
            }
        }
        self.subscribers.check = next;
        stalled.sort_unstable();
        for (serial, name) in stalled {
            let key = SubscriberKey { name, serial };
            let text = "the subscriber took nothing for 30 s: subscribe again";
            self.end_subscription(key, Fault::new(Code::Exhausted, text));
            self.events.push_back(Event::Unsubscribed(key));
        }
    }

    /// Answers a call that changed shared values: the revisions that they have now. The peer holds the result until its
    /// replicas are there (R10.5). Subscriptions that are over are left out, and so is all where the result is no RET, or
    /// waits for another OPEN.
    pub fn respond_changed(
        &mut self,
        id: IncomingId,
        reply: Reply<'_, O>,
        changed: &[(SubscriberKey, u64)],
    ) {
        self.saying_changed(changed, |session| session.respond(id, reply));
    }

    /// What is answered in `respond` says so.
    pub(super) fn saying_changed(
        &mut self,
        changed: &[(SubscriberKey, u64)],
        respond: impl FnOnce(&mut Self),
    ) {
        let stand = changed.iter().filter(|(key, _)| self.is_subscribed(*key));
        let pairs = stand.map(|(key, rev)| (key.name, *rev));
        self.changed = pairs.take(CHANGED_MAX).collect();
        respond(self);
        self.changed.clear();
    }

    /// The session is over: every subscription ends.
    pub(super) fn end_subscribers(&mut self) {
        let mut keys: Vec<_> = std::mem::take(&mut self.subscribers.by_name)
            .into_iter()
            .filter(|(_, subscriber)| subscriber.opening.is_none())
            .map(|(name, subscriber)| SubscriberKey {
                name,
                serial: subscriber.serial,
            })
            .collect();
        keys.sort_unstable_by_key(|key| key.serial);
        self.events
            .extend(keys.into_iter().map(Event::Unsubscribed));
        (self.subscribers.for_room, self.subscribers.ends) = Default::default();
        self.subscribers.check = None;
    }
}

/// What a subscription to a value of the peer's own gets, which reached it by a detour.
fn elsewhere() -> Fault {
    Fault::new(
        Code::Unimplemented,
        "a shared value of your own is followed where it lives",
    )
}
