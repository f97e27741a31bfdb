//! Handles in tracked sequences: only their places are in the bytes, numbered by first appearance in the whole patch.

use helve_handles::Reference;
use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::references;
use helve_handles::schema::TypeDesc;
use helve_handles::track::{Deque, List, Track};
use helve_handles::wire::Wire;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Travels as a handle does. 0 is a lent one.
#[derive(Clone, Debug, PartialEq)]
struct Named(u64);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let make = || match self.0 {
            0 => Err(EncodeError::Lent),
            name => Ok(Reference::new(name)),
        };
        let place = references::put(make).ok_or_else(|| S::Error::custom("not collected"))?;
        let place = place.map_err(S::Error::custom)?;
        let ext = (1_i8, bytes::Bytes::from(vec![place as u8]));
        serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &ext)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("not needed here"))
    }
}

impl Wire for Named {
    fn describe() -> TypeDesc {
        TypeDesc::Unit
    }
}

impl Track for Named {
    type Shadow = u64;
    fn shadow(&mut self) -> u64 {
        self.0
    }
    fn flush(&mut self, shadow: &u64, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        if self.0 == *shadow {
            return Ok(false);
        }
        patcher.set(self)?;
        Ok(true)
    }
    fn undo(&mut self, shadow: u64) -> bool {
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

fn patch<T: Track>(mut value: T, edit: fn(&mut T)) -> Result<(Vec<u8>, Vec<u64>), EncodeError> {
    let shadow = value.shadow();
    edit(&mut value);
    let mut patcher = Patcher::new();
    value.flush(&shadow, &mut patcher)?;
    let (bytes, refs) = patcher.finish()?;
    let names = refs.iter().filter_map(Reference::get).copied();
    Ok((bytes, names.collect()))
}

fn three<S: FromIterator<Named>>() -> S {
    (1..4).map(Named).collect()
}

#[test]
fn what_was_logged_first_is_numbered_first() {
    let list = (Named(8), three::<List<Named>>());
    let (bytes, names) = patch(list, |(named, list)| {
        list[1] = Named(5);
        list.push(Named(6));
        list.insert(0, Named(9));
        list.push(Named(7));
        named.0 = 4;
    })
    .expect("encodes");
    assert_eq!(names, [4, 5, 9, 6, 7]);
    let fields = [0x95, 1, 0, 0x92, 0, 0xd4, 1, 0, 1, 0x94, 4];
    let at = [0x93, 0, 1, 0x92, 0, 0xd4, 1, 1];
    let splice = [0x94, 1, 0, 0, 0xd4, 1, 2];
    let append = [0x93, 2, 0xd4, 1, 3, 0xd4, 1, 4];
    assert_eq!(bytes, [&fields[..], &at, &splice, &append].concat());
}

#[test]
fn the_other_sequences_collect_handles_too() {
    let deque = patch(three::<Deque<Named>>(), |d| d.push_front(Named(9)));
    let splice = vec![0x92, 4, 0x94, 1, 0, 0, 0xd4, 1, 0];
    assert_eq!(deque, Ok((splice, vec![9])));
    let vec = patch(three::<Vec<Named>>(), |v| v.push(Named(9)));
    let append = vec![0x92, 4, 0x92, 2, 0xd4, 1, 0];
    assert_eq!(vec, Ok((append, vec![9])));
}

#[test]
fn a_lent_handle_fails_the_flush_wherever_it_was_put() {
    let edits: [fn(&mut List<Named>); 4] = [
        |l| l.push(Named(0)),
        |l| l.insert(1, Named(0)),
        |l| l[1] = Named(0),
        |l| l.with_vec(|v| v[0] = Named(0)),
    ];
    for edit in edits {
        assert_eq!(patch(three::<List<Named>>(), edit), Err(EncodeError::Lent));
    }
}
