//! An object with a method of each kind, to be done everything to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use helve::prelude::*;

use crate::harness::{Tracked, Tracker};

/// What [`Lab`] fails with on purpose.
#[derive(Wire, Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabError {
    /// As asked.
    #[error("as asked: {0}")]
    AsAsked(String),
}

/// Handles in every kind of container.
#[derive(Wire)]
pub struct Bundle {
    /// In a struct.
    pub one: LabHandle,
    /// In an option.
    pub maybe: Option<LabHandle>,
    /// In a vector.
    pub many: Vec<LabHandle>,
    /// In a map.
    pub named: BTreeMap<String, LabHandle>,
    /// In a tuple in a vector in an option.
    pub deep: Option<Vec<(u8, LabHandle)>>,
}

impl Bundle {
    /// Every handle inside.
    pub fn into_all(self) -> Vec<LabHandle> {
        let Bundle {
            one,
            maybe,
            many,
            named,
            deep,
        } = self;
        let deep = deep.into_iter().flatten().map(|(_, handle)| handle);
        let all = [one].into_iter().chain(maybe).chain(many);
        all.chain(named.into_values()).chain(deep).collect()
    }
}

/// The interface.
#[interface(id = "test.Lab")]
pub trait Lab {
    /// Its argument.
    async fn echo(&self, n: u64) -> u64;
    /// Its argument, after the task has been away for a moment.
    async fn echo_late(&self, n: u64) -> u64;
    /// Adds up, one caller at a time, and is away in between.
    async fn add(&mut self, n: u64) -> u64;
    /// A new object.
    async fn open(&self) -> LabHandle;
    /// A new object, later.
    async fn open_late(&self) -> LabHandle;
    /// Fails.
    async fn open_nothing(&self) -> Result<LabHandle, LabError>;
    /// The handle that it was given.
    async fn reflect(&self, lab: LabHandle) -> LabHandle;
    /// Keeps a handle that is given.
    async fn keep(&self, lab: LabHandle);
    /// Keeps a clone of a handle that is only lent.
    async fn keep_lent(&self, lab: &LabHandle);
    /// The first handle that is kept.
    async fn kept(&self) -> Option<LabHandle>;
    /// Calls `echo` of the first handle that is kept.
    async fn use_kept(&self, n: u64) -> Result<u64, LabError>;
    /// Keeps nothing any more.
    async fn forget(&self);
    /// Calls `echo` of a handle that is lent.
    async fn borrow(&self, lab: &LabHandle, n: u64) -> Result<u64, LabError>;
    /// New objects in every kind of container.
    async fn bundle(&self) -> Bundle;
    /// Takes handles in every kind of container, calls each, and says how many answered.
    async fn unbundle(&self, bundle: Bundle) -> u64;
    /// Keeps a text.
    #[oneway]
    async fn note(&self, text: &str);
    /// Keeps a text, later, in turn.
    #[oneway]
    async fn note_late(&mut self, text: &str);
    /// Fails without telling.
    #[oneway]
    async fn note_badly(&self, text: &str);
    /// The texts.
    async fn notes(&self) -> Vec<String>;
    /// Never ends; a tracked value lives as long as it waits.
    async fn hang(&self);
    /// Panics.
    async fn panic(&self);
    /// Takes its turn and, within it, calls `ring` of the first of these with the rest. How many turns that were.
    async fn ring(&mut self, rest: Vec<LabHandle>) -> Result<u64, LabError>;
    /// How many milliseconds the caller still waits.
    async fn left(&self, cx: &Cx) -> Option<u64>;
    /// How many objects were ever made beside this one, and how many of them are left.
    async fn census(&self) -> (u64, u64);
    /// What `left` of another object says when it is called from here.
    async fn left_there(&self, lab: LabHandle) -> Option<u64>;
    /// The numbers below `n`; a tracked value lives as long as the stream.
    async fn count(&self, n: u64) -> Streaming<u64>;
    /// The sum of what comes.
    async fn sum(&self, values: Streaming<u64>) -> u64;
    /// Keeps a stream and reads nothing of it.
    async fn keep_stream(&self, values: Streaming<u64>);
}

/// The object.
pub struct MemLab {
    tracker: Tracker,
    _tracked: Tracked,
    sum: u64,
    kept: Mutex<Vec<LabHandle>>,
    notes: Mutex<Vec<String>>,
    streams: Mutex<Vec<Streaming<u64>>>,
}

