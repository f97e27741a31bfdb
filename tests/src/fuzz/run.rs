//! Feeds a body with mutated inputs, and makes of one that fails the shortest that still does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{Target, mutate};
use crate::seeded::Rng;

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many inputs.
    Inputs(u64),
    /// At that moment.
    Time(Instant),
}

/// An input that breaks an invariant.
#[derive(Debug)]
pub struct Failure {
    target: &'static str,
    seed: u64,
    input: Vec<u8>,
    why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            target,
            seed,
            input,
            why,
        } = self;
        write!(
            f,
            "{target}, seed {seed}: {why}\n\nput this into REGRESSIONS of tests/tests/fuzz.rs:\n    (\"{target}\", \""
        )?;
        for byte in input {
            write!(f, "{byte:02x}")?;
        }
        writeln!(f, "\"),")
    }
}

impl std::error::Error for Failure {}

/// What a body says against an input.
fn complaint(body: fn(&[u8]), input: &[u8]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| body(input))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Some(text.unwrap_or_else(|| "it panicked".into()))
}

/// Feeds a target from one seed, the corpus itself first. Returns how many inputs there were.
///
/// # Errors
/// The first input that breaks an invariant, made short.
pub fn run(target: &Target, seed: u64, until: Until) -> Result<u64, Box<Failure>> {
    let corpus = (target.corpus)();
    let mut rng = Rng::new(seed);
    let mut first = corpus.iter();
    let mut done = 0;
    loop {
        let over = match until {
            Until::Inputs(n) => done >= n,
            Until::Time(at) => Instant::now() >= at,
        };
        if over {
            return Ok(done);
        }
        let input = match first.next() {
            Some(input) => input.clone(),
            None => mutate::input(&mut rng, &corpus),
        };
        if complaint(target.body, &input).is_some() {
            return Err(Box::new(shortest(target, seed, input)));
        }
        done += 1;
    }
}

/// So many inputs of a target as [`run`] draws them, for tests that feed something else with them.
pub fn inputs(target: &Target, seed: u64, count: usize) -> Vec<Vec<u8>> {
    let corpus = (target.corpus)();
    let mut rng = Rng::new(seed);
    (0..count)
        .map(|_| mutate::input(&mut rng, &corpus))
        .collect()
}

/// An input of an earlier failure, in hex.
///
/// # Panics
/// When it breaks an invariant again.
pub fn replay(target: &str, hex: &str) {
    super::body(target, &unhex(hex).expect("hex"));
}

/// Takes away what the failure does not need: halves, then quarters, down to bytes.
fn shortest(target: &Target, seed: u64, mut input: Vec<u8>) -> Failure {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut cut = input.len().div_ceil(2);
    while cut > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut less = input.clone();
            less.drain(at..(at + cut).min(input.len()));
            if complaint(target.body, &less).is_some() {
                input = less;
            } else {
                at += cut;
            }
        }
        cut /= 2;
    }
    let why = complaint(target.body, &input).unwrap_or_default();
    std::panic::set_hook(hook);
    Failure {
        target: target.name,
        seed,
        input,
        why,
    }
}

/// Bytes from hex.
pub(super) fn unhex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let digits = (0..hex.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}
