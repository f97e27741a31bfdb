//! The opening: what each wrong address, wrong server and wrong client gets to read.

use super::*;
use helve::transport::endpoint::{AddressError, Endpoint};
use helve::transport::handshake::{ConnectError, accept_over, connect_over};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server that answers every request with `answer` leads to.
async fn against(answer: &'static [u8]) -> ConnectError {
    bounded(async {
        let (listener, url) = listen().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let options = connect_options();
        let (end, ()) = tokio::join!(connect(&url, &options), server);
        end.unwrap_err()
    })
    .await
}

/// The answer to a raw request, and what our side says about it.
async fn request(request: &[u8], origins: &[&str]) -> (String, Option<AcceptError>) {
    bounded(async {
        let (listener, _) = listen().await;
        let mut options = accept_options();
        options.origins = origins.iter().map(|o| (*o).to_owned()).collect();
        let client = async {
            let mut stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let _ = stream.write_all(request).await;
            let mut answer = Vec::new();
            let mut space = [0u8; 4096];
            // A 101 keeps the connection open: the head is enough.
            while let Ok(n) = stream.read(&mut space).await {
                answer.extend_from_slice(&space[..n]);
                if n == 0 || answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            String::from_utf8(answer).unwrap()
        };
        let (answer, link) = tokio::join!(client, accept_one(&listener, options));
        (answer, link.err())
    })
    .await
}

const UPGRADE: &str = "GET /any/path?x HTTP/1.1\r\nHost: 127.0.0.1:7000\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn an_upgrade_on_any_path_is_answered_with_the_subprotocol() {
    let ask = format!("{UPGRADE}Sec-WebSocket-Protocol: other, helve.1\r\n\r\n");
    let (answer, error) = request(ask.as_bytes(), &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("sec-websocket-protocol: helve.1"),
        "{answer}"
    );
    assert!(error.is_none(), "{error:?}");
}

// E1.8
#[tokio::test]
async fn without_the_subprotocol_the_answer_is_400_and_says_so() {
    for offered in ["", "Sec-WebSocket-Protocol: helve.2, graphql-ws\r\n"] {
        let (answer, error) = request(format!("{UPGRADE}{offered}\r\n").as_bytes(), &[]).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("\"helve.1\""),
            "{answer}"
        );
        assert!(matches!(error, Some(AcceptError::Subprotocol)), "{error:?}");
    }
}

// S1.18
#[tokio::test]
async fn a_page_of_a_foreign_origin_gets_403_before_the_upgrade() {
    let ask =
        format!("{UPGRADE}Sec-WebSocket-Protocol: helve.1\r\nOrigin: https://evil.example\r\n\r\n");
    let (answer, error) = request(ask.as_bytes(), &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains(".allow_origin"),
        "{answer}"
    );
    assert!(
        matches!(error, Some(AcceptError::Origin { origin }) if origin == "https://evil.example")
    );
    let (answer, error) = request(ask.as_bytes(), &["https://evil.example"]).await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && error.is_none(),
        "{answer}"
    );
    let own = format!(
        "{UPGRADE}Sec-WebSocket-Protocol: helve.1\r\nOrigin: http://127.0.0.1:7000\r\n\r\n"
    );
    let (answer, error) = request(own.as_bytes(), &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && error.is_none(),
        "{answer}"
    );
}