impl MemLab {
    /// A new one, tracked.
    pub fn new(tracker: &Tracker) -> MemLab {
        MemLab {
            tracker: tracker.clone(),
            _tracked: tracker.track(),
            sum: 0,
            kept: Mutex::default(),
            notes: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    fn another(&self) -> LabHandle {
        LabHandle::new(MemLab::new(&self.tracker))
    }

    fn first_kept(&self) -> Option<LabHandle> {
        locked(&self.kept).first().cloned()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(error: RpcError) -> LabError {
    LabError::AsAsked(format!("{error:?}"))
}

impl Lab for MemLab {
    async fn echo(&self, n: u64) -> u64 {
        n
    }
    async fn echo_late(&self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        n
    }
    async fn add(&mut self, n: u64) -> u64 {
        let before = self.sum;
        tokio::task::yield_now().await;
        self.sum = before.wrapping_add(n);
        self.sum
    }
    async fn open(&self) -> LabHandle {
        self.another()
    }
    async fn open_late(&self) -> LabHandle {
        tokio::task::yield_now().await;
        self.another()
    }
    async fn open_nothing(&self) -> Result<LabHandle, LabError> {
        Err(LabError::AsAsked("nothing to open".into()))
    }
    async fn reflect(&self, lab: LabHandle) -> LabHandle {
        lab
    }
    async fn keep(&self, lab: LabHandle) {
        locked(&self.kept).push(lab);
    }
    async fn keep_lent(&self, lab: &LabHandle) {
        locked(&self.kept).push(lab.clone());
    }
    async fn kept(&self) -> Option<LabHandle> {
        self.first_kept()
    }
    async fn use_kept(&self, n: u64) -> Result<u64, LabError> {
        let kept = self
            .first_kept()
            .ok_or(LabError::AsAsked("nothing is kept".into()))?;
        kept.echo(n).await.map_err(told)
    }
    async fn forget(&self) {
        let kept = std::mem::take(&mut *locked(&self.kept));
        let streams = std::mem::take(&mut *locked(&self.streams));
        drop((kept, streams));
    }
    async fn borrow(&self, lab: &LabHandle, n: u64) -> Result<u64, LabError> {
        lab.echo(n).await.map_err(told)
    }
    async fn bundle(&self) -> Bundle {
        Bundle {
            one: self.another(),
            maybe: Some(self.another()),
            many: (0..3).map(|_| self.another()).collect(),
            named: ["a", "b"]
                .map(|name| (name.to_owned(), self.another()))
                .into(),
            deep: Some(vec![(7, self.another())]),
        }
    }
    async fn unbundle(&self, bundle: Bundle) -> u64 {
        let mut answered = 0;
        for handle in bundle.into_all() {
            answered += u64::from(handle.echo(1).await == Ok(1));
        }
        answered
    }
    async fn note(&self, text: &str) {
        locked(&self.notes).push(text.to_owned());
    }
    async fn note_late(&mut self, text: &str) {
        tokio::task::yield_now().await;
        locked(&self.notes).push(text.to_owned());
    }
    async fn note_badly(&self, text: &str) {
        panic!("cannot note {text}");
    }
    async fn notes(&self) -> Vec<String> {
        locked(&self.notes).clone()
    }
    async fn hang(&self) {
        let _alive = self.tracker.track();
        std::future::pending::<()>().await;
    }
    async fn panic(&self) {
        panic!("on purpose");
    }
    async fn ring(&mut self, mut rest: Vec<LabHandle>) -> Result<u64, LabError> {
        if rest.is_empty() {
            return Ok(1);
        }
        let first = rest.remove(0);
        match first.ring(rest).await {
            Ok(turns) => Ok(turns + 1),
            Err(CallError::App(error)) => Err(error),
            Err(CallError::RpcError(error)) => Err(told(error)),
        }
    }
    async fn left(&self, cx: &Cx) -> Option<u64> {
        cx.remaining().map(|left| left.as_millis() as u64)
    }
    async fn census(&self) -> (u64, u64) {
        (self.tracker.made(), self.tracker.live() as u64)
    }
    async fn left_there(&self, lab: LabHandle) -> Option<u64> {
        lab.left().await.ok().flatten()
    }
    async fn count(&self, n: u64) -> Streaming<u64> {
        let tracked = self.tracker.track();
        let mut rest = 0..n;
        Streaming::new(futures::stream::poll_fn(move |_| {
            let _alive = &tracked;
            std::task::Poll::Ready(rest.next())
        }))
    }
    async fn sum(&self, mut values: Streaming<u64>) -> u64 {
        let mut sum = 0_u64;
        while let Ok(Some(n)) = values.try_next().await {
            sum = sum.wrapping_add(n);
        }
        sum
    }
    async fn keep_stream(&self, values: Streaming<u64>) {
        locked(&self.streams).push(values);
    }
}
