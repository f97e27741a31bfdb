//! Bad input gets an error that says what is wrong and what to do, and nothing else is lost: in each test a healthy
//! client stands beside, and goes on.

use std::time::Duration;

use helve::prelude::*;
use helve::transport::Close;
use helve::{ConnectError, Limits, Principal, Remote, State};
use helve_protocol::hello::{Hello, Reply};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use helve_tests::raw::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server with a client to whom nothing must happen.
struct Beside {
    harness: Harness,
    healthy: LabHandle,
    tracker: Tracker,
}

impl Beside {
    async fn new() -> Beside {
        Beside::with(|setup| setup).await
    }

    async fn with(f: impl FnOnce(Setup) -> Setup) -> Beside {
        let tracker = Tracker::new();
        let root = LabHandle::new(MemLab::new(&tracker));
        let harness = f(Setup::new(&tracker, move |_| root.clone()))
            .websocket()
            .await;
        let healthy = harness
            .connect_with::<LabHandle>(|connect| connect.token("valid"))
            .await
            .expect("a good client is taken");
        assert_eq!(limited(healthy.echo(1)).await, Ok(1));
        Beside {
            harness,
            healthy,
            tracker,
        }
    }

    fn url(&self) -> &str {
        self.harness.url()
    }

    async fn end(self) {
        assert_eq!(limited(self.healthy.echo(2)).await, Ok(2));
        assert_eq!(
            self.healthy.connection().expect("remote").state(),
            State::Connected
        );
        drop(self.healthy);
        self.harness.finish().await;
    }
}

/// Asserts that a text says each of these, and shows it to whoever reads the output.
#[track_caller]
fn says(text: impl ToString, words: &[&str]) {
    let text = text.to_string();
    println!("{text}");
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
    assert!(
        text.len() < 400,
        "too long to be read: {} bytes",
        text.len()
    );
}

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
        ("wss://localhost:7000", &["TLS", "ws:// on loopback"]),
        ("ws://", &["names no host"]),
        ("ws://:7000", &["names no host"]),
        ("ws://localhost:seven", &["is not an address"]),
        ("ws://localhost:99999", &["port", "65535"]),
        (
            "ws://me:hunter2@localhost:7000",
            &[".token(", "***@localhost"],
        ),
        ("ws://192.0.2.1:7000", &["not on loopback", ".insecure()"]),
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

/// Another interface.
#[interface(id = "test.Other")]
pub trait Other {
    /// Does nothing.
    async fn other(&self);
}

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

/// What somebody built from another state of the source calls the lab.
mod newer {
    #![allow(unreachable_pub, reason = "written as a library would write it")]

    use super::*;

    #[interface(id = "test.Lab")]
    pub trait NewLab {
        /// Takes a text where the lab takes a number.
        async fn echo(&self, text: String) -> String;
        /// Yields a text where the lab yields a number.
        async fn add(&self, n: u64) -> String;
        /// Takes more than the lab does.
        async fn echo_late(&self, n: u64, surplus: String) -> u64;
        /// Takes less.
        async fn note(&self);
        /// Is not there.
        async fn brand_new(&self, n: u64) -> u64;
        /// Yields a handle of another interface.
        async fn open(&self) -> OtherHandle;
        /// Gives one.
        async fn reflect(&self, other: OtherHandle) -> OtherHandle;
    }
}

struct Another;
impl Other for Another {
    async fn other(&self) {}
}

#[tokio::test]
async fn what_does_not_fit_the_types_fails_that_call_alone() {
    let beside = Beside::new().await;
    let odd: newer::NewLabHandle = beside.harness.connect().await;

    let error = limited(odd.echo("seven".into())).await.expect_err("a text");
    assert!(matches!(error, RpcError::Decode(_)), "{error:?}");
    says(
        &error,
        &["built from the same interface", "a string", "reading u64"],
    );
    assert_eq!((error.ran(), error.is_retryable()), (helve::Ran::No, false));

    let error = limited(odd.add(1)).await.expect_err("a number");
    assert!(matches!(error, RpcError::Decode(_)), "{error:?}");
    says(
        &error,
        &["built from the same interface", "integer", "reading String"],
    );

    assert_eq!(limited(odd.echo_late(5, "ignored".into())).await, Ok(5));

    let error = limited(odd.note()).await.expect_err("too few");
    says(&error, &["an argument is missing"]);

    let error = limited(odd.brand_new(1)).await.expect_err("not there");
    assert!(matches!(error, RpcError::Unimplemented(_)), "{error:?}");
    says(&error, &["no such method", "older"]);

    // A handle is typed by its user: it decodes, and the first call tells.
    let other = limited(odd.open()).await.expect("some handle");
    let error = limited(other.other()).await.expect_err("not an Other");
    says(&error, &["no such method"]);
    drop(other);

    let mine = OtherHandle::new(Another);
    let home = limited(odd.reflect(mine.clone())).await.expect("came back");
    assert!(home == mine);
    drop((home, mine, odd));
    beside.end().await;
}

