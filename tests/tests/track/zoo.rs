//! A zoo of types under seeded random edits: what is written applies, at a plain copy and at one that is watched and
//! writes the same again; and it can be taken back. `HELVE_TRANSACTIONS` says how many for each kind of animal,
//! `HELVE_SEED` runs one seed.

use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use helve::prelude::*;
use helve::track::{Counter, Deque, List, Map, Nested, Set, Text};
use helve_handles::patch::{PatchReader, Patcher, compose};
use helve_handles::track::apply;
use helve_tests::seeded::Rng;

use super::play::{Play, Sorted, play};
use crate::encode;

#[derive(Wire, Track, Clone, Debug)]
pub(super) struct Cell {
    text: String,
    color: u8,
    score: f64,
    note: Option<String>,
}

#[derive(Wire, Track, Clone, Debug)]
struct Page<T: Track> {
    head: Option<T>,
    rows: List<T>,
    pair: (T, u8),
    three: [T; 3],
}

#[derive(Wire, Track, Clone, Debug)]
struct Tuple(u8, String, #[serde(skip)] u8, Counter);

#[derive(Wire, Track, Clone, Debug)]
#[serde(transparent)]
struct Id(Box<u32>);

#[derive(Wire, Track, Clone, Debug)]
struct Chain {
    n: u16,
    next: Option<Box<Chain>>,
}

#[derive(Wire, Track, Clone, Debug)]
enum Tree {
    Leaf(u8),
    Branch(Box<Tree>, Box<Tree>),
    Many { kids: List<Tree>, name: String },
}

#[derive(Wire, Track, Clone, Debug)]
pub(super) enum Shape {
    Empty,
    Circle(f64),
    Line(u8, Option<u8>, #[serde(skip)] u8),
    Named {
        name: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        points: Vec<(u8, u8)>,
        list: List<u16>,
    },
}

#[derive(Wire, Track, Clone, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Internal {
    PlainCell(Cell),
    Point { x: u8, y: Option<u8> },
    Nothing,
}

#[derive(Wire, Track, Clone, Debug)]
#[serde(tag = "kind", content = "of")]
enum Adjacent {
    One(List<u8>),
    Two(u8, String),
    Three { text: Text },
    Four,
}

#[derive(Wire, Track, Clone, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
    Cell(Cell),
}

#[derive(Wire, Track, Clone, Debug)]
struct Place {
    street: String,
    zip: u32,
    hits: Counter,
}

#[derive(Wire, Track, Clone, Debug)]
struct Extra {
    height: u16,
}

fn three() -> u8 {
    3
}

fn is_three(n: &u8) -> bool {
    *n == 3
}

#[derive(Wire, Track, Clone, Debug)]
pub(super) struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default = "three", skip_serializing_if = "is_three")]
    level: u8,
    #[serde(default, skip_serializing_if = "<[Cell]>::is_empty")]
    list: List<Cell>,
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    extra: Option<Extra>,
    #[serde(skip)]
    local: u32,
    last: u8,
}

/// Of another crate.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Foreign {
    at: (u8, u8),
}

mod as_text {
    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(helve::__rt::serde::de::Error::custom)
    }
}

#[derive(Wire, Track, Clone, Debug)]
struct Leaves {
    #[serde(with = "as_text")]
    text: u32,
    #[track(leaf)]
    equal: Foreign,
    #[track(leaf = bytes)]
    bytes: Foreign,
    untagged: Untagged,
    unit: (),
}

#[derive(Wire, Track, Clone, Debug)]
struct Std {
    list: Vec<u16>,
    cells: Vec<Cell>,
    bytes: Vec<u8>,
    words: VecDeque<String>,
    deep: Vec<Vec<u8>>,
    map: BTreeMap<u32, Cell>,
    set: BTreeSet<u16>,
}

#[derive(Wire, Track, Clone, Debug)]
pub(super) struct Held {
    cells: Map<u32, Cell>,
    rows: List<List<u16>>,
    queue: Deque<Cell>,
    sorted: Sorted<u16>,
    maps: List<Map<u32, String>>,
    by_name: Map<u32, Nested<Sparse>>,
    text: Text,
    count: Counter,
    set: Set<u16>,
    bytes: List<u8>,
    nested: Nested<Place>,
}

#[derive(Wire, Track, Clone, Debug)]
struct Zoo {
    page: Page<Cell>,
    shapes: Page<Shape>,
    tree: Tree,
    sparse: Sparse,
    held: Held,
    std: Std,
    leaves: Leaves,
}

play! {
    [] Cell { text, color, score, note };
    [T: Play] Page<T> { head, rows, pair, three };
    [] Place { street, zip, hits };
    [] Extra { height };
    [] Sparse { note, level, list, place, extra, last } kept: local;
    [] Std { list, cells, bytes, words, deep, map, set };
    [] Held { cells, rows, queue, sorted, maps, by_name, text, count, set, bytes, nested };
    [] Zoo { page, shapes, tree, sparse, held, std, leaves };
}

impl Play for Foreign2 {
    fn make(rng: &mut Rng) -> Self {
        Foreign2(Foreign {
            at: (u8::make(rng), u8::make(rng)),
        })
    }
}

