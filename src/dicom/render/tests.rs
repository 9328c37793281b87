//! Rendered bytes are decoded again and compared with references computed here.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data is small by construction"
)]

mod annotations;
mod attributes;
mod color;
mod geometry;
mod gray;
mod hostile;
mod output;
mod parameters;
mod presentation;
mod text;

use serde_json::{Value, json};

use super::*;

/// A decoded picture: width, height, bytes per pixel, bytes.
#[derive(Debug, PartialEq)]
struct DecodedPicture {
    width: u32,
    height: u32,
    channels: usize,
    data: Vec<u8>,
    profile: Option<Vec<u8>>,
}

fn read_png(bytes: &[u8]) -> DecodedPicture {
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let mut reader = decoder.read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let channels = if info.color_type == png::ColorType::Grayscale {
        1
    } else {
        3
    };
    let profile = reader
        .info()
        .icc_profile
        .as_ref()
        .map(|profile| profile.to_vec());
    DecodedPicture {
        width: info.width,
        height: info.height,
        channels,
        data,
        profile,
    }
}

fn read_jpeg(bytes: &[u8]) -> DecodedPicture {
    let image = libjpeg_turbo_rs::decompress(bytes).unwrap();
    let (width, height) = (
        u32::try_from(image.width).unwrap(),
        u32::try_from(image.height).unwrap(),
    );
    let channels = image.data.len() / (image.width * image.height);
    DecodedPicture {
        width,
        height,
        channels,
        data: image.data,
        profile: None,
    }
}

fn png_of(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
) -> DecodedPicture {
    read_png(&render(samples, attributes, request, ImageFormat::Png).unwrap())
}

/// Peak signal to noise ratio in dB against a reference that need not be rounded.
fn psnr(reference: &[f64], actual: &[u8]) -> f64 {
    assert_eq!(reference.len(), actual.len());
    let square = |(r, &a): (&f64, &u8)| (r - f64::from(a)).powi(2);
    let mean = reference.iter().zip(actual).map(square).sum::<f64>() / reference.len() as f64;
    10.0 * (255.0_f64.powi(2) / mean.max(1e-12)).log10()
}

/// Pseudo-random numbers, the same in every run.
struct PseudoRandom(u64);

impl PseudoRandom {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn samples(rows: u32, columns: u32, kind: SampleKind, data: &[u8]) -> Samples<'_> {
    let bits_stored = kind.bytes().map_or(1, |bytes| u16::from(bytes) * 8);
    Samples {
        rows,
        columns,
        samples: 1,
        kind,
        bits_stored,
        photometric: SamplePhotometric::Monochrome2,
        data,
    }
}

fn rgb(rows: u32, columns: u32, data: &[u8]) -> Samples<'_> {
    let photometric = SamplePhotometric::Rgb;
    Samples {
        samples: 3,
        photometric,
        ..samples(rows, columns, SampleKind::U8, data)
    }
}

/// Signed 16-bit values with structure and noise, as little endian bytes.
fn ct(rows: u32, columns: u32) -> (Vec<i16>, Vec<u8>) {
    let mut random = PseudoRandom(7);
    let values: Vec<i16> = (0..rows * columns)
        .map(|i| {
            let (x, y) = (f64::from(i % columns), f64::from(i / columns));
            let wave = ((x / 19.0).sin() * (y / 23.0).cos() * 900.0) as i16;
            wave + 100 + random.below(60) as i16
        })
        .collect();
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    (values, bytes)
}

fn words(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Attributes of an instance given as tag, VR, values.
fn instance(elements: &[(&str, &str, Value)]) -> Value {
    let pairs = elements
        .iter()
        .map(|(tag, vr, value)| (String::from(*tag), json!({ "vr": vr, "Value": value })));
    Value::Object(pairs.collect())
}

fn attributes(metadata: &Value) -> RenderAttributes {
    RenderAttributes::from_json(&metadata.to_string(), 1, &|_| None)
}

fn window(center: f64, width: f64, function: WindowFunction) -> Request {
    Request {
        window: Some((center, width, function)),
        ..Request::default()
    }
}

fn viewport(value: &str) -> Request {
    Request {
        viewport: Some(parse_viewport(value).unwrap()),
        ..Request::default()
    }
}
