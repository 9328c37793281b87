//! What a parse is asked for, and how much it may take.

use dicom_core::{Tag, VR};

use crate::dicom::inflate::CreateSpoolFile;
use crate::dicom::limits::ParseLimits;
use crate::dicom::parse_memory::GrantMemory;

/// What the parser is to do beside reading.
#[derive(Clone, Copy)]
pub struct ParseOptions<'a> {
    /// Top-level attributes to return beside those of [`KEYS`](crate::dicom::attributes::KEYS).
    pub collect: &'a [CollectKey],
    /// Binary values (O*, UN) longer than this are served by URI.
    pub inline_threshold: u32,
    /// Values of any other VR longer than this are served by URI, but for numbers.
    pub text_threshold: u32,
    /// Numbers (DS, IS, FD, US and so on) longer than this are served by URI; up to it they are values for readers that know
    /// no other form, such as those of `/v1` and `/v2`.
    pub number_threshold: u32,
    /// Whether it belongs to no patient: then study and series are not asked for.
    pub stands_alone: bool,
    /// Bounds.
    pub limits: ParseLimits,
    /// Whether the preamble must be empty or that of a TIFF file.
    pub plain_preambles: bool,
    /// Judges each value that is read; a reason leaves the element out of metadata and attributes.
    pub validate: Option<Validate<'a>>,
    /// Where an inflated data set goes that is too large for memory.
    pub inflate_to: Option<CreateSpoolFile<'a>>,
    /// Grants the memory of what is kept, before it grows; without it the limits alone bound it.
    pub room: Option<GrantMemory<'a>>,
}

/// Most bytes of an inflated data set in memory where memory is asked for.
pub(super) const INFLATED: u64 = 1 << 20;

/// Says what is wrong with a value, without repeating it: header, decoded values, bytes as in the file.
pub type Validate<'a> = &'a dyn Fn(&ElementHeader<'_>, &[String], &[u8]) -> Option<String>;

impl Default for ParseOptions<'_> {
    fn default() -> Self {
        Self {
            collect: &[],
            inline_threshold: 1024,
            text_threshold: 64 * 1024,
            number_threshold: 4 << 20,
            stands_alone: false,
            limits: ParseLimits::default(),
            plain_preambles: false,
            validate: None,
            inflate_to: None,
            room: None,
        }
    }
}

impl std::fmt::Debug for ParseOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalkOptions")
            .field("collect", &self.collect)
            .field("inline_threshold", &self.inline_threshold)
            .field("text_threshold", &self.text_threshold)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One attribute to return.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CollectKey {
    /// Its tag; with a creator the element without its block, `gggg00ee`.
    pub tag: Tag,
    /// Private creator.
    pub creator: Option<String>,
}

/// An element as the validator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementHeader<'a> {
    /// Its tag.
    pub tag: Tag,
    /// As in the file, or from the dictionary.
    pub vr: VR,
    /// Private creator, of a private element.
    pub creator: Option<&'a str>,
    /// Sequences around it; 0 at top level.
    pub depth: usize,
}
