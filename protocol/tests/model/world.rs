//! Two applications over a pair of sessions, and the shadow graph beside them. After every step the two are compared:
//! a call reaches the object that its pointer points at, once, in order, never one that was revoked; references arrive
//! as what they point at; and in the end every call has one outcome and nothing is held.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;

use helve_protocol::frame::CallKind;
use helve_protocol::session::{
    CallKey, Cap, ImportKey, IncomingId, Outgoing, ReceiptKey, Received, Reply, Settled,
};
use helve_protocol::{Code, Fault, Limits};

use crate::harness::{A, B, Flag, METHOD, Pair, Running, Setup, Side, TestObject};
use crate::shadow::{CallShadow, Given, Graph, Shadow};
use crate::steps::{Step, Swarm, mix};

pub type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($is:expr, $($say:tt)*) => {
        if !$is {
            return Err(format!($($say)*));
        }
    };
}

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

impl Wait {
    fn on_what(&self) -> &dyn std::fmt::Debug {
        &self.on
    }
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

/// How often the rare paths were taken.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    pub executed: u64,
    pub nested: u64,
    pub cancelled_before: u64,
    pub cancelled_running: u64,
    pub ret_crossed: u64,
    pub held: u64,
    pub lent_used: u64,
    pub revoked: u64,
    pub told: u64,
    pub reflected: u64,
    pub identities: u64,
    pub own: u64,
    pub pending_args: u64,
    pub aliases: u64,
    pub waited: u64,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        let pairs: [(&mut u64, u64); 15] = [
            (&mut self.executed, other.executed),
            (&mut self.nested, other.nested),
            (&mut self.cancelled_before, other.cancelled_before),
            (&mut self.cancelled_running, other.cancelled_running),
            (&mut self.ret_crossed, other.ret_crossed),
            (&mut self.held, other.held),
            (&mut self.lent_used, other.lent_used),
            (&mut self.revoked, other.revoked),
            (&mut self.told, other.told),
            (&mut self.reflected, other.reflected),
            (&mut self.identities, other.identities),
            (&mut self.own, other.own),
            (&mut self.pending_args, other.pending_args),
            (&mut self.aliases, other.aliases),
            (&mut self.waited, other.waited),
        ];
        for (sum, n) in pairs {
            *sum += n;
        }
    }

    /// Names of what never happened.
    pub fn missing(&self) -> Vec<String> {
        format!("{self:?}")
            .split([',', '{', '}'])
            .filter(|part| part.trim().ends_with(": 0"))
            .map(|part| part.trim().to_owned())
            .collect()
    }
}

pub struct World {
    pair: Pair,
    swarm: Swarm,
    apps: [App; 2],
    graph: Graph,
    /// Of each group, the number of the last call that started.
    started: HashMap<(Side, ImportKey, u8), usize>,
    pub counters: Counters,
}

