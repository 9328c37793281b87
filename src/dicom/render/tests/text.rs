use super::super::text::{render_header, render_sr};
use super::*;

fn code(meaning: &str) -> Value {
    json!({ "vr": "SQ", "Value": [{ "00080104": { "vr": "LO", "Value": [meaning] } }] })
}

fn item(kind: &str, concept: &str, rest: &Value) -> Value {
    let mut item =
        json!({ "0040A040": { "vr": "CS", "Value": [kind] }, "0040A043": code(concept) });
    for (tag, element) in rest.as_object().unwrap() {
        item[tag] = element.clone();
    }
    item
}

fn report(content: &Value) -> Value {
    json!({
        "0040A043": code("Chest CT Report"),
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe^Jane" }] },
        "0040A730": { "vr": "SQ", "Value": content },
    })
}

#[test]
fn report_shows_every_value_type_in_both_forms() {
    let one = |vr: &str, value: Value| json!({ "vr": vr, "Value": [value] });
    let measured = json!({ "0040A300": { "vr": "SQ", "Value": [{
        "0040A30A": one("DS", json!(12.5)),
        "004008EA": { "vr": "SQ", "Value": [{ "00080100": one("SH", json!("mm")) }] },
    }] } });
    let referenced = json!({ "00081199": { "vr": "SQ", "Value": [{
        "00081155": one("UI", json!("1.2.3")), "00081160": one("IS", json!(7)),
    }] } });
    let nested = json!({ "0040A730": { "vr": "SQ", "Value": [
        item("NUM", "Diameter", &measured),
        item("IMAGE", "Source", &referenced),
    ] } });
    let metadata = report(&json!([
        item(
            "TEXT",
            "Finding",
            &json!({ "0040A160": one("UT", json!("Größe <b>& 山\nline 2")) })
        ),
        item("CODE", "Site", &json!({ "0040A168": code("Lung") })),
        item(
            "PNAME",
            "Observer",
            &json!({ "0040A123": one("PN", json!({ "Alphabetic": "Roe^R" })) })
        ),
        item(
            "DATE",
            "When",
            &json!({ "0040A121": one("DA", json!("20240101")) })
        ),
        item("CONTAINER", "Measurements", &nested),
    ]));
    let (html, plain) = render_sr(&metadata.to_string());
    for text in [
        "Chest CT Report",
        "Doe Jane",
        "Lung",
        "Roe R",
        "20240101",
        "12.5 mm",
        "1.2.3, frame 7",
    ] {
        assert!(html.contains(text) && plain.contains(text), "{text}");
    }
    assert!(html.contains("Größe &lt;b&gt;&amp; 山") && !html.contains("<b>&"));
    assert!(plain.contains("Finding: Größe <b>& 山\n"));
    assert!(plain.contains("\nMeasurements\n  Diameter: 12.5 mm\n"));
    assert_eq!(html.matches("<ul>").count(), html.matches("</ul>").count());
    assert_eq!(html.matches("<li>").count(), html.matches("</li>").count());
    assert!(html.contains("charset=\"utf-8\"") && html.contains("default-src 'none'"));
}

#[test]
fn markup_in_titles_and_labels_is_escaped() {
    let mut metadata = report(&json!([item("TEXT", "<script>\"'", &json!({}))]));
    metadata["0040A043"] = code("<img src=x onerror=alert(1)>");
    let (html, _) = render_sr(&metadata.to_string());
    assert!(!html.contains("<script") && !html.contains("<img"));
    assert!(html.contains("&lt;script&gt;&quot;&#39;"));
}

#[test]
fn nested_reports_keep_their_levels() {
    let mut tree = item("TEXT", "leaf", &json!({}));
    for _ in 0..40 {
        let below = json!({ "0040A730": { "vr": "SQ", "Value": [tree] } });
        tree = item("CONTAINER", "level", &below);
    }
    let (html, plain) =
        render_sr(&report(&json!([tree, item("TEXT", "last", &json!({}))])).to_string());
    assert_eq!(html.matches("<ul>").count(), 41);
    assert_eq!(html.matches("</ul>").count(), 41);
    assert!(plain.contains(&format!("\n{}level\n", "  ".repeat(31))));
    assert!(plain.contains("leaf\nlast\n"));
}

#[test]
fn reports_stop_at_their_limits() {
    let text = "x".repeat(1000);
    let entry = item(
        "TEXT",
        "T",
        &json!({ "0040A160": { "vr": "UT", "Value": [text] } }),
    );
    let (html, plain) = render_sr(&report(&Value::Array(vec![entry; 30_000])).to_string());
    assert!(html.len() < 17 * 1024 * 1024 && plain.len() < 17 * 1024 * 1024);
    assert!(html.contains("too long to be shown") && html.ends_with("</body></html>\n"));
}

#[test]
fn header_lists_attributes_and_nested_items() {
    let metadata = json!({
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "A^B" }] },
        "00280010": { "vr": "US", "Value": [512] },
        "00081140": { "vr": "SQ", "Value": [
            { "00081155": { "vr": "UI", "Value": ["1.1"] } },
            { "00081155": { "vr": "UI", "Value": ["2.2"] } },
        ] },
        "7FE00010": { "vr": "OW", "InlineBinary": "AAAA" },
    });
    let name = |tag: &str| (tag == "00280010").then(|| String::from("Rows"));
    let (html, plain) = render_header(&metadata.to_string(), &name);
    assert!(plain.contains("00280010 Rows: 512\n"));
    assert!(plain.contains("00081140\n  Item 1\n    00081155: 1.1\n  Item 2\n    00081155: 2.2\n"));
    assert!(plain.contains("00100010: A^B\n") && !plain.contains("AAAA"));
    assert_eq!(html.matches("<ul>").count(), html.matches("</ul>").count());
}

#[test]
fn anything_else_still_makes_a_document() {
    for metadata in [
        json!(null),
        json!([]),
        json!({ "0040A730": 5 }),
        json!({ "0040A730": { "Value": [1] } }),
    ] {
        let (html, _) = render_sr(&metadata.to_string());
        assert!(html.ends_with("</body></html>\n"));
        render_header(&metadata.to_string(), &|_| None);
    }
}
