//! Reflection (R6): calls on an object of the peer's own that it reaches through us go back to it as calls of ours,
//! one deeper, so that a reference never changes its path and order holds.

use super::calls::{Asker, CallKey, Outgoing};
use super::caps::{Cap, Received};
use super::incoming::{IncomingId, Place, Reply};
use super::permits::DEPTHS;
use super::tables::{Hosted, Import, Name, Outcome, Standing};
use super::{ImportKey, Invocation, Object, Session};
use crate::Code;
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::CallKind;
use crate::mutation::mutant;

impl<O: Object> Session<O> {
    /// Sends a call of the peer's back to it.
    pub(super) fn reflect(&mut self, key: ImportKey, invocation: Invocation<O>) {
        if usize::from(invocation.depth) + 1 >= DEPTHS {
            return self.refuse(
                invocation,
                Fault::new(
                    Code::Exhausted,
                    "calls made inside calls are nested over 15 deep",
                ),
            );
        }
        let caps = match self.send_on(&invocation.caps, false) {
            Ok(caps) => caps,
            Err(fault) => return self.refuse(invocation, fault),
        };
        let out = Outgoing {
            to: key,
            method: invocation.method,
            args: (&invocation.args).into(),
            caps: &caps,
            deadline: invocation.deadline(),
            depth: invocation.depth + 1,
            chain: invocation.chain(),
            trace: invocation.trace(),
        };
        let id = invocation.id;
        if invocation.is_flush() {
            // Its own host answers it.
            self.forget_flush(id);
        }
        self.set_place(id, Place::Flushing);
        let sent = if invocation.kind == CallKind::Open {
            let import = self
                .imports
                .entries
                .insert(Import::new(Name::UNSENT, Standing::Pending));
            let sent = self.start(CallKind::Open, &out, Asker::RelayOpen(id, import));
            if sent.is_err() {
                self.imports.entries.remove(import);
            }
            sent
        } else {
            self.start(invocation.kind, &out, Asker::Relay(id))
        };
        match sent {
            Ok(call) => {
                let waits = matches!(call, CallKey::Waiting(key) if self.waiting.contains_key(key));
                if invocation.kind != CallKind::Tell && waits {
                    self.set_place(id, Place::Relayed(call));
                }
                self.discard(invocation.caps);
            }
            Err(fault) => self.refuse(invocation, fault),
        }
    }

    /// References that came, as references to send. The received ones keep their own hold until they are discarded.
    fn send_on(&mut self, caps: &[Received<O>], result: bool) -> Result<Vec<Cap<O>>, Fault> {
        caps.iter()
            .map(|cap| match cap {
                Received::Object(o) => Ok(Cap::Given(o.clone())),
                Received::Import { key, .. } => Ok(Cap::Import(*key)),
                Received::Broken(fault) => Ok(Cap::Broken(fault.clone())),
                Received::Opened(c) if result => Ok(Cap::Opened(*c)),
                Received::Opened(c) => match self.opened.get(*c).map(|opened| &opened.outcome) {
                    Some(Outcome::Bound(0)) => self
                        .exports
                        .root
                        .clone()
                        .map(Cap::Given)
                        .ok_or_else(|| Fault::new(Code::Gone, "")),
                    Some(Outcome::Bound(k)) => {
                        match self.exports.by_name.get(*k).map(|export| &export.what) {
                            Some(Hosted::Object(o)) => Ok(Cap::Given(o.clone())),
                            Some(Hosted::Forward(key)) => Ok(Cap::Import(*key)),
                            Some(Hosted::Broken(fault)) => Ok(Cap::Broken((**fault).clone())),
                            None => Err(Fault::new(Code::Gone, "the handle was released")),
                        }
                    }
                    Some(Outcome::Failed(fault)) => Ok(Cap::Broken(Fault::broken_by(fault))),
                    Some(Outcome::Leading(o)) => Ok(Cap::Given(o.clone())),
                    _ => Err(Fault::new(
                        Code::Unavailable,
                        "a handle in the arguments has no object yet: await it first",
                    )),
                },
            })
            .collect()
    }

    /// The answer of a reflected call.
    pub(super) fn relay_ret(&mut self, id: IncomingId, value: &Blob, caps: Vec<Received<O>>) {
        match self.send_on(&caps, true) {
            Ok(out) if mutant!("drop_first") => {
                self.discard(caps);
                self.respond_body(id, value.into(), &out);
            }
            Ok(out) => {
                // Released only after the frame that names them (R4).
                self.respond_body(id, value.into(), &out);
                self.discard(caps);
            }
            Err(fault) => {
                self.discard(caps);
                self.respond(id, Reply::Fault(fault));
            }
        }
    }

    pub(super) fn relay_err(&mut self, id: IncomingId, fault: Fault) {
        self.respond(id, Reply::Fault(fault));
    }

    /// The answer of a reflected OPEN: it leads to the import, whose one reference is handed over.
    pub(super) fn relay_opened(&mut self, id: IncomingId, key: ImportKey) {
        self.open_to_import(id, key);
    }

    /// The peer gave up a reflected call: so do we (R21). The answer comes as ever, unless ours was never numbered.
    pub(super) fn cancel_relayed(&mut self, key: CallKey) {
        match key {
            CallKey::Sent(id) => self.cancel_sent(id),
            CallKey::Waiting(wait) if self.waiting.contains_key(wait) => {
                self.fail_waiting(wait, Fault::new(Code::Cancelled, "cancelled by the caller"));
            }
            // Numbered meanwhile: its id is the one that names this asker.
            CallKey::Waiting(_) => {}
        }
    }

    /// Delivers a call past its path: the bug that the mutation `shorten` seeds.
    pub(super) fn call_shortened(
        &mut self,
        kind: CallKind,
        out: &Outgoing<'_, O>,
        o: O,
    ) -> CallKey {
        let invocation = Invocation {
            id: IncomingId::call(0),
            kind,
            target: helve_handles::Target::ROOT,
            method: out.method,
            args: Blob::from(out.args),
            caps: Vec::new(),
            depth: out.depth,
            rare: None,
        };
        self.events.push_back(super::Event::Start(o, invocation));
        CallKey::Sent(0)
    }
}
