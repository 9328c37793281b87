//! Rendered and thumbnail resources (PS3.18 §10.4.1.1.3, §10.4.1.1.4, dicom-service §7).

pub(super) mod formats;
pub(super) mod options;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::accept::{AcceptItem, AcceptKind};
use super::error::{HttpError, ProblemType};
use super::extract::RetrieveRequest;
use super::frames::frame_list;
use super::links::Links;
use super::multipart::writer::ResponsePart;
use super::range::ranged;
use super::represent::header_value;
use super::represent::{
    etag_of, many_parts, not_modified, one_part, part, unchanged, validated, warned,
};
use crate::archive::content::{Content, Representation};
use crate::archive::services::render::{ImageFormat, Nature, RenderRequest, RenderSource};
use crate::archive::{Archive, ArchiveError};
use crate::auth::Action;
use crate::dicom::render;
use crate::dicom::uid::{InstanceName, Target};
use crate::scope::Scope;
use formats::{PICTURES, picture_format, representation, small_picture};
use options::{RenderOptions, bad_parameter, too_large};

/// Returns a picture of a study, series, instance or frames, or the readable form of what is no image.
///
/// # Errors
/// 400 for a bad parameter, 404 for what does not exist or cannot be seen, 406 when no acceptable form can be made.
pub(super) async fn retrieve_rendered(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let archive = &ask.api.app.archive;
    let target = ask.path.parse()?;
    let frames = ask
        .path
        .frames
        .as_deref()
        .map(|text| frame_list(text, archive.limits().max_frames))
        .transpose()?;
    let most = archive.limits().max_viewport;
    let asked = RenderOptions::parse(&ask.query, ask.api.profile.picture_quality, most)?;
    let preferences = ask.preferences();
    let version = archive.version(&scope, &target).await?;
    let tag = etag_of(version, &representation(&preferences, &asked.request));
    if not_modified(&ask.headers, &tag) {
        return unchanged(&tag);
    }
    let view = View {
        archive,
        scope: &scope,
        links: &ask.links,
        asked,
        preferences: &preferences,
        headers: &ask.headers,
        tag: &tag,
    };
    let response = match target {
        Target::Instance(name) => view.instance(&name, frames).await?,
        target => view.representative(&target).await?,
    };
    validated(response, &tag)
}

/// Returns a small picture of anything; an icon when there is nothing to draw.
///
/// # Errors
/// 400 for a bad viewport, 404 for what does not exist.
pub(super) async fn retrieve_thumbnail(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let archive = &ask.api.app.archive;
    let target = ask.path.parse()?;
    let viewport = ask
        .query
        .first("viewport")
        .map(render::parse_thumbnail_viewport)
        .transpose()
        .map_err(bad_parameter)?;
    let most = archive.limits().max_viewport;
    if viewport.is_some_and(|(width, height)| width.max(height) > most) {
        return Err(too_large(most));
    }
    let frame = ask
        .path
        .frames
        .as_deref()
        .map(|text| frame_list(text, 1))
        .transpose()?
        .and_then(|list| list.first().copied());
    // Viewers send the Accept header of frames here: what names no picture means JPEG (spec/clients.md rule 3).
    let preferences = ask.preferences();
    let (format, in_part) = small_picture(&preferences);
    let name = representative(archive, &scope, &target).await?;
    let version = archive.version(&scope, &target).await?;
    let media = format.media_type();
    let tag = etag_of(version, &format!("{media} {in_part} {viewport:?}"));
    if not_modified(&ask.headers, &tag) {
        return unchanged(&tag);
    }
    let bytes = archive
        .thumbnail(&scope, &name, frame, viewport, format)
        .await?;
    let response = if in_part {
        let location = format!("{}/thumbnail", ask.links.instance(&name));
        one_part(part(Content::whole(bytes), media, None, Some(location)))
    } else {
        picture(bytes, format)
    };
    validated(response, &tag)
}

/// One request for something to look at.
pub(super) struct View<'a> {
    pub(super) archive: &'a Archive,
    pub(super) scope: &'a Scope,
    pub(super) links: &'a Links,
    pub(super) asked: RenderOptions,
    pub(super) preferences: &'a [AcceptItem],
    pub(super) headers: &'a HeaderMap,
    /// `ETag` of the answer.
    pub(super) tag: &'a str,
}

