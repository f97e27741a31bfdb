//! S11.2, threats rows 5 and 30: a token and a key are shown nowhere. Known ones are used in every way there is, on sessions
//! that work and on sessions that fail, while all that is logged is kept; then whoever looks for them finds nothing.

#![allow(unreachable_pub, reason = "written as a library would write it")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use helve::prelude::*;
use helve::{Principal, Remote, Token};
use helve_protocol::hello::{Auth, Hello, Reply, Token as SessionToken};
use helve_tests::certs::Authority;
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use helve_tests::raw::Raw;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const TOKEN: &str = "hunter2-hunter2";
const BYTES: &[u8] = b"hunter3-\xff-hunter3";

/// Everything that is logged, and everything that is printed beside it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn add(&self, text: &dyn Debug) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(log, "{text:?}\n{text:#?}");
    }

    fn say(&self, text: impl ToString) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&text.to_string());
        log.push('\n');
    }

    fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.say(format!("{field}={value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.say(span.metadata().name());
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.say(event.metadata().name());
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What libraries below log, tungstenite for one, down to `debug`. At `trace` it writes every frame out: docs/security.md
/// warns of it.
impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Debug
    }
    fn log(&self, record: &log::Record<'_>) {
        if log::Log::enabled(self, record.metadata()) {
            self.say(format!("{}: {}", record.target(), record.args()));
        }
    }
    fn flush(&self) {}
}

/// The parts of a secret that must not be seen, as text and as the bytes that `Debug` writes.
fn traces(secret: &[u8]) -> Vec<String> {
    let bytes = secret.get(..6).expect("six bytes");
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(bytes).into_owned(),
        numbers.join(", "),
        numbers.join(",\n    "),
        hex,
    ]
}

#[tokio::test]
async fn no_token_and_no_key_is_ever_logged_printed_or_put_into_an_error() {
    let log = Log::default();
    // This thread runs everything below.
    let _guard = tracing::subscriber::set_default(log.clone());
    log::set_boxed_logger(Box::new(log.clone())).expect("the only test of this program");
    log::set_max_level(log::LevelFilter::Debug);
    let (tracker, authority) = (Tracker::new(), Authority::new());
    let issued = authority.localhost();
    let tls = issued.tls();
    log.add(&tls);
    let seen = log.clone();
    let root = LabHandle::new(MemLab::new(&tracker));
    let hook = move |token: Token| {
        seen.add(&token);
        let known = [TOKEN.as_bytes(), BYTES].contains(&token.as_bytes().unwrap_or_default());
        std::future::ready(match known {
            true => Ok(Principal::new("ann")),
            false => Err(RpcError::Unauthenticated("this token is not known".into())),
        })
    };
    let seen = log.clone();
    let harness = Setup::new(&tracker, move |peer| {
        seen.add(&peer);
        // The one way to a token, and none of its uses is ours.
        assert!(peer.token().is_ok() == (peer.token() == Ok(TOKEN)));
        root.clone()
    })
    .with(|rooted| rooted.authenticate(hook).tls(tls))
    .bind("wss://localhost:0")
    .await;

    // Sessions that work.
    let trusting = |connect: helve::Connect<LabHandle>| connect.tls_roots(authority.pem());
    let text: LabHandle = harness
        .connect_with(|connect| trusting(connect).token(TOKEN))
        .await
        .expect("known");
    let bytes: LabHandle = harness
        .connect_with(|connect| trusting(connect).token_bytes(BYTES))
        .await
        .expect("known");
    for lab in [&text, &bytes] {
        log.add(lab);
        log.add(&limited(lab.echo(1)).await);
        log.add(&limited(lab.panic()).await);
        let connection = lab.connection().expect("remote");
        log.add(&connection);
        log.add(&connection.peer());
        log.add(&connection.state());
        log.add(&connection.stats());
    }
    for end in harness.server_ends() {
        log.add(&end);
        log.add(&end.peer());
    }

    // Sessions that do not: a token that is not known, roots that do not fit, secrets in the URL, a plain port.
    let wrong = "hunter4-hunter4";
    let refused = harness.connect_with::<LabHandle>(|connect| trusting(connect).token(wrong));
    let error = refused.await.expect_err("not known");
    log.say(&error);
    log.add(&error);
    let port = harness.url().rsplit(':').next().expect("a port").to_owned();
    for url in [
        format!("wss://localhost:{port}"),
        format!("ws://localhost:{port}"),
        format!("wss://{TOKEN}@localhost:{port}"),
        format!("wss://localhost:{port}/{}?token={TOKEN}", "path"),
        format!("https://localhost:{port}?{TOKEN}"),
        format!("{TOKEN}@localhost"),
        "wss://localhost:1".to_owned(),
    ] {
        // harness: no session begins
        let connect = helve::connect::<LabHandle>(url).token(TOKEN);
        let error = limited(connect.into_future())
            .await
            .expect_err("no roots fit");
        log.say(&error);
        log.add(&error);
    }

    // A HELLO that is malformed behind its token, and a session that breaks the protocol after one that is not.
    let other = Tracker::new();
    let plain = Harness::websocket(&other, LabHandle::new(MemLab::new(&other))).await;
    let hello = Hello {
        auth: Some(Auth::Text(TOKEN.into())),
        ..Hello::default()
    };
    log.add(&hello);
    for broken in [true, false] {
        let mut raw = Raw::open(plain.url(), Some("helve.1")).await.expect("open");
        let mut message = hello.encode();
        if broken {
            message.push(0xc1);
        }
        raw.send(message).await;
        if !broken {
            let welcome = raw.message().await.expect("WELCOME");
            let Ok(Reply::Welcome(welcome)) = Reply::decode(&welcome) else {
                panic!("no WELCOME")
            };
            assert!(welcome.token.0 != [0; 32]);
            log.add(&welcome);
            for trace in traces(&welcome.token.0) {
                assert!(
                    !log.text().contains(&trace),
                    "the session's token is printed"
                );
            }
            raw.send(TOKEN).await;
        }
        let (code, reason) = raw.closed().await;
        log.say(format!("{code} {reason}"));
    }
    log.add(&SessionToken([7; 32]));
    assert!(!log.text().contains("7, 7, 7"));

    drop((text, bytes));
    harness.finish().await;
    plain.finish().await;
    let seen = log.text();
    // It was listening: a refused client, a broken HELLO, an ended session.
    for said in [
        "a client was not taken",
        "not signed in",
        "Token(..)",
        "ann",
        "panic",
        "tungstenite",
    ] {
        assert!(seen.contains(said), "nobody said `{said}`:\n{seen}");
    }
    let key_line = issued
        .key
        .lines()
        .nth(1)
        .expect("a line")
        .as_bytes()
        .to_vec();
    for secret in [TOKEN.as_bytes(), BYTES, wrong.as_bytes(), &key_line] {
        for trace in traces(secret) {
            let at = seen.find(&trace);
            assert!(at.is_none(), "`{trace}` in\n{seen}");
        }
    }
}
