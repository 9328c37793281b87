//! `stowage echo`, `send` and `fetch`.

use std::fs;
use std::process::Output;

use super::{
    data_set, dcmtk, folder, gateway_with, instance_of, outcome, port, samples, stored, write,
};
use crate::support::dicom::Name;
use crate::support::proxy::free_port;
use crate::support::server::{Server, wait_until};

fn said(output: &Output) -> (Option<i32>, String) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Two servers that know each other, by the titles OLD and NEW.
fn two() -> (tempfile::TempDir, Server, Server) {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let (old, new) = (free_port(), free_port());
    let text = format!(
        r#"[{{"aeTitle": "OLD", "host": "127.0.0.1", "port": {old}}}, {{"aeTitle": "NEW", "host": "127.0.0.1", "port": {new}}},
            {{"aeTitle": "AWAY", "host": "127.0.0.1", "port": 1}}]"#
    );
    fs::write(&peers, text).expect("written");
    let peers = peers.to_str().expect("a text");
    let start = |title, port: u16| {
        let listen = format!("127.0.0.1:{port}");
        gateway_with(&[
            ("STOWAGE_DIMSE_PEERS", peers),
            ("STOWAGE_DIMSE_AE_TITLE", title),
            ("STOWAGE_DIMSE_LISTEN", &listen),
        ])
        .0
    };
    let (old, new) = (start("OLD", old), start("NEW", new));
    (own, old, new)
}

#[test]
fn what_is_sent_and_fetched_arrives_and_a_journal_goes_on() {
    let (_own, old, new) = two();
    assert_ne!(port(&old), port(&new));
    assert_eq!(said(&new.command(&["echo", "OLD"])).0, Some(0));
    let (code, text) = said(&new.command(&["echo", "AWAY"]));
    assert!(
        code == Some(1) && text.contains("cannot be reached"),
        "{text}"
    );
    let (code, text) = said(&new.command(&["echo", "NOBODY"]));
    assert!(
        code == Some(3) && text.contains("NOBODY has no entry"),
        "{text}"
    );
    // Files and folders.
    let names = [Name::new(1, 1, 1), Name::new(1, 1, 2), Name::new(2, 1, 1)];
    let files: Vec<_> = names.iter().map(Name::small).collect();
    let inbox = folder(&new).join("inbox");
    fs::create_dir(&inbox).expect("a folder");
    for (number, file) in files.iter().enumerate() {
        fs::write(inbox.join(number.to_string()), &file.bytes).expect("written");
    }
    write(&new, "inbox/note.txt", b"no DICOM file");
    let (code, text) = said(&new.command(&["send", "OLD", "inbox", "--journal", "sent"]));
    assert!(
        code == Some(1) && text.contains("3 sent, 1 failed"),
        "{text}"
    );
    assert!(text.contains("note.txt: is no DICOM file"), "{text}");
    let (_, text) = said(&new.command(&["send", "OLD", "inbox", "--journal", "sent"]));
    assert!(text.contains("0 sent, 1 failed"), "{text}");
    for (name, file) in names.iter().zip(&files) {
        let there = stored(&old, &name.instance).expect("it arrived");
        assert!(data_set(&there) == data_set(&file.bytes));
    }
    // By keys, and again; then what is stored by its UID.
    let fetch = [
        "fetch",
        "OLD",
        "StudyInstanceUID=1.2.3.1",
        "--journal",
        "fetched",
    ];
    let (code, text) = said(&new.command(&fetch));
    assert!(
        code == Some(0) && text.contains("1 studies fetched, 0 failed"),
        "{text}"
    );
    let (_, id) = text.split_once("operation ").expect("an operation");
    let id = id.lines().next().expect("an id");
    let operation = new.get(&format!("/v2/operations/{id}")).expect(200).json();
    let results = (&operation["type"], &operation["results"]["done"]);
    assert_eq!(results, (&"transfer".into(), &1.into()), "{operation}");
    assert!(
        stored(&new, &names[1].instance).is_some() && stored(&new, &names[2].instance).is_none()
    );
    let (_, text) = said(&new.command(&fetch));
    assert!(text.contains("0 studies fetched"), "{text}");
    let (code, text) = said(&old.command(&["send", "NEW", &names[2].study]));
    assert!(
        code == Some(0) && text.contains("1 sent, 0 failed"),
        "{text}"
    );
    let there = stored(&new, &names[2].instance).expect("it arrived");
    assert!(data_set(&there) == data_set(&files[2].bytes));
    let (code, text) = said(&new.command(&["fetch", "OLD", "Nonsense=1"]));
    assert!(
        code == Some(3) && text.contains("is no key of a search"),
        "{text}"
    );
}

