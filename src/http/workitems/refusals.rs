//! The answers to requests about workitems that are not done.

use axum::http::{HeaderName, header};

use crate::archive::workitems::WorkitemError;
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::workitem::{Conflict, Problem};
use crate::http::error::{HttpError, ProblemType};
use crate::http::represent::warning;
use crate::http::state::ApiState;

pub(super) const ALREADY_CANCELED: &str = "The UPS is already in the requested state of CANCELED.";

const INCONSISTENT: &str =
    "The submitted request is inconsistent with the current state of the UPS Instance.";

const NO_TRANSACTION: &str = "The Transaction UID is missing.";
const WRONG_TRANSACTION: &str = "The Transaction UID is incorrect.";

const WARNING: HeaderName = header::WARNING;

/// What is wrong, as a sentence.
pub(super) fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// The answer to what is not done.
pub(super) fn refused(api: &ApiState, error: WorkitemError) -> HttpError {
    let reported = sentence(&error);
    let service = api.profile.dialect == QueryDialect::Service;
    match error {
        WorkitemError::Archive(error) => error.into(),
        WorkitemError::NotFound(_) => HttpError::new(ProblemType::NotFound, reported),
        WorkitemError::Exists => HttpError::conflict(reported),
        WorkitemError::Outside => HttpError::new(ProblemType::Forbidden, reported),
        WorkitemError::Invalid(Problem::TooLong) => HttpError::payload_too_large(reported),
        WorkitemError::Invalid(Problem::Uid(_)) => {
            HttpError::bad_request(ProblemType::InvalidUid, reported)
        }
        WorkitemError::Invalid(_) => HttpError::bad_request(ProblemType::InvalidBody, reported),
        WorkitemError::ForeignTitle | WorkitemError::TooManySubscriptions => {
            HttpError::new(ProblemType::Forbidden, reported)
        }
        WorkitemError::NoSubscription => HttpError::new(ProblemType::NotFound, reported),
        WorkitemError::Filter(_) | WorkitemError::NoEvent(_) => {
            HttpError::bad_request(ProblemType::InvalidQuery, reported)
        }
        WorkitemError::Forgotten(_) => HttpError::new(ProblemType::Gone, reported),
        WorkitemError::AlreadyCanceled => warned(HttpError::conflict(reported), ALREADY_CANCELED),
        WorkitemError::Conflict(_) | WorkitemError::Performed if service => {
            HttpError::bad_request(ProblemType::InvalidRequest, reported)
        }
        WorkitemError::Performed => HttpError::conflict(reported),
        WorkitemError::Conflict(conflict) => {
            let warning = match conflict {
                Conflict::NoTransaction => NO_TRANSACTION,
                Conflict::WrongTransaction => WRONG_TRANSACTION,
                _ => INCONSISTENT,
            };
            warned(HttpError::conflict(reported), warning)
        }
    }
}

fn warned(error: HttpError, text: &str) -> HttpError {
    match warning(text) {
        Ok(value) => error.with_header(WARNING, value),
        Err(_) => error,
    }
}
