//! Search: what matches is found, on every resource and under every root, and nothing else.

mod answers;
mod matching;
mod pages;
mod rules;
mod text;
mod viewers;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// An instance of the archive that is searched.
struct Sample {
    name: (u32, u32, u32),
    patient: &'static str,
    id: &'static str,
    date: &'static str,
    accession: &'static str,
    description: &'static str,
    modality: &'static str,
}

/// Four patients, four studies, six series, seven instances.
const SAMPLES: [Sample; 7] = [
    sample(
        (600, 1, 1),
        "Müller^Jörg",
        "MUE-1",
        "20200101",
        "ACC1",
        "Knie, rechts",
        "CT",
    ),
    sample(
        (600, 1, 2),
        "Müller^Jörg",
        "MUE-1",
        "20200101",
        "ACC1",
        "Knie, rechts",
        "CT",
    ),
    sample(
        (600, 2, 1),
        "Müller^Jörg",
        "MUE-1",
        "20200101",
        "ACC1",
        "Knie, rechts",
        "SR",
    ),
    sample(
        (601, 1, 1),
        "Doe^John",
        "doe-2",
        "20200215",
        "ACC2",
        "Head",
        "MR",
    ),
    sample(
        (601, 2, 1),
        "Doe^John",
        "doe-2",
        "20200215",
        "ACC2",
        "Head",
        "CT",
    ),
    sample(
        (602, 1, 1),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "Y*3",
        "20210303",
        "",
        "Head and neck",
        "CT",
    ),
    sample(
        (603, 1, 1),
        "O'Neil^Mary Ann",
        "ID_4",
        "20211231",
        "acc1",
        "",
        "US",
    ),
];

const fn sample(
    name: (u32, u32, u32),
    patient: &'static str,
    id: &'static str,
    date: &'static str,
    accession: &'static str,
    description: &'static str,
    modality: &'static str,
) -> Sample {
    Sample {
        name,
        patient,
        id,
        date,
        accession,
        description,
        modality,
    }
}

impl Sample {
    fn name(&self) -> Name {
        let (study, series, instance) = self.name;
        Name::new(study, series, instance)
    }

    fn file(&self) -> BuiltFile {
        let name = self.name();
        let data_set = name.data_set().set(
            DataSet::new()
                .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
                .text(Tag(0x0008, 0x0020), VR::DA, self.date)
                .text(Tag(0x0008, 0x0030), VR::TM, "101112")
                .text(Tag(0x0008, 0x0050), VR::SH, self.accession)
                .text(Tag(0x0008, 0x0060), VR::CS, self.modality)
                .text(Tag(0x0008, 0x0090), VR::PN, "Doctor^Doc")
                .text(Tag(0x0008, 0x1030), VR::LO, self.description)
                .text(Tag(0x0008, 0x1090), VR::LO, "Model 5")
                .text(Tag(0x0010, 0x0010), VR::PN, self.patient)
                .text(Tag(0x0010, 0x0020), VR::LO, self.id)
                .text(Tag(0x0010, 0x0030), VR::DA, "19700203")
                .text(Tag(0x0010, 0x1010), VR::AS, "050Y")
                .text(Tag(0x0020, 0x0010), VR::SH, "S1")
                .text(Tag(0x0020, 0x0011), VR::IS, &self.name.1.to_string())
                .text(Tag(0x0020, 0x0013), VR::IS, &self.name.2.to_string())
                .text(Tag(0x0020, 0x4000), VR::LT, "a comment")
                .text(Tag(0x0040, 0x0244), VR::DA, self.date),
        );
        name.file(&data_set, Syntax::ExplicitLittle)
    }
}

/// Stores [`SAMPLES`].
fn store_samples(server: &Deployment) {
    let files: Vec<BuiltFile> = SAMPLES.iter().map(Sample::file).collect();
    server.store("/dicom-web", &files).expect(200);
}

/// What an answer found: the last number of each UID of this tag, ascending.
#[track_caller]
pub(crate) fn numbers(answer: &Response, uid: &str) -> Vec<u32> {
    if answer.status == 204 {
        assert!(answer.body.is_empty());
        return Vec::new();
    }
    let answer = answer.clone().expect(200);
    assert_eq!(answer.content_type(), "application/dicom+json");
    let rows = answer.json();
    let last = |row: &Value| {
        let uid = row[uid]["Value"][0].as_str().expect("a UID");
        let number = uid.rsplit('.').next().and_then(|n| n.parse().ok());
        number.expect("a number")
    };
    let mut numbers: Vec<u32> = rows
        .as_array()
        .expect("an array")
        .iter()
        .map(last)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Studies that a search finds, under this root.
#[track_caller]
fn studies(server: &Deployment, root: &str, query: &str) -> Vec<u32> {
    let target = format!("{root}/studies?{query}");
    numbers(&server.get(&target), "0020000D")
}
