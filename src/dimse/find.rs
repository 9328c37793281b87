//! C-FIND: the searches of QIDO-RS, asked by identifiers (PS3.4 §C.4.1).
//!
//! Invariants: what matches is decided where QIDO decides it, so both find the same; results are sent as they are found, and a
//! cancel is heard between two of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use futures_util::StreamExt;

use super::association::{Answered, Association, DimseRefusal, MAX_QUERY};
use super::audit::{Deed, DimseOutcome};
use super::command::{DimseCommand, status};
use super::dataset::{Elements, Identifier, text_element, write};
use super::negotiate::{Accepted, Root};
use super::wire::PeerGone;
use crate::archive::services::search::paging::Paging;
use crate::archive::services::search::{FieldSelection, ResultRow, SearchResult, Write};
use crate::auth::Action;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::members::JsonElement;
use crate::dicom::query::Query;
use crate::dicom::query_parse::{self, QueryDialect, QueryResource};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::tag;
use crate::memory::Purpose;
use crate::scope::Scope;

/// Memory of a patient that was answered already, in bytes.
const PATIENT: usize = 96;

/// Level of a query (PS3.4 §C.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindLevel {
    /// Patients.
    Patient,
    /// Studies.
    Study,
    /// Series.
    Series,
    /// Instances.
    Image,
}

impl FindLevel {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "PATIENT" => Self::Patient,
            "STUDY" => Self::Study,
            "SERIES" => Self::Series,
            // Some say so, and nothing else can be meant.
            "IMAGE" | "INSTANCE" => Self::Image,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "PATIENT",
            Self::Study => "STUDY",
            Self::Series => "SERIES",
            Self::Image => "IMAGE",
        }
    }

    /// The level whose rows are read.
    pub(super) fn rows(self) -> QueryLevel {
        match self {
            Self::Patient | Self::Study => QueryLevel::Study,
            Self::Series => QueryLevel::Series,
            Self::Image => QueryLevel::Instance,
        }
    }

    /// The unique key of the level.
    pub(super) fn unique(self) -> Tag {
        match self {
            Self::Patient => tags::PATIENT_ID,
            Self::Study => tags::STUDY_INSTANCE_UID,
            Self::Series => tags::SERIES_INSTANCE_UID,
            Self::Image => tags::SOP_INSTANCE_UID,
        }
    }

    /// The levels above in an information model.
    fn above(self, root: Root) -> impl Iterator<Item = Self> {
        let all = [Self::Patient, Self::Study, Self::Series];
        let first = match root {
            Root::Patient => Self::Patient,
            Root::Study => Self::Study,
        };
        all.into_iter()
            .filter(move |level| *level >= first && *level < self)
    }
}

/// The level of an identifier, once its keys of upper levels are known to be there.
pub(super) fn level_of(
    keys: &Identifier,
    root: Root,
    relational: bool,
) -> Result<FindLevel, DimseRefusal> {
    let mismatch = |comment: String| DimseRefusal::new(status::MISMATCH, comment);
    let level = FindLevel::parse(keys.get(tags::QUERY_RETRIEVE_LEVEL)).ok_or_else(|| {
        mismatch("(0008,0052) must be PATIENT, STUDY, SERIES or IMAGE".to_owned())
    })?;
    if level == FindLevel::Patient && root == Root::Study {
        return Err(mismatch(
            "the Study Root model has no level PATIENT".to_owned(),
        ));
    }
    for above in level.above(root).filter(|_| !relational) {
        let value = keys.get(above.unique());
        if value.is_empty() || value.contains(['*', '?', '\\']) {
            let name = tag::keyword(above.unique()).unwrap_or_default();
            return Err(mismatch(format!("{name} must be one value at this level")));
        }
    }
    Ok(level)
}

/// Attributes that say something of the query or of the answer, not of what is looked for.
const OF_THE_QUERY: [Tag; 6] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::QUERY_RETRIEVE_LEVEL,
    Tag(0x0008, 0x0053),
    tags::RETRIEVE_AE_TITLE,
    tags::INSTANCE_AVAILABILITY,
    tags::TIMEZONE_OFFSET_FROM_UTC,
];

/// What QIDO would be asked.
pub(super) fn parameters(keys: &Identifier, level: FindLevel) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    for key in &keys.keys {
        let Some(first) = key.path.first().filter(|tag| !OF_THE_QUERY.contains(tag)) else {
            continue;
        };
        if level == FindLevel::Patient && first.0 != 0x0010 {
            continue;
        }
        let path: Vec<String> = key.path.iter().map(|tag| tag::hex(*tag)).collect();
        if !key.value.is_empty() {
            parameters.push((path.join("."), key.value.clone()));
        }
        let field = ("includefield".to_owned(), tag::hex(*first));
        if !parameters.contains(&field) {
            parameters.push(field);
        }
    }
    parameters
}

/// A search that is understood.
struct FindSearch {
    query: Query,
    /// Something that was asked for is not matched or not known.
    partly: bool,
    level: FindLevel,
}

