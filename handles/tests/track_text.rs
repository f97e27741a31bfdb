//! `Text` against `String`, method by method, under random programs; `Nested` beside it.

use helve_handles::patch::Patcher;
use helve_handles::track::{Nested, Text, Track, apply};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn words(&mut self) -> String {
        let letters = ['a', 'b', 'é', '😀', '\n', 'z', '漢'];
        (0..self.below(5))
            .map(|_| letters[self.below(letters.len())])
            .collect()
    }

    /// A border of characters.
    fn border(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// One method on both.
fn step(random: &mut Random, text: &mut Text, model: &mut String) {
    let words = random.words();
    let (a, b) = (random.border(model), random.border(model));
    let (start, end) = (a.min(b), a.max(b));
    match random.below(12) {
        0 => {
            text.push_str(&words);
            model.push_str(&words);
        }
        1 => {
            text.push('ü');
            model.push('ü');
        }
        2 => {
            text.insert_str(start, &words);
            model.insert_str(start, &words);
        }
        3 => {
            text.insert(start, '😀');
            model.insert(start, '😀');
        }
        4 => assert_eq!(text.pop(), model.pop()),
        5 if start < model.len() => assert_eq!(text.remove(start), model.remove(start)),
        6 => {
            let end = end.min(start + random.below(6));
            let end = (end..=model.len())
                .find(|at| model.is_char_boundary(*at))
                .unwrap_or(start);
            text.replace_range(start..end, &words);
            model.replace_range(start..end, &words);
        }
        7 if random.below(8) == 0 => {
            text.truncate(end);
            model.truncate(end);
        }
        8 if random.below(30) == 0 => {
            text.clear();
            model.clear();
        }
        9 if random.below(8) == 0 => assert_eq!(text.split_off(end), model.split_off(end)),
        10 if random.below(8) == 0 => {
            text.retain(|c| c != 'a');
            model.retain(|c| c != 'a');
        }
        11 => {
            let mut other = model.clone();
            other.insert_str(start, &words);
            text.set(&other);
            *model = other;
        }
        _ => {}
    }
    assert_eq!(&**text, model);
}

#[test]
fn random_edits_of_a_text_travel_and_can_be_taken_back() {
    for seed in 1..400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model = "The helve is the handle of a tool. ".repeat(random.below(4));
        let (mut ours, mut theirs) = (Text::from(&*model), Text::from(&*model));
        for transaction in 0..20 {
            let before = ours.clone();
            let mut twin = ours.clone();
            let (shadow, mut twin_shadow) = (ours.shadow(), twin.shadow());
            let at = random.0;
            let mut model_before = model.clone();
            let steps = random.below(6);
            (0..steps).for_each(|_| step(&mut random, &mut ours, &mut model));
            if random.below(20) == 0 {
                ours = Text::from(&*model);
            }
            let mut patcher = Patcher::new();
            let changed = ours.flush(&shadow, &mut patcher).expect("encodes");
            let (patch, _) = patcher.finish().expect("fits");
            assert!(
                changed || ours == before,
                "seed {seed}, transaction {transaction}"
            );
            if changed {
                // The replica is armed, and tells the same.
                let armed = theirs.shadow();
                apply(&mut theirs, &patch).expect("fits");
                assert!(
                    patch.len() <= model.len() + 5 + 16,
                    "{} of {}",
                    patch.len(),
                    model.len()
                );
                let mut patcher = Patcher::new();
                theirs.flush(&armed, &mut patcher).expect("encodes");
                let again = patcher.finish().expect("fits").0;
                let mut third = before.clone();
                if !again.is_empty() {
                    apply(&mut third, &again).expect("fits");
                }
                assert_eq!(third, ours, "seed {seed}, transaction {transaction}");
            }
            assert_eq!(theirs, ours, "seed {seed}, transaction {transaction}");
            // The same again, taken back.
            let mut replay = Random(at);
            replay.below(6);
            (0..steps).for_each(|_| step(&mut replay, &mut twin, &mut model_before));
            if twin.undo(std::mem::take(&mut twin_shadow)) {
                assert_eq!(twin, before, "seed {seed}, transaction {transaction}");
            }
        }
    }
}

#[test]
fn typing_is_one_edit() {
    let mut text = Text::from("x".repeat(100));
    let shadow = text.shadow();
    for (at, c) in "hello".char_indices() {
        text.insert(50 + at, c);
    }
    let mut patcher = Patcher::new();
    text.flush(&shadow, &mut patcher).expect("encodes");
    let (patch, _) = patcher.finish().expect("fits");
    assert_eq!(patch, b"\x94\x05\x32\x00\xa5hello");
}

#[test]
fn a_long_log_gives_way_to_the_text() {
    let mut text = Text::from("short");
    let shadow = text.shadow();
    for _ in 0..100 {
        text.replace_range(0..1, "t");
    }
    let mut patcher = Patcher::new();
    assert_eq!(text.flush(&shadow, &mut patcher), Ok(true));
    assert_eq!(patcher.finish().expect("fits").0, b"\x92\x00\xa5thort");
}

#[test]
#[should_panic(expected = "not whole characters")]
fn a_range_inside_a_character_is_refused_before_anything_is_logged() {
    Text::from("é").replace_range(1..2, "x");
}

#[test]
fn what_is_nested_is_shadowed_at_its_first_write() {
    let mut value = (1_u8, Nested::new((2_u8, "x".repeat(50))));
    let shadow = value.shadow();
    value.1.1.push('y');
    let mut patcher = Patcher::new();
    assert_eq!(value.flush(&shadow, &mut patcher), Ok(true));
    let (patch, _) = patcher.finish().expect("fits");
    assert_eq!(patch, b"\x93\x01\x01\x93\x01\x01\x94\x05\x32\x00\xa1y");
    // Another one put in its place is told whole; the same one untouched not at all.
    let shadow = value.shadow();
    value.1 = value.1.clone();
    let mut patcher = Patcher::new();
    assert_eq!(value.flush(&shadow, &mut patcher), Ok(true));
    let shadow = value.shadow();
    let mut patcher = Patcher::new();
    assert_eq!(value.flush(&shadow, &mut patcher), Ok(false));
    let before = value.clone();
    let shadow = value.shadow();
    value.1.0 = 9;
    assert!(value.undo(shadow));
    assert_eq!(value, before);
}
