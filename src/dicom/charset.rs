//! Text of a data set to Unicode: Specific Character Set (0008,0005) with ISO 2022 code extensions (PS3.5 §6.1.2.5).
//!
//! Invariant: decoding never fails and never panics; what cannot be read becomes U+FFFD. A backslash in the decoded text of
//! a VR with several values is always a separator, never half of a character.

use std::borrow::Cow;

use dicom_core::VR;
use encoding_rs::Encoding;

#[cfg(test)]
mod tests;

const ESC: u8 = 0x1B;
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// How the text of a data set, or of one sequence item, is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No character set, or one nobody knows: what is valid UTF-8 is UTF-8, else windows-1252.
    Guess,
    /// One encoding that allows no code extensions.
    Whole(&'static Encoding),
    /// Code elements G0 and G1 as they stand at the start of each value, line and name component.
    Iso2022(State),
}

/// The two code elements in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Bytes below 0x80.
    g0: Set,
    /// Bytes from 0x80 on.
    g1: Option<Set>,
}

/// One coded character set of PS3.3 Tables C.12-2 to C.12-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// ISO-IR 6.
    Ascii,
    /// ISO-IR 14: ASCII with yen and overline.
    JisRoman,
    /// ISO-IR 13: half-width katakana.
    Katakana,
    /// The upper half of an ISO 8859 part.
    High(&'static Encoding),
    /// ISO-IR 87.
    JisX0208,
    /// ISO-IR 159.
    JisX0212,
    /// ISO-IR 149.
    KsX1001,
    /// ISO-IR 58.
    Gb2312,
}

/// What is wrong with a value of (0008,0005) that could be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CharsetProblem {
    /// Not a defined term, but it is clear what is meant.
    #[error("Specific Character Set holds a term that is not spelled as defined")]
    Spelling,
    /// Nobody knows the term; the text is taken as UTF-8 where it is valid UTF-8, else as Latin-1.
    #[error("Specific Character Set holds an unknown term; text is read as UTF-8 or Latin-1")]
    Unknown,
    /// UTF-8, GB18030 and GBK stand alone (PS3.3 §C.12.1.1.2); what cannot be combined was left out.
    #[error("Specific Character Set combines terms that cannot be combined")]
    Combination,
}

/// What one term asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term {
    Default,
    Whole(&'static Encoding),
    G0(Set),
    G1(Set),
    /// JIS X 0201: both halves.
    JisX0201,
    /// G0 sets that are never active from the start.
    ByEscape,
}

impl Charset {
    /// The default repertoire, as without (0008,0005): ASCII.
    ///
    /// Bytes above 0x7F are illegal there but common; they are read as UTF-8 where valid, else as windows-1252.
    #[must_use]
    pub const fn default_repertoire() -> Self {
        Self(Kind::Guess)
    }

    /// UTF-8 (`ISO_IR 192`).
    #[must_use]
    pub const fn utf8() -> Self {
        Self(Kind::Whole(encoding_rs::UTF_8))
    }

    /// Reads the value of (0008,0005): all defined terms of PS3.3 §C.12.1.1.2, and common misspellings of them.
    ///
    /// The result can always be used; the problem is for a warning.
    #[must_use]
    pub fn from_terms(raw: &[u8]) -> (Self, Option<CharsetProblem>) {
        let mut problem = None;
        let mut first = None;
        let mut later_g1 = None;
        let mut later_whole = None;
        for (index, bytes) in raw.split(|&b| b == b'\\').enumerate() {
            let (term, wrong) = term(bytes);
            problem = problem.or(wrong);
            if index == 0 {
                first = Some(term);
                continue;
            }
            match term {
                Some(Term::G1(set)) if later_g1.is_none() => later_g1 = Some(set),
                Some(Term::JisX0201) if later_g1.is_none() => later_g1 = Some(Set::Katakana),
                Some(Term::Whole(encoding)) => {
                    later_whole = later_whole.or(Some(encoding));
                    problem = problem.or(Some(CharsetProblem::Combination));
                }
                _ => {}
            }
            if matches!(first, Some(Some(Term::Whole(_)))) {
                problem = problem.or(Some(CharsetProblem::Combination));
            }
        }
        let extended = raw.contains(&b'\\');
        let kind = match first.flatten() {
            Some(Term::Whole(encoding)) => Kind::Whole(encoding),
            Some(Term::Default) | None => match (later_whole, later_g1) {
                (Some(encoding), _) => Kind::Whole(encoding),
                (None, Some(set)) => iso2022(Set::Ascii, Some(set)),
                (None, None) if extended && first.flatten().is_some() => iso2022(Set::Ascii, None),
                (None, None) => Kind::Guess,
            },
            Some(Term::ByEscape) => iso2022(Set::Ascii, later_g1),
            Some(Term::G0(set)) => iso2022(set, later_g1),
            Some(Term::G1(set)) => iso2022(Set::Ascii, Some(set)),
            Some(Term::JisX0201) => iso2022(Set::JisRoman, Some(Set::Katakana)),
        };
        (Self(kind), problem)
    }

