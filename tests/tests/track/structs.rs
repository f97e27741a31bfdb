//! Structs of every form, and what serde's attributes do to them.

use helve::prelude::*;
use helve::track::Counter;
use helve_handles::patch::PatchError;
use helve_handles::track::apply;

use crate::{change, edit, encode, refused};

#[derive(Wire, Track, Clone, Debug, PartialEq)]
struct Cell {
    text: String,
    #[serde(skip)]
    seen: u32,
    color: u8,
    score: f64,
}

fn cell() -> Cell {
    Cell {
        text: "a".into(),
        seen: 7,
        color: 1,
        score: 0.5,
    }
}

#[test]
fn a_struct_tells_its_fields_in_declaration_order_without_skipped_ones() {
    assert_eq!(change(&cell(), |_| {}), None);
    let patch = change(&cell(), |cell| cell.color = 2);
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x92, 0, 2]));
    let patch = change(&cell(), |cell| {
        cell.text = "b".into();
        cell.score = 2.5;
    });
    let expected = [
        0x95, 1, 0, 0x92, 0, 0xa1, b'b', 2, 0x92, 0, 0xcb, 0x40, 4, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(patch.as_deref(), Some(&expected[..]));
    assert_eq!(
        refused(&cell(), &[0x93, 1, 3, 0x92, 0, 2]),
        PatchError::Field
    );
    assert_eq!(refused(&cell(), &[0x92, 3, 1]), PatchError::Shape);
}

#[test]
fn a_skipped_field_is_not_told_not_rolled_back_and_taken_over() {
    assert_eq!(change(&cell(), |cell| cell.seen = 9), None);
    let mut undone = cell();
    let shadow = undone.shadow();
    undone.seen = 9;
    undone.color = 9;
    assert!(undone.undo(shadow));
    assert_eq!(undone, Cell { seen: 9, ..cell() });
    // A patch of a field leaves it, a Set does not.
    let mut theirs = cell();
    apply(&mut theirs, &[0x93, 1, 1, 0x92, 0, 2]).expect("fits");
    assert_eq!(theirs.seen, 7);
    let mut old = theirs.clone();
    let set = [&[0x92, 0], &encode(&cell())[..]].concat();
    apply(&mut theirs, &set).expect("fits");
    assert_eq!(theirs, Cell { seen: 0, ..cell() });
    theirs.adopt(&mut old);
    assert_eq!(theirs, cell());
}

#[test]
fn what_stands_behind_a_field_that_cannot_be_taken_back_is_taken_back_all_the_same() {
    let mut pair = (cell(), Parts::default());
    let shadow = pair.shadow();
    pair.1.first = None;
    pair.1.second = 9;
    pair.1.third.add(9);
    assert!(!pair.undo(shadow), "`Some` is lost");
    assert_eq!((pair.1.second, pair.1.third.get()), (2, 3));
}

#[derive(Wire, Track, Clone)]
struct Parts {
    first: Option<u8>,
    second: u8,
    third: Counter,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            first: Some(1),
            second: 2,
            third: Counter::new(3),
        }
    }
}

#[derive(Wire, Track, Clone)]
struct Pair(u8, #[serde(skip)] u8, String);

#[derive(Wire, Track, Clone)]
struct Meters(f64);

#[derive(Wire, Track, Clone)]
struct Deep(Box<Meters>);

#[derive(Wire, Track, Clone)]
#[serde(transparent)]
struct Clear {
    inner: Cell,
    #[serde(skip)]
    _note: u8,
}

#[derive(Wire, Track, Clone, Debug, PartialEq)]
struct Nothing;

#[derive(Wire, Track, Clone)]
struct Empty {}

#[test]
fn tuples_count_newtypes_vanish_and_units_have_nothing_to_tell() {
    let patch = change(&Pair(1, 2, "x".into()), |pair| pair.2.push('y'));
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x92, 0, 0xa2, b'x', b'y']));
    let mut set = vec![0x92, 0, 0xcb, 0x40];
    set.extend([0; 7]);
    assert_eq!(change(&Meters(1.0), |m| m.0 = 2.0), Some(set.clone()));
    assert_eq!(
        change(&Deep(Box::new(Meters(1.0))), |d| d.0.0 = 2.0),
        Some(set)
    );
    let clear = Clear {
        inner: cell(),
        _note: 0,
    };
    let patch = change(&clear, |clear| clear.inner.color = 2);
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x92, 0, 2]));
    assert_eq!(change(&Nothing, |_| {}), None);
    assert_eq!(change(&Empty {}, |_| {}), None);
    const { assert!(Nothing::NULLABLE && !Empty::NULLABLE && !Meters::NULLABLE) };
    apply(&mut Nothing, &[0x92, 0, 0xc0]).expect("nil is its value");
    apply(&mut Empty {}, &[0x91, 1]).expect("no change is one");
}

