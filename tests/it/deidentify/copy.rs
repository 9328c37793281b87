//! `stowage copy --deidentify`: what comes from another server is stored de-identified, and nothing else of it is.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use stowage::dicom::parse::{ParseOptions, parse};
use stowage::dicom::testing::{BuiltFile, Syntax};

use super::pixels::{RULES, native};
use super::retrieve::image_in;
use super::{KEY, files, said, write};

use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

/// A server with two studies: CT images in several transfer syntaxes, and ultrasound images, one of them compressed.
fn source() -> (Server, Vec<Name>) {
    // The command asks it over the network.
    let server = Server::start(None);
    let names: Vec<Name> = (1..=3)
        .map(|number| Name::new(8951, 1 + number % 2, number))
        .chain((1..=3).map(|number| Name::new(8952, 1, number)))
        .collect();
    let files: Vec<BuiltFile> = vec![
        image_in(&names[0], "CT", Syntax::ExplicitLittle),
        image_in(&names[1], "CT", Syntax::ImplicitLittle),
        image_in(&names[2], "CT", Syntax::Deflated),
        native(&names[3], Syntax::ExplicitBig),
        native(&names[4], Syntax::Deflated),
    ];
    server.store("/dicom-web", &files).expect(200);
    // Compressed by another server.
    let other = Server::start(None);
    other
        .store("/dicom-web", [&native(&names[5], Syntax::ExplicitLittle)])
        .expect(200);
    let rle = "application/dicom; transfer-syntax=1.2.840.10008.1.2.5";
    let compressed = other.get_as(&format!("/dicom-web{}", names[5].path()), rle);
    server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", "application/dicom")
        .body(compressed.expect(200).body)
        .send()
        .expect(200);
    (server, names)
}

