//! Bytes of an association: data is handed on as it arrives and sent as it is read, never a unit at a time.
//!
//! Invariants: what is read and not handed on yet is at most [`CHUNK`] bytes; what is gathered to be sent is at most one unit;
//! whoever waits for the peer waits a bounded time. Waiting for an event may be given up at any moment: nothing is lost.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};

use super::command::{DimseCommand, MAX_COMMAND};
use super::pdu::{self, MalformedPdu};

#[cfg(test)]
mod tests;
mod writer;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// Longest P-DATA-TF that is asked for.
pub(super) const MAX_PDU: u32 = 128 << 10;
/// Longest P-DATA-TF that is taken all the same: some peers do not count their headers.
const TAKEN_PDU: u32 = 1 << 20;
/// Longest unit of association establishment; 128 contexts of 39 transfer syntaxes have 127 KB.
const MAX_ASSOCIATE: u32 = 1 << 20;
/// Memory of one association, in bytes: what is read, what is sent, a command set.
pub(super) const BUFFERS: usize = 256 << 10;
/// Least that a peer must take in one unit.
const LEAST_PDU: u32 = 64;
/// Time of waiting within one message after which the peer must have kept [`LEAST_RATE`].
const SLOW: Duration = Duration::from_secs(20);
/// Bytes a second that a peer must send of a message it has begun, on the whole.
const LEAST_RATE: u64 = 1024;

