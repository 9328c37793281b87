//! Searches for workitems, their scheduled steps and non-patient instances: what is asked, and the answer.

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::array::{array_body, items};
use super::error::{HttpError, ProblemType};
use super::extract::{QueryPairs, RetrieveRequest};
use super::represent::{
    DICOM_XML, DataSetFormat, NO_STORE, form, many_parts, warning, xml_part_stream,
};
use super::state::{ApiState, DICOM_JSON};
use crate::archive::Archive;
use crate::archive::services::search::paging::Remaining;
use crate::archive::workitems::search::{WorkitemAnswer, WriteWorkitem};
use crate::auth::Action;
use crate::dicom::pieces::Pieces;
use crate::dicom::query_parse::{ParsedQuery, QueryDialect, parse_workitems};
use crate::dicom::xml::XmlWriter;
use crate::scope::Scope;

/// What is asked of a search.
pub(super) struct AskedSearch {
    /// In what.
    pub(super) scope: Scope,
    /// How the answer is written.
    pub(super) form: DataSetFormat,
    /// For what.
    pub(super) parsed: ParsedQuery,
}

impl AskedSearch {
    /// Reads a request; `most` is the highest limit of the DICOM service.
    ///
    /// # Errors
    /// 400 for a bad parameter, 403 without the right to read, 406 when neither JSON nor XML is acceptable.
    pub(super) fn of(
        ask: &RetrieveRequest,
        dialect: QueryDialect,
        most: u64,
    ) -> Result<Self, HttpError> {
        let scope = ask.access.may(Action::Read)?;
        let form = form(&ask.preferences())?;
        refuse_markup(&ask.api, &ask.query)?;
        let parsed = parse_workitems(&ask.query.searched(), dialect, most)
            .map_err(|e| HttpError::bad_request(ProblemType::InvalidQuery, e.to_string()))?;
        Ok(Self {
            scope,
            form,
            parsed,
        })
    }
}

/// The DICOM service refuses `<` anywhere in a query (dicom-service §2).
pub(super) fn refuse_markup(api: &ApiState, pairs: &QueryPairs) -> Result<(), HttpError> {
    let marked = pairs
        .0
        .iter()
        .find(|(name, value)| name.contains('<') || value.contains('<'));
    match marked {
        Some((name, _)) if api.profile.dialect == QueryDialect::Service => Err(
            HttpError::invalid_query(name, "It must not hold the character '<'."),
        ),
        _ => Ok(()),
    }
}

/// Writes what was found, each item as one of the resource at a URL.
pub(super) fn written(url: String, form: DataSetFormat) -> WriteWorkitem {
    Arc::new(move |item| {
        let pieces: Box<dyn Pieces> = match form {
            DataSetFormat::Json => Box::new(item),
            DataSetFormat::Xml => Box::new(XmlWriter::new(item.whole()?, &url)),
        };
        Ok((url.clone(), pieces))
    })
}

/// How much lies behind a page, for a `Warning`.
pub(super) fn remaining(remaining: &Remaining) -> Option<String> {
    let number = match remaining {
        Remaining::Nothing => return None,
        Remaining::Exactly(n) => n.to_string(),
        Remaining::MoreThan(n) => format!("more than {n}"),
    };
    Some(format!(
        "There are {number} additional results that can be requested"
    ))
}

/// What a search found, as an array or in parts, with its warnings and how much lies behind the page.
///
/// # Errors
/// What the first result met.
pub(super) async fn results(
    archive: &Archive,
    answer: WorkitemAnswer,
    form: DataSetFormat,
    warnings: impl Iterator<Item = String>,
) -> Result<Response, HttpError> {
    let mut response = if form == DataSetFormat::Xml && !answer.empty {
        many_parts(DICOM_XML, xml_part_stream(archive, answer.parts)).await?
    } else {
        let body = array_body(items(archive, answer.parts)).await?;
        let media = HeaderValue::from_static(DICOM_JSON);
        ([(header::CONTENT_TYPE, media)], body).into_response()
    };
    let headers = response.headers_mut();
    for text in warnings.chain(remaining(&answer.remaining)) {
        headers.append(header::WARNING, warning(&text)?);
    }
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
