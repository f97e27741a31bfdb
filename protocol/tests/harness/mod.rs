//! The pair driver of the session tests: two sessions joined by two ordered links, in virtual time.
//! harness: this file is it. Every test that opens a session uses [`Pair`], and ends with [`Pair::finish`].
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test program uses its part of it"
)]

mod finish;
mod long;
mod objects;
mod setup;
mod wire;

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use bytes::Bytes;
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{CallKind, Frame};
use helve_protocol::session::{
    Answer, CallKey, Cap, EndCause, Event, FollowKey, ImportKey, IncomingId, Invocation, Object,
    Outgoing, ReceiptKey, Received, Reply, Session, StreamKey, SubscriberKey, Time, Update,
};
use helve_protocol::{Code, Fault, Violation};

/// `helve.Object/flush`.
pub const FLUSH: u32 = helve_handles::id::method_id("helve.Object", "flush");
/// A method of the tests' own.
pub const METHOD: u32 = 7;

pub use long::{MIB, args, call_by, call_with, head_frame, kinds, kinds_of, tell_with, value};
pub use objects::{Flag, Nursery, TestObject};
pub use setup::Side::{A, B};
pub use setup::{Setup, Side};
pub use wire::{ARGS, Read, Writer, call_frame, message};

impl Side {
    pub fn other(self) -> Side {
        if self == A { B } else { A }
    }
}

/// What a session said of shared values.
#[derive(Debug)]
pub enum Shared {
    Subscribed(TestObject, SubscriberKey, Option<(u64, u64)>),
    Room(SubscriberKey),
    Unsubscribed(SubscriberKey),
    Update(FollowKey, Box<Update<TestObject>>),
    Ended(FollowKey, Option<Fault>),
}

/// A call of the peer's that was started and is not answered.
#[derive(Debug)]
pub struct Running {
    pub object: TestObject,
    pub inv: Invocation<TestObject>,
}

impl Running {
    pub fn id(&self) -> IncomingId {
        self.inv.id
    }
}

/// One end: its session, and the messages on their way to it.
pub struct End {
    pub session: Session<TestObject>,
    pub root: TestObject,
    pub inbox: VecDeque<Bytes>,
    /// Methods that run.
    pub running: Vec<Running>,
    /// Calls that the session wants stopped.
    pub stops: Vec<IncomingId>,
    /// Streams that the session wants run.
    pub streams: Vec<(TestObject, StreamKey)>,
    /// What the session said of shared values of ours, and of those of the other side.
    pub shared: Vec<Shared>,
    /// References that the test holds; `finish` gives them back.
    pub held: Vec<ImportKey>,
    pub held_opened: Vec<u64>,
    /// Calls by the key they began with, and the key they have now.
    pub calls: Vec<(CallKey, CallKey)>,
    pub receipts: Vec<ReceiptKey>,
    /// Every message that went out, for tests that look at bytes.
    pub sent: Vec<Bytes>,
    pub violation: Option<Violation>,
}

/// Two sessions and what joins them. A is the client.
pub struct Pair {
    pub nursery: Nursery,
    ends: [End; 2],
    now: Time,
    finished: bool,
}

