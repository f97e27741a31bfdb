//! Each form of method, argument and result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker};

use crate::{both, remote};

#[derive(Wire, Clone, Debug, PartialEq)]
pub struct Line {
    pub sku: String,
    pub qty: u32,
}

#[derive(Wire, Debug, PartialEq, thiserror::Error)]
pub enum CartError {
    #[error("out of stock: {0}")]
    OutOfStock(String),
    #[error("too many: {asked} of {have}")]
    TooMany { asked: u32, have: u32 },
}

/// An alias that the macro cannot see through.
pub type Result<T, E = CartError> = std::result::Result<T, E>;

/// What a customer fills.
///
/// One per visit.
#[interface(id = "demo.Cart")]
pub trait Cart {
    /// Adds a line and returns how many there are.
    async fn add(&mut self, line: Line, #[default] times: u32) -> Result<u32, CartError>;
    async fn total(&self) -> u64;
    #[oneway]
    async fn note(&self, text: &str, blob: &[u8]);
    async fn notes(&self) -> Vec<String>;
    async fn find(&self, sku: &str, blob: &[u8], limits: &[u32]) -> Option<Line>;
    #[allow(clippy::ptr_arg, reason = "also a `Vec` may be borrowed whole")]
    async fn lend(&self, line: &Line, all: &Vec<Line>) -> String;
    async fn checked(&self, n: u32) -> Result<u32>;
    async fn unit_or_error(&self, fail: bool) -> Result<(), CartError>;
    async fn nothing(&self) {}
    async fn nothing_explicitly(&self) -> () {}
    async fn sub(&self) -> CartHandle;
    async fn parts(&self, count: usize) -> Parts;
    async fn sub_or(&self, fail: bool) -> Result<CartHandle, CartError>;
    async fn whoami(&self, greeting: String, cx: &Cx) -> String;
    #[name = "fifth"]
    async fn renamed(&self) -> u8 {
        5
    }
    #[detached]
    async fn detached(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 1;
        }
        n + self.total().await as u32
    }
    async fn r#type(&self, r#match: u8) -> u8 {
        r#match
    }
    async fn changed_by_default(&self, mut n: u64) -> u64 {
        n += self.total().await;
        n
    }
    async fn defaults(
        &self,
        a: u8,
        #[default] b: Option<u8>,
        #[default] c: Vec<String>,
    ) -> (u8, Option<u8>, usize) {
        (a, b, c.len())
    }
    #[deprecated = "use `total`"]
    async fn old(&self) -> u64 {
        self.total().await
    }
    #[cfg(any())]
    async fn not_there(&self, missing: NoSuchType);
}

/// Holds handles.
#[derive(Wire)]
pub struct Parts {
    pub carts: Vec<CartHandle>,
    pub by_name: BTreeMap<String, CartHandle>,
    pub maybe: Option<CartHandle>,
}

#[derive(Default)]
pub struct MemCart {
    lines: Vec<Line>,
    notes: std::sync::Mutex<Vec<String>>,
}

impl Cart for MemCart {
    async fn add(&mut self, line: Line, times: u32) -> Result<u32, CartError> {
        if line.qty > 99 {
            return Err(CartError::TooMany {
                asked: line.qty,
                have: 99,
            });
        }
        for _ in 0..=times {
            self.lines.push(line.clone());
        }
        Ok(self.lines.len() as u32)
    }
    async fn total(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.qty)).sum()
    }
    async fn note(&self, text: &str, blob: &[u8]) {
        self.notes
            .lock()
            .expect("no panic")
            .push(format!("{text} {blob:?}"));
    }
    async fn notes(&self) -> Vec<String> {
        self.notes.lock().expect("no panic").clone()
    }
    async fn find(&self, sku: &str, blob: &[u8], limits: &[u32]) -> Option<Line> {
        tokio::task::yield_now().await;
        assert_eq!((blob, limits), (&[0xff, 0][..], &[9, 70_000][..]));
        self.lines.iter().find(|line| line.sku == sku).cloned()
    }
    async fn lend(&self, line: &Line, all: &Vec<Line>) -> String {
        tokio::task::yield_now().await;
        format!("{} and {}", line.sku, all.len())
    }
    async fn checked(&self, n: u32) -> Result<u32> {
        n.checked_sub(1)
            .ok_or(CartError::OutOfStock("nothing".into()))
    }
    async fn unit_or_error(&self, fail: bool) -> Result<(), CartError> {
        if fail {
            Err(CartError::OutOfStock("all".into()))
        } else {
            Ok(())
        }
    }
    async fn sub(&self) -> CartHandle {
        MemCart::default().into()
    }
    async fn parts(&self, count: usize) -> Parts {
        let cart = || CartHandle::new(MemCart::default());
        Parts {
            carts: (0..count).map(|_| cart()).collect(),
            by_name: [("a".to_owned(), cart())].into(),
            maybe: Some(cart()),
        }
    }
    async fn sub_or(&self, fail: bool) -> Result<CartHandle, CartError> {
        if fail {
            Err(CartError::OutOfStock("carts".into()))
        } else {
            Ok(MemCart::default().into())
        }
    }
    async fn whoami(&self, greeting: String, cx: &Cx) -> String {
        tokio::task::yield_now().await;
        format!(
            "{greeting} {}",
            if cx.peer().is_some() { "peer" } else { "local" }
        )
    }
}

