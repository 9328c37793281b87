//! Reads of stored bytes that are compared with the checksums of their blocks, whole instances as well as ranges.
//!
//! Invariant: while reads are verified no byte of a block leaves that differs from what was stored; whole blocks are read
//! around a range for that.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::archive::Archive;
use crate::archive::content::Content;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, Blobs, OpenBlob};
use crate::checksum::{BlockCheck, BlockChecksums};
use crate::dicom::source::Source;
use crate::index::{BlobPlace, InstanceRow};

impl Archive {
    /// The checksums that a read is to be compared with: as often as configured, and where they are known.
    pub(super) fn blocks_to_check<'a>(&self, place: &'a BlobPlace) -> Option<&'a BlockChecksums> {
        let blocks = place.blocks.as_ref()?;
        self.verifies().then_some(blocks)
    }

    /// Whether this read is one of those that are verified.
    pub(super) fn verifies(&self) -> bool {
        let share = self.limits.verify_reads;
        share >= 100 || rand::random_range(0..100) < share
    }

    /// Reads all bytes of an instance before something is made of them.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] when they are other ones than were stored.
    pub(super) async fn require_whole(&self, row: &InstanceRow) -> Result<()> {
        let place = &row.place;
        let sums = self.blobs.sums(&place.key, place.offset, place.length);
        if sums.await?.digest == row.digest {
            return Ok(());
        }
        let key = place.key.clone();
        Err(BlobError::Damaged { key }.into())
    }

    /// A range of a blob, checked block by block: what is small at once, else as it is sent.
    pub(super) async fn checked_range(
        &self,
        place: &BlobPlace,
        blocks: &BlockChecksums,
        range: Range<u64>,
    ) -> Result<Content> {
        let around = blocks.around(range.clone(), place.length);
        if range.end > around.end {
            let (key, end) = (place.key.clone(), range.end);
            let error = BlobError::Short { key, end };
            self.blobs.report(&error);
            return Err(error.into());
        }
        let (start, length) = (around.start, around.end - around.start);
        let (skip, wanted) = (range.start - start, range.end - range.start);
        let mut check = blocks.check(around);
        if length <= super::retrieve::WHOLE {
            let (chunks, memory) = self.read_whole(place, start, length).await?;
            let mut checked = Vec::with_capacity(chunks.len() + 1);
            for chunk in chunks {
                let chunks = check.push(chunk);
                checked.append(&mut chunks.map_err(|_| damaged(&self.blobs, &place.key))?);
            }
            return Ok(Content::pieces(length, checked, memory).trimmed(skip, wanted));
        }
        let chunks = self.read_stream(place, start, length).await?;
        let chunks = checked_stream(self.blobs.clone(), place.key.clone(), chunks, check);
        Ok(Content { length, chunks }.trimmed(skip, wanted))
    }

    /// Opens a blob for positional reads that are checked.
    pub(in crate::archive) async fn open_checked(&self, place: &BlobPlace) -> Result<OpenBlob> {
        let opened = self
            .blobs
            .open_source(&place.key, place.offset, place.length);
        let source = opened.await?;
        Ok(match self.blocks_to_check(place) {
            None => source,
            Some(blocks) => std::sync::Arc::new(CheckedSource {
                source,
                blocks: blocks.clone(),
                last: Mutex::default(),
                blobs: self.blobs.clone(),
                key: place.key.clone(),
            }),
        })
    }
}

/// Reports a blob whose bytes are other ones than were stored.
fn damaged(blobs: &Blobs, key: &str) -> BlobError {
    let key = key.to_owned();
    let error = BlobError::Damaged { key };
    blobs.report(&error);
    error
}

/// Lets chunks pass once their blocks are checked.
fn checked_stream(
    blobs: Blobs,
    key: String,
    chunks: BoxStream<'static, Result<Bytes>>,
    check: BlockCheck,
) -> BoxStream<'static, Result<Bytes>> {
    let checked = stream::try_unfold((chunks, check), move |(mut chunks, mut check)| {
        let (blobs, key) = (blobs.clone(), key.clone());
        async move {
            while let Some(chunk) = chunks.try_next().await? {
                let passed = check.push(chunk).map_err(|_| damaged(&blobs, &key))?;
                if !passed.is_empty() {
                    let passed = stream::iter(passed.into_iter().map(Ok));
                    return Ok(Some((passed, (chunks, check))));
                }
            }
            Ok::<_, ArchiveError>(None)
        }
    });
    checked.try_flatten().boxed()
}

/// A blob whose blocks are checked when they are read; the last one is kept, as reads follow one another.
struct CheckedSource {
    source: OpenBlob,
    blocks: BlockChecksums,
    last: Mutex<Option<(Range<u64>, Bytes)>>,
    blobs: Blobs,
    key: String,
}

impl CheckedSource {
    /// The block that has the byte at `offset`, and where it lies.
    fn block(&self, offset: u64) -> io::Result<(Range<u64>, Bytes)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = last.as_ref().filter(|(range, _)| range.contains(&offset)) {
            return Ok(block.clone());
        }
        let range = self.blocks.around(offset..offset + 1, self.len());
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.source.read_at(range.start + filled as u64, room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        let bytes = Bytes::from(bytes);
        if self
            .blocks
            .check(range.clone())
            .push(bytes.clone())
            .is_err()
        {
            let error = damaged(&self.blobs, &self.key);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(last.insert((range, bytes)).clone())
    }
}

impl Source for CheckedSource {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.len() || buf.is_empty() {
            return Ok(0);
        }
        let (range, bytes) = self.block(offset)?;
        let start = usize::try_from(offset - range.start).unwrap_or(usize::MAX);
        let from = bytes.get(start..).unwrap_or_default();
        let count = from.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}
