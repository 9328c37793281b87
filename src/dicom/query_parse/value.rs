//! One value of a search to the way it matches, by VR.
//!
//! | VR | one value | wildcards `*` `?` | several values | range `a-b` `a-` `-b` |
//! | --- | --- | --- | --- | --- |
//! | PN | any component group equals, case, accents and width apart; every group given must be found | yes, likewise | `\` | – |
//! | PN, `fuzzymatching=true` | words start with the given ones, adjacent, in order, in one group | taken literally as wildcards | literal | – |
//! | AE SH LO UC | equals | yes | `\` | – |
//! | CS | equals | yes | `\` or `,` | – |
//! | LT ST UT | equals, the whole text | yes | – | – |
//! | UR | equals | – | – | – |
//! | UI | equals | yes | `\` or `,` | – |
//! | DA | same day | – | `\` or `,` | yes |
//! | TM DT | falls into the given precision: `10` is the hour | – | `\` or `,`, first moments | yes, ends widened |
//! | IS DS US SS UL SL UV SV FL FD | same number | – | `\` or `,` | – |
//! | AS | equals | – | `\` or `,` | – |
//! | AT | same tag | – | `\` | – |
//! | SQ | only empty: universal; match its attributes by a dotted path | – | – | – |
//! | UN, private | equals, as text | yes | `\` | – |
//! | O* | only empty: universal | – | – | – |
//!
//! For every VR no value, or nothing but `*`, is universal matching, and `""` matches exactly no value unless
//! `emptyvaluematching=false`. Several values are alternatives unless `multiplevaluematching=false`; a list of UIDs is always
//! a list. Spaces around a value and NULs behind it do not count.

use dicom_core::VR;

use super::super::temporal::{self, TemporalError};
use super::super::uid::check_uid;
use super::super::{normalize, tag, wildcard};
use super::limits::{MAX_LIST, MAX_PATTERN, MAX_VALUE};
use super::problem::Reason;
use crate::dicom::query::{Matching, QueryDialect};

/// The switches of a search; none where the client did not say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Switches {
    /// `fuzzymatching`
    pub(super) fuzzy: Option<bool>,
    /// `emptyvaluematching`
    pub(super) empty: Option<bool>,
    /// `multiplevaluematching`
    pub(super) multiple: Option<bool>,
}

/// How a value is to match.
pub(super) fn matching(
    vr: VR,
    value: &str,
    switches: Switches,
    dialect: QueryDialect,
) -> Result<Matching, Reason> {
    let value = value.trim_end_matches(['\0', ' ']).trim_start_matches(' ');
    let lines = matches!(vr, VR::LT | VR::ST | VR::UT);
    if value.contains(|c: char| c.is_control() && !(lines && matches!(c, '\r' | '\n' | '\t'))) {
        return Err(Reason::Control);
    }
    if value.is_empty() || wildcard::is_anything(value) {
        return Ok(Matching::Universal);
    }
    if value == "\"\"" && switches.empty != Some(false) {
        return Ok(Matching::Empty);
    }
    let parts = match separators(vr, switches.multiple) {
        [] => vec![value],
        separators => split(value, separators)?,
    };
    match parts.as_slice() {
        [] => Ok(Matching::Universal),
        parts if parts.iter().any(|part| wildcard::is_anything(part)) => Ok(Matching::Universal),
        parts if parts.iter().any(|part| part.len() > MAX_VALUE) => Err(Reason::TooLong),
        [part] => one(vr, part, switches, dialect),
        parts => several(vr, parts),
    }
}

/// A range whose ends may stand in any order.
pub(super) fn unordered(vr: VR, value: &str) -> Result<Matching, Reason> {
    let bounds = temporal::ends(vr, value)
        .map_err(Reason::Temporal)?
        .ok_or(Reason::RangeInList)?;
    Ok(Matching::Range {
        from: bounds.from,
        to: bounds.to,
    })
}

/// What separates values of the VR.
fn separators(vr: VR, multiple: Option<bool>) -> &'static [char] {
    const BOTH: &[char] = &['\\', ','];
    match vr {
        VR::UI => BOTH,
        _ if multiple == Some(false) => &[],
        VR::LT | VR::ST | VR::UT | VR::UR => &[],
        VR::PN | VR::AE | VR::SH | VR::LO | VR::UC | VR::UN | VR::AT => &['\\'],
        _ => BOTH,
    }
}

