//! Pictures: what is stored in a file decides neither what drawing it costs nor whose picture it is.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Lengths, Syntax};

use crate::support::prelude::*;

const PIXELS: Tag = Tag(0x7FE0, 0x0010);
const MIB: usize = 1 << 20;

/// Settings of a server that has little memory.
const LITTLE: [(&str, &str); 1] = [("STOWAGE_MEMORY_BYTES", "134217728")];

/// Peak of the memory since the last reset, in MiB, without the pages of the index that are mapped.
fn peak(server: &Server) -> u64 {
    let peak = server.memory("VmHWM");
    peak.saturating_sub(server.memory("RssFile")) / 1024
}

/// Bytes the server has read from files.
fn read_bytes(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", server.pid()));
    let text = text.expect("the server runs");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar:"));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.expect("a number of bytes")
}

fn png(server: &Deployment, target: &str) -> Vec<u8> {
    let answer = server.get_as(target, "image/png").expect(200);
    assert_eq!(answer.content_type(), "image/png", "{target}");
    answer.body
}

#[test]
fn the_number_of_frames_is_no_amount_of_memory() {
    let server = Server::with(&LITTLE);
    let name = Name::new(3501, 1, 1);
    // As many as are stored; 200 million are refused then.
    let frames = 10_000_000_u32;
    let image = name.image(1, 1, 1, frames);
    let pixels = vec![0; usize::try_from(frames).expect("64 bits") / 8];
    let file = name.file(&image.bytes(PIXELS, VR::OB, pixels), Syntax::Deflated);
    assert!(file.bytes.len() < 100_000);
    server.store("/dicom-web", [&file]).expect(200);
    let more = vec![0; 25_000_000];
    let more = name.image(1, 1, 1, 200_000_000).bytes(PIXELS, VR::OB, more);
    let more = name.file(&more, Syntax::Deflated);
    server.store("/dicom-web", [&more]).expect(409);
    server.reset_peak();
    let before = peak(&server);
    let target = format!("/dicom-web{}", name.path());
    png(&server, &format!("{target}/rendered"));
    png(&server, &format!("{target}/frames/{frames}/rendered"));
    png(&server, &format!("{target}/thumbnail"));
    server
        .get_as(&format!("{target}/rendered"), "image/gif")
        .expect(413);
    let grown = peak(&server) - before;
    assert!(grown < 36, "{grown} MiB");
}

#[test]
fn a_float_frame_is_limited_as_any_other_and_counted() {
    let settings = [LITTLE[0], ("STOWAGE_MAX_FRAME_BYTES", "16777216")];
    let server = Server::with(&settings);
    let float = |instance, side: u16| {
        let name = Name::new(3502, 1, instance);
        let bytes = vec![0_u8; usize::from(side) * usize::from(side) * 4];
        let image = name
            .image(side, side, 32, 1)
            .without(Tag(0x0028, 0x0101))
            .without(Tag(0x0028, 0x0102))
            .without(Tag(0x0028, 0x0103));
        let file = name.file(
            &image.bytes(Tag(0x7FE0, 0x0008), VR::OF, bytes),
            Syntax::Deflated,
        );
        server.store("/dicom-web", [&file]).expect(200);
        format!("/dicom-web{}/rendered?viewport=100,100", name.path())
    };
    let large = float(1, 2050);
    server.get_as(&large, "image/png").expect(413);
    let fits = float(2, 2000);
    server.reset_peak();
    let before = peak(&server);
    std::thread::scope(|scope| {
        let ask = |number: u32| {
            let (server, fits) = (&server, &fits);
            // Each is a picture of its own.
            move || {
                let target = format!("{fits}&quality={number}");
                let answer = server.get_as(&target, "image/jpeg");
                assert!([200, 503].contains(&answer.status), "{}", answer.status);
                answer.status
            }
        };
        let asked: Vec<_> = (50..58).map(|number| scope.spawn(ask(number))).collect();
        let answers: Vec<u16> = asked
            .into_iter()
            .map(|asked| asked.join().expect("an answer"))
            .collect();
        assert!(answers.contains(&200), "{answers:?}");
    });
    let grown = peak(&server) - before;
    assert!(grown < 128 + 64, "{grown} MiB");
}

