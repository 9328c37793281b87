//! An instance opened to be looked at: what it is, and the attributes that show how it looks.
//!
//! Invariants: the metadata stays packed, and is a text only while it is read, of which only the attributes that are needed
//! are looked at; values served by URI are read when something asks for them, `MOST_TABLES` bytes of them at most; all is
//! reserved as long as it is held.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::archive::Archive;
use crate::archive::buffer::reserved;
use crate::archive::content::collect;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::open_instance::OpenInstance;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::members::{self, JsonElement};
use crate::dicom::metadata;
use crate::dicom::render::{embedded_plane_of, text};
use crate::dicom::tag;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, Target};
use crate::index::IndexError;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;
use crate::trace::Stage;
use facts::Facts;

mod facts;
mod planes;

/// Largest metadata read for a picture, in bytes.
const MAX_METADATA: usize = 256 << 20;
/// Largest lookup table, profile or overlay read for a picture, in bytes.
const MAX_TABLE: u64 = 8 << 20;
/// Bytes of all tables of a picture.
pub(in crate::archive) const MOST_TABLES: u64 = 16 << 20;
/// Copies of a table that exist at the same time: as stored, as handed to the renderer, and as numbers of four bytes.
const TABLE_COPIES: usize = 6;
/// How often an instance is asked again for tables; each time more of them are there.
const ROUNDS: usize = 8;
/// Images of a presentation state that are looked for.
const MAX_REFERENCES: usize = 200;
/// Frame time when the instance names none, in ms.
const FRAME_TIME: f64 = 100.0;
/// Bytes a page may have for each byte of metadata, both forms together, and the most of it.
const PAGE_GROWTH: usize = 8;
const MOST_PAGE: usize = 80 << 20;

/// What an instance is, to somebody who wants to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It has frames to draw.
    Image,
    /// Its pixel data is a video stream of this media type.
    Video(&'static str),
    /// An encapsulated document.
    Document,
    /// A presentation state: it shows the images it refers to.
    Presentation,
    /// A structured report.
    Report,
    /// Attributes only.
    Other,
}

/// An instance opened to be looked at.
#[derive(Debug, Clone)]
pub struct RenderSource {
    /// The instance.
    pub instance: Arc<OpenInstance>,
    metadata: Arc<Packed>,
    /// None for what has frames: nothing of it is needed before one is drawn.
    facts: Option<Arc<Facts>>,
    tables: Arc<Mutex<Tables>>,
}

/// Metadata as it is stored.
#[derive(Debug)]
struct Packed {
    bytes: Vec<u8>,
    /// Bytes of its text.
    unpacked: usize,
    _memory: Reservation,
}

/// Metadata while it is read: a DICOM JSON object.
#[derive(Debug)]
pub(in crate::archive) struct HeldText {
    text: String,
    _memory: Reservation,
}

impl HeldText {
    /// The values of attributes as texts; none for those that are not there.
    pub(in crate::archive) fn values<const N: usize>(&self, wanted: [Tag; N]) -> [Vec<String>; N] {
        let found = members::find(&self.text, wanted).unwrap_or([None; N]);
        let text = |value| match members::string(value) {
            Some(text) => text.into_owned(),
            None => value.to_owned(),
        };
        found.map(|element| {
            let values = element.into_iter().flat_map(JsonElement::values);
            let values = values.filter(|value| *value != "null");
            values.take(MAX_REFERENCES).map(text).collect()
        })
    }

    /// The DICOM JSON object.
    pub(in crate::archive) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Values served by URI that were asked for, by tag path with items from 0; none for what is not there or too large.
#[derive(Debug, Default)]
struct Tables {
    held: HashMap<String, Option<Arc<[u8]>>>,
    bytes: u64,
    memory: Option<Reservation>,
}

impl RenderSource {
    /// What it is.
    #[must_use]
    pub fn nature(&self) -> Nature {
        let row = &self.instance.row;
        let video = transfer_syntax::frame_media(&row.layout.transfer_syntax);
        if row.pixel.is_some() {
            return if video.starts_with("video/") {
                Nature::Video(video)
            } else {
                Nature::Image
            };
        }
        match row.sop_class.as_str() {
            "1.2.840.10008.5.1.4.1.1.11.1" | "1.2.840.10008.5.1.4.1.1.11.2" => Nature::Presentation,
            _ if self.fact(|facts| facts.document) => Nature::Document,
            _ if self.fact(|facts| facts.report) => Nature::Report,
            _ => Nature::Other,
        }
    }

