//! Draws the sample images in `dcms/`: `cargo run --example dcms` writes them anew.
//!
//! Three shapes on a plain background, one instance each, with the UIDs and attributes that the tutorials of the DICOM
//! service expect. Invariant: the same bytes every time, so the committed files can be compared with this generator
//! (`tests/it/dcms.rs` does).

use std::fs;
use std::path::Path;

use anyhow::Context;
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_object::meta::FileMetaTableBuilder;

/// Columns of each image.
const COLUMNS: u16 = 985;
/// Rows of each image.
const ROWS: u16 = 979;

/// Prefix of the samples' UIDs.
const ROOT: &str = "1.2.826.0.1.3680043.8.498";
/// Study of all three samples, below [`ROOT`].
const STUDY: &str = "13230779778012324449356534479549187420";
/// Names this generator in the file meta group; an own UID under 2.25.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.225754189933906406824411051697672356877";
/// Plain background of every image.
const BACKGROUND: [u8; 3] = [255, 255, 255];

/// What is drawn.
#[derive(Clone, Copy)]
enum Shape {
    Square,
    Triangle,
    Circle,
}

/// One sample: its names, its place in the study and its picture.
pub(crate) struct Sample {
    /// Name in `dcms/`, without `.dcm`.
    pub(crate) name: &'static str,
    title: &'static str,
    series: &'static str,
    series_number: u8,
    instance: &'static str,
    instance_number: u8,
    shape: Shape,
    color: [u8; 3],
}

/// The samples, in the order of `dicom-metadata.csv`.
pub(crate) const SAMPLES: [Sample; 3] = [
    Sample {
        name: "blue-circle",
        title: "Fake DICOM - Blue Circle",
        series: "77033797676425927098669402985243398207",
        series_number: 2,
        instance: "13273713909719068980354078852867170114",
        instance_number: 1,
        shape: Shape::Circle,
        color: [0, 72, 216],
    },
    Sample {
        name: "green-square",
        title: "Fake DICOM - Green Square",
        series: "45787841905473114233124723359129632652",
        series_number: 1,
        instance: "12714725698140337137334606354172323212",
        instance_number: 2,
        shape: Shape::Square,
        color: [0, 152, 64],
    },
    Sample {
        name: "red-triangle",
        title: "Fake DICOM - Red Triangle",
        series: "45787841905473114233124723359129632652",
        series_number: 1,
        instance: "47359123102728459884412887463296905395",
        instance_number: 1,
        shape: Shape::Triangle,
        color: [216, 0, 40],
    },
];

/// Header line of `dicom-metadata.csv`: one column per attribute, further values of a list in columns of their own.
const CSV_COLUMNS: &str = "SpecificCharacterSet,ImageType,SOPClassUID,SOPInstanceUID,StudyDate,ContentDate,\
AcquisitionDateTime,StudyTime,ContentTime,AccessionNumber,Modality,ConversionType,ReferringPhysicianName,PatientName,\
PatientID,PatientBirthDate,PatientSex,PatientAge,PatientPosition,StudyInstanceUID,SeriesInstanceUID,StudyID,\
SeriesNumber,InstanceNumber,PatientOrientation,Laterality,ImageComments,SamplesPerPixel,PhotometricInterpretation,\
PlanarConfiguration,Rows,Columns,PixelSpacing,BitsAllocated,BitsStored,HighBit,PixelRepresentation,\
SmallestImagePixelValue,LargestImagePixelValue,fname,MultiImageType,ImageType1,ImageType2,MultiPixelSpacing,\
PixelSpacing1";

impl Sample {
    /// The Part 10 file: preamble, file meta group, data set in Explicit VR Little Endian.
    pub(crate) fn file(&self) -> anyhow::Result<Vec<u8>> {
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
            .media_storage_sop_instance_uid(uid(self.instance))
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
            .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
            .implementation_version_name("STOWAGE_DCMS")
            .build()
            .context("file meta group of a sample")?;
        let mut file = Vec::new();
        self.data_set()
            .with_exact_meta(meta)
            .write_all(&mut file)
            .with_context(|| format!("writing {}", self.name))?;
        Ok(file)
    }

    fn data_set(&self) -> InMemDicomObject {
        let mut elements: Vec<DataElement<InMemDicomObject>> = self
            .text()
            .into_iter()
            .map(|(tag, vr, value)| DataElement::new(tag, vr, PrimitiveValue::from(value)))
            .collect();
        elements.extend(
            Self::numbers()
                .map(|(tag, value)| DataElement::new(tag, VR::US, PrimitiveValue::from(value))),
        );
        elements.push(DataElement::new(
            tags::PIXEL_DATA,
            VR::OB,
            PrimitiveValue::from(self.pixels()),
        ));
        InMemDicomObject::from_element_iter(elements)
    }

