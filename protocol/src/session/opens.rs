//! What an OPEN leads to: the peer's here, and ours there (R2, R5, R7).

use std::task::{Poll, Waker};

use helve_handles::{Descriptor, Tag, Target};

use super::caps::{Cap, Received};
use super::incoming::{IncomingId, Place, cancelled, to_send};
use super::tables::{Hosted, Outcome, Settled, Standing};
use super::{ImportKey, Object, Session};
use crate::fault::Fault;
use crate::frame;
use crate::mutation::mutant;
use crate::{Code, Violation};

impl<O: Object> Session<O> {
    /// An OPEN of the peer is answered with this reference; only once it is settled (R5).
    pub(super) fn settle_open(&mut self, id: IncomingId, cap: Cap<O>) {
        let gave_up = self.gave_up(id);
        match cap {
            Cap::Given(o) | Cap::Lent(o) => {
                if let Err(fault) = self.check_open_table() {
                    self.garbage.push(o);
                    return self.fail_open(id, fault);
                }
                let root = self
                    .exports
                    .root
                    .as_ref()
                    .is_some_and(|root| root.key() == o.key());
                if o.is_stream()
                    && let Err(mut fault) = self.check_streams(1)
                {
                    self.garbage.push(o);
                    fault.code = Code::Internal;
                    return self.fail_open(id, fault);
                }
                let broken = (o.is_revoked() && !root).then(|| o.cause());
                let k = self.exports.intern(Hosted::Object(o));
                self.bind(id, k, Descriptor::new(Tag::Mine, k), broken);
            }
            Cap::Import(key) => {
                self.retain(key);
                self.open_to_import(id, key);
            }
            Cap::Broken(fault) => self.fail_open(id, Fault::broken_by(&fault)),
            Cap::Opened(c) => match self.opened.get_mut(c) {
                Some(opened) => match &opened.outcome {
                    Outcome::Pending(_) | Outcome::Leading(_) if gave_up => {
                        self.fail_open(id, cancelled());
                    }
                    Outcome::Pending(_) | Outcome::Leading(_) => {
                        if let Some(c) = id.as_call() {
                            opened.awaited_by.push(c);
                        }
                        self.set_place(id, Place::Settling(None));
                    }
                    Outcome::Bound(k) => {
                        let k = *k;
                        self.open_to_export(id, k);
                    }
                    Outcome::Failed(fault) => {
                        let fault = Fault::broken_by(fault);
                        self.fail_open(id, fault);
                    }
                },
                None => self.fail_open(id, Fault::new(Code::Gone, "the handle was released")),
            },
        }
    }

    /// Whether the caller cancelled it while it ran: then nobody waits for a reference to settle.
    fn gave_up(&mut self, id: IncomingId) -> bool {
        self.in_call(id).is_some_and(|call| call.cancelled)
    }

    pub(super) fn check_open_table(&self) -> Result<(), Fault> {
        if self.exports.by_name.len() + self.opened.len() > self.config.ours.table as usize {
            // Its method ran, so no code may say that it did not.
            return Err(Fault::new(
                Code::Internal,
                "the handle table is full: drop handles, or raise the `table` limit",
            ));
        }
        Ok(())
    }

    /// The result is one of the peer's own: calls on it are reflected (R6). Takes over one reference to the import.
    pub(super) fn open_to_import(&mut self, id: IncomingId, key: ImportKey) {
        let gave_up = self.gave_up(id);
        let Some(import) = self.imports.entries.get_mut(key) else {
            return self.fail_open(id, Fault::new(Code::Gone, "the handle was released"));
        };
        match import.standing {
            Standing::Pending if gave_up => {
                self.release(key);
                self.fail_open(id, cancelled());
            }
            Standing::Pending if !mutant!("unsettled") => {
                if let Some(c) = id.as_call() {
                    import.rare().awaited_by.push(c);
                }
                self.set_place(id, Place::Settling(Some(key)));
            }
            _ if import.lent => {
                self.release(key);
                self.fail_open(
                    id,
                    Fault::new(
                        Code::Denied,
                        "the result is a lent handle: it cannot be given away",
                    ),
                );
            }
            _ => {
                let broken = import.fault();
                // An OPEN of ours that failed is no object: nothing can be bound to it.
                if let Some(fault) = broken.as_ref().filter(|_| import.identity().is_none()) {
                    let fault = Fault::broken_by(fault);
                    self.release(key);
                    return self.fail_open(id, fault);
                }
                let Some(descriptor) = self.describe_import(key) else {
                    self.release(key);
                    return self.fail_open(id, Fault::new(Code::Gone, "the handle was released"));
                };
                if key == self.imports.root {
                    let k = self.exports.intern(Hosted::Forward(key));
                    return self.bind(id, k, descriptor, None);
                }
                let known = self.exports.name_of(&Hosted::Forward(key));
                let k = known.unwrap_or_else(|| self.exports.intern(Hosted::Forward(key)));
                if known.is_some() {
                    // The record that stands holds its own reference.
                    self.release(key);
                }
                self.bind(id, k, descriptor, broken);
            }
        }
    }

