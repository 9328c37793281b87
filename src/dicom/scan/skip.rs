//! Going behind what is not looked at.

use super::{ScanEvent, Scanner};
use crate::dicom::error::ParseError;

impl Scanner<'_> {
    /// Goes behind the sequence that was entered last.
    pub(crate) fn skip_sequence(&mut self) -> Result<(), ParseError> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()? {
                ScanEvent::SequenceStart(_) => open = open.saturating_add(1),
                ScanEvent::SequenceEnd => open = open.saturating_sub(1),
                ScanEvent::End { .. } => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes behind the encapsulated value that was entered last; where that is.
    pub(crate) fn skip_fragments(&mut self) -> Result<u64, ParseError> {
        loop {
            match self.next()? {
                ScanEvent::FragmentsEnd { .. } | ScanEvent::End { .. } => {
                    return Ok(self.position());
                }
                _ => {}
            }
        }
    }
}
