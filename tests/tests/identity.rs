//! `==` and `Hash` of handles: the same object is the same handle, whichever way it came.
#![allow(
    clippy::mutable_key_type,
    reason = "what a handle hashes by changes at most once, when the call that it comes of is answered"
)]

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use helve::Remote;
use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker};

#[interface]
trait Item {
    async fn value(&self) -> u32;
}

struct Value(u32);

impl Item for Value {
    async fn value(&self) -> u32 {
        self.0
    }
}

/// Keeps items and gives them out again.
#[interface]
trait Shelf {
    async fn put(&mut self, item: ItemHandle);
    async fn all(&self) -> Vec<ItemHandle>;
    async fn first(&self) -> ItemHandle;
    async fn own(&self) -> ItemHandle;
    async fn holds(&self, item: ItemHandle) -> bool;
    async fn lent(
        &self,
        items: &HashSet<ItemHandle>,
        named: &HashMap<ItemHandle, u8>,
    ) -> Vec<String>;
}

struct Room {
    items: Vec<ItemHandle>,
    own: ItemHandle,
}

impl Shelf for Room {
    async fn put(&mut self, item: ItemHandle) {
        self.items.push(item);
    }
    async fn all(&self) -> Vec<ItemHandle> {
        self.items.clone()
    }
    async fn first(&self) -> ItemHandle {
        self.items[0].clone()
    }
    async fn own(&self) -> ItemHandle {
        self.own.clone()
    }
    async fn holds(&self, item: ItemHandle) -> bool {
        self.items.iter().collect::<HashSet<_>>().contains(&item)
    }
    async fn lent(
        &self,
        items: &HashSet<ItemHandle>,
        named: &HashMap<ItemHandle, u8>,
    ) -> Vec<String> {
        // Given on, each is refused: it was only lent, in a set and as a key too.
        let other = ShelfHandle::new(room());
        let mut told = Vec::new();
        for item in items.iter().chain(named.keys()) {
            told.push(
                other
                    .put(item.clone())
                    .await
                    .map_or_else(|error| error.to_string(), |()| "given".to_owned()),
            );
        }
        told
    }
}

fn item() -> ItemHandle {
    ItemHandle::new(Value(1))
}

fn room() -> Room {
    Room {
        items: Vec::new(),
        own: item(),
    }
}

/// A shelf here, and one over a link.
async fn shelves() -> ([ShelfHandle; 2], Harness) {
    let harness = Harness::memory(&Tracker::new(), ShelfHandle::new(room()));
    let far = harness.connect().await;
    ([ShelfHandle::new(room()), far], harness)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("done in time")
}

#[track_caller]
fn same<H: Remote + Eq + std::hash::Hash + std::fmt::Debug>(a: &H, b: &H) {
    let state = RandomState::new();
    assert_eq!(a, b);
    assert_eq!(b, a);
    assert_eq!(state.hash_one(a), state.hash_one(b), "{a:?}, {b:?}");
}

#[tokio::test]
async fn handles_of_one_object_are_equal_and_others_are_not() {
    let object = Object::new(Value(1));
    same(&ItemHandle::of(&object), &ItemHandle::of(&object));
    assert_ne!(ItemHandle::of(&object), item());
    let (revocable, _revoker) = ItemHandle::of(&object).revocable().expect("it is local");
    same(&revocable, &revocable.clone());
    assert_ne!(
        revocable,
        ItemHandle::of(&object),
        "it can end before the others"
    );
}

#[tokio::test]
async fn a_broken_handle_equals_its_clones_alone() {
    let broken = ItemHandle::broken(RpcError::Gone);
    same(&broken, &broken.clone());
    assert_ne!(broken, ItemHandle::broken(RpcError::Gone));
}

#[tokio::test]
async fn a_handle_that_comes_home_is_the_one_that_went_out() {
    soon(async {
        let (both, harness) = shelves().await;
        for shelf in both {
            let mine = item();
            shelf.put(mine.clone()).await.expect("runs");
            let all = shelf.all().await.expect("runs");
            same(&all[0], &mine);
            let known: HashMap<_, _> = [(mine, "mine")].into();
            assert_eq!(known.get(&all[0]), Some(&"mine"));
        }
        harness.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_remote_object_is_one_however_often_it_is_asked_for() {
    soon(async {
        let (both, harness) = shelves().await;
        for shelf in both {
            let (a, b) = (
                shelf.own().await.expect("runs"),
                shelf.own().await.expect("runs"),
            );
            same(&a, &b);
            assert!(!shelf.holds(a.clone()).await.expect("runs"));
            shelf.put(a.clone()).await.expect("runs");
            assert!(shelf.holds(b).await.expect("runs"));
            assert_ne!(a, item());
        }
        harness.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_pipelined_handle_is_the_object_once_its_call_is_answered() {
    soon(async {
        let (both, harness) = shelves().await;
        for shelf in both {
            let mine = item();
            shelf.put(mine.clone()).await.expect("runs");
            let reflected = shelf.first().pipelined();
            same(&reflected, &reflected.clone());
            assert_eq!(reflected.value().await.expect("runs"), 1);
            same(&reflected, &mine);
            same(&shelf.first().await.expect("runs"), &reflected);

            let own = shelf.own().pipelined();
            assert_eq!(own.value().await.expect("runs"), 1);
            same(&own, &shelf.own().await.expect("runs"));
        }
        harness.end().await;
    })
    .await;
}

#[tokio::test]
async fn handles_in_sets_and_as_keys_are_lent_too() {
    soon(async {
        let (both, harness) = shelves().await;
        for shelf in both {
            let items: HashSet<_> = [item(), item()].into();
            let named: HashMap<_, _> = [(item(), 1)].into();
            let told = shelf.lent(&items, &named).await.expect("runs");
            assert_eq!(told.len(), 3);
            assert!(
                told.iter().all(|told| told.contains("not given away")),
                "{told:?}"
            );
        }
        harness.end().await;
    })
    .await;
}
