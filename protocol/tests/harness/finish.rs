//! The end of a test: everything is given back, and nothing may be left.

use std::task::Waker;

use helve_protocol::session::{EndCause, Reply};
use helve_protocol::{Code, Fault};

use super::{A, B, End, Pair, Shared};

impl Pair {
    /// Gives back all that the test holds, lets everything end, and asserts that nothing is left: no entry in any
    /// table of either side, and every object dropped once.
    #[track_caller]
    pub fn finish(mut self) {
        self.finished = true;
        for round in 0.. {
            for side in [A, B] {
                let end = self.end(side);
                for (_, key) in std::mem::take(&mut end.calls) {
                    end.session.cancel(key);
                }
                for key in std::mem::take(&mut end.receipts) {
                    end.session.forget_receipt(key);
                }
                for key in std::mem::take(&mut end.held) {
                    end.session.release(key);
                }
                for c in std::mem::take(&mut end.held_opened) {
                    end.session.release_opened(c);
                }
                end.stops.clear();
                end.streams.clear();
                end.drop_shared();
                while !self.nothing_runs(side) {
                    let running = self.started(side);
                    let fault = Fault::new(Code::Cancelled, "the test is over");
                    self.respond(side, running, Reply::Fault(fault));
                }
            }
            self.settle();
            if [A, B].iter().all(|side| self.nothing_runs(*side)) || round == 100 {
                break;
            }
        }
        for side in [A, B] {
            let sizes = self.session(side).sizes();
            assert!(sizes.is_empty(), "{side:?} still holds {sizes:?}");
        }
        self.end_sessions();
    }

    /// For tests that end the session themselves, or provoke a violation.
    #[track_caller]
    pub fn finish_broken(mut self) {
        self.finished = true;
        self.end_sessions();
    }

    /// A test that failed already says so itself.
    pub fn forgive(&mut self) {
        self.finished = true;
    }

    #[track_caller]
    fn end_sessions(mut self) {
        for side in [A, B] {
            self.session(side).end(EndCause {
                close: 1000,
                reason: "over".into(),
            });
            self.end(side).running.clear();
            self.collect(side);
            self.end(side).running.clear();
            self.end(side).streams.clear();
            self.end(side).drop_shared();
            let end = self.end(side);
            for (_, mut key) in std::mem::take(&mut end.calls) {
                let outcome = end.session.poll_call(&mut key, Waker::noop());
                assert!(outcome.is_ready(), "{key:?} has no outcome");
            }
            for key in std::mem::take(&mut end.receipts) {
                end.session.forget_receipt(key);
            }
            // What came of a stream may be read after the end, until it is released.
            for key in std::mem::take(&mut end.held) {
                end.session.release(key);
            }
            self.collect(side);
            let sizes = self.session(side).sizes();
            assert!(sizes.is_empty(), "{side:?}, ended, still holds {sizes:?}");
        }
        let Pair { nursery, .. } = &mut self;
        let drops = nursery.ledger();
        drop(self);
        for (id, n) in drops.borrow().iter().enumerate() {
            assert_eq!(*n, 1, "object {id} was dropped {n} times");
        }
    }
}

impl End {
    /// Gives back what came of shared values and was not looked at.
    fn drop_shared(&mut self) {
        for shared in std::mem::take(&mut self.shared) {
            if let Shared::Update(_, update) = shared {
                self.session.discard(update.caps);
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.finished && !std::thread::panicking() {
            panic!("a test must end with `finish()`, which looks for leaks");
        }
    }
}
