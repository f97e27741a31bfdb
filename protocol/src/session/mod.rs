//! The session: one conversation between two peers, without a socket and without a clock.
//!
//! Messages go in through [`Session::receive`], local wishes through [`Session::call`], [`Session::respond`] and their
//! kin; what must be done comes out as [`Event`]s, messages to send ([`Session::poll_transmit`]), tasks to wake
//! ([`Session::take_wakes`]) and objects to drop ([`Session::take_garbage`]). The driver owns the lock around it and
//! runs no user code while it holds that lock.
//!
//! One file an idea: `tables` (who holds what), `caps` (references in frames), `calls` (ours), `incoming` (theirs),
//! `transfer` and `assembly` (large payloads, out and in), `opens` (what an OPEN leads to), `tells` (the ends of one-way
//! calls, R12), `runs` (many of them at once), `forward` (reflection), `across` (forwarding between sessions), `cancels`
//! (CANCEL, and how often it may come), `broken` (revoke and BROKEN), `permits` (R13), `flow` (numbers, acks, the replay buffer), `producing` and
//! `consuming` (streams: R19), `publishing`, `following` and `updates` (shared values: R20), `holding` (results that wait for them,
//! R10.5), `drain` (S9), `end` (R17).

mod across;
mod answers;
mod assembly;
mod broken;
mod calls;
mod cancels;
mod caps;
mod consuming;
mod drain;
mod end;
mod flow;
mod following;
mod forward;
mod holding;
mod incoming;
#[cfg(feature = "mutations")]
mod late;
mod opens;
mod permits;
mod producing;
mod publishing;
mod replies;
mod runs;
mod sizes;
mod tables;
mod tells;
mod transfer;
mod updates;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use bytes::Bytes;
use helve_handles::{IdHash, RisingMap};
use slotmap::SlotMap;

use crate::batch::{Parsed, ReadLimits};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{CallKind, Frame};
use crate::{Limits, Violation};

pub use calls::{Answer, CallKey, Outgoing, ReceiptKey};
pub use caps::{Cap, Received};
pub use consuming::Pulled;
pub use end::EndCause;
pub use following::FollowKey;
pub use incoming::{IncomingId, Reply};
pub use permits::DEPTHS;
pub use producing::StreamKey;
pub use publishing::{Change, SubscriberKey};
pub use runs::Tells;
pub use sizes::Sizes;
pub use tables::{ImportKey, Object, Settled};
pub use updates::Update;

use calls::{OutCall, WaitKey, Waited, Waiting};
use consuming::Consumers;
use flow::Flow;
use incoming::InCall;
use permits::{Charged, Line};
use producing::Producers;
use tables::{Exports, Imports, Opened};

/// A moment, in microseconds since the driver's own zero. Time is handed in, never asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// That many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to here, rounded up; 0 when `earlier` is later.
    pub fn ms_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0).div_ceil(1000)
    }
}

/// Which end of the link this is. It decides the size of the replay buffer (S5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Opened the link.
    Client,
    /// Took it.
    Server,
}

/// What a session is set up with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// What the peer may do to us.
    pub ours: Limits,
    /// What we may do to the peer.
    pub theirs: Limits,
    /// How many handlers of depth 0 run at once; further calls wait for a slot, but for the oldest (R13.16). Default 256.
    pub running: u32,
    /// OPENs of the peer without an answer, and calls queued on one of them (R14). Default 256.
    pub pending: u32,
    /// Bytes of one-way calls that may wait here for a permit; above it they are not sent. Default 4 MiB.
    pub backlog: usize,
    /// Bytes of the replay buffer (S5): 1 MiB for a server, 4 MiB for a client.
    pub replay: usize,
    /// Calls that the peer may cancel in a second on and on; above it its calls are slowed (R21.7). Default 200.
    pub cancel_rate: u32,
    /// Calls that the peer may cancel at once before its rate counts. Default 400.
    pub cancel_burst: u32,
    /// How long a method of ours may take, in ms, whatever its caller allows. Default: no bound but the caller's.
    pub handler_ms: Option<u64>,
    /// Random; makes hashes of what the peer picks unpredictable.
    pub seed: u64,
}

