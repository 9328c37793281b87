//! The service in the process of the tests is the one of the binary: it answers the same, and is gone when it is dropped.

use std::collections::BTreeMap;
use std::fs;

use stowage::config::Config;

use crate::support::prelude::*;

/// What tells of the moment or of the connection.
const OWN: [&str; 6] = [
    "connection",
    "date",
    "last-modified",
    "transfer-encoding",
    "traceparent",
    "x-request-id",
];

/// Method, target and headers of a request.
type Asked<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn it_answers_as_the_binary_does() {
    let settings = [("STOWAGE_PUBLIC_URL", "https://pacs.example")];
    let (app, process) = (TestApp::with(&settings), Server::with(&settings));
    let name = Name::new(1, 1, 1);
    let instance = format!("/dicom-web{}", name.path());
    let search = "/v2/studies?StudyInstanceUID=1.2.3.1";
    let requests: [Asked<'_>; 14] = [
        ("GET", "/health/check", &[]),
        ("GET", search, &[("Accept", "application/dicom+json")]),
        ("HEAD", search, &[("Accept", "application/dicom+json")]),
        ("GET", search, &[("Accept-Encoding", "gzip")]),
        ("GET", search, &[("Origin", "https://viewer.example")]),
        ("OPTIONS", "/v2/studies", &[]),
        ("GET", "/v2/studies?PatientName=M%C3%BCller", &[]),
        ("GET", "/v2/studies?limit=-1", &[]),
        ("GET", "/DICOM-web/Studies/", &[]),
        ("GET", "/nowhere", &[]),
        ("PATCH", "/v2/studies", &[]),
        ("POST", "/v2/studies", &[("Content-Type", "text/plain")]),
        ("GET", &format!("{instance}/metadata"), &[]),
        (
            "GET",
            &format!("{instance}/frames/1"),
            &[("Range", "bytes=0-1")],
        ),
    ];
    let answers = [&*app, &*process].map(|server| {
        server.store("/v2", &[name.small()]).expect(200);
        requests
            .map(|(method, target, headers)| {
                let mut request = server.request(method, target);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let answer = request.send();
                let headers: BTreeMap<String, String> = answer
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                    .filter(|(name, _)| !OWN.contains(&name.as_str()))
                    .collect();
                (method, target, answer.status, headers, answer.text())
            })
            .to_vec()
    });
    let [here, there] = answers;
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(here, there);
    }
}

#[test]
fn nothing_is_left_of_one_that_was_dropped() {
    on_each_index(|server| {
        server.store("/v2", &[Name::new(1, 1, 1).small()]);
        let data = server.data();
        let is_open = || {
            let open = fs::read_dir("/proc/self/fd").expect("this process has files");
            open.flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|file| file.starts_with(&data))
        };
        let own_index = server.setting("STOWAGE_DATABASE_URL").is_none();
        assert!(is_open() || !own_index, "its index is open");
        server.stop();
        // Whatever works with the stores holds the pool of the index.
        wait_until("its files are closed", || !is_open());
    });
}

#[test]
fn settings_are_read_by_the_parser_of_the_binary() {
    let read = |pairs: &[(&'static str, &'static str)]| {
        Config::of_variables(pairs.iter().copied()).map_err(|error| error.to_string())
    };
    let pairs = [
        ("STOWAGE_LISTEN", "127.0.0.1:1"),
        ("STOWAGE_TRASH_HOURS", "2d"),
    ];
    let config = read(&pairs).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.storage.trash_hours.to_string(), "48");
    let wrong = read(&[("STOWAGE_LISTEN", "here")]).unwrap_err();
    assert!(wrong.contains("--listen"), "{wrong}");
    let unknown = read(&[("STOWAGE_LITSEN", "127.0.0.1:1")]).unwrap_err();
    assert!(
        unknown.contains("STOWAGE_LITSEN is no setting"),
        "{unknown}"
    );
}
