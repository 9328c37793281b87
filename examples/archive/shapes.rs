//! The measured shapes: each as a query of the index and as the statement a person would write.

use stowage::dicom::attributes::{QueryLevel, key};
use stowage::dicom::query::{Case, Condition, Include, Matching, PathStep, Query, TagPath};

use crate::bare::{Bind, Known, Question, Sql};

/// One shape of search; each round asks for the values of another study, and of the newest one.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Whether the goals of the page speak of it.
    pub(crate) goal: bool,
    pub(crate) make: fn(&Known, &Known) -> (Query, Question),
}

macro_rules! page {
    ($condition:literal) => {
        concat!(
            "select id, study_uid, attributes, modalities, series_count, instance_count from study where partition = $1",
            $condition,
            " order by id desc limit 101"
        )
    };
}

macro_rules! count {
    ($condition:literal, $last:literal) => {
        concat!(
            "select count(*) from (select 1 from study where partition = $1",
            $condition,
            " and id < ",
            $last,
            " limit 1001) as behind"
        )
    };
}

macro_rules! question {
    ($sqlite:literal, $postgres:literal, $last:literal, $($bind:expr),*) => {
        Question {
            page: Sql { sqlite: page!($sqlite), postgres: page!($postgres) },
            count: Sql { sqlite: count!($sqlite, $last), postgres: count!($postgres, $last) },
            binds: vec![Bind::Int(1), $(Bind::Text($bind)),*],
        }
    };
    ($both:literal, $last:literal, $($bind:expr),*) => {
        question!($both, $both, $last, $($bind),*)
    };
}

/// Every shape, those the goals speak of first.
pub(crate) const SHAPES: [Shape; 11] = [
    Shape {
        name: "study UID",
        goal: true,
        make: |study, _| {
            let uid = study.uid.clone();
            let question = question!(" and study_uid = $2", "$3", uid.clone());
            (query(vec![single(0x0020_000D, &uid)]), question)
        },
    },
    Shape {
        name: "Patient ID",
        goal: true,
        make: |study, _| {
            let id = study.patient_id.clone();
            let question = question!(
                " and patient_id_norm = $2 and patient_id = $3",
                "$4",
                id.to_lowercase(),
                id.clone()
            );
            (query(vec![single(0x0010_0020, &id)]), question)
        },
    },
    Shape {
        name: "accession number",
        goal: true,
        make: |study, _| {
            let number = study.accession.clone();
            let question = question!(
                " and accession_number_norm = $2 and accession_number = $3",
                "$4",
                number.to_lowercase(),
                number.clone()
            );
            (query(vec![single(0x0008_0050, &number)]), question)
        },
    },
    Shape {
        name: "name prefix `FAMILY^GIV*`",
        goal: true,
        make: |study, _| {
            let name = &study.name;
            let end = name.find('^').map_or(name.len(), |at| at + 4);
            prefix(&name[..end])
        },
    },
    Shape {
        name: "day and modality",
        goal: true,
        make: |study, _| days(&study.date, &study.date, &study.modality),
    },
    Shape {
        name: "last 7 days and modality",
        goal: true,
        make: |study, newest| days(&week_before(&newest.date), &newest.date, &study.modality),
    },
    Shape {
        name: "worklist, page 1",
        goal: true,
        make: |_, _| (query(Vec::new()), question!("", "$2",)),
    },
    Shape {
        name: "name prefix `FAM*`",
        goal: false,
        make: |study, _| {
            let name = &study.name;
            let end = name.char_indices().nth(3).map_or(name.len(), |(at, _)| at);
            prefix(&name[..end])
        },
    },
    Shape {
        name: "name part `*amil*`",
        goal: false,
        make: |study, _| {
            let name = &study.name;
            let family: Vec<char> = name.split('^').next().unwrap_or("").chars().collect();
            let part: String = family.iter().skip(1).collect();
            contains(&part)
        },
    },
    Shape {
        name: "name part `*smith*`",
        goal: false,
        make: |_, _| contains("smith"),
    },
    Shape {
        name: "name words `fam giv`, fuzzy",
        goal: false,
        make: |study, _| {
            let name = study.name.to_lowercase();
            let words: Vec<String> = name.split('^').take(2).map(str::to_owned).collect();
            let folded: Vec<String> = words.iter().map(|w| fold(w)).collect();
            // Word prefixes: the text up to the first word's end drives, the second is looked for behind its mark.
            let question = question!(
                " and id in (select study_row from study_name_word where partition = $1 and kind = 1 and text >= $2 \
                 and text < $3 and text glob $4)",
                " and id in (select study_row from study_name_word where partition = $1 and kind = 1 and text >= $2 \
                 and text < $3 and text like replace($4, '*', '%'))",
                "$5",
                folded[0].clone(),
                format!("{}\u{10FFFF}", folded[0]),
                format!("{}*\u{1}{}*", folded[0], folded[1])
            );
            (
                query(vec![condition(0x0010_0010, Matching::Words(words))]),
                question,
            )
        },
    },
];

