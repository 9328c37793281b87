//! What handlers receive: meaning, not strings.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{
    ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, RawPathParams, Request,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;

use super::audit::note::Note;
use super::error::{HttpError, ProblemType};
use super::layers::broken_body;
use super::links::Links;
use super::place::Place;
pub(super) use super::rights::Access;
use super::serve::ConnectionInfo;
use super::state::ApiState;
use crate::dicom::uid::{
    InstanceName, InstanceUid, SeriesUid, StudyUid, Target, UidError, check_uid,
};
use crate::shares::{MakeWay, ShareHolder};

/// The parameter that names a page of a search.
pub(super) const CURSOR: &str = "cursor";
/// The parameter that asks for de-identified instances.
pub(super) const DEIDENTIFY: &str = "deidentify";
/// Most pairs of a query string.
const MAX_PAIRS: usize = 20_000;
/// Most bytes of a body that is not stored.
const MAX_SMALL: usize = 1 << 20;

/// A body that is held whole, and so must be small: 1 MiB at most, without a long silence.
#[derive(Debug)]
pub(super) struct SmallBody(pub(super) Bytes);

impl FromRequest<ApiState> for SmallBody {
    type Rejection = HttpError;

    async fn from_request(request: Request, api: &ApiState) -> Result<Self, Self::Rejection> {
        let seconds = api.app.archive.limits().idle_seconds;
        let idle = Duration::from_secs(seconds);
        let mut chunks = request.into_body().into_data_stream();
        let mut body = Vec::new();
        loop {
            let next = tokio::time::timeout(idle, chunks.next()).await;
            match next.map_err(|_| {
                let silence = format!("no byte of the body came for {seconds} seconds");
                HttpError::new(ProblemType::RequestTimeout, silence)
            })? {
                None => return Ok(Self(Bytes::from(body))),
                Some(Ok(chunk)) if body.len() + chunk.len() <= MAX_SMALL => {
                    body.extend_from_slice(&chunk);
                }
                Some(Ok(_)) => {
                    let reason = format!("the body may have {MAX_SMALL} bytes at most");
                    return Err(HttpError::payload_too_large(reason));
                }
                Some(Err(error)) => return Err(broken_body(&error)),
            }
        }
    }
}

/// Who sends a request, as its room was taken for, and who could make way for it.
pub(super) struct Sender {
    pub(super) subject: ShareHolder,
    pub(super) make_way: Box<MakeWay>,
}

impl FromRequestParts<ApiState> for Sender {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Self::Rejection> {
        let subject = parts.extensions.get::<ShareHolder>().cloned();
        let subject =
            subject.ok_or_else(|| HttpError::broken("a route without the admission layer"))?;
        let connection_info = parts.extensions.get::<ConnectionInfo>().cloned();
        let of = subject.clone();
        let make_way = move |lack| {
            let connection_info = connection_info.as_ref();
            connection_info.is_some_and(|connection_info| connection_info.make_way(lack, &of))
        };
        Ok(Self {
            subject,
            make_way: Box::new(make_way),
        })
    }
}

impl FromRequestParts<ApiState> for Links {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        api: &ApiState,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|c| c.0.ip());
        let place = parts.extensions.get::<Place>();
        let mount = match place.filter(|place| place.named) {
            None => api.profile.root.to_owned(),
            Some(place) => format!("{}/partitions/{}", api.profile.root, place.name),
        };
        Ok(Self::of_request(
            &api.app.links,
            &mount,
            &parts.uri,
            &parts.headers,
            peer,
        ))
    }
}

/// Decoded pairs of the query string, in order; `+` is a blank.
#[derive(Debug, Clone, Default)]
pub(super) struct QueryPairs(pub(super) Vec<(String, String)>);

impl QueryPairs {
    /// The parameters of a search: those that choose the representation or the page are left out.
    pub(super) fn searched(&self) -> Vec<(String, String)> {
        let shape = |name: &str| {
            ["accept", "charset", "access_token", CURSOR]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        };
        self.0
            .iter()
            .filter(|(name, _)| !shape(name))
            .cloned()
            .collect()
    }

