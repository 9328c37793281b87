//! Studies of a hospital that does not exist: realistic names, dates and modalities, the same for the same number.
//!
//! The archive grows as a real one does: a thousand studies a day, up to the last day; so a larger archive reaches back
//! further, and has more patients.

use std::sync::Arc;

use dicom_core::{Tag, VR};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stowage::dicom::attributes::key;
use stowage::dicom::frames::FrameTable;
use stowage::dicom::instance::{Attribute, FileLayout, Instance, Metadata};
use stowage::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use stowage::index::{BlobPlace, NewInstance, PackedInstance};
use stowage::scope::{Partition, Visible};
use time::{Date, Duration, Month};

/// Studies a day.
const PER_DAY: u64 = 1000;

/// Distinct family names, the first ones far more frequent.
const FAMILIES: u64 = 20_000;

/// One study in words.
#[derive(Debug, Clone)]
pub(crate) struct Study {
    /// Study Instance UID.
    pub(crate) uid: String,
    /// DA.
    pub(crate) date: String,
    /// TM.
    pub(crate) time: String,
    /// Accession Number.
    pub(crate) accession: String,
    /// Patient ID.
    pub(crate) patient_id: String,
    /// Patient's Name.
    pub(crate) patient_name: String,
    /// Modality of its series.
    pub(crate) modality: &'static str,
    birth_date: String,
    sex: &'static str,
    referrer: String,
    description: String,
}

/// The study number `number` of an archive of `total`.
pub(crate) fn study(number: u64, total: u64) -> Study {
    let mut rng = SmallRng::seed_from_u64(number ^ 0x5EED_0000_0000);
    let patients = (total / 3).max(1);
    let patient = rng.random_range(0..patients);
    let mut of_patient = SmallRng::seed_from_u64(patient ^ 0xFACE_0000_0000);
    let (patient_name, sex) = name(&mut of_patient);
    let birth = day(2026, 1, 1) - Duration::days(of_patient.random_range(0..36_000));
    let days_ago = i64::try_from(total.saturating_sub(number + 1) / PER_DAY).unwrap_or(0);
    let modality = modality(&mut rng);
    let part = pick(
        &mut rng,
        &[
            "CHEST", "ABDOMEN", "HEAD", "KNEE", "SPINE", "PELVIS", "HAND", "NECK", "HIP",
            "SHOULDER",
        ],
    );
    let way = pick(
        &mut rng,
        &[
            "ROUTINE",
            "W CONTRAST",
            "WO CONTRAST",
            "FOLLOW UP",
            "EMERGENCY",
        ],
    );
    let mut of_referrer = SmallRng::seed_from_u64(rng.random_range(0..3000) ^ 0xD0C0_0000_0000);
    Study {
        uid: uid(&mut rng),
        date: dicom_date(day(2026, 6, 30) - Duration::days(days_ago)),
        time: format!(
            "{:02}{:02}{:02}",
            rng.random_range(6..22),
            rng.random_range(0..60),
            rng.random_range(0..60)
        ),
        accession: format!("A{:09}", number.wrapping_mul(7919) % 1_000_000_000),
        patient_id: format!("PAT{patient:08}"),
        patient_name,
        modality,
        birth_date: dicom_date(birth),
        sex,
        referrer: name(&mut of_referrer).0,
        description: format!("{modality} {part} {way}"),
    }
}

/// The instances of a study: one or two series of one instance.
pub(crate) fn instances(number: u64, total: u64) -> Vec<NewInstance> {
    let study = study(number, total);
    let mut rng = SmallRng::seed_from_u64(number ^ 0x1257_0000_0000);
    let series = rng.random_range(1..=2);
    (1..=series)
        .map(|number| instance(&study, number, &mut rng))
        .collect()
}

fn instance(study: &Study, series: u32, rng: &mut SmallRng) -> NewInstance {
    let (series_uid, instance_uid) = (uid(rng), uid(rng));
    let number = series.to_string();
    let (attributes, metadata) = walked(&[
        (0x0008_0005, "ISO_IR 192"),
        (0x0008_0016, "1.2.840.10008.5.1.4.1.1.2"),
        (0x0008_0018, &instance_uid),
        (0x0008_0020, &study.date),
        (0x0008_0021, &study.date),
        (0x0008_0030, &study.time),
        (0x0008_0050, &study.accession),
        (0x0008_0060, study.modality),
        (0x0008_0090, &study.referrer),
        (0x0008_1030, &study.description),
        (0x0008_103E, "axial 5 mm"),
        (0x0008_1090, "SCANNER ONE"),
        (0x0010_0010, &study.patient_name),
        (0x0010_0020, &study.patient_id),
        (0x0010_0030, &study.birth_date),
        (0x0010_0040, study.sex),
        (0x0020_000D, &study.uid),
        (0x0020_000E, &series_uid),
        (0x0020_0010, &study.accession),
        (0x0020_0011, &number),
        (0x0020_0013, "1"),
        (0x0028_0010, "512"),
        (0x0028_0011, "512"),
    ]);
    let parsed = "the generator makes valid UIDs";
    let instance = Instance {
        name: InstanceName {
            study: StudyUid::parse(&study.uid).expect(parsed),
            series: SeriesUid::parse(&series_uid).expect(parsed),
            instance: InstanceUid::parse(&instance_uid).expect(parsed),
        },
        sop_class: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        layout: FileLayout {
            transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
            dataset_offset: 344,
            deflated: false,
            dataset_length: 525_656,
            part10: true,
        },
        attributes,
        metadata,
        bulk: Vec::new(),
        frames: FrameTable::default(),
        pixel: None,
        findings: Vec::new(),
    };
    let packed = PackedInstance::new(&instance, &[], None).expect("memory");
    NewInstance {
        visible: Visible::All,
        partition: Partition::DEFAULT,
        digest: *blake3::hash(instance_uid.as_bytes()).as_bytes(),
        place: BlobPlace {
            key: format!(
                "{:02x}/{}/{series_uid}/{instance_uid}.1.dcm",
                rng.random::<u8>(),
                study.uid
            ),
            offset: 0,
            length: 526_000,
            blocks: None,
        },
        packed: Arc::new(packed),
        replaces: None,
        condition: None,
        expires: None,
        restores: false,
    }
}

