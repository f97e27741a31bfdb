//! Those who look at a replica for long, from other threads: what comes meanwhile is applied when they are done, in
//! order, once, and nothing piles up (R20, objects.md section 7).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use helve::prelude::*;
use helve::{Replica, ReplicaState, Shared};
use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::schema::TypeDesc;
use helve_tests::harness::{Harness, Tracker, limited, until};

/// How many of them were read from bytes.
static READ: AtomicUsize = AtomicUsize::new(0);

/// A number that counts how often one is read, and that above 99 is read as another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Odd(u32);

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, Ordering::SeqCst);
        match u32::deserialize(deserializer)? {
            1000 => Err(serde::de::Error::custom("never read")),
            n if n > 99 => Ok(Odd(n / 2)),
            n => Ok(Odd(n)),
        }
    }
}

impl Wire for Odd {
    fn describe() -> TypeDesc {
        TypeDesc::Opaque
    }
}

impl Track for Odd {
    type Shadow = Odd;
    fn shadow(&mut self) -> Odd {
        self.clone()
    }
    fn flush(&mut self, shadow: &Odd, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        let changed = self != shadow;
        if changed {
            patcher.set(self)?;
        }
        Ok(changed)
    }
    fn undo(&mut self, shadow: Odd) -> bool {
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

type Value = (u32, Odd);

/// Hosts one value.
#[interface]
pub trait Keeper {
    /// That value.
    async fn value(&self) -> Shared<Value>;
}

struct MemKeeper(
    Shared<Value>,
    #[allow(dead_code, reason = "counts")] helve_tests::harness::Tracked,
);

impl Keeper for MemKeeper {
    async fn value(&self) -> Shared<Value> {
        self.0.clone()
    }
}

/// Somebody who looks, until told to stop.
fn look(replica: &Replica<Value>) -> (Sender<()>, JoinHandle<()>) {
    let (done, wait) = channel::<()>();
    let (started, starts) = channel::<()>();
    let replica = replica.clone();
    let reader = std::thread::spawn(move || {
        let looked = replica.read(|_| {
            started.send(()).expect("somebody waits");
            wait.recv().expect("somebody says when");
        });
        looked.expect("whole");
    });
    starts.recv().expect("it reads");
    (done, reader)
}

async fn world() -> (Harness, KeeperHandle, Shared<Value>) {
    let tracker = Tracker::new();
    let value = Shared::new((0, Odd(0)));
    let root = KeeperHandle::new(MemKeeper(value.clone(), tracker.track()));
    let harness = Harness::memory(&tracker, root);
    let root = harness.connect().await;
    (harness, root, value)
}

#[tokio::test]
async fn what_waits_behind_an_update_that_does_not_fit_is_not_held_against_its_host() {
    let (harness, root, value) = world().await;
    let theirs = limited(root.value()).await.expect("a value");
    let replica = limited(theirs.replica()).await.expect("follows");
    let connection = root.connection().expect("remote");
    let (done, reader) = look(&replica);
    // Read as another: seen at the next hash. More than three changes stand behind that.
    value
        .change(|value| value.1 = Odd(100))
        .await
        .expect("fits");
    for n in 1..100 {
        value.change(|value| value.0 = n).await.expect("changes");
        tokio::task::yield_now().await;
    }
    // The client has all of it.
    limited(root.value()).await.expect("answers");
    done.send(()).expect("it waits");
    reader.join().expect("looked");
    until("it is noticed", || connection.stats().desyncs > 0).await;
    limited(replica.at_least(101)).await.expect("arrives");
    assert_eq!(replica.state(), ReplicaState::Live);
    // The session goes on.
    assert!(limited(root.value()).await.is_ok());
    drop((replica, theirs, root, value, connection));
    harness.finish().await;
}

#[tokio::test]
async fn a_replica_beside_its_host_has_no_queue_either() {
    let value = Shared::new((0, Odd(0)));
    let replica = limited(value.replica()).await.expect("follows");
    let (done, reader) = look(&replica);
    let before = READ.load(Ordering::SeqCst);
    for n in 0..2_000 {
        let changed = value.change(|value| value.1 = Odd(n % 90 + 1)).await;
        changed.expect("changes");
    }
    done.send(()).expect("it waits");
    reader.join().expect("looked");
    limited(replica.at_least(2001)).await.expect("arrives");
    assert_eq!(
        replica.read(|value| value.1.clone()),
        Ok(Odd(1999 % 90 + 1))
    );
    // The one that waited, and one for all that came after it. (Other tests read some too.)
    let read = READ.load(Ordering::SeqCst) - before;
    assert!(read < 500, "{read} values were read");
    drop(replica);
    assert_eq!(value.followers(), 0);
}

#[tokio::test]
async fn a_replica_beside_its_host_that_cannot_read_it_ends() {
    let value = Shared::new((0, Odd(0)));
    let mut replica = limited(value.replica()).await.expect("follows");
    value
        .change(|value| value.1 = Odd(1000))
        .await
        .expect("written");
    let ended = limited(replica.changed()).await;
    assert!(matches!(ended, Err(RpcError::Decode(_))), "{ended:?}");
    assert!(matches!(replica.state(), ReplicaState::Ended(_)));
    assert_eq!(value.followers(), 0);
    // Nor does a new one get past it.
    if let Ok(other) = limited(value.replica()).await {
        assert!(matches!(other.state(), ReplicaState::Ended(_)));
    }
}

/// Readers on threads of their own while the host changes the value: nothing gets stuck, no revision is told twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_readers_everywhere_revisions_only_rise_and_the_last_one_comes() {
    let tracker = Tracker::new();
    let value = Shared::new((0, Odd(0)));
    let root = KeeperHandle::new(MemKeeper(value.clone(), tracker.track()));
    let harness = Harness::memory(&tracker, root);
    let root: KeeperHandle = harness.connect().await;
    let theirs = limited(root.value()).await.expect("a value");
    for far in [true, false] {
        let from = if far { &theirs } else { &value };
        let replica = limited(from.replica()).await.expect("follows");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (replica, stop) = (replica.clone(), stop.clone());
                std::thread::spawn(move || {
                    let (mut last, mut told) = (0, 0);
                    while !stop.load(Ordering::SeqCst) {
                        let seen = replica.read(|value| value.0).expect("whole");
                        assert!(seen >= last, "{seen} after {last}");
                        let rev = replica.rev();
                        assert!(rev >= told, "revision {rev} after {told}");
                        (last, told) = (seen, rev);
                    }
                })
            })
            .collect();
        let mut rev = 0;
        for _ in 0..3_000 {
            let mut edit = limited(value.edit()).await.expect("begins");
            edit.0 += 1;
            rev = edit.commit().expect("commits");
            if rev % 50 == 0 {
                limited(replica.at_least(rev)).await.expect("arrives");
            }
        }
        limited(replica.at_least(rev)).await.expect("arrives");
        stop.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().expect("nothing fell");
        }
        assert_eq!(replica.rev(), rev);
    }
    drop((theirs, root, value));
    harness.finish().await;
}
