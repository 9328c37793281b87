//! Builds DICOM files in any syntax, for tests: unit tests here, integration tests and benchmarks.
//!
//! Written from PS3.5 and PS3.10 without the code it tests. Values are given in little endian order and swapped where the
//! syntax needs it; [`BuiltFile::places`] says where every value went.

use std::io::Write as _;

use dicom_core::{Tag, VR};

/// How a file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// 1.2.840.10008.1.2
    ImplicitLittle,
    /// 1.2.840.10008.1.2.1
    ExplicitLittle,
    /// 1.2.840.10008.1.2.2
    ExplicitBig,
    /// 1.2.840.10008.1.2.1.99
    Deflated,
    /// Explicit little endian under this UID.
    Other(&'static str),
}

impl Syntax {
    /// The transfer syntax UID.
    #[must_use]
    pub fn uid(self) -> &'static str {
        match self {
            Self::ImplicitLittle => "1.2.840.10008.1.2",
            Self::ExplicitLittle => "1.2.840.10008.1.2.1",
            Self::ExplicitBig => "1.2.840.10008.1.2.2",
            Self::Deflated => "1.2.840.10008.1.2.1.99",
            Self::Other(uid) => uid,
        }
    }

    fn big(self) -> bool {
        self == Self::ExplicitBig
    }
}

/// Whether sequences and items carry their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lengths {
    /// They do.
    Defined,
    /// They end with a delimiter.
    Undefined,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildValue {
    /// Bytes, little endian.
    Bytes(Vec<u8>),
    /// Items of a sequence.
    Items(Vec<DataSet>, Lengths),
    /// Encapsulated: basic offset table, fragments.
    Fragments(Vec<u32>, Vec<Vec<u8>>),
}

/// Elements in the order they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataSet(pub Vec<(Tag, VR, BuildValue)>);

/// Where a value is: path as in a bulk data URI, first byte, length; for fragments each fragment by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueLocation {
    /// `54000100/1/54001010`; fragments of `7FE00010` are `7FE00010#1` and so on, `#0` the offset table.
    pub path: String,
    /// Counted in the file; in the inflated data set of a deflated file.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// A built file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFile {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the values are.
    pub places: Vec<ValueLocation>,
    /// First byte of the data set in the file.
    pub dataset_offset: u64,
}

impl BuiltFile {
    /// The place of a value.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<&ValueLocation> {
        self.places.iter().find(|place| place.path == path)
    }
}

/// UIDs of [`DataSet::instance`].
pub const STUDY: &str = "1.2.3.100";
/// Series of [`DataSet::instance`].
pub const SERIES: &str = "1.2.3.100.1";
/// Instance of [`DataSet::instance`].
pub const INSTANCE: &str = "1.2.3.100.1.1";
/// Secondary Capture.
pub const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.7";

impl DataSet {
    /// No elements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The identifiers every instance needs, and a patient.
    #[must_use]
    pub fn instance() -> Self {
        Self::new()
            .text(Tag(0x0008, 0x0016), VR::UI, SOP_CLASS)
            .text(Tag(0x0008, 0x0018), VR::UI, INSTANCE)
            .text(Tag(0x0010, 0x0010), VR::PN, "Doe^Jane")
            .text(Tag(0x0010, 0x0020), VR::LO, "P1")
            .text(Tag(0x0020, 0x000D), VR::UI, STUDY)
            .text(Tag(0x0020, 0x000E), VR::UI, SERIES)
    }

    /// The same with an image module for `frames` frames of 16-bit gray, without pixel data.
    #[must_use]
    pub fn image(rows: u16, columns: u16, bits: u16, frames: u32) -> Self {
        Self::instance()
            .us(Tag(0x0028, 0x0002), &[1])
            .text(Tag(0x0028, 0x0004), VR::CS, "MONOCHROME2")
            .text(Tag(0x0028, 0x0008), VR::IS, &frames.to_string())
            .us(Tag(0x0028, 0x0010), &[rows])
            .us(Tag(0x0028, 0x0011), &[columns])
            .us(Tag(0x0028, 0x0100), &[bits])
            .us(Tag(0x0028, 0x0101), &[bits])
            .us(Tag(0x0028, 0x0102), &[bits.saturating_sub(1)])
            .us(Tag(0x0028, 0x0103), &[0])
    }

