//! `docs/configuration.md` lists exactly the settings that the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use stowage::config::Cli;

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

#[test]
fn flags_and_defaults_on_the_configuration_page_are_those_of_the_program() {
    // Each item in one line.
    let page = page().replace("\n  ", " ");
    let mut compared = 0;
    for argument in Cli::command().get_arguments() {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        let flag = argument.get_long().expect("every setting is a flag");
        let expected = format!("STOWAGE_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(variable, expected, "--{flag}");
        let reported = page.lines().find_map(|line| {
            line.strip_prefix(&format!("- **`{variable}`** (default: "))?
                .split_once("): ")
        });
        let (reported, _) = reported.unwrap_or_else(|| panic!("{variable} has no item"));
        match default(argument) {
            Some(default) => assert_eq!(plain(reported), default, "the default of {variable}"),
            // What is said in words is worked out when the server starts.
            None => assert!(
                !is_code(reported),
                "{variable} has no default, the page says {reported}"
            ),
        }
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn every_command_and_each_of_its_options_is_on_the_configuration_page() {
    let page = page();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(page.contains(&format!("`stowage {name}")), "{name}");
        for option in own_options(command) {
            // Young blobs and the parts of a token are matters of --help.
            let left_out = ["young-seconds", "subject", "roles", "from", "to"].contains(&option);
            assert!(
                left_out || page.contains(&format!("--{option}")),
                "{name} --{option}"
            );
        }
    }
}

fn own_options(command: &Command) -> impl Iterator<Item = &str> {
    let own = command
        .get_arguments()
        .filter(|argument| argument.get_env().is_none());
    own.filter_map(Arg::get_long)
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    fs::read_to_string(page).expect("the page can be read")
}

fn default(argument: &Arg) -> Option<String> {
    let first = argument.get_default_values().first()?;
    Some(first.to_str().expect("a text").to_owned())
}

fn is_code(reported: &str) -> bool {
    reported.starts_with('`') && reported.ends_with('`')
}

/// A default as the program writes it: without quotes, sizes in bytes.
fn plain(reported: &str) -> String {
    let size = reported.split_once(' ').and_then(|(number, unit)| {
        let shift = match unit {
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        Some((number.parse::<u64>().ok()? << shift).to_string())
    });
    size.unwrap_or_else(|| reported.trim_matches('`').to_owned())
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
