//! The writers: what they write is read back, in the shortest form there is.

use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::batch::{BatchWriter, Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame, Payload};
use helve_protocol::limits::RELEASE_PAIRS_MAX;
use helve_protocol::{Code, Violation};

/// Writes one frame, reads it, and hands both over.
fn round(write: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Parsed) {
    let mut writer = BatchWriter::new();
    writer.frame(write);
    let sealed = writer.seal(1, 0, false);
    let mut parsed = Parsed::new();
    parse(&sealed.message, &mut parsed, &ReadLimits::default()).expect("what we write is legal");
    assert_eq!(parsed.frames.len(), 1);
    (sealed.message.to_vec(), parsed)
}

// E2.3
#[test]
fn absent_elements_are_left_out_at_the_end_and_nil_before_a_present_one() {
    let none = CallExtOut::default();
    let deep = CallExtOut { depth: 1, ..none };
    let caps = [Descriptor::new(Tag::Mine, 1)];
    let bytes = |caps: &[Descriptor], ext: &CallExtOut<'_>| {
        let mut buf = Vec::new();
        frame::write_call(
            &mut buf,
            CallKind::Tell,
            9,
            Target::ROOT,
            7,
            &[0x90],
            caps,
            ext,
        );
        buf
    };
    assert_eq!(bytes(&[], &none), [0x94, 3, 0, 7, 0x90]);
    assert_eq!(bytes(&caps, &none), [0x95, 3, 0, 7, 0x90, 0x91, 4]);
    assert_eq!(
        bytes(&[], &deep),
        [0x96, 3, 0, 7, 0x90, 0xc0, 0x81, 0xa1, b'h', 1]
    );
    assert_eq!(
        bytes(&caps, &deep),
        [0x96, 3, 0, 7, 0x90, 0x91, 4, 0x81, 0xa1, b'h', 1]
    );
}

// E2.4
#[test]
fn ints_take_their_shortest_form_at_every_border() {
    for bit in 0..53 {
        for near in [-1i64, 0, 1] {
            let value = (1i64 << bit) + near;
            for raw in [value, -value] {
                let Some(target) = Target::new(raw) else {
                    continue;
                };
                if raw == 0 {
                    continue;
                }
                let (_, parsed) = round(|buf| frame::write_release(buf, &[(target, 1)]));
                assert_eq!(parsed.releases, [(target, 1)]);
            }
            if value > 0 {
                let (_, parsed) = round(|buf| frame::write_cancel(buf, value as u64));
                assert_eq!(parsed.frames, [Frame::Cancel { id: value as u64 }]);
            }
        }
    }
}

// E2.4: the writer's ints are those of another MessagePack library.
#[test]
fn ints_are_those_of_rmp() {
    for bit in 0..64 {
        for near in [-1i64, 0, 1] {
            let unsigned = (1u64 << bit).wrapping_add_signed(near);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            frame::put_uint(&mut ours, unsigned);
            rmp::encode::write_uint(&mut theirs, unsigned).expect("a Vec takes all");
            assert_eq!(ours, theirs);
            for signed in [unsigned as i64, (unsigned as i64).wrapping_neg()] {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                frame::put_int(&mut ours, signed);
                rmp::encode::write_sint(&mut theirs, signed).expect("a Vec takes all");
                assert_eq!(ours, theirs, "{signed}");
            }
        }
    }
}

// E2.8
#[test]
fn headers_are_those_of_rmp() {
    for len in [0usize, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(len);
        let size = len as u32;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        frame::put_str(&mut ours, &text);
        frame::put_bin(&mut ours, text.as_bytes());
        frame::put_array(&mut ours, len);
        frame::put_map(&mut ours, len);
        rmp::encode::write_str(&mut theirs, &text).expect("a Vec takes all");
        rmp::encode::write_bin(&mut theirs, text.as_bytes()).expect("a Vec takes all");
        rmp::encode::write_array_len(&mut theirs, size).expect("a Vec takes all");
        rmp::encode::write_map_len(&mut theirs, size).expect("a Vec takes all");
        assert!(ours == theirs, "{len}");
    }
}

