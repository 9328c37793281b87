//! What a caller who is limited to some studies can learn: exactly what an archive tells that holds nothing else.
//!
//! One archive holds everything, another only what is permitted. Every route is asked of both, the first by the limited
//! caller, the second by one without limits; the answers must be the same to the byte, but for what names the moment.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use stowage::http::routes::{ROUTES, Route};

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

/// A limit below which both archives must stay only as far as the caller sees.
const MAX_RESULTS: &str = "7";
const SETTINGS: [(&str, &str); 5] = [
    ("STOWAGE_JWT_SECRET", SECRET),
    ("STOWAGE_JWT_ISSUER", ISSUER),
    ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ("STOWAGE_PUBLIC_URL", "https://pacs.example.org"),
    ("STOWAGE_MAX_RESULTS", MAX_RESULTS),
];
/// The attribute made searchable: a date, which not every instance gets right.
const TAG: &str = "00181012";

/// Who asks: claims that limit, and the studies that are then permitted.
struct Case {
    limit: (&'static str, Value),
    permitted: &'static [u32],
}

fn cases() -> [Case; 2] {
    [
        Case {
            limit: ("dicom_patients", json!(["P", "nobody"])),
            permitted: &[1, 3],
        },
        Case {
            limit: (
                "dicom_studies",
                json!([Name::new(1, 1, 1).study, "1.2.3.77"]),
            ),
            permitted: &[1],
        },
    ]
}

fn token(role: &str) -> String {
    with_secret(SECRET.as_bytes(), &claims(role))
}

fn limited(case: &Case) -> String {
    let limited = with(claims("admin"), case.limit.0, case.limit.1.clone());
    with_secret(SECRET.as_bytes(), &limited)
}

/// Whom a study belongs to.
fn patient(study: u32) -> &'static str {
    match study {
        5 => "NOBODY",
        odd if odd % 2 == 1 => "P",
        _ => "Q",
    }
}

/// UID of the workitem of a study.
fn workitem(name: &Name) -> String {
    format!("{}.88", name.study)
}

/// An instance of a study; odd studies belong to P, even ones to Q, the fifth to nobody.
fn instance(name: &Name, study: u32, number: u32) -> BuiltFile {
    let patient = match study {
        5 => "",
        odd if odd % 2 == 1 => "P",
        _ => "Q",
    };
    let own = DataSet::new()
        .text(Tag(0x0010, 0x0020), VR::LO, patient)
        .text(
            Tag(0x0008, 0x0060),
            VR::CS,
            if study % 2 == 1 { "CT" } else { "MR" },
        )
        .text(Tag(0x0008, 0x1090), VR::LO, &format!("Model {study}"))
        .text(
            Tag(0x0018, 0x1012),
            VR::DA,
            if number == 1 { "nodate" } else { "20240131" },
        );
    let data_set = if number == 3 {
        name.data_set()
            .set(own)
            .bytes(Tag(0x0042, 0x0011), VR::OB, noise(&name.instance, 4000))
    } else {
        name.image(8, 8, 8, 2).set(own).bytes(
            Tag(0x7FE0, 0x0010),
            VR::OW,
            noise(&name.instance, 128),
        )
    };
    name.file(&data_set, Syntax::ExplicitLittle)
}

/// The instances of an archive with these studies, in the order in which every archive gets them.
fn content(studies: &[u32]) -> Vec<BuiltFile> {
    let mut files = Vec::new();
    for number in 1..=3_u32 {
        for study in [2, 1, 4, 3, 5] {
            if studies.contains(&study) {
                let name = Name::new(study, number.div_ceil(2), number);
                files.push(instance(&name, study, number));
            }
        }
    }
    files
}

fn request(server: &Deployment, method: &str, target: &str, token: &str) -> Request {
    server
        .request(method, target)
        .header("Authorization", &format!("Bearer {token}"))
}

fn store(server: &Deployment, token: &str, target: &str, files: &[BuiltFile]) -> Response {
    let files = files.iter().map(|file| file.bytes.as_slice());
    request(server, "POST", target, token)
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json")
        .body(multipart::body(files))
        .send()
}

