//! Scheduled procedure steps over the web (PS3.18 chapter 14): the modality worklist for those that speak HTTP.

use std::sync::Arc;

use axum::response::Response;

use crate::archive::workitems::schedule::WriteEntry;
use crate::dicom::pieces::Pieces;
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::xml::XmlWriter;
use crate::http::error::HttpError;
use crate::http::extract::RetrieveRequest;
use crate::http::represent::DataSetFormat;
use crate::http::results::{AskedSearch, results};

/// The resource, below a root.
const RESOURCE: &str = "modality-scheduled-procedure-steps";

/// Searches scheduled procedure steps (§14.4).
///
/// # Errors
/// 400 for a bad parameter, 406 when neither JSON nor XML is acceptable, 413 when it would cost too much.
pub(in crate::http) async fn search_scheduled_steps(
    ask: RetrieveRequest,
) -> Result<Response, HttpError> {
    let AskedSearch {
        scope,
        form,
        parsed,
    } = AskedSearch::of(&ask, QueryDialect::Standard, u64::MAX)?;
    let archive = &ask.api.app.archive;
    let url = ask.links.resource([RESOURCE]);
    let write: WriteEntry = Arc::new(move |entry| {
        let pieces: Box<dyn Pieces> = match form {
            DataSetFormat::Json => Box::new(Some(entry.into_bytes())),
            DataSetFormat::Xml => Box::new(XmlWriter::new(entry, &url)),
        };
        (url.clone(), pieces)
    });
    let answer = archive
        .search_scheduled_steps(&scope, &parsed.query, write)
        .await?;
    let warnings = parsed.warnings.iter().map(ToString::to_string);
    results(archive, answer, form, warnings).await
}
