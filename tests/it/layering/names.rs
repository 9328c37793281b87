//! One word, one meaning: no type has the name of another one, and words that the glossary replaced do not come back.

use std::collections::BTreeMap;
use std::fs;

use super::{sources, without_comments};

/// Names that each module may have for itself.
const EVERYWHERE: [&str; 4] = ["Error", "Result", "Config", "Request"];

/// Files that stand in for others when a feature is off, under the same names.
const STAND_INS: [&str; 1] = ["trace/off"];

/// Words of `docs/glossary.md`'s past, as they would stand in a name.
const FORBIDDEN: [(&str, &str); 19] = [
    ("walk", "parse"),
    ("walker", "parser"),
    ("walked", "parsed"),
    ("wish", "accept item, preference"),
    ("wishes", "accept items, preferences"),
    ("wished", "preferred"),
    ("told", "reported"),
    ("coming", "expected"),
    ("lying", "places"),
    ("shelf", "buffer"),
    ("slug", "problem type"),
    ("guest", "connection"),
    ("guests", "connections"),
    ("visitor", "connection info"),
    ("greeter", "handshaker"),
    ("patience", "time limit"),
    ("judgement", "validation"),
    ("twin", "normalized"),
    ("stowed", "outcome"),
];

#[test]
fn no_type_has_the_name_of_another() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, module) in sources() {
        let file = module.join("/");
        if STAND_INS.contains(&file.as_str()) {
            continue;
        }
        let code = without_comments(&fs::read_to_string(path).expect("a source file can be read"));
        for (kind, name) in definitions(&code) {
            if kind != "fn" && !EVERYWHERE.contains(&name.as_str()) {
                places.entry(name).or_default().push(file.clone());
            }
        }
    }
    assert!(places.len() > 500, "the types were not found");
    let twice: Vec<String> = places
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(
        twice.is_empty(),
        "types share a name; each needs one that says what it is:\n{}",
        twice.join("\n")
    );
}

#[test]
fn words_that_were_replaced_stand_in_no_name() {
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        let file = module.join("/");
        let code = without_comments(&fs::read_to_string(path).expect("a source file can be read"));
        let names = definitions(&code).into_iter().map(|(_, name)| name);
        for name in names.chain(module) {
            let words = words(&name);
            for (word, instead) in FORBIDDEN {
                if words.iter().any(|other| other == word) {
                    wrong.push(format!("{file}: {name} ({word}: {instead})"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/glossary.md has other words:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn definitions_and_words_are_found() {
    let code = "pub struct A { }\nx = A\n    .union(B::C);\nimpl X for A {\n    type Y = u8;\n}\n#[test]\nfn c_is_told() {}\nfn d() {}\npub(super) type E<T> = T;";
    let found: Vec<(String, String)> = definitions(code);
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["A", "d", "E"]);
    assert_eq!(words("WalkError"), ["walk", "error"]);
    assert_eq!(words("try_walk"), ["try", "walk"]);
    assert_eq!(words("MOST"), ["most"]);
}

/// Types and functions that code defines: keyword and name. Names of tests are sentences, and are left out; so are types
/// of an `impl`.
fn definitions(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut test = false;
    for line in code.lines() {
        let indented = line.starts_with(' ');
        let line = line.trim_start();
        if line.starts_with("#[") {
            test |= line.contains("test");
            continue;
        }
        if !line.starts_with(char::is_alphabetic) {
            continue;
        }
        let mut words = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .skip_while(|word| {
                [
                    "pub", "super", "crate", "in", "const", "async", "unsafe", "",
                ]
                .contains(word)
                    || line.starts_with("pub(in")
                        && word.chars().all(char::is_lowercase)
                        && !["struct", "enum", "trait", "union", "type", "fn"].contains(word)
            });
        if let (Some(kind), Some(name)) = (words.next(), words.next()) {
            let is_type =
                ["struct", "enum", "trait", "union"].contains(&kind) || kind == "type" && !indented;
            let begins = name.starts_with(|c: char| c.is_alphabetic());
            if begins && (is_type && name.starts_with(char::is_uppercase) || kind == "fn" && !test)
            {
                found.push((kind.to_owned(), name.to_owned()));
            }
        }
        test = false;
    }
    found
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}
