//! C-GET and C-MOVE: dcmtk and pynetdicom are sent what is stored.

use std::fs;
use std::path::Path;
use std::process::Command;

use stowage::dicom::testing::BuiltFile;

use super::{
    data_set, dcmtk, folder, gateway, gateway_with, instance_of, outcome, samples, stored,
};
use crate::support::dicom::Name;
use crate::support::proxy::free_port;
use crate::support::python;
use crate::support::server::{Server, run};

/// Files of a folder, by name.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file"))
        .collect()
}

fn out(server: &Server) -> std::path::PathBuf {
    let out = folder(server).join("out");
    drop(fs::remove_dir_all(&out));
    fs::create_dir(&out).expect("a folder");
    out
}

/// Two studies, of three instances and one.
fn fill(server: &Server) -> Vec<BuiltFile> {
    let names = [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 1, 1)];
    let files = names.map(|(study, series, instance)| Name::new(study, series, instance).small());
    server.store("/dicom-web", &files).expect(200);
    files.to_vec()
}

fn same(received: &[Vec<u8>], wanted: &[BuiltFile]) {
    let sets = |all: &[&[u8]]| {
        let mut all: Vec<Vec<u8>> = all.iter().map(|file| data_set(file).to_vec()).collect();
        all.sort();
        all
    };
    let received: Vec<&[u8]> = received.iter().map(Vec::as_slice).collect();
    let wanted: Vec<&[u8]> = wanted.iter().map(|file| file.bytes.as_slice()).collect();
    assert!(sets(&received) == sets(&wanted));
}

#[test]
fn pynetdicom_gets_back_what_it_stored_byte_for_byte_in_every_syntax() {
    let (server, port) = gateway();
    let files = samples(&folder(&server));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pynetdicom_retrieve.py");
    let mut client = Command::new(python::interpreter());
    let printed = run(client.arg(script).arg(&port).args(&files));
    assert!(printed.contains("well"), "{printed}");
    for file in &files {
        let there = stored(&server, &instance_of(file)).expect("it is stored");
        let bytes = fs::read(file).expect("a sample");
        assert!(data_set(&there) == data_set(&bytes), "{}", file.display());
    }
}

#[test]
fn dcmtk_gets_a_study_a_series_or_an_instance() {
    let (server, port) = gateway();
    let stored = fill(&server);
    for (keys, wanted) in [
        (
            &["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.1"][..],
            &stored[..3],
        ),
        (
            &[
                "QueryRetrieveLevel=STUDY",
                "StudyInstanceUID=1.2.3.1\\1.2.3.2",
            ],
            &stored[..],
        ),
        (
            &[
                "QueryRetrieveLevel=SERIES",
                "StudyInstanceUID=1.2.3.1",
                "SeriesInstanceUID=1.2.3.1.2",
            ],
            &stored[2..3],
        ),
        (
            &["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3.9"],
            &[],
        ),
    ] {
        let out = out(&server);
        let mut get = dcmtk("getscu");
        get.args(["-v", "-aec", "STOWAGE", "-S", "+B", "-od"])
            .arg(&out);
        get.args(keys.iter().flat_map(|key| ["-k", key]));
        let (well, printed) = outcome(get.args(["127.0.0.1", &port]));
        assert!(well, "{printed}");
        same(&files(&out), wanted);
    }
}

