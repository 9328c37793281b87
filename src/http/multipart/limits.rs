//! What a multipart body may hold.

/// Most bytes before the first delimiter line.
pub const MAX_PREAMBLE: usize = 4 * 1024;

/// Most bytes of the header lines of one part.
pub const MAX_PART_HEADERS: usize = 16 * 1024;

/// Most bytes handed to multer before it must hand them on.
pub const BURST: usize = 256 * 1024;

/// What a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes of the whole body.
    pub body: u64,
    /// Most bytes of one part.
    pub part: u64,
    /// Most parts.
    pub parts: u64,
}

impl BodyLimits {
    /// For a caller who counts bytes and parts itself.
    pub const NONE: Self = Self {
        body: u64::MAX,
        part: u64::MAX,
        parts: u64::MAX,
    };
}
