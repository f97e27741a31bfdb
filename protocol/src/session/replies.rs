//! Answers to the peer's calls (R3, R13, R14). The ends of its one-way calls stand in `tells`.

use super::caps::{Cap, table_full};
use super::flow::Bulk;
use super::incoming::{InCall, IncomingId, Place, Reply, to_send};
use super::tables::{Outcome, Standing};
use super::transfer::announce;
use super::{Event, ImportKey, Object, Session};
use crate::Code;
use crate::blob::Body;
use crate::fault::Fault;
use crate::frame::{self, CallKind, Caps};
use crate::limits::PAYLOAD_MAX;
use crate::mutation::mutant;

impl<O: Object> Session<O> {
    /// Answers a call of the peer's. A second answer, or one for a call that is gone, does nothing.
    ///
    /// A reply that cannot be sent (too long, over a quota, an expired handle in it) goes as an ERR instead.
    pub fn respond(&mut self, id: IncomingId, reply: Reply<'_, O>) {
        let Some(call) = self.in_call(id) else {
            if let Reply::Handle(Cap::Given(o) | Cap::Lent(o)) = reply {
                self.garbage.push(o);
            }
            return;
        };
        let (kind, place, shallow) = (call.kind, call.place, call.depth == 0);
        let lent = call.lent.take();
        if place == Place::Running && shallow {
            self.running = self.running.saturating_sub(1);
        }
        // R3: dead before RET is queued.
        let lends = lent.is_some();
        if lends {
            self.expire(lent.as_deref().map(Vec::as_slice).unwrap_or_default());
        }
        match (kind, reply) {
            (CallKind::Tell, reply) => {
                match reply {
                    Reply::Fault(fault) => self.keep_tell_error(id, fault),
                    Reply::Handle(Cap::Given(o) | Cap::Lent(o)) => self.garbage.push(o),
                    Reply::Handle(_) | Reply::Value(..) | Reply::Shared(..) | Reply::Rope(..) => {}
                }
                self.finish_tell(id);
            }
            (CallKind::Call, Reply::Value(value, caps)) => {
                self.respond_value(id, value.into(), caps);
            }
            (CallKind::Call, Reply::Shared(value, caps)) => {
                self.respond_value(id, value.into(), caps);
            }
            (CallKind::Call, Reply::Handle(cap)) => {
                let caps = [cap];
                self.respond_value(id, (&[0xd4, 1, 0][..]).into(), &caps);
                let [cap] = caps;
                if let Cap::Given(o) | Cap::Lent(o) = cap {
                    self.garbage.push(o);
                }
            }
            (CallKind::Call, Reply::Fault(fault)) => self.respond_fault(id, fault),
            (CallKind::Open, Reply::Handle(cap)) => self.settle_open(id, cap),
            (CallKind::Call, Reply::Rope(value, caps)) => {
                self.respond_value(id, value.into(), caps);
            }
            (CallKind::Open, Reply::Value(..) | Reply::Shared(..) | Reply::Rope(..)) => {
                self.fail_open(
                    id,
                    Fault::new(
                        Code::Decode,
                        "the method does not return one handle: call it without pipelining",
                    ),
                );
            }
            (CallKind::Open, Reply::Fault(fault)) => self.fail_open(id, fault),
        }
        if !self.queued.is_empty() {
            self.start_queued();
        }
        if lends && !self.waiting.is_empty() {
            self.pump_lines();
        }
    }

    /// Answers many calls at once, with RETs that were written elsewhere: `frames` holds them back to back, `done` says
    /// for each call where its frame ends. None of these calls brought references.
    pub fn respond_written(&mut self, frames: &[u8], done: &[(IncomingId, u32)]) {
        // Of `frames`, and of `done`: what is posted or answered otherwise.
        let (mut start, mut dealt) = (0, 0);
        for (i, (id, end)) in done.iter().enumerate() {
            let books = |call: &mut InCall| Some((call.place, call.depth, call.charge));
            match id.as_call().and_then(|id| self.incoming.take_if(id, books)) {
                Some((place, depth, charge)) => {
                    let shallow = place == Place::Running && depth == 0;
                    self.running -= u32::from(shallow).min(self.running);
                    self.uncharge(depth, charge);
                }
                None => {
                    self.post_written(frames, start, done.get(dealt..i).unwrap_or_default());
                    (start, dealt) = (*end as usize, i + 1);
                }
            }
        }
        self.post_written(frames, start, done.get(dealt..).unwrap_or_default());
        if !self.queued.is_empty() {
            self.start_queued();
        }
    }

    /// Answers with bytes that may be shared.
    pub(super) fn respond_body(&mut self, id: IncomingId, value: Body<'_>, caps: &[Cap<O>]) {
        let whole;
        let reply = match value.as_slice() {
            Some(short) if short.len() <= PAYLOAD_MAX => Reply::Value(short, caps),
            _ => {
                whole = value.to_bytes();
                Reply::Shared(&whole, caps)
            }
        };
        self.respond(id, reply);
    }

