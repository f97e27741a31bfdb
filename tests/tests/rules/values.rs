//! Section 2.6, from both sides: what the runtime writes, and what it reads of a peer that writes otherwise.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use helve::prelude::*;
use helve_handles::id::method_id;
use helve_tests::harness::{Harness, Tracker};

use super::peer::{Answer, Peer};

#[derive(Wire, Clone, Debug, PartialEq)]
pub struct Point {
    pub x: i32,
    pub y: i32,
}

#[derive(Wire, Clone, Debug, PartialEq)]
pub struct Marker;

#[derive(Wire, Clone, Debug, PartialEq)]
pub enum Colour {
    Red,
    Mixed(u8),
}

#[interface(id = "test.Values")]
pub trait Values {
    async fn single(&self, value: f32) -> f32;
    async fn double(&self, value: f64) -> f64;
    async fn owned(&self, value: Vec<u8>) -> Vec<u8>;
    async fn shared(&self, value: Bytes) -> Bytes;
    async fn borrowed(&self, value: &[u8]) -> Vec<u8>;
    async fn point(&self, value: Point) -> Point;
    async fn marker(&self, value: Marker) -> Marker;
    async fn colour(&self, value: Colour) -> Colour;
    async fn named(&self, value: BTreeMap<u64, u8>) -> BTreeMap<u64, u8>;
    async fn hashed(&self, value: HashMap<i8, u8>) -> HashMap<i8, u8>;
    async fn rest(&self, a: u8, #[default] b: u8, #[default] c: Option<String>) -> (u8, u8, bool);
    async fn nothing(&self);
}

struct Same;

impl Values for Same {
    async fn single(&self, value: f32) -> f32 {
        value
    }
    async fn double(&self, value: f64) -> f64 {
        value
    }
    async fn owned(&self, value: Vec<u8>) -> Vec<u8> {
        value
    }
    async fn shared(&self, value: Bytes) -> Bytes {
        value
    }
    async fn borrowed(&self, value: &[u8]) -> Vec<u8> {
        value.to_vec()
    }
    async fn point(&self, value: Point) -> Point {
        value
    }
    async fn marker(&self, value: Marker) -> Marker {
        value
    }
    async fn colour(&self, value: Colour) -> Colour {
        value
    }
    async fn named(&self, value: BTreeMap<u64, u8>) -> BTreeMap<u64, u8> {
        value
    }
    async fn hashed(&self, value: HashMap<i8, u8>) -> HashMap<i8, u8> {
        value
    }
    async fn rest(&self, a: u8, b: u8, c: Option<String>) -> (u8, u8, bool) {
        (a, b, c.is_some())
    }
    async fn nothing(&self) {}
}

/// The number of DECODE.
const DECODE: u64 = 8;

/// A method, an array of arguments, and the bytes that come back; `None` is DECODE.
type Case<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);

