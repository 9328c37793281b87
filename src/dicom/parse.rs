//! The ingest parser: one pass over a file that yields everything the archive keeps of it.
//!
//! Invariant: iterative, bounded by [`ParseLimits`]; bulk values are skipped, not read; a file is refused unless every value it
//! announces is there.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::attributes;
use super::charset::Charset;
use super::error::{Limit, ParseError};
use super::frames::{ByteRange, Fragments};
use super::header::{self, Opening, RecognizedEncoding};
use super::identifiers::Identifiers;
use super::inflate;
use super::instance::{Attribute, BulkItem, Instance, PixelElement};
use super::json::{self, JsonWriter};
use super::parse_memory::Ledger;
use super::scan::{Element, ScanEvent, Scanner};
use super::source::{Source, SourceWindow};

use super::issue::ValidationIssue;
pub use super::limits::ParseLimits;
use options::INFLATED;
pub use options::{CollectKey, ElementHeader, ParseOptions, Validate};
use pixels::{NativePixels, PixelAttributes};

mod bulk;
mod options;
mod outcome;
mod pixels;

/// Most bytes of text that one byte of a value becomes: a person name of one control character has 24 for itself and
/// its backslash.
const WIDEST: usize = 12;

/// Most bytes of text that one byte of a number becomes: an empty value of a backslash is `null` and a comma.
const WIDEST_NUMBER: usize = 6;
/// Most bytes of numbers longer than the threshold of texts that are kept of one file; further ones are served by URI.
const LONG_NUMBERS: u64 = 16 << 20;

/// Parses a file.
///
/// # Errors
/// See [`ParseError`]; all but `NotDicom` and `Read` carry the identifiers that could be read.
pub fn parse(source: &dyn Source, options: &ParseOptions<'_>) -> Result<Instance, ParseError> {
    let mut window = SourceWindow::new(source);
    let opening = header::open(&mut window, options.plain_preambles)?;
    let start = opening.dataset_offset;
    if opening.is_deflated(&mut window)? {
        let most = match options.room {
            // Others are inflated beside it: the text of this one needs the memory more.
            Some(_) => INFLATED,
            None => inflate::IN_MEMORY,
        };
        let inflated = inflate::inflate_within(
            source,
            start,
            (options.limits.inflated, most),
            options.inflate_to,
            Ledger::new(options.room),
        )?;
        let mut window = SourceWindow::new(&inflated);
        let recognized = opening.recognize(&mut window, 0)?;
        let scanner = Scanner::new(window, 0, recognized.encoding, options.limits);
        return Parser::new(
            scanner,
            options,
            Origin {
                opening,
                recognized,
                deflated: true,
            },
        )
        .run();
    }
    let recognized = opening.recognize(&mut window, start)?;
    let scanner = Scanner::new(window, start, recognized.encoding, options.limits);
    Parser::new(
        scanner,
        options,
        Origin {
            opening,
            recognized,
            deflated: false,
        },
    )
    .run()
}

/// What is known before the first element.
struct Origin {
    opening: Opening,
    recognized: RecognizedEncoding,
    deflated: bool,
}

/// One open sequence.
struct OpenSequence {
    tag: Tag,
    /// Items so far.
    items: u32,
}

/// A private block in use: PS3.5 §7.8.1.
struct Creator {
    depth: usize,
    group: u16,
    block: u16,
    name: String,
}

/// Steps along [`attributes::KEYS`] beside the elements, which ascend: most of them cost one comparison.
#[derive(Default)]
struct KeyCursor {
    next: usize,
    last: Option<Tag>,
}

impl KeyCursor {
    fn has(&mut self, tag: Tag) -> bool {
        if self.last.replace(tag).is_some_and(|last| tag < last) {
            self.next = 0;
        }
        while let Some(key) = attributes::KEYS.get(self.next) {
            if key.tag >= tag {
                return key.tag == tag;
            }
            self.next = self.next.saturating_add(1);
        }
        false
    }
}

