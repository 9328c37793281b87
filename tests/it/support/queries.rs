//! Queries of the index, in short.

use dicom_core::{Tag, VR};
use stowage::dicom::attributes::{QueryLevel, key};
use stowage::dicom::query::{Case, Condition, Include, Matching, PathStep, Query, TagPath};
use stowage::index::{MatchedRow, Page};
use stowage::scope::Scope;

use super::index::TestIndex;

/// A query without conditions.
pub(crate) fn query(level: QueryLevel) -> Query {
    Query {
        level,
        study: None,
        series: None,
        conditions: Vec::new(),
        include: Include::Fields(Vec::new()),
        limit: Some(1000),
        offset: 0,
        order: None,
    }
}

/// One condition; case counts.
pub(crate) fn condition(tag: u32, matching: Matching) -> Condition {
    let tag = Tag(
        u16::try_from(tag >> 16).unwrap(),
        u16::try_from(tag & 0xFFFF).unwrap(),
    );
    Condition {
        path: TagPath(vec![PathStep { tag, creator: None }]),
        vr: key(tag).map_or(VR::LO, |key| key.vr),
        matching,
        case: Case::Sensitive,
    }
}

/// Runs a query over everything.
pub(crate) async fn search(index: &TestIndex, query: &Query) -> Page {
    let page = index
        .search(&Scope::everything(), query, &[], None, usize::MAX)
        .await;
    page.unwrap()
}

/// Studies whose attributes have these values.
pub(crate) async fn studies(index: &TestIndex, values: &[(u32, &str)]) -> Vec<MatchedRow> {
    let mut query = query(QueryLevel::Study);
    for (tag, value) in values {
        query
            .conditions
            .push(condition(*tag, Matching::Single((*value).to_owned())));
    }
    search(index, &query).await.rows
}
