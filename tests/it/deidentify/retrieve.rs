//! De-identified retrieval over the web: who may have it, and that nothing else comes with it.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use stowage::http::routes::ROUTES;

use super::KEY;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const OPTIONS: &str = "retain-uids,retain-full-dates,retain-modified-dates";
const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

fn token(role: &str) -> String {
    with_secret(SECRET.as_bytes(), &claims(role))
}

pub(super) fn image_in(name: &Name, modality: &str, syntax: Syntax) -> BuiltFile {
    let more = DataSet::new()
        .text(Tag(0x0008, 0x0008), VR::CS, r"ORIGINAL\PRIMARY\AXIAL")
        .text(Tag(0x0008, 0x0016), VR::UI, CT)
        .text(Tag(0x0008, 0x0060), VR::CS, modality)
        .text(Tag(0x0008, 0x0070), VR::LO, "ACME")
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, (0..16).collect::<Vec<u8>>());
    name.file(&name.image(4, 4, 8, 1).set(more), syntax)
}

pub(super) fn image(name: &Name, modality: &str) -> BuiltFile {
    image_in(name, modality, Syntax::ExplicitLittle)
}

/// Settings of a server that believes tokens of the secret; the key is read at the start only.
fn settings(key: Option<&str>) -> Vec<(&'static str, &str)> {
    let mut settings = vec![
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_DEIDENTIFY_REQUEST_OPTIONS", OPTIONS),
    ];
    settings.extend(key.map(|key| ("STOWAGE_DEIDENTIFY_KEY_FILE", key)));
    settings
}

fn key() -> tempfile::NamedTempFile {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), KEY).unwrap();
    key
}

fn store(server: &Deployment, root: &str, files: &[BuiltFile]) {
    let bodies = files.iter().map(|file| file.bytes.as_slice());
    let request = server.request("POST", &format!("{root}/studies"));
    request
        .header("Authorization", &format!("Bearer {}", token("admin")))
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json")
        .body(multipart::body(bodies))
        .send()
        .expect(200);
}

/// A server with a CT image in one study, and a CT and an ultrasound image in another.
fn server() -> (TestApp, Name, Name) {
    let key = key();
    let server = TestApp::with(&settings(key.path().to_str()));
    let (plain, mixed) = (Name::new(8901, 1, 1), Name::new(8902, 1, 1));
    let files = [
        image(&plain, "CT"),
        image(&mixed, "CT"),
        image(&Name::new(8902, 1, 2), "US"),
    ];
    store(&server, "/dicom-web", &files);
    (server, plain, mixed)
}

fn get(server: &Deployment, path: &str, accept: &str, token: &str) -> Response {
    let request = server.request("GET", path).accept(accept);
    request
        .header("Authorization", &format!("Bearer {token}"))
        .send()
}

fn has(answer: &Response, bytes: &[u8]) -> bool {
    answer.body.windows(bytes.len()).any(|part| part == bytes)
}

/// Whether an answer tells of the patient or of a stored UID, in its headers or its body.
fn identifies(answer: &Response, name: &Name) -> bool {
    let head = format!("{:?}", answer.headers);
    [name.study.as_str(), "Doe^Jane"]
        .iter()
        .any(|text| head.contains(text) || has(answer, text.as_bytes()))
}

#[test]
fn who_may_deidentify_gets_deidentified_instances_and_nothing_else() {
    let key = key();
    on_each_index_with(&settings(key.path().to_str()), |server| {
        let name = Name::new(8901, 1, 1);
        store(server, "/dicom-web", &[image(&name, "CT")]);
        let researcher = token("deidentifiedReader");
        for (path, accept) in [
            (name.study_path(), "*/*"),
            (name.study_path(), "application/zip"),
            (name.series_path(), MULTIPART),
            (name.path(), "application/dicom"),
            (name.path(), "application/zip"),
            (name.path(), "multipart/related; type=\"application/dicom\""),
        ] {
            for root in ["/dicom-web", "/v2"] {
                let path = format!("{root}{path}");
                let made = get(server, &format!("{path}?deidentify="), accept, &researcher);
                let made = made.expect(200);
                assert!(!identifies(&made, &name), "{path} {accept}");
                assert_eq!(made.header("cache-control"), Some("no-store"));
                assert_eq!(made.header("etag"), None);
                assert!(has(&made, b"PS3.15"), "{path} {accept}");
                // Pixels are there, too.
                let pixels: Vec<u8> = (0..16).collect();
                assert!(has(&made, &pixels), "{path} {accept}");
                let kept = format!("{path}?deidentify=retain-uids");
                let kept = get(server, &kept, accept, &researcher).expect(200);
                assert!(identifies(&kept, &name), "its UIDs");
                assert!(!has(&kept, b"Doe^Jane"));
                assert_eq!(get(server, &path, accept, &researcher).status, 403);
                let by_reader = get(
                    server,
                    &format!("{path}?deidentify"),
                    accept,
                    &token("reader"),
                );
                assert_eq!(by_reader.status, 403);
            }
        }
    });
}