/// Fills an archive and makes the tag searchable, as [`make_searchable`].
fn fill(server: &Deployment, studies: &[u32]) -> String {
    let admin = token("admin");
    for file in content(studies) {
        let answer = store(server, &admin, "/dicom-web/studies", &[file]);
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    }
    for study in [2, 1, 4, 3, 5].into_iter().filter(|s| studies.contains(s)) {
        let item = json!({
            "0020000D": { "vr": "UI", "Value": [Name::new(study, 1, 1).study] },
            "00100020": { "vr": "LO", "Value": [patient(study)] },
            "00404005": { "vr": "DT", "Value": ["20260401083000"] },
            "00404041": { "vr": "CS", "Value": ["READY"] },
            "00741200": { "vr": "CS", "Value": ["HIGH"] },
            "00741204": { "vr": "LO", "Value": [format!("Segment {study}")] },
        });
        let target = format!("/dicom-web/workitems?{}", workitem(&Name::new(study, 1, 1)));
        request(server, "POST", &target, &admin)
            .header("Content-Type", "application/dicom+json")
            .body(item.to_string())
            .send()
            .expect(201);
    }
    make_searchable(server)
}

/// Makes the tag searchable; returns the id of the operation that did.
fn make_searchable(server: &Deployment) -> String {
    let admin = token("admin");
    let body = json!([{ "Path": TAG, "VR": "DA", "Level": "instance" }]);
    let answer = request(server, "POST", "/v2/extendedquerytags", &admin)
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
        .expect(202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    wait_until("the tag is indexed", || {
        let target = format!("/v2/operations/{id}");
        request(server, "GET", &target, &admin).send().status == 200
    });
    request(
        server,
        "PATCH",
        &format!("/v2/extendedquerytags/{TAG}"),
        &admin,
    )
    .header("Content-Type", "application/json")
    .body(r#"{"queryStatus": "enabled"}"#)
    .send()
    .expect(200);
    id
}

/// An answer without what names the moment: dates, random ids and boundaries, places in the shared order of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: BTreeSet<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn of(answer: &Response) -> Self {
        let id = answer.header("x-request-id").unwrap_or("-");
        let boundary = multipart::parameter(answer.content_type(), "boundary");
        let boundary = boundary.unwrap_or_else(|| "-".to_owned());
        let mut headers = BTreeSet::new();
        for (name, value) in &answer.headers {
            let name = name.to_ascii_lowercase();
            let value = match name.as_str() {
                "date" | "x-request-id" | "content-length" => continue,
                // A cursor is the place of a row in the order of all.
                "link" => value.split("cursor=").next().unwrap_or_default().to_owned(),
                // The first half is the place of the newest instance in the order of all.
                "etag" => value.split_once('-').map_or("", |(_, n)| n).to_owned(),
                _ => text(value, &boundary),
            };
            headers.insert((name, value));
        }
        let body = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(mut json) => {
                let mut sequences = BTreeSet::new();
                visit(&mut json, &mut |name, value| {
                    if name == "sequence" {
                        sequences.insert(value.as_i64());
                    }
                });
                visit(&mut json, &mut |name, value| match name {
                    "sequence" => *value = json!(sequences.range(..value.as_i64()).count()),
                    // When a workitem was changed.
                    "timestamp" | "00404010" | "createdTime" | "lastUpdatedTime"
                    | "operationId" | "deleted" | "until" => {
                        *value = Value::Null;
                    }
                    // The number of an entry of the trash.
                    "id" if value.is_number() => *value = Value::Null,
                    _ => {}
                });
                json.to_string().into_bytes()
            }
            Err(_) => answer.body.clone(),
        };
        let body = replaced(&replaced(&body, &boundary, "BOUNDARY"), id, "REQUEST");
        Self {
            status: answer.status,
            headers,
            body,
        }
    }
}

fn text(value: &str, boundary: &str) -> String {
    String::from_utf8_lossy(&replaced(value.as_bytes(), boundary, "BOUNDARY")).into_owned()
}

