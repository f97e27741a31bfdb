//! TLS for `wss://`: the certificate that a server shows ([`ServerTls`]), and whom a client trusts. Used by whoever sets
//! up a server, and by the client; the handshakes themselves are in `transport::tls`.
//!
//! TLS 1.3 by rustls with the primitives of ring; no 0-RTT, whose bytes anybody may send a second time. Present with the
//! feature `tls`, which is on by default.
//!
//! ```no_run
//! # use helve::prelude::*;
//! # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
//! # struct Count(u64);
//! # impl Counter for Count { async fn add(&mut self, n: u64) -> u64 { self.0 += n; self.0 } }
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use helve::tls::ServerTls;
//!
//! let tls = ServerTls::from_pem_files("chain.pem", "key.pem")?;
//! let server = helve::Server::builder()
//!     .tls(tls)
//!     .root(|_| async { Ok(CounterHandle::new(Count(0))) })
//!     .bind("wss://0.0.0.0:7443")
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! A client that trusts what its system trusts needs nothing but the URL; one with an authority of its own says so:
//!
//! ```no_run
//! # use helve::prelude::*;
//! # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let roots = std::fs::read("ca.pem")?;
//! let counter: CounterHandle = helve::connect("wss://localhost:7443").tls_roots(roots).await?;
//! # Ok(()) }
//! ```

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig,
};
use tokio_rustls::TlsAcceptor;
/// The rustls that Helve is built with, for those who make a `ServerConfig` or `ClientConfig` of their own.
pub use tokio_rustls::rustls;

/// What is agreed on inside TLS: a WebSocket begins as HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";

/// Why a certificate, a key or a list of roots is of no use. Says which file, never what is in it.
///
/// Its `Debug` is its text: that is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// What it should hold, and its path.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// It holds something else than it should.
    #[error("{what} is of no use: {why}")]
    Unusable {
        /// What it should hold, and its path where it has one.
        what: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl std::fmt::Debug for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl TlsError {
    fn unusable(what: &str, why: impl Into<String>) -> TlsError {
        TlsError::Unusable {
            what: what.to_owned(),
            why: why.into(),
        }
    }
}

/// What a server shows its clients: a chain of certificates, and that it has the key. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(pub(crate) TlsAcceptor);

/// Never prints the key.
impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

impl ServerTls {
    /// From a chain and a private key, both PEM. The server's own certificate comes first in the chain, then those that
    /// signed it; the key is PKCS #8, PKCS #1 or SEC1, not encrypted.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong with which of the two.
    pub fn from_pem(
        cert_chain_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<ServerTls, TlsError> {
        server(
            ("the certificate chain", cert_chain_pem.as_ref()),
            ("the private key", key_pem.as_ref()),
        )
    }

    /// The same, from two files, which are read once and now.
    ///
    /// # Errors
    /// As [`from_pem`](ServerTls::from_pem), or a file cannot be read.
    pub fn from_pem_files(
        cert_chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<ServerTls, TlsError> {
        let read = |what: &str, path: &Path| {
            let what = format!("{what} `{}`", path.display());
            match std::fs::read(path) {
                Ok(bytes) => Ok((what, bytes)),
                Err(source) => Err(TlsError::Read { what, source }),
            }
        };
        let chain = read("the certificate chain", cert_chain.as_ref())?;
        let key = read("the private key", key.as_ref())?;
        server((&chain.0, &chain.1), (&key.0, &key.1))
    }
}

/// From a configuration of one's own: client certificates, a certificate for each name, an older version. It gets the ALPN
/// of a WebSocket where it has none, and 0-RTT is switched off.
impl From<ServerConfig> for ServerTls {
    fn from(mut config: ServerConfig) -> ServerTls {
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols.push(ALPN.to_vec());
        }
        config.max_early_data_size = 0;
        ServerTls(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Each with the words that an error calls it by.
fn server(
    (chain_is, chain): (&str, &[u8]),
    (key_is, key): (&str, &[u8]),
) -> Result<ServerTls, TlsError> {
    let certificates = certificates(chain_is, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        let why = if has_section(key, "ENCRYPTED PRIVATE KEY") {
            "it is encrypted; decrypt it first, with `openssl pkey` for example"
        } else if has_section(key, "CERTIFICATE") {
            "it holds certificates and no key; was it given in place of the chain?"
        } else {
            "it holds no whole PEM section `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`"
        };
        TlsError::unusable(key_is, why)
    })?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::unusable(
                key_is,
                "it is not the key of the first certificate of the chain",
            ),
            Error::InvalidCertificate(CertificateError::BadEncoding) => {
                TlsError::unusable(chain_is, "its first certificate is malformed")
            }
            Error::InvalidCertificate(why) => TlsError::unusable(chain_is, why.to_string()),
            why => TlsError::unusable(key_is, why.to_string()),
        })?;
    Ok(config.into())
}

/// All certificates of a PEM text, at least one.
fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::unusable(what, "its PEM is malformed; is it whole?"))?;
    if found.is_empty() {
        let why = if has_section(pem, "PRIVATE KEY") {
            "it holds a private key and no certificate; are the two swapped?"
        } else {
            "it holds no PEM section `CERTIFICATE`; if it is DER, convert it with `openssl x509 -inform der`"
        };
        return Err(TlsError::unusable(what, why));
    }
    Ok(found)
}

fn has_section(pem: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(pem)
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.contains(name))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: OnceLock<Arc<rustls::crypto::CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
        .clone()
}

/// Whom a client trusts.
#[derive(Clone, Default)]
pub(crate) enum Trust {
    /// The roots of the system, read when first needed and then kept.
    #[default]
    System,
    /// Those of this PEM text.
    Roots(Vec<u8>),
    /// As this configuration says.
    Config(Arc<ClientConfig>),
}

impl Trust {
    /// The setting that led here; `None` for the default.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            Trust::System => None,
            Trust::Roots(_) => Some(".tls_roots(..)"),
            Trust::Config(_) => Some(".tls_config(..)"),
        }
    }

    pub(crate) async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        match self {
            Trust::System => system().await,
            Trust::Config(config) => Ok(config.clone()),
            Trust::Roots(pem) => {
                let what = "what was handed to `.tls_roots(..)`";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(what, pem)? {
                    roots.add(certificate).map_err(|_| {
                        TlsError::unusable(what, "one of its certificates is malformed")
                    })?;
                }
                client(what, roots)
            }
        }
    }
}

/// A client's configuration of one's own, with what Helve needs: the ALPN of a WebSocket, and no 0-RTT.
pub(crate) fn adapted(mut config: ClientConfig) -> Arc<ClientConfig> {
    if config.alpn_protocols.is_empty() {
        config.alpn_protocols.push(ALPN.to_vec());
    }
    config.enable_early_data = false;
    Arc::new(config)
}

fn client(what: &str, roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|why| TlsError::unusable(what, why.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(adapted(config))
}

async fn system() -> Result<Arc<ClientConfig>, TlsError> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SYSTEM.get() {
        return Ok(config.clone());
    }
    let what = "the system's list of trusted certificates";
    // Some hundred files on some systems.
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| TlsError::unusable(what, error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "it is empty".to_owned(),
        };
        let why = format!(
            "{why}; install it (`ca-certificates` on most systems), or hand roots to `.tls_roots(..)`"
        );
        return Err(TlsError::unusable(what, why));
    }
    let config = client(what, roots)?;
    Ok(SYSTEM.get_or_init(|| config).clone())
}

#[cfg(test)]
mod tests;
