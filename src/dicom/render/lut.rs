//! Lookup tables of the modality, VOI and presentation stages (PS3.3 §C.11).
//!
//! A [`Lut`] has 1 to 65,536 entries whatever its descriptor claimed, so every
//! input has an output.

/// Entries a descriptor can announce (PS3.3 §C.11.1.1).
pub(super) const MAX_ENTRIES: usize = 65_536;

/// LUT Data (0028,3006) before its descriptor is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LutData {
    /// Bytes of an OB or OW value, little endian.
    Bytes(Vec<u8>),
    /// Numbers of a US value.
    Words(Vec<u16>),
}

impl LutData {
    /// One number per entry: bytes are packed one or two to an entry, by length.
    pub(super) fn words(&self, entries: usize) -> Vec<u16> {
        match self {
            Self::Words(words) => words.iter().copied().take(entries).collect(),
            Self::Bytes(bytes) if bytes.len() < entries.saturating_mul(2) => {
                bytes.iter().map(|&b| u16::from(b)).take(entries).collect()
            }
            Self::Bytes(bytes) => little_endian_words(bytes).take(entries).collect(),
        }
    }
}

/// The 16-bit numbers in `bytes`; an odd last byte is dropped.
pub(super) fn little_endian_words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&pair| u16::from_le_bytes(pair))
}

/// First value of a LUT descriptor: the number of entries, 0 meaning 65,536.
pub(super) fn entry_count(value: i64) -> usize {
    match usize::try_from(value.rem_euclid(65_536)) {
        Ok(0) | Err(_) => MAX_ENTRIES,
        Ok(count) => count,
    }
}

/// Second value of a LUT descriptor, which is US or SS like the data it maps.
pub(super) fn first_mapped(value: i64, signed: bool) -> i32 {
    let low = i32::try_from(value.rem_euclid(65_536)).unwrap_or(0);
    if value < 0 || (signed && low > i32::from(i16::MAX)) {
        low - 65_536
    } else {
        low
    }
}

/// A lookup table: values below and above it take its first and last entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lut {
    first: i32,
    entries: Vec<u16>,
    max: u16,
}

impl Lut {
    /// A table from its descriptor's first mapped value and bits, and its entries.
    ///
    /// `None` when there is no entry. Entries that need more than `bits` bits
    /// (a common error of writers) widen the output range.
    pub fn new(first: i32, bits: u8, mut entries: Vec<u16>) -> Option<Self> {
        entries.truncate(MAX_ENTRIES);
        let largest = *entries.iter().max()?;
        let announced = match bits {
            8..=15 => (1_u16 << bits) - 1,
            _ => u16::MAX,
        };
        Some(Self {
            first,
            entries,
            max: announced.max(largest),
        })
    }

    /// A table from the three values of LUT Descriptor (0028,3002) and its data.
    pub(super) fn from_descriptor(
        descriptor: &[i64],
        data: &LutData,
        signed: bool,
    ) -> Option<Self> {
        let [count, first, bits] = *descriptor.first_chunk::<3>()?;
        Self::new(
            first_mapped(first, signed),
            u8::try_from(bits).unwrap_or(16),
            data.words(entry_count(count)),
        )
    }

    /// The table with the range that its largest entry needs, as viewers read VOI LUTs: descriptors often announce more
    /// bits than the entries use, and then the picture would stay dark.
    pub(super) fn fitted(mut self) -> Self {
        let largest = self.entries.iter().copied().max().unwrap_or(0);
        let bits = (u16::BITS - largest.leading_zeros()).max(8);
        self.max = u16::MAX >> (u16::BITS - bits);
        self
    }

    /// The entry for an input value.
    pub(super) fn at(&self, value: f64) -> u16 {
        self.entry(value - f64::from(self.first))
    }

    /// The entry for an input value, as a fraction of the output range.
    pub(super) fn unit(&self, value: f64) -> f64 {
        f64::from(self.at(value)) / f64::from(self.max)
    }

    /// The entry for a fraction 0 to 1 of the input range, as a fraction.
    pub(super) fn unit_at_unit(&self, fraction: f64) -> f64 {
        let last = u32::try_from(self.entries.len().saturating_sub(1)).unwrap_or(u32::MAX);
        f64::from(self.entry(fraction * f64::from(last))) / f64::from(self.max)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate, and the index is clamped"
    )]
    fn entry(&self, offset: f64) -> u16 {
        let index = (offset.round().max(0.0) as usize).min(self.entries.len().saturating_sub(1));
        self.entries.get(index).copied().unwrap_or(0)
    }
}

/// From stored values to the values a window refers to (PS3.3 §C.11.1).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Modality {
    /// Stored values are used as they are.
    #[default]
    Identity,
    /// Output = slope × stored + intercept.
    Rescale {
        /// Rescale Slope (0028,1053).
        slope: f64,
        /// Rescale Intercept (0028,1052).
        intercept: f64,
    },
    /// Modality LUT Sequence (0028,3000).
    Lut(Lut),
}

impl Modality {
    /// A rescale; identity when it changes nothing or is not a finite mapping.
    pub fn rescale(slope: f64, intercept: f64) -> Self {
        let finite = slope.is_finite() && intercept.is_finite() && slope != 0.0;
        if !finite || (slope == 1.0 && intercept == 0.0) {
            Self::Identity
        } else {
            Self::Rescale { slope, intercept }
        }
    }

    /// The output for one stored value.
    pub(super) fn apply(&self, stored: f64) -> f64 {
        match self {
            Self::Identity => stored,
            Self::Rescale { slope, intercept } => slope * stored + intercept,
            Self::Lut(lut) => f64::from(lut.at(stored)),
        }
    }
}

/// Presentation LUT Shape (2050,0020) or Sequence (2050,0010).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum PresentationLut {
    /// IDENTITY.
    #[default]
    Identity,
    /// INVERSE.
    Inverse,
    /// A table.
    Lut(Lut),
}
