//! `cargo xtask layout`: the rules of the house that no compiler checks. Each check reads one file and returns errors;
//! the list in [`CHECKS`] is the list of rules, CONTRIBUTING.md says why they are there.

use std::fs;
use std::path::Path;

use crate::Problems;
use crate::source::{self, Source, has_word};

/// A file longer than this holds two ideas.
const LONG: usize = 600;

/// What a check found: the line, and a sentence.
type Findings = Vec<(usize, String)>;

const CHECKS: &[fn(&Source) -> Findings] = &[
    imports_point_one_way,
    peers_bytes_never_panic,
    nothing_is_postponed,
    tests_do_not_sleep,
    sessions_go_through_the_harness,
];

/// Runs every check over every file of the workspace. Long files are only printed: to split one takes judgement.
pub(crate) fn run(root: &Path) -> Problems {
    let sources: Vec<Source> = source::all(root).into_iter().filter(is_ours).collect();
    for source in sources.iter().filter(|source| source.len() > LONG) {
        println!(
            "warning: {} has {} lines; past {LONG} a file holds two ideas",
            source.path,
            source.len()
        );
    }
    let mut problems = Problems::new();
    for source in &sources {
        for check in CHECKS {
            problems.extend(
                check(source)
                    .into_iter()
                    .map(|(line, what)| format!("{}:{line}: {what}", source.path)),
            );
        }
    }
    for room in ["handles", "protocol", "macros", "runtime"] {
        let path = format!("{room}/Cargo.toml");
        match fs::read_to_string(root.join(&path)) {
            Ok(manifest) => {
                let found = dependencies_point_one_way(room, &manifest);
                problems.extend(
                    found
                        .into_iter()
                        .map(|(line, what)| format!("{path}:{line}: {what}")),
                );
            }
            Err(error) => problems.push(format!("{path}: {error}")),
        }
    }
    problems
}

/// bench/ and fuzz/ are workspaces with habits of their own; programs that must not compile (`ui` folders) break rules on purpose.
fn is_ours(source: &Source) -> bool {
    let mut parts = source.path.split('/');
    !matches!(parts.next(), Some("bench" | "fuzz")) && !parts.any(|part| part == "ui")
}

/// The first folder of a path: which room of the house a file is in.
fn room(source: &Source) -> &str {
    source.path.split('/').next().unwrap_or_default()
}

/// Crates that a room must not know, by the names code uses and by the names manifests use.
fn forbidden_to(room: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match room {
        "handles" => (
            &[
                "helve_protocol",
                "helve_macros",
                "helve::",
                "tokio",
                "tokio_tungstenite",
                "futures",
            ],
            &[
                "helve",
                "helve-protocol",
                "helve-macros",
                "tokio",
                "tokio-tungstenite",
                "futures",
            ],
        ),
        "protocol" => (
            &[
                "helve_macros",
                "helve::",
                "tokio",
                "tokio_tungstenite",
                "futures",
            ],
            &[
                "helve",
                "helve-macros",
                "tokio",
                "tokio-tungstenite",
                "futures",
            ],
        ),
        "macros" => (&[], &["helve", "helve-protocol", "helve-handles", "tokio"]),
        _ => (&[], &[]),
    }
}

/// `runtime -> protocol -> handles`, never back; only the runtime knows tokio.
fn imports_point_one_way(source: &Source) -> Findings {
    let (names, _) = forbidden_to(room(source));
    lines_with(
        source,
        names,
        |_| true,
        |name| {
            format!(
                "`{}` is out of reach here: imports point one way, runtime -> protocol -> handles",
                name.trim_end_matches(':')
            )
        },
    )
}

/// The same, where a manifest could bring it in; dependencies of tests count too.
fn dependencies_point_one_way(room: &str, manifest: &str) -> Findings {
    let (_, crates) = forbidden_to(room);
    let mut in_dependencies = false;
    let mut found = Findings::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        let text = text.trim();
        if text.starts_with('[') {
            in_dependencies = text.trim_matches(['[', ']']).ends_with("dependencies");
        } else if in_dependencies {
            let name = text.split(['.', '=', ' ']).next().unwrap_or_default();
            if crates.contains(&name) {
                found.push((line, format!("`{room}` must not depend on `{name}`")));
            }
        }
    }
    found
}

/// What a peer sends ends at worst in an error, so these two crates hold nothing that can be wrong about it. Clippy, which
/// knows types, asks the same in .ci/run; this finds it without a build, and in code that is compiled out.
fn peers_bytes_never_panic(source: &Source) -> Findings {
    let in_src = ["handles/src/", "protocol/src/"]
        .iter()
        .any(|src| source.path.starts_with(src));
    let panics = [
        ".unwrap(",
        ".unwrap_err(",
        ".expect(",
        ".expect_err(",
        "panic!(",
        "unreachable!(",
    ];
    // A method of ours may be called `expect`; the one that panics is given a text, which is blank here.
    let takes_text = |line: usize| {
        let code = source.code.lines().nth(line - 1).unwrap_or_default();
        let mut given = code
            .match_indices(".expect(")
            .map(|(at, name)| &code[at + name.len()..]);
        !code.contains(".expect(")
            || given.any(|given| given.is_empty() || given.starts_with([' ', '&']))
    };
    lines_with(
        source,
        &panics,
        |line| in_src && takes_text(line),
        |panic| format!("`{panic})` can panic on what a peer sent; return an error"),
    )
}

/// Done means done: no test that is skipped, no code that is still to come, no wait for a time that should do.
fn nothing_is_postponed(source: &Source) -> Findings {
    let words = ["thread::sleep", "#[ignore", "todo!(", "unimplemented!("];
    lines_with(
        source,
        &words,
        |_| true,
        |word| format!("`{word}` has no place here"),
    )
}