fn walked(values: &[(u32, &str)]) -> (Vec<Attribute>, Metadata) {
    let mut text = String::from("{");
    let mut attributes = Vec::new();
    for (number, value) in values {
        let tag = Tag::from(((number >> 16) as u16, (number & 0xFFFF) as u16));
        let vr = key(tag).map_or(VR::LO, |key| key.vr);
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&format!("\"{number:08X}\":"));
        let start = text.len();
        let json = match vr {
            VR::PN => format!("{{\"Alphabetic\":\"{value}\"}}"),
            VR::IS | VR::US => (*value).to_owned(),
            _ => format!("\"{value}\""),
        };
        text.push_str(&format!(
            "{{\"vr\":\"{}\",\"Value\":[{json}]}}",
            vr.to_string()
        ));
        attributes.push(Attribute {
            tag,
            vr,
            values: vec![(*value).to_owned()],
            json: start..text.len(),
        });
    }
    text.push('}');
    let metadata = Metadata {
        text,
        ..Metadata::default()
    };
    (attributes, metadata)
}

/// A name and the sex that goes with it.
fn name(rng: &mut SmallRng) -> (String, &'static str) {
    // Squared: few names are frequent, many are rare.
    let drawn = rng.random::<f64>();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 up to the number of families"
    )]
    let family = family(((drawn * drawn) * FAMILIES as f64) as u64);
    let (given, sex) = if rng.random_bool(0.5) {
        (
            pick(
                rng,
                &[
                    "ANNA", "MARIA", "EMMA", "LAURA", "SOFIA", "JULIA", "CLARA", "LEA", "NINA",
                    "EVA", "IDA", "RUTH", "MAYA", "ELLEN", "IRIS",
                ],
            ),
            "F",
        )
    } else {
        (
            pick(
                rng,
                &[
                    "JOHN", "PETER", "PAUL", "LUCAS", "DAVID", "THOMAS", "SIMON", "KARL", "OSCAR",
                    "HUGO", "IVAN", "AMIR", "NOAH", "JONAS", "ERIK",
                ],
            ),
            "M",
        )
    };
    let middle = char::from(b'A' + rng.random_range(0..26));
    (format!("{family}^{given}^{middle}"), sex)
}

/// The family name number `number`; the first one is the most frequent.
fn family(number: u64) -> String {
    const STARTS: [&str; 40] = [
        "SMI", "MÜL", "GAR", "JOHN", "NOV", "IVAN", "KOW", "ROS", "SIL", "HAN", "LIND", "BERG",
        "DUB", "MOR", "FISCH", "WEB", "SCHMI", "BECK", "HOFF", "KRAUS", "LEH", "WAG", "ZIM",
        "BRAND", "VOG", "PET", "AND", "NIEL", "CAR", "DIM", "POP", "TAN", "NAK", "YAM", "SUZ",
        "KIM", "PAR", "NGU", "TR", "ÖZ",
    ];
    const MIDDLES: [&str; 25] = [
        "", "TH", "L", "E", "SON", "A", "O", "I", "EN", "ER", "AN", "IN", "OV", "EL", "AR", "ES",
        "IT", "UR", "OM", "AS", "IL", "ET", "OR", "UN", "AD",
    ];
    const ENDS: [&str; 20] = [
        "", "ER", "SEN", "MANN", "SKI", "EZ", "OVA", "INI", "AUER", "STEIN", "FELD", "BACH",
        "WITZ", "DOTTIR", "OTO", "ADA", "MOTO", "YEN", "OGLU", "IDIS",
    ];
    let number = usize::try_from(number).unwrap_or(0);
    let (start, middle, end) = (number % 40, (number / 40) % 25, (number / 1000) % 20);
    format!("{}{}{}", STARTS[start], MIDDLES[middle], ENDS[end])
}

fn modality(rng: &mut SmallRng) -> &'static str {
    match rng.random_range(0..1000) {
        0..280 => "CT",
        280..480 => "MR",
        480..730 => "DX",
        730..880 => "US",
        880..930 => "MG",
        930..960 => "XA",
        960..980 => "NM",
        980..998 => "PT",
        _ => "ES",
    }
}

fn uid(rng: &mut SmallRng) -> String {
    format!(
        "1.2.826.0.1.3680043.8.498.{}",
        rng.random_range(10_u128.pow(37)..10_u128.pow(38))
    )
}

fn pick(rng: &mut SmallRng, values: &[&'static str]) -> &'static str {
    values[rng.random_range(0..values.len())]
}

fn day(year: i32, month: u8, day: u8) -> Date {
    let month = Month::try_from(month).unwrap_or(Month::January);
    Date::from_calendar_date(year, month, day).unwrap_or(Date::MIN)
}

fn dicom_date(date: Date) -> String {
    format!(
        "{:04}{:02}{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}
