//! Our calls: waiting for a permit, numbered, answered, cancelled (R12, R13, R21).

use std::task::{Poll, Waker};

use bytes::Bytes;
use helve_handles::{Descriptor, Target};

use super::caps::{Cap, Received};
use super::incoming::{IncomingId, Place};
use super::permits::{DEPTHS, charge};
use super::tables::{Import, Name, Standing};
use super::{ImportKey, Object, Session, Time};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{self, CallExtOut, CallKind, Payload};
use crate::mutation::mutant;
use crate::{Code, Violation};

/// The longest payload that goes in one frame. Longer ones need transfers (R18), which come with a later version.
const PAYLOAD_MAX: usize = 65_536;

/// A longer trace context is not sent: the rest of a frame has 4,096 bytes (E2.5).
const TRACE_MAX: usize = 1024;

slotmap::new_key_type! {
    /// Names a call that waits to be numbered.
    pub struct WaitKey;
}

/// A call of ours, to be sent.
#[derive(Debug)]
pub struct Outgoing<'a, O> {
    /// The handle it is made on.
    pub to: ImportKey,
    /// Hash of `interface-id/method-name`.
    pub method: u32,
    /// One encoded array.
    pub args: &'a [u8],
    /// The references in `args`, by cap index.
    pub caps: &'a [Cap<O>],
    /// When we give up.
    pub deadline: Option<Time>,
    /// One above the handler's that makes it, else 0 (R13).
    pub depth: u8,
    /// Inherited from the handler that makes it (R23).
    pub chain: Option<u64>,
    /// W3C traceparent, or empty.
    pub trace: &'a str,
}

/// Names a call of ours until its answer is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallKey {
    /// It waits for a permit.
    Waiting(WaitKey),
    /// It is numbered; this is its id.
    Sent(u64),
}

/// Names a one-way call of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiptKey {
    /// It waits for a permit.
    Waiting(WaitKey),
    /// It is numbered; this is its sequence number.
    Sent(u64),
}

/// What a call came to.
pub type Answer<O> = Result<(Blob, Vec<Received<O>>), Fault>;

/// Who wants the answer.
#[derive(Debug)]
pub(super) enum Asker {
    /// A task.
    Task(Option<Waker>),
    /// Nobody: cancelled, but the entry stays until RET or ERR (R21).
    Nobody,
    /// An OPEN: the import that it settles.
    Open(ImportKey),
    /// A reflected call: what answers it (R6).
    Relay(IncomingId),
    /// A reflected OPEN: what it answers, and the import here.
    RelayOpen(IncomingId, ImportKey),
}

/// A numbered call of ours.
#[derive(Debug)]
pub(super) struct OutCall<O> {
    pub asker: Asker,
    pub answer: Option<Answer<O>>,
    pub cancelled: bool,
    depth: u8,
    charge: u32,
    pub seq: u64,
    /// Exports pinned until the answer (R3).
    #[allow(
        clippy::box_collection,
        reason = "eight bytes in every entry, and few have it"
    )]
    lent: Option<Box<Vec<u64>>>,
}

/// A call that waits to be numbered. It keeps what it names alive (R4).
#[derive(Debug)]
pub(super) struct Waiting<O> {
    pub kind: CallKind,
    pub asker: Asker,
    pub to: ImportKey,
    caps: Vec<Cap<O>>,
    method: u32,
    args: Blob,
    deadline: Option<Time>,
    depth: u8,
    chain: Option<u64>,
    trace: Box<str>,
}

impl<O: Clone> Waiting<O> {
    /// Our own objects among its arguments.
    pub(super) fn own(&self) -> impl Iterator<Item = O> {
        self.caps.iter().filter_map(|cap| match cap {
            Cap::Given(o) | Cap::Lent(o) => Some(o.clone()),
            Cap::Import(_) | Cap::Opened(_) | Cap::Broken(_) => None,
        })
    }
}

