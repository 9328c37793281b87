//! One instance to a peer, by C-STORE: as it is stored where the peer takes it so, else in another transfer syntax.
//!
//! Invariant: nothing of an instance is held beyond the chunk that is sent; one that cannot be sent fails before its first byte,
//! or ends the association, so that no peer takes half of it for the whole.

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::command::{DimseCommand, element, field};
use super::implicit::ImplicitWriter;
use super::outgoing::Offered;
use super::wire::{PeerGone, WireEvent, WireReader, WireWriter, unexpected};
use crate::archive::content::Representation;
use crate::archive::{Archive, ArchiveError, InstanceRow};
use crate::dicom::codec::transfer_syntax;
use crate::dicom::media::{RepresentationPlan, TransferSyntaxPreference};
use crate::scope::Scope;

/// Bytes before the group length of the meta information and behind it.
const HEAD: usize = 144;

/// Both directions of an association, borrowed.
pub(super) struct Line<'a> {
    pub(super) reader: &'a mut WireReader,
    pub(super) writer: &'a mut WireWriter,
}

/// What became of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentInstance {
    /// Status of the peer; none when the instance could not be sent.
    pub(super) status: Option<u16>,
    /// The peer cancelled meanwhile.
    pub(super) cancelled: bool,
}

impl SentInstance {
    const NOT: Self = Self {
        status: None,
        cancelled: false,
    };
}

/// How an instance is sent.
pub(super) struct Chosen<'a> {
    /// The context it goes through.
    pub(super) context: &'a Offered,
    /// How it is made.
    plan: RepresentationPlan,
    /// What is made is then written in Implicit VR Little Endian.
    implicit: bool,
}

/// Which of the contexts an instance goes through, and how it is made: as it is stored, uncompressed, or compressed for the peer.
pub(super) fn choose<'a>(
    archive: &Archive,
    row: &InstanceRow,
    contexts: &'a [Offered],
) -> Option<Chosen<'a>> {
    let of_class = || contexts.iter().filter(|c| c.class == row.sop_class);
    let made = |context: &'a Offered, implicit: bool| {
        let syntax = if implicit {
            transfer_syntax::EXPLICIT_LE
        } else {
            &context.syntax
        };
        let plan = archive.plan_instance(row, TransferSyntaxPreference::Uid(syntax))?;
        Some(Chosen {
            context,
            plan,
            implicit,
        })
    };
    let stored = of_class().filter(|c| c.syntax == row.layout.transfer_syntax);
    let explicit = of_class().filter(|c| c.syntax == transfer_syntax::EXPLICIT_LE);
    let mut implicit = of_class().filter(|c| c.syntax == transfer_syntax::IMPLICIT_LE);
    stored
        .chain(explicit)
        .find_map(|context| made(context, false))
        .or_else(|| implicit.find_map(|context| made(context, true)))
        .or_else(|| of_class().find_map(|context| made(context, false)))
}

/// Sends an instance and waits for the answer. `command` has what there is beside class and instance.
pub(super) async fn send(
    archive: &Archive,
    scope: &Scope,
    row: &InstanceRow,
    contexts: &[Offered],
    command: DimseCommand,
    line: Line<'_>,
) -> Result<SentInstance, PeerGone> {
    let Some(chosen) = choose(archive, row, contexts) else {
        return Ok(SentInstance::NOT);
    };
    let context = chosen.context;
    let mut implicit = chosen.implicit.then(ImplicitWriter::default);
    let opened = open(archive, scope, row, &chosen.plan).await;
    let mut chunks = match opened {
        Ok(chunks) => chunks,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an instance cannot be sent"
            );
            return Ok(SentInstance::NOT);
        }
    };
    let message = command.message();
    let command = command
        .uid(element::AFFECTED_CLASS, &row.sop_class)
        .uid(element::AFFECTED_INSTANCE, row.name.instance.as_str())
        .with_data();
    line.writer.command(context.id, &command).await?;
    loop {
        let chunk = match chunks.try_next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return Err(broken(&error)),
        };
        if let Some(implicit) = &mut implicit {
            let converted = implicit.convert(&chunk).map_err(|error| broken(&error))?;
            line.writer.data(context.id, &converted).await?;
        } else {
            line.writer.data(context.id, &chunk).await?;
        }
    }
    if let Some(implicit) = implicit {
        implicit.finish().map_err(|error| broken(&error))?;
    }
    line.writer.end_data(context.id);
    line.writer.flush().await?;
    answered(line.reader, message).await
}

/// Half of an instance is sent, and no more can be.
fn broken(error: &(dyn std::error::Error + 'static)) -> PeerGone {
    tracing::error!(error, "an instance broke off while it was sent");
    PeerGone::Failed
}

/// Waits for the answer to a C-STORE; a cancel of what it belongs to may come before.
pub(super) async fn answered(
    reader: &mut WireReader,
    message: u16,
) -> Result<SentInstance, PeerGone> {
    let mut cancelled = false;
    loop {
        match reader.next().await? {
            WireEvent::Command { command, .. } if command.field() == field::CANCEL => {
                cancelled = true
            }
            WireEvent::Command { command, .. }
                if command.field() == field::STORE | field::RESPONSE
                    && command.get(element::RESPONDED) == Some(message) =>
            {
                return Ok(SentInstance {
                    status: Some(command.status()),
                    cancelled,
                });
            }
            WireEvent::ReleaseRequest => return Err(PeerGone::Released),
            WireEvent::Command { .. } | WireEvent::Data { .. } | WireEvent::ReleaseResponse => {
                return Err(unexpected(
                    "something else came than the answer to a C-STORE",
                ));
            }
        }
    }
}

/// The data set of an instance, the first bytes of which were read.
async fn open(
    archive: &Archive,
    scope: &Scope,
    row: &InstanceRow,
    plan: &RepresentationPlan,
) -> Result<
    impl futures_util::Stream<Item = Result<Bytes, ArchiveError>> + Send + Unpin,
    ArchiveError,
> {
    let file = archive.produce(scope, row, plan).await?;
    let mut content = Representation::all(file).await?;
    let mut head = Vec::new();
    let offset = if *plan == RepresentationPlan::Stored && row.layout.part10 {
        usize::try_from(row.layout.dataset_offset).unwrap_or(usize::MAX)
    } else {
        // It was made here, with a group length.
        while head.len() < HEAD {
            let Some(chunk) = content.chunks.try_next().await? else {
                break;
            };
            head.extend_from_slice(&chunk);
        }
        let length = head.get(HEAD - 4..).and_then(<[u8]>::first_chunk);
        let length = length.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        HEAD.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
    };
    let first = futures_util::stream::once(async move { Ok(Bytes::from(head)) });
    let mut skip = offset;
    let chunks = futures_util::StreamExt::chain(first, content.chunks).map_ok(move |chunk| {
        let now = skip.min(chunk.len());
        skip -= now;
        chunk.slice(now..)
    });
    Ok(Box::pin(chunks))
}
