//! One pass over a data set as a stream of events; values are not read unless asked for.
//!
//! Invariant: no recursion, a stack of bounded depth, and no value or item that ends past the one around it or past the file.
//! Walk and rewrite both read through this scanner, so they agree about what a file holds.

mod resolve;

use std::borrow::Cow;

use dicom_core::{Tag, VR};

use super::error::{Limit, ParseError, ParseProblem};
use super::header::{self, Encoding, ITEM, ITEM_END, RawHeader, SEQUENCE_END, UNDEFINED};
use super::limits::ParseLimits;
use super::source::SourceWindow;
use resolve::Context;
pub(crate) use resolve::width;

/// One data element with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    /// As in the file, or resolved from the dictionary.
    pub(crate) vr: VR,
    /// Binary values are big endian.
    pub(crate) big: bool,
    pub(crate) value_at: u64,
    /// Length of the value; [`UNDEFINED`] for sequences and encapsulated values that end with a delimiter.
    pub(crate) length: u32,
}

/// What the scanner comes across, in file order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanEvent {
    /// An element whose value is no sequence; its value can be asked for until the next event.
    Element(Element),
    SequenceStart(Element),
    ItemStart,
    ItemEnd,
    SequenceEnd,
    /// Fragments follow; the first one is the offset table.
    FragmentsStart(Element),
    Fragment {
        offset: u64,
        length: u32,
    },
    /// `end` is where the delimiter starts.
    FragmentsEnd {
        end: u64,
    },
    /// The data set is complete; `ignored` bytes behind it are not part of it.
    End {
        ignored: u64,
    },
}

