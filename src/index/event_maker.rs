//! Events out of entries of the change feed: pure, so that the same entries always make the same events.
//!
//! Invariant: how many instances a study has is counted from the entries alone, so a study arrives once, and once it is
//! gone it can arrive again.

use std::collections::BTreeMap;

use serde_json::json;

/// An entry of the feed.
#[derive(Debug, Clone)]
pub(super) struct FeedEntryRow {
    pub(super) sequence: i64,
    pub(super) time: i64,
    pub(super) partition: i64,
    /// 0 create, 1 delete, 2 update.
    pub(super) action: i64,
    pub(super) study: String,
    pub(super) series: String,
    pub(super) instance: String,
    pub(super) patient: Option<String>,
}

/// A study as the events told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FollowedStudy {
    pub(super) instances: i64,
    pub(super) changed: i64,
    pub(super) patient: Option<String>,
}

/// An event before it has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MadeEvent {
    pub(super) time: i64,
    pub(super) partition: i64,
    pub(super) kind: &'static str,
    pub(super) study: Option<String>,
    pub(super) patient: Option<String>,
    pub(super) data: String,
}

/// Partition and Study Instance UID.
pub(super) type StudyKey = (i64, String);

/// What happened to a study since its last event.
#[derive(Debug)]
struct Since {
    arrived: bool,
    first: i64,
    last: i64,
    time: i64,
    counts: [i64; 3],
    instances: i64,
    patient: Option<String>,
}

impl Since {
    fn event(&self, (partition, study): &StudyKey, kind: &'static str) -> MadeEvent {
        let [created, deleted, updated] = self.counts;
        let data = json!({
            "studyInstanceUid": study,
            "instances": self.instances,
            "created": created,
            "updated": updated,
            "deleted": deleted,
            "firstSequence": self.first,
            "lastSequence": self.last,
        });
        MadeEvent {
            time: self.time,
            partition: *partition,
            kind,
            study: Some(study.clone()),
            patient: self.patient.clone(),
            data: data.to_string(),
        }
    }

    fn closed(&self, key: &StudyKey) -> (i64, MadeEvent) {
        let kind = if self.arrived {
            "study.arrived"
        } else {
            "study.updated"
        };
        (self.last, self.event(key, kind))
    }
}

/// Makes the events of a page of the feed, in the order in which things happened; `studies` is brought up to date.
pub(super) fn events_of(
    entries: &[FeedEntryRow],
    studies: &mut BTreeMap<StudyKey, FollowedStudy>,
    with_instances: bool,
) -> Vec<MadeEvent> {
    let mut made: Vec<(i64, MadeEvent)> = Vec::new();
    let mut open: BTreeMap<StudyKey, Since> = BTreeMap::new();
    for entry in entries {
        let key = (entry.partition, entry.study.clone());
        let study = studies.entry(key.clone()).or_default();
        let before = study.instances;
        let after = match entry.action {
            0 => before.saturating_add(1),
            1 => before.saturating_sub(1).max(0),
            _ => before.max(1),
        };
        study.instances = after;
        study.changed = entry.time;
        if entry.patient.is_some() {
            study.patient.clone_from(&entry.patient);
        }
        let since = open.entry(key.clone()).or_insert_with(|| Since {
            arrived: before == 0,
            first: entry.sequence,
            last: entry.sequence,
            time: entry.time,
            counts: [0; 3],
            instances: before,
            patient: None,
        });
        since.last = entry.sequence;
        since.time = entry.time;
        since.instances = after;
        since.patient.clone_from(&study.patient);
        let at = usize::try_from(entry.action).unwrap_or(2).min(2);
        if let Some(count) = since.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        if with_instances {
            made.push((entry.sequence, instance_event(entry, study)));
        }
        if after == 0
            && let Some(since) = open.remove(&key)
        {
            // What came and went between two looks is told as both.
            if since.arrived {
                made.push(since.closed(&key));
            }
            made.push((since.last, since.event(&key, "study.deleted")));
        }
    }
    made.extend(open.iter().map(|(key, since)| since.closed(key)));
    // Of one entry the instance comes before its study, as it was put first.
    made.sort_by_key(|(last, _)| *last);
    made.into_iter().map(|(_, event)| event).collect()
}

fn instance_event(entry: &FeedEntryRow, study: &FollowedStudy) -> MadeEvent {
    MadeEvent {
        time: entry.time,
        partition: entry.partition,
        kind: match entry.action {
            0 => "instance.created",
            1 => "instance.deleted",
            _ => "instance.updated",
        },
        study: Some(entry.study.clone()),
        patient: study.patient.clone(),
        data: json!({
            "studyInstanceUid": entry.study,
            "seriesInstanceUid": entry.series,
            "sopInstanceUid": entry.instance,
            "sequence": entry.sequence,
        })
        .to_string(),
    }
}

