//! Rows 47 to 49 where they are about streams: credit, and streams that nobody reads or closes.

use std::time::Duration;

use helve::Limits;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{self, CallExtOut, Frame};
use helve_tests::harness::{limited, until};
use helve_tests::lab::LabHandle;

use crate::attack::{Stage, attack};
use crate::peer::{Attacker, Row};

/// Items of a stream that are so many bytes long.
fn items(len: usize) -> Vec<u8> {
    let mut items = vec![0xdc];
    items.extend(((len - 3) as u16).to_be_bytes());
    items.resize(len, 1);
    items
}

/// Gives the server a stream of ours, which it keeps and does not read.
async fn give(attacker: &mut Attacker, k: u64) -> Target {
    let cap = [Descriptor::new(Tag::Mine, k)];
    let none = CallExtOut::default();
    let args = [0x91, 0xd4, 1, 0];
    let id = attacker.start(0, "keep_stream", &args, &cap, &none).await;
    assert_eq!(attacker.answer(id).await, Ok(vec![0xc0]));
    Target::host(k)
}

async fn data(attacker: &mut Attacker, stream: Target, items: &[u8]) {
    let write = |out: &mut Vec<u8>| frame::write_data(out, stream, items, &[]);
    attacker.say(1, write).await;
}

/// A stream of the server's that counts to 2^64.
async fn take(attacker: &mut Attacker) -> u64 {
    let mut args = vec![0x91, 0xcf];
    args.extend([0xff; 8]);
    let id = attacker
        .start(0, "count", &args, &[], &CallExtOut::default())
        .await;
    loop {
        let came = attacker.frame().await;
        match came.frame {
            Frame::Ret { id: ret, .. } if ret == id => {
                return came.caps.first().expect("a stream").id();
            }
            Frame::Err { id: err, .. } if err == id => panic!("no stream"),
            _ => {}
        }
    }
}

// R19.4
#[tokio::test]
async fn row_47_credit_of_a_stream_that_overflows_is_a_violation() {
    let row = Row::new().await;
    // What one stream was granted at birth, it may have sent.
    for (n, rule) in [
        (1 << 31, "R19.4"),
        ((1 << 53) - 1, "R19.4"),
        (1 << 53, "I1.1"),
    ] {
        let mut attacker = row.attacker().await;
        let stream = Target::host(take(&mut attacker).await);
        let write = |out: &mut Vec<u8>| {
            frame::write_credit(out, stream, n, 0);
            frame::write_credit(out, stream, n, 0);
        };
        attacker.say(2, write).await;
        attacker.hears_violation(rule).await;
    }
    row.end().await;
}

// R19.3 R19.8
#[tokio::test]
async fn row_48_data_overdraws_once_and_without_credit_is_a_violation() {
    let row = Row::new().await;
    // Of 65,536, each takes 64 more than its items.
    for (len, most) in [
        (65_471, 2),
        (65_472, 1),
        (65_536, 1),
        (16_320, 4),
        (16_319, 5),
    ] {
        let mut attacker = row.attacker().await;
        let stream = give(&mut attacker, 1).await;
        for _ in 0..most {
            data(&mut attacker, stream, &items(len)).await;
        }
        assert_eq!(attacker.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
        data(&mut attacker, stream, &[0x90]).await;
        attacker.hears_violation("R19.3").await;
    }
    row.end().await;
}

// E2.5 R18.8
#[tokio::test]
async fn row_48_a_first_item_beyond_every_bound_makes_no_stream() {
    let row = Row::limited(Limits::default().with_frame(70_000)).await;
    let mut attacker = row.attacker().await;
    let stream = give(&mut attacker, 1).await;
    let mut long = vec![0x91, 0xc6];
    long.extend(65_531_u32.to_be_bytes());
    long.resize(65_537, 0);
    data(&mut attacker, stream, &long).await;
    attacker.hears_violation("E2.5").await;
    let mut attacker = row.attacker().await;
    let stream = give(&mut attacker, 1).await;
    let mut head = Vec::new();
    frame::put_transfer(&mut head, 70_001);
    data(&mut attacker, stream, &head).await;
    attacker.hears_violation("R18.8").await;
    row.end().await;
}

// R14.4
#[tokio::test]
async fn row_49_streams_are_as_many_of_the_peer_as_the_limit_says() {
    let row = Row::limited(Limits::default().with_streams(3)).await;
    let mut attacker = row.attacker().await;
    for k in 1..=3 {
        let stream = give(&mut attacker, k).await;
        data(&mut attacker, stream, &[0x91, 1]).await;
    }
    // One that is given up makes room for another.
    assert_eq!(attacker.call(0, "forget", &[0x90]).await, Ok(vec![0xc0]));
    for k in 4..=6 {
        let stream = give(&mut attacker, k).await;
        data(&mut attacker, stream, &[0x91, 1]).await;
    }
    let id = attacker
        .start(0, "echo", &[0x91, 5], &[], &CallExtOut::default())
        .await;
    assert_eq!(attacker.answer(id).await, Ok(vec![5]));
    let stream = give(&mut attacker, 7).await;
    data(&mut attacker, stream, &[0x91, 1]).await;
    attacker.hears_violation("R14.4").await;
    row.end().await;
}

// R19.2 R19.3
#[test]
fn row_49_streams_that_are_neither_read_nor_closed_are_bounded_by_their_credit() {
    // What the server has sent and we did not read; and what we sent and it did not, twice, as the attacker is counted too.
    let most = 256 * 2 * (64 << 10) + 256 * 4 * (64 << 10);
    attack(Stage::plain(), most, async |scene| {
        let before = scene.tracker.live();
        let mut attacker = Attacker::at(scene.harness.url()).await;
        for _ in 0..256 {
            take(&mut attacker).await;
        }
        assert_eq!(scene.tracker.live(), before + 256);
        for k in 1..=256 {
            let stream = give(&mut attacker, k).await;
            for _ in 0..2 {
                data(&mut attacker, stream, &items(65_471)).await;
            }
        }
        scene.calm().await;
        // An idle stream is no reason to end anything: an honest one may wait for hours.
        scene.wait(Duration::from_secs(15)).await;
        assert_eq!(scene.tracker.live(), before + 256);
        scene.calm().await;
        drop(attacker);
        until("every stream dropped", || scene.tracker.live() == before).await;
        // What came can still be read, so it stays as long as somebody holds it.
        let lab: LabHandle = scene.harness.connect().await;
        assert_eq!(limited(lab.forget()).await, Ok(()));
    });
}
