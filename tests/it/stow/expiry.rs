//! Studies that are stored for a time (dicom-service-current §2).

use crate::support::prelude::*;

const TIME: &str = "msdicom-expiry-time-milliseconds";

fn send(
    server: &Deployment,
    method: &str,
    root: &str,
    headers: &[(&str, &str)],
    names: &[&Name],
) -> Response {
    let files: Vec<Vec<u8>> = names.iter().map(|name| name.small().bytes).collect();
    let mut request = server
        .request(method, &format!("{root}/studies"))
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let files = files.iter().map(Vec::as_slice);
    request.body(multipart::body(files)).send()
}

#[test]
fn a_study_is_deleted_when_its_time_is_over_and_the_last_store_decides() {
    let settings = [("STOWAGE_SWEEP_SECONDS", "3600")];
    on_each_index_with(&settings, |server| {
        let [short, put, cleared, refused, other, of_v1, of_standard] =
            [1600, 1601, 1602, 1603, 1604, 1605, 1606].map(|study| Name::new(study, 1, 1));
        let printed = [
            (TIME, "1"),
            ("msdicom-expiry-option", "RelativeToNow"),
            ("msdicom-expiry-level", "Study"),
        ];
        // The whole study goes, with what was stored before; each of several studies.
        let before = Name::new(1600, 2, 1);
        send(server, "POST", "/v2", &[], &[&before]).expect(200);
        send(server, "POST", "/v2", &printed, &[&short, &other]).expect(200);
        send(server, "PUT", "/v2", &[(TIME, "1")], &[&put]).expect(200);
        // A later store without a time takes it away, whatever its root; one of which nothing is stored changes nothing.
        let later = Name::new(1602, 1, 2);
        send(server, "POST", "/v2", &[(TIME, "1")], &[&cleared]).expect(200);
        send(server, "POST", "/dicom-web", &[], &[&later]).expect(200);
        send(server, "POST", "/v2", &[(TIME, "1")], &[&refused]).expect(200);
        send(server, "POST", "/v2", &[], &[&refused]).expect(409);
        // The other roots know nothing of it.
        send(server, "POST", "/v1", &[(TIME, "1")], &[&of_v1]).expect(200);
        send(
            server,
            "POST",
            "/dicom-web",
            &[(TIME, "x")],
            &[&of_standard],
        )
        .expect(200);
        // A time that is not over.
        let long = Name::new(1607, 1, 1);
        send(server, "POST", "/v2", &[(TIME, "3600000")], &[&long]).expect(200);
        // Until then reads answer as ever.
        assert!(server.stored(&short).is_some());

        // Its first sweep is at once.
        server.restart();
        for name in [&short, &before, &other, &put, &refused] {
            wait_until("the study is gone", || server.stored(name).is_none());
        }
        for name in [&cleared, &later, &of_v1, &of_standard, &long] {
            assert!(server.stored(name).is_some(), "{}", name.study);
        }
        let entries = server
            .get("/v2/changefeed?limit=200&includeMetadata=false")
            .expect(200)
            .json();
        let entries = entries.as_array().cloned().unwrap_or_default();
        let deleted = |name: &&Name| {
            let is_it = |entry: &&serde_json::Value| {
                let action = entry["action"].as_str().unwrap_or_default();
                entry["sopInstanceUid"] == name.instance.as_str()
                    && action.eq_ignore_ascii_case("delete")
            };
            entries.iter().filter(is_it).count() == 1
        };
        assert!(
            [&short, &before, &other, &put, &refused]
                .iter()
                .all(deleted),
            "{entries:?}"
        );
        assert!(
            server
                .get("/metrics")
                .text()
                .contains("stowage_expired_studies_total 4")
        );
        // A study that is stored anew has no time.
        send(server, "POST", "/v2", &[], &[&short]).expect(200);
        server.fsck();
    });
}

#[test]
fn a_time_that_cannot_be_read_is_400_before_anything_is_stored() {
    on_each_index_with(&[], |server| {
        let name = Name::new(1610, 1, 1);
        for (header, value) in [
            (TIME, "0"),
            (TIME, "soon"),
            (TIME, "9223372036854775807"),
            ("msdicom-expiry-option", "RelativeToNow"),
            ("msdicom-expiry-level", "Series"),
        ] {
            let answer = send(server, "PUT", "/v2", &[(header, value)], &[&name]).expect(400);
            assert!(
                answer.text().contains("msdicom-expiry-"),
                "{}",
                answer.text()
            );
        }
        assert!(server.stored(&name).is_none());
    });
}
