//! Metadata of study, series and instance (PS3.18 §10.4.1.1.2, dicom-service §5): stored text with URLs spliced in.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::array::{array_body, items, reported};
use super::error::HttpError;
use super::extract::RetrieveRequest;
use super::links::Links;
use super::original::{ORIGINAL, varying, wants_original};
use super::represent::{
    DICOM_XML, DataSetFormat, etag, etag_of, form, many_parts, not_modified, unchanged, validated,
    xml_part_stream,
};
use super::response_cache::ResponseKey;
use super::state::DICOM_JSON;
use crate::archive::services::metadata::{Versions, WriteInstance};
use crate::archive::{Archive, InstanceRow};
use crate::auth::Action;
use crate::dicom::instance::{Metadata, PixelDescription};
use crate::dicom::metadata::MetadataWriter;
use crate::dicom::pieces::Pieces;
use crate::dicom::uid::Target;
use crate::dicom::xml::XmlWriter;
use crate::scope::Scope;

/// Returns a JSON array with one object for each instance.
///
/// # Errors
/// 400 for a malformed UID, 404 for what does not exist, 406 when JSON is not acceptable.
pub(super) async fn retrieve_metadata(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let original = wants_original(&ask.headers)?;
    let form = form(&ask.preferences())?;
    let target = ask.path.parse()?;
    let (archive, answers) = (&ask.api.app.archive, &ask.api.app.answers);
    let version = archive.version(&scope, &target).await?;
    let tag = match form {
        DataSetFormat::Json if !original => etag(version),
        DataSetFormat::Json => etag_of(version, ORIGINAL),
        DataSetFormat::Xml if !original => etag_of(version, DICOM_XML),
        DataSetFormat::Xml => etag_of(version, "original application/dicom+xml"),
    };
    let versions = match original {
        true => Versions::First,
        false => Versions::Stored,
    };
    if not_modified(&ask.headers, &tag) {
        return unchanged(&tag);
    }
    let response = if form == DataSetFormat::Xml {
        xml_parts(archive, &scope, (&target, versions), ask.links).await?
    } else if original {
        let write = written(archive.clone(), ask.links);
        let (parts, left_out) = archive.metadata(&scope, &target, versions, write).await?;
        let body = array_body(items(archive, parts)).await?;
        let mut response = reported(body.into_response(), &left_out, "metadata")?;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON));
        response
    } else {
        let key = ResponseKey {
            partition: scope.partition,
            target,
            version,
            base: ask.links.base().to_owned(),
        };
        let mut response = match answers.get(&key).await {
            Some(answer) => answer.respond(&ask.headers, archive.budget()).await?,
            None => {
                let write = written(archive.clone(), ask.links);
                let (parts, left_out) = archive
                    .metadata(&scope, &key.target, versions, write)
                    .await?;
                let body = array_body(items(archive, parts)).await?;
                // What may be incomplete is not kept.
                let body = if left_out.count() > 0 {
                    body
                } else {
                    answers.record(key, body, archive.budget()).await?
                };
                reported(body.into_response(), &left_out, "metadata")?
            }
        };
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON));
        response
    };
    Ok(varying(validated(response, &tag)?))
}

/// One part for each instance, in the Native DICOM Model.
async fn xml_parts(
    archive: &Archive,
    scope: &Scope,
    (target, versions): (&Target, Versions),
    links: Links,
) -> Result<Response, HttpError> {
    let write = move |row: &InstanceRow, metadata: Metadata| {
        let url = links.instance(&row.name);
        let pieces: Box<dyn Pieces> = Box::new(XmlWriter::of_stored(metadata.text, &url));
        Ok((format!("{url}/metadata"), pieces))
    };
    let (parts, left_out) = archive
        .metadata(scope, target, versions, Arc::new(write))
        .await?;
    let response = many_parts(DICOM_XML, xml_part_stream(archive, parts)).await?;
    reported(response, &left_out, "metadata")
}

/// Writes the JSON object of an instance.
fn written(archive: Archive, links: Links) -> WriteInstance {
    let available = Mutex::new(Available::default());
    Arc::new(move |row, metadata| {
        let mut available = available.lock().unwrap_or_else(PoisonError::into_inner);
        let available = available.of(&archive, row);
        let available: Vec<&str> = available.iter().map(String::as_str).collect();
        let url = links.instance(&row.name);
        let pieces: Box<dyn Pieces> = Box::new(MetadataWriter::new(metadata, &url, &available)?);
        Ok((url, pieces))
    })
}

/// What the row before can be had in: instances of a series are alike, and finding it out is work.
#[derive(Default)]
struct Available(Option<(String, bool, Option<PixelDescription>, Vec<String>)>);

impl Available {
    fn of<'a>(&'a mut self, archive: &Archive, row: &InstanceRow) -> &'a [String] {
        let alike = self.0.take().filter(|(syntax, part10, pixel, _)| {
            *syntax == row.layout.transfer_syntax
                && *part10 == row.layout.part10
                && *pixel == row.pixel
        });
        let found = alike.unwrap_or_else(|| {
            let (layout, pixel) = (&row.layout, row.pixel.clone());
            let list = archive.available(row);
            (layout.transfer_syntax.clone(), layout.part10, pixel, list)
        });
        &self.0.insert(found).3
    }
}
