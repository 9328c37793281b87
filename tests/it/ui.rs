//! The web page as a client without a browser sees it, and rules that its sources keep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use stowage::http::ui::{UI_ROUTES, UiAudience};

use crate::support::prelude::*;

/// A secret for tokens.
const SECRET: (&str, &str) = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");
/// What a browser accepts when somebody opens an address.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// Longest file of the page, in lines.
const MOST_LINES: usize = 400;
/// Folders of the page, and what each may import of the others.
const LAYERS: [(&str, &[&str]); 5] = [
    ("lib", &[]),
    ("dicom", &[]),
    ("net", &["lib", "dicom"]),
    ("viewer", &["lib", "dicom", "net"]),
    ("views", &["lib", "dicom", "net", "viewer"]),
];

fn token(server: &Deployment, arguments: &[&str]) -> String {
    let output = server.command(&[&["token"], arguments].concat());
    let text = String::from_utf8(output.stdout).expect("a token is text");
    format!("Bearer {}", text.trim())
}

/// Path of a file of the page, as the page names it.
fn file(server: &Deployment, name: &str) -> String {
    let page = server.get("/ui/").expect(200).text();
    let end = page.find(name).expect("the page names the file");
    let start = page[..end].rfind('"').expect("in quotes") + 1;
    format!("/ui/{}{name}", &page[start..end])
}

#[test]
fn a_browser_is_led_to_the_page_and_a_program_is_told_what_this_is() {
    let server = TestApp::start(None);
    let led = server.get_as("/", BROWSER).expect(302);
    assert_eq!(led.header("location"), Some("ui/"));
    assert!(
        server
            .get("/")
            .expect(200)
            .text()
            .contains("DICOMweb server")
    );
    assert_eq!(
        server.get("/ui").expect(308).header("location"),
        Some("ui/")
    );
    let off = TestApp::with(&[("STOWAGE_UI", "off")]);
    off.get_as("/", BROWSER).expect(200);
    for path in ["/ui", "/ui/", "/ui/config", "/ui/me"] {
        off.get(path).expect(404);
    }
}