/// A study in which nothing changed for a time.
pub(super) fn quiet_event(
    (partition, uid): &StudyKey,
    study: &FollowedStudy,
    now: i64,
) -> MadeEvent {
    MadeEvent {
        time: now,
        partition: *partition,
        kind: "study.quiet",
        study: Some(uid.clone()),
        patient: study.patient.clone(),
        data: json!({ "studyInstanceUid": uid, "instances": study.instances }).to_string(),
    }
}

/// A workitem that came or changed its state.
pub(super) fn workitem_event(
    time: i64,
    partition: i64,
    uid: &str,
    state: i64,
    (study, patient): (Option<String>, Option<String>),
) -> MadeEvent {
    let (kind, word) = match state {
        0 => ("workitem.created", "SCHEDULED"),
        1 => ("workitem.claimed", "IN PROGRESS"),
        2 => ("workitem.completed", "COMPLETED"),
        _ => ("workitem.canceled", "CANCELED"),
    };
    MadeEvent {
        time,
        partition,
        kind,
        data: json!({ "workitemUid": uid, "state": word, "studyInstanceUid": study }).to_string(),
        study,
        patient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: i64, action: i64, study: &str) -> FeedEntryRow {
        FeedEntryRow {
            sequence,
            time: sequence * 10,
            partition: 1,
            action,
            study: study.to_owned(),
            series: "1.1".to_owned(),
            instance: format!("1.1.{sequence}"),
            patient: Some("P".to_owned()),
        }
    }

    /// Kind, study and counts of each event.
    fn described(events: &[MadeEvent]) -> Vec<String> {
        let line = |event: &MadeEvent| {
            let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            let number = |name: &str| data[name].as_i64().unwrap_or(-1);
            format!(
                "{} {} {}+{}~{}-{} {}..{}",
                event.kind,
                event.study.as_deref().unwrap(),
                number("instances"),
                number("created"),
                number("updated"),
                number("deleted"),
                number("firstSequence"),
                number("lastSequence"),
            )
        };
        events.iter().map(line).collect()
    }

    #[test]
    fn a_study_arrives_once_is_updated_and_goes() {
        let mut studies = BTreeMap::new();
        let first = [entry(1, 0, "a"), entry(2, 0, "a"), entry(3, 0, "b")];
        let events = events_of(&first, &mut studies, false);
        assert_eq!(
            described(&events),
            [
                "study.arrived a 2+2~0-0 1..2",
                "study.arrived b 1+1~0-0 3..3"
            ]
        );
        let more = [entry(4, 0, "a"), entry(5, 2, "a"), entry(6, 1, "b")];
        let events = events_of(&more, &mut studies, false);
        assert_eq!(
            described(&events),
            [
                "study.updated a 3+1~1-0 4..5",
                "study.deleted b 0+0~0-1 6..6"
            ]
        );
        assert_eq!(studies[&(1, "a".to_owned())].instances, 3);
    }

    #[test]
    fn what_comes_and_goes_and_comes_again_within_a_page_is_told_in_order() {
        let mut studies = BTreeMap::new();
        let page = [entry(1, 0, "a"), entry(2, 1, "a"), entry(3, 0, "a")];
        let events = events_of(&page, &mut studies, false);
        assert_eq!(
            described(&events),
            [
                "study.arrived a 0+1~0-1 1..2",
                "study.deleted a 0+1~0-1 1..2",
                "study.arrived a 1+1~0-0 3..3"
            ]
        );
    }

    #[test]
    fn how_the_feed_is_cut_into_pages_changes_no_arrival_and_no_count() {
        let feed: Vec<FeedEntryRow> = (1..=20)
            .map(|n| {
                entry(
                    n,
                    if n % 7 == 0 { 1 } else { 0 },
                    ["a", "b"][usize::try_from(n % 2).unwrap()],
                )
            })
            .collect();
        for size in [1, 3, 20] {
            let mut studies = BTreeMap::new();
            let events: Vec<MadeEvent> = feed
                .chunks(size)
                .flat_map(|page| events_of(page, &mut studies, false))
                .collect();
            let arrived = events.iter().filter(|event| event.kind == "study.arrived");
            assert_eq!(arrived.count(), 2, "{size}");
            assert_eq!(studies[&(1, "a".to_owned())].instances, 8);
            assert_eq!(studies[&(1, "b".to_owned())].instances, 8);
        }
    }

    #[test]
    fn instances_are_told_on_request_and_before_their_study() {
        let mut studies = BTreeMap::new();
        let events = events_of(&[entry(1, 0, "a"), entry(2, 2, "a")], &mut studies, true);
        let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
        assert_eq!(
            kinds,
            ["instance.created", "instance.updated", "study.arrived"]
        );
        assert!(events[0].data.contains("\"sopInstanceUid\":\"1.1.1\""));
    }
}
