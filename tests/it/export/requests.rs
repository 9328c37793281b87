use super::*;

use crate::support::prelude::*;

#[test]
fn what_cannot_be_exported_is_told_and_nothing_is_written() {
    let (folder, setting) = destination();
    let server = TestApp::with(&[("STOWAGE_EXPORT_DESTINATIONS", &setting)]);
    let send = |body: &Value| post(&server, "/v2/export", body);
    for (body, part) in [
        (json!({}), "'destination'"),
        (json!([]), "JSON object"),
        (to("../disk", None), "There are: disk."),
        (to("/etc", None), "There are: disk."),
        (to_disk(Some(&[])), "at least one"),
        (to_disk(Some(&["1.2", "1.2/../.."])), "values[1]"),
        (to_disk(Some(&["1.2.x"])), "values[0]"),
        (
            json!({ "destination": { "type": "file", "settings": { "path": "/etc" } } }),
            "\"named\" or \"azureblob\"",
        ),
        (
            json!({ "destination": { "type": "azureblob", "settings": {
                "blobContainerUri": "https://evil.example/box?sig=hush", "useManagedIdentity": true } } }),
            "There are: disk.",
        ),
        (
            json!({ "source": null, "destination": { "type": "named", "settings": { "name": "disk" } } }),
            "left out to export everything",
        ),
    ] {
        let answer = send(&body).expect(400);
        assert!(answer.content_type().starts_with("text/plain"));
        assert!(answer.text().contains(part), "{}", answer.text());
        assert!(!answer.text().contains("hush"));
    }
    let problem = post(&server, "/dicom-web/export", &json!({})).expect(400);
    assert_eq!(problem.content_type(), "application/problem+json");
    let raw = |kind: &str, body: &str| {
        server
            .request("POST", "/v2/export")
            .header("Content-Type", kind)
            .body(body.to_owned())
            .send()
    };
    raw("text/plain", &to_disk(None).to_string()).expect(415);
    raw("application/json", "{").expect(400);
    raw("application/json", &"[".repeat(100_000)).expect(400);
    raw("application/json", &" ".repeat(2 << 20)).expect(413);
    server.get("/v2/export").expect(405);
    assert!(files_below(folder.path()).is_empty());
}

#[test]
fn without_destinations_there_is_no_export() {
    let server = TestApp::start(None);
    let answer = post(&server, "/v2/export", &to_disk(None)).expect(404);
    assert!(answer.text().contains("STOWAGE_EXPORT_DESTINATIONS"));
}

#[test]
fn a_destination_that_cannot_be_written_fails_the_operation_with_the_reason() {
    let (folder, _) = destination();
    // A file stands where the folder should be.
    let taken = folder.path().join("taken");
    fs::write(&taken, "here").unwrap();
    let setting = format!("disk=file://{}/below", taken.display());
    let server = TestApp::with(&[("STOWAGE_EXPORT_DESTINATIONS", &setting)]);
    stored(&server, &[Name::new(1, 1, 1)]);
    let answer = post(&server, "/v2/export", &to_disk(None)).expect(202);
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    assert_eq!(
        done["results"],
        json!({ "exported": 0, "skipped": 0, "errors": ["The destination disk: the folder may not be written."] })
    );
}

#[test]
fn a_destination_that_is_taken_out_of_the_configuration_ends_what_goes_there() {
    let (folder, setting) = destination();
    let mut server = Server::with(&[
        ("STOWAGE_EXPORT_DESTINATIONS", setting.as_str()),
        ("STOWAGE_EXPORT_GIVE_UP_SECONDS", "1"),
        ("STOWAGE_FAULT", "export.copied:1"),
    ]);
    stored(&server, &[Name::new(1, 1, 1)]);
    let answer = post(&server, "/v2/export", &to_disk(None)).expect(202);
    server.wait();
    server.set("STOWAGE_FAULT", None);
    let other = setting.replace("disk=", "other=");
    server.set("STOWAGE_EXPORT_DESTINATIONS", Some(&other));
    server.restart();
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    let errors = done["results"]["errors"].to_string();
    assert!(errors.contains("no such destination"), "{errors}");
    drop(folder);
}
