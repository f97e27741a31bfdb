//! The peer's calls: accepted, held, queued, started, answered (R10, R11, R13, R21).

use bytes::Bytes;
use helve_handles::{Tag, Target};

use super::calls::CallKey;
use super::caps::{Cap, Received, table_full};
#[cfg(feature = "mutations")]
use super::late::insert;
use super::permits::{Grant, charge};
use super::runs::Queued;
use super::tables::{Hosted, Opened, Outcome};
use super::{Carried, Event, ImportKey, Invocation, Object, Session};
use crate::batch::Parsed;
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{CallExt, CallFrame, CallKind, Payload};
use crate::limits::PAYLOAD_MAX;
use crate::mutation::mutant;
use crate::rope::Rope;
use crate::{Code, Violation};

/// A call id rises by at most this (I1.2).
const ID_STEP: u64 = 1 << 20;
/// A deadline is at most an hour (R21).
const DEADLINE_MS: u64 = 3_600_000;

/// FNV-1a of `helve.Object/flush` (R12).
pub(super) const FLUSH: u32 = helve_handles::id::method_id("helve.Object", "flush");

/// Ids rise, so there is a place for this one.
#[cfg(not(feature = "mutations"))]
#[inline]
fn insert<T>(map: &mut helve_handles::RisingMap<T>, id: u64, entry: T) {
    _ = map.insert(id, entry);
}

/// Names a call of the peer's until it is answered: CALLs and OPENs by their id, TELLs by a number of our own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IncomingId(i64);

impl IncomingId {
    pub(super) fn call(id: u64) -> IncomingId {
        IncomingId(id as i64)
    }

    pub(super) fn tell(n: u64) -> IncomingId {
        IncomingId(-(n as i64))
    }

    /// The caller's id, or our number of a TELL.
    pub(super) fn number(self) -> u64 {
        self.0.unsigned_abs()
    }

    /// The caller's id; `None` for a TELL.
    pub fn as_call(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

/// What a call of the peer's came to.
#[derive(Debug)]
pub enum Reply<'a, O> {
    /// An encoded value with its references. A TELL has none, so it is dropped there.
    Value(&'a [u8], &'a [Cap<O>]),
    /// The same, for a long one: it is not copied.
    Shared(&'a Bytes, &'a [Cap<O>]),
    /// The same, in pieces, above 65,536 bytes.
    Rope(&'a Rope, &'a [Cap<O>]),
    /// The one handle that an OPEN asked for.
    Handle(Cap<O>),
    /// It failed.
    Fault(Fault),
}

/// Where an accepted call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Its arguments are not all there, or those of an earlier call on its target are not (R18.5).
    Incomplete,
    /// In the queue of an OPEN that is not answered.
    Held(u64),
    /// Waits for a running slot.
    Queued,
    /// With the driver.
    Running,
    /// With the driver, and from there in another session (R9). Takes no running slot.
    Forwarded,
    /// Reflected to the peer, as this call of ours (R6).
    Relayed(CallKey),
    /// An OPEN whose handler answered with a reference that is not settled (R5): the import, of which it holds one
    /// reference, or an OPEN of the peer's own.
    Settling(Option<ImportKey>),
    /// A `flush()` that waits for earlier TELLs (R12).
    Flushing,
}

/// An accepted call that is not answered.
#[derive(Debug)]
pub(super) struct InCall {
    pub kind: CallKind,
    pub depth: u8,
    pub place: Place,
    /// CANCEL came while it ran: it waits for nothing any more.
    pub cancelled: bool,
    pub charge: u32,
    pub target: Target,
    /// The number of its frame: what came before has a smaller one (R13.16).
    pub accepted: u64,
    /// References to expire with the call (R3).
    #[allow(
        clippy::box_collection,
        reason = "eight bytes in every entry, and few have it"
    )]
    pub lent: Option<Box<Vec<ImportKey>>>,
}

impl<O> Invocation<O> {
    /// Whether it is answered by the session (R12.6).
    #[inline]
    pub(super) fn is_flush(&self) -> bool {
        self.method == FLUSH && self.kind == CallKind::Call
    }
}

