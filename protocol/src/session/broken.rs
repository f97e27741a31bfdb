//! The end of one reference: revoked by its host, or its upstream lost (R22, and BROKEN in R9).

use helve_handles::{ObjectKey, Target};

use super::incoming::{IncomingId, to_send};
use super::tables::{Hosted, Outcome, Standing};
use super::transfer::Of;
use super::{Event, ImportKey, Object, Session};
use crate::Code;
use crate::fault::Fault;
use crate::frame;
use crate::mutation::mutant;

impl<O: Object> Session<O> {
    /// Tells the peer that an object is revoked, by every name it has for it. The object already says so itself, so no
    /// method of it starts any more; its records stay until they are released.
    pub fn revoke(&mut self, object: ObjectKey) {
        self.break_object(object, &Fault::new(Code::Broken, "revoked"));
    }

    /// The same for an object that stands for one of another session, which is lost (R9).
    pub fn break_object(&mut self, object: ObjectKey, cause: &Fault) {
        let Some(k) = self.exports.objects.get(&object).copied() else {
            return;
        };
        for target in self.live_names(k) {
            self.post_broken_ahead(target, cause);
            self.stop_stream(target);
            self.unsubscribe(target);
        }
        if mutant!("revoke_free") {
            if let Some(export) = self.exports.by_name.get_mut(k) {
                (export.counted, export.bound, export.pins) = (0, 0, 0);
            }
            self.settle_export(k);
        }
    }

    /// The names by which the peer may call export `k`: itself if counted, and each OPEN that led to it.
    fn live_names(&self, k: u64) -> Vec<Target> {
        let counted = self
            .exports
            .by_name
            .get(k)
            .is_some_and(|export| export.counted > 0);
        let bound = self.opened.iter().filter(|(_, opened)| {
            !opened.released && matches!(opened.outcome, Outcome::Bound(b) if b == k)
        });
        let mut names: Vec<Target> = bound.map(|(c, _)| Target::open(c)).collect();
        names.sort_unstable();
        if counted {
            names.push(Target::host(k));
        }
        names
    }

    pub(super) fn post_broken(&mut self, target: Target, code: Code, message: &str) {
        self.post(|buf| frame::write_broken(buf, target, code, message));
    }

    /// BROKEN of a name of which a payload may be under way, which is given up next: an abort goes ahead of what waits
    /// (R18.14), and so must this (R18.13, R18.15). Its name is introduced: the peer asked for what is under way.
    fn post_broken_ahead(&mut self, target: Target, cause: &Fault) {
        let transfers = &self.flow.transfers;
        if transfers.is_under_way(Of::Data(target)) || transfers.is_under_way(Of::Shared(target)) {
            let (code, text) = (cause.code, &cause.message);
            self.post_ahead(|buf| frame::write_broken(buf, target, code, text));
        } else {
            self.post_broken(target, cause.code, &cause.message);
        }
    }

    pub(super) fn on_broken(&mut self, target: Target, fault: Fault) {
        // Released meanwhile: ignored (protocol section 7).
        if let Some(key) = self
            .imports
            .named(target)
            .filter(|key| *key != self.imports.root)
        {
            self.break_import(key, fault);
        }
    }

    /// An import is broken: whoever watches it is told, and so is the peer where it reaches it through us.
    pub(super) fn break_import(&mut self, key: ImportKey, fault: Fault) {
        let Some(import) = self.imports.entries.get_mut(key) else {
            return;
        };
        if matches!(import.standing, Standing::Broken | Standing::Expired) {
            return;
        }
        import.standing = Standing::Broken;
        self.aside_due = true;
        if import.watched {
            self.events.push_back(Event::Broke(key, fault.clone()));
        }
        let rare = import.rare();
        rare.fault = Some(fault.clone());
        let watchers = std::mem::take(&mut rare.watchers);
        let awaited_by = std::mem::take(&mut rare.awaited_by);
        self.wakes.extend(watchers);
        self.break_consumer(key, &fault);
        self.break_follow(key, &fault);
        for id in awaited_by.into_iter().map(IncomingId::call) {
            if self.settles(id, Some(key)) {
                self.release(key);
                self.fail_open(id, Fault::broken_by(&fault));
            }
        }
        if let Some(k) = self.exports.name_of(&Hosted::Forward(key)) {
            let fault = to_send(fault);
            for target in self.live_names(k) {
                self.post_broken(target, fault.code, &fault.message);
            }
        }
    }
}
