//! Clients whose request another HTTP server has read. Used by `crate::axum` alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{AcceptError, Host, greet};
use crate::transport::throttle::{Pending, Turned};
use crate::transport::websocket::WebSocketLink;

/// A client that may begin its handshake, which is counted until this is dropped.
pub(crate) struct Upgrading {
    host: Host,
    pending: Pending,
    pub(crate) deadline: Instant,
}

impl Host {
    /// Origins of web pages that may connect.
    pub(crate) fn origins(&self) -> &[String] {
        &self.0.origins
    }

    /// Lets a client begin, as at a port of our own. One whose address is not known counts for no prefix.
    pub(crate) fn upgrade(&self, from: Option<SocketAddr>) -> Result<Upgrading, Turned> {
        let now = Instant::now();
        let from = from.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |from| from.ip());
        Ok(Upgrading {
            host: self.clone(),
            pending: self.0.door.admit(from, now)?,
            deadline: now + self.0.throttle.handshake,
        })
    }
}

impl Upgrading {
    /// Longest message that this server takes.
    pub(crate) fn max_message(&self) -> usize {
        usize::try_from(self.host.0.limits.stated.batch).unwrap_or(usize::MAX)
    }

    /// The rest of the handshake, and the session until it ends.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        link: WebSocketLink<S>,
    ) -> Result<(), AcceptError> {
        let Upgrading {
            host,
            pending,
            deadline,
        } = self;
        let link = link.throttled(&host.0.throttle);
        let driver = greet(&host.0, link, deadline).await?;
        drop((pending, host));
        driver.await;
        Ok(())
    }
}
