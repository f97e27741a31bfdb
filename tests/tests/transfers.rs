//! Arguments and results above 65,536 bytes, from the outside: they arrive whole, small calls pass them, and one that is
//! given up in the middle leaves nothing behind (R18).

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use helve::Limits;
use helve::prelude::*;
use helve_tests::harness::{Harness, Setup, Tracked, Tracker, limited, until};

const MIB: usize = 1 << 20;

/// A field that is long, beside others.
#[derive(Wire, Clone, Debug, PartialEq)]
pub struct Chunk {
    name: String,
    data: Bytes,
    next: Option<Box<Chunk>>,
}

/// The interface.
#[interface(id = "test.Store")]
pub trait Store {
    /// How long it is, and its first and last byte.
    async fn put(&self, data: Bytes) -> (u64, u8, u8);
    /// The same for bytes that are only looked at.
    async fn look(&self, data: &[u8]) -> (u64, u8, u8);
    /// So many bytes.
    async fn get(&self, len: u64) -> Bytes;
    /// Back.
    async fn chunk(&self, chunk: Chunk) -> Chunk;
    /// All of it, the other way round.
    async fn swap(&self, name: &str, a: Bytes, n: u8, b: Bytes) -> (String, Bytes, u8, Bytes);
    /// Keeps the length.
    #[oneway]
    async fn note(&self, data: Bytes);
    /// All lengths that were noted, in order.
    async fn notes(&self) -> Vec<u64>;
    /// Its argument.
    async fn echo(&self, n: u64) -> u64;
    /// Another one.
    async fn other(&self) -> StoreHandle;
    /// Keeps a handle beside the bytes.
    async fn give(&self, store: StoreHandle, data: Bytes) -> StoreHandle;
}

struct MemStore {
    tracker: Tracker,
    _tracked: Tracked,
    notes: Mutex<Vec<u64>>,
}

impl MemStore {
    fn new(tracker: &Tracker) -> MemStore {
        MemStore {
            tracker: tracker.clone(),
            _tracked: tracker.track(),
            notes: Mutex::default(),
        }
    }
}

fn ends(data: &[u8]) -> (u64, u8, u8) {
    let (first, last) = (data.first(), data.last());
    (
        data.len() as u64,
        first.copied().unwrap_or(0),
        last.copied().unwrap_or(0),
    )
}

/// Bytes that repeat every 251.
fn bytes(len: usize) -> Bytes {
    let period: Vec<u8> = (0..251).collect();
    let mut bytes = period.repeat(len.div_ceil(251));
    bytes.truncate(len);
    bytes.into()
}

impl Store for MemStore {
    async fn put(&self, data: Bytes) -> (u64, u8, u8) {
        ends(&data)
    }
    async fn look(&self, data: &[u8]) -> (u64, u8, u8) {
        ends(data)
    }
    async fn get(&self, len: u64) -> Bytes {
        bytes(len as usize)
    }
    async fn chunk(&self, chunk: Chunk) -> Chunk {
        chunk
    }
    async fn swap(&self, name: &str, a: Bytes, n: u8, b: Bytes) -> (String, Bytes, u8, Bytes) {
        (name.into(), b, n, a)
    }
    async fn note(&self, data: Bytes) {
        self.notes
            .lock()
            .expect("unpoisoned")
            .push(data.len() as u64);
    }
    async fn notes(&self) -> Vec<u64> {
        self.notes.lock().expect("unpoisoned").clone()
    }
    async fn echo(&self, n: u64) -> u64 {
        n
    }
    async fn other(&self) -> StoreHandle {
        StoreHandle::new(MemStore::new(&self.tracker))
    }
    async fn give(&self, store: StoreHandle, data: Bytes) -> StoreHandle {
        assert_eq!(store.echo(data.len() as u64).await, Ok(data.len() as u64));
        store
    }
}

fn limits() -> Limits {
    Limits::default().with_frame(65 << 20).with_bytes(130 << 20)
}

fn setup() -> Setup {
    let tracker = Tracker::new();
    let root = StoreHandle::new(MemStore::new(&tracker));
    Setup::new(&tracker, move |_| root.clone()).with(|rooted| rooted.limits(limits()))
}

