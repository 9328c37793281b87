//! Searching for workitems (PS3.18 §11.9).

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::array::{array_body, items};
use super::super::error::{HttpError, ProblemType};
use super::super::extract::RetrieveRequest;
use super::super::links::Links;
use super::super::profile::NoMatch;
use super::super::qido;
use super::super::represent::{DICOM_XML, DataSetFormat, form, many_parts, xml_part_stream};
use super::super::state::DICOM_JSON;
use super::{NO_STORE, refused, warning};
use crate::archive::services::search::paging::Remaining;
use crate::archive::workitems::search::WriteWorkitem;
use crate::auth::Action;
use crate::dicom::pieces::Pieces;
use crate::dicom::query_parse::parse_workitems;
use crate::dicom::xml::XmlWriter;

/// Searches workitems.
///
/// # Errors
/// 400 for a bad parameter, 406 when neither JSON nor XML is acceptable, 413 when it would cost too much.
pub(in crate::http) async fn search_workitems(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let (api, profile) = (&ask.api, ask.api.profile);
    let form = form(&ask.preferences())?;
    qido::refuse_markup(api, &ask.query)?;
    let parameters = ask.query.searched();
    let parsed = parse_workitems(&parameters, profile.dialect, profile.most_workitems)
        .map_err(|e| HttpError::bad_request(ProblemType::InvalidQuery, e.to_string()))?;
    let archive = &api.app.archive;
    let write = written(ask.links.clone(), form);
    let answer = archive.search_workitems(&scope, &parsed.query, write).await;
    let answer = answer.map_err(|error| refused(api, error))?;
    let mut response = if answer.empty && profile.no_match == NoMatch::NoContent {
        StatusCode::NO_CONTENT.into_response()
    } else if form == DataSetFormat::Xml && !answer.empty {
        many_parts(DICOM_XML, xml_part_stream(archive, answer.parts)).await?
    } else {
        let body = array_body(items(archive, answer.parts)).await?;
        let media = HeaderValue::from_static(DICOM_JSON);
        ([(header::CONTENT_TYPE, media)], body).into_response()
    };
    let remaining = match answer.remaining {
        Remaining::Nothing => None,
        Remaining::Exactly(n) => Some(format!(
            "There are {n} additional results that can be requested"
        )),
        Remaining::MoreThan(n) => Some(format!(
            "There are more than {n} additional results that can be requested"
        )),
    };
    let headers = response.headers_mut();
    let warnings = parsed.warnings.iter().map(ToString::to_string);
    for text in warnings.chain(remaining) {
        headers.append(header::WARNING, warning(&text)?);
    }
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Writes a workitem that was found.
fn written(links: Links, form: DataSetFormat) -> WriteWorkitem {
    Arc::new(move |item| {
        let url = links.resource(["workitems"]);
        let pieces: Box<dyn Pieces> = match form {
            DataSetFormat::Json => Box::new(item),
            DataSetFormat::Xml => Box::new(XmlWriter::new(item.whole()?, &url)),
        };
        Ok((url, pieces))
    })
}
