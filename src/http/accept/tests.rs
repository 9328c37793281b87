use http::HeaderValue;

use super::*;

/// One wish as a line: `multi`/`one`, range, transfer syntax, q.
fn line(preference: &AcceptItem) -> String {
    let wrapping = if preference.multipart().is_some() {
        "multi"
    } else {
        "one"
    };
    let syntax = match &preference.transfer_syntax {
        None => "-",
        Some(RequestedTransferSyntax::Any) => "*",
        Some(RequestedTransferSyntax::Uid(uid)) => uid.as_str(),
    };
    format!(
        "{wrapping} {} {syntax} {}",
        preference.range(),
        preference.q
    )
}

fn lines(text: &str) -> Vec<String> {
    rank(text).iter().map(line).collect()
}

#[test]
fn every_spelling_of_one_wish_is_the_same() {
    for text in [
        r#"multipart/related; type="application/dicom"; transfer-syntax=*"#,
        r#"multipart/related;type="application/dicom";transfer-syntax="*""#,
        r#"multipart/related; type="application/dicom";transfer-syntax="*""#,
        "multipart/related; type=application/dicom; transfer-syntax=*",
        "multipart/related;type=application/dicom;transfer-syntax=*",
        "multipart/related; transfer-syntax=*; type=application/dicom",
        "Multipart/Related; TYPE=Application/DICOM; Transfer-Syntax=*",
        "multipart/related ; type = application/dicom ; transfer-syntax = *",
        "multipart/related; type=application/dicom; transfer-syntax=*;",
        "multipart/related; type=application/dicom; transfer-syntax=*; q=1.0",
        r#"multipart/related; type="application/dicom; transfer-syntax=*""#,
        r#"multipart/related; type="application/dicom"; transfer-syntax=*; transfer-syntax=1.2.3"#,
    ] {
        assert_eq!(lines(text), ["multi application/dicom * 1000"], "{text}");
    }
}

#[test]
fn what_real_clients_send_is_read() {
    let corpus: &[(&str, &[&str])] = &[
        // OHIF and cornerstone
        (
            "application/dicom+json",
            &["one application/dicom+json - 1000"],
        ),
        (
            r#"multipart/related; type="application/octet-stream"; transfer-syntax="*""#,
            &["multi application/octet-stream * 1000"],
        ),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            &["multi application/octet-stream * 1000"],
        ),
        (
            r#"multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80"; transfer-syntax="*""#,
            &["multi image/jls 1.2.840.10008.1.2.4.80 1000"],
        ),
        (
            "application/octet-stream; transfer-syntax=*",
            &["one application/octet-stream * 1000"],
        ),
        (
            r#"multipart/related; type="application/pdf", multipart/related; type="application/octet-stream""#,
            &[
                "multi application/pdf - 1000",
                "multi application/octet-stream - 1000",
            ],
        ),
        (
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            &[
                "one image/avif - 1000",
                "one image/webp - 1000",
                "one image/apng - 1000",
                "one image/svg+xml - 1000",
                "one image/* - 1000",
                "one */* - 800",
            ],
        ),
        // Python dicomweb-client
        (
            "application/dicom+json, application/json",
            &[
                "one application/dicom+json - 1000",
                "one application/json - 1000",
            ],
        ),
        (r#"multipart/related; type="*/*""#, &["multi */* - 1000"]),
        (
            r#"multipart/related; type="image/*""#,
            &["multi image/* - 1000"],
        ),
        (
            r#"multipart/related; type="image/""#,
            &["multi image/* - 1000"],
        ),
        // Microsoft
        (
            r#"application/dicom;transfer-syntax="*""#,
            &["one application/dicom * 1000"],
        ),
        // The tutorials, with the trailing semicolon as printed
        (
            r#"multipart/related; type="application/octet-stream";"#,
            &["multi application/octet-stream - 1000"],
        ),
        (
            r#"multipart/related; type="image/jp2";transfer-syntax=1.2.840.10008.1.2.4.90"#,
            &["multi image/jp2 1.2.840.10008.1.2.4.90 1000"],
        ),
        // Java
        (
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            &[
                "one text/html - 1000",
                "one image/gif - 1000",
                "one image/jpeg - 1000",
                "one */* - 200",
                "one */* - 200",
            ],
        ),
        // a browser
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            &[
                "one text/html - 1000",
                "one application/xhtml+xml - 1000",
                "one application/xml - 900",
                "one */* - 800",
            ],
        ),
        // dicom-microscopy-viewer
        (
            concat!(
                r#"multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50, "#,
                r#"multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90, "#,
                r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#
            ),
            &[
                "multi image/jpeg 1.2.840.10008.1.2.4.50 1000",
                "multi image/jp2 1.2.840.10008.1.2.4.90 1000",
                "multi application/octet-stream * 1000",
            ],
        ),
        (
            "image/jp2, image/jpeg",
            &["one image/jp2 - 1000", "one image/jpeg - 1000"],
        ),
        ("multipart/related", &["multi */* - 1000"]),
        ("video/mp4", &["one video/mp4 - 1000"]),
    ];
    for (text, expected) in corpus {
        assert_eq!(lines(text), *expected, "{text}");
    }
}

