//! What a connection, a peer and a server say about themselves.

use std::time::Duration;

use futures::StreamExt;
use helve::{Limits, Remote, State, Stats};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};

fn stats(handle: &impl Remote) -> Stats {
    handle.connection().expect("a remote handle").stats()
}

#[tokio::test]
async fn a_connection_counts_its_calls_and_what_waits() {
    let tracker = Tracker::new();
    let made = tracker.clone();
    // One open call at a time: a second one waits here.
    let harness = Setup::new(&tracker, move |_| LabHandle::new(MemLab::new(&made)))
        .with(|rooted| rooted.limits(Limits::default().with_calls(1)))
        .memory(Duration::ZERO);
    let lab: LabHandle = harness.connect().await;
    assert_eq!((stats(&lab).calls_made, stats(&lab).waiting), (0, 0));
    for n in 1..=3 {
        limited(lab.echo(n)).await.expect("it answers");
        assert_eq!(stats(&lab).calls_made, n);
    }
    limited(lab.note("x").accepted()).await.expect("taken");
    assert_eq!(stats(&lab).calls_made, 3, "a one-way call is not counted");
    let mut hanging: Vec<_> = (0..40).map(|_| lab.hang()).collect();
    for call in &mut hanging {
        assert!(futures::poll!(call).is_pending());
    }
    let now = stats(&lab);
    assert_eq!(now.calls, 40, "{now:?}");
    assert_eq!(now.waiting, 39, "{now:?}");
    drop(hanging);
    let at_rest = |s: Stats| s.waiting + s.calls == 0;
    until("nothing waits", || at_rest(stats(&lab))).await;
    drop(lab);
    harness.finish().await;
}

#[tokio::test]
async fn a_server_knows_who_is_connected_and_a_connection_how_it_stands() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, LabHandle::new(MemLab::new(&tracker)));
    assert!(harness.peers().is_empty());
    let (one, two): (LabHandle, LabHandle) = (harness.connect().await, harness.connect().await);
    until("two are there", || harness.peers().len() == 2).await;
    limited(one.echo(1)).await.expect("it answers");
    let seen = harness.peers()[0].stats().expect("it is connected");
    assert!(seen.frames_in >= 1 && seen.bytes_in > 0, "{seen:?}");

    let connection = one.connection().expect("a remote handle");
    let mut states = Box::pin(connection.states());
    assert_eq!(limited(states.next()).await, Some(State::Connected));
    assert!(futures::poll!(states.next()).is_pending());
    limited(connection.close()).await;
    let lost = limited(states.next()).await.expect("it ended");
    assert!(matches!(lost, State::Lost { code: 1000, .. }), "{lost:?}");
    assert_eq!(connection.state(), lost);
    assert_eq!(limited(connection.closed()).await, lost);
    assert_eq!(limited(states.next()).await, None, "nothing comes after");
    until("one is left", || harness.peers().len() == 1).await;
    drop((one, two, connection));
    harness.finish().await;
}
