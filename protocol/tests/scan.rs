//! The scan by itself: where values end, and how it compares with a plain recursive reader.

use helve_protocol::scan::{Bad, Budget, scan_array, scan_node, scan_value, scan_whole};

fn end(bytes: &[u8]) -> Result<usize, Bad> {
    scan_value(bytes, 0, &mut Budget::default())
}

// E4.1 E4.4
#[test]
fn every_first_byte_ends_where_its_format_says_and_nowhere_sooner() {
    for marker in 0..=0xffu8 {
        // Behind the marker stand lengths of 1, so that every format has something to carry.
        let (head, body): (usize, usize) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0),
            0x80..=0x8f => (1, 2 * usize::from(marker & 15)),
            0x90..=0x9f => (1, usize::from(marker & 15)),
            0xa0..=0xbf => (1, usize::from(marker & 31)),
            0xc4 | 0xd9 => (2, 1),
            0xc5 | 0xda | 0xdc => (3, 1),
            0xc6 | 0xdb | 0xdd => (5, 1),
            0xde => (3, 2),
            0xdf => (5, 2),
            0xcc | 0xd0 => (1, 1),
            0xcd | 0xd1 => (1, 2),
            0xca | 0xce | 0xd2 => (1, 4),
            0xcb | 0xcf | 0xd3 => (1, 8),
            0xd4 => (2, 1),
            0xd5 => (2, 2),
            0xc1 | 0xc7..=0xc9 | 0xd6..=0xd8 => continue,
        };
        let mut bytes = vec![marker];
        if head > 1 {
            // The length, or the type of an ext.
            bytes.resize(head - 1, 0);
            bytes.push(1);
        }
        bytes.resize(head + body, 0);
        assert_eq!(end(&bytes), Ok(head + body), "{marker:02x}");
        bytes.push(0);
        assert_eq!(
            end(&bytes),
            Ok(head + body),
            "{marker:02x} with more behind it"
        );
        for cut in 0..head + body {
            assert_eq!(
                end(&bytes[..cut]),
                Err(Bad::Short),
                "{marker:02x} cut at {cut}"
            );
        }
    }
}

// E4.6
#[test]
fn the_reserved_byte_is_refused_at_any_depth() {
    assert_eq!(end(&[0xc1]), Err(Bad::Reserved));
    assert_eq!(end(&[0x91, 0xc1]), Err(Bad::Reserved));
    assert_eq!(end(&[0x81, 1, 0x91, 0xc1]), Err(Bad::Reserved));
}

// E4.7 E4.9
#[test]
fn no_ext_passes_but_a_cap_index() {
    assert_eq!(end(&[0xd4, 1, 7]), Ok(3));
    assert_eq!(end(&[0xd5, 1, 1, 0]), Ok(4));
    for kind in [0u8, 3, 127, 128, 255] {
        assert_eq!(end(&[0xd4, kind, 7]), Err(Bad::Ext));
    }
    for (marker, len) in [(0xd6u8, 4usize), (0xd7, 8), (0xd8, 16)] {
        let mut bytes = vec![marker, 1];
        bytes.resize(2 + len, 0);
        assert_eq!(end(&bytes), Err(Bad::Ext));
    }
    for bytes in [
        &[0xc7, 1, 1, 0][..],
        &[0xc8, 0, 1, 1, 0],
        &[0xc9, 0, 0, 0, 1, 1, 0],
    ] {
        assert_eq!(end(bytes), Err(Bad::Ext));
    }
    for bytes in [
        &[0xd4, 2, 0][..],
        &[0xc7, 5, 2, 0xce, 0, 1, 0, 4],
        &[0xc8, 0, 5, 2, 0xce, 0, 1, 0, 4],
    ] {
        assert_eq!(end(bytes), Err(Bad::Transfer));
    }
}

// E4.8
#[test]
fn the_highest_cap_index_is_held_against_the_table() {
    let value = [0x93, 0xd4, 1, 3, 0xd5, 1, 1, 4, 0xd4, 1, 0];
    let mut budget = Budget::default();
    assert_eq!(scan_whole(&value, 261, &mut budget), Ok(()));
    assert_eq!(scan_whole(&value, 260, &mut budget), Err(Bad::CapIndex));
    // What one frame referred to is forgotten for the next.
    assert_eq!(scan_whole(&[1], 0, &mut budget), Ok(()));
}

// E4.2 E4.12
#[test]
fn a_value_nests_64_deep_and_a_node_128_and_not_one_more() {
    let nested = |n: usize| {
        let mut bytes = vec![0x91; n - 1];
        bytes.push(0x90);
        bytes
    };
    assert_eq!(end(&nested(64)), Ok(64));
    assert_eq!(end(&nested(65)), Err(Bad::Depth));
    assert_eq!(scan_node(&nested(128), 0, &mut Budget::default()), Ok(128));
    assert_eq!(
        scan_node(&nested(129), 0, &mut Budget::default()),
        Err(Bad::Depth)
    );
    // Depth is what is open at once: a thousand neighbours are no depth.
    let mut broad = vec![0xdc, 0x03, 0xe8];
    broad.extend([0x91, 0x91, 0x90].repeat(1_000));
    assert_eq!(end(&broad), Ok(broad.len()));
    // A scalar at the bottom of 64 maps.
    let mut maps = [0x81, 0xc0].repeat(64);
    maps.push(5);
    assert_eq!(end(&maps), Ok(129));
}

