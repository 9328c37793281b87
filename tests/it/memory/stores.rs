//! Stores that cost much more memory than they send: the budget holds, whoever sends little is served beside them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dicom_core::{Tag, VR};
use flate2::{Compress, Compression, FlushCompress};
use serde_json::Value;
use stowage::dicom::testing::{DataSet, Syntax};

use crate::support::dicom::Name;
use crate::support::http::Response;
use crate::support::multipart::{self, BOUNDARY};
use crate::support::server::Server;

/// `STOWAGE_MEMORY_BYTES` of these servers.
const BUDGET: &str = "268435456";
/// What the process may take beside what it took before, in KiB: the budget, and 64 MiB.
const MORE: u64 = (256 + 64) * 1024;

/// A body and its type.
#[derive(Clone)]
struct Sent {
    content_type: String,
    body: Vec<u8>,
}

impl Sent {
    fn files<'a>(files: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        Self {
            content_type: multipart::content_type(),
            body: multipart::body(files.into_iter().map(Vec::as_slice)),
        }
    }

    fn described(json: &str) -> Self {
        let header = "Content-Type: application/dicom+json\r\n";
        let mut body = multipart::part(BOUNDARY, header, json.as_bytes());
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        let kind = "application/dicom+json";
        Self {
            content_type: format!("multipart/related; type=\"{kind}\"; boundary={BOUNDARY}"),
            body,
        }
    }
}

/// A server with little memory and what it took when it had done nothing but a small store.
struct Siege {
    server: Server,
    idle: u64,
    good: AtomicUsize,
}

impl Siege {
    fn new() -> Self {
        let server = Server::with(&[("STOWAGE_MEMORY_BYTES", BUDGET)]);
        let mut siege = Self {
            server,
            idle: 0,
            good: AtomicUsize::new(0),
        };
        siege.store_a_good_one();
        siege.idle = siege.peak();
        siege
    }

    /// Peak in KiB, without the pages of files, which belong to the system.
    fn peak(&self) -> u64 {
        let files = self.server.memory("RssFile");
        self.server.memory("VmHWM").saturating_sub(files)
    }

    /// A small instance is stored, or refused with the time to come again and stored then.
    fn store_a_good_one(&self) {
        let number = self.good.fetch_add(1, Ordering::Relaxed) + 1;
        let name = Name::new(3900, 1, u32::try_from(number).expect("not that many"));
        for _ in 0..100 {
            let answer = self.server.store("/dicom-web", [&name.small()]);
            if answer.status == 200 {
                return;
            }
            let answer = answer.expect(503);
            assert!(answer.header("retry-after").is_some());
            thread::yield_now();
        }
        panic!("a small instance was refused a hundred times");
    }

    /// Sends all at once, while good ones are stored beside them.
    fn attack(&self, requests: &[Sent]) -> Vec<Response> {
        let running = AtomicUsize::new(requests.len());
        thread::scope(|scope| {
            let (server, running) = (&self.server, &running);
            let send = |sent: &Sent| {
                let request = server
                    .request("POST", "/dicom-web/studies")
                    .header("Content-Type", &sent.content_type)
                    .body(sent.body.as_slice());
                let answer = request.try_send();
                running.fetch_sub(1, Ordering::Relaxed);
                answer
            };
            let sending: Vec<_> = requests
                .iter()
                .map(|sent| scope.spawn(move || send(sent)))
                .collect();
            while running.load(Ordering::Relaxed) > 0 {
                self.store_a_good_one();
            }
            // Who is refused early may find the connection closed before he reads why.
            let answers = sending
                .into_iter()
                .filter_map(|sending| sending.join().expect("no panic").ok());
            answers.collect()
        })
    }

    #[track_caller]
    fn end(self, what: &str) {
        self.store_a_good_one();
        let (peak, idle) = (self.peak(), self.idle);
        println!("{what}: idle {} MiB, peak {} MiB", idle / 1024, peak / 1024);
        assert!(
            peak <= idle + MORE,
            "{what}: peak {peak} KiB, idle {idle} KiB"
        );
        crate::support::server::wait_until("all memory is given back", || {
            let metrics = self.server.get("/metrics").text();
            ["parts", "instances", "reports", "text"]
                .iter()
                .all(|purpose| {
                    let row = format!("stowage_memory_reserved_bytes{{purpose=\"{purpose}\"}} 0");
                    metrics.lines().any(|line| line == row)
                })
        });
        self.server.fsck();
    }
}

fn deflated(bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 10 + 1000);
    let mut state = Compress::new(Compression::fast(), false);
    state.compress_vec(bytes, &mut out, flush).expect("room");
    out
}

fn explicit(tag: Tag, vr: &str, length: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(tag.group().to_le_bytes());
    header.extend(tag.element().to_le_bytes());
    header.extend(vr.as_bytes());
    header.extend([0, 0]);
    header.extend(length.to_le_bytes());
    header
}

fn item(tag: u16, length: u32) -> Vec<u8> {
    let mut header = 0xFFFE_u16.to_le_bytes().to_vec();
    header.extend(tag.to_le_bytes());
    header.extend(length.to_le_bytes());
    header
}

