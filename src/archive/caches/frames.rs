//! Decoded and encoded frames: made on the blocking pool, one at a time, once for all who ask at the same moment.
//!
//! Invariant: a frame is made from its own bytes only, never from the object; what is cached is named by watermark and
//! so can never be stale.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use super::notices::InstanceNotices;
use crate::archive::Archive;
use crate::archive::buffer::reserved;
use crate::archive::content::Representation;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::{Lane, Lanes};
use crate::archive::queue::{FairQueue, QueuePlace};
use crate::archive::services::frames::collect;
use crate::archive::services::retrieve::OpenInstance;
use crate::config::Limits;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, ByteOrder, CodecError, EncodeOptions, FrameShape, Photometric};
use crate::dicom::frames::FrameSlices;
use crate::dicom::instance::{PixelDescription, PixelElement};
use crate::dicom::media::Codecs;
use crate::memory::Purpose;
use crate::meter::Counter;
use crate::trace::Stage;

pub use crate::archive::services::render::output::{
    FrameOutput, FrameSamples, Made, MadeKey, PictureKey,
};

/// Memory of the server for which one piece of large work is made at a time, in bytes.
const LARGE_WORK: usize = 256 << 20;
/// How long a made frame is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(120);

/// Makes frames, bounded, and keeps those asked for lately.
#[derive(Debug, Clone)]
pub struct FrameCache {
    cache: Cache<MadeKey, Made>,
    /// Who may have something made now.
    queue: FairQueue,
    lanes: Lanes,
    counts: Arc<Counts>,
    /// What codestreams said that their headers do not.
    pub(in crate::archive) reported: InstanceNotices,
}

#[derive(Debug, Default)]
struct Counts {
    lookups: Counter,
    made: Counter,
}

/// How the cache does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// Things asked for.
    pub lookups: u64,
    /// Things that had to be made.
    pub made: u64,
    /// Things kept.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl FrameCache {
    /// A maker with the configured cache, for a server with `memory` bytes.
    #[must_use]
    pub fn new(limits: &Limits, lanes: Lanes, memory: usize) -> Self {
        let weigh = |_: &MadeKey, made: &Made| u32::try_from(made.weight()).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(limits.frame_cache_bytes)
            .time_to_idle(IDLE)
            .build();
        Self {
            cache,
            // Beside those that are at work some read what they need; half of all can be large, but no more than there is
            // memory for: they take it piece by piece, and would wait for each other.
            queue: FairQueue::new(
                lanes.width(Lane::Codec).saturating_mul(2).saturating_sub(2),
                memory / LARGE_WORK,
            ),
            lanes,
            counts: Arc::default(),
            reported: InstanceNotices::new(),
        }
    }

    /// How the cache does.
    #[must_use]
    pub fn cached(&self) -> CacheUsage {
        CacheUsage {
            lookups: self.counts.lookups.get(),
            made: self.counts.made.get(),
            entries: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
        }
    }

    /// How many pieces of codec work may run at the same time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lanes.width(Lane::Codec)
    }

    /// How many run.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.lanes.busy(Lane::Codec)
    }

    /// Leave to make something of so many samples, when it is the turn of who asks.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when it is not his turn in time.
    pub(in crate::archive) async fn turn(&self, samples: u64) -> Result<QueuePlace> {
        self.queue.enter(samples).await
    }

    /// The thing named, if it is kept.
    pub(in crate::archive) async fn kept(&self, key: &MadeKey) -> Option<Made> {
        let made = self.cache.get(key).await;
        if made.is_some() {
            self.counts.lookups.one();
        }
        made
    }

    /// The thing named, made by `make` unless it is there or being made.
    ///
    /// # Errors
    /// What `make` met; everybody who waited gets the same.
    pub async fn get(
        &self,
        key: MadeKey,
        make: impl Future<Output = Result<Made>> + Send,
    ) -> Result<Made> {
        self.counts.lookups.one();
        let counted = async {
            self.counts.made.one();
            make.await
        };
        self.cache
            // Boxed: what makes a frame is large and would sit in every future around it.
            .try_get_with(key, Box::pin(counted))
            .await
            .map_err(ArchiveError::Shared)
    }

    /// Gives back the memory of what is only kept for those who ask next.
    pub(in crate::archive) async fn invalidate_all(&self) {
        self.cache.invalidate_all();
        self.cache.run_pending_tasks().await;
    }

    /// Runs codec work on the blocking pool; in the lane of the codecs.
    ///
    /// # Errors
    /// What the work met, or that it was lost.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let span = Stage::Codec.begin();
        self.lanes
            .run(Lane::Codec, move || {
                let _span = span;
                work()
            })
            .await
    }
}

