//! Bulk data by URI (PS3.18 §10.4.1.1.5): every `BulkDataURI` of a metadata answer resolves here.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Face;
use super::accept::Wish;
use super::error::HttpError;
use super::extract::{Access, QueryPairs, TargetPath};
use super::frames::{Wrap, forms};
use super::links::Links;
use super::range::ranged;
use super::represent::{accepted, many_parts, one_part, part};
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
    let mut value = archive.bulk(&instance, bulk)?;
    if value.is_document() {
        value.media = archive.subject(&scope, &name).await?.document_media();
    }
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

/// Returns every value that metadata serves by URI, of all instances of the target.
///
/// # Errors
/// 404 when there is none, 406 when multipart is not acceptable.
pub(super) async fn retrieve_all_bulk(
    State(face): State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    all_values(
        &face,
        &access,
        links,
        &path,
        &accepted(&query, &headers),
        |_| true,
    )
    .await
}

/// Returns the top-level pixel data of all instances of the target.
///
/// # Errors
/// As [`retrieve_all_bulk`].
pub(super) async fn retrieve_pixel_data(
    State(face): State<Face>,
    access: Access,
    links: Links,
    path: TargetPath,
    query: QueryPairs,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let pixels = |path: &str| matches!(path, "7FE00008" | "7FE00009" | "7FE00010");
    all_values(
        &face,
        &access,
        links,
        &path,
        &accepted(&query, &headers),
        pixels,
    )
    .await
}

async fn all_values(
    face: &Face,
    access: &Access,
    links: Links,
    path: &TargetPath,
    wishes: &[Wish],
    wanted: fn(&str) -> bool,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Read)?;
    let target = path.parse()?;
    if !forms(wishes, face)
        .iter()
        .any(|f| f.wrap == Wrap::Multipart)
    {
        return Err(HttpError::not_acceptable([
            "multipart/related; type=\"*/*\"",
        ]));
    }
    let archive = face.app.archive.clone();
    let rows = archive.instances(&scope, &target).await?;
    let parts = rows
        .and_then(move |row| {
            let (archive, scope, links) = (archive.clone(), scope.clone(), links.clone());
            async move {
                let instance = archive.open(&scope, &row.name).await?;
                let base = links.instance(&row.name);
                let paths: Vec<String> = instance
                    .bulk
                    .iter()
                    .map(|b| b.path.clone())
                    .filter(|p| wanted(p))
                    .collect();
                Ok(stream::iter(paths).then(move |path| {
                    let (archive, instance, base) =
                        (archive.clone(), instance.clone(), base.clone());
                    async move {
                        let value = archive.bulk(&instance, &path)?;
                        let content = archive.bulk_content(&instance, &value).await?;
                        let syntax = value.syntax_as(&value.media).map(ToOwned::to_owned);
                        let location = format!("{base}/bulkdata/{path}");
                        Ok(part(content, &value.media, syntax.as_deref(), location))
                    }
                }))
            }
        })
        .try_flatten();
    let mut parts = Box::pin(parts.peekable());
    let first = parts.as_mut().peek().await;
    match first {
        None => Err(HttpError::not_found("Such bulk data")),
        Some(Err(error)) => Err(HttpError::from(error)),
        Some(Ok(first)) => {
            let media = first.head.media_type.clone();
            many_parts(&media, parts.boxed()).await
        }
    }
}
