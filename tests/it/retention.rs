//! Rules of retention: what they delete, what they leave, and what is written of it.

use std::fs;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::Syntax;

use crate::support::dicom::Name;
use crate::support::server::{Server, on_each_index_process, wait_until};
use crate::support::sql;

const RULES: &str = r#"[
    { "name": "keep-trial", "partitions": ["trial-7"], "deleteAfter": "never" },
    { "name": "ultrasound", "modalities": ["US"], "deleteAfter": "30d" },
    { "name": "old", "countFrom": "studyDate", "deleteAfter": "10y" }
]"#;

/// A study of a modality and date.
fn file(name: &Name, modality: &str, date: &str) -> stowage::dicom::testing::BuiltFile {
    let data_set = name
        .data_set()
        .text(Tag(0x0008, 0x0060), VR::CS, modality)
        .text(Tag(0x0008, 0x0020), VR::DA, date);
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn said(output: &std::process::Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn rules_delete_what_is_old_after_a_dry_run_and_it_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, audit) = (
        folder.path().join("rules.json"),
        folder.path().join("audit"),
    );
    fs::write(&rules, RULES).unwrap();
    let settings = [
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_AUDIT", audit.to_str().unwrap()),
    ];
    on_each_index_process(&settings, |server| {
        let names: Vec<Name> = (1..=5).map(|n| Name::new(n, 1, n)).collect();
        let files = [
            file(&names[0], "US", "20260101"),
            file(&names[1], "US", "20260101"),
            file(&names[2], "CT", "20100101"),
            file(&names[3], "CT", "20260101"),
        ];
        server.store("/dicom-web", &files).expect(200);
        let trial = file(&names[4], "US", "20000101");
        server
            .store("/dicom-web/partitions/trial-7", [&trial])
            .expect(200);
        // A month ago, but for one.
        let month = 31_i64 * 86_400_000_000;
        let aged =
            format!("update study set created = created - {month} where study_uid <> '1.2.3.2'");
        sql::execute(server, aged);
        let none = server.command(&["expire"]);
        assert_eq!(none.status.code(), Some(3), "{}", said(&none));
        let with = [("STOWAGE_RETENTION_RULES", rules.to_str().unwrap())];
        let before = fs::read_to_string(&audit)
            .unwrap_or_default()
            .matches("ultrasound")
            .count();
        let dry = server.command_with(&with, &["expire", "--dry-run"]);
        let text = said(&dry);
        assert!(dry.status.success(), "{text}");
        assert!(
            text.contains("1.2.3.1 of Microsoft.Default: 1 instances, by the rule ultrasound")
                && text.contains("1.2.3.3 of Microsoft.Default: 1 instances, by the rule old")
                && text.contains("5 studies judged: 2 with 2 instances would be deleted"),
            "{text}"
        );
        let stored = |server: &Server| -> Vec<bool> {
            names[..4]
                .iter()
                .map(|name| server.stored(name).is_some())
                .collect()
        };
        assert_eq!(stored(server), [true; 4]);
        // The server applies them by itself.
        server.set("STOWAGE_RETENTION_RULES", rules.to_str());
        server.terminate();
        server.wait();
        server.restart();
        wait_until("the old ones are gone", || {
            stored(server) == [false, true, false, true]
        });
        let path = format!("/dicom-web/partitions/trial-7{}", names[4].path());
        server
            .get_as(&path, "application/dicom; transfer-syntax=*")
            .expect(200);
        wait_until("it is in the audit trail", || {
            let events = fs::read_to_string(&audit).unwrap_or_default();
            events.matches("ultrasound").count() == before + 1
                && events
                    .lines()
                    .any(|line| line.contains("\"110105\"") && line.contains("1.2.3.3"))
        });
        // As every delete it can be undone; then the rule takes it again.
        let restored = server.command(&["restore", "1.2.3.1"]);
        assert!(restored.status.success(), "{}", said(&restored));
        let month_again =
            format!("update study set created = created - {month} where study_uid = '1.2.3.1'");
        sql::execute(server, month_again);
        let again = server.command_with(&with, &["expire"]);
        let text = said(&again);
        assert!(text.contains("1 with 1 instances deleted"), "{text}");
        let operation = text
            .lines()
            .find_map(|line| line.strip_prefix("operation "));
        let operation = server
            .get(&format!("/v2/operations/{}", operation.unwrap()))
            .text();
        assert!(
            operation.contains("\"expire\"") && operation.contains("\"studies\":1"),
            "{operation}"
        );
        // The statement that made them old moved no counts.
        server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        server.fsck();
    });
}

#[test]
fn rules_that_cannot_be_read_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    fs::write(&rules, r#"[{"name": "a", "deleteAfter": "30"}]"#).unwrap();
    let server = Server::start(None);
    let set = [("STOWAGE_RETENTION_RULES", rules.to_str().unwrap())];
    for command in ["serve", "expire"] {
        let refused = server.command_with(&set, &[command]);
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        assert!(
            said(&refused).contains("with its unit"),
            "{}",
            said(&refused)
        );
    }
}
