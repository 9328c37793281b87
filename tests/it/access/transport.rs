//! TLS: served, reloaded, asked for clients' certificates; and what it changes in answers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::support::app::TestApp;
use crate::support::http::connect;
use crate::support::server::{Server, run, wait_until};

/// A root of its own with what it signs, as files.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "A root");
        let key = KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        Self { root, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `{name}.pem` and `{name}.key`, for the local host or for a client.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.root).unwrap();
        let write = |ending: &str, text: String| {
            // Beside and renamed, as careful tools do.
            let beside = self.file("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, self.file(&format!("{name}.{ending}"))).unwrap();
        };
        write("key", key.serialize_pem());
        write("pem", certificate.pem());
        certificate.der().clone()
    }

    /// A server that shows the certificate `name`.
    fn serve(&self, name: &str, more: &[(&str, &str)]) -> Server {
        let certificate = self.file(&format!("{name}.pem"));
        let key = self.file(&format!("{name}.key"));
        let mut settings = vec![
            ("STOWAGE_TLS_CERT_FILE", text(&certificate)),
            ("STOWAGE_TLS_KEY_FILE", text(&key)),
        ];
        settings.extend(more);
        Server::with(&settings)
    }

    /// A client that believes this root, with a certificate of its own or without.
    fn client(&self, identity: Option<&str>) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.root.pem().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([root])
            .tls_info(true)
            .timeout(Duration::from_secs(60));
        if let Some(name) = identity {
            let mut pem = std::fs::read(self.file(&format!("{name}.key"))).unwrap();
            pem.extend(std::fs::read(self.file(&format!("{name}.pem"))).unwrap());
            builder = builder.identity(reqwest::Identity::from_pem(&pem).unwrap());
        }
        builder.build().unwrap()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn https(server: &Server, target: &str) -> String {
    format!("https://{}{target}", server.address())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Asks, and gives back the answer with the certificate it came with.
fn ask(client: &reqwest::Client, url: String) -> reqwest::Result<(reqwest::Response, Vec<u8>)> {
    let answer = runtime().block_on(async { client.get(url).send().await })?;
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
    let shown = info.and_then(|info| info.peer_certificate());
    let shown = shown.map(<[u8]>::to_vec).unwrap_or_default();
    Ok((answer, shown))
}

#[test]
fn tls_is_served_to_curl_and_libraries_and_shows_in_headers_and_links() {
    let authority = Authority::new();
    authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = authority.serve("server", &[]);
    let (answer, _) = ask(
        &authority.client(None),
        https(&server, "/dicom-web/studies"),
    )
    .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.version(),
        reqwest::Version::HTTP_2,
        "agreed in the greeting"
    );
    assert_eq!(
        answer.headers()["strict-transport-security"],
        "max-age=31536000"
    );
    let root = authority.file("root.pem");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--noproxy", "*", "--http1.1", "-D", "-"]);
    curl.args(["--cacert", text(&root), &https(&server, "/health/check")]);
    let said = run(&mut curl);
    assert!(
        said.starts_with("HTTP/1.1 200") && said.contains("Healthy"),
        "{said}"
    );
    // Somebody who does not know the root, and somebody who does not speak TLS.
    assert!(ask(&Authority::new().client(None), https(&server, "/")).is_err());
    assert!(server.request("GET", "/health/check").try_send().is_err());
    assert!(
        server
            .command(&["health", "--listen", server.address()])
            .status
            .success()
    );
    assert!(
        server.log().contains("listens on https://"),
        "{}",
        server.log()
    );
    // What TLS protects may still lie behind somebody who speaks for others: the scheme of links is our own.
    let store = crate::support::dicom::Name::new(710, 1, 1).small();
    let posted = runtime().block_on(async {
        let request = authority
            .client(None)
            .post(https(&server, "/dicom-web/studies"));
        let request = request
            .header("Content-Type", "application/dicom")
            .body(store.bytes);
        request.send().await.unwrap().text().await.unwrap()
    });
    assert!(
        posted.contains(&https(&server, "/dicom-web/studies/1.2.3.710")),
        "{posted}"
    );
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let first = authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = authority.serve("server", &[]);
    let shown = || {
        let client = authority.client(None);
        ask(&client, https(&server, "/health/check")).unwrap().1
    };
    assert_eq!(shown(), first.as_ref());
    std::fs::write(authority.file("server.pem"), "broken").unwrap();
    wait_until("the broken certificate is told", || {
        server.log().contains("cannot be used")
    });
    assert_eq!(shown(), first.as_ref(), "the old one stays");
    let second = authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    wait_until("the new certificate is shown", || {
        shown() == second.as_ref()
    });
    assert!(!server.log().contains("PRIVATE KEY"));
}

