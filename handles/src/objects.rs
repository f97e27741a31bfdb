//! The object table of a node: which local objects are held by peers, one entry an object however many peers hold it.
//!
//! A node belongs to a server or a client (one may be shared by several); it is never global.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use slotmap::SlotMap;

use crate::rising::IdHash;

slotmap::new_key_type! {
    /// Names one object of a node. Never reused for another object of that node.
    pub struct ObjectKey;
}

/// What tells one object from another: its address, and the interface through which it is seen. One value that serves
/// two interfaces has two identities, since a target answers to one interface (protocol section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// Address of the object. It cannot be reused while the table holds the object.
    pub address: usize,
    /// A number for the interface, the same wherever it is asked for in one process.
    pub interface: u32,
}

/// The slot map of a [node](self): identity to key to `T`.
///
/// Nearly every object is seen through one interface, and there may be millions of them: the address alone finds the
/// first entry of an object, and only its further ones are kept by their whole identity.
#[derive(Debug)]
pub struct Objects<T> {
    slots: SlotMap<ObjectKey, T>,
    first: HashMap<usize, ObjectKey, IdHash>,
    further: HashMap<Identity, ObjectKey, IdHash>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Objects {
            slots: SlotMap::with_key(),
            first: HashMap::default(),
            further: HashMap::default(),
        }
    }
}

impl<T> Objects<T> {
    /// The entries that may be the one of this identity, two at most. Who knows what a `T` is must compare.
    pub fn candidates(&self, identity: Identity) -> impl Iterator<Item = &T> {
        let first = self.first.get(&identity.address);
        let keys = first.into_iter().chain(self.further.get(&identity));
        keys.filter_map(|key| self.slots.get(*key))
    }

    /// Adds an object. `make` is given the key that it gets.
    pub fn insert(&mut self, identity: Identity, make: impl FnOnce(ObjectKey) -> T) -> ObjectKey {
        let key = self.slots.insert_with_key(make);
        match self.first.entry(identity.address) {
            Entry::Vacant(place) => _ = place.insert(key),
            Entry::Occupied(_) => _ = self.further.insert(identity, key),
        }
        key
    }

    /// The entry of a key.
    pub fn get(&self, key: ObjectKey) -> Option<&T> {
        self.slots.get(key)
    }

    /// Takes an object out. `identity` is what it was inserted with.
    pub fn remove(&mut self, key: ObjectKey, identity: Identity) -> Option<T> {
        let t = self.slots.remove(key)?;
        if self.first.get(&identity.address) == Some(&key) {
            self.first.remove(&identity.address);
        } else if self.further.get(&identity) == Some(&key) {
            self.further.remove(&identity);
        }
        Some(t)
    }

    /// How many objects peers hold.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether peers hold none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
