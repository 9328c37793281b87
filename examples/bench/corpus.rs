//! Instances of a hospital that does not exist, built in code: the same bytes on every machine.
//!
//! A file is built once; what differs between two stores of it are the UIDs, which are stamped into their places.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};

const CT_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
const MULTI_FRAME: &str = "1.2.840.10008.5.1.4.1.1.7.3";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";

/// The UIDs of one instance, all of the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uids {
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) instance: String,
}

impl Uids {
    /// UIDs for the instance `instance` of the series `series` of the study `study`.
    pub(crate) fn new(study: u64, series: u64, instance: u64) -> Self {
        let root = "1.2.826.0.1.3680043.8.498";
        Self {
            study: format!("{root}.1{study:07}.100.100000"),
            series: format!("{root}.1{study:07}.2{series:02}.100000"),
            instance: format!("{root}.1{study:07}.3{series:02}.1{instance:05}"),
        }
    }

    /// Path of the instance below the root of a service.
    pub(crate) fn path(&self) -> String {
        format!(
            "/studies/{}/series/{}/instances/{}",
            self.study, self.series, self.instance
        )
    }
}

/// A Part 10 file whose UIDs can be changed.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    study: usize,
    series: usize,
    instance: [usize; 2],
}

impl File {
    fn new(data: &DataSet, syntax: Syntax) -> Self {
        let uids = Uids::new(0, 0, 0);
        let data = data.clone().set(
            DataSet::new()
                .text(Tag(0x0008, 0x0018), VR::UI, &uids.instance)
                .text(Tag(0x0020, 0x000D), VR::UI, &uids.study)
                .text(Tag(0x0020, 0x000E), VR::UI, &uids.series),
        );
        let meta = DataSet::new()
            .bytes(Tag(0x0002, 0x0001), VR::OB, [0, 1])
            .text(Tag(0x0002, 0x0002), VR::UI, CT_IMAGE)
            .text(Tag(0x0002, 0x0003), VR::UI, &uids.instance)
            .text(Tag(0x0002, 0x0010), VR::UI, syntax.uid())
            .text(Tag(0x0002, 0x0012), VR::UI, "1.2.826.0.1.3680043.8.498.1");
        let (meta, places) = meta.encode(Syntax::ExplicitLittle, 144);
        let mut head = vec![0; 128];
        head.extend(b"DICM");
        let length = u32::try_from(meta.len()).unwrap_or(0).to_le_bytes();
        head.extend(
            DataSet::new()
                .bytes(Tag(2, 0), VR::UL, length)
                .encode(Syntax::ExplicitLittle, 0)
                .0,
        );
        head.extend(meta);
        let built = data.behind(head, syntax);
        let at = |path: &str| {
            built
                .place(path)
                .and_then(|place| usize::try_from(place.offset).ok())
        };
        let in_meta = places.iter().find(|place| place.path == "00020003");
        let in_meta = in_meta.and_then(|place| usize::try_from(place.offset).ok());
        Self {
            study: at("0020000D").unwrap_or(0),
            series: at("0020000E").unwrap_or(0),
            instance: [at("00080018").unwrap_or(0), in_meta.unwrap_or(0)],
            bytes: built.bytes,
        }
    }

