//! Many who follow one value: a change is encoded once for all of them (objects.md, section 6).

use std::sync::atomic::{AtomicUsize, Ordering};

use helve::prelude::*;
use helve::{Replica, Shared};
use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::schema::TypeDesc;
use helve_tests::harness::{Harness, Tracker, limited, until};

/// How often one was written.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// A number that counts how often it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted(u32);

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.fetch_add(1, Ordering::SeqCst);
        serializer.serialize_u32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(Counted)
    }
}

impl Wire for Counted {
    fn describe() -> TypeDesc {
        TypeDesc::Opaque
    }
}

impl Track for Counted {
    type Shadow = Counted;
    fn shadow(&mut self) -> Counted {
        self.clone()
    }
    fn flush(&mut self, shadow: &Counted, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        let changed = self != shadow;
        if changed {
            patcher.set(self)?;
        }
        Ok(changed)
    }
    fn undo(&mut self, shadow: Counted) -> bool {
        *self = shadow;
        true
    }
    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        helve_handles::track::replace(self, reader)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

type Value = (Counted, String);

/// Hosts one value.
#[interface]
pub trait Hoard {
    /// That value.
    async fn value(&self) -> Shared<Value>;
}

struct MemHoard {
    value: Shared<Value>,
    _alive: helve_tests::harness::Tracked,
}

impl Hoard for MemHoard {
    async fn value(&self) -> Shared<Value> {
        self.value.clone()
    }
}

fn world() -> (Harness, Shared<Value>) {
    let tracker = Tracker::new();
    let value = Shared::new((Counted(0), "x".repeat(200)));
    let hoard = MemHoard {
        value: value.clone(),
        _alive: tracker.track(),
    };
    let root = HoardHandle::new(hoard);
    (Harness::memory(&tracker, root), value)
}

#[test]
fn ten_thousand_follow_and_a_change_is_encoded_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (harness, value) = world();
        let mut far: Vec<Replica<Value>> = Vec::new();
        for _ in 0..1_000 {
            let root: HoardHandle = harness.connect().await;
            let theirs = limited(root.value()).await.expect("a value");
            far.push(limited(theirs.replica()).await.expect("follows"));
        }
        let mut near: Vec<Replica<Value>> = Vec::new();
        for _ in 0..9_000 {
            near.push(limited(value.replica()).await.expect("follows"));
        }
        assert_eq!(value.followers(), 10_000);
        // The first edit may copy and encode what was before.
        value
            .change(|value| value.0 = Counted(1))
            .await
            .expect("changes");
        for n in 2..5 {
            let before = WRITTEN.load(Ordering::SeqCst);
            value
                .change(|value| value.0 = Counted(n))
                .await
                .expect("changes");
            for replica in far.iter().chain(&near) {
                limited(replica.at_least(u64::from(n) + 1))
                    .await
                    .expect("arrives");
                assert_eq!(replica.read(|value| value.0.0), Ok(n));
            }
            assert_eq!(WRITTEN.load(Ordering::SeqCst) - before, 1, "written once");
        }
        drop((far, near));
        until("nobody follows", || value.followers() == 0).await;
        drop(value);
        harness.finish().await;
    });
}
