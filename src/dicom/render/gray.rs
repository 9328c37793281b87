//! The grayscale pipeline: stored value to gray level (PS3.4 §N.2.1).
//!
//! [`Grayscale::apply`] is the rule; tables for up to 16 bits are filled from it
//! once per frame.

use super::{
    lut::{Lut, Modality},
    voi::Voi,
};

/// The last stage, whose output is the displayed gray level (PS3.3 §C.11.6).
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Display {
    /// Higher values are lighter.
    #[default]
    Identity,
    /// Higher values are darker, as in MONOCHROME1.
    Inverse,
    /// An item of Presentation LUT Sequence (2050,0010).
    Lut(Lut),
}

/// Modality, VOI and presentation stages of one frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grayscale {
    pub(super) modality: Modality,
    pub(super) voi: Voi,
    pub(super) display: Display,
    /// Lowest and highest stored value that stand for "no pixel here".
    pub(super) padding: Option<(f64, f64)>,
}

impl Grayscale {
    /// The gray level of one stored value; padding is black.
    pub(super) fn apply(&self, stored: f64) -> u8 {
        if self.is_padding(stored) {
            return 0;
        }
        let unit = self.voi.unit(self.modality.apply(stored));
        match &self.display {
            Display::Identity => level(unit * 255.0),
            Display::Inverse => 255 - level(unit * 255.0),
            Display::Lut(lut) => level(lut.unit_at_unit(unit) * 255.0),
        }
    }

    /// Gray levels of many stored values.
    pub(super) fn table(&self, stored: impl Iterator<Item = f64>) -> Vec<u8> {
        let Some((slope, intercept)) = self.ramp() else {
            return stored.map(|value| self.apply(value)).collect();
        };
        // A clamped ramp has no branch, which lets the compiler use vectors.
        match self.padding {
            None => stored
                .map(|value| level(slope * value + intercept))
                .collect(),
            Some((low, high)) => stored
                .map(|value| {
                    if value >= low && value <= high {
                        0
                    } else {
                        level(slope * value + intercept)
                    }
                })
                .collect(),
        }
    }

    /// Whether a stored value lies in the padding range.
    pub(super) fn is_padding(&self, stored: f64) -> bool {
        self.padding
            .is_some_and(|(low, high)| stored >= low && stored <= high)
    }

    /// The stages as one ramp from stored value to gray level.
    fn ramp(&self) -> Option<(f64, f64)> {
        let (slope, intercept) = self.voi.ramp()?;
        let (slope, intercept) = match &self.modality {
            Modality::Identity => (slope, intercept),
            Modality::Rescale {
                slope: m,
                intercept: b,
            } => (slope * m, slope * b + intercept),
            Modality::Lut(_) => return None,
        };
        match self.display {
            Display::Identity => Some((slope * 255.0, intercept * 255.0)),
            Display::Inverse | Display::Lut(_) => None,
        }
    }
}

/// The nearest gray level; out of range saturates and NaN is black.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate"
)]
pub(super) fn level(value: f64) -> u8 {
    (value + 0.5) as u8
}
