//! Data sets of messages: identifiers and lists of references read, results written (PS3.5 §7).
//!
//! Invariants: what a peer sends is read without recursion, within bounds of depth and number; each length is compared with what
//! encloses it. What is written comes out of the archive and nests as deep as that lets in.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::Value;

use crate::dicom::charset::Charset;
use crate::dicom::codec::transfer_syntax::IMPLICIT_LE;
use crate::dicom::explicit_vr;
use crate::dicom::members::{self, JsonElement};
use crate::dicom::tag;

#[cfg(test)]
mod tests;

/// Deepest nesting of what is read.
const MAX_DEPTH: usize = 16;
/// Most values of one data set.
const MAX_VALUES: usize = 1 << 16;
/// Deepest nesting of what is written.
const MAX_WRITTEN: usize = 48;
/// Length of what ends with a delimiter.
const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// Why a data set cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct UnreadableDataSet(&'static str);

/// One attribute of a data set, or of an item in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdentifierKey {
    /// The sequences it lies in, then itself.
    pub(super) path: Vec<Tag>,
    /// Its value as text, without padding; several values have backslashes between them.
    pub(super) value: String,
    /// Number of the item it lies in, counted over the whole data set; 0 outside of items.
    pub(super) item: usize,
}

/// A data set as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Identifier {
    /// Its attributes, in their order.
    pub(super) keys: Vec<IdentifierKey>,
    /// Its (0008,0005).
    pub(super) terms: String,
}

/// Something that encloses what is read.
struct Enclosing {
    /// Its sequence, or none for an item.
    sequence: Option<Tag>,
    /// Where it ends; none when a delimiter says so.
    end: Option<usize>,
    /// Number of the item around it.
    item: usize,
    /// It has had an item.
    filled: bool,
}

impl Identifier {
    /// Reads a data set in Implicit or Explicit VR Little Endian.
    ///
    /// # Errors
    /// [`UnreadableDataSet`] when lengths contradict each other, or there is too much of it.
    pub(super) fn read(bytes: &[u8], syntax: &str) -> Result<Self, UnreadableDataSet> {
        let mut reader = DataSetReader {
            bytes,
            at: 0,
            implicit: syntax == IMPLICIT_LE,
            charset: Charset::default_repertoire(),
            read: Self::default(),
            enclosing: Vec::new(),
            items: 0,
        };
        while reader.step()? {}
        Ok(reader.read)
    }

    /// The value of an attribute outside of sequences; empty when it is not there.
    pub(super) fn get(&self, tag: Tag) -> &str {
        let mut keys = self.keys.iter();
        let found = keys.find(|key| key.path == [tag]);
        found.map_or("", |key| key.value.as_str())
    }
}

struct DataSetReader<'a> {
    bytes: &'a [u8],
    at: usize,
    implicit: bool,
    charset: Charset,
    read: Identifier,
    enclosing: Vec<Enclosing>,
    /// Items so far.
    items: usize,
}

