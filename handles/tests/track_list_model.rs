//! `List` does what a `Vec` does, armed or not, and its patches tell it: random programs, method by method.

mod support;

use helve_handles::patch::Patcher;
use helve_handles::track::{List, Track, apply};
use support::rows::{Row, poke, row, some_row};
use support::{Rng, flush, follow};

/// One thing that both can do, done to the list and to its model.
fn step(rng: &mut Rng, ours: &mut List<Row>, model: &mut Vec<Row>) {
    let len = model.len() as u64;
    let at = |rng: &mut Rng| rng.below(len.max(1)) as usize;
    let (i, j) = (at(rng), at(rng));
    let what = rng.next();
    let key = move |row: &Row| (u64::from(row.0) * (what | 1)) % 7;
    let (low, high) = (i.min(j).min(model.len()), i.max(j).min(model.len()));
    match rng.below(42) {
        0..=2 if len > 0 => {
            poke(&mut ours[i], what);
            poke(&mut model[i], what);
        }
        3 => {
            let (a, b) = (ours.get_mut(i), model.get_mut(i));
            assert_eq!(a.is_some(), b.is_some());
            a.into_iter().chain(b).for_each(|row| poke(row, what));
        }
        4..=6 => {
            let new = some_row(rng);
            ours.push(new.clone());
            model.push(new);
        }
        7 => assert_eq!(ours.pop(), model.pop()),
        8 | 9 => {
            let new = some_row(rng);
            ours.insert(i, new.clone());
            model.insert(i, new);
        }
        10 | 11 if len > 0 => assert_eq!(ours.remove(i), model.remove(i)),
        12 if len > 0 => assert_eq!(ours.swap_remove(i), model.swap_remove(i)),
        13 => {
            ours.truncate(i);
            model.truncate(i);
        }
        14 if what & 3 == 0 => {
            ours.clear();
            model.clear();
        }
        15 => {
            let new: Vec<Row> = (0..3).map(|_| some_row(rng)).collect();
            ours.append(&mut new.clone().into());
            model.extend_from_slice(&new);
        }
        16 => {
            let new = some_row(rng);
            ours.resize(i, new.clone());
            model.resize(i, new);
        }
        17 => {
            let keep = |row: &Row| key(row) > 1;
            ours.retain(keep);
            model.retain(keep);
        }
        18 => {
            let keep = |row: &mut Row| {
                poke(row, what);
                key(row) > 1
            };
            ours.retain_mut(keep);
            model.retain_mut(keep);
        }
        19 => {
            let (a, b) = (ours.drain(low..high), model.drain(low..high));
            assert!(a.rev().eq(b.rev()));
        }
        20 => {
            let new: Vec<Row> = (0..what % 4).map(|_| some_row(rng)).collect();
            let gone = ours.splice(low..high, new.clone());
            assert!(gone.eq(model.splice(low..high, new)));
        }
        21 => assert_eq!(ours.split_off(low), model.split_off(low)),
        22 => {
            ours.dedup();
            model.dedup();
        }
        23 => {
            ours.dedup_by_key(|row| key(row));
            model.dedup_by_key(|row| key(row));
        }
        24 => {
            let same = |a: &mut Row, b: &mut Row| {
                poke(b, what);
                key(a) == key(b)
            };
            ours.dedup_by(same);
            model.dedup_by(same);
        }
        25 | 26 if len > 0 => {
            ours.swap(i, j);
            model.swap(i, j);
        }
        27 => {
            ours.reverse();
            model.reverse();
        }
        28 => {
            ours.rotate_left(i);
            model.rotate_left(i);
        }
        29 => {
            ours.rotate_right(i);
            model.rotate_right(i);
        }
        30 if what & 3 == 0 => {
            let new = some_row(rng);
            ours.fill(new.clone());
            model.fill(new);
        }
        31 => {
            ours.sort_by_key(key);
            model.sort_by_key(key);
        }
        32 => {
            ours.sort_by(|a, b| b.1.total_cmp(&a.1));
            model.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        33 => {
            ours.sort_by_cached_key(key);
            model.sort_by_cached_key(key);
        }
        34 if len > 0 => {
            ours.move_item(i, j);
            let item = model.remove(i);
            model.insert(j, item);
        }
        35 => {
            ours.iter_mut()
                .rev()
                .skip(i)
                .for_each(|row| poke(row, what));
            model
                .iter_mut()
                .rev()
                .skip(i)
                .for_each(|row| poke(row, what));
        }
        36 => {
            let change = |rows: &mut [Row]| rows.iter_mut().for_each(|row| poke(row, what));
            change(&mut ours[low..high]);
            change(&mut model[low..high]);
        }
        37 => {
            for chunk in ours.chunks_mut(3) {
                poke(&mut chunk[0], what);
            }
            for chunk in model.chunks_mut(3) {
                poke(&mut chunk[0], what);
            }
        }
        38 => {
            let (a, b) = ours.split_at_mut(low);
            let (x, y) = model.split_at_mut(low);
            a.first_mut()
                .into_iter()
                .chain(b.last_mut())
                .for_each(|row| poke(row, what));
            x.first_mut()
                .into_iter()
                .chain(y.last_mut())
                .for_each(|row| poke(row, what));
        }
        39 if what & 7 == 0 => {
            let change = |v: &mut Vec<Row>| v.sort_by_key(key);
            ours.with_vec(change);
            change(model);
        }
        40 => {
            ours.extend_from_within(low..high);
            model.extend_from_within(low..high);
        }
        41 if len > 0 => {
            // What was in one element goes to another.
            let inner = std::mem::take(&mut ours[i].3);
            ours[j].3 = inner;
            let inner = std::mem::take(&mut model[i].3);
            model[j].3 = inner;
        }
        _ => {}
    }
}

#[test]
fn a_list_does_what_a_vec_does_and_its_patches_tell_it() {
    let mut rng = Rng::new(0x115f);
    let (mut ours, mut model) = (List::<Row>::new(), Vec::<Row>::new());
    let mut theirs = ours.clone();
    let (mut undone, mut not_undone) = (0, 0);
    for _ in 0..20_000 {
        if model.len() > 40 {
            model.truncate(6);
            ours.truncate(6);
            theirs = ours.clone();
        }
        let steps = 1 + rng.below(4);
        match rng.below(6) {
            // Unarmed it is a `Vec`.
            0 => {
                (0..steps).for_each(|_| step(&mut rng, &mut ours, &mut model));
                theirs = ours.clone();
            }
            1 => {
                let before = ours.clone();
                let shadow = ours.shadow();
                (0..steps).for_each(|_| step(&mut rng, &mut ours, &mut model));
                assert_eq!(ours, model);
                if ours.undo(shadow) {
                    undone += 1;
                    assert!(ours.same(&before), "{ours:?} was {before:?}");
                } else {
                    not_undone += 1;
                    ours = before;
                }
                model = ours.to_vec();
            }
            _ => {
                let shadow = ours.shadow();
                (0..steps).for_each(|_| step(&mut rng, &mut ours, &mut model));
                match flush(&mut ours, &shadow) {
                    Some((patch, _)) => {
                        let mut set = Patcher::new();
                        set.set(&ours).expect("encodes");
                        assert!(patch.len() <= set.len() + 16, "{patch:x?} for {ours:?}");
                        follow(&mut theirs, &patch, &mut rng);
                    }
                    None => assert!(ours.same(&theirs), "unnoticed"),
                }
                assert!(theirs.same(&ours), "{theirs:?} should be {ours:?}");
            }
        }
        assert_eq!(ours, model);
    }
    assert!(undone > 200 && not_undone > 200, "{undone}, {not_undone}");
}

#[test]
fn bytes_do_what_a_vec_of_bytes_does() {
    let mut rng = Rng::new(0xb17e);
    let (mut ours, mut model) = (List::<u8>::new(), Vec::<u8>::new());
    let mut theirs = ours.clone();
    for _ in 0..20_000 {
        let shadow = ours.shadow();
        let before = ours.clone();
        for _ in 0..1 + rng.below(4) {
            let (i, n) = (rng.below(model.len() as u64 + 1) as usize, rng.next() as u8);
            match rng.below(9) {
                0 | 1 => {
                    ours.push(n);
                    model.push(n);
                }
                2 => {
                    ours.insert(i, n);
                    model.insert(i, n);
                }
                3 => assert_eq!(ours.pop(), model.pop()),
                4 if i < model.len() => assert_eq!(ours.remove(i), model.remove(i)),
                5 if i < model.len() => (ours[i], model[i]) = (n, n),
                6 if n < 99 => {
                    ours.sort();
                    model.sort();
                }
                7 if n < 99 => {
                    ours.truncate(i);
                    model.truncate(i);
                }
                8 => {
                    ours.retain(|b| b % 8 != n % 8);
                    model.retain(|b| b % 8 != n % 8);
                }
                _ => {}
            }
        }
        assert_eq!(ours, model);
        if rng.one_in(4) {
            if ours.undo(shadow) {
                assert_eq!(ours, before);
            }
            (ours, model) = (before.clone(), before.into_vec());
        } else if let Some((patch, _)) = flush(&mut ours, &shadow) {
            assert!(patch.len() <= ours.len() + 4 + 16, "{} bytes", patch.len());
            follow(&mut theirs, &patch, &mut rng);
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_host_that_follows_writes_the_same_patch() {
    let mut rng = Rng::new(7);
    let mut ours: List<Row> = (0..12).map(row).collect();
    for _ in 0..2_000 {
        let mut theirs = ours.clone();
        let mut model = ours.to_vec();
        let shadow = ours.shadow();
        (0..3).for_each(|_| step(&mut rng, &mut ours, &mut model));
        if let Some((patch, _)) = flush(&mut ours, &shadow) {
            let shadow = theirs.shadow();
            apply(&mut theirs, &patch).expect("fits");
            let again = flush(&mut theirs, &shadow).map_or(Vec::new(), |(patch, _)| patch);
            assert!(again.len() <= patch.len(), "{again:x?} for {patch:x?}");
            assert!(theirs.same(&ours));
        }
        ours.truncate(12);
        ours.resize(12, row(1));
    }
}

#[test]
fn a_mutilated_patch_is_refused_or_told_on_and_never_panics() {
    let mut rng = Rng::new(0xbad);
    let (mut refused, mut applied) = (0, 0);
    for _ in 0..2_000 {
        let rows: List<Row> = (0..8).map(row).collect();
        let (mut ours, mut model) = (rows.clone(), rows.to_vec());
        let shadow = ours.shadow();
        (0..3).for_each(|_| step(&mut rng, &mut ours, &mut model));
        let Some((patch, _)) = flush(&mut ours, &shadow) else {
            continue;
        };
        for _ in 0..8 {
            let mut bad = patch.clone();
            for _ in 0..1 + rng.below(2) {
                let at = rng.below(bad.len() as u64) as usize;
                bad[at] = match rng.below(3) {
                    0 => rng.next() as u8,
                    1 => rng.below(10) as u8,
                    _ => bad[at] ^ 1 << rng.below(8),
                };
            }
            let (mut host, mut follower) = (rows.clone(), rows.clone());
            let shadow = host.shadow();
            match apply(&mut host, &bad) {
                Ok(()) => applied += 1,
                Err(_) => refused += 1,
            }
            // Also where it stopped midway: what the host tells is what it did.
            if let Some((patch, _)) = flush(&mut host, &shadow) {
                apply(&mut follower, &patch).expect("fits");
            }
            assert!(follower.same(&host), "{bad:x?}");
        }
    }
    assert!(refused > 1_000 && applied > 1_000, "{refused}, {applied}");
}

#[test]
fn every_order_is_told_whether_by_moves_or_by_a_permutation() {
    let mut rng = Rng::new(0x50f7);
    let list: List<u16> = (0..90).collect();
    let mut longest = 0;
    for n in 0..3_000 {
        let mut keys: Vec<u16> = list.to_vec();
        for _ in 0..n % 12 {
            keys[rng.below(90) as usize] = rng.below(90) as u16;
        }
        let (mut ours, mut theirs) = (list.clone(), list.clone());
        let shadow = ours.shadow();
        ours.sort_by_key(|item| keys[usize::from(*item)]);
        let mut model = list.to_vec();
        model.sort_by_key(|item| keys[usize::from(*item)]);
        assert_eq!(ours, model);
        if let Some((patch, _)) = flush(&mut ours, &shadow) {
            longest = longest.max(patch.len());
            follow(&mut theirs, &patch, &mut rng);
        }
        assert_eq!(theirs, model);
    }
    assert!(longest <= 100, "{longest} bytes");
}
