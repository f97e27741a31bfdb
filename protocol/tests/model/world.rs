//! Two applications over a pair of sessions, and the shadow graph beside them. After every step the two are compared:
//! a call reaches the object that its pointer points at, once, in order, never one that was revoked; references arrive
//! as what they point at; and in the end every call has one outcome and nothing is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use helve_protocol::Limits;
use helve_protocol::frame::CallKind;
use helve_protocol::session::{CallKey, Cap, ImportKey, IncomingId, Outgoing, ReceiptKey};

use crate::counters::Counters;
use crate::harness::{A, B, Flag, METHOD, Pair, Running, Setup, Side, TestObject};
use crate::shadow::{CallShadow, Graph, Shadow};
use crate::steps::{Step, Swarm, mix};
use payload::{arguments, total};

pub type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($is:expr, $($say:tt)*) => {
        if !$is {
            return Err(format!($($say)*));
        }
    };
}

mod check;
mod loss;
mod methods;
mod payload;

/// A local reference of an application.
#[derive(Clone, Copy, Debug)]
struct Handle {
    key: ImportKey,
    shadow: Shadow,
    lent: bool,
}

/// An answer that an application waits for.
struct Wait {
    uid: usize,
    on: WaitFor,
    flag: Arc<Flag>,
    /// The running method that waits.
    run: Option<IncomingId>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum WaitFor {
    Call(CallKey),
    Open(ImportKey),
    Receipt(ReceiptKey),
}

/// A running method.
struct Run {
    uid: usize,
    running: Running,
    args: Vec<Handle>,
    opened: Vec<(u64, Shadow)>,
    opens: Vec<Handle>,
    /// Answers that it waits for before it ends.
    need: usize,
}

/// One application.
#[derive(Default)]
struct App {
    objects: Vec<TestObject>,
    handles: Vec<Handle>,
    waits: Vec<Wait>,
    runs: Vec<Run>,
}

pub struct World {
    pair: Pair,
    swarm: Swarm,
    apps: [App; 2],
    graph: Graph,
    /// Of each group, the number of the last call that started.
    started: BTreeMap<(Side, ImportKey, u8), usize>,
    pub counters: Counters,
}

/// What a call is made of.
struct Plan {
    by: Side,
    on: Handle,
    kind: CallKind,
    large: usize,
    caps: Vec<(Cap<TestObject>, Shadow)>,
    lent: bool,
    depth: u8,
    run: Option<IncomingId>,
}

/// Room in the replay buffer of a tight schedule: one frame of any length, and little more.
const TIGHT: usize = 65_536 + 40_960 + 100;

impl World {
    pub fn new(swarm: &Swarm) -> World {
        let setup = Setup {
            limits: Limits::default()
                .with_calls(swarm.calls)
                .with_nested(swarm.calls)
                .with_transfers(swarm.transfers),
            running: swarm.running,
            replay: swarm.tight.then_some(TIGHT),
            ..Setup::default()
        };
        let mut world = World {
            pair: Pair::with(&setup),
            swarm: *swarm,
            apps: Default::default(),
            graph: Graph::default(),
            started: BTreeMap::new(),
            counters: Counters::default(),
        };
        // One that fails says why itself; one that does not ends in `quiesce`.
        world.pair.forgive();
        world.graph.hosts = vec![A, B];
        world.graph.revoked = vec![false, false];
        world
    }

    fn app(&mut self, side: Side) -> &mut App {
        &mut self.apps[side as usize]
    }

    /// One of a side's objects, often one that was used before.
    fn some(&mut self, side: Side, raw: u32) -> TestObject {
        if self.app(side).objects.len() < 2 || raw.is_multiple_of(5) {
            let object = self.pair.object();
            self.graph.hosts.push(side);
            self.graph.revoked.push(false);
            self.app(side).objects.push(object);
        }
        let objects = &self.app(side).objects;
        let recent = &objects[objects.len().saturating_sub(4)..];
        recent[(raw / 5) as usize % recent.len()].clone()
    }

