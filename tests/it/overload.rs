//! Overload: what is too much is refused with a 503 that says when to come again, silence is given up and slowness is
//! not, and whoever goes away takes his work with him.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::support::app::TestApp;
use crate::support::dicom::Name;
use crate::support::http::{Answer, connect};
use crate::support::http2::{DATA, HEADERS, Http2, RST_STREAM};
use crate::support::multipart::{self, BOUNDARY};
use crate::support::server::{Server, wait_until};

/// Files the server may have open for a moment beyond what it began with: connections to the database come and go.
const SLACK: usize = 12;

fn wait_for_files(server: &Server, before: usize) {
    wait_until("files and sockets are closed", || {
        server.open_files() <= before + SLACK
    });
}

/// A server with one large instance.
fn with_large(settings: &[(&str, &str)]) -> (Server, Name) {
    let server = Server::with(settings);
    let name = Name::new(1, 1, 1);
    server
        .store("/dicom-web", [&name.with_bulk(24 << 20)])
        .expect(200);
    (server, name)
}

/// Asks for an instance and reads nothing of the answer.
fn ask_and_wait(server: &Server, name: &Name) -> TcpStream {
    let mut stream = connect(server.address()).expect("the server listens");
    let request = server
        .request("GET", &format!("/dicom-web{}", name.path()))
        .accept("application/dicom; transfer-syntax=*");
    stream
        .write_all(request.head().as_bytes())
        .expect("the server reads");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("the answer begins");
    stream
}

#[test]
fn a_client_that_stops_reading_is_given_up() {
    let (server, name) = with_large(&[("STOWAGE_IDLE_SECONDS", "1")]);
    let readers: Vec<TcpStream> = (0..40).map(|_| ask_and_wait(&server, &name)).collect();
    wait_until("all are given up", || server.connections() == 0);
    for mut reader in readers {
        // What was on its way is there, and then the connection ends before the answer does.
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        assert!(bytes.len() < 24 << 20);
    }
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let (server, name) = with_large(&[("STOWAGE_IDLE_SECONDS", "1")]);
    let mut slow = ask_and_wait(&server, &name);
    // One that comes after it and reads nothing is given up while the slow one is in the middle of its answer.
    let silent = ask_and_wait(&server, &name);
    assert_eq!(server.connections(), 2);
    let mut buffer = vec![0; 64 << 10];
    let mut length = 1;
    // A little each time, as often as is looked.
    wait_until("the silent one is given up", || {
        length += slow.read(&mut buffer).expect("the answer goes on");
        assert!(length < 20 << 20, "the silent one is not given up in time");
        server.connections() == 1
    });
    loop {
        match slow.read(&mut buffer).expect("the answer goes on") {
            0 => break,
            read => length += read,
        }
    }
    assert!(length > 24 << 20);
    drop(silent);
}

#[test]
fn a_body_that_trickles_is_stored_and_one_that_stops_is_given_up() {
    let server = Server::with(&[("STOWAGE_IDLE_SECONDS", "1")]);
    let file = Name::new(1, 1, 1).with_bulk(1 << 20).bytes;
    let body = multipart::body([file.as_slice()]);
    let request = server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .header("Content-Length", &body.len().to_string());
    let mut stream = connect(server.address()).expect("the server listens");
    stream
        .write_all(request.head().as_bytes())
        .expect("the server reads");
    // A byte now and then, until those that stopped after it had begun are given up.
    let mut sent = 0;
    thread::scope(|scope| {
        let stopped = scope.spawn(|| those_that_stop_are_given_up(&server));
        wait_until("those that stopped are given up", || {
            let byte = &body[sent..=sent];
            stream.write_all(byte).expect("the server reads");
            sent += 1;
            stopped.is_finished()
        });
        stopped.join().expect("they are given up");
    });
    stream.write_all(&body[sent..]).expect("the server reads");
    let answer = Answer::read(stream, false).and_then(Answer::finish);
    answer.expect("an answer").expect(200);
}

fn those_that_stop_are_given_up(server: &Server) {
    for target in ["/dicom-web/studies", "/v2/extendedquerytags"] {
        let content_type = match target {
            "/dicom-web/studies" => multipart::content_type(),
            _ => "application/json".to_owned(),
        };
        let request = server
            .request("POST", target)
            .header("Content-Type", &content_type)
            .header("Content-Length", "1000");
        let mut stream = connect(server.address()).expect("the server listens");
        stream
            .write_all(request.head().as_bytes())
            .expect("the server reads");
        stream.write_all(b"[").expect("the server reads");
        let answer = Answer::read(stream, false).and_then(Answer::finish);
        answer.expect("an answer").expect(408);
    }
}

#[test]
fn a_body_that_is_held_whole_must_be_small() {
    let server = Server::start(None);
    let before = server.memory("VmRSS");
    let answer = server
        .request("POST", "/v2/extendedquerytags")
        .header("Content-Type", "application/json")
        .body(vec![b' '; 64 << 20])
        .send();
    answer.expect(413);
    assert!(server.memory("VmHWM") < before + 32 * 1024);
}

