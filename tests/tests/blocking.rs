//! Calls from code without async, over real sockets: `Call::wait` and `helve::blocking`.
//! harness: the clients are not async; the server is the harness's, and asserts that its tables end empty

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helve::prelude::*;
use helve::{ConnectError, Remote, State, blocking};
use helve_tests::harness::{Harness, Tracker, eventually, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::task::spawn_blocking;

/// The background thread belongs to the process, and these tests look at it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test against a server that runs on threads of its own, and its blocking code on this one.
fn with_server<T: Send + 'static>(code: impl FnOnce(&str) -> T + Send + 'static) -> T {
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = runtime.block_on(Harness::websocket(&tracker, lab));
    let url = harness.url().to_owned();
    // A thread that may be given up: one that hangs fails the test instead of holding it.
    let (done, result) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || drop(done.send(code(&url))));
    let result = result.recv_timeout(Duration::from_secs(30));
    let value = match result {
        Ok(value) => value,
        Err(_) if thread.is_finished() => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("it ended without a value"),
        },
        Err(_) => panic!("this hung for 30 s"),
    };
    runtime.block_on(harness.finish());
    value
}

#[test]
fn code_without_async_connects_calls_and_closes() {
    with_server(|url| {
        let lab: LabHandle = blocking::connect(url).expect("welcomed");
        assert_eq!(lab.echo(3).wait(), Ok(3));
        assert_eq!(lab.echo_late(4).wait(), Ok(4));
        let failed = lab.open_nothing().wait().map(drop);
        assert!(matches!(failed, Err(CallError::App(_))), "{failed:?}");
        // Pipelined, and called back by the server.
        let other = lab.open().pipelined();
        assert_eq!(other.borrow(&lab, 5).wait(), Ok(5));
        assert_eq!(blocking::wait(lab.note("done").accepted()), Ok(()));
        assert_eq!(blocking::wait(lab.note("done").handled()), Ok(()));
        assert_eq!(lab.notes().wait(), Ok(vec!["done".into(); 2]));
        let connection = lab.connection().expect("a remote handle");
        drop((lab, other));
        blocking::wait(connection.close());
        assert!(matches!(connection.state(), State::Lost { code: 1000, .. }));
    });
}

#[test]
fn many_threads_wait_at_once() {
    with_server(|url| {
        let lab: LabHandle = helve::connect(url).token("t").wait().expect("welcomed");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let lab = &lab;
                scope.spawn(move || {
                    for k in 0..50 {
                        assert_eq!(lab.echo_late(n * 100 + k).wait(), Ok(n * 100 + k));
                    }
                });
            }
        });
    });
}

#[test]
fn a_deadline_ends_a_call_that_is_waited_for() {
    with_server(|url| {
        let lab: LabHandle = blocking::connect(url).expect("welcomed");
        let late = lab.hang().deadline(Duration::from_millis(20)).wait();
        assert_eq!(late, Err(RpcError::Deadline));
        assert_eq!(lab.echo(1).deadline(Duration::from_secs(60)).wait(), Ok(1));
        // The server has dropped the method, or is about to.
        blocking::wait(eventually(|| {
            match lab.connection().map(|c| c.stats().calls) {
                Some(0) => Ok(()),
                open => Err(format!("{open:?} calls are open")),
            }
        }));
    });
}

#[test]
fn the_background_thread_ends_with_the_last_connection() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        let names = tasks
            .flatten()
            .map(|task| std::fs::read_to_string(task.path().join("comm")));
        names
            .flatten()
            .filter(|name| name.trim() == "helve-blocking")
            .count()
    };
    with_server(move |url| {
        let gone = |what: &str| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            runtime
                .expect("a runtime")
                .block_on(until(what, || threads() == 0));
        };
        gone("without a thread of an earlier test");
        let one: LabHandle = blocking::connect(url).expect("welcomed");
        let two: LabHandle = blocking::connect(url).expect("welcomed");
        if cfg!(target_os = "linux") {
            assert_eq!(threads(), 1);
        }
        drop(one);
        assert_eq!(two.echo(1).wait(), Ok(1));
        drop(two);
        gone("without a thread");
        // And begins again.
        let again: LabHandle = blocking::connect(url).expect("welcomed");
        assert_eq!(again.echo(2).wait(), Ok(2));
        let wrong = blocking::connect::<LabHandle>("http://127.0.0.1:1").map(drop);
        assert!(matches!(wrong, Err(ConnectError::Link(_))), "{wrong:?}");
    });
}

#[test]
fn a_local_object_is_waited_for_too() {
    let lab = LabHandle::new(MemLab::new(&Tracker::new()));
    assert_eq!(lab.echo(1).wait(), Ok(1));
    assert_eq!(lab.echo_late(2).wait(), Ok(2));
    assert_eq!(
        lab.panic().wait(),
        Err(RpcError::Internal("the method panicked".into()))
    );
    let late = lab.hang().deadline(Duration::from_millis(5)).wait();
    assert_eq!(late, Err(RpcError::Deadline));
}

/// What a panic says.
fn complaint<T>(blocks: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(|| drop(blocks()))) {
        Ok(()) => panic!("it blocked async code"),
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
        },
    }
}

#[tokio::test]
async fn inside_async_code_it_says_what_to_write_instead() {
    let harness = Harness::memory(
        &Tracker::new(),
        LabHandle::new(MemLab::new(&Tracker::new())),
    );
    let lab: LabHandle = harness.connect().await;
    let says = |text: String| {
        assert!(text.contains("write `.await` instead"), "{text}");
        assert!(text.contains("spawn_blocking"), "{text}");
    };
    says(complaint(|| lab.echo(1).wait()));
    says(complaint(|| blocking::wait(lab.note("x").accepted())));
    says(complaint(|| {
        blocking::connect::<LabHandle>("ws://127.0.0.1:1")
    }));
    says(complaint(|| {
        helve::connect::<LabHandle>("ws://127.0.0.1:1").wait()
    }));
    // In a task, and on another executor.
    let mine = lab.clone();
    let spawned = tokio::spawn(async move { complaint(|| mine.echo(1).wait()) });
    says(limited(spawned).await.expect("it ran"));
    let mine = lab.clone();
    let elsewhere = std::thread::spawn(move || {
        futures::executor::block_on(async { complaint(|| mine.echo(1).wait()) })
    });
    says(elsewhere.join().expect("it ran"));
    // Without a budget tokio itself says it.
    let text = tokio::task::unconstrained(async { complaint(|| lab.echo(1).wait()) }).await;
    assert!(text.contains("from within a runtime"), "{text}");
    // Where blocking is allowed, it blocks.
    let mine = lab.clone();
    let blocked = spawn_blocking(move || mine.echo_late(7).wait());
    assert_eq!(limited(blocked).await.expect("it ran"), Ok(7));
    assert_eq!(limited(lab.echo(8)).await, Ok(8));
    drop(lab);
    harness.finish().await;
}