    /// The first value of a parameter; `name` in lower case.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The pairs of a target.
    ///
    /// # Errors
    /// 400 when there are too many or they are not UTF-8.
    pub(super) fn of_uri(uri: &Uri) -> Result<Self, HttpError> {
        Self::parse(uri.query().unwrap_or_default())
    }

    fn parse(query: &str) -> Result<Self, HttpError> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(HttpError::bad_request(
                    ProblemType::InvalidQuery,
                    "The query has too many parameters.",
                ));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }
}

fn decode(text: &str) -> Result<String, HttpError> {
    let blanks = text.replace('+', " ");
    let decoded = percent_decode_str(&blanks).decode_utf8();
    let decoded = decoded.map_err(|_| {
        HttpError::bad_request(
            ProblemType::InvalidQuery,
            "The query is not UTF-8 after percent-decoding.",
        )
    })?;
    Ok(decoded.into_owned())
}

impl FromRequestParts<ApiState> for QueryPairs {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Self::Rejection> {
        Self::of_uri(&parts.uri)
    }
}

/// UIDs named in the path, not yet checked: the order of checks is the handler's.
#[derive(Debug, Clone, Default)]
pub(super) struct TargetPath {
    study: Option<String>,
    series: Option<String>,
    instance: Option<String>,
    /// The frame list, raw.
    pub(super) frames: Option<String>,
    /// The tail below `bulkdata`, raw.
    pub(super) bulk: Option<String>,
    /// An AE title, raw.
    pub(super) aet: Option<String>,
    transaction: Option<String>,
}

impl TargetPath {
    /// What the path of a request names.
    ///
    /// # Errors
    /// 400 when it is not UTF-8 after decoding.
    pub(super) async fn of_parts(parts: &mut Parts) -> Result<Self, HttpError> {
        let bad = |_| {
            HttpError::bad_request(
                ProblemType::InvalidRequest,
                "The path is not UTF-8 after percent-decoding.",
            )
        };
        let params = <RawPathParams as FromRequestParts<()>>::from_request_parts(parts, &())
            .await
            .map_err(bad)?;
        let mut path = Self::default();
        for (name, value) in &params {
            let place = match name {
                "study" => &mut path.study,
                "series" => &mut path.series,
                // A workitem is a SOP Instance too.
                "instance" | "workitem" => &mut path.instance,
                "frames" => &mut path.frames,
                "bulk" => &mut path.bulk,
                "aet" => &mut path.aet,
                "transaction" => &mut path.transaction,
                _ => continue,
            };
            *place = Some(value.to_owned());
        }
        Ok(path)
    }

    /// Study, series and instance as they stand there.
    pub(super) fn named(&self) -> [Option<&str>; 3] {
        [&self.study, &self.series, &self.instance].map(Option::as_deref)
    }

    /// The study, series or instance named.
    ///
    /// # Errors
    /// 400 when a UID is malformed.
    pub(super) fn parse(&self) -> Result<Target, HttpError> {
        let study = self
            .study()?
            .ok_or_else(|| HttpError::broken("a route without a study"))?;
        let Some(series) = self.series()? else {
            return Ok(Target::Study(study));
        };
        let Some(instance) = self.instance.as_deref() else {
            return Ok(Target::Series(study, series));
        };
        let instance = InstanceUid::parse(instance).map_err(|e| bad_uid("SOP Instance UID", e))?;
        Ok(Target::Instance(InstanceName {
            study,
            series,
            instance,
        }))
    }

    /// The study, if the path names one.
    ///
    /// # Errors
    /// 400 when it is malformed.
    pub(super) fn study(&self) -> Result<Option<StudyUid>, HttpError> {
        self.study
            .as_deref()
            .map(StudyUid::parse)
            .transpose()
            .map_err(|e| bad_uid("Study Instance UID", e))
    }

    /// The series, if the path names one.
    ///
    /// # Errors
    /// 400 when it is malformed.
    pub(super) fn series(&self) -> Result<Option<SeriesUid>, HttpError> {
        self.series
            .as_deref()
            .map(SeriesUid::parse)
            .transpose()
            .map_err(|e| bad_uid("Series Instance UID", e))
    }

