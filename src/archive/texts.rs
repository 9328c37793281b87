//! Stored metadata on its way to whoever reads it: read in portions, unpacked and looked at in the lane for text.
//!
//! Invariants: what is read, unpacked and made of it is reserved before, in bytes, and given back when it was used; nothing
//! is unpacked on a thread of requests; between two portions a client that has left stops the work; an instance whose
//! metadata cannot be had fails alone.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::Archive;
use super::error::{ArchiveError, Result};
use super::lanes::Lane;
use crate::dicom::instance::Metadata;
use crate::dicom::members::Malformed;
use crate::dicom::metadata;
use crate::dicom::pieces::Pieces;
use crate::index::{IndexError, NoWorkMemory, WorkMemory};
use crate::memory::{NoMemory, Purpose, Reservation, holding};
use crate::scope::ScopeSet;
use crate::trace::Stage;

/// Largest metadata of one instance that is read back, in bytes.
const MAX_METADATA: usize = 1 << 30;
/// Instances whose sizes are asked for at a time.
const CHUNK: usize = 64;
/// Bytes of packed metadata read at a time, and of metadata unpacked at a time, unless one instance has more.
const PORTION: usize = 1 << 20;
/// Bytes of a piece of an answer, about.
const PIECE: usize = 64 << 10;
/// What is told of an instance beside its metadata may have so many bytes that are not counted.
const UNCOUNTED: usize = 4096;

/// The metadata of one instance, if it can be had.
#[derive(Debug)]
pub(super) enum StoredText {
    /// It.
    There(Metadata),
    /// The instance was deleted meanwhile.
    Gone,
    /// It cannot be read back.
    Damaged,
    /// It does not fit the memory of this server.
    TooLarge(NoMemory),
}

/// What is done with the metadata of an instance: the first argument is what the caller gave along.
pub(super) type Work<C, T> =
    Arc<dyn Fn(C, StoredText, &mut Reservation) -> Result<T> + Send + Sync>;

/// One instance to be looked at.
struct TextRequest<C> {
    watermark: i64,
    with: C,
}

/// What was read of it, with memory for what is made of it.
struct LoadedText<C> {
    with: C,
    packed: std::result::Result<Vec<u8>, StoredText>,
    held: Reservation,
}

