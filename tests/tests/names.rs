//! Names, attributes and shapes that generated code could trip over.
#![deny(warnings)]

use std::future::Future;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::time::Duration;

use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker};

/// Fields named like what generated code binds.
#[derive(Wire, Debug, Clone, PartialEq)]
struct Fields {
    lease: u8,
    serializer: u8,
    other: u8,
    value: u8,
    r#type: u8,
}

/// Discriminants, and a variant with an attribute of another derive.
#[derive(Wire, Debug, Clone, Copy, PartialEq, Default)]
#[repr(u8)]
#[non_exhaustive]
enum Numbered {
    #[default]
    A = 1,
    B(u8) = 2,
    C {
        x: u8,
    } = 9,
}

#[derive(Wire, Debug, Clone, PartialEq)]
struct Empty {}

#[derive(Wire, Debug, Clone, PartialEq)]
struct EmptyTuple();

#[derive(Wire, Debug, Clone, PartialEq)]
enum Never {}

/// A type whose serde is a module of the user's.
mod address {
    use std::net::Ipv4Addr;

    use helve::__rt::serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Ipv4Addr, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32((*value).into())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ipv4Addr, D::Error> {
        u32::deserialize(from).map(Into::into)
    }
}

#[derive(Wire, Debug, Clone, PartialEq)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Renamed {
    #[serde(alias = "old")]
    FirstOne {
        some_field: u8,
        #[serde(with = "address")]
        ip: Ipv4Addr,
    },
    #[serde(rename = "x")]
    Second(#[serde(with = "address")] Ipv4Addr),
    #[serde(other)]
    Rest,
}

trait Keyed: 'static {
    type Key: Wire + Clone + std::fmt::Debug + PartialEq;
}

/// Is not `Wire` itself; what is sent is its key.
#[derive(Debug, Clone, PartialEq)]
struct Named;

impl Keyed for Named {
    type Key = String;
}

#[derive(Wire, Debug, Clone, PartialEq)]
struct Id<X: Keyed> {
    key: X::Key,
    #[serde(skip)]
    of: PhantomData<fn() -> X>,
}

macro_rules! byte {
    () => {
        u8
    };
}

#[derive(Wire, Debug, Clone, PartialEq)]
struct Expanded {
    a: byte!(),
    b: Vec<byte!()>,
}

type Everything = (
    Fields,
    Numbered,
    Empty,
    EmptyTuple,
    Option<Never>,
    Vec<Renamed>,
    Id<Named>,
    Expanded,
);

/// Methods named like those of the handle, of its traits, and of generated code.
#[interface]
trait Odd {
    async fn clone(&self) -> u8;
    async fn eq(&self) -> u8;
    async fn hash(&self) -> u8;
    async fn fmt(&self) -> u8;
    async fn serialize(&self) -> u8;
    async fn describe(&self) -> u8;
    async fn route(&self) -> u8;
    async fn same(&self) -> u8;
    async fn read(&mut self) -> u8;
    async fn write(&self) -> u8;
    async fn dispatch(&self) -> u8;
    async fn interface(&self) -> u8;
    async fn call(&self) -> u8;
    async fn drop(&self) -> u8;
    async fn from(&self) -> u8;
    async fn as_ref(&self) -> u8;
    #[allow(clippy::wrong_self_convention)]
    async fn from_ref(&self) -> u8;
    async fn closed(&self) -> u8;
    async fn flush(&self) -> u8;
    async fn is_local(&self) -> u8;
    async fn echo(
        &self,
        value: Everything,
        array: [byte!(); LENGTH],
    ) -> (Everything, [u8; LENGTH]) {
        (value, array)
    }
    /// Documented
    #[doc = concat!("by ", "a macro")]
    #[must_use]
    #[inline]
    async fn attributes(&self, _first: u8, #[allow(unused)] second: u8) -> u8 {
        1
    }
    async fn early(&self, x: Option<u8>) -> Option<u8> {
        let y = x?;
        if y > 3 {
            return None;
        }
        Some(y)
    }
    async fn context(&self, #[default] a: u8, context: &helve::Cx, #[default] b: u8) -> u8 {
        assert!(context.deadline().is_none());
        a + b
    }
}

const LENGTH: usize = 3;

struct It;

macro_rules! ones {
    ($($name:ident)*) => {
        $(async fn $name(&self) -> u8 {
            1
        })*
    };
}

impl Odd for It {
    ones! { clone eq hash fmt serialize describe route same write dispatch interface call drop from as_ref from_ref closed flush is_local }
    async fn read(&mut self) -> u8 {
        1
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("done in time")
}

async fn here_and_there() -> ([OddHandle; 2], Harness) {
    let harness = Harness::memory(&Tracker::new(), OddHandle::new(It));
    let far = harness.connect().await;
    ([OddHandle::new(It), far], harness)
}

#[tokio::test]
async fn a_method_may_have_the_name_of_anything() {
    soon(async {
        let (both, harness) = here_and_there().await;
        for odd in both {
            macro_rules! all {
                ($($name:ident)*) => {
                    $(assert_eq!(odd.$name().await, Ok(1), stringify!($name));)*
                };
            }
            all! { clone eq hash fmt serialize describe route same read write dispatch interface call drop from as_ref from_ref closed flush is_local }
            // What they hide stays within reach.
            let again = Clone::clone(&odd);
            assert!(again == odd && helve::Remote::is_local(&again) == helve::Remote::is_local(&odd));
        }
        harness.finish().await;
    })
    .await;
}

#[tokio::test]
async fn types_of_every_shape_are_sent() {
    let fields = Fields {
        lease: 1,
        serializer: 2,
        other: 3,
        value: 4,
        r#type: 5,
    };
    let ip = Ipv4Addr::new(1, 2, 3, 4);
    let renamed = vec![
        Renamed::FirstOne { some_field: 1, ip },
        Renamed::Second(ip),
        Renamed::Rest,
    ];
    let id = Id {
        key: "k".to_owned(),
        of: PhantomData,
    };
    soon(async {
        let (both, harness) = here_and_there().await;
        for odd in both {
            for numbered in [Numbered::A, Numbered::B(7), Numbered::C { x: 3 }] {
                let expanded = Expanded { a: 1, b: vec![2] };
                let all: Everything = (
                    fields.clone(),
                    numbered,
                    Empty {},
                    EmptyTuple(),
                    None,
                    renamed.clone(),
                    id.clone(),
                    expanded,
                );
                assert_eq!(odd.echo(all.clone(), [1, 2, 3]).await, Ok((all, [1, 2, 3])));
            }
        }
        harness.finish().await;
    })
    .await;
}

#[tokio::test]
async fn bodies_and_parameters_of_every_form_work() {
    soon(async {
        let (both, harness) = here_and_there().await;
        for odd in both {
            assert_eq!(odd.attributes(1, 2).await, Ok(1));
            assert_eq!(odd.early(Some(2)).await, Ok(Some(2)));
            assert_eq!(odd.early(Some(9)).await, Ok(None));
            assert_eq!(odd.early(None).await, Ok(None));
            assert_eq!(odd.context(1, 2).await, Ok(3));
        }
        harness.finish().await;
    })
    .await;
}