    /// Decodes a whole value field, separators and padding included.
    ///
    /// Only SH LO ST LT UT UC and PN are in the character set; every other VR is in the default repertoire.
    #[must_use]
    pub fn decode<'a>(&self, vr: VR, bytes: &'a [u8]) -> Cow<'a, str> {
        let kind = if takes_charset(vr) {
            self.0
        } else {
            Kind::Guess
        };
        let roman = matches!(kind, Kind::Iso2022(state) if state.g0 == Set::JisRoman);
        if !roman
            && !bytes.contains(&ESC)
            && bytes.is_ascii()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Cow::Borrowed(text);
        }
        match kind {
            Kind::Whole(encoding) => encoding.decode_without_bom_handling(bytes).0,
            Kind::Iso2022(state) => Cow::Owned(decode_iso2022(state, vr, bytes)),
            Kind::Guess => match std::str::from_utf8(bytes) {
                Ok(text) if !bytes.contains(&ESC) => Cow::Borrowed(text),
                _ => Cow::Owned(decode_iso2022(GUESS, vr, bytes)),
            },
        }
    }

    /// Decodes the values of a value field: split at the backslash where the VR has several values, not trimmed.
    ///
    /// A field of length zero has no value.
    #[must_use]
    pub fn decode_values(&self, vr: VR, bytes: &[u8]) -> Vec<String> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let text = self.decode(vr, bytes);
        if splits(vr) {
            text.split('\\').map(str::to_owned).collect()
        } else {
            vec![text.into_owned()]
        }
    }
}

impl Default for Charset {
    fn default() -> Self {
        Self::default_repertoire()
    }
}

/// Whether values of the VR are in the Specific Character Set (PS3.5 §6.1.2.3).
#[must_use]
pub fn takes_charset(vr: VR) -> bool {
    matches!(
        vr,
        VR::SH | VR::LO | VR::ST | VR::LT | VR::UT | VR::UC | VR::PN
    )
}

/// Whether a backslash separates values of a text VR (PS3.5 §6.2).
#[must_use]
pub fn splits(vr: VR) -> bool {
    !matches!(vr, VR::ST | VR::LT | VR::UT | VR::UR)
}

/// Where nothing says better, high bytes are windows-1252, a superset of Latin-1.
const GUESS: State = State {
    g0: Set::Ascii,
    g1: Some(Set::High(encoding_rs::WINDOWS_1252)),
};

fn iso2022(g0: Set, g1: Option<Set>) -> Kind {
    Kind::Iso2022(State { g0, g1 })
}

