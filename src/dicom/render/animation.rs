//! Several frames as one animated GIF, one frame in memory at a time.

use gif::{DisposalMethod, Encoder, Repeat};

use super::attributes::RenderAttributes;
use super::draw::draw;
use super::error::{RenderError, failed};
use super::icc;
use super::image::{Image, ImageFormat};
use super::quantize::quantize;
use super::request::Request;
use super::samples::{SampleKind, SamplePhotometric, Samples};

/// Most bytes of one animation.
const MAX_BYTES: usize = 512 * 1024 * 1024;
/// Shortest time a viewer shows a frame for, in hundredths of a second; below it
/// browsers fall back to a slow default.
const MIN_DELAY: u32 = 2;

/// One decoded frame that owns its samples; see [`Samples`] for the fields.
#[derive(Debug, Clone)]
pub struct AnimationFrame {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// Samples per pixel.
    pub samples: u16,
    /// Kind of one sample.
    pub kind: SampleKind,
    /// Bits stored.
    pub bits_stored: u16,
    /// What the samples mean.
    pub photometric: SamplePhotometric,
    /// Little endian samples, interleaved.
    pub data: Vec<u8>,
    /// Attributes of this frame.
    pub attributes: RenderAttributes,
}

impl AnimationFrame {
    /// The frame's samples.
    pub fn samples(&self) -> Samples<'_> {
        Samples {
            rows: self.rows,
            columns: self.columns,
            samples: self.samples,
            kind: self.kind,
            bits_stored: self.bits_stored,
            photometric: self.photometric,
            data: &self.data,
        }
    }
}

/// Renders frames into an animated GIF that repeats for ever.
///
/// `frame_time_ms` is Frame Time (0018,1063); each frame is dropped before the
/// next one is asked for.
///
/// # Errors
/// The first error of the iterator or of [`Animation`].
pub fn render_animation<E: From<RenderError>>(
    frames: impl Iterator<Item = Result<AnimationFrame, E>>,
    request: Request,
    frame_time_ms: f64,
) -> Result<Vec<u8>, E> {
    let mut animation = Animation::new(request, delay(frame_time_ms));
    for frame in frames {
        let frame = frame?;
        animation.push(&frame.samples(), &frame.attributes)?;
    }
    Ok(animation.finish()?)
}

/// Frame time in hundredths of a second.
fn delay(frame_time_ms: f64) -> u16 {
    if frame_time_ms.is_nan() {
        return 10;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate"
    )]
    let hundredths = (frame_time_ms / 10.0).round() as u32;
    u16::try_from(hundredths.max(MIN_DELAY)).unwrap_or(u16::MAX)
}

/// An animated GIF in the making.
pub struct Animation {
    request: Request,
    delay: u16,
    range: Option<(f64, f64)>,
    encoder: Option<Encoder<Vec<u8>>>,
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Animation")
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

impl Animation {
    /// An animation without frames; `delay` is in hundredths of a second.
    pub fn new(request: Request, delay: u16) -> Self {
        Self {
            request,
            delay,
            range: None,
            encoder: None,
        }
    }

    /// Renders and appends a frame.
    ///
    /// Frames without a VOI are shown in the value range of the first of them, so
    /// that brightness does not flicker.
    ///
    /// # Errors
    /// As [`super::render`]; also when the animation grows past its cap.
    pub fn push(
        &mut self,
        samples: &Samples<'_>,
        attributes: &RenderAttributes,
    ) -> Result<(), RenderError> {
        let (image, range) = draw(samples, attributes, &self.request, self.range)?;
        self.range = self.range.or(range);
        // GIF has no place for a profile that readers look at; colors are converted all the same.
        let (image, _) = icc::apply(image, attributes.icc.as_deref(), self.request.icc);
        self.push_image(&image)
    }

    /// Appends a picture.
    pub(super) fn push_image(&mut self, image: &Image) -> Result<(), RenderError> {
        let too_large = || RenderError::TooLarge {
            limit: "65,535 pixels to a side",
        };
        let width = u16::try_from(image.width).map_err(|_| too_large())?;
        let height = u16::try_from(image.height).map_err(|_| too_large())?;
        let wrap = |error: gif::EncodingError| failed(ImageFormat::Gif)(Box::new(error));
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => {
                let mut encoder =
                    Encoder::new(Vec::new(), width, height, &grays()).map_err(wrap)?;
                if self.delay > 0 {
                    encoder.set_repeat(Repeat::Infinite).map_err(wrap)?;
                }
                self.encoder.insert(encoder)
            }
        };
        let mut frame = gif::Frame {
            width,
            height,
            delay: self.delay,
            dispose: DisposalMethod::Keep,
            ..gif::Frame::default()
        };
        if image.channels == 1 {
            frame.buffer = image.data.as_slice().into();
        } else {
            let indexed = quantize(&image.data);
            frame.palette = Some(indexed.palette);
            frame.buffer = indexed.indices.into();
        }
        encoder.write_frame(&frame).map_err(wrap)?;
        if encoder.get_ref().len() > MAX_BYTES {
            return Err(RenderError::TooLarge { limit: "512 MiB" });
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.encoder
            .as_ref()
            .map_or(0, |encoder| encoder.get_ref().len())
    }

    /// The finished GIF.
    ///
    /// # Errors
    /// [`RenderError::NoFrames`] when nothing was pushed.
    pub fn finish(self) -> Result<Vec<u8>, RenderError> {
        let encoder = self.encoder.ok_or(RenderError::NoFrames)?;
        encoder
            .into_inner()
            .map_err(|error| failed(ImageFormat::Gif)(Box::new(error)))
    }
}

/// The palette of gray frames, which are therefore exact.
fn grays() -> Vec<u8> {
    (0..=255).flat_map(|level| [level; 3]).collect()
}