impl Pair {
    pub fn new() -> Pair {
        Pair::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Pair {
        let mut nursery = Nursery::default();
        let mut end = |side| {
            let root = nursery.object();
            End {
                session: Session::new(setup.config(side), Some(root.clone())),
                root,
                inbox: VecDeque::new(),
                running: Vec::new(),
                stops: Vec::new(),
                streams: Vec::new(),
                shared: Vec::new(),
                held: Vec::new(),
                held_opened: Vec::new(),
                calls: Vec::new(),
                receipts: Vec::new(),
                sent: Vec::new(),
                violation: None,
            }
        };
        let ends = [end(A), end(B)];
        Pair {
            nursery,
            ends,
            now: Time::default(),
            finished: false,
        }
    }

    pub fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    pub fn session(&mut self, side: Side) -> &mut Session<TestObject> {
        &mut self.end(side).session
    }

    pub fn root(&mut self, side: Side) -> ImportKey {
        self.session(side).root()
    }

    pub fn object(&mut self) -> TestObject {
        self.nursery.object()
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Time passes at both ends. What is due is sent.
    pub fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        for side in [A, B] {
            let now = self.now;
            self.session(side).set_now(now);
        }
    }

    // ---- links

    /// Puts what a side has to say on the link. How many messages.
    pub fn transmit(&mut self, side: Side) -> usize {
        self.transmit_few(side, usize::MAX)
    }

    /// Puts up to `most` messages on the link. How many.
    pub fn transmit_few(&mut self, side: Side, most: usize) -> usize {
        let mut n = 0;
        while n < most
            && let Some(message) = self.session(side).poll_transmit()
        {
            self.end(side).sent.push(message.clone());
            self.end(side.other()).inbox.push_back(message);
            n += 1;
        }
        if n < most {
            // Who drives a session asks in turn whether it wants to send and for what: this would go on for ever.
            assert!(
                !self.session(side).wants_transmit(),
                "{side:?} wants to, but has nothing"
            );
        }
        n
    }

    /// Delivers up to `n` messages to a side. How many were delivered.
    pub fn deliver(&mut self, side: Side, n: usize) -> usize {
        let mut delivered = 0;
        while delivered < n {
            let Some(message) = self.end(side).inbox.pop_front() else {
                break;
            };
            if let Err(violation) = self.session(side).receive(&message) {
                self.end(side).violation = Some(violation);
                break;
            }
            delivered += 1;
            self.collect(side);
        }
        delivered
    }

    /// Takes what a session wants done. Started methods go to [`End::running`].
    pub fn collect(&mut self, side: Side) {
        let end = self.end(side);
        while let Some(event) = end.session.poll_event() {
            match event {
                Event::Start(object, inv) => end.running.push(Running { object, inv }),
                Event::Tells(..) => unreachable!("they are told one by one"),
                Event::Stop(id) => end.stops.push(id),
                Event::Stream(object, key) => end.streams.push((object, key)),
                Event::Subscribed(object, key, have) => {
                    end.shared.push(Shared::Subscribed(object, key, have));
                }
                Event::Room(key) => end.shared.push(Shared::Room(key)),
                Event::Unsubscribed(key) => end.shared.push(Shared::Unsubscribed(key)),
                Event::Update(key, update) => end.shared.push(Shared::Update(key, update)),
                Event::FollowEnded(key, fault) => end.shared.push(Shared::Ended(key, fault)),
                // Nothing here forwards: the tests of the whole do.
                Event::Passed(..) | Event::Broke(..) | Event::Flows(_) => {
                    unreachable!("nothing was passed on")
                }
            }
        }
        let (mut wakes, mut garbage) = (Vec::new(), Vec::new());
        end.session.take_wakes(&mut wakes);
        end.session.take_garbage(&mut garbage);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// Sends and delivers until nothing moves. Time stands still.
    #[track_caller]
    pub fn run(&mut self) {
        loop {
            let mut moved = 0;
            for side in [A, B] {
                self.collect(side);
                moved += self.transmit(side);
            }
            for side in [A, B] {
                moved += self.deliver(side, usize::MAX);
            }
            for side in [A, B] {
                if let Some(violation) = self.end(side).violation {
                    self.finished = true;
                    panic!("{side:?} found a violation: {violation}");
                }
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// As [`run`](Self::run), and all timers fire.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.run();
            self.wait(25);
        }
        self.run();
    }

    // ---- calls

    pub fn out<'a>(
        to: ImportKey,
        caps: &'a [Cap<TestObject>],
        depth: u8,
    ) -> Outgoing<'a, TestObject> {
        Outgoing {
            to,
            method: METHOD,
            args: ARGS[caps.len().min(3)].into(),
            caps,
            deadline: None,
            depth,
            chain: None,
            trace: "",
        }
    }

    #[track_caller]
    pub fn call(&mut self, side: Side, to: ImportKey, caps: &[Cap<TestObject>]) -> CallKey {
        self.call_at(side, to, caps, 0)
    }

    #[track_caller]
    pub fn call_at(
        &mut self,
        side: Side,
        to: ImportKey,
        caps: &[Cap<TestObject>],
        depth: u8,
    ) -> CallKey {
        let out = Self::out(to, caps, depth);
        let key = self
            .session(side)
            .call(&out, None)
            .expect("the call is taken");
        self.end(side).calls.push((key, key));
        key
    }

    #[track_caller]
    pub fn open(&mut self, side: Side, to: ImportKey, caps: &[Cap<TestObject>]) -> ImportKey {
        self.open_at(side, to, caps, 0)
    }

    #[track_caller]
    pub fn open_at(
        &mut self,
        side: Side,
        to: ImportKey,
        caps: &[Cap<TestObject>],
        depth: u8,
    ) -> ImportKey {
        let out = Self::out(to, caps, depth);
        let key = self.session(side).open(&out).expect("the OPEN is taken");
        self.end(side).held.push(key);
        key
    }

    #[track_caller]
    pub fn tell(&mut self, side: Side, to: ImportKey, caps: &[Cap<TestObject>]) -> ReceiptKey {
        let out = Self::out(to, caps, 0);
        let key = self.session(side).tell(&out).expect("the TELL is taken");
        self.end(side).receipts.push(key);
        key
    }

    /// A call of any kind, with a method number to know it by.
    #[track_caller]
    pub fn numbered(&mut self, side: Side, kind: CallKind, to: ImportKey, method: u32) {
        let out = Outgoing {
            method,
            ..Self::out(to, &[], 0)
        };
        let end = self.end(side);
        match kind {
            CallKind::Call => {
                let key = end.session.call(&out, None).expect("taken");
                end.calls.push((key, key));
            }
            CallKind::Open => end.held.push(end.session.open(&out).expect("taken")),
            CallKind::Tell => end.receipts.push(end.session.tell(&out).expect("taken")),
        }
    }

    /// The method numbers of what runs at a side, oldest first.
    pub fn methods(&mut self, side: Side) -> Vec<u32> {
        self.collect(side);
        self.end(side)
            .running
            .iter()
            .map(|r| r.inv.method)
            .collect()
    }

    pub fn poll(&mut self, side: Side, key: CallKey) -> Poll<Answer<TestObject>> {
        let end = self.end(side);
        let Some(at) = end.calls.iter().position(|(k, _)| *k == key) else {
            panic!("{key:?} was polled to its end before");
        };
        let poll = end.session.poll_call(&mut end.calls[at].1, Waker::noop());
        if poll.is_ready() {
            end.calls.swap_remove(at);
        }
        poll
    }

    /// The id of a call, once it is numbered.
    pub fn id(&mut self, side: Side, key: CallKey) -> Option<u64> {
        _ = self.poll(side, key);
        let at = self.end(side).calls.iter().find(|(k, _)| *k == key);
        match at.map(|(_, now)| *now) {
            Some(CallKey::Sent(id)) => Some(id),
            _ => None,
        }
    }

    /// The answer of a call, which must be there. References in it are the test's.
    #[track_caller]
    pub fn answer(&mut self, side: Side, key: CallKey) -> Answer<TestObject> {
        let Poll::Ready(answer) = self.poll(side, key) else {
            panic!("{key:?} has no answer yet");
        };
        if let Ok((_, caps)) = &answer {
            self.hold(side, caps);
        }
        answer
    }

    #[track_caller]
    pub fn ok(&mut self, side: Side, key: CallKey) -> Vec<Received<TestObject>> {
        match self.answer(side, key) {
            Ok((_, caps)) => caps,
            Err(fault) => panic!("{key:?} failed: {fault:?}"),
        }
    }

    #[track_caller]
    pub fn fault(&mut self, side: Side, key: CallKey) -> Fault {
        match self.answer(side, key) {
            Ok(_) => panic!("{key:?} did not fail"),
            Err(fault) => fault,
        }
    }

    pub fn cancel(&mut self, side: Side, key: CallKey) {
        let end = self.end(side);
        let Some(at) = end.calls.iter().position(|(k, _)| *k == key) else {
            panic!("{key:?} was polled to its end before");
        };
        let (_, now) = end.calls.swap_remove(at);
        end.session.cancel(now);
    }

    pub fn hold(&mut self, side: Side, caps: &[Received<TestObject>]) {
        let end = self.end(side);
        for cap in caps {
            match cap {
                Received::Import { key, .. } => end.held.push(*key),
                Received::Opened(c) => end.held_opened.push(*c),
                Received::Object(_) | Received::Broken(_) => {}
            }
        }
    }

    /// Gives one reference back.
    #[track_caller]
    pub fn drop_handle(&mut self, side: Side, key: ImportKey) {
        let end = self.end(side);
        let at = end
            .held
            .iter()
            .position(|k| *k == key)
            .expect("a held handle");
        end.held.swap_remove(at);
        end.session.release(key);
    }

    // ---- methods

    /// The oldest method that runs at a side.
    #[track_caller]
    pub fn started(&mut self, side: Side) -> Running {
        self.collect(side);
        assert!(
            !self.end(side).running.is_empty(),
            "nothing was started at {side:?}"
        );
        self.end(side).running.remove(0)
    }

    pub fn nothing_runs(&mut self, side: Side) -> bool {
        self.collect(side);
        self.end(side).running.is_empty()
    }

    /// Ends a method. References that it was given are given back after the answer.
    pub fn respond(&mut self, side: Side, running: Running, reply: Reply<'_, TestObject>) {
        let Running { object, inv } = running;
        let session = self.session(side);
        session.respond(inv.id, reply);
        session.discard(inv.caps);
        drop(object);
        self.collect(side);
    }

    /// Ends a method with `nil`.
    pub fn ret(&mut self, side: Side, running: Running) {
        self.respond(side, running, Reply::Value(&[0xc0], &[]));
    }

    /// Ends a method with references.
    pub fn ret_caps(&mut self, side: Side, running: Running, caps: &[Cap<TestObject>]) {
        self.respond(side, running, Reply::Value(ARGS[caps.len().min(3)], caps));
    }

    pub fn ret_handle(&mut self, side: Side, running: Running, cap: Cap<TestObject>) {
        self.respond(side, running, Reply::Handle(cap));
    }

    pub fn ret_err(&mut self, side: Side, running: Running, code: Code, text: &str) {
        self.respond(side, running, Reply::Fault(Fault::new(code, text)));
    }

    /// Takes the references out of a running method: they are the test's from now on.
    pub fn keep(&mut self, side: Side, running: &mut Running) -> Vec<Received<TestObject>> {
        let caps = std::mem::take(&mut running.inv.caps);
        self.hold(side, &caps);
        caps
    }

    /// One answered call that gives A a handle to `object` of B.
    #[track_caller]
    pub fn give(&mut self, object: &TestObject) -> ImportKey {
        self.give_to(A, object)
    }

    /// One answered call that gives `side` a handle to `object` of the other.
    #[track_caller]
    pub fn give_to(&mut self, side: Side, object: &TestObject) -> ImportKey {
        let root = self.root(side);
        let call = self.call(side, root, &[]);
        self.run();
        let running = self.started(side.other());
        self.ret_caps(side.other(), running, &[Cap::Given(object.clone())]);
        self.run();
        import(&self.ok(side, call)[0])
    }

    /// Marks an object revoked and tells the other side.
    pub fn revoke(&mut self, side: Side, object: &TestObject) {
        object.set_revoked();
        self.session(side).revoke(object.key());
    }

    /// Whether a reference is broken or expired, and why.
    pub fn closed(&mut self, side: Side, key: ImportKey) -> Option<Fault> {
        match self.session(side).poll_closed(key, Waker::noop()) {
            Poll::Ready(fault) => Some(fault),
            Poll::Pending => None,
        }
    }

    // ---- a peer that does as it likes

    /// Delivers a hand-made message to a side.
    pub fn inject(&mut self, side: Side, message: Bytes) -> Result<(), Violation> {
        let result = self.session(side).receive(&message);
        self.collect(side);
        result
    }

    /// Reads the frames of the messages that a side sent since message `from`, with their caps.
    pub fn frames(&mut self, side: Side, from: usize) -> Vec<Read> {
        let mut parsed = Parsed::new();
        let mut frames = Vec::new();
        for message in &self.end(side).sent[from..] {
            parse(message, &mut parsed, &ReadLimits::default())
                .expect("what we sent is well-formed");
            for frame in &parsed.frames {
                frames.push(Read {
                    frame: *frame,
                    caps: match frame {
                        Frame::Call(call) => parsed.caps_of(call.caps).to_vec(),
                        Frame::Ret { caps, .. }
                        | Frame::Snap { caps, .. }
                        | Frame::Delta { caps, .. } => parsed.caps_of(*caps).to_vec(),
                        _ => Vec::new(),
                    },
                    releases: match frame {
                        Frame::Release { pairs } => parsed.releases_of(*pairs).to_vec(),
                        _ => Vec::new(),
                    },
                });
            }
        }
        frames
    }

    pub fn mark(&mut self, side: Side) -> usize {
        self.end(side).sent.len()
    }
}

/// A handle to one's own object, and the handle of the host that it goes through.
pub struct Reflected {
    pub handle: ImportKey,
    pub given: ImportKey,
}

/// The import among what was received.
#[track_caller]
pub fn import(cap: &Received<TestObject>) -> ImportKey {
    match cap {
        Received::Import { key, .. } => *key,
        other => panic!("not an import: {other:?}"),
    }
}
