//! DICOM files for requests: names, data sets and Part 10 files with a true meta group.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, SOP_CLASS, Syntax};

/// The UIDs of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) instance: String,
}

impl Name {
    /// `1.2.3.{study}`, `1.2.3.{study}.{series}`, `1.2.3.{study}.{series}.{instance}`.
    pub(crate) fn new(study: u32, series: u32, instance: u32) -> Self {
        Self {
            study: format!("1.2.3.{study}"),
            series: format!("1.2.3.{study}.{series}"),
            instance: format!("1.2.3.{study}.{series}.{instance}"),
        }
    }

    /// `/studies/{study}`.
    pub(crate) fn study_path(&self) -> String {
        format!("/studies/{}", self.study)
    }

    /// `/studies/{study}/series/{series}`.
    pub(crate) fn series_path(&self) -> String {
        format!("{}/series/{}", self.study_path(), self.series)
    }

    /// `/studies/{study}/series/{series}/instances/{instance}`.
    pub(crate) fn path(&self) -> String {
        format!("{}/instances/{}", self.series_path(), self.instance)
    }

    /// The data set every instance of this name begins with: identifiers and a patient.
    pub(crate) fn data_set(&self) -> DataSet {
        DataSet::instance().set(self.identifiers())
    }

    /// The same with an image module, without pixel data.
    pub(crate) fn image(&self, rows: u16, columns: u16, bits: u16, frames: u32) -> DataSet {
        DataSet::image(rows, columns, bits, frames).set(self.identifiers())
    }

    fn identifiers(&self) -> DataSet {
        DataSet::new()
            .text(Tag(0x0008, 0x0018), VR::UI, &self.instance)
            .text(Tag(0x0020, 0x000D), VR::UI, &self.study)
            .text(Tag(0x0020, 0x000E), VR::UI, &self.series)
    }

    /// A Part 10 file of the data set; the meta group names this instance.
    pub(crate) fn file(&self, data_set: &DataSet, syntax: Syntax) -> BuiltFile {
        data_set.behind(self.head(syntax), syntax)
    }

    /// A small file without pixel data.
    pub(crate) fn small(&self) -> BuiltFile {
        self.file(&self.data_set(), Syntax::ExplicitLittle)
    }

    /// A file with `length` bytes of bulk data (0042,0011), different for each name.
    pub(crate) fn with_bulk(&self, length: usize) -> BuiltFile {
        let data_set =
            self.data_set()
                .bytes(Tag(0x0042, 0x0011), VR::OB, noise(&self.instance, length));
        self.file(&data_set, Syntax::ExplicitLittle)
    }

    /// Preamble, prefix and meta group.
    pub(crate) fn head(&self, syntax: Syntax) -> Vec<u8> {
        let meta = DataSet::new()
            .bytes(Tag(0x0002, 0x0001), VR::OB, [0, 1])
            .text(Tag(0x0002, 0x0002), VR::UI, SOP_CLASS)
            .text(Tag(0x0002, 0x0003), VR::UI, &self.instance)
            .text(Tag(0x0002, 0x0010), VR::UI, syntax.uid())
            .text(Tag(0x0002, 0x0012), VR::UI, "1.2.3.4");
        let (meta, _) = meta.encode(Syntax::ExplicitLittle, 0);
        let length = u32::try_from(meta.len()).expect("a short meta group");
        let (group_length, _) = DataSet::new()
            .bytes(Tag(2, 0), VR::UL, length.to_le_bytes())
            .encode(Syntax::ExplicitLittle, 0);
        // A preamble that is not zero: it must come back as it was.
        let mut head: Vec<u8> = (0..128).collect();
        head.extend(b"DICM");
        head.extend(group_length);
        head.extend(meta);
        head
    }
}

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
