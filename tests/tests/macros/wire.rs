//! `#[derive(Wire)]`.
