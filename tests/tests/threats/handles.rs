//! Rows 55 to 64: names of objects, and whose they are.

use helve::{Limits, Remote};
use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame};
use helve_tests::harness::{Tracker, until};
use helve_tests::lab::{LabHandle, MemLab};

use crate::peer::Row;

const NONE: CallExtOut<'static> = CallExtOut {
    deadline: None,
    depth: 0,
    chain: None,
    trace: "",
    others: &[],
    others_count: 0,
};
const GONE: u64 = 2;

// R11.1 R11.3
#[tokio::test]
async fn row_55_an_unknown_name_is_gone_64_times_and_then_a_violation() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    for _ in 0..64 {
        let (code, _) = attacker
            .call(77, "echo", &[0x91, 5])
            .await
            .expect_err("gone");
        assert_eq!(code, GONE);
    }
    assert_eq!(attacker.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
    attacker.start(77, "echo", &[0x91, 5], &[], &NONE).await;
    attacker.hears_violation("R11.3").await;
    row.end().await;
}

// R11.1; rows 56, 57: unknown, released and somebody else's are not told apart.
#[tokio::test]
async fn row_56_a_released_name_gets_the_answer_of_an_unknown_one() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    let k = attacker.named().await;
    let released = [(Target::host(k), 1)];
    attacker
        .say(1, |out| frame::write_release(out, &released))
        .await;
    let released = attacker.call(k as i64, "echo", &[0x91, 5]).await;
    let unknown = attacker.call(999, "echo", &[0x91, 5]).await;
    assert_eq!(released, unknown);
    assert_eq!(released.expect_err("gone").0, GONE);
    drop(attacker);
    row.end().await;
}

// R11.1
#[tokio::test]
async fn row_57_a_name_of_another_session_gets_the_answer_of_an_unknown_one() {
    let row = Row::new().await;
    let (mut owner, mut attacker) = (row.attacker().await, row.attacker().await);
    // The owner has names that the attacker has not.
    let mut k = 0;
    for _ in 0..3 {
        k = owner.named().await;
    }
    let theirs = attacker.call(k as i64, "echo", &[0x91, 5]).await;
    assert_eq!(theirs, attacker.call(999, "echo", &[0x91, 5]).await);
    assert_eq!(theirs.expect_err("gone").0, GONE);
    assert_eq!(owner.call(k as i64, "echo", &[0x91, 5]).await, Ok(vec![5]));
    drop((owner, attacker));
    row.end().await;
}

// I2.2
#[tokio::test]
async fn row_58_a_name_is_never_used_again() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    let mut last = 0;
    for _ in 0..200 {
        let k = attacker.named().await;
        assert!(k > last, "{k} after {last}");
        last = k;
        let released = [(Target::host(k), 1)];
        attacker
            .say(1, |out| frame::write_release(out, &released))
            .await;
    }
    drop(attacker);
    row.end().await;
}

// R1.4 R1.5 R2.2 I2.1
#[tokio::test]
async fn row_59_releasing_more_than_was_given_is_a_violation() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    let k = attacker.named().await;
    attacker
        .say(1, |out| frame::write_release(out, &[(Target::host(k), 2)]))
        .await;
    attacker.hears_violation("R1.4").await;
    row.refuses("R1.5", 1, &[0x92, 7, 0x92, 1, 0]).await;
    row.refuses("R2.2", 1, &[0x92, 7, 0x92, 0xff, 2]).await;
    row.refuses("I2.1", 1, &[0x92, 7, 0x92, 0, 1]).await;
    row.end().await;
}

