//! Whole instances in another transfer syntax, frame by frame.
//!
//! Invariant: at no time is more than one frame of an instance held here; lengths are known before the first byte goes
//! out, so an answer has a Content-Length and a failed frame breaks it off visibly.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::disagreement::widest_before;
use super::spooled_frames::SpooledFrames;
use crate::archive::Archive;
use crate::archive::assembled::Base;
use crate::archive::bitpack::native_length;
use crate::archive::caches::sources::SpooledSource;
use crate::archive::content::Representation;
use crate::archive::content::collect;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::open_instance::OpenInstance;
use crate::archive::source_read::lost_bytes;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, Coding, FrameShape};
use crate::dicom::instance::PixelDescription;
use crate::dicom::media::RepresentationPlan;
use crate::dicom::rewrite::{self, Edit, Edits, FileSegment, PixelEdit, total_length};
use crate::dicom::source::Source;
use crate::index::InstanceRow;
use crate::memory::Purpose;
use crate::scope::Scope;

impl Archive {
    /// An instance as planned.
    ///
    /// # Errors
    /// When its bytes cannot be read, or its first frame not decoded.
    pub async fn produce(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        plan: &RepresentationPlan,
    ) -> Result<Representation> {
        let native = transfer_syntax::is_native(&row.layout.transfer_syntax);
        match plan {
            RepresentationPlan::Stored if row.layout.part10 => Ok(self.stored_file(row)),
            RepresentationPlan::Stored => self.completed(row),
            RepresentationPlan::Native if native => self.explicit(row).await,
            RepresentationPlan::Native => {
                self.decoded_instance(self.open_version(scope, row).await?)
                    .await
            }
            RepresentationPlan::Encode(uid) if uid == transfer_syntax::DEFLATED_LE => {
                self.deflated_instance(row).await
            }
            RepresentationPlan::Encode(uid) => {
                self.encoded_instance(scope, self.open_version(scope, row).await?, uid)
                    .await
            }
        }
    }

    /// The stored data set behind meta information of its own: what came without, or with one that says something else, is
    /// no Part 10 file (PS3.10 §7.1).
    fn completed(&self, row: &InstanceRow) -> Result<Representation> {
        let instance = row.name.instance.as_str();
        let head = rewrite::named_group(&row.sop_class, instance, &row.layout.transfer_syntax);
        let offset = row.layout.dataset_offset;
        let length = row.place.length.saturating_sub(offset);
        let segments = vec![
            FileSegment::Bytes(head.map_err(lost_bytes)?),
            FileSegment::Copy { offset, length },
        ];
        let base = Base::Stored(Arc::new(row.place.clone()));
        Ok(self.rewritten(base, segments, None))
    }

    /// A compressed instance as Explicit VR Little Endian; frames are decoded as they are sent.
    async fn decoded_instance(&self, instance: Arc<OpenInstance>) -> Result<Representation> {
        let pixel = pixel(&instance)?;
        let first = self.samples(&instance, 1).await?.shape;
        let frames = instance.frame_count();
        let length = native_length(&first, frames);
        let shape = self.widest(&instance, first).await?;
        let vr = if shape.bits_allocated > 8 {
            VR::OW
        } else {
            VR::OB
        };
        let edits = Edits {
            transfer_syntax: transfer_syntax::EXPLICIT_LE.to_owned(),
            elements: self.described(&instance, &pixel, &shape).await?,
            pixels: PixelEdit::Native { vr, frames, length },
        };
        let (segments, base) = self.planned(&instance.row, edits).await?;
        let made = self.decoded_frames(&instance, first);
        Ok(self.rewritten(base, segments, Some(made)))
    }