struct Parser<'a, 'o> {
    scanner: Scanner<'a>,
    options: &'o ParseOptions<'o>,
    ledger: Ledger<'o>,
    origin: Origin,
    json: JsonWriter,
    attributes: Vec<Attribute>,
    bulk: Vec<BulkItem>,
    findings: Vec<ValidationIssue>,
    identifiers: Identifiers,
    path: Vec<OpenSequence>,
    charsets: Vec<(usize, Charset)>,
    creators: Vec<Creator>,
    /// Private creators matter to somebody.
    track_creators: bool,
    keys: KeyCursor,
    /// The open top-level sequence is an attribute to return.
    open_attribute: bool,
    kept: u64,
    /// Bytes of numbers that would have been served by URI if they were text.
    long_numbers: u64,
    pixels: PixelAttributes,
    native: Option<NativePixels>,
    fragments: Option<Fragments>,
    extended: (Option<Vec<u64>>, Option<Vec<u64>>),
}

impl<'a, 'o> Parser<'a, 'o> {
    fn new(scanner: Scanner<'a>, options: &'o ParseOptions<'o>, origin: Origin) -> Self {
        let named = options.collect.iter().any(|key| key.creator.is_some());
        Self {
            scanner,
            options,
            ledger: Ledger::new(options.room),
            origin,
            json: JsonWriter::with_capacity(16 * 1024),
            attributes: Vec::with_capacity(attributes::KEYS.len()),
            bulk: Vec::new(),
            findings: Vec::new(),
            identifiers: Identifiers::default(),
            path: Vec::new(),
            charsets: vec![(0, Charset::default_repertoire())],
            creators: Vec::new(),
            track_creators: named || options.validate.is_some(),
            keys: KeyCursor::default(),
            open_attribute: false,
            kept: 0,
            long_numbers: 0,
            pixels: PixelAttributes::default(),
            native: None,
            fragments: None,
            extended: (None, None),
        }
    }

    fn run(mut self) -> Result<Instance, ParseError> {
        match self.pass() {
            Ok(ignored) => self.finish(ignored),
            Err(error) => Err(error.with_identifiers(&self.identifiers)),
        }
    }

    /// Takes all events; gives the number of bytes behind the data set.
    fn pass(&mut self) -> Result<u64, ParseError> {
        self.json.open_data_set(true);
        loop {
            self.json.make_room(&self.ledger, 0)?;
            match self.scanner.next()? {
                ScanEvent::Element(element) => self.element(element)?,
                ScanEvent::SequenceStart(element) => self.sequence_start(element)?,
                ScanEvent::ItemStart => {
                    let first = self.path.last_mut().is_none_or(|step| {
                        step.items = step.items.saturating_add(1);
                        step.items == 1
                    });
                    self.json.open_data_set(first);
                }
                ScanEvent::ItemEnd => {
                    self.json.make_room_to_close(&self.ledger)?;
                    self.item_end();
                }
                ScanEvent::SequenceEnd => self.sequence_end(),
                ScanEvent::FragmentsStart(element) => self.fragments(element)?,
                // `fragments` takes these.
                ScanEvent::Fragment { .. } | ScanEvent::FragmentsEnd { .. } => {}
                ScanEvent::End { ignored } => return Ok(ignored),
            }
            if self.json.len() > self.options.limits.text {
                let allowed = self.options.limits.text as u64;
                return Err(ParseError::limit(
                    None,
                    self.scanner.position(),
                    Limit::Text,
                    allowed,
                ));
            }
        }
    }

    fn sequence_start(&mut self, element: Element) -> Result<(), ParseError> {
        let at = self.json.open_element(element.tag, VR::SQ);
        if self.path.is_empty() && self.is_wanted(element.tag) {
            self.open_attribute = true;
            let attribute = Attribute {
                tag: element.tag,
                vr: VR::SQ,
                values: Vec::new(),
                json: at..at,
            };
            self.ledger.push(&mut self.attributes, attribute)?;
        }
        self.path.push(OpenSequence {
            tag: element.tag,
            items: 0,
        });
        Ok(())
    }

