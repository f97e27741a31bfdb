//! Patches that somebody spoiled: each is refused, or applied to something else than it was made for, and none panics
//! or makes room for what it only claims. `HELVE_CORRUPTED` says how many for each of four kinds of values.

use helve_handles::patch::{PatchReader, Patcher};
use helve_tests::seeded::Rng;

use super::play::Play;
use super::zoo::{Cell, hex, seeds};

/// A million in all.
const CORRUPTED: u64 = 250_000;
/// Of one seed.
const ROUND: u64 = 500;
/// As a host takes from a proposal.
const QUOTA: u64 = 65_536;

/// Real patches of values of one type, one after another.
fn patches<T: Play>(rng: &mut Rng, count: usize) -> (T, Vec<Vec<u8>>) {
    let mut value = T::make(rng);
    let mut patches = Vec::new();
    for _ in 0..count {
        let shadow = value.shadow();
        for _ in 0..1 + rng.below(4) {
            value.edit(rng);
        }
        let mut patcher = Patcher::new();
        if value.flush(&shadow, &mut patcher).expect("encodes") {
            patches.push(patcher.finish().expect("within its limits").0);
        }
    }
    (value, patches)
}

/// What turns up where it should not: heads, tags, lengths.
const ODD: [u8; 20] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 0x90, 0x92, 0x9f, 0xc0, 0xc4, 0xcc, 0xcf, 0xd4, 0xdc, 0xdd, 0xff,
];

fn spoil(patch: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let len = patch.len();
        let (i, j) = (rng.below(len + 1), rng.below(len + 1));
        let (from, to) = (i.min(j), i.max(j));
        match rng.below(9) {
            0 if len > 0 => patch[rng.below(len)] ^= 1 << rng.below(8),
            1 if len > 0 => patch[rng.below(len)] = *rng.pick(&ODD),
            2 if len > 0 => patch[rng.below(len)] = rng.number() as u8,
            3 => patch.truncate(i),
            4 => drop(patch.drain(from..to.min(from + 4))),
            5 => patch.insert(i, *rng.pick(&ODD)),
            6 => {
                let part = patch[from..to].to_vec();
                patch.splice(i..i, part);
            }
            7 => {
                let other = rng.pick(others);
                let (a, b) = (rng.below(other.len() + 1), rng.below(other.len() + 1));
                patch.splice(from..to, other[a.min(b)..a.max(b)].iter().copied());
            }
            _ => {
                // An index or length far above all.
                let huge = [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
                patch.splice(i..i, huge[..].iter().copied());
            }
        }
    }
    // Else repeated doubling would make them long.
    patch.truncate(4096);
}

fn corrupted<T: Play>() {
    let count = std::env::var("HELVE_CORRUPTED")
        .ok()
        .and_then(|n| n.parse().ok());
    let rounds = count.unwrap_or(CORRUPTED).div_ceil(ROUND);
    seeds(std::any::type_name::<T>(), rounds, |seed| {
        let mut rng = Rng::new(!seed);
        let (origin, patches) = patches::<T>(&mut rng, 24);
        let Some(first) = patches.first() else { return };
        let (mut value, mut refused) = (origin.clone(), 0);
        for at in 0..ROUND {
            let mut patch = patches
                .get(rng.below(patches.len()))
                .unwrap_or(first)
                .clone();
            spoil(&mut patch, &patches, &mut rng);
            // Half changed values are replaced from time to time.
            if at % 50 == 0 {
                value = origin.clone();
            }
            let watched = rng.one_in(4).then(|| value.shadow());
            let mut reader = PatchReader::new(&patch).with_quota(QUOTA);
            let applied = value.patch(&mut reader).and_then(|()| reader.finish());
            refused += u64::from(applied.is_err());
            let Some(shadow) = watched else { continue };
            // As a host does with a proposal: told on, or taken back.
            if applied.is_ok() {
                let _ = value.flush(&shadow, &mut Patcher::new());
            } else if !value.undo(shadow) {
                value = origin.clone();
            }
        }
        assert!(
            refused > ROUND / 4,
            "hardly any of {} was refused",
            hex(first)
        );
    });
}

#[test]
fn spoiled_patches_of_structs_do_not_panic() {
    corrupted::<super::zoo::Sparse>();
}

#[test]
fn spoiled_patches_of_enums_do_not_panic() {
    corrupted::<super::zoo::Shape>();
}

#[test]
fn spoiled_patches_of_containers_do_not_panic() {
    corrupted::<super::zoo::Held>();
}

#[test]
fn spoiled_patches_of_lists_of_structs_do_not_panic() {
    corrupted::<helve::track::List<Cell>>();
}
