//! Calls of ours that wait to be numbered: one line for each depth, in order, and aside of them those that would be held
//! on a shallower OPEN (R13, R4).

use std::task::Waker;

use super::calls::{Asker, Outgoing, WaitKey, Waited, Waiting, never_opened};
use super::caps::Cap;
use super::permits::{DEPTHS, charge};
use super::tables::{Import, Name, Standing};
use super::{ImportKey, Object, Session};
use crate::Code;
use crate::fault::Fault;
use crate::frame::CallKind;
use crate::limits::PAYLOAD_MAX;
use crate::mutation::mutant;

impl<O: Object> Session<O> {
    /// Forgets what was taken out at the front of a line, so that nobody waits behind it.
    pub(super) fn skip_taken_out(&mut self, lane: usize) {
        let Some(line) = self.lines.get_mut(lane) else {
            return;
        };
        while let Some(key) = line.waiting.front() {
            if self.waiting.contains_key(*key) {
                return;
            }
            line.waiting.pop_front();
        }
    }

    /// Numbers what waits, as far as permits and room go.
    pub(super) fn pump_lines(&mut self) {
        let mut moved = true;
        while moved {
            moved = self.recall_aside();
            for lane in 0..DEPTHS {
                while self.has_room() {
                    let Some(key) = self
                        .lines
                        .get(lane)
                        .and_then(|line| line.waiting.front().copied())
                    else {
                        break;
                    };
                    match self.step(lane, key) {
                        Step::Moved => moved = true,
                        Step::Stuck => break,
                    }
                }
            }
        }
    }

    /// Deals with the first call of a line.
    pub(super) fn step(&mut self, lane: usize, key: WaitKey) -> Step {
        let Some(waiting) = self.waiting.get(key) else {
            self.pop(lane);
            return Step::Moved;
        };
        if waiting.depth > 0 && !waiting.named && self.is_ahead(waiting.to, waiting.depth) {
            self.pop(lane);
            self.aside.push(key);
            return Step::Moved;
        }
        let mut named = waiting.caps.iter().filter_map(|cap| {
            if let Cap::Import(key) = cap {
                Some(*key)
            } else {
                None
            }
        });
        let unsent = |key: &ImportKey| {
            self.imports
                .entries
                .get(*key)
                .is_some_and(|import| import.name == Name::UNSENT)
        };
        if let Some(import) = Some(waiting.to)
            .filter(unsent)
            .or_else(|| named.find(unsent))
        {
            let named = waiting.named || import != waiting.to;
            return self.bring_forward(lane, key, import, named);
        }
        let counts = waiting.kind != CallKind::Tell;
        if waiting.args.len() > PAYLOAD_MAX && !self.has_transfer_slot() {
            return Step::Stuck;
        }
        let charge = charge(waiting.args.len());
        if !self
            .lines
            .get(lane)
            .is_some_and(|line| line.charged.admits(line.grant, counts, charge))
        {
            return Step::Stuck;
        }
        self.pop(lane);
        if let Some(waiting) = self.waiting.remove(key) {
            self.emit_waiting(key, *waiting);
        }
        Step::Moved
    }

