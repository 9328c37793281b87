//! A key set that lives elsewhere: found by discovery, fetched, kept, and fetched again when keys rotate.
//!
//! Invariants: one fetch at a time, however many requests wait for it; an unknown key causes at most one fetch per
//! [`RefreshPace::retry`]; keys older than [`RefreshPace::refresh`] are believed only after a look for newer ones, so that a key that was
//! withdrawn is not believed once more after a quiet night; a failed fetch leaves the keys there are in force, but not for
//! longer than [`RefreshPace::greatest`]; what is fetched is bounded in time and size.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::config_error::AuthConfigError;
use super::keys::{KeyError, VerificationKey, of_key_set};

/// Longest document that is read, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Longest time a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// Where an issuer describes itself (`OpenID` Connect Discovery 1.0 §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// How often keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshPace {
    /// Age at which keys are fetched again; a request that comes first waits for that.
    pub refresh: Duration,
    /// Age at which keys that could not be fetched again are not believed any more.
    pub greatest: Duration,
    /// Least time between two fetches for keys that are not known.
    pub retry: Duration,
    /// Least time between two fetches as long as there are no keys at all.
    pub first: Duration,
}

impl Default for RefreshPace {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(600),
            greatest: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(30),
            first: Duration::from_secs(2),
        }
    }
}

/// Why a key set could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{url} cannot be fetched")]
    Http {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is larger than {MAX_DOCUMENT} bytes")]
    TooLarge { url: String },
    #[error("{url} is not the description of an issuer")]
    Discovery {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{url} describes the issuer {found} instead of the configured one")]
    OtherIssuer { url: String, found: String },
    #[error("{url} holds no usable keys")]
    Keys {
        url: String,
        #[source]
        source: KeyError,
    },
}

/// Where the key set is.
#[derive(Debug)]
enum KeySetLocation {
    File(PathBuf),
    Url {
        client: reqwest::Client,
        url: String,
    },
    Issuer {
        client: reqwest::Client,
        issuer: String,
    },
}

/// The keys of a moment; the generation changes with their content.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) keys: Arc<Vec<VerificationKey>>,
    pub(super) generation: u64,
    fetched: Option<Instant>,
    attempted: Option<Instant>,
    digest: Option<blake3::Hash>,
    /// Why the last fetch failed; none when it did not.
    failure: Option<FetchFailure>,
}

/// Why keys could not be fetched, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the keys that sign tokens cannot be fetched: {0}")]
struct FetchFailure(Arc<str>);

/// Hears how each fetch ended: of its failure, or of none.
pub(super) type ReportedFailure<'t> =
    &'t (dyn Fn(Option<&(dyn std::error::Error + 'static)>) + Sync);

/// See the module.
#[derive(Debug)]
pub(super) struct KeySource {
    place: KeySetLocation,
    pace: RefreshPace,
    state: RwLock<Snapshot>,
    fetching: tokio::sync::Mutex<()>,
}

impl KeySource {
    /// A URL or file of a key set.
    pub(super) fn of_set(place: &str, pace: RefreshPace) -> Result<Self, AuthConfigError> {
        let place = if is_url(place) {
            KeySetLocation::Url {
                client: client(place)?,
                url: place.to_owned(),
            }
        } else {
            KeySetLocation::File(PathBuf::from(place))
        };
        Ok(Self::new(place, pace))
    }

    /// An issuer that publishes where its key set is.
    pub(super) fn of_issuer(issuer: &str, pace: RefreshPace) -> Result<Self, AuthConfigError> {
        let place = KeySetLocation::Issuer {
            client: client(issuer)?,
            issuer: issuer.to_owned(),
        };
        Ok(Self::new(place, pace))
    }

