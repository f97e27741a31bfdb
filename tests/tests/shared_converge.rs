//! Several clients, several shared values with handles and values inside, links that are slow, stall and break, readers
//! who do not stop, drafts in every mode, calls that change values, edits that fail: at the end every replica is what its
//! host has. Everything is drawn from one seed; `HELVE_SEEDS` says how many, `HELVE_SEED` runs one of them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, join_all, select};
use helve::prelude::*;
use helve::track::{Counter, List, Map, Text};
use helve::transport::memory;
use helve::{Connection, Mode, Replica, ReplicaState, Shared};
use helve_tests::cut::{Cut, Scissors};
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::seeded::Rng;
use tokio::task::LocalSet;

/// One entry.
#[derive(Wire, Track, Clone, Debug, PartialEq)]
pub struct Entry {
    /// A short text.
    pub text: String,
    /// Numbers.
    pub scores: Vec<u32>,
}

/// What is shared.
#[derive(Wire, Track, Clone)]
pub struct Doc {
    /// Edited in place.
    pub title: Text,
    /// Added to.
    pub count: Counter,
    /// By number.
    pub cells: Map<u32, Entry>,
    /// In order.
    pub log: List<String>,
    /// Perhaps one.
    pub best: Option<Entry>,
    /// Somebody's object.
    pub pen: Option<PenHandle>,
    /// A value inside the value.
    pub inner: Option<Shared<u32>>,
}

/// Something to be held.
#[interface]
pub trait Pen {
    /// Which one it is.
    async fn name(&self) -> u32;
}

struct MemPen(
    u32,
    #[allow(dead_code, reason = "counts")] helve_tests::harness::Tracked,
);

impl Pen for MemPen {
    async fn name(&self) -> u32 {
        self.0
    }
}

/// Why not.
#[derive(Wire, Debug, PartialEq, thiserror::Error)]
#[error("refused")]
pub struct Refused;

/// Serves some values.
#[interface]
pub trait World {
    /// One of them.
    async fn doc(&self, which: u32) -> Shared<Doc>;
    /// Changes it, and says which revision that made.
    async fn change(&self, which: u32, seed: u64) -> u64;
    /// Changes it, and takes that back: by an error, a panic, or never coming to an end.
    async fn abort(&self, which: u32, seed: u64) -> Result<(), Refused>;
}

struct MemWorld {
    docs: Vec<Shared<Doc>>,
    tracker: Tracker,
    _alive: helve_tests::harness::Tracked,
}

impl World for MemWorld {
    async fn doc(&self, which: u32) -> Shared<Doc> {
        self.docs[which as usize].clone()
    }

    async fn change(&self, which: u32, seed: u64) -> u64 {
        let mut rng = Rng::new(seed);
        let mut edit = self.docs[which as usize].edit().await.expect("begins");
        scribble(&mut edit, &mut rng);
        hold(&mut edit, &mut rng, &self.tracker);
        // Something in any case.
        _ = edit.count.add(1);
        if rng.one_in(3) {
            pause(&mut rng, 30).await;
        }
        edit.commit().expect("commits")
    }

    async fn abort(&self, which: u32, seed: u64) -> Result<(), Refused> {
        let mut rng = Rng::new(seed);
        let mut edit = self.docs[which as usize].edit().await.expect("begins");
        for _ in 0..rng.below(20) {
            scribble(&mut edit, &mut rng);
        }
        hold(&mut edit, &mut rng, &self.tracker);
        match rng.below(3) {
            0 => Err(Refused),
            1 => panic!("on purpose"),
            _ => std::future::pending().await,
        }
    }
}

/// One edit of what has no handles.
fn scribble(doc: &mut Doc, rng: &mut Rng) {
    let n = rng.below(1000) as u32;
    let entry = |n: u32| Entry {
        text: format!("entry {n}"),
        scores: (0..n % 5).collect(),
    };
    match rng.below(14) {
        0 => doc.title.insert_str(0, "new "),
        1 if doc.title.len() > 8 => doc.title.replace_range(1..5, "é"),
        1 | 2 => doc.title.push_str(" more"),
        3 => doc.title = Text::from(format!("title {n}")),
        4 | 5 => _ = doc.count.add(i64::from(n)),
        6 => _ = doc.cells.insert(n % 12, entry(n)),
        7 => _ = doc.cells.remove(&(n % 12)),
        8 => {
            if let Some(cell) = doc.cells.get_mut(&(n % 12)) {
                cell.scores.push(n);
                cell.text.push('!');
            }
        }
        9 => doc.log.push(format!("line {n}")),
        10 if !doc.log.is_empty() => {
            let at = n as usize % doc.log.len();
            _ = doc.log.remove(at);
        }
        10 | 11 => doc.log.sort(),
        12 => doc.best = (!n.is_multiple_of(3)).then(|| entry(n)),
        _ => {
            if let Some(best) = &mut doc.best {
                best.scores = vec![n; n as usize % 40];
            }
        }
    }
}

