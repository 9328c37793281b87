//! Who may associate, and how associations begin and end.

use std::fs;

use super::peer::{Peer, VERIFICATION, command, request};
use super::{dcmtk, folder, gateway, gateway_with, outcome, write};
use crate::support::server::{Server, run};

fn echo(port: &str, arguments: &[&str]) -> (bool, String) {
    let mut echo = dcmtk("echoscu");
    outcome(echo.args(arguments).args(["127.0.0.1", port]))
}

#[test]
fn dcmtk_is_answered_when_it_calls_the_right_title() {
    let (server, port) = gateway();
    let (well, printed) = echo(&port, &["-aec", "STOWAGE", "--repeat", "3"]);
    assert!(well, "{printed}");
    // 128 contexts of 38 transfer syntaxes.
    let many = ["-aec", "STOWAGE", "-pts", "38", "-ppc", "128"];
    let (well, printed) = echo(&port, &many);
    assert!(well, "{printed}");
    let (well, printed) = echo(&port, &["-aec", "STOWAGe"]);
    assert!(
        !well && printed.contains("Called AE Title Not Recognized"),
        "{printed}"
    );
    let metrics = server.get("/metrics").expect(200).text();
    for line in [
        r#"stowage_dimse_messages_total{service="C-ECHO",outcome="success"} 4"#,
        r#"stowage_dimse_associations_total{end="rejected"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn only_known_peers_associate_and_only_for_what_they_may_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let peers = folder.path().join("peers.json");
    fs::write(
        &peers,
        r#"[{"aeTitle": "CT1", "rights": ["write"]}, {"aeTitle": "FAR", "addresses": ["192.0.2.0/24"]}]"#,
    )
    .expect("the file can be written");
    let audit = folder.path().join("audit");
    let (_server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", peers.to_str().expect("a text")),
        ("STOWAGE_DIMSE_AE_TITLE", "PACS 1"),
        ("STOWAGE_AUDIT", audit.to_str().expect("a text")),
    ]);
    let (well, printed) = echo(&port, &["-aet", "CT1", "-aec", "PACS 1"]);
    assert!(well, "{printed}");
    for title in ["CT2", "ct1", "FAR"] {
        let (well, printed) = echo(&port, &["-aet", title, "-aec", "PACS 1"]);
        assert!(
            !well && printed.contains("Calling AE Title Not Recognized"),
            "{title}: {printed}"
        );
    }
    let mut find = dcmtk("findscu");
    find.args([
        "-S",
        "-aet",
        "CT1",
        "-aec",
        "PACS 1",
        "-k",
        "QueryRetrieveLevel=STUDY",
    ]);
    let (_, printed) = outcome(find.args(["127.0.0.1", &port]));
    assert!(
        printed.contains("No Acceptable Presentation Contexts"),
        "{printed}"
    );
    crate::support::server::wait_until("refusals are audited", || {
        let events = fs::read_to_string(&audit).unwrap_or_default();
        events.matches("110114").count() == 3 && events.contains("\"CT2\"")
    });
}