    fn new(place: KeySetLocation, pace: RefreshPace) -> Self {
        Self {
            place,
            pace,
            state: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The keys to use now; waits for a fetch where there are none, or where they are old.
    pub(super) async fn current(&self) -> Snapshot {
        let age = self.age();
        let pause = match age {
            None => self.pace.first,
            Some(age) if age >= self.pace.refresh => self.pace.retry,
            Some(_) => return self.snapshot(),
        };
        self.fetch_unless_tried(pause).await;
        if self.is_stale() {
            // As if there had never been any.
            return Snapshot::default();
        }
        self.snapshot()
    }

    /// Fetches the keys again and again, so that no request has to wait for it.
    pub(super) async fn follow(&self, reported: ReportedFailure<'_>) {
        loop {
            let due = match self.age() {
                None => self.pace.first,
                Some(age) => self.pace.refresh.saturating_sub(age).max(self.pace.first),
            };
            tokio::time::sleep(due).await;
            // As often as a request would, when the issuer is away.
            self.fetch_unless_tried(self.pace.retry.min(self.pace.refresh))
                .await;
            match self.snapshot().failure {
                None => reported(None),
                Some(failure) => reported(Some(&failure)),
            }
        }
    }

    /// Whether the keys are too old to be believed.
    pub(super) fn is_stale(&self) -> bool {
        self.age().is_some_and(|age| age >= self.pace.greatest)
    }

    fn age(&self) -> Option<Duration> {
        self.snapshot().fetched.map(|fetched| fetched.elapsed())
    }

    /// The keys after a look for new ones, because the ones of `seen` do not fit.
    pub(super) async fn newer_than(&self, seen: &Snapshot) -> Option<Snapshot> {
        self.fetch_unless_tried(self.pace.retry).await;
        let snapshot = self.snapshot();
        let newer = snapshot.generation != seen.generation && !self.is_stale();
        newer.then_some(snapshot)
    }

    /// The keys as they are.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Fetches, unless somebody did within `pause`; those who come meanwhile wait for that fetch.
    async fn fetch_unless_tried(&self, pause: Duration) {
        let _one_at_a_time = self.fetching.lock().await;
        let tried = self.snapshot().attempted;
        if tried.is_some_and(|tried| tried.elapsed() < pause) {
            return;
        }
        let found = self.fetch().await;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.attempted = Some(Instant::now());
        match found {
            Ok((keys, digest)) => {
                state.failure = None;
                state.fetched = state.attempted;
                if state.digest != Some(digest) {
                    tracing::info!(keys = keys.len(), "the keys that sign tokens were fetched");
                    state.digest = Some(digest);
                    state.keys = Arc::new(keys);
                    state.generation = state.generation.wrapping_add(1);
                }
            }
            Err(error) => {
                let chain = chain(&error);
                tracing::warn!(cause = chain, "the keys that sign tokens cannot be fetched");
                state.failure = Some(FetchFailure(chain.into()));
            }
        }
    }

    async fn fetch(&self) -> Result<(Vec<VerificationKey>, blake3::Hash), FetchError> {
        let (url, text) = match &self.place {
            KeySetLocation::File(path) => {
                let url = path.display().to_string();
                let text = tokio::fs::read(path).await.map_err(KeyError::Unreadable);
                match text {
                    Ok(text) if text.len() <= MAX_DOCUMENT => (url, text),
                    Ok(_) => return Err(FetchError::TooLarge { url }),
                    Err(source) => return Err(FetchError::Keys { url, source }),
                }
            }
            KeySetLocation::Url { client, url } => (url.clone(), get(client, url).await?),
            KeySetLocation::Issuer { client, issuer } => {
                let url = discover(client, issuer).await?;
                let text = get(client, &url).await?;
                (url, text)
            }
        };
        let keys = of_key_set(&text).map_err(|source| FetchError::Keys { url, source })?;
        Ok((keys, blake3::hash(&text)))
    }
}

/// The URL of an issuer's key set.
async fn discover(client: &reqwest::Client, issuer: &str) -> Result<String, FetchError> {
    #[derive(Deserialize)]
    struct Description {
        issuer: String,
        jwks_uri: String,
    }
    let url = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
    let text = get(client, &url).await?;
    let description: Description = match serde_json::from_slice(&text) {
        Ok(description) => description,
        Err(source) => return Err(FetchError::Discovery { url, source }),
    };
    if description.issuer != issuer {
        return Err(FetchError::OtherIssuer {
            url,
            found: description.issuer,
        });
    }
    Ok(description.jwks_uri)
}

async fn get(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, FetchError> {
    let failed = |source: reqwest::Error| FetchError::Http {
        url: url.to_owned(),
        source: source.without_url(),
    };
    let mut response = client.get(url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(FetchError::Status {
            url: url.to_owned(),
            status,
        });
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if text.len().saturating_add(chunk.len()) > MAX_DOCUMENT {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
            });
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// A client that never falls back from HTTPS to HTTP.
fn client(url: &str) -> Result<reqwest::Client, AuthConfigError> {
    let built = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS))
        .https_only(url.starts_with("https://"))
        .build();
    built.map_err(|source| AuthConfigError::Client {
        url: url.to_owned(),
        source,
    })
}

/// Whether a place is fetched over HTTP rather than read from a file.
pub(super) fn is_url(place: &str) -> bool {
    place.starts_with("https://") || place.starts_with("http://")
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
