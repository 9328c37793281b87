//! Values of DICOM JSON as bytes in Explicit VR Little Endian (PS3.5 §6.2, PS3.18 §F.2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dicom_core::VR;
use serde_json::Value;

use super::error::ComposeProblem;
use crate::dicom::tag;
use crate::dicom::validate::{self, ValueProblem};

/// The bytes of `InlineBinary`.
pub(super) fn inline(text: &Value) -> Result<Vec<u8>, ComposeProblem> {
    // PS3.18 has a string; some writers put it into a list.
    let text = text.as_str().or_else(|| text.get(0)?.as_str());
    BASE64
        .decode(text.ok_or(ComposeProblem::Base64)?)
        .map_err(|_| ComposeProblem::Base64)
}

/// The bytes of `Value`, not padded.
pub(super) fn encode(vr: VR, values: &[Value]) -> Result<Vec<u8>, ComposeProblem> {
    match vr {
        VR::US => numbers(values, |v| unsigned(v, u16::MAX.into()), 2),
        VR::UL => numbers(values, |v| unsigned(v, u32::MAX.into()), 4),
        VR::UV => numbers(values, |v| unsigned(v, u64::MAX), 8),
        VR::SS => numbers(values, |v| signed(v, i16::MIN.into(), i16::MAX.into()), 2),
        VR::SL => numbers(values, |v| signed(v, i32::MIN.into(), i32::MAX.into()), 4),
        VR::SV => numbers(values, |v| signed(v, i64::MIN, i64::MAX), 8),
        VR::AT => numbers(values, tag, 4),
        VR::FD => numbers(values, |v| Some(float(v)?.to_le_bytes()), 8),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "FL is what it says: 32 bits"
        )]
        VR::FL => {
            let narrow = |v: &Value| {
                let wide = float(v)?;
                let narrow = wide as f32;
                // A number beyond the range is not infinity.
                (narrow.is_finite() || !wide.is_finite()).then(|| widen(narrow.to_le_bytes()))
            };
            numbers(values, narrow, 4)
        }
        VR::PN => joined(vr, values, person_name),
        VR::DS => joined(vr, values, decimal),
        VR::IS => joined(vr, values, integer),
        VR::LT | VR::ST | VR::UT | VR::UR if values.len() > 1 => {
            Err(ComposeProblem::Rule(ValueProblem::Multiplicity))
        }
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ => {
            // Binary values are InlineBinary or BulkDataURI; nothing but emptiness is left.
            if values.is_empty() {
                Ok(Vec::new())
            } else {
                Err(ComposeProblem::Value)
            }
        }
        _ => joined(vr, values, plain),
    }
}

/// Joins texts by backslashes; null is an empty value. Each must be one that its VR has.
fn joined(
    vr: VR,
    values: &[Value],
    text: fn(&Value) -> Option<String>,
) -> Result<Vec<u8>, ComposeProblem> {
    let mut out = Vec::new();
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            out.push(b'\\');
        }
        if !value.is_null() {
            let text = text(value).ok_or(ComposeProblem::Value)?;
            if let Some(problem) = validate::written(vr, &text) {
                return Err(ComposeProblem::Rule(problem));
            }
            out.extend(text.into_bytes());
        }
    }
    Ok(out)
}

/// Longest value of VR DS.
const LONGEST_DECIMAL: usize = 16;

/// A number as DS: as it was written while that fits, else the nearest one that does.
fn decimal(value: &Value) -> Option<String> {
    let number = match value {
        Value::String(text) => {
            let text = text.trim();
            // A text that is no number is judged by the rules of the VR.
            match text.parse::<f64>() {
                Ok(number) if text.len() > LONGEST_DECIMAL => number,
                _ => return Some(text.to_owned()),
            }
        }
        Value::Number(number) => number.as_f64()?,
        _ => return None,
    };
    shortest(number)
}

/// The shortest text that reads back equal, or the nearest one of [`LONGEST_DECIMAL`] characters.
pub(super) fn shortest(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    let exact = [format!("{number}"), format!("{number:e}")];
    let exact = exact.into_iter().find(|text| text.len() <= LONGEST_DECIMAL);
    if exact.is_some() {
        return exact;
    }
    let digits = 0..LONGEST_DECIMAL;
    let texts =
        digits.flat_map(|digits| [format!("{number:.digits$}"), format!("{number:.digits$e}")]);
    let error = |text: &String| {
        let read: f64 = text.parse().unwrap_or(f64::INFINITY);
        (read - number).abs()
    };
    texts
        .filter(|text| text.len() <= LONGEST_DECIMAL)
        .min_by(|a, b| error(a).total_cmp(&error(b)).then(a.len().cmp(&b.len())))
}

/// A whole number as IS; a fraction is none.
fn integer(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        value => Some(value.as_i64().or_else(|| whole(value))?.to_string()),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Names of the component groups, in the order in which a value has them.
pub(super) const GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];

/// `{"Alphabetic": …, "Ideographic": …, "Phonetic": …}`; a bare string is the whole name.
fn person_name(value: &Value) -> Option<String> {
    if let Value::String(name) = value {
        return Some(name.clone());
    }
    let groups = value.as_object()?;
    // What stands under another name would be left out in silence (PS3.18 §F.2.2).
    if groups.keys().any(|key| !GROUPS.contains(&key.as_str())) {
        return None;
    }
    let mut name = String::new();
    for (number, key) in GROUPS.iter().enumerate() {
        if number > 0 {
            name.push('=');
        }
        match groups.get(*key) {
            None | Some(Value::Null) => {}
            // `=` parts the groups: within one it would move the rest to the next.
            Some(Value::String(group)) if !group.contains('=') => name.push_str(group),
            Some(_) => return None,
        }
    }
    name.truncate(name.trim_end_matches('=').len());
    Some(name)
}

/// Little-endian numbers of `width` bytes; null cannot be told in a binary value and is refused.
fn numbers(
    values: &[Value],
    number: impl Fn(&Value) -> Option<[u8; 8]>,
    width: usize,
) -> Result<Vec<u8>, ComposeProblem> {
    let mut out = Vec::with_capacity(values.len() * width);
    for value in values {
        let bytes = number(value).ok_or(ComposeProblem::Value)?;
        out.extend(bytes.iter().take(width));
    }
    Ok(out)
}

fn widen(bytes: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = bytes;
    [a, b, c, d, 0, 0, 0, 0]
}

fn unsigned(value: &Value, most: u64) -> Option<[u8; 8]> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_u64().or_else(|| whole(value)?.try_into().ok())?,
    };
    (number <= most).then(|| number.to_le_bytes())
}

fn signed(value: &Value, least: i64, most: i64) -> Option<[u8; 8]> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_i64().or_else(|| whole(value))?,
    };
    (least..=most)
        .contains(&number)
        .then(|| number.to_le_bytes())
}

/// Languages with one kind of number write 5.0 for 5.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and within 2^53"
)]
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// A number, or the text of one JSON cannot write: `NaN`, `Infinity`, `-Infinity`, `inf`.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    }
}

fn tag(value: &Value) -> Option<[u8; 8]> {
    let tag = tag::from_hex(value.as_str()?)?;
    let ([a, b], [c, d]) = (tag.0.to_le_bytes(), tag.1.to_le_bytes());
    Some(widen([a, b, c, d]))
}
