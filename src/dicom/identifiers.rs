//! The four identifiers every instance must have, as they are come across and as they must be.
//!
//! Invariant: what was read is kept as it stands in the file, so that a failure report can name it.

use dicom_core::{Tag, VR};

use super::error::ParseError;
use super::scan::width;
use super::uid::{self, InstanceName, InstanceUid, SeriesUid, StudyUid, UidError};

/// Identifiers as far as they could be read, as they stand in the file, padding trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identifiers {
    /// (0020,000D)
    pub study: Option<String>,
    /// (0020,000E)
    pub series: Option<String>,
    /// (0008,0018)
    pub instance: Option<String>,
    /// (0008,0016)
    pub sop_class: Option<String>,
}

impl Identifiers {
    /// Whether a top-level element is one of the identifiers.
    pub(crate) fn holds(tag: Tag) -> bool {
        matches!(
            tag,
            Tag(0x0008, 0x0016 | 0x0018) | Tag(0x0020, 0x000D | 0x000E)
        )
    }

    /// Takes the value of a top-level element, if it is one of the identifiers.
    ///
    /// A number under such a tag is no identifier; read as text it would depend on the byte order.
    pub(crate) fn note(&mut self, tag: Tag, vr: VR, bytes: &[u8]) {
        if width(vr) > 1 {
            return;
        }
        let slot = match tag {
            Tag(0x0008, 0x0016) => &mut self.sop_class,
            Tag(0x0008, 0x0018) => &mut self.instance,
            Tag(0x0020, 0x000D) => &mut self.study,
            Tag(0x0020, 0x000E) => &mut self.series,
            _ => return,
        };
        let text = String::from_utf8_lossy(bytes);
        let trimmed = text.trim_end_matches([' ', '\0']);
        *slot = (!trimmed.is_empty()).then(|| trimmed.to_owned());
    }

    /// The identifiers an instance must have.
    pub(crate) fn check(&self) -> Result<(InstanceName, String), ParseError> {
        fn parse<T>(
            read: &Identifiers,
            tag: Tag,
            text: Option<&String>,
            parse: impl Fn(&str) -> Result<T, UidError>,
        ) -> Result<T, ParseError> {
            let read = || Box::new(read.clone());
            let text = text.ok_or_else(|| ParseError::Missing { tag, read: read() })?;
            parse(text).map_err(|source| ParseError::BadUid {
                tag,
                read: read(),
                source,
            })
        }
        let sop_class = parse(self, Tag(0x0008, 0x0016), self.sop_class.as_ref(), |text| {
            uid::check_uid(text).map(str::to_owned)
        })?;
        let instance = parse(
            self,
            Tag(0x0008, 0x0018),
            self.instance.as_ref(),
            InstanceUid::parse,
        )?;
        let study = parse(
            self,
            Tag(0x0020, 0x000D),
            self.study.as_ref(),
            StudyUid::parse,
        )?;
        let series = parse(
            self,
            Tag(0x0020, 0x000E),
            self.series.as_ref(),
            SeriesUid::parse,
        )?;
        Ok((
            InstanceName {
                study,
                series,
                instance,
            },
            sop_class,
        ))
    }
}
