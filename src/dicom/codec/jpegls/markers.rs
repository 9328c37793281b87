//! Reads the marker segments of a stream: SOI, SOF55, LSE, DRI, SOS, `APPn`, COM, EOI (T.87 Annex C).
//!
//! Invariant: a [`FrameHeader`] and a [`ScanHeader`] hold only values the coder can work with; everything else
//! was refused here. Every loop advances through the bytes, so headers cost at most one pass.

use super::coding::{Presets, RawPresets};
use super::error::Error;
use super::model::{Info, Interleave, MAX_COMPONENTS};

pub(super) const SOI: u8 = 0xD8;
pub(super) const EOI: u8 = 0xD9;
pub(super) const SOS: u8 = 0xDA;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const APP0: u8 = 0xE0;
const APP8: u8 = 0xE8;
const APP15: u8 = 0xEF;
pub(super) const SOF55: u8 = 0xF7;
pub(super) const LSE: u8 = 0xF8;
const COM: u8 = 0xFE;

/// The frame header (T.87 §C.2.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) columns: u16,
    pub(super) rows: u16,
    pub(super) precision: u8,
    pub(super) components: usize,
    identifiers: [u8; MAX_COMPONENTS],
    /// Whether any component has sampling factors other than 1×1.
    sampled: bool,
}

impl FrameHeader {
    pub(super) fn info(&self, near: u8) -> Info {
        Info {
            columns: u32::from(self.columns),
            rows: u32::from(self.rows),
            // 1 to MAX_COMPONENTS.
            components: u8::try_from(self.components).unwrap_or(u8::MAX),
            precision: self.precision,
            near,
        }
    }
}

/// A scan header with the parameters in force (T.87 §C.2.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanHeader {
    pub(super) near: u8,
    pub(super) interleave: Interleave,
    pub(super) presets: Presets,
    /// Lines between restart markers; 0 without them.
    pub(super) restart_lines: u32,
    /// Offset of the entropy-coded data.
    pub(super) data: usize,
    members: [usize; MAX_COMPONENTS],
    count: usize,
}

impl ScanHeader {
    /// The frame's indices of the components in this scan, in coding order.
    pub(super) fn members(&self) -> &[usize] {
        self.members.get(..self.count).unwrap_or_default()
    }
}

/// Reads the headers of a JPEG-LS stream, up to the first scan, without allocating.
///
/// # Errors
/// Whatever [`super::decode()`] would refuse in these headers.
pub fn read_info(bytes: &[u8]) -> Result<Info, Error> {
    let mut reader = MarkerReader::new(bytes)?;
    let (frame, scan) = reader.first_scan()?;
    Ok(frame.info(scan.near))
}

/// Walks the segments of a stream, from scan to scan.
pub(super) struct MarkerReader<'a> {
    bytes: &'a [u8],
    position: usize,
    frame: Option<FrameHeader>,
    presets: RawPresets,
    restart_lines: u32,
    /// Components a scan was seen for.
    scanned: [bool; MAX_COMPONENTS],
}

