//! Storage commitment over the web (PS3.18 chapter 13), on both indexes.

use stowage::dicom::testing::SOP_CLASS;

use crate::crash_matrix::{forget_leases, points::COMMITMENT};
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;
use crate::support::signer::{AUDIENCE, ISSUER, Signer, claims, with};

fn ui(text: &str) -> Value {
    json!({ "vr": "UI", "Value": [text] })
}

fn sequence(items: &[Value]) -> Value {
    json!({ "vr": "SQ", "Value": items })
}

fn reference(class: &str, instance: &str) -> Value {
    json!({ "00081150": ui(class), "00081155": ui(instance) })
}

fn failed(class: &str, instance: &str, reason: u16) -> Value {
    let mut item = reference(class, instance);
    item["00081197"] = json!({ "vr": "US", "Value": [reason] });
    item
}

fn post(server: &Deployment, transaction: &str, body: &Value) -> Request {
    server
        .request(
            "POST",
            &format!("/dicom-web/commitment-requests/{transaction}"),
        )
        .header("Content-Type", "application/dicom+json")
        .accept("application/dicom+json")
        .body(body.to_string())
}

fn result(server: &Deployment, transaction: &str) -> Response {
    server.get_as(
        &format!("/dicom-web/commitment-requests/{transaction}"),
        "application/dicom+json",
    )
}

#[test]
fn instances_are_committed_when_their_bytes_are_those_that_were_stored() {
    on_each_index(|server| {
        let names = [1, 2, 3].map(|instance| Name::new(1700, 1, instance));
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/dicom-web", &files).expect(200);
        // One byte of one of them changes on the disk.
        let damaged = &names[2];
        for file in server.blob_files() {
            if file
                .to_string_lossy()
                .contains(&format!("{}.", damaged.instance))
            {
                let mut bytes = std::fs::read(&file).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(&file, bytes).unwrap();
            }
        }
        let other = "1.2.840.10008.5.1.4.1.1.4";
        let asked = json!({ "00081199": sequence(&[
            reference(SOP_CLASS, &names[0].instance),
            reference(other, &names[1].instance),
            reference(SOP_CLASS, &damaged.instance),
            reference(SOP_CLASS, "1.2.3.4.5"),
        ]) });
        let answer = post(server, "1.2.99.1", &asked).send().expect(200);
        assert_eq!(answer.content_type(), "application/dicom+json");
        let expected = json!({
            "00081198": sequence(&[
                failed(other, &names[1].instance, 0x0119),
                failed(SOP_CLASS, &damaged.instance, 0x0110),
                failed(SOP_CLASS, "1.2.3.4.5", 0x0112),
            ]),
            "00081199": sequence(&[reference(SOP_CLASS, &names[0].instance)]),
        });
        assert_eq!(answer.json(), expected);
        // It is found damaged by that, too.
        let counted = || server.get("/metrics").text();
        wait_until("the damage is counted", || {
            counted().contains("stowage_damaged_instances 1")
        });
        // The same, later, and as XML; a UID is used once.
        assert_eq!(result(server, "1.2.99.1").expect(200).json(), expected);
        let xml = "application/dicom+xml";
        let xml = server
            .get_as("/dicom-web/commitment-requests/1.2.99.1", xml)
            .expect(200);
        assert!(xml.text().contains("FailedSOPSequence"), "{}", xml.text());
        post(server, "1.2.99.1", &asked).send().expect(409);

        for (body, status) in [("{}", 400), ("[]", 400), ("x", 400)] {
            let request = post(server, "1.2.99.2", &json!({})).body(body);
            assert_eq!(request.send().status, status, "{body}");
        }
        post(server, "1.2.x", &asked).send().expect(400);
        result(server, "1.2.99.2").expect(404);
        // It is nobody else's operation.
        let id = blake3::hash(b"commitment 1 1.2.99.1").to_hex()[..32].to_owned();
        server.get(&format!("/v2/operations/{id}")).expect(404);
    });
}

