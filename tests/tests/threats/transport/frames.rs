//! Rows 7 to 13: WebSocket frames that are too long, too many, never whole, or none.

use std::time::Duration;

use helve::transport::Close;
use helve::{ConnectError, Throttle};
use helve_protocol::Code;
use helve_tests::certs::Authority;
use helve_tests::harness::limited;
use helve_tests::lab::LabHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::wire::{Wire, head};
use crate::attack::{Stage, attack};

const KIB: u64 = 1 << 10;
/// The longest message that a server takes by default.
const BATCH: u64 = 256 * KIB;
/// A ping and a pong without content.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

// E1.4
#[test]
fn row_07_a_frame_that_claims_gigabytes_is_refused_by_its_head() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        for length in [BATCH + 1, 2 << 30, u64::MAX >> 1] {
            let mut wire = Wire::welcomed(scene).await;
            wire.say(&head(0x82, length)).await;
            let (code, reason) = wire.closed().await;
            assert_eq!(code, Close::VIOLATION);
            assert_eq!(reason, "E1.4: a message above 262144 bytes");
        }
    });
}

// E1.4
#[test]
fn row_07_fragments_add_up() {
    attack(Stage::plain(), 5 * BATCH, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        wire.frame(0x02, &[0; 1000]).await;
        wire.frame(0x80, &vec![0; BATCH as usize - 999]).await;
        let (code, reason) = wire.closed().await;
        assert_eq!((code, &reason[..6]), (Close::VIOLATION, "E1.4: "));
    });
}

#[test]
fn row_07_before_the_session_it_is_no_different() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let mut wire = Wire::upgraded(scene).await;
        wire.say(&head(0x82, 2 << 30)).await;
        assert_eq!(wire.closed().await.0, Close::VIOLATION);
    });
}

#[test]
fn row_08_a_head_that_claims_the_maximum_and_nothing_more_is_cut_off() {
    // Eight at once: what each claims may be reserved, and no more.
    attack(Stage::plain(), 8 * (BATCH + 64 * KIB), async |scene| {
        let mut wires = Vec::new();
        for _ in 0..8 {
            wires.push(Wire::welcomed(scene).await);
        }
        let start = Instant::now();
        for wire in &mut wires {
            wire.say(&head(0x82, BATCH)).await;
        }
        for mut wire in wires {
            let (code, reason) = wire.closed().await;
            assert_eq!(
                (code, reason.as_str()),
                (Close::POLICY, "a message was not completed in time")
            );
            let elapsed = start.elapsed().as_millis();
            assert!((9_900..11_500).contains(&elapsed), "after {elapsed} ms");
        }
    });
}

#[test]
fn row_08_and_row_10_over_tls_are_no_different() {
    let authority = Authority::new();
    let stage = Stage::tls(&authority, |setup| setup);
    attack(stage, BATCH + 256 * KIB, async |scene| {
        let wire = Wire::silent(scene).await.tls(&authority).await;
        let (mut wire, start) = (wire.welcome().await, Instant::now());
        wire.say(&head(0x82, BATCH)).await;
        let (code, reason) = wire.closed().await;
        assert_eq!(
            (code, reason.as_str()),
            (Close::POLICY, "a message was not completed in time")
        );
        let elapsed = start.elapsed().as_millis();
        assert!((9_900..11_500).contains(&elapsed), "after {elapsed} ms");
        let wire = Wire::silent(scene).await.tls(&authority).await;
        let mut wire = wire.welcome().await;
        wire.say(&PONG.repeat(21)).await;
        let (code, reason) = wire.closed().await;
        assert_eq!(
            (code, reason.as_str()),
            (Close::POLICY, "too many control frames")
        );
    });
}

#[test]
fn row_08_dripping_bytes_or_pongs_does_not_help() {
    attack(Stage::plain(), 3 * (BATCH + 64 * KIB), async |scene| {
        let (mut bytes, mut pongs) = (Wire::welcomed(scene).await, Wire::welcomed(scene).await);
        let start = Instant::now();
        bytes.say(&head(0x82, BATCH)).await;
        pongs.frame(0x02, b"x").await;
        for _ in 0..15 {
            scene.wait(Duration::from_secs(1)).await;
            bytes.say(b"x").await;
            pongs.say(&PONG).await;
        }
        for wire in [&mut bytes, &mut pongs] {
            assert_eq!(wire.closed().await.0, Close::POLICY);
        }
        assert!(start.elapsed() < Duration::from_secs(16));
    });
}

