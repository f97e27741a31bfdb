//! The table of outcomes: `Ok`, `Err`, a panic, a dropped future, a deadline, a lost session. Each for an object of this
//! process and for one behind a connection, with a value and with a tracked one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use helve::prelude::*;
use helve::track::Tracked;
use helve_tests::harness::{Harness, Tracker, limited, until};

use crate::desk::{Desk as _, DeskHandle, Doc, MemDesk, Torn, doc, shown, sized};

/// A desk here, and the same behind a connection.
async fn desks(tracker: &Tracker) -> (Harness, [DeskHandle; 2]) {
    let here = DeskHandle::new(MemDesk::new(tracker));
    let harness = Harness::memory(tracker, here.clone());
    let far = harness.connect().await;
    (harness, [here, far])
}

/// What `tidy` makes of a value.
async fn tidied(mut doc: Doc) -> Doc {
    MemDesk::new(&Tracker::new()).tidy(&mut doc).await;
    doc
}

// R24.2: the change has landed before the future resolves.
#[tokio::test]
async fn what_a_method_changes_its_caller_has_when_the_call_returns() {
    let tracker = Tracker::new();
    let (harness, desks) = desks(&tracker).await;
    for desk in desks {
        let mut plain = doc();
        assert_eq!(limited(desk.tidy(&mut plain)).await, Ok(2));
        assert_eq!(shown(&plain), shown(&tidied(doc()).await));

        let mut tracked = Tracked::new(doc());
        assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
        assert_eq!((shown(&tracked), tracked.rev()), (shown(&plain), 2));
        assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(3));
        assert_eq!(shown(&tracked), shown(&tidied(plain.clone()).await));

        // Passed on: the borrow is not used up.
        let borrowed = &mut plain;
        assert_eq!(limited(desk.look(&mut *borrowed)).await, Ok(3));
        limited(desk.replace(&mut *borrowed, "new")).await.unwrap();
        limited(desk.replace(&mut tracked, "new")).await.unwrap();
        assert_eq!(borrowed.0, "new");
        assert_eq!((shown(borrowed), tracked.rev()), (shown(&tracked), 4));

        // Nothing changed: no revision.
        assert_eq!(limited(desk.look(&mut tracked)).await, Ok(4));
        assert_eq!(tracked.rev(), 4);
    }
    harness.finish().await;
}

// R24.4
#[tokio::test]
async fn after_an_error_and_after_a_panic_both_sides_are_as_before() {
    let tracker = Tracker::new();
    let (harness, desks) = desks(&tracker).await;
    for desk in desks {
        let mut plain = doc();
        let mut tracked = Tracked::new(doc());
        limited(desk.look(&mut tracked)).await.unwrap();

        assert_eq!(
            limited(desk.fails(&mut plain)).await,
            Err(CallError::App(Torn))
        );
        assert_eq!(
            limited(desk.fails(&mut tracked)).await,
            Err(CallError::App(Torn))
        );
        assert_eq!(
            (shown(&plain), shown(&tracked)),
            (shown(&doc()), shown(&doc()))
        );

        for _ in 0..2 {
            let error = limited(desk.panics(&mut plain)).await.unwrap_err();
            assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
            let error = limited(desk.panics(&mut tracked)).await.unwrap_err();
            assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
        }
        assert_eq!(
            (shown(&plain), shown(&tracked)),
            (shown(&doc()), shown(&doc()))
        );
        assert_eq!(tracked.rev(), 1);

        // And the other side's copy is not half of it: what comes back fits.
        assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
        assert_eq!(shown(&tracked), shown(&tidied(doc()).await));
    }
    harness.finish().await;
}

