//! Calls of every kind through forwarders, callbacks through them, and what calls carry.

use std::time::Duration;

use helve::prelude::*;
use helve_tests::harness::{Setup, Tracker, limited, until};
use helve_tests::lab::LabError;
use helve_tests::lab::{Bundle, LabHandle, MemLab};

use crate::{NEAR, Row, Way};

/// Every kind of call, and handles both ways.
async fn everything(row: Row) {
    let root = row.connect().await;
    // R9.1: a handle of one session that is sent in another is called there as it would be here.
    assert_eq!(limited(root.echo(7)).await, Ok(7));
    assert_eq!(limited(root.echo_late(8)).await, Ok(8));
    assert_eq!(limited(root.add(2)).await, Ok(2));
    assert_eq!(limited(root.add(3)).await, Ok(5));
    let opened = limited(root.open()).await.expect("opened");
    assert_eq!(limited(opened.add(4)).await, Ok(4));
    assert_eq!(limited(root.open_late().pipelined().add(5)).await, Ok(5));
    let failed = limited(root.open_nothing()).await;
    let nothing = LabError::AsAsked("nothing to open".into());
    assert_eq!(failed.err(), Some(CallError::App(nothing)));

    // One-way calls, and the flush at their real host (R12.6).
    let mut told = opened.note("one");
    limited(told.accepted()).await.expect("the next one has it");
    drop(opened.note("two"));
    limited(opened.flush()).await.expect("both were taken");
    let notes = limited(opened.notes()).await.expect("an answer");
    assert_eq!(notes, ["one", "two"]);
    drop(opened.note_badly("three"));
    let flushed = limited(opened.flush()).await;
    assert!(matches!(flushed, Err(RpcError::Internal(_))), "{flushed:?}");
    assert_eq!(limited(opened.flush()).await, Ok(()));

    // Handles in containers, out and back, and callbacks.
    let bundle = limited(root.bundle()).await.expect("made");
    assert_eq!(limited(bundle.one.echo(1)).await, Ok(1));
    let mine = row.lab();
    let mixed = Bundle {
        one: mine.clone(),
        maybe: Some(bundle.one.clone()),
        many: vec![mine.clone(), row.lab(), opened.clone()],
        named: [("root".to_owned(), root.clone())].into(),
        deep: Some(vec![(1, row.lab())]),
    };
    assert_eq!(limited(root.unbundle(mixed)).await, Ok(7));
    assert_eq!(limited(root.borrow(&mine, 9)).await, Ok(9));
    let bundle = bundle.into_all();
    drop((root, opened, mine, bundle, told));
    row.finish().await;
}

#[tokio::test]
async fn a_forwarded_handle_takes_every_kind_of_call() {
    limited(everything(Row::new(NEAR, 1).await)).await;
}

#[tokio::test]
async fn a_forwarded_handle_takes_every_kind_of_call_over_websockets() {
    limited(everything(Row::new(Way::WebSocket, 1).await)).await;
}

#[tokio::test]
async fn four_nodes_in_a_row_forward_as_one_does() {
    limited(everything(Row::new(NEAR, 3).await)).await;
    limited(everything(Row::new(Way::WebSocket, 3).await)).await;
}

#[tokio::test]
async fn two_clients_of_one_server_call_each_other_through_it() {
    // R9.1: both sessions are the server's own, and so is the node.
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = Setup::new(&tracker, move |_| lab.clone()).memory(Duration::ZERO);
    let (a, b): (LabHandle, LabHandle) = (harness.connect().await, harness.connect().await);
    let mine = LabHandle::new(MemLab::new(&tracker));
    limited(a.keep(mine.clone())).await.expect("kept");
    let other = limited(b.kept()).await.expect("an answer").expect("one");
    assert!(!other.is_local());
    assert_eq!(limited(other.add(3)).await, Ok(3));
    assert_eq!(limited(mine.add(4)).await, Ok(7));
    // And back: b's own object, called by a.
    let theirs = LabHandle::new(MemLab::new(&tracker));
    assert_eq!(limited(other.borrow(&theirs, 5)).await, Ok(5));
    limited(a.forget()).await.expect("forgotten");
    assert_eq!(limited(other.echo(6)).await, Ok(6), "b holds it alone");
    drop((a, b, mine, other, theirs));
    harness.finish().await;
}