impl View<'_> {
    pub(super) async fn instance(
        &self,
        name: &InstanceName,
        frames: Option<Vec<u32>>,
    ) -> Result<Response, HttpError> {
        let subject = self.archive.subject(self.scope, name).await?;
        self.show(subject, frames).await
    }

    pub(super) async fn show(
        &self,
        subject: RenderSource,
        frames: Option<Vec<u32>>,
    ) -> Result<Response, HttpError> {
        let count = subject.instance.frame_count();
        if let Some(number) = frames.iter().flatten().find(|n| **n > count) {
            return Err(HttpError::new(
                ProblemType::NotFound,
                format!("Frame {number} does not exist: the instance has {count}."),
            ));
        }
        match subject.nature() {
            Nature::Image => {
                let watermark = subject.instance.row.watermark;
                let response = self.image(subject, frames).await?;
                Ok(warned(response, self.archive, watermark).await)
            }
            Nature::Presentation => {
                let (image, frame, presentation) =
                    self.archive.presented(self.scope, &subject).await?;
                let format = self.format()?;
                let mut drawing = self.asked.drawing(format);
                drawing.request.presentation = Some(presentation);
                drawing.state = Some(subject.instance.row.watermark);
                let bytes = self.archive.picture(&image, frame, drawing).await?;
                Ok(picture(bytes, format))
            }
            Nature::Video(media) => self.bare(media, self.archive.video(&subject).await?).await,
            Nature::Document => {
                let media = subject.document_media();
                let content = self.archive.document(&subject).await?;
                self.bare(&media, content).await
            }
            Nature::Report | Nature::Other => self.texts(&subject).await,
        }
    }

    async fn image(
        &self,
        subject: RenderSource,
        frames: Option<Vec<u32>>,
    ) -> Result<Response, HttpError> {
        let numbers = match frames {
            Some(list) => FrameNumbers::Listed(list),
            None => FrameNumbers::All(subject.instance.frame_count()),
        };
        if let Some(format) = self
            .parts_format()
            .filter(|_| numbers.are_several() || self.only_parts())
        {
            return self.frame_parts(subject, numbers, format).await;
        }
        let format = self.format()?;
        match numbers {
            FrameNumbers::All(2..) if format == ImageFormat::Gif => {
                let request = self.asked.request.clone();
                let animation = self.archive.animation(&subject, request).await?;
                Ok(picture(animation, format))
            }
            FrameNumbers::Listed(list) if list.len() > 1 => {
                self.frame_parts(subject, FrameNumbers::Listed(list), format)
                    .await
            }
            numbers => {
                let number = numbers.into_iter().next().unwrap_or(1);
                let drawing = self.asked.drawing(format);
                let bytes = self.archive.picture(&subject, number, drawing).await?;
                let mut response = picture(bytes, format);
                if self.asked.unknown_annotations {
                    let warning = HeaderValue::from_static(
                        "299 stowage: \"annotation keywords other than patient, technique and overlay were ignored\"",
                    );
                    response.headers_mut().append(header::WARNING, warning);
                }
                Ok(response)
            }
        }
    }

    async fn frame_parts(
        &self,
        subject: RenderSource,
        numbers: FrameNumbers,
        format: ImageFormat,
    ) -> Result<Response, HttpError> {
        let base = self.links.instance(&subject.instance.row.name);
        let pictures = Pictures {
            archive: self.archive.clone(),
            subject,
            drawing: self.asked.drawing(format),
            base,
        };
        let parts = stream::iter(numbers.into_iter()).then(move |number| {
            let pictures = pictures.clone();
            async move { Box::pin(pictures.part(number)).await }
        });
        many_parts(format.media_type(), parts.boxed()).await
    }

    /// One picture for a study or series; every instance's when parts were asked for.
    async fn representative(&self, target: &Target) -> Result<Response, HttpError> {
        let Some(format) = self.parts_format().filter(|_| self.only_parts()) else {
            let name = representative(self.archive, self.scope, target).await?;
            return Box::pin(self.instance(&name, None)).await;
        };
        let rows = self.archive.instances(self.scope, target).await?;
        let (archive, scope, links) =
            (self.archive.clone(), self.scope.clone(), self.links.clone());
        let drawing = self.asked.drawing(format);
        let parts = rows.flat_map(move |row| {
            let (archive, scope, links) = (archive.clone(), scope.clone(), links.clone());
            let drawing = drawing.clone();
            let pictures = async move {
                let row = row?;
                let subject = archive.subject(&scope, &row.name).await?;
                let count = if subject.nature() == Nature::Image {
                    subject.instance.frame_count()
                } else {
                    0
                };
                let base = links.instance(&row.name);
                let pictures = Pictures {
                    archive,
                    subject,
                    drawing,
                    base,
                };
                Ok::<_, ArchiveError>(stream::iter(1..=count).filter_map(move |number| {
                    let pictures = pictures.clone();
                    async move {
                        match Box::pin(pictures.part(number)).await {
                            Err(error) if error.is_about_pixels() => None,
                            part => Some(part),
                        }
                    }
                }))
            };
            stream::once(pictures).flat_map(|made| match made {
                Ok(parts) => parts.boxed(),
                Err(error) => stream::once(async move { Err(error) }).boxed(),
            })
        });
        many_parts(format.media_type(), parts.boxed()).await
    }

    /// HTML or plain text; UTF-8 always.
    async fn texts(&self, subject: &RenderSource) -> Result<Response, HttpError> {
        let form = self.preferences.iter().find_map(|preference| {
            let range = preference.single()?;
            let html = range.covers("text", "html");
            (html || range.covers("text", "plain")).then_some(html)
        });
        let Some(html) = form else {
            return Err(HttpError::not_acceptable(["text/html", "text/plain"]));
        };
        let page = self.archive.page(subject, html).await?;
        let media = if html {
            "text/html; charset=utf-8"
        } else {
            "text/plain; charset=utf-8"
        };
        Ok(whole(page, media))
    }

    /// A document or video in its own media type, with byte ranges.
    async fn bare(&self, media: &str, content: Representation) -> Result<Response, HttpError> {
        if !self
            .preferences
            .iter()
            .any(|w| w.single().is_some_and(|r| r.covers_type(media)))
        {
            return Err(HttpError::not_acceptable([media]));
        }
        let mut response = ranged(self.headers, content, self.tag).await?;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header_value(media)?);
        Ok(response)
    }

    fn format(&self) -> Result<ImageFormat, HttpError> {
        picture_format(self.preferences)
            .ok_or_else(|| HttpError::not_acceptable(PICTURES.map(ImageFormat::media_type)))
    }

    /// The picture type asked for in parts, if any.
    fn parts_format(&self) -> Option<ImageFormat> {
        self.preferences.iter().find_map(|preference| {
            let range = preference.multipart()?;
            PICTURES
                .into_iter()
                .find(|f| range.covers_type(f.media_type()))
        })
    }

    fn only_parts(&self) -> bool {
        self.preferences
            .iter()
            .all(|preference| matches!(preference.kind, AcceptKind::Multipart { .. }))
    }
}

