//! An object with a method for each way in which a stream may travel.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, stream};
use helve::prelude::*;

use crate::harness::{Tracked, Tracker};

/// What [`Tap`] fails with on purpose.
#[derive(Wire, Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// There is no such stream.
    #[error("nothing flows")]
    Dry,
    /// A stream failed.
    #[error("burst: {0}")]
    Burst(String),
}

/// Streams as fields.
#[derive(Wire)]
pub struct Feed {
    /// What it is called.
    pub name: String,
    /// In a struct.
    pub values: Streaming<u64>,
    /// In a vector.
    pub more: Vec<Streaming<String>>,
    /// In an option.
    pub maybe: Option<Streaming<u64>>,
}

/// The interface.
#[interface(id = "test.Tap")]
pub trait Tap {
    /// The numbers below `upto`; opens when it is first read.
    fn count(&self, upto: u64) -> Streaming<u64>;
    /// The numbers from 0 on, as fast as they are read, from an object that is used exclusively.
    fn endless(&mut self) -> Streaming<u64>;
    /// Never a value, never an end.
    fn silent(&self) -> Streaming<u64>;
    /// Panics instead of opening.
    fn unopened(&self) -> Streaming<u64>;
    /// The numbers below `upto`.
    async fn numbers(&self, upto: u64) -> Streaming<u64>;
    /// Three numbers, or an error.
    async fn maybe(&self, flows: bool) -> Result<Streaming<u64>, TapError>;
    /// Streams in fields.
    async fn feed(&self) -> Feed;
    /// What comes out of a struct of streams.
    async fn eat(&self, feed: Feed) -> Result<u64, TapError>;
    /// The sum of what comes, up to a good end.
    async fn sum(&self, values: Streaming<u64>) -> Result<u64, TapError>;
    /// Adds up what comes, into what `poured` tells.
    #[oneway]
    async fn pour(&self, values: Streaming<u64>);
    /// Returns before it has read anything; a task of its own reads.
    async fn keep(&self, values: Streaming<u64>);
    /// The sum of what was poured or kept and has come to its end.
    async fn poured(&self) -> u64;
    /// Fails after that many numbers.
    async fn fails_after(&self, count: u64) -> Streaming<u64>;
    /// Panics after that many numbers.
    async fn panics_after(&self, count: u64) -> Streaming<u64>;
    /// Objects of its own.
    async fn taps(&self, count: u64) -> Streaming<TapHandle>;
    /// Calls each of these, and says how many answered.
    async fn try_each(&self, taps: Streaming<TapHandle>) -> u64;
    /// What it was given, passed on.
    async fn back(&self, values: Streaming<u64>) -> Streaming<u64>;
    /// Streams as items: of one number, of two, and so on.
    async fn nested(&self, count: u64) -> Streaming<Streaming<u64>>;
    /// Pieces of so many bytes.
    async fn bytes(&self, len: usize, count: usize) -> Streaming<Vec<u8>>;
    /// Numbers that `source` is asked for, one by one.
    async fn asked(&self, source: TapHandle, count: u64) -> Streaming<u64>;
    /// Its argument.
    async fn echo(&self, n: u64) -> u64;
    /// Drops what it was given, unread.
    async fn ignore(&self, values: Streaming<u64>);
}

/// The object.
pub struct MemTap {
    tracker: Tracker,
    _tracked: Tracked,
    poured: Arc<Mutex<u64>>,
}

impl MemTap {
    /// A new one. It, and each stream that it makes, is tracked.
    pub fn new(tracker: &Tracker) -> MemTap {
        MemTap {
            tracker: tracker.clone(),
            _tracked: tracker.track(),
            poured: Arc::default(),
        }
    }

    fn below(&self, upto: u64) -> Streaming<u64> {
        numbers(&self.tracker, upto)
    }
}

/// A tracked stream of the numbers below `upto`.
pub fn numbers(tracker: &Tracker, upto: u64) -> Streaming<u64> {
    let tracked = tracker.track();
    Streaming::new(stream::iter(0..upto).inspect(move |_| _ = &tracked))
}

async fn drink(mut values: Streaming<u64>) -> Result<u64, RpcError> {
    let mut sum = 0;
    while let Some(value) = values.try_next().await? {
        sum += value;
    }
    Ok(sum)
}

fn burst(error: RpcError) -> TapError {
    TapError::Burst(format!("{error:?}"))
}

