//! What is needed of the metadata of an instance whatever is asked.

use dicom_dictionary_std::tags;

use crate::dicom::members::{self, JsonElement};

/// What is needed of the metadata whatever is asked.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) document: bool,
    pub(super) report: bool,
    pub(super) document_media: Option<String>,
    pub(super) document_length: Option<u64>,
    pub(super) frame_time: Option<f64>,
}

impl Facts {
    pub(super) fn read(metadata: &str) -> std::result::Result<Self, members::Malformed> {
        let [
            document,
            report,
            media,
            length,
            frame_time,
            display_rate,
            cine_rate,
        ] = members::find(
            metadata,
            [
                tags::ENCAPSULATED_DOCUMENT,
                tags::CONTENT_SEQUENCE,
                tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT,
                tags::ENCAPSULATED_DOCUMENT_LENGTH,
                tags::FRAME_TIME,
                tags::RECOMMENDED_DISPLAY_FRAME_RATE,
                tags::CINE_RATE,
            ],
        )?;
        let number =
            |element: Option<JsonElement<'_>>| element?.numbers().next().filter(|n| *n > 0.0);
        let rate = number(display_rate).or_else(|| number(cine_rate));
        Ok(Self {
            document: document.is_some(),
            report: report.is_some(),
            document_media: media.and_then(|m| m.strings().next().map(|m| m.trim().to_owned())),
            document_length: length
                .and_then(|l| l.integers().next())
                .and_then(|l| u64::try_from(l).ok()),
            frame_time: number(frame_time).or_else(|| rate.map(|rate| 1000.0 / rate)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_top_level() {
        let text = r#"{"00081115":{"vr":"SQ","Value":[{"00420011":{"vr":"OB"}}]},"00181063":{"vr":"DS","Value":[0]},
            "00180040":{"vr":"IS","Value":[25]}}"#;
        let facts = Facts::read(text).unwrap();
        assert!(!facts.document && !facts.report);
        assert_eq!(facts.frame_time, Some(40.0));
    }
}
