//! Values of derived types go through a connection and come back the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use helve::prelude::*;

use crate::remote;

#[interface]
pub trait Echo<T: Wire> {
    async fn echo(&self, value: T) -> T;
}

struct Same;

impl<T: Wire> Echo<T> for Same {
    async fn echo(&self, value: T) -> T {
        value
    }
}

async fn comes_back<T: Wire + Clone + PartialEq + Debug>(value: T) {
    let here = EchoHandle::<T>::new(Same);
    let (far, harness) = crate::limited(remote(&here)).await;
    assert_eq!(
        crate::limited(far.echo(value.clone()))
            .await
            .expect("it can be sent"),
        value
    );
    drop(far);
    crate::limited(harness.finish()).await;
}

#[derive(Wire, Clone, Debug, PartialEq, Default)]
struct Unit;
#[derive(Wire, Clone, Debug, PartialEq, Default)]
struct Newtype(String);
#[derive(Wire, Clone, Debug, PartialEq)]
struct Pair(u8, Vec<u8>);
#[derive(Wire, Clone, Debug, PartialEq)]
struct Everything {
    a: (
        bool,
        u8,
        u16,
        u32,
        u64,
        usize,
        i8,
        i16,
        i32,
        i64,
        isize,
        f32,
    ),
    b: f64,
    c: char,
    d: String,
    e: (),
    f: Option<u8>,
    g: Vec<Newtype>,
    h: VecDeque<u8>,
    i: [u8; 4],
    j: Box<str>,
    k: HashMap<String, u8>,
    l: BTreeMap<u64, Unit>,
    m: HashSet<u8>,
    n: BTreeSet<String>,
    o: Vec<u8>,
    p: Duration,
    q: Box<[u16]>,
    unit: Unit,
    pair: Pair,
}

#[derive(Wire, Clone, Debug, PartialEq)]
enum Shapes {
    Unit,
    Newtype(Box<Shapes>),
    Tuple(u8, String),
    Struct { a: u8, b: Option<String> },
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[serde(tag = "kind")]
enum Internal {
    A { n: u8 },
    B(Pointed),
    C,
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[derive(Wire, Clone, Debug, PartialEq)]
struct Pointed {
    x: i32,
}

#[derive(Wire, Clone, Debug, PartialEq)]
struct Tree {
    value: u32,
    kids: Vec<Self>,
    parent: Option<Box<Tree>>,
}

#[derive(Wire, Clone, Debug, PartialEq)]
struct Page<T, const N: usize = 2>
where
    T: Clone,
{
    items: Vec<T>,
    fixed: [u8; 3],
    #[serde(default)]
    next: Option<Box<Page<T, N>>>,
    #[serde(skip)]
    of: PhantomData<T>,
}

#[derive(Wire, Clone, Debug, PartialEq)]
struct Defaulted<T> {
    #[serde(default)]
    value: T,
    marker: PhantomData<T>,
}

#[derive(Wire, Clone, Debug, PartialEq)]
enum Either<A, B> {
    Left(A),
    Right { right: B },
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[serde(transparent)]
struct Transparent {
    inner: Pointed,
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[serde(from = "u32", into = "u32")]
struct Celsius(f64);

impl From<u32> for Celsius {
    fn from(n: u32) -> Self {
        Celsius(f64::from(n))
    }
}
impl From<Celsius> for u32 {
    fn from(c: Celsius) -> Self {
        c.0 as u32
    }
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    level: u8,
    #[serde(flatten, skip)]
    nothing: (),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            level: 3,
            nothing: (),
        }
    }
}

#[derive(Wire, Clone, Debug, PartialEq)]
struct Flattened {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u32>,
}

#[derive(Wire, Clone, Debug, PartialEq)]
#[wire(serde)]
struct ByHand {
    n: u8,
}

const _: () = {
    use helve::__rt::serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for ByHand {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.n.serialize(serializer)
        }
    }
    impl<'de> Deserialize<'de> for ByHand {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(ByHand {
                n: u8::deserialize(deserializer)?,
            })
        }
    }
};

#[derive(Wire, Clone, Debug, PartialEq)]
#[allow(non_camel_case_types)]
struct r#struct {
    r#type: u8,
}

#[tokio::test]
async fn structs_of_every_shape_come_back_the_same() {
    comes_back(Unit).await;
    comes_back(Newtype("x".into())).await;
    comes_back(Pair(1, vec![1, 255])).await;
    comes_back(Everything {
        a: (
            true,
            255,
            65_535,
            70_000,
            u64::MAX,
            usize::MAX,
            -128,
            -129,
            -70_000,
            i64::MIN,
            -1,
            1.0,
        ),
        b: f64::MIN_POSITIVE,
        c: 'ß',
        d: "text".into(),
        e: (),
        f: None,
        g: vec![Newtype("y".into())],
        h: [1, 2].into(),
        i: [1, 2, 3, 4],
        j: "boxed".into(),
        k: [("a".to_owned(), 1)].into(),
        l: [(u64::MAX, Unit)].into(),
        m: [7].into(),
        n: ["s".to_owned()].into(),
        o: vec![0; 300],
        p: Duration::new(3, 7),
        q: vec![1, 2].into(),
        unit: Unit,
        pair: Pair(0, Vec::new()),
    })
    .await;
    comes_back(r#struct { r#type: 1 }).await;
    comes_back(Settings::default()).await;
    comes_back(Flattened {
        a: 1,
        rest: [("b".to_owned(), 2)].into(),
    })
    .await;
    comes_back(Transparent {
        inner: Pointed { x: -1 },
    })
    .await;
    comes_back(Celsius(4.0)).await;
    comes_back(ByHand { n: 9 }).await;
}

#[tokio::test]
async fn enums_of_every_shape_come_back_the_same() {
    let all = vec![
        Shapes::Unit,
        Shapes::Newtype(Box::new(Shapes::Unit)),
        Shapes::Tuple(1, "t".into()),
        Shapes::Struct { a: 1, b: None },
    ];
    comes_back(all).await;
    comes_back(vec![
        Internal::A { n: 1 },
        Internal::B(Pointed { x: 1 }),
        Internal::C,
    ])
    .await;
    comes_back(vec![Untagged::Number(1), Untagged::Text("x".into())]).await;
}

#[tokio::test]
async fn recursive_and_generic_types_come_back_the_same() {
    let leaf = Tree {
        value: 1,
        kids: Vec::new(),
        parent: None,
    };
    comes_back(Tree {
        value: 2,
        kids: vec![leaf.clone()],
        parent: Some(Box::new(leaf)),
    })
    .await;
    let page = Page::<u8> {
        items: vec![1],
        fixed: [1, 2, 3],
        next: None,
        of: PhantomData,
    };
    comes_back(Page::<u8, 2> {
        next: Some(Box::new(page.clone())),
        ..page
    })
    .await;
    comes_back(Defaulted {
        value: 7u8,
        marker: PhantomData,
    })
    .await;
    comes_back(vec![
        Either::<u8, Tree>::Left(1),
        Either::Right {
            right: Tree {
                value: 1,
                kids: vec![],
                parent: None,
            },
        },
    ])
    .await;
}
