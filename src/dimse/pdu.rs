//! Protocol data units of an association (PS3.8 §9.3), read and written; data itself is streamed in `wire`.
//!
//! Invariants: no length of the peer is believed before it was compared with what encloses it; the number of contexts and of
//! transfer syntaxes is bounded, so what is made of a unit takes a bounded multiple of its bytes.

/// A-ASSOCIATE-RQ.
pub(super) const ASSOCIATE_RQ: u8 = 1;
/// A-ASSOCIATE-AC.
pub(super) const ASSOCIATE_AC: u8 = 2;
/// A-ASSOCIATE-RJ.
pub(super) const ASSOCIATE_RJ: u8 = 3;
/// P-DATA-TF.
pub(super) const P_DATA: u8 = 4;
/// A-RELEASE-RQ.
pub(super) const RELEASE_RQ: u8 = 5;
/// A-RELEASE-RP.
pub(super) const RELEASE_RP: u8 = 6;
/// A-ABORT.
pub(super) const ABORT: u8 = 7;

/// The one application context there is.
pub(super) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Most presentation contexts of an association (PS3.8 §9.3.2.2: odd numbers of a byte).
pub(super) const MAX_CONTEXTS: usize = 128;
/// Most transfer syntaxes of one context, roles and extended negotiations.
const MAX_LISTED: usize = 256;
/// Longest UID that is looked at; longer ones are cut and then known to nobody.
const MAX_UID: usize = 64;

/// Why a unit cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct MalformedPdu(pub(super) &'static str);

/// One presentation context, proposed or answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProposedContext {
    /// Its number.
    pub(super) id: u8,
    /// What the acceptor said: 0 accepted, 1 refused by the user, 3 and 4 not supported.
    pub(super) result: u8,
    /// Abstract syntax; empty in an answer.
    pub(super) abstract_syntax: String,
    /// Transfer syntaxes proposed, or the one that was chosen.
    pub(super) transfer_syntaxes: Vec<String>,
}

/// SCP/SCU role selection of one SOP class (PS3.7 §D.3.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScpRole {
    /// SOP Class UID.
    pub(super) class: String,
    /// The requestor is SCU.
    pub(super) scu: bool,
    /// The requestor is SCP.
    pub(super) scp: bool,
}

/// SOP class extended negotiation (PS3.7 §D.3.3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extended {
    /// SOP Class UID.
    pub(super) class: String,
    /// Bytes whose meaning the service class says.
    pub(super) bytes: Vec<u8>,
}

/// A-ASSOCIATE-RQ or -AC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Associate {
    /// Version bits; the first one must be set.
    pub(super) version: u16,
    /// Whom the requestor wants, trimmed.
    pub(super) called: String,
    /// Who the requestor is, trimmed.
    pub(super) calling: String,
    /// Application context name.
    pub(super) application: String,
    /// Presentation contexts.
    pub(super) contexts: Vec<ProposedContext>,
    /// Longest P-DATA-TF the sender of this takes; 0 is any.
    pub(super) max_length: u32,
    /// Implementation class UID.
    pub(super) implementation: String,
    /// Implementation version name.
    pub(super) implementation_version: String,
    /// Roles.
    pub(super) roles: Vec<ScpRole>,
    /// Extended negotiation.
    pub(super) extended: Vec<Extended>,
}

/// Bytes read from front to back.
struct PduFields<'a>(&'a [u8]);

impl<'a> PduFields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedPdu> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(MalformedPdu("a length reaches beyond what encloses it"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedPdu> {
        let bytes = self.take(N)?;
        bytes
            .first_chunk()
            .copied()
            .ok_or(MalformedPdu("a field is too short"))
    }

    fn u8(&mut self) -> Result<u8, MalformedPdu> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, MalformedPdu> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn sized(&mut self) -> Result<&'a [u8], MalformedPdu> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// The next item: its type and what is in it.
    fn item(&mut self) -> Result<Option<(u8, &'a [u8])>, MalformedPdu> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let kind = self.u8()?;
        self.u8()?;
        Ok(Some((kind, self.sized()?)))
    }
}

/// A UID or name without its padding; what is no ASCII is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..MAX_UID).unwrap_or(bytes));
    text.trim_matches([' ', '\0']).to_owned()
}