    fn open_to_export(&mut self, id: IncomingId, k: u64) {
        match self
            .exports
            .by_name
            .get(k)
            .map(|export| export.what.clone())
        {
            Some(Hosted::Object(o)) => self.settle_open(id, Cap::Given(o)),
            Some(Hosted::Forward(key)) => self.settle_open(id, Cap::Import(key)),
            Some(Hosted::Broken(fault)) => self.settle_open(id, Cap::Broken(*fault)),
            None => match self.exports.root.clone().filter(|_| k == 0) {
                Some(root) => self.settle_open(id, Cap::Given(root)),
                None => self.fail_open(id, Fault::new(Code::Gone, "the handle was released")),
            },
        }
    }

    /// RET, then BROKEN if it is due, then the calls that were pipelined, in order.
    pub(super) fn bind(
        &mut self,
        id: IncomingId,
        k: u64,
        descriptor: Descriptor,
        broken: Option<Fault>,
    ) {
        let Some(c) = self.finish(id) else { return };
        self.pending_opens = self.pending_opens.saturating_sub(1);
        if let Some(export) = self.exports.by_name.get_mut(k) {
            export.bound += 1;
        }
        if self.changed.is_empty() {
            self.post(|buf| frame::write_ret_open(buf, c, descriptor));
        } else {
            let changed = std::mem::take(&mut self.changed);
            self.post(|buf| frame::write_ret_open_changed(buf, c, descriptor, &changed));
        }
        if let Some(fault) = broken {
            let fault = to_send(fault);
            self.post_broken(Target::open(c), fault.code, &fault.message);
        }
        let Some(opened) = self.opened.get_mut(c) else {
            return;
        };
        let before = std::mem::replace(&mut opened.outcome, Outcome::Bound(k));
        // The held calls keep their target: one of them may give back the last reference to it (R1.8).
        opened.refs += 1;
        self.wakes.append(&mut opened.watchers);
        let awaited_by = std::mem::take(&mut opened.awaited_by);
        if !opened.released
            && let Some(Hosted::Object(o)) = self.exports.by_name.get(k).map(|export| &export.what)
            && o.is_stream()
        {
            let o = o.clone();
            self.begin_stream(o, Target::open(c));
        }
        match before {
            Outcome::Pending(queue) => {
                for invocation in queue {
                    // They name this OPEN, which is bound: none of them can be a violation.
                    _ = self.route(invocation);
                }
            }
            Outcome::Leading(o) => self.garbage.push(o),
            Outcome::Bound(_) | Outcome::Failed(_) => {}
        }
        self.subscribe_opened(c);
        for other in awaited_by.into_iter().map(IncomingId::call) {
            if self.settles(other, None) {
                self.open_to_export(other, k);
            }
        }
        self.release_opened(c);
    }