// R14.1 I3.7
#[tokio::test]
async fn row_60_more_objects_than_the_table_holds_are_refused_with_their_call() {
    let row = Row::limited(Limits::default().with_table(8)).await;
    let mut attacker = row.attacker().await;
    let give = |ks: std::ops::RangeInclusive<u64>| -> (Vec<u8>, Vec<Descriptor>) {
        let caps: Vec<_> = ks.map(|k| Descriptor::new(Tag::Mine, k)).collect();
        let mut args = vec![0x91];
        frame::put_array(&mut args, caps.len());
        (0..caps.len()).for_each(|at| frame::put_cap(&mut args, at as u16));
        (args, caps)
    };
    let (args, caps) = give(1..=9);
    let id = attacker.start(0, "ring", &args, &caps, &NONE).await;
    let (code, text) = attacker.answer(id).await.expect_err("too many");
    assert_eq!(code, 7, "{text}");
    // All nine come back.
    let mut back = 0;
    while back < 9 {
        let came = attacker.frame().await;
        if let Frame::Release { .. } = came.frame {
            let mut parsed = helve_protocol::batch::Parsed::new();
            let limits = helve_protocol::batch::ReadLimits::default();
            helve_protocol::batch::parse(&came.message, &mut parsed, &limits).expect("correct");
            back += parsed.releases.iter().map(|(_, n)| n).sum::<u64>();
        }
    }
    assert_eq!(back, 9);
    assert_eq!(attacker.call(0, "echo", &[0x91, 5]).await, Ok(vec![5]));
    drop(attacker);
    row.end().await;
}

// R17.2
#[tokio::test]
async fn row_61_what_a_dead_peer_held_is_dropped() {
    let row = Row::new().await;
    let before = row.tracker.live();
    let mut attacker = row.attacker().await;
    for _ in 0..100 {
        attacker.named().await;
    }
    assert_eq!(row.tracker.live(), before + 101);
    // Without a Close.
    drop(attacker);
    until("everything dropped", || row.tracker.live() == before).await;
    row.end().await;
}

// E5.2
#[tokio::test]
async fn row_62_a_method_of_another_interface_is_unimplemented() {
    let row = Row::new().await;
    let mut attacker = row.attacker().await;
    attacker.last += 1;
    let (id, method) = (attacker.last, method_id("test.Other", "other"));
    attacker
        .say(1, |out| {
            let kind = CallKind::Call;
            frame::write_call(out, kind, id, Target::ROOT, method, &[0x90], &[], &NONE);
        })
        .await;
    assert_eq!(attacker.answer(id).await.expect_err("no such").0, 9);
    drop(attacker);
    row.end().await;
}

// I3.6 R8.1
#[tokio::test]
async fn row_63_a_handle_comes_home_only_from_the_session_that_holds_it() {
    let row = Row::new().await;
    let (mut owner, mut attacker) = (row.attacker().await, row.attacker().await);
    let mut k = 0;
    for _ in 0..3 {
        k = owner.named().await;
    }
    let yours = [Descriptor::new(Tag::Yours, k)];
    let args = [0x92, 0xd4, 1, 0, 5];
    let id = owner.start(0, "borrow", &args, &yours, &NONE).await;
    assert_eq!(owner.answer(id).await, Ok(vec![5]));
    // For anybody else it is broken, and `borrow` says so.
    let id = attacker.start(0, "borrow", &args, &yours, &NONE).await;
    let (code, text) = attacker.answer(id).await.expect_err("broken");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("Gone") || text.contains("Broken"), "{text}");
    drop((owner, attacker));
    row.end().await;
}

// R22.1 R22.3
#[tokio::test]
async fn row_64_a_revoked_object_is_called_no_more() {
    let tracker = Tracker::new();
    let (object, revoker) = LabHandle::new(MemLab::new(&tracker))
        .revocable()
        .expect("a local object");
    let root = LabHandle::new(MemLab::new(&tracker));
    root.keep(object).await.expect("kept");
    let row = Row::shared(root, tracker).await;
    let mut attacker = row.attacker().await;
    let id = attacker.start(0, "kept", &[0x90], &[], &NONE).await;
    let k = loop {
        let came = attacker.frame().await;
        if matches!(came.frame, Frame::Ret { id: ret, .. } if ret == id) {
            break came.caps.first().expect("a handle").id() as i64;
        }
    };
    assert_eq!(attacker.call(k, "echo", &[0x91, 5]).await, Ok(vec![5]));
    revoker.revoke();
    for _ in 0..100 {
        let (code, text) = attacker
            .call(k, "echo", &[0x91, 5])
            .await
            .expect_err("revoked");
        assert_eq!(code, 3, "{text}");
    }
    attacker
        .call(0, "forget", &[0x90])
        .await
        .expect("forgotten");
    drop(attacker);
    row.end().await;
}
