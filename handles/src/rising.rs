//! A map whose keys arrive in rising order: call ids, host-named ids. Used by the session's tables.

use std::collections::{HashMap, VecDeque};

/// Hashes ids: one folded multiplication. Ids that a peer chose go into maps built with a random seed
/// ([`IdHash::seeded`]), so that nobody can aim at one bucket.
#[derive(Clone, Copy, Debug)]
pub struct IdHasher {
    state: u64,
    factor: u64,
}

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.state
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.state ^ n) * u128::from(self.factor);
        self.state = wide as u64 ^ (wide >> 64) as u64;
    }
}

/// Builds [`IdHasher`]s.
#[derive(Clone, Copy, Debug)]
pub struct IdHash(IdHasher);

impl IdHash {
    /// A hash that only who knows `seed` can predict.
    pub fn seeded(seed: u64) -> IdHash {
        IdHash(IdHasher {
            state: seed,
            factor: seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15 | 1,
        })
    }
}

impl Default for IdHash {
    fn default() -> IdHash {
        IdHash::seeded(0)
    }
}

impl std::hash::BuildHasher for IdHash {
    type Hasher = IdHasher;
    fn build_hasher(&self) -> IdHasher {
        self.0
    }
}

/// How sparse the ring may become before its oldest entries move to the side map.
const SPARSE: usize = 4;
/// Below this length the ring is never thinned out.
const SMALL: usize = 64;

/// A map from rising ids to `T`: a ring over the recent ids, a hash map for the few old ones that outlive them.
///
/// Insertion takes only ids above every earlier one. Look-ups in the ring are one subtraction and one index; an entry
/// moves to the side map at most once, so every operation is O(1) amortised whatever the ids are.
#[derive(Debug)]
pub struct RisingMap<T> {
    base: u64,
    ring: VecDeque<Option<T>>,
    in_ring: usize,
    side: HashMap<u64, T, IdHash>,
}

impl<T> Default for RisingMap<T> {
    fn default() -> Self {
        RisingMap {
            base: 1,
            ring: VecDeque::new(),
            in_ring: 0,
            side: HashMap::default(),
        }
    }
}

impl<T> RisingMap<T> {
    /// An empty map. Allocates nothing before the first insertion.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty map for ids that a peer chooses.
    pub fn seeded(seed: u64) -> Self {
        RisingMap {
            side: HashMap::with_hasher(IdHash::seeded(seed)),
            ..Self::default()
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.in_ring + self.side.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The least id that [`insert`](Self::insert) still takes.
    pub fn next_id(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// Adds an entry. Returns it as `Err` where `id` is not above every id inserted before.
    pub fn insert(&mut self, id: u64, value: T) -> Result<(), T> {
        let next = self.next_id();
        if id < next {
            return Err(value);
        }
        let gap = id - next;
        if gap > 0 {
            if self.in_ring == 0 {
                self.ring.clear();
                self.base = id;
            } else if gap as usize >= SMALL {
                // Too far to bridge: what lives in the ring is old by now.
                self.spill_all();
                self.base = id;
            } else {
                self.ring
                    .extend(std::iter::repeat_with(|| None).take(gap as usize));
            }
        }
        self.ring.push_back(Some(value));
        self.in_ring += 1;
        if self.ring.len() > SMALL && self.ring.len() > self.in_ring * SPARSE {
            self.thin();
        }
        Ok(())
    }

    fn slot(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.base)?).ok()
    }

    /// The entry of `id`.
    pub fn get(&self, id: u64) -> Option<&T> {
        match self.slot(id) {
            Some(i) => self.ring.get(i)?.as_ref(),
            None => self.side.get(&id),
        }
    }

    /// The entry of `id`, to change.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        match self.slot(id) {
            Some(i) => self.ring.get_mut(i)?.as_mut(),
            None => self.side.get_mut(&id),
        }
    }

    /// Takes the entry of `id` out.
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let Some(i) = self.slot(id) else {
            let old = self.side.remove(&id);
            if self.side.is_empty() && self.side.capacity() > SMALL {
                self.side = HashMap::with_hasher(*self.side.hasher());
            }
            return old;
        };
        let old = self.ring.get_mut(i)?.take()?;
        self.in_ring -= 1;
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
        if self.ring.is_empty() && self.ring.capacity() > 1024 {
            self.ring = VecDeque::new();
        }
        Some(old)
    }

    /// Every entry, oldest ids of the ring first; those of the side map in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let base = self.base;
        let ring = self.ring.iter().enumerate();
        ring.filter_map(move |(i, v)| v.as_ref().map(|v| (base + i as u64, v)))
            .chain(self.side.iter().map(|(k, v)| (*k, v)))
    }

    /// The ids that are in use, ascending.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Empties the map and yields what it held, by ascending id. Later ids still have to rise.
    pub fn take_all(&mut self) -> Vec<(u64, T)> {
        let next = self.next_id();
        self.spill_all();
        self.base = next;
        let side = HashMap::with_hasher(*self.side.hasher());
        let mut all: Vec<(u64, T)> = std::mem::replace(&mut self.side, side)
            .into_iter()
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Keeps only the entries that `keep` says yes to; it may change them.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, &mut T) -> bool) {
        self.side.retain(|id, value| keep(*id, value));
        for (i, slot) in self.ring.iter_mut().enumerate() {
            if slot
                .as_mut()
                .is_some_and(|value| !keep(self.base + i as u64, value))
            {
                *slot = None;
                self.in_ring -= 1;
            }
        }
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
    }

    fn spill_all(&mut self) {
        for (i, v) in std::mem::take(&mut self.ring).into_iter().enumerate() {
            if let Some(v) = v {
                self.side.insert(self.base + i as u64, v);
            }
        }
        self.in_ring = 0;
    }

    /// Moves the oldest entries aside until the ring is dense again.
    fn thin(&mut self) {
        while self.ring.len() > SMALL && self.ring.len() > self.in_ring * SPARSE {
            if let Some(Some(v)) = self.ring.pop_front() {
                self.side.insert(self.base, v);
                self.in_ring -= 1;
            }
            self.base += 1;
        }
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
    }
}
