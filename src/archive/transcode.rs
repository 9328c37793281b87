//! Whole instances in another transfer syntax, frame by frame.
//!
//! Invariant: at no time is more than one frame of an instance held here; lengths are known before the first byte goes
//! out, so an answer has a Content-Length and a failed frame breaks it off visibly.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::Archive;
use super::bitpack::native_length;
use super::error::{ArchiveError, Result};
use super::frames::collect;
use super::lanes::Lane;
use super::retrieve::{Content, OpenInstance, lost_bytes};
use super::told::widest_before;
use crate::dicom::codec::{self, Coding, FrameShape};
use crate::dicom::instance::PixelDescription;
use crate::dicom::media::{self, Plan, syntax};
use crate::dicom::rewrite::{self, Edit, Edits, PixelEdit, Segment};
use crate::dicom::source::{FileSource, Source};
use crate::dicom::walk::Limits as WalkLimits;
use crate::index::InstanceRow;
use crate::scope::Scope;

impl Archive {
    /// An instance as planned.
    ///
    /// # Errors
    /// When its bytes cannot be read, or its first frame not decoded.
    pub async fn produce(&self, scope: &Scope, row: &InstanceRow, plan: &Plan) -> Result<Content> {
        let native = media::is_native(&row.layout.transfer_syntax);
        match plan {
            Plan::Stored if row.layout.part10 => self.stored(row).await,
            Plan::Stored => self.completed(row).await,
            Plan::Native if native => self.explicit(row).await,
            Plan::Native => {
                self.decoded_instance(self.open(scope, &row.name).await?)
                    .await
            }
            Plan::Encode(uid) if uid == syntax::DEFLATED_LE => self.deflated_instance(row).await,
            Plan::Encode(uid) => {
                self.encoded_instance(scope, self.open(scope, &row.name).await?, uid)
                    .await
            }
        }
    }

    /// The stored data set behind meta information of its own: what came without, or with one that says something else, is
    /// no Part 10 file (PS3.10 §7.1).
    async fn completed(&self, row: &InstanceRow) -> Result<Content> {
        let instance = row.name.instance.as_str();
        let head = rewrite::named_group(&row.sop_class, instance, &row.layout.transfer_syntax);
        let head = Bytes::from(head.map_err(lost_bytes)?);
        let start = row.layout.dataset_offset;
        let length = row.place.length.saturating_sub(start);
        let data_set = self.range(&row.place, start, length).await?;
        let length = data_set.length.saturating_add(head.len() as u64);
        let head = stream::once(async move { Ok(head) });
        Ok(Content {
            length,
            chunks: head.chain(data_set.chunks).boxed(),
        })
    }

