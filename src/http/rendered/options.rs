//! Query parameters of a picture.

use crate::archive::services::render::{ImageFormat, RenderRequest};
use crate::dicom::render::{self, ParameterError, Request, Viewport};
use crate::http::error::HttpError;
use crate::http::extract::QueryPairs;

/// Query parameters of a picture.
pub(in crate::http) struct RenderOptions {
    pub(in crate::http) request: Request,
    /// The stored version of the presentation state in the request.
    pub(in crate::http) state: Option<i64>,
    pub(in crate::http) unknown_annotations: bool,
}

impl RenderOptions {
    pub(super) fn parse(query: &QueryPairs, quality: u8, most: u32) -> Result<Self, HttpError> {
        let mut request = Request {
            quality,
            ..Request::default()
        };
        let mut unknown_annotations = false;
        for name in ["window", "viewport", "quality", "annotation", "iccprofile"] {
            let Some(value) = query.first(name) else {
                continue;
            };
            match name {
                "window" => {
                    request.window = Some(render::parse_window(value).map_err(bad_parameter)?)
                }
                "viewport" => {
                    let viewport = render::parse_viewport(value).map_err(bad_parameter)?;
                    request.viewport = Some(within(viewport, most)?);
                }
                "quality" => {
                    request.quality = render::parse_quality(value).map_err(bad_parameter)?
                }
                "iccprofile" => {
                    request.icc = render::parse_icc_profile(value).map_err(bad_parameter)?
                }
                _ => {
                    let parsed = render::parse_annotation(value).map_err(bad_parameter)?;
                    unknown_annotations = parsed.unknown > 0;
                    request.annotation = parsed.known;
                }
            }
        }
        Ok(Self {
            request,
            state: None,
            unknown_annotations,
        })
    }

    pub(super) fn drawing(&self, format: ImageFormat) -> RenderRequest {
        RenderRequest {
            request: self.request.clone(),
            format,
            state: self.state,
        }
    }
}

/// The viewport with no side above the largest allowed.
fn within(viewport: Viewport, most: u32) -> Result<Viewport, HttpError> {
    let limit = f64::from(most);
    let sides = [viewport.width, viewport.height];
    if sides.iter().flatten().any(|side| *side > limit) {
        return Err(too_large(most));
    }
    // A side that is free follows the other one, and not beyond the limit either.
    let free = |side: Option<f64>| side.or(sides.iter().any(Option::is_some).then_some(limit));
    Ok(Viewport {
        width: free(viewport.width),
        height: free(viewport.height),
        ..viewport
    })
}

pub(super) fn too_large(most: u32) -> HttpError {
    let reason = format!("It may have {most} pixels to a side at most.");
    HttpError::invalid_query("viewport", &reason)
}

pub(super) fn bad_parameter(error: ParameterError) -> HttpError {
    HttpError::invalid_query(error.name, &format!("It must be {}.", error.allowed))
}
