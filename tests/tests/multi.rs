//! Many threads, many tasks, one connection.

use std::time::Duration;

use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

const TASKS: u64 = 64;
const CALLS: u64 = 1_000;

/// Every kind of call, picked by its number; a handle opened on the way is passed back and dropped.
async fn mixed(root: &LabHandle, mine: &LabHandle, shared: &LabHandle, n: u64) {
    match n % 13 {
        0 => assert_eq!(root.echo(n).await, Ok(n)),
        1 => assert_eq!(root.echo_late(n).await, Ok(n)),
        2 => assert!(shared.add(1).await.is_ok()),
        3 => assert_eq!(root.open().pipelined().echo(n).await, Ok(n)),
        4 => assert_eq!(
            root.open_late().pipelined().open().pipelined().add(n).await,
            Ok(n)
        ),
        5 => {
            let handle = root.open().await.expect("opened");
            let again = root.reflect(handle.clone()).await.expect("came back");
            assert!(again == handle);
        }
        6 => assert_eq!(root.borrow(mine, n).await, Ok(n)),
        7 => {
            let home = root.reflect(mine.clone()).await.expect("came home");
            assert!(home == *mine);
        }
        8 => {
            // Dropped before its answer: cancelled.
            let call = root.echo_late(n);
            drop(tokio::time::timeout(Duration::ZERO, call).await);
        }
        9 => assert!(root.note("x").accepted().await.is_ok()),
        10 => drop(shared.note_late("x")),
        11 => assert!(root.open_nothing().pipelined().echo(n).await.is_err()),
        _ => {
            let handles = root.bundle().await.expect("made").into_all();
            assert_eq!(handles[n as usize % handles.len()].echo(n).await, Ok(n));
        }
    }
}

async fn storm(harness: Harness, tracker: &Tracker) {
    let root: LabHandle = harness.connect().await;
    let shared = limited(root.open()).await.expect("opened");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (root, shared) = (root.clone(), shared.clone());
            let mine = LabHandle::new(MemLab::new(tracker));
            tokio::spawn(async move {
                for n in 0..CALLS {
                    limited(mixed(&root, &mine, &shared, task + n)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        // Each of its calls is limited; how long all of them take is the machine's affair.
        task.await.expect("no panic");
    }
    limited(shared.flush()).await.expect("all notes were taken");
    let due = (0..TASKS).flat_map(|task| (0..CALLS).map(move |n| task + n));
    let due = due.filter(|n| n % 13 == 2).count() as u64;
    assert_eq!(limited(shared.add(0)).await, Ok(due), "each `add` ran once");
    drop((root, shared));
    harness.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_tasks_make_a_thousand_calls_each_in_memory() {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    storm(Harness::memory(&tracker, lab), &tracker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_tasks_make_a_thousand_calls_each_over_a_websocket() {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    storm(Harness::websocket(&tracker, lab).await, &tracker).await;
}
