//! What wants to harm costs what was sent, refused or not: four times as much of it is about four times the work.

use super::*;

/// A request whose size is a number, and what it is.
struct Attack {
    what: String,
    request: Request<Body>,
}

impl Attack {
    fn get(what: &str, target: &str) -> Self {
        let request = request("GET", target).header("Accept", "*/*");
        Self {
            what: what.to_owned(),
            request: request.body(Body::empty()).expect("a target"),
        }
    }

    /// With a header that has this value.
    fn header(name: &str, value: String) -> Self {
        let path = Name::new(1, 1, 1).path();
        let request = request("GET", &format!("/dicom-web{path}")).header(name, value);
        Self {
            what: format!("{name} of {path}"),
            request: request.body(Body::empty()).expect("a header"),
        }
    }

    fn post(what: &str, content_type: &str, body: Vec<u8>) -> Self {
        let request =
            request("POST", "/dicom-web/studies").header("Content-Type", content_type.to_owned());
        Self {
            what: what.to_owned(),
            request: request.body(Body::from(body)).expect("a body"),
        }
    }

    fn file(what: &str, file: Vec<u8>) -> Self {
        Self::post(what, "application/dicom", file)
    }
}

/// Queries, each at most a sixth of the longest target at `times` 1.
fn queries(times: usize) -> Vec<(&'static str, String)> {
    let many = |text: &str, count: usize| vec![text; count * times].join("&");
    let list = |text: &str, count: usize, by: &str| vec![text; count * times].join(by);
    let uids: Vec<String> = (0..400 * times).map(|n| format!("1.2.{n}")).collect();
    vec![
        (
            "fields in one",
            format!("includefield={}", list("00100010", 1400, ",")),
        ),
        ("fields", many("includefield=1", 900)),
        (
            "fields inside each other",
            format!("includefield={}", list("00081140", 1100, ".")),
        ),
        ("unknown fields", many("includefield=NoSuchField", 450)),
        ("parameters", many("a=1", 2500)),
        ("stars", format!("PatientName={}", "*a".repeat(700 * times))),
        (
            "more stars",
            format!("PatientID={}b", "*".repeat(2400 * times)),
        ),
        (
            "question marks",
            format!("StudyDescription=*{}*", "?".repeat(2400 * times)),
        ),
        (
            "stars without an index",
            format!("PatientComments={}", "*a".repeat(2400 * times)),
        ),
        ("UIDs", format!("StudyInstanceUID={}", uids.join(","))),
        (
            "UIDs with slashes",
            format!("StudyInstanceUID={}", uids.join("%5C")),
        ),
        (
            "a value",
            format!("PatientName={}", "a".repeat(12_000 * times)),
        ),
        (
            "a fuzzy value",
            format!(
                "fuzzymatching=true&PatientName={}",
                "a+".repeat(5000 * times)
            ),
        ),
        (
            "a path of dots",
            format!("{}=1", list("00081140", 1200, ".")),
        ),
        ("separators", "&&===&".repeat(2000 * times)),
    ]
}

/// Headers of `times` lengths.
fn headers(times: usize) -> Vec<(&'static str, String)> {
    let repeat = |text: &str, count: usize| text.repeat(count * times);
    vec![
        ("Accept", repeat("a/b,", 5000)),
        (
            "Accept",
            format!("multipart/related; type=\"{}", repeat("x", 25_000)),
        ),
        (
            "Accept",
            format!("application/dicom{}", repeat(";a=b", 2500)),
        ),
        ("Accept", repeat("\"", 12_000)),
        ("Accept", repeat("multipart/related; type=\"\\\\\\\\", 250)),
        ("Range", format!("bytes={}", repeat("0-0,", 2500))),
        ("If-None-Match", repeat("\"a\",", 5000)),
        ("Forwarded", repeat("host=\"evil\";proto=javascript,", 250)),
        ("X-Request-Id", repeat("x", 25_000)),
        ("Accept-Encoding", repeat("gzip;q=9, br, *;q=0, ", 500)),
        ("Authorization", format!("Bearer {}", repeat("e", 12_000))),
        ("Cookie", repeat("a=b; ", 5000)),
    ]
}

/// Bodies in parts, few of which are parts.
fn bodies(times: usize) -> Vec<(&'static str, Vec<u8>)> {
    let part = |headers: &str| format!("--cost\r\n{headers}\r\nx\r\n--cost--\r\n").into_bytes();
    vec![
        ("no boundary in it", b"x".repeat((1 << 18) * times)),
        ("dashes", b"\r\n--cos".repeat((1 << 16) * times)),
        ("a preamble", b"x\r\n".repeat((1 << 18) * times)),
        (
            "a header line",
            part(&format!("X-Long: {}\r\n", "x".repeat((1 << 18) * times))),
        ),
        (
            "header lines",
            part(&"X-Many: 1\r\n".repeat(25_000 * times)),
        ),
        ("boundaries", "--cost\r\n".repeat(2500 * times).into_bytes()),
        ("parts of nothing", body(&vec![b"x".to_vec(); 1000 * times])),
    ]
}