impl<O: Object> Session<O> {
    pub(super) fn in_call(&mut self, id: IncomingId) -> Option<&mut InCall> {
        match id.as_call() {
            Some(id) => self.incoming.get_mut(id),
            None => self.tells.get_mut(id.0.unsigned_abs()),
        }
    }

    pub(super) fn take_in_call(&mut self, id: IncomingId) -> Option<InCall> {
        match id.as_call() {
            Some(id) => self.incoming.remove(id),
            None => self.tells.remove(id.0.unsigned_abs()),
        }
    }

    pub(super) fn on_call(
        &mut self,
        message: &Bytes,
        parsed: &Parsed,
        call: &CallFrame,
    ) -> Result<(), Violation> {
        #[cfg(feature = "mutations")]
        if self.is_late(message, parsed, call) {
            return Ok(());
        }
        if call.kind == CallKind::Tell
            && let Payload::Inline(span) = call.args
            && self.on_plain_tell(message, call, span)?
        {
            return Ok(());
        }
        let (args, len) = match call.args {
            Payload::Inline(span) => (Blob::slice(message, span.range()), span.len()),
            Payload::Transfer(len) => (Blob::EMPTY, usize::try_from(len).unwrap_or(usize::MAX)),
        };
        let counts = call.kind != CallKind::Tell;
        if counts {
            let goes_back = call.id <= self.last_id || call.id - self.last_id > ID_STEP;
            if goes_back && !mutant!("late_parts_ids") {
                return Err(Violation {
                    rule: "I1.2",
                    what: "a call id that goes back, or rises by over 2^20",
                });
            }
            self.last_id = self.last_id.max(call.id);
        }
        let charge = self.charge_peer(counts, call.ext.depth, len)?;
        let mut lent = Vec::new();
        let caps = match parsed.caps_of(call.caps) {
            [] => Vec::new(),
            caps => self.take_caps(caps, Some(&mut lent))?,
        };
        let in_call = InCall {
            kind: call.kind,
            depth: call.ext.depth,
            place: Place::Running,
            cancelled: false,
            charge,
            target: call.target,
            accepted: self.received(),
            lent: (!lent.is_empty()).then(|| Box::new(lent)),
        };
        let id = if counts {
            insert(&mut self.incoming, call.id, in_call);
            IncomingId::call(call.id)
        } else {
            let n = self.tells.next_id();
            _ = self.tells.insert(n, in_call);
            self.flushes.of(call.target).count += 1;
            IncomingId::tell(n)
        };
        let invocation = Invocation {
            id,
            kind: call.kind,
            target: call.target,
            method: call.method,
            args,
            caps,
            depth: call.ext.depth,
            rare: self.rare(message, &call.ext),
        };
        if let Payload::Transfer(len) = call.args {
            self.expect_args(len, &invocation)?;
        }
        if invocation.is_flush() {
            self.expect_flush(id, call.target);
        }
        if call.kind == CallKind::Open {
            insert(&mut self.opened, call.id, Opened::new());
            self.pending_opens += 1;
            if let Some(fault) = self.over_open_quota()? {
                self.refuse(invocation, fault);
                return Ok(());
            }
        }
        // One that brings more than our table holds is refused whole (R14).
        let brought = parsed.caps_of(call.caps).iter().zip(&invocation.caps);
        let over = brought.into_iter().find_map(|(cap, taken)| match taken {
            Received::Broken(fault) if matches!(cap.tag(), Tag::Mine | Tag::Lent) => {
                Some(fault.clone())
            }
            _ => None,
        });
        match over.or_else(|| self.too_late(call.ext.depth)) {
            Some(fault) => self.refuse(invocation, fault),
            None if matches!(call.args, Payload::Transfer(_)) => {
                self.hold_incomplete(invocation)?
            }
            None if self.assembly.holds(call.target) && !mutant!("hold_skip") => {
                self.hold(invocation, true);
            }
            None => self.route(invocation)?,
        }
        Ok(())
    }

