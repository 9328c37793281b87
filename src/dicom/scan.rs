//! One pass over a data set as a stream of events; values are not read unless asked for.
//!
//! Invariant: no recursion, a stack of bounded depth, and no value or item that ends past the one around it or past the file.
//! Walk and rewrite both read through this scanner, so they agree about what a file holds.

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionaryEntry, VirtualVr};
use dicom_core::{DataDictionary, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::error::{Limit, Problem, WalkError};
use super::header::{self, Encoding, ITEM, ITEM_END, RawHeader, SEQUENCE_END, UNDEFINED};
use super::source::Window;

/// Bounds on what one file may ask of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences inside each other.
    pub depth: usize,
    /// Data elements in all.
    pub elements: u64,
    /// Sequence items in all.
    pub items: u64,
    /// Fragments of encapsulated values in all.
    pub fragments: u64,
    /// Bytes of values looked at (bulk data is only skipped).
    pub kept: u64,
    /// Bytes of DICOM JSON.
    pub text: usize,
    /// Values served by URI.
    pub bulk: usize,
    /// Findings that are reported; what they are about is left out all the same.
    pub findings: usize,
    /// Bytes of an inflated data set.
    pub inflated: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            elements: 8 << 20,
            items: 4 << 20,
            fragments: 4 << 20,
            kept: 64 << 20,
            text: 256 << 20,
            bulk: 64 << 10,
            findings: 1000,
            inflated: 4 << 30,
        }
    }
}

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
pub(crate) enum Event {
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

/// What VRs depend on, per data set (PS3.5 Annex A).
#[derive(Debug, Clone, Copy, Default)]
struct Context {
    signed: bool,
    single_entry_lut: bool,
}

#[derive(Debug, Clone, Copy)]
enum Level {
    DataSet {
        end: u64,
        defined: bool,
        encoding: Encoding,
        context: Context,
    },
    Sequence {
        end: u64,
        defined: bool,
        encoding: Encoding,
        tag: Tag,
        sniff: bool,
    },
    Fragments {
        end: u64,
        tag: Tag,
        encoding: Encoding,
    },
}

/// The scanner: a position, the open levels and the counters.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    limits: Limits,
    position: u64,
    end: u64,
    stack: Vec<Level>,
    depth: usize,
    elements: u64,
    items: u64,
    fragments: u64,
    /// Largest top-level tag so far: bytes behind pixel data that go back to lower tags are no elements.
    highest: Tag,
    /// A byte other than zero, met when looking whether only zeros are left.
    nonzero: Option<u64>,
    /// Only tells whether bytes are a sequence: values of VR UN are not looked into.
    trial: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner for the data set that starts at `position` and ends with the source.
    pub(crate) fn new(
        window: Window<'a>,
        position: u64,
        encoding: Encoding,
        limits: Limits,
    ) -> Self {
        let end = window.len();
        let root = Level::DataSet {
            end,
            defined: true,
            encoding,
            context: Context::default(),
        };
        Self {
            window,
            limits,
            position,
            end,
            stack: vec![root],
            depth: 0,
            elements: 0,
            items: 0,
            fragments: 0,
            highest: Tag(0, 0),
            nonzero: None,
            trial: false,
        }
    }

