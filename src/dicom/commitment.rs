//! Storage commitment over the web: what is asked for and what is told (PS3.18 Annex J).
//!
//! Invariant: a request names [`MOST`] things at most; lists of UIDs that are read here are UIDs.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_set::{JsonDataSet, element, set};
use super::tag;
use super::uid::check_uid;

/// Most instances that a request may mean.
pub const MOST: usize = 20_000;

/// An instance by class and UID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReference {
    /// SOP Class UID.
    pub class: String,
    /// SOP Instance UID.
    pub instance: String,
}

/// A series, or instances of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferencedSeries {
    /// Series Instance UID.
    pub series: String,
    /// Which instances; all when there is none.
    pub instances: Vec<InstanceReference>,
}

/// A study, or series of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferencedStudy {
    /// Study Instance UID.
    pub study: String,
    /// Which series; all when there is none.
    pub series: Vec<ReferencedSeries>,
}

/// What somebody asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedCommitment {
    /// Single instances: Referenced SOP Sequence (0008,1199).
    pub instances: Vec<InstanceReference>,
    /// Studies: Referenced Study Sequence (0008,1110).
    pub studies: Vec<ReferencedStudy>,
}

/// Why something is not committed (0008,1197); none when it is.
pub type FailureReason = Option<u16>;

/// What became of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedSeries {
    /// Series Instance UID.
    pub series: String,
    /// Why nothing can be said of its instances.
    pub failure: FailureReason,
    /// Its instances.
    pub instances: Vec<(InstanceReference, FailureReason)>,
}

/// What became of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedStudy {
    /// Study Instance UID.
    pub study: String,
    /// Why nothing can be said of its series.
    pub failure: FailureReason,
    /// Its series.
    pub series: Vec<ReportedSeries>,
}

/// What is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitmentResult {
    /// Single instances.
    pub instances: Vec<(InstanceReference, FailureReason)>,
    /// Studies.
    pub studies: Vec<ReportedStudy>,
}

impl AskedCommitment {
    /// Reads a request from its data set in DICOM JSON.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(data_set: &JsonDataSet) -> Result<Self, String> {
        let mut request = Self::default();
        for item in items(data_set, tags::REFERENCED_SOP_SEQUENCE)? {
            request
                .instances
                .push(reference(item, tags::REFERENCED_SOP_SEQUENCE)?);
        }
        for item in items(data_set, tags::REFERENCED_STUDY_SEQUENCE)? {
            let mut study = ReferencedStudy {
                study: uid(
                    item,
                    tags::STUDY_INSTANCE_UID,
                    tags::REFERENCED_STUDY_SEQUENCE,
                )?,
                series: Vec::new(),
            };
            for item in items(item, tags::REFERENCED_SERIES_SEQUENCE)? {
                study.series.push(referenced_series(item)?);
            }
            request.studies.push(study);
        }
        let named = request.named();
        if named == 0 {
            let reason = "nothing is named: (0008,1199) lists instances, (0008,1110) studies";
            return Err(reason.to_owned());
        }
        if named > MOST {
            return Err(format!(
                "{named} things are named, and a request may name {MOST} at most"
            ));
        }
        Ok(request)
    }

    /// How many things it names.
    #[must_use]
    pub fn named(&self) -> usize {
        let of_series = |series: &ReferencedSeries| series.instances.len().max(1);
        let of_study =
            |study: &ReferencedStudy| study.series.iter().map(of_series).sum::<usize>().max(1);
        self.instances.len() + self.studies.iter().map(of_study).sum::<usize>()
    }
}

fn referenced_series(item: &JsonDataSet) -> Result<ReferencedSeries, String> {
    let mut series = ReferencedSeries {
        series: uid(
            item,
            tags::SERIES_INSTANCE_UID,
            tags::REFERENCED_SERIES_SEQUENCE,
        )?,
        instances: Vec::new(),
    };
    for by_class in items(item, tags::REFERENCED_INSTANCES_BY_SOP_CLASS_SEQUENCE)? {
        let class = uid(
            by_class,
            tags::REFERENCED_SOP_CLASS_UID,
            tags::REFERENCED_INSTANCES_BY_SOP_CLASS_SEQUENCE,
        )?;
        for item in items(by_class, tags::REFERENCED_INSTANCE_SEQUENCE)? {
            series.instances.push(InstanceReference {
                class: class.clone(),
                instance: uid(
                    item,
                    tags::REFERENCED_SOP_INSTANCE_UID,
                    tags::REFERENCED_INSTANCE_SEQUENCE,
                )?,
            });
        }
    }
    Ok(series)
}

