//! What is sent of an instance: a number of bytes, of which any range can be read.
//!
//! Invariants: nothing is read to be thrown away but what precedes a range in its first frame or number; the first bytes of
//! a range are read before it is handed out, so that what is not there is an error and not a broken stream.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use super::error::Result;
use crate::dicom::endian::swap;
use crate::memory::Reservation;

/// Bytes on their way out.
pub struct Content {
    /// How many there will be.
    pub length: u64,
    /// They themselves.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.length)
    }
}

impl Content {
    /// Bytes that are in memory.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            length: bytes.len() as u64,
            chunks: stream::once(async move { Ok(bytes) }).boxed(),
        }
    }

    /// Bytes that are in memory, in pieces; what is reserved for them is held until the last one is taken.
    pub(super) fn pieces(length: u64, pieces: Vec<Bytes>, memory: Option<Reservation>) -> Self {
        let pieces = pieces.into_iter().map(move |piece| {
            let _ = &memory;
            Ok(piece)
        });
        Self {
            length,
            chunks: stream::iter(pieces).boxed(),
        }
    }

    /// `length` bytes behind the first `skip`.
    pub(super) fn trimmed(self, skip: u64, length: u64) -> Self {
        if skip == 0 && length == self.length {
            return self;
        }
        let chunks = self.chunks.scan((skip, length), |(skip, left), chunk| {
            let done = *left == 0;
            let next = chunk.map(|bytes: Bytes| {
                let start = usize::try_from(*skip).map_or(bytes.len(), |s| s.min(bytes.len()));
                *skip -= start as u64;
                let bytes = bytes.slice(start..);
                let take = usize::try_from(*left).map_or(bytes.len(), |l| l.min(bytes.len()));
                *left -= take as u64;
                bytes.slice(..take)
            });
            std::future::ready((!done).then_some(next))
        });
        Self {
            length,
            chunks: filled(chunks.boxed()),
        }
    }

    /// Reads the first chunk, so that what fails at once is an error here.
    pub(super) async fn started(self) -> Result<Self> {
        let mut chunks = self.chunks;
        let first = chunks.try_next().await?;
        Ok(Self {
            length: self.length,
            chunks: stream::iter(first.map(Ok)).chain(chunks).boxed(),
        })
    }

    /// Turns the bytes of each `width` round; a rest shorter than that stays as it is.
    pub(super) fn swapped(self, width: u8) -> Self {
        if width < 2 {
            return self;
        }
        let unit = usize::from(width);
        let begun = (self.chunks, BytesMut::new());
        let chunks = stream::try_unfold(begun, move |(mut chunks, mut held)| async move {
            while let Some(chunk) = chunks.try_next().await? {
                held.extend_from_slice(&chunk);
                let whole = held.len() - held.len() % unit;
                if whole > 0 {
                    let mut ready = held.split_to(whole);
                    swap(&mut ready, width);
                    return Ok(Some((ready.freeze(), (chunks, held))));
                }
            }
            let rest = std::mem::take(&mut held).freeze();
            Ok((!rest.is_empty()).then_some((rest, (chunks, held))))
        });
        Self {
            length: self.length,
            chunks: chunks.boxed(),
        }
    }
}

/// Without chunks that have no bytes.
pub(super) fn filled(
    chunks: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    chunks
        .try_filter(|bytes| std::future::ready(!bytes.is_empty()))
        .boxed()
}

/// What of some bytes, the first of which is at a place, lies in a range.
fn overlap(bytes: &Bytes, place: u64, range: &Range<u64>) -> Bytes {
    let at = |end: u64| {
        let end = usize::try_from(end.saturating_sub(place));
        end.map_or(bytes.len(), |end| end.min(bytes.len()))
    };
    bytes.slice(at(range.start)..at(range.end.max(range.start)))
}

/// Reads a range of a representation.
type ReadRange = Box<dyn FnOnce(Range<u64>) -> BoxFuture<'static, Result<Content>> + Send>;

/// An instance, or a piece of one, in one form; of which any range can be read.
pub struct Representation {
    length: u64,
    read: ReadRange,
}

impl std::fmt::Debug for Representation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Representation({} bytes)", self.length)
    }
}

