//! An association this server asks for: to send instances, and to report.
//!
//! Invariants: nobody is called whose address does not stand in the file of peers; whoever does not answer is given up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::negotiate::version;
use super::pdu::{self, Associate, MAX_CONTEXTS, ProposedContext, Rejection, ScpRole};
use super::peers::PeerPlace;
use super::prompt::PromptStream;
use super::wire::{
    BUFFERS, MAX_PDU, PeerGone, Stream, WireEvent, WireReader, WireWriter, split, unexpected,
};
use crate::dicom::codec::transfer_syntax::{EXPLICIT_LE, IMPLICIT_LE};
use crate::dicom::rewrite::IMPLEMENTATION_CLASS;
use crate::memory::{MemoryBudget, NoMemory, Purpose, Reservation};

/// How long a peer may take to take a connection, and to answer the request.
const CONNECT: Duration = Duration::from_secs(20);

/// Why there is no association.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The peer cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(std::io::Error),
    /// It is not who it should be, or does not speak TLS.
    #[error("cannot be called over TLS: {0}")]
    Insecure(std::io::Error),
    /// The peer does not want to.
    #[error("rejects the association: {}", .0.meaning())]
    Rejected(Rejection),
    /// It broke off.
    #[error("{0}")]
    Gone(#[from] PeerGone),
    /// There is no memory for it.
    #[error("{0}")]
    Memory(#[from] NoMemory),
}

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Proposal {
    /// AE title of the peer.
    pub(super) called: String,
    /// AE title of this server.
    pub(super) calling: String,
    /// Abstract syntaxes, each with a transfer syntax.
    pub(super) contexts: Vec<(String, String)>,
    /// Roles, where they are not the usual ones.
    pub(super) roles: Vec<ScpRole>,
}

impl Proposal {
    /// Contexts for instances of these classes and transfer syntaxes: each as it is stored, and uncompressed. One syntax in each context,
    /// as some peers understand no more.
    pub(super) fn storage(pairs: &BTreeSet<(String, String)>) -> Vec<(String, String)> {
        let classes: BTreeSet<&String> = pairs.iter().map(|(class, _)| class).collect();
        let plain = [EXPLICIT_LE, IMPLICIT_LE].into_iter();
        let plain = plain.flat_map(|syntax| {
            classes
                .iter()
                .map(move |class| ((*class).clone(), syntax.to_owned()))
        });
        let mut contexts: Vec<(String, String)> = pairs.iter().cloned().collect();
        for pair in plain {
            if !pairs.contains(&pair) {
                contexts.push(pair);
            }
        }
        contexts.truncate(MAX_CONTEXTS);
        contexts
    }
}

/// A context that the peer accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// Its number.
    pub(super) id: u8,
    /// SOP class.
    pub(super) class: String,
    /// Transfer syntax.
    pub(super) syntax: String,
}

/// An association under way.
pub(super) struct Outgoing {
    pub(super) reader: WireReader,
    pub(super) writer: WireWriter,
    /// What was accepted.
    pub(super) contexts: Vec<Offered>,
    message: u16,
    _held: Reservation,
}

impl Outgoing {
    /// Calls a peer.
    ///
    /// # Errors
    /// [`CallError`] when it does not take the association.
    pub(super) async fn call(
        place: &PeerPlace,
        proposal: &Proposal,
        idle: Duration,
        budget: &MemoryBudget,
    ) -> Result<Self, CallError> {
        let held = budget.reserve(Purpose::Associations, BUFFERS).await?;
        let connect = TcpStream::connect((place.host.as_str(), place.port));
        let stream = timeout(CONNECT, connect).await;
        let stream = stream
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .and_then(PromptStream::new)
            .map_err(CallError::Unreachable)?;
        let stream: Box<dyn Stream> = match &place.tls {
            None => Box::new(stream),
            Some(tls) => {
                let secured = timeout(CONNECT, tls.connect(&place.host, stream)).await;
                let secured = secured.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                Box::new(secured.map_err(CallError::Insecure)?)
            }
        };
        let (mut reader, mut writer) = split(stream, CONNECT);
        let request = request(proposal);
        let bytes = pdu::write_associate(pdu::ASSOCIATE_RQ, &request);
        writer.unit(&bytes).await?;
        let (kind, length) = reader.associate_header().await?;
        let body = reader.associate_body(length).await?;
        match kind {
            pdu::ASSOCIATE_AC => {}
            pdu::ASSOCIATE_RJ => {
                let rejection = Rejection::read(&body).unwrap_or(Rejection::CONGESTION);
                return Err(CallError::Rejected(rejection));
            }
            _ => return Err(unexpected("the request was answered by another one").into()),
        }
        let answer = pdu::read_associate(&body).map_err(PeerGone::from)?;
        writer.set_max(answer.max_length).map_err(PeerGone::from)?;
        reader.set_idle(idle);
        let accepted = answer.contexts.iter().filter(|context| context.result == 0);
        let offered = accepted.filter_map(|context| {
            let asked = request
                .contexts
                .iter()
                .find(|asked| asked.id == context.id)?;
            Some(Offered {
                id: asked.id,
                class: asked.abstract_syntax.clone(),
                syntax: context.transfer_syntaxes.first()?.clone(),
            })
        });
        Ok(Self {
            contexts: offered.collect(),
            reader,
            writer,
            message: 0,
            _held: held,
        })
    }

    /// The number of the next message.
    pub(super) fn next_message(&mut self) -> u16 {
        self.message = self.message.wrapping_add(1).max(1);
        self.message
    }

    /// Ends the association in order.
    pub(super) async fn release(mut self) {
        let asked = self.writer.unit(&pdu::unit(pdu::RELEASE_RQ, &[0; 4])).await;
        if asked.is_ok() {
            while let Ok(event) = self.reader.next().await {
                if matches!(
                    event,
                    WireEvent::ReleaseResponse | WireEvent::ReleaseRequest
                ) {
                    break;
                }
            }
        }
        self.writer.shutdown().await;
    }

    /// Ends it at once.
    pub(super) async fn abort(mut self) {
        self.writer.forget();
        drop(self.writer.unit(&pdu::abort_by_user()).await);
        self.writer.shutdown().await;
    }
}

fn request(proposal: &Proposal) -> Associate {
    let numbers = (1..=u8::MAX).step_by(2);
    let contexts = numbers.zip(&proposal.contexts);
    Associate {
        called: proposal.called.clone(),
        calling: proposal.calling.clone(),
        contexts: contexts
            .map(|(id, (class, syntax))| ProposedContext {
                id,
                result: 0,
                abstract_syntax: class.clone(),
                transfer_syntaxes: vec![syntax.clone()],
            })
            .collect(),
        max_length: MAX_PDU,
        implementation: IMPLEMENTATION_CLASS.to_owned(),
        implementation_version: version(),
        roles: proposal.roles.clone(),
        ..Associate::default()
    }
}
