//! Messages made to hurt whoever believes them: each is a violation, and what is allocated is measured, not guessed.

use allocation_counter::measure;
use helve_protocol::Violation;
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::hello::Hello;
use helve_protocol::scan::{Bad, Budget, scan_array, scan_whole};

/// CALL 1 of method 0 on the root, up to its arguments.
const CALL: [u8; 6] = [1, 0, 0x95, 1, 1, 0];

fn call(args: &[u8]) -> Vec<u8> {
    let mut message = CALL.to_vec();
    message.push(0);
    message.extend_from_slice(args);
    message
}

/// Limits that let the whole bomb in, so that it meets the scan and not merely the length of a message.
fn wide() -> ReadLimits {
    ReadLimits {
        batch: 1 << 30,
        ..ReadLimits::default()
    }
}

/// Parses and asserts that memory came in step with the bytes that were there.
fn violation(message: &[u8]) -> Violation {
    let mut result = None;
    let memory = measure(|| {
        let mut parsed = Parsed::new();
        result = parse(message, &mut parsed, &wide()).err();
    });
    let most = 64 * 1024 + message.len() as u64;
    assert!(
        memory.bytes_total < most,
        "{} bytes allocated for {}",
        memory.bytes_total,
        message.len()
    );
    result.expect("a violation")
}

// E4.2 E4.13
#[test]
fn twenty_thousand_nested_enum_newtypes_are_refused_at_the_65th() {
    let mut bomb = vec![0x91];
    bomb.extend([0x81, 0xa1, b'A'].repeat(20_000));
    bomb.extend([0xa1, b'B']);
    assert_eq!(violation(&call(&bomb)).rule, "E4.2");
}

// E4.2 E4.13
#[test]
fn a_hundred_thousand_nested_arrays_are_refused_at_the_65th() {
    assert_eq!(violation(&call(&[0x91; 100_000])).rule, "E4.2");
    // The same as a node, where 128 are legal.
    let mut delta = vec![1, 0, 0x95, 13, 1, 1, 2];
    delta.extend([0x91; 100_000]);
    assert_eq!(violation(&delta).rule, "E4.2");
}

// E4.4
#[test]
fn claims_of_four_gigabytes_are_held_against_the_bytes_that_are_left() {
    for header in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        let claim = [header, 0xff, 0xff, 0xff, 0xff, 1];
        let mut nested = vec![0x91];
        nested.extend(claim);
        let rule = violation(&call(&nested)).rule;
        assert_eq!(rule, if header == 0xc9 { "E4.7" } else { "E4.4" });
    }
    // In the envelope: the frame itself, its caps, its pairs, its text.
    assert_eq!(
        violation(&[1, 0, 0xdd, 0xff, 0xff, 0xff, 0xff, 6]).rule,
        "E4.4"
    );
    assert_eq!(
        violation(&call(&[0x90, 0xdd, 0xff, 0xff, 0xff, 0xff])).rule,
        "E4.4"
    );
    assert_eq!(
        violation(&[1, 0, 0x92, 7, 0xdd, 0xff, 0xff, 0xff, 0xff]).rule,
        "E4.4"
    );
    assert_eq!(
        violation(&[1, 0, 0x94, 5, 1, 1, 0xdb, 0xff, 0xff, 0xff, 0xff]).rule,
        "E4.4"
    );
    assert_eq!(
        violation(&[1, 0, 0x93, 15, 1, 0xc6, 0xff, 0xff, 0xff, 0xff]).rule,
        "E4.4"
    );
}

// E4.10
#[test]
fn bytes_behind_the_end_are_refused() {
    let mut budget = Budget::default();
    assert_eq!(scan_whole(&[1, 2, 3], 0, &mut budget), Err(Bad::Trailing));
    assert_eq!(
        scan_array(&[0x91, 1, 0xc0], 0, &mut budget),
        Err(Bad::Trailing)
    );
    // Behind the frames of a message, they are no frame.
    let mut message = call(&[0x90]);
    message.push(7);
    assert_eq!(violation(&message).rule, "E1.2");
}

