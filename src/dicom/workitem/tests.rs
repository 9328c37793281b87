use dicom_dictionary_std::tags;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::*;
use crate::dicom::query::QueryDialect;

fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH
}

fn item(state: State, finished: bool) -> JsonDataSet {
    let mut item = JsonDataSet::new();
    set(&mut item, tags::PROCEDURE_STEP_STATE, "CS", state.as_str());
    if finished {
        let step = json!({
            "00404019": { "vr": "SQ", "Value": [{}] }, "00404028": { "vr": "SQ", "Value": [{}] },
            "00404033": { "vr": "SQ", "Value": [{}] }, "00404050": { "vr": "DT", "Value": ["2026"] },
            "00404051": { "vr": "DT", "Value": ["2026"] },
        });
        set(
            &mut item,
            tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
            "SQ",
            step,
        );
        let progress = json!({
            "00404052": { "vr": "DT", "Value": ["2026"] }, "0074100E": { "vr": "SQ", "Value": [{}] },
        });
        set(
            &mut item,
            tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
            "SQ",
            progress,
        );
    }
    item
}

#[test]
fn the_state_machine_is_that_of_the_standard() {
    use State::{Canceled, Completed, InProgress, Scheduled};
    let (owner, wrong) = ("1.2", "1.3");
    for dialect in [QueryDialect::Service, QueryDialect::Standard] {
        for from in State::ALL {
            for to in [InProgress, Completed, Canceled] {
                for transaction in [None, Some(owner), Some(wrong)] {
                    let mut item = item(from, true);
                    let digest = (from != Scheduled).then(|| digest(owner));
                    let asked = StateRequest {
                        state: to,
                        transaction: transaction.map(str::to_owned),
                    };
                    let changed =
                        change_state(&mut item, digest.as_deref(), &asked, dialect, now());
                    let expected = match (from, to, transaction) {
                        (Scheduled, InProgress, Some(_)) => Ok(Changed::Yes),
                        (Scheduled, InProgress, None) => Err(Conflict::NoTransaction),
                        (Scheduled, ..) => Err(Conflict::NotClaimed),
                        (InProgress, InProgress, _) => Err(Conflict::Claimed),
                        (of, to, _) if of.is_final() && of != to => Err(Conflict::Final(of)),
                        (_, _, None) => Err(Conflict::NoTransaction),
                        (_, _, Some(uid)) if uid == wrong => Err(Conflict::WrongTransaction),
                        (InProgress, ..) => Ok(Changed::Yes),
                        _ => Ok(Changed::Already),
                    };
                    assert_eq!(changed, expected, "{from:?} {to:?} {transaction:?}");
                    let then = if changed == Ok(Changed::Yes) {
                        to
                    } else {
                        from
                    };
                    assert_eq!(text(&item, tags::PROCEDURE_STEP_STATE), Some(then.as_str()));
                }
            }
        }
    }
    let asked = StateRequest {
        state: Completed,
        transaction: Some(owner.to_owned()),
    };
    let mut early = item(InProgress, false);
    let owner = digest(owner);
    let refused = change_state(
        &mut early,
        Some(&owner),
        &asked,
        QueryDialect::Standard,
        now(),
    );
    assert!(
        matches!(refused, Err(Conflict::Unfinished { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_canceled_workitem_has_what_the_final_state_needs() {
    for reasons in [
        Reasons::default(),
        Reasons {
            text: Some("not needed".to_owned()),
            codes: vec![json!({ "00080100": { "vr": "SH", "Value": ["X"] } })],
            ..Reasons::default()
        },
    ] {
        let mut item = item(State::Scheduled, false);
        cancel(&mut item, &reasons, now());
        assert_eq!(
            rules::unfinished(&item, State::Canceled, QueryDialect::Service),
            None
        );
        assert_eq!(text(&item, tags::PROCEDURE_STEP_STATE), Some("CANCELED"));
    }
}

#[test]
fn a_workitem_of_requests_for_several_studies_belongs_to_none_of_them() {
    let of = |studies: &[&str]| {
        let request = |study: &&str| json!({ "0020000D": { "vr": "UI", "Value": [study] } });
        let requests: Vec<Value> = studies.iter().map(request).collect();
        let mut item = JsonDataSet::new();
        item.insert(
            "0040A370".to_owned(),
            json!({ "vr": "SQ", "Value": requests }),
        );
        Keys::of(&item).study
    };
    assert_eq!(of(&[]), None);
    assert_eq!(of(&["1.2"]), Some("1.2".to_owned()));
    assert_eq!(of(&["1.2", "1.2"]), Some("1.2".to_owned()));
    assert_eq!(of(&["1.2", "1.3"]), None);
}

#[test]
fn what_cannot_be_encoded_or_lies_too_deep_is_refused() {
    let read = |text: &str| read(text.as_bytes(), Format::Json);
    let small = read(
        r#"[{"0040a370":{"vr":"SQ","Value":[{"0020000d":{"vr":"UI"}}]},"00020010":{"vr":"UI"}}]"#,
    );
    let small = small.unwrap();
    assert_eq!(small.keys().collect::<Vec<_>>(), ["0040A370"]);
    assert!(small["0040A370"]["Value"][0].get("0020000D").is_some());
    let mut deep = "{}".to_owned();
    for _ in 0..41 {
        deep = format!(r#"{{"0040A370":{{"vr":"SQ","Value":[{deep}]}}}}"#);
    }
    for bad in [
        "",
        "[]",
        "[1]",
        "{\"0040A370\":1}",
        r#"{"00741204":{"vr":"LO","Value":[{}]}}"#,
        r#"{"00741204":{"vr":"XX","Value":["a"]}}"#,
        r#"{"0040a370":{"vr":"SQ"},"0040A370":{"vr":"SQ"}}"#,
        &deep,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