    /// An instance in a compressed transfer syntax; the frames wait in the spool until all lengths are known.
    async fn encoded_instance(
        &self,
        scope: &Scope,
        instance: Arc<OpenInstance>,
        uid: &str,
    ) -> Result<Representation> {
        let pixel = pixel(&instance)?;
        let frames = instance.frame_count();
        let mut spooled = SpooledFrames::begin(self, frames).await?;
        let (mut last, mut uncompressed) = (None, 0.0);
        for number in 1..=frames {
            let (bytes, shape, ratio) = self.encoded(&instance, number, uid).await?;
            let length = spooled.push(bytes).await?;
            uncompressed += ratio.unwrap_or(0.0) * f64::from(length);
            let mut shape = shape;
            if let Some((before, _)) = last {
                shape.bits_stored = shape.bits_stored.max(widest_before(&before, &shape)?);
            }
            last = Some((shape, ratio));
        }
        let (shape, ratio) = last.ok_or_else(|| ArchiveError::not_found("pixel data"))?;
        let mut elements = self.described(&instance, &pixel, &shape).await?;
        if ratio.is_some() {
            elements.retain(|edit| !LOSSY_TAGS.contains(&edit.tag));
            let before = match pixel.lossy {
                true => {
                    let subject = self.subject(scope, &instance.row.name).await?;
                    self.values(&subject, EARLIER_TAGS).await?
                }
                false => Default::default(),
            };
            #[expect(
                clippy::cast_precision_loss,
                reason = "a ratio of byte counts; instances are far below 2^52 bytes"
            )]
            let ratio = uncompressed / spooled.bytes().max(1) as f64;
            elements.extend(lossy(uid, Some(ratio), before));
        }
        let edits = Edits {
            transfer_syntax: uid.to_owned(),
            elements,
            pixels: PixelEdit::Encapsulated {
                lengths: spooled.lengths().to_vec(),
            },
        };
        let (segments, base) = self.planned(&instance.row, edits).await?;
        Ok(self.rewritten(base, segments, Some(spooled.into_frames())))
    }

    /// Header attributes that no longer say what the pixels are; what was lost before is told even when the stored header
    /// does not.
    async fn described(
        &self,
        instance: &OpenInstance,
        pixel: &PixelDescription,
        shape: &FrameShape,
    ) -> Result<Vec<Edit>> {
        let mut elements = described(pixel, shape, instance.frame_count());
        let held = &instance.row.layout.transfer_syntax;
        let may_be_lossy = Coding::from_uid(held).is_some_and(Coding::is_lossy_syntax);
        if may_be_lossy && !pixel.lossy && self.stream_is_lossy(instance).await? {
            elements.extend(lossy(held, None, Default::default()));
        }
        Ok(elements)
    }

    /// Whether the first frame lost something; one that does not say has.
    async fn stream_is_lossy(&self, instance: &OpenInstance) -> Result<bool> {
        let slices = instance
            .frame(1)
            .ok_or_else(|| ArchiveError::not_found("frame 1"))?;
        let length = usize::try_from(slices.len()).unwrap_or(usize::MAX);
        let memory = self.reserve(Purpose::Pixels, length).await?;
        let bytes = collect(self.slices(instance, &slices).all().await?).await?;
        let held = instance.row.layout.transfer_syntax.clone();
        self.maker
            .work(move || {
                let _memory = memory;
                Ok(codec::stream_is_lossy(&held, &bytes) != Some(false))
            })
            .await
    }

    /// An uncompressed instance, deflated (PS3.5 §A.5); written to the spool first, for its length.
    async fn deflated_instance(&self, row: &InstanceRow) -> Result<Representation> {
        let (segments, base) = self
            .planned(row, Edits::none(transfer_syntax::DEFLATED_LE))
            .await?;
        self.deflated(row, segments, base).await
    }

    /// A planned file whose data set is to be deflated.
    pub(super) async fn deflated(
        &self,
        row: &InstanceRow,
        segments: Vec<FileSegment>,
        base: Base,
    ) -> Result<Representation> {
        // Deflating makes what cannot be deflated longer by a few bytes in each block.
        let most = total_length(&segments);
        let mut room = self.spool_room(most.saturating_add(most / 1000)).await?;
        let spool = self.spool_file().await?;
        let file = spool.try_clone().map_err(lost_bytes)?;
        let (source, _received) = match base {
            Base::Open(source) => (source, None),
            Base::Stored(_) => self.local(row).await?,
        };
        let write = move || write_deflated(&*source, &segments, file).map_err(lost_bytes);
        let length = self.lanes().run(Lane::Retrieve, write).await?;
        room.shrink_to(length);
        let base = Base::Open(Arc::new(SpooledSource::new(spool, room)?));
        let all = vec![FileSegment::Copy { offset: 0, length }];
        Ok(self.rewritten(base, all, None))
    }
}

