//! Frames and bulk values of one instance: ranged reads, never the object.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::archive::Archive;
use crate::archive::assembled::{Base, Frames};
use crate::archive::bitpack::native_length;
use crate::archive::content::{Representation, collect};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::open_instance::OpenInstance;
use crate::archive::source_read::lost_bytes;
use crate::dicom::codec::transfer_syntax;
use dicom_core::VR;

use crate::dicom::codec::{self, FrameShape};
use crate::dicom::endian::swap_width;
use crate::dicom::frames::{ByteRange, FrameSlices};
use crate::dicom::instance::BulkItem;
use crate::dicom::items::item_values;
use crate::dicom::media::RepresentationPlan;
use crate::dicom::rewrite::FileSegment;
use crate::index::InstanceRow;

/// A value served by URI.
#[derive(Debug, Clone)]
pub struct BulkValue {
    item: BulkItem,
    /// Media type of the value itself.
    pub media: String,
    /// Transfer syntax of the bytes as they are sent.
    pub syntax: String,
    /// Its bytes, when they stand in the metadata.
    held: Option<Bytes>,
}

impl BulkValue {
    /// A value whose bytes are at hand.
    pub(in crate::archive) fn held(path: String, vr: String, bytes: Bytes) -> Self {
        Self {
            item: BulkItem {
                path,
                vr,
                offset: 0,
                length: bytes.len() as u64,
                encapsulated: false,
            },
            media: transfer_syntax::OCTETS.to_owned(),
            syntax: transfer_syntax::EXPLICIT_LE.to_owned(),
            held: Some(bytes),
        }
    }

    /// Where it lies below `bulkdata/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.item.path
    }

    /// Whether it is an encapsulated document, whose media type stands in (0042,0012).
    #[must_use]
    pub fn is_document(&self) -> bool {
        self.item.path == "00420011"
    }

    /// Ends the value where its document does: what follows is padding (0042,0015).
    pub fn end_at(&mut self, length: u64) {
        self.item.length = self.item.length.min(length);
    }

    /// Whether it is pixel data that is negotiated frame by frame; a video is one stream.
    #[must_use]
    pub fn has_frames(&self) -> bool {
        self.item.path == "7FE00010" && !self.media.starts_with("video/")
    }

    /// Transfer syntax to be named with `media`; a document has none.
    #[must_use]
    pub fn syntax_as(&self, media: &str) -> Option<&str> {
        let pixels = media.starts_with("image/")
            || media.starts_with("video/")
            || media == transfer_syntax::OCTETS;
        pixels.then_some(self.syntax.as_str())
    }
}

impl Archive {
    /// One frame as planned; `number` counts from 1.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame.
    pub async fn frame(
        &self,
        instance: &OpenInstance,
        number: u32,
        plan: &RepresentationPlan,
    ) -> Result<Representation> {
        let slices = instance
            .frame(number)
            .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
        Ok(match plan {
            RepresentationPlan::Stored => self.slices(instance, &slices),
            RepresentationPlan::Native
                if transfer_syntax::is_native(&instance.row.layout.transfer_syntax) =>
            {
                self.native_slices(instance, &slices)
            }
            RepresentationPlan::Native => {
                let samples = self.samples(instance, number).await?;
                Representation::whole(samples.into_bytes())
            }
            RepresentationPlan::Encode(uid) => {
                Representation::whole(self.encoded(instance, number, uid).await?.0)
            }
        })
    }

    /// The stored bytes of slices; bits that do not fill their bytes are cut out in any case.
    pub(in crate::archive) fn slices(
        &self,
        instance: &OpenInstance,
        slices: &FrameSlices,
    ) -> Representation {
        let ranges = slices.ranges.clone().into_iter();
        let stored = self.ranges(&instance.row, ranges, slices.len());
        match slices.bits {
            Some(bits) if slices.swap < 2 => self.shifted(stored, bits),
            _ => stored,
        }
    }

    /// The bytes of native slices in little endian.
    pub(in crate::archive) fn native_slices(
        &self,
        instance: &OpenInstance,
        slices: &FrameSlices,
    ) -> Representation {
        let little = self.slices(instance, slices).swapped(slices.swap);
        match slices.bits {
            Some(bits) if slices.swap >= 2 => self.shifted(little, bits),
            _ => little,
        }
    }

    /// The value a `BulkDataURI` names; `path` is what follows `bulkdata/`.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when no metadata names it.
    pub fn bulk(&self, instance: &OpenInstance, path: &str) -> Result<BulkValue> {
        let wanted = path.trim_matches('/').to_ascii_uppercase();
        let found = instance.bulk.iter().find(|item| item.path == wanted);
        let item = found.ok_or_else(|| ArchiveError::not_found("the bulk data"))?;
        Ok(self.bulk_value(instance, item))
    }