#[derive(Wire, Track, Clone, Debug)]
#[track(leaf)]
struct Foreign2(Foreign);

impl Play for Leaves {
    fn make(rng: &mut Rng) -> Self {
        Leaves {
            text: u32::make(rng),
            equal: Foreign2::make(rng).0,
            bytes: Foreign2::make(rng).0,
            untagged: Untagged::make(rng),
            unit: (),
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.below(4) {
            0 => self.text = u32::make(rng),
            1 => self.equal.at.0 = u8::make(rng),
            2 => self.bytes.at.1 = u8::make(rng),
            _ => self.untagged.edit(rng),
        }
    }
}

impl Play for Tuple {
    fn make(rng: &mut Rng) -> Self {
        Tuple(u8::make(rng), String::make(rng), 0, Counter::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.below(3) {
            0 => self.0.edit(rng),
            1 => self.1.edit(rng),
            _ => self.3.edit(rng),
        }
    }
}

impl Play for Id {
    fn make(rng: &mut Rng) -> Self {
        Id(Box::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        self.0.edit(rng);
    }
}

impl Play for Chain {
    fn make(rng: &mut Rng) -> Self {
        let next = (!rng.one_in(3)).then(|| Box::make(rng));
        Chain {
            n: u16::make(rng),
            next,
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.one_in(3) {
            true => self.n.edit(rng),
            false => self.next.edit(rng),
        }
    }
}

/// Goes down into what is there, as a rule.
impl Play for Tree {
    fn make(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 => Tree::Branch(Box::make(rng), Box::make(rng)),
            1 => Tree::Many {
                kids: (0..rng.below(3)).map(|_| Tree::make(rng)).collect(),
                name: String::make(rng),
            },
            _ => Tree::Leaf(u8::make(rng)),
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            _ if rng.one_in(5) => *self = Self::make(rng),
            Tree::Leaf(n) => n.edit(rng),
            Tree::Branch(left, _) if rng.one_in(2) => left.edit(rng),
            Tree::Branch(_, right) => right.edit(rng),
            Tree::Many { kids, .. } if rng.one_in(2) => kids.edit(rng),
            Tree::Many { name, .. } => name.edit(rng),
        }
    }
}

impl Play for Shape {
    fn make(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Shape::Empty,
            1 => Shape::Circle(f64::make(rng)),
            2 => Shape::Line(u8::make(rng), Option::make(rng), 0),
            _ => Shape::Named {
                name: String::make(rng),
                points: Vec::make(rng),
                list: List::make(rng),
            },
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            _ if rng.one_in(4) => *self = Self::make(rng),
            Shape::Empty => {}
            Shape::Circle(n) => n.edit(rng),
            Shape::Line(a, b, _) => {
                a.edit(rng);
                b.edit(rng);
            }
            Shape::Named { name, .. } if rng.one_in(3) => name.edit(rng),
            Shape::Named { points, .. } if rng.one_in(2) => points.edit(rng),
            Shape::Named { list, .. } => list.edit(rng),
        }
    }
}

impl Play for Internal {
    fn make(rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Internal::PlainCell(Cell::make(rng)),
            1 => Internal::Point {
                x: u8::make(rng),
                y: Option::make(rng),
            },
            _ => Internal::Nothing,
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            _ if rng.one_in(4) => *self = Self::make(rng),
            Internal::PlainCell(cell) => cell.edit(rng),
            Internal::Point { y, .. } => y.edit(rng),
            Internal::Nothing => {}
        }
    }
}

impl Play for Adjacent {
    fn make(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Adjacent::One(List::make(rng)),
            1 => Adjacent::Two(u8::make(rng), String::make(rng)),
            2 => Adjacent::Three {
                text: Text::make(rng),
            },
            _ => Adjacent::Four,
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            _ if rng.one_in(4) => *self = Self::make(rng),
            Adjacent::One(list) => list.edit(rng),
            Adjacent::Two(_, text) => text.edit(rng),
            Adjacent::Three { text } => text.edit(rng),
            Adjacent::Four => {}
        }
    }
}

impl Play for Untagged {
    fn make(rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Untagged::Number(u32::make(rng)),
            1 => Untagged::Text(String::make(rng)),
            _ => Untagged::Cell(Cell::make(rng)),
        }
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            _ if rng.one_in(3) => *self = Self::make(rng),
            Untagged::Number(n) => n.edit(rng),
            Untagged::Text(text) => text.edit(rng),
            Untagged::Cell(cell) => cell.edit(rng),
        }
    }
}

