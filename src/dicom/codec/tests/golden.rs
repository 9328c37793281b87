//! Small codestreams of other encoders, for syntaxes whose decoders should not be tested by our own streams alone.
//!
//! `OpenJPH` 0.26.3 wrote the High-Throughput JPEG 2000 streams, libjxl 0.11.2 those of JPEG XL. All hold a
//! picture of nine rows and eleven columns that the tests compute again.

use super::*;

const HT_GRAY12: &str = "ff4fff51002940000000000b0000000900000000000000000000000b00000009000000000000000000010f01 \
     01ff50000800020000000aff52000c00020001000504044001ff5c0013208890909090909090909090909088 \
     8888ff64001700014f70656e4a50482056657220302e32362e332eff90000a0000000000440001ff93c00026 \
     4bf20507740000c0001340001300faf5038774000efe02877400c0001300a5a5010b7400c00015402a5549a5 \
     828fe28b760000ffd9";

const HT_SIGNED: &str = "ff4fff51002940000000000b0000000900000000000000000000000b00000009000000000000000000018f01 \
     01ff50000800020000000aff52000c00020001000504044001ff5c0013208890909090909090909090909088 \
     8888ff64001700014f70656e4a50482056657220302e32362e332eff90000a0000000000440001ff93c00026 \
     4bfe0207740000c0001340001300faf5038774000efe02877400c0001300a5a5010b7400c00015402a5549a5 \
     828fe28b760000ffd9";

const HT_RGB: &str = "ff4fff51002f40000000000b0000000900000000000000000000000b00000009000000000000000000030701 \
     01070101070101ff500008000200000003ff52000c00020001010504044001ff5c0013205058585858585858 \
     5858585858505050ff64001700014f70656e4a50482056657220302e32362e332eff90000a0000000000c700 \
     01ff93c01280c700877400c01280f300877400c01280f900c77400000000c0096004b0025094010774000601 \
     877400e400877400c0096004b00250ca01077400e9010774009601877400c0096004a08601877400af018774 \
     00c0092004900240e92b7300fe006300fe006300c00940fb004f7400c00940bb004b7400c00a801460800fe0 \
     0b7600c00a80cefb808fe00f7600c00a905a4dfb808fe08b7600c012c015100540e07d0ce40000f000c3a98c \
     e60000fc0121d50ce6000000ffd9";

const HT_LOSSY: &str = "ff4fff51002940000000000b0000000900000000000000000000000b00000009000000000000000000010701 \
     01ff500008000200000020ff52000c00020001000504044000ff5c00232261a9618b618b616e599959995986 \
     51cb51cb51da4a424a424a964220422041d8ff64001700014f70656e4a50482056657220302e32362e332eff \
     90000a0000000000500001ff93c004c081fe0207740000c009a004a03efe02077400a601077400c0130073fe \
     00cb7400c02aa01280bab95bf9616ec8f9b600ea02fdb400c05400ccfe052f5d891600ffd9";

const JXL_LOSSY: &str = "ff0a40609014370200130801006401671328010050a132cab8c1cbb99e2f3f74584cdbb8ced056db1696248a \
     8c639374028724b104326f800400389c98c933ff1e003c40115492484ad48d665dca81ca3f68fd7b9b281a80 \
     30bf6f9bd0c5f032a00108c379832e00";

const JXL_LOSSY_RGB: &str = "ff0a40e0010013080100d001671328010050a132cab8c1cbb99e2f3f74584cdbb8ced056db1696248a8c6393 \
     74028724b10a82b701bf80929e4220e633ef56d6773c322ece1defc50334242a49a4237232bc4fd28a0ab0e1 \
     64c797bff6289975ffb207baf2dca8a2f6a7fb24ac7475c6eb0b4cb5771b743cb5d520e33c402702";

const JXL_12: &str = "ff0a406018142d02080401004c014b12e919e382073000f0785708cc2448acb24a025d595e39b6b4b4b4b4b4 \
     b4b4b4b410044110044110041120080210044110041004411004010441100441004110044110401004411004 \
     100441100401044100";

const JXL_JPEG: &str = "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20000000146a786c7000000000 \
     ff0a406010143702000001046a627264c10d20082d030200848090ab4a000040c851d982a138ff27888c11ca \
     38a714b41f214398a50e32cc40e90e35581f329c7ccc80430e2a2c72d0b003db470dfdfb23cb1c76dc8186a2 \
     fb5f8c71c624976cf2c928a73c33cd35db7c33ce390b3d34d1451b7d34d2494b3d35d5555b7d35d6598b3d36 \
     d9659b7d36da69cb3d37dd75db7d37de790b3e38e1851b7e38e289472ef9e494576ef9e598671ebae8a3935e \
     bae9a7a39e7aecb2cf4e7bedb6df8e7beec10b3f3cf1c51b7f3cf2c9472ffdf4d4576ffdf5d8670f7ef8e28f \
     4f7ef9e69f8f7efaf0c72ffffcf4d76ffffdf8e7ff0ff0030000000b0880e000104a46494600010100000100 \
     01000003000000d46a786c7080000001e05b00100004030c640c640c64feff0e000018000800010000000000 \
     8080258922e3d80969ee300021055684088b0839362ac6a08bc171315e0c3a4678780c40902c49da0647c899 \
     0751b202a0550072c60920e6c3c5108075f00674d443d6db39b77f82fbdef037d05b4b5856f30b293ff726aa \
     3dd2a5c77779939daf8f285611e452349e5a9957e6a94142030c200328e3c7ebc340b21c62823c15561f0000 \
     00000040496201046fbb7a011cee023a6f7f84a40601c17d3beb93d409c1f223a00620d8667d5027";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |d: u8| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap();
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) * 16 + digit(pair[1]))
        .collect()
}

