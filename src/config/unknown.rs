//! Variables that look like settings and are none: somebody mistyped one, and would wait in vain for its effect.

use clap::CommandFactory;

use super::commands::Cli;

/// What all settings begin with.
const PREFIX: &str = "STOWAGE_";
/// What stands behind it in variables that are read by tests, made by `deploy/cluster`, or too secret to be a flag.
const OWN: [&str; 4] = ["FAULT", "FAULT_TRACE", "URL", "REMOTE_TOKEN"];
/// What container engines make begins so, for a service of the name `stowage`; and what the tests are told.
const OTHERS: [&str; 3] = ["SERVICE_", "PORT", "TEST_"];
/// Most letters that may differ.
const NEAR: usize = 3;

/// A variable that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its name.
    pub name: String,
    /// The setting that was probably meant.
    pub meant: Option<String>,
}

/// The variables among these that look like settings and are none.
#[must_use]
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<Unknown> {
    let program = Cli::command();
    let known: Vec<&str> = program
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let strange = |name: &String| {
        let rest = name.strip_prefix(PREFIX);
        rest.is_some_and(|rest| {
            !known.contains(&name.as_str())
                && !OWN.contains(&rest)
                && !OTHERS.iter().any(|others| rest.starts_with(others))
        })
    };
    let mut unknown: Vec<Unknown> = names
        .into_iter()
        .filter(strange)
        .map(|name| Unknown {
            meant: nearest(&name, &known),
            name,
        })
        .collect();
    unknown.sort_by(|a, b| a.name.cmp(&b.name));
    unknown
}

fn nearest(name: &str, known: &[&str]) -> Option<String> {
    let plain = |name: &str| -> Vec<u8> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let letters = name.bytes().filter(|b| *b != b'_');
        letters.take(64).map(|b| b.to_ascii_uppercase()).collect()
    };
    let name = plain(name);
    let near = known
        .iter()
        .map(|known| (distance(&name, &plain(known)), *known))
        .min()?;
    // Of a short name three letters are nearly all.
    (near.0 <= NEAR.min(name.len() / 3)).then(|| near.1.to_owned())
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, above) in other.iter().zip(row.iter().skip(1)) {
            let changed = before + usize::from(a != b);
            left = changed.min(left + 1).min(above + 1);
            next.push(left);
            before = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_setting_is_found_and_the_right_one_named() {
        let names = [
            "DATADIR",
            "JWT_AUDIENCES",
            "COLOUR_OF_THE_MOON",
            "DATA_DIR",
            "PORT_8080_TCP",
            "SERVICE_HOST",
            "FAULT",
        ];
        let mut names = names.map(|name| format!("{PREFIX}{name}")).to_vec();
        names.push("PATH".to_owned());
        let found = unknown_variables(names);
        let plain = |name: &str| name.trim_start_matches(PREFIX).to_owned();
        let found: Vec<(String, Option<String>)> = found
            .iter()
            .map(|unknown| (plain(&unknown.name), unknown.meant.as_deref().map(plain)))
            .collect();
        let expected = [
            ("COLOUR_OF_THE_MOON", None),
            ("DATADIR", Some("DATA_DIR")),
            ("JWT_AUDIENCES", Some("JWT_AUDIENCE")),
        ];
        let expected = expected.map(|(name, meant)| (name.to_owned(), meant.map(str::to_owned)));
        assert_eq!(found, expected);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("DATADIR", "DATADIR", 0),
        ] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), expected);
        }
    }
}
