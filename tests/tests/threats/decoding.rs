//! Rows 19 to 29: bytes that are made to hurt whoever believes them. (Row 28 is about JavaScript, which has no place here.)

use allocation_counter::measure;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{self, CallExtOut, CallKind};
use helve_protocol::hello::Hello;
use helve_tests::harness::until;
use helve_tests::raw::Raw;

use crate::peer::Row;

/// A CALL with these arguments.
fn call(args: &[u8]) -> Vec<u8> {
    [&[0x95, 1, 1, 0, 7], args].concat()
}

// E4.2 E4.13
#[tokio::test]
async fn row_19_nesting_is_refused_at_the_65th_container() {
    let row = Row::new().await;
    row.refuses("E4.2", 1, &call(&[0x91; 60_000])).await;
    let mut chain = vec![0x91];
    chain.extend([0x81, 0xa1, b'A'].repeat(13_000));
    row.refuses("E4.2", 1, &call(&chain)).await;
    // 64 of them around the array of arguments are fine.
    let mut deep = vec![0x91];
    deep.extend([0x91; 63]);
    deep.push(0x90);
    let mut fair = row.attacker().await;
    let surplus = [&[0x92, 5], &deep[1..]].concat();
    assert_eq!(fair.call(0, "echo", &surplus).await, Ok(vec![5]));
    drop(fair);
    row.end().await;
}

// E4.4
#[tokio::test]
async fn row_20_an_array_of_four_billion_in_five_bytes_is_refused() {
    let row = Row::new().await;
    for claim in [0xdd, 0xdf] {
        let claim = [0x91, claim, 0xff, 0xff, 0xff, 0xff, 1];
        row.refuses("E4.4", 1, &call(&claim)).await;
    }
    row.refuses("E4.4", 1, &[0xdd, 0xff, 0xff, 0xff, 0xff, 6])
        .await;
    row.end().await;
}

// E4.4
#[tokio::test]
async fn row_21_a_length_beyond_the_frame_reserves_nothing() {
    let row = Row::new().await;
    for claim in [0xdb, 0xc6] {
        let claim = [0x91, claim, 0xff, 0xff, 0xff, 0xff, 1];
        row.refuses("E4.4", 1, &call(&claim)).await;
    }
    // HELLO is read before anything is known of the peer.
    let mut hello = vec![0x92, 17, 0x81, 0xa5];
    hello.extend(b"agent");
    hello.extend([0xdb, 0x7f, 0xff, 0xff, 0xff]);
    let memory = measure(|| assert!(Hello::decode(&hello).is_err()));
    assert_eq!(memory.bytes_total, 0);
    row.end().await;
}

// E4.3 E4.11
#[tokio::test]
async fn row_22_more_elements_than_the_budget_are_refused_before_they_are_decoded() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    // A MiB of one-byte elements, in parts.
    let mut args = vec![0x91, 0xdd, 0, 0x10, 0, 0];
    args.resize(6 + (1 << 20), 0xc0);
    let mut transfer = Vec::new();
    frame::put_transfer(&mut transfer, args.len() as u64);
    attacker.say(1, |out| out.extend(call(&transfer))).await;
    for part in args.chunks(65_536) {
        attacker
            .say(1, |out| frame::write_part(out, 1, Some(part)))
            .await;
    }
    attacker.hears_violation("E4.3").await;
    row.end().await;
}

// E1.2 E4.10
#[tokio::test]
async fn row_23_a_value_behind_the_last_is_refused() {
    let row = Row::new().await;
    let hidden = [&call(&[0x90])[..], &[0x05]].concat();
    row.refuses("E1.2", 1, &hidden).await;
    let mut raw = Raw::open(row.harness.url(), Some("helve.1"))
        .await
        .expect("it is opened");
    raw.send([Hello::default().encode(), vec![0xc0]].concat())
        .await;
    let (code, reason) = raw.closed().await;
    assert_eq!((code, reason.split(':').next()), (4001, Some("E4.10")));
    row.end().await;
}

// E2.4 E3.1 E4.7
#[tokio::test]
async fn row_24_long_ints_doubled_keys_and_undeclared_ext_are_refused() {
    let row = Row::new().await;
    row.refuses("E2.4", 1, &[0x92, 6, 0xcc, 1]).await;
    let twice = [
        0x97, 1, 1, 0, 7, 0x90, 0xc0, 0x82, 0xa1, b'h', 1, 0xa1, b'h', 2,
    ];
    row.refuses("E3.1", 1, &twice).await;
    row.refuses("E4.7", 1, &call(&[0x91, 0xd6, 0xff, 0, 0, 0, 0]))
        .await;
    // NaN where a number is expected is the call's own affair.
    let mut fair = row.attacker().await;
    let nan = [0x91, 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0];
    let answer = fair.call(0, "echo", &nan).await;
    assert_eq!(answer.expect_err("no number").0, 8);
    drop(fair);
    row.end().await;
}

// E4.5
#[tokio::test]
async fn row_25_text_that_is_not_utf8_is_refused() {
    let row = Row::new().await;
    for text in [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80]] {
        let mut args = vec![0x91, 0xa0 | text.len() as u8];
        args.extend(text);
        row.refuses("E4.5", 1, &call(&args)).await;
    }
    row.end().await;
}

// E4.13 E6.4
#[tokio::test]
async fn row_26_an_unknown_field_of_any_size_is_skipped() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    // A `Bundle` with the server's own root in it, and a field that nobody knows.
    let mut args = vec![0x91, 0x86];
    let mut field = |name: &str, value: &[u8]| {
        frame::put_str(&mut args, name);
        args.extend_from_slice(value);
    };
    field("one", &[0xd4, 1, 0]);
    field("maybe", &[0xc0]);
    field("many", &[0x90]);
    let mut giant = vec![0xdc, 0x03, 0xe8];
    giant.extend([0x91, 0x91, 0x91, 0x82, 1, 2, 3, 0x90].repeat(1_000));
    field("unknown", &giant);
    field("named", &[0x80]);
    field("deep", &[0xc0]);
    let root = [Descriptor::new(Tag::Yours, 0)];
    let none = CallExtOut::default();
    let id = fair.start(0, "unbundle", &args, &root, &none).await;
    assert_eq!(fair.answer(id).await, Ok(vec![1]));
    drop(fair);
    row.end().await;
}

// I1.1
#[tokio::test]
async fn row_27_an_id_of_2_to_the_53_is_refused() {
    let row = Row::new().await;
    let mut frames = Vec::new();
    frame::write_cancel(&mut frames, 1 << 53);
    row.refuses("I1.1", 1, &frames).await;
    row.end().await;
}

// I1.2
#[tokio::test]
async fn row_29_ids_picked_to_collide_cost_no_more_than_others() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    let before = row.tracker.live();
    let hang = helve_handles::id::method_id("test.Lab", "hang");
    // As far apart as they may be: a table that made room for what lies between would not fit any machine.
    attacker
        .say(1_000, |out| {
            for n in 1..=1_000 {
                let (kind, none) = (CallKind::Call, CallExtOut::default());
                let id = n << 20;
                frame::write_call(out, kind, id, Target::ROOT, hang, &[0x90], &[], &none);
            }
        })
        .await;
    until("256 of them at work", || row.tracker.live() == before + 256).await;
    row.calm().await;
    drop(attacker);
    row.end().await;
}
