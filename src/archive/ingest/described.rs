//! Store of metadata and bulk data: files are composed and then stored like any other (PS3.18 §10.5.2).
//!
//! Invariants: the bulk data of a request lies one after another in the memory or the one spool file that a part is given, and is
//! copied from there in chunks; what is composed of it is bounded like what a request may send.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::outcome::{SopNames, reason_for_unreadable, without_memory};
use super::persist::PersistOutcome;
use super::reason;
use super::receive::{GatheredBytes, IncomingPart, PartBuffer, lost_spool, spool_failure};
use super::request::StoreRequest;
use crate::archive::Archive;
use crate::archive::buffer::reserved;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::spool::SpoolRoom;
use crate::blob::SpoolFile;
use crate::dicom::compose::{
    BulkPart, BulkParts, ComposeError, FilePiece, HEAD, PartContent, SentMetadata, compose, named,
};
use crate::dicom::picture::PictureInfo;
use crate::memory::{NoMemory, Purpose, Reservation};

/// Bytes copied at a time, and looked at of a part.
const CHUNK: usize = HEAD;
/// How many times the bytes that were sent the files may have that are made of them, and some bytes beside.
const COMPOSED: u64 = 16;
const SLACK: u64 = 1 << 20;

/// All bulk data of a request, one after another in the memory or the spool file of a single part.
#[derive(Debug)]
pub struct BulkDataBuffer {
    held: IncomingPart,
    parts: Vec<BulkPart>,
    /// Where each part begins, in bytes.
    offsets: Vec<u64>,
}

impl BulkDataBuffer {
    /// Begins the next bulk data part: Content-Location, media type in lower case and `transfer-syntax`.
    fn begin(&mut self, location: String, media: String, transfer_syntax: Option<String>) {
        self.offsets.push(self.held.length);
        self.parts.push(BulkPart {
            location,
            media,
            transfer_syntax,
            length: 0,
            content: PartContent::default(),
        });
    }

    /// Whether a part came without a place although it could belong to more than one attribute of one instance.
    #[must_use]
    pub fn is_ambiguous(&self, instances: usize) -> bool {
        let unplaced = self.parts.iter().any(|part| part.location.is_empty());
        unplaced && (self.parts.len() > 1 || instances != 1)
    }

    /// Ends the shelf; what its parts are is taken from their bytes.
    async fn finish(self, archive: &Archive) -> Result<(BulkParts, BulkDataPlaces)> {
        let bytes = match self.held.held {
            // Nothing is refused before it is composed.
            PartBuffer::Refused(_) => return Err(lost_spool()),
            PartBuffer::Memory(GatheredBytes { bytes, room, .. }) => DescribedOutcome::Memory {
                bytes: Bytes::from(bytes),
                _room: room,
            },
            PartBuffer::Spool(mut spooling) => {
                spooling.finish().await?;
                DescribedOutcome::Spool {
                    file: Arc::new(spooling.file),
                    _room: spooling.room,
                }
            }
        };
        let places = self.offsets.iter().copied();
        let places = places
            .zip(self.parts.iter().map(|part| part.length))
            .collect();
        let bulk_places = BulkDataPlaces { bytes, places };
        let mut parts = self.parts;
        for (number, part) in parts.iter_mut().enumerate() {
            // The bytes decide what a part is.
            let (offset, length) = bulk_places.places.get(number).copied().unwrap_or_default();
            let head = bulk_places.chunk(offset, length).await?;
            let known = head.len() as u64 == length;
            let most = archive.limits.max_frame_bytes as u64;
            if known || !PictureInfo::needs_whole(&head) {
                part.look(&head);
            } else if length > most {
                part.content = PartContent::Unfit("has a TIFF file that is too large");
            } else {
                let memory = usize::try_from(length).unwrap_or(usize::MAX);
                let _memory = archive.reserve(Purpose::Pixels, memory).await?;
                let bytes = bulk_places.whole(offset, length).await?;
                part.look(&bytes);
            }
        }
        Ok((BulkParts::new(parts), bulk_places))
    }
}

/// Bulk data that is complete.
struct BulkDataPlaces {
    bytes: DescribedOutcome,
    /// Offset and length of each part.
    places: Vec<(u64, u64)>,
}

enum DescribedOutcome {
    Memory {
        bytes: Bytes,
        /// Memory of the bytes.
        _room: Option<Reservation>,
    },
    Spool {
        file: Arc<SpoolFile>,
        /// Room in the spool that all parts share.
        _room: SpoolRoom,
    },
}