// E4.2 E4.11
#[test]
fn the_array_of_arguments_is_no_level_of_its_own() {
    let mut args = vec![0x92, 7];
    args.extend([0x91; 63]);
    args.push(0x90);
    assert_eq!(scan_array(&args, 0, &mut Budget::default()), Ok(()));
    args[65] = 0x91;
    args.push(0x90);
    assert_eq!(
        scan_array(&args, 0, &mut Budget::default()),
        Err(Bad::Depth)
    );
    assert_eq!(
        scan_array(&[0x80], 0, &mut Budget::default()),
        Err(Bad::Type)
    );
}

// E4.3
#[test]
fn every_value_key_and_container_costs_one_element() {
    let spent = |bytes: &[u8]| {
        let mut budget = Budget::new(100);
        scan_value(bytes, 0, &mut budget).map(|_| 100 - budget.left())
    };
    assert_eq!(spent(&[5]), Ok(1));
    assert_eq!(spent(&[0xa1, b'x']), Ok(1));
    assert_eq!(spent(&[0x90]), Ok(1));
    assert_eq!(spent(&[0x92, 1, 0x91, 2]), Ok(4));
    assert_eq!(spent(&[0x81, 1, 0x80]), Ok(3));
    assert_eq!(scan_value(&[5], 0, &mut Budget::new(0)), Err(Bad::Budget));
    assert_eq!(
        scan_value(&[0x92, 1, 1], 0, &mut Budget::new(2)),
        Err(Bad::Budget)
    );
    assert_eq!(scan_value(&[0x92, 1, 1], 0, &mut Budget::new(3)), Ok(3));
}

/// The rules once more, by recursion and without any thought for speed.
fn plain(bytes: &[u8], pos: usize, depth: usize, cost: &mut u32) -> Option<usize> {
    let be = |at: usize, n: usize| -> Option<usize> {
        Some(
            bytes
                .get(at..at + n)?
                .iter()
                .fold(0, |acc, &b| acc << 8 | usize::from(b)),
        )
    };
    *cost += 1;
    let marker = *bytes.get(pos)?;
    let (start, text, skip, kids) = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (pos + 1, false, 0, None),
        0xcc | 0xd0 => (pos + 1, false, 1, None),
        0xcd | 0xd1 => (pos + 1, false, 2, None),
        0xca | 0xce | 0xd2 => (pos + 1, false, 4, None),
        0xcb | 0xcf | 0xd3 => (pos + 1, false, 8, None),
        0xa0..=0xbf => (pos + 1, true, usize::from(marker & 31), None),
        0xd9 => (pos + 2, true, be(pos + 1, 1)?, None),
        0xda => (pos + 3, true, be(pos + 1, 2)?, None),
        0xdb => (pos + 5, true, be(pos + 1, 4)?, None),
        0xc4 => (pos + 2, false, be(pos + 1, 1)?, None),
        0xc5 => (pos + 3, false, be(pos + 1, 2)?, None),
        0xc6 => (pos + 5, false, be(pos + 1, 4)?, None),
        0xd4 if be(pos + 1, 1)? == 1 => (pos + 2, false, 1, None),
        0xd5 if be(pos + 1, 1)? == 1 => (pos + 2, false, 2, None),
        0x80..=0x8f => (pos + 1, false, 0, Some(2 * usize::from(marker & 15))),
        0x90..=0x9f => (pos + 1, false, 0, Some(usize::from(marker & 15))),
        0xdc => (pos + 3, false, 0, Some(be(pos + 1, 2)?)),
        0xdd => (pos + 5, false, 0, Some(be(pos + 1, 4)?)),
        0xde => (pos + 3, false, 0, Some(2 * be(pos + 1, 2)?)),
        0xdf => (pos + 5, false, 0, Some(2 * be(pos + 1, 4)?)),
        _ => return None,
    };
    let body = bytes.get(start..start.checked_add(skip)?)?;
    if text && std::str::from_utf8(body).is_err() {
        return None;
    }
    let mut pos = start + skip;
    if let Some(kids) = kids {
        if depth == 64 {
            return None;
        }
        for _ in 0..kids {
            pos = plain(bytes, pos, depth + 1, cost)?;
        }
    }
    Some(pos)
}

// E4.1 E4.2 E4.3 E4.4 E4.5 E4.6 E4.7
#[test]
fn the_scan_agrees_with_a_plain_recursive_reader_on_random_bytes() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..100_000 {
        // Mostly small bytes and container headers, so that many are values and some are deep.
        let len = next() as usize % 90;
        let bytes: Vec<u8> = (0..len)
            .map(|_| match next() % 8 {
                0 => next() as u8,
                1 => 0xc0 + (next() % 32) as u8,
                2..=4 => 0x91 + (next() % 2) as u8,
                5 => 0x81,
                _ => (next() % 3) as u8,
            })
            .collect();
        let mut cost = 0;
        let wanted = plain(&bytes, 0, 0, &mut cost);
        let mut budget = Budget::new(1_000_000);
        let got = scan_value(&bytes, 0, &mut budget);
        assert_eq!(got.ok(), wanted, "{bytes:02x?}");
        if wanted.is_some() {
            taken += 1;
            assert_eq!(1_000_000 - budget.left(), cost, "{bytes:02x?}");
        } else {
            refused += 1;
        }
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} {refused}");
}