    /// ERR, and from now on a tombstone until its RELEASE (R2).
    pub(super) fn fail_open(&mut self, id: IncomingId, fault: Fault) {
        if mutant!("cancel_mute") && fault.code == Code::Cancelled {
            self.finish(id);
            return;
        }
        let fault = to_send(fault);
        let Some(c) = self.finish(id) else { return };
        self.pending_opens = self.pending_opens.saturating_sub(1);
        self.post(|buf| frame::write_err(buf, c, fault.code, &fault.message, &fault.data));
        let Some(opened) = self.opened.get_mut(c) else {
            return;
        };
        let before = std::mem::replace(
            &mut opened.outcome,
            Outcome::Failed(Box::new(fault.clone())),
        );
        self.wakes.append(&mut opened.watchers);
        let awaited_by = std::mem::take(&mut opened.awaited_by);
        match before {
            Outcome::Pending(queue) => {
                for invocation in queue {
                    self.refuse(invocation, Fault::broken_by(&fault));
                }
            }
            Outcome::Leading(o) => self.garbage.push(o),
            Outcome::Bound(_) | Outcome::Failed(_) => {}
        }
        self.subscribe_opened(c);
        for other in awaited_by.into_iter().map(IncomingId::call) {
            if self.settles(other, None) {
                self.fail_open(other, Fault::broken_by(&fault));
            }
        }
        self.free_opened(c);
    }

    /// Forgets an opened entry that nothing refers to and that was answered.
    pub(super) fn free_opened(&mut self, c: u64) {
        let Some(opened) = self.opened.get(c) else {
            return;
        };
        if opened.refs > 0 || !opened.is_answered() {
            return;
        }
        self.forget_tell_error(Target::open(c));
        let Some(opened) = self.opened.remove(c) else {
            return;
        };
        if let Outcome::Bound(k) = opened.outcome {
            for k in [k, opened.alias] {
                if let Some(export) = self.exports.by_name.get_mut(k) {
                    export.bound = export.bound.saturating_sub(1);
                }
                self.settle_export(k);
            }
        }
    }

    /// Forgets an export that nothing counts on, and lets go of what stood behind it.
    pub(super) fn settle_export(&mut self, k: u64) {
        match self.exports.settle(k) {
            Some(Hosted::Object(o)) => {
                self.forget_tell_error(Target::host(k));
                self.garbage.push(o);
            }
            Some(Hosted::Forward(key)) => self.release(key),
            Some(Hosted::Broken(_)) => {}
            None => {}
        }
    }

    pub(super) fn on_release(&mut self, target: Target, n: u64) -> Result<(), Violation> {
        let over = Violation {
            rule: "R1.4",
            what: "more released than was given",
        };
        if let Some(c) = target.as_open() {
            let opened = self
                .opened
                .get_mut(c)
                .filter(|opened| !opened.released)
                .ok_or(over)?;
            opened.released = true;
            opened.refs = opened.refs.saturating_sub(1);
            self.stop_stream(target);
            self.unsubscribe(target);
            self.free_opened(c);
            return Ok(());
        }
        let k = target.as_host().unwrap_or_default();
        let export = self.exports.by_name.get_mut(k).ok_or(over)?;
        let n = if mutant!("rel_all") {
            export.counted
        } else {
            u32::try_from(n).map_err(|_| over)?
        };
        export.counted = export.counted.checked_sub(n).ok_or(over)?;
        if export.counted == 0 {
            self.stop_stream(target);
            self.unsubscribe(target);
        }
        self.settle_export(k);
        Ok(())
    }

    /// The answer of our own OPEN: which object it names.
    pub(super) fn settle_import(
        &mut self,
        key: ImportKey,
        outcome: Descriptor,
    ) -> Result<(), Violation> {
        let identity = match (outcome.tag(), outcome.id()) {
            (Tag::Mine, k) => Some(Settled::Remote(k)),
            (Tag::Yours, k) => self.identity_of_export(k),
            (Tag::YourOpen, c) => match self.opened.get(c).map(|opened| &opened.outcome) {
                Some(Outcome::Bound(k)) => self.identity_of_export(*k),
                _ => None,
            },
            (Tag::Lent, _) => None,
        };
        self.aside_due = true;
        let names_something = match outcome.tag() {
            Tag::Yours => self.exports.by_name.get(outcome.id()).is_some(),
            _ => false,
        };
        if identity.is_none() && !names_something {
            self.strike()?;
        }
        let Some(import) = self.imports.entries.get_mut(key) else {
            return Ok(());
        };
        if import.standing == Standing::Pending {
            import.standing = Standing::Settled;
        }
        import.rare().identity = identity;
        let watchers = import.take_watchers();
        let awaited_by = std::mem::take(&mut import.rare().awaited_by);
        self.wakes.extend(watchers);
        for id in awaited_by.into_iter().map(IncomingId::call) {
            if self.settles(id, Some(key)) {
                self.open_to_import(id, key);
            }
        }
        Ok(())
    }

