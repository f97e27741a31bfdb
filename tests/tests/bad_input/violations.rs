//! Peers that break the protocol: one Close that names the rule, and the end of that session alone.

use helve::Limits;
use helve::transport::Close;
use helve_tests::harness::{limited, until};
use helve_tests::raw::Raw;

use crate::{Beside, says};

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

// E1.4, E1.6
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
