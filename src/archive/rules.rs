//! What an instance must keep to be stored, by face (dicom-service §3; PS3.18 §10.5 leaves it to the server).

use dicom_core::{Tag, VR};

use super::ingest::reason;
use crate::config::{Limits, Preambles};
use crate::dicom::codec::transfer_syntax::IMPLICIT_LE;
use crate::dicom::instance::{Attribute, Instance};
use crate::dicom::parse::{ElementHeader, ParseOptions};
use crate::dicom::{attributes, query_tag, validate};

pub use crate::dicom::validate::Rules;

/// How a file is parsed under these rules: v2 judges every element and leaves out what breaks its VR.
#[must_use]
pub fn parse_options(rules: Rules, limits: &Limits) -> ParseOptions<'static> {
    let mut options = ParseOptions::default();
    options.limits.inflated = limits.max_inflated_bytes;
    options.plain_preambles = limits.preambles == Preambles::Plain;
    options.limits.elements = limits.max_elements;
    options.limits.kept = limits.max_header_bytes as u64;
    if rules == Rules::V2 {
        options.validate = Some(&judge);
    }
    options
}

fn judge(header: &ElementHeader<'_>, values: &[String], raw: &[u8]) -> Option<String> {
    let problem = validate::element(header.tag, header.vr, raw, values)?;
    // Many devices write more digits than DS allows; without such a Pixel Spacing no viewer could measure.
    let only_precise = header.vr == VR::DS && matches!(problem, validate::ValueProblem::TooLong(_));
    (!only_precise).then(|| problem.to_string())
}

/// `DICOM100: (gggg,eeee) - reason`.
#[must_use]
pub fn comment(tag: Tag, reason: &str) -> String {
    format!(
        "DICOM100: ({:04X},{:04X}) - {reason}",
        tag.group(),
        tag.element()
    )
}

/// Faults of the attributes every instance must have: those that refuse it, and those that are only told.
#[derive(Debug, Default)]
pub struct Validation {
    /// Why it is not stored; empty when it is.
    pub refusals: Vec<String>,
    /// What the answer tells.
    pub warnings: Vec<(Tag, String)>,
}

/// Judges an instance that could be parsed.
#[must_use]
pub fn validate(rules: Rules, instance: &Instance) -> Validation {
    let mut judgement = Validation::default();
    let found = |tag: Tag| instance.attributes.iter().find(|a| a.tag == tag);
    for required in validate::required(rules) {
        // Under v2 a value that broke its VR was left out by the parser, which is not the same as absent.
        let dropped = instance.findings.iter().find(|f| f.tag == required.tag);
        if let Some(dropped) = dropped.filter(|_| found(required.tag).is_none()) {
            judgement.refusals.push(dropped.comment.clone());
            continue;
        }
        let values = found(required.tag).map(|a| a.values.as_slice());
        let Some((severity, problem)) = required.check(values) else {
            continue;
        };
        let text = comment(required.tag, &problem.to_string());
        match severity {
            validate::Severity::Error => judgement.refusals.push(text),
            validate::Severity::Warning => judgement.warnings.push((required.tag, text)),
            validate::Severity::Accepted => {}
        }
    }
    if rules == Rules::V1 {
        judgement
            .refusals
            .extend(instance.attributes.iter().filter_map(indexed_fault));
    }
    judgement
}

/// Under v1 an indexed attribute that breaks its VR refuses the instance.
fn indexed_fault(attribute: &Attribute) -> Option<String> {
    let key =
        attributes::key(attribute.tag).filter(|_| query_tag::CORE.contains(&attribute.tag))?;
    let problem = validate::indexed(key.vr, attribute.vr, &[], &attribute.values)?;
    Some(comment(attribute.tag, &problem.to_string()))
}

/// The warning reason (0008,1196) an instance is stored with.
#[must_use]
pub fn warning(rules: Rules, instance: &Instance) -> Option<u16> {
    match rules {
        Rules::Standard | Rules::V1 => None,
        // The DICOM service says so for every Implicit VR file.
        Rules::V2 if instance.layout.transfer_syntax == IMPLICIT_LE => {
            Some(reason::NOT_MATCHING_CLASS)
        }
        Rules::V2 => (!instance.findings.is_empty()).then_some(reason::ATTRIBUTE_WARNING),
    }
}
