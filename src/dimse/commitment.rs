//! Storage commitment, push model: N-ACTION asks whether instances are safe, N-EVENT-REPORT tells (PS3.4 §J).
//!
//! Invariants: committed is what has a row and whose bytes have the digest they were stored with, read now; each request that
//! was taken is reported once, on its association while that lasts, else on one to the requestor, again and again for hours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Gateway;
use super::association::{Answered, Association, DimseRefusal};
use super::command::{DimseCommand, element, field, status};
use super::dataset::{Elements, Identifier, text_element, write};
use super::negotiate::{Accepted, COMMITMENT};
use super::outgoing::{Outgoing, Proposal};
use super::pdu::ScpRole;
use super::peers::Peer;
use super::wire::{PeerGone, WireEvent, WireWriter, unexpected};
use crate::archive::{Archive, ArchiveError};
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax::{EXPLICIT_LE, IMPLICIT_LE};
use crate::dicom::uid::{InstanceUid, Target};
use crate::memory::Reservation;
use crate::scope::Scope;

#[cfg(test)]
mod tests;

/// The one instance of the SOP class.
const INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Longest list of references, in bytes.
const MAX_REFERENCES: usize = 8 << 20;
/// Reports under way at the same time.
pub(super) const REPORTS: usize = 64;
/// How long a requestor may take to answer a report.
const ANSWER: Duration = Duration::from_secs(60);
/// Waits before a report is tried again on an association of its own; the last one is repeated.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];
/// Tries in all: about a day.
const TRIES: usize = 28;
/// Request to report something in another transaction than there is room for.
const RESOURCES: u16 = 0x0213;

/// Failure reasons (PS3.3 §C.14.1.1).
mod reason {
    /// It could not be read.
    pub(super) const PROCESSING: u16 = 0x0110;
    /// It is not there.
    pub(super) const NO_SUCH_INSTANCE: u16 = 0x0112;
    /// It has another class.
    pub(super) const CONFLICT: u16 = 0x0119;
    /// There are no resources to look.
    pub(super) const RESOURCES: u16 = 0x0213;
}

/// One instance somebody asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reference {
    class: String,
    instance: String,
}

/// What somebody asks for.
#[derive(Debug)]
struct Request {
    transaction: String,
    references: Vec<Reference>,
}

/// What is told.
#[derive(Debug, Default)]
pub(super) struct CommitmentReport {
    transaction: String,
    committed: Vec<Reference>,
    failed: Vec<(Reference, u16)>,
}

/// A report for an association that is still there; the answer says whether the peer has taken it.
pub(super) struct Offer {
    report: Arc<CommitmentReport>,
    context: u8,
    taken: oneshot::Sender<()>,
}

/// Reports of one association.
pub(super) struct PendingReports {
    sender: mpsc::Sender<Offer>,
    pub(super) offers: mpsc::Receiver<Offer>,
    awaiting: BTreeMap<u16, oneshot::Sender<()>>,
    message: u16,
}

impl Default for PendingReports {
    fn default() -> Self {
        let (sender, offers) = mpsc::channel(1);
        Self {
            sender,
            offers,
            awaiting: BTreeMap::new(),
            message: 0,
        }
    }
}

impl Association {
    /// Takes a request and looks after it beside the association.
    pub(super) async fn commit(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let keys = self.identifier(accepted, command, MAX_REFERENCES).await?;
        let begun = keys.and_then(|(keys, held)| self.begin_commitment(command, &keys, held));
        let (answer, job) = match begun {
            Ok(job) => (DimseCommand::response(command, status::SUCCESS), Some(job)),
            Err(refusal) => {
                let answer = DimseCommand::response(command, refusal.status);
                (answer.comment(&refusal.comment), None)
            }
        };
        self.respond(accepted.id, &answer).await?;
        if let Some(job) = job {
            let offers = (self.reports.sender.clone(), accepted.id);
            tokio::spawn(job.run(offers));
        }
        Ok(Answered {
            service: "N-ACTION",
            status: answer.status(),
        })
    }

