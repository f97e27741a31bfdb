//! What the tests of maps keep in them, and a program that does to a tracked map and to its model what maps can do.

use helve_handles::track::{Counter, Map};

use super::Rng;

/// A plain part, a float, a string long enough for a splice, a container with an identity, and a map in the map.
pub type Cell = (u8, f64, String, Counter, Map<u8, u16>);

/// Some cell.
pub fn cell(rng: &mut Rng) -> Cell {
    let text = "t".repeat(rng.below(24) as usize);
    let inner = (0..rng.below(3)).map(|_| (rng.below(4) as u8, rng.below(3) as u16));
    let inner = inner.collect();
    (
        rng.below(3) as u8,
        rng.below(3) as f64,
        text,
        Counter::new(0),
        inner,
    )
}

/// One edit of a cell, the same for the same numbers.
pub fn poke(cell: &mut Cell, what: u64) {
    let n = what / 8;
    match what % 8 {
        0 => cell.0 = n as u8 % 3,
        1 => cell.1 = if cell.1 == 0.0 { -cell.1 } else { n as f64 },
        2 => cell.2.push((b'a' + n as u8 % 26) as char),
        3 => _ = cell.3.add(n as i64 % 5 - 2),
        4 => cell.3 = Counter::new(n as i64),
        5 => _ = cell.4.insert(n as u8 % 4, n as u16),
        6 => _ = cell.4.remove(&(n as u8 % 4)),
        // A look, and no change.
        _ => _ = cell.4.get_mut(&0),
    }
}

/// One thing that both kinds of map can do, done to `ours` and to its model.
#[macro_export]
macro_rules! map_step {
    ($rng:ident, $ours:ident, $model:ident, $entry:ident, $model_entry:ident) => {{
        let key = $rng.below(12) as u16;
        let what = $rng.next();
        match $rng.below(22) {
            0..=2 => {
                let (a, b) = ($ours.get_mut(&key), $model.get_mut(&key));
                assert_eq!(a.is_some(), b.is_some());
                a.into_iter().chain(b).for_each(|cell| poke(cell, what));
            }
            3 | 4 => {
                let new = cell($rng);
                assert_eq!($ours.insert(key, new.clone()), $model.insert(key, new));
            }
            5 => assert_eq!($ours.remove(&key), $model.remove(&key)),
            6 => assert_eq!($ours.remove_entry(&key), $model.remove_entry(&key)),
            7 => {
                // Taken out, changed, put back.
                if let (Some(mut a), Some(mut b)) = ($ours.remove(&key), $model.remove(&key)) {
                    poke(&mut a, what);
                    poke(&mut b, what);
                    assert_eq!($ours.insert(key, a), $model.insert(key, b));
                }
            }
            8 => {
                let new = cell($rng);
                poke($ours.entry(key).or_insert(new.clone()), what);
                poke($model.entry(key).or_insert(new), what);
            }
            9 => {
                let make =
                    |key: &u16| (*key as u8, 0.0, String::new(), Counter::new(1), Map::new());
                let modify = |cell: &mut Cell| poke(cell, what);
                $ours.entry(key).and_modify(modify).or_insert_with_key(make);
                $model
                    .entry(key)
                    .and_modify(modify)
                    .or_insert_with_key(make);
            }
            10 => assert_eq!(
                $ours.entry(key).or_default(),
                $model.entry(key).or_default()
            ),
            11 => match ($ours.entry(key), $model.entry(key)) {
                ($entry::Occupied(mut a), $model_entry::Occupied(mut b)) => {
                    assert_eq!((a.key(), a.get()), (b.key(), b.get()));
                    poke(a.get_mut(), what);
                    poke(b.get_mut(), what);
                    match what >> 32 & 3 {
                        0 => assert_eq!(a.remove(), b.remove()),
                        1 => assert_eq!(a.remove_entry(), b.remove_entry()),
                        2 => {
                            let new = cell($rng);
                            assert_eq!(a.insert(new.clone()), b.insert(new));
                            poke(a.get_mut(), what >> 3);
                            poke(b.get_mut(), what >> 3);
                        }
                        _ => {
                            poke(a.into_mut(), what >> 3);
                            poke(b.into_mut(), what >> 3);
                        }
                    }
                }
                ($entry::Vacant(a), $model_entry::Vacant(b)) => {
                    assert_eq!(a.key(), b.key());
                    if what & 1 == 0 {
                        assert_eq!(a.into_key(), b.into_key());
                    } else {
                        let new = cell($rng);
                        poke(a.insert(new.clone()), what >> 3);
                        poke(b.insert(new), what >> 3);
                    }
                }
                _ => panic!("one has {key}, the other has not"),
            },
            12 => {
                // Some of them, by key: the order is the map's own business.
                let change = |(key, cell): (&u16, &mut Cell)| {
                    if what >> key & 1 == 1 {
                        poke(cell, what >> 3);
                    }
                };
                $ours.iter_mut().for_each(change);
                $model.iter_mut().for_each(change);
            }
            13 => {
                $ours.values_mut().for_each(|cell| poke(cell, what));
                $model.values_mut().for_each(|cell| poke(cell, what));
            }
            14 => {
                for (_, cell) in &mut *$ours {
                    poke(cell, what);
                }
                for (_, cell) in &mut *$model {
                    poke(cell, what);
                }
            }
            15 => {
                let keep = |key: &u16, cell: &mut Cell| {
                    poke(cell, what >> 3);
                    what >> (key + 16) & 3 != 0
                };
                $ours.retain(keep);
                $model.retain(keep);
            }
            16 => {
                let more: Vec<_> = (0..3).map(|n| (key / 2 + n, cell($rng))).collect();
                $ours.extend(more.clone());
                $model.extend(more);
            }
            17 if what & 7 == 0 => {
                $ours.clear();
                $model.clear();
            }
            18 => {
                // What was in one place goes to another.
                if let (Some(a), Some(b)) = ($ours.get_mut(&key), $model.get_mut(&key)) {
                    $rng.lost = true;
                    let (a, b) = (std::mem::take(a), std::mem::take(b));
                    $ours.insert(key / 2, a);
                    $model.insert(key / 2, b);
                }
            }
            19 => {
                // Each reading method, by `Deref`.
                assert_eq!($ours.get(&key), $model.get(&key));
                assert_eq!($ours.contains_key(&key), $model.contains_key(&key));
                assert_eq!($ours.get_key_value(&key), $model.get_key_value(&key));
                assert_eq!(
                    ($ours.len(), $ours.is_empty()),
                    ($model.len(), $model.is_empty())
                );
                if $ours.contains_key(&key) {
                    assert_eq!($ours[&key], $model[&key]);
                }
            }
            _ => return false,
        }
        true
    }};
}
