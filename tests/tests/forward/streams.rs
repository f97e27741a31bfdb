//! Streams inside calls that a forwarder passes on without looking: bytes, references, credit, and both kinds of end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use helve::Limits;
use helve::prelude::*;
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};

/// Gives and takes streams.
#[interface(id = "test.River")]
trait River {
    fn count(&self, upto: u64) -> Streaming<u64>;
    async fn counted(&self, upto: u64) -> Streaming<u64>;
    fn blocks(&self) -> Streaming<Vec<u8>>;
    fn failing(&self) -> Streaming<u64>;
    fn labs(&self, n: u64) -> Streaming<LabHandle>;
    async fn sum(&self, values: Streaming<u64>) -> u64;
    async fn echo(&self, labs: Streaming<LabHandle>) -> u64;
    async fn ping(&self) -> u64;
}

struct Source {
    tracker: Tracker,
    /// Blocks that were made.
    made: Arc<AtomicU64>,
}

impl River for Source {
    fn count(&self, upto: u64) -> Streaming<u64> {
        (0..upto).collect()
    }
    async fn counted(&self, upto: u64) -> Streaming<u64> {
        (0..upto).collect()
    }
    fn blocks(&self) -> Streaming<Vec<u8>> {
        let (made, alive) = (self.made.clone(), self.tracker.track());
        Streaming::new(futures::stream::repeat_with(move || {
            let _alive = &alive;
            made.fetch_add(1, Ordering::Relaxed);
            vec![7; 8_000]
        }))
    }
    fn failing(&self) -> Streaming<u64> {
        let values = (0..1_000).map(Ok);
        let end = [Err(RpcError::Denied("no more for you".into()))];
        Streaming::try_new(futures::stream::iter(values.chain(end)))
    }
    fn labs(&self, n: u64) -> Streaming<LabHandle> {
        let labs = (0..n).map(|_| LabHandle::new(MemLab::new(&self.tracker)));
        labs.collect()
    }
    async fn sum(&self, mut values: Streaming<u64>) -> u64 {
        let mut sum = 0;
        while let Ok(Some(value)) = values.try_next().await {
            sum += value;
        }
        sum
    }
    async fn echo(&self, mut labs: Streaming<LabHandle>) -> u64 {
        let mut answered = 0;
        while let Ok(Some(lab)) = labs.try_next().await {
            answered += lab.echo(1).await.unwrap_or_default();
        }
        answered
    }
    async fn ping(&self) -> u64 {
        1
    }
}

/// A host, forwarders, and a client of the last.
struct Course {
    servers: Vec<Harness>,
    tracker: Tracker,
    made: Arc<AtomicU64>,
    root: RiverHandle,
}

impl Course {
    async fn new(forwarders: usize, websocket: bool) -> Course {
        Course::with(forwarders, websocket, Limits::default()).await
    }

    /// With these limits of the host.
    async fn with(forwarders: usize, websocket: bool, limits: Limits) -> Course {
        let (tracker, made) = (Tracker::new(), Arc::new(AtomicU64::new(0)));
        let host = RiverHandle::new(Source {
            tracker: tracker.clone(),
            made: made.clone(),
        });
        let mut servers = Vec::new();
        let mut setup = Setup::new(&tracker, move |_| host.clone());
        setup = setup.with(|rooted| rooted.limits(limits));
        loop {
            servers.push(if websocket {
                setup.websocket().await
            } else {
                setup.memory(Duration::ZERO)
            });
            let root: RiverHandle = servers[servers.len() - 1].connect().await;
            if servers.len() > forwarders {
                return Course {
                    servers,
                    tracker,
                    made,
                    root,
                };
            }
            setup = Setup::new(&Tracker::new(), move |_| root.clone());
        }
    }

    async fn finish(self) {
        drop(self.root);
        for server in &self.servers {
            server.rest().await;
        }
        for server in self.servers.into_iter().rev() {
            limited(server.finish()).await;
        }
    }
}

async fn total(mut values: Streaming<u64>) -> Result<u64, RpcError> {
    let mut sum = 0;
    while let Some(value) = values.try_next().await? {
        sum += value;
    }
    Ok(sum)
}