/// Shows every member of every object.
fn visit(value: &mut Value, see: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, see)),
        Value::Object(members) => {
            for (name, value) in members {
                see(name, value);
                visit(value, see);
            }
        }
        _ => {}
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, from.as_bytes()).filter(|_| from != "-") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What is asked below a route besides the route itself: queries, and forms of the answer.
fn variations(path: &str) -> (Vec<String>, Vec<&'static str>) {
    let plain = |queries: &[&str]| queries.iter().map(|q| (*q).to_owned()).collect::<Vec<_>>();
    let hidden = Name::new(2, 1, 1);
    let last = path.rsplit('/').next().unwrap_or_default();
    match last {
        "studies" | "series" | "instances" => {
            let mut queries = plain(&[
                "",
                "?limit=1",
                "?limit=1&offset=1",
                "?PatientID=Q",
                "?PatientName=Doe*&fuzzymatching=true",
                "?includefield=all&limit=2",
                "?ModalitiesInStudy=MR",
                "?ManufacturerModelName=Model*&limit=1",
                "?00181012=20240131",
                "?00181012=20240131&limit=1",
            ]);
            queries.push(format!("?StudyInstanceUID={}", hidden.study));
            (queries, vec!["application/dicom+json"])
        }
        "workitems" => (
            plain(&[
                "",
                "?limit=1",
                "?limit=1&offset=1",
                "?PatientID=Q",
                "?ProcedureStepState=SCHEDULED&includefield=all",
                "?ProcedureStepLabel=Segment*&limit=1",
            ]),
            vec!["application/dicom+json"],
        ),
        // A stream does not end.
        "events" => (plain(&["?types=x"]), vec!["*/*"]),
        "metadata" => (
            plain(&[""]),
            vec![
                "application/dicom+json",
                "multipart/related; type=\"application/dicom+xml\"",
            ],
        ),
        "{study}" | "{series}" | "{instance}" => (plain(&[""]), vec!["*/*", "application/zip"]),
        "rendered" => (plain(&[""]), vec!["image/png", "text/html"]),
        "" | "wado" => {
            let mut queries = Vec::new();
            for name in [Name::new(1, 1, 2), hidden, Name::new(9, 1, 1)] {
                let Name {
                    study,
                    series,
                    instance,
                } = name;
                let base = "?requestType=WADO&contentType=application/dicom";
                queries.push(format!("{base}&objectUID={instance}"));
                queries.push(format!(
                    "{base}&studyUID={study}&seriesUID={series}&objectUID={instance}"
                ));
                queries.push(format!(
                    "?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
                ));
            }
            (queries, vec!["*/*"])
        }
        "changefeed" => (
            plain(&[
                "",
                "?limit=1",
                "?offset=1&limit=2",
                "?includemetadata=false",
                "?startTime=2000-01-01T00:00:00Z&endTime=2000-01-02T00:00:00Z",
            ]),
            vec!["*/*"],
        ),
        _ => (plain(&[""]), vec!["*/*"]),
    }
}

/// Asks everything that can be read below these roots.
fn look(server: &Deployment, token: &str, operation: &str, roots: &[&str]) -> Vec<(String, Seen)> {
    let mut seen = Vec::new();
    // Permitted, of the caller's patient or not, of somebody else, of nobody, not there.
    let names = [1, 2, 3, 5, 9].map(|study| Name::new(study, 1, 2));
    for root in roots {
        // Counts are for who may read everything: `statistics` looks that nobody else has them.
        let read = |route: &&Route| route.method == "GET" && route.path != "/statistics";
        for route in ROUTES.iter().filter(read) {
            let mut targets = BTreeSet::new();
            for name in &names {
                for bulk in ["7FE00010", "00420011"] {
                    let path = route.path.replace("{study}", &name.study);
                    let path = path.replace("{series}", &name.series);
                    let path = path.replace("{instance}", &name.instance);
                    let path = path.replace("{frames}", "2").replace("{*bulk}", bulk);
                    let path = path.replace("{workitem}", &workitem(name));
                    targets.insert(path.replace("{tag}", TAG));
                }
            }
            let (queries, forms) = variations(route.path);
            for target in &targets {
                for query in &queries {
                    for form in &forms {
                        let what = format!("{root}{target}{query} as {form}");
                        let target = format!("{root}{}{query}", target.replace("{id}", operation));
                        let answer = request(server, "GET", &target, token).accept(form).send();
                        seen.push((what, Seen::of(&answer)));
                    }
                }
            }
        }
    }
    seen.push((
        "the feed of /v1, followed".to_owned(),
        follow(server, token),
    ));
    seen
}

