//! Frames of an instance (PS3.18 §10.4.1.1.6, dicom-service §6).

use axum::http::header;
use axum::response::Response;
use futures_util::{StreamExt, stream};

use super::accept::{AcceptItem, AcceptKind, MediaRange};
use super::error::{HttpError, ProblemType};
use super::extract::RetrieveRequest;
use super::range::{OnlyPart, ranged, ranged_part};
use super::represent::{OwnedTransferSyntaxPreference, header_value};
use super::represent::{
    etag_of_instance, lasting, many_parts, not_modified, part, still_lasting, syntax_preference,
    warned,
};
use super::state::ApiState;
use crate::archive::open_instance::OpenInstance;
use crate::auth::Action;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::media::FramePreference;

/// Returns frames in the order asked, duplicates too.
///
/// # Errors
/// 400 for a bad list, 404 past the last frame, 406 when no acceptable form can be made.
pub(super) async fn retrieve_frames(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let archive = &ask.api.app.archive;
    let numbers = frame_list(
        ask.path.frames.as_deref().unwrap_or_default(),
        archive.limits().max_frames,
    )?;
    let name = ask.path.instance()?;
    let forms = forms(&ask.preferences(), &ask.api);
    if forms.is_empty() {
        return Err(HttpError::not_acceptable(ACCEPTED.iter().copied()));
    }
    let instance = archive.open(&scope, &name).await?;
    let chosen = forms.iter().find_map(|form| {
        let preference = FramePreference {
            range: (&form.range.type_name, &form.range.subtype),
            syntax: form.syntax.preference(),
        };
        Some((form, archive.plan_frames(&instance.row, preference)?))
    });
    check_numbers(&instance, &numbers)?;
    let Some((form, (plan, media))) = chosen else {
        let available = archive.available(&instance.row);
        return Err(HttpError::not_acceptable(frame_types(&available)));
    };
    let content_type = format!(
        "{media}; transfer-syntax={}",
        plan.syntax(&instance.row.layout)
    );
    let watermark = instance.row.watermark;
    let wrap = form.wrap;
    let representation = format!("frames {numbers:?} {wrap:?} {content_type}");
    let tag = etag_of_instance(watermark, &representation);
    if form.wrap == BulkWrapping::Single {
        let [number] = numbers.as_slice() else {
            return Err(HttpError::bad_request(
                ProblemType::InvalidRequest,
                "Several frames need multipart/related; ask for one frame, or change the Accept header.",
            ));
        };
        if not_modified(&ask.headers, &tag) {
            return still_lasting(&tag);
        }
        let content = archive.frame(&instance, *number, &plan).await?;
        let mut response = ranged(&ask.headers, content, &tag).await?;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header_value(&content_type)?);
        return lasting(warned(response, archive, watermark).await, &tag);
    }
    let base = ask.links.instance(&name);
    let syntax = plan.syntax(&instance.row.layout).to_owned();
    if let [number] = numbers.as_slice() {
        let location = format!("{base}/frames/{number}");
        let tag = etag_of_instance(watermark, &format!("{representation} {location}"));
        if not_modified(&ask.headers, &tag) {
            return still_lasting(&tag);
        }
        let content = archive.frame(&instance, *number, &plan).await?;
        let part = OnlyPart {
            digest: &instance.row.digest,
            media,
            syntax: Some(&syntax),
            location,
        };
        let response = ranged_part(&ask.headers, content, part, &tag).await?;
        return lasting(warned(response, archive, watermark).await, &tag);
    }
    let tag = format!("W/{tag}");
    if not_modified(&ask.headers, &tag) {
        return still_lasting(&tag);
    }
    let maker = archive.clone();
    let parts = stream::iter(numbers).then(move |number| {
        let (archive, instance, plan) = (maker.clone(), instance.clone(), plan.clone());
        let (location, syntax) = (format!("{base}/frames/{number}"), syntax.clone());
        async move {
            let frame = archive.frame(&instance, number, &plan).await?;
            Ok(part(
                frame.all().await?,
                media,
                Some(&syntax),
                Some(location),
            ))
        }
    });
    let response = many_parts(media, parts.boxed()).await?;
    lasting(warned(response, archive, watermark).await, &tag)
}

const ACCEPTED: &[&str] = &[
    "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    "multipart/related; type=\"*/*\"",
    "application/octet-stream; transfer-syntax=*",
];

/// The media types frames can be had in, for 406: samples go by the name of Explicit VR Little Endian, however the data set
/// around them is written.
pub(super) fn frame_types(available: &[String]) -> Vec<String> {
    let mut types = Vec::new();
    for uid in available {
        let (media, uid) = if transfer_syntax::is_native(uid) {
            (transfer_syntax::OCTETS, transfer_syntax::EXPLICIT_LE)
        } else {
            (transfer_syntax::frame_media(uid), uid.as_str())
        };
        let one = format!("multipart/related; type=\"{media}\"; transfer-syntax={uid}");
        if !types.contains(&one) {
            types.push(one);
        }
    }
    types
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BulkWrapping {
    Multipart,
    Single,
}

/// One acceptable form of frames or bulk data.
#[derive(Debug, Clone)]
pub(super) struct BulkFormat {
    pub(super) wrap: BulkWrapping,
    pub(super) range: MediaRange,
    pub(super) syntax: OwnedTransferSyntaxPreference,
}

/// Forms in the order of the wishes; anything at all means multipart.
pub(super) fn forms(preferences: &[AcceptItem], api: &ApiState) -> Vec<BulkFormat> {
    let form = |preference: &AcceptItem| {
        let (wrap, range) = match &preference.kind {
            AcceptKind::Multipart { inner } => (BulkWrapping::Multipart, inner),
            AcceptKind::Single(range) if range.is_anything() => (BulkWrapping::Multipart, range),
            AcceptKind::Single(range) => (BulkWrapping::Single, range),
        };
        BulkFormat {
            wrap,
            range: range.clone(),
            syntax: syntax_preference(preference, range, api.profile),
        }
    };
    preferences.iter().map(form).collect()
}

fn check_numbers(instance: &OpenInstance, numbers: &[u32]) -> Result<(), HttpError> {
    let count = instance.frame_count();
    if count == 0 {
        return Err(HttpError::new(
            ProblemType::NotFound,
            "The instance has no pixel data.",
        ));
    }
    match numbers.iter().find(|n| **n > count) {
        Some(number) => Err(HttpError::new(
            ProblemType::NotFound,
            format!("Frame {number} does not exist: the instance has {count}."),
        )),
        None => Ok(()),
    }
}

/// A list such as `1,2,3`; frames count from 1.
pub(super) fn frame_list(text: &str, most: usize) -> Result<Vec<u32>, HttpError> {
    let bad = |reason: &str| HttpError::bad_request(ProblemType::InvalidFrame, reason);
    let mut numbers = Vec::new();
    for item in text.split(',') {
        if numbers.len() == most {
            return Err(HttpError::payload_too_large(format!(
                "One request may ask for {most} frames."
            )));
        }
        match item.trim().parse::<u32>() {
            Ok(number) if number > 0 => numbers.push(number),
            _ => {
                return Err(bad(
                    "The frame list must hold whole numbers from 1, separated by commas.",
                ));
            }
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_zero_is_rejected() {
        assert!(frame_list("0", 10).is_err());
        assert!(frame_list("1,,2", 10).is_err());
        assert!(frame_list("-1", 10).is_err());
        assert!(frame_list("99999999999", 10).is_err());
        assert!(frame_list("1,2,3", 2).is_err());
        assert_eq!(frame_list("3, 1,1", 10).unwrap(), [3, 1, 1]);
    }
}
