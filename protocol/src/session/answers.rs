//! What becomes of our calls: answered, acknowledged, given up (R11, R12, R21).

use std::task::{Poll, Waker};

use bytes::Bytes;
use helve_handles::{Descriptor, Target};

use super::calls::{Answer, Asker, CallKey, OutCall, ReceiptKey, Waited, never_opened, not_sent};
use super::caps::Received;
use super::tables::Name;
use super::transfer::{Of, Told};
use super::{ImportKey, Object, Session};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::Payload;
use crate::mutation::mutant;
use crate::{Code, Violation};

impl<O: Object> Session<O> {
    /// The answer of a call, once it is there. After `Ready` the key is spent.
    pub fn poll_call(&mut self, key: &mut CallKey, waker: &Waker) -> Poll<Answer<O>> {
        if let CallKey::Waiting(wait) = *key {
            match self.waited.remove(&wait) {
                Some(Waited::Numbered(id)) => *key = CallKey::Sent(id),
                Some(Waited::Failed(fault)) => return Poll::Ready(Err(fault)),
                _ => {
                    if let Some(waiting) = self.waiting.get_mut(wait) {
                        waiting.asker = Asker::Task(Some(waker.clone()));
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(Fault::new(Code::Cancelled, "the call was cancelled")));
                }
            }
        }
        let CallKey::Sent(id) = *key else {
            return Poll::Pending;
        };
        if let Some(answer) = self.calls.take_if(id, OutCall::take_answer) {
            return Poll::Ready(answer);
        }
        let Some(call) = self.calls.get_mut(id) else {
            return Poll::Ready(Err(Fault::new(Code::Cancelled, "the call was cancelled")));
        };
        match &mut call.asker {
            Asker::Task(Some(old)) => old.clone_from(waker),
            asker => *asker = Asker::Task(Some(waker.clone())),
        }
        Poll::Pending
    }

    /// Whether a call was numbered (`queued`) or accepted by the peer (`accepted`: its number is acknowledged), R12.
    pub fn poll_receipt(
        &mut self,
        key: &mut ReceiptKey,
        accepted: bool,
        waker: &Waker,
    ) -> Poll<Result<(), Fault>> {
        if let ReceiptKey::Waiting(wait) = *key {
            match self.waited.remove(&wait) {
                Some(Waited::Numbered(seq)) => *key = ReceiptKey::Sent(seq),
                Some(Waited::Failed(fault)) => return Poll::Ready(Err(fault)),
                _ => {
                    if let Some(waiting) = self.waiting.get_mut(wait) {
                        waiting.asker = Asker::Task(Some(waker.clone()));
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(Fault::new(
                        Code::NotSent,
                        "the session ended before the call was sent",
                    )));
                }
            }
        }
        let ReceiptKey::Sent(seq) = *key else {
            return Poll::Pending;
        };
        if !accepted {
            return Poll::Ready(Ok(()));
        }
        // R12.2: the peer's ack has passed the frame of a TELL, and its last PART.
        let is_accepted = match self.flow.transfers.told(seq, waker) {
            Told::Whole => self.poll_acked(seq, waker),
            Told::With(last) => self.poll_acked(last, waker),
            Told::Open => false,
            // S8.2.
            Told::Cut => {
                return Poll::Ready(Err(Fault::new(
                    Code::NotSent,
                    "the session ended before all of the call was sent",
                )));
            }
        };
        match &self.ended {
            _ if is_accepted => Poll::Ready(Ok(())),
            Some(_) => Poll::Ready(Err(Fault::new(
                Code::MaybeRan,
                "the session ended before the peer acknowledged the call",
            ))),
            None => Poll::Pending,
        }
    }

    /// Nobody asks after this one-way call any more. It is sent all the same.
    pub fn forget_receipt(&mut self, key: ReceiptKey) {
        if let ReceiptKey::Waiting(wait) = key {
            self.waited.remove(&wait);
            if let Some(waiting) = self.waiting.get_mut(wait) {
                waiting.asker = Asker::Nobody;
            }
        }
    }