#[test]
fn a_setting_that_cannot_be_used_stops_the_start_with_what_to_write() {
    let server = Server::start(None);
    let bad = write(&server, "peers.json", br#"[{"aeTitle": "X", "port": 104}]"#);
    let bad = bad.to_str().expect("a text");
    for (settings, says) in [
        (vec![], "STOWAGE_DIMSE_PEERS must name"),
        (
            vec![("STOWAGE_DIMSE_PEERS", bad)],
            "host and port belong together",
        ),
        (
            vec![
                ("STOWAGE_DIMSE_PEERS", "any"),
                ("STOWAGE_DIMSE_AE_TITLE", "A\\B"),
            ],
            "STOWAGE_DIMSE_AE_TITLE",
        ),
        (
            vec![
                ("STOWAGE_DIMSE_PEERS", "any"),
                ("STOWAGE_DIMSE_LISTEN", "192.0.2.1:1"),
            ],
            "STOWAGE_DIMSE_LISTEN",
        ),
    ] {
        let elsewhere = folder(&server).join("elsewhere");
        let mut all = vec![
            ("STOWAGE_DIMSE_LISTEN", "127.0.0.1:0"),
            ("STOWAGE_DATA_DIR", elsewhere.to_str().expect("a text")),
        ];
        all.extend(settings);
        let output = server.command_with(&all, &["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{said}");
    }
}

#[test]
fn a_stop_ends_associations_and_waits_for_nobody_who_is_idle() {
    let (mut server, port) = gateway();
    let mut idle = Peer::associate(&port, &[VERIFICATION]);
    idle.send(&command(1, 0x30, VERIFICATION, None));
    assert_eq!(idle.status(), 0);
    let mut silent = Peer::connect(&port);
    silent.send(&request("STOWAGE", "RAW", &[VERIFICATION])[..20]);
    server.terminate();
    assert_eq!(idle.unit().expect("an abort").0, 7);
    drop((idle, silent));
    assert!(server.wait().success());
    let log = server.log();
    assert!(!log.contains("stopped while"), "{log}");
}

#[test]
fn too_many_associations_are_rejected_for_now() {
    let (_server, port) = gateway_with(&[
        ("STOWAGE_DIMSE_PEERS", "any"),
        ("STOWAGE_DIMSE_ASSOCIATIONS", "2"),
    ]);
    let held: Vec<Peer> = (0..2)
        .map(|_| Peer::associate(&port, &[VERIFICATION]))
        .collect();
    let mut third = Peer::connect(&port);
    third.send(&request("STOWAGE", "RAW", &[VERIFICATION]));
    assert_eq!(third.unit(), Some((3, vec![0, 2, 3, 2])));
    for peer in held {
        peer.release();
    }
    crate::support::server::wait_until("there is room again", || {
        let mut next = Peer::connect(&port);
        next.send(&request("STOWAGE", "RAW", &[VERIFICATION]));
        next.unit().is_some_and(|(kind, _)| kind == 2)
    });
}

#[test]
fn help_names_the_gateway() {
    let printed = run(std::process::Command::new(env!("CARGO_BIN_EXE_stowage")).arg("--help"));
    assert!(printed.contains("--dimse-listen"), "{printed}");
}

#[test]
fn over_tls_a_title_can_be_bound_to_a_certificate() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let own = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = own.path().join(name);
        path.to_str().expect("a text").to_owned()
    };
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "A root");
    let key = KeyPair::generate().expect("a key");
    let root = CertifiedIssuer::self_signed(params, key).expect("a root");
    fs::write(path("root.pem"), root.pem()).expect("written");
    for name in ["server", "ct1", "ct2"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &root).expect("a certificate");
        fs::write(path(&format!("{name}.pem")), signed.pem()).expect("written");
        fs::write(path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }
    let peers = format!(
        r#"[{{"aeTitle": "CT1", "certificate": "{}"}}]"#,
        path("ct1.pem")
    );
    fs::write(path("peers.json"), peers).expect("written");
    let port = crate::support::proxy::free_port().to_string();
    let server = Server::with(&[
        ("STOWAGE_TLS_CERT_FILE", &path("server.pem")),
        ("STOWAGE_TLS_KEY_FILE", &path("server.key")),
        ("STOWAGE_TLS_CLIENT_CA_FILE", &path("root.pem")),
        ("STOWAGE_DIMSE_TLS_LISTEN", &format!("127.0.0.1:{port}")),
        ("STOWAGE_DIMSE_PEERS", &path("peers.json")),
    ]);
    let call = |name: &str| {
        let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let root = path("root.pem");
        let tls = ["+tls", &key, &certificate, "+cf", &root];
        echo(
            &port,
            &[&["-aet", "CT1", "-aec", "STOWAGE"][..], &tls].concat(),
        )
    };
    let (well, printed) = call("ct1");
    assert!(well, "{printed}\n{}", server.log());
    let (well, printed) = call("ct2");
    assert!(
        !well && printed.contains("Calling AE Title Not Recognized"),
        "{printed}"
    );
    // Without TLS nobody is heard there.
    let (well, _) = echo(&port, &["-aet", "CT1", "-aec", "STOWAGE"]);
    assert!(!well);
}