    pub(super) fn respond_value(&mut self, id: IncomingId, value: Body<'_>, caps: &[Cap<O>]) {
        if value.len() > PAYLOAD_MAX
            && let Err(fault) = self.check_frame(value.len())
        {
            // Not EXHAUSTED, which says that the method did not run.
            let text = format!(
                "the method ran, but its result is too long: {}",
                fault.message
            );
            return self.respond_fault(id, Fault::new(Code::Internal, &text));
        }
        if caps.is_empty() {
            return self.post_ret(id, value, &[]);
        }
        // A method that ran gives its result, even if a reference in it leads nowhere.
        let replaced: Vec<Cap<O>>;
        let caps = if caps.iter().any(|cap| self.nameless(cap).is_some()) {
            let replace =
                |cap: &Cap<O>| self.nameless(cap).map_or_else(|| cap.clone(), Cap::Broken);
            replaced = caps.iter().map(replace).collect();
            &replaced
        } else {
            caps
        };
        if let Err(mut fault) = self.check_caps(caps).and_then(|()| self.check_table(caps)) {
            // The method ran: a code that says it did not would have it called again.
            fault.code = Code::Internal;
            return self.respond_fault(id, fault);
        }
        let encoded = self.encode_caps(caps);
        self.post_ret(id, value, &encoded.descriptors);
        self.post_mentioned(&encoded.broken);
    }

    /// RET, in one frame or as the head of a transfer.
    fn post_ret(&mut self, id: IncomingId, value: Body<'_>, caps: Caps<'_>) {
        if let Some(value) = value.as_slice().filter(|value| value.len() <= PAYLOAD_MAX) {
            if let Some(call) = self.finish(id) {
                if !self.changed.is_empty() {
                    let changed = std::mem::take(&mut self.changed);
                    return self.post(|buf| frame::write_ret(buf, call, value, caps, &changed));
                }
                self.post(|buf| frame::write_ret(buf, call, value, caps, &[]));
            }
            return;
        }
        let (Some(entry), Some(call)) = (self.take_in_call(id), id.as_call()) else {
            return;
        };
        let announced = announce(value.len());
        let bulk = Bulk {
            call,
            data: value.to_rope(),
            depth: entry.depth,
            charge: entry.charge,
        };
        let changed = std::mem::take(&mut self.changed);
        self.post_head(bulk, |buf| {
            frame::write_ret(buf, call, &announced, caps, &changed);
        });
    }

    /// Why a reference cannot be named in a result: a RET waits for nothing, neither for a permit nor for an OPEN.
    pub(super) fn nameless(&self, cap: &Cap<O>) -> Option<Fault> {
        let pending = "a handle in the result has no object yet: await it first";
        match cap {
            Cap::Opened(c) => match self.opened.get(*c).map(|opened| &opened.outcome) {
                Some(Outcome::Bound(_) | Outcome::Leading(_)) => None,
                Some(Outcome::Failed(fault)) => Some(Fault::broken_by(fault)),
                Some(Outcome::Pending(_)) => Some(Fault::new(Code::Unavailable, pending)),
                None => Some(Fault::new(Code::Gone, "the handle was released")),
            },
            cap if self.is_unsent(cap) => Some(Fault::new(Code::Unavailable, pending)),
            _ => None,
        }
    }

    /// A RET that would exceed the quota of table entries becomes ERR EXHAUSTED (R14).
    pub(super) fn check_table(&self, caps: &[Cap<O>]) -> Result<(), Fault> {
        if self.exports.by_name.len() + self.opened.len() + caps.len()
            > self.config.ours.table as usize
        {
            return Err(table_full());
        }
        Ok(())
    }

    pub(super) fn respond_fault(&mut self, id: IncomingId, fault: Fault) {
        let fault = to_send(fault);
        if mutant!("cancel_mute") && fault.code == Code::Cancelled {
            self.finish(id);
            return;
        }
        if let Some(call) = self.finish(id) {
            self.post(|buf| frame::write_err(buf, call, fault.code, &fault.message, &fault.data));
        }
    }

    /// Takes a CALL or OPEN out of the books; its RET or ERR is written next. The caller's id.
    pub(super) fn finish(&mut self, id: IncomingId) -> Option<u64> {
        let call = self.take_in_call(id)?;
        self.uncharge(call.depth, call.charge);
        id.as_call()
    }

    #[inline]
    pub(super) fn uncharge(&mut self, depth: u8, charge: u32) {
        let lane = self.lane(usize::from(depth));
        if let Some(charged) = self.charged.get_mut(lane) {
            charged.sub(true, u64::from(charge));
        }
    }

    /// Kills the references that were lent for a call, and what still waits on them (R3).
    pub(super) fn expire(&mut self, lent: &[ImportKey]) {
        for key in lent {
            if let Some(import) = self.imports.entries.get_mut(*key) {
                import.standing = Standing::Expired;
                let watchers = import.take_watchers();
                self.wakes.extend(watchers);
                if let Some(fault) = import.fault().filter(|_| import.watched) {
                    self.events.push_back(Event::Broke(*key, fault));
                }
            }
        }
        if !self.waiting.is_empty() {
            self.expire_waiting();
        }
    }
}
