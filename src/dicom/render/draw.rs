//! One frame as a picture, up to its color profile and encoding.

use super::annotate;
use super::attributes::RenderAttributes;
use super::error::RenderError;
use super::geometry;
use super::image::Image;
use super::request::{Annotation, Request};
use super::resample;
use super::rows::DisplayRows;
use super::samples::Samples;

/// Draws a frame up to, but not including, color profile and encoding.
///
/// `range` is the gray range to use where the attributes have no VOI; the range
/// used comes back, so that frames of an animation share one.
pub(super) fn draw(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
    range: Option<(f64, f64)>,
) -> Result<(Image, Option<(f64, f64)>), RenderError> {
    let rows = DisplayRows::new(samples, attributes, request, range)?;
    let plan = geometry::plan(samples, attributes, request)?;
    let mut image = resample::draw(&rows, &plan);
    if let Some(presentation) = &request.presentation {
        annotate::graphics(&mut image, &plan, &presentation.graphics);
    }
    for annotation in &request.annotation {
        match annotation {
            Annotation::Patient => annotate::patient(&mut image, attributes),
            Annotation::Technique => annotate::technique(&mut image, attributes),
            // Drawn with the rows, before they are cut and scaled.
            Annotation::Overlay => {}
        }
    }
    Ok((image, rows.range()))
}
