use super::*;

use crate::support::prelude::*;

fn ui(uid: &str) -> Value {
    json!({ "vr": "UI", "Value": [uid] })
}

fn count(server: &Deployment, query: &str) -> usize {
    let answer = server.get_as(&format!("/dicom-web/{query}"), "application/dicom+json");
    answer.expect(200).json().as_array().unwrap().len()
}

#[test]
fn a_study_goes_on_under_another_uid() {
    on_each_index(|server| {
        let one = files(1);
        store(server, &one);
        let study = one[0].0.study.clone();
        let done = update(
            server,
            &change(&[&study], &json!({ "0020000D": ui("9.8.7") })),
        );
        assert_eq!(done["status"], "succeeded", "{done}");
        assert_eq!(done["results"]["instanceUpdated"], 5);
        server
            .get(&format!("/v2/studies/{study}/metadata"))
            .expect(404);
        assert_eq!(count(server, "studies"), 1);
        let found = metadata(server, "/studies/9.8.7");
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|i| i["0020000D"]["Value"][0] == "9.8.7"));
        let studies = server
            .get("/dicom-web/studies?PatientName=Doe*")
            .expect(200)
            .json();
        assert_eq!(studies[0]["0020000D"]["Value"][0], "9.8.7");
        assert_eq!(studies[0]["00201208"]["Value"][0], 5);
        assert_eq!(studies[0]["00201206"]["Value"][0], 2);
        assert_eq!(studies[0]["00080061"]["Value"][0], "CT");
        for (name, file) in &one {
            let path = format!(
                "/studies/9.8.7/series/{}/instances/{}",
                name.series, name.instance
            );
            let first = original(server, &format!("/v2{path}"), FILE).expect(200);
            assert!(first.body == file.bytes);
        }
        // Gone under the old UID, there under the new one.
        let feed = server.get("/v2/changefeed?includeMetadata=false").json();
        let of = |action: &str, study: &str| {
            let entries = feed.as_array().unwrap().iter();
            entries
                .filter(|e| e["action"] == action && e["studyInstanceUid"] == json!(study))
                .count()
        };
        assert_eq!((of("Delete", &study), of("Create", "9.8.7")), (5, 5));
        // The old UID is free.
        store(server, &one);
        assert_eq!(count(server, "studies"), 2);
        // To the UID that it has: it is taken.
        let done = update(
            server,
            &change(&["9.8.7"], &json!({ "0020000D": ui("9.8.7") })),
        );
        assert_eq!(done["status"], "failed");
        // Back over what is there now: nothing changes.
        let done = update(
            server,
            &change(&["9.8.7"], &json!({ "0020000D": ui(&study) })),
        );
        assert_eq!(done["status"], "failed");
        assert_eq!(done["results"]["studyFailed"], 1);
        assert_eq!(metadata(server, "/studies/9.8.7").len(), 5);
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
    });
}

#[test]
fn series_and_instances_go_into_other_studies() {
    on_each_index(|server| {
        let (one, other) = (files(1), files(2));
        store(server, &one);
        store(server, &other);
        let series = |body: &mut Value, name: &Name| {
            body["seriesInstanceUid"] = json!(name.series);
        };
        let (from, into) = (&one[0].0, &other[0].0);
        let members = one
            .iter()
            .filter(|(name, _)| name.series == from.series)
            .count();
        let mut body = change(
            &[&from.study],
            &json!({ "0020000D": ui(&into.study), "0020000E": ui("9.1") }),
        );
        series(&mut body, from);
        let done = update(server, &body);
        assert_eq!(done["results"]["instanceUpdated"], json!(members), "{done}");
        assert_eq!(metadata(server, &from.study_path()).len(), 5 - members);
        let moved = metadata(server, &format!("{}/series/9.1", into.study_path()));
        assert_eq!(moved.len(), members);
        assert!(
            moved
                .iter()
                .all(|i| i["0020000D"]["Value"][0] == json!(into.study))
        );
        let found = server
            .get("/dicom-web/series?SeriesInstanceUID=9.1")
            .expect(200)
            .json();
        assert_eq!(found[0]["0020000E"]["Value"][0], "9.1");
        assert_eq!(found[0]["00080060"]["Value"][0], "CT");
        // One instance into a study that is not there yet.
        let left = &one[1].0;
        let mut body = change(
            &[&left.study],
            &json!({ "0020000D": ui("9.2"), "0020000E": ui("9.2.1"), "00080018": ui("9.2.1.1") }),
        );
        series(&mut body, left);
        body["sopInstanceUid"] = json!(left.instance);
        let done = update(server, &body);
        assert_eq!(done["results"]["instanceUpdated"], 1, "{done}");
        let path = "/studies/9.2/series/9.2.1/instances/9.2.1.1";
        let now = server.get_as(&format!("/v2{path}"), FILE).expect(200);
        // Media Storage SOP Instance UID follows.
        assert_eq!(memchr::memmem::find_iter(&now.body, b"9.2.1.1").count(), 2);
        let first = original(server, &format!("/v2{path}"), FILE).expect(200);
        assert!(first.body == one[1].1.bytes);
        // The same again: there is nothing any more that could move.
        let done = update(server, &body);
        assert_eq!(done["results"]["studyUpdated"], 0);
        // Onto one that is there.
        let taken = &other[1].0;
        let mut body = change(
            &["9.2"],
            &json!({ "0020000D": ui(&taken.study), "0020000E": ui(&taken.series), "00080018": ui(&taken.instance) }),
        );
        body["seriesInstanceUid"] = json!("9.2.1");
        body["sopInstanceUid"] = json!("9.2.1.1");
        let done = update(server, &body);
        assert_eq!(done["status"], "failed", "{done}");
        let still = server
            .get_as(&format!("/v2{}", taken.path()), FILE)
            .expect(200);
        assert!(still.body == other[1].1.bytes);
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
    });
}