/// The shape of stored frames.
#[must_use]
pub fn stored_shape(pixel: &PixelDescription) -> FrameShape {
    FrameShape {
        rows: pixel.rows,
        columns: pixel.columns,
        samples: pixel.samples_per_pixel,
        bits_allocated: pixel.bits_allocated,
        bits_stored: pixel.bits_stored,
        low_bit: pixel.low_bit(),
        overlay_bits: pixel.overlay_bits,
        signed: pixel.representation == 1,
        planar: pixel.planar == 1,
        photometric: Photometric::parse(pixel.photometric()),
    }
}

/// The shape frames have as samples; none when they cannot be decoded.
#[must_use]
pub fn sample_shape(transfer_syntax: &str, pixel: &PixelDescription) -> Option<FrameShape> {
    codec::decoded_shape(transfer_syntax, &stored_shape(pixel))
}

/// What this build decodes and encodes.
#[derive(Debug, Clone, Copy)]
pub struct CompiledCodecs;

impl Codecs for CompiledCodecs {
    fn decodes(&self, transfer_syntax: &str, pixel: &PixelDescription) -> bool {
        pixel.element == PixelElement::Integer
            && codec::can_decode(transfer_syntax, &stored_shape(pixel))
    }

    fn encodes(&self, from: &str, to: &str, pixel: &PixelDescription) -> bool {
        if pixel.element != PixelElement::Integer {
            return false;
        }
        let samples = sample_shape(from, pixel);
        samples.is_some_and(|shape| codec::can_encode(to, &shape))
    }
}

/// Turns a codec's refusal into an answer: what cannot be decoded cannot be had in this form.
fn refused(error: CodecError) -> ArchiveError {
    ArchiveError::Codec(error)
}

fn samples_key(instance: &OpenInstance, number: u32) -> MadeKey {
    MadeKey {
        watermark: instance.row.watermark,
        frame: number,
        what: FrameOutput::Samples,
    }
}

/// Samples of one frame, as the header says.
pub(in crate::archive) fn samples_of(instance: &OpenInstance) -> u64 {
    let pixel = instance.row.pixel.as_ref();
    pixel.map_or(0, |pixel| stored_shape(pixel).sample_count())
}

fn too_large(number: u32) -> ArchiveError {
    ArchiveError::TooLarge {
        reason: format!("frame {number} is too large to be decoded; ask for it as stored"),
    }
}

impl Archive {
    /// One frame as samples; `number` counts from 1.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] past the last frame, [`ArchiveError::Codec`] when it cannot be decoded.
    pub async fn samples(&self, instance: &OpenInstance, number: u32) -> Result<Arc<FrameSamples>> {
        let key = samples_key(instance, number);
        if let Some(made) = self.maker.kept(&key).await {
            return made.samples();
        }
        let _turn = self.maker.turn(samples_of(instance)).await?;
        self.samples_in_turn(instance, number).await
    }

    /// As [`Self::samples`], for those whose turn it is.
    pub(in crate::archive) async fn samples_in_turn(
        &self,
        instance: &OpenInstance,
        number: u32,
    ) -> Result<Arc<FrameSamples>> {
        let made = self.maker.get(samples_key(instance, number), async {
            Ok(Made::Samples(Arc::new(
                self.decode(instance, number).await?,
            )))
        });
        made.await?.samples()
    }

    async fn decode(&self, instance: &OpenInstance, number: u32) -> Result<FrameSamples> {
        let read = |slices: &FrameSlices, native: bool| match native {
            true => self.native_slices(instance, slices),
            false => self.slices(instance, slices),
        };
        let (samples, disagreement) = self.decode_from(instance, number, read).await?;
        if let Some(text) = disagreement {
            let watermark = instance.row.watermark;
            self.maker.reported.note(watermark, text).await;
        }
        Ok(samples)
    }

