//! The files of the page, which are in the binary: found by name, compressed once.
//!
//! Invariant: the build in a file's path is a digest over all files, so that a path never means two different contents and
//! may be kept for ever.

use std::collections::HashMap;
use std::io::Write as _;
#[cfg(debug_assertions)]
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Name and content of every file below `ui/`.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));

/// The page itself.
const INDEX: &str = "index.html";
/// Stands in the page for the build in the paths of its files.
const BUILD: &str = "{build}";
/// Letters of a digest that are enough to tell versions apart.
const DIGEST: usize = 16;
/// The build of files that are read from the disk while they are worked on.
#[cfg(debug_assertions)]
const WORKED_ON: &str = "dev";

/// A file ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Media type.
    pub(super) media: &'static str,
    /// Content.
    pub(super) bytes: Bytes,
    /// Content compressed with gzip, where that is shorter.
    pub(super) gzip: Option<Bytes>,
    /// `ETag`, quoted.
    pub(super) etag: String,
}

impl File {
    fn new(name: &str, bytes: Bytes) -> Self {
        let digest = blake3::hash(&bytes).to_hex();
        Self {
            media: media(name),
            gzip: gzip(&bytes).filter(|gzip| gzip.len() < bytes.len()),
            etag: format!("\"{}\"", digest.get(..DIGEST).unwrap_or_default()),
            bytes,
        }
    }
}

/// Every file of the page.
#[derive(Debug)]
pub(super) struct Files {
    build: String,
    made: HashMap<&'static str, (&'static [u8], OnceLock<File>)>,
    index: OnceLock<Option<File>>,
    /// Folder the files are read from at each request instead; only in debug builds, for work on the page.
    #[cfg(debug_assertions)]
    folder: Option<PathBuf>,
}

impl Files {
    /// Those in the binary. A debug build with `UI_FROM_DISK` in its environment reads that folder instead.
    pub(super) fn embedded() -> Self {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in EMBEDDED {
            hasher.update(name.as_bytes());
            hasher.update(blake3::hash(bytes).as_bytes());
        }
        let digest = hasher.finalize().to_hex();
        let made = EMBEDDED
            .iter()
            .map(|(name, bytes)| (*name, (*bytes, OnceLock::new())));
        Self {
            build: digest.get(..DIGEST).unwrap_or_default().to_owned(),
            made: made.collect(),
            index: OnceLock::new(),
            #[cfg(debug_assertions)]
            folder: std::env::var_os("UI_FROM_DISK").map(PathBuf::from),
        }
    }

    /// Whether a path always means the same bytes.
    pub(super) fn lasts(&self) -> bool {
        #[cfg(debug_assertions)]
        if self.folder.is_some() {
            return false;
        }
        true
    }

    /// The page, with the paths of its files filled in.
    pub(super) fn index(&self) -> Option<File> {
        let filled = |bytes: &[u8], build: &str| {
            let text = String::from_utf8_lossy(bytes).replace(BUILD, build);
            File::new(INDEX, Bytes::from(text))
        };
        #[cfg(debug_assertions)]
        if let Some(folder) = &self.folder {
            let bytes = std::fs::read(folder.join(INDEX)).ok()?;
            return Some(filled(&bytes, WORKED_ON));
        }
        let made = || {
            let (bytes, _) = self.made.get(INDEX)?;
            Some(filled(bytes, &self.build))
        };
        self.index.get_or_init(made).clone()
    }

    /// A file of this build by its name; none of another build, whose files may differ.
    pub(super) fn get(&self, build: &str, name: &str) -> Option<File> {
        #[cfg(debug_assertions)]
        if let Some(folder) = &self.folder {
            let inside = !name.split('/').any(|segment| segment == "..");
            let bytes = inside.then(|| std::fs::read(folder.join(name)).ok())??;
            return Some(File::new(name, Bytes::from(bytes)));
        }
        if build != self.build || name == INDEX {
            return None;
        }
        let (bytes, file) = self.made.get(name)?;
        Some(
            file.get_or_init(|| File::new(name, Bytes::from_static(bytes)))
                .clone(),
        )
    }
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Media type by the end of the name.
fn media(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Bytes of the page that go over the wire at most, all of it.
    const BUDGET: usize = 160 << 10;
    /// Files of the page at most.
    const MOST: usize = 80;

    fn list_files(folder: &Path, names: &mut BTreeSet<String>, root: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list_files(&path, names, root);
            } else {
                names.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_in_the_binary() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
        let mut names = BTreeSet::new();
        list_files(&root, &mut names, &root);
        let embedded: BTreeSet<String> = EMBEDDED
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        assert_eq!(embedded, names);
        let unknown = names
            .iter()
            .find(|name| media(name) == "application/octet-stream");
        assert_eq!(unknown, None, "a file without a media type");
    }

    #[test]
    fn the_page_is_small() {
        let files = Files::embedded();
        let size = |name: &str, bytes: &'static [u8]| {
            let file = File::new(name, Bytes::from_static(bytes));
            file.gzip.map_or(bytes.len(), |gzip| gzip.len())
        };
        let all: usize = EMBEDDED.iter().map(|(name, bytes)| size(name, bytes)).sum();
        assert!(all <= BUDGET, "{all} bytes");
        assert!(EMBEDDED.len() <= MOST, "{} files", EMBEDDED.len());
        for (name, _) in EMBEDDED.iter().filter(|(name, _)| *name != INDEX) {
            assert!(files.get(&files.build, name).is_some(), "{name}");
            assert!(files.get("another", name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_page_names_the_build_of_its_files() {
        let files = Files::embedded();
        let index = files.index().unwrap();
        let text = String::from_utf8(index.bytes.to_vec()).unwrap();
        assert!(text.contains(&format!("{}/app.js", files.build)), "{text}");
        assert!(!text.contains(BUILD), "{text}");
    }
}