async fn connect(harness: Harness) -> (Harness, StoreHandle) {
    let client = harness
        .connect_with(|connect| connect.limits(limits()))
        .await
        .expect("taken");
    (harness, client)
}

async fn websocket() -> (Harness, StoreHandle) {
    connect(setup().websocket().await).await
}

async fn both() -> [(Harness, StoreHandle); 2] {
    [
        connect(setup().memory(Duration::ZERO)).await,
        websocket().await,
    ]
}

#[tokio::test]
async fn long_arguments_and_results_arrive_whole() {
    for (harness, store) in both().await {
        for len in [65_000, 65_536, 65_537, 70_000, 3 * MIB, 20 * MIB] {
            let data = bytes(len);
            assert_eq!(limited(store.put(data.clone())).await, Ok(ends(&data)));
            assert_eq!(limited(store.look(&data)).await, Ok(ends(&data)));
            assert_eq!(limited(store.get(len as u64)).await, Ok(data));
        }
        let chunk = Chunk {
            name: "a".repeat(100_000),
            data: bytes(300_000),
            next: Some(Box::new(Chunk {
                name: "b".into(),
                data: bytes(2 * MIB),
                next: None,
            })),
        };
        assert_eq!(limited(store.chunk(chunk.clone())).await, Ok(chunk));
        drop(store);
        harness.finish().await;
    }
}

#[tokio::test]
async fn small_calls_pass_an_argument_of_64_mebibytes() {
    for (harness, store) in both().await {
        let other = limited(store.other()).await.expect("runs");
        let data = bytes(64 * MIB);
        let mut large = store.put(data.clone());
        let task = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut large).poll(task).is_pending());
        // A task of its own: what a test runs itself is polled but once in 61 turns.
        let passed = tokio::spawn(async move {
            let mut passed = 0;
            loop {
                tokio::select! {
                    biased;
                    done = &mut large => {
                        assert_eq!(done, Ok(ends(&data)));
                        return passed;
                    }
                    echoed = other.echo(passed) => {
                        assert_eq!(echoed, Ok(passed));
                        passed += 1;
                    }
                }
            }
        });
        let passed = limited(passed).await.expect("no panic");
        assert!(passed > 50, "only {passed} small calls passed it");
        drop(store);
        harness.finish().await;
    }
}

#[tokio::test]
async fn one_way_calls_of_any_size_run_in_order_and_are_acknowledged_whole() {
    for (harness, store) in both().await {
        let lens = [10, 100_000, 20, 5 * MIB, 30];
        let mut last = None;
        for len in lens {
            last = Some(store.note(bytes(len)));
        }
        let mut last = last.expect("some");
        assert_eq!(limited(last.accepted()).await, Ok(()));
        assert_eq!(limited(last.handled()).await, Ok(()));
        let lens = lens.map(|len| len as u64).to_vec();
        assert_eq!(limited(store.notes()).await, Ok(lens));
        drop((store, last));
        harness.finish().await;
    }
}

#[tokio::test]
async fn long_bytes_among_other_arguments_arrive_in_their_places() {
    for (harness, store) in both().await {
        for (first, second) in [(MIB, 5), (5, MIB), (MIB, 2 * MIB), (65_536, 65_537)] {
            let (a, b) = (bytes(first), bytes(second).slice(1..));
            let back = limited(store.swap("name", a.clone(), 7, b.clone())).await;
            assert_eq!(back, Ok(("name".into(), b, 7, a)));
        }
        drop(store);
        harness.finish().await;
    }
}

#[tokio::test]
async fn long_bytes_that_wait_for_a_permit_arrive() {
    let tracker = Tracker::new();
    let root = StoreHandle::new(MemStore::new(&tracker));
    let limits = Limits::default().with_calls(1);
    let harness = Setup::new(&tracker, move |_| root.clone())
        .with(|rooted| rooted.limits(limits))
        .memory(Duration::ZERO);
    let store: StoreHandle = harness.connect().await;
    let calls = (0..5).map(|n| store.put(bytes(100_000 + n)));
    for (n, done) in limited(join_all(calls)).await.into_iter().enumerate() {
        assert_eq!(done.map(|ends| ends.0), Ok(100_000 + n as u64));
    }
    drop(store);
    harness.finish().await;
}