    fn begin_commitment(
        &self,
        command: &DimseCommand,
        keys: &Identifier,
        held: Reservation,
    ) -> Result<Job, DimseRefusal> {
        if let Some(blocked) = self.blocked() {
            return Err(blocked);
        }
        if command.get(element::ACTION) != Some(1) {
            let comment = "the action type must be 1, to request commitment";
            return Err(DimseRefusal::new(status::NO_SUCH_ACTION, comment));
        }
        let request = Request::of(keys)?;
        let scope = [Action::Read, Action::Write];
        let mut scope = scope.iter().filter_map(|action| self.peer.scope(*action));
        let scope = scope.next().ok_or_else(|| {
            DimseRefusal::new(status::NOT_AUTHORIZED, "this AE title may not ask")
        })?;
        let place = self.gateway.reports.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            let comment = "too many requests for commitment are under way; ask again later";
            DimseRefusal::new(RESOURCES, comment)
        })?;
        Ok(Job {
            gateway: self.gateway.clone(),
            peer: self.peer.clone(),
            scope,
            request,
            _place: place,
            _held: held,
        })
    }

    /// Sends a report on this association.
    pub(super) async fn report(&mut self, offer: Offer) -> Result<(), PeerGone> {
        let accepted = self.contexts.iter().find(|c| c.id == offer.context);
        let Some(syntax) = accepted.map(|accepted| accepted.syntax.clone()) else {
            return Ok(());
        };
        self.reports.message = self.reports.message.wrapping_add(1).max(1);
        let message = self.reports.message;
        self.reports.awaiting.insert(message, offer.taken);
        let title = &self.gateway.title;
        let line = &mut self.writer;
        send(
            line,
            (offer.context, &syntax),
            message,
            &offer.report,
            title,
        )
        .await
    }

    /// Hears that a report was taken.
    pub(super) fn reported(&mut self, command: &DimseCommand) {
        let message = command.get(element::RESPONDED).unwrap_or(0);
        if let Some(taken) = self.reports.awaiting.remove(&message) {
            // Whatever it thinks of it: it knows.
            let _ = taken.send(());
        }
    }
}

impl Request {
    fn of(keys: &Identifier) -> Result<Self, DimseRefusal> {
        let mut items: BTreeMap<usize, Reference> = BTreeMap::new();
        for key in &keys.keys {
            match key.path.as_slice() {
                [
                    tags::REFERENCED_SOP_SEQUENCE,
                    tags::REFERENCED_SOP_CLASS_UID,
                ] => {
                    let reference = items.entry(key.item).or_default();
                    reference.class.clone_from(&key.value);
                }
                [
                    tags::REFERENCED_SOP_SEQUENCE,
                    tags::REFERENCED_SOP_INSTANCE_UID,
                ] => {
                    let reference = items.entry(key.item).or_default();
                    reference.instance.clone_from(&key.value);
                }
                _ => {}
            }
        }
        let transaction = keys.get(tags::TRANSACTION_UID).to_owned();
        let refuse = |comment: &str| DimseRefusal::new(status::INVALID_ARGUMENT, comment);
        if transaction.is_empty() {
            return Err(refuse("(0008,1195) Transaction UID is missing"));
        }
        if items.is_empty() {
            return Err(refuse("(0008,1199) Referenced SOP Sequence names nothing"));
        }
        Ok(Self {
            transaction,
            references: items.into_values().collect(),
        })
    }
}

/// A request that is looked after.
struct Job {
    gateway: Arc<Gateway>,
    peer: Arc<Peer>,
    scope: Scope,
    request: Request,
    _place: OwnedSemaphorePermit,
    _held: Reservation,
}

impl Job {
    async fn run(self, (offers, context): (mpsc::Sender<Offer>, u8)) {
        let stop = self.gateway.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {
                tracing::warn!(peer = self.peer.title, "a request for storage commitment was not reported: the server stops");
            }
            () = Box::pin(self.look_and_tell(offers, context)) => {}
        }
    }

    async fn look_and_tell(&self, offers: mpsc::Sender<Offer>, context: u8) {
        let mut report = CommitmentReport {
            transaction: self.request.transaction.clone(),
            ..CommitmentReport::default()
        };
        for reference in &self.request.references {
            let looked = look(&self.gateway.archive, &self.scope, reference).await;
            match looked {
                Ok(()) => report.committed.push(reference.clone()),
                Err(reason) => report.failed.push((reference.clone(), reason)),
            }
        }
        let report = Arc::new(report);
        let (taken, known) = oneshot::channel();
        let offer = Offer {
            report: report.clone(),
            context,
            taken,
        };
        let offered = offers.send(offer).await.is_ok();
        drop(offers);
        if offered && matches!(tokio::time::timeout(ANSWER, known).await, Ok(Ok(()))) {
            return;
        }
        self.tell(&report).await;
    }

    /// Reports on an association to the requestor.
    async fn tell(&self, report: &CommitmentReport) {
        let peers = &self.gateway.peers;
        let place = peers.named(&self.peer.title).and_then(|p| p.place.clone());
        let Some(place) = place else {
            tracing::warn!(
                peer = self.peer.title,
                "storage commitment cannot be reported: the peer has no host and port in the file of peers"
            );
            return;
        };
        let both = [IMPLICIT_LE, EXPLICIT_LE];
        let proposal = Proposal {
            called: self.peer.title.clone(),
            calling: self.gateway.title.clone(),
            contexts: both
                .map(|syntax| (COMMITMENT.to_owned(), syntax.to_owned()))
                .to_vec(),
            // Whoever calls is the SCP here.
            roles: vec![ScpRole {
                class: COMMITMENT.to_owned(),
                scu: false,
                scp: true,
            }],
        };
        for wait in AGAIN.iter().chain(std::iter::repeat(&AGAIN[4])).take(TRIES) {
            let budget = self.gateway.archive.budget();
            let reported = match Outgoing::call(&place, &proposal, ANSWER, budget).await {
                Ok(outgoing) => tell_on(outgoing, report, &self.gateway.title).await,
                Err(error) => Err(error.to_string()),
            };
            match reported {
                Ok(()) => return,
                Err(reason) => {
                    tracing::warn!(
                        peer = self.peer.title,
                        reason,
                        "storage commitment could not be reported yet"
                    );
                }
            }
            tokio::time::sleep(*wait).await;
        }
        tracing::error!(
            peer = self.peer.title,
            "storage commitment could not be reported for a day; the peer has to ask again"
        );
    }
}

