//! Checks and repair: `fsck` compares index and blobs both ways, `reindex` rebuilds rows from blobs.
//!
//! Invariant: nothing is removed that a row names, and a repair goes through the same transactions as a request.

use std::sync::Arc;

use time::OffsetDateTime;

use super::error::Result;
use super::rules::Rules;
use super::{Archive, describe};
use crate::blob::{BlobError, Blobs};
use crate::dicom::source::FileSource;
use crate::dicom::uid::Target;
use crate::dicom::walk::walk;
use crate::index::{Inserted, InstanceRow, NewInstance, Place};
use crate::scope::{Partition, Scope, Visible};

/// Rows or keys handled at a time.
const BATCH: usize = 500;
/// Bytes hashed at a time.
const HASH: usize = 1 << 20;

/// What a check looks at and may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every blob and compare its digest.
    pub digests: bool,
    /// Mend what can be mended: rows without blob go, blobs without row go onto the trash.
    pub repair: bool,
    /// Blobs younger than this many seconds are left alone: their request may still be running.
    pub young_seconds: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows looked at.
    pub instances: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// One sentence for each thing that is wrong; UIDs and keys only.
    pub problems: Vec<String>,
    /// Blobs that no row needs: harmless, they only take room.
    pub orphans: u64,
    /// Things mended.
    pub repaired: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a rebuild did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReindexReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Instances that got a row.
    pub added: u64,
    /// Instances that had one.
    pub known: u64,
    /// Blobs that cannot be read: key and reason.
    pub refused: Vec<String>,
}

impl Archive {
    /// Compares index and blob store both ways.
    ///
    /// # Errors
    /// When either store cannot be read at all.
    pub async fn check_stores(&self, options: CheckOptions) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.check_rows(options, &mut report).await?;
        self.check_blobs(options, &mut report).await?;
        report
            .problems
            .extend(self.index.counter_errors(100).await?);
        Ok(report)
    }

    async fn check_rows(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let mut after = 0;
        loop {
            let rows = self.index.all_instances(after, BATCH as u32).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.watermark;
            report.instances += rows.len() as u64;
            for row in rows {
                let (blobs, checked) = (self.blobs.clone(), row.clone());
                let found = self
                    .work(move || Ok(check_blob(&blobs, &checked, options.digests)))
                    .await?;
                let Some(problem) = found else { continue };
                let target = Target::Instance(row.name.clone());
                report
                    .problems
                    .push(format!("{}: {problem}", describe(&target)));
                if options.repair && problem == MISSING {
                    report.repaired += self.index.delete(&Scope::everything(), &target).await?;
                }
            }
        }
    }

    async fn check_blobs(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let blobs = self.blobs.clone();
        let young =
            OffsetDateTime::now_utc() - std::time::Duration::from_secs(options.young_seconds);
        let keys = self
            .work(move || Ok(blobs.list(Some(young.into()))?))
            .await?;
        report.blobs = keys.len() as u64;
        for batch in keys.chunks(BATCH) {
            let known = self.index.known_keys(batch).await?;
            let orphans: Vec<String> = batch
                .iter()
                .zip(known)
                .filter(|(_, known)| !known)
                .map(|(k, _)| k.clone())
                .collect();
            report.orphans += orphans.len() as u64;
            if options.repair && !orphans.is_empty() {
                self.index.discard(&orphans).await?;
                report.repaired += orphans.len() as u64;
            }
        }
        Ok(())
    }

    /// Gives every blob that no row names its row, oldest first.
    ///
    /// # Errors
    /// When either store cannot be used; a blob that cannot be read is reported and left.
    pub async fn reindex(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<ReindexReport> {
        let blobs = self.blobs.clone();
        let mut keys = self.work(move || Ok(blobs.list(None)?)).await?;
        // The serial behind the instance UID starts with the time.
        keys.sort_by(|a, b| serial(a).cmp(serial(b)));
        let mut report = ReindexReport {
            blobs: keys.len() as u64,
            ..ReindexReport::default()
        };
        for (done, batch) in keys.chunks(BATCH).enumerate() {
            let known = self.index.known_keys(batch).await?;
            let mut new = Vec::new();
            for (key, known) in batch.iter().zip(known) {
                if known {
                    report.known += 1;
                    continue;
                }
                let (archive, at) = (self.clone(), key.clone());
                match self.work(move || Ok(read_again(&archive, &at))).await? {
                    Ok(instance) => new.push(instance),
                    Err(reason) => report.refused.push(format!("{key}: {reason}")),
                }
            }
            for inserted in self.index.insert(&new).await? {
                match inserted {
                    Inserted::Stored { .. } => report.added += 1,
                    Inserted::Exists { .. } | Inserted::Outside => report.known += 1,
                }
            }
            progress((done * BATCH + batch.len()) as u64, report.blobs);
        }
        Ok(report)
    }
}

const MISSING: &str = "its blob is missing";

fn serial(key: &str) -> &str {
    key.rsplit('.').nth(1).unwrap_or_default()
}

/// What is wrong with the blob of a row.
fn check_blob(blobs: &Blobs, row: &InstanceRow, digests: bool) -> Option<&'static str> {
    let file = match blobs.open_file(&row.place.key) {
        Ok(file) => file,
        Err(BlobError::Missing { .. }) => return Some(MISSING),
        Err(_) => return Some("its blob cannot be opened"),
    };
    let Ok(length) = file.metadata().map(|m| m.len()) else {
        return Some("its blob cannot be read");
    };
    if length < row.place.offset.saturating_add(row.place.length) {
        return Some("its blob is too short");
    }
    if digests {
        match digest(&file, row.place.offset, row.place.length) {
            Ok(found) if found == row.digest => {}
            Ok(_) => return Some("its blob holds other bytes than were stored"),
            Err(_) => return Some("its blob cannot be read"),
        }
    }
    None
}

/// BLAKE3 of a range of a file.
pub(super) fn digest(file: &std::fs::File, offset: u64, length: u64) -> std::io::Result<[u8; 32]> {
    use std::os::unix::fs::FileExt;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH];
    let (mut at, end) = (offset, offset.saturating_add(length));
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(HASH).min(HASH);
        let Some(room) = buffer.get_mut(..wanted) else {
            break;
        };
        let read = file.read_at(room, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(room.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Walks a stored blob as if it had just arrived.
fn read_again(archive: &Archive, key: &str) -> std::result::Result<NewInstance, String> {
    let unreadable = |e: &dyn std::fmt::Display| format!("cannot be read: {e}");
    let file = archive.blobs.open_file(key).map_err(|e| unreadable(&e))?;
    let source = FileSource::new(file).map_err(|e| unreadable(&e))?;
    let instance =
        walk(&source, &archive.walk_options(Rules::Standard)).map_err(|e| e.to_string())?;
    let file = source.into_file();
    let length = file.metadata().map_err(|e| unreadable(&e))?.len();
    let digest = digest(&file, 0, length).map_err(|e| unreadable(&e))?;
    let place = Place {
        key: key.to_owned(),
        offset: 0,
        length,
    };
    Ok(NewInstance {
        partition: Partition::DEFAULT,
        visible: Visible::All,
        instance: Arc::new(instance),
        place,
        digest,
    })
}
