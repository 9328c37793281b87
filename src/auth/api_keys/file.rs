//! The file of API keys: what stands in it, and the changes that `stowage key` makes.
//!
//! Invariants: the file is replaced as a whole, so nobody reads half of it; two commands at the same time make their
//! changes one after the other; the key itself leaves [`add_key`] and is kept nowhere.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::get_current_timestamp;
use rustix::fs::{Gid, Uid, fchown};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::dicom::uid::check_uid;
use crate::scope::PartitionName;

/// What every key begins with; no JSON Web Token does.
pub const PREFIX: &str = "stowage_";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most keys of a file.
const MAX_KEYS: usize = 5000;
/// Longest name of a key in characters.
const MAX_NAME: usize = 64;
/// Rights of a new file: its owner's alone.
const OWNER_ONLY: u32 = 0o600;

/// Why a file of keys cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No file is named.
    #[error(
        "set STOWAGE_API_KEYS_FILE to the file that keys are kept in; it is made when it is not there"
    )]
    NoFile,
    /// The file cannot be read or written.
    #[error("STOWAGE_API_KEYS_FILE: the file {path} cannot be {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any file of keys.
    #[error("STOWAGE_API_KEYS_FILE: the file {0} has more than 4 MiB or more than 5000 keys")]
    TooLarge(PathBuf),
    /// It is not JSON of the right shape.
    #[error("STOWAGE_API_KEYS_FILE: the file {path} is not one that `stowage key` wrote")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key of it cannot be understood.
    #[error("STOWAGE_API_KEYS_FILE: in the file {path} the key {name:?} has {what}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The key's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A name that no key may have.
    #[error("a key's name has 1 to 64 letters, digits, and - _ . @")]
    Name,
    /// There is a key of this name that works.
    #[error("there is a key named {0}; revoke it first, or choose another name")]
    Taken(String),
    /// There is no key of this name that could be revoked.
    #[error("there is no key named {0} that is not revoked already")]
    Unknown(String),
    /// A role nobody knows would grant nothing.
    #[error("there is no role {role}; known are {known}")]
    Role {
        /// What was asked for.
        role: String,
        /// What there is.
        known: String,
    },
    /// A limit names no study.
    #[error("{0:?} is not a Study Instance UID")]
    Study(String),
}

/// A key of the file, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// Who it is for: `sub` of its caller, and what the audit trail says.
    pub name: String,
    /// Stands in the key, so that it is found; no secret.
    pub id: String,
    /// SHA-256 of the key, in hexadecimal digits.
    sha256: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Patient IDs it is limited to; an empty list leaves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patients: Option<Vec<String>>,
    /// Study Instance UIDs it is limited to; an empty list leaves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub studies: Option<Vec<String>>,
    /// Names of the data partitions it is limited to; an empty list leaves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Vec<String>>,
    /// Whether it is good for reading only, whatever its roles allow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it ends (RFC 3339); none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was revoked (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// The digest as bytes.
    #[serde(skip)]
    pub(super) digest: [u8; 32],
    /// When it ends, in seconds since 1970.
    #[serde(skip)]
    pub(super) expires_at: Option<u64>,
}

/// What a key is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It opens what its roles allow.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl KeyState {
    /// The state in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl KeyEntry {
    /// What the key is now.
    #[must_use]
    pub fn state(&self) -> KeyState {
        if self.revoked.is_some() {
            KeyState::Revoked
        } else if self
            .expires_at
            .is_some_and(|at| at <= get_current_timestamp())
        {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysDocument {
    keys: Vec<KeyEntry>,
}

/// What a new key may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Its roles.
    pub roles: Vec<String>,
    /// Patient IDs it is limited to; none for no limit.
    pub patients: Vec<String>,
    /// Study Instance UIDs it is limited to; none for no limit.
    pub studies: Vec<String>,
    /// Data partitions it is limited to; none for no limit.
    pub partitions: Vec<PartitionName>,
    /// Whether it is good for reading only.
    pub read_only: bool,
    /// Seconds until it ends; none for never.
    pub seconds: Option<u64>,
}

/// The digest under which a key is kept. A key has 256 random bits, so a fast digest hides it as well as a slow one.
pub(super) fn digest_of(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digest = digest(&SHA256, key.as_bytes());
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Id and secret of a key.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.split_once('_')
}

/// The text of the file; none when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unusable {
        path: path.to_owned(),
        what: "read",
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > MAX_FILE {
        return Err(KeyFileError::TooLarge(path.to_owned()));
    }
    Ok(Some(text))
}

/// The keys of a text; a file that cannot be understood as a whole is not understood at all.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<KeyEntry>, KeyFileError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: KeysDocument =
        serde_json::from_str(text).map_err(|source| KeyFileError::Malformed {
            path: path.to_owned(),
            source,
        })?;
    let mut keys = document.keys;
    if keys.len() > MAX_KEYS {
        return Err(KeyFileError::TooLarge(path.to_owned()));
    }
    for key in &mut keys {
        if let Err(what) = complete(key) {
            return Err(KeyFileError::Entry {
                path: path.to_owned(),
                name: key.name.clone(),
                what,
            });
        }
    }
    Ok(keys)
}

