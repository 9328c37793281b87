//! How much is stored: exact after every way in and out, under concurrency, for whoever may know it, and as gauges that the
//! shipped dashboard and alert rules really find.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::prelude::*;
use crate::support::server::on_each_index_process;
use crate::support::sql::execute;

const SECRET: (&str, &str) = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");

/// A file of a patient and a modality; an empty one is left out.
fn file(name: &Name, patient: &str, modality: &str, more: &str) -> BuiltFile {
    let mut data_set = name.data_set();
    for (tag, vr, value) in [
        (Tag(0x0010, 0x0020), VR::LO, patient),
        (Tag(0x0008, 0x0060), VR::CS, modality),
        (Tag(0x0008, 0x1030), VR::LO, more),
    ] {
        data_set = data_set.set(DataSet::new().text(tag, vr, value));
    }
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn put(server: &Deployment, file: &BuiltFile) -> Response {
    let request = server.request("PUT", "/v2/studies");
    let request = request.header("Content-Type", &multipart::content_type());
    request
        .body(multipart::body([file.bytes.as_slice()]))
        .send()
}

fn statistics(server: &Deployment) -> Value {
    server.get("/v2/statistics").expect(200).json()
}

/// Patients, studies, series, instances and bytes.
fn all(value: &Value) -> [u64; 5] {
    ["patients", "studies", "series", "instances", "bytes"].map(|name| {
        value[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} of {value}"))
    })
}

/// Series, instances and bytes by modality in the only partition.
fn by_modality(value: &Value) -> BTreeMap<String, [u64; 3]> {
    let rows = value["partitions"][0]["modalities"].as_array().cloned();
    let rows = rows.unwrap_or_default().into_iter().map(|row| {
        let counts = ["series", "instances", "bytes"].map(|name| row[name].as_u64().unwrap());
        (row["modality"].as_str().unwrap().to_owned(), counts)
    });
    rows.filter(|(_, counts)| *counts != [0; 3]).collect()
}

fn bytes(files: &[&BuiltFile]) -> u64 {
    files.iter().map(|file| file.bytes.len() as u64).sum()
}

#[test]
fn statistics_are_exact_after_every_way_in_and_out() {
    on_each_index_process(&[("STOWAGE_SWEEP_SECONDS", "3600")], |server| {
        assert_eq!(all(&statistics(server)), [0; 5]);
        let [a, b, c, d] = [(1, 1, 1), (1, 2, 1), (2, 1, 1), (3, 1, 1)]
            .map(|(study, series, instance)| Name::new(9500 + study, series, instance));
        let ct = file(&a, "P1", "CT", "");
        let mr = file(&b, "P1", "MR", "");
        let same = file(&c, "P1", "CT", "another study of the patient");
        let other = file(&d, "P2", "CT", "");
        server.store("/v2", [&ct, &mr, &same, &other]).expect(200);
        // What is there already counts once.
        server.store("/v2", [&ct]).expect(409);
        let found = statistics(server);
        assert_eq!(all(&found), [2, 3, 4, 4, bytes(&[&ct, &mr, &same, &other])]);
        let expected = BTreeMap::from([
            ("CT".to_owned(), [3, 3, bytes(&[&ct, &same, &other])]),
            ("MR".to_owned(), [1, 1, bytes(&[&mr])]),
        ]);
        assert_eq!(by_modality(&found), expected);
        let partition = &found["partitions"][0];
        assert_eq!(partition["name"], "Microsoft.Default");
        let months = partition["months"].as_array().unwrap();
        assert!((1..=2).contains(&months.len()), "{months:?}");
        let sum = |name: &str| {
            months
                .iter()
                .filter_map(|month| month[name].as_u64())
                .sum::<u64>()
        };
        assert_eq!([sum("studies"), sum("instances")], [3, 4]);
        assert!(found["disks"][0]["freeBytes"].as_u64() > Some(0));

        // Another version of an instance, of another modality and patient: its series and study follow the newest.
        let replaced = file(&d, "P1", "US", "longer than before, so that bytes differ");
        put(server, &replaced).expect(200);
        let found = statistics(server);
        assert_eq!(
            all(&found),
            [1, 3, 4, 4, bytes(&[&ct, &mr, &same, &replaced])]
        );
        assert_eq!(by_modality(&found)["US"], [1, 1, bytes(&[&replaced])]);
        assert_eq!(found["trash"]["blobs"], 1);

        // A second instance changes the modality of the series of the first.
        let second = file(&Name::new(9501, 1, 2), "P1", "PT", "");
        server.store("/v2", [&second]).expect(200);
        assert_eq!(
            by_modality(&statistics(server))["PT"],
            [1, 2, bytes(&[&ct, &second])]
        );

        for target in [b.path(), d.study_path(), c.series_path()] {
            let target = format!("/v2{target}");
            server.request("DELETE", &target).send().expect(204);
        }
        let found = statistics(server);
        assert_eq!(all(&found), [1, 1, 1, 2, bytes(&[&ct, &second])]);
        assert!(server.fsck().contains("0 problems"));
        server
            .request("DELETE", &format!("/v2{}", a.study_path()))
            .send()
            .expect(204);
        assert_eq!(all(&statistics(server)), [0; 5]);

        // A study that ends by itself.
        let request = server.request("POST", "/v2/studies");
        let request = request
            .header("Content-Type", &multipart::content_type())
            .header("msdicom-expiry-time-milliseconds", "1");
        request
            .body(multipart::body([ct.bytes.as_slice()]))
            .send()
            .expect(200);
        assert_eq!(all(&statistics(server))[..4], [1, 1, 1, 1]);
        server.terminate();
        server.wait();
        server.restart();
        wait_until("the study has expired", || {
            all(&statistics(server)) == [0; 5]
        });
        assert!(server.fsck().contains("0 problems"));
    });
}

#[test]
fn statistics_are_exact_while_many_write_the_same_patients() {
    on_each_index(|server| {
        let server = &*server;
        thread::scope(|scope| {
            for writer in 0..6_u32 {
                scope.spawn(move || {
                    for round in 0..8_u32 {
                        // All writers share two patients and, in part, studies.
                        let name = Name::new(9520 + round % 3, writer + 1, round + 1);
                        let patient = format!("P{}", round % 2);
                        let stored = file(&name, &patient, ["CT", "MR"][(writer % 2) as usize], "");
                        server.store("/v2", [&stored]).expect(200);
                        if round % 4 == 3 {
                            let target = format!("/v2{}", name.series_path());
                            server.request("DELETE", &target).send().expect(204);
                        }
                        // Read while others write: never more than there can be.
                        let now = all(&statistics(server));
                        assert!(now[0] <= 2 && now[1] <= 3 && now[3] <= 48, "{now:?}");
                    }
                });
            }
        });
        let count = |target: &str| {
            let found = server
                .get(&format!("/dicom-web/{target}?limit=200"))
                .expect(200)
                .json();
            found.as_array().map_or(0, Vec::len) as u64
        };
        let found = statistics(server);
        let [_, studies, series, instances, _] = all(&found);
        assert_eq!(
            [studies, series, instances],
            ["studies", "series", "instances"].map(count)
        );
        assert!(server.fsck().contains("0 problems"));
    });
}

#[test]
fn fsck_finds_and_mends_statistics_that_are_wrong() {
    on_each_index(|server| {
        let files = [1, 2].map(|series| file(&Name::new(9540, series, 1), "P1", "CT", ""));
        server.store("/v2", &files).expect(200);
        let right = statistics(server);
        execute(
            server,
            "insert into statistic (partition, month, modality, patients, instances, bytes) values (1, 0, 'XX', 3, 2, 1)",
        );
        assert_ne!(statistics(server), right);
        let found = server.command(&["fsck"]);
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found.status.code(), Some(1), "{said}");
        let sentence = "the statistics of partition 1 count 3 patients, 0 studies, 0 series, 2 instances, 1 bytes too many";
        assert!(said.contains(sentence), "{said}");
        let mended = server.command(&["fsck", "--repair"]);
        assert!(String::from_utf8_lossy(&mended.stdout).contains("1 mended"));
        server.fsck();
        assert_eq!(all(&statistics(server)), all(&right));
        // What comes behind a recount is counted once.
        server
            .store("/v2", [&file(&Name::new(9541, 1, 1), "P2", "CT", "")])
            .expect(200);
        assert_eq!(all(&statistics(server))[..4], [2, 2, 3, 3]);
        server.fsck();
    });
}