fn reference(item: &JsonDataSet, of: Tag) -> Result<InstanceReference, String> {
    Ok(InstanceReference {
        class: uid(item, tags::REFERENCED_SOP_CLASS_UID, of)?,
        instance: uid(item, tags::REFERENCED_SOP_INSTANCE_UID, of)?,
    })
}

/// The items of a sequence; none when it is absent or empty.
fn items(data_set: &JsonDataSet, tag: Tag) -> Result<Vec<&JsonDataSet>, String> {
    let Some(values) = element(data_set, tag).and_then(|element| element.get("Value")) else {
        return Ok(Vec::new());
    };
    let all = values.as_array().and_then(|all| {
        let items = all.iter().map(Value::as_object);
        items.collect::<Option<Vec<_>>>()
    });
    all.ok_or_else(|| format!("{} is no sequence of items", tag::hex(tag)))
}

/// The UID in an item of a sequence.
fn uid(item: &JsonDataSet, tag: Tag, of: Tag) -> Result<String, String> {
    let (Tag(group, number), Tag(of_group, of_number)) = (tag, of);
    let what = format!("({group:04X},{number:04X}) in an item of ({of_group:04X},{of_number:04X})");
    let values = element(item, tag).and_then(|element| element.get("Value"));
    let text = values.and_then(|values| values.get(0)?.as_str());
    let text = text.ok_or_else(|| format!("{what} is missing"))?;
    match check_uid(text) {
        Ok(uid) => Ok(uid.to_owned()),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

impl CommitmentResult {
    /// The data set in DICOM JSON (PS3.18 §J.2).
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::from("{");
        let mut put = |tag: Tag, items: Vec<Value>| {
            if items.is_empty() {
                return;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&format!("\"{}\":{}", tag::hex(tag), sequence(items)));
        };
        // In the order of the tags.
        put(
            tags::REFERENCED_STUDY_SEQUENCE,
            studies(&self.studies, false),
        );
        let told = |failed: bool| {
            let of = move |(reference, failure): &(InstanceReference, FailureReason)| {
                (failure.is_some() == failed).then(|| item(reference, *failure))
            };
            self.instances.iter().filter_map(of).collect::<Vec<_>>()
        };
        put(tags::FAILED_SOP_SEQUENCE, told(true));
        put(tags::REFERENCED_SOP_SEQUENCE, told(false));
        put(tags::FAILED_STUDY_SEQUENCE, studies(&self.studies, true));
        text.push('}');
        text
    }
}

/// A sequence of items in DICOM JSON.
pub(crate) fn sequence(items: Vec<Value>) -> Value {
    let members = [("vr", "SQ".into()), ("Value", Value::Array(items))];
    Value::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
    )
}

/// The item that names an instance, with the reason why it is not committed.
pub(crate) fn item(reference: &InstanceReference, failure: FailureReason) -> Value {
    let mut item = JsonDataSet::new();
    set(
        &mut item,
        tags::REFERENCED_SOP_CLASS_UID,
        "UI",
        &*reference.class,
    );
    set(
        &mut item,
        tags::REFERENCED_SOP_INSTANCE_UID,
        "UI",
        &*reference.instance,
    );
    note(&mut item, failure);
    item.into()
}

fn note(item: &mut JsonDataSet, failure: FailureReason) {
    if let Some(reason) = failure {
        set(item, tags::FAILURE_REASON, "US", reason);
    }
}

/// Items for what is committed, or for what failed, of studies.
fn studies(all: &[ReportedStudy], failed: bool) -> Vec<Value> {
    let mut items = Vec::new();
    for study in all {
        let below: Vec<Value> = study
            .series
            .iter()
            .filter_map(|series| series_item(series, failed))
            .collect();
        let own = study.failure.filter(|_| failed);
        if below.is_empty() && own.is_none() {
            continue;
        }
        let mut item = JsonDataSet::new();
        set(&mut item, tags::STUDY_INSTANCE_UID, "UI", &*study.study);
        note(&mut item, own);
        if !below.is_empty() {
            item.insert(tag::hex(tags::REFERENCED_SERIES_SEQUENCE), sequence(below));
        }
        items.push(item.into());
    }
    items
}

