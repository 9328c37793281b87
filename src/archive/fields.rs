//! Which attributes a search returns: one table for the faces and levels (PS3.18 §10.6.3.3, dicom-service §8.5).

use dicom_core::Tag;

use super::services::search::FieldSelection;
use crate::dicom::attributes::QueryLevel;

/// Sets of attributes returned by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// PS3.18 §10.6.3.3 and what viewers miss otherwise.
    Standard,
    /// The long lists of v1.
    ServiceV1,
    /// The short lists of v2.
    ServiceV2,
}

macro_rules! tags {
    ($($tag:literal)*) => { &[$(Tag((($tag as u32) >> 16) as u16, (($tag as u32) & 0xFFFF) as u16)),*] };
}

const STANDARD_STUDY: &[Tag] = tags!(0x00080005 0x00080020 0x00080030 0x00080050 0x00080056 0x00080061 0x00080090
    0x00080201 0x00081030 0x00100010 0x00100020 0x00100021 0x00100030 0x00100040 0x0020000D 0x00200010 0x00201206
    0x00201208);
const STANDARD_SERIES: &[Tag] = tags!(0x00080005 0x00080021 0x00080031 0x00080056 0x00080060 0x00080201 0x0008103E
    0x0020000E 0x00200011 0x00201209 0x00400244 0x00400245 0x00400275);
const STANDARD_INSTANCE: &[Tag] = tags!(0x00080005 0x00080016 0x00080018 0x00080056 0x00080201 0x00200013 0x00280008
    0x00280010 0x00280011 0x00280100);
const REQUIRED_STUDY: &[Tag] = tags!(0x00080020 0x00080030 0x00080050 0x00080090 0x00100010 0x00100020 0x00100030
    0x00100040 0x00200010);
const REQUIRED_SERIES: &[Tag] = tags!(0x00080060 0x00200011);
const REQUIRED_INSTANCE: &[Tag] = tags!(0x00200013);

const V1_STUDY: &[Tag] = tags!(0x00080005 0x00080020 0x00080030 0x00080050 0x00080056 0x00080090 0x00080201 0x00100010
    0x00100020 0x00100030 0x00100040 0x0020000D 0x00200010);
const V1_SERIES: &[Tag] =
    tags!(0x00080005 0x00080060 0x00080201 0x0008103E 0x0020000E 0x00400244 0x00400245 0x00400275);
const V1_INSTANCE: &[Tag] = tags!(0x00080005 0x00080016 0x00080018 0x00080056 0x00080201 0x00200013 0x00280008 0x00280010
    0x00280011 0x00280100);
const V1_STUDY_ALL: &[Tag] = tags!(0x00081030 0x00080063 0x00081032 0x00081060 0x00081080 0x00081110 0x00101010
    0x00101020 0x00101030 0x00102180 0x001021B0);
const V1_SERIES_ALL: &[Tag] = tags!(0x00200011 0x00200060 0x00080021 0x00080031);

const V2_STUDY: &[Tag] =
    tags!(0x00080020 0x00080050 0x00080090 0x00081030 0x00100010 0x00100020 0x00100030 0x0020000D);
const V2_SERIES: &[Tag] = tags!(0x00080060 0x00081090 0x0020000E 0x00400244);
const V2_INSTANCE: &[Tag] = tags!(0x00080018);

/// What a relational search adds: attributes of the levels that the path does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parents {
    /// Study attributes too.
    pub study: bool,
    /// Series attributes too.
    pub series: bool,
}

/// Owned lists behind [`FieldSelection`].
#[derive(Debug, Default)]
pub struct FieldLists {
    default: Vec<Tag>,
    all: Vec<Tag>,
    required: Vec<Tag>,
    own_level_only: bool,
}

impl FieldLists {
    /// The lists of a face at a level.
    #[must_use]
    pub fn new(defaults: Defaults, level: QueryLevel, parents: Parents) -> Self {
        let mut lists = Self {
            own_level_only: defaults == Defaults::Standard,
            ..Self::default()
        };
        lists.add(defaults, level);
        if parents.study && level > QueryLevel::Study {
            lists.add(defaults, QueryLevel::Study);
        }
        if parents.series && level > QueryLevel::Series {
            lists.add(defaults, QueryLevel::Series);
        }
        lists
    }

    fn add(&mut self, defaults: Defaults, level: QueryLevel) {
        let v1 = |level| match level {
            QueryLevel::Study => (V1_STUDY, V1_STUDY_ALL),
            QueryLevel::Series => (V1_SERIES, V1_SERIES_ALL),
            QueryLevel::Instance => (V1_INSTANCE, &[][..]),
        };
        match defaults {
            Defaults::Standard => {
                let (default, required) = match level {
                    QueryLevel::Study => (STANDARD_STUDY, REQUIRED_STUDY),
                    QueryLevel::Series => (STANDARD_SERIES, REQUIRED_SERIES),
                    QueryLevel::Instance => (STANDARD_INSTANCE, REQUIRED_INSTANCE),
                };
                self.default.extend(default);
                self.required.extend(required);
                self.all.extend(super::services::search::keys_of(level));
            }
            Defaults::ServiceV1 | Defaults::ServiceV2 => {
                let (long, more) = v1(level);
                let short = match level {
                    QueryLevel::Study => V2_STUDY,
                    QueryLevel::Series => V2_SERIES,
                    QueryLevel::Instance => V2_INSTANCE,
                };
                self.default.extend(if defaults == Defaults::ServiceV1 {
                    long
                } else {
                    short
                });
                self.all.extend(long.iter().chain(more));
            }
        }
    }

    /// The lists, borrowed.
    #[must_use]
    pub fn fields(&self) -> FieldSelection<'_> {
        FieldSelection {
            default: &self.default,
            all: &self.all,
            required: &self.required,
            own_level_only: self.own_level_only,
        }
    }
}
