//! Parts and views of shared values: what is followed there, what is hidden, and what may be changed (objects.md,
//! section 9).

use std::sync::Arc;

use helve::prelude::*;
use helve::track::{List, Map};
use helve::{Mode, Part, Principal, Shared};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};

/// What is shared.
#[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
pub struct Doc {
    title: String,
    cells: Map<u32, Cell>,
    log: List<String>,
    #[track(view = "admin")]
    #[serde(default)]
    salaries: Map<u32, u64>,
}

/// A part of it.
#[derive(Wire, Track, Clone, Debug, Default, PartialEq)]
pub struct Cell {
    text: String,
    score: f64,
    #[track(view = "admin")]
    #[serde(default)]
    note: String,
}

/// Serves one.
#[interface]
pub trait Docs {
    /// All of it, as far as the caller sees it.
    async fn doc(&self) -> Shared<Doc>;
    /// Writes a score.
    async fn score(&self, cell: u32, score: f64);
}

struct MemDocs(
    Shared<Doc>,
    #[allow(dead_code, reason = "counts")] Arc<helve_tests::harness::Tracked>,
);

impl Docs for MemDocs {
    async fn doc(&self) -> Shared<Doc> {
        self.0.clone()
    }
    async fn score(&self, cell: u32, score: f64) {
        let change = self
            .0
            .change(|doc| doc.cells.get_mut(&cell).map(|cell| cell.score = score));
        change.await.expect("changes");
    }
}

fn doc() -> Shared<Doc> {
    let cell = |n| Cell {
        text: format!("cell {n}"),
        score: 0.0,
        note: "secret-note".into(),
    };
    let doc = Doc {
        title: "t".into(),
        cells: (0..100).map(|n| (n, cell(n))).collect(),
        log: List::new(),
        salaries: [(1, 4242)].into_iter().collect(),
    };
    Shared::builder(doc).proposals(|_, _| Ok(())).build()
}

async fn served(doc: &Shared<Doc>) -> (Harness, DocsHandle, DocsHandle) {
    let tracker = Tracker::new();
    let root = DocsHandle::new(MemDocs(doc.clone(), Arc::new(tracker.track())));
    let setup = Setup::new(&tracker, move |_| root.clone()).with(|rooted| {
        rooted.authenticate(|token| async move {
            let views: &[&str] = if token.as_str()? == "admin" {
                &["admin"]
            } else {
                &[]
            };
            Ok(Principal::new(token.as_str()?).with_views(views.iter().copied()))
        })
    });
    let harness = setup.memory(std::time::Duration::ZERO);
    let admin = harness
        .connect_with(|connect| connect.token("admin"))
        .await
        .expect("connects");
    let user = harness
        .connect_with(|connect| connect.token("user"))
        .await
        .expect("connects");
    (harness, admin, user)
}

