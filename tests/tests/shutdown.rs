//! A server that is asked to stop: clients are told, what runs ends, a hard end bounds it all (S9).

use std::time::Duration;

use futures::StreamExt;
use helve::prelude::*;
use helve::{Shutdown, State};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::time::Instant;

fn setup(tracker: &Tracker) -> Setup {
    let lab = LabHandle::new(MemLab::new(tracker));
    Setup::new(tracker, move |_| lab.clone())
}

async fn lost(connection: &helve::Connection) -> (u16, String) {
    match limited(connection.closed()).await {
        State::Lost { code, reason } => (code, reason),
        state => panic!("{state:?}"),
    }
}

fn counts(done: Shutdown) -> (usize, usize) {
    (done.drained, done.cut)
}

#[tokio::test(start_paused = true)]
async fn what_was_called_before_runs_to_its_end_and_later_calls_may_be_repeated_elsewhere() {
    // S9.1, S9.2
    let tracker = Tracker::new();
    let harness = setup(&tracker).memory(Duration::from_millis(5));
    let lab: LabHandle = harness.connect().await;
    let connection = lab.connection().expect("remote");
    let mut states = Box::pin(connection.states());
    assert_eq!(states.next().await, Some(State::Connected));
    let running = tokio::spawn(lab.echo_late(7));
    let hanging = tokio::spawn(lab.hang());
    until("it runs", || connection.stats().calls == 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await; // sleep: virtual time, so that both calls have arrived
    let host = harness.host();
    let stopping = tokio::spawn(async move { host.shutdown(Duration::from_secs(10)).await });
    let grace = Duration::from_secs(10);
    assert_eq!(states.next().await, Some(State::Draining { grace }));
    let late = limited(lab.echo(1)).await.expect_err("too late");
    assert!(matches!(late, RpcError::Unavailable(_)), "{late:?}");
    assert!(late.is_retryable());
    assert_eq!(limited(running).await.expect("no panic"), Ok(7));
    // The last one is given up; then nothing is left.
    hanging.abort();
    assert_eq!(counts(limited(stopping).await.expect("no panic")), (1, 0));
    assert_eq!(lost(&connection).await.0, 4004);
    drop((lab, connection, states));
    harness.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_hard_end_comes_whether_or_not_a_method_ends() {
    // S9.2
    let tracker = Tracker::new();
    let harness = setup(&tracker).memory(Duration::from_millis(5));
    let lab: LabHandle = harness.connect().await;
    let connection = lab.connection().expect("remote");
    let hanging = tokio::spawn(lab.hang());
    tokio::time::sleep(Duration::from_millis(20)).await; // sleep: virtual time, so that the call has arrived
    let start = Instant::now();
    let done = limited(harness.host().shutdown(Duration::from_secs(3))).await;
    assert_eq!(counts(done), (0, 1));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took <= Duration::from_secs(4), "{took:?}");
    let (code, reason) = lost(&connection).await;
    assert_eq!(code, 4004);
    assert!(reason.contains("the server was shut down"), "{reason}");
    let outcome = limited(hanging).await.expect("no panic");
    assert_eq!(outcome, Err(RpcError::MaybeRan));
    drop((lab, connection));
    harness.finish().await;
}

#[tokio::test]
async fn a_server_that_stops_gives_its_port_up_and_ends_with_its_clients() {
    // S9.2
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    // harness: the server under test ends itself; that nothing is left is asserted below
    let server = helve::Server::builder()
        .root(move |_| std::future::ready(Ok(lab.clone())))
        .bind("ws://127.0.0.1:0")
        .await
        .expect("a free port");
    let (host, url) = (server.host(), server.url().to_owned());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run_until(
        async move {
            let _ = stopped.await;
        },
        Duration::from_secs(10),
    ));
    // harness: the server under test ends itself; that nothing is left is asserted below
    let lab: LabHandle = limited(async { helve::connect(url.clone()).await })
        .await
        .expect("taken");
    let connection = lab.connection().expect("remote");
    assert_eq!(limited(lab.echo(1)).await, Ok(1));
    stop.send(()).expect("it listens");
    assert_eq!(counts(limited(serving).await.expect("no panic")), (1, 0));
    assert_eq!(lost(&connection).await.0, 4004);
    // harness: nobody is there any more
    let refused = limited(async { helve::connect::<LabHandle>(url).await }).await;
    assert!(refused.expect_err("nobody listens").is_retryable());
    drop((lab, connection));
    until("every object released", || host.objects() == 0).await;
    drop(host);
    until("every object dropped", || tracker.live() == 0).await;
}

#[tokio::test]
async fn who_comes_over_a_link_after_the_stop_is_told_to_try_again() {
    // S1.8
    let tracker = Tracker::new();
    let harness = setup(&tracker).memory(Duration::ZERO);
    assert_eq!(
        counts(harness.host().shutdown(Duration::from_secs(1)).await),
        (0, 0)
    );
    let refused = harness.connect_with::<LabHandle>(|connect| connect).await;
    let error = refused.expect_err("it is shut down");
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("shutting down"), "{error}");
    harness.finish().await;
}

#[tokio::test]
async fn many_clients_in_the_middle_of_their_calls_lose_none() {
    // S9.1: what was not answered was refused, and what was answered ran once.
    let tracker = Tracker::new();
    let harness: Harness = setup(&tracker).websocket().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let lab: LabHandle = harness.connect().await;
        clients.push(tokio::spawn(async move {
            let mut ran = 0;
            loop {
                match lab.echo_late(ran).await {
                    Ok(n) => assert_eq!(n, ran),
                    Err(RpcError::Unavailable(_)) => return (ran, true),
                    // The connection was closed before the call was written.
                    Err(RpcError::NotSent | RpcError::SessionLost) => return (ran, false),
                    Err(error) => panic!("{error:?}"),
                }
                ran += 1;
            }
        }));
    }
    tokio::task::yield_now().await;
    let done = limited(harness.host().shutdown(Duration::from_secs(20))).await;
    assert_eq!(counts(done), (20, 0));
    for client in clients {
        limited(client).await.expect("no panic");
    }
    harness.finish().await;
}
