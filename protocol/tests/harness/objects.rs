//! Objects that count how often they are dropped, and a waker that remembers being woken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use helve_handles::objects::Identity;
use helve_handles::{ObjectKey, Objects};
use helve_protocol::session::Object;

/// An object of the tests: it knows its identity, and counts how many are alive.
#[derive(Clone, Debug)]
pub struct TestObject(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    key: ObjectKey,
    id: usize,
    stream: bool,
    forwarded: bool,
    revoked: Cell<bool>,
    ledger: Rc<RefCell<Vec<u32>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ledger.borrow_mut()[self.id] += 1;
    }
}

impl TestObject {
    /// Its number: objects are counted from 0.
    pub fn id(&self) -> usize {
        self.0.id
    }

    pub fn set_revoked(&self) {
        self.0.revoked.set(true);
    }
}

impl PartialEq for TestObject {
    fn eq(&self, other: &TestObject) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Object for TestObject {
    fn key(&self) -> ObjectKey {
        self.0.key
    }
    fn is_revoked(&self) -> bool {
        self.0.revoked.get()
    }
    fn is_stream(&self) -> bool {
        self.0.stream
    }
    fn is_forwarded(&self) -> bool {
        self.0.forwarded
    }
}

/// Makes objects, and knows which were dropped.
#[derive(Default, Debug)]
pub struct Nursery {
    keys: Objects<()>,
    drops: Rc<RefCell<Vec<u32>>>,
}

impl Nursery {
    pub fn object(&mut self) -> TestObject {
        self.make(false, false)
    }

    /// An object that is a stream (R19).
    pub fn stream(&mut self) -> TestObject {
        self.make(true, false)
    }

    /// One that stands for an object of another session (R9).
    pub fn forwarded(&mut self) -> TestObject {
        self.make(false, true)
    }

    fn make(&mut self, stream: bool, forwarded: bool) -> TestObject {
        let id = self.drops.borrow().len();
        self.drops.borrow_mut().push(0);
        let identity = Identity {
            address: id,
            interface: 0,
        };
        let key = self.keys.insert(identity, |_| ());
        TestObject(Rc::new(Inner {
            key,
            id,
            stream,
            forwarded,
            revoked: Cell::new(false),
            ledger: self.drops.clone(),
        }))
    }

    /// The counts of drops, to look at when all else is gone.
    pub fn ledger(&self) -> Rc<RefCell<Vec<u32>>> {
        self.drops.clone()
    }

    /// How often the object of that number was dropped.
    pub fn drops(&self, id: usize) -> u32 {
        self.drops.borrow()[id]
    }

    /// The objects that are not dropped.
    pub fn alive(&self) -> Vec<usize> {
        let drops = self.drops.borrow();
        (0..drops.len()).filter(|id| drops[*id] == 0).collect()
    }
}

/// A waker that remembers being woken.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    pub fn new() -> Arc<Flag> {
        Arc::default()
    }
    /// Whether it was woken since last asked.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
    pub fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }
}
