//! The one task that owns a link: reads batches, starts their calls in place, writes what the session has to say.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use helve_protocol::session::{Event, Invocation, Tells, Time};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep};

use crate::builtin;
use crate::connection::{Conn, Sleep as Next};
use crate::dispatch::{Incoming, Replies, answer_panic};
use crate::node::ObjectRef;
use crate::observe;
use crate::relay;
use crate::spent;
use crate::transport::throttle::Throttle;
use crate::transport::{Close, Link, LinkEnd};

/// Messages that are taken before what they caused is sent.
const MESSAGES_A_TURN: usize = 32;
/// R16: silence after which the peer is pinged, and after which it is dead.
const PING: Duration = Duration::from_secs(20);
/// How long a Close may take, and the acks before it (S10).
const CLOSING: Duration = Duration::from_secs(5);

/// The connection task. Ends when the link or the session does.
pub(crate) struct Driver<L> {
    conn: Arc<Conn>,
    link: L,
    events: VecDeque<Event<ObjectRef>>,
    replies: Option<Box<Replies>>,
    /// Long buffers that are done with, to be freed after the next flush.
    spent: Vec<Bytes>,
    /// The peer asked for an ack that must be flushed before its calls are polled (S4).
    ack_first: bool,
    /// Frames that were sent so far.
    sent: u64,
    /// The peer may soon have to stop for want of an ack.
    owes_ack_soon: bool,
    /// Frames of the last message out; more than one says that callers come in crowds.
    last_out: u32,
    /// What came since the last flush has something to be said to it.
    says: bool,
    /// Other tasks were let run before this flush.
    yielded: bool,
    one_thread: bool,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes, while it stands.
    timed: Option<Waker>,
    heard_at: Instant,
    /// A peer that reads nothing for so long, while there is something for it, is gone.
    stall: Duration,
    /// Since when the link takes nothing, and how much it had taken by then.
    stalled: Option<(Instant, u64)>,
    /// The clock, as last read.
    now: Instant,
    /// The same, as the session counts.
    time: Time,
    /// It was read in this poll.
    fresh: bool,
    pinged: bool,
    phase: Phase,
}

enum Phase {
    Open,
    /// Everything is said; a last ack is waited for, then this Close goes.
    Draining(Close, Instant),
    /// The Close is on its way; the session ended with it.
    Closing,
    /// The link is lost. A Close of ours might still arrive, and would say 1000: that this was on purpose (S10).
    Lost,
}

impl<L: Link> Driver<L> {
    pub(crate) fn new(conn: Arc<Conn>, link: L) -> Driver<L> {
        let now = Instant::now();
        let time = conn.time_at(now);
        Driver {
            conn,
            link,
            events: VecDeque::new(),
            replies: None,
            spent: Vec::new(),
            ack_first: false,
            sent: 0,
            owes_ack_soon: false,
            last_out: 0,
            says: false,
            yielded: false,
            one_thread: Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread,
            timer: Box::pin(tokio::time::sleep_until(now + PING)),
            timed: None,
            heard_at: now,
            stall: Throttle::default().stall,
            stalled: None,
            now,
            time,
            fresh: false,
            pinged: false,
            phase: Phase::Open,
        }
    }

    /// The same with other settings than the default ones.
    pub(crate) fn throttled(mut self, throttle: &Throttle) -> Driver<L> {
        self.stall = throttle.stall;
        self
    }

    /// Reads the clock, once each time the task is polled, and only when something came or a timer ran out: all that
    /// depends on time follows from one of the two, and the clock costs as much as a small call's arguments.
    fn read_clock(&mut self) {
        if !self.fresh {
            self.now = Instant::now();
            self.time = self.conn.time_at(self.now);
            self.fresh = true;
        }
    }