/// What lies behind the identifiers of many files: a sequence, written and compressed once.
struct Tail {
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Tail {
    /// A sequence of `count` equal items.
    fn items(count: usize, item_bytes: &[u8]) -> Self {
        let mut one = item(0xE000, u32::try_from(item_bytes.len()).expect("short"));
        one.extend(item_bytes);
        let mut plain = explicit(Tag(0x0040, 0xA730), "SQ", u32::MAX);
        plain.extend(one.repeat(count));
        plain.extend(item(0xE0DD, 0));
        Self::new(plain)
    }

    fn new(plain: Vec<u8>) -> Self {
        let packed = deflated(&plain, FlushCompress::Finish);
        Self { plain, packed }
    }

    fn file(&self, name: &Name) -> Vec<u8> {
        let mut bytes = name.small().bytes;
        bytes.extend(&self.plain);
        bytes
    }

    fn deflated_file(&self, name: &Name) -> Vec<u8> {
        let (start, _) = name.data_set().encode(Syntax::ExplicitLittle, 0);
        let mut bytes = name.head(Syntax::Deflated);
        // Blocks that end with a full flush can stand in a row.
        bytes.extend(deflated(&start, FlushCompress::Full));
        bytes.extend(&self.packed);
        bytes
    }
}

/// Items of a text of 60,000 bytes each, `mebibytes` MiB in all.
fn texts(mebibytes: usize) -> Tail {
    let mut text = explicit(Tag(0x0040, 0xA160), "UT", 60_000);
    text.extend(
        b"All work and no play makes a dull boy. "
            .repeat(1600)
            .iter()
            .take(60_000),
    );
    Tail::items((mebibytes << 20) / 60_000, &text)
}

#[test]
fn deflated_parts_of_one_request_take_their_turn() {
    let siege = Siege::new();
    let tail = texts(20);
    let files: Vec<_> = (1..=24)
        .map(|number| tail.deflated_file(&Name::new(3301, 1, number)))
        .collect();
    let sent = Sent::files(&files);
    assert!(sent.body.len() < 4 << 20);
    let answers = siege.attack(&[sent]);
    assert_eq!(answers[0].status, 200, "{}", answers[0].text());
    siege.end("24 deflated parts of 20 MiB");
}

#[test]
fn an_import_and_a_reindex_of_large_headers_share_the_memory() {
    let mut server = Server::with(&[("STOWAGE_MEMORY_BYTES", BUDGET)]);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let write = |name: &Name, bytes: &[u8]| {
        let path = folder.path().join(format!("{}.dcm", name.instance));
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    };
    let small = Name::new(3300, 1, 1);
    let small = write(&small, &small.small().bytes);
    let (_, idle) = server.command_peak(&["import", small.to_str().expect("text")]);
    let tail = texts(20);
    for number in 1..=12 {
        let name = Name::new(3300, 2, number);
        write(&name, &tail.deflated_file(&name));
    }
    let to = folder.path().to_str().expect("text");
    let check = |(output, peak): (std::process::Output, u64), expected: &str| {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("idle {} MiB, peak {} MiB: {said}", idle / 1024, peak / 1024);
        assert!(output.status.success() && said.contains(expected), "{said}");
        assert!(peak <= idle + MORE, "peak {peak} KiB, idle {idle} KiB");
    };
    check(server.command_peak(&["import", to]), "13 instances stored");
    server.terminate();
    server.wait();
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(server.data().join(file));
    }
    check(server.command_peak(&["reindex"]), "13 instances added");
    server.fsck();
}

#[test]
fn requests_of_large_headers_share_the_memory() {
    let siege = Siege::new();
    let tail = texts(10);
    let requests: Vec<_> = (1..=8)
        .map(|request| {
            let files: Vec<_> = (1..=3)
                .map(|number| tail.file(&Name::new(3302, request, number)))
                .collect();
            Sent::files(&files)
        })
        .collect();
    for answer in siege.attack(&requests) {
        assert!(
            [200, 202, 503].contains(&answer.status),
            "{}",
            answer.text()
        );
    }
    siege.end("eight requests of 30 MiB of headers");
}

#[test]
fn what_can_never_fit_fails_alone_with_its_reason() {
    let siege = Siege::new();
    let (large, good) = (Name::new(3303, 1, 1), Name::new(3303, 1, 2));
    // Text that does not become shorter: each byte is written as six.
    let mut text = explicit(Tag(0x0040, 0xA160), "UT", 60_000);
    text.extend([1].repeat(60_000));
    let tail = Tail::items(700, &text);
    let files = [tail.deflated_file(&large), good.small().bytes];
    let answers = siege.attack(&[Sent::files(&files)]);
    let answer = answers[0].clone().expect(202);
    let failed = &answer.json()["00081198"]["Value"];
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    let reason = &failed[0]["00081197"]["Value"][0];
    assert_eq!(*reason, Value::from(0xA700), "{failed}");
    assert!(
        failed.to_string().contains("STOWAGE_MEMORY_BYTES"),
        "{failed}"
    );
    assert!(siege.server.stored(&good).is_some());
    siege.end("a header of 240 MiB of metadata");
}

