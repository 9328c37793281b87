//! `OpenAPI` 3.1 of one root.

use serde_json::{Map, Value, json};

use super::about::ATTRIBUTES;
use super::operation::RouteOperation;
use super::wadl::answered;
use crate::auth::Action;
use crate::http::error::ErrorFormat;
use crate::http::profile::ApiProfile;
use crate::scope::PartitionName;

/// The document of a root whose URL is `base`.
///
/// With partitions there is a second server: what belongs to patients is in each of them.
pub(super) fn document(
    profile: &ApiProfile,
    base: &str,
    operations: &[RouteOperation],
    partitions: bool,
) -> Value {
    let mut servers = vec![json!({ "url": base })];
    if partitions {
        servers.push(json!({
            "url": format!("{base}/partitions/{{partition}}"),
            "description": "one data partition: all but the change feed, extended query tags, operations and /partitions",
            "variables": { "partition": { "default": PartitionName::DEFAULT, "description": "name of the partition" } },
        }));
    }
    let mut paths = Map::new();
    for operation in operations {
        let path = operation.route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[operation.route.method.to_ascii_lowercase()] = described(profile, operation);
    }
    let capabilities = json!({
        "operationId": "retrieveCapabilities",
        "summary": "Retrieve capabilities (PS3.18 §8.9)",
        "tags": ["Capabilities"],
        "responses": { "200": { "description": "WADL", "content": {
            "application/vnd.sun.wadl+xml": {}, "application/json": {} } } },
    });
    let root = paths.entry("/").or_insert_with(|| json!({}));
    root["options"] = capabilities;
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stowage",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": "DICOMweb: store, retrieve, search and delete medical images, and follow what changes.",
        },
        "servers": servers,
        "security": [{ "bearer": [] }, {}],
        "tags": groups(operations),
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A JSON Web Token, or an API key" } },
            "schemas": schemas(),
        },
    })
}

fn groups(operations: &[RouteOperation]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for operation in operations {
        if !names.contains(&operation.about.group) {
            names.push(operation.about.group);
        }
    }
    names.push("Capabilities");
    names
        .into_iter()
        .map(|name| json!({ "name": name }))
        .collect()
}

fn described(profile: &ApiProfile, operation: &RouteOperation) -> Value {
    let about = operation.about;
    let mut value = json!({
        "operationId": operation.id,
        "summary": about.title,
        "description": format!("Needs the right to {}.", rights(operation.route.actions)),
        "tags": [about.group],
        "parameters": parameters(operation),
        "responses": responses(profile, operation),
    });
    if !about.takes.is_empty() {
        value["requestBody"] = json!({ "required": true, "content": content(about.takes) });
    }
    value
}

/// The rights in words.
pub(super) fn rights(actions: &[Action]) -> String {
    let words: Vec<&str> = actions.iter().map(|action| right(*action)).collect();
    words.join(" and to ")
}

fn right(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Write => "write",
        Action::Delete => "delete",
        Action::Restore => "restore",
        Action::ManageExtendedQueryTags => "manage extended query tags",
        Action::Export => "export",
        Action::ManageWebhooks => "manage webhooks",
        Action::Deidentify => "de-identify",
    }
}

fn parameters(operation: &RouteOperation) -> Value {
    let in_path = operation.path_parameters().map(|name| {
        json!({ "name": name, "in": "path", "required": true, "description": meaning(name), "schema": path_schema(name) })
    });
    let in_query = operation.about.query.iter().map(|parameter| {
        if parameter.name == ATTRIBUTES {
            // Any attribute is a parameter of its own name.
            let schema = json!({ "type": "object", "additionalProperties": { "type": "string" } });
            return json!({ "name": "attributes", "in": "query", "style": "form", "explode": true,
                "description": parameter.meaning, "schema": schema });
        }
        json!({ "name": parameter.name, "in": "query", "description": parameter.meaning, "schema": { "type": "string" } })
    });
    let in_headers = operation.about.headers.iter().map(|header| {
        json!({ "name": header.name, "in": "header", "description": header.meaning, "schema": { "type": "string" } })
    });
    in_path.chain(in_query).chain(in_headers).collect()
}

fn meaning(name: &str) -> &'static str {
    match name {
        "study" => "Study Instance UID",
        "series" => "Series Instance UID",
        "instance" => "SOP Instance UID",
        "frames" => "frame numbers from 1, separated by commas",
        "bulk" => "place of the value in the data set, as in BulkDataURI; may hold slashes",
        "tag" => "keyword or number of the attribute",
        "workitem" => "SOP Instance UID of the workitem",
        "aet" => "AE title of the subscriber",
        "id" => "id of the operation",
        "entry" => "number of an entry of the trash",
        "webhook" => "id of the webhook",
        "transaction" => "UID that the client makes for this request",
        _ => "",
    }
}

fn path_schema(name: &str) -> Value {
    match name {
        "study" | "series" | "instance" | "workitem" | "transaction" => {
            json!({ "$ref": "#/components/schemas/Uid" })
        }
        "entry" => json!({ "type": "string", "pattern": "^[1-9][0-9]*$" }),
        "frames" => json!({ "type": "string", "pattern": "^[1-9][0-9]*(,[1-9][0-9]*)*$" }),
        _ => json!({ "type": "string" }),
    }
}

fn responses(profile: &ApiProfile, operation: &RouteOperation) -> Value {
    let mut all = Map::new();
    for (status, meaning) in operation.about.statuses {
        let mut response = json!({ "description": meaning });
        let media = answered(*status, operation.about.gives);
        if !media.is_empty() {
            response["content"] = content(media);
        }
        all.insert(status.to_string(), response);
    }
    let errors = match profile.errors {
        ErrorFormat::Problem => {
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } })
        }
        ErrorFormat::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
    };
    let default = json!({ "description": "it did not work; docs/errors.md lists the reasons", "content": errors });
    all.insert("default".to_owned(), default);
    Value::Object(all)
}

fn content(media: &[&str]) -> Value {
    let all = media.iter().map(|media| {
        let schema = match *media {
            "application/dicom+json" => {
                json!({ "schema": { "$ref": "#/components/schemas/DataSets" } })
            }
            "application/json" => json!({ "schema": {} }),
            _ => json!({}),
        };
        ((*media).to_owned(), schema)
    });
    Value::Object(all.collect())
}

fn schemas() -> Value {
    json!({
        "Uid": { "type": "string", "pattern": "^[0-9.]+$", "maxLength": 64 },
        "DataSets": { "oneOf": [
            { "$ref": "#/components/schemas/DataSet" },
            { "type": "array", "items": { "$ref": "#/components/schemas/DataSet" } } ] },
        "DataSet": {
            "description": "DICOM JSON (PS3.18 Annex F): attributes by their number in eight hexadecimal digits.",
            "type": "object",
            "additionalProperties": { "type": "object", "required": ["vr"], "properties": {
                "vr": { "type": "string" }, "Value": { "type": "array" },
                "BulkDataURI": { "type": "string" }, "InlineBinary": { "type": "string" } } },
        },
        "Problem": {
            "description": "RFC 9457",
            "type": "object",
            "properties": {
                "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                "detail": { "type": "string" }, "request_id": { "type": "string" },
                "available": { "type": "array", "items": { "type": "string" } } },
        },
    })
}
