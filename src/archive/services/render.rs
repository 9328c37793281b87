//! Pictures and readable forms of instances (PS3.18 §10.4.1.1.3, §10.4.1.1.4).
//!
//! Invariant: a picture is made from one frame and the stored metadata; the object is never loaded.

pub(in crate::archive) mod output;
pub mod source;

use std::sync::Arc;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::render::source::references;
use crate::archive::Archive;
use crate::archive::buffer::reserved;
use crate::archive::content::{Representation, collect};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::services::decode::samples_of;
use crate::dicom::frames::ByteRange;
use crate::dicom::instance::PixelElement;
use crate::dicom::members;
use crate::dicom::render::{
    self, Animation, IconKind, Presentation, RenderAttributes, Request, SampleKind,
    SamplePhotometric, Samples,
};
use crate::dicom::uid::InstanceName;
use crate::memory::Purpose;
use crate::scope::Scope;
use output::{FrameOutput, FrameSamples, Made, MadeKey, PictureKey};

pub use super::render::source::{Nature, RenderSource};
pub use crate::dicom::render::ImageFormat;

/// Most frames of an animation.
const MAX_ANIMATION: u32 = 500;

/// What is asked of a picture.
#[derive(Debug, Clone)]
pub struct RenderRequest {
    /// How it is drawn.
    pub request: Request,
    /// As what it is sent.
    pub format: ImageFormat,
    /// The stored version of the presentation state that the request applies.
    pub state: Option<i64>,
}

impl RenderRequest {
    /// A drawing without a presentation state.
    #[must_use]
    pub fn new(request: Request, format: ImageFormat) -> Self {
        Self {
            request,
            format,
            state: None,
        }
    }

    /// Samples that are looked at or made, about.
    fn samples(&self, subject: &RenderSource) -> u64 {
        let side = |side: Option<f64>| side.and_then(|side| u32::try_from(whole(side)).ok());
        let viewport = self.request.viewport.as_ref();
        let sides = viewport.and_then(|v| side(v.width).zip(side(v.height)));
        let drawn = sides.map_or(0, |(width, height)| u64::from(width) * u64::from(height));
        let pixels = drawn.max(samples_of(&subject.instance));
        pixels.max(subject.cost())
    }

    /// Its name in the cache: what the request means, never how a client spelled it.
    fn key(&self) -> PictureKey {
        let Request {
            window,
            viewport,
            quality,
            annotation,
            icc,
            // It follows from the version of the state, and the image and frame it is applied to.
            presentation: _,
        } = &self.request;
        PictureKey {
            format: self.format,
            // Numbers are written so that different ones differ, and no text of a client is among them.
            request: format!("{window:?} {viewport:?} {quality:?} {annotation:?} {icc:?}"),
            state: self.state,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate"
)]
fn whole(side: f64) -> u64 {
    side.ceil() as u64
}

impl Archive {
    /// One frame as a picture; `number` counts from 1.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame; [`ArchiveError::Codec`] or [`ArchiveError::Render`] when it
    /// cannot be drawn; [`ArchiveError::Memory`] when there is no room to draw it.
    pub async fn picture(
        &self,
        subject: &RenderSource,
        number: u32,
        drawing: RenderRequest,
    ) -> Result<Bytes> {
        let key = MadeKey {
            watermark: subject.instance.row.watermark,
            frame: number,
            what: FrameOutput::Picture(drawing.key()),
        };
        if let Some(made) = self.maker.kept(&key).await {
            return made.picture();
        }
        let _turn = self.maker.turn(drawing.samples(subject)).await?;
        // What it takes to draw is on the heap: every answer that may show a picture would have room for it.
        let made = self.maker.get(key, async {
            let drawn = Arc::new(Box::pin(self.drawable(subject, number)).await?);
            let memory = self.reserve(Purpose::Pixels, drawn.cost(&drawing.request)?);
            let memory = memory.await?;
            let picture = self.maker.work(move || {
                let RenderRequest {
                    request, format, ..
                } = drawing;
                let picture = drawn.with(|samples, attributes| {
                    render::render(samples, attributes, &request, format)
                })?;
                Ok(reserved(picture, memory))
            });
            Ok(Made::Picture(picture.await?))
        });
        made.await?.picture()
    }

