//! The rule on Origin (S1.18), on its own.

use super::*;

fn refused(origin: &str, host: &str, local: &str, allowed: &[&str]) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host.parse().unwrap());
    headers.insert(header::ORIGIN, origin.parse().unwrap());
    let allowed: Vec<String> = allowed.iter().map(|a| (*a).to_owned()).collect();
    foreign_origin(&headers, place(local, false), &allowed).is_some()
}

/// A link that is no socket.
const NOWHERE: Place = Place {
    local: None,
    tls: false,
};

fn place(local: &str, tls: bool) -> Place {
    Place {
        local: Some(local.parse().unwrap()),
        tls,
    }
}

// S1.19
#[test]
fn where_the_server_ends_tls_only_a_page_that_came_over_tls_is_its_own() {
    for (origin, host, own) in [
        ("https://app.example.com", "app.example.com", true),
        ("https://app.example.com", "app.example.com:443", true),
        ("https://app.example.com:8443", "app.example.com:8443", true),
        ("https://app.example.com", "app.example.com:8443", false),
        ("http://app.example.com", "app.example.com", false),
        ("http://app.example.com:8443", "app.example.com:8443", false),
        ("null", "app.example.com", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        let foreign = foreign_origin(&headers, place("192.0.2.1:8443", true), &[]);
        assert_eq!(foreign.is_none(), own, "{origin} at {host}");
    }
}

#[test]
fn a_page_of_the_servers_own_host_may_connect() {
    for (origin, host, local) in [
        ("http://localhost:7000", "localhost:7000", "127.0.0.1:7000"),
        ("http://127.0.0.1:7000", "127.0.0.1:7000", "127.0.0.1:7000"),
        ("http://[::1]:7000", "[::1]:7000", "[::1]:7000"),
        ("http://app.localhost", "app.localhost", "127.0.0.1:80"),
        (
            "https://app.example.com",
            "app.example.com",
            "192.0.2.1:8443",
        ),
        (
            "https://App.Example.com",
            "app.example.com:443",
            "192.0.2.1:8443",
        ),
        (
            "http://app.example.com",
            "app.example.com:80",
            "192.0.2.1:80",
        ),
    ] {
        assert!(!refused(origin, host, local, &[]), "{origin} at {host}");
    }
}

#[test]
fn a_page_of_another_host_may_not_connect_unless_it_is_listed() {
    for (origin, host) in [
        ("https://evil.example", "app.example.com"),
        ("https://app.example.com.evil.example", "app.example.com"),
        ("https://app.example.com:444", "app.example.com"),
        ("http://app.example.com", "app.example.com:443"),
        ("null", "app.example.com"),
        ("", ""),
        ("file://", ""),
        ("https://", ""),
    ] {
        assert!(
            refused(origin, host, "192.0.2.1:443", &[]),
            "{origin} at {host}"
        );
        assert!(
            !refused(origin, host, "192.0.2.1:443", &["*"]),
            "{origin} at {host}"
        );
    }
    assert!(!refused(
        "https://evil.example",
        "app.example.com",
        "192.0.2.1:443",
        &["https://EVIL.example/"]
    ));
}

#[test]
fn a_name_that_was_rebound_to_loopback_may_not_connect() {
    assert!(refused(
        "http://evil.example:7000",
        "evil.example:7000",
        "127.0.0.1:7000",
        &[]
    ));
    assert!(refused(
        "http://localhost.evil.example:7000",
        "localhost.evil.example:7000",
        "127.0.0.1:7000",
        &[]
    ));
}

#[test]
fn every_origin_of_a_request_must_be_allowed() {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("localhost:1"));
    headers.append(
        header::ORIGIN,
        HeaderValue::from_static("http://localhost:1"),
    );
    assert_eq!(foreign_origin(&headers, NOWHERE, &[]), None);
    headers.append(
        header::ORIGIN,
        HeaderValue::from_static("http://evil.example"),
    );
    assert_eq!(
        foreign_origin(&headers, NOWHERE, &[]),
        Some("http://evil.example".to_owned())
    );
}

#[test]
fn the_subprotocol_is_found_in_any_header_of_the_list() {
    let mut headers = HeaderMap::new();
    assert!(!offers_helve(&headers));
    headers.append(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("chat, helve.2"),
    );
    assert!(!offers_helve(&headers));
    headers.append(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("other,helve.1"),
    );
    assert!(offers_helve(&headers));
}