#[derive(Wire, Track, Clone)]
struct Generic<T, U = u8, const N: usize = 2> {
    t: T,
    many: [Option<U>; 2],
    of: std::marker::PhantomData<T>,
}

#[derive(Wire, Track, Clone)]
struct Node<T> {
    value: T,
    next: Option<Box<Node<T>>>,
}

#[derive(Wire, Track, Clone)]
struct Chain {
    next: Option<Box<Chain>>,
    n: u8,
}

trait Keyed {
    type Key;
}

#[derive(Clone)]
struct ByName;

impl Keyed for ByName {
    type Key = String;
}

#[derive(Wire, Track)]
struct Entry<T: Keyed> {
    key: T::Key,
    #[serde(skip)]
    _of: std::marker::PhantomData<T>,
}

impl<T: Keyed> Clone for Entry<T>
where
    T::Key: Clone,
{
    fn clone(&self) -> Self {
        Entry {
            key: self.key.clone(),
            _of: self._of,
        }
    }
}

/// The parameter is only ever boxed, so that the bound can be a weaker one.
#[derive(Wire, Track, Clone)]
#[track(bound = "T: Track + Default")]
struct Bound<T> {
    held: Box<T>,
}

#[test]
fn generic_and_recursive_types_are_tracked() {
    let generic = Generic::<Cell> {
        t: cell(),
        many: [None, Some(1)],
        of: std::marker::PhantomData,
    };
    let patch = change(&generic, |generic| {
        generic.t.color = 2;
        generic.many[1] = Some(9);
    });
    let expected = [
        0x95, 1, 0, 0x93, 1, 1, 0x92, 0, 2, 1, 0x93, 1, 1, 0x92, 0, 9,
    ];
    assert_eq!(patch.as_deref(), Some(&expected[..]));
    let node = |value, next| Node { value, next };
    let list = node(1_u8, Some(Box::new(node(2, None))));
    let patch = change(&list, |list| {
        list.next.as_mut().expect("there").value = 3;
    });
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x93, 1, 0, 0x92, 0, 3]));
    let chain = Chain {
        next: Some(Box::new(Chain { next: None, n: 1 })),
        n: 0,
    };
    let patch = change(&chain, |chain| chain.next = None);
    assert_eq!(patch, Some(vec![0x93, 1, 0, 0x92, 0, 0xc0]));
    let entry = Entry::<ByName> {
        key: "a".into(),
        _of: std::marker::PhantomData,
    };
    assert!(change(&entry, |entry| entry.key = "b".into()).is_some());
    let bound = Bound {
        held: Box::new(1_u8),
    };
    assert!(change(&bound, |bound| *bound.held = 2).is_some());
}

fn is_small(n: &u32) -> bool {
    *n < 3
}

fn seven() -> u32 {
    7
}

#[derive(Wire, Track, Clone, Debug, PartialEq)]
#[serde(default)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "is_small")]
    from_type: u32,
    #[serde(default, skip_serializing_if = "is_small")]
    plain: u32,
    #[serde(default = "seven", skip_serializing_if = "is_small")]
    by_path: u32,
    hits: u8,
}

impl Default for Sparse {
    fn default() -> Self {
        Sparse {
            note: None,
            from_type: 2,
            plain: 1,
            by_path: 5,
            hits: 0,
        }
    }
}

#[test]
fn what_is_left_out_from_now_on_is_unset_and_takes_serdes_default() {
    let full = Sparse {
        note: Some("n".into()),
        from_type: 10,
        plain: 10,
        by_path: 10,
        hits: 1,
    };
    let mut ours = full.clone();
    let patch = edit(&mut ours, |sparse| {
        sparse.note = None;
        sparse.from_type = 0;
        sparse.plain = 0;
        sparse.by_path = 0;
    });
    let patch = patch.expect("changed");
    assert_eq!(patch, [0x99, 1, 0, 0xc0, 1, 0xc0, 2, 0xc0, 3, 0xc0]);
    let mut theirs = full.clone();
    apply(&mut theirs, &patch).expect("fits");
    let read = Sparse {
        note: None,
        from_type: 2,
        plain: 0,
        by_path: 7,
        hits: 1,
    };
    assert_eq!(theirs, read, "as serde reads what was left out");
    assert!(theirs.same(&Sparse {
        by_path: 7,
        ..ours.clone()
    }));
    // Back again: Set. Left out before and after: nothing.
    assert_eq!(edit(&mut ours, |sparse| sparse.plain = 2), None);
    let patch = edit(&mut ours, |sparse| sparse.plain = 30);
    assert_eq!(patch, Some(vec![0x93, 1, 2, 0x92, 0, 30]));
    let patch = edit(&mut ours, |sparse| sparse.note = Some("x".into()));
    assert_eq!(patch, Some(vec![0x93, 1, 0, 0x92, 0, 0xa1, b'x']));
    // A change of what is not there.
    let node = [0x93, 1, 0, 0x94, 5, 0, 0, 0xa1, b'y'];
    assert_eq!(refused(&theirs, &node), PatchError::Missing);
    assert_eq!(
        change(&full, |sparse| sparse.plain = 11),
        Some(vec![0x93, 1, 2, 0x92, 0, 11])
    );
    // What was left out is rolled back as it was, not to the default.
    let mut undone = ours.clone();
    let shadow = undone.shadow();
    undone.from_type = 50;
    assert!(undone.undo(shadow));
    assert_eq!(undone, ours);
}

