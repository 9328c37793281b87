//! stand-in
use super::{keys::Level, query::*, uid::*};
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    Service,
}
pub struct Request<'a> {
    pub level: Level,
    pub study: Option<StudyUid>,
    pub series: Option<SeriesUid>,
    pub pairs: &'a [(String, String)],
    pub dialect: Dialect,
}
pub struct Parsed {
    pub query: Query,
    pub warnings: Vec<String>,
}
pub fn parse(r: Request<'_>) -> Result<Parsed, String> {
    use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
    let mut conditions = vec![];
    for (n, v) in r.pairs {
        if let Some(e) = dicom_dictionary_std::StandardDataDictionary.by_expr(n) {
            conditions.push(Condition {
                path: TagPath(vec![PathStep {
                    tag: e.tag(),
                    creator: None,
                }]),
                vr: e.vr().relaxed(),
                matching: Matching::Single(v.clone()),
                case: Case::Folded,
            });
        }
    }
    Ok(Parsed {
        query: Query {
            level: r.level,
            study: r.study,
            series: r.series,
            conditions,
            include: Include::Fields(vec![]),
            limit: None,
            offset: 0,
        },
        warnings: vec![],
    })
}