fn pixel(instance: &OpenInstance) -> Result<PixelDescription> {
    instance
        .row
        .pixel
        .clone()
        .ok_or_else(|| ArchiveError::not_found("pixel data"))
}

/// The first segment is the meta group, which is never deflated.
fn write_deflated(
    source: &dyn Source,
    segments: &[FileSegment],
    mut file: File,
) -> std::io::Result<u64> {
    let Some((meta, rest)) = segments.split_first() else {
        return Ok(0);
    };
    let mut none = |_: std::ops::RangeInclusive<u32>, _: &mut dyn Write| Ok(());
    rewrite::write(source, std::slice::from_ref(meta), &mut none, &mut file)?;
    let mut encoder = DeflateEncoder::new(file, Compression::default());
    rewrite::write(source, rest, &mut none, &mut encoder)?;
    let mut file = encoder.finish()?;
    let mut length = file.metadata()?.len();
    if length % 2 == 1 {
        file.write_all(&[0])?;
        length += 1;
    }
    Ok(length)
}

/// Header attributes that no longer say what the pixels are.
pub(super) fn described(pixel: &PixelDescription, shape: &FrameShape, frames: u32) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut number = |tag: Tag, stored: u16, now: u16| {
        if stored != now {
            edits.push(Edit {
                tag,
                value: Some((VR::US, now.to_le_bytes().to_vec())),
            });
        }
    };
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    number(
        tags::SAMPLES_PER_PIXEL,
        pixel.samples_per_pixel,
        shape.samples,
    );
    number(tags::ROWS, side(pixel.rows), side(shape.rows));
    number(tags::COLUMNS, side(pixel.columns), side(shape.columns));
    number(
        tags::BITS_ALLOCATED,
        pixel.bits_allocated,
        shape.bits_allocated,
    );
    number(tags::BITS_STORED, pixel.bits_stored, shape.bits_stored);
    // Samples lie in the low bits of what is written here.
    number(
        tags::HIGH_BIT,
        pixel.high_bit,
        shape.bits_stored.saturating_sub(1),
    );
    number(
        tags::PIXEL_REPRESENTATION,
        pixel.representation,
        u16::from(shape.signed),
    );
    if shape.samples > 1 {
        edits.push(Edit {
            tag: tags::PLANAR_CONFIGURATION,
            value: Some((VR::US, u16::from(shape.planar).to_le_bytes().to_vec())),
        });
    } else if pixel.samples_per_pixel > 1 {
        edits.push(Edit {
            tag: tags::PLANAR_CONFIGURATION,
            value: None,
        });
    }
    if let Some(term) = shape
        .photometric
        .term()
        .filter(|term| *term != pixel.photometric)
    {
        edits.push(Edit {
            tag: tags::PHOTOMETRIC_INTERPRETATION,
            value: Some((VR::CS, term.as_bytes().to_vec())),
        });
    }
    if frames != pixel.frames {
        edits.push(Edit {
            tag: tags::NUMBER_OF_FRAMES,
            value: Some((VR::IS, frames.to_string().into_bytes())),
        });
    }
    edits
}

/// Attributes that tell of lossy compression.
const LOSSY_TAGS: [Tag; 3] = [
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// Attributes that keep what earlier steps left there.
const EARLIER_TAGS: [Tag; 2] = [
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// What a lossy step leaves in the header, behind what earlier steps left there (PS3.3 §C.7.6.1.1.5).
fn lossy(uid: &str, ratio: Option<f64>, before: [Vec<String>; 2]) -> Vec<Edit> {
    let [flag, ratio_tag, method_tag] = LOSSY_TAGS;
    let text = |tag: Tag, vr: VR, value: String| Edit {
        tag,
        value: Some((vr, value.into_bytes())),
    };
    let behind = |mut values: Vec<String>, value: String| {
        values.push(value);
        values.join("\\")
    };
    let [ratios, methods] = before;
    let mut edits = vec![text(flag, VR::CS, "01".to_owned())];
    if let Some(ratio) = ratio {
        let values = behind(ratios, format!("{ratio:.2}"));
        edits.push(text(ratio_tag, VR::DS, values));
    }
    if let Some(method) = Coding::from_uid(uid).and_then(Coding::lossy_method) {
        let values = behind(methods, method.to_owned());
        edits.push(text(method_tag, VR::CS, values));
    }
    edits
}
