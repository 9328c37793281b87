//! C-GET and C-MOVE: instances of what an identifier names, sent one after the other (PS3.4 §C.4.2, §C.4.3).
//!
//! Invariants: only what the requestor may see is sent, and only to peers that stand in the file; nothing of a study is held but
//! one instance; each instance is counted once, as completed, warned or failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::association::{Answered, Association, DimseRefusal, MAX_QUERY};
use super::audit::{Deed, DimseAccess, DimseOutcome};
use super::command::{DimseCommand, element, field, status};
use super::dataset::{Elements, Identifier, text_element, write};
use super::find::{FindLevel, cancelled, level_of};
use super::negotiate::{Accepted, Root};
use super::outgoing::{Offered, Outgoing, Proposal};
use super::send::{Line, SentInstance, send};
use super::wire::PeerGone;
use crate::archive::services::search::paging::Paging;
use crate::archive::services::search::{FieldSelection, ResultRow, Write};
use crate::archive::{ArchiveError, InstanceRow};
use crate::dicom::tag;
use crate::dicom::uid::Target;
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

#[cfg(test)]
mod tests;

/// Time between two pending answers.
const PENDING: std::time::Duration = std::time::Duration::from_secs(1);
/// Memory of one target, in bytes.
const TARGET: usize = 320;
/// Most failed instances that are named.
const NAMED: usize = 10_000;

/// What is to be sent.
struct Wanted {
    scope: Scope,
    targets: Vec<Target>,
    /// Instances in all.
    count: u64,
    /// Their SOP classes and transfer syntaxes.
    pairs: BTreeSet<(String, String)>,
    _held: Reservation,
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    remaining: u64,
    completed: u64,
    warned: u64,
    failed: u64,
    failures: Vec<String>,
    studies: BTreeMap<String, u64>,
}

/// Where instances go.
enum Way {
    /// Back on the association they are asked for on.
    Back(Vec<Offered>),
    /// To another peer.
    To(Box<Outgoing>),
    /// The other peer has gone.
    Nowhere,
}