impl<'a> DataSetReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], UnreadableDataSet> {
        let short = UnreadableDataSet("an element reaches beyond what encloses it");
        let end = self.at.checked_add(count).ok_or(short)?;
        let most = self.enclosing.iter().filter_map(|e| e.end).min();
        if most.is_some_and(|most| end > most) {
            return Err(short);
        }
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnreadableDataSet> {
        let bytes = self.take(N)?.first_chunk().copied();
        bytes.ok_or(UnreadableDataSet("an element is cut off"))
    }

    fn tag(&mut self) -> Result<Tag, UnreadableDataSet> {
        let [a, b, c, d] = self.array()?;
        Ok(Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    }

    /// Reads one element, item or delimiter; false at the end.
    fn step(&mut self) -> Result<bool, UnreadableDataSet> {
        while let Some(inner) = self.enclosing.last() {
            if inner.end != Some(self.at) {
                break;
            }
            self.leave();
        }
        if self.at == self.bytes.len() {
            return if self.enclosing.is_empty() {
                Ok(false)
            } else {
                Err(UnreadableDataSet("a sequence is not ended"))
            };
        }
        let tag = self.tag()?;
        let in_sequence = self.enclosing.last().is_some_and(|e| e.sequence.is_some());
        match tag {
            ITEM if in_sequence => {
                let length = u32::from_le_bytes(self.array()?);
                if let Some(sequence) = self.enclosing.last_mut() {
                    sequence.filled = true;
                }
                self.items += 1;
                let item = self.items;
                self.enter(None, length, item)?;
            }
            SEQUENCE_END if in_sequence => {
                self.take(4)?;
                self.leave();
            }
            ITEM_END if !in_sequence && !self.enclosing.is_empty() => {
                self.take(4)?;
                self.leave();
            }
            Tag(0xFFFE, _) => return Err(UnreadableDataSet("a delimiter is in the wrong place")),
            _ if in_sequence => {
                return Err(UnreadableDataSet(
                    "a sequence has something else than items",
                ));
            }
            tag => self.element(tag)?,
        }
        Ok(true)
    }

    fn enter(
        &mut self,
        sequence: Option<Tag>,
        length: u32,
        item: usize,
    ) -> Result<(), UnreadableDataSet> {
        if self.enclosing.len() == MAX_DEPTH {
            return Err(UnreadableDataSet("sequences are nested too deep"));
        }
        if self.items > MAX_VALUES {
            return Err(UnreadableDataSet("there are too many items"));
        }
        let end = if length == UNDEFINED {
            None
        } else {
            let at = self.at;
            let count = usize::try_from(length).unwrap_or(usize::MAX);
            // Checks that it fits.
            self.take(count)?;
            let end = self.at;
            self.at = at;
            Some(end)
        };
        self.enclosing.push(Enclosing {
            sequence,
            end,
            item,
            filled: false,
        });
        Ok(())
    }

    /// Leaves what was entered last; a sequence without items is a key by itself.
    fn leave(&mut self) {
        let Some(left) = self.enclosing.pop() else {
            return;
        };
        if let (Some(tag), false) = (left.sequence, left.filled) {
            let path = self.path(tag);
            self.read.keys.push(IdentifierKey {
                path,
                value: String::new(),
                item: left.item,
            });
        }
    }

    fn path(&self, tag: Tag) -> Vec<Tag> {
        let sequences = self.enclosing.iter().filter_map(|e| e.sequence);
        sequences.chain([tag]).collect()
    }

    fn element(&mut self, tag: Tag) -> Result<(), UnreadableDataSet> {
        let (vr, length) = self.vr_and_length(tag)?;
        let item = self.enclosing.last().map_or(0, |e| e.item);
        if vr == VR::SQ {
            return self.enter(Some(tag), length, item);
        }
        if length == UNDEFINED {
            return Err(UnreadableDataSet(
                "an element that is no sequence has no length",
            ));
        }
        let value = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        if self.read.keys.len() >= MAX_VALUES {
            return Err(UnreadableDataSet("there are too many attributes"));
        }
        let value = self.text(vr, value);
        if tag == tags::SPECIFIC_CHARACTER_SET && self.enclosing.is_empty() {
            (self.charset, _) = Charset::from_terms(value.as_bytes());
            self.read.terms.clone_from(&value);
        }
        let path = self.path(tag);
        self.read.keys.push(IdentifierKey { path, value, item });
        Ok(())
    }

    fn vr_and_length(&mut self, tag: Tag) -> Result<(VR, u32), UnreadableDataSet> {
        if self.implicit {
            let length = u32::from_le_bytes(self.array()?);
            let known = tag::vr(tag);
            // Only sequences and pixels have no length, and nobody looks for pixels.
            let vr = if length == UNDEFINED { VR::SQ } else { known };
            return Ok((vr, length));
        }
        let letters: [u8; 2] = self.array()?;
        let vr = VR::from_binary(letters).ok_or(UnreadableDataSet("an element has no VR"))?;
        if explicit_vr::has_short_length(vr) {
            return Ok((vr, u16::from_le_bytes(self.array()?).into()));
        }
        self.take(2)?;
        Ok((vr, u32::from_le_bytes(self.array()?)))
    }

    fn text(&self, vr: VR, bytes: &[u8]) -> String {
        fn join<const N: usize>(bytes: &[u8], text: impl Fn([u8; N]) -> String) -> String {
            let values = bytes.chunks_exact(N).filter_map(<[u8]>::first_chunk);
            let values: Vec<String> = values.map(|bytes| text(*bytes)).collect();
            values.join("\\")
        }
        match vr {
            VR::US => join(bytes, |b| u16::from_le_bytes(b).to_string()),
            VR::SS => join(bytes, |b| i16::from_le_bytes(b).to_string()),
            VR::UL => join(bytes, |b| u32::from_le_bytes(b).to_string()),
            VR::SL => join(bytes, |b| i32::from_le_bytes(b).to_string()),
            VR::FL => join(bytes, |b| f32::from_le_bytes(b).to_string()),
            VR::FD => join(bytes, |b| f64::from_le_bytes(b).to_string()),
            VR::AT => join(bytes, |[a, b, c, d]: [u8; 4]| {
                let (group, element) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                tag::hex(Tag(group, element))
            }),
            VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV => String::new(),
            _ => {
                let text = self.charset.decode(vr, bytes);
                text.trim_matches([' ', '\0']).to_owned()
            }
        }
    }
}

/// Elements as texts in the DICOM JSON Model, by tag.
pub(super) type Elements = BTreeMap<Tag, String>;

