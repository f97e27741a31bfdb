//! Setting TLS up: certificates, keys, roots and URLs that do not fit.

use std::path::PathBuf;

use helve::prelude::*;
use helve::tls::{ServerTls, TlsError, rustls};
use helve::{ConnectError, ServeError};
use helve_tests::certs::Authority;
use helve_tests::harness::limited;
use helve_tests::lab::LabHandle;

#[track_caller]
fn says(text: impl ToString, words: &[&str]) {
    let text = text.to_string();
    println!("{text}");
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
}

fn refused(chain: &str, key: &str) -> TlsError {
    let error = ServerTls::from_pem(chain, key).expect_err("of no use");
    assert!(
        !error.to_string().contains(&body(key)) || key.is_empty(),
        "it shows the key"
    );
    error
}

/// A line from the middle of a PEM section.
fn body(pem: &str) -> String {
    pem.lines().nth(1).unwrap_or("no such line").to_owned()
}

#[test]
fn a_certificate_or_key_of_no_use_says_what_is_wrong_with_which() {
    let authority = Authority::new();
    let (good, other) = (authority.localhost(), authority.localhost());
    says(
        refused(&good.chain, &other.key),
        &["private key", "not the key of the first certificate"],
    );
    says(
        refused(&good.key, &good.chain),
        &["certificate chain", "swapped?"],
    );
    says(
        refused(&good.chain, &good.chain),
        &["private key", "certificates and no key"],
    );
    says(
        refused("", &good.key),
        &["chain", "no PEM section `CERTIFICATE`"],
    );
    says(refused(&good.chain, ""), &["private key", "PRIVATE KEY"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    says(
        refused(&good.chain, encrypted),
        &["is encrypted", "openssl pkey"],
    );
    let cut = &good.chain[..good.chain.len() / 2];
    says(refused(cut, &good.key), &["chain", "is it whole?"]);
    let cut = &good.key[..good.key.len() / 2];
    says(refused(&good.chain, cut), &["private key", "whole"]);
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    says(refused(nonsense, &good.key), &["chain", "malformed"]);
    assert_eq!(format!("{:?}", good.tls()), "ServerTls(..)");
}

#[test]
fn files_are_named_in_errors() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let issued = Authority::new().localhost();
    std::fs::write(&chain, &issued.chain).expect("room");
    std::fs::write(&key, &issued.key).expect("room");
    ServerTls::from_pem_files(&chain, &key).expect("they fit");
    let missing = folder.join("no-such.pem");
    let error = ServerTls::from_pem_files(&missing, &key).expect_err("no such file");
    says(
        &error,
        &["cannot read the certificate chain", "no-such.pem"],
    );
    let error = ServerTls::from_pem_files(&chain, &missing).expect_err("no such file");
    says(&error, &["cannot read the private key", "no-such.pem"]);
    let error = ServerTls::from_pem_files(&key, &chain).expect_err("swapped");
    says(&error, &["chain `", "key.pem", "swapped?"]);
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[tokio::test]
async fn a_url_and_a_certificate_go_together_or_not_at_all() {
    let bind = async |url: &str, tls: bool| {
        let rooted =
            // harness: nothing is served
            helve::Server::builder().root(|_| async { Err::<LabHandle, _>(RpcError::Gone) });
        let rooted = match tls {
            true => rooted.tls(Authority::new().localhost().tls()),
            false => rooted,
        };
        limited(rooted.bind(url)).await
    };
    let error = bind("wss://localhost:0", false)
        .await
        .expect_err("no certificate");
    says(&error, &["wss://localhost:0", "asks for TLS", "`.tls(..)`"]);
    assert!(matches!(error, ServeError::NoCertificate { .. }));
    let error = bind("ws://localhost:0", true).await.expect_err("no TLS");
    says(
        &error,
        &["not encrypted", "`.tls(..)` was given", "write wss://"],
    );
    bind("wss://localhost:0", true).await.expect("both");

    // harness: no session begins
    let connect = helve::connect::<LabHandle>("ws://localhost:1").tls_roots(Authority::new().pem());
    let error = limited(connect.into_future()).await.expect_err("no TLS");
    says(
        &error,
        &[
            "not encrypted",
            "`.tls_roots(..)` was given",
            "write wss://",
        ],
    );
}

#[tokio::test]
async fn roots_of_no_use_are_an_error_before_anything_is_sent() {
    for (pem, words) in [
        ("", "no PEM section `CERTIFICATE`"),
        ("-----BEGIN CERTIFICATE-----\nAAAA", "is it whole?"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "malformed",
        ),
    ] {
        // harness: no session begins; nobody listens at this port
        let connect = helve::connect::<LabHandle>("wss://localhost:1").tls_roots(pem);
        let error = limited(connect.into_future()).await.expect_err("no roots");
        says(&error, &["`.tls_roots(..)`", words]);
        assert!(!error.is_retryable());
        assert!(matches!(error, ConnectError::Link(_)));
    }
}

#[test]
fn a_configuration_of_ones_own_is_taken() {
    let issued = Authority::new().localhost();
    use rustls::pki_types::pem::PemObject;
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(issued.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    // harness: nothing is served
    let _ = helve::Server::builder().tls(config);
}