    /// Whether that OPEN of the peer still waits for this; it may have been cancelled meanwhile.
    pub(super) fn settles(&mut self, id: IncomingId, import: Option<ImportKey>) -> bool {
        self.in_call(id)
            .is_some_and(|call| call.place == Place::Settling(import))
    }

    fn identity_of_export(&self, k: u64) -> Option<Settled> {
        if k == 0 {
            return self
                .exports
                .root
                .as_ref()
                .map(|root| Settled::Own(root.key()));
        }
        match &self.exports.by_name.get(k)?.what {
            Hosted::Object(o) => Some(Settled::Own(o.key())),
            Hosted::Forward(key) => self.identity(*key),
            Hosted::Broken(_) => None,
        }
    }

    /// Which object a reference names, once that is known (R6).
    pub fn identity(&self, key: ImportKey) -> Option<Settled> {
        let import = self.imports.entries.get(key)?;
        if mutant!("naiveid") {
            // Takes the name for the identity.
            let target = import.name.target()?;
            let open = target.as_open().map(|c| c + (1 << 40));
            return open.or(target.as_host()).map(Settled::Remote);
        }
        import.identity()
    }

    /// Waits for the answer of our OPEN. Ready at once for any other import.
    pub fn poll_settled(&mut self, key: ImportKey, waker: &Waker) -> Poll<Result<(), Fault>> {
        let Some(import) = self.imports.entries.get_mut(key) else {
            return Poll::Ready(Err(self.lost()));
        };
        match import.fault() {
            Some(fault) => Poll::Ready(Err(fault)),
            None if import.standing == Standing::Settled && !self.holds.holds_open(key) => {
                Poll::Ready(Ok(()))
            }
            None => {
                watch(&mut import.rare().watchers, waker);
                Poll::Pending
            }
        }
    }

    /// Waits for the end of a reference: revoked, its session lost, its OPEN failed, or its call over.
    pub fn poll_closed(&mut self, key: ImportKey, waker: &Waker) -> Poll<Fault> {
        let Some(import) = self.imports.entries.get_mut(key) else {
            return Poll::Ready(self.lost());
        };
        match import.fault() {
            Some(fault) => Poll::Ready(fault),
            None => {
                watch(&mut import.rare().watchers, waker);
                Poll::Pending
            }
        }
    }

    /// Waits for what the peer's OPEN `c` leads to here; the caller holds one reference to it.
    pub fn poll_opened(&mut self, c: u64, waker: &Waker) -> Poll<Result<Received<O>, Fault>> {
        let Some(opened) = self.opened.get_mut(c) else {
            return Poll::Ready(Err(self.lost()));
        };
        let k = match &opened.outcome {
            Outcome::Pending(_) | Outcome::Leading(_) => {
                watch(&mut opened.watchers, waker);
                return Poll::Pending;
            }
            Outcome::Failed(fault) => return Poll::Ready(Err(Fault::broken_by(fault))),
            Outcome::Bound(k) => *k,
        };
        Poll::Ready(Ok(self.bound_to(k)))
    }

    /// Our export `k`, as the application gets it.
    pub(super) fn bound_to(&mut self, k: u64) -> Received<O> {
        match self.hosted(k) {
            Some(what) => self.deliver(what),
            None => Received::Broken(self.lost()),
        }
    }

    /// One local reference less.
    pub fn release_opened(&mut self, c: u64) {
        if let Some(opened) = self.opened.get_mut(c) {
            opened.refs = opened.refs.saturating_sub(1);
            self.free_opened(c);
        }
    }
}

pub(super) fn watch(watchers: &mut Vec<Waker>, waker: &Waker) {
    if !watchers.iter().any(|w| w.will_wake(waker)) {
        watchers.push(waker.clone());
    }
}
