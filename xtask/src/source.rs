//! Finds Rust files and splits each into code and comments, so that a check never trips over a word in a string.
//! Used by `rules` and `layout`. This is no parser: it knows comments, literals and braces, nothing else.

use std::fs;
use std::path::Path;

/// One Rust file, split. Both texts have the lines and columns of the original: what belongs to the other is blank.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path below the root of the workspace, with forward slashes.
    pub(crate) path: String,
    /// Code, with comments and the insides of string and character literals blanked.
    pub(crate) code: String,
    /// Comments alone, documentation comments too.
    pub(crate) comments: String,
    /// For each line, whether it belongs to a test.
    in_test: Vec<bool>,
}

impl Source {
    /// Splits `text`. A file below a folder named `tests`, or named `tests.rs`, is a test from its first line to its last.
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let whole = path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs"))
            || code.contains("#![cfg(test)]");
        let in_test = if whole {
            vec![true; text.lines().count()]
        } else {
            test_lines(&code)
        };
        Source {
            path: path.to_owned(),
            code,
            comments,
            in_test,
        }
    }

    /// Whether the line, counted from 1, is part of a test.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.in_test.get(line - 1).copied().unwrap_or(false)
    }

    /// Lines of code with their numbers, from 1.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// How many lines the file has.
    pub(crate) fn len(&self) -> usize {
        self.code.lines().count()
    }

    /// Whether a comment with `marker` stands on this line, in the comment right above it, or in the file's own header.
    pub(crate) fn marked(&self, line: usize, marker: &str) -> bool {
        let says = |text: &str| {
            let reason = text
                .trim()
                .trim_start_matches(['/', '!', ' '])
                .strip_prefix(marker);
            reason.is_some_and(|reason| !reason.trim().is_empty())
        };
        let comments: Vec<&str> = self.comments.lines().collect();
        let code: Vec<&str> = self.code.lines().collect();
        let bare_comment =
            |at: usize| code[at].trim().is_empty() && !comments[at].trim().is_empty();
        let above = (0..line - 1).rev().take_while(|at| bare_comment(*at));
        let header = (0..code.len())
            .take_while(|at| bare_comment(*at) && comments[*at].trim().starts_with("//!"));
        above
            .chain(header)
            .chain([line - 1])
            .any(|at| says(comments[at]))
    }
}

/// Reads every Rust file below `root` that is part of the project, in order of path.
pub(crate) fn all(root: &Path) -> Vec<Source> {
    files(root, "", ".rs")
        .iter()
        .map(|(path, text)| Source::new(path, text))
        .collect()
}

/// Reads the files below the folder `root/below` whose names end in `end`; each with its path below `root`.
pub(crate) fn files(root: &Path, below: &str, end: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(root, below, &mut |path| {
        if path.ends_with(end) {
            match fs::read_to_string(root.join(path)) {
                Ok(text) => found.push((path.to_owned(), text)),
                Err(error) => eprintln!("xtask: cannot read {path}: {error}"),
            }
        }
    });
    found
}

/// Calls `visit` with the path of every file below `root/below`, leaving out hidden folders and what builds leave behind.
fn walk(root: &Path, below: &str, visit: &mut dyn FnMut(&str)) {
    let Ok(entries) = fs::read_dir(root.join(below)) else {
        return;
    };
    let mut names: Vec<(String, bool)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            Some((
                entry.file_name().into_string().ok()?,
                entry.file_type().ok()?.is_dir(),
            ))
        })
        .collect();
    names.sort();
    for (name, is_dir) in names {
        if name.starts_with('.') || (is_dir && matches!(name.as_str(), "target" | "node_modules")) {
            continue;
        }
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        if is_dir {
            walk(root, &path, visit)
        } else {
            visit(&path)
        }
    }
}

/// Whether `word` stands in `line` as a path or identifier of its own: no letter, digit or underscore touches it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = |edge: Option<char>, neighbour: Option<char>| {
            !(edge.is_some_and(part_of_name) && neighbour.is_some_and(part_of_name))
        };
        open(word.chars().next(), before) && open(word.chars().next_back(), after)
    })
}

