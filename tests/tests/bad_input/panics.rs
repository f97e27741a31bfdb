//! User code around a method panics: its `Serialize`, a `Drop`, the `Display` of its error. Its call fails, and nothing
//! else notices.

use std::fmt;

use helve::prelude::*;
use helve::{RpcError, Wire};
use helve_tests::harness::{Harness, Tracker, limited};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that cannot be written, and one that cannot be dropped twice in peace.
struct Bomb {
    at_drop: bool,
}

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.at_drop, "a Serialize that panics");
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Bomb { at_drop: false })
    }
}

impl Wire for Bomb {
    fn describe() -> helve::__rt::TypeDesc {
        helve::__rt::TypeDesc::Unit
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.at_drop, "a Drop that panics");
    }
}

#[derive(Wire, Debug)]
struct Rude;

impl fmt::Display for Rude {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a Display that panics")
    }
}

impl std::error::Error for Rude {}

/// A value whose writing ends half-way.
#[derive(Clone)]
struct Half;

impl Serialize for Half {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_tuple(2)?;
        both.serialize_element("a secret")?;
        panic!("a Serialize that panics half-way")
    }
}

impl<'de> Deserialize<'de> for Half {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Half)
    }
}

impl Wire for Half {
    fn describe() -> helve::__rt::TypeDesc {
        helve::__rt::TypeDesc::Unit
    }
}

#[interface(id = "test.Mine")]
trait Mine {
    async fn half(&self, half: Half);
    async fn echo(&self, text: &str) -> String;
    async fn bomb(&self, at_drop: bool, wait: bool) -> Bomb;
    async fn rude(&self, wait: bool) -> Result<u32, Rude>;
    async fn fine(&self) -> u32;
}

struct Field;

impl Mine for Field {
    async fn half(&self, _: Half) {}
    async fn echo(&self, text: &str) -> String {
        text.to_owned()
    }
    async fn bomb(&self, at_drop: bool, wait: bool) -> Bomb {
        if wait {
            tokio::task::yield_now().await;
        }
        Bomb { at_drop }
    }
    async fn rude(&self, wait: bool) -> Result<u32, Rude> {
        if wait {
            tokio::task::yield_now().await;
        }
        Err(Rude)
    }
    async fn fine(&self) -> u32 {
        7
    }
}

#[tokio::test]
async fn an_argument_whose_writing_panics_leaves_nothing_for_the_next_call() {
    let first = Harness::memory(&Tracker::new(), MineHandle::new(Field));
    let second = Harness::memory(&Tracker::new(), MineHandle::new(Field));
    let (alice, bob): (MineHandle, MineHandle) = (first.connect().await, second.connect().await);
    let call = std::panic::AssertUnwindSafe(|| drop(alice.half(Half)));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(limited(bob.echo("hi")).await.as_deref(), Ok("hi"));
    assert_eq!(limited(alice.echo("ho")).await.as_deref(), Ok("ho"));
    drop((alice, bob));
    first.finish().await;
    second.finish().await;
}

#[tokio::test]
async fn a_panic_around_a_method_fails_that_call_alone() {
    let harness = Harness::memory(&Tracker::new(), MineHandle::new(Field));
    let mine: MineHandle = harness.connect().await;
    for wait in [false, true] {
        // Calls of the same batch, before and after, are answered.
        let (before, written, rude, dropped, after) = limited(async {
            tokio::join!(
                mine.fine(),
                mine.bomb(false, wait),
                mine.rude(wait),
                mine.bomb(true, wait),
                mine.fine()
            )
        })
        .await;
        assert_eq!((before, after), (Ok(7), Ok(7)));
        assert!(matches!(written, Err(RpcError::Internal(_))));
        assert!(matches!(
            rude,
            Err(CallError::RpcError(RpcError::Internal(_)))
        ));
        // Answered before or after its value went: one outcome either way.
        assert!(matches!(dropped, Ok(_) | Err(RpcError::Internal(_))));
        assert_eq!(limited(mine.fine()).await, Ok(7));
    }
    drop(mine);
    harness.finish().await;
}

/// The same interface, as one sees it who wants no answers.
#[interface(id = "test.Mine")]
trait Untold {
    #[oneway]
    async fn bomb(&self, at_drop: bool, wait: bool);
    #[oneway]
    async fn rude(&self, wait: bool);
    async fn fine(&self) -> u32;
}

#[tokio::test]
async fn a_panic_around_a_one_way_call_takes_no_other_of_its_run_with_it() {
    // R12.1, R12.6: each of them ends, or the flush would not.
    let harness = Harness::memory(&Tracker::new(), MineHandle::new(Field));
    let untold: UntoldHandle = harness.connect().await;
    for _ in 0..10 {
        drop(untold.rude(false));
        drop(untold.bomb(true, false));
        drop(untold.bomb(false, false));
    }
    let error = limited(untold.flush()).await;
    assert!(matches!(error, Err(RpcError::Internal(_))), "{error:?}");
    assert_eq!(limited(untold.flush()).await, Ok(()), "told, and cleared");
    assert_eq!(limited(untold.fine()).await, Ok(7));
    drop(untold);
    harness.finish().await;
}