    fn root_handle(&mut self, side: Side) -> Handle {
        let id = side.other() as usize;
        Handle {
            key: self.pair.root(side),
            shadow: Shadow::Object(id),
            lent: false,
        }
    }

    pub fn step(&mut self, step: &Step) -> Check {
        match *step {
            Step::Call { by, on, kind, give } => {
                let handles = self.app(by).handles.clone();
                let on = match handles.len() {
                    0 => self.root_handle(by),
                    _ if on.is_multiple_of(5) => self.root_handle(by),
                    n if on.is_multiple_of(2) => handles[n - 1 - (on / 10) as usize % n.min(2)],
                    n => handles[(on / 10) as usize % n],
                };
                let (caps, lent) = self.choose(by, give, kind, 0, &[]);
                self.call(Plan {
                    by,
                    on,
                    kind: kind_of(kind),
                    large: total(give, self.swarm.large),
                    caps,
                    lent,
                    depth: 0,
                    run: None,
                })?;
            }
            Step::Nested {
                by,
                run,
                on,
                kind,
                give,
            } => {
                let Some(at) = pick(run, self.app(by).runs.len()) else {
                    return Ok(());
                };
                let root = self.root_handle(by);
                let run = &self.app(by).runs[at];
                let (id, depth) = (run.running.id(), run.running.inv.depth + 1);
                let mut targets: Vec<Handle> =
                    run.args.iter().filter(|h| h.lent).copied().collect();
                if targets.is_empty() || on.is_multiple_of(3) {
                    targets = [run.args.as_slice(), &run.opens, &[root]].concat();
                }
                let args = run.args.clone();
                let on = targets[(on / 3) as usize % targets.len()];
                let (caps, lent) = self.choose(by, give, kind, depth, &args);
                self.counters.nested += 1;
                self.counters.lent_used += u64::from(on.lent);
                self.call(Plan {
                    by,
                    on,
                    kind: kind_of(kind),
                    large: total(give, self.swarm.large),
                    caps,
                    lent: lent || on.lent,
                    depth,
                    run: Some(id),
                })?;
            }
            Step::Cancel { by, which } => {
                let Some(at) = pick(which, self.app(by).waits.len()) else {
                    return Ok(());
                };
                self.cancel(by, at);
            }
            Step::Finish { by, run, how } => {
                let idle: Vec<IncomingId> = self
                    .app(by)
                    .runs
                    .iter()
                    .filter(|run| run.need == 0)
                    .map(|run| run.running.id())
                    .collect();
                if let Some(at) = pick(run, idle.len()) {
                    self.finish(by, idle[at], how);
                }
            }
            Step::Drop { by, which } => {
                if let Some(at) = pick(which, self.app(by).handles.len()) {
                    self.drop_handle(by, at);
                }
            }
            Step::Revoke { by, which } => {
                if let Some(at) = pick(which, self.app(by).objects.len()) {
                    let object = self.app(by).objects[at].clone();
                    self.graph.revoked[object.id()] = true;
                    self.counters.revoked += 1;
                    self.pair.revoke(by, &object);
                }
            }
            Step::Send { by } => _ = self.pair.transmit(by),
            Step::SendFew { by, n } => _ = self.pair.transmit_few(by, n as usize),
            Step::Deliver { to, n } => {
                self.pair.deliver(to, n as usize);
                if let Some(violation) = self.pair.end(to).violation {
                    return Err(format!("{to:?} found a violation: {violation}"));
                }
            }
            Step::Wait { ms } => self.pair.wait(u64::from(ms)),
        }
        self.sync()
    }

