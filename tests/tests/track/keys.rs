//! `#[derive(Key)]`, by maps whose keys it makes.

use helve::prelude::*;
use helve::track::{Key, Map, Set};

use crate::change;

#[derive(Wire, Key, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sku(String);

#[derive(Wire, Key, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    Left,
    #[serde(rename = "right")]
    Right,
}

#[derive(Wire, Key, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place<T>(Shelf, T);

#[derive(Wire, Track, Clone)]
struct Stock {
    counts: Map<Place<Sku>, u32>,
    open: Set<Shelf>,
}

#[test]
fn newtypes_tuple_structs_and_unit_enums_are_keys() {
    let place = |sku: &str| Place(Shelf::Right, Sku(sku.into()));
    let stock = Stock {
        counts: Map::from_iter([(place("a"), 1)]),
        open: Set::from_iter([Shelf::Left]),
    };
    let patch = change(&stock, |stock| {
        stock.counts.insert(place("a"), 2);
        stock.open.remove(&Shelf::Left);
    });
    let counts = b"\x95\x01\x00\x93\x02\x92\xa5right\xa1a\x92\x00\x02\x01";
    assert!(patch.is_some_and(|patch| patch.starts_with(counts)));
}
