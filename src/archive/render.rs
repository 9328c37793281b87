//! Pictures and readable forms of instances (PS3.18 §10.4.1.1.3, §10.4.1.1.4).
//!
//! Invariant: a picture is made from one frame and the stored metadata; the object is never loaded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::Archive;
use super::error::{ArchiveError, Result};
use super::frames::collect;
use super::pixels::{Made, MadeKey};
use super::retrieve::{Content, OpenInstance};
use crate::dicom::codec;
use crate::dicom::instance::PixelElement;
use crate::dicom::media;
use crate::dicom::render::{
    self, Animation, IconKind, Photometric, Presentation, RenderAttributes, Request, SampleKind,
    Samples, text,
};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, Target};
use crate::dicom::{metadata, tag};
use crate::index::IndexError;
use crate::scope::Scope;
use crate::trace::Stage;

pub use crate::dicom::render::Format;

/// Largest metadata read for a picture, in bytes.
const MAX_METADATA: usize = 256 << 20;
/// Largest lookup table, profile or overlay read for a picture, in bytes.
const MAX_TABLE: u64 = 8 << 20;
/// Most frames of an animation.
const MAX_ANIMATION: u32 = 500;
/// Frame time when the instance names none, in ms.
const FRAME_TIME: f64 = 100.0;

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
#[derive(Debug)]
pub struct Subject {
    /// The instance.
    pub instance: Arc<OpenInstance>,
    /// Its DICOM JSON object.
    pub metadata: Value,
}

impl Subject {
    /// What it is.
    #[must_use]
    pub fn nature(&self) -> Nature {
        let row = &self.instance.row;
        let video = media::frame_media(&row.layout.transfer_syntax);
        if row.pixel.is_some() {
            return if video.starts_with("video/") {
                Nature::Video(video)
            } else {
                Nature::Image
            };
        }
        match row.sop_class.as_str() {
            "1.2.840.10008.5.1.4.1.1.11.1" | "1.2.840.10008.5.1.4.1.1.11.2" => Nature::Presentation,
            _ if self.metadata.get("00420011").is_some() => Nature::Document,
            _ if self.metadata.get("0040A730").is_some() => Nature::Report,
            _ => Nature::Other,
        }
    }

    /// Media type of an encapsulated document (0042,0012).
    #[must_use]
    pub fn document_media(&self) -> String {
        let named = first(&self.metadata, "00420012")
            .and_then(Value::as_str)
            .map(str::trim);
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
            .map_or_else(|| media::OCTETS.to_owned(), str::to_ascii_lowercase)
    }

    /// HTML and plain text: of a report its content, of anything else its attributes.
    #[must_use]
    pub fn texts(&self) -> (String, String) {
        if self.nature() == Nature::Report {
            return text::render_sr(&self.metadata);
        }
        let name = |hex: &str| {
            tag::parse(hex)
                .ok()
                .and_then(tag::keyword)
                .map(ToOwned::to_owned)
        };
        text::render_header(&self.metadata, &name)
    }

    fn frame_time(&self) -> f64 {
        let number = |tag: &str| first(&self.metadata, tag).and_then(Value::as_f64);
        let rate = number("00082144")
            .or_else(|| number("00180040"))
            .filter(|rate| *rate > 0.0);
        number("00181063")
            .filter(|ms| *ms > 0.0)
            .or_else(|| rate.map(|rate| 1000.0 / rate))
            .unwrap_or(FRAME_TIME)
    }
}

fn first<'a>(object: &'a Value, tag: &str) -> Option<&'a Value> {
    object.get(tag)?.get("Value")?.get(0)
}

