//! Enums of every form of serde's, and variants of every shape.

use helve::prelude::*;
use helve::track::Counter;
use helve_handles::patch::{EncodeError, PatchError, Patcher};
use helve_handles::track::apply;

use crate::{change, edit, encode, refused};

#[derive(Wire, Track, Clone, Debug, PartialEq)]
enum Shape {
    Empty,
    #[serde(skip)]
    Here(u8),
    Circle(f64),
    Line(u8, u8, #[serde(skip)] u8),
    Box {
        width: Option<u8>,
        #[serde(skip)]
        seen: u8,
        #[serde(default, skip_serializing_if = "is_zero")]
        height: u8,
    },
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

#[test]
fn the_same_variant_tells_its_fields_and_another_one_is_set() {
    assert_eq!(change(&Shape::Empty, |_| {}), None);
    let patch = change(&Shape::Circle(1.0), |shape| *shape = Shape::Circle(2.0));
    let mut expected = vec![0x94, 6, 1, 0, 0x92, 0, 0xcb, 0x40];
    expected.extend([0; 7]);
    assert_eq!(patch, Some(expected));
    let line = Shape::Line(1, 2, 3);
    let patch = change(&line, |shape| *shape = Shape::Line(1, 9, 3));
    assert_eq!(patch, Some(vec![0x94, 6, 2, 1, 0x92, 0, 9]));
    let filled = Shape::Box {
        width: Some(1),
        seen: 2,
        height: 3,
    };
    let narrow = |shape: &mut Shape| {
        if let Shape::Box { width, .. } = shape {
            *width = None;
        }
    };
    assert_eq!(
        change(&filled, narrow),
        Some(vec![0x94, 6, 3, 0, 0x92, 0, 0xc0])
    );
    let flat = |shape: &mut Shape| {
        if let Shape::Box { height, .. } = shape {
            *height = 0;
        }
    };
    assert_eq!(change(&filled, flat), Some(vec![0x94, 6, 3, 1, 0xc0]));
    let patch = change(&line, |shape| *shape = Shape::Empty);
    assert_eq!(patch, Some(b"\x92\x00\xa5Empty".to_vec()));
    assert!(change(&Shape::Empty, |shape| *shape = Shape::Line(1, 2, 3)).is_some());
}

#[test]
fn a_node_of_another_variant_is_refused() {
    let line = Shape::Line(1, 2, 3);
    // P1.5
    assert_eq!(
        refused(&line, &[0x94, 6, 1, 0, 0x92, 0, 1]),
        PatchError::Variant
    );
    assert_eq!(
        refused(&line, &[0x94, 6, 9, 0, 0x92, 0, 1]),
        PatchError::Variant
    );
    assert_eq!(
        refused(&line, &[0x94, 6, 2, 2, 0x92, 0, 1]),
        PatchError::Field
    );
    assert_eq!(refused(&line, &[0x93, 1, 0, 0x92, 0, 1]), PatchError::Shape);
    apply(&mut Shape::Empty, &[0x92, 6, 0]).expect("no change is one");
}

#[test]
fn a_variant_is_taken_back_where_nothing_of_it_is_lost() {
    let taken_back = |was: &Shape, to: Shape| {
        let mut shape = was.clone();
        let shadow = shape.shadow();
        shape = to;
        shape.undo(shadow) && shape == *was
    };
    let line = Shape::Line(1, 2, 3);
    assert!(taken_back(&line, Shape::Line(4, 5, 3)));
    assert!(taken_back(&Shape::Empty, line.clone()));
    assert!(!taken_back(&line, Shape::Empty));
    assert!(!taken_back(&line, Shape::Circle(1.0)));
}

#[test]
fn a_variant_that_is_not_sent_is_no_change_as_long_as_it_stays() {
    let mut here = Shape::Here(1);
    assert_eq!(edit(&mut here, |here| *here = Shape::Here(2)), None);
    assert!(here.same(&Shape::Here(5)) && !here.same(&Shape::Empty));
    assert!(edit(&mut here, |here| *here = Shape::Empty).is_some());
    let shadow = here.shadow();
    here = Shape::Here(1);
    let failed = here.flush(&shadow, &mut Patcher::new());
    assert!(matches!(failed, Err(EncodeError::Value(_))), "{failed:?}");
}

#[test]
fn skipped_fields_of_the_same_variant_are_taken_over() {
    let mut new = Shape::Line(4, 5, 0);
    new.adopt(&mut Shape::Line(1, 2, 3));
    assert_eq!(new, Shape::Line(4, 5, 3));
    new.adopt(&mut Shape::Empty);
    assert_eq!(new, Shape::Line(4, 5, 3));
}

#[derive(Wire, Track, Clone)]
#[serde(tag = "kind")]
enum Internal {
    Point {
        x: u8,
        y: u8,
    },
    Held(Held),
    #[serde(other)]
    Unknown,
}

#[derive(Wire, Track, Clone)]
struct Held {
    hits: Counter,
    n: u8,
}

#[derive(Wire, Track, Clone)]
#[serde(tag = "kind", content = "of", rename_all = "snake_case")]
enum Adjacent {
    ShortText(String),
    Two(u8, u8),
}

#[test]
fn tagged_enums_have_the_same_node() {
    let patch = change(&Internal::Point { x: 1, y: 2 }, |internal| {
        *internal = Internal::Point { x: 1, y: 3 };
    });
    assert_eq!(patch, Some(vec![0x94, 6, 0, 1, 0x92, 0, 3]));
    let held = Internal::Held(Held {
        hits: Counter::new(1),
        n: 0,
    });
    let add = |internal: &mut Internal| {
        if let Internal::Held(held) = internal {
            held.hits.add(5);
        }
    };
    assert_eq!(
        change(&held, add),
        Some(vec![0x94, 6, 1, 0, 0x93, 1, 0, 0x92, 3, 5])
    );
    assert!(change(&held, |held| *held = Internal::Unknown).is_some());
    let patch = change(&Adjacent::Two(1, 2), |two| *two = Adjacent::Two(3, 2));
    assert_eq!(patch, Some(vec![0x94, 6, 1, 0, 0x92, 0, 3]));
    let text = Adjacent::ShortText("x".into());
    assert!(change(&text, |text| *text = Adjacent::Two(1, 1)).is_some());
}

#[derive(Wire, Track, Clone)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
    Nothing,
}

#[derive(Wire, Track, Clone)]
#[serde(untagged)]
#[track(leaf)]
enum Either {
    Float(f64),
    Text(String),
}

impl PartialEq for Either {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Either::Float(a), Either::Float(b)) => a == b,
            (Either::Text(a), Either::Text(b)) => a == b,
            _ => false,
        }
    }
}

