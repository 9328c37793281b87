//! Store of metadata and bulk data: files are composed and then stored like any other (PS3.18 §10.5.2).
//!
//! Invariants: the bulk data of a request lies one after another in the memory or the one spool file that a part is given, and is
//! copied from there in chunks; what is composed of it is bounded like what a request may send.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Held, Part, StoreRequest, spool_failure};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::held::held;
use crate::blob::SpoolFile;
use crate::dicom::compose::{
    BulkPart, BulkParts, ComposeError, Content, HEAD, Metadata, Piece, compose, named,
};
use crate::dicom::picture::Picture;
use crate::memory::Purpose;

/// Bytes copied at a time, and looked at of a part.
const CHUNK: usize = HEAD;

/// All bulk data of a request, one after another in the memory or the spool file of a single part.
#[derive(Debug)]
pub struct Shelf {
    held: Part,
    parts: Vec<BulkPart>,
    /// Where each part begins, in bytes.
    offsets: Vec<u64>,
}

impl Shelf {
    /// Begins the next bulk data part: Content-Location, media type in lower case and `transfer-syntax`.
    fn begin(&mut self, location: String, media: String, transfer_syntax: Option<String>) {
        self.offsets.push(self.held.length);
        self.parts.push(BulkPart {
            location,
            media,
            transfer_syntax,
            length: 0,
            content: Content::default(),
        });
    }

    /// Whether a part came without a place although it could belong to more than one attribute of one instance.
    #[must_use]
    pub fn is_ambiguous(&self, instances: usize) -> bool {
        let unplaced = self.parts.iter().any(|part| part.location.is_empty());
        unplaced && (self.parts.len() > 1 || instances != 1)
    }

    async fn finish(self) -> Result<(BulkParts, Lying)> {
        let bytes = match self.held.held {
            Held::Memory { bytes, permits } => Stowed::Memory {
                bytes: Bytes::from(bytes),
                _permits: permits,
            },
            Held::Spool(mut spooling) => {
                spooling.finish().await?;
                Stowed::Spool {
                    file: Arc::new(spooling.file),
                    _permits: spooling.permits,
                }
            }
        };
        let places = self.offsets.iter().copied();
        let places = places
            .zip(self.parts.iter().map(|part| part.length))
            .collect();
        let lying = Lying { bytes, places };
        let mut parts = self.parts;
        for (number, part) in parts.iter_mut().enumerate() {
            if part.wants_look() {
                // The bytes decide what a part is.
                let (offset, length) = lying.places.get(number).copied().unwrap_or_default();
                part.look(&lying.chunk(offset, length).await?);
            }
        }
        Ok((BulkParts::new(parts), lying))
    }
}

/// Bulk data that is complete.
struct Lying {
    bytes: Stowed,
    /// Offset and length of each part.
    places: Vec<(u64, u64)>,
}

enum Stowed {
    Memory {
        bytes: Bytes,
        /// Room in the memory that all parts share.
        _permits: Vec<OwnedSemaphorePermit>,
    },
    Spool {
        file: Arc<SpoolFile>,
        /// Room in the spool that all parts share.
        _permits: Vec<OwnedSemaphorePermit>,
    },
}

