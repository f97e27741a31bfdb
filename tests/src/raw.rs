//! A client that says what it likes: a WebSocket, the handshake, and then any bytes.

use futures::{SinkExt, StreamExt};
use helve_protocol::hello::{Hello, Reply};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::harness::limited;

/// A WebSocket to a server.
pub struct Raw(WebSocketStream<TcpStream>);

impl Raw {
    /// Opens the WebSocket and says nothing. The HTTP status where the server does not take it.
    ///
    /// # Errors
    /// The answer as text, where it is no upgrade.
    pub async fn open(url: &str, subprotocol: Option<&str>) -> Result<Raw, String> {
        let address = url.trim_start_matches("ws://").trim_end_matches('/');
        let stream = limited(TcpStream::connect(address))
            .await
            .expect("the server listens");
        let mut request = url.into_client_request().expect("a URL");
        if let Some(name) = subprotocol {
            let name = HeaderValue::from_str(name).expect("a name");
            request.headers_mut().insert("sec-websocket-protocol", name);
        }
        match limited(tokio_tungstenite::client_async(request, stream)).await {
            Ok((ws, _)) => Ok(Raw(ws)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                Err(format!(
                    "{} {}",
                    answer.status().as_u16(),
                    String::from_utf8_lossy(&body)
                ))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Opens it and is welcomed: a session begins.
    pub async fn welcomed(url: &str) -> Raw {
        let mut raw = Raw::open(url, Some("helve.1"))
            .await
            .expect("the server speaks Helve");
        raw.send(Hello::default().encode()).await;
        match Reply::decode(&raw.message().await.expect("an answer")) {
            Ok(Reply::Welcome(_)) => raw,
            other => panic!("no WELCOME: {other:?}"),
        }
    }

    /// One binary message.
    pub async fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        let message = Message::Binary(bytes.into().into());
        limited(self.0.send(message)).await.expect("sent");
    }

    /// One text message.
    pub async fn send_text(&mut self, text: &str) {
        limited(self.0.send(Message::text(text)))
            .await
            .expect("sent");
    }

    /// The next binary message; or code and reason of the Close.
    ///
    /// # Errors
    /// The server closed.
    pub async fn message(&mut self) -> Result<Vec<u8>, (u16, String)> {
        loop {
            match limited(self.0.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err((close.code.into(), close.reason.as_str().to_owned()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err((1006, format!("{other:?}"))),
            }
        }
    }

    /// Reads on to the Close.
    pub async fn closed(mut self) -> (u16, String) {
        loop {
            if let Err(close) = self.message().await {
                return close;
            }
        }
    }
}
