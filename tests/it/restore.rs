//! The trash: what was deleted is listed, and comes back as it was.

use std::thread;

use crate::support::postgres;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

/// Three instances in two series of one study.
fn names(study: u32) -> [Name; 3] {
    [(1, 1), (1, 2), (2, 1)].map(|(series, instance)| Name::new(study, series, instance))
}

fn store(server: &Deployment, names: &[Name]) {
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
}

fn delete(server: &Deployment, path: &str) {
    let target = format!("/dicom-web{path}");
    server.request("DELETE", &target).send().expect(204);
}

fn trash(server: &Deployment) -> Vec<Value> {
    let list = server.get("/dicom-web/trash").expect(200).json();
    list["entries"].as_array().expect("a list").clone()
}

fn restore(server: &Deployment, what: &str) -> Response {
    let target = format!("/dicom-web/trash/{what}/restore");
    server.request("POST", &target).send()
}

fn counts(answer: &Response) -> [i64; 4] {
    let report = answer.json();
    ["restored", "restoredBefore", "alreadyStored", "left"]
        .map(|name| report[name].as_i64().expect("a number"))
}

fn changes(server: &Deployment) -> Vec<(String, String)> {
    let target = "/v2/changefeed?limit=200&includeMetadata=false";
    let feed = server.get(target).expect(200).json();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let change = |entry: &Value| (text(entry, "action"), text(entry, "sopInstanceUid"));
    feed.as_array().unwrap().iter().map(change).collect()
}

#[test]
fn a_deleted_study_is_listed_and_comes_back_as_it_was() {
    on_each_index(|server| {
        let names = names(900);
        let tag = json!([{"Path": "00080060", "VR": "CS", "Level": "Series"}, {"Path": "00100010", "VR": "PN", "Level": "Study"}]);
        let tag = json!([tag[0]]);
        let added = server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json")
            .body(tag.to_string())
            .send();
        assert!(matches!(added.status, 202 | 400), "{}", added.text());
        store(server, &names);
        let bytes: Vec<_> = names.iter().map(|name| server.stored(name)).collect();
        let study = format!(
            "/dicom-web/studies?StudyInstanceUID={}&includefield=all",
            names[0].study
        );
        let found = server.get(&study).expect(200).json();
        assert!(trash(server).is_empty());
        delete(server, &names[0].study_path());

        let listed = trash(server);
        let [entry] = &listed[..] else {
            panic!("one entry: {listed:?}");
        };
        assert_eq!(entry["studyInstanceUid"], names[0].study);
        assert_eq!(entry["seriesInstanceUid"], Value::Null);
        assert_eq!(entry["reason"], "deleted");
        assert_eq!(
            (&entry["series"], &entry["instances"]),
            (&json!(2), &json!(3))
        );
        let sum: usize = bytes.iter().flatten().map(Vec::len).sum();
        assert_eq!(entry["bytes"], sum);
        let time = |name: &str| {
            let text = entry[name].as_str().unwrap();
            let format = &time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(text, format).unwrap()
        };
        // Three days, unless the settings say something else.
        assert_eq!(time("until") - time("deleted"), time::Duration::hours(72));
        // Nothing of the patient that a search for the study would not have told.
        for (tag, value) in entry["attributes"].as_object().unwrap() {
            assert_eq!(&found[0][tag], value, "{tag}");
        }

        let what = format!("studies/{}", names[0].study);
        let answer = restore(server, &what).expect(200);
        assert_eq!(counts(&answer), [3, 0, 0, 0]);
        assert_eq!(answer.json()["studies"], json!([names[0].study]));
        assert!(trash(server).is_empty());
        for (name, bytes) in names.iter().zip(&bytes) {
            assert_eq!(&server.stored(name), bytes, "{}", name.path());
        }
        assert_eq!(server.get(&study).expect(200).json(), found);
        let created: Vec<_> = names.iter().map(|name| name.instance.clone()).collect();
        let told = changes(server);
        assert_eq!(told.len(), 9);
        for (change, instance) in told[6..].iter().zip(created) {
            assert_eq!(*change, ("Create".to_owned(), instance));
        }
        // Again, both ways: nothing is there to be done.
        assert_eq!(counts(&restore(server, &what).expect(200)), [0; 4]);
        let entry = entry["id"].to_string();
        assert_eq!(counts(&restore(server, &entry).expect(200)), [0, 3, 0, 0]);
        assert_eq!(changes(server).len(), 9);
        server.fsck();
    });
}

