//! Rules of forwarding: what arrives goes on to another `DICOMweb` server or to an AE, once, however either side fails.

use std::fs;
use std::path::PathBuf;

use dicom_core::{Tag, VR};
use serde_json::{Value, json};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use tempfile::TempDir;

use super::peer::{Peer, Reply, whole};
use super::said;
use crate::crash_matrix::{forget_leases, points::EVENTS};
use crate::support::dicom::Name;
use crate::support::proxy::free_port;
use crate::support::server::{Server, on_each_index_process, wait_until};

const QUIET: (&str, &str) = ("STOWAGE_QUIET_SECONDS", "2");
const SOON: (&str, &str) = (
    "STOWAGE_WEBHOOK_RETRY_SECONDS",
    "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
);

/// A file of rules, and the folder that it is in.
struct Rules {
    file: PathBuf,
    _folder: TempDir,
}

impl Rules {
    fn new(rules: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("forward.json");
        fs::write(&file, rules.to_string()).unwrap();
        Self {
            file,
            _folder: folder,
        }
    }

    fn setting(&self) -> (&str, &str) {
        ("STOWAGE_FORWARD_RULES", self.file.to_str().unwrap())
    }
}

fn to(server: &Server) -> String {
    format!("{}/dicom-web", server.url())
}

fn of_modality(name: &Name, modality: &str) -> BuiltFile {
    let data_set = name
        .data_set()
        .set(DataSet::new().text(Tag(0x0008, 0x0060), VR::CS, modality));
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn shown(server: &Server, rule: &str) -> Value {
    let output = server.command(&["forward", "show", rule]);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether nothing waits and nothing was given up.
fn is_done(server: &Server, rule: &str) -> bool {
    shown(server, rule)["deliveries"] == json!([])
}

fn changes(server: &Server) -> usize {
    let feed = server.get("/v2/changefeed?limit=200").expect(200).json();
    feed.as_array().unwrap().len()
}

#[test]
fn what_arrives_is_sent_on_byte_for_byte_and_only_what_the_rule_matches() {
    let (all, matched) = (Server::start(None), Server::start(None));
    let rules = Rules::new(&json!([
        { "name": "all", "url": to(&all) },
        { "name": "mr", "url": to(&matched), "match": { "Modality": "MR", "PatientName": "*" } },
        { "name": "quiet", "url": to(&matched), "when": "quiet", "match": { "Modality": "CR" } },
    ]));
    on_each_index_process(&[rules.setting(), QUIET], |server| {
        // Of this index alone.
        let base = 9800 + 10 * u32::try_from(changes(&all)).unwrap();
        let (ct, mr) = (Name::new(base, 1, 1), Name::new(base, 2, 2));
        let (cr, late) = (Name::new(base + 1, 1, 1), Name::new(base + 1, 1, 2));
        let files = [
            of_modality(&ct, "CT"),
            of_modality(&mr, "MR"),
            of_modality(&cr, "CR"),
        ];
        server.store("/v2", &files).expect(200);
        wait_until("all arrived", || {
            [&ct, &mr, &cr]
                .iter()
                .all(|name| all.stored(name).is_some())
        });
        for (name, file) in [&ct, &mr, &cr].into_iter().zip(&files) {
            assert!(all.stored(name).unwrap() == file.bytes);
        }
        wait_until("the others did", || {
            matched.stored(&mr).is_some() && matched.stored(&cr).is_some()
        });
        assert!(matched.stored(&ct).is_none());
        // What comes later goes alone; what is there already is no failure.
        server.store("/v2", [&of_modality(&late, "CR")]).expect(200);
        wait_until("it arrived too", || {
            all.stored(&late).is_some() && matched.stored(&late).is_some()
        });
        for rule in ["all", "mr", "quiet"] {
            wait_until("nothing is left", || is_done(server, rule));
        }
        let metrics = server.get("/metrics").expect(200).text();
        assert!(
            metrics.contains("stowage_forward_attempts_total{outcome=\"failed\"} 0"),
            "{metrics}"
        );
        assert!(metrics.contains("stowage_forward_rules 3"), "{metrics}");
        // They are no webhooks.
        let listed = server.command(&["webhook", "list", "--json"]);
        assert_eq!(said(&listed).trim(), "{\"webhooks\":[]}");
        assert_eq!(server.get("/v2/webhooks").expect(200).json(), json!([]));
        let listed = said(&server.command(&["forward", "list"]));
        assert!(
            listed.contains("quiet: ") && listed.contains("study.quiet; 0 waiting, 0 given up"),
            "{listed}"
        );
        let nobody = server.command(&["forward", "show", "nobody"]);
        assert_eq!(nobody.status.code(), Some(3));
    });
}

#[test]
fn two_servers_that_forward_to_each_other_come_to_rest() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/dicom-web");
    let first_rules = Rules::new(&json!([{ "name": "there", "url": url }]));
    let first = Server::with(&[first_rules.setting(), SOON]);
    let second_rules = Rules::new(&json!([{ "name": "back", "url": to(&first) }]));
    let listen = format!("127.0.0.1:{port}");
    let second = Server::with(&[second_rules.setting(), SOON, ("STOWAGE_LISTEN", &listen)]);
    let names = [Name::new(9840, 1, 1), Name::new(9841, 1, 1)];
    first.store("/v2", [&names[0].small()]).expect(200);
    second.store("/v2", [&names[1].small()]).expect(200);
    wait_until("both have both", || {
        [&first, &second]
            .iter()
            .all(|server| names.iter().all(|name| server.stored(name).is_some()))
    });
    wait_until("nothing is left", || {
        is_done(&first, "there") && is_done(&second, "back")
    });
    assert_eq!((changes(&first), changes(&second)), (2, 2));
}

#[test]
fn a_peer_that_does_not_speak_http_gets_it_by_c_store() {
    let folder = tempfile::tempdir().unwrap();
    let peers = folder.path().join("peers.json");
    let port = free_port();
    let text = json!([{ "aeTitle": "OLD", "host": "127.0.0.1", "port": port, "rights": [] }, { "aeTitle": "NEW" }]);
    fs::write(&peers, text.to_string()).unwrap();
    let peers = ("STOWAGE_DIMSE_PEERS", peers.to_str().unwrap());
    let rules =
        Rules::new(&json!([{ "name": "pacs", "aeTitle": "OLD", "match": { "Modality": "MR" } }]));
    let server = Server::with(&[
        rules.setting(),
        peers,
        SOON,
        ("STOWAGE_DIMSE_AE_TITLE", "NEW"),
    ]);
    let (mr, ct) = (Name::new(9850, 1, 1), Name::new(9850, 2, 1));
    server
        .store("/v2", &[of_modality(&mr, "MR"), of_modality(&ct, "CT")])
        .expect(200);
    // Nobody is there yet.
    wait_until("it failed", || {
        shown(&server, "pacs")["deliveries"]
            .to_string()
            .contains("cannot be reached")
    });
    let listen = format!("127.0.0.1:{port}");
    let old = Server::with(&[
        peers,
        ("STOWAGE_DIMSE_LISTEN", &listen),
        ("STOWAGE_DIMSE_AE_TITLE", "OLD"),
    ]);
    wait_until("it arrived", || old.stored(&mr).is_some());
    wait_until("nothing is left", || is_done(&server, "pacs"));
    assert!(old.stored(&ct).is_none());
}

#[test]
fn what_does_not_arrive_is_sent_again_then_given_up_and_can_be_had_again() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/dicom-web");
    let rules = Rules::new(&json!([{ "name": "research", "url": url }]));
    let settings = [rules.setting(), ("STOWAGE_WEBHOOK_RETRY_SECONDS", "0,0")];
    let server = Server::with(&settings);
    let name = Name::new(9860, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    wait_until("it is given up", || {
        shown(&server, "research")["deliveries"][0]["state"] == "dead"
    });
    let dead = shown(&server, "research")["deliveries"][0].clone();
    assert_eq!(dead["attempts"], 3);
    let problem = dead["problem"].as_str().unwrap();
    assert!(problem.contains("cannot be reached"), "{problem}");
    let listen = format!("127.0.0.1:{port}");
    let research = Server::with(&[("STOWAGE_LISTEN", &listen)]);
    let sequence = dead["sequence"].to_string();
    let again = [
        "forward",
        "redeliver",
        "research",
        "--from",
        &sequence,
        "--to",
        &sequence,
    ];
    let again = said(&server.command(&again));
    assert!(again.contains("1 events"), "{again}");
    wait_until("it arrived after all", || research.stored(&name).is_some());
    wait_until("nothing is left", || is_done(&server, "research"));
    // Deleted before it could go: nothing is left to be sent.
    drop(research);
    let gone = Name::new(9861, 1, 1);
    server.store("/v2", [&gone.small()]).expect(200);
    server
        .request("DELETE", &format!("/v2{}", gone.study_path()))
        .send()
        .expect(204);
    wait_until("it was tried", || {
        let deliveries = shown(&server, "research")["deliveries"].clone();
        deliveries == json!([]) || deliveries[0]["state"] == "dead"
    });
    printed_redeliver(&server, "research");
    wait_until("nothing is left", || is_done(&server, "research"));
}

fn printed_redeliver(server: &Server, rule: &str) {
    // From the second event on: the first one's receiver is gone.
    let output = server.command(&["forward", "redeliver", rule, "--from", "2"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn what_the_other_server_refuses_is_counted_with_its_reason_and_keeps_nobody_else() {
    let refused = Name::new(9870, 1, 1);
    let uid = refused.instance.clone();
    let peer = Peer::start(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let listed = |tag: &str, uid: &str, reason: &str| {
            json!({ tag: { "vr": "SQ", "Value": [{
                "00081155": { "vr": "UI", "Value": [uid] },
                "00081197": { "vr": "US", "Value": [reason.parse::<u32>().unwrap_or(0)] },
            }] } })
            .to_string()
        };
        if body.contains(&uid) {
            let report = listed("00081198", &uid, "290");
            return Reply::Raw(whole(
                "409 Conflict",
                "application/dicom+json",
                report.as_bytes(),
            ));
        }
        let other = "1.2.3.9871.1.1";
        let report = listed("00081199", other, "0");
        Reply::Raw(whole("200 OK", "application/dicom+json", report.as_bytes()))
    });
    let token = tempfile::tempdir().unwrap();
    let file = token.path().join("token");
    fs::write(&file, "sesame").unwrap();
    let rules = Rules::new(&json!([
        { "name": "research", "url": peer.url, "tokenFile": file.to_str().unwrap() },
    ]));
    let settings = [rules.setting(), ("STOWAGE_WEBHOOK_RETRY_SECONDS", "3600")];
    let server = Server::with(&settings);
    server.store("/v2", [&refused.small()]).expect(200);
    wait_until("it is refused", || {
        shown(&server, "research")["deliveries"]
            .to_string()
            .contains("1 of 1 instances did not arrive; 1: the server refuses it (0122)")
    });
    let before = peer.count();
    server
        .store("/v2", [&Name::new(9871, 1, 1).small()])
        .expect(200);
    wait_until("the next is sent", || peer.count() > before);
    wait_until("and is done", || {
        shown(&server, "research")["deliveries"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    let requests = peer.requests.lock().unwrap().clone();
    assert!(requests.iter().all(|request| {
        request.method == "POST"
            && request.target == "/studies"
            && request.headers.iter().any(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value == "Bearer sesame"
            })
    }));
}

#[test]
fn rules_that_cannot_be_right_stop_the_start_and_say_why() {
    let mut server = Server::start(None);
    server.terminate();
    server.wait();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forward.json");
    server.set("STOWAGE_FORWARD_RULES", Some(file.to_str().unwrap()));
    for (rules, expected) in [
        (json!({}), "expected a sequence"),
        (json!([{ "name": "a" }]), "needs one of url"),
        (
            json!([{ "name": "a", "url": "x", "aeTitle": "B" }]),
            "needs one of url",
        ),
        (
            json!([{ "name": "a", "url": "ftp://x" }]),
            "the URL must be that of a DICOMweb service",
        ),
        (
            json!([{ "name": "a", "aeTitle": "NOBODY" }]),
            "NOBODY has no entry",
        ),
        (
            json!([{ "name": "a b", "url": "http://h/" }]),
            "a name has 1 to 64",
        ),
        (
            json!([{ "name": "a", "url": "http://h/", "match": { "Modalty": "CT" } }]),
            "Modalty",
        ),
        (
            json!([{ "name": "a", "url": "http://h/", "match": { "SOPInstanceUID": "1" } }]),
            "match of a",
        ),
        (
            json!([{ "name": "a", "url": "http://h/", "match": { "limit": "1" } }]),
            "limit is no attribute",
        ),
        (
            json!([{ "name": "a", "url": "http://h/", "partition": "north" }]),
            "STOWAGE_PARTITIONS=on",
        ),
        (
            json!([{ "name": "a", "url": "http://h/" }, { "name": "a", "url": "http://h/" }]),
            "two rules have the name a",
        ),
        (
            json!([{ "name": "a", "url": "http://h/", "tokenFile": "/nowhere" }]),
            "/nowhere",
        ),
    ] {
        fs::write(&file, rules.to_string()).unwrap();
        let output = server.command_with(
            &[
                ("STOWAGE_LISTEN", "127.0.0.1:0"),
                ("STOWAGE_DIMSE_PEERS", "any"),
            ],
            &["serve"],
        );
        let text = said(&output);
        assert_eq!(output.status.code(), Some(3), "{rules}: {text}");
        assert!(
            text.contains("STOWAGE_FORWARD_RULES") && text.contains(expected),
            "{rules}: {text}"
        );
    }
}

#[test]
fn a_rule_sends_from_its_partition_alone() {
    let other = Server::start(None);
    let rules = Rules::new(&json!([{ "name": "north", "url": to(&other), "partition": "north" }]));
    on_each_index_process(&[rules.setting(), ("STOWAGE_PARTITIONS", "on")], |server| {
        let base = 9880 + 2 * u32::try_from(changes(&other)).unwrap();
        let (north, south) = (Name::new(base, 1, 1), Name::new(base + 1, 1, 1));
        server
            .store("/v2/partitions/south", [&south.small()])
            .expect(200);
        server
            .store("/v2/partitions/north", [&north.small()])
            .expect(200);
        wait_until("it arrived", || other.stored(&north).is_some());
        wait_until("nothing is left", || is_done(server, "north"));
        assert!(other.stored(&south).is_none());
    });
}

#[test]
fn a_crash_while_something_is_forwarded_loses_nothing_and_stores_nothing_twice() {
    for point in EVENTS {
        let other = Server::start(None);
        let rules = Rules::new(&json!([{ "name": "there", "url": to(&other) }]));
        let fault = format!("{point}:1");
        let mut server = Server::with(&[rules.setting()]);
        server.terminate();
        server.wait();
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Name::new(9890, 1, 1), Name::new(9891, 1, 1));
        let file = folder.path().join("one.dcm");
        fs::write(&file, one.small().bytes).unwrap();
        let imported = server.command(&["import", file.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", said(&imported));
        let settings = [
            ("STOWAGE_FAULT", fault.as_str()),
            ("STOWAGE_LISTEN", "127.0.0.1:0"),
        ];
        let died = server.command_with(&settings, &["serve"]);
        assert!(!died.status.success(), "{point} was not passed");
        forget_leases(&server);
        server.restart();
        server.store("/v2", [&two.small()]).expect(200);
        wait_until("both arrived", || {
            other.stored(&one).is_some() && other.stored(&two).is_some()
        });
        wait_until("nothing is left", || is_done(&server, "there"));
        assert_eq!(changes(&other), 2, "{point}");
    }
}

#[test]
fn of_two_nodes_one_may_die_and_everything_is_forwarded() {
    let other = Server::start(None);
    let rules = Rules::new(&json!([{ "name": "there", "url": to(&other) }]));
    let blobs = tempfile::tempdir().unwrap();
    let settings = [rules.setting(), SOON];
    let Some(mut first) = Server::first_node(&blobs, &settings) else {
        return;
    };
    let second = first.second_node(&[]);
    let names: Vec<Name> = (9900..9912).map(|study| Name::new(study, 1, 1)).collect();
    for (at, name) in names.iter().enumerate() {
        let node = if at % 2 == 0 && at < 6 {
            &first
        } else {
            &second
        };
        node.store("/v2", [&name.small()]).expect(200);
        if at == 6 {
            wait_until("some arrived", || changes(&other) > 0);
            first.kill();
            first.wait();
        }
    }
    wait_until("everything arrived", || changes(&other) == names.len());
    assert!(names.iter().all(|name| other.stored(name).is_some()));
}

/// Blocks of `docs/events.md` of a language.
fn blocks(language: &str) -> Vec<String> {
    let page = include_str!("../../../docs/events.md");
    let fence = format!("```{language}\n");
    let blocks = page.split(fence.as_str()).skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_commands_of_the_page_of_events_work_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let secret = secret.to_str().unwrap();
    let [webhooks, rules] = ["\"webhooks\"", "\"aeTitle\""].map(|member| {
        let found = blocks("json")
            .into_iter()
            .find(|block| block.contains(member));
        let block = found.expect("the page has a file of each");
        let file = folder.path().join(member.trim_matches('"'));
        let block = block
            .replace("/run/secrets/ai", secret)
            .replace("/run/secrets/research", secret);
        fs::write(&file, block).unwrap();
        file
    });
    let peers = folder.path().join("peers.json");
    let peer = json!([{ "aeTitle": "PACS1", "host": "127.0.0.1", "port": 1 }]);
    fs::write(&peers, peer.to_string()).unwrap();
    let server = Server::with(&[
        ("STOWAGE_FORWARD_RULES", rules.to_str().unwrap()),
        ("STOWAGE_DIMSE_PEERS", peers.to_str().unwrap()),
        ("STOWAGE_PARTITIONS", "on"),
    ]);
    let all = server.log();
    let mut commands = 0;
    for block in blocks("bash") {
        for line in block
            .lines()
            .filter_map(|line| line.strip_prefix("stowage "))
        {
            let words: Vec<&str> = line.split(' ').collect();
            let output = server.command(&words);
            assert!(output.status.success(), "{line}: {} {all}", said(&output));
            commands += 1;
        }
    }
    assert_eq!(commands, 4, "commands of the page");
    let listed = said(&server.command(&["forward", "list"]));
    for rule in [
        "research: https://research.example.org/dicom-web",
        "pacs: dicom:PACS1",
        "ai: ",
    ] {
        assert!(listed.contains(rule), "{listed}");
    }
    let file = [("STOWAGE_WEBHOOKS_FILE", webhooks.to_str().unwrap())];
    let other = Server::with(&file);
    let listed = said(&other.command(&["webhook", "list"]));
    assert!(
        listed.contains("ai (file): https://ai.example.org/stowage"),
        "{listed}"
    );
}
