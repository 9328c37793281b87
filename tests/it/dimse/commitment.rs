//! Storage commitment.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::gateway_with;
use crate::support::proxy::free_port;
use crate::support::python;
use crate::support::server::{Server, run};

/// A server that knows MODALITY, which may only store, and how a client is started there.
fn modality() -> (tempfile::TempDir, Server, impl Fn(&[&str]) -> String) {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let listen = free_port().to_string();
    let text = format!(
        r#"[{{"aeTitle": "MODALITY", "host": "127.0.0.1", "port": {listen}, "rights": ["write"]}}]"#
    );
    fs::write(&peers, text).expect("written");
    let audit = own.path().join("audit");
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text")),
        ("STOWAGE_AUDIT", audit.to_str().expect("a text")),
    ]);
    let client = move |arguments: &[&str]| {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pynetdicom_commitment.py");
        let mut client = Command::new(python::interpreter());
        client.arg(script).args([&port, &listen]);
        client.arg(python::sample("CT_small.dcm"));
        run(client.args(arguments)).trim().to_owned()
    };
    (own, server, client)
}

#[test]
fn what_is_safe_is_reported_on_the_association_or_on_one_to_the_requestor() {
    let (own, _server, client) = modality();
    assert_eq!(client(&[]), "well");
    let events = fs::read_to_string(own.path().join("audit")).expect("the audit");
    let asked = |line: &&str| line.contains("N-ACTION") && line.contains("MODALITY");
    assert!(events.lines().filter(asked).count() > 0, "{events}");
}

#[test]
fn a_request_that_was_taken_is_reported_after_a_kill_and_as_the_bytes_are_then() {
    let (_own, mut server, client) = modality();
    let transaction = client(&["ask"]);
    server.kill();
    server.wait();
    for path in server.blob_files() {
        let mut bytes = fs::read(&path).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("the blob can be written");
    }
    server.restart();
    assert_eq!(client(&["hear", &transaction]), "2 0110");
}
