//! Modality worklist: C-FIND for scheduled procedure steps (PS3.4 Annex K).
//!
//! Invariant: an answer has what was asked for, in items of sequences too, empty where there is nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use super::association::{Answered, Association, DimseRefusal, MAX_QUERY};
use super::command::{DimseCommand, status};
use super::dataset::{Elements, Identifier, write};
use super::find::cancelled;
use super::negotiate::Accepted;
use super::wire::PeerGone;
use crate::archive::Result as ArchiveResult;
use crate::archive::workitems::schedule::{ScheduledStep, WriteStep};
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::query_parse::{self, QueryDialect};
use crate::dicom::tag;

/// Attributes that were asked for, with those within their items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RequestedKeys(BTreeMap<Tag, Self>);

impl RequestedKeys {
    fn of(keys: &Identifier) -> Self {
        let mut asked = Self::default();
        for key in &keys.keys {
            let mut at = &mut asked;
            for tag in &key.path {
                at = at.0.entry(*tag).or_default();
            }
        }
        asked.0.remove(&tags::SPECIFIC_CHARACTER_SET);
        asked
    }

    /// What was asked for of a data set, by tag.
    fn pick(&self, item: &JsonDataSet) -> BTreeMap<Tag, Value> {
        let picked = self.0.iter().map(|(tag, inner)| {
            let found = item.get(&tag::hex(*tag));
            let value = match found {
                None => json!({ "vr": vr(*tag, inner).to_string() }),
                Some(element) if inner.0.is_empty() => element.clone(),
                Some(element) => inner.of_items(element),
            };
            (*tag, value)
        });
        picked.collect()
    }

    fn of_items(&self, element: &Value) -> Value {
        let items = element.get("Value").and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(Value::as_object);
        let picked = items.map(|item| {
            let named = self.pick(item).into_iter();
            let named = named.map(|(tag, value)| (tag::hex(tag), value));
            Value::Object(named.collect())
        });
        json!({ "vr": "SQ", "Value": picked.collect::<Vec<_>>() })
    }
}

fn vr(tag: Tag, inner: &RequestedKeys) -> VR {
    if inner.0.is_empty() {
        tag::vr(tag)
    } else {
        VR::SQ
    }
}

impl Association {
    /// Answers a query for scheduled procedure steps.
    pub(super) async fn worklist(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
    ) -> Result<Answered, PeerGone> {
        let keys = self.identifier(accepted, command, MAX_QUERY).await?;
        let listed = match keys.and_then(|(keys, _held)| self.schedule(accepted, &keys)) {
            Ok((steps, partly)) => {
                Box::pin(self.send_steps(accepted, command, steps, partly)).await?
            }
            Err(refusal) => Err(refusal),
        };
        self.end_find(accepted, command, listed).await
    }

    fn schedule(
        &self,
        accepted: &Accepted,
        keys: &Identifier,
    ) -> Result<(BoxStream<'static, ArchiveResult<ScheduledStep>>, bool), DimseRefusal> {
        let scope = self.may_read()?;
        let mut parameters = Vec::new();
        for key in &keys.keys {
            if !key.value.is_empty() && key.path != [tags::SPECIFIC_CHARACTER_SET] {
                let path: Vec<String> = key.path.iter().map(|tag| tag::hex(*tag)).collect();
                parameters.push((path.join("."), key.value.clone()));
            }
        }
        if accepted.fuzzy {
            parameters.push(("fuzzymatching".to_owned(), "true".to_owned()));
        }
        let most = self.gateway.archive.limits().max_results;
        let parsed = query_parse::parse_workitems(&parameters, QueryDialect::Standard, most);
        let parsed = parsed
            .map_err(|problem| DimseRefusal::new(status::MISMATCH, problem.reason.to_string()))?;
        let asked = RequestedKeys::of(keys);
        let (syntax, terms) = (accepted.syntax.clone(), keys.terms.clone());
        let writer: WriteStep = Arc::new(move |entry| {
            let elements = asked.pick(entry).into_iter();
            let elements: Elements = elements
                .map(|(tag, value)| (tag, value.to_string()))
                .collect();
            write(elements, &syntax, &terms)
        });
        let archive = &self.gateway.archive;
        let steps = archive.scheduled_steps(&scope, &parsed.query, writer);
        Ok((steps, !parsed.warnings.is_empty()))
    }

    async fn send_steps(
        &mut self,
        accepted: &Accepted,
        command: &DimseCommand,
        mut steps: BoxStream<'static, ArchiveResult<ScheduledStep>>,
        partly: bool,
    ) -> Result<Result<u16, DimseRefusal>, PeerGone> {
        let pending = if partly {
            status::PENDING_WARNING
        } else {
            status::PENDING
        };
        let pending = DimseCommand::response(command, pending).with_data();
        self.begin_answer();
        loop {
            let step = tokio::select! {
                biased;
                cancelled = cancelled(&mut self.reader, command) => {
                    cancelled?;
                    return Ok(Ok(status::CANCELLED));
                }
                step = steps.next() => step,
            };
            let step = match step {
                None => return Ok(Ok(status::SUCCESS)),
                Some(Ok(step)) => step,
                Some(Err(error)) => return Ok(Err(error.into())),
            };
            self.writer.command(accepted.id, &pending).await?;
            self.writer.data(accepted.id, &step.data).await?;
            self.writer.end_data(accepted.id);
            self.writer.flush().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::dataset::IdentifierKey;

    #[test]
    fn an_answer_has_what_was_asked_for_in_items_too() {
        let key = |path: &[Tag]| IdentifierKey {
            path: path.to_vec(),
            value: String::new(),
            item: 0,
        };
        let steps = tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE;
        let asked = RequestedKeys::of(&Identifier {
            keys: vec![
                key(&[tags::PATIENT_ID]),
                key(&[tags::ACCESSION_NUMBER]),
                key(&[steps, tags::MODALITY]),
                key(&[steps, tags::SCHEDULED_PROCEDURE_STEP_ID]),
            ],
            terms: String::new(),
        });
        let entry = json!({
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe" }] },
            "00100020": { "vr": "LO", "Value": ["7"] },
            "00400100": { "vr": "SQ", "Value": [{ "00080060": { "vr": "CS", "Value": ["CT"] },
                "00400007": { "vr": "LO", "Value": ["x"] } }] }
        });
        let picked = asked.pick(entry.as_object().unwrap());
        assert_eq!(picked[&tags::ACCESSION_NUMBER], json!({ "vr": "SH" }));
        assert_eq!(
            picked[&steps],
            json!({ "vr": "SQ", "Value": [{ "00080060": { "vr": "CS", "Value": ["CT"] },
                "00400009": { "vr": "SH" } }] })
        );
        assert_eq!(picked.len(), 3);
    }
}
