//! Each limit that can be set, at its edge: so many are taken, and one more is not.

use std::time::Duration;

use helve::prelude::*;
use helve::{Limits, SessionLimits};
use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{self, CallExtOut, CallKind};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};

use crate::peer::{Attacker, Row};

const NONE: CallExtOut<'static> = CallExtOut {
    deadline: None,
    depth: 0,
    chain: None,
    trace: "",
    others: &[],
    others_count: 0,
};

/// So many calls of `hang`, in one message.
async fn hang(attacker: &mut Attacker, count: u64, depth: u8) {
    let (first, method) = (attacker.last + 1, method_id("test.Lab", "hang"));
    let ext = CallExtOut { depth, ..NONE };
    attacker.last += count;
    attacker
        .say(count, |out| {
            for id in first..first + count {
                let kind = CallKind::Call;
                frame::write_call(out, kind, id, Target::ROOT, method, &[0x90], &[], &ext);
            }
        })
        .await;
}

// R13.4 R13.13
#[tokio::test]
async fn calls_and_nested_are_how_many_calls_are_open_at_depth_0_and_at_each_deeper_one() {
    let row = Row::limited(Limits::default().with_calls(5).with_nested(3)).await;
    for (depth, most) in [(0, 5), (1, 3), (15, 3)] {
        let before = row.tracker.live() + 1;
        let mut attacker = row.attacker().await;
        hang(&mut attacker, most, depth).await;
        until("all at work", || {
            row.tracker.live() == before + most as usize
        })
        .await;
        // The other depths have grants of their own.
        let other = u8::from(depth == 0);
        hang(&mut attacker, 1, other).await;
        until("one more", || {
            row.tracker.live() == before + most as usize + 1
        })
        .await;
        hang(&mut attacker, 1, depth).await;
        attacker.hears_violation("R13.13").await;
        until("all stopped", || row.tracker.live() < before).await;
    }
    row.end().await;
}

// R13.5 R13.13
#[tokio::test]
async fn bytes_is_what_open_calls_may_take_at_depth_0_and_an_eighth_of_it_deeper() {
    let bytes = 131_072;
    let row = Row::limited(Limits::default().with_frame(0).with_bytes(bytes)).await;
    // What each is charged besides its arguments.
    for (depth, grant) in [(0, bytes), (1, bytes / 8)] {
        for (over, rule) in [(0, None), (1, Some("R13.13"))] {
            let mut attacker = row.attacker().await;
            // Two that hang, and fill the grant together.
            let method = method_id("test.Lab", "hang");
            let half = grant as usize / 2 - 64;
            let args = |len: usize| {
                let mut args = vec![0x91, 0xc5];
                args.extend((len as u16 - 4).to_be_bytes());
                args.resize(len, 0);
                args
            };
            let ext = CallExtOut { depth, ..NONE };
            let kind = CallKind::Call;
            attacker
                .say(2, |out| {
                    let (one, two) = (args(half), args(half + over));
                    frame::write_call(out, kind, 1, Target::ROOT, method, &one, &[], &ext);
                    frame::write_call(out, kind, 2, Target::ROOT, method, &two, &[], &ext);
                })
                .await;
            attacker.last = 2;
            match rule {
                Some(rule) => attacker.hears_violation(rule).await,
                None => {
                    let other = CallExtOut { depth: 2, ..NONE };
                    let id = attacker.start(0, "echo", &[0x91, 5], &[], &other).await;
                    assert_eq!(attacker.answer(id).await, Ok(vec![5]));
                }
            }
        }
    }
    row.end().await;
}

// R18.8
#[tokio::test]
async fn frame_is_the_longest_payload() {
    let row = Row::limited(Limits::default().with_frame(70_000)).await;
    for (len, taken) in [(70_000, true), (70_001, false)] {
        let mut attacker = row.attacker().await;
        let mut args = vec![0x91, 0xc6];
        args.extend((len as u32 - 6).to_be_bytes());
        args.resize(len, 0);
        let mut transfer = Vec::new();
        frame::put_transfer(&mut transfer, len as u64);
        let id = attacker.start(0, "echo", &transfer, &[], &NONE).await;
        if !taken {
            attacker.hears_violation("R18.8").await;
            continue;
        }
        for part in args.chunks(65_536) {
            attacker
                .say(1, |out| frame::write_part(out, 1, Some(part)))
                .await;
        }
        // Bytes are no number.
        assert_eq!(attacker.answer(id).await.expect_err("DECODE").0, 8);
    }
    row.end().await;
}

