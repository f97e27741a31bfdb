//! [`Harness`]: a server and its clients in one process, whose end asserts that nothing leaked. Every test that opens a
//! session does it through this; one that is dropped without [`Harness::finish`] fails.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helve::transport::{Link, memory};
use helve::{Connect, ConnectError, Connection, Host, Peer, Remote, Rooted, Server, State, Stats};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long anything may take before a test counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test, or a step of it, and fails where it hangs.
pub async fn limited<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("this hung for 30 s")
}

/// Waits until `check` finds nothing to complain about.
pub async fn eventually(mut check: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + PATIENCE;
    while let Err(complaint) = check() {
        assert!(Instant::now() < until, "still after 30 s: {complaint}");
        // sleep: the bounded wait on a condition that everybody else uses
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until `check` holds; `what` says what it is about.
pub async fn until(what: &str, mut check: impl FnMut() -> bool) {
    eventually(|| check().then_some(()).ok_or_else(|| format!("not {what}"))).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts objects: each must be dropped, once.
#[derive(Clone, Default)]
pub struct Tracker(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    made: u64,
    live: BTreeSet<u64>,
}

impl Tracker {
    /// One that has seen nothing.
    pub fn new() -> Tracker {
        Tracker::default()
    }

    /// A member for an object: it is dropped when the object is.
    pub fn track(&self) -> Tracked {
        let mut log = lock(&self.0);
        let id = log.made;
        log.made += 1;
        log.live.insert(id);
        Tracked {
            tracker: self.clone(),
            id,
        }
    }

    /// How many there were.
    pub fn made(&self) -> u64 {
        lock(&self.0).made
    }

    /// How many are left.
    pub fn live(&self) -> usize {
        lock(&self.0).live.len()
    }
}

/// Stands for one object in its [`Tracker`].
pub struct Tracked {
    tracker: Tracker,
    id: u64,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        assert!(
            lock(&self.tracker.0).live.remove(&self.id),
            "object {} was dropped twice",
            self.id
        );
    }
}

/// A server to be: what it serves, before it is said over what.
pub struct Setup {
    rooted: Rooted,
    peers: Arc<Mutex<Vec<Peer>>>,
    tracker: Tracker,
}

impl Setup {
    /// Serves what `root` makes for each client. The objects of `tracker` must be gone when the harness finishes.
    pub fn new<H: Remote>(
        tracker: &Tracker,
        root: impl Fn(Peer) -> H + Send + Sync + 'static,
    ) -> Setup {
        let peers: Arc<Mutex<Vec<Peer>>> = Arc::default();
        let seen = peers.clone();
        let rooted = Server::builder().root(move |peer: Peer| {
            lock(&seen).push(peer.clone());
            ready(Ok(root(peer)))
        });
        Setup {
            rooted,
            peers,
            tracker: tracker.clone(),
        }
    }

    /// Changes how the server is set up.
    pub fn with(mut self, f: impl FnOnce(Rooted) -> Rooted) -> Setup {
        self.rooted = f(self.rooted);
        self
    }

    /// Serves inside this process; each message takes `delay` of tokio's time.
    pub fn memory(self, delay: Duration) -> Harness {
        let host = self.rooted.host();
        Harness::start(host, Way::Memory(delay), self.peers, self.tracker)
    }

    /// Serves on a free port of loopback.
    pub async fn websocket(self) -> Harness {
        self.bind("ws://127.0.0.1:0").await
    }

    /// Serves on a URL, whose port should be 0.
    pub async fn bind(self, url: &str) -> Harness {
        let server = self.rooted.bind(url).await.expect("a free port");
        let (host, url) = (server.host(), server.url().to_owned());
        let accepting = tokio::spawn(server.run());
        let way = Way::WebSocket { url, accepting };
        Harness::start(host, way, self.peers, self.tracker)
    }
}

enum Way {
    Memory(Duration),
    WebSocket {
        url: String,
        accepting: JoinHandle<()>,
    },
}

/// A server with its clients. See the [module](self).
pub struct Harness {
    host: Option<Host>,
    way: Way,
    peers: Arc<Mutex<Vec<Peer>>>,
    clients: Mutex<Vec<Connection>>,
    serving: Mutex<Vec<JoinHandle<()>>>,
    tracker: Tracker,
    finished: bool,
}

impl Harness {
    fn start(host: Host, way: Way, peers: Arc<Mutex<Vec<Peer>>>, tracker: Tracker) -> Harness {
        Harness {
            host: Some(host),
            way,
            peers,
            clients: Mutex::default(),
            serving: Mutex::default(),
            tracker,
            finished: false,
        }
    }

    /// Serves one root object to all clients, in memory and without delay.
    pub fn memory<H: Remote>(tracker: &Tracker, root: H) -> Harness {
        Setup::new(tracker, move |_| root.clone()).memory(Duration::ZERO)
    }

    /// The same over WebSockets.
    pub async fn websocket<H: Remote>(tracker: &Tracker, root: H) -> Harness {
        Setup::new(tracker, move |_| root.clone()).websocket().await
    }

    /// The server, to shut it down.
    pub fn host(&self) -> Host {
        self.host.clone().expect("not finished")
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        match &self.way {
            Way::WebSocket { url, .. } => url,
            Way::Memory(_) => panic!("a server in memory has no URL"),
        }
    }

    /// How many objects clients hold at the server, their roots included.
    pub fn objects(&self) -> usize {
        self.host.as_ref().map_or(0, Host::objects)
    }

    /// Who is connected.
    pub fn peers(&self) -> Vec<Peer> {
        self.host.as_ref().map(Host::peers).unwrap_or_default()
    }

    /// Connects a client.
    pub async fn connect<H: Remote>(&self) -> H {
        self.connect_with(|connect| connect)
            .await
            .expect("the server takes the client")
    }

    /// Connects a client that says something besides.
    ///
    /// # Errors
    /// As connecting does.
    pub async fn connect_with<H: Remote>(
        &self,
        with: impl FnOnce(Connect<H>) -> Connect<H>,
    ) -> Result<H, ConnectError> {
        let connect = match &self.way {
            Way::WebSocket { url, .. } => helve::connect(url.clone()),
            Way::Memory(delay) => {
                let (near, far) = memory::pair_delayed(*delay);
                self.serve_link(far);
                helve::connect_over(near)
            }
        };
        let root = limited(with(connect).into_future()).await?;
        self.watch(&root);
        Ok(root)
    }

    /// Serves a client that comes over this link. Its own end is then [`watch`](Harness::watch)ed by who made it.
    pub fn serve_link(&self, link: impl Link) {
        let host = self.host.clone().expect("not finished");
        // Why a client was not taken is for the client to tell.
        let serving = tokio::spawn(async move { drop(host.serve_link(link).await) });
        lock(&self.serving).push(serving);
    }

    /// Looks after the client whose root this is.
    pub fn watch(&self, root: &impl Remote) {
        lock(&self.clients).push(root.connection().expect("a remote handle"));
    }

    /// The server's end of each session that has not ended, in the order of connecting.
    pub fn server_ends(&self) -> Vec<Connection> {
        lock(&self.peers)
            .iter()
            .filter_map(Peer::connection)
            .collect()
    }

    /// What is open at either end of any session, as a complaint.
    fn at_rest(&self) -> Result<(), String> {
        let clients = lock(&self.clients);
        let ends = clients.iter().map(|end| ("a client", end.stats()));
        let servers = self.server_ends();
        let ends = ends.chain(servers.iter().map(|end| ("the server", end.stats())));
        for (who, stats) in ends {
            let open = open(&stats);
            if open > 0 {
                return Err(format!("{who} is not at rest: {stats:?}"));
            }
        }
        Ok(())
    }

    /// Waits until both tables of every session are as they were when it began.
    ///
    /// # Panics
    /// When they are not after half a minute.
    pub async fn rest(&self) {
        eventually(|| self.at_rest()).await;
    }

    /// Asserts that every table becomes empty, ends every session, and asserts that the server holds no object any more
    /// and that each tracked one was dropped. Drop all handles before.
    ///
    /// # Panics
    /// When something leaked.
    pub async fn finish(self) {
        self.rest().await;
        self.close(true).await;
    }

    /// As [`finish`](Harness::finish), for objects that keep what they are given: their tables come to rest only when
    /// the sessions end.
    ///
    /// # Panics
    /// When something outlived its session.
    pub async fn end(self) {
        self.close(false).await;
    }

    /// `freed`: nothing may hold on to a connection that is over.
    async fn close(mut self, freed: bool) {
        self.finished = true;
        let clients = std::mem::take(&mut *lock(&self.clients));
        for client in &clients {
            limited(client.close()).await;
        }
        drop(clients);
        let serving = std::mem::take(&mut *lock(&self.serving));
        for served in serving {
            limited(served).await.expect("the connection task lives");
        }
        until("every session over", || {
            let ends = self.server_ends();
            let over = |end: &Connection| matches!(end.state(), State::Lost { .. });
            ends.iter().all(over) && (ends.is_empty() || !freed)
        })
        .await;
        until("every object released", || self.objects() == 0).await;
        if let Way::WebSocket { accepting, .. } = &mut self.way {
            accepting.abort();
            // Aborted, or done: both are an end.
            drop(limited(accepting).await);
        }
        drop(self.host.take());
        let tracker = self.tracker.clone();
        eventually(|| match tracker.live() {
            0 => Ok(()),
            live => Err(format!(
                "{live} of {} objects were not dropped",
                tracker.made()
            )),
        })
        .await;
    }
}

/// Everything open at one end of a session.
fn open(stats: &Stats) -> usize {
    stats.exports
        + stats.imports
        + stats.opened
        + stats.calls
        + stats.incoming
        + stats.transfers
        + stats.streams
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !self.finished && !std::thread::panicking() {
            panic!("a test ended without `harness.finish().await`, so nobody looked for leaks");
        }
    }
}
