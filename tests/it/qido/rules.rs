//! The table of matching rules in `docs/search.md`, row by row: in stored JSON, then by extended query tags.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Lengths, Syntax};

use super::numbers;

use crate::support::prelude::*;

/// VR, query, studies found.
type Row = (&'static str, &'static str, &'static [u32]);

/// Rows on attributes that have no column; each holds with and without an extended query tag.
const TAGGABLE: &[Row] = &[
    ("AE", "00400001=SCANNER+1", &[1]),
    ("AE", "00400001=scanner+1", &[]),
    ("AE", "00400001=SC*", &[1]),
    ("AE", "00400001=SCANNER+1%5COTHER", &[1, 2]),
    ("AS", "PatientAge=030Y", &[1]),
    ("AS", "PatientAge=030Y,040Y", &[1, 2]),
    ("AS", "PatientAge=030", &[]),
    ("CS", "SmokingStatus=YES", &[1]),
    ("CS", "SmokingStatus=yes", &[]),
    ("CS", "SmokingStatus=?ES", &[1]),
    ("CS", "SmokingStatus=YES,NO", &[1, 2]),
    ("CS", "SmokingStatus=YES%5CNO", &[1, 2]),
    ("DA", "AcquisitionDate=20240115", &[1]),
    ("DA", "AcquisitionDate=20240101-20240131", &[1]),
    ("DA", "AcquisitionDate=20240116-", &[2]),
    ("DA", "AcquisitionDate=-20240201", &[1, 2]),
    ("DA", "AcquisitionDate=20240115,20240201", &[1, 2]),
    ("TM", "AcquisitionTime=101530.5", &[1]),
    ("TM", "AcquisitionTime=10", &[1]),
    ("TM", "AcquisitionTime=1015-1200", &[1, 2]),
    ("TM", "AcquisitionTime=-1015", &[1]),
    ("TM", "AcquisitionTime=1016-", &[2]),
    ("DT", "AcquisitionDateTime=20240115", &[1]),
    ("DT", "AcquisitionDateTime=202401-202402", &[1, 2]),
    ("DT", "AcquisitionDateTime=20240115101531-", &[2]),
    ("IS", "ExposureTime=120", &[1]),
    ("IS", "ExposureTime=%2B0120", &[1]),
    ("IS", "ExposureTime=120,250", &[1, 2]),
    ("LO", "InstitutionName=Spital+Nord", &[1]),
    ("LO", "InstitutionName=Spital+Nord++", &[1]),
    ("LO", "InstitutionName=spital*", &[2]),
    ("LO", "InstitutionName=*ital+N?rd", &[1]),
    ("LO", "InstitutionName=*ital+n*", &[2]),
    ("LO", "InstitutionName=Spital+Nord%5Cspital+nord", &[1, 2]),
    (
        "PN",
        "PerformingPhysicianName=M%C3%BCller%5EJ%C3%B6rg",
        &[1],
    ),
    ("PN", "PerformingPhysicianName=muller%5Ejorg", &[1]),
    (
        "PN",
        "PerformingPhysicianName=%E5%B1%B1%E7%94%B0%5E%E5%A4%AA%E9%83%8E",
        &[1],
    ),
    ("PN", "PerformingPhysicianName=%E5%B1%B1*", &[1]),
    ("PN", "PerformingPhysicianName=SMITH*", &[2]),
    ("PN", "PerformingPhysicianName=*ith*", &[2]),
    (
        "PN",
        "PerformingPhysicianName=smith%5Ejohn%5Cmuller%5Ejorg",
        &[1, 2],
    ),
    (
        "PN fuzzy",
        "PerformingPhysicianName=smi+jo&fuzzymatching=true",
        &[2],
    ),
    (
        "PN fuzzy",
        "PerformingPhysicianName=jo&fuzzymatching=true",
        &[1, 2],
    ),
    (
        "PN fuzzy",
        "PerformingPhysicianName=jo+smi&fuzzymatching=true",
        &[],
    ),
    ("PN in place", "PerformingPhysicianName=%3D%E5%B1%B1*", &[1]),
    ("PN in place", "PerformingPhysicianName==m*", &[]),
    (
        "PN in place",
        "PerformingPhysicianName=smith%5Ejohn%3D",
        &[2],
    ),
    ("PN in place", "PerformingPhysicianName==smith%5Ejohn", &[]),
    ("SH", "StationName=ST-1", &[1]),
    ("SH", "StationName=st*", &[2]),
    ("UI", "FrameOfReferenceUID=1.2.40.1", &[1]),
    ("UI", "FrameOfReferenceUID=1.2.40.1,1.2.40.2", &[1, 2]),
    ("UI", "FrameOfReferenceUID=1.2.40.1%5C1.2.40.9", &[1]),
    ("UI", "FrameOfReferenceUID=1.2.40.*", &[1, 2]),
    ("FD", "FrameAcquisitionDuration=1.5", &[1]),
    ("FD", "FrameAcquisitionDuration=15e-1", &[1]),
    ("FL", "00520001=0.25", &[1]),
    ("SL", "ReferencePixelX0=-7", &[1]),
    ("SS", "TagAngleSecondAxis=-3,4", &[1, 2]),
    ("UL", "RegionLocationMinX0=70000", &[1]),
    ("US", "UltrasoundColorDataPresent=1", &[1]),
    ("private", "00090010=MAKER&00091001=part+1", &[1]),
    ("private", "00090010=MAKER&00091001=part*", &[1, 2]),
    ("private", "00090010=OTHER&00091001=part+1", &[]),
    ("universal", "PatientAge=", &[1, 2]),
    ("universal", "PatientAge=*", &[1, 2]),
    ("empty", "PatientAge=%22%22", &[]),
    ("empty", "SmokingStatus=%22%22&emptyvaluematching=true", &[]),
];

/// Rows on attributes that can have no tag: always matched in the JSON.
const STORED: &[Row] = &[
    ("AT", "FrameIncrementPointer=00181063", &[1]),
    ("AT", "FrameIncrementPointer=00181065", &[2]),
    ("CS", "ImageType=PRIMARY", &[1]),
    ("CS", "ImageType=ORIGINAL,DERIVED", &[1, 2]),
    ("DS", "PatientWeight=70.5", &[1]),
    ("DS", "PatientWeight=70.50", &[1]),
    ("DS", "PatientWeight=70.5,80", &[1, 2]),
    ("LT", "PatientComments=first+line", &[1]),
    ("LT", "PatientComments=first*", &[1]),
    ("ST", "InstitutionAddress=Street+1,+Town", &[1]),
    ("ST", "InstitutionAddress=%22%22", &[2]),
    ("UC", "LongCodeValue=CODE-1", &[1]),
    ("UC", "LongCodeValue=CODE*", &[1, 2]),
    ("UT", "TextValue=text+*", &[1, 2]),
    ("UT", "TextValue=text+one", &[1]),
    ("UR", "CodingSchemeURL=http://a.example/x", &[1]),
    ("UR", "CodingSchemeURL=http://*", &[]),
    (
        "SQ",
        "RequestAttributesSequence.ScheduledProcedureStepID=SPS-1",
        &[1],
    ),
    ("SQ", "00400275.00400009=SPS*", &[1, 2]),
    ("SQ", "00400275.RequestedProcedureID=RP-2", &[2]),
    ("SQ", "RequestAttributesSequence=", &[1, 2]),
    (
        "SQ in one item",
        "00400275.00400009=SPS-1&00400275.RequestedProcedureID=RP-1",
        &[1],
    ),
    (
        "SQ in one item",
        "00400275.00400009=SPS-1&00400275.RequestedProcedureID=RP-19",
        &[],
    ),
    (
        "SQ in one item",
        "00400275.00400009=SPS*&00400275.RequestedProcedureID=RP-29",
        &[2],
    ),
];

/// Rows on attributes with a column: never a warning.
const COLUMNS: &[Row] = &[
    (
        "DA TM",
        "StudyDate=20240115-20240201&StudyTime=1000-1230",
        &[1, 2],
    ),
    (
        "DA TM",
        "StudyDate=20240115-20240201&StudyTime=1100-1230",
        &[2],
    ),
    (
        "DA TM",
        "StudyDate=20240115-20240201&StudyTime=1000-1100",
        &[1],
    ),
    ("DA", "StudyDate=20240115%5C20240201", &[1, 2]),
    ("TM", "StudyTime=12", &[2]),
    ("SH", "AccessionNumber=A-1", &[1]),
    ("SH", "AccessionNumber=a-1", &[]),
    ("empty", "AccessionNumber=%22%22", &[2]),
    (
        "empty",
        "AccessionNumber=%22%22&emptyvaluematching=false",
        &[],
    ),
    (
        "multiple",
        "AccessionNumber=A-1%5CA-2&multiplevaluematching=true",
        &[1],
    ),
    ("multiple", "ModalitiesInStudy=CT,MR", &[1, 2]),
    ("multiple", "ModalitiesInStudy=CT%5CMR", &[1, 2]),
    (
        "multiple",
        "ModalitiesInStudy=CT,MR&multiplevaluematching=false",
        &[],
    ),
    ("CS", "PatientSex=F", &[1]),
    ("CS", "PatientSex=f", &[]),
    ("LO", "PatientID=id-1", &[1]),
    ("LO", "PatientID=ID*", &[2]),
    ("UI", "StudyInstanceUID=1.2.3.1,1.2.3.9", &[1]),
    ("IS", "NumberOfStudyRelatedInstances=1", &[1, 2]),
    ("universal", "PatientID=&StudyDate=*", &[1, 2]),
    ("PN", "ReferringPhysicianName=%E5%B1%B1%E7%94%B0*", &[1, 2]),
    (
        "PN in place",
        "ReferringPhysicianName=%3D%E5%B1%B1%E7%94%B0*",
        &[1],
    ),
    ("PN in place", "ReferringPhysicianName==smith*", &[2]),
    ("PN in place", "ReferringPhysicianName==muller*", &[]),
    (
        "PN in place",
        "ReferringPhysicianName=%E5%B1%B1%E7%94%B0%5E%E5%A4%AA%E9%83%8E%3D",
        &[2],
    ),
    (
        "PN in place",
        "ReferringPhysicianName===*&StudyDate=20240115",
        &[1],
    ),
];

const REFUSED: &[&str] = &[
    "AcquisitionDate=yesterday",
    "AcquisitionDate=20240201-20240101",
    "AcquisitionTime=25",
    "AcquisitionDateTime=2024-x",
    "ExposureTime=1.5",
    "PatientWeight=heavy",
    "FrameOfReferenceUID=1.2.x",
    "FrameIncrementPointer=nowhere",
    "RequestAttributesSequence=x",
    "EncapsulatedDocument=x",
];

fn file(study: u32, values: &DataSet) -> BuiltFile {
    let name = Name::new(study, 1, 1);
    let number = study.to_string();
    let request = DataSet::new()
        .text(Tag(0x0040, 0x0009), VR::SH, &format!("SPS-{number}"))
        .text(Tag(0x0040, 0x1001), VR::SH, &format!("RP-{number}"));
    let other = DataSet::new()
        .text(Tag(0x0040, 0x0009), VR::SH, &format!("SPS-{number}9"))
        .text(Tag(0x0040, 0x1001), VR::SH, &format!("RP-{number}9"));
    let data_set = name.data_set().set(
        values
            .clone()
            .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
            .text(Tag(0x0009, 0x0010), VR::LO, "MAKER")
            .text(Tag(0x0009, 0x1001), VR::LO, &format!("part {number}"))
            .items(Tag(0x0040, 0x0275), Lengths::Defined, vec![request, other]),
    );
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn first() -> BuiltFile {
    let values = DataSet::new()
        .text(Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\PRIMARY")
        .text(Tag(0x0008, 0x0020), VR::DA, "20240115")
        .text(Tag(0x0008, 0x0022), VR::DA, "20240115")
        .text(Tag(0x0008, 0x002A), VR::DT, "20240115101530.5")
        .text(Tag(0x0008, 0x0030), VR::TM, "101530.5")
        .text(Tag(0x0008, 0x0032), VR::TM, "101530.5")
        .text(Tag(0x0008, 0x0050), VR::SH, "A-1")
        .text(Tag(0x0008, 0x0060), VR::CS, "CT")
        .text(Tag(0x0008, 0x0080), VR::LO, "Spital Nord")
        .text(Tag(0x0008, 0x0090), VR::PN, "Müller^Jörg=山田^太郎=やまだ")
        .text(Tag(0x0008, 0x0081), VR::ST, "Street 1, Town")
        .text(Tag(0x0008, 0x010E), VR::UR, "http://a.example/x")
        .text(Tag(0x0008, 0x0119), VR::UC, "CODE-1")
        .text(Tag(0x0008, 0x1010), VR::SH, "ST-1")
        .text(Tag(0x0008, 0x1050), VR::PN, "Müller^Jörg=山田^太郎")
        .text(Tag(0x0010, 0x0020), VR::LO, "id-1")
        .text(Tag(0x0010, 0x0040), VR::CS, "F")
        .text(Tag(0x0010, 0x1010), VR::AS, "030Y")
        .text(Tag(0x0010, 0x1030), VR::DS, "70.5")
        .text(Tag(0x0010, 0x21A0), VR::CS, "YES")
        .text(Tag(0x0010, 0x4000), VR::LT, "first line")
        .text(Tag(0x0018, 0x1150), VR::IS, "120")
        .bytes(Tag(0x0018, 0x6018), VR::UL, 70_000_u32.to_le_bytes())
        .bytes(Tag(0x0018, 0x6020), VR::SL, (-7_i32).to_le_bytes())
        .bytes(Tag(0x0018, 0x9219), VR::SS, (-3_i16).to_le_bytes())
        .bytes(Tag(0x0018, 0x9220), VR::FD, 1.5_f64.to_le_bytes())
        .text(Tag(0x0020, 0x0052), VR::UI, "1.2.40.1")
        .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x63, 0x10])
        .us(Tag(0x0028, 0x0014), &[1])
        .text(Tag(0x0040, 0x0001), VR::AE, "SCANNER 1")
        .text(Tag(0x0040, 0xA160), VR::UT, "text one")
        .bytes(Tag(0x0052, 0x0001), VR::FL, 0.25_f32.to_le_bytes());
    file(1, &values)
}

fn second() -> BuiltFile {
    let values = DataSet::new()
        .text(Tag(0x0008, 0x0008), VR::CS, "DERIVED\\SECONDARY")
        .text(Tag(0x0008, 0x0020), VR::DA, "20240201")
        .text(Tag(0x0008, 0x0022), VR::DA, "20240201")
        .text(Tag(0x0008, 0x002A), VR::DT, "20240201120000")
        .text(Tag(0x0008, 0x0030), VR::TM, "120000")
        .text(Tag(0x0008, 0x0032), VR::TM, "120000")
        .text(Tag(0x0008, 0x0050), VR::SH, "")
        .text(Tag(0x0008, 0x0060), VR::CS, "MR")
        .text(Tag(0x0008, 0x0080), VR::LO, "spital nord")
        .text(Tag(0x0008, 0x0090), VR::PN, "山田^太郎=Smith^John")
        .text(Tag(0x0008, 0x0119), VR::UC, "CODE-2")
        .text(Tag(0x0008, 0x1010), VR::SH, "st-1")
        .text(Tag(0x0008, 0x1050), VR::PN, "Smith^John")
        .text(Tag(0x0010, 0x0020), VR::LO, "ID-2")
        .text(Tag(0x0010, 0x0040), VR::CS, "M")
        .text(Tag(0x0010, 0x1010), VR::AS, "040Y")
        .text(Tag(0x0010, 0x1030), VR::DS, "80")
        .text(Tag(0x0010, 0x21A0), VR::CS, "NO")
        .text(Tag(0x0010, 0x4000), VR::LT, "other")
        .text(Tag(0x0018, 0x1150), VR::IS, "250")
        .bytes(Tag(0x0018, 0x9219), VR::SS, 4_i16.to_le_bytes())
        .text(Tag(0x0020, 0x0052), VR::UI, "1.2.40.2")
        .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x65, 0x10])
        .us(Tag(0x0028, 0x0014), &[0])
        .text(Tag(0x0040, 0x0001), VR::AE, "OTHER")
        .text(Tag(0x0040, 0xA160), VR::UT, "text two");
    file(2, &values)
}

