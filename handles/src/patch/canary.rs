//! A hash of a whole value that does not depend on the order of maps, to notice a replica that went astray (objects.md,
//! section 4).

use super::raw::Raw;
use super::walk::{Plan, Purpose, Walk};
use crate::descriptor::Descriptor;

/// FNV-1a, 64 bits, of the named encoding of a value, in which the entries of maps and sets are sorted by their bytes and
/// handles are nil. Leaves of unknown form count as they stand.
///
/// `None`: the bytes are not a value of this type, or a map is inside an untagged enum or flattened, where nobody can
/// tell it from a struct; there is no canary then.
pub fn canary(value: &[u8], descriptor: &Descriptor) -> Option<u64> {
    let plan = Plan::new(descriptor, Purpose::Canonical).ok()?;
    let walk = Walk {
        plan: &plan,
        descriptor,
    };
    let mut raw = Raw::new(value);
    let mut bytes = Vec::new();
    walk.value(&mut raw, descriptor.root(), &mut bytes, 0)
        .ok()?;
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    raw.is_at_end()
        .then(|| bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash))
}
