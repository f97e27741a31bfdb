//! What tests of the whole share: the harness that every session of a test goes through, an object with a method of
//! each kind, a client that breaks rules, and the bodies that fuzzing feeds. Used by the tests beside it and by their second processes, by nobody else.
#![forbid(unsafe_code)]

pub mod certs;
pub mod fuzz;
pub mod harness;
pub mod hostile;
pub mod lab;
pub mod raw;
pub mod seeded;