/// Instances with pixels of which the middle one is taken, and instances that are looked at for them.
const MOST_DRAWN: usize = 1000;
const MOST_ROWS: usize = 2000;

/// The instance that stands for a target: the middle one of those with pixels, else the first.
async fn representative(
    archive: &Archive,
    scope: &Scope,
    target: &Target,
) -> Result<InstanceName, HttpError> {
    if let Target::Instance(name) = target {
        return Ok(name.clone());
    }
    let mut rows = archive.instances(scope, target).await?;
    let (mut drawn, mut any) = (Vec::new(), None);
    for _ in 0..MOST_ROWS {
        let Some(row) = rows.next().await.filter(|_| drawn.len() < MOST_DRAWN) else {
            break;
        };
        let row = row?;
        if row.pixel.is_some() {
            drawn.push(row.name);
        } else if any.is_none() {
            any = Some(row.name);
        }
    }
    let middle = drawn.len() / 2;
    drawn
        .into_iter()
        .nth(middle)
        .or(any)
        .ok_or_else(|| HttpError::not_found("The target"))
}

fn picture(bytes: Bytes, format: ImageFormat) -> Response {
    whole(bytes, format.media_type())
}

fn whole(body: Bytes, media: &'static str) -> Response {
    let content_type = HeaderValue::from_static(media);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// The frames that are asked for.
enum FrameNumbers {
    /// All there are.
    All(u32),
    /// These.
    Listed(Vec<u32>),
}

impl FrameNumbers {
    fn are_several(&self) -> bool {
        match self {
            Self::All(count) => *count > 1,
            Self::Listed(list) => list.len() > 1,
        }
    }

    fn into_iter(self) -> Box<dyn Iterator<Item = u32> + Send> {
        match self {
            Self::All(count) => Box::new(1..=count),
            Self::Listed(list) => Box::new(list.into_iter()),
        }
    }
}

/// Pictures of one instance, each a part.
#[derive(Clone)]
struct Pictures {
    archive: Archive,
    subject: RenderSource,
    drawing: RenderRequest,
    /// URL of the instance.
    base: String,
}

impl Pictures {
    async fn part(self, number: u32) -> Result<ResponsePart, ArchiveError> {
        let media = self.drawing.format.media_type();
        let bytes = self
            .archive
            .picture(&self.subject, number, self.drawing)
            .await?;
        let location = format!("{}/frames/{number}/rendered", self.base);
        Ok(part(Content::whole(bytes), media, None, Some(location)))
    }
}
