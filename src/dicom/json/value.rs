//! Single values: binary numbers in either byte order, padding, decimal strings.
//!
//! Invariant: what leaves [`json_number`] is a JSON number equal to the decimal string.

use std::borrow::Cow;

use dicom_core::{Tag, VR};

use crate::dicom::charset::{self, Charset};
use crate::dicom::endian::{swap, swap_width, width};
use crate::dicom::tag;

/// One binary value.
pub(super) enum Number {
    Signed(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Tag(Tag),
}

impl Number {
    /// Reads a chunk of exactly [`width`] bytes; a shorter one reads as zero.
    pub(super) fn read(vr: VR, big: bool, chunk: &[u8]) -> Self {
        fn fixed<const N: usize>(chunk: &[u8], big: bool) -> [u8; N] {
            let mut bytes: [u8; N] = chunk.first_chunk().copied().unwrap_or([0; N]);
            if big {
                bytes.reverse();
            }
            bytes
        }
        match vr {
            VR::SS => Self::Signed(i16::from_le_bytes(fixed(chunk, big)).into()),
            VR::SL => Self::Signed(i32::from_le_bytes(fixed(chunk, big)).into()),
            VR::SV => Self::Signed(i64::from_le_bytes(fixed(chunk, big))),
            VR::US => Self::Unsigned(u16::from_le_bytes(fixed(chunk, big)).into()),
            VR::UL => Self::Unsigned(u32::from_le_bytes(fixed(chunk, big)).into()),
            VR::FL => Self::Single(f32::from_le_bytes(fixed(chunk, big))),
            VR::FD => Self::Double(f64::from_le_bytes(fixed(chunk, big))),
            VR::AT => {
                let group = u16::from_le_bytes(fixed(chunk, big));
                let element = chunk.get(2..).unwrap_or_default();
                Self::Tag(Tag(group, u16::from_le_bytes(fixed(element, big))))
            }
            _ => Self::Unsigned(u64::from_le_bytes(fixed(chunk, big))),
        }
    }
}

/// JSON has no number for these; the words are those of JavaScript, which .NET, Python and Rust read as well.
pub(super) fn not_finite(value: f64, quoted: bool) -> &'static str {
    let text = if value.is_nan() {
        "\"NaN\""
    } else if value > 0.0 {
        "\"Infinity\""
    } else {
        "\"-Infinity\""
    };
    if quoted { text } else { text.trim_matches('"') }
}

/// The values of an element as text: for the index and for validation.
///
/// Padding is trimmed, empty values are kept, numbers become decimal text and tags eight hex digits; binary values (O*, UN)
/// and sequences give nothing.
#[must_use]
pub fn values(vr: VR, big: bool, bytes: &[u8], charset: &Charset) -> Vec<String> {
    match vr {
        VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN | VR::SQ => Vec::new(),
        VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::FL | VR::FD | VR::AT => bytes
            .chunks_exact(usize::try_from(width(vr)).unwrap_or(1))
            .map(|chunk| match Number::read(vr, big, chunk) {
                Number::Signed(value) => value.to_string(),
                Number::Unsigned(value) => value.to_string(),
                Number::Single(value) if value.is_finite() => {
                    ryu::Buffer::new().format_finite(value).to_owned()
                }
                Number::Double(value) if value.is_finite() => {
                    ryu::Buffer::new().format_finite(value).to_owned()
                }
                Number::Single(value) => not_finite(value.into(), false).to_owned(),
                Number::Double(value) => not_finite(value, false).to_owned(),
                Number::Tag(tag) => tag::hex(tag),
            })
            .collect(),
        _ if bytes.is_empty() => Vec::new(),
        _ => {
            let text = charset.decode(vr, bytes);
            let clean = |part: &str| trim(vr, part.trim_end_matches(['\0', ' '])).to_owned();
            if charset::splits(vr) {
                text.split('\\').map(clean).collect()
            } else {
                vec![clean(&text)]
            }
        }
    }
}

/// Drops the padding of one value: spaces at both ends where they mean nothing, else at the end only (PS3.5 §6.2).
///
/// NUL is the padding of UI, and of many writers that pad other texts as they pad UIDs.
pub(super) fn trim(vr: VR, value: &str) -> &str {
    let value = value.trim_end_matches(['\0', ' ']);
    match vr {
        VR::LT | VR::ST | VR::UT | VR::UR | VR::UC | VR::UI => value,
        _ => value.trim_start_matches(' '),
    }
}

/// A decimal or integer string as JSON number, digits as they are; none when it is no finite number.
///
/// A leading plus, leading zeros and a bare point are legal in DS and IS but not in JSON.
pub(super) fn json_number(value: &str) -> Option<Cow<'_, str>> {
    let (sign, unsigned) = match value.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", value.strip_prefix('+').unwrap_or(value)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let bare = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if bare.is_empty() || !digits(bare) {
            return None;
        }
    }
    if (exponent.is_some() || value.len() > 300) && !value.parse::<f64>().is_ok_and(f64::is_finite)
    {
        return None;
    }
    let stripped = whole.trim_start_matches('0');
    let short = if stripped.is_empty() { "0" } else { stripped };
    let point_is_bare = mantissa.contains('.') && fraction.is_empty();
    if short.len() == whole.len() && !point_is_bare && !value.starts_with('+') {
        return Some(Cow::Borrowed(value));
    }
    let mut number = format!("{sign}{short}");
    if !fraction.is_empty() {
        number.push('.');
        number.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        number.push('e');
        number.push_str(exponent);
    }
    Some(Cow::Owned(number))
}

/// The bytes in little endian order, as `InlineBinary` wants them (PS3.18 §F.2.7).
pub(super) fn little_endian(vr: VR, big: bool, bytes: &[u8]) -> Cow<'_, [u8]> {
    let width = swap_width(vr);
    if !big || width == 1 {
        return Cow::Borrowed(bytes);
    }
    let mut swapped = bytes.to_vec();
    swap(&mut swapped, width);
    Cow::Owned(swapped)
}
