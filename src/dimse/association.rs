//! One association this server accepted: from its acceptance to its release (PS3.8 §9.2).
//!
//! Invariants: one message is worked on at a time, in the order of their arrival; whatever ends an association, what was
//! not acknowledged leaves nothing behind; a request that is not understood is answered, and its data set read over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::audit::{Deed, DimseAccess, DimseOutcome};
use super::command::{DimseCommand, element, field, status};
use super::commitment::pending_reports::PendingReports;
use super::dataset::Identifier;
use super::gateway::Gateway;
use super::negotiate::{Accepted, Service, agree};
use super::pdu::{self, Associate};
use super::peers::Peer;
use super::wire::{PeerGone, WireEvent, WireReader, WireWriter, unexpected};
use crate::archive::ArchiveError;
use crate::archive::lanes::Lane;
use crate::memory::{Purpose, Reservation};
use crate::shares::Share;

/// How long is waited for the peer to take the last unit.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// What is made of a unit of association establishment, or of an identifier, in multiples of its bytes.
pub(super) const COPIES: usize = 8;
/// Longest identifier of a query, in bytes.
pub(super) const MAX_QUERY: usize = 1 << 20;

/// An association under way.
pub(super) struct Association {
    pub(super) gateway: Arc<Gateway>,
    pub(super) reader: WireReader,
    pub(super) writer: WireWriter,
    /// Who it is.
    pub(super) peer: Arc<Peer>,
    pub(super) address: IpAddr,
    /// What was agreed on.
    pub(super) contexts: Vec<Accepted>,
    /// Reports of storage commitment.
    pub(super) reports: PendingReports,
    /// Instances stored, by study.
    pub(super) stored: BTreeMap<String, u64>,
    _share: Share,
    _held: Reservation,
}

/// What a handler has answered at last.
pub(super) struct Answered {
    pub(super) service: &'static str,
    pub(super) status: u16,
}

/// What is answered instead of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DimseRefusal {
    pub(super) status: u16,
    pub(super) comment: String,
}

impl DimseRefusal {
    pub(super) fn new(status: u16, comment: impl Into<String>) -> Self {
        Self {
            status,
            comment: comment.into(),
        }
    }
}

impl From<ArchiveError> for DimseRefusal {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::TooLarge { .. } | ArchiveError::Busy { .. } | ArchiveError::Memory(_) => {
                Self::new(status::OUT_OF_RESOURCES, error.to_string())
            }
            ArchiveError::Invalid { .. } | ArchiveError::NotFound { .. } => {
                Self::new(status::UNABLE, error.to_string())
            }
            ArchiveError::Shared(error) if !matches!(*error, ArchiveError::Shared(_)) => {
                Self::new(status::PROCESSING, error.to_string())
            }
            error => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a DIMSE request failed"
                );
                Self::new(status::PROCESSING, "the server failed; its log says why")
            }
        }
    }
}

/// What was asked for and may be had.
pub(super) struct Greeted {
    pub(super) peer: Arc<Peer>,
    pub(super) request: Associate,
    pub(super) share: Share,
    pub(super) held: Reservation,
}

impl Greeted {
    /// Works on messages until the association ends.
    pub(super) async fn serve(
        self,
        gateway: Arc<Gateway>,
        mut reader: WireReader,
        mut writer: WireWriter,
        address: IpAddr,
    ) {
        let agreed = agree(&self.request, &self.peer);
        let agreed = agreed.and_then(|agreed| {
            writer.set_max(self.request.max_length)?;
            Ok(agreed)
        });
        let agreed = match agreed {
            Ok(agreed) => agreed,
            Err(malformed) => {
                gateway.meters.ended("not established");
                return end(&mut reader, &mut writer, &malformed.into()).await;
            }
        };
        tracing::debug!(
            %address,
            calling = self.peer.title,
            implementation = self.request.implementation,
            version = self.request.implementation_version,
            contexts = agreed.contexts.len(),
            "a DIMSE association begins"
        );
        reader.set_idle(gateway.idle);
        let mut association = Association {
            gateway: gateway.clone(),
            reader,
            writer,
            peer: self.peer,
            address,
            contexts: agreed.contexts,
            reports: PendingReports::default(),
            stored: BTreeMap::new(),
            _share: self.share,
            _held: self.held,
        };
        gateway.meters.open.one();
        let answer = pdu::write_associate(pdu::ASSOCIATE_AC, &agreed.answer);
        let ended = match association.writer.unit(&answer).await {
            Ok(()) => Box::pin(association.messages()).await,
            Err(gone) => Err(gone),
        };
        association.finish(ended).await;
    }
}