impl Association {
    /// Answers a query.
    pub(super) async fn find(
        &mut self,
        accepted: &Accepted,
        root: Root,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let keys = self.identifier(accepted, command, MAX_QUERY).await?;
        let found = match keys {
            Ok((keys, _held)) => match self.search(accepted, root, &keys).await {
                Ok((answer, search)) => {
                    Box::pin(self.send_found(accepted, command, answer, &search)).await?
                }
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        self.end_find(accepted, command, found).await
    }

    /// Answers a query that ended so.
    pub(super) async fn end_find(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
        found: Result<u16, DimseRefusal>,
    ) -> Result<Answered, PeerGone> {
        let answer = match found {
            Ok(status) => DimseCommand::response(command, status),
            Err(refusal) => {
                DimseCommand::response(command, refusal.status).comment(&refusal.comment)
            }
        };
        let status = answer.status();
        self.note(
            Deed::Searched,
            "C-FIND",
            DimseOutcome::of(status),
            BTreeMap::new(),
        )
        .await;
        self.respond(accepted.id, &answer).await?;
        Ok(Answered {
            service: "C-FIND",
            status,
        })
    }

    async fn search(
        &self,
        accepted: &Accepted,
        root: Root,
        keys: &Identifier,
    ) -> Result<(SearchResult, FindSearch), DimseRefusal> {
        let scope = self.may_read()?;
        let level = level_of(keys, root, accepted.relational)?;
        let mut parameters = parameters(keys, level);
        // Told apart by these, whether they were asked for or not.
        parameters.push(("includefield".to_owned(), tag::hex(level.unique())));
        if level == FindLevel::Patient {
            parameters.push((
                "includefield".to_owned(),
                tag::hex(tags::ISSUER_OF_PATIENT_ID),
            ));
        }
        if accepted.fuzzy {
            parameters.push(("fuzzymatching".to_owned(), "true".to_owned()));
        }
        let (query, known, partly) = self.query(&parameters, level.rows()).await?;
        let search = FindSearch {
            query,
            partly,
            level,
        };
        let fields = FieldSelection {
            default: &[],
            all: &[],
            required: &[],
            own_level_only: true,
        };
        let write = self.writes(accepted, keys, level);
        let answer = self
            .gateway
            .archive
            .search(
                &scope,
                &search.query,
                &known,
                fields,
                Paging::default(),
                write,
            )
            .await?;
        Ok((answer, search))
    }

    /// The query that QIDO makes of such parameters, the query tags it may use, and whether something of it was left out.
    pub(super) async fn query(
        &self,
        parameters: &[(String, String)],
        level: QueryLevel,
    ) -> Result<(Query, Arc<Vec<crate::archive::TagRow>>, bool), DimseRefusal> {
        let tags = self.gateway.archive.ready_tags().await?;
        let known: Vec<QueryTag> = tags.iter().map(|row| row.tag.clone()).collect();
        let resource = QueryResource {
            level,
            study: None,
            series: None,
        };
        let parsed = query_parse::parse(parameters, resource, QueryDialect::Standard, &known);
        let parsed = parsed
            .map_err(|problem| DimseRefusal::new(status::MISMATCH, problem.reason.to_string()))?;
        let partly = !parsed.warnings.is_empty();
        Ok((parsed.query, Arc::new(tags), partly))
    }

    /// Whether the peer may read, and what.
    pub(super) fn may_read(&self) -> Result<Scope, DimseRefusal> {
        if let Some(blocked) = self.blocked() {
            return Err(blocked);
        }
        self.peer.scope(Action::Read).ok_or_else(|| {
            DimseRefusal::new(
                status::NOT_AUTHORIZED,
                "this AE title may not search or retrieve",
            )
        })
    }

    /// Writes a row as a data set that has what was asked for, empty where there is nothing.
    fn writes(&self, accepted: &Accepted, keys: &Identifier, level: FindLevel) -> Write {
        let asked: Vec<Tag> = {
            let firsts = keys.keys.iter().filter_map(|key| key.path.first().copied());
            let mut asked: Vec<Tag> = firsts.collect();
            asked.dedup();
            asked
        };
        let (syntax, terms) = (accepted.syntax.clone(), keys.terms.clone());
        let title = self.gateway.title.clone();
        Arc::new(move |row: ResultRow| {
            let mut out = Elements::new();
            let mut attributes = row.attributes;
            let patient = |tag: Tag, from: &BTreeMap<Tag, String>| {
                let json = from.get(&tag).map_or("", String::as_str);
                let text = JsonElement::new(json).strings().next();
                text.map_or_else(String::new, |text| text.into_owned())
            };
            let who = match level {
                FindLevel::Patient => format!(
                    "{}\\{}",
                    patient(tags::PATIENT_ID, &attributes),
                    patient(tags::ISSUER_OF_PATIENT_ID, &attributes)
                ),
                _ => String::new(),
            };
            for tag in &asked {
                let value = attributes.remove(tag);
                let empty = || text_element(tag::vr(*tag), "");
                out.insert(*tag, value.unwrap_or_else(empty));
            }
            let mut put = |tag: Tag, vr, text: &str| out.insert(tag, text_element(vr, text));
            put(tags::QUERY_RETRIEVE_LEVEL, VR::CS, level.as_str());
            put(tags::RETRIEVE_AE_TITLE, VR::AE, &title);
            if asked.contains(&tags::INSTANCE_AVAILABILITY) {
                put(tags::INSTANCE_AVAILABILITY, VR::CS, "ONLINE");
            }
            Ok((who, Box::new(Some(write(out, &syntax, &terms)))))
        })
    }

    /// Sends results until there are no more, or they are cancelled.
    async fn send_found(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
        mut answer: SearchResult,
        search: &FindSearch,
    ) -> Result<Result<u16, DimseRefusal>, PeerGone> {
        let pending = if search.partly {
            status::PENDING_WARNING
        } else {
            status::PENDING
        };
        let pending = DimseCommand::response(command, pending).with_data();
        let mut seen = HashSet::new();
        let archive = self.gateway.archive.clone();
        let mut held = archive.budget().nothing(Purpose::Associations);
        self.begin_answer();
        loop {
            let part = tokio::select! {
                biased;
                cancelled = cancelled(&mut self.reader, command) => {
                    cancelled?;
                    return Ok(Ok(status::CANCELLED));
                }
                part = answer.parts.next() => part,
            };
            let part = match part {
                None => return Ok(Ok(status::SUCCESS)),
                Some(Ok(part)) => part,
                Some(Err(error)) => return Ok(Err(error.into())),
            };
            if search.level == FindLevel::Patient {
                let bytes = seen.len().saturating_add(1).saturating_mul(PATIENT);
                if let Err(error) = held.grow_to(bytes).await {
                    return Ok(Err(crate::archive::ArchiveError::from(error).into()));
                }
                let unnamed = part.location.starts_with('\\');
                if unnamed || !seen.insert(*blake3::hash(part.location.as_bytes()).as_bytes()) {
                    continue;
                }
            }
            self.writer.command(accepted.id, &pending).await?;
            let mut pieces = archive.pieces(part);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => self.writer.data(accepted.id, &piece).await?,
                    Err(error) => return Ok(Err(error.into())),
                }
            }
            self.writer.end_data(accepted.id);
            self.writer.flush().await?;
        }
    }
}