/// Reads the body of an A-ASSOCIATE-RQ or -AC.
///
/// # Errors
/// [`MalformedPdu`] when lengths contradict each other or there is too much of something.
pub(super) fn read_associate(body: &[u8]) -> Result<Associate, MalformedPdu> {
    let mut fields = PduFields(body);
    let mut read = Associate {
        version: fields.u16()?,
        ..Associate::default()
    };
    fields.take(2)?;
    read.called = text(fields.take(16)?);
    read.calling = text(fields.take(16)?);
    fields.take(32)?;
    while let Some((kind, bytes)) = fields.item()? {
        match kind {
            0x10 => read.application = text(bytes),
            0x20 | 0x21 => {
                if read.contexts.len() == MAX_CONTEXTS {
                    return Err(MalformedPdu(
                        "there are more than 128 presentation contexts",
                    ));
                }
                read.contexts.push(read_context(bytes)?);
            }
            0x50 => read_user(bytes, &mut read)?,
            _ => {}
        }
    }
    Ok(read)
}

fn read_context(bytes: &[u8]) -> Result<ProposedContext, MalformedPdu> {
    let mut fields = PduFields(bytes);
    let id = fields.u8()?;
    fields.u8()?;
    let result = fields.u8()?;
    fields.u8()?;
    let mut context = ProposedContext {
        id,
        result,
        ..ProposedContext::default()
    };
    while let Some((kind, bytes)) = fields.item()? {
        match kind {
            0x30 => context.abstract_syntax = text(bytes),
            0x40 if context.transfer_syntaxes.len() == MAX_LISTED => {
                return Err(MalformedPdu(
                    "a context has more than 256 transfer syntaxes",
                ));
            }
            0x40 => context.transfer_syntaxes.push(text(bytes)),
            _ => {}
        }
    }
    Ok(context)
}

fn read_user(bytes: &[u8], read: &mut Associate) -> Result<(), MalformedPdu> {
    let mut fields = PduFields(bytes);
    while let Some((kind, bytes)) = fields.item()? {
        let mut inner = PduFields(bytes);
        match kind {
            0x51 => read.max_length = u32::from_be_bytes(inner.array()?),
            0x52 => read.implementation = text(bytes),
            0x54 if read.roles.len() < MAX_LISTED => read.roles.push(ScpRole {
                class: text(inner.sized()?),
                scu: inner.u8()? != 0,
                scp: inner.u8()? != 0,
            }),
            0x55 => read.implementation_version = text(bytes),
            0x56 if read.extended.len() < MAX_LISTED => {
                let class = text(inner.sized()?);
                let bytes = inner.0.get(..MAX_UID).unwrap_or(inner.0).to_vec();
                read.extended.push(Extended { class, bytes });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes behind a 16-bit length; what is longer than that is nothing that is written here.
fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    out.extend(length.to_be_bytes());
    out.extend(bytes.iter().take(length.into()));
}

fn item(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.extend([kind, 0]);
    sized(out, bytes);
}

/// Sixteen characters, padded.
fn title(out: &mut Vec<u8>, title: &str) {
    let padded = title.bytes().chain(std::iter::repeat(b' '));
    out.extend(padded.take(16));
}

/// A unit of a type with its header.
pub(super) fn unit(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(0);
    let mut out = vec![kind, 0];
    out.extend(length.to_be_bytes());
    out.extend(body);
    out
}

/// Writes an A-ASSOCIATE-RQ or -AC, header included.
#[must_use]
pub(super) fn write_associate(kind: u8, associate: &Associate) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(1_u16.to_be_bytes());
    body.extend([0, 0]);
    title(&mut body, &associate.called);
    title(&mut body, &associate.calling);
    body.extend([0; 32]);
    item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
    let answer = kind == ASSOCIATE_AC;
    for context in &associate.contexts {
        let mut inner = vec![context.id, 0, context.result, 0];
        if !answer {
            item(&mut inner, 0x30, context.abstract_syntax.as_bytes());
        }
        for syntax in &context.transfer_syntaxes {
            item(&mut inner, 0x40, syntax.as_bytes());
        }
        item(&mut body, if answer { 0x21 } else { 0x20 }, &inner);
    }
    let mut user = Vec::new();
    item(&mut user, 0x51, &associate.max_length.to_be_bytes());
    item(&mut user, 0x52, associate.implementation.as_bytes());
    for role in &associate.roles {
        let mut inner = Vec::new();
        sized(&mut inner, role.class.as_bytes());
        inner.extend([u8::from(role.scu), u8::from(role.scp)]);
        item(&mut user, 0x54, &inner);
    }
    item(&mut user, 0x55, associate.implementation_version.as_bytes());
    for extended in &associate.extended {
        let mut inner = Vec::new();
        sized(&mut inner, extended.class.as_bytes());
        inner.extend(&extended.bytes);
        item(&mut user, 0x56, &inner);
    }
    item(&mut body, 0x50, &user);
    unit(kind, &body)
}

/// Why an association is refused (PS3.8 Table 9-21): result, source, reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejection {
    /// 1 for good, 2 for now.
    pub(super) result: u8,
    /// 1 user, 2 provider (ACSE), 3 provider (presentation).
    pub(super) source: u8,
    /// Depends on the source.
    pub(super) reason: u8,
}

impl Rejection {
    /// The application context is another one.
    pub(super) const APPLICATION: Self = Self::new(1, 1, 2);
    /// Nobody knows the calling AE.
    pub(super) const CALLING: Self = Self::new(1, 1, 3);
    /// This server has another AE title.
    pub(super) const CALLED: Self = Self::new(1, 1, 7);
    /// Another version of the protocol.
    pub(super) const VERSION: Self = Self::new(1, 2, 2);
    /// There are too many associations.
    pub(super) const LIMIT: Self = Self::new(2, 3, 2);
    /// There is no memory now.
    pub(super) const CONGESTION: Self = Self::new(2, 3, 1);

    const fn new(result: u8, source: u8, reason: u8) -> Self {
        Self {
            result,
            source,
            reason,
        }
    }

    /// Reads the body of an A-ASSOCIATE-RJ.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        match body {
            [_, result, source, reason] => Some(Self::new(*result, *source, *reason)),
            _ => None,
        }
    }

    /// The unit.
    pub(super) fn write(self) -> Vec<u8> {
        unit(ASSOCIATE_RJ, &[0, self.result, self.source, self.reason])
    }

    /// What it means.
    pub(super) fn meaning(self) -> &'static str {
        match (self.source, self.reason) {
            (1, 2) => "the application context is not supported",
            (1, 3) => "the calling AE title is not known",
            (1, 7) => "the called AE title is not known",
            (2, 2) => "the version of the protocol is not supported",
            (3, 1) => "there is no room now",
            (3, 2) => "there are too many associations",
            _ => "no reason is given",
        }
    }
}

