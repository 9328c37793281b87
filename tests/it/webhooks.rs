//! Events to the outside: webhooks with receivers that are well, slow, down, redirecting or forbidden, and streams.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use tokio::runtime::Runtime;

use crate::crash_matrix::{forget_leases, points::EVENTS};
use crate::support::loopback::listen;
use crate::support::prelude::*;
use crate::support::python;
use crate::support::server::on_each_index_process;
use crate::worklist;

const NETWORKS: (&str, &str) = ("STOWAGE_WEBHOOK_NETWORKS", "127.0.0.0/8");
const QUIET: (&str, &str) = ("STOWAGE_QUIET_SECONDS", "2");
const AT_ONCE: (&str, &str) = ("STOWAGE_WEBHOOK_RETRY_SECONDS", "0,0,0");
const SECRET: (&str, &str) = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");

/// A message as it came.
#[derive(Debug, Clone)]
struct Message {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Message {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// Kind and subject.
    fn about(&self) -> (String, String) {
        let event = self.event();
        let text = |name: &str| event[name].as_str().expect("a text").to_owned();
        (text("type"), text("subject"))
    }
}

/// How a receiver answers a message, by its number.
type Behaviour = Box<dyn Fn(usize) -> Answer + Send + Sync>;

struct Desk {
    messages: Mutex<Vec<Message>>,
    behaviour: Mutex<Behaviour>,
}

/// A receiver of webhooks; it ends with the value.
struct Receiver {
    desk: Arc<Desk>,
    url: String,
    _runtime: Runtime,
}

impl Receiver {
    fn start() -> Self {
        let (runtime, listener, url) = listen();
        let desk = Arc::new(Desk {
            messages: Mutex::default(),
            behaviour: Mutex::new(Box::new(|_| StatusCode::NO_CONTENT.into_response())),
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&desk));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            desk,
            url,
            _runtime: runtime,
        }
    }

