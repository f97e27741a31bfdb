//! What is done with patches and values without their types, held against derived types and the containers: composed,
//! hidden, focused, hashed, and read as another version of the type.

#![allow(unreachable_pub, reason = "written as a library would write it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use helve::prelude::*;
use helve::track::{Counter, HMap, List, Map, Set, Text};
use helve_handles::Reference;
use helve_handles::descriptor::Descriptor;
use helve_handles::patch::{
    PatchReader, Patcher, Path, Translation, View, canary, compose, conflicts,
};
use helve_handles::put::{put_array, put_str, put_uint};
use helve_handles::track::apply;

#[derive(Wire, Track, Clone, Debug, Default)]
struct Cell {
    text: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
    #[track(view = "admin")]
    owner: Option<u32>,
    n: i64,
}

#[derive(Wire, Track, Clone, Debug)]
#[serde(tag = "kind")]
enum Shape {
    Dot,
    Circle { r: u32, cell: Cell },
    Boxed(Cell),
}

#[derive(Wire, Track, Clone, Debug)]
#[serde(tag = "t", content = "c")]
enum Item {
    Nothing,
    One(Cell),
    Two(u8, List<Cell>),
}

#[derive(Wire, Track, Clone, Debug)]
struct Place {
    x: i32,
    #[serde(default)]
    #[track(view = "admin")]
    y: i32,
}

#[derive(Wire, Track, Clone)]
struct Doc {
    title: String,
    hits: Counter,
    body: Text,
    cells: Map<u32, Cell>,
    rows: List<Cell>,
    tags: Set<String>,
    seen: HMap<String, Counter>,
    shape: Shape,
    items: Vec<Item>,
    #[serde(flatten)]
    place: Place,
    pair: (u8, Option<Box<Cell>>),
    old: BTreeMap<u8, Vec<u16>>,
    #[track(view = "admin")]
    secret: Option<Cell>,
}

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

fn cell(rng: &mut Rng) -> Cell {
    Cell {
        text: "text ".repeat(rng.below(4)),
        note: "n".repeat(rng.below(2)),
        owner: (rng.below(2) == 0).then(|| rng.below(300) as u32),
        n: rng.below(9) as i64,
    }
}

fn doc() -> Doc {
    Doc {
        title: "title".into(),
        hits: Counter::new(1),
        body: "some text".into(),
        cells: Map::new(),
        rows: List::new(),
        tags: Set::new(),
        seen: HMap::default(),
        shape: Shape::Dot,
        items: Vec::new(),
        place: Place { x: 1, y: 2 },
        pair: (0, None),
        old: BTreeMap::new(),
        secret: None,
    }
}

fn edit_cell(cell: &mut Cell, rng: &mut Rng) {
    match rng.below(4) {
        0 => cell.text.push_str("more of the text"),
        1 => cell.note = "n".repeat(rng.below(2)),
        2 => cell.owner = (rng.below(3) > 0).then(|| rng.below(300) as u32),
        _ => cell.n += 1,
    }
}

fn edit(doc: &mut Doc, rng: &mut Rng) {
    let key = rng.below(4) as u32;
    let at = rng.below(doc.rows.len());
    match rng.below(22) {
        0 => doc.title.push('!'),
        1 => _ = doc.hits.add(3),
        2 => doc.body.insert_str(0, "é"),
        3 => _ = doc.cells.insert(key, cell(rng)),
        4 => _ = doc.cells.remove(&key),
        5 | 6 => {
            if let Some(cell) = doc.cells.get_mut(&key) {
                edit_cell(cell, rng);
            }
        }
        7 | 8 => doc.rows.push(cell(rng)),
        9 if !doc.rows.is_empty() => _ = doc.rows.remove(at),
        10 if !doc.rows.is_empty() => doc.rows.swap(0, at),
        11 | 12 if !doc.rows.is_empty() => edit_cell(&mut doc.rows[at], rng),
        13 => _ = doc.tags.insert(format!("tag {key}")),
        14 => _ = doc.tags.remove(&format!("tag {key}")),
        15 => _ = doc.seen.entry(format!("seen {key}")).or_default().add(1),
        16 => match (&mut doc.shape, rng.below(3)) {
            (Shape::Circle { r, cell }, 0) => {
                *r += 1;
                edit_cell(cell, rng);
            }
            (Shape::Boxed(cell), 0) => edit_cell(cell, rng),
            (shape, 1) => *shape = Shape::Boxed(cell(rng)),
            (shape, _) => {
                *shape = Shape::Circle {
                    r: 1,
                    cell: cell(rng),
                };
            }
        },
        17 => match (doc.items.last_mut(), rng.below(4)) {
            (Some(Item::Two(n, cells)), 0) => {
                *n = n.wrapping_add(1);
                cells.push(cell(rng));
            }
            (Some(Item::One(cell)), 0) => edit_cell(cell, rng),
            (_, 1) => doc.items.push(Item::One(cell(rng))),
            (_, 2) => doc.items.push(Item::Two(1, List::new())),
            _ => doc.items.push(Item::Nothing),
        },
        18 => (doc.place.x, doc.place.y) = (key as i32, rng.below(5) as i32),
        19 => match &mut doc.pair.1 {
            Some(cell) if key > 0 => edit_cell(cell, rng),
            other => *other = (key > 1).then(|| Box::new(cell(rng))),
        },
        20 => doc.old.entry(key as u8).or_default().push(7),
        21 => match &mut doc.secret {
            Some(cell) if key > 0 => edit_cell(cell, rng),
            other => *other = (key > 1).then(|| cell(rng)),
        },
        _ => {}
    }
}

