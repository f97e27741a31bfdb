//! User values to MessagePack and back, as section 2 of the protocol has it: structs are maps by name, bytes are
//! `bin`. Used wherever a value enters or leaves a frame, never under a lock.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use crate::error::RpcError;

/// Appends one value. On an error the buffer may hold a part of it.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    helve_handles::codec::encode_into(value, out).map_err(|e| RpcError::Encode(e.to_string()))
}

/// One value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RpcError> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// One value out of bytes that the scan has passed: the scan bounds nesting and checks every claimed length.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RpcError> {
    rmp_serde::from_slice(bytes).map_err(|error| {
        let name = std::any::type_name::<T>();
        RpcError::Decode(format!("reading {}: {}", short(name), words(&error)))
    })
}

/// What is wrong, without the words of the encoding.
fn words(error: &rmp_serde::decode::Error) -> String {
    use rmp::Marker;
    use rmp_serde::decode::Error;
    match error {
        Error::TypeMismatch(marker) => {
            let found = match marker {
                Marker::Null => "nothing (nil)",
                Marker::True | Marker::False => "a bool",
                Marker::F32 | Marker::F64 => "a float",
                Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "a string",
                Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
                Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
                Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a struct or map",
                Marker::FixPos(_) | Marker::FixNeg(_) => "an integer",
                Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => "an integer",
                Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => "an integer",
                _ => "a handle",
            };
            format!("{found} where something else is expected")
        }
        Error::OutOfRange => "a number that is out of range".to_owned(),
        Error::LengthMismatch(_) => "a list of another length".to_owned(),
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "it is cut short".to_owned(),
        other => other.to_string(),
    }
}

/// A type's name without the paths to it.
fn short(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

/// An empty buffer of this thread, given back when dropped. Meanwhile another one may be asked for.
pub(crate) struct Scratch(pub(crate) Vec<u8>);

thread_local! {
    /// Away while in use: who asks further down this thread, or while the thread ends, gets a new one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    #[inline]
    pub(crate) fn take() -> Scratch {
        Scratch(SCRATCH.try_with(Cell::take).unwrap_or_default())
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        /// What a thread keeps.
        const KEEP: usize = 64 << 10;
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        if buffer.capacity() > KEEP {
            buffer.shrink_to(KEEP);
        }
        _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
}