fn series_item(series: &ReportedSeries, failed: bool) -> Option<Value> {
    // By class, in the order of the first instance of each.
    let mut classes: Vec<(&str, Vec<Value>)> = Vec::new();
    for (reference, failure) in &series.instances {
        if failure.is_some() != failed {
            continue;
        }
        let item = item(reference, *failure);
        match classes
            .iter_mut()
            .find(|(class, _)| *class == reference.class)
        {
            Some((_, items)) => items.push(item),
            None => classes.push((&reference.class, vec![item])),
        }
    }
    let own = series.failure.filter(|_| failed);
    if classes.is_empty() && own.is_none() {
        return None;
    }
    let mut item = JsonDataSet::new();
    set(&mut item, tags::SERIES_INSTANCE_UID, "UI", &*series.series);
    note(&mut item, own);
    let by_class = classes.into_iter().map(|(class, items)| {
        let mut item = JsonDataSet::new();
        set(&mut item, tags::REFERENCED_SOP_CLASS_UID, "UI", class);
        item.insert(
            tag::hex(tags::REFERENCED_INSTANCE_SEQUENCE),
            sequence(items),
        );
        item.into()
    });
    let by_class: Vec<Value> = by_class.collect();
    if !by_class.is_empty() {
        item.insert(
            tag::hex(tags::REFERENCED_INSTANCES_BY_SOP_CLASS_SEQUENCE),
            sequence(by_class),
        );
    }
    Some(item.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ui(text: &str) -> Value {
        json!({ "vr": "UI", "Value": [text] })
    }

    fn read(value: &Value) -> Result<AskedCommitment, String> {
        AskedCommitment::read(value.as_object().unwrap())
    }

    fn reference(number: u32) -> InstanceReference {
        InstanceReference {
            class: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
            instance: format!("1.2.3.{number}"),
        }
    }

    #[test]
    fn a_list_and_a_tree_are_read() {
        let one = reference(1);
        let asked = json!({
            "00081199": sequence(vec![item(&one, None)]),
            "00081110": sequence(vec![
                json!({ "0020000D": ui("1.2.4") }),
                json!({ "0020000D": ui("1.2.5"), "00081115": sequence(vec![
                    json!({ "0020000E": ui("1.2.5.1") }),
                    json!({ "0020000E": ui("1.2.5.2"), "00081112": sequence(vec![json!({
                        "00081150": ui(&one.class),
                        "0008114A": sequence(vec![json!({ "00081155": ui("1.2.3.2") })]),
                    })]) }),
                ]) }),
            ]),
        });
        let request = read(&asked).unwrap();
        assert_eq!(request.instances, [one]);
        assert_eq!(request.named(), 4);
        let [whole, part] = request.studies.as_slice() else {
            panic!("{request:?}");
        };
        assert_eq!((whole.study.as_str(), whole.series.len()), ("1.2.4", 0));
        assert!(part.series[0].instances.is_empty());
        assert_eq!(part.series[1].instances, [reference(2)]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (asked, named) in [
            (json!({}), "nothing is named"),
            (json!({ "00081199": { "vr": "SQ" } }), "nothing is named"),
            (
                json!({ "00081199": sequence(vec![json!({ "00081155": ui("1.2") })]) }),
                "(0008,1150)",
            ),
            (
                json!({ "00081199": sequence(vec![json!({ "00081150": ui("1.2"), "00081155": ui("x") })]) }),
                "(0008,1155)",
            ),
            (
                json!({ "00081110": sequence(vec![json!({})]) }),
                "(0020,000D)",
            ),
            (
                json!({ "00081110": { "vr": "SQ", "Value": [1] } }),
                "00081110",
            ),
        ] {
            let error = read(&asked).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_report_tells_what_is_committed_apart_from_what_failed() {
        let report = CommitmentResult {
            instances: vec![(reference(1), None), (reference(2), Some(0x0112))],
            studies: vec![
                ReportedStudy {
                    study: "1.2.4".to_owned(),
                    failure: Some(0x0112),
                    series: Vec::new(),
                },
                ReportedStudy {
                    study: "1.2.5".to_owned(),
                    failure: None,
                    series: vec![ReportedSeries {
                        series: "1.2.5.1".to_owned(),
                        failure: None,
                        instances: vec![(reference(3), None), (reference(4), Some(0x0110))],
                    }],
                },
            ],
        };
        let told: Value = serde_json::from_str(&report.to_json()).unwrap();
        let class = ui(&reference(1).class);
        let tree = |item: Value| {
            json!({ "0020000D": ui("1.2.5"), "00081115": sequence(vec![json!({
                "0020000E": ui("1.2.5.1"),
                "00081112": sequence(vec![json!({ "00081150": class, "0008114A": sequence(vec![item]) })]),
            })]) })
        };
        let expected = json!({
            "00081110": sequence(vec![tree(item(&reference(3), None))]),
            "00081198": sequence(vec![item(&reference(2), Some(0x0112))]),
            "00081199": sequence(vec![item(&reference(1), None)]),
            "0008119B": sequence(vec![
                json!({ "0020000D": ui("1.2.4"), "00081197": { "vr": "US", "Value": [0x0112] } }),
                tree(item(&reference(4), Some(0x0110))),
            ]),
        });
        assert_eq!(told, expected);
        assert_eq!(CommitmentResult::default().to_json(), "{}");
    }
}
