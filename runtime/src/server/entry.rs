//! A connection from its first byte to its session, with TLS or without. Used by the server's loop that accepts.

use std::io::Write as _;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{AcceptError, Builder, ServeError, Shared, greet};
#[cfg(feature = "tls")]
use crate::transport;
use crate::transport::endpoint::{AddressError, Endpoint};
use crate::transport::handshake::{self, AcceptOptions};
use crate::transport::throttle::Pending;

/// `wss://` and `.tls(..)` go together.
#[cfg(feature = "tls")]
pub(super) fn check_tls(endpoint: &Endpoint, builder: &Builder) -> Result<(), ServeError> {
    let url = || endpoint.url().to_owned();
    match (endpoint.is_tls(), &builder.tls) {
        (true, None) => Err(ServeError::NoCertificate { url: url() }),
        (false, Some(_)) => Err(ServeError::Address(AddressError::NotTls {
            url: url(),
            setting: ".tls(..)",
        })),
        _ => Ok(()),
    }
}

/// There is no `wss://`.
#[cfg(not(feature = "tls"))]
pub(super) fn check_tls(endpoint: &Endpoint, _: &Builder) -> Result<(), ServeError> {
    let url = endpoint.url().to_owned();
    match endpoint.is_tls() {
        true => Err(ServeError::Address(AddressError::Tls { url })),
        false => Ok(()),
    }
}

impl Shared {
    /// Closes a connection for which there is no room, with a word where it costs nothing: no TLS, and no waiting.
    pub(super) fn turn_away(&self, stream: TcpStream) {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return;
        }
        if let Ok(mut stream) = stream.into_std() {
            // A new socket has room for it; else the client hears nothing.
            let _ = stream.write(handshake::BUSY.as_bytes());
        }
    }
}

/// One client, from its first byte to the end of its session. `pending` is held during the handshake.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    pending: Pending,
) -> Result<(), AcceptError> {
    let deadline = Instant::now() + shared.throttle.handshake;
    let max_message = usize::try_from(shared.limits.stated.batch).unwrap_or(usize::MAX);
    let options = AcceptOptions {
        max_message,
        origins: shared.origins.clone(),
        deadline,
    };
    #[cfg(feature = "tls")]
    if let Some(tls) = &shared.tls {
        // Boxed, so that the task of a plain connection has no room for the state of a TLS one.
        let served = Box::pin(async {
            let link = transport::tls::accept(stream, tls, &options).await?;
            let link = link.throttled(&shared.throttle);
            let driver = greet(&shared, link, deadline).await?;
            drop(pending);
            driver.await;
            Ok(())
        });
        return served.await;
    }
    let link = handshake::accept(stream, &options).await?;
    let link = link.throttled(&shared.throttle);
    let driver = greet(&shared, link, deadline).await?;
    drop((pending, shared, options));
    driver.await;
    Ok(())
}
