//! Damaged codestreams: an error or a picture, never a panic and never more than the frame.

use super::*;

/// A small random generator; the same numbers in every run.
struct DamageSource(u64);

impl DamageSource {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn damaged(whole: &[u8], random: &mut DamageSource) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let at = random.below(bytes.len());
    let header = random.below(bytes.len().min(90));
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[header] = random.byte(),
        2 => bytes[header] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        3 => bytes.truncate(at),
        4 => bytes.insert(at, random.byte()),
        _ => {
            let end = (at + random.below(20)).min(bytes.len());
            bytes[at..end].fill(0xff);
        }
    }
    bytes
}

fn survives(syntax: &str, bytes: &[u8], shape: &FrameShape, random: &mut DamageSource) {
    for _ in 0..200 {
        let bytes = damaged(bytes, random);
        if let Ok(frame) = decode(syntax, &bytes, shape, &FrameLimits::default()) {
            let declared = codestream_shape(syntax, &bytes, shape).unwrap();
            let size = |shape: &FrameShape| (shape.rows, shape.columns, shape.samples);
            assert_eq!(size(&frame.shape), size(&declared));
            assert_eq!(frame.shape.photometric, declared.photometric);
            assert_eq!(frame.data.len() as u64, frame.shape.frame_bytes());
        }
    }
}

#[test]
fn damaged_codestreams_are_errors_or_pictures() {
    let mut random = DamageSource(0x9e37_79b9_7f4a_7c15);
    for syntax in [
        RLE,
        DEFLATED,
        BASELINE,
        FIRST_ORDER,
        JPEG_LS,
        JPEG_LS_NEAR,
        JPEG_2000,
        JPEG_2000_LOSSY,
        HT_LOSSLESS,
        HT_RPCL,
        JPEG_XL,
    ] {
        let frame = picture(rgb(11, 13, 8), TestContent::Noise);
        let encoded = encoded(syntax, &frame);
        survives(syntax, &encoded.bytes, &encoded.shape, &mut random);
    }
    for syntax in [
        EXTENDED,
        FIRST_ORDER,
        JPEG_LS,
        JPEG_2000,
        HT_LOSSLESS,
        JPEG_XL,
        RLE,
    ] {
        let frame = picture(gray(12, 9, 16, 12, false), TestContent::Smooth);
        let encoded = encoded(syntax, &frame);
        survives(syntax, &encoded.bytes, &encoded.shape, &mut random);
    }
    for (syntax, bytes, shape) in golden::streams() {
        survives(syntax, &bytes, &shape, &mut random);
    }
}

#[test]
fn empty_and_foreign_bytes_are_errors() {
    let shape = gray(4, 4, 16, 16, false);
    for coding in Coding::all().filter(|coding| can_decode(coding.uid(), &shape)) {
        for bytes in [
            &[][..],
            &[0],
            &[0xff; 40],
            b"\x89PNG\r\n\x1a\n and more of it",
        ] {
            let result = decode(coding.uid(), bytes, &shape, &FrameLimits::default());
            assert!(
                result.is_err() || coding.is_native() && bytes.len() == 33,
                "{coding} {bytes:?}"
            );
        }
    }
}
