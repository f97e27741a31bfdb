//! Sessions on a route of an axum server: what is served, what is refused, and that other routes stay what they are.
//! harness: the server is axum's; the same checks are made by `Served::finish`

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::Response;
use axum::routing::get;
use helve::axum::{NotUpgrade, Upgrade};
use helve::prelude::*;
use helve::{ConnectError, Host, Server, State};
use helve_tests::harness::{Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Served {
    host: Host,
    tracker: Tracker,
    addr: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

async fn rpc(Shared(host): Shared<Host>, upgrade: Upgrade) -> Response {
    upgrade.serve(&host)
}

async fn both(Shared(host): Shared<Host>, upgrade: Result<Upgrade, NotUpgrade>) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade.serve(&host),
        Err(_) => Response::new("a page about it".into()),
    }
}

impl Served {
    /// `with_addr`: the server knows where its clients come from.
    async fn start(
        with_addr: bool,
        set_up: impl FnOnce(helve::Builder) -> helve::Builder,
    ) -> Served {
        let tracker = Tracker::new();
        let made = tracker.clone();
        let root = move |peer: Peer| {
            assert!(peer.addr().is_some_and(|addr| addr.ip().is_loopback()));
            std::future::ready(Ok(LabHandle::new(MemLab::new(&made))))
        };
        let host = set_up(Server::builder()).root(root).host();
        let app = Router::new()
            .route("/page", get(|| async { "an ordinary page" }))
            .route("/rpc", get(rpc))
            .route("/both", get(both))
            .with_state(host.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let served = if with_addr {
                let app = app.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, app).await
            } else {
                axum::serve(listener, app).await
            };
            served.expect("it serves");
        });
        Served {
            host,
            tracker,
            addr,
            server,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    /// What the server answers to these lines; the handshake's own answer where it is 101.
    async fn ask(&self, path: &str, lines: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("it listens");
        let host = format!("Host: {}", self.addr);
        let host = if lines.iter().any(|line| line.starts_with("Host:")) {
            ""
        } else {
            &host
        };
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        for line in lines
            .iter()
            .copied()
            .chain([host])
            .filter(|line| !line.is_empty())
        {
            request += line;
            request += "\r\n";
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        limited(async {
            let mut space = [0; 1024];
            loop {
                let read = stream.read(&mut space).await.unwrap_or(0);
                answer.extend_from_slice(&space[..read]);
                let text = String::from_utf8_lossy(&answer);
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    assert!(read > 0, "closed after {text:?}");
                    continue;
                };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().ok())?
                });
                if body.len() >= length.unwrap_or(0) {
                    return;
                }
            }
        })
        .await;
        String::from_utf8(answer).expect("a text")
    }

    /// Every session is over and every object dropped.
    async fn finish(self) {
        until("every object released", || {
            self.host.objects() == 0 && self.tracker.live() == 0
        })
        .await;
        self.server.abort();
        drop(limited(self.server).await);
    }
}

const WEBSOCKET: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const HELVE: &str = "Sec-WebSocket-Protocol: helve.1";

fn lines<'a>(more: &[&'a str]) -> Vec<&'a str> {
    WEBSOCKET
        .iter()
        .copied()
        .chain(more.iter().copied())
        .collect()
}

#[tokio::test]
async fn a_session_runs_on_a_route_beside_others() {
    for with_addr in [true, false] {
        let served = Served::start(with_addr, |builder| builder).await;
        for path in ["/rpc", "/both"] {
            let lab: LabHandle = limited(helve::connect(served.url(path)).into_future())
                .await
                .expect("welcomed");
            assert_eq!(limited(lab.echo(7)).await, Ok(7));
            let long: Vec<String> = vec!["x".repeat(30_000)];
            limited(async {
                lab.note(&long[0]).accepted().await?;
                assert_eq!(lab.notes().await?, long);
                let (other, mine) = (
                    lab.open().await?,
                    LabHandle::new(MemLab::new(&Tracker::new())),
                );
                // Called back over the same connection.
                assert_eq!(other.borrow(&mine, 8).await.ok(), Some(8));
                Ok::<_, RpcError>(())
            })
            .await
            .expect("they answer");
            let connection = lab.connection().expect("a remote handle");
            drop(lab);
            limited(connection.close()).await;
            assert!(matches!(connection.state(), State::Lost { code: 1000, .. }));
        }
        let page = served.ask("/page", &[]).await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.ends_with("an ordinary page"),
            "{page}"
        );
        let page = served.ask("/both", &[]).await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.ends_with("a page about it"),
            "{page}"
        );
        served.finish().await;
    }
}

