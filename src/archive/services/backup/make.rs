//! Makes a backup.
//!
//! Order: sweepers are kept still, the index is copied, then its blobs are. A blob that was swept all the same (its process
//! was away for longer than its right lasts) makes the copy of the index useless: another one is made.

use std::path::PathBuf;

use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt, stream};

use super::blobs::{AT_ONCE, BATCH, HeldKeys, copy_blob};
use super::list::{ListWriter, ListedBlob};
use super::place::{BackupManifest, BackupPart, BackupPlace, file_digest, new_name};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, Payload, SpoolFile};
use crate::fault;
use crate::index::{BlobUse, IndexCopy, IndexError, NamedBlob};

/// Copies of the index that are tried.
const ROUNDS: usize = 5;

/// What a backup does beside copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupOptions {
    /// Backups that are kept; older ones go.
    pub keep: usize,
    /// Read all of it again, and compare.
    pub verify: bool,
}

/// What is heard of a backup or restore while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupProgress<'a> {
    /// What is done now.
    Stage(&'a str),
    /// One more blob is done, of so many bytes.
    Blob(u64),
    /// One sentence about something that is wrong; keys only.
    Problem(&'a str),
}

/// Hears what a backup or restore tells.
pub type BackupListener<'a> = &'a (dyn Fn(BackupProgress<'_>) + Sync);

/// Writes a copy of the index to the first path; the second one is for what lies between.
pub type SnapshotMaker<'a> =
    &'a dyn Fn(PathBuf, PathBuf) -> LocalBoxFuture<'a, std::result::Result<(), IndexError>>;

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The backup.
    pub manifest: BackupManifest,
    /// Blobs that were copied, and their bytes.
    pub copied: (u64, u64),
    /// Deleted instances whose blobs were gone before they could be copied.
    pub swept: u64,
    /// Backups, and blobs that only they named, that were removed.
    pub removed: (usize, u64),
    /// Why nothing was removed although it should have been.
    pub unpruned: Option<String>,
    /// Things that are wrong in the backup, when it was read again.
    pub problems: u64,
}

/// What became of the blobs of one copy of the index.
#[derive(Default)]
struct CopiedBlobs {
    instances: u64,
    blobs: u64,
    copied: u64,
    bytes: u64,
    damaged: u64,
    swept_trash: u64,
    /// Blobs of instances that are neither there nor named any more.
    swept: u64,
}

impl Archive {
    /// Makes a backup, beside whatever else goes on.
    ///
    /// # Errors
    /// When a store fails, or another backup is being made.
    pub async fn back_up(
        &self,
        place: &BackupPlace,
        options: BackupOptions,
        snapshot: SnapshotMaker<'_>,
        reported: BackupListener<'_>,
    ) -> Result<BackupReport> {
        let hold = self.hold_for_backup().await?;
        let made = Box::pin(self.try_back_up(place, options, snapshot, reported)).await;
        hold.end().await;
        made
    }

    async fn try_back_up(
        &self,
        place: &BackupPlace,
        options: BackupOptions,
        snapshot: SnapshotMaker<'_>,
        reported: BackupListener<'_>,
    ) -> Result<BackupReport> {
        reported(BackupProgress::Stage("looking at what is there already"));
        let mut held = HeldKeys::of(&place.blobs, &self.budget).await?;
        let (mut copied, mut bytes) = (0, 0);
        for _ in 0..ROUNDS {
            reported(BackupProgress::Stage("copying the index"));
            let index = copy_index(place, snapshot).await?;
            let (file, list) = (index.path().to_owned(), place.indexes.spool()?);
            fault::point("backup.index");
            reported(BackupProgress::Stage("copying blobs"));
            let mut writer = ListWriter::new(handle(&list)?);
            let mut copy = IndexCopy::open(&file).await?;
            let done = self.copy_named(place, &mut copy, &mut held, &mut writer, reported);
            let done = done.await?;
            drop(copy);
            copied += done.copied;
            bytes += done.bytes;
            if done.swept > 0 {
                let count = done.swept;
                let problem = format!(
                    "{count} instances of the copied index were deleted and swept meanwhile: it is copied once more"
                );
                reported(BackupProgress::Problem(&problem));
                continue;
            }
            writer.finish()?;
            let mut manifest = BackupManifest::new(new_name());
            (manifest.index_digest, manifest.index_bytes) = file_digest(&file).await?;
            (manifest.list_digest, _) = file_digest(list.path()).await?;
            manifest.instances = done.instances;
            manifest.blobs = done.blobs;
            manifest.damaged = done.damaged;
            let store = |part: BackupPart, file| {
                let key = part.key(&manifest.name);
                async move { place.indexes.store(&key, Payload::Spooled(file)).await }
            };
            store(BackupPart::Index, index).await?;
            store(BackupPart::List, list).await?;
            fault::point("backup.stored");
            place.publish(&manifest).await?;
            fault::point("backup.published");
            let problems = match options.verify {
                true => place.verify(&manifest, &self.budget, reported).await?,
                false => 0,
            };
            let pruned = place.prune(options.keep, &self.budget, reported).await?;
            return Ok(BackupReport {
                manifest,
                copied: (copied, bytes),
                swept: done.swept_trash,
                removed: (pruned.backups, pruned.blobs),
                unpruned: pruned.left,
                problems,
            });
        }
        Err(ArchiveError::invalid(format!(
            "what the index named was swept {ROUNDS} times before it could be copied: set STOWAGE_TRASH_HOURS to more than a \
             backup takes"
        )))
    }

    async fn copy_named(
        &self,
        place: &BackupPlace,
        copy: &mut IndexCopy,
        held: &mut HeldKeys,
        list: &mut ListWriter,
        reported: BackupListener<'_>,
    ) -> Result<CopiedBlobs> {
        let mut done = CopiedBlobs::default();
        loop {
            let blobs = copy.next_blobs(BATCH).await?;
            if blobs.is_empty() {
                return Ok(done);
            }
            let of_instances = |blob: &&NamedBlob| blob.used == BlobUse::Stored;
            done.instances += blobs.iter().filter(of_instances).count() as u64;
            let mut copied = stream::iter(blobs)
                .map(|blob| {
                    let held = &*held;
                    async move {
                        let listed = ListedBlob::from(&blob);
                        let result = if held.or_ask(&place.blobs, &blob.key).await? {
                            None
                        } else {
                            let to = &place.blobs;
                            Some(copy_blob(&self.blobs, to, &listed, true, &self.budget).await)
                        };
                        Ok::<_, ArchiveError>((blob, result))
                    }
                })
                .buffered(AT_ONCE)
                .boxed();
            let mut new = Vec::new();
            while let Some(one) = copied.next().await {
                let (blob, result) = one?;
                let bytes = match result {
                    None => 0,
                    Some(Ok(copied)) => {
                        new.push(blob.key.clone());
                        done.copied += 1;
                        done.bytes += copied.bytes;
                        if !copied.intact {
                            done.damaged += 1;
                            let problem =
                                format!("{}: holds other bytes than were stored", blob.key);
                            reported(BackupProgress::Problem(&problem));
                        }
                        copied.bytes
                    }
                    Some(Err(ArchiveError::Blob(BlobError::Missing { .. }))) => {
                        self.note_missing(&blob, &mut done, reported).await?;
                        continue;
                    }
                    Some(Err(error)) => return Err(error),
                };
                done.blobs += 1;
                list.add(&blob)?;
                reported(BackupProgress::Blob(bytes));
            }
            drop(copied);
            place
                .blobs
                .sync_dirs(new.iter().map(String::as_str))
                .await?;
            new.iter().for_each(|key| held.add(key));
        }
    }

    /// Finds out why a blob is not there.
    async fn note_missing(
        &self,
        blob: &NamedBlob,
        done: &mut CopiedBlobs,
        reported: BackupListener<'_>,
    ) -> Result<()> {
        let known = match blob.used {
            BlobUse::Trash => {
                done.swept_trash += 1;
                return Ok(());
            }
            BlobUse::Stored => !self.index.instances_of_blob(&blob.key).await?.is_empty(),
            BlobUse::Original | BlobUse::Prepared => {
                let keys = [blob.key.clone()];
                self.index.known_keys(&keys).await? == [true]
            }
        };
        if known {
            done.damaged += 1;
            let problem = format!("{}: is missing in the archive", blob.key);
            reported(BackupProgress::Problem(&problem));
        } else {
            done.swept += 1;
        }
        Ok(())
    }
}

/// A copy of the index in the spool of the place.
async fn copy_index(place: &BackupPlace, snapshot: SnapshotMaker<'_>) -> Result<SpoolFile> {
    let (copy, between) = (place.indexes.spool()?, place.indexes.spool()?);
    let scratch = between.path().to_owned();
    let made = snapshot(copy.path().to_owned(), scratch.clone()).await;
    for beside in ["-wal", "-shm"] {
        let mut path = scratch.clone().into_os_string();
        path.push(beside);
        // Of an index that is in SQLite there is none.
        let _ = std::fs::remove_file(path);
    }
    made?;
    Ok(copy)
}

/// The open file of a spool file once more.
pub(super) fn handle(file: &SpoolFile) -> Result<std::fs::File> {
    let file = file.file().and_then(std::fs::File::try_clone);
    file.map_err(|error| BlobError::at("the spool", error).into())
}
