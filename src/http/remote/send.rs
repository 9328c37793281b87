//! Files to another server (STOW-RS), and what became of each.
//!
//! Invariants: a file has arrived only when the answer names its instance as stored, or as stored already; one of which the
//! answer says nothing is sent again alone, so that a reason is always that of one file.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::backoff::Backoff;
use super::connection::{MovedBytes, RemoteServer, words};
use super::error::RemoteError;
use super::send_body::{FilesBody, FilesRequest, OutgoingInstance};
use crate::memory::{MemoryBudget, Purpose};

pub use super::send_body::OutgoingFile;

/// Longest answer in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Retries of a file that is sent alone because it was one of several that failed together.
const ALONE: u32 = 2;
/// Failure reason of a server that cannot take it now (PS3.18 §I.2.2), by its first byte.
const OUT_OF_RESOURCES: u64 = 0xA7;
/// Failure reason of the Azure service for what is stored already.
const EXISTS: u64 = 0xB00E;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It is stored.
    Arrived,
    /// An instance of its UIDs was there already.
    Existed,
    /// It is not stored.
    Refused {
        /// Why not.
        reason: String,
        /// The server could not be had at all, however often it was tried.
        unreachable: bool,
    },
}

/// A report of a store (PS3.18 §I.2).
#[derive(Default, Deserialize)]
struct StoreReport {
    #[serde(default, rename = "00081198")]
    failed: ReportedItems,
    #[serde(default, rename = "00081199")]
    stored: ReportedItems,
    #[serde(default, rename = "0008119A")]
    unreadable: ReportedItems,
}

#[derive(Default, Deserialize)]
struct ReportedItems {
    #[serde(default, rename = "Value")]
    value: Option<Vec<Value>>,
}

/// The first value of an attribute of an item.
fn first<'a>(item: &'a Value, tag: &str) -> Option<&'a Value> {
    item.get(tag)?.get("Value")?.get(0)
}

fn failure(item: &Value) -> (u64, String) {
    let reason = first(item, "00081197").and_then(Value::as_u64);
    let reason = reason.unwrap_or(0);
    let comment = first(item, "00741048").and_then(|item| first(item, "00000902"));
    let comment = comment.and_then(Value::as_str).map(words);
    let text = match comment.filter(|comment| !comment.is_empty()) {
        Some(comment) => format!("the server refuses it ({reason:04X}): {comment}"),
        None => format!("the server refuses it ({reason:04X})"),
    };
    (reason, text)
}

/// What became of a file, as far as one answer tells.
enum FileVerdict {
    Known(Delivered),
    /// It may be stored later.
    Later(String),
}

impl StoreReport {
    /// By SOP Instance UID.
    fn verdicts(&self, alone: Option<&str>) -> HashMap<String, FileVerdict> {
        let items = |list: &'_ ReportedItems| list.value.clone().unwrap_or_default();
        let mut verdicts = HashMap::new();
        for item in items(&self.stored) {
            if let Some(uid) = first(&item, "00081155").and_then(Value::as_str) {
                verdicts.insert(uid.to_owned(), FileVerdict::Known(Delivered::Arrived));
            }
        }
        for item in items(&self.failed).iter().chain(&items(&self.unreadable)) {
            let uid = first(item, "00081155").and_then(Value::as_str);
            // Of a file that was sent alone the answer need not say which one it is.
            let uid = uid.or(alone);
            let Some(uid) = uid else { continue };
            let verdict = match failure(item) {
                (EXISTS, _) => FileVerdict::Known(Delivered::Existed),
                (reason, text) if reason >> 8 == OUT_OF_RESOURCES => FileVerdict::Later(text),
                (_, reason) => FileVerdict::Known(Delivered::Refused {
                    reason,
                    unreachable: false,
                }),
            };
            verdicts.insert(uid.to_owned(), verdict);
        }
        verdicts
    }
}

/// Whether no file would fare better, wherever it is sent below this URL.
fn is_final(error: &RemoteError) -> bool {
    error.is_final()
        || matches!(
            error,
            RemoteError::Refused {
                status: 404 | 405,
                ..
            }
        )
}

impl RemoteServer {
    /// Sends files in one request, and again as often as it may help; says of each what became of it.
    ///
    /// # Errors
    /// [`RemoteError`] when every other file would fare the same: a wrong URL, a refused token.
    pub async fn deliver<I: OutgoingInstance>(
        &self,
        files: Vec<I>,
        budget: &MemoryBudget,
    ) -> Result<Vec<(I, Delivered)>, RemoteError> {
        let together = files.len() > 1;
        let mut done = Vec::with_capacity(files.len());
        let (left, reason, reached) = self.attempt(files, self.retries, budget, &mut done).await?;
        for file in left {
            // Where nobody answers, one alone fares no better.
            if !together || reached == Reached::Nobody {
                let unreachable = reached != Reached::Server;
                let reason = reason.clone();
                done.push((
                    file,
                    Delivered::Refused {
                        reason,
                        unreachable,
                    },
                ));
                continue;
            }
            let retries = self.retries.min(ALONE);
            let alone = self.attempt(vec![file], retries, budget, &mut done);
            let (left, reason, reached) = alone.await?;
            let unreachable = reached != Reached::Server;
            for file in left {
                let reason = reason.clone();
                done.push((
                    file,
                    Delivered::Refused {
                        reason,
                        unreachable,
                    },
                ));
            }
        }
        Ok(done)
    }