#[test]
fn a_series_or_an_instance_comes_back_alone() {
    on_each_index(|server| {
        let names = names(905);
        store(server, &names);
        delete(server, &names[2].path());
        delete(server, &names[0].series_path());
        let [series, instance] = <[Value; 2]>::try_from(trash(server)).unwrap();
        assert_eq!(series["seriesInstanceUid"], names[0].series);
        assert_eq!(instance["sopInstanceUid"], names[2].instance);
        let answer = restore(server, &series["id"].to_string()).expect(200);
        assert_eq!(counts(&answer), [2, 0, 0, 0]);
        assert!(server.stored(&names[0]).is_some() && server.stored(&names[2]).is_none());
        // What is left of the study.
        let what = format!("studies/{}", names[0].study);
        assert_eq!(counts(&restore(server, &what).expect(200)), [1, 0, 0, 0]);
        assert!(server.stored(&names[2]).is_some());
        server.fsck();
    });
}

#[test]
fn what_is_stored_meanwhile_under_the_same_uids_stays() {
    on_each_index(|server| {
        let names = names(910);
        store(server, &names);
        let first = server.stored(&names[0]);
        delete(server, &names[0].study_path());
        let entry = trash(server)[0]["id"].to_string();
        let other = names[0].with_bulk(900);
        server
            .store("/dicom-web", [&other, &names[1].small()])
            .expect(200);
        let answer = restore(server, &entry).expect(202);
        assert_eq!(counts(&answer), [1, 0, 1, 1]);
        let problem = &answer.json()["problems"][0];
        assert_eq!(problem["sopInstanceUid"], names[0].instance);
        assert!(
            problem["reason"]
                .as_str()
                .unwrap()
                .contains("delete that one")
        );
        assert_eq!(server.stored(&names[0]).as_deref(), Some(&other.bytes[..]));
        assert!(server.stored(&names[2]).is_some());
        // Nothing of it can be restored any more, until the other one is gone.
        assert_eq!(counts(&restore(server, &entry).expect(202))[3], 1);
        delete(server, &names[0].path());
        assert_eq!(counts(&restore(server, &entry).expect(200))[0], 1);
        assert_eq!(server.stored(&names[0]), first);
        server.fsck();
    });
}

#[test]
fn what_was_replaced_comes_back_when_its_place_is_free() {
    on_each_index(|server| {
        let name = Name::new(915, 1, 1);
        store(server, std::slice::from_ref(&name));
        let (first, second) = (server.stored(&name), name.with_bulk(900));
        server
            .request("PUT", "/dicom-web/studies")
            .header("Content-Type", "application/dicom")
            .body(second.bytes.clone())
            .send()
            .expect(200);
        let replaced = trash(server)[0].clone();
        assert_eq!(replaced["reason"], "replaced");
        let entry = replaced["id"].to_string();
        assert_eq!(counts(&restore(server, &entry).expect(409)), [0, 0, 0, 1]);
        // Restoring the study means what was deleted of it.
        let what = format!("studies/{}", name.study);
        assert_eq!(counts(&restore(server, &what).expect(200)), [0; 4]);
        delete(server, &name.path());
        assert_eq!(counts(&restore(server, &what).expect(200)), [1, 0, 0, 0]);
        assert_eq!(server.stored(&name).as_deref(), Some(&second.bytes[..]));
        delete(server, &name.path());
        assert_eq!(counts(&restore(server, &entry).expect(200)), [1, 0, 0, 0]);
        assert_eq!(server.stored(&name), first);
        server.fsck();
    });
}

