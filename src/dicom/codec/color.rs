//! Color: from luminance and color differences to red, green, blue.
//!
//! The equations are those of PS3.3 §C.7.6.3.1.2, in 16-bit fixed point with rounding.

use super::error::CodecError;
use super::shape::{DecodedFrame, Photometric};

/// Fractional bits of the coefficients.
const FRACTION: u32 = 16;

/// Factors for (luminance, Cr to red, Cb to green, Cr to green, Cb to blue), scaled by 2^16.
struct Matrix {
    luminance: i64,
    red: i64,
    green_cb: i64,
    green_cr: i64,
    blue: i64,
    /// Black level as a fraction of 256.
    black: i64,
}

const FULL: Matrix = Matrix {
    luminance: 65_536,
    red: 91_881,
    green_cb: -22_554,
    green_cr: -46_802,
    blue: 116_130,
    black: 0,
};

const PARTIAL: Matrix = Matrix {
    luminance: 76_309,
    red: 104_597,
    green_cb: -25_675,
    green_cr: -53_279,
    blue: 132_201,
    black: 16,
};

impl Matrix {
    fn apply(&self, [y, cb, cr]: [u16; 3], bits: u32) -> [u16; 3] {
        let half = 1_i64 << (bits - 1);
        let black = (self.black << bits) >> 8;
        let y = (i64::from(y) - black) * self.luminance + (1 << (FRACTION - 1));
        let (cb, cr) = (i64::from(cb) - half, i64::from(cr) - half);
        [
            y + cr * self.red,
            y + cb * self.green_cb + cr * self.green_cr,
            y + cb * self.blue,
        ]
        .map(|sum| u16::try_from((sum >> FRACTION).clamp(0, (1 << bits) - 1)).unwrap_or(u16::MAX))
    }
}

/// Turns a YBR frame into RGB; frames that are not YBR are returned as they are.
///
/// Frames of 8 and 16 bits allocated; 2^Bits Stored is the range. Rounding makes this step lossy, so
/// it is for rendering and for syntaxes that cannot hold YBR, never for a lossless transcoding.
///
/// # Errors
/// [`CodecError::InvalidShape`] when samples are not unsigned 8 or 16-bit.
pub fn ybr_to_rgb(frame: DecodedFrame) -> Result<DecodedFrame, CodecError> {
    let matrix = match frame.shape.photometric {
        Photometric::YbrFull | Photometric::YbrFull422 => &FULL,
        Photometric::YbrPartial420 | Photometric::YbrPartial422 => &PARTIAL,
        _ => return Ok(frame),
    };
    convert(frame, matrix)
}

fn convert(mut frame: DecodedFrame, matrix: &Matrix) -> Result<DecodedFrame, CodecError> {
    let bits = u32::from(frame.shape.bits_stored);
    if frame.shape.samples != 3 || frame.shape.signed {
        return Err(CodecError::InvalidShape {
            reason: "YBR pixels are three unsigned samples",
        });
    }
    match frame.shape.bits_allocated {
        8 => {
            let (pixels, _) = frame.data.as_chunks_mut::<3>();
            for pixel in pixels {
                let rgb = matrix.apply(pixel.map(u16::from), bits);
                *pixel = rgb.map(|sample| u8::try_from(sample).unwrap_or(u8::MAX));
            }
        }
        16 => {
            let (pixels, _) = frame.data.as_chunks_mut::<6>();
            for pixel in pixels {
                let &mut [a, b, c, d, e, f] = pixel;
                let ybr = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
                let [r, g, b] = matrix.apply(ybr, bits).map(u16::to_le_bytes);
                *pixel = [r[0], r[1], g[0], g[1], b[0], b[1]];
            }
        }
        _ => {
            return Err(CodecError::InvalidShape {
                reason: "YBR pixels have 8 or 16 bits allocated",
            });
        }
    }
    frame.shape.photometric = Photometric::Rgb;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::super::shape::FrameShape;
    use super::*;

    fn frame(photometric: Photometric, bits: u16, data: Vec<u8>) -> DecodedFrame {
        let shape = FrameShape {
            rows: 1,
            columns: u32::try_from(data.len()).unwrap() / (3 * u32::from(bits / 8)),
            samples: 3,
            bits_allocated: bits,
            bits_stored: bits,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar: false,
            photometric,
        };
        DecodedFrame { shape, data }
    }

    #[test]
    fn full_range_colors_follow_the_standard() {
        let ybr = vec![
            76, 85, 255, 150, 44, 21, 29, 255, 107, 255, 128, 128, 0, 128, 128,
        ];
        let rgb = ybr_to_rgb(frame(Photometric::YbrFull, 8, ybr)).unwrap();
        assert_eq!(rgb.shape.photometric, Photometric::Rgb);
        let expected = [254, 0, 0, 0, 255, 1, 0, 0, 254, 255, 255, 255, 0, 0, 0];
        for (found, wanted) in rgb.data.iter().zip(expected) {
            assert!(found.abs_diff(wanted) <= 1, "{:?}", rgb.data);
        }
    }

    #[test]
    fn sixteen_bit_gray_stays_gray() {
        let gray = [0x1234_u16, 0x8000, 0x8000];
        let data = gray.iter().flat_map(|v| v.to_le_bytes()).collect();
        let rgb = ybr_to_rgb(frame(Photometric::YbrFull, 16, data)).unwrap();
        assert_eq!(rgb.data, [0x34, 0x12].repeat(3));
    }

    #[test]
    fn partial_range_black_and_white_reach_the_ends() {
        let data = vec![16, 128, 128, 235, 128, 128];
        let rgb = ybr_to_rgb(frame(Photometric::YbrPartial422, 8, data)).unwrap();
        assert_eq!(rgb.data, [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn rgb_is_left_alone_and_odd_shapes_are_refused() {
        let rgb = frame(Photometric::Rgb, 8, vec![1, 2, 3]);
        assert_eq!(ybr_to_rgb(rgb.clone()).unwrap(), rgb);
        let mut signed = frame(Photometric::YbrFull, 8, vec![1, 2, 3]);
        signed.shape.signed = true;
        assert!(ybr_to_rgb(signed).is_err());
    }
}
