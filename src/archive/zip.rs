//! ZIP of Part 10 files, written as a stream (PS3.18 §8.7.3.3; APPNOTE 6.3).
//!
//! Entries are stored, not deflated, with their length ahead and their checksum behind them (data descriptor), so nothing
//! is held but the directory: about 200 bytes an instance. Invariant: lengths are always written as ZIP64, so no entry and
//! no archive is too large.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::error::Result;
use super::services::retrieve::Content;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// 4.5: ZIP64.
const VERSION: u16 = 45;
/// Checksum behind the data; names in UTF-8.
const FLAGS: u16 = 0x0808;
/// 1 January 1980: entries carry no time.
const DATE: u16 = 0x0021;

/// One file of the archive.
#[derive(Debug)]
pub struct ZipEntry {
    /// Its path, with slashes.
    pub name: String,
    /// Its bytes.
    pub content: Content,
}

#[derive(Debug, Default)]
struct Directory {
    records: Vec<u8>,
    entries: u64,
    offset: u64,
}

impl Directory {
    fn note(&mut self, name: &str, crc: u32, length: u64, start: u64) {
        let out = &mut self.records;
        put32(out, CENTRAL);
        put16(out, VERSION);
        put16(out, VERSION);
        common(out, crc);
        put16(out, u16::try_from(name.len()).unwrap_or(0));
        put16(out, 28);
        for _ in 0..3 {
            put16(out, 0);
        }
        put32(out, 0);
        put32(out, u32::MAX);
        out.extend(name.as_bytes());
        put16(out, 1);
        put16(out, 24);
        for number in [length, length, start] {
            put64(out, number);
        }
        self.entries += 1;
    }

    fn finish(self) -> Bytes {
        let mut out = self.records;
        let length = out.len() as u64;
        let end = self.offset + length;
        put32(&mut out, END_64);
        put64(&mut out, 44);
        put16(&mut out, VERSION);
        put16(&mut out, VERSION);
        put32(&mut out, 0);
        put32(&mut out, 0);
        for number in [self.entries, self.entries, length, self.offset] {
            put64(&mut out, number);
        }
        put32(&mut out, LOCATOR_64);
        put32(&mut out, 0);
        put64(&mut out, end);
        put32(&mut out, 1);
        put32(&mut out, END);
        put16(&mut out, 0);
        put16(&mut out, 0);
        put16(&mut out, u16::MAX);
        put16(&mut out, u16::MAX);
        put32(&mut out, u32::MAX);
        put32(&mut out, u32::MAX);
        put16(&mut out, 0);
        Bytes::from(out)
    }
}

/// Flags, method, time, date, checksum and the lengths that stand in the ZIP64 field.
fn common(out: &mut Vec<u8>, crc: u32) {
    put16(out, FLAGS);
    put16(out, 0);
    put16(out, 0);
    put16(out, DATE);
    put32(out, crc);
    put32(out, u32::MAX);
    put32(out, u32::MAX);
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn local_header(name: &str, length: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + name.len());
    put32(&mut out, LOCAL);
    put16(&mut out, VERSION);
    common(&mut out, 0);
    put16(&mut out, u16::try_from(name.len()).unwrap_or(0));
    put16(&mut out, 20);
    out.extend(name.as_bytes());
    put16(&mut out, 1);
    put16(&mut out, 16);
    put64(&mut out, length);
    put64(&mut out, length);
    out
}

struct ZipWriter {
    entries: BoxStream<'static, Result<ZipEntry>>,
    current: Option<CurrentFile>,
    directory: Directory,
    finished: bool,
}

struct CurrentFile {
    name: String,
    chunks: BoxStream<'static, Result<Bytes>>,
    crc: crc32fast::Hasher,
    start: u64,
    length: u64,
}

impl ZipWriter {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.finished {
            return None;
        }
        let made = self.step().await;
        self.finished |= made.is_err();
        if let Ok(bytes) = &made {
            self.directory.offset += bytes.len() as u64;
        }
        Some(made)
    }

    async fn step(&mut self) -> Result<Bytes> {
        if let Some(current) = &mut self.current
            && let Some(chunk) = current.chunks.next().await
        {
            let chunk = chunk?;
            current.crc.update(&chunk);
            current.length += chunk.len() as u64;
            return Ok(chunk);
        }
        if let Some(CurrentFile {
            name,
            crc,
            start,
            length,
            ..
        }) = self.current.take()
        {
            let crc = crc.finalize();
            self.directory.note(&name, crc, length, start);
            let mut out = Vec::with_capacity(24);
            put32(&mut out, DESCRIPTOR);
            put32(&mut out, crc);
            put64(&mut out, length);
            put64(&mut out, length);
            return Ok(Bytes::from(out));
        }
        match self.entries.next().await {
            Some(entry) => {
                let ZipEntry { name, content } = entry?;
                let header = local_header(&name, content.length);
                let (start, crc) = (self.directory.offset, crc32fast::Hasher::new());
                self.current = Some(CurrentFile {
                    name,
                    chunks: content.chunks,
                    crc,
                    start,
                    length: 0,
                });
                Ok(Bytes::from(header))
            }
            None => {
                self.finished = true;
                Ok(std::mem::take(&mut self.directory).finish())
            }
        }
    }
}

/// The archive as a stream of chunks.
pub fn archive(entries: BoxStream<'static, Result<ZipEntry>>) -> BoxStream<'static, Result<Bytes>> {
    let writer = ZipWriter {
        entries,
        current: None,
        directory: Directory::default(),
        finished: false,
    };
    stream::unfold(writer, |mut writer| async move {
        let chunk = writer.next().await?;
        Some((chunk, writer))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn an_archive_has_its_entries_and_its_directory() {
        let entries = [("a/b.dcm", "hello"), ("c.dcm", "")].map(|(name, text)| {
            Ok(ZipEntry {
                name: name.to_owned(),
                content: Content::whole(Bytes::from_static(text.as_bytes())),
            })
        });
        let chunks: Vec<Bytes> = archive(stream::iter(entries).boxed())
            .try_collect()
            .await
            .unwrap();
        let bytes = chunks.concat();
        assert_eq!(
            bytes
                .windows(4)
                .filter(|w| *w == LOCAL.to_le_bytes())
                .count(),
            2
        );
        assert_eq!(
            bytes
                .windows(4)
                .filter(|w| *w == CENTRAL.to_le_bytes())
                .count(),
            2
        );
        assert!(bytes.windows(5).any(|w| w == b"hello"));
        assert!(
            bytes
                .windows(4)
                .any(|w| w == crc32fast::hash(b"hello").to_le_bytes())
        );
        assert!(bytes.ends_with(&[0, 0]));
    }
}