/// A sleep in a test is right only in paused time, where it takes none.
fn tests_do_not_sleep(source: &Source) -> Findings {
    if has_word(&source.code, "start_paused") || has_word(&source.code, "time::pause(") {
        return Findings::new();
    }
    let in_real_time = |line| source.is_test(line) && !source.marked(line, "sleep:");
    lines_with(source, &["sleep("], in_real_time, |_| {
        "a sleep in real time: pause time, wait for a condition, or say why with a comment `sleep: <why>`".into()
    })
}

/// Whoever opens a session in a test does it through the harness, whose end asserts that both tables are empty.
fn sessions_go_through_the_harness(source: &Source) -> Findings {
    let path = &source.path;
    if path
        .split('/')
        .any(|part| matches!(part, "harness" | "harness.rs" | "support" | "support.rs"))
    {
        return Findings::new();
    }
    let openers = [
        "Session::client(",
        "Session::server(",
        "Session::new(",
        "helve::connect(",
        "Server::builder(",
        "helve::serve(",
    ];
    let round_it = |line| source.is_test(line) && !source.marked(line, "harness:");
    lines_with(source, &openers, round_it, |opener| {
        format!(
            "`{opener})` goes round the harness, which checks that tables end empty; use it, or say why not: `harness: <why>`"
        )
    })
}

/// A finding for each line that holds one of `words` and that `applies`.
fn lines_with(
    source: &Source,
    words: &[&str],
    applies: impl Fn(usize) -> bool,
    says: impl Fn(&str) -> String,
) -> Findings {
    let mut found = Findings::new();
    for (line, code) in source.code_lines() {
        if let Some(word) = words
            .iter()
            .find(|word| has_word(code, word))
            .filter(|_| applies(line))
        {
            found.push((line, says(word)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines at which `check` finds something.
    fn lines(check: fn(&Source) -> Findings, path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text))
            .into_iter()
            .map(|(line, _)| line)
            .collect()
    }

    #[test]
    fn handles_knows_neither_protocol_nor_tokio() {
        let text = "use helve_protocol::Frame;\nuse helve_handles::Id;\n// tokio\nfn f() { tokio::spawn(x) }\n";
        assert_eq!(
            lines(imports_point_one_way, "handles/src/x.rs", text),
            [1, 4]
        );
        assert_eq!(
            lines(imports_point_one_way, "protocol/tests/x.rs", text),
            [4]
        );
        assert!(lines(imports_point_one_way, "runtime/src/x.rs", text).is_empty());
    }

    #[test]
    fn a_manifest_is_held_to_the_same() {
        let manifest = "[package]\nname = \"helve-handles\"\n[dependencies]\nbytes.workspace = true\n[dev-dependencies]\ntokio = \"1\"\n";
        assert_eq!(dependencies_point_one_way("handles", manifest).len(), 1);
        assert!(dependencies_point_one_way("runtime", manifest).is_empty());
    }

    #[test]
    fn unwrap_is_an_error_only_where_a_peers_bytes_go() {
        let text = "fn f() { x.unwrap(); }\n// x.unwrap()\nlet a = x.unwrap_or(1);\nlet b = x.expect(\"y\");\n";
        assert_eq!(
            lines(peers_bytes_never_panic, "protocol/src/x.rs", text),
            [1, 4]
        );
        assert!(lines(peers_bytes_never_panic, "protocol/tests/x.rs", text).is_empty());
        assert!(lines(peers_bytes_never_panic, "runtime/src/x.rs", text).is_empty());
    }

    #[test]
    fn skipped_tests_and_code_to_come_are_errors() {
        let text = "#[ignore = \"slow\"]\nfn f() { todo!() }\nfn g() { std::thread::sleep(d) }\nlet s = \"todo!()\";\n";
        assert_eq!(
            lines(nothing_is_postponed, "runtime/src/x.rs", text),
            [1, 2, 3]
        );
    }

    #[test]
    fn a_sleep_is_for_paused_time() {
        let sleeps = "async fn f() { tokio::time::sleep(d).await }\n";
        assert_eq!(lines(tests_do_not_sleep, "tests/tests/x.rs", sleeps), [1]);
        assert!(lines(tests_do_not_sleep, "runtime/src/x.rs", sleeps).is_empty());
        let paused = format!("#[tokio::test(start_paused = true)]\n{sleeps}");
        assert!(lines(tests_do_not_sleep, "tests/tests/x.rs", &paused).is_empty());
        let excused = format!("// sleep: the process under test needs real time\n{sleeps}");
        assert!(lines(tests_do_not_sleep, "tests/tests/x.rs", &excused).is_empty());
    }

    #[test]
    fn a_session_opened_round_the_harness_needs_a_reason() {
        let text = "fn a() { helve::connect(u) }\n// harness: its own process\nfn b() { Server::builder() }\nfn c() { Harness::new() }\n";
        assert_eq!(
            lines(sessions_go_through_the_harness, "tests/tests/x.rs", text),
            [1]
        );
        assert!(
            lines(
                sessions_go_through_the_harness,
                "tests/src/harness.rs",
                text
            )
            .is_empty()
        );
        assert!(
            lines(
                sessions_go_through_the_harness,
                "protocol/tests/support/mod.rs",
                text
            )
            .is_empty()
        );
        assert!(lines(sessions_go_through_the_harness, "runtime/src/x.rs", text).is_empty());
    }

    #[test]
    fn programs_that_must_not_compile_are_left_alone() {
        assert!(!is_ours(&Source::new("tests/ui/x.rs", "")));
        assert!(is_ours(&Source::new("tests/src/guide.rs", "")));
    }
}
