//! User values to MessagePack and back, as section 2 of the protocol has it: structs are maps by name, bytes are
//! `bin`. Used wherever a value enters or leaves a frame, never under a lock.

use std::cell::Cell;

use rmp_serde::config::BytesMode;
use serde::{Deserialize, Serialize};

use crate::error::RpcError;

/// Appends one value. On an error the buffer may hold a part of it.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let mut serializer = rmp_serde::Serializer::new(out)
        .with_struct_map()
        .with_bytes(BytesMode::ForceIterables);
    value
        .serialize(&mut serializer)
        .map_err(|e| RpcError::Encode(e.to_string()))
}

/// One value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RpcError> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// One value out of bytes that the scan has passed: the scan bounds nesting and checks every claimed length.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RpcError> {
    rmp_serde::from_slice(bytes).map_err(|e| RpcError::Decode(e.to_string()))
}

/// Runs `f` with an empty buffer of this thread. Within `f` another one may be asked for.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    /// What a thread keeps.
    const KEEP: usize = 64 << 10;
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = f(&mut buffer);
    if buffer.capacity() <= KEEP {
        // While the thread ends there is no place to put it back.
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
    result
}