#[test]
fn the_page_runs_under_a_policy_of_its_own_and_is_asked_for_anew() {
    let server = TestApp::start(None);
    let page = server.get("/ui/").expect(200);
    let policy = page
        .header("content-security-policy")
        .expect("it has a policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "frame-ancestors 'none'",
        "connect-src 'self';",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let tag = page.header("etag").expect("it has a tag").to_owned();
    let again = server
        .request("GET", "/ui/")
        .header("If-None-Match", &tag)
        .send();
    again.expect(304);
    // What others wrote is still shown without scripts.
    let docs = server.get("/docs").expect(200);
    let docs = docs
        .header("content-security-policy")
        .expect("it has a policy");
    assert!(docs.contains("sandbox"), "{docs}");
}

#[test]
fn files_of_the_page_may_be_kept_for_ever_and_come_compressed() {
    let server = TestApp::start(None);
    let app = file(&server, "app.js");
    let plain = server.get(&app).expect(200);
    assert_eq!(
        plain.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(
        plain.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(plain.header("content-encoding"), None);
    let request = server
        .request("GET", &app)
        .header("Accept-Encoding", "gzip, br");
    let small = request.send().expect(200);
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    assert!(small.body.len() < plain.body.len());
    let head = server.request("HEAD", &app).send().expect(200);
    assert!(head.body.is_empty());
    server.request("POST", &app).send().expect(405);
    // A page of another version must not be mixed with this one.
    server.get("/ui/0123456789abcdef/app.js").expect(404);
    server
        .get(&app.replace("app.js", "../../secret"))
        .expect(404);
}

#[test]
fn every_answer_of_the_page_is_for_whom_its_row_says() {
    let server = TestApp::with(&[SECRET]);
    let full = token(&server, &[]);
    let limited = token(&server, &["--patient", "P1"]);
    let send = |method: &str, path: &str, token: Option<&str>| -> Response {
        let request = server.request(method, path).accept("*/*");
        let request = match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        };
        if method == "POST" {
            request.body("{}").send()
        } else {
            request.send()
        }
    };
    let ask = |path: &str, token: Option<&str>| send("GET", path, token);
    let reader = token(&server, &["--roles", "globalReader"]);
    for route in UI_ROUTES {
        // An empty body is a bad request of whoever may send one.
        let good = if route.method == "POST" { 400 } else { 200 };
        let (stranger, reads, some) = match route.needs {
            UiAudience::Nobody => (good, good, good),
            UiAudience::Caller => (401, good, good),
            UiAudience::Export => (401, 403, good),
            UiAudience::Everything => (401, good, 403),
        };
        send(route.method, route.path, None).expect(stranger);
        send(route.method, route.path, Some("Bearer nonsense")).expect(stranger);
        send(route.method, route.path, Some(&reader)).expect(reads);
        send(route.method, route.path, Some(&limited)).expect(some);
        send(route.method, route.path, Some(&full)).expect(good);
        let other = if route.method == "POST" {
            "GET"
        } else {
            "POST"
        };
        send(other, route.path, Some(&full)).expect(405);
    }
    let described = ask("/ui/api.json", None).json();
    let paths = described["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), UI_ROUTES.len());
    for route in UI_ROUTES {
        let path = &paths[route.path.trim_start_matches("/ui")];
        let operation = &path[route.method.to_ascii_lowercase()];
        assert_eq!(operation["summary"], route.about);
    }
    let me = ask("/ui/me", Some(&limited)).json();
    assert_eq!(me["limited"], true);
    let config = ask("/ui/config", None).json();
    assert_eq!(config["signIn"]["kind"], "token");
    let issuer = TestApp::with(&[
        SECRET,
        ("STOWAGE_JWT_ISSUER", "https://id.example.org/realms/a"),
        ("STOWAGE_JWT_AUDIENCE", "stowage"),
        ("STOWAGE_UI_CLIENT_ID", "page"),
    ]);
    let reported = issuer.get("/ui/config").expect(200).json();
    assert_eq!(reported["signIn"]["kind"], "oidc");
    assert_eq!(reported["signIn"]["clientId"], "page");
    let page = issuer.get("/ui/").expect(200);
    let policy = page
        .header("content-security-policy")
        .expect("it has a policy");
    assert!(policy.contains("https://id.example.org;"), "{policy}");
}

#[test]
fn names_of_attributes_are_told_and_nonsense_is_refused() {
    let server = TestApp::start(None);
    let names = server
        .get("/ui/dictionary?tags=00100010,00091001,7FE00010")
        .expect(200);
    let names = names.json();
    assert_eq!(names["00100010"], "PatientName");
    assert_eq!(names["7FE00010"], "PixelData");
    assert_eq!(names.get("00091001"), None);
    server.get("/ui/dictionary?tags=PatientName").expect(400);
    server.get("/ui/dictionary?tags=0010%F0%9F0").expect(400);
    let many = vec!["00100010"; 501].join(",");
    server
        .get(&format!("/ui/dictionary?tags={many}"))
        .expect(400);
}

#[test]
fn modules_of_the_page_import_downward_only_and_stay_short() {
    for (path, text) in sources("js") {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{}: {lines} lines", path.display());
        let relative = path.strip_prefix(root()).expect("below the page");
        let folder = relative.parent().and_then(Path::to_str).unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == folder) else {
            assert_eq!(folder, "", "{} is in no layer", path.display());
            continue;
        };
        for target in imports(&text) {
            let local = target.starts_with("./");
            let layer = target
                .strip_prefix("../")
                .and_then(|rest| rest.split('/').next());
            assert!(
                local || layer.is_some_and(|layer| allowed.contains(&layer)),
                "{} imports {target}",
                path.display()
            );
        }
        // The only ways from a text to markup or code that browsers have.
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "setHTMLUnsafe",
            "DOMParser",
            "eval(",
            "new Function",
        ] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mark in ["from '", "import('", "import '"] {
        for piece in text.split(mark).skip(1) {
            found.extend(piece.split('\'').next().map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_text_of_the_page_is_there_in_every_language_and_none_is_unused() {
    let code: String = sources("js").into_iter().map(|(_, text)| text).collect();
    let read = |language: &str| -> BTreeSet<String> {
        let path = root().join(format!("locales/{language}.json"));
        let text = fs::read_to_string(path).expect("the language has a file");
        let texts: Value = serde_json::from_str(&text).expect("it is JSON");
        let texts = texts.as_object().expect("it is an object");
        assert!(texts.values().all(|text| text != ""), "{language}");
        texts.keys().map(|key| whole(key)).collect()
    };
    let english = read("en");
    for (path, _) in sources("json") {
        let language = path.file_stem().and_then(|name| name.to_str());
        let language = language.expect("a name");
        let there = read(language);
        let missing: Vec<&String> = english.symmetric_difference(&there).collect();
        assert!(missing.is_empty(), "{language}: {missing:?}");
    }
    for key in called(&code) {
        assert!(english.contains(&key), "the text {key} is in no language");
    }
    for key in &english {
        let quoted = code.contains(&format!("'{key}'"));
        let family = key.rsplit_once('.').is_some_and(|(family, _)| {
            code.contains(&format!("`{family}.${{")) || code.contains(&format!("'{family}.'"))
        });
        assert!(quoted || family, "nobody uses the text {key}");
    }
}

/// Without the end that tells numbers apart.
fn whole(key: &str) -> String {
    let ends = [".one", ".other", ".many", ".few", ".two", ".zero"];
    let end = ends.iter().find_map(|end| key.strip_suffix(end));
    end.unwrap_or(key).to_owned()
}

/// Keys in calls of `t('…'`.
fn called(code: &str) -> BTreeSet<String> {
    let after = |mark: &str| -> Vec<String> {
        let pieces = code.split(mark).skip(1);
        pieces
            .filter_map(|piece| piece.split('\'').next().map(str::to_owned))
            .collect()
    };
    [" t('", "(t('", "[t('", "${t('"]
        .iter()
        .flat_map(|mark| after(mark))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ui")
}

/// Files of the page with this end of their name, and their text.
fn sources(end: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be listed") {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == end) {
                let text = fs::read_to_string(&path).expect("the file can be read");
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn a_link_reads_one_study_until_it_expires_and_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.log");
    let path = file.to_str().expect("a path");
    let server = Server::with(&[
        SECRET,
        ("STOWAGE_UI_LINK_TIME", "2h"),
        ("STOWAGE_AUDIT", path),
    ]);
    let full = token(&server, &["--subject", "ann"]);
    let limited = token(&server, &["--patient", "NOBODY"]);
    for study in [1, 2] {
        let file = Name::new(study, 1, 1).small();
        let store = server.request("POST", "/dicom-web/studies");
        let store = store
            .header("Authorization", &full)
            .accept("application/dicom+json");
        let store = store.header("Content-Type", &multipart::content_type());
        store
            .body(multipart::body([file.bytes.as_slice()]))
            .send()
            .expect(200);
    }
    let study = Name::new(1, 1, 1).study_path();
    let uid = study.rsplit('/').next().expect("a UID").to_owned();
    let ask = |path: &str, token: Option<&str>, body: &Value| {
        let request = server.request("POST", path).accept("application/json");
        let request = match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        };
        request.body(body.to_string()).send()
    };
    let wanted = json!({ "study": uid, "seconds": 3600 });
    ask("/ui/links", Some(&limited), &wanted).expect(404);
    for wrong in [
        json!({ "study": uid, "seconds": 7201 }),
        json!({ "study": uid, "seconds": 1 }),
        json!({ "study": "../1", "seconds": 3600 }),
        json!({ "study": uid, "seconds": 3600, "more": 1 }),
        json!([]),
    ] {
        ask("/ui/links", Some(&full), &wrong).expect(400);
    }
    ask(
        "/ui/links",
        Some(&full),
        &json!({ "study": "1.2.3.999", "seconds": 60 }),
    )
    .expect(404);
    let made = ask("/ui/links", Some(&full), &wanted).expect(200);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let code = made.json()["code"].as_str().expect("a code").to_owned();
    // The code is no token; what it is exchanged for reads the study and nothing else.
    let read = |path: &str, token: &str| {
        let token = format!("Bearer {token}");
        let request = server.request("GET", path).accept("*/*");
        request.header("Authorization", &token).send().status
    };
    assert_eq!(read("/dicom-web/studies", &code), 401);
    ask(
        "/ui/links/open",
        None,
        &json!({ "code": format!("{code}x") }),
    )
    .expect(404);
    let opened = ask("/ui/links/open", None, &json!({ "code": code }))
        .expect(200)
        .json();
    assert_eq!(opened["study"].as_str(), Some(uid.as_str()));
    let token = opened["token"].as_str().expect("a token");
    assert_eq!(read(&format!("/dicom-web{study}/metadata"), token), 200);
    let other = Name::new(2, 1, 1).study_path();
    assert_eq!(read(&format!("/dicom-web{other}/metadata"), token), 404);
    let again = ask("/ui/links", Some(&format!("Bearer {token}")), &wanted);
    again.expect(403);
    let log = server.log();
    assert!(!log.contains(&code) && !log.contains(token), "{log}");
    drop(server);
    let events = fs::read_to_string(&file).expect("the events can be read");
    assert!(!events.contains(&code) && !events.contains(token));
    let shared = events
        .lines()
        .find(|line| line.contains("110106") && line.contains("\"outcome\":\"0\""));
    let shared = shared.expect("the link was written down");
    assert!(shared.contains(&uid) && shared.contains("ann"), "{shared}");
}

#[test]
fn no_links_are_made_where_they_are_off_or_nothing_could_sign_them() {
    let off = TestApp::with(&[SECRET, ("STOWAGE_UI_LINK_TIME", "0")]);
    let full = token(&off, &[]);
    let me = |server: &Deployment, token: Option<&str>| {
        let request = server.request("GET", "/ui/me").accept("*/*");
        let request = match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        };
        request.send().expect(200).json()
    };
    assert_eq!(me(&off, Some(&full))["linkSeconds"], Value::Null);
    let request = off
        .request("POST", "/ui/links")
        .header("Authorization", &full);
    let body = r#"{"study": "1.2.3", "seconds": 60}"#;
    request.body(body).send().expect(404);
    let open = TestApp::start(None);
    assert_eq!(me(&open, None)["linkSeconds"], Value::Null);
    let on = TestApp::with(&[SECRET]);
    assert_eq!(me(&on, Some(&token(&on, &[])))["linkSeconds"], 1_209_600);
}

#[test]
fn a_static_viewer_is_served_with_settings_for_this_server_and_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let viewer = folder.path().join("ohif");
    fs::create_dir_all(viewer.join("assets")).expect("a folder");
    let page = r#"<script src="/app-config.js"></script><link href="/assets/a.css"><script src="/app.js"></script>"#;
    fs::write(viewer.join("index.html"), page).expect("a file");
    fs::write(viewer.join("app.js"), "x".repeat(200_000)).expect("a file");
    fs::write(viewer.join("app-config.js"), "of the build").expect("a file");
    fs::write(viewer.join("assets/a.css"), "a{}").expect("a file");
    fs::write(viewer.join(".secret"), "secret").expect("a file");
    fs::write(folder.path().join("outside.txt"), "secret").expect("a file");
    std::os::unix::fs::symlink(folder.path(), viewer.join("link")).expect("a link");
    let path = viewer.to_str().expect("a path");
    let server = TestApp::with(&[
        ("STOWAGE_VIEWER_DIR", path),
        (
            "STOWAGE_UI_OPEN_IN",
            "Weasis=weasis://x?{study} Other=https://other.example/{study}",
        ),
    ]);
    assert_eq!(
        server.get("/viewer").expect(308).header("location"),
        Some("viewer/")
    );
    let index = server.get("/viewer/").expect(200);
    assert!(
        index.text().contains(r#"src="./app.js""#),
        "{}",
        index.text()
    );
    let policy = index.header("content-security-policy").expect("a policy");
    assert!(policy.contains("connect-src 'self' blob: data:;") && !policy.contains("sandbox"));
    // A screen of the viewer is its page, whose parts are found from there.
    let screen = server
        .get("/viewer/a/viewer?StudyInstanceUIDs=1.2")
        .expect(200);
    assert!(
        screen.text().contains(r#"href="../assets/a.css""#),
        "{}",
        screen.text()
    );
    let app = server.get("/viewer/app.js").expect(200);
    assert_eq!(app.body.len(), 200_000);
    assert_eq!(
        app.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let etag = app.header("etag").expect("a tag").to_owned();
    let again = server
        .request("GET", "/viewer/app.js")
        .header("If-None-Match", &etag);
    again.send().expect(304);
    // Builds for the root of a server look for their parts there.
    assert_eq!(server.get("/assets/a.css").expect(200).text(), "a{}");
    for config in ["/viewer/app-config.js", "/app-config.js"] {
        let config = server.get(config).expect(200).text();
        assert!(
            config.contains("../dicom-web") && !config.contains("of the build"),
            "{config}"
        );
    }
    for wrong in [
        "/viewer/../outside.txt",
        "/viewer/..%2Foutside.txt",
        "/viewer/link/outside.txt",
        "/link/outside.txt",
        "/viewer/.secret",
        "/.secret",
        "/viewer/none.js",
        "/none",
        "/viewer/%FF.js",
    ] {
        let answer = server.get(wrong);
        assert!(
            [400, 404].contains(&answer.status),
            "{wrong}: {}",
            answer.status
        );
        assert!(!answer.text().contains("secret"), "{wrong}");
    }
    server.request("POST", "/viewer/app.js").send().expect(405);
    let reported = server.get("/ui/config").expect(200).json();
    let names = reported["openIn"].as_array().expect("a list").iter();
    let names: Vec<&str> = names.filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Weasis", "Other", "OHIF"]);
    // Without a folder there is nothing of it.
    let plain = TestApp::start(None);
    plain.get("/viewer/").expect(404);
    plain.get("/assets/a.css").expect(404);
}