#[test]
fn many_failures_are_a_short_answer() {
    let siege = Siege::new();
    let array = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let answers = siege.attack(&[Sent::described(&array(300_000))]);
    assert!(answers.iter().all(|answer| answer.status == 400));
    let empty = vec![Vec::new(); 200_000];
    let answers = siege.attack(&[Sent::files(&empty)]);
    for answer in &answers {
        let failed = answer.clone().expect(409).json();
        let failed = failed["0008119A"]["Value"].as_array();
        let failed = failed.map_or(0, Vec::len);
        assert!((1000..1100).contains(&failed), "{failed}");
        let warning = answer.header("warning").expect("why it was not read on");
        assert!(warning.contains("in a row"), "{warning}");
    }
    let answers = siege.attack(&[Sent::described(&array(9_000))]);
    let warning = answers[0].header("warning").expect("why it ended");
    assert!(warning.contains("in a row"), "{warning}");
    assert_eq!(answers[0].status, 409);
    siege.end("parts and data sets that hold nothing");
}

#[test]
fn metadata_that_costs_more_than_it_says_is_weighed_before_it_is_read() {
    let siege = Siege::new();
    let name = Name::new(3304, 1, 1);
    // A map for each six bytes.
    let items = vec!["{\"\":0}"; 1_500_000].join(",");
    let json = format!(
        "[{{\"00080018\":{{\"vr\":\"UI\",\"Value\":[\"{}\"]}},\"0040A730\":{{\"vr\":\"SQ\",\"Value\":[{items}]}}}}]",
        name.instance
    );
    let requests = vec![Sent::described(&json); 4];
    for answer in siege.attack(&requests) {
        assert!([409, 503].contains(&answer.status), "{}", answer.text());
    }
    siege.end("metadata of a million small maps");
}

#[test]
fn structure_is_counted_and_what_is_stored_can_be_read() {
    let siege = Siege::new();
    let mut elements = Vec::new();
    for number in 0..1_000_000_u32 {
        let group = 0x0041 + 2 * u16::try_from(number >> 15).expect("few groups");
        let element = 0x8000 | u16::try_from(number & 0x7FFF).expect("few elements");
        elements.extend(group.to_le_bytes());
        elements.extend(element.to_le_bytes());
        elements.extend(b"LO\0\0");
    }
    let name = |number| Name::new(3305, 1, number);
    let mut deepest = DataSet::new().text(Tag(0x0040, 0xA160), VR::UT, "the innermost");
    for _ in 0..40 {
        let tag = Tag(0x0040, 0xA730);
        deepest = DataSet::new().items(
            tag,
            stowage::dicom::testing::Lengths::Defined,
            vec![deepest],
        );
    }
    let deep = name(3).file(&name(3).data_set().set(deepest), Syntax::ExplicitLittle);
    let files = [
        Tail::items(500_000, &[]).deflated_file(&name(1)),
        Tail::new(elements).deflated_file(&name(2)),
        deep.bytes,
        Tail::items(4_000_000, &[]).deflated_file(&name(4)),
    ];
    let answer = siege.attack(&[Sent::files(&files)]).remove(0).expect(202);
    let failed = answer.json()["00081198"]["Value"].clone();
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    assert!(failed.to_string().contains("4000000"), "{failed}");
    let target = format!("/dicom-web{}/metadata", name(3).path());
    let metadata = siege.server.get_as(&target, "application/dicom+json");
    assert!(metadata.expect(200).text().contains("the innermost"));
    siege.end("half a million items, a million elements, 40 levels");
}

#[test]
fn a_silent_client_holds_nothing_that_is_ready() {
    use std::io::Write;
    let siege = Siege::new();
    let tail = texts(1);
    let mut stream = crate::support::http::connect(siege.server.address()).expect("it listens");
    let file = tail.file(&Name::new(3306, 1, 1));
    let body = multipart::body([file.as_slice()]);
    let head = siege
        .server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .header("Content-Length", &(body.len() + 1000).to_string())
        .head();
    stream.write_all(head.as_bytes()).expect("it reads");
    let closing = format!("\r\n--{BOUNDARY}--\r\n").len();
    stream
        .write_all(&body[..body.len() - closing])
        .expect("it reads");
    let next = format!("\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\nx");
    stream.write_all(next.as_bytes()).expect("it reads");
    // It is committed and can be read though the request goes on.
    crate::support::server::wait_until("the first part is stored", || {
        siege.server.stored(&Name::new(3306, 1, 1)).is_some()
    });
    let metrics = siege.server.get("/metrics").text();
    assert!(metrics.contains("stowage_memory_reserved_bytes{purpose=\"instances\"} 0\n"));
    drop(stream);
    crate::support::server::wait_until("the request is over", || {
        let metrics = siege.server.get("/metrics").text();
        metrics.contains("stowage_memory_reserved_bytes{purpose=\"parts\"} 0\n")
    });
    siege.end("a silent client");
}
