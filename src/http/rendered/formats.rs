//! In which format a picture is sent.

use crate::archive::services::render::ImageFormat;
use crate::dicom::render::Request;
use crate::http::accept::AcceptItem;

pub(super) const PICTURES: [ImageFormat; 3] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif];

/// What tells the representations of one resource apart: the media types that were chosen, and the parameters.
pub(in crate::http) fn representation(preferences: &[AcceptItem], request: &Request) -> String {
    let text = preferences.iter().find_map(|preference| {
        let range = preference.single()?;
        ["html", "plain"]
            .into_iter()
            .find(|subtype| range.covers("text", subtype))
    });
    let parts = preferences.iter().find_map(|preference| {
        let range = preference.multipart()?;
        PICTURES
            .into_iter()
            .find(|format| range.covers_type(format.media_type()))
    });
    let picture = picture_format(preferences);
    format!("{picture:?} {parts:?} {text:?} {request:?}")
}

/// The first wish for a picture; the server's order within a wildcard.
pub(super) fn picture_format(preferences: &[AcceptItem]) -> Option<ImageFormat> {
    preferences.iter().find_map(|preference| {
        let range = preference.single()?;
        PICTURES
            .into_iter()
            .find(|f| range.covers_type(f.media_type()))
    })
}

/// The format of a thumbnail, and whether it is a part: multipart counts where it names a picture type.
pub(super) fn small_picture(preferences: &[AcceptItem]) -> (ImageFormat, bool) {
    let named = preferences.iter().find_map(|preference| {
        let range = preference.range();
        let in_part = preference.single().is_none();
        let format = PICTURES
            .into_iter()
            .find(|format| range.covers_type(format.media_type()))?;
        (!in_part || range.type_name == "image").then_some((format, in_part))
    });
    named.unwrap_or((ImageFormat::Jpeg, false))
}
