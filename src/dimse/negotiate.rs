//! What is agreed on when an association begins: which contexts, in which transfer syntax, in which roles (PS3.8 §9.3, PS3.7 §D.3).
//!
//! Invariants: a context is accepted only for what the peer may do; of the syntaxes a context proposes one is taken that is
//! stored as it comes, the best first, and never one that makes the sender lose quality because of this server.

use super::pdu::{self, Associate, Extended, ProposedContext, ScpRole};
use super::peers::Peer;
use super::wire::MAX_PDU;
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax::{DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE};
use crate::dicom::rewrite::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};

/// Verification SOP Class.
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage Commitment Push Model SOP Class.
pub(super) const COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// Modality Worklist Information Model: C-FIND.
pub(super) const WORKLIST: &str = "1.2.840.10008.5.1.4.31";
/// What standard UIDs begin with.
const STANDARD: &str = "1.2.840.10008.";
/// Standard storage SOP classes begin so.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";
/// Standard storage SOP classes that do not: hanging protocols, colour palettes, implants, stored prints, protocols, inventories,
/// tractography.
const MORE_STORAGE: [&str; 13] = [
    "1.2.840.10008.5.1.1.27",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
    "1.2.840.10008.5.1.4.34.1",
    "1.2.840.10008.5.1.4.34.7",
    "1.2.840.10008.5.1.4.34.10",
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
    "1.2.840.10008.5.1.4.1.1.201.1",
    "1.2.840.10008.5.1.4.1.1.601.1",
];
/// Transfer syntaxes of the standard begin so.
const SYNTAXES: &str = "1.2.840.10008.1.2";
/// Those that are no data sets: MIME, XML, streams in real time.
const NO_DATA_SETS: [&str; 2] = ["1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7."];
/// Lossy compression of single pictures.
const LOSSY: [&str; 8] = [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.93",
    "1.2.840.10008.1.2.4.112",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.111",
];

/// Information model of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// Patient Root.
    Patient,
    /// Study Root.
    Study,
}

/// What a context is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// C-ECHO.
    Verification,
    /// C-STORE.
    Storage,
    /// C-FIND.
    Find(Root),
    /// C-FIND for scheduled procedure steps.
    Worklist,
    /// C-MOVE.
    Move(Root),
    /// C-GET.
    Get(Root),
    /// N-ACTION and N-EVENT-REPORT.
    Commitment,
}

impl Service {
    /// The service of an abstract syntax; none when there is none here.
    pub(super) fn of(class: &str) -> Option<Self> {
        Some(match class {
            VERIFICATION => Self::Verification,
            "1.2.840.10008.5.1.4.1.2.1.1" => Self::Find(Root::Patient),
            "1.2.840.10008.5.1.4.1.2.1.2" => Self::Move(Root::Patient),
            "1.2.840.10008.5.1.4.1.2.1.3" => Self::Get(Root::Patient),
            "1.2.840.10008.5.1.4.1.2.2.1" => Self::Find(Root::Study),
            "1.2.840.10008.5.1.4.1.2.2.2" => Self::Move(Root::Study),
            "1.2.840.10008.5.1.4.1.2.2.3" => Self::Get(Root::Study),
            WORKLIST => Self::Worklist,
            COMMITMENT => Self::Commitment,
            class if class.starts_with(STORAGE) => Self::Storage,
            class if MORE_STORAGE.contains(&class) => Self::Storage,
            class if class.starts_with(STANDARD) => return None,
            // What is private is stored; another service than C-STORE is answered so.
            class if crate::dicom::uid::check_uid(class).is_ok() => Self::Storage,
            _ => return None,
        })
    }
}

/// A context that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Its number.
    pub(super) id: u8,
    /// SOP class.
    pub(super) class: String,
    /// What it is for.
    pub(super) service: Service,
    /// Transfer syntax.
    pub(super) syntax: String,
    /// The peer may store in it.
    pub(super) takes: bool,
    /// The peer stores what it is sent in it.
    pub(super) gives: bool,
    /// Queries may leave out the keys of upper levels.
    pub(super) relational: bool,
    /// Names are matched by the beginnings of their words.
    pub(super) fuzzy: bool,
}

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    /// The answer.
    pub(super) answer: Associate,
    /// Contexts that were accepted.
    pub(super) contexts: Vec<Accepted>,
}

