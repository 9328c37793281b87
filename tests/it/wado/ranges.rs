//! Ranges: what lies before a range is not read, whatever the bytes come from, and what is inflated is inflated once.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::s3::{BUCKET, Effect, Fault, KEY, S3, SECRET};

const PIXELS: Tag = Tag(0x7FE0, 0x0010);
const MIB: usize = 1 << 20;
/// Bytes of pixel data of a large instance: 24 frames of 1 MiB.
const LARGE: usize = 24 * MIB;
/// What a small answer may cost in bytes read from files, the index included.
const LITTLE: u64 = 2 << 20;

const STORED: &str = "application/dicom; transfer-syntax=*";
const EXPLICIT: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
const OCTETS: &str = "application/octet-stream";

/// Bytes the server has read from files.
fn read_bytes(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", server.pid()));
    let text = text.expect("the server runs");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar:"));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.expect("a number of bytes")
}

fn large(name: &Name, syntax: Syntax) -> BuiltFile {
    let pixels = noise("pixels", LARGE);
    let data_set = name.image(1024, 512, 16, 24).bytes(PIXELS, VR::OW, pixels);
    name.file(&data_set, syntax)
}

fn range(server: &Deployment, target: &str, accept: &str, range: &str) -> Response {
    let request = server.request("GET", target).accept(accept);
    request.header("Range", &format!("bytes={range}")).send()
}

/// Asks for all of it, then for ranges of it, which must be the same bytes.
#[track_caller]
fn check_ranges(server: &Server, target: &str, accept: &str) -> Vec<u8> {
    let whole = server.get_as(target, accept).expect(200);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"), "{target}");
    let whole = whole.body;
    let last = whole.len() - 1;
    let middle = last / 2;
    for (first, end) in [
        (0, 99),
        (1, 1),
        (middle, middle + 70_001),
        (last - 300_000, last),
        (last, last),
    ] {
        let before = read_bytes(server);
        let part = range(server, target, accept, &format!("{first}-{end}")).expect(206);
        let read = read_bytes(server) - before;
        assert!(
            part.body == whole[first..=end],
            "{target} {accept} {first}-{end}"
        );
        let reported = format!("bytes {first}-{end}/{}", whole.len());
        assert_eq!(part.header("content-range"), Some(reported.as_str()));
        assert!(
            read < LITTLE,
            "{target} {accept} {first}-{end}: {read} bytes read"
        );
    }
    let suffix = range(server, target, accept, "-10").expect(206);
    assert!(suffix.body == whole[whole.len() - 10..]);
    range(server, target, accept, &format!("{}-", whole.len())).expect(416);
    whole
}

#[test]
fn a_range_costs_its_own_bytes_wherever_it_begins() {
    let server = Server::start(None);
    let forms = [(1, Syntax::ImplicitLittle), (2, Syntax::ExplicitBig)];
    for (number, syntax) in forms {
        let name = Name::new(3601, 1, number);
        let file = large(&name, syntax);
        server.store("/dicom-web", [&file]).expect(200);
        let target = format!("/dicom-web{}", name.path());
        assert!(check_ranges(&server, &target, STORED) == file.bytes);
        check_ranges(&server, &target, EXPLICIT);
        check_ranges(&server, &format!("{target}/bulkdata/7FE00010"), OCTETS);
        check_ranges(&server, &format!("{target}/frames/24"), OCTETS);
        let object = format!(
            "/dicom-web/wado?requestType=WADO&studyUID={}&seriesUID={}&objectUID={}&contentType=application/dicom",
            name.study, name.series, name.instance
        );
        check_ranges(&server, &object, "*/*");
    }
}

#[test]
fn a_range_with_a_condition_nobody_can_check_is_the_whole() {
    let server = TestApp::start(None);
    let name = Name::new(3602, 1, 1);
    server.store("/dicom-web", [&name.small()]).expect(200);
    let request = server.request("GET", &format!("/dicom-web{}", name.path()));
    let request = request.accept(STORED).header("Range", "bytes=0-9");
    let answer = request
        .header("If-Range", "\"something\"")
        .send()
        .expect(200);
    assert!(answer.body == name.small().bytes);
}

