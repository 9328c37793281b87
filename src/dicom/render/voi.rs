//! The VOI stage: windows and their three functions (PS3.3 §C.11.2.1).

use super::lut::Lut;

/// VOI LUT Function (0028,1056).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowFunction {
    /// LINEAR, PS3.3 §C.11.2.1.2.1.
    #[default]
    Linear,
    /// `LINEAR_EXACT`, PS3.3 §C.11.2.1.3.2.
    LinearExact,
    /// SIGMOID, PS3.3 §C.11.2.1.3.1.
    Sigmoid,
}

impl WindowFunction {
    /// Reads the attribute's value; anything unknown is LINEAR.
    pub(super) fn from_attribute(value: &str) -> Self {
        match value.trim() {
            "LINEAR_EXACT" => Self::LinearExact,
            "SIGMOID" => Self::Sigmoid,
            _ => Self::Linear,
        }
    }
}

/// One window: a center and a width greater than zero, both finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    center: f64,
    width: f64,
    function: WindowFunction,
    explanation: Option<String>,
}

impl Window {
    /// A window; `None` unless center and width are finite and width positive.
    ///
    /// LINEAR is not defined for widths below 1, which writers of scaled float
    /// values use all the same: such a window is taken as `LINEAR_EXACT`.
    pub fn new(
        center: f64,
        width: f64,
        function: WindowFunction,
        explanation: Option<String>,
    ) -> Option<Self> {
        if !center.is_finite() || !width.is_finite() || width <= 0.0 {
            return None;
        }
        let function = match function {
            WindowFunction::Linear if width < 1.0 => WindowFunction::LinearExact,
            other => other,
        };
        Some(Self {
            center,
            width,
            function,
            explanation,
        })
    }

    /// Window Center & Width Explanation (0028,1055).
    pub fn explanation(&self) -> Option<&str> {
        self.explanation.as_deref()
    }

    /// The output for a modality value, 0 to 1.
    pub(super) fn unit(&self, x: f64) -> f64 {
        let (c, w) = (self.center, self.width);
        match self.function {
            WindowFunction::Linear => {
                if x <= c - 0.5 - (w - 1.0) / 2.0 {
                    0.0
                } else if x > c - 0.5 + (w - 1.0) / 2.0 {
                    1.0
                } else {
                    (x - (c - 0.5)) / (w - 1.0) + 0.5
                }
            }
            WindowFunction::LinearExact => {
                if x <= c - w / 2.0 {
                    0.0
                } else if x > c + w / 2.0 {
                    1.0
                } else {
                    (x - c) / w + 0.5
                }
            }
            WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - c) / w).exp()),
        }
    }

    /// Slope and intercept of the ramp, where the window is one.
    fn ramp(&self) -> Option<(f64, f64)> {
        let (slope, middle) = match self.function {
            WindowFunction::Linear if self.width > 1.0 => {
                (1.0 / (self.width - 1.0), self.center - 0.5)
            }
            WindowFunction::LinearExact => (1.0 / self.width, self.center),
            WindowFunction::Linear | WindowFunction::Sigmoid => return None,
        };
        finite_ramp(slope, 0.5 - middle * slope)
    }
}

/// The VOI transformation chosen for a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Voi {
    /// A window.
    Window(Window),
    /// An item of VOI LUT Sequence (0028,3010).
    Lut(Lut),
    /// Lowest value black, highest white: what a frame without VOI gets.
    Range(f64, f64),
}

impl Voi {
    /// The output for a modality value, 0 to 1.
    pub(super) fn unit(&self, x: f64) -> f64 {
        match self {
            Self::Window(window) => window.unit(x),
            Self::Lut(lut) => lut.unit(x),
            Self::Range(low, high) if high > low => ((x - low) / (high - low)).clamp(0.0, 1.0),
            Self::Range(..) => 0.0,
        }
    }

    /// Slope and intercept, where the whole transformation is a clamped ramp.
    pub(super) fn ramp(&self) -> Option<(f64, f64)> {
        match self {
            Self::Window(window) => window.ramp(),
            Self::Range(low, high) if high > low => {
                let slope = 1.0 / (high - low);
                finite_ramp(slope, -low * slope)
            }
            Self::Range(..) | Self::Lut(_) => None,
        }
    }
}

fn finite_ramp(slope: f64, intercept: f64) -> Option<(f64, f64)> {
    (slope.is_finite() && intercept.is_finite()).then_some((slope, intercept))
}
