//! WADO-URI: one instance by query parameters (PS3.18 chapter 9).
//!
//! Served at the root of each face and at `/wado` below it. Study and series may be left out or empty: then the instance
//! is looked up by its own UID.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::accept::rank;
use super::audit::EventKind;
use super::audit::note::Note;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, QueryPairs};
use super::health;
use super::links::Links;
use super::range::ranged;
use super::rendered::View;
use super::rendered::formats::representation;
use super::rendered::options::RenderOptions;
use super::represent::{
    OwnedTransferSyntaxPreference, etag_of, etag_of_instance, header_value, lasting, not_modified,
    saved_as, still_lasting, unchanged, validated,
};
use super::state::ApiState;
use crate::archive::Archive;
use crate::auth::Action;
use crate::dicom::media::DICOM;
use crate::dicom::render::{self, Region, Request, Viewport, WindowFunction};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::scope::Scope;

/// Returns the object named by the parameters.
///
/// # Errors
/// 400 for missing or bad parameters, 404 for what does not exist, 406 when no acceptable form can be made.
pub(super) async fn retrieve_by_uri(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    query: QueryPairs,
    note: Note,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    if query.first("requesttype").is_none() {
        note.is(EventKind::Other);
        return Ok(health::welcome().await.into_response());
    }
    let scope = access.may(Action::Read)?;
    let archive = &api.app.archive;
    check(&query)?;
    let name = find(archive, &scope, &query).await?;
    note.found(&name);
    let named = query
        .first("contenttype")
        .or_else(|| query.first("accept"))
        .map(str::trim)
        .filter(|t| !t.is_empty());
    let preferences = named.map(rank).unwrap_or_default();
    if preferences.iter().any(|w| {
        w.single()
            .is_some_and(|r| !r.is_wildcard() && r.covers_type(DICOM))
    }) {
        return part10(archive, &scope, &name, &query, &headers).await;
    }
    let asked = asked(&query, archive.limits().max_viewport)?;
    let frame = number(&query, "framenumber")?.or(number(&query, "frame")?);
    let subject = archive.subject(&scope, &name).await?;
    // A frame number on what has one frame says nothing (PS3.18 §9.1.2.2).
    let frames = frame
        .filter(|_| subject.instance.frame_count() > 1)
        .map(|n| vec![n]);
    let any = [super::accept::AcceptItem::anything()];
    let preferences = if preferences.is_empty() {
        &any[..]
    } else {
        &preferences[..]
    };
    let asked = present(archive, &scope, &query, &name, frame, asked).await?;
    let several = subject.instance.frame_count() > 1;
    let frames = frames.or(Some(vec![1]).filter(|_| frame.is_none() && several));
    let version = archive.version(&scope, &Target::Instance(name)).await?;
    let form = representation(preferences, &asked.request);
    let state = asked.state;
    let tag = etag_of(version, &format!("wado {frames:?} {state:?} {form}"));
    if not_modified(&headers, &tag) {
        return unchanged(&tag);
    }
    let view = View {
        archive,
        scope: &scope,
        links: &links,
        asked,
        preferences,
        headers: &headers,
        tag: &tag,
    };
    validated(view.show(subject, frames).await?, &tag)
}

/// Rules on which parameters go together.
fn check(query: &QueryPairs) -> Result<(), HttpError> {
    let has = |name: &str| query.first(name).is_some();
    match query.first("requesttype") {
        Some(kind) if kind.eq_ignore_ascii_case("WADO") => {}
        _ => return Err(HttpError::invalid_query("requestType", "It must be WADO.")),
    }
    if query
        .first("anonymize")
        .is_some_and(|v| v.eq_ignore_ascii_case("yes"))
    {
        let reason = "This server does not remove identities; retrieve the object without it.";
        return Err(HttpError::new(
            ProblemType::InvalidQuery,
            format!("The query parameter 'anonymize' is invalid. {reason}"),
        ));
    }
    if has("windowcenter") != has("windowwidth") {
        return Err(HttpError::invalid_query(
            "windowCenter",
            "windowCenter and windowWidth must be given together.",
        ));
    }
    if has("presentationuid") != has("presentationseriesuid") {
        return Err(HttpError::invalid_query(
            "presentationUID",
            "presentationUID and presentationSeriesUID must be given together.",
        ));
    }
    if has("presentationuid") && (has("windowcenter") || has("region")) {
        return Err(HttpError::invalid_query(
            "presentationUID",
            "It must not be given with windowCenter, windowWidth or region.",
        ));
    }
    Ok(())
}

/// Study, series and instance as the parameters name them, in any case; empty ones name nothing.
pub(super) fn named(query: &QueryPairs) -> [Option<&str>; 3] {
    let given = |name: &str| query.first(name).map(str::trim).filter(|v| !v.is_empty());
    ["studyuid", "seriesuid", "objectuid"].map(given)
}

/// The instance the UIDs name.
async fn find(
    archive: &Archive,
    scope: &Scope,
    query: &QueryPairs,
) -> Result<InstanceName, HttpError> {
    let [study, series, instance] = named(query);
    let bad = |name: &'static str| {
        move |e: crate::dicom::uid::UidError| HttpError::invalid_query(name, &format!("{e}."))
    };
    let instance = instance
        .ok_or_else(|| HttpError::invalid_query("objectUID", "It must name a SOP Instance UID."))?;
    let instance = InstanceUid::parse(instance).map_err(bad("objectUID"))?;
    let study = study
        .map(StudyUid::parse)
        .transpose()
        .map_err(bad("studyUID"))?;
    let series = series
        .map(SeriesUid::parse)
        .transpose()
        .map_err(bad("seriesUID"))?;
    match (study, series) {
        (Some(study), Some(series)) => {
            let name = InstanceName {
                study,
                series,
                instance,
            };
            archive
                .version(scope, &Target::Instance(name.clone()))
                .await?;
            Ok(name)
        }
        (study, series) => Ok(archive
            .locate(scope, study.as_ref(), series.as_ref(), &instance)
            .await?),
    }
}

