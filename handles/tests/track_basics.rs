//! Tracking of plain values: what a change is written as, that it applies, and that it can be taken back.

mod support;

use helve_handles::patch::PatchError;
use helve_handles::track::apply;
use support::change;

#[test]
fn a_number_is_set_where_it_differs() {
    assert_eq!(change(&5_u32, |n| *n = 5), None);
    assert_eq!(change(&5_u32, |n| *n = 200), Some(vec![0x92, 0, 0xcc, 200]));
    assert_eq!(change(&true, |b| *b = false), Some(vec![0x92, 0, 0xc2]));
}

#[test]
fn floats_are_compared_by_their_bits() {
    assert_eq!(change(&f64::NAN, |_| {}), None);
    assert!(change(&0.0_f64, |f| *f = -0.0).is_some());
    assert!(change(&1.0_f32, |f| *f = f32::NAN).is_some());
}

#[test]
fn a_long_string_is_spliced_in_utf16_units_and_a_short_one_is_set() {
    let text = "😀".to_owned() + &"x".repeat(40);
    let patch = change(&text, |text| text.insert(5, 'é'));
    assert_eq!(patch, Some(vec![0x94, 5, 3, 0, 0xa2, 0xc3, 0xa9]));
    let patch = change(&"abc".to_owned(), |text| text.push('d'));
    assert_eq!(patch, Some(b"\x92\x00\xa4abcd".to_vec()));
    // Characters that share a byte are not cut.
    let text = "aaaaaaaaaaaaaaaaaaaaaaé".to_owned();
    assert!(
        change(&text, |text| {
            text.pop();
            text.push('è');
        })
        .is_some()
    );
}

#[test]
fn an_offset_inside_a_surrogate_pair_is_refused() {
    // P1.2
    let mut text = "😀b".to_owned();
    let patch = [0x94, 5, 1, 0, 0xa1, b'x'];
    assert_eq!(apply(&mut text, &patch), Err(PatchError::Range));
    let patch = [0x94, 5, 4, 0, 0xa1, b'x'];
    assert_eq!(apply(&mut text, &patch), Err(PatchError::Range));
}

#[test]
fn a_change_in_some_passes_through_and_another_state_is_set() {
    // P1.6: `None` is a Set.
    assert_eq!(
        change(&Some(1_u8), |v| *v = Some(2)),
        Some(vec![0x92, 0, 2])
    );
    assert_eq!(
        change(&Some(1_u8), |v| *v = None),
        Some(vec![0x92, 0, 0xc0])
    );
    assert_eq!(change(&None, |v| *v = Some(2_u8)), Some(vec![0x92, 0, 2]));
    assert_eq!(change(&None::<u8>, |_| {}), None);
    // A node for what is not there.
    let missing = apply(&mut None::<String>, &[0x94, 5, 0, 0, 0xa1, b'x']);
    assert_eq!(missing, Err(PatchError::Missing));
}

#[test]
fn tuples_and_arrays_tell_their_places() {
    let patch = change(&(1_u8, Box::new(2_u8), 3_u8), |t| *t.1 = 9);
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x92, 0, 9]));
    let patch = change(&[1_u8, 2, 3], |t| t[2] = 9);
    assert_eq!(patch, Some(vec![0x93, 1, 2, 0x92, 0, 9]));
    let unknown = apply(&mut [1_u8], &[0x93, 1, 1, 0x92, 0, 9]);
    assert_eq!(unknown, Err(PatchError::Field));
}

#[test]
fn a_wide_node_has_a_long_header() {
    let mut wide = [0_u8; 32];
    let patch = change(&wide, |t| t.fill(1)).expect("changed");
    assert_eq!(patch[..4], [0xdc, 0, 65, 1]);
    apply(&mut wide, &patch).expect("fits");
}

#[test]
fn a_patch_that_is_cut_short_or_too_deep_is_refused() {
    // P1.1: as many elements as the node has.
    let patch = change(&(1_u8, "x".repeat(30)), |t| {
        t.0 = 2;
        t.1.push('y');
    })
    .expect("changed");
    for end in 0..patch.len() {
        let mut value = (1_u8, "x".repeat(30));
        assert!(apply(&mut value, &patch[..end]).is_err(), "cut at {end}");
    }
    let mut longer = patch.clone();
    longer.push(0xc0);
    let trailing = apply(&mut (1_u8, "x".repeat(30)), &longer);
    assert_eq!(trailing, Err(PatchError::Trailing));
    // Then inside Then, 70 times.
    let mut deep = [0x92, 7].repeat(70);
    deep.extend([0x92, 0, 1]);
    assert_eq!(apply(&mut 0_u8, &deep), Err(PatchError::TooDeep));
}

