//! A value with a part that does not travel.

use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::schema::TypeDesc;
use helve_handles::track::Track;
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};

/// As a struct with `#[serde(skip)]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sticky {
    /// What travels.
    pub value: u8,
    /// What does not.
    #[serde(skip)]
    pub local: u8,
}

impl Sticky {
    /// Both parts.
    pub fn new(value: u8, local: u8) -> Sticky {
        Sticky { value, local }
    }
}

impl Wire for Sticky {
    const PLAIN: bool = true;
    fn describe() -> TypeDesc {
        u8::describe()
    }
}

impl Track for Sticky {
    type Shadow = u8;
    fn shadow(&mut self) -> u8 {
        self.value
    }
    fn flush(&mut self, shadow: &u8, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        if self.value == *shadow {
            return Ok(false);
        }
        patcher.set(self)?;
        Ok(true)
    }
    fn undo(&mut self, shadow: u8) -> bool {
        self.value = shadow;
        true
    }
    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        self.value.patch(reader)
    }
    fn adopt(&mut self, old: &mut Self) {
        self.local = old.local;
    }
    fn same(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
