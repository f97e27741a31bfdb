//! What a mistake is answered with: one file a row of the table in the API's design. Regenerate with
//! `TRYBUILD=overwrite cargo test -p helve-tests --test compile_fail`, then read every `.stderr` as its reader would.

/// The release whose wording the files in `ui/rustc` hold.
const RUSTC: &str = "rustc 1.95.";

// E5.3 (`method_id_collision.rs`), E6.7 and E6.8 (`derive_refused.rs`)
#[test]
fn the_macros_say_what_is_wrong_and_what_to_write() {
    trybuild::TestCases::new().compile_fail("ui/macro/*.rs");
}

/// These are rustc's words, steered by spans and by `on_unimplemented`; another release has other words.
#[test]
fn rustc_points_at_what_the_user_wrote() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(compiler)
        .arg("--version")
        .output()
        .expect("rustc runs")
        .stdout;
    let version = String::from_utf8_lossy(&version);
    if version.starts_with(RUSTC) {
        trybuild::TestCases::new().compile_fail("ui/rustc/*.rs");
    } else {
        eprintln!("not compared: the messages are those of {RUSTC}x, this is {version}");
    }
}
