//! No silence: what was not done, not found or not understood is said, with an exit code that says so too.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use clap::CommandFactory;
use stowage::config::Cli;

use crate::support::postgres;
use crate::support::prelude::*;

fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn commands_in_a_mistyped_folder_find_no_archive_and_make_none() {
    let server = Server::start(None);
    server
        .store("/v2", [&Name::new(760, 1, 1).small()])
        .expect(200);
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("dtaa");
    let to = folder.path().join("to");
    for arguments in [
        &["fsck"][..],
        &["fsck", "--repair"],
        &["reindex"],
        &["move-index", "--to", "sqlite:///tmp/none.sqlite"],
        &["export", "--to", to.to_str().unwrap(), "1.2.3"],
    ] {
        let output =
            server.command_with(&[("STOWAGE_DATA_DIR", wrong.to_str().unwrap())], arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("there is no archive in"), "{said}");
        assert!(said.contains(wrong.to_str().unwrap()), "{said}");
        assert!(!wrong.exists(), "{arguments:?} made a folder");
    }
    // Relative folders are told whole.
    let relative = server.command_with(&[("STOWAGE_DATA_DIR", "./elsewhere")], &["fsck"]);
    let here = server.data().parent().unwrap().join("elsewhere");
    assert!(
        said(&relative).contains(here.to_str().unwrap()),
        "{}",
        said(&relative)
    );
    // A folder with blobs and without an index: only `reindex` can work there.
    let blobs = server.data().join("blobs");
    let lost = folder.path().join("lost");
    fs::create_dir(&lost).unwrap();
    symlink(blobs, lost.join("blobs")).unwrap();
    let settings = [("STOWAGE_DATA_DIR", lost.to_str().unwrap())];
    assert_eq!(
        server.command_with(&settings, &["fsck"]).status.code(),
        Some(3)
    );
    let done = server.command_with(&settings, &["reindex"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    // What works says where.
    let data = server.data();
    let study = Name::new(760, 1, 1).study;
    for arguments in [
        &["fsck"][..],
        &["reindex"],
        &["export", "--to", to.to_str().unwrap(), &study],
    ] {
        let reported = said(&server.command(arguments));
        assert!(
            reported.contains(&format!("archive in {}", data.display())),
            "{reported}"
        );
    }
    assert!(
        server.log().contains(data.to_str().unwrap()),
        "{}",
        server.log()
    );
}

#[test]
fn an_import_names_what_it_could_not_enter_and_follows_links_once() {
    let server = Server::start(None);
    let names: Vec<Name> = (1..=4).map(|n| Name::new(761, 1, n)).collect();
    let (folder, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("one"), names[0].small().bytes).unwrap();
    fs::write(at("sub/two"), names[1].small().bytes).unwrap();
    fs::write(away.path().join("three"), names[2].small().bytes).unwrap();
    symlink(away.path(), at("linked")).unwrap();
    symlink(away.path(), at("sub/linked-again")).unwrap();
    symlink(folder.path(), at("sub/loop")).unwrap();
    let root = folder.path().to_str().unwrap();
    let whole = server.command(&["import", root]);
    let text = said(&whole);
    assert_eq!(whole.status.code(), Some(0), "{text}");
    assert!(
        text.contains("3 instances stored or found identical, 0 files refused"),
        "{text}"
    );
    // A link that leads nowhere, a pipe, and a file in a folder that is none for us.
    symlink("/nowhere/at/all", at("broken")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe"))
        .status();
    assert!(made.unwrap().success());
    let list = away.path().join("refused.txt");
    let arguments = ["import", "--refused", list.to_str().unwrap(), root];
    let part = server.command(&arguments);
    let text = said(&part);
    assert_eq!(part.status.code(), Some(1), "{text}");
    assert!(
        text.contains("2 folders, links or other things could not be entered"),
        "{text}"
    );
    let list = fs::read_to_string(list).unwrap();
    for left in ["broken", "pipe"] {
        let path = at(left);
        assert!(text.contains(path.to_str().unwrap()), "{left}: {text}");
        assert!(list.contains(path.to_str().unwrap()), "{left}: {list}");
    }
    for name in &names[..3] {
        assert!(server.stored(name).is_some());
    }
    let none = server.command(&["import", root, "/no/such/path"]);
    assert_eq!(none.status.code(), Some(3));
    assert!(said(&none).contains("/no/such/path"), "{}", said(&none));
}

#[test]
fn a_folder_that_may_not_be_entered_is_named() {
    // Root enters everything.
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&closed, permissions).unwrap();
    let server = Server::start(None);
    let reported = server.command(&["import", folder.path().to_str().unwrap()]);
    let code = if is_root { 0 } else { 1 };
    assert_eq!(reported.status.code(), Some(code), "{}", said(&reported));
    assert_eq!(
        said(&reported).contains("closed: cannot be entered"),
        !is_root
    );
}

#[test]
fn a_mistyped_setting_is_told_with_the_one_that_was_meant() {
    let server = Server::with(&[
        ("STOWAGE_DATADIR", "/big"),
        ("STOWAGE_NO_SUCH_THING", "hush"),
    ]);
    let log = server.log();
    assert!(log.contains("STOWAGE_DATADIR is no setting"), "{log}");
    assert!(log.contains("did you mean STOWAGE_DATA_DIR?"), "{log}");
    assert!(log.contains("STOWAGE_NO_SUCH_THING is no setting"), "{log}");
    assert!(!log.contains("hush"), "{log}");
    let fsck = server.command(&["fsck"]);
    assert!(said(&fsck).contains("did you mean STOWAGE_DATA_DIR?"));
    let clean = Server::with(&[
        ("STOWAGE_SERVICE_HOST", "10.0.0.1"),
        ("STOWAGE_PORT", "tcp://x"),
    ]);
    assert!(!clean.log().contains("no setting"), "{}", clean.log());
}

#[test]
fn every_size_and_time_takes_units_and_says_so_when_it_is_wrong() {
    let program = Cli::command();
    let mut looked = 0;
    for argument in program.get_arguments() {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        let (good, bad) = match variable.rsplit('_').next() {
            Some("BYTES") => ("256MiB", "64XB"),
            Some("SECOND") => ("256MiB", "3d"),
            Some("SECONDS" | "HOURS") => ("3d", "3 fortnights"),
            _ => continue,
        };
        looked += 1;
        let flag = format!("--{}", argument.get_long().unwrap());
        let parsed = |value: &str| Cli::command().try_get_matches_from(["stowage", &flag, value]);
        assert!(parsed(good).is_ok(), "{variable}={good}");
        assert!(
            parsed("100000000").is_ok(),
            "{variable}: plain numbers keep their meaning"
        );
        let error = parsed(bad).unwrap_err().to_string();
        assert!(error.contains("with a unit"), "{variable}={bad}: {error}");
        assert!(error.contains(&flag), "{error}");
    }
    assert!(looked > 20, "{looked}");
    let server = Server::with(&[
        ("STOWAGE_MAX_INSTANCE_BYTES", "1k"),
        ("STOWAGE_IDLE_SECONDS", "1m"),
        ("STOWAGE_TRASH_HOURS", "3d"),
    ]);
    let large = Name::new(762, 1, 1).with_bulk(5000);
    let refused = server.store("/v2", [&large]);
    assert!(refused.status >= 400, "{}", refused.status);
    let wrong = server.command_with(&[("STOWAGE_SPOOL_BYTES", "many")], &["fsck"]);
    assert_eq!(wrong.status.code(), Some(2));
    let reported = said(&wrong);
    assert!(
        reported.contains("spool-bytes") && reported.contains("64MiB"),
        "{reported}"
    );
}

#[test]
fn an_error_of_the_start_is_told_once() {
    let server = Server::start(None);
    for (settings, part) in [
        (
            &[(
                "STOWAGE_DATABASE_URL",
                "sqlite:///no/such/folder/index.sqlite",
            )][..],
            "index.sqlite",
        ),
        (&[("STOWAGE_BLOB_URL", "ftp://x")], "its scheme must be"),
        (&[("STOWAGE_JWT_SECRET", "short")], "32 bytes"),
        (&[("STOWAGE_JWT_SECRET_FILE", "/none")], "No such file"),
        (&[("STOWAGE_AUDIT", "/no/where/audit")], "No such file"),
        (&[("STOWAGE_LOG", "a=b=c")], "STOWAGE_LOG"),
        (
            &[
                ("STOWAGE_TLS_CERT_FILE", "/none"),
                ("STOWAGE_TLS_KEY_FILE", "/none"),
            ],
            "No such file",
        ),
    ] {
        let output = server.command_with(settings, &[]);
        let reported = said(&output);
        assert_eq!(output.status.code(), Some(3), "{reported}");
        let times = reported.matches(part).count();
        assert_eq!(times, 1, "{part} in {reported}");
    }
}

#[test]
fn a_refusal_says_which_right_and_which_methods_there_are() {
    let server = TestApp::with(&[("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef")]);
    let token = server.command(&["token", "--roles", "reader"]);
    let token = format!("Bearer {}", String::from_utf8_lossy(&token.stdout).trim());
    let ask = |method: &str, target: &str| {
        let request = server.request(method, target);
        request.header("Authorization", &token).send()
    };
    for root in ["/dicom-web", "/v2"] {
        for (method, path, right) in [
            ("DELETE", "/studies/1.2", "'delete'"),
            ("POST", "/studies", "'write'"),
            ("POST", "/extendedquerytags", "'manageExtendedQueryTags'"),
        ] {
            let answer = ask(method, &format!("{root}{path}")).expect(403);
            assert!(answer.text().contains(right), "{}", answer.text());
        }
        for (method, path, methods) in [
            ("PATCH", "/studies", "POST, PUT, GET, HEAD"),
            ("PATCH", "/studies/1.2", "POST, PUT, GET, HEAD, DELETE"),
            ("DELETE", "/changefeed", "GET, HEAD"),
            ("POST", "/api.json", "GET, HEAD"),
        ] {
            let answer = ask(method, &format!("{root}{path}")).expect(405);
            assert_eq!(answer.header("allow"), Some(methods), "{method} {path}");
            assert!(answer.text().contains(methods), "{}", answer.text());
        }
    }
}

#[test]
fn a_failed_greeting_is_counted_and_told_now_and_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(path("cert"), made.cert.pem()).unwrap();
    fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let server = Server::with(&[
        ("STOWAGE_TLS_CERT_FILE", &path("cert")),
        ("STOWAGE_TLS_KEY_FILE", &path("key")),
        ("STOWAGE_METRICS", "open"),
    ]);
    for _ in 0..20 {
        // Plain HTTP where TLS is spoken.
        let _ = server.request("GET", "/").try_send();
    }
    let log = || server.log().matches("a TLS handshake failed").count();
    wait_until("it is told", || log() > 0);
    let metrics = std::process::Command::new("curl")
        .args(["--silent", "--insecure"])
        .arg(format!("https://{}/metrics", server.address()))
        .output()
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("stowage_tls_handshakes_total{outcome=\"failed\"} "))
        .unwrap_or_else(|| panic!("{metrics}"));
    assert_eq!(count, "20");
    assert!(log() < 10, "not each of them: {}", server.log());
}

#[test]
fn only_a_server_makes_an_archive_of_an_empty_database() {
    let server = Server::start(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let Some(url) = runtime.block_on(postgres::empty_database()) else {
        return;
    };
    let settings = [("STOWAGE_DATABASE_URL", url.as_str())];
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    // Twice: the first one has made nothing.
    for arguments in [&["fsck"][..], &["export", "--to", to, "1.2.3"], &["fsck"]] {
        let output = server.command_with(&settings, arguments);
        let reported = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{reported}");
        assert!(reported.contains("STOWAGE_DATABASE_URL"), "{reported}");
    }
}
