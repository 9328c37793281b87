//! Which instances may show somebody's name in their pixels, and what is blanked in them.
//!
//! Invariant: pixels that are likely to show text go nowhere unless whoever runs the server said where the text is, or that
//! there is none. That nobody can be recognized in other pixels is promised nowhere.

use serde::Deserialize;

use super::error::DeidentifyRefusal;
use super::facts::InstanceFacts;

/// A part of each frame, counted from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rectangle {
    /// First column, from 0.
    pub x: u32,
    /// First row, from 0.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// What is known of pictures of one kind; texts are compared whole, in any case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PixelRule {
    /// SOP Class UID (0008,0016).
    sop_class: Option<String>,
    /// (0008,0060)
    modality: Option<String>,
    /// (0008,0070)
    manufacturer: Option<String>,
    /// (0008,1090)
    model: Option<String>,
    /// (0028,0010)
    rows: Option<u16>,
    /// (0028,0011)
    columns: Option<u16>,
    /// What is blanked; none says that there is no text.
    rectangles: Vec<Rectangle>,
}

/// Rules about pixels, of which the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelRules {
    rules: Vec<PixelRule>,
}

/// Why a file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PixelRulesError {
    /// It is not JSON of the right shape.
    #[error(
        "the rules about pixels are not JSON of the form {{\"rules\":[{{\"modality\":…,\"rows\":…,\"columns\":…,\"rectangles\":[{{\"x\":…,\"y\":…,\"width\":…,\"height\":…}}]}}]}}"
    )]
    Malformed(#[source] serde_json::Error),
    /// A rule that would fit everything.
    #[error("rule {0} about pixels names neither sopClass nor modality nor model")]
    Everything(usize),
    /// Rectangles of pictures of any size.
    #[error(
        "rule {0} about pixels has rectangles and does not name rows and columns: a rectangle is about pictures of one size"
    )]
    AnySize(usize),
    /// A rectangle that is not within the picture.
    #[error("rule {0} about pixels has a rectangle that is empty or not within rows and columns")]
    Outside(usize),
}

impl PixelRule {
    fn check(&self, number: usize) -> Result<(), PixelRulesError> {
        if self.sop_class.is_none() && self.modality.is_none() && self.model.is_none() {
            return Err(PixelRulesError::Everything(number));
        }
        if self.rectangles.is_empty() {
            return Ok(());
        }
        let (Some(rows), Some(columns)) = (self.rows, self.columns) else {
            return Err(PixelRulesError::AnySize(number));
        };
        let within = |start: u32, length: u32, end: u16| {
            let past = start.checked_add(length);
            length > 0 && past.is_some_and(|past| past <= u32::from(end))
        };
        let fits = |r: &Rectangle| within(r.x, r.width, columns) && within(r.y, r.height, rows);
        match self.rectangles.iter().all(fits) {
            true => Ok(()),
            false => Err(PixelRulesError::Outside(number)),
        }
    }

    fn fits(&self, sop_class: &str, facts: &InstanceFacts) -> bool {
        let text = |wanted: &Option<String>, found: &str| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| wanted.trim().eq_ignore_ascii_case(found))
        };
        text(&self.sop_class, sop_class)
            && text(&self.modality, &facts.modality)
            && text(&self.manufacturer, &facts.manufacturer)
            && text(&self.model, &facts.model)
            && self.rows.is_none_or(|rows| rows == facts.rows)
            && self.columns.is_none_or(|columns| columns == facts.columns)
    }
}

/// Modalities whose pictures usually have text in them, or come from elsewhere (PS3.3 §C.7.3.1.1.1).
const MODALITIES: &[&str] = &[
    "US", "IVUS", "DD", "CD", "EC", "ES", "XC", "GM", "OT", "HC", "FID", "DOC", "BMD",
];

/// SOP classes likewise, behind `1.2.840.10008.5.1.4.1.1.`: ultrasound, secondary capture, visible light.
const CLASSES: &[&str] = &[
    "3", "3.1", "6", "6.1", "6.2", "7", "7.1", "7.2", "7.3", "7.4", "77.1.1", "77.1.1.1",
    "77.1.2.1", "77.1.4", "77.1.4.1",
];