#[derive(Wire, Track, Clone, Default)]
struct Address {
    street: String,
    zip: u32,
}

#[derive(Wire, Track, Clone, Default)]
struct Person {
    name: String,
    #[serde(flatten)]
    home: Address,
    #[serde(flatten)]
    extra: Option<Extra>,
}

#[derive(Wire, Track, Clone, Default)]
struct Extra {
    height: u8,
}

#[test]
fn a_flattened_struct_has_the_ordinal_of_its_field_and_then_its_own() {
    let person = Person::default();
    let patch = change(&person, |person| person.home.zip = 5);
    assert_eq!(patch, Some(vec![0x93, 1, 1, 0x93, 1, 1, 0x92, 0, 5]));
    let patch = change(&person, |person| person.extra = Some(Extra { height: 3 }));
    let mut expected = vec![0x93, 1, 2, 0x92, 0, 0x81, 0xa6];
    expected.extend(b"height");
    expected.push(3);
    assert_eq!(patch, Some(expected));
}

#[derive(Wire, Track, Clone)]
struct Level<T> {
    #[serde(flatten)]
    inner: T,
}

#[derive(Wire, Track, Clone)]
struct Wrap<T> {
    inner: T,
}

#[test]
fn a_flattened_field_does_not_count_as_a_level_of_the_value() {
    // 62 arrays around a number in a struct that is flattened: 64 levels in the value, 65 if it counted.
    fn deep(levels: usize) -> Vec<u8> {
        let mut value = vec![0x91; levels];
        value.push(1);
        value
    }
    #[derive(Clone, PartialEq)]
    struct Raw(usize);
    impl helve::__rt::serde::Serialize for Raw {
        fn serialize<S: helve::__rt::serde::Serializer>(
            &self,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => serializer.serialize_u8(1),
                n => [Raw(n - 1)].serialize(serializer),
            }
        }
    }
    impl<'de> helve::__rt::serde::Deserialize<'de> for Raw {
        fn deserialize<D: helve::__rt::serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Raw(0))
        }
    }
    #[derive(Wire, Track, Clone)]
    struct Leaf {
        #[track(leaf)]
        raw: Raw,
    }
    fn nests<T: Track>(mut value: T, set: impl Fn(&mut T)) -> bool {
        let shadow = value.shadow();
        set(&mut value);
        let mut patcher = helve_handles::patch::Patcher::new();
        value.flush(&shadow, &mut patcher).expect("encodes");
        patcher.finish().is_ok()
    }
    let leaf = || Leaf { raw: Raw(0) };
    assert_eq!(deep(3).len(), 4);
    let set = |n: usize| move |level: &mut Level<Leaf>| level.inner.raw = Raw(n);
    assert!(nests(Level { inner: leaf() }, set(63)));
    assert!(!nests(Level { inner: leaf() }, set(64)));
    let set = |n: usize| move |wrap: &mut Wrap<Leaf>| wrap.inner.raw = Raw(n);
    assert!(nests(Wrap { inner: leaf() }, set(62)));
    assert!(!nests(Wrap { inner: leaf() }, set(63)));
}

mod as_text {
    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(helve::__rt::serde::de::Error::custom)
    }
}

/// Of another crate: no `Wire`, no `Track`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Foreign {
    at: (f32, f32),
}

#[derive(Wire, Track, Clone)]
struct Leaves {
    #[serde(with = "as_text")]
    text: u32,
    #[serde(
        serialize_with = "as_text::serialize",
        deserialize_with = "as_text::deserialize"
    )]
    #[track(leaf)]
    both: u32,
    #[track(leaf)]
    equal: Foreign,
    #[track(leaf = bytes)]
    bytes: Foreign,
    #[track(leaf)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maybe: Option<Foreign>,
    hits: Counter,
}

