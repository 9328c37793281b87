//! Floods of frames of HTTP/2: the connection ends or goes on, memory stays flat, and others are answered.

use std::time::Duration;

use crate::support::http2::{HEADERS, Http2, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, literal};
use crate::support::server::Server;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const CONTINUATION: u8 = 9;
/// Bytes of each flood.
const MOST: usize = 3 << 20;
/// Memory that all floods together may cost, in KiB.
const FLAT: u64 = 96 * 1024;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a request as a block of HPACK.
fn block(target: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", target),
        (":authority", "localhost"),
    ] {
        literal(&mut block, name, value);
    }
    block
}

/// A block that puts a large header into the table once and names it a thousand times.
fn bomb() -> Vec<u8> {
    let mut bomb = block("/dicom-web/studies");
    bomb.push(0x40);
    bomb.extend([1, b'x', 127]);
    // 3,900 bytes, as an integer with a prefix of seven bits.
    bomb.extend([0xBD, 0x1D]);
    bomb.extend(vec![b'a'; 3900]);
    bomb.extend(vec![0xBE; 8000]);
    bomb
}

/// What is sent again and again, by its number.
type Flood = fn(u32) -> Vec<u8>;

const FLOODS: &[(&str, Flood)] = &[
    ("rapid reset", |n| {
        let stream = 2 * n + 1;
        let ask = frame(HEADERS, 5, stream, &block("/dicom-web/studies"));
        [ask, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    }),
    ("resets by errors", |n| {
        let stream = 2 * n + 1;
        let ask = frame(HEADERS, 4, stream, &block("/dicom-web/studies"));
        [ask, frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0])].concat()
    }),
    ("CONTINUATION without end", |n| {
        let mut more = Vec::new();
        literal(&mut more, &format!("x-{n}"), &"a".repeat(8000));
        match n {
            0 => frame(HEADERS, 1, 1, &block("/")),
            _ => frame(CONTINUATION, 0, 1, &more),
        }
    }),
    ("empty CONTINUATION", |n| match n {
        0 => frame(HEADERS, 1, 1, &block("/")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }),
    ("SETTINGS", |n| {
        frame(
            SETTINGS,
            0,
            0,
            &[&[0, 4][..], &(n + 1).to_be_bytes()].concat(),
        )
    }),
    ("empty SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
    ("PING", |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
    ("PRIORITY", |n| {
        frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 16])
    }),
    ("WINDOW_UPDATE", |_| {
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
    }),
    ("a bomb of HPACK", |n| {
        let bomb = bomb();
        let stream = 2 * n + 1;
        frame(HEADERS, 5, stream, &bomb)
    }),
    ("empty DATA", |n| match n {
        0 => frame(HEADERS, 4, 1, &block("/dicom-web/studies")),
        _ => frame(DATA, 0, 1, &[]),
    }),
    ("padded DATA", |n| match n {
        0 => frame(HEADERS, 4, 1, &block("/dicom-web/studies")),
        _ => frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat()),
    }),
    ("headers of nothing", |n| frame(HEADERS, 5, 2 * n + 1, &[])),
    ("frames of unknown kinds", |_| {
        frame(0xEE, 0xFF, 0, &[0; 1000])
    }),
    ("requests for nothing", |n| {
        frame(HEADERS, 5, 2 * n + 1, &block("/nothing"))
    }),
];

#[test]
fn floods_of_frames_cost_little_and_hold_nobody_up() {
    let server = Server::start(None);
    server.get("/dicom-web/studies").expect(200);
    let before = server.memory("VmRSS");
    server.reset_peak();
    for (what, flood) in FLOODS {
        let mut client = Http2::connect(&server, 65_535);
        // Whoever is flooded back and does not read is a flood too; so this one writes without reading.
        client.write_for(Duration::from_secs(2));
        let mut sent = 0;
        for number in 0.. {
            let bytes = flood(number);
            if sent + bytes.len() > MOST || !client.try_write(&bytes) {
                break;
            }
            sent += bytes.len();
        }
        assert_eq!(server.get("/health/live").status, 200, "{what}");
        assert_eq!(server.get("/dicom-web/studies").status, 200, "{what}");
        let peak = server.memory("VmHWM");
        println!("{what}: {sent} bytes, peak {peak} KiB");
        assert!(peak < before + FLAT, "{what}: {before} became {peak} KiB");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
