//! The DICOM JSON model (PS3.18 Annex F), written value by value as the parser comes across them.
//!
//! Invariant: the text is valid JSON at every `JsonWriter::finish`, keys ascend in every object and occur once there, and
//! [`Metadata::uri_at`] points right behind the opening quote of each `BulkDataURI`.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::charset::{self, Charset};
use super::endian::width;
use super::error::ParseError;
use super::instance::Metadata;
use super::parse_memory::Ledger;
use super::tag::{hex_digits, push_hex};
pub use value::values;
use value::{Number, json_number, little_endian, not_finite, trim};

pub(crate) mod skip;
mod value;

/// Positions of a key; `at` is where its opening quote stands.
#[derive(Debug, Clone, Copy)]
struct KeyPosition {
    tag: Tag,
    at: usize,
}

#[derive(Debug, Clone, Copy)]
struct JsonScope {
    /// Behind the opening brace.
    open: usize,
    first_entry: usize,
    ascending: bool,
}

/// A piece of text that changed its place.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    old: Range<usize>,
    new: usize,
}

/// Where a range of the text is now; an empty range when it was dropped. The moves are in the order of the old places.
pub(crate) fn moved(moves: &[Move], range: &Range<usize>) -> Range<usize> {
    let index = moves.partition_point(|m| m.old.start <= range.start);
    index
        .checked_sub(1)
        .and_then(|index| moves.get(index))
        .filter(|m| range.end <= m.old.end)
        .map_or(0..0, |m| {
            let start = range
                .start
                .saturating_sub(m.old.start)
                .saturating_add(m.new);
            start..start.saturating_add(range.len())
        })
}

/// Writes one DICOM JSON object.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    text: String,
    uri_at: Vec<usize>,
    entries: Vec<KeyPosition>,
    scopes: Vec<JsonScope>,
    non_ascii: bool,
}

/// Most bytes of text around a value: key, VR, brackets, the words of a person name.
const ROOM: usize = 256;
/// Length of `{"vr":"XX"`.
const HEAD_OBJECT: usize = 10;

