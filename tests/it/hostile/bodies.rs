//! Files and multipart bodies that want to harm.

use std::io::Write;

use dicom_core::{Tag, VR};
use flate2::{Compress, Compression, FlushCompress};
use stowage::dicom::testing::{BuiltFile, DataSet, Lengths, Syntax};

use super::Verdict::{Refused, Survived};
use super::{Siege, Verdict};
use crate::support::app::{TestApp, on_each_index};
use crate::support::dicom::{Name, noise};
use crate::support::http::{Answer, connect};
use crate::support::multipart::{self, BOUNDARY};
use crate::support::server::Server;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];
const JPEG: Syntax = Syntax::Other("1.2.840.10008.1.2.4.50");

fn store(siege: &mut Siege<'_>, what: &str, verdict: Verdict, bytes: &[u8]) {
    let server = siege.server;
    let root = ROOTS[siege.attacks as usize % ROOTS.len()];
    siege.attack(what, verdict, || {
        server
            .request("POST", &format!("{root}/studies"))
            .header("Content-Type", "application/dicom")
            .body(bytes)
            .try_send()
    });
}

/// A data set with sequences, bulk data and pixels.
fn sound(name: &Name, syntax: Syntax) -> BuiltFile {
    let item = DataSet::new()
        .text(Tag(0x0008, 0x1155), VR::UI, "1.2.3")
        .items(Tag(0x0008, 0x1140), Lengths::Defined, vec![DataSet::new()]);
    let data_set = name.image(8, 8, 8, 2).set(
        DataSet::new()
            .items(Tag(0x0008, 0x1115), Lengths::Undefined, vec![item])
            .bytes(Tag(0x0042, 0x0011), VR::OB, noise("document", 1500)),
    );
    let data_set = if syntax == JPEG {
        data_set.fragments(&[0, 108], &[&noise("1", 100), &noise("2", 200)])
    } else {
        data_set.bytes(Tag(0x7FE0, 0x0010), VR::OB, noise("pixels", 128))
    };
    name.file(&data_set, syntax)
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    on_each_index(|server| {
        let mut siege = Siege::new(server);
        let name = Name::new(2000, 1, 1);
        for syntax in [
            Syntax::ImplicitLittle,
            Syntax::ExplicitLittle,
            Syntax::ExplicitBig,
            Syntax::Deflated,
            JPEG,
        ] {
            let file = sound(&name, syntax);
            for length in (0..file.bytes.len()).step_by(97) {
                // A file that ends between two elements cannot be told from a whole one.
                let whole = |place: &stowage::dicom::testing::ValueLocation| {
                    place.offset + place.length == length as u64
                };
                if syntax != Syntax::Deflated && file.places.iter().any(whole) {
                    continue;
                }
                let what = format!("{syntax:?} cut at {length} of {}", file.bytes.len());
                store(&mut siege, &what, Refused, &file.bytes[..length]);
            }
        }
        assert!(siege.end(0) > 70);
    });
}

/// An element header in Explicit VR Little Endian with a long length.
fn long_header(tag: Tag, vr: &str, length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(tag.0.to_le_bytes());
    bytes.extend(tag.1.to_le_bytes());
    bytes.extend(vr.bytes());
    bytes.extend([0, 0]);
    bytes.extend(length.to_le_bytes());
    bytes
}

