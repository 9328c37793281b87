//! Somebody who may see one study asks every route for another, under every root and as every media type.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Syntax};
use stowage::http::routes::ROUTES;

use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

const SECRETS: [&str; 3] = ["Hidden^Patient", "HIDDEN-ID", "1.2.3.780"];

fn file(name: &Name, patient: &str, id: &str) -> BuiltFile {
    let data_set = name
        .image(8, 8, 8, 1)
        .text(Tag(0x0010, 0x0010), VR::PN, patient)
        .text(Tag(0x0010, 0x0020), VR::LO, id)
        .bytes(Tag(0x0042, 0x0011), VR::OB, [1; 3000])
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, [7; 64]);
    name.file(&data_set, Syntax::ExplicitLittle)
}

#[test]
fn no_route_under_any_root_as_any_type_shows_another_study() {
    let server = TestApp::with(&[
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ]);
    let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
    let (hidden, shown) = (Name::new(780, 1, 1), Name::new(781, 1, 1));
    for file in [
        file(&hidden, SECRETS[0], SECRETS[1]),
        file(&shown, "Shown^Patient", "SHOWN-ID"),
    ] {
        let request = server.request("POST", "/dicom-web/studies");
        let request = request.header("Authorization", &format!("Bearer {admin}"));
        let stored = request.header("Content-Type", "application/dicom");
        stored.body(file.bytes).send().expect(200);
    }
    for (name, id) in [(&hidden, SECRETS[1]), (&shown, "SHOWN-ID")] {
        let item = crate::worklist::short_for(&name.study, id);
        let request = server.request("POST", &format!("/dicom-web/workitems?{}", name.study));
        let request = request.header("Authorization", &format!("Bearer {admin}"));
        let request = request.header("Content-Type", "application/dicom+json");
        request.body(item).send().expect(201);
    }
    let limited = with(claims("admin"), "dicom_studies", shown.study.as_str());
    let bearer = format!("Bearer {}", with_secret(SECRET.as_bytes(), &limited));
    let ask = |target: &str, accept: &str| -> Response {
        let request = server.request("GET", target).accept(accept);
        request.header("Authorization", &bearer).send()
    };
    let roots = [
        "/dicom-web",
        "/v1",
        "/v2",
        "/v1.0",
        "/v2.0",
        "/v1.0-prerelease",
        "/DICOM-WEB",
        "/V2",
    ];
    let types = [
        "*/*",
        "application/dicom+xml, multipart/related; type=\"application/dicom+xml\"",
        "application/zip",
        "multipart/related; type=\"application/octet-stream\"",
    ];
    let mut asked = 0;
    let mut found = BTreeSet::new();
    for root in roots {
        for route in ROUTES.iter().filter(|route| route.method == "GET") {
            for accept in types {
                let path = |name: &Name| {
                    let path = route.path.replace("{study}", &name.study);
                    let path = path.replace("{series}", &name.series);
                    let path = path.replace("{instance}", &name.instance);
                    let path = path.replace("{frames}", "1").replace("{*bulk}", "00420011");
                    let path = path.replace("{tag}", "00101010").replace("{id}", "0");
                    let path = path.replace("{workitem}", &name.study);
                    // A stream does not end.
                    let path = path.replace("/events", "/events?types=x");
                    let wado = matches!(route.path, "/" | "/wado");
                    let query = if wado {
                        format!("?requestType=WADO&objectUID={}", name.instance)
                    } else {
                        String::new()
                    };
                    format!("{root}{path}{query}")
                };
                asked += 1;
                let target = path(&hidden);
                let answer = ask(&target, accept);
                let text = answer.text();
                assert!(answer.status < 500, "{target}: {text}");
                let of_one = target.contains("780");
                if of_one {
                    assert_ne!(answer.status, 206, "{target} as {accept}");
                    // What lists finds nothing; what retrieves says that there is no such thing.
                    assert!(
                        answer.status != 200 || answer.body == b"[]",
                        "{target} as {accept}: {text}"
                    );
                }
                for secret in &SECRETS[..2] {
                    assert!(!text.contains(secret), "{target} as {accept}: {text}");
                }
                if !of_one {
                    assert!(!text.contains(SECRETS[2]), "{target} as {accept}: {text}");
                }
                if root == roots[0] && ask(&path(&shown), accept).status == 200 {
                    found.insert(route.path);
                }
            }
        }
    }
    // The probes reach what they probe for.
    assert!(found.len() > 25, "{found:?}");
    assert!(asked > 1000, "{asked}");
}
