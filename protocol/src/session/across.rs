//! Forwarding between sessions (R9): what a forwarder asks of the two sessions that it stands between. An object that
//! [is forwarded](Object::is_forwarded) in one stands for a reference of the other; its calls start as those of any
//! object, go into the other session by [`Session::pass_on`], and what becomes of them there is an [`Event::Passed`].
//! The driver carries them across, and never holds both sessions at once.

use helve_handles::{Descriptor, Tag};

use super::calls::{Answer, Asker, CallKey, Outgoing};
use super::caps::{Cap, Received};
use super::incoming::{IncomingId, cancelled};
use super::publishing::SubscriberKey;
use super::tables::{Hosted, Import, Name, Outcome, Standing};
use super::{Event, ImportKey, Invocation, Object, Session};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::CallKind;
use crate::read::Reader;
use crate::scan::{Budget, scan_value};

/// The keys of an `ext` that are not known are copied up to so many bytes: a frame has 4,096 besides its payload (E2.5).
const OTHERS_MAX: usize = 512;

/// Keys of an `ext` that are not known here, with their values (E3.4).
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Key and value, one pair behind the other.
    pub(super) bytes: Vec<u8>,
    pub(super) count: u8,
}

impl Others {
    /// Those of a whole `ext` map, which was scanned. Too many bytes of them are none.
    pub(super) fn read(ext: &[u8]) -> Others {
        Others::parse(ext).unwrap_or_default()
    }

    fn parse(ext: &[u8]) -> Option<Others> {
        let mut others = Others::default();
        let mut reader = Reader::new(ext);
        for _ in 0..reader.map().ok()? {
            let start = reader.pos;
            let (_, key) = reader.str().ok()?;
            reader.pos = scan_value(ext, reader.pos, &mut Budget::new(u32::MAX)).ok()?;
            if !matches!(key, "d" | "h" | "c" | "t") {
                others.bytes.extend_from_slice(ext.get(start..reader.pos)?);
                others.count += 1;
            }
        }
        (others.bytes.len() <= OTHERS_MAX).then_some(others)
    }
}

/// A call of ours that is another session's.
#[derive(Debug)]
pub(super) struct Passed {
    /// `None` until it is known.
    call: Option<CallKey>,
    /// Until it is numbered.
    others: Option<Box<Others>>,
    /// What its RET says that it changed, of what is followed here.
    changed: Vec<(ImportKey, u64)>,
}

impl<O> Invocation<O> {
    /// Keys of its `ext` that are not known here.
    pub fn others(&self) -> Option<&Others> {
        let others = &self.rare.as_ref()?.others;
        (others.count > 0).then_some(others)
    }
}

impl<O: Object> Session<O> {
    // The session that a call is passed on into.

    /// Makes a call that came in another session. What becomes of it is an [`Event::Passed`] with the ticket that this
    /// returns. `open` is the [reserved](Self::reserve) reference that an OPEN settles.
    ///
    /// # Errors
    /// As [`call`](Self::call); no event follows, and `open` is broken.
    pub fn pass_on(
        &mut self,
        kind: CallKind,
        out: &Outgoing<'_, O>,
        others: Option<&Others>,
        open: Option<ImportKey>,
    ) -> Result<u64, Fault> {
        let ticket = self.passed.next_id();
        let passed = Passed {
            call: None,
            others: others.cloned().map(Box::new),
            changed: Vec::new(),
        };
        _ = self.passed.insert(ticket, passed);
        let asker = match open {
            Some(key) => Asker::PassedOpen(ticket, key),
            None => Asker::Passed(ticket),
        };
        match self.start(kind, out, asker) {
            Ok(CallKey::Sent(_)) => Ok(ticket),
            Ok(waiting) => {
                if let Some(passed) = self.passed.get_mut(ticket) {
                    passed.call.get_or_insert(waiting);
                }
                Ok(ticket)
            }
            Err(fault) => {
                self.passed.remove(ticket);
                if let Some(key) = open {
                    self.break_import(key, fault.clone());
                }
                Err(fault)
            }
        }
    }

    /// A reference that an OPEN will settle which is passed on next. The caller holds it.
    pub fn reserve(&mut self) -> ImportKey {
        self.imports
            .entries
            .insert(Import::new(Name::UNSENT, Standing::Pending))
    }

    /// The caller in the other session gave it up (R21.4). What becomes of it is an event as ever.
    pub fn cancel_passed(&mut self, ticket: u64) {
        match self.passed.get(ticket).and_then(|passed| passed.call) {
            Some(CallKey::Sent(id)) => self.cancel_sent(id),
            Some(CallKey::Waiting(wait)) => {
                self.fail_waiting(wait, cancelled());
                self.pump_lines();
            }
            None => {}
        }
    }

    pub(super) fn passed_as(&mut self, ticket: u64, call: CallKey) {
        if let Some(passed) = self.passed.get_mut(ticket) {
            passed.call = Some(call);
        }
    }

    pub(super) fn take_others(&mut self, ticket: u64) -> Option<Box<Others>> {
        self.passed.get_mut(ticket)?.others.take()
    }

