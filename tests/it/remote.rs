//! Other servers: `stowage upload`, `stowage copy` and rules of forwarding, through the real binary.

mod copy;
mod forward;
mod orthanc;
mod page;
mod peer;
mod upload;

use std::fs;
use std::path::Path;
use std::process::Output;

use stowage::dicom::testing::BuiltFile;

use crate::support::dicom::Name;

/// What a command said, on both outputs.
fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Writes a file for each name, in folders of its study.
fn write_files(folder: &Path, names: &[Name]) -> Vec<BuiltFile> {
    let write = |name: &Name| {
        let file = name.with_bulk(1500);
        let study = folder.join(&name.study);
        fs::create_dir_all(&study).unwrap();
        fs::write(study.join(format!("{}.dcm", name.instance)), &file.bytes).unwrap();
        file
    };
    names.iter().map(write).collect()
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}
