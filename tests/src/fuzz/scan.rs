//! The scan, held against a reader of values that was written apart from it.

use helve_protocol::scan::{Budget, scan_array, scan_node, scan_value, scan_whole};

use super::values::{Body, head};

const DEPTH: usize = 64;
const NODE_DEPTH: usize = 128;

/// E4.2 to E4.10, E4.13: it takes what is a value and nothing else, ends where the value does, allocates nothing, and
/// takes the same bytes as a value alone, as an argument and as a node.
pub(super) fn body(data: &[u8]) {
    let mut at = 0;
    // A message is a row of values.
    while at < data.len() {
        let rest = &data[at..];
        let taken = super::frugal(0, 0, 0, || {
            scan_value(rest, 0, &mut Budget::default()).map_err(drop)
        });
        assert_eq!(
            taken,
            walk(rest, DEPTH).ok_or(()),
            "a value at {at}, nested {DEPTH} deep at most"
        );
        let node = scan_node(rest, 0, &mut Budget::default()).map_err(drop);
        assert_eq!(
            node,
            walk(rest, NODE_DEPTH).ok_or(()),
            "a node at {at}, nested {NODE_DEPTH} deep at most"
        );
        let Ok(len) = taken else { break };
        whole(&rest[..len]);
        at += len;
    }
}

/// One value from its first byte to its last.
fn whole(value: &[u8]) {
    let mut budget = Budget::default();
    let before = budget.left();
    assert_eq!(scan_value(value, 0, &mut budget), Ok(value.len()));
    let (elements, caps) = (before - budget.left(), budget.take_caps());
    // E4.3: what it took is what it needs.
    assert_eq!(
        scan_value(value, 0, &mut Budget::new(elements)),
        Ok(value.len())
    );
    assert!(scan_value(value, 0, &mut Budget::new(elements - 1)).is_err());
    // E4.8, E4.10: a cap table that is one too short, a byte too many, one too few.
    assert_eq!(scan_whole(value, caps, &mut Budget::default()), Ok(()));
    if caps > 0 {
        assert!(scan_whole(value, caps - 1, &mut Budget::default()).is_err());
    }
    let longer = [value, &[0xc0]].concat();
    assert!(scan_whole(&longer, caps, &mut Budget::default()).is_err());
    let shorter = &value[..value.len() - 1];
    assert!(scan_whole(shorter, caps, &mut Budget::default()).is_err());
    // E4.2: as the one argument of a call.
    let args = [&[0x91], value].concat();
    assert_eq!(scan_array(&args, caps, &mut Budget::default()), Ok(()));
}

/// Where the value ends, by plain recursion.
fn walk(bytes: &[u8], depth: usize) -> Option<usize> {
    let head = head(bytes)?;
    let mut at = head.header;
    match head.body {
        Body::Bytes(n) => at += n,
        Body::Text(n) => {
            std::str::from_utf8(bytes.get(at..at.checked_add(n)?)?).ok()?;
            at += n;
        }
        // Only a reference to a cap: type 1 in one byte or two.
        Body::Ext(1, n @ (1 | 2)) if matches!(bytes[0], 0xd4 | 0xd5) => at += n,
        Body::Ext(..) | Body::Reserved => return None,
        Body::Values(n) => {
            let inner = depth.checked_sub(1)?;
            if n > bytes.len() - at.min(bytes.len()) {
                return None;
            }
            for _ in 0..n {
                at += walk(&bytes[at..], inner)?;
            }
        }
    }
    (at <= bytes.len()).then_some(at)
}
