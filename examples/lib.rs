//! The programs stand beside this file, one an `[[example]]`: `cargo run --example counter`.
#![forbid(unsafe_code)]
