//! Whole implementations as peers, each as SCU and as SCP: Orthanc and dcmjs-dimse.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{data_set, gateway_with, stored};
use crate::support::dicom::Name;
use crate::support::http::{Request, Response};
use crate::support::proxy::free_port;
use crate::support::server::{Server, run, wait_until};
use crate::support::{node, python};

/// Orthanc of Debian, which knows the gateway as `stowage`.
struct Orthanc {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Orthanc {
    fn start(dicom: u16, gateway: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let http = free_port();
        let gateway: u16 = gateway.parse().expect("a port");
        let settings = json!({
            "Name": "peer", "StorageDirectory": folder.path(), "IndexDirectory": folder.path(), "Plugins": [],
            "HttpPort": http, "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
            "DicomAet": "ORTHANC", "DicomPort": dicom, "DicomCheckCalledAet": true, "DicomAlwaysAllowStore": true,
            "DicomModalities": { "stowage": { "AET": "STOWAGE", "Host": "127.0.0.1", "Port": gateway,
                "AllowStorageCommitment": true } },
        });
        let file = folder.path().join("orthanc.json");
        fs::write(&file, settings.to_string()).expect("written");
        // It lies where only root looks for programs.
        let paths = ["/usr/sbin/Orthanc", "/usr/bin/Orthanc"];
        let program = paths.iter().find(|path| Path::new(path).is_file());
        let program = program.expect("Orthanc is missing; tests/run installs it");
        let log = fs::File::create(folder.path().join("log")).expect("a log can be made");
        let child = Command::new(program)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Orthanc starts");
        let orthanc = Self {
            child,
            address: format!("127.0.0.1:{http}"),
            _folder: folder,
        };
        wait_until("Orthanc answers", || {
            let asked = Request::new(&orthanc.address, "GET", "/system").try_send();
            asked.is_ok_and(|answer| answer.status == 200)
        });
        orthanc
    }

    fn get(&self, target: &str) -> Value {
        Request::new(&self.address, "GET", target)
            .send()
            .expect(200)
            .json()
    }

    fn post(&self, target: &str, body: impl Into<Vec<u8>>) -> Response {
        let request = Request::new(&self.address, "POST", target);
        request.body(body).send()
    }

    fn instances(&self) -> usize {
        self.get("/instances").as_array().map_or(0, Vec::len)
    }

    fn clear(&self) {
        for study in self.get("/studies").as_array().expect("a list") {
            let target = format!("/studies/{}", study.as_str().expect("an id"));
            let request = Request::new(&self.address, "DELETE", &target);
            request.send().expect(200);
        }
        assert_eq!(self.instances(), 0);
    }
}

/// A gateway on a port that is known before, with a peer that listens.
fn gateway_for(title: &str, listen: u16) -> (tempfile::TempDir, Server, String) {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let text = format!(r#"[{{"aeTitle": "{title}", "host": "127.0.0.1", "port": {listen}}}]"#);
    fs::write(&peers, text).expect("written");
    let (server, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    (own, server, port)
}

#[test]
fn orthanc_stores_asks_moves_and_is_sent_and_asked() {
    let dicom = free_port();
    let (_own, server, port) = gateway_for("ORTHANC", dicom);
    let orthanc = Orthanc::start(dicom, &port);
    // As SCU: C-ECHO, C-STORE, storage commitment.
    orthanc.post("/modalities/stowage/echo", "{}").expect(200);
    let names = [Name::new(1, 1, 1), Name::new(1, 1, 2), Name::new(2, 1, 1)];
    let files: Vec<_> = names.iter().map(Name::small).collect();
    for file in &files {
        orthanc.post("/instances", file.bytes.clone()).expect(200);
    }
    let all = orthanc.get("/instances");
    let sent = json!({ "Resources": all, "StorageCommitment": true });
    let sent = orthanc.post("/modalities/stowage/store", sent.to_string());
    let sent = sent.expect(200).json();
    assert_eq!(sent["FailedInstancesCount"], 0, "{sent}");
    for (name, file) in names.iter().zip(&files) {
        let there = stored(&server, &name.instance).expect("it arrived");
        assert!(data_set(&there) == data_set(&file.bytes), "{name:?}");
    }
    let transaction = sent["StorageCommitmentTransactionUID"].as_str();
    let report = format!(
        "/storage-commitment/{}",
        transaction.expect("a transaction")
    );
    wait_until("the report arrives", || {
        orthanc.get(&report)["Status"] == "Success"
    });
    assert_eq!(
        orthanc.get(&report)["Success"].as_array().map(Vec::len),
        Some(3)
    );
    // C-FIND, and C-MOVE of what is found, to itself.
    let query = json!({ "Level": "Study", "Query": { "StudyInstanceUID": names[0].study, "PatientName": "" } });
    let query = orthanc.post("/modalities/stowage/query", query.to_string());
    let query = query.expect(200).json();
    let path = query["Path"].as_str().expect("a path").to_owned();
    let answers = orthanc.get(&format!("{path}/answers"));
    assert_eq!(answers.as_array().map(Vec::len), Some(1));
    orthanc.clear();
    let retrieve = json!({ "TargetAet": "ORTHANC", "Synchronous": true }).to_string();
    orthanc
        .post(&format!("{path}/retrieve"), retrieve)
        .expect(200);
    assert_eq!(orthanc.instances(), 2);
    orthanc.clear();

    // As SCP: it is sent what is stored here, and asked for it.
    let said = server.command(&["send", "ORTHANC", &names[0].study, &names[2].study]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(orthanc.instances(), 3);
    let target = format!("/dicom-web/studies/{}", names[0].study);
    server.request("DELETE", &target).send().expect(204);
    let said = server.command(&["fetch", "ORTHANC", &names[0].study]);
    assert!(said.status.success(), "{said:?}");
    let there = stored(&server, &names[1].instance).expect("it came back");
    assert!(data_set(&there) == data_set(&files[1].bytes));
}

#[test]
fn dcmjs_dimse_stores_finds_gets_and_is_sent() {
    let listen = free_port();
    let (_own, server, port) = gateway_for("DCMJS", listen);
    let mut client = node::script("dcmjs_dimse.js");
    client.args([&port, &listen.to_string()]);
    client.args(["CT_small.dcm", "MR_small_implicit.dcm"].map(python::sample));
    let printed = run(&mut client);
    assert!(printed.contains("well"), "{printed}\n{}", server.log());
}
