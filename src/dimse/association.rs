//! One association this server accepted: from its request to its release (PS3.8 §9.2).
//!
//! Invariants: one message is worked on at a time, in the order of their arrival; whatever ends an association, what was
//! not acknowledged leaves nothing behind; a request that is not understood is answered, and its data set read over.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Gateway;
use super::audit::{Deed, DimseAccess, DimseOutcome};
use super::command::{DimseCommand, element, field, status};
use super::commitment::PendingReports;
use super::dataset::Identifier;
use super::negotiate::{Accepted, Service, agree};
use super::pdu::{self, Associate, Rejection};
use super::peers::Peer;
use super::wire::{
    BUFFERS, PeerGone, Stream, WireEvent, WireReader, WireWriter, split, unexpected,
};
use crate::archive::ArchiveError;
use crate::archive::lanes::Lane;
use crate::archive::queue::on_behalf_of;
use crate::memory::{Purpose, Reservation};
use crate::shares::{Share, ShareHolder};

/// How long a peer may take to send its request, and to close the connection when nothing more is said (ARTIM, PS3.8 §9.1.4).
pub(super) const ARTIM: Duration = Duration::from_secs(30);
/// How long is waited for the peer to take the last unit.
const LINGER: Duration = Duration::from_secs(2);
/// What is made of a unit of association establishment, or of an identifier, in multiples of its bytes.
const COPIES: usize = 8;
/// Longest identifier of a query, in bytes.
pub(super) const MAX_QUERY: usize = 1 << 20;

/// Nobody outside can choose a title that shares the number of another one.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

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

/// Serves a connection from its first to its last byte.
pub(super) async fn accept(
    gateway: Arc<Gateway>,
    stream: Box<dyn Stream>,
    address: IpAddr,
    shown: Option<Vec<u8>>,
) {
    let (mut reader, mut writer) = split(stream, ARTIM);
    let handshaken = tokio::select! {
        handshaken = timeout(ARTIM, handshake(&gateway, &mut reader, (address, shown.as_deref()))) => {
            handshaken.unwrap_or(Err(NotGreeted::Gone(PeerGone::Silent)))
        }
        () = gateway.stop.cancelled() => Err(NotGreeted::Gone(PeerGone::Stopping)),
    };
    let handshaken = match handshaken {
        Ok(handshaken) => handshaken,
        Err(NotGreeted::Rejected(rejection, title)) => {
            gateway.meters.ended("rejected");
            tracing::info!(%address, calling = title, reason = rejection.meaning(), "a DIMSE association was rejected");
            if matches!(rejection, Rejection::CALLED | Rejection::CALLING) {
                let access = DimseAccess {
                    deed: Deed::Refused,
                    peer: title,
                    address,
                    service: "A-ASSOCIATE",
                    outcome: DimseOutcome::NotAllowed,
                    studies: BTreeMap::new(),
                    destination: None,
                };
                gateway.trail.write(access).await;
            }
            if writer.unit(&rejection.write()).await.is_ok() {
                reader.until_closed(LINGER).await;
            }
            return;
        }
        Err(NotGreeted::Gone(gone)) => {
            end(&mut reader, &mut writer, &gone).await;
            gateway.meters.ended("not established");
            return;
        }
    };
    let number = NUMBERS.hash_one((&handshaken.peer.title, address));
    let ended = on_behalf_of(number, handshaken.serve(gateway, reader, writer, address));
    Box::pin(ended).await;
}

/// Why there is no association.
enum NotGreeted {
    /// It is refused; with the calling AE title.
    Rejected(Rejection, String),
    Gone(PeerGone),
}

impl From<PeerGone> for NotGreeted {
    fn from(gone: PeerGone) -> Self {
        Self::Gone(gone)
    }
}

/// What was asked for and may be had.
struct Greeted {
    peer: Arc<Peer>,
    request: Associate,
    share: Share,
    held: Reservation,
}

async fn handshake(
    gateway: &Gateway,
    reader: &mut WireReader,
    (address, shown): (IpAddr, Option<&[u8]>),
) -> Result<Greeted, NotGreeted> {
    let (kind, length) = reader.associate_header().await?;
    if kind != pdu::ASSOCIATE_RQ {
        return Err(unexpected("the first unit is no request for an association").into());
    }
    let budget = gateway.archive.budget();
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    let held = budget.try_reserve(Purpose::Associations, bytes.saturating_mul(COPIES));
    let reject = |rejection, title: &str| NotGreeted::Rejected(rejection, title.to_owned());
    let Ok(_held) = held else {
        return Err(reject(Rejection::CONGESTION, ""));
    };
    let body = reader.associate_body(length).await?;
    let request = pdu::read_associate(&body).map_err(PeerGone::from)?;
    let title = request.calling.as_str();
    if request.version & 1 == 0 {
        return Err(reject(Rejection::VERSION, title));
    }
    if request.application != pdu::APPLICATION_CONTEXT {
        return Err(reject(Rejection::APPLICATION, title));
    }
    if request.called != gateway.title {
        return Err(reject(Rejection::CALLED, title));
    }
    let Some(peer) = gateway.peers.admit(title, address, shown) else {
        return Err(reject(Rejection::CALLING, title));
    };
    let subject = ShareHolder::of_address(address);
    let Ok(share) = gateway.associations.try_take(&subject, None, 1) else {
        return Err(reject(Rejection::LIMIT, title));
    };
    let Ok(held) = budget.reserve(Purpose::Associations, BUFFERS).await else {
        return Err(reject(Rejection::CONGESTION, title));
    };
    Ok(Greeted {
        peer,
        request,
        share,
        held,
    })
}

impl Greeted {
    async fn serve(
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
async fn end(reader: &mut WireReader, writer: &mut WireWriter, gone: &PeerGone) {
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