    /// Charges the peer for a call with `len` bytes of arguments (R13). Returns the charge.
    #[inline(always)]
    pub(super) fn charge_peer(
        &mut self,
        counts: bool,
        depth: u8,
        len: usize,
    ) -> Result<u32, Violation> {
        let lane = self.lane(usize::from(depth));
        let grant = Grant::of(&self.config.ours, lane);
        let over = Violation {
            rule: "R13.13",
            what: "more calls or bytes than were granted",
        };
        let charged = self.charged.get_mut(lane).ok_or(over)?;
        let charge = charge(len);
        if !charged.admits(grant, counts, charge) && !mutant!("cancel_forget") {
            return Err(over);
        }
        charged.add(counts, charge);
        Ok(charge)
    }

    /// What few calls bring.
    #[inline]
    pub(super) fn rare(&self, message: &Bytes, ext: &CallExt) -> Option<Box<Carried>> {
        if ext.is_plain() && self.config.handler_ms.is_none() {
            return None;
        }
        self.carried(message, ext)
    }

    #[inline(never)]
    fn carried(&self, message: &Bytes, ext: &CallExt) -> Option<Box<Carried>> {
        let ours = self.config.handler_ms;
        let has = ext.deadline.or(ours).is_some() || ext.chain.is_some() || ext.others;
        if !has && ext.trace.is_empty() {
            return None;
        }
        let others = if ext.others {
            super::across::Others::read(message.get(ext.raw.range()).unwrap_or_default())
        } else {
            super::across::Others::default()
        };
        let trace = message
            .get(ext.trace.range())
            .and_then(|trace| std::str::from_utf8(trace).ok());
        let ours = ours.filter(|ours| ext.deadline.is_none_or(|theirs| *ours < theirs));
        let shortest = ours.or(ext.deadline);
        let deadline = shortest.map(|ms| self.now.plus_ms(ms.min(DEADLINE_MS)));
        let trace = trace.unwrap_or_default().into();
        Some(Box::new(Carried {
            deadline,
            ours: ours.is_some(),
            chain: ext.chain,
            trace,
            others,
        }))
    }

    /// R14: entries of the table, and OPENs without an answer. Tombstones count, so that refusals are bounded too.
    pub(super) fn over_open_quota(&self) -> Result<Option<Fault>, Violation> {
        let (entries, table) = (
            self.opened.len() + self.exports.by_name.len(),
            self.config.ours.table as usize,
        );
        if self.opened.len() > table + self.config.pending as usize {
            return Err(Violation {
                rule: "R14.1",
                what: "OPENs above the table limit, none of them released",
            });
        }
        if self.pending_opens > self.config.pending {
            return Ok(Some(Fault::new(
                Code::Exhausted,
                "too many OPENs wait for their answer: await some of them",
            )));
        }
        Ok((entries > table).then(table_full))
    }