/// An element with one text.
pub(super) fn text_element(vr: VR, text: &str) -> String {
    let vr = vr.to_string();
    if text.is_empty() {
        return format!(r#"{{"vr":"{vr}"}}"#);
    }
    let values: Vec<&str> = text.split('\\').collect();
    serde_json::json!({ "vr": vr, "Value": values }).to_string()
}

/// Writes a data set in Implicit or Explicit VR Little Endian, in the character set of `terms` where that has all characters, else in
/// UTF-8; (0008,0005) is added.
pub(super) fn write(mut elements: Elements, syntax: &str, terms: &str) -> Vec<u8> {
    const UTF_8: &str = "ISO_IR 192";
    let implicit = syntax == IMPLICIT_LE;
    let mut put = |terms: &str| {
        let (charset, problem) = Charset::from_terms(terms.as_bytes());
        elements.insert(tags::SPECIFIC_CHARACTER_SET, text_element(VR::CS, terms));
        let mut writer = DataSetWriter {
            implicit,
            charset,
            complete: problem.is_none(),
        };
        let mut out = Vec::new();
        for (tag, json) in &elements {
            writer.element(&mut out, *tag, JsonElement::new(json), 0);
        }
        (out, writer.complete)
    };
    if !terms.is_empty()
        && let (out, true) = put(terms)
    {
        return out;
    }
    put(UTF_8).0
}

struct DataSetWriter {
    implicit: bool,
    charset: Charset,
    /// All characters were there.
    complete: bool,
}

impl DataSetWriter {
    fn element(&mut self, out: &mut Vec<u8>, tag: Tag, element: JsonElement<'_>, depth: usize) {
        let vr = VR::from_str(element.vr()).unwrap_or_else(|_| tag::vr(tag));
        let mut value = match vr {
            VR::SQ => self.items(element, depth),
            VR::PN => self.texts(vr, element.values().map(name)),
            VR::US | VR::UL | VR::UV | VR::SS | VR::SL | VR::SV | VR::FL | VR::FD | VR::AT => {
                element
                    .values()
                    .flat_map(|value| number(vr, value))
                    .collect()
            }
            VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN => {
                let binary = element.inline_binary().map(|text| BASE64.decode(text));
                binary.and_then(Result::ok).unwrap_or_default()
            }
            _ => self.texts(vr, element.values().map(plain)),
        };
        if value.len() % 2 == 1 {
            value.push(explicit_vr::padding(vr));
        }
        let length = u32::try_from(value.len()).unwrap_or(0);
        if self.implicit {
            explicit_vr::item(out, tag, length);
        } else {
            explicit_vr::head(out, tag, vr, length);
        }
        out.append(&mut value);
    }

    fn items(&mut self, element: JsonElement<'_>, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if depth == MAX_WRITTEN {
            return out;
        }
        for item in element.items() {
            let mut inner = Vec::new();
            for (tag, element) in members::members(item).map_while(Result::ok) {
                self.element(&mut inner, tag, element, depth + 1);
            }
            explicit_vr::item(&mut out, ITEM, u32::try_from(inner.len()).unwrap_or(0));
            out.append(&mut inner);
        }
        out
    }

    fn texts(&mut self, vr: VR, texts: impl Iterator<Item = String>) -> Vec<u8> {
        let text = texts.collect::<Vec<_>>().join("\\");
        let charset = if crate::dicom::charset::takes_charset(vr) {
            self.charset
        } else {
            Charset::utf8()
        };
        charset.encode(&text).unwrap_or_else(|| {
            self.complete = false;
            text.into_bytes()
        })
    }
}

/// A value that is a text or a number, as text.
fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        Ok(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A name with its groups.
fn name(json: &str) -> String {
    let Ok(Value::Object(groups)) = serde_json::from_str(json) else {
        return plain(json);
    };
    let group = |key: &str| groups.get(key).and_then(Value::as_str).unwrap_or_default();
    let whole = ["Alphabetic", "Ideographic", "Phonetic"]
        .map(group)
        .join("=");
    whole.trim_end_matches('=').to_owned()
}

/// The bytes of a number, or of a tag.
fn number(vr: VR, json: &str) -> Vec<u8> {
    let wide = || members::integer(json).unwrap_or_default().to_le_bytes();
    let count = match vr {
        VR::US | VR::SS => 2,
        VR::UL | VR::SL => 4,
        VR::UV | VR::SV => 8,
        VR::FD => {
            let number = members::number(json).unwrap_or_default();
            return number.to_le_bytes().to_vec();
        }
        VR::FL => {
            let number: f32 = plain(json).parse().unwrap_or_default();
            return number.to_le_bytes().to_vec();
        }
        _ => {
            let tag = tag::from_hex(&plain(json)).unwrap_or(Tag(0, 0));
            return [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        }
    };
    wide().into_iter().take(count).collect()
}
