//! Inflates a deflated data set (PS3.5 §A.5) with a cap, into memory while it is small, else into a file of the caller's.
//!
//! Invariant: never more bytes than the cap are written, however the stream is made.

use std::fs::File;
use std::io::{self, Write};

use flate2::{Decompress, FlushDecompress, Status};

use super::error::{Limit, ParseError, ParseProblem};
use super::parse_memory::Ledger;
use super::source::{FileSource, Source};

/// Most bytes of an inflated data set that are held in memory; several are inflated at a time.
pub const IN_MEMORY: u64 = 8 << 20;
const CHUNK: usize = 64 * 1024;

/// An inflated data set.
#[derive(Debug)]
pub enum Inflated {
    /// Small enough for memory.
    Memory(Vec<u8>),
    /// In a file made by the caller, with the room it takes.
    File(FileSource, Box<dyn DiskRoom>),
}

impl Source for Inflated {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file, _) => file.len(),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read_at(offset, buf),
            Self::File(file, _) => file.read_at(offset, buf),
        }
    }

    fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::File(..) => None,
        }
    }
}

/// Room on a disk, given back when it is dropped.
pub trait DiskRoom: std::fmt::Debug + Send + Sync {
    /// Has room for so many bytes in all, before they are written.
    ///
    /// # Errors
    /// When there is none.
    fn grow_to(&mut self, bytes: u64) -> io::Result<()>;
}

/// As much room as the disk has.
#[derive(Debug, Clone, Copy)]
pub struct Unbounded;

impl DiskRoom for Unbounded {
    fn grow_to(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// An empty file with the room it will take.
pub type SpooledFile = (File, Box<dyn DiskRoom>);

/// Makes an empty file for a data set too large for memory.
pub type CreateSpoolFile<'a> = &'a dyn Fn() -> io::Result<SpooledFile>;

/// Inflates what `source` holds from `offset` on; without a spool it must fit into memory.
///
/// # Errors
/// [`ParseError::Damaged`] when the stream is not valid or not complete, [`ParseError::Limit`] beyond `cap` bytes,
/// [`ParseError::Read`] when source or spool fail.
pub fn inflate(
    source: &dyn Source,
    offset: u64,
    cap: u64,
    spool: Option<CreateSpoolFile<'_>>,
) -> Result<Inflated, ParseError> {
    inflate_within(source, offset, (cap, IN_MEMORY), spool, Ledger::new(None))
}

/// As [`inflate`], with the most bytes in all and in memory; what grows in memory is asked for.
pub(crate) fn inflate_within(
    source: &dyn Source,
    mut offset: u64,
    (cap, in_memory): (u64, u64),
    spool: Option<CreateSpoolFile<'_>>,
    ledger: Ledger<'_>,
) -> Result<Inflated, ParseError> {
    let memory_cap = cap.min(in_memory);
    let mut stream = Decompress::new(false);
    let mut input = vec![0; CHUNK];
    let mut output = vec![0; CHUNK];
    let mut memory = Vec::new();
    let mut file: Option<SpooledFile> = None;
    let mut total = 0_u64;
    let mut pending = 0..0;
    loop {
        if pending.is_empty() {
            let count = super::source::read_full(source, offset, &mut input)?;
            pending = 0..count;
        }
        let at = offset;
        let bytes = input.get(pending.clone()).unwrap_or_default();
        let ended = bytes.is_empty();
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(bytes, &mut output, FlushDecompress::None)
            .map_err(|_| ParseError::damaged(None, at, ParseProblem::Deflate))?;
        let used = stream.total_in().saturating_sub(before_in);
        let made = stream.total_out().saturating_sub(before_out);
        offset = offset.saturating_add(used);
        pending.start = pending
            .start
            .saturating_add(usize::try_from(used).unwrap_or(usize::MAX))
            .min(pending.end);
        total = total.saturating_add(made);
        if total > cap {
            return Err(ParseError::limit(None, at, Limit::Inflated, cap));
        }
        let fresh = usize::try_from(made)
            .ok()
            .and_then(|made| output.get(..made))
            .unwrap_or_default();
        if file.is_none() && total > memory_cap {
            let Some(make) = spool else {
                return Err(ParseError::limit(None, at, Limit::Inflated, memory_cap));
            };
            let mut spooled = make()?;
            spooled.1.grow_to(total)?;
            spooled.0.write_all(&memory)?;
            memory = Vec::new();
            file = Some(spooled);
        }
        match &mut file {
            Some((file, room)) => {
                room.grow_to(total)?;
                file.write_all(fresh)?;
            }
            None => {
                let left = memory.capacity().saturating_sub(memory.len());
                if left < fresh.len() {
                    let more = fresh.len().max(memory.capacity());
                    ledger.more(more)?;
                    memory.reserve_exact(left.saturating_add(more));
                }
                memory.extend_from_slice(fresh);
            }
        }
        if status == Status::StreamEnd {
            break;
        }
        if ended && made == 0 {
            return Err(ParseError::damaged(None, at, ParseProblem::DeflateCut));
        }
        if used == 0 && made == 0 && status == Status::BufError && !ended {
            return Err(ParseError::damaged(None, at, ParseProblem::Deflate));
        }
    }
    Ok(match file {
        Some((file, room)) => Inflated::File(FileSource::new(file)?, room),
        None => Inflated::Memory(memory),
    })
}
