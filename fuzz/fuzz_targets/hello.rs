//! `cargo +nightly fuzz run hello`: the body of that name in `helve_tests::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| helve_tests::fuzz::body("hello", data));