impl Association {
    /// Works on messages until the association ends.
    async fn messages(&mut self) -> Result<(), PeerGone> {
        let overdue = Instant::now() + self.gateway.longest;
        let gateway = self.gateway.clone();
        loop {
            self.reader.set_in_message(false);
            self.reader.set_idle(gateway.idle);
            let event = tokio::select! {
                biased;
                () = gateway.stop.cancelled() => return Err(PeerGone::Stopping),
                () = sleep_until(overdue) => return Err(PeerGone::Overdue),
                Some(offer) = self.reports.offers.recv() => {
                    self.report(offer).await?;
                    continue;
                }
                event = self.reader.next() => event?,
            };
            match event {
                WireEvent::ReleaseRequest => {
                    return self.released().await;
                }
                WireEvent::Command { context, command } => {
                    let begun = Instant::now();
                    let answered = match Box::pin(self.answer(context, &command)).await {
                        Err(PeerGone::Released) => {
                            self.writer.forget();
                            return self.released().await;
                        }
                        answered => answered?,
                    };
                    if let Some(Answered { service, status }) = answered {
                        gateway.meters.answered(service, status, begun.elapsed());
                    }
                }
                WireEvent::Data { .. } => {
                    return Err(unexpected("a data set came without a command set"));
                }
                WireEvent::ReleaseResponse => {
                    return Err(unexpected("a release was answered that nobody asked for"));
                }
            }
        }
    }

    async fn released(&mut self) -> Result<(), PeerGone> {
        let answer = pdu::unit(pdu::RELEASE_RP, &[0; 4]);
        self.writer.unit(&answer).await
    }

    /// From now on the peer only listens, and may be silent for as long as it is answered.
    pub(super) fn begin_answer(&mut self) {
        self.reader.set_in_message(false);
        self.reader.set_idle(self.gateway.longest);
    }

    /// Reads the data set of a message, which may have `most` bytes, with memory for what is made of it.
    pub(super) async fn identifier(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
        most: usize,
    ) -> Result<Result<(Identifier, Reservation), DimseRefusal>, PeerGone> {
        if !command.has_data() {
            let refusal = DimseRefusal::new(status::MISMATCH, "the request needs a data set");
            return Ok(Err(refusal));
        }
        let budget = self.gateway.archive.budget();
        let mut held = budget.nothing(Purpose::Associations);
        let mut whole = Vec::new();
        let mut refusal = None;
        loop {
            let (bytes, last) = self.reader.data(accepted.id).await?;
            let length = bytes.len().saturating_add(whole.len());
            if refusal.is_some() {
                // The rest is read over.
            } else if length > most {
                let comment = format!("the data set has more than {most} bytes");
                refusal = Some(DimseRefusal::new(status::OUT_OF_RESOURCES, comment));
            } else if let Err(error) = held.try_grow_to(length.saturating_mul(COPIES)) {
                refusal = Some(ArchiveError::from(error).into());
            } else {
                whole.extend_from_slice(&bytes);
            }
            if last {
                break;
            }
        }
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
        let syntax = accepted.syntax.clone();
        let lanes = self.gateway.archive.lanes();
        let read = lanes.run(Lane::Text, move || Ok(Identifier::read(&whole, &syntax)));
        Ok(match read.await {
            Ok(Ok(keys)) => Ok((keys, held)),
            Ok(Err(unreadable)) => Err(DimseRefusal::new(status::UNABLE, unreadable.to_string())),
            Err(error) => Err(error.into()),
        })
    }

    /// Answers one message.
    async fn answer(
        &mut self,
        context: u8,
        command: &DimseCommand,
    ) -> Result<Option<Answered>, PeerGone> {
        let accepted = self.contexts.iter().find(|accepted| accepted.id == context);
        let accepted = accepted.cloned();
        let accepted = accepted
            .ok_or_else(|| unexpected("a message came in a context that was not accepted"))?;
        let answered = match (command.field(), accepted.service) {
            (field::ECHO, Service::Verification) => {
                self.read_over(context, command).await?;
                self.respond(context, &DimseCommand::response(command, status::SUCCESS))
                    .await?;
                Answered {
                    service: "C-ECHO",
                    status: status::SUCCESS,
                }
            }
            (field::STORE, Service::Storage) if accepted.takes => {
                self.store(&accepted, command).await?
            }
            (field::FIND, Service::Find(root)) => self.find(&accepted, root, command).await?,
            (field::FIND, Service::Worklist) => self.worklist(&accepted, command).await?,
            (field::ACTION, Service::Commitment) => self.commit(&accepted, command).await?,
            (report, Service::Commitment) if report == field::EVENT_REPORT | field::RESPONSE => {
                self.reported(command);
                return Ok(None);
            }
            (field::GET, Service::Get(root)) => self.get(&accepted, root, command).await?,
            (field::MOVE, Service::Move(root)) => self.move_to(&accepted, root, command).await?,
            // What it would cancel is over.
            (field::CANCEL, _) => return Ok(None),
            (answer, _) if answer & field::RESPONSE != 0 => {
                return Err(unexpected("an answer came that nobody asked for"));
            }
            _ => {
                self.read_over(context, command).await?;
                let answer = DimseCommand::response(command, status::UNRECOGNIZED)
                    .comment("there is no such service in this presentation context");
                self.respond(context, &answer).await?;
                Answered {
                    service: "other",
                    status: status::UNRECOGNIZED,
                }
            }
        };
        Ok(Some(answered))
    }

