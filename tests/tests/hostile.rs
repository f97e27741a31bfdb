//! A hostile peer that speaks the grammar, against a real server: no panic, memory bounded and given back, every
//! violation answered with one Close that names its rule, and an honest session beside it that notices nothing.
//! `HELVE_SEEDS` says how many seeds, `HELVE_SEED` runs one of them.

use std::future::poll_fn;
use std::sync::{Mutex, Once, PoisonError};
use std::task::Poll;
use std::time::Duration;

use allocation_counter::measure;
use helve::transport::memory::{self, MemoryLink};
use helve::transport::{Close, Link, LinkEnd};
use helve::{Limits, Remote};
use helve_protocol::hello::{Hello, Reply};
use helve_tests::harness::{Setup, Tracker, limited};
use helve_tests::hostile::{Hostile, Said, WRONGS};
use helve_tests::lab::{LabError, LabHandle, MemLab};
use helve_tests::raw::Raw;
use helve_tests::seeded::Rng;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Hostile sessions at one server, each with dice of its own.
const HOSTILE: u64 = 4;
/// What that server may allocate at once for all of them and an honest one.
const MEMORY: u64 = 8 << 20;
/// What may be left of a run: caches of the runtime, none of which grow from run to run.
const LEFT: i64 = 64 << 10;

/// What panicked, but for the methods that do so on purpose.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.to_string();
            if text.contains("on purpose") || text.contains("cannot note") {
                return;
            }
            PANICS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
            usual(panic);
        }));
    });
}

/// A copy: to panic with the lock held would be to wait for oneself.
fn panics() -> Vec<String> {
    PANICS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// Small limits, so that their edges are met, or the usual ones.
fn limits(seed: u64) -> Limits {
    if seed.is_multiple_of(2) {
        return Limits::default();
    }
    Limits::default()
        .with_calls(8)
        .with_nested(2)
        .with_table(48)
        .with_frame(0)
        .with_bytes(0)
}

/// A root of its own for every client.
fn setup(tracker: &Tracker, limits: Limits) -> Setup {
    let each = tracker.clone();
    let root = move |_| LabHandle::new(MemLab::new(&each));
    Setup::new(tracker, root).with(|rooted| rooted.limits(limits))
}

/// What a hostile client did and saw, to be told from another run.
#[derive(Default, PartialEq, Eq, Debug)]
struct Transcript {
    said: Vec<Said>,
    heard: Vec<Vec<u8>>,
    close: Option<(u16, String)>,
}

/// Lets the server work for a while.
async fn breathe(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

async fn hello(link: &mut MemoryLink) {
    link.start_send(Hello::default().encode().into())
        .expect("there is room");
    let answer = limited(poll_fn(|cx| link.poll_recv(cx))).await;
    match Reply::decode(&answer.expect("an answer")) {
        Ok(Reply::Welcome(_)) => {}
        other => panic!("no WELCOME: {other:?}"),
    }
}

/// One hostile session, to its end. `way`: how it is wrong at last.
async fn attack(mut link: MemoryLink, seed: u64, limits: Limits, way: Option<usize>) -> Transcript {
    hello(&mut link).await;
    let mut peer = Hostile::new(seed, limits);
    let mut transcript = Transcript::default();
    for _ in 0..8 + peer.dice(24) {
        let said = peer.legal();
        link.start_send(said.bytes.clone().into())
            .expect("the link is up");
        transcript.said.push(said);
        breathe(peer.dice(4)).await;
        if peer.dice(4) > 0 {
            read(&mut link, &mut peer, &mut transcript).await;
        }
        if peer.dice(12) == 0 {
            tokio::time::sleep(Duration::from_millis(peer.dice(40) as u64)).await;
        }
        assert_eq!(transcript.close, None, "nothing was wrong so far");
    }
    let Some(way) = way else {
        read(&mut link, &mut peer, &mut transcript).await;
        assert_eq!(transcript.close, None, "nothing was wrong");
        if peer.dice(2) == 0 {
            link.start_close(Close::new(1000, ""));
            limited(poll_fn(|cx| link.poll_close(cx))).await;
        }
        return transcript;
    };
    let said = peer.wrong(way);
    let rule = said.wrong.expect("it is wrong");
    link.start_send(said.bytes.clone().into())
        .expect("the link is up");
    transcript.said.push(said);
    while transcript.close.is_none() {
        match limited(poll_fn(|cx| link.poll_recv(cx))).await {
            Ok(message) => transcript.heard.push(message.to_vec()),
            Err(end) => transcript.end(end),
        }
    }
    // R17.1: once, with the rule as its reason. A gap is the link's fault (S2.3).
    let (code, reason) = transcript.close.clone().expect("closed");
    let expected = if rule == "S2.3" {
        Close::GAP
    } else {
        Close::VIOLATION
    };
    let name = WRONGS[way % WRONGS.len()].0;
    assert_eq!(code, expected, "{name}: {reason}");
    assert!(reason.starts_with(rule), "{name}: {rule}, not `{reason}`");
    transcript
}

impl Transcript {
    fn end(&mut self, end: LinkEnd) {
        let LinkEnd::Closed { code, reason } = end else {
            panic!("no Close: {end:?}");
        };
        self.close = Some((code, reason));
    }
}

/// What is there already.
async fn read(link: &mut MemoryLink, peer: &mut Hostile, transcript: &mut Transcript) {
    loop {
        let next = poll_fn(|cx| match link.poll_recv(cx) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending => Poll::Ready(None),
        });
        match next.await {
            Some(Ok(message)) => {
                peer.hear(&message);
                transcript.heard.push(message.to_vec());
            }
            Some(Err(end)) => return transcript.end(end),
            None => return,
        }
    }
}

/// An ordinary client: what it was answered, and how long it took.
async fn honest(root: LabHandle) -> Vec<String> {
    let tracker = Tracker::new();
    let start = Instant::now();
    let mut seen = Vec::new();
    let mut see = |what: &dyn std::fmt::Debug| seen.push(format!("{what:?}"));
    for n in 0..3 {
        see(&root.echo(n).await);
        see(&root.add(n).await);
        let late = futures::future::join(root.echo_late(n), root.add(1));
        see(&late.await);
        let other = root.open().await.expect("opened");
        see(&other.echo(n).await);
        see(&root.open_late().pipelined().add(n).await);
        see(&root.open_nothing().await.map(drop));
        see(&(root.reflect(other.clone()).await == Ok(other)));
        let mine = LabHandle::new(MemLab::new(&tracker));
        see(&root.borrow(&mine, n).await);
        see(&root.keep(mine).await);
        see(&root.use_kept(n).await);
        see(&root.forget().await);
        see(&root.note("a").handled().await);
        see(&root.notes().await);
        see(&root.bundle().await.map(|bundle| bundle.into_all().len()));
        see(&root.left().deadline(Duration::from_secs(5)).await);
        see(&matches!(
            root.use_kept(n).await,
            Err(helve::CallError::App(LabError::AsAsked(_)))
        ));
        breathe(3).await;
    }
    see(&start.elapsed());
    let stats = root.connection().expect("remote").stats();
    see(&(stats.exports, stats.calls, stats.incoming));
    seen
}

/// A server with an honest client, and with `hostile` ones.
async fn world(seed: u64, hostile: u64) -> (Vec<String>, Vec<Transcript>) {
    let tracker = Tracker::new();
    let limits = limits(seed);
    let harness = setup(&tracker, limits).memory(Duration::ZERO);
    let root: LabHandle = harness.connect().await;
    let attacks: Vec<_> = (0..hostile)
        .map(|n| {
            let (near, far) = memory::pair();
            harness.serve_link(far);
            // One in five ends well; the others are wrong in every way in turn.
            let way = (!(seed + n).is_multiple_of(5)).then(|| (seed * HOSTILE + n) as usize);
            attack(near, seed ^ n << 32, limits, way)
        })
        .collect();
    let (seen, transcripts) =
        futures::future::join(honest(root), futures::future::join_all(attacks)).await;
    harness.finish().await;
    (seen, transcripts)
}

// R11.5 R13.13 R17.1 R17.2; invariants 19, 26, 27
#[test]
fn a_hostile_peer_harms_nobody_and_leaves_nothing() {
    watch_panics();
    let (first, count) = match number("HELVE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HELVE_SEEDS").unwrap_or(300)),
    };
    let runtime = paused();
    let alone: Vec<_> = (0..2)
        .map(|seed| runtime.block_on(world(seed, 0)).0)
        .collect();
    let mut left = 0;
    let (mut said, mut heard, mut most) = (0, 0, 0);
    for seed in first..first + count {
        let same = &alone[usize::from(!seed.is_multiple_of(2))];
        let memory = measure(|| {
            let (seen, transcripts) = runtime.block_on(world(seed, HOSTILE));
            let of = |bytes: fn(&Transcript) -> usize| transcripts.iter().map(bytes).sum::<usize>();
            said += of(|one| one.said.iter().map(|said| said.bytes.len()).sum());
            heard += of(|one| one.heard.iter().map(Vec::len).sum());
            assert_eq!(&seen, same, "seed {seed}: the honest session");
        });
        most = most.max(memory.bytes_max);
        assert!(memory.bytes_max < MEMORY, "seed {seed}: {memory:?}");
        left += memory.bytes_current;
        assert_eq!(panics(), Vec::<String>::new(), "seed {seed}");
    }
    println!(
        "{count} seeds, {HOSTILE} sessions each: {said} bytes said, {heard} heard, {most} bytes at once, {left} left in all"
    );
    assert!(left < LEFT, "{left} bytes are left after {count} seeds");
}

