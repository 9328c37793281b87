//! `docs/conformance.md` and `docs/security.md` tell the truth about their proofs: every test they name exists, every
//! claim names one.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages with such tables.
const PAGES: [&str; 2] = ["docs/conformance.md", "docs/security.md"];

/// A line of one of the pages' tables whose last two columns are `Status` and `Proved by`.
struct Row {
    line: String,
    status: String,
    tests: Vec<String>,
}

#[test]
fn every_test_named_by_the_conformance_page_exists() {
    let rows = rows();
    assert!(rows.len() > 20, "the page's tables were not found");
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
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let text = fs::read_to_string(page).expect("docs/reliability.md can be read");
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
        .map(|row| row.line)
        .collect();
    assert!(
        wrong.is_empty(),
        "rows that claim without a test, prove without a claim, or have another status than yes, partly, planned, no:\n{}",
        wrong.join("\n")
    );
}

fn rows() -> Vec<Row> {
    PAGES.iter().flat_map(|page| rows_of(page)).collect()
}

fn rows_of(page: &str) -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(page).expect("the page can be read");
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        if cells.ends_with(&["Status", "Proved by"]) {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if let (true, [_, .., status, proof]) = (in_table, cells.as_slice())
            && !status.starts_with("---")
        {
            rows.push(Row {
                line: line.to_owned(),
                status: (*status).to_owned(),
                tests: proof
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect(),
            });
        }
    }
    rows
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
