//! Checking one token: signature, times, issuer and audience; and remembering the good ones.
//!
//! Invariants: a token is only ever checked with keys whose own algorithms include the one it names; what is remembered
//! is a hash, for no longer than the token lives and the keys stay the same, and only so many.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};

use super::caller::Caller;
use super::claims::Claims;
use super::config::AuthConfig;
use super::config_error::AuthConfigError;
use super::jwks::{KeySource, Snapshot, is_url};
use super::keys::{KeyError, VerificationKey, of_pem, of_secret};
use super::refusal::{AuthRefusal, TokenError, refusal};
use super::roles::RoleTable;

/// Longest token in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// Difference of clocks that is forgiven, in seconds.
const LEEWAY: u64 = 30;
/// Most good tokens remembered.
const MAX_SEEN: usize = 10_000;
/// Longest time a good token is remembered, in seconds.
const MAX_SEEN_SECONDS: u64 = 600;
/// Most keys tried for a token that does not name its key.
const MAX_TRIED: usize = 8;

/// Checks tokens against one configuration.
#[derive(Debug)]
pub(super) struct Verifier {
    issuer: Option<String>,
    /// `typ` that a token must have, in lower case and without `application/`; none for any.
    token_type: Option<String>,
    /// Empty for any.
    audiences: Vec<String>,
    fixed: Vec<VerificationKey>,
    source: Option<Arc<KeySource>>,
    roles: RoleTable,
    seen: Mutex<TokenCache>,
}

impl Verifier {
    pub(super) fn new(config: AuthConfig) -> Result<Self, AuthConfigError> {
        let mut fixed = Vec::new();
        if let Some(secret) = &config.secret {
            fixed.push(of_secret(secret).ok_or(AuthConfigError::ShortSecret)?);
        }
        if let Some(path) = &config.key_file {
            let text = std::fs::read_to_string(path).map_err(KeyError::Unreadable);
            let keys = text.and_then(|text| of_pem(&text));
            fixed.extend(keys.map_err(|source| AuthConfigError::KeyFile {
                path: path.clone(),
                source,
            })?);
        }
        let issuer_url = config.issuer.as_deref().filter(|issuer| is_url(issuer));
        let source = match (&config.jwks, issuer_url) {
            (Some(place), _) => Some(KeySource::of_set(place, config.pace)?),
            (None, Some(issuer)) if fixed.is_empty() => {
                Some(KeySource::of_issuer(issuer, config.pace)?)
            }
            (None, Some(_)) => None,
            (None, None) if fixed.is_empty() => return Err(AuthConfigError::NoKey),
            (None, None) => None,
        };
        if source.is_some() && config.audiences.is_empty() {
            return Err(AuthConfigError::NoAudience);
        }
        let mut audiences = config.audiences;
        if audiences.iter().any(|audience| audience == "*") {
            audiences.clear();
        }
        Ok(Self {
            issuer: config.issuer,
            token_type: config.token_type.as_deref().map(media_type),
            audiences,
            fixed,
            source: source.map(Arc::new),
            roles: config.roles,
            seen: Mutex::default(),
        })
    }

    /// The caller a token stands for.
    pub(super) async fn admit(&self, token: &str) -> Result<Arc<Caller>, AuthRefusal> {
        if token.is_empty() {
            return Err(self.refuse(TokenError::Missing));
        }
        if token.len() > MAX_TOKEN {
            return Err(self.refuse(TokenError::Malformed));
        }
        let name = *blake3::hash(token.as_bytes()).as_bytes();
        let now = jsonwebtoken::get_current_timestamp();
        let generation = self
            .source
            .as_ref()
            .map_or(0, |source| source.snapshot().generation);
        let is_stale = self.source.as_ref().is_some_and(|source| source.is_stale());
        if !is_stale && let Some(caller) = self.seen().get(&name, generation, now) {
            return Ok(caller);
        }
        let (claims, generation) = self.verify(token).await?;
        let caller = Arc::new(Caller::of_claims(&claims, &self.roles));
        let expires = claims
            .get("exp")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(now);
        let until = expires
            .saturating_add(LEEWAY)
            .min(now.saturating_add(MAX_SEEN_SECONDS));
        self.seen().put(
            name,
            TokenEntry {
                caller: Arc::clone(&caller),
                generation,
                until,
            },
        );
        Ok(caller)
    }

    fn refuse(&self, reason: TokenError) -> AuthRefusal {
        let audience = self.audiences.first();
        refusal(self.issuer.as_deref(), audience.map(String::as_str), reason)
    }

