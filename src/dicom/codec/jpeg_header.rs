//! The marker segments of a JPEG stream, read before any decoder sees it.
//!
//! Gives size, precision and components of the one frame header, and the marks that decide color.
//! Reading is linear and never leaves the bytes.

use super::error::CodecError;
use super::shape::CodestreamShape;
use super::transfer_syntax::Coding;

/// Start of image.
const SOI: [u8; 2] = [0xff, 0xd8];
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP14: u8 = 0xee;

/// What the codestream says of itself (ITU-T T.81 annex B).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JpegHeader {
    /// The low byte of the frame marker: 0xC0 baseline to 0xCF.
    pub frame: u8,
    pub precision: u8,
    pub rows: u16,
    pub columns: u16,
    pub components: Vec<Component>,
    /// The first coefficient of the first scan; in lossless streams the predictor.
    pub selection: u8,
    /// A JFIF segment is present, which means YCbCr.
    pub jfif: bool,
    /// The transform of the Adobe segment: 0 none, 1 YCbCr.
    pub adobe: Option<u8>,
}

/// One component of the frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    pub id: u8,
    /// Horizontal and vertical sampling, four bits each.
    pub sampling: u8,
}

/// One marker segment: the marker's low byte, where it starts, and its content.
struct JpegSegment<'a> {
    marker: u8,
    start: usize,
    content: &'a [u8],
}

/// Walks the segments; entropy-coded data are skipped.
struct JpegSegments<'a> {
    bytes: &'a [u8],
    at: usize,
    ended: bool,
}

impl<'a> JpegSegments<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: SOI.len(),
            ended: false,
        }
    }

    /// Moves to the next marker, over fill bytes, stuffed bytes and restart markers.
    fn next_marker(&mut self) -> Option<(usize, u8)> {
        let rest = self.bytes.get(self.at..)?;
        let offset = rest.windows(2).position(|pair| {
            pair[0] == 0xff && !matches!(pair[1], 0x00 | 0x01 | 0xd0..=0xd8 | 0xff)
        })?;
        let start = self.at + offset;
        Some((start, *self.bytes.get(start + 1)?))
    }
}

impl<'a> Iterator for JpegSegments<'a> {
    type Item = JpegSegment<'a>;

    fn next(&mut self) -> Option<JpegSegment<'a>> {
        if self.ended {
            return None;
        }
        let (start, marker) = self.next_marker()?;
        if marker == EOI {
            self.ended = true;
            return None;
        }
        let [high, low] = *self.bytes.get(start + 2..)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        // A segment that is cut short or too small ends the parser; decoders judge it themselves.
        let content = self.bytes.get(start + 4..start + 2 + length)?;
        self.at = start + 2 + length;
        Some(JpegSegment {
            marker,
            start,
            content,
        })
    }
}

/// Whether a marker starts a frame: 0xC0 to 0xCF without the tables among them.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

impl JpegHeader {
    /// Reads the header of a stream that must hold exactly one frame.
    pub(super) fn read(codestream: &[u8], coding: Coding) -> Result<Self, CodecError> {
        let error = |reason| CodecError::codestream(coding, reason);
        if !codestream.starts_with(&SOI) {
            return Err(error("it does not start with an image"));
        }
        let mut header: Option<Self> = None;
        let (mut jfif, mut adobe, mut scanning, mut selection) = (false, None, false, 0);
        for segment in JpegSegments::new(codestream) {
            match segment.marker {
                marker if is_frame(marker) => {
                    if header.is_some() {
                        return Err(error("it holds more than one frame header"));
                    }
                    let read = frame_header(marker, segment.content);
                    header = Some(read.ok_or_else(|| error("the frame header is cut short"))?);
                }
                SOS if scanning => {}
                SOS => {
                    scanning = true;
                    selection = first_coefficient(segment.content).unwrap_or(0);
                }
                APP0 if !scanning => jfif |= segment.content.starts_with(b"JFIF\0"),
                APP14 if !scanning && segment.content.starts_with(b"Adobe") => {
                    adobe = segment.content.get(11).copied().or(adobe);
                }
                _ => {}
            }
        }
        let header = header.ok_or_else(|| error("it holds no frame header"))?;
        if !scanning {
            return Err(error("it holds no scan"));
        }
        Ok(Self {
            jfif,
            adobe,
            selection,
            ..header
        })
    }