#[tokio::test]
async fn a_part_is_followed_alone_and_ends_in_nothing() {
    let doc = doc();
    let (harness, admin, user) = served(&doc).await;
    let whole = admin.doc().await.expect("a doc");
    // P2.1, E5.7
    let part = Part::field("cells").key(&7_u32);
    let cell: Shared<Option<Cell>> = limited(whole.focus(&part)).await.expect("it is there");
    let replica = limited(cell.replica()).await.expect("follows");
    let score = |replica: &helve::Replica<Option<Cell>>| {
        replica
            .read(|cell| cell.as_ref().map(|cell| cell.score))
            .expect("whole")
    };
    assert_eq!(score(&replica), Some(0.0));
    let connection = admin.connection().expect("remote");
    let before = connection.stats().frames_in;
    for n in 0..50 {
        doc.change(|doc| doc.log.push(n.to_string()))
            .await
            .expect("changes");
        doc.change(|doc| doc.title = n.to_string())
            .await
            .expect("changes");
    }
    // P2.2. What a call changed is in the part, too, when it returns (R10.5); what else changed did not come.
    limited(admin.score(7, 2.5)).await.expect("writes");
    assert_eq!((score(&replica), replica.rev()), (Some(2.5), 102));
    assert!(connection.stats().frames_in - before < 6);

    // The same way is the same object, and serves others from the same bytes.
    let again: Shared<Option<Cell>> = limited(whole.focus(&part)).await.expect("it is there");
    assert_eq!(again, cell);

    // P2.3: a draft of the part is one of the whole.
    let mut draft = replica.draft().expect("a draft");
    draft.as_mut().expect("there").text = "drafted".into();
    doc.change(|doc| doc.title = "meanwhile".into())
        .await
        .expect("changes");
    assert_eq!(limited(draft.propose(Mode::Strict)).await, Ok(104));
    let text = doc.read(|doc| doc.cells[&7].text.clone()).await;
    assert_eq!(text, Ok("drafted".into()));

    doc.change(|doc| doc.cells.remove(&7))
        .await
        .expect("changes");
    limited(replica.at_least(105)).await.expect("arrives");
    assert_eq!(score(&replica), None);
    drop((replica, cell, again, whole, connection, admin, user));
    until("nobody follows", || doc.followers() == 0).await;
    drop(doc);
    harness.finish().await;
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_refused() {
    let doc = doc();
    let (harness, admin, user) = served(&doc).await;
    let whole = admin.doc().await.expect("a doc");
    for part in [
        Part::field("no"),
        Part::item(3),
        Part::field("log").nth(0),
        Part::field("title").then("x"),
    ] {
        let refused = limited(whole.focus::<u32>(&part)).await;
        assert!(
            matches!(refused, Err(RpcError::Decode(_))),
            "{part:?}: {refused:?}"
        );
    }
    // Another type than it is.
    let wrong: Shared<Option<u32>> = whole
        .focus(&Part::field("title"))
        .await
        .expect("it is there");
    assert!(matches!(
        limited(wrong.replica()).await,
        Err(RpcError::Incompatible(_))
    ));
    drop((wrong, whole, admin, user, doc));
    harness.finish().await;
}

#[tokio::test]
async fn who_does_not_hold_a_view_never_gets_what_it_hides() {
    let doc = doc();
    let (harness, admin, user) = served(&doc).await;
    let all = admin
        .doc()
        .await
        .expect("a doc")
        .replica()
        .await
        .expect("follows");
    let hidden = user.doc().await.expect("a doc");
    let some = limited(hidden.replica()).await.expect("follows");
    // P2.4
    assert_eq!(all.read(Doc::clone), doc.read(Doc::clone).await);
    let bare = |doc: &Doc| {
        let mut doc = doc.clone();
        doc.salaries.clear();
        doc.cells.values_mut().for_each(|cell| cell.note.clear());
        doc
    };
    assert_eq!(some.read(Doc::clone), doc.read(bare).await);
    let before = some.rev();
    doc.change(|doc| {
        _ = doc.salaries.insert(2, 5000);
        doc.cells.get_mut(&3).expect("there").note.push_str("more");
    })
    .await
    .expect("changes");
    doc.change(|doc| doc.cells.get_mut(&3).expect("there").score = 1.0)
        .await
        .expect("changes");
    limited(all.at_least(3)).await.expect("arrives");
    limited(some.at_least(3)).await.expect("arrives");
    assert_eq!(all.read(Doc::clone), doc.read(Doc::clone).await);
    assert_eq!((some.read(Doc::clone), before), (doc.read(bare).await, 1));

    // Not by a part either, and nothing is changed by who does not see all of it.
    let refused = limited(hidden.focus::<Map<u32, u64>>(&Part::field("salaries"))).await;
    assert!(matches!(refused, Err(RpcError::Denied(_))), "{refused:?}");
    let part: Shared<Option<Cell>> = hidden
        .focus(&Part::field("cells").key(&3_u32))
        .await
        .expect("seen");
    let cell = limited(part.replica()).await.expect("follows");
    assert_eq!(
        cell.read(|cell| cell.clone().map(|cell| cell.note)),
        Ok(Some(String::new()))
    );
    let mut draft = some.draft().expect("a draft");
    draft.title.push('!');
    let denied = limited(draft.propose(Mode::Strict)).await;
    assert!(matches!(denied, Err(RpcError::Denied(_))), "{denied:?}");
    drop((all, some, hidden, part, cell, admin, user));
    until("nobody follows", || doc.followers() == 0).await;
    drop(doc);
    harness.finish().await;
}