#[tokio::test]
async fn streams_pass_both_ways_through_forwarders() {
    // R9.8, R19.1
    for (forwarders, websocket) in [(1, false), (3, false), (2, true)] {
        let course = Course::new(forwarders, websocket).await;
        let root = &course.root;
        let due = |n: u64| n * (n - 1) / 2;
        assert_eq!(limited(total(root.count(5))).await, Ok(due(5)));
        assert_eq!(limited(total(root.count(50_000))).await, Ok(due(50_000)));
        assert_eq!(limited(total(root.count(0))).await, Ok(0));
        let counted = limited(root.counted(9_000)).await.expect("opened");
        assert_eq!(limited(total(counted)).await, Ok(due(9_000)));
        let values: Streaming<u64> = (0..50_000).collect();
        assert_eq!(limited(root.sum(values)).await, Ok(due(50_000)));
        // R15.1: references inside items, both ways.
        let mut labs = root.labs(20);
        let mut answered = 0;
        while let Some(lab) = limited(labs.try_next()).await.expect("a lab") {
            answered += limited(lab.echo(1)).await.expect("an answer");
        }
        assert_eq!(answered, 20);
        let mine = (0..20).map(|_| LabHandle::new(MemLab::new(&course.tracker)));
        assert_eq!(limited(root.echo(mine.collect())).await, Ok(20));
        drop(labs);
        course.finish().await;
    }
}

#[tokio::test]
async fn an_error_of_a_stream_is_its_last_item_behind_forwarders() {
    // R19.6
    let course = Course::new(2, false).await;
    let mut values = course.root.failing();
    for n in 0..1_000 {
        assert_eq!(limited(values.try_next()).await, Ok(Some(n)));
    }
    let denied = RpcError::Denied("no more for you".into());
    assert_eq!(limited(values.try_next()).await, Err(denied));
    drop(values);
    course.finish().await;
}

#[tokio::test]
async fn a_slow_reader_slows_its_producer_through_forwarders_and_nothing_else() {
    // R9.8, R19.2: of what waits, each forwarder holds no more than its window.
    let course = Course::new(2, false).await;
    let mut blocks = course.root.blocks();
    for _ in 0..3 {
        let block = limited(blocks.try_next()).await.expect("a block");
        assert_eq!(block.map(|block| block.len()), Some(8_000));
    }
    // Others pass it while it stands.
    for _ in 0..200 {
        assert_eq!(limited(course.root.ping()).await, Ok(1));
    }
    let made = course.made.load(Ordering::Relaxed);
    // Three sessions, each with 64 KiB and one DATA more of blocks of 8,000 bytes, and one more in hand.
    assert!(made < 3 * (9 + 3) + 5, "{made} blocks were made");
    for _ in 0..200 {
        assert!(limited(blocks.try_next()).await.is_ok());
    }
    // R19.5: whoever drops it stops it at its host.
    assert_eq!(course.tracker.live(), 1);
    drop(blocks);
    until("its producer is dropped", || course.tracker.live() == 0).await;
    course.finish().await;
}

#[tokio::test]
async fn a_stream_whose_call_waits_at_the_forwarder_begins_when_that_goes() {
    // R9.3, R10.6: its first items are there before its reader has a name for it.
    let course = Course::with(1, false, Limits::default().with_nested(1)).await;
    let (sender, slow) = Streaming::channel(1);
    let first = tokio::spawn(course.root.sum(slow));
    sender.send(1).await.expect("it is read");
    let second = tokio::spawn(course.root.sum((0..100).collect()));
    let waiting = || {
        let ends = course.servers[1].server_ends();
        ends.iter().map(|end| end.stats().incoming).sum::<usize>() == 2
    };
    until("both at the forwarder", waiting).await;
    sender.send(2).await.expect("it is read");
    sender.send(3).await.expect("it is read");
    assert!(!second.is_finished());
    drop(sender);
    assert_eq!(limited(first).await.expect("no panic"), Ok(6));
    assert_eq!(limited(second).await.expect("no panic"), Ok(4_950));
    course.finish().await;
}

#[tokio::test]
async fn a_stream_ends_with_an_error_when_its_host_is_lost() {
    // R9.5: an error as the last item, not a good end.
    let course = Course::new(1, false).await;
    let mut blocks = course.root.blocks();
    assert!(limited(blocks.try_next()).await.is_ok());
    let ends = course.servers[0].server_ends();
    limited(ends[0].close()).await;
    drop(ends);
    let error = loop {
        match limited(blocks.try_next()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a good end"),
            Err(error) => break error,
        }
    };
    assert_eq!(
        error.cause(),
        &RpcError::Internal("upstream session lost".into())
    );
    drop(blocks);
    course.finish().await;
}
