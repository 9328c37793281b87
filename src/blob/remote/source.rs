//! An object that is read like a file: here and there, or from front to back.
//!
//! Invariant: at most [`KEPT`] pieces of at most [`LARGEST`] bytes are held, whatever is read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::bucket::Bucket;
use crate::blob::error::Result;
use crate::dicom::source::Source;

/// First read, as a rule all attributes of an instance.
const FIRST: usize = 256 * 1024;
/// Read after a jump.
const JUMP: usize = 64 * 1024;
/// Largest read; reads grow up to it while they follow each other.
const LARGEST: usize = 2 << 20;
/// Pieces held.
const KEPT: usize = 3;

/// A range of an object.
#[derive(Debug)]
pub(super) struct RemoteSource {
    bucket: Bucket,
    key: Arc<str>,
    offset: u64,
    length: u64,
    held: Mutex<ChunkBuffer>,
    runtime: Handle,
}

#[derive(Debug)]
struct ChunkBuffer {
    /// Pieces by their offset in the range, oldest first.
    pieces: VecDeque<(u64, Bytes)>,
    /// Where the last read ended, and how large it was.
    end: u64,
    size: usize,
}

impl ChunkBuffer {
    /// Copies what a piece has of the bytes at `offset`.
    fn copy(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        self.pieces.iter().rev().find_map(|(start, piece)| {
            let skip = usize::try_from(offset.checked_sub(*start)?).ok()?;
            let there = piece.get(skip..).filter(|there| !there.is_empty())?;
            let count = there.len().min(buf.len());
            buf.get_mut(..count)?.copy_from_slice(there.get(..count)?);
            Some(count)
        })
    }

    /// How much to read at `offset`: more while reads follow each other.
    fn next_size(&self, offset: u64) -> usize {
        if offset == self.end {
            self.size.saturating_mul(2).clamp(JUMP, LARGEST)
        } else {
            JUMP
        }
    }

    fn keep(&mut self, offset: u64, piece: Bytes) {
        self.end = offset + piece.len() as u64;
        self.size = piece.len();
        if self.pieces.len() >= KEPT {
            self.pieces.pop_front();
        }
        self.pieces.push_back((offset, piece));
    }
}

impl RemoteSource {
    /// Reads the first piece, so that a missing object is an error here.
    pub(super) async fn open(bucket: Bucket, key: &str, offset: u64, length: u64) -> Result<Self> {
        let first = usize::try_from(length).unwrap_or(FIRST).min(FIRST);
        let piece = bucket.read(key, offset, first).await?;
        let mut held = ChunkBuffer {
            pieces: VecDeque::new(),
            end: 0,
            size: 0,
        };
        held.keep(0, piece);
        Ok(Self {
            bucket,
            key: Arc::from(key),
            offset,
            length,
            held: Mutex::new(held),
            runtime: Handle::current(),
        })
    }
}

impl Source for RemoteSource {
    fn len(&self) -> u64 {
        self.length
    }

    /// Waits for the network: for the blocking pool only.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(offset);
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..wanted) else {
            return Ok(0);
        };
        // What a panic left behind is as good as before: pieces never change.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.copy(offset, buf) {
            return Ok(count);
        }
        let size = held.next_size(offset);
        let size = usize::try_from(left).unwrap_or(size).min(size);
        let read = self
            .bucket
            .read(&self.key, self.offset.saturating_add(offset), size);
        let piece = self.runtime.block_on(read).map_err(io::Error::other)?;
        held.keep(offset, piece);
        Ok(held.copy(offset, buf).unwrap_or(0))
    }
}