/// An element header in Implicit VR Little Endian, or of an item.
fn short_header(tag: Tag, length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(tag.0.to_le_bytes());
    bytes.extend(tag.1.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes
}

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

#[test]
fn lies_about_lengths_are_refused() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let name = Name::new(2001, 1, 1);
    let start = |syntax| name.file(&name.data_set(), syntax).bytes;
    for length in [0xFFFF_FFF0, 0xFFFF_FFFE, 0x8000_0000, 0x7FFF_FFFF, 1 << 20] {
        for (vr, tag) in [
            ("OB", Tag(0x7FE0, 0x0010)),
            ("UN", Tag(0x7FE1, 0x0010)),
            ("UT", Tag(0x7FE1, 0x0010)),
            ("SQ", Tag(0x7FE1, 0x0010)),
            ("OW", Tag(0x7FE0, 0x0010)),
        ] {
            let mut file = start(Syntax::ExplicitLittle);
            file.extend(long_header(tag, vr, length));
            file.extend(noise("rest", 100));
            store(&mut siege, &format!("{vr} of {length}"), Refused, &file);
        }
        let mut file = start(Syntax::ImplicitLittle);
        file.extend(short_header(Tag(0x7FE0, 0x0010), length));
        file.extend(noise("rest", 100));
        store(&mut siege, &format!("implicit {length}"), Refused, &file);

        let mut file = start(Syntax::ExplicitLittle);
        file.extend(long_header(Tag(0x7FE1, 0x0010), "SQ", u32::MAX));
        file.extend(short_header(ITEM, length));
        file.extend(noise("rest", 100));
        store(&mut siege, &format!("item of {length}"), Refused, &file);

        let mut file = start(JPEG);
        file.extend(long_header(Tag(0x7FE0, 0x0010), "OB", u32::MAX));
        file.extend(short_header(ITEM, 0));
        file.extend(short_header(ITEM, length));
        file.extend(noise("rest", 100));
        store(&mut siege, &format!("fragment of {length}"), Refused, &file);

        let mut file = start(JPEG);
        file.extend(long_header(Tag(0x7FE0, 0x0010), "OB", u32::MAX));
        file.extend(short_header(ITEM, length));
        file.extend(noise("rest", 100));
        store(
            &mut siege,
            &format!("offset table of {length}"),
            Refused,
            &file,
        );

        // The meta group says that it is that long; its elements are sound, so it may be read all the same.
        let mut file = start(Syntax::ExplicitLittle);
        file.truncate(600);
        file[140..144].copy_from_slice(&length.to_le_bytes());
        store(
            &mut siege,
            &format!("meta group of {length}"),
            Survived,
            &file,
        );
    }
    // A sequence and its items, each longer than what is around it.
    let mut file = start(Syntax::ExplicitLittle);
    file.extend(long_header(Tag(0x7FE1, 0x0010), "SQ", 16));
    file.extend(short_header(ITEM, 100));
    file.extend(noise("rest", 200));
    store(&mut siege, "item past its sequence", Refused, &file);
    // Undefined where that is not allowed.
    let mut file = start(Syntax::ExplicitLittle);
    file.extend(long_header(Tag(0x0042, 0x0011), "OB", u32::MAX));
    file.extend(noise("rest", 200));
    store(&mut siege, "undefined length of OB", Refused, &file);
    let stored = server.get("/dicom-web/studies/1.2.3.2001/instances").json();
    let stored = stored.as_array().map_or(0, Vec::len);
    assert!(siege.end(stored) > 40);
}

#[test]
fn noise_is_refused() {
    let server = TestApp::start(None);
    let mut siege = Siege::new(&server);
    for (number, length) in
        (0..).zip([0, 1, 4, 100, 128, 131, 132, 133, 140, 1000, 65_536, 3 << 20])
    {
        let seed = format!("noise {number}");
        store(
            &mut siege,
            &format!("{length} random bytes"),
            Refused,
            &noise(&seed, length),
        );
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        file.extend(noise(&seed, length));
        store(
            &mut siege,
            &format!("DICM and {length} random bytes"),
            Refused,
            &file,
        );
        // A sound meta group before it.
        for syntax in [
            Syntax::ImplicitLittle,
            Syntax::ExplicitLittle,
            Syntax::ExplicitBig,
            Syntax::Deflated,
            JPEG,
        ] {
            let mut file = Name::new(2002, 1, 1).head(syntax);
            file.extend(noise(&seed, length));
            store(
                &mut siege,
                &format!("{syntax:?} and {length} random bytes"),
                Refused,
                &file,
            );
        }
    }
    for (what, bytes) in [
        ("zeros", vec![0; 100_000]),
        ("ones", vec![0xFF; 100_000]),
        ("a picture", b"\x89PNG\r\n\x1a\n".repeat(1000)),
        ("a page", b"<html><body>hello</body></html>".repeat(100)),
        ("only a preamble", vec![0; 128]),
        ("DICM alone", b"DICM".to_vec()),
    ] {
        store(&mut siege, what, Refused, &bytes);
    }
    siege.end(0);
}

