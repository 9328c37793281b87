//! Reports of storage commitment: what they say, and how they are sent (PS3.4 §J.3.3).

use std::sync::Arc;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use serde_json::Value;

use super::request::CommitmentRequest;
use crate::archive::Archive;
use crate::dicom::commitment::{InstanceReference, item, sequence};
use crate::dimse::command::{DimseCommand, element, field};
use crate::dimse::dataset::{Elements, text_element, write};
use crate::dimse::negotiate::COMMITMENT;
use crate::dimse::outgoing::Outgoing;
use crate::dimse::wire::{PeerGone, WireEvent, WireWriter, unexpected};
use crate::scope::Scope;

/// The one instance of the SOP class.
const INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// What is told.
#[derive(Debug, Default)]
pub(in crate::dimse) struct CommitmentReport {
    pub(super) transaction: String,
    pub(super) committed: Vec<InstanceReference>,
    pub(super) failed: Vec<(InstanceReference, u16)>,
}

impl CommitmentReport {
    /// Looks at everything that is asked for.
    pub(super) async fn of(
        archive: &Archive,
        scope: &Scope,
        request: CommitmentRequest,
    ) -> Arc<Self> {
        let mut report = Self {
            transaction: request.transaction,
            ..Self::default()
        };
        for reference in request.references {
            let looked = archive.commit_instance(scope, &reference.class, &reference.instance);
            match looked.await {
                Ok(()) => report.committed.push(reference),
                Err(failure) => report.failed.push((reference, failure.code())),
            }
        }
        Arc::new(report)
    }
}

/// Sends an N-EVENT-REPORT.
pub(super) async fn send(
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

pub(super) fn elements(report: &CommitmentReport, title: &str) -> Elements {
    let sequence = |items: Vec<Value>| sequence(items).to_string();
    let mut elements = Elements::new();
    let transaction = text_element(VR::UI, &report.transaction);
    elements.insert(tags::TRANSACTION_UID, transaction);
    elements.insert(tags::RETRIEVE_AE_TITLE, text_element(VR::AE, title));
    if !report.committed.is_empty() {
        let items = report.committed.iter();
        let items = items.map(|reference| item(reference, None)).collect();
        elements.insert(tags::REFERENCED_SOP_SEQUENCE, sequence(items));
    }
    if !report.failed.is_empty() {
        let failed = report.failed.iter();
        let failed = failed.map(|(reference, reason)| item(reference, Some(*reason)));
        elements.insert(tags::FAILED_SOP_SEQUENCE, sequence(failed.collect()));
    }
    elements
}

/// Reports on an association to the requestor, and ends it.
pub(super) async fn tell_on(
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
