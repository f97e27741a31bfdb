//! Rows 35, 36 and 42 to 54: numbers, calls and what they may cost. (Rows 37 to 41 are about resuming, which this version
//! does not do.)

use std::time::Duration;

use helve::{Limits, SessionLimits};
use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::Code;
use helve_protocol::frame::{self, CallExtOut, CallKind};
use helve_tests::harness::{Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::time::Instant;

use crate::peer::{Attacker, Row};

const NONE: CallExtOut<'static> = CallExtOut {
    deadline: None,
    depth: 0,
    chain: None,
    trace: "",
    others: &[],
    others_count: 0,
};

fn call(out: &mut Vec<u8>, id: u64, name: &str, ext: &CallExtOut<'_>) {
    let method = method_id("test.Lab", name);
    frame::write_call(
        out,
        CallKind::Call,
        id,
        Target::ROOT,
        method,
        &[0x90],
        &[],
        ext,
    );
}

// S3.4 S3.5
#[tokio::test]
async fn row_35_an_ack_from_the_future_is_a_violation_and_an_old_one_is_ignored() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    for _ in 0..3 {
        assert_eq!(fair.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
        fair.heard = 0;
    }
    let mut attacker = row.attacker().await;
    attacker.heard = 9;
    attacker.say(0, |_| ()).await;
    attacker.hears_violation("S3.4").await;
    drop(fair);
    row.end().await;
}

// S2.2 S2.3
#[tokio::test]
async fn row_36_a_gap_drops_the_link_and_an_old_number_is_skipped() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    assert_eq!(fair.call(0, "add", &[0x91, 5]).await, Ok(vec![5]));
    // The same message again: it ran once.
    fair.next = 1;
    fair.last = 0;
    fair.start(0, "add", &[0x91, 5], &[], &NONE).await;
    assert_eq!(fair.call(0, "add", &[0x91, 0]).await, Ok(vec![5]));
    let mut attacker = row.attacker().await;
    attacker.next = 3;
    attacker.say(1, |out| frame::write_cancel(out, 1)).await;
    let (code, reason) = attacker.raw.closed().await;
    assert_eq!(code, 4000, "{reason}");
    drop(fair);
    row.end().await;
}

// I1.2
#[tokio::test]
async fn row_42_an_id_that_is_used_again_is_a_violation() {
    let row = Row::new().await;
    for ids in [[1, 1], [2, 1]] {
        let mut frames = Vec::new();
        for id in ids {
            call(&mut frames, id, "hang", &NONE);
        }
        row.refuses("I1.2", 2, &frames).await;
    }
    row.end().await;
}

// R13.4 R13.11 R13.13
#[tokio::test]
async fn row_43_a_flood_runs_256_queues_1024_and_starts_deeper_ones_at_once() {
    let row = Row::new().await;
    let before = row.tracker.live();
    let mut attacker = row.attacker().await;
    let flood = |out: &mut Vec<u8>, ids: std::ops::RangeInclusive<u64>, depth| {
        let ext = CallExtOut { depth, ..NONE };
        ids.for_each(|id| call(out, id, "hang", &ext));
    };
    // Its root is one more object.
    let before = before + 1;
    attacker.say(1_280, |out| flood(out, 1..=1_280, 0)).await;
    until("256 at work", || row.tracker.live() == before + 256).await;
    attacker.say(64, |out| flood(out, 1_281..=1_344, 1)).await;
    until("64 more at work", || row.tracker.live() == before + 320).await;
    row.calm().await;
    attacker.say(1, |out| flood(out, 1_345..=1_345, 0)).await;
    attacker.hears_violation("R13.13").await;
    row.end().await;
}

// R13.7 R21.1
#[tokio::test]
async fn row_44_a_call_that_is_cancelled_frees_its_slot_when_its_method_has_ended() {
    let row = Row::limited(Limits::default().with_calls(4)).await;
    let before = row.tracker.live() + 1;
    let mut attacker = row.attacker().await;
    // Rapid reset: within one message nothing can have ended, so the fifth is over the grant though four are cancelled.
    attacker
        .say(9, |out| {
            for id in 1..=4 {
                call(out, id, "hang", &NONE);
                frame::write_cancel(out, id);
            }
            call(out, 5, "hang", &NONE);
        })
        .await;
    attacker.hears_violation("R13.13").await;
    // One after the other they are answered, and nothing stays.
    let mut fair = row.attacker().await;
    for _ in 0..100 {
        let id = fair.start(0, "hang", &[0x90], &[], &NONE).await;
        fair.say(1, |out| frame::write_cancel(out, id)).await;
        assert_eq!(fair.answer(id).await.expect_err("cancelled").0, 4);
    }
    until("nothing at work", || row.tracker.live() == before).await;
    drop(fair);
    row.end().await;
}

