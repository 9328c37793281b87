//! The meta group of a rewritten file.
//!
//! Invariant: it names this project as the writer, and the identifiers the data set behind it has.

use std::io;

use dicom_core::Tag;
use dicom_object::FileMetaTableBuilder;

use crate::dicom::error::ParseError;
use crate::dicom::identifiers::Identifiers;

/// Who writes the meta group: a UID of the project's own, made from a random UUID (PS3.5 §B.2).
pub const IMPLEMENTATION_CLASS: &str = "2.25.240518434574220785389747742621031329525";
/// Implementation Version Name (0002,0013).
pub const IMPLEMENTATION_VERSION: &str = concat!("STOWAGE_", env!("CARGO_PKG_VERSION"));

/// Preamble, prefix and meta group of a new file with the identifiers of the parsed one.
pub(super) fn meta_group(
    identifiers: &Identifiers,
    transfer_syntax: &str,
) -> Result<Vec<u8>, ParseError> {
    let needed = |tag, value: &'_ Option<String>| {
        value.clone().ok_or_else(|| ParseError::Missing {
            tag,
            read: Box::new(identifiers.clone()),
        })
    };
    let class = needed(Tag(0x0008, 0x0016), &identifiers.sop_class)?;
    let instance = needed(Tag(0x0008, 0x0018), &identifiers.instance)?;
    Ok(named_group(&class, &instance, transfer_syntax)?)
}

/// Preamble, prefix and meta group of a new file.
///
/// # Errors
/// None that is known; the builder's signature has one.
pub fn named_group(class: &str, instance: &str, transfer_syntax: &str) -> io::Result<Vec<u8>> {
    let table = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance)
        .transfer_syntax(transfer_syntax)
        .implementation_class_uid(IMPLEMENTATION_CLASS)
        .implementation_version_name(IMPLEMENTATION_VERSION)
        .build()
        .map_err(io::Error::other)?;
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    table.write(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