/// Encapsulated PDF, CDA, STL, OBJ, MTL.
const DOCUMENTS: &str = "1.2.840.10008.5.1.4.1.1.104.";

/// Words in values of Image Type that screens, reports and labels have.
const COPIES: &[&str] = &[
    "SCREEN", "SAVE", "DOSE", "REPORT", "LABEL", "OVERVIEW", "PROT",
];
/// Values of Image Type that say how an image was computed of others.
const COMPUTED: &[&str] = &["AXIAL", "MPR", "MIP", "MINIP", "REFORMATTED", "RESAMPLED"];

/// What is blanked in each frame of an instance; nothing where its pixels stay as they are.
pub type Blanks = Vec<Rectangle>;

impl PixelRules {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// [`PixelRulesError`] when it has another shape, or a rule says too little.
    pub fn from_json(text: &str) -> Result<Self, PixelRulesError> {
        let rules: Self = serde_json::from_str(text).map_err(PixelRulesError::Malformed)?;
        for (number, rule) in (1..).zip(&rules.rules) {
            rule.check(number)?;
        }
        Ok(rules)
    }

    /// What is to be blanked.
    pub(super) fn blanks(
        &self,
        sop_class: &str,
        facts: &InstanceFacts,
    ) -> Result<Blanks, DeidentifyRefusal> {
        if sop_class.starts_with(DOCUMENTS) {
            return Err(DeidentifyRefusal::Document);
        }
        if !facts.has_pixels {
            return Ok(Blanks::new());
        }
        if facts.overlay_bits {
            return Err(DeidentifyRefusal::OverlayBits);
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.fits(sop_class, facts)) {
            return Ok(rule.rectangles.clone());
        }
        match risk(sop_class, facts) {
            Some(refusal) => Err(refusal),
            None => Ok(Blanks::new()),
        }
    }
}

