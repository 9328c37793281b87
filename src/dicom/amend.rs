//! Plans how top-level text elements of a stored file are changed, in the encoding that it has.
//!
//! Invariants: what is not changed is copied byte for byte, pixel data above all; only when new text cannot be written in the
//! character set of the file does every other text in it become UTF-8, too. Only values that are written anew pass through
//! memory, which is asked for before.

use dicom_core::{Tag, VR};

use super::charset::{Charset, takes_charset};
use super::error::{Limit, ParseError};
use super::explicit_vr::padding;
use super::header::{self, Encoding, ITEM, ITEM_END, SEQUENCE_END, UNDEFINED};
use super::header_form::{self, HeaderForm, sequence_vr};
use super::instance::FileLayout;
use super::limits::ParseLimits;
use super::parse_memory::{GrantMemory, SteppedMemory};
use super::rewrite::{FileSegment, named_group};
use super::scan::{Element, ScanEvent, Scanner};
use super::source::{Source, SourceWindow};

#[cfg(test)]
mod tests;

/// Specific Character Set.
const CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
/// Its defined term for UTF-8.
const UTF8: &[u8] = b"ISO_IR 192";

/// New text of a top-level element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    /// Which element.
    pub tag: Tag,
    /// Its VR, one of text.
    pub vr: VR,
    /// Its values, joined by backslashes.
    pub text: String,
}

/// What the new file is.
#[derive(Debug, Clone, Copy)]
pub struct AmendedFile<'a> {
    /// SOP Class UID.
    pub sop_class: &'a str,
    /// SOP Instance UID: the new one, when it changes.
    pub instance: &'a str,
    /// New texts, each tag at most once, in any order.
    pub edits: &'a [TextEdit],
}

/// Plans the new file, the meta group first; `source` is the stored file, or its inflated data set when the layout says
/// deflated: then all pieces but the first are still to be deflated.
///
/// # Errors
/// As the parser: the source has to be the file that was parsed. [`ParseError::Read`] when there is no memory.
pub fn plan(
    source: &dyn Source,
    layout: &FileLayout,
    file: AmendedFile<'_>,
    limits: ParseLimits,
    room: GrantMemory<'_>,
) -> Result<Vec<FileSegment>, ParseError> {
    let mut window = SourceWindow::new(source);
    let start = match layout.deflated {
        true => 0,
        false => layout.dataset_offset,
    };
    let recognized = header::recognize(&mut window, start, Some(&layout.transfer_syntax))?;
    let mut edits: Vec<&TextEdit> = file.edits.iter().collect();
    edits.sort_by_key(|edit| edit.tag);
    let meta = named_group(file.sop_class, file.instance, &layout.transfer_syntax)?;
    let mut amender = Amender {
        scanner: Scanner::new(window, start, recognized.encoding, limits),
        encoding: recognized.encoding,
        pending: edits.into_iter().peekable(),
        edits: file.edits,
        segments: vec![FileSegment::Bytes(meta)],
        bytes: Vec::new(),
        copied: None,
        charset: None,
        levels: Vec::new(),
        memory: SteppedMemory::new(limits.kept, room),
    };
    amender.run(source.len())?;
    Ok(amender.segments)
}

/// What the character set of the data set at hand is, and whether its texts become UTF-8.
#[derive(Debug, Clone, Copy)]
struct TextCoding {
    charset: Charset,
    recode: bool,
}

/// A sequence or item that is written with its end marked.
#[derive(Debug, Clone, Copy)]
enum AmendedLevel {
    /// Whether what is inside is big endian.
    Sequence {
        big: bool,
    },
    Item {
        texts: TextCoding,
        big: bool,
    },
}

impl AmendedLevel {
    const fn is_big(self) -> bool {
        match self {
            Self::Sequence { big } | Self::Item { big, .. } => big,
        }
    }
}

struct Amender<'a, 'e> {
    scanner: Scanner<'a>,
    encoding: Encoding,
    pending: std::iter::Peekable<std::vec::IntoIter<&'e TextEdit>>,
    edits: &'e [TextEdit],
    segments: Vec<FileSegment>,
    /// Bytes not yet made a segment.
    bytes: Vec<u8>,
    /// A run of the source not yet made a segment.
    copied: Option<(u64, u64)>,
    /// Of the top level, once it is known.
    charset: Option<TextCoding>,
    /// What is open around the element at hand.
    levels: Vec<AmendedLevel>,
    /// Memory of bytes that are made.
    memory: SteppedMemory<'e>,
}

