//! Shared values, end to end: over memory, over WebSockets, and without any wire (R20).

use std::future::Future;
use std::time::Duration;

use helve::prelude::*;
use helve::track::{Counter, Text};
use helve::{Mode, Replica, ReplicaState, Shared};
use helve_tests::harness::{Harness, Tracker, limited, until};

type Doc = (u32, Text, Counter);

/// What is served.
#[interface]
pub trait Board {
    /// The value that most tests use.
    async fn doc(&self) -> Shared<Doc>;
    /// Changes it and says so.
    async fn write(&self, n: u32) -> u32;
    /// Begins to change it, and fails.
    async fn fail(&self) -> Result<u32, Refused>;
    /// Begins to change it, and panics.
    async fn panic(&self);
    /// Begins to change it, and never ends.
    async fn hang(&self);
    /// A value that holds handles.
    async fn desk(&self) -> Shared<Desk>;
    /// Takes somebody else's.
    async fn look(&self, other: Shared<Doc>) -> u32;
}

/// A handle in a place of its own, perhaps one more, and a value inside the value.
type Desk = (
    PenHandle,
    Option<PenHandle>,
    Option<Shared<(u32, u32)>>,
    u32,
);

/// Something to be held.
#[interface]
pub trait Pen {
    /// Which one it is.
    async fn name(&self) -> u32;
}

struct MemPen(
    u32,
    #[allow(dead_code, reason = "counts")] helve_tests::harness::Tracked,
);

impl Pen for MemPen {
    async fn name(&self) -> u32 {
        self.0
    }
}

/// Why not.
#[derive(Wire, Debug, PartialEq, thiserror::Error)]
#[error("refused")]
pub struct Refused;

struct MemBoard {
    doc: Shared<Doc>,
    desk: Shared<Desk>,
    _alive: helve_tests::harness::Tracked,
}

fn doc() -> Doc {
    (1, Text::from("x".repeat(1000)), Counter::new(0))
}

fn mess(doc: &mut Doc) {
    for _ in 0..50 {
        doc.0 += 1;
        doc.1.insert_str(5, "mess");
        doc.2.add(3);
    }
}

impl Board for MemBoard {
    async fn doc(&self) -> Shared<Doc> {
        self.doc.clone()
    }
    async fn write(&self, n: u32) -> u32 {
        self.doc.change(|doc| doc.0 = n).await.expect("changes");
        n
    }
    async fn fail(&self) -> Result<u32, Refused> {
        let failed = self.doc.update(|doc| {
            mess(doc);
            Err::<u32, _>(Refused)
        });
        failed.await.map_err(|_| Refused)
    }
    async fn panic(&self) {
        let mut edit = self.doc.edit().await.expect("begins");
        mess(&mut edit);
        panic!("in the middle of an edit");
    }
    async fn hang(&self) {
        let mut edit = self.doc.edit().await.expect("begins");
        mess(&mut edit);
        std::future::pending().await
    }
    async fn desk(&self) -> Shared<Desk> {
        self.desk.clone()
    }
    async fn look(&self, other: Shared<Doc>) -> u32 {
        let replica = other.replica().await.expect("follows");
        replica.read(|doc| doc.0).expect("whole")
    }
}

fn board(tracker: &Tracker) -> (BoardHandle, Shared<Doc>) {
    let doc = Shared::builder(doc()).proposals(|_, _| Ok(())).build();
    let pen = |n| PenHandle::new(MemPen(n, tracker.track()));
    let desk = Shared::builder((pen(1), None, None, 0))
        .proposals(|_, _| Ok(()))
        .build();
    let board = MemBoard {
        doc: doc.clone(),
        desk,
        _alive: tracker.track(),
    };
    (BoardHandle::new(board), doc)
}

async fn everywhere<F: Future<Output = ()>>(test: impl Fn(BoardHandle, Shared<Doc>) -> F) {
    for far in [false, true] {
        let tracker = Tracker::new();
        let (root, doc) = board(&tracker);
        let harness = match far {
            false => Harness::memory(&tracker, root),
            true => Harness::websocket(&tracker, root).await,
        };
        let root = harness.connect().await;
        limited(test(root, doc.clone())).await;
        until("nobody follows", || doc.followers() == 0).await;
        drop(doc);
        harness.finish().await;
    }
    let tracker = Tracker::new();
    let (root, doc) = board(&tracker);
    limited(test(root, doc)).await;
    until("all dropped", || tracker.live() == 0).await;
}