/// The meaning of one term; none when nobody knows it.
fn term(bytes: &[u8]) -> (Option<Term>, Option<CharsetProblem>) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (None, Some(CharsetProblem::Unknown));
    };
    let text = text.trim_matches([' ', '\0']);
    // No defined term or label is longer; a bound keeps the clean-up below cheap for hostile values.
    if text.len() > 40 {
        return (None, Some(CharsetProblem::Unknown));
    }
    if text.is_empty() {
        return (Some(Term::Default), None);
    }
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let registered = |digits: &str| digits.parse().ok().and_then(by_registration);
    let found = match plain.as_str() {
        "UTF8" | "UNICODE" => Some(Term::Whole(encoding_rs::UTF_8)),
        "GB18030" => Some(Term::Whole(encoding_rs::GB18030)),
        "GBK" | "ISO2022GBK" | "CP936" => Some(Term::Whole(encoding_rs::GBK)),
        "ISO2022JP" | "ISO2022KR" => Some(Term::ByEscape),
        "ASCII" | "USASCII" => Some(Term::Default),
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
fn by_registration(number: u16) -> Option<Term> {
    Some(match number {
        6 => Term::Default,
        13 => Term::JisX0201,
        14 => Term::G0(Set::JisRoman),
        58 => Term::G1(Set::Gb2312),
        87 | 159 => Term::ByEscape,
        149 => Term::G1(Set::KsX1001),
        192 => Term::Whole(encoding_rs::UTF_8),
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
fn by_part(part: &str) -> Option<Term> {
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
fn by_label(text: &str) -> Option<Term> {
    let encoding = Encoding::for_label_no_replacement(text.as_bytes())
        .or_else(|| Encoding::for_label_no_replacement(text.replace(['_', ' '], "-").as_bytes()))?;
    // Separators are single ASCII bytes, so an encoding that is no superset of ASCII cannot be meant.
    (encoding.is_ascii_compatible() && encoding != encoding_rs::X_USER_DEFINED)
        .then_some(Term::Whole(encoding))
}

fn high(encoding: &'static Encoding) -> Term {
    Term::G1(Set::High(encoding))
}

/// Decodes text with escape sequences; the code elements return to `start` at each delimiter (PS3.5 §6.1.2.5.3).
fn decode_iso2022(start: State, vr: VR, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut state = start;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == ESC {
            let Some((designated, after)) = escape(tail) else {
                out.push(REPLACEMENT);
                rest = tail;
                continue;
            };
            match designated {
                Designated::G0(set) => state.g0 = set,
                Designated::G1(set) => state.g1 = Some(set),
            }
            rest = after;
            continue;
        }
        rest = if byte < 0x80 {
            lower(&mut out, &mut state, start, vr, byte, tail)
        } else {
            upper(&mut out, state.g1, byte, tail)
        };
    }
    out
}

/// One character of G0, or a control character; returns what follows it.
fn lower<'a>(
    out: &mut String,
    state: &mut State,
    start: State,
    vr: VR,
    byte: u8,
    tail: &'a [u8],
) -> &'a [u8] {
    let euc: Option<(&'static Encoding, &[u8])> = match state.g0 {
        Set::JisX0208 => Some((encoding_rs::EUC_JP, &[])),
        Set::JisX0212 => Some((encoding_rs::EUC_JP, &[0x8F])),
        Set::KsX1001 => Some((encoding_rs::EUC_KR, &[])),
        Set::Gb2312 => Some((encoding_rs::GBK, &[])),
        Set::Ascii | Set::JisRoman | Set::Katakana | Set::High(_) => None,
    };
    if let Some((encoding, prefix)) = euc
        && (0x21..0x7F).contains(&byte)
    {
        let Some((&second, after)) = tail
            .split_first()
            .filter(|(b, _)| (0x21..0x7F).contains(*b))
        else {
            out.push(REPLACEMENT);
            return tail;
        };
        push_decoded(out, encoding, prefix, &[byte | 0x80, second | 0x80]);
        return after;
    }
    let separates = match byte {
        b'\r' | b'\n' | 0x0C | b'\t' => true,
        b'\\' => splits(vr),
        b'^' | b'=' => vr == VR::PN,
        _ => false,
    };
    if separates {
        *state = start;
        out.push(char::from(byte));
        return tail;
    }
    out.push(match (state.g0, byte) {
        (Set::JisRoman, b'\\') => '\u{A5}',
        (Set::JisRoman, b'~') => '\u{203E}',
        (Set::Katakana, 0x21..0x7F) => katakana(byte | 0x80),
        _ => char::from(byte),
    });
    tail
}

/// One character of G1; returns what follows it.
fn upper<'a>(out: &mut String, g1: Option<Set>, byte: u8, tail: &'a [u8]) -> &'a [u8] {
    let second = tail.first().copied();
    let after_pair = tail.get(1..).unwrap_or_default();
    match g1 {
        Some(Set::High(encoding)) => push_decoded(out, encoding, &[], &[byte]),
        Some(Set::Katakana) => {
            // Bytes that JIS X 0201 leaves undefined are, in real files, the first half of a Shift JIS character.
            if matches!(byte, 0x81..=0x9F | 0xE0..=0xFC)
                && let Some(second @ (0x40..=0x7E | 0x80..=0xFC)) = second
                && let Some(text) = decoded(encoding_rs::SHIFT_JIS, &[byte, second])
            {
                out.push_str(&text);
                return after_pair;
            }
            out.push(katakana(byte));
        }
        Some(Set::KsX1001) => {
            // The second ranges are those of Unified Hangul Code, which Korean devices write under this term.
            if let Some(second @ (b'A'..=b'Z' | b'a'..=b'z' | 0x81..)) = second
                && let Some(text) = decoded(encoding_rs::EUC_KR, &[byte, second])
            {
                out.push_str(&text);
                return after_pair;
            }
            out.push(REPLACEMENT);
        }
        Some(Set::Gb2312) => {
            if let Some(second @ 0xA1..) = second
                && let Some(text) = decoded(encoding_rs::GBK, &[byte, second])
            {
                out.push_str(&text);
                return after_pair;
            }
            out.push(REPLACEMENT);
        }
        Some(Set::JisX0208) => {
            if let Some(second @ 0xA1..) = second
                && let Some(text) = decoded(encoding_rs::EUC_JP, &[byte, second])
            {
                out.push_str(&text);
                return after_pair;
            }
            out.push(REPLACEMENT);
        }
        Some(Set::Ascii | Set::JisRoman | Set::JisX0212) | None => out.push(REPLACEMENT),
    }
    tail
}