    /// Makes it another instance.
    pub(crate) fn stamp(&self, bytes: &mut [u8], uids: &Uids) {
        let mut put =
            |at: usize, uid: &str| bytes[at..at + uid.len()].copy_from_slice(uid.as_bytes());
        put(self.study, &uids.study);
        put(self.series, &uids.series);
        self.instance.iter().for_each(|at| put(*at, &uids.instance));
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// A slice of 512 x 512 x 16 bit with the header a scanner writes.
pub(crate) fn ct(number: u64) -> File {
    let data = header(CT_IMAGE, "CT", number, 512, 512, 1).bytes(
        Tag(0x7FE0, 0x0010),
        VR::OW,
        noise(512 * 512 * 2, number + 1),
    );
    File::new(&data, Syntax::ExplicitLittle)
}

/// A slice of 256 x 256 x 16 bit.
pub(crate) fn mr(number: u64) -> File {
    let data = header(MR_IMAGE, "MR", number, 256, 256, 1).bytes(
        Tag(0x7FE0, 0x0010),
        VR::OW,
        noise(256 * 256 * 2, number + 7),
    );
    File::new(&data, Syntax::ExplicitLittle)
}

/// A picture of 32 x 32 x 16 bit with few attributes.
pub(crate) fn tiny(number: u64) -> File {
    let data = DataSet::image(32, 32, 16, 1)
        .set(DataSet::new().text(Tag(0x0008, 0x0060), VR::CS, "OT").text(
            Tag(0x0020, 0x0013),
            VR::IS,
            &number.to_string(),
        ))
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise(2048, number + 3));
    File::new(&data, Syntax::ExplicitLittle)
}

/// A native multi-frame object without its pixels: the bytes up to them, and how many follow.
pub(crate) fn multi_frame(frames: u32) -> (File, u64) {
    let data = header(MULTI_FRAME, "XA", 1, 512, 512, frames).bytes(
        Tag(0x7FE0, 0x0010),
        VR::OW,
        Vec::new(),
    );
    let mut file = File::new(&data, Syntax::ExplicitLittle);
    let pixels = u64::from(frames) * 512 * 512 * 2;
    let length = u32::try_from(pixels).unwrap_or(u32::MAX - 1);
    let at = file.bytes.len() - 4;
    file.bytes[at..].copy_from_slice(&length.to_le_bytes());
    (file, pixels)
}

/// An encapsulated multi-frame object; its frames have the length of small JPEG pictures and are not decoded here.
pub(crate) fn encapsulated(frames: u32) -> File {
    let frame = noise(48 * 1024, 5);
    let fragments: Vec<&[u8]> = (0..frames).map(|_| frame.as_slice()).collect();
    let table: Vec<u32> = (0..frames).map(|n| n * (48 * 1024 + 8)).collect();
    let data = header(MULTI_FRAME, "US", 1, 512, 512, frames)
        .set(
            DataSet::new()
                .us(Tag(0x0028, 0x0100), &[8])
                .us(Tag(0x0028, 0x0101), &[8])
                .us(Tag(0x0028, 0x0102), &[7]),
        )
        .fragments(&table, &fragments);
    File::new(&data, Syntax::Other(JPEG_BASELINE))
}

/// A header as a scanner writes it, about 150 attributes; the metadata has about 10 KB.
fn header(
    class: &str,
    modality: &str,
    number: u64,
    rows: u16,
    columns: u16,
    frames: u32,
) -> DataSet {
    let number = number.to_string();
    let code = |value: &str, meaning: &str| {
        DataSet::new()
            .text(Tag(0x0008, 0x0100), VR::SH, value)
            .text(Tag(0x0008, 0x0102), VR::SH, "SCT")
            .text(Tag(0x0008, 0x0104), VR::LO, meaning)
    };
    let reference = |uid: &str| {
        DataSet::new()
            .text(Tag(0x0008, 0x1150), VR::UI, CT_IMAGE)
            .text(Tag(0x0008, 0x1155), VR::UI, uid)
    };
    let mut data = DataSet::image(rows, columns, 16, frames).set(
        DataSet::new()
            .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100")
            .text(
                Tag(0x0008, 0x0008),
                VR::CS,
                "ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI",
            )
            .text(Tag(0x0008, 0x0016), VR::UI, class)
            .text(Tag(0x0008, 0x0020), VR::DA, "20260630")
            .text(Tag(0x0008, 0x0021), VR::DA, "20260630")
            .text(Tag(0x0008, 0x0030), VR::TM, "081522.123")
            .text(Tag(0x0008, 0x0050), VR::SH, "A000012345")
            .text(Tag(0x0008, 0x0060), VR::CS, modality)
            .text(Tag(0x0008, 0x0090), VR::PN, "Referrer^Rita")
            .text(Tag(0x0008, 0x1030), VR::LO, "CHEST ROUTINE")
            .text(Tag(0x0008, 0x103E), VR::LO, "Thorax 1.0 B60f")
            .text(Tag(0x0010, 0x0010), VR::PN, "Doe^Jane^A")
            .text(Tag(0x0010, 0x0020), VR::LO, "PAT00012345")
            .text(Tag(0x0010, 0x0030), VR::DA, "19700101")
            .text(Tag(0x0010, 0x0040), VR::CS, "F")
            .text(Tag(0x0018, 0x0050), VR::DS, "1")
            .text(Tag(0x0020, 0x0011), VR::IS, "2")
            .text(Tag(0x0020, 0x0013), VR::IS, &number)
            .text(
                Tag(0x0020, 0x0032),
                VR::DS,
                "-158.135803\\-179.035797\\-75.699997",
            )
            .text(
                Tag(0x0020, 0x0037),
                VR::DS,
                "1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000",
            )
            .text(Tag(0x0028, 0x0030), VR::DS, "0.661468\\0.661468")
            .text(Tag(0x0028, 0x1050), VR::DS, "-600")
            .text(Tag(0x0028, 0x1051), VR::DS, "1600")
            .items(
                Tag(0x0008, 0x1032),
                Lengths::Defined,
                vec![code("77477000", "Computed tomography")],
            )
            .items(
                Tag(0x0008, 0x1140),
                Lengths::Undefined,
                (1..=3)
                    .map(|n| reference(&format!("1.2.840.113619.2.{n}")))
                    .collect(),
            ),
    );
    // What scanners add: acquisition parameters, and private groups.
    let more = (0..60_u16).fold(DataSet::new(), |data, n| {
        data.text(
            Tag(0x0019, 0x1000 + n),
            VR::LO,
            &format!("acquisition value {n}"),
        )
    });
    let more = (0..30_u16).fold(more, |data, n| {
        data.text(Tag(0x0029, 0x1000 + n), VR::DS, &format!("{n}.25\\{n}.75"))
    });
    data = data.set(
        more.text(Tag(0x0019, 0x0010), VR::LO, "VENDOR ACQUISITION")
            .text(Tag(0x0029, 0x0010), VR::LO, "VENDOR RECONSTRUCTION"),
    );
    data
}