impl Archive {
    /// Does work with the metadata of instances, in their order; each is named by its watermark.
    ///
    /// `more` says how many bytes the work needs beside metadata of so many bytes. The reservation it is handed covers both, and
    /// what of it the work does not keep is given back.
    pub(super) fn with_metadata<C: Send + 'static, T: Send + 'static>(
        &self,
        scopes: &ScopeSet,
        asked: BoxStream<'static, Result<(i64, C)>>,
        more: Arc<dyn Fn(usize) -> usize + Send + Sync>,
        work: Work<C, T>,
    ) -> BoxStream<'static, Result<T>> {
        let (archive, scopes) = (self.clone(), Arc::new(scopes.clone()));
        let asked = asked.map_ok(|(watermark, with)| TextRequest { watermark, with });
        let chunks = asked.try_chunks(CHUNK).map_err(|error| error.1);
        let sized = {
            let (archive, scopes) = (archive.clone(), scopes.clone());
            chunks.and_then(move |chunk| {
                let (archive, scopes) = (archive.clone(), scopes.clone());
                async move { archive.portions(&scopes, chunk).await }
            })
        };
        let portions = sized.map_ok(|portions| stream::iter(portions.into_iter().map(Ok)));
        let read = {
            let archive = archive.clone();
            portions.try_flatten().and_then(move |portion| {
                let (archive, scopes) = (archive.clone(), scopes.clone());
                async move { archive.read_portion(&scopes, portion).await }
            })
        };
        let done = read.map_ok(move |read| archive.unpacked(read, more.clone(), work.clone()));
        done.try_flatten().boxed()
    }

    /// The instances in portions, each with the bytes of its packed metadata; none when it is gone.
    async fn portions<C>(
        &self,
        scopes: &ScopeSet,
        chunk: Vec<TextRequest<C>>,
    ) -> Result<Vec<Vec<(TextRequest<C>, Option<usize>)>>> {
        let watermarks: Vec<i64> = chunk.iter().map(|asked| asked.watermark).collect();
        let sizes = self.index.metadata_sizes(scopes, &watermarks);
        let sizes: HashMap<i64, usize> = Stage::Rows.of(sizes).await?.into_iter().collect();
        let mut portions: Vec<Vec<_>> = Vec::new();
        let mut bytes = usize::MAX;
        for asked in chunk {
            let size = sizes.get(&asked.watermark).copied();
            bytes = bytes.saturating_add(size.unwrap_or(0));
            match portions.last_mut().filter(|_| bytes <= PORTION) {
                Some(portion) => portion.push((asked, size)),
                None => {
                    bytes = size.unwrap_or(0);
                    portions.push(vec![(asked, size)]);
                }
            }
        }
        Ok(portions)
    }

    async fn read_portion<C>(
        &self,
        scopes: &ScopeSet,
        portion: Vec<(TextRequest<C>, Option<usize>)>,
    ) -> Result<Vec<LoadedText<C>>> {
        let bytes = portion.iter().filter_map(|(_, size)| *size);
        let bytes = bytes.fold(0_usize, usize::saturating_add);
        let mut held = match self.budget.reserve(Purpose::Rows, bytes).await {
            Ok(held) => held,
            // One instance alone: others would have been in a portion with less.
            Err(error @ NoMemory::TooLarge { .. }) => {
                let nothing = || self.budget.nothing(Purpose::Rows);
                let read = |(asked, _): (TextRequest<C>, _)| LoadedText {
                    with: asked.with,
                    packed: Err(StoredText::TooLarge(error)),
                    held: nothing(),
                };
                return Ok(portion.into_iter().map(read).collect());
            }
            Err(error) => return Err(error.into()),
        };
        let watermarks: Vec<i64> = portion
            .iter()
            .filter(|(_, size)| size.is_some())
            .map(|(asked, _)| asked.watermark)
            .collect();
        let packed = self.index.packed_metadata(scopes, &watermarks);
        let mut packed: HashMap<i64, Vec<u8>> = Stage::Rows.of(packed).await?.into_iter().collect();
        let read = portion.into_iter().map(|(asked, size)| LoadedText {
            with: asked.with,
            packed: packed.remove(&asked.watermark).ok_or(StoredText::Gone),
            held: held.split(size.unwrap_or(0)),
        });
        Ok(read.collect())
    }

    /// Unpacks what was read, some at a time, and does the work.
    fn unpacked<C: Send + 'static, T: Send + 'static>(
        &self,
        read: Vec<LoadedText<C>>,
        more: Arc<dyn Fn(usize) -> usize + Send + Sync>,
        work: Work<C, T>,
    ) -> BoxStream<'static, Result<T>> {
        let archive = self.clone();
        let left = read.into_iter().peekable();
        let jobs = stream::try_unfold(left, move |mut left| {
            let (archive, more, work) = (archive.clone(), more.clone(), work.clone());
            async move {
                let needed = |read: &LoadedText<C>| match &read.packed {
                    Ok(packed) => metadata::unpacked_bytes(packed).map_or(0, |bytes| {
                        bytes.saturating_add(more(bytes)).saturating_add(PIECE)
                    }),
                    Err(_) => 0,
                };
                let mut job = Vec::new();
                let mut bytes = 0_usize;
                while let Some(next) = left.peek() {
                    let of_next = needed(next);
                    if !job.is_empty() && bytes.saturating_add(of_next) > PORTION {
                        break;
                    }
                    bytes = bytes.saturating_add(of_next);
                    job.extend(left.next().map(|next| (next, of_next)));
                }
                if job.is_empty() {
                    return Ok(None);
                }
                match archive.budget.reserve(Purpose::Text, bytes).await {
                    Ok(mut held) => {
                        for (read, of_next) in &mut job {
                            // What is packed is given back with what is unpacked.
                            let mut whole = held.split(*of_next);
                            whole.merge(std::mem::replace(
                                &mut read.held,
                                archive.budget.nothing(Purpose::Text),
                            ));
                            read.held = whole;
                        }
                    }
                    Err(error @ NoMemory::TooLarge { .. }) => {
                        for (read, _) in &mut job {
                            read.packed = Err(StoredText::TooLarge(error));
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
                let done = archive.lanes().run(Lane::Text, move || {
                    let each = job.into_iter().map(|(read, _)| do_work(read, &work));
                    each.collect::<Result<Vec<T>>>()
                });
                let done = stream::iter(done.await?.into_iter().map(Ok));
                Ok::<_, ArchiveError>(Some((done, left)))
            }
        });
        jobs.try_flatten().boxed()
    }

    /// A part of an answer, begun: its first piece is made, in the lane this is called in.
    pub(super) fn begin_part(
        location: String,
        mut pieces: Box<dyn Pieces>,
        mut held: Reservation,
    ) -> std::result::Result<TextPart, Malformed> {
        let first = pieces.next(PIECE)?.unwrap_or_default();
        let rest = (first.len() >= PIECE).then_some(pieces);
        held.must_cover(first.len().saturating_sub(UNCOUNTED));
        if rest.is_none() {
            held.shrink_to(first.capacity());
        }
        Ok(TextPart {
            location,
            first,
            rest,
            held,
        })
    }

    /// The bytes of a part; what is still to be made is made in the lane for text, when it is asked for.
    pub fn pieces(&self, part: TextPart) -> BoxStream<'static, Result<Bytes>> {
        let TextPart {
            first, rest, held, ..
        } = part;
        let held = Arc::new(held);
        let first = holding(first, held.clone());
        let lanes = self.lanes().clone();
        let rest = stream::try_unfold(rest, move |pieces| {
            let (lanes, held) = (lanes.clone(), held.clone());
            async move {
                let Some(mut pieces) = pieces else {
                    return Ok(None);
                };
                let made = lanes.run(Lane::Text, move || {
                    let piece = pieces.next(PIECE).map_err(corrupt)?;
                    Ok(piece.map(|piece| (piece, pieces)))
                });
                let Some((piece, pieces)) = made.await? else {
                    return Ok(None);
                };
                let left = (piece.len() >= PIECE).then_some(pieces);
                Ok(Some((holding(piece, held), left)))
            }
        });
        stream::once(async move { Ok(first) }).chain(rest).boxed()
    }
}