    /// Arguments: often none, else one or two of our objects, given or lent, or handles.
    fn choose(
        &mut self,
        by: Side,
        give: u32,
        kind: u32,
        depth: u8,
        more: &[Handle],
    ) -> (Vec<(Cap<TestObject>, Shadow)>, bool) {
        let mut caps = Vec::new();
        let mut lent = false;
        let lends = kind_of(kind) != CallKind::Tell && give % 16 >= 8;
        let n = [0, 0, 1, 1, 1, 2][(give / 16) as usize % 6];
        for i in 0..n {
            let raw = mix(u64::from(give) << 8 | i) as u32;
            let mut handles = [self.app(by).handles.as_slice(), more].concat();
            if depth > 0 && self.swarm.calls < 99 {
                // OPENs brought forward (R13.14) take the permits of the deeper call, and wait with their targets: a
                // small grant could then run out while they do.
                handles.retain(|h| self.graph.resolve(h.shadow).is_some());
            }
            let at = (raw / 8) as usize % (handles.len() + 3);
            if let Some(handle) = handles.get(at) {
                self.counters.pending_args +=
                    u64::from(self.graph.resolve(handle.shadow).is_none());
                lent |= handle.lent;
                caps.push((Cap::Import(handle.key), handle.shadow));
                continue;
            }
            let object = if at == handles.len() {
                self.pair.end(by).root.clone()
            } else {
                self.some(by, raw / 8)
            };
            let shadow = Shadow::Object(object.id());
            let cap = if lends {
                Cap::Lent(object)
            } else {
                Cap::Given(object)
            };
            caps.push((cap, shadow));
        }
        (caps, lent)
    }

    fn call(&mut self, plan: Plan) -> Check {
        let Plan {
            by,
            on,
            kind,
            large,
            caps,
            lent,
            depth,
            run,
        } = plan;
        let uid = self.graph.calls.len();
        let (caps, args): (Vec<_>, Vec<_>) = caps.into_iter().unzip();
        if depth > 0 {
            // An OPEN that waits for its permit goes under the grant of a deeper call that names it.
            for shadow in args.iter().chain([&on.shadow]) {
                self.brought_forward(*shadow);
            }
        }
        self.graph.calls.push(CallShadow {
            by,
            kind,
            on: on.shadow,
            group: (by, on.key, depth),
            args,
            large,
            large_result: 0,
            lent,
            free: false,
            cancelled: false,
            executed: false,
            not_run: false,
            given: None,
            promise: None,
        });
        let args = arguments(uid, caps.len(), large);
        let out = Outgoing {
            to: on.key,
            method: METHOD,
            args: (&args).into(),
            caps: &caps,
            deadline: None,
            depth,
            chain: None,
            trace: "",
        };
        let session = self.pair.session(by);
        let taken = match kind {
            CallKind::Call => session.call(&out, None).map(WaitFor::Call),
            CallKind::Open => session.open(&out).map(WaitFor::Open),
            CallKind::Tell => session.tell(&out).map(WaitFor::Receipt),
        };
        let on = match taken {
            Ok(on) => on,
            Err(fault) => return self.failed(uid, &fault),
        };
        self.counters.waited += u64::from(matches!(
            on,
            WaitFor::Call(CallKey::Waiting(_)) | WaitFor::Receipt(ReceiptKey::Waiting(_))
        ));
        let mut needs = kind == CallKind::Call;
        if let WaitFor::Open(key) = on {
            let handle = Handle {
                key,
                shadow: Shadow::Promise(uid),
                lent: false,
            };
            self.app(by).handles.push(handle);
            if let Some(run) = self.run_of(by, run) {
                run.opens.push(handle);
            }
            // With results that are not settled, an OPEN may wait for whoever made it.
            needs = !self.swarm.alias;
        }
        let run = run.filter(|_| needs);
        if let Some(run) = self.run_of(by, run) {
            run.need += 1;
        }
        let flag = Flag::new();
        flag.waker().wake();
        self.app(by).waits.push(Wait { uid, on, flag, run });
        Ok(())
    }

    fn brought_forward(&mut self, shadow: Shadow) {
        let Shadow::Promise(uid) = shadow else { return };
        let call = &mut self.graph.calls[uid];
        if call.free || call.executed {
            return;
        }
        call.free = true;
        for shadow in [call.args.clone(), vec![call.on]].concat() {
            self.brought_forward(shadow);
        }
    }

    fn run_of(&mut self, side: Side, id: Option<IncomingId>) -> Option<&mut Run> {
        let id = id?;
        self.app(side)
            .runs
            .iter_mut()
            .find(|run| run.running.id() == id)
    }

