//! A whole session fed by a script. The peer's side of it is bytes; ours are a few deeds, so that calls run, are
//! answered, and are made the other way.
//!
//! A script is a row of MessagePack values. An array is a frame of the peer's, put into a message with the right
//! numbers; `nil` ends that message and asks for an ack; a bin is a message as it stands, numbers and all; an int is
//! something that this side does. The first byte says which limits hold.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use helve_handles::objects::Identity;
use helve_handles::{ObjectKey, Objects};
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallKind, Frame};
use helve_protocol::session::{
    CallKey, Cap, Config, EndCause, Event, ImportKey, IncomingId, Invocation, Object, Outgoing,
    Pulled, ReceiptKey, Received, Reply, Role, Session, StreamKey, Time,
};
use helve_protocol::{Code, Fault, Limits, Violation};

use super::values::{Body, head, int, top};

/// Arguments and results with so many references.
pub(super) const WITH_CAPS: [&[u8]; 3] = [
    &[0x90],
    &[0x91, 0xd4, 1, 0],
    &[0x92, 0xd4, 1, 0, 0xd4, 1, 1],
];
/// Bytes that a frame of ours may take for each that came, and in all: the texts of errors are longer than small calls.
const OUT_EACH: usize = 96;
const OUT_FIXED: usize = 1 << 10;

/// E4.1, R1.3, R11.5, R13, R14, R17, S3, S5.1, and what `Sizes` says of them.
pub(super) fn body(data: &[u8]) {
    let script = top(data);
    let alive = Rc::new(Cell::new(0));
    // What one value of a script may cost: an entry or two in a table that grows by doubling.
    super::frugal(data.len(), 256 << 10, 4 << 10, || {
        let mut world = World::new(data.first().is_some_and(|first| first & 1 == 1), &alive);
        for range in script {
            if world.session.end_cause().is_some() {
                break;
            }
            world.step(&data[range]);
            world.check(data.len());
        }
        world.finish();
    });
    assert_eq!(alive.get(), 0, "objects outlived their session");
}

/// Scripts to begin with: each kind of deed beside the frames that it goes with.
pub(super) fn scripts() -> Vec<Vec<u8>> {
    let call = |id: u8, target: u8| vec![0x95, 1, id, target, 7, 0x90];
    let give = |id: u8, cap: u8| vec![0x96, 1, id, 0, 7, 0x91, 0xd4, 1, 0, 0x91, cap];
    let open = |id: u8| vec![0x95, 2, id, 0, 7, 0x90];
    let ret = |id: u8| vec![0x93, 4, id, 0xc0];
    let mut scripts = Vec::new();
    for limits in [0, 1] {
        // Calls answered in each way, a result taken, an object given, called and released.
        for deed in 2..14 {
            let mut script = vec![limits];
            script.extend(call(1, 0));
            script.extend([0xc0, deed]);
            script.extend(call(2, 1));
            script.extend([0xc0, 2, 0x92, 7, 0x92, 1, 1, 0xc0]);
            scripts.push(script);
        }
        // An OPEN, a call on it before and after its answer, its release.
        for deed in 2..14 {
            let mut script = vec![limits];
            script.extend(open(1));
            script.extend([0x95, 1, 2, 0xff, 7, 0x90, 0xc0, deed]);
            script.extend([0x95, 1, 3, 0xff, 7, 0x90, 0xc0, 2, 2, 2]);
            script.extend([0x92, 7, 0x92, 0xff, 1, 0xc0]);
            scripts.push(script);
        }
        // Their objects, counted and lent, called from here and broken.
        for cap in [0x04, 0x07, 0x00, 0x01] {
            let mut script = vec![limits];
            script.extend(give(1, cap));
            script.extend([0xc0, 16, 17, 18, 19, 25]);
            script.extend(ret(1));
            script.extend([
                0x93, 4, 2, 4, 0xc0, 20, 2, 0x94, 8, 1, 2, 0xa1, b'x', 0xc0, 21, 22,
            ]);
            scripts.push(script);
        }
        // Streams of ours, given, read, credited, stopped; with streams in them.
        for deed in [14, 15] {
            for then in [[27, 28, 29], [27, 27, 30], [28, 28, 27]] {
                let mut script = vec![limits];
                script.extend(call(1, 0));
                script.extend([0xc0, deed]);
                script.extend(then);
                script.extend([0x93, 11, 1, 100, 0xc0, 27, 29, 27]);
                script.extend([0x92, 7, 0x92, 1, 1, 0xc0, 27, 28]);
                scripts.push(script);
            }
        }
        // Streams of theirs: items before and after they are read, with references, with an end of each kind.
        for end in [&[0x92, 10, 1][..], &[0x94, 10, 1, 2, 0xa1, b'x']] {
            let mut script = vec![limits];
            script.extend(give(1, 0x04));
            script.extend([0xc0, 11, 31, 0x93, 9, 1, 0x91, 7, 0xc0, 31, 31]);
            script.extend([0x94, 9, 1, 0x91, 0xd4, 1, 0, 0x91, 0x08, 0xc0]);
            script.extend(end);
            script.extend([0xc0, 31, 31, 21, 21]);
            scripts.push(script);
        }
        // One-way calls, their credit, a flush, cancels, time, revocation.
        let mut script = vec![limits];
        script.extend([0x94, 3, 0, 7, 0x90].repeat(5));
        script.extend([0xc0, 2, 2, 23, 24, 2]);
        script.extend(call(1, 0));
        script.extend([0x92, 6, 1, 0xc0, 26, 25]);
        scripts.push(script);
        // More than the small limits take.
        let mut script = vec![limits];
        for id in 1..=9 {
            script.extend(if id % 2 == 0 { open(id) } else { call(id, 0) });
        }
        script.extend([0xc0, 2, 3, 4, 5]);
        scripts.push(script);
    }
    scripts
}

