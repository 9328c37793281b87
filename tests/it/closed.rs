//! Decisions of `docs/security.md` that are settings or defaults: proxies, files of others, permissions, secrets, preambles.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::prelude::*;

#[test]
fn a_client_cannot_say_who_it_is_in_a_header_that_the_proxy_does_not_write() {
    for (setting, expected) in [
        (None, "203.0.113.7"),
        (Some("x-forwarded-for,x-forwarded-proto"), "203.0.113.7"),
        (Some("forwarded"), "9.9.9.9"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let mut settings = vec![
            ("STOWAGE_AUDIT", file.to_str().unwrap()),
            ("STOWAGE_TRUSTED_PROXIES", "127.0.0.1"),
        ];
        settings.extend(setting.map(|setting| ("STOWAGE_PROXY_HEADERS", setting)));
        let server = TestApp::with(&settings);
        server
            .store("/v2", [&Name::new(770, 1, 1).small()])
            .expect(200);
        let answer = server
            .request("GET", "/dicom-web/studies")
            .header("Forwarded", "for=9.9.9.9;host=evil.example;proto=https")
            .header("X-Forwarded-For", "203.0.113.7")
            .header("X-Forwarded-Proto", "https")
            .accept("*/*")
            .send()
            .expect(200);
        assert_eq!(
            answer.text().contains("evil.example"),
            setting == Some("forwarded")
        );
        let mut addresses = Vec::new();
        wait_until("both are written down", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let events = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            addresses = events
                .map(|event| {
                    event["agent"][0]["network"]["address"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                })
                .collect();
            addresses.len() == 2
        });
        assert_eq!(addresses[1], expected, "{setting:?}");
    }
    let server = TestApp::start(None);
    let wrong = server.command_with(&[("STOWAGE_PROXY_HEADERS", "x-real-ip")], &[]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        wrong.status.code() == Some(3) && said.contains("x-forwarded-for"),
        "{said}"
    );
}

#[test]
fn the_proxy_we_ship_hands_on_no_header_that_it_does_not_write() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let text = fs::read_to_string(path).unwrap();
    let block = text.split("proxy_pass http://stowage;").nth(1).unwrap();
    let block = block.split('}').next().unwrap();
    for header in [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
    ] {
        let set = format!("proxy_set_header {header} ");
        assert_eq!(block.matches(&set).count(), 1, "{header}");
    }
}

#[test]
fn an_export_follows_no_link_and_waits_for_no_pipe() {
    let server = TestApp::start(None);
    let names: Vec<Name> = (1..=2).map(|n| Name::new(771, 1, n)).collect();
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/v2", &files).expect(200);
    let study = names[0].study.clone();
    let victim = tempfile::NamedTempFile::new().unwrap();
    fs::write(victim.path(), "precious").unwrap();
    let untouched = || assert_eq!(fs::read(victim.path()).unwrap(), b"precious");
    let export = |folder: &Path| {
        let to = folder.to_str().unwrap();
        server.command(&["export", "--to", to, &study])
    };
    // Links and a pipe where files will be: they are replaced, and what they lead to stays.
    let folder = tempfile::tempdir().unwrap();
    let series = folder.path().join(&study).join(&names[0].series);
    fs::create_dir_all(&series).unwrap();
    let file = |name: &Name, end: &str| series.join(format!("{}.dcm{end}", name.instance));
    symlink(victim.path(), file(&names[0], "")).unwrap();
    symlink(victim.path(), file(&names[0], ".part")).unwrap();
    let piped = [file(&names[1], ""), file(&names[1], ".part")];
    for pipe in &piped {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let done = export(folder.path());
    assert!(done.status.success(), "{done:?}");
    for (name, built) in names.iter().zip(&files) {
        assert!(fs::symlink_metadata(file(name, "")).unwrap().is_file());
        assert!(fs::read(file(name, "")).unwrap() == built.bytes);
    }
    assert_eq!(fs::read_dir(&series).unwrap().count(), 2);
    untouched();
    // A folder that is a link leads elsewhere: refused.
    let (elsewhere, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), folder.path().join(&study)).unwrap();
    let refused = export(folder.path());
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // The folder that was named may be a link: that is the wish of who typed it.
    let link = folder.path().join("link");
    symlink(elsewhere.path(), &link).unwrap();
    assert!(export(&link).status.success());
    assert!(elsewhere.path().join(&study).is_dir());
}

