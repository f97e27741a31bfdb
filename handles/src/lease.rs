//! [`Lease`]: how long a lent handle lives. The runtime makes one for each call that lends, every handle lent to that
//! call holds it, and whoever uses such a handle asks it first (rule R3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The life of what one call lends. Clones are the same lease; once it has ended it never revives.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<AtomicBool>);

impl Lease {
    /// A lease that has not ended.
    pub fn new() -> Lease {
        Lease::default()
    }

    /// Ends it, for all clones at once.
    pub fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Ends the lease when the value returned is dropped: also on a panic, and when a call is cancelled.
    #[must_use = "the lease ends when this is dropped"]
    pub fn scope(&self) -> LeaseScope {
        LeaseScope(self.clone())
    }
}

/// Ends a [`Lease`] when dropped.
#[derive(Debug)]
pub struct LeaseScope(Lease);

impl Drop for LeaseScope {
    fn drop(&mut self) {
        self.0.end();
    }
}
