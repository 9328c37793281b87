//! A query string to a [`Query`]: parameters of PS3.18 §8.3.4 in the dialect of the root.
//!
//! | | DICOM service (`/v1`, `/v2`) | standard (`/dicom-web`) |
//! | --- | --- | --- |
//! | unknown parameter or attribute | 400 | ignored, warning |
//! | attribute that is no key of the resource | 400 | matched in the JSON of the newest instance, warning; ignored with a warning when it is a key of a lower level (Modality of a study: ModalitiesInStudy) |
//! | attribute given twice | 400 | all must match; UIDs become one list |
//! | case of text other than names | ignored | counts |
//! | limit | 1 to 200, 100 when not given, else 400 | any; no limit when not given |
//! | unknown includefield | 400 | ignored |
//! | `true`/`false` parameter with another value | 400 | ignored, warning |
//!
//! In both: names of parameters in any case; keywords in exact case; all matching types of the table in [`value`]; `all` among
//! includefields means all; attributes of a lower level than the resource are not included. A private attribute is named by
//! its full tag, and a creator given as parameter (`00190010=SIEMENS MR HEADER&00191008=…`) finds it in whatever block a file
//! has it (PS3.18 §8.3.4.3). A range of dates and one of the times belonging to them are matched as one range of
//! moments (PS3.4 §C.2.2.2.5). Dates and times are compared as stored; TimezoneOffsetFromUTC shifts nothing.
//! Invariant: whatever arrives, the number and size of conditions, values and included attributes is bounded.

mod problem;
#[cfg(test)]
mod tests;
pub mod value;

use dicom_core::{Tag, VR};

use super::keys::{self, Level};
use super::query::{Case, Condition, Include, Matching, Query, TagPath};
use super::query_tag::QueryTag;
use super::tag::{self, TagError};
use super::uid::{SeriesUid, StudyUid};
pub use problem::{ParameterName, QueryProblem, QueryWarning, Reason};
use value::Switches;

/// Most attributes of a search.
pub const MAX_CONDITIONS: usize = 100;
/// Most includefields, and of them most that lead into sequences.
pub const MAX_INCLUDES: usize = 1000;
const MAX_DOTTED_INCLUDES: usize = 64;
/// Longest single value in bytes.
pub const MAX_VALUE: usize = 4096;
/// Longest value that is a list of UIDs, in bytes.
const MAX_UID_LIST: usize = 1 << 16;
/// Most values of a list.
pub const MAX_LIST: usize = 1000;
/// Longest value with wildcards, in characters.
pub const MAX_PATTERN: usize = 256;
/// Highest limit of the DICOM service.
pub const MAX_LIMIT: u64 = 200;
/// Limit of the DICOM service when none is given.
pub const DEFAULT_LIMIT: u64 = 100;
/// What larger counts are cut to: far above any archive, far below overflow.
const MAX_COUNT: u64 = 1 << 53;
/// Most warnings of one search.
const MAX_WARNINGS: usize = 10;

/// Whose rules a search follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The DICOM service.
    Service,
    /// PS3.18.
    Standard,
}

/// What is searched: the path of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What is looked for.
    pub level: Level,
    /// Study in the path.
    pub study: Option<StudyUid>,
    /// Series in the path.
    pub series: Option<SeriesUid>,
}

/// A search as understood.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedQuery {
    /// What is asked.
    pub query: Query,
    /// What was not done as asked.
    pub warnings: Vec<QueryWarning>,
}

/// Reads the decoded parameters of a search; `tags` are the extended query tags that are ready and enabled.
///
/// # Errors
/// [`QueryProblem`] with the parameter and the reason, for a 400.
pub fn parse(
    parameters: &[(String, String)],
    resource: Resource,
    dialect: Dialect,
    tags: &[QueryTag],
) -> Result<ParsedQuery, QueryProblem> {
    let mut reader = Reader {
        dialect,
        resource,
        tags,
        switches: Switches::default(),
        limit: None,
        offset: None,
        attributes: Vec::new(),
        includes: Includes::default(),
        conditions: Vec::new(),
        creators: Vec::new(),
        warnings: Vec::new(),
    };
    for (name, value) in parameters {
        reader.parameter(name, value)?;
    }
    reader.finish()
}

