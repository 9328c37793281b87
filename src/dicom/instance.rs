//! What one pass over a file yields: everything the archive ever needs to know of an instance without its bytes.
//!
//! Invariant: offsets are counted from the first byte of the file; for a deflated data set they are counted from the
//! first byte of the inflated data set instead (`FileLayout::deflated`).

use std::ops::Range;

use dicom_core::{Tag, VR};
use serde::{Deserialize, Serialize};

use super::frames::FrameTable;
use super::uid::InstanceName;

use super::issue::ValidationIssue;

/// The result of the ingest parser.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Study, series and instance UID.
    pub name: InstanceName,
    /// SOP Class UID (0008,0016), trimmed.
    pub sop_class: String,
    /// Where the data set lies and how it is encoded.
    pub layout: FileLayout,
    /// Values of the attributes the caller asked to collect, in tag order.
    pub attributes: Vec<Attribute>,
    /// The DICOM JSON object.
    pub metadata: Metadata,
    /// Values that are served by URI instead of inline, in file order.
    pub bulk: Vec<BulkItem>,
    /// Where each frame lies.
    pub frames: FrameTable,
    /// How the pixels are to be read; none without pixel data.
    pub pixel: Option<PixelDescription>,
    /// What is wrong with single attributes though the file can be stored.
    pub findings: Vec<ValidationIssue>,
}

/// How a file is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLayout {
    /// Transfer Syntax UID as stored, trimmed; what was sniffed when the file has no meta group.
    pub transfer_syntax: String,
    /// First byte of the data set in the file.
    pub dataset_offset: u64,
    /// The data set is deflated: all other offsets count in the inflated stream.
    pub deflated: bool,
    /// Length of the (inflated) data set in bytes.
    pub dataset_length: u64,
    /// The file starts with a preamble, `DICM` and a meta group that names the transfer syntax.
    pub part10: bool,
}

/// One collected top-level attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its tag; for private ones the tag as in the file.
    pub tag: Tag,
    /// Its value representation as in the file or dictionary.
    pub vr: VR,
    /// Decoded values in UTF-8, trimmed, empty values kept as empty strings; PN with all groups; numbers as text.
    pub values: Vec<String>,
    /// Its JSON (`{"vr":"CS","Value":["CT"]}`) as a range of bytes of [`Metadata::text`]; empty when it was left out.
    pub json: Range<usize>,
}

/// DICOM JSON text of one instance, with the places where the answer's own URLs go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// A JSON object per PS3.18 §F, UTF-8; each `BulkDataURI` holds only its tail, e.g. `"bulkdata/7FE00010"` or
    /// `"bulkdata/54000100/1/54001010"` (items 1-based).
    pub text: String,
    /// Byte positions in `text`, ascending, right behind the opening quote of each `BulkDataURI` value: the absolute
    /// URL of the instance and a slash are inserted there.
    pub uri_at: Vec<u32>,
    /// Byte position in `text` where `"00083002":{…},` can be inserted to keep the keys in order.
    pub available_syntax_at: u32,
}

/// One value served by URI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkItem {
    /// Path below `bulkdata/`: tags in upper-case hex and 1-based item numbers, `54000100/1/54001010`.
    pub path: String,
    /// Value representation, two letters.
    pub vr: String,
    /// First byte of the value; for encapsulated pixel data, of its first item (the offset table).
    pub offset: u64,
    /// Length in bytes; for encapsulated pixel data up to the sequence delimiter.
    pub length: u64,
    /// The value is encapsulated (fragments): it is served through the frame table.
    pub encapsulated: bool,
}

/// The attributes that say how pixels are to be read (PS3.3 §C.7.6.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelDescription {
    /// (0028,0010)
    pub rows: u32,
    /// (0028,0011)
    pub columns: u32,
    /// (0028,0002), 1 when absent.
    pub samples_per_pixel: u16,
    /// (0028,0004), trimmed.
    pub photometric: String,
    /// (0028,0006), 0 when absent.
    pub planar: u16,
    /// (0028,0100)
    pub bits_allocated: u16,
    /// (0028,0101)
    pub bits_stored: u16,
    /// (0028,0102)
    pub high_bit: u16,
    /// (0028,0103): 0 unsigned, 1 signed.
    pub representation: u16,
    /// (0028,0008), 1 when absent or unreadable.
    pub frames: u32,
    /// (0028,2110) is `01`.
    pub lossy: bool,
    /// An overlay lies in unused bits of the pixel data: (60xx,0102) is not zero. Not known of older entries.
    #[serde(default)]
    pub overlay_bits: bool,
    /// Which element holds the pixels.
    pub element: PixelElement,
}

impl PixelDescription {
    /// Photometric Interpretation (0028,0004); where a single sample has none it is `MONOCHROME2`, as viewers take it.
    #[must_use]
    pub fn photometric(&self) -> &str {
        match self.photometric.as_str() {
            "" if self.samples_per_pixel == 1 => "MONOCHROME2",
            term => term,
        }
    }

    /// The lowest bit of a sample in its cell: High Bit + 1 − Bits Stored; zero when that makes no sense.
    #[must_use]
    pub fn low_bit(&self) -> u16 {
        let low = (self.high_bit.checked_add(1)).and_then(|end| end.checked_sub(self.bits_stored));
        low.filter(|_| self.high_bit < self.bits_allocated)
            .unwrap_or(0)
    }
}

/// The three elements that can hold pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelElement {
    /// (7FE0,0010)
    Integer,
    /// (7FE0,0008)
    Float,
    /// (7FE0,0009)
    Double,
}
