//! Rows 1 to 6, and 18: before there is a link.

use std::time::Duration;

use helve::prelude::*;
use helve::{ConnectError, Principal, Throttle};
use helve_protocol::hello::{Hello, Reply};
use helve_tests::certs::Authority;
use helve_tests::harness::{Setup, limited};
use helve_tests::lab::LabHandle;
use tokio::time::Instant;

use super::wire::{UPGRADE, Wire};
use crate::attack::{Scene, Stage, attack};

const KIB: u64 = 1 << 10;

fn throttled(throttle: Throttle) -> impl FnOnce(Setup) -> Setup {
    move |setup| setup.with(|rooted| rooted.throttle(throttle))
}

/// Each of these is cut off ten seconds after `start`, and no sooner.
async fn cut_off_after_10_s(wires: Vec<Wire>, start: Instant) {
    for mut wire in wires {
        wire.rest().await;
        let elapsed = start.elapsed().as_millis();
        assert!((9_900..11_500).contains(&elapsed), "after {elapsed} ms");
    }
}

#[test]
fn row_01_silence_after_connect_is_cut_off() {
    attack(Stage::plain(), 100 * 24 * KIB, async |scene| {
        let start = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(Wire::silent(scene).await);
        }
        // Nobody waits for them.
        let lab: LabHandle = scene.harness.connect().await;
        assert_eq!(limited(lab.echo(3)).await, Ok(3));
        cut_off_after_10_s(silent, start).await;
    });
}