/// An attribute the query string names.
#[derive(Debug, Clone)]
struct Named<'a> {
    name: &'a str,
    path: TagPath,
    value: &'a str,
}

/// A condition, and whether the client wrote it as a range: one time of day becomes a range too, but is none.
struct Draft {
    condition: Condition,
    ranged: bool,
}

#[derive(Debug, Default)]
struct Includes {
    all: bool,
    count: usize,
    dotted: usize,
    paths: Vec<TagPath>,
}

struct Reader<'a> {
    dialect: Dialect,
    resource: Resource,
    tags: &'a [QueryTag],
    switches: Switches,
    limit: Option<u64>,
    offset: Option<u64>,
    attributes: Vec<Named<'a>>,
    includes: Includes,
    conditions: Vec<Draft>,
    /// Private creators given as parameters: where they stand, and their names.
    creators: Vec<(TagPath, &'a str)>,
    warnings: Vec<QueryWarning>,
}

fn problem(name: &str, reason: Reason) -> QueryProblem {
    QueryProblem {
        parameter: ParameterName::new(name),
        reason,
    }
}

/// What an attribute is to this search.
enum Role {
    /// A key with an index, or one whose values the index returns anyway.
    Key(TagPath, VR),
    /// To be looked for in stored JSON.
    Stored(TagPath, VR),
    /// Left out, with a warning.
    LeftOut(fn(ParameterName) -> QueryWarning),
}

impl<'a> Reader<'a> {
    fn parameter(&mut self, name: &'a str, value: &'a str) -> Result<(), QueryProblem> {
        let refuse = |reason| problem(name, reason);
        match name.to_ascii_lowercase().as_str() {
            "limit" => {
                let limit = self.count(value, true).map_err(refuse)?;
                set_once(&mut self.limit, limit).map_err(refuse)
            }
            "offset" => {
                let offset = self.count(value, false).map_err(refuse)?;
                set_once(&mut self.offset, offset).map_err(refuse)
            }
            "fuzzymatching" => {
                let switch = self.switch(name, value)?;
                set_switch(&mut self.switches.fuzzy, switch).map_err(refuse)
            }
            "emptyvaluematching" => {
                let switch = self.switch(name, value)?;
                set_switch(&mut self.switches.empty, switch).map_err(refuse)
            }
            "multiplevaluematching" => {
                let switch = self.switch(name, value)?;
                set_switch(&mut self.switches.multiple, switch).map_err(refuse)
            }
            "includefield" => self.include(name, value),
            // Parameters of every request; whoever negotiates the answer has read them.
            "accept" | "charset" => Ok(()),
            _ => self.attribute(name, value),
        }
    }

    fn count(&self, value: &str, limit: bool) -> Result<u64, Reason> {
        let service = self.dialect == Dialect::Service;
        let reason = if limit && service {
            Reason::Limit
        } else {
            Reason::NotCount
        };
        let value = value.trim();
        let digits = value.strip_prefix('+').unwrap_or(value);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(reason);
        }
        // Digits only: what does not fit is too large.
        let count = digits.parse().unwrap_or(u64::MAX);
        if service && (limit && !(1..=MAX_LIMIT).contains(&count) || count > MAX_COUNT) {
            return Err(reason);
        }
        Ok(count.min(MAX_COUNT))
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<Option<bool>, QueryProblem> {
        let value = value.trim();
        if value.eq_ignore_ascii_case("true") {
            Ok(Some(true))
        } else if value.eq_ignore_ascii_case("false") {
            Ok(Some(false))
        } else if self.dialect == Dialect::Service {
            Err(problem(name, Reason::NotBoolean))
        } else {
            self.warn(QueryWarning::Ignored(ParameterName::new(name)));
            Ok(None)
        }
    }

