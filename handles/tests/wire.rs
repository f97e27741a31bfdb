//! What travels: the short cuts write and read what serde does, and lending reaches every handle inside.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::BuildHasherDefault;

use helve_handles::lease::Lease;
use helve_handles::schema::{TypeDesc, TypeRef};
use helve_handles::wire::Wire;
use serde::{Deserialize, Serialize};

#[track_caller]
fn agrees<T: Wire + PartialEq + Debug>(value: T) {
    let mut short = vec![0x90];
    assert!(value.__put(&mut short), "{value:?} has a short cut");
    let long = rmp_serde::to_vec_named(&value).expect("serde writes it");
    assert_eq!(short[1..], long, "{value:?}");
    let mut longer = long.clone();
    longer.push(0xc1);
    assert_eq!(T::__take(&longer), Some((value, long.len())));
    // Cut anywhere, it is left to serde, whose error is the better one.
    for end in 0..long.len() {
        assert_eq!(T::__take(&long[..end]), None, "{end} bytes of {long:02x?}");
    }
}

#[test]
fn short_cuts_write_and_read_what_serde_does() {
    agrees(());
    agrees(false);
    agrees(true);
    for shift in 0..64 {
        for n in [
            1u64 << shift,
            (1u64 << shift) - 1,
            (1u64 << shift).wrapping_add(1),
        ] {
            agrees(n);
            agrees(n as usize);
            agrees(n as u32);
            agrees(n as u16);
            agrees(n as u8);
            for n in [n as i64, (n as i64).wrapping_neg()] {
                agrees(n);
                agrees(n as isize);
                agrees(n as i32);
                agrees(n as i16);
                agrees(n as i8);
            }
        }
    }
    agrees(u64::MAX);
    for x in [0.0, -0.0, 1.5, f64::MAX, f64::INFINITY, f64::MIN_POSITIVE] {
        agrees(x);
        agrees(x as f32);
    }
    for len in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(len);
        let mut out = Vec::new();
        assert!(text.__put(&mut out));
        assert_eq!(out, rmp_serde::to_vec(&text).expect("serde writes it"));
        assert_eq!(String::__take(&out), Some((text, out.len())));
    }
    agrees("grüße 🎁".to_owned());
}

#[test]
fn short_cuts_read_wider_forms_that_fit_and_leave_the_rest_to_serde() {
    // 1 as u64: not the shortest form, but the same number.
    let wide = [0xcf, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(u8::__take(&wide), Some((1, 9)));
    assert_eq!(i64::__take(&wide), Some((1, 9)));
    for (bytes, why) in [
        (&[0xcd, 1, 0][..], "256 is no u8"),
        (&[0xff], "-1 is no u8"),
        (&[0xc0], "nil is no number"),
        (&[0xca, 0, 0, 0, 0], "a float is no int"),
        (&[0xa1, b'1'], "a text is no int"),
    ] {
        assert_eq!(u8::__take(bytes), None, "{why}");
    }
    assert_eq!(i64::__take(&[0xcf; 9]), None, "above i64::MAX");
    assert_eq!(f64::__take(&[0xca, 0, 0, 0, 0]), None);
    assert_eq!(bool::__take(&[0x01]), None);
    assert_eq!(String::__take(&[0xa2, 0xff, 0xfe]), None, "not UTF-8");
    assert_eq!(
        String::__take(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'x']),
        None,
        "a claim without bytes"
    );
    assert_eq!(String::__take(&[0xc4, 1, b'x']), None, "bytes are no text");
}

#[test]
fn what_has_no_short_cut_says_so_and_writes_nothing() {
    let mut out = vec![1];
    assert!(!vec![1u32].__put(&mut out));
    assert!(!Some(1u8).__put(&mut out));
    assert_eq!(out, [1]);
    assert_eq!(Vec::<u32>::__take(&[0x91, 1]), None);
}

/// Stands for a handle: knows whether it is lent.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Held {
    n: u8,
    lent: bool,
}

impl Wire for Held {
    fn describe() -> TypeDesc {
        TypeDesc::Same(TypeRef::of::<u8>())
    }
    fn __lend(&mut self, _: &Lease) {
        self.lent = true;
    }
    fn __lent(&self) -> bool {
        self.lent
    }
}

fn held(n: u8) -> Held {
    Held { n, lent: false }
}

#[track_caller]
fn lends<T: Wire + Debug>(mut value: T) {
    assert!(!value.__lent(), "{value:?}");
    value.__lend(&Lease::new());
    assert!(value.__lent(), "{value:?}");
    assert!(!format!("{value:?}").contains("lent: false"), "{value:?}");
}

type Seeded = BuildHasherDefault<std::hash::DefaultHasher>;

#[test]
fn lending_reaches_every_handle_in_a_container() {
    lends(Some(held(1)));
    lends(Box::new(held(1)));
    lends(vec![held(1), held(2)]);
    lends(VecDeque::from([held(1), held(2)]));
    lends(vec![held(1)].into_boxed_slice());
    lends([held(1), held(2), held(3)]);
    lends((1u8, held(1), vec![held(2)]));
    lends(BTreeMap::from([(1u8, held(1)), (2, held(2))]));
    lends(BTreeMap::from([(held(1), 1u8), (held(2), 2)]));
    lends(BTreeMap::from([(held(1), held(3)), (held(2), held(4))]));
    lends(BTreeSet::from([held(1), held(2)]));
    lends(
        [(1u8, held(1))]
            .into_iter()
            .collect::<HashMap<_, _, Seeded>>(),
    );
    lends(
        [(held(1), Some(vec![held(2)]))]
            .into_iter()
            .collect::<HashMap<_, _, Seeded>>(),
    );
    lends(
        [held(1), held(2)]
            .into_iter()
            .collect::<HashSet<_, Seeded>>(),
    );
}

#[test]
fn what_holds_no_handle_is_plain() {
    const { assert!(<Vec<Option<(u8, String)>> as Wire>::PLAIN) };
    const { assert!(<BTreeMap<String, [u64; 3]> as Wire>::PLAIN) };
    const { assert!(<HashSet<u8, Seeded> as Wire>::PLAIN) };
    const { assert!(!<Vec<Held> as Wire>::PLAIN) };
    const { assert!(!<BTreeMap<u8, Held> as Wire>::PLAIN) };
    const { assert!(!<BTreeMap<Held, u8> as Wire>::PLAIN) };
    const { assert!(!<(u8, Held) as Wire>::PLAIN) };
}

#[test]
fn a_lease_ends_for_all_its_clones_when_its_scope_does() {
    let lease = Lease::new();
    let clone = lease.clone();
    let scope = lease.scope();
    assert!(!clone.ended());
    drop(scope);
    assert!(lease.ended() && clone.ended());
}