    /// One batch of the peer's.
    fn take(&mut self, message: &Bytes) -> Result<(), Close> {
        self.read_clock();
        let now = self.time;
        let (conn, events) = (&self.conn, &mut self.events);
        let meter = self.link.meter();
        let (bytes_in, bytes_out) = (meter.bytes_in, meter.bytes_out);
        let taken = conn.with_task(|session| {
            session.set_now(now);
            let before = session.received();
            let result = session.receive(message);
            session.take_events(events);
            // Under the lock: who sees the answer of a call sees it counted, too.
            conn.counters.received(session.received() - before);
            conn.counters.carried(bytes_in, bytes_out);
            let leaves = session.told_to_leave();
            result.map(|()| {
                let soon = session.owes_ack_soon();
                let says = session.wants_transmit();
                (session.must_ack_first(), soon, says, leaves)
            })
        });
        match taken {
            Ok((ack_first, soon, says, leaves)) => {
                if let Some(ms) = leaves {
                    self.conn.told_to_leave(Duration::from_millis(ms));
                }
                self.says |= says;
                self.owes_ack_soon = soon;
                self.ack_first |= ack_first && !self.events.is_empty();
                Ok(())
            }
            Err(violation) => {
                tracing::warn!(peer = ?self.conn.peer, %violation, "the peer broke the protocol");
                // S2.3: a gap is the link's fault, not the peer's.
                let code = if violation.rule == "S2.3" {
                    Close::GAP
                } else {
                    Close::VIOLATION
                };
                Err(Close::new(code, violation.reason()))
            }
        }
    }

    /// Starts and stops methods, in order, and hands their replies to the session.
    fn work(&mut self) {
        self.says = true;
        let (conn, events) = (&self.conn, &mut self.events);
        let replies = &mut **self.replies.get_or_insert_default();
        while !events.is_empty() {
            for event in events.drain(..) {
                match event {
                    Event::Start(object, invocation) => start(conn, &object, invocation, replies),
                    Event::Tells(object, tells) => start_run(conn, &object, tells, replies),
                    Event::Stop(id) => conn.stop(id),
                    Event::Stream(object, key) => object.0.local.run_stream(conn, key),
                    Event::Passed(ticket, answer, changed) => {
                        relay::answered(conn, ticket, answer, &changed);
                    }
                    Event::Broke(key, fault) => relay::broke(conn, key, fault),
                    Event::Flows(key) => relay::flows(conn, key),
                    Event::Subscribed(object, key, have) => conn.subscribed(&object, key, have),
                    Event::Room(key) => conn.room(key),
                    Event::Unsubscribed(key) => conn.unsubscribed(key),
                    Event::Update(key, update) => conn.updated(key, update),
                    Event::FollowEnded(key, fault) => conn.follow_ended(key, fault),
                }
            }
            if !replies.done.is_empty() {
                conn.with_task(|session| session.respond_written(&replies.frames, &replies.done));
            }
            if !replies.told.is_empty() {
                // A flood of one-way calls is worked off while it is at hand. Where somebody waits for a reply, that
                // goes out before further calls start.
                conn.with_task(|session| {
                    session.end_tells(&replies.told);
                    if replies.done.is_empty() {
                        session.take_events(events);
                    }
                });
            }
            replies.done.clear();
            replies.told.clear();
            replies.frames.clear();
        }
        if !replies.spent.is_empty() {
            self.spent.append(&mut replies.spent);
        }
    }

    /// Writes what there is, as far as the link takes it. `Pending`: the link is full.
    fn send(&mut self, task: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        let now = self.time;
        let mut more = true;
        while more {
            if self.link.poll_ready(task)?.is_pending() {
                return Poll::Pending;
            }
            let spent = &mut self.spent;
            let next = self.conn.with_task(|session| {
                session.set_now(now);
                let message = session.poll_transmit()?;
                if session.has_spent() {
                    spent.append(&mut session.take_spent());
                }
                Some((message, session.sent(), session.wants_transmit()))
            });
            let Some((message, sent, rest)) = next else {
                break;
            };
            more = rest;
            // What was sealed earlier counts with the first message that goes.
            let frames = sent - std::mem::replace(&mut self.sent, sent);
            self.last_out = u32::try_from(frames).unwrap_or(u32::MAX);
            self.conn.counters.sent(frames);
            self.link.start_send(message)?;
        }
        ready!(self.link.poll_flush(task))?;
        if !self.spent.is_empty() {
            spent::free(std::mem::take(&mut self.spent));
        }
        Poll::Ready(Ok(()))
    }

