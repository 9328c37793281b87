//! De-identified copies in another partition: `POST` on `/studies/$deidentify`, as an operation.

use stowage::dicom::testing::{BuiltFile, Syntax};

use super::KEY;
use super::pixels::{RULES, native};
use super::retrieve::image_in;
use crate::crash_matrix::points;
use crate::crash_matrix::{Database, expect_crash, in_parallel};
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

const TARGET: &str = "/v2/partitions/research";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// A request for sources, or for everything.
fn body(sources: Option<&[&str]>) -> Value {
    let target = json!({ "partition": "research" });
    match sources {
        None => json!({ "target": target }),
        Some(values) => json!({
            "source": { "type": "identifiers", "settings": { "values": values } },
            "target": target,
        }),
    }
}

fn begin(server: &Deployment, body: &Value) -> std::io::Result<Response> {
    server
        .request("POST", "/v2/partitions/clinic/studies/$deidentify")
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .try_send()
}

/// Waits for the end of an operation.
#[track_caller]
fn finished(server: &Deployment, id: &str) -> Value {
    let mut done = Value::Null;
    wait_until("the operation is done", || {
        let answer = server.get(&format!("/v2/operations/{id}"));
        done = answer.json();
        answer.status == 200
    });
    assert_eq!(done["type"], "deidentify");
    assert_eq!(done["percentComplete"], 100);
    done
}

#[track_caller]
fn copied(server: &Deployment, body: &Value) -> Value {
    let answer = begin(server, body).unwrap().expect(202).json();
    let done = finished(server, answer["id"].as_str().unwrap());
    assert_eq!(done["status"], "succeeded", "{done}");
    done["results"].clone()
}

/// New UIDs of what is in the other partition, with the files.
fn stored(server: &Deployment) -> Vec<(Name, Vec<u8>)> {
    let found = server.get_as(
        &format!("{TARGET}/instances?limit=200"),
        "application/dicom+json",
    );
    if found.status == 204 {
        return Vec::new();
    }
    let found = found.expect(200).json();
    let uid = |one: &Value, tag: &str| one[tag]["Value"][0].as_str().unwrap().to_owned();
    let instance = |one: &Value| {
        let name = Name {
            study: uid(one, "0020000D"),
            series: uid(one, "0020000E"),
            instance: uid(one, "00080018"),
        };
        let path = format!("{TARGET}{}", name.path());
        let file = server.get_as(&path, "application/dicom; transfer-syntax=*");
        (name, file.expect(200).body)
    };
    let mut all: Vec<_> = found.as_array().unwrap().iter().map(instance).collect();
    all.sort_by(|one, other| one.0.instance.cmp(&other.0.instance));
    all
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[test]
fn another_partition_gets_copies_and_the_originals_stay() {
    let (key, rules) = (file(KEY), file(RULES));
    let settings = [
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key)),
        ("STOWAGE_DEIDENTIFY_PIXELS_FILE", path(&rules)),
    ];
    on_each_index_with(&settings, |server| {
        let names: Vec<Name> = (1..=3).map(|number| Name::new(1, 1, number)).collect();
        let (sonic, other) = (Name::new(2, 1, 1), Name::new(3, 1, 1));
        let files = [
            image_in(&names[0], "CT", Syntax::ExplicitLittle),
            image_in(&names[1], "CT", Syntax::Deflated),
            // What has no rule.
            image_in(&names[2], "US", Syntax::ExplicitLittle),
            native(&sonic, Syntax::ExplicitLittle),
            image_in(&other, "CT", Syntax::ExplicitLittle),
        ];
        server
            .store("/dicom-web/partitions/clinic", &files)
            .expect(200);
        let sources = ["1.2.3.1", "1.2.3.2", "1.2.3.1/1.2.3.1.1", "1.2.999"];
        let answer = begin(server, &body(Some(&sources))).unwrap().expect(202);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let href = format!("{}/v2/operations/{id}", server.url());
        assert_eq!(answer.header("location"), Some(href.as_str()));
        let done = finished(server, &id);
        assert_eq!(done["status"], "succeeded");
        let results = &done["results"];
        assert_eq!(results["partition"], "research");
        assert_eq!(results["options"], "basic");
        assert_eq!(results["deidentified"], 3, "{results}");
        assert_eq!(results["skipped"], 2, "{results}");
        let errors = results["errors"].as_array().unwrap();
        let of = |identifier: &str| {
            let error = errors
                .iter()
                .find(|error| error["identifier"] == identifier);
            error.map_or("", |error| error["error"].as_str().unwrap())
        };
        assert!(of("1.2.999").contains("not found"), "{results}");
        let refused = of("1.2.3.1/1.2.3.1.1/1.2.3.1.1.3");
        assert!(
            refused.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"),
            "{results}"
        );
        let made = stored(server);
        assert_eq!(made.len(), 3);
        for (name, bytes) in &made {
            assert!(name.instance.starts_with("2.25."), "{name:?}");
            // Of what is deflated nothing can be read like this.
            let deflated = has(bytes, "1.2.840.10008.1.2.1.99");
            assert!(deflated || has(bytes, "PS3.15"), "{name:?}");
            assert!(
                !has(bytes, "Doe^Jane") && !has(bytes, "1.2.3.1"),
                "{name:?}"
            );
        }
        // The same as a retrieve gives.
        let study = "/v2/partitions/clinic/studies/1.2.3.2?deidentify=basic";
        let retrieved = server.get_as(study, "multipart/related; type=\"application/dicom\"");
        let retrieved = retrieved.expect(200).parts().remove(0).body;
        assert!(made.iter().any(|(_, bytes)| *bytes == retrieved));
        // Again, of everything: what is there stays, the rest comes.
        let results = copied(server, &body(None));
        assert_eq!(results["deidentified"], 4, "{results}");
        let more = stored(server);
        assert_eq!(more.len(), 4);
        assert!(made.iter().all(|one| more.contains(one)));
        for (name, file) in names.iter().chain([&sonic, &other]).zip(&files) {
            let original = format!("/v2/partitions/clinic{}", name.path());
            let original = server.get_as(&original, "application/dicom; transfer-syntax=*");
            assert!(original.expect(200).body == file.bytes);
        }
    });
}

