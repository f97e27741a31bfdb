//! Drafts of a replica that others were faster than: what their modes let through (R20).

use helve::prelude::*;
use helve::track::{Counter, Map, Text};
use helve::{Draft, Mode, Replica, Shared};
use helve_tests::harness::{Harness, Tracker, limited};

/// Title, text, score, an optional pair, and numbers by key.
type Doc = (String, Text, Counter, Option<(u32, u32)>, Map<u32, u32>);

/// What is served.
#[interface]
pub trait Desk {
    /// The value.
    async fn doc(&self) -> Shared<Doc>;
}

struct MemDesk(
    Shared<Doc>,
    #[allow(dead_code, reason = "counts")] helve_tests::harness::Tracked,
);

impl Desk for MemDesk {
    async fn doc(&self) -> Shared<Doc> {
        self.0.clone()
    }
}

/// Proposes what `draft` does after the host did what `others` does.
async fn late(
    doc: &Shared<Doc>,
    replica: &Replica<Doc>,
    mode: Mode,
    draft: impl FnOnce(&mut Draft<Doc>),
    others: impl FnOnce(&mut Doc),
) -> Result<Doc, RpcError> {
    let fresh = || {
        let mut cells = Map::new();
        cells.extend([(1, 10), (2, 20)]);
        ("title".into(), "text".into(), 0.into(), Some((1, 2)), cells)
    };
    let mut edit = doc.edit().await.expect("begins");
    *edit = fresh();
    let base = edit.commit().expect("commits");
    replica.at_least(base).await.expect("follows");
    let mut drafted = replica.draft().expect("a draft");
    draft(&mut drafted);
    doc.change(others).await.expect("changes");
    drafted.propose(mode).await?;
    Ok(doc.read(Clone::clone).await.expect("here"))
}

#[tokio::test]
async fn a_late_draft_goes_through_where_its_mode_allows() {
    let tracker = Tracker::new();
    let doc = Shared::builder(("".into(), Text::new(), Counter::new(0), None, Map::new()))
        .proposals(|_, _| Ok(()))
        .build();
    let root = DeskHandle::new(MemDesk(doc.clone(), tracker.track()));
    let harness = Harness::memory(&tracker, root);
    let root: DeskHandle = harness.connect().await;
    limited(async {
        let theirs = root.doc().await.expect("a value");
        let replica = theirs.replica().await.expect("follows");
        let (doc, replica) = (&doc, &replica);
        // Different places.
        let made = late(
            doc,
            replica,
            Mode::Disjoint,
            |d| d.0.push('!'),
            |d| d.1.push('.'),
        )
        .await;
        let made = made.expect("nothing in common");
        assert_eq!((&*made.0, &*made.1), ("title!", "text."));
        let strict = late(
            doc,
            replica,
            Mode::Strict,
            |d| d.0.push('!'),
            |d| d.1.push('.'),
        )
        .await;
        assert_eq!(strict.err(), Some(RpcError::Conflict));
        // Entries of one map, and one entry.
        let put = |key, value| move |d: &mut Doc| _ = d.4.insert(key, value);
        let draft = |key, value| move |d: &mut Draft<Doc>| _ = d.4.insert(key, value);
        let made = late(doc, replica, Mode::Disjoint, draft(1, 11), put(3, 30)).await;
        let made = made.expect("nothing in common");
        assert_eq!((made.4.get(&1), made.4.get(&3)), (Some(&11), Some(&30)));
        let made = late(doc, replica, Mode::Disjoint, draft(1, 11), put(1, 12)).await;
        assert_eq!(made.err(), Some(RpcError::Conflict));
        let made = late(doc, replica, Mode::Lww, draft(1, 11), put(1, 12)).await;
        assert_eq!(made.expect("the last one wins").4.get(&1), Some(&11));
        // Additions.
        let made = late(
            doc,
            replica,
            Mode::Disjoint,
            |d| _ = d.2.add(2),
            |d| _ = d.2.add(3),
        )
        .await;
        assert_eq!(made.expect("both add").2.get(), 5);
        // Positions in a text that is another now.
        let (ours, theirs) = (
            |d: &mut Draft<Doc>| d.1.insert_str(4, "!"),
            |d: &mut Doc| d.1.clear(),
        );
        let made = late(doc, replica, Mode::Lww, ours, theirs).await;
        assert_eq!(made.err(), Some(RpcError::Conflict));
        // What it goes through is gone: that is no fault of its author's.
        let ours = |d: &mut Draft<Doc>| d.3.as_mut().expect("some").0 = 9;
        let made = late(doc, replica, Mode::Lww, ours, |d| d.3 = None).await;
        assert_eq!(made.err(), Some(RpcError::Conflict));
        let ours = |d: &mut Draft<Doc>| d.3.as_mut().expect("some").0 = 9;
        let made = late(doc, replica, Mode::Lww, ours, |d| d.3 = Some((5, 6))).await;
        let made = made.expect("the last one wins");
        assert_eq!(made.3, Some((9, 6)));
    })
    .await;
    drop((root, doc));
    harness.finish().await;
}