#[test]
fn row_08_the_time_can_be_set() {
    let short = Throttle::default().with_assembly(Duration::from_secs(3));
    let stage = Stage::with(move |setup| setup.with(|rooted| rooted.throttle(short)));
    attack(stage, BATCH + 64 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        let start = Instant::now();
        wire.say(&head(0x82, BATCH)).await;
        assert_eq!(wire.closed().await.0, Close::POLICY);
        let elapsed = start.elapsed().as_millis();
        assert!((2_900..4_500).contains(&elapsed), "after {elapsed} ms");
    });
}

#[test]
fn row_08_a_slow_honest_upload_is_not_hurt() {
    attack(Stage::plain(), 512 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        // Three calls of 60 kB each at 2 KiB a second, with a break between them.
        for id in 1..=3u8 {
            let start = Instant::now();
            // CALL id on the root, method 1, of a bin.
            let mut call = vec![id, id - 1, 0x95, 1, id, 0, 1, 0x91, 0xc5];
            call.extend(60_000u16.to_be_bytes());
            call.extend([7; 60_000]);
            wire.say(&head(0x82, call.len() as u64)).await;
            for chunk in call.chunks(2 << 10) {
                scene.wait(Duration::from_secs(1)).await;
                wire.say(chunk).await;
            }
            assert!(start.elapsed() > Duration::from_secs(25));
            // ERR id.
            let no_such_method = [5, id, Code::Unimplemented.raw() as u8];
            loop {
                match wire.hear().await.expect("it goes on") {
                    (0x89, _) => wire.say(&PONG).await,
                    (0x82, answer) if answer.windows(3).any(|bytes| bytes == no_such_method) => {
                        break;
                    }
                    (0x82, _) => {}
                    other => panic!("not this: {other:?}"),
                }
            }
            scene.wait(Duration::from_secs(12)).await;
        }
    });
}

#[test]
fn row_09_fragments_without_end_are_cut_off_by_their_bytes() {
    for content in [&b""[..], b"x"] {
        attack(Stage::plain(), 2 * BATCH, async |scene| {
            let mut wire = Wire::welcomed(scene).await;
            wire.frame(0x02, content).await;
            let mut fragment = head(0x00, content.len() as u64);
            fragment.extend_from_slice(content);
            let many = fragment.repeat(1000);
            // What may come is a message and 64 KiB; more than that is not even read.
            for _ in 0..=(BATCH + 64 * KIB) as usize / many.len() {
                wire.say(&many).await;
            }
            let (code, reason) = wire.closed().await;
            assert_eq!(
                (code, reason.as_str()),
                (Close::POLICY, "too many bytes without a whole message")
            );
        });
    }
}

#[test]
fn row_10_a_flood_of_pings_or_pongs_ends_the_link() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        for frame in [PING, PONG] {
            let mut wire = Wire::welcomed(scene).await;
            wire.say(&frame.repeat(20)).await;
            // Twenty at once are borne, and the pings among them answered.
            scene.wait(Duration::from_millis(10)).await;
            wire.say(&frame).await;
            let mut pongs = 0;
            let close = loop {
                match wire.hear().await.expect("a Close") {
                    (0x8a, _) => pongs += 1,
                    (0x88, close) => break close,
                    (0x82, _) => {}
                    other => panic!("not this: {other:?}"),
                }
            };
            assert!(
                pongs <= 21 && (pongs > 0) == (frame == PING),
                "{pongs} pongs"
            );
            assert_eq!(close[..2], Close::POLICY.to_be_bytes());
            assert_eq!(close[2..], *b"too many control frames");
        }
    });
}