/// How often, unless `HELVE_TRANSACTIONS` says otherwise; with the number of animals, 200,000 and more in all.
const TRANSACTIONS: u64 = 12_000;
/// Of one seed.
const ROUND: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `round` for each seed, and says which failed.
pub(super) fn seeds(what: &str, count: u64, round: impl Fn(u64)) {
    let seeds = match number("HELVE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| round(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("{what}: HELVE_SEED={seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A host, a copy that follows it, and one that is watched as it follows.
struct Animal<T> {
    host: T,
    copy: T,
    /// Before the last patch, and that patch.
    last: Option<(T, Vec<u8>)>,
}

impl<T: Play> Animal<T> {
    fn new(rng: &mut Rng) -> Self {
        let host = T::make(rng);
        let bytes = encode(&host);
        let copy: T = PatchReader::new(&bytes)
            .value()
            .expect("survives its own encoding");
        assert!(copy.same(&host), "{host:?} is not read back");
        Animal {
            host,
            copy,
            last: None,
        }
    }

    fn transaction(&mut self, rng: &mut Rng) {
        let before = self.host.clone();
        let shadow = self.host.shadow();
        for _ in 0..rng.below(4) {
            self.host.edit(rng);
        }
        if rng.one_in(3) {
            // What cannot be taken back is replaced.
            if self.host.undo(shadow) {
                assert!(
                    self.host.same(&before),
                    "taken back: {:?}\n of {before:?}",
                    self.host
                );
                assert_eq!(encode(&self.host), encode(&before), "taken back");
            }
            self.host = before;
            return;
        }
        let mut patcher = Patcher::new();
        let changed = self.host.flush(&shadow, &mut patcher).expect("encodes");
        let (patch, _) = patcher.finish().expect("within its limits");
        assert_eq!(changed, !patch.is_empty());
        if !changed {
            assert!(
                self.host.same(&before),
                "unnoticed: {:?}\n was {before:?}",
                self.host
            );
            return;
        }
        let mut watched = before.clone();
        let shadow = watched.shadow();
        apply(&mut watched, &patch).expect("fits a copy that is watched");
        let mut again = Patcher::new();
        watched.flush(&shadow, &mut again).expect("encodes");
        let again = again.finish().expect("within its limits").0;
        if again != patch {
            // A list may join or reorder what the host told apart: to the same effect, and not longer.
            let (again_hex, patch_hex) = (hex(&again), hex(&patch));
            assert!(
                again.len() <= patch.len(),
                "{again_hex} for {patch_hex}, of {before:?}"
            );
            let mut third = before.clone();
            // Nothing at all, where what the host did comes to nothing.
            if !again.is_empty() {
                apply(&mut third, &again).expect("fits");
            }
            assert_eq!(encode(&third), encode(&self.host), "written again");
        }

        let old = self.copy.clone();
        apply(&mut self.copy, &patch).expect("fits");
        let bytes = encode(&self.host);
        assert!(
            self.copy.same(&self.host),
            "{:?}\n is not {:?}",
            self.copy,
            self.host
        );
        assert_eq!(encode(&self.copy), bytes, "applied");
        assert_eq!(encode(&watched), bytes, "applied to what is watched");
        if let Some((mut older, first)) = self.last.take()
            && let Some((both, _)) = compose(&[(&first, &[]), (&patch, &[])])
        {
            apply(&mut older, &both).expect("a composition fits");
            assert_eq!(encode(&older), bytes, "composed: {}", hex(&both));
        }
        self.last = Some((old, patch));
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn play<T: Play>() {
    let rounds = number("HELVE_TRANSACTIONS")
        .unwrap_or(TRANSACTIONS)
        .div_ceil(ROUND);
    seeds(type_name::<T>(), rounds, |seed| {
        let mut rng = Rng::new(seed);
        let mut animal = Animal::<T>::new(&mut rng);
        for _ in 0..ROUND {
            animal.transaction(&mut rng);
        }
    });
}

/// That a node of a single value is hardly longer than the value. Of a struct of many, its owner sees to that.
fn short<T: Play>() {
    seeds(type_name::<T>(), 100, |seed| {
        let mut rng = Rng::new(seed);
        let mut value = T::make(&mut rng);
        for _ in 0..20 {
            let shadow = value.shadow();
            for _ in 0..1 + rng.below(3) {
                value.edit(&mut rng);
            }
            let mut patcher = Patcher::new();
            value.flush(&shadow, &mut patcher).expect("encodes");
            let (patch, whole) = (patcher.len(), encode(&value).len());
            assert!(patch <= whole + 16, "{patch} bytes for {whole}: {value:?}");
        }
    });
}

#[test]
fn a_node_of_a_single_value_is_hardly_longer_than_the_value() {
    short::<String>();
    short::<Option<(u64, char)>>();
    short::<Counter>();
    short::<Text>();
    short::<Vec<u16>>();
    short::<List<u16>>();
    short::<Map<u32, u16>>();
    short::<Set<u16>>();
}

macro_rules! zoo {
    ($($name:ident: $($ty:ty),+;)*) => {$(
        #[test]
        fn $name() {
            $(play::<$ty>();)+
        }
    )*};
}

// 18 animals, 216,000 transactions.
zoo! {
    single_values_are_followed: String, Option<(u64, char)>, Tuple;
    structs_are_followed: Page<Cell>, Id, Sparse, Leaves;
    enums_are_followed: Shape, Internal, Adjacent, Page<Adjacent>;
    recursive_types_are_followed: Tree, Chain;
    std_containers_are_followed: Std;
    tracked_containers_are_followed: Held, Sorted<Cell>, Page<Text>;
    the_whole_zoo_is_followed: Zoo;
}
