//! `wss://`: sessions over TLS, and what whoever fails to get one reads. Each text is asserted, since it is all that
//! somebody has who connects for the first time.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod tls {
    mod failures;
    mod setup;
}

use std::time::Duration;

use helve::tls::ServerTls;
use helve::{Remote, State};
use helve_tests::certs::Authority;
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};

/// A server with this certificate, on a free port of `localhost`.
async fn secure(tracker: &Tracker, tls: impl Into<ServerTls>) -> Harness {
    let root = LabHandle::new(MemLab::new(tracker));
    Setup::new(tracker, move |_| root.clone())
        .with(|rooted| rooted.tls(tls))
        .bind("wss://localhost:0")
        .await
}

#[tokio::test]
async fn calls_callbacks_and_pipelines_work_over_tls() {
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let harness = secure(&tracker, authority.localhost().tls()).await;
    assert!(
        harness.url().starts_with("wss://localhost:"),
        "{}",
        harness.url()
    );
    let lab: LabHandle = harness
        .connect_with(|connect| connect.tls_roots(authority.pem()))
        .await
        .expect("a client that trusts the authority");
    assert_eq!(limited(lab.echo(7)).await, Ok(7));
    let mine = LabHandle::new(MemLab::new(&tracker));
    assert_eq!(limited(lab.borrow(&mine, 5)).await, Ok(5));
    let chain = lab.open().pipelined().open().pipelined();
    assert_eq!(limited(chain.echo(9)).await, Ok(9));
    drop((mine, chain));

    // More than the buffers of TLS hold, in calls that overlap.
    let text = "x".repeat(60_000);
    let receipts: Vec<_> = (0..40).map(|_| lab.note(&text)).collect();
    for mut receipt in receipts {
        limited(receipt.handled()).await.expect("all arrive");
    }
    limited(lab.forget()).await.expect("answers");
    let stats = lab.connection().expect("remote").stats();
    assert!(stats.bytes_out > 2_400_000, "{stats:?}");
    drop(lab);
    harness.finish().await;
}

#[tokio::test]
async fn an_address_is_a_name_too_and_one_authority_serves_many_clients() {
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let root = LabHandle::new(MemLab::new(&tracker));
    let harness = Setup::new(&tracker, move |_| root.clone())
        .with(|rooted| rooted.tls(authority.localhost().tls()))
        .bind("wss://127.0.0.1:0")
        .await;
    let mut labs: Vec<LabHandle> = Vec::new();
    for _ in 0..5 {
        let connecting = harness.connect_with(|connect| connect.tls_roots(authority.pem()));
        labs.push(connecting.await.expect("trusted"));
    }
    for (n, lab) in (0..).zip(&labs) {
        assert_eq!(limited(lab.echo(n)).await, Ok(n));
    }
    drop(labs);
    harness.finish().await;
}

#[tokio::test]
async fn an_end_on_purpose_is_told_with_its_code_over_tls() {
    // S10.2
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let harness = secure(&tracker, authority.localhost().tls()).await;
    let lab: LabHandle = harness
        .connect_with(|connect| connect.tls_roots(authority.pem()))
        .await
        .expect("trusted");
    let server = harness.server_ends().pop().expect("a session");
    let client = lab.connection().expect("remote");
    limited(client.close()).await;
    let State::Lost { code, .. } = limited(server.closed()).await else {
        panic!("it goes on")
    };
    assert_eq!(code, 1000);
    drop((server, client, lab));
    harness.finish().await;
}

#[tokio::test]
async fn a_server_that_stops_tells_its_clients_over_tls_too() {
    // S9.2
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let harness = secure(&tracker, authority.localhost().tls()).await;
    let lab: LabHandle = harness
        .connect_with(|connect| connect.tls_roots(authority.pem()))
        .await
        .expect("trusted");
    let client = lab.connection().expect("remote");
    let done = limited(harness.host().shutdown(Duration::from_secs(10))).await;
    assert_eq!((done.drained, done.cut), (1, 0));
    let end = limited(client.closed()).await;
    assert!(matches!(end, State::Lost { code: 4004, .. }), "{end:?}");
    drop((client, lab));
    harness.finish().await;
}

#[tokio::test]
async fn a_client_that_dies_in_the_middle_of_tls_is_noticed() {
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let harness = secure(&tracker, authority.localhost().tls()).await;
    let address = harness.url().trim_start_matches("wss://").to_owned();
    // A relay, so that the connection can be cut where neither side expects it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let relay = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a client");
        let mut far = tokio::net::TcpStream::connect(address)
            .await
            .expect("the server");
        // Ends when it is aborted.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    // harness: through a relay
    let connecting = helve::connect::<LabHandle>(format!("wss://localhost:{port}"))
        .tls_roots(authority.pem())
        .timeout(Duration::from_secs(10));
    let lab = limited(connecting.into_future()).await.expect("trusted");
    assert_eq!(limited(lab.echo(1)).await, Ok(1));
    relay.abort();
    let end = limited(lab.connection().expect("remote").closed()).await;
    assert!(matches!(end, State::Lost { code: 1006, .. }), "{end:?}");
    until("the server noticed", || harness.server_ends().is_empty()).await;
    drop(lab);
    harness.finish().await;
}