#[tokio::test]
async fn who_drops_a_forwarded_handle_releases_it_at_its_host() {
    // R9.1: the name in one session holds one reference in the other.
    let row = Row::new(NEAR, 2).await;
    let root = row.connect().await;
    let opened = limited(root.open()).await.expect("opened");
    assert_eq!(row.tracker.live(), 2);
    let again = limited(root.reflect(opened.clone())).await.expect("back");
    drop(opened);
    assert_eq!(limited(again.echo(1)).await, Ok(1));
    drop(again);
    until("dropped at its host", || row.tracker.live() == 1).await;
    drop(root);
    row.finish().await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_its_host() {
    // R21.4: a forwarder passes CANCEL on.
    for way in [NEAR, Way::WebSocket] {
        let row = Row::new(way, 2).await;
        let root = row.connect().await;
        let before = row.tracker.live();
        let mut hanging = Box::pin(root.hang());
        until("the method runs", || {
            let waker = futures::task::noop_waker();
            let polled = hanging
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker));
            assert!(polled.is_pending());
            row.tracker.live() > before
        })
        .await;
        drop(hanging);
        until("the method is gone", || row.tracker.live() == before).await;
        drop(root);
        row.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_shrinks_on_the_way() {
    // R9.3: `d` shrinks by the time that a call waits at the forwarder; here for the one permit of its depth.
    let host =
        |setup: Setup| setup.with(|rooted| rooted.limits(helve::Limits::default().with_nested(1)));
    let row = Row::with(NEAR, 1, host).await;
    let root = row.connect().await;
    let other = root.clone();
    let blocking = tokio::spawn(async move {
        let hang = other.hang();
        drop(tokio::time::timeout(Duration::from_millis(400), hang).await);
    });
    tokio::time::sleep(Duration::from_millis(100)).await; // sleep: of paused time
    let left = root.left().deadline(Duration::from_secs(1));
    let left = limited(left).await.expect("an answer").expect("a deadline");
    assert!((600..=710).contains(&left), "{left} of 1000 ms left");
    limited(blocking).await.expect("no panic");

    // The permit is the forwarder's, and its caller's own deadline counts.
    let other = root.clone();
    let blocking = tokio::spawn(async move {
        let hang = other.hang();
        drop(tokio::time::timeout(Duration::from_millis(400), hang).await);
    });
    tokio::time::sleep(Duration::from_millis(100)).await; // sleep: of paused time
    let late = limited(root.echo(1).deadline(Duration::from_millis(50))).await;
    assert_eq!(late, Err(RpcError::Deadline));
    limited(blocking).await.expect("no panic");
    drop(root);
    row.finish().await;
}

#[tokio::test]
async fn each_forwarder_is_one_call_deeper() {
    // R9.3: `h` grows by one. A call of depth 0 through 15 forwarders has depth 15, through 16 it would have 16.
    for (forwarders, reaches) in [(15, true), (16, false)] {
        let row = Row::new(NEAR, forwarders).await;
        let root = row.connect().await;
        match limited(root.echo(1)).await {
            Ok(1) => assert!(reaches),
            Err(RpcError::Exhausted(_)) => assert!(!reaches),
            other => panic!("{other:?}"),
        }
        drop(root);
        row.finish().await;
    }
}

#[tokio::test]
async fn a_call_that_comes_back_through_forwarders_is_seen_as_reentrant() {
    // R23.2: the chain is carried on.
    let row = Row::new(NEAR, 2).await;
    let root = row.connect().await;
    let mine = row.lab();
    // `ring` takes its turn at each, and each calls the next one: the host, mine, the host again.
    let twice = vec![mine.clone(), root.clone()];
    let error = limited(root.ring(twice))
        .await
        .expect_err("it would wait for itself");
    assert!(format!("{error:?}").contains("Reentrant"), "{error:?}");
    // Without a turn that is taken twice it goes round.
    let opened = limited(root.open()).await.expect("opened");
    let once = vec![mine.clone(), opened.clone(), row.lab()];
    assert_eq!(limited(root.ring(once)).await, Ok(4));
    drop((root, mine, opened));
    row.finish().await;
}