    /// Nobody waits for this call any more (R21): one that was not numbered never goes; for the others CANCEL goes, and
    /// the entry stays until RET or ERR, whose references are released.
    pub fn cancel(&mut self, key: CallKey) {
        let id = match key {
            CallKey::Waiting(wait) => match self.waited.remove(&wait) {
                Some(Waited::Numbered(id)) => id,
                Some(_) => return,
                None => {
                    if let Some(waiting) = self.waiting.get_mut(wait) {
                        waiting.asker = Asker::Nobody;
                    }
                    self.fail_waiting(wait, not_sent());
                    self.pump_lines();
                    return;
                }
            },
            CallKey::Sent(id) => id,
        };
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if let Some(answer) = call.answer.take() {
            if call.held {
                self.unhold_call(id);
            }
            self.calls.remove(id);
            if let Ok((_, caps)) = answer {
                self.discard(caps);
            }
            return;
        }
        call.asker = Asker::Nobody;
        let arriving = call.arriving;
        if std::mem::take(&mut call.held) {
            self.unhold_call(id);
        }
        self.cancel_sent(id);
        if arriving {
            self.calls.remove(id);
            self.forget_value(id);
        }
        // It may have left a transfer slot.
        self.pump();
    }

    /// Gives up an OPEN of ours that has no answer (R21): one that was not numbered never goes, and the reference
    /// breaks; for the others CANCEL goes. The reference stays the caller's, to be released as ever.
    pub fn cancel_open(&mut self, key: ImportKey) {
        let Some(import) = self.imports.entries.get(key) else {
            return;
        };
        match import.name.target().and_then(Target::as_open) {
            Some(c) => {
                self.cancel_sent(c);
                self.pump();
            }
            None if import.name == Name::UNSENT => {
                self.cancel_unsent(key, never_opened());
                self.pump_lines();
            }
            None => {}
        }
    }

    pub(super) fn cancel_sent(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.cancelled || self.ended.is_some() {
            return;
        }
        call.cancelled = true;
        self.post_cancel(id);
        if mutant!("cancel_unpin") {
            self.unpin(id);
        }
        if mutant!("cancel_forget") {
            self.unpin(id);
            if let Some(call) = self.calls.remove(id) {
                self.give_back(call.depth, call.charge);
            }
        }
    }

    /// The permit returns with RET or ERR, never with CANCEL (R13).
    pub(super) fn give_back(&mut self, depth: u8, charge: u32) {
        let lane = self.lane(usize::from(depth));
        if let Some(line) = self.lines.get_mut(lane) {
            line.charged.sub(true, u64::from(charge));
        }
    }

    pub(super) fn unpin(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        for k in call.lent.take().into_iter().flat_map(|lent| *lent) {
            if let Some(export) = self.exports.by_name.get_mut(k) {
                export.pins = export.pins.saturating_sub(1);
            }
            self.settle_export(k);
        }
    }

    /// Exactly one RET or ERR comes per id (R11).
    pub(super) fn answered(&mut self, id: u64) -> Result<bool, Violation> {
        match self.calls.get(id) {
            Some(call) if call.answer.is_none() && !call.arriving => {
                let (depth, charge, lends) = (call.depth, call.charge, call.lent.is_some());
                self.abort_transfer(Of::Call(id));
                if lends {
                    self.unpin(id);
                }
                self.give_back(depth, charge);
                Ok(true)
            }
            None if mutant!("cancel_forget") => Ok(false),
            _ => Err(Violation {
                rule: "R11.6",
                what: "a result for a call that has none to come",
            }),
        }
    }

    pub(super) fn on_ret(
        &mut self,
        id: u64,
        message: &Bytes,
        value: &Payload,
        caps: &[Descriptor],
    ) -> Result<(), Violation> {
        // Most results, in one look-up: a task waits, and there are no references in either direction.
        if let Payload::Inline(span) = value
            && caps.is_empty()
            && let Some(call) = self.calls.get_mut(id)
            && let Asker::Task(waker) = &mut call.asker
            && call.answer.is_none()
            && !call.arriving
            && call.lent.is_none()
            && self.flow.transfers.len() == 0
        {
            if let Some(waker) = waker.take() {
                self.wakes.push(waker);
            }
            call.answer = Some(Ok((Blob::slice(message, span.range()), Vec::new())));
            let (depth, charge) = (call.depth, call.charge);
            self.give_back(depth, charge);
            return Ok(());
        }
        self.on_any_ret(id, message, value, caps)
    }

