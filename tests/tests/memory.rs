//! What a live handle costs at each end, counted by the allocator. A program of its own, since it brings an allocator.
//!
//! Each end has a thread and a runtime of its own, so that what is allocated on a thread belongs to its end; they speak
//! over a WebSocket, so no buffer passes from one to the other. `HELVE_HANDLES=1000000` counts a million instead of the
//! 200,000 that a debug build does quickly.

use std::sync::mpsc;
use std::time::Duration;

use allocation_counter::measure;
use helve::prelude::*;
use helve::{Limits, Remote, Server};
use helve_tests::harness::{limited, until};
use tokio::sync::oneshot;

/// What may be spent on a handle at either end, the user's object not counted.
const MOST: f64 = 200.0;
/// Handles in one answer; a message carries up to 255.
const BUNCH: usize = 250;

/// Gives objects away.
#[interface(id = "test.Hoard")]
#[allow(unreachable_pub, reason = "written as a library would write it")]
pub trait Hoard {
    /// That many new ones.
    async fn items(&self, count: usize) -> Vec<ItemHandle>;
}

/// One of many.
#[interface(id = "test.Item")]
#[allow(unreachable_pub, reason = "written as a library would write it")]
pub trait Item {
    /// Its number.
    async fn number(&self) -> u64;
    /// Changes it.
    async fn set(&mut self, n: u64);
}

struct Heap;
impl Hoard for Heap {
    async fn items(&self, count: usize) -> Vec<ItemHandle> {
        (0..count as u64)
            .map(|n| ItemHandle::new(Thing(n)))
            .collect()
    }
}

struct Thing(u64);
impl Item for Thing {
    async fn number(&self) -> u64 {
        self.0
    }
    async fn set(&mut self, n: u64) {
        self.0 = n;
    }
}

fn count() -> usize {
    let count = std::env::var("HELVE_HANDLES").ok();
    let count = count.map_or(200_000, |text| text.parse().expect("a number"));
    count / BUNCH * BUNCH
}

/// Room for as many handles as there may be.
fn room() -> Limits {
    Limits::default().with_table(u32::MAX)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// What `f` leaves allocated on this thread, per handle.
fn kept(f: impl FnOnce()) -> f64 {
    measure(f).bytes_current as f64 / count() as f64
}

#[test]
fn a_live_handle_costs_at_most_200_bytes_at_each_end() {
    let count = count();
    // What an object costs that nobody far away holds.
    let mut objects = Vec::with_capacity(count);
    let object = kept(|| objects.extend((0..count as u64).map(|n| ItemHandle::new(Thing(n)))));
    drop(objects);

    let (say_url, url) = mpsc::channel();
    let (say_held, held) = oneshot::channel::<()>();
    let (say_counted, counted) = mpsc::channel();
    let server = std::thread::spawn(move || {
        let runtime = runtime();
        let bound = runtime.block_on(async {
            // harness: each end has a thread of its own
            let hoard = Server::builder()
                .limits(room())
                .root(|_| async { Ok(HoardHandle::new(Heap)) });
            hoard.bind("ws://127.0.0.1:0").await.expect("a free port")
        });
        let host = bound.host();
        say_url.send(bound.url().to_owned()).expect("listened to");
        let running = runtime.spawn(bound.run());
        let bytes = kept(|| runtime.block_on(async { held.await.expect("said") }));
        assert_eq!(host.objects(), count + 1);
        say_counted.send(bytes).expect("listened to");
        runtime.block_on(until("every object released", || host.objects() == 0));
        running.abort();
    });

    let runtime = runtime();
    let url = url.recv().expect("bound");
    let root: HoardHandle = runtime.block_on(async {
        // harness: each end has a thread of its own
        let connect = helve::connect(url).limits(room());
        limited(connect.into_future()).await.expect("connected")
    });
    let mut handles = Vec::new();
    let client = kept(|| {
        handles.reserve_exact(count);
        runtime.block_on(async {
            let all = async {
                while handles.len() < count {
                    handles.extend(root.items(BUNCH).await.expect("a bunch"));
                }
            };
            let patience = Duration::from_secs(300);
            tokio::time::timeout(patience, all).await.expect("in time");
        });
    });
    say_held.send(()).expect("listened to");
    let server_bytes = counted.recv().expect("counted") - object;
    println!(
        "{count} handles: {server_bytes:.1} bytes each at their host, {client:.1} at their holder; an object of 8 bytes: {object:.1}"
    );

    let last = runtime.block_on(limited(handles[count - 1].number()));
    assert_eq!(last, Ok(BUNCH as u64 - 1));
    let back = kept(|| {
        drop(handles);
        runtime.block_on(async {
            let connection = root.connection().expect("remote");
            until("all given back", || connection.stats().imports == 0).await;
            drop(root);
            limited(connection.close()).await;
        });
    });
    server.join().expect("the server found nothing leaked");
    let left = client + back;
    assert!(left < 1.0, "{left:.1} bytes of each are left at the holder");

    assert!(server_bytes <= MOST, "{server_bytes:.1} bytes at the host");
    assert!(client <= MOST, "{client:.1} bytes at the holder");
}