    /// All frames as an animated GIF.
    ///
    /// # Errors
    /// As [`Self::picture`]; [`ArchiveError::TooLarge`] beyond 500 frames.
    pub async fn animation(&self, subject: &RenderSource, request: Request) -> Result<Bytes> {
        let frames = subject.instance.frame_count();
        if frames > MAX_ANIMATION {
            return Err(ArchiveError::TooLarge {
                reason: format!(
                    "an animation may have {MAX_ANIMATION} frames: ask for single frames"
                ),
            });
        }
        let frame_time = self.frame_time(subject).await?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range of the type"
        )]
        let delay = (frame_time / 10.0).round().clamp(2.0, 1000.0) as u16;
        let mut animation = Animation::new(request.clone(), delay);
        let mut memory = self.budget.nothing(Purpose::Pixels);
        for number in 1..=frames {
            let work = samples_of(&subject.instance).max(subject.cost());
            let turn = self.maker.turn(work).await?;
            let drawn = self.drawable(subject, number).await?;
            let picture = drawn.cost(&request)?;
            // Written in memory that doubles when it is full; a picture may grow by half when it is written.
            let written = animation.written().saturating_add(picture);
            let needed = written.saturating_mul(2).saturating_add(picture);
            memory.grow_to(needed).await?;
            let pushed = self.maker.work(move || {
                let mut animation = animation;
                drawn.with(|samples, attributes| animation.push(samples, attributes))?;
                Ok(animation)
            });
            animation = pushed.await?;
            drop(turn);
        }
        self.maker
            .work(move || {
                let bytes = animation.finish().map_err(ArchiveError::Render)?;
                Ok(reserved(bytes, memory))
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
        format: ImageFormat,
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
                .picture(&subject, number, RenderRequest::new(request, format))
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
    pub async fn document(&self, subject: &RenderSource) -> Result<Representation> {
        let length = subject.document_length();
        if let Some(item) = subject
            .instance
            .bulk
            .iter()
            .find(|item| item.path == "00420011")
        {
            let length = length.filter(|l| *l <= item.length).unwrap_or(item.length);
            let range = ByteRange {
                offset: item.offset,
                length,
            };
            let row = &subject.instance.row;
            return Ok(self.ranges(row, std::iter::once(range), length));
        }
        let decoded = self.read_text(subject, move |text| {
            let found = members::find(text.as_str(), [tags::ENCAPSULATED_DOCUMENT]);
            let inline = found.ok().and_then(|[document]| document?.inline_binary());
            Ok(inline.and_then(|text| {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.decode(text).ok()
            }))
        });
        let bytes = decoded.await?;
        let mut bytes = bytes.ok_or_else(|| ArchiveError::not_found("the document"))?;
        if let Some(length) = length.and_then(|l| usize::try_from(l).ok()) {
            bytes.truncate(length);
        }
        Ok(Representation::whole(Bytes::from(bytes)))
    }

    /// The video stream of an instance.
    ///
    /// # Errors
    /// When the bytes are not there.
    pub async fn video(&self, subject: &RenderSource) -> Result<Representation> {
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
        state: &RenderSource,
    ) -> Result<(RenderSource, u32, Presentation)> {
        let referred = self.read_text(state, |text| Ok(references(text.as_str())));
        for (series, instance, frame) in referred.await? {
            let name = InstanceName {
                study: state.instance.row.name.study.clone(),
                series,
                instance,
            };
            match self.subject(scope, &name).await {
                Ok(image) => {
                    let presentation = self.presentation_for(state, &name, frame).await?;
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
        state: &RenderSource,
        image: &InstanceName,
        frame: u32,
    ) -> Result<Presentation> {
        let image = image.instance.clone();
        let _turn = self.maker.turn(state.cost()).await?;
        self.with_tables(state, move |text, bulk| {
            Presentation::from_json(text, image.as_str(), frame, bulk)
        })
        .await
    }

    async fn drawable(&self, subject: &RenderSource, number: u32) -> Result<RenderableFrame> {
        let instance = &subject.instance;
        let pixel = instance
            .row
            .pixel
            .as_ref()
            .ok_or_else(|| ArchiveError::not_found("pixel data"))?;
        let attributes = self.with_tables(subject, move |text, bulk| {
            RenderAttributes::from_json(text, number, bulk)
        });
        let attributes = attributes.await?;
        let pixels = match pixel.element {
            PixelElement::Integer => {
                SourcePixels::Samples(self.samples_in_turn(instance, number).await?)
            }
            PixelElement::Float | PixelElement::Double => {
                let slices = instance
                    .frame(number)
                    .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
                if slices.len() > self.limits.max_frame_bytes as u64 {
                    return Err(ArchiveError::TooLarge {
                        reason: format!("frame {number} is too large to be drawn"),
                    });
                }
                let length = usize::try_from(slices.len()).unwrap_or(usize::MAX);
                let memory = self.reserve(Purpose::Pixels, length).await?;
                let bytes = collect(self.native_slices(instance, &slices).all().await?).await?;
                let kind = if pixel.element == PixelElement::Float {
                    SampleKind::F32
                } else {
                    SampleKind::F64
                };
                SourcePixels::Float {
                    rows: pixel.rows,
                    columns: pixel.columns,
                    kind,
                    photometric: SamplePhotometric::parse(pixel.photometric()),
                    bytes: reserved(bytes, memory),
                }
            }
        };
        Ok(RenderableFrame { pixels, attributes })
    }
}

/// A frame with all that is needed to draw it.
struct RenderableFrame {
    pixels: SourcePixels,
    attributes: RenderAttributes,
}

enum SourcePixels {
    Samples(Arc<FrameSamples>),
    Float {
        rows: u32,
        columns: u32,
        kind: SampleKind,
        photometric: Option<SamplePhotometric>,
        bytes: Bytes,
    },
}

impl RenderableFrame {
    /// Bytes that drawing takes at most.
    fn cost(&self, request: &Request) -> Result<usize> {
        let cost = self.with(|samples, attributes| render::cost(samples, attributes, request))?;
        Ok(usize::try_from(cost).unwrap_or(usize::MAX))
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
            SourcePixels::Float {
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
            SourcePixels::Samples(frame) => {
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
                    photometric: SamplePhotometric::parse(shape.photometric.term()?)?,
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
