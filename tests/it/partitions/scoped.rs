//! Callers that are limited to partitions: the others do not exist for them.

use super::{ON, image, unknown};

use crate::support::prelude::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A token by the command line, with these arguments.
fn token(server: &Deployment, arguments: &[&str]) -> String {
    let made = server.command(&[&["token"], arguments].concat());
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

fn ask(server: &Deployment, method: &str, target: &str, token: &str) -> Request {
    server
        .request(method, target)
        .accept("*/*")
        .header("Authorization", &format!("Bearer {token}"))
}

fn get(server: &Deployment, target: &str, token: &str) -> Response {
    ask(server, "GET", target, token).send()
}

fn store(server: &Deployment, root: &str, file: &[u8], token: &str) -> Response {
    ask(server, "POST", &format!("{root}/studies"), token)
        .header("Content-Type", "application/dicom")
        .body(file)
        .send()
}

fn partitions_of(list: &Value) -> Vec<&str> {
    let entries = list.as_array().unwrap().iter();
    entries
        .map(|entry| entry["partitionName"].as_str().unwrap())
        .collect()
}

#[test]
fn a_caller_of_one_partition_sees_nothing_of_the_others() {
    let settings = [
        ON[0],
        ("STOWAGE_AUTH", "jwt"),
        ("STOWAGE_JWT_SECRET", SECRET),
    ];
    on_each_index_with(&settings, |server| {
        let admin = token(server, &[]);
        let north = token(server, &["--partition", "north"]);
        let reader = token(server, &["--partition", "north", "--roles", "reader"]);
        let patient = token(server, &["--patient", "SOUTH"]);
        let name = Name::new(640, 1, 1);
        for (root, seed) in [
            ("/v2/partitions/north", "NORTH"),
            ("/v2/partitions/south", "SOUTH"),
            ("/dicom-web", "DEFAULT"),
        ] {
            store(server, root, &image(&name, seed).bytes, &admin).expect(200);
        }
        let study = name.study_path();

        let list = |token: &str| get(server, "/v2/partitions", token);
        let all = list(&admin).json();
        assert_eq!(partitions_of(&all), ["Microsoft.Default", "north", "south"]);
        assert_eq!(partitions_of(&list(&north).json()), ["north"]);
        assert_eq!(
            partitions_of(&list(&patient).json()),
            ["south"],
            "where its patient is"
        );

        // Another partition is answered as one that does not exist, whatever is asked.
        get(server, &format!("/v2/partitions/north{study}"), &north).expect(200);
        for method in ["GET", "DELETE"] {
            for other in ["south", "Microsoft.Default", "nowhere"] {
                for path in [study.clone(), name.path(), format!("{study}/metadata")] {
                    if method == "DELETE" && path.ends_with("metadata") {
                        continue;
                    }
                    let target = format!("/v2/partitions/{other}{path}");
                    let answer = ask(server, method, &target, &north).send();
                    assert_eq!((answer.status, answer.text()), (400, unknown(other)));
                }
            }
        }
        for other in ["south", "nowhere", "Microsoft.Default"] {
            let root = format!("/v2/partitions/{other}");
            store(server, &root, &image(&name, "X").bytes, &north).expect(403);
            let workitem = ask(
                server,
                "POST",
                &format!("/dicom-web/partitions/{other}/workitems?1.2.3.9.9"),
                &north,
            )
            .header("Content-Type", "application/dicom+json")
            .body(crate::worklist::short());
            workitem.send().expect(403);
        }
        assert_eq!(
            partitions_of(&list(&admin).json()).len(),
            3,
            "nothing was made"
        );
        store(
            server,
            "/v2/partitions/north",
            &image(&name, "NORTH").bytes,
            &reader,
        )
        .expect(403);
        ask(
            server,
            "DELETE",
            &format!("/v2/partitions/north{study}"),
            &reader,
        )
        .send()
        .expect(403);

        // Without a name it is the default partition, in which there is nothing for it.
        assert_eq!(
            get(server, "/dicom-web/studies", &north).expect(200).json(),
            json!([])
        );
        get(server, &format!("/dicom-web{study}"), &north).expect(404);
        store(server, "/dicom-web", &image(&name, "X").bytes, &north).expect(403);

        // What is one for all partitions is cut to its own.
        for (who, own) in [(&north, "north"), (&patient, "south")] {
            for root in ["/v1", "/v2", "/dicom-web"] {
                let feed = get(server, &format!("{root}/changefeed"), who).expect(200);
                assert_eq!(partitions_of(&feed.json()), [own], "{}", feed.text());
                let latest = get(server, &format!("{root}/changefeed/latest"), who).expect(200);
                assert_eq!(latest.json()["partitionName"], own);
                assert_eq!(
                    latest.json()["metadata"]["00100020"]["Value"],
                    json!([own.to_uppercase()])
                );
            }
        }
        get(server, "/metrics", &north).expect(403);
        get(server, "/metrics", &admin).expect(200);

        share(server, &admin, &north, &name);
    });
}

/// A link to a study of a partition opens that study there, and nothing elsewhere.
fn share(server: &Deployment, admin: &str, north: &str, name: &Name) {
    let link = |token: &str, partition: Option<&str>| {
        let mut body = json!({ "study": name.study, "seconds": 600 });
        if let Some(partition) = partition {
            body["partition"] = json!(partition);
        }
        ask(server, "POST", "/ui/links", token)
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
    };
    let open = |made: &Response| {
        let code = made.json()["code"].clone();
        let opened = server
            .request("POST", "/ui/links/open")
            .header("Content-Type", "application/json")
            .body(json!({ "code": code }).to_string())
            .send()
            .expect(200);
        opened.json()
    };
    let study = name.study_path();
    link(north, Some("south")).expect(404);
    link(north, None).expect(404);
    link(admin, Some("nowhere")).expect(404);
    link(admin, Some("a b")).expect(400);
    let opened = open(&link(north, Some("north")).expect(200));
    assert_eq!(opened["partition"], "north");
    let shared = opened["token"].as_str().unwrap();
    get(server, &format!("/v2/partitions/north{study}"), shared).expect(200);
    get(server, &format!("/v2/partitions/south{study}"), shared).expect(400);
    get(server, &format!("/dicom-web{study}"), shared).expect(404);
    let opened = open(&link(admin, None).expect(200));
    assert_eq!(opened.get("partition"), None);
    let shared = opened["token"].as_str().unwrap();
    get(server, &format!("/dicom-web{study}"), shared).expect(200);
    get(server, &format!("/v2/partitions/north{study}"), shared).expect(400);
    let list = get(server, "/v2/partitions", shared).expect(200).json();
    assert_eq!(partitions_of(&list), ["Microsoft.Default"]);
}