    /// Sends files together until all is known of them, or trying again does not help: then those that are left, why, and
    /// whom the last request found.
    async fn attempt<I: OutgoingInstance>(
        &self,
        mut files: Vec<I>,
        retries: u32,
        budget: &MemoryBudget,
        done: &mut Vec<(I, Delivered)>,
    ) -> Result<(Vec<I>, String, Reached), RemoteError> {
        let mut backoff = Backoff::new(retries);
        loop {
            let mut pause = None;
            let (reason, reached) = match self.post(&files, budget).await {
                Ok(mut verdicts) => {
                    let mut reason = String::new();
                    let mut unnamed = false;
                    files.retain(|file| match verdicts.remove(file.uid()) {
                        Some(FileVerdict::Known(delivered)) => {
                            done.push((file.clone(), delivered));
                            false
                        }
                        Some(FileVerdict::Later(text)) => {
                            reason = text;
                            true
                        }
                        None => {
                            unnamed = true;
                            true
                        }
                    });
                    if unnamed && reason.is_empty() {
                        let text = "the answer does not say what became of it".to_owned();
                        return Ok((files, text, Reached::Server));
                    }
                    if files.is_empty() {
                        return Ok((files, reason, Reached::Server));
                    }
                    pause = backoff.pause(None);
                    (reason, Reached::Server)
                }
                Err(PostFailure::File(at, reason)) => {
                    files.retain(|file| {
                        let sound = file.uid() != at;
                        if !sound {
                            let refused = Delivered::Refused {
                                reason: reason.clone(),
                                unreachable: false,
                            };
                            done.push((file.clone(), refused));
                        }
                        sound
                    });
                    if files.is_empty() {
                        return Ok((files, reason, Reached::Server));
                    }
                    continue;
                }
                Err(PostFailure::Remote(error)) if is_final(&error) => return Err(error),
                Err(PostFailure::Remote(error)) => {
                    let passing = error.may_pass();
                    if let Some(asked) = passing {
                        pause = backoff.pause(asked);
                    }
                    let reached = match (&error, passing) {
                        (RemoteError::Unreached(_), _) => Reached::Nobody,
                        (_, Some(_)) => Reached::Trouble,
                        (_, None) => Reached::Server,
                    };
                    (error.to_string(), reached)
                }
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Ok((files, reason, reached)),
            }
        }
    }

    async fn post<I: OutgoingInstance>(
        &self,
        files: &[I],
        budget: &MemoryBudget,
    ) -> Result<HashMap<String, FileVerdict>, PostFailure> {
        let moved = MovedBytes::new(AtomicU64::new(0));
        let FilesRequest {
            body,
            content_type,
            unreadable,
        } = FilesBody::of(files, MovedBytes::clone(&moved));
        let request = self.request(Method::POST, "/studies", "application/dicom+json")?;
        let request = request.header(CONTENT_TYPE, content_type);
        let sent = self.send(request.body(Body::wrap(body)), &moved).await;
        let culprit = unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((path, reason)) = culprit {
            return Err(PostFailure::File(path, reason));
        }
        let mut answer = sent?;
        let status = answer.status();
        let reports = status.is_success() || status == StatusCode::CONFLICT;
        if !reports {
            return Err(answer.refused().await.into());
        }
        let mut held = budget.nothing(Purpose::Text);
        let json = answer.content_type().contains("json");
        let text = answer.text(MAX_ANSWER, &mut held).await?;
        held.grow_to(text.len().saturating_mul(16))
            .await
            .map_err(RemoteError::from)?;
        let report: StoreReport = match serde_json::from_slice(&text) {
            Ok(report) if json => report,
            _ => {
                let reason = format!(
                    "it answered {} without a report in DICOM JSON",
                    status.as_u16()
                );
                return Err(RemoteError::Unusable(reason).into());
            }
        };
        let alone = files.first().filter(|_| files.len() == 1);
        let alone = alone.map(OutgoingInstance::uid);
        Ok(report.verdicts(alone))
    }
}

/// Whom a request found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// A server that says what it does not want.
    Server,
    /// One that is in trouble.
    Trouble,
    /// None.
    Nobody,
}

/// Why a request came to nothing.
enum PostFailure {
    /// What is here of an instance cannot be read; its UID.
    File(String, String),
    Remote(RemoteError),
}

impl From<RemoteError> for PostFailure {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}
