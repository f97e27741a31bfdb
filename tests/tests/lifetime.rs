//! How long things live: handles, calls, the objects behind them. Each test ends with empty tables at both ends.

use std::task::{Context, Waker};
use std::time::Duration;

use futures::FutureExt;
use helve::prelude::*;
use helve::transport::memory;
use helve::{Connection, Remote, State};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::impatient::{Impatient, dropped_at_every_poll};
use helve_tests::lab::{Bundle, LabError, LabHandle, MemLab};
use tokio::time::Instant;

fn lab(tracker: &Tracker) -> LabHandle {
    LabHandle::new(MemLab::new(tracker))
}

/// A server in memory, one client of it, and the count of objects.
async fn one() -> (Harness, LabHandle, Tracker) {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, lab(&tracker));
    let root = harness.connect().await;
    (harness, root, tracker)
}

/// The same, with messages that take 5 ms each way.
async fn far_away() -> (Harness, LabHandle, Tracker) {
    let tracker = Tracker::new();
    let object = lab(&tracker);
    let harness = Setup::new(&tracker, move |_| object.clone()).memory(Duration::from_millis(5));
    let root = harness.connect().await;
    (harness, root, tracker)
}

#[tokio::test]
async fn a_thousand_handles_opened_called_and_dropped_leave_the_tables_as_before() {
    let (near, far) = (Tracker::new(), Tracker::new());
    for (harness, tracker) in [
        (Harness::memory(&near, lab(&near)), &near),
        (Harness::websocket(&far, lab(&far)).await, &far),
    ] {
        let root: LabHandle = harness.connect().await;
        limited(async {
            for n in 0..500 {
                let handle = root.open().await.expect("opened");
                assert_eq!(handle.echo(n).await, Ok(n));
            }
            for n in 0..500 {
                assert_eq!(root.open().pipelined().echo(n).await, Ok(n));
            }
        })
        .await;
        harness.rest().await;
        until("only the root is left", || harness.objects() == 1).await;
        drop(root);
        harness.finish().await;
        assert_eq!(tracker.made(), 1001);
    }
}

