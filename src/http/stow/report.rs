//! The report of a store (PS3.18 §10.5.3, Annex I).
//!
//! Invariant: an item is written as soon as it is made, so that a report takes little more memory than its text, which is
//! reserved until it is sent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::super::represent::{DICOM_XML, DataSetFormat, warning};
use super::super::state::DICOM_JSON;
use crate::archive::ingest::Outcome;
use crate::archive::lanes::{Lane, Lanes};
use crate::dicom::uid::StudyUid;
use crate::dicom::xml;
use crate::http::error::{HttpError, ProblemType};
use crate::http::links::Links;
use crate::http::profile::StoreWarnings;
use crate::memory::{Reservation, holding};

/// What is told of a store.
pub(super) struct StoreResponse {
    pub(super) links: Links,
    /// Study of the URL.
    pub(super) study: Option<StudyUid>,
    pub(super) outcomes: Vec<Outcome>,
    /// Why the body was not read to its end.
    pub(super) truncated: Option<String>,
    /// How this root tells of warnings.
    pub(super) style: StoreWarnings,
}

/// Outcomes that are written at once; more of them keep a thread busy for a while.
const FEW: usize = 64;

/// Sequences of the report, in the order of their tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// Failed SOP Sequence (0008,1198).
    Failed,
    /// Referenced SOP Sequence (0008,1199).
    Stored,
    /// Other Failures Sequence (0008,119A).
    Unreadable,
}

impl List {
    const ALL: [Self; 3] = [Self::Failed, Self::Stored, Self::Unreadable];

    const fn tag(self) -> &'static str {
        match self {
            Self::Failed => "00081198",
            Self::Stored => "00081199",
            Self::Unreadable => "0008119A",
        }
    }

    fn of(outcome: &Outcome, style: StoreWarnings) -> Self {
        match outcome {
            Outcome::Stored { .. } => Self::Stored,
            Outcome::Failed {
                instance: None,
                sop_class: None,
                ..
            } if style == StoreWarnings::Reasons => Self::Unreadable,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

impl StoreResponse {
    /// The answer; `room` is the memory of the outcomes and the text.
    ///
    /// # Errors
    /// When there is no place to write a long one in time.
    pub(super) async fn respond(
        self,
        lanes: &Lanes,
        form: DataSetFormat,
        room: Reservation,
    ) -> Result<Response, HttpError> {
        if self.outcomes.is_empty() {
            return Ok(match self.style {
                StoreWarnings::Reasons => HttpError::bad_request(
                    ProblemType::InvalidBody,
                    "the body holds no part to store",
                )
                .into_response(),
                StoreWarnings::Silent | StoreWarnings::Told => {
                    StatusCode::NO_CONTENT.into_response()
                }
            });
        }
        let status = self.status();
        let warning = self.truncated.as_ref().and_then(|text| warning(text).ok());
        let text = if self.outcomes.len() <= FEW {
            self.text(form)
        } else {
            lanes.run(Lane::Text, move || Ok(self.text(form))).await?
        };
        let media = match form {
            DataSetFormat::Json => DICOM_JSON,
            DataSetFormat::Xml => DICOM_XML,
        };
        let bytes = holding(text, room);
        let mut response = (status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        if let Some(warning) = warning {
            headers.insert(header::WARNING, warning);
        }
        Ok(response)
    }

    fn status(&self) -> StatusCode {
        let stored = |outcome: &&Outcome| matches!(outcome, Outcome::Stored { .. });
        let warned = |outcome: &Outcome| match outcome {
            Outcome::Stored { warning, .. } => reported_warning(*warning, self.style).is_some(),
            Outcome::Failed { .. } => false,
        };
        let count = self.outcomes.iter().filter(stored).count();
        let any_failed = count < self.outcomes.len() || self.truncated.is_some();
        if count == 0 {
            StatusCode::CONFLICT
        } else if any_failed || self.outcomes.iter().any(warned) {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        }
    }

    fn text(&self, form: DataSetFormat) -> String {
        match form {
            DataSetFormat::Json => self.json(),
            DataSetFormat::Xml => xml::write(&self.tree(), ""),
        }
    }

    /// Retrieve URL (0008,1190) of the study, which the standard wants always (type 2, PS3.18 §I.2): without a value when
    /// nothing or several studies were stored. Elsewhere it is that of the URL, when something was stored into it.
    fn study_url(&self) -> Option<Value> {
        let mut studies = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Stored { name, .. } => Some(&name.study),
            Outcome::Failed { .. } => None,
        });
        let one = studies.next();
        let one = one.filter(|one| studies.all(|other| other == *one));
        let study = match self.style {
            StoreWarnings::Reasons => one,
            StoreWarnings::Silent | StoreWarnings::Told => self.study.as_ref().and(one),
        };
        match study {
            Some(study) => Some(json!({ "vr": "UR", "Value": [self.links.study(study)] })),
            None => (self.style == StoreWarnings::Reasons).then(|| json!({ "vr": "UR" })),
        }
    }

    fn items(&self, list: List) -> impl Iterator<Item = Value> + '_ {
        let style = self.style;
        let here = move |outcome: &&Outcome| List::of(outcome, style) == list;
        self.outcomes
            .iter()
            .filter(here)
            .map(move |outcome| match list {
                List::Stored => success_item(&self.links, style, outcome),
                List::Failed | List::Unreadable => failure_item(outcome),
            })
    }

    fn json(&self) -> String {
        let mut text = String::from("{");
        if let Some(url) = self.study_url() {
            text.push_str(&format!("\"00081190\":{url}"));
        }
        for list in List::ALL {
            let mut separator = format!("\"{}\":{{\"vr\":\"SQ\",\"Value\":[", list.tag());
            if text.len() > 1 {
                separator.insert(0, ',');
            }
            let mut any = false;
            for item in self.items(list) {
                text.push_str(&separator);
                text.push_str(&item.to_string());
                if !std::mem::replace(&mut any, true) {
                    separator = ",".to_owned();
                }
            }
            if any {
                text.push_str("]}");
            }
        }
        text.push('}');
        text
    }

    fn tree(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(url) = self.study_url() {
            body.insert("00081190".to_owned(), url);
        }
        for list in List::ALL {
            let items: Vec<Value> = self.items(list).collect();
            if !items.is_empty() {
                let sequence = json!({ "vr": "SQ", "Value": items });
                body.insert(list.tag().to_owned(), sequence);
            }
        }
        body
    }
}