#[test]
fn the_command_prints_what_the_route_answers() {
    let server = TestApp::start(None);
    let stored = file(&Name::new(9550, 1, 1), "P1", "CT", "");
    server.store("/v2", [&stored]).expect(200);
    let printed = |arguments: &[&str]| {
        let output = server.command(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let parsed: Value = serde_json::from_str(&printed(&["stats", "--json"])).unwrap();
    let answered = statistics(&server);
    assert_eq!(parsed["partitions"], answered["partitions"]);
    assert_eq!(all(&parsed), all(&answered));
    let text = printed(&["stats"]);
    assert!(
        text.contains("1 patients, 1 studies, 1 series, 1 instances"),
        "{text}"
    );
    assert!(text.contains("CT"), "{text}");
    assert!(text.contains("disk of the blobs: "), "{text}");
}

#[test]
fn who_sees_some_studies_only_learns_no_counts() {
    let server = TestApp::with(&[SECRET]);
    let token = |arguments: &[&str]| {
        let output = server.command(&[&["token"], arguments].concat());
        format!("Bearer {}", String::from_utf8_lossy(&output.stdout).trim())
    };
    let ask = |root: &str, token: &str| {
        let request = server.request("GET", &format!("{root}/statistics"));
        request.header("Authorization", token).send()
    };
    for limited in [&["--patient", "P1"][..], &["--study", "1.2.3"]] {
        let limited = token(limited);
        for root in ["/dicom-web", "/v1", "/v2"] {
            let refused = ask(root, &limited).expect(403).text();
            assert!(refused.contains("without a limit"), "{refused}");
        }
    }
    ask("/v2", &token(&["--roles", "reader"])).expect(200);
    server.get("/v2/statistics").expect(401);
}

/// Metric families of a text of `/metrics` with the labels that their samples have.
fn families(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            let suffixes: &[&str] = if rest.ends_with("histogram") {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            for suffix in suffixes {
                families.entry(format!("{name}{suffix}")).or_default();
            }
        } else if let Some((name, labels)) = line.split_once('{') {
            let labels = labels.split('}').next().unwrap_or_default();
            let names = labels
                .split("\",")
                .filter_map(|label| label.split('=').next());
            let family = families.entry(name.to_owned()).or_default();
            family.extend(names.map(str::to_owned));
        }
    }
    families
}

/// What an expression of `PromQL` names: families with the labels in their braces, and labels it groups by.
fn named(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let mut selectors = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = expression;
    while let Some(at) = ["stowage_", "process_"]
        .iter()
        .filter_map(|p| rest.find(p))
        .min()
    {
        rest = &rest[at..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let braces = behind
            .strip_prefix('{')
            .and_then(|inside| inside.split('}').next());
        let labels = braces.unwrap_or_default().split(',');
        let labels = labels.filter_map(|label| label.split(['=', '!', '~']).next());
        let labels = labels.map(str::trim).filter(|label| !label.is_empty());
        selectors.push((name.to_owned(), labels.map(str::to_owned).collect()));
        rest = behind;
    }
    let mut grouped = Vec::new();
    let parts = |by| expression.split(by).skip(1);
    for part in parts("by (").chain(parts("by(")) {
        let inside = part.split(')').next().unwrap_or_default();
        if inside.chars().all(|c| word(c) || c == ',' || c == ' ') {
            grouped.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    (selectors, grouped)
}

/// Every expression of the dashboard and of the alert rules.
fn expressions() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("the file can be read");
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).expect("it is JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title").to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression").to_owned();
            found.push((title.clone(), expression));
        }
    }
    let rules = yaml_rust2::YamlLoader::load_from_str(&read("alerts.yaml")).expect("it is YAML");
    for group in rules[0]["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("a name").to_owned();
            assert!(rule["annotations"]["summary"].as_str().is_some(), "{name}");
            assert!(rule["labels"]["severity"].as_str().is_some(), "{name}");
            found.push((
                name,
                rule["expr"].as_str().expect("an expression").to_owned(),
            ));
        }
    }
    found
}