#[test]
fn nesting_is_bounded() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let name = Name::new(2003, 1, 1);
    for depth in [41, 65, 100, 10_000] {
        for (syntax, explicit) in [
            (Syntax::ExplicitLittle, true),
            (Syntax::ImplicitLittle, false),
        ] {
            let tag = Tag(0x7FE1, 0x0010);
            let open = |length: u32| {
                if explicit {
                    long_header(tag, "SQ", length)
                } else {
                    short_header(Tag(0x0040, 0xA730), length)
                }
            };
            let start = || {
                let data_set = name
                    .data_set()
                    .text(Tag(0x0040, 0xA010), VR::CS, "CONTAINS");
                name.file(&data_set, syntax).bytes
            };
            let mut open_end = start();
            for _ in 0..depth {
                open_end.extend(open(u32::MAX));
                open_end.extend(short_header(ITEM, u32::MAX));
            }
            let what = format!("{depth} deep, {syntax:?}");
            store(
                &mut siege,
                &format!("{what}, never closed"),
                Refused,
                &open_end,
            );
            let mut closed = open_end;
            for _ in 0..depth {
                closed.extend(short_header(ITEM_END, 0));
                closed.extend(short_header(SEQUENCE_END, 0));
            }
            store(&mut siege, &what, Refused, &closed);
            // From the inside out, with lengths.
            let mut inner = Vec::new();
            for _ in 0..depth.min(2000) {
                let mut item = short_header(ITEM, u32::try_from(inner.len()).expect("short"));
                item.extend(&inner);
                let mut sequence = open(u32::try_from(item.len()).expect("short"));
                sequence.extend(item);
                inner = sequence;
            }
            let mut file = start();
            file.extend(inner);
            store(&mut siege, &format!("{what}, with lengths"), Refused, &file);
        }
    }
    siege.end(0);
}

/// A deflate stream of `mebibytes` MiB of zeros behind `start`.
fn bomb(start: &[u8], mebibytes: usize) -> Vec<u8> {
    // Blocks that end with a full flush can stand in a row.
    let block = |bytes: &[u8], flush| {
        let mut out = Vec::with_capacity(bytes.len() / 100 + 1000);
        let mut state = Compress::new(Compression::best(), false);
        state.compress_vec(bytes, &mut out, flush).expect("room");
        out
    };
    let mut stream = block(start, FlushCompress::Full);
    let zeros = block(&vec![0; 1 << 20], FlushCompress::Full);
    for _ in 0..mebibytes {
        stream.extend(&zeros);
    }
    stream.extend(block(&[], FlushCompress::Finish));
    stream
}

#[test]
fn deflate_bombs_are_defused() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let name = Name::new(2004, 1, 1);
    let (start, _) = name.data_set().encode(Syntax::ExplicitLittle, 0);
    for (what, mebibytes, length) in [
        ("pixel data of 2 GiB", 2048, 2048_u32 << 20),
        ("a text of 1 GiB", 1025, 1024 << 20),
        ("an unknown length", 1500, u32::MAX),
    ] {
        let vr = if what.contains("text") { "UT" } else { "OB" };
        let mut inside = start.clone();
        inside.extend(long_header(Tag(0x7FE0, 0x0010), vr, length));
        let mut file = name.head(Syntax::Deflated);
        file.extend(bomb(&inside, mebibytes));
        assert!(file.len() < 3 << 20);
        store(&mut siege, what, Refused, &file);
    }
    // Cut in the middle of the stream, or not a stream at all.
    let mut file = name.head(Syntax::Deflated);
    file.extend(&bomb(&start, 500)[..200_000]);
    store(&mut siege, "a bomb that is cut", Refused, &file);
    let mut file = name.head(Syntax::Deflated);
    file.extend(bomb(&[], 0));
    store(&mut siege, "nothing inside", Refused, &file);
    siege.end(0);
}