/// So many calls of `hang`, each cancelled at once, and what became of them.
async fn reset(attacker: &mut Attacker, count: u64, depth: u8) {
    let first = attacker.last + 1;
    attacker.last += count;
    attacker
        .say(2 * count, |out| {
            for id in first..first + count {
                call(out, id, "hang", &CallExtOut { depth, ..NONE });
                frame::write_cancel(out, id);
            }
        })
        .await;
    for id in first..first + count {
        assert_eq!(attacker.answer(id).await.expect_err("cancelled").0, 4);
    }
}

// R21.7
#[tokio::test]
async fn row_44_of_a_flood_of_calls_that_are_cancelled_few_start_and_none_fails_otherwise() {
    let row = Row::new().await;
    for depth in [0, 1] {
        let ext = CallExtOut { depth, ..NONE };
        let mut attacker = row.attacker().await;
        let (start, before) = (Instant::now(), row.tracker.made());
        for _ in 0..60 {
            reset(&mut attacker, 50, depth).await;
        }
        // 400 at once, and 200 a second; what is cancelled before its turn never starts.
        let started = row.tracker.made() - before;
        let most = 402 + 200 * (start.elapsed().as_secs() + 1);
        assert!((400..=most).contains(&started), "{started} of 3,000");
        row.calm().await;
        let id = attacker.start(0, "echo", &[0x91, 5], &[], &ext).await;
        assert_eq!(attacker.answer(id).await, Ok(vec![5]));
    }
    row.end().await;
}

/// Makes so many calls, and drops them when all are at work. No time passes.
async fn drop_calls(lab: &LabHandle, tracker: &Tracker, count: usize) {
    let before = tracker.made();
    let mut calls: Vec<_> = (0..count).map(|_| lab.hang()).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tracker.made() - before, count as u64, "all are at work");
}

// R21.7
#[tokio::test(start_paused = true)]
async fn row_44_an_honest_caller_that_drops_many_calls_waits_and_sees_no_error() {
    for (rate, burst) in [(200, 400), (1, 3), (1_000, 10)] {
        let limits = SessionLimits::default().with_cancels(rate, burst);
        let tracker = Tracker::new();
        let made = tracker.clone();
        let setup = Setup::new(&tracker, move |_| LabHandle::new(MemLab::new(&made)));
        let harness = setup
            .with(|rooted| rooted.limits(limits))
            .memory(Duration::ZERO);
        let lab: LabHandle = harness.connect().await;
        let start = Instant::now();
        for part in [burst / 2, burst - burst / 2] {
            drop_calls(&lab, &tracker, part as usize).await;
        }
        // As many as there are: nothing waits.
        assert_eq!(limited(lab.echo(1)).await, Ok(1));
        assert_eq!(start.elapsed(), Duration::ZERO);
        let ends = harness.server_ends();
        let slowed = || ends.iter().map(|end| end.stats().slowed).sum::<u64>();
        assert_eq!(slowed(), 0);
        // Three more: the next call waits until three have come back.
        drop_calls(&lab, &tracker, 3).await;
        assert_eq!(limited(lab.echo(2)).await, Ok(2));
        let (took, expected) = (start.elapsed().as_millis(), 3_000 / u128::from(rate));
        assert!((expected..=expected + 2).contains(&took), "{took} ms");
        assert_eq!(slowed(), 1);
        drop((lab, ends));
        harness.finish().await;
    }
}

// R11.8
#[tokio::test]
async fn row_45_a_cancel_of_nothing_is_ignored() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    fair.say(2_000, |out| {
        for id in 1..=2_000 {
            frame::write_cancel(out, id);
        }
    })
    .await;
    assert_eq!(fair.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
    drop(fair);
    row.end().await;
}

// R11.6
#[tokio::test]
async fn row_46_a_result_for_a_call_never_made_is_a_violation() {
    let row = Row::new().await;
    let (mut ret, mut err) = (Vec::new(), Vec::new());
    frame::write_ret(&mut ret, 1, &[0xc0], &[], &[]);
    frame::write_err(&mut err, 1, Code::Gone, "", &[]);
    row.refuses("R11.6", 1, &ret).await;
    row.refuses("R11.6", 1, &err).await;
    row.end().await;
}

// R11.6
#[tokio::test]
async fn row_46_a_second_result_is_a_violation() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    // The server calls back what it is lent.
    let lent = [Descriptor::new(Tag::Lent, 1)];
    let args = [0x92, 0xd4, 1, 0, 5];
    attacker.start(0, "borrow", &args, &lent, &NONE).await;
    let frame::Frame::Call(theirs) = attacker.frame().await.frame else {
        panic!("no call");
    };
    attacker
        .say(2, |out| {
            frame::write_ret(out, theirs.id, &[5], &[], &[]);
            frame::write_ret(out, theirs.id, &[5], &[], &[]);
        })
        .await;
    attacker.hears_violation("R11.6").await;
    row.end().await;
}

// R13.9 I1.1
#[tokio::test]
async fn row_47_credit_that_overflows_is_a_violation() {
    let row = Row::new().await;
    for (n, rule) in [
        (1, "R13.9"),
        ((1 << 53) - 1, "R13.9"),
        (1 << 53, "I1.1"),
        (u64::MAX, "I1.1"),
    ] {
        let mut frames = Vec::new();
        frame::write_credit(&mut frames, Target::ROOT, n, 0);
        row.refuses(rule, 1, &frames).await;
    }
    row.end().await;
}