#[test]
fn what_is_stored_is_not_for_others_on_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let server = Server::with(&[("STOWAGE_AUDIT", audit.to_str().unwrap())]);
    server
        .store("/v2", [&Name::new(772, 1, 1).small()])
        .expect(200);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.data()), 0o700);
    let mut files = server.blob_files();
    files.extend([server.data().join("index.sqlite"), audit]);
    assert!(files.len() >= 3);
    for file in files {
        assert_eq!(
            mode(&file) & 0o027,
            0,
            "{}: {:o}",
            file.display(),
            mode(&file)
        );
    }
}

#[test]
fn a_secret_on_the_command_line_is_told() {
    let server = TestApp::start(None);
    let hush = "hush-hush-hush-hush-hush-hush-hush-hush";
    let url = format!("postgres://stowage:{hush}@127.0.0.1:1/stowage");
    for (arguments, flag) in [
        (&["token", "--jwt-secret", hush][..], "--jwt-secret"),
        (&["--jwt-secret", hush, "token"], "--jwt-secret"),
        (&["move-index", "--to", &url], "--to"),
        (
            &[
                "fsck",
                "--database-url",
                &url,
                "--database-connections",
                "1",
            ],
            "--database-url",
        ),
    ] {
        let output = server.command(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(&format!("{flag} holds a secret")),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains(hush), "{said}");
    }
    let quiet = server.command_with(&[("STOWAGE_JWT_SECRET", hush)], &["token"]);
    let said = String::from_utf8_lossy(&quiet.stderr).into_owned();
    assert!(
        quiet.status.success() && !said.contains("holds a secret"),
        "{said}"
    );
    let help = server.command(&["--help"]);
    assert!(!String::from_utf8_lossy(&help.stdout).contains("--jwt-secret "));
}

#[test]
fn a_preamble_can_be_refused_and_is_kept_by_default() {
    let name = Name::new(773, 1, 1);
    let with = |preamble: &[u8]| {
        let mut file = name.small();
        file.bytes[..preamble.len()].copy_from_slice(preamble);
        file
    };
    let (program, tiff) = (with(b"MZ\x90\x00"), with(b"II*\0\x08"));
    let server = TestApp::start(None);
    server.store("/dicom-web", [&program]).expect(200);
    assert!(server.stored(&name) == Some(program.bytes.clone()));
    let plain = TestApp::with(&[("STOWAGE_PREAMBLES", "plain")]);
    for root in ["/dicom-web", "/v2"] {
        let refused = plain.store(root, [&program]);
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(plain.stored(&name).is_none());
    }
    plain.store("/dicom-web", [&tiff]).expect(200);
    assert!(plain.stored(&name) == Some(tiff.bytes));
    // What was stored before the setting is read as ever, and given its row again.
    let data = server.data();
    let settings = [
        ("STOWAGE_DATA_DIR", data.to_str().unwrap()),
        ("STOWAGE_PREAMBLES", "plain"),
    ];
    let again = server.command_with(&settings, &["reindex"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
}

#[test]
fn a_uid_has_a_digit_between_two_dots() {
    let server = TestApp::start(None);
    for path in [
        "/studies/1..2",
        "/studies/1.2/series/3...4",
        "/studies/1.2/series/3/instances/4..5/metadata",
    ] {
        for root in ["/dicom-web", "/v2"] {
            let answer = server.get(&format!("{root}{path}")).expect(400);
            assert!(answer.text().contains("two dots"), "{}", answer.text());
        }
    }
    server.get("/v2/studies/1.02.3").expect(404);
    let mut name = Name::new(774, 1, 1);
    name.instance = "1.2..774".to_owned();
    let refused = server.store("/dicom-web", [&name.small()]);
    assert_eq!(refused.status, 409, "{}", refused.text());
    let found = server.get("/dicom-web/studies").json();
    assert_eq!(found.as_array().map(Vec::len), Some(0));
}
