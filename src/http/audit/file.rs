//! The file that events are appended to: whole lines, moved aside when it is large, opened again when somebody moved it.
//!
//! Invariant: a line whose first half is on the disk is gone on with, so that a disk that was full leaves no torn line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;

/// Pause between two looks whether the file is still where it was.
const LOOK: Duration = Duration::from_secs(1);
/// Most files of one moment.
const MAX_TRIES: u32 = 1000;

/// Where lines go.
#[derive(Debug)]
pub(super) struct AuditOutput {
    file: File,
    /// None for standard output.
    path: Option<PathBuf>,
    /// Size at which it is moved aside, in bytes; none for never.
    most: Option<u64>,
    size: u64,
    looked: Instant,
    /// Bytes of the present line that are written.
    done: usize,
}

impl AuditOutput {
    /// Appends to a file, which is moved aside before it would have more than `most` bytes.
    pub(super) fn file(path: &Path, most: Option<u64>) -> io::Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            size: metadata.len(),
            // A device or a pipe has no size to speak of.
            most: most.filter(|_| metadata.is_file()),
            path: Some(path.to_owned()),
            looked: Instant::now(),
            file,
            done: 0,
        })
    }

    /// Writes to standard output.
    pub(super) fn stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self {
            file,
            path: None,
            most: None,
            size: 0,
            looked: Instant::now(),
            done: 0,
        })
    }

    /// Writes a line; after an error the same line is to be written again, and is gone on with where it ended.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        if self.done == 0 {
            self.follow()?;
            self.rotate(line.len())?;
        }
        while let Some(rest) = line.as_bytes().get(self.done..).filter(|r| !r.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.size = self.size.saturating_add(line.len() as u64);
        self.done = 0;
        Ok(())
    }

    /// Gives up the present line.
    pub(super) fn skip(&mut self) {
        // What follows must not be glued to half a line.
        if std::mem::take(&mut self.done) > 0 {
            let _ = self.file.write_all(b"\n");
        }
    }

    /// Opens the file again when another one, or none, has its name: that is how logs are rotated from outside.
    fn follow(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        let own = self.file.metadata()?;
        let same = std::fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()));
        if !same {
            self.file = open(path)?;
            self.size = self.file.metadata()?.len();
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// Moves the file aside when a line of this length would make it too large.
    fn rotate(&mut self, length: usize) -> io::Result<()> {
        let (Some(path), Some(most)) = (&self.path, self.most) else {
            return Ok(());
        };
        if self.size == 0 || self.size.saturating_add(length as u64) <= most {
            return Ok(());
        }
        let aside = free_name(path)?;
        std::fs::rename(path, aside)?;
        self.file = open(path)?;
        self.size = 0;
        Ok(())
    }
}

/// A name beside the file, of this moment, that nothing has.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = OffsetDateTime::now_utc()
        .format(form)
        .map_err(io::Error::other)?;
    for number in 0..MAX_TRIES {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{now}-{number:03}"));
        let name = PathBuf::from(name);
        if std::fs::symlink_metadata(&name).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Ok(name);
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_moved_aside_before_it_is_too_large_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut target = AuditOutput::file(&path, Some(100)).unwrap();
        for number in 0..20 {
            target.write(&format!("{number:029}\n")).unwrap();
        }
        let mut lines = Vec::new();
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(text.len() <= 100 && text.ends_with('\n'), "{text:?}");
            lines.extend(text.lines().map(|line| line.parse::<u32>().unwrap()));
            files += 1;
        }
        lines.sort_unstable();
        assert_eq!(lines, (0..20).collect::<Vec<_>>());
        assert_eq!(files, 7);
    }

    #[test]
    fn a_file_that_somebody_moved_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut target = AuditOutput::file(&path, None).unwrap();
        target.write("one\n").unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        target.looked = Instant::now().checked_sub(LOOK).unwrap();
        target.write("two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_device_that_is_full_says_so() {
        let mut target = AuditOutput::file(Path::new("/dev/full"), Some(10)).unwrap();
        for _ in 0..3 {
            assert!(target.write("a line\n").is_err());
        }
    }
}