fn short(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

impl Progress {
    fn on(&self, answer: DimseCommand) -> DimseCommand {
        answer
            .number(element::COMPLETED, short(self.completed))
            .number(element::FAILED, short(self.failed))
            .number(element::WARNED, short(self.warned))
    }

    fn count(&mut self, row: &InstanceRow, sent: SentInstance) {
        self.remaining = self.remaining.saturating_sub(1);
        match sent.status {
            Some(0) => self.completed += 1,
            Some(0xB000..=0xBFFF) => self.warned += 1,
            _ => {
                self.failed += 1;
                if self.failures.len() < NAMED {
                    self.failures.push(row.name.instance.to_string());
                }
                return;
            }
        }
        let study = self.studies.entry(row.name.study.to_string()).or_default();
        *study = study.saturating_add(1);
    }

    fn status(&self) -> u16 {
        if self.failed == 0 && self.warned == 0 {
            status::SUCCESS
        } else if self.completed == 0 && self.warned == 0 {
            status::NO_SUB_OPERATIONS
        } else {
            status::SUB_OPERATIONS
        }
    }
}

impl Association {
    /// Answers a C-GET.
    pub(super) async fn get(
        &mut self,
        accepted: &Accepted,
        root: Root,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let wanted = match self.wanted(accepted, root, command).await? {
            Ok(wanted) => wanted,
            Err(refusal) => return self.refuse("C-GET", accepted, command, refusal).await,
        };
        let gives = self.contexts.iter().filter(|context| context.gives);
        let contexts = gives.map(|context| Offered {
            id: context.id,
            class: context.class.clone(),
            syntax: context.syntax.clone(),
        });
        let way = Way::Back(contexts.collect());
        Box::pin(self.send_all("C-GET", accepted, command, wanted, way)).await
    }

    /// Answers a C-MOVE.
    pub(super) async fn move_to(
        &mut self,
        accepted: &Accepted,
        root: Root,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let wanted = match self.wanted(accepted, root, command).await? {
            Ok(wanted) => wanted,
            Err(refusal) => return self.refuse("C-MOVE", accepted, command, refusal).await,
        };
        let destination = command.get_text(element::DESTINATION);
        let peer = self.gateway.peers.named(&destination);
        let Some(place) = peer.and_then(|peer| peer.place.clone()) else {
            let refusal = DimseRefusal::new(
                status::UNKNOWN_DESTINATION,
                "the destination has no host and port in the file of peers",
            );
            return self.refuse("C-MOVE", accepted, command, refusal).await;
        };
        if wanted.count == 0 {
            let way = Way::Nowhere;
            return Box::pin(self.send_all("C-MOVE", accepted, command, wanted, way)).await;
        }
        let proposal = Proposal {
            called: destination,
            calling: self.gateway.title.clone(),
            contexts: Proposal::storage(&wanted.pairs),
            roles: Vec::new(),
        };
        let budget = self.gateway.archive.budget();
        let called = Outgoing::call(&place, &proposal, self.gateway.idle, budget).await;
        let way = match called {
            Ok(outgoing) => Way::To(Box::new(outgoing)),
            Err(error) => {
                tracing::warn!(destination = proposal.called, %error, "the destination of a C-MOVE cannot be used");
                let comment = format!("the destination {error}");
                let refusal = DimseRefusal::new(status::NO_SUB_OPERATIONS, comment);
                return self.refuse("C-MOVE", accepted, command, refusal).await;
            }
        };
        Box::pin(self.send_all("C-MOVE", accepted, command, wanted, way)).await
    }

    async fn refuse(
        &mut self,
        service: &'static str,
        accepted: &Accepted,
        command: &DimseCommand,
        refusal: DimseRefusal,
    ) -> Result<Answered, PeerGone> {
        let status = refusal.status;
        let answer = DimseCommand::response(command, status).comment(&refusal.comment);
        self.note(
            Deed::Retrieved,
            service,
            DimseOutcome::of(status),
            BTreeMap::new(),
        )
        .await;
        self.respond(accepted.id, &answer).await?;
        Ok(Answered { service, status })
    }

    /// Reads the identifier and finds what it names.
    async fn wanted(
        &mut self,
        accepted: &Accepted,
        root: Root,
        command: &DimseCommand,
    ) -> Result<Result<Wanted, DimseRefusal>, PeerGone> {
        let keys = match self.identifier(accepted, command, MAX_QUERY).await? {
            Ok((keys, _held)) => keys,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.begin_answer();
        Ok(self.targets(accepted, root, &keys).await)
    }

    async fn targets(
        &self,
        accepted: &Accepted,
        root: Root,
        keys: &Identifier,
    ) -> Result<Wanted, DimseRefusal> {
        let scope = self.may_read()?;
        let level = level_of(keys, root, accepted.relational)?;
        if keys.get(level.unique()).is_empty() {
            let name = tag::keyword(level.unique()).unwrap_or_default();
            let comment = format!("{name} must name what is to be retrieved");
            return Err(DimseRefusal::new(status::MISMATCH, comment));
        }
        let levels = [
            FindLevel::Patient,
            FindLevel::Study,
            FindLevel::Series,
            FindLevel::Image,
        ];
        let unique = levels.iter().filter(|one| **one <= level);
        let named = unique.map(|one| (tag::hex(one.unique()), keys.get(one.unique()).to_owned()));
        let parameters: Vec<(String, String)> = named.filter(|(_, v)| !v.is_empty()).collect();
        let (query, tags, _) = self.query(&parameters, level.rows()).await?;
        let archive = &self.gateway.archive;
        let fields = FieldSelection {
            default: &[],
            all: &[],
            required: &[],
            own_level_only: true,
        };
        let write: Write = Arc::new(|row: ResultRow| {
            let path: Vec<&str> = row.path().collect();
            Ok((path.join("/"), Box::new(Some(Vec::new()))))
        });
        let answer = archive.search(&scope, &query, &tags, fields, Paging::default(), write);
        let mut parts = answer.await?.parts;
        let mut held = archive.budget().nothing(Purpose::Associations);
        let mut targets = Vec::new();
        while let Some(part) = parts.try_next().await? {
            targets.extend(target(&part.location));
            let bytes = targets.len().saturating_mul(TARGET);
            held.grow_to(bytes).await.map_err(ArchiveError::from)?;
        }
        let mut wanted = Wanted {
            scope,
            targets,
            count: 0,
            pairs: BTreeSet::new(),
            _held: held,
        };
        for target in &wanted.targets {
            let Some(mut rows) = self.rows(&wanted.scope, target).await? else {
                continue;
            };
            while let Some(row) = rows.try_next().await? {
                wanted.count += 1;
                let pair = (row.sop_class, row.layout.transfer_syntax);
                if wanted.pairs.len() < 1000 {
                    wanted.pairs.insert(pair);
                }
            }
        }
        Ok(wanted)
    }

    /// The instances of a target; none when it is gone.
    async fn rows(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Option<crate::archive::services::retrieve::InstanceRows<InstanceRow>>, ArchiveError>
    {
        match self.gateway.archive.instances(scope, target).await {
            Ok(rows) => Ok(Some(rows)),
            Err(ArchiveError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send_all(
        &mut self,
        service: &'static str,
        accepted: &Accepted,
        command: &DimseCommand,
        wanted: Wanted,
        mut way: Way,
    ) -> Result<Answered, PeerGone> {
        let mut progress = Progress {
            remaining: wanted.count,
            ..Progress::default()
        };
        let sent =
            Box::pin(self.sub_operations(accepted, command, &wanted, &mut way, &mut progress));
        let sent = sent.await;
        let destination = match way {
            Way::Back(_) => None,
            Way::To(outgoing) if sent.is_ok() => {
                outgoing.release().await;
                Some(command.get_text(element::DESTINATION))
            }
            Way::To(outgoing) => {
                outgoing.abort().await;
                Some(command.get_text(element::DESTINATION))
            }
            Way::Nowhere => Some(command.get_text(element::DESTINATION)),
        };
        let ended = match &sent {
            Ok(Ok(true)) => status::CANCELLED,
            Ok(Ok(false)) => progress.status(),
            Ok(Err(refusal)) => refusal.status,
            Err(_) => status::PROCESSING,
        };
        let access = DimseAccess {
            deed: Deed::Retrieved,
            peer: self.peer.title.clone(),
            address: self.address,
            service,
            outcome: DimseOutcome::of(ended),
            studies: std::mem::take(&mut progress.studies),
            destination,
        };
        self.gateway.trail.write(access).await;
        let comment = match sent? {
            Ok(_) => String::new(),
            Err(refusal) => refusal.comment,
        };
        let mut answer = progress.on(DimseCommand::response(command, ended).comment(&comment));
        if ended == status::CANCELLED {
            answer = answer.number(element::REMAINING, short(progress.remaining));
        }
        self.last_answer(accepted, answer, &progress.failures)
            .await?;
        Ok(Answered {
            service,
            status: ended,
        })
    }

    /// Sends the last answer, with the instances that failed.
    async fn last_answer(
        &mut self,
        accepted: &Accepted,
        answer: DimseCommand,
        failures: &[String],
    ) -> Result<(), PeerGone> {
        if failures.is_empty() {
            return self.respond(accepted.id, &answer).await;
        }
        let mut elements = Elements::new();
        let list = text_element(VR::UI, &failures.join("\\"));
        elements.insert(tags::FAILED_SOP_INSTANCE_UID_LIST, list);
        let data = write(elements, &accepted.syntax, "");
        self.writer
            .command(accepted.id, &answer.with_data())
            .await?;
        self.writer.data(accepted.id, &data).await?;
        self.writer.end_data(accepted.id);
        self.writer.flush().await
    }

    /// Sends everything; whether it was cancelled.
    async fn sub_operations(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
        wanted: &Wanted,
        way: &mut Way,
        progress: &mut Progress,
    ) -> Result<Result<bool, DimseRefusal>, PeerGone> {
        let archive = self.gateway.archive.clone();
        if matches!(way, Way::Back(_)) {
            // Now the peer has something to answer.
            self.reader.set_idle(self.gateway.idle);
        }
        let mut reported = Instant::now();
        let mut message = 0_u16;
        for target in &wanted.targets {
            let mut rows = match self.rows(&wanted.scope, target).await {
                Ok(Some(rows)) => rows,
                Ok(None) => continue,
                Err(error) => return Ok(Err(error.into())),
            };
            while let Some(row) = rows.next().await {
                let row = match row {
                    Ok(row) => row,
                    Err(error) => return Ok(Err(error.into())),
                };
                let heard = tokio::select! {
                    biased;
                    heard = cancelled(&mut self.reader, command) => Some(heard),
                    () = std::future::ready(()) => None,
                };
                if let Some(heard) = heard {
                    heard?;
                    return Ok(Ok(true));
                }
                message = message.wrapping_add(1).max(1);
                let sent = match way {
                    Way::Back(contexts) => {
                        let request = DimseCommand::request(field::STORE, message)
                            .number(element::PRIORITY, 0);
                        let line = Line {
                            reader: &mut self.reader,
                            writer: &mut self.writer,
                        };
                        send(&archive, &wanted.scope, &row, contexts, request, line).await?
                    }
                    Way::To(outgoing) => {
                        let request = DimseCommand::request(field::STORE, outgoing.next_message())
                            .number(element::PRIORITY, 0)
                            .text(element::ORIGINATOR, &self.peer.title)
                            .number(element::ORIGINATOR_MESSAGE, command.message());
                        let contexts = outgoing.contexts.clone();
                        let line = Line {
                            reader: &mut outgoing.reader,
                            writer: &mut outgoing.writer,
                        };
                        let sent =
                            send(&archive, &wanted.scope, &row, &contexts, request, line).await;
                        sent.unwrap_or_else(|gone| {
                            tracing::warn!(reason = %gone, "the destination of a C-MOVE broke off");
                            *way = Way::Nowhere;
                            SentInstance {
                                status: None,
                                cancelled: false,
                            }
                        })
                    }
                    Way::Nowhere => SentInstance {
                        status: None,
                        cancelled: false,
                    },
                };
                progress.count(&row, sent);
                if sent.cancelled {
                    return Ok(Ok(true));
                }
                if reported.elapsed() >= PENDING {
                    reported = Instant::now();
                    let pending = DimseCommand::response(command, status::PENDING)
                        .number(element::REMAINING, short(progress.remaining));
                    self.respond(accepted.id, &progress.on(pending)).await?;
                }
            }
        }
        Ok(Ok(false))
    }
}

/// What `studies/…/series/…/instances/…` names.
fn target(path: &str) -> Option<Target> {
    Target::of_uids(&mut path.split('/').skip(1).step_by(2))
}