impl Lying {
    /// Bytes of the shelf from an offset on, [`CHUNK`] and `most` at most.
    async fn chunk(&self, offset: u64, most: u64) -> Result<Bytes> {
        let length = usize::try_from(most).map_or(CHUNK, |most| most.min(CHUNK));
        match &self.bytes {
            Stowed::Memory { bytes, .. } => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            Stowed::Spool { file, .. } => read_spool(file.clone(), offset, length).await,
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
    read.await
        .map_err(|_| ArchiveError::Lost { what: "spool" })?
}

impl StoreRequest {
    /// Begins to take bulk data.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        Shelf {
            held: Part::empty(),
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
        shelf: &mut Shelf,
        location: String,
        media: String,
        transfer_syntax: Option<String>,
    ) -> Result<()> {
        self.count_part()?;
        shelf.begin(location, media, transfer_syntax);
        Ok(())
    }

    /// Takes the next bytes of the bulk data part that was begun last.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] past the limit of the request; [`ArchiveError::Blob`] when the spool fails.
    pub async fn write_bulk(&mut self, shelf: &mut Shelf, bytes: Bytes) -> Result<()> {
        if let Some(part) = shelf.parts.last_mut() {
            part.length += bytes.len() as u64;
        }
        self.hold(&mut shelf.held, bytes).await
    }

    /// Stores the instances that the metadata describes; one that cannot be composed fails alone.
    ///
    /// # Errors
    /// As [`StoreRequest::write`] and [`StoreRequest::end_part`]; all files together may be as long as a request.
    pub async fn store_described(&mut self, instances: Vec<Metadata>, shelf: Shelf) -> Result<()> {
        self.take_slot().await?;
        let (parts, lying) = shelf.finish().await?;
        let parts = Arc::new(parts);
        for metadata in instances {
            let (names, composed) = self.composed(metadata, parts.clone()).await?;
            match composed {
                Ok(pieces) => {
                    if let Err(reason) = self.copy(pieces, &lying).await? {
                        self.fail_named(names, reason).await?;
                    }
                }
                Err(error) => {
                    self.count_part()?;
                    self.fail_named(names, error.to_string()).await?;
                }
            }
        }
        Ok(())
    }

    async fn composed(
        &self,
        metadata: Metadata,
        bulk: Arc<BulkParts>,
    ) -> Result<(Names, std::result::Result<Vec<Piece>, ComposeError>)> {
        let lost = |_| ArchiveError::Lost { what: "work" };
        // A text becomes many times larger when it is parsed: as few at a time as are walked.
        let permit = self.archive.work.clone().acquire_owned().await;
        let permit = permit.map_err(|_| ArchiveError::Lost { what: "work" })?;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match metadata.read() {
                Ok(data_set) => (named(&data_set), compose(&data_set, &bulk)),
                Err(error) => ((None, None), Err(error)),
            }
        });
        work.await.map_err(lost)
    }

    /// Writes a file and stores it; the reason when a picture in it cannot be decoded.
    async fn copy(
        &mut self,
        pieces: Vec<Piece>,
        lying: &Lying,
    ) -> Result<std::result::Result<(), String>> {
        let mut part = self.begin_part()?;
        part.composed = true;
        for piece in pieces {
            let (mut offset, mut left) = match piece {
                Piece::Bytes(bytes) => {
                    self.write(&mut part, Bytes::from(bytes)).await?;
                    continue;
                }
                Piece::Picture(number, picture) => {
                    match self.pixels(number, picture, lying).await? {
                        Ok(pixels) => self.write(&mut part, pixels).await?,
                        Err(reason) => return Ok(Err(reason)),
                    }
                    continue;
                }
                Piece::Bulk(number) => lying.places.get(number).copied().unwrap_or_default(),
                Piece::Part {
                    number,
                    offset,
                    length,
                } => {
                    let (start, _) = lying.places.get(number).copied().unwrap_or_default();
                    (start + offset, length)
                }
            };
            while left > 0 {
                let chunk = lying.chunk(offset, left).await?;
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
        picture: Picture,
        lying: &Lying,
    ) -> Result<std::result::Result<Bytes, String>> {
        let most = self.archive.limits.max_frame_bytes as u64;
        if picture.length() > most {
            return Ok(Err(format!(
                "a picture of the pixel data has more than {most} bytes when it is decoded"
            )));
        }
        let (mut offset, length) = lying.places.get(number).copied().unwrap_or_default();
        let cost = picture.cost().saturating_add(length);
        let cost = usize::try_from(cost).unwrap_or(usize::MAX);
        let memory = self.archive.reserve(Purpose::Pixels, cost).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let end = offset.saturating_add(length);
        while offset < end {
            let chunk = lying.chunk(offset, end - offset).await?;
            offset += chunk.len() as u64;
            bytes.extend_from_slice(&chunk);
        }
        let decoded = self
            .archive
            .maker
            .work(move || Ok(picture.pixels(&bytes).map(|pixels| held(pixels, memory))));
        let decoded = decoded.await?;
        Ok(decoded.map_err(|reason| format!("the attribute 7FE00010 {reason}")))
    }
}

/// SOP class and SOP instance, as far as they are known.
type Names = (Option<String>, Option<String>);
