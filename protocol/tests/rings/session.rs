//! The session itself, running the programs of the model: one pair of sessions for each two peers, in virtual time.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};

use helve_protocol::Limits;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{CallKey, Cap, ImportKey, Outgoing, Received};

use crate::harness::{A, B, METHOD, Pair, Running, Setup, Side};
use crate::program::{Kind, Program, Wait};
use crate::rng::Rng;

/// What a call of size 1 is charged (R13.5).
const UNIT: u64 = 96;

/// Grants that are legal, and small. `bytes` is in units, and an eighth of it is each deeper depth's.
#[derive(Clone, Copy, Debug)]
pub struct Tiny {
    pub calls: u32,
    pub nested: u32,
    pub bytes: u64,
    pub running: u32,
    /// Room for hardly more than one frame.
    pub tight: bool,
}

impl Tiny {
    fn setup(&self) -> Setup {
        let mut limits = Limits::default()
            .with_calls(self.calls)
            .with_nested(self.nested);
        // Smaller than `with_bytes` lets anybody state.
        limits.bytes = self.bytes * UNIT;
        Setup {
            limits,
            running: self.running,
            replay: self.tight.then_some(65_536 + 40_960 + 100),
            ..Setup::default()
        }
    }
}

enum Key {
    None,
    Call(CallKey),
    Open(ImportKey),
    Told,
}

struct State {
    key: Key,
    /// At which depth it was made, and the how manieth of all.
    depth: u8,
    made: usize,
    /// Its method.
    running: Option<Running>,
    next: usize,
    ran: bool,
    over: bool,
}

struct Driver<'a> {
    program: &'a Program,
    pairs: Vec<Pair>,
    calls: Vec<State>,
    roots: Vec<usize>,
    made: usize,
    started: BTreeMap<(usize, usize, Option<usize>, u8), usize>,
}

#[derive(Clone, Copy)]
enum Step {
    Start(usize),
    Run(usize),
    Send(usize, Side),
    Arrive(usize, Side),
}

/// Runs a program on one schedule. Says which calls are open when nothing moves any more.
pub fn run(program: &Program, tiny: &Tiny, rng: &mut Rng) -> Result<(), String> {
    let mut driver = Driver::new(program, tiny);
    let end = driver.drive(rng);
    driver.close(end.is_ok());
    end
}