/// Answers a request of a peer.
///
/// # Errors
/// When numbers of contexts are even or given twice.
pub(super) fn agree(request: &Associate, peer: &Peer) -> Result<Agreed, pdu::MalformedPdu> {
    let mut agreed = Agreed {
        answer: Associate {
            called: request.called.clone(),
            calling: request.calling.clone(),
            max_length: MAX_PDU,
            implementation: IMPLEMENTATION_CLASS.to_owned(),
            implementation_version: version(),
            ..Associate::default()
        },
        contexts: Vec::new(),
    };
    for (at, proposed) in request.contexts.iter().enumerate() {
        let before = request.contexts.get(..at).unwrap_or_default();
        if proposed.id % 2 == 0 || before.iter().any(|other| other.id == proposed.id) {
            return Err(pdu::MalformedPdu(
                "numbers of presentation contexts are odd and given once",
            ));
        }
        let decided = decide(proposed, request, peer);
        let (result, syntax) = match &decided {
            Ok(accepted) => (0, accepted.syntax.clone()),
            // One must be there, and says nothing.
            Err(result) => (*result, IMPLICIT_LE.to_owned()),
        };
        agreed.answer.contexts.push(ProposedContext {
            id: proposed.id,
            result,
            abstract_syntax: String::new(),
            transfer_syntaxes: vec![syntax],
        });
        agreed.contexts.extend(decided.ok());
    }
    answer_roles(request, &mut agreed);
    Ok(agreed)
}

/// Implementation version name, of 16 characters at most.
pub(super) fn version() -> String {
    IMPLEMENTATION_VERSION.chars().take(16).collect()
}

fn role<'a>(request: &'a Associate, class: &str) -> Option<&'a ScpRole> {
    request.roles.iter().find(|role| role.class == class)
}

fn decide(proposed: &ProposedContext, request: &Associate, peer: &Peer) -> Result<Accepted, u8> {
    const REFUSED: u8 = 1;
    const NO_CLASS: u8 = 3;
    const NO_SYNTAX: u8 = 4;
    let class = &proposed.abstract_syntax;
    let service = Service::of(class).ok_or(NO_CLASS)?;
    let (wants_scu, wants_scp) = match role(request, class) {
        Some(role) => (role.scu, role.scp),
        None => (true, false),
    };
    let (reads, writes) = (
        peer.scope(Action::Read).is_some(),
        peer.scope(Action::Write).is_some(),
    );
    let (takes, gives) = match service {
        Service::Storage => (wants_scu && writes, wants_scp && reads),
        Service::Verification => (true, false),
        // Whoever stores may ask whether it is safe.
        Service::Commitment => (reads || writes, false),
        Service::Find(_) | Service::Worklist | Service::Move(_) | Service::Get(_) => (reads, false),
    };
    if !takes && !gives {
        return Err(REFUSED);
    }
    let syntaxes = &proposed.transfer_syntaxes;
    let syntax = match service {
        Service::Storage if takes => best_to_store(syntaxes),
        Service::Storage => first_to_send(syntaxes),
        _ => [EXPLICIT_LE, IMPLICIT_LE]
            .into_iter()
            .find(|known| syntaxes.iter().any(|syntax| syntax == known)),
    };
    let extended = extended(request, class);
    let asks = |at: usize| extended.is_some_and(|e| e.bytes.get(at) == Some(&1));
    Ok(Accepted {
        id: proposed.id,
        class: class.clone(),
        service,
        syntax: syntax.ok_or(NO_SYNTAX)?.to_owned(),
        takes,
        gives,
        relational: asks(0),
        fuzzy: asks(2),
    })
}

fn extended<'a>(request: &'a Associate, class: &str) -> Option<&'a Extended> {
    request.extended.iter().find(|e| e.class == class)
}

/// Contexts of a class.
fn of_class<'a>(contexts: &'a [Accepted], class: &'a str) -> impl Iterator<Item = &'a Accepted> {
    contexts.iter().filter(move |c| c.class == class)
}

/// Answers role selection and extended negotiation of accepted classes.
fn answer_roles(request: &Associate, agreed: &mut Agreed) {
    let contexts = &agreed.contexts;
    for role in &request.roles {
        if of_class(contexts, &role.class).next().is_some() {
            agreed.answer.roles.push(ScpRole {
                class: role.class.clone(),
                scu: of_class(contexts, &role.class).any(|context| context.takes),
                scp: of_class(contexts, &role.class).any(|context| context.gives),
            });
        }
    }
    for asked in &request.extended {
        // Relational, date and time as one, fuzzy names; time zones are not shifted (PS3.4 §C.5.1.1).
        let understood = match of_class(contexts, &asked.class).next().map(|c| c.service) {
            Some(Service::Find(_)) => 3,
            Some(Service::Move(_) | Service::Get(_)) => 1,
            _ => continue,
        };
        let bytes = asked.bytes.iter().take(understood);
        agreed.answer.extended.push(Extended {
            class: asked.class.clone(),
            bytes: bytes.map(|byte| u8::from(*byte == 1)).collect(),
        });
    }
}

/// Whether data sets of the syntax can be stored.
fn is_stored(syntax: &str) -> bool {
    let standard = syntax == SYNTAXES
        || syntax
            .strip_prefix(SYNTAXES)
            .is_some_and(|rest| rest.starts_with('.'));
    standard && !NO_DATA_SETS.iter().any(|no| syntax.starts_with(no))
}