    /// Answers so from now on.
    fn behave(&self, behaviour: impl Fn(usize) -> Answer + Send + Sync + 'static) {
        *self.desk.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    fn messages(&self) -> Vec<Message> {
        self.desk.messages.lock().unwrap().clone()
    }

    /// Kinds of the messages about a study, in the order in which they came, each message once.
    fn kinds(&self, study: &str) -> Vec<String> {
        let (mut seen, mut kinds) = (BTreeSet::new(), Vec::new());
        for message in self.messages() {
            let (kind, subject) = message.about();
            if subject == format!("/studies/{study}")
                && seen.insert(message.headers["webhook-id"].clone())
            {
                kinds.push(kind);
            }
        }
        kinds
    }
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Answer {
    let text = |value: &header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    let message = Message {
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let number = {
        let mut messages = desk.messages.lock().unwrap();
        messages.push(message);
        messages.len() - 1
    };
    let behaviour = desk.behaviour.lock().unwrap();
    behaviour(number)
}

fn printed(server: &Deployment, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a webhook by command; returns its secret.
fn webhook(server: &Deployment, name: &str, url: &str, events: &str) -> String {
    printed(server, &["webhook", "add", name, url, "--events", events])
}

fn of_patient(name: &Name, patient: &str) -> BuiltFile {
    let data_set = name
        .data_set()
        .set(DataSet::new().text(Tag(0x0010, 0x0020), VR::LO, patient));
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn delete(server: &Deployment, name: &Name) {
    let target = format!("/v2{}", name.study_path());
    server.request("DELETE", &target).send().expect(204);
}

/// Checks messages with the packages that receivers use.
fn verify(messages: &[Message], secret: &str) {
    let mut command = Command::new(python::interpreter());
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/webhooks.py"
        ))
        .arg(secret)
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("Python starts");
    let mut input = child.stdin.take().expect("an input");
    for message in messages {
        let line = json!({ "headers": message.headers, "body": message.body });
        writeln!(input, "{line}").expect("it can be written");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn events_of_the_dicom_service_have_its_names_and_members() {
    let settings = [
        NETWORKS,
        ("STOWAGE_EXISTING", "replace"),
        ("STOWAGE_PUBLIC_URL", "https://pacs.example.org"),
    ];
    on_each_index_with(&settings, |server| {
        let receiver = Receiver::start();
        let kinds = ["Created", "Updated", "Deleted"]
            .map(|what| format!("Microsoft.HealthcareApis.DicomImage{what}"));
        let secret = webhook(server, "consumer", &receiver.url, &kinds.join(","));
        let name = Name::new(9650, 1, 1);
        let arrived = |count: usize| {
            wait_until("it is told", || receiver.messages().len() == count);
        };
        server.store("/v2", [&name.small()]).expect(200);
        arrived(1);
        server.store("/v2", [&name.with_bulk(300)]).expect(200);
        arrived(2);
        delete(server, &name);
        arrived(3);
        let messages = receiver.messages();
        verify(&messages, &secret);
        let feed = server.get("/v1/changefeed?includemetadata=false");
        let feed = feed.expect(200).json();
        for (at, message) in messages.iter().enumerate() {
            let event = message.event();
            assert_eq!(event["type"], kinds[at].as_str());
            let subject = format!("pacs.example.org/v1{}", name.path());
            assert_eq!(event["subject"], subject.as_str());
            let expected = json!({
                "partitionName": "Microsoft.Default",
                "imageStudyInstanceUid": name.study,
                "imageSeriesInstanceUid": name.series,
                "imageSopInstanceUid": name.instance,
                "serviceHostName": "pacs.example.org",
                "sequenceNumber": feed[at]["sequence"],
            });
            assert_eq!(event["data"], expected);
        }
        let both = format!("{},instance.*", kinds[0]);
        let output = server.command(&["webhook", "add", "both", &receiver.url, "--events", &both]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("not by both"), "{said}");
    });
    let server = TestApp::with(&[NETWORKS]);
    let kind = "Microsoft.HealthcareApis.DicomImageCreated";
    let url = "http://127.0.0.1:9/";
    let output = server.command(&["webhook", "add", "nowhere", url, "--events", kind]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("STOWAGE_PUBLIC_URL"), "{said}");
}

#[test]
fn events_arrive_signed_and_in_order() {
    let settings = [
        NETWORKS,
        QUIET,
        ("STOWAGE_PUBLIC_URL", "https://pacs.example.org/dicom"),
    ];
    on_each_index_process(&settings, |server| {
        let receiver = Receiver::start();
        let before = Name::new(9600, 1, 1);
        server.store("/v2", [&before.small()]).expect(200);
        Stream::open(server, "/v2/events?lastEventId=0", &[]).event();
        let secret = webhook(
            server,
            "all",
            &receiver.url,
            "study.*,instance.*,workitem.*",
        );
        let (one, two) = (Name::new(9601, 1, 1), Name::new(9602, 1, 1));
        server.store("/v2", [&one.small()]).expect(200);
        wait_until("the study is quiet", || {
            receiver.kinds(&one.study).len() == 2
        });
        server
            .store("/v2", [&Name::new(9601, 1, 2).small(), &two.small()])
            .expect(200);
        wait_until("it is quiet again", || {
            receiver.kinds(&one.study).len() == 4
        });
        delete(server, &one);
        wait_until("it is gone", || receiver.kinds(&one.study).len() == 5);
        let kinds = [
            "study.arrived",
            "study.quiet",
            "study.updated",
            "study.quiet",
            "study.deleted",
        ];
        assert_eq!(receiver.kinds(&one.study), kinds);
        wait_until("the other is quiet", || {
            receiver.kinds(&two.study) == kinds[..2]
        });
        // What was there before arrived before.
        server
            .store("/v2", [&Name::new(9600, 1, 2).small()])
            .expect(200);
        // That it was quiet may have been told meanwhile.
        wait_until("it is updated", || {
            let kinds = receiver.kinds(&before.study);
            kinds.iter().any(|kind| kind == "study.updated")
        });
        let kinds_before = receiver.kinds(&before.study);
        assert!(!kinds_before.iter().any(|kind| kind == "study.arrived"));

        let request = server.request("POST", "/dicom-web/workitems?1.2.3.9600.1");
        let request = request.header("Content-Type", "application/dicom+json");
        request.body(worklist::short()).send().expect(201);
        let about_workitem = |message: &Message| {
            message.about()
                == (
                    "workitem.created".to_owned(),
                    "/workitems/1.2.3.9600.1".to_owned(),
                )
        };
        wait_until("the workitem is told of", || {
            receiver.messages().iter().any(about_workitem)
        });

        let messages = receiver.messages();
        verify(&messages, &secret);
        let instances = messages
            .iter()
            .filter(|message| message.about().0.starts_with("instance."));
        assert_eq!(instances.count(), 6, "three stored, two deleted, one more");
        let url = format!(
            "https://pacs.example.org/dicom/dicom-web/studies/{}",
            one.study
        );
        let mut quiet = messages
            .iter()
            .filter(|message| message.about().0 == "study.quiet")
            .map(Message::event)
            .filter(|event| event["data"]["retrieveUrl"] == url.as_str());
        let quiet = quiet.next().expect("with its own URL");
        assert_eq!(quiet["data"]["instances"], 1);
        assert_eq!(quiet["data"]["partition"], "Microsoft.Default");
        for message in &messages {
            assert!(
                !message.body.contains("Doe") && !message.body.contains("PatientID"),
                "{}",
                message.body
            );
        }
        // A webhook that is gone hears nothing more.
        printed(server, &["webhook", "remove", "all"]);
        let listed = printed(server, &["webhook", "list", "--json"]);
        assert_eq!(listed, "{\"webhooks\":[]}");
    });
}

#[test]
fn what_does_not_arrive_is_sent_again_in_order_then_given_up_and_can_be_had_again() {
    on_each_index_with(
        &[NETWORKS, AT_ONCE, ("STOWAGE_WEBHOOK_WAIT_SECONDS", "2")],
        |server| {
            let receiver = Receiver::start();
            let secret = webhook(server, "hook", &receiver.url, "study.arrived,study.deleted");
            let [flaky, moved, held] = [9611, 9612, 9613].map(|study| Name::new(study, 1, 1));
            // The first two attempts fail; what comes behind waits for the first.
            receiver.behave(|number| {
                let status = if number < 2 {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::OK
                };
                status.into_response()
            });
            server.store("/v2", [&flaky.small()]).expect(200);
            delete(server, &flaky);
            wait_until("both arrived", || receiver.messages().len() == 4);
            let kinds: Vec<String> = receiver
                .messages()
                .iter()
                .map(|message| message.about().0)
                .collect();
            assert_eq!(
                kinds,
                [
                    "study.arrived",
                    "study.arrived",
                    "study.arrived",
                    "study.deleted"
                ]
            );
            let messages = receiver.messages();
            assert_eq!(
                messages[0].headers["webhook-id"],
                messages[2].headers["webhook-id"]
            );
            verify(&messages, &secret);

            // A redirect is a failure, and leads nowhere.
            let elsewhere = Receiver::start();
            let target = elsewhere.url.clone();
            receiver.behave(move |_| {
                (
                    StatusCode::TEMPORARY_REDIRECT,
                    [(header::LOCATION, target.clone())],
                )
                    .into_response()
            });
            server.store("/v2", [&moved.small()]).expect(200);
            let shown = || -> Value {
                serde_json::from_str(&printed(server, &["webhook", "show", "hook"])).unwrap()
            };
            wait_until("it is given up", || {
                shown()["deliveries"][0]["state"] == "dead"
            });
            let dead = shown()["deliveries"][0].clone();
            assert_eq!(dead["attempts"], 4, "one attempt and three more");
            assert_eq!(
                dead["problem"],
                "it answered 307; redirects are not followed"
            );
            assert!(elsewhere.messages().is_empty());
            let metrics = server.get("/metrics").expect(200).text();
            assert!(
                metrics.contains("stowage_webhook_given_up_total 1"),
                "{metrics}"
            );

            // What was given up holds nothing up, and is sent again when that is asked for.
            receiver.behave(|_| StatusCode::OK.into_response());
            server.store("/v2", [&held.small()]).expect(200);
            wait_until("the next arrived", || {
                !receiver.kinds(&held.study).is_empty()
            });
            let sequence = dead["sequence"].to_string();
            let before = receiver.messages().len();
            let said = printed(
                server,
                &[
                    "webhook",
                    "redeliver",
                    "hook",
                    "--from",
                    &sequence,
                    "--to",
                    &sequence,
                ],
            );
            assert_eq!(said, "1 events are sent again");
            wait_until("it arrived after all", || {
                receiver.messages().len() > before
            });
            wait_until("nothing is left", || shown()["deliveries"] == json!([]));

            // Nobody listens where the receiver was; then it says that it wants nothing any more.
            receiver.behave(|_| StatusCode::GONE.into_response());
            delete(server, &held);
            wait_until("it is told nothing more", || !shown()["disabled"].is_null());
            let asked = receiver.messages().len();
            server
                .store("/v2", [&Name::new(9614, 1, 1).small()])
                .expect(200);
            receiver.behave(|_| StatusCode::OK.into_response());
            assert_eq!(
                printed(server, &["webhook", "test", "hook"]),
                "it arrived: 200"
            );
            printed(server, &["webhook", "enable", "hook"]);
            wait_until("what was missed arrives", || {
                receiver.messages().len() >= asked + 3
            });
            assert_eq!(receiver.kinds("1.2.3.9614"), ["study.arrived"]);
        },
    );
}

#[test]
fn a_receiver_that_does_not_answer_holds_up_nobody_else() {
    let settings = [
        NETWORKS,
        ("STOWAGE_WEBHOOK_WAIT_SECONDS", "2"),
        ("STOWAGE_WEBHOOK_RETRY_SECONDS", "600"),
    ];
    let server = TestApp::with(&settings);
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let receiver = Receiver::start();
    webhook(&server, "silent", &url, "study.*");
    webhook(&server, "well", &receiver.url, "study.arrived");
    for study in 9620..9630 {
        server
            .store("/v2", [&Name::new(study, 1, 1).small()])
            .expect(200);
    }
    wait_until("the other gets all", || receiver.messages().len() == 10);
    let shown = || -> Value {
        serde_json::from_str(&printed(&server, &["webhook", "show", "silent"])).unwrap()
    };
    wait_until("it failed", || {
        shown()["deliveries"]
            .to_string()
            .contains("did not answer in time")
    });
}

#[test]
fn receivers_inside_of_the_network_are_not_called_unless_they_are_named() {
    let server = TestApp::with(&[]);
    let receiver = Receiver::start();
    let port = receiver.url.rsplit(':').next().unwrap().to_owned();
    for url in [
        receiver.url.clone(),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://user:password@example.org/".to_owned(),
    ] {
        let refused = server.command(&["webhook", "add", "x", &url]);
        assert_eq!(refused.status.code(), Some(3), "{url}");
        let body = json!({ "name": "x", "url": url }).to_string();
        let request = server
            .request("POST", "/v2/webhooks")
            .header("Content-Type", "application/json");
        let refused = request.body(body).send().expect(400);
        assert!(refused.text().contains("URL"), "{url}: {}", refused.text());
    }
    // A name is judged when it is called.
    let body =
        json!({ "name": "by-name", "url": format!("https://localhost:{port}/") }).to_string();
    let request = server
        .request("POST", "/v2/webhooks")
        .header("Content-Type", "application/json");
    let made = request.body(body).send().expect(201).json();
    let id = made["id"].as_str().unwrap();
    let tested = server
        .request("POST", &format!("/v2/webhooks/{id}/test"))
        .send()
        .expect(200)
        .json();
    assert_eq!(tested["arrived"], false);
    assert!(
        tested["detail"].as_str().unwrap().contains("not public"),
        "{tested}"
    );
    assert!(receiver.messages().is_empty());
}

fn bearer(server: &Deployment, arguments: &[&str]) -> String {
    format!(
        "Bearer {}",
        printed(server, &[&["token"], arguments].concat())
    )
}

fn ask(server: &Deployment, method: &str, target: &str, token: &str) -> Request {
    server
        .request(method, target)
        .header("Authorization", token)
}

fn send(server: &Deployment, file: &BuiltFile, token: &str) -> Response {
    let request =
        ask(server, "POST", "/v2/studies", token).header("Content-Type", "application/dicom");
    request.body(file.bytes.clone()).send()
}

#[test]
fn a_webhook_hears_what_its_owner_may_see_and_is_seen_by_nobody_beside() {
    on_each_index_with(&[NETWORKS, SECRET], |server| {
        let receiver = Receiver::start();
        let admin = bearer(server, &[]);
        let limited = bearer(server, &["--subject", "ward", "--patient", "P1"]);
        let other = bearer(server, &["--subject", "other", "--patient", "P2"]);
        let reader = bearer(server, &["--roles", "reader"]);
        let body =
            json!({ "name": "ward", "url": receiver.url, "events": ["study.*"] }).to_string();
        let create = |token: &str| {
            let request = ask(server, "POST", "/v2/webhooks", token)
                .header("Content-Type", "application/json");
            request.body(body.clone()).send()
        };
        create(&reader).expect(403);
        let made = create(&limited).expect(201).json();
        assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
        create(&admin).expect(409);
        let target = format!("/v2/webhooks/{}", made["id"].as_str().unwrap());
        let listed = |token: &str| {
            ask(server, "GET", "/v2/webhooks", token)
                .send()
                .expect(200)
                .json()
        };
        assert_eq!(listed(&other), json!([]));
        assert_eq!(listed(&limited)[0]["name"], "ward");
        assert_eq!(listed(&admin)[0]["limited"], true);
        for (method, path) in [
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/test"),
            ("POST", "/redeliver"),
        ] {
            let request = ask(server, method, &format!("{target}{path}"), &other);
            request.body("{\"firstSequence\":1}").send().expect(404);
        }
        let shown = ask(server, "GET", &target, &limited)
            .send()
            .expect(200)
            .text();
        assert!(!shown.contains("whsec_"), "{shown}");

        let (own, foreign) = (Name::new(9640, 1, 1), Name::new(9641, 1, 1));
        send(server, &of_patient(&foreign, "P2"), &admin).expect(200);
        send(server, &of_patient(&own, "P1"), &admin).expect(200);
        wait_until("its own arrived", || !receiver.messages().is_empty());
        assert_eq!(receiver.kinds(&own.study), ["study.arrived"]);
        assert!(receiver.kinds(&foreign.study).is_empty());
        let again = ask(server, "POST", &format!("{target}/redeliver"), &limited);
        let again = again
            .body("{\"firstSequence\":1}")
            .send()
            .expect(202)
            .json();
        assert_eq!(again["events"], 1);
        wait_until("it is sent again", || receiver.messages().len() == 2);
        ask(server, "DELETE", &target, &limited).send().expect(204);
        assert_eq!(listed(&admin), json!([]));
        for body in [
            "",
            "{}",
            "{\"name\":\"a\",\"url\":\"https://a.example/\",\"x\":1}",
        ] {
            let request = ask(server, "POST", "/v2/webhooks", &admin);
            request.body(body).send().expect(400);
        }
    });
}

#[test]
fn webhooks_of_a_file_are_there_while_it_names_them() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhooks.json");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let write = |names: &[&str]| {
        let one = |name: &&str| json!({ "name": name, "url": receiver.url, "secret": secret });
        let all: Vec<Value> = names.iter().map(one).collect();
        std::fs::write(&file, json!({ "webhooks": all }).to_string()).unwrap();
    };
    write(&["a", "b"]);
    let mut server = Server::with(&[NETWORKS, ("STOWAGE_WEBHOOKS_FILE", file.to_str().unwrap())]);
    server
        .store("/v2", [&Name::new(9650, 1, 1).small()])
        .expect(200);
    wait_until("both are told", || receiver.messages().len() == 2);
    verify(&receiver.messages(), secret);
    write(&["b"]);
    server.terminate();
    server.wait();
    server.restart();
    server
        .store("/v2", [&Name::new(9651, 1, 1).small()])
        .expect(200);
    wait_until("one is told", || receiver.messages().len() == 3);
    assert_eq!(receiver.kinds("1.2.3.9651"), ["study.arrived"]);
    std::fs::write(&file, "{\"webhooks\":[{\"name\":\"b\"}]}").unwrap();
    server.terminate();
    server.wait();
    server.restart_to_die();
    assert_eq!(server.wait().code(), Some(3));
    assert!(server.log().contains("STOWAGE_WEBHOOKS_FILE"));
}

#[test]
fn of_two_nodes_one_may_die_and_no_event_is_lost_or_out_of_order() {
    let blobs = tempfile::tempdir().unwrap();
    let settings = [NETWORKS, ("STOWAGE_QUIET_SECONDS", "3600")];
    let Some(mut first) = Server::first_node(&blobs, &settings) else {
        return;
    };
    let second = first.second_node(&[]);
    let receiver = Receiver::start();
    let secret = webhook(&first, "hook", &receiver.url, "study.*");
    let studies: Vec<Name> = (9660..9672).map(|study| Name::new(study, 1, 1)).collect();
    for (at, name) in studies.iter().enumerate() {
        let node = if at % 2 == 0 && at < 6 {
            &first
        } else {
            &second
        };
        node.store("/v2", [&name.small()]).expect(200);
        delete(node, name);
        if at == 6 {
            // Events are on their way, and it may be the one that sends.
            wait_until("some arrived", || !receiver.messages().is_empty());
            first.kill();
            first.wait();
        }
    }
    wait_until("every study was told of", || {
        studies
            .iter()
            .all(|name| receiver.kinds(&name.study).len() >= 2)
    });
    for name in &studies {
        assert_eq!(
            receiver.kinds(&name.study),
            ["study.arrived", "study.deleted"],
            "{}",
            name.study
        );
    }
    verify(&receiver.messages(), &secret);
}

#[test]
fn a_crash_while_events_are_made_loses_and_doubles_none() {
    for point in EVENTS {
        let fault = format!("{point}:1");
        on_each_index_process(&[NETWORKS, ("STOWAGE_QUIET_SECONDS", "3600")], |server| {
            let receiver = Receiver::start();
            let secret = webhook(server, "hook", &receiver.url, "study.*");
            server.terminate();
            server.wait();
            let folder = tempfile::tempdir().unwrap();
            let (one, two) = (Name::new(9700, 1, 1), Name::new(9701, 1, 1));
            let file = folder.path().join("one.dcm");
            std::fs::write(&file, one.small().bytes).unwrap();
            printed(server, &["import", file.to_str().unwrap()]);
            let settings = [
                ("STOWAGE_FAULT", fault.as_str()),
                ("STOWAGE_LISTEN", "127.0.0.1:0"),
            ];
            let died = server.command_with(&settings, &["serve"]);
            assert!(!died.status.success(), "{point} was not passed");
            forget_leases(server);
            server.restart();
            server.store("/v2", [&two.small()]).expect(200);
            wait_until("both were told of", || {
                [&one, &two]
                    .iter()
                    .all(|name| !receiver.kinds(&name.study).is_empty())
            });
            for name in [&one, &two] {
                assert_eq!(receiver.kinds(&name.study), ["study.arrived"], "{point}");
            }
            verify(&receiver.messages(), &secret);
        });
    }
}

/// A stream of events that is being read.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = server.request("GET", target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        socket.write_all(request.head().as_bytes()).unwrap();
        Self(BufReader::new(socket))
    }

    /// The next line that begins so; none at the end of the stream.
    fn line(&mut self, beginning: &str) -> Option<String> {
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Id, kind and data of the next event.
    fn event(&mut self) -> (i64, String, Value) {
        let id = self.line("id: ").unwrap().parse().unwrap();
        let kind = self.line("event: ").unwrap();
        let data = serde_json::from_str(&self.line("data: ").unwrap()).unwrap();
        (id, kind, data)
    }
}

#[test]
fn a_stream_tells_what_happens_and_goes_on_where_it_ended() {
    on_each_index_process(&[("STOWAGE_QUIET_SECONDS", "3600")], |server| {
        let (one, two) = (Name::new(9680, 1, 1), Name::new(9681, 1, 1));
        let mut stream = Stream::open(server, "/dicom-web/events", &[]);
        assert_eq!(stream.line("content-type: ").unwrap(), "text/event-stream");
        stream.line("retry: ").unwrap();
        server.store("/v2", [&one.small()]).expect(200);
        let (first, kind, data) = stream.event();
        assert_eq!(kind, "study.arrived");
        assert_eq!(data["subject"], format!("/studies/{}", one.study));
        assert_eq!(data["id"], first.to_string());
        drop(stream);
        server.store("/v2", [&two.small()]).expect(200);
        delete(server, &one);
        // What happened meanwhile, and only kinds that were asked for.
        let back = [("Last-Event-ID", first.to_string())];
        let back = back
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect::<Vec<_>>();
        let mut stream = Stream::open(server, "/v2/events?types=study.deleted", &back);
        let (_, kind, data) = stream.event();
        assert_eq!(
            (kind.as_str(), &data["subject"]),
            ("study.deleted", &json!(format!("/studies/{}", one.study)))
        );
        for (target, status) in [
            ("/v2/events?types=nonsense", 400),
            ("/v2/events?types=instance.created", 400),
            ("/v2/events?lastEventId=x", 400),
            ("/v2/events?lastEventId=99999", 400),
        ] {
            server.get(target).expect(status);
        }
        // A server that stops does not wait for those who listen.
        server.terminate();
        assert_eq!(stream.line("id: "), None);
        server.wait();
        server.restart();
    });
}

#[test]
fn a_stream_tells_a_limited_caller_of_nothing_else() {
    let server = Server::with(&[SECRET]);
    let admin = bearer(&server, &[]);
    let limited = bearer(&server, &["--patient", "P1"]);
    let mut stream = Stream::open(
        &server,
        "/v2/events",
        &[("Authorization", limited.as_str())],
    );
    stream.line("retry: ").unwrap();
    send(&server, &of_patient(&Name::new(9690, 1, 1), "P2"), &admin).expect(200);
    let own = Name::new(9691, 1, 1);
    send(&server, &of_patient(&own, "P1"), &admin).expect(200);
    let (_, kind, data) = stream.event();
    assert_eq!(kind, "study.arrived");
    assert_eq!(data["data"]["studyInstanceUid"], own.study);
    server.get("/v2/events").expect(401);
}