/// The warning reason as far as this root tells it.
fn reported_warning(warning: Option<u16>, style: StoreWarnings) -> Option<u16> {
    warning.filter(|_| style != StoreWarnings::Silent)
}

fn success_item(links: &Links, style: StoreWarnings, outcome: &Outcome) -> Value {
    let Outcome::Stored {
        name,
        sop_class,
        warning,
        findings,
    } = outcome
    else {
        return Value::Null;
    };
    let url = links.instance(name);
    let mut item = json!({
        "00081150": { "vr": "UI", "Value": [sop_class] },
        "00081155": { "vr": "UI", "Value": [name.instance.as_str()] },
        "00081190": { "vr": "UR", "Value": [url] },
    });
    if let (Some(object), Some(code)) = (item.as_object_mut(), reported_warning(*warning, style)) {
        object.insert(
            "00081196".to_owned(),
            json!({ "vr": "US", "Value": [code] }),
        );
    }
    let comments: Vec<Value> = findings.iter().map(|f| comment_item(&f.comment)).collect();
    let listed = match style {
        StoreWarnings::Silent => false,
        StoreWarnings::Told => true,
        StoreWarnings::Reasons => !comments.is_empty(),
    };
    if let (Some(object), true) = (item.as_object_mut(), listed) {
        let list = if comments.is_empty() {
            json!({ "vr": "SQ" })
        } else {
            json!({ "vr": "SQ", "Value": comments })
        };
        object.insert("00741048".to_owned(), list);
    }
    item
}

/// What is told of an instance that is not stored.
pub(in crate::http) fn failure_item(outcome: &Outcome) -> Value {
    let Outcome::Failed {
        sop_class,
        instance,
        reason,
        comments,
    } = outcome
    else {
        return Value::Null;
    };
    let mut item = Map::new();
    if let Some(class) = sop_class {
        item.insert(
            "00081150".to_owned(),
            json!({ "vr": "UI", "Value": [class] }),
        );
    }
    if let Some(instance) = instance {
        item.insert(
            "00081155".to_owned(),
            json!({ "vr": "UI", "Value": [instance] }),
        );
    }
    item.insert(
        "00081197".to_owned(),
        json!({ "vr": "US", "Value": [reason] }),
    );
    if !comments.is_empty() {
        let comments: Vec<Value> = comments.iter().map(|c| comment_item(c)).collect();
        item.insert(
            "00741048".to_owned(),
            json!({ "vr": "SQ", "Value": comments }),
        );
    }
    Value::Object(item)
}

fn comment_item(comment: &str) -> Value {
    json!({ "00000902": { "vr": "LO", "Value": [comment] } })
}