// R21.5
#[tokio::test]
async fn row_50_a_deadline_of_any_length_is_cut_to_an_hour() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    for deadline in [3_600_001, 1 << 53, u64::MAX] {
        let ext = CallExtOut {
            deadline: Some(deadline),
            ..NONE
        };
        let id = fair.start(0, "left", &[0x90], &[], &ext).await;
        let left = fair.answer(id).await.expect("it ran");
        assert_eq!(left.len(), 5, "a number of 32 bits: {left:02x?}");
        let left = left[1..]
            .iter()
            .fold(0, |n, byte| n << 8 | u32::from(*byte));
        assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    }
    drop(fair);
    row.end().await;
}

// C1.3 R11.5
#[tokio::test]
async fn row_51_a_method_that_panics_fails_alone_and_says_nothing_of_itself() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    let (code, text) = fair.call(0, "panic", &[0x90]).await.expect_err("a panic");
    assert_eq!(code, 11);
    assert!(!text.contains("purpose"), "{text}");
    assert_eq!(fair.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
    drop(fair);
    row.end().await;
}

// R13.7
#[tokio::test(start_paused = true)]
async fn row_52_a_method_that_never_ends_is_ended_where_the_server_set_a_deadline() {
    let limits = SessionLimits::default().with_handler_deadline(Duration::from_secs(30));
    let row = Row::with(|setup| setup.with(|rooted| rooted.limits(limits))).await;
    let before = row.tracker.live() + 1;
    let mut fair = row.attacker().await;
    let id = fair.start(0, "hang", &[0x90], &[], &NONE).await;
    let (code, _) = fair.answer(id).await.expect_err("it was ended");
    assert_eq!(code, 5);
    assert_eq!(row.tracker.live(), before);
    // One that the caller set shorter is shorter.
    let ext = CallExtOut {
        deadline: Some(1_000),
        ..NONE
    };
    let id = fair.start(0, "left", &[0x90], &[], &ext).await;
    let left = fair.answer(id).await.expect("it ran");
    assert_eq!(left.len(), 3, "at most 1,000: {left:02x?}");
    // A longer one is cut.
    let id = fair.start(0, "left", &[0x90], &[], &NONE).await;
    assert_eq!(fair.answer(id).await, Ok(vec![0xcd, 0x75, 0x30]));
    let overdue = row
        .harness
        .server_ends()
        .iter()
        .map(|end| end.stats().overdue)
        .sum::<u64>();
    assert_eq!(overdue, 1);
    drop(fair);
    row.end().await;
}

// R13.3
#[tokio::test]
async fn row_53_a_ring_runs_out_at_depth_15() {
    let row = Row::new().await;
    let mut fair = row.attacker().await;
    for depth in [14, 15] {
        let ext = CallExtOut { depth, ..NONE };
        let lent = [Descriptor::new(Tag::Lent, 1)];
        let args = [0x92, 0xd4, 1, 0, 5];
        let id = fair.start(0, "borrow", &args, &lent, &ext).await;
        if depth == 14 {
            let frame::Frame::Call(theirs) = fair.frame().await.frame else {
                panic!("no call");
            };
            assert_eq!(theirs.ext.depth, 15);
            fair.say(1, |out| frame::write_ret(out, theirs.id, &[5], &[], &[]))
                .await;
            assert_eq!(fair.answer(id).await, Ok(vec![5]));
        } else {
            // R13.2: the 16th fails at the server, without a word to us.
            assert_eq!(fair.answer(id).await.expect_err("too deep").0, 1);
        }
    }
    let mut frames = Vec::new();
    call(&mut frames, 1, "echo", &CallExtOut { depth: 16, ..NONE });
    row.refuses("R13.3", 1, &frames).await;
    drop(fair);
    row.end().await;
}

// E2.7
#[tokio::test]
async fn row_54_the_text_of_an_error_is_at_most_256_bytes() {
    let row = Row::new().await;
    let long = [&[0x94, 8, 1, 2, 0xda, 1, 1][..], &[b'x'; 257]].concat();
    row.refuses("E2.7", 1, &long).await;
    let mut fair = row.attacker().await;
    // An error that repeats what it was given.
    let lent = [Descriptor::new(Tag::Lent, 1)];
    let args = [0x92, 0xd4, 1, 0, 5];
    let id = fair.start(0, "borrow", &args, &lent, &NONE).await;
    let frame::Frame::Call(theirs) = fair.frame().await.frame else {
        panic!("no call");
    };
    let text = "x".repeat(256);
    fair.say(1, |out| {
        frame::write_err(out, theirs.id, Code::Denied, &text, &[])
    })
    .await;
    let (_, text) = fair.answer(id).await.expect_err("it failed");
    assert!(text.len() <= 256 && text.contains("xxx"), "{text}");
    drop(fair);
    row.end().await;
}