impl Config {
    /// The defaults of a role, with these limits.
    pub fn new(role: Role, ours: Limits, theirs: Limits, seed: u64) -> Config {
        let replay = if role == Role::Server {
            1 << 20
        } else {
            4 << 20
        };
        Config {
            role,
            ours,
            theirs,
            running: 256,
            pending: 256,
            backlog: 4 << 20,
            replay,
            cancel_rate: 200,
            cancel_burst: 400,
            handler_ms: None,
            seed,
        }
    }
}

/// A call of the peer's, ready for its object.
#[derive(Debug)]
pub struct Invocation<O> {
    /// To answer it with.
    pub id: IncomingId,
    /// CALL, OPEN or TELL.
    pub kind: CallKind,
    /// Whom it was made on, as written (R10: order goes by the target as written).
    pub(crate) target: helve_handles::Target,
    /// Hash of `interface-id/method-name`.
    pub method: u32,
    /// One encoded array.
    pub args: Blob,
    /// The references in its arguments, by cap index.
    pub caps: Vec<Received<O>>,
    /// Depth of the call (R13).
    pub depth: u8,
    /// What few calls carry.
    pub(crate) rare: Option<Box<Carried>>,
}

/// What few calls carry besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    deadline: Option<Time>,
    /// The deadline is this side's own ([`Config::handler_ms`]).
    ours: bool,
    chain: Option<u64>,
    trace: Box<str>,
    others: across::Others,
}

impl<O> Invocation<O> {
    /// When the caller gives up (`d`, counted from acceptance, at most 1 h: R21).
    pub fn deadline(&self) -> Option<Time> {
        self.rare.as_ref()?.deadline
    }

    /// Whether that is sooner than the caller asked for, because of [`Config::handler_ms`].
    pub fn deadline_is_ours(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.ours)
    }

    /// Its chain (R23).
    pub fn chain(&self) -> Option<u64> {
        self.rare.as_ref()?.chain
    }

    /// Its W3C traceparent, or nothing.
    pub fn trace(&self) -> &str {
        self.rare
            .as_ref()
            .map(|rare| &*rare.trace)
            .unwrap_or_default()
    }

    /// Whether it was made on the root by its own name, 0: the built-in methods of a peer live there.
    pub fn is_on_root(&self) -> bool {
        self.target == helve_handles::Target::ROOT
    }
}

/// What the driver must do.
#[derive(Debug)]
pub enum Event<O> {
    /// Poll this method; then [`Session::respond`].
    Start(O, Invocation<O>),
    /// The same for each of these, in order. Not from [`Session::poll_event`], which yields them one by one.
    Tells(O, Tells),
    /// Drop this handler if it still runs, and then [`Session::respond`] with CANCELLED (R21).
    Stop(IncomingId),
    /// What became of a call that was [passed on](Session::pass_on) into this session: an answer, for an OPEN that it
    /// is settled, for a TELL that it is numbered. And the shared values of the peer's that it changed, of those that are
    /// followed here, with their revisions (R9.9).
    Passed(u64, Answer<O>, Vec<(ImportKey, u64)>),
    /// A reference that is [watched](Session::watch) broke, with this cause.
    Broke(ImportKey, Fault),
    /// A reference that is watched turned out to be a stream of the peer's: something came of it.
    Flows(ImportKey),
    /// The peer got a name for this stream: run it, with [`Session::poll_data`] and its kin (R19).
    Stream(O, StreamKey),
    /// The peer subscribed to this shared value, from the epoch and revision that it has: [`Session::publish`] to it,
    /// or [end](Session::end_subscription) it. An earlier subscription of the same name ended before.
    Subscribed(O, SubscriberKey, Option<(u64, u64)>),
    /// A payload that was [wanted](Session::want) for this subscription can be numbered. Said once.
    Room(SubscriberKey),
    /// The subscription is over: by the peer's wish, with its name, by a stall, or with the session.
    Unsubscribed(SubscriberKey),
    /// A SNAP or DELTA of what we [follow](Session::follow). One of a subscription that is over is to be
    /// [discarded](Session::discard).
    Update(FollowKey, Box<Update<O>>),
    /// What we follow ended: by END, `None` being a good end, or with its reference or the session. It may be followed
    /// again if the reference stands.
    FollowEnded(FollowKey, Option<Fault>),
}