/// What a call is made of.
struct Plan {
    by: Side,
    on: Handle,
    kind: CallKind,
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
                .with_nested(swarm.calls),
            running: swarm.running,
            replay: swarm.tight.then_some(TIGHT),
            ..Setup::default()
        };
        let mut world = World {
            pair: Pair::with(&setup),
            swarm: *swarm,
            apps: Default::default(),
            graph: Graph::default(),
            started: HashMap::new(),
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
                    n if on % 2 == 0 => handles[n - 1 - (on / 10) as usize % n.min(2)],
                    n => handles[(on / 10) as usize % n],
                };
                let (caps, lent) = self.choose(by, give, kind, 0, &[]);
                self.call(Plan {
                    by,
                    on,
                    kind: kind_of(kind),
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
                if targets.is_empty() || on % 3 == 0 {
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
            lent,
            free: false,
            cancelled: false,
            executed: false,
            not_run: false,
            given: None,
            promise: None,
        });
        let args = payload(uid, caps.len());
        let out = Outgoing {
            to: on.key,
            method: METHOD,
            args: &args,
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
        Ok(())
    }

    /// A method starts: is it the right one?
    fn begin(&mut self, side: Side, running: Running) -> Check {
        let uid = uid_of(&running.inv.args).ok_or("arguments were mangled")?;
        let call = &mut self.graph.calls[uid];
        ensure!(call.kind == running.inv.kind, "call {uid} changed its kind");
        ensure!(!call.executed, "call {uid} ran twice");
        ensure!(
            !call.not_run,
            "call {uid} ran after its caller was told that it does not"
        );
        call.executed = true;
        let call = call.clone();
        let id = running.object.id();
        ensure!(
            self.graph.hosts[id] == side,
            "call {uid} ran on an object of the other side"
        );
        let points_at = self.graph.resolve(call.on);
        ensure!(
            points_at == Some(Shadow::Object(id)),
            "call {uid} points at {points_at:?} and reached object {id}"
        );
        ensure!(!self.graph.revoked[id], "call {uid} started after revoke()");
        let last = self.started.entry(call.group).or_default();
        ensure!(
            call.free || *last <= uid,
            "call {uid} started after call {last}, which was made later on the same handle"
        );
        *last = (*last).max(if call.free { 0 } else { uid });
        self.counters.executed += 1;
        self.counters.reflected += u64::from(call.by == side);
        self.counters.held += u64::from(Graph::is_promise(call.on));
        ensure!(
            running.inv.caps.len() == call.args.len(),
            "call {uid} lost references on its way"
        );
        let mut run = Run {
            uid,
            running,
            args: Vec::new(),
            opened: Vec::new(),
            opens: Vec::new(),
            need: 0,
        };
        for (cap, shadow) in run.running.inv.caps.iter().zip(&call.args) {
            match self.check_received(side, cap, *shadow, false)? {
                Some(handle) => run.args.push(handle),
                None => {
                    if let Received::Opened(c) = cap {
                        run.opened.push((*c, *shadow));
                    }
                }
            }
        }
        self.app(side).runs.push(run);
        Ok(())
    }

    /// A reference arrived: is it what it points at?
    fn check_received(
        &self,
        side: Side,
        cap: &Received<TestObject>,
        shadow: Shadow,
        result: bool,
    ) -> Check<Option<Handle>> {
        let points_at = self.graph.resolve(shadow);
        match cap {
            Received::Object(object) => {
                ensure!(
                    points_at == Some(Shadow::Object(object.id())),
                    "{shadow:?} points at {points_at:?} and arrived as object {}",
                    object.id()
                );
                ensure!(
                    self.graph.hosts[object.id()] == side,
                    "a foreign object arrived as a local one"
                );
                Ok(None)
            }
            Received::Import { key, lent } => {
                let Some(Shadow::Object(id)) = points_at else {
                    // A reference to nothing was passed on: whoever got it is told so (`check_told`).
                    ensure!(
                        Graph::is_promise(shadow) || shadow == Shadow::Nothing,
                        "{shadow:?} arrived as a handle"
                    );
                    return Ok(Some(Handle {
                        key: *key,
                        shadow: Shadow::Nothing,
                        lent: *lent,
                    }));
                };
                // A pending one that had no name yet arrives as a broken one in a result.
                ensure!(
                    self.graph.hosts[id] != side
                        || result && Graph::is_promise(shadow)
                        || self.graph.was_cancelled(shadow),
                    "object {id} arrived at its host as a proxy"
                );
                Ok(Some(Handle {
                    key: *key,
                    shadow,
                    lent: *lent,
                }))
            }
            Received::Opened(_) => {
                ensure!(
                    Graph::is_promise(shadow),
                    "{shadow:?} arrived as an OPEN without answer"
                );
                Ok(None)
            }
            Received::Broken(fault) => {
                ensure!(
                    self.graph.object(shadow).is_none()
                        || fault.code == Code::Unavailable && Graph::is_promise(shadow)
                        || self.graph.was_cancelled(shadow),
                    "{shadow:?} points at {points_at:?} and arrived broken: {fault:?}"
                );
                ensure!(fault.code != Code::Gone, "{shadow:?} arrived as GONE");
                Ok(None)
            }
        }
    }

    /// The session wants a method stopped: half of them end at once, the others go on.
    fn stop(&mut self, side: Side, id: IncomingId) {
        let Some(run) = self.run_of(side, Some(id)) else {
            return;
        };
        if mix(run.uid as u64) % 2 == 0 {
            self.counters.ret_crossed += 1;
            return;
        }
        self.counters.cancelled_running += 1;
        let waits: Vec<usize> = (0..self.app(side).waits.len())
            .rev()
            .filter(|at| self.app(side).waits[*at].run == Some(id))
            .collect();
        for at in waits {
            self.cancel(side, at);
        }
        if let Some(at) = self
            .app(side)
            .runs
            .iter()
            .position(|run| run.running.id() == id)
        {
            let run = self.app(side).runs.remove(at);
            self.graph.calls[run.uid].given = Some(Given::Fault(Code::Cancelled));
            let fault = Fault::new(Code::Cancelled, "stopped");
            self.pair.respond(side, run.running, Reply::Fault(fault));
        }
    }

    fn cancel(&mut self, side: Side, at: usize) {
        let Wait { uid, on, run, .. } = self.app(side).waits[at];
        match on {
            WaitFor::Call(key) => {
                self.graph.calls[uid].cancelled = true;
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
                    let accepted = wait.uid % 2 == 0;
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
                Ok(Some((_, caps))) => self.returned(side, uid, caps)?,
                Ok(None) => {}
                Err(fault) => self.failed(uid, &fault)?,
            }
        }
        Ok(moved)
    }

    fn returned(&mut self, side: Side, uid: usize, caps: Vec<Received<TestObject>>) -> Check {
        let Some(Given::Value(shadows)) = self.graph.calls[uid].given.clone() else {
            return Err(format!("call {uid} returned what nobody gave"));
        };
        ensure!(
            shadows.len() == caps.len(),
            "call {uid} lost references on its way back"
        );
        for (i, (cap, shadow)) in caps.iter().zip(shadows).enumerate() {
            let handle = self.check_received(side, cap, shadow, true)?;
            if let Some(handle) = handle.filter(|_| mix((uid + i) as u64) % 2 == 0) {
                self.pair.session(side).retain(handle.key);
                self.app(side).handles.push(handle);
            }
        }
        self.pair.session(side).discard(caps);
        Ok(())
    }

    /// A call failed: is there a reason?
    fn failed(&mut self, uid: usize, fault: &Fault) -> Check {
        let call = self.graph.calls[uid].clone();
        let names: Vec<Shadow> = call.args.iter().copied().chain([call.on]).collect();
        let given = match &call.given {
            Some(Given::Value(shadows)) => shadows.clone(),
            _ => Vec::new(),
        };
        let why = match fault.code {
            Code::App => call.given == Some(Given::Fault(Code::App)),
            Code::Broken => {
                names
                    .iter()
                    .any(|s| self.graph.may_be_broken(*s) || self.graph.was_cancelled(*s))
                    || given
                        .iter()
                        .any(|s| self.graph.may_be_broken(*s) || self.graph.was_cancelled(*s))
                    || matches!(call.promise, Some(s) if self.graph.may_be_broken(s))
            }
            Code::Cancelled => call.cancelled || names.iter().any(|s| self.graph.was_cancelled(*s)),
            Code::NotSent => call.cancelled,
            Code::Exhausted => !call.executed,
            Code::Unavailable => names
                .iter()
                .chain(&given)
                .any(|s| Graph::is_promise(*s) || *s == Shadow::Nothing),
            Code::Expired => call.lent && !call.executed,
            _ => false,
        };
        ensure!(why, "call {uid} failed for no reason: {fault:?}, {call:?}");
        let ran = call.executed && call.kind != CallKind::Open && given.is_empty();
        if fault.code.ran() == helve_protocol::error::Ran::No {
            ensure!(!ran, "call {uid} ran and says that it did not: {fault:?}");
            self.graph.calls[uid].not_run = !call.executed;
        }
        if fault.code == Code::Cancelled && !call.executed {
            self.counters.cancelled_before += 1;
        }
        if call.kind == CallKind::Open && (call.promise.is_none() || fault.code != Code::Broken) {
            self.graph.calls[uid].promise = Some(Shadow::Nothing);
        }
        Ok(())
    }

    /// A method ends.
    fn finish(&mut self, side: Side, id: IncomingId, how: u32) {
        let Some(at) = self
            .app(side)
            .runs
            .iter()
            .position(|run| run.running.id() == id)
        else {
            return;
        };
        let run = self.app(side).runs.remove(at);
        let uid = run.uid;
        // Some of what it was given is kept.
        for (i, handle) in run.args.iter().enumerate() {
            if !handle.lent && mix(u64::from(how) + i as u64) % 5 < 2 {
                self.pair.session(side).retain(handle.key);
                self.app(side).handles.push(*handle);
            }
        }
        let raw = how / 8;
        let kind = run.running.inv.kind;
        let fails = how % 7 == 0;
        if fails {
            self.graph.calls[uid].given = Some(Given::Fault(Code::App));
            if kind == CallKind::Open {
                self.graph.calls[uid].promise = Some(Shadow::Nothing);
            }
            let fault = Fault::app("no", vec![0xc0]);
            return self.pair.respond(side, run.running, Reply::Fault(fault));
        }
        let target = run.running.object.clone();
        match kind {
            CallKind::Tell => self.pair.ret(side, run.running),
            CallKind::Call if how % 3 != 0 => {
                self.graph.calls[uid].given = Some(Given::Value(Vec::new()));
                self.pair.ret(side, run.running);
            }
            CallKind::Call => {
                let handles = self.app(side).handles.clone();
                let (cap, shadow) = self.result(side, target, &handles, raw);
                self.graph.calls[uid].given = Some(Given::Value(vec![shadow]));
                self.pair.ret_caps(side, run.running, &[cap]);
            }
            CallKind::Open => {
                let any = self.swarm.alias;
                let mut handles = self.app(side).handles.clone();
                handles.retain(|h| any || self.graph.object(h.shadow).is_some());
                let opened = run
                    .opened
                    .first()
                    .filter(|_| self.swarm.alias && raw % 3 == 0);
                let (cap, shadow) = match opened {
                    Some((c, shadow)) => (Cap::Opened(*c), *shadow),
                    None => self.result(side, target, &handles, raw),
                };
                self.counters.aliases += u64::from(self.graph.resolve(shadow).is_none());
                self.graph.calls[uid].given = Some(Given::Value(vec![shadow]));
                self.graph.calls[uid].promise = Some(shadow);
                self.pair.ret_handle(side, run.running, cap);
            }
        }
    }

    /// One of our objects, or a handle, to be given back.
    fn result(
        &mut self,
        side: Side,
        target: TestObject,
        handles: &[Handle],
        raw: u32,
    ) -> (Cap<TestObject>, Shadow) {
        let at = (raw / 2) as usize;
        match raw % 2 {
            0 if !handles.is_empty() => {
                let handle = handles[at % handles.len()];
                (Cap::Import(handle.key), handle.shadow)
            }
            _ => {
                let object = if at % 3 == 0 {
                    target
                } else {
                    self.some(side, raw / 6)
                };
                let shadow = Shadow::Object(object.id());
                (Cap::Given(object), shadow)
            }
        }
    }

    // ---- the end

    /// Lets everything end, checks identities and who was told of revocations, drops everything, looks for leaks.
    pub fn quiesce(mut self) -> Check<Counters> {
        self.rest()?;
        self.check_identities()?;
        self.check_told()?;
        for side in [A, B] {
            while !self.app(side).handles.is_empty() {
                let at = self.app(side).handles.len() - 1;
                self.drop_handle(side, at);
            }
        }
        self.rest()?;
        for side in [A, B] {
            let sizes = self.pair.session(side).sizes();
            ensure!(sizes.is_empty(), "{side:?} still holds {sizes:?}");
        }
        for (uid, call) in self.graph.calls.iter().enumerate() {
            let must = call.kind == CallKind::Tell && !call.not_run && !call.executed;
            ensure!(
                !must
                    || self.graph.may_be_broken(call.on)
                    || call.lent
                    || call.args.iter().any(|s| Graph::is_promise(*s))
                    || Graph::is_promise(call.on),
                "one-way call {uid} was lost: {call:?}"
            );
        }
        self.apps = Default::default();
        let alive: Vec<usize> = self.pair.nursery.alive();
        ensure!(
            alive == [0, 1],
            "objects that nobody holds are alive: {alive:?}"
        );
        let counters = self.counters;
        self.pair.finish();
        Ok(counters)
    }

    /// Runs until nothing moves.
    fn rest(&mut self) -> Check {
        let mut still = 0;
        for round in 0..5_000u32 {
            let mut moved = false;
            self.sync()?;
            for side in [A, B] {
                let idle: Vec<(IncomingId, usize)> = self
                    .app(side)
                    .runs
                    .iter()
                    .filter(|run| run.need == 0)
                    .map(|run| (run.running.id(), run.uid))
                    .collect();
                for (id, uid) in idle {
                    moved = true;
                    self.finish(side, id, mix(uid as u64) as u32);
                }
            }
            self.sync()?;
            for side in [A, B] {
                moved |= self.pair.transmit(side) > 0;
            }
            for side in [A, B] {
                moved |= self.pair.deliver(side, usize::MAX) > 0;
                if let Some(violation) = self.pair.end(side).violation {
                    return Err(format!("{side:?} found a violation: {violation}"));
                }
            }
            self.sync()?;
            still = if moved { 0 } else { still + 1 };
            self.pair.wait(if moved { 0 } else { 25 });
            if still < 4 {
                continue;
            }
            if self
                .apps
                .iter()
                .all(|app| app.waits.is_empty() && app.runs.is_empty())
            {
                return Ok(());
            }
            // OPENs that wait for each other: deadlines would end them.
            ensure!(
                self.swarm.alias && round < 4_000,
                "nothing moves: {}",
                self.stuck()
            );
            let mut any = false;
            for side in [A, B] {
                for at in 0..self.app(side).waits.len() {
                    let wait = &self.app(side).waits[at];
                    let uid = wait.uid;
                    if matches!(wait.on, WaitFor::Open(_)) && !self.graph.calls[uid].cancelled {
                        any = true;
                        self.cancel(side, at);
                    }
                }
            }
            ensure!(
                any,
                "nothing moves, though every OPEN was cancelled: {}",
                self.stuck()
            );
            still = 0;
        }
        Err("it never ends".into())
    }

    /// Who waits for whom.
    fn stuck(&self) -> String {
        let mut text = String::new();
        for (side, app) in [A, B].iter().zip(&self.apps) {
            for run in &app.runs {
                let (depth, need) = (run.running.inv.depth, run.need);
                text += &format!(
                    "{side:?} runs {} at depth {depth}, which needs {need}; ",
                    run.uid
                );
            }
            for wait in &app.waits {
                let call = &self.graph.calls[wait.uid];
                let run = wait.run.is_some();
                text += &format!(
                    "{side:?} waits for {} ({:?} at {} on {:?}, executed: {}, for a method: {run}): {:?}; ",
                    wait.uid,
                    call.kind,
                    call.group.2,
                    call.on,
                    call.executed,
                    wait.on_what()
                );
            }
        }
        text
    }

    fn check_identities(&mut self) -> Check {
        for side in [A, B] {
            let mut known: Vec<(Settled, usize)> = Vec::new();
            for handle in [self.app(side).handles.clone(), vec![self.root_handle(side)]].concat() {
                let Some(id) = self.graph.object(handle.shadow) else {
                    continue;
                };
                let told = self.pair.closed(side, handle.key);
                if was_nameless(&told) || self.graph.was_cancelled(handle.shadow) {
                    continue;
                }
                let Some(identity) = self.pair.session(side).identity(handle.key) else {
                    if told.is_some() && Graph::is_promise(handle.shadow) {
                        // Its OPEN failed: what it would have led to was revoked.
                        continue;
                    }
                    return Err(format!(
                        "{side:?}: a settled handle to object {id} has no identity"
                    ));
                };
                let own = self.graph.hosts[id] == side;
                ensure!(
                    own == matches!(identity, Settled::Own(_)),
                    "{side:?}: a handle to object {id} is {identity:?}"
                );
                self.counters.own += u64::from(own);
                known.push((identity, id));
            }
            self.counters.identities += known.len() as u64;
            for (a, x) in &known {
                for (b, y) in &known {
                    ensure!(
                        (a == b) == (x == y),
                        "{side:?}: objects {x} and {y} are {a:?} and {b:?}"
                    );
                }
            }
        }
        Ok(())
    }

    /// The network is quiet: whoever holds a revoked object has been told.
    fn check_told(&mut self) -> Check {
        for side in [A, B] {
            for handle in self.app(side).handles.clone() {
                let told = self.pair.closed(side, handle.key);
                if was_nameless(&told) || self.graph.was_cancelled(handle.shadow) {
                    continue;
                }
                let Some(id) = self.graph.object(handle.shadow) else {
                    ensure!(
                        told.is_some() || handle.shadow != Shadow::Nothing,
                        "{side:?}: a handle to nothing, and nobody said so"
                    );
                    continue;
                };
                ensure!(
                    told.is_some() == self.graph.revoked[id],
                    "{side:?}: object {id} is revoked: {}, and its handle says {told:?}",
                    self.graph.revoked[id]
                );
                self.counters.told += u64::from(told.is_some());
            }
        }
        Ok(())
    }
}

/// It was sent in a result before it had a name, and arrived as broken.
fn was_nameless(told: &Option<Fault>) -> bool {
    told.as_ref()
        .is_some_and(|fault| fault.code == Code::Unavailable)
}

fn pick(raw: u32, len: usize) -> Option<usize> {
    (len > 0).then(|| raw as usize % len)
}

fn kind_of(raw: u32) -> CallKind {
    [CallKind::Call, CallKind::Open, CallKind::Tell][raw as usize % 3]
}

/// `[uid, cap, ..]`.
fn payload(uid: usize, caps: usize) -> Vec<u8> {
    let mut args = vec![0x91 + caps as u8, 0xce];
    args.extend((uid as u32).to_be_bytes());
    for i in 0..caps {
        args.extend([0xd4, 1, i as u8]);
    }
    args
}

fn uid_of(args: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(args.get(2..6)?.try_into().ok()?) as usize)
}