#[tokio::test]
async fn what_asks_for_no_session_is_told_what_the_route_is() {
    let served = Served::start(true, |builder| builder).await;
    let plain = served.ask("/rpc", &[]).await;
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    assert!(
        plain.to_lowercase().contains("upgrade: websocket"),
        "{plain}"
    );
    assert!(plain.contains("speaks Helve over WebSocket"), "{plain}");
    let version: Vec<_> = lines(&[HELVE])
        .into_iter()
        .map(|line| {
            if line.contains("Version") {
                "Sec-WebSocket-Version: 8"
            } else {
                line
            }
        })
        .collect();
    let no_key: Vec<_> = lines(&[HELVE])
        .into_iter()
        .filter(|line| !line.contains("Key"))
        .collect();
    let other = lines(&["Sec-WebSocket-Protocol: graphql-ws"]);
    for (bad, says) in [
        (version, ""),
        (no_key, ""),
        (lines(&[]), "helve.1"),
        (other, "helve.1"),
    ] {
        let answer = served.ask("/rpc", &bad).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains(says),
            "{bad:?}: {answer}"
        );
    }
    let good = served
        .ask("/rpc", &lines(&["Sec-WebSocket-Protocol: a, helve.1"]))
        .await;
    assert!(good.starts_with("HTTP/1.1 101"), "{good}");
    let good = good.to_lowercase();
    assert!(good.contains("sec-websocket-protocol: helve.1"), "{good}");
    assert!(
        good.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{good}"
    );
    served.finish().await;
}

#[tokio::test]
async fn web_pages_connect_from_where_they_may() {
    for with_addr in [true, false] {
        let served = Served::start(with_addr, |builder| {
            builder.allow_origin("https://app.example.com")
        })
        .await;
        let own = format!("Origin: http://{}", served.addr);
        for (origin, host, code) in [
            (own.as_str(), "", 101),
            ("Origin: https://app.example.com", "", 101),
            ("Origin: https://evil.example.com", "", 403),
            ("Origin: null", "", 403),
            // A hostile name that suddenly leads to loopback: its Origin equals Host.
            (
                "Origin: http://evil.example.com",
                "Host: evil.example.com",
                403,
            ),
        ] {
            let answer = served.ask("/rpc", &lines(&[HELVE, origin, host])).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {code}")),
                "{origin} {host}: {answer}"
            );
            assert!(code == 101 || answer.contains("allow_origin"), "{answer}");
        }
        served.finish().await;
    }
}

#[tokio::test]
async fn a_refused_token_and_a_wrong_root_are_told_as_on_a_port_of_our_own() {
    #[interface(id = "test.Elsewhere")]
    trait Elsewhere {
        async fn nothing(&self);
    }
    let checked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = checked.clone();
    let served = Served::start(true, move |builder| {
        builder.authenticate(move |token| {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::ready(match token.as_str() {
                Ok("good") => Ok(helve::Principal::new("anna")),
                _ => Err(RpcError::Unauthenticated("a wrong token".into())),
            })
        })
    })
    .await;
    let url = served.url("/rpc");
    let refused = limited(helve::connect::<LabHandle>(&url).token("bad").into_future()).await;
    let Err(ConnectError::Refused { error, .. }) = refused else {
        panic!("taken")
    };
    assert!(matches!(error, RpcError::Unauthenticated(_)), "{error:?}");
    let wrong = limited(
        helve::connect::<ElsewhereHandle>(&url)
            .token("good")
            .into_future(),
    )
    .await;
    assert!(matches!(wrong, Err(ConnectError::WrongRoot { .. })));
    assert_eq!(checked.load(std::sync::atomic::Ordering::Relaxed), 2);
    served.finish().await;
}
