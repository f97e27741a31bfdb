//! Handles in tracked maps: they are listed beside the patch in order of appearance, also where a map is set whole.

mod support;

use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::references::{self, Reference};
use helve_handles::schema::TypeDesc;
use helve_handles::track::{HMap, Map, Track};
use helve_handles::wire::Wire;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::flush;

/// Stands for a handle, told apart by a number. 99 is one that was lent.
#[derive(Clone, Debug, PartialEq)]
struct Handle(u32);

struct Ext(u32);

struct Bytes([u8; 1]);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for Ext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let put = references::put(|| match self.0 {
            99 => Err(EncodeError::Lent),
            id => Ok(Reference::new(id)),
        });
        let index = put.ok_or_else(|| S::Error::custom("outside of a shared value"))?;
        let index = index.map_err(S::Error::custom)?;
        (1_i8, Bytes([index as u8])).serialize(serializer)
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("_ExtStruct", &Ext(self.0))
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not needed here"))
    }
}

impl Wire for Handle {
    fn describe() -> TypeDesc {
        TypeDesc::Opaque
    }
}

impl Track for Handle {
    type Shadow = u32;
    fn shadow(&mut self) -> u32 {
        self.0
    }
    fn flush(&mut self, shadow: &u32, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        if self.0 == *shadow {
            return Ok(false);
        }
        patcher.set(self)?;
        Ok(true)
    }
    fn undo(&mut self, shadow: u32) -> bool {
        self.0 = shadow;
        true
    }
    fn patch(&mut self, _: &mut PatchReader<'_>) -> Result<(), PatchError> {
        Err(PatchError::Shape)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

fn ids(refs: &[Reference]) -> Vec<u32> {
    let id = |reference: &Reference| *reference.get().expect("one of ours");
    refs.iter().map(id).collect()
}

// R15: a value holds the place of its handle in the list, numbered in order of appearance.
#[test]
fn handles_are_numbered_in_order_of_appearance_in_the_node() {
    let map = Map::from([(1_u8, Handle(10)), (2, Handle(20))]);
    let mut both = (Handle(5), map, HMap::<u8, Handle>::new());
    let shadow = both.shadow();
    both.0 = Handle(6);
    both.1.insert(3, Handle(30));
    both.1.get_mut(&1).expect("is there").0 = 11;
    // Put and removed: its handle is in no list.
    both.1.insert(4, Handle(40));
    both.1.remove(&4);
    both.2.insert(7, Handle(70));
    let (patch, refs) = flush(&mut both, &shadow).expect("changed");
    assert_eq!(ids(&refs), [6, 11, 30, 70]);
    let first = [0x97, 1, 0, 0x92, 0, 0xd4, 1, 0];
    let map = [1, 0x95, 2, 1, 0x92, 0, 0xd4, 1, 1, 3, 0x92, 0, 0xd4, 1, 2];
    let hashed = [2, 0x93, 2, 7, 0x92, 0, 0xd4, 1, 3];
    assert_eq!(patch, [&first[..], &map, &hashed].concat());
}

// R15: the same where the whole map is shorter than its changes.
#[test]
fn a_map_that_is_set_instead_lists_what_is_left_in_it_once() {
    let map: Map<u8, Handle> = (0..40).map(|n| (n, Handle(n.into()))).collect();
    let mut both = (Handle(50), map);
    let shadow = both.shadow();
    both.0 = Handle(51);
    both.1.retain(|key, _| *key == 7);
    both.1.insert(8, Handle(88));
    let (patch, refs) = flush(&mut both, &shadow).expect("changed");
    assert_eq!(ids(&refs), [51, 7, 88]);
    let first = [0x95, 1, 0, 0x92, 0, 0xd4, 1, 0];
    let map = [1, 0x92, 0, 0x82, 7, 0xd4, 1, 1, 8, 0xd4, 1, 2];
    assert_eq!(patch, [&first[..], &map].concat());
}

#[test]
fn a_lent_handle_in_a_map_fails_the_edit() {
    let mut map = Map::from([(1_u8, Handle(10))]);
    let mut replaced = Patcher::new();
    let shadow = map.shadow();
    map.insert(2, Handle(99));
    assert_eq!(map.flush(&shadow, &mut replaced), Err(EncodeError::Lent));
    assert!(replaced.is_empty(), "nothing of it stays");
}

#[test]
fn values_in_maps_in_maps_may_nest_64_deep_from_the_root() {
    fn nested(levels: usize) -> Result<(), EncodeError> {
        type Inner = Map<u8, Option<Box<Deep>>>;
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        struct Deep(Inner);
        impl Wire for Deep {
            fn describe() -> TypeDesc {
                Inner::describe()
            }
        }
        impl Track for Deep {
            type Shadow = u64;
            fn shadow(&mut self) -> u64 {
                self.0.shadow()
            }
            fn flush(&mut self, shadow: &u64, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                self.0.flush(shadow, patcher)
            }
            fn undo(&mut self, shadow: u64) -> bool {
                self.0.undo(shadow)
            }
            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                self.0.patch(reader)
            }
            fn same(&self, other: &Self) -> bool {
                self.0.same(&other.0)
            }
        }
        // The last of them is put into what is there already.
        let mut root = Deep::default();
        for level in 0..levels {
            let mut place = &mut root;
            let mut patcher = Patcher::new();
            let shadow = place.shadow();
            for _ in 0..level {
                let inner = place.0.get_mut(&0).and_then(Option::as_deref_mut);
                place = inner.expect("put before");
            }
            place.0.insert(0, Some(Box::default()));
            root.flush(&shadow, &mut patcher)?;
            patcher.finish()?;
        }
        Ok(())
    }
    assert_eq!(nested(63), Ok(()));
    assert_eq!(nested(64), Err(EncodeError::TooDeep));
}
