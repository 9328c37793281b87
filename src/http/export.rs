//! Export (dicom-service §15): files of studies, series and instances, or of everything, written to a destination that the
//! configuration names.
//!
//! Invariant: nothing of a request becomes a path or a URL; what it says of a destination only chooses one.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value};

use super::audit::note::TouchedStudies;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, SmallBody};
use super::links::Links;
use super::started::started;
use super::state::ApiState;
use super::tags::json_body;
use crate::auth::Action;
use crate::dicom::uid::Target;

/// Begins to export.
///
/// # Errors
/// 400 for a bad body and for a destination that the configuration does not name; 404 where it names none at all; 415 when
/// the body is no JSON.
pub(super) async fn export_instances(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Export)?;
    let archive = &api.app.archive;
    let destinations = archive.destinations();
    if destinations.is_empty() {
        return Err(HttpError::new(
            ProblemType::NotFound,
            "There is no export: the configuration of this server names no destination (STOWAGE_EXPORT_DESTINATIONS).",
        ));
    }
    let wrong = |reason: String| HttpError::bad_request(ProblemType::InvalidBody, reason);
    let asked = ExportRequest::read(&json_body(&headers, &body)?).map_err(wrong)?;
    let destination = match &asked.destination {
        AskedDestination::Named(name) => destinations.get(name),
        AskedDestination::Container(uri) => destinations.of_container(uri),
    };
    let Some(destination) = destination else {
        let names: Vec<&str> = destinations.names().collect();
        return Err(wrong(format!(
            "The destination is none that the configuration of this server names. Ask for one of them by name: \
             {{\"type\": \"named\", \"settings\": {{\"name\": …}}}}. There are: {}.",
            names.join(", ")
        )));
    };
    let id = archive
        .begin_export(&scope, asked.targets.as_deref(), destination.name())
        .await?;
    let mut response = started(&links, &id)?;
    let touched = asked.targets.iter().flatten();
    let touched = TouchedStudies::named(touched.map(|target| target.study().to_string()));
    response.extensions_mut().insert(touched);
    Ok(response)
}

/// What a client wants to be exported.
#[derive(Debug, PartialEq, Eq)]
struct ExportRequest {
    /// None stands for everything.
    targets: Option<Vec<Target>>,
    destination: AskedDestination,
}

/// How a client says where to.
#[derive(Debug, PartialEq, Eq)]
enum AskedDestination {
    /// By its name in the configuration.
    Named(String),
    /// By the URI of an Azure container, without credentials.
    Container(String),
}

/// Members of an object, by their names in any case.
pub(super) struct BodyMembers<'a> {
    /// Where the object stands.
    at: &'static str,
    members: &'a Map<String, Value>,
}

impl<'a> BodyMembers<'a> {
    /// Reads an object that has no other members than these: one that is mistyped must not mean something else.
    pub(super) fn of(at: &'static str, value: &'a Value, known: &[&str]) -> Result<Self, String> {
        let members = value
            .as_object()
            .ok_or_else(|| format!("{at} must be a JSON object."))?;
        let strange = members
            .keys()
            .any(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name)));
        let doubled = known.iter().any(|known| {
            let same = members
                .keys()
                .filter(|name| known.eq_ignore_ascii_case(name));
            same.count() > 1
        });
        match strange || doubled {
            false => Ok(Self { at, members }),
            true => Err(format!(
                "{at} may have each of these members once, and no others: {}.",
                known.join(", ")
            )),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let mut members = self.members.iter();
        let member = members.find(|(known, _)| known.eq_ignore_ascii_case(name));
        member.map(|(_, value)| value)
    }

    pub(super) fn need(&self, name: &str) -> Result<&'a Value, String> {
        let value = self.get(name);
        value.ok_or_else(|| format!("{} needs the member '{name}'.", self.at))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| !text.is_empty());
        let wrong = || format!("'{name}' of {} must be a text that is not empty.", self.at);
        text.map(Some).ok_or_else(wrong)
    }
}