/// Samples of the picture from row and column.
fn samples_of<const WIDTH: usize>(value: impl Fn(i32, i32) -> [u8; WIDTH]) -> Vec<u8> {
    (0..9)
        .flat_map(|y| (0..11).map(move |x| (x, y)))
        .flat_map(|(x, y)| value(x, y))
        .collect()
}

fn low(value: i32) -> u8 {
    value.to_le_bytes()[0]
}

fn ramp(x: i32, y: i32) -> i32 {
    20 + x * 15 + y * 5
}

fn frame(shape: FrameShape, data: Vec<u8>) -> DecodedFrame {
    DecodedFrame::new(shape, data).unwrap()
}

fn twelve_bit() -> DecodedFrame {
    let value = |x, y| {
        u16::try_from((x * 331 + y * 97) % 4096)
            .unwrap()
            .to_le_bytes()
    };
    frame(gray(9, 11, 16, 12, false), samples_of(value))
}

fn smooth() -> DecodedFrame {
    frame(
        gray(9, 11, 8, 8, false),
        samples_of(|x, y| [low(ramp(x, y))]),
    )
}

const XL_JPEG: &str = "1.2.840.10008.1.2.4.111";
const XL: &str = "1.2.840.10008.1.2.4.112";

/// Every stream with its syntax and header, for the tests of damage.
pub(super) fn streams() -> Vec<(&'static str, Vec<u8>, FrameShape)> {
    let color = |photometric| FrameShape {
        photometric,
        ..rgb(9, 11, 8)
    };
    let (twelve, signed) = (gray(9, 11, 16, 12, false), gray(9, 11, 16, 12, true));
    let eight = gray(9, 11, 8, 8, false);
    vec![
        (HT_LOSSLESS, bytes(HT_GRAY12), twelve),
        (HT_RPCL, bytes(HT_SIGNED), signed),
        (HT_LOSSLESS, bytes(HT_RGB), color(Photometric::YbrRct)),
        (HT, bytes(HT_LOSSY), eight),
        (JPEG_XL, bytes(JXL_12), twelve),
        (XL, bytes(JXL_LOSSY), eight),
        (XL, bytes(JXL_LOSSY_RGB), color(Photometric::Xyb)),
        (XL_JPEG, bytes(JXL_JPEG), eight),
    ]
}

#[test]
fn high_throughput_jpeg_2000_gives_every_bit() {
    let twelve = twelve_bit();
    assert_eq!(
        decoded(HT_LOSSLESS, &bytes(HT_GRAY12), &twelve.shape),
        twelve
    );
    let signed = frame(
        gray(9, 11, 16, 12, true),
        samples_of(|x, y| {
            i16::try_from((x * 331 + y * 97) % 4096 - 2048)
                .unwrap()
                .to_le_bytes()
        }),
    );
    assert_eq!(decoded(HT_RPCL, &bytes(HT_SIGNED), &signed.shape), signed);
    let color = frame(
        rgb(9, 11, 8),
        samples_of(|x, y| [low(x * 23), low(y * 27), low(x * y * 3)]),
    );
    let header = FrameShape {
        photometric: Photometric::YbrRct,
        ..color.shape
    };
    assert_eq!(decoded(HT_LOSSLESS, &bytes(HT_RGB), &header), color);
}

#[test]
fn lossy_high_throughput_jpeg_2000_comes_close() {
    let again = decoded(HT, &bytes(HT_LOSSY), &smooth().shape);
    assert!(largest_difference(&again, &smooth()) <= 1);
}

#[test]
fn jpeg_xl_of_twelve_bits_gives_every_bit() {
    let twelve = twelve_bit();
    assert_eq!(decoded(JPEG_XL, &bytes(JXL_12), &twelve.shape), twelve);
}

#[test]
fn lossy_jpeg_xl_comes_close_and_is_rgb() {
    let again = decoded(XL, &bytes(JXL_LOSSY), &smooth().shape);
    assert!(largest_difference(&again, &smooth()) <= 2);
    let color = samples_of(|x, y| {
        let value = ramp(x, y);
        [low(value), low(255 - value), low(128 + x * 4 - y * 3)]
    });
    let color = frame(rgb(9, 11, 8), color);
    let header = FrameShape {
        photometric: Photometric::Xyb,
        ..color.shape
    };
    let again = decoded(XL, &bytes(JXL_LOSSY_RGB), &header);
    assert_eq!(again.shape.photometric, Photometric::Rgb);
    // libjxl itself is off by up to 30 in this small colorful picture.
    assert!(largest_difference(&again, &color) <= 31);
}

#[test]
fn a_recompressed_jpeg_decodes() {
    let again = decoded(XL_JPEG, &bytes(JXL_JPEG), &smooth().shape);
    assert!(largest_difference(&again, &smooth()) <= 3);
}