    /// Whether to let other tasks run first, so that their calls join this batch. It pays only where callers come in
    /// crowds, and only where they share this thread.
    fn yields(&mut self) -> bool {
        let yields = self.one_thread && self.last_out > 1 && !self.yielded;
        self.yielded = yields;
        yields
    }

    fn poll_open(&mut self, task: &mut Context<'_>) -> Poll<End> {
        let mut budget = MESSAGES_A_TURN;
        loop {
            let mut full = false;
            if self.ack_first {
                match self.send(task) {
                    Poll::Ready(Ok(())) => self.ack_first = false,
                    Poll::Ready(Err(end)) => return Poll::Ready(self.broken(end, task)),
                    // Reading goes on: were both ends to wait for room here, neither would make any.
                    Poll::Pending => full = true,
                }
            }
            if !self.ack_first && !self.events.is_empty() {
                self.work();
            }
            // Read until there is nothing more: what it caused goes out in one batch. Also after others were let run:
            // the wake-up of what came meanwhile was this very poll, and there will be no other.
            let (mut taken, mut more) = (false, false);
            while budget > 0 && !more {
                match self.link.poll_recv(task) {
                    Poll::Ready(Ok(message)) => {
                        budget -= 1;
                        taken = true;
                        if let Err(close) = self.take(&message) {
                            return Poll::Ready(End::Violation(close));
                        }
                        if !self.ack_first && !self.events.is_empty() {
                            self.work();
                        }
                        more = self.owes_ack_soon;
                    }
                    Poll::Ready(Err(end)) => return Poll::Ready(End::Link(end)),
                    Poll::Pending => break,
                }
            }
            if self.ack_first && !full {
                continue;
            }
            // Woken by what came, and none of it asks for a word: `sleep` looks once more before it sleeps.
            let mute = taken && !self.says && self.stalled.is_none();
            if !full && !mute {
                if self.yields() {
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match self.send(task) {
                    Poll::Ready(Ok(())) => self.says = false,
                    Poll::Ready(Err(end)) => return Poll::Ready(self.broken(end, task)),
                    Poll::Pending => full = true,
                }
            }
            if budget == 0 {
                // There may be more: let others run first.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if more {
                // Reading was broken off for an ack. Also with a full link it goes on until nothing is there.
                continue;
            }
            if full {
                return self.poll_full(task);
            }
            self.stalled = None;
            self.conn
                .counters
                .carried(self.link.meter().bytes_in, self.link.meter().bytes_out);
            if self.conn.is_unused() {
                return Poll::Ready(End::Done(Close::normal()));
            }
            match self.conn.sleep(task.waker(), self.time, &mut self.events) {
                Next::Awake => {}
                // Nobody waits for the acks of a peer that broke a rule (R17.1).
                Next::Close(close) if close.code() == Close::VIOLATION => {
                    return Poll::Ready(End::Violation(close));
                }
                Next::Close(close) => return Poll::Ready(End::Done(close)),
                Next::Until(alarm) => {
                    let alarm = alarm.map(|at| self.conn.instant_of(at));
                    match self.poll_timer(alarm, task) {
                        // What is due by the clock is not due by the moment that was read before.
                        Poll::Ready(Ok(())) => {
                            self.fresh = false;
                            self.read_clock();
                        }
                        Poll::Ready(Err(end)) => return Poll::Ready(End::Link(end)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// The link takes nothing for now. Only liveness may act, and the bound on how long a peer may read nothing.
    fn poll_full(&mut self, task: &mut Context<'_>) -> Poll<End> {
        let bytes_out = self.link.meter().bytes_out;
        let since = match self.stalled {
            Some((since, at)) if at == bytes_out => since,
            _ => self.now,
        };
        self.stalled = Some((since, bytes_out));
        let until = since + self.stall;
        if self.now >= until {
            return Poll::Ready(End::Link(LinkEnd::Lost {
                kind: std::io::ErrorKind::TimedOut,
                reason: format!("the peer has read nothing for {} s", self.stall.as_secs()),
            }));
        }
        match self.poll_timer(Some(until), task) {
            Poll::Ready(Err(end)) => Poll::Ready(End::Link(end)),
            // A ping was queued, and goes with the next flush; or the time may be up.
            Poll::Ready(Ok(())) => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the session's alarm and for the next step of liveness (R16). Ready when something is due.
    fn poll_timer(
        &mut self,
        alarm: Option<Instant>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), LinkEnd>> {
        if self.link.take_heard() {
            // A pong wakes the task and is no message.
            self.read_clock();
            self.heard_at = self.now;
            self.pinged = false;
        }
        let now = self.now;
        let dead = self.heard_at + 2 * PING;
        if now >= dead {
            return Poll::Ready(Err(LinkEnd::Lost {
                kind: std::io::ErrorKind::TimedOut,
                reason: "the peer has been silent for 40 s".into(),
            }));
        }
        if !self.pinged && now >= self.heard_at + PING {
            self.pinged = true;
            self.link.ping()?;
            return Poll::Ready(Ok(()));
        }
        let live = if self.pinged {
            dead
        } else {
            self.heard_at + PING
        };
        let at = alarm.map_or(live, |alarm| alarm.min(live));
        // A timer that is set too early fires once for nothing; setting it again for every batch would cost more.
        let elapsed = self.timer.is_elapsed();
        if at < self.timer.deadline() || elapsed {
            self.timer.as_mut().reset(at);
        } else if let Some(waker) = &self.timed
            && waker.will_wake(task.waker())
        {
            // It stands, and wakes this task: asking again would only cost.
            return Poll::Pending;
        }
        // Where the budget of this task is used up, by its methods, a timer would be pending and wake nobody.
        let polled = pin!(tokio::task::unconstrained(self.timer.as_mut())).poll(task);
        self.timed = polled.is_pending().then(|| task.waker().clone());
        polled.map(Ok)
    }

    /// A write failed. The peer may have said why before it went: its Close is still to be read.
    fn broken(&mut self, end: LinkEnd, task: &mut Context<'_>) -> End {
        loop {
            match self.link.poll_recv(task) {
                Poll::Ready(Ok(message)) => {
                    if let Err(close) = self.take(&message) {
                        return End::Violation(close);
                    }
                }
                Poll::Ready(Err(end @ LinkEnd::Closed { .. })) => return End::Link(end),
                _ => return End::Link(end),
            }
        }
    }

    /// Ends the session and closes the link.
    fn finish(&mut self, end: End) {
        let lost = matches!(end, End::Link(LinkEnd::Lost { .. }));
        let (code, reason, answer) = match end {
            End::Violation(close) => (close.code(), close.reason().to_owned(), Some(close)),
            End::Done(close) => (close.code(), close.reason().to_owned(), Some(close)),
            End::Link(end) => {
                let code = match &end {
                    LinkEnd::Closed { code, .. } => *code,
                    _ => end.answer().map_or(1006, |close| close.code()),
                };
                (code, end.to_string(), end.answer())
            }
        };
        tracing::debug!(peer = ?self.conn.peer, code, reason, "the session ended");
        self.conn
            .counters
            .carried(self.link.meter().bytes_in, self.link.meter().bytes_out);
        // Answers that came before the end count.
        self.conn.abandon(&mut self.events);
        self.conn.end(code, &reason);
        if let Some(close) = answer {
            self.link.start_close(close);
        }
        let until = Instant::now() + CLOSING;
        self.timer.as_mut().reset(until);
        self.timed = None;
        self.phase = if lost { Phase::Lost } else { Phase::Closing };
    }
}

/// Why the task stops.
enum End {
    Link(LinkEnd),
    Violation(Close),
    Done(Close),
}

impl<L: Link> Future for Driver<L> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        me.fresh = false;
        if me.timer.is_elapsed() {
            me.read_clock();
        }
        loop {
            match &me.phase {
                Phase::Open => match ready!(me.poll_open(task)) {
                    End::Done(close) => me.phase = Phase::Draining(close, Instant::now() + CLOSING),
                    end => me.finish(end),
                },
                Phase::Draining(close, until) => {
                    let (close, until) = (close.clone(), *until);
                    let waker = task.waker();
                    // What was sent is acknowledged, or 5 s have passed (S10).
                    let quiet = me.conn.with_task(|session| session.poll_drained(waker))
                        || Instant::now() >= until;
                    if !quiet {
                        me.timer.as_mut().reset(until);
                        let timed_out = me.timer.as_mut().poll(task).is_ready();
                        match me.poll_open(task) {
                            Poll::Ready(End::Done(_)) => {}
                            Poll::Ready(end) => {
                                me.finish(end);
                                continue;
                            }
                            Poll::Pending if !timed_out => return Poll::Pending,
                            Poll::Pending => {}
                        }
                        if !me.conn.with_task(|session| session.poll_drained(waker)) && !timed_out {
                            return Poll::Pending;
                        }
                    }
                    me.finish(End::Done(close));
                }
                Phase::Closing => {
                    if me.link.poll_close(task).is_ready()
                        || me.timer.as_mut().poll(task).is_ready()
                    {
                        return Poll::Ready(());
                    }
                    return Poll::Pending;
                }
                Phase::Lost => return Poll::Ready(()),
            }
        }
    }
}

/// A driver that is dropped, with its runtime for example, ends its session: nobody waits for ever.
impl<L> Drop for Driver<L> {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Closing | Phase::Lost) {
            self.conn.abandon(&mut self.events);
            self.conn
                .end(1006, "the runtime of the connection was shut down");
        }
        self.conn.unlinked.send_replace(true);
    }
}

/// Starts one-way calls on one object. What one of them leaves behind takes neither the connection nor the others with it.
fn start_run(conn: &Arc<Conn>, object: &ObjectRef, mut tells: Tells, replies: &mut Replies) {
    let (on_root, local) = (tells.are_on_root(), &object.0.local);
    let last = Cell::new(None);
    let mut run = || {
        while let Some(invocation) = tells.next_call() {
            let call = Incoming::new(conn, replies, invocation);
            last.set(Some(call.id()));
            call.observe(object);
            if on_root && builtin::has(call.method()) {
                builtin::serve(object, call);
            } else {
                local.dispatch(call);
            }
        }
    };
    while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut run)) {
        if let Some(id) = last.get() {
            answer_panic(conn, id, &*panic);
        }
    }
}

fn start(
    conn: &Arc<Conn>,
    object: &ObjectRef,
    invocation: Invocation<ObjectRef>,
    replies: &mut Replies,
) {
    observe::start(conn, object, &invocation);
    let on_root = invocation.is_on_root();
    let call = Incoming::new(conn, replies, invocation);
    if on_root && builtin::has(call.method()) {
        return builtin::serve(object, call);
    }
    let (id, served) = (call.id(), || object.0.local.dispatch(call));
    // Nothing that a method leaves behind may take the connection with it.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(served)) {
        answer_panic(conn, id, &*panic);
    }
}
