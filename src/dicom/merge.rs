//! One DICOM JSON object of some attributes that are known and all others of a stored data set, written in pieces.
//!
//! Invariants: tags ascend and occur once; of the stored data set nothing is copied but what is sent.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Range;

use dicom_core::Tag;

use super::json::skip::next_member;
use super::members::{JsonElement, Malformed};
use super::pieces::Pieces;
use super::tag;

/// Attributes that say where an instance is to be had: the server's to tell, whatever a file says.
///
/// Retrieve URL (0008,1190), Retrieve AE Title (0008,0054), Instance Availability (0008,0056). Inside sequences they speak of
/// other instances and stay.
#[must_use]
pub const fn is_of_server(tag: Tag) -> bool {
    matches!(tag, Tag(0x0008, 0x0054 | 0x0056 | 0x1190))
}

/// Bytes of the pieces a whole object is put together of.
const WHOLE: usize = 64 << 10;

/// Writes the object.
pub struct MergedJson {
    known: Peekable<btree_map::IntoIter<Tag, String>>,
    stored: Option<StoredDataSet>,
    /// What is being copied: a value that is known, or a place in the stored text; behind it is the rest of the piece.
    copied: Copied,
    state: MergeState,
    /// Tag written last.
    last: Option<Tag>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MergeState {
    Begun,
    Open,
    Done,
}

enum Copied {
    Nothing,
    Known(String, usize),
    Stored(Range<usize>),
}

/// A stored data set that is read member by member.
struct StoredDataSet {
    text: String,
    /// Behind the last member that was read.
    at: usize,
    /// A member that was read and not written yet.
    next: Option<(Tag, Range<usize>)>,
}

impl StoredDataSet {
    /// Reads on to the next member that is to be written.
    fn advance(&mut self) -> Result<(), Malformed> {
        while self.next.is_none() {
            let Some((name, value)) = next_member(&self.text, self.at) else {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let ended = rest.trim_ascii_start().starts_with('}');
                let malformed = Malformed { left: rest.len() };
                return if ended { Ok(()) } else { Err(malformed) };
            };
            self.at = value.end;
            let tag = self.text.get(name).and_then(tag::from_hex);
            let tag = tag.ok_or(Malformed {
                left: self.text.len().saturating_sub(value.start),
            })?;
            let element = JsonElement::new(self.text.get(value.clone()).unwrap_or_default());
            // What is served by URI is no part of a result: its URI would have to be completed.
            if !is_of_server(tag) && element.bulk_data_uri().is_none() {
                self.next = Some((tag, value));
            }
        }
        Ok(())
    }
}

impl MergedJson {
    /// The known attributes, and those of a stored data set that are not known, without what is served by URI and what
    /// [`is_of_server`].
    ///
    /// # Errors
    /// [`Malformed`] when the stored text is no JSON object.
    pub fn new(known: BTreeMap<Tag, String>, stored: Option<String>) -> Result<Self, Malformed> {
        let stored = match stored {
            Some(text) => {
                let start = text.find('{').ok_or(Malformed { left: text.len() })?;
                Some(StoredDataSet {
                    text,
                    at: start.saturating_add(1),
                    next: None,
                })
            }
            None => None,
        };
        Ok(Self {
            known: known.into_iter().peekable(),
            stored,
            copied: Copied::Nothing,
            state: MergeState::Begun,
            last: None,
        })
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`Malformed`] when the stored text is no DICOM JSON.
    pub fn whole(mut self) -> Result<String, Malformed> {
        let stored = self.stored.as_ref().map_or(0, |stored| stored.text.len());
        let mut text = Vec::with_capacity(stored);
        while let Some(piece) = self.next(WHOLE)? {
            text.extend(piece);
        }
        String::from_utf8(text).map_err(|_| Malformed { left: 0 })
    }

    fn name(&mut self, tag: Tag, out: &mut Vec<u8>) {
        if self.last.is_some() {
            out.push(b',');
        }
        self.last = Some(tag);
        out.push(b'"');
        out.extend(tag::hex(tag).bytes());
        out.extend(b"\":");
    }