/// A-ABORT by the provider (PS3.8 Table 9-26).
pub(super) fn abort(reason: u8) -> Vec<u8> {
    unit(ABORT, &[0, 0, 2, reason])
}

/// A-ABORT by the user.
pub(super) fn abort_by_user() -> Vec<u8> {
    unit(ABORT, &[0; 4])
}

/// Reasons of A-ABORT.
pub(super) mod reason {
    /// None is given.
    pub(in crate::dimse) const NONE: u8 = 0;
    /// A unit of an unknown type.
    pub(in crate::dimse) const UNRECOGNIZED: u8 = 1;
    /// A unit at the wrong time.
    pub(in crate::dimse) const UNEXPECTED: u8 = 2;
    /// A value that is not allowed.
    pub(in crate::dimse) const INVALID: u8 = 6;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> Associate {
        Associate {
            version: 1,
            called: "STOWAGE".to_owned(),
            calling: "CT 1".to_owned(),
            application: APPLICATION_CONTEXT.to_owned(),
            contexts: vec![
                ProposedContext {
                    id: 1,
                    result: 0,
                    abstract_syntax: "1.2.840.10008.1.1".to_owned(),
                    transfer_syntaxes: vec!["1.2.840.10008.1.2".to_owned()],
                },
                ProposedContext {
                    id: 3,
                    result: 0,
                    abstract_syntax: "1.2.3".to_owned(),
                    transfer_syntaxes: vec!["1.2.4".to_owned(), "1.2.5".to_owned()],
                },
            ],
            max_length: 16384,
            implementation: "1.2.3.4".to_owned(),
            implementation_version: "TEST".to_owned(),
            roles: vec![ScpRole {
                class: "1.2.3".to_owned(),
                scu: false,
                scp: true,
            }],
            extended: vec![Extended {
                class: "1.2.6".to_owned(),
                bytes: vec![1, 0],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = write_associate(ASSOCIATE_RQ, &request());
        assert_eq!(written[0], ASSOCIATE_RQ);
        assert_eq!(read_associate(&written[6..]), Ok(request()));
        assert_eq!(
            Rejection::read(&Rejection::CALLED.write()[6..]),
            Some(Rejection::CALLED)
        );
    }

    #[test]
    fn too_many_contexts_are_refused() {
        let mut many = request();
        many.contexts = vec![many.contexts[0].clone(); MAX_CONTEXTS + 1];
        let written = write_associate(ASSOCIATE_RQ, &many);
        assert!(read_associate(&written[6..]).is_err());
    }

    proptest! {
        #[test]
        fn a_truncated_or_changed_unit_is_an_error_or_a_value(at in 0_usize..400, byte: u8) {
            let mut written = write_associate(ASSOCIATE_RQ, &request())[6..].to_vec();
            let cut = at.min(written.len());
            let _ = read_associate(&written[..cut]);
            if let Some(place) = written.get_mut(at) {
                *place = byte;
            }
            let _ = read_associate(&written);
        }
    }
}
