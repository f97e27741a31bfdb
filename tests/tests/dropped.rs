//! 1,000 calls and 1,000 streams dropped at random moments: tables empty, and the memory back. A program of its own, since
//! it counts what the allocator gives out; everything runs on one thread, so that all of it is counted.

use std::time::Duration;

use allocation_counter::measure;
use helve::prelude::*;
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::impatient::Impatient;
use helve_tests::seeded::Rng;
use helve_tests::tap::{MemTap, TapHandle};

/// What may be left: tables and buffers keep some of their room for the next time.
const LEFT: i64 = 512 << 10;

async fn one_call(root: &TapHandle, rng: &mut Rng) {
    let polls = rng.below(12);
    match rng.below(6) {
        0 => _ = Impatient::new(root.echo(7), polls).await,
        1 => _ = Impatient::new(root.numbers(1_000), polls).await,
        2 => _ = Impatient::new(root.sum((0..500).collect()), polls).await,
        3 => _ = Impatient::new(root.back((0..500).collect()), polls).await,
        4 => _ = Impatient::new(root.feed(), polls).await,
        _ => _ = Impatient::new(root.sum((0..40_000).collect()), polls).await,
    }
}

async fn one_stream(root: &TapHandle, rng: &mut Rng) {
    let items = rng.below(300);
    let polls = rng.below(40);
    async fn some<T: Wire>(mut values: Streaming<T>, items: usize) {
        for _ in 0..items {
            if !matches!(values.try_next().await, Ok(Some(_))) {
                return;
            }
        }
    }
    match rng.below(6) {
        0 => _ = Impatient::new(some(root.count(1_000), items), polls).await,
        1 => _ = Impatient::new(some(root.endless(), items), polls).await,
        2 => _ = Impatient::new(some(root.silent(), items), polls).await,
        3 => {
            if let Ok(taps) = root.taps(50).await {
                _ = Impatient::new(some(taps, items), polls).await;
            }
        }
        4 => {
            if let Ok(values) = root.fails_after(20).await {
                _ = Impatient::new(some(values, items), polls).await;
            }
        }
        _ => {
            if let Ok(pieces) = root.bytes(70_000, 4).await {
                _ = Impatient::new(some(pieces, items), polls).await;
            }
        }
    }
}

async fn drop_many(harness: &Harness, root: &TapHandle, rng: &mut Rng, each: usize) {
    for _ in 0..each {
        limited(one_call(root, rng)).await;
        limited(one_stream(root, rng)).await;
    }
    assert_eq!(limited(root.echo(1)).await, Ok(1), "it goes on");
    // R19.5, R21.3: nothing is open at either end but the root.
    harness.rest().await;
}

#[test]
fn a_thousand_calls_and_streams_dropped_at_random_moments_leave_nothing() {
    for (seed, far) in [(1, false), (2, true)] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let tracker = Tracker::new();
        let tap = TapHandle::new(MemTap::new(&tracker));
        let setup = Setup::new(&tracker, move |_| tap.clone());
        let (harness, root): (Harness, TapHandle) = runtime.block_on(async {
            let harness = if far {
                setup.websocket().await
            } else {
                setup.memory(Duration::ZERO)
            };
            let root = harness.connect().await;
            (harness, root)
        });
        let mut rng = Rng::new(seed);
        // Once to fill what is kept for the next time.
        runtime.block_on(drop_many(&harness, &root, &mut rng, 100));
        let used = measure(|| {
            runtime.block_on(drop_many(&harness, &root, &mut rng, 500));
        });
        assert!(
            used.bytes_current < LEFT,
            "{} bytes are left of {} (seed {seed})",
            used.bytes_current,
            used.bytes_total
        );
        drop(root);
        runtime.block_on(harness.finish());
    }
}