#[test]
fn only_the_tables_that_a_picture_uses_are_read() {
    let server = Server::with(&LITTLE);
    let name = Name::new(3503, 1, 1);
    let table = |_| {
        DataSet::new().us(Tag(0x0028, 0x3002), &[0, 0, 16]).bytes(
            Tag(0x0028, 0x3006),
            VR::OW,
            vec![0x7F; MIB],
        )
    };
    let image = name
        .image(8, 8, 8, 1)
        .items(
            Tag(0x0028, 0x3010),
            Lengths::Undefined,
            (0..24).map(table).collect(),
        )
        .bytes(PIXELS, VR::OW, vec![7; 64]);
    server
        .store("/dicom-web", [&name.file(&image, Syntax::ExplicitLittle)])
        .expect(200);
    let before = read_bytes(&server);
    png(&server, &format!("/dicom-web{}/rendered", name.path()));
    let read = read_bytes(&server) - before;
    assert!(read < 8 * MIB as u64, "{read} bytes");
}

#[test]
fn many_attributes_and_items_cost_a_picture_no_memory_for_each() {
    let server = Server::with(&LITTLE);
    let name = Name::new(3504, 1, 1);
    let items = (0..150_000).map(|_| DataSet::new()).collect();
    let image = name
        .image(8, 8, 8, 1)
        .items(Tag(0x0040, 0xA730), Lengths::Undefined, items)
        .bytes(PIXELS, VR::OW, vec![7; 64]);
    let file = name.file(&image, Syntax::Deflated);
    server.store("/dicom-web", [&file]).expect(200);
    server.reset_peak();
    let before = peak(&server);
    for number in 1..5 {
        let target = format!("/dicom-web{}/rendered?quality={number}", name.path());
        server.get_as(&target, "image/jpeg").expect(200);
    }
    // As a tree the items would take 15 MiB for each byte of a picture.
    let grown = peak(&server) - before;
    assert!(grown < 20, "{grown} MiB");
}

#[test]
fn a_viewport_has_a_largest_side() {
    let server = TestApp::with(&[("STOWAGE_MAX_VIEWPORT", "200")]);
    let name = Name::new(3505, 1, 1);
    let image = name.image(8, 8, 8, 1).bytes(PIXELS, VR::OW, vec![7; 64]);
    server
        .store("/dicom-web", [&name.file(&image, Syntax::ExplicitLittle)])
        .expect(200);
    let target = format!("/dicom-web{}/rendered", name.path());
    png(&server, &format!("{target}?viewport=200,200"));
    png(&server, &format!("{target}?viewport=200,"));
    for sides in ["201,200", "200,201", "201,", ",99999"] {
        let answer = server.get_as(&format!("{target}?viewport={sides}"), "image/png");
        assert!(answer.expect(400).text().contains("200"), "{sides}");
    }
    let object = format!(
        "/dicom-web/wado?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}&contentType=image/png",
        name.study, name.series, name.instance
    );
    png(&server, &format!("{object}&rows=200"));
    server.get(&format!("{object}&rows=201")).expect(400);
}

/// An image whose presentation state inverts it, and that state.
fn presented(study: u32) -> (Name, Name, [BuiltFile; 2]) {
    let (image, state) = (Name::new(study, 1, 1), Name::new(study, 2, 1));
    let pixels: Vec<u8> = (0..64).map(|at| at * 4).collect();
    let picture = image.image(8, 8, 8, 1).bytes(PIXELS, VR::OW, pixels);
    let referenced = DataSet::new()
        .text(Tag(0x0008, 0x1150), VR::UI, "1.2.840.10008.5.1.4.1.1.7")
        .text(Tag(0x0008, 0x1155), VR::UI, &image.instance);
    let series = DataSet::new()
        .items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![referenced])
        .text(Tag(0x0020, 0x000E), VR::UI, &image.series);
    let inverts = state.data_set().set(
        DataSet::new()
            .text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.11.1")
            .items(Tag(0x0008, 0x1115), Lengths::Undefined, vec![series])
            .text(Tag(0x2050, 0x0020), VR::CS, "INVERSE"),
    );
    let files = [
        image.file(&picture, Syntax::ExplicitLittle),
        state.file(&inverts, Syntax::ExplicitLittle),
    ];
    (image, state, files)
}