#[test]
fn what_cannot_be_done_is_refused_and_begins_nothing() {
    let key = file(KEY);
    let server = TestApp::with(&[
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key)),
    ]);
    let image = image_in(&Name::new(1, 1, 1), "CT", Syntax::ExplicitLittle);
    server
        .store("/dicom-web/partitions/clinic", [&image])
        .expect(200);
    let told = |body: &Value, status: u16| begin(&server, body).unwrap().expect(status).text();
    let mut same = body(None);
    same["target"]["partition"] = json!("clinic");
    assert!(told(&same, 400).contains("another partition"));
    let mut option = body(None);
    option["options"] = json!("retain-uids");
    assert!(told(&option, 403).contains("STOWAGE_DEIDENTIFY_REQUEST_OPTIONS"));
    option["options"] = json!("retain-names");
    assert!(told(&option, 400).contains("'options'"));
    assert!(told(&json!({}), 400).contains("'target'"));
    let west = server.request("POST", "/v2/partitions/west/studies/$deidentify");
    let west = west.header("Content-Type", "application/json");
    west.body(body(None).to_string()).send().expect(400);
    let without = TestApp::with(&[("STOWAGE_PARTITIONS", "on")]);
    without
        .store("/dicom-web/partitions/clinic", [&image])
        .expect(200);
    let reason = begin(&without, &body(None)).unwrap().expect(400).text();
    assert!(reason.contains("STOWAGE_DEIDENTIFY_KEY_FILE"), "{reason}");
    let off = TestApp::with(&[("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key))]);
    let plain = off.request("POST", "/v2/studies/$deidentify");
    let plain = plain.header("Content-Type", "application/json");
    let reason = plain.body(body(None).to_string()).send().expect(400).text();
    assert!(reason.contains("partitions"), "{reason}");
}

fn ask(server: &Deployment, method: &str, target: &str, token: &str, body: &[u8]) -> Response {
    server
        .request(method, target)
        .header("Authorization", &format!("Bearer {token}"))
        .header(
            "Content-Type",
            if body.starts_with(b"{") {
                "application/json"
            } else {
                "application/dicom"
            },
        )
        .accept("*/*")
        .body(body)
        .send()
}

#[test]
fn it_needs_rights_on_both_sides_and_copies_what_its_caller_sees() {
    let key = file(KEY);
    let settings = [
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key)),
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    let server = TestApp::with(&settings);
    let token = |claims: &Value| with_secret(SECRET.as_bytes(), claims);
    let admin = token(&claims("admin"));
    let names = [Name::new(1, 1, 1), Name::new(2, 1, 1)];
    for name in &names {
        let image = image_in(name, "CT", Syntax::ExplicitLittle);
        ask(
            &server,
            "POST",
            "/dicom-web/partitions/clinic/studies",
            &admin,
            &image.bytes,
        )
        .expect(200);
    }
    let target = "/v2/partitions/clinic/studies/$deidentify";
    let all = body(None).to_string();
    for role in ["reader", "writer", "deidentifiedReader", "deleter"] {
        ask(
            &server,
            "POST",
            target,
            &token(&claims(role)),
            all.as_bytes(),
        )
        .expect(403);
    }
    // Who may do all in one partition may not write into the other, and who is limited to studies not into any.
    let only = with(claims("admin"), "dicom_partitions", json!(["clinic"]));
    ask(&server, "POST", target, &token(&only), all.as_bytes()).expect(403);
    let limited = with(claims("admin"), "dicom_studies", json!([names[0].study]));
    ask(&server, "POST", target, &token(&limited), all.as_bytes()).expect(403);
    let begun = ask(&server, "POST", target, &admin, all.as_bytes()).expect(202);
    let operation = format!("/v2/operations/{}", begun.json()["id"].as_str().unwrap());
    wait_until("the operation is done", || {
        ask(&server, "GET", &operation, &admin, b"").status == 200
    });
    // Whoever is limited does not learn which studies it names.
    ask(&server, "GET", &operation, &token(&limited), b"").expect(404);
    let found = ask(&server, "GET", &format!("{TARGET}/studies"), &admin, b"").expect(200);
    assert_eq!(found.json().as_array().unwrap().len(), 2);
}

/// More than are copied in one step.
fn many() -> (Vec<Name>, Vec<BuiltFile>) {
    let name = |number: u32| Name::new(1 + number % 3, 1 + number % 2, number);
    let names: Vec<Name> = (1..=40).map(name).collect();
    let file = |name: &Name| image_in(name, "CT", Syntax::ExplicitLittle);
    let files = names.iter().map(file).collect();
    (names, files)
}

fn store(server: &Deployment, files: &[BuiltFile]) {
    let bodies = files.iter().map(|file| file.bytes.as_slice());
    server
        .request("POST", "/dicom-web/partitions/clinic/studies")
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json")
        .body(multipart::body(bodies))
        .send()
        .expect(200);
}

#[test]
fn a_crash_at_any_step_of_a_copy_is_taken_up_again_on_sqlite() {
    crashes(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_a_copy_is_taken_up_again_on_postgres() {
    crashes(Database::Postgres);
}

fn crashes(database: Database) {
    let work: Vec<&str> = points::DEIDENTIFY
        .iter()
        .chain(&[
            "export.advanced",
            "export.begun",
            "export.counted",
            "export.ended",
        ])
        .copied()
        .collect();
    let count = in_parallel(work, |point| {
        let fault = format!("{point}:1");
        let key = file(KEY);
        let settings = [
            ("STOWAGE_PARTITIONS", "on"),
            ("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key)),
            ("STOWAGE_FAULT", &fault),
        ];
        let Some(mut server) = database.server(&settings) else {
            return 0;
        };
        let (names, files) = many();
        store(&server, &files);
        let sources = ["1.2.3.1", "1.2.3.2", "1.2.999", "1.2.3.3"];
        let body = body(Some(&sources));
        let sent = begin(&server, &body);
        expect_crash(&mut server, &fault);
        server.set("STOWAGE_FAULT", None);
        server.restart();
        // An answer that was lost is asked for again; what was begun goes on by itself.
        let answer = sent.or_else(|_| begin(&server, &body)).expect("an answer");
        let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
        let done = finished(&server, &id);
        assert_eq!(done["status"], "succeeded", "{fault}");
        assert_eq!(done["results"]["deidentified"], 40, "{fault}");
        assert_eq!(done["results"]["skipped"], 1, "{fault}");
        assert_eq!(
            done["results"]["errors"].as_array().map(Vec::len),
            Some(1),
            "{fault}"
        );
        let made = stored(&server);
        assert_eq!(made.len(), 40, "{fault}");
        for (_, bytes) in &made {
            assert!(!has(bytes, "Doe^Jane"), "{fault}");
        }
        assert!(
            server
                .fsck()
                .contains(&format!("{} instances", 2 * names.len())),
            "{fault}"
        );
        1
    });
    println!("{database:?}: {count} crashes of a copy, nothing lost");
}

#[test]
fn another_node_goes_on_with_the_copy_of_one_that_is_gone() {
    let (key, other_key) = (file(KEY), file("another key, as long as that"));
    let blobs = tempfile::tempdir().unwrap();
    let settings = [
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_SWEEP_SECONDS", "1"),
        ("STOWAGE_DEIDENTIFY_KEY_FILE", path(&key)),
        ("STOWAGE_FAULT", "export.advanced:1"),
    ];
    let Some(mut one) = Server::first_node(&blobs, &settings) else {
        return;
    };
    // One with another key must not go on with it.
    let stranger = one.second_node(&[("STOWAGE_DEIDENTIFY_KEY_FILE", path(&other_key))]);
    let other = one.second_node(&[]);
    let (_, files) = many();
    store(&other, &files);
    let answer = begin(&one, &body(None)).unwrap().expect(202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    expect_crash(&mut one, "export.advanced:1");
    let done = finished(&other, &id);
    assert_eq!(done["results"]["deidentified"], 40, "{done}");
    let made = stored(&stranger);
    assert_eq!(made.len(), 40);
    let studies: std::collections::BTreeSet<&str> =
        made.iter().map(|(name, _)| name.study.as_str()).collect();
    assert_eq!(studies.len(), 3, "all by one key");
}