impl ExportRequest {
    fn read(body: &Value) -> Result<Self, String> {
        let body = BodyMembers::of("The body", body, &["source", "destination"])?;
        Ok(Self {
            targets: body.get("source").map(targets).transpose()?,
            destination: destination(body.need("destination")?)?,
        })
    }
}

/// What a request names.
pub(super) fn targets(source: &Value) -> Result<Vec<Target>, String> {
    let source = BodyMembers::of(
        "'source' (which is left out to export everything)",
        source,
        &["type", "settings"],
    )?;
    let kind = source.text("type")?;
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("identifiers")) {
        return Err("'type' of 'source' must be \"identifiers\".".to_owned());
    }
    let settings = source.need("settings")?;
    let settings = BodyMembers::of("'source.settings'", settings, &["values"])?;
    let values = settings.need("values")?.as_array();
    let values = values.filter(|values| !values.is_empty()).ok_or(
        "'source.settings.values' must be a list of at least one study, study/series or study/series/instance.",
    )?;
    let target = |(number, value): (usize, &Value)| {
        let text = value.as_str().unwrap_or_default();
        let mut uids = text.split('/');
        let target = Target::of_uids(&mut uids).filter(|_| uids.next().is_none());
        target.ok_or_else(|| {
            format!(
                "'source.settings.values[{number}]' is no study, study/series or study/series/instance of valid UIDs."
            )
        })
    };
    values.iter().enumerate().map(target).collect()
}

fn destination(value: &Value) -> Result<AskedDestination, String> {
    let destination = BodyMembers::of("'destination'", value, &["type", "settings"])?;
    let kind = destination.text("type")?.unwrap_or_default();
    let settings = destination.need("settings")?;
    if kind.eq_ignore_ascii_case("named") {
        let settings = BodyMembers::of("'destination.settings'", settings, &["name"])?;
        let name = settings.text("name")?;
        let name = name.ok_or("'destination.settings' needs the member 'name'.")?;
        return Ok(AskedDestination::Named(name.to_owned()));
    }
    if !kind.eq_ignore_ascii_case("azureblob") {
        return Err("'type' of 'destination' must be \"named\" or \"azureblob\".".to_owned());
    }
    let settings = BodyMembers::of(
        "'destination.settings'",
        settings,
        &[
            "blobContainerUri",
            "blobContainerName",
            "connectionString",
            "useManagedIdentity",
        ],
    )?;
    let identity = settings.get("useManagedIdentity");
    if identity.is_some_and(|identity| !identity.is_boolean() && !identity.is_null()) {
        return Err(
            "'useManagedIdentity' of 'destination.settings' must be true or false.".to_owned(),
        );
    }
    let uri = settings.text("blobContainerUri")?;
    let name = settings.text("blobContainerName")?;
    let connection = settings.text("connectionString")?;
    match (uri, name, connection) {
        // A signature behind the question mark is neither used nor kept.
        (Some(uri), None, None) => {
            let plain = uri.split(['?', '#']).next().unwrap_or_default();
            Ok(AskedDestination::Container(plain.to_owned()))
        }
        (None, Some(name), Some(connection)) => {
            let endpoint = blob_endpoint(connection).ok_or(
                "'connectionString' of 'destination.settings' names neither an account nor a blob endpoint.",
            )?;
            let endpoint = endpoint.trim_end_matches('/');
            Ok(AskedDestination::Container(format!("{endpoint}/{name}")))
        }
        _ => Err(
            "'destination.settings' needs either 'blobContainerUri', or 'blobContainerName' and 'connectionString'."
                .to_owned(),
        ),
    }
}