impl BulkDataPlaces {
    /// Bytes of a file that is made of these pieces.
    fn length(&self, pieces: &[FilePiece]) -> u64 {
        let length = |piece: &FilePiece| match piece {
            FilePiece::Bytes(bytes) => bytes.len() as u64,
            FilePiece::Bulk(number) => self.places.get(*number).map_or(0, |(_, length)| *length),
            // A picture is compressed for good reason.
            FilePiece::Picture(_, picture) => picture.length() / 8,
            FilePiece::Part { length, .. } => *length,
        };
        let sum = |sum: u64, piece| sum.saturating_add(length(piece));
        pieces.iter().fold(0, sum)
    }

    /// All bytes of a part; the caller has reserved them.
    async fn whole(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut at = offset;
        let end = offset.saturating_add(length);
        while at < end {
            let chunk = self.chunk(at, end - at).await?;
            at += chunk.len() as u64;
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Bytes of the shelf from an offset on, [`CHUNK`] and `most` at most.
    async fn chunk(&self, offset: u64, most: u64) -> Result<Bytes> {
        let length = usize::try_from(most).map_or(CHUNK, |most| most.min(CHUNK));
        match &self.bytes {
            DescribedOutcome::Memory { bytes, .. } => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            DescribedOutcome::Spool { file, .. } => read_spool(file.clone(), offset, length).await,
        }
    }
}

async fn read_spool(file: Arc<SpoolFile>, offset: u64, length: usize) -> Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; length];
        let file = file.file().map_err(spool_failure)?;
        file.read_exact_at(&mut chunk, offset)
            .map_err(spool_failure)?;
        Ok(Bytes::from(chunk))
    });
    read.await.map_err(|_| lost_spool())?
}

