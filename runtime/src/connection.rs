//! What is shared by all who use one connection: the session under its lock, and whoever drives the link.
//!
//! Nothing under the lock runs user code: values are encoded before, wakers are called and objects dropped after.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use helve_protocol::session::{EndCause, Event, ImportKey, Role, Session, Time};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::byref::Kept;
use crate::node::{Node, ObjectRef};
use crate::observe::{Interface, Spans};
use crate::peer::Peer;
use crate::relay::{self, Relays};
use crate::running::Running;
use crate::shared::Follows;
use crate::stats::{Counters, State};
use crate::transport::Close;

/// The longest time that DRAIN tells: a day.
const DRAIN_MS: u64 = 86_400_000;

/// One connection: everything but the link itself.
pub(crate) struct Conn {
    core: Mutex<Core>,
    pub(crate) node: Arc<Node>,
    pub(crate) peer: Peer,
    pub(crate) role: Role,
    pub(crate) counters: Counters,
    start: Instant,
    /// References to the peer's objects, and `Connection`s. A client that has none left closes.
    users: AtomicUsize,
    /// Methods of ours that wait, by the call that they answer.
    pub(crate) running: Running,
    /// Spans of the calls that are answered here, where somebody looks.
    pub(crate) spans: Spans,
    /// What this connection is to other sessions.
    pub(crate) relays: Relays,
    /// Shared values, ours that the peer follows and the peer's that we follow.
    pub(crate) follows: Follows,
    /// The peer's values that it passes as `&mut`.
    pub(crate) kept: Kept,
    pub(crate) state: watch::Sender<State>,
    /// The link is gone too: the last Close was heard, or given up.
    pub(crate) unlinked: watch::Sender<bool>,
}

/// What stands under the lock.
struct Core {
    session: Session<ObjectRef>,
    /// The connection task, while it sleeps.
    sleeper: Option<Waker>,
    /// When the connection task wakes by itself.
    alarm: Option<Time>,
    /// Say this and go.
    closing: Option<Close>,
}

impl Conn {
    pub(crate) fn new(
        session: Session<ObjectRef>,
        role: Role,
        node: Arc<Node>,
        peer: Peer,
    ) -> Arc<Conn> {
        let conn = Arc::new(Conn {
            core: Mutex::new(Core {
                session,
                sleeper: None,
                alarm: None,
                closing: None,
            }),
            node: node.clone(),
            peer,
            role,
            counters: Counters::default(),
            start: Instant::now(),
            users: AtomicUsize::new(0),
            running: Running::default(),
            spans: Spans::default(),
            relays: Relays::default(),
            follows: Follows::default(),
            kept: Kept::default(),
            state: watch::Sender::new(State::Connected),
            unlinked: watch::Sender::new(false),
        });
        node.add_session(&conn);
        conn
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on the session. Afterwards, unlocked: tasks are woken, the connection task too if there is something
    /// for it, and objects that nobody holds any more are dropped.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Session<ObjectRef>) -> R) -> R {
        let mut core = self.lock();
        let result = f(&mut core.session);
        let sleeper = if core.sleeper.is_some() && core.needs_the_task() {
            core.sleeper.take()
        } else {
            None
        };
        tie(core);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        result
    }

    /// As [`with`](Self::with), for the connection task, which needs no waking.
    pub(crate) fn with_task<R>(&self, f: impl FnOnce(&mut Session<ObjectRef>) -> R) -> R {
        let mut core = self.lock();
        core.sleeper = None;
        let result = f(&mut core.session);
        tie(core);
        result
    }

