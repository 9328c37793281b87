//! Finds the delimiters of a body and hands on normalised framing.
//!
//! Invariants: data bytes pass unchanged and uncopied; what is held back is at most a delimiter's worth of data, one
//! header block or one preamble line; work is linear in the bytes received.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::error::MultipartError;
use super::limits::{BURST, BodyLimits, MAX_PART_HEADERS, MAX_PREAMBLE};

/// Header line given to a part that has none.
pub(super) const BARE: &str = "x-bare-part";
/// Most bytes read after the closing delimiter.
const MAX_EPILOGUE: usize = 64 * 1024;

/// Most blanks between a boundary and the end of its line.
const MAX_PADDING: usize = 64;

/// What comes out of one step.
pub(super) enum GuardStep {
    /// Bytes for multer.
    Piece(Bytes),
    /// The body has to give more first.
    NeedsInput,
    /// The closing delimiter has passed.
    Done,
}

/// Where in the body the next byte belongs.
#[derive(Debug)]
pub(super) enum GuardState {
    /// Before the first delimiter line.
    Preamble,
    /// In the header lines of a part.
    Headers,
    /// In its data; at the first byte a delimiter needs no line end before it.
    Data { first: bool },
    /// After the closing delimiter.
    Closed,
    /// Everything is handed on.
    Done,
    /// An error waits to be handed on; none once it was.
    Failed(Option<MultipartError>),
}

/// How the lines of the delimiters end; told by the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Crlf,
    Lf,
}

/// What stands behind a boundary.
#[derive(Debug, PartialEq, Eq)]
enum AfterBoundary {
    /// Another part follows after this many bytes.
    Part(usize),
    /// The closing two hyphens.
    Close,
    /// It was data that looks like a delimiter.
    Data,
    /// Too few bytes to tell.
    Unknown,
}

pub(super) struct Framing {
    /// CR LF, two hyphens, the boundary.
    delimiter: Vec<u8>,
    crlf: Finder<'static>,
    lf: Finder<'static>,
    line_end: LineEnd,
    /// CR LF, two hyphens, our own boundary.
    marker: Bytes,
    limits: BodyLimits,
    pub(super) state: GuardState,
    input: Bytes,
    pub(super) ended: bool,
    /// The line being collected, in preamble and headers.
    line: Vec<u8>,
    /// The header block as multer gets it.
    block: BytesMut,
    /// Bytes of preamble or header lines so far.
    seen: usize,
    epilogue: usize,
    part: u64,
    part_bytes: u64,
    body_bytes: u64,
}

