//! XML, JSON, ranges and values that were made to harm: nothing is fetched, opened or taken too much of.

use std::net::TcpListener;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::Syntax;

use crate::support::multipart::BOUNDARY;
use crate::support::prelude::*;

/// Memory that one table may cost, in KiB; a debug build takes more than a release.
const FLAT: u64 = 160 * 1024;

/// Stores metadata, with one bulk data part beside it.
fn described(server: &Deployment, root_type: &str, text: &[u8]) -> Response {
    let head = format!("Content-Type: {root_type}\r\n");
    let mut body = multipart::part(BOUNDARY, &head, text);
    let bulk = "Content-Type: application/octet-stream\r\nContent-Location: bulk/1\r\n";
    body.extend(multipart::part(BOUNDARY, bulk, &[0; 64]));
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let content_type = format!("multipart/related; type=\"{root_type}\"; boundary={BOUNDARY}");
    server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &content_type)
        .body(body)
        .send()
}

/// A listener that nobody may call.
fn nobody() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn check(what: &str, answer: &Response) {
    let text = answer.text();
    assert!(answer.status < 500, "{what}: {} {text}", answer.status);
    assert!(!text.contains("root:x:"), "{what}: {text}");
}

/// A native model with something put before it, something among its attributes, and a value.
fn model(before: &str, extra: &str, value: &str) -> String {
    let attribute = |tag: &str, vr: &str, value: &str| {
        format!(
            "<DicomAttribute tag=\"{tag}\" vr=\"{vr}\"><Value number=\"1\">{value}</Value></DicomAttribute>"
        )
    };
    let attributes = [
        attribute("00020010", "UI", "1.2.840.10008.1.2.1"),
        attribute("00080016", "UI", "1.2.840.10008.5.1.4.1.1.7"),
        attribute("00080018", "UI", "1.2.3.790.1.1"),
        attribute("0020000D", "UI", "1.2.3.790"),
        attribute("0020000E", "UI", "1.2.3.790.1"),
        attribute("00100020", "LO", value),
    ];
    format!(
        "{before}<NativeDicomModel>{}{extra}</NativeDicomModel>",
        attributes.concat()
    )
}

