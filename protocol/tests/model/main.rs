//! Random two-peer test of the session against a graph of plain pointers. `HELVE_SCHEDULES` says how many schedules,
//! `HELVE_SEED` runs one of them. A failure prints its seed and a test to paste.

#[path = "../harness/mod.rs"]
mod harness;
mod shadow;
mod steps;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use steps::{Step, Swarm, as_test, schedule, shrink};
use world::{Check, Counters, World};

const STEPS: usize = 260;

fn attempt(swarm: &Swarm, steps: &[Step]) -> Check<Counters> {
    let run = || {
        let mut world = World::new(swarm);
        for step in steps {
            world.step(step)?;
        }
        world.quiesce()
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Runs a schedule that once failed.
#[track_caller]
fn replay(swarm: &Swarm, steps: &[Step]) {
    if let Err(why) = attempt(swarm, steps) {
        panic!("{why}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_schedules_agree_with_plain_pointers() {
    let (first, count) = match number("HELVE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HELVE_SCHEDULES").unwrap_or(5_000)),
    };
    let mut sum = Counters::default();
    for seed in first..first + count {
        let (swarm, steps) = schedule(seed, STEPS);
        match attempt(&swarm, &steps) {
            Ok(counters) => sum.add(&counters),
            Err(why) => {
                std::panic::set_hook(Box::new(|_| {}));
                let steps = shrink(steps, |steps| attempt(&swarm, steps).is_err());
                _ = std::panic::take_hook();
                let last = attempt(&swarm, &steps).err().unwrap_or_default();
                panic!(
                    "seed {seed}: {why}\n\nshortened: {last}\n\n{}",
                    as_test(seed, &swarm, &steps)
                );
            }
        }
    }
    println!("{count} schedules: {sum:?}");
    if count >= 1_000 {
        assert_eq!(
            sum.missing(),
            Vec::<String>::new(),
            "paths never taken, in {sum:?}"
        );
    }
}
