//! WADL: the tree of resources with their methods, in XML and in JSON (PS3.18 Annex H).
//!
//! Both forms say the same: the JSON has the elements of the XML as members, repeated ones as arrays.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::about::ATTRIBUTES;
use super::operation::{RouteOperation, path_parameter};

/// A resource: one segment of the paths, with what lies below it.
struct WadlResource<'a> {
    segment: &'static str,
    methods: Vec<&'a RouteOperation>,
    children: Vec<Self>,
}

impl<'a> WadlResource<'a> {
    fn new(segment: &'static str) -> Self {
        Self {
            segment,
            methods: Vec::new(),
            children: Vec::new(),
        }
    }

    /// The child of a segment, made when it is missing.
    fn child(&mut self, segment: &'static str) -> &mut Self {
        let known = self.children.iter().position(|c| c.segment == segment);
        let at = known.unwrap_or_else(|| {
            self.children.push(Self::new(segment));
            self.children.len() - 1
        });
        &mut self.children[at]
    }
}

fn tree(operations: &[RouteOperation]) -> WadlResource<'_> {
    let mut root = WadlResource::new("/");
    for operation in operations {
        let mut resource = &mut root;
        for segment in operation.route.path.split('/').filter(|s| !s.is_empty()) {
            resource = resource.child(segment);
        }
        resource.methods.push(operation);
    }
    root
}

/// The description in XML.
pub(super) fn xml(base: &str, operations: &[RouteOperation]) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<application xmlns=\"http://wadl.dev.java.net/2009/02\">\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  <resources base=\"{}\">", escaped(base));
    let root = tree(operations);
    if !root.methods.is_empty() {
        out.push_str("    <resource path=\"/\">\n");
        write_methods(&mut out, &root, 6);
        out.push_str("    </resource>\n");
    }
    for child in &root.children {
        write_resource(&mut out, child, 4);
    }
    out.push_str("  </resources>\n</application>\n");
    out
}

fn write_resource(out: &mut String, resource: &WadlResource<'_>, indent: usize) {
    let pad = " ".repeat(indent);
    let _ = writeln!(
        out,
        "{pad}<resource path=\"{}\">",
        segment(resource.segment)
    );
    if let Some(name) = path_parameter(resource.segment) {
        let _ = writeln!(
            out,
            "{pad}  <param name=\"{name}\" style=\"template\" required=\"true\"/>"
        );
    }
    write_methods(out, resource, indent + 2);
    for child in &resource.children {
        write_resource(out, child, indent + 2);
    }
    let _ = writeln!(out, "{pad}</resource>");
}

/// A segment as WADL writes it.
fn segment(segment: &'static str) -> String {
    path_parameter(segment).map_or_else(|| segment.to_owned(), |name| format!("{{{name}}}"))
}

fn write_methods(out: &mut String, resource: &WadlResource<'_>, indent: usize) {
    let pad = " ".repeat(indent);
    for operation in &resource.methods {
        let about = operation.about;
        let _ = writeln!(
            out,
            "{pad}<method name=\"{}\" id=\"{}\">\n{pad}  <doc title=\"{}\"/>\n{pad}  <request>",
            operation.route.method,
            operation.id,
            escaped(about.title)
        );
        for (name, style, options) in parameters(operation) {
            if options.is_empty() {
                let _ = writeln!(
                    out,
                    "{pad}    <param name=\"{}\" style=\"{style}\"/>",
                    escaped(name)
                );
                continue;
            }
            let _ = writeln!(out, "{pad}    <param name=\"{name}\" style=\"{style}\">");
            for option in options {
                let _ = writeln!(out, "{pad}      <option value=\"{}\"/>", escaped(option));
            }
            let _ = writeln!(out, "{pad}    </param>");
        }
        for media in about.takes {
            let _ = writeln!(
                out,
                "{pad}    <representation mediaType=\"{}\"/>",
                escaped(media)
            );
        }
        let _ = writeln!(out, "{pad}  </request>");
        for (status, _) in about.statuses {
            let _ = writeln!(out, "{pad}  <response status=\"{status}\">");
            for media in answered(*status, about.gives) {
                let _ = writeln!(
                    out,
                    "{pad}    <representation mediaType=\"{}\"/>",
                    escaped(media)
                );
            }
            let _ = writeln!(out, "{pad}  </response>");
        }
        let _ = writeln!(out, "{pad}</method>");
    }
}

/// Media types of an answer with a status: some statuses have no body.
pub(super) fn answered(status: u16, gives: &'static [&'static str]) -> &'static [&'static str] {
    if matches!(status, 204 | 304) {
        &[]
    } else {
        gives
    }
}

/// Name, style and options of what a request may carry.
fn parameters(
    operation: &RouteOperation,
) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let mut all: Vec<(&str, &str, &[&str])> = Vec::new();
    if !operation.about.gives.is_empty() {
        all.push(("Accept", "header", operation.about.gives));
    }
    if !operation.about.takes.is_empty() {
        all.push(("Content-Type", "header", operation.about.takes));
    }
    all.extend(operation.about.query.iter().map(|p| {
        let name = if p.name == ATTRIBUTES {
            "{attributeID}"
        } else {
            p.name
        };
        (name, "query", &[] as &[&str])
    }));
    all
}

/// The description in JSON.
pub(super) fn json(base: &str, operations: &[RouteOperation]) -> Value {
    let root = tree(operations);
    let mut resources: Vec<Value> = Vec::new();
    if !root.methods.is_empty() {
        resources.push(json!({ "path": "/", "method": methods(&root) }));
    }
    resources.extend(root.children.iter().map(resource));
    json!({ "application": { "resources": { "base": base, "resource": resources } } })
}

fn resource(this: &WadlResource<'_>) -> Value {
    let mut value = json!({ "path": segment(this.segment) });
    if let Some(name) = path_parameter(this.segment) {
        value["param"] = json!([{ "name": name, "style": "template", "required": true }]);
    }
    if !this.methods.is_empty() {
        value["method"] = methods(this);
    }
    if !this.children.is_empty() {
        value["resource"] = this.children.iter().map(resource).collect();
    }
    value
}

fn methods(resource: &WadlResource<'_>) -> Value {
    let media =
        |types: &[&str]| -> Value { types.iter().map(|t| json!({ "mediaType": t })).collect() };
    let all = resource.methods.iter().map(|operation| {
        let about = operation.about;
        let parameters = parameters(operation).into_iter().map(|(name, style, options)| {
            let options: Vec<Value> = options.iter().map(|o| json!({ "value": o })).collect();
            match options.is_empty() {
                true => json!({ "name": name, "style": style }),
                false => json!({ "name": name, "style": style, "option": options }),
            }
        });
        let responses = about.statuses.iter().map(|(status, _)| {
            json!({ "status": status, "representation": media(answered(*status, about.gives)) })
        });
        json!({
            "name": operation.route.method,
            "id": operation.id,
            "doc": [{ "title": about.title }],
            "request": { "param": parameters.collect::<Value>(), "representation": media(about.takes) },
            "response": responses.collect::<Value>(),
        })
    });
    all.collect()
}

/// Text for XML and HTML, attribute values included.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
