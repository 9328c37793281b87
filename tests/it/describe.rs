//! What the server says of itself: capabilities (PS3.18 §8.9), `OpenAPI`, the page for people.

use stowage::http::profile::PROFILES;
use stowage::http::routes::ROUTES;

use yaml_rust2::{Yaml, YamlLoader};

use crate::support::prelude::*;

#[test]
fn options_on_a_root_tells_the_capabilities_in_xml_and_json() {
    let server = TestApp::start(None);
    for profile in &PROFILES {
        let base = format!("{}{}", server.url(), profile.root);
        for (accept, media) in [
            (
                "application/vnd.sun.wadl+xml",
                "application/vnd.sun.wadl+xml",
            ),
            ("*/*", "application/vnd.sun.wadl+xml"),
            (
                "application/json, application/xml;q=0.5",
                "application/json",
            ),
        ] {
            let answer = server
                .request("OPTIONS", &format!("{}/", profile.root))
                .accept(accept)
                .send()
                .expect(200);
            assert_eq!(answer.header("content-type"), Some(media));
            let text = answer.text();
            assert!(text.contains(&base), "{text}");
            assert!(text.contains("searchSeriesOfStudy"), "{text}");
        }
        let refused = server
            .request("OPTIONS", profile.root)
            .accept("image/png")
            .send();
        refused.expect(406);
    }
}

#[test]
fn a_preflight_of_a_root_is_answered_as_one_and_not_with_capabilities() {
    let server = TestApp::with(&[("STOWAGE_CORS_ORIGINS", "https://viewer.example")]);
    let answer = server
        .request("OPTIONS", "/dicom-web")
        .header("Origin", "https://viewer.example")
        .header("Access-Control-Request-Method", "GET")
        .send()
        .expect(204);
    assert!(answer.body.is_empty());
    assert!(answer.header("access-control-allow-methods").is_some());
}

#[test]
fn every_root_has_an_openapi_document_that_names_every_route() {
    let secret = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    // Open also where everything else needs a token: it tells nothing of what is stored.
    let server = TestApp::with(&[secret]);
    server.get("/dicom-web/studies").expect(401);
    for profile in &PROFILES {
        let answer = server
            .get(&format!("{}/api.json", profile.root))
            .expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let api = answer.json();
        let base = format!("{}{}", server.url(), profile.root);
        assert_eq!(api["servers"][0]["url"], base.as_str());
        for route in ROUTES {
            let path = route.path.replace("{*", "{");
            let method = route.method.to_ascii_lowercase();
            assert!(api["paths"][&path][&method].is_object(), "{method} {path}");
        }
        let yaml = server
            .get(&format!("{}/api.yaml", profile.root))
            .expect(200);
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        let yaml = YamlLoader::load_from_str(&yaml.text()).expect("it is YAML");
        assert!(same(&yaml[0], &api), "YAML and JSON differ");
    }
    server.request("POST", "/v2/api.json").send().expect(405);
}

#[test]
fn the_page_for_people_lists_the_routes() {
    let server = TestApp::start(None);
    let page = server.get("/docs").expect(200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for route in ROUTES.iter().filter(|route| route.method != "OPTIONS") {
        let path = route.path.replace("{*", "{");
        assert!(
            page.text().contains(&format!("<code>{path}</code>")),
            "{path}"
        );
    }
}

fn same(yaml: &Yaml, json: &Value) -> bool {
    match (yaml, json) {
        (Yaml::Hash(a), Value::Object(b)) => {
            let known = |(name, value): (&String, &Value)| {
                a.get(&Yaml::String(name.clone()))
                    .is_some_and(|a| same(a, value))
            };
            a.len() == b.len() && b.iter().all(known)
        }
        (Yaml::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Yaml::String(a), Value::String(b)) => a == b,
        (Yaml::Integer(a), Value::Number(b)) => b.as_i64() == Some(*a),
        (Yaml::Boolean(a), Value::Bool(b)) => a == b,
        _ => false,
    }
}