#[test]
fn what_cannot_be_restored_says_why() {
    on_each_index(|server| {
        let names = names(920);
        for (what, status) in [
            ("studies/1.2.3.4", 404),
            ("studies/x", 400),
            ("17", 404),
            ("0", 400),
            ("-3", 400),
            ("x", 400),
            ("99999999999999999999", 400),
        ] {
            restore(server, what).expect(status);
        }
        for query in ["limit=0", "limit=201", "limit=x", "before=x", "study=x"] {
            let answer = server.get(&format!("/v2/trash?{query}")).expect(400);
            let name = query.split('=').next().unwrap();
            assert!(answer.text().contains(name), "{}", answer.text());
        }
        store(server, &names);
        let blobs = server.blob_files();
        delete(server, &names[0].study_path());
        // One is damaged, one is missing.
        let of = |name: &Name| {
            let own = |path: &&std::path::PathBuf| path.to_string_lossy().contains(&name.instance);
            blobs.iter().find(own).unwrap()
        };
        let mut bytes = std::fs::read(of(&names[0])).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(of(&names[0]), bytes).unwrap();
        std::fs::remove_file(of(&names[1])).unwrap();
        let answer = restore(server, &format!("studies/{}", names[0].study)).expect(202);
        assert_eq!(counts(&answer), [1, 0, 0, 2]);
        assert!(answer.text().contains("other bytes than were stored"));
        assert_eq!(trash(server)[0]["instances"], 2);
        server.fsck();
    });
}

#[test]
fn the_list_is_read_page_by_page() {
    on_each_index(|server| {
        for study in 930..935 {
            store(server, &names(study)[..1]);
            delete(server, &names(study)[0].study_path());
        }
        let mut studies = Vec::new();
        let mut next = Some("/dicom-web/trash?limit=2".to_owned());
        while let Some(target) = next {
            let page = server.get(&target).expect(200).json();
            let entries = page["entries"].as_array().unwrap();
            assert!(entries.len() <= 2);
            studies.extend(entries.iter().map(|one| one["studyInstanceUid"].clone()));
            next = page["next"].as_str().map(|url| {
                let at = url.find("/dicom-web").unwrap();
                url[at..].to_owned()
            });
        }
        let expected: Vec<_> = (930..935)
            .rev()
            .map(|study| names(study)[0].study.clone())
            .collect();
        assert_eq!(studies, expected);
        let one = format!("/dicom-web/trash?study={}", expected[1]);
        let one = server.get(&one).expect(200).json();
        assert_eq!(one["entries"].as_array().map(Vec::len), Some(1));
        assert_eq!(one["next"], Value::Null);
    });
}

#[test]
fn after_the_grace_period_nothing_comes_back() {
    let at_once = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    on_each_index_with(&at_once, |server| {
        let names = names(940);
        store(server, &names);
        delete(server, &names[0].study_path());
        wait_until("the bytes are removed", || server.blob_files().is_empty());
        wait_until("the entry is forgotten", || {
            trash(server).is_empty()
                && restore(server, &format!("studies/{}", names[0].study)).status == 404
        });
        server.fsck();
    });
}

