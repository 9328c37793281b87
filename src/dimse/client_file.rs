//! A file that is sent as it is: what its meta group says, and where its data set begins.

use std::path::Path;

use dicom_dictionary_std::tags;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::dataset::Identifier;
use crate::dicom::codec::transfer_syntax::EXPLICIT_LE;

/// Longest meta group that is read, in bytes.
const MAX_META: usize = 64 << 10;

/// A file as its meta group tells.
#[derive(Debug, Clone)]
pub(super) struct FileHeader {
    /// SOP class.
    pub(super) class: String,
    /// SOP Instance UID.
    pub(super) instance: String,
    /// Transfer syntax.
    pub(super) syntax: String,
    /// First byte of the data set.
    offset: u64,
}

impl FileHeader {
    /// Reads the meta group of a file; the error says why it is none.
    pub(super) async fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let no_file = || "is no DICOM file with meta information".to_owned();
        let file = File::open(path).await.map_err(unreadable)?;
        let mut bytes = Vec::new();
        let most = MAX_META as u64;
        let mut start = file.take(most);
        start.read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.get(128..132) != Some(&b"DICM"[..]) {
            return Err(no_file());
        }
        let length = bytes.get(140..144).and_then(<[u8]>::first_chunk);
        let length = u32::from_le_bytes(*length.ok_or_else(no_file)?);
        let end = usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(144));
        let meta = bytes.get(132..end).ok_or_else(no_file)?;
        let keys = Identifier::read(meta, EXPLICIT_LE).map_err(|error| error.to_string())?;
        let text = |tag| Some(keys.get(tag).to_owned()).filter(|text| !text.is_empty());
        let header = || {
            Some(Self {
                class: text(tags::MEDIA_STORAGE_SOP_CLASS_UID)?,
                instance: text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID)?,
                syntax: text(tags::TRANSFER_SYNTAX_UID)?,
                offset: end as u64,
            })
        };
        header().ok_or_else(no_file)
    }

    /// The file, at its data set.
    pub(super) async fn open(&self, path: &Path) -> std::io::Result<File> {
        let mut file = File::open(path).await?;
        file.seek(std::io::SeekFrom::Start(self.offset)).await?;
        Ok(file)
    }
}