    /// Brings a call to what its target names.
    pub(super) fn route(&mut self, invocation: Invocation<O>) -> Result<(), Violation> {
        let target = invocation.target;
        let k = match (target.as_open(), target.as_host()) {
            (Some(c), _) => match self.opened.get_mut(c).map(|opened| &mut opened.outcome) {
                Some(Outcome::Pending(queue)) => {
                    if queue.len() >= self.config.pending as usize {
                        self.refuse(
                            invocation,
                            Fault::new(Code::Exhausted, "too many calls wait for the same OPEN"),
                        );
                        return Ok(());
                    }
                    let id = invocation.id;
                    queue.push_back(invocation);
                    self.set_place(id, Place::Held(c));
                    return Ok(());
                }
                Some(Outcome::Failed(fault)) => {
                    let fault = Fault::broken_by(fault);
                    self.refuse(invocation, fault);
                    return Ok(());
                }
                Some(Outcome::Leading(o)) => {
                    let o = o.clone();
                    self.begin(o, invocation);
                    return Ok(());
                }
                Some(Outcome::Bound(k)) => Some(*k),
                None => None,
            },
            (None, k) => k,
        };
        match k.and_then(|k| self.hosted(k)) {
            Some(Hosted::Object(o)) => self.begin(o, invocation),
            Some(Hosted::Forward(key)) => self.reflect(key, invocation),
            Some(Hosted::Broken(fault)) => self.refuse(invocation, Fault::broken_by(&fault)),
            None => {
                self.refuse(
                    invocation,
                    Fault::new(
                        Code::Gone,
                        "no such object here: released, or never named to this peer",
                    ),
                );
                self.strike()?;
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn hosted(&self, k: u64) -> Option<Hosted<O>> {
        if k == 0 {
            return self.exports.root.clone().map(Hosted::Object);
        }
        self.exports
            .by_name
            .get(k)
            .map(|export| export.what.clone())
    }

    /// The object that a call of the peer's which is not answered was made on, for logs. `None` where its name is gone.
    pub fn serving(&self, id: IncomingId) -> Option<O> {
        let call = match id.as_call() {
            Some(id) => self.incoming.get(id),
            None => self.tells.get(id.number()),
        }?;
        let k = match call.target.as_open() {
            Some(c) => match &self.opened.get(c)?.outcome {
                Outcome::Leading(o) => return Some(o.clone()),
                Outcome::Bound(k) => Some(*k),
                Outcome::Pending(_) | Outcome::Failed(_) => None,
            },
            None => call.target.as_host(),
        };
        match self.hosted(k?)? {
            Hosted::Object(o) => Some(o),
            Hosted::Forward(_) | Hosted::Broken(_) => None,
        }
    }

    pub(super) fn set_place(&mut self, id: IncomingId, place: Place) {
        if let Some(call) = self.in_call(id) {
            call.place = place;
        }
    }

    /// Whether a call of this depth waits for a running slot (R13.11, S5).
    #[inline]
    pub(super) fn must_queue(&self, depth: u8) -> bool {
        depth == 0
            && (self.running >= self.config.running || !self.queued.is_empty() || self.is_clogged())
    }

    /// Starts a call, or puts it in line for a running slot: depth 0 waits for one, a deeper call starts at once (R13).
    #[inline]
    pub(super) fn begin(&mut self, o: O, invocation: Invocation<O>) {
        if self.is_slowed() {
            return self.slow(o, invocation);
        }
        if self.must_queue(invocation.depth) {
            self.set_place(invocation.id, Place::Queued);
            return self.enqueue(o, invocation);
        }
        self.start_now(o, invocation);
    }

    pub(super) fn start_now(&mut self, o: O, invocation: Invocation<O>) {
        let forwarded = o.is_forwarded();
        if invocation.is_flush() {
            if forwarded {
                // It waits at the object's own host.
                self.forget_flush(invocation.id);
            } else {
                self.garbage.push(o);
                return self.flush(invocation);
            }
        }
        if o.is_revoked() && !(mutant!("revoke_late") && self.was_late(invocation.id)) {
            let fault = if forwarded {
                Fault::broken_by(&to_send(o.cause()))
            } else {
                revoked()
            };
            self.garbage.push(o);
            self.refuse(invocation, fault);
            return;
        }
        let shallow = invocation.depth == 0 && !forwarded;
        self.running += u32::from(shallow);
        let youngest = self.youngest;
        if let Some(call) = self.in_call(invocation.id) {
            call.place = if forwarded {
                Place::Forwarded
            } else {
                Place::Running
            };
            if shallow {
                self.youngest = youngest.max(call.accepted);
            }
        }
        self.events.push_back(Event::Start(o, invocation));
    }

    /// Whether the call was held or queued before it came to start.
    pub(super) fn was_late(&mut self, id: IncomingId) -> bool {
        self.in_call(id)
            .is_some_and(|call| matches!(call.place, Place::Held(_) | Place::Queued))
    }

    pub(super) fn start_queued(&mut self) {
        while !self.is_clogged()
            && !self.is_slowed()
            && (self.running < self.config.running || self.oldest_is_queued())
        {
            match self.queued.front() {
                Some(Queued::Tells(..)) => self.start_queued_tells(),
                Some(Queued::One(..)) => {
                    if let Some(Queued::One(o, invocation)) = self.queued.pop_front() {
                        self.start_now(o, invocation);
                    }
                }
                None => return,
            }
        }
    }

    /// Slots are given in order of acceptance: what was held comes before what came later (R13.16).
    pub(super) fn enqueue(&mut self, o: O, invocation: Invocation<O>) {
        let accepted = self.accepted(invocation.id);
        let mut at = self.queued.len();
        if mutant!("slot_late") {
            return self.queued.push_back(Queued::One(o, invocation));
        }
        while at > 0
            && (self.queued.get(at - 1)).is_some_and(|queued| self.queued_at(queued) > accepted)
        {
            at -= 1;
        }
        self.queued.insert(at, Queued::One(o, invocation));
    }

    /// When what waits was accepted. Between the calls of a run nothing was.
    fn queued_at(&self, queued: &Queued<O>) -> u64 {
        match queued {
            Queued::One(_, invocation) => self.accepted(invocation.id),
            Queued::Tells(_, tells) => tells.accepted(),
        }
    }

    fn accepted(&self, id: IncomingId) -> u64 {
        let call = match id.as_call() {
            Some(id) => self.incoming.get(id),
            None => self.tells.get(id.number()),
        };
        call.map_or(0, |call| call.accepted)
    }

    /// Whether the first that is queued is older than every other call without an answer. All that holds a slot may wait
    /// for it, and it waits for none of them, so it needs no slot (R13.16).
    fn oldest_is_queued(&self) -> bool {
        let Some(first) = self.queued.front() else {
            return false;
        };
        let accepted = self.queued_at(first);
        // Mostly all that runs is older.
        if accepted > self.youngest || mutant!("slot_late") {
            return false;
        }
        let oldest = [&self.incoming, &self.tells].map(|calls| calls.oldest());
        (oldest.into_iter().flatten()).all(|call| call.accepted >= accepted)
    }

    /// Answers a call that does not run, and gives back the references it brought.
    pub(super) fn refuse(&mut self, invocation: Invocation<O>, fault: Fault) {
        if invocation.is_flush() {
            self.forget_flush(invocation.id);
        }
        self.discard(invocation.caps);
        self.forget_args(invocation.id);
        // It holds no running slot.
        if let Some(call) = self
            .in_call(invocation.id)
            .filter(|call| call.place == Place::Running)
        {
            call.place = Place::Flushing;
        }
        self.respond(invocation.id, Reply::Fault(fault));
    }

    /// Posts frames that stand back to back from `start` on, in one piece if there is room.
    pub(super) fn post_written(
        &mut self,
        frames: &[u8],
        mut start: usize,
        done: &[(IncomingId, u32)],
    ) {
        let end = done.last().map_or(start, |(_, end)| *end as usize);
        let all = frames.get(start..end).unwrap_or_default();
        if self.put_all(all, done.len()) {
            return;
        }
        for (_, end) in done {
            let frame = frames.get(start..*end as usize).unwrap_or_default();
            self.post(|buf| buf.extend_from_slice(frame));
            start = *end as usize;
        }
    }
}

pub(super) fn cancelled() -> Fault {
    Fault::new(Code::Cancelled, "cancelled by the caller")
}

/// A fault as it may go out: local codes are never sent (C1.2), and data above a payload is left out (R18.12).
pub(super) fn to_send(mut fault: Fault) -> Fault {
    if fault.code.is_local() {
        fault.code = Code::Internal;
    }
    if fault.data.len() > PAYLOAD_MAX {
        fault.data = Blob::EMPTY;
    }
    fault
}

/// What a call on a revoked object gets (R22).
pub(super) fn revoked() -> Fault {
    Fault::broken_by(&Fault::new(
        Code::Denied,
        "the object was revoked by its host",
    ))
}