    /// The claims of a good token, and the generation of the keys that say so.
    async fn verify(&self, token: &str) -> Result<(Claims, u64), AuthRefusal> {
        let header =
            decode_header(token).map_err(|error| self.refuse(TokenError::of_library(&error)))?;
        // Extensions that must be understood are not (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(self.refuse(TokenError::Malformed));
        }
        if let Some(wanted) = &self.token_type
            && header.typ.as_deref().map(media_type).as_ref() != Some(wanted)
        {
            return Err(self.refuse(TokenError::Type));
        }
        let fixed = self.check(token, header.alg, &mut self.fixed.iter());
        let Some(source) = &self.source else {
            return fixed
                .map(|claims| (claims, 0))
                .map_err(|reason| self.refuse(reason));
        };
        match fixed {
            Ok(claims) => return Ok((claims, source.snapshot().generation)),
            // None of the fixed keys signed it; the set may hold the one that did.
            Err(TokenError::UnknownKey | TokenError::Algorithm | TokenError::Signature) => {}
            Err(reason) => return Err(self.refuse(reason)),
        }
        let snapshot = source.current().await;
        let kid = header.kid.as_deref();
        let first = self.check_set(token, header.alg, kid, &snapshot);
        let reason = match first {
            Ok(claims) => return Ok((claims, snapshot.generation)),
            Err(reason @ TokenError::UnknownKey) => reason,
            // A set without key names rotates unnoticed.
            Err(reason @ TokenError::Signature) if kid.is_none() => reason,
            Err(reason) => return Err(self.refuse(reason)),
        };
        if let Some(newer) = source.newer_than(&snapshot).await {
            let second = self.check_set(token, header.alg, kid, &newer);
            return second
                .map(|claims| (claims, newer.generation))
                .map_err(|reason| self.refuse(reason));
        }
        if snapshot.generation == 0 {
            return Err(AuthRefusal::KeysUnavailable);
        }
        Err(self.refuse(reason))
    }

    fn check_set(
        &self,
        token: &str,
        algorithm: Algorithm,
        kid: Option<&str>,
        set: &Snapshot,
    ) -> Result<Claims, TokenError> {
        let named = |key: &&VerificationKey| kid.is_none() || key.id.as_deref() == kid;
        self.check(token, algorithm, &mut set.keys.iter().filter(named))
    }

    /// Tries the keys that are good for the algorithm.
    fn check(
        &self,
        token: &str,
        algorithm: Algorithm,
        keys: &mut dyn Iterator<Item = &VerificationKey>,
    ) -> Result<Claims, TokenError> {
        let mut reason = TokenError::UnknownKey;
        let mut tried = 0_usize;
        for key in keys {
            if !key.algorithms.contains(&algorithm) {
                if reason == TokenError::UnknownKey {
                    reason = TokenError::Algorithm;
                }
                continue;
            }
            tried = tried.saturating_add(1);
            if tried > MAX_TRIED {
                break;
            }
            match decode::<Claims>(token, &key.decoding, &self.validation(&key.algorithms)) {
                // A list would be compared by any of its members (RFC 7519 §4.1.1 knows one text).
                Ok(data) if data.claims.get("iss").is_some_and(|iss| !iss.is_string()) => {
                    return Err(TokenError::Issuer);
                }
                Ok(data) => return Ok(data.claims),
                Err(error) => {
                    reason = TokenError::of_library(&error);
                    if reason != TokenError::Signature {
                        return Err(reason);
                    }
                }
            }
        }
        Err(reason)
    }

    fn validation(&self, algorithms: &[Algorithm]) -> Validation {
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
        validation.algorithms = algorithms.to_vec();
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if self.audiences.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        // Without this a token that leaves the claim out would pass.
        validation.set_required_spec_claims(&required);
        validation
    }

    /// Looks for new keys again and again; ends at once where none are fetched.
    pub(super) async fn follow_keys(&self, reported: super::jwks::ReportedFailure<'_>) {
        if let Some(source) = &self.source {
            source.follow(reported).await;
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, TokenCache> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Good tokens by hash, the oldest forgotten first.
#[derive(Debug, Default)]
struct TokenCache {
    entries: HashMap<[u8; 32], TokenEntry>,
    order: VecDeque<[u8; 32]>,
}

#[derive(Debug)]
struct TokenEntry {
    caller: Arc<Caller>,
    generation: u64,
    until: u64,
}

impl TokenCache {
    fn get(&self, name: &[u8; 32], generation: u64, now: u64) -> Option<Arc<Caller>> {
        let entry = self.entries.get(name)?;
        (entry.generation == generation && now < entry.until).then(|| Arc::clone(&entry.caller))
    }

    fn put(&mut self, name: [u8; 32], entry: TokenEntry) {
        if self.entries.insert(name, entry).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > MAX_SEEN {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// A media type as `typ` has it: in lower case, without the prefix that may be left out (RFC 7515 §4.1.9).
fn media_type(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    text.strip_prefix("application/")
        .unwrap_or(&text)
        .to_owned()
}

#[cfg(test)]
mod tests;
