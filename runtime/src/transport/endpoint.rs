//! A `wss://` or `ws://` URL: where to connect or to bind, and whether that is safe without TLS. Used by the handshake,
//! the client and the server.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, lookup_host};
use tokio_tungstenite::tungstenite::http::Uri;

/// What is wrong with an address, and what to write instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is not a URL of the form `ws://host:port`.
    #[error("`{url}` is not an address to use: {why}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// `wss://` was asked for, and there is no TLS: the crate was built without it, or a function for plain links was
    /// called.
    #[error(
        "`{url}` asks for TLS, which is not there: build the crate `helve` with its feature `tls`, or use ws:// on loopback or behind a proxy that ends TLS"
    )]
    Tls {
        /// The URL as given.
        url: String,
    },
    /// TLS was set up, and the URL does without.
    #[error(
        "`{url}` is not encrypted, but `{setting}` was given: write wss://, or leave that setting out"
    )]
    NotTls {
        /// The URL as given.
        url: String,
        /// The setting that has no effect here.
        setting: &'static str,
    },
    /// `ws://` off loopback carries tokens and data in the clear.
    #[error(
        "`{url}` is not on loopback ({addr}), and ws:// is not encrypted: use wss://, or say `.insecure()` if that network is trusted"
    )]
    Insecure {
        /// The URL as given.
        url: String,
        /// The address that it stands for.
        addr: IpAddr,
    },
    /// The host name has no address.
    #[error("the host of `{url}` has no address: {source}")]
    Resolve {
        /// The URL as given.
        url: String,
        /// The resolver's words.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{url}`: {source}; is the port taken? port 0 takes a free one")]
    Bind {
        /// The URL as given.
        url: String,
        /// The system's words.
        source: std::io::Error,
    },
}

/// A parsed `wss://` or `ws://` URL.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: String,
    uri: Uri,
    tls: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses `wss://host[:port][/path]`, or the same with `ws://`. Without a port it is 443, or 80.
    pub fn parse(url: &str) -> Result<Endpoint, AddressError> {
        let shown = shown(url);
        let wrong = |why: String| AddressError::Url {
            url: shown.clone(),
            why,
        };
        let Some((scheme, _)) = url.split_once("://") else {
            return Err(wrong(format!("it has no scheme; write `ws://{shown}`")));
        };
        let instead = shown.split_once("://").map_or("", |(_, rest)| rest);
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => {
                return Err(wrong(format!(
                    "the scheme is not http; write `ws://{instead}`"
                )));
            }
            "https" => {
                return Err(wrong(format!(
                    "the scheme is not https; write `wss://{instead}`"
                )));
            }
            other => {
                return Err(wrong(format!(
                    "`{other}` is no scheme of Helve; write `ws://{instead}`"
                )));
            }
        };
        if instead.is_empty() {
            return Err(wrong("it names no host".to_owned()));
        }
        let uri: Uri = url.parse().map_err(|e| wrong(format!("{e}")))?;
        let Some(authority) = uri.authority() else {
            return Err(wrong("it names no host".to_owned()));
        };
        if authority.as_str().contains('@') {
            return Err(wrong(
                "a name or password does not belong in the URL; hand it to `.token(..)`".to_owned(),
            ));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host".to_owned()));
        }
        // `Uri` keeps a port that is no number from 0 to 65,535 as text.
        let tail = authority.as_str().rsplit(']').next().unwrap_or_default();
        let port = match (uri.port_u16(), tail.contains(':')) {
            (Some(port), _) => port,
            (None, false) if tls => 443,
            (None, false) => 80,
            (None, true) => {
                return Err(wrong("its port is not a number from 0 to 65535".to_owned()));
            }
        };
        Ok(Endpoint {
            url: shown,
            uri,
            tls,
            host,
            port,
        })
    }

    /// The URL as messages show it: without query, name and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is `wss://`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL of this endpoint with the port that a listener really has.
    pub fn with_port(&self, port: u16) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let path = self.uri.path().trim_end_matches('/');
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{host}:{port}{path}")
    }

    /// The addresses behind this endpoint, at least one. Without TLS and without `insecure` each must be a loopback
    /// address.
    ///
    /// The addresses are looked at, not the name: a name that leads elsewhere tomorrow is refused tomorrow.
    pub async fn resolve(&self, insecure: bool) -> Result<Vec<SocketAddr>, AddressError> {
        let failed = |source| AddressError::Resolve {
            url: self.url.clone(),
            source,
        };
        let found: Vec<SocketAddr> = lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(failed)?
            .collect();
        if found.is_empty() {
            return Err(failed(std::io::Error::from(std::io::ErrorKind::NotFound)));
        }
        let trusted = self.tls || insecure;
        if let (false, Some(far)) = (trusted, found.iter().find(|a| !is_loopback(a.ip()))) {
            return Err(AddressError::Insecure {
                url: self.url.clone(),
                addr: far.ip(),
            });
        }
        Ok(found)
    }

    /// Listens on the first address that can be bound. Port 0 takes a free one.
    pub async fn bind(&self, insecure: bool) -> Result<TcpListener, AddressError> {
        let addresses = self.resolve(insecure).await?;
        TcpListener::bind(&addresses[..])
            .await
            .map_err(|source| AddressError::Bind {
                url: self.url.clone(),
                source,
            })
    }
}

/// A URL fit for messages and logs: secrets sit in its query, or before the `@`.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(s, rest)| (s, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let slashes = if url.contains("://") { "://" } else { "" };
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{slashes}***@{host}{path}"),
        None => url.to_owned(),
    }
}

/// Whether nothing sent to this address leaves the machine.
pub fn is_loopback(addr: IpAddr) -> bool {
    addr.to_canonical().is_loopback()
}