#[test]
fn a_parameter_cannot_spell_the_picture_of_another_request() {
    let server = TestApp::start(None);
    let (image, state, files) = presented(3506);
    server.store("/dicom-web", &files).expect(200);
    let object = format!(
        "/dicom-web/wado?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}&contentType=image/png",
        image.study, image.series, image.instance
    );
    let named = format!(
        "{object}&presentationUID={}&presentationSeriesUID={}",
        state.instance, state.series
    );
    let shown = format!("/dicom-web{}/rendered", state.path());
    let version = server.get_as(&shown, "image/png").expect(200);
    let version = version.header("etag").expect("an ETag").to_owned();
    let version = version
        .trim_matches('"')
        .split('-')
        .next()
        .unwrap()
        .to_owned();
    // What somebody asks for first must not be what the next one gets.
    let spelled = format!("patient%20state%20{version}");
    let first = png(&server, &format!("{object}&annotation={spelled}"));
    let second = png(&server, &format!("{named}&annotation=patient"));
    assert_ne!(first, second);
    assert_ne!(
        png(&server, &format!("{object}&annotation=patient")),
        second
    );
    let rendered = format!("/dicom-web{}/rendered", image.path());
    let joined = format!("{rendered}?annotation=patient%20iccprofile=srgb&viewport=300,300");
    let joined = png(&server, &joined);
    let both = format!("{rendered}?annotation=patient&iccprofile=srgb&viewport=300,300");
    assert_ne!(png(&server, &both), joined);
}

#[test]
fn a_state_shows_its_image_and_a_report_its_text() {
    let server = TestApp::start(None);
    let (image, state, files) = presented(3507);
    let report = Name::new(3507, 3, 1);
    let item = DataSet::new()
        .text(Tag(0x0040, 0xA040), VR::CS, "TEXT")
        .text(Tag(0x0040, 0xA160), VR::UT, "all is \"well\"");
    let text = report
        .data_set()
        .items(Tag(0x0040, 0xA730), Lengths::Undefined, vec![item]);
    let text = report.file(&text, Syntax::ExplicitLittle);
    server
        .store("/dicom-web", files.iter().chain([&text]))
        .expect(200);
    let at = |name: &Name| format!("/dicom-web{}/rendered", name.path());
    assert_ne!(png(&server, &at(&image)), png(&server, &at(&state)));
    let page = server.get_as(&at(&report), "text/html").expect(200);
    assert!(
        page.text().contains("all is &quot;well&quot;"),
        "{}",
        page.text()
    );
    let plain = server.get_as(&at(&report), "text/plain").expect(200);
    assert!(plain.text().contains("all is \"well\""), "{}", plain.text());
}