mod doubled {
    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u8, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(value * 2)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        u8::deserialize(deserializer).map(|n| n / 2)
    }
}

#[derive(Wire, Track, Clone, Debug, PartialEq)]
enum Mixed {
    Own(u8),
    #[serde(with = "doubled")]
    Doubled(u8),
    #[serde(untagged)]
    Rest(u16),
}

#[test]
fn what_is_untagged_or_written_by_a_module_is_a_leaf() {
    let patch = change(&Untagged::Number(1), |untagged| {
        *untagged = Untagged::Number(2)
    });
    assert_eq!(patch, Some(vec![0x92, 0, 2]));
    let patch = change(&Untagged::Text("x".into()), |untagged| {
        *untagged = Untagged::Nothing
    });
    assert_eq!(patch, Some(vec![0x92, 0, 0xc0]));
    const { assert!(Untagged::NULLABLE, "its unit is nil") };
    let by_eq = edit(&mut Either::Float(f64::NAN), |_| {});
    assert!(by_eq.is_some(), "NaN is not `==` to itself");
    assert_eq!(
        edit(&mut Either::Float(0.0), |either| *either =
            Either::Float(-0.0)),
        None
    );

    assert_eq!(
        change(&Mixed::Own(1), |m| *m = Mixed::Own(2)),
        Some(vec![0x94, 6, 0, 0, 0x92, 0, 2])
    );
    assert_eq!(change(&Mixed::Doubled(1), |_| {}), None);
    let patch = change(&Mixed::Doubled(1), |m| *m = Mixed::Doubled(2));
    assert_eq!(patch, Some(b"\x92\x00\x81\xa7Doubled\x04".to_vec()));
    assert!(change(&Mixed::Rest(1), |m| *m = Mixed::Rest(300)).is_some());
    assert!(change(&Mixed::Rest(1), |m| *m = Mixed::Doubled(3)).is_some());
    let mut mixed = Mixed::Doubled(1);
    let shadow = mixed.shadow();
    mixed = Mixed::Own(1);
    assert!(mixed.undo(shadow));
    assert_eq!(mixed, Mixed::Doubled(1), "a leaf comes back whole");
}

