//! The bytes of the types in the encoding table (protocol section 2), that they come back, and the ids of methods.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use helve_handles::Wire;
use helve_handles::id::method_id;
use rmp_serde::config::BytesMode;
use uuid::Uuid;

fn encode(value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut out)
        .with_struct_map()
        .with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer).expect("encodes");
    out
}

#[track_caller]
fn travels<T: Wire + PartialEq + Debug>(value: T, bytes: &[u8]) {
    assert_eq!(encode(&value), bytes, "{value:?}");
    assert_eq!(rmp_serde::from_slice::<T>(bytes).expect("decodes"), value);
}

#[test]
fn scalars_travel_in_their_shortest_form() {
    travels(true, &[0xc3]);
    travels(200u8, &[0xcc, 200]);
    travels(5u64, &[5]);
    travels(u64::MAX, &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]);
    travels(-1i64, &[0xff]);
    travels(3usize, &[3]);
    travels(-3isize, &[0xfd]);
    travels(1.0f32, &[0xca, 0x3f, 0x80, 0, 0]);
    travels(1.0f64, &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    travels('a', &[0xa1, b'a']);
    travels("ab".to_owned(), &[0xa2, b'a', b'b']);
    travels(Box::<str>::from("ab"), &[0xa2, b'a', b'b']);
    travels((), &[0xc0]);
}

#[test]
fn bytes_travel_as_bin_and_other_sequences_as_arrays() {
    travels(vec![1u8, 2], &[0xc4, 2, 1, 2]);
    travels(Bytes::from_static(&[1, 2]), &[0xc4, 2, 1, 2]);
    travels(vec![1u16, 2], &[0x92, 1, 2]);
    travels([1u8, 2], &[0x92, 1, 2]);
    travels(VecDeque::from([1u8, 2]), &[0x92, 1, 2]);
    travels(BTreeSet::from([1u8, 2]), &[0x92, 1, 2]);
    travels(HashSet::<u8>::from_iter([1]), &[0x91, 1]);
    travels((1u8, "a".to_owned()), &[0x92, 1, 0xa1, b'a']);
    travels(Box::<[u16]>::from([1, 2]), &[0x92, 1, 2]);
    // Readers take an array of ints for bytes; an empty one may come so.
    assert_eq!(
        rmp_serde::from_slice::<Vec<u8>>(&[0x92, 1, 2]).expect("decodes"),
        [1, 2]
    );
    assert_eq!(
        rmp_serde::from_slice::<Bytes>(&[0x90]).expect("decodes"),
        Bytes::new()
    );
}

#[test]
fn options_maps_and_the_rest_travel_as_the_table_says() {
    travels(None::<u8>, &[0xc0]);
    travels(Some(1u8), &[1]);
    travels(Box::new(1u8), &[1]);
    travels(BTreeMap::from([(1u64, true)]), &[0x81, 1, 0xc3]);
    travels(
        HashMap::<String, u8>::from_iter([("a".to_owned(), 1)]),
        &[0x81, 0xa1, b'a', 1],
    );
    let id = Uuid::from_bytes([7; 16]);
    travels(id, &[&[0xc4, 16][..], &[7; 16]].concat());
    let mut duration = vec![0x82, 0xa4];
    duration.extend(b"secs\x03\xa5nanos\x07");
    travels(Duration::new(3, 7), &duration);
}

#[test]
fn method_ids_are_those_of_the_golden_vectors() {
    // Protocol section 8: CALL 1 `demo.Calc/add`, and those after it.
    assert_eq!(method_id("demo.Calc", "add"), 0x9993_a30d);
    assert_eq!(method_id("demo.Shop", "counter"), 0xa8f5_16ef);
    assert_eq!(method_id("demo.Counter", "inc"), 0x35f1_466b);
    assert_eq!(method_id("demo.Counter", "note"), 0x5b1e_28a1);
    assert_eq!(method_id("demo.Counter", "watch"), 0x18f0_51e4);
    assert_eq!(method_id("demo.Store", "put"), 0x5e45_ee67);
}