    /// Media type of an encapsulated document (0042,0012).
    #[must_use]
    pub fn document_media(&self) -> String {
        let named = self
            .facts
            .as_ref()
            .and_then(|facts| facts.document_media.as_deref());
        // It goes into headers, so it must be a type and nothing else (RFC 9110 §8.3.1).
        let token = |text: &str| {
            let sign = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            !text.is_empty() && text.bytes().all(sign)
        };
        let sound = |media: &&str| {
            let parts = media.split_once('/');
            parts.is_some_and(|(main, sub)| token(main) && token(sub))
        };
        named
            .map(|media| media.split(';').next().unwrap_or_default().trim())
            .filter(sound)
            .map_or_else(
                || transfer_syntax::OCTETS.to_owned(),
                str::to_ascii_lowercase,
            )
    }

    /// Length of the document without padding (0042,0015), where it is named.
    #[must_use]
    pub fn document_length(&self) -> Option<u64> {
        self.facts.as_ref()?.document_length
    }

    fn fact(&self, fact: impl Fn(&Facts) -> bool) -> bool {
        self.facts.as_deref().is_some_and(fact)
    }

    /// Bytes that are held at most until a frame of it can be drawn, beside the frame.
    pub(in crate::archive) fn cost(&self) -> u64 {
        let tables = self
            .instance
            .bulk
            .iter()
            .filter(|item| is_table(&item.path));
        let lengths = tables.map(|item| item.length).filter(|l| *l <= MAX_TABLE);
        let tables = lengths.fold(0_u64, u64::saturating_add).min(MOST_TABLES);
        let tables = tables.saturating_mul(TABLE_COPIES as u64);
        tables.saturating_add(self.metadata.unpacked as u64)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// Opens an instance to be looked at.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope, [`ArchiveError::Memory`] when there is no room for
    /// its metadata.
    pub async fn subject(&self, scope: &Scope, name: &InstanceName) -> Result<RenderSource> {
        let instance = self.open(scope, name).await?;
        let gone =
            || ArchiveError::not_found(crate::archive::describe(&Target::Instance(name.clone())));
        let watermark = [instance.row.watermark];
        let sizes = self.index.metadata_sizes(&scope.into(), &watermark).await?;
        let (_, size) = sizes.into_iter().next().ok_or_else(gone)?;
        let memory = self.reserve(Purpose::Rows, size).await?;
        let packed = Stage::Rows
            .of(self.index.packed_metadata(&scope.into(), &watermark))
            .await?;
        let (_, bytes) = packed.into_iter().next().ok_or_else(gone)?;
        let metadata = Packed {
            unpacked: metadata::unpacked_length(&bytes).ok_or_else(corrupt)?,
            bytes,
            _memory: memory,
        };
        let mut subject = RenderSource {
            instance,
            metadata: Arc::new(metadata),
            facts: None,
            tables: Arc::default(),
        };
        if subject.instance.row.pixel.is_none() {
            let facts = self.read_text(&subject, |text| {
                Facts::read(text.as_str()).map_err(|_| corrupt().into())
            });
            subject.facts = Some(Arc::new(facts.await?));
        }
        Ok(subject)
    }

    /// The metadata of a subject as text, for as long as it is held.
    pub(in crate::archive) async fn text(&self, subject: &RenderSource) -> Result<Arc<HeldText>> {
        self.read_text(subject, |text| Ok(Arc::new(text))).await
    }

    /// Reads something in the metadata of a subject, where it keeps nobody waiting.
    pub(in crate::archive) async fn read_text<T: Send + 'static>(
        &self,
        subject: &RenderSource,
        read: impl FnOnce(HeldText) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let memory = self
            .reserve(Purpose::Text, subject.metadata.unpacked)
            .await?;
        let packed = subject.metadata.clone();
        let read = self.lanes().run(Lane::Text, move || {
            let unpacked = metadata::unpack(&packed.bytes, MAX_METADATA).map_err(|_| corrupt())?;
            read(HeldText {
                text: unpacked.text,
                _memory: memory,
            })
        });
        read.await
    }

