//! Our calls: waiting for a permit, numbered, answered, cancelled (R12, R13, R21).

use std::task::Waker;

use helve_handles::Target;

use super::caps::{Cap, Received};
use super::incoming::{IncomingId, Place};
use super::permits::{DEPTHS, charge};
use super::tables::{Import, Name, Standing};
use super::transfer::{Of, announce};
use super::{ImportKey, Object, Session, Time};
use crate::Code;
use crate::blob::{Blob, Body};
use crate::fault::Fault;
use crate::frame::{self, CallExtOut, CallKind};
use crate::limits::PAYLOAD_MAX;
use crate::mutation::mutant;
use crate::rope::Rope;

/// A longer trace context is not sent: the rest of a frame has 4,096 bytes (E2.5).
const TRACE_MAX: usize = 1024;

/// A trace context as it may go.
fn short(trace: &str) -> &str {
    if trace.len() > TRACE_MAX { "" } else { trace }
}

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
    pub args: Body<'a>,
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
    /// A call of another session, by its ticket (R9).
    Passed(u64),
    /// An OPEN of another session, and the import that it settles.
    PassedOpen(u64, ImportKey),
}

/// A numbered call of ours.
#[derive(Debug)]
pub(super) struct OutCall<O> {
    pub asker: Asker,
    pub answer: Option<Answer<O>>,
    pub cancelled: bool,
    pub depth: u8,
    pub charge: u32,
    /// Number of its last frame: itself, or the last PART of its arguments once that is numbered.
    pub seq: u64,
    /// RET came, and its value is still on its way (R18.6).
    pub arriving: bool,
    /// RET came, and replicas have to catch up with it (R10.5).
    pub held: bool,
    /// Exports pinned until the answer (R3).
    #[allow(
        clippy::box_collection,
        reason = "eight bytes in every entry, and few have it"
    )]
    pub lent: Option<Box<Vec<u64>>>,
}

impl<O> OutCall<O> {
    /// Its answer, once it may be handed out.
    #[inline]
    pub(super) fn take_answer(&mut self) -> Option<Answer<O>> {
        if self.held {
            return None;
        }
        self.answer.take()
    }
}

/// Arguments that wait.
#[derive(Debug)]
pub(super) enum Args {
    Blob(Blob),
    Rope(Rope),
}

impl Args {
    pub(super) fn len(&self) -> usize {
        self.body().len()
    }

    pub(super) fn body(&self) -> Body<'_> {
        match self {
            Args::Blob(blob) => blob.into(),
            Args::Rope(rope) => rope.into(),
        }
    }
}

impl From<Body<'_>> for Args {
    fn from(body: Body<'_>) -> Args {
        match body.as_slice() {
            Some(_) => Args::Blob(body.into()),
            None => Args::Rope(body.to_rope()),
        }
    }
}

/// A call that waits to be numbered. It keeps what it names alive (R4).
#[derive(Debug)]
pub(super) struct Waiting<O> {
    pub kind: CallKind,
    pub asker: Asker,
    pub to: ImportKey,
    pub caps: Vec<Cap<O>>,
    pub method: u32,
    pub args: Args,
    pub deadline: Option<Time>,
    pub depth: u8,
    pub chain: Option<u64>,
    pub trace: Box<str>,
    /// A call in line names it as an argument, so it goes whatever it is made on (R13.15).
    pub named: bool,
}