impl Amender<'_, '_> {
    fn run(&mut self, length: u64) -> Result<(), ParseError> {
        loop {
            match self.scanner.next()? {
                ScanEvent::Element(element) => self.element(&element)?,
                ScanEvent::SequenceStart(element) => self.sequence(&element)?,
                ScanEvent::ItemStart => self.item_start()?,
                ScanEvent::ItemEnd => self.close(ITEM_END)?,
                ScanEvent::SequenceEnd => self.close(SEQUENCE_END)?,
                ScanEvent::FragmentsStart(element) => {
                    let keep = self.begin(&element)?;
                    self.fragments(&element, keep)?;
                }
                ScanEvent::Fragment { .. } | ScanEvent::FragmentsEnd { .. } => {}
                ScanEvent::End { .. } => break,
            }
        }
        self.insert_before(None)?;
        // Trailing bytes that are no elements stay where they were.
        let end = self.scanner.position();
        self.copy(end, length)?;
        self.flush();
        Ok(())
    }

    /// Texts of the data set at hand.
    fn texts(&self) -> TextCoding {
        let inner = self.levels.iter().rev().find_map(|level| match level {
            AmendedLevel::Item { texts, .. } => Some(*texts),
            AmendedLevel::Sequence { .. } => None,
        });
        inner.or(self.charset).unwrap_or(TextCoding {
            charset: Charset::default_repertoire(),
            recode: false,
        })
    }

    fn is_top(&self) -> bool {
        self.levels.is_empty()
    }