#[test]
fn dashboard_and_alerts_name_what_metrics_tell() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl").display().to_string();
    let server = TestApp::with(&[("STOWAGE_AUDIT", &audit)]);
    let stored = file(&Name::new(9560, 1, 1), "P1", "CT", "");
    server.store("/v2", [&stored]).expect(200);
    let webhook = server.command(&["webhook", "add", "hook", "https://receiver.example/"]);
    assert!(webhook.status.success(), "{webhook:?}");
    wait_until("the webhook is counted", || {
        let text = server.get("/metrics").expect(200).text();
        text.contains("stowage_webhook_dead{webhook=\"hook\"} 0")
    });
    let text = || server.get("/metrics").expect(200).text();
    let sample = "stowage_stored_instances{partition=\"Microsoft.Default\",modality=\"CT\"} 1";
    wait_until("the gauges are there", || text().contains(sample));
    let text = text();
    for gauge in [
        "stowage_stored_patients{partition=\"Microsoft.Default\"} 1".to_owned(),
        "stowage_stored_studies{partition=\"Microsoft.Default\"} 1".to_owned(),
        format!(
            "stowage_stored_bytes{{partition=\"Microsoft.Default\",modality=\"CT\"}} {}",
            stored.bytes.len()
        ),
        "stowage_trash_blobs 0".to_owned(),
    ] {
        assert!(text.contains(&gauge), "no {gauge} in\n{text}");
    }
    let families = families(&text);
    let expressions = expressions();
    assert!(expressions.len() > 20, "{expressions:?}");
    // Set by Prometheus itself, or by a histogram.
    let given = ["instance", "job", "le"];
    for (title, expression) in &expressions {
        let (selectors, grouped) = named(expression);
        assert!(
            !selectors.is_empty() || expression.starts_with("up"),
            "{title}: {expression}"
        );
        let mut known: BTreeSet<&str> = given.into();
        for (family, labels) in &selectors {
            let there = families.get(family);
            let there = there.unwrap_or_else(|| panic!("{title}: there is no {family}"));
            for label in labels {
                let is_known = there.contains(label) || given.contains(&label.as_str());
                assert!(is_known, "{title}: {family} has no label {label}");
            }
            known.extend(there.iter().map(String::as_str));
        }
        for label in &grouped {
            assert!(
                known.contains(label.as_str()),
                "{title}: nothing has the label {label}"
            );
        }
        let depth = expression.chars().fold(0_i32, |depth, c| match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        });
        assert_eq!(depth, 0, "{title}: {expression}");
    }
    // What the test looks with sees what is wrong.
    let (selectors, grouped) =
        named("sum by (route) (rate(stowage_x_total{a=\"b\",c!~\"d\"}[5m]))");
    assert_eq!(
        selectors,
        [(
            "stowage_x_total".to_owned(),
            vec!["a".to_owned(), "c".to_owned()]
        )]
    );
    assert_eq!(grouped, ["route"]);
}