/// The conversation with one peer. See the [module](self).
#[derive(Debug)]
pub struct Session<O> {
    config: Config,
    now: Time,
    flow: Flow,
    // Ours.
    calls: RisingMap<OutCall<O>>,
    waiting: SlotMap<WaitKey, Box<Waiting<O>>>,
    waited: HashMap<WaitKey, Waited, IdHash>,
    lines: Vec<Line<WaitKey>>,
    /// Calls that wait for the answer of a shallower OPEN before they are put in line (R13.15), in order.
    aside: Vec<WaitKey>,
    /// Some of them may be put back in line.
    aside_due: bool,
    waiting_bytes: usize,
    // Theirs.
    last_id: u64,
    incoming: RisingMap<InCall>,
    tells: RisingMap<InCall>,
    charged: [Charged; DEPTHS],
    tell_credit: [u64; DEPTHS],
    /// The sum of `tell_credit`.
    credit_owed: u64,
    running: u32,
    /// What waits for a running slot, in order of acceptance (R13.16).
    queued: VecDeque<runs::Queued<O>>,
    cancels: cancels::Cancels,
    /// Deeper calls that came while the peer was slowed, in order.
    slowed: VecDeque<(O, Invocation<O>)>,
    assembly: assembly::Assembly<O>,
    drain: drain::Drain,
    /// The latest acceptance among the calls of depth 0 that started.
    youngest: u64,
    strikes: u32,
    // Both.
    exports: Exports<O>,
    imports: Imports,
    opened: RisingMap<Opened<O>>,
    pending_opens: u32,
    flushes: tells::Flushes,
    /// Calls of ours that are another session's, by ticket.
    passed: RisingMap<across::Passed>,
    producers: Producers,
    consumers: Consumers<O>,
    /// By how much the peer's streams are overdrawn, all together (R19.11).
    overdrawn: u64,
    subscribers: publishing::Subscribers,
    follows: following::Follows<O>,
    holds: holding::Holds,
    /// `s` of the RET that is written next (R10.5).
    changed: Vec<(helve_handles::Target, u64)>,
    // To the driver.
    events: VecDeque<Event<O>>,
    wakes: Vec<Waker>,
    garbage: Vec<O>,
    ended: Option<EndCause>,
    parsed: Parsed,
}