/// Fills in what is compared; says what cannot be understood.
fn complete(key: &mut KeyEntry) -> Result<(), &'static str> {
    if !is_name(&key.name) {
        return Err("a name that no key may have");
    }
    if key.id.is_empty() || !key.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("an id of something else than letters and digits");
    }
    if key.roles.is_empty() {
        return Err("no role");
    }
    key.digest = of_hex(&key.sha256).ok_or("a sha256 that is not 64 hexadecimal digits")?;
    let time = |text: &String| {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        // Before 1970 is over for long.
        Some(u64::try_from(time.unix_timestamp()).unwrap_or(0))
    };
    let wrong = "a time that is not written as 2026-01-31T12:00:00Z";
    key.expires_at = match &key.expires {
        None => None,
        Some(text) => Some(time(text).ok_or(wrong)?),
    };
    Ok(())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

fn of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Adds a key with some of the `roles` that there are, and returns it; it takes the place of one of the same name that is revoked or expired.
///
/// # Errors
/// [`KeyFileError`] when the name is taken, a role or study is none, or the file cannot be changed.
pub fn add_key(
    path: &Path,
    roles: &[&str],
    name: &str,
    limits: &KeyLimits,
) -> Result<String, KeyFileError> {
    if !is_name(name) {
        return Err(KeyFileError::Name);
    }
    if let Some(role) = limits
        .roles
        .iter()
        .find(|role| !roles.contains(&role.as_str()))
    {
        return Err(KeyFileError::Role {
            role: role.clone(),
            known: roles.join(", "),
        });
    }
    if let Some(uid) = limits.studies.iter().find(|uid| check_uid(uid).is_err()) {
        return Err(KeyFileError::Study(uid.clone()));
    }
    let id = hex(&rand::random::<[u8; 6]>());
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let key = format!("{PREFIX}{id}_{secret}");
    let now = get_current_timestamp();
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let partitions = limits.partitions.iter().map(PartitionName::to_string);
    let partitions: Vec<String> = partitions.collect();
    let expires_at = limits.seconds.map(|seconds| now.saturating_add(seconds));
    let digest = digest_of(&key);
    let entry = KeyEntry {
        name: name.to_owned(),
        id,
        sha256: hex(&digest),
        roles: limits.roles.clone(),
        patients: some(&limits.patients),
        studies: some(&limits.studies),
        partitions: some(&partitions),
        read_only: limits.read_only,
        created: written(now),
        expires: expires_at.map(written),
        revoked: None,
        digest,
        expires_at,
    };
    change(path, |keys| {
        let same = |key: &KeyEntry| key.name == name;
        if keys
            .iter()
            .any(|key| same(key) && key.state() == KeyState::Active)
        {
            return Err(KeyFileError::Taken(name.to_owned()));
        }
        keys.retain(|key| !same(key));
        keys.push(entry);
        Ok(())
    })?;
    Ok(key)
}

/// The keys of the file, in the order of their making.
///
/// # Errors
/// [`KeyFileError`] when the file cannot be read.
pub fn list_keys(path: &Path) -> Result<Vec<KeyEntry>, KeyFileError> {
    read(path)?.map_or_else(|| Ok(Vec::new()), |text| parse(path, &text))
}

/// Revokes a key: running servers refuse it within seconds. It stays in the list.
///
/// # Errors
/// [`KeyFileError`] when there is no such key, or the file cannot be changed.
pub fn revoke_key(path: &Path, name: &str) -> Result<(), KeyFileError> {
    change(path, |keys| {
        let found = keys
            .iter_mut()
            .find(|key| key.name == name && key.revoked.is_none());
        let key = found.ok_or_else(|| KeyFileError::Unknown(name.to_owned()))?;
        key.revoked = Some(written(get_current_timestamp()));
        Ok(())
    })
}

/// Replaces the file by one with changed keys; who changes it at the same time waits.
fn change(
    path: &Path,
    how: impl FnOnce(&mut Vec<KeyEntry>) -> Result<(), KeyFileError>,
) -> Result<(), KeyFileError> {
    let unusable = |source| KeyFileError::Unusable {
        path: path.to_owned(),
        what: "changed",
        source,
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).map_err(unusable)?;
    folder.lock().map_err(unusable)?;
    let mut keys = list_keys(path)?;
    how(&mut keys)?;
    let text = serde_json::to_vec_pretty(&KeysDocument { keys });
    let mut text = text.map_err(|source| KeyFileError::Malformed {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    // What was there says who owns and reads it, else the folder says who owns it: root may run the command for the server.
    let before = std::fs::metadata(path).ok();
    let owner = before
        .as_ref()
        .map_or_else(|| folder.metadata(), |before| Ok(before.clone()));
    replace(path, &text, before.as_ref(), &owner.map_err(unusable)?).map_err(unusable)?;
    folder.sync_all().map_err(unusable)
}

/// Writes beside and renames. A link to a file is followed, so that the file is replaced and not the link.
fn replace(
    path: &Path,
    text: &[u8],
    before: Option<&Metadata>,
    owner: &Metadata,
) -> std::io::Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = target.with_file_name(name);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&beside)?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        fchown(&file, Some(uid), Some(gid))?;
    }
    if let Some(before) = before {
        file.set_permissions(PermissionsExt::from_mode(before.mode() & 0o777))?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&beside, &target)
}
