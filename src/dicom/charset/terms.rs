//! The terms of Specific Character Set (0008,0005): PS3.3 Tables C.12-2 to C.12-5, and how they are misspelled.

use encoding_rs::Encoding;

use super::problem::CharsetProblem;
use super::set::Set;

/// What one term asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CharsetTerm {
    Default,
    Whole(&'static Encoding),
    G0(Set),
    G1(Set),
    /// JIS X 0201: both halves.
    JisX0201,
    /// G0 sets that are never active from the start.
    ByEscape,
}

/// The meaning of one term; none when nobody knows it.
pub(super) fn term(bytes: &[u8]) -> (Option<CharsetTerm>, Option<CharsetProblem>) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (None, Some(CharsetProblem::Unknown));
    };
    let text = text.trim_matches([' ', '\0']);
    // No defined term or label is longer; a bound keeps the clean-up below cheap for hostile values.
    if text.len() > 40 {
        return (None, Some(CharsetProblem::Unknown));
    }
    if text.is_empty() {
        return (Some(CharsetTerm::Default), None);
    }
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let registered = |digits: &str| digits.parse().ok().and_then(by_registration);
    let found = match plain.as_str() {
        "UTF8" | "UNICODE" => Some(CharsetTerm::Whole(encoding_rs::UTF_8)),
        "GB18030" => Some(CharsetTerm::Whole(encoding_rs::GB18030)),
        "GBK" | "ISO2022GBK" | "CP936" => Some(CharsetTerm::Whole(encoding_rs::GBK)),
        "ISO2022JP" | "ISO2022KR" => Some(CharsetTerm::ByEscape),
        "ASCII" | "USASCII" => Some(CharsetTerm::Default),
        other => None
            .or_else(|| other.strip_prefix("ISO2022IR").and_then(registered))
            .or_else(|| other.strip_prefix("ISOIR").and_then(registered))
            .or_else(|| other.strip_prefix("IR").and_then(registered))
            .or_else(|| other.strip_prefix("ISO8859").and_then(by_part))
            .or_else(|| by_label(text)),
    };
    match found {
        None => (None, Some(CharsetProblem::Unknown)),
        Some(term) if is_defined(text) => (Some(term), None),
        Some(term) => (Some(term), Some(CharsetProblem::Spelling)),
    }
}

/// Whether the text is a defined term to the letter.
fn is_defined(text: &str) -> bool {
    const ALONE: &[&str] = &[
        "6", "13", "100", "101", "109", "110", "144", "127", "126", "138", "148", "166", "203",
        "192",
    ];
    const EXTENDED: &[&str] = &[
        "6", "13", "100", "101", "109", "110", "144", "127", "126", "138", "148", "166", "203",
        "87", "159", "149", "58",
    ];
    matches!(text, "GB18030" | "GBK")
        || text
            .strip_prefix("ISO_IR ")
            .is_some_and(|n| ALONE.contains(&n))
        || text
            .strip_prefix("ISO 2022 IR ")
            .is_some_and(|n| EXTENDED.contains(&n))
}

/// By number in the ISO registry of coded character sets.
pub(super) fn by_registration(number: u16) -> Option<CharsetTerm> {
    Some(match number {
        6 => CharsetTerm::Default,
        13 => CharsetTerm::JisX0201,
        14 => CharsetTerm::G0(Set::JisRoman),
        58 => CharsetTerm::G1(Set::Gb2312),
        87 | 159 => CharsetTerm::ByEscape,
        149 => CharsetTerm::G1(Set::KsX1001),
        192 => CharsetTerm::Whole(encoding_rs::UTF_8),
        100 => high(encoding_rs::WINDOWS_1252),
        101 => high(encoding_rs::ISO_8859_2),
        109 => high(encoding_rs::ISO_8859_3),
        110 => high(encoding_rs::ISO_8859_4),
        126 => high(encoding_rs::ISO_8859_7),
        127 => high(encoding_rs::ISO_8859_6),
        138 => high(encoding_rs::ISO_8859_8),
        144 => high(encoding_rs::ISO_8859_5),
        148 => high(encoding_rs::WINDOWS_1254),
        166 => high(encoding_rs::WINDOWS_874),
        203 => high(encoding_rs::ISO_8859_15),
        _ => return None,
    })
}

/// By part of ISO 8859, a frequent way to misspell the defined terms.
fn by_part(part: &str) -> Option<CharsetTerm> {
    let number = match part {
        "1" => 100,
        "2" => 101,
        "3" => 109,
        "4" => 110,
        "5" => 144,
        "6" => 127,
        "7" => 126,
        "8" => 138,
        "9" => 148,
        "11" => 166,
        "15" => 203,
        _ => return None,
    };
    by_registration(number)
}

/// By a label of the Encoding Standard (`windows-1251`, `Shift_JIS`), which some devices write.
fn by_label(text: &str) -> Option<CharsetTerm> {
    let encoding = Encoding::for_label_no_replacement(text.as_bytes())
        .or_else(|| Encoding::for_label_no_replacement(text.replace(['_', ' '], "-").as_bytes()))?;
    // Separators are single ASCII bytes, so an encoding that is no superset of ASCII cannot be meant.
    (encoding.is_ascii_compatible() && encoding != encoding_rs::X_USER_DEFINED)
        .then_some(CharsetTerm::Whole(encoding))
}

fn high(encoding: &'static Encoding) -> CharsetTerm {
    CharsetTerm::G1(Set::High(encoding))
}