#[tokio::test]
async fn a_revoked_handle_says_that_it_was_revoked() {
    let beside = Beside::new().await;
    let tracker = Tracker::new();
    let object = LabHandle::new(MemLab::new(&tracker));
    let (revocable, revoker) = object.revocable().expect("local");
    let host = LabHandle::new(MemLab::new(&tracker));
    host.keep(revocable).await.expect("kept");
    let harness = Harness::websocket(&tracker, host).await;
    let client: LabHandle = harness.connect().await;
    let far = limited(client.kept()).await.expect("runs").expect("kept");
    assert_eq!(limited(far.echo(1)).await, Ok(1));

    revoker.revoke();
    let end = limited(far.closed()).await;
    assert_eq!(end, RpcError::Broken(Box::new(RpcError::Revoked)));
    let error = limited(far.echo(1)).await.expect_err("revoked");
    says(&error, &["the handle is broken", "revoked by its host"]);
    assert_eq!(limited(client.echo(1)).await, Ok(1));
    assert_eq!(object.echo(1).await, Ok(1), "its owner still may");

    drop((far, object));
    limited(client.forget()).await.expect("runs");
    drop(client);
    harness.finish().await;
    beside.end().await;
}

#[tokio::test]
async fn a_method_that_panics_fails_that_call_and_leaves_its_object_usable() {
    let beside = Beside::new().await;
    let client: LabHandle = beside.harness.connect().await;
    for _ in 0..3 {
        let error = limited(client.panic()).await.expect_err("it panicked");
        assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
        says(&error, &["the host failed inside", "the method panicked"]);
        assert!(
            !error.to_string().contains("on purpose"),
            "its text is the host's"
        );
    }
    assert_eq!(limited(client.add(1)).await, Ok(1));
    drop(client);
    beside.end().await;
}

#[tokio::test]
async fn what_is_too_much_for_one_call_is_said_before_it_is_sent() {
    let beside = Beside::new().await;
    let odd: newer::NewLabHandle = beside.harness.connect().await;
    let error = limited(odd.echo("x".repeat(70_000)))
        .await
        .expect_err("long");
    assert!(matches!(error, RpcError::Exhausted(_)), "{error:?}");
    says(&error, &["65,536 bytes"]);
    drop(odd);

    let many: Vec<_> = (0..300)
        .map(|n| (n as u8, LabHandle::new(MemLab::new(&beside.tracker))))
        .collect();
    let one = LabHandle::new(MemLab::new(&beside.tracker));
    let bundle = helve_tests::lab::Bundle {
        one,
        maybe: None,
        many: Vec::new(),
        named: Default::default(),
        deep: Some(many),
    };
    let error = limited(beside.healthy.unbundle(bundle))
        .await
        .expect_err("many");
    says(&error, &["nothing was sent: over 255 handles"]);
    beside.end().await;
}