#[test]
fn xml_fetches_nothing_opens_nothing_and_grows_nothing() {
    let server = Server::start(None);
    let (listener, url) = nobody();
    let laughs: String = (1..30)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let deep = format!(
        "{}{}",
        "<Item number=\"1\">".repeat(3000),
        "</Item>".repeat(3000)
    );
    let many: String = (0..200_000).map(|n| format!(" a{n}=\"\"")).collect();
    let before = server.memory("VmRSS");
    server.reset_peak();
    let rows = [
        (
            "an entity of a file",
            model(
                "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>",
                "",
                "&x;",
            ),
        ),
        (
            "an entity of a server",
            model(
                &format!("<!DOCTYPE a [<!ENTITY x SYSTEM \"{url}/x\">]>"),
                "",
                "&x;",
            ),
        ),
        (
            "a parameter entity",
            model(
                &format!("<!DOCTYPE a [<!ENTITY % x SYSTEM \"{url}/x.dtd\"> %x;]>"),
                "",
                "x",
            ),
        ),
        (
            "a DTD elsewhere",
            model(&format!("<!DOCTYPE a SYSTEM \"{url}/a.dtd\">"), "", "x"),
        ),
        (
            "a public DTD",
            model(
                &format!("<!DOCTYPE a PUBLIC \"-//X//EN\" \"{url}/a.dtd\">"),
                "",
                "x",
            ),
        ),
        (
            "laughs",
            model(
                &format!("<!DOCTYPE a [<!ENTITY l0 \"ha\">{laughs}]>"),
                "",
                "&l29;",
            ),
        ),
        (
            "an entity of itself",
            model("<!DOCTYPE a [<!ENTITY x \"&x;\">]>", "", "&x;"),
        ),
        ("an unknown entity", model("", "", "&nothing;")),
        (
            "a number that is no character",
            model("", "", "&#x0;&#xFFFFFFFF;&#xD800;"),
        ),
        (
            "XInclude",
            model(
                "",
                "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\" parse=\"text\"/>",
                "x",
            ),
        ),
        (
            "a style sheet",
            model(
                &format!("<?xml-stylesheet type=\"text/xsl\" href=\"{url}/x.xsl\"?>"),
                "",
                "x",
            ),
        ),
        (
            "a schema elsewhere",
            model(
                "",
                &format!(
                    "<x xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"a {url}/a.xsd\"/>"
                ),
                "x",
            ),
        ),
        (
            "bulk data of a server",
            model(
                "",
                &format!(
                    "<DicomAttribute tag=\"00420011\" vr=\"OB\"><BulkData uri=\"{url}/bulk\"/></DicomAttribute>"
                ),
                "x",
            ),
        ),
        (
            "bulk data of a file",
            model(
                "",
                "<DicomAttribute tag=\"00420011\" vr=\"OB\"><BulkData uri=\"file:///etc/passwd\"/></DicomAttribute>",
                "x",
            ),
        ),
        (
            "bulk data of a path",
            model(
                "",
                "<DicomAttribute tag=\"00420011\" vr=\"OB\"><BulkData uri=\"../../../../etc/passwd\"/></DicomAttribute>",
                "x",
            ),
        ),
        (
            "3,000 deep",
            model(
                "",
                &format!("<DicomAttribute tag=\"00081140\" vr=\"SQ\">{deep}</DicomAttribute>"),
                "x",
            ),
        ),
        ("100,000 open", model("", &"<Item>".repeat(100_000), "x")),
        (
            "200,000 attributes",
            model(
                "",
                &format!("<DicomAttribute tag=\"00081030\" vr=\"LO\"{many}/>"),
                "x",
            ),
        ),
        (
            "another encoding",
            model("<?xml version=\"1.0\" encoding=\"UTF-7\"?>", "", "+ADw-"),
        ),
        (
            "UTF-16 that is none",
            model("<?xml version=\"1.0\" encoding=\"UTF-16\"?>", "", "x"),
        ),
        ("CDATA", model("", "", "<![CDATA[<script>]]>")),
        ("a comment without end", model("", "<!-- ", "x")),
        ("nothing", String::new()),
    ];
    for (what, text) in rows {
        check(
            what,
            &described(&server, "application/dicom+xml", text.as_bytes()),
        );
    }
    assert!(listener.accept().is_err(), "somebody called");
    let peak = server.memory("VmHWM");
    assert!(peak < before + FLAT, "{before} became {peak} KiB");
    server.get("/health/check").expect(200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn json_of_any_depth_and_length_is_read_or_refused() {
    let server = Server::start(None);
    let (listener, url) = nobody();
    let with = |extra: &str| {
        format!(
            "[{{\"00080016\":{{\"vr\":\"UI\",\"Value\":[\"1.2.840.10008.5.1.4.1.1.7\"]}},\
             \"00080018\":{{\"vr\":\"UI\",\"Value\":[\"1.2.3.791.1.1\"]}},\
             \"0020000D\":{{\"vr\":\"UI\",\"Value\":[\"1.2.3.791\"]}},\
             \"0020000E\":{{\"vr\":\"UI\",\"Value\":[\"1.2.3.791.1\"]}},{extra}}}]"
        )
    };
    let nested = "{\"00081140\":{\"vr\":\"SQ\",\"Value\":[".repeat(30_000);
    let before = server.memory("VmRSS");
    server.reset_peak();
    let rows = [
        ("100,000 lists", "[".repeat(100_000)),
        ("100,000 objects", "{\"a\":".repeat(100_000)),
        (
            "lists in a value",
            with(&format!(
                "\"00100020\":{{\"vr\":\"LO\",\"Value\":{}",
                "[".repeat(100_000)
            )),
        ),
        ("sequences in sequences", with(&nested[1..])),
        (
            "a number of 1 MB",
            with(&format!(
                "\"00201208\":{{\"vr\":\"IS\",\"Value\":[{}]}}",
                "9".repeat(1 << 20)
            )),
        ),
        (
            "an exponent of 1 MB",
            with(&format!(
                "\"00180050\":{{\"vr\":\"DS\",\"Value\":[1e{}]}}",
                "9".repeat(1 << 20)
            )),
        ),
        (
            "a lone surrogate",
            with("\"00100020\":{\"vr\":\"LO\",\"Value\":[\"\\ud800\"]}"),
        ),
        (
            "two lone surrogates",
            with("\"00100020\":{\"vr\":\"LO\",\"Value\":[\"\\udc00\\ud800\"]}"),
        ),
        (
            "NUL",
            with("\"00100020\":{\"vr\":\"LO\",\"Value\":[\"a\\u0000b\"]}"),
        ),
        (
            "the same member twice",
            with(
                "\"00100020\":{\"vr\":\"LO\",\"Value\":[\"a\"]},\"00100020\":{\"vr\":\"LO\",\"Value\":[\"b\"]}",
            ),
        ),
        (
            "a VR that is none",
            with("\"00100020\":{\"vr\":\"ZZ\",\"Value\":[\"a\"]}"),
        ),
        (
            "a VR that is a list",
            with("\"00100020\":{\"vr\":[\"LO\"],\"Value\":[\"a\"]}"),
        ),
        (
            "a tag that is none",
            with("\"constructor\":{\"vr\":\"LO\"},\"__proto__\":{\"vr\":\"LO\"}"),
        ),
        (
            "bulk data of a server",
            with(&format!(
                "\"00420011\":{{\"vr\":\"OB\",\"BulkDataURI\":\"{url}/bulk\"}}"
            )),
        ),
        (
            "bulk data of a file",
            with("\"00420011\":{\"vr\":\"OB\",\"BulkDataURI\":\"file:///etc/passwd\"}"),
        ),
        (
            "bulk data of a path",
            with("\"00420011\":{\"vr\":\"OB\",\"BulkDataURI\":\"/etc/passwd\"}"),
        ),
        (
            "binary that is none",
            with("\"00420011\":{\"vr\":\"OB\",\"InlineBinary\":\"####\"}"),
        ),
        (
            "two texts",
            format!(
                "{} {}",
                with("\"00100020\":{\"vr\":\"LO\"}"),
                with("\"00100020\":{\"vr\":\"LO\"}")
            ),
        ),
        ("no UTF-8", "[\u{fffd}".to_owned()),
        (
            "a mark of byte order",
            format!("\u{feff}{}", with("\"00100020\":{\"vr\":\"LO\"}")),
        ),
        ("nothing", String::new()),
    ];
    for (what, text) in rows {
        check(
            what,
            &described(&server, "application/dicom+json", text.as_bytes()),
        );
    }
    assert!(listener.accept().is_err(), "somebody called");
    let peak = server.memory("VmHWM");
    assert!(peak < before + FLAT, "{before} became {peak} KiB");
    server.get("/health/check").expect(200);
}

#[test]
fn ranges_of_ten_thousand_parts_and_odd_ones_cost_what_one_does() {
    let server = Server::start(None);
    let name = Name::new(792, 1, 1);
    server.store("/v2", [&name.with_bulk(100_000)]).expect(200);
    let target = format!("/dicom-web{}/bulkdata/00420011", name.path());
    let whole = server
        .get_as(&target, "application/octet-stream")
        .expect(200);
    let before = server.memory("VmRSS");
    server.reset_peak();
    let parts: Vec<String> = (0..10_000)
        .map(|n| format!("{}-{}", n % 50, n % 50))
        .collect();
    for range in [
        format!("bytes={}", parts.join(",")),
        format!("bytes={}", "0-,".repeat(10_000)),
        format!("bytes={}", "-1,".repeat(10_000)),
        "bytes=0-18446744073709551616".to_owned(),
        "bytes=18446744073709551615-".to_owned(),
        "bytes=-0".to_owned(),
        "bytes=5-1".to_owned(),
        "bytes=--1".to_owned(),
        "bytes=a-b".to_owned(),
        "bytes=0-0,".to_owned(),
        "items=0-1".to_owned(),
        "bytes 0-1".to_owned(),
        String::new(),
    ] {
        let request = server
            .request("GET", &target)
            .accept("application/octet-stream");
        let answer = request.header("Range", &range).send();
        let what = format!("{range:.40}: {}", answer.status);
        assert!(
            matches!(answer.status, 200 | 206 | 400 | 416 | 431),
            "{what}"
        );
        assert!(answer.body.len() <= whole.body.len() + 1000, "{what}");
    }
    let peak = server.memory("VmHWM");
    assert!(peak < before + FLAT, "{before} became {peak} KiB");
}

/// Values that the rules of their VR do not allow, or only just.
const ODD: &[(VR, &str)] = &[
    (VR::DS, "1e400"),
    (VR::DS, "-1e400"),
    (VR::DS, "NaN"),
    (VR::DS, "inf"),
    (VR::DS, "1e-400"),
    (VR::DS, "."),
    (VR::DS, "1\\2\\\\4"),
    (VR::DS, " 1.5 "),
    (VR::DS, "0x10"),
    (VR::DS, "1,5"),
    (VR::DS, "--1"),
    (VR::DS, "1e"),
    (VR::IS, "99999999999999999999"),
    (VR::IS, "-99999999999"),
    (VR::IS, "1.0"),
    (VR::IS, "+-1"),
    (VR::IS, ""),
    (VR::IS, "1e3"),
    (VR::IS, "٣"),
    (VR::DA, "99999999"),
    (VR::DA, "00000000"),
    (VR::DA, "2020.13.45"),
    (VR::DA, "today"),
    (VR::TM, "999999.999999"),
    (VR::TM, "25"),
    (VR::TM, ":::"),
    (VR::DT, "99991231235959.999999+9999"),
    (VR::AS, "999Z"),
    (VR::AS, "-01Y"),
    (VR::CS, "lower case"),
    (VR::CS, "\u{7f}"),
    (VR::LO, "\\\\\\\\"),
    (VR::LO, "\u{1b}$B\u{1b}(J"),
    (VR::LO, "<script>alert(1)</script>"),
    (VR::LO, "\"}]};"),
    (VR::LO, "a\u{0}b"),
    (VR::LO, "\r\nX-Evil: 1"),
    (VR::LO, "]]>"),
    (VR::LO, "&amp;&lt;&#0;"),
    (VR::PN, "====="),
    (VR::PN, "^^^^^^^^"),
    (VR::PN, "a=b=c=d=e"),
    (VR::PN, "\u{202e}reversed"),
    (VR::UI, "1..2"),
    (VR::UI, ""),
    (VR::UI, "a.b"),
    (VR::UR, "javascript:alert(1)"),
    (VR::UR, "http://[::1"),
    (VR::AE, "\u{1}\u{2}"),
    (VR::SH, "\u{fffe}\u{ffff}"),
    (VR::LT, "\u{8}\u{c}\u{b}"),
    (VR::UT, "${jndi:ldap://x}"),
    (VR::UC, "%s%n%x"),
    (VR::ST, "{{7*7}}"),
];

#[test]
fn odd_values_come_out_as_text_that_can_be_read_everywhere() {
    let server = TestApp::start(None);
    let mut stored = 0;
    for (number, charset) in (1..).zip([
        "",
        "ISO_IR 192",
        "ISO 2022 IR 87",
        "GB18030",
        "NONSENSE",
        "\\ISO 2022 IR 149",
    ]) {
        let name = Name::new(793, 1, number);
        let mut data_set = name.data_set().text(Tag(0x0008, 0x0005), VR::CS, charset);
        for (at, (vr, value)) in (0x1000_u16..).zip(ODD) {
            data_set = data_set.bytes(Tag(0x0099, at), *vr, value.as_bytes());
        }
        // Lengths that do not fit their VR.
        for (at, (vr, length)) in (0x2000_u16..).zip([
            (VR::US, 3),
            (VR::UL, 5),
            (VR::AT, 6),
            (VR::FD, 7),
            (VR::FL, 2),
            (VR::SS, 1),
            (VR::OW, 3),
            (VR::SL, 9),
        ]) {
            data_set = data_set.bytes(Tag(0x0099, at), vr, vec![0xFF; length]);
        }
        data_set = data_set
            .bytes(Tag(0x0099, 0x3000), VR::FD, f64::NAN.to_le_bytes())
            .bytes(Tag(0x0099, 0x3001), VR::FL, f32::INFINITY.to_le_bytes());
        let answer = server.store(
            "/dicom-web",
            [&name.file(&data_set, Syntax::ExplicitLittle)],
        );
        assert!(answer.status < 500, "{charset}: {}", answer.text());
        if !matches!(answer.status, 200 | 202) {
            continue;
        }
        stored += 1;
        let json = server
            .get(&format!("/dicom-web{}/metadata", name.path()))
            .expect(200);
        assert!(json.json().is_array(), "{charset}");
        let xml = server.get_as(
            &format!("/dicom-web{}/metadata", name.path()),
            "multipart/related; type=\"application/dicom+xml\"",
        );
        for part in xml.expect(200).parts() {
            let text = String::from_utf8(part.body).unwrap();
            let mut reader = quick_xml::Reader::from_str(&text);
            loop {
                match reader.read_event() {
                    Ok(quick_xml::events::Event::Eof) => break,
                    Ok(_) => {}
                    Err(error) => panic!("{charset}: {error}"),
                }
            }
            assert!(!text.contains("<script>"), "{charset}");
        }
        for target in [
            "/dicom-web/instances?includefield=all",
            "/v2/instances?includefield=all",
            "/v2/changefeed?includemetadata=true",
            "/dicom-web/studies",
        ] {
            let found = server.get(target).expect(200);
            assert!(
                matches!(found.json(), Value::Array(_)),
                "{charset}: {target}"
            );
            assert!(found.header("x-evil").is_none());
        }
        for kind in ["text/html", "text/plain", "image/png"] {
            let answer = server.get_as(&format!("/dicom-web{}/rendered", name.path()), kind);
            assert!(answer.status < 500, "{charset}: {}", answer.text());
            let is_page = answer.content_type().starts_with("text/html");
            assert!(
                !is_page || !answer.text().contains("<script>alert"),
                "{charset}"
            );
        }
    }
    assert!(stored > 0);
}
