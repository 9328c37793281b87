//! Pages for people are readable in a terminal and in a diff: no line is wider than a window, so no table has long cells.
//! The map of the code names files and functions that exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns of a line.
const WIDTH: usize = 120;

#[test]
fn no_line_of_a_page_is_wider_than_a_window() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "deploy", "tests", "dcms"] {
        pages.extend(pages_of(&root.join(folder)));
    }
    assert!(pages.len() > 30, "the pages were not found: {pages:?}");
    let mut wide = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page can be read");
        let name = page.strip_prefix(root).expect("it was found there");
        for (number, line) in wide_lines(&text) {
            wide.push(format!("{}:{number}: {line}", name.display()));
        }
    }
    assert!(
        wide.is_empty(),
        "lines of more than {WIDTH} columns; a table with long cells is better a list:\n{}",
        wide.join("\n")
    );
}

#[test]
fn wide_lines_are_found_outside_of_code() {
    let long = "word ".repeat(30);
    let address = format!("- <https://example.org/{}>", "a".repeat(120));
    let page = format!("short\n{long}\n| {long} |\n```text\n{long}\n```\n{address}\n  {long}\n");
    let found: Vec<usize> = wide_lines(&page).map(|(number, _)| number).collect();
    assert_eq!(found, [2, 3, 8]);
}

/// Lines that are too long, with their numbers; not those of code blocks, and not a single word, which cannot be broken.
fn wide_lines(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    page.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        let text = line.trim_start().trim_start_matches("- ");
        let breakable = text.split_whitespace().count() > 1;
        let wide = line.chars().count() > WIDTH;
        (!code && !fence && wide && breakable).then_some((at + 1, line))
    })
}

/// What the map of the code names beside files and code.
const OTHER_WORDS: [&str; 3] = ["Accept", "otel", "/docs"];

/// Words that stand before a name that they define.
const KINDS: [&str; 6] = ["fn", "struct", "enum", "trait", "type", "mod"];

#[test]
fn files_and_functions_of_the_architecture_page_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).expect("the page can be read");
    let mut paths = Vec::new();
    let mut defined = HashSet::new();
    for path in files_of(&root.join("src"), "rs") {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            let name = pair[1].split(|c: char| !c.is_alphanumeric() && c != '_');
            if let (true, Some(name)) = (KINDS.contains(&pair[0]), name.into_iter().next()) {
                defined.insert(name.to_owned());
            }
        }
        paths.push(path);
    }
    let exists = |name: &str| {
        let is_file = |path: &PathBuf| path.ancestors().any(|path| path.ends_with(name));
        let last = name.rsplit("::").next().unwrap_or(name);
        root.join(name).exists() || paths.iter().any(is_file) || defined.contains(last)
    };
    let mut named = 0;
    let mut missing = Vec::new();
    for heading in ["\n## Code map\n", "\n## Five flows\n"] {
        let section = page.split(heading).nth(1).expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        for name in section.split('`').skip(1).step_by(2) {
            let known = OTHER_WORDS.contains(&name) || name.contains(' ');
            if !known && !exists(name) {
                missing.push(name);
            }
            named += 1;
        }
    }
    assert!(named > 100, "the names were not found");
    assert!(
        missing.is_empty(),
        "docs/architecture.md names what does not exist: {missing:?}"
    );
}

fn pages_of(folder: &Path) -> Vec<PathBuf> {
    files_of(folder, "md")
}

fn files_of(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files_of(&path, ending));
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
    found
}