impl Framing {
    pub(super) fn new(boundary: &str, marker: &str, limits: BodyLimits) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        let without_cr = delimiter.get(1..).unwrap_or_default();
        Self {
            crlf: Finder::new(&delimiter).into_owned(),
            lf: Finder::new(without_cr).into_owned(),
            delimiter,
            line_end: LineEnd::Crlf,
            marker: Bytes::from(format!("\r\n--{marker}")),
            limits,
            state: GuardState::Preamble,
            input: Bytes::new(),
            ended: false,
            line: Vec::new(),
            block: BytesMut::new(),
            seen: 0,
            epilogue: 0,
            part: 0,
            part_bytes: 0,
            body_bytes: 0,
        }
    }

    /// Takes the next chunk of the body.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.body_bytes = self.body_bytes.saturating_add(length);
        if self.body_bytes > self.limits.body
            && !matches!(self.state, GuardState::Closed | GuardState::Done)
        {
            let limit = self.limits.body;
            self.state = GuardState::Failed(Some(MultipartError::BodyTooLarge { limit }));
        } else if self.input.is_empty() {
            self.input = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len().saturating_add(chunk.len()));
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&chunk);
            self.input = joined.freeze();
        }
    }

    pub(super) fn step(&mut self) -> Result<GuardStep, MultipartError> {
        match &mut self.state {
            GuardState::Preamble => self.preamble(),
            GuardState::Headers => self.headers(),
            GuardState::Data { first } => {
                let first = *first;
                self.data(first)
            }
            // What follows is read, up to a cap, so that the connection can be used again.
            GuardState::Closed if !self.ended && self.epilogue < MAX_EPILOGUE => {
                self.epilogue = self.epilogue.saturating_add(self.input.len());
                self.input = Bytes::new();
                Ok(GuardStep::NeedsInput)
            }
            GuardState::Closed => {
                self.state = GuardState::Done;
                Ok(GuardStep::Piece(Bytes::from_static(b"--\r\n")))
            }
            GuardState::Done => Ok(GuardStep::Done),
            GuardState::Failed(error) => Err(error.take().unwrap_or(MultipartError::GivenUp)),
        }
    }

    /// Whether the input is no longer than `room` bytes or has a line end within them.
    fn line_fits(&self, room: usize) -> bool {
        let within = self.input.get(..room);
        within.is_none_or(|within| {
            self.input.len() == room || memchr::memchr(b'\n', within).is_some()
        })
    }

    /// Moves input up to and including the next LF to `line`; false when there is none yet.
    fn collect_line(&mut self) -> bool {
        let end = memchr::memchr(b'\n', &self.input);
        let piece = self
            .input
            .split_to(end.map_or(self.input.len(), |at| at.saturating_add(1)));
        self.seen = self.seen.saturating_add(piece.len());
        self.line.extend_from_slice(&piece);
        end.is_some()
    }

    fn preamble(&mut self) -> Result<GuardStep, MultipartError> {
        loop {
            let room = MAX_PREAMBLE
                .saturating_add(self.delimiter.len())
                .saturating_sub(self.seen);
            if !self.line_fits(room) {
                return Err(MultipartError::PreambleTooLong {
                    limit: MAX_PREAMBLE,
                });
            }
            let complete = self.collect_line();
            if !complete && !self.ended {
                return Ok(GuardStep::NeedsInput);
            }
            let line = std::mem::take(&mut self.line);
            let (text, line_end) = trim_line_end(&line);
            let dashes = self.delimiter.get(2..).unwrap_or_default();
            match text.strip_prefix(dashes) {
                Some(rest) if rest.starts_with(b"--") => {
                    self.state = GuardState::Closed;
                    return Ok(GuardStep::Piece(self.marker.clone()));
                }
                Some(rest) if complete && rest.iter().all(|byte| is_blank(*byte)) => {
                    self.line_end = line_end;
                    return Ok(self.start_part());
                }
                Some(_) | None if complete => {}
                Some(_) => return Err(MultipartError::Truncated { part: 1 }),
                // A body without a single byte has no part; that is not for this layer to judge.
                None if self.seen == 0 => {
                    self.state = GuardState::Closed;
                    return Ok(GuardStep::Piece(self.marker.clone()));
                }
                None => return Err(MultipartError::BoundaryNotFound),
            }
        }
    }

    fn start_part(&mut self) -> GuardStep {
        if self.part >= self.limits.parts {
            let limit = self.limits.parts;
            self.state = GuardState::Failed(Some(MultipartError::TooManyParts { limit }));
            // The part before is complete all the same.
            return GuardStep::Piece(self.marker.clone());
        }
        self.part = self.part.saturating_add(1);
        self.part_bytes = 0;
        self.seen = 0;
        self.line.clear();
        self.block.clear();
        self.state = GuardState::Headers;
        GuardStep::Piece(self.marker.clone())
    }

    fn headers(&mut self) -> Result<GuardStep, MultipartError> {
        let part = self.part;
        loop {
            let room = MAX_PART_HEADERS.saturating_sub(self.seen);
            if !self.line_fits(room) {
                let limit = MAX_PART_HEADERS;
                return Err(MultipartError::HeadersTooLong { part, limit });
            }
            if !self.collect_line() {
                return self.more_or(MultipartError::Truncated { part });
            }
            let line = std::mem::take(&mut self.line);
            let (text, _) = trim_line_end(&line);
            match text.first() {
                None => {
                    if self.block.is_empty() {
                        // RFC 2046 §5.1 allows it, multer does not.
                        self.block.extend_from_slice(b"\r\n");
                        self.block.extend_from_slice(BARE.as_bytes());
                        self.block.extend_from_slice(b":");
                    }
                    self.block.extend_from_slice(b"\r\n\r\n");
                    self.state = GuardState::Data { first: true };
                    return Ok(GuardStep::Piece(self.block.split().freeze()));
                }
                // A folded line continues the one before it (RFC 5322 §2.2.3).
                Some(byte) if is_blank(*byte) && !self.block.is_empty() => {
                    self.block.extend_from_slice(text)
                }
                Some(_) => {
                    self.block.extend_from_slice(b"\r\n");
                    self.block.extend_from_slice(text);
                }
            }
        }
    }

    fn data(&mut self, first: bool) -> Result<GuardStep, MultipartError> {
        let truncated = MultipartError::Truncated { part: self.part };
        if first {
            let dashes = self.delimiter.get(2..).unwrap_or_default();
            if self.input.len() < dashes.len() && dashes.starts_with(&self.input) {
                return self.more_or(truncated);
            }
            if let Some(rest) = self.input.strip_prefix(dashes) {
                match behind_boundary(rest, self.line_end) {
                    AfterBoundary::Unknown => return self.more_or(truncated),
                    AfterBoundary::Data => {}
                    found @ (AfterBoundary::Part(_) | AfterBoundary::Close) => {
                        return self.delimited(0, dashes.len(), &found);
                    }
                }
            }
            self.state = GuardState::Data { first: false };
        }
        let finder = match self.line_end {
            LineEnd::Crlf => &self.crlf,
            LineEnd::Lf => &self.lf,
        };
        let length = finder.needle().len();
        let window = self
            .input
            .get(..self.input.len().min(BURST))
            .unwrap_or_default();
        let ready = match finder.find(window) {
            Some(at) => {
                let rest = self
                    .input
                    .get(at.saturating_add(length)..)
                    .unwrap_or_default();
                match behind_boundary(rest, self.line_end) {
                    found @ (AfterBoundary::Part(_) | AfterBoundary::Close) => {
                        return self.delimited(at, length, &found);
                    }
                    AfterBoundary::Data => at.saturating_add(1),
                    AfterBoundary::Unknown => at,
                }
            }
            None => window.len().saturating_sub(begun(window, finder.needle())),
        };
        if ready == 0 {
            return self.more_or(truncated);
        }
        self.pass_data(ready)
    }

    /// Ends the part at the delimiter; data still before it goes first, and the delimiter is met again.
    fn delimited(
        &mut self,
        at: usize,
        length: usize,
        found: &AfterBoundary,
    ) -> Result<GuardStep, MultipartError> {
        if at > 0 {
            return self.pass_data(at);
        }
        match found {
            AfterBoundary::Part(skip) => {
                drop(
                    self.input
                        .split_to(length.saturating_add(*skip).min(self.input.len())),
                );
                Ok(self.start_part())
            }
            AfterBoundary::Close | AfterBoundary::Data | AfterBoundary::Unknown => {
                self.state = GuardState::Closed;
                Ok(GuardStep::Piece(self.marker.clone()))
            }
        }
    }

    fn pass_data(&mut self, length: usize) -> Result<GuardStep, MultipartError> {
        let piece = self.input.split_to(length.min(self.input.len()));
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.part_bytes = self.part_bytes.saturating_add(bytes);
        if self.part_bytes > self.limits.part {
            let (part, limit) = (self.part, self.limits.part);
            return Err(MultipartError::PartTooLarge { part, limit });
        }
        Ok(GuardStep::Piece(piece))
    }

    fn more_or(&self, error: MultipartError) -> Result<GuardStep, MultipartError> {
        if self.ended {
            Err(error)
        } else {
            Ok(GuardStep::NeedsInput)
        }
    }
}

