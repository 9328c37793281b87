//! Sorting more lines than memory holds: sorted runs in the spool, merged while they are read.
//!
//! Invariant: at most [`RUN`] bytes of lines are held, and one line and one buffer of each run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, Blobs, SpoolFile};

/// Bytes of lines sorted in memory.
const RUN: usize = 32 << 20;
/// Bytes that two sorters take, of which one is read while the other is filled.
pub(in crate::archive) const MEMORY: usize = 2 * RUN;
/// Bytes a line takes in memory beside its text, about.
const LINE: usize = 32;
/// Bytes of the buffer of a run.
const BUFFER: usize = 64 << 10;
/// Longest line that is read back, in bytes: object stores allow keys of 1024.
const LONGEST: usize = 1 << 16;

/// Lines to be sorted.
pub(in crate::archive) struct Sorter {
    blobs: Blobs,
    lines: Vec<String>,
    bytes: usize,
    most: usize,
    runs: Vec<SpoolFile>,
}

impl Sorter {
    /// Without lines; runs go to the spool of `blobs`.
    pub(in crate::archive) fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            lines: Vec::new(),
            bytes: 0,
            most: RUN,
            runs: Vec::new(),
        }
    }

    /// Takes a line.
    pub(in crate::archive) async fn push(&mut self, line: String) -> Result<()> {
        self.bytes += line.len() + LINE;
        self.lines.push(line);
        if self.bytes >= self.most {
            self.spill().await?;
        }
        Ok(())
    }

    async fn spill(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let blobs = self.blobs.clone();
        let run = blocking(move || write_run(&blobs, lines)).await?;
        self.runs.push(run);
        Ok(())
    }

    /// Hands all lines out in order.
    pub(in crate::archive) async fn sorted(mut self) -> Result<Sorted> {
        self.spill().await?;
        let runs = self.runs;
        blocking(move || Sorted::open(runs)).await
    }
}

fn write_run(blobs: &Blobs, mut lines: Vec<String>) -> Result<SpoolFile> {
    lines.sort_unstable();
    let spool = blobs.spool()?;
    let mut out = BufWriter::with_capacity(BUFFER, spool.file().map_err(failed)?);
    for line in &lines {
        let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
        out.write_all(&length.to_le_bytes()).map_err(failed)?;
        out.write_all(line.as_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    Ok(spool)
}

/// Lines in order.
pub(in crate::archive) struct Sorted {
    runs: Vec<SortedRun>,
    /// The next line of each run.
    next: BinaryHeap<Reverse<(String, usize)>>,
}

struct SortedRun {
    reader: BufReader<File>,
    _spool: SpoolFile,
}

impl SortedRun {
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut length = [0; 4];
        match self.reader.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            done => done?,
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut line = vec![0; length];
        self.reader.read_exact(&mut line)?;
        let line = String::from_utf8(line);
        line.map(Some)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

impl Sorted {
    fn open(spools: Vec<SpoolFile>) -> Result<Self> {
        let mut sorted = Self {
            runs: Vec::with_capacity(spools.len()),
            next: BinaryHeap::new(),
        };
        for (at, spool) in spools.into_iter().enumerate() {
            let mut file = spool.file().and_then(File::try_clone).map_err(failed)?;
            file.rewind().map_err(failed)?;
            let mut run = SortedRun {
                reader: BufReader::with_capacity(BUFFER, file),
                _spool: spool,
            };
            let first = run.line().map_err(failed)?;
            sorted.next.extend(first.map(|line| Reverse((line, at))));
            sorted.runs.push(run);
        }
        Ok(sorted)
    }

    fn line(&mut self) -> Result<Option<String>> {
        let Some(Reverse((line, at))) = self.next.pop() else {
            return Ok(None);
        };
        if let Some(run) = self.runs.get_mut(at) {
            let following = run.line().map_err(failed)?;
            self.next.extend(following.map(|line| Reverse((line, at))));
        }
        Ok(Some(line))
    }

    /// The next lines, at most `most`; none at the end.
    pub(in crate::archive) async fn batch(mut self, most: usize) -> Result<(Self, Vec<String>)> {
        blocking(move || {
            let mut lines = Vec::new();
            while lines.len() < most
                && let Some(line) = self.line()?
            {
                lines.push(line);
            }
            Ok((self, lines))
        })
        .await
    }
}

fn failed(source: io::Error) -> ArchiveError {
    ArchiveError::Blob(BlobError::at("the spool", source))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let lost = |_| ArchiveError::Lost { what: "sorting" };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_of_many_runs_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let mut sorter = Sorter::new(blobs);
        // Some thirty runs.
        sorter.most = 2000;
        let mut expected = Vec::new();
        for number in 0..1000_u32 {
            let line = format!("{:08x}", number.wrapping_mul(2_654_435_761));
            expected.push(line.clone());
            sorter.push(line).await.unwrap();
        }
        assert!(sorter.runs.len() > 10);
        expected.sort_unstable();
        let mut sorted = sorter.sorted().await.unwrap();
        let mut found = Vec::new();
        loop {
            let (rest, lines) = sorted.batch(7).await.unwrap();
            sorted = rest;
            if lines.is_empty() {
                break;
            }
            found.extend(lines);
        }
        assert_eq!(found, expected);
    }
}
