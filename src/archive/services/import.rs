//! Import: files in folders instead of requests, through the same store and to the same blobs.
//!
//! Invariant: an imported file goes the way of a stored part; importing again finds identical instances and changes
//! nothing, so an import that was broken off is simply started again.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::ingest::{Outcome, StoreOptions};
use crate::archive::lanes::Lane;
use crate::blob::CHUNK;
use crate::memory::{NoMemory, Purpose};

/// How often a file is tried while there is no room for it.
const TRIES: usize = 120;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Which file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it is not stored; none when it is.
    pub refused: Option<String>,
}

/// What lies below paths.
#[derive(Debug, Default)]
pub struct FilesBelow {
    /// Files, in order of their names.
    pub files: Vec<PathBuf>,
    /// What could not be entered or is no file, and why.
    pub left_out: Vec<(PathBuf, String)>,
}

/// All files below paths. Links are followed, wherever they lead, each folder and file once; what cannot be entered is
/// named.
///
/// # Errors
/// When one of the paths themselves cannot be read, with that path.
pub fn files_below(
    paths: &[PathBuf],
) -> std::result::Result<FilesBelow, (PathBuf, std::io::Error)> {
    let mut below = FilesBelow::default();
    let mut seen = HashSet::new();
    // Links come last: what they lead to may be there under its own name.
    let mut links = Vec::new();
    let mut folders = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|error| (path.clone(), error))?;
        below.sort_out(path.clone(), &metadata, &mut folders, &mut seen);
    }
    loop {
        while let Some(folder) = folders.pop() {
            below.enter(&folder, &mut folders, &mut links, &mut seen);
        }
        let Some(link) = links.pop() else { break };
        match std::fs::metadata(&link) {
            // One that leads to what is there anyway is done.
            Ok(metadata) if seen.contains(&identity(&metadata)) => {}
            Ok(metadata) => below.sort_out(link, &metadata, &mut folders, &mut seen),
            Err(error) => below.leave_out(link, &format!("is a link that leads nowhere: {error}")),
        }
    }
    below.files.sort();
    below.left_out.sort();
    Ok(below)
}

/// Device and number of a file, which it has whatever its names are.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl FilesBelow {
    fn enter(
        &mut self,
        folder: &Path,
        folders: &mut Vec<PathBuf>,
        links: &mut Vec<PathBuf>,
        seen: &mut HashSet<Identity>,
    ) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                return self.leave_out(folder.to_owned(), &format!("cannot be entered: {error}"));
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let reason = format!("cannot be read to its end: {error}");
                    self.leave_out(folder.to_owned(), &reason);
                    break;
                }
            };
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) if metadata.is_symlink() => links.push(path),
                Ok(metadata) => self.sort_out(path, &metadata, folders, seen),
                Err(error) => self.leave_out(path, &format!("cannot be looked at: {error}")),
            }
        }
    }

    /// Puts what is no link where it belongs; a folder is entered once, whatever leads to it.
    fn sort_out(
        &mut self,
        path: PathBuf,
        metadata: &Metadata,
        folders: &mut Vec<PathBuf>,
        seen: &mut HashSet<Identity>,
    ) {
        let is_new = seen.insert(identity(metadata));
        if metadata.is_file() {
            self.files.push(path);
        } else if !metadata.is_dir() {
            self.leave_out(path, "is neither a file nor a folder");
        } else if is_new {
            folders.push(path);
        }
    }

    fn leave_out(&mut self, path: PathBuf, reason: &str) {
        self.left_out.push((path, reason.to_owned()));
    }
}

impl Archive {
    /// Stores one file of the local disk; where there is no memory for it now, or no room in the spool, it waits and begins
    /// again.
    ///
    /// # Errors
    /// When the stores fail; a file that cannot be read or stored is told in the result.
    pub async fn import_file(&self, path: &Path, options: StoreOptions) -> Result<Imported> {
        for _ in 1..TRIES {
            match self.try_import(path, options.clone()).await {
                Err(ArchiveError::Busy { .. } | ArchiveError::Memory(NoMemory::Busy)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
        self.try_import(path, options).await
    }

    async fn try_import(&self, path: &Path, options: StoreOptions) -> Result<Imported> {
        let mut imported = Imported {
            path: path.to_owned(),
            bytes: 0,
            refused: None,
        };
        let mut request = self.begin_store(options)?;
        let mut part = request.begin_part()?;
        let _memory = self.reserve(Purpose::Background, CHUNK).await?;
        let at = path.to_owned();
        let lanes = self.lanes();
        let mut file = match lanes.run(Lane::Ingest, move || Ok(File::open(at))).await? {
            Ok(file) => file,
            Err(error) => {
                imported.refused = Some(format!("cannot be opened: {error}"));
                return Ok(imported);
            }
        };
        loop {
            let read = lanes.run(Lane::Ingest, move || {
                let mut buffer = Vec::with_capacity(CHUNK);
                let read = Read::by_ref(&mut file)
                    .take(CHUNK as u64)
                    .read_to_end(&mut buffer);
                Ok(read.map(|_| (file, buffer)))
            });
            match read.await? {
                Ok((_, buffer)) if buffer.is_empty() => break,
                Ok((again, buffer)) => {
                    file = again;
                    imported.bytes += buffer.len() as u64;
                    match request.write(&mut part, Bytes::from(buffer)).await {
                        // It is this file that is too large; the others may be stored.
                        Err(ArchiveError::TooLarge { reason }) => {
                            imported.refused = Some(reason);
                            return Ok(imported);
                        }
                        written => written?,
                    }
                }
                Err(error) => {
                    imported.refused = Some(format!("cannot be read: {error}"));
                    return Ok(imported);
                }
            }
        }
        request.end_part(part).await?;
        for outcome in request.finish().await?.outcomes {
            if let Outcome::Failed { comments, .. } = outcome {
                imported.refused = Some(comments.join("; "));
            }
        }
        Ok(imported)
    }

    /// Stores files, several at a time, telling each result.
    ///
    /// # Errors
    /// When the stores fail.
    pub async fn import_files(
        &self,
        files: Vec<PathBuf>,
        options: &StoreOptions,
        reported: &mut (dyn FnMut(Imported) + Send),
    ) -> Result<()> {
        let at_once = self.limits.store_concurrency.max(1);
        let mut running = stream::iter(files)
            .map(|path| async move { self.import_file(&path, options.clone()).await })
            .buffer_unordered(at_once);
        while let Some(imported) = running.next().await {
            reported(imported?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_once_each_and_nothing_is_left_out_in_silence() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        for file in ["one", "a/two", "a/b/three"] {
            std::fs::write(at(file), file).unwrap();
        }
        std::fs::write(outside.path().join("four"), "four").unwrap();
        symlink(outside.path(), at("a/away")).unwrap();
        symlink(outside.path(), at("again")).unwrap();
        symlink(at(""), at("a/b/up")).unwrap();
        symlink(at("one"), at("a/same")).unwrap();
        symlink(at("nowhere"), at("broken")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        let below = files_below(&[root.path().to_owned()]).unwrap();
        let mut names: Vec<_> = below
            .files
            .iter()
            .map(|f| std::fs::read_to_string(f).unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a/b/three", "a/two", "four", "one"]);
        let left: Vec<_> = below
            .left_out
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        assert_eq!(left, [at("broken"), at("device"), at("loop")]);
        let (path, _) = files_below(&[at("one"), at("no")]).unwrap_err();
        assert_eq!(path, at("no"));
    }
}