impl Archive {
    /// Opens an instance to be looked at.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn subject(&self, scope: &Scope, name: &InstanceName) -> Result<Subject> {
        let instance = self.open(scope, name).await?;
        let target = Target::Instance(name.clone());
        let rows = Stage::Rows
            .of(self.index.metadata(scope, &target, 0, 1))
            .await?;
        let corrupt = || IndexError::Corrupt {
            what: "the metadata of an instance",
        };
        let row = rows
            .into_iter()
            .next()
            .ok_or_else(|| ArchiveError::not_found(super::describe(&target)))?;
        let object = self.work(move || {
            let unpacked = metadata::unpack(&row.metadata, MAX_METADATA).map_err(|_| corrupt())?;
            Ok(serde_json::from_str(&unpacked.text).map_err(|_| corrupt())?)
        });
        Ok(Subject {
            instance,
            metadata: object.await?,
        })
    }

    /// One frame as a picture; `number` counts from 1, `named` identifies the request's parameters.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame; [`ArchiveError::Codec`] or [`ArchiveError::Render`] when it
    /// cannot be drawn.
    pub async fn picture(
        &self,
        subject: &Subject,
        number: u32,
        request: Request,
        format: Format,
        named: &str,
    ) -> Result<Bytes> {
        let what = format!("{} {named}", format.media_type());
        let key = MadeKey {
            watermark: subject.instance.row.watermark,
            frame: number,
            what,
        };
        let made = self.maker.get(key, async {
            let drawn = self.drawable(subject, number).await?;
            let picture = self.maker.work(move || {
                drawn.draw(|samples, attributes| {
                    render::render(samples, attributes, &request, format)
                })
            });
            Ok(Made::Picture(picture.await?))
        });
        match made.await? {
            Made::Picture(bytes) => Ok(bytes),
            Made::Samples(_) | Made::Encoded { .. } => {
                Err(ArchiveError::Lost { what: "a picture" })
            }
        }
    }

    /// All frames as an animated GIF.
    ///
    /// # Errors
    /// As [`Self::picture`]; [`ArchiveError::TooLarge`] beyond 500 frames.
    pub async fn animation(&self, subject: &Subject, request: Request) -> Result<Bytes> {
        let frames = subject.instance.frame_count();
        if frames > MAX_ANIMATION {
            return Err(ArchiveError::TooLarge {
                reason: format!(
                    "an animation may have {MAX_ANIMATION} frames: ask for single frames"
                ),
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range of the type"
        )]
        let delay = (subject.frame_time() / 10.0).round().clamp(2.0, 1000.0) as u16;
        let mut animation = Animation::new(request, delay);
        for number in 1..=frames {
            let drawn = self.drawable(subject, number).await?;
            let pushed = self.maker.work(move || {
                let mut animation = animation;
                drawn.with(|samples, attributes| animation.push(samples, attributes))?;
                Ok(animation)
            });
            animation = pushed.await?;
        }
        self.maker
            .work(move || {
                Ok(Bytes::from(
                    animation.finish().map_err(ArchiveError::Render)?,
                ))
            })
            .await
    }

    /// A small picture of anything: an icon when there is nothing to draw.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame.
    pub async fn thumbnail(
        &self,
        scope: &Scope,
        name: &InstanceName,
        frame: Option<u32>,
        viewport: Option<(u32, u32)>,
        format: Format,
    ) -> Result<Bytes> {
        let subject = self.subject(scope, name).await?;
        let count = subject.instance.frame_count();
        if let Some(number) = frame.filter(|n| *n > count) {
            return Err(ArchiveError::not_found(format!("frame {number}")));
        }
        let number = frame.unwrap_or(count.div_ceil(2).max(1));
        let class = subject.instance.row.sop_class.clone();
        if subject.nature() == Nature::Image {
            let (width, height) =
                viewport.unwrap_or((render::DEFAULT_THUMBNAIL, render::DEFAULT_THUMBNAIL));
            let request = Request {
                viewport: Some(fit(width, height)),
                ..Request::default()
            };
            match self
                .picture(
                    &subject,
                    number,
                    request,
                    format,
                    &format!("thumbnail {width}x{height}"),
                )
                .await
            {
                Err(error) if error.is_about_pixels() => {}
                made => return made,
            }
        }
        let kind = match subject.nature() {
            Nature::Video(_) => IconKind::Video,
            Nature::Document => IconKind::Document,
            Nature::Report | Nature::Presentation => IconKind::Report,
            Nature::Image | Nature::Other => IconKind::from_sop_class(&class),
        };
        self.maker
            .work(move || {
                Ok(Bytes::from(
                    render::icon(kind, viewport, format).map_err(ArchiveError::Render)?,
                ))
            })
            .await
    }

    /// The bytes of an encapsulated document, without padding.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when the instance holds none.
    pub async fn document(&self, subject: &Subject) -> Result<Content> {
        let length = first(&subject.metadata, "00420015").and_then(Value::as_u64);
        if let Some(item) = subject
            .instance
            .bulk
            .iter()
            .find(|item| item.path == "00420011")
        {
            let length = length.filter(|l| *l <= item.length).unwrap_or(item.length);
            return self
                .dataset_range(&subject.instance.row, item.offset, length)
                .await;
        }
        let inline = subject
            .metadata
            .get("00420011")
            .and_then(|e| e.get("InlineBinary"))
            .and_then(Value::as_str);
        let bytes = inline.and_then(|text| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        });
        let mut bytes = bytes.ok_or_else(|| ArchiveError::not_found("the document"))?;
        if let Some(length) = length.and_then(|l| usize::try_from(l).ok()) {
            bytes.truncate(length);
        }
        Ok(Content::whole(Bytes::from(bytes)))
    }

    /// The video stream of an instance.
    ///
    /// # Errors
    /// When the bytes are not there.
    pub async fn video(&self, subject: &Subject) -> Result<Content> {
        let value = self.bulk(&subject.instance, "7FE00010")?;
        self.bulk_content(&subject.instance, &value).await
    }

    /// The first image a presentation state shows, with the state as it applies to it.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it refers to none that is stored in its study.
    pub async fn presented(
        &self,
        scope: &Scope,
        state: &Subject,
    ) -> Result<(Subject, u32, Presentation)> {
        let tables = self.tables(&state.instance).await?;
        for (series, instance, frame) in references(&state.metadata) {
            let name = InstanceName {
                study: state.instance.row.name.study.clone(),
                series,
                instance,
            };
            match self.subject(scope, &name).await {
                Ok(image) => {
                    let bulk = |path: &str| tables.get(path).cloned();
                    let presentation = Presentation::from_json(
                        &state.metadata,
                        name.instance.as_str(),
                        frame,
                        &bulk,
                    );
                    return Ok((image, frame, presentation));
                }
                Err(ArchiveError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ArchiveError::not_found(
            "an image that the presentation state refers to",
        ))
    }

    /// A presentation state as it applies to one frame of an image.
    ///
    /// # Errors
    /// When its lookup tables cannot be read.
    pub async fn presentation_for(
        &self,
        state: &Subject,
        image: &InstanceName,
        frame: u32,
    ) -> Result<Presentation> {
        let tables = self.tables(&state.instance).await?;
        let bulk = |path: &str| tables.get(path).cloned();
        Ok(Presentation::from_json(
            &state.metadata,
            image.instance.as_str(),
            frame,
            &bulk,
        ))
    }

    /// Lookup tables, profiles and overlays of an instance by tag path with items from 0.
    async fn tables(&self, instance: &OpenInstance) -> Result<HashMap<String, Vec<u8>>> {
        let mut tables = HashMap::new();
        for item in instance
            .bulk
            .iter()
            .filter(|item| item.length <= MAX_TABLE && is_table(&item.path))
        {
            let value = self.bulk(instance, &item.path)?;
            tables.insert(
                from_zero(&item.path),
                collect(self.bulk_content(instance, &value).await?).await?,
            );
        }
        Ok(tables)
    }

    async fn drawable(&self, subject: &Subject, number: u32) -> Result<Drawable> {
        let instance = &subject.instance;
        let pixel = instance
            .row
            .pixel
            .as_ref()
            .ok_or_else(|| ArchiveError::not_found("pixel data"))?;
        let tables = self.tables(instance).await?;
        let attributes = RenderAttributes::from_json(&subject.metadata, number, &|path| {
            tables.get(path).cloned()
        });
        let pixels = match pixel.element {
            PixelElement::Integer => Pixels::Samples(self.samples(instance, number).await?),
            PixelElement::Float | PixelElement::Double => {
                let slices = instance
                    .frame(number)
                    .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
                let bytes = collect(self.native_slices(instance, &slices).await?).await?;
                let kind = if pixel.element == PixelElement::Float {
                    SampleKind::F32
                } else {
                    SampleKind::F64
                };
                Pixels::Float {
                    rows: pixel.rows,
                    columns: pixel.columns,
                    kind,
                    photometric: Photometric::parse(&pixel.photometric),
                    bytes,
                }
            }
        };
        Ok(Drawable { pixels, attributes })
    }
}

/// A frame with all that is needed to draw it.
struct Drawable {
    pixels: Pixels,
    attributes: RenderAttributes,
}

enum Pixels {
    Samples(Arc<codec::Frame>),
    Float {
        rows: u32,
        columns: u32,
        kind: SampleKind,
        photometric: Option<Photometric>,
        bytes: Vec<u8>,
    },
}

impl Drawable {
    fn draw(
        &self,
        draw: impl FnOnce(
            &Samples<'_>,
            &RenderAttributes,
        ) -> std::result::Result<Vec<u8>, render::RenderError>,
    ) -> Result<Bytes> {
        self.with(draw).map(Bytes::from)
    }

    /// Hands the samples over; a panic of a picture library becomes an error.
    fn with<T>(
        &self,
        draw: impl FnOnce(
            &Samples<'_>,
            &RenderAttributes,
        ) -> std::result::Result<T, render::RenderError>,
    ) -> Result<T> {
        let samples =
            self.samples()
                .ok_or(ArchiveError::Render(render::RenderError::Unsupported {
                    what: "this photometric interpretation",
                }))?;
        let drawn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            draw(&samples, &self.attributes)
        }));
        drawn
            .map_err(|_| ArchiveError::Lost { what: "a picture" })?
            .map_err(ArchiveError::Render)
    }

    fn samples(&self) -> Option<Samples<'_>> {
        match &self.pixels {
            Pixels::Float {
                rows,
                columns,
                kind,
                photometric,
                bytes,
            } => Some(Samples {
                rows: *rows,
                columns: *columns,
                samples: 1,
                kind: *kind,
                bits_stored: 0,
                photometric: (*photometric)?,
                data: bytes,
            }),
            Pixels::Samples(frame) => {
                let shape = &frame.shape;
                let kind = match (shape.bits_allocated, shape.signed) {
                    (1, _) => SampleKind::Bits1 { first_bit: 0 },
                    (8, false) => SampleKind::U8,
                    (8, true) => SampleKind::I8,
                    (16, false) => SampleKind::U16,
                    (16, true) => SampleKind::I16,
                    (32, false) => SampleKind::U32,
                    (32, true) => SampleKind::I32,
                    _ => return None,
                };
                Some(Samples {
                    rows: shape.rows,
                    columns: shape.columns,
                    samples: shape.samples,
                    kind,
                    bits_stored: shape.bits_stored,
                    photometric: Photometric::parse(shape.photometric.term()?)?,
                    data: &frame.data,
                })
            }
        }
    }
}