impl Archive {
    /// Memory for background work of the index.
    pub(super) fn background_room(&self) -> WorkMemory {
        let budget = self.budget.clone();
        Arc::new(
            move |bytes| match budget.reserve_blocking(Purpose::Background, bytes) {
                Ok(held) => Ok(Box::new(held)),
                Err(NoMemory::Busy) => Err(NoWorkMemory::Busy),
                Err(NoMemory::TooLarge { .. }) => Err(NoWorkMemory::TooLarge),
            },
        )
    }
}

fn do_work<C, T>(read: LoadedText<C>, work: &Work<C, T>) -> Result<T> {
    let mut held = read.held;
    let stored = match read.packed {
        Ok(packed) => match metadata::unpack(&packed, MAX_METADATA) {
            Ok(metadata) => {
                held.must_cover(metadata.text.len());
                StoredText::There(metadata)
            }
            Err(_) => StoredText::Damaged,
        },
        Err(stored) => stored,
    };
    work(read.with, stored, &mut held)
}

/// The text of a data set that lies packed in the index; for work in the lane for text.
///
/// # Errors
/// [`IndexError::Corrupt`] when it is damaged.
pub(super) fn unpacked_text(packed: &[u8]) -> Result<String> {
    match metadata::unpack(packed, MAX_METADATA) {
        Ok(metadata) => Ok(metadata.text),
        Err(_) => Err(IndexError::Corrupt { what: "a data set" }.into()),
    }
}

/// What is told of stored text that is no DICOM JSON.
pub(super) fn corrupt(_: Malformed) -> ArchiveError {
    ArchiveError::Index(IndexError::Corrupt {
        what: "the metadata of an instance",
    })
}

/// A part of an answer: a result, the metadata of an instance.
pub struct TextPart {
    /// The URL of what it tells of.
    pub location: String,
    first: Vec<u8>,
    rest: Option<Box<dyn Pieces>>,
    held: Reservation,
}

impl std::fmt::Debug for TextPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