impl<O: Object> Session<O> {
    /// A fresh session. `root` is what the peer's calls on target 0 reach.
    pub fn new(config: Config, root: Option<O>) -> Self {
        let lines = (0..DEPTHS)
            .map(|depth| Line::new(permits::Grant::of(&config.theirs, depth)))
            .collect();
        Session {
            now: Time::default(),
            flow: Flow::new(config.role),
            calls: RisingMap::new(),
            waiting: SlotMap::with_key(),
            waited: HashMap::default(),
            lines,
            aside: Vec::new(),
            aside_due: false,
            waiting_bytes: 0,
            last_id: 0,
            incoming: RisingMap::seeded(config.seed),
            tells: RisingMap::new(),
            charged: [Charged::default(); DEPTHS],
            tell_credit: [0; DEPTHS],
            credit_owed: 0,
            running: 0,
            queued: VecDeque::new(),
            cancels: cancels::Cancels::new(config.cancel_rate, config.cancel_burst),
            slowed: VecDeque::new(),
            assembly: assembly::Assembly::seeded(config.seed.rotate_left(53)),
            drain: drain::Drain::default(),
            youngest: 0,
            strikes: 0,
            exports: Exports::new(root),
            imports: Imports::new(config.seed.rotate_left(17)),
            opened: RisingMap::seeded(config.seed.rotate_left(29)),
            pending_opens: 0,
            flushes: tells::Flushes::seeded(config.seed.rotate_left(41)),
            passed: RisingMap::new(),
            producers: Producers::seeded(config.seed.rotate_left(47)),
            consumers: Consumers::default(),
            overdrawn: 0,
            subscribers: publishing::Subscribers::seeded(config.seed.rotate_left(59)),
            follows: following::Follows::seeded(config.seed.rotate_left(37)),
            holds: holding::Holds::default(),
            changed: Vec::new(),
            events: VecDeque::new(),
            wakes: Vec::new(),
            garbage: Vec::new(),
            ended: None,
            parsed: Parsed::default(),
            config,
        }
    }

    /// Tells the session what time it is. Time never goes back.
    pub fn set_now(&mut self, now: Time) {
        self.pass_time(now);
    }

    /// Takes one message of the link. It is scanned whole before any of its frames takes effect.
    ///
    /// # Errors
    /// The peer broke a rule: close with 4001 and the text of the violation, and [`end`](Self::end) the session.
    pub fn receive(&mut self, message: &Bytes) -> Result<(), Violation> {
        if self.ended.is_some() {
            return Ok(());
        }
        let mut parsed = std::mem::take(&mut self.parsed);
        let limits = ReadLimits::from(&self.config.ours);
        let result = crate::batch::parse(message, &mut parsed, &limits)
            .and_then(|()| self.accept(message, &parsed));
        parsed.clear();
        self.parsed = parsed;
        result
    }

    fn accept(&mut self, message: &Bytes, parsed: &Parsed) -> Result<(), Violation> {
        self.acked(parsed.ack)?;
        let skip = self.flow.repeated(parsed)?;
        self.note_border(parsed);
        let mut at = skip;
        while let Some(frame) = parsed.frames.get(at) {
            if let Frame::Call(call) = frame
                && call.kind == CallKind::Tell
            {
                let frames = parsed.frames.get(at..).unwrap_or_default();
                let spans = parsed.spans.get(at..).unwrap_or_default();
                let taken = self.on_tells(message, frames, spans)?;
                if taken > 0 {
                    at += taken;
                    continue;
                }
            }
            at += 1;
            self.flow.take_one();
            // The two that most are, without a call in between.
            match frame {
                Frame::Call(call) => self.on_call(message, parsed, call)?,
                Frame::Ret {
                    id,
                    value,
                    caps,
                    seen,
                } => {
                    let caps = parsed.caps_of(*caps);
                    if seen.is_empty() {
                        self.on_ret(*id, message, value, caps)?;
                    } else {
                        self.on_ret_changed(*id, message, value, *seen, caps)?;
                    }
                }
                _ => self.other_frame(message, parsed, frame)?,
            }
            self.flow.check_waiting(&self.config.ours)?;
        }
        self.flow.took(
            message.len(),
            parsed.frames.len().saturating_sub(skip),
            parsed.asks_ack,
            self.now,
        );
        if self.follows.is_crossing() {
            self.settle_syncs();
        }
        self.pump();
        Ok(())
    }

