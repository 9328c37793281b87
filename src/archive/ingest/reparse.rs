//! Stored blobs parsed again, for `reindex`: as parts are, within the memory budget.

use std::sync::Arc;
use std::time::Duration;

use super::parse_memory::{ParseMemory, SMALL};
use super::validate::COPIES;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::rules::Rules;
use crate::archive::spool::stored_failure;
use crate::blob::{BlobError, contradicts};
use crate::checksum::ContentSums;
use crate::dicom::error::ParseError;
use crate::dicom::parse::{ParseOptions, parse};
use crate::index::{BlobPlace, NewInstance, PackedInstance};
use crate::memory::{self, NoMemory, Purpose, Reservation};
use crate::scope::Visible;

/// How long background work waits for memory before a blob is left.
const WAIT: Duration = Duration::from_secs(120);

/// An instance with the memory it takes.
type Again = (NewInstance, Reservation);

impl Archive {
    /// Walks a stored blob as if it had just arrived; the inner error says why it cannot be an instance.
    pub(in crate::archive) async fn read_again(
        &self,
        key: &str,
    ) -> Result<std::result::Result<Again, String>> {
        match self.parse_blob(key).await {
            // That says nothing about the blob: going on would refuse all that follow, too.
            Err(
                error @ (ArchiveError::Blob(BlobError::Unavailable { .. })
                | ArchiveError::Busy { .. }
                | ArchiveError::Memory(NoMemory::Busy)),
            ) => Err(error),
            Err(error) => Ok(Err(match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })),
            Ok(again) => Ok(Ok(again)),
        }
    }

    async fn parse_blob(&self, key: &str) -> Result<Again> {
        let partition = self.partition_of_key(key).await?;
        let length = self.blobs.length(key).await?;
        let source = self.blobs.open_source(key, 0, length).await?;
        // It may wait for memory while it has some, as one large part at a time may.
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| ArchiveError::Lost { what: "a turn" })?;
        let memory = self.budget.reserve(Purpose::Background, SMALL);
        let memory = memory::waiting(WAIT, memory).await?;
        let share = Arc::new(ParseMemory::new(memory, true));
        let (archive, tags, room) = (self.clone(), self.tags_at_hand().await, share.clone());
        let work = move || {
            let more = room.grants();
            let options = ParseOptions {
                // It is stored already, by the settings of its time.
                plain_preambles: false,
                room: Some(&more),
                ..archive.parse_options(Rules::Standard)
            };
            let packed = parse(&*source, &options)
                .and_then(|instance| Ok(PackedInstance::new(&instance, &tags, Some(&more))?));
            packed.map_err(|error: ParseError| match room.no_memory() {
                Some(none) => none.into(),
                None => stored_failure(error),
            })
        };
        let packed = if self.blobs.is_remote() {
            self.remote_look(work).await?
        } else {
            self.lanes.run(Lane::Ingest, work).await?
        };
        drop(turn);
        let share = Arc::into_inner(share).ok_or(ArchiveError::Lost { what: "a walk" })?;
        let mut held = share.into_held();
        held.must_cover(packed.bytes());
        held.shrink_to(packed.bytes().saturating_mul(COPIES));
        let ContentSums { digest, blocks } = self.blobs.sums(key, 0, length).await?;
        if contradicts(key, &digest) {
            let key = key.to_owned();
            return Err(BlobError::Damaged { key }.into());
        }
        let place = BlobPlace {
            key: key.to_owned(),
            offset: 0,
            length,
            blocks: Some(blocks),
        };
        let new = NewInstance {
            partition,
            visible: Visible::All,
            packed: Arc::new(packed),
            place,
            digest,
            replaces: None,
            condition: None,
            expires: None,
            restores: false,
        };
        Ok((new, held))
    }
}