#[test]
fn one_seed_says_the_same_bytes_each_time() {
    let runtime = paused();
    // The server draws its chains at random (R23.1), so what it says may differ in them.
    let said = |seed| {
        let transcripts = runtime.block_on(world(seed, HOSTILE)).1;
        let said = transcripts.into_iter().map(|one| (one.said, one.close));
        said.collect::<Vec<_>>()
    };
    for seed in 0..8 {
        assert_eq!(said(seed), said(seed), "seed {seed}");
    }
}

// R17.1: over real sockets, where the Close is a WebSocket's.
#[tokio::test]
async fn every_way_to_be_wrong_is_one_close_over_a_websocket() {
    watch_panics();
    let tracker = Tracker::new();
    let harness = setup(&tracker, Limits::default()).websocket().await;
    let beside: LabHandle = harness.connect().await;
    for (way, (name, rule)) in WRONGS.iter().enumerate() {
        let mut raw = Raw::welcomed(harness.url()).await;
        let mut peer = Hostile::new(way as u64, Limits::default());
        let mut rng = Rng::new(way as u64);
        for _ in 0..rng.below(8) {
            raw.send(peer.legal().bytes).await;
        }
        raw.send(peer.wrong(way).bytes).await;
        let (code, reason) = raw.closed().await;
        assert!(
            matches!(code, Close::GAP | Close::VIOLATION),
            "{name}: {code} {reason}"
        );
        assert!(reason.starts_with(rule), "{name}: {rule}, not `{reason}`");
        assert_eq!(limited(beside.echo(7)).await, Ok(7));
    }
    drop(beside);
    harness.finish().await;
    assert_eq!(panics(), Vec::<String>::new());
}