    /// Reads the data set of a message, if it has one, without looking.
    pub(super) async fn read_over(
        &mut self,
        context: u8,
        command: &DimseCommand,
    ) -> Result<(), PeerGone> {
        if command.has_data() {
            while !self.reader.data(context).await?.1 {}
        }
        Ok(())
    }

    /// Sends an answer without a data set.
    pub(super) async fn respond(
        &mut self,
        context: u8,
        answer: &DimseCommand,
    ) -> Result<(), PeerGone> {
        self.writer.command(context, answer).await?;
        self.writer.flush().await
    }

    /// Why nothing may be done now, if it may not.
    pub(super) fn blocked(&self) -> Option<DimseRefusal> {
        self.gateway.trail.is_blocked().then(|| {
            DimseRefusal::new(
                status::OUT_OF_RESOURCES,
                "audit events cannot be written, so nothing is done",
            )
        })
    }

    /// Tells the audit trail of something the peer did.
    pub(super) async fn note(
        &self,
        deed: Deed,
        service: &'static str,
        outcome: DimseOutcome,
        studies: BTreeMap<String, u64>,
    ) {
        let access = DimseAccess {
            deed,
            peer: self.peer.title.clone(),
            address: self.address,
            service,
            outcome,
            studies,
            destination: None,
        };
        self.gateway.trail.write(access).await;
    }

    async fn finish(mut self, ended: Result<(), PeerGone>) {
        // What was not reported here is reported elsewhere.
        self.reports = PendingReports::default();
        let meters = &self.gateway.meters;
        meters.open.one_less();
        meters.received.add(self.reader.received);
        meters.sent.add(self.writer.sent);
        meters.ended(match &ended {
            Ok(()) | Err(PeerGone::Released) => "released",
            Err(PeerGone::Aborted) => "aborted",
            Err(PeerGone::Closed | PeerGone::Io(_)) => "lost",
            Err(PeerGone::Silent | PeerGone::Slow | PeerGone::Overdue) => "timed out",
            Err(PeerGone::Stopping) => "stopped",
            Err(PeerGone::Failed) => "failed",
            Err(PeerGone::Protocol { .. }) => "protocol error",
        });
        let stored = std::mem::take(&mut self.stored);
        if !stored.is_empty() {
            let outcome = if ended.is_ok() {
                DimseOutcome::Done
            } else {
                DimseOutcome::Partly
            };
            self.note(Deed::Stored, "C-STORE", outcome, stored).await;
        }
        match ended {
            Ok(()) => self.reader.until_closed(LINGER).await,
            Err(gone) => {
                tracing::info!(
                    address = %self.address,
                    calling = self.peer.title,
                    reason = %gone,
                    "a DIMSE association broke off"
                );
                end(&mut self.reader, &mut self.writer, &gone).await;
            }
        }
        self.writer.shutdown().await;
    }
}

/// Aborts, where there is still somebody to hear it.
pub(super) async fn end(reader: &mut WireReader, writer: &mut WireWriter, gone: &PeerGone) {
    let reason = match gone {
        PeerGone::Closed | PeerGone::Aborted | PeerGone::Released | PeerGone::Io(_) => return,
        PeerGone::Protocol { reason, .. } => *reason,
        PeerGone::Silent
        | PeerGone::Slow
        | PeerGone::Overdue
        | PeerGone::Stopping
        | PeerGone::Failed => pdu::reason::NONE,
    };
    writer.forget();
    let sent = timeout(LINGER, writer.unit(&pdu::abort(reason))).await;
    if matches!(sent, Ok(Ok(()))) {
        writer.shutdown().await;
        reader.until_closed(LINGER).await;
    }
}

/// The SOP class a request is about.
pub(super) fn class_of(command: &DimseCommand) -> String {
    command.get_text(element::AFFECTED_CLASS)
}
