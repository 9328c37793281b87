//! The attributes that have a place of their own in the index, by level: one table for walk, index and search.
//!
//! Invariant: a tag occurs once; `column` names a column of the table of its level.

use dicom_core::{Tag, VR};

/// A level of the query model (PS3.4 §C.6.2, Study Root; patient attributes count as study attributes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueryLevel {
    /// Study, patient included.
    Study,
    /// Series.
    Series,
    /// Instance.
    Instance,
}

/// One indexed or returned attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeKey {
    /// Its tag.
    pub tag: Tag,
    /// Its dictionary VR.
    pub vr: VR,
    /// Its level.
    pub level: QueryLevel,
    /// Column that is searched, if it has one.
    pub column: Option<ColumnSearch>,
}

/// How a column is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSearch {
    /// The text as is.
    Exact(&'static str),
    /// Two columns: `name` holds the trimmed text, `name_norm` the folded one (case, accents, width).
    Text(&'static str),
    /// A person name: `name_norm` holds the folded groups, each wrapped for word search.
    Name(&'static str),
    /// DA as `yyyymmdd` text.
    Date(&'static str),
    /// TM as `hhmmss.ffffff` text, padded to full length.
    Time(&'static str),
    /// IS as a 64-bit number.
    Number(&'static str),
    /// Maintained by the index (counters, modalities in study).
    Computed(&'static str),
}

macro_rules! keys {
    ($($tag:literal $vr:ident $level:ident $column:expr;)*) => {
        /// All attributes with a place in the index, ascending by tag.
        pub const KEYS: &[AttributeKey] = &[$(AttributeKey {
            tag: Tag((($tag as u32) >> 16) as u16, (($tag as u32) & 0xFFFF) as u16),
            vr: VR::$vr, level: QueryLevel::$level, column: $column,
        }),*];
    };
}

use ColumnSearch::{Computed, Date, Exact, Name, Number, Text, Time};

keys! {
    0x0008_0005_u32 CS Instance None;
    0x0008_0016_u32 UI Instance Some(Exact("sop_class_uid"));
    0x0008_0018_u32 UI Instance Some(Exact("sop_instance_uid"));
    0x0008_0020_u32 DA Study Some(Date("study_date"));
    0x0008_0021_u32 DA Series Some(Date("series_date"));
    0x0008_0030_u32 TM Study Some(Time("study_time"));
    0x0008_0031_u32 TM Series None;
    0x0008_0050_u32 SH Study Some(Text("accession_number"));
    0x0008_0056_u32 CS Instance None;
    0x0008_0060_u32 CS Series Some(Exact("modality"));
    0x0008_0061_u32 CS Study Some(Computed("modalities"));
    0x0008_0063_u32 SQ Study None;
    0x0008_0080_u32 LO Series None;
    0x0008_0090_u32 PN Study Some(Name("referring_physician"));
    0x0008_0201_u32 SH Instance None;
    0x0008_1030_u32 LO Study Some(Text("study_description"));
    0x0008_1032_u32 SQ Study None;
    0x0008_103E_u32 LO Series Some(Text("series_description"));
    0x0008_1060_u32 PN Study None;
    0x0008_1080_u32 LO Study None;
    0x0008_1090_u32 LO Series Some(Text("model_name"));
    0x0008_1110_u32 SQ Study None;
    0x0010_0010_u32 PN Study Some(Name("patient_name"));
    0x0010_0020_u32 LO Study Some(Text("patient_id"));
    0x0010_0021_u32 LO Study Some(Text("issuer_of_patient_id"));
    0x0010_0030_u32 DA Study Some(Date("patient_birth_date"));
    0x0010_0040_u32 CS Study Some(Exact("patient_sex"));
    0x0010_1010_u32 AS Study None;
    0x0010_1020_u32 DS Study None;
    0x0010_1030_u32 DS Study None;
    0x0010_2180_u32 SH Study None;
    0x0010_21B0_u32 LT Study None;
    0x0018_0015_u32 CS Series Some(Text("body_part"));
    0x0020_000D_u32 UI Study Some(Exact("study_uid"));
    0x0020_000E_u32 UI Series Some(Exact("series_uid"));
    0x0020_0010_u32 SH Study Some(Text("study_id"));
    0x0020_0011_u32 IS Series Some(Number("series_number"));
    0x0020_0013_u32 IS Instance Some(Number("instance_number"));
    0x0020_0060_u32 CS Series None;
    0x0020_1206_u32 IS Study Some(Computed("series_count"));
    0x0020_1208_u32 IS Study Some(Computed("instance_count"));
    0x0020_1209_u32 IS Series Some(Computed("instance_count"));
    0x0028_0008_u32 IS Instance None;
    0x0028_0010_u32 US Instance None;
    0x0028_0011_u32 US Instance None;
    0x0028_0100_u32 US Instance None;
    0x0040_0244_u32 DA Series Some(Date("pps_start_date"));
    0x0040_0245_u32 TM Series Some(Time("pps_start_time"));
    0x0040_0275_u32 SQ Series None;
}

/// The key of a tag, if it has a place in the index.
#[must_use]
pub fn key(tag: Tag) -> Option<&'static AttributeKey> {
    KEYS.binary_search_by_key(&tag, |k| k.tag)
        .ok()
        .and_then(|i| KEYS.get(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique() {
        assert!(KEYS.windows(2).all(|w| w[0].tag < w[1].tag));
        assert_eq!(key(Tag(0x0010, 0x0010)).unwrap().vr, VR::PN);
        assert!(key(Tag(0x0010, 0x0011)).is_none());
    }
}
