//! Searches for workitems: the parameters are those of every search, the keys those of PS3.4 Table CC.2.5-3.

use super::super::attributes::QueryLevel;
use super::super::workitem;
use super::role::{AttributeRole, leaf_vr};
use super::{
    Named, ParsedQuery, QueryDialect, QueryProblem, QueryReader, QueryResource, QueryWarning,
    Reason,
};

/// Reads the decoded parameters of a search for workitems; `most` is the highest limit of the DICOM service.
///
/// Every attribute of a workitem is matched where it stands. The DICOM service refuses what is no key, and keys without a value.
///
/// # Errors
/// As [`super::parse`].
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

impl<'a> QueryReader<'a> {
    pub(super) fn workitem_role(&self, named: &Named<'a>) -> Result<AttributeRole, Reason> {
        let path = &named.path;
        let first = path.0.first().ok_or(Reason::NotSearchable)?;
        if self.dialect == QueryDialect::Service {
            if !workitem::is_key(first.tag) {
                return Err(Reason::NotSearchable);
            }
            if named.value.trim().is_empty() {
                return Err(Reason::NoValue);
            }
        }
        // Who has claimed a workitem is nobody's business.
        if first.tag == workitem::TRANSACTION || first.tag == workitem::CHARACTER_SET {
            return Ok(AttributeRole::LeftOut(QueryWarning::NotMatched));
        }
        Ok(AttributeRole::Key(path.clone(), leaf_vr(path)))
    }
}
