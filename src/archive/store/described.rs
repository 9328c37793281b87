//! Store of metadata and bulk data: files are composed and then stored like any other (PS3.18 §10.5.2).
//!
//! Invariant: bulk data lies in the memory or spool that parts are given, and is copied from there in chunks.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Held, Part, StoreRequest, spool_failure};
use crate::archive::error::{ArchiveError, Result};
use crate::blob::SpoolFile;
use crate::dicom::compose::{BulkPart, BulkParts, ComposeError, Metadata, Piece, compose, named};

/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;
/// First bytes of a part in which the frame header of a JPEG is looked for.
const HEAD: usize = 64 * 1024;

/// A bulk data part that has arrived.
#[derive(Debug)]
pub struct Attached {
    part: BulkPart,
    place: Lying,
}

#[derive(Debug)]
enum Lying {
    Memory {
        bytes: Bytes,
        /// Room in the memory that all parts share.
        _permits: Vec<OwnedSemaphorePermit>,
    },
    Spool(Arc<SpoolFile>),
}

impl Attached {
    /// Bytes from an offset on, [`CHUNK`] at most; none at the end.
    async fn chunk(&self, offset: u64) -> Result<Bytes> {
        let left = self.part.length.saturating_sub(offset);
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        match &self.place {
            Lying::Memory { bytes, .. } => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            Lying::Spool(file) => read_spool(file.clone(), offset, length).await,
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
    /// Keeps a complete part as bulk data with its Content-Location, media type and `transfer-syntax`.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when the spool fails.
    pub async fn attach(
        &mut self,
        part: Part,
        location: String,
        media: String,
        transfer_syntax: Option<String>,
    ) -> Result<Attached> {
        let length = part.length;
        let place = match part.held {
            Held::Memory { bytes, permits } => Lying::Memory {
                bytes: Bytes::from(bytes),
                _permits: permits,
            },
            Held::Spool(mut spooling) => {
                spooling.finish().await?;
                Lying::Spool(Arc::new(spooling.file))
            }
        };
        let mut attached = Attached {
            part: BulkPart {
                location,
                media,
                transfer_syntax,
                length,
                head: Vec::new(),
            },
            place,
        };
        let mut head = attached.chunk(0).await?;
        head.truncate(HEAD);
        attached.part.head = head.to_vec();
        Ok(attached)
    }

    /// Stores the instances that the metadata describes; one that cannot be composed fails alone.
    ///
    /// # Errors
    /// As [`StoreRequest::write`] and [`StoreRequest::end_part`].
    pub async fn store_described(
        &mut self,
        instances: Vec<Metadata>,
        attached: &[Attached],
    ) -> Result<()> {
        let parts = attached.iter().map(|attached| attached.part.clone());
        let bulk = Arc::new(BulkParts::new(parts.collect()));
        for metadata in instances {
            let (names, composed) = self.composed(metadata, bulk.clone()).await?;
            match composed {
                Ok(pieces) => self.copy(pieces, attached).await?,
                Err(error) => self.fail_named(names, error.to_string()).await?,
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

    async fn copy(&mut self, pieces: Vec<Piece>, attached: &[Attached]) -> Result<()> {
        let mut part = self.begin_part()?;
        part.copied = true;
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => self.write(&mut part, Bytes::from(bytes)).await?,
                Piece::Bulk(number) => {
                    let Some(from) = attached.get(number) else {
                        continue;
                    };
                    let mut offset = 0;
                    while offset < from.part.length {
                        let chunk = from.chunk(offset).await?;
                        offset += chunk.len() as u64;
                        self.write(&mut part, chunk).await?;
                    }
                }
            }
        }
        self.end_part(part).await
    }
}

/// SOP class and SOP instance, as far as they are known.
type Names = (Option<String>, Option<String>);