    /// Adds bytes as they are; the caller pads.
    #[must_use]
    pub fn bytes(mut self, tag: Tag, vr: VR, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((tag, vr, BuildValue::Bytes(value.into())));
        self
    }

    /// Adds text, padded to even length.
    #[must_use]
    pub fn text(self, tag: Tag, vr: VR, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == VR::UI { 0 } else { b' ' });
        }
        self.bytes(tag, vr, bytes)
    }

    /// Adds unsigned 16-bit values.
    #[must_use]
    pub fn us(self, tag: Tag, values: &[u16]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.bytes(tag, VR::US, bytes)
    }

    /// Adds a sequence.
    #[must_use]
    pub fn items(mut self, tag: Tag, lengths: Lengths, items: Vec<Self>) -> Self {
        self.0
            .push((tag, VR::SQ, BuildValue::Items(items, lengths)));
        self
    }

    /// Adds encapsulated pixel data.
    #[must_use]
    pub fn fragments(mut self, table: &[u32], fragments: &[&[u8]]) -> Self {
        let fragments = fragments.iter().map(|fragment| fragment.to_vec()).collect();
        self.0.push((
            Tag(0x7FE0, 0x0010),
            VR::OB,
            BuildValue::Fragments(table.to_vec(), fragments),
        ));
        self
    }

    /// Replaces or adds an element and puts all in order.
    #[must_use]
    pub fn set(mut self, other: Self) -> Self {
        for element in other.0 {
            self.0.retain(|(tag, ..)| *tag != element.0);
            self.0.push(element);
        }
        self.0.sort_by_key(|(tag, ..)| *tag);
        self
    }

    /// Removes an element.
    #[must_use]
    pub fn without(mut self, tag: Tag) -> Self {
        self.0.retain(|(have, ..)| *have != tag);
        self
    }

    /// The data set alone, its first byte at `base`.
    #[must_use]
    pub fn encode(&self, syntax: Syntax, base: u64) -> (Vec<u8>, Vec<ValueLocation>) {
        let mut writer = ElementWriter {
            syntax,
            base,
            out: Vec::new(),
            places: Vec::new(),
        };
        writer.data_set(self, "");
        (writer.out, writer.places)
    }

    /// A Part 10 file: preamble, prefix, meta group, data set.
    #[must_use]
    pub fn file(&self, syntax: Syntax) -> BuiltFile {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        let meta = Self::new()
            .bytes(Tag(0x0002, 0x0001), VR::OB, [0, 1])
            .text(Tag(0x0002, 0x0002), VR::UI, SOP_CLASS)
            .text(Tag(0x0002, 0x0003), VR::UI, INSTANCE)
            .text(Tag(0x0002, 0x0010), VR::UI, syntax.uid())
            .text(Tag(0x0002, 0x0012), VR::UI, "1.2.3.4");
        let (meta, _) = meta.encode(Syntax::ExplicitLittle, 0);
        let length = u32::try_from(meta.len()).unwrap_or(0).to_le_bytes();
        let (group_length, _) = Self::new()
            .bytes(Tag(2, 0), VR::UL, length)
            .encode(Syntax::ExplicitLittle, 0);
        bytes.extend(group_length);
        bytes.extend(meta);
        self.behind(bytes, syntax)
    }

    /// The data set behind other bytes (or none): a bare data set, another meta group.
    #[must_use]
    pub fn behind(&self, mut bytes: Vec<u8>, syntax: Syntax) -> BuiltFile {
        let dataset_offset = bytes.len() as u64;
        let base = if syntax == Syntax::Deflated {
            0
        } else {
            dataset_offset
        };
        let (data, places) = self.encode(syntax, base);
        if syntax == Syntax::Deflated {
            bytes.extend(deflate(&data));
        } else {
            bytes.extend(data);
        }
        BuiltFile {
            bytes,
            places,
            dataset_offset,
        }
    }
}

/// Raw deflate, padded to even length.
#[must_use]
pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let written = encoder.write_all(data).and_then(|()| encoder.finish());
    let mut packed = written.unwrap_or_default();
    if packed.len() % 2 == 1 {
        packed.push(0);
    }
    packed
}

struct ElementWriter {
    syntax: Syntax,
    base: u64,
    out: Vec<u8>,
    places: Vec<ValueLocation>,
}

