//! Bulk data by URI (PS3.18 §10.4.1.1.5): every `BulkDataURI` of a metadata answer resolves here.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::Face;
use super::error::HttpError;
use super::extract::{Access, QueryPairs, TargetPath};
use super::frames::{Wrap, forms};
use super::links::Links;
use super::range::ranged;
use super::represent::{accepted, one_part, part};
use super::wado::header_value;
use crate::auth::Action;

/// Returns one value, as multipart or single part.
///
/// # Errors
/// 404 for a path that no metadata names, 406 when no acceptable form can be made, 416 outside the value.
pub(super) async fn retrieve_bulk(
    State(face): State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Read)?;
    let name = path.instance()?;
    let forms = forms(&accepted(&query, &headers), &face);
    let archive = &face.app.archive;
    let instance = archive.open(&scope, &name).await?;
    let bulk = path.bulk.as_deref().unwrap_or_default();
    let value = archive.bulk(&instance, bulk)?;
    let Some(form) = forms.iter().find(|f| {
        f.range.covers_type(&value.media) || f.range.covers_type("application/octet-stream")
    }) else {
        return Err(HttpError::not_acceptable([
            format!("multipart/related; type=\"{}\"", value.media),
            value.media.clone(),
        ]));
    };
    let media = if form.range.covers_type(&value.media) {
        value.media.as_str()
    } else {
        "application/octet-stream"
    };
    let content_type = value.content_type(media);
    let content = archive.bulk_content(&instance, &value).await?;
    if form.wrap == Wrap::Single {
        let mut response = ranged(&headers, content).await?;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header_value(&content_type)?);
        return Ok(response);
    }
    let location = format!("{}/bulkdata/{bulk}", links.instance(&name));
    Ok(one_part(part(
        content,
        media,
        value.syntax_as(media),
        location,
    )))
}
