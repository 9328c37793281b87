//! The page at `/docs`: every root and every operation, in plain HTML that loads nothing from elsewhere.

use std::fmt::Write as _;

use super::about::ATTRIBUTES;
use super::openapi::rights;
use super::operation::RouteOperation;
use super::wadl::escaped;
use crate::http::profile::PROFILES;

const HEAD: &str = "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<title>Stowage: the API</title><style>\
body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
code{font:14px ui-monospace,monospace;background:#f2f2f2;padding:.1em .3em;border-radius:3px}\
h2{margin-top:2em;border-bottom:1px solid #ccc}details{margin:.4em 0}summary{cursor:pointer}\
summary b{display:inline-block;min-width:4.5em}table{border-collapse:collapse;margin:.5em 1.2em}\
td,th{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;font-size:14px}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#333}a{color:#8bf}}\
</style></head><body>\n";

/// The page.
pub(super) fn page(operations: &[RouteOperation]) -> String {
    let mut out = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<h1>Stowage {}</h1>\n<p>A DICOMweb server. Each root below serves every operation of this page on the same data; \
         <code>OPTIONS</code> on a root answers its capabilities (PS3.18 §8.9).</p>\n<table><tr><th>Root<th>OpenAPI 3.1<tr>",
        env!("CARGO_PKG_VERSION")
    );
    for profile in &PROFILES {
        // Relative, so that it also holds behind a proxy that adds a prefix.
        let root = profile.root.trim_start_matches('/');
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code><td><a href=\"{root}/api.json\">api.json</a>, <a href=\"{root}/api.yaml\">api.yaml</a>",
            profile.root
        );
    }
    out.push_str("</table>\n<p><a href=\"health/check\">Health</a></p>\n");
    let mut group = "";
    for operation in sorted(operations) {
        if operation.about.group != group {
            group = operation.about.group;
            let _ = writeln!(out, "<h2>{}</h2>", escaped(group));
        }
        write_operation(&mut out, operation);
    }
    out.push_str("</body></html>\n");
    out
}

/// In the order of the map, groups together.
fn sorted(operations: &[RouteOperation]) -> Vec<&RouteOperation> {
    let mut groups: Vec<&str> = Vec::new();
    for operation in operations {
        if !groups.contains(&operation.about.group) {
            groups.push(operation.about.group);
        }
    }
    let mut sorted: Vec<&RouteOperation> = operations.iter().collect();
    sorted.sort_by_key(|o| groups.iter().position(|g| *g == o.about.group));
    sorted
}

fn write_operation(out: &mut String, operation: &RouteOperation) {
    let about = operation.about;
    let _ = writeln!(
        out,
        "<details id=\"{}\"><summary><b>{}</b> <code>{}</code> {}</summary>\n<table>",
        operation.id,
        operation.route.method,
        escaped(&operation.route.path.replace("{*", "{")),
        escaped(about.title)
    );
    let mut line = |head: &str, text: &str| {
        let _ = writeln!(out, "<tr><th>{}<td>{}", escaped(head), text);
    };
    let codes = |all: &[&str]| {
        let all: Vec<String> = all
            .iter()
            .map(|m| format!("<code>{}</code>", escaped(m)))
            .collect();
        all.join(" ")
    };
    line("needs the right to", &rights(operation.route.actions));
    if !about.takes.is_empty() {
        line("takes", &codes(about.takes));
    }
    if !about.gives.is_empty() {
        line("gives", &codes(about.gives));
    }
    for parameter in about.query {
        let name = if parameter.name == ATTRIBUTES {
            "PatientID, … ="
        } else {
            parameter.name
        };
        line(name, &escaped(parameter.meaning));
    }
    for (status, meaning) in about.statuses {
        line(&status.to_string(), &escaped(meaning));
    }
    out.push_str("</table></details>\n");
}
