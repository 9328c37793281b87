//! One pass over a data set as a stream of events; values are not read unless asked for.
//!
//! Invariant: no recursion, a stack of bounded depth, and no value or item that ends past the one around it or past the file.
//! Walk and rewrite both read through this scanner, so they agree about what a file holds.

mod level;
mod look_ahead;
mod resolve;
mod skip;

use std::borrow::Cow;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::endian::width;
use super::error::{Limit, ParseError, ParseProblem};
use super::header::{self, Encoding, ITEM, ITEM_END, RawHeader, SEQUENCE_END, UNDEFINED};
use super::limits::ParseLimits;
use super::source::SourceWindow;
use level::{LevelKind, ScanLevel};
use resolve::Context;

pub(crate) use level::{Element, ScanEvent};

/// The scanner: a position, the open levels and the counters.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    window: SourceWindow<'a>,
    limits: ParseLimits,
    position: u64,
    end: u64,
    stack: Vec<ScanLevel>,
    depth: usize,
    /// Elements and items.
    structure: u64,
    fragments: u64,
    /// Largest top-level tag so far: bytes behind pixel data that go back to lower tags are no elements.
    highest: Tag,
    /// A byte other than zero, met when looking whether only zeros are left.
    nonzero: Option<u64>,
    /// Where a sequence of defined length has just ended: a delimiter there closes nothing, but is harmless.
    closed_at: Option<u64>,
    /// Only tells whether bytes are a sequence: values of VR UN are not looked into.
    trial: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner for the data set that starts at `position` and ends with the source.
    pub(crate) fn new(
        window: SourceWindow<'a>,
        position: u64,
        encoding: Encoding,
        limits: ParseLimits,
    ) -> Self {
        let end = window.len();
        let kind = LevelKind::DataSet(Context::default());
        let root = ScanLevel {
            kind,
            end,
            defined: true,
            encoding,
        };
        Self {
            window,
            limits,
            position,
            end,
            stack: vec![root],
            depth: 0,
            structure: 0,
            fragments: 0,
            highest: Tag(0, 0),
            nonzero: None,
            closed_at: None,
            trial: false,
        }
    }

    /// First byte not yet consumed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The value of an element of the current event.
    pub(crate) fn value(&mut self, element: &Element) -> Result<Cow<'_, [u8]>, ParseError> {
        self.bytes(element.value_at, u64::from(element.length))
    }

    /// Bytes whose place the scanner has given out.
    pub(crate) fn bytes(&mut self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, ParseError> {
        let length = usize::try_from(length)
            .map_err(|_| ParseError::damaged(None, offset, ParseProblem::PastFile))?;
        Ok(self.window.value(offset, length)?)
    }

    /// Up to `count` (at most 4 KiB) bytes at a place the scanner has given out.
    pub(crate) fn peek(&mut self, offset: u64, count: usize) -> Result<&[u8], ParseError> {
        Ok(self.window.peek(offset, count)?)
    }

    /// The next event; after [`ScanEvent::End`] only that again.
    pub(crate) fn next(&mut self) -> Result<ScanEvent, ParseError> {
        loop {
            let Some(level) = self.stack.last().copied() else {
                return Ok(ScanEvent::End {
                    ignored: self.end.saturating_sub(self.position),
                });
            };
            let event = match level.kind {
                LevelKind::DataSet(context) => self.in_data_set(level, context)?,
                LevelKind::Sequence { tag, sniff } => self.in_sequence(level, tag, sniff)?,
                LevelKind::Fragments { tag } => Some(self.in_fragments(level, tag)?),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn in_data_set(
        &mut self,
        level: ScanLevel,
        context: Context,
    ) -> Result<Option<ScanEvent>, ParseError> {
        let root = self.stack.len() == 1;
        if level.defined && self.position == level.end {
            self.stack.pop();
            return Ok(Some(if root {
                ScanEvent::End { ignored: 0 }
            } else {
                ScanEvent::ItemEnd
            }));
        }
        let Some(header) = self.header(level)? else {
            if root && self.ignorable()? {
                return Ok(None);
            }
            return Err(ParseError::damaged(None, self.position, level.cut()));
        };
        let RawHeader {
            tag, length, size, ..
        } = header;
        if tag.0 == 0xFFFE {
            return self.delimiter_in_data_set(tag, level.defined, root);
        }
        if root && tag == Tag(0, 0) && length == 0 && self.ignorable()? {
            return Ok(None);
        }
        let value_at = self.position.saturating_add(u64::from(size));
        let value_end = value_at.saturating_add(u64::from(length));
        if length != UNDEFINED && value_end > level.end {
            if root && tag < self.highest && self.ignorable()? {
                return Ok(None);
            }
            return Err(match self.unknown_vr(level)? {
                Some(vr) => {
                    ParseError::damaged(Some(tag), self.position, ParseProblem::UnknownVr(vr))
                }
                None => self.past(tag, value_end),
            });
        }
        self.count(tag)?;
        if (tag.1 == 0 || matches!(tag.0, 0x0000 | 0x0002)) && length != UNDEFINED {
            // Group lengths, and strays of the command and meta groups.
            self.position = value_end;
            return Ok(None);
        }
        if root {
            self.highest = self.highest.max(tag);
        }
        self.element(header, value_at, level, context).map(Some)
    }

    /// An element; its defined value is known to lie inside its parent.
    fn element(
        &mut self,
        header: RawHeader,
        value_at: u64,
        level: ScanLevel,
        context: Context,
    ) -> Result<ScanEvent, ParseError> {
        let RawHeader {
            tag,
            length,
            vr: stored,
            ..
        } = header;
        let big = level.encoding == Encoding::ExplicitBig;
        let vr = stored.unwrap_or(VR::UN);
        let mut element = Element {
            tag,
            vr,
            big,
            value_at,
            length,
        };
        if length == UNDEFINED {
            return self.undefined(element, stored, level);
        }
        let end = value_at.saturating_add(u64::from(length));
        if vr == VR::UN {
            element.vr = self.resolve(&element, stored, context)?;
            element.big = big && stored.is_none();
        }
        if element.vr == VR::SQ {
            let level = ScanLevel {
                end,
                defined: true,
                ..level
            };
            self.open_sequence(tag, value_at, level.sequence(tag, stored))?;
            return Ok(ScanEvent::SequenceStart(element));
        }
        if Context::needs(tag) {
            self.note_context(&element)?;
        }
        self.position = end;
        Ok(ScanEvent::Element(element))
    }

    /// What an element of unknown representation is; it stays unknown when its value cannot be that.
    fn resolve(
        &mut self,
        element: &Element,
        stored: Option<VR>,
        context: Context,
    ) -> Result<VR, ParseError> {
        let known = context.resolve(element.tag);
        let length = u64::from(element.length);
        let fits = match known {
            VR::UN => true,
            VR::SQ if length == 0 => true,
            VR::SQ if stored.is_none() => self.starts_with_item(element)?,
            VR::SQ => {
                self.is_sequence(element.value_at, element.value_at.saturating_add(length))?
            }
            _ => length.is_multiple_of(width(known)),
        };
        Ok(if fits { known } else { VR::UN })
    }

    /// An element that ends with a delimiter: a sequence or an encapsulated value.
    fn undefined(
        &mut self,
        mut element: Element,
        stored: Option<VR>,
        level: ScanLevel,
    ) -> Result<ScanEvent, ParseError> {
        let Element { tag, value_at, .. } = element;
        let level = ScanLevel {
            defined: false,
            ..level
        };
        match stored {
            Some(VR::OB | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV) => {}
            _ if tag == tags::PIXEL_DATA => element.vr = VR::OB,
            // UN and, in Implicit VR, whatever the dictionary does not know is a sequence then (CP-246).
            Some(VR::SQ | VR::UN) | None => {
                element.vr = VR::SQ;
                self.open_sequence(tag, value_at, level.sequence(tag, stored))?;
                return Ok(ScanEvent::SequenceStart(element));
            }
            Some(_) => {
                return Err(ParseError::damaged(
                    Some(tag),
                    self.position,
                    ParseProblem::UndefinedLength,
                ));
            }
        }
        self.position = value_at;
        self.stack.push(ScanLevel {
            kind: LevelKind::Fragments { tag },
            ..level
        });
        Ok(ScanEvent::FragmentsStart(element))
    }

    fn open_sequence(
        &mut self,
        tag: Tag,
        value_at: u64,
        level: ScanLevel,
    ) -> Result<(), ParseError> {
        if self.depth >= self.limits.depth {
            return Err(self.over(tag, Limit::Depth, self.limits.depth as u64));
        }
        self.depth = self.depth.saturating_add(1);
        self.position = value_at;
        self.stack.push(level);
        Ok(())
    }

    fn close_sequence(&mut self) -> ScanEvent {
        self.stack.pop();
        self.depth = self.depth.saturating_sub(1);
        ScanEvent::SequenceEnd
    }

    fn delimiter_in_data_set(
        &mut self,
        tag: Tag,
        defined: bool,
        root: bool,
    ) -> Result<Option<ScanEvent>, ParseError> {
        if tag == ITEM_END && !root {
            self.position = self.position.saturating_add(8);
            if defined {
                // Some writers close items of defined length as well.
                return Ok(None);
            }
            self.stack.pop();
            return Ok(Some(ScanEvent::ItemEnd));
        }
        if tag == SEQUENCE_END && self.closed_at.take() == Some(self.position) {
            self.position = self.position.saturating_add(8);
            return Ok(None);
        }
        if root && self.ignorable()? {
            return Ok(None);
        }
        Err(ParseError::damaged(
            Some(tag),
            self.position,
            ParseProblem::StrayDelimiter,
        ))
    }

    fn in_sequence(
        &mut self,
        level: ScanLevel,
        tag: Tag,
        sniff: bool,
    ) -> Result<Option<ScanEvent>, ParseError> {
        if level.defined && self.position == level.end {
            self.closed_at = Some(self.position);
            return Ok(Some(self.close_sequence()));
        }
        let Some(header) = self.header(level)? else {
            return Err(ParseError::damaged(Some(tag), self.position, level.cut()));
        };
        if header.tag == SEQUENCE_END {
            self.position = self.position.saturating_add(8);
            // Behind a sequence of defined length the delimiter is one too many, but harmless.
            return Ok((!level.defined).then(|| self.close_sequence()));
        }
        if header.tag != ITEM {
            return Err(ParseError::damaged(
                Some(tag),
                self.position,
                ParseProblem::NotAnItem,
            ));
        }
        self.count(tag)?;
        let value_at = self.position.saturating_add(8);
        let defined = header.length != UNDEFINED;
        let item_end = value_at.saturating_add(u64::from(header.length));
        let end = if defined { item_end } else { level.end };
        if end > level.end {
            return Err(self.past(tag, end));
        }
        self.position = value_at;
        let encoding = if sniff {
            self.sniff_item(level.encoding)?
        } else {
            level.encoding
        };
        let kind = LevelKind::DataSet(self.context());
        self.stack.push(ScanLevel {
            kind,
            end,
            defined,
            encoding,
        });
        Ok(Some(ScanEvent::ItemStart))
    }

    fn in_fragments(&mut self, level: ScanLevel, tag: Tag) -> Result<ScanEvent, ParseError> {
        let start = self.position;
        let Some(header) = self.header(level)? else {
            return Err(ParseError::damaged(Some(tag), start, level.cut()));
        };
        let value_at = start.saturating_add(8);
        if header.tag == SEQUENCE_END {
            self.position = value_at;
            self.stack.pop();
            return Ok(ScanEvent::FragmentsEnd { end: start });
        }
        if header.tag != ITEM {
            return Err(ParseError::damaged(
                Some(tag),
                start,
                ParseProblem::NotAnItem,
            ));
        }
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > self.limits.fragments {
            return Err(self.over(tag, Limit::Fragments, self.limits.fragments));
        }
        if header.length == UNDEFINED {
            return Err(ParseError::damaged(
                Some(tag),
                start,
                ParseProblem::UndefinedLength,
            ));
        }
        let value_end = value_at.saturating_add(u64::from(header.length));
        if value_end > level.end {
            return Err(self.past(tag, value_end));
        }
        self.position = value_end;
        Ok(ScanEvent::Fragment {
            offset: value_at,
            length: header.length,
        })
    }

    /// The header at the current place; none when the end of the level cuts it.
    #[inline]
    fn header(&mut self, level: ScanLevel) -> Result<Option<RawHeader>, ParseError> {
        let left = usize::try_from(level.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let bytes = self.window.peek(self.position, left.min(12))?;
        Ok(header::decode(level.encoding, bytes))
    }

    /// The context of the innermost open data set, which its items inherit.
    fn context(&self) -> Context {
        let around = self.stack.iter().rev().find_map(|level| match level.kind {
            LevelKind::DataSet(context) => Some(context),
            LevelKind::Sequence { .. } | LevelKind::Fragments { .. } => None,
        });
        around.unwrap_or_default()
    }

    /// Remembers the values on which the VR of later elements depends.
    fn note_context(&mut self, element: &Element) -> Result<(), ParseError> {
        let count = usize::try_from(element.length.min(2)).unwrap_or(0);
        let first = self
            .window
            .peek(element.value_at, count)?
            .first_chunk::<2>()
            .copied();
        if let Some(first) = first
            && let Some(ScanLevel {
                kind: LevelKind::DataSet(context),
                ..
            }) = self.stack.last_mut()
        {
            let big = element.big;
            let value = if big {
                u16::from_be_bytes(first)
            } else {
                u16::from_le_bytes(first)
            };
            context.note(element.tag, value);
        }
        Ok(())
    }

    /// Counts an element or item.
    fn count(&mut self, tag: Tag) -> Result<(), ParseError> {
        self.structure = self.structure.saturating_add(1);
        if self.structure > self.limits.elements {
            return Err(self.over(tag, Limit::Elements, self.limits.elements));
        }
        Ok(())
    }

    fn past(&self, tag: Tag, value_end: u64) -> ParseError {
        let past_file = value_end > self.end;
        let problem = if past_file {
            ParseProblem::PastFile
        } else {
            ParseProblem::PastParent
        };
        ParseError::damaged(Some(tag), self.position, problem)
    }

    fn over(&self, tag: Tag, limit: Limit, allowed: u64) -> ParseError {
        ParseError::limit(Some(tag), self.position, limit, allowed)
    }
}
