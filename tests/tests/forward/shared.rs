//! Shared values through forwarders: one subscription at the host, whoever follows behind (R9.4), and what a call changed
//! is there when it returns (R10.5).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use helve::prelude::*;
use helve::track::{Counter, Text};
use helve::{Limits, Mode, Replica, ReplicaState, Shared};
use helve_tests::harness::{Harness, Setup, Tracked, Tracker, limited, until};

use crate::{NEAR, Way};

type Doc = (u32, Text, Counter);
/// A handle in a place of its own, and perhaps one more.
type Desk = (PenHandle, Option<PenHandle>, u32);

/// Something to be held.
#[interface(id = "test.Pen")]
trait Pen {
    /// Which one it is.
    async fn name(&self) -> u32;
}

struct MemPen(u32, #[allow(dead_code, reason = "counts")] Tracked);

impl Pen for MemPen {
    async fn name(&self) -> u32 {
        self.0
    }
}

/// Keeps a value of its own, and passes one on that somebody else hosts.
#[interface(id = "test.Room")]
trait Room {
    /// Its own.
    async fn doc(&self) -> Shared<Doc>;
    /// Changes that.
    async fn write(&self, n: u32) -> u32;
    /// Its own with handles.
    async fn desk(&self) -> Shared<Desk>;
    /// Another room, which follows nothing itself.
    async fn inner(&self) -> RoomHandle;
    /// Keeps somebody else's room, and its value.
    async fn host(&self, room: RoomHandle, doc: Shared<Doc>);
    /// Those.
    async fn hosted(&self) -> (RoomHandle, Shared<Doc>);
    /// Follows the value that it keeps.
    async fn watch(&self);
    /// Changes the value that it keeps, and says what it sees then.
    async fn poke(&self, n: u32) -> u32;
    /// Keeps nothing any more.
    async fn forget(&self);
}

/// The same with another type of value.
#[interface(id = "test.Room")]
trait Other {
    /// It is another one.
    async fn doc(&self) -> Shared<(Vec<String>, bool)>;
}

#[derive(Default)]
struct Kept {
    hosted: Option<(RoomHandle, Shared<Doc>)>,
    replica: Option<Replica<Doc>>,
}

#[derive(Clone)]
struct MemRoom {
    doc: Shared<Doc>,
    desk: Shared<Desk>,
    kept: Arc<Mutex<Kept>>,
    tracker: Tracker,
    _alive: Arc<Tracked>,
}

impl MemRoom {
    fn new(tracker: &Tracker) -> MemRoom {
        let doc = (1, Text::from("x".repeat(1000)), Counter::new(0));
        let pen = PenHandle::new(MemPen(1, tracker.track()));
        MemRoom {
            doc: Shared::builder(doc).proposals(|_, _| Ok(())).build(),
            desk: Shared::builder((pen, None, 0))
                .proposals(|_, _| Ok(()))
                .build(),
            kept: Arc::default(),
            tracker: tracker.clone(),
            _alive: Arc::new(tracker.track()),
        }
    }

    fn kept<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        f(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Room for MemRoom {
    async fn doc(&self) -> Shared<Doc> {
        self.doc.clone()
    }
    async fn write(&self, n: u32) -> u32 {
        self.doc.change(|doc| doc.0 = n).await.expect("changes");
        n
    }
    async fn desk(&self) -> Shared<Desk> {
        self.desk.clone()
    }
    async fn inner(&self) -> RoomHandle {
        RoomHandle::new(MemRoom::new(&self.tracker))
    }
    async fn host(&self, room: RoomHandle, doc: Shared<Doc>) {
        self.kept(|kept| kept.hosted = Some((room, doc)));
    }
    async fn hosted(&self) -> (RoomHandle, Shared<Doc>) {
        self.kept(|kept| kept.hosted.clone()).expect("one is kept")
    }
    async fn watch(&self) {
        let (_, doc) = self.hosted().await;
        let replica = doc.replica().await.expect("follows");
        self.kept(|kept| kept.replica = Some(replica));
    }
    async fn poke(&self, n: u32) -> u32 {
        let (room, _) = self.hosted().await;
        room.write(n).await.expect("writes");
        let replica = self.kept(|kept| kept.replica.clone());
        replica
            .expect("it watches")
            .read(|doc| doc.0)
            .expect("whole")
    }
    async fn forget(&self) {
        let kept = self.kept(std::mem::take);
        drop(kept);
    }
}

/// The host's server first; each further one serves the root of the one before as its own.
struct Row {
    servers: Vec<Harness>,
    host: Option<MemRoom>,
}

impl Row {
    async fn new(way: Way, forwarders: usize) -> Row {
        let tracker = Tracker::new();
        let host = MemRoom::new(&tracker);
        let root = RoomHandle::new(host.clone());
        let setup = Setup::new(&tracker, move |_| root.clone());
        let mut servers = vec![way.serve(setup).await];
        for _ in 0..forwarders {
            let root: RoomHandle = servers[servers.len() - 1].connect().await;
            let setup = Setup::new(&Tracker::new(), move |_| root.clone());
            servers.push(way.serve(setup).await);
        }
        let host = Some(host);
        Row { servers, host }
    }

    fn doc(&self) -> Shared<Doc> {
        self.host.as_ref().expect("not finished").doc.clone()
    }

    fn last(&self) -> &Harness {
        &self.servers[self.servers.len() - 1]
    }

    /// Asserts that nothing is left anywhere. Drop all handles before.
    async fn finish(mut self) {
        let doc = self.doc();
        until("nobody follows", || doc.followers() == 0).await;
        drop((doc, self.host.take()));
        for server in &self.servers {
            server.rest().await;
        }
        for server in self.servers.into_iter().rev() {
            limited(server.finish()).await;
        }
    }
}

/// A server; client `a` hosts a value, and `b` and `c` find it at the server.
struct Star {
    harness: Harness,
    a: RoomHandle,
    mine: MemRoom,
    b: RoomHandle,
    c: RoomHandle,
}

impl Star {
    async fn new(way: Way) -> Star {
        let tracker = Tracker::new();
        let root = RoomHandle::new(MemRoom::new(&tracker));
        let harness = way.serve(Setup::new(&tracker, move |_| root.clone())).await;
        let (a, b, c): (RoomHandle, RoomHandle, RoomHandle) = (
            harness.connect().await,
            harness.connect().await,
            harness.connect().await,
        );
        let mine = MemRoom::new(&tracker);
        let room = RoomHandle::new(mine.clone());
        limited(a.host(room, mine.doc.clone())).await.expect("kept");
        Star {
            harness,
            a,
            mine,
            b,
            c,
        }
    }

    async fn finish(self) {
        limited(self.b.forget()).await.expect("forgets");
        let doc = self.mine.doc.clone();
        until("nobody follows", || doc.followers() == 0).await;
        drop((doc, self.mine, self.a, self.b, self.c));
        limited(self.harness.finish()).await;
    }
}

async fn follow(shared: &Shared<Doc>) -> Replica<Doc> {
    limited(shared.replica()).await.expect("follows")
}

/// A copy of what a replica shows.
fn seen(replica: &Replica<Doc>) -> Doc {
    replica.read(Doc::clone).expect("it follows")
}

async fn truth(shared: &Shared<Doc>) -> Doc {
    shared.read(Doc::clone).await.expect("here")
}

async fn mess(shared: &Shared<Doc>, n: u32) {
    let change = shared.change(|doc| {
        doc.0 = n;
        doc.1.insert_str(5, "mess");
        _ = doc.2.add(3);
    });
    change.await.expect("changes");
}

/// Watches that the revisions of a replica rise, until it has seen this one.
fn rises(replica: &Replica<Doc>, until: u64) -> tokio::task::JoinHandle<()> {
    let mut replica = replica.clone();
    tokio::spawn(async move {
        let mut last = replica.rev();
        while last < until {
            let rev = limited(replica.changed()).await.expect("it follows");
            assert!(rev > last, "{rev} after {last}");
            last = rev;
        }
    })
}

/// Somebody who looks at a replica and does not stop: nothing can be applied, and soon nothing comes.
struct Looks {
    done: std::sync::mpsc::Sender<()>,
    reader: std::thread::JoinHandle<()>,
}

impl Looks {
    fn at(replica: &Replica<Doc>) -> Looks {
        let (done, wait) = std::sync::mpsc::channel();
        let (started, starts) = std::sync::mpsc::channel();
        let replica = replica.clone();
        let reader = std::thread::spawn(move || {
            let looked = replica.read(|_| {
                started.send(()).expect("somebody waits");
                wait.recv().expect("somebody says when");
            });
            looked.expect("whole");
        });
        starts.recv().expect("it looks");
        Looks { done, reader }
    }

    fn done(self) {
        self.done.send(()).expect("it waits");
        self.reader.join().expect("it looked");
    }
}

#[tokio::test]
async fn all_who_follow_behind_a_server_share_one_subscription_at_the_host() {
    // R9.4, R20.1
    for way in [NEAR, Way::WebSocket] {
        let star = Star::new(way).await;
        let mine = star.mine.doc.clone();
        let (_, at_b) = limited(star.b.hosted()).await.expect("one");
        let (_, at_c) = limited(star.c.hosted()).await.expect("one");
        let (b, c) = (follow(&at_b).await, follow(&at_c).await);
        assert_eq!(mine.followers(), 1);
        let rising = [rises(&b, 201), rises(&c, 201)];
        for n in 0..200 {
            mess(&mine, n).await;
            if n % 20 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for replica in [&b, &c] {
            assert_eq!(limited(replica.at_least(201)).await, Ok(201));
            assert_eq!(seen(replica), truth(&mine).await);
            assert_eq!(replica.state(), ReplicaState::Live);
        }
        for task in rising {
            limited(task).await.expect("they rise");
        }
        // Who comes late is served here, too.
        let late = follow(&at_b).await;
        drop(b);
        drop((c, at_c));
        assert_eq!(seen(&late), truth(&mine).await);
        mess(&mine, 7).await;
        limited(late.at_least(202)).await.expect("arrives");
        assert_eq!(mine.followers(), 1);
        drop((late, at_b, mine));
        star.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_changed_is_there_when_it_returns_through_forwarders() {
    // R9.9, R10.5
    for forwarders in [1, 2] {
        let row = Row::new(Way::Memory(Duration::from_millis(10)), forwarders).await;
        let root: RoomHandle = row.last().connect().await;
        let other: RoomHandle = row.last().connect().await;
        let shared = limited(root.doc()).await.expect("a value");
        let replica = follow(&shared).await;
        let beside = follow(&limited(other.doc()).await.expect("a value")).await;
        for n in 10..40 {
            assert_eq!(limited(root.write(n)).await, Ok(n));
            assert_eq!(seen(&replica).0, n);
        }
        assert_eq!(row.doc().followers(), 1);
        limited(beside.at_least(31)).await.expect("arrives");
        assert_eq!(seen(&beside), truth(&row.doc()).await);
        drop((root, other, shared, replica, beside));
        row.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_at_its_caller_for_a_replica_that_lags_behind_forwarders() {
    // R9.9: nothing but `s` says that there is something to wait for.
    let row = Row::new(Way::Memory(Duration::from_millis(10)), 2).await;
    let root: RoomHandle = row.last().connect().await;
    let shared = limited(root.doc()).await.expect("a value");
    let replica = follow(&shared).await;
    let looks = Looks::at(&replica);
    let mut write = root.write(77);
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut write).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(truth(&row.doc()).await.0, 77);
    looks.done();
    assert_eq!(limited(write).await, Ok(77));
    assert_eq!(seen(&replica).0, 77);
    drop((root, shared, replica));
    row.finish().await;
}

#[tokio::test]
async fn a_value_of_a_pipelined_call_is_followed_through_forwarders() {
    // R9.6, R20.1: the subscription begins when the OPEN has its answer.
    let row = Row::new(NEAR, 2).await;
    let root: RoomHandle = row.last().connect().await;
    let inner = root.inner().pipelined();
    let shared = inner.doc().pipelined();
    let replica = follow(&shared).await;
    assert_eq!(limited(inner.write(9)).await, Ok(9));
    assert_eq!(seen(&replica).0, 9);
    drop((root, inner, shared, replica));
    row.finish().await;
}

#[tokio::test]
async fn a_draft_is_proposed_through_forwarders_with_the_handles_in_it() {
    // R9.2, R15.1
    let row = Row::new(NEAR, 2).await;
    let b: RoomHandle = row.last().connect().await;
    let c: RoomHandle = row.servers[1].connect().await;
    let desk = |root: RoomHandle| async move {
        let desk = limited(root.desk()).await.expect("a value");
        limited(desk.replica()).await.expect("follows")
    };
    let (at_b, at_c) = (desk(b.clone()).await, desk(c.clone()).await);
    let first = at_b.read(|desk| desk.0.clone()).expect("whole");
    assert_eq!(limited(first.name()).await, Ok(1));

    let tracker = Tracker::new();
    let mine = PenHandle::new(MemPen(7, tracker.track()));
    let mut draft = at_b.draft().expect("a draft");
    draft.1 = Some(mine.clone());
    let rev = limited(draft.propose(Mode::Strict)).await.expect("fits");
    // Its own, as itself (R8).
    let back = at_b.read(|desk| desk.1.clone()).expect("whole");
    assert_eq!(back.as_ref(), Some(&mine));
    limited(at_c.at_least(rev)).await.expect("arrives");
    let there = at_c
        .read(|desk| desk.1.clone())
        .expect("whole")
        .expect("it is there");
    assert_eq!(limited(there.name()).await, Ok(7));
    // Who comes late gets the handles in the snapshot and in what followed.
    let late = desk(row.servers[1].connect().await).await;
    let again = late
        .read(|desk| desk.1.clone())
        .expect("whole")
        .expect("it is there");
    assert_eq!(limited(again.name()).await, Ok(7));

    // Taken out, it is let go by all, while they follow on.
    let mut draft = at_c.draft().expect("a draft");
    draft.1 = None;
    draft.2 = 5;
    limited(draft.propose(Mode::Strict)).await.expect("fits");
    drop((back, there, again, mine));
    until("the pen is let go", || tracker.live() == 0).await;
    assert_eq!(at_b.read(|desk| desk.2), Ok(5));
    assert_eq!(at_b.state(), ReplicaState::Live);
    drop((first, at_b, at_c, late, b, c));
    row.finish().await;
}

#[tokio::test]
async fn a_replica_at_the_forwarder_shares_its_subscription_whoever_was_first() {
    // R20.1, R9.4; R10.5 for who calls from there.
    for first in [true, false] {
        let star = Star::new(NEAR).await;
        let mine = star.mine.doc.clone();
        if first {
            limited(star.b.watch()).await.expect("watches");
            assert_eq!(limited(star.b.poke(3)).await, Ok(3));
        }
        let (_, shared) = limited(star.c.hosted()).await.expect("one");
        let replica = follow(&shared).await;
        if !first {
            mess(&mine, 2).await;
            limited(star.b.watch()).await.expect("watches");
        }
        assert_eq!(mine.followers(), 1);
        for n in 10..60 {
            assert_eq!(limited(star.b.poke(n)).await, Ok(n));
        }
        until("there", || seen(&replica).0 == 59).await;
        // The one goes, the other stays.
        drop((replica, shared));
        assert_eq!(limited(star.b.poke(70)).await, Ok(70));
        assert_eq!(mine.followers(), 1);
        let (_, shared) = limited(star.c.hosted()).await.expect("one");
        let replica = follow(&shared).await;
        assert_eq!(seen(&replica), truth(&mine).await);
        drop((replica, shared, mine));
        star.finish().await;
    }
}

#[tokio::test]
async fn the_loss_of_the_host_ends_what_is_followed_through_a_forwarder() {
    // R9.11, R9.5
    let star = Star::new(NEAR).await;
    let (_, shared) = limited(star.b.hosted()).await.expect("one");
    let mut replica = follow(&shared).await;
    let before = seen(&replica);
    star.a.connection().expect("remote").close().await;
    let error = limited(replica.changed())
        .await
        .expect_err("nothing comes any more");
    assert!(matches!(error, RpcError::Broken(_)), "{error:?}");
    assert!(matches!(replica.state(), ReplicaState::Ended(_)));
    assert_eq!(seen(&replica), before);
    assert!(limited(shared.replica()).await.is_err());
    drop((replica, shared));
    star.finish().await;
}

#[tokio::test]
async fn why_a_host_ends_a_subscription_is_told_to_all_behind() {
    // R9.11, R20.7: the value is longer than the forwarder takes.
    let tracker = Tracker::new();
    let room = MemRoom::new(&tracker);
    let doc = room.doc.clone();
    let root = RoomHandle::new(room);
    let host = NEAR
        .serve(Setup::new(&tracker, move |_| root.clone()))
        .await;
    let little =
        |connect: helve::Connect<RoomHandle>| connect.limits(Limits::default().with_frame(65_536));
    let behind = limited(host.connect_with(little)).await.expect("connects");
    let forwarder = Setup::new(&Tracker::new(), move |_| behind.clone());
    let forwarder = NEAR.serve(forwarder).await;
    let root: RoomHandle = forwarder.connect().await;
    let shared = limited(root.doc()).await.expect("a value");
    let mut replica = follow(&shared).await;
    doc.change(|doc| doc.1.push_str(&"y".repeat(100_000)))
        .await
        .expect("changes");
    let error = limited(replica.changed())
        .await
        .expect_err("it is too long");
    assert!(matches!(error, RpcError::Exhausted(_)), "{error:?}");
    assert!(matches!(replica.state(), ReplicaState::Ended(_)));
    until("nobody follows", || doc.followers() == 0).await;
    drop((replica, shared, root, doc));
    forwarder.rest().await;
    host.rest().await;
    limited(forwarder.finish()).await;
    limited(host.finish()).await;
}

#[tokio::test]
async fn a_forwarder_that_does_not_know_a_type_asks_for_its_description() {
    // R9.12: it is told what differs, and not that there is no such description.
    for forwarders in [1, 2] {
        let row = Row::new(NEAR, forwarders).await;
        let root: RoomHandle = row.last().connect().await;
        let other: OtherHandle = row.last().connect().await;
        let shared = limited(other.doc()).await.expect("a value");
        let error = limited(shared.replica()).await.expect_err("another type");
        assert!(matches!(error, RpcError::Incompatible(_)), "{error:?}");
        drop((root, other, shared));
        row.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_stalls_behind_a_forwarder_holds_nobody_up_and_catches_up_at_once() {
    // R9.4, R20.10: nothing is kept for anybody, neither here nor at the host.
    let row = Row::new(NEAR, 1).await;
    let doc = row.doc();
    let (b, c): (RoomHandle, RoomHandle) = (row.last().connect().await, row.last().connect().await);
    let slow = follow(&limited(b.doc()).await.expect("a value")).await;
    let live = follow(&limited(c.doc()).await.expect("a value")).await;
    let looks = Looks::at(&slow);
    for n in 0..5_000_u32 {
        doc.change(|doc| {
            doc.0 = n;
            // A snapshot each now and then, at both.
            doc.1 = Text::from(format!("{n} {}", "z".repeat(200)));
        })
        .await
        .expect("changes");
        // sleep: paused time passes, so that all of it is carried
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rev = limited(live.at_least(5_001)).await.expect("arrives");
    let before = b.connection().expect("remote").stats();
    looks.done();
    assert_eq!(limited(slow.at_least(rev)).await, Ok(rev));
    let after = b.connection().expect("remote").stats();
    let bytes = after.bytes_in - before.bytes_in;
    assert!(bytes < 4_000, "{bytes} bytes");
    assert_eq!(seen(&slow), truth(&doc).await);
    drop((slow, live, b, c, doc));
    row.finish().await;
}
