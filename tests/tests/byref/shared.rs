//! `&Shared<T>` where a method takes `&mut T`: the method works on the value itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use helve::Shared;
use helve::prelude::*;
use helve::track::Tracked;
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};

use crate::desk::{DeskHandle, Ear, EarHandle, MemDesk, Numbered, Torn, doc, shown};

// R24.1, R24.2, R10.5: those who follow it have the change when the call returns.
#[tokio::test(start_paused = true)]
async fn a_shared_value_changes_at_its_host_and_the_callers_replica_has_it_before_the_call_returns()
{
    let tracker = Tracker::new();
    let here = DeskHandle::new(MemDesk::new(&tracker));
    let root = here.clone();
    let harness = Setup::new(&tracker, move |_| root.clone()).memory(Duration::from_millis(20));
    let far: DeskHandle = harness.connect().await;
    let mut number = 1;
    for desk in [here, far] {
        let shared = limited(desk.shared()).await.unwrap();
        let replica = limited(shared.replica()).await.unwrap();
        for _ in 0..3 {
            number += 1;
            assert_eq!(limited(desk.tidy(&shared)).await, Ok(number));
            assert_eq!(replica.read(|doc| doc.1), Ok(number));
            assert_eq!(replica.rev(), u64::from(number));
        }
        // Beside one that the caller owns.
        let mut own = Tracked::new(doc());
        limited(desk.moves(&shared, &mut own)).await.unwrap();
        number += 1;
        // The first time it is what was there.
        let expected = if number == 5 { ("title", 1) } else { ("", 2) };
        assert_eq!((&*own.0, own.rev()), expected);
        assert_eq!(replica.read(|doc| doc.1), Ok(number));
    }
    harness.finish().await;
}

// R24.4
#[tokio::test(start_paused = true)]
async fn a_shared_value_is_as_before_after_an_error_a_panic_a_deadline_and_a_lost_caller() {
    let tracker = Tracker::new();
    let object = MemDesk::new(&tracker);
    let waiting = object.waiting.clone();
    let here = DeskHandle::new(object);
    let harness = Harness::memory(&tracker, here.clone());
    let far: DeskHandle = harness.connect().await;
    let hosted = limited(here.shared()).await.unwrap();
    let replica = limited(hosted.replica()).await.unwrap();
    for desk in [here.clone(), far] {
        let shared = limited(desk.shared()).await.unwrap();
        assert_eq!(
            limited(desk.fails(&shared)).await,
            Err(CallError::App(Torn))
        );
        assert!(matches!(
            limited(desk.panics(&shared)).await,
            Err(RpcError::Internal(_))
        ));
        let late = desk.hangs(&shared).deadline(Duration::from_millis(50));
        assert_eq!(limited(late).await, Err(RpcError::Deadline));
        until("the method gone", || waiting.load(Ordering::SeqCst) == 0).await;
        let mut call = desk.hangs(&shared);
        tokio::select! {
            result = &mut call => panic!("{result:?}"),
            () = until("the method waiting", || waiting.load(Ordering::SeqCst) == 1) => {}
        }
        drop(call);
        until("the method gone", || waiting.load(Ordering::SeqCst) == 0).await;
        let now = limited(hosted.read(shown)).await.unwrap();
        assert!(now == shown(&doc()), "{now}");
        assert_eq!(replica.rev(), 1, "nobody heard of it");
    }
    assert_eq!(limited(here.tidy(&hosted)).await, Ok(2));
    drop((replica, hosted, here));
    harness.finish().await;
}

/// Comes back into the value that is being edited on its behalf.
struct Backward(DeskHandle, Shared<crate::desk::Doc>);

impl Ear for Backward {
    async fn number(&self) -> u64 {
        match self.0.tidy(&self.1).await {
            Err(RpcError::Reentrant) => 1,
            other => panic!("{other:?}"),
        }
    }
}