impl Representation {
    /// `length` bytes, of which `read` reads any range.
    pub(super) fn new<F, Fut>(length: u64, read: F) -> Self
    where
        F: FnOnce(Range<u64>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Content>> + Send + 'static,
    {
        Self {
            length,
            read: Box::new(move |range| read(range).boxed()),
        }
    }

    /// Bytes that are in memory.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::new(bytes.len() as u64, move |range| async move {
            let at =
                |place: u64| usize::try_from(place).map_or(bytes.len(), |p| p.min(bytes.len()));
            Ok(Content::whole(bytes.slice(at(range.start)..at(range.end))))
        })
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Opens all of it.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub async fn all(self) -> Result<Content> {
        let length = self.length;
        (self.read)(0..length).await
    }

    /// Opens a range, which is cut to what there is.
    ///
    /// # Errors
    /// When its first bytes cannot be read.
    pub async fn range(self, range: Range<u64>) -> Result<Content> {
        let end = range.end.min(self.length);
        let range = range.start.min(end)..end;
        if range.is_empty() {
            return Ok(Content::whole(Bytes::new()));
        }
        (self.read)(range).await
    }

    /// The same with some bytes before and behind, of which any range can be read as well.
    #[must_use]
    pub fn between(self, before: Bytes, behind: Bytes) -> Self {
        let (start, end) = (before.len() as u64, before.len() as u64 + self.length);
        Self::new(end + behind.len() as u64, move |range| async move {
            let before = overlap(&before, 0, &range);
            let behind = overlap(&behind, end, &range);
            let within = |place: u64| place.clamp(start, end) - start;
            let content = self.range(within(range.start)..within(range.end)).await?;
            let around = (before.len() + behind.len()) as u64;
            let own = |bytes| stream::once(async move { Ok(bytes) });
            let chunks = own(before).chain(content.chunks).chain(own(behind));
            Ok(Content {
                length: content.length + around,
                chunks: filled(chunks.boxed()),
            })
        })
    }

    /// The same, which keeps something until the last of its bytes was sent.
    pub(super) fn holding<T: Send + Sync + 'static>(self, held: T) -> Self {
        Self::new(self.length, move |range| async move {
            let Content { length, chunks } = self.range(range).await?;
            let chunks = chunks.inspect(move |_| {
                let _ = &held;
            });
            Ok(Content {
                length,
                chunks: chunks.boxed(),
            })
        })
    }

    /// The same with the bytes of each `width` turned round; a rest shorter than that stays as it is.
    pub(super) fn swapped(self, width: u8) -> Self {
        if width < 2 {
            return self;
        }
        let (length, unit) = (self.length, u64::from(width));
        Self::new(length, move |range| async move {
            let start = range.start - range.start % unit;
            let end = range.end.next_multiple_of(unit).min(length);
            let content = self.range(start..end).await?.swapped(width);
            Ok(content.trimmed(range.start - start, range.end - range.start))
        })
    }
}

/// Reads everything; the caller knows that it is small.
pub(super) async fn collect(content: Content) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(content.length).unwrap_or(0));
    let mut chunks = content.chunks;
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bytes(content: Content) -> Vec<u8> {
        let chunks: Vec<Bytes> = content.chunks.try_collect().await.unwrap();
        chunks.concat()
    }

    fn content(chunks: &[&'static str]) -> Content {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        Content {
            length,
            chunks: stream::iter(chunks).boxed(),
        }
    }

    #[tokio::test]
    async fn what_is_trimmed_crosses_chunks() {
        let trimmed = content(&["abc", "def", "ghi"]).trimmed(2, 5);
        assert_eq!(trimmed.length, 5);
        assert_eq!(bytes(trimmed).await, b"cdefg");
    }

    #[tokio::test]
    async fn numbers_that_cross_chunks_are_turned_round_whole() {
        let swapped = content(&["a", "bcd", "", "efg", "hi"]).swapped(4);
        assert_eq!(bytes(swapped).await, b"dcbahgfei");
    }

    #[tokio::test]
    async fn any_range_of_turned_numbers_is_that_of_all() {
        let all = Bytes::from_static(b"abcdefghij");
        let whole = Representation::whole(all.clone()).swapped(4).all().await;
        let whole = bytes(whole.unwrap()).await;
        assert_eq!(whole, b"dcbahgfeij");
        for start in 0..10 {
            for end in start + 1..=10 {
                let part = Representation::whole(all.clone()).swapped(4);
                let part = bytes(part.range(start..end).await.unwrap()).await;
                let wanted = &whole[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
                assert_eq!(part, wanted, "{start}..{end}");
            }
        }
    }

    #[tokio::test]
    async fn any_range_of_bytes_between_others_is_that_of_all() {
        for middle in ["", "defg"] {
            let whole = format!("abc{middle}hi").into_bytes();
            for start in 0..10 {
                for end in 0..=11 {
                    let part = Representation::whole(Bytes::from_static(middle.as_bytes()));
                    let part = part.between(Bytes::from_static(b"abc"), Bytes::from_static(b"hi"));
                    assert_eq!(part.length(), whole.len() as u64);
                    let part = part.range(start..end).await.unwrap();
                    let at = |place: u64| usize::try_from(place).unwrap().min(whole.len());
                    let wanted = whole.get(at(start)..at(end)).unwrap_or_default();
                    assert_eq!(part.length, wanted.len() as u64);
                    assert_eq!(bytes(part).await, wanted, "{start}..{end}");
                }
            }
        }
    }
}