    pub(super) fn is_lossless(&self) -> bool {
        matches!(self.frame, 0xc3 | 0xc7 | 0xcb | 0xcf)
    }

    /// What the frame header says of the picture.
    pub(super) fn declared(&self) -> CodestreamShape {
        CodestreamShape {
            rows: u32::from(self.rows),
            columns: u32::from(self.columns),
            components: u32::try_from(self.components.len()).unwrap_or(u32::MAX),
            precision: u32::from(self.precision),
        }
    }

    /// Whether components have different numbers of samples.
    pub(super) fn is_subsampled(&self) -> bool {
        let mut sampling = self.components.iter().map(|component| component.sampling);
        let first = sampling.next();
        sampling.any(|other| Some(other) != first)
    }

    /// Whether the stream itself says its components are RGB or YCbCr; nothing if it does not.
    pub(super) fn is_rgb(&self) -> Option<bool> {
        let ids: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        if ids == *b"RGB" || ids == *b"rgb" {
            return Some(true);
        }
        match self.adobe {
            Some(transform) => Some(transform == 0),
            None => self.jfif.then_some(false),
        }
    }
}

fn first_coefficient(scan: &[u8]) -> Option<u8> {
    let (&count, rest) = scan.split_first()?;
    rest.get(usize::from(count) * 2).copied()
}

fn frame_header(marker: u8, content: &[u8]) -> Option<JpegHeader> {
    let (&[precision, r1, r0, c1, c0, count], rest) = content.split_first_chunk()?;
    let (components, _) = rest.as_chunks::<3>();
    let components: Vec<Component> = components
        .iter()
        .take(usize::from(count))
        .map(|&[id, sampling, _]| Component { id, sampling })
        .collect();
    (components.len() == usize::from(count)).then_some(JpegHeader {
        frame: marker,
        precision,
        rows: u16::from_be_bytes([r1, r0]),
        columns: u16::from_be_bytes([c1, c0]),
        components,
        selection: 0,
        jfif: false,
        adobe: None,
    })
}

/// The stream with one Adobe segment instead of its JFIF and Adobe segments.
///
/// Decoders guess color from these segments; this states it. `transform` is 0 for components that
/// stay as they are and 1 for YCbCr.
pub(super) fn with_adobe_transform(codestream: &[u8], transform: u8) -> Vec<u8> {
    let mut stream = Vec::with_capacity(codestream.len() + 16);
    stream.extend_from_slice(&SOI);
    stream.extend_from_slice(&[0xff, APP14, 0, 14]);
    stream.extend_from_slice(b"Adobe\0\x64\0\0\0\0");
    stream.push(transform);
    let mut kept = SOI.len();
    for segment in JpegSegments::new(codestream).take_while(|segment| segment.marker != SOS) {
        if matches!(segment.marker, APP0 | APP14) {
            stream.extend_from_slice(codestream.get(kept..segment.start).unwrap_or_default());
            kept = segment.start + 4 + segment.content.len();
        }
    }
    stream.extend_from_slice(codestream.get(kept..).unwrap_or_default());
    stream
}

/// The stream with component ids 1, 2, 3 and no Adobe segment: components without a color claim.
pub(super) fn without_color_claim(codestream: &[u8]) -> Vec<u8> {
    let mut stream = codestream.to_vec();
    let mut adobe = None;
    for segment in JpegSegments::new(codestream) {
        let content = segment.start + 4;
        match segment.marker {
            marker if is_frame(marker) => renumber(&mut stream, content + 6, 3),
            SOS => renumber(&mut stream, content + 1, 2),
            APP14 => adobe = Some(segment.start..content + segment.content.len()),
            _ => {}
        }
    }
    if let Some(range) = adobe {
        stream.drain(range);
    }
    stream
}