    /// The values of attributes as texts; none for those that are not there.
    pub(in crate::archive) async fn values<const N: usize>(
        &self,
        subject: &RenderSource,
        wanted: [Tag; N],
    ) -> Result<[Vec<String>; N]> {
        self.read_text(subject, move |text| Ok(text.values(wanted)))
            .await
    }

    /// Time between two frames of an animation, in ms.
    pub(in crate::archive) async fn frame_time(&self, subject: &RenderSource) -> Result<f64> {
        let facts = self.read_text(subject, |text| {
            Facts::read(text.as_str()).map_err(|_| corrupt().into())
        });
        Ok(facts.await?.frame_time.unwrap_or(FRAME_TIME))
    }

    /// HTML or plain text: of a report its content, of anything else its attributes.
    ///
    /// # Errors
    /// [`ArchiveError::Memory`] when there is no room for it.
    pub async fn page(&self, subject: &RenderSource, html: bool) -> Result<Bytes> {
        let length = subject.metadata.unpacked;
        let most = length.saturating_mul(PAGE_GROWTH).min(MOST_PAGE);
        let memory = self
            .reserve(
                Purpose::Answers,
                most.saturating_add(64 << 10).saturating_add(length),
            )
            .await?;
        let report = subject.nature() == Nature::Report;
        let packed = subject.metadata.clone();
        let made = self.lanes().run(Lane::Text, move || {
            let unpacked = metadata::unpack(&packed.bytes, MAX_METADATA).map_err(|_| corrupt())?;
            let name = |hex: &str| {
                tag::parse(hex)
                    .ok()
                    .and_then(tag::keyword)
                    .map(ToOwned::to_owned)
            };
            let (page, plain) = if report {
                text::render_sr(&unpacked.text)
            } else {
                text::render_header(&unpacked.text, &name)
            };
            Ok(if html { page } else { plain })
        });
        Ok(reserved(made.await?.into_bytes(), memory))
    }

    /// Reads attributes of which some are served by URI: `read` is called until all that it asks for are there.
    pub(in crate::archive) async fn with_tables<T: Send + 'static>(
        &self,
        subject: &RenderSource,
        read: impl Fn(&str, &dyn Fn(&str) -> Option<Vec<u8>>) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        let read = Arc::new(read);
        let text = self.text(subject).await?;
        for round in 1.. {
            let (text, read) = (text.clone(), read.clone());
            let held = subject.tables().held.clone();
            let done = self.maker.work(move || {
                let missing = RefCell::new(Vec::new());
                let made = read(text.as_str(), &|path| {
                    match held.get(path) {
                        Some(table) => return table.as_deref().map(<[u8]>::to_vec),
                        None => missing.borrow_mut().push(path.to_owned()),
                    }
                    None
                });
                Ok((made, missing.into_inner()))
            });
            let (made, missing) = done.await?;
            if round == ROUNDS || !self.fetch_tables(subject, missing).await? {
                return Ok(made);
            }
        }
        Err(ArchiveError::Lost { what: "tables" })
    }

    /// Reads tables; whether there are any.
    async fn fetch_tables(&self, subject: &RenderSource, missing: Vec<String>) -> Result<bool> {
        let instance = &subject.instance;
        let mut some = false;
        for path in missing {
            if let Some((frame, bit)) = embedded_plane_of(&path) {
                some |= self.fetch_plane(subject, path, frame, bit).await?;
                continue;
            }
            let stored_path = from_one(&path);
            let item = instance.bulk.iter().find(|item| item.path == stored_path);
            let bytes = subject.tables().bytes;
            let fits = |length: u64| length <= MAX_TABLE && bytes + length <= MOST_TABLES;
            let Some(item) = item.filter(|item| fits(item.length) && is_table(&item.path)) else {
                subject.tables().held.insert(path, None);
                continue;
            };
            let size = usize::try_from(item.length).unwrap_or(usize::MAX);
            let more = self.reserve(Purpose::Pixels, size.saturating_mul(TABLE_COPIES));
            let more = more.await?;
            let value = self.bulk_value(instance, item);
            let content = self.bulk_content(instance, &value).await?;
            let table = collect(content.all().await?).await?;
            let mut tables = subject.tables();
            tables.bytes += item.length;
            tables.held.insert(path, Some(Arc::from(table)));
            match &mut tables.memory {
                Some(memory) => memory.merge(more),
                memory => *memory = Some(more),
            }
            some = true;
        }
        Ok(some)
    }
}

