//! The sample images in `dcms/` are what their generator draws, and other software can read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::python;

#[path = "../../examples/dcms.rs"]
#[expect(dead_code, reason = "the generator's main is not called from here")]
mod generator;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dcms"))
}

#[test]
fn committed_samples_equal_what_the_generator_draws() {
    for sample in &generator::SAMPLES {
        let name = sample.name;
        let committed =
            fs::read(folder().join(format!("{name}.dcm"))).expect("the sample is there");
        // Not assert_eq: a difference would print three megabytes.
        assert!(
            committed == sample.file().expect("the sample can be drawn"),
            "{name}.dcm differs; `cargo run --example dcms` writes it anew"
        );
    }
    let table =
        fs::read_to_string(folder().join("dicom-metadata.csv")).expect("the table is there");
    assert_eq!(table, generator::table());
}

#[test]
fn pydicom_reads_in_the_samples_what_the_table_says() {
    let script = r#"
import csv, sys, pydicom
folder = sys.argv[1]
with open(f"{folder}/dicom-metadata.csv", encoding="utf-8") as table:
    rows = list(csv.DictReader(table))
assert [row["fname"] for row in rows] == [f"dcms/{name}.dcm" for name in ("blue-circle", "green-square", "red-triangle")]
for row in rows:
    data_set = pydicom.dcmread(folder + "/../" + row["fname"])
    lists = {"ImageType": 3, "PixelSpacing": 2}
    for keyword, text in row.items():
        if keyword in data_set:
            value = data_set[keyword].value
            values = list(value) if keyword in lists else [value]
            columns = [text] + [row[f"{keyword}{n}"] for n in range(1, len(values))]
            assert [str(v) if v is not None else "" for v in values] == columns, (keyword, values, columns)
    assert len(data_set) == len(row) - 6 + 1, "an attribute more or less than columns, and Pixel Data"
    pixels = data_set.pixel_array
    assert pixels.shape == (979, 985, 3) and pixels.min() == 0 and pixels.max() == 255
    assert (pixels[0] == 255).all() and (pixels[489, 492] != 255).any(), "plain background, a shape in the middle"
    assert data_set.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1" and data_set.preamble == bytes(128)
"#;
    let output = Command::new(python::interpreter())
        .args(["-c", script])
        .arg(folder())
        .output()
        .expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