impl ElementWriter {
    fn data_set(&mut self, data_set: &DataSet, path: &str) {
        for (tag, vr, value) in &data_set.0 {
            let path = format!("{path}{:04X}{:04X}", tag.0, tag.1);
            match value {
                BuildValue::Bytes(bytes) => {
                    self.header(*tag, *vr, narrow(bytes.len()));
                    self.place(&path, bytes.len());
                    self.swapped(*vr, bytes);
                }
                BuildValue::Items(items, lengths) => self.sequence(*tag, items, *lengths, &path),
                BuildValue::Fragments(table, fragments) => {
                    self.header(*tag, *vr, u32::MAX);
                    self.item(Tag(0xFFFE, 0xE000), narrow(table.len() * 4));
                    self.place(&format!("{path}#0"), table.len() * 4);
                    for offset in table {
                        self.u32(*offset);
                    }
                    for (number, fragment) in fragments.iter().enumerate() {
                        self.item(Tag(0xFFFE, 0xE000), narrow(fragment.len()));
                        self.place(&format!("{path}#{}", number + 1), fragment.len());
                        self.out.extend(fragment);
                    }
                    self.item(Tag(0xFFFE, 0xE0DD), 0);
                }
            }
        }
    }

    fn sequence(&mut self, tag: Tag, items: &[DataSet], lengths: Lengths, path: &str) {
        let defined = lengths == Lengths::Defined;
        self.header(tag, VR::SQ, u32::MAX);
        let start = self.out.len();
        for (number, item) in items.iter().enumerate() {
            self.item(Tag(0xFFFE, 0xE000), u32::MAX);
            let item_start = self.out.len();
            self.data_set(item, &format!("{path}/{}/", number + 1));
            if defined {
                self.patch_length(item_start);
            } else {
                self.item(Tag(0xFFFE, 0xE00D), 0);
            }
        }
        if defined {
            self.patch_length(start);
        } else {
            self.item(Tag(0xFFFE, 0xE0DD), 0);
        }
    }

    /// Writes the length of what begins at `start` into the four bytes before it.
    fn patch_length(&mut self, start: usize) {
        let length = narrow(self.out.len() - start);
        let bytes = if self.syntax.big() {
            length.to_be_bytes()
        } else {
            length.to_le_bytes()
        };
        self.out[start - 4..start].copy_from_slice(&bytes);
    }

    fn header(&mut self, tag: Tag, vr: VR, length: u32) {
        self.u16(tag.0);
        self.u16(tag.1);
        if self.syntax == Syntax::ImplicitLittle {
            self.u32(length);
            return;
        }
        self.out.extend(vr.to_string().bytes());
        let long = matches!(
            vr,
            VR::OB
                | VR::OD
                | VR::OF
                | VR::OL
                | VR::OV
                | VR::OW
                | VR::SQ
                | VR::SV
                | VR::UC
                | VR::UN
                | VR::UR
                | VR::UT
                | VR::UV
        );
        if long {
            self.u16(0);
            self.u32(length);
        } else {
            self.u16(u16::try_from(length).unwrap_or(0));
        }
    }

    fn item(&mut self, tag: Tag, length: u32) {
        self.u16(tag.0);
        self.u16(tag.1);
        self.u32(length);
    }

    fn u16(&mut self, value: u16) {
        self.out.extend(if self.syntax.big() {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    fn u32(&mut self, value: u32) {
        self.out.extend(if self.syntax.big() {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    fn swapped(&mut self, vr: VR, bytes: &[u8]) {
        let width = match vr {
            VR::US | VR::SS | VR::OW | VR::AT => 2,
            VR::UL | VR::SL | VR::FL | VR::OL | VR::OF => 4,
            VR::FD | VR::OD | VR::SV | VR::UV | VR::OV => 8,
            _ => 1,
        };
        if self.syntax.big() {
            self.out
                .extend(bytes.chunks(width).flat_map(|chunk| chunk.iter().rev()));
        } else {
            self.out.extend(bytes);
        }
    }

    fn place(&mut self, path: &str, length: usize) {
        let offset = self.base + self.out.len() as u64;
        self.places.push(ValueLocation {
            path: path.to_owned(),
            offset,
            length: length as u64,
        });
    }
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
