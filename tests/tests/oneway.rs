//! One-way calls: what their receipts say, in which order they run, and that a flood of them is held back.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use helve::Limits;
use helve::prelude::*;
use helve::transport::{Close, Link, LinkEnd, MeterReading, memory};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::time::Instant;

async fn one() -> (Harness, LabHandle) {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, LabHandle::new(MemLab::new(&tracker)));
    let root = harness.connect().await;
    (harness, root)
}

#[tokio::test(start_paused = true)]
async fn each_level_of_a_receipt_takes_as_long_as_what_it_waits_for() {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = Setup::new(&tracker, move |_| lab.clone()).memory(Duration::from_millis(5));
    let root: LabHandle = harness.connect().await;
    let start = Instant::now();
    let mut receipt = root.note("a");
    assert_eq!(limited(receipt.queued()).await, Ok(()));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(limited(receipt.accepted()).await, Ok(()));
    assert_eq!(start.elapsed(), Duration::from_millis(10));
    assert_eq!(limited(receipt.accepted()).await, Ok(()), "still so");
    assert_eq!(start.elapsed(), Duration::from_millis(10));

    let start = Instant::now();
    assert_eq!(limited(root.note_late("b").handled()).await, Ok(()));
    assert_eq!(start.elapsed(), Duration::from_millis(10));
    assert_eq!(
        limited(root.notes()).await,
        Ok(vec!["a".into(), "b".into()])
    );
    drop((receipt, root));
    harness.finish().await;
}

#[tokio::test]
async fn a_receipt_that_is_dropped_changes_nothing() {
    let (harness, root) = one().await;
    for n in 0..100 {
        drop(root.note(&n.to_string()));
    }
    let notes = limited(root.notes()).await.expect("runs");
    assert_eq!(notes.len(), 100);
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn flush_tells_the_first_error_once() {
    let (harness, root) = one().await;
    drop(root.note("fine"));
    drop(root.note_badly("first"));
    drop(root.note_badly("second"));
    let error = limited(root.flush()).await.expect_err("two failed");
    assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
    assert_eq!(limited(root.flush()).await, Ok(()), "told, and cleared");

    let error = limited(root.note_badly("third").handled()).await;
    assert!(matches!(error, Err(RpcError::Internal(_))), "{error:?}");
    assert_eq!(
        limited(root.note_badly("fourth").accepted()).await,
        Ok(()),
        "it was accepted"
    );
    let other = limited(root.open()).await.expect("opened");
    assert_eq!(
        limited(other.flush()).await,
        Ok(()),
        "another object's errors are its own"
    );
    assert!(limited(root.flush()).await.is_err());
    drop((root, other));
    harness.finish().await;
}

#[tokio::test]
async fn flush_waits_for_every_earlier_one_way_call_on_its_handle() {
    let (harness, root) = one().await;
    for n in 0..50 {
        drop(root.note_late(&n.to_string()));
    }
    assert_eq!(limited(root.flush()).await, Ok(()));
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(limited(root.notes()).await, Ok(expected));
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn one_way_and_two_way_calls_on_a_handle_start_in_order() {
    let (harness, root) = one().await;
    for round in 0..50 {
        let handle = root.open().pipelined();
        drop(handle.note("a"));
        drop(handle.note_late("b"));
        let sum = handle.add(round);
        drop(handle.note("not yet sent: a call goes when it is polled"));
        assert_eq!(limited(sum).await, Ok(round));
        drop(handle.note("c"));
        let notes = limited(handle.notes()).await.expect("runs");
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert_eq!((&*notes[0], &*notes[3]), ("a", "c"));
    }
    drop(root);
    harness.finish().await;
}

/// A link that writes down which acks were flushed through it.
struct Watched<L> {
    link: L,
    started: u64,
    acked: Arc<AtomicUsize>,
}

impl<L: Link> Link for Watched<L> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        self.link.poll_recv(cx)
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        self.link.poll_ready(cx)
    }
    fn start_send(&mut self, message: Bytes) -> Result<(), LinkEnd> {
        // `first_seq, ack, ..`: both below 128 in this test. The handshake is an array.
        if let [0..=0x7f, ack @ 0..=0x7f, ..] = message[..] {
            self.started = self.started.max(u64::from(ack));
        }
        self.link.start_send(message)
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        let flushed = self.link.poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.acked.store(self.started as usize, SeqCst);
        }
        flushed
    }
    fn ping(&mut self) -> Result<(), LinkEnd> {
        self.link.ping()
    }
    fn start_close(&mut self, close: Close) {
        self.link.start_close(close);
    }
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_close(cx)
    }
    fn take_heard(&mut self) -> bool {
        self.link.take_heard()
    }
    fn meter(&self) -> MeterReading {
        self.link.meter()
    }
    fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        self.link.peer_addr()
    }
}