    fn sequence_end(&mut self) {
        let items = self.path.pop().map_or(0, |step| step.items);
        self.json.close_element(items > 0);
        if self.path.is_empty()
            && std::mem::take(&mut self.open_attribute)
            && let Some(attribute) = self.attributes.last_mut()
        {
            attribute.json.end = self.json.len();
        }
    }

    fn item_end(&mut self) {
        self.json.close_data_set();
        let depth = self.path.len();
        while self.charsets.last().is_some_and(|(at, _)| *at >= depth) {
            self.charsets.pop();
        }
        while self
            .creators
            .last()
            .is_some_and(|creator| creator.depth >= depth)
        {
            self.creators.pop();
        }
    }

    fn element(&mut self, element: Element) -> Result<(), ParseError> {
        let Element {
            tag,
            vr,
            length,
            value_at,
            ..
        } = element;
        let top = self.path.is_empty();
        if tag == tags::AVAILABLE_TRANSFER_SYNTAX_UID && top {
            // Written by whoever answers a request.
            return Ok(());
        }
        if let Some(pixels) = PixelElement::of(tag) {
            if top {
                let place = ByteRange {
                    offset: value_at,
                    length: length.into(),
                };
                self.native = Some(NativePixels {
                    element: pixels,
                    vr,
                    big: element.big,
                    place,
                });
            }
            return self.bulk(element, length.into(), false);
        }
        if top && matches!(tag, Tag(0x7FE0, 0x0001 | 0x0002)) {
            self.extended_offsets(&element)?;
        }
        let threshold = if is_binary(vr) {
            self.options.inline_threshold
        } else {
            self.options.text_threshold
        };
        if length > threshold {
            let numbers = self.long_numbers.saturating_add(length.into());
            let kept =
                is_number(vr) && length <= self.options.number_threshold && numbers <= LONG_NUMBERS;
            if !kept {
                return self.bulk(element, length.into(), false);
            }
            self.long_numbers = numbers;
        }
        self.kept = self.kept.saturating_add(length.into());
        if self.kept > self.options.limits.kept {
            let allowed = self.options.limits.kept;
            return Err(ParseError::limit(Some(tag), value_at, Limit::Kept, allowed));
        }
        self.small_element(&element)
    }

