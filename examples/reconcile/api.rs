//! The ledger, and who reconciles it.

use helve::prelude::*;
use helve::track::{Counter, List};

/// What a shop has written down: what it is owed, and what of that was paid.
#[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// In order of their numbers, which begin at 0.
    pub invoices: List<Invoice>,
    /// Cents that came in.
    pub paid: Counter,
    /// What could not be matched.
    pub puzzles: List<String>,
}

/// One of them.
#[derive(Wire, Track, Clone, Debug, PartialEq)]
pub struct Invoice {
    /// Who owes it.
    pub customer: String,
    /// How much, in cents.
    pub cents: u32,
    /// The day on which it was paid.
    pub paid_on: Option<u32>,
}

/// Knows what came in at the bank.
#[interface]
pub trait Bank {
    /// Marks in the ledger what was paid on a day, and says how many invoices that were. Plain Rust on a real
    /// `&mut Ledger`, wherever the ledger lives.
    async fn reconcile(&self, ledger: &mut Ledger, day: u32) -> Result<u32, BankError>;
}

/// Why not.
#[derive(Wire, Clone, Debug, PartialEq, thiserror::Error)]
pub enum BankError {
    /// The ledger is as it was.
    #[error("there is no statement of day {0} yet")]
    NoStatement(u32),
}