#[test]
fn more_requests_than_there_is_room_for_are_told_to_come_again() {
    let (server, name) = with_large(&[("STOWAGE_REQUESTS", "3")]);
    let readers: Vec<TcpStream> = (0..3).map(|_| ask_and_wait(&server, &name)).collect();
    for target in ["/dicom-web/studies", "/v2/changefeed"] {
        let busy = server.get(target).expect(503);
        assert!(busy.header("retry-after").is_some());
    }
    server.get("/health/check").expect(200);
    drop(readers);
    wait_until("there is room again", || {
        server.get("/dicom-web/studies").status == 200
    });
}

#[test]
fn streams_of_http2_that_stand_still_are_let_go_and_slow_ones_are_not() {
    let settings = [("STOWAGE_REQUESTS", "4"), ("STOWAGE_IDLE_SECONDS", "2")];
    let (server, name) = with_large(&settings);
    let target = format!("/dicom-web{}", name.path());
    let accept = "application/dicom; transfer-syntax=*";
    let mut client = Http2::connect(&server, 16_000);
    for stream in [1, 3, 5, 7] {
        client.get(stream, &target, accept);
        client.wait_for(HEADERS, stream);
    }
    server.get("/dicom-web/studies").expect(503);
    // A little of the last one each time, as often as is looked, until those are let go that came before it.
    wait_until("three are let go", || {
        client.more(7, 16_384);
        client.wait_for(DATA, 7);
        // The last one, and who asks.
        let two = "\nstowage_http_requests_running 2\n";
        server.get("/metrics").text().contains(two)
    });
    server.get("/dicom-web/studies").expect(200);
    for stream in [1, 3, 5] {
        client.more(stream, 1 << 20);
        client.wait_for(RST_STREAM, stream);
    }
    client.more(7, 1 << 30);
    loop {
        let frame = client.next(7);
        assert_eq!(frame.kind, DATA);
        if frame.last {
            break;
        }
    }
    assert!(client.received(7) > 24 << 20);
}

#[test]
fn a_spool_that_is_used_up_is_told_and_given_back() {
    let settings = [
        ("STOWAGE_SPOOL_BYTES", "3000000"),
        ("STOWAGE_PART_MEMORY_BYTES", "20000"),
    ];
    let server = TestApp::with(&settings);
    let large = Name::new(1, 1, 1).with_bulk(5 << 20);
    let fits = Name::new(1, 1, 2).with_bulk(1 << 20);
    for _ in 0..3 {
        let busy = server.store("/dicom-web", [&large]).expect(503);
        assert!(busy.header("retry-after").is_some());
    }
    assert_eq!(server.blob_files().len(), 0, "nothing is left in the spool");
    server.store("/dicom-web", [&fits]).expect(200);
    for number in 3..8 {
        let next = Name::new(1, 1, number).with_bulk(1 << 20);
        server.store("/dicom-web", [&next]).expect(200);
    }
    server.fsck();
}

#[test]
fn a_thousand_idle_connections_hold_nobody_up() {
    let server = Server::start(None);
    let before = (server.open_files(), server.memory("VmRSS"));
    let mut idle = Vec::new();
    for number in 0..1000 {
        let Ok(mut stream) = connect(server.address()) else {
            println!("only {number} connections: the limit of open files is low");
            break;
        };
        if number % 2 == 0 {
            // Half of them have asked something before and keep the connection.
            let head = "GET /health/check HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("the server reads");
        }
        idle.push(stream);
    }
    let name = Name::new(1, 1, 1);
    server.store("/dicom-web", [&name.small()]).expect(200);
    assert!(server.stored(&name).is_some());
    let grown = server.memory("VmRSS").saturating_sub(before.1);
    println!("{} idle connections: {grown} KiB", idle.len());
    assert!(grown < 64 * 1024, "{grown} KiB");
    drop(idle);
    wait_for_files(&server, before.0);
}

#[test]
fn whoever_goes_away_takes_his_work_with_him() {
    let (server, name) = with_large(&[("STOWAGE_PART_MEMORY_BYTES", "20000")]);
    let (files, blobs) = (server.open_files(), server.blob_files().len());
    let readers: Vec<TcpStream> = (0..20).map(|_| ask_and_wait(&server, &name)).collect();
    let uploads: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(server.address()).expect("the server listens");
            let request = server
                .request("POST", "/dicom-web/studies")
                .header("Content-Type", &multipart::content_type())
                .header("Content-Length", "100000000");
            stream
                .write_all(request.head().as_bytes())
                .expect("the server reads");
            let opening = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n");
            stream.write_all(opening.as_bytes()).expect("it reads");
            stream.write_all(&vec![7; 2 << 20]).expect("it reads");
            stream
        })
        .collect();
    wait_until("the uploads are in the spool", || {
        server.blob_files().len() >= blobs + 20
    });
    drop((readers, uploads));
    wait_for_files(&server, files);
    wait_until("the spool is empty", || server.blob_files().len() == blobs);
    server.fsck();
}