fn add(poured: &Mutex<u64>, n: u64) {
    *poured.lock().unwrap_or_else(PoisonError::into_inner) += n;
}

impl Tap for MemTap {
    fn count(&self, upto: u64) -> Streaming<u64> {
        self.below(upto)
    }
    fn endless(&mut self) -> Streaming<u64> {
        self.below(u64::MAX)
    }
    fn silent(&self) -> Streaming<u64> {
        let tracked = self.tracker.track();
        Streaming::new(stream::poll_fn(move |_| {
            let _ = &tracked;
            std::task::Poll::Pending
        }))
    }
    fn unopened(&self) -> Streaming<u64> {
        panic!("on purpose");
    }
    async fn numbers(&self, upto: u64) -> Streaming<u64> {
        self.below(upto)
    }
    async fn maybe(&self, flows: bool) -> Result<Streaming<u64>, TapError> {
        if flows {
            Ok(self.below(3))
        } else {
            Err(TapError::Dry)
        }
    }
    async fn feed(&self) -> Feed {
        Feed {
            name: "feed".to_owned(),
            values: self.below(10),
            more: vec![
                ["a", "b"].map(str::to_owned).into_iter().collect(),
                Streaming::from(vec!["c".to_owned()]),
            ],
            maybe: Some(self.below(2)),
        }
    }
    async fn eat(&self, feed: Feed) -> Result<u64, TapError> {
        let mut sum = drink(feed.values).await.map_err(burst)?;
        for mut words in feed.more {
            while let Some(word) = words.try_next().await.map_err(burst)? {
                sum += word.len() as u64;
            }
        }
        if let Some(values) = feed.maybe {
            sum += drink(values).await.map_err(burst)?;
        }
        Ok(sum)
    }
    async fn sum(&self, values: Streaming<u64>) -> Result<u64, TapError> {
        drink(values).await.map_err(burst)
    }
    async fn pour(&self, values: Streaming<u64>) {
        add(&self.poured, drink(values).await.unwrap_or_default());
    }
    async fn keep(&self, values: Streaming<u64>) {
        let poured = self.poured.clone();
        tokio::spawn(async move { add(&poured, drink(values).await.unwrap_or_default()) });
    }
    async fn poured(&self) -> u64 {
        *self.poured.lock().unwrap_or_else(PoisonError::into_inner)
    }
    async fn fails_after(&self, count: u64) -> Streaming<u64> {
        let tracked = self.tracker.track();
        let denied = stream::iter([Err(RpcError::Denied("enough".to_owned())), Ok(99)]);
        let values = stream::iter((0..count).map(Ok)).chain(denied);
        Streaming::try_new(values.inspect(move |_| _ = &tracked))
    }
    async fn panics_after(&self, count: u64) -> Streaming<u64> {
        let tracked = self.tracker.track();
        Streaming::new(stream::iter(0..).inspect(move |n| {
            let _ = &tracked;
            assert!(*n < count, "on purpose");
        }))
    }
    async fn taps(&self, count: u64) -> Streaming<TapHandle> {
        let tracker = self.tracker.clone();
        Streaming::new(stream::iter(0..count).map(move |_| TapHandle::new(MemTap::new(&tracker))))
    }
    async fn try_each(&self, mut taps: Streaming<TapHandle>) -> u64 {
        let mut answered = 0;
        while let Ok(Some(tap)) = taps.try_next().await {
            answered += u64::from(tap.echo(1).await == Ok(1));
        }
        answered
    }
    async fn back(&self, values: Streaming<u64>) -> Streaming<u64> {
        values
    }
    async fn nested(&self, count: u64) -> Streaming<Streaming<u64>> {
        let tracker = self.tracker.clone();
        Streaming::new(stream::iter(1..=count).map(move |n| numbers(&tracker, n)))
    }
    async fn bytes(&self, len: usize, count: usize) -> Streaming<Vec<u8>> {
        let tracked = self.tracker.track();
        Streaming::new(stream::iter(0..count).map(move |n| {
            let _ = &tracked;
            vec![n as u8; len]
        }))
    }
    async fn asked(&self, source: TapHandle, count: u64) -> Streaming<u64> {
        let asked = stream::iter(0..count).then(move |n| {
            let source = source.clone();
            async move { source.echo(n).await }
        });
        Streaming::try_new(asked)
    }
    async fn echo(&self, n: u64) -> u64 {
        n
    }
    async fn ignore(&self, values: Streaming<u64>) {
        drop(values);
    }
}
