//! The end of a session (R17): every record dropped once, every handle broken once, every call one outcome.

use super::calls::{Asker, Waited};
use super::incoming::{IncomingId, Place};
use super::runs::Queued;
use super::tables::{Hosted, Outcome, Standing};
use super::{Cap, Event, ImportKey, Invocation, Object, Received, Session};
use crate::Code;
use crate::fault::Fault;

/// Why a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndCause {
    /// The WebSocket close code, 1006 where the link was lost without one (RFC 6455, 7.4.1).
    pub close: u16,
    /// What is known of it.
    pub reason: Box<str>,
}

impl<O: Object> Session<O> {
    /// Ends the session. Calls that were never written end as NotSent, those that were as MaybeRan; every import
    /// breaks; exported objects become garbage; running methods get [`Event::Stop`]. A second call does nothing.
    pub fn end(&mut self, cause: EndCause) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(cause);
        let lost = self.lost();
        // What other sessions must hear of.
        let mut passed = Vec::new();
        // References that the session holds itself: what was read of their streams is read by nobody any more.
        let mut own: Vec<ImportKey> = self.exports.forwards.keys().copied().collect();
        for (key, waiting) in self.waiting.drain() {
            self.garbage.extend(waiting.own());
            own.push(waiting.to);
            own.extend(waiting.caps.iter().filter_map(|cap| match cap {
                Cap::Import(key) => Some(*key),
                _ => None,
            }));
            let fault = || Fault::new(Code::NotSent, &lost.message);
            match waiting.asker {
                Asker::Task(waker) => {
                    self.waited.insert(key, Waited::Failed(fault()));
                    self.wakes.extend(waker);
                }
                Asker::Passed(ticket) | Asker::PassedOpen(ticket, _) => {
                    passed.push(Event::Passed(ticket, Err(fault()), Vec::new()));
                }
                _ => {}
            }
        }
        self.aside.clear();
        self.waiting_bytes = 0;
        let unsent = self.first_unsent();
        let (wakes, transfers) = (&mut self.wakes, &self.flow.transfers);
        self.calls.retain(|_, call| {
            if call.answer.is_some() {
                return true;
            }
            let code = if call.seq >= unsent || transfers.is_open(call.seq) {
                Code::NotSent
            } else {
                Code::MaybeRan
            };
            let fault = || Fault::new(code, &lost.message);
            match std::mem::replace(&mut call.asker, Asker::Nobody) {
                Asker::Task(waker) => {
                    call.answer = Some(Err(fault()));
                    wakes.extend(waker);
                    true
                }
                Asker::Passed(ticket) | Asker::PassedOpen(ticket, _) => {
                    passed.push(Event::Passed(ticket, Err(fault()), Vec::new()));
                    false
                }
                _ => false,
            }
        });
        self.passed.take_all();
        for key in own {
            self.release(key);
        }
        for (key, import) in &mut self.imports.entries {
            self.wakes.append(&mut import.take_watchers());
            if import.watched && import.fault().is_none() {
                passed.push(Event::Broke(key, lost.clone()));
            }
            if key == self.imports.root {
                import.standing = Standing::Broken;
                import.rare().fault = Some(lost.clone());
            }
        }
        let root = self.imports.root;
        self.imports.entries.retain(|key, _| key == root);
        self.imports.by_host.clear();
        self.imports.by_open.take_all();
        self.end_producers();
        self.end_consumers(&lost);
        self.end_subscribers();
        self.end_follows(&lost);
        for (_, opened) in self.opened.take_all() {
            self.wakes.extend(opened.watchers);
            match opened.outcome {
                Outcome::Pending(queue) => queue
                    .into_iter()
                    .for_each(|invocation| self.scrap(invocation)),
                Outcome::Leading(o) => self.garbage.push(o),
                Outcome::Bound(_) | Outcome::Failed(_) => {}
            }
        }
        for (_, export) in self.exports.by_name.take_all() {
            if let Hosted::Object(o) = export.what {
                self.garbage.push(o);
            }
        }
        self.exports.objects.clear();
        self.exports.forwards.clear();
        self.garbage.extend(self.exports.root.take());
        let queued = std::mem::take(&mut self.queued);
        let slowed = std::mem::take(&mut self.slowed);
        for queued in queued {
            match queued {
                Queued::One(o, invocation) => {
                    self.garbage.push(o);
                    self.scrap(invocation);
                }
                Queued::Tells(o, _) => self.garbage.push(o),
            }
        }
        for (o, invocation) in slowed {
            self.garbage.push(o);
            self.scrap(invocation);
        }
        // What was not polled yet does not start after the end.
        let mut started: Vec<IncomingId> = Vec::new();
        let mut tells = Vec::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Start(o, invocation) => {
                    started.push(invocation.id);
                    self.garbage.push(o);
                    self.scrap(invocation);
                }
                Event::Tells(o, run) => {
                    tells.push(run.numbers());
                    self.garbage.push(o);
                }
                Event::Stream(o, _) | Event::Subscribed(o, ..) => self.garbage.push(o),
                Event::Stop(_) | Event::Room(_) => {}
                Event::Passed(..)
                | Event::Broke(..)
                | Event::Flows(_)
                | Event::Unsubscribed(_)
                | Event::Update(..)
                | Event::FollowEnded(..) => {
                    self.events.push_back(event);
                }
            }
        }
        self.events.extend(passed);
        for (n, call) in self.incoming.take_all() {
            let id = IncomingId::call(n);
            if call.place == Place::Running && !started.contains(&id) {
                self.events.push_back(Event::Stop(id));
            }
        }
        for (n, call) in self.tells.take_all() {
            let id = IncomingId::tell(n);
            let polled = !started.contains(&id) && !tells.iter().any(|run| run.contains(&n));
            if call.place == Place::Running && polled {
                self.events.push_back(Event::Stop(id));
            }
        }
        self.charged = Default::default();
        for line in &mut self.lines {
            line.charged = Default::default();
            line.tells = 0;
            line.waiting.clear();
        }
        (self.tell_credit, self.credit_owed) = Default::default();
        (self.running, self.pending_opens) = (0, 0);
        self.flushes.clear();
        self.end_assembly();
        self.end_flow();
    }

    fn scrap(&mut self, invocation: Invocation<O>) {
        self.scrap_caps(invocation.caps);
    }

    /// Our own objects among these become garbage, and streams are read by nobody; the rest ended with the tables.
    pub(super) fn scrap_caps(&mut self, caps: Vec<Received<O>>) {
        for cap in caps {
            match cap {
                Received::Object(o) => self.garbage.push(o),
                Received::Import { key, .. } => self.forget_consumer(key),
                Received::Opened(_) | Received::Broken(_) => {}
            }
        }
    }

    /// Why the session ended.
    pub fn end_cause(&self) -> Option<&EndCause> {
        self.ended.as_ref()
    }

    pub(super) fn lost(&self) -> Fault {
        match &self.ended {
            Some(cause) if cause.reason.is_empty() => Fault::new(
                Code::SessionLost,
                &format!("the session ended with close code {}", cause.close),
            ),
            Some(cause) => Fault::new(Code::SessionLost, &cause.reason),
            None => Fault::new(Code::Gone, "the handle was released"),
        }
    }
}
