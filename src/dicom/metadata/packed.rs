//! Metadata as the index keeps it: compressed, with the places where URLs go.

use std::io;
use std::io::Write;

use crate::dicom::error::NoParseMemory;
use crate::dicom::instance::Metadata;
use crate::dicom::parse_memory::GrantMemory;

/// Why packed metadata cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The bytes are cut, or were made by something else.
    #[error("the packed metadata is damaged; rebuild it with `stowage reindex`")]
    Damaged,
    /// The text is longer than the cap.
    #[error("the packed metadata unpacks to {length} bytes, more than the {cap} allowed")]
    TooLong {
        /// Announced length in bytes.
        length: u64,
        /// The cap.
        cap: usize,
    },
}

/// First byte: the layout of what follows.
pub(super) const VERSION: u8 = 1;

/// Levels above cost more at ingest than the few percent they save.
pub(super) const LEVEL: i32 = 1;

/// Packs metadata for the index: a version byte, the length of the rest, then with zstd the places and the text.
///
/// # Errors
/// [`NoParseMemory`] when the memory of what is packed is not granted.
pub fn pack(metadata: &Metadata, room: Option<GrantMemory<'_>>) -> Result<Vec<u8>, NoParseMemory> {
    let places = metadata.uri_at.len();
    let places_bytes = places.saturating_mul(4);
    let length = metadata
        .text
        .len()
        .saturating_add(places_bytes)
        .saturating_add(8) as u64;
    let mut start = Vec::with_capacity(places_bytes.saturating_add(8));
    start.extend(metadata.available_syntax_at.to_le_bytes());
    start.extend(u32::try_from(places).unwrap_or(u32::MAX).to_le_bytes());
    for at in &metadata.uri_at {
        start.extend(at.to_le_bytes());
    }
    let mut out = PackBuffer {
        bytes: Vec::new(),
        room,
        refused: None,
    };
    match compress(&mut out, length, [&start, metadata.text.as_bytes()]) {
        Ok(()) => Ok(out.bytes),
        Err(error) => Err(out.refused.unwrap_or_else(|| NoParseMemory(error.into()))),
    }
}

pub(super) fn compress(
    out: &mut PackBuffer<'_>,
    length: u64,
    pieces: [&[u8]; 2],
) -> io::Result<()> {
    out.write_all(&[VERSION])?;
    out.write_all(&length.to_le_bytes())?;
    let mut encoder = zstd::stream::Encoder::new(out, LEVEL)?;
    encoder.set_pledged_src_size(Some(length))?;
    for piece in pieces {
        encoder.write_all(piece)?;
    }
    encoder.finish()?;
    Ok(())
}

/// Bytes that are packed, whose memory is asked for before it is taken.
pub(super) struct PackBuffer<'a> {
    pub(super) bytes: Vec<u8>,
    room: Option<GrantMemory<'a>>,
    refused: Option<NoParseMemory>,
}

impl Write for PackBuffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.bytes.capacity().saturating_sub(self.bytes.len());
        if left < bytes.len() {
            let more = bytes.len().max(self.bytes.capacity());
            if let Some(Err(refused)) = self.room.map(|room| room(more)) {
                self.refused = Some(refused);
                return Err(io::Error::from(io::ErrorKind::OutOfMemory));
            }
            self.bytes.reserve_exact(left.saturating_add(more));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As [`VERSION`], not compressed; written where compression failed.
pub(super) const VERSION_PLAIN: u8 = 2;

/// Bytes that [`unpack`] needs for what [`pack`] made; none when the bytes are damaged.
#[must_use]
pub fn unpacked_length(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first()?;
    let (length, _) = rest.split_first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*length)).ok()
}

/// Most bytes that unpacked metadata takes, its places included.
///
/// # Errors
/// [`MetadataError::Damaged`] when the bytes do not say.
pub fn unpacked_bytes(bytes: &[u8]) -> Result<usize, MetadataError> {
    let length = unpacked_length(bytes).ok_or(MetadataError::Damaged)?;
    // A place of four bytes stands in for an attribute of more than thirty.
    Ok(length.saturating_add(length / 8).saturating_add(4096))
}

/// Unpacks what [`pack`] made.
///
/// # Errors
/// [`MetadataError`] when the bytes are damaged or hold more than `cap` bytes.
pub fn unpack(bytes: &[u8], cap: usize) -> Result<Metadata, MetadataError> {
    let (version, rest) = bytes.split_first().ok_or(MetadataError::Damaged)?;
    let (length, packed) = rest
        .split_first_chunk::<8>()
        .ok_or(MetadataError::Damaged)?;
    let length = u64::from_le_bytes(*length);
    let capacity = usize::try_from(length).ok().filter(|length| *length <= cap);
    let capacity = capacity.ok_or(MetadataError::TooLong { length, cap })?;
    let plain = match *version {
        VERSION => zstd::bulk::decompress(packed, capacity).map_err(|_| MetadataError::Damaged)?,
        VERSION_PLAIN => packed.to_vec(),
        _ => return Err(MetadataError::Damaged),
    };
    if plain.len() != capacity {
        return Err(MetadataError::Damaged);
    }
    parse(plain).ok_or(MetadataError::Damaged)
}

pub(super) fn parse(plain: Vec<u8>) -> Option<Metadata> {
    let (available_syntax_at, rest) = plain.split_first_chunk::<4>()?;
    let available_syntax_at = u32::from_le_bytes(*available_syntax_at);
    let (places, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*places))
        .ok()?
        .checked_mul(4)?;
    let (places, text) = rest.split_at_checked(length)?;
    let uri_at: Vec<u32> = places
        .as_chunks()
        .0
        .iter()
        .map(|chunk| u32::from_le_bytes(*chunk))
        .collect();
    let skip = plain.len().checked_sub(text.len())?;
    let mut text = plain;
    text.drain(..skip);
    let text = String::from_utf8(text).ok()?;
    let inside = |at: u32| usize::try_from(at).is_ok_and(|at| text.is_char_boundary(at));
    let good =
        uri_at.is_sorted() && uri_at.iter().all(|at| inside(*at)) && inside(available_syntax_at);
    good.then_some(Metadata {
        text,
        uri_at,
        available_syntax_at,
    })
}
