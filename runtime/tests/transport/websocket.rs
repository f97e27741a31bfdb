//! One WebSocket between two of our links, and between ours and a hostile client.

use super::*;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// A client that is not ours, and our link to it.
async fn foreign_client() -> (WebSocketStream<TcpStream>, WebSocketLink) {
    let (listener, url) = listen().await;
    let client = async {
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut request = url.as_str().into_client_request().unwrap();
        request.headers_mut().insert(
            "Sec-WebSocket-Protocol",
            HeaderValue::from_static("helve.1"),
        );
        tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap()
            .0
    };
    let (client, server) = tokio::join!(client, accept_one(&listener, accept_options()));
    (client, server.unwrap())
}

/// What the client reads last, while our side answers `end` with its Close.
async fn answered(
    client: &mut WebSocketStream<TcpStream>,
    server: &mut WebSocketLink,
    end: LinkEnd,
) -> (u16, String) {
    let answer = end.answer().expect("an end that is answered");
    let reading = async {
        loop {
            match client.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    break (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no Close but {other:?}"),
            }
        }
    };
    let closing = async {
        server.start_close(answer);
        poll_fn(|cx| server.poll_close(cx)).await;
    };
    // Our side lingers until the client is gone; the client only has to see the Close.
    tokio::select! {
        seen = reading => seen,
        seen = async { closing.await; std::future::pending().await } => seen,
    }
}

