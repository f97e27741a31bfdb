//! The object of these tests, and the value that it works on.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use helve::Shared;
use helve::prelude::*;
use helve::track::{Counter, Map, Text};
use helve_tests::harness::{Tracked, Tracker};

/// `title, tags, text, cells, count`.
pub type Doc = (String, u32, Text, Map<u32, (String, f64)>, Counter);

/// A small one.
pub fn doc() -> Doc {
    sized(3)
}

/// One with so many cells.
pub fn sized(cells: u32) -> Doc {
    let cell = |n: u32| (n, (format!("the cell with the number {n}"), f64::from(n)));
    (
        "title".to_owned(),
        1,
        Text::from("text"),
        (0..cells).map(cell).collect(),
        Counter::from(3),
    )
}

/// As comparable text; equal texts, equal values.
pub fn shown(doc: &Doc) -> String {
    format!("{doc:?}")
}

/// What [`Desk`] fails with on purpose.
#[derive(Wire, Debug, thiserror::Error, PartialEq, Clone)]
#[error("torn up")]
pub struct Torn;

/// The interface.
#[interface(id = "test.Desk")]
pub trait Desk {
    /// Adds 1 here and there; the number.
    async fn tidy(&self, doc: &mut Doc) -> u32;
    /// Only looks.
    async fn look(&self, doc: &mut Doc) -> u64;
    /// Another value altogether.
    async fn replace(&mut self, doc: &mut Doc, title: &str);
    /// 50 edits, then an error.
    async fn fails(&self, doc: &mut Doc) -> Result<u32, Torn>;
    /// 50 edits, then a panic.
    async fn panics(&self, doc: &mut Doc) -> u32;
    /// 50 edits, then waits for ever.
    async fn hangs(&self, doc: &mut Doc) -> u32;
    /// Edits, while the ear is asked for its number.
    async fn asks(&self, doc: &mut Doc, ear: &EarHandle) -> Result<u64, Torn>;
    /// Moves the title from one to the other.
    async fn moves(&self, from: &mut Doc, to: &mut Doc);
    /// A value that lives here.
    async fn shared(&self) -> Shared<Doc>;
    /// Edits both; a handle, a stream and a context beside them.
    async fn both(
        &self,
        left: &mut Doc,
        ears: Vec<EarHandle>,
        numbers: Streaming<u64>,
        cx: &Cx,
        right: &mut Doc,
        ear: &EarHandle,
        #[default] times: u32,
    ) -> Result<u64, Torn>;
}

/// Somebody who hears.
#[interface(id = "test.Ear")]
pub trait Ear {
    /// Its number.
    async fn number(&self) -> u64;
}

/// The object. It counts the calls that ran.
pub struct MemDesk {
    pub ran: Arc<AtomicUsize>,
    pub waiting: Arc<AtomicUsize>,
    shared: Shared<Doc>,
    _tracked: Tracked,
}

impl MemDesk {
    pub fn new(tracker: &Tracker) -> MemDesk {
        MemDesk {
            ran: Arc::default(),
            waiting: Arc::default(),
            shared: Shared::new(doc()),
            _tracked: tracker.track(),
        }
    }
}

fn edit(doc: &mut Doc) {
    doc.1 += 1;
    doc.2.push_str("!");
    doc.4.add(1);
    if let Some(cell) = doc.3.get_mut(&2) {
        cell.1 += 0.5;
    }
}

fn edit_often(doc: &mut Doc) {
    for n in 0..50 {
        edit(doc);
        doc.3.insert(1000 + n, ("more".to_owned(), 0.0));
        doc.3.remove(&(1000 + n / 2));
        doc.0.push('x');
    }
}

/// Gone when the method is.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Desk for MemDesk {
    async fn tidy(&self, doc: &mut Doc) -> u32 {
        self.ran.fetch_add(1, Ordering::SeqCst);
        edit(doc);
        doc.1
    }
    async fn look(&self, doc: &mut Doc) -> u64 {
        self.ran.fetch_add(1, Ordering::SeqCst);
        doc.3.len() as u64
    }
    async fn replace(&mut self, doc: &mut Doc, title: &str) {
        *doc = sized(4);
        doc.0 = title.to_owned();
    }
    async fn fails(&self, doc: &mut Doc) -> Result<u32, Torn> {
        edit_often(doc);
        Err(Torn)
    }
    async fn panics(&self, doc: &mut Doc) -> u32 {
        edit_often(doc);
        panic!("on purpose")
    }
    async fn hangs(&self, doc: &mut Doc) -> u32 {
        edit_often(doc);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self.waiting.clone());
        pending().await
    }
    async fn asks(&self, doc: &mut Doc, ear: &EarHandle) -> Result<u64, Torn> {
        edit(doc);
        ear.number().await.map_err(|_| Torn)
    }
    async fn moves(&self, from: &mut Doc, to: &mut Doc) {
        edit(from);
        // Whoever wants them in the other order comes in between.
        tokio::task::yield_now().await;
        to.0 = std::mem::take(&mut from.0);
    }
    async fn shared(&self) -> Shared<Doc> {
        self.shared.clone()
    }
    async fn both(
        &self,
        left: &mut Doc,
        ears: Vec<EarHandle>,
        mut numbers: Streaming<u64>,
        cx: &Cx,
        right: &mut Doc,
        ear: &EarHandle,
        times: u32,
    ) -> Result<u64, Torn> {
        self.ran.fetch_add(1, Ordering::SeqCst);
        assert!(cx.remaining().is_some());
        let mut sum = ear.number().await.map_err(|_| Torn)?;
        for ear in ears {
            sum += ear.number().await.map_err(|_| Torn)?;
        }
        while let Some(number) = numbers.try_next().await.map_err(|_| Torn)? {
            sum += number;
        }
        left.0.push_str("left");
        for _ in 0..times {
            edit(right);
        }
        Ok(sum)
    }
}

/// An ear with a number.
pub struct Numbered(pub u64);

impl Ear for Numbered {
    async fn number(&self) -> u64 {
        self.0
    }
}