#[tokio::test]
async fn a_call_may_be_dropped_at_every_poll() {
    let (harness, root, tracker) = one().await;
    let mine = lab(&tracker);
    dropped_at_every_poll(&harness, || root.echo(1)).await;
    dropped_at_every_poll(&harness, || root.echo_late(1)).await;
    dropped_at_every_poll(&harness, || root.add(1)).await;
    dropped_at_every_poll(&harness, || root.open()).await;
    dropped_at_every_poll(&harness, || root.open_late()).await;
    dropped_at_every_poll(&harness, || root.open_nothing()).await;
    dropped_at_every_poll(&harness, || root.bundle()).await;
    dropped_at_every_poll(&harness, || root.reflect(mine.clone())).await;
    dropped_at_every_poll(&harness, || root.borrow(&mine, 1)).await;
    dropped_at_every_poll(&harness, || root.ring(vec![mine.clone()])).await;
    dropped_at_every_poll(&harness, || {
        root.echo_late(1).deadline(Duration::from_secs(9))
    })
    .await;
    dropped_at_every_poll(&harness, || root.panic()).await;
    dropped_at_every_poll(&harness, || root.flush()).await;
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn pipelined_calls_may_be_dropped_at_every_poll() {
    let (harness, root, tracker) = one().await;
    let mine = lab(&tracker);
    dropped_at_every_poll(&harness, || root.open().pipelined().echo(1)).await;
    dropped_at_every_poll(&harness, || {
        root.open_late().pipelined().open().pipelined().echo(1)
    })
    .await;
    dropped_at_every_poll(&harness, || {
        root.open_nothing().pipelined().open().pipelined().echo(1)
    })
    .await;
    dropped_at_every_poll(&harness, || root.reflect(root.open_late().pipelined())).await;
    dropped_at_every_poll(&harness, || root.reflect(mine.clone()).pipelined().add(1)).await;
    dropped_at_every_poll(&harness, || root.borrow(&root.open_late().pipelined(), 1)).await;
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn receipts_and_what_waits_for_an_end_may_be_dropped_at_every_poll() {
    let (harness, root, _) = one().await;
    let note = |stage: u8| {
        let root = root.clone();
        async move {
            let mut receipt = root.note_late("x");
            match stage {
                0 => receipt.queued().await,
                1 => receipt.accepted().await,
                _ => receipt.handled().await,
            }
        }
    };
    for stage in 0..3 {
        dropped_at_every_poll(&harness, || note(stage)).await;
    }
    for polls in 0..5 {
        let handle = limited(root.open()).await.expect("opened");
        let impatient = Impatient::new(handle.closed(), polls);
        assert!(!impatient.await);
        drop(handle);
        harness.rest().await;
    }
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn connecting_may_be_dropped_at_every_poll() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, lab(&tracker));
    for polls in 0..10_000 {
        let (near, far) = memory::pair();
        harness.serve_link(far);
        let connect = helve::connect_over::<LabHandle>(near);
        let impatient = Impatient::new(connect.into_future(), polls);
        let ended = limited(impatient).await;
        until("that session over", || harness.server_ends().is_empty()).await;
        until("its root released", || harness.objects() == 0).await;
        if ended {
            return harness.finish().await;
        }
    }
    panic!("it never connected");
}

#[tokio::test]
async fn a_lent_handle_expires_with_its_call() {
    let (harness, root, tracker) = one().await;
    let mine = lab(&tracker);
    assert_eq!(limited(root.borrow(&mine, 7)).await, Ok(7));
    limited(root.keep_lent(&mine)).await.expect("runs");
    let error = limited(root.use_kept(1)).await.expect_err("it was lent");
    assert_eq!(error, CallError::App(LabError::AsAsked("Expired".into())));
    let connection = root.connection().expect("remote");
    assert_eq!(connection.stats().exports, 0, "nothing is pinned any more");
    limited(root.forget()).await.expect("runs");
    harness.rest().await;

    limited(root.keep(mine.clone())).await.expect("runs");
    assert_eq!(limited(root.use_kept(1)).await, Ok(1), "given, it stays");
    assert_eq!(harness.server_ends()[0].stats().imports, 1);
    limited(root.forget()).await.expect("runs");
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn handles_travel_in_structs_options_vectors_maps_and_tuples() {
    let (harness, root, tracker) = one().await;
    let bundle = limited(root.bundle()).await.expect("made");
    let all = bundle.into_all();
    assert_eq!(all.len(), 8);
    for handle in &all {
        assert_eq!(limited(handle.echo(5)).await, Ok(5));
    }
    drop(all);
    harness.rest().await;

    let bundle = Bundle {
        one: lab(&tracker),
        maybe: None,
        many: vec![lab(&tracker), limited(root.open()).await.expect("opened")],
        named: [("x".to_owned(), root.open().pipelined())].into(),
        deep: Some(vec![(1, lab(&tracker)), (2, root.clone())]),
    };
    assert_eq!(limited(root.unbundle(bundle)).await, Ok(6));
    harness.rest().await;
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn equality_is_identity_over_the_wire_too() {
    let (harness, root, tracker) = one().await;
    let (a, b) = limited(async { (root.open().await, root.open().await) }).await;
    let (a, b) = (a.expect("opened"), b.expect("opened"));
    assert!(a == a.clone() && a != b && a != root);

    let again = limited(root.reflect(a.clone())).await.expect("came back");
    assert!(again == a && again != b && !again.is_local());
    let piped = root.reflect(a.clone()).pipelined();
    assert!(piped == piped.clone());
    limited(piped.echo(1)).await.expect("answered");
    assert!(piped == a, "once it is settled");

    let mine = lab(&tracker);
    let home = limited(root.reflect(mine.clone()))
        .await
        .expect("came home");
    assert!(
        home == mine && home.is_local(),
        "the object itself, no proxy of a proxy"
    );
    drop(home);
    let home = root.reflect(mine.clone()).pipelined();
    assert_eq!(limited(home.add(2)).await, Ok(2));
    assert!(home == mine, "through its host, order kept");
    assert_eq!(limited(mine.add(2)).await, Ok(4));

    limited(root.keep(mine.clone())).await.expect("kept");
    let kept = limited(root.kept()).await.expect("runs").expect("kept");
    assert!(kept == mine);
    limited(root.forget()).await.expect("runs");
    let itself = limited(root.reflect(root.clone()))
        .await
        .expect("came back");
    assert!(itself == root, "the root has one identity");
    drop((a, b, again, piped, mine, home, kept, root, itself));
    harness.finish().await;
}

#[tokio::test]
async fn a_weak_handle_keeps_nothing_alive() {
    let (harness, root, tracker) = one().await;
    let handle = limited(root.open()).await.expect("opened");
    let weak = handle.downgrade();
    let strong = weak.upgrade().expect("alive");
    assert!(strong == handle);
    drop((handle, strong));
    assert!(weak.upgrade().is_none());
    harness.rest().await;
    assert_eq!(tracker.live(), 1);

    let mine = lab(&tracker);
    let weak = mine.downgrade();
    limited(root.keep(mine)).await.expect("kept");
    assert_eq!(
        limited(weak.upgrade().expect("the server holds it").echo(1)).await,
        Ok(1)
    );
    limited(root.forget()).await.expect("runs");
    until("the object gone", || weak.upgrade().is_none()).await;
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn a_revoked_handle_closes_everywhere_and_starts_nothing() {
    let (harness, root, tracker) = one().await;
    let object = lab(&tracker);
    let (revocable, revoker) = object.revocable().expect("local");
    limited(root.keep(revocable.clone())).await.expect("given");
    assert_eq!(limited(root.use_kept(1)).await, Ok(1));
    let closed = tokio::spawn(revocable.closed());
    revoker.revoke();
    let revoked = RpcError::Broken(Box::new(RpcError::Revoked));
    assert_eq!(limited(closed).await.expect("no panic"), revoked);
    assert_eq!(limited(revocable.echo(1)).await, Err(revoked.clone()));
    let far = limited(root.use_kept(1)).await.expect_err("revoked");
    assert_eq!(
        far,
        CallError::App(LabError::AsAsked(format!("{revoked:?}")))
    );
    assert_eq!(limited(object.echo(1)).await, Ok(1), "other handles stay");

    // Given away once more, it arrives broken; as an argument it says why.
    let error = limited(root.keep(revocable.clone()))
        .await
        .expect_err("revoked");
    assert_eq!(error, revoked);
    assert!(root.revocable().is_err(), "only its host revokes an object");
    limited(root.forget()).await.expect("runs");
    drop((root, object, revocable));
    harness.finish().await;
}

#[tokio::test]
async fn closed_tells_of_the_end_of_the_session_and_of_a_failed_open() {
    let (harness, root, _) = one().await;
    let handle = limited(root.open()).await.expect("opened");
    let failed = root.open_nothing().pipelined();
    let closed = limited(failed.closed()).await;
    assert!(matches!(&closed, RpcError::Broken(_)), "{closed:?}");
    assert!(closed.to_string().contains("nothing to open"), "{closed}");
    let mut closing = Box::pin(handle.closed());
    assert!((&mut closing).now_or_never().is_none());
    let connection: Connection = root.connection().expect("remote");
    limited(connection.close()).await;
    assert_eq!(limited(closing).await, RpcError::SessionLost);
    assert!(matches!(connection.state(), State::Lost { code: 1000, .. }));
    assert_eq!(limited(root.echo(1)).await, Err(RpcError::SessionLost));
    drop((handle, failed, root));
    harness.finish().await;
}

#[tokio::test]
async fn dropping_the_last_handle_of_a_client_ends_its_session() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, lab(&tracker));
    let (near, far) = memory::pair();
    harness.serve_link(far);
    let root = limited(helve::connect_over::<LabHandle>(near).into_future())
        .await
        .expect("connected");
    let handle = root.open().pipelined();
    drop(root);
    assert_eq!(limited(handle.echo(1)).await, Ok(1), "one is left");
    let state = handle.connection().expect("remote").closed();
    drop(handle);
    assert!(matches!(
        limited(state).await,
        State::Lost { code: 1000, .. }
    ));
    until("the session over", || harness.server_ends().is_empty()).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_stops_its_method() {
    let (harness, root, tracker) = one().await;
    let before = tracker.live();
    let mut call = root.hang();
    let waker = Waker::noop();
    assert!(
        call.poll_unpin(&mut Context::from_waker(waker))
            .is_pending()
    );
    until("the method at work", || tracker.live() == before + 1).await;
    drop(call);
    until("the method stopped", || tracker.live() == before).await;
    harness.rest().await;
    drop(root);
    harness.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_its_method_and_flows_into_nested_calls() {
    let (harness, root, tracker) = far_away().await;
    let before = tracker.live();
    let start = Instant::now();
    let result = limited(root.hang().deadline(Duration::from_millis(100))).await;
    assert_eq!(result, Err(RpcError::Deadline));
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    until("the method stopped", || tracker.live() == before).await;

    assert_eq!(limited(root.left()).await, Ok(None));
    let left = limited(root.left().deadline(Duration::from_millis(100))).await;
    // `d` counts from acceptance: what the message takes is not known to either side.
    assert!(matches!(left, Ok(Some(90..=100))), "{left:?}");
    let mine = lab(&tracker);
    let nested = limited(
        root.left_there(mine.clone())
            .deadline(Duration::from_millis(100)),
    )
    .await;
    assert!(matches!(nested, Ok(Some(80..=100))), "{nested:?}");
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn a_call_that_comes_back_into_its_own_turn_is_reentrant_and_no_deadlock() {
    let (harness, root, tracker) = one().await;
    let mine = lab(&tracker);
    let reentrant = || Err(CallError::App(LabError::AsAsked("Reentrant".into())));
    assert_eq!(limited(root.ring(vec![root.clone()])).await, reentrant());
    let around = vec![mine.clone(), root.clone()];
    assert_eq!(limited(root.ring(around)).await, reentrant());
    let there = lab(&tracker);
    let around = vec![
        mine.clone(),
        limited(root.open()).await.expect("opened"),
        there,
        root.clone(),
    ];
    assert_eq!(limited(root.ring(around)).await, reentrant());

    assert_eq!(
        limited(root.ring(vec![mine.clone()])).await,
        Ok(2),
        "every turn was given back"
    );
    assert_eq!(limited(root.add(2)).await, Ok(2));
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn calls_nested_too_deep_are_refused_and_lock_nothing() {
    let (harness, root, tracker) = one().await;
    let around = |turns: usize| {
        let mine = (0..turns).map(|_| lab(&tracker)).collect();
        limited(root.ring(mine))
    };
    assert_eq!(around(15).await, Ok(16));
    let Err(CallError::App(LabError::AsAsked(text))) = around(16).await else {
        panic!("17 turns inside one another")
    };
    assert!(text.contains("over 15 deep"), "{text}");
    assert_eq!(around(1).await, Ok(2));
    drop(root);
    harness.finish().await;
}

#[tokio::test(start_paused = true)]
async fn eight_dependent_pipelined_calls_take_one_round_trip_and_awaited_ones_eight() {
    let (harness, root, _) = far_away().await;
    let start = Instant::now();
    let mut handle = root.open().pipelined();
    for _ in 0..6 {
        handle = handle.open().pipelined();
    }
    assert_eq!(limited(handle.echo(8)).await, Ok(8));
    assert_eq!(start.elapsed(), Duration::from_millis(10));
    drop(handle);

    let start = Instant::now();
    let mut handle = limited(root.open()).await.expect("opened");
    for _ in 0..6 {
        handle = limited(handle.open()).await.expect("opened");
    }
    assert_eq!(limited(handle.echo(8)).await, Ok(8));
    assert_eq!(start.elapsed(), Duration::from_millis(80));
    drop((handle, root));
    harness.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_counts_its_round_trips() {
    let (harness, root, _) = far_away().await;
    let connection = root.connection().expect("remote");
    let before = connection.stats().round_trips;
    let chain = root.open().pipelined().open_late().pipelined();
    assert_eq!(limited(chain.echo(8)).await, Ok(8));
    assert_eq!(connection.stats().round_trips - before, 1);
    drop((chain, root, connection));
    harness.finish().await;
}
