//! What comes of connecting to the wrong place, in the wrong way, as the wrong one.

use std::time::Duration;

use helve::prelude::*;
use helve::transport::Close;
use helve::{ConnectError, Principal};
use helve_protocol::hello::{Hello, Reply};
use helve_tests::harness::{Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use helve_tests::raw::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Beside, OtherHandle, says};

async fn refused(url: &str) -> ConnectError {
    // harness: no session begins
    let connect = helve::connect::<LabHandle>(url);
    let error = limited(connect.into_future())
        .await
        .expect_err("no connection");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn a_wrong_url_is_refused_with_the_right_one() {
    for (url, words) in [
        ("", &["is not an address", "ws://"][..]),
        ("127.0.0.1:7000", &["no scheme", "`ws://127.0.0.1:7000`"]),
        ("localhost", &["no scheme", "`ws://localhost`"]),
        (
            "http://localhost:7000/x",
            &["not http", "`ws://localhost:7000/x`"],
        ),
        ("tcp://localhost:7000", &["`tcp`", "`ws://localhost:7000`"]),
        (
            "https://localhost:7000",
            &["not https", "`wss://localhost:7000`"],
        ),
        ("wss://", &["names no host"]),
        ("wss://localhost:99999", &["port", "65535"]),
        ("ws://", &["names no host"]),
        ("ws://:7000", &["names no host"]),
        ("ws://localhost:seven", &["is not an address"]),
        ("ws://localhost:99999", &["port", "65535"]),
        (
            "ws://me:hunter2@localhost:7000",
            &[".token(", "***@localhost"],
        ),
        (
            "ws://192.0.2.1:7000",
            &["not on loopback", "wss://", ".insecure()"],
        ),
        (
            "ws://no-such-host.invalid:7000",
            &["no-such-host.invalid", "no address"],
        ),
    ] {
        let error = refused(url).await;
        says(&error, words);
        assert!(!error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let error = refused(&format!("ws://127.0.0.1:{port}")).await;
    says(
        &error,
        &[
            "cannot connect",
            &port.to_string(),
            "refused",
            "is the server running",
        ],
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_port_that_is_taken_says_so() {
    let beside = Beside::new().await;
    // harness: nothing is served
    let builder = helve::Server::builder();
    let root = builder.root(|_| async { Err::<LabHandle, _>(RpcError::Gone) });
    let error = limited(root.bind(beside.url()))
        .await
        .expect_err("the port is taken");
    says(&error, &["cannot listen", "in use", "port 0"]);
    beside.end().await;
}

/// A server of another kind: answers whatever is said with `answer`.
async fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    url
}

#[tokio::test]
async fn a_server_of_another_kind_is_told_apart() {
    let url = stranger("HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno such!").await;
    says(
        refused(&url).await,
        &["HTTP status 404", "instead of a WebSocket"],
    );
    let url = stranger("SSH-2.0-OpenSSH_9.6\r\n").await;
    says(
        refused(&url).await,
        &["does not speak WebSocket", "is the port right"],
    );
    let url = stranger("").await;
    says(
        refused(&url).await,
        &[
            "does not speak WebSocket",
            "closed the connection without an answer",
        ],
    );
}

#[tokio::test]
async fn a_websocket_server_without_helve_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        tokio_tungstenite::accept_async(stream).await
    });
    says(
        refused(&url).await,
        &["is a WebSocket server", "does not speak `helve.1`"],
    );
}

// E1.8
#[tokio::test]
async fn a_client_without_the_subprotocol_is_answered_in_http() {
    let beside = Beside::new().await;
    for offered in [None, Some("graphql-ws"), Some("helve.2")] {
        let answer = Raw::open(beside.url(), offered).await.err();
        says(answer.expect("refused"), &["400", "helve.1"]);
    }
    beside.end().await;
}

#[tokio::test]
async fn whoever_speaks_plain_http_is_told_what_this_port_is() {
    let beside = Beside::new().await;
    let address = beside.url().trim_start_matches("ws://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address)
        .await
        .expect("connected");
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    limited(stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    says(&answer, &["HTTP/1.1 4", "WebSocket"]);
    beside.end().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_words_of_the_hook() {
    let check = |token: helve::Token| async move {
        match token.as_str()? {
            "valid" => Ok(Principal::new("ann")),
            _ => Err(RpcError::Unauthenticated("this token is not known".into())),
        }
    };
    let beside = Beside::with(|setup| setup.with(|rooted| rooted.authenticate(check))).await;
    let connect = |token: Option<&'static str>| {
        beside
            .harness
            .connect_with::<LabHandle>(move |connect| match token {
                Some(token) => connect.token(token),
                None => connect,
            })
    };
    let error = connect(Some("hunter2")).await.expect_err("a wrong token");
    says(
        &error,
        &["refused", "not signed in", "this token is not known"],
    );
    assert!(!error.is_retryable() && !error.to_string().contains("hunter2"));
    let error = connect(None).await.expect_err("no token");
    says(&error, &["refused", "a token is needed"]);
    beside.end().await;
}

#[tokio::test]
async fn a_root_that_fails_refuses_the_client_with_its_error() {
    let tracker = Tracker::new();
    let root = LabHandle::new(MemLab::new(&tracker));
    let harness = Setup::new(&tracker, move |_| root.clone())
        .with(|_| {
            // harness: a root that fails
            let builder = helve::Server::builder();
            builder.root(|peer: Peer| async move {
                peer.token()?;
                Err::<LabHandle, _>(RpcError::Busy("all seats are taken".into()))
            })
        })
        .websocket()
        .await;
    let error = harness.connect_with::<LabHandle>(|connect| connect).await;
    says(error.expect_err("no token"), &["a token is needed"]);
    let error = harness
        .connect_with::<LabHandle>(|connect| connect.token("t"))
        .await
        .expect_err("busy");
    says(&error, &["busy", "all seats are taken"]);
    assert!(error.is_retryable());
    harness.finish().await;
}

#[tokio::test]
async fn another_version_is_refused_by_number() {
    let beside = Beside::new().await;
    let mut raw = Raw::open(beside.url(), Some("helve.1"))
        .await
        .expect("open");
    let hello = Hello {
        version: 9,
        ..Hello::default()
    };
    raw.send(hello.encode()).await;
    let Ok(Reply::Refuse(refuse)) = Reply::decode(&raw.message().await.expect("an answer")) else {
        panic!("not refused")
    };
    assert_eq!(refuse.code, 21);
    says(&refuse.message, &["version 1", "9"]);
    assert_eq!(raw.closed().await, (Close::REFUSED, "refused".to_owned()));
    beside.end().await;
}

// S1.14
#[tokio::test]
async fn a_root_of_another_interface_fails_at_connect() {
    let beside = Beside::new().await;
    let error = beside
        .harness
        .connect_with::<OtherHandle>(|connect| connect)
        .await
        .expect_err("another interface");
    says(&error, &["`test.Lab`", "not `test.Other`"]);
    assert!(!error.is_retryable());
    beside.end().await;
}

#[tokio::test]
async fn a_client_whose_server_breaks_the_protocol_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        use futures::{SinkExt, StreamExt};
        use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
        use tokio_tungstenite::tungstenite::protocol::Message;
        let (stream, _) = listener.accept().await.expect("a client");
        #[allow(clippy::result_large_err, reason = "the signature of the library")]
        let agree = |_: &Request, mut response: Response| {
            let name = "helve.1".parse().expect("a name");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", name);
            Ok(response)
        };
        let mut ws = tokio_tungstenite::accept_hdr_async(stream, agree)
            .await
            .expect("a client");
        let _hello = ws.next().await;
        let nonsense = Message::binary(b"nonsense".to_vec());
        ws.send(nonsense).await.expect("sent");
        while ws.next().await.is_some() {}
    });
    let error = refused(&url).await;
    assert!(matches!(error, ConnectError::Protocol(_)), "{error:?}");
    says(&error, &["does not speak this protocol"]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    // harness: no session begins
    let connect = helve::connect::<LabHandle>(url).timeout(Duration::from_millis(50));
    let error = limited(connect.into_future()).await.expect_err("silence");
    says(&error, &["did not complete the handshake in time"]);
    assert!(error.is_retryable());
}
