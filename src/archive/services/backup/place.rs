//! Where backups lie: blobs under their keys, and for each backup a copy of the index, a list of its blobs and a manifest.

use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::archive::error::{ArchiveError, Result};
use crate::blob::{Blobs, Payload};
use crate::config::StorageConfig;

/// Form of what lies there; a later one is refused by this version.
const FORMAT: u32 = 1;
/// Longest manifest in bytes.
const MAX_MANIFEST: u64 = 64 << 10;
/// Longest key of a blob in bytes.
const MAX_KEY: usize = 1024;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    format: u32,
    /// Its name: when it was begun, and something that no other has.
    pub name: String,
    /// Version of the program that made it.
    pub stowage: String,
    /// Instances in its index.
    pub instances: u64,
    /// Blobs that its index names.
    pub blobs: u64,
    /// Bytes of its index.
    pub index_bytes: u64,
    /// BLAKE3 of its index, in hex.
    pub index_digest: String,
    /// BLAKE3 of its list of blobs, in hex.
    pub list_digest: String,
    /// Blobs that were missing or damaged in the archive already.
    pub damaged: u64,
}

impl BackupManifest {
    /// One of this form.
    pub(super) fn new(name: String) -> Self {
        Self {
            format: FORMAT,
            name,
            stowage: env!("CARGO_PKG_VERSION").to_owned(),
            instances: 0,
            blobs: 0,
            index_bytes: 0,
            index_digest: String::new(),
            list_digest: String::new(),
            damaged: 0,
        }
    }
}

/// The parts of a backup but its blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackupPart {
    Index,
    List,
    Manifest,
}

impl BackupPart {
    pub(super) const ALL: [Self; 3] = [Self::Manifest, Self::Index, Self::List];

    /// The key of this part of a backup.
    pub(super) fn key(self, name: &str) -> String {
        let end = match self {
            Self::Index => "index.sqlite",
            Self::List => "blobs.gz",
            Self::Manifest => "manifest.json",
        };
        format!("{name}/{end}")
    }
}

/// Where backups of one archive lie.
#[derive(Debug, Clone)]
pub struct BackupPlace {
    pub(super) blobs: Blobs,
    pub(super) indexes: Blobs,
    name: String,
}

