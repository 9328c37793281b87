//! A query string to a [`Query`]: parameters of PS3.18 §8.3.4 in the dialect of the root.
//!
//! | | DICOM service (`/v1`, `/v2`) | standard (`/dicom-web`) |
//! | --- | --- | --- |
//! | unknown parameter or attribute | 400 | ignored, warning |
//! | attribute that is no key of the resource | 400 | matched in the JSON of the newest instance, warning; ignored with a warning when it is a key of a lower level (Modality of a study: `ModalitiesInStudy`) |
//! | attribute given twice | 400 | all must match; UIDs become one list |
//! | case of text other than names | ignored | counts |
//! | limit | 1 to 200, 100 when not given, else 400 | any; no limit when not given |
//! | attribute without a value | 400 | universal matching |
//! | unknown includefield | 400 | ignored, warning |
//! | `true`/`false` parameter with another value | 400 | ignored, warning |
//! | `orderby` something else than [`SortKey`], or not of studies | 400 | ignored, warning |
//!
//! In both: names of parameters in any case; keywords in exact case; all matching types of the table in [`value`]; `all` among
//! includefields means all; attributes of a lower level than the resource are not included. A private attribute is named by
//! its full tag, and a creator given as parameter (`00190010=SIEMENS MR HEADER&00191008=…`) finds it in whatever block a file
//! has it (PS3.18 §8.3.4.3). A range of dates and one of the times belonging to them are matched as one range of
//! moments (PS3.4 §C.2.2.2.5). Dates and times are compared as stored; `TimezoneOffsetFromUTC` shifts nothing.
//! Invariant: whatever arrives, the number and size of conditions, values and included attributes is bounded.

mod draft;
mod join;
mod likely;
mod limits;
mod private;
mod problem;
mod role;
#[cfg(test)]
mod tests;
pub mod value;

use dicom_core::VR;

use super::attributes::{self, QueryLevel};
use super::query::{Case, Condition, Include, Matching, Order, Query, SortKey, TagPath};
pub use super::query::{QueryDialect, QueryResource};
use super::query_tag::QueryTag;
use super::tag::{self, TagError};
use super::temporal::TemporalError;
use draft::{Draft, Named};
use join::{join_lists, join_moments};
pub use limits::{
    DEFAULT_LIMIT, MAX_CONDITIONS, MAX_INCLUDES, MAX_LIMIT, MAX_LIST, MAX_PATTERN, MAX_VALUE,
};
use limits::{MAX_COUNT, MAX_DOTTED_INCLUDES, MAX_UID_LIST, MAX_WARNINGS};
use private::{name_creators, names_a_block, uses};
pub use problem::{ParameterName, QueryProblem, QueryWarning, Reason};
use role::AttributeRole;
use value::{Switches, set_once, set_switch};

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
    resource: QueryResource,
    dialect: QueryDialect,
    tags: &[QueryTag],
) -> Result<ParsedQuery, QueryProblem> {
    QueryReader::new(resource, dialect, tags).read(parameters)
}

/// Reads the decoded parameters of a search for workitems; `most` is the highest limit of the DICOM service.
///
/// Every attribute of a workitem is matched where it stands. The DICOM service refuses what is no key, and keys without a value.
///
/// # Errors
/// As [`parse`].
pub fn parse_workitems(
    parameters: &[(String, String)],
    dialect: QueryDialect,
    most: u64,
) -> Result<ParsedQuery, QueryProblem> {
    let resource = QueryResource {
        level: QueryLevel::Instance,
        study: None,
        series: None,
    };
    let reader = QueryReader {
        workitems: true,
        most,
        ..QueryReader::new(resource, dialect, &[])
    };
    reader.read(parameters)
}

#[derive(Debug, Default)]
struct Includes {
    all: bool,
    count: usize,
    dotted: usize,
    paths: Vec<TagPath>,
}

struct QueryReader<'a> {
    dialect: QueryDialect,
    resource: QueryResource,
    tags: &'a [QueryTag],
    /// Workitems are searched, and not what is stored.
    workitems: bool,
    /// Highest limit under the rules of the DICOM service.
    most: u64,
    switches: Switches,
    limit: Option<u64>,
    offset: Option<u64>,
    order: Option<Order>,
    attributes: Vec<Named<'a>>,
    includes: Includes,
    conditions: Vec<Draft>,
    /// Private creators given as parameters: where they stand, and their names.
    creators: Vec<(TagPath, &'a str)>,
    warnings: Vec<QueryWarning>,
    /// Unknown names that were looked for: as many as are told.
    looked_for: Vec<String>,
}

fn problem(name: &str, reason: Reason) -> QueryProblem {
    QueryProblem {
        parameter: ParameterName::new(name),
        reason,
    }
}

impl<'a> QueryReader<'a> {
    fn new(resource: QueryResource, dialect: QueryDialect, tags: &'a [QueryTag]) -> Self {
        Self {
            dialect,
            resource,
            tags,
            workitems: false,
            most: MAX_LIMIT,
            switches: Switches::default(),
            limit: None,
            offset: None,
            order: None,
            attributes: Vec::new(),
            includes: Includes::default(),
            conditions: Vec::new(),
            creators: Vec::new(),
            warnings: Vec::new(),
            looked_for: Vec::new(),
        }
    }