#[test]
fn a_counter_tells_what_was_added_unless_it_was_set() {
    use helve_handles::track::Counter;
    let patch = change(&Counter::new(5), |counter| _ = counter.add(-2));
    assert_eq!(patch, Some(vec![0x92, 3, 0xfe]));
    let patch = change(&Counter::new(5), |counter| {
        counter.add(7);
        counter.set(5);
    });
    assert_eq!(patch, Some(vec![0x92, 0, 5]));
    let patch = change(&Counter::new(5), |counter| *counter = Counter::new(6));
    assert_eq!(patch, Some(vec![0x92, 0, 6]));
    assert_eq!(change(&Counter::new(5), |counter| _ = counter.add(0)), None);
    assert!(change(&Counter::new(i64::MAX), |counter| _ = counter.add(1)).is_some());
}

#[test]
fn an_index_that_is_not_in_its_shortest_form_is_refused() {
    // P1.1
    let long = [0x93, 1, 0xcc, 0, 0x92, 0, 9];
    assert_eq!(apply(&mut (1_u8,), &long), Err(PatchError::Form));
}

#[test]
fn a_permutation_that_is_none_is_refused() {
    use helve_handles::track::List;
    // P1.3
    let mut words: List<u16> = [10, 20, 30].into_iter().collect();
    assert_eq!(
        apply(&mut words, &[0x92, 4, 0x94, 5, 0, 3, 0xc4, 3, 2, 0, 1]),
        Ok(())
    );
    assert_eq!(words[..], [30, 10, 20]);
    for bad in [[0, 0, 1], [0, 1, 3], [2, 2, 2]] {
        let patch = [&[0x92, 4, 0x94, 5, 0, 3, 0xc4, 3][..], &bad].concat();
        assert_eq!(apply(&mut words, &patch), Err(PatchError::Range));
    }
}

#[test]
fn a_key_that_is_missing_takes_a_value_or_nothing() {
    use helve_handles::track::Map;
    // P1.4
    let mut map: Map<u8, (u8, u8)> = [(1, (1, 1))].into_iter().collect();
    assert_eq!(apply(&mut map, &[0x93, 2, 9, 0xc0]), Ok(()));
    let change = [0x93, 2, 9, 0x93, 1, 0, 0x92, 0, 5];
    assert_eq!(apply(&mut map, &change), Err(PatchError::Missing));
    assert_eq!(apply(&mut map, &[0x93, 2, 9, 0x92, 0, 0x92, 7, 8]), Ok(()));
    assert_eq!(map.get(&9), Some(&(7, 8)));
}

#[test]
fn a_value_that_would_nest_too_deep_is_not_written() {
    use helve_handles::patch::{EncodeError, Patcher};
    // P1.8
    #[derive(Clone)]
    struct Deep(u32);
    impl serde::Serialize for Deep {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => serializer.serialize_u8(0),
                n => [Deep(n - 1)].serialize(serializer),
            }
        }
    }
    let written = |levels| {
        let mut patcher = Patcher::new();
        patcher.leaf(&Deep(levels))?;
        patcher.finish().map(drop)
    };
    assert_eq!(written(64), Ok(()));
    assert_eq!(written(65), Err(EncodeError::TooDeep));
}

#[test]
fn texts_and_bytes_of_any_length_are_told_by_what_lies_between_the_ends_that_stayed() {
    // Lengths around those that are compared at once.
    for len in [30_usize, 127, 128, 129, 255, 256, 257, 400] {
        let text: String = ('a'..='z').cycle().take(len).collect();
        for at in 0..=len {
            let insert = change(&text, |text| text.insert(at, 'é')).expect("a change");
            let cut = change(&text, |text| text.truncate(at));
            assert_eq!(cut.is_none(), at == len);
            assert!(insert.len() <= 10, "{len} {at}: {insert:?}");
            let bytes = text.clone().into_bytes();
            let insert = change(&bytes, |bytes| bytes.insert(at, 0)).expect("a change");
            assert!(insert.len() <= 12, "{len} {at}: {insert:?}");
            if at < len {
                let remove = change(&text, |text| _ = text.remove(at)).expect("a change");
                assert!(remove.len() <= 8, "{len} {at}: {remove:?}");
                // Characters that share a byte, beside such that stay.
                let wide = format!("{}é{}", &text[..at], &text[at..]);
                let other = format!("{}è{}", &text[..at], &text[at..]);
                let swap = change(&wide, |text| text.clone_from(&other)).expect("a change");
                assert!(swap.len() <= 10, "{len} {at}: {swap:?}");
            }
        }
    }
}
