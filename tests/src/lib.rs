//! What tests of the whole share: the harness that every session of a test goes through, an object with a method of
//! each kind, a client that breaks rules, and the bodies that fuzzing feeds. Used by the tests beside it and by their second processes, by nobody else.
#![forbid(unsafe_code)]

pub mod certs;
pub mod cut;
pub mod fuzz;
pub mod harness;
pub mod hostile;
pub mod impatient;
pub mod lab;
pub mod raw;
pub mod seeded;
pub mod tap;

/// The chapters of the book, so that their examples are compiled and run.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../docs/acknowledgements.md")]
    struct Acknowledgements;
    #[doc = include_str!("../../docs/by-reference.md")]
    struct ByReference;
    #[doc = include_str!("../../docs/calls.md")]
    struct Calls;
    #[doc = include_str!("../../docs/deploying.md")]
    struct Deploying;
    #[doc = include_str!("../../docs/errors.md")]
    struct Errors;
    #[doc = include_str!("../../docs/handles.md")]
    struct Handles;
    #[doc = include_str!("../../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../../docs/observing.md")]
    struct Observing;
    #[doc = include_str!("../../docs/security.md")]
    struct Security;
    #[doc = include_str!("../../docs/deltas.md")]
    struct Deltas;
    #[doc = include_str!("../../docs/shared-values.md")]
    struct SharedValues;
    #[doc = include_str!("../../docs/streams.md")]
    struct Streams;
}
