//! Filters of subscriptions: the parameters of a search, kept as text and matched against each workitem.

use serde_json::{Value, json};

use super::matcher::Matcher;
use super::query::QueryDialect;
use super::query_parse::{QueryProblem, parse_workitems};

/// Longest text of a filter, in bytes.
pub const LONGEST_FILTER: usize = 4096;

/// A filter of a subscription.
#[derive(Debug)]
pub struct Filter(Matcher);

impl Filter {
    /// The filter of these parameters.
    ///
    /// # Errors
    /// As a search with them.
    pub fn new(pairs: &[(String, String)], dialect: QueryDialect) -> Result<Self, QueryProblem> {
        let parsed = parse_workitems(pairs, dialect, u64::MAX)?;
        Ok(Self(Matcher::new(&parsed.query.conditions)))
    }

    /// The text it is kept as.
    #[must_use]
    pub fn write(pairs: &[(String, String)], dialect: QueryDialect) -> String {
        json!({ "service": dialect == QueryDialect::Service, "pairs": pairs }).to_string()
    }

    /// The filter of a text that is kept; none when it cannot be read.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let dialect = match value.get("service")?.as_bool()? {
            true => QueryDialect::Service,
            false => QueryDialect::Standard,
        };
        let pair = |pair: &Value| {
            let text = |at: usize| Some(pair.get(at)?.as_str()?.to_owned());
            Some((text(0)?, text(1)?))
        };
        let pairs: Option<Vec<_>> = value.get("pairs")?.as_array()?.iter().map(pair).collect();
        Self::new(&pairs?, dialect).ok()
    }

    /// Whether a workitem passes; one that cannot be read does not.
    #[must_use]
    pub fn passes(&self, item: &str) -> bool {
        self.0.matches(item).unwrap_or(false)
    }
}
