//! The ends of the peer's one-way calls: their bytes go back as credit, and `flush()` waits for them (R12, R13).

use std::collections::HashMap;

use bytes::Bytes;
use helve_handles::{IdHash, Target};

use super::incoming::{InCall, IncomingId, Place, Reply};
use super::runs::Queued;
use super::tables::Hosted;
use super::{Event, Invocation, Object, Session};
use crate::Violation;
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{CallFrame, CallKind, Span};

/// First errors of one-way calls are kept for so many targets.
const TELL_ERRORS: usize = 1024;

/// First errors of one-way calls, and who waits for their ends (R12).
#[derive(Debug)]
pub(super) struct Flushes {
    errors: Vec<(Target, Fault)>,
    /// One-way calls mostly come in runs on one target: its counts stand here, found without a look-up.
    target: Target,
    here: OpenTells,
    /// Those of other targets, as far as there are any.
    others: HashMap<Target, OpenTells, IdHash>,
}

/// The TELLs on one target that have not ended.
#[derive(Debug, Default)]
pub(super) struct OpenTells {
    pub count: u32,
    flushes: Vec<Flush>,
}

/// A `flush()` that came while TELLs on its target were open.
#[derive(Debug)]
struct Flush {
    id: IncomingId,
    /// The number of the first TELL that it does not wait for.
    border: u64,
    /// How many it still waits for.
    left: u32,
    /// Its turn came (R10.2): what it waits for may end before that.
    started: bool,
}

impl OpenTells {
    fn is_idle(&self) -> bool {
        self.count == 0 && self.flushes.is_empty()
    }
}

impl Flushes {
    pub(super) fn seeded(seed: u64) -> Flushes {
        Flushes {
            errors: Vec::new(),
            target: Target::ROOT,
            here: OpenTells::default(),
            others: HashMap::with_hasher(IdHash::seeded(seed)),
        }
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.errors = Vec::new();
        self.here = OpenTells::default();
        self.others = HashMap::with_hasher(*self.others.hasher());
    }

    /// The open TELLs of a target, a new entry if there are none. Whoever makes one idle calls [`tidy`](Self::tidy).
    #[inline]
    pub(super) fn of(&mut self, target: Target) -> &mut OpenTells {
        if target == self.target {
            &mut self.here
        } else {
            self.of_other(target)
        }
    }

    #[inline(never)]
    fn of_other(&mut self, target: Target) -> &mut OpenTells {
        if self.here.is_idle() {
            self.target = target;
            self.here = self.others.remove(&target).unwrap_or_default();
            return &mut self.here;
        }
        self.others.entry(target).or_default()
    }

    /// Drops the entry of a target that has become idle.
    #[inline]
    fn tidy(&mut self, target: Target) {
        if target != self.target && self.others.get(&target).is_some_and(OpenTells::is_idle) {
            self.others.remove(&target);
        }
    }
}

impl<O: Object> Session<O> {
    /// Takes a TELL as most of them are: without references, on an object that stands in our table. `false` where it is
    /// another one; nothing was done then.
    pub(super) fn on_plain_tell(
        &mut self,
        message: &Bytes,
        call: &CallFrame,
        args: Span,
    ) -> Result<bool, Violation> {
        let hosted = match call.target.as_host() {
            Some(0) => self.exports.root.as_ref(),
            Some(k) => match self.exports.by_name.get(k).map(|export| &export.what) {
                Some(Hosted::Object(o)) => Some(o),
                _ => None,
            },
            None => None,
        };
        let o = match hosted {
            Some(o) if call.caps.is_empty() && !o.is_revoked() && !o.is_forwarded() => o.clone(),
            _ => return Ok(false),
        };
        let depth = call.ext.depth;
        // R18.5: behind a call on the same target whose arguments are not all there. S9: refused, as we are leaving.
        // R21.7: waits for a while.
        if self.assembly.holds(call.target) || self.too_late(depth).is_some() || self.is_slowed() {
            return Ok(false);
        }
        let charge = self.charge_peer(false, depth, args.len())?;
        let waits = self.must_queue(depth);
        let in_call = InCall {
            kind: CallKind::Tell,
            depth,
            place: if waits { Place::Queued } else { Place::Running },
            cancelled: false,
            charge,
            target: call.target,
            accepted: self.received(),
            lent: None,
        };
        let n = self.tells.next_id();
        _ = self.tells.insert(n, in_call);
        self.flushes.of(call.target).count += 1;
        let invocation = Invocation {
            id: IncomingId::tell(n),
            kind: CallKind::Tell,
            target: call.target,
            method: call.method,
            args: Blob::slice(message, args.range()),
            caps: Vec::new(),
            depth,
            rare: self.rare(message, &call.ext),
        };
        if waits {
            // Nothing was accepted later (R13.16).
            self.queued.push_back(Queued::One(o, invocation));
        } else {
            if depth == 0 {
                self.running += 1;
                self.youngest = self.received();
            }
            self.events.push_back(Event::Start(o, invocation));
        }
        Ok(true)
    }