    /// One frame as samples, whose bytes are read by `read`: native ones in little endian. Says besides where the codestream
    /// disagrees with the header.
    pub(in crate::archive) async fn decode_from(
        &self,
        instance: &OpenInstance,
        number: u32,
        read: impl FnOnce(&FrameSlices, bool) -> Representation,
    ) -> Result<(FrameSamples, Option<String>)> {
        let slices = instance
            .frame(number)
            .ok_or_else(|| ArchiveError::not_found(format!("frame {number}")))?;
        let pixel = instance
            .row
            .pixel
            .as_ref()
            .ok_or_else(|| ArchiveError::not_found("pixel data"))?;
        let shape = stored_shape(pixel);
        let syntax = instance.row.layout.transfer_syntax.clone();
        let limits = codec::FrameLimits {
            max_frame_bytes: self.limits.max_frame_bytes as u64,
        };
        if slices.len() > limits.max_frame_bytes {
            return Err(too_large(number));
        }
        let native = transfer_syntax::is_native(&syntax);
        let decoded = sample_shape(&syntax, pixel).unwrap_or(shape);
        if decoded.frame_bytes() > limits.max_frame_bytes {
            return Err(too_large(number));
        }
        let cost = slices
            .len()
            .saturating_add(decoded.frame_bytes())
            // Coefficients and lines of the decoders.
            .saturating_add(
                decoded
                    .sample_count()
                    .saturating_mul(if native { 1 } else { 8 }),
            );
        let cost = usize::try_from(cost).unwrap_or(usize::MAX);
        let mut memory = self.reserve(Purpose::Pixels, cost).await?;
        let content = read(&slices, native);
        let bytes = collect(content.all().await?).await?;
        let promised = codec::decoded_shape(&syntax, &shape).filter(|_| !native);
        let samples = self
            .maker
            .work(move || {
                if !native {
                    // The codestream decides how large its picture is, not the header.
                    let reported =
                        codec::codestream_shape(&syntax, &bytes, &shape).map_err(refused)?;
                    if reported.frame_bytes() > limits.max_frame_bytes {
                        return Err(too_large(number));
                    }
                    let samples = usize::try_from(reported.sample_count()).unwrap_or(usize::MAX);
                    let bytes = usize::try_from(reported.frame_bytes()).unwrap_or(usize::MAX);
                    let needed = bytes.saturating_add(samples.saturating_mul(8));
                    memory.try_grow_to(needed)?;
                }
                let frame = if native {
                    codec::native_to_canonical(&bytes, &shape, ByteOrder::Little)
                } else {
                    codec::decode(&syntax, &bytes, &shape, &limits)
                };
                drop(bytes);
                let frame = frame.map_err(refused)?;
                memory.try_grow_to(frame.data.capacity())?;
                memory.shrink_to(frame.data.capacity());
                Ok(FrameSamples::new(frame, memory))
            })
            .await?;
        let disagreement = promised.and_then(|shape| shape.disagreement(&samples.shape));
        Ok((samples, disagreement))
    }

    /// One frame encoded in a transfer syntax.
    ///
    /// # Errors
    /// As [`Self::samples`].
    pub async fn encoded(
        &self,
        instance: &OpenInstance,
        number: u32,
        syntax: &str,
    ) -> Result<(Bytes, FrameShape, Option<f64>)> {
        let key = MadeKey {
            watermark: instance.row.watermark,
            frame: number,
            what: FrameOutput::Encoded(syntax.to_owned()),
        };
        let kept = self.maker.kept(&key).await;
        let _turn = match kept {
            Some(_) => None,
            None => Some(self.maker.turn(samples_of(instance)).await?),
        };
        let made = self.maker.get(key, async {
            let samples = self.samples_in_turn(instance, number).await?;
            let syntax = syntax.to_owned();
            // Coefficients of the encoder, and what it writes, in memory that doubles when it is full.
            let work = samples.shape.sample_count().saturating_mul(8);
            let cost = usize::try_from(work).unwrap_or(usize::MAX);
            let cost = cost.saturating_add(samples.data.len().saturating_mul(2));
            let mut memory = self.reserve(Purpose::Pixels, cost).await?;
            self.maker
                .work(move || {
                    let made = codec::encode(&syntax, &samples, &EncodeOptions::default())
                        .map_err(refused)?;
                    memory.try_grow_to(made.bytes.capacity())?;
                    Ok(Made::Encoded {
                        bytes: reserved(made.bytes, memory),
                        shape: made.shape,
                        ratio: made.lossy,
                    })
                })
                .await
        });
        match made.await? {
            Made::Encoded {
                bytes,
                shape,
                ratio,
            } => Ok((bytes, shape, ratio)),
            Made::Samples(_) | Made::Picture(_) => Err(ArchiveError::Lost {
                what: "an encoded frame",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn fifty_who_ask_at_once_make_a_frame_once() {
        let maker = FrameCache::new(
            &crate::config::Config::default().limits,
            Lanes::new(2),
            LARGE_WORK,
        );
        let made = AtomicU32::new(0);
        let key = MadeKey {
            watermark: 1,
            frame: 1,
            what: FrameOutput::Samples,
        };
        let asked = (0..50).map(|_| {
            maker.get(key.clone(), async {
                made.fetch_add(1, Ordering::Relaxed);
                maker
                    .work(|| Ok(Made::Picture(Bytes::from_static(b"picture"))))
                    .await
            })
        });
        for got in join_all(asked).await {
            assert!(matches!(got, Ok(Made::Picture(bytes)) if bytes == "picture"));
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let maker = FrameCache::new(
            &crate::config::Config::default().limits,
            Lanes::new(2),
            LARGE_WORK,
        );
        let key = MadeKey {
            watermark: 1,
            frame: 1,
            what: FrameOutput::Samples,
        };
        let failed = maker
            .get(key.clone(), async { Err(ArchiveError::not_found("it")) })
            .await;
        assert!(matches!(failed, Err(ArchiveError::Shared(_))));
        let good = maker
            .get(key, async { Ok(Made::Picture(Bytes::new())) })
            .await;
        assert!(good.is_ok());
    }
}