/// The values, without blanks around them, empty ones and repetitions.
fn split<'a>(value: &'a str, separators: &[char]) -> Result<Vec<&'a str>, Reason> {
    let mut seen = std::collections::HashSet::new();
    let mut parts = Vec::new();
    for part in value
        .split(separators)
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if parts.len() == MAX_LIST {
            return Err(Reason::TooManyValues);
        }
        if seen.insert(part) {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn one(vr: VR, value: &str, switches: Switches, dialect: QueryDialect) -> Result<Matching, Reason> {
    match vr {
        VR::PN if switches.fuzzy == Some(true) && !wildcard::is_pattern(value) => {
            words(value, dialect)
        }
        VR::DA => match bounds(vr, value)? {
            Some(range) => Ok(range),
            None => plain(vr, value).map(Matching::Single),
        },
        VR::TM | VR::DT => match bounds(vr, value)? {
            Some(range) => Ok(range),
            None => {
                let span = temporal::value(vr, value).map_err(Reason::Temporal)?;
                Ok(Matching::Range {
                    from: Some(span.first),
                    to: Some(span.last),
                })
            }
        },
        VR::IS | VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::DS | VR::FL | VR::FD => {
            plain(vr, value)?
                .parse()
                .map(Matching::Number)
                .map_err(|_| Reason::Number)
        }
        _ => {
            let text = plain(vr, value)?;
            Ok(if has_wildcards(vr, &text) {
                Matching::Wildcard(text)
            } else {
                Matching::Single(text)
            })
        }
    }
}

fn several(vr: VR, parts: &[&str]) -> Result<Matching, Reason> {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        let temporal = matches!(vr, VR::DA | VR::TM | VR::DT);
        if temporal && matches!(temporal::range(vr, part), Ok(Some(_))) {
            return Err(Reason::RangeInList);
        }
        values.push(plain(vr, part)?);
    }
    let patterns = values.iter().any(|value| has_wildcards(vr, value));
    Ok(if patterns {
        Matching::AnyWildcard(values)
    } else {
        Matching::AnyOf(values)
    })
}

fn bounds(vr: VR, value: &str) -> Result<Option<Matching>, Reason> {
    let bounds = temporal::range(vr, value).map_err(Reason::Temporal)?;
    Ok(bounds.map(|bounds| Matching::Range {
        from: bounds.from,
        to: bounds.to,
    }))
}

/// One value in the form it is compared in.
fn plain(vr: VR, value: &str) -> Result<String, Reason> {
    match vr {
        VR::UI => uid(value),
        VR::DA | VR::TM | VR::DT => {
            let span = temporal::value(vr, value).map_err(Reason::Temporal)?;
            Ok(span.first)
        }
        VR::IS | VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV => {
            // Wide enough for every integer VR, so that nothing is refused that a file may hold.
            value
                .parse::<i128>()
                .map(|number| number.to_string())
                .map_err(|_| Reason::Integer)
        }
        VR::DS | VR::FL | VR::FD => number(value),
        VR::AT => {
            let bare = tag::parse(value).map_err(|_| Reason::Tag)?;
            Ok(tag::hex(bare))
        }
        VR::SQ => Err(Reason::Sequence),
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW => Err(Reason::Binary),
        _ if has_wildcards(vr, value) && value.chars().count() > MAX_PATTERN => {
            Err(Reason::LongPattern)
        }
        _ => Ok(value.to_owned()),
    }
}

fn has_wildcards(vr: VR, value: &str) -> bool {
    let allowed = matches!(
        vr,
        VR::PN
            | VR::AE
            | VR::SH
            | VR::LO
            | VR::UC
            | VR::UN
            | VR::CS
            | VR::LT
            | VR::ST
            | VR::UT
            | VR::UI
    );
    allowed && wildcard::is_pattern(value)
}

fn uid(value: &str) -> Result<String, Reason> {
    if wildcard::is_pattern(value) {
        let fits = value.len() <= MAX_PATTERN
            && value
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'*' | b'?'));
        return if fits {
            Ok(value.to_owned())
        } else {
            Err(Reason::Uid)
        };
    }
    check_uid(value).map(str::to_owned).map_err(|_| Reason::Uid)
}

fn number(value: &str) -> Result<String, Reason> {
    let written = value
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    match value.parse::<f64>() {
        Ok(number) if written && number.is_finite() => Ok(value.to_owned()),
        _ => Err(Reason::Number),
    }
}

fn words(value: &str, dialect: QueryDialect) -> Result<Matching, Reason> {
    if dialect == QueryDialect::Service && value.contains('"') {
        return Err(Reason::Quote);
    }
    let words = normalize::words(&normalize::text(&value.replace('"', " ")));
    Ok(if words.is_empty() {
        Matching::Universal
    } else {
        Matching::Words(words)
    })
}

impl From<TemporalError> for Reason {
    fn from(problem: TemporalError) -> Self {
        Self::Temporal(problem)
    }
}

pub(super) fn set_once<T: PartialEq + Copy>(slot: &mut Option<T>, value: T) -> Result<(), Reason> {
    match slot.replace(value) {
        Some(before) if before != value => Err(Reason::Twice),
        _ => Ok(()),
    }
}

pub(super) fn set_switch(slot: &mut Option<bool>, value: Option<bool>) -> Result<(), Reason> {
    match (*slot, value) {
        (Some(before), Some(now)) if before != now => Err(Reason::Twice),
        (_, Some(_)) => {
            *slot = value;
            Ok(())
        }
        (_, None) => Ok(()),
    }
}