#[test]
fn row_01_silence_at_any_step_of_tls_is_cut_off() {
    let authority = Authority::new();
    let stage = Stage::tls(&authority, |setup| setup);
    attack(stage, 4 * 128 * KIB, async |scene| {
        let start = Instant::now();
        let silent = Wire::silent(scene).await;
        // A ClientHello that is announced and does not come.
        let mut begun = Wire::silent(scene).await;
        begun.say(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
        // TLS, and no request; a request, and no HELLO.
        let secure = Wire::silent(scene).await.tls(&authority).await;
        let upgraded = Wire::silent(scene).await.tls(&authority).await;
        let upgraded = upgraded.upgrade().await;
        cut_off_after_10_s(vec![silent, begun, secure, upgraded], start).await;
    });
}

#[test]
fn row_02_slow_headers_are_cut_off() {
    attack(Stage::plain(), 64 * KIB, async |scene| {
        let (start, mut slow) = (Instant::now(), Wire::silent(scene).await);
        let drip = async {
            for byte in UPGRADE.bytes().cycle() {
                slow.say(&[byte]).await;
                scene.wait(Duration::from_millis(100)).await;
                if start.elapsed() > Duration::from_secs(12) {
                    break;
                }
            }
        };
        drip.await;
        assert_eq!(slow.rest().await, b"");
        // Their end does not wait for them: neither does a HELLO that never comes.
        let (start, upgraded) = (Instant::now(), Wire::upgraded(scene).await);
        cut_off_after_10_s(vec![upgraded], start).await;
    });
}

#[test]
fn row_02_a_head_above_16_kib_is_refused_at_once() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let start = Instant::now();
        let mut long = Wire::silent(scene).await;
        let head = format!("{UPGRADE}X: {}\r\n\r\n", "a".repeat(17 << 10));
        long.say(head.as_bytes()).await;
        let answer = long.head().await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn row_03_half_done_handshakes_are_capped_and_the_newest_is_dropped() {
    let few = Throttle::default().with_pending(8);
    attack(Stage::with(throttled(few)), 512 * KIB, async |scene| {
        let start = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(Wire::silent(scene).await);
        }
        for _ in 0..50 {
            let answer = Wire::silent(scene).await.rest().await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(
                answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nRetry-After: 1\r\n"),
                "{answer}"
            );
            let body = answer.split("\r\n\r\n").nth(1).expect("a body");
            assert!(answer.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
        let busy = scene.harness.connect_with::<LabHandle>(|connect| connect);
        let error = busy.await.expect_err("there is no room");
        assert!(error.is_retryable(), "{error}");
        assert_eq!(start.elapsed().as_secs(), 0, "all that is said at once");
        scene.calm().await;
        // Those before them have their time; then there is room again.
        cut_off_after_10_s(silent, start).await;
        let lab: LabHandle = scene.harness.connect().await;
        assert_eq!(limited(lab.echo(3)).await, Ok(3));
    });
}

#[test]
fn row_03_one_prefix_cannot_take_all_the_room() {
    let few = Throttle::default()
        .with_pending_per_prefix(4)
        .with_loopback(true);
    attack(Stage::with(throttled(few)), 256 * KIB, async |scene| {
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(Wire::from("127.0.0.9", scene, None).await);
        }
        let mut fifth = Wire::from("127.0.0.9", scene, None).await;
        assert!(fifth.rest().await.starts_with(b"HTTP/1.1 503"));
        // Another address does not notice.
        Wire::welcomed(scene).await;
        drop(silent);
    });
}

#[test]
fn row_03_the_time_of_a_handshake_can_be_set() {
    let short = Throttle::default().with_handshake(Duration::from_secs(2));
    attack(Stage::with(throttled(short)), 64 * KIB, async |scene| {
        let (start, mut silent) = (Instant::now(), Wire::silent(scene).await);
        silent.rest().await;
        let elapsed = start.elapsed().as_millis();
        assert!((1_900..3_500).contains(&elapsed), "after {elapsed} ms");
    });
}

/// The status of the answer to a page of `origin`.
async fn status(wire: &mut Wire, origin: &str, host: &str) -> String {
    let request = UPGRADE.replace("Host: localhost", &format!("Host: {host}"));
    wire.say(format!("{request}Origin: {origin}\r\n\r\n").as_bytes())
        .await;
    let answer = wire.head().await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

// S1.18
#[test]
fn row_04_a_foreign_origin_gets_403_before_the_upgrade() {
    let listed = |setup: Setup| setup.with(|rooted| rooted.allow_origin("https://app.example"));
    attack(Stage::with(listed), 128 * KIB, async |scene| {
        let host = scene.address().to_owned();
        for (origin, host, expected) in [
            ("https://evil.example", &host[..], "403"),
            ("null", &host, "403"),
            ("https://app.example.evil.example", &host, "403"),
            ("http://127.0.0.1:1", &host, "403"),
            // A name of the attacker's that suddenly leads here.
            ("http://evil.example", "evil.example", "403"),
            ("https://app.example", &host, "101"),
            (&format!("http://{host}"), &host, "101"),
        ] {
            let mut wire = Wire::silent(scene).await;
            assert_eq!(status(&mut wire, origin, host).await, expected, "{origin}");
        }
        // No page: who it is shows in its HELLO.
        Wire::welcomed(scene).await;
    });
}

// S1.19
#[test]
fn row_04_over_tls_only_a_page_that_came_over_tls_is_the_servers_own() {
    let authority = Authority::new();
    let stage = Stage::tls(&authority, |setup| setup);
    attack(stage, 512 * KIB, async |scene| {
        let host = scene.address().to_owned();
        for (scheme, expected) in [("http", "403"), ("https", "101")] {
            let mut wire = Wire::silent(scene).await.tls(&authority).await;
            let origin = format!("{scheme}://{host}");
            assert_eq!(
                status(&mut wire, &origin, &host).await,
                expected,
                "{origin}"
            );
        }
    });
}

#[test]
fn row_05_a_cookie_is_no_authority() {
    let check = |token: helve::Token| async move {
        // The honest client has none, and is let in; whoever shows one must show the right one.
        match token.as_str() {
            Ok("valid") => Ok(Principal::new("ann")),
            Ok(_) => Err(RpcError::Unauthenticated("not known".into())),
            Err(_) => Ok(Principal::new("nobody")),
        }
    };
    let stage = Stage::with(move |setup| setup.with(|rooted| rooted.authenticate(check)));
    attack(stage, 256 * KIB, async |scene| {
        for (path, headers) in [
            ("/", "Cookie: token=valid; auth=valid; session=valid\r\n"),
            ("/", "Authorization: Bearer valid\r\n"),
            ("/valid?token=valid&auth=valid", ""),
        ] {
            let mut wire = Wire::silent(scene).await;
            let request = UPGRADE.replace("GET / ", &format!("GET {path} "));
            wire.say(format!("{request}{headers}\r\n").as_bytes()).await;
            assert!(wire.head().await.starts_with("HTTP/1.1 101"));
            wire.frame(0x82, &Hello::default().encode()).await;
            let (_, welcome) = wire.hear().await.expect("an answer");
            assert!(matches!(Reply::decode(&welcome), Ok(Reply::Welcome(_))));
            let known = scene.harness.server_ends().into_iter();
            let known: Vec<_> = known
                .filter_map(|end| end.peer().principal().map(str::to_owned))
                .collect();
            assert!(
                !known.is_empty() && known.iter().all(|name| name == "nobody"),
                "{known:?}"
            );
        }
    });
}

// S1.20
#[test]
fn row_06_plain_links_off_loopback_are_refused_before_anything_is_opened() {
    attack(Stage::plain(), 128 * KIB, async |_| {
        for url in ["ws://0.0.0.0:0", "ws://[::]:0", "ws://192.0.2.1:7000"] {
            let rooted =
                // harness: nothing is served
                helve::Server::builder().root(|_| async { Err::<LabHandle, _>(RpcError::Gone) });
            let error = limited(rooted.bind(url)).await.expect_err("not encrypted");
            let error = error.to_string();
            assert!(
                error.contains("use wss://") && error.contains(".insecure()"),
                "{error}"
            );
            // harness: no session begins
            let connect = helve::connect::<LabHandle>(url);
            let error = limited(connect.into_future())
                .await
                .expect_err("not encrypted");
            assert!(matches!(error, ConnectError::Link(_)), "{error}");
            assert!(error.to_string().contains(".insecure()"), "{error}");
        }
    });
}

#[test]
fn row_06_tls_below_1_3_is_refused_with_an_alert() {
    let authority = Authority::new();
    let stage = Stage::tls(&authority, |setup| setup);
    attack(stage, 128 * KIB, async |scene| {
        // TLS 1.2 and a suite of it: ECDHE-RSA with AES-128-GCM; no extensions.
        let mut hello = vec![0x03, 0x03];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
        let length = hello.len() as u8;
        let mut record = vec![0x16, 0x03, 0x01, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        let mut wire = Wire::silent(scene).await;
        wire.say(&record).await;
        // A fatal alert. Which one is for rustls to say: protocol_version, or a missing extension.
        let alert = wire.rest().await;
        assert!(
            matches!(alert[..], [0x15, 3, 3, 0, 2, 2, _]),
            "{alert:02x?}"
        );
    });
}

/// Connects until the server does not take it any more; how often it did.
async fn churn(source: &str, scene: &Scene) -> usize {
    for taken in 0..200 {
        let mut wire = Wire::from(source, scene, None).await;
        let answer = wire.ask("").await;
        if !answer.starts_with("HTTP/1.1 101") {
            assert!(
                answer.starts_with("HTTP/1.1 503") || answer.is_empty(),
                "{answer}"
            );
            return taken;
        }
    }
    200
}

#[test]
fn row_18_churn_is_slowed_down_for_its_prefix_alone() {
    let counted = Throttle::default().with_loopback(true);
    attack(Stage::with(throttled(counted)), 512 * KIB, async |scene| {
        assert_eq!(churn("127.0.0.9", scene).await, 40);
        assert_eq!(churn("127.0.0.9", scene).await, 0);
        assert_eq!(churn("127.0.0.10", scene).await, 40);
        scene.wait(Duration::from_millis(1010)).await;
        assert_eq!(churn("127.0.0.9", scene).await, 20);
        scene.calm().await;
        scene.wait(Duration::from_secs(3)).await;
        assert_eq!(churn("127.0.0.9", scene).await, 40);
    });
}

#[test]
fn row_18_with_tls_it_is_before_any_work_of_tls() {
    let authority = Authority::new();
    let few = Throttle::default().with_loopback(true).with_connects(1, 2);
    let stage = Stage::tls(&authority, throttled(few));
    attack(stage, 256 * KIB, async |scene| {
        for _ in 0..2 {
            drop(
                Wire::from("127.0.0.9", scene, None)
                    .await
                    .tls(&authority)
                    .await,
            );
        }
        // One that would be answered: with an alert, or in HTTP.
        let (start, mut wire) = (Instant::now(), Wire::from("127.0.0.9", scene, None).await);
        wire.say(b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(wire.rest().await, b"", "not even an alert");
        assert_eq!(start.elapsed().as_secs(), 0);
    });
}

#[test]
fn row_18_loopback_is_exempt_unless_it_is_counted() {
    attack(Stage::plain(), 512 * KIB, async |scene| {
        assert_eq!(churn("127.0.0.1", scene).await, 200);
    });
}