#[test]
fn instances_are_moved_to_peers_of_the_file_and_nowhere_else() {
    let own = tempfile::tempdir().expect("a folder");
    let (peers, audit) = (own.path().join("peers.json"), own.path().join("audit"));
    let destination = free_port();
    let text = format!(
        r#"[{{"aeTitle": "DEST", "host": "127.0.0.1", "port": {destination}}},
            {{"aeTitle": "AWAY", "host": "127.0.0.1", "port": 1}}, {{"aeTitle": "MOVESCU", "patients": ["nobody"], "studies": ["1.2.3.1"]}}]"#
    );
    fs::write(&peers, text).expect("written");
    let (server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text")),
        ("STOWAGE_AUDIT", audit.to_str().expect("a text")),
    ]);
    let stored = fill(&server);
    let moved = |to: &str, study: &str| {
        let out = out(&server);
        let mut retrieve = dcmtk("movescu");
        retrieve.args([
            "-v",
            "-aec",
            "STOWAGE",
            "-S",
            "+B",
            "-aem",
            to,
            "+P",
            &destination.to_string(),
        ]);
        // Where it keeps bits as they come, it does not heed `-od`.
        retrieve.current_dir(&out);
        retrieve.args(["-k", "QueryRetrieveLevel=STUDY", "-k"]);
        retrieve.arg(format!("StudyInstanceUID={study}"));
        let (_, printed) = outcome(retrieve.args(["127.0.0.1", &port]));
        (files(&out), printed)
    };
    let (received, printed) = moved("DEST", "1.2.3.1");
    assert_eq!(received.len(), 3, "{printed}");
    same(&received, &stored[..3]);
    // What the requestor may not see is not there.
    let (received, _) = moved("DEST", "1.2.3.2");
    assert!(received.is_empty());
    let (received, printed) = moved("ELSEWHERE", "1.2.3.1");
    assert!(
        received.is_empty() && printed.to_lowercase().contains("destination"),
        "{printed}"
    );
    let (received, printed) = moved("AWAY", "1.2.3.1");
    let none = ["0xa702", "OutOfResourcesSubOperations"];
    let refused = none.iter().any(|word| printed.contains(word));
    assert!(received.is_empty() && refused, "{printed}");
    let events = fs::read_to_string(&audit).expect("the audit");
    let of = |line: &&str| line.contains("\"DEST\"") && line.contains("urn:oid:1.2.3.1\"");
    assert!(events.lines().any(|line| of(&line)), "{events}");
}

#[test]
fn a_peer_that_takes_no_compression_is_sent_decoded_pictures() {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let destination = free_port();
    let text = format!(
        r#"[{{"aeTitle": "DEST", "host": "127.0.0.1", "port": {destination}}}, {{"aeTitle": "MOVESCU"}}, {{"aeTitle": "DCMSEND"}}]"#
    );
    fs::write(&peers, text).expect("written");
    let (server, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    let compressed = python::sample("MR_small_RLE.dcm");
    let mut send = dcmtk("dcmsend");
    send.args(["-aec", "STOWAGE", "--decompress-never", "127.0.0.1", &port]);
    let (well, printed) = outcome(send.arg(&compressed));
    assert!(well, "{printed}");
    let study = server.get("/dicom-web/studies").expect(200).json();
    let study = study[0]["0020000D"]["Value"][0]
        .as_str()
        .expect("a UID")
        .to_owned();
    let out = out(&server);
    let mut retrieve = dcmtk("movescu");
    retrieve.args([
        "-v",
        "-aec",
        "STOWAGE",
        "-S",
        "-aem",
        "DEST",
        "+P",
        &destination.to_string(),
        "-od",
    ]);
    retrieve
        .arg(&out)
        .args(["-k", "QueryRetrieveLevel=STUDY", "-k"]);
    retrieve.arg(format!("StudyInstanceUID={study}"));
    let (_, printed) = outcome(retrieve.args(["127.0.0.1", &port]));
    let received = files(&out);
    assert_eq!(received.len(), 1, "{printed}");
    let plain = fs::read(python::sample("MR_small_implicit.dcm")).expect("a sample");
    // The same picture as in the uncompressed sample: its last bytes are pixels.
    let pixels = &plain[plain.len() - 4096..];
    assert!(
        received[0]
            .windows(pixels.len())
            .any(|window| window == pixels)
    );
}

#[test]
fn a_peer_that_takes_implicit_vr_only_is_sent_it() {
    let (server, port) = gateway();
    let samples = ["CT_small.dcm", "reportsi.dcm", "MR_small_RLE.dcm"].map(python::sample);
    let mut send = dcmtk("dcmsend");
    send.args(["-aec", "STOWAGE", "--decompress-never", "127.0.0.1", &port]);
    let (well, printed) = outcome(send.args(&samples));
    assert!(well, "{printed}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pynetdicom_implicit.py");
    let mut client = Command::new(python::interpreter());
    let printed = run(client.arg(script).arg(&port).args(&samples));
    assert_eq!(printed.trim(), "3 the same", "{}", server.log());
}
