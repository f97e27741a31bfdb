//! Long buffers that are done with. To give one back to the system may take milliseconds (64 MiB: 4 to 11), in which a
//! connection task could have served others: it is done after its flush, and on a thread for such things.

use bytes::Bytes;

/// Shorter ones are freed where they are.
const LONG: usize = 256 << 10;

/// Whether a buffer of `len` bytes is worth the trouble.
#[inline]
pub(crate) fn is_long(len: usize) -> bool {
    len >= LONG
}

/// Frees these elsewhere, if any of them is long and there is a runtime.
pub(crate) fn free(buffers: Vec<Bytes>) {
    let long = buffers.iter().any(|buffer| is_long(buffer.len()));
    if let (true, Ok(runtime)) = (long, tokio::runtime::Handle::try_current()) {
        runtime.spawn_blocking(move || drop(buffers));
    }
}
