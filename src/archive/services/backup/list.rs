//! The list of blobs of a backup: one in a line, compressed; read and written a line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::place::is_key;
use crate::archive::error::{ArchiveError, Result};
use crate::index::NamedBlob;

/// Longest line in bytes.
const MAX_LINE: u64 = 4096;

/// A blob as the list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedBlob {
    pub(super) key: String,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) digest: Option<[u8; 32]>,
}

impl From<&NamedBlob> for ListedBlob {
    fn from(blob: &NamedBlob) -> Self {
        Self {
            key: blob.key.clone(),
            offset: blob.offset,
            length: blob.length,
            digest: blob.digest,
        }
    }
}

/// Writes a list.
pub(super) struct ListWriter(GzEncoder<BufWriter<File>>);

fn failed(error: &std::io::Error) -> ArchiveError {
    ArchiveError::invalid(format!(
        "the list of blobs of the backup cannot be read or written: {error}"
    ))
}

impl ListWriter {
    pub(super) fn new(file: File) -> Self {
        Self(GzEncoder::new(BufWriter::new(file), Compression::fast()))
    }

    pub(super) fn add(&mut self, blob: &NamedBlob) -> Result<()> {
        let length = blob.length.map(|l| l.to_string()).unwrap_or_default();
        let digest = blob.digest.map(|d| blake3::Hash::from_bytes(d).to_hex());
        let digest = digest.as_ref().map_or("", |digest| digest.as_str());
        let line = format!("{}\t{}\t{length}\t{digest}\n", blob.key, blob.offset);
        let written = self.0.write_all(line.as_bytes());
        written.map_err(|error| failed(&error))
    }

    pub(super) fn finish(self) -> Result<()> {
        let finished = self.0.finish().and_then(|mut file| file.flush());
        finished.map_err(|error| failed(&error))
    }
}

/// Reads a list.
pub(super) struct ListReader(BufReader<GzDecoder<BufReader<File>>>);

impl ListReader {
    pub(super) fn new(file: File) -> Self {
        Self(BufReader::new(GzDecoder::new(BufReader::new(file))))
    }

    /// The next blobs, `limit` at most; none at the end.
    pub(super) fn next_blobs(&mut self, limit: usize) -> Result<Vec<ListedBlob>> {
        let mut blobs = Vec::new();
        while blobs.len() < limit {
            let mut line = Vec::new();
            let read = Read::by_ref(&mut self.0)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line);
            if read.map_err(|error| failed(&error))? == 0 {
                break;
            }
            let blob = read_line(&line);
            blobs.push(blob.ok_or_else(|| {
                ArchiveError::invalid("the list of blobs of the backup is damaged")
            })?);
        }
        Ok(blobs)
    }
}

fn read_line(line: &[u8]) -> Option<ListedBlob> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut fields = line.split('\t');
    let key = fields.next().filter(|key| is_key(key))?;
    let offset = fields.next()?.parse().ok()?;
    let length = match fields.next()? {
        "" => None,
        length => Some(length.parse().ok()?),
    };
    let digest = match fields.next()? {
        "" => None,
        digest => Some(*blake3::Hash::from_hex(digest).ok()?.as_bytes()),
    };
    fields.next().is_none().then(|| ListedBlob {
        key: key.to_owned(),
        offset,
        length,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::BlobUse;

    #[test]
    fn what_is_written_is_read_and_what_leads_elsewhere_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let mut list = ListWriter::new(file.try_clone().unwrap());
        let blob = |number: u64| NamedBlob {
            key: format!("aa/1.2/{number}.dcm"),
            used: BlobUse::Stored,
            offset: number,
            length: Some(number).filter(|number| *number > 1),
            digest: Some([7; 32]).filter(|_| number != 2),
        };
        for number in 0..5 {
            list.add(&blob(number)).unwrap();
        }
        list.finish().unwrap();
        let mut file = file;
        std::io::Seek::rewind(&mut file).unwrap();
        let mut list = ListReader::new(file);
        let mut read = list.next_blobs(3).unwrap();
        read.extend(list.next_blobs(3).unwrap());
        let written: Vec<ListedBlob> = (0..5).map(|n| ListedBlob::from(&blob(n))).collect();
        assert_eq!(read, written);
        assert!(list.next_blobs(3).unwrap().is_empty());
        for line in [
            "../x\t0\t1\t\n",
            "a\t0\t1\t",
            "a\t-1\t1\t\n",
            "a\t0\t1\tzz\n",
            "a\t0\n",
        ] {
            assert_eq!(read_line(line.as_bytes()), None, "{line}");
        }
    }
}