fn katakana(byte: u8) -> char {
    match byte {
        0xA1..=0xDF => char::from_u32(0xFF61 + u32::from(byte) - 0xA1).unwrap_or(REPLACEMENT),
        _ => REPLACEMENT,
    }
}

fn decoded<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    encoding.decode_without_bom_handling_and_without_replacement(bytes)
}

/// Pushes the one character that prefix and bytes encode, or U+FFFD.
fn push_decoded(out: &mut String, encoding: &'static Encoding, prefix: &[u8], bytes: &[u8]) {
    let whole = [prefix, bytes].concat();
    match decoded(encoding, &whole) {
        Some(text) => out.push_str(&text),
        None => out.push(REPLACEMENT),
    }
}

enum Designated {
    G0(Set),
    G1(Set),
}

/// Reads what follows an escape character (ISO 2022): the designated set and the rest; none for an unknown sequence.
fn escape(bytes: &[u8]) -> Option<(Designated, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, after) = rest.split_first()?;
    let third = after.split_first();
    let found = match (first, second) {
        (b'(', last) => (Designated::G0(set_94(last)?), after),
        (b')', last) => (Designated::G1(set_94(last)?), after),
        (b'-', last) => (Designated::G1(set_96(last)?), after),
        (b'$', b'(') => {
            let (&last, after) = third?;
            (Designated::G0(set_94n(last)?), after)
        }
        (b'$', b')') => {
            let (&last, after) = third?;
            (Designated::G1(set_94n(last)?), after)
        }
        (b'$', last) => (Designated::G0(set_94n(last)?), after),
        _ => return None,
    };
    Some(found)
}

fn set_94(last: u8) -> Option<Set> {
    match last {
        b'B' => Some(Set::Ascii),
        b'J' => Some(Set::JisRoman),
        b'I' => Some(Set::Katakana),
        _ => None,
    }
}

fn set_96(last: u8) -> Option<Set> {
    let number = match last {
        b'A' => 100,
        b'B' => 101,
        b'C' => 109,
        b'D' => 110,
        b'F' => 126,
        b'G' => 127,
        b'H' => 138,
        b'L' => 144,
        b'M' => 148,
        b'T' => 166,
        b'b' => 203,
        _ => return None,
    };
    match by_registration(number) {
        Some(Term::G1(set)) => Some(set),
        _ => None,
    }
}

fn set_94n(last: u8) -> Option<Set> {
    match last {
        // `@` is the edition of 1978; its differences are not worth a table.
        b'B' | b'@' => Some(Set::JisX0208),
        b'D' => Some(Set::JisX0212),
        b'C' => Some(Set::KsX1001),
        b'A' => Some(Set::Gb2312),
        _ => None,
    }
}