/// A commit of some edits; nothing where they changed nothing.
fn commit(doc: &mut Doc, rng: &mut Rng) -> Option<Vec<u8>> {
    let shadow = doc.shadow();
    (0..1 + rng.below(4)).for_each(|_| edit(doc, rng));
    let mut patcher = Patcher::new();
    let changed = doc.flush(&shadow, &mut patcher).expect("encodes");
    changed.then(|| patcher.finish().expect("within its limits").0)
}

fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut patcher = Patcher::new();
    patcher.value(value).expect("encodes");
    patcher.finish().expect("within its limits").0
}

fn decode<T: Wire>(bytes: &[u8]) -> T {
    PatchReader::new(bytes).value().expect("a value")
}

fn rounds(name: &str, round: u64) -> Rng {
    let seed = std::env::var("HELVE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(round);
    Rng((seed + name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

#[test]
fn commits_compose_and_drafts_that_do_not_conflict_go_in_either_order() {
    let (mut composed, mut free) = (0, 0);
    for round in 0..4_000 {
        let mut rng = rounds("compose", round);
        let mut host = doc();
        (0..30).for_each(|_| edit(&mut host, &mut rng));
        let old = host.clone();
        let patches: Vec<_> = (0..4).filter_map(|_| commit(&mut host, &mut rng)).collect();
        let all: Vec<(&[u8], &[Reference])> = patches.iter().map(|p| (&p[..], &[][..])).collect();
        let (all, _) = compose(&all).expect("well formed");
        let mut copy = old.clone();
        if !patches.is_empty() {
            apply(&mut copy, &all).unwrap_or_else(|error| panic!("round {round}: {error}"));
            composed += 1;
        }
        assert!(copy.same(&host), "round {round}");

        let mut drafted = old;
        let Some(draft) = commit(&mut drafted, &mut rng) else {
            continue;
        };
        if !patches.is_empty() && !conflicts(false, &draft, &all) {
            apply(&mut host, &draft).expect("fits");
            apply(&mut drafted, &all).expect("fits");
            assert!(host.same(&drafted), "round {round}");
            free += 1;
        }
    }
    assert!(composed > 3_000 && free > 500, "{composed} {free}");
}

/// The same with what only `admin` sees gone.
fn without_secrets(doc: &Doc) -> Doc {
    let clean = |cell: &mut Cell| cell.owner = None;
    let mut doc = doc.clone();
    doc.secret = None;
    doc.place.y = 0;
    doc.cells.values_mut().for_each(clean);
    doc.rows.iter_mut().for_each(clean);
    doc.pair.1.iter_mut().for_each(|cell| clean(cell));
    match &mut doc.shape {
        Shape::Circle { cell, .. } | Shape::Boxed(cell) => clean(cell),
        Shape::Dot => {}
    }
    for item in &mut doc.items {
        match item {
            Item::One(cell) => clean(cell),
            Item::Two(_, cells) => cells.iter_mut().for_each(clean),
            Item::Nothing => {}
        }
    }
    doc
}

#[test]
fn a_session_without_a_view_follows_what_it_may_see() {
    let descriptor = Arc::new(Descriptor::of::<Doc>().expect("well formed"));
    let view = View::new(descriptor.clone(), []).expect("every field can be told");
    let root = descriptor.root();
    for round in 0..400 {
        let mut rng = rounds("view", round);
        let mut host = doc();
        (0..30).for_each(|_| edit(&mut host, &mut rng));
        let (bytes, _) = view.value(root, &encode(&host), &[]).expect("of the type");
        let mut copy: Doc = decode(&bytes);
        for _ in 0..8 {
            if let Some(patch) = commit(&mut host, &mut rng)
                && let Some((node, _)) = view.patch(root, &patch, &[]).expect("of the type")
            {
                apply(&mut copy, &node).unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
            assert!(copy.same(&without_secrets(&host)), "round {round}");
        }
        let (bytes, _) = view.value(root, &encode(&host), &[]).expect("of the type");
        for name in [&b"owner"[..], b"secret", b"\xa1y"] {
            assert!(!bytes.windows(name.len()).any(|bytes| bytes == name));
        }
    }
}

#[test]
fn a_part_follows_the_whole() {
    let descriptor = Descriptor::of::<Doc>().expect("well formed");
    let steps = |names: &[&str], key: Option<u64>| {
        let mut steps = Vec::new();
        put_array(&mut steps, names.len() + usize::from(key.is_some()));
        names.iter().for_each(|name| put_str(&mut steps, name));
        key.into_iter().for_each(|key| put_uint(&mut steps, key));
        Path::resolve(&descriptor, &steps).expect("there is such a part")
    };
    let entry = steps(&["cells"], Some(2));
    let flat = steps(&["x"], None);
    let boxed = steps(&["pair"], Some(1));
    assert_eq!(steps(&["y"], None).views(), ["admin"]);
    let mut followed = 0;
    for round in 0..500 {
        let mut rng = rounds("focus", round);
        let mut host = doc();
        (0..30).for_each(|_| edit(&mut host, &mut rng));
        let part = |path: &Path, host: &Doc| path.value(&encode(host), &[]).expect("of the type").0;
        let mut cell: Option<Cell> = decode(&part(&entry, &host));
        let mut x: Option<i32> = decode(&part(&flat, &host));
        let mut other: Option<Box<Cell>> = decode(&part(&boxed, &host));
        for _ in 0..8 {
            let Some(patch) = commit(&mut host, &mut rng) else {
                continue;
            };
            let node = |path: &Path| path.patch(&patch, &[]).expect("of the type");
            if let Some((node, _)) = node(&entry) {
                apply(&mut cell, &node).expect("fits");
                followed += 1;
            }
            if let Some((node, _)) = node(&flat) {
                apply(&mut x, &node).expect("fits");
            }
            if let Some((node, _)) = node(&boxed) {
                apply(&mut other, &node).expect("fits");
            }
            assert!(cell.same(&host.cells.get(&2).cloned()), "round {round}");
            assert!(x.same(&Some(host.place.x)), "round {round}");
            assert!(other.same(&host.pair.1), "round {round}");
        }
    }
    assert!(followed > 200, "{followed}");
}

#[test]
fn a_canary_is_the_same_at_both_ends() {
    let descriptor = Descriptor::of::<Doc>().expect("well formed");
    for round in 0..300 {
        let mut rng = rounds("canary", round);
        let (mut host, mut copy) = (doc(), doc());
        for _ in 0..10 {
            let old = host.clone();
            let Some(patch) = commit(&mut host, &mut rng) else {
                continue;
            };
            apply(&mut copy, &patch).expect("fits");
            let of = |doc: &Doc| canary(&encode(doc), &descriptor).expect("of the type");
            // The hash map of the one has another order than that of the other.
            assert_eq!(of(&copy), of(&host), "round {round}");
            assert_eq!(of(&old) == of(&host), old.same(&host), "round {round}");
        }
    }
}

/// The version of the type that the next release has: other orders, new fields and variants, some gone.
mod next {
    use super::*;

    #[derive(Wire, Track, Clone, Debug, Default)]
    pub struct Cell {
        pub n: i64,
        #[serde(default)]
        pub weight: f64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub note: String,
        pub text: String,
    }

    #[derive(Wire, Track, Clone, Debug)]
    #[serde(tag = "kind")]
    pub enum Shape {
        Boxed(Cell),
        Square {
            side: u8,
        },
        Dot,
        #[serde(other)]
        Unknown,
    }

    #[derive(Wire, Track, Clone)]
    pub struct Doc {
        pub shape: Shape,
        pub extra: Option<u8>,
        pub rows: List<Cell>,
        pub cells: Map<u32, Cell>,
        pub hits: Counter,
        pub body: String,
        pub seen: BTreeMap<String, Counter>,
        pub pair: (u8, Option<Cell>),
    }
}

#[test]
fn the_next_version_reads_patches_as_it_reads_values() {
    let theirs = Descriptor::of::<Doc>().expect("well formed");
    let ours = Descriptor::of::<next::Doc>().expect("well formed");
    let table = Translation::between(&theirs, &ours).expect("they go together");
    assert_eq!(table.unknown_variants(), ["Doc.shape::Circle"]);
    let (mut unknown, mut skipped) = (0, 0);
    for round in 0..400 {
        let mut rng = rounds("next", round);
        let mut host = doc();
        (0..30).for_each(|_| edit(&mut host, &mut rng));
        let mut copy: next::Doc = decode(&encode(&host));
        for _ in 0..8 {
            let Some(patch) = commit(&mut host, &mut rng) else {
                continue;
            };
            let mut reader = PatchReader::new(&patch).with_translation(&table);
            let patched = copy.patch(&mut reader);
            patched.unwrap_or_else(|error| panic!("round {round}: {error}"));
            reader.finish().expect("all of it");
            skipped += reader.skipped();
            let expected: next::Doc = decode(&encode(&host));
            assert!(copy.same(&expected), "round {round}");
            unknown += usize::from(matches!(copy.shape, next::Shape::Unknown));
        }
    }
    assert!(unknown > 100 && skipped > 100, "{unknown} {skipped}");
    // Back it does not go: nobody would fill in the fields that are gone.
    let back = Translation::between(&ours, &theirs).expect_err("fields are missing");
    assert_eq!(back.why, "not there, and without a default here");
}