#[tokio::test]
async fn handles_travel_beside_long_bytes() {
    for (harness, store) in both().await {
        let mine = StoreHandle::new(MemStore::new(&Tracker::new()));
        let back = limited(store.give(mine.clone(), bytes(MIB))).await;
        assert_eq!(back.expect("runs"), mine);
        drop((store, mine));
        harness.finish().await;
    }
}

#[tokio::test]
async fn many_transfers_at_once_share_the_link() {
    for (harness, store) in both().await {
        let calls = (0..100).map(|n| store.put(bytes(100_000 + 1_000 * n)));
        for (n, done) in limited(join_all(calls)).await.into_iter().enumerate() {
            assert_eq!(done.map(|ends| ends.0), Ok(100_000 + 1_000 * n as u64));
        }
        let calls = (0..100).map(|n| store.get(100_000 + 1_000 * n));
        for (n, done) in limited(join_all(calls)).await.into_iter().enumerate() {
            assert_eq!(done.map(|data| data.len()), Ok(100_000 + 1_000 * n));
        }
        drop(store);
        harness.finish().await;
    }
}

#[tokio::test]
async fn transfers_that_are_dropped_anywhere_leave_nothing() {
    for (harness, store) in both().await {
        let other = limited(store.other()).await.expect("runs");
        let data = bytes(2 * MIB);
        for polls in 0..60 {
            let mut up = store.put(data.clone());
            let mut down = other.get(2 * MIB as u64);
            let mut given = other.give(store.clone(), data.clone());
            for _ in 0..polls {
                let task = &mut Context::from_waker(Waker::noop());
                _ = Pin::new(&mut up).poll(task);
                _ = Pin::new(&mut down).poll(task);
                _ = Pin::new(&mut given).poll(task);
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(limited(store.echo(1)).await, Ok(1));
        assert_eq!(limited(other.echo(1)).await, Ok(1));
        drop((store, other));
        harness.finish().await;
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_in_transfer_holds() {
    let tracker = Tracker::new();
    let root = StoreHandle::new(MemStore::new(&tracker));
    let harness = Setup::new(&tracker, move |_| root.clone()).memory(Duration::from_millis(50));
    tokio::time::pause();
    let store: StoreHandle = harness.connect().await;
    // 16 MiB through a window of 256 KiB take 64 round trips of 100 ms.
    let call = store
        .put(bytes(10 * MIB))
        .deadline(Duration::from_millis(500));
    assert_eq!(limited(call).await, Err(RpcError::Deadline));
    assert_eq!(limited(store.echo(1)).await, Ok(1));
    drop(store);
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_closed_during_transfers_gives_each_one_outcome() {
    let (harness, store) = websocket().await;
    let connection = store.connection().expect("remote");
    let calls = [
        tokio::spawn(store.put(bytes(60 * MIB))),
        tokio::spawn(store.put(bytes(60 * MIB))),
    ];
    until("a transfer under way", || connection.stats().transfers > 0).await;
    connection.close().await;
    for call in calls {
        // A polite end waits for what is under way, up to 5 s; what is not done by then has an outcome, too.
        match limited(call).await.expect("no panic") {
            Ok((len, ..)) => assert_eq!(len, 60 << 20),
            Err(RpcError::NotSent | RpcError::MaybeRan) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    drop((store, connection));
    harness.finish().await;
}

#[test]
fn long_bytes_are_copied_once_at_each_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (harness, store) =
        runtime.block_on(async { connect(setup().memory(Duration::ZERO)).await });
    let len = 32 * MIB;
    let data = bytes(len);
    let put = allocation_counter::measure(|| {
        let done = runtime.block_on(limited(store.put(data.clone())));
        assert_eq!(done.map(|ends| ends.0), Ok(len as u64));
    });
    let get = allocation_counter::measure(|| {
        let got = runtime.block_on(limited(store.get(len as u64)));
        assert_eq!(got.map(|data| data.len()), Ok(len));
    });
    // Once into the messages that go, and once into the buffer that they are put together in, which takes one and a half
    // as it grows. `get` makes its result, too.
    let times = |bytes: u64| bytes as f64 / len as f64;
    assert!(times(put.bytes_total) < 2.6, "{}", times(put.bytes_total));
    assert!(times(get.bytes_total) < 3.6, "{}", times(get.bytes_total));
    drop(store);
    runtime.block_on(harness.finish());
}
