//! [`Part`]: the way to a part of a shared value.

use std::fmt;

use helve_handles::patch::Patcher;
use helve_handles::put::{put_array, put_str, put_uint};
use helve_handles::track::Key;

use super::encode_error;
use crate::error::RpcError;

/// The way to a part of a shared value: fields by the names that they have on the wire, items of tuples and arrays by
/// their place, entries of maps by their key. An `Option` on the way is passed through. Items of lists have no lasting
/// place, so no way leads to them.
#[derive(Clone)]
pub struct Part {
    steps: Vec<u8>,
    len: usize,
    failed: Option<RpcError>,
}

impl Part {
    const WHOLE: Part = Part {
        steps: Vec::new(),
        len: 0,
        failed: None,
    };

    /// A field of the value.
    pub fn field(name: &str) -> Part {
        Part::WHOLE.then(name)
    }

    /// An item of the value, which is a tuple or an array.
    pub fn item(place: u32) -> Part {
        Part::WHOLE.nth(place)
    }

    /// An entry of the value, which is a map.
    pub fn entry(key: &impl Key) -> Part {
        Part::WHOLE.key(key)
    }

    /// A field of that part.
    #[must_use]
    pub fn then(mut self, name: &str) -> Part {
        put_str(&mut self.steps, name);
        self.len += 1;
        self
    }

    /// An item of that part.
    #[must_use]
    pub fn nth(mut self, place: u32) -> Part {
        put_uint(&mut self.steps, place.into());
        self.len += 1;
        self
    }

    /// The value of a key of that part.
    #[must_use]
    pub fn key(mut self, key: &impl Key) -> Part {
        let mut patcher = Patcher::new();
        let written = patcher.value(key).and_then(|()| patcher.finish());
        match written {
            Ok((bytes, _)) => self.steps.extend(bytes),
            Err(error) => self.failed = Some(encode_error(error)),
        }
        self.len += 1;
        self
    }

    /// An array of the steps.
    pub(super) fn encoded(&self) -> Result<Vec<u8>, RpcError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut bytes = Vec::with_capacity(self.steps.len() + 3);
        put_array(&mut bytes, self.len);
        bytes.extend_from_slice(&self.steps);
        Ok(bytes)
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("steps", &self.len).finish()
    }
}