    /// A value that is there.
    #[must_use]
    pub fn bulk_value(&self, instance: &OpenInstance, item: &BulkItem) -> BulkValue {
        let item = item.clone();
        let stored = &instance.row.layout.transfer_syntax;
        let encapsulated = item.encapsulated;
        let media = if encapsulated {
            transfer_syntax::frame_media(stored)
        } else {
            transfer_syntax::OCTETS
        };
        let syntax = if encapsulated {
            stored.clone()
        } else {
            transfer_syntax::EXPLICIT_LE.to_owned()
        };
        BulkValue {
            item,
            media: media.to_owned(),
            syntax,
            held: None,
        }
    }

    /// The value with the media type and transfer syntax of its bytes, where those of the file cannot be its own: a codestream
    /// inside of a native file, such as an icon that a writer left compressed.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when the bytes are not there.
    pub async fn recognized(
        &self,
        instance: &OpenInstance,
        mut value: BulkValue,
    ) -> Result<BulkValue> {
        let stored = &instance.row.layout.transfer_syntax;
        if value.item.encapsulated && transfer_syntax::is_native(stored) {
            let content = self.bulk_content(instance, &value).await?;
            let head = collect(content.range(0..LOOKED).await?).await?;
            if let Ok(stream) = codec::recognize(&head) {
                transfer_syntax::frame_media(stream.coding.uid()).clone_into(&mut value.media);
                stream.coding.uid().clone_into(&mut value.syntax);
            }
        }
        Ok(value)
    }

    /// All frames as samples in Explicit VR Little Endian, one after the other; decoded as they are sent.
    ///
    /// # Errors
    /// When the first frame cannot be decoded.
    pub async fn all_samples(&self, instance: &Arc<OpenInstance>) -> Result<Representation> {
        let first = self.samples(instance, 1).await?.shape;
        let frames = instance.frame_count();
        let all = FileSegment::Frames {
            numbers: 1..=frames,
            length: native_length(&first, frames),
        };
        let nothing = Base::Open(Arc::new(Bytes::new()));
        let made = self.decoded_frames(instance, first);
        Ok(self.rewritten(nothing, vec![all], Some(made)))
    }

    /// Makes the native value of all frames, piece by piece, each of the shape of the first.
    pub(in crate::archive) fn decoded_frames(
        &self,
        instance: &Arc<OpenInstance>,
        first: FrameShape,
    ) -> Frames {
        let (archive, instance) = (self.clone(), instance.clone());
        let frames = instance.frame_count();
        let alike = first.bits_allocated != 1 || first.sample_count().is_multiple_of(8);
        let make = Arc::new(move |number| {
            let (archive, instance) = (archive.clone(), instance.clone());
            async move {
                archive
                    .native_piece(&instance, number, &first, frames)
                    .await
            }
            .boxed()
        });
        Frames { make, alike }
    }

    /// The bytes of a value in little endian; of encapsulated pixel data all frames, one after the other.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when the bytes are not there.
    pub async fn bulk_content(
        &self,
        instance: &OpenInstance,
        value: &BulkValue,
    ) -> Result<Representation> {
        if let Some(bytes) = &value.held {
            let length = usize::try_from(value.item.length).unwrap_or(usize::MAX);
            return Ok(Representation::whole(
                bytes.slice(..length.min(bytes.len())),
            ));
        }
        if value.item.encapsulated && value.item.path != "7FE00010" {
            let ranges = self.nested_fragments(&instance.row, &value.item).await?;
            let length = ranges.iter().map(|range| range.length).sum();
            return Ok(self.ranges(&instance.row, ranges.into_iter(), length));
        }
        if value.item.encapsulated {
            let (ranges, length) = instance.all_frames();
            return Ok(self.ranges(&instance.row, ranges, length));
        }
        let range = ByteRange {
            offset: value.item.offset,
            length: value.item.length,
        };
        let stored = self.ranges(&instance.row, std::iter::once(range), range.length);
        let big = instance.row.layout.transfer_syntax == transfer_syntax::EXPLICIT_BE;
        let pixels = instance
            .frame(1)
            .filter(|_| value.item.path.starts_with("7FE0"));
        let width = match pixels {
            _ if !big => 1,
            Some(frame) => frame.swap,
            None => value.item.vr.parse::<VR>().map_or(1, swap_width),
        };
        Ok(stored.swapped(width))
    }

    /// The fragments of an encapsulated value below the top level, an icon for example, without its offset table: no frame
    /// table has them.
    async fn nested_fragments(&self, row: &InstanceRow, item: &BulkItem) -> Result<Vec<ByteRange>> {
        let (start, end) = (item.offset, item.offset.saturating_add(item.length));
        let fragments = self.looked_through(row, move |source| {
            item_values(source, start, end, MOST_FRAGMENTS).map_err(lost_bytes)
        });
        // The first item is the offset table (PS3.5 §A.4).
        let (mut fragments, _) = fragments.await?;
        if !fragments.is_empty() {
            fragments.remove(0);
        }
        Ok(fragments)
    }
}

/// First bytes of a codestream that are looked at.
const LOOKED: u64 = 64 << 10;
/// Most fragments of an encapsulated value below the top level; icons have one.
const MOST_FRAGMENTS: usize = 65_536;
