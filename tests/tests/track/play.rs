//! Types that can be made and edited at random.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use helve::track::{Counter, Deque, List, Map, Nested, Set, Text};
use helve::{Track, Wire};
use helve_tests::seeded::Rng;

pub(super) trait Play: Track + std::fmt::Debug {
    fn make(rng: &mut Rng) -> Self;

    /// Changes something, or nothing.
    fn edit(&mut self, rng: &mut Rng) {
        *self = Self::make(rng);
    }
}

/// A length, small as a rule.
fn len(rng: &mut Rng) -> usize {
    match rng.one_in(12) {
        true => rng.below(24),
        false => rng.below(5),
    }
}

macro_rules! leaves {
    ($($leaf:ty: |$rng:ident| $make:expr;)*) => {$(
        impl Play for $leaf {
            fn make($rng: &mut Rng) -> Self {
                $make
            }
        }
    )*};
}

leaves! {
    u8: |rng| rng.below(6) as u8;
    u16: |rng| rng.below(300) as u16;
    u32: |rng| rng.below(8) as u32;
    u64: |rng| match rng.one_in(3) { true => rng.number(), false => rng.below(4) as u64 };
    i64: |rng| rng.number() as i64 >> rng.below(64);
    bool: |rng| rng.one_in(2);
    char: |rng| *rng.pick(&['a', 'ß', '√', '😀']);
    f64: |rng| *rng.pick(&[0.0, -0.0, 1.5, f64::NAN, f64::INFINITY]);
    (): |_rng| ();
}

impl Play for String {
    fn make(rng: &mut Rng) -> Self {
        (0..len(rng) * 2).map(|_| char::make(rng)).collect()
    }

    fn edit(&mut self, rng: &mut Rng) {
        let bounds: Vec<_> = self
            .char_indices()
            .map(|(at, _)| at)
            .chain([self.len()])
            .collect();
        let (a, b) = (*rng.pick(&bounds), *rng.pick(&bounds));
        match rng.below(5) {
            0 => *self = Self::make(rng),
            1 => self.replace_range(a.min(b)..a.max(b), ""),
            2 => self.push_str("long enough for a splice to be smaller"),
            _ => self.insert(a, char::make(rng)),
        }
    }
}

impl Play for Text {
    fn make(rng: &mut Rng) -> Self {
        Text::from(String::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        let bounds: Vec<_> = self
            .char_indices()
            .map(|(at, _)| at)
            .chain([self.len()])
            .collect();
        let (a, b) = (*rng.pick(&bounds), *rng.pick(&bounds));
        match rng.below(7) {
            0 => *self = Self::make(rng),
            1 => self.replace_range(a.min(b)..a.max(b), &String::make(rng)),
            2 => self.push_str("more"),
            3 => _ = self.pop(),
            4 => self.truncate(a),
            5 => self.retain(|c| c != 'ß'),
            _ => self.insert(a, char::make(rng)),
        }
    }
}

impl Play for Counter {
    fn make(rng: &mut Rng) -> Self {
        Counter::new(i64::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.below(6) {
            0 => *self = Self::make(rng),
            1 => self.set(i64::make(rng)),
            _ => _ = self.add(i64::make(rng)),
        }
    }
}

impl<T: Play> Play for Option<T> {
    fn make(rng: &mut Rng) -> Self {
        (!rng.one_in(3)).then(|| T::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        match self {
            Some(value) if !rng.one_in(4) => value.edit(rng),
            _ => *self = Self::make(rng),
        }
    }
}

impl<T: Play> Play for Box<T> {
    fn make(rng: &mut Rng) -> Self {
        Box::new(T::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        (**self).edit(rng);
    }
}

impl<T: Play> Play for Nested<T> {
    fn make(rng: &mut Rng) -> Self {
        Nested::new(T::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.one_in(6) {
            true => *self = Self::make(rng),
            false => (**self).edit(rng),
        }
    }
}

impl<A: Play, B: Play> Play for (A, B) {
    fn make(rng: &mut Rng) -> Self {
        (A::make(rng), B::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        match rng.one_in(2) {
            true => self.0.edit(rng),
            false => self.1.edit(rng),
        }
    }
}

impl<T: Play> Play for [T; 3] {
    fn make(rng: &mut Rng) -> Self {
        std::array::from_fn(|_| T::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        let at = rng.below(3);
        self[at].edit(rng);
        if rng.one_in(4) {
            self.swap(0, at);
        }
    }
}

/// std's sequences, and the tracked ones, by the methods that they share.
macro_rules! sequences {
    ($([$($debug:tt)*] $seq:ident, $push:ident, $pop:ident;)*) => {$(
        impl<T: Play> Play for $seq<T> where $seq<T>: Track + std::fmt::Debug {
            fn make(rng: &mut Rng) -> Self {
                (0..len(rng)).map(|_| T::make(rng)).collect()
            }

            fn edit(&mut self, rng: &mut Rng) {
                let len = self.len();
                let (i, j) = (rng.below(len), rng.below(len));
                match rng.below(14) {
                    0 if rng.one_in(4) => *self = Self::make(rng),
                    0 | 1 => self.$push(T::make(rng)),
                    2 => _ = self.$pop(),
                    3 => self.truncate(i),
                    4 => self.insert(rng.below(len + 1), T::make(rng)),
                    5 => self.extend((0..rng.below(3)).map(|_| T::make(rng)).collect::<Vec<_>>()),
                    6 => drop(self.drain(i.min(j)..i.max(j))),
                    7 => self.retain_mut(|item| {
                        if rng.one_in(3) {
                            item.edit(rng);
                        }
                        !rng.one_in(5)
                    }),
                    8 if rng.one_in(6) => self.clear(),
                    9 if len > 1 => self.rotate_left(i),
                    10 if len > 0 => self.swap(i, j),
                    11 => self.iter_mut().for_each(|item| {
                        if rng.one_in(4) {
                            item.edit(rng);
                        }
                    }),
                    _ if len > 0 => self[i].edit(rng),
                    _ => self.$push(T::make(rng)),
                }
            }
        }
    )*};
}

sequences! {
    [] Vec, push, pop;
    [] VecDeque, push_back, pop_back;
    [] List, push, pop;
    [] Deque, push_back, pop_back;
}

/// What only lists have.
#[derive(Wire, Track, Clone, Debug)]
pub(super) struct Sorted<T: Track>(List<T>);

impl<T: Play> Play for Sorted<T> {
    fn make(rng: &mut Rng) -> Self {
        Sorted(List::make(rng))
    }