impl BackupPlace {
    /// Opens a folder, or an object store by its URL; a folder is made when `make` says so.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(place: &str, storage: &StorageConfig, make: bool) -> Result<Self> {
        if !place.contains("://") {
            let folder = std::path::absolute(place);
            let folder = folder.map_err(|e| ArchiveError::invalid(format!("{place}: {e}")))?;
            if !make && !folder.join("index").is_dir() {
                return Err(ArchiveError::not_found(format!("a backup in {place}")));
            }
            let open = |part: &str| Blobs::open(&folder.join(part));
            return Ok(Self {
                blobs: open("blobs")?,
                indexes: open("index")?,
                name: folder.display().to_string(),
            });
        }
        let at = |part: &str| StorageConfig {
            blob_url: Some(below(place, part)),
            ..storage.clone()
        };
        let (blobs, indexes) = (at("blobs"), at("index"));
        if let (false, Some(folder)) = (make, Blobs::folder(&indexes)?)
            && !folder.is_dir()
        {
            return Err(ArchiveError::not_found(format!("a backup in {place}")));
        }
        Ok(Self {
            blobs: Blobs::connect(&blobs).await?,
            indexes: Blobs::connect(&indexes).await?,
            name: place.split('?').next().unwrap_or_default().to_owned(),
        })
    }

    /// What it is called in messages; no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All backups that are whole, the oldest first.
    ///
    /// # Errors
    /// When the place cannot be read, or holds what this version does not understand.
    pub async fn manifests(&self) -> Result<Vec<BackupManifest>> {
        let mut names: Vec<String> = Vec::new();
        let mut keys = self.indexes.list(None);
        while let Some(key) = keys.try_next().await? {
            if let Some(name) = key.strip_suffix("/manifest.json")
                && is_name(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        let mut manifests = Vec::with_capacity(names.len());
        for name in names {
            manifests.push(self.manifest(&name).await?);
        }
        Ok(manifests)
    }

    async fn manifest(&self, name: &str) -> Result<BackupManifest> {
        let key = BackupPart::Manifest.key(name);
        let strange = || {
            ArchiveError::invalid(format!(
                "the backup {name} in {} was made by another version, or is damaged: its {key} cannot be read",
                self.name
            ))
        };
        let length = self.indexes.length(&key).await?;
        let length = usize::try_from(length.min(MAX_MANIFEST)).map_err(|_| strange())?;
        let text = self.indexes.read(&key, 0, length).await?.concat();
        let manifest: BackupManifest = serde_json::from_slice(&text).map_err(|_| strange())?;
        if manifest.format != FORMAT || manifest.name != name {
            return Err(strange());
        }
        Ok(manifest)
    }

    /// The newest backup, or the one of a name.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none.
    pub async fn find(&self, name: Option<&str>) -> Result<BackupManifest> {
        let manifests = self.manifests().await?;
        let found = match name {
            None => manifests.into_iter().next_back(),
            Some(name) => manifests.into_iter().find(|one| one.name == name),
        };
        let what = match name {
            None => format!("a whole backup in {}", self.name),
            Some(name) => format!("the backup {name} in {}", self.name),
        };
        found.ok_or_else(|| ArchiveError::not_found(what))
    }

    /// Makes a backup count, after its blobs are durable.
    pub(super) async fn publish(&self, manifest: &BackupManifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|_| ArchiveError::Lost { what: "manifest" })?;
        let key = BackupPart::Manifest.key(&manifest.name);
        let payload = Payload::Memory(Bytes::from(text));
        // The names of its other parts first.
        self.indexes.sync_dirs([key.as_str()].into_iter()).await?;
        self.indexes.store(&key, payload).await?;
        Ok(self.indexes.sync_dirs([key.as_str()].into_iter()).await?)
    }
}

/// A name for a backup that begins now; names are sorted by it.
pub(super) fn new_name() -> String {
    let format =
        format_description!("[year][month][day]T[hour][minute][second][subsecond digits:3]Z");
    let now = OffsetDateTime::now_utc().format(&format);
    let other = rand::random::<u16>();
    format!("{}-{other:04x}", now.unwrap_or_default())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether a text can be the key of a blob: a path that leads nowhere but down.
pub(super) fn is_key(text: &str) -> bool {
    let sound = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.len() <= MAX_KEY && !text.contains('\0') && text.split('/').all(sound)
}

/// A place below the URL of another.
fn below(url: &str, part: &str) -> String {
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(p, q)| (p, Some(q)));
    let path = path.trim_end_matches('/');
    match query {
        None => format!("{path}/{part}"),
        Some(query) => format!("{path}/{part}?{query}"),
    }
}

/// BLAKE3 of a file, in hex, and its length.
pub(super) async fn file_digest(path: &Path) -> Result<(String, u64)> {
    let path = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok::<_, std::io::Error>((hasher.finalize().to_hex().to_string(), length))
    });
    let digest = digest
        .await
        .map_err(|_| ArchiveError::Lost { what: "backup" })?;
    digest.map_err(|error| ArchiveError::invalid(format!("a copy cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_down_only_and_places_keep_their_options() {
        for key in ["aa/1.2/1.3/1.4.00.dcm", "a"] {
            assert!(is_key(key), "{key}");
        }
        for key in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/.",
            "a\0",
            &"a".repeat(2000),
        ] {
            assert!(!is_key(key), "{key}");
        }
        assert_eq!(
            below("s3://b/p/?endpoint=x", "index"),
            "s3://b/p/index?endpoint=x"
        );
        assert_eq!(below("file:///b", "blobs"), "file:///b/blobs");
        let name = new_name();
        assert!(is_name(&name) && name.len() == 24, "{name}");
        assert!(!is_name("a/b") && !is_name(""));
    }
}