#[test]
fn a_peer_is_called_over_tls_when_its_entry_says_so_and_its_certificate_is_right() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let own = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = own.path().join(name);
        path.to_str().expect("a text").to_owned()
    };
    // The server is signed by one root; who calls it trusts that one, or another.
    for name in ["root", "other"] {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root");
        fs::write(path(&format!("{name}.pem")), root.pem()).expect("written");
        if name == "root" {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            for leaf in ["server", "client"] {
                let params = CertificateParams::new(names.clone()).expect("parameters");
                let key = KeyPair::generate().expect("a key");
                let signed = params.signed_by(&key, &root).expect("a certificate");
                fs::write(path(&format!("{leaf}.pem")), signed.pem()).expect("written");
                fs::write(path(&format!("{leaf}.key")), key.serialize_pem()).expect("written");
            }
        }
    }
    let port = free_port();
    let plain = free_port();
    let entry = |title: &str, port: u16, more: &str| {
        format!(r#"{{"aeTitle": "{title}", "host": "127.0.0.1", "port": {port}{more}}}"#)
    };
    let shown = format!(
        r#", "clientCertificate": "{}", "clientKey": "{}""#,
        path("client.pem"),
        path("client.key")
    );
    let tls = |root: &str| format!(r#", "tls": true, "ca": "{}"{shown}"#, path(root));
    let listed = [
        entry("STOWAGE", port, &tls("root.pem")),
        entry("FALSE", port, &tls("other.pem")),
        entry("PLAIN", port, ""),
        entry("DEAF", plain, &tls("root.pem")),
    ];
    fs::write(path("peers.json"), format!("[{}]", listed.join(", "))).expect("written");
    let server = Server::with(&[
        ("STOWAGE_TLS_CERT_FILE", &path("server.pem")),
        ("STOWAGE_TLS_KEY_FILE", &path("server.key")),
        ("STOWAGE_TLS_CLIENT_CA_FILE", &path("root.pem")),
        ("STOWAGE_DIMSE_TLS_LISTEN", &format!("127.0.0.1:{port}")),
        ("STOWAGE_DIMSE_LISTEN", &format!("127.0.0.1:{plain}")),
        ("STOWAGE_DIMSE_PEERS", &path("peers.json")),
    ]);
    let (code, text) = said(&server.command(&["echo", "STOWAGE"]));
    assert!(code == Some(0), "{text}\n{}", server.log());
    for (title, says) in [("FALSE", "over TLS"), ("PLAIN", ""), ("DEAF", "over TLS")] {
        let (code, text) = said(&server.command(&["echo", title]));
        assert!(code == Some(1) && text.contains(says), "{title}: {text}");
    }
}

/// A data set as it is on the line: a deflated one has padding there (PS3.5 A.5).
fn even(data_set: &[u8]) -> Vec<u8> {
    let mut even = data_set.to_vec();
    even.resize(even.len().next_multiple_of(2), 0);
    even
}

/// Ends a process with the value.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn dcmtk_is_sent_every_syntax_as_it_is_and_decoded_where_it_takes_no_compression() {
    let own = tempfile::tempdir().expect("a folder");
    let listen = free_port();
    let peers = own.path().join("peers.json");
    let text = format!(
        r#"[{{"aeTitle": "STORESCP", "host": "127.0.0.1", "port": {listen}}}, {{"aeTitle": "*"}}]"#
    );
    fs::write(&peers, text).expect("written");
    let (server, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    let inbox = own.path().join("inbox");
    fs::create_dir(&inbox).expect("a folder");
    let files = samples(&inbox);
    let studies = {
        let mut send = dcmtk("dcmsend");
        send.args(["-aec", "STOWAGE", "--decompress-never", "127.0.0.1", &port]);
        let (well, printed) = outcome(send.args(&files));
        assert!(well, "{printed}");
        let found = server.get("/dicom-web/studies").expect(200).json();
        let found = found.as_array().expect("a list").iter();
        let uids = found.map(|study| {
            study["0020000D"]["Value"][0]
                .as_str()
                .expect("a UID")
                .to_owned()
        });
        uids.collect::<Vec<_>>()
    };
    // What it takes, what it is sent, and whether that comes as it is.
    for (option, as_it_is) in [("+xa", true), ("+xi", false), ("+x=", false)] {
        let out = own.path().join(option);
        fs::create_dir(&out).expect("a folder");
        let mut receiver = dcmtk("storescp");
        receiver
            .args([option, "+B", "-od"])
            .arg(&out)
            .arg(listen.to_string());
        let _receiver = Running(receiver.spawn().expect("storescp starts"));
        wait_until("storescp listens", || {
            server.command(&["echo", "STORESCP"]).status.success()
        });
        let targets: Vec<&str> = if as_it_is {
            files
                .iter()
                .map(|file| file.to_str().expect("a text"))
                .collect()
        } else {
            studies.iter().map(String::as_str).collect()
        };
        let (code, text) = said(&server.command(&[&["send", "STORESCP"][..], &targets].concat()));
        assert!(code == Some(0), "{option}: {text}");
        let received: Vec<_> = fs::read_dir(&out).expect("a folder").collect();
        assert_eq!(received.len(), files.len(), "{option}: {text}");
        if as_it_is {
            let mut sets: Vec<Vec<u8>> = received
                .into_iter()
                .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
                .map(|bytes| even(data_set(&bytes)))
                .collect();
            let mut sent: Vec<Vec<u8>> = files
                .iter()
                .map(|file| even(data_set(&fs::read(file).expect("a sample"))))
                .collect();
            sets.sort();
            sent.sort();
            assert!(sets == sent);
        }
    }
}

#[test]
fn an_archive_that_knows_nobody_is_fetched_from_by_c_get() {
    let (old, port) = gateway_with(&[("STOWAGE_DIMSE_PEERS", "any")]);
    let own = tempfile::tempdir().expect("a folder");
    let files = samples(own.path());
    let mut send = dcmtk("dcmsend");
    send.args(["-aec", "STOWAGE", "--decompress-never", "127.0.0.1", &port]);
    let (well, printed) = outcome(send.args(&files));
    assert!(well, "{printed}");
    let peers = own.path().join("peers.json");
    let text = format!(r#"[{{"aeTitle": "STOWAGE", "host": "127.0.0.1", "port": {port}}}]"#);
    fs::write(&peers, text).expect("written");
    let (new, _) = gateway_with(&[("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text"))]);
    let (code, text) = said(&new.command(&["fetch", "STOWAGE", "PatientID=*", "--get"]));
    assert!(code == Some(0), "{text}");
    for file in &files {
        let instance = instance_of(file);
        let (there, here) = (stored(&old, &instance), stored(&new, &instance));
        let (there, here) = (there.expect("it was sent"), here.expect("it was fetched"));
        // Compressed or not, as the other one has it.
        assert!(
            even(data_set(&there)) == even(data_set(&here)),
            "{}",
            file.display()
        );
    }
}