    /// Writes what comes before a top-level element; whether the element itself stays.
    fn begin(&mut self, element: &Element) -> Result<bool, ParseError> {
        if !self.is_top() {
            return Ok(true);
        }
        if self.charset.is_none() && element.tag >= CHARACTER_SET {
            let found = match element.tag {
                CHARACTER_SET => Some(self.scanner.value(element)?.into_owned()),
                _ => None,
            };
            let charset = match &found {
                Some(raw) => Charset::from_terms(raw).0,
                None => Charset::default_repertoire(),
            };
            let fits =
                |edit: &TextEdit| !takes_charset(edit.vr) || charset.encode(&edit.text).is_some();
            let recode = !self.edits.iter().all(fits);
            self.charset = Some(TextCoding { charset, recode });
            if recode {
                self.write(CHARACTER_SET, VR::CS, UTF8)?;
                if found.is_some() {
                    return Ok(false);
                }
            }
        }
        self.insert_before(Some(element.tag))?;
        let replaced = self.pending.next_if(|edit| edit.tag == element.tag);
        match replaced {
            Some(edit) => {
                self.insert(edit)?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn insert_before(&mut self, tag: Option<Tag>) -> Result<(), ParseError> {
        while let Some(edit) = self
            .pending
            .next_if(|edit| tag.is_none_or(|tag| edit.tag < tag))
        {
            self.insert(edit)?;
        }
        Ok(())
    }

    fn insert(&mut self, edit: &TextEdit) -> Result<(), ParseError> {
        let texts = self.texts();
        let encoded = match takes_charset(edit.vr) && !texts.recode {
            true => texts.charset.encode(&edit.text),
            false => None,
        };
        let bytes = encoded.unwrap_or_else(|| edit.text.clone().into_bytes());
        self.write(edit.tag, edit.vr, &bytes)
    }

    /// Writes an element in the encoding of the file.
    fn write(&mut self, tag: Tag, vr: VR, value: &[u8]) -> Result<(), ParseError> {
        let form = HeaderForm::of(self.encoding);
        self.value(form, tag, vr, value)
    }

    fn value(
        &mut self,
        form: HeaderForm,
        tag: Tag,
        vr: VR,
        value: &[u8],
    ) -> Result<(), ParseError> {
        self.take(value.len().saturating_add(16))?;
        let odd = value.len() % 2;
        let too_long = || ParseError::limit(Some(tag), 0, Limit::Value, u64::from(UNDEFINED));
        let length = u32::try_from(value.len() + odd).map_err(|_| too_long())?;
        form.element(&mut self.bytes, tag, vr, length);
        self.bytes.extend_from_slice(value);
        if odd == 1 {
            self.bytes.push(padding(vr));
        }
        Ok(())
    }

    fn element(&mut self, element: &Element) -> Result<(), ParseError> {
        if !self.begin(element)? {
            return Ok(());
        }
        let (form, stored, start) = HeaderForm::find(&mut self.scanner, element)?;
        let Element {
            tag,
            vr,
            value_at,
            length,
            ..
        } = *element;
        if tag == CHARACTER_SET && !self.is_top() {
            // It says how the texts of its item are encoded, and of the items in it.
            let raw = self.scanner.value(element)?.into_owned();
            if let Some(AmendedLevel::Item { texts, .. }) = self.levels.last_mut() {
                *texts = TextCoding {
                    charset: Charset::from_terms(&raw).0,
                    recode: false,
                };
            }
        }
        let texts = self.texts();
        let recode = texts.recode && takes_charset(vr) && length > 0;
        if recode {
            self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            let raw = self.scanner.value(element)?.into_owned();
            let text = texts.charset.decode(vr, &raw);
            if text.as_bytes() != raw {
                let vr = if stored == VR::UN { VR::UN } else { vr };
                return self.value(form, tag, vr, text.as_bytes());
            }
        }
        self.copy(start, value_at.saturating_add(u64::from(length)))
    }

    /// A sequence: as it is, or with its ends marked, where something in it may change its length.
    fn sequence(&mut self, element: &Element) -> Result<(), ParseError> {
        if !self.begin(element)? {
            return self.scanner.skip_sequence();
        }
        let (form, stored, start) = HeaderForm::find(&mut self.scanner, element)?;
        if !self.texts().recode {
            self.scanner.skip_sequence()?;
            return self.copy(start, self.scanner.position());
        }
        self.take(16)?;
        form.element(&mut self.bytes, element.tag, sequence_vr(stored), UNDEFINED);
        // What stands as UN is Implicit VR inside (PS3.5 §6.2.2).
        let big = form == (HeaderForm::Explicit { big: true }) && stored != VR::UN;
        self.levels.push(AmendedLevel::Sequence { big });
        Ok(())
    }

    fn item_start(&mut self) -> Result<(), ParseError> {
        self.take(8)?;
        let (texts, big) = (self.texts(), self.is_big());
        header_form::item(&mut self.bytes, big, ITEM, UNDEFINED);
        self.levels.push(AmendedLevel::Item { texts, big });
        Ok(())
    }

    /// Marks the end of an item or a sequence.
    fn close(&mut self, tag: Tag) -> Result<(), ParseError> {
        self.take(8)?;
        let big = self.is_big();
        header_form::item(&mut self.bytes, big, tag, 0);
        self.levels.pop();
        Ok(())
    }

    /// Whether what is open is big endian.
    fn is_big(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_big())
    }

    /// An encapsulated value: all of it in one run.
    fn fragments(&mut self, element: &Element, keep: bool) -> Result<(), ParseError> {
        let (_, _, start) = HeaderForm::find(&mut self.scanner, element)?;
        let end = self.scanner.skip_fragments()?;
        if keep { self.copy(start, end) } else { Ok(()) }
    }

    /// Asks for the memory of bytes to be made.
    fn take(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.cut();
        self.memory.take(bytes, self.scanner.position())
    }

    /// Takes over a range of the source.
    fn copy(&mut self, from: u64, to: u64) -> Result<(), ParseError> {
        if to <= from {
            return Ok(());
        }
        match &mut self.copied {
            Some((_, end)) if *end == from => *end = to,
            _ => {
                self.take(64)?;
                self.flush();
                self.copied = Some((from, to));
            }
        }
        Ok(())
    }

    /// Ends the run of the source at hand: bytes come behind it.
    fn cut(&mut self) {
        if let Some((from, to)) = self.copied.take() {
            let length = to.saturating_sub(from);
            self.segments.push(FileSegment::Copy {
                offset: from,
                length,
            });
        }
    }

    fn flush(&mut self) {
        self.cut();
        if !self.bytes.is_empty() {
            self.segments
                .push(FileSegment::Bytes(std::mem::take(&mut self.bytes)));
        }
    }
}
