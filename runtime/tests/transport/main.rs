//! Links: in memory and over a WebSocket, with honest peers and with others.

mod handshake;
mod memory;
mod websocket;

use std::future::{Future, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use helve::transport::handshake::{AcceptError, AcceptOptions, ConnectOptions, accept, connect};
use helve::transport::websocket::WebSocketLink;
use helve::transport::{Close, Link, LinkEnd};
use tokio::net::TcpListener;
use tokio::time::Instant;

const MAX_MESSAGE: usize = 128 << 10;

/// No test waits longer than this.
async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("the test hangs")
}

async fn send(link: &mut impl Link, message: impl Into<Bytes>) -> Result<(), LinkEnd> {
    poll_fn(|cx| link.poll_ready(cx)).await?;
    link.start_send(message.into())?;
    poll_fn(|cx| link.poll_flush(cx)).await
}

async fn recv(link: &mut impl Link) -> Result<Bytes, LinkEnd> {
    poll_fn(|cx| link.poll_recv(cx)).await
}

async fn close(link: &mut impl Link, close: Close) {
    link.start_close(close);
    poll_fn(|cx| link.poll_close(cx)).await;
}

fn closed(code: u16, reason: &str) -> LinkEnd {
    LinkEnd::Closed {
        code,
        reason: reason.to_owned(),
    }
}

fn accept_options() -> AcceptOptions {
    AcceptOptions {
        max_message: MAX_MESSAGE,
        origins: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

fn connect_options() -> ConnectOptions {
    ConnectOptions {
        max_message: MAX_MESSAGE,
        insecure: false,
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

/// A listener on a free port, and its URL.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

async fn accept_one(
    listener: &TcpListener,
    options: AcceptOptions,
) -> Result<WebSocketLink, AcceptError> {
    let (stream, _) = listener.accept().await.unwrap();
    accept(stream, &options).await
}

/// Client and server ends of one WebSocket over loopback.
async fn websocket_pair() -> (WebSocketLink, WebSocketLink) {
    let (listener, url) = listen().await;
    let options = connect_options();
    let (client, server) = tokio::join!(
        connect(&url, &options),
        accept_one(&listener, accept_options())
    );
    (client.unwrap(), server.unwrap())
}
