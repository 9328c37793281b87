//! What is stored here to another server (STOW-RS), without a copy on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::runtime::Handle;

use super::connection::RemoteServer;
use super::error::RemoteError;
use super::send::Delivered;
use super::send_body::{ChunkSender, OutgoingInstance};
use crate::archive::services::forward::ForwardedStudy;
use crate::archive::{Archive, ArchiveError, InstanceRow};
use crate::dicom::media::RepresentationPlan;
use crate::scope::Scope;

/// Instances in one request at most.
const TOGETHER: usize = 32;
/// Bytes of instances in one request, unless one alone has more.
const TOGETHER_BYTES: u64 = 16 << 20;
/// Reasons that are told apart.
const REASONS: usize = 5;

/// What became of what was sent.
#[derive(Debug, Default)]
pub struct SentStudy {
    /// Instances that arrived, or were there already.
    pub arrived: u64,
    /// Instances that did not arrive.
    pub refused: u64,
    /// Why not, with how many.
    pub reasons: BTreeMap<String, u64>,
}

impl SentStudy {
    /// Notes an instance that did not arrive.
    pub fn refuse(&mut self, reason: String) {
        self.refused = self.refused.saturating_add(1);
        if self.reasons.len() < REASONS || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

/// An instance that is stored here.
#[derive(Clone)]
struct StoredInstance {
    archive: Archive,
    scope: Scope,
    row: Arc<InstanceRow>,
    length: u64,
}

impl OutgoingInstance for StoredInstance {
    fn uid(&self) -> &str {
        self.row.name.instance.as_str()
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, sender: &ChunkSender) -> std::io::Result<bool> {
        Handle::current().block_on(self.send(sender))
    }
}

impl StoredInstance {
    async fn send(&self, sender: &ChunkSender) -> std::io::Result<bool> {
        let plan = RepresentationPlan::Stored;
        let file = self.archive.produce(&self.scope, &self.row, &plan).await;
        let content = file.map_err(std::io::Error::other)?.all().await;
        let mut chunks = content.map_err(std::io::Error::other)?.chunks;
        while let Some(chunk) = chunks.try_next().await.map_err(std::io::Error::other)? {
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl RemoteServer {
    /// Sends what is stored of a study, byte for byte, as far as it is wanted; one instance that is refused does not keep the
    /// others.
    ///
    /// # Errors
    /// [`RemoteError`] when every other instance would fare the same, or the stores fail.
    pub async fn send_stored(
        &self,
        archive: &Archive,
        wanted: &ForwardedStudy,
    ) -> Result<SentStudy, RemoteError> {
        let mut sent = SentStudy::default();
        let mut batch: Vec<StoredInstance> = Vec::new();
        let mut bytes = 0_u64;
        let mut rows = archive.instances(&wanted.scope, &wanted.target).await?;
        while let Some(row) = rows.try_next().await? {
            if !wanted.has(&row) {
                continue;
            }
            let plan = RepresentationPlan::Stored;
            let file = archive.produce(&wanted.scope, &row, &plan).await;
            let length = match file {
                Ok(file) => file.length(),
                Err(error @ (ArchiveError::Index(_) | ArchiveError::Memory(_))) => {
                    return Err(error.into());
                }
                Err(error) => {
                    sent.refuse(error.to_string());
                    continue;
                }
            };
            if batch.len() >= TOGETHER || bytes.saturating_add(length) > TOGETHER_BYTES {
                self.send_batch(archive, &mut batch, &mut sent).await?;
                bytes = 0;
            }
            bytes = bytes.saturating_add(length);
            batch.push(StoredInstance {
                archive: archive.clone(),
                scope: wanted.scope.clone(),
                row: Arc::new(row),
                length,
            });
        }
        self.send_batch(archive, &mut batch, &mut sent).await?;
        Ok(sent)
    }

    async fn send_batch(
        &self,
        archive: &Archive,
        batch: &mut Vec<StoredInstance>,
        sent: &mut SentStudy,
    ) -> Result<(), RemoteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let delivered = self.deliver(std::mem::take(batch), archive.budget());
        for (_, became) in delivered.await? {
            match became {
                Delivered::Arrived | Delivered::Existed => {
                    sent.arrived = sent.arrived.saturating_add(1);
                }
                Delivered::Refused {
                    reason,
                    unreachable: true,
                } => return Err(RemoteError::Passing(reason)),
                Delivered::Refused { reason, .. } => sent.refuse(reason),
            }
        }
        Ok(())
    }
}