const fn corrupt() -> IndexError {
    IndexError::Corrupt {
        what: "the metadata of an instance",
    }
}

/// Values a picture may need: palettes, LUT data, profiles, overlays.
fn is_table(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last.get(..4), Some("0028")) || (last.starts_with("60") && last.ends_with("3000"))
}

/// `00283010/0/00283006` to `00283010/1/00283006`.
fn from_one(path: &str) -> String {
    let step = |part: &str| match part.parse::<u64>() {
        Ok(number) if part.len() < 8 => number.saturating_add(1).to_string(),
        _ => part.to_owned(),
    };
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

/// Images of (0008,1115) that are looked for: series, instance, first frame.
pub(in crate::archive) fn references(metadata: &str) -> Vec<(SeriesUid, InstanceUid, u32)> {
    let find = |data_set: &str, tag: Tag, then: &mut dyn FnMut(JsonElement<'_>)| {
        if let Ok([Some(element)]) = members::find(data_set, [tag]) {
            then(element);
        }
    };
    let mut found = Vec::new();
    find(metadata, tags::REFERENCED_SERIES_SEQUENCE, &mut |all| {
        for series in all.items() {
            let Ok([uid, images]) = members::find(
                series,
                [tags::SERIES_INSTANCE_UID, tags::REFERENCED_IMAGE_SEQUENCE],
            ) else {
                continue;
            };
            let uid = uid.and_then(|uid| SeriesUid::parse(&uid.strings().next()?).ok());
            let (Some(uid), Some(images)) = (uid, images) else {
                continue;
            };
            for image in images.items() {
                if found.len() >= MAX_REFERENCES {
                    return;
                }
                let Ok([instance, frames]) = members::find(
                    image,
                    [
                        tags::REFERENCED_SOP_INSTANCE_UID,
                        tags::REFERENCED_FRAME_NUMBER,
                    ],
                ) else {
                    continue;
                };
                let instance = instance.and_then(|i| InstanceUid::parse(&i.strings().next()?).ok());
                let frame = frames.and_then(|f| f.integers().next());
                let frame = frame.and_then(|frame| u32::try_from(frame).ok());
                if let Some(instance) = instance {
                    found.push((uid.clone(), instance, frame.unwrap_or(1).max(1)));
                }
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_from_one_where_values_are_stored() {
        assert_eq!(from_one("00281201"), "00281201");
        assert_eq!(from_one("00283010/0/00283006"), "00283010/1/00283006");
        assert!(is_table("00283010/1/00283006") && is_table("60003000") && !is_table("7FE00010"));
    }

    #[test]
    fn the_images_of_a_presentation_state_are_found_in_their_order() {
        let text = r#"{"00081115":{"vr":"SQ","Value":[{"00081140":{"vr":"SQ","Value":[
            {"00081155":{"vr":"UI","Value":["1.2.3"]},"00081160":{"vr":"IS","Value":[4]}},
            {"00081155":{"vr":"UI","Value":["1.2.4"]}},{}]},"0020000E":{"vr":"UI","Value":["1.2"]}}]}}"#;
        let found = references(text);
        let reported: Vec<_> = found
            .iter()
            .map(|(series, instance, frame)| (series.as_str(), instance.as_str(), *frame))
            .collect();
        assert_eq!(reported, [("1.2", "1.2.3", 4), ("1.2", "1.2.4", 1)]);
        assert_eq!(references("{}").len(), 0);
    }
}
