//! Conditions that become one: lists of UIDs, and dates with the times that belong to them.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::super::query::Matching;
use super::draft::Draft;

/// Two lists of UIDs become one; whoever asks for everything asks for no less with a list beside it.
pub(super) fn join_lists(first: &mut Matching, second: Matching) {
    let (values, patterns) = match (values_of(first), values_of(&second)) {
        (Some((mut values, some)), Some((more, others))) => {
            values.extend(more);
            (values, some || others)
        }
        // Universal and empty matching stand for themselves; the narrower one is kept.
        (None, Some(_)) => {
            *first = second;
            return;
        }
        (_, None) => return,
    };
    let mut seen = std::collections::HashSet::new();
    let mut values = values;
    values.retain(|value| seen.insert(value.clone()));
    *first = match (values.len(), patterns) {
        (1, true) => Matching::Wildcard(values.remove(0)),
        (1, false) => Matching::Single(values.remove(0)),
        (_, true) => Matching::AnyWildcard(values),
        (_, false) => Matching::AnyOf(values),
    };
}

/// The values of a matching that is a list, and whether they are patterns.
fn values_of(matching: &Matching) -> Option<(Vec<String>, bool)> {
    match matching {
        Matching::Single(value) => Some((vec![value.clone()], false)),
        Matching::Wildcard(value) => Some((vec![value.clone()], true)),
        Matching::AnyOf(values) => Some((values.clone(), false)),
        Matching::AnyWildcard(values) => Some((values.clone(), true)),
        Matching::Universal
        | Matching::Empty
        | Matching::Range { .. }
        | Matching::DateTime { .. }
        | Matching::Number(_)
        | Matching::Words(_) => None,
    }
}

/// Dates and the times that belong to them.
const MOMENTS: &[(Tag, Tag)] = &[
    (tags::STUDY_DATE, tags::STUDY_TIME),
    (tags::SERIES_DATE, tags::SERIES_TIME),
    (tags::ACQUISITION_DATE, tags::ACQUISITION_TIME),
    (tags::CONTENT_DATE, tags::CONTENT_TIME),
    (
        tags::PERFORMED_PROCEDURE_STEP_START_DATE,
        tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    ),
];

/// Makes one range of moments of a range of dates and a range of the times belonging to them (PS3.4 §C.2.2.2.5.4).
pub(super) fn join_moments(conditions: &mut Vec<Draft>) {
    for (date, time) in MOMENTS {
        let at = |tag: Tag, conditions: &[Draft]| {
            let named = |draft: &Draft| draft.condition.path.single() == Some(tag);
            let mut found = conditions
                .iter()
                .enumerate()
                .filter(|(_, draft)| named(draft));
            match (found.next(), found.next()) {
                (
                    Some((
                        at,
                        Draft {
                            condition,
                            ranged: true,
                            ..
                        },
                    )),
                    None,
                ) => match &condition.matching {
                    Matching::Range { from, to } => Some((at, from.clone(), to.clone())),
                    _ => None,
                },
                _ => None,
            }
        };
        let (Some((date_at, first, last)), Some((time_at, start, end))) =
            (at(*date, conditions), at(*time, conditions))
        else {
            continue;
        };
        if first == last {
            continue;
        }
        let start = start.unwrap_or_else(|| "000000.000000".to_owned());
        let end = end.unwrap_or_else(|| "235959.999999".to_owned());
        let joined = Matching::DateTime {
            time: *time,
            from: first.map(|day| day + &start),
            to: last.map(|day| day + &end),
        };
        if let Some(draft) = conditions.get_mut(date_at) {
            draft.condition.matching = joined;
            conditions.remove(time_at);
        }
    }
}