    /// First byte not yet consumed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The value of an element of the current event.
    pub(crate) fn value(&mut self, element: &Element) -> Result<Cow<'_, [u8]>, WalkError> {
        self.bytes(element.value_at, u64::from(element.length))
    }

    /// Bytes whose place the scanner has given out.
    pub(crate) fn bytes(&mut self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, WalkError> {
        let length = usize::try_from(length)
            .map_err(|_| WalkError::damaged(None, offset, Problem::PastFile))?;
        Ok(self.window.value(offset, length)?)
    }

    /// Up to `count` (at most 4 KiB) bytes at a place the scanner has given out.
    pub(crate) fn peek(&mut self, offset: u64, count: usize) -> Result<&[u8], WalkError> {
        Ok(self.window.peek(offset, count)?)
    }

    /// The next event; after [`Event::End`] only that again.
    pub(crate) fn next(&mut self) -> Result<Event, WalkError> {
        loop {
            let event = match self.stack.last().copied() {
                None => Some(Event::End {
                    ignored: self.end.saturating_sub(self.position),
                }),
                Some(Level::DataSet {
                    end,
                    defined,
                    encoding,
                    context,
                }) => self.in_data_set(end, defined, encoding, context)?,
                Some(Level::Sequence {
                    end,
                    defined,
                    encoding,
                    tag,
                    sniff,
                }) => self.in_sequence(end, defined, encoding, tag, sniff)?,
                Some(Level::Fragments { end, tag, encoding }) => {
                    Some(self.in_fragments(end, tag, encoding)?)
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn in_data_set(
        &mut self,
        end: u64,
        defined: bool,
        encoding: Encoding,
        context: Context,
    ) -> Result<Option<Event>, WalkError> {
        let root = self.stack.len() == 1;
        if defined && self.position == end {
            self.stack.pop();
            return Ok(Some(if root {
                Event::End { ignored: 0 }
            } else {
                Event::ItemEnd
            }));
        }
        let Some(header) = self.header(end, encoding)? else {
            if root && self.ignorable()? {
                return Ok(None);
            }
            let problem = if defined {
                Problem::HeaderCut
            } else {
                Problem::NotClosed
            };
            return Err(WalkError::damaged(None, self.position, problem));
        };
        if header.tag.0 == 0xFFFE {
            return self.delimiter_in_data_set(header, defined, root);
        }
        let value_at = self.position.saturating_add(u64::from(header.size));
        let value_end = value_at.saturating_add(u64::from(header.length));
        if root && header.tag == Tag(0, 0) && header.length == 0 && self.ignorable()? {
            return Ok(None);
        }
        if header.length != UNDEFINED && value_end > end {
            if root && header.tag < self.highest && self.ignorable()? {
                return Ok(None);
            }
            let problem = if value_end > self.end {
                Problem::PastFile
            } else {
                Problem::PastParent
            };
            return Err(WalkError::damaged(Some(header.tag), self.position, problem));
        }
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.limits.elements {
            return Err(self.over(header.tag, Limit::Elements, self.limits.elements));
        }
        let no_content = header.tag.1 == 0 || matches!(header.tag, Tag(0x0000 | 0x0002, _));
        if no_content && header.length != UNDEFINED {
            // Group lengths, and strays of the command and meta groups.
            self.position = value_end;
            return Ok(None);
        }
        if root {
            self.highest = self.highest.max(header.tag);
        }
        self.element(header, value_at, end, encoding, context)
            .map(Some)
    }

    /// An element whose defined value is known to lie inside its parent.
    fn element(
        &mut self,
        header: RawHeader,
        value_at: u64,
        end: u64,
        encoding: Encoding,
        context: Context,
    ) -> Result<Event, WalkError> {
        let RawHeader { tag, length, .. } = header;
        let big = encoding == Encoding::ExplicitBig;
        let stored = header.vr;
        let mut element = Element {
            tag,
            vr: stored.unwrap_or(VR::UN),
            big,
            value_at,
            length,
        };
        if length == UNDEFINED {
            return self.undefined(element, stored, end, encoding);
        }
        let value_end = value_at.saturating_add(u64::from(length));
        if matches!(stored, None | Some(VR::UN)) {
            let known = resolve(tag, context);
            let fits = match known {
                VR::SQ if stored.is_none() => {
                    length == 0 || self.starts_with_item(value_at, big)?
                }
                // The content of UN is Implicit VR Little Endian whatever is around it (PS3.5 §6.2.2).
                VR::SQ => self.is_sequence(value_at, value_end)?,
                VR::UN => false,
                _ => u64::from(length).is_multiple_of(width(known)),
            };
            if fits {
                element.vr = known;
            }
            element.big = big && stored.is_none();
        }
        if element.vr == VR::SQ {
            let encoding = if stored == Some(VR::UN) {
                Encoding::ImplicitLittle
            } else {
                encoding
            };
            let sniff = stored != Some(VR::SQ);
            self.open_sequence(tag, value_at, value_end, true, encoding, sniff)?;
            return Ok(Event::SequenceStart(element));
        }
        if tag.0 == 0x0028 {
            self.note_context(&element)?;
        }
        self.position = value_end;
        Ok(Event::Element(element))
    }

    /// An element that ends with a delimiter: a sequence or an encapsulated value.
    fn undefined(
        &mut self,
        mut element: Element,
        stored: Option<VR>,
        end: u64,
        encoding: Encoding,
    ) -> Result<Event, WalkError> {
        let tag = element.tag;
        let pixels = tag == Tag(0x7FE0, 0x0010);
        match stored {
            Some(VR::OB | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV) => {}
            _ if pixels => element.vr = VR::OB,
            // UN and, in Implicit VR, whatever the dictionary does not know is a sequence then (CP-246).
            Some(VR::SQ | VR::UN) | None => {
                let unknown = stored == Some(VR::UN);
                let inside = if unknown {
                    Encoding::ImplicitLittle
                } else {
                    encoding
                };
                element.vr = VR::SQ;
                let at = element.value_at;
                self.open_sequence(tag, at, end, false, inside, stored != Some(VR::SQ))?;
                return Ok(Event::SequenceStart(element));
            }
            Some(_) => {
                return Err(WalkError::damaged(
                    Some(tag),
                    self.position,
                    Problem::UndefinedLength,
                ));
            }
        }
        self.position = element.value_at;
        self.stack.push(Level::Fragments { end, tag, encoding });
        Ok(Event::FragmentsStart(element))
    }

    fn open_sequence(
        &mut self,
        tag: Tag,
        value_at: u64,
        end: u64,
        defined: bool,
        encoding: Encoding,
        sniff: bool,
    ) -> Result<(), WalkError> {
        if self.depth >= self.limits.depth {
            return Err(self.over(tag, Limit::Depth, self.limits.depth as u64));
        }
        self.depth = self.depth.saturating_add(1);
        self.position = value_at;
        self.stack.push(Level::Sequence {
            end,
            defined,
            encoding,
            tag,
            sniff,
        });
        Ok(())
    }

    fn close_sequence(&mut self) -> Event {
        self.stack.pop();
        self.depth = self.depth.saturating_sub(1);
        Event::SequenceEnd
    }

    fn delimiter_in_data_set(
        &mut self,
        header: RawHeader,
        defined: bool,
        root: bool,
    ) -> Result<Option<Event>, WalkError> {
        if header.tag == ITEM_END && !root {
            self.position = self.position.saturating_add(8);
            if defined {
                // Some writers close items of defined length as well.
                return Ok(None);
            }
            self.stack.pop();
            return Ok(Some(Event::ItemEnd));
        }
        if root && self.ignorable()? {
            return Ok(None);
        }
        Err(WalkError::damaged(
            Some(header.tag),
            self.position,
            Problem::StrayDelimiter,
        ))
    }

    fn in_sequence(
        &mut self,
        end: u64,
        defined: bool,
        encoding: Encoding,
        tag: Tag,
        sniff: bool,
    ) -> Result<Option<Event>, WalkError> {
        if defined && self.position == end {
            return Ok(Some(self.close_sequence()));
        }
        let not_closed = if defined {
            Problem::HeaderCut
        } else {
            Problem::NotClosed
        };
        let Some(header) = self.header(end, encoding)? else {
            return Err(WalkError::damaged(Some(tag), self.position, not_closed));
        };
        if header.tag == SEQUENCE_END {
            self.position = self.position.saturating_add(8);
            // Behind a sequence of defined length the delimiter is one too many, but harmless.
            return Ok((!defined).then(|| self.close_sequence()));
        }
        if header.tag != ITEM {
            return Err(WalkError::damaged(
                Some(tag),
                self.position,
                Problem::NotAnItem,
            ));
        }
        self.items = self.items.saturating_add(1);
        if self.items > self.limits.items {
            return Err(self.over(tag, Limit::Items, self.limits.items));
        }
        let value_at = self.position.saturating_add(8);
        let item_defined = header.length != UNDEFINED;
        let item_end = if item_defined {
            value_at.saturating_add(u64::from(header.length))
        } else {
            end
        };
        if item_end > end {
            let problem = if item_end > self.end {
                Problem::PastFile
            } else {
                Problem::PastParent
            };
            return Err(WalkError::damaged(Some(tag), self.position, problem));
        }
        self.position = value_at;
        let encoding = if sniff {
            self.sniff_item(encoding)?
        } else {
            encoding
        };
        let context = self.context();
        self.stack.push(Level::DataSet {
            end: item_end,
            defined: item_defined,
            encoding,
            context,
        });
        Ok(Some(Event::ItemStart))
    }

    /// Items of a UN or implicit sequence hold explicit elements in the files of some writers.
    fn sniff_item(&mut self, encoding: Encoding) -> Result<Encoding, WalkError> {
        if encoding != Encoding::ImplicitLittle {
            return Ok(encoding);
        }
        let bytes = self.window.peek(self.position, 8)?;
        let explicit = header::decode(Encoding::ExplicitLittle, bytes)
            .is_some_and(|h| h.tag.0 != 0xFFFE && h.vr.is_some())
            && bytes
                .get(4..)
                .and_then(<[u8]>::first_chunk)
                .is_some_and(|vr| VR::from_binary(*vr).is_some());
        Ok(if explicit {
            Encoding::ExplicitLittle
        } else {
            encoding
        })
    }

    fn in_fragments(&mut self, end: u64, tag: Tag, encoding: Encoding) -> Result<Event, WalkError> {
        let Some(header) = self.header(end, encoding)? else {
            return Err(WalkError::damaged(
                Some(tag),
                self.position,
                Problem::NotClosed,
            ));
        };
        let start = self.position;
        let value_at = start.saturating_add(8);
        if header.tag == SEQUENCE_END {
            self.position = value_at;
            self.stack.pop();
            return Ok(Event::FragmentsEnd { end: start });
        }
        if header.tag != ITEM {
            return Err(WalkError::damaged(Some(tag), start, Problem::NotAnItem));
        }
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > self.limits.fragments {
            return Err(self.over(tag, Limit::Fragments, self.limits.fragments));
        }
        let value_end = value_at.saturating_add(u64::from(header.length));
        if header.length == UNDEFINED {
            return Err(WalkError::damaged(
                Some(tag),
                start,
                Problem::UndefinedLength,
            ));
        }
        if value_end > end {
            return Err(WalkError::damaged(Some(tag), start, Problem::PastFile));
        }
        self.position = value_end;
        Ok(Event::Fragment {
            offset: value_at,
            length: header.length,
        })
    }

    /// The header at the current place; none when `end` cuts it.
    #[inline]
    fn header(&mut self, end: u64, encoding: Encoding) -> Result<Option<RawHeader>, WalkError> {
        let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let bytes = self.window.peek(self.position, left.min(12))?;
        Ok(header::decode(encoding, bytes))
    }

    /// Whether all that is left at top level can be left out; then the data set is closed here.
    ///
    /// Zeros are no element, and nothing that belongs to the data set can follow the pixel data with a lower tag.
    fn ignorable(&mut self) -> Result<bool, WalkError> {
        const LONGEST: u64 = 1 << 20;
        let left = self.end.saturating_sub(self.position);
        let first = self
            .window
            .peek(self.position, 2)?
            .first_chunk::<2>()
            .map(|b| u16::from_le_bytes(*b));
        let behind_pixels = self.highest >= Tag(0x7FE0, 0x0008)
            && first.is_some_and(|group| (1..0x7FE0).contains(&group));
        if left > LONGEST {
            return Ok(false);
        }
        let mut at = self.position;
        // What was found not to be zero is not looked for again.
        let mut zeros = (left >= 8 || !self.is_big()) && self.nonzero.is_none_or(|seen| seen < at);
        while zeros && at < self.end {
            let bytes = self.window.peek(at, 4096)?;
            if let Some(index) = bytes.iter().position(|&b| b != 0) {
                self.nonzero = Some(at.saturating_add(index as u64));
                zeros = false;
            }
            zeros &= !bytes.is_empty();
            at = at.saturating_add(bytes.len() as u64);
        }
        if zeros || behind_pixels {
            self.stack.clear();
        }
        Ok(zeros || behind_pixels)
    }

    /// In big endian the cut header of a common element starts with a zero.
    fn is_big(&self) -> bool {
        matches!(
            self.stack.first(),
            Some(Level::DataSet {
                encoding: Encoding::ExplicitBig,
                ..
            })
        )
    }

    fn context(&self) -> Context {
        let around = self.stack.iter().rev().find_map(|level| match level {
            Level::DataSet { context, .. } => Some(*context),
            Level::Sequence { .. } | Level::Fragments { .. } => None,
        });
        around.unwrap_or_default()
    }

    /// Remembers the values on which the VR of later elements depends.
    fn note_context(&mut self, element: &Element) -> Result<(), WalkError> {
        let first = match element.tag {
            Tag(_, 0x0103 | 0x3002) => self
                .window
                .peek(element.value_at, 2)?
                .first_chunk::<2>()
                .copied(),
            _ => return Ok(()),
        };
        let Some(first) = first.filter(|_| element.length >= 2) else {
            return Ok(());
        };
        let value = if element.big {
            u16::from_be_bytes(first)
        } else {
            u16::from_le_bytes(first)
        };
        if let Some(Level::DataSet { context, .. }) = self.stack.last_mut() {
            if element.tag.1 == 0x0103 {
                context.signed = value == 1;
            } else {
                context.single_entry_lut = value == 1;
            }
        }
        Ok(())
    }

    /// A private dictionary may give the tag another VR: a value that does not start with an item is no sequence.
    fn starts_with_item(&mut self, value_at: u64, big: bool) -> Result<bool, WalkError> {
        let item: &[u8] = if big {
            &[0xFF, 0xFE, 0xE0]
        } else {
            &[0xFE, 0xFF]
        };
        Ok(self.window.peek(value_at, 4)?.starts_with(item))
    }

    /// Whether a value of VR UN reads as a sequence to its very end.
    fn is_sequence(&mut self, start: u64, end: u64) -> Result<bool, WalkError> {
        if start == end {
            return Ok(true);
        }
        if self.trial || self.depth >= self.limits.depth {
            return Ok(false);
        }
        let saved = (self.position, std::mem::take(&mut self.stack), self.depth);
        let counters = (self.elements, self.items, self.fragments);
        self.trial = true;
        let mut good = self
            .open_sequence(Tag(0, 0), start, end, true, Encoding::ImplicitLittle, true)
            .is_ok();
        while good && !self.stack.is_empty() {
            match self.next() {
                Ok(_) => {}
                Err(WalkError::Read(error)) => return Err(error.into()),
                Err(_) => good = false,
            }
        }
        self.trial = false;
        (self.position, self.stack, self.depth) = saved;
        (self.elements, self.items, self.fragments) = counters;
        Ok(good)
    }

    fn over(&self, tag: Tag, limit: Limit, allowed: u64) -> WalkError {
        WalkError::limit(Some(tag), self.position, limit, allowed)
    }
}

/// The VR of an element that carries none (PS3.5 §A.1): private ones stay unknown.
fn resolve(tag: Tag, context: Context) -> VR {
    if tag.0 & 1 == 1 {
        return if (0x0010..=0x00FF).contains(&tag.1) {
            VR::LO
        } else {
            VR::UN
        };
    }
    match StandardDataDictionary
        .by_tag(tag)
        .map(DataDictionaryEntry::vr)
    {
        Some(VirtualVr::Exact(vr)) => vr,
        Some(VirtualVr::Xs) if context.signed => VR::SS,
        Some(VirtualVr::Xs) => VR::US,
        Some(VirtualVr::Lt) if context.single_entry_lut => VR::US,
        Some(VirtualVr::Lt | VirtualVr::Ox | VirtualVr::Px) => VR::OW,
        _ => VR::UN,
    }
}

/// Bytes per value of a VR of fixed width, else 1.
#[must_use]
pub(crate) fn width(vr: VR) -> u64 {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OL | VR::OF => 4,
        VR::FD | VR::OD | VR::SV | VR::UV | VR::OV => 8,
        _ => 1,
    }
}
