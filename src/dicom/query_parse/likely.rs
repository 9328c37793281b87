//! What a name that is unknown was probably meant to be.

use super::super::tag;

/// Keywords that are suggested: attributes of patients, studies, series, images, equipment and procedures.
const KEYWORDS: &str = include_str!("keywords.txt");

/// Parameters of a search that are no attributes.
const PARAMETERS: [&str; 6] = [
    "limit",
    "offset",
    "includefield",
    "fuzzymatching",
    "emptyvaluematching",
    "multiplevaluematching",
];

/// Longest name for which another one is looked for, in bytes.
const LONGEST: usize = 64;
/// Most letters that may be wrong, missing or too many.
const MISTAKES: usize = 2;

/// The known name, of a keyword or parameter, that is nearest: the same in another case, else one with few letters changed.
///
/// In a dotted path the step that is unknown counts. Time is bounded by the number of keywords.
pub(super) fn likely(name: &str) -> Option<&'static str> {
    let mut steps = name.trim().split('.');
    let unknown = steps.find(|step| tag::parse(step).is_err())?;
    if unknown.len() > LONGEST || unknown.is_empty() {
        return None;
    }
    let known = || PARAMETERS.into_iter().chain(KEYWORDS.lines());
    if let Some(same) = known().find(|known| known.eq_ignore_ascii_case(unknown)) {
        return Some(same);
    }
    let unknown = unknown.to_ascii_lowercase();
    let most = MISTAKES.min(unknown.len() / 4);
    let near = known().filter_map(|known| {
        let mistakes = distance(unknown.as_bytes(), known.as_bytes(), most)?;
        Some((mistakes, known))
    });
    near.min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, known)| known)
}

/// How many letters of `b`, its case apart, must be changed, added, removed or swapped with the next one to make `a`; none
/// when they are more than `most`.
fn distance(a: &[u8], b: &[u8], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let first = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i.saturating_add(1));
        for (j, y) in b.iter().enumerate() {
            let y = y.to_ascii_lowercase();
            let replaced = first(&above, j).saturating_add(usize::from(*x != y));
            let removed = first(&above, j.saturating_add(1)).saturating_add(1);
            let added = first(&row, j).saturating_add(1);
            let swapped = i.checked_sub(1).zip(j.checked_sub(1)).filter(|(k, l)| {
                a.get(*k) == Some(&y) && b.get(*l).map(u8::to_ascii_lowercase) == Some(*x)
            });
            let swapped = swapped.map_or(usize::MAX / 2, |(_, l)| first(&before, l));
            row.push(
                replaced
                    .min(removed)
                    .min(added)
                    .min(swapped.saturating_add(1)),
            );
        }
        if row.iter().min().is_none_or(|least| *least > most) {
            return None;
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().filter(|mistakes| *mistakes <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suggested_keyword_is_one() {
        for keyword in KEYWORDS.lines() {
            assert!(tag::parse(keyword).is_ok(), "{keyword}");
        }
    }

    #[test]
    fn the_likely_name_is_found() {
        for (name, expected) in [
            ("PatientId", Some("PatientID")),
            ("patientname", Some("PatientName")),
            ("PatinetName", Some("PatientName")),
            ("PatientsName", Some("PatientName")),
            ("StudyInstanceUId", Some("StudyInstanceUID")),
            ("StudyDescripton", Some("StudyDescription")),
            ("Modalty", Some("Modality")),
            ("limits", Some("limit")),
            ("IncludeFields", Some("includefield")),
            (
                "RequestAttributesSequence.RequestedProcedureId",
                Some("RequestedProcedureID"),
            ),
            ("x", None),
            ("tracking", None),
            ("", None),
            ("....", None),
            ("PatientID", None),
        ] {
            assert_eq!(likely(name), expected, "{name}");
        }
        assert_eq!(likely(&"a".repeat(100_000)), None);
    }
}