    pub(super) fn pop(&mut self, lane: usize) {
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.pop_front();
        }
    }

    /// A deeper call names the handle of an OPEN that still waits in a shallower line: that OPEN goes under the deeper
    /// call's grant, else a deeper call would wait for a shallower one (protocol section 7).
    /// `named`: as an argument.
    pub(super) fn bring_forward(
        &mut self,
        lane: usize,
        key: WaitKey,
        import: ImportKey,
        named: bool,
    ) -> Step {
        let Some(open) = self.who_opens(import) else {
            self.pop(lane);
            let cause = self.imports.entries.get(import).and_then(Import::fault);
            let fault = match cause {
                Some(fault) if fault.code != Code::Cancelled => Fault::broken_by(&fault),
                _ => never_opened(),
            };
            self.fail_waiting(key, fault);
            return Step::Moved;
        };
        let Some(waiting) = self.waiting.get_mut(open) else {
            return Step::Stuck;
        };
        let from = usize::from(waiting.depth);
        if from > lane {
            return Step::Stuck;
        }
        waiting.depth = lane as u8;
        waiting.named |= named;
        if let Some(line) = self.lines.get_mut(from) {
            line.waiting.retain(|k| *k != open);
        }
        self.aside.retain(|k| *k != open);
        self.aside_due = true;
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.push_front(open);
        }
        Step::Moved
    }

    /// Whether a call of this depth on this handle would get ahead of what it waits for: the OPEN behind it is numbered,
    /// at a smaller depth, and not answered; or it is not numbered, and names such a one. The call would be held under
    /// a permit of its own depth, which that OPEN may need (R13.15).
    pub(super) fn is_ahead(&self, to: ImportKey, depth: u8) -> bool {
        if mutant!("held_deep") {
            return false;
        }
        if let Some(ahead) = self.is_numbered_above(to, depth) {
            return ahead;
        }
        let (mut todo, mut seen) = (vec![to], Vec::new());
        while let Some(key) = todo.pop() {
            match self.is_numbered_above(key, depth) {
                Some(true) => return true,
                Some(false) => continue,
                None => {}
            }
            let waits = self.who_opens(key).filter(|open| !seen.contains(open));
            if let Some(open) = waits.and_then(|key| self.waiting.get(key))
                && !open.named
            {
                seen.extend(waits);
                todo.push(open.to);
                todo.extend(open.caps.iter().filter_map(|cap| match cap {
                    Cap::Import(key) => Some(*key),
                    _ => None,
                }));
            }
        }
        false
    }

    /// Whether this handle is that of a numbered OPEN of a smaller depth, without an answer. `None`: it is not numbered.
    fn is_numbered_above(&self, key: ImportKey, depth: u8) -> Option<bool> {
        let import = self.imports.entries.get(key);
        let Some(import) = import.filter(|import| import.standing == Standing::Pending) else {
            return Some(false);
        };
        let open = import.name.target()?.as_open();
        let open = open.and_then(|c| self.calls.get(c));
        Some(open.is_some_and(|open| open.depth < depth))
    }

    /// Puts what waits aside back in line once its OPEN is answered (R13.15): in order, and in front, for it was there
    /// before. Whether there was any.
    pub(super) fn recall_aside(&mut self) -> bool {
        if !std::mem::take(&mut self.aside_due) || self.aside.is_empty() {
            return false;
        }
        let before = std::mem::take(&mut self.aside);
        let mut recalled = false;
        for key in before.into_iter().rev() {
            let Some((to, depth)) = self.waiting.get(key).map(|w| (w.to, w.depth)) else {
                continue;
            };
            let lane = self.lane(usize::from(depth));
            if self.is_ahead(to, depth) {
                self.aside.push(key);
            } else if let Some(line) = self.lines.get_mut(lane) {
                line.waiting.push_front(key);
                recalled = true;
            }
        }
        self.aside.reverse();
        recalled
    }

    pub(super) fn emit_waiting(&mut self, key: WaitKey, waiting: Waiting<O>) {
        self.waiting_bytes -= waiting.backlog();
        let Waiting {
            kind,
            asker,
            to,
            caps,
            method,
            args,
            deadline,
            depth,
            chain,
            trace,
            named: _,
        } = waiting;
        self.aside_due |= kind == CallKind::Open;
        let out = Outgoing {
            to,
            method,
            args: args.body(),
            caps: &caps,
            deadline,
            depth,
            chain,
            trace: &trace,
        };
        // A task still has to learn the id: its slot goes back under the same key.
        let (waker, watched) = match &asker {
            Asker::Task(waker) => (waker.clone(), true),
            _ => (None, false),
        };
        let fault_to = match &asker {
            Asker::Open(key) => Asker::Open(*key),
            Asker::Relay(id) => Asker::Relay(*id),
            Asker::RelayOpen(id, key) => Asker::RelayOpen(*id, *key),
            Asker::Passed(ticket) => Asker::Passed(*ticket),
            Asker::PassedOpen(ticket, key) => Asker::PassedOpen(*ticket, *key),
            Asker::Task(_) | Asker::Nobody => Asker::Nobody,
        };
        let tell = kind == CallKind::Tell;
        let result = self.emit(kind, &out, asker);
        self.release_named(to, caps);
        match result {
            Ok(n) if watched => {
                self.settle_waiting(key, Waited::Numbered(n), tell.then_some(waker).flatten())
            }
            Ok(_) => {}
            Err(fault) if watched => self.settle_waiting(key, Waited::Failed(fault), waker),
            Err(fault) => self.fail_asker(fault_to, fault),
        }
    }

    /// Puts the outcome where the task looks for it.
    pub(super) fn settle_waiting(&mut self, key: WaitKey, outcome: Waited, waker: Option<Waker>) {
        self.waited.insert(key, outcome);
        self.wakes.extend(waker);
    }

    pub(super) fn release_named(&mut self, to: ImportKey, caps: Vec<Cap<O>>) {
        self.release(to);
        for cap in caps {
            match cap {
                Cap::Import(key) => self.release(key),
                Cap::Given(o) | Cap::Lent(o) => self.garbage.push(o),
                Cap::Opened(_) | Cap::Broken(_) => {}
            }
        }
    }

    /// Takes a waiting call out and tells whoever asked that it was not sent.
    pub(super) fn fail_waiting(&mut self, key: WaitKey, fault: Fault) {
        let Some(waiting) = self.waiting.remove(key) else {
            return;
        };
        self.waiting_bytes -= waiting.backlog();
        if !self.aside.is_empty() {
            self.aside.retain(|k| *k != key);
        }
        self.release_named(waiting.to, waiting.caps);
        match waiting.asker {
            Asker::Task(waker) => self.settle_waiting(key, Waited::Failed(fault), waker),
            asker => self.fail_asker(asker, fault),
        }
    }

    pub(super) fn fail_asker(&mut self, asker: Asker, fault: Fault) {
        match asker {
            Asker::Task(_) | Asker::Nobody => {}
            Asker::Open(key) => self.break_import(key, fault),
            Asker::Relay(id) => self.relay_err(id, fault),
            Asker::RelayOpen(id, key) => {
                self.release(key);
                self.relay_err(id, fault);
            }
            Asker::Passed(ticket) => self.answer_passed(ticket, Err(fault)),
            Asker::PassedOpen(ticket, key) => {
                self.break_import(key, fault.clone());
                self.answer_passed(ticket, Err(fault));
            }
        }
    }

    /// Waiting calls that name a lent handle whose call ended are not sent (R3).
    pub(super) fn expire_waiting(&mut self) {
        let expired = |key: &ImportKey| {
            self.imports
                .entries
                .get(*key)
                .is_some_and(|import| import.standing == Standing::Expired)
        };
        let names = |w: &Waiting<O>| {
            expired(&w.to)
                || w.caps
                    .iter()
                    .any(|cap| matches!(cap, Cap::Import(key) if expired(key)))
        };
        let dead: Vec<WaitKey> = self
            .waiting
            .iter()
            .filter(|(_, w)| names(w))
            .map(|(key, _)| key)
            .collect();
        for key in dead {
            self.fail_waiting(
                key,
                Fault::new(
                    Code::Expired,
                    "a lent handle was used after its call ended: take it by value to keep it",
                ),
            );
        }
    }

    /// Takes the OPEN out that would settle this import.
    pub(super) fn cancel_unsent(&mut self, key: ImportKey, fault: Fault) {
        if let Some(wait) = self.who_opens(key) {
            self.fail_waiting(wait, fault);
        }
    }

    pub(super) fn who_opens(&self, import: ImportKey) -> Option<WaitKey> {
        let opens = |w: &Waiting<O>| matches!(w.asker, Asker::Open(k) | Asker::RelayOpen(_, k) | Asker::PassedOpen(_, k) if k == import);
        self.waiting
            .iter()
            .find(|(_, w)| opens(w))
            .map(|(key, _)| key)
    }
}

/// Whether a line got on.
pub(super) enum Step {
    Moved,
    Stuck,
}
