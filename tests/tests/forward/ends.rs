//! How forwarded handles end: with their host, their session, their call, or by being revoked; and that nothing is left.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use helve::prelude::*;
use helve::{Connection, Remote};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::sync::Notify;

use crate::{NEAR, Row, Way};

/// A server, and a client `a` whose object a client `b` holds through it.
struct Pair {
    harness: Harness,
    a: LabHandle,
    b: LabHandle,
    /// Of `a`, as itself.
    own: LabHandle,
    /// The same, as `b` holds it.
    there: LabHandle,
}

impl Pair {
    async fn new(own: impl FnOnce(&Tracker) -> LabHandle) -> Pair {
        let tracker = Tracker::new();
        let lab = LabHandle::new(MemLab::new(&tracker));
        let harness = Harness::memory(&tracker, lab);
        let (a, b): (LabHandle, LabHandle) = (harness.connect().await, harness.connect().await);
        let own = own(&tracker);
        limited(a.keep(own.clone())).await.expect("kept");
        let there = limited(b.kept()).await.expect("an answer").expect("one");
        Pair {
            harness,
            a,
            b,
            own,
            there,
        }
    }

    fn connection(handle: &LabHandle) -> Connection {
        handle.connection().expect("remote")
    }
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_handle_breaks_when_the_session_behind_it_is_lost() {
    // R9.5: BROKEN goes to every name, with the cause; a call under way may have run.
    let Pair {
        harness,
        a,
        b,
        own,
        there,
    } = Pair::new(|tracker| LabHandle::new(MemLab::new(tracker))).await;
    let piped = there.open_late().pipelined();
    assert_eq!(limited(piped.echo(1)).await, Ok(1));
    let mut hanging = there.hang();
    assert!(poll(&mut hanging).is_pending());
    let mut unanswered = there.reflect(b.clone());
    assert!(poll(&mut unanswered).is_pending());
    limited(there.echo(1)).await.expect("an answer");
    limited(Pair::connection(&a).close()).await;
    let lost = |error: RpcError| {
        let RpcError::Broken(cause) = error else {
            panic!("{error:?} is not about the handle");
        };
        assert_eq!(*cause, RpcError::Internal("upstream session lost".into()));
    };
    lost(limited(there.closed()).await);
    lost(limited(piped.closed()).await);
    let error = limited(hanging).await.expect_err("nobody answers");
    assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
    lost(limited(there.echo(1)).await.expect_err("it is broken"));
    // R22.3: sent again it arrives broken.
    let kept = limited(b.kept()).await.expect("an answer").expect("one");
    lost(limited(kept.echo(1)).await.expect_err("it is broken"));
    limited(b.forget()).await.expect("the server lives");
    assert!(limited(unanswered).await.is_ok(), "it was answered before");
    drop((a, b, own, there, piped, kept));
    harness.finish().await;
}

#[tokio::test]
async fn a_lost_host_is_told_through_every_forwarder() {
    // R9.5 over WebSockets: the cause goes on as it is.
    let row = Row::new(Way::WebSocket, 3).await;
    let root = row.connect().await;
    let opened = limited(root.open()).await.expect("opened");
    let ends = row.servers[0].server_ends();
    limited(ends[0].close()).await;
    drop(ends);
    let error = limited(opened.closed()).await;
    assert_eq!(
        error.cause(),
        &RpcError::Internal("upstream session lost".into())
    );
    assert!(limited(opened.echo(1)).await.is_err());
    assert!(
        limited(root.echo(1)).await.is_err(),
        "the root is forwarded too"
    );
    drop((root, opened));
    row.finish().await;
}

#[tokio::test]
async fn calls_end_with_the_session_that_they_came_in() {
    // R17.4, R21.4: who goes away cancels its calls behind the forwarder, and gives its handles back there.
    let row = Row::new(NEAR, 2).await;
    let root = row.connect().await;
    let opened = limited(root.open()).await.expect("opened");
    let before = row.tracker.live();
    let mut hanging = opened.hang();
    assert!(poll(&mut hanging).is_pending());
    let pending = opened.open_late().pipelined();
    until("the method runs", || row.tracker.live() > before).await;
    limited(Pair::connection(&root).close()).await;
    until("only the host's root is left", || row.tracker.live() == 1).await;
    assert!(limited(hanging).await.is_err());
    drop((root, opened, pending));
    row.finish().await;
}

#[tokio::test]
async fn revoking_reaches_who_holds_the_handle_behind_forwarders() {
    // R22.3 and R9.1: BROKEN is relayed, and a handle that is broken already arrives so.
    let mut revoker = None;
    let pair = Pair::new(|tracker| {
        let lab = LabHandle::new(MemLab::new(tracker));
        let (revocable, switch) = lab.revocable().expect("local");
        revoker = Some(switch);
        revocable
    });
    let Pair {
        harness,
        a,
        b,
        own,
        there,
    } = pair.await;
    let piped = b.reflect(there.clone()).pipelined();
    assert_eq!(limited(piped.echo(1)).await, Ok(1));
    revoker.expect("made").revoke();
    let revoked = || RpcError::Broken(Box::new(RpcError::Revoked));
    assert_eq!(limited(there.closed()).await, revoked());
    assert_eq!(limited(piped.closed()).await, revoked());
    assert_eq!(limited(there.echo(1)).await, Err(revoked()));
    let kept = limited(b.kept()).await.expect("an answer").expect("one");
    assert_eq!(limited(kept.closed()).await, revoked());
    limited(b.forget()).await.expect("forgotten");
    drop((a, b, own, there, piped, kept));
    harness.finish().await;
}

/// Between two sessions; what it is lent it lends on.
#[interface(id = "test.Middle")]
trait Middle {
    async fn lend_on(&self, lab: &LabHandle);
    async fn give_on(&self, lab: &LabHandle) -> String;
}

/// At the end: uses what it is lent when it is told to.
#[interface(id = "test.Last")]
trait Last {
    async fn use_later(&self, lab: &LabHandle);
    async fn take(&self, lab: LabHandle);
}

struct Between {
    last: LastHandle,
    /// The inner call has its handle.
    has: Arc<Notify>,
}

impl Middle for Between {
    async fn lend_on(&self, lab: &LabHandle) {
        let (last, lab, has) = (self.last.clone(), lab.clone(), self.has.clone());
        tokio::spawn(async move { last.use_later(&lab).await });
        has.notified().await;
    }
    async fn give_on(&self, lab: &LabHandle) -> String {
        let given = self.last.take(lab.clone()).await;
        format!("{given:?}")
    }
}

struct User {
    has: Arc<Notify>,
    go: Arc<Notify>,
    said: Arc<std::sync::Mutex<Vec<Result<u64, RpcError>>>>,
}

impl Last for User {
    async fn use_later(&self, lab: &LabHandle) {
        let first = lab.echo(1).await;
        self.has.notify_one();
        self.go.notified().await;
        let second = lab.echo(2).await;
        self.said.lock().expect("no panic").extend([first, second]);
    }
    async fn take(&self, _lab: LabHandle) {}
}

#[tokio::test]
async fn a_lent_handle_breaks_in_a_third_session_when_the_outer_call_ends() {
    let (tracker, none) = (Tracker::new(), Tracker::new());
    let (has, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let said = Arc::new(std::sync::Mutex::new(Vec::new()));
    let user = LastHandle::new(User {
        has: has.clone(),
        go: go.clone(),
        said: said.clone(),
    });
    let last = Setup::new(&none, move |_| user.clone()).memory(Duration::ZERO);
    let behind: LastHandle = last.connect().await;
    let between = MiddleHandle::new(Between { last: behind, has });
    let middle = Setup::new(&none, move |_| between.clone()).memory(Duration::ZERO);
    let root: MiddleHandle = middle.connect().await;
    let mine = LabHandle::new(MemLab::new(&tracker));
    // R3.4: passed on only as lent.
    let given = limited(root.give_on(&mine)).await.expect("an answer");
    assert!(given.contains("can be lent on"), "{given}");
    // R3.6: the inner call goes on, and what it was lent is broken when the outer call has ended.
    limited(root.lend_on(&mine)).await.expect("it ends first");
    go.notify_one();
    until("the inner call ended", || {
        said.lock().expect("no panic").len() == 2
    })
    .await;
    let said = std::mem::take(&mut *said.lock().expect("no panic"));
    assert_eq!(said[0], Ok(1));
    let lent = "lent, and the call it was lent for is over";
    assert_eq!(said[1], Err(RpcError::Internal(lent.into()).broken()));
    drop(root);
    last.rest().await;
    middle.finish().await;
    last.finish().await;
    until("mine is not held", || {
        drop(mine.clone());
        tracker.live() == 1
    })
    .await;
}

/// A bit of everything, to be dropped anywhere.
async fn something(root: LabHandle, mine: LabHandle) {
    let opened = root.open_late().pipelined();
    let again = root.reflect(opened.clone()).pipelined();
    drop(again.note_late("x"));
    let late = opened.echo_late(1);
    let borrowed = root.borrow(&mine, 2);
    let (late, borrowed) = tokio::join!(late, borrowed);
    assert_eq!((late, borrowed), (Ok(1), Ok(2)));
    let home = root.reflect(mine.clone()).pipelined();
    assert_eq!(home.echo_late(3).await, Ok(3));
    root.keep(mine).await.expect("kept");
    assert_eq!(root.use_kept(4).await, Ok(4));
    root.forget().await.expect("forgotten");
    assert!(again.flush().await.is_ok());
    let handles = root.bundle().await.expect("made").into_all();
    assert_eq!(handles[0].echo(5).await, Ok(5));
}

#[tokio::test]
async fn a_task_dropped_at_any_await_leaves_nothing_at_any_of_three_nodes() {
    let row = Row::new(NEAR, 2).await;
    let root = row.connect().await;
    // Dropped after so many polls, and after the others went on by so many steps: calls are caught on every hop.
    for steps in 0..12 {
        let mut done = false;
        for polls in 1.. {
            let mut task = Box::pin(something(root.clone(), row.lab()));
            for _ in 0..polls {
                done = done || poll(&mut task).is_ready();
                if !done {
                    tokio::task::yield_now().await;
                }
            }
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
            drop(task);
            if done {
                break;
            }
            assert!(polls < 1_000, "it does not end");
        }
    }
    limited(root.forget()).await.expect("forgotten");
    drop(root);
    row.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_use_and_drop_forwarded_handles_at_once() {
    for way in [NEAR, Way::WebSocket] {
        let row = Row::new(way, 2).await;
        let root = row.connect().await;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let (root, mine) = (root.clone(), row.lab());
                tokio::spawn(async move {
                    for n in 0..40 {
                        let opened = root.open_late().pipelined();
                        let call = opened.echo_late(n);
                        if (n + task) % 3 == 0 {
                            let call = pin!(call);
                            drop(tokio::time::timeout(Duration::ZERO, call).await);
                        } else {
                            assert_eq!(call.await, Ok(n));
                        }
                        assert_eq!(root.borrow(&mine, n).await, Ok(n));
                        let home = root.reflect(mine.clone()).pipelined();
                        assert_eq!(home.echo(n).await, Ok(n));
                        assert!(home == mine);
                        // Settled when this is answered: its own answer came before.
                        assert_eq!(opened.echo(n).await, Ok(n));
                        let same = root.reflect(opened.clone()).await.expect("back");
                        assert!(same == opened);
                        drop(same.note("x"));
                    }
                })
            })
            .collect();
        for task in tasks {
            limited(task).await.expect("no panic");
        }
        drop(root);
        row.finish().await;
    }
}
