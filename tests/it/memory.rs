//! Memory: bounded by the configuration, never by the size of an object.
//!
//! The large object has 1 GiB; `STOWAGE_TEST_LARGE_GIB=4` makes the file longer than 4 GiB.

use std::io::{self, Read, Write};
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Syntax};

use crate::support::dicom::{Name, noise};
use crate::support::http::{Answer, connect};
use crate::support::multipart::{self, BOUNDARY, parameter};
use crate::support::server::{Server, wait_until};

mod stores;

/// What the server may take at most, in KiB: 150 MiB with everything.
const PEAK: u64 = 150 * 1024;
const MIB: u64 = 1 << 20;

fn large() -> u64 {
    let gib = std::env::var("STOWAGE_TEST_LARGE_GIB").map_or(1, |text| {
        text.parse::<u64>()
            .expect("STOWAGE_TEST_LARGE_GIB is a number")
    });
    gib << 30
}

/// A file of `length` bytes of pixel data, made as it is read: frames of 1 MiB, each of the same noise but for its
/// number.
struct Large {
    head: Vec<u8>,
    block: Vec<u8>,
    length: u64,
}

impl Large {
    fn new(name: &Name, length: u64, syntax: Syntax) -> Self {
        let frames = u32::try_from(length / MIB).expect("not that many");
        // The length field of native pixel data ends before 4 GiB; with a document of 2 MiB the file passes them.
        let document = noise("document", 2 << 20);
        let data_set =
            name.image(1024, 1024, 8, frames)
                .bytes(Tag(0x0042, 0x0011), VR::OB, document);
        let mut head = name.file(&data_set, syntax).bytes;
        head.extend(0x7FE0_u16.to_le_bytes());
        head.extend(0x0010_u16.to_le_bytes());
        head.extend(b"OW\0\0");
        head.extend(
            u32::try_from(length)
                .expect("less than 4 GiB")
                .to_le_bytes(),
        );
        Self {
            head,
            block: noise("block", 1 << 20),
            length,
        }
    }

    fn frame(&self, number: u64) -> Vec<u8> {
        let mut block = self.block.clone();
        block[..8].copy_from_slice(&number.to_le_bytes());
        block
    }

    fn total(&self) -> u64 {
        self.head.len() as u64 + self.length
    }

    /// Writes it all; returns its digest.
    fn write_to(&self, out: &mut impl Write) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut write = |bytes: &[u8]| {
            hasher.update(bytes);
            out.write_all(bytes)
        };
        write(&self.head)?;
        for number in 0..self.length / MIB {
            write(&self.frame(number))?;
        }
        Ok(hasher.finalize())
    }
}

/// Sends a file as multipart without a length; returns the answer and the file's digest.
fn upload(server: &Server, large: &Large) -> (Answer, blake3::Hash) {
    let mut stream = connect(server.address()).expect("the server listens");
    let head = server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .header("Transfer-Encoding", "chunked")
        .head();
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut chunks = Chunks(stream);
    let opening = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n");
    chunks
        .write_all(opening.as_bytes())
        .expect("the server reads");
    let digest = large.write_to(&mut chunks).expect("the server reads");
    let closing = format!("\r\n--{BOUNDARY}--\r\n");
    chunks
        .write_all(closing.as_bytes())
        .expect("the server reads");
    let mut stream = chunks.0;
    stream.write_all(b"0\r\n\r\n").expect("the server reads");
    (Answer::read(stream, false).expect("an answer"), digest)
}