#[tokio::test]
async fn a_browser_or_curl_gets_to_read_what_this_port_is() {
    let (answer, error) = request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 426") && answer.contains("helve::connect"),
        "{answer}"
    );
    assert!(
        matches!(error, Some(AcceptError::NotWebSocket(_))),
        "{error:?}"
    );
    for bad in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "HELO there\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let (answer, error) = request(bad.as_bytes(), &[]).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("helve::connect"),
            "{answer}"
        );
        assert!(
            matches!(error, Some(AcceptError::NotWebSocket(_))),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_head_above_16_kib_gets_431_and_costs_no_more_memory() {
    let ask = format!("{UPGRADE}X: {}\r\n\r\n", "a".repeat(1 << 20));
    let (answer, error) = request(ask.as_bytes(), &[]).await;
    // The client may still be writing when it is refused; what our side says is certain.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert!(matches!(error, Some(AcceptError::HeadTooLong)), "{error:?}");
    let ask = format!("{UPGRADE}X: {}\r\n\r\n", "a".repeat(17 << 10));
    let (answer, _) = request(ask.as_bytes(), &[]).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_tls_client_at_a_plain_port_is_told_apart_at_once() {
    let (answer, error) = request(&[0x16, 0x03, 0x01, 0x00, 0xf4], &[]).await;
    assert_eq!(answer, "");
    assert!(matches!(error, Some(AcceptError::Tls)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drips_or_is_silent_is_dropped_at_the_deadline() {
    for drip in [true, false] {
        let start = Instant::now();
        let (mut client, server) = tokio::io::duplex(1024);
        let dripping = async move {
            for byte in UPGRADE.bytes().cycle() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if drip && client.write_all(&[byte]).await.is_err() {
                    break;
                }
                if !drip && start.elapsed() > Duration::from_secs(20) {
                    break;
                }
            }
        };
        let accepting = async {
            let end = accept_over(server, None, None, &accept_options())
                .await
                .unwrap_err();
            assert!(matches!(end, AcceptError::Timeout), "{end:?}");
            assert_eq!(start.elapsed(), Duration::from_secs(10));
        };
        tokio::join!(dripping, accepting);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_gone() {
    bounded(async {
        let (client, server) = tokio::io::duplex(1024);
        drop(client);
        let end = accept_over(server, None, None, &accept_options())
            .await
            .unwrap_err();
        assert!(matches!(end, AcceptError::Gone), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn both_halves_work_over_any_stream_and_in_small_pieces() {
    bounded(async {
        let (client, server) = tokio::io::duplex(32);
        let endpoint = Endpoint::parse("ws://localhost/x").unwrap();
        let options = accept_options();
        let (client, server) = tokio::join!(
            connect_over(client, None, &endpoint, 1000),
            accept_over(server, None, None, &options)
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let (sent, got) = tokio::join!(send(&mut client, "hello"), recv(&mut server));
        sent.unwrap();
        assert_eq!(got.unwrap(), "hello");
        tokio::join!(
            close(&mut client, Close::normal()),
            close(&mut server, Close::normal())
        );
    })
    .await;
}

#[test]
fn a_wrong_address_says_what_to_write() {
    for (url, hint) in [
        ("127.0.0.1:7000", "write `ws://127.0.0.1:7000`"),
        ("localhost", "write `ws://localhost`"),
        ("http://127.0.0.1:7000", "write `ws://127.0.0.1:7000`"),
        ("tcp://h:1", "write `ws://h:1`"),
        ("ws://", "not an address to use"),
        ("ws:///path", "not an address to use"),
        ("ws://h:99999", "port is not a number"),
        ("ws://h:x", "not an address to use"),
        ("ws://[::1]:99999", "port is not a number"),
        ("ws://user:secret@h:1", ".token("),
        ("ws://a b", "not an address to use"),
        ("https://h:1", "write `wss://h:1`"),
        ("wss://", "not an address to use"),
        ("wss://user:secret@h:1", ".token("),
    ] {
        let text = Endpoint::parse(url).unwrap_err().to_string();
        assert!(text.contains(hint), "{url}: {text}");
    }
    for url in [
        "ws://h",
        "WS://h:1",
        "ws://[::1]:7000/a?b",
        "ws://127.0.0.1:0",
        "wss://h",
        "WSS://h:1/p",
    ] {
        let endpoint = Endpoint::parse(url).unwrap();
        assert_eq!(endpoint.is_tls(), url.to_lowercase().starts_with("wss"));
    }
    assert_eq!(
        Endpoint::parse("wss://localhost:0").unwrap().with_port(7),
        "wss://localhost:7"
    );
    assert_eq!(
        Endpoint::parse("ws://[::1]:0").unwrap().with_port(7),
        "ws://[::1]:7"
    );
    assert_eq!(
        Endpoint::parse("ws://localhost:0/a").unwrap().with_port(7),
        "ws://localhost:7/a"
    );
}

#[test]
fn messages_show_no_secret_of_a_url() {
    for url in [
        "ws://user:s3cret@h:1",
        "wss://s3cret@h/p",
        "https://h/p?token=s3cret",
        "h?s3cret",
        "s3cret@h",
    ] {
        let error = Endpoint::parse(url).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("s3cret"),
            "{error:?}"
        );
    }
    assert_eq!(
        Endpoint::parse("ws://h:1/p?token=s3cret").unwrap().url(),
        "ws://h:1/p"
    );
}

// S1.20
#[tokio::test]
async fn off_loopback_needs_insecure_on_both_sides() {
    bounded(async {
        for url in [
            "ws://192.0.2.1:7000",
            "ws://0.0.0.0:0",
            "ws://[::]:0",
            "ws://[::ffff:192.0.2.1]:1",
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            let text = endpoint.bind(false).await.unwrap_err().to_string();
            assert!(text.contains(".insecure()"), "{text}");
            assert!(
                matches!(
                    endpoint.resolve(false).await,
                    Err(AddressError::Insecure { .. })
                ),
                "{url}"
            );
            endpoint.resolve(true).await.unwrap();
            // With TLS it is safe anywhere.
            let secure = url.replace("ws://", "wss://");
            let endpoint = Endpoint::parse(&secure).unwrap();
            endpoint.resolve(false).await.unwrap();
        }
        // A function for plain links does not turn one that should be encrypted into a plain one.
        let end = connect("wss://127.0.0.1:1", &connect_options())
            .await
            .unwrap_err();
        assert!(
            matches!(end, ConnectError::Address(AddressError::Tls { .. })),
            "{end}"
        );
        let end = connect("ws://192.0.2.1:7000", &connect_options())
            .await
            .unwrap_err();
        assert!(
            matches!(end, ConnectError::Address(AddressError::Insecure { .. })),
            "{end}"
        );
        for url in ["ws://127.0.0.1:0", "ws://127.9.9.9:0", "ws://localhost:0"] {
            Endpoint::parse(url).unwrap().bind(false).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_says_so() {
    bounded(async {
        let (_listener, url) = listen().await;
        let text = Endpoint::parse(&url)
            .unwrap()
            .bind(false)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("is the port taken?"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_refused_port_asks_whether_the_server_runs() {
    bounded(async {
        let (listener, url) = listen().await;
        drop(listener);
        let text = connect(&url, &connect_options())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(&url) && text.contains("is the server running"),
            "{text}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_http_server_shows_its_status_and_words() {
    let end = against(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno\x07pe here").await;
    assert!(
        matches!(&end, ConnectError::Http { status: 404, body, .. } if body == "no pe here"),
        "{end:?}"
    );
    assert!(
        end.to_string()
            .ends_with("status 404 instead of a WebSocket: no pe here"),
        "{end}"
    );
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_apart() {
    for (answer, what) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "does not speak WebSocket"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "does not speak WebSocket"),
        (b"", "without an answer"),
    ] {
        let text = against(answer).await.to_string();
        assert!(text.contains(what), "{text}");
    }
}

#[tokio::test]
async fn an_endless_head_of_a_server_is_cut_at_16_kib() {
    static ENDLESS: [u8; 32 << 10] = {
        let mut head = [b'a'; 32 << 10];
        let start = *b"HTTP/1.1 101 X\r\nX: ";
        let mut i = 0;
        while i < start.len() {
            head[i] = start[i];
            i += 1;
        }
        head
    };
    let text = against(&ENDLESS).await.to_string();
    assert!(text.contains("16384 bytes"), "{text}");
}

// E1.8
#[tokio::test]
async fn a_websocket_server_without_our_subprotocol_is_told_apart() {
    bounded(async {
        let (listener, url) = listen().await;
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await
        };
        let options = connect_options();
        let (end, _) = tokio::join!(connect(&url, &options), server);
        let end = end.unwrap_err();
        assert!(matches!(end, ConnectError::Subprotocol { .. }), "{end:?}");
        assert!(end.to_string().contains("`helve.1`"), "{end}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_never_answers_ends_at_the_deadline() {
    bounded(async {
        let (_listener, url) = listen().await;
        let mut options = connect_options();
        options.deadline = Instant::now() + Duration::from_millis(50);
        let end = connect(&url, &options).await.unwrap_err();
        assert!(matches!(end, ConnectError::Timeout { .. }), "{end:?}");
    })
    .await;
}
