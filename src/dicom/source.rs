//! Positional reads: what the parser needs of a file, a spool file or bytes in memory.
//!
//! Invariant: a [`SourceWindow`] over bytes in memory never copies them; over a file it holds at most 64 KiB, and a value that
//! is skipped is not read.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// Bytes that can be read at any place.
pub trait Source {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 only at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// All bytes, when they lie in memory: then nothing is copied.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }
}

fn read_slice(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|at| bytes.get(at..))
        .unwrap_or_default();
    let count = rest.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

macro_rules! memory_source {
    ($($kind:ty),*) => {$(
        impl Source for $kind {
            fn len(&self) -> u64 {
                <[u8]>::len(self) as u64
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                Ok(read_slice(self, offset, buf))
            }

            fn as_slice(&self) -> Option<&[u8]> {
                Some(self)
            }
        }
    )*};
}

memory_source!([u8], &[u8], Vec<u8>, Bytes);

/// A file as it is now: its length is asked for once, so that a file that grows cannot mislead the parser.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    length: u64,
}

impl FileSource {
    /// Takes the file; its position is neither used nor changed.
    ///
    /// # Errors
    /// When the file's length cannot be read.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.file, buf, offset)
    }
}

/// The length is asked for at every call; [`FileSource`] asks once.
impl Source for File {
    fn len(&self) -> u64 {
        self.metadata().map_or(0, |data| data.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }
}

/// Reads until the buffer is full or the source ends; says how much was read.
pub(crate) fn read_full(source: &dyn Source, mut offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(offset, rest) {
            Ok(0) => break,
            Ok(count) => {
                filled = filled.saturating_add(count);
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Largest read of the window in bytes.
const WINDOW: usize = 64 * 1024;
/// First read after a jump: enough for headers, little enough that hopping over fragments stays cheap.
const HOP: usize = 4 * 1024;

/// A reader that looks at a source piece by piece.
pub struct SourceWindow<'a> {
    source: &'a dyn Source,
    whole: Option<&'a [u8]>,
    length: u64,
    buffer: Vec<u8>,
    start: u64,
    next_read: usize,
}

impl std::fmt::Debug for SourceWindow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("length", &self.length)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl<'a> SourceWindow<'a> {
    /// A window at the start of the source.
    #[must_use]
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            whole: source.as_slice(),
            length: source.len(),
            buffer: Vec::new(),
            start: 0,
            next_read: WINDOW,
        }
    }

    /// Length of the source as it was when the window was made.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the source holds no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Up to `count` bytes at `offset`, fewer only at the end of the source; `count` is at most 4 KiB.
    ///
    /// # Errors
    /// What the source says.
    #[inline]
    pub fn peek(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        debug_assert!(count <= HOP);
        if let Some(whole) = self.whole {
            return Ok(part(whole, offset, count));
        }
        self.fill(offset, count)?;
        Ok(part(&self.buffer, offset.wrapping_sub(self.start), count))
    }

    /// The value of `length` bytes at `offset`, borrowed where the bytes are at hand.
    ///
    /// The caller has checked `length` against the source's length and against its own bound.
    ///
    /// # Errors
    /// What the source says; `UnexpectedEof` when it ends before the value does.
    #[inline]
    pub fn value(&mut self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        if let Some(whole) = self.whole {
            let value = part(whole, offset, length);
            return if value.len() == length {
                Ok(Cow::Borrowed(value))
            } else {
                Err(ended())
            };
        }
        if length > WINDOW / 2 {
            let mut value = vec![0; length];
            if read_full(self.source, offset, &mut value)? < length {
                return Err(ended());
            }
            return Ok(Cow::Owned(value));
        }
        self.fill(offset, length)?;
        let value = part(&self.buffer, offset.wrapping_sub(self.start), length);
        if value.len() == length {
            Ok(Cow::Borrowed(value))
        } else {
            Err(ended())
        }
    }

    /// Makes `count` bytes at `offset` available in the buffer, or all up to the end of the source.
    fn fill(&mut self, offset: u64, count: usize) -> io::Result<()> {
        let end = self.start.saturating_add(self.buffer.len() as u64);
        let wanted = offset.saturating_add(count as u64).min(self.length);
        if offset >= self.start && wanted <= end {
            return Ok(());
        }
        // Going on where the last read ended pays for larger reads; a jump starts small again.
        let follows = offset >= self.start && offset <= end;
        self.next_read = if follows {
            self.next_read.saturating_mul(2).min(WINDOW)
        } else {
            HOP
        };
        if self.start == 0 && self.buffer.is_empty() && offset == 0 {
            self.next_read = WINDOW;
        }
        let size = self.next_read.max(count);
        self.buffer.resize(size, 0);
        self.start = offset;
        let filled = read_full(self.source, offset, &mut self.buffer)?;
        self.buffer.truncate(filled);
        Ok(())
    }
}

/// Up to `count` bytes of `bytes` from `offset` on.
#[inline]
fn part(bytes: &[u8], offset: u64, count: usize) -> &[u8] {
    let Ok(start) = usize::try_from(offset) else {
        return &[];
    };
    let rest = bytes.get(start..).unwrap_or_default();
    rest.get(..count).unwrap_or(rest)
}

fn ended() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_window_over_a_file_shows_the_same_bytes_as_over_memory() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let file = file_of(&bytes);
        let (mut ours, mut theirs) = (SourceWindow::new(&file), SourceWindow::new(&bytes));
        for (offset, count) in [
            (0, 12),
            (65_530, 12),
            (100_000, 40_000),
            (3, 4),
            (199_995, 12),
            (200_000, 8),
            (1 << 40, 8),
        ] {
            assert_eq!(
                ours.peek(offset, count.min(4096)).unwrap(),
                theirs.peek(offset, count.min(4096)).unwrap()
            );
            match (ours.value(offset, count), theirs.value(offset, count)) {
                (Ok(a), Ok(b)) => assert_eq!(a, b),
                (a, b) => assert!(a.is_err() && b.is_err(), "{offset} {count}"),
            }
        }
    }

    #[test]
    fn memory_is_borrowed_and_never_copied() {
        let bytes = vec![7_u8; 300_000];
        let mut window = SourceWindow::new(&bytes);
        let value = window.value(10, 250_000).unwrap();
        assert!(
            matches!(value, Cow::Borrowed(part) if std::ptr::eq(part.as_ptr(), &raw const bytes[10]))
        );
    }

    #[test]
    fn a_skipped_value_is_not_read() {
        struct Counting(u64, std::cell::Cell<u64>);
        impl Source for Counting {
            fn len(&self) -> u64 {
                self.0
            }
            fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
                self.1.set(self.1.get() + buf.len() as u64);
                Ok(buf.len())
            }
        }
        let source = Counting(1 << 40, std::cell::Cell::new(0));
        let mut window = SourceWindow::new(&source);
        for step in 0..100 {
            window.peek(step << 30, 8).unwrap();
        }
        assert!(source.1.get() <= (WINDOW + 100 * HOP) as u64);
    }
}