// E1.4
#[tokio::test]
async fn batch_is_the_longest_message() {
    let row = Row::limited(Limits::default().with_batch(131_072)).await;
    for (len, taken) in [(131_072, true), (131_073, false)] {
        let mut attacker = row.attacker().await;
        // Header, and `nil` to its end.
        attacker.say(0, |out| out.resize(len, 0xc0)).await;
        if taken {
            assert_eq!(attacker.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
        } else {
            attacker.hears_violation("E1.4").await;
        }
    }
    row.end().await;
}

// R14.1
#[tokio::test]
async fn table_is_how_many_objects_a_peer_brings_and_how_many_it_is_given() {
    let row = Row::limited(Limits::default().with_table(4)).await;
    for (count, code) in [(4, 1), (5, 7)] {
        let mut attacker = row.attacker().await;
        let caps: Vec<_> = (1..=count).map(|k| Descriptor::new(Tag::Mine, k)).collect();
        let mut args = vec![0x91];
        frame::put_array(&mut args, caps.len());
        (0..caps.len()).for_each(|at| frame::put_cap(&mut args, at as u16));
        let id = attacker.start(0, "ring", &args, &caps, &NONE).await;
        if code == 1 {
            // It calls the first of them; that is enough to see that it was taken.
            let came = attacker.frame().await;
            assert!(matches!(came.frame, frame::Frame::Call(_)));
        } else {
            assert_eq!(attacker.answer(id).await.expect_err("full").0, code);
        }
    }
    row.end().await;
}

// R18.7
#[tokio::test]
async fn transfers_is_how_many_are_open_at_once() {
    let row = Row::limited(Limits::default().with_transfers(3)).await;
    let mut attacker = row.attacker().await;
    let mut transfer = Vec::new();
    frame::put_transfer(&mut transfer, 70_000);
    for _ in 0..3 {
        attacker.start(0, "echo", &transfer, &[], &NONE).await;
    }
    // A call of its own target's passes none of them, and one of another may.
    attacker.start(0, "echo", &transfer, &[], &NONE).await;
    attacker.hears_violation("R18.7").await;
    row.end().await;
}

// R13.11
#[tokio::test]
async fn running_is_how_many_methods_of_depth_0_run_at_once() {
    let limits = SessionLimits::default().with_running(3);
    let row = Row::with(|setup| setup.with(|rooted| rooted.limits(limits))).await;
    let before = row.tracker.live() + 1;
    let mut attacker = row.attacker().await;
    hang(&mut attacker, 5, 0).await;
    until("three at work", || row.tracker.live() == before + 3).await;
    // A deeper one does not wait, and answers behind all that did not start.
    let ext = CallExtOut { depth: 1, ..NONE };
    let id = attacker.start(0, "echo", &[0x91, 5], &[], &ext).await;
    assert_eq!(attacker.answer(id).await, Ok(vec![5]));
    assert_eq!(row.tracker.live(), before + 3);
    // One ends: the next begins.
    attacker.say(1, |out| frame::write_cancel(out, 1)).await;
    assert_eq!(attacker.answer(1).await.expect_err("cancelled").0, 4);
    until("three again", || row.tracker.live() == before + 3).await;
    drop(attacker);
    row.end().await;
}

// R14.2 R14.3
#[tokio::test]
async fn pending_is_how_many_opens_have_no_answer_and_how_many_calls_wait_on_one() {
    let limits = SessionLimits::default().with_pending(3);
    let row = Row::with(|setup| setup.with(|rooted| rooted.limits(limits))).await;
    let mut attacker = row.attacker().await;
    for n in 1..=4 {
        // A method that never answers.
        let kind = CallKind::Open;
        let id = attacker
            .start_as(kind, 0, "hang", &[0x90], &[], &NONE)
            .await;
        if n == 4 {
            assert_eq!(attacker.answer(id).await.expect_err("one too many").0, 7);
        }
    }
    for n in 1..=4 {
        let id = attacker.start(-1, "echo", &[0x91, 5], &[], &NONE).await;
        if n == 4 {
            assert_eq!(attacker.answer(id).await.expect_err("one too many").0, 7);
        }
    }
    drop(attacker);
    row.end().await;
}

/// A server whose answers take a second, and a client with these limits.
async fn far(limits: SessionLimits) -> (Harness, LabHandle) {
    let tracker = Tracker::new();
    let root = LabHandle::new(MemLab::new(&tracker));
    let setup = Setup::new(&tracker, move |_| root.clone());
    let harness = setup.memory(Duration::from_millis(500));
    let lab = harness.connect_with(|connect| connect.limits(limits)).await;
    (harness, lab.expect("it is taken"))
}

/// Room for one frame of any length, and so many bytes of others before it (S5.1).
const fn replay(bytes: usize) -> usize {
    65_536 + 40_960 + bytes
}

// S5.1
#[tokio::test(start_paused = true)]
async fn replay_is_how_many_bytes_go_out_before_the_first_is_acknowledged() {
    let mut frame = Vec::new();
    let (kind, method) = (CallKind::Tell, method_id("test.Lab", "note"));
    frame::write_call(
        &mut frame,
        kind,
        0,
        Target::ROOT,
        method,
        &[0x91, 0xa1, b'x'],
        &[],
        &NONE,
    );
    for (bytes, most) in [(0, 1), (frame.len() * 4 - 1, 4), (frame.len() * 4, 5)] {
        let limits = SessionLimits::default().with_replay(replay(bytes));
        let (harness, lab) = far(limits).await;
        let mut notes: Vec<_> = (0..10).map(|_| lab.note("x")).collect();
        let mut queued = 0;
        for note in &mut notes {
            queued += usize::from(futures::poll!(std::pin::pin!(note.queued())).is_ready());
        }
        assert_eq!(queued, most, "{bytes} bytes");
        for mut note in notes {
            assert_eq!(limited(note.queued()).await, Ok(()));
        }
        assert_eq!(limited(lab.flush()).await, Ok(()));
        drop(lab);
        harness.finish().await;
    }
}

// R13.10
#[tokio::test(start_paused = true)]
async fn backlog_is_how_many_bytes_of_one_way_calls_wait_on_this_side() {
    // An array of one text of one byte.
    let args = 3;
    let limits = SessionLimits::default()
        .with_replay(replay(0))
        .with_backlog(4 * args);
    let (harness, lab) = far(limits).await;
    // One goes, four wait, and the sixth is one too many.
    let mut notes: Vec<_> = (0..6).map(|_| lab.note("x")).collect();
    let mut last = notes.pop().expect("six");
    let full = limited(last.queued()).await.expect_err("one too many");
    assert!(matches!(full, RpcError::Exhausted(_)), "{full:?}");
    for mut note in notes {
        assert_eq!(limited(note.handled()).await, Ok(()));
    }
    assert_eq!(limited(lab.note("x").handled()).await, Ok(()));
    assert_eq!(limited(lab.notes()).await.map(|notes| notes.len()), Ok(6));
    drop(lab);
    harness.finish().await;
}