impl<'a> MarkerReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        match bytes {
            [0xFF, SOI, ..] => Ok(Self {
                bytes,
                position: 2,
                frame: None,
                presets: RawPresets::default(),
                restart_lines: 0,
                scanned: [false; MAX_COMPONENTS],
            }),
            [] | [0xFF] => Err(Error::Truncated {
                offset: bytes.len(),
            }),
            _ => Err(Error::NotJpeg),
        }
    }

    /// Frame and first scan; a stream without a scan is an error.
    pub(super) fn first_scan(&mut self) -> Result<(FrameHeader, ScanHeader), Error> {
        match (self.next_scan()?, self.frame) {
            (Some(scan), Some(frame)) => Ok((frame, scan)),
            _ => Err(Error::MissingComponent { component: 0 }),
        }
    }

    /// Continues behind the entropy-coded data of a scan.
    pub(super) fn resume(&mut self, position: usize) {
        self.position = position;
    }

    /// The next scan, or nothing at EOI when every component had its scan.
    pub(super) fn next_scan(&mut self) -> Result<Option<ScanHeader>, Error> {
        loop {
            let (marker, offset) = self.next_marker()?;
            match marker {
                EOI => return self.check_complete().map(|()| None),
                SOF55 | LSE | DRI | SOS | COM | APP0..=APP15 => {}
                DNL => {
                    return Err(Error::Unsupported {
                        feature: "a height given by DNL",
                    });
                }
                _ => return Err(Error::UnexpectedMarker { marker, offset }),
            }
            let segment = self.next_segment(marker, offset)?;
            match marker {
                SOF55 => self.read_frame(&segment)?,
                LSE => self.read_presets(&segment)?,
                DRI => self.read_restart(&segment)?,
                SOS => return self.read_scan(&segment).map(Some),
                APP8 => refuse_color_transform(segment.content)?,
                // Other application data and comments say nothing about the samples.
                _ => {}
            }
        }
    }

    fn check_complete(&self) -> Result<(), Error> {
        let components = self.frame.map_or(1, |frame| frame.components);
        match self.scanned.iter().take(components).position(|done| !done) {
            Some(component) => Err(Error::MissingComponent { component }),
            None => Ok(()),
        }
    }

    fn next_marker(&mut self) -> Result<(u8, usize), Error> {
        let mut offset = self.position;
        match self.bytes.get(offset) {
            Some(0xFF) => {}
            Some(_) => return Err(Error::MissingMarker { offset }),
            None => return Err(Error::Truncated { offset }),
        }
        // Any number of FF may fill the space before a marker (T.81 §B.1.1.2).
        while self.bytes.get(offset + 1) == Some(&0xFF) {
            offset += 1;
        }
        match self.bytes.get(offset + 1) {
            Some(&marker) => {
                self.position = offset + 2;
                Ok((marker, offset))
            }
            None => Err(Error::Truncated { offset: offset + 1 }),
        }
    }

    fn next_segment(&mut self, marker: u8, offset: usize) -> Result<JpegLsSegment<'a>, Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let &[high, low, ..] = rest else {
            return Err(Error::Truncated {
                offset: self.bytes.len(),
            });
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(Error::Segment {
                marker,
                offset,
                reason: "length below 2",
            });
        }
        let Some(content) = rest.get(2..length) else {
            return Err(Error::Truncated {
                offset: self.bytes.len(),
            });
        };
        self.position += length;
        Ok(JpegLsSegment {
            marker,
            offset,
            content,
        })
    }

    fn read_frame(&mut self, segment: &JpegLsSegment<'_>) -> Result<(), Error> {
        let &[precision, y1, y0, x1, x0, count, ref components @ ..] = segment.content else {
            return Err(segment.error("too short"));
        };
        let rows = u16::from_be_bytes([y1, y0]);
        let columns = u16::from_be_bytes([x1, x0]);
        let count = usize::from(count);
        if self.frame.is_some() {
            return Err(segment.error("a second frame header"));
        }
        if components.len() != 3 * count {
            return Err(segment.error("length does not fit the number of components"));
        }
        if !(2..=16).contains(&precision) {
            return Err(segment.error("precision is not 2 to 16 bits"));
        }
        if rows == 0 || columns == 0 {
            return Err(Error::Unsupported {
                feature: "dimensions outside the frame header",
            });
        }
        if count == 0 {
            return Err(segment.error("no components"));
        }
        if count > MAX_COMPONENTS {
            return Err(Error::Unsupported {
                feature: "more than 4 components",
            });
        }
        let mut frame = FrameHeader {
            columns,
            rows,
            precision,
            components: count,
            identifiers: [0; MAX_COMPONENTS],
            sampled: false,
        };
        let (components, _) = components.as_chunks::<3>();
        let first_sampling = components.first().map(|&[_, sampling, _]| sampling);
        for (slot, &[identifier, sampling, _]) in frame.identifiers.iter_mut().zip(components) {
            if sampling >> 4 == 0 || sampling & 15 == 0 {
                return Err(segment.error("a sampling factor of 0"));
            }
            if Some(sampling) != first_sampling {
                return Err(Error::Unsupported {
                    feature: "subsampled components",
                });
            }
            *slot = identifier;
            frame.sampled |= sampling != 0x11;
        }
        self.frame = Some(frame);
        Ok(())
    }

    fn read_presets(&mut self, segment: &JpegLsSegment<'_>) -> Result<(), Error> {
        match segment.content {
            &[1, m1, m0, a1, a0, b1, b0, c1, c0, r1, r0] => {
                let word = |high, low| u16::from_be_bytes([high, low]);
                self.presets = RawPresets {
                    maximum: word(m1, m0),
                    thresholds: [word(a1, a0), word(b1, b0), word(c1, c0)],
                    reset: word(r1, r0),
                };
                Ok(())
            }
            [1, ..] => Err(segment.error("coding parameters of a wrong length")),
            [2 | 3, ..] => Err(Error::Unsupported {
                feature: "mapping tables",
            }),
            [4, ..] => Err(Error::Unsupported {
                feature: "dimensions outside the frame header",
            }),
            _ => Err(segment.error("unknown kind of preset parameters")),
        }
    }

    fn read_restart(&mut self, segment: &JpegLsSegment<'_>) -> Result<(), Error> {
        // 2 to 4 bytes, counted in lines (T.87 §C.2.5).
        self.restart_lines = match *segment.content {
            [b, a] => u32::from_be_bytes([0, 0, b, a]),
            [c, b, a] => u32::from_be_bytes([0, c, b, a]),
            [d, c, b, a] => u32::from_be_bytes([d, c, b, a]),
            _ => return Err(segment.error("length is not 4, 5 or 6")),
        };
        Ok(())
    }

    fn read_scan(&mut self, segment: &JpegLsSegment<'_>) -> Result<ScanHeader, Error> {
        let Some(frame) = self.frame else {
            return Err(segment.error("a scan before the frame header"));
        };
        let Some((&count, rest)) = segment.content.split_first() else {
            return Err(segment.error("too short"));
        };
        let count = usize::from(count);
        if count == 0 || count > frame.components {
            return Err(segment.error("number of components does not fit the frame"));
        }
        let Some((selectors, &[near, interleave, transform])) = rest.split_at_checked(2 * count)
        else {
            return Err(segment.error("length does not fit the number of components"));
        };
        if transform != 0 {
            return Err(Error::Unsupported {
                feature: "a point transform",
            });
        }
        let interleave = match (interleave, count) {
            // One component is coded alike in all modes, whatever an encoder writes.
            (0..=2, 1) => Interleave::None,
            (1, _) => Interleave::Line,
            (2, _) => Interleave::Sample,
            (0, _) => return Err(segment.error("several components without interleaving")),
            _ => return Err(segment.error("unknown interleave mode")),
        };
        if frame.sampled && count > 1 {
            return Err(Error::Unsupported {
                feature: "sampling factors in an interleaved scan",
            });
        }
        let presets = self
            .presets
            .resolve(frame.precision, near)
            .map_err(|reason| segment.error(reason))?;
        let mut members = [0; MAX_COMPONENTS];
        let (selectors, _) = selectors.as_chunks::<2>();
        for (member, &[identifier, table]) in members.iter_mut().zip(selectors) {
            if table != 0 {
                return Err(Error::Unsupported {
                    feature: "mapping tables",
                });
            }
            *member = self.claim(&frame, identifier, segment)?;
        }
        Ok(ScanHeader {
            near,
            interleave,
            presets,
            restart_lines: self.restart_lines,
            data: self.position,
            members,
            count,
        })
    }

    /// Finds the component of an identifier and marks it as scanned.
    ///
    /// Some encoders give all components the same identifier: then each use means the next one.
    fn claim(
        &mut self,
        frame: &FrameHeader,
        identifier: u8,
        segment: &JpegLsSegment<'_>,
    ) -> Result<usize, Error> {
        let mut candidates = self
            .scanned
            .iter_mut()
            .zip(frame.identifiers)
            .take(frame.components)
            .enumerate();
        match candidates.find(|(_, (scanned, known))| *known == identifier && !**scanned) {
            Some((index, (scanned, _))) => {
                *scanned = true;
                Ok(index)
            }
            None => Err(segment.error("a component that is not in the frame or had its scan")),
        }
    }
}

struct JpegLsSegment<'a> {
    marker: u8,
    offset: usize,
    content: &'a [u8],
}

impl JpegLsSegment<'_> {
    fn error(&self, reason: &'static str) -> Error {
        Error::Segment {
            marker: self.marker,
            offset: self.offset,
            reason,
        }
    }
}

/// APP8 "mrfx" announces samples transformed by an HP extension; returning them as they are
/// would show wrong colors.
fn refuse_color_transform(content: &[u8]) -> Result<(), Error> {
    match content {
        [b'm', b'r', b'f', b'x', transform, ..] if *transform != 0 => Err(Error::Unsupported {
            feature: "a color transform",
        }),
        _ => Ok(()),
    }
}