// R24.4, R24.5
#[tokio::test(start_paused = true)]
async fn after_a_dropped_future_and_after_a_deadline_both_sides_are_as_before() {
    let tracker = Tracker::new();
    let object = MemDesk::new(&tracker);
    let waiting = object.waiting.clone();
    let here = DeskHandle::new(object);
    let harness = Harness::memory(&tracker, here.clone());
    let far: DeskHandle = harness.connect().await;
    for desk in [here, far] {
        let mut plain = doc();
        let mut tracked = Tracked::new(doc());
        limited(desk.look(&mut tracked)).await.unwrap();

        let mut call = desk.hangs(&mut tracked);
        tokio::select! {
            result = &mut call => panic!("{result:?}"),
            () = until("the method waiting", || waiting.load(Ordering::SeqCst) == 1) => {}
        }
        drop(call);
        until("the method gone", || waiting.load(Ordering::SeqCst) == 0).await;
        assert_eq!((shown(&tracked), tracked.rev()), (shown(&doc()), 1));

        let late = desk.hangs(&mut tracked).deadline(Duration::from_millis(50));
        assert_eq!(limited(late).await, Err(RpcError::Deadline));
        let late = desk.hangs(&mut plain).deadline(Duration::from_millis(50));
        assert_eq!(limited(late).await, Err(RpcError::Deadline));
        until("the method gone", || waiting.load(Ordering::SeqCst) == 0).await;
        assert_eq!(
            (shown(&plain), shown(&tracked)),
            (shown(&doc()), shown(&doc()))
        );

        assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
        assert_eq!(shown(&tracked), shown(&tidied(doc()).await));
    }
    harness.finish().await;
}

// R24.5: the commit may have won the race against the CANCEL. Whoever gave up does not build on what the peer has.
#[tokio::test(start_paused = true)]
async fn a_call_given_up_whose_change_was_made_all_the_same_leaves_no_trace() {
    let tracker = Tracker::new();
    let object = MemDesk::new(&tracker);
    let ran = object.ran.clone();
    let root = DeskHandle::new(object);
    let harness = helve_tests::harness::Setup::new(&tracker, move |_| root.clone())
        .memory(Duration::from_millis(20));
    let desk: DeskHandle = harness.connect().await;
    let mut tracked = Tracked::new(doc());
    limited(desk.look(&mut tracked)).await.unwrap();

    let mut call = desk.tidy(&mut tracked);
    tokio::select! {
        result = &mut call => panic!("{result:?}"),
        // It has run, and its answer is on its way.
        () = until("run", || ran.load(Ordering::SeqCst) == 2) => {}
    }
    drop(call);
    assert_eq!((shown(&tracked), tracked.rev()), (shown(&doc()), 1));
    assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
    assert_eq!(shown(&tracked), shown(&tidied(doc()).await));
    drop(desk);
    harness.finish().await;
}

#[tokio::test]
async fn after_a_lost_session_the_value_is_as_before_and_goes_into_the_next() {
    let tracker = Tracker::new();
    let object = MemDesk::new(&tracker);
    let waiting = object.waiting.clone();
    let harness = Harness::memory(&tracker, DeskHandle::new(object));
    let desk: DeskHandle = harness.connect().await;
    let mut tracked = Tracked::new(sized(100));
    assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
    let before = shown(&tracked);
    let server = harness.server_ends().remove(0);
    assert_eq!(server.stats().kept, 1);

    let mut call = desk.hangs(&mut tracked);
    tokio::select! {
        result = &mut call => panic!("{result:?}"),
        () = until("the method waiting", || waiting.load(Ordering::SeqCst) == 1) => {}
    }
    limited(server.close()).await;
    let error = limited(call).await.unwrap_err();
    assert_eq!(error.ran(), helve::Ran::Maybe, "{error:?}");
    until("the method gone", || waiting.load(Ordering::SeqCst) == 0).await;
    assert_eq!((shown(&tracked), tracked.rev()), (before, 2));
    assert_eq!(server.stats().kept, 0, "nothing is kept for who is gone");
    drop(server);

    let desk: DeskHandle = harness.connect().await;
    assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(3));
    assert_eq!(tracked.rev(), 3);
    drop(desk);
    harness.finish().await;
}

#[test]
fn code_without_async_waits_for_a_call_with_mut_arguments() {
    let tracker = Tracker::new();
    let desk = DeskHandle::new(MemDesk::new(&tracker));
    let mut tracked = Tracked::new(doc());
    assert_eq!(desk.tidy(&mut tracked).wait(), Ok(2));
    assert_eq!(desk.fails(&mut tracked).wait(), Err(CallError::App(Torn)));
    assert_eq!((tracked.1, tracked.rev()), (2, 2));
    let late = desk.hangs(&mut tracked).deadline(Duration::from_millis(1));
    assert_eq!(late.wait(), Err(RpcError::Deadline));
}