impl StoreRequest {
    /// Begins to take bulk data.
    #[must_use]
    pub fn bulk_buffer(&self) -> BulkDataBuffer {
        BulkDataBuffer {
            held: IncomingPart::empty(),
            parts: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// Begins the next bulk data part: Content-Location, media type in lower case and `transfer-syntax`.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] when the request has too many parts.
    pub fn begin_bulk(
        &mut self,
        bulk_buffer: &mut BulkDataBuffer,
        location: String,
        media: String,
        transfer_syntax: Option<String>,
    ) -> Result<()> {
        self.count_part()?;
        bulk_buffer.begin(location, media, transfer_syntax);
        Ok(())
    }

    /// Takes the next bytes of the bulk data part that was begun last.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] past the limit of the request; [`ArchiveError::Blob`] when the spool fails.
    pub async fn write_bulk(
        &mut self,
        bulk_buffer: &mut BulkDataBuffer,
        bytes: Bytes,
    ) -> Result<()> {
        if let Some(part) = bulk_buffer.parts.last_mut() {
            part.length += bytes.len() as u64;
        }
        self.hold(&mut bulk_buffer.held, bytes).await
    }

    /// Memory for the text of the metadata, to be grown before the text is.
    #[must_use]
    pub fn text_room(&self) -> Reservation {
        self.archive.budget.nothing(Purpose::Text)
    }

    /// Takes DICOM JSON arrays of data sets apart, as many data sets as the request may still have.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when one is no array of objects, or they are too many.
    pub async fn split(&self, texts: Vec<Vec<u8>>) -> Result<Vec<SentMetadata>> {
        let most = self.parts_left();
        let split = self.archive.lanes.run(Lane::Text, move || {
            let mut instances = Vec::new();
            for text in texts {
                let left = most.saturating_sub(instances.len() as u64);
                let refused = |e| ArchiveError::invalid(format!("{e}; send one array of objects"));
                instances.append(&mut SentMetadata::split(&text, left).map_err(refused)?);
            }
            Ok(instances)
        });
        split.await
    }

    /// Stores the instances that the metadata describes; one that cannot be composed fails alone. Ends early when so many in
    /// a row fail that the rest is not worth the work ([`StoreRequest::is_hopeless`]).
    ///
    /// # Errors
    /// As [`StoreRequest::write`] and [`StoreRequest::end_part`]; all files together may be as long as a request.
    pub async fn store_described(
        &mut self,
        instances: Vec<SentMetadata>,
        bulk_buffer: BulkDataBuffer,
    ) -> Result<()> {
        self.take_slot().await?;
        let (parts, bulk_places) = bulk_buffer.finish(&self.archive).await?;
        let parts = Arc::new(parts);
        let mut composed_bytes = 0_u64;
        for metadata in instances {
            if self.is_hopeless() {
                break;
            }
            let unreadable = reason_for_unreadable(self.options.rules);
            // A text becomes many times larger when it is parsed.
            let room = metadata.weight();
            let room = self.archive.budget.reserve(Purpose::Text, room).await;
            let room = match room {
                Ok(room) => room,
                Err(error) => {
                    self.count_part()?;
                    let outcome = without_memory((None, None), error);
                    let failed = match error {
                        NoMemory::TooLarge { .. } => PersistOutcome::Failed(outcome),
                        NoMemory::Busy => PersistOutcome::Unavailable(outcome, error.into()),
                    };
                    self.take_all().await?;
                    self.take(failed).await?;
                    continue;
                }
            };
            let (names, composed) = self.composed(metadata, parts.clone()).await?;
            match composed {
                Ok(pieces) => {
                    composed_bytes = composed_bytes.saturating_add(bulk_places.length(&pieces));
                    let most = self.received.saturating_mul(COMPOSED);
                    if composed_bytes > most.saturating_add(SLACK) {
                        self.count_part()?;
                        let comment = format!(
                            "the instances would take more than {COMPOSED} times the bytes that were sent: send the bulk data of \
                             each, or send them as files"
                        );
                        self.fail_named(names, reason::OUT_OF_RESOURCES, comment)
                            .await?;
                    } else {
                        // The tree is gone; what the pieces hold is less than it weighed.
                        if let Err(reason) = self.copy(pieces, &bulk_places).await? {
                            self.fail_named(names, unreadable, reason).await?;
                        }
                    }
                }
                Err(error) => {
                    self.count_part()?;
                    self.fail_named(names, unreadable, error.to_string())
                        .await?;
                }
            }
            drop(room);
        }
        Ok(())
    }

    async fn composed(
        &self,
        metadata: SentMetadata,
        bulk: Arc<BulkParts>,
    ) -> Result<(SopNames, std::result::Result<Vec<FilePiece>, ComposeError>)> {
        let work = move || match metadata.read() {
            Ok(data_set) => Ok((named(&data_set), compose(&data_set, &bulk))),
            Err(error) => Ok(((None, None), Err(error))),
        };
        self.archive.lanes.run(Lane::Ingest, work).await
    }

    /// Writes a file and stores it; the reason when a picture in it cannot be decoded.
    async fn copy(
        &mut self,
        pieces: Vec<FilePiece>,
        bulk_places: &BulkDataPlaces,
    ) -> Result<std::result::Result<(), String>> {
        let mut part = self.begin_part()?;
        part.composed = true;
        for piece in pieces {
            let (mut offset, mut left) = match piece {
                FilePiece::Bytes(bytes) => {
                    self.write(&mut part, Bytes::from(bytes)).await?;
                    continue;
                }
                FilePiece::Picture(number, picture) => {
                    match self.pixels(number, picture, bulk_places).await? {
                        Ok(pixels) => self.write(&mut part, pixels).await?,
                        Err(reason) => return Ok(Err(reason)),
                    }
                    continue;
                }
                FilePiece::Bulk(number) => {
                    bulk_places.places.get(number).copied().unwrap_or_default()
                }
                FilePiece::Part {
                    number,
                    offset,
                    length,
                } => {
                    let (start, _) = bulk_places.places.get(number).copied().unwrap_or_default();
                    (start + offset, length)
                }
            };
            while left > 0 {
                let chunk = bulk_places.chunk(offset, left).await?;
                offset += chunk.len() as u64;
                left -= chunk.len() as u64;
                self.write(&mut part, chunk).await?;
            }
        }
        self.end_part(part).await?;
        Ok(Ok(()))
    }

    /// The pixels of a picture, or why there are none; decoded like a frame, in memory that was reserved.
    async fn pixels(
        &self,
        number: usize,
        picture: PictureInfo,
        bulk_places: &BulkDataPlaces,
    ) -> Result<std::result::Result<Bytes, String>> {
        let most = self.archive.limits.max_frame_bytes as u64;
        if picture.length() > most {
            return Ok(Err(format!(
                "a picture of the pixel data has more than {most} bytes when it is decoded"
            )));
        }
        let (offset, length) = bulk_places.places.get(number).copied().unwrap_or_default();
        let cost = picture.cost().saturating_add(length);
        let cost = usize::try_from(cost).unwrap_or(usize::MAX);
        let memory = self.archive.reserve(Purpose::Pixels, cost).await?;
        let bytes = bulk_places.whole(offset, length).await?;
        let decoded = self.archive.maker.work(move || {
            Ok(picture
                .pixels(&bytes)
                .map(|pixels| reserved(pixels, memory)))
        });
        let decoded = decoded.await?;
        Ok(decoded.map_err(|reason| format!("the attribute 7FE00010 {reason}")))
    }
}