/// Reads the feed of `/v1` two entries at a time, each page behind the last entry of the one before.
fn follow(server: &Deployment, token: &str) -> Seen {
    let mut entries = Vec::new();
    let mut last = 0;
    loop {
        let target = format!("/v1/changefeed?limit=2&offset={last}");
        let page = request(server, "GET", &target, token)
            .send()
            .expect(200)
            .json();
        let Some(sequence) = page.as_array().unwrap().last().map(|e| &e["sequence"]) else {
            break;
        };
        last = sequence.as_i64().unwrap();
        entries.extend(page.as_array().unwrap().iter().cloned());
    }
    let body = Value::Array(entries).to_string().into_bytes();
    Seen::of(&Response {
        status: 200,
        headers: Vec::new(),
        body,
    })
}

/// Does what changes something: stores and deletes, of what is there, hidden and not there.
fn change(server: &Deployment, token: &str) -> Vec<(String, Seen)> {
    let mut seen = Vec::new();
    let mut note = |what: &str, answer: &Response| seen.push((what.to_owned(), Seen::of(answer)));
    for root in ["/dicom-web", "/v2"] {
        for hidden in [Name::new(2, 1, 1), Name::new(5, 1, 1), Name::new(9, 1, 1)] {
            for path in [hidden.path(), hidden.series_path(), hidden.study_path()] {
                let target = format!("{root}{path}");
                let answer = request(server, "DELETE", &target, token).send();
                note(&format!("DELETE {target}"), &answer);
            }
        }
    }
    let own = Name::new(1, 5, 1);
    let file = [instance(&own, 1, 2)];
    for (what, target) in [
        ("a new instance", "/dicom-web/studies".to_owned()),
        ("the same again", "/dicom-web/studies".to_owned()),
        (
            "the same again into its study",
            format!("/v2{}", own.study_path()),
        ),
        (
            "into a study that is another",
            format!("/v2{}", Name::new(2, 1, 1).study_path()),
        ),
        (
            "into a study that is nowhere",
            format!("/v2{}", Name::new(9, 1, 1).study_path()),
        ),
    ] {
        note(what, &store(server, token, &target, &file));
    }
    for target in [
        format!("/v2{}", Name::new(1, 1, 1).path()),
        format!("/v2{}", Name::new(1, 1, 1).path()),
        format!("/dicom-web{}", Name::new(1, 2, 3).series_path()),
    ] {
        let answer = request(server, "DELETE", &target, token).send();
        note(&format!("DELETE {target}"), &answer);
    }
    seen
}