    fn include(&mut self, name: &str, value: &str) -> Result<(), QueryProblem> {
        for field in value
            .split(',')
            .map(str::trim)
            .filter(|field| !field.is_empty())
        {
            self.includes.count += 1;
            if self.includes.count > MAX_INCLUDES {
                return Err(problem(name, Reason::TooManyIncludes));
            }
            if field.eq_ignore_ascii_case("all") {
                self.includes.all = true;
                continue;
            }
            match tag::parse_path(field) {
                Ok(path) => {
                    self.includes.dotted += usize::from(path.0.len() > 1);
                    if self.includes.dotted > MAX_DOTTED_INCLUDES {
                        return Err(problem(name, Reason::TooManyIncludes));
                    }
                    self.includes.paths.push(path);
                }
                Err(reason) if self.dialect == Dialect::Service => {
                    return Err(problem(name, Reason::UnknownInclude(reason)));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn attribute(&mut self, name: &'a str, value: &'a str) -> Result<(), QueryProblem> {
        let path = match tag::parse_path(name.trim()) {
            Ok(path) => path,
            Err(reason) => return self.unknown(name, reason),
        };
        if self.attributes.len() == MAX_CONDITIONS {
            return Err(problem(name, Reason::TooManyConditions));
        }
        let list = path
            .0
            .last()
            .is_some_and(|step| tag::vr(step.tag) == VR::UI);
        if value.len() > if list { MAX_UID_LIST } else { MAX_VALUE } {
            return Err(problem(name, Reason::TooLong));
        }
        let twice = self.attributes.iter().any(|other| other.path == path);
        if twice && self.dialect == Dialect::Service {
            return Err(problem(name, Reason::Duplicate));
        }
        self.attributes.push(Named { name, path, value });
        Ok(())
    }

    fn unknown(&mut self, name: &str, reason: TagError) -> Result<(), QueryProblem> {
        match self.dialect {
            Dialect::Service => Err(problem(name, Reason::Unknown(reason))),
            Dialect::Standard => {
                self.warn(QueryWarning::Ignored(ParameterName::new(name)));
                Ok(())
            }
        }
    }

    fn warn(&mut self, warning: QueryWarning) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn finish(mut self) -> Result<ParsedQuery, QueryProblem> {
        self.take_creators();
        for named in std::mem::take(&mut self.attributes) {
            self.condition(&named)?;
        }
        join_moments(&mut self.conditions);
        let include = self.included();
        let default = (self.dialect == Dialect::Service).then_some(DEFAULT_LIMIT);
        let query = Query {
            level: self.resource.level,
            study: self.resource.study,
            series: self.resource.series,
            conditions: self
                .conditions
                .into_iter()
                .map(|draft| draft.condition)
                .collect(),
            include,
            limit: self.limit.or(default),
            offset: self.offset.unwrap_or(0),
        };
        Ok(ParsedQuery {
            query,
            warnings: self.warnings,
        })
    }

    /// Takes the private creators that name the block of another attribute out of the conditions.
    fn take_creators(&mut self) {
        let attributes = std::mem::take(&mut self.attributes);
        let (creators, others): (Vec<_>, Vec<_>) = attributes
            .into_iter()
            .partition(|named| names_a_block(named));
        let asked = || {
            others
                .iter()
                .map(|named| &named.path)
                .chain(&self.includes.paths)
        };
        let (used, unused): (Vec<_>, Vec<_>) = creators
            .into_iter()
            .partition(|creator| asked().any(|path| uses(path, &creator.path)));
        self.creators = used
            .into_iter()
            .map(|named| (named.path, named.value))
            .collect();
        self.attributes = others;
        self.attributes.extend(unused);
        for named in &mut self.attributes {
            name_creators(&mut named.path, &self.creators);
        }
        for path in &mut self.includes.paths {
            name_creators(path, &self.creators);
        }
    }

    fn condition(&mut self, named: &Named<'a>) -> Result<(), QueryProblem> {
        let refuse = |reason| problem(named.name, reason);
        let role = match self.dialect {
            Dialect::Service => self.service_role(&named.path).map_err(refuse)?,
            Dialect::Standard => self.standard_role(&named.path),
        };
        let (path, vr, stored) = match role {
            Role::Key(path, vr) => (path, vr, false),
            Role::Stored(path, vr) => (path, vr, true),
            Role::LeftOut(warning) => {
                self.warn(warning(ParameterName::new(named.name)));
                return Ok(());
            }
        };
        let matching =
            value::matching(vr, named.value, self.switches, self.dialect).map_err(refuse)?;
        if stored && matching != Matching::Universal {
            self.warn(QueryWarning::NotIndexed(ParameterName::new(named.name)));
        }
        let folded = vr == VR::PN || self.dialect == Dialect::Service;
        let case = if folded {
            Case::Folded
        } else {
            Case::Sensitive
        };
        let condition = Condition {
            path,
            vr,
            matching,
            case,
        };
        let mut same = self
            .conditions
            .iter_mut()
            .filter(|other| other.condition.path == condition.path);
        match same.next() {
            Some(other) if vr == VR::UI => {
                join_lists(&mut other.condition.matching, condition.matching)
            }
            Some(other) if other.condition == condition => {}
            _ => self.conditions.push(Draft {
                condition,
                ranged: named.value.contains('-'),
            }),
        }
        Ok(())
    }

    /// The keys of the DICOM service: attributes with a column and extended query tags, where the resource has them.
    fn service_role(&self, path: &TagPath) -> Result<Role, Reason> {
        let first = path.0.first().ok_or(Reason::NotSearchable)?;
        if let Some(tag) = self.query_tag(path) {
            return if self.searched_here(tag.level) {
                Ok(Role::Key(tag.tag_path(), tag.vr))
            } else {
                Err(Reason::NotSearchable)
            };
        }
        let key = keys::key(first.tag).filter(|key| self.searched_here(key.level));
        match key {
            Some(key) if path.0.len() == 1 && key.column.is_some() => {
                Ok(Role::Key(path.clone(), key.vr))
            }
            Some(_) if path.0.len() > 1 => Ok(Role::Stored(path.clone(), leaf_vr(path))),
            _ => Err(Reason::NotSearchable),
        }
    }

    fn standard_role(&self, path: &TagPath) -> Role {
        /// Attributes that a search never matches, or that no stored object has.
        const NOT_MATCHED: &[Tag] = &[
            Tag(0x0008, 0x0005),
            Tag(0x0008, 0x0052),
            Tag(0x0008, 0x0053),
            Tag(0x0008, 0x0054),
            Tag(0x0008, 0x0056),
            Tag(0x0008, 0x0058),
            Tag(0x0008, 0x0062),
            Tag(0x0008, 0x0201),
            Tag(0x0008, 0x1190),
            Tag(0x0020, 0x1200),
            Tag(0x0020, 0x1202),
            Tag(0x0020, 0x1204),
        ];
        const MODALITY: Tag = Tag(0x0008, 0x0060);
        const MODALITIES: Tag = Tag(0x0008, 0x0061);
        if let Some(tag) = self.query_tag(path) {
            return if tag.level <= self.resource.level {
                Role::Key(tag.tag_path(), tag.vr)
            } else {
                Role::LeftOut(QueryWarning::LowerLevel)
            };
        }
        let Some(first) = path.0.first() else {
            return Role::LeftOut(QueryWarning::NotMatched);
        };
        let single = path.0.len() == 1;
        match keys::key(first.tag) {
            _ if single && NOT_MATCHED.contains(&first.tag) => {
                Role::LeftOut(QueryWarning::NotMatched)
            }
            Some(key) if key.level > self.resource.level && key.tag == MODALITY => {
                Role::Key(TagPath::from(MODALITIES), VR::CS)
            }
            Some(key) if key.level > self.resource.level && key.column.is_some() => {
                Role::LeftOut(QueryWarning::LowerLevel)
            }
            Some(key) if single && key.column.is_some() => Role::Key(path.clone(), key.vr),
            _ => Role::Stored(path.clone(), leaf_vr(path)),
        }
    }

    /// The extended query tag that a path names: a private one by the tag it was added with, or by its creator.
    fn query_tag(&self, path: &TagPath) -> Option<&'a QueryTag> {
        self.tags
            .iter()
            .find(|tag| path.single() == Some(tag.tag) || *path == tag.tag_path())
    }

    /// Whether the DICOM service searches attributes of a level at this resource: not below it, nor named in the path.
    fn searched_here(&self, level: Level) -> bool {
        let named = match level {
            Level::Study => self.resource.study.is_some(),
            Level::Series => self.resource.series.is_some(),
            Level::Instance => false,
        };
        level <= self.resource.level && !named
    }

    fn included(&mut self) -> Include {
        if self.includes.all {
            return Include::All;
        }
        let level = self.resource.level;
        let lower = |path: &TagPath| {
            path.0
                .first()
                .and_then(|step| keys::key(step.tag))
                .is_some_and(|key| key.level > level)
        };
        let mut seen = std::collections::HashSet::new();
        let mut paths = std::mem::take(&mut self.includes.paths);
        paths.retain(|path| !lower(path) && seen.insert(path.clone()));
        Include::Fields(paths)
    }
}

fn leaf_vr(path: &TagPath) -> VR {
    path.0.last().map_or(VR::UN, |step| {
        if step.creator.is_some() {
            VR::UN
        } else {
            tag::vr(step.tag)
        }
    })
}

fn set_once(slot: &mut Option<u64>, value: u64) -> Result<(), Reason> {
    match slot.replace(value) {
        Some(before) if before != value => Err(Reason::Twice),
        _ => Ok(()),
    }
}

fn set_switch(slot: &mut Option<bool>, value: Option<bool>) -> Result<(), Reason> {
    match (*slot, value) {
        (Some(before), Some(now)) if before != now => Err(Reason::Twice),
        (_, Some(_)) => {
            *slot = value;
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

/// A private creator with a value that can be a name.
fn names_a_block(named: &Named<'_>) -> bool {
    let creator = named
        .path
        .0
        .last()
        .is_some_and(|step| tag::is_creator(step.tag));
    let name = named.value.trim_matches([' ', '\0']);
    creator
        && !name.is_empty()
        && !name.contains(['*', '?', '\\'])
        && !name.contains(char::is_control)
}

/// Whether a step of the path lies in the block that the creator element reserves.
fn uses(path: &TagPath, creator: &TagPath) -> bool {
    (0..path.0.len()).any(|at| reserves(path, at, creator))
}

fn reserves(path: &TagPath, at: usize, creator: &TagPath) -> bool {
    let Some((last, before)) = creator.0.split_last() else {
        return false;
    };
    let block = path.0.get(at).and_then(|step| tag::creator_of(step.tag));
    let same_place = path.0.get(..at).is_some_and(|steps| {
        steps.len() == before.len() && steps.iter().zip(before).all(|(a, b)| a.tag == b.tag)
    });
    block == Some(last.tag) && same_place
}

/// Replaces full private tags by creator and element where the creator was given.
fn name_creators(path: &mut TagPath, creators: &[(TagPath, &str)]) {
    // Found before any step is changed: the creators are given with full tags.
    let found: Vec<Option<String>> = (0..path.0.len())
        .map(|at| {
            let creator = creators
                .iter()
                .find(|(creator, _)| reserves(path, at, creator));
            creator.map(|(_, name)| name.trim_matches([' ', '\0']).to_owned())
        })
        .collect();
    for (step, creator) in path.0.iter_mut().zip(found) {
        if creator.is_some() {
            step.tag = Tag(step.tag.0, step.tag.1 & 0xFF);
            step.creator = creator;
        }
    }
}

/// Two lists of UIDs become one; whoever asks for everything asks for no less with a list beside it.
fn join_lists(first: &mut Matching, second: Matching) {
    let (values, patterns) = match (values_of(first), values_of(&second)) {
        (Some((mut values, some)), Some((more, others))) => {
            values.extend(more);
            (values, some || others)
        }
        // Universal and empty matching stand for themselves; the narrower one is kept.
        (None, Some(_)) => {
            *first = second;
            return;
        }
        (_, None) => return,
    };
    let mut seen = std::collections::HashSet::new();
    let mut values = values;
    values.retain(|value| seen.insert(value.clone()));
    *first = match (values.len(), patterns) {
        (1, true) => Matching::Wildcard(values.remove(0)),
        (1, false) => Matching::Single(values.remove(0)),
        (_, true) => Matching::AnyWildcard(values),
        (_, false) => Matching::AnyOf(values),
    };
}

/// The values of a matching that is a list, and whether they are patterns.
fn values_of(matching: &Matching) -> Option<(Vec<String>, bool)> {
    match matching {
        Matching::Single(value) => Some((vec![value.clone()], false)),
        Matching::Wildcard(value) => Some((vec![value.clone()], true)),
        Matching::AnyOf(values) => Some((values.clone(), false)),
        Matching::AnyWildcard(values) => Some((values.clone(), true)),
        Matching::Universal
        | Matching::Empty
        | Matching::Range { .. }
        | Matching::DateTime { .. }
        | Matching::Number(_)
        | Matching::Words(_) => None,
    }
}

/// Dates and the times that belong to them.
const MOMENTS: &[(Tag, Tag)] = &[
    (Tag(0x0008, 0x0020), Tag(0x0008, 0x0030)),
    (Tag(0x0008, 0x0021), Tag(0x0008, 0x0031)),
    (Tag(0x0008, 0x0022), Tag(0x0008, 0x0032)),
    (Tag(0x0008, 0x0023), Tag(0x0008, 0x0033)),
    (Tag(0x0040, 0x0244), Tag(0x0040, 0x0245)),
];

/// Makes one range of moments of a range of dates and a range of the times belonging to them (PS3.4 §C.2.2.2.5.4).
fn join_moments(conditions: &mut Vec<Draft>) {
    for (date, time) in MOMENTS {
        let at = |tag: Tag, conditions: &[Draft]| {
            let named = |draft: &Draft| draft.condition.path.single() == Some(tag);
            let mut found = conditions
                .iter()
                .enumerate()
                .filter(|(_, draft)| named(draft));
            match (found.next(), found.next()) {
                (
                    Some((
                        at,
                        Draft {
                            condition,
                            ranged: true,
                        },
                    )),
                    None,
                ) => match &condition.matching {
                    Matching::Range { from, to } => Some((at, from.clone(), to.clone())),
                    _ => None,
                },
                _ => None,
            }
        };
        let (Some((date_at, first, last)), Some((time_at, start, end))) =
            (at(*date, conditions), at(*time, conditions))
        else {
            continue;
        };
        if first == last {
            continue;
        }
        let start = start.unwrap_or_else(|| "000000.000000".to_owned());
        let end = end.unwrap_or_else(|| "235959.999999".to_owned());
        let joined = Matching::DateTime {
            time: *time,
            from: first.map(|day| day + &start),
            to: last.map(|day| day + &end),
        };
        if let Some(draft) = conditions.get_mut(date_at) {
            draft.condition.matching = joined;
            conditions.remove(time_at);
        }
    }
}
