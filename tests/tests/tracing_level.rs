//! The level that a process logs at may change while calls run. This is a program of its own, as the level is one for all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker, limited};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Whether level `DEBUG` is wanted.
static FINE: AtomicBool = AtomicBool::new(true);
static OPENED: AtomicU64 = AtomicU64::new(0);
static ENTERED: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);
static CLOSED: AtomicU64 = AtomicU64::new(0);

/// Counts what becomes of the spans of calls that come in. Nobody clones them for longer than a moment.
struct Counting;

fn is_serving(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "helve::serve"
}

impl Subscriber for Counting {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        let fine = FINE.load(Ordering::SeqCst);
        Some(if fine {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_serving(metadata) && FINE.load(Ordering::SeqCst)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(OPENED.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        ENDED.fetch_add(u64::from(!values.is_empty()), Ordering::SeqCst);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {
        ENTERED.fetch_add(1, Ordering::SeqCst);
    }

    fn exit(&self, _: &Id) {
        LEFT.fetch_add(1, Ordering::SeqCst);
    }

    fn try_close(&self, _: Id) -> bool {
        CLOSED.fetch_add(1, Ordering::SeqCst);
        true
    }
}

#[interface(id = "test.Slow")]
trait Slow {
    async fn wait(&self);
    async fn go(&self);
}

#[derive(Default)]
struct Waiting(Notify);

impl Slow for Waiting {
    async fn wait(&self) {
        self.0.notified().await;
    }
    async fn go(&self) {
        self.0.notify_one();
    }
}

fn log_fine(fine: bool) {
    FINE.store(fine, Ordering::SeqCst);
    tracing::callsite::rebuild_interest_cache();
}

#[tokio::test]
async fn a_span_is_left_and_closed_also_if_its_level_is_switched_off_meanwhile() {
    tracing::subscriber::set_global_default(Counting).expect("the only one");
    let harness = Harness::memory(&Tracker::new(), SlowHandle::new(Waiting::default()));
    let root: SlowHandle = harness.connect().await;
    let mut waiting = root.wait();
    assert!(futures::poll!(&mut waiting).is_pending());
    let opened = || OPENED.load(Ordering::SeqCst);
    helve_tests::harness::until("the call came", || opened() > 0).await;
    let before = opened();
    log_fine(false);
    limited(root.go()).await.expect("it ran");
    limited(waiting).await.expect("it ran");
    assert_eq!(opened(), before, "no more are opened");
    assert_eq!(ENDED.load(Ordering::SeqCst), before, "it has its outcome");
    let (entered, left) = (ENTERED.load(Ordering::SeqCst), LEFT.load(Ordering::SeqCst));
    assert!(entered >= 2 && entered == left, "{entered} and {left}");
    // Switched on again, they are opened again.
    log_fine(true);
    limited(root.go()).await.expect("it ran");
    assert_eq!(opened(), before + 1);
    drop(root);
    harness.finish().await;
    assert_eq!(ENDED.load(Ordering::SeqCst), opened());
    // Each is cloned once for each time that it is entered and left.
    let holders = opened() + ENTERED.load(Ordering::SeqCst) + LEFT.load(Ordering::SeqCst);
    assert_eq!(CLOSED.load(Ordering::SeqCst), holders);
}