/// Files that are stored or refused; `number` names them.
fn files(times: usize, number: u32) -> Vec<(&'static str, Vec<u8>)> {
    let name = |at: u32| Name::new(number, 1, at);
    let sound = |at: u32, own: DataSet| {
        let name = name(at);
        name.file(&name.data_set().set(own), Syntax::ExplicitLittle)
            .bytes
    };
    let text = |tag: Tag, vr, text: &str, count: usize| {
        DataSet::new()
            .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
            .bytes(tag, vr, text.repeat(count * times).into_bytes())
    };
    let person = Tag(0x0010, 0x0010);
    let empty = vec![DataSet::new(); 50_000 * times];
    let fragments = vec![&b""[..]; 50_000 * times];
    let jpeg = Syntax::Other("1.2.840.10008.1.2.4.50");
    let many = name(2).image(8, 8, 8, 2).fragments(&[], &fragments);
    let zeros = {
        let mut file = sound(9, DataSet::new());
        file.extend(vec![0; 250_000 * times]);
        file.push(1);
        file
    };
    let noise = [
        name(10).head(Syntax::ExplicitLittle),
        noise("cost", (1 << 18) * times),
    ]
    .concat();
    vec![
        (
            "empty items",
            sound(
                1,
                DataSet::new().items(Tag(0x0040, 0xA730), Lengths::Undefined, empty),
            ),
        ),
        ("empty fragments", name(2).file(&many, jpeg).bytes),
        (
            "empty values",
            sound(3, text(Tag(0x0040, 0xA160), VR::UC, "\\", 1 << 18)),
        ),
        (
            "control characters",
            sound(4, text(Tag(0x0040, 0xA160), VR::UT, "\u{1}", 1 << 18)),
        ),
        ("a long name", sound(5, text(person, VR::PN, "ÄÖÜ^", 2000))),
        ("many words", sound(6, text(person, VR::PN, "a ", 4000))),
        ("many groups", sound(7, text(person, VR::PN, "==", 4000))),
        (
            "marks without end",
            sound(8, text(person, VR::PN, "a\u{301}b", 2250)),
        ),
        ("zeros before a last byte", zeros),
        ("noise", noise),
        (
            "ligatures that grow",
            sound(11, text(person, VR::PN, "\u{FDFA}a", 2250)),
        ),
    ]
}

/// All attacks, each `times` as large.
fn attacks(times: usize) -> Vec<Attack> {
    let mut all = Vec::new();
    for root in ["/dicom-web", "/v1", "/v2"] {
        for resource in ["studies", "instances"] {
            for (what, query) in queries(times) {
                let what = format!("{root}/{resource}: {what}");
                all.push(Attack::get(&what, &format!("{root}/{resource}?{query}")));
            }
        }
    }
    let path = format!("/v2{}", Name::new(1, 1, 1).path());
    let (ones, frames) = ("1.".repeat(7000 * times), "1,".repeat(5000 * times));
    let steps = "/studies/1".repeat(1200 * times);
    all.push(Attack::get("a long UID", &format!("/v2/studies/{ones}1")));
    all.push(Attack::get("a long path", &format!("/v2{steps}")));
    all.push(Attack::get("frames", &format!("{path}/frames/{frames}1")));
    all.extend(
        headers(times)
            .into_iter()
            .map(|(n, v)| Attack::header(n, v)),
    );
    let parts = bodies(times).into_iter();
    all.extend(parts.map(|(what, body)| Attack::post(what, MULTIPART, body)));
    let boundary = format!("multipart/related; boundary={}", "b".repeat(1200 * times));
    all.push(Attack::post("a long boundary", &boundary, b"x".to_vec()));
    let number = u32::try_from(times).expect("few") + 1;
    let files = files(times, number).into_iter();
    all.extend(files.map(|(what, file)| Attack::file(what, file)));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_wants_to_harm_costs_what_was_sent() {
    let _alone = ALONE.lock().await;
    let costs = |times: usize| async move {
        let folder = tempfile::tempdir().unwrap();
        let router = router(folder.path()).await;
        let name = Name::new(1, 1, 1);
        let store = request("POST", "/dicom-web/studies").header("Content-Type", MULTIPART);
        let store = store.body(Body::from(body(&[name.with_bulk(5000).bytes])));
        assert_eq!(ask(&router, store.unwrap()).await.status, 200);
        let mut costs = Vec::new();
        for Attack { what, request } in attacks(times) {
            costs.push((what, ask(&router, request).await));
        }
        expect_given_back(&router.1, 64 << 20).await;
        costs
    };
    // The first ones pay for what is made once in a process.
    costs(1).await;
    let (small, large) = (costs(1).await, costs(4).await);
    let mut broken = Vec::new();
    for ((what, small), (_, large)) in small.into_iter().zip(large) {
        println!("{what}: {small:?} {large:?}");
        let fits = large.bytes <= 6 * small.bytes + (512 << 10)
            && large.calls <= 6 * small.calls + 2000
            && large.memory <= 6 * small.memory + (512 << 10)
            && large.memory <= 64 << 20
            && small.status < 500
            && large.status < 500;
        if !fits {
            broken.push(format!("{what}: {small:?} {large:?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
