//! Negotiation and answers, shared by all services: preferences to transfer syntaxes, content to bodies, `ETags`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};

use super::accept::{AcceptItem, MediaRange, RequestedTransferSyntax, accept_items, covers_json};
use super::error::HttpError;
use super::extract::{QueryPairs, RetrieveRequest};
use super::layers::Lasting;
use super::multipart::BodyError;
use super::multipart::writer::{MultipartResponse, PartBody, PartHead, ResponsePart};
use super::profile::{ApiProfile, WildcardMeaning};
use super::state::DICOM_JSON;
use crate::archive::lanes::Lane;
use crate::archive::services::retrieve::Content;
use crate::archive::texts::TextPart;
use crate::archive::{Archive, ArchiveError, IndexError, Version};
use crate::dicom::codec::transfer_syntax::EXPLICIT_LE;
use crate::dicom::media::TransferSyntaxPreference;
use crate::dicom::pieces::Pieces;
use crate::dicom::xml::XmlWriter;
use crate::memory::{Reservation, holding};

/// The transfer syntax a wish names or implies.
pub(super) fn syntax_preference(
    preference: &AcceptItem,
    range: &MediaRange,
    profile: &ApiProfile,
) -> OwnedTransferSyntaxPreference {
    match (&preference.transfer_syntax, profile.anything) {
        (Some(RequestedTransferSyntax::Any), _) => OwnedTransferSyntaxPreference::Stored,
        (Some(RequestedTransferSyntax::Uid(uid)), _) => {
            OwnedTransferSyntaxPreference::Uid(uid.clone())
        }
        (None, WildcardMeaning::Stored) if range.is_anything() => {
            OwnedTransferSyntaxPreference::Stored
        }
        (None, WildcardMeaning::StoredForTheWeb) if range.is_anything() => {
            OwnedTransferSyntaxPreference::StoredForTheWeb
        }
        (None, WildcardMeaning::Stored)
            if range.covers_type("application/dicom")
                || range.covers_type("application/octet-stream") =>
        {
            OwnedTransferSyntaxPreference::Uid(EXPLICIT_LE.to_owned())
        }
        (None, _) => OwnedTransferSyntaxPreference::Default,
    }
}

/// What the client wants: the `accept` parameters outrank the header (PS3.18 §8.3.3.1).
pub(super) fn accepted(query: &QueryPairs, headers: &HeaderMap) -> Vec<AcceptItem> {
    let named: Vec<&str> = query
        .0
        .iter()
        .filter(|(n, _)| n == "accept")
        .map(|(_, v)| v.as_str())
        .collect();
    accept_items(&named, headers)
}

impl RetrieveRequest {
    /// What the client wants, best first.
    pub(super) fn preferences(&self) -> Vec<AcceptItem> {
        accepted(&self.query, &self.headers)
    }
}

/// The Native DICOM Model.
pub(super) const DICOM_XML: &str = "application/dicom+xml";

/// How data sets are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DataSetFormat {
    Json,
    Xml,
}

/// JSON wherever it is accepted, unless XML is wished for more.
///
/// # Errors
/// 406 when neither is accepted.
pub(super) fn form(preferences: &[AcceptItem]) -> Result<DataSetFormat, HttpError> {
    let wanted = preferences
        .iter()
        .find_map(|preference| match preference.multipart() {
            Some(range) if !range.is_wildcard() && range.covers_type(DICOM_XML) => {
                Some(DataSetFormat::Xml)
            }
            Some(_) => None,
            None => covers_json(std::slice::from_ref(preference)).then_some(DataSetFormat::Json),
        });
    wanted
        .or_else(|| covers_json(preferences).then_some(DataSetFormat::Json))
        .ok_or_else(|| {
            HttpError::not_acceptable([
                DICOM_JSON,
                "multipart/related; type=\"application/dicom+xml\"",
            ])
        })
}

/// As [`form`], for an answer that is one data set: XML comes bare.
///
/// # Errors
/// 406 when neither is accepted.
pub(super) fn lone_form(preferences: &[AcceptItem]) -> Result<DataSetFormat, HttpError> {
    let wanted = preferences.iter().find_map(|preference| {
        let single = preference.single().filter(|range| !range.is_wildcard());
        if single.is_some_and(|range| range.covers_type(DICOM_XML)) {
            Some(DataSetFormat::Xml)
        } else {
            covers_json(std::slice::from_ref(preference)).then_some(DataSetFormat::Json)
        }
    });
    wanted
        .or_else(|| covers_json(preferences).then_some(DataSetFormat::Json))
        .ok_or_else(|| HttpError::not_acceptable([DICOM_JSON, DICOM_XML]))
}