#[test]
fn each_representation_has_its_own_etag() {
    let server = TestApp::start(None);
    let name = Name::new(3520, 1, 1);
    let image = name
        .image(8, 8, 8, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![7; 64]);
    let file = name.file(&image, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    for (resource, kinds) in [
        ("/rendered", ["image/jpeg", "image/png", "image/gif"]),
        ("/thumbnail", ["image/jpeg", "image/png", "image/gif"]),
        (
            "/metadata",
            [
                "application/dicom+json",
                "multipart/related; type=\"application/dicom+xml\"",
                "application/json",
            ],
        ),
    ] {
        let target = format!("/dicom-web{}{resource}", name.path());
        let tag = |accept: &str| {
            let answer = server.get_as(&target, accept).expect(200);
            assert_eq!(answer.headers("vary").len(), 1, "{target}");
            assert!(answer.headers("vary")[0].contains("accept"), "{target}");
            answer.header("etag").expect("an ETag").to_owned()
        };
        let tags = kinds.map(tag);
        assert_ne!(tags[0], tags[1], "{resource}");
        // Who has the one is not told that the other is unchanged.
        for (accept, has, status) in [(kinds[0], 0, 304), (kinds[1], 1, 304), (kinds[1], 0, 200)] {
            let request = server.request("GET", &target).accept(accept);
            let answer = request.header("If-None-Match", &tags[has]).send();
            assert_eq!(answer.status, status, "{resource} {accept}");
        }
    }
}

#[test]
fn a_thumbnail_is_what_is_accepted_where_that_is_a_picture() {
    let server = TestApp::start(None);
    let name = Name::new(5750, 1, 1);
    let image = name
        .image(16, 16, 8, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OB, vec![7; 256]);
    let file = name.file(&image, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    for root in ["/dicom-web", "/v1", "/v2"] {
        for path in [name.path(), name.series_path(), name.study_path()] {
            let target = format!("{root}{path}/thumbnail");
            for (accept, media) in [
                ("*/*", "image/jpeg"),
                ("image/png", "image/png"),
                ("image/gif", "image/gif"),
                ("image/webp, */*;q=0.8", "image/jpeg"),
                (
                    "image/jpeg;q=0.2, image/png;q=0.7, image/gif;q=0.5",
                    "image/png",
                ),
                ("image/jpeg;q=0, image/*", "image/png"),
                // Viewers send the Accept header of frames here.
                (
                    "multipart/related; type=\"application/octet-stream\"",
                    "image/jpeg",
                ),
                ("multipart/related; type=\"*/*\"", "image/jpeg"),
                ("text/html", "image/jpeg"),
            ] {
                let answer = server.get_as(&target, accept).expect(200);
                assert_eq!(answer.content_type(), media, "{accept}");
            }
            let parts = "multipart/related; type=\"image/png\"";
            let answer = server.get_as(&target, parts).expect(200);
            let parts = answer.parts();
            assert_eq!((parts.len(), parts[0].content_type()), (1, "image/png"));
            assert!(parts[0].body.starts_with(b"\x89PNG"));
            for wrong in ["1,2,3", "5000,10", "10,5000", "0,1", "a,b"] {
                let target = format!("{target}?viewport={wrong}");
                server.get_as(&target, "image/jpeg").expect(400);
            }
        }
        let rendered = format!("{root}{}/rendered?viewport=", name.path());
        for wrong in ["1,2,3", "1,2,3,4,5", "5000,10"] {
            server.get(&format!("{rendered}{wrong}")).expect(400);
        }
    }
}

#[test]
fn overlays_in_unused_bits_are_drawn_when_asked_for() {
    let server = TestApp::start(None);
    // Twelve bits of samples, an overlay in bit 14 of the first frame's diagonal.
    let cell = |frame: usize, at: usize| {
        let marked = frame == 0 && at / 16 == at % 16;
        u16::from(marked) << 14 | 5
    };
    for (number, syntax) in (1..).zip([Syntax::ExplicitLittle, Syntax::ExplicitBig]) {
        let name = Name::new(5760, 1, number);
        let cells = (0..2).flat_map(|frame| (0..256).map(move |at| cell(frame, at)));
        // The builder turns them round where the syntax is big endian.
        let pixels: Vec<u8> = cells.flat_map(u16::to_le_bytes).collect();
        let image = name
            .image(16, 16, 16, 2)
            .set(
                DataSet::new()
                    .us(Tag(0x0028, 0x0101), &[12])
                    .us(Tag(0x0028, 0x0102), &[11])
                    .text(Tag(0x0028, 0x1050), VR::DS, "2048")
                    .text(Tag(0x0028, 0x1051), VR::DS, "4096"),
            )
            .us(Tag(0x6000, 0x0010), &[16])
            .us(Tag(0x6000, 0x0011), &[16])
            .us(Tag(0x6000, 0x0100), &[16])
            .us(Tag(0x6000, 0x0102), &[14])
            .bytes(Tag(0x7FE0, 0x0010), VR::OW, pixels);
        let file = name.file(&image, syntax);
        server.store("/dicom-web", [&file]).expect(200);
        for frame in [1, 2] {
            let target = format!("/dicom-web{}/frames/{frame}/rendered", name.path());
            let samples = |target: &str| {
                let bytes = std::io::Cursor::new(png(&server, target));
                let mut reader = png::Decoder::new(bytes).read_info().expect("a PNG");
                let mut samples = vec![0; reader.output_buffer_size().expect("a size")];
                reader.next_frame(&mut samples).expect("its pixels");
                samples
            };
            let plain = samples(&target);
            assert!(plain.iter().all(|sample| *sample == plain[0]));
            let drawn = samples(&format!("{target}?annotation=overlay"));
            let channels = drawn.len() / 256;
            for (at, pixel) in drawn.chunks(channels).enumerate() {
                let marked = frame == 1 && at / 16 == at % 16;
                assert_eq!(pixel[0] == 255, marked, "{frame} {at}");
            }
        }
    }
}