#[test]
fn counts_are_bounded() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let mut instance = 0;
    let mut next = || {
        instance += 1;
        Name::new(2005, 1, instance)
    };
    let mut behind = |what: &str, syntax: Syntax, bytes: Vec<u8>| {
        let name = next();
        let mut file = name.file(&name.data_set(), syntax).bytes;
        file.extend(bytes);
        store(&mut siege, what, Survived, &file);
    };
    let mut items = long_header(Tag(0x0040, 0xA730), "SQ", u32::MAX);
    for _ in 0..300_000 {
        items.extend(short_header(ITEM, 0));
    }
    items.extend(short_header(SEQUENCE_END, 0));
    behind("300,000 empty items", Syntax::ExplicitLittle, items);

    let mut elements = Vec::new();
    for element in 0x1000..0xF000_u16 {
        elements.extend(Tag(0x0041, element).0.to_le_bytes());
        elements.extend(element.to_le_bytes());
        elements.extend(b"UN\0\0\0\0\0\0");
    }
    behind("57,344 private elements", Syntax::ExplicitLittle, elements);

    let mut fragments = long_header(Tag(0x7FE0, 0x0010), "OB", u32::MAX);
    for _ in 0..300_000 {
        fragments.extend(short_header(ITEM, 0));
    }
    fragments.extend(short_header(SEQUENCE_END, 0));
    behind("300,000 empty fragments", JPEG, fragments);

    let mut text = long_header(Tag(0x0040, 0xA160), "UC", 1 << 20);
    text.extend(b"\\".repeat(1 << 20));
    behind("a million empty values", Syntax::ExplicitLittle, text);

    let mut text = long_header(Tag(0x0040, 0xA160), "UT", 4 << 20);
    text.extend(b"\x01".repeat(4 << 20));
    behind("4 MiB of control characters", Syntax::ExplicitLittle, text);

    // Pixel descriptions that promise more than there is.
    for (what, frames, rows, bits) in [
        ("2 billion frames", "2147483647", 4, 16),
        ("minus one frame", "-1", 4, 16),
        ("no number of frames", "many", 4, 16),
        ("no rows", "1", 0, 16),
        ("65,535 rows", "1", 65_535, 16),
        ("no bits", "1", 4, 0),
        ("65,535 bits", "1", 4, 65_535),
    ] {
        let name = next();
        let data_set = name.image(rows, rows, bits, 1).set(
            DataSet::new()
                .text(Tag(0x0028, 0x0008), VR::IS, frames)
                .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise(what, 64)),
        );
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        store(&mut siege, what, Survived, &file.bytes);
        read_everything(&mut siege, what, &name);
    }
    // Offset tables that lead anywhere.
    for (what, table) in [
        ("offsets past the end", vec![0, 0xFFFF_FFF0]),
        ("offsets backwards", vec![208, 0]),
        ("offsets into a fragment", vec![0, 13]),
        ("the same offset", vec![0, 0]),
        ("too many offsets", vec![0; 100_000]),
    ] {
        let name = next();
        let data_set = name
            .image(8, 8, 8, 2)
            .fragments(&table, &[&noise("1", 100), &noise("2", 100)]);
        let file = name.file(&data_set, JPEG);
        store(&mut siege, what, Survived, &file.bytes);
        read_everything(&mut siege, what, &name);
    }
    for (what, offset, length) in [
        ("an extended offset past the end", u64::MAX - 7, 100_u64),
        ("an extended length past the end", 0, u64::MAX),
    ] {
        let name = next();
        let data_set = name
            .image(8, 8, 8, 1)
            .bytes(Tag(0x7FE0, 0x0001), VR::OV, offset.to_le_bytes())
            .bytes(Tag(0x7FE0, 0x0002), VR::OV, length.to_le_bytes())
            .fragments(&[], &[&noise("1", 100)]);
        let file = name.file(&data_set, JPEG);
        store(&mut siege, what, Survived, &file.bytes);
        read_everything(&mut siege, what, &name);
    }
    let stored = server.get("/dicom-web/studies/1.2.3.2005/instances").json();
    let stored = stored.as_array().map_or(0, Vec::len);
    siege.end(stored);
}

/// Reads an odd instance in each way there is: nothing of it may harm.
fn read_everything(siege: &mut Siege<'_>, what: &str, name: &Name) {
    let server = siege.server;
    for path in [
        "",
        "/metadata",
        "/frames/1",
        "/frames/2",
        "/frames/2147483647",
        "/bulkdata/7FE00010",
        "/rendered",
        "/thumbnail",
    ] {
        let target = format!("/dicom-web{}{path}", name.path());
        for accept in ["*/*", "application/dicom", "application/octet-stream"] {
            siege.attack(&format!("{what}: {path} {accept}"), Survived, || {
                server.request("GET", &target).accept(accept).try_send()
            });
        }
    }
}