/// A part of a multipart answer.
pub(super) fn part(
    content: Content,
    media: &str,
    syntax: Option<&str>,
    location: Option<String>,
) -> ResponsePart {
    let head = PartHead {
        media_type: media.to_owned(),
        transfer_syntax: syntax.map(ToOwned::to_owned),
        content_location: location,
        length: Some(content.length),
    };
    ResponsePart {
        head,
        body: PartBody::Stream(content.chunks.map_err(BodyError::from).boxed()),
    }
}

/// Parts of an answer that are written as XML while they are sent.
pub(super) fn xml_part_stream(
    archive: &Archive,
    parts: BoxStream<'static, Result<TextPart, ArchiveError>>,
) -> BoxStream<'static, Result<ResponsePart, ArchiveError>> {
    let archive = archive.clone();
    let parts = parts.map_ok(move |part| ResponsePart {
        head: PartHead {
            media_type: DICOM_XML.to_owned(),
            transfer_syntax: None,
            content_location: Some(part.location.clone()),
            length: None,
        },
        body: PartBody::Stream(archive.pieces(part).map_err(BodyError::from).boxed()),
    });
    parts.boxed()
}

/// What a caller is told of a patient is not kept by others.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// An answer that is one data set, with its memory.
pub(super) fn lone_data_set(media: &'static str, bytes: Vec<u8>, held: Reservation) -> Response {
    let mut response = Body::from(holding(bytes, held)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// A data set in DICOM JSON as XML, whole; `what` it is, for when it cannot be read.
pub(super) async fn whole_xml(
    archive: &Archive,
    text: String,
    url: &str,
    what: &'static str,
) -> Result<Vec<u8>, HttpError> {
    let mut writer = XmlWriter::new(text, url);
    let written = archive.lanes().run(Lane::Text, move || {
        let mut all = Vec::new();
        let corrupt = |_| IndexError::Corrupt { what };
        while let Some(piece) = writer.next(64 << 10).map_err(corrupt)? {
            all.extend(piece);
        }
        Ok(all)
    });
    Ok(written.await?)
}

/// An answer of one part, whose length is known.
pub(super) fn one_part(part: ResponsePart) -> Response {
    let answer = MultipartResponse::new(&part.head.media_type);
    let length = answer.content_length([&part.head]);
    let mut response = multipart_body(answer, stream::once(async move { Ok(part) }).boxed());
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An answer of many parts, the first of which is opened before this returns.
///
/// # Errors
/// What opening the first part met.
pub(super) async fn many_parts(
    media: &str,
    mut parts: BoxStream<'static, Result<ResponsePart, ArchiveError>>,
) -> Result<Response, HttpError> {
    let first = parts.next().await.transpose()?;
    let rest = stream::iter(first.map(Ok)).chain(parts.map_err(BodyError::from));
    Ok(multipart_body(MultipartResponse::new(media), rest.boxed()))
}

fn multipart_body(
    answer: MultipartResponse,
    parts: BoxStream<'static, Result<ResponsePart, BodyError>>,
) -> Response {
    let content_type = answer.content_type();
    let mut response = streamed(answer.body(parts));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// A body that is made while it is sent; why one broke off only the log can tell.
pub(super) fn streamed<E>(chunks: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Response
where
    E: std::error::Error + Into<BodyError> + 'static,
{
    let chunks = chunks.inspect_err(|error| {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "an answer broke off"
        );
    });
    Body::from_stream(chunks).into_response()
}

/// A body of known length.
pub(super) fn body_of(content: Content) -> Response {
    let length = content.length;
    let mut response = streamed(content.chunks);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The answer to a client that has this version already.
pub(super) fn unchanged(etag: &str) -> Result<Response, HttpError> {
    validated(StatusCode::NOT_MODIFIED.into_response(), etag)
}

/// An answer with its `ETag`; the layer around all services adds what caches may do with it.
///
/// What is sent in a content coding has other bytes than without (RFC 9110 §8.8.3.3), a multipart body of which no ranges
/// can be had another boundary each time, a ZIP another time: their validator is weak.
pub(super) fn validated(mut response: Response, etag: &str) -> Result<Response, HttpError> {
    let fields = response.headers_mut();
    let kind = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default();
    let weak = fields.contains_key(header::CONTENT_ENCODING)
        || kind.starts_with(b"multipart/") && !fields.contains_key(header::ACCEPT_RANGES)
        || kind.starts_with(b"application/zip");
    let value = if weak && !etag.starts_with("W/") {
        header_value(&format!("W/{etag}"))?
    } else {
        header_value(etag)?
    };
    fields.insert(header::ETAG, value);
    Ok(response)
}

/// An answer with a `Warning` when the codestream it was made of does not say what the header of the instance says.
pub(super) async fn warned(mut response: Response, archive: &Archive, watermark: i64) -> Response {
    let text = archive.disagreement(watermark).await;
    let value = text.and_then(|text| warning(&text).ok());
    if let Some(value) = value {
        response.headers_mut().append(header::WARNING, value);
    }
    response
}

/// A `Warning` of this service.
///
/// # Errors
/// Never where the text is of printable ASCII without quotation marks.
pub(super) fn warning(text: &str) -> Result<HeaderValue, HttpError> {
    header_value(&format!("299 stowage: \"{text}\""))
}

/// The answer with the name of the file it is saved as (RFC 6266): digits and dots, and an extension.
///
/// # Errors
/// Never, in practice: a UID is ASCII.
pub(super) fn saved_as(mut response: Response, name: &str) -> Result<Response, HttpError> {
    let disposition = header_value(&format!("attachment; filename=\"{name}\""))?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// The `ETag` of a version.
pub(super) fn etag(version: Version) -> String {
    format!("\"{}-{}\"", version.version, version.instances)
}

/// The `ETag` of one of several representations: two of them must never share a strong validator (RFC 9110 §8.8.1).
pub(super) fn etag_of(version: Version, representation: &str) -> String {
    let digest = blake3::hash(representation.as_bytes()).to_hex();
    let short = digest.get(..12).unwrap_or_default();
    format!("\"{}-{}-{short}\"", version.version, version.instances)
}

/// The `ETag` of a representation of something that an instance holds: the instance never changes, so what names it is
/// which one it is, and in which form.
pub(super) fn etag_of_instance(watermark: i64, representation: &str) -> String {
    // Another release may encode otherwise.
    let hash = blake3::Hasher::new()
        .update(env!("CARGO_PKG_VERSION").as_bytes())
        .update(representation.as_bytes())
        .finalize();
    let digest = hash.to_hex();
    let short = digest.get(..12).unwrap_or_default();
    format!("\"{watermark}-{short}\"")
}

/// As [`validated`], for what stays as it is for as long as the instance does.
pub(super) fn lasting(response: Response, etag: &str) -> Result<Response, HttpError> {
    let mut response = validated(response, etag)?;
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

/// As [`unchanged`], for what stays as it is for as long as the instance does.
pub(super) fn still_lasting(etag: &str) -> Result<Response, HttpError> {
    lasting(StatusCode::NOT_MODIFIED.into_response(), etag)
}

/// Whether `If-None-Match` names the `ETag`; quoted, bare and weak spellings are the same, `*` names all.
pub(super) fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    let bare = |text: &str| {
        text.trim()
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_owned()
    };
    let wanted = bare(etag);
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|item| item.trim() == "*" || bare(item) == wanted)
}

/// An owned [`TransferSyntaxPreference`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnedTransferSyntaxPreference {
    Stored,
    StoredForTheWeb,
    Default,
    Uid(String),
}

impl OwnedTransferSyntaxPreference {
    pub(super) fn preference(&self) -> TransferSyntaxPreference<'_> {
        match self {
            Self::Stored => TransferSyntaxPreference::Stored,
            Self::StoredForTheWeb => TransferSyntaxPreference::StoredForTheWeb,
            Self::Default => TransferSyntaxPreference::Default,
            Self::Uid(uid) => TransferSyntaxPreference::Uid(uid),
        }
    }
}

pub(super) fn header_value(text: &str) -> Result<HeaderValue, HttpError> {
    HeaderValue::try_from(text).map_err(|_| HttpError::broken("a header cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_met_in_every_spelling() {
        let tag = etag(Version {
            version: 12,
            instances: 3,
        });
        for (text, met) in [
            ("\"12-3\"", true),
            ("12-3", true),
            ("W/\"12-3\", \"x\"", true),
            ("*", true),
            ("\"12-4\"", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(text).unwrap());
            assert_eq!(not_modified(&headers, &tag), met, "{text}");
        }
    }
}
