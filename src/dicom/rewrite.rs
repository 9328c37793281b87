//! Plans how a stored file is turned into Explicit VR Little Endian without loading it.
//!
//! Invariant: only values up to 4 KiB pass through memory, all others are copied or swapped from the source by the caller; the
//! planned length is the length written. Reads through the scanner of the parser, so both agree what the file holds.

use super::error::ParseError;
use super::header;
use super::identifiers::Identifiers;
use super::instance::FileLayout;
use super::limits::ParseLimits;
use super::scan::Scanner;
use super::source::{Source, SourceWindow};
use planner::Planner;

pub use edits::{Edit, Edits, PixelEdit};
pub use meta::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION, named_group};
pub use segment::{FileSegment, FrameWriter, total_length, write};

mod edits;
mod icon;
mod meta;
mod open_level;
mod planner;
mod segment;

/// A planned file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its pieces, in order.
    pub segments: Vec<FileSegment>,
    /// What of the stored file it has not, and why; without patient data.
    pub notes: Option<String>,
}

/// Plans the new file; `source` is the stored file, or its inflated data set when the layout says deflated.
///
/// # Errors
/// As the parser: the source has to be the file that was parsed. [`ParseError::Limit`] when native pixel data would be longer
/// than an element can be.
pub fn plan(
    source: &dyn Source,
    layout: &FileLayout,
    edits: &Edits,
    limits: ParseLimits,
) -> Result<Planned, ParseError> {
    let mut window = SourceWindow::new(source);
    let start = if layout.deflated {
        0
    } else {
        layout.dataset_offset
    };
    let recognized = header::recognize(&mut window, start, Some(&layout.transfer_syntax))?;
    let mut elements: Vec<&Edit> = edits.elements.iter().collect();
    elements.sort_by_key(|edit| edit.tag);
    let mut planner = Planner {
        scanner: Scanner::new(window, start, recognized.encoding, limits),
        limits,
        pending: elements.into_iter().peekable(),
        pixels: &edits.pixels,
        segments: Vec::new(),
        small: Vec::new(),
        kept: 0,
        open: 0,
        identifiers: Identifiers::default(),
        bits_allocated: 0,
        levels: Vec::new(),
        foreign: icon::foreign(layout, edits),
        notes: None,
    };
    planner.run()?;
    let mut segments = vec![FileSegment::Bytes(meta::meta_group(
        &planner.identifiers,
        &edits.transfer_syntax,
    )?)];
    segments.append(&mut planner.segments);
    Ok(Planned {
        segments,
        notes: planner.notes,
    })
}

#[cfg(test)]
mod icon_tests;
#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;