async fn tell_on(
    mut outgoing: Outgoing,
    report: &CommitmentReport,
    title: &str,
) -> Result<(), String> {
    let Some(context) = outgoing.contexts.first().cloned() else {
        outgoing.release().await;
        return Err("the peer takes no reports".to_owned());
    };
    let message = outgoing.next_message();
    let place = (context.id, context.syntax.as_str());
    let reported = async {
        send(&mut outgoing.writer, place, message, report, title).await?;
        match outgoing.reader.next().await? {
            WireEvent::Command { command, .. }
                if command.field() == field::EVENT_REPORT | field::RESPONSE =>
            {
                Ok(())
            }
            _ => Err(unexpected(
                "something else came than the answer to a report",
            )),
        }
    };
    let reported: Result<(), PeerGone> = reported.await;
    match reported {
        Ok(()) => {
            outgoing.release().await;
            Ok(())
        }
        Err(gone) => {
            outgoing.abort().await;
            Err(gone.to_string())
        }
    }
}

/// Sends an N-EVENT-REPORT.
async fn send(
    writer: &mut WireWriter,
    (context, syntax): (u8, &str),
    message: u16,
    report: &CommitmentReport,
    title: &str,
) -> Result<(), PeerGone> {
    let event = if report.failed.is_empty() { 1 } else { 2 };
    let command = DimseCommand::request(field::EVENT_REPORT, message)
        .uid(element::AFFECTED_CLASS, COMMITMENT)
        .uid(element::AFFECTED_INSTANCE, INSTANCE)
        .number(element::EVENT, event)
        .with_data();
    writer.command(context, &command).await?;
    let data = write(elements(report, title), syntax, "");
    writer.data(context, &data).await?;
    writer.end_data(context);
    writer.flush().await
}

fn elements(report: &CommitmentReport, title: &str) -> Elements {
    let item = |reference: &Reference| {
        json!({
            "00081150": { "vr": "UI", "Value": [reference.class] },
            "00081155": { "vr": "UI", "Value": [reference.instance] },
        })
    };
    let sequence = |items: Vec<Value>| json!({ "vr": "SQ", "Value": items }).to_string();
    let mut elements = Elements::new();
    let transaction = text_element(VR::UI, &report.transaction);
    elements.insert(tags::TRANSACTION_UID, transaction);
    elements.insert(tags::RETRIEVE_AE_TITLE, text_element(VR::AE, title));
    if !report.committed.is_empty() {
        let items = report.committed.iter().map(item).collect();
        elements.insert(tags::REFERENCED_SOP_SEQUENCE, sequence(items));
    }
    if !report.failed.is_empty() {
        let failed = report.failed.iter().map(|(reference, reason)| {
            let mut item = item(reference);
            if let Some(item) = item.as_object_mut() {
                let reason = json!({ "vr": "US", "Value": [reason] });
                item.insert("00081197".to_owned(), reason);
            }
            item
        });
        elements.insert(tags::FAILED_SOP_SEQUENCE, sequence(failed.collect()));
    }
    elements
}

/// Whether an instance is there and whole; the failure reason when it is not.
async fn look(archive: &Archive, scope: &Scope, reference: &Reference) -> Result<(), u16> {
    let failed = |error: ArchiveError| match error {
        ArchiveError::NotFound { .. } => reason::NO_SUCH_INSTANCE,
        ArchiveError::Busy { .. } | ArchiveError::Memory(_) => reason::RESOURCES,
        _ => reason::PROCESSING,
    };
    let instance = InstanceUid::parse(&reference.instance);
    let instance = instance.map_err(|_| reason::NO_SUCH_INSTANCE)?;
    let name = archive.locate(scope, None, None, &instance).await;
    let target = Target::Instance(name.map_err(failed)?);
    let mut rows = archive.instances(scope, &target).await.map_err(failed)?;
    let row = rows.try_next().await.map_err(failed)?;
    let row = row.ok_or(reason::NO_SUCH_INSTANCE)?;
    if row.sop_class != reference.class {
        return Err(reason::CONFLICT);
    }
    let mut chunks = archive.stored(&row).await.map_err(failed)?.chunks;
    let mut hasher = blake3::Hasher::new();
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        hasher.update(&chunk);
    }
    if *hasher.finalize().as_bytes() == row.digest {
        Ok(())
    } else {
        Err(reason::PROCESSING)
    }
}