/// Writes ids 1, 2, 3 at three places `step` bytes apart.
fn renumber(stream: &mut [u8], first: usize, step: usize) {
    for (place, id) in stream.iter_mut().skip(first).step_by(step).zip(1..=3) {
        *place = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: [u8; 10] = [0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0];

    fn stream(segments: &[&[u8]]) -> Vec<u8> {
        [
            &[&SOI[..]],
            segments,
            &[&SCAN, &[0x12, 0xff, 0x00, 0xff, 0xd9]],
        ]
        .concat()
        .concat()
    }

    fn frame(marker: u8, ids: &[u8]) -> Vec<u8> {
        let count = u8::try_from(ids.len()).unwrap();
        let mut segment = vec![0xff, marker, 0, 8 + 3 * count, 8, 0, 5, 1, 0, count];
        for id in ids {
            segment.extend_from_slice(&[*id, 0x11, 0]);
        }
        segment
    }

    fn read(bytes: &[u8]) -> Result<JpegHeader, CodecError> {
        JpegHeader::read(bytes, Coding::JpegBaseline)
    }

    #[test]
    fn the_frame_header_is_found_behind_other_segments() {
        let bytes = stream(&[&[0xff, 0xfe, 0, 4, 0xff, 0xc0], &[0xff], &frame(0xc1, &[1])]);
        let header = read(&bytes).unwrap();
        assert_eq!((header.rows, header.columns, header.precision), (5, 256, 8));
        assert_eq!(header.frame, 0xc1);
        assert_eq!(header.components.len(), 1);
    }

    #[test]
    fn color_claims_are_ranked() {
        let jfif = b"\xff\xe0\0\x07JFIF\0";
        let adobe = |t| [b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".as_slice(), &[t]].concat();
        let claim = |segments: &[&[u8]]| read(&stream(segments)).unwrap().is_rgb();
        let plain = frame(0xc0, &[1, 2, 3]);
        assert_eq!(claim(&[&plain]), None);
        assert_eq!(claim(&[jfif, &plain]), Some(false));
        assert_eq!(claim(&[&adobe(0), &plain]), Some(true));
        assert_eq!(claim(&[&adobe(1), &plain]), Some(false));
        assert_eq!(claim(&[jfif, &frame(0xc0, b"RGB")]), Some(true));
    }

    #[test]
    fn a_second_frame_header_is_refused_wherever_it_hides() {
        let sof = frame(0xc0, &[1]);
        assert!(read(&stream(&[&sof, &sof])).is_err());
        let after_scan = [
            stream(&[&sof])[..sof.len() + 2 + SCAN.len()].to_vec(),
            sof.clone(),
        ]
        .concat();
        assert!(read(&after_scan).is_err());
    }

    #[test]
    fn cut_streams_are_errors() {
        let whole = stream(&[&frame(0xc0, &[1])]);
        for length in 0..2 + 13 + 4 {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert!(read(&whole).is_ok());
    }

    #[test]
    fn the_color_claim_is_replaced() {
        let sof = frame(0xc0, &[1, 2, 3]);
        let bytes = stream(&[b"\xff\xe0\0\x07JFIF\0", b"\xff\xfe\0\x03c", &sof]);
        let claimed = with_adobe_transform(&bytes, 0);
        let header = read(&claimed).unwrap();
        assert!(!header.jfif);
        assert_eq!(header.is_rgb(), Some(true));
        assert!(claimed.windows(3).any(|w| w == b"\0\x03c"));
        let numbered = without_color_claim(&stream(&[&frame(0xc3, b"RGB")]));
        let ids: Vec<u8> = read(&numbered)
            .unwrap()
            .components
            .iter()
            .map(|c| c.id)
            .collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}