async fn part10(
    archive: &Archive,
    scope: &Scope,
    name: &InstanceName,
    query: &QueryPairs,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let subject = archive.open(scope, name).await?;
    let syntax = match query
        .first("transfersyntax")
        .map(str::trim)
        .filter(|t| !t.is_empty())
    {
        Some("*") => OwnedTransferSyntaxPreference::Stored,
        Some(uid) => OwnedTransferSyntaxPreference::Uid(uid.to_owned()),
        None => OwnedTransferSyntaxPreference::StoredForTheWeb,
    };
    let Some(plan) = archive.plan_instance(&subject.row, syntax.preference()) else {
        let list = archive.available(&subject.row);
        return Err(HttpError::not_acceptable(
            list.iter()
                .map(|ts| format!("{DICOM}; transfer-syntax={ts}")),
        ));
    };
    let content_type = format!(
        "{DICOM}; transfer-syntax={}",
        plan.syntax(&subject.row.layout)
    );
    let representation = format!("wado {syntax:?} {content_type}");
    let tag = etag_of_instance(subject.row.watermark, &representation);
    if not_modified(headers, &tag) {
        return still_lasting(&tag);
    }
    let file = archive.produce(scope, &subject.row, &plan).await?;
    let mut response = ranged(headers, file, &tag).await?;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header_value(&content_type)?);
    lasting(saved_as(response, &format!("{}.dcm", name.instance))?, &tag)
}

/// The parameters of a picture.
fn asked(query: &QueryPairs, most: u32) -> Result<RenderOptions, HttpError> {
    let mut request = Request::default();
    let given = |name: &str| query.first(name);
    if let Some(quality) = given("imagequality") {
        request.quality = render::parse_quality(quality).map_err(|e| {
            HttpError::invalid_query("imageQuality", &format!("It must be {}.", e.allowed))
        })?;
    }
    if let Some(annotation) = given("annotation") {
        let parsed = render::parse_annotation(annotation).map_err(|e| {
            HttpError::invalid_query("annotation", &format!("It must be {}.", e.allowed))
        })?;
        request.annotation = parsed.known;
    }
    if let Some(profile) = given("iccprofile") {
        request.icc = render::parse_icc_profile(profile).map_err(|e| {
            HttpError::invalid_query("iccprofile", &format!("It must be {}.", e.allowed))
        })?;
    }
    let region = given("region").map(render::parse_region).transpose();
    let region = region
        .map_err(|e| HttpError::invalid_query("region", &format!("It must be {}.", e.allowed)))?;
    let side = |value: Option<&str>, name: &str| {
        let Some(value) = value else { return Ok(None) };
        let side = value
            .trim()
            .parse::<u32>()
            .ok()
            .filter(|n| (1..=most).contains(n));
        let side = side.ok_or_else(|| {
            let reason = format!("It must be a whole number of pixels from 1 to {most}.");
            HttpError::invalid_query(name, &reason)
        })?;
        Ok::<_, HttpError>(Some(f64::from(side)))
    };
    let height = side(given("rows"), "rows")?;
    let width = side(given("columns"), "columns")?;
    if width.is_some() || height.is_some() || region.is_some() {
        request.viewport = Some(Viewport {
            width,
            height,
            region: region.unwrap_or(Region::Full),
        });
    }
    if let (Some(center), Some(width)) = (given("windowcenter"), given("windowwidth")) {
        let number = |text: &str, name: &str| {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
            number.ok_or_else(|| HttpError::invalid_query(name, "It must be a number."))
        };
        let width = number(width, "windowWidth")?;
        if width < 1.0 {
            return Err(HttpError::invalid_query(
                "windowWidth",
                "It must be 1 or more.",
            ));
        }
        request.window = Some((
            number(center, "windowCenter")?,
            width,
            WindowFunction::Linear,
        ));
    }
    Ok(RenderOptions {
        request,
        state: None,
        unknown_annotations: false,
    })
}

/// Adds the presentation state that was named.
async fn present(
    archive: &Archive,
    scope: &Scope,
    query: &QueryPairs,
    image: &InstanceName,
    frame: Option<u32>,
    mut asked: RenderOptions,
) -> Result<RenderOptions, HttpError> {
    let (Some(instance), Some(series)) = (
        query.first("presentationuid"),
        query.first("presentationseriesuid"),
    ) else {
        return Ok(asked);
    };
    let bad = |_| HttpError::invalid_query("presentationUID", "It must be a UID.");
    let name = InstanceName {
        study: image.study.clone(),
        series: SeriesUid::parse(series).map_err(bad)?,
        instance: InstanceUid::parse(instance).map_err(bad)?,
    };
    let state = archive.subject(scope, &name).await?;
    asked.request.presentation = Some(
        archive
            .presentation_for(&state, image, frame.unwrap_or(1))
            .await?,
    );
    asked.state = Some(state.instance.row.watermark);
    Ok(asked)
}

fn number(query: &QueryPairs, name: &str) -> Result<Option<u32>, HttpError> {
    let Some(text) = query.first(name) else {
        return Ok(None);
    };
    match text.trim().parse::<u32>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(HttpError::invalid_query(
            "frameNumber",
            "It must be a whole number from 1.",
        )),
    }
}
