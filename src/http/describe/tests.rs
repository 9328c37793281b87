use std::collections::HashSet;

use serde_json::Value;

use super::about::{ABOUT, of};
use super::operation::path_parameter;
use super::*;
use crate::http::profile::PROFILES;
use crate::http::routes::ROUTES;

#[test]
fn every_handler_of_the_map_is_described_and_no_other() {
    let name = |path: &'static str| path.rsplit("::").next().unwrap().trim();
    let handlers: HashSet<&str> = ROUTES
        .iter()
        .filter(|r| r.method != "OPTIONS")
        .map(|r| name(r.handler))
        .collect();
    let described: HashSet<&str> = ABOUT
        .into_iter()
        .flatten()
        .map(|about| about.handler)
        .collect();
    let missing: Vec<_> = handlers.difference(&described).collect();
    let idle: Vec<_> = described.difference(&handlers).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "src/http/describe/about.rs lacks {missing:?} and has {idle:?} for nothing"
    );
    assert_eq!(of("no::such_handler").handler, "undescribed");
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let all = operations(ROUTES);
    let ids: HashSet<&str> = all.iter().map(|o| o.id.as_str()).collect();
    assert_eq!(ids.len(), all.len());
    assert!(ids.contains("searchSeriesOfStudy"), "{ids:?}");
}

#[test]
fn openapi_has_every_row_of_the_map_with_its_parameters() {
    for profile in &PROFILES {
        let api = openapi::document(profile, "http://here", &operations(ROUTES), false);
        assert_eq!(api["openapi"], "3.1.0");
        for route in ROUTES {
            let path = route.path.replace("{*", "{");
            let method = route.method.to_ascii_lowercase();
            let item = &api["paths"][&path][&method];
            assert!(item["operationId"].is_string(), "{method} {path}");
            let declared: Vec<&str> = item["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|p| p["in"] == "path")
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            let named: Vec<&str> = route.path.split('/').filter_map(path_parameter).collect();
            assert_eq!(declared, named, "{method} {path}");
        }
    }
}

#[test]
fn openapi_refers_to_schemas_that_exist() {
    let api = openapi::document(&PROFILES[0], "http://here", &operations(ROUTES), true);
    let servers = api["servers"].as_array().unwrap();
    assert_eq!(servers[1]["url"], "http://here/partitions/{partition}");
    let text = api.to_string();
    let references: HashSet<&str> = text
        .split("\"#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(references.len() > 2);
    for name in references {
        assert!(api["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn both_forms_of_the_capabilities_have_every_row_of_the_map() {
    let all = operations(ROUTES);
    let (xml, json) = (
        wadl::xml("http://here?a&b", &all),
        wadl::json("http://here", &all),
    );
    assert!(xml.contains("<resources base=\"http://here?a&amp;b\">"));
    for operation in &all {
        let method = format!(
            "<method name=\"{}\" id=\"{}\">",
            operation.route.method, operation.id
        );
        assert_eq!(xml.matches(&method).count(), 1, "{method}");
        let mut level = &json["application"]["resources"]["resource"];
        let mut found = Value::Null;
        let segments: Vec<&str> = operation
            .route
            .path
            .split('/')
            .filter(|s| !s.is_empty())
            .collect();
        for segment in if segments.is_empty() {
            vec!["/"]
        } else {
            segments
        } {
            let path = segment.replace("{*", "{");
            found = level
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["path"] == path)
                .unwrap()
                .clone();
            level = level
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["path"] == path)
                .map(|r| &r["resource"])
                .unwrap();
        }
        let methods = found["method"].as_array().unwrap();
        assert!(
            methods.iter().any(|m| m["id"] == operation.id.as_str()),
            "{}",
            operation.id
        );
    }
    let (opened, closed) = (
        xml.matches("<resource ").count(),
        xml.matches("</resource>").count(),
    );
    assert_eq!(opened, closed);
}

#[test]
fn yaml_says_the_same_as_json() {
    let value = serde_json::json!({ "a": [1, { "b": "c: \"d\"", "e": {} }, []], "f": null });
    assert_eq!(
        yaml::written(&value),
        "\"a\":\n  - 1\n  -\n    \"b\": \"c: \\\"d\\\"\"\n    \"e\": {}\n  - []\n\"f\": null\n"
    );
}

#[test]
fn the_page_shows_every_operation_and_loads_nothing() {
    let page = page::page(&operations(ROUTES));
    for operation in operations(ROUTES) {
        assert!(page.contains(&format!("<details id=\"{}\">", operation.id)));
    }
    for foreign in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
