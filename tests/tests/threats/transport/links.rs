//! Rows 14 to 17: links that are slow, dead, asleep, or behind a proxy.

use std::time::Duration;

use helve::{State, Throttle};
use helve_handles::id::method_id;
use helve_tests::certs::Authority;
use helve_tests::harness::until;
use tokio::time::Instant;

use super::wire::Wire;
use crate::attack::{Scene, Stage, attack};

const KIB: u64 = 1 << 10;
/// A ping as a server sends it, and the pong of a browser.
const PING: (u8, Vec<u8>) = (0x89, Vec::new());
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// One message: TELL `note` of 60,000 bytes, or CALL `notes`.
fn note(seq: u8) -> Vec<u8> {
    let mut tell = vec![seq, 0, 0x94, 3, 0, 0xce];
    tell.extend(method_id("test.Lab", "note").to_be_bytes());
    tell.extend([0x91, 0xda]);
    tell.extend(60_000u16.to_be_bytes());
    tell.extend([b'x'; 60_000]);
    tell
}

fn notes(seq: u8, ack: u8, id: u8) -> Vec<u8> {
    let mut call = vec![seq, ack, 0x95, 1, id, 0, 0xce];
    call.extend(method_id("test.Lab", "notes").to_be_bytes());
    call.push(0x90);
    call
}

/// A client that asks for 6 MB and reads nothing; why its session ended, and after how long. It acknowledges what it did not
/// read: else the session would send no more than its replay buffer holds, which the system's buffers take.
async fn never_reads(scene: &Scene, tls: Option<&Authority>) -> (String, Duration) {
    let mut wire = Wire::from("127.0.0.1", scene, Some(4096)).await;
    if let Some(authority) = tls {
        wire = wire.tls(authority).await;
    }
    let mut wire = wire.welcome().await;
    let end = scene.harness.server_ends().pop().expect("a session");
    wire.frame(0x82, &note(1)).await;
    let start = Instant::now();
    for id in 1..=100 {
        // Whole answers that have gone out.
        let sent = u8::try_from(end.stats().bytes_out / 60_100).expect("few");
        wire.frame(0x82, &notes(id + 1, sent, id)).await;
        scene.wait(Duration::from_millis(10)).await;
    }
    let State::Lost { reason, .. } = end.closed().await else {
        panic!("it goes on")
    };
    drop(wire);
    (reason, start.elapsed())
}

#[test]
fn row_14_a_client_that_never_reads_is_given_up_after_10_s() {
    // 4 MiB of answers may wait, and what is on its way beside them.
    attack(Stage::plain(), 6 * 1024 * KIB, async |scene| {
        let (reason, after) = never_reads(scene, None).await;
        assert!(reason.contains("has read nothing for 10 s"), "{reason}");
        assert!((9..13).contains(&after.as_secs()), "{after:?}");
    });
}

#[test]
fn row_14_over_tls_it_is_no_different() {
    let authority = Authority::new();
    let stage = Stage::tls(&authority, |setup| setup);
    attack(stage, 6 * 1024 * KIB, async |scene| {
        let (reason, after) = never_reads(scene, Some(&authority)).await;
        assert!(reason.contains("has read nothing for 10 s"), "{reason}");
        assert!((9..13).contains(&after.as_secs()), "{after:?}");
    });
}

#[test]
fn row_14_the_time_can_be_set() {
    let patient = Throttle::default().with_stall(Duration::from_secs(17));
    let stage = Stage::with(move |setup| setup.with(|rooted| rooted.throttle(patient)));
    attack(stage, 6 * 1024 * KIB, async |scene| {
        let (reason, after) = never_reads(scene, None).await;
        assert!(reason.contains("has read nothing for 17 s"), "{reason}");
        assert!((16..20).contains(&after.as_secs()), "{after:?}");
    });
}

// R16.1, R16.2
#[test]
fn row_15_a_dead_link_is_noticed_after_40_s_and_gives_everything_back() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let live = scene.tracker.live();
        let mut wire = Wire::welcomed(scene).await;
        let start = Instant::now();
        // OPEN 1: a new object, which this session holds.
        let mut open = vec![1, 0, 0x95, 2, 1, 0, 0xce];
        open.extend(method_id("test.Lab", "open").to_be_bytes());
        open.push(0x90);
        wire.frame(0x82, &open).await;
        let (_, answer) = wire.hear().await.expect("a result");
        assert!(answer.len() > 2 && scene.tracker.live() == live + 1);
        // From here on nobody is there: no pong, and no end of the connection either.
        loop {
            match wire.hear().await {
                Some((0x82, _)) => {}
                other => {
                    assert_eq!(other, Some(PING));
                    break;
                }
            }
        }
        assert_eq!(start.elapsed().as_secs(), 20);
        assert_eq!(wire.hear().await, None, "no Close that nobody reads");
        assert_eq!(start.elapsed().as_secs(), 40);
        until("everything given back", || scene.tracker.live() == live).await;
    });
}

#[test]
fn row_16_the_pongs_of_a_browser_keep_an_hour_of_silence_alive() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        let start = Instant::now();
        let mut pings = 0;
        while start.elapsed() < Duration::from_secs(3_600) {
            assert_eq!(wire.hear().await, Some(PING));
            pings += 1;
            wire.say(&PONG).await;
        }
        assert_eq!(pings, 180);
        // No script ran in the page all that time, and its call is answered at once.
        let mut echo = vec![1, 0, 0x95, 1, 1, 0, 0xce];
        echo.extend(method_id("test.Lab", "echo").to_be_bytes());
        echo.extend([0x91, 3]);
        wire.frame(0x82, &echo).await;
        assert_eq!(wire.hear().await, Some((0x82, vec![1, 1, 0x93, 4, 1, 3])));
    });
}

#[test]
fn row_17_no_silence_is_as_long_as_proxies_bear() {
    attack(Stage::plain(), 128 * KIB, async |scene| {
        let mut wire = Wire::welcomed(scene).await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(600) {
            let silent = Instant::now();
            assert_eq!(wire.hear().await, Some(PING));
            assert!(silent.elapsed() < Duration::from_secs(30), "{silent:?}");
            wire.say(&PONG).await;
        }
    });
}
