//! A peer that is not ours: the `DICOMweb` service of Debian's Orthanc.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{said, write_files};
use crate::support::dicom::Name;
use crate::support::http::Request;
use crate::support::proxy::free_port;
use crate::support::server::{Server, wait_until};

/// Where Debian puts its plugins.
const PLUGIN: &str = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so";

struct DicomWebOrthanc {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for DicomWebOrthanc {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl DicomWebOrthanc {
    fn start() -> Self {
        assert!(
            Path::new(PLUGIN).exists(),
            "orthanc-dicomweb is missing; tests/run installs it"
        );
        let folder = tempfile::tempdir().unwrap();
        let http = free_port();
        let settings = json!({
            "Name": "peer", "StorageDirectory": folder.path(), "IndexDirectory": folder.path(), "Plugins": [PLUGIN],
            "HttpPort": http, "RemoteAccessAllowed": false, "AuthenticationEnabled": true,
            "RegisteredUsers": { "me": "secret" }, "DicomServerEnabled": false,
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        let file = folder.path().join("orthanc.json");
        fs::write(&file, settings.to_string()).unwrap();
        let paths = ["/usr/sbin/Orthanc", "/usr/bin/Orthanc"];
        let program = paths.iter().find(|path| Path::new(path).is_file());
        let program = program.expect("Orthanc is missing; tests/run installs it");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let orthanc = Self {
            child,
            address: format!("127.0.0.1:{http}"),
            _folder: folder,
        };
        wait_until("Orthanc answers", || {
            let asked = Request::new(&orthanc.address, "GET", "/system").try_send();
            asked.is_ok_and(|answer| answer.status == 401)
        });
        orthanc
    }
}

#[test]
fn what_is_uploaded_to_orthanc_is_copied_from_it_byte_for_byte() {
    let orthanc = DicomWebOrthanc::start();
    let url = format!("http://{}/dicom-web/", orthanc.address);
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<Name> = (1..=45).map(|n| Name::new(n % 2, n % 3, n)).collect();
    let files = write_files(folder.path(), &names);
    fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    let server = Server::start(None);
    let path = folder.path().to_str().unwrap();
    let refused = server.command(&["upload", "--to", &url, path]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    let token = [("STOWAGE_REMOTE_TOKEN", "me:secret")];
    for _ in 0..2 {
        let sent = server.command_with(&token, &["upload", "--to", &url, path]);
        let text = said(&sent);
        assert!(sent.status.success(), "{text}");
        assert!(
            text.contains("45 instances arrived") && text.contains("1 files are not DICOM"),
            "{text}"
        );
    }
    let one = ["copy", &url, "--study", &names[0].study];
    let copied = server.command_with(&token, &one);
    let text = said(&copied);
    assert!(copied.status.success(), "{text}");
    assert!(
        text.contains("1 studies with 23 instances: 23 copied"),
        "{text}"
    );
    let copied = server.command_with(&token, &["copy", &url]);
    let text = said(&copied);
    assert!(copied.status.success(), "{text}");
    assert!(
        text.contains(
            "2 studies with 45 instances: 45 copied, 0 copied before, 0 failed, 0 differences"
        ),
        "{text}"
    );
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
    server.fsck();
}
