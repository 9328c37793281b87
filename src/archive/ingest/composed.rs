//! Instances that are made here of stored ones: parsed and made durable like any part, and given no rows yet.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::options::StoreOptions;
use super::outcome::Outcome;
use super::persist::PersistOutcome;
use super::receive::{IncomingPart, PartBuffer};
use crate::archive::Archive;
use crate::archive::content::Content;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::jobs::commit::DurableBlob;
use crate::scope::{Partition, Visible};

impl Archive {
    /// A complete part of bytes that are made here.
    ///
    /// # Errors
    /// When they cannot be made, or there is no room for them.
    pub(super) async fn part_of(&self, file: Content) -> Result<IncomingPart> {
        let mut part = IncomingPart::empty();
        let mut chunks = file.chunks;
        while let Some(chunk) = chunks.try_next().await? {
            part.length += chunk.len() as u64;
            self.keep_bytes(&mut part, chunk, &Visible::All).await?;
        }
        if let PartBuffer::Spool(spooling) = &mut part.held {
            spooling.finish().await?;
        }
        Ok(part)
    }

    /// Parses a file that is made of the blob of a key, and makes its blob durable; whoever gets it sees that it gets its rows, or lets it go.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] when it cannot be stored; when there is no memory or no room for it now.
    pub(in crate::archive) async fn make_durable(
        &self,
        partition: Partition,
        made_of: &str,
        file: Content,
    ) -> Result<DurableBlob> {
        // The key of the blob says it.
        self.partition_name(partition).await?;
        let options = Arc::new(StoreOptions {
            made_of: Some(Arc::from(made_of)),
            ..StoreOptions::unlimited(partition)
        });
        let part = self.part_of(file).await?;
        match Box::pin(self.clone().prepare(options, part.held)).await {
            PersistOutcome::Persisted(part) => Ok(part.blob),
            PersistOutcome::Unavailable(_, error) => Err(error),
            PersistOutcome::Failed(Outcome::Failed { comments, .. }) => {
                Err(ArchiveError::invalid(comments.join("; ")))
            }
            PersistOutcome::Failed(Outcome::Stored { .. }) => Err(ArchiveError::Lost {
                what: "an instance that was made",
            }),
        }
    }
}