impl Driver<'_> {
    fn new<'a>(program: &'a Program, tiny: &Tiny) -> Driver<'a> {
        let pairs = program.peers * (program.peers - 1) / 2;
        let state = || State {
            key: Key::None,
            depth: 0,
            made: 0,
            running: None,
            next: 0,
            ran: false,
            over: false,
        };
        Driver {
            program,
            pairs: (0..pairs).map(|_| Pair::with(&tiny.setup())).collect(),
            calls: program.calls.iter().map(|_| state()).collect(),
            roots: vec![0; program.peers],
            made: 0,
            started: BTreeMap::new(),
        }
    }

    /// The pair of two peers, and the side of the first.
    fn link(&self, from: usize, to: usize) -> (usize, Side) {
        let (low, high) = (from.min(to), from.max(to));
        // (0,1), (0,2), (1,2)
        (low + high - 1, if from == low { A } else { B })
    }

    fn of(&self, call: usize) -> (usize, Side) {
        self.link(self.program.calls[call].from, self.program.calls[call].to)
    }

    fn drive(&mut self, rng: &mut Rng) -> Result<(), String> {
        // A session that has no room wants to send and cannot: `idle` counts that.
        let (mut still, mut idle) = (0, 0);
        while still < 4 {
            let steps = self.steps();
            let sends = |step: &Step| matches!(step, Step::Send(..));
            if steps.is_empty() || idle > 9 && steps.iter().all(sends) {
                (still, idle) = (still + 1, 0);
                let sent: usize = (0..self.pairs.len())
                    .flat_map(|pair| [(pair, A), (pair, B)])
                    .map(|(pair, side)| self.pairs[pair].transmit(side))
                    .sum();
                if sent > 0 {
                    still = 0;
                }
                self.pairs.iter_mut().for_each(|pair| pair.wait(25));
                continue;
            }
            let step = rng.pick(&steps);
            if !sends(&step) {
                (still, idle) = (0, 0);
            }
            match step {
                Step::Start(peer) => {
                    let call = self.roots_of(peer)[self.roots[peer]];
                    self.roots[peer] += 1;
                    self.make(call, 0);
                }
                Step::Run(call) => self.go_on(call),
                Step::Send(pair, side) => match self.pairs[pair].transmit(side) {
                    0 => idle += 1,
                    _ => (still, idle) = (0, 0),
                },
                Step::Arrive(pair, side) => {
                    self.pairs[pair].deliver(side, 1);
                    if let Some(violation) = self.pairs[pair].end(side).violation {
                        return Err(format!("a violation: {violation}"));
                    }
                }
            }
            self.look()?;
        }
        let open: Vec<String> = (0..self.calls.len())
            .filter(|id| !self.ended(*id) && !self.never_made(*id))
            .map(|id| {
                let state = &self.calls[id];
                let runs = state.running.is_some();
                format!(
                    "{id} (made: {}, runs: {runs})",
                    !matches!(state.key, Key::None)
                )
            })
            .collect();
        match open.is_empty() {
            true => Ok(()),
            false => Err(format!("nothing moves, and open are {}", open.join(", "))),
        }
    }

    fn ended(&self, call: usize) -> bool {
        let state = &self.calls[call];
        state.over || matches!(state.key, Key::Told) && state.ran && state.running.is_none()
    }

    /// Whether a call above it failed, for it would have been deeper than 15 (R13.2).
    fn never_made(&self, call: usize) -> bool {
        let above = self.program.calls[call].above;
        let failed = |up: usize| self.calls[up].over && !self.calls[up].ran;
        above.is_some_and(|up| failed(up) || self.never_made(up))
    }

    fn roots_of(&self, peer: usize) -> Vec<usize> {
        let roots = self.program.children(None);
        roots
            .filter(|id| self.program.calls[*id].from == peer)
            .collect()
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for peer in 0..self.program.peers {
            if self.roots_of(peer).len() > self.roots[peer] {
                steps.push(Step::Start(peer));
            }
        }
        for call in 0..self.calls.len() {
            if self.calls[call].running.is_some() && self.can_go_on(call) {
                steps.push(Step::Run(call));
            }
        }
        for pair in 0..self.pairs.len() {
            for side in [A, B] {
                if self.pairs[pair].session(side).wants_transmit() {
                    steps.push(Step::Send(pair, side));
                }
                if !self.pairs[pair].end(side).inbox.is_empty() {
                    steps.push(Step::Arrive(pair, side));
                }
            }
        }
        steps
    }

    fn can_go_on(&mut self, call: usize) -> bool {
        let of = self.program.calls[call];
        let children: Vec<usize> = self.program.children(Some(call)).collect();
        let next = self.calls[call].next;
        let last = next.checked_sub(1).map(|last| children[last]);
        if last.is_some_and(|id| self.program.calls[id].wait == Wait::Now && !self.calls[id].over) {
            return false;
        }
        if next < children.len() {
            return true;
        }
        let waits = |id: &&usize| self.program.calls[**id].wait != Wait::Never;
        if !children.iter().filter(waits).all(|id| self.calls[*id].over) {
            return false;
        }
        if of.kind == Kind::Open || !of.needs_arg {
            return true;
        }
        let (pair, side) = self.of(call);
        let running = self.calls[call].running.as_ref();
        match running.and_then(|running| running.inv.caps.first()) {
            Some(Received::Opened(c)) => {
                let c = *c;
                let session = self.pairs[pair].session(side.other());
                session.poll_opened(c, Waker::noop()).is_ready()
            }
            _ => true,
        }
    }

    /// The method makes its next call, or ends.
    fn go_on(&mut self, call: usize) {
        let next = self.calls[call].next;
        let child = self.program.children(Some(call)).nth(next);
        if let (Some(child), Some(running)) = (child, &self.calls[call].running) {
            let depth = running.inv.depth + 1;
            self.calls[call].next += 1;
            return self.make(child, depth);
        }
        let Some(running) = self.calls[call].running.take() else {
            return;
        };
        let (pair, side) = self.of(call);
        let pair = &mut self.pairs[pair];
        let side = side.other();
        if running.inv.kind != CallKind::Open {
            return pair.ret(side, running);
        }
        let cap = match running.inv.caps.first() {
            Some(Received::Opened(c)) if self.program.calls[call].needs_arg => Cap::Opened(*c),
            Some(Received::Object(o)) if self.program.calls[call].needs_arg => {
                Cap::Given(o.clone())
            }
            _ => Cap::Given(pair.object()),
        };
        pair.ret_handle(side, running, cap);
    }

    fn make(&mut self, call: usize, depth: u8) {
        let of = self.program.calls[call];
        let (pair, side) = self.of(call);
        let handle = |id: Option<usize>| match id.map(|id| &self.calls[id].key) {
            Some(Key::Open(key)) => Some(*key),
            _ => None,
        };
        let (on, arg) = (handle(of.on), handle(of.arg));
        let pair = &mut self.pairs[pair];
        let to = on.unwrap_or(pair.root(side));
        let caps: Vec<_> = arg.map(Cap::Import).into_iter().collect();
        let args = payload(call, caps.len(), of.size);
        let out = Outgoing {
            args: (&args[..]).into(),
            caps: &caps,
            method: METHOD,
            ..Pair::out(to, &[], depth)
        };
        let session = pair.session(side);
        let key = match of.kind {
            Kind::Call => session.call(&out, None).map(Key::Call),
            Kind::Open => session.open(&out).map(Key::Open),
            Kind::Tell => session.tell(&out).map(|receipt| {
                session.forget_receipt(receipt);
                Key::Told
            }),
        };
        self.made += 1;
        let state = &mut self.calls[call];
        (state.depth, state.made) = (depth, self.made);
        match key {
            Ok(key) => state.key = key,
            Err(_) => state.over = true,
        }
    }

    /// Takes what started and what was answered.
    fn look(&mut self) -> Result<(), String> {
        for pair in 0..self.pairs.len() {
            for side in [A, B] {
                self.pairs[pair].collect(side);
                let started = std::mem::take(&mut self.pairs[pair].end(side).running);
                for running in started {
                    self.starts(running)?;
                }
            }
        }
        for call in 0..self.calls.len() {
            let (pair, side) = self.of(call);
            let session = self.pairs[pair].session(side);
            let state = &mut self.calls[call];
            let answer = match &mut state.key {
                _ if state.over => continue,
                Key::None | Key::Told => continue,
                Key::Call(key) => session.poll_call(key, Waker::noop()).map_ok(|_| ()),
                Key::Open(key) => session.poll_settled(*key, Waker::noop()),
            };
            if let Poll::Ready(answer) = answer {
                answer.map_err(|fault| format!("call {call} failed: {fault:?}"))?;
                state.over = true;
            }
        }
        Ok(())
    }

    fn starts(&mut self, running: Running) -> Result<(), String> {
        let id = uid(&running.inv.args);
        let of = self.program.calls[id];
        let state = &mut self.calls[id];
        if std::mem::replace(&mut state.ran, true) {
            return Err(format!("call {id} ran twice"));
        }
        // R10.2, but for OPENs that were brought forward or named, which go when somebody needs them.
        let free = of.kind == Kind::Open && running.inv.depth != state.depth
            || self.program.calls.iter().any(|call| call.arg == Some(id));
        let group = (of.from, of.to, of.on, running.inv.depth);
        let last = self.started.entry(group).or_default();
        if !free && *last > state.made {
            return Err(format!("call {id} started after one that was made later"));
        }
        if !free {
            *last = state.made;
        }
        state.running = Some(running);
        Ok(())
    }

    /// Gives every handle back and looks for leaks.
    fn close(mut self, well: bool) {
        for call in 0..self.calls.len() {
            let (pair, side) = self.of(call);
            if let Key::Open(key) = self.calls[call].key {
                self.pairs[pair].session(side).release(key);
            }
        }
        for mut pair in self.pairs {
            if well {
                pair.finish();
            } else {
                pair.forgive();
            }
        }
    }
}

/// `[uid, cap?, padding]`, so long that it is charged `size` units.
fn payload(id: usize, caps: usize, size: u64) -> Vec<u8> {
    let mut args = vec![0x92 + caps as u8, 0xcd];
    args.extend((id as u16).to_be_bytes());
    if caps > 0 {
        args.extend([0xd4, 1, 0]);
    }
    let rest = (size * UNIT - 64) as usize - args.len() - 3;
    args.push(0xc5);
    args.extend((rest as u16).to_be_bytes());
    args.resize(args.len() + rest, 0);
    args
}

fn uid(args: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([args[2], args[3]]))
}