    /// The Transaction UID.
    ///
    /// # Errors
    /// 400 when it is malformed.
    pub(super) fn transaction(&self) -> Result<String, HttpError> {
        let uid = self.transaction.as_deref().unwrap_or_default();
        let uid = check_uid(uid).map_err(|e| bad_uid("Transaction UID", e))?;
        Ok(uid.to_owned())
    }

    /// The workitem named.
    ///
    /// # Errors
    /// 400 when its UID is malformed.
    pub(super) fn workitem(&self) -> Result<InstanceUid, HttpError> {
        let uid = self.instance.as_deref().unwrap_or_default();
        InstanceUid::parse(uid).map_err(|e| bad_uid("UID of the workitem", e))
    }

    /// The instance named, without a study.
    ///
    /// # Errors
    /// 400 when its UID is malformed.
    pub(super) fn uid(&self) -> Result<InstanceUid, HttpError> {
        let uid = self.instance.as_deref().unwrap_or_default();
        InstanceUid::parse(uid).map_err(|e| bad_uid("SOP Instance UID", e))
    }

    /// As [`Self::uid`], on routes where there may be none.
    ///
    /// # Errors
    /// 400 when it is malformed.
    pub(super) fn optional_uid(&self) -> Result<Option<InstanceUid>, HttpError> {
        self.instance.is_some().then(|| self.uid()).transpose()
    }

    /// The instance named.
    ///
    /// # Errors
    /// 400 when a UID is malformed.
    pub(super) fn instance(&self) -> Result<InstanceName, HttpError> {
        match self.parse()? {
            Target::Instance(name) => Ok(name),
            Target::Study(_) | Target::Series(..) => {
                Err(HttpError::broken("a route without an instance"))
            }
        }
    }
}

fn bad_uid(what: &str, error: UidError) -> HttpError {
    HttpError::bad_request(
        ProblemType::InvalidUid,
        format!("The {what} in the path is invalid: {error}."),
    )
}

impl FromRequestParts<ApiState> for TargetPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Self::Rejection> {
        Self::of_parts(parts).await
    }
}

/// A request for what is stored: all that retrieving and searching look at.
#[derive(Debug)]
pub(super) struct RetrieveRequest {
    /// The root it came to.
    pub(super) api: ApiState,
    /// Who asks.
    pub(super) access: Access,
    /// Where the client sees this server.
    pub(super) links: Links,
    pub(super) path: TargetPath,
    pub(super) query: QueryPairs,
    pub(super) headers: HeaderMap,
    /// What its audit event tells besides.
    pub(super) note: Note,
}

impl FromRequestParts<ApiState> for RetrieveRequest {
    type Rejection = HttpError;

    async fn from_request_parts(
        parts: &mut Parts,
        api: &ApiState,
    ) -> Result<Self, Self::Rejection> {
        let access = Access::from_request_parts(parts, api).await?;
        let Ok(links) = Links::from_request_parts(parts, api).await;
        let path = TargetPath::from_request_parts(parts, api).await?;
        let query = QueryPairs::from_request_parts(parts, api).await?;
        Ok(Self {
            api: api.clone(),
            access,
            links,
            path,
            query,
            headers: parts.headers.clone(),
            note: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// The study of the path, on routes where there may be none.
#[derive(Debug, Clone)]
pub(super) struct StudyPath(TargetPath);

impl StudyPath {
    /// The study.
    ///
    /// # Errors
    /// 400 when it is malformed.
    pub(super) fn parse(self) -> Result<StudyUid, HttpError> {
        self.0
            .study()?
            .ok_or_else(|| HttpError::broken("a route without a study"))
    }
}

impl OptionalFromRequestParts<ApiState> for StudyPath {
    type Rejection = HttpError;

    async fn from_request_parts(
        parts: &mut Parts,
        api: &ApiState,
    ) -> Result<Option<Self>, Self::Rejection> {
        let path = TargetPath::from_request_parts(parts, api).await?;
        Ok(path.study.is_some().then_some(Self(path)))
    }
}