#[test]
fn with_roots_for_clients_nobody_comes_in_without_a_certificate_of_theirs() {
    let (authority, others) = (Authority::new(), Authority::new());
    authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    authority.issue("friend", ExtendedKeyUsagePurpose::ClientAuth);
    others.issue("stranger", ExtendedKeyUsagePurpose::ClientAuth);
    let root = authority.file("root.pem");
    let server = authority.serve("server", &[("STOWAGE_TLS_CLIENT_CA_FILE", text(&root))]);
    let url = || https(&server, "/dicom-web/studies");
    let (answer, _) = ask(&authority.client(Some("friend")), url()).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(ask(&authority.client(None), url()).is_err());
    for file in ["stranger.pem", "stranger.key"] {
        std::fs::copy(others.file(file), authority.file(file)).unwrap();
    }
    assert!(ask(&authority.client(Some("stranger")), url()).is_err());
    // A certificate of a server is none of a client.
    assert!(ask(&authority.client(Some("server")), url()).is_err());
    // The check of the container needs no certificate to see that the server lives.
    assert!(
        server
            .command(&["health", "--listen", server.address()])
            .status
            .success()
    );
}

#[test]
fn who_does_not_greet_in_time_is_let_go() {
    let authority = Authority::new();
    authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = authority.serve("server", &[("STOWAGE_HEAD_SECONDS", "1")]);
    let mut silent = connect(server.address()).unwrap();
    let mut rest = Vec::new();
    let ended = std::io::Read::read_to_end(&mut silent, &mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));
    let (answer, _) = ask(&authority.client(None), https(&server, "/health/check")).unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_crowd_that_greets_and_falls_silent_holds_nobody_up() {
    let authority = Authority::new();
    authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = authority.serve("server", &[("STOWAGE_CONNECTIONS", "200")]);
    let client = authority.client(None);
    // A hello that asks for a signature, as a client of its own sends it.
    let hello = hello();
    let before = server.memory("VmRSS");
    let mut held = Vec::new();
    for number in 0..600 {
        let mut stream = connect(server.address()).unwrap();
        let said: &[u8] = match number % 4 {
            0 => b"",
            1 => &hello[..20],
            2 => b"GET / HTTP/1.1\r\n\r\n",
            _ => &hello,
        };
        let _ = std::io::Write::write_all(&mut stream, said);
        held.push(stream);
        if number % 100 == 0 {
            let (answer, _) = ask(&client, https(&server, "/dicom-web/studies")).unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
    let (_, counts) = (ask(&client, https(&server, "/health/live")), {
        let url = https(&server, "/metrics");
        let text = runtime().block_on(async { client.get(url).send().await?.text().await });
        text.unwrap()
    });
    let count = |outcome: &str| -> u64 {
        let name = format!("stowage_tls_handshakes_total{{outcome=\"{outcome}\"}} ");
        let value = counts.lines().find_map(|line| line.strip_prefix(&name));
        value.and_then(|value| value.parse().ok()).unwrap()
    };
    assert!(count("done") >= 6 && count("failed") >= 100, "{counts}");
    let now = server.memory("VmRSS");
    assert!(now < before + 64 * 1024, "{before} became {now} KiB");
}

/// The first message of a client.
fn hello() -> Vec<u8> {
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};
    let config = ClientConfig::builder_with_provider(stowage::http::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn a_server_that_cannot_speak_tls_does_not_start() {
    let authority = Authority::new();
    authority.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
    authority.issue("other", ExtendedKeyUsagePurpose::ServerAuth);
    let server = TestApp::start(None);
    let (certificate, key) = (authority.file("server.pem"), authority.file("other.key"));
    for (arguments, says) in [
        (
            vec!["--tls-cert-file", text(&certificate)],
            "STOWAGE_TLS_KEY_FILE",
        ),
        (
            vec![
                "--tls-cert-file",
                text(&certificate),
                "--tls-key-file",
                text(&key),
            ],
            "certificate and key cannot be used",
        ),
        (
            vec!["--tls-cert-file", "/none", "--tls-key-file", "/none"],
            "/none cannot be read",
        ),
    ] {
        let output = server.command(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{said}");
    }
}