    fn edit(&mut self, rng: &mut Rng) {
        let (len, list) = (self.0.len(), &mut self.0);
        let (i, j) = (rng.below(len), rng.below(len));
        match rng.below(8) {
            0 => list.sort_by_cached_key(|item| format!("{item:?}")),
            1 => list.reverse(),
            2 if len > 0 => _ = list.swap_remove(i),
            3 if len > 0 => list.move_item(i, j),
            4 if len > 0 => _ = list.remove(i),
            5 => drop(list.split_off(i)),
            6 => list.with_vec(|items| items.edit(rng)),
            _ => list.edit(rng),
        }
    }
}

macro_rules! maps {
    ($($map:ident;)*) => {$(
        impl<V: Play> Play for $map<u32, V> where $map<u32, V>: Track + std::fmt::Debug {
            fn make(rng: &mut Rng) -> Self {
                (0..len(rng)).map(|_| (u32::make(rng), V::make(rng))).collect()
            }

            fn edit(&mut self, rng: &mut Rng) {
                let key = u32::make(rng);
                match rng.below(12) {
                    0 if rng.one_in(4) => *self = Self::make(rng),
                    0 | 1 => _ = self.insert(key, V::make(rng)),
                    2 | 3 => _ = self.remove(&key),
                    4 => self.entry(key).or_insert_with(|| V::make(rng)).edit(rng),
                    5 => self.retain(|_, value| {
                        if rng.one_in(3) {
                            value.edit(rng);
                        }
                        !rng.one_in(5)
                    }),
                    6 if rng.one_in(6) => self.clear(),
                    7 => self.values_mut().for_each(|value| {
                        if rng.one_in(4) {
                            value.edit(rng);
                        }
                    }),
                    8 => _ = self.pop_first(),
                    _ => if let Some(value) = self.get_mut(&key) {
                        value.edit(rng);
                    },
                }
            }
        }
    )*};
}

maps! { Map; BTreeMap; }

macro_rules! sets {
    ($($set:ident;)*) => {$(
        impl Play for $set<u16> {
            fn make(rng: &mut Rng) -> Self {
                (0..len(rng)).map(|_| rng.below(9) as u16).collect()
            }

            fn edit(&mut self, rng: &mut Rng) {
                let item = rng.below(9) as u16;
                match rng.below(6) {
                    0 if rng.one_in(4) => *self = Self::make(rng),
                    0 | 1 => _ = self.insert(item),
                    2 => _ = self.remove(&item),
                    3 => self.retain(|_| !rng.one_in(4)),
                    4 if rng.one_in(4) => self.clear(),
                    _ => self.extend([item, 3]),
                }
            }
        }
    )*};
}

sets! { BTreeSet; Set; }

/// Fields by their own `Play`; an edit is one or two of them.
macro_rules! play {
    ($([$($generics:tt)*] $ty:ty { $($field:ident),* } $(kept: $kept:ident)?;)*) => {$(
        impl<$($generics)*> Play for $ty {
            fn make(rng: &mut Rng) -> Self {
                Self { $($field: Play::make(rng),)* $($kept: Default::default())? }
            }

            fn edit(&mut self, rng: &mut Rng) {
                let fields: &[fn(&mut Self, &mut Rng)] = &[$(|this, rng| this.$field.edit(rng)),*];
                for _ in 0..1 + rng.below(2) {
                    rng.pick(fields)(self, rng);
                }
            }
        }
    )*};
}
pub(super) use play;