#[test]
fn quality_orders_before_specificity_before_position() {
    assert_eq!(
        lines("image/png;q=0.2, */*, image/*, image/jpeg;q=0.9, image/gif"),
        [
            "one image/gif - 1000",
            "one image/* - 1000",
            "one */* - 1000",
            "one image/jpeg - 900",
            "one image/png - 200",
        ]
    );
    assert_eq!(
        lines(r#"*/*, multipart/related, multipart/related; type="image/*", application/dicom"#),
        [
            "one application/dicom - 1000",
            "multi */* - 1000",
            "multi image/* - 1000",
            "one */* - 1000"
        ]
    );
}

#[test]
fn quality_is_read_in_thousandths() {
    for (text, expected) in [
        ("1", 1000),
        ("1.000", 1000),
        ("0.8", 800),
        (".2", 200),
        ("0.", 0),
        ("0.1239", 123),
        ("0", 0),
        ("0.000", 0),
        ("-1", 0),
        ("7", 1000),
        ("nan", 1000),
        ("", 1000),
        ("1e9", 1000),
        ("99999999999999999999", 1000),
    ] {
        assert_eq!(read_quality(text), expected, "{text}");
    }
}

#[test]
fn unreadable_items_are_skipped() {
    let text = "garbage, /, */png, image/jp(g, ; q=1, image/png; transfer-syntax=../etc, image/jpeg,, multipart/related; type=x";
    assert_eq!(lines(text), ["one image/jpeg - 1000"]);
}

#[test]
fn a_refused_type_is_left_out_of_the_wildcard() {
    let found = rank("image/png;q=0, */*;q=0.5, text/*;q=0");
    assert_eq!(found.len(), 1);
    let range = found[0].single().unwrap();
    assert!(range.covers_type("image/jpeg"));
    assert!(!range.covers_type("image/png"));
    assert!(!range.covers_type("text/html"));
    assert!(rank("*/*;q=0").is_empty());
}

#[test]
fn the_query_parameter_outranks_the_header_and_plus_survives_decoding() {
    let mut headers = HeaderMap::new();
    headers.append(ACCEPT, HeaderValue::from_static("image/png;q=0.1"));
    headers.append(ACCEPT, HeaderValue::from_static("*/*"));
    let found: Vec<_> = accept_items(&["image/jpeg;q=0.01", "application/dicom json"], &headers)
        .iter()
        .map(line)
        .collect();
    assert_eq!(
        found,
        [
            "one application/dicom+json - 1000",
            "one image/jpeg - 10",
            "one */* - 1000",
            "one image/png - 100",
        ]
    );
}

#[test]
fn saying_nothing_accepts_anything_and_saying_nonsense_accepts_nothing() {
    assert_eq!(
        accept_items(&[], &HeaderMap::new()),
        [AcceptItem::anything()]
    );
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("  "));
    assert_eq!(accept_items(&[""], &headers), [AcceptItem::anything()]);
    headers.insert(ACCEPT, HeaderValue::from_static("nonsense"));
    assert!(accept_items(&[], &headers).is_empty());
}

#[test]
fn json_is_covered_by_its_suffix() {
    for yes in [
        "*/*",
        "application/*",
        "application/dicom+json",
        "application/json",
        "text/html, *;q=.2",
    ] {
        assert!(covers_json(&rank(yes)), "{yes}");
    }
    for no in [
        "application/dicom",
        "application/data",
        r#"multipart/related; type="*/*""#,
        "text/json",
        "application/json;q=0",
        "*/*, application/dicom+json;q=0",
    ] {
        assert!(!covers_json(&rank(no)), "{no}");
    }
}

#[test]
fn other_parameters_and_the_charset_are_kept() {
    let found = rank("text/plain; charset=ISO-8859-1; level=1; q=0.5");
    assert_eq!(found[0].charset.as_deref(), Some("iso-8859-1"));
    assert_eq!(
        found[0].range().params,
        [("level".to_owned(), "1".to_owned())]
    );
}

#[test]
fn size_and_count_are_capped() {
    assert_eq!(rank(&"a/b,".repeat(10_000)).len(), MAX_ITEMS);
    assert!(rank(&"ä".repeat(100_000)).is_empty());
    assert!(rank(&format!("{};x={}", "a/b", "y".repeat(100_000))).len() <= 1);
}

proptest::proptest! {
    #[test]
    fn any_text_is_ranked(text in "[a-z*/;=\", \\\\q.0-9é-]{0,200}") {
        let found = rank(&text);
        proptest::prop_assert!(found.iter().all(|preference| preference.q > 0 && preference.q <= 1000));
        proptest::prop_assert!(found.is_sorted_by(|a, b| a.q >= b.q));
    }

    #[test]
    fn a_written_wish_is_read_back(
        subtype in "[a-z][a-z0-9+.-]{0,20}",
        q in 1_u16..=999,
        uid in "1\\.[1-9][0-9]{0,10}",
        quoted: bool,
        gap in "[ ]{0,3}",
    ) {
        let mark = if quoted { "\"" } else { "" };
        let text = format!(
            "x/y;q=0.0,{gap}multipart/related;{gap}type={mark}image/{subtype}{mark}{gap};transfer-syntax={mark}{uid}{mark};q=0.{q:03}",
        );
        proptest::prop_assert_eq!(lines(&text), [format!("multi image/{subtype} {uid} {q}")]);
    }
}
