//! Fuzzing: for each thing that reads a peer's bytes a *body*, a plain function of bytes that panics when an invariant
//! does not hold, and a seeded mutator that feeds them on stable Rust.
//!
//! Called by `tests/fuzz.rs` (a short run, in CI), by `cargo xtask fuzz` (a long one) and by the wrappers in `fuzz/`
//! (cargo-fuzz, guided by coverage). The corpus is the golden vectors, read when it is needed.

mod corpus;
mod frame;
mod hello;
mod mutate;
mod run;
mod scan;
mod session;
mod shared;
mod values;

pub use run::{Failure, Until, inputs, replay, run};

/// One body, with what its inputs are made from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As `cargo xtask fuzz --target` and cargo-fuzz call it.
    pub name: &'static str,
    /// Panics when an invariant does not hold for these bytes.
    pub body: fn(&[u8]),
    /// Inputs to begin with.
    corpus: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "scan",
        body: scan::body,
        corpus: corpus::batches,
    },
    Target {
        name: "frame",
        body: frame::body,
        corpus: corpus::batches,
    },
    Target {
        name: "hello",
        body: hello::body,
        corpus: corpus::handshakes,
    },
    Target {
        name: "session",
        body: session::body,
        corpus: corpus::scripts,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Runs the body of that name: what the wrappers in `fuzz/` call.
///
/// # Panics
/// When an invariant does not hold, and where there is no such target.
pub fn body(name: &str, data: &[u8]) {
    (target(name).expect("a target").body)(data);
}

/// Runs `f` and asserts that it allocates in step with its input: at most `fixed` bytes and `each` for each of `len`.
fn frugal<R>(len: usize, fixed: u64, each: u64, f: impl FnOnce() -> R) -> R {
    let mut result = None;
    let memory = allocation_counter::measure(|| result = Some(f()));
    let most = fixed + each * len as u64;
    assert!(
        memory.bytes_max <= most,
        "{} bytes allocated at once for an input of {len}; {most} is the most",
        memory.bytes_max
    );
    result.expect("it was run")
}