    /// Attributes with text values; several values stand with a backslash between, as in the file.
    fn text(&self) -> Vec<(Tag, VR, String)> {
        let row: [(Tag, VR, &str); 22] = [
            (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
            (tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER"),
            (
                tags::SOP_CLASS_UID,
                VR::UI,
                uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
            ),
            (tags::STUDY_DATE, VR::DA, "20200922"),
            (tags::CONTENT_DATE, VR::DA, ""),
            (tags::ACQUISITION_DATE_TIME, VR::DT, ""),
            (tags::STUDY_TIME, VR::TM, "120000"),
            (tags::CONTENT_TIME, VR::TM, ""),
            (tags::ACCESSION_NUMBER, VR::SH, ""),
            (tags::MODALITY, VR::CS, "OT"),
            (tags::CONVERSION_TYPE, VR::CS, "SYN"),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Doctor Doc"),
            (tags::PATIENT_NAME, VR::PN, "Anony Mous"),
            (tags::PATIENT_ID, VR::LO, "ID1"),
            (tags::PATIENT_BIRTH_DATE, VR::DA, ""),
            (tags::PATIENT_SEX, VR::CS, "F"),
            (tags::PATIENT_AGE, VR::AS, "024Y"),
            (tags::PATIENT_POSITION, VR::CS, ""),
            (tags::STUDY_ID, VR::SH, "1"),
            (tags::PATIENT_ORIENTATION, VR::CS, ""),
            (tags::LATERALITY, VR::CS, ""),
            (tags::PIXEL_SPACING, VR::DS, "1\\1"),
        ];
        let own = [
            (tags::SOP_INSTANCE_UID, VR::UI, uid(self.instance)),
            (tags::STUDY_INSTANCE_UID, VR::UI, uid(STUDY)),
            (tags::SERIES_INSTANCE_UID, VR::UI, uid(self.series)),
            (tags::SERIES_NUMBER, VR::IS, self.series_number.to_string()),
            (
                tags::INSTANCE_NUMBER,
                VR::IS,
                self.instance_number.to_string(),
            ),
            (tags::IMAGE_COMMENTS, VR::LT, self.title.to_owned()),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB".to_owned()),
        ];
        row.into_iter()
            .map(|(tag, vr, value)| (tag, vr, value.to_owned()))
            .chain(own)
            .collect()
    }

    /// Attributes of VR US.
    fn numbers() -> [(Tag, u16); 10] {
        [
            (tags::SAMPLES_PER_PIXEL, 3),
            (tags::PLANAR_CONFIGURATION, 0),
            (tags::ROWS, ROWS),
            (tags::COLUMNS, COLUMNS),
            (tags::BITS_ALLOCATED, 8),
            (tags::BITS_STORED, 8),
            (tags::HIGH_BIT, 7),
            (tags::PIXEL_REPRESENTATION, 0),
            (tags::SMALLEST_IMAGE_PIXEL_VALUE, 0),
            (tags::LARGEST_IMAGE_PIXEL_VALUE, 255),
        ]
    }

    /// Interleaved RGB, row by row: 3 × columns × rows bytes, an odd number; the writer pads it.
    fn pixels(&self) -> Vec<u8> {
        (0..ROWS)
            .flat_map(|row| (0..COLUMNS).map(move |column| (column, row)))
            .flat_map(|(column, row)| {
                if self.shape.covers(column, row) {
                    self.color
                } else {
                    BACKGROUND
                }
            })
            .collect()
    }

    /// This sample's line of `dicom-metadata.csv`.
    fn csv(&self) -> String {
        let Self {
            name,
            title,
            series_number,
            instance_number,
            ..
        } = self;
        let (study, series, instance) = (uid(STUDY), uid(self.series), uid(self.instance));
        let class = uids::SECONDARY_CAPTURE_IMAGE_STORAGE;
        format!(
            "ISO_IR 192,DERIVED,{class},{instance},20200922,,,120000,,,OT,SYN,Doctor Doc,Anony Mous,ID1,,F,024Y,,\
             {study},{series},1,{series_number},{instance_number},,,{title},3,RGB,0,{ROWS},{COLUMNS},1,8,8,7,0,0,255,\
             dcms/{name}.dcm,1,SECONDARY,OTHER,1,1"
        )
    }
}

impl Shape {
    /// Whether the shape covers a pixel. Coordinates are doubled, so that the center of the image is a whole number.
    fn covers(self, column: u16, row: u16) -> bool {
        let x = 2 * i64::from(column) - i64::from(COLUMNS - 1);
        let y = 2 * i64::from(row) - i64::from(ROWS - 1);
        match self {
            Self::Square => x.abs() <= 500 && y.abs() <= 500,
            Self::Circle => x * x + y * y <= 600 * 600,
            // Apex up: as wide at each row as that row is below the apex.
            Self::Triangle => (-500..=500).contains(&y) && 2 * x.abs() <= y + 500,
        }
    }
}

/// `dicom-metadata.csv`: what is in the samples, as a table.
pub(crate) fn table() -> String {
    let lines: Vec<String> = SAMPLES.iter().map(Sample::csv).collect();
    format!("{CSV_COLUMNS}\n{}\n", lines.join("\n"))
}

fn uid(suffix: &str) -> String {
    format!("{ROOT}.{suffix}")
}

fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dcms");
    for sample in &SAMPLES {
        let path = folder.join(format!("{}.dcm", sample.name));
        fs::write(&path, sample.file()?).with_context(|| format!("writing {}", path.display()))?;
    }
    fs::write(folder.join("dicom-metadata.csv"), table()).context("writing dicom-metadata.csv")?;
    Ok(())
}
