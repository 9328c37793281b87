//! The key and the rules of de-identification, read once at the start.

use super::error::{StartError, chain};
use crate::config::DeidentifyConfig;
use crate::dicom::deidentify::{DeidentifyOptions, DeidentifyProfile, PixelRules, PseudonymKey};

/// Longest file of rules, in bytes.
const LONGEST: u64 = 1 << 20;

/// What the settings name; none without a key.
///
/// # Errors
/// When a file that is named cannot be used.
pub(super) fn deidentification(
    config: &DeidentifyConfig,
) -> Result<Option<DeidentifyProfile>, StartError> {
    let pixels = rules(config)?;
    let Some(secret) = config.key().map_err(|e| StartError::Config(chain(&e)))? else {
        return Ok(None);
    };
    let key = PseudonymKey::new(secret.expose())
        .map_err(|e| StartError::Config(format!("STOWAGE_DEIDENTIFY_KEY_FILE: {e}")))?;
    let options = DeidentifyOptions::default();
    Ok(Some(DeidentifyProfile {
        options,
        key,
        pixels,
        requestable: config
            .deidentify_request_options
            .clone()
            .unwrap_or_default(),
    }))
}

fn rules(config: &DeidentifyConfig) -> Result<PixelRules, StartError> {
    let Some(path) = &config.deidentify_pixels_file else {
        return Ok(PixelRules::default());
    };
    let wrong = |reason: &str| {
        let path = path.display();
        StartError::Config(format!("STOWAGE_DEIDENTIFY_PIXELS_FILE: {path}: {reason}"))
    };
    let metadata = std::fs::metadata(path).map_err(|e| wrong(&e.to_string()))?;
    if metadata.len() > LONGEST {
        return Err(wrong("it is longer than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e.to_string()))?;
    PixelRules::from_json(&text).map_err(|e| wrong(&chain(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn said(key: Option<&str>, pixels: Option<&str>) -> String {
        let (key, pixels) = (key.map(file), pixels.map(file));
        let path = |file: Option<&tempfile::NamedTempFile>| file.map(|f| f.path().to_owned());
        let config = DeidentifyConfig {
            deidentify_key_file: path(key.as_ref()),
            deidentify_pixels_file: path(pixels.as_ref()),
            ..DeidentifyConfig::default()
        };
        match deidentification(&config) {
            Ok(found) => format!("{}", found.is_some()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn files_that_cannot_be_used_stop_the_start() {
        assert_eq!(said(None, None), "false");
        assert_eq!(said(Some("0123456789abcdef\n"), None), "true");
        assert!(said(Some("short"), None).contains("STOWAGE_DEIDENTIFY_KEY_FILE"));
        let rules = r#"{"rules":[{"modality":"US","rectangles":[]}]}"#;
        assert_eq!(said(Some("0123456789abcdef"), Some(rules)), "true");
        let wrong = said(None, Some("{"));
        assert!(wrong.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"), "{wrong}");
    }
}