// E2.7
#[test]
fn a_long_text_is_cut_to_256_bytes_between_two_characters() {
    for (text, kept) in [
        ("x".repeat(300), 256),
        ("é".repeat(200), 256),
        ("€".repeat(100), 255),
        ("y".repeat(256), 256),
    ] {
        let (message, parsed) = round(|buf| frame::write_err(buf, 1, Code::Internal, &text, &[]));
        let Frame::Err {
            message: span,
            code,
            data,
            ..
        } = parsed.frames[0]
        else {
            panic!("an ERR")
        };
        assert_eq!(span.len(), kept);
        assert!(text.as_bytes().starts_with(&message[span.range()]));
        assert_eq!(Code::from_raw(code), Code::Internal);
        assert!(data.is_empty());
    }
    let (_, parsed) =
        round(|buf| frame::write_broken(buf, Target::open(3), Code::Broken, &"x".repeat(999)));
    assert!(matches!(parsed.frames[0], Frame::Broken { message, .. } if message.len() == 256));
}

// E3.3
#[test]
fn a_call_with_everything_reads_back_whole() {
    let caps = [
        Descriptor::new(Tag::Lent, 5),
        Descriptor::new(Tag::YourOpen, 6),
    ];
    let ext = CallExtOut {
        deadline: Some(u64::MAX),
        depth: 15,
        chain: Some((1 << 53) - 1),
        trace: "00-a-b-01",
        ..CallExtOut::default()
    };
    let mut args = vec![0x93];
    args.extend([0xd4, 1, 1, 0xa2, b'h', b'i', 0xd4, 1, 0]);
    let (message, parsed) = round(|buf| {
        frame::write_call(
            buf,
            CallKind::Open,
            1 << 40,
            Target::open(9),
            u32::MAX,
            &args,
            &caps,
            &ext,
        )
    });
    let Frame::Call(call) = &parsed.frames[0] else {
        panic!("a call")
    };
    assert_eq!(
        (call.kind, call.id, call.target, call.method),
        (CallKind::Open, 1 << 40, Target::open(9), u32::MAX)
    );
    assert_eq!(parsed.caps_of(call.caps), caps);
    let Payload::Inline(span) = call.args else {
        panic!("in place")
    };
    assert_eq!(&message[span.range()], args);
    assert_eq!(
        (call.ext.deadline, call.ext.depth, call.ext.chain),
        (Some(u64::MAX), 15, Some((1 << 53) - 1))
    );
    assert_eq!(&message[call.ext.trace.range()], b"00-a-b-01");
    assert_eq!(call.ext.raw.end as usize, message.len());
    assert_eq!(message[call.ext.raw.start as usize], 0x84);
}

// E2.3: arguments may be appended in place, between head and tail.
#[test]
fn a_call_written_in_two_halves_is_the_call_written_whole() {
    let caps = [Descriptor::new(Tag::Mine, 5)];
    let ext = CallExtOut {
        deadline: Some(9),
        ..CallExtOut::default()
    };
    for (caps, ext) in [
        (&caps[..], ext),
        (&[], ext),
        (&caps, CallExtOut::default()),
        (&[], CallExtOut::default()),
    ] {
        let args = [0x91, 7];
        let (mut whole, mut halves) = (Vec::new(), Vec::new());
        frame::write_call(
            &mut whole,
            CallKind::Call,
            3,
            Target::host(2),
            1,
            &args,
            caps,
            &ext,
        );
        frame::write_call_head(
            &mut halves,
            CallKind::Call,
            3,
            Target::host(2),
            1,
            caps,
            &ext,
        );
        halves.extend(args);
        frame::write_call_tail(&mut halves, caps, &ext);
        assert_eq!(whole, halves);
    }
}

// R18.1 E4.9
#[test]
fn a_transfer_stands_in_place_of_a_payload() {
    for length in [65_537u64, 0xffff_ffff, 0x1_0000_0000, (1 << 53) - 1] {
        let mut args = Vec::new();
        frame::put_transfer(&mut args, length);
        let ext = CallExtOut::default();
        let (_, parsed) = round(|buf| {
            frame::write_call(buf, CallKind::Call, 1, Target::ROOT, 1, &args, &[], &ext)
        });
        let Frame::Call(call) = parsed.frames[0] else {
            panic!("a call")
        };
        assert_eq!(call.args, Payload::Transfer(length));
    }
}

