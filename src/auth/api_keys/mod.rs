//! API keys: named secrets of a file, for scripts and machines that have no issuer.
//!
//! Invariants: the file holds digests and never a key; a key that is not known, and one that is known with another secret,
//! are refused alike and in the same time. What a key allows is not known here: `make` says who stands behind an entry.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::get_current_timestamp;

use file::{digest_of, parts};

pub use file::{
    KeyEntry, KeyFileError, KeyLimits, KeyState, PREFIX, add_key, list_keys, revoke_key,
};

/// Pause between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which a file that is gone is believed to be: while it is replaced it may be missing.
const GONE: u32 = 2;

/// Why a key is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRefusal {
    /// It is not in the file, or has another secret there.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Says who stands behind an entry.
type OwnerOfEntry<T> = dyn Fn(&KeyEntry) -> T + Send + Sync;

/// A key as requests are compared with it.
#[derive(Debug)]
struct KnownKey<T> {
    digest: [u8; 32],
    /// Seconds since 1970.
    expires: Option<u64>,
    revoked: bool,
    owner: Arc<T>,
}

/// The keys of a file by their ids.
type KnownKeys<T> = HashMap<String, KnownKey<T>>;

/// What was seen of the file last.
#[derive(Debug, Default)]
struct Seen {
    digest: Option<blake3::Hash>,
    missing: u32,
}

/// The keys of a file, read again when it changes.
pub(super) struct ApiKeys<T> {
    path: PathBuf,
    make: Box<OwnerOfEntry<T>>,
    current: RwLock<Arc<KnownKeys<T>>>,
    seen: Mutex<Seen>,
}

impl<T> fmt::Debug for ApiKeys<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> ApiKeys<T> {
    /// Reads the file; one that is not there yet holds no keys.
    pub(super) fn open(
        path: &Path,
        make: impl Fn(&KeyEntry) -> T + Send + Sync + 'static,
    ) -> Result<Self, KeyFileError> {
        let text = file::read(path)?;
        let known = match &text {
            Some(text) => known_keys(path, text, &make)?,
            None => KnownKeys::default(),
        };
        Ok(Self {
            path: path.to_owned(),
            make: Box::new(make),
            current: RwLock::new(Arc::new(known)),
            seen: Mutex::new(Seen {
                digest: text.map(|text| blake3::hash(text.as_bytes())),
                missing: 0,
            }),
        })
    }

    /// Who stands behind a key.
    pub(super) fn admit(&self, key: &str) -> Result<Arc<T>, KeyRefusal> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let digest = digest_of(key);
        let known = parts(key).and_then(|(id, _)| current.get(id));
        let expected = known.map_or([0; 32], |known| known.digest);
        let is_same = verify_slices_are_equal(&digest, &expected).is_ok();
        match known.filter(|_| is_same) {
            None => Err(KeyRefusal::Unknown),
            Some(known) if known.revoked => Err(KeyRefusal::Revoked),
            Some(known)
                if known
                    .expires
                    .is_some_and(|at| at <= get_current_timestamp()) =>
            {
                Err(KeyRefusal::Expired)
            }
            Some(known) => Ok(Arc::clone(&known.owner)),
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Looks at the file again and again, for ever; `reported` hears of each look that found something new.
    pub(super) async fn follow(
        self: Arc<Self>,
        reported: &(dyn Fn(Result<usize, &KeyFileError>) + Send + Sync),
    ) {
        loop {
            tokio::time::sleep(LOOK).await;
            let keys = Arc::clone(&self);
            // A file system may take its time.
            match tokio::task::spawn_blocking(move || keys.look()).await {
                Ok(Ok(true)) => reported(Ok(self.len())),
                Ok(Err(error)) => reported(Err(&error)),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// Reads the file again when it changed; whether it did. A file that cannot be used changes nothing and is told once.
    fn look(&self) -> Result<bool, KeyFileError> {
        let text = file::read(&self.path)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &text {
            Some(text) => {
                seen.missing = 0;
                let digest = Some(blake3::hash(text.as_bytes()));
                if seen.digest == digest {
                    return Ok(false);
                }
                seen.digest = digest;
                known_keys(&self.path, text, &*self.make)?
            }
            None => {
                seen.missing = seen.missing.saturating_add(1);
                if seen.missing < GONE || seen.digest.take().is_none() {
                    return Ok(false);
                }
                KnownKeys::default()
            }
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(true)
    }
}

/// The keys of the text of a file.
fn known_keys<T>(
    path: &Path,
    text: &str,
    make: &dyn Fn(&KeyEntry) -> T,
) -> Result<KnownKeys<T>, KeyFileError> {
    let entries = file::parse(path, text)?;
    let known = entries.into_iter().map(|entry| {
        let known = KnownKey {
            digest: entry.digest,
            expires: entry.expires_at,
            revoked: entry.revoked.is_some(),
            owner: Arc::new(make(&entry)),
        };
        (entry.id, known)
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests;