fn line(sku: &str, qty: u32) -> Line {
    Line {
        sku: sku.into(),
        qty,
    }
}

#[tokio::test]
async fn methods_of_every_form_do_the_same_here_and_there() {
    let make = || CartHandle::new(MemCart::default());
    let test = |cart: CartHandle| async move {
        assert_eq!(cart.add(line("tea", 2), 0).await.expect("there is tea"), 1);
        let error = cart.add(line("tea", 100), 0).await.expect_err("too many");
        assert_eq!(
            error,
            CallError::App(CartError::TooMany {
                asked: 100,
                have: 99
            })
        );
        assert_eq!(
            cart.add(line("cup", 1), 1).await.expect("there are cups"),
            3
        );
        assert_eq!(cart.total().await.expect("runs"), 4);

        cart.note("hello", &[1, 2])
            .accepted()
            .await
            .expect("was sent");
        cart.flush().await.expect("was run");
        assert_eq!(cart.notes().await.expect("runs"), ["hello [1, 2]"]);

        assert_eq!(
            cart.find("cup", &[0xff, 0], &[9, 70_000])
                .await
                .expect("runs"),
            Some(line("cup", 1))
        );
        assert_eq!(
            cart.find("pot", &[0xff, 0], &[9, 70_000])
                .await
                .expect("runs"),
            None
        );
        assert_eq!(
            cart.lend(&line("x", 1), &vec![line("y", 1)])
                .await
                .expect("runs"),
            "x and 1"
        );

        assert_eq!(cart.checked(3).await.expect("runs"), 2);
        assert_eq!(
            cart.checked(0).await,
            Err(CallError::App(CartError::OutOfStock("nothing".into())))
        );
        cart.unit_or_error(false).await.expect("runs");
        assert!(matches!(
            cart.unit_or_error(true).await,
            Err(CallError::App(CartError::OutOfStock(_)))
        ));
        cart.nothing().await.expect("runs");
        cart.nothing_explicitly().await.expect("runs");

        assert_eq!(
            cart.sub().await.expect("runs").total().await.expect("runs"),
            0
        );
        let sub = cart.sub().pipelined();
        assert_eq!(sub.add(line("b", 1), 0).await.expect("runs"), 1);
        assert_eq!(
            cart.sub_or(false).pipelined().total().await.expect("runs"),
            0
        );
        assert!(matches!(cart.sub_or(true).await, Err(CallError::App(_))));

        let parts = cart.parts(2).await.expect("runs");
        for cart in parts
            .carts
            .iter()
            .chain(parts.by_name.values())
            .chain(&parts.maybe)
        {
            assert_eq!(cart.total().await.expect("runs"), 0);
        }
        assert_ne!(parts.carts[0], parts.carts[1]);
        assert_eq!(parts.carts[0], parts.carts[0].clone());

        let here = if cart.is_local() { "local" } else { "peer" };
        assert_eq!(
            cart.whoami("I am".into()).await.expect("runs"),
            format!("I am {here}")
        );
        assert_eq!(cart.renamed().await.expect("runs"), 5);
        assert_eq!(cart.detached(0).await.expect("runs"), 1);
        assert_eq!(cart.detached(1).await.expect("runs"), 5);
        assert_eq!(cart.r#type(7).await.expect("runs"), 7);
        assert_eq!(cart.changed_by_default(1).await.expect("runs"), 5);
        assert_eq!(
            cart.defaults(1, Some(2), vec!["x".into()])
                .await
                .expect("runs"),
            (1, Some(2), 1)
        );
        #[allow(deprecated)]
        let old = cart.old().await.expect("runs");
        assert_eq!(old, 4);
    };
    crate::limited(test(make())).await;
    let (far, harness) = remote(&make()).await;
    crate::limited(test(far)).await;
    crate::limited(harness.end()).await;
}

/// `Cart` as it was before `add` had `times` and `defaults` had `b` and `c`.
#[interface(id = "demo.Cart")]
pub trait OldCart {
    async fn add(&mut self, line: Line) -> Result<u32, CartError>;
    async fn defaults(&self, a: u8) -> (u8, Option<u8>, usize);
    async fn gone(&self);
}

#[tokio::test]
async fn an_older_caller_gets_the_defaults_and_a_newer_one_unimplemented() {
    let harness = Harness::memory(&Tracker::new(), CartHandle::new(MemCart::default()));
    let old: OldCartHandle = harness.connect().await;
    assert_eq!(old.add(line("c", 1)).await.expect("runs"), 1);
    assert_eq!(old.defaults(4).await.expect("runs"), (4, None, 0));
    assert!(matches!(old.gone().await, Err(RpcError::Unimplemented(_))));
    drop(old);
    harness.finish().await;
}

#[interface]
pub trait Store<T: Wire + Clone + Sync, const N: usize>
where
    T: PartialEq,
{
    async fn put(&mut self, key: &str, value: T) -> Option<T>;
    async fn get(&self, key: &str) -> Option<T>;
    async fn all(&self) -> Vec<T>;
    async fn has(&self, values: &[T]) -> bool;
    async fn closed(&self) -> usize {
        N
    }
    async fn same(&self, other: &StoreHandle<T, N>) -> bool;
}

struct MemStore<T>(BTreeMap<String, T>);

impl<T: Wire + Clone + Sync + PartialEq, const N: usize> Store<T, N> for MemStore<T> {
    async fn put(&mut self, key: &str, value: T) -> Option<T> {
        self.0.insert(key.to_owned(), value)
    }
    async fn get(&self, key: &str) -> Option<T> {
        self.0.get(key).cloned()
    }
    async fn all(&self) -> Vec<T> {
        self.0.values().cloned().collect()
    }
    async fn has(&self, values: &[T]) -> bool {
        values
            .iter()
            .all(|value| self.0.values().any(|mine| mine == value))
    }
    async fn same(&self, other: &StoreHandle<T, N>) -> bool {
        other
            .all()
            .await
            .expect("a lent handle is usable during the call")
            == Store::<T, N>::all(self).await
    }
}

#[tokio::test]
async fn a_generic_interface_has_a_generic_handle() {
    both(
        StoreHandle::<Line, 3>::new(MemStore(BTreeMap::new())),
        |store| async move {
            store.put("k", line("q", 1)).await.expect("runs");
            assert_eq!(store.get("k").await.expect("runs"), Some(line("q", 1)));
            assert!(store.has(&[line("q", 1)]).await.expect("runs"));
            // A method named like one of the handle's own wins; the other stays reachable.
            assert_eq!(store.closed().await.expect("runs"), 3);
            let _never = helve::Remote::closed(&store);
            let other =
                StoreHandle::<Line, 3>::new(MemStore([("k".to_owned(), line("q", 1))].into()));
            assert!(store.same(&other).await.expect("runs"));
        },
    )
    .await;
}

#[interface]
pub trait Left {
    async fn left(&self) -> usize;
}
#[interface]
pub trait Right {
    async fn bump(&mut self);
}

struct Two(usize, Arc<AtomicUsize>);

impl Left for Two {
    async fn left(&self) -> usize {
        self.0
    }
}
impl Right for Two {
    async fn bump(&mut self) {
        self.0 += 1;
    }
}
impl Drop for Two {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn one_object_serves_two_interfaces_and_is_dropped_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let object = Object::new(Two(0, dropped.clone()));
    let (left, right) = (LeftHandle::of(&object), RightHandle::of(&object));
    assert_eq!(left, LeftHandle::of(&object));
    right.bump().await.expect("runs");
    assert_eq!(left.left().await.expect("runs"), 1);
    drop((object, left));
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(right);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_is_a_future_that_can_be_spawned_and_joined() {
    both(CartHandle::new(MemCart::default()), |cart| async move {
        let spawned = tokio::spawn(cart.lend(&line("x", 1), &Vec::new()));
        assert_eq!(spawned.await.expect("no panic").expect("runs"), "x and 0");
        let (a, b) = tokio::join!(cart.total(), cart.total());
        assert_eq!(a, b);
    })
    .await;
}
