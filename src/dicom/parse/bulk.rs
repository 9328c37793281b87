//! Values that are served by URI: where they lie, and what their items are when they are encapsulated.
//!
//! Invariant: of these values only offset tables are read, and of fragments their first 12 bytes.

use super::Parser;
use crate::dicom::error::{Limit, ParseError};
use crate::dicom::frames::{Fragments, starts_codestream};
use crate::dicom::instance::{BulkItem, PixelElement};
use crate::dicom::scan::{Element, ScanEvent};
use crate::dicom::tag;

impl Parser<'_, '_> {
    /// A value served by URI.
    pub(super) fn bulk(
        &mut self,
        element: Element,
        length: u64,
        encapsulated: bool,
    ) -> Result<(), ParseError> {
        let Element {
            tag, vr, value_at, ..
        } = element;
        self.json.open_element(tag, vr);
        if length > 0 {
            if self.bulk.len() >= self.options.limits.bulk {
                let allowed = self.options.limits.bulk as u64;
                return Err(ParseError::limit(Some(tag), value_at, Limit::Bulk, allowed));
            }
            let mut path = String::with_capacity(8);
            for step in &self.path {
                tag::push_hex(&mut path, step.tag);
                path.push('/');
                path.push_str(itoa::Buffer::new().format(step.items));
                path.push('/');
            }
            tag::push_hex(&mut path, tag);
            self.json.make_room(&self.ledger, path.len())?;
            self.json.bulk_uri(&path);
            // With the place in the text and the text of its VR.
            self.ledger.more(path.capacity().saturating_add(64))?;
            let item = BulkItem {
                path,
                vr: vr.to_string().to_owned(),
                offset: value_at,
                length,
                encapsulated,
            };
            self.ledger.push(&mut self.bulk, item)?;
        }
        self.json.close_element(false);
        Ok(())
    }

    /// Extended Offset Table and its lengths, before the pixel data.
    pub(super) fn extended_offsets(&mut self, element: &Element) -> Result<(), ParseError> {
        let most = self.options.limits.fragments.saturating_mul(8);
        if u64::from(element.length) > most {
            return Ok(());
        }
        // The bytes and the numbers.
        let length = usize::try_from(element.length).unwrap_or(usize::MAX);
        self.ledger.more(length.saturating_mul(2))?;
        let bytes = self.scanner.value(element)?;
        let values: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|chunk| u64::from_le_bytes(*chunk))
            .collect();
        if element.tag.1 == 0x0001 {
            self.extended.0 = Some(values);
        } else {
            self.extended.1 = Some(values);
        }
        Ok(())
    }

    /// Follows the items of an encapsulated value up to its end.
    pub(super) fn fragments(&mut self, element: Element) -> Result<(), ParseError> {
        let top =
            self.path.is_empty() && PixelElement::of(element.tag) == Some(PixelElement::Integer);
        let mut found = Fragments::default();
        let mut first = true;
        let end = loop {
            let (offset, length) = match self.scanner.next()? {
                ScanEvent::Fragment { offset, length } => (offset, length),
                ScanEvent::FragmentsEnd { end } => break end,
                _ => break self.scanner.position(),
            };
            if !top {
                continue;
            }
            if std::mem::take(&mut first) {
                found.offset = offset.saturating_add(u64::from(length)).saturating_add(8);
                if u64::from(length) <= self.options.limits.fragments.saturating_mul(4) {
                    let more = usize::try_from(length).unwrap_or(usize::MAX);
                    self.ledger.more(more.saturating_mul(2))?;
                    let bytes = self.scanner.bytes(offset, length.into())?;
                    let chunks = bytes.as_chunks::<4>().0;
                    found.basic_offsets = chunks
                        .iter()
                        .map(|chunk| u32::from_le_bytes(*chunk))
                        .collect();
                }
                continue;
            }
            let start = self
                .scanner
                .peek(offset, usize::try_from(length).unwrap_or(12).min(12))?;
            if starts_codestream(start) {
                let number = u32::try_from(found.lengths.len()).unwrap_or(u32::MAX);
                self.ledger.push(&mut found.codestreams, number)?;
            }
            self.ledger.push(&mut found.lengths, length)?;
        };
        if top {
            // The table with its places and first fragments, and its packed form.
            let fragments = found.lengths.len();
            self.ledger
                .more(fragments.saturating_mul(5 * size_of::<u32>()))?;
            self.fragments = Some(found);
        }
        self.bulk(element, end.saturating_sub(element.value_at), true)
    }
}