/// One open level.
#[derive(Debug, Clone, Copy)]
struct ScanLevel {
    kind: LevelKind,
    /// Nothing inside ends behind this place.
    end: u64,
    /// It ends there, not at a delimiter.
    defined: bool,
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy)]
enum LevelKind {
    DataSet(Context),
    Sequence {
        tag: Tag,
        /// The encoding of the items has to be looked at.
        sniff: bool,
    },
    Fragments {
        tag: Tag,
    },
}

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
            let encoding = inside(stored, level.encoding);
            let kind = LevelKind::Sequence {
                tag,
                sniff: stored != Some(VR::SQ),
            };
            self.open_sequence(
                tag,
                value_at,
                ScanLevel {
                    kind,
                    end,
                    defined: true,
                    encoding,
                },
            )?;
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
            _ if tag == Tag(0x7FE0, 0x0010) => element.vr = VR::OB,
            // UN and, in Implicit VR, whatever the dictionary does not know is a sequence then (CP-246).
            Some(VR::SQ | VR::UN) | None => {
                element.vr = VR::SQ;
                let encoding = inside(stored, level.encoding);
                let kind = LevelKind::Sequence {
                    tag,
                    sniff: stored != Some(VR::SQ),
                };
                self.open_sequence(
                    tag,
                    value_at,
                    ScanLevel {
                        kind,
                        encoding,
                        ..level
                    },
                )?;
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

    /// Items of a UN or implicit sequence hold explicit elements in the files of some writers.
    fn sniff_item(&mut self, encoding: Encoding) -> Result<Encoding, ParseError> {
        if encoding != Encoding::ImplicitLittle {
            return Ok(encoding);
        }
        let bytes = self.window.peek(self.position, 8)?;
        let item = bytes.starts_with(&[0xFE, 0xFF]);
        let vr = bytes.get(4..).and_then(<[u8]>::first_chunk);
        let explicit = !item && vr.is_some_and(|vr| VR::from_binary(*vr).is_some());
        Ok(if explicit {
            Encoding::ExplicitLittle
        } else {
            encoding
        })
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

    /// Whether all that is left at top level can be left out; then the data set is closed here.
    ///
    /// Zeros are no element, and nothing that belongs to the data set can follow the pixel data with a lower tag.
    fn ignorable(&mut self) -> Result<bool, ParseError> {
        const LONGEST: u64 = 1 << 20;
        let left = self.end.saturating_sub(self.position);
        if left > LONGEST {
            return Ok(false);
        }
        let first = self
            .window
            .peek(self.position, 2)?
            .first_chunk::<2>()
            .copied();
        let behind_pixels = self.highest >= Tag(0x7FE0, 0x0008)
            && first.is_some_and(|group| (1..0x7FE0).contains(&u16::from_le_bytes(group)));
        let ignorable = behind_pixels || self.only_zeros(left)?;
        if ignorable {
            self.stack.clear();
        }
        Ok(ignorable)
    }

    fn only_zeros(&mut self, left: u64) -> Result<bool, ParseError> {
        let big = self
            .stack
            .first()
            .is_some_and(|root| root.encoding == Encoding::ExplicitBig);
        // In big endian the cut header of a common element starts with a zero.
        if big && left < 8 {
            return Ok(false);
        }
        let mut at = self.position;
        // What was found not to be zero is not looked for again.
        if self.nonzero.is_some_and(|seen| seen >= at) {
            return Ok(false);
        }
        while at < self.end {
            let bytes = self.window.peek(at, 4096)?;
            if let Some(index) = bytes.iter().position(|&b| b != 0) {
                self.nonzero = Some(at.saturating_add(index as u64));
                return Ok(false);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            at = at.saturating_add(bytes.len() as u64);
        }
        Ok(true)
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

    /// A private dictionary may give the tag another VR: a value that does not start with an item is no sequence.
    fn starts_with_item(&mut self, element: &Element) -> Result<bool, ParseError> {
        let item: &[u8] = if element.big {
            &[0xFF, 0xFE, 0xE0]
        } else {
            &[0xFE, 0xFF]
        };
        Ok(self.window.peek(element.value_at, 4)?.starts_with(item))
    }

    /// Whether a value of VR UN reads as a sequence to its very end.
    fn is_sequence(&mut self, start: u64, end: u64) -> Result<bool, ParseError> {
        if self.trial || self.depth >= self.limits.depth {
            return Ok(false);
        }
        let saved = (self.position, std::mem::take(&mut self.stack), self.depth);
        let counters = (self.structure, self.fragments);
        self.trial = true;
        let tag = Tag(0, 0);
        let kind = LevelKind::Sequence { tag, sniff: true };
        let level = ScanLevel {
            kind,
            end,
            defined: true,
            encoding: Encoding::ImplicitLittle,
        };
        let mut good = self.open_sequence(tag, start, level).is_ok();
        while good && !self.stack.is_empty() {
            match self.next() {
                Ok(_) => {}
                Err(ParseError::Read(error)) => return Err(error.into()),
                Err(_) => good = false,
            }
        }
        self.trial = false;
        (self.position, self.stack, self.depth) = saved;
        (self.structure, self.fragments) = counters;
        Ok(good)
    }

    /// Counts an element or item.
    fn count(&mut self, tag: Tag) -> Result<(), ParseError> {
        self.structure = self.structure.saturating_add(1);
        if self.structure > self.limits.elements {
            return Err(self.over(tag, Limit::Elements, self.limits.elements));
        }
        Ok(())
    }

    /// The letters of an explicit header when they are no VR: its length may be anywhere then.
    fn unknown_vr(&mut self, level: ScanLevel) -> Result<Option<[u8; 2]>, ParseError> {
        if level.encoding == Encoding::ImplicitLittle {
            return Ok(None);
        }
        let bytes = self.window.peek(self.position, 6)?;
        let letters = bytes.get(4..).and_then(<[u8]>::first_chunk::<2>);
        let unknown = |vr: &&[u8; 2]| {
            vr.iter().all(u8::is_ascii_uppercase) && VR::from_binary(**vr).is_none()
        };
        Ok(letters.filter(unknown).copied())
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

impl ScanLevel {
    /// What it means that a header does not fit into what is left.
    fn cut(&self) -> ParseProblem {
        if self.defined {
            ParseProblem::HeaderCut
        } else {
            ParseProblem::NotClosed
        }
    }
}

/// The content of UN is Implicit VR Little Endian whatever is around it (PS3.5 §6.2.2).
fn inside(stored: Option<VR>, around: Encoding) -> Encoding {
    if stored == Some(VR::UN) {
        Encoding::ImplicitLittle
    } else {
        around
    }
}
