//! Room for requests and slots for stores: by subject, by connection, and only behind the token.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{FLAT, bearer, by, closed};
use crate::support::dicom::Name;
use crate::support::http::connect;
use crate::support::http2::{HEADERS, Http2, WINDOW_UPDATE};
use crate::support::multipart::{self, BOUNDARY};
use crate::support::server::{Server, wait_until};

/// Asks for this on many streams of many connections and takes nothing of the answers.
fn take_nothing(
    server: &Server,
    connections: usize,
    streams: u32,
    target: impl Fn(u32) -> String,
    headers: &[(&str, &str)],
) -> Vec<Http2> {
    (0..connections)
        .map(|_| {
            let mut connection = Http2::connect(server, 0);
            for number in 0..streams {
                connection.ask(2 * number + 1, "GET", &target(number), headers, true);
            }
            // The answer to the last one has begun, and so has that to all before it.
            connection.wait_for(HEADERS, 2 * streams - 1);
            connection
        })
        .collect()
}

#[test]
fn strangers_who_take_nothing_of_what_is_open_to_all_take_no_room() {
    let server = closed(&[("STOWAGE_REQUESTS", "32"), ("STOWAGE_CONNECTIONS", "400")]);
    let reader = bearer("reader", "reader");
    by(&server, &reader, "GET", "/dicom-web/studies")
        .send()
        .expect(200);
    server.get("/dicom-web/api.json").expect(200);
    let before = server.memory("VmRSS");
    server.reset_peak();
    for (what, target) in [
        ("a description", "/dicom-web/api.json"),
        ("one in YAML", "/v2/api.yaml"),
        ("the page for people", "/docs"),
        ("the first page", "/"),
        ("health", "/health/check"),
        ("nothing", "/nothing"),
        ("a refusal", "/dicom-web/studies"),
    ] {
        for encoding in ["identity", "gzip"] {
            let headers = [("accept", "*/*"), ("accept-encoding", encoding)];
            let target = |_| target.to_owned();
            let held = take_nothing(&server, 4, 50, target, &headers);
            by(&server, &reader, "GET", "/dicom-web/studies")
                .send()
                .expect(200);
            assert_eq!(server.get("/health/live").status, 200, "{what}");
            drop(held);
        }
    }
    let peak = server.memory("VmHWM");
    assert!(peak < before + FLAT, "{before} became {peak} KiB");
}

#[test]
fn neither_a_subject_nor_a_connection_can_take_all_room() {
    // Nobody is given up or makes way while the test looks.
    let server = closed(&[
        ("STOWAGE_REQUESTS", "64"),
        ("STOWAGE_SLOW_SECONDS", "600"),
        ("STOWAGE_IDLE_SECONDS", "600"),
    ]);
    let (crowd, reader) = (bearer("crowd", "admin"), bearer("reader", "reader"));
    let name = Name::new(760, 1, 1);
    by(&server, &crowd, "POST", "/v2/studies")
        .header("Content-Type", "application/dicom")
        .body(name.with_bulk(4 << 20).bytes)
        .send()
        .expect(200);
    let path = format!("/dicom-web{}", name.path());
    let headers = [
        ("accept", "application/dicom; transfer-syntax=*"),
        ("authorization", crowd.as_str()),
    ];
    let one = take_nothing(&server, 1, 60, |_| path.clone(), &headers);
    // The same subject finds room on another connection.
    by(&server, &crowd, "GET", "/dicom-web/studies")
        .send()
        .expect(200);
    let many = take_nothing(&server, 7, 60, |_| path.clone(), &headers);
    for _ in 0..4 {
        by(&server, &reader, "GET", "/dicom-web/studies")
            .send()
            .expect(200);
        by(&server, &reader, "GET", &path).send().expect(200);
    }
    drop((one, many));
    wait_until("there is room for the crowd again", || {
        by(&server, &crowd, "GET", &path).send().status == 200
    });
}

#[test]
fn who_takes_nothing_makes_way_for_another_of_the_same_subject() {
    let settings = [
        ("STOWAGE_REQUESTS", "4"),
        ("STOWAGE_SLOW_SECONDS", "2"),
        ("STOWAGE_LEAST_BYTES_PER_SECOND", "0"),
        ("STOWAGE_IDLE_SECONDS", "600"),
    ];
    let server = Server::with(&settings);
    let name = Name::new(761, 1, 1);
    server.store("/v2", [&name.with_bulk(4 << 20)]).expect(200);
    let path = format!("/dicom-web{}", name.path());
    let headers = [("accept", "application/dicom; transfer-syntax=*")];
    let _held = take_nothing(&server, 4, 1, |_| path.clone(), &headers);
    wait_until("one made way", || server.get(&path).status == 200);
}

