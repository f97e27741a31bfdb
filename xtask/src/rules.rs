//! `cargo xtask rules`: every sentence of docs/protocol.md that says MUST has an id, and a test that cites it in a comment,
//! or a golden vector that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::Problems;
use crate::source::{self, Source};

const BOOK: &str = "docs/protocol.md";

/// Golden vectors: each names the rules it shows, and the tests that read them check that.
const VECTORS: &str = "tests/vectors";

/// A rule of the protocol, as the book states it: `- **R13.4** text`, with ` (later)` at its end while no code has it yet.
#[derive(Debug, PartialEq)]
struct Rule {
    id: String,
    text: String,
    later: bool,
    line: usize,
}

/// Prints which rules no test cites, and totals. Returns what is wrong: with `strict`, an uncited rule is.
pub(crate) fn run(root: &Path, strict: bool) -> Problems {
    let book = match fs::read_to_string(root.join(BOOK)) {
        Ok(book) => book,
        Err(error) => return vec![format!("{BOOK}: {error}")],
    };
    let (rules, mut problems) = read_rules(&book);
    let mut cited = citations(&source::all(root));
    for (path, vectors) in source::files(root, VECTORS, ".json") {
        cite_vectors(&path, &vectors, &mut cited);
    }

    let (later, now): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.later);
    let uncited: Vec<&Rule> = now
        .iter()
        .filter(|rule| !cited.contains_key(&rule.id))
        .copied()
        .collect();
    for rule in &uncited {
        println!("no test cites {}: {}", rule.id, shortened(&rule.text));
    }
    for rule in later.iter().filter(|rule| cited.contains_key(&rule.id)) {
        println!("marked (later), yet a test cites it: {}", rule.id);
    }
    let unknown = unknown(&rules, &cited);
    for (id, place) in &unknown {
        println!("cited but not in {BOOK}: {id} at {place}");
    }
    println!(
        "rules: {} in all, {} marked (later); of the other {}, {} cited and {} not; {} citations of unknown rules",
        rules.len(),
        later.len(),
        now.len(),
        now.len() - uncited.len(),
        uncited.len(),
        unknown.len(),
    );
    if strict {
        problems.extend(
            uncited
                .iter()
                .map(|rule| format!("{BOOK}:{}: no test cites {}", rule.line, rule.id)),
        );
        problems.extend(
            unknown
                .iter()
                .map(|(id, place)| format!("{place}: {id} is not in {BOOK}")),
        );
    }
    problems
}

/// The rules of the book, and what is wrong in how they are written. A rule runs on over indented lines.
fn read_rules(book: &str) -> (Vec<Rule>, Problems) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut problems = Problems::new();
    let mut seen = BTreeSet::new();
    let mut open = false;
    for (line, text) in (1..).zip(book.lines()) {
        if let Some((id, text)) = rule_head(text) {
            if !seen.insert(id.to_owned()) {
                problems.push(format!("{BOOK}:{line}: {id} is given twice"));
            }
            rules.push(Rule {
                id: id.to_owned(),
                text: text.trim().to_owned(),
                later: false,
                line,
            });
            open = true;
        } else if let Some(rule) = rules
            .last_mut()
            .filter(|_| open && text.starts_with(' ') && !text.trim().is_empty())
        {
            rule.text = format!("{} {}", rule.text, text.trim());
        } else {
            open = false;
        }
    }
    for rule in &mut rules {
        if let Some(text) = rule.text.strip_suffix("(later)") {
            (rule.text, rule.later) = (text.trim_end().to_owned(), true);
        }
        if rule.text.is_empty() {
            problems.push(format!("{BOOK}:{}: {} says nothing", rule.line, rule.id));
        }
    }
    if rules.is_empty() {
        problems.push(format!(
            "{BOOK}: no rules found; they are written as `- **R13.4** text`"
        ));
    }
    (rules, problems)
}

/// Takes `- **R13.4** text` apart.
fn rule_head(line: &str) -> Option<(&str, &str)> {
    let (id, text) = line.trim_start().strip_prefix("- **")?.split_once("**")?;
    (ids_in(id) == [id]).then_some((id, text))
}

/// Where each rule is cited first, by id. Only comments of tests count.
fn citations(sources: &[Source]) -> BTreeMap<String, String> {
    let mut cited = BTreeMap::new();
    for source in sources {
        for (line, comment) in (1..)
            .zip(source.comments.lines())
            .filter(|(line, _)| source.is_test(*line))
        {
            for id in ids_in(comment) {
                cited
                    .entry(id.to_owned())
                    .or_insert_with(|| format!("{}:{line}", source.path));
            }
        }
    }
    cited
}