#[derive(Clone, Debug)]
pub(super) struct Thing(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    key: ObjectKey,
    revoked: Cell<bool>,
    stream: bool,
    alive: Rc<Cell<usize>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

impl Object for Thing {
    fn key(&self) -> ObjectKey {
        self.0.key
    }
    fn is_revoked(&self) -> bool {
        self.0.revoked.get()
    }
    fn is_stream(&self) -> bool {
        self.0.stream
    }
}

fn thing(keys: &mut Objects<()>, address: usize, stream: bool, alive: &Rc<Cell<usize>>) -> Thing {
    let identity = Identity {
        address,
        interface: 0,
    };
    alive.set(alive.get() + 1);
    Thing(Rc::new(Inner {
        key: keys.insert(identity, |_| ()),
        revoked: Cell::new(false),
        stream,
        alive: alive.clone(),
    }))
}

pub(super) struct World {
    pub(super) session: Session<Thing>,
    pub(super) shared: super::shared::Shared,
    ours: Limits,
    keys: Objects<()>,
    alive: Rc<Cell<usize>>,
    now: Time,
    /// The peer's numbers: of its next frame, and of the last frame of ours.
    next: u64,
    /// Frames of the message being put together.
    frames: Vec<u8>,
    count: u64,
    things: Vec<Thing>,
    running: Vec<(Thing, Invocation<Thing>)>,
    calls: Vec<CallKey>,
    receipts: Vec<ReceiptKey>,
    /// Streams of ours, released ones too.
    streams: Vec<StreamKey>,
    pub(super) held: Vec<ImportKey>,
    held_opened: Vec<u64>,
    /// Ids of the peer that are not answered.
    asked: BTreeSet<u64>,
    /// Frames that came out.
    heard: u64,
    bytes_out: usize,
    violated: bool,
}

impl World {
    fn new(small: bool, alive: &Rc<Cell<usize>>) -> World {
        let mut ours = Limits::default();
        if small {
            ours = ours
                .with_calls(4)
                .with_nested(2)
                .with_table(6)
                .with_subs(2)
                .with_frame(0)
                .with_bytes(0);
        }
        let mut config = Config::new(Role::Server, ours, ours, 7);
        if small {
            (config.running, config.pending) = (2, 2);
        }
        let mut keys = Objects::default();
        let root = thing(&mut keys, 0, false, alive);
        World {
            // harness: there is no peer but bytes; `finish` asserts that the tables end empty
            session: Session::new(config, Some(root.clone())),
            shared: super::shared::Shared::default(),
            ours,
            keys,
            alive: alive.clone(),
            now: Time::default(),
            next: 1,
            frames: Vec::new(),
            count: 0,
            things: vec![root],
            running: Vec::new(),
            calls: Vec::new(),
            receipts: Vec::new(),
            streams: Vec::new(),
            held: Vec::new(),
            held_opened: Vec::new(),
            asked: BTreeSet::new(),
            heard: 0,
            bytes_out: 0,
            violated: false,
        }
    }

    pub(super) fn thing(&mut self) -> Thing {
        self.make(false)
    }

    fn make(&mut self, stream: bool) -> Thing {
        let thing = thing(&mut self.keys, self.things.len(), stream, &self.alive);
        self.things.push(thing.clone());
        thing
    }

    fn step(&mut self, value: &[u8]) {
        let Some(head) = head(value) else { return };
        match (value[0], head.body) {
            (0xc0, _) => self.deliver(true),
            (0xc4..=0xc6, Body::Bytes(_)) => {
                self.deliver(false);
                // It may carry frames that count, when its numbers are right.
                let before = self.session.received();
                self.receive(value[head.header..].to_vec());
                self.next += self.session.received() - before;
            }
            (0x90..=0x9f | 0xdc | 0xdd, _) => {
                self.frames.extend_from_slice(value);
                self.count += 1;
            }
            _ => {
                self.deliver(false);
                if let Some((deed, _)) = int(value, 0) {
                    self.deed(deed);
                }
            }
        }
        self.collect();
    }

    /// The message so far.
    fn deliver(&mut self, ask: bool) {
        if self.frames.is_empty() && !ask {
            return;
        }
        let mut message = Vec::new();
        frame::put_uint(&mut message, self.next);
        frame::put_uint(&mut message, self.heard);
        message.append(&mut self.frames);
        if ask {
            message.push(0xc0);
        }
        self.next += std::mem::take(&mut self.count);
        self.receive(message);
    }

    fn receive(&mut self, message: Vec<u8>) {
        if self.session.end_cause().is_some() {
            return;
        }
        self.note_calls(&message);
        if let Err(violation) = self.session.receive(&Bytes::from(message)) {
            names_a_rule(&violation);
            self.violated = true;
            let reason = violation.reason().into();
            self.session.end(EndCause {
                close: 4001,
                reason,
            });
        }
    }

    /// R11.5: exactly these are to be answered. Frames that come again are skipped.
    fn note_calls(&mut self, message: &[u8]) {
        let mut parsed = Parsed::new();
        if parse(message, &mut parsed, &ReadLimits::default()).is_err() {
            return;
        }
        let seqs = parsed.first_seq..;
        for (seq, frame) in seqs.zip(&parsed.frames) {
            if let Frame::Call(call) = frame
                && call.kind != CallKind::Tell
                && seq > self.session.received()
            {
                self.asked.insert(call.id);
            }
        }
    }

    /// What the session wants done, and what it says.
    fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Start(thing, invocation) => self.running.push((thing, invocation)),
                Event::Tells(..) => unreachable!("they are told one by one"),
                Event::Stop(id) => self.stop(id),
                Event::Stream(thing, key) => {
                    assert!(thing.is_stream(), "R19: begun as one");
                    self.streams.push(key);
                }
                // Nothing is forwarded here.
                Event::Passed(..) | Event::Broke(..) | Event::Flows(_) => {
                    unreachable!("nothing was passed on")
                }
                shared => self.shared_event(shared),
            }
        }
        while let Some(message) = self.session.poll_transmit() {
            self.hear(&message);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        let (mut wakes, mut garbage) = (Vec::new(), Vec::new());
        self.session.take_wakes(&mut wakes);
        self.session.take_garbage(&mut garbage);
    }

    fn stop(&mut self, id: IncomingId) {
        if let Some(at) = self.running.iter().position(|(_, call)| call.id == id) {
            let (_, call) = self.running.swap_remove(at);
            let fault = Fault::new(Code::Cancelled, "cancelled");
            self.session.respond(id, Reply::Fault(fault));
            self.session.discard(call.caps);
        }
    }

    /// A message of ours is as the rules say.
    fn hear(&mut self, message: &Bytes) {
        self.bytes_out += message.len();
        let mut parsed = Parsed::new();
        parse(message, &mut parsed, &ReadLimits::default()).expect("what we say is right");
        assert_eq!(parsed.first_seq, self.heard + 1, "S2.1");
        assert!(parsed.ack <= self.session.received(), "S3.1");
        self.heard += parsed.frames.len() as u64;
        for frame in &parsed.frames {
            if let Frame::Ret { id, .. } | Frame::Err { id, .. } = frame {
                assert!(self.asked.remove(id), "R11.5: {id} was answered unasked");
            }
        }
    }

    fn deed(&mut self, deed: i64) {
        match deed {
            2..16 => self.answer(deed),
            16..20 => self.call(deed),
            20 => {
                if let Some(key) = self.calls.pop() {
                    self.session.cancel(key);
                }
            }
            21 => {
                if let Some(key) = self.held.pop() {
                    self.session.release(key);
                }
            }
            22 => {
                if let Some(c) = self.held_opened.pop() {
                    self.session.release_opened(c);
                }
            }
            23 => {
                self.now = self.now.plus_ms(30);
                self.session.set_now(self.now);
            }
            24 if !self.running.is_empty() => self.running.rotate_left(1),
            25 => self.take_answers(),
            27 | 28 => self.send_item(deed == 28),
            29 | 30 => {
                if let Some(key) = self.streams.pop() {
                    let fault = (deed == 30).then(|| Fault::new(Code::Denied, "no more"));
                    self.session.end_stream(key, fault);
                }
            }
            31 => self.read_items(),
            32..48 => self.shared_deed(deed),
            26 => {
                if let Some(thing) = self.things.last() {
                    thing.0.revoked.set(true);
                    let key = thing.key();
                    self.session.revoke(key);
                }
            }
            _ => {}
        }
    }

    /// The oldest method that runs ends.
    fn answer(&mut self, how: i64) {
        if self.running.is_empty() {
            return;
        }
        let (_object, call) = self.running.remove(0);
        let theirs = call.caps.iter().find_map(|cap| match cap {
            Received::Import { key, lent: false } => Some(Cap::Import(*key)),
            Received::Opened(c) => Some(Cap::Opened(*c)),
            Received::Object(object) => Some(Cap::Given(object.clone())),
            _ => None,
        });
        let again = self.things[0].clone();
        let cap = match how {
            4 | 5 => Some(Cap::Given(self.thing())),
            6 | 7 => theirs,
            8 | 9 => Some(Cap::Given(again)),
            10 => Some(Cap::Broken(Fault::new(Code::Denied, "no"))),
            14 | 15 => Some(Cap::Given(self.make(true))),
            _ => None,
        };
        let caps: Vec<Cap<Thing>> = cap.into_iter().collect();
        let reply = match (how, &caps[..]) {
            (3, _) => Reply::Fault(Fault::new(Code::Denied, "not you")),
            (_, [cap]) if call.kind == CallKind::Open || how % 2 == 1 => Reply::Handle(cap.clone()),
            (_, caps) => Reply::Value(WITH_CAPS[caps.len()], caps),
        };
        let changed = self.shared.changed();
        self.session.respond_changed(call.id, reply, &changed);
        if how == 11 {
            self.keep(call.caps);
        } else {
            self.session.discard(call.caps);
        }
    }

    /// An item of our last stream, with a stream in it or without.
    fn send_item(&mut self, with: bool) {
        let Some(&key) = self.streams.last() else {
            return;
        };
        let caps = if with {
            vec![Cap::Given(self.make(true))]
        } else {
            Vec::new()
        };
        let items = if with { WITH_CAPS[1] } else { &[0x91, 7] };
        match self.session.poll_send(key, items, &caps, Waker::noop()) {
            Poll::Ready(Err(fault)) => self.session.end_stream(key, Some(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }

    /// Reads what we were given last, as if it were a stream.
    fn read_items(&mut self) {
        let Some(&key) = self.held.last() else { return };
        if let Poll::Ready(Pulled::Items(_, caps)) = self.session.poll_items(key, Waker::noop()) {
            self.keep(caps);
        }
    }

    pub(super) fn keep(&mut self, caps: Vec<Received<Thing>>) {
        for cap in caps {
            match cap {
                Received::Import { key, .. } => self.held.push(key),
                Received::Opened(c) => self.held_opened.push(c),
                Received::Object(_) | Received::Broken(_) => {}
            }
        }
    }

    /// A call of ours on what we were given last.
    fn call(&mut self, deed: i64) {
        let lends = self
            .running
            .iter()
            .flat_map(|(_, call)| &call.caps)
            .find_map(|cap| match cap {
                Received::Import { key, .. } => Some(*key),
                _ => None,
            });
        let to = lends.or(self.held.last().copied());
        let to = to.unwrap_or_else(|| self.session.root());
        let thing = self.thing();
        let caps = match deed {
            17 => vec![Cap::Lent(thing)],
            18 => vec![Cap::Given(thing), Cap::Import(to)],
            _ => Vec::new(),
        };
        let out = Outgoing {
            to,
            method: 7,
            args: WITH_CAPS[caps.len()].into(),
            caps: &caps,
            deadline: None,
            depth: self.running.first().map_or(0, |(_, call)| call.depth + 1),
            chain: None,
            trace: "",
        };
        match deed {
            16 | 17 => self.calls.extend(self.session.call(&out, None)),
            18 => self.held.extend(self.session.open(&out)),
            _ => self.receipts.extend(self.session.tell(&out)),
        }
    }

    fn take_answers(&mut self) {
        for mut key in std::mem::take(&mut self.calls) {
            match self.session.poll_call(&mut key, Waker::noop()) {
                Poll::Ready(Ok((_, caps))) => self.keep(caps),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.calls.push(key),
            }
        }
    }

    /// The tables are within their bounds, whatever came.
    fn check(&self, len: usize) {
        let sizes = self.session.sizes();
        let granted = u64::from(self.ours.calls) + 15 * u64::from(self.ours.nested);
        // R13.4: with nothing charged one of any legal size may go.
        let bytes = (self.ours.bytes + 15 * (self.ours.bytes / 8)).max(16 * (65_536 + 64));
        assert!(sizes.charged <= granted + bytes, "R13: {sizes:?}");
        assert!(sizes.unacked <= 8_192, "S5.1: {sizes:?}");
        assert!(self.asked.len() as u64 <= granted + 16, "R13.6");
        let table = self.ours.table as usize + 256;
        assert!(sizes.opened <= table + 1, "R14.1: {sizes:?}");
        assert!(
            self.bytes_out <= OUT_FIXED + OUT_EACH * len,
            "{} bytes out for {len} in",
            self.bytes_out
        );
    }

    /// Ends the session: nothing may be left in any table, and what was not answered never is.
    fn finish(mut self) {
        self.deliver(false);
        self.collect();
        if !self.violated {
            // R11.5, R14.2: whatever is still open is in a table.
            let open = self.session.sizes().incoming;
            assert!(
                self.asked.len() <= open + self.unsaid(),
                "{:?} will never be answered",
                self.asked
            );
        }
        let reason = "over".into();
        self.session.end(EndCause {
            close: 1000,
            reason,
        });
        while self.session.poll_event().is_some() {}
        assert_eq!(
            self.session.poll_transmit(),
            None,
            "nothing is said after the end"
        );
        // What came of a stream may still be read, until the reference is released.
        for (_, call) in std::mem::take(&mut self.running) {
            self.session.discard(call.caps);
        }
        for mut key in std::mem::take(&mut self.calls) {
            match self.session.poll_call(&mut key, Waker::noop()) {
                Poll::Ready(Ok((_, caps))) => self.session.discard(caps),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => panic!("R17.5: {key:?} has no outcome"),
            }
        }
        for key in std::mem::take(&mut self.receipts) {
            self.session.forget_receipt(key);
        }
        for key in std::mem::take(&mut self.held) {
            self.session.release(key);
        }
        for c in std::mem::take(&mut self.held_opened) {
            self.session.release_opened(c);
        }
        self.tidy();
        let sizes = self.session.sizes();
        assert!(sizes.is_empty(), "after the end: {sizes:?}");
    }

    /// Answers that wait for acks.
    fn unsaid(&self) -> usize {
        if self.session.sizes().unacked >= 8_192 {
            usize::MAX / 2
        } else {
            0
        }
    }
}

/// R17.1: a reason that starts with an id, and fits a Close.
fn names_a_rule(violation: &Violation) {
    let reason = violation.reason();
    assert!(reason.len() <= Violation::REASON_MAX, "{reason}");
    let id = reason.split(':').next().unwrap_or_default();
    let digits = id.trim_start_matches(['C', 'E', 'I', 'R', 'S']);
    let numbers = digits.split_once('.');
    assert!(
        numbers.is_some_and(|(a, b)| a.parse::<u8>().is_ok() && b.parse::<u8>().is_ok()),
        "`{reason}` names no rule"
    );
}
