//! `docs/conformance.md` and `docs/security.md` tell the truth about their proofs: every test they name exists, every
//! claim names one.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages with such rows, and how many each has at least: one that is lost, or cannot be parsed any more, is missed.
const PAGES: [(&str, usize); 2] = [("docs/conformance.md", 255), ("docs/security.md", 86)];

/// An item of one of the pages' lists that has a line `Status: …, proved by …`, or of a list beside such items.
struct Row {
    text: String,
    status: String,
    tests: Vec<String>,
}

#[test]
fn every_test_named_by_the_conformance_page_exists() {
    for (page, least) in PAGES {
        let found = rows_of(&text_of(page)).len();
        assert!(found >= least, "{page} has {found} rows, not {least}");
    }
    let rows = rows();
    let sources = sources();
    let missing: Vec<&str> = rows
        .iter()
        .flat_map(|row| &row.tests)
        .filter(|test| !sources.iter().any(|source| source.has_test(test)))
        .map(String::as_str)
        .collect();
    assert!(
        missing.is_empty(),
        "tests are named that do not exist: {missing:?}"
    );
}

#[test]
fn every_test_named_by_the_reliability_page_exists() {
    let text = text_of("docs/reliability.md");
    let words = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = words
        .filter(|word| word.contains("::") && !word.contains(' '))
        .collect();
    assert!(named.len() > 20, "the page's table was not found");
    let sources = sources();
    let missing: Vec<&&str> = named
        .iter()
        .filter(|test| !sources.iter().any(|source| source.has_test(test)))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/reliability.md names tests that do not exist: {missing:?}"
    );
}

#[test]
fn every_supported_row_of_the_conformance_page_names_a_test() {
    let wrong: Vec<String> = rows()
        .into_iter()
        .filter(|row| match row.status.as_str() {
            "yes" | "partly" => row.tests.is_empty(),
            "planned" | "no" => !row.tests.is_empty(),
            _ => true,
        })
        .map(|row| row.text)
        .collect();
    assert!(
        wrong.is_empty(),
        "rows that claim without a test, prove without a claim, or have no status of yes, partly, planned, no:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn rows_are_found_and_one_that_lost_its_status_is_seen() {
    let page = "- A note.\n\n- One,\n  in two lines\n  - Resource: `GET /`\n  - Status: yes, proved by `a::b`,\n    `c`\n\
                - Two\n  - Resource: none\n- Three\n  - Status: planned\n";
    let rows: Vec<(String, Vec<String>)> = rows_of(page)
        .into_iter()
        .map(|row| (row.status, row.tests))
        .collect();
    let expected = [
        ("yes", vec!["a::b", "c"]),
        ("", vec![]),
        ("planned", vec![]),
    ];
    let expected = expected.map(|(status, tests)| {
        let tests: Vec<String> = tests.into_iter().map(str::to_owned).collect();
        (status.to_owned(), tests)
    });
    assert_eq!(rows, expected);
}

fn rows() -> Vec<Row> {
    PAGES
        .iter()
        .flat_map(|(page, _)| rows_of(&text_of(page)))
        .collect()
}

fn text_of(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{page}: {e}"))
}

/// The items of the lists of which an item has a status; an item without one has an empty status.
fn rows_of(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for block in page.split("\n\n") {
        let mut items: Vec<Vec<String>> = Vec::new();
        for line in block.lines() {
            let part = line.trim_start();
            match (items.last_mut(), part.strip_prefix("- ")) {
                (_, Some(item)) if !line.starts_with(' ') => items.push(vec![item.to_owned()]),
                (Some(parts), Some(item)) => parts.push(item.to_owned()),
                (Some(parts), None) if line.starts_with(' ') => {
                    if let Some(last) = parts.last_mut() {
                        last.push(' ');
                        last.push_str(part);
                    }
                }
                _ => {}
            }
        }
        let list: Vec<Row> = items.iter().map(|parts| row_of(parts)).collect();
        if list.iter().any(|row| !row.status.is_empty()) {
            rows.extend(list);
        }
    }
    rows
}

fn row_of(parts: &[String]) -> Row {
    let status = parts.iter().find_map(|part| part.strip_prefix("Status: "));
    let status = status.unwrap_or_default();
    let (status, proof) = status.split_once(", proved by ").unwrap_or((status, ""));
    let tests = proof.split('`').skip(1).step_by(2).map(str::to_owned);
    Row {
        status: status.to_owned(),
        tests: tests.collect(),
        text: parts.join(" "),
    }
}

/// A Rust file that may hold tests.
struct Source {
    module: Vec<String>,
    lines: Vec<String>,
}

impl Source {
    /// Whether this file holds the test `module::function`, where the module is the end of the file's module path.
    fn has_test(&self, test: &str) -> bool {
        let mut path: Vec<&str> = test.split("::").collect();
        let Some(function) = path.pop() else {
            return false;
        };
        let head = format!("fn {function}(");
        // One that a macro makes tests of, one for each database.
        let listed = self
            .lines
            .iter()
            .skip_while(|line| *line != "on_each_back_end!(");
        let is_listed = listed
            .take_while(|line| *line != ");")
            .any(|line| line.strip_suffix(',') == Some(function));
        self.module.ends_with(
            &path
                .iter()
                .map(|part| (*part).to_owned())
                .collect::<Vec<_>>(),
        ) && self.lines.iter().enumerate().any(|(at, line)| {
            line.trim_start_matches("async ").starts_with(&head)
                && (is_listed
                    || self.lines[..at]
                        .iter()
                        .rev()
                        .take_while(|above| above.starts_with('#') || above.starts_with("//"))
                        .any(|above| above.contains("test")))
        })
    }
}

/// All files below `src/`, `tests/it/` and `tests/cost/`; `src/dicom/parse/tests.rs` counts as `dicom::walk`,
/// `tests/it/stow.rs` as `stow`, `tests/cost/main.rs` as `cost`.
fn sources() -> Vec<Source> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        ("src", "src"),
        ("tests/it", "tests/it"),
        ("tests", "tests/cost"),
    ]
    .iter()
    .flat_map(|(root, folder)| {
        files(&repository.join(folder))
            .into_iter()
            .map(move |file| (root, file))
    })
    .map(|(root, file)| {
        let relative = file
            .strip_prefix(repository.join(root))
            .expect("it was found there")
            .with_extension("");
        let mut module: Vec<String> = relative
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module.len() > 1
            && module
                .last()
                .is_some_and(|last| ["mod", "main", "tests"].contains(&last.as_str()))
        {
            module.pop();
        }
        let text = fs::read_to_string(&file).expect("a source file can be read");
        Source {
            module,
            lines: text.lines().map(|line| line.trim().to_owned()).collect(),
        }
    })
    .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