    fn read(mut self, parameters: &'a [(String, String)]) -> Result<ParsedQuery, QueryProblem> {
        for (name, value) in parameters {
            self.parameter(name, value)?;
        }
        self.finish()
    }

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
            "orderby" => self.order(name, value),
            // Parameters of every request; whoever negotiates the answer has read them.
            "accept" | "charset" => Ok(()),
            _ => self.attribute(name, value),
        }
    }

    fn count(&self, value: &str, limit: bool) -> Result<u64, Reason> {
        let service = self.dialect == QueryDialect::Service;
        let reason = if limit && service {
            Reason::Limit(self.most)
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
        if service && (limit && !(1..=self.most).contains(&count) || count > MAX_COUNT) {
            return Err(reason);
        }
        Ok(count.min(MAX_COUNT))
    }

    /// `StudyDate`, `-StudyDate` for the other way round, or its number.
    fn order(&mut self, name: &str, value: &str) -> Result<(), QueryProblem> {
        let value = value.trim();
        let (field, descending) = match value.strip_prefix('-') {
            Some(field) => (field, true),
            None => (value, false),
        };
        let by = tag::parse_path(field).ok().and_then(|path| {
            let [step] = path.0.as_slice() else {
                return None;
            };
            let mut keys = SortKey::ALL.into_iter();
            keys.find(|key| step.creator.is_none() && key.tag() == step.tag)
        });
        match by.filter(|_| self.resource.level == QueryLevel::Study) {
            Some(by) => {
                let order = Order { by, descending };
                set_once(&mut self.order, order).map_err(|reason| problem(name, reason))
            }
            None if self.dialect == QueryDialect::Service => Err(problem(name, Reason::Order)),
            None => {
                self.warn(QueryWarning::NotSorted(ParameterName::new(name)));
                Ok(())
            }
        }
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<Option<bool>, QueryProblem> {
        let value = value.trim();
        if value.eq_ignore_ascii_case("true") {
            Ok(Some(true))
        } else if value.eq_ignore_ascii_case("false") {
            Ok(Some(false))
        } else if self.dialect == QueryDialect::Service {
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
                Err(reason) if self.dialect == QueryDialect::Service => {
                    return Err(problem(name, Reason::UnknownInclude(reason)));
                }
                Err(_) => {
                    self.warn_unknown(field, QueryWarning::NotIncluded);
                }
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
        if twice && self.dialect == QueryDialect::Service {
            return Err(problem(name, Reason::Duplicate));
        }
        self.attributes.push(Named { name, path, value });
        Ok(())
    }

    fn unknown(&mut self, name: &str, reason: TagError) -> Result<(), QueryProblem> {
        match self.dialect {
            QueryDialect::Service => Err(problem(name, Reason::Unknown(reason))),
            QueryDialect::Standard => {
                self.warn_unknown(name, QueryWarning::Unknown);
                Ok(())
            }
        }
    }

    /// Warns of a name that is unknown, and names the one that was probably meant.
    fn warn_unknown(
        &mut self,
        name: &str,
        warning: fn(ParameterName, Option<&'static str>) -> QueryWarning,
    ) {
        // Looking for it takes a while, so only for those that are told, and once.
        if self.looked_for.len() < MAX_WARNINGS
            && !self.looked_for.iter().any(|looked| looked == name)
        {
            self.looked_for.push(name.to_owned());
            self.warn(warning(ParameterName::new(name), likely::likely(name)));
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
        if let Some(problem) = self
            .conditions
            .iter_mut()
            .find_map(|draft| draft.reversed.take())
        {
            return Err(problem);
        }
        let include = self.included();
        let default = (self.dialect == QueryDialect::Service).then_some(DEFAULT_LIMIT);
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
            order: self.order,
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
            _ if self.workitems => role::of_workitem(named, self.dialect).map_err(refuse)?,
            QueryDialect::Service => {
                role::of_service(&named.path, &self.resource, self.tags).map_err(refuse)?
            }
            QueryDialect::Standard => role::of_standard(&named.path, &self.resource, self.tags),
        };
        let (path, vr, stored) = match role {
            AttributeRole::Key(path, vr) => (path, vr, false),
            AttributeRole::Stored(path, vr) => (path, vr, true),
            AttributeRole::LeftOut(warning) => {
                self.warn(warning(ParameterName::new(named.name)));
                return Ok(());
            }
        };
        // The service has no universal matching by an empty value; `*` is one of its wildcards.
        if self.dialect == QueryDialect::Service && named.value.trim().is_empty() {
            return Err(refuse(Reason::NoValue));
        }
        let (matching, reversed) =
            match value::matching(vr, named.value, self.switches, self.dialect) {
                Ok(matching) => (matching, None),
                Err(Reason::Temporal(TemporalError::Reversed)) if vr == VR::TM => {
                    let problem = refuse(Reason::Temporal(TemporalError::Reversed));
                    (
                        value::unordered(vr, named.value).map_err(refuse)?,
                        Some(problem),
                    )
                }
                Err(reason) => return Err(refuse(reason)),
            };
        if stored && matching != Matching::Universal {
            self.warn(QueryWarning::NotIndexed(ParameterName::new(named.name)));
        }
        let normalized = vr == VR::PN || self.dialect == QueryDialect::Service;
        let case = if normalized {
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
            _ => {
                let ranged = named.value.contains('-');
                self.conditions.push(Draft {
                    condition,
                    ranged,
                    reversed,
                });
            }
        }
        Ok(())
    }

    fn included(&mut self) -> Include {
        if self.includes.all {
            return Include::All;
        }
        let level = self.resource.level;
        let lower = |path: &TagPath| {
            !self.workitems
                && path
                    .0
                    .first()
                    .and_then(|step| attributes::key(step.tag))
                    .is_some_and(|key| key.level > level)
        };
        let mut seen = std::collections::HashSet::new();
        let mut paths = std::mem::take(&mut self.includes.paths);
        paths.retain(|path| !lower(path) && seen.insert(path.clone()));
        Include::Fields(paths)
    }
}
