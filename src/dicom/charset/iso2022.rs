//! ISO 2022 code extensions: two code elements, switched by escape sequences (PS3.5 §6.1.2.5).
//!
//! Invariant: every step takes at least one byte, and every byte gives at most one character.

use std::borrow::Cow;

use dicom_core::VR;
use encoding_rs::Encoding;

use super::set::{Set, ShiftState};
use super::terms::{CharsetTerm, by_registration};
use super::vr::splits;

pub(super) const ESC: u8 = 0x1B;
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Decodes text with escape sequences; the code elements return to `start` at each delimiter (PS3.5 §6.1.2.5.3).
pub(super) fn decode_iso2022(start: ShiftState, vr: VR, bytes: &[u8]) -> String {
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
    state: &mut ShiftState,
    start: ShiftState,
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
        Some(CharsetTerm::G1(set)) => Some(set),
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