/// What became of a call that waited, until its task asks.
#[derive(Debug)]
pub(super) enum Waited {
    /// Id, or sequence number of a TELL.
    Numbered(u64),
    Failed(Fault),
}

impl<O: Object> Session<O> {
    /// The import that stands for the peer's root object.
    pub fn root(&self) -> ImportKey {
        self.imports.root
    }

    /// Makes a call. It is numbered at once if it has its permit, else it waits, in order of its depth.
    ///
    /// # Errors
    /// What is known before anything is sent: a broken, expired or released handle, a payload or depth above its
    /// limit, a session that is over.
    pub fn call(&mut self, out: &Outgoing<'_, O>, waker: Option<&Waker>) -> Result<CallKey, Fault> {
        self.start(CallKind::Call, out, Asker::Task(waker.cloned()))
    }

    /// Makes an OPEN. The import is usable at once; the caller holds one reference to it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn open(&mut self, out: &Outgoing<'_, O>) -> Result<ImportKey, Fault> {
        let key = self
            .imports
            .entries
            .insert(Import::new(Name::UNSENT, Standing::Pending));
        match self.start(CallKind::Open, out, Asker::Open(key)) {
            Ok(_) => Ok(key),
            Err(fault) => {
                self.imports.entries.remove(key);
                Err(fault)
            }
        }
    }

    /// Makes a one-way call.
    ///
    /// # Errors
    /// As [`call`](Self::call), and EXHAUSTED where more one-way calls wait here than the local bound allows.
    pub fn tell(&mut self, out: &Outgoing<'_, O>) -> Result<ReceiptKey, Fault> {
        if self.waiting_bytes + out.args.len() > self.config.backlog {
            return Err(Fault::new(
                Code::Exhausted,
                "too many one-way calls wait to be sent: await `queued()` between them",
            ));
        }
        Ok(match self.start(CallKind::Tell, out, Asker::Task(None))? {
            CallKey::Waiting(key) => ReceiptKey::Waiting(key),
            CallKey::Sent(seq) => ReceiptKey::Sent(seq),
        })
    }

    pub(super) fn start(
        &mut self,
        kind: CallKind,
        out: &Outgoing<'_, O>,
        asker: Asker,
    ) -> Result<CallKey, Fault> {
        if self.ended.is_some() {
            return Err(Fault::new(
                Code::SessionLost,
                "the session is over: connect again",
            ));
        }
        let Some(import) = self.imports.entries.get(out.to) else {
            return Err(Fault::new(
                Code::Gone,
                "a handle of another session, or one that was released",
            ));
        };
        match import.fault() {
            Some(fault) if import.standing == Standing::Expired => return Err(fault),
            // R2.8.
            Some(fault) if import.name == Name::UNSENT && fault.code == Code::Cancelled => {
                return Err(fault);
            }
            Some(fault) => return Err(Fault::broken_by(&fault)),
            None => {}
        }
        if out.args.len() > PAYLOAD_MAX {
            return Err(Fault::new(
                Code::Exhausted,
                "the arguments are longer than 65,536 bytes: send them in parts",
            ));
        }
        if mutant!("shorten")
            && let Some(o) = self.own_object(out.to)
        {
            return Ok(self.call_shortened(kind, out, o));
        }
        let depth = usize::from(out.depth);
        let unsent = import.name == Name::UNSENT || out.caps.iter().any(|cap| self.is_unsent(cap));
        let lane = self.lane(depth);
        self.skip_taken_out(lane);
        let Some(line) = self.lines.get(lane) else {
            return Err(Fault::new(
                Code::Exhausted,
                "calls made inside calls are nested over 15 deep",
            ));
        };
        let goes = line.waiting.is_empty()
            && line
                .charged
                .admits(line.grant, kind != CallKind::Tell, charge(out.args.len()));
        if goes && !unsent && self.has_room() {
            return self.emit(kind, out, asker).map(CallKey::Sent);
        }
        self.check_caps(out.caps)?;
        self.retain(out.to);
        for cap in out.caps {
            if let Cap::Import(key) = cap {
                self.retain(*key);
            }
        }
        let waiting = Waiting {
            kind,
            asker,
            to: out.to,
            caps: out.caps.to_vec(),
            method: out.method,
            args: Blob::copy(out.args),
            deadline: out.deadline,
            depth: out.depth,
            chain: out.chain,
            trace: out.trace.into(),
        };
        self.waiting_bytes += waiting.args.len();
        let key = self.waiting.insert(Box::new(waiting));
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.push_back(key);
        }
        if unsent && goes {
            // The OPEN that it names may go under this call's grant (R13.14), and nobody may be about to wake us.
            self.pump_lines();
        }
        Ok(CallKey::Waiting(key))
    }

    /// Which grant a depth draws on.
    pub(super) fn lane(&self, depth: usize) -> usize {
        if mutant!("flat") && depth < DEPTHS {
            0
        } else {
            depth
        }
    }

    /// Forgets what was taken out at the front of a line, so that nobody waits behind it.
    fn skip_taken_out(&mut self, lane: usize) {
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

    pub(super) fn is_unsent(&self, cap: &Cap<O>) -> bool {
        matches!(cap, Cap::Import(key) if self.imports.entries.get(*key).is_some_and(|import| import.name == Name::UNSENT))
    }

    /// Writes a call down. It has its permit, room, and a wire name for all it mentions. Returns its id, or for a TELL
    /// its sequence number.
    fn emit(&mut self, kind: CallKind, out: &Outgoing<'_, O>, asker: Asker) -> Result<u64, Fault> {
        let Some(target) = self
            .imports
            .entries
            .get(out.to)
            .and_then(|import| import.name.target())
        else {
            return Err(Fault::new(Code::Gone, "the handle was released"));
        };
        let deadline = match out.deadline {
            Some(at) if at <= self.now => {
                return Err(Fault::new(
                    Code::Deadline,
                    "the deadline passed before the call was sent",
                ));
            }
            at => at.map(|at| at.ms_since(self.now)),
        };
        let encoded = if out.caps.is_empty() {
            None
        } else {
            self.check_caps(out.caps)?;
            Some(self.encode_caps(out.caps))
        };
        let descriptors = encoded
            .as_ref()
            .map_or(&[][..], |encoded| &encoded.descriptors);
        let counts = kind != CallKind::Tell;
        let charge = charge(out.args.len());
        let lane = self.lane(usize::from(out.depth));
        if let Some(line) = self.lines.get_mut(lane) {
            line.charged.add(counts, charge);
            line.tells += if counts { 0 } else { u64::from(charge) };
        }
        let id = if counts { self.calls.next_id() } else { 0 };
        let ext = CallExtOut {
            deadline,
            depth: out.depth,
            chain: out.chain,
            trace: if out.trace.len() > TRACE_MAX {
                ""
            } else {
                out.trace
            },
        };
        let seq = self.number(|buf| {
            frame::write_call(
                buf,
                kind,
                id,
                target,
                out.method,
                out.args,
                descriptors,
                &ext,
            )
        });
        let mut lent = None;
        if let Some(encoded) = encoded {
            if !encoded.broken.is_empty() {
                self.post_mentioned(&encoded.broken);
            }
            lent = (!encoded.lent.is_empty()).then(|| Box::new(encoded.lent));
        }
        if !counts {
            if let Asker::Relay(incoming) = asker {
                self.relay_told(incoming);
            }
            return Ok(seq);
        }
        if let Asker::Relay(incoming) | Asker::RelayOpen(incoming, _) = &asker {
            self.set_place(*incoming, Place::Relayed(CallKey::Sent(id)));
        }
        if let Asker::Open(key) | Asker::RelayOpen(_, key) = &asker
            && let Some(import) = self.imports.entries.get_mut(*key)
        {
            import.name = Target::open(id).into();
            _ = self.imports.by_open.insert(id, *key);
        }
        let call = OutCall {
            asker,
            answer: None,
            cancelled: false,
            depth: out.depth,
            charge,
            seq,
            lent,
        };
        _ = self.calls.insert(id, call);
        if mutant!("lent_early") {
            self.unpin(id);
        }
        Ok(id)
    }

    /// Numbers what waits, as far as permits and room go.
    pub(super) fn pump_lines(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
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
    fn step(&mut self, lane: usize, key: WaitKey) -> Step {
        let Some(waiting) = self.waiting.get(key) else {
            self.pop(lane);
            return Step::Moved;
        };
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
            return self.bring_forward(lane, key, import);
        }
        let counts = waiting.kind != CallKind::Tell;
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

    fn pop(&mut self, lane: usize) {
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.pop_front();
        }
    }

    /// A deeper call names the handle of an OPEN that still waits in a shallower line: that OPEN goes under the deeper
    /// call's grant, else a deeper call would wait for a shallower one (protocol section 7).
    fn bring_forward(&mut self, lane: usize, key: WaitKey, import: ImportKey) -> Step {
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
        if let Some(line) = self.lines.get_mut(from) {
            line.waiting.retain(|k| *k != open);
        }
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.push_front(open);
        }
        Step::Moved
    }

    fn emit_waiting(&mut self, key: WaitKey, waiting: Waiting<O>) {
        self.waiting_bytes -= waiting.args.len();
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
        } = waiting;
        let out = Outgoing {
            to,
            method,
            args: &args,
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
    fn settle_waiting(&mut self, key: WaitKey, outcome: Waited, waker: Option<Waker>) {
        self.waited.insert(key, outcome);
        self.wakes.extend(waker);
    }

    fn release_named(&mut self, to: ImportKey, caps: Vec<Cap<O>>) {
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
        self.waiting_bytes -= waiting.args.len();
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
        if let Some(answer) = self.calls.take_if(id, |call| call.answer.take()) {
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
        if !accepted || self.poll_acked(seq, waker) {
            return Poll::Ready(Ok(()));
        }
        match &self.ended {
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
            self.calls.remove(id);
            if let Ok((_, caps)) = answer {
                self.discard(caps);
            }
            return;
        }
        call.asker = Asker::Nobody;
        self.cancel_sent(id);
    }

    /// Gives up an OPEN of ours that has no answer (R21): one that was not numbered never goes, and the reference
    /// breaks; for the others CANCEL goes. The reference stays the caller's, to be released as ever.
    pub fn cancel_open(&mut self, key: ImportKey) {
        let Some(import) = self.imports.entries.get(key) else {
            return;
        };
        match import.name.target().and_then(Target::as_open) {
            Some(c) => self.cancel_sent(c),
            None if import.name == Name::UNSENT => {
                self.cancel_unsent(key, never_opened());
                self.pump_lines();
            }
            None => {}
        }
    }

    /// Takes the OPEN out that would settle this import.
    pub(super) fn cancel_unsent(&mut self, key: ImportKey, fault: Fault) {
        if let Some(wait) = self.who_opens(key) {
            self.fail_waiting(wait, fault);
        }
    }

    fn who_opens(&self, import: ImportKey) -> Option<WaitKey> {
        let opens = |w: &Waiting<O>| matches!(w.asker, Asker::Open(k) | Asker::RelayOpen(_, k) if k == import);
        self.waiting
            .iter()
            .find(|(_, w)| opens(w))
            .map(|(key, _)| key)
    }

    pub(super) fn cancel_sent(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.cancelled || self.ended.is_some() {
            return;
        }
        call.cancelled = true;
        self.post(|buf| frame::write_cancel(buf, id));
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
    fn give_back(&mut self, depth: u8, charge: u32) {
        let lane = self.lane(usize::from(depth));
        if let Some(line) = self.lines.get_mut(lane) {
            line.charged.sub(true, u64::from(charge));
        }
    }

    fn unpin(&mut self, id: u64) {
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
    fn answered(&mut self, id: u64) -> Result<bool, Violation> {
        match self.calls.get(id) {
            Some(call) if call.answer.is_none() => {
                let (depth, charge, lends) = (call.depth, call.charge, call.lent.is_some());
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
            && call.lent.is_none()
        {
            if let Some(waker) = waker.take() {
                self.wakes.push(waker);
            }
            call.answer = Some(Ok((Blob::slice(message, span.range()), Vec::new())));
            let (depth, charge) = (call.depth, call.charge);
            self.give_back(depth, charge);
            return Ok(());
        }
        if !self.answered(id)? {
            return Ok(());
        }
        let Payload::Inline(span) = value else {
            return Err(Violation {
                rule: "R18.8",
                what: "a payload above the `frame` limit",
            });
        };
        let Some(call) = self.calls.get_mut(id) else {
            return Ok(());
        };
        match std::mem::replace(&mut call.asker, Asker::Nobody) {
            Asker::Task(waker) => {
                let caps = self.take_caps(caps, None)?;
                self.wakes.extend(waker);
                if let Some(call) = self.calls.get_mut(id) {
                    call.answer = Some(Ok((Blob::slice(message, span.range()), caps)));
                }
            }
            Asker::Nobody => {
                self.calls.remove(id);
                let caps = self.take_caps(caps, None)?;
                self.discard(caps);
            }
            Asker::Open(key) => {
                self.calls.remove(id);
                let outcome = open_outcome(message.get(span.range()).unwrap_or_default(), caps)?;
                self.settle_import(key, outcome)?;
            }
            Asker::Relay(incoming) => {
                self.calls.remove(id);
                let caps = self.take_caps(caps, None)?;
                self.relay_ret(
                    incoming,
                    message.get(span.range()).unwrap_or_default(),
                    caps,
                );
            }
            Asker::RelayOpen(incoming, key) => {
                self.calls.remove(id);
                let outcome = open_outcome(message.get(span.range()).unwrap_or_default(), caps)?;
                self.settle_import(key, outcome)?;
                self.relay_opened(incoming, key);
            }
        }
        Ok(())
    }

    pub(super) fn on_err(&mut self, id: u64, fault: Fault) -> Result<(), Violation> {
        if !self.answered(id)? {
            return Ok(());
        }
        let Some(call) = self.calls.get_mut(id) else {
            return Ok(());
        };
        match std::mem::replace(&mut call.asker, Asker::Nobody) {
            Asker::Task(waker) => {
                call.answer = Some(Err(fault));
                self.wakes.extend(waker);
            }
            asker => {
                self.calls.remove(id);
                self.fail_asker(asker, fault);
            }
        }
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

fn not_sent() -> Fault {
    Fault::new(Code::NotSent, "cancelled before it was sent")
}

/// What befalls calls on an OPEN that was cancelled before it was numbered (R2.8).
pub(super) fn never_opened() -> Fault {
    Fault::new(
        Code::Cancelled,
        "the call that opens the handle was cancelled before it was sent",
    )
}

/// Whether a line got on.
enum Step {
    Moved,
    Stuck,
}

/// The value of an OPEN's RET: a descriptor of tag 0-2, and no caps (frame 4).
fn open_outcome(value: &[u8], caps: &[Descriptor]) -> Result<Descriptor, Violation> {
    let bad = Violation {
        rule: "R5.2",
        what: "the result of an OPEN is not a descriptor",
    };
    let raw = crate::read::whole_uint(value).ok_or(bad)?;
    let outcome = Descriptor::from_raw(raw).ok_or(bad)?;
    if !caps.is_empty() || outcome.tag() == helve_handles::Tag::Lent {
        return Err(bad);
    }
    Ok(outcome)
}
