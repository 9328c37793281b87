//! What of an instance stays although the Basic Profile would take it away (PS3.15 §E.3).

use std::fmt;
use std::str::FromStr;

/// What becomes of dates and times (PS3.15 §E.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RetainedDates {
    /// They go, or become one that means nothing.
    #[default]
    Removed,
    /// They stay.
    Full,
    /// Those of a patient are moved by the same secret number of days.
    Modified,
}

/// The options of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DeidentifyOptions {
    /// Dates and times: §E.3.6.
    pub dates: RetainedDates,
    /// UIDs stay: §E.3.9.
    pub uids: bool,
    /// Sex, age, size, weight and their like stay: §E.3.7.
    pub patient_characteristics: bool,
    /// What names the device stays: §E.3.8.
    pub device: bool,
    /// What names the institution stays: §E.3.11.
    pub institution: bool,
}

/// The text names no options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeidentifyOptionsError {
    /// A word that is none.
    #[error(
        "an option of de-identification is not known: known are basic, retain-uids, retain-full-dates, retain-modified-dates, retain-patient-characteristics, retain-device and retain-institution, separated by commas"
    )]
    Unknown,
    /// Dates cannot both stay and move.
    #[error(
        "retain-full-dates and retain-modified-dates exclude each other: dates either stay or are moved"
    )]
    TwoKindsOfDates,
}

/// An option by its name in requests and commands.
type NamedOption = (
    &'static str,
    fn(&DeidentifyOptions) -> bool,
    fn(&mut DeidentifyOptions),
);

const NAMED: [NamedOption; 6] = [
    ("retain-uids", |o| o.uids, |o| o.uids = true),
    (
        "retain-full-dates",
        |o| o.dates == RetainedDates::Full,
        |o| o.dates = RetainedDates::Full,
    ),
    (
        "retain-modified-dates",
        |o| o.dates == RetainedDates::Modified,
        |o| o.dates = RetainedDates::Modified,
    ),
    (
        "retain-patient-characteristics",
        |o| o.patient_characteristics,
        |o| o.patient_characteristics = true,
    ),
    ("retain-device", |o| o.device, |o| o.device = true),
    (
        "retain-institution",
        |o| o.institution,
        |o| o.institution = true,
    ),
];

impl FromStr for DeidentifyOptions {
    type Err = DeidentifyOptionsError;

    /// Names separated by commas; `basic` and nothing at all mean the profile without options.
    fn from_str(text: &str) -> Result<Self, DeidentifyOptionsError> {
        let mut options = Self::default();
        let words = text.split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty() && *word != "basic") {
            let named = NAMED.iter().find(|(name, ..)| *name == word);
            let (_, _, set) = named.ok_or(DeidentifyOptionsError::Unknown)?;
            let before = options.dates;
            set(&mut options);
            if before != RetainedDates::Removed && options.dates != before {
                return Err(DeidentifyOptionsError::TwoKindsOfDates);
            }
        }
        Ok(options)
    }
}

impl fmt::Display for DeidentifyOptions {
    /// As it is read, `basic` first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("basic")?;
        for (name, has, _) in NAMED {
            if has(self) {
                write!(f, ",{name}")?;
            }
        }
        Ok(())
    }
}

/// The options that requests over the network may name; none unless they are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestableOptions(Vec<&'static str>);

impl FromStr for RequestableOptions {
    type Err = DeidentifyOptionsError;

    /// Names separated by commas; here both kinds of dates may be listed, for a request to choose.
    fn from_str(text: &str) -> Result<Self, DeidentifyOptionsError> {
        let words = text.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty() && *word != "basic");
        let known = words.map(|word| {
            let named = NAMED.iter().find(|(name, ..)| *name == word);
            named
                .map(|(name, ..)| *name)
                .ok_or(DeidentifyOptionsError::Unknown)
        });
        known.collect::<Result<_, _>>().map(Self)
    }
}

impl RequestableOptions {
    /// The first of some options that is not listed.
    #[must_use]
    pub fn missing(&self, options: DeidentifyOptions) -> Option<&'static str> {
        let Self(listed) = self;
        let mut missing = NAMED.iter().filter(|(_, has, _)| has(&options));
        let missing = missing.find(|(name, ..)| !listed.contains(name));
        missing.map(|(name, ..)| *name)
    }
}

impl DeidentifyOptions {
    /// The codes of what is done, with their meanings (PS3.16 CID 7050).
    pub(super) fn codes(self) -> Vec<(&'static str, &'static str)> {
        let mut codes = vec![("113100", "Basic Application Confidentiality Profile")];
        match self.dates {
            RetainedDates::Removed => {}
            RetainedDates::Full => codes.push((
                "113106",
                "Retain Longitudinal Temporal Information Full Dates Option",
            )),
            RetainedDates::Modified => codes.push((
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            )),
        }
        let others = [
            (
                self.patient_characteristics,
                "113108",
                "Retain Patient Characteristics Option",
            ),
            (self.device, "113109", "Retain Device Identity Option"),
            (self.uids, "113110", "Retain UIDs Option"),
            (
                self.institution,
                "113112",
                "Retain Institution Identity Option",
            ),
        ];
        let chosen = others.into_iter().filter(|(chosen, ..)| *chosen);
        codes.extend(chosen.map(|(_, code, meaning)| (code, meaning)));
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        let all = "basic,retain-uids,retain-modified-dates,retain-patient-characteristics,retain-device,retain-institution";
        let options: DeidentifyOptions = all.parse().unwrap();
        assert_eq!(options.to_string(), all);
        for basic in ["", "basic", " basic , "] {
            let options: DeidentifyOptions = basic.parse().unwrap();
            assert_eq!(options, DeidentifyOptions::default());
            assert_eq!(options.to_string(), "basic");
        }
        assert_eq!(
            "Basic".parse::<DeidentifyOptions>(),
            Err(DeidentifyOptionsError::Unknown)
        );
        for both in [
            "retain-full-dates,retain-modified-dates",
            "retain-modified-dates,retain-uids,retain-full-dates",
        ] {
            assert_eq!(
                both.parse::<DeidentifyOptions>(),
                Err(DeidentifyOptionsError::TwoKindsOfDates)
            );
        }
    }

    #[test]
    fn requests_may_name_what_is_listed_only() {
        let missing = |listed: &str, options: &str| {
            let listed: RequestableOptions = listed.parse().unwrap();
            listed.missing(options.parse().unwrap())
        };
        assert_eq!(missing("", "basic"), None);
        assert_eq!(missing("basic", "retain-uids"), Some("retain-uids"));
        let dates = "retain-full-dates, retain-modified-dates";
        assert_eq!(missing(dates, "retain-full-dates"), None);
        assert_eq!(missing(dates, "retain-modified-dates"), None);
        assert_eq!(
            missing(dates, "retain-modified-dates,retain-device"),
            Some("retain-device")
        );
        let unknown = "retain-names".parse::<RequestableOptions>();
        assert_eq!(unknown, Err(DeidentifyOptionsError::Unknown));
    }

    #[test]
    fn every_option_has_its_code() {
        let options: DeidentifyOptions = "retain-full-dates,retain-device".parse().unwrap();
        let codes: Vec<&str> = options.codes().iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["113100", "113106", "113109"]);
    }
}