impl<O> Waiting<O> {
    /// What it takes of `Config::backlog`: only one-way calls do, as nobody need wait for those.
    pub(super) fn backlog(&self) -> usize {
        if self.kind == CallKind::Tell {
            self.args.len()
        } else {
            0
        }
    }
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
        let id = self.calls.next_id();
        let Some((seq, charge)) = self.send_plain(CallKind::Call, id, out) else {
            return self.start(CallKind::Call, out, Asker::Task(waker.cloned()));
        };
        let call = OutCall {
            asker: Asker::Task(waker.cloned()),
            answer: None,
            cancelled: false,
            depth: out.depth,
            charge,
            seq,
            arriving: false,
            held: false,
            lent: None,
        };
        _ = self.calls.insert(id, call);
        Ok(CallKey::Sent(id))
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
        // With nothing waiting, one of any legal size may.
        if self.waiting_bytes > 0 && self.waiting_bytes + out.args.len() > self.config.backlog {
            return Err(Fault::new(
                Code::Exhausted,
                "too many one-way calls wait to be sent: await `queued()` between them",
            ));
        }
        if let Some(seq) = self.tell_plain(out) {
            return Ok(ReceiptKey::Sent(seq));
        }
        Ok(match self.start(CallKind::Tell, out, Asker::Task(None))? {
            CallKey::Waiting(key) => ReceiptKey::Waiting(key),
            CallKey::Sent(seq) => ReceiptKey::Sent(seq),
        })
    }

    /// Makes a one-way call that is as most of them are and has nothing in its way: the short way of [`tell`](Self::tell).
    /// Returns its sequence number; `None` leaves all as it was.
    #[inline(always)]
    pub fn tell_plain(&mut self, out: &Outgoing<'_, O>) -> Option<u64> {
        let (seq, _) = self.send_plain(CallKind::Tell, 0, out)?;
        Some(seq)
    }

    /// Writes a CALL or TELL down as most of them are: on a handle with a name, without references or deadline, and with
    /// nothing in its way. Returns its sequence number and what it is charged. `None` leaves all as it was, for
    /// [`start`](Self::start) to say what is in its way.
    #[inline(always)]
    fn send_plain(&mut self, kind: CallKind, id: u64, out: &Outgoing<'_, O>) -> Option<(u64, u32)> {
        let import = self.imports.entries.get(out.to)?;
        let args = out.args.as_slice()?;
        let plain = out.caps.is_empty() && out.deadline.is_none() && args.len() <= PAYLOAD_MAX;
        // R13.15: a deeper call on an OPEN that is not answered may have to wait aside.
        let stands = match import.standing {
            Standing::Settled => true,
            Standing::Pending => out.depth == 0,
            _ => false,
        };
        if !plain || !stands || self.ended.is_some() || mutant!("shorten") {
            return None;
        }
        let target = import.name.target()?;
        let lane = self.lane(usize::from(out.depth));
        let room = self.has_room();
        let line = self.lines.get_mut(lane)?;
        let charge = charge(args.len());
        let counts = kind != CallKind::Tell;
        if !room || !line.waiting.is_empty() || !line.charged.admits(line.grant, counts, charge) {
            return None;
        }
        line.charged.add(counts, charge);
        line.tells += if counts { 0 } else { u64::from(charge) };
        let ext = CallExtOut {
            depth: out.depth,
            chain: out.chain,
            trace: short(out.trace),
            ..CallExtOut::default()
        };
        let method = out.method;
        let seq =
            self.number(|buf| frame::write_call(buf, kind, id, target, method, args, &[], &ext));
        Some((seq, charge))
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
            self.check_frame(out.args.len())?;
        }
        if mutant!("shorten")
            && let Some(o) = self.own_object(out.to)
        {
            return Ok(self.call_shortened(kind, out, o));
        }
        let depth = usize::from(out.depth);
        let unsent = import.name == Name::UNSENT || out.caps.iter().any(|cap| self.is_unsent(cap));
        let lane = self.lane(depth);
        let ahead =
            depth > 0 && import.standing == Standing::Pending && self.is_ahead(out.to, out.depth);
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
        let slot = out.args.len() <= PAYLOAD_MAX || self.has_transfer_slot();
        if goes && slot && !unsent && !ahead && self.has_room() {
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
            args: out.args.into(),
            deadline: out.deadline,
            depth: out.depth,
            chain: out.chain,
            trace: out.trace.into(),
            named: false,
        };
        self.waiting_bytes += waiting.backlog();
        let key = self.waiting.insert(Box::new(waiting));
        if let Some(line) = self.lines.get_mut(lane) {
            line.waiting.push_back(key);
        }
        if (unsent || ahead) && goes {
            // It may wait aside (R13.15), or the OPEN that it names go under its grant (R13.14), and nobody may be about
            // to wake us.
            self.pump_lines();
        }
        Ok(CallKey::Waiting(key))
    }

    /// R18.8: a payload above the peer's `frame` limit is refused here.
    pub(super) fn check_frame(&self, len: usize) -> Result<(), Fault> {
        let frame = self.config.theirs.frame;
        if len as u64 <= frame {
            return Ok(());
        }
        Err(Fault::new(
            Code::Exhausted,
            &format!(
                "{len} bytes are more than the {frame} that the peer takes at once: send them in pieces, or raise its `frame` limit"
            ),
        ))
    }

    /// Which grant a depth draws on.
    pub(super) fn lane(&self, depth: usize) -> usize {
        if mutant!("flat") && depth < DEPTHS {
            0
        } else {
            depth
        }
    }

    pub(super) fn is_unsent(&self, cap: &Cap<O>) -> bool {
        matches!(cap, Cap::Import(key) if self.imports.entries.get(*key).is_some_and(|import| import.name == Name::UNSENT))
    }

    /// Writes a call down. It has its permit, room, and a wire name for all it mentions. Returns its id, or for a TELL
    /// its sequence number.
    pub(super) fn emit(
        &mut self,
        kind: CallKind,
        out: &Outgoing<'_, O>,
        asker: Asker,
    ) -> Result<u64, Fault> {
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
        let others = match asker {
            Asker::Passed(ticket) | Asker::PassedOpen(ticket, _) => self.take_others(ticket),
            _ => None,
        };
        let others = others.as_deref();
        let ext = CallExtOut {
            deadline,
            depth: out.depth,
            chain: out.chain,
            trace: short(out.trace),
            others: others.map_or(&[], |others| &others.bytes),
            others_count: others.map_or(0, |others| others.count),
        };
        let large = out.args.len() > PAYLOAD_MAX;
        let announced;
        let args: &[u8] = match out.args.as_slice().filter(|_| !large) {
            Some(args) => args,
            None => {
                announced = announce(out.args.len());
                &announced
            }
        };
        let seq = self.number(|buf| {
            frame::write_call(buf, kind, id, target, out.method, args, descriptors, &ext)
        });
        if large {
            let of = if counts { Of::Call(id) } else { Of::Tell };
            self.flow.transfers.begin(seq, of, out.args.to_rope());
        }
        let mut lent = None;
        if let Some(encoded) = encoded {
            if !encoded.broken.is_empty() {
                self.post_mentioned(&encoded.broken);
            }
            lent = (!encoded.lent.is_empty()).then(|| Box::new(encoded.lent));
        }
        if !counts {
            match asker {
                Asker::Relay(incoming) => self.relay_told(incoming),
                Asker::Passed(ticket) => self.answer_passed(ticket, Ok((Blob::EMPTY, Vec::new()))),
                _ => {}
            }
            return Ok(seq);
        }
        if let Asker::Relay(incoming) | Asker::RelayOpen(incoming, _) = &asker {
            self.set_place(*incoming, Place::Relayed(CallKey::Sent(id)));
        }
        if let Asker::Passed(ticket) | Asker::PassedOpen(ticket, _) = &asker {
            self.passed_as(*ticket, CallKey::Sent(id));
        }
        let mut opened = None;
        if let Asker::Open(key) | Asker::RelayOpen(_, key) | Asker::PassedOpen(_, key) = &asker
            && let Some(import) = self.imports.entries.get_mut(*key)
        {
            import.name = Target::open(id).into();
            _ = self.imports.by_open.insert(id, *key);
            opened = self.follows.is_unnamed().then_some(*key);
        }
        let call = OutCall {
            asker,
            answer: None,
            cancelled: false,
            depth: out.depth,
            charge,
            seq,
            arriving: false,
            held: false,
            lent,
        };
        _ = self.calls.insert(id, call);
        if let Some(key) = opened {
            self.name_follow(key);
        }
        if mutant!("lent_early") {
            self.unpin(id);
        }
        Ok(id)
    }
}

pub(super) fn not_sent() -> Fault {
    Fault::new(Code::NotSent, "cancelled before it was sent")
}

/// What befalls calls on an OPEN that was cancelled before it was numbered (R2.8).
pub(super) fn never_opened() -> Fault {
    Fault::new(
        Code::Cancelled,
        "the call that opens the handle was cancelled before it was sent",
    )
}
