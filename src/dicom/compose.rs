//! Part 10 files from DICOM JSON and the bulk data sent beside it (PS3.18 §10.5.2, Annex F).
//!
//! Invariants: iterative; bulk data is referred to and never loaded; the file is Explicit VR Little Endian in UTF-8, or encapsulated
//! in the transfer syntax of the pixel data's parts. What was composed is stored only when the parser accepts it like any other file.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::{Map, Value};

use super::codec::{Coding, transfer_syntax};
use super::data_set::element;
use super::rewrite::named_group;
use composer::Composer;

mod composer;
mod content;
mod error;
mod metadata;
mod native;
mod parts;
mod pixels;
mod sniff;
mod value;

pub use composer::FilePiece;
pub use content::{BulkPart, HEAD, PartContent};
pub use error::{ComposeError, ComposeProblem};
pub use metadata::{LONGEST_METADATA, SentMetadata};
pub use parts::BulkParts;

/// The bytes of the values of a text VR, in UTF-8 and not padded.
///
/// # Errors
/// When a value is none that the VR has.
pub fn text_value(vr: VR, values: &[Value]) -> Result<Vec<u8>, ComposeProblem> {
    value::encode(vr, values)
}

/// Plans the Part 10 file of one data set.
///
/// Attributes of group 0002, group lengths and (0008,3002) are left out; (0008,0005) says `ISO_IR 192`.
///
/// # Errors
/// [`ComposeError`], with the path of the attribute that cannot be encoded.
pub fn compose(
    data_set: &Map<String, Value>,
    bulk: &BulkParts,
) -> Result<Vec<FilePiece>, ComposeError> {
    let class = uid(data_set, tags::SOP_CLASS_UID)?;
    let instance = uid(data_set, tags::SOP_INSTANCE_UID)?;
    let mut derived = match bulk.lone() {
        Some(part) => pixels::lone(data_set, part)?,
        None => Vec::new(),
    };
    let element = element(data_set, tags::PIXEL_DATA).or_else(|| {
        let lone = derived.iter().find(|(tag, _)| *tag == tags::PIXEL_DATA);
        lone.map(|(_, element)| element)
    });
    let uri = element.and_then(|element| element.get("BulkDataURI")?.as_str());
    let parts: Vec<&BulkPart> = uri
        .map_or(&[][..], |uri| bulk.find(uri))
        .iter()
        .filter_map(|number| bulk.part(*number))
        .collect();
    let mut pixels = pixels::validated(data_set, &parts)?;
    derived.append(&mut pixels.derived);
    let syntax = pixels
        .coding
        .map_or(transfer_syntax::EXPLICIT_LE, Coding::uid);
    let meta = named_group(&class, &instance, syntax)
        .map_err(|error| ComposeError::NotADataSet(error.to_string()))?;
    let mut composer = Composer {
        bulk,
        encapsulated: pixels.coding.is_some(),
        pictures: pixels.pictures,
        derived: &derived,
        pieces: Vec::new(),
        bytes: meta,
        path: Vec::new(),
    };
    composer.run(data_set)?;
    composer.cut();
    Ok(composer.pieces)
}

/// The UIDs of an instance as far as the metadata names them: SOP class and SOP instance, for the report.
#[must_use]
pub fn named(data_set: &Map<String, Value>) -> (Option<String>, Option<String>) {
    (
        uid(data_set, tags::SOP_CLASS_UID).ok(),
        uid(data_set, tags::SOP_INSTANCE_UID).ok(),
    )
}

fn uid(data_set: &Map<String, Value>, wanted: Tag) -> Result<String, ComposeError> {
    element(data_set, wanted)
        .and_then(|element| element.get("Value")?.get(0)?.as_str())
        .filter(|uid| !uid.is_empty())
        .map(str::to_owned)
        .ok_or(ComposeError::Missing(wanted))
}

#[cfg(test)]
mod pixel_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
