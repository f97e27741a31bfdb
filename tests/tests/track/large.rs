//! The five edits of a large object: what they are written as, and what they allocate.

use helve::prelude::*;
use helve::track::{List, Map, Text, Tracked};
use helve_handles::track::apply;

use crate::encode;

#[derive(Wire, Track, Clone)]
struct Cell {
    text: String,
    color: u8,
    score: f64,
}

#[derive(Wire, Track, Clone)]
struct Event {
    at: u32,
    what: String,
}

#[derive(Wire, Track, Clone)]
struct Sheet<N: Track> {
    cells: Map<u32, Cell>,
    log: List<Event>,
    notes: N,
}

/// A text that can be inserted into.
trait Notes: Track + From<String> {
    fn insert(&mut self, at: usize, text: &str);
}

impl Notes for Text {
    fn insert(&mut self, at: usize, text: &str) {
        self.insert_str(at, text);
    }
}

impl Notes for String {
    fn insert(&mut self, at: usize, text: &str) {
        self.insert_str(at, text);
    }
}

/// What an edit may allocate that touches nothing large: its log, its node, and their tables.
const ITSELF: u64 = 2_048;

/// 10,000 cells, 10,000 events and a text of 10 kB, 770 kB in all.
fn sheet<N: Notes>() -> Sheet<N> {
    let cells = (0..10_000).map(|n| {
        let text = format!("text {n:07}");
        let score = f64::from(n) / 8.0;
        (
            n,
            Cell {
                text,
                color: 7,
                score,
            },
        )
    });
    let log = (0..10_000).map(|n| Event {
        at: 1_700_000_000 + n,
        what: format!("edited cell {n:05}"),
    });
    Sheet {
        cells: cells.collect(),
        log: log.collect(),
        notes: "Ten letters, and so on. ".repeat(420).into(),
    }
}

fn score<N: Track>(sheet: &mut Sheet<N>) {
    sheet.cells.get_mut(&7_000).expect("there").score = -2.5;
}

fn push<N: Track>(sheet: &mut Sheet<N>) {
    let (at, what) = (1_700_010_000, "edited cell 07000".to_owned());
    sheet.log.push(Event { at, what });
}

fn insert<N: Notes>(sheet: &mut Sheet<N>) {
    sheet.notes.insert(5_000, "so long");
}

fn remove<N: Track>(sheet: &mut Sheet<N>) {
    sheet.log.remove(5_000);
}

fn swap<N: Track>(sheet: &mut Sheet<N>) {
    sheet.log.swap(2_000, 8_000);
}

/// The node of one edit of a value that was edited before, and what the edit allocated: (count, bytes).
fn edited<N: Notes>(edit: impl Fn(&mut Sheet<N>)) -> (Vec<u8>, (u64, u64)) {
    let (mut replica, mut tracked) = (sheet(), Tracked::new(sheet()));
    // With the first edit the history is made, which is all of the value; a list and a text that are full grow.
    let first = |sheet: &mut Sheet<N>| {
        push(sheet);
        insert(sheet);
    };
    tracked.change(first).expect("encodes");
    first(&mut replica);
    let before = tracked.rev();
    let counted = allocation_counter::measure(|| tracked.change(&edit).expect("encodes"));
    let history = tracked.history().expect("encodes");
    let node = history.lock().expect("sound").between(before);
    let node = node.expect("one revision").bytes;
    apply(&mut replica, &node).expect("fits");
    assert!(replica.same(&tracked));
    (node.to_vec(), (counted.count_total, counted.bytes_total))
}

/// One edit is told in at most `most` bytes, and allocates at most so much.
fn assert_small<N: Notes>(
    what: &str,
    most: usize,
    allocated_most: u64,
    edit: impl Fn(&mut Sheet<N>),
) {
    let (node, (count, allocated)) = edited(edit);
    let len = node.len();
    println!("{what}: {len} bytes; {allocated} bytes in {count} allocations");
    assert!(len <= most, "{what}: {len} bytes, at most {most}");
    assert!(
        allocated <= allocated_most,
        "{what}: {allocated} bytes in {count} allocations"
    );
}

#[test]
fn the_object_is_as_large_as_its_targets_are_for() {
    let (text, string) = (encode(&sheet::<Text>()), encode(&sheet::<String>()));
    assert_eq!(text, string);
    let len = text.len();
    assert!((765_000..775_000).contains(&len), "{len} bytes");
}

#[test]
fn the_five_edits_of_770_kb_are_told_in_some_twenty_bytes_and_allocate_for_themselves_alone() {
    assert_small::<Text>("change one score", 25, ITSELF, score);
    assert_small::<Text>("push an event", 45, ITSELF, push);
    assert_small::<Text>("insert mid-string", 20, ITSELF, insert);
    assert_small::<Text>("remove one of 10,000", 15, ITSELF, remove);
    assert_small::<Text>("swap two", 15, ITSELF, swap);
}

#[test]
fn a_plain_string_beside_large_containers_costs_its_own_copy_and_no_more() {
    let most = ITSELF + 10_100;
    assert_small::<String>("change one score", 25, most, score);
    assert_small::<String>("push an event", 45, most, push);
    assert_small::<String>("insert mid-string", 20, most, insert);
    assert_small::<String>("remove one of 10,000", 15, most, remove);
    assert_small::<String>("swap two", 15, most, swap);
}