/// Calls each.
async fn each(cases: &[Case<'_>]) {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, ValuesHandle::new(Same));
    let mut peer = Peer::welcomed(&harness).await;
    for (method, args, expected) in cases {
        let answer: Answer = peer.call(method_id("test.Values", method), args).await;
        match expected {
            Some(value) => assert_eq!(answer.as_deref(), Ok(*value), "{method} {args:02x?}"),
            None => {
                let code = answer.as_ref().map_err(|(code, _)| *code);
                assert_eq!(code, Err(DECODE), "{method} {args:02x?}: {answer:?}");
            }
        }
    }
    peer.close(1000).await;
    harness.finish().await;
}

#[tokio::test]
async fn arguments_are_one_array_whose_end_may_be_missing_and_whose_surplus_is_ignored() {
    // E6.1
    each(&[
        ("rest", &[0x93, 1, 2, 0xa1, b'c'], Some(&[0x93, 1, 2, 0xc3])),
        ("rest", &[0x92, 1, 2], Some(&[0x93, 1, 2, 0xc2])),
        ("rest", &[0x91, 1], Some(&[0x93, 1, 0, 0xc2])),
        ("rest", &[0x90], None),
        (
            "rest",
            &[0x95, 1, 2, 0xc0, 0x80, 9],
            Some(&[0x93, 1, 2, 0xc2]),
        ),
        // The order is that of the declaration: a text is no `b`.
        ("rest", &[0x92, 1, 0xa1, b'c'], None),
        // A wider header is taken all the same.
        ("rest", &[0xdc, 0, 1, 1], Some(&[0x93, 1, 0, 0xc2])),
        ("rest", &[0xdd, 0, 0, 0, 1, 1], Some(&[0x93, 1, 0, 0xc2])),
        ("nothing", &[0x91, 1], Some(&[0xc0])),
    ])
    .await;
}

#[tokio::test]
async fn floats_are_written_in_full_width_and_read_from_both_widths_and_ints() {
    // E6.2
    const ONE: [u8; 5] = [0xca, 0x3f, 0x80, 0, 0];
    const ONE_WIDE: [u8; 9] = [0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0];
    const MINUS_TWO: [u8; 5] = [0xca, 0xc0, 0, 0, 0];
    const MINUS_TWO_WIDE: [u8; 9] = [0xcb, 0xc0, 0, 0, 0, 0, 0, 0, 0];
    let one = [&[0x91][..], &ONE].concat();
    let one_wide = [&[0x91][..], &ONE_WIDE].concat();
    each(&[
        ("single", &one, Some(&ONE)),
        ("single", &one_wide, Some(&ONE)),
        ("single", &[0x91, 1], Some(&ONE)),
        ("single", &[0x91, 0xd0, 0xfe], Some(&MINUS_TWO)),
        ("single", &[0x91, 0xd3, 0, 0, 0, 0, 0, 0, 0, 1], Some(&ONE)),
        ("double", &one, Some(&ONE_WIDE)),
        ("double", &one_wide, Some(&ONE_WIDE)),
        ("double", &[0x91, 1], Some(&ONE_WIDE)),
        ("double", &[0x91, 0xcc, 1], Some(&ONE_WIDE)),
        ("double", &[0x91, 0xfe], Some(&MINUS_TWO_WIDE)),
        ("double", &[0x91, 0xa1, b'1'], None),
    ])
    .await;
}

#[tokio::test]
async fn bytes_are_written_as_bin_and_read_from_arrays_of_ints_too() {
    // E6.3
    let bin: &[u8] = &[0xc4, 2, 1, 200];
    for method in ["owned", "shared", "borrowed"] {
        // serde does not tell an empty `Vec<u8>` from any other empty list.
        let none: &[u8] = match method {
            "shared" => &[0xc4, 0],
            _ => &[0x90],
        };
        each(&[
            (method, &[0x91, 0xc4, 2, 1, 200], Some(bin)),
            (method, &[0x91, 0xc5, 0, 2, 1, 200], Some(bin)),
            (method, &[0x91, 0x92, 1, 0xcc, 200], Some(bin)),
            (method, &[0x91, 0xdc, 0, 2, 1, 0xcd, 0, 200], Some(bin)),
            (method, &[0x91, 0x90], Some(none)),
            (method, &[0x91, 0xc4, 0], Some(none)),
            (method, &[0x91, 0x92, 1, 0xcd, 1, 0], None),
            (method, &[0x91, 0x92, 1, 0xff], None),
        ])
        .await;
    }
}

#[tokio::test]
async fn structs_are_maps_by_name_and_unknown_keys_are_skipped() {
    // E6.4
    let both: &[u8] = &[0x82, 0xa1, b'x', 1, 0xa1, b'y', 2];
    each(&[
        (
            "point",
            &[0x91, 0x82, 0xa1, b'x', 1, 0xa1, b'y', 2],
            Some(both),
        ),
        // By name: in any order.
        (
            "point",
            &[0x91, 0x82, 0xa1, b'y', 2, 0xa1, b'x', 1],
            Some(both),
        ),
        (
            "point",
            &[
                0x91, 0x83, 0xa1, b'z', 0x91, 0x80, 0xa1, b'x', 1, 0xa1, b'y', 2,
            ],
            Some(both),
        ),
        ("point", &[0x91, 0x81, 0xa1, b'x', 1], None),
    ])
    .await;
}

#[tokio::test]
async fn a_unit_variant_may_come_as_a_map_and_a_unit_struct_as_nil() {
    // E6.5
    let red: &[u8] = &[0xa3, b'R', b'e', b'd'];
    each(&[
        ("colour", &[0x91, 0xa3, b'R', b'e', b'd'], Some(red)),
        (
            "colour",
            &[0x91, 0x81, 0xa3, b'R', b'e', b'd', 0xc0],
            Some(red),
        ),
        (
            "colour",
            &[0x91, 0x81, 0xa5, b'M', b'i', b'x', b'e', b'd', 7],
            Some(&[0x81, 0xa5, b'M', b'i', b'x', b'e', b'd', 7]),
        ),
        ("colour", &[0x91, 0xa5, b'G', b'r', b'e', b'e', b'n'], None),
        ("marker", &[0x91, 0x90], Some(&[0x90])),
        ("marker", &[0x91, 0xc0], Some(&[0x90])),
    ])
    .await;
}

#[tokio::test]
async fn a_method_without_a_result_returns_nil_and_maps_keep_their_keys() {
    // E6.6, E6.9
    each(&[
        ("nothing", &[0x90], Some(&[0xc0])),
        (
            "named",
            &[0x91, 0x82, 1, 5, 0xcd, 1, 0, 6],
            Some(&[0x82, 1, 5, 0xcd, 1, 0, 6]),
        ),
        ("named", &[0x91, 0x82, 1, 5, 1, 6], Some(&[0x81, 1, 6])),
        ("named", &[0x91, 0x81, 0xa1, b'1', 5], None),
        (
            "hashed",
            &[0x91, 0x83, 0xff, 5, 0xff, 6, 0xff, 7],
            Some(&[0x81, 0xff, 7]),
        ),
    ])
    .await;
}
