//! C-STORE: a data set from the socket to the archive, on the way of STOW-RS (PS3.4 §B, PS3.7 §9.1.1).
//!
//! Invariants: the answer comes after the commit; the data set is stored as it came, behind meta information that says what was
//! agreed on; an association that breaks off within a data set leaves nothing.

use super::association::{Answered, Association, DimseRefusal, class_of};
use super::command::{DimseCommand, element, status};
use super::negotiate::Accepted;
use super::wire::{PeerGone, WireReader};
use crate::archive::ingest::{
    IncomingPart, Outcome, StoreOptions, StoreRequest, SubmittedInstance, reason,
};
use crate::archive::rules::Rules;
use crate::archive::{Archive, Replacement};
use crate::auth::Action;
use crate::config::ExistingPolicy;
use crate::dicom::rewrite::named_group;
use crate::dicom::uid::check_uid;
use crate::scope::Scope;
use crate::shares::ShareHolder;

impl Association {
    /// Stores one instance.
    pub(super) async fn store(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let stored = Box::pin(self.receive(accepted, command)).await?;
        let answer = match &stored {
            Ok((study, status)) => {
                let count = self.stored.entry(study.clone()).or_default();
                *count = count.saturating_add(1);
                DimseCommand::response(command, *status)
            }
            Err(refusal) => {
                DimseCommand::response(command, refusal.status).comment(&refusal.comment)
            }
        };
        self.respond(accepted.id, &answer).await?;
        Ok(Answered {
            service: "C-STORE",
            status: answer.status(),
        })
    }

    /// Reads the data set and stores it; the study and the status.
    async fn receive(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
    ) -> Result<Result<(String, u16), DimseRefusal>, PeerGone> {
        let mut begun = self.begin(accepted, command).await;
        if command.has_data() {
            take_data(&mut self.reader, accepted.id, &mut begun).await?;
        }
        Ok(match begun {
            Ok((request, part)) => end_instance(request, part).await,
            Err(refusal) => Err(refusal),
        })
    }

    /// Begins to store what a command announces.
    async fn begin(&mut self, accepted: &Accepted, command: &DimseCommand) -> BegunInstance {
        let refuse = |comment: &str| Err(DimseRefusal::new(status::INVALID_ARGUMENT, comment));
        if let Some(blocked) = self.blocked() {
            return Err(blocked);
        }
        if !command.has_data() {
            return refuse("a C-STORE has a data set");
        }
        let class = class_of(command);
        if class != accepted.class {
            return refuse("the SOP class is not the one of the context");
        }
        let instance = command.get_text(element::AFFECTED_INSTANCE);
        if check_uid(&instance).is_err() {
            return refuse("the Affected SOP Instance UID is no UID");
        }
        let Some(scope) = self.peer.scope(Action::Write) else {
            return Err(DimseRefusal::new(
                status::NOT_AUTHORIZED,
                "this AE title may not store",
            ));
        };
        let sender = format!("{} {}", self.peer.title, self.address);
        let of = (class.as_str(), accepted.syntax.as_str());
        begin_instance(&self.gateway.archive, scope, of, &instance, &sender).await
    }
}

/// Begins to store an instance of a SOP class, which comes in a transfer syntax.
pub(super) async fn begin_instance(
    archive: &Archive,
    scope: Scope,
    (class, syntax): (&str, &str),
    instance: &str,
    sender: &str,
) -> BegunInstance {
    let head = named_group(class, instance, syntax);
    let head = head.map_err(|_| {
        DimseRefusal::new(status::PROCESSING, "the meta information cannot be made")
    })?;
    let replaces = archive.limits().existing == ExistingPolicy::Replace;
    let replace = replaces.then(|| Replacement {
        visible: scope.visible.clone(),
        identical: false,
    });
    let options = StoreOptions {
        partition: scope.partition,
        visible: scope.visible,
        study: None,
        named: Some(SubmittedInstance {
            class: class.to_owned(),
            instance: instance.to_owned(),
        }),
        rules: Rules::Standard,
        replace,
        condition: None,
        made_of: None,
        deidentify: None,
        expires: None,
    };
    let mut request = archive.begin_store(options)?;
    let subject = ShareHolder::of_token(Some("DIMSE"), sender);
    request.sent_by(subject, Box::new(|_| false));
    let mut part = request.begin_part()?;
    request.write(&mut part, head.into()).await?;
    Ok((request, part))
}

/// An instance that is received, or why it is not.
pub(super) type BegunInstance = Result<(StoreRequest, IncomingPart), DimseRefusal>;

/// Receives the data set of an instance; where it cannot be stored the rest is read over, so that the association goes on.
pub(super) async fn take_data(
    reader: &mut WireReader,
    context: u8,
    begun: &mut BegunInstance,
) -> Result<(), PeerGone> {
    loop {
        let (bytes, last) = reader.data(context).await?;
        if let Ok((request, part)) = begun
            && let Err(error) = request.write(part, bytes).await
        {
            *begun = Err(error.into());
        }
        if last {
            return Ok(());
        }
    }
}

/// Stores what was received; the study and the status.
pub(super) async fn end_instance(
    mut request: StoreRequest,
    part: IncomingPart,
) -> Result<(String, u16), DimseRefusal> {
    request.end_part(part).await?;
    let report = request.finish().await?;
    let outcome = report.outcomes.into_iter().next();
    outcome.map_or_else(nothing, reported)
}

fn nothing() -> Result<(String, u16), DimseRefusal> {
    Err(DimseRefusal::new(status::PROCESSING, "nothing was stored"))
}

/// What became of an instance, as a status of C-STORE (PS3.4 §B.2.3).
fn reported(outcome: Outcome) -> Result<(String, u16), DimseRefusal> {
    match outcome {
        Outcome::Stored { name, warning, .. } => {
            let status = match warning {
                Some(reason::NOT_MATCHING_CLASS) => reason::NOT_MATCHING_CLASS,
                _ => status::SUCCESS,
            };
            Ok((name.study.to_string(), status))
        }
        Outcome::Failed {
            reason, comments, ..
        } => {
            let comment = comments.into_iter().next().unwrap_or_default();
            // Which attribute it is stands in front; there is room for 64 characters.
            let comment = comment.strip_prefix("DICOM100: ").unwrap_or(&comment);
            Err(DimseRefusal::new(reason, comment))
        }
    }
}
