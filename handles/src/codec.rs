//! User values to MessagePack, as section 2 of the protocol has it: structs are maps by name, bytes are `bin`.

use std::io::Write;

use std::io;

use rmp_serde::config::BytesMode;
use rmp_serde::encode::Error;
use serde::Serialize;

/// Appends one value. On an error the buffer may hold a part of it.
///
/// # Errors
/// Those of the value's own `Serialize`.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    encode_to(value, out)
}

/// As [`encode_into`], to any writer.
pub(crate) fn encode_to<T: Serialize + ?Sized, W: Write>(value: &T, out: W) -> Result<(), Error> {
    let mut serializer = rmp_serde::Serializer::new(out)
        .with_struct_map()
        .with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer)
}

/// Whether one value takes at most `most` bytes. Stops where it takes more, and keeps nothing.
pub fn is_within<T: Serialize + ?Sized>(value: &T, most: usize) -> bool {
    /// Room for so many bytes.
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut serializer = rmp_serde::Serializer::new(Room(most))
        .with_struct_map()
        .with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer).is_ok()
}