/// Runs rows; `scanned` says whether the attributes have no index, none that it does not matter.
#[track_caller]
fn check(server: &Deployment, rows: &[Row], scanned: Option<bool>) {
    for (vr, query, wanted) in rows {
        let answer = server.get(&format!("/dicom-web/studies?{query}"));
        assert_eq!(answer.status, 200, "{vr} {query}: {}", answer.text());
        assert_eq!(numbers(&answer, "0020000D"), *wanted, "{vr}: {query}");
        let warned = !answer.headers("warning").is_empty();
        if scanned.is_some_and(|scanned| *vr != "universal" && scanned != warned) {
            panic!("{vr}: {query}: {:?}", answer.headers("warning"));
        }
    }
}

#[test]
fn each_vr_matches_by_the_rule_of_its_row() {
    on_each_index(|server| {
        server.store("/dicom-web", &[first(), second()]).expect(200);
        check(server, COLUMNS, Some(false));
        check(server, STORED, None);
        check(server, TAGGABLE, Some(true));
        for query in REFUSED {
            let answer = server.get(&format!("/dicom-web/studies?{query}"));
            assert_eq!(answer.status, 400, "{query}");
        }
        let mut tags: Vec<Value> = [
            "00080022", "0008002A", "00080032", "00080080", "00081010", "00081050", "00101010",
            "001021A0", "00181150", "00186018", "00186020", "00189219", "00189220", "00200052",
            "00280014", "00400001", "00520001",
        ]
        .iter()
        .map(|path| json!({ "path": path, "level": "Study" }))
        .collect();
        tags.push(
            json!({ "path": "00091001", "vr": "LO", "privateCreator": "MAKER", "level": "Study" }),
        );
        let added = server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json")
            .body(Value::from(tags).to_string())
            .send();
        let id = added.expect(202).json()["id"].as_str().map(str::to_owned);
        let operation = format!("/v2/operations/{}", id.expect("an id"));
        wait_until("the tags are indexed", || {
            server.get(&operation).status == 200
        });
        let reported = server.get("/v2/extendedquerytags?limit=200").json();
        for tag in reported.as_array().expect("tags") {
            assert_eq!(tag["queryStatus"], "enabled", "{tag}");
        }
        // The same rows again: fast now, and nothing else changed.
        let of_other_creator = |row: &&Row| !row.1.contains("OTHER&");
        let tagged: Vec<Row> = TAGGABLE.iter().filter(of_other_creator).copied().collect();
        check(server, &tagged, Some(false));
    });
}