/// Why pixels may show text.
fn risk(sop_class: &str, facts: &InstanceFacts) -> Option<DeidentifyRefusal> {
    let is = |text: &str, known: &[&str]| known.iter().any(|k| text.eq_ignore_ascii_case(k));
    if facts.burned_in.eq_ignore_ascii_case("YES") {
        return Some(DeidentifyRefusal::BurnedIn);
    }
    let class = sop_class.strip_prefix("1.2.840.10008.5.1.4.1.1.");
    if class.is_some_and(|class| CLASSES.contains(&class)) || is(&facts.modality, MODALITIES) {
        return Some(DeidentifyRefusal::LikelyText);
    }
    let kind = facts.image_type.to_ascii_uppercase();
    let values: Vec<&str> = kind.split('\\').map(str::trim).collect();
    let copied = values
        .iter()
        .any(|value| COPIES.iter().any(|word| value.contains(word)));
    let computed = is(&facts.modality, &["MR", "PT", "NM"])
        || values.iter().any(|value| COMPUTED.contains(value));
    let secondary = values.contains(&"SECONDARY") && !computed;
    // Who makes images of others says who it is, unless it is a copy.
    let nobody = facts.manufacturer.is_empty()
        && (values.contains(&"SECONDARY") || values.contains(&"DERIVED"));
    let copied = copied || secondary || nobody || !facts.conversion_type.is_empty();
    copied.then_some(DeidentifyRefusal::Copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

    fn image(modality: &str, image_type: &str) -> InstanceFacts {
        InstanceFacts {
            modality: modality.to_owned(),
            image_type: image_type.to_owned(),
            manufacturer: "ACME".to_owned(),
            rows: 480,
            columns: 640,
            has_pixels: true,
            ..InstanceFacts::default()
        }
    }

    #[test]
    fn pictures_with_text_are_refused() {
        let none = PixelRules::default();
        let us = "1.2.840.10008.5.1.4.1.1.6.1";
        let sc = "1.2.840.10008.5.1.4.1.1.7";
        let xa = "1.2.840.10008.5.1.4.1.1.12.1";
        let original = r"ORIGINAL\PRIMARY\AXIAL";
        for (class, facts, expected) in [
            (CT, image("CT", original), None),
            (CT, image("CT", r"DERIVED\SECONDARY\MPR"), None),
            (
                "1.2.840.10008.5.1.4.1.1.4",
                image("MR", r"DERIVED\SECONDARY\ADC"),
                None,
            ),
            (
                us,
                image("US", original),
                Some(DeidentifyRefusal::LikelyText),
            ),
            (
                CT,
                image("us", original),
                Some(DeidentifyRefusal::LikelyText),
            ),
            (
                sc,
                image("CT", original),
                Some(DeidentifyRefusal::LikelyText),
            ),
            (xa, image("XA", r"ORIGINAL\PRIMARY\SINGLE PLANE"), None),
            (
                xa,
                image("XA", r"DERIVED\SECONDARY\SINGLE PLANE"),
                Some(DeidentifyRefusal::Copy),
            ),
            (
                CT,
                image("CT", r"DERIVED\SECONDARY\SCREEN SAVE"),
                Some(DeidentifyRefusal::Copy),
            ),
            (
                CT,
                image("CT", r"derived\primary\dose_info"),
                Some(DeidentifyRefusal::Copy),
            ),
        ] {
            assert_eq!(
                none.blanks(class, &facts).err(),
                expected,
                "{class} {facts:?}"
            );
        }
        let mut facts = image("CT", original);
        facts.burned_in = "Yes".to_owned();
        assert_eq!(none.blanks(CT, &facts), Err(DeidentifyRefusal::BurnedIn));
        let mut facts = image("CT", original);
        facts.conversion_type = "WSD".to_owned();
        assert_eq!(none.blanks(CT, &facts), Err(DeidentifyRefusal::Copy));
        let mut facts = image("CT", r"DERIVED\PRIMARY");
        facts.manufacturer.clear();
        assert_eq!(none.blanks(CT, &facts), Err(DeidentifyRefusal::Copy));
        let mut facts = image("CT", original);
        facts.overlay_bits = true;
        assert_eq!(none.blanks(CT, &facts), Err(DeidentifyRefusal::OverlayBits));
        // Without pixels there is nothing to be seen; a document may have anything in it.
        let mut facts = image("OT", original);
        facts.has_pixels = false;
        assert_eq!(
            none.blanks("1.2.840.10008.5.1.4.1.1.88.11", &facts),
            Ok(vec![])
        );
        let pdf = "1.2.840.10008.5.1.4.1.1.104.1";
        assert_eq!(none.blanks(pdf, &facts), Err(DeidentifyRefusal::Document));
    }

    #[test]
    fn the_first_rule_that_fits_says_what_is_blanked() {
        let rules = r#"{"rules":[
            {"modality":"us","manufacturer":"acme","rows":480,"columns":640,
             "rectangles":[{"x":0,"y":0,"width":640,"height":40}]},
            {"modality":"US","model":"clean","rectangles":[]}]}"#;
        let rules = PixelRules::from_json(rules).unwrap();
        let blanked = rules.blanks(CT, &image("US", "")).unwrap();
        let (width, height) = (640, 40);
        let expected = Rectangle {
            x: 0,
            y: 0,
            width,
            height,
        };
        assert_eq!(blanked, [expected]);
        let mut other = image("US", "");
        other.rows = 481;
        assert_eq!(rules.blanks(CT, &other), Err(DeidentifyRefusal::LikelyText));
        other.model = "Clean".to_owned();
        assert_eq!(rules.blanks(CT, &other), Ok(vec![]));
    }

    #[test]
    fn rules_that_say_too_little_are_refused() {
        let said = |rule: &str| {
            let text = format!(r#"{{"rules":[{rule}]}}"#);
            PixelRules::from_json(&text).unwrap_err().to_string()
        };
        let rectangle = r#"{"x":0,"y":0,"width":8,"height":8}"#;
        assert!(said(r#"{"rectangles":[]}"#).contains("names neither"));
        assert!(said(r#"{"modality":"US"}"#).contains("not JSON of the form"));
        let any = format!(r#"{{"modality":"US","rectangles":[{rectangle}]}}"#);
        assert!(said(&any).contains("one size"));
        for (rows, columns) in [(7, 8), (8, 7)] {
            let outside = format!(
                r#"{{"modality":"US","rows":{rows},"columns":{columns},"rectangles":[{rectangle}]}}"#
            );
            assert!(said(&outside).contains("not within"), "{rows} {columns}");
        }
    }
}