    /// Puts the connection task to sleep if there is nothing for it; in the same lock that saw so.
    /// What came meanwhile goes into `events`.
    pub(crate) fn sleep(
        &self,
        waker: &Waker,
        now: Time,
        events: &mut VecDeque<Event<ObjectRef>>,
    ) -> Sleep {
        let mut core = self.lock();
        core.session.set_now(now);
        if let Some(close) = core.closing.take() {
            return Sleep::Close(close);
        }
        if core.session.has_events() {
            core.session.take_events(events);
            return Sleep::Awake;
        }
        if core.session.is_drained() {
            return Sleep::Close(Close::new(
                Close::DRAINED,
                "the peer was shut down".to_owned(),
            ));
        }
        if core.session.wants_transmit() {
            return Sleep::Awake;
        }
        // The last user may have gone since the task looked, and found no sleeper to wake.
        let unused = self.role == Role::Client && self.users.load(Ordering::Acquire) == 0;
        if unused && core.holds_nothing() {
            return Sleep::Awake;
        }
        core.alarm = core.session.timeout();
        match &mut core.sleeper {
            Some(sleeper) => sleeper.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Sleep::Until(core.alarm)
    }

    /// Tells the peer that this side leaves within `grace` (S9); the connection closes when what runs has ended.
    pub(crate) fn drain(&self, grace: Duration) {
        let ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.with(|session| session.drain(ms.min(DRAIN_MS)));
    }

    /// The peer is about to leave.
    pub(crate) fn told_to_leave(&self, grace: Duration) {
        self.state.send_if_modified(|state| {
            let told = *state == State::Connected;
            if told {
                *state = State::Draining { grace };
            }
            told
        });
    }

    /// Asks the connection task to close.
    pub(crate) fn close(&self, close: Close) {
        let mut core = self.lock();
        core.closing.get_or_insert(close);
        let sleeper = core.sleeper.take();
        drop(core);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    pub(crate) fn time_at(&self, at: Instant) -> Time {
        let since = at.saturating_duration_since(self.start);
        Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn now(&self) -> Time {
        self.time_at(Instant::now())
    }

    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        self.start + std::time::Duration::from_micros(time.0)
    }

    /// One more user of this connection. A client closes after the last one has gone.
    pub(crate) fn add_user(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn drop_user(&self) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 && self.role == Role::Client {
            self.wake();
        }
    }

    fn wake(&self) {
        let sleeper = self.lock().sleeper.take();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Whether nobody here uses the peer any more, and the peer nothing of ours.
    pub(crate) fn is_unused(&self) -> bool {
        if self.role != Role::Client || self.users.load(Ordering::Acquire) > 0 {
            return false;
        }
        self.lock().holds_nothing()
    }

    /// Ends the session (R17) and says so to all who wait.
    pub(crate) fn end(self: &Arc<Self>, code: u16, reason: &str) {
        let cause = EndCause {
            close: code,
            reason: reason.into(),
        };
        let mut events = VecDeque::new();
        let spent = self.with_task(|session| {
            session.end(cause);
            session.take_events(&mut events);
            session.take_spent()
        });
        crate::spent::free(spent);
        self.abandon(&mut events);
        self.stop_all();
        self.kept.limit(0);
        self.state.send_replace(State::Lost {
            code,
            reason: reason.to_owned(),
        });
    }
}

impl Conn {
    /// Deals with what is left to do when the session is over: only other sessions still have to hear.
    pub(crate) fn abandon(self: &Arc<Self>, events: &mut VecDeque<Event<ObjectRef>>) {
        for event in events.drain(..) {
            match event {
                Event::Passed(ticket, answer, changed) => {
                    relay::answered(self, ticket, answer, &changed);
                }
                Event::Broke(key, fault) => relay::broke(self, key, fault),
                // What came may still be read.
                Event::Flows(key) => relay::flows(self, key),
                Event::Start(..)
                | Event::Tells(..)
                | Event::Stop(_)
                | Event::Stream(..)
                | Event::Subscribed(..)
                | Event::Room(_) => {}
                Event::Unsubscribed(key) => self.unsubscribed(key),
                // What came before the end may still be seen.
                Event::Update(key, update) => self.updated(key, update),
                Event::FollowEnded(key, fault) => self.follow_ended(key, fault),
            }
        }
    }
}

/// Unlocks; then wakes the tasks whose answer came, and drops the objects that nobody holds any more.
#[inline]
fn tie(core: MutexGuard<'_, Core>) {
    if core.session.has_loose_ends() {
        tie_ends(core);
    }
}

#[inline(never)]
fn tie_ends(mut core: MutexGuard<'_, Core>) {
    let (mut wakes, mut garbage) = (Vec::new(), Vec::new());
    core.session.take_wakes(&mut wakes);
    core.session.take_garbage(&mut garbage);
    drop(core);
    wakes.into_iter().for_each(Waker::wake);
    // An object's `Drop` is user code: its panic is nobody else's.
    if !garbage.is_empty() && catch_unwind(AssertUnwindSafe(|| drop(garbage))).is_err() {
        tracing::error!("the `Drop` of an object panicked");
    }
}

impl Core {
    /// Whether nothing is held or called across the link.
    fn holds_nothing(&self) -> bool {
        let sizes = self.session.sizes();
        sizes.exports + sizes.imports + sizes.opened + sizes.incoming + sizes.waiting + sizes.calls
            == 0
    }

    fn needs_the_task(&self) -> bool {
        self.session.wants_transmit()
            || self.session.has_events()
            || self.session.is_drained()
            || self
                .session
                .timeout()
                .is_some_and(|at| self.alarm.is_none_or(|alarm| at < alarm))
    }
}

/// What the connection task may do next.
pub(crate) enum Sleep {
    /// Go on: something came meanwhile.
    Awake,
    /// Sleep until woken, or until then.
    Until(Option<Time>),
    /// Close the link.
    Close(Close),
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("role", &self.role)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// One reference to an object of the peer's. Handles share it; the last one releases it (R1).
pub(crate) struct RemoteRef {
    pub(crate) conn: Arc<Conn>,
    pub(crate) key: ImportKey,
    /// For logs alone: the wire has no names.
    pub(crate) interface: Interface,
}

impl RemoteRef {
    /// Takes over one reference of the session's.
    pub(crate) fn new(conn: Arc<Conn>, key: ImportKey, interface: Interface) -> Arc<RemoteRef> {
        conn.add_user();
        Arc::new(RemoteRef {
            conn,
            key,
            interface,
        })
    }
}

impl Drop for RemoteRef {
    fn drop(&mut self) {
        self.conn.with(|session| session.release(self.key));
        self.conn.drop_user();
    }
}
