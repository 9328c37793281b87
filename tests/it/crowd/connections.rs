//! Connections: idle ones end, there are only so many, and files are left for what is stored.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::FLAT;
use crate::support::dicom::Name;
use crate::support::http::connect;
use crate::support::http2::{GOAWAY, HEADERS, Http2};
use crate::support::server::{FILES, Server, wait_until};

#[test]
fn connections_without_requests_end_over_both_versions() {
    let server = Server::with(&[("STOWAGE_HEAD_SECONDS", "1")]);
    let mut asked = Http2::connect(&server, 65_535);
    asked.get(1, "/dicom-web/studies", "*/*");
    asked.wait_for(HEADERS, 1);
    // It answers each PING, and is told to go all the same.
    assert!(asked.until_closed(1 << 20).contains(&GOAWAY));
    // An answer that nobody takes keeps a connection no longer than it is kept itself.
    let server = Server::with(&[("STOWAGE_HEAD_SECONDS", "1"), ("STOWAGE_IDLE_SECONDS", "1")]);
    let mut standing = Http2::connect(&server, 0);
    standing.get(1, "/dicom-web/studies", "*/*");
    standing.wait_for(HEADERS, 1);
    standing.until_closed(1 << 20);
    let mut silent = Http2::connect(&server, 65_535);
    silent.until_closed(1 << 20);
    let mut kept = connect(server.address()).expect("the server listens");
    kept.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("the server reads");
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest)
        .expect("an end without an error");
    assert!(rest.starts_with(b"HTTP/1.1 200"));
}

/// Opens connections of HTTP/2 that have asked once, and leaves them.
fn idle(server: &Server, count: usize) -> Vec<Http2> {
    (0..count)
        .map(|_| {
            let mut connection = Http2::connect(server, 65_535);
            connection.get(1, "/health/live", "*/*");
            connection.wait_for(HEADERS, 1);
            connection
        })
        .collect()
}

#[test]
fn idle_connections_go_when_others_want_room() {
    let server = Server::with(&[("STOWAGE_CONNECTIONS", "20")]);
    let held = idle(&server, 60);
    let name = Name::new(770, 1, 1);
    server.store("/dicom-web", [&name.small()]).expect(200);
    assert!(server.stored(&name).is_some());
    wait_until("no more are open than may be", || {
        server.connections() <= 20
    });
    let counts = server.get("/metrics").expect(200).text();
    let count = |name: &str| -> u64 {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    assert!(count("stowage_connections_ended_total{reason=\"crowded\"}") >= 40);
    assert!(count("stowage_connections ") <= 20);
    drop(held);
}

#[test]
fn with_few_files_stores_and_reads_find_theirs() {
    let server = Server::with(&[(FILES, "256")]);
    let name = Name::new(771, 1, 1);
    let held = idle(&server, 300);
    for number in 1..4 {
        let name = Name::new(771, 1, number);
        server.store("/dicom-web", [&name.small()]).expect(200);
    }
    assert!(server.stored(&name).is_some());
    server.get("/health/check").expect(200);
    let half: Vec<TcpStream> = (0..300).map(|_| half_head(&server)).collect();
    server
        .store("/v2", [&Name::new(771, 1, 9).small()])
        .expect(200);
    server.get("/health/check").expect(200);
    let said = server.log();
    assert!(!said.contains("os error 24"), "{said}");
    assert!(
        said.contains("STOWAGE_CONNECTIONS"),
        "the start says so: {said}"
    );
    drop((held, half));
}

/// Sends most of a head that could be valid, and never its end.
fn half_head(server: &Server) -> TcpStream {
    let mut stream = connect(server.address()).expect("the server listens");
    let mut head = b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    head.resize(390_000, b'x');
    // It may be told off before it has sent everything.
    let _ = stream.write_all(&head[..60_000]);
    let _ = stream.set_nonblocking(true);
    let _ = stream.write(&head[60_000..]);
    stream
}

#[test]
fn half_heads_cost_little_memory() {
    let server = Server::start(None);
    server.get("/dicom-web/studies").expect(200);
    let before = server.memory("VmRSS");
    server.reset_peak();
    let half: Vec<TcpStream> = (0..400).map(|_| half_head(&server)).collect();
    server.get("/dicom-web/studies").expect(200);
    server.get("/health/live").expect(200);
    let peak = server.memory("VmHWM");
    println!("{} half heads: {before} to {peak} KiB", half.len());
    assert!(peak < before + FLAT, "{before} became {peak} KiB");
}

#[test]
fn the_limit_of_open_files_is_raised_at_the_start() {
    let server = Server::with(&[(FILES, "-S 300")]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid()));
    let limits = limits.expect("the server runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut numbers = line.expect("a line").split_whitespace().skip(3);
    let (soft, hard) = (numbers.next(), numbers.next());
    assert!(soft.is_some() && soft == hard, "{line:?}");
}