#[derive(Wire, Track, Clone)]
#[track(leaf)]
struct Wrapped(Foreign);

#[derive(Wire, Track, Clone)]
struct Holds<T>
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    #[track(leaf)]
    held: (T, T),
}

fn leaves() -> Leaves {
    let foreign = Foreign { at: (0.0, 1.0) };
    Leaves {
        text: 1,
        both: 2,
        equal: foreign.clone(),
        bytes: foreign.clone(),
        maybe: Some(foreign),
        hits: Counter::new(1),
    }
}

#[test]
fn leaves_are_compared_and_sent_whole_through_their_own_code() {
    assert_eq!(change(&leaves(), |_| {}), None);
    let patch = change(&leaves(), |leaves| {
        leaves.text = 12;
        leaves.both = 3;
    });
    let expected = [
        0x95, 1, 0, 0x92, 0, 0xa2, b'1', b'2', 1, 0x92, 0, 0xa1, b'3',
    ];
    assert_eq!(patch.as_deref(), Some(&expected[..]));
    // `==` says that 0.0 is -0.0, bytes do not.
    let ours = &mut leaves();
    assert_eq!(edit(ours, |leaves| leaves.equal.at.0 = -0.0), None);
    assert!(edit(ours, |leaves| leaves.bytes.at.0 = -0.0).is_some());
    assert_eq!(
        change(&leaves(), |leaves| leaves.maybe = None),
        Some(vec![0x93, 1, 4, 0xc0])
    );
    assert!(change(&leaves(), |leaves| leaves.equal.at.1 = 5.0).is_some());
    // Fields of a leaf are nobody's business.
    let inside = [0x93, 1, 2, 0x93, 1, 0, 0x92, 0, 1];
    assert_eq!(refused(&leaves(), &inside), PatchError::Shape);
    let no_number = [0x93, 1, 0, 0x92, 0, 0xa1, b'x'];
    assert!(matches!(
        refused(&leaves(), &no_number),
        PatchError::Value(_)
    ));
    assert!(change(&Wrapped(Foreign { at: (1.0, 2.0) }), |w| w.0.at.0 = 3.0).is_some());
    assert!(change(&Holds { held: (1_u8, 2) }, |h| h.held.1 = 3).is_some());
}

#[derive(Wire, Track, Clone)]
#[serde(from = "u32", into = "u32")]
struct Proxied {
    low: u16,
    high: u16,
}

impl From<u32> for Proxied {
    fn from(n: u32) -> Self {
        Proxied {
            low: n as u16,
            high: (n >> 16) as u16,
        }
    }
}

impl From<Proxied> for u32 {
    fn from(proxied: Proxied) -> Self {
        u32::from(proxied.high) << 16 | u32::from(proxied.low)
    }
}

#[test]
fn a_type_with_a_proxy_is_a_leaf() {
    let patch = change(&Proxied { low: 1, high: 0 }, |p| p.low = 9);
    assert_eq!(patch, Some(vec![0x92, 0, 9]));
}

#[derive(Wire, Track, Clone)]
struct Std {
    #[serde(rename = "kind", alias = "type")]
    r#type: u8,
}

#[test]
fn a_view_stands_in_the_descriptor() {
    use helve::__rt::TypeDesc;

    #[derive(Wire, Track, Clone)]
    struct Viewed {
        open: u8,
        #[track(view = "admin")]
        #[serde(default)]
        secret: u8,
        #[track(view = "staff")]
        note: Option<String>,
    }
    let TypeDesc::Struct { fields, .. } = Viewed::describe() else {
        panic!("a struct")
    };
    let views: Vec<_> = fields.iter().map(|field| field.view).collect();
    assert_eq!(views, [None, Some("admin"), Some("staff")]);
    let schema = helve::__rt::Schema::of::<Viewed>();
    let mut expected = vec![0x93, 0, 0x93, 0, 0xa6];
    expected.extend(b"Viewed");
    expected.extend([0x93, 0x93, 0xa4]);
    expected.extend(b"open");
    expected.extend([0xfe, 0, 0x94, 0xa6]);
    expected.extend(b"secret");
    expected.extend([0xfe, 1, 0xa5]);
    expected.extend(b"admin");
    assert_eq!(schema.bytes()[..expected.len()], expected);
    let viewed = Viewed {
        open: 1,
        secret: 2,
        note: None,
    };
    assert!(change(&viewed, |viewed| viewed.secret = 3).is_some());
}