// R23.2
#[tokio::test]
async fn a_callback_into_the_value_that_is_being_edited_is_told_so() {
    let tracker = Tracker::new();
    let here = DeskHandle::new(MemDesk::new(&tracker));
    let harness = Harness::memory(&tracker, here.clone());
    let far: DeskHandle = harness.connect().await;
    for desk in [here, far] {
        let shared = limited(desk.shared()).await.unwrap();
        let ear = EarHandle::new(Backward(desk.clone(), shared.clone()));
        assert_eq!(limited(desk.asks(&shared, &ear)).await, Ok(1));
        // Another one is not in the way.
        let mut own = doc();
        assert_eq!(
            limited(desk.asks(&mut own, &EarHandle::new(Numbered(7)))).await,
            Ok(7)
        );
    }
    harness.finish().await;
}

// R24.8
#[tokio::test]
async fn one_shared_value_for_two_arguments_of_a_call_is_refused_before_it_runs() {
    let tracker = Tracker::new();
    let here = DeskHandle::new(MemDesk::new(&tracker));
    let harness = Harness::memory(&tracker, here.clone());
    let far: DeskHandle = harness.connect().await;
    for desk in [here, far] {
        let shared = limited(desk.shared()).await.unwrap();
        let again = limited(desk.shared()).await.unwrap();
        let error = limited(desk.moves(&shared, &again)).await.unwrap_err();
        assert_eq!(error, RpcError::Aliased);
        assert_eq!(error.ran(), helve::Ran::No);
    }
    harness.finish().await;
}

// Two calls that name two values in opposite orders do not wait for each other.
#[tokio::test]
async fn shared_values_are_taken_in_one_order_whatever_the_order_of_arguments() {
    let tracker = Tracker::new();
    let desk = DeskHandle::new(MemDesk::new(&tracker));
    let (a, b) = (Shared::new(doc()), Shared::new(doc()));
    for _ in 0..20 {
        let (one, two) = limited(futures::future::join(
            desk.moves(&a, &b),
            desk.moves(&b, &a),
        ))
        .await;
        assert_eq!((one, two), (Ok(()), Ok(())));
    }
    assert_eq!(limited(a.read(|doc| doc.1)).await, Ok(21));
}

// R24.11
#[tokio::test]
async fn a_shared_value_that_lives_elsewhere_is_refused_before_anything_is_sent() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, DeskHandle::new(MemDesk::new(&tracker)));
    let desk: DeskHandle = harness.connect().await;
    let connection = helve::Remote::connection(&desk).unwrap();
    let mine = Shared::new(doc());
    let before = connection.stats().frames_out;
    let error = limited(desk.tidy(&mine)).await.unwrap_err();
    assert!(matches!(error, RpcError::Incompatible(_)), "{error:?}");
    assert_eq!(error.ran(), helve::Ran::No);
    assert_eq!(connection.stats().frames_out, before);
    // And the other way round: it lives at the peer, the method here.
    let theirs = limited(desk.shared()).await.unwrap();
    let here = DeskHandle::new(MemDesk::new(&Tracker::new()));
    let error = limited(here.tidy(&theirs)).await.unwrap_err();
    assert!(matches!(error, RpcError::Incompatible(_)), "{error:?}");
    drop((desk, connection, theirs));
    harness.finish().await;
}

// R9.2, R24.11: through a forwarder it comes home.
#[tokio::test]
async fn a_shared_value_and_its_method_meet_through_a_forwarder() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, DeskHandle::new(MemDesk::new(&tracker)));
    let behind: DeskHandle = harness.connect().await;
    let forwarder = Harness::memory(&Tracker::new(), behind);
    let desk: DeskHandle = forwarder.connect().await;
    let shared = limited(desk.shared()).await.unwrap();
    assert_eq!(limited(desk.tidy(&shared)).await, Ok(2));
    assert_eq!(limited(desk.tidy(&shared)).await, Ok(3));
    drop((desk, shared));
    forwarder.finish().await;
    harness.finish().await;
}
