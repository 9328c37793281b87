//! The other side, for people at a command line: ask a peer, send to it, have it send.
//!
//! Invariants: peers are those of `STOWAGE_DIMSE_PEERS`; a file is sent as it is, or not at all; what failed is told, one by one,
//! and does not stop the rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use futures_util::TryStreamExt;
use tokio::io::AsyncReadExt;

use super::client_exchange::{ask, hear};
use super::client_file::FileHeader;
use super::command::{DimseCommand, element, field, status};
use super::dataset::{Elements, Identifier, text_element, write};
use super::negotiate::VERIFICATION;
use super::outgoing::{CallError, Offered, Outgoing, Proposal};
use super::pdu::ScpRole;
use super::peers::{PeerPlace, Peers, PeersError};
use super::send::{Line, answered, send};
use super::wire::PeerGone;
use crate::archive::{Archive, ArchiveError, InstanceRow};
use crate::config::DimseConfig;
use crate::dicom::codec::transfer_syntax::{EXPLICIT_LE, IMPLICIT_LE};
use crate::dicom::tag;
use crate::dicom::uid::Target;
use crate::memory::MemoryBudget;
use crate::scope::{PartitionName, Scope};

/// Files of one association.
const BATCH: usize = 200;
/// Bytes read of a file at a time.
const CHUNK: usize = 64 << 10;
/// Memory of the client, in bytes: two associations.
const MEMORY: usize = 64 << 20;
/// Study Root: C-FIND.
const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
/// Study Root: C-MOVE.
const MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
/// Most studies that one search may find.
const MAX_STUDIES: usize = 1_000_000;

/// Why a peer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The table of peers cannot be used.
    #[error("{0}")]
    Peers(#[from] PeersError),
    /// The peer does not stand in it.
    #[error("{title} has no entry with host and port in STOWAGE_DIMSE_PEERS")]
    Unknown {
        /// Its AE title.
        title: String,
    },
    /// It cannot be called, or the association broke off.
    #[error("{title} {reason}")]
    Peer {
        /// Its AE title.
        title: String,
        /// Why.
        reason: String,
    },
    /// The stores failed.
    #[error("the archive failed")]
    Archive(#[from] ArchiveError),
    /// A key of a search is none.
    #[error(
        "{key} is no key of a search: write a keyword or a tag, `=` and a value, such as PatientID=4711"
    )]
    Key {
        /// What was written.
        key: String,
    },
}

/// A peer, and who calls it.
#[derive(Debug)]
pub struct PeerClient {
    place: PeerPlace,
    /// The partition that what is sent comes from, and what is fetched goes to.
    partition: PartitionName,
    called: String,
    calling: String,
    idle: Duration,
    budget: MemoryBudget,
}

/// What became of something that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// What.
    pub what: T,
    /// Bytes of it.
    pub bytes: u64,
    /// Why it failed; none when it did not.
    pub failure: Option<String>,
}

/// How a retrieval ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveResult {
    /// Status of the last answer.
    pub status: u16,
    /// Instances that arrived.
    pub completed: u16,
    /// Instances that failed.
    pub failed: u16,
    /// Instances that are stored with warnings.
    pub warned: u16,
}

impl PeerClient {
    /// The peer of an AE title.
    ///
    /// # Errors
    /// [`ClientError`] when it does not stand in the file of peers.
    pub fn new(config: &DimseConfig, title: &str) -> Result<Self, ClientError> {
        let peers = Peers::open(config.dimse_peers.as_deref())?;
        let peer = peers.named(title);
        let place = peer.and_then(|peer| peer.place.clone());
        Ok(Self {
            place: place.ok_or_else(|| ClientError::Unknown {
                title: title.to_owned(),
            })?,
            partition: peer.map(|peer| peer.partition_name()).unwrap_or_default(),
            called: title.to_owned(),
            calling: config.dimse_ae_title.trim_matches(' ').to_owned(),
            idle: Duration::from_secs(config.dimse_idle_seconds.max(1)),
            budget: MemoryBudget::new(MEMORY),
        })
    }