#[derive(Wire, Track, Clone)]
enum Tree<T> {
    Leaf(T),
    Branch(Box<Tree<T>>, Box<Tree<T>>),
}

#[derive(Wire, Track, Clone)]
enum Never {}

#[test]
fn enums_may_be_generic_recursive_and_empty() {
    let leaf = |n: u8| Box::new(Tree::Leaf(n));
    let tree = Tree::Branch(leaf(1), Box::new(Tree::Branch(leaf(2), leaf(3))));
    let right = |tree: &mut Tree<u8>| {
        if let Tree::Branch(_, right) = tree
            && let Tree::Branch(_, right) = &mut **right
        {
            **right = Tree::Leaf(9);
        }
    };
    let expected = [0x94, 6, 1, 1, 0x94, 6, 1, 1, 0x94, 6, 0, 0, 0x92, 0, 9];
    assert_eq!(change(&tree, right).as_deref(), Some(&expected[..]));
    assert_eq!(change(&None::<Box<Never>>, |_| {}), None);
    assert_eq!(encode(&Tree::Leaf(1_u8)), b"\x81\xa4Leaf\x01");
}

/// How deep each form lies in its value, by how deep a list in it may still be.
#[test]
fn a_variants_fields_lie_as_deep_as_they_are_written() {
    fn deep(n: usize) -> Nested {
        (0..n).fold(Nested(None), |inner, _| Nested(Some(Box::new((inner,)))))
    }
    #[derive(Wire, Track, Clone)]
    struct Nested(Option<Box<(Nested,)>>);
    #[derive(Wire, Track, Clone)]
    enum Outside {
        One(Nested),
        Two(Nested, u8),
        Named { nested: Nested },
    }
    #[derive(Wire, Track, Clone)]
    #[serde(tag = "t")]
    enum Inside {
        Named { nested: Nested },
        One(Holder),
    }
    #[derive(Wire, Track, Clone)]
    struct Holder {
        nested: Nested,
    }
    #[derive(Wire, Track, Clone)]
    #[serde(tag = "t", content = "c")]
    enum Beside {
        One(Nested),
        Two(Nested, u8),
    }
    /// The most levels that a change may add, by what was built of them whole and as a change of a field.
    fn most<T: Track>(build: impl Fn(Nested) -> T) -> (usize, usize) {
        let fits = |changed: bool| {
            let fits = move |n: &usize, build: &dyn Fn(Nested) -> T| {
                let mut patcher = Patcher::new();
                if changed {
                    let mut value = build(deep(0));
                    let shadow = value.shadow();
                    value = build(deep(*n));
                    value.flush(&shadow, &mut patcher).expect("encodes");
                } else {
                    patcher.value(&build(deep(*n))).expect("encodes");
                }
                patcher.finish().is_ok()
            };
            (0..70).take_while(|n| fits(n, &build)).count() - 1
        };
        (fits(false), fits(true))
    }
    assert_eq!(most(Outside::One), (63, 63));
    assert_eq!(most(|n| Outside::Two(n, 1)), (62, 62));
    assert_eq!(most(|nested| Outside::Named { nested }), (62, 62));
    assert_eq!(most(|nested| Inside::Named { nested }), (63, 63));
    assert_eq!(most(|nested| Inside::One(Holder { nested })), (63, 63));
    assert_eq!(most(Beside::One), (63, 63));
    assert_eq!(most(|n| Beside::Two(n, 1)), (62, 62));
}
