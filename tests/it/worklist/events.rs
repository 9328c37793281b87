//! Subscriptions and event channels, by a client that is written from the standard alone; and what needs no channel.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::support::prelude::*;
use crate::support::server::{on_each_index_process, on_postgres_with};
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with as claim, with_secret};
use crate::support::{python, server};

const ALL: &str = "1.2.840.10008.5.1.4.34.5";

fn client(arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/worklist.py");
    let mut command = Command::new(python::interpreter());
    command.arg(script).args(arguments);
    command
}

#[test]
fn subscribers_are_told_what_the_standard_says() {
    on_each_index_process(&[], |server| {
        let said = server::run(&mut client(&["rules", server.url()]));
        assert!(said.contains("DONE"), "{said}");
    });
}

/// The client that says when half of the work is done, and is told then where to go on.
fn begin(urls: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut arguments = vec!["failover"];
    arguments.extend(urls);
    let mut command = client(&arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "HALF\n");
    (child, said)
}

fn go_on((mut child, mut said): (Child, BufReader<std::process::ChildStdout>), urls: &[&str]) {
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "GO {}", urls.join(" ")).unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(line, "DONE\n");
}

#[test]
fn each_change_is_seen_once_and_in_order_over_a_restart() {
    let mut server = Server::start(None);
    let running = begin(&[server.url()]);
    server.terminate();
    assert!(server.wait().success());
    server.restart();
    go_on(running, &[server.url()]);
}

#[test]
fn each_change_is_seen_once_and_in_order_when_a_node_fails() {
    on_postgres_with(&[], |first| {
        let url = first.setting("STOWAGE_DATABASE_URL").unwrap().to_owned();
        let blobs = first.data().join("blobs");
        let blobs = format!("file://{}", blobs.display());
        let mut second =
            Server::with(&[("STOWAGE_DATABASE_URL", &url), ("STOWAGE_BLOB_URL", &blobs)]);
        let running = begin(&[first.url(), second.url()]);
        second.kill();
        second.wait();
        go_on(running, &[first.url()]);
    });
}

#[test]
fn a_deletion_lock_keeps_a_finished_workitem_until_it_is_released() {
    let settings = [
        ("STOWAGE_WORKITEM_HOURS", "0.00001"),
        ("STOWAGE_SWEEP_SECONDS", "1"),
    ];
    on_each_index_with(&settings, |server| {
        for number in 1..=2 {
            create(server, "/dicom-web", &workitem(&uid(number), "P")).expect(201);
        }
        let subscribers = format!("/dicom-web/workitems/{}/subscribers/KEEPER", uid(1));
        let lock = format!("{subscribers}?deletionlock=true");
        server.request("POST", &lock).send().expect(201);
        for number in 1..=2 {
            let cancel = format!("/dicom-web/workitems/{}/cancelrequest", uid(number));
            server.request("POST", &cancel).send().expect(202);
        }
        wait_until("what nobody locks is deleted", || {
            found(server, "/dicom-web", "") == [uid(1)]
        });
        server.request("DELETE", &subscribers).send().expect(200);
        wait_until("what was locked is deleted", || {
            found(server, "/dicom-web", "").is_empty()
        });
    });
}

#[test]
fn a_title_belongs_to_the_token_that_used_it_first() {
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    on_each_index_process(&settings, |server| {
        let token = |claims| with_secret(SECRET.as_bytes(), &claims);
        let mine = token(claim(claims("admin"), "sub", "me"));
        let other = token(claim(claims("admin"), "sub", "another"));
        let by = |request: Request, token: &str| {
            request
                .header("Authorization", &format!("Bearer {token}"))
                .send()
        };
        let all = format!("/dicom-web/workitems/{ALL}/subscribers/MINE");
        by(server.request("POST", &all), &mine).expect(201);
        by(server.request("POST", &all), &mine).expect(201);
        for (method, target) in [
            ("POST", all.clone()),
            ("DELETE", all.clone()),
            ("POST", format!("{all}/suspend")),
        ] {
            by(server.request(method, &target), &other).expect(403);
        }
        let channel = server.request("GET", "/dicom-web/subscribers/MINE");
        let channel = channel
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        by(channel, &other).expect(403);
        by(server.request("DELETE", &all), &mine).expect(200);
    });
}

#[test]
fn a_crash_within_a_change_leaves_the_workitem_as_it_was() {
    let mut server = Server::with(&[("STOWAGE_FAULT", "workitem.changed:1")]);
    create(&server, "/dicom-web", &workitem(&uid(1), "P")).expect(201);
    let subscribe = format!("/dicom-web/workitems/{ALL}/subscribers/WATCH?deletionlock=true");
    server.request("POST", &subscribe).send().expect(201);
    let body = json!({
        "00081195": { "vr": "UI", "Value": ["1.2"] },
        "00741000": { "vr": "CS", "Value": ["IN PROGRESS"] },
    });
    let claim = server
        .request("PUT", &format!("/dicom-web/workitems/{}/state", uid(1)))
        .header("Content-Type", "application/dicom+json")
        .body(body.to_string());
    assert!(claim.try_send().is_err());
    server.wait();
    server.set("STOWAGE_FAULT", Some("workitem.inserted:1"));
    server.restart();
    assert_eq!(state(&read(&server, &uid(1))), "SCHEDULED");
    let again = server
        .request("POST", &format!("/dicom-web/workitems?{}", uid(2)))
        .header("Content-Type", "application/dicom+json")
        .body(short());
    assert!(again.try_send().is_err());
    server.wait();
    server.set("STOWAGE_FAULT", None);
    server.restart();
    assert_eq!(found(&server, "/dicom-web", ""), [uid(1)]);
    change_state(&server, "/dicom-web", &uid(1), "IN PROGRESS", "1.3").expect(200);
}
