//! The rule on Origin: which pages a browser may connect from. Asked once for each request.

use tokio_tungstenite::tungstenite::http::{HeaderMap, header};

use super::Place;
use crate::transport::endpoint::is_loopback;

/// The Origin that may not connect, if there is one.
///
/// No Origin: not a browser, which proves itself in HELLO. Else it must be allowed, or be of the server's own host as
/// `Host` names it. On a loopback address `Host` must be a loopback name too: a hostile page whose own name suddenly
/// leads to 127.0.0.1 has an Origin that equals `Host` (DNS rebinding). Where this server ends TLS, only pages that came
/// over TLS are its own; where it does not, a proxy before it may.
pub(super) fn foreign_origin(
    headers: &HeaderMap,
    place: Place,
    allowed: &[String],
) -> Option<String> {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    headers.get_all(header::ORIGIN).iter().find_map(|value| {
        let origin = String::from_utf8_lossy(value.as_bytes());
        let listed = allowed
            .iter()
            .any(|a| a == "*" || a.trim_end_matches('/').eq_ignore_ascii_case(&origin));
        (!listed && !same_host(&origin, host, place)).then(|| {
            let mut shown: String = origin
                .chars()
                .filter(|c| !c.is_control() && *c != '"')
                .collect();
            crate::error::cut(&mut shown, 200);
            shown
        })
    })
}

fn same_host(origin: &str, host: &str, place: Place) -> bool {
    let (authority, port) = match origin.split_once("://") {
        Some(("http", authority)) if !place.tls => (authority, 80),
        Some(("https", authority)) => (authority, 443),
        _ => return false,
    };
    let (Some(theirs), Some(ours)) = (
        split_authority(authority, port),
        split_authority(host, port),
    ) else {
        return false;
    };
    if theirs != ours {
        return false;
    }
    !place.local.is_some_and(|l| is_loopback(l.ip())) || names_loopback(&ours.0)
}

/// Host in lower case without brackets, and port.
fn split_authority(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    (!host.is_empty()).then_some((host, port))
}

fn names_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}
