//! C-GET from the command line: studies of a peer that does not know this server, into the archive.
//!
//! Invariants: an instance is acknowledged when it is durable; it comes in the transfer syntax the peer has it in, where that is
//! one of the common ones.

use std::collections::BTreeSet;

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::association::DimseRefusal;
use super::client::{ClientError, MoveResult, PeerClient, plain_contexts};
use super::command::{DimseCommand, element, field, status};
use super::dataset::{Elements, text_element, write};
use super::outgoing::{Offered, Outgoing};
use super::pdu::{MAX_CONTEXTS, ScpRole};
use super::store::{begin_instance, end_instance, take_data};
use super::wire::{PeerGone, WireEvent, unexpected};
use crate::archive::Archive;
use crate::dicom::uid::check_uid;
use crate::scope::Scope;

/// Study Root: C-GET.
const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
/// Transfer syntaxes that are proposed for each class, the first ones before the others as far as there are contexts.
const SYNTAXES: [&str; 14] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.1.99",
];
/// Classes that are proposed when the peer does not say which a study has.
const CLASSES: [&str; 20] = [
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
    "1.2.840.10008.5.1.4.1.1.13.1.3",
    "1.2.840.10008.5.1.4.1.1.20",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.67",
    "1.2.840.10008.5.1.4.1.1.104.1",
    "1.2.840.10008.5.1.4.1.1.128",
];

/// Contexts for classes: every class in the first syntaxes before any in the later ones.
fn storage_contexts(classes: &BTreeSet<String>) -> Vec<(String, String)> {
    let pairs = SYNTAXES.iter().flat_map(|syntax| {
        let pair = move |class: &String| (class.clone(), (*syntax).to_owned());
        classes.iter().map(pair)
    });
    pairs.collect()
}

impl PeerClient {
    /// The SOP classes of a study, as far as the peer tells.
    async fn classes(&self, study: &str) -> Result<BTreeSet<String>, ClientError> {
        let key = |name: &str, value: &str| format!("{name}={value}");
        let of_study = key("StudyInstanceUID", study);
        let asked = [of_study.clone(), key("SeriesInstanceUID", "")];
        let series = self.find("SERIES", &asked, tags::SERIES_INSTANCE_UID);
        let mut classes = BTreeSet::new();
        for series in series.await? {
            let asked = [
                of_study.clone(),
                key("SeriesInstanceUID", &series),
                key("SOPInstanceUID", ""),
                key("SOPClassUID", ""),
            ];
            let told = self.find("IMAGE", &asked, tags::SOP_CLASS_UID).await?;
            classes.extend(told.into_iter().filter(|uid| check_uid(uid).is_ok()));
        }
        Ok(classes)
    }

    /// Retrieves a study on an association of its own, and stores it.
    ///
    /// # Errors
    /// [`ClientError`] when the peer does not answer.
    pub async fn get_study(
        &self,
        archive: &Archive,
        study: &str,
    ) -> Result<MoveResult, ClientError> {
        let scope = self.scope(archive).await?;
        let mut classes = self.classes(study).await?;
        if classes.is_empty() {
            classes = CLASSES.map(str::to_owned).into();
        }
        let mut contexts = plain_contexts(GET);
        contexts.extend(storage_contexts(&classes));
        contexts.truncate(MAX_CONTEXTS);
        let roles = classes.into_iter().map(|class| ScpRole {
            class,
            scu: false,
            scp: true,
        });
        let mut outgoing = self.call_in_roles(contexts, roles.collect()).await?;
        let context = self.context(&outgoing, GET)?;
        let mut elements = Elements::new();
        elements.insert(tags::QUERY_RETRIEVE_LEVEL, text_element(VR::CS, "STUDY"));
        elements.insert(tags::STUDY_INSTANCE_UID, text_element(VR::UI, study));
        let data = write(elements, &context.syntax, "");
        let retrieved = retrieve(
            &mut outgoing,
            (archive, &scope),
            &context,
            &data,
            self.title(),
        )
        .await;
        match retrieved {
            Ok(result) => {
                outgoing.release().await;
                Ok(result)
            }
            Err(gone) => {
                outgoing.abort().await;
                Err(self.failed(gone))
            }
        }
    }
}

async fn retrieve(
    outgoing: &mut Outgoing,
    (archive, scope): (&Archive, &Scope),
    context: &Offered,
    keys: &[u8],
    sender: &str,
) -> Result<MoveResult, PeerGone> {
    let message = outgoing.next_message();
    let request = DimseCommand::request(field::GET, message)
        .uid(element::AFFECTED_CLASS, GET)
        .number(element::PRIORITY, 0)
        .with_data();
    outgoing.writer.command(context.id, &request).await?;
    outgoing.writer.data(context.id, keys).await?;
    outgoing.writer.end_data(context.id);
    outgoing.writer.flush().await?;
    loop {
        let WireEvent::Command { context, command } = outgoing.reader.next().await? else {
            return Err(unexpected(
                "something else came than an instance or an answer",
            ));
        };
        if command.field() == field::STORE {
            let stored = Box::pin(receive(
                outgoing,
                (archive, scope),
                context,
                &command,
                sender,
            ))
            .await?;
            let answer = match stored {
                Ok(status) => DimseCommand::response(&command, status),
                Err(refusal) => {
                    DimseCommand::response(&command, refusal.status).comment(&refusal.comment)
                }
            };
            outgoing.writer.command(context, &answer).await?;
            outgoing.writer.flush().await?;
            continue;
        }
        if command.get(element::RESPONDED) != Some(message) {
            return Err(unexpected("an answer came to another request"));
        }
        if command.has_data() {
            // UIDs that failed; how many is in the answer.
            while !outgoing.reader.data(context).await?.1 {}
        }
        if command.status() != status::PENDING {
            let count = |element| command.get(element).unwrap_or(0);
            return Ok(MoveResult {
                status: command.status(),
                completed: count(element::COMPLETED),
                failed: count(element::FAILED),
                warned: count(element::WARNED),
            });
        }
    }
}

/// Receives an instance and stores it; the status.
async fn receive(
    outgoing: &mut Outgoing,
    (archive, scope): (&Archive, &Scope),
    context: u8,
    command: &DimseCommand,
    sender: &str,
) -> Result<Result<u16, DimseRefusal>, PeerGone> {
    let offered = outgoing.contexts.iter().find(|c| c.id == context);
    let offered = offered.cloned();
    let offered = offered.ok_or_else(|| unexpected("an instance came in no context"))?;
    let instance = command.get_text(element::AFFECTED_INSTANCE);
    let of = (offered.class.as_str(), offered.syntax.as_str());
    let mut begun = if check_uid(&instance).is_ok() {
        begin_instance(archive, scope.clone(), of, &instance, sender).await
    } else {
        let comment = "the Affected SOP Instance UID is no UID";
        Err(DimseRefusal::new(status::INVALID_ARGUMENT, comment))
    };
    if !command.has_data() {
        let comment = "a C-STORE has a data set";
        return Ok(Err(DimseRefusal::new(status::INVALID_ARGUMENT, comment)));
    }
    take_data(&mut outgoing.reader, context, &mut begun).await?;
    Ok(match begun {
        Ok((request, part)) => end_instance(request, part).await.map(|(_, status)| status),
        Err(refusal) => Err(refusal),
    })
}
