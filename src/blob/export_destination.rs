//! Destinations of exports: places outside of the archive, by the names that the configuration gives them.
//!
//! Invariants: nothing of a request becomes a path or a URL but operation ids and UIDs; a file under its name is complete
//! and has the digest it should have; after [`Destination::write`] it is durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::blocking::blocking;
use super::error::{BlobError, ExportFailure, Result};
use super::export_folder::ExportFolder;
use super::location::{self, BucketUrl, Location, Provider};
use super::payload::{CHUNK, OpenBlob};
#[cfg(feature = "cloud")]
use super::remote::{Bucket, container_uri};
use crate::config::StorageConfig;
use crate::config::names::is_name;
use crate::dicom::source::{Source, read_full};

/// The setting that names them.
const SETTING: &str = "STOWAGE_EXPORT_DESTINATIONS";

/// Every destination there is, by name.
#[derive(Debug, Clone, Default)]
pub struct Destinations(Arc<BTreeMap<String, Destination>>);

/// A folder, or a bucket or container, or what is below a prefix of it.
#[derive(Debug, Clone)]
pub struct Destination {
    name: Arc<str>,
    place: ExportPlace,
    /// What stands before the names of files for those who know the place; none for a folder.
    base: Option<Arc<str>>,
    /// URI of the container, where it is one of Azure.
    container: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
enum ExportPlace {
    Folder(Arc<Path>),
    #[cfg(feature = "cloud")]
    Bucket(Bucket),
}

impl Destinations {
    /// Reads `name=url` pairs; nothing is asked of the places yet.
    ///
    /// # Errors
    /// [`BlobError::Config`] when one of them cannot be used.
    pub fn read(pairs: &[String], storage: &StorageConfig) -> Result<Self> {
        let wrong = |reason: &str| BlobError::config(format!("{SETTING}: {reason}"));
        let mut all = BTreeMap::new();
        for pair in pairs.iter().map(|pair| pair.trim()) {
            if pair.is_empty() {
                continue;
            }
            let (name, url) = pair
                .split_once('=')
                .filter(|(name, _)| is_name(name))
                .ok_or_else(|| {
                    wrong(
                        "each destination is name=url, such as research=s3://bucket/prefix; a name has 1 to 64 letters, \
                         digits, points, hyphens and underscores",
                    )
                })?;
            let destination = match location::parse(SETTING, url, None)? {
                Location::Folder(folder) => Destination {
                    name: Arc::from(name),
                    place: ExportPlace::Folder(Arc::from(folder)),
                    base: None,
                    container: None,
                },
                Location::Bucket(bucket) => Destination::bucket(name, &bucket, storage)?,
            };
            if all.insert(name.to_owned(), destination).is_some() {
                return Err(wrong(&format!("the name {name} stands there twice")));
            }
        }
        Ok(Self(Arc::new(all)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The one of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Destination> {
        self.0.get(name)
    }

    /// The one that is this Azure container; of several with prefixes the first by name.
    #[must_use]
    pub fn of_container(&self, uri: &str) -> Option<&Destination> {
        let uri = uri.trim_end_matches('/');
        let is = |destination: &&Destination| {
            let container = destination.container.as_deref();
            container.is_some_and(|container| same_uri(container, uri))
        };
        self.0.values().find(is)
    }
}

/// Whether two URIs are one: scheme and host in any case.
fn same_uri(one: &str, other: &str) -> bool {
    let parts = |uri: &str| {
        let (scheme, rest) = uri.split_once("://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some((
            scheme.to_ascii_lowercase(),
            host.to_ascii_lowercase(),
            path.to_owned(),
        ))
    };
    parts(one).is_some_and(|one| parts(other) == Some(one))
}

impl Destination {
    #[cfg(feature = "cloud")]
    fn bucket(name: &str, url: &BucketUrl, storage: &StorageConfig) -> Result<Self> {
        let container = match url.provider {
            Provider::Azure => container_uri(url)?.map(Arc::from),
            Provider::S3 | Provider::Google => None,
        };
        let place: Option<Arc<str>> = container.clone();
        let place = place.unwrap_or_else(|| {
            let scheme = match url.provider {
                Provider::S3 => "s3",
                Provider::Azure => "az",
                Provider::Google => "gs",
            };
            Arc::from(format!("{scheme}://{}", url.name))
        });
        let base = match url.prefix.as_str() {
            "" => place,
            prefix => Arc::from(format!("{place}/{prefix}")),
        };
        Ok(Self {
            name: Arc::from(name),
            place: ExportPlace::Bucket(Bucket::open(url, storage)?),
            base: Some(base),
            container,
        })
    }

    #[cfg(not(feature = "cloud"))]
    fn bucket(_: &str, url: &BucketUrl, _: &StorageConfig) -> Result<Self> {
        Err(BlobError::config(format!(
            "{SETTING}: this build of stowage has no object stores, so {} cannot be used: build it with the feature `cloud`",
            url.name
        )))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a file in it is: a URI; of a folder, whose place on the server is nobody's business, relative to it.
    #[must_use]
    pub fn href(&self, file: &str) -> String {
        match &self.base {
            Some(base) => format!("{base}/{file}"),
            None => file.to_owned(),
        }
    }

    /// Writes a file, in place of what has its name; `file` is made of plain names with slashes between them. What has
    /// another digest than this one is not written.
    ///
    /// # Errors
    /// [`ExportFailure`] by whose fault it is.
    pub async fn write(
        &self,
        file: &str,
        source: OpenBlob,
        digest: Option<[u8; 32]>,
    ) -> std::result::Result<(), ExportFailure> {
        match &self.place {
            ExportPlace::Folder(root) => {
                let (root, file) = (root.clone(), file.to_owned());
                let written =
                    blocking(move || Ok(write_below(&root, &file, &*source, digest))).await;
                written.map_err(ExportFailure::Destination)?
            }
            #[cfg(feature = "cloud")]
            ExportPlace::Bucket(bucket) => bucket.send(file, source, digest).await,
        }
    }
}

fn write_below(
    root: &Path,
    file: &str,
    source: &(dyn Source + Send + Sync),
    digest: Option<[u8; 32]>,
) -> std::result::Result<(), ExportFailure> {
    let (folders, name) = file.rsplit_once('/').unwrap_or(("", file));
    let mut folder = ExportFolder::open(root).map_err(refused)?;
    for name in folders.split('/').filter(|name| !name.is_empty()) {
        folder = folder.below(name).map_err(refused)?;
    }
    let mut written = folder.create(name).map_err(refused)?;
    let (length, mut offset) = (source.len(), 0);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let copied = loop {
        if offset >= length {
            break Ok(());
        }
        let read = match read_full(source, offset, &mut buffer) {
            Ok(0) => break Err(ExportFailure::Source(BlobError::short(name, length))),
            Ok(read) => read,
            Err(error) => break Err(ExportFailure::Source(BlobError::at(name, error))),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        if let Err(error) = written.append(bytes) {
            break Err(refused(error));
        }
        offset = offset.saturating_add(read as u64);
    };
    let is_right = digest.is_none_or(|digest| *hasher.finalize().as_bytes() == digest);
    let key = name.to_owned();
    let damaged = ExportFailure::Source(BlobError::Damaged { key });
    match copied.and(if is_right { Ok(()) } else { Err(damaged) }) {
        Ok(()) => {
            written.finish().map_err(refused)?;
            folder.sync().map_err(refused)
        }
        Err(error) => {
            written.abandon();
            Err(error)
        }
    }
}

/// What a folder refuses for good is told apart from what may work later.
fn refused(error: BlobError) -> ExportFailure {
    use std::io::ErrorKind;
    let (BlobError::Full { source, .. } | BlobError::Io { source, .. }) = &error else {
        return ExportFailure::Destination(error);
    };
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an export is refused"
            );
            ExportFailure::Refused("the folder may not be written")
        }
        _ => ExportFailure::Destination(error),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::Config;

    fn read(pairs: &[&str]) -> Result<Destinations> {
        let pairs: Vec<String> = pairs.iter().map(|&pair| pair.to_owned()).collect();
        Destinations::read(&pairs, &Config::default().storage)
    }

    #[test]
    fn destinations_are_named_once_and_wrong_ones_are_told_without_secrets() {
        let all = read(&["b=file:///srv/b", "a=file:///srv/a", " "]).unwrap();
        assert_eq!(all.names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(all.get("c").is_none() && read(&[]).unwrap().is_empty());
        assert_eq!(all.get("a").unwrap().href("x/errors.log"), "x/errors.log");
        for pairs in [
            &["file:///hush"][..],
            &["a b=file:///hush"],
            &["=file:///hush"],
            &["a=relative/hush"],
            &["a=s3://key:hush@bucket"],
            &["a=file:///hush", "a=file:///hush"],
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(
                error.starts_with(SETTING) && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn uris_of_containers_are_compared_as_uris() {
        assert!(same_uri("https://A.example/box", "HTTPS://a.Example/box"));
        for other in [
            "https://a.example/Box",
            "http://a.example/box",
            "a.example/box",
        ] {
            assert!(!same_uri("https://a.example/box", other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_file_is_whole_and_right_or_not_there_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        let all = read(&[&format!("a=file://{}", root.display())]).unwrap();
        let to = all.get("a").unwrap();
        let bytes = Bytes::from(vec![7; 600_000]);
        let digest = Some(*blake3::hash(&bytes).as_bytes());
        let source = || -> OpenBlob { Arc::new(bytes.clone()) };
        to.write("op/results/1.dcm", source(), digest)
            .await
            .unwrap();
        assert_eq!(std::fs::read(root.join("op/results/1.dcm")).unwrap(), bytes);
        let wrong = to.write("op/results/2.dcm", source(), Some([0; 32])).await;
        assert!(matches!(
            wrong,
            Err(ExportFailure::Source(BlobError::Damaged { .. }))
        ));
        let there = std::fs::read_dir(root.join("op/results")).unwrap();
        assert_eq!(there.count(), 1);
        std::os::unix::fs::symlink(folder.path(), root.join("link")).unwrap();
        let linked = to.write("link/3.dcm", source(), digest).await;
        assert!(linked.is_err() && !folder.path().join("3.dcm").exists());
    }
}