    /// An element whose value is looked at.
    fn small_element(&mut self, element: &Element) -> Result<(), ParseError> {
        let Element { tag, vr, big, .. } = *element;
        let depth = self.path.len();
        let limits = self.options.limits;
        // Of a long list of numbers no list of texts is made: it is neither judged nor indexed.
        let short = element.length <= self.options.text_threshold;
        let wanted = depth == 0 && self.is_wanted(tag) && short;
        let length = usize::try_from(element.length).unwrap_or(usize::MAX);
        let widest = length.saturating_mul(if is_number(vr) { WIDEST_NUMBER } else { WIDEST });
        self.json.make_room(&self.ledger, widest)?;
        let bytes = self.scanner.value(element)?;
        if tag == tags::SPECIFIC_CHARACTER_SET {
            let (charset, problem) = Charset::from_terms(&bytes);
            self.charsets.retain(|(at, _)| *at < depth);
            self.charsets.push((depth, charset));
            if let Some(problem) = problem {
                note(
                    &mut self.findings,
                    limits.findings,
                    ValidationIssue::new(tag, &problem.to_string()),
                );
            }
        }
        let charset = self
            .charsets
            .last()
            .map_or_else(Charset::default, |(_, charset)| *charset);
        if depth == 0 {
            self.identifiers.note(tag, vr, &bytes);
        }
        let mut decoded = None;
        if let Some(validate) = self.options.validate.filter(|_| short) {
            let values = json::values(vr, big, &bytes, &charset);
            let creator = creator_of(&self.creators, depth, tag);
            if let Some(reason) = validate(
                &ElementHeader {
                    tag,
                    vr,
                    creator,
                    depth,
                },
                &values,
                &bytes,
            ) {
                note(
                    &mut self.findings,
                    limits.findings,
                    ValidationIssue::new(tag, &reason),
                );
                // Who the instance is has been checked already, and belongs into its metadata.
                if depth > 0 || !Identifiers::holds(tag) {
                    return Ok(());
                }
            }
            decoded = Some(values);
        }
        let at = self.json.open_element(tag, vr);
        self.json.value(tag, vr, big, &bytes, &charset);
        self.json.close_element(false);
        if depth == 0 && PixelAttributes::wants(tag) {
            self.pixels.note(tag, vr, big, &bytes, &charset);
        }
        if wanted {
            let values = match decoded {
                _ if tag == tags::SPECIFIC_CHARACTER_SET => vec!["ISO_IR 192".to_owned()],
                Some(values) => values,
                None => json::values(vr, big, &bytes, &charset),
            };
            let taken =
                |value: &String| size_of::<String>().saturating_add(value.capacity().max(16));
            self.ledger.more(values.iter().map(taken).sum())?;
            let attribute = Attribute {
                tag,
                vr,
                values,
                json: at..self.json.len(),
            };
            self.ledger.push(&mut self.attributes, attribute)?;
        }
        if self.track_creators && tag.0 & 1 == 1 && (0x10..=0xFF).contains(&tag.1) {
            // LO has 64 characters; what is longer names nobody.
            let name = charset.decode(VR::LO, &bytes);
            let name = name.trim_matches([' ', '\0']).chars().take(65).collect();
            // Groups ascend, so those before are done with; this bounds the list as well.
            while self
                .creators
                .last()
                .is_some_and(|c| c.depth == depth && c.group != tag.0)
            {
                self.creators.pop();
            }
            // A block that is reserved again and again has one owner, the last.
            let mut here = self.creators.iter().rev().take_while(|c| c.depth == depth);
            if let Some(before) = here.position(|c| c.block == tag.1) {
                let at = self.creators.len().saturating_sub(before.saturating_add(1));
                self.creators.remove(at);
            }
            self.creators.push(Creator {
                depth,
                group: tag.0,
                block: tag.1,
                name,
            });
        }
        Ok(())
    }

    /// Whether a top-level attribute is to be returned.
    fn is_wanted(&mut self, tag: Tag) -> bool {
        self.keys.has(tag)
            || self.options.collect.iter().any(|key| match &key.creator {
                None => key.tag == tag,
                Some(creator) => {
                    key.tag.0 == tag.0
                        && key.tag.1 & 0xFF == tag.1 & 0xFF
                        && tag.1 > 0xFF
                        && creator_of(&self.creators, 0, tag) == Some(creator)
                }
            })
    }
}

/// The creator of a private element: it reserves its block in its own data set only (PS3.5 §7.8.1).
fn creator_of(creators: &[Creator], depth: usize, tag: Tag) -> Option<&str> {
    let mut here = creators.iter().rev().take_while(|c| c.depth == depth);
    let found = here.find(|c| c.group == tag.0 && c.block == tag.1 >> 8);
    found.map(|c| c.name.as_str())
}

/// Keeps a finding unless there are too many.
fn note(findings: &mut Vec<ValidationIssue>, most: usize, finding: ValidationIssue) {
    if findings.len() < most {
        findings.push(finding);
    }
}

/// A finding in the words of the failed-attributes sequence.
fn is_binary(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN
    )
}

fn is_number(vr: VR) -> bool {
    matches!(
        vr,
        VR::AT
            | VR::DS
            | VR::FD
            | VR::FL
            | VR::IS
            | VR::SL
            | VR::SS
            | VR::SV
            | VR::UL
            | VR::US
            | VR::UV
    )
}

#[cfg(test)]
mod tests;