#[test]
fn row_10_ten_in_ten_seconds_are_borne_for_ever_and_the_rate_can_be_set() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        for _ in 0..300 {
            wire.say(&PING).await;
            assert!(matches!(wire.hear().await, Some((0x8a, _))), "a pong");
            scene.wait(Duration::from_secs(1)).await;
        }
    });
    let few = Throttle::default().with_control(1, 2);
    let stage = Stage::with(move |setup| setup.with(|rooted| rooted.throttle(few)));
    attack(stage, 128 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        wire.say(&PONG.repeat(3)).await;
        assert_eq!(wire.closed().await.0, Close::POLICY);
    });
}

#[test]
fn row_11_what_is_no_websocket_frame_ends_the_link_with_1002() {
    let long_ping = [&head(0x89, 126)[..], &[0; 126]].concat();
    let cases = [
        ("unmasked", vec![0x82, 0x01, 0x00]),
        ("a reserved bit", head(0xa2, 0)),
        ("a bad opcode", head(0x83, 0)),
        ("a bad control opcode", head(0x8b, 0)),
        ("a ping in fragments", head(0x09, 0)),
        ("a ping of 126 bytes", long_ping),
        ("a continuation of nothing", head(0x80, 0)),
        ("a Close of one byte", [&head(0x88, 1)[..], &[3]].concat()),
        (
            "a Close with a code of nobody",
            [&head(0x88, 2)[..], &[0x03, 0xed]].concat(),
        ),
        (
            "a Close whose reason is no text",
            [&head(0x88, 3)[..], &[0x03, 0xe8, 0xff]].concat(),
        ),
    ];
    attack(Stage::plain(), 256 * KIB, async |scene| {
        for (name, bytes) in cases {
            let mut wire = Wire::welcomed(scene).await;
            wire.say(&bytes).await;
            let (code, reason) = wire.closed().await;
            assert_eq!(code, Close::PROTOCOL, "{name}: {reason}");
        }
        // One that is above the limit of all frames is refused as such, by its head.
        let mut wire = Wire::welcomed(scene).await;
        wire.say(&head(0x89, 1 << 20)).await;
        assert_eq!(wire.closed().await.0, Close::VIOLATION);
    });
}

/// A server that agrees to everything, and then says `bytes`.
async fn hostile_server(bytes: &'static [u8]) -> String {
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let request = String::from_utf8(request).expect("text");
        let key = request
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .starts_with("sec-websocket-key:")
                    .then(|| line[18..].trim())
            })
            .expect("a key");
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: helve.1\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.expect("sent");
        stream.write_all(bytes).await.expect("sent");
        // Until the client goes.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    url
}

#[test]
fn row_11_a_hostile_server_is_no_better_off() {
    attack(Stage::plain(), 128 * KIB, async |_| {
        for (bytes, words) in [
            // Masked, as only clients may.
            (&[0x82, 0x81, 0, 0, 0, 0, 0][..], "WebSocket protocol"),
            (&[0xc2, 0x00], "WebSocket protocol"),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0x80, 0, 0, 0], "above the limit"),
            (&[0x81, 0x02, b'h', b'i'], "text message"),
        ] {
            let url = hostile_server(bytes).await;
            // harness: no session begins
            let connect = helve::connect::<LabHandle>(url);
            let error = limited(connect.into_future()).await.expect_err("hostile");
            assert!(matches!(error, ConnectError::Lost(_)), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    });
}

#[test]
fn row_12_compression_is_never_agreed_on() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let mut wire = Wire::silent(scene).await;
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=8, x\r\n";
        let answer = wire.ask(offer).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
        // Compressed all the same.
        wire.frame(0xc2, &[0x4b, 0x4c, 0x84, 0x01, 0x00]).await;
        assert_eq!(wire.closed().await.0, Close::PROTOCOL);
    });
}

// E1.6. By decision it is a violation, 4001, and not 1003.
#[test]
fn row_13_a_text_message_is_a_violation() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        for welcomed in [true, false] {
            let mut wire = match welcomed {
                true => Wire::welcomed(scene).await,
                false => Wire::upgraded(scene).await,
            };
            wire.frame(0x81, b"{\"jsonrpc\":\"2.0\"}").await;
            let end = wire.closed().await;
            assert_eq!(end, (Close::VIOLATION, "E1.6: a text message".to_owned()));
        }
    });
}