// E4.5
#[test]
fn text_that_is_not_utf8_is_refused_wherever_it_stands() {
    for text in [
        &[0xff][..],
        &[0xc0, 0x80],
        &[0xed, 0xa0, 0x80],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xe2, 0x82],
    ] {
        let mut args = vec![0x91, 0xa0 | text.len() as u8];
        args.extend(text);
        assert_eq!(violation(&call(&args)).rule, "E4.5");
        args[0] = 0x81;
        args.push(1);
        args.insert(0, 0x91);
        assert_eq!(violation(&call(&args)).rule, "E4.5");
    }
}

// E4.3 E2.5
#[test]
fn a_mebibyte_of_one_byte_elements_is_refused_before_an_element_is_noted() {
    let mut bomb = vec![0xdd, 0, 0x10, 0, 0];
    bomb.resize(5 + (1 << 20), 1);
    // In place it is above what a frame may carry.
    assert_eq!(violation(&call(&bomb)).rule, "E2.5");
    // As an assembled transfer it is one element above the budget.
    let memory = measure(|| {
        let result = scan_array(&bomb, 0, &mut Budget::default());
        assert_eq!(result, Err(Bad::Budget));
    });
    assert!(memory.bytes_total < 1 << 20, "{}", memory.bytes_total);
    // Nested in a single argument nothing is noted, and the budget holds as well.
    bomb.insert(0, 0x91);
    assert_eq!(
        scan_whole(&bomb, 0, &mut Budget::default()),
        Err(Bad::Budget)
    );
}

// E4.3
#[test]
fn the_budget_is_that_of_the_whole_message() {
    let result = |n: u32| {
        // Three calls of 20,000 one-byte elements each.
        let mut message = vec![1, 0];
        for id in 1..=3 {
            message.extend([0x95, 1, id, 0, 0, 0x91, 0xdc]);
            message.extend(20_000u16.to_be_bytes());
            message.extend([0xc0; 20_000]);
        }
        let limits = ReadLimits {
            elements: n,
            ..ReadLimits::default()
        };
        parse(&message, &mut Parsed::new(), &limits).map_err(|v| v.rule)
    };
    // Each call: its array of arguments, one argument, and the elements in it.
    assert_eq!(result(3 * 20_002), Ok(()));
    assert_eq!(result(3 * 20_002 - 1), Err("E4.3"));
}

// E1.5
#[test]
fn a_message_of_the_smallest_frames_is_refused_at_the_8193rd() {
    let mut message = vec![1, 0];
    message.extend([0x92, 6, 1].repeat(80_000));
    let mut parsed = Parsed::new();
    let memory = measure(|| {
        let result = parse(&message, &mut parsed, &ReadLimits::default());
        assert_eq!(result.map_err(|v| v.rule), Err("E1.5"));
    });
    assert!(memory.bytes_total < 4 << 20, "{}", memory.bytes_total);
    // What the next message finds is what ordinary ones need.
    parsed.clear();
    assert!(parsed.frames.capacity() <= 4_096 && parsed.spans.capacity() <= 4_096);
}

// E4.2 E4.4 S1.3
#[test]
fn a_hello_that_claims_or_nests_allocates_nothing() {
    let deep = [&[0x92, 17][..], &[0x91; 16_000]].concat();
    let wide = [
        &[0x92, 17, 0x81, 0xa8][..],
        b"features",
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    let long = vec![0x92; 17 << 10];
    for (message, rule) in [(deep, "E4.2"), (wide, "E4.4"), (long, "S1.3")] {
        let memory = measure(|| {
            assert_eq!(Hello::decode(&message).map_err(|v| v.rule), Err(rule));
        });
        assert_eq!(memory.bytes_total, 0);
    }
}

// E4.1
#[test]
fn an_ordinary_message_allocates_nothing_the_second_time() {
    let mut message = vec![1, 0];
    for id in 1..=64 {
        message.extend([0x95, 1, id, 0, 0, 0x92, 2, 3]);
    }
    let mut parsed = Parsed::new();
    assert_eq!(parse(&message, &mut parsed, &ReadLimits::default()), Ok(()));
    let memory = measure(|| {
        assert_eq!(parse(&message, &mut parsed, &ReadLimits::default()), Ok(()));
    });
    assert_eq!(memory.count_total, 0);
}
