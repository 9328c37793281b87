//! Non-patient instances as callers and statements see them.

use crate::dicom::nonpatient::NonPatientKind;

/// A non-patient instance to be stored.
#[derive(Debug, Clone)]
pub struct NewNonPatient {
    /// The resource it belongs to.
    pub kind: NonPatientKind,
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub instance: String,
    /// Transfer Syntax UID of the file.
    pub transfer_syntax: String,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
    /// The file as it was received.
    pub file: Vec<u8>,
    /// Memory that reading the metadata takes, in bytes.
    pub weight: usize,
    /// DICOM JSON, packed.
    pub metadata: Vec<u8>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonPatientInserted {
    /// It is stored.
    Stored,
    /// It was there already, with the same bytes.
    Same,
    /// Another one has its UID.
    Other,
}

/// A stored non-patient instance without its contents.
#[derive(Debug, Clone)]
pub struct NonPatientRow {
    /// Names it in calls; the newest has the highest.
    pub id: i64,
    /// Transfer Syntax UID of the file.
    pub transfer_syntax: String,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
    /// Bytes of the file.
    pub length: usize,
    /// Memory that reading the metadata takes, in bytes.
    pub weight: usize,
    /// Bytes of the packed metadata.
    pub packed: usize,
}

/// A stored non-patient instance of any partition.
#[derive(Debug, Clone)]
pub struct StoredNonPatient {
    /// It, without its contents.
    pub row: NonPatientRow,
    /// Name of its resource.
    pub kind: String,
    /// SOP Instance UID.
    pub instance: String,
}