#[tokio::test]
async fn messages_arrive_both_ways_and_are_metered_beneath_the_frames() {
    bounded(async {
        let (mut client, mut server) = websocket_pair().await;
        let (in_before, out_before) = (server.meter().bytes_in, client.meter().bytes_out);
        for size in [0, 1, 125, 126, 65_535, 65_536, MAX_MESSAGE] {
            let message = vec![7u8; size];
            let ((), got) = tokio::join!(
                async { send(&mut client, message.clone()).await.unwrap() },
                recv(&mut server)
            );
            assert_eq!(got.unwrap(), message);
            let ((), got) = tokio::join!(
                async { send(&mut server, message.clone()).await.unwrap() },
                recv(&mut client)
            );
            assert_eq!(got.unwrap(), message);
        }
        let payload = (1 + 125 + 126 + 65_535 + 65_536 + MAX_MESSAGE) as u64;
        let heads = 6 * 3 + 8 * 2 + 14 * 2;
        assert_eq!(server.meter().bytes_in - in_before, payload + heads);
        assert_eq!(client.meter().bytes_out - out_before, payload + heads);
        assert!(server.peer_addr().is_some() && client.peer_addr().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_and_the_answer_is_heard() {
    bounded(async {
        let (mut client, mut server) = websocket_pair().await;
        assert!(!server.take_heard());
        server.ping().unwrap();
        poll_fn(|cx| server.poll_flush(cx)).await.unwrap();
        let answering = tokio::spawn(async move { recv(&mut client).await });
        poll_fn(|cx| {
            assert!(server.poll_recv(cx).is_pending(), "a pong is no message");
            if server.take_heard() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        drop(server);
        assert!(matches!(
            answering.await.unwrap(),
            Err(LinkEnd::Lost { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn a_close_arrives_with_code_and_reason_even_when_messages_are_unread() {
    for by_client in [true, false] {
        bounded(async {
            let (client, server) = websocket_pair().await;
            let (mut closer, mut other) = if by_client {
                (client, server)
            } else {
                (server, client)
            };
            // Unread at the closer when it closes: without care the connection is reset, and the Close is lost.
            for _ in 0..4 {
                send(&mut other, vec![1; 10_000]).await.unwrap();
            }
            let reading = async {
                let end = recv(&mut other).await.unwrap_err();
                assert_eq!(end, closed(4004, "drained"));
                close(&mut other, Close::normal()).await;
                assert!(send(&mut other, "x").await.is_err());
            };
            tokio::join!(
                close(&mut closer, Close::new(Close::DRAINED, "drained")),
                reading
            );
        })
        .await;
    }
}

#[tokio::test]
async fn both_ends_may_close_at_once() {
    bounded(async {
        let (mut client, mut server) = websocket_pair().await;
        tokio::join!(
            close(&mut client, Close::normal()),
            close(&mut server, Close::new(Close::GAP, ""))
        );
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_dies_is_lost_and_not_closed() {
    bounded(async {
        let (client, mut server) = websocket_pair().await;
        drop(client);
        let end = recv(&mut server).await.unwrap_err();
        assert!(matches!(end, LinkEnd::Lost { .. }), "{end:?}");
        assert_eq!(end.answer(), None);
        close(&mut server, Close::normal()).await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_back_the_writer_and_a_close_ends_at_its_deadline() {
    bounded(async {
        let (client, mut server) = websocket_pair().await;
        let mut sent = 0u64;
        loop {
            // Until the buffers of the system are full.
            match tokio::time::timeout(
                Duration::from_millis(200),
                poll_fn(|cx| server.poll_ready(cx)),
            )
            .await
            {
                Ok(ready) => ready.unwrap(),
                Err(_) => break,
            }
            server.start_send(vec![0; 64 << 10].into()).unwrap();
            sent += 64 << 10;
            assert!(sent < 64 << 20, "nothing holds the writer back");
        }
        assert!(
            sent <= server.meter().bytes_out + (70 << 10),
            "more than a message is buffered"
        );
        server.start_close(Close::normal());
        let closing = tokio::time::timeout(
            Duration::from_millis(50),
            poll_fn(|cx| server.poll_close(cx)),
        )
        .await;
        assert!(closing.is_err());
        drop(client);
    })
    .await;
}

// E1.6
#[tokio::test]
async fn a_text_message_is_a_violation() {
    bounded(async {
        let (mut client, mut server) = foreign_client().await;
        client.send(Message::text("{\"hello\":1}")).await.unwrap();
        let end = recv(&mut server).await.unwrap_err();
        assert_eq!(end, LinkEnd::NotBinary);
        assert_eq!(recv(&mut server).await, Err(end.clone()));
        assert_eq!(
            answered(&mut client, &mut server, end).await,
            (4001, "E1.6: a text message".to_owned())
        );
    })
    .await;
}

// E1.4
#[tokio::test]
async fn a_message_above_the_limit_is_a_violation_and_the_client_reads_why() {
    bounded(async {
        let (mut client, mut server) = foreign_client().await;
        let send = client.feed(Message::binary(vec![0; MAX_MESSAGE + 1]));
        let (fed, end) = tokio::join!(send, recv(&mut server));
        fed.unwrap();
        let end = end.unwrap_err();
        assert_eq!(end, LinkEnd::TooLarge { limit: MAX_MESSAGE });
        let (code, reason) = answered(&mut client, &mut server, end).await;
        assert_eq!(
            (code, reason.as_str()),
            (4001, "E1.4: a message above 131072 bytes")
        );
    })
    .await;
}

/// Sends raw bytes after an honest handshake.
async fn end_after(bytes: &[u8]) -> LinkEnd {
    bounded(async {
        let (client, mut server) = foreign_client().await;
        let mut stream = client.into_inner();
        let (written, end) = tokio::join!(stream.write_all(bytes), async {
            recv(&mut server).await.unwrap_err()
        });
        drop(written);
        end
    })
    .await
}

#[tokio::test]
async fn a_frame_that_claims_a_huge_length_is_refused_by_its_head() {
    for length in [1u64 << 31, (1 << 63) - 1, MAX_MESSAGE as u64 + 1] {
        let mut head = vec![0x82, 0xff];
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        assert_eq!(
            end_after(&head).await,
            LinkEnd::TooLarge { limit: MAX_MESSAGE }
        );
    }
}

#[tokio::test]
async fn frames_that_break_the_websocket_protocol_end_the_link_with_1002() {
    let long_ping = [&[0x89u8, 0xfe, 0, 126][..], &[0; 130]].concat();
    for (name, bytes) in [
        ("unmasked", &[0x82, 0x01, 0x00][..]),
        ("reserved bit", &[0xc2, 0x80, 0, 0, 0, 0]),
        ("bad opcode", &[0x83, 0x80, 0, 0, 0, 0]),
        ("bad control opcode", &[0x8b, 0x80, 0, 0, 0, 0]),
        ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0]),
        ("long ping", &long_ping),
        ("continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
        ("close of one byte", &[0x88, 0x81, 0, 0, 0, 0, 3]),
    ] {
        let end = end_after(bytes).await;
        assert!(matches!(end, LinkEnd::Malformed(_)), "{name}: {end:?}");
        assert_eq!(end.answer().unwrap().code(), 1002, "{name}");
    }
}

#[tokio::test]
async fn a_flood_of_pings_or_pongs_ends_the_link_with_1008() {
    for opcode in [0x89, 0x8a] {
        let flood = [opcode, 0x80, 0, 0, 0, 0].repeat(21);
        let end = end_after(&flood).await;
        assert_eq!(end, LinkEnd::ControlFlood);
        assert_eq!(end.answer().unwrap().code(), 1008);
    }
}

#[tokio::test]
async fn fragments_that_never_become_a_message_end_the_link() {
    let first = [0x02u8, 0x80, 0, 0, 0, 0];
    let more = [0x00u8, 0x80, 0, 0, 0, 0].repeat(100_000);
    let end = end_after(&[&first[..], &more].concat()).await;
    assert_eq!(
        end,
        LinkEnd::Overrun {
            limit: MAX_MESSAGE + (64 << 10)
        }
    );
    assert_eq!(end.answer().unwrap().code(), 1008);
}

#[tokio::test]
async fn a_message_in_honest_fragments_arrives_whole() {
    bounded(async {
        let (client, mut server) = foreign_client().await;
        let mut stream = client.into_inner();
        let mut bytes = vec![0x02u8, 0x81, 0, 0, 0, 0, b'a'];
        bytes.extend_from_slice(&[0x89, 0x80, 0, 0, 0, 0]);
        for _ in 0..1000 {
            bytes.extend_from_slice(&[0x00, 0x81, 0, 0, 0, 0, b'b']);
        }
        bytes.extend_from_slice(&[0x80, 0x81, 0, 0, 0, 0, b'c']);
        stream.write_all(&bytes).await.unwrap();
        let message = recv(&mut server).await.unwrap();
        assert_eq!(
            (message.len(), message[0], message[1001]),
            (1002, b'a', b'c')
        );
        assert!(recv(&mut server).now_or_never().is_none());
        let mut pong = [0u8; 2];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_hour_of_honest_traffic_never_reaches_the_meters_bound() {
    bounded(async {
        let (mut client, mut server) = websocket_pair().await;
        let writing = async {
            for _ in 0..200 {
                send(&mut client, vec![1; MAX_MESSAGE]).await.unwrap();
                send(&mut client, vec![1; 1]).await.unwrap();
            }
        };
        let reading = async {
            for _ in 0..400 {
                recv(&mut server).await.unwrap();
            }
        };
        tokio::join!(writing, reading);
    })
    .await;
}