    /// A compressed instance as Explicit VR Little Endian; frames are decoded as they are sent.
    async fn decoded_instance(&self, instance: Arc<OpenInstance>) -> Result<Content> {
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
            transfer_syntax: syntax::EXPLICIT_LE.to_owned(),
            elements: self.described(&instance, &pixel, &shape).await?,
            pixels: PixelEdit::Native { vr, frames, length },
        };
        let (segments, source) = self.planned(&instance.row, edits).await?;
        let archive = self.clone();
        let frame = move |number: u32| {
            let (archive, instance) = (archive.clone(), instance.clone());
            async move {
                archive
                    .native_piece(&instance, number, &first, frames)
                    .await
            }
        };
        Ok(self.assembled(source, segments, frame))
    }

    /// An instance in a compressed transfer syntax; the frames wait in the spool until all lengths are known.
    async fn encoded_instance(
        &self,
        scope: &Scope,
        instance: Arc<OpenInstance>,
        uid: &str,
    ) -> Result<Content> {
        let pixel = pixel(&instance)?;
        let frames = instance.frame_count();
        let spool = self.spool_file().await?;
        let (mut lengths, mut starts, mut at) = (Vec::new(), Vec::new(), 0_u64);
        let (mut last, mut uncompressed) = (None, 0.0);
        for number in 1..=frames {
            let (bytes, shape, ratio) = self.encoded(&instance, number, uid).await?;
            let length = u32::try_from(bytes.len()).map_err(|_| ArchiveError::TooLarge {
                reason: "an encoded frame is too large".to_owned(),
            })?;
            lengths.push(length);
            starts.push(at);
            at += u64::from(length);
            let file = spool.try_clone().map_err(lost_bytes)?;
            self.work(move || (&file).write_all(&bytes).map_err(lost_bytes))
                .await?;
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
                    let lanes = self.lanes();
                    let read = move || Ok(subject.values(EARLIER_TAGS));
                    lanes.run(Lane::Text, read).await?
                }
                false => Default::default(),
            };
            #[expect(
                clippy::cast_precision_loss,
                reason = "a ratio of byte counts; instances are far below 2^52 bytes"
            )]
            let ratio = uncompressed / at.max(1) as f64;
            elements.extend(lossy(uid, Some(ratio), before));
        }
        let edits = Edits {
            transfer_syntax: uid.to_owned(),
            elements,
            pixels: PixelEdit::Encapsulated {
                lengths: lengths.clone(),
            },
        };
        let (segments, source) = self.planned(&instance.row, edits).await?;
        let (archive, places) = (self.clone(), Arc::new((spool, starts, lengths)));
        let frame = move |number: u32| {
            let (archive, places) = (archive.clone(), places.clone());
            async move {
                let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
                let (spool, starts, lengths) = &*places;
                let place = starts
                    .get(index)
                    .zip(lengths.get(index))
                    .map(|(s, l)| (*s, *l));
                let (start, length) = place.ok_or(ArchiveError::Lost {
                    what: "an encoded frame",
                })?;
                let file = spool.try_clone().map_err(lost_bytes)?;
                archive
                    .work(move || read_spooled(&file, start, length))
                    .await
            }
        };
        Ok(self.assembled(source, segments, frame))
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
        let bytes = collect(self.slices(instance, &slices).await?).await?;
        let held = instance.row.layout.transfer_syntax.clone();
        self.maker
            .work(move || Ok(codec::stream_is_lossy(&held, &bytes) != Some(false)))
            .await
    }

    /// An uncompressed instance, deflated (PS3.5 §A.5); written to the spool first, for its length.
    async fn deflated_instance(&self, row: &InstanceRow) -> Result<Content> {
        let spool = self.spool_file().await?;
        let (segments, source) = self.planned(row, Edits::none(syntax::DEFLATED_LE)).await?;
        let file = spool.try_clone().map_err(lost_bytes)?;
        let written =
            self.work(move || write_deflated(&*source, &segments, file).map_err(lost_bytes));
        let length = written.await?;
        let source: Arc<dyn Source + Send + Sync> =
            Arc::new(FileSource::new(spool).map_err(lost_bytes)?);
        Ok(self.copied(source, vec![Segment::Copy { offset: 0, length }], length))
    }

    async fn planned(
        &self,
        row: &InstanceRow,
        edits: Edits,
    ) -> Result<(Vec<Segment>, Arc<dyn Source + Send + Sync>)> {
        let source = self.source(row).await?;
        let layout = row.layout.clone();
        let planned = self.work(move || {
            let planned = rewrite::plan(&*source, &layout, &edits, WalkLimits::of_stored())?;
            Ok((planned, source))
        });
        let (planned, source) = planned.await?;
        if let Some(note) = planned.notes {
            self.maker.told.note(row.watermark, note).await;
        }
        Ok((planned.segments, source))
    }

    async fn spool_file(&self) -> Result<File> {
        let blobs = self.blobs.clone();
        // The name goes at once; the open handle keeps the bytes.
        self.work(move || {
            blobs
                .spool()?
                .file()
                .and_then(File::try_clone)
                .map_err(lost_bytes)
        })
        .await
    }

    /// Streams segments, asking `frame` for the bytes of each frame.
    fn assembled<F, Fut>(
        &self,
        source: Arc<dyn Source + Send + Sync>,
        segments: Vec<Segment>,
        frame: F,
    ) -> Content
    where
        F: Fn(u32) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<Bytes>> + Send + 'static,
    {
        let length = rewrite::total_length(&segments);
        let archive = self.clone();
        let chunks =
            stream::iter(segments).flat_map(move |segment| -> BoxStream<'static, Result<Bytes>> {
                match segment {
                    Segment::Frames { numbers, .. } => {
                        let frame = frame.clone();
                        stream::iter(numbers).then(frame).boxed()
                    }
                    other => {
                        let length = other.len();
                        archive.copied(source.clone(), vec![other], length).chunks
                    }
                }
            });
        Content {
            length,
            chunks: chunks
                .try_filter(|c| std::future::ready(!c.is_empty()))
                .boxed(),
        }
    }
}

fn pixel(instance: &OpenInstance) -> Result<PixelDescription> {
    instance
        .row
        .pixel
        .clone()
        .ok_or_else(|| ArchiveError::not_found("pixel data"))
}

fn read_spooled(file: &File, start: u64, length: u32) -> Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, start).map_err(lost_bytes)?;
    Ok(Bytes::from(bytes))
}

/// The first segment is the meta group, which is never deflated.
fn write_deflated(
    source: &dyn Source,
    segments: &[Segment],
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
fn described(pixel: &PixelDescription, shape: &FrameShape, frames: u32) -> Vec<Edit> {
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
