//! Batches: sealing, sending again, and what a reader keeps between messages.

use bytes::Bytes;
use helve_handles::Target;
use helve_protocol::batch::{BatchWriter, Parsed, ReadLimits, ack_only, parse, resend};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame};

fn read(message: &[u8]) -> Parsed {
    let mut parsed = Parsed::new();
    parse(message, &mut parsed, &ReadLimits::default()).expect("legal");
    parsed
}

fn call(buf: &mut Vec<u8>, id: u64) {
    let ext = CallExtOut::default();
    frame::write_call(
        buf,
        CallKind::Call,
        id,
        Target::ROOT,
        7,
        &[0x91, 1],
        &[],
        &ext,
    );
}

// E1.1 E1.3
#[test]
fn a_header_of_any_width_stands_right_before_the_frames() {
    let numbers = [
        1,
        0x7f,
        0x80,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        (1 << 53) - 2,
    ];
    for first_seq in numbers {
        for ack in numbers.into_iter().chain([0]) {
            for ask in [false, true] {
                let mut writer = BatchWriter::new();
                writer.frame(|buf| frame::write_cancel(buf, 5));
                let sealed = writer.seal(first_seq, ack, ask);
                let parsed = read(&sealed.message);
                assert_eq!(
                    (parsed.first_seq, parsed.ack, parsed.asks_ack),
                    (first_seq, ack, ask)
                );
                assert_eq!(parsed.frames, [Frame::Cancel { id: 5 }]);
                assert_eq!(&sealed.frames[..], [0x92, 6, 5]);
                assert_eq!(sealed.count, 1);

                let alone = ack_only(first_seq, ack, ask);
                let parsed = read(&alone);
                assert_eq!(
                    (parsed.first_seq, parsed.ack, parsed.asks_ack),
                    (first_seq, ack, ask)
                );
                assert!(parsed.frames.is_empty());
                assert_eq!(BatchWriter::new().seal(first_seq, ack, ask).message, alone);
            }
        }
    }
}

// E1.2
#[test]
fn a_nil_anywhere_asks_for_an_ack() {
    assert!(!read(&[1, 0]).asks_ack);
    assert!(read(&[1, 0, 0xc0]).asks_ack);
    assert!(read(&[1, 0, 0xc0, 0x92, 6, 1]).asks_ack);
    assert!(read(&[1, 0, 0x92, 6, 1, 0xc0, 0xc0, 0x92, 6, 2]).asks_ack);
}

// S5.1
#[test]
fn frames_are_kept_without_header_and_nil_and_sent_again_byte_for_byte() {
    let mut writer = BatchWriter::new();
    let mut kept = Vec::new();
    for batch in 0..3u64 {
        for id in 1..=3 {
            writer.frame(|buf| call(buf, 3 * batch + id));
        }
        let sealed = writer.seal(3 * batch + 1, batch, true);
        assert_eq!(sealed.count, 3);
        assert!(writer.is_empty());
        kept.push(sealed.frames);
    }
    let again = read(&resend(1, 77, &kept));
    assert_eq!((again.first_seq, again.ack, again.asks_ack), (1, 77, false));
    let ids: Vec<u64> = again
        .frames
        .iter()
        .map(|f| if let Frame::Call(c) = f { c.id } else { 0 })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(resend(1, 77, &kept)[2..], kept.concat());
}

// E1.1
#[test]
fn frames_written_elsewhere_are_taken_in_whole() {
    let mut reply = Vec::new();
    frame::write_ret(&mut reply, 1, &[5], &[], &[]);
    frame::write_ret(&mut reply, 2, &[6], &[], &[]);
    let mut writer = BatchWriter::new();
    assert!(writer.is_empty());
    writer.push_raw(&reply, 2);
    writer.frame(|buf| frame::write_cancel(buf, 3));
    assert_eq!((writer.frames(), writer.len()), (3, reply.len() + 3));
    let sealed = writer.seal(1, 0, false);
    assert_eq!(read(&sealed.message).frames.len(), 3);
    assert_eq!(sealed.frames.len(), reply.len() + 3);
}

#[test]
fn sealing_moves_no_frame_and_few_bytes_pin_no_large_buffer() {
    let mut writer = BatchWriter::new();
    writer.push_raw(&[0xc0; 60_000], 1);
    let large = writer.seal(1, 0, false);
    // Shared, not copied: the frames begin inside the message.
    let (whole, part): (&Bytes, &Bytes) = (&large.message, &large.frames);
    assert_eq!(
        part.as_ptr() as usize - whole.as_ptr() as usize,
        whole.len() - part.len()
    );
    // A small batch after it is made in a large buffer, and copied out of it.
    writer.frame(|buf| frame::write_cancel(buf, 1));
    let small = writer.seal(2, 0, false);
    assert_eq!(read(&small.message).frames, [Frame::Cancel { id: 1 }]);
    writer.frame(|buf| frame::write_cancel(buf, 2));
    assert_eq!(
        read(&writer.seal(3, 0, false).message).frames,
        [Frame::Cancel { id: 2 }]
    );
    assert_eq!(read(&small.message).frames, [Frame::Cancel { id: 1 }]);
}

// R11.4 E4.1
#[test]
fn the_last_frame_is_checked_before_the_first_is_told() {
    let mut writer = BatchWriter::new();
    for id in 1..=20 {
        writer.frame(|buf| call(buf, id));
    }
    writer.push_raw(&[0x92, 6, 0], 1);
    let message = writer.seal(1, 0, false).message;
    let mut parsed = Parsed::new();
    let violation =
        parse(&message, &mut parsed, &ReadLimits::default()).expect_err("the 21st is bad");
    assert_eq!(violation.rule, "I1.3");
    // And the next message starts from nothing.
    assert_eq!(parse(&[9, 8], &mut parsed, &ReadLimits::default()), Ok(()));
    assert_eq!(
        (parsed.first_seq, parsed.ack, parsed.frames.len()),
        (9, 8, 0)
    );
    assert!(parsed.caps.is_empty() && parsed.releases.is_empty());
}

// E1.4
#[test]
fn the_limit_of_a_message_is_the_readers() {
    let mut message = vec![1, 0];
    message.resize(1_000, 0xc0);
    let limits = |batch| ReadLimits {
        batch,
        ..ReadLimits::default()
    };
    assert_eq!(parse(&message, &mut Parsed::new(), &limits(1_000)), Ok(()));
    let violation = parse(&message, &mut Parsed::new(), &limits(999)).expect_err("one byte more");
    assert_eq!(violation.rule, "E1.4");
}

// E4.4 R11.4
#[test]
fn a_message_cut_anywhere_is_a_violation_or_fewer_frames() {
    let mut writer = BatchWriter::new();
    for id in 1..=4 {
        writer.frame(|buf| call(buf, id));
    }
    let sealed = writer.seal(300, 70_000, false);
    let whole = read(&sealed.message);
    let mut parsed = Parsed::new();
    for cut in 0..sealed.message.len() {
        let border = whole.spans.iter().position(|s| s.start as usize == cut);
        let result = parse(&sealed.message[..cut], &mut parsed, &ReadLimits::default());
        match border {
            Some(frames) => {
                assert_eq!(result, Ok(()));
                assert_eq!(parsed.frames[..], whole.frames[..frames]);
            }
            None => assert!(result.is_err(), "cut at {cut}"),
        }
    }
}
