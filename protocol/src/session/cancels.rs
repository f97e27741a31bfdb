//! CANCEL from the peer (R21), and how often it may come: a peer that starts calls only to cancel them makes this side work
//! for nothing, within every grant. Above a rate its calls are slowed, never refused. Used by `incoming` and the module itself.

use super::incoming::{IncomingId, Place, cancelled};
use super::runs::Queued;
use super::tables::Outcome;
use super::transfer::Of;
use super::{Event, Invocation, Object, Reply, Session, Time};

/// A bucket of cancelled calls: `burst` of them at once, then one more each `step`. In moments instead of tokens, so that
/// it needs no refilling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancels {
    /// Microseconds.
    step: u64,
    burst: u64,
    /// When all of the burst is there again.
    whole: Time,
    /// Until then no call is started: more was taken than there was.
    opens: Time,
    /// Calls that waited for it, ever.
    pub slowed: u64,
}

impl Cancels {
    /// `rate` a second, and `burst` at once; 0 counts as 1.
    pub(super) fn new(rate: u32, burst: u32) -> Cancels {
        let step = 1_000_000 / u64::from(rate.max(1));
        Cancels {
            step,
            burst: u64::from(burst.max(1)) * step,
            whole: Time(0),
            opens: Time(0),
            slowed: 0,
        }
    }

    /// One more. Only a call that had `started` may take more than there is, so that what runs bounds how long the peer
    /// has to wait: an honest one may cancel thousands whose answers are on their way.
    fn count(&mut self, now: Time, started: bool) {
        let whole = self.whole.max(now).0.saturating_add(self.step);
        if started || whole <= now.0.saturating_add(self.burst) {
            self.whole = Time(whole);
            self.opens = Time(whole.saturating_sub(self.burst));
        }
    }
}

impl<O: Object> Session<O> {
    /// Whether the peer cancelled so many calls that its next ones wait (R21.7).
    #[inline]
    pub(super) fn is_slowed(&self) -> bool {
        self.now < self.cancels.opens
    }

    /// When it no longer is, if a call waits for that.
    #[inline]
    pub(super) fn slowed_until(&self) -> Option<Time> {
        let waits = self.is_slowed() && !(self.queued.is_empty() && self.slowed.is_empty());
        waits.then_some(self.cancels.opens)
    }

    /// Calls of the peer that waited because it had cancelled too many.
    pub fn calls_slowed(&self) -> u64 {
        self.cancels.slowed
    }

    /// A call that comes meanwhile. Deeper ones wait too, apart from the running slots: time passes whatever waits for
    /// whom, so nothing can lock.
    #[cold]
    pub(super) fn slow(&mut self, o: O, invocation: Invocation<O>) {
        self.cancels.slowed += 1;
        self.set_place(invocation.id, Place::Queued);
        if invocation.depth == 0 {
            self.enqueue(o, invocation);
        } else {
            self.slowed.push_back((o, invocation));
        }
    }

    /// Time passed. Starts what waited for that.
    pub(super) fn pass_time(&mut self, now: Time) {
        let was_slowed = self.is_slowed();
        self.now = self.now.max(now);
        if self.subscribers.check().is_some_and(|at| at <= self.now) {
            self.end_stalled();
        }
        if was_slowed && !self.is_slowed() {
            for (o, invocation) in std::mem::take(&mut self.slowed) {
                self.start_now(o, invocation);
            }
            self.start_queued();
        }
    }

    /// CANCEL (R21): what has not started is taken out and answered; a running method is stopped by the driver.
    pub(super) fn on_cancel(&mut self, id: u64) {
        let id = IncomingId::call(id);
        let Some(call) = self.in_call(id) else {
            self.cancels.count(self.now, false);
            // Its result may still be on its way.
            self.abort_transfer(Of::Ret(id.number()));
            return;
        };
        let again = std::mem::replace(&mut call.cancelled, true);
        let place = call.place;
        let started = !again && matches!(place, Place::Running | Place::Forwarded);
        self.cancels.count(self.now, started);
        match place {
            Place::Running | Place::Forwarded => self.events.push_back(Event::Stop(id)),
            Place::Incomplete => self.take_held(id),
            Place::Relayed(key) => self.cancel_relayed(key),
            Place::Settling(import) => {
                self.respond(id, Reply::Fault(cancelled()));
                if let Some(key) = import {
                    self.release(key);
                }
            }
            Place::Flushing => {
                self.forget_flush(id);
                self.respond(id, Reply::Fault(cancelled()));
            }
            Place::Held(c) => {
                let queue = match self.opened.get_mut(c).map(|opened| &mut opened.outcome) {
                    Some(Outcome::Pending(queue)) => queue,
                    _ => return,
                };
                if let Some(invocation) = queue
                    .iter()
                    .position(|i| i.id == id)
                    .and_then(|i| queue.remove(i))
                {
                    self.refuse(invocation, cancelled());
                }
            }
            Place::Queued => {
                let queued = self.queued.iter().position(|queued| queued.is(id));
                let slowed = self.slowed.iter().position(|(_, i)| i.id == id);
                let found = match queued.and_then(|at| self.queued.remove(at)) {
                    Some(Queued::One(o, invocation)) => Some((o, invocation)),
                    _ => slowed.and_then(|at| self.slowed.remove(at)),
                };
                if let Some((o, invocation)) = found {
                    self.garbage.push(o);
                    self.refuse(invocation, cancelled());
                }
            }
        }
    }
}
