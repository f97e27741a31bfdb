//! A map whose keys arrive in rising order: call ids, host-named ids. Used by the session's tables.

use std::collections::HashMap;

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
/// Slots of the first ring, and how many an empty one keeps.
const SLOTS_MIN: usize = 8;
const SLOTS_KEPT: usize = 4096;

/// A map from rising ids to `T`: a ring over the recent ids, a hash map for the few old ones that outlive them.
///
/// Insertion takes only ids above every earlier one. In the ring an id finds its slot by a mask; an entry moves to the
/// side map at most once, so every operation is O(1) amortised whatever the ids are.
#[derive(Debug)]
pub struct RisingMap<T> {
    /// The ring covers the ids from here ..
    base: u64,
    /// .. to below here.
    next: u64,
    /// A power of two of them, or none. The slot of an id is the id modulo their number.
    slots: Vec<Option<T>>,
    in_ring: usize,
    side: HashMap<u64, T, IdHash>,
}

impl<T> Default for RisingMap<T> {
    fn default() -> Self {
        RisingMap {
            base: 1,
            next: 1,
            slots: Vec::new(),
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
        self.next
    }

    #[inline]
    fn span(&self) -> usize {
        (self.next - self.base) as usize
    }

    #[inline]
    fn slot(&self, id: u64) -> usize {
        id as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn in_span(&self, id: u64) -> bool {
        id.wrapping_sub(self.base) < self.next - self.base
    }

    /// Adds an entry. Returns it as `Err` where `id` is not above every id inserted before.
    #[inline]
    pub fn insert(&mut self, id: u64, value: T) -> Result<(), T> {
        if id < self.next {
            return Err(value);
        }
        if id != self.next || self.span() == self.slots.len() {
            self.make_room(id);
        }
        let slot = self.slot(id);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(value);
        }
        self.next = id + 1;
        self.in_ring += 1;
        Ok(())
    }

    /// Adds an entry under the next id. Always inlined, so that the entry is built in its place.
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        if self.span() == self.slots.len() {
            self.make_room(self.next);
        }
        let slot = self.slot(self.next);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(value);
        }
        self.next += 1;
        self.in_ring += 1;
    }

    /// Sees to a free slot for `id`, which is beyond the ring.
    #[cold]
    fn make_room(&mut self, id: u64) {
        if self.in_ring == 0 {
            self.base = id;
        } else if id - self.next >= SMALL as u64 {
            // Too far to bridge: what lives in the ring is old by now.
            self.spill_all();
            self.base = id;
        } else {
            // The slots between are free: the ring never covers more ids than it has slots.
            self.thin(id);
        }
        self.next = id;
        if self.span() < self.slots.len() {
            return;
        }
        let mut grown: Vec<Option<T>> = Vec::new();
        grown.resize_with((self.span() + 1).next_power_of_two().max(SLOTS_MIN), || {
            None
        });
        let mask = grown.len() - 1;
        for id in self.base..self.next {
            let slot = self.slot(id);
            if let (Some(old), Some(place)) =
                (self.slots.get_mut(slot), grown.get_mut(id as usize & mask))
            {
                *place = old.take();
            }
        }
        self.slots = grown;
    }

    /// The entry of `id`.
    #[inline]
    pub fn get(&self, id: u64) -> Option<&T> {
        if self.in_span(id) {
            self.slots.get(self.slot(id))?.as_ref()
        } else {
            self.side.get(&id)
        }
    }

    /// The entry of `id`, to change.
    #[inline]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        if self.in_span(id) {
            let slot = self.slot(id);
            self.slots.get_mut(slot)?.as_mut()
        } else if self.side.is_empty() {
            None
        } else {
            self.side.get_mut(&id)
        }
    }

    /// Takes the entry of `id` out.
    #[inline]
    pub fn remove(&mut self, id: u64) -> Option<T> {
        if !self.in_span(id) {
            return self.remove_aside(id);
        }
        let slot = self.slot(id);
        let old = self.slots.get_mut(slot)?.take()?;
        self.in_ring -= 1;
        if id == self.base {
            self.advance();
        }
        Some(old)
    }

    /// Takes the entry of `id` out if `take` yields something of it. The rest of the entry is dropped where it lies: a
    /// large one is never moved.
    #[inline]
    pub fn take_if<R>(&mut self, id: u64, take: impl FnOnce(&mut T) -> Option<R>) -> Option<R> {
        if !self.in_span(id) {
            let taken = take(self.side.get_mut(&id)?)?;
            self.remove_aside(id);
            return Some(taken);
        }
        let slot = self.slot(id);
        let place = self.slots.get_mut(slot)?;
        let taken = take(place.as_mut()?)?;
        *place = None;
        self.in_ring -= 1;
        if id == self.base {
            // Mostly the next one is there.
            let next = self.slots.get(self.slot(id + 1));
            if self.in_ring > 0 && next.is_some_and(Option::is_some) {
                self.base = id + 1;
            } else {
                self.advance();
            }
        }
        Some(taken)
    }

    fn remove_aside(&mut self, id: u64) -> Option<T> {
        let old = self.side.remove(&id);
        if self.side.is_empty() && self.side.capacity() > SMALL {
            self.side = HashMap::with_hasher(*self.side.hasher());
        }
        old
    }

    /// Moves the ring's begin to its first entry.
    fn advance(&mut self) {
        if self.in_ring == 0 {
            self.base = self.next;
            if self.slots.len() > SLOTS_KEPT {
                self.slots = Vec::new();
            }
            return;
        }
        while self.base < self.next
            && self
                .slots
                .get(self.slot(self.base))
                .is_some_and(Option::is_none)
        {
            self.base += 1;
        }
    }

    /// Every entry, those of the ring first and ascending; those of the side map in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let ring = (self.base..self.next)
            .filter_map(|id| Some((id, self.slots.get(self.slot(id))?.as_ref()?)));
        ring.chain(self.side.iter().map(|(k, v)| (*k, v)))
    }

    /// The entry with the least id. O(1) in the ring, else as long as the side map.
    pub fn oldest(&self) -> Option<&T> {
        match self.side.iter().min_by_key(|(id, _)| **id) {
            Some((_, value)) => Some(value),
            None => self.slots.get(self.slot(self.base))?.as_ref(),
        }
    }

    /// The ids that are in use, ascending.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Empties the map and yields what it held, by ascending id. Later ids still have to rise.
    pub fn take_all(&mut self) -> Vec<(u64, T)> {
        self.spill_all();
        self.base = self.next;
        self.slots = Vec::new();
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
        for id in self.base..self.next {
            let slot = self.slot(id);
            let Some(place) = self.slots.get_mut(slot) else {
                continue;
            };
            if place.as_mut().is_some_and(|value| !keep(id, value)) {
                *place = None;
                self.in_ring -= 1;
            }
        }
        self.advance();
    }

    fn spill_all(&mut self) {
        for id in self.base..self.next {
            self.spill(id);
        }
        self.base = self.next;
    }

    fn spill(&mut self, id: u64) {
        let slot = self.slot(id);
        if let Some(value) = self.slots.get_mut(slot).and_then(Option::take) {
            self.side.insert(id, value);
            self.in_ring -= 1;
        }
    }

    /// Moves the oldest entries aside until the ring, with `id` in it, is dense again.
    fn thin(&mut self, id: u64) {
        while self.in_ring > 0 {
            let span = (id - self.base) as usize;
            if span <= SMALL || span <= self.in_ring * SPARSE {
                break;
            }
            self.spill(self.base);
            self.base += 1;
        }
        self.advance();
    }
}
