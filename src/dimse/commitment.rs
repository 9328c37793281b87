//! Storage commitment, push model: N-ACTION asks whether instances are safe, N-EVENT-REPORT tells (PS3.4 §J).
//!
//! Invariants: committed is what has a row and whose bytes have the digest they were stored with, read now; each request that
//! was taken lies in the index until it is reported, on its association while that lasts, else on one to the requestor, also
//! after the server was killed.

pub(super) mod pending_reports;
mod report;
mod request;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;

use super::association::{Answered, Association, DimseRefusal};
use super::audit::{Deed, DimseOutcome};
use super::command::{DimseCommand, element, status};
use super::dataset::Identifier;
use super::negotiate::Accepted;
use super::wire::PeerGone;
use crate::archive::services::commitment::{CommitmentFailure, CommitmentRow, NewCommitment};
use crate::dicom::commitment::InstanceReference;
use crate::memory::Reservation;
use pending_reports::Offer;
use report::send;
use request::CommitmentRequest;
use worker::{HOLD, Job};

pub(super) use worker::run;

/// Longest list of references, in bytes.
const MAX_REFERENCES: usize = 8 << 20;
/// There is no room for another request now.
const RESOURCES: u16 = CommitmentFailure::Resources.code();

impl Association {
    /// Takes a request and looks after it beside the association.
    pub(super) async fn commit(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let keys = self.identifier(accepted, command, MAX_REFERENCES).await?;
        let begun = match keys {
            Ok((keys, held)) => self.begin_commitment(command, &keys, held).await,
            Err(refusal) => Err(refusal),
        };
        let (answer, job) = match begun {
            Ok(job) => (DimseCommand::response(command, status::SUCCESS), Some(job)),
            Err(refusal) => {
                let answer = DimseCommand::response(command, refusal.status);
                (answer.comment(&refusal.comment), None)
            }
        };
        // Who asks what is safe here asks what is here.
        let outcome = DimseOutcome::of(answer.status());
        self.note(Deed::Searched, "N-ACTION", outcome, BTreeMap::new())
            .await;
        self.respond(accepted.id, &answer).await?;
        if let Some(job) = job {
            let offers = (self.reports.sender.clone(), accepted.id);
            tokio::spawn(job.run(Some(offers)));
        }
        Ok(Answered {
            service: "N-ACTION",
            status: answer.status(),
        })
    }

    async fn begin_commitment(
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
        let request = CommitmentRequest::of(keys)?;
        let place = self.gateway.reports.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            let comment = "too many requests for commitment are under way; ask again later";
            DimseRefusal::new(RESOURCES, comment)
        })?;
        let text = serde_json::to_string(&request);
        let text =
            text.map_err(|error| DimseRefusal::new(status::PROCESSING, error.to_string()))?;
        let row = CommitmentRow {
            id: format!("{:032x}", rand::random::<u128>()),
            peer: self.peer.title.clone(),
            attempts: 0,
            due: 0,
            weight: text.len(),
        };
        let new = NewCommitment {
            id: row.id.clone(),
            peer: row.peer.clone(),
            request: text,
        };
        let kept = self
            .gateway
            .archive
            .keep_commitment(self.peer.partition(), &new, HOLD);
        if !kept.await? {
            let comment =
                "too many requests of this AE title are not reported yet; ask again later";
            return Err(DimseRefusal::new(RESOURCES, comment));
        }
        Ok(Job {
            gateway: self.gateway.clone(),
            peer: self.peer.clone(),
            row,
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

impl CommitmentRequest {
    fn of(keys: &Identifier) -> Result<Self, DimseRefusal> {
        let mut items: BTreeMap<usize, InstanceReference> = BTreeMap::new();
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