    /// Ends many one-way calls at once that were done without an error. None of them brought references. One that ended
    /// before is passed over.
    pub fn end_tells(&mut self, done: &[IncomingId]) {
        // Of one depth, as a rule.
        let (mut depth, mut credit) = (0, 0);
        for id in done.iter().filter(|id| id.as_call().is_none()) {
            let books =
                |call: &mut InCall| Some((call.place, call.depth, call.charge, call.target));
            let Some(books) = self.tells.take_if(id.number(), books) else {
                continue;
            };
            let (place, at, charge, target) = books;
            let shallow = place == Place::Running && at == 0;
            self.running -= u32::from(shallow).min(self.running);
            if at != depth {
                self.return_credit(depth, credit);
                (depth, credit) = (at, 0);
            }
            credit += u64::from(charge);
            self.tell_ended(target, *id);
        }
        self.return_credit(depth, credit);
        if !self.queued.is_empty() {
            self.start_queued();
        }
    }

    /// A one-way call is over, whatever it came to.
    pub(super) fn finish_tell(&mut self, id: IncomingId) {
        let Some(call) = self.take_in_call(id) else {
            return;
        };
        self.return_credit(call.depth, u64::from(call.charge));
        self.tell_ended(call.target, id);
    }

    /// R13.8
    fn return_credit(&mut self, depth: u8, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let lane = self.lane(usize::from(depth));
        if let Some(charged) = self.charged.get_mut(lane) {
            charged.sub(false, bytes);
        }
        self.owe_credit(depth, bytes);
    }

    /// Counts for `flush()`, and answers those that waited for no other.
    #[inline]
    fn tell_ended(&mut self, target: Target, id: IncomingId) {
        let open = self.flushes.of(target);
        open.count = open.count.saturating_sub(1);
        if open.flushes.is_empty() {
            if open.count == 0 {
                self.flushes.tidy(target);
            }
            return;
        }
        self.count_for_flushes(target, id);
    }

    #[inline(never)]
    fn count_for_flushes(&mut self, target: Target, id: IncomingId) {
        let mut ended = Vec::new();
        let number = id.number();
        self.flushes.of(target).flushes.retain_mut(|flush| {
            flush.left -= u32::from(number < flush.border).min(flush.left);
            let ends = flush.left == 0 && flush.started;
            if ends {
                ended.push(flush.id);
            }
            !ends
        });
        self.flushes.tidy(target);
        for flush in ended {
            self.answer_flush(flush, target);
        }
    }

    /// A reflected TELL went out.
    pub(super) fn relay_told(&mut self, id: IncomingId) {
        self.finish_tell(id);
    }

    /// `helve.Object/flush` came: it waits for the TELLs that are open on its target, and for none that comes later.
    pub(super) fn expect_flush(&mut self, id: IncomingId, target: Target) {
        let border = self.tells.next_id();
        let open = self.flushes.of(target);
        if open.is_idle() {
            return self.flushes.tidy(target);
        }
        open.flushes.push(Flush {
            id,
            border,
            left: open.count,
            started: false,
        });
    }

    /// Its turn: answered once those have ended (R12.6).
    pub(super) fn flush(&mut self, invocation: Invocation<O>) {
        let (id, target) = (invocation.id, invocation.target);
        self.set_place(id, Place::Flushing);
        self.discard(invocation.caps);
        let mut flushes = self.flushes.of(target).flushes.iter_mut();
        match flushes.find(|flush| flush.id == id) {
            Some(flush) if flush.left > 0 => flush.started = true,
            _ => {
                self.forget_flush(id);
                self.answer_flush(id, target);
            }
        }
    }

    pub(super) fn answer_flush(&mut self, id: IncomingId, target: Target) {
        match self.flushes.errors.iter().position(|(t, _)| *t == target) {
            Some(i) => {
                let (_, fault) = self.flushes.errors.remove(i);
                self.respond(id, Reply::Fault(fault));
            }
            None => self.respond(id, Reply::Value(&[0xc0], &[])),
        }
    }

    /// Takes a `flush()` out that waits no more: cancelled, refused, sent on.
    pub(super) fn forget_flush(&mut self, id: IncomingId) {
        let Some(target) = self.in_call(id).map(|call| call.target) else {
            return;
        };
        self.flushes
            .of(target)
            .flushes
            .retain(|flush| flush.id != id);
        self.flushes.tidy(target);
    }

    pub(super) fn keep_tell_error(&mut self, id: IncomingId, fault: Fault) {
        let Some(target) = self.in_call(id).map(|call| call.target) else {
            return;
        };
        let errors = &mut self.flushes.errors;
        if errors.len() < TELL_ERRORS && !errors.iter().any(|(t, _)| *t == target) {
            errors.push((target, fault));
        }
    }

    /// Forgets what is kept for a name that is gone.
    pub(super) fn forget_tell_error(&mut self, target: Target) {
        if !self.flushes.errors.is_empty() {
            self.flushes.errors.retain(|(t, _)| *t != target);
        }
    }
}