    #[inline(never)]
    fn other_frame(
        &mut self,
        message: &Bytes,
        parsed: &Parsed,
        frame: &Frame,
    ) -> Result<(), Violation> {
        let text = |span: crate::frame::Span| {
            std::str::from_utf8(message.get(span.range()).unwrap_or_default()).unwrap_or_default()
        };
        match frame {
            // Taken by `accept`.
            Frame::Call(_) | Frame::Ret { .. } => Ok(()),
            Frame::Err {
                id,
                code,
                message: what,
                data,
            } => {
                let data = Blob::slice(message, data.range());
                let fault = Fault {
                    code: crate::Code::from_raw(*code),
                    message: text(*what).into(),
                    data,
                };
                self.on_err(*id, fault)
            }
            Frame::Cancel { id } => {
                self.on_cancel(*id);
                Ok(())
            }
            Frame::Release { pairs } => {
                for (target, n) in parsed.releases.get(pairs.range()).unwrap_or_default() {
                    self.on_release(*target, *n)?;
                }
                Ok(())
            }
            Frame::Broken {
                target,
                code,
                message: what,
            } => {
                self.on_broken(
                    *target,
                    Fault::new(crate::Code::from_raw(*code), text(*what)),
                );
                Ok(())
            }
            Frame::Credit { target, n, depth } if *target == helve_handles::Target::ROOT => {
                self.on_tell_credit(*n, *depth)
            }
            Frame::Part { head, data } => self.on_part(message, *head, *data),
            Frame::Credit { target, n, .. } => self.on_credit(*target, *n),
            Frame::Data {
                target,
                items,
                caps,
            } => self.on_data(message, *target, *items, parsed.caps_of(*caps)),
            Frame::End {
                target,
                code,
                message: what,
                data,
            } => {
                let data = Blob::slice(message, data.range());
                let fault = consuming::end_fault(*code, text(*what), data);
                match self.followed(*target) {
                    Some(key) => self.on_follow_end(key, fault),
                    None if self.follows.was_left(*target) => Ok(()),
                    None => self.on_end(*target, fault),
                }
            }
            Frame::Sync { .. } | Frame::Snap { .. } | Frame::Delta { .. } => {
                self.shared_frame(message, parsed, frame)
            }
            Frame::Drain { grace_ms } => {
                self.on_drain(*grace_ms);
                Ok(())
            }
        }
    }

    /// A frame that names nothing here. Over 64 of them end the session (R11).
    fn strike(&mut self) -> Result<(), Violation> {
        self.strikes += 1;
        if self.strikes > 64 {
            return Err(Violation {
                rule: "R11.3",
                what: "over 64 frames named objects that are not there",
            });
        }
        Ok(())
    }

    /// The next thing to do, in order.
    pub fn poll_event(&mut self) -> Option<Event<O>> {
        if let Some(Event::Tells(o, tells)) = self.events.front_mut()
            && tells.len() > 1
            && let Some(invocation) = tells.next_call()
        {
            return Some(Event::Start(o.clone(), invocation));
        }
        Some(match self.events.pop_front()? {
            Event::Tells(o, mut tells) => Event::Start(o, tells.next_call()?),
            event => event,
        })
    }

    /// Whether [`poll_event`](Self::poll_event) has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// All that is to do, in order, behind what `into` holds.
    pub fn take_events(&mut self, into: &mut VecDeque<Event<O>>) {
        if into.is_empty() {
            std::mem::swap(&mut self.events, into);
        } else {
            into.append(&mut self.events);
        }
    }

    /// Whether [`take_wakes`](Self::take_wakes) or [`take_garbage`](Self::take_garbage) has something.
    pub fn has_loose_ends(&self) -> bool {
        !self.wakes.is_empty() || !self.garbage.is_empty()
    }

    /// Tasks whose answer came. Wake them after unlocking.
    pub fn take_wakes(&mut self, into: &mut Vec<Waker>) {
        if !self.wakes.is_empty() {
            into.append(&mut self.wakes);
        }
    }

    /// Objects that no peer holds any more. Drop them after unlocking: their `Drop` is user code.
    pub fn take_garbage(&mut self, into: &mut Vec<O>) {
        if !self.garbage.is_empty() {
            into.append(&mut self.garbage);
        }
    }

    /// CALLs and OPENs that were sent, ever.
    pub fn calls_made(&self) -> u64 {
        self.calls.next_id().saturating_sub(1)
    }
}