#[test]
fn answers_in_memory_take_no_room_while_they_wait() {
    let settings = [("STOWAGE_REQUESTS", "4"), ("STOWAGE_SLOW_SECONDS", "600")];
    let server = Server::with(&settings);
    let files: Vec<_> = (0..40).map(|n| Name::new(762, 1, n).small()).collect();
    server.store("/v2", &files).expect(200);
    let mut held = Http2::connect(&server, 0);
    for number in 0..100 {
        let stream = 2 * number + 1;
        held.get(stream, "/dicom-web/instances?limit=10", "*/*");
        held.wait_for(HEADERS, stream);
    }
    server.get("/dicom-web/studies").expect(200);
    let counts = server.get("/metrics").expect(200).text();
    let counted = counts
        .lines()
        .find_map(|line| line.strip_prefix("stowage_memory_reserved_bytes{purpose=\"answers\"} "))
        .and_then(|value| value.parse::<u64>().ok());
    assert!(counted > Some(100 * 1000), "{counts}");
    drop(held);
    wait_until("their memory is given back", || {
        let counts = server.get("/metrics").expect(200).text();
        counts.contains("stowage_memory_reserved_bytes{purpose=\"answers\"} 0\n")
    });
}

#[test]
fn readers_and_senders_that_dribble_are_given_up() {
    let settings = [
        ("STOWAGE_SLOW_SECONDS", "1"),
        ("STOWAGE_LEAST_BYTES_PER_SECOND", "16384"),
        ("STOWAGE_HEAD_SECONDS", "1"),
    ];
    let server = Server::with(&settings);
    let name = Name::new(763, 1, 1);
    server.store("/v2", [&name.with_bulk(4 << 20)]).expect(200);
    // A byte now and then is not enough: in the end nothing runs on the connection, and it goes.
    let mut client = Http2::connect(&server, 1);
    client.get(
        1,
        &format!("/dicom-web{}", name.path()),
        "application/dicom; transfer-syntax=*",
    );
    client.wait_for(HEADERS, 1);
    let more = [0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    wait_until("the reader is given up", || !client.try_write(&more));
    assert!(client.received(1) < 16 << 10);
    let file = name.with_bulk(1 << 20).bytes;
    for chunk in [&file[..1], &file[..300]] {
        let mut stream = upload(&server, "", &file);
        let mut refused = false;
        wait_until("the sender is given up", || {
            refused |= stream.write_all(chunk).is_err();
            refused || closed_with_408(&mut stream)
        });
    }
}

/// Whether an answer has come, which must be a 408.
fn closed_with_408(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let mut head = [0; 12];
    let read = stream.peek(&mut head);
    stream.set_nonblocking(false).expect("a socket");
    match read {
        Ok(12) => {
            assert_eq!(&head, b"HTTP/1.1 408");
            true
        }
        _ => false,
    }
}

/// Begins a store of one instance and sends a little of it.
fn upload(server: &Server, bearer: &str, file: &[u8]) -> TcpStream {
    let mut stream = connect(server.address()).expect("the server listens");
    let mut request = server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .header("Content-Length", "100000000");
    if !bearer.is_empty() {
        request = request.header("Authorization", bearer);
    }
    let opening = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n");
    for bytes in [request.head().as_bytes(), opening.as_bytes(), &file[..200]] {
        stream.write_all(bytes).expect("the server reads");
    }
    stream
}

#[test]
fn slow_senders_leave_slots_to_others() {
    let server = closed(&[
        ("STOWAGE_STORE_REQUESTS", "32"),
        ("STOWAGE_SLOW_SECONDS", "600"),
    ]);
    let (crowd, writer) = (bearer("crowd", "writer"), bearer("writer", "writer"));
    let file = Name::new(764, 1, 1).with_bulk(1 << 20).bytes;
    let mut slow: Vec<TcpStream> = (0..60).map(|_| upload(&server, &crowd, &file)).collect();
    // What is too much of the crowd's is refused at once; of those that were still sending some find the connection reset.
    wait_until("some of the crowd are refused", || {
        slow.iter_mut().any(|stream| {
            stream.set_nonblocking(true).expect("a socket");
            let mut head = [0; 12];
            let read = stream.peek(&mut head);
            stream.set_nonblocking(false).expect("a socket");
            read.is_ok() && &head == b"HTTP/1.1 503"
        })
    });
    for number in 2..8 {
        by(&server, &writer, "POST", "/v2/studies")
            .header("Content-Type", "application/dicom")
            .body(Name::new(764, 1, number).small().bytes)
            .send()
            .expect(200);
    }
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn senders_who_dribble_are_told_and_their_slots_are_free_again() {
    let settings = [
        ("STOWAGE_STORE_REQUESTS", "4"),
        ("STOWAGE_SLOW_SECONDS", "1"),
    ];
    let server = Server::with(&settings);
    let file = Name::new(765, 1, 1).with_bulk(1 << 20).bytes;
    for mut stream in (0..4)
        .map(|_| upload(&server, "", &file))
        .collect::<Vec<_>>()
    {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    }
    let name = Name::new(765, 1, 2);
    server.store("/dicom-web", [&name.small()]).expect(200);
    wait_until("nothing is left of the others", || {
        server.blob_files().len() == 1
    });
}