/// Which of the two texts a character belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Splits a file into code and comments of equal shape.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (
        String::with_capacity(text.len()),
        String::with_capacity(text.len()),
    );
    let mut put = |c: char, part: Part| {
        let blank = if c == '\n' { '\n' } else { ' ' };
        code.push(if part == Part::Code { c } else { blank });
        comments.push(if part == Part::Comment { c } else { blank });
    };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let after_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let (len, part) = if rest.starts_with(&['/', '/']) {
            (
                rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
                Part::Comment,
            )
        } else if rest.starts_with(&['/', '*']) {
            (block_comment(rest), Part::Comment)
        } else if let Some(len) = raw_string(rest).filter(|_| !after_name) {
            (len, Part::Literal)
        } else if rest[0] == '"' {
            (quoted(rest, '"'), Part::Literal)
        } else if let Some(len) = character(rest) {
            (len, Part::Literal)
        } else {
            (1, Part::Code)
        };
        for c in &rest[..len] {
            put(*c, part);
        }
        at += len;
    }
    (code, comments)
}

/// Length of the block comment that `rest` starts with. They nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of the literal that `rest` starts with, from one `quote` to the next that is not escaped.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of the raw string (`r"..."`, `br#"..."#`) that `rest` starts with, if it does.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest
        .iter()
        .take_while(|c| matches!(c, 'b' | 'c'))
        .count()
        .min(1);
    if rest.get(prefix) != Some(&'r') {
        return None;
    }
    let hashes = rest[prefix + 1..].iter().take_while(|c| **c == '#').count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    Some(
        (open + 1..rest.len())
            .find(closes)
            .map_or(rest.len(), |at| at + 1 + hashes),
    )
}

/// Length of the character literal that `rest` starts with; nothing for a lifetime.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => Some(quoted(rest, '\'')),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// For each line, whether it lies in an item behind `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count()];
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let end = start + item_length(&code[start..]);
        let line_of = |at: usize| code[..at].matches('\n').count();
        let last = line_of(end).min(lines.len().saturating_sub(1));
        lines[line_of(start)..=last].fill(true);
    }
    lines
}

/// Length of the item that `code` starts with: to its closing brace, or to the semicolon of an item without a body.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return at;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_leave_the_code() {
        let source = Source::new(
            "a/src/x.rs",
            "let a = \"todo!()\"; // R1.2\nlet b = 'x'; /* a /* b */ R1.3 */ f();\n",
        );
        let code: Vec<&str> = source.code.split_whitespace().collect();
        assert_eq!(code, ["let", "a", "=", ";", "let", "b", "=", ";", "f();"]);
        assert!(source.comments.contains("// R1.2") && source.comments.contains("R1.3 */"));
        assert_eq!(source.code.len(), source.comments.len());
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        let (code, _) = split("f(r#\"a \" unwrap() \"#); g(br\"x\"); var\"y\";");
        assert!(!code.contains("unwrap") && code.contains("g("), "{code}");
    }

    #[test]
    fn lifetimes_are_code_and_escaped_quotes_are_not() {
        let (code, _) = split("fn f<'a>(x: &'a str) { g('\\'', \"\\\"\", 'b'); h() }");
        assert!(
            code.contains("<'a>") && code.contains("&'a str") && code.contains("h()"),
            "{code}"
        );
    }

    #[test]
    fn a_test_module_is_known_by_its_braces() {
        let source = Source::new(
            "a/src/x.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n  fn g() {}\n}\nfn h() {}\n",
        );
        let lines: Vec<bool> = (1..=6).map(|line| source.is_test(line)).collect();
        assert_eq!(lines, [false, true, true, true, true, false]);
    }

    #[test]
    fn a_file_below_a_tests_folder_is_all_test() {
        assert!(Source::new("a/tests/x.rs", "fn f() {}").is_test(1));
        assert!(Source::new("a/src/x/tests.rs", "fn f() {}").is_test(1));
        assert!(!Source::new("a/src/tests_of.rs", "fn f() {}").is_test(1));
    }

    #[test]
    fn a_word_is_not_part_of_a_longer_one() {
        assert!(has_word("use helve::x;", "helve::"));
        assert!(!has_word("use my_helve::x;", "helve::"));
        assert!(!has_word("use helve_handles::x;", "helve"));
    }

    #[test]
    fn a_marker_counts_on_its_line_above_it_or_in_the_header_and_needs_a_reason() {
        let marked = |text: &str, line| Source::new("t.rs", text).marked(line, "harness:");
        assert!(marked("f(); // harness: tests the harness", 1));
        assert!(marked("// harness: because\n// of this\nf();", 3));
        assert!(marked(
            "//! Title.\n//! harness: this file is it\n\nfn a() {\n f();\n}",
            5
        ));
        assert!(!marked("// harness: because\ng();\nf();", 3));
        assert!(!marked("f(); // harness:", 1));
    }
}
