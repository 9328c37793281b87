//! Variables that look like settings and are none: somebody mistyped one, and would wait in vain for its effect.

use clap::CommandFactory;

use super::Cli;

/// What all settings begin with.
const PREFIX: &str = "STOWAGE_";
/// Read by the program, and no settings: they are for its tests.
const OWN: [&str; 2] = ["STOWAGE_FAULT", "STOWAGE_FAULT_TRACE"];
/// Made by container engines for a service of the name `stowage`, and by `deploy/cluster`.
const OTHERS: [&str; 3] = ["STOWAGE_SERVICE_", "STOWAGE_PORT", "STOWAGE_TEST_"];
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
        name.starts_with(PREFIX)
            && !known.contains(&name.as_str())
            && !OWN.contains(&name.as_str())
            && !OTHERS.iter().any(|others| name.starts_with(others))
            && name != "STOWAGE_URL"
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
            "STOWAGE_DATADIR",
            "STOWAGE_JWT_AUDIENCES",
            "STOWAGE_COLOUR_OF_THE_MOON",
            "STOWAGE_DATA_DIR",
            "STOWAGE_PORT_8080_TCP",
            "STOWAGE_SERVICE_HOST",
            "STOWAGE_FAULT",
            "PATH",
        ];
        let found = unknown_variables(names.map(str::to_owned));
        let found: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|unknown| (unknown.name.as_str(), unknown.meant.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("STOWAGE_COLOUR_OF_THE_MOON", None),
                ("STOWAGE_DATADIR", Some("STOWAGE_DATA_DIR")),
                ("STOWAGE_JWT_AUDIENCES", Some("STOWAGE_JWT_AUDIENCE")),
            ]
        );
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