#[test]
fn studies_and_series_are_committed_as_a_tree() {
    on_each_index(|server| {
        let names =
            [(1, 1), (1, 2), (2, 1)].map(|(series, instance)| Name::new(1710, series, instance));
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/dicom-web", &files).expect(200);
        let series = |name: &Name, instances: &[&str]| {
            let instances: Vec<Value> = instances
                .iter()
                .map(|uid| reference(SOP_CLASS, uid))
                .collect();
            let by_class = json!({ "00081150": ui(SOP_CLASS), "0008114A": sequence(&instances) });
            json!({ "0020000E": ui(&name.series), "00081112": sequence(&[by_class]) })
        };
        let study =
            |all: &[Value]| json!({ "0020000D": ui(&names[0].study), "00081115": sequence(all) });
        let [one, two, three] = [&names[0].instance, &names[1].instance, &names[2].instance];
        let absent = json!({ "0020000D": ui("1.2.3.1711") });
        let asked = json!({ "00081110": sequence(&[json!({ "0020000D": ui(&names[0].study) }), absent.clone()]) });
        let answer = post(server, "1.2.99.10", &asked).send().expect(200);
        let whole = study(&[series(&names[0], &[one, two]), series(&names[2], &[three])]);
        let mut missing = absent;
        missing["00081197"] = json!({ "vr": "US", "Value": [0x0112] });
        let expected = json!({ "00081110": sequence(&[whole]), "0008119B": sequence(&[missing]) });
        assert_eq!(answer.json(), expected);

        // A series, and instances of another one, of which one is not in it.
        let whole_series = json!({ "0020000E": ui(&names[0].series) });
        let asked = json!({ "00081110": sequence(&[study(&[whole_series, series(&names[2], &[three, one])])]) });
        let answer = post(server, "1.2.99.11", &asked).send().expect(200);
        let mut wrong = series(&names[2], &[]);
        wrong["00081112"]["Value"][0]["0008114A"] = sequence(&[failed(SOP_CLASS, one, 0x0112)]);
        let expected = json!({
            "00081110": sequence(&[study(&[series(&names[0], &[one, two]), series(&names[2], &[three])])]),
            "0008119B": sequence(&[study(&[wrong])]),
        });
        assert_eq!(answer.json(), expected);
    });
}

#[test]
fn a_result_is_kept_for_who_asked() {
    let signer = Signer::rsa();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), &signer.public).unwrap();
    let settings = [
        ("STOWAGE_JWT_KEY_FILE", keys.path().to_str().unwrap()),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    on_each_index_with(&settings, |server| {
        let name = Name::new(1720, 1, 1);
        let token = |subject: &str| signer.token(&with(claims("admin"), "sub", subject));
        let (mine, other) = (token("one"), token("two"));
        let limited = signer.token(&with(
            with(claims("admin"), "sub", "one"),
            "dicom_studies",
            "1.2.3.1",
        ));
        let bearer = |request: Request, token: &str| {
            request.header("Authorization", &format!("Bearer {token}"))
        };
        let stored = server
            .request("POST", "/dicom-web/studies")
            .header("Content-Type", "application/dicom");
        bearer(stored, &mine)
            .body(name.small().bytes)
            .send()
            .expect(200);
        let asked = json!({ "00081199": sequence(&[reference(SOP_CLASS, &name.instance)]) });

        let later = post(server, "1.2.99.20", &asked).header("Prefer", "respond-async");
        let answer = bearer(later, &mine).send();
        let url = format!("{}/dicom-web/commitment-requests/1.2.99.20", server.url());
        if answer.status == 202 {
            assert_eq!(answer.header("location"), Some(url.as_str()));
            assert!(answer.header("retry-after").is_some());
        } else {
            answer.expect(200);
        }
        let check = |token: &str| {
            let request = server
                .request("GET", "/dicom-web/commitment-requests/1.2.99.20")
                .accept("*/*");
            bearer(request, token).send()
        };
        wait_until("it is done", || check(&mine).status == 200);
        assert_eq!(check(&mine).json(), asked);
        check(&other).expect(404);
        check(&limited).expect(404);
        // Whose it is, is not told; that it is in use, is.
        bearer(post(server, "1.2.99.20", &asked), &other)
            .send()
            .expect(409);
        // Who may not see the study is answered as if it were not there.
        let hidden = bearer(post(server, "1.2.99.21", &asked), &limited)
            .send()
            .expect(200);
        let expected =
            json!({ "00081198": sequence(&[failed(SOP_CLASS, &name.instance, 0x0112)]) });
        assert_eq!(hidden.json(), expected);
    });
}

#[test]
fn a_request_outlives_the_process_that_took_it() {
    for point in COMMITMENT {
        let fault = format!("{point}:1");
        let settings = [
            ("STOWAGE_SWEEP_SECONDS", "1"),
            ("STOWAGE_FAULT", fault.as_str()),
        ];
        on_each_index_process(&settings, |server| {
            let name = Name::new(1730, 1, 1);
            server.store("/dicom-web", [&name.small()]).expect(200);
            let asked = json!({ "00081199": sequence(&[reference(SOP_CLASS, &name.instance)]) });
            assert!(
                post(server, "1.2.99.30", &asked).try_send().is_err(),
                "{point}"
            );
            server.wait();
            server.set("STOWAGE_FAULT", None);
            forget_leases(server);
            server.restart();
            wait_until("another process has done it", || {
                result(server, "1.2.99.30").status == 200
            });
            assert_eq!(result(server, "1.2.99.30").json(), asked);
        });
    }
}