    /// The same, with buffers from another budget.
    #[must_use]
    pub fn within(self, budget: MemoryBudget) -> Self {
        Self { budget, ..self }
    }

    /// Everything in the partition that the peer works in.
    pub(super) async fn scope(&self, archive: &Archive) -> Result<Scope, ClientError> {
        if !self.partition.is_default() && !archive.has_partitions() {
            let reason = "the partition of the peer needs STOWAGE_PARTITIONS=on";
            return Err(ArchiveError::invalid(reason).into());
        }
        Ok(Scope {
            partition: archive.make_partition(&self.partition).await?,
            ..Scope::everything()
        })
    }

    pub(super) fn failed(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::Peer {
            title: self.called.clone(),
            reason: reason.to_string(),
        }
    }

    /// Its AE title.
    pub(super) fn title(&self) -> &str {
        &self.called
    }

    async fn call(&self, contexts: Vec<(String, String)>) -> Result<Outgoing, ClientError> {
        self.call_in_roles(contexts, Vec::new()).await
    }

    pub(super) async fn call_in_roles(
        &self,
        contexts: Vec<(String, String)>,
        roles: Vec<ScpRole>,
    ) -> Result<Outgoing, ClientError> {
        let proposal = Proposal {
            called: self.called.clone(),
            calling: self.calling.clone(),
            contexts,
            roles,
        };
        let called = Outgoing::call(&self.place, &proposal, self.idle, &self.budget).await;
        called.map_err(|error: CallError| self.failed(error))
    }

    pub(super) fn context(&self, outgoing: &Outgoing, class: &str) -> Result<Offered, ClientError> {
        let found = outgoing.contexts.iter().find(|c| c.class == class);
        found
            .cloned()
            .ok_or_else(|| self.failed("does not offer this service"))
    }

    /// Asks whether the peer answers.
    ///
    /// # Errors
    /// [`ClientError`] when it does not.
    pub async fn echo(&self) -> Result<(), ClientError> {
        let contexts = vec![(VERIFICATION.to_owned(), IMPLICIT_LE.to_owned())];
        let mut outgoing = self.call(contexts).await?;
        let context = self.context(&outgoing, VERIFICATION)?;
        let message = outgoing.next_message();
        let request =
            DimseCommand::request(field::ECHO, message).uid(element::AFFECTED_CLASS, VERIFICATION);
        let answer = ask(&mut outgoing, &context, &request, &[]).await;
        match answer {
            Ok((answer, _)) if answer.status() == status::SUCCESS => {
                outgoing.release().await;
                Ok(())
            }
            Ok((answer, _)) => Err(self.failed(format!("answers {:04X}", answer.status()))),
            Err(gone) => Err(self.failed(gone)),
        }
    }

    /// Sends files as they are, telling each result.
    ///
    /// # Errors
    /// [`ClientError`] when the peer cannot be called, or breaks off.
    pub async fn send_files(
        &self,
        files: &[PathBuf],
        report: &mut (dyn FnMut(Delivery<&Path>) + Send),
    ) -> Result<(), ClientError> {
        for batch in files.chunks(BATCH) {
            let mut readable = Vec::new();
            for path in batch {
                match FileHeader::read(path).await {
                    Ok(header) => readable.push((path.as_path(), header)),
                    Err(reason) => report(Delivery {
                        what: path,
                        bytes: 0,
                        failure: Some(reason),
                    }),
                }
            }
            let pairs: BTreeSet<(String, String)> = readable
                .iter()
                .map(|(_, header)| (header.class.clone(), header.syntax.clone()))
                .collect();
            if pairs.is_empty() {
                continue;
            }
            let mut outgoing = self.call(pairs.into_iter().collect()).await?;
            for (path, header) in readable {
                let sent = self.send_file(&mut outgoing, path, &header).await;
                let (bytes, failure) = match sent {
                    Ok((bytes, failure)) => (bytes, failure),
                    Err(gone) => {
                        outgoing.abort().await;
                        return Err(self.failed(gone));
                    }
                };
                report(Delivery {
                    what: path,
                    bytes,
                    failure,
                });
            }
            outgoing.release().await;
        }
        Ok(())
    }

