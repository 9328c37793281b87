//! The forms of instances that a client accepts, and what retrieves in any of them share.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream::BoxStream;

use crate::archive::ArchiveError;
use crate::archive::zip::{self, ZipEntry};
use crate::dicom::media::DICOM;
use crate::dicom::uid::Target;
use crate::http::accept::{AcceptItem, AcceptKind};
use crate::http::represent::{OwnedTransferSyntaxPreference, streamed, syntax_preference};
use crate::http::state::ApiState;

/// A ZIP of Part 10 files.
pub(super) const ZIP: &str = "application/zip";
/// Instances under way at a time: the next one is read while one is sent.
pub(super) const AHEAD: usize = 2;

/// Instances whose rows are kept between two looks at them.
pub(super) const KEPT: u64 = 500;

/// One acceptable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstanceFormat {
    /// Its wrapping.
    pub(super) wrap: InstanceWrapping,
    /// Its transfer syntax.
    pub(super) syntax: OwnedTransferSyntaxPreference,
}

/// How instances are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceWrapping {
    Multipart,
    Single,
    Zip,
}

impl InstanceFormat {
    /// What a client accepts, best first.
    pub(super) fn list(preferences: &[AcceptItem], api: &ApiState, target: &Target) -> Vec<Self> {
        let one = matches!(target, Target::Instance(_));
        let form = |preference: &AcceptItem| {
            let (wrap, range) = match &preference.kind {
                AcceptKind::Multipart { inner } => (InstanceWrapping::Multipart, inner),
                AcceptKind::Single(range) if range.is_anything() => {
                    (InstanceWrapping::Multipart, range)
                }
                AcceptKind::Single(range) if range.covers_type(ZIP) => {
                    let syntax = match &preference.transfer_syntax {
                        None => OwnedTransferSyntaxPreference::Stored,
                        Some(_) => syntax_preference(preference, range, api.profile),
                    };
                    return Some(Self {
                        wrap: InstanceWrapping::Zip,
                        syntax,
                    });
                }
                AcceptKind::Single(range) if one => (InstanceWrapping::Single, range),
                AcceptKind::Single(_) => return None,
            };
            range.covers_type(DICOM).then(|| Self {
                wrap,
                syntax: syntax_preference(preference, range, api.profile),
            })
        };
        preferences.iter().filter_map(form).collect()
    }
}

/// What can be asked for.
pub(super) fn forms_of(target: &Target) -> Vec<&'static str> {
    let mut list = vec!["multipart/related; type=\"application/dicom\"; transfer-syntax=*"];
    if matches!(target, Target::Instance(_)) {
        list.push("application/dicom; transfer-syntax=*");
    }
    list
}

/// A ZIP of instances.
pub(super) fn zipped(entries: BoxStream<'static, Result<ZipEntry, ArchiveError>>) -> Response {
    let mut response = streamed(zip::archive(entries));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(ZIP));
    response
}
