//! Text of a data set to Unicode: Specific Character Set (0008,0005) with ISO 2022 code extensions (PS3.5 §6.1.2.5).
//!
//! Invariant: decoding never fails and never panics; what cannot be read becomes U+FFFD. A backslash in the decoded text of
//! a VR with several values is always a separator, never half of a character.

use std::borrow::Cow;

use dicom_core::VR;
use encoding_rs::Encoding;

mod iso2022;
mod problem;
mod set;
mod terms;
#[cfg(test)]
mod tests;
mod vr;

use iso2022::{ESC, decode_iso2022};
use set::{Set, ShiftState};
use terms::{CharsetTerm, term};

pub use problem::CharsetProblem;
pub use vr::{splits, takes_charset};

/// How the text of a data set, or of one sequence item, is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(CharsetKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharsetKind {
    /// No character set, or one nobody knows: what is valid UTF-8 is UTF-8, else windows-1252.
    Guess,
    /// One encoding that allows no code extensions.
    Whole(&'static Encoding),
    /// Code elements G0 and G1 as they stand at the start of each value, line and name component.
    Iso2022(ShiftState),
}

impl Charset {
    /// The default repertoire, as without (0008,0005): ASCII.
    ///
    /// Bytes above 0x7F are illegal there but common; they are read as UTF-8 where valid, else as windows-1252.
    #[must_use]
    pub const fn default_repertoire() -> Self {
        Self(CharsetKind::Guess)
    }

    /// UTF-8 (`ISO_IR 192`).
    #[must_use]
    pub const fn utf8() -> Self {
        Self(CharsetKind::Whole(encoding_rs::UTF_8))
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
                Some(CharsetTerm::G1(set)) if later_g1.is_none() => later_g1 = Some(set),
                Some(CharsetTerm::JisX0201) if later_g1.is_none() => later_g1 = Some(Set::Katakana),
                Some(CharsetTerm::Whole(encoding)) => {
                    later_whole = later_whole.or(Some(encoding));
                    problem = problem.or(Some(CharsetProblem::Combination));
                }
                _ => {}
            }
            if matches!(first, Some(Some(CharsetTerm::Whole(_)))) {
                problem = problem.or(Some(CharsetProblem::Combination));
            }
        }
        let extended = raw.contains(&b'\\');
        let kind = match first.flatten() {
            Some(CharsetTerm::Whole(encoding)) => CharsetKind::Whole(encoding),
            Some(CharsetTerm::Default) | None => match (later_whole, later_g1) {
                (Some(encoding), _) => CharsetKind::Whole(encoding),
                (None, Some(set)) => iso2022(Set::Ascii, Some(set)),
                (None, None) if extended && first.flatten().is_some() => iso2022(Set::Ascii, None),
                (None, None) => CharsetKind::Guess,
            },
            Some(CharsetTerm::ByEscape) => iso2022(Set::Ascii, later_g1),
            Some(CharsetTerm::G0(set)) => iso2022(set, later_g1),
            Some(CharsetTerm::G1(set)) => iso2022(Set::Ascii, Some(set)),
            Some(CharsetTerm::JisX0201) => iso2022(Set::JisRoman, Some(Set::Katakana)),
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
            CharsetKind::Guess
        };
        let roman = matches!(kind, CharsetKind::Iso2022(state) if state.g0 == Set::JisRoman);
        if !roman
            && !bytes.contains(&ESC)
            && bytes.is_ascii()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Cow::Borrowed(text);
        }
        match kind {
            CharsetKind::Whole(encoding) => encoding.decode_without_bom_handling(bytes).0,
            // Without escape sequences there is nothing to switch: much faster at once.
            CharsetKind::Iso2022(ShiftState {
                g0: Set::Ascii,
                g1: Some(Set::High(encoding)),
            }) if !bytes.contains(&ESC) => encoding.decode_without_bom_handling(bytes).0,
            CharsetKind::Iso2022(state) => Cow::Owned(decode_iso2022(state, vr, bytes)),
            CharsetKind::Guess => match std::str::from_utf8(bytes) {
                Ok(text) if !bytes.contains(&ESC) => Cow::Borrowed(text),
                _ => Cow::Owned(decode_iso2022(GUESS, vr, bytes)),
            },
        }
    }

    /// Encodes a text without code extensions; none when the set lacks one of its characters, or needs extensions for it.
    #[must_use]
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        if text.is_ascii() {
            return Some(text.as_bytes().to_vec());
        }
        let encoding = match self.0 {
            CharsetKind::Whole(encoding)
            | CharsetKind::Iso2022(ShiftState {
                g0: Set::Ascii,
                g1: Some(Set::High(encoding)),
            }) => encoding,
            CharsetKind::Guess | CharsetKind::Iso2022(_) => return None,
        };
        let (bytes, used, unmappable) = encoding.encode(text);
        // What Windows put among the control characters is in no set of the standard.
        let foreign = encoding.is_single_byte() && bytes.iter().any(|b| (0x80..0xA0).contains(b));
        (used == encoding && !unmappable && !foreign).then(|| bytes.into_owned())
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

/// Where nothing says better, high bytes are windows-1252, a superset of Latin-1.
const GUESS: ShiftState = ShiftState {
    g0: Set::Ascii,
    g1: Some(Set::High(encoding_rs::WINDOWS_1252)),
};

fn iso2022(g0: Set, g1: Option<Set>) -> CharsetKind {
    CharsetKind::Iso2022(ShiftState { g0, g1 })
}