/// What the other server itself would export de-identified.
fn exported(server: &Deployment, rules: Option<&str>, options: &str) -> Vec<(String, Vec<u8>)> {
    let key = write(server, "deidentify.key", KEY);
    let mut settings = vec![("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
    settings.extend(rules.map(|rules| ("STOWAGE_DEIDENTIFY_PIXELS_FILE", rules)));
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let option = format!("--deidentify={options}");
    let arguments = [
        "export",
        option.as_str(),
        "--to",
        to,
        "1.2.3.8951",
        "1.2.3.8952",
    ];
    server.command_with(&settings, &arguments);
    files(Path::new(to))
}

/// Names that a file in a server's folder must not hold.
fn nobody_is_named(server: &Deployment, names: &[Name]) {
    for (path, bytes) in files(&server.data()) {
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!has("Doe^Jane"), "{path}");
        for name in names {
            assert!(!has(&name.instance), "{path}");
        }
    }
}

#[test]
fn what_is_copied_is_what_an_export_would_be() {
    let (source, names) = source();
    let url = format!("{}/dicom-web", source.url());
    let rules = write(&source, "pixels.json", RULES);
    let expected = exported(&source, Some(&rules), "basic");
    assert_eq!(expected.len(), 6);
    on_each_index_process(&[], |server| {
        let journal = server.data().join("../copied.txt");
        let journal = journal.to_str().unwrap();
        let key = write(server, "deidentify.key", KEY);
        let plain = [("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
        let copy = ["copy", &url, "--deidentify", "--journal", journal];
        // Nothing is known of the pixels of ultrasound.
        let some = server.command_with(&plain, &copy);
        let text = said(&some);
        assert_eq!(some.status.code(), Some(1), "{text}");
        assert!(
            text.contains("6 instances: 3 copied, 0 copied before, 3 failed, 0 differences"),
            "{text}"
        );
        assert!(
            text.contains(&format!("{}/{}: ", names[3].study, names[3].instance))
                && text.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"),
            "{text}"
        );
        let ruled = [plain[0], ("STOWAGE_DEIDENTIFY_PIXELS_FILE", rules.as_str())];
        let rest = server.command_with(&ruled, &copy);
        let text = said(&rest);
        assert!(rest.status.success(), "{text}");
        assert!(
            text.contains("6 instances: 3 copied, 3 copied before, 0 failed, 0 differences"),
            "{text}"
        );
        for (path, bytes) in &expected {
            let parsed = parse(&bytes.as_slice(), &ParseOptions::default()).unwrap();
            let name = Name {
                study: parsed.name.study.to_string(),
                series: parsed.name.series.to_string(),
                instance: parsed.name.instance.to_string(),
            };
            assert!(server.stored(&name).as_ref() == Some(bytes), "{path}");
        }
        assert!(server.fsck().contains("6 instances"));
        nobody_is_named(server, &names);
        // Without a journal the same is found to be here already; with another key it is something else.
        let again = server.command_with(&ruled, &["copy", &url, "--deidentify"]);
        let text = said(&again);
        assert!(
            again.status.success() && text.contains("6 copied, 0 copied before"),
            "{text}"
        );
        assert!(server.fsck().contains("6 instances"));
        let other = write(server, "other.key", "another key, as long as that");
        let other = [("STOWAGE_DEIDENTIFY_KEY_FILE", other.as_str()), ruled[1]];
        let text = said(&server.command_with(&other, &copy));
        assert!(
            text.contains("6 copied, 0 copied before, 0 failed"),
            "{text}"
        );
        assert!(server.fsck().contains("12 instances"));
        // What is deleted here is found to be missing, by its new UID.
        let gone = expected[0].0.split('/').next().unwrap().to_owned();
        let path = format!("/dicom-web/studies/{gone}");
        server.request("DELETE", &path).send().expect(204);
        let text = said(&server.command_with(&ruled, &copy));
        assert!(
            text.contains("it was copied, and is not here now"),
            "{text}"
        );
        assert!(text.contains(&gone), "{text}");
        nobody_is_named(server, &names);
    });
}

#[test]
fn options_let_stay_what_they_name() {
    let (source, names) = source();
    let url = format!("{}/dicom-web", source.url());
    let expected = exported(&source, None, "retain-uids,retain-modified-dates");
    let server = Server::start(None);
    let key = write(&server, "deidentify.key", KEY);
    let settings = [("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
    let option = "--deidentify=retain-uids,retain-modified-dates";
    let copy = ["copy", &url, option, "--study", &names[0].study];
    let copied = server.command_with(&settings, &copy);
    assert!(copied.status.success(), "{}", said(&copied));
    assert_eq!(expected.len(), 3);
    for name in &names[..3] {
        let path = format!("{}/{}/{}.dcm", name.study, name.series, name.instance);
        let (_, file) = expected.iter().find(|(known, _)| *known == path).unwrap();
        assert!(server.stored(name).as_ref() == Some(file), "{path}");
    }
    // Without a key, or with an option that there is not, nothing is asked for and nothing is stored.
    for (settings, option, code) in [
        (&[][..], "--deidentify", 3),
        (&settings[..], "--deidentify=names", 2),
    ] {
        let refused = server.command_with(settings, &["copy", &url, option]);
        assert_eq!(refused.status.code(), Some(code), "{}", said(&refused));
    }
}

/// Nothing that came is left anywhere when the copy is killed, wherever it was.
#[test]
fn a_copy_that_is_killed_leaves_nothing_that_came() {
    let (source, names) = source();
    let url = format!("{}/dicom-web", source.url());
    let rules = write(&source, "pixels.json", RULES);
    let server = Server::start(None);
    let key = write(&server, "deidentify.key", KEY);
    let journal = server.data().join("../copied.txt");
    let arguments = [
        "copy",
        &url,
        "--deidentify",
        "--parallel",
        "1",
        "--journal",
        journal.to_str().unwrap(),
    ];
    for fault in ["store.spooled:1", "store.spooled:2", "store.spooled:4"] {
        let settings = [
            ("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str()),
            ("STOWAGE_DEIDENTIFY_PIXELS_FILE", rules.as_str()),
            // Everything goes to the spool.
            ("STOWAGE_PART_MEMORY_BYTES", "1"),
            ("STOWAGE_FAULT", fault),
        ];
        let killed = server.command_with(&settings, &arguments);
        assert_eq!(
            killed.status.signal(),
            Some(6),
            "{fault}: {}",
            said(&killed)
        );
        nobody_is_named(&server, &names);
    }
    let settings = [
        ("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str()),
        ("STOWAGE_DEIDENTIFY_PIXELS_FILE", rules.as_str()),
    ];
    let copied = server.command_with(&settings, &arguments);
    assert!(copied.status.success(), "{}", said(&copied));
    nobody_is_named(&server, &names);
    assert!(server.fsck().contains("6 instances"));
}