    /// Handles what the sessions want done, until nothing is left.
    fn sync(&mut self) -> Check {
        let mut moved = true;
        while moved {
            moved = false;
            for side in [A, B] {
                self.pair.collect(side);
                for running in std::mem::take(&mut self.pair.end(side).running) {
                    moved = true;
                    self.begin(side, running)?;
                }
                for id in std::mem::take(&mut self.pair.end(side).stops) {
                    moved = true;
                    self.stop(side, id);
                }
                moved |= self.poll(side)?;
            }
        }
        for side in [A, B] {
            // Nobody looks at them, and memory that is used again is fast.
            self.pair.end(side).sent.clear();
            drop(self.pair.session(side).take_spent());
        }
        Ok(())
    }

    fn cancel(&mut self, side: Side, at: usize) {
        let Wait { uid, on, run, .. } = self.app(side).waits[at];
        match on {
            WaitFor::Call(key) => {
                let call = &mut self.graph.calls[uid];
                call.cancelled = true;
                self.counters.large_cancelled += u64::from(call.large > 0 && !call.executed);
                self.counters.given_up += u64::from(call.large_result > 0);
                self.app(side).waits.remove(at);
                if let Some(run) = self.run_of(side, run) {
                    run.need -= 1;
                }
                self.pair.session(side).cancel(key);
            }
            WaitFor::Open(key) => {
                self.graph.calls[uid].cancelled = true;
                self.pair.session(side).cancel_open(key);
            }
            WaitFor::Receipt(key) => {
                self.app(side).waits.remove(at);
                self.pair.session(side).forget_receipt(key);
            }
        }
    }

    fn drop_handle(&mut self, side: Side, at: usize) {
        let handle = self.app(side).handles.remove(at);
        let mine = |wait: &Wait| {
            wait.on == WaitFor::Open(handle.key) && handle.shadow == Shadow::Promise(wait.uid)
        };
        if let Some(at) = self.app(side).waits.iter().position(mine) {
            let wait = self.app(side).waits.remove(at);
            if let Some(run) = self.run_of(side, wait.run) {
                run.need -= 1;
            }
            // An OPEN that waits for another cannot be cancelled any more once its handle is gone.
            self.graph.calls[wait.uid].cancelled = true;
            if self.swarm.alias {
                self.pair.session(side).cancel_open(handle.key);
            }
        }
        for run in &mut self.app(side).runs {
            run.opens
                .retain(|h| h.shadow != handle.shadow || h.key != handle.key);
        }
        self.pair.session(side).release(handle.key);
    }

    /// Polls whatever was woken.
    fn poll(&mut self, side: Side) -> Check<bool> {
        let mut moved = false;
        let mut at = 0;
        while at < self.app(side).waits.len() {
            let wait = &mut self.apps[side as usize].waits[at];
            if !wait.flag.take() {
                at += 1;
                continue;
            }
            let waker = wait.flag.waker();
            let session = self.pair.session(side);
            let outcome = match &mut wait.on {
                WaitFor::Call(key) => session.poll_call(key, &waker).map(|a| a.map(Some)),
                WaitFor::Open(key) => session.poll_settled(*key, &waker).map_ok(|()| None),
                WaitFor::Receipt(key) => {
                    let accepted = wait.uid.is_multiple_of(2);
                    session
                        .poll_receipt(key, accepted, &waker)
                        .map_ok(|()| None)
                }
            };
            let Poll::Ready(outcome) = outcome else {
                at += 1;
                continue;
            };
            moved = true;
            let Wait { uid, run, .. } = self.app(side).waits.remove(at);
            if let Some(run) = self.run_of(side, run) {
                run.need -= 1;
            }
            match outcome {
                Ok(Some((value, caps))) => self.returned(side, uid, &value, caps)?,
                Ok(None) => {}
                Err(fault) => self.failed(uid, &fault)?,
            }
        }
        Ok(moved)
    }

    // ---- the end
}

fn pick(raw: u32, len: usize) -> Option<usize> {
    (len > 0).then(|| raw as usize % len)
}

fn kind_of(raw: u32) -> CallKind {
    [CallKind::Call, CallKind::Open, CallKind::Tell][raw as usize % 3]
}