fn prefix(text: &str) -> (Query, Question) {
    let folded = fold(text);
    let question = question!(
        " and id in (select study_row from study_name where partition = $1 and kind = 1 and text >= $2 and text < $3)",
        "$4",
        folded.clone(),
        format!("{folded}\u{10FFFF}")
    );
    let wanted = Matching::Wildcard(format!("{text}*"));
    (query(vec![condition(0x0010_0010, wanted)]), question)
}

fn contains(part: &str) -> (Query, Question) {
    let question = question!(
        " and id in (select study_row from study_name where partition = $1 and kind = 1 and study_name.id in \
         (select rowid from study_name_trigram where text glob $2))",
        " and id in (select study_row from study_name where partition = $1 and kind = 1 and text like \
         replace($2, '*', '%'))",
        "$3",
        format!("*{}*", fold(part))
    );
    let wanted = Matching::Wildcard(format!("*{part}*"));
    (query(vec![condition(0x0010_0010, wanted)]), question)
}

fn days(from: &str, to: &str, modality: &str) -> (Query, Question) {
    let question = question!(
        " and study_date between $2 and $3 and exists (select 1 from series where series.study_row = study.id and \
         modality_norm = $4 and modality = $5)",
        "$6",
        from.to_owned(),
        to.to_owned(),
        modality.to_lowercase(),
        modality.to_owned()
    );
    let range = Matching::Range {
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
    };
    let conditions = vec![condition(0x0008_0020, range), single(0x0008_0061, modality)];
    (query(conditions), question)
}

/// As the index folds parts of names.
fn fold(text: &str) -> String {
    let parts: Vec<String> = text
        .split('^')
        .map(stowage::dicom::normalize::text)
        .collect();
    parts.join("^")
}

/// Six days before a date.
fn week_before(date: &str) -> String {
    let format = time::macros::format_description!("[year][month][day]");
    time::Date::parse(date, format)
        .ok()
        .and_then(|date| date.checked_sub(time::Duration::days(6)))
        .and_then(|date| date.format(format).ok())
        .unwrap_or_else(|| date.to_owned())
}

fn query(conditions: Vec<Condition>) -> Query {
    Query {
        level: QueryLevel::Study,
        study: None,
        series: None,
        conditions,
        include: Include::Fields(Vec::new()),
        limit: Some(100),
        offset: 0,
        order: None,
    }
}

fn condition(number: u32, matching: Matching) -> Condition {
    let tag = dicom_core::Tag::from(((number >> 16) as u16, (number & 0xFFFF) as u16));
    Condition {
        path: TagPath(vec![PathStep { tag, creator: None }]),
        vr: key(tag).map_or(dicom_core::VR::LO, |key| key.vr),
        matching,
        case: Case::Sensitive,
    }
}

fn single(tag: u32, value: &str) -> Condition {
    condition(tag, Matching::Single(value.to_owned()))
}