#[tokio::test]
async fn a_full_handle_table_says_so_and_can_be_emptied() {
    let small = Limits::default().with_table(2);
    let beside = Beside::new().await;
    let client: LabHandle = beside
        .harness
        .connect_with(|connect| connect.limits(small))
        .await
        .expect("taken");
    let (a, b) = (limited(client.open()).await, limited(client.open()).await);
    let error = limited(client.open()).await.expect_err("a third");
    assert!(error.is_retryable(), "{error:?}");
    says(&error, &["a limit is reached", "table"]);
    drop(a);
    assert_eq!(limited(b.expect("room for two").echo(1)).await, Ok(1));
    let again = limited(async {
        loop {
            match client.open().await {
                Ok(handle) => return handle,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    });
    drop(again.await);
    drop(client);
    beside.end().await;
}

/// Sends each of these after a handshake and expects a Close with this code, whose reason says this.
async fn each_closes(beside: &Beside, cases: &[(&[u8], u16, &str)]) {
    for (bytes, code, words) in cases {
        let mut raw = Raw::welcomed(beside.url()).await;
        raw.send(*bytes).await;
        let (got, reason) = raw.closed().await;
        println!("{got} {reason}");
        assert_eq!(got, *code, "{bytes:02x?}: {reason}");
        assert!(
            reason.contains(words),
            "{bytes:02x?}: `{reason}` does not say `{words}`"
        );
        assert_eq!(limited(beside.healthy.echo(3)).await, Ok(3));
    }
}

#[tokio::test]
async fn a_violation_is_one_close_that_names_the_rule() {
    let beside = Beside::new().await;
    let bad = Close::VIOLATION;
    each_closes(
        &beside,
        &[
            // No batch at all.
            (&[], bad, "E"),
            (b"GET / HTTP/1.1", bad, "E"),
            (&[0xc1, 0x00], bad, "E"),
            (&[0x01], bad, "E"),
            // A frame cut short, one too many bytes, an unknown kind, a kind for the handshake alone.
            (&[1, 0, 0x92, 6], bad, "E"),
            (&[1, 0, 0x91, 6], bad, "E"),
            (&[1, 0, 0x92, 99, 1], bad, "E"),
            (&[1, 0, 0x92, 17, 1], bad, "E"),
            // A number that is longer than it must be; an array that claims four billion elements.
            (&[0xcc, 1, 0, 0x92, 6, 1], bad, "E"),
            (&[1, 0, 0xdd, 0xff, 0xff, 0xff, 0xff], bad, "E"),
            // Bad UTF-8 in an argument.
            (&[1, 0, 0x95, 1, 1, 0, 1, 0x91, 0xa1, 0xff], bad, "E"),
            // An ack of what was never sent; a gap.
            (&[1, 9], bad, "S3"),
            (&[5, 0, 0x92, 6, 1], Close::GAP, "S2.3"),
            // A result for a call that was never made; more released than was given; a part of nothing.
            (&[1, 0, 0x93, 4, 1, 0xc0], bad, "R11"),
            (&[1, 0, 0x92, 7, 0x92, 9, 1], bad, ""),
            (&[1, 0, 0x92, 7, 0x92, 1, 0], bad, ""),
            (&[1, 0, 0x93, 15, 1, 0xc4, 1, 0], bad, "R18"),
            // A call id that goes back: 2, then 1.
            (
                &[1, 0, 0x95, 1, 2, 0, 1, 0x90, 0x95, 1, 1, 0, 1, 0x90],
                bad,
                "I1.2",
            ),
            // Depth 16.
            (
                &[1, 0, 0x97, 1, 1, 0, 1, 0x90, 0xc0, 0x81, 0xa1, b'h', 16],
                bad,
                "R13",
            ),
            // Credit for one-way calls that nobody made.
            (&[1, 0, 0x93, 11, 0, 1], bad, "R13"),
        ],
    )
    .await;
    beside.end().await;
}

#[tokio::test]
async fn a_text_message_and_a_message_above_the_limit_are_violations() {
    let beside = Beside::new().await;
    let mut raw = Raw::welcomed(beside.url()).await;
    raw.send_text("hello").await;
    assert_eq!(
        raw.closed().await,
        (Close::VIOLATION, "E1.6: a text message".to_owned())
    );
    let mut raw = Raw::welcomed(beside.url()).await;
    raw.send(vec![0; 262_145]).await;
    let (code, reason) = raw.closed().await;
    assert_eq!(code, Close::VIOLATION);
    says(reason, &["E1.4: ", "above 262144 bytes"]);
    beside.end().await;
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_is_a_violation() {
    let beside = Beside::new().await;
    for bytes in [
        &[1, 0][..],
        &[0x92, 18, 0x80],
        &[0x92, 17, 0x80],
        &[0xc1; 20_000],
    ] {
        let mut raw = Raw::open(beside.url(), Some("helve.1"))
            .await
            .expect("open");
        raw.send(bytes).await;
        let (code, reason) = raw.closed().await;
        println!("{code} {reason}");
        assert_eq!(code, Close::VIOLATION, "{bytes:02x?}");
        assert!(!reason.is_empty());
    }
    beside.end().await;
}

#[tokio::test]
async fn an_unknown_name_is_gone_and_over_64_of_them_end_the_session() {
    let beside = Beside::new().await;
    let mut raw = Raw::welcomed(beside.url()).await;
    // CALL id, target 77, method 1, no arguments; asks for an ack.
    let call = |id: u8| vec![id, 0, 0x95, 1, id, 77, 1, 0x90];
    for id in 1..=64 {
        raw.send(call(id)).await;
        let answer = loop {
            let answer = raw.message().await.expect("still there");
            if answer.contains(&0xa4) || answer.len() > 6 {
                break answer;
            }
        };
        assert!(
            answer.windows(14).any(|text| text == b"no such object"),
            "{answer:02x?}"
        );
    }
    raw.send(call(65)).await;
    let (code, reason) = raw.closed().await;
    assert_eq!(code, Close::VIOLATION);
    says(reason, &["R11", "64"]);
    beside.end().await;
}

#[tokio::test]
async fn more_calls_than_were_granted_are_a_violation() {
    let few = Limits::default().with_calls(3);
    let beside = Beside::with(|setup| setup.with(|rooted| rooted.limits(few))).await;
    let mut raw = Raw::welcomed(beside.url()).await;
    let hang = helve_handles::id::method_id("test.Lab", "hang");
    let before = beside.tracker.live();
    for id in 1..=3u8 {
        let mut call = vec![id, 0, 0x95, 1, id, 0, 0xce];
        call.extend(hang.to_be_bytes());
        call.push(0x90);
        raw.send(call).await;
    }
    until("three methods at work", || {
        beside.tracker.live() == before + 3
    })
    .await;
    raw.send([4, 0, 0x95, 1, 4, 0, 1, 0x90]).await;
    let (code, reason) = raw.closed().await;
    assert_eq!(code, Close::VIOLATION);
    says(reason, &["R13", "granted"]);
    until("the methods stopped", || beside.tracker.live() == before).await;
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