/// A copy of what a replica shows.
fn seen(replica: &Replica<Doc>) -> Doc {
    replica.read(Doc::clone).expect("it follows")
}

#[tokio::test]
async fn a_replica_follows_the_value() {
    everywhere(|root, doc| async move {
        let mut replica = root
            .doc()
            .await
            .expect("a value")
            .replica()
            .await
            .expect("follows");
        assert_eq!(seen(&replica), doc.read(Doc::clone).await.expect("here"));
        for n in 0..100 {
            doc.change(|doc| {
                doc.0 = n;
                doc.1.push_str("more");
                _ = doc.2.add(1);
            })
            .await
            .expect("changes");
        }
        assert_eq!(replica.at_least(101).await, Ok(101));
        assert_eq!(seen(&replica), doc.read(Doc::clone).await.expect("here"));
        assert_eq!(replica.state(), ReplicaState::Live);
        assert_eq!(replica.changed().await, Ok(101));
        assert_eq!(doc.followers(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_call_changed_its_caller_sees_when_it_returns() {
    everywhere(|root, _doc| async move {
        let shared = root.doc().await.expect("a value");
        let replica = shared.replica().await.expect("follows");
        for n in 10..40 {
            // R10.5: never behind the result.
            assert_eq!(root.write(n).await, Ok(n));
            assert_eq!(seen(&replica).0, n);
        }
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_fails_panics_or_is_cancelled_never_was() {
    everywhere(|root, doc| async move {
        let replica = root
            .doc()
            .await
            .expect("a value")
            .replica()
            .await
            .expect("follows");
        let before = seen(&replica);
        assert_eq!(root.fail().await, Err(CallError::App(Refused)));
        assert!(root.panic().await.is_err());
        {
            let hangs = root.hang();
            tokio::pin!(hangs);
            let waited = tokio::time::timeout(Duration::from_millis(20), &mut hangs).await;
            assert!(waited.is_err());
        }
        // Waits for the one that hung to be dropped.
        assert_eq!(doc.read(Doc::clone).await.expect("here"), before);
        assert_eq!((seen(&replica), replica.rev()), (before, 1));
        root.write(7).await.expect("writes");
        assert_eq!((seen(&replica).0, replica.rev()), (7, 2));
    })
    .await;
}

#[tokio::test]
async fn a_value_that_a_client_hosts_is_followed_by_the_server() {
    everywhere(|root, _| async move {
        let mine = Shared::new((41, Text::new(), Counter::new(0)));
        assert_eq!(root.look(mine.clone()).await, Ok(41));
        until("nobody follows", || mine.followers() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_draft_is_proposed_and_a_stale_one_conflicts() {
    everywhere(|root, doc| async move {
        let replica = root
            .doc()
            .await
            .expect("a value")
            .replica()
            .await
            .expect("follows");
        let mut draft = replica.draft().expect("a draft");
        draft.1.insert_str(0, "drafted ");
        assert_eq!(draft.propose(Mode::Strict).await, Ok(2));
        assert!(seen(&replica).1.starts_with("drafted "));
        assert!(
            doc.read(|doc| doc.1.starts_with("drafted "))
                .await
                .expect("here")
        );

        let mut stale = replica.draft().expect("a draft");
        stale.0 = 5;
        doc.change(|doc| doc.0 = 6).await.expect("changes");
        assert_eq!(stale.propose(Mode::Strict).await, Err(RpcError::Conflict));
        assert_eq!(replica.transact(|doc| doc.0 += 1).await, Ok(4));
        assert_eq!(seen(&replica).0, 7);
        // Nothing changed, nothing sent.
        let draft = replica.draft().expect("a draft");
        assert_eq!(draft.propose(Mode::Strict).await, Ok(4));
    })
    .await;
}

#[tokio::test]
async fn handles_in_a_shared_value_can_be_called_and_are_let_go() {
    everywhere(|root, _| async move {
        let desk = root.desk().await.expect("a value");
        let replica = desk.replica().await.expect("follows");
        let pen = replica.read(|desk| desk.0.clone()).expect("whole");
        assert_eq!(pen.name().await, Ok(1));

        // From here: our own pen, which the host calls and others would see.
        let tracker = Tracker::new();
        let mine = PenHandle::new(MemPen(7, tracker.track()));
        let inner = Shared::new((1, 2));
        let mut draft = replica.draft().expect("a draft");
        draft.1 = Some(mine.clone());
        draft.2 = Some(inner.clone());
        draft.3 = 5;
        draft.propose(Mode::Strict).await.expect("fits");
        let (back, shared) = replica
            .read(|desk| (desk.1.clone(), desk.2.clone()))
            .expect("whole");
        assert_eq!(back.as_ref(), Some(&mine));
        let shared = shared.expect("it is there");
        let inside = shared.replica().await.expect("follows");
        assert_eq!(inside.read(|pair| *pair), Ok((1, 2)));
        inner.change(|pair| pair.0 = 9).await.expect("changes");
        inside.at_least(2).await.expect("arrives");
        assert_eq!(inside.read(|pair| *pair), Ok((9, 2)));

        // Taken out again, nobody holds them.
        let mut draft = replica.draft().expect("a draft");
        draft.1 = None;
        draft.2 = None;
        draft.propose(Mode::Strict).await.expect("fits");
        drop((back, shared, inside, inner, mine));
        // What the history still names goes with what comes after it.
        drop((replica, desk, pen, root));
        until("the pen is let go", || tracker.live() == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_look_up_for_a_minute_costs_its_host_nothing_and_catches_up_at_once() {
    let tracker = Tracker::new();
    let (root, doc) = board(&tracker);
    let harness = Harness::memory(&tracker, root);
    let root: BoardHandle = harness.connect().await;
    let other: BoardHandle = harness.connect().await;
    let slow = root
        .doc()
        .await
        .expect("a value")
        .replica()
        .await
        .expect("follows");
    let live = other
        .doc()
        .await
        .expect("a value")
        .replica()
        .await
        .expect("follows");
    // Somebody looks at the copy and does not stop: nothing can be applied, and soon nothing comes.
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (started, starts) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn({
        let slow = slow.clone();
        move || {
            slow.read(|_| {
                started.send(()).expect("somebody waits");
                wait.recv().expect("somebody says when");
            })
        }
    });
    starts.recv().expect("it reads");
    for n in 0..60_000_u32 {
        doc.change(|doc| {
            doc.0 = n;
            _ = doc.2.add(1);
        })
        .await
        .expect("changes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rev = live.at_least(60_001).await.expect("arrives");
    let before = root.connection().expect("remote").stats();
    done.send(()).expect("it waits");
    reader.join().expect("reads").expect("whole");
    assert_eq!(limited(slow.at_least(rev)).await, Ok(rev));
    let after = root.connection().expect("remote").stats();
    // What is left of the window was here already; then all that was missed came as one.
    let (bytes, frames) = (
        after.bytes_in - before.bytes_in,
        after.frames_in - before.frames_in,
    );
    assert!(
        bytes < 4000 && frames < 6,
        "{bytes} bytes in {frames} frames"
    );
    assert_eq!(seen(&slow), doc.read(Doc::clone).await.expect("here"));
    assert_eq!(slow.state(), ReplicaState::Live);
    drop((slow, live, root, other, doc));
    harness.finish().await;
}

/// Forgets a part of itself on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forgetful(u32);

impl serde::Serialize for Forgetful {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Forgetful {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(|n| Forgetful(n / 2))
    }
}

impl Wire for Forgetful {
    fn describe() -> helve_handles::schema::TypeDesc {
        helve_handles::schema::TypeDesc::Opaque
    }
}

impl Track for Forgetful {
    type Shadow = Forgetful;
    fn shadow(&mut self) -> Forgetful {
        self.clone()
    }
    fn flush(
        &mut self,
        shadow: &Forgetful,
        patcher: &mut helve_handles::patch::Patcher,
    ) -> Result<bool, helve_handles::patch::EncodeError> {
        (self != shadow)
            .then(|| patcher.set(self))
            .transpose()
            .map(|set| set.is_some())
    }
    fn undo(&mut self, shadow: Forgetful) -> bool {
        *self = shadow;
        true
    }
    fn patch(
        &mut self,
        reader: &mut helve_handles::patch::PatchReader<'_>,
    ) -> Result<(), helve_handles::patch::PatchError> {
        helve_handles::track::replace(self, reader)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// Hosts a value that does not survive its own encoding.
#[interface]
pub trait Keeper {
    /// That value.
    async fn value(&self) -> Shared<(u32, Forgetful)>;
}

struct MemKeeper(
    Shared<(u32, Forgetful)>,
    #[allow(dead_code, reason = "counts")] helve_tests::harness::Tracked,
);

impl Keeper for MemKeeper {
    async fn value(&self) -> Shared<(u32, Forgetful)> {
        self.0.clone()
    }
}

#[tokio::test]
async fn a_replica_that_went_astray_is_noticed_and_replaced() {
    let tracker = Tracker::new();
    let value = Shared::new((0, Forgetful(0)));
    let root = KeeperHandle::new(MemKeeper(value.clone(), tracker.track()));
    let harness = Harness::memory(&tracker, root);
    let root: KeeperHandle = harness.connect().await;
    let replica = limited(root.value())
        .await
        .expect("a value")
        .replica()
        .await
        .expect("follows");
    let connection = root.connection().expect("remote");
    for n in 1..60 {
        value.change(|value| value.0 = n).await.expect("changes");
    }
    value
        .change(|value| value.1 = Forgetful(100))
        .await
        .expect("changes");
    limited(replica.at_least(61)).await.expect("arrives");
    assert_eq!(connection.stats().desyncs, 0);
    for n in 60..80 {
        value.change(|value| value.0 = n).await.expect("changes");
    }
    until("it is noticed", || connection.stats().desyncs > 0).await;
    // The session goes on.
    limited(replica.at_least(81)).await.expect("arrives");
    drop((replica, root, value, connection));
    harness.finish().await;
}

/// As its host knows it, and as somebody else does: other fields in another order.
#[allow(unreachable_pub, reason = "as in a library")]
mod versions {
    use super::*;

    /// The newer one.
    #[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
    #[serde(default)]
    pub struct Account {
        /// What it may owe.
        pub limit: i64,
        /// Whose it is.
        pub name: String,
        /// What it has.
        pub balance: i64,
    }

    /// The older one.
    #[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
    #[serde(default, rename = "Account")]
    pub struct OldAccount {
        /// Whose it is.
        pub name: String,
        /// What it has.
        pub balance: i64,
        /// What it may owe.
        pub limit: i64,
    }

    /// Served.
    #[interface(id = "test.Accounts")]
    pub trait Accounts {
        /// One of them.
        async fn account(&self) -> Shared<Account>;
    }

    /// The same, as an older client knows it.
    #[interface(id = "test.Accounts")]
    pub trait OldAccounts {
        /// One of them.
        async fn account(&self) -> Shared<OldAccount>;
    }

    pub struct MemAccounts(
        pub Shared<Account>,
        #[allow(dead_code, reason = "counts")] pub helve_tests::harness::Tracked,
    );

    impl Accounts for MemAccounts {
        async fn account(&self) -> Shared<Account> {
            self.0.clone()
        }
    }
}

#[tokio::test]
async fn another_version_is_read_by_name_and_drafts_nothing() {
    use versions::*;
    let tracker = Tracker::new();
    let account = Shared::builder(Account {
        limit: 1,
        name: "n".into(),
        balance: 2,
    })
    .proposals(|_, _| Ok(()))
    .build();
    let root = AccountsHandle::new(MemAccounts(account.clone(), tracker.track()));
    let harness = Harness::memory(&tracker, root);
    let old: OldAccountsHandle = harness.connect().await;
    let replica = limited(old.account())
        .await
        .expect("a value")
        .replica()
        .await
        .expect("follows");
    account
        .change(|account| account.balance = 5)
        .await
        .expect("changes");
    let rev = account.rev().await.expect("here");
    limited(replica.at_least(rev)).await.expect("arrives");
    let seen = replica.read(OldAccount::clone).expect("whole");
    assert_eq!((seen.name.as_str(), seen.balance, seen.limit), ("n", 5, 1));
    // Its ordinals are not the host's: a draft would write another field.
    assert!(matches!(replica.draft(), Err(RpcError::Incompatible(_))));
    drop((replica, old, account));
    harness.finish().await;
}
