//! `docs/configuration.md` lists exactly the settings that the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_setting_is_on_the_configuration_page_and_no_other() {
    let program = program();
    let page = settings("docs/configuration.md");
    assert!(
        program.len() > 10,
        "the settings were not found: {program:?}"
    );
    let undocumented: Vec<&String> = program.difference(&page).collect();
    let invented: Vec<&String> = page.difference(&program).collect();
    assert!(
        undocumented.is_empty() && invented.is_empty(),
        "not on the page: {undocumented:?}; not in the program: {invented:?}"
    );
}

/// Every setting of the program.
pub(crate) fn program() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut names = settings("src/config.rs");
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        names.extend(settings(path.to_str().expect("the path is text")));
    }
    names
}

/// Every name that begins with `STOWAGE_` in a file.
pub(crate) fn settings(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the file can be read");
    text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| {
            word.strip_prefix("STOWAGE_")
                .is_some_and(|name| !name.is_empty())
        })
        .map(str::to_owned)
        .collect()
}