// I3.4 R5.2
#[test]
fn the_result_of_an_open_is_a_bare_descriptor() {
    let outcome = Descriptor::new(Tag::Mine, 7);
    let (message, _) = round(|buf| frame::write_ret_open(buf, 2, outcome));
    assert_eq!(message[2..], [0x93, 4, 2, 28]);
}

// R1.5
#[test]
fn as_many_pairs_as_are_legal_fit_one_release() {
    let pairs: Vec<(Target, u64)> = (0..RELEASE_PAIRS_MAX as u64)
        .map(|k| (Target::host((1 << 53) - 1 - k), 1 << 52))
        .collect();
    let (_, parsed) = round(|buf| frame::write_release(buf, &pairs));
    assert_eq!(parsed.releases, pairs);
}

// E6.11
#[test]
fn a_cap_index_takes_a_second_byte_from_256_on() {
    let bytes = |index| {
        let mut buf = Vec::new();
        frame::put_cap(&mut buf, index);
        buf
    };
    assert_eq!(bytes(0), [0xd4, 1, 0]);
    assert_eq!(bytes(255), [0xd4, 1, 255]);
    assert_eq!(bytes(256), [0xd5, 1, 1, 0]);
    assert_eq!(bytes(4_095), [0xd5, 1, 15, 255]);
}

// C1.1 C1.2
#[test]
fn unknown_and_local_codes_read_as_internal() {
    for raw in [0, 17, 19, 23, 63, 64, 65, 66, 67, 68, 1 << 40, u64::MAX] {
        assert_eq!(Code::from_raw(raw), Code::Internal, "{raw}");
    }
    for raw in (1..=16).chain(20..=22) {
        assert_eq!(Code::from_raw(raw).raw(), raw);
    }
}

// C1.3
#[test]
fn codes_say_what_the_table_says() {
    use helve_protocol::error::Ran::{Maybe, No, Yes};
    let table = [
        (Code::App, "APP", Yes, false),
        (Code::Gone, "GONE", No, false),
        (Code::Broken, "BROKEN", No, false),
        (Code::Cancelled, "CANCELLED", Maybe, false),
        (Code::Deadline, "DEADLINE", Maybe, false),
        (Code::Denied, "DENIED", No, false),
        (Code::Exhausted, "EXHAUSTED", No, true),
        (Code::Decode, "DECODE", No, false),
        (Code::Unimplemented, "UNIMPLEMENTED", No, false),
        (Code::Unavailable, "UNAVAILABLE", No, true),
        (Code::Internal, "INTERNAL", Maybe, false),
        (Code::Reentrant, "REENTRANT", No, false),
        (Code::Conflict, "CONFLICT", No, false),
        (Code::NeedSnapshot, "NEED_SNAPSHOT", No, false),
        (Code::Incompatible, "INCOMPATIBLE", No, false),
        (Code::Aliased, "ALIASED", No, false),
        (Code::Unauthenticated, "UNAUTHENTICATED", No, false),
        (Code::Version, "VERSION", No, false),
        (Code::Busy, "BUSY", No, true),
        (Code::NotSent, "NotSent", No, true),
        (Code::MaybeRan, "MaybeRan", Maybe, false),
        (Code::SessionLost, "SessionLost", Maybe, false),
        (Code::Expired, "Expired", No, false),
    ];
    for (code, name, ran, retry) in table {
        assert_eq!(
            (code.name(), code.ran(), code.is_retryable()),
            (name, ran, retry)
        );
        assert_eq!(code.is_local(), code.raw() >= 64);
        assert_eq!(code.to_string(), name);
    }
}

// R17.1
#[test]
fn the_reason_of_a_violation_begins_with_its_rule_and_fits_a_close_frame() {
    assert_eq!(
        Violation::new("E2.1", "unknown kind of frame").reason(),
        "E2.1: unknown kind of frame"
    );
    let long = "ä".repeat(100).leak();
    let reason = Violation::new("R1.1", long).reason();
    assert_eq!(reason.len(), 122);
    assert!(reason.starts_with("R1.1: ä"));
}