    pub(super) fn answer_passed(&mut self, ticket: u64, answer: Answer<O>) {
        let passed = self.passed.remove(ticket);
        let changed = passed.map_or_else(Vec::new, |passed| passed.changed);
        self.events
            .push_back(Event::Passed(ticket, answer, changed));
    }

    /// The RET of this call names shared values and their revisions.
    pub(super) fn passed_changed(&mut self, ticket: u64, changed: Vec<(ImportKey, u64)>) {
        if let Some(passed) = self.passed.get_mut(ticket) {
            passed.changed = changed;
        }
    }

    /// From here on the end of this reference is an [`Event::Broke`], once, and what comes of it as of a stream an
    /// [`Event::Flows`].
    ///
    /// # Errors
    /// Why it is broken already; no event follows.
    pub fn watch(&mut self, key: ImportKey) -> Result<(), Fault> {
        let lost = self.lost();
        let Some(import) = self.imports.entries.get_mut(key) else {
            return Err(lost);
        };
        match import.fault() {
            Some(fault) => Err(fault),
            None => {
                import.watched = true;
                if self.consumers.contains_key(&key) {
                    self.events.push_back(Event::Flows(key));
                }
                Ok(())
            }
        }
    }

    /// Whether the reference is lent: dead when its call ends (R3).
    pub fn is_lent(&self, key: ImportKey) -> bool {
        self.imports
            .entries
            .get(key)
            .is_some_and(|import| import.lent)
    }

    // The session that it came in.

    /// Calls on this OPEN of the peer's go to `o` from now on, those that wait first; it is answered later (R5), with
    /// [`settle_led`](Self::settle_led) or a fault.
    pub fn lead(&mut self, id: IncomingId, o: O) {
        let opened = id.as_call().and_then(|c| self.opened.get_mut(c));
        match opened.map(|opened| &mut opened.outcome) {
            Some(outcome @ Outcome::Pending(_)) => {
                if let Outcome::Pending(queue) = std::mem::replace(outcome, Outcome::Leading(o)) {
                    for invocation in queue {
                        // They name this OPEN: none of them can be a violation.
                        _ = self.route(invocation);
                    }
                }
            }
            _ => self.garbage.push(o),
        }
    }

    /// Answers an OPEN that [leads](Self::lead) to an object: its calls stay on their way, and it is equal to `identity`,
    /// or where there is none to that object itself (R6). `changed` as of
    /// [`respond_changed`](Self::respond_changed).
    pub fn settle_led(
        &mut self,
        id: IncomingId,
        identity: Option<Cap<O>>,
        changed: &[(SubscriberKey, u64)],
    ) {
        self.saying_changed(changed, |session| session.settle_outcome(id, identity));
    }

    fn settle_outcome(&mut self, id: IncomingId, identity: Option<Cap<O>>) {
        let Some(c) = id.as_call() else { return };
        let Some(Outcome::Leading(o)) = self.opened.get(c).map(|opened| &opened.outcome) else {
            return;
        };
        let o = o.clone();
        if let Err(fault) = self.check_open_table() {
            self.garbage.push(o);
            return self.fail_open(id, fault);
        }
        let broken = o.is_revoked().then(|| o.cause());
        let k = self.exports.intern(Hosted::Object(o));
        let mine = Descriptor::new(Tag::Mine, k);
        let descriptor = match identity {
            Some(Cap::Given(other)) => {
                let alias = self.exports.intern(Hosted::Object(other));
                if let Some(export) = self.exports.by_name.get_mut(alias) {
                    export.bound += 1;
                    if let Some(opened) = self.opened.get_mut(c) {
                        opened.alias = alias;
                    }
                }
                Descriptor::new(Tag::Mine, alias)
            }
            Some(Cap::Import(key)) => self.describe_import(key).unwrap_or(mine),
            _ => mine,
        };
        self.bind(id, k, descriptor, broken);
    }

    /// What an OPEN of the peer's leads to by now; `None` where it has no object yet. The caller holds the reference.
    pub fn led_to(&mut self, c: u64) -> Option<Received<O>> {
        match self.opened.get(c).map(|opened| &opened.outcome) {
            Some(Outcome::Pending(_)) => None,
            Some(Outcome::Leading(o)) => Some(Received::Object(o.clone())),
            Some(Outcome::Bound(k)) => {
                let k = *k;
                Some(self.bound_to(k))
            }
            Some(Outcome::Failed(fault)) => Some(Received::Broken(Fault::broken_by(fault))),
            None => Some(Received::Broken(self.lost())),
        }
    }

    /// Answers a call that was passed on, with the bytes that came, however many they are. `changed` as of
    /// [`respond_changed`](Self::respond_changed): here the revisions are those that came (R9.9).
    pub fn respond_passed(
        &mut self,
        id: IncomingId,
        value: &Blob,
        caps: &[Cap<O>],
        changed: &[(SubscriberKey, u64)],
    ) {
        self.saying_changed(changed, |session| {
            session.respond_body(id, value.into(), caps);
        });
    }

    /// Answers a `flush()` that came back from the object's own host: with the first error that was kept here, if one was
    /// (R12.6).
    pub fn respond_flush(&mut self, id: IncomingId) {
        if let Some(target) = self.in_call(id).map(|call| call.target) {
            self.answer_flush(id, target);
        }
    }
}
