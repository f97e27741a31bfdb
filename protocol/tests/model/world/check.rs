//! The comparison with the shadow graph: what starts, what arrives, what fails, and what is left in the end.

use helve_protocol::frame::CallKind;
use helve_protocol::session::{IncomingId, Received, Settled};
use helve_protocol::{Code, Fault};

use super::{
    Check, Handle, Run, WaitFor, World,
    payload::{arguments, result, uid_of},
};
use crate::counters::Counters;
use crate::harness::{A, B, Running, Side, TestObject};
use crate::shadow::{Given, Graph, Shadow};
use crate::steps::mix;

impl World {
    /// A method starts: is it the right one?
    pub(super) fn begin(&mut self, side: Side, running: Running) -> Check {
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
        ensure!(
            call.large == 0 || *running.inv.args == *arguments(uid, call.args.len(), call.large),
            "the arguments of call {uid} were mangled"
        );
        self.counters.large += u64::from(call.large > 0);
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
    pub(super) fn check_received(
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

    pub(super) fn returned(
        &mut self,
        side: Side,
        uid: usize,
        value: &[u8],
        caps: Vec<Received<TestObject>>,
    ) -> Check {
        let Some(Given::Value(shadows)) = self.graph.calls[uid].given.clone() else {
            return Err(format!("call {uid} returned what nobody gave"));
        };
        ensure!(
            shadows.len() == caps.len(),
            "call {uid} lost references on its way back"
        );
        let large = self.graph.calls[uid].large_result;
        ensure!(
            large == 0 || *value == *result(uid, caps.len(), large),
            "the result of call {uid} was mangled"
        );
        self.counters.large_results += u64::from(large > 0);
        for (i, (cap, shadow)) in caps.iter().zip(shadows).enumerate() {
            let handle = self.check_received(side, cap, shadow, true)?;
            if let Some(handle) = handle.filter(|_| mix((uid + i) as u64).is_multiple_of(2)) {
                self.pair.session(side).retain(handle.key);
                self.app(side).handles.push(handle);
            }
        }
        self.pair.session(side).discard(caps);
        Ok(())
    }

    /// A call failed: is there a reason?
    pub(super) fn failed(&mut self, uid: usize, fault: &Fault) -> Check {
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
    pub(super) fn rest(&mut self) -> Check {
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
    pub(super) fn stuck(&self) -> String {
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
                    wait.uid, call.kind, call.group.2, call.on, call.executed, wait.on
                );
            }
        }
        text
    }

    pub(super) fn check_identities(&mut self) -> Check {
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
    pub(super) fn check_told(&mut self) -> Check {
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