    async fn send_file(
        &self,
        outgoing: &mut Outgoing,
        path: &Path,
        header: &FileHeader,
    ) -> Result<(u64, Option<String>), PeerGone> {
        let fits = |c: &&Offered| c.class == header.class && c.syntax == header.syntax;
        let Some(context) = outgoing.contexts.iter().find(fits).cloned() else {
            let reason = "the peer does not take its SOP class in its transfer syntax";
            return Ok((0, Some(reason.to_owned())));
        };
        let mut file = match header.open(path).await {
            Ok(file) => file,
            Err(error) => return Ok((0, Some(format!("cannot be read: {error}")))),
        };
        let message = outgoing.next_message();
        let request = DimseCommand::request(field::STORE, message)
            .number(element::PRIORITY, 0)
            .uid(element::AFFECTED_CLASS, &header.class)
            .uid(element::AFFECTED_INSTANCE, &header.instance)
            .with_data();
        outgoing.writer.command(context.id, &request).await?;
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).await?;
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
                break;
            };
            bytes += read as u64;
            outgoing.writer.data(context.id, chunk).await?;
        }
        outgoing.writer.end_data(context.id);
        outgoing.writer.flush().await?;
        let sent = answered(&mut outgoing.reader, message).await?;
        Ok((bytes, failure(sent.status)))
    }

    /// Sends what is stored of a target, converted where the peer does not take it as it is, telling each result.
    ///
    /// # Errors
    /// [`ClientError`] when the target does not exist, the stores fail, or the peer breaks off.
    pub async fn send_stored(
        &self,
        archive: &Archive,
        target: &Target,
        skip: &(dyn Fn(&InstanceRow) -> bool + Send + Sync),
        report: &mut (dyn FnMut(Delivery<&InstanceRow>) + Send),
    ) -> Result<(), ClientError> {
        let scope = self.scope(archive).await?;
        self.send_within(archive, &scope, target, skip, report)
            .await
    }

    /// The same of what a scope has.
    ///
    /// # Errors
    /// As [`Self::send_stored`].
    pub async fn send_within(
        &self,
        archive: &Archive,
        scope: &Scope,
        target: &Target,
        skip: &(dyn Fn(&InstanceRow) -> bool + Send + Sync),
        report: &mut (dyn FnMut(Delivery<&InstanceRow>) + Send),
    ) -> Result<(), ClientError> {
        let mut pairs = BTreeSet::new();
        let mut rows = archive.instances(scope, target).await?;
        while let Some(row) = rows.try_next().await? {
            if !skip(&row) {
                pairs.insert((row.sop_class, row.layout.transfer_syntax));
            }
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let mut outgoing = self.call(Proposal::storage(&pairs)).await?;
        let contexts = outgoing.contexts.clone();
        let mut rows = archive.instances(scope, target).await?;
        while let Some(row) = rows.try_next().await? {
            if skip(&row) {
                continue;
            }
            let request = DimseCommand::request(field::STORE, outgoing.next_message())
                .number(element::PRIORITY, 0);
            let line = Line {
                reader: &mut outgoing.reader,
                writer: &mut outgoing.writer,
            };
            match send(archive, scope, &row, &contexts, request, line).await {
                Ok(sent) => report(Delivery {
                    what: &row,
                    bytes: row.place.length,
                    failure: failure(sent.status),
                }),
                Err(gone) => {
                    outgoing.abort().await;
                    return Err(self.failed(gone));
                }
            }
        }
        outgoing.release().await;
        Ok(())
    }

    /// Study Instance UIDs that the peer has for keys such as `PatientID=4711`.
    ///
    /// # Errors
    /// [`ClientError`] when a key is none, or the peer does not answer.
    pub async fn find_studies(&self, keys: &[String]) -> Result<Vec<String>, ClientError> {
        self.find("STUDY", keys, tags::STUDY_INSTANCE_UID).await
    }

    /// Values of an attribute of what the peer has at a level for keys.
    pub(super) async fn find(
        &self,
        level: &str,
        keys: &[String],
        wanted: Tag,
    ) -> Result<Vec<String>, ClientError> {
        let mut elements = Elements::new();
        for key in keys {
            let parsed = key.split_once('=').and_then(|(name, value)| {
                let tag = tag::parse(name.trim()).ok()?;
                Some((tag, value.trim()))
            });
            let (tag, value) = parsed.ok_or_else(|| ClientError::Key { key: key.clone() })?;
            let json = match tag::vr(tag) {
                VR::PN => serde_json::json!({ "vr": "PN", "Value": [{ "Alphabetic": value }] })
                    .to_string(),
                vr => text_element(vr, value),
            };
            elements.insert(tag, json);
        }
        elements.insert(tags::QUERY_RETRIEVE_LEVEL, text_element(VR::CS, level));
        let study = tags::STUDY_INSTANCE_UID;
        let empty = text_element(VR::UI, "");
        elements.entry(study).or_insert(empty);
        let mut outgoing = self.call(plain_contexts(FIND)).await?;
        let context = self.context(&outgoing, FIND)?;
        let message = outgoing.next_message();
        let request = DimseCommand::request(field::FIND, message)
            .uid(element::AFFECTED_CLASS, FIND)
            .number(element::PRIORITY, 0)
            .with_data();
        let data = write(elements, &context.syntax, "");
        let mut next = ask(&mut outgoing, &context, &request, &data).await;
        let mut values = Vec::new();
        loop {
            let (answer, data) = next.map_err(|gone| self.failed(gone))?;
            match answer.status() {
                status::PENDING | status::PENDING_WARNING => {
                    let keys = Identifier::read(&data, &context.syntax);
                    let keys = keys.map_err(|error| self.failed(error))?;
                    let value = keys.get(wanted).to_owned();
                    if !value.is_empty() && values.len() < MAX_STUDIES {
                        values.push(value);
                    }
                }
                status::SUCCESS => break,
                other => {
                    let comment = answer.get_text(element::COMMENT);
                    return Err(self.failed(format!("answers {other:04X} {comment}")));
                }
            }
            next = hear(&mut outgoing, message).await;
        }
        outgoing.release().await;
        Ok(values)
    }

    /// Has the peer send a study to this server, by its own AE title.
    ///
    /// # Errors
    /// [`ClientError`] when the peer does not answer.
    pub async fn move_study(&self, study: &str) -> Result<MoveResult, ClientError> {
        let mut elements = Elements::new();
        elements.insert(tags::QUERY_RETRIEVE_LEVEL, text_element(VR::CS, "STUDY"));
        elements.insert(tags::STUDY_INSTANCE_UID, text_element(VR::UI, study));
        let mut outgoing = self.call(plain_contexts(MOVE)).await?;
        let context = self.context(&outgoing, MOVE)?;
        let message = outgoing.next_message();
        let request = DimseCommand::request(field::MOVE, message)
            .uid(element::AFFECTED_CLASS, MOVE)
            .text(element::DESTINATION, &self.calling)
            .number(element::PRIORITY, 0)
            .with_data();
        let data = write(elements, &context.syntax, "");
        let mut next = ask(&mut outgoing, &context, &request, &data).await;
        loop {
            let (answer, _) = next.map_err(|gone| self.failed(gone))?;
            if answer.status() != status::PENDING {
                let count = |element| answer.get(element).unwrap_or(0);
                outgoing.release().await;
                return Ok(MoveResult {
                    status: answer.status(),
                    completed: count(element::COMPLETED),
                    failed: count(element::FAILED),
                    warned: count(element::WARNED),
                });
            }
            next = hear(&mut outgoing, message).await;
        }
    }
}

pub(super) fn plain_contexts(class: &str) -> Vec<(String, String)> {
    [EXPLICIT_LE, IMPLICIT_LE]
        .map(|syntax| (class.to_owned(), syntax.to_owned()))
        .to_vec()
}

/// What a status of C-STORE means.
fn failure(status: Option<u16>) -> Option<String> {
    match status {
        Some(0 | 0xB000..=0xBFFF) => None,
        Some(status) => Some(format!("the peer answers {status:04X}")),
        None => Some("the peer takes it in no transfer syntax it can be sent in".to_owned()),
    }
}
