//! The sheet, and what its server does to it.

use helve::Shared;
use helve::prelude::*;
use helve::track::{Counter, List};

/// A table of texts. Who follows it sees each change as that change, whatever the table's size.
#[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// Each has one text for each column.
    pub rows: List<List<String>>,
    /// How many cells were written.
    pub writes: Counter,
}

/// Serves one sheet.
#[interface]
pub trait Book {
    /// The sheet, to be followed.
    async fn sheet(&self) -> Shared<Sheet>;
    /// Writes one cell. Whoever follows the sheet sees it there before this returns.
    async fn write(&self, row: u32, column: u32, text: String) -> Result<(), SheetError>;
    /// Puts an empty row before this one, or behind the last.
    async fn insert_row(&self, row: u32) -> Result<(), SheetError>;
    /// Sorts the rows by a column: by value where all of it are numbers, else by letters.
    async fn sort(&self, column: u32) -> Result<(), SheetError>;
}

/// Why a sheet was not changed.
#[derive(Wire, Clone, Debug, PartialEq, thiserror::Error)]
pub enum SheetError {
    /// There is no such row.
    #[error("there is no row {0}")]
    NoRow(u32),
    /// There is no such column.
    #[error("there is no column {0}")]
    NoColumn(u32),
    /// It could not be kept.
    #[error("{0}")]
    Failed(String),
}

impl From<CallError<SheetError>> for SheetError {
    fn from(error: CallError<SheetError>) -> Self {
        match error {
            CallError::App(error) => error,
            CallError::RpcError(error) => SheetError::Failed(error.to_string()),
        }
    }
}
