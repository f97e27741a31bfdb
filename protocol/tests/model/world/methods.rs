//! How methods end: with a value, a handle, an error, or because they were stopped.

use helve_protocol::frame::CallKind;
use helve_protocol::session::{Cap, IncomingId, Reply};
use helve_protocol::{Code, Fault};

use super::payload::{result, total};
use super::{Handle, Run, World};
use crate::harness::{Side, TestObject};
use crate::shadow::{Given, Shadow};
use crate::steps::mix;

impl World {
    /// The session wants a method stopped: half of them end at once, the others go on.
    pub(super) fn stop(&mut self, side: Side, id: IncomingId) {
        let Some(run) = self.run_of(side, Some(id)) else {
            return;
        };
        if mix(run.uid as u64).is_multiple_of(2) {
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

    /// A method ends.
    pub(super) fn finish(&mut self, side: Side, id: IncomingId, how: u32) {
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
        let fails = how.is_multiple_of(7);
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
            // As a method that is done in place.
            CallKind::Tell if run.running.inv.caps.is_empty() && raw.is_multiple_of(2) => {
                self.pair.session(side).end_tells(&[run.running.id()]);
                drop(run.running);
                self.pair.collect(side);
            }
            CallKind::Tell => self.pair.ret(side, run.running),
            CallKind::Call if !how.is_multiple_of(3) => {
                self.graph.calls[uid].given = Some(Given::Value(Vec::new()));
                self.answer(side, run, how, &[]);
            }
            CallKind::Call => {
                let handles = self.app(side).handles.clone();
                let (cap, shadow) = self.reference(side, target, &handles, raw);
                self.graph.calls[uid].given = Some(Given::Value(vec![shadow]));
                self.answer(side, run, how, &[cap]);
            }
            CallKind::Open => {
                let any = self.swarm.alias;
                let mut handles = self.app(side).handles.clone();
                handles.retain(|h| any || self.graph.object(h.shadow).is_some());
                let opened = run
                    .opened
                    .first()
                    .filter(|_| self.swarm.alias && raw.is_multiple_of(3));
                let (cap, shadow) = match opened {
                    Some((c, shadow)) => (Cap::Opened(*c), *shadow),
                    None => self.reference(side, target, &handles, raw),
                };
                self.counters.aliases += u64::from(self.graph.resolve(shadow).is_none());
                self.graph.calls[uid].given = Some(Given::Value(vec![shadow]));
                self.graph.calls[uid].promise = Some(shadow);
                self.pair.ret_handle(side, run.running, cap);
            }
        }
    }

    /// RET, in one frame or in PARTs.
    fn answer(&mut self, side: Side, run: Run, how: u32, caps: &[Cap<TestObject>]) {
        let large = total(how, self.swarm.large);
        self.graph.calls[run.uid].large_result = large;
        if large == 0 {
            return self.pair.ret_caps(side, run.running, caps);
        }
        let value = result(run.uid, caps.len(), large);
        self.pair
            .respond(side, run.running, Reply::Shared(&value, caps));
    }

    /// One of our objects, or a handle, to be given back.
    fn reference(
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
                let object = if at.is_multiple_of(3) {
                    target
                } else {
                    self.some(side, raw / 6)
                };
                let shadow = Shadow::Object(object.id());
                (Cap::Given(object), shadow)
            }
        }
    }
}
