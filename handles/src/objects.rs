//! The object table of a node: which local objects are held by peers, one entry an object however many peers hold it.
//!
//! A node belongs to a server or a client (one may be shared by several); it is never global.

use std::collections::HashMap;

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
#[derive(Debug)]
pub struct Objects<T> {
    slots: SlotMap<ObjectKey, (Identity, T)>,
    keys: HashMap<Identity, ObjectKey, IdHash>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Objects {
            slots: SlotMap::with_key(),
            keys: HashMap::default(),
        }
    }
}

impl<T> Objects<T> {
    /// The entry of an object, if it has one.
    pub fn find(&self, identity: Identity) -> Option<(ObjectKey, &T)> {
        let key = *self.keys.get(&identity)?;
        self.slots.get(key).map(|(_, t)| (key, t))
    }

    /// Adds an object. `make` is given the key that it gets.
    pub fn insert(&mut self, identity: Identity, make: impl FnOnce(ObjectKey) -> T) -> ObjectKey {
        let key = self.slots.insert_with_key(|key| (identity, make(key)));
        self.keys.insert(identity, key);
        key
    }

    /// The entry of a key.
    pub fn get(&self, key: ObjectKey) -> Option<&T> {
        self.slots.get(key).map(|(_, t)| t)
    }

    /// The entry of a key, to change.
    pub fn get_mut(&mut self, key: ObjectKey) -> Option<&mut T> {
        self.slots.get_mut(key).map(|(_, t)| t)
    }

    /// Takes an object out.
    pub fn remove(&mut self, key: ObjectKey) -> Option<T> {
        let (identity, t) = self.slots.remove(key)?;
        if self.keys.get(&identity) == Some(&key) {
            self.keys.remove(&identity);
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

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKey, &T)> {
        self.slots.iter().map(|(k, (_, t))| (k, t))
    }
}