/// Sees what was acknowledged when its methods run.
#[interface(id = "test.Witness")]
#[allow(unreachable_pub, reason = "written as a library would write it")]
pub trait Witness {
    /// Remembers how many frames were acknowledged on the wire by now.
    #[oneway]
    async fn witness(&self);
}

struct Eye {
    acked: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Witness for Eye {
    async fn witness(&self) {
        let acked = self.acked.load(SeqCst);
        self.seen.lock().expect("no panic").push(acked);
    }
}

/// S4: a batch that asks is acknowledged, flushed, before the first of its handlers is polled.
#[tokio::test]
async fn the_ack_of_a_batch_that_asks_is_on_the_wire_before_its_methods_run() {
    let tracker = Tracker::new();
    let (acked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let eye = WitnessHandle::new(Eye {
        acked: acked.clone(),
        seen: Arc::clone(&seen),
    });
    let harness = Harness::memory(&tracker, eye);
    let (near, far) = memory::pair();
    harness.serve_link(Watched {
        link: far,
        started: 0,
        acked: acked.clone(),
    });
    let root = limited(helve::connect_over::<WitnessHandle>(near).into_future())
        .await
        .expect("connected");
    harness.watch(&root);

    // Three in one batch that does not ask: their methods run before any ack.
    let quiet = (root.witness(), root.witness(), root.witness());
    until("three have run", || {
        seen.lock().expect("no panic").len() == 3
    })
    .await;
    assert_eq!(*seen.lock().expect("no panic"), [0, 0, 0]);
    drop(quiet);
    // Two in one batch that asks.
    let (mut first, mut second) = (root.witness(), root.witness());
    let accepted = futures::future::join(first.accepted(), second.accepted());
    assert_eq!(limited(accepted).await, (Ok(()), Ok(())));
    until("five have run", || {
        seen.lock().expect("no panic").len() == 5
    })
    .await;
    assert_eq!(seen.lock().expect("no panic")[3..], [5, 5]);
    drop((root, first, second));
    harness.finish().await;
}

#[tokio::test]
async fn a_flood_is_held_back_and_queued_is_the_polite_way() {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let limits = Limits::default().with_frame(65_536).with_bytes(1 << 20);
    let harness = Setup::new(&tracker, move |_| lab.clone())
        .with(|rooted| rooted.limits(limits))
        .memory(Duration::ZERO);
    let root: LabHandle = harness.connect().await;
    let text = "x".repeat(10_000);

    // Nothing is awaited, so nothing leaves: after 1 MiB on its way 4 MiB wait here, and then it is too much.
    let mut receipts: Vec<_> = (0..700).map(|_| root.note(&text)).collect();
    let error = limited(receipts[699].queued())
        .await
        .expect_err("over 4 MiB");
    assert!(matches!(error, RpcError::Exhausted(_)), "{error:?}");
    assert!(error.to_string().contains("await `queued()`"), "{error}");
    assert!(error.is_retryable());
    let mut sent = 0;
    for receipt in &mut receipts {
        sent += usize::from(limited(receipt.handled()).await.is_ok());
    }
    assert!((500..560).contains(&sent), "{sent} of 700");
    drop(receipts);
    harness.rest().await;

    for _ in 0..600 {
        limited(root.note(&text).queued()).await.expect("polite");
    }
    assert_eq!(limited(root.flush()).await, Ok(()));
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn a_one_way_call_of_a_local_object_has_the_same_receipts() {
    let (harness, root) = one().await;
    let local = LabHandle::new(MemLab::new(&Tracker::new()));
    // A local one-way call is on its way when it returns, too.
    let mut receipt = local.note_late("here");
    assert_eq!(limited(receipt.handled()).await, Ok(()));
    assert_eq!(limited(local.notes()).await, Ok(vec!["here".to_owned()]));
    let error = limited(local.note_badly("here").handled()).await;
    assert!(matches!(error, Err(RpcError::Internal(_))), "{error:?}");
    drop((root, local));
    harness.finish().await;
}

/// Counts.
#[interface(id = "test.Tally")]
#[allow(unreachable_pub, reason = "written as a library would write it")]
pub trait Tally {
    /// Counts one, and fails at each number that can be divided by `bad`; 0: at none.
    #[oneway]
    async fn tick(&self, bad: usize);
    /// Counts one a little later.
    #[oneway]
    async fn tick_late(&self);
    /// How often it was called.
    async fn ticks(&self) -> usize;
}

#[derive(Clone, Default)]
struct Ticks(Arc<AtomicUsize>);

impl Tally for Ticks {
    async fn tick(&self, bad: usize) {
        let n = self.0.fetch_add(1, SeqCst) + 1;
        assert!(bad == 0 || !n.is_multiple_of(bad), "as asked");
    }
    async fn tick_late(&self) {
        tokio::task::yield_now().await;
        self.0.fetch_add(1, SeqCst);
    }
    async fn ticks(&self) -> usize {
        self.0.load(SeqCst)
    }
}

async fn tally() -> (Harness, TallyHandle, Ticks) {
    let (tracker, ticks) = (Tracker::new(), Ticks::default());
    let harness = Harness::memory(&tracker, TallyHandle::new(ticks.clone()));
    let root = harness.connect().await;
    (harness, root, ticks)
}

#[tokio::test]
async fn more_calls_in_one_batch_than_running_slots_all_run_and_all_end() {
    // R12.6, R13.11: most of them wait for a slot
    let (harness, root, _) = tally().await;
    for _ in 0..3 {
        for _ in 0..1000 {
            drop(root.tick(0));
        }
        assert_eq!(limited(root.flush()).await, Ok(()));
    }
    assert_eq!(limited(root.ticks()).await, Ok(3000));
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn calls_done_in_place_and_calls_that_wait_end_alike_before_a_flush() {
    // R12.5, R12.6: some of the ends of one turn come later, and one is an error
    let (harness, root, _) = tally().await;
    for n in 0..600 {
        if n % 3 == 0 {
            drop(root.tick_late());
        } else {
            drop(root.tick(0));
        }
        if n % 100 == 50 {
            drop(root.ticks());
        }
    }
    let sum = futures::future::join(root.flush(), root.ticks());
    assert_eq!(limited(sum).await.0, Ok(()));
    assert_eq!(limited(root.ticks()).await, Ok(600));
    // The 700th panics in the middle of a turn: it fails alone, and what came before and after it ends.
    for _ in 0..200 {
        drop(root.tick(700));
    }
    let error = limited(root.flush()).await;
    assert!(matches!(error, Err(RpcError::Internal(_))), "{error:?}");
    assert_eq!(limited(root.flush()).await, Ok(()));
    assert_eq!(limited(root.ticks()).await, Ok(800));
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn who_sends_many_and_awaits_queued_lets_the_first_of_them_leave() {
    let (harness, root, ticks) = tally().await;
    let mut sent = 0;
    while ticks.0.load(SeqCst) == 0 {
        limited(root.tick(0).queued()).await.expect("queued");
        sent += 1;
        // No more than that fits before an ack (S5.1), so from there on it would have to wait in any case.
        assert!(sent < 8192, "the connection task never ran");
    }
    assert_eq!(limited(root.flush()).await, Ok(()));
    assert_eq!(limited(root.ticks()).await, Ok(sent));
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn a_flood_beyond_the_replay_buffer_goes_on_as_acks_come_in() {
    // S5.1, S5.3, S4.1
    let (harness, root, _) = tally().await;
    for _ in 0..30_000 {
        limited(root.tick(0).queued()).await.expect("queued");
    }
    assert_eq!(limited(root.flush()).await, Ok(()));
    assert_eq!(limited(root.ticks()).await, Ok(30_000));
    drop(root);
    harness.finish().await;
}

/// Makes a one-way call that takes longer than the call which makes it may take.
#[interface(id = "test.Hasty")]
trait Hasty {
    async fn start(&self, slow: SlowHandle);
}

#[interface(id = "test.Slow")]
trait Slow {
    #[oneway]
    async fn work(&self);
}

struct Hurry;
impl Hasty for Hurry {
    async fn start(&self, slow: SlowHandle) {
        drop(slow.work());
        std::future::pending::<()>().await;
    }
}

struct Worker(Arc<AtomicUsize>);
impl Slow for Worker {
    async fn work(&self) {
        // sleep: virtual time, longer than the deadline of the call that made this one
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn nobodys_deadline_ends_a_one_way_call_here_or_there() {
    // R12.1: nobody waits for it.
    let tracker = Tracker::new();
    let done = Arc::new(AtomicUsize::new(0));
    let harness = Harness::memory(&tracker, HastyHandle::new(Hurry));
    let far: HastyHandle = harness.connect().await;
    let near = HastyHandle::new(Hurry);
    for (hasty, n) in [(&far, 1), (&near, 2)] {
        let slow = SlowHandle::new(Worker(done.clone()));
        let call = hasty.start(slow).deadline(Duration::from_secs(1));
        assert_eq!(limited(call).await, Err(RpcError::Deadline));
        until("it worked", || done.load(SeqCst) == n).await;
    }
    drop(far);
    harness.finish().await;
}