impl JsonWriter {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            entries: Vec::with_capacity(256),
            ..Self::default()
        }
    }

    /// Makes ready for an element or item whose value takes up to `bytes` bytes of text.
    #[inline]
    pub(crate) fn make_room(
        &mut self,
        ledger: &Ledger<'_>,
        bytes: usize,
    ) -> Result<(), ParseError> {
        ledger.text(&mut self.text, bytes.saturating_add(ROOM))?;
        if self.entries.len() == self.entries.capacity() {
            let more = self.entries.capacity().max(8);
            ledger.more(more.saturating_mul(size_of::<KeyPosition>()))?;
            self.entries.reserve_exact(more);
        }
        Ok(())
    }

    /// Asks for what it takes to put the keys of the innermost data set in order, when they are not.
    pub(crate) fn make_room_to_close(&mut self, ledger: &Ledger<'_>) -> Result<(), ParseError> {
        self.make_room(ledger, 0)?;
        match self.scopes.last() {
            Some(scope) if !scope.ascending => {
                let text = self.text.len().saturating_sub(scope.open);
                let entries = self.entries.len().saturating_sub(scope.first_entry);
                let each = 2 * size_of::<KeyPosition>()
                    + size_of::<(Tag, Range<usize>)>()
                    + size_of::<Move>();
                let lists = entries.saturating_mul(each);
                ledger.more(text.saturating_add(lists))
            }
            _ => Ok(()),
        }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn open_data_set(&mut self, first_item: bool) {
        if self.scopes.is_empty() {
            self.text.push('{');
        } else if first_item {
            self.text.push_str(",\"Value\":[{");
        } else {
            self.text.push_str(",{");
        }
        self.scopes.push(JsonScope {
            open: self.text.len(),
            first_entry: self.entries.len(),
            ascending: true,
        });
    }

    /// Closes the innermost data set; says what was moved to bring its keys in order.
    pub(crate) fn close_data_set(&mut self) -> Vec<Move> {
        let Some(scope) = self.scopes.pop() else {
            return Vec::new();
        };
        let moves = if scope.ascending {
            Vec::new()
        } else {
            self.sort(scope)
        };
        if !self.scopes.is_empty() {
            self.entries.truncate(scope.first_entry);
        }
        self.text.push('}');
        moves
    }

    /// Starts an element and gives the position of its `{`.
    #[inline]
    pub(crate) fn open_element(&mut self, tag: Tag, vr: VR) -> usize {
        if let Some(scope) = self.scopes.last_mut() {
            let before = self
                .entries
                .get(scope.first_entry..)
                .and_then(<[KeyPosition]>::last);
            if let Some(before) = before {
                self.text.push(',');
                scope.ascending &= before.tag < tag;
            }
        }
        self.entries.push(KeyPosition {
            tag,
            at: self.text.len(),
        });
        // One piece of text instead of seven: this is written for every element.
        let mut head = *b"\"00000000\":{\"vr\":\"UN\"";
        let (key, rest) = head.split_at_mut(9);
        for (to, from) in key.iter_mut().skip(1).zip(hex_digits(tag)) {
            *to = from;
        }
        for (to, from) in rest.iter_mut().skip(9).zip(vr.to_string().bytes()) {
            *to = from;
        }
        self.text
            .push_str(std::str::from_utf8(&head).unwrap_or_default());
        self.text.len().saturating_sub(HEAD_OBJECT)
    }

    /// Ends an element; a sequence with items first closes its list.
    #[inline]
    pub(crate) fn close_element(&mut self, list: bool) {
        self.text.push_str(if list { "]}" } else { "}" });
    }

    /// A `BulkDataURI` of which only the tail is known.
    pub(crate) fn bulk_uri(&mut self, path: &str) {
        self.text.push_str(",\"BulkDataURI\":\"");
        self.uri_at.push(self.text.len());
        self.text.push_str("bulkdata/");
        self.text.push_str(path);
        self.text.push('"');
    }

    /// The value of an element that is no sequence; writes nothing when there is none.
    pub(crate) fn value(&mut self, tag: Tag, vr: VR, big: bool, bytes: &[u8], charset: &Charset) {
        if tag == tags::SPECIFIC_CHARACTER_SET {
            // The JSON text is UTF-8 whatever the file was (PS3.18 §F.2.1).
            self.text.push_str(",\"Value\":[\"ISO_IR 192\"]");
            return;
        }
        if bytes.is_empty() {
            return;
        }
        match vr {
            VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN => {
                self.text.push_str(",\"InlineBinary\":\"");
                BASE64.encode_string(little_endian(vr, big, bytes), &mut self.text);
                self.text.push('"');
            }
            VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::FL | VR::FD | VR::AT => {
                self.binary_values(vr, big, bytes);
            }
            VR::SQ => {}
            _ => self.text_values(vr, bytes, charset),
        }
    }

    fn binary_values(&mut self, vr: VR, big: bool, bytes: &[u8]) {
        let size = usize::try_from(width(vr)).unwrap_or(1);
        let mut separator = ",\"Value\":[";
        for chunk in bytes.chunks_exact(size) {
            self.text.push_str(separator);
            separator = ",";
            match Number::read(vr, big, chunk) {
                Number::Signed(value) => self.integer(value),
                Number::Unsigned(value) => match i64::try_from(value) {
                    Ok(value) => self.integer(value),
                    Err(_) => {
                        _ = write!(self.text, "\"{value}\"");
                    }
                },
                Number::Single(value) if value.is_finite() => {
                    self.text.push_str(ryu::Buffer::new().format_finite(value));
                }
                Number::Double(value) if value.is_finite() => {
                    self.text.push_str(ryu::Buffer::new().format_finite(value));
                }
                Number::Single(value) => self.not_finite(f64::from(value)),
                Number::Double(value) => self.not_finite(value),
                Number::Tag(tag) => {
                    self.text.push('"');
                    push_hex(&mut self.text, tag);
                    self.text.push('"');
                }
            }
        }
        if separator == "," {
            self.text.push(']');
        }
    }

    /// Integers a JavaScript number cannot hold become strings (PS3.18 §F.2.3).
    fn integer(&mut self, value: i64) {
        const EXACT: u64 = 1 << 53;
        let mut digits = itoa::Buffer::new();
        if value.unsigned_abs() <= EXACT {
            self.text.push_str(digits.format(value));
        } else {
            _ = write!(self.text, "\"{value}\"");
        }
    }

    fn not_finite(&mut self, value: f64) {
        self.text.push_str(not_finite(value, true));
    }

    fn text_values(&mut self, vr: VR, bytes: &[u8], charset: &Charset) {
        let decoded = charset.decode(vr, bytes);
        if !decoded.is_ascii() {
            self.non_ascii = true;
        }
        let text: &str = &decoded;
        if !charset::splits(vr) || !text.contains('\\') {
            let value = trim(vr, text);
            if !value.is_empty() {
                self.text.push_str(",\"Value\":[");
                self.one_text(vr, value);
                self.text.push(']');
            }
            return;
        }
        let mut separator = ",\"Value\":[";
        for part in text.split('\\') {
            self.text.push_str(separator);
            separator = ",";
            self.one_text(vr, trim(vr, part));
        }
        self.text.push(']');
    }

    fn one_text(&mut self, vr: VR, value: &str) {
        match vr {
            _ if value.is_empty() => self.text.push_str("null"),
            VR::PN => self.person_name(value),
            VR::DS | VR::IS => match json_number(value) {
                Some(number) => self.text.push_str(&number),
                None => push_quoted(&mut self.text, value),
            },
            _ => push_quoted(&mut self.text, value),
        }
    }

    fn person_name(&mut self, value: &str) {
        let start = self.text.len();
        let mut separator = '{';
        for (group, name) in value
            .splitn(3, '=')
            .zip(["Alphabetic", "Ideographic", "Phonetic"])
        {
            let group = group.trim_matches(' ');
            if !group.is_empty() {
                self.text.push(separator);
                separator = ',';
                _ = write!(self.text, "\"{name}\":");
                push_quoted(&mut self.text, group);
            }
        }
        self.text.push_str(if self.text.len() == start {
            "null"
        } else {
            "}"
        });
    }

    /// Puts the keys of a data set in order; of several elements with one tag the last one stays.
    fn sort(&mut self, scope: JsonScope) -> Vec<Move> {
        let end = self.text.len();
        let entries = self
            .entries
            .split_off(scope.first_entry.min(self.entries.len()));
        let ends = entries
            .iter()
            .skip(1)
            .map(|next| next.at.saturating_sub(1))
            .chain([end]);
        let mut pieces: Vec<(Tag, Range<usize>)> = entries
            .iter()
            .zip(ends)
            .map(|(entry, end)| (entry.tag, entry.at..end))
            .collect();
        pieces.sort_by_key(|(tag, _)| *tag);
        let mut sorted = String::with_capacity(end.saturating_sub(scope.open));
        let mut moves = Vec::with_capacity(pieces.len());
        for (index, (tag, old)) in pieces.iter().enumerate() {
            let repeated = pieces
                .get(index.saturating_add(1))
                .is_some_and(|next| next.0 == *tag);
            let Some(piece) = self.text.get(old.clone()).filter(|_| !repeated) else {
                continue;
            };
            if !sorted.is_empty() {
                sorted.push(',');
            }
            let new = scope.open.saturating_add(sorted.len());
            self.entries.push(KeyPosition { tag: *tag, at: new });
            moves.push(Move {
                old: old.clone(),
                new,
            });
            sorted.push_str(piece);
        }
        self.text.truncate(scope.open);
        self.text.push_str(&sorted);
        moves.sort_by_key(|m| m.old.start);
        let inside = self.uri_at.partition_point(|at| *at < scope.open);
        let mut uris: Vec<usize> = self
            .uri_at
            .split_off(inside)
            .into_iter()
            .map(|at| moved(&moves, &(at..at)).start)
            .filter(|at| *at > 0)
            .collect();
        uris.sort_unstable();
        self.uri_at.append(&mut uris);
        moves
    }

    /// The text with its places; `shift` is told where bytes were inserted last (position, count).
    pub(crate) fn finish(mut self, mut shift: impl FnMut(usize, usize)) -> Metadata {
        let position = |entries: &[KeyPosition], tag: Tag, end: usize| {
            let index = entries.partition_point(|entry| entry.tag <= tag);
            let found = entries.get(index).map_or(end, |entry| entry.at);
            let equal = index
                .checked_sub(1)
                .and_then(|i| entries.get(i))
                .is_some_and(|e| e.tag == tag);
            (found, equal)
        };
        let end = self.text.len().saturating_sub(1);
        let (charset_at, declared) = position(&self.entries, tags::SPECIFIC_CHARACTER_SET, end);
        let (mut syntax_at, _) = position(&self.entries, tags::AVAILABLE_TRANSFER_SYNTAX_UID, end);
        if self.non_ascii && !declared && !self.entries.is_empty() {
            const DECLARATION: &str = "\"00080005\":{\"vr\":\"CS\",\"Value\":[\"ISO_IR 192\"]},";
            self.text.insert_str(charset_at, DECLARATION);
            for at in self.uri_at.iter_mut().filter(|at| **at >= charset_at) {
                *at = at.saturating_add(DECLARATION.len());
            }
            syntax_at = syntax_at.saturating_add(DECLARATION.len());
            shift(charset_at, DECLARATION.len());
        }
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Metadata {
            text: self.text,
            uri_at: self.uri_at.into_iter().map(narrow).collect(),
            available_syntax_at: narrow(syntax_at),
        }
    }
}

/// A JSON string.
pub(crate) fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    let mut rest = value;
    while let Some(at) = rest
        .bytes()
        .position(|b| b < 0x20 || b == b'"' || b == b'\\')
    {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => text.push_str("\\\""),
            Some('\\') => text.push_str("\\\\"),
            Some('\n') => text.push_str("\\n"),
            Some('\r') => text.push_str("\\r"),
            Some('\t') => text.push_str("\\t"),
            Some(control) => {
                _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests;
