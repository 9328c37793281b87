//! Non-patient instances over HTTP (PS3.18 chapter 12).

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::postgres;
use crate::support::prelude::*;
use crate::support::sql::execute;

const HANGING: &str = "1.2.840.10008.5.1.4.38.1";
const PALETTE: &str = "1.2.840.10008.5.1.4.39.1";
const FILE: &str = "application/dicom";
const JSON: &str = "application/dicom+json";

/// Resources with a SOP class of each.
const RESOURCES: [(&str, &str); 6] = [
    ("color-palettes", PALETTE),
    (
        "defined-procedure-protocols",
        "1.2.840.10008.5.1.4.1.1.200.1",
    ),
    ("hanging-protocols", HANGING),
    ("implant-templates", "1.2.840.10008.5.1.4.44.1"),
    ("inventories", "1.2.840.10008.5.1.4.1.1.201.1"),
    ("protocol-approvals", "1.2.840.10008.5.1.4.1.1.200.3"),
];

/// An object without patient, study and series.
fn object(class: &str, uid: &str, own: DataSet, syntax: Syntax) -> BuiltFile {
    let data_set = DataSet::new()
        .text(Tag(0x0008, 0x0016), VR::UI, class)
        .text(Tag(0x0008, 0x0018), VR::UI, uid)
        .set(own);
    let name = Name {
        study: String::new(),
        series: String::new(),
        instance: uid.to_owned(),
    };
    name.file(&data_set, syntax)
}

fn hanging(uid: &str, name: &str) -> BuiltFile {
    let own = DataSet::new()
        .text(Tag(0x0072, 0x0002), VR::SH, name)
        .text(Tag(0x0072, 0x0004), VR::LO, "For tests")
        .text(Tag(0x0072, 0x0006), VR::CS, "SITE")
        .bytes(Tag(0x0072, 0x0069), VR::OB, [1, 2, 3, 4]);
    object(HANGING, uid, own, Syntax::ExplicitLittle)
}

fn post(server: &Deployment, target: &str, file: &BuiltFile) -> Response {
    server
        .request("POST", target)
        .header("Content-Type", FILE)
        .accept(JSON)
        .body(file.bytes.clone())
        .send()
}