/// No other route may be asked for de-identified data: it would give something else.
#[test]
fn every_other_route_refuses_the_parameter() {
    let (server, name, _) = server();
    for root in ["/dicom-web", "/v1", "/v2"] {
        for route in ROUTES.iter().filter(|route| route.method == "GET") {
            let path = route
                .path
                .replace("{study}", &name.study)
                .replace("{series}", &name.series)
                .replace("{instance}", &name.instance)
                .replace("{frames}", "1")
                .replace("{*bulk}", "7FE00010");
            if path.contains('{') {
                continue;
            }
            let deidentifies = route.handler == "wado::retrieve_instances";
            for parameter in ["deidentify=basic", "DeIdentify", "%64eidentify=retain-uids"] {
                let path = format!("{root}{path}?{parameter}");
                let answer = get(&server, &path, "*/*", &token("admin"));
                let expected = if deidentifies { 200 } else { 400 };
                assert_eq!(answer.status, expected, "{path}");
                assert!(!has(&answer, b"Doe^Jane"), "{path}");
            }
            // Whoever may nothing else gets nothing of it, with and without the parameter.
            let researcher = token("deidentifiedReader");
            let asked = format!("{root}{path}?deidentify=basic");
            let answer = get(&server, &asked, "*/*", &researcher);
            let expected = if deidentifies { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{asked}");
            let plain = get(&server, &format!("{root}{path}"), "*/*", &researcher);
            assert_eq!(plain.status, 403, "{root}{path}");
            assert!(!has(&plain, b"Doe^Jane"), "{root}{path}");
        }
    }
}

#[test]
fn what_cannot_be_deidentified_is_left_out_and_said_so() {
    let (server, name, mixed) = server();
    let researcher = token("deidentifiedReader");
    let study = format!("/dicom-web{}?deidentify=basic", mixed.study_path());
    let some = get(&server, &study, "*/*", &researcher).expect(206);
    let warning = some.header("warning").unwrap_or_default();
    assert!(
        warning.contains("1 of 2 instances were left out"),
        "{warning}"
    );
    assert!(
        warning.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"),
        "{warning}"
    );
    assert!(!identifies(&some, &mixed));
    assert_eq!(some.parts().len(), 1);
    let us = Name::new(8902, 1, 2);
    let us = format!("/dicom-web{}?deidentify=basic", us.path());
    let none = get(&server, &us, "*/*", &researcher).expect(406);
    let reason = none.text();
    assert!(
        reason.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"),
        "{reason}"
    );
    // It keeps its transfer syntax.
    let path = format!("/dicom-web{}?deidentify=basic", name.path());
    let jpeg = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80";
    let other = get(&server, &path, jpeg, &researcher).expect(406);
    assert!(
        other.text().contains("1.2.840.10008.1.2.1"),
        "{}",
        other.text()
    );
    let explicit = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
    let same = get(&server, &path, explicit, &researcher).expect(200);
    assert_eq!(same.content_type(), explicit);
    let unknown = format!("/dicom-web{}?deidentify=retain-names", name.path());
    get(&server, &unknown, "*/*", &researcher).expect(400);
    let both = format!("/dicom-web{}?deidentify={OPTIONS}", name.path());
    get(&server, &both, "*/*", &researcher).expect(400);
    let more = format!("/dicom-web{}?deidentify=retain-device", name.path());
    let more = get(&server, &more, "*/*", &researcher).expect(403);
    assert!(
        more.text().contains("STOWAGE_DEIDENTIFY_REQUEST_OPTIONS"),
        "{}",
        more.text()
    );
    let absent = format!(
        "/dicom-web{}?deidentify=basic",
        Name::new(8909, 1, 1).path()
    );
    get(&server, &absent, "*/*", &researcher).expect(404);
    // What a limit hides does not exist.
    let limited = with(claims("deidentifiedReader"), "dicom_studies", "1.2.3.1");
    let limited = with_secret(SECRET.as_bytes(), &limited);
    get(&server, &path, "*/*", &limited).expect(404);
    // For reading only is enough.
    let only = with(claims("deidentifiedReader"), "dicom_read_only", true);
    let only = with_secret(SECRET.as_bytes(), &only);
    get(&server, &path, "*/*", &only).expect(200);
}

/// More instances than rows are kept: they are looked at, and read again to be sent.
#[test]
fn of_many_instances_all_come_but_those_that_are_refused() {
    const MANY: u32 = 503;
    let key = key();
    let server = TestApp::with(&settings(key.path().to_str()));
    let file = |number| {
        let modality = if number == 7 || number == MANY {
            "US"
        } else {
            "CT"
        };
        image_in(
            &Name::new(8903, 1, number),
            modality,
            Syntax::ImplicitLittle,
        )
    };
    let files: Vec<BuiltFile> = (1..=MANY).map(file).collect();
    store(&server, "/dicom-web", &files);
    let name = Name::new(8903, 1, 1);
    let study = format!("/dicom-web{}?deidentify=basic", name.study_path());
    let some = get(&server, &study, MULTIPART, &token("deidentifiedReader")).expect(206);
    let warning = some.header("warning").unwrap_or_default();
    assert!(warning.contains("2 of 503 instances"), "{warning}");
    assert_eq!(some.parts().len(), 501);
    assert!(!identifies(&some, &name));
}

/// A validator of an original says nothing of what is de-identified, and the other way round.
#[test]
fn no_cache_takes_one_for_the_other() {
    let (server, name, _) = server();
    let admin = token("admin");
    for path in [name.study_path(), name.path()] {
        let path = format!("/dicom-web{path}");
        let original = get(&server, &path, "*/*", &admin).expect(200);
        let tag = original.header("etag").unwrap().to_owned();
        for known in [tag.as_str(), "*"] {
            let request = server.request("GET", &format!("{path}?deidentify"));
            let made = request
                .accept("*/*")
                .header("Authorization", &format!("Bearer {admin}"))
                .header("If-None-Match", known)
                .header("Range", "bytes=0-9")
                .send()
                .expect(200);
            assert!(!identifies(&made, &name));
        }
    }
}

#[test]
fn a_partition_has_its_own_instances() {
    let key = key();
    let path = key.path().to_str();
    let mut settings = settings(path);
    settings.push(("STOWAGE_PARTITIONS", "on"));
    let server = TestApp::with(&settings);
    let name = Name::new(8904, 1, 1);
    store(
        &server,
        "/dicom-web/partitions/north",
        &[image(&name, "CT")],
    );
    let researcher = token("deidentifiedReader");
    let at = |partition: &str| {
        let study = name.study_path();
        format!("/v2/partitions/{partition}{study}?deidentify=basic")
    };
    let made = get(&server, &at("north"), "*/*", &researcher).expect(200);
    assert!(!identifies(&made, &name));
    get(&server, &at("Microsoft.Default"), "*/*", &researcher).expect(404);
}

#[test]
fn the_audit_tells_what_was_deidentified_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let key = key();
    let mut settings = settings(key.path().to_str());
    settings.push(("STOWAGE_AUDIT", file.to_str().unwrap()));
    let server = TestApp::with(&settings);
    let name = Name::new(8905, 1, 1);
    store(&server, "/dicom-web", &[image(&name, "CT")]);
    let path = format!("/dicom-web{}?deidentify=retain-uids", name.path());
    get(&server, &path, "*/*", &token("deidentifiedReader")).expect(200);
    wait_until("the event is written", || {
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        lines.lines().any(|line| {
            line.contains(r#""type":"deidentified","valueString":"basic,retain-uids""#)
                && line.contains(&name.instance)
        })
    });
}

#[test]
fn without_a_key_nothing_is_deidentified() {
    let server = TestApp::with(&settings(None));
    let name = Name::new(8906, 1, 1);
    store(&server, "/dicom-web", &[image(&name, "CT")]);
    let path = format!("/dicom-web{}?deidentify=basic", name.path());
    let answer = get(&server, &path, "*/*", &token("admin")).expect(400);
    let reason = answer.text();
    assert!(reason.contains("STOWAGE_DEIDENTIFY_KEY_FILE"), "{reason}");
}
