//! Methods of this side that wait: how CANCEL and the end of the session reach them, and a look after those that were to
//! end and have not. `dispatch` and `relay` enter them, the driver stops them, `Connection::stats` counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::AbortHandle;
use helve_protocol::session::IncomingId;
use tokio::time::{Instant, sleep_until};

use crate::connection::Conn;
use crate::observe::{self, PeerName};

/// A method that has not ended so long after it was told to holds its slot for good, as far as we can know: it does not
/// come back to the runtime.
const STUCK: Duration = Duration::from_secs(1);

/// What a connection runs for its peer.
#[derive(Default)]
pub(crate) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    calls: HashMap<IncomingId, Call>,
    /// Who looks for stuck methods, and when.
    watch: Option<(Instant, tokio::task::AbortHandle)>,
}

/// A call of the peer's that is not answered.
enum Call {
    Method(Method),
    /// It was passed on into another session (R9).
    Passed {
        at: Arc<Conn>,
        ticket: u64,
    },
}

/// A method that waits.
pub(crate) struct Method {
    handle: AbortHandle,
    /// Hash of its name.
    id: u32,
    /// It runs on when the session is lost.
    detached: bool,
    /// When it is to end: its deadline, or when it was cancelled.
    due: Option<Instant>,
    /// It was logged as stuck.
    reported: bool,
}

impl Method {
    /// One that just began to wait.
    pub(crate) fn new(
        handle: AbortHandle,
        id: u32,
        detached: bool,
        due: Option<Instant>,
    ) -> Method {
        Method {
            handle,
            id,
            detached,
            due,
            reported: false,
        }
    }
}

impl Call {
    fn stop(self) {
        match self {
            Call::Method(method) => method.handle.abort(),
            Call::Passed { at, ticket } => at.with(|session| session.cancel_passed(ticket)),
        }
    }

    fn stuck_at(&self) -> Option<Instant> {
        match self {
            Call::Method(method) => method.due.map(|due| due + STUCK),
            Call::Passed { .. } => None,
        }
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were to end more than a second ago, and have not.
    pub(crate) fn stuck(&self) -> usize {
        let now = Instant::now();
        let is_stuck = |call: &&Call| call.stuck_at().is_some_and(|at| now >= at);
        self.lock().calls.values().filter(is_stuck).count()
    }
}

impl Conn {
    /// A method that waits, so that CANCEL or the end of the session may stop it.
    pub(crate) fn add_running(self: &Arc<Self>, id: IncomingId, method: Method) {
        let due = method.due;
        let mut state = self.running.lock();
        state.calls.insert(id, Call::Method(method));
        if let Some(due) = due {
            self.watch(&mut state, due + STUCK);
        }
    }

    /// A call that was passed on into another session, to be cancelled there.
    pub(crate) fn add_passed(&self, id: IncomingId, at: Arc<Conn>, ticket: u64) {
        let passed = Call::Passed { at, ticket };
        self.running.lock().calls.insert(id, passed);
    }

    pub(crate) fn remove_running(&self, id: IncomingId) {
        let removed = self.running.lock().calls.remove(&id);
        drop(removed);
    }

    /// Stops a method that waits; what it was to answer is answered by its task, once it is dropped.
    pub(crate) fn stop(self: &Arc<Self>, id: IncomingId) {
        let mut state = self.running.lock();
        let Entry::Occupied(mut entry) = state.calls.entry(id) else {
            return;
        };
        let Call::Method(method) = entry.get_mut() else {
            let passed = entry.remove();
            drop(state);
            return passed.stop();
        };
        let now = Instant::now();
        method.due = Some(method.due.map_or(now, |due| due.min(now)));
        let handle = method.handle.clone();
        self.watch(&mut state, now + STUCK);
        drop(state);
        handle.abort();
    }

    /// The session is over: stops all but the methods that run on.
    pub(crate) fn stop_all(&self) {
        let state = std::mem::take(&mut *self.running.lock());
        if let Some((_, watch)) = state.watch {
            watch.abort();
        }
        for call in state.calls.into_values() {
            match call {
                Call::Method(Method { detached: true, .. }) => {}
                call => call.stop(),
            }
        }
    }

    /// Sees to it that somebody looks at that moment, or before. One task does, however many calls there are.
    fn watch(self: &Arc<Self>, state: &mut State, at: Instant) {
        if state.watch.as_ref().is_some_and(|(next, _)| *next <= at) {
            return;
        }
        let task = tokio::spawn(watch(Arc::downgrade(self), at)).abort_handle();
        if let Some((_, later)) = state.watch.replace((at, task)) {
            later.abort();
        }
    }

    /// Logs the methods that are stuck, each once. When to look again, if ever.
    fn look(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.running.lock();
        let (mut stuck, mut next) = (Vec::new(), None::<Instant>);
        for (id, call) in &mut state.calls {
            let (Some(at), Call::Method(method)) = (call.stuck_at(), call) else {
                continue;
            };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if !std::mem::replace(&mut method.reported, true) {
                stuck.push((*id, method.id));
            }
        }
        match (next, &mut state.watch) {
            (Some(at), Some((next, _))) => *next = at,
            _ => state.watch = None,
        }
        drop(state);
        for (id, method) in stuck {
            tracing::warn!(
                peer = %PeerName(&self.peer),
                method = %observe::method_of(self, id, method),
                "a method was to end a second ago and has not come back to the runtime: its slot is taken until it does; \
                 blocking work belongs in `tokio::task::spawn_blocking`"
            );
        }
        next
    }
}

async fn watch(conn: Weak<Conn>, mut at: Instant) {
    loop {
        sleep_until(at).await;
        match conn.upgrade().and_then(|conn| conn.look()) {
            Some(next) => at = next,
            None => return,
        }
    }
}