fn found(server: &Deployment, target: &str) -> Vec<String> {
    let answer = server.get_as(target, JSON).expect(200).json();
    let uids = answer.as_array().unwrap().iter();
    uids.map(|item| item["00080018"]["Value"][0].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_hanging_protocol_is_found_by_its_name_and_comes_back_byte_for_byte() {
    on_each_index(|server| {
        let one = hanging("1.2.3.1", "CT Chest");
        let other = hanging("1.2.3.2", "MR Head");
        let body = multipart::body([one.bytes.as_slice(), &other.bytes]);
        let report = server
            .request("POST", "/dicom-web/hanging-protocols")
            .header("Content-Type", &multipart::content_type())
            .accept(JSON)
            .body(body)
            .send()
            .expect(200)
            .json();
        let url = |uid: &str| format!("{}/dicom-web/hanging-protocols/{uid}", server.url());
        assert_eq!(
            report["00081199"]["Value"].as_array().map(Vec::len),
            Some(2)
        );
        let first = &report["00081199"]["Value"][0];
        assert_eq!(first["00081190"]["Value"][0], url("1.2.3.1"));
        assert_eq!(first["00081150"]["Value"][0], HANGING);
        for (query, uids) in [
            ("", &["1.2.3.2", "1.2.3.1"][..]),
            ("?HangingProtocolName=CT%20Chest", &["1.2.3.1"]),
            ("?HangingProtocolName=MR*", &["1.2.3.2"]),
            ("?00720002=none", &[]),
            ("?SOPInstanceUID=1.2.3.1", &["1.2.3.1"]),
            ("?limit=1&offset=1", &["1.2.3.1"]),
        ] {
            let target = format!("/dicom-web/hanging-protocols{query}");
            assert_eq!(found(server, &target), uids, "{query}");
        }
        let answer = server
            .get_as("/dicom-web/hanging-protocols?limit=1", JSON)
            .expect(200);
        assert!(answer.header("warning").unwrap().contains("1 additional"));
        let item = &answer.json()[0];
        assert_eq!(item["00720004"]["Value"][0], "For tests");
        assert!(item.get("00720069").is_none());
        let everything = server.get_as("/dicom-web/hanging-protocols?includefield=all", JSON);
        assert_eq!(everything.json()[0]["00720069"]["InlineBinary"], "AQIDBA==");
        // As a file, in multipart, as metadata.
        let target = "/v2/hanging-protocols/1.2.3.1";
        for accept in ["*/*", FILE, "application/dicom; transfer-syntax=*"] {
            let file = server.get_as(target, accept).expect(200);
            assert!(file.body == one.bytes, "{accept}");
            assert_eq!(
                file.content_type(),
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
            );
            let etag = file.header("etag").expect("an ETag").to_owned();
            let again = server.request("GET", target).accept(accept);
            let again = again.header("If-None-Match", &etag).send();
            assert!(again.expect(304).body.is_empty());
        }
        let parts = server.get_as(target, "multipart/related; type=\"application/dicom\"");
        assert!(parts.expect(200).parts().remove(0).body == one.bytes);
        let metadata = server.get_as(target, JSON).expect(200).json();
        assert_eq!(metadata[0]["00720002"]["Value"][0], "CT Chest");
        let xml = "multipart/related; type=\"application/dicom+xml\"";
        let xml = server
            .get_as(target, xml)
            .expect(200)
            .parts()
            .remove(0)
            .body;
        assert!(String::from_utf8_lossy(&xml).contains("CT Chest"));
        let jpeg = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50";
        let refused = server.get_as(target, jpeg).expect(406);
        assert!(refused.text().contains("1.2.840.10008.1.2.1"));
        // It is no instance of a study.
        assert!(found(server, "/dicom-web/instances").is_empty());
        let feed = server.get("/v2/changefeed").expect(200).json();
        assert_eq!(feed, json!([]));
        server.request("DELETE", target).send().expect(204);
        server.get_as(target, "*/*").expect(404);
        server.request("DELETE", target).send().expect(404);
        assert_eq!(found(server, "/dicom-web/hanging-protocols"), ["1.2.3.2"]);
        server.fsck();
    });
}

#[test]
fn every_resource_takes_its_own_classes_in_every_encoding() {
    let server = TestApp::start(None);
    let syntaxes = [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
        Syntax::Deflated,
    ];
    for (number, (resource, class)) in RESOURCES.into_iter().enumerate() {
        for (at, syntax) in syntaxes.into_iter().enumerate() {
            let uid = format!("1.2.3.{number}.{at}");
            let file = object(class, &uid, DataSet::new(), syntax);
            let target = format!("/dicom-web/{resource}");
            post(&server, &target, &file).expect(200);
            // Once more is no fault.
            post(&server, &format!("{target}/{uid}"), &file).expect(200);
            let got = server.get_as(&format!("{target}/{uid}"), FILE).expect(200);
            assert!(got.body == file.bytes);
            for (other, _) in RESOURCES.iter().filter(|(other, _)| *other != resource) {
                let refused = post(&server, &format!("/dicom-web/{other}"), &file).expect(409);
                let item = &refused.json()["00081198"]["Value"][0];
                assert_eq!(item["00081197"]["Value"][0], 0xA900);
                server
                    .get_as(&format!("/dicom-web/{other}/{uid}"), FILE)
                    .expect(404);
            }
        }
        let target = format!("/dicom-web/{resource}");
        assert_eq!(found(&server, &target).len(), 4);
    }
    let options = server
        .request("OPTIONS", "/dicom-web/")
        .accept("application/json")
        .send();
    let reported = options.expect(200).text();
    for (resource, _) in RESOURCES {
        assert!(reported.contains(resource), "{resource}");
    }
}

#[test]
fn what_cannot_be_stored_is_told_and_changes_nothing() {
    let server = TestApp::start(None);
    let target = "/dicom-web/hanging-protocols";
    let one = hanging("1.2.3.1", "One");
    post(&server, target, &one).expect(200);
    let reason = |answer: Response, status: u16| {
        let report: Value = answer.expect(status).json();
        report["00081198"]["Value"][0]["00081197"]["Value"][0].clone()
    };
    let other = hanging("1.2.3.1", "Other");
    assert_eq!(reason(post(&server, target, &other), 409), 0x0111);
    let image = Name::new(1, 1, 1).small();
    assert_eq!(reason(post(&server, target, &image), 409), 0xA900);
    let elsewhere = format!("{target}/1.2.3.9");
    assert_eq!(reason(post(&server, &elsewhere, &one), 409), 0xA900);
    let mut junk = one.clone();
    junk.bytes = b"no file at all".to_vec();
    assert_eq!(reason(post(&server, target, &junk), 409), 0xC000);
    let mut cut = one.clone();
    cut.bytes.truncate(one.bytes.len() - 3);
    post(&server, target, &cut).expect(409);
    let body = multipart::body([one.bytes.as_slice(), &junk.bytes]);
    server
        .request("POST", target)
        .header("Content-Type", &multipart::content_type())
        .accept(JSON)
        .body(body)
        .send()
        .expect(202);
    // A patient's store does not take it either, and says where it goes.
    for (resource, class) in RESOURCES {
        let file = object(class, "1.2.3.5", DataSet::new(), Syntax::ExplicitLittle);
        let refused = post(&server, "/dicom-web/studies", &file).expect(409);
        let place = format!("store them under /{resource}\"");
        assert!(refused.text().contains(&place), "{}", refused.text());
    }
    let raw = |kind: &str| {
        server
            .request("POST", target)
            .header("Content-Type", kind)
            .body("{}")
            .send()
    };
    raw("application/json").expect(415);
    raw("multipart/related; type=\"application/dicom+json\"; boundary=x").expect(415);
    let large = object(
        HANGING,
        "1.2.3.7",
        DataSet::new().bytes(Tag(0x0072, 0x0069), VR::OB, vec![0; 33 << 20]),
        Syntax::ExplicitLittle,
    );
    post(&server, target, &large).expect(413);
    for path in [
        "/dicom-web/nothing",
        "/dicom-web/nothing/1.2",
        "/v2/nothing",
        "/dicom-web/hanging-protocols/1.2.3.1/metadata",
        "/dicom-web/hanging-protocols/1.2.3.1/rendered",
    ] {
        server.get_as(path, "*/*").expect(404);
    }
    let picture = format!("{target}/1.2.3.1");
    server.get_as(&picture, "image/jpeg").expect(406);
    for method in ["PUT", "PATCH", "DELETE"] {
        let refused = server.request(method, target).body("x").send();
        assert_eq!(refused.status, 405, "{method}");
    }
    // A UID that is taken in one resource is taken in all of them.
    let palette = object(PALETTE, "1.2.3.1", DataSet::new(), Syntax::ExplicitLittle);
    let taken = post(&server, "/dicom-web/color-palettes", &palette);
    assert_eq!(reason(taken, 409), 0x0111);
    assert_eq!(found(&server, "/dicom-web/color-palettes"), [""; 0]);
    server.get_as(&format!("{target}/1..2"), "*/*").expect(400);
    server
        .get_as(&format!("{target}?limit=x"), JSON)
        .expect(400);
    assert_eq!(found(&server, target), ["1.2.3.1"]);
    let name = server.get_as(&format!("{target}/1.2.3.1"), JSON).json();
    assert_eq!(name[0]["00720002"]["Value"][0], "One");
}

#[test]
fn who_is_limited_reads_what_names_no_patient_and_stores_nothing() {
    use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    on_each_index_with(&settings, |server| {
        let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
        let limits = with(claims("admin"), "dicom_patients", json!(["P1"]));
        let limited = with_secret(SECRET.as_bytes(), &limits);
        let ask = |method: &str, target: &str, token: &str, body: &[u8]| {
            server
                .request(method, target)
                .header("Authorization", &format!("Bearer {token}"))
                .header("Content-Type", FILE)
                .accept("*/*")
                .body(body.to_vec())
                .send()
        };
        let inventory = object(
            RESOURCES[4].1,
            "1.2.3.4",
            DataSet::new(),
            Syntax::ExplicitLittle,
        );
        let hanging = hanging("1.2.3.1", "One");
        for (resource, file) in [("inventories", &inventory), ("hanging-protocols", &hanging)] {
            let target = format!("/dicom-web/{resource}");
            ask("POST", &target, &limited, &file.bytes).expect(403);
            ask("POST", &target, &admin, &file.bytes).expect(200);
        }
        ask("GET", "/dicom-web/hanging-protocols/1.2.3.1", &limited, b"").expect(200);
        ask("GET", "/dicom-web/inventories/1.2.3.4", &limited, b"").expect(404);
        ask("GET", "/dicom-web/inventories/1.2.3.4", &admin, b"").expect(200);
        let listed = ask("GET", "/dicom-web/inventories", &limited, b"").expect(200);
        assert_eq!(listed.json(), json!([]));
        for target in ["hanging-protocols/1.2.3.1", "inventories/1.2.3.4"] {
            let target = format!("/dicom-web/{target}");
            ask("DELETE", &target, &limited, b"").expect(403);
        }
        let reader = with_secret(SECRET.as_bytes(), &claims("reader"));
        ask("GET", "/dicom-web/hanging-protocols", &reader, b"").expect(200);
        ask(
            "POST",
            "/dicom-web/hanging-protocols",
            &reader,
            &hanging.bytes,
        )
        .expect(403);
    });
}

#[test]
fn what_is_stored_belongs_to_a_partition_and_survives_a_crash() {
    let mut server = Server::with(&[("STOWAGE_PARTITIONS", "on")]);
    let root = |name: &str| format!("/v2/partitions/{name}/color-palettes");
    let one = object(PALETTE, "1.2.3.1", DataSet::new(), Syntax::ExplicitLittle);
    let own = DataSet::new().text(Tag(0x0070, 0x0080), VR::CS, "OTHER");
    let other = object(PALETTE, "1.2.3.1", own, Syntax::ExplicitLittle);
    post(&server, &root("north"), &one).expect(200);
    post(&server, &root("south"), &other).expect(200);
    server.set("STOWAGE_FAULT", Some("nonpatient.inserted:1"));
    server.kill();
    server.wait();
    server.restart();
    let third = object(PALETTE, "1.2.3.3", DataSet::new(), Syntax::ExplicitLittle);
    let request = server
        .request("POST", &root("north"))
        .header("Content-Type", FILE)
        .body(third.bytes.clone());
    assert!(request.try_send().is_err());
    server.wait();
    server.set("STOWAGE_FAULT", None);
    server.restart();
    assert_eq!(found(&server, &root("north")), ["1.2.3.1"]);
    post(&server, &root("north"), &third).expect(200);
    for (partition, file) in [("north", &one), ("south", &other)] {
        let target = format!("{}/1.2.3.1", root(partition));
        assert!(server.get_as(&target, FILE).expect(200).body == file.bytes);
    }
    let target = format!("/v2/partitions/west/color-palettes/{}", "1.2.3.1");
    server.get_as(&target, FILE).expect(400);
}

#[test]
fn each_resource_is_searched_by_its_attributes_in_pages() {
    on_each_index(|server| {
        for (number, (resource, class)) in RESOURCES.into_iter().enumerate() {
            let root = format!("/dicom-web/{resource}");
            let (tag, vr) = match resource {
                "defined-procedure-protocols" => (Tag(0x0018, 0x1030), VR::LO),
                "hanging-protocols" => (Tag(0x0072, 0x0002), VR::SH),
                "implant-templates" => (Tag(0x0022, 0x1095), VR::LO),
                "inventories" => (Tag(0x0008, 0x0401), VR::LT),
                _ => (Tag(0x0070, 0x0080), VR::CS),
            };
            let uid = |at: usize| format!("1.2.3.{number}.{at}");
            for at in 0..5 {
                let text = if at < 3 { "MINE" } else { "OTHER" };
                let own = DataSet::new().text(tag, vr, text);
                let file = object(class, &uid(at), own, Syntax::ExplicitLittle);
                post(server, &root, &file).expect(200);
            }
            let key = format!("{:04X}{:04X}", tag.0, tag.1);
            let mut pages = Vec::new();
            for offset in [0, 2, 4] {
                pages.extend(found(server, &format!("{root}?limit=2&offset={offset}")));
            }
            assert_eq!(pages, [4, 3, 2, 1, 0].map(uid), "{resource}");
            let mine = found(server, &format!("{root}?{key}=MINE"));
            assert_eq!(mine, [2, 1, 0].map(uid), "{resource}");
            let both = format!("{root}?SOPInstanceUID={},{}", uid(0), uid(4));
            assert_eq!(found(server, &both), [4, 0].map(uid), "{resource}");
            let one = format!("{root}?{key}=OTHER&limit=1");
            let answer = server.get_as(&one, JSON).expect(200);
            let left = answer.header("warning").unwrap_or_default();
            assert!(left.contains("There are 1 additional"), "{left}");
            assert_eq!(answer.json()[0][&key]["Value"][0], "OTHER");
            let xml = "multipart/related; type=\"application/dicom+xml\"";
            let parts = server.get_as(&root, xml).expect(200).parts();
            assert_eq!(parts.len(), 5, "{resource}");
        }
    });
}

#[test]
fn the_commands_check_and_move_what_lies_in_the_index() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Some(url) = runtime.unwrap().block_on(postgres::empty_database()) else {
        return;
    };
    let mut server = Server::start(None);
    let files = ["1.2.3.1", "1.2.3.2"].map(|uid| (uid, hanging(uid, "One")));
    for (_, file) in &files {
        post(&server, "/dicom-web/hanging-protocols", file).expect(200);
    }
    let run = |server: &Server, arguments: &[&str]| {
        let output = server.command(arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    };
    server.terminate();
    server.wait();
    let own = format!("sqlite://{}", server.data().join("index.sqlite").display());
    let (well, text) = run(&server, &["move-index", "--from", &own, "--to", &url]);
    assert!(well && text.contains("nonpatient: 2 rows"), "{text}");
    server.set("STOWAGE_DATABASE_URL", Some(&url));
    server.restart();
    for (uid, file) in &files {
        let target = format!("/dicom-web/hanging-protocols/{uid}");
        assert!(server.get_as(&target, FILE).expect(200).body == file.bytes);
    }
    let (well, text) = run(&server, &["fsck", "--digests"]);
    let read = "2 files of non-patient instances";
    assert!(well && text.contains(read), "{text}");
    let damage = "update nonpatient set file = metadata where sop_instance_uid = '1.2.3.1'";
    execute(&server, damage);
    let (well, text) = run(&server, &["fsck", "--digests"]);
    let named = "1.2.3.1 in hanging-protocols: the bytes";
    assert!(!well && text.contains(named), "{text}");
    // What is damaged is not sent; the other one is.
    let target = |uid: &str| format!("/dicom-web/hanging-protocols/{uid}");
    assert_eq!(server.get_as(&target("1.2.3.1"), FILE).status, 500);
    server.get_as(&target("1.2.3.2"), FILE).expect(200);
}

#[test]
fn partitions_are_not_switched_off_while_one_holds_an_object() {
    let mut server = Server::with(&[("STOWAGE_PARTITIONS", "on")]);
    let target = "/v2/partitions/north/hanging-protocols";
    post(&server, target, &hanging("1.2.3.1", "One")).expect(200);
    server.terminate();
    server.wait();
    server.set("STOWAGE_PARTITIONS", None);
    server.restart_to_die();
    assert!(!server.wait().success());
    assert!(server.log().contains("north"), "{}", server.log());
    server.set("STOWAGE_PARTITIONS", Some("on"));
    server.restart();
    let one = format!("{target}/1.2.3.1");
    server.request("DELETE", &one).send().expect(204);
    server.terminate();
    server.wait();
    server.set("STOWAGE_PARTITIONS", None);
    server.restart();
    assert_eq!(found(&server, "/dicom-web/hanging-protocols"), [""; 0]);
}
