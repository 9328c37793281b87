//! The metadata of one instance as it was sent: DICOM JSON or a Native DICOM Model.

use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::ComposeError;
use super::native;

/// Longest metadata of one instance, in bytes.
pub const LONGEST_METADATA: usize = 16 << 20;

/// The metadata of one instance as it was sent.
#[derive(Debug)]
pub enum SentMetadata {
    /// A DICOM JSON object.
    Json(Box<RawValue>),
    /// A Native DICOM Model.
    Xml(Vec<u8>),
}

impl SentMetadata {
    /// Takes a DICOM JSON array of `most` data sets at most apart; a lone object is an array of one.
    ///
    /// # Errors
    /// [`ComposeError::NotADataSet`] when it is neither, or longer.
    pub fn split(text: &[u8], most: u64) -> Result<Vec<Self>, ComposeError> {
        let broken = |error: serde_json::Error| ComposeError::NotADataSet(error.to_string());
        let one = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let objects: Vec<Box<RawValue>> = if one {
            vec![serde_json::from_slice(text).map_err(broken)?]
        } else {
            let mut reader = serde_json::Deserializer::from_slice(text);
            let objects = reader.deserialize_seq(BoundedArray(most)).map_err(broken)?;
            reader.end().map_err(broken)?;
            objects
        };
        Ok(objects.into_iter().map(Self::Json).collect())
    }

    /// Bytes of memory that the data set and the file that is made of it may take, by what stands in the text: a member of an
    /// object costs more than it says.
    #[must_use]
    pub fn weight(&self) -> usize {
        const OBJECT: usize = 800;
        const LIST: usize = 100;
        const VALUE: usize = 140;
        let (text, sum) = match self {
            Self::Json(text) => {
                let text = text.get().as_bytes();
                let (mut sum, mut quoted, mut escaped) = (0_usize, false, false);
                for byte in text {
                    sum = sum.saturating_add(match byte {
                        _ if escaped => {
                            escaped = false;
                            0
                        }
                        b'\\' if quoted => {
                            escaped = true;
                            0
                        }
                        b'"' => {
                            quoted = !quoted;
                            // Half of what a text takes beside its bytes.
                            16
                        }
                        b'{' if !quoted => OBJECT,
                        b'[' if !quoted => LIST,
                        b',' if !quoted => VALUE,
                        _ => 0,
                    });
                }
                (text, sum)
            }
            Self::Xml(text) => {
                let mut sum = 0_usize;
                for at in memchr::memchr_iter(b'<', text) {
                    let name = text.get(at.saturating_add(1)..).unwrap_or_default();
                    sum = sum.saturating_add(match name {
                        [b'/', ..] => 0,
                        [b'V', b'a', b'l', b'u', b'e', b' ' | b'>', ..] => VALUE,
                        _ => OBJECT + VALUE,
                    });
                }
                (text.as_slice(), sum)
            }
        };
        sum.saturating_add(text.len().saturating_mul(3))
    }

    /// The data set; JSON is nested 127 deep at most.
    ///
    /// # Errors
    /// [`ComposeError::NotADataSet`] for another document or one longer than [`LONGEST_METADATA`].
    pub fn read(&self) -> Result<Map<String, Value>, ComposeError> {
        let length = match self {
            Self::Json(text) => text.get().len(),
            Self::Xml(text) => text.len(),
        };
        if length > LONGEST_METADATA {
            let reason = format!(
                "it has more than {LONGEST_METADATA} bytes; send large values as bulk data"
            );
            return Err(ComposeError::NotADataSet(reason));
        }
        match self {
            Self::Json(text) => serde_json::from_str(text.get())
                .map_err(|error| ComposeError::NotADataSet(error.to_string())),
            Self::Xml(text) => native::read(text),
        }
    }
}

/// Reads an array until it is too long: each element takes more memory than it may take in the text.
pub(super) struct BoundedArray(u64);

impl<'de> Visitor<'de> for BoundedArray {
    type Value = Vec<Box<RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of {} data sets at most", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while let Some(object) = elements.next_element()? {
            if objects.len() as u64 >= self.0 {
                return Err(A::Error::invalid_length(objects.len() + 1, &self));
            }
            objects.push(object);
        }
        Ok(objects)
    }
}