/// Where the blobs of a connection string are; its key is neither used nor kept.
fn blob_endpoint(connection: &str) -> Option<String> {
    let value = |name: &str| {
        let mut pairs = connection
            .split(';')
            .filter_map(|pair| pair.split_once('='));
        let pair = pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        pair.map(|(_, value)| value.trim())
            .filter(|v| !v.is_empty())
    };
    if let Some(endpoint) = value("BlobEndpoint") {
        return Some(endpoint.split('?').next().unwrap_or_default().to_owned());
    }
    if value("UseDevelopmentStorage").is_some_and(|on| on.eq_ignore_ascii_case("true")) {
        return Some("http://127.0.0.1:10000/devstoreaccount1".to_owned());
    }
    let account = value("AccountName")?;
    let scheme = value("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = value("EndpointSuffix").unwrap_or("core.windows.net");
    Some(format!("{scheme}://{account}.blob.{suffix}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named() -> Value {
        json!({ "type": "named", "settings": { "name": "a" } })
    }

    fn azure(settings: Value) -> Value {
        let mut body = json!({ "destination": { "type": "azureblob" } });
        body["destination"]["settings"] = settings;
        body
    }

    #[test]
    fn a_request_of_the_service_is_understood_in_any_spelling() {
        let body = json!({
            "Source": { "Type": "Identifiers", "Settings": { "Values": ["1.2", "1.2/3", "1/2/3 "] } },
            "DESTINATION": named(),
        });
        let read = ExportRequest::read(&body).unwrap();
        let targets = read.targets.unwrap();
        assert_eq!(targets.len(), 3);
        assert_eq!(targets[2].instance().unwrap().as_str(), "3");
        let all = ExportRequest::read(&json!({ "destination": named() })).unwrap();
        assert_eq!(all.targets, None);
    }

    #[test]
    fn a_container_is_named_by_its_uri_or_by_a_connection_string() {
        for (settings, uri) in [
            (
                json!({ "blobContainerUri": "https://a.example/box?sv=1&sig=hush", "useManagedIdentity": true }),
                "https://a.example/box",
            ),
            (
                json!({ "blobContainerName": "box", "connectionString": "AccountName=acme;AccountKey=hush==" }),
                "https://acme.blob.core.windows.net/box",
            ),
            (
                json!({ "blobContainerName": "box", "connectionString":
                    "DefaultEndpointsProtocol=http;AccountName=acme;EndpointSuffix=core.example;AccountKey=hush" }),
                "http://acme.blob.core.example/box",
            ),
            (
                json!({ "blobContainerName": "box", "connectionString": "BlobEndpoint=http://h:1/acme/;SharedAccessSignature=hush" }),
                "http://h:1/acme/box",
            ),
            (
                json!({ "blobContainerName": "box", "connectionString": "UseDevelopmentStorage=true" }),
                "http://127.0.0.1:10000/devstoreaccount1/box",
            ),
        ] {
            let read = ExportRequest::read(&azure(settings)).unwrap();
            assert_eq!(
                read.destination,
                AskedDestination::Container(uri.to_owned())
            );
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_never_repeated() {
        let source = |source: Value| json!({ "source": source, "destination": named() });
        let values = |values: Value| {
            source(json!({ "type": "identifiers", "settings": { "values": values } }))
        };
        for body in [
            json!([]),
            json!({}),
            json!({ "sources": {}, "destination": named() }),
            json!({ "destination": named(), "Destination": named() }),
            source(Value::Null),
            source(json!({ "type": "query", "settings": { "values": ["1.2"] } })),
            values(json!([])),
            values(json!("1.2")),
            values(json!(["1.2", 3])),
            values(json!(["1.2/3/4/5"])),
            values(json!(["1.2/../3"])),
            values(json!(["hush"])),
            json!({ "destination": { "type": "file", "settings": { "path": "/hush" } } }),
            json!({ "destination": { "type": "named", "settings": { "name": 7 } } }),
            json!({ "destination": { "type": "named", "settings": { "name": "a", "path": "/hush" } } }),
            azure(json!({})),
            azure(json!({ "blobContainerName": "hush" })),
            azure(json!({ "blobContainerName": "hush", "connectionString": "hush" })),
            azure(json!({ "blobContainerUri": "hush", "connectionString": "hush" })),
            azure(json!({ "blobContainerUri": "hush", "useManagedIdentity": "hush" })),
        ] {
            let reason = ExportRequest::read(&body).unwrap_err();
            assert!(!reason.contains("hush"), "{reason}");
        }
    }
}
