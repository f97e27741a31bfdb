//! What is always so, whatever configuration was handed in: threats row 6.

use super::*;

fn no_certificates() -> ServerConfig {
    let resolver = rustls::server::ResolvesServerCertUsingSni::new();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
}

#[test]
fn early_data_is_off_on_both_sides_even_where_it_was_asked_for() {
    let mut config = no_certificates();
    config.max_early_data_size = 1 << 14;
    assert_eq!(ServerTls::from(config).0.config().max_early_data_size, 0);
    let made = client("no roots", RootCertStore::empty()).unwrap();
    let mut config = (*made).clone();
    config.enable_early_data = true;
    assert!(!adapted(config).enable_early_data && !made.enable_early_data);
}

#[test]
fn http_1_1_is_agreed_on_unless_something_else_was_asked_for() {
    let made = client("no roots", RootCertStore::empty()).unwrap();
    assert_eq!(made.alpn_protocols, [ALPN]);
    let mut config = no_certificates();
    let tls = ServerTls::from(config.clone());
    assert_eq!(tls.0.config().alpn_protocols, [ALPN]);
    config.alpn_protocols.push(b"acme-tls/1".to_vec());
    assert_eq!(
        ServerTls::from(config).0.config().alpn_protocols,
        [b"acme-tls/1"]
    );
}

#[test]
fn a_configuration_made_here_speaks_tls_1_3_alone() {
    let made = client("no roots", RootCertStore::empty()).unwrap();
    let shown = format!("{made:?}");
    assert!(
        shown.contains("TLSv1_3") && !shown.contains("TLSv1_2"),
        "{shown}"
    );
}