#[test]
fn a_deflated_instance_is_inflated_once_for_all_who_read_it() {
    let server = TestApp::start(None);
    let name = Name::new(3603, 1, 1);
    let pixels: Vec<u8> = (0..32_u8).flat_map(|frame| vec![frame; 300_000]).collect();
    let image = name.image(600, 500, 8, 32).bytes(PIXELS, VR::OW, pixels);
    let file = name.file(&image, Syntax::Deflated);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}", name.path());
    let inflated = || {
        let counts = server.get("/metrics").expect(200).text();
        let line = counts
            .lines()
            .find_map(|line| line.strip_prefix("stowage_inflated_total "));
        line.and_then(|number| number.parse::<u64>().ok())
            .expect("the count is there")
    };
    let before = inflated();
    let list: Vec<String> = (1..=32).map(|number| number.to_string()).collect();
    let frames = format!("{target}/frames/{}", list.join(","));
    let parts = server.get(&frames).expect(200).parts();
    assert_eq!(parts.len(), 32);
    for (number, part) in (0..).zip(&parts) {
        assert!(part.body == [number].repeat(300_000), "frame {number}");
    }
    std::thread::scope(|scope| {
        for number in 1..=8_u8 {
            let (server, target) = (&server, &target);
            scope.spawn(move || {
                let frame = format!("{target}/frames/{number}");
                let frame = range(server, &frame, OCTETS, "299999-").expect(206);
                assert_eq!(frame.body, [number - 1]);
            });
        }
    });
    let bulk = format!("{target}/bulkdata/7FE00010");
    let last = range(&server, &bulk, OCTETS, "9599999-9599999").expect(206);
    assert_eq!(last.body, [31]);
    server.get_as(&target, EXPLICIT).expect(200);
    server
        .get_as(&format!("{target}/rendered"), "image/png")
        .expect(200);
    assert_eq!(inflated() - before, 1);
}

#[test]
fn single_bits_are_cut_out_of_any_range() {
    let server = TestApp::start(None);
    let name = Name::new(3604, 1, 1);
    // Frames of 3 × 23 = 69 bits.
    let bytes = noise("bits", 70);
    let image = name.image(3, 23, 1, 8).bytes(PIXELS, VR::OB, bytes.clone());
    let file = name.file(&image, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let bit = |at: usize| bytes[at / 8] >> (at % 8) & 1;
    for number in 0..8 {
        let target = format!("/dicom-web{}/frames/{}", name.path(), number + 1);
        let whole = server.get_as(&target, OCTETS).expect(200).body;
        let wanted: Vec<u8> = (0..9)
            .map(|byte| {
                let bits = (0..8).filter(|bit| byte * 8 + bit < 69);
                bits.map(|place| bit(number * 69 + byte * 8 + place) << place)
                    .sum()
            })
            .collect();
        assert_eq!(whole, wanted, "frame {number}");
        for first in 0..9 {
            let part = range(&server, &target, OCTETS, &format!("{first}-8")).expect(206);
            assert_eq!(part.body, wanted[first..], "frame {number} from {first}");
        }
    }
}

#[test]
fn every_one_of_many_values_comes_once() {
    let server = TestApp::start(None);
    let name = Name::new(3605, 1, 1);
    let values = 4000_u16;
    let mut image = name.data_set();
    image = image.set(DataSet::new().text(Tag(0x0029, 0x0010), VR::LO, "STOWAGE"));
    let mut more = DataSet::new();
    for at in 0..values {
        let value = vec![u8::try_from(at % 251).expect("a byte"); 1026];
        // Blocks of 256 elements in odd groups of their own.
        let (group, element) = (0x0029 + 2 * (at / 256), 0x1000 + at % 256);
        if at % 256 == 0 {
            more = more.text(Tag(group, 0x0010), VR::LO, "STOWAGE");
        }
        more = more.bytes(Tag(group, element), VR::OB, value);
    }
    image = image.set(more);
    let file = name.file(&image, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}/bulkdata", name.path());
    let parts = server.get(&target).expect(200).parts();
    assert_eq!(parts.len(), usize::from(values));
    for (at, part) in (0..values).zip(&parts) {
        let byte = u8::try_from(at % 251).expect("a byte");
        assert!(part.body == vec![byte; 1026], "value {at}");
    }
}

#[test]
fn a_range_in_an_object_store_is_asked_for_and_nothing_else() {
    let s3 = S3::start();
    let server = Server::with(&[
        ("STOWAGE_BLOB_URL", &format!("s3://{BUCKET}/dicom")),
        ("STOWAGE_S3_ENDPOINT", &s3.endpoint()),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]);
    let name = Name::new(3606, 1, 1);
    let file = large(&name, Syntax::ImplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    let target = format!("/dicom-web{}", name.path());
    // Whoever reads more than this at a time does not get it.
    s3.fail(Fault {
        method: "GET",
        at: ".dcm",
        times: 1000,
        effect: Effect::Cut(400_000),
    });
    let end = file.bytes.len() - 1;
    let ask = |target: &str, accept: &str, length: usize| {
        let spec = format!("{}-{}", length - 1000, length - 1);
        let part = range(&server, target, accept, &spec).expect(206);
        assert!(
            part.body == file.bytes[end - 999..=end],
            "{target} {accept}"
        );
    };
    ask(&target, STORED, file.bytes.len());
    ask(&format!("{target}/bulkdata/7FE00010"), OCTETS, LARGE);
    ask(&format!("{target}/frames/24"), OCTETS, MIB);
    s3.heal();
    let explicit = server.get_as(&target, EXPLICIT).expect(200).body.len();
    s3.fail(Fault {
        method: "GET",
        at: ".dcm",
        times: 1000,
        effect: Effect::Cut(400_000),
    });
    ask(&target, EXPLICIT, explicit);
}
