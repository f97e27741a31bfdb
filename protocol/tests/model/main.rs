//! Random two-peer test of the session against a graph of plain pointers. `HELVE_SCHEDULES` says how many schedules,
//! `HELVE_SEED` runs one of them. A failure prints its seed and a test to paste.

#![allow(unreachable_pub, reason = "a test program exports nothing")]

mod counters;
#[path = "../harness/mod.rs"]
mod harness;
mod regressions;
mod shadow;
mod steps;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use counters::Counters;
use steps::{Step, Swarm, as_test, schedule, shrink};
use world::{Check, World};

const STEPS: usize = 260;

fn attempt(swarm: &Swarm, steps: &[Step]) -> Check<Counters> {
    let run = || {
        let mut world = World::new(swarm);
        for step in steps {
            world.step(step)?;
        }
        if swarm.lost {
            return world.lose();
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

/// Bugs that are built in on purpose (`src/mutation.rs`), how many schedules at most it takes to see each, and what is
/// then said, where it must be that.
#[cfg(feature = "mutations")]
const MUTATIONS: [(&str, u64, &str); 19] = [
    ("rel_all", 2_000, ""),
    ("nocount", 2_000, ""),
    ("shorten", 2_000, ""),
    ("unsettled", 2_000, ""),
    ("lent_early", 2_000, ""),
    ("naiveid", 2_000, ""),
    ("drop_first", 2_000, ""),
    ("cancel_forget", 2_000, ""),
    ("cancel_mute", 2_000, ""),
    ("cancel_unpin", 2_000, ""),
    ("flat", 2_000, ""),
    ("revoke_free", 2_000, ""),
    ("revoke_late", 2_000, ""),
    ("revoke_quiet", 2_000, ""),
    ("late_parts", 2_000, "I1.2"),
    ("late_parts_ids", 2_000, ""),
    ("hold_skip", 2_000, ""),
    ("hold_nopin", 2_000, ""),
    ("", 300, ""),
];

#[cfg(feature = "mutations")]
#[test]
fn every_mutation_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut report = String::new();
    let mut escaped = Vec::new();
    for (name, most, says) in MUTATIONS {
        helve_protocol::mutation::set(name);
        let caught = (0..most).find_map(|seed| {
            let (swarm, steps) = schedule(seed, STEPS);
            let why = attempt(&swarm, &steps).err()?;
            why.contains(says).then_some((seed, why))
        });
        helve_protocol::mutation::set("");
        match &caught {
            Some((seed, why)) => report += &format!("{name}: seed {seed}: {why:.120}\n"),
            None => report += &format!("{name}: not within {most} schedules\n"),
        }
        // Without any, nothing may be found.
        if caught.is_some() == name.is_empty() {
            escaped.push(name);
        }
    }
    _ = std::panic::take_hook();
    println!("{report}");
    assert!(escaped.is_empty(), "{escaped:?}:\n{report}");
}