    /// Copies on; whether all was copied.
    fn copy(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        let room = enough.saturating_sub(out.len());
        match &mut self.copied {
            Copied::Nothing => true,
            Copied::Known(text, from) => {
                let to = from.saturating_add(room).min(text.len());
                out.extend(text.as_bytes().get(*from..to).unwrap_or_default());
                *from = to;
                to == text.len()
            }
            Copied::Stored(place) => {
                let to = place.start.saturating_add(room).min(place.end);
                let text = self.stored.as_ref().map(|stored| stored.text.as_bytes());
                out.extend(
                    text.and_then(|text| text.get(place.start..to))
                        .unwrap_or_default(),
                );
                place.start = to;
                to == place.end
            }
        }
    }

    /// Begins the next attribute; whether there is one.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        loop {
            let stored = match &mut self.stored {
                Some(stored) => {
                    stored.advance()?;
                    stored.next.as_ref().map(|(tag, _)| *tag)
                }
                None => None,
            };
            let known = self.known.peek().map(|(tag, _)| *tag);
            let first = match (known, stored) {
                (Some(known), Some(stored)) => known.min(stored),
                (Some(tag), None) | (None, Some(tag)) => tag,
                (None, None) => return Ok(false),
            };
            let taken = self.stored.as_mut().filter(|_| stored == Some(first));
            let from_stored = taken.and_then(|stored| stored.next.take());
            if known == Some(first) {
                if let Some((_, text)) = self.known.next() {
                    self.name(first, out);
                    self.copied = Copied::Known(text, 0);
                    return Ok(true);
                }
            } else if let Some((_, place)) = from_stored
                && self.last != Some(first)
            {
                self.name(first, out);
                self.copied = Copied::Stored(place);
                return Ok(true);
            }
        }
    }
}

impl Pieces for MergedJson {
    fn next(&mut self, least: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let mut out = Vec::new();
        match self.state {
            MergeState::Done => return Ok(None),
            MergeState::Begun => out.push(b'{'),
            MergeState::Open => {}
        }
        self.state = MergeState::Open;
        while out.len() < least {
            if !self.copy(&mut out, least) {
                continue;
            }
            self.copied = Copied::Nothing;
            if !self.begin(&mut out)? {
                out.push(b'}');
                self.state = MergeState::Done;
                break;
            }
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"00080018":{"vr":"UI","Value":["1"]},"00080054":{"vr":"AE","Value":["EVIL"]},"00081190":{"vr":"UR","Value":["https://evil.example"]},"00100020":{"vr":"LO","Value":["ID"]},"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}"#;

    fn known() -> BTreeMap<Tag, String> {
        BTreeMap::from([
            (Tag(0x0008, 0x1190), "{\"vr\":\"UR\"}".to_owned()),
            (Tag(0x0010, 0x0020), "{\"vr\":\"LO\"}".to_owned()),
            (Tag(0x0020, 0x0010), "{}".to_owned()),
        ])
    }

    #[test]
    fn known_attributes_stand_among_the_stored_ones_once() {
        let expected = r#"{"00080018":{"vr":"UI","Value":["1"]},"00081190":{"vr":"UR"},"00100020":{"vr":"LO"},"00200010":{}}"#;
        let merged = || MergedJson::new(known(), Some(STORED.to_owned())).unwrap();
        assert_eq!(merged().whole().unwrap(), expected);
        for least in [1, 7, 40] {
            let mut merged = merged();
            let mut text = Vec::new();
            while let Some(piece) = merged.next(least).unwrap() {
                assert!(piece.len() < least + 30, "{}", piece.len());
                text.extend(piece);
            }
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
        let alone = MergedJson::new(known(), None).unwrap().whole().unwrap();
        assert!(alone.starts_with(r#"{"00081190":{"vr":"UR"},"#), "{alone}");
        let empty = MergedJson::new(BTreeMap::new(), Some("{}".to_owned()));
        assert_eq!(empty.unwrap().whole().unwrap(), "{}");
    }

    #[test]
    fn a_member_that_is_there_twice_is_written_once() {
        let twice = r#"{"00080018":{"vr":"UI"},"00080018":{"vr":"LO"}}"#;
        let merged = MergedJson::new(BTreeMap::new(), Some(twice.to_owned())).unwrap();
        assert_eq!(merged.whole().unwrap(), r#"{"00080018":{"vr":"UI"}}"#);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", r#"{"00080018":{"vr":"UI"}"#, r#"{"x":{}}"#] {
            let merged = MergedJson::new(known(), Some(text.to_owned()));
            assert!(merged.and_then(MergedJson::whole).is_err(), "{text}");
        }
    }
}