/// Puts handles in, or takes them out.
fn hold(doc: &mut Doc, rng: &mut Rng, tracker: &Tracker) {
    let n = rng.below(1000) as u32;
    match rng.below(8) {
        0 => doc.pen = Some(PenHandle::new(MemPen(n, tracker.track()))),
        1 => doc.pen = None,
        2 => doc.inner = Some(Shared::new(n)),
        3 => doc.inner = None,
        _ => {}
    }
}

/// All but the handles.
fn plain(doc: &Doc) -> String {
    let Doc {
        title,
        count,
        cells,
        log,
        best,
        pen,
        inner,
    } = doc;
    let (title, count) = (title.to_string(), count.get());
    let cells: Vec<_> = cells.iter().collect();
    let log: Vec<_> = log.iter().collect();
    let has = (pen.is_some(), inner.is_some());
    format!("{title:?} {count} {cells:?} {log:?} {best:?} {has:?}")
}

async fn pause(rng: &mut Rng, ms: usize) {
    let ms = rng.below(ms) as u64;
    // sleep: paused time; when things happen is what the seed says
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// What all parts of one run share.
struct Run {
    harness: Harness,
    docs: Vec<Shared<Doc>>,
    tracker: Tracker,
    delay: Duration,
    followers: Cell<usize>,
    /// How often something went through: that the test does what it says.
    counts: RefCell<Counts>,
}

#[derive(Default, Debug)]
struct Counts {
    proposed: usize,
    conflicts: usize,
    changed: usize,
    lost: usize,
    revisions: usize,
}

/// A client's replica, and what watches it.
struct Seen {
    which: usize,
    replica: Replica<Doc>,
}

impl Run {
    async fn connect(&self) -> (WorldHandle, Connection, Scissors) {
        let (near, far) = memory::pair_delayed(self.delay);
        let scissors = Scissors::default();
        self.harness.serve_link(far);
        let connect = helve::connect_over(Cut::new(near, &scissors));
        let root: WorldHandle = limited(connect.into_future()).await.expect("connects");
        self.harness.watch(&root);
        let connection = root.connection().expect("remote");
        (root, connection, scissors)
    }

    async fn follow(self: &Rc<Self>, root: &WorldHandle, which: usize) -> Option<Seen> {
        let theirs = limited(root.doc(which as u32)).await.ok()?;
        let replica = limited(theirs.replica()).await.ok()?;
        let (run, mut revisions) = (self.clone(), replica.revisions());
        self.followers.set(self.followers.get() + 1);
        tokio::task::spawn_local(async move {
            let mut last = 0;
            while let Some(Ok(rev)) = revisions.next().await {
                // One epoch: the host lives on.
                assert!(rev > last, "revision {rev} after {last}");
                last = rev;
                run.counts.borrow_mut().revisions += 1;
            }
            drop(revisions);
            run.followers.set(run.followers.get() - 1);
        });
        Some(Seen { which, replica })
    }

    /// One client from its first step to its last.
    async fn client(self: Rc<Self>, seed: u64) {
        let mut rng = Rng::new(seed);
        let (mut root, mut connection, mut scissors) = self.connect().await;
        let mut seen: Vec<Seen> = Vec::new();
        for _ in 0..10 + rng.below(10) {
            let which = rng.below(self.docs.len());
            match rng.below(12) {
                0 | 1 => seen.extend(self.follow(&root, which).await),
                2 | 3 => self.propose(&seen, &mut rng).await,
                4 | 5 => self.call(&root, &seen, which, &mut rng).await,
                6 => {
                    let call = root.abort(which as u32, rng.number());
                    let wait = tokio::time::sleep(Duration::from_millis(200));
                    // Dropped in the middle where it hangs.
                    match select(Box::pin(call.into_future()), Box::pin(wait)).await {
                        Either::Left((result, _)) => assert!(result.is_err()),
                        Either::Right(..) => {}
                    }
                }
                7 => self.stare(&seen, &mut rng).await,
                8 if !seen.is_empty() => {
                    let gone = rng.below(seen.len());
                    drop(seen.swap_remove(gone));
                }
                9 => {
                    // In a loop, as fast as it goes.
                    for _ in 0..rng.below(6) {
                        drop(self.follow(&root, which).await);
                    }
                }
                10 if rng.one_in(3) => {
                    if rng.one_in(2) {
                        scissors.cut();
                    } else {
                        limited(connection.close()).await;
                    }
                    limited(connection.closed()).await;
                    for Seen { replica, .. } in &seen {
                        // Clones outlive the connection, and can be read.
                        limited(replica.at_least(u64::MAX))
                            .await
                            .expect_err("it is over");
                        assert!(matches!(replica.state(), ReplicaState::Ended(_)));
                        replica.read(plain).expect("it was whole");
                    }
                    self.counts.borrow_mut().lost += 1;
                    seen.clear();
                    drop(root);
                    (root, connection, scissors) = self.connect().await;
                }
                _ => pause(&mut rng, 100).await,
            }
        }
        for which in 0..self.docs.len() {
            seen.extend(self.follow(&root, which).await);
        }
        // Everybody is done: nothing changes any more.
        pause(&mut rng, 1).await;
        self.quiet().await;
        for Seen { which, replica } in &seen {
            let (doc, rev) = self.truth(*which).await;
            limited(replica.at_least(rev)).await.expect("it follows");
            assert_eq!(replica.state(), ReplicaState::Live);
            assert_eq!(replica.read(plain).expect("whole"), plain(&doc));
            let (pen, inner) = replica
                .read(|doc| (doc.pen.clone(), doc.inner.clone()))
                .expect("whole");
            if let (Some(pen), Some(theirs)) = (pen, doc.pen) {
                assert_eq!(limited(pen.name()).await, limited(theirs.name()).await);
            }
            if let (Some(inner), Some(theirs)) = (inner, doc.inner) {
                // One that a client put there is followed by that client alone (R9.4).
                if let Ok(known) = theirs.read(|n| *n).await {
                    let replica = limited(inner.replica()).await.expect("follows");
                    assert_eq!(replica.read(|n| *n), Ok(known));
                }
            }
        }
    }

    async fn truth(&self, which: usize) -> (Doc, u64) {
        let edit = limited(self.docs[which].edit()).await.expect("begins");
        let doc = edit.clone();
        (doc, edit.commit().expect("nothing to commit"))
    }

    /// Waits until nobody changes anything any more: longer than any step takes.
    async fn quiet(&self) {
        // sleep: paused time
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    async fn propose(&self, seen: &[Seen], rng: &mut Rng) {
        if seen.is_empty() {
            return;
        }
        let Seen { replica, .. } = rng.pick(seen);
        let Ok(mut draft) = replica.draft() else {
            return;
        };
        scribble(&mut draft, rng);
        if rng.one_in(4) {
            hold(&mut draft, rng, &self.tracker);
        }
        if rng.one_in(3) {
            pause(rng, 100).await;
        }
        let mode = *rng.pick(&[Mode::Strict, Mode::Disjoint, Mode::Lww]);
        match limited(draft.propose(mode)).await {
            Ok(rev) => {
                assert!(replica.rev() >= rev);
                self.counts.borrow_mut().proposed += 1;
            }
            Err(RpcError::Conflict) => self.counts.borrow_mut().conflicts += 1,
            Err(other) => panic!("a draft in mode {mode:?}: {other:?}"),
        }
    }

    async fn call(&self, root: &WorldHandle, seen: &[Seen], which: usize, rng: &mut Rng) {
        let rev = limited(root.change(which as u32, rng.number())).await;
        let rev = rev.expect("changes");
        for Seen { which: of, replica } in seen {
            // R10.5: what a call changed its caller sees when it returns.
            if *of == which {
                assert!(
                    replica.rev() >= rev,
                    "{} is behind {rev}: {replica:?}",
                    replica.rev()
                );
            }
        }
        self.counts.borrow_mut().changed += 1;
    }

    /// Looks at one replica on another thread while time passes.
    async fn stare(&self, seen: &[Seen], rng: &mut Rng) {
        if seen.is_empty() {
            return;
        }
        let replica = rng.pick(seen).replica.clone();
        let (done, wait) = channel::<()>();
        let (started, starts) = channel::<()>();
        let reader = std::thread::spawn(move || {
            let looked = replica.read(|doc| {
                let before = plain(doc);
                started.send(()).expect("somebody waits");
                wait.recv().expect("somebody says when");
                assert_eq!(plain(doc), before, "changed under a reader");
            });
            looked.expect("whole");
        });
        starts.recv().expect("it reads");
        let most = *rng.pick(&[10, 300, 20_000]);
        pause(rng, most).await;
        done.send(()).expect("it waits");
        reader.join().expect("looked");
    }

    /// The host's own changes.
    async fn host(self: Rc<Self>, seed: u64) {
        let mut rng = Rng::new(seed);
        for _ in 0..60 {
            let doc = rng.pick(&self.docs).clone();
            let mut edit = limited(doc.edit()).await.expect("begins");
            for _ in 0..=rng.below(4) {
                scribble(&mut edit, &mut rng);
            }
            hold(&mut edit, &mut rng, &self.tracker);
            if rng.one_in(5) {
                pause(&mut rng, 50).await;
            }
            if !rng.one_in(6) {
                edit.commit().expect("commits");
            }
            pause(&mut rng, 40).await;
        }
    }
}

fn doc(rng: &mut Rng) -> Shared<Doc> {
    // Below and above 4 KiB, where an edit is taken back in other ways.
    let size = *rng.pick(&[10, 6_000, 50_000]);
    let doc = Doc {
        title: Text::from("x".repeat(size)),
        count: Counter::new(0),
        cells: Map::new(),
        log: List::new(),
        best: None,
        pen: None,
        inner: None,
    };
    let every = *rng.pick(&[0, 0, 33]);
    Shared::builder(doc)
        .min_interval(Duration::from_millis(every))
        .proposals(|_, _| Ok(()))
        .build()
}

fn on_one_thread<F: Future>(what: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, what)
}

async fn run(seed: u64) -> Counts {
    let mut rng = Rng::new(seed);
    let tracker = Tracker::new();
    let docs: Vec<_> = (0..=rng.below(3)).map(|_| doc(&mut rng)).collect();
    let world = WorldHandle::new(MemWorld {
        docs: docs.clone(),
        tracker: tracker.clone(),
        _alive: tracker.track(),
    });
    let delay = Duration::from_millis(*rng.pick(&[0, 1, 20, 150]));
    let run = Rc::new(Run {
        harness: Setup::new(&tracker, move |_| world.clone()).memory(delay),
        docs,
        tracker,
        delay,
        followers: Cell::new(0),
        counts: RefCell::default(),
    });
    let mut parts: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    parts.push(Box::pin(run.clone().host(rng.number())));
    for _ in 0..2 + rng.below(3) {
        parts.push(Box::pin(run.clone().client(rng.number())));
    }
    let parts = join_all(parts);
    let hour = Duration::from_secs(3600);
    let done = tokio::time::timeout(hour, parts).await;
    done.unwrap_or_else(|_| panic!("seed {seed} hangs"));
    // Whoever watched hears that it is over when the sessions are, and holds the replica until then.
    for end in run.harness.server_ends() {
        limited(end.close()).await;
    }
    while run.followers.get() > 0 {
        limited(tokio::task::yield_now()).await;
    }
    for doc in &run.docs {
        helve_tests::harness::until("nobody follows", || doc.followers() == 0).await;
        // Clients' handles are over with their sessions.
        doc.change(|doc| (doc.pen, doc.inner) = (None, None))
            .await
            .expect("changes");
    }
    let Run {
        harness,
        docs,
        counts,
        ..
    } = Rc::into_inner(run).expect("all parts are done");
    drop(docs);
    harness.finish().await;
    counts.into_inner()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

// R10.5 R20.2 R20.3 R20.8 R20.10
#[test]
fn whatever_happens_on_the_way_every_replica_becomes_what_its_host_has() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.to_string().contains("on purpose") {
            usual(panic);
        }
    }));
    let (first, count) = match number("HELVE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HELVE_SEEDS").unwrap_or(300)),
    };
    let mut all = Counts::default();
    for seed in first..first + count {
        println!("seed {seed}");
        let counts = on_one_thread(run(seed));
        all.proposed += counts.proposed;
        all.conflicts += counts.conflicts;
        all.changed += counts.changed;
        all.lost += counts.lost;
        all.revisions += counts.revisions;
    }
    println!("{count} seeds: {all:?}");
    if count >= 100 {
        let least = count as usize;
        assert!(all.proposed > least && all.changed > least && all.revisions > 10 * least);
        assert!(
            all.conflicts > least / 10 && all.lost > least / 10,
            "{all:?}"
        );
    }
}
