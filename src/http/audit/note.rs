//! What handlers add to the audit event of their request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::kind::EventKind;
use crate::dicom::deidentify::DeidentifyOptions;
use crate::dicom::uid::InstanceName;

/// The studies a store touched, with the number of instances of each; handlers leave it in their answer.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct TouchedStudies(pub(in crate::http) BTreeMap<String, u64>);

impl TouchedStudies {
    /// Studies of which it is not known yet how many instances there are.
    pub(in crate::http) fn named(studies: impl Iterator<Item = String>) -> Self {
        Self(studies.map(|study| (study, 0)).collect())
    }
}

/// What a request is about, as far as it is understood: study, series and instance.
pub(super) type Uids = [Option<String>; 3];

/// What a handler adds to the event of its request; it says nothing where there is no audit.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Note(Arc<Mutex<Noted>>);

/// What was noted.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) uids: Uids,
    pub(super) kind: Option<EventKind>,
    /// How what was asked for was de-identified.
    pub(super) deidentified: Option<DeidentifyOptions>,
}

impl Note {
    /// What was noted so far.
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance that was looked up, where the request names less than its place.
    pub(in crate::http) fn found(&self, name: &InstanceName) {
        self.noted().uids = [
            Some(name.study.to_string()),
            Some(name.series.to_string()),
            Some(name.instance.to_string()),
        ];
    }

    /// The study that is spoken of in the body.
    pub(in crate::http) fn study(&self, study: &str) {
        self.noted().uids = [Some(study.to_owned()), None, None];
    }

    /// What is sent is de-identified, with these options.
    pub(in crate::http) fn deidentified(&self, options: DeidentifyOptions) {
        self.noted().deidentified = Some(options);
    }

    /// The request is something else than its route says.
    pub(in crate::http) fn is(&self, kind: EventKind) {
        self.noted().kind = Some(kind);
    }
}

impl<S: Sync> FromRequestParts<S> for Note {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
