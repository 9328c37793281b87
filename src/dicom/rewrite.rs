//! stand-in
use super::{error::WalkError, instance::Layout, source::Source};
#[derive(Default, Debug)]
pub struct Edits;
#[derive(Debug, Clone)]
pub enum Segment {
    Bytes(Vec<u8>),
    Copy { offset: u64, length: u64 },
    Swap { offset: u64, length: u64, width: u8 },
    Frames {},
}
impl Segment {
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(b) => b.len() as u64,
            Self::Copy { length, .. } | Self::Swap { length, .. } => *length,
            _ => 0,
        }
    }
}
pub fn plan(s: &dyn Source, _l: &Layout, _e: &Edits) -> Result<Vec<Segment>, WalkError> {
    Ok(vec![Segment::Copy {
        offset: 0,
        length: s.len(),
    }])
}