/// Writes each piece as a chunk.
struct Chunks<W>(W);

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Length and digest of what is read.
fn digest(mut from: impl Read) -> (u64, blake3::Hash) {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match from.read(&mut buffer).expect("the answer goes on") {
            0 => return (length, hasher.finalize()),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

#[track_caller]
fn check_peak(server: &Server, what: &str) {
    // The pages of the index that are mapped belong to the system, which takes them away when it needs room.
    let peak = server
        .memory("VmHWM")
        .saturating_sub(server.memory("RssFile"));
    println!("{what}: peak {} MiB", peak / 1024);
    assert!(peak < PEAK, "{what}: peak {peak} KiB");
}

#[test]
fn a_large_object_passes_in_little_memory() {
    let server = Server::start(None);
    let name = Name::new(3000, 1, 1);
    // The length field of native pixel data ends before 4 GiB.
    let length = large().min(4095 * MIB);
    let large = Large::new(&name, length, Syntax::ExplicitLittle);
    let (answer, wanted) = upload(&server, &large);
    let answer = answer.finish().expect("an answer");
    answer.expect(200);
    check_peak(&server, "store");

    let get = |path: &str, accept: &str| {
        let target = format!("/dicom-web{}{path}", name.path());
        let answer = server.request("GET", &target).accept(accept).open();
        answer.expect("an answer")
    };
    let single = get("", "application/dicom; transfer-syntax=*");
    assert_eq!(digest(single), (large.total(), wanted));
    check_peak(&server, "retrieve as a single part");
    let multipart = get(
        "",
        "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
    );
    let content_type = multipart
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let boundary = content_type.and_then(|(_, value)| parameter(value, "boundary"));
    assert!(boundary.is_some());
    let (read, _) = digest(multipart);
    assert!(read > large.total());
    check_peak(&server, "retrieve as multipart");
    let bulk = get("/bulkdata/7FE00010", "application/octet-stream");
    assert_eq!(digest(bulk).0, length);
    check_peak(&server, "bulk data");
    let last = length / MIB;
    let frame = get(&format!("/frames/{last}"), "application/octet-stream");
    let frame = frame.finish().expect("an answer");
    assert!(frame.body == large.frame(last - 1));
    let all: Vec<String> = (1..=last).map(|number| number.to_string()).collect();
    let frames = get(&format!("/frames/{}", all.join(",")), "*/*");
    assert!(digest(frames).0 > length);
    check_peak(&server, "all frames");
    let (_, second) = upload(&server, &large);
    assert_eq!(second, wanted);
    check_peak(&server, "store again");
    assert_eq!(server.blob_files().len(), 1);
}

#[test]
fn many_large_uploads_at_once_share_the_memory() {
    let server = Server::with(&[("STOWAGE_MEMORY_BYTES", "268435456")]);
    let files: Vec<(Name, Vec<u8>)> = (0..16)
        .map(|number| {
            let name = Name::new(3100, 1, number);
            let file = name.with_bulk(15 << 20).bytes;
            (name, file)
        })
        .collect();
    thread::scope(|scope| {
        for (_, file) in &files {
            let server = &server;
            scope.spawn(move || {
                server
                    .request("POST", "/dicom-web/studies")
                    .header("Content-Type", "application/dicom")
                    .body(file.as_slice())
                    .send()
                    .expect(200);
            });
        }
    });
    check_peak(&server, "16 uploads of 15 MiB");
    for (name, file) in files.iter().step_by(5) {
        assert!(server.stored(name).as_ref() == Some(file), "other bytes");
    }
    server.fsck();
}

#[test]
fn a_large_deflated_data_set_passes_in_little_memory() {
    let server = Server::start(None);
    let name = Name::new(3200, 1, 1);
    let pixels = noise("pixels", 1 << 20).repeat(100);
    let data_set =
        name.image(1024, 1024, 8, 100)
            .bytes(Tag(0x7FE0, 0x0010), VR::OB, pixels.clone());
    let file = name.file(&data_set, Syntax::Deflated);
    drop(data_set);
    server.store("/dicom-web", [&file]).expect(200);
    check_peak(&server, "store");
    let get = |path: &str, accept: &str| {
        let target = format!("/dicom-web{}{path}", name.path());
        server.get_as(&target, accept).expect(200)
    };
    assert!(get("", "application/dicom; transfer-syntax=*").body == file.bytes);
    assert!(get("/bulkdata/7FE00010", "application/octet-stream").body == pixels);
    assert!(get("/frames/77", "application/octet-stream").body == pixels[..1 << 20]);
    let explicit = get("", "application/dicom").body;
    assert!(explicit.ends_with(&pixels));
    check_peak(&server, "retrieve");
    server.fsck();
}

#[test]
fn compressed_pixel_data_by_uri_is_streamed() {
    let server = Server::start(None);
    let name = Name::new(3300, 1, 1);
    // 1,500 frames of 256 KiB: 375 MiB would not fit.
    let frame = noise("frame", 256 << 10);
    let frames: Vec<&[u8]> = vec![frame.as_slice(); 1500];
    let data_set = name.image(512, 512, 8, 1500).fragments(&[], &frames);
    let file = name.file(&data_set, Syntax::Other("1.2.840.10008.1.2.4.50"));
    drop(data_set);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}/bulkdata/7FE00010", name.path());
    let answer = server.request("GET", &target).accept("*/*").open();
    let (length, _) = digest(answer.expect("an answer"));
    assert!(length > 1500 * (256 << 10), "{length}");
    check_peak(&server, "bulk data of many frames");
}

#[test]
fn metadata_of_large_headers_is_streamed() {
    let mut server = Server::start(None);
    // 24 instances of 4 MiB of text that stays in the metadata and does not compress well.
    let names: Vec<Name> = (0..24).map(|number| Name::new(3400, 1, number)).collect();
    for name in &names {
        let item = |number: u32| {
            let noise = noise(&format!("{} {number}", name.instance), 30_000);
            let text: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
            DataSet::new().bytes(Tag(0x0040, 0xA160), VR::UT, text)
        };
        let items = (0..70).map(item).collect();
        let data_set = name.data_set().items(
            Tag(0x0040, 0xA730),
            stowage::dicom::testing::Lengths::Undefined,
            items,
        );
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        server.store("/dicom-web", [&file]).expect(200);
    }
    for target in [
        format!("/dicom-web{}/metadata", names[0].study_path()),
        "/v2/changefeed?limit=200".to_owned(),
        format!(
            "/dicom-web{}/instances?includefield=ContentSequence",
            names[0].series_path()
        ),
    ] {
        // What the allocator keeps of earlier requests is not what is measured here.
        server.terminate();
        server.wait();
        server.restart();
        let answer = server.request("GET", &target).accept("*/*").open();
        let (length, _) = digest(answer.expect("an answer"));
        assert!(length > 95 << 20, "{length}");
        check_peak(&server, &target);
    }
}

#[test]
fn what_is_inflated_takes_room_in_the_spool_and_gives_it_back() {
    let settings = [
        ("STOWAGE_SPOOL_BYTES", "20000000"),
        ("STOWAGE_MAX_INFLATED_BYTES", "100000000"),
    ];
    let server = Server::with(&settings);
    let deflated = |number: u32, length: usize| {
        let name = Name::new(1, 1, number);
        let data_set = name.data_set();
        let data_set = data_set.bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![0; length]);
        name.file(&data_set, Syntax::Deflated)
    };
    for _ in 0..2 {
        let busy = server
            .store("/dicom-web", [&deflated(1, 40 << 20)])
            .expect(503);
        assert!(busy.header("retry-after").is_some());
    }
    // Good ones beside it are stored.
    let small = Name::new(1, 1, 2).small();
    let reported = server.store("/dicom-web", [&deflated(1, 40 << 20), &small]);
    let reported = reported.expect(202).json();
    // Its UIDs could not be read.
    let reason = &reported["0008119A"]["Value"][0]["00081197"]["Value"][0];
    assert_eq!(*reason, 0xA700, "{reported}");
    server
        .store("/dicom-web", [&deflated(3, 12 << 20)])
        .expect(200);
    let target = format!("/dicom-web{}/bulkdata/7FE00010", Name::new(1, 1, 3).path());
    let read = server
        .get_as(&target, "application/octet-stream")
        .expect(200);
    assert_eq!(read.body.len(), 12 << 20);
    let used = || {
        let text = server.get("/metrics").expect(200).text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("stowage_in_use{what=\"spool_bytes\"} "));
        line.and_then(|number| number.parse::<u64>().ok())
            .expect("a number")
    };
    // What was inflated for a reader is kept for a while, within the room there is.
    wait_until("the room of stores is given back", || used() <= 13 << 20);
    server.fsck();
}
