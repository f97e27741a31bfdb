//! Seeded bugs, behind the feature `mutations`: each breaks one rule on purpose, to prove that the model test sees it.

#[cfg(feature = "mutations")]
mod on {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<&'static str> = const { Cell::new("") };
    }

    /// Switches one mutation on for this thread; the empty name switches it off.
    pub fn set(name: &'static str) {
        ACTIVE.with(|active| active.set(name));
    }

    /// Whether that mutation is on.
    pub fn is(name: &str) -> bool {
        ACTIVE.with(Cell::get) == name
    }
}

#[cfg(feature = "mutations")]
pub use on::{is, set};

/// `true` while the named mutation is on; `false`, at no cost, without the feature.
#[cfg(feature = "mutations")]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutation::is($name)
    };
}

#[cfg(not(feature = "mutations"))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

pub(crate) use mutant;