/// Ends when the peer cancels a request of its own; whatever else it sends meanwhile ends the association.
pub(super) async fn cancelled(
    reader: &mut super::wire::WireReader,
    request: &DimseCommand,
) -> Result<(), PeerGone> {
    use super::command::{element, field};
    use super::wire::{WireEvent, unexpected};
    loop {
        match reader.next().await? {
            WireEvent::Command { command, .. } => {
                if command.field() != field::CANCEL {
                    return Err(unexpected(
                        "a request came before the one before it was answered",
                    ));
                }
                if command.get(element::RESPONDED) == Some(request.message()) {
                    return Ok(());
                }
            }
            WireEvent::ReleaseRequest => return Err(PeerGone::Released),
            WireEvent::Data { .. } | WireEvent::ReleaseResponse => {
                return Err(unexpected("something came while a request was answered"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::dataset::IdentifierKey;

    fn keys(pairs: &[(Tag, &str)]) -> Identifier {
        Identifier {
            keys: pairs
                .iter()
                .map(|(tag, value)| IdentifierKey {
                    path: vec![*tag],
                    value: (*value).to_owned(),
                    item: 0,
                })
                .collect(),
            terms: String::new(),
        }
    }

    #[test]
    fn upper_levels_are_named_unless_the_query_is_relational() {
        let level = tags::QUERY_RETRIEVE_LEVEL;
        let study = (tags::STUDY_INSTANCE_UID, "1.2");
        let of = |pairs: &[(Tag, &str)], root, relational| {
            level_of(&keys(pairs), root, relational).map_err(|refusal| refusal.status)
        };
        assert_eq!(of(&[], Root::Study, true), Err(0xA900));
        assert_eq!(of(&[(level, "PATIENT")], Root::Study, true), Err(0xA900));
        assert_eq!(
            of(&[(level, "PATIENT")], Root::Patient, false),
            Ok(FindLevel::Patient)
        );
        assert_eq!(
            of(&[(level, "STUDY")], Root::Study, false),
            Ok(FindLevel::Study)
        );
        assert_eq!(of(&[(level, "STUDY")], Root::Patient, false), Err(0xA900));
        assert_eq!(of(&[(level, "SERIES")], Root::Study, false), Err(0xA900));
        assert_eq!(
            of(&[(level, "SERIES")], Root::Study, true),
            Ok(FindLevel::Series)
        );
        assert_eq!(
            of(&[(level, "SERIES"), study], Root::Study, false),
            Ok(FindLevel::Series)
        );
        let list = (tags::STUDY_INSTANCE_UID, "1.2\\1.3");
        assert_eq!(
            of(&[(level, "SERIES"), list], Root::Study, false),
            Err(0xA900)
        );
    }
}
