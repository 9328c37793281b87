//! Metadata of study, series and instance (PS3.18 §10.4.1.1.2, dicom-service §5): stored text with URLs spliced in.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};

use super::DICOM_JSON;
use super::answers::AnswerKey;
use super::array::{Items, array_body};
use super::error::HttpError;
use super::extract::Ask;
use super::links::Links;
use super::represent::{
    DICOM_XML, Form, etag, form, many_parts, not_modified, part, unchanged, validated,
};
use crate::archive::retrieve::{Content, Rows};
use crate::archive::{Archive, ArchiveError, InstanceRow, MetadataRow};
use crate::auth::Action;
use crate::dicom::instance::PixelDescription;
use crate::dicom::uid::Target;
use crate::dicom::{metadata, xml};
use crate::scope::Scope;

/// Largest metadata of one instance that is read back, in bytes.
const MAX_METADATA: usize = 1 << 30;

/// Returns a JSON array with one object for each instance.
///
/// # Errors
/// 400 for a malformed UID, 404 for what does not exist, 406 when JSON is not acceptable.
pub(super) async fn retrieve_metadata(ask: Ask) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let form = form(&ask.wishes())?;
    let target = ask.path.parse()?;
    let (archive, answers) = (&ask.face.app.archive, &ask.face.app.answers);
    let version = archive.version(&scope, &target).await?;
    let tag = etag(version);
    if not_modified(&ask.headers, &tag) {
        return unchanged(&tag);
    }
    let response = if form == Form::Xml {
        xml_parts(archive, &scope, &target, ask.links).await?
    } else {
        let key = AnswerKey {
            partition: scope.partition,
            target,
            version,
            base: ask.links.base().to_owned(),
        };
        let mut response = match answers.get(&key).await {
            Some(answer) => answer.respond(&ask.headers).await?,
            None => {
                let rows = archive.metadata(&scope, &key.target).await?;
                let body = array_body(objects(archive.clone(), rows, ask.links)).await?;
                answers.record(key, body).await?.into_response()
            }
        };
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON));
        response
    };
    validated(response, &tag)
}

/// One part for each instance, in the Native DICOM Model.
async fn xml_parts(
    archive: &Archive,
    scope: &Scope,
    target: &Target,
    links: Links,
) -> Result<Response, HttpError> {
    let rows = archive.metadata(scope, target).await?;
    let parts = rows.and_then(
        move |MetadataRow {
                  row,
                  metadata: packed,
              }| {
            let url = links.instance(&row.name);
            async move {
                let corrupt = || ArchiveError::Lost { what: "metadata" };
                let unpacked = metadata::unpack(&packed, MAX_METADATA).map_err(|_| corrupt())?;
                let object: Map<String, Value> =
                    serde_json::from_str(&unpacked.text).map_err(|_| corrupt())?;
                let text = Bytes::from(xml::write(&object, &url));
                Ok(part(
                    Content::whole(text),
                    DICOM_XML,
                    None,
                    format!("{url}/metadata"),
                ))
            }
        },
    );
    many_parts(DICOM_XML, parts.boxed()).await
}

/// One JSON object for each instance.
fn objects(archive: Archive, rows: Rows<MetadataRow>, links: Links) -> Items {
    let mut available = Available::default();
    let object = move |row: Result<MetadataRow, ArchiveError>| {
        let MetadataRow {
            row,
            metadata: packed,
        } = row?;
        let unpacked = metadata::unpack(&packed, MAX_METADATA)
            .map_err(|_| HttpError::broken("stored metadata cannot be read"))?;
        let available = available.of(&archive, &row);
        let available: Vec<&str> = available.iter().map(String::as_str).collect();
        let mut text = Vec::new();
        metadata::write_with_base(&unpacked, &links.instance(&row.name), &available, &mut text);
        Ok(text)
    };
    rows.map(object).boxed()
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
