//! Looks after requests for storage commitment until they are reported: on the association they came by while it lasts, else on
//! one to the requestor, again and again for a day; also those that another process left behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::pending_reports::{Offer, REPORTS};
use super::report::{CommitmentReport, tell_on};
use super::request::CommitmentRequest;
use crate::archive::ArchiveError;
use crate::archive::services::commitment::CommitmentRow;
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax::{EXPLICIT_LE, IMPLICIT_LE};
use crate::dimse::gateway::Gateway;
use crate::dimse::negotiate::COMMITMENT;
use crate::dimse::outgoing::{Outgoing, Proposal};
use crate::dimse::pdu::ScpRole;
use crate::dimse::peers::Peer;
use crate::memory::Reservation;
use crate::tasks::{Failure, Watch};

/// For how long a request is left to whoever looks after it; it is held again long before.
pub(super) const HOLD: Duration = Duration::from_secs(10);
/// How often it is held again.
const RENEW: Duration = Duration::from_secs(3);
/// How often is looked for requests that nobody looks after.
const LOOK: Duration = Duration::from_secs(1);
/// How long is waited for the requestor to release its association, before it is used for the report.
const GRACE: Duration = Duration::from_secs(1);
/// How long a requestor may take to answer a report.
const ANSWER: Duration = Duration::from_secs(60);
/// Waits before a report is tried again on an association of its own; the last one is repeated.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];
/// Tries in all: about a day.
const TRIES: u32 = 28;

/// A request that is looked after.
pub(super) struct Job {
    pub(super) gateway: Arc<Gateway>,
    pub(super) peer: Arc<Peer>,
    pub(super) row: CommitmentRow,
    pub(super) request: CommitmentRequest,
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) _held: Reservation,
}

/// Looks after what nobody looks after, until the process ends.
///
/// # Errors
/// None: what fails is tried again.
pub(in crate::dimse) async fn run(gateway: Arc<Gateway>, watch: Watch) -> Result<(), Failure> {
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = gateway.stop.cancelled() => return Ok(()),
        }
        match take_up(&gateway).await {
            Ok(()) => watch.well(),
            Err(error) => {
                watch.failed(&error);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "requests for storage commitment cannot be read"
                );
            }
        }
    }
}

/// Begins to look after those that are due, as far as there is room.
async fn take_up(gateway: &Arc<Gateway>) -> Result<(), ArchiveError> {
    let mut places = Vec::new();
    while let Ok(place) = gateway.reports.clone().try_acquire_owned() {
        places.push(place);
    }
    // Some are for those who ask now.
    places.truncate(places.len().saturating_sub(REPORTS / 2));
    let limit = u32::try_from(places.len()).unwrap_or(u32::MAX);
    if limit == 0 {
        return Ok(());
    }
    for row in gateway.archive.claim_commitments(limit, HOLD).await? {
        let Some(place) = places.pop() else {
            break;
        };
        let Some((request, held)) = gateway.archive.commitment_request(&row).await? else {
            continue;
        };
        let peer = gateway.peers.of_title(&row.peer);
        let (Some(peer), Ok(request)) = (peer, serde_json::from_str(&request)) else {
            tracing::error!(
                peer = row.peer,
                "a request for storage commitment is given up: its AE title may not associate any more"
            );
            gateway.archive.finish_commitment(&row.id).await?;
            continue;
        };
        let job = Job {
            gateway: gateway.clone(),
            peer,
            row,
            request,
            _place: place,
            _held: held,
        };
        tokio::spawn(job.run(None));
    }
    Ok(())
}

impl Job {
    /// Looks and reports; a request that is not reported now stays for later.
    pub(super) async fn run(self, line: Option<(mpsc::Sender<Offer>, u8)>) {
        let (archive, row, stop) = (
            self.gateway.archive.clone(),
            self.row.clone(),
            self.gateway.stop.clone(),
        );
        let renew = async {
            loop {
                tokio::time::sleep(RENEW).await;
                if let Err(error) = archive.hold_commitment(&row.id, HOLD, row.attempts).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a request for storage commitment may be reported twice"
                    );
                }
            }
        };
        let told = tokio::select! {
            () = stop.cancelled() => return,
            () = renew => return,
            told = Box::pin(self.look_and_tell(line)) => told,
        };
        let peer = row.peer.as_str();
        let attempts = row.attempts.saturating_add(1);
        let ended = match told {
            Ok(()) => archive.finish_commitment(&row.id).await,
            Err(reason) if attempts >= TRIES => {
                tracing::error!(
                    peer,
                    reason,
                    "storage commitment could not be reported for a day; the peer has to ask again"
                );
                archive.finish_commitment(&row.id).await
            }
            Err(reason) => {
                tracing::warn!(peer, reason, "storage commitment could not be reported yet");
                let last = AGAIN.len() - 1;
                let wait = usize::try_from(row.attempts).unwrap_or(last).min(last);
                let wait = AGAIN.get(wait).copied().unwrap_or(RENEW);
                archive.hold_commitment(&row.id, wait, attempts).await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a request for storage commitment may be reported twice"
            );
        }
    }

    async fn look_and_tell(self, line: Option<(mpsc::Sender<Offer>, u8)>) -> Result<(), String> {
        let scope = [Action::Read, Action::Write];
        let mut scope = scope.iter().filter_map(|action| self.peer.scope(*action));
        let scope = scope
            .next()
            .ok_or_else(|| "the peer may neither read nor write".to_owned())?;
        let archive = &self.gateway.archive;
        let report = CommitmentReport::of(archive, &scope, self.request).await;
        if let Some((offers, context)) = line {
            // Many release as soon as the request is answered, and do not expect a report while they do.
            let released = tokio::time::timeout(GRACE, offers.closed()).await.is_ok();
            if released {
                return tell(&self.gateway, &self.peer, &report).await;
            }
            let (taken, known) = oneshot::channel();
            let offer = Offer {
                report: report.clone(),
                context,
                taken,
            };
            let offered = offers.send(offer).await.is_ok();
            drop(offers);
            if offered && matches!(tokio::time::timeout(ANSWER, known).await, Ok(Ok(()))) {
                return Ok(());
            }
        }
        tell(&self.gateway, &self.peer, &report).await
    }
}

/// Reports on an association to the requestor.
async fn tell(gateway: &Gateway, peer: &Peer, report: &CommitmentReport) -> Result<(), String> {
    let place = peer
        .place
        .as_ref()
        .ok_or_else(|| "the peer has no host and port in the file of peers".to_owned())?;
    let both = [IMPLICIT_LE, EXPLICIT_LE];
    let proposal = Proposal {
        called: peer.title.clone(),
        calling: gateway.title.clone(),
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
    let budget = gateway.archive.budget();
    match Outgoing::call(place, &proposal, ANSWER, budget).await {
        Ok(outgoing) => tell_on(outgoing, report, &gateway.title).await,
        Err(error) => Err(error.to_string()),
    }
}
