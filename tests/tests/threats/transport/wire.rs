//! An attacker: a stream of bytes to the server, on which it says what it likes.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use helve::tls::rustls;
use helve_protocol::hello::{Hello, Reply};
use helve_tests::certs::Authority;
use helve_tests::harness::limited;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::attack::Scene;

/// What a browser or a client of ours asks for, but for the headers of its own and the empty line.
pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: helve.1\r\n";

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// First byte and payload.
pub(crate) type Frame = (u8, Vec<u8>);

/// One connection.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    /// Heard and not looked at.
    heard: Vec<u8>,
}

impl Wire {
    /// A connection on which nothing was said.
    pub(crate) async fn silent(scene: &Scene) -> Wire {
        Wire::from("127.0.0.1", scene, None).await
    }

    /// The same from another address of loopback, or with a receive buffer of this many bytes.
    pub(crate) async fn from(source: &str, scene: &Scene, buffer: Option<u32>) -> Wire {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
        }
        let source: SocketAddr = format!("{source}:0").parse().expect("an address");
        socket.bind(source).expect("loopback");
        let address = scene.address().parse().expect("an address");
        let stream = limited(socket.connect(address)).await.expect("it listens");
        stream.set_nodelay(true).expect("an option of every socket");
        Wire {
            io: Box::new(stream),
            heard: Vec::new(),
        }
    }

    /// The same with TLS upon it.
    pub(crate) async fn tls(self, authority: &Authority) -> Wire {
        let mut roots = rustls::RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes());
        roots.add(root.expect("PEM")).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().expect("a name");
        let stream = limited(connector.connect(name, self.io))
            .await
            .expect("TLS");
        Wire {
            io: Box::new(stream),
            heard: Vec::new(),
        }
    }

    /// Says a request, and hears its answer up to the empty line.
    pub(crate) async fn ask(&mut self, headers: &str) -> String {
        self.say(format!("{UPGRADE}{headers}\r\n").as_bytes()).await;
        self.head().await
    }

    /// An HTTP head, or all there is.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            let end = self.heard.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.heard.split_off(end + 4);
                let head = std::mem::replace(&mut self.heard, rest);
                return String::from_utf8_lossy(&head).into_owned();
            }
            if !self.more().await {
                return String::from_utf8_lossy(&self.heard).into_owned();
            }
        }
    }

    /// A WebSocket.
    pub(crate) async fn upgraded(scene: &Scene) -> Wire {
        Wire::silent(scene).await.upgrade().await
    }

    pub(crate) async fn upgrade(mut self) -> Wire {
        let answer = self.ask("").await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        self
    }

    /// A session.
    pub(crate) async fn welcomed(scene: &Scene) -> Wire {
        Wire::silent(scene).await.welcome().await
    }

    pub(crate) async fn welcome(self) -> Wire {
        let mut wire = self.upgrade().await;
        wire.frame(0x82, &Hello::default().encode()).await;
        match wire.hear().await {
            Some((0x82, welcome)) => match Reply::decode(&welcome) {
                Ok(Reply::Welcome(_)) => wire,
                other => panic!("no WELCOME: {other:?}"),
            },
            other => panic!("no WELCOME: {other:?}"),
        }
    }

    /// Says these bytes, as far as the server takes them.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        // A server that has had enough does not listen any more.
        let _ = limited(self.io.write_all(bytes)).await;
        let _ = limited(self.io.flush()).await;
    }

    /// One WebSocket frame, masked with zeros.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = head(first, payload.len() as u64);
        bytes.extend_from_slice(payload);
        self.say(&bytes).await;
    }

    /// Waits for more, as long as it takes. Nothing more comes: `false`.
    async fn more(&mut self) -> bool {
        let mut space = [0; 4096];
        let read = match self.io.read(&mut space).await {
            Ok(read) => read,
            Err(error) => {
                let ends = [
                    ErrorKind::ConnectionReset,
                    ErrorKind::BrokenPipe,
                    ErrorKind::UnexpectedEof,
                ];
                assert!(ends.contains(&error.kind()), "{error}");
                0
            }
        };
        self.heard
            .extend_from_slice(space.get(..read).unwrap_or_default());
        read > 0
    }

    /// The next frame of the server, as long as it takes. `None`: the connection is over.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = unframed(&self.heard) {
                self.heard = rest;
                return Some(frame);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Hears on to the server's Close. Where there is none the code is 0.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        while let Some((first, payload)) = self.hear().await {
            if let (0x88, [hi, lo, reason @ ..]) = (first, &payload[..]) {
                let reason = String::from_utf8_lossy(reason).into_owned();
                return (u16::from_be_bytes([*hi, *lo]), reason);
            }
        }
        (0, String::new())
    }

    /// Hears on to the end of the connection; everything that came.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.heard)
    }
}

/// The head of a masked frame whose payload has this length.
pub(crate) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..0x1_0000 => {
            head.push(0xfe);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0xff);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

/// The first frame of these bytes, where it is whole, and what is behind it.
fn unframed(bytes: &[u8]) -> Option<(Frame, Vec<u8>)> {
    let (first, length, rest) = match bytes {
        [first, 127, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (*first, u64::from_be_bytes(*length) as usize, rest)
        }
        [first, 126, hi, lo, rest @ ..] => {
            (*first, usize::from(u16::from_be_bytes([*hi, *lo])), rest)
        }
        [first, length @ 0..=125, rest @ ..] => (*first, usize::from(*length), rest),
        _ => return None,
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some(((first, payload.to_vec()), rest.to_vec()))
}