#[test]
fn a_study_that_expired_comes_back_for_good() {
    let often = [("STOWAGE_SWEEP_SECONDS", "1")];
    on_each_index_with(&often, |server| {
        let name = Name::new(945, 1, 1);
        server
            .request("POST", "/v2/studies")
            .header("Content-Type", "application/dicom")
            .header("msdicom-expiry-time-milliseconds", "1")
            .header("msdicom-expiry-option", "RelativeToNow")
            .header("msdicom-expiry-level", "Study")
            .body(name.small().bytes)
            .send()
            .expect(200);
        wait_until("it has expired", || !trash(server).is_empty());
        let entry = trash(server)[0].clone();
        assert_eq!(entry["reason"], "expired");
        let runs = || {
            let metrics = server.get("/metrics").text();
            let line = metrics
                .lines()
                .find(|line| line.starts_with("stowage_sweeper_runs_total"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        restore(server, &entry["id"].to_string()).expect(200);
        let before = runs();
        wait_until("the sweeper was there", || {
            runs() != before || before.is_none()
        });
        assert!(server.stored(&name).is_some());
    });
}

#[test]
fn the_command_lists_and_restores() {
    on_each_index(|server| {
        let names = names(950);
        store(server, &names);
        delete(server, &names[2].path());
        delete(server, &names[0].study_path());
        let run = |arguments: &[&str]| {
            let output = server.command(arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.code(), text)
        };
        let (status, list) = run(&["restore", "--list"]);
        assert_eq!(status, Some(0), "{list}");
        let study = &names[0].study;
        assert!(list.contains(&format!(": {study}, deleted ")), "{list}");
        assert!(list.contains("1 series, 2 instances, "), "{list}");
        assert!(list.contains(&names[2].instance), "{list}");
        let (status, said) = run(&["restore", study]);
        assert_eq!(status, Some(0), "{said}");
        assert!(
            said.contains("3 instances restored, 0 stored anyway, 0 left"),
            "{said}"
        );
        for name in &names {
            wait_until("it is there again", || server.stored(name).is_some());
        }
        assert_eq!(run(&["restore", study]).0, Some(0));
        let (status, said) = run(&["restore", "1.2.3.4"]);
        assert_eq!(status, Some(1), "{said}");
        let (status, _) = run(&["restore", "nonsense"]);
        assert_ne!(status, Some(0));
        server.fsck();
    });
}

#[test]
fn a_limited_caller_sees_and_restores_what_he_may_see() {
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    on_each_index_with(&settings, |server| {
        let (own, hidden) = (Name::new(960, 1, 1), Name::new(961, 1, 1));
        let ask = |method: &str, target: &str, claims: &Value| {
            let token = with_secret(SECRET.as_bytes(), claims);
            server
                .request(method, target)
                .header("Authorization", &format!("Bearer {token}"))
        };
        let admin = claims("admin");
        for name in [&own, &hidden] {
            ask("POST", "/dicom-web/studies", &admin)
                .header("Content-Type", "application/dicom")
                .body(name.small().bytes)
                .send()
                .expect(200);
            let target = format!("/dicom-web{}", name.study_path());
            ask("DELETE", &target, &admin).send().expect(204);
        }
        let limited = with(claims("restorer"), "dicom_studies", own.study.as_str());
        let list = ask("GET", "/dicom-web/trash", &limited)
            .send()
            .expect(200)
            .json();
        assert_eq!(list["entries"].as_array().map(Vec::len), Some(1));
        assert_eq!(list["entries"][0]["studyInstanceUid"], own.study);
        let all = ask("GET", "/dicom-web/trash", &admin)
            .send()
            .expect(200)
            .json();
        for entry in all["entries"].as_array().unwrap() {
            let study = entry["studyInstanceUid"].as_str().unwrap();
            let status = if study == own.study { 200 } else { 404 };
            let by_number = format!("/dicom-web/trash/{}/restore", entry["id"]);
            ask("POST", &by_number, &limited).send().expect(status);
            let by_study = format!("/dicom-web/trash/studies/{study}/restore");
            ask("POST", &by_study, &limited).send().expect(status);
        }
        // Whoever deletes may not restore, and the other way round.
        let target = format!("/dicom-web/trash/studies/{}/restore", hidden.study);
        for role in ["reader", "writer", "deleter"] {
            ask("GET", "/dicom-web/trash", &claims(role))
                .send()
                .expect(403);
            let answer = ask("POST", &target, &claims(role)).send().expect(403);
            assert!(answer.text().contains("'restore'"), "{}", answer.text());
        }
        ask("POST", &target, &claims("restorer")).send().expect(200);
        let target = format!("/dicom-web{}", hidden.study_path());
        ask("DELETE", &target, &claims("restorer"))
            .send()
            .expect(403);
    });
}

#[test]
fn two_nodes_restore_each_instance_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Some(url) = runtime.unwrap().block_on(postgres::database()) else {
        return;
    };
    let blobs = tempfile::tempdir().unwrap();
    let place = format!("file://{}", blobs.path().display());
    let settings = [
        ("STOWAGE_DATABASE_URL", url.as_str()),
        ("STOWAGE_BLOB_URL", place.as_str()),
    ];
    let (one, two) = (TestApp::with(&settings), TestApp::with(&settings));
    let mut all = Vec::new();
    for number in 1..=40 {
        all.push(Name::new(970, number % 3, number));
    }
    store(&one, &all);
    delete(&two, &all[0].study_path());
    let what = format!("studies/{}", all[0].study);
    thread::scope(|scope| {
        let restores: Vec<_> = [&one, &two, &one, &two]
            .map(|node| scope.spawn(|| restore(node, &what).expect(200)))
            .into_iter()
            .collect();
        for done in restores {
            let [.., left] = counts(&done.join().unwrap());
            assert_eq!(left, 0);
        }
    });
    for node in [&one, &two] {
        for name in &all {
            assert!(node.stored(name).is_some(), "{}", name.path());
        }
    }
    let created = changes(&one)
        .into_iter()
        .filter(|(action, _)| action == "Create");
    assert_eq!(created.count(), 80);
    one.fsck();
}