#[track_caller]
fn compare(found: &[(String, Seen)], expected: &[(String, Seen)]) {
    assert_eq!(found.len(), expected.len());
    let mut wrong = Vec::new();
    for ((what, found), (_, expected)) in found.iter().zip(expected) {
        if found != expected {
            let text = |seen: &Seen| {
                let body =
                    String::from_utf8_lossy(&seen.body[..seen.body.len().min(1500)]).into_owned();
                format!("{} {:?}\n    {body}", seen.status, seen.headers)
            };
            wrong.push(format!(
                "{what}\n  tells {}\n  not   {}",
                text(found),
                text(expected)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} answers tell of what is hidden:\n{}",
        wrong.len(),
        found.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
}

#[test]
fn a_limited_caller_is_answered_as_by_an_archive_that_holds_nothing_else() {
    for case in cases() {
        let admin = token("admin");
        let small = TestApp::with(&SETTINGS);
        let operation = fill(&small, case.permitted);
        let expected = [
            look(&small, &admin, &operation, &["/dicom-web", "/v2"]),
            change(&small, &admin),
            look(&small, &admin, &operation, &["/dicom-web"]),
        ];
        let count = |seen: &[(String, Seen)]| seen.iter().filter(|(_, s)| s.status == 200).count();
        assert!(count(&expected[0]) > 100, "something is there to be seen");
        drop(small);
        on_each_index_with(&SETTINGS, |server| {
            let operation = fill(server, &[1, 2, 3, 4, 5]);
            let token = limited(&case);
            let before = hidden(server, &case);
            compare(
                &look(server, &token, &operation, &["/dicom-web", "/v2"]),
                &expected[0],
            );
            // Who is limited to studies is refused by the URL alone: alike, whether that study exists or not.
            let by_url = |what: &str| {
                case.limit.0 == "dicom_studies" && what.starts_with("into a study that is")
            };
            let mut refused = Vec::new();
            let mut changed = change(server, &token);
            for (found, expected) in changed.iter_mut().zip(&expected[1]) {
                if by_url(&found.0) {
                    refused.push(std::mem::replace(found, expected.clone()).1);
                }
            }
            assert!(refused.iter().all(|seen| seen.status == 403));
            assert!(refused.windows(2).all(|pair| pair[0] == pair[1]));
            compare(&changed, &expected[1]);
            compare(
                &look(server, &token, &operation, &["/dicom-web"]),
                &expected[2],
            );
            assert_eq!(
                hidden(server, &case),
                before,
                "what is hidden stays as it was"
            );
        });
    }
}

/// The metadata of all that is not permitted, as somebody without limits sees it.
fn hidden(server: &Deployment, case: &Case) -> Vec<Vec<u8>> {
    let admin = token("admin");
    let studies = (1..=5).filter(|study| !case.permitted.contains(study));
    studies
        .map(|study| {
            let target = format!("/dicom-web{}/metadata", Name::new(study, 1, 1).study_path());
            request(server, "GET", &target, &admin)
                .send()
                .expect(200)
                .body
        })
        .collect()
}

/// Stores an instance of another patient as metadata instead of a file.
fn described(server: &Deployment, token: &str, name: &Name) -> Response {
    let text = |vr: &str, value: &str| json!({ "vr": vr, "Value": [value] });
    let metadata = json!([{
        "00020010": text("UI", Syntax::ExplicitLittle.uid()),
        "00080016": text("UI", stowage::dicom::testing::SOP_CLASS),
        "00080018": text("UI", &name.instance),
        "00100020": text("LO", "Q"),
        "0020000D": text("UI", &name.study),
        "0020000E": text("UI", &name.series),
    }]);
    let root = "application/dicom+json";
    let head = format!("Content-Type: {root}\r\n");
    let mut body = multipart::part(multipart::BOUNDARY, &head, metadata.to_string().as_bytes());
    body.extend(format!("--{}--\r\n", multipart::BOUNDARY).bytes());
    let kind = format!(
        "multipart/related; type=\"{root}\"; boundary={}",
        multipart::BOUNDARY
    );
    request(server, "POST", "/dicom-web/studies", token)
        .header("Content-Type", &kind)
        .body(body)
        .send()
}

#[test]
fn a_store_outside_is_refused_alike_whether_the_study_exists() {
    on_each_index_with(&SETTINGS, |server| {
        fill(server, &[1, 2]);
        for case in cases() {
            let token = limited(&case);
            let reported = |study: u32, known: u32| {
                let name = Name::new(study, 7, 7);
                let answer = store(server, &token, "/v2/studies", &[instance(&name, known, 2)]);
                let seen = Seen::of(&answer);
                let body = String::from_utf8_lossy(&seen.body).replace(&name.instance, "I");
                (seen.status, seen.headers, body)
            };
            let (existing, absent) = (reported(2, 2), reported(8, 2));
            assert_eq!(existing.0, 409, "{}", existing.2);
            assert_eq!(existing, absent);
            assert_eq!(described(server, &token, &Name::new(2, 7, 8)).status, 409);
        }
        let admin = token("admin");
        let count = |target: &str| {
            let found = request(server, "GET", target, &admin).send().expect(200);
            found.json().as_array().map_or(0, Vec::len)
        };
        assert_eq!(count("/dicom-web/studies"), 2);
        // What was refused was sound: whoever may store it can.
        assert_eq!(described(server, &admin, &Name::new(12, 7, 8)).status, 200);
        let mine = Name::new(2, 1, 1);
        assert_eq!(
            count(&format!("/dicom-web{}/instances", mine.study_path())),
            3
        );
    });
}

/// Settings under which a part of more than 20 kB goes to the spool, where there is room for little.
const NO_SPOOL: [(&str, &str); 2] = [
    ("STOWAGE_PART_MEMORY_BYTES", "20000"),
    ("STOWAGE_SPOOL_BYTES", "1000000"),
];

#[test]
fn what_is_outside_is_refused_before_it_is_kept() {
    let settings = [SETTINGS.as_slice(), NO_SPOOL.as_slice()].concat();
    let server = TestApp::with(&settings);
    let large = |study: u32, patient: &str| {
        let name = Name::new(study, 1, 9);
        let own = DataSet::new()
            .text(Tag(0x0010, 0x0020), VR::LO, patient)
            .bytes(Tag(0x0042, 0x0011), VR::OB, vec![7; 4 << 20]);
        let data_set = name.data_set().set(own);
        name.file(&data_set, Syntax::ExplicitLittle)
    };
    let small = |study: u32| instance(&Name::new(study, 1, 1), study, 1);
    for case in cases() {
        let token = limited(&case);
        // In the spool there would be no room for it, which is another answer.
        let answer = store(
            &server,
            &token,
            "/dicom-web/studies",
            &[large(2, "Q"), small(1)],
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        let report = answer.json();
        let failed = &report["00081198"]["Value"];
        assert_eq!(failed.as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(failed[0]["00081197"]["Value"][0], 0x0124, "{report}");
        let said = failed[0]["00081155"]["Value"][0].as_str();
        assert_eq!(said, Some(Name::new(2, 1, 9).instance.as_str()));
        // What is inside is kept, and finds the spool too small.
        let inside = store(&server, &token, "/dicom-web/studies", &[large(1, "P")]);
        assert_eq!(inside.status, 503, "{}", inside.text());
    }
    // Who is limited to studies is told by the URL alone, before a body is read.
    let [_, by_study] = cases();
    let target = |study: u32| format!("/dicom-web{}", Name::new(study, 1, 1).study_path());
    for known in [2, 8] {
        let answer = request(&server, "POST", &target(known), &limited(&by_study))
            .header("Content-Type", &multipart::content_type())
            .body("--no part at all")
            .send()
            .expect(403);
        assert!(answer.text().contains("none of them"), "{}", answer.text());
    }
    let inside = store(&server, &limited(&by_study), &target(1), &[small(1)]);
    assert_eq!(inside.status, 200, "{}", inside.text());
    assert_eq!(server.blob_files().len(), 1);
}

#[test]
fn a_search_tells_of_no_errors_in_studies_of_others() {
    on_each_index_with(&SETTINGS, |server| {
        let admin = token("admin");
        // Only the study of somebody else has a date that is none.
        for (study, number) in [(1, 2), (2, 1)] {
            let file = instance(&Name::new(study, 1, number), study, number);
            let answer = store(server, &admin, "/dicom-web/studies", &[file]);
            assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        }
        make_searchable(server);
        let reported = |token: &str| {
            let target = format!("/v2/instances?{TAG}=20240131");
            let found = request(server, "GET", &target, token).send().expect(200);
            assert_eq!(found.json().as_array().map(Vec::len), Some(1));
            found
                .header("erroneous-dicom-attributes")
                .map(str::to_owned)
        };
        assert_eq!(reported(&admin).as_deref(), Some(TAG));
        for case in cases() {
            assert_eq!(reported(&limited(&case)), None, "{:?}", case.limit);
        }
    });
}
