//! Files that import each other, parents included: a file in a circle cannot be read, tested or moved without the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{sources, without_comments};

#[test]
fn no_file_imports_what_imports_it() {
    let edges = edges();
    assert!(edges.len() > 200, "the files were not found");
    let circles: Vec<String> = circles(&edges)
        .into_iter()
        .map(|circle| {
            let files: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            files.join(" ")
        })
        .collect();
    assert!(
        circles.is_empty(),
        "these files import each other, parents included:\n{}",
        circles.join("\n")
    );
}

#[test]
fn circles_are_found() {
    let module = |text: &str| -> Module { text.split('/').map(str::to_owned).collect() };
    let known: BTreeSet<Module> = ["a", "a/b", "a/c", "d"].map(module).into();
    let of = |code: &str, here: &str| targets(code, &module(here), &known);
    assert_eq!(
        of("use super::{c::X, self}; use crate::d::Y;", "a/b"),
        [module("a"), module("a/c"), module("d")].into()
    );
    assert_eq!(of("mod b; fn f() { b::g() }", "a"), [module("a/b")].into());
    assert_eq!(of("pub(in crate::a) fn f() {}", "a/b"), BTreeSet::new());
    let edges = BTreeMap::from([
        (module("a"), BTreeSet::from([module("d")])),
        (module("d"), BTreeSet::from([module("a")])),
        (module("a/b"), BTreeSet::from([module("a")])),
    ]);
    assert_eq!(circles(&edges), [[module("a"), module("d")].into()]);
}

/// A file by its module path.
type Module = Vec<String>;

/// The files that each file imports. Tests are left out: they look at what they test.
fn edges() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    let known: BTreeSet<Module> = sources.iter().map(|(_, module)| module.clone()).collect();
    sources
        .into_iter()
        .filter(|(_, module)| !module.iter().any(|name| name.ends_with("tests")))
        .map(|(path, module)| {
            let text = fs::read_to_string(path).expect("a source file can be read");
            let code = without_comments(&text);
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
            let targets = targets(code, &module, &known);
            (module, targets)
        })
        .collect()
}

/// The files that the paths in a file's code lead to.
fn targets(code: &str, here: &Module, known: &BTreeSet<Module>) -> BTreeSet<Module> {
    let children = known
        .iter()
        .filter(|module| module.len() == here.len() + 1 && module.starts_with(here))
        .filter_map(|module| module.last().cloned());
    let heads: Vec<String> = ["crate", "super", "self"]
        .map(str::to_owned)
        .into_iter()
        .chain(children)
        .collect();
    let mut found = BTreeSet::new();
    for head in &heads {
        for (start, _) in code.match_indices(&format!("{head}::")) {
            let before = code[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:.$".contains(c))
                || code[..start].ends_with("(in ")
            {
                continue;
            }
            for path in tree(&code[start..]).0 {
                if let Some(target) = resolve(&path, here, known).filter(|target| target != here) {
                    found.insert(target);
                }
            }
        }
    }
    found
}

/// The file a path leads to: that of the deepest module on it.
fn resolve(path: &[String], here: &Module, known: &BTreeSet<Module>) -> Option<Module> {
    let mut at = match path.first().map(String::as_str) {
        Some("crate") => Module::new(),
        _ => here.clone(),
    };
    for name in path {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            _ => {
                at.push(name.clone());
                if !known.contains(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    known.contains(&at).then_some(at)
}

/// The paths of a tree such as `a::{b, c::d}`, and its length.
fn tree(text: &str) -> (Vec<Vec<String>>, usize) {
    let mut path = Vec::new();
    let mut at = 0;
    loop {
        let name: String = text[at..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        at += name.len();
        if name.is_empty() {
            break;
        }
        path.push(name);
        let Some(behind) = text[at..].strip_prefix("::") else {
            break;
        };
        at += 2;
        if !behind.starts_with('{') {
            continue;
        }
        at += 1;
        let mut paths = Vec::new();
        while at < text.len() && !text[at..].starts_with('}') {
            let (below, length) = tree(&text[at..]);
            paths.extend(
                below
                    .into_iter()
                    .map(|below| [path.clone(), below].concat()),
            );
            at += length;
            if length == 0 || text[at..].starts_with([',', ' ', '\n']) {
                at += text[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
        return (paths, at + 1);
    }
    (
        if path.is_empty() {
            Vec::new()
        } else {
            vec![path]
        },
        at,
    )
}

/// The groups of files each of which leads to all others of its group.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges
        .keys()
        .map(|start| {
            let mut seen = BTreeSet::new();
            let mut open = vec![start];
            while let Some(module) = open.pop() {
                for next in edges.get(module).into_iter().flatten() {
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            (start, seen)
        })
        .collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (start, seen) in &reach {
        if seen.contains(*start) && !found.iter().any(|circle| circle.contains(*start)) {
            let back =
                |other: &&&Module| reach.get(**other).is_some_and(|seen| seen.contains(*start));
            found.push(
                seen.iter()
                    .filter(back)
                    .map(|module| (*module).clone())
                    .collect(),
            );
        }
    }
    found
}