/// Length of the longest end of `data` with which `delimiter` begins; its first byte occurs in it only once.
fn begun(data: &[u8], delimiter: &[u8]) -> usize {
    let tail = data.get(data.len().saturating_sub(delimiter.len().saturating_sub(1))..);
    let (Some(tail), Some(first)) = (tail, delimiter.first()) else {
        return 0;
    };
    let candidate = memchr::memrchr(*first, tail).and_then(|at| tail.get(at..));
    candidate
        .filter(|end| delimiter.starts_with(end))
        .map_or(0, <[u8]>::len)
}

/// Tells a delimiter from data that merely begins like one (RFC 2046 §5.1.1).
fn behind_boundary(rest: &[u8], line_end: LineEnd) -> AfterBoundary {
    if rest.starts_with(b"--") {
        return AfterBoundary::Close;
    }
    let padding = rest.iter().take_while(|byte| is_blank(**byte)).count();
    if padding > MAX_PADDING {
        return AfterBoundary::Data;
    }
    match rest.get(padding..).unwrap_or_default() {
        [] | [b'\r'] => AfterBoundary::Unknown,
        [b'-'] if padding == 0 => AfterBoundary::Unknown,
        [b'\r', b'\n', ..] => AfterBoundary::Part(padding.saturating_add(2)),
        [b'\n', ..] if line_end == LineEnd::Lf => AfterBoundary::Part(padding.saturating_add(1)),
        _ => AfterBoundary::Data,
    }
}

fn trim_line_end(line: &[u8]) -> (&[u8], LineEnd) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    match text.strip_suffix(b"\r") {
        Some(text) => (text, LineEnd::Crlf),
        None => (text, LineEnd::Lf),
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
