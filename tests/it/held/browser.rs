//! Stored documents in a real browser: nothing of them runs, loads or calls.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use dicom_core::{Tag, VR};
use stowage::dicom::testing::Syntax;

use crate::support::dicom::Name;
use crate::support::server::Server;

/// A server that notes which paths are asked for, and shows one page of its own.
struct Caller {
    url: String,
    called: Arc<Mutex<Vec<String>>>,
}

impl Caller {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let called = Arc::new(Mutex::new(Vec::new()));
        let (notes, own) = (called.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (notes, own) = (notes.clone(), own.clone());
                // Browsers open connections that they do not use.
                std::thread::spawn(move || answer(stream, &notes, &own));
            }
        });
        Self { url, called }
    }
}

/// Notes what is asked for; the page calls `own` by a script.
fn answer(mut stream: TcpStream, notes: &Mutex<Vec<String>>, own: &str) {
    let mut head = [0; 4096];
    let read = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let Some(path) = head.split(' ').nth(1) else {
        return;
    };
    let page = match path {
        "/page" => format!("<script>new Image().src='{own}/control'</script>"),
        _ => String::new(),
    };
    notes.lock().unwrap().push(path.to_owned());
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
}

/// Seconds that a page has, the start of the browser included. What becomes a download never ends by itself at times.
const SECONDS: &str = "40";

/// Opens a page and waits until its scripts had their time.
fn open(profile: &std::path::Path, url: &str) {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find_map(|name| {
        Command::new("timeout")
            .args(["--kill-after=5", SECONDS, name])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--virtual-time-budget=3000",
                "--timeout=20000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .output()
            .ok()
            // What `timeout` says of a program that is not there.
            .filter(|output| output.status.code() != Some(127))
    });
    assert!(
        found.is_some(),
        "Chromium is missing: tests/run installs it on Debian"
    );
}

#[test]
fn no_stored_document_runs_in_chromium() {
    let server = Server::start(None);
    let caller = Caller::start();
    let url = &caller.url;
    let script = |name: &str| format!("new Image().src='{url}/{name}';fetch('{url}/{name}')");
    let html = format!(
        "<html><head><meta http-equiv=refresh content='0;url={url}/html'></head><body onload=\"{0}\"><script>{0}</script>\
         <img src={url}/html><iframe src={url}/html></iframe><link rel=stylesheet href={url}/html>\
         <form id=f action={url}/html></form><script>f.submit()</script></body></html>",
        script("html")
    );
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' onload=\"{0}\"><script>{0}</script><image href='{url}/svg'/></svg>",
        script("svg")
    );
    let xhtml = format!(
        "<html xmlns='http://www.w3.org/1999/xhtml'><head/><body onload=\"{0}\"><script>{0}</script></body></html>",
        script("xhtml")
    );
    let styled =
        format!("<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='{url}/xslt'?><a/>");
    let replaced = format!("--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n");
    let mail = format!("MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n{html}");
    let documents = [
        ("text/html", &html),
        ("image/svg+xml", &svg),
        ("application/xhtml+xml", &xhtml),
        ("text/xml", &xhtml),
        ("text/xml", &styled),
        ("multipart/x-mixed-replace;boundary=b", &replaced),
        ("message/rfc822", &mail),
        ("application/octet-stream", &html),
        ("text/plain", &html),
    ];
    let profile = tempfile::tempdir().unwrap();
    open(profile.path(), &format!("{url}/page"));
    let called = caller.called.lock().unwrap().clone();
    assert!(
        called.iter().any(|path| path == "/control"),
        "scripts run where they may: {called:?}"
    );
    for (number, (media, document)) in (1..).zip(documents) {
        let name = Name::new(795, 1, number);
        let data_set = name
            .data_set()
            .bytes(Tag(0x0042, 0x0011), VR::OB, document.as_bytes())
            .text(Tag(0x0042, 0x0012), VR::LO, media);
        let stored = server.store(
            "/dicom-web",
            [&name.file(&data_set, Syntax::ExplicitLittle)],
        );
        assert!(matches!(stored.status, 200 | 202), "{}", stored.text());
        let target = format!("/dicom-web{}/bulkdata/00420011", name.path());
        let answer = server.get_as(&target, "text/html,application/xhtml+xml,*/*;q=0.8");
        if answer.status == 200 {
            let policy = answer.header("content-security-policy").unwrap_or_default();
            assert!(policy.starts_with("sandbox"), "{media}: {policy}");
            // With its boundary a browser would take it apart.
            assert!(
                !answer.content_type().contains("replace;"),
                "{}",
                answer.content_type()
            );
        }
        open(profile.path(), &format!("{}{target}", server.url()));
    }
    let called = caller.called.lock().unwrap().clone();
    let by_documents: Vec<&String> = called
        .iter()
        .filter(|path| !matches!(path.as_str(), "/page" | "/control" | "/favicon.ico"))
        .collect();
    assert!(by_documents.is_empty(), "{by_documents:?}");
}
