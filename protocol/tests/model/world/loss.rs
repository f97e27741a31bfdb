//! The link ends in the middle of everything: each call has one outcome, and nobody is told a lie.

use std::task::Poll;

use helve_protocol::Code;
use helve_protocol::session::EndCause;

use super::{Check, WaitFor, World};
use crate::counters::Counters;
use crate::harness::{A, B};

impl World {
    /// Ends both sessions, and looks at what their applications are told.
    pub fn lose(mut self) -> Check<Counters> {
        for side in [A, B] {
            self.pair.session(side).end(EndCause {
                close: 1006,
                reason: "lost".into(),
            });
            self.pair.collect(side);
            self.pair.end(side).running.clear();
        }
        for side in [A, B] {
            for mut wait in std::mem::take(&mut self.app(side).waits) {
                let waker = wait.flag.waker();
                let session = self.pair.session(side);
                let outcome = match &mut wait.on {
                    WaitFor::Call(key) => session.poll_call(key, &waker).map_ok(|_| ()),
                    WaitFor::Open(key) => session.poll_settled(*key, &waker),
                    WaitFor::Receipt(key) => session.poll_receipt(key, true, &waker),
                };
                let uid = wait.uid;
                let Poll::Ready(outcome) = outcome else {
                    return Err(format!(
                        "call {uid} has no outcome, and the session is over"
                    ));
                };
                let call = &self.graph.calls[uid];
                let code = outcome.err().map(|fault| fault.code);
                ensure!(
                    code != Some(Code::NotSent) || !call.executed,
                    "call {uid} ran, and its caller is told that it was not sent"
                );
                self.counters.lost_before += u64::from(code == Some(Code::NotSent));
                self.counters.lost_running += u64::from(code == Some(Code::MaybeRan));
            }
            let sizes = self.pair.session(side).sizes();
            ensure!(sizes.is_empty(), "{side:?}, ended, still holds {sizes:?}");
        }
        self.apps = Default::default();
        let counters = self.counters;
        self.pair.finish_broken();
        Ok(counters)
    }
}
