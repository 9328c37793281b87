//! Luminance and chrominance to RGB (PS3.3 §C.7.6.3.1.2).

/// How luminance and chrominance are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ybr {
    /// 0 to 255 (`YBR_FULL`).
    Full,
    /// Luminance 16 to 235, chrominance 16 to 240 (`YBR_PARTIAL`).
    Partial,
}

impl Ybr {
    /// The color of one pixel.
    pub(super) fn to_rgb(self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        // Coefficients are scaled by 2^16; `HALF` rounds.
        let (y, red, green_b, green_r, blue) = match self {
            Self::Full => (i32::from(y) << 16, 91_881, 22_554, 46_802, 116_130),
            Self::Partial => (
                (i32::from(y) - 16) * 76_310,
                104_595,
                25_670,
                53_281,
                132_206,
            ),
        };
        [
            clamp(y + red * cr),
            clamp(y - green_b * cb - green_r * cr),
            clamp(y + blue * cb),
        ]
    }

    /// Converts a row of Y CB CR triples in place.
    pub(super) fn convert(self, pixels: &mut [u8]) {
        for pixel in pixels.as_chunks_mut::<3>().0 {
            *pixel = self.to_rgb(pixel[0], pixel[1], pixel[2]);
        }
    }
}

const HALF: i32 = 1 << 15;

fn clamp(scaled: i32) -> u8 {
    u8::try_from(((scaled + HALF) >> 16).clamp(0, 255)).unwrap_or(0)
}