/// The syntax in which a sender shall store: compressed before explicit before implicit. A lossy one is taken when it stands first,
/// for then the sender has it so; otherwise only when there is nothing better, so that no picture is compressed for this server.
fn best_to_store(syntaxes: &[String]) -> Option<&str> {
    let rank = |(at, syntax): &(usize, &String)| match syntax.as_str() {
        DEFLATED_LE => 1,
        EXPLICIT_LE => 2,
        IMPLICIT_LE => 3,
        EXPLICIT_BE => 5,
        lossy if LOSSY.contains(&lossy) && *at > 0 => 4,
        _ => 0,
    };
    let known = syntaxes.iter().enumerate().filter(|(_, s)| is_stored(s));
    known.min_by_key(rank).map(|(_, syntax)| syntax.as_str())
}

/// The syntax in which a peer is sent what it asks for: its own order, but explicit before implicit, and Big Endian only by itself.
fn first_to_send(syntaxes: &[String]) -> Option<&str> {
    let known = || syntaxes.iter().map(String::as_str);
    let first = known().find(|syntax| is_stored(syntax) && *syntax != EXPLICIT_BE);
    let first = first.or_else(|| known().find(|syntax| *syntax == EXPLICIT_BE))?;
    let explicit = || syntaxes.iter().any(|syntax| syntax == EXPLICIT_LE);
    Some(if first == IMPLICIT_LE && explicit() {
        EXPLICIT_LE
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::peers::Peers;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const JPEG: &str = "1.2.840.10008.1.2.4.50";
    const J2K: &str = "1.2.840.10008.1.2.4.90";

    fn chosen(syntaxes: &[&str]) -> Option<String> {
        let owned: Vec<String> = syntaxes.iter().map(|s| (*s).to_owned()).collect();
        best_to_store(&owned).map(str::to_owned)
    }

    #[test]
    fn compressed_goes_before_explicit_before_implicit_and_lossy_only_where_it_stands_first() {
        for (proposed, wanted) in [
            (&[IMPLICIT_LE, EXPLICIT_LE][..], EXPLICIT_LE),
            (&[IMPLICIT_LE, EXPLICIT_LE, J2K], J2K),
            (&[EXPLICIT_LE, JPEG, IMPLICIT_LE], EXPLICIT_LE),
            (&[JPEG, EXPLICIT_LE, IMPLICIT_LE], JPEG),
            (&[EXPLICIT_BE, IMPLICIT_LE], IMPLICIT_LE),
            (&[EXPLICIT_BE], EXPLICIT_BE),
        ] {
            assert_eq!(chosen(proposed).as_deref(), Some(wanted), "{proposed:?}");
        }
        assert_eq!(chosen(&["1.2.840.113619.5.2"]), None);
        assert_eq!(chosen(&["1.2.840.10008.1.2.6.2"]), None);
        assert_eq!(chosen(&["1.2.840.10008.1.20"]), None);
    }

    fn request(class: &str, role: Option<(bool, bool)>) -> Associate {
        Associate {
            contexts: vec![ProposedContext {
                id: 1,
                result: 0,
                abstract_syntax: class.to_owned(),
                transfer_syntaxes: vec![IMPLICIT_LE.to_owned()],
            }],
            roles: role
                .map(|(scu, scp)| ScpRole {
                    class: class.to_owned(),
                    scu,
                    scp,
                })
                .into_iter()
                .collect(),
            ..Associate::default()
        }
    }

    fn result(request: &Associate, peer: &Peer) -> u8 {
        agree(request, peer).unwrap().answer.contexts[0].result
    }

    #[test]
    fn a_context_is_accepted_for_what_the_peer_may_do() {
        let any = Peers::open(Some("any")).unwrap();
        let address = "127.0.0.1".parse().unwrap();
        let all = any.admit("X", address, None).unwrap();
        for (class, wanted) in [
            (VERIFICATION, 0),
            (CT, 0),
            ("1.3.12.2.1107.5.9.1", 0),
            ("1.2.840.10008.5.1.4.1.2.2.1", 0),
            ("1.2.840.10008.5.1.4.1.2.3.1", 3),
            ("1.2.840.10008.5.1.1.9", 3),
            ("nonsense", 3),
        ] {
            assert_eq!(result(&request(class, None), &all), wanted, "{class}");
        }
        assert_eq!(result(&request(CT, Some((false, false))), &all), 1);
        let gets = agree(&request(CT, Some((false, true))), &all).unwrap();
        assert!(gets.contexts[0].gives && !gets.contexts[0].takes);
        assert!(gets.answer.roles[0].scp && !gets.answer.roles[0].scu);
        let mut even = request(CT, None);
        even.contexts[0].id = 2;
        assert!(agree(&even, &all).is_err());
    }
}