#[test]
fn values_that_lead_out_of_the_store_are_refused() {
    let server = TestApp::start(None);
    let mut siege = Siege::new(&server);
    let name = Name::new(2006, 1, 1);
    for uid in [
        "../../../../etc/passwd",
        "..",
        "/etc/passwd",
        "1.2/../../3",
        "1.2\0/../3",
        "\0\0\0\0",
        "1.2\r\nX-Evil: 1",
        "1.2%2f3",
        "1.2'; drop table instance; --",
        "１.２.３",
        "1.2\u{202e}3",
        " 1.2",
    ] {
        for tag in [
            Tag(0x0020, 0x000D),
            Tag(0x0020, 0x000E),
            Tag(0x0008, 0x0018),
        ] {
            let data_set = name.data_set().set(DataSet::new().text(tag, VR::UI, uid));
            let file = name.file(&data_set, Syntax::ExplicitLittle);
            store(&mut siege, &format!("{tag} {uid:?}"), Refused, &file.bytes);
        }
    }
    siege.end(0);
}

#[test]
fn strange_text_neither_harms_the_index_nor_the_answer() {
    on_each_index(|server| {
        let mut siege = Siege::new(server);
        let mut stored = 0;
        for (what, charset, text) in [
            ("NULs", "ISO_IR 192", b"a\0b\0c\0".to_vec()),
            (
                "no UTF-8",
                "ISO_IR 192",
                vec![0xFF, 0xFE, 0xC0, 0x80, 0xED, 0xA0, 0x80, 0xF8],
            ),
            (
                "escapes",
                "\\ISO 2022 IR 87",
                b"\x1b$B\x1b(B\x1b$B\x1b$\x1b".repeat(4),
            ),
            (
                "an unknown charset",
                "NOT_A_SET",
                b"\x80\x81\xff\xfe".to_vec(),
            ),
            (
                "line ends",
                "ISO_IR 192",
                b"a\r\nX-Evil: 1\r\n\r\n".to_vec(),
            ),
            ("quotes", "ISO_IR 192", br#""'\`;--<script>"#.to_vec()),
            ("wildcards", "ISO_IR 192", b"*?%_[a-z]".to_vec()),
            (
                "a long name",
                "ISO_IR 192",
                "ÄÖÜ^".repeat(8000).into_bytes(),
            ),
            ("many words", "ISO_IR 192", "a ".repeat(15_000).into_bytes()),
            ("many groups", "ISO_IR 192", b"=".repeat(30_000)),
            (
                "marks without end",
                "ISO_IR 192",
                "a\u{301}".repeat(9000).into_bytes(),
            ),
            (
                "ligatures that grow",
                "ISO_IR 192",
                "\u{FDFA}".repeat(9000).into_bytes(),
            ),
        ] {
            stored += 1;
            let name = Name::new(2007, 1, stored);
            let mut text = text;
            if text.len() % 2 == 1 {
                text.push(b' ');
            }
            let fields = |set: DataSet| {
                set.bytes(Tag(0x0008, 0x0050), VR::SH, text.clone())
                    .bytes(Tag(0x0008, 0x1030), VR::LO, text.clone())
                    .bytes(Tag(0x0010, 0x0010), VR::PN, text.clone())
                    .bytes(Tag(0x0010, 0x0020), VR::LO, text.clone())
                    .bytes(Tag(0x0010, 0x1010), VR::AS, text.clone())
            };
            let charset = DataSet::new().text(Tag(0x0008, 0x0005), VR::CS, charset);
            let data_set = name.data_set().set(fields(charset));
            let file = name.file(&data_set, Syntax::ExplicitLittle);
            let body = multipart::body([file.bytes.as_slice()]);
            for root in ["/v1", "/v2", "/dicom-web"] {
                siege.attack(what, Survived, || {
                    server
                        .request("POST", &format!("{root}/studies"))
                        .header("Content-Type", &multipart::content_type())
                        .body(body.as_slice())
                        .try_send()
                });
            }
            assert!(server.stored(&name) == Some(file.bytes), "{what}");
            for target in [
                format!("/dicom-web{}/metadata", name.path()),
                format!(
                    "/v2/instances?SOPInstanceUID={}&includefield=all",
                    name.instance
                ),
                format!(
                    "/dicom-web/studies?StudyInstanceUID={}&includefield=all",
                    name.study
                ),
                "/v1/changefeed?limit=100".to_owned(),
            ] {
                let answer = server.get(&target).expect(200);
                assert!(answer.json().is_array(), "{what}");
            }
        }
        siege.end(stored as usize);
    });
}

#[test]
fn multipart_bodies_are_read_with_suspicion() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let typed = multipart::content_type();
    let part = |headers: &str| multipart::part(BOUNDARY, headers, b"x");
    let long_boundary = format!("multipart/related; boundary={}", "b".repeat(5000));
    let bodies: Vec<(&str, &str, Vec<u8>)> = vec![
        ("no boundary in it", &typed, b"x".repeat(1 << 20)),
        (
            "another boundary",
            &typed,
            b"--other\r\n\r\nx\r\n--other--\r\n".to_vec(),
        ),
        ("a preamble without end", &typed, b"x\r\n".repeat(1 << 20)),
        ("a part without headers", &typed, part("")),
        (
            "a header without a colon",
            &typed,
            part("Content-Type application/dicom\r\n"),
        ),
        (
            "a header line of 1 MiB",
            &typed,
            part(&format!("X-Long: {}\r\n", "x".repeat(1 << 20))),
        ),
        (
            "100,000 header lines",
            &typed,
            part(&"X-Many: 1\r\n".repeat(100_000)),
        ),
        (
            "headers without end",
            &typed,
            part("Content-Type: application/dicom"),
        ),
        (
            "NUL in a header",
            &typed,
            part("Content-Type: application/dicom\0\r\n"),
        ),
        ("a boundary of 5,000 letters", &long_boundary, b"x".to_vec()),
        (
            "an empty boundary",
            "multipart/related; boundary=\"\"",
            b"----\r\n".to_vec(),
        ),
        (
            "a boundary with line ends",
            "multipart/related; boundary=\"a\tb\"",
            b"--a\tb\r\n".to_vec(),
        ),
        (
            "a quote left open",
            "multipart/related; boundary=\"abc",
            b"--abc\r\n".to_vec(),
        ),
        (
            "10,000 boundaries",
            &typed,
            format!("--{BOUNDARY}\r\n").repeat(10_000).into_bytes(),
        ),
    ];
    for (what, content_type, body) in bodies {
        for root in ROOTS {
            siege.attack(what, Refused, || {
                server
                    .request("POST", &format!("{root}/studies"))
                    .header("Content-Type", content_type)
                    .body(body.as_slice())
                    .try_send()
            });
        }
    }
    let many = multipart::body(std::iter::repeat_n(b"x".as_slice(), 5000));
    siege.attack("5,000 parts that are nothing", Refused, || {
        server
            .request("POST", "/v2/studies")
            .header("Content-Type", &typed)
            .body(many.as_slice())
            .try_send()
    });
    // A part inside a part: the inner delimiters are data.
    let inner = multipart::body_with("inner", [b"x".as_slice()]);
    let nested = multipart::body([inner.as_slice()]);
    siege.attack("multipart inside multipart", Refused, || {
        server
            .request("POST", "/v2/studies")
            .header("Content-Type", &typed)
            .body(nested.as_slice())
            .try_send()
    });
    siege.end(0);
}

#[test]
fn chunks_that_lie_are_refused() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    for (what, body) in [
        ("a chunk of 2^64-1 bytes", "FFFFFFFFFFFFFFFF\r\nabc\r\n"),
        ("a chunk of 2^68 bytes", "FFFFFFFFFFFFFFFFF\r\nabc\r\n"),
        ("a chunk size that is none", "xyz\r\nabc\r\n"),
        ("a negative chunk", "-5\r\nabc\r\n"),
        ("a chunk without its line end", "3\r\nabcdef\r\n0\r\n\r\n"),
        (
            "an extension without end",
            &format!("3;{}", "x".repeat(1 << 20)),
        ),
        (
            "trailers without end",
            &format!("0\r\n{}", "X-Many: 1\r\n".repeat(10_000)),
        ),
    ] {
        siege.attack(what, Refused, || {
            let mut stream = connect(server.address())?;
            let head = server
                .request("POST", "/v2/studies")
                .header("Content-Type", "application/dicom")
                .header("Transfer-Encoding", "chunked")
                .head();
            stream.write_all(head.as_bytes())?;
            // The server may have had enough before the end.
            let _ = stream.write_all(body.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            Answer::read(stream, false)?.finish()
        });
    }
    siege.end(0);
}