fn fit(width: u32, height: u32) -> render::Viewport {
    render::Viewport {
        width: Some(f64::from(width)),
        height: Some(f64::from(height)),
        region: render::Region::Full,
    }
}

/// Values a picture may need: palettes, LUT data, profiles, overlays.
fn is_table(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last.get(..4), Some("0028")) || (last.starts_with("60") && last.ends_with("3000"))
}

/// `00283010/1/00283006` to `00283010/0/00283006`.
fn from_zero(path: &str) -> String {
    let step = |part: &str| match part.parse::<u64>() {
        Ok(number) if part.len() < 8 => number.saturating_sub(1).to_string(),
        _ => part.to_owned(),
    };
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

/// Images of (0008,1115): series, instance, first frame.
fn references(metadata: &Value) -> Vec<(SeriesUid, InstanceUid, u32)> {
    let items = |object: &Value, tag: &str| -> Vec<Value> {
        object
            .get(tag)
            .and_then(|e| e.get("Value"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    for series in items(metadata, "00081115") {
        let Some(Ok(uid)) = first(&series, "0020000E")
            .and_then(Value::as_str)
            .map(SeriesUid::parse)
        else {
            continue;
        };
        for image in items(&series, "00081140") {
            let Some(Ok(instance)) = first(&image, "00081155")
                .and_then(Value::as_str)
                .map(InstanceUid::parse)
            else {
                continue;
            };
            let frame = first(&image, "00081160")
                .and_then(Value::as_u64)
                .and_then(|n| u32::try_from(n).ok());
            found.push((uid.clone(), instance, frame.unwrap_or(1).max(1)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_from_zero_for_the_renderer() {
        assert_eq!(from_zero("00281201"), "00281201");
        assert_eq!(from_zero("00283010/1/00283006"), "00283010/0/00283006");
        assert!(is_table("00283010/1/00283006") && is_table("60003000") && !is_table("7FE00010"));
    }
}