/// Adds the rules that vectors name, in `"rule": "E1.3"` or `"rules": ["E1.3", "S2.1"]`.
fn cite_vectors(path: &str, vectors: &str, cited: &mut BTreeMap<String, String>) {
    for (line, text) in (1..).zip(vectors.lines()) {
        let one = text
            .split("\"rule\":")
            .skip(1)
            .filter_map(|value| value.split('"').nth(1));
        let several = text
            .split("\"rules\":")
            .skip(1)
            .filter_map(|value| value.split(']').next());
        for id in one.chain(several).flat_map(ids_in) {
            cited
                .entry(id.to_owned())
                .or_insert_with(|| format!("{path}:{line}"));
        }
    }
}

/// Citations of rules that the book does not have, of the families (letters) it does have.
fn unknown<'a>(rules: &[Rule], cited: &'a BTreeMap<String, String>) -> Vec<(&'a str, &'a str)> {
    let family = |id: &str| {
        id.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
            .to_owned()
    };
    let families: BTreeSet<String> = rules.iter().map(|rule| family(&rule.id)).collect();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    let strange = |id: &str| families.contains(&family(id)) && !ids.contains(id);
    cited
        .iter()
        .filter(|(id, _)| strange(id))
        .map(|(id, place)| (id.as_str(), place.as_str()))
        .collect()
}

/// The ids in a text: capitals, digits, a dot, digits, standing alone.
fn ids_in(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    text.split(|c: char| !is_word(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_id(word))
        .collect()
}

fn is_id(word: &str) -> bool {
    let after_letters = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let numbers = after_letters.split_once('.');
    after_letters.len() < word.len()
        && numbers.is_some_and(|(rule, sentence)| digits(rule) && digits(sentence))
}

fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_bullet_with_a_bold_id() {
        let (rules, problems) = read_rules(
            "# Handles\n- **R1.1** Tag 0 adds 1.\n- **R1.2** Wraps\n  over lines (later)\n\n- other\n  R1.9\n",
        );
        let rule = |id: &str, text: &str, later, line| Rule {
            id: id.into(),
            text: text.into(),
            later,
            line,
        };
        assert_eq!(
            rules,
            [
                rule("R1.1", "Tag 0 adds 1.", false, 2),
                rule("R1.2", "Wraps over lines", true, 3)
            ]
        );
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn doubled_empty_and_missing_rules_are_errors() {
        assert_eq!(read_rules("- **S1.1** a\n- **S1.1** b\n").1.len(), 1);
        assert_eq!(read_rules("- **S1.1** (later)\n").1.len(), 1);
        assert_eq!(read_rules("nothing\n").1.len(), 1);
    }

    #[test]
    fn ids_stand_alone() {
        assert_eq!(
            ids_in("// R13.4, S5.10: and (E2.1). Ends with R2.2."),
            ["R13.4", "S5.10", "E2.1", "R2.2"]
        );
        assert!(ids_in("R13 1.4 r1.2 R1.2.3 R1.x XR_1.2 R.1").is_empty());
    }

    #[test]
    fn only_comments_of_tests_cite() {
        let sources = [
            Source::new(
                "a/src/x.rs",
                "// R1.1\nfn f() {}\n#[cfg(test)]\nmod tests {\n  // R1.2\n}\n",
            ),
            Source::new("a/tests/y.rs", "/// R1.3 holds.\nfn f() { g(\"R1.4\") }\n"),
        ];
        let cited: Vec<String> = citations(&sources).into_keys().collect();
        assert_eq!(cited, ["R1.2", "R1.3"]);
    }

    #[test]
    fn a_vector_cites_the_rules_it_names() {
        let mut cited = BTreeMap::new();
        let vectors = "{\"name\": \"R9.9\", \"rule\": \"E1.3\"},\n{\"rules\": [\"R1.1\", \"S2.1\"], \"hex\": \"R8.8\"}\n";
        cite_vectors("tests/vectors/x.json", vectors, &mut cited);
        let cited: Vec<&str> = cited.keys().map(String::as_str).collect();
        assert_eq!(cited, ["E1.3", "R1.1", "S2.1"]);
    }

    #[test]
    fn a_citation_of_a_rule_that_is_gone_is_found() {
        let (rules, _) = read_rules("- **R1.1** a\n");
        let cited = citations(&[Source::new("tests/y.rs", "// R1.1 R1.2 UTF8.1\n")]);
        assert_eq!(unknown(&rules, &cited), [("R1.2", "tests/y.rs:1")]);
    }
}