    /// Every other result.
    pub(super) fn on_any_ret(
        &mut self,
        id: u64,
        message: &Bytes,
        value: &Payload,
        caps: &[Descriptor],
    ) -> Result<(), Violation> {
        if !self.answered(id)? {
            return Ok(());
        }
        let Some(call) = self.calls.get_mut(id) else {
            return Ok(());
        };
        if let Asker::Open(key) | Asker::RelayOpen(_, key) | Asker::PassedOpen(_, key) = call.asker
        {
            let asker = std::mem::replace(&mut call.asker, Asker::Nobody);
            let Payload::Inline(span) = value else {
                return Err(NO_DESCRIPTOR);
            };
            self.calls.remove(id);
            let outcome = open_outcome(message.get(span.range()).unwrap_or_default(), caps)?;
            self.settle_import(key, outcome)?;
            match asker {
                Asker::RelayOpen(incoming, _) => self.relay_opened(incoming, key),
                Asker::PassedOpen(ticket, _) => {
                    self.answer_passed(ticket, Ok((Blob::EMPTY, Vec::new())));
                }
                _ => {}
            }
            return Ok(());
        }
        match value {
            Payload::Inline(span) => {
                let caps = self.take_caps(caps, None)?;
                self.deliver_ret(id, Blob::slice(message, span.range()), caps);
            }
            Payload::Transfer(len) => {
                call.arriving = true;
                let unwanted = matches!(call.asker, Asker::Nobody);
                let caps = self.take_caps(caps, None)?;
                self.expect_value(id, *len, caps)?;
                if unwanted {
                    self.calls.remove(id);
                    self.forget_value(id);
                }
            }
        }
        Ok(())
    }

    /// The result of a call of ours is there, whole.
    pub(super) fn deliver_ret(&mut self, id: u64, value: Blob, caps: Vec<Received<O>>) {
        let Some(call) = self.calls.get_mut(id) else {
            return self.discard(caps);
        };
        match std::mem::replace(&mut call.asker, Asker::Nobody) {
            Asker::Task(waker) => {
                call.arriving = false;
                call.answer = Some(Ok((value, caps)));
                if call.held {
                    call.asker = Asker::Task(waker);
                } else {
                    self.wakes.extend(waker);
                }
            }
            Asker::Relay(incoming) => {
                self.calls.remove(id);
                self.relay_ret(incoming, &value, caps);
            }
            Asker::Passed(ticket) => {
                self.calls.remove(id);
                self.answer_passed(ticket, Ok((value, caps)));
            }
            Asker::Nobody | Asker::Open(_) | Asker::RelayOpen(..) | Asker::PassedOpen(..) => {
                self.calls.remove(id);
                self.discard(caps);
            }
        }
    }

    /// The host gave a result up on its way (R18.11).
    pub(super) fn fail_arriving(&mut self, id: u64, fault: Fault) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.arriving = false;
        let held = std::mem::take(&mut call.held);
        match std::mem::replace(&mut call.asker, Asker::Nobody) {
            Asker::Task(waker) => {
                call.answer = Some(Err(fault));
                self.wakes.extend(waker);
                if held {
                    self.unhold_call(id);
                }
            }
            asker => {
                self.calls.remove(id);
                self.fail_asker(asker, fault);
            }
        }
    }

    pub(super) fn on_err(&mut self, id: u64, fault: Fault) -> Result<(), Violation> {
        if !self.answered(id)? {
            return Ok(());
        }
        self.fail_arriving(id, fault);
        Ok(())
    }

    pub(super) fn on_tell_credit(&mut self, n: u64, depth: u8) -> Result<(), Violation> {
        let lane = self.lane(usize::from(depth));
        let over = Violation {
            rule: "R13.9",
            what: "more one-way credit than there is charged",
        };
        let line = self.lines.get_mut(lane).ok_or(over)?;
        line.tells = line.tells.checked_sub(n).ok_or(over)?;
        if line.charged.sub(false, n) {
            Ok(())
        } else {
            Err(over)
        }
    }
}

const NO_DESCRIPTOR: Violation =
    Violation::new("R5.2", "the result of an OPEN is not a descriptor");

/// The value of an OPEN's RET: a descriptor of tag 0-2, and no caps (frame 4).
fn open_outcome(value: &[u8], caps: &[Descriptor]) -> Result<Descriptor, Violation> {
    let raw = crate::read::whole_uint(value).ok_or(NO_DESCRIPTOR)?;
    let outcome = Descriptor::from_raw(raw).ok_or(NO_DESCRIPTOR)?;
    if !caps.is_empty() || outcome.tag() == helve_handles::Tag::Lent {
        return Err(NO_DESCRIPTOR);
    }
    Ok(outcome)
}
