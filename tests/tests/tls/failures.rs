//! Handshakes that fail: who connects gets to read why, and what to do. A session beside them goes on.

use std::sync::Arc;

use helve::ConnectError;
use helve::tls::{ServerTls, rustls};
use helve_tests::certs::{Authority, Issued};
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::secure;

/// What connecting to `url` fails with, for a client with these roots.
async fn refused(url: &str, roots: Option<&Authority>) -> ConnectError {
    // harness: no session begins
    let mut connect = helve::connect::<LabHandle>(url);
    if let Some(authority) = roots {
        connect = connect.tls_roots(authority.pem());
    }
    let error = limited(connect.into_future())
        .await
        .expect_err("no connection");
    println!("{error}");
    assert!(error.to_string().len() < 400, "too long to be read");
    error
}

#[track_caller]
fn says(error: &ConnectError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
}

/// A server, and a client to which nothing must happen.
async fn beside(tls: &Issued, trusted: &Authority) -> (Harness, LabHandle) {
    let tracker = Tracker::new();
    let harness = secure(&tracker, tls.tls()).await;
    let lab = harness
        .connect_with(|connect| connect.tls_roots(trusted.pem()))
        .await
        .expect("trusted");
    (harness, lab)
}

async fn end((harness, lab): (Harness, LabHandle)) {
    assert_eq!(limited(lab.echo(2)).await, Ok(2));
    drop(lab);
    harness.finish().await;
}

#[tokio::test]
async fn an_unknown_authority_is_told_with_how_to_trust_it() {
    let ours = Authority::new();
    let good = beside(&ours.localhost(), &ours).await;
    let url = good.0.url().to_owned();
    // Another one, and another one of the same name.
    for theirs in [Authority::called("somebody else"), Authority::new()] {
        let error = refused(&url, Some(&theirs)).await;
        says(
            &error,
            &[
                "cannot trust `wss://localhost:",
                "none of the roots handed to `.tls_roots(..)`",
            ],
        );
        assert!(!error.is_retryable());
    }
    // Without roots it is for the system to say, if it has any.
    let error = refused(&url, None).await;
    says(&error, &["hand", "`.tls_roots(..)`"]);
    end(good).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_both_names() {
    let authority = Authority::new();
    let tracker = Tracker::new();
    let harness = secure(&tracker, authority.named("other.example").tls()).await;
    let error = refused(harness.url(), Some(&authority)).await;
    says(
        &error,
        &[
            "cannot trust",
            "other.example",
            "not for `localhost`",
            "connect by that name",
        ],
    );
    harness.finish().await;
}

#[tokio::test]
async fn an_expired_certificate_is_told_with_when() {
    let authority = Authority::new();
    let tracker = Tracker::new();
    let harness = secure(&tracker, authority.expired().tls()).await;
    let error = refused(harness.url(), Some(&authority)).await;
    says(
        &error,
        &["cannot trust", "expired", "days ago", "renew it", "clock"],
    );
    harness.finish().await;
}

#[tokio::test]
async fn a_plain_client_at_a_tls_port_is_told_to_use_wss() {
    let authority = Authority::new();
    let good = beside(&authority.localhost(), &authority).await;
    let plain = good.0.url().replace("wss://", "ws://");
    let error = refused(&plain, None).await;
    says(
        &error,
        &["HTTP status 400", "speaks TLS", "connect with wss://"],
    );
    assert!(!error.is_retryable());
    // A browser reads the same.
    let address = plain.trim_start_matches("ws://").to_owned();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    limited(stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("https://"),
        "{answer}"
    );
    end(good).await;
}

#[tokio::test]
async fn a_tls_client_at_a_plain_port_is_told_to_use_ws() {
    let tracker = Tracker::new();
    let harness = Harness::websocket(&tracker, LabHandle::new(MemLab::new(&tracker))).await;
    let port = harness.url().rsplit(':').next().expect("a port");
    let url = format!("wss://127.0.0.1:{port}");
    let error = refused(&url, Some(&Authority::new())).await;
    says(
        &error,
        &[
            "`wss://127.0.0.1:",
            "during the TLS handshake",
            "plain port",
            "use ws://",
        ],
    );
    harness.finish().await;
}

/// A server of another kind, that answers the first bytes with `answer`.
async fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("wss://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    url
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let roots = Authority::new();
    let url = stranger("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = refused(&url, Some(&roots)).await;
    says(&error, &["does not speak TLS", "use ws://"]);
    let url = stranger("").await;
    let error = refused(&url, Some(&roots)).await;
    says(&error, &["closed the connection", "use ws://"]);
    // An alert: protocol_version.
    let url = stranger("\x15\x03\x03\x00\x02\x02\x46").await;
    let error = refused(&url, Some(&roots)).await;
    says(&error, &["TLS 1.3", "bring it up to date"]);
    // An alert: no_application_protocol.
    let url = stranger("\x15\x03\x03\x00\x02\x02\x78").await;
    let error = refused(&url, Some(&roots)).await;
    says(&error, &["HTTP/1.1", "is the port right?"]);
}

/// A TLS server that is not Helve's: says `answer` to the first request.
async fn tls_stranger(authority: &Authority, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("wss://{}", listener.local_addr().expect("bound"));
    let config = config(&authority.localhost(), None);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    url
}

fn config(issued: &Issued, clients: Option<&Authority>) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(authority)),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().expect("roots"))
        }
    };
    builder.with_single_cert(chain, key).expect("they fit")
}

fn roots(authority: &Authority) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM"))
        .expect("a certificate");
    roots
}

#[tokio::test]
async fn a_tls_server_of_another_kind_is_told_apart() {
    let authority = Authority::new();
    let url = tls_stranger(
        &authority,
        "HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno such!",
    )
    .await;
    let error = refused(&url, Some(&authority)).await;
    says(
        &error,
        &["HTTP status 404", "instead of a WebSocket: no such!"],
    );
    let url = tls_stranger(&authority, "220 mail ready\r\n").await;
    let error = refused(&url, Some(&authority)).await;
    says(
        &error,
        &["does not speak WebSocket", "is it a Helve server?"],
    );
    assert!(!error.to_string().contains("use wss://"), "{error}");
    let url = tls_stranger(&authority, "").await;
    let error = refused(&url, Some(&authority)).await;
    says(&error, &["without an answer", "is it a Helve server?"]);
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so_and_takes_one() {
    let (authority, tracker) = (Authority::new(), Tracker::new());
    let tls = ServerTls::from(config(&authority.localhost(), Some(&authority)));
    let harness = secure(&tracker, tls).await;
    let error = refused(harness.url(), Some(&authority)).await;
    says(
        &error,
        &["wants a certificate of this client", "`.tls_config(..)`"],
    );

    let mine = authority.client();
    let chain = vec![CertificateDer::from_pem_slice(mine.chain.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(mine.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots(&authority))
        .with_client_auth_cert(chain, key)
        .expect("they fit");
    let lab: LabHandle = harness
        .connect_with(|connect| connect.tls_config(config))
        .await
        .expect("known");
    assert_eq!(limited(lab.echo(3)).await, Ok(3));
    drop(lab);
    harness.finish().await;
}