/// What an association runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Why there is no association any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerGone {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer released while it was answered.
    #[error("the peer released the association")]
    Released,
    /// The peer aborted.
    #[error("the peer aborted the association")]
    Aborted,
    /// The peer was silent, or took nothing.
    #[error("the peer was silent for too long")]
    Silent,
    /// The peer sends too slowly.
    #[error("the peer sends too slowly")]
    Slow,
    /// The association has lasted for too long.
    #[error("the association lasted for too long")]
    Overdue,
    /// An instance could not be sent to its end.
    #[error("an instance could not be sent to its end")]
    Failed,
    /// This server stops.
    #[error("the server stops")]
    Stopping,
    /// The peer does not keep the protocol; with the reason for A-ABORT.
    #[error("the peer does not keep the protocol: {what}")]
    Protocol {
        /// What is wrong.
        what: &'static str,
        /// Reason of A-ABORT.
        reason: u8,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

impl From<MalformedPdu> for PeerGone {
    fn from(MalformedPdu(what): MalformedPdu) -> Self {
        Self::Protocol {
            what,
            reason: pdu::reason::INVALID,
        }
    }
}

/// Something the peer did at the wrong time.
pub(super) fn unexpected(what: &'static str) -> PeerGone {
    PeerGone::Protocol {
        what,
        reason: pdu::reason::UNEXPECTED,
    }
}

/// What arrives on an association.
#[derive(Debug)]
pub(super) enum WireEvent {
    /// A command set.
    Command {
        /// Presentation context.
        context: u8,
        /// It.
        command: DimseCommand,
    },
    /// Bytes of a data set.
    Data {
        /// Presentation context.
        context: u8,
        /// Nothing of it follows.
        last: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// The peer wants to release.
    ReleaseRequest,
    /// The peer has released.
    ReleaseResponse,
}

/// A piece of a command set or data set.
struct Piece {
    pdv: Pdv,
    last: bool,
    bytes: Bytes,
}

/// What is in the buffer.
enum Parsed {
    Piece(Piece),
    Release(WireEvent),
}

/// A presentation data value under way.
#[derive(Debug, Clone, Copy)]
struct Pdv {
    context: u8,
    command: bool,
    last: bool,
    left: u32,
}

/// The receiving side.
pub(super) struct WireReader {
    stream: ReadHalf<Box<dyn Stream>>,
    buffer: BytesMut,
    /// Bytes that are left of the P-DATA-TF under way.
    pdu_left: u32,
    pdv: Option<Pdv>,
    idle: Duration,
    /// A message is under way: its sender has to keep a rate.
    in_message: bool,
    waited: Duration,
    got: u64,
    /// The command set under way, and its context.
    command: Vec<u8>,
    command_context: Option<u8>,
    /// Bytes received in all.
    pub(super) received: u64,
}

/// The sending side.
pub(super) struct WireWriter {
    stream: WriteHalf<Box<dyn Stream>>,
    /// Payload bytes of one unit.
    room: usize,
    /// The unit under way, header included.
    unit: Vec<u8>,
    /// Finished units.
    out: Vec<u8>,
    idle: Duration,
    /// Bytes sent in all.
    pub(super) sent: u64,
}

/// Both sides of a connection.
pub(super) fn split(stream: Box<dyn Stream>, idle: Duration) -> (WireReader, WireWriter) {
    let (read, write) = tokio::io::split(stream);
    let reader = WireReader {
        stream: read,
        buffer: BytesMut::new(),
        pdu_left: 0,
        pdv: None,
        idle,
        in_message: false,
        waited: Duration::ZERO,
        got: 0,
        command: Vec::new(),
        command_context: None,
        received: 0,
    };
    let writer = WireWriter {
        stream: write,
        room: 0,
        unit: Vec::new(),
        out: Vec::new(),
        idle,
        sent: 0,
    };
    (reader, writer)
}

impl WireReader {
    /// How long the peer may be silent from now on.
    pub(super) fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// Whether a message is under way, whose sender must not dawdle.
    pub(super) fn set_in_message(&mut self, in_message: bool) {
        self.in_message = in_message;
        self.waited = Duration::ZERO;
        self.got = 0;
    }

    async fn fill(&mut self) -> Result<(), PeerGone> {
        self.buffer
            .reserve(CHUNK.saturating_sub(self.buffer.len()).max(1));
        let begun = Instant::now();
        let read = self.stream.read_buf(&mut self.buffer);
        let read = timeout(self.idle, read)
            .await
            .map_err(|_| PeerGone::Silent)??;
        if read == 0 {
            return Err(PeerGone::Closed);
        }
        self.received += read as u64;
        if self.in_message {
            self.waited += begun.elapsed();
            self.got += read as u64;
            let least = self.waited.as_secs().saturating_mul(LEAST_RATE);
            if self.waited > SLOW && self.got < least {
                return Err(PeerGone::Slow);
            }
        }
        Ok(())
    }

    /// Header of the next unit, which stays in the buffer.
    fn header(&self) -> Option<(u8, u32)> {
        let [kind, _, a, b, c, d] = *self.buffer.first_chunk::<6>()?;
        Some((kind, u32::from_be_bytes([a, b, c, d])))
    }

    /// Type and length of the next unit, which is one of association establishment.
    ///
    /// # Errors
    /// [`PeerGone`] when it is another one or too long.
    pub(super) async fn associate_header(&mut self) -> Result<(u8, u32), PeerGone> {
        loop {
            if let Some((kind, length)) = self.header() {
                return match kind {
                    pdu::ABORT => Err(PeerGone::Aborted),
                    1..=3 if length > MAX_ASSOCIATE => {
                        Err(MalformedPdu("the unit is longer than any association needs").into())
                    }
                    1..=3 => Ok((kind, length)),
                    4..=6 => Err(unexpected("there is no association yet")),
                    _ => Err(PeerGone::Protocol {
                        what: "the unit has an unknown type",
                        reason: pdu::reason::UNRECOGNIZED,
                    }),
                };
            }
            self.fill().await?;
        }
    }

    /// The body of the unit whose header was read.
    pub(super) async fn associate_body(&mut self, length: u32) -> Result<Bytes, PeerGone> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = length.saturating_add(6);
        while self.buffer.len() < whole {
            self.fill().await?;
        }
        self.buffer.advance(6);
        Ok(self.buffer.split_to(length).freeze())
    }

    /// What comes next; a command set is gathered first.
    pub(super) async fn next(&mut self) -> Result<WireEvent, PeerGone> {
        loop {
            let Some(parsed) = self.parse()? else {
                self.fill().await?;
                continue;
            };
            let piece = match parsed {
                Parsed::Piece(piece) => piece,
                Parsed::Release(_) if self.command_context.is_some() => {
                    return Err(unexpected("a command set was not sent to its end"));
                }
                Parsed::Release(event) => return Ok(event),
            };
            let context = piece.pdv.context;
            let other = self
                .command_context
                .is_some_and(|under_way| under_way != context);
            if other || (!piece.pdv.command && self.command_context.is_some()) {
                return Err(unexpected("a command set was not sent to its end"));
            }
            if !piece.pdv.command {
                return Ok(WireEvent::Data {
                    context,
                    last: piece.last,
                    bytes: piece.bytes,
                });
            }
            if self.command_context.is_none() {
                self.command_context = Some(context);
                self.in_message = true;
            }
            if self.command.len().saturating_add(piece.bytes.len()) > MAX_COMMAND {
                return Err(MalformedPdu("a command set is too long").into());
            }
            self.command.extend_from_slice(&piece.bytes);
            if piece.last {
                self.command_context = None;
                let command = DimseCommand::read(&std::mem::take(&mut self.command))?;
                return Ok(WireEvent::Command { context, command });
            }
        }
    }

    /// What is in the buffer already; none when more must be read.
    fn parse(&mut self) -> Result<Option<Parsed>, PeerGone> {
        loop {
            if let Some(pdv) = &mut self.pdv {
                let have = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
                let take = pdv.left.min(have);
                if take == 0 && pdv.left > 0 {
                    return Ok(None);
                }
                pdv.left -= take;
                let done = pdv.left == 0;
                let piece = Piece {
                    pdv: *pdv,
                    last: pdv.last && done,
                    bytes: self
                        .buffer
                        .split_to(usize::try_from(take).unwrap_or(0))
                        .freeze(),
                };
                self.pdu_left = self.pdu_left.saturating_sub(take);
                if done {
                    self.pdv = None;
                }
                return Ok(Some(Parsed::Piece(piece)));
            }
            if self.pdu_left > 0 {
                let Some([a, b, c, d, context, flags]) = self.buffer.first_chunk::<6>().copied()
                else {
                    return Ok(None);
                };
                let length = u32::from_be_bytes([a, b, c, d]);
                let enclosed = self.pdu_left.checked_sub(4).filter(|left| length <= *left);
                if length < 2 || enclosed.is_none() {
                    return Err(MalformedPdu("a data value does not fit its unit").into());
                }
                self.buffer.advance(6);
                self.pdu_left -= 6;
                self.pdv = Some(Pdv {
                    context,
                    command: flags & 1 != 0,
                    last: flags & 2 != 0,
                    left: length - 2,
                });
                continue;
            }
            let Some((kind, length)) = self.header() else {
                return Ok(None);
            };
            match kind {
                pdu::P_DATA if length > TAKEN_PDU => {
                    return Err(MalformedPdu("a unit is longer than was agreed").into());
                }
                pdu::P_DATA => {
                    self.buffer.advance(6);
                    self.pdu_left = length;
                }
                pdu::RELEASE_RQ | pdu::RELEASE_RP | pdu::ABORT => {
                    if length != 4 {
                        return Err(MalformedPdu("the unit has a wrong length").into());
                    }
                    if self.buffer.len() < 10 {
                        return Ok(None);
                    }
                    self.buffer.advance(10);
                    return match kind {
                        pdu::RELEASE_RQ => Ok(Some(Parsed::Release(WireEvent::ReleaseRequest))),
                        pdu::RELEASE_RP => Ok(Some(Parsed::Release(WireEvent::ReleaseResponse))),
                        _ => Err(PeerGone::Aborted),
                    };
                }
                1..=3 => return Err(unexpected("the association is there already")),
                _ => {
                    return Err(PeerGone::Protocol {
                        what: "the unit has an unknown type",
                        reason: pdu::reason::UNRECOGNIZED,
                    });
                }
            }
        }
    }

    /// The next bytes of the data set of a message in `context`, and whether they are the last ones.
    pub(super) async fn data(&mut self, context: u8) -> Result<(Bytes, bool), PeerGone> {
        match self.next().await? {
            WireEvent::Data {
                context: other,
                last,
                bytes,
            } if other == context => Ok((bytes, last)),
            _ => Err(unexpected("a data set was not sent to its end")),
        }
    }

    /// Reads until the peer closes, for a bounded time.
    pub(super) async fn until_closed(&mut self, time: Duration) {
        let closed = async {
            loop {
                self.buffer.clear();
                if self.fill().await.is_err() {
                    return;
                }
            }
        };
        drop(timeout(time, closed).await);
    }
}
